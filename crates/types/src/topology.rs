//! Who may connect to whom: one function, from which peer policy, static nodes, firewall rules and maps follow.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::role::Role;

/// Shape of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Topology {
    /// Validators dial only their own institution's boots and listen nowhere; boots mesh and relay.
    #[default]
    Sentry,
    /// As RBB runs Besu today: validators connect to each other as well.
    Mesh,
}

impl fmt::Display for Topology {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Sentry => "sentry",
            Self::Mesh => "mesh",
        })
    }
}

impl FromStr for Topology {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "sentry" => Ok(Self::Sentry),
            "mesh" => Ok(Self::Mesh),
            other => Err(format!("topology is {other:?}, expected sentry or mesh")),
        }
    }
}

/// What decides about a link: a node's role and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// Role of the node.
    pub role: Role,
    /// Institution that runs it.
    pub institution: &'a str,
    /// Whether the institution runs a boot of its own; a partner has only writers and observers, which then use the
    /// boots of all.
    pub has_boot: bool,
}

impl Topology {
    /// Whether `from` opens connections to `to`, and so whether `to` stands in the static nodes of `from`.
    pub fn dials(self, from: Place<'_>, to: Place<'_>) -> bool {
        use Role::{Boot, Observer, ObserverBoot, Validator, Writer};
        let own = from.institution == to.institution;
        match (from.role, to.role) {
            (Validator, Boot) => own,
            (Validator, Validator) => self == Self::Mesh,
            (Boot, Boot) => true,
            (Writer | ObserverBoot, Boot) => own || !from.has_boot,
            (Observer | ObserverBoot, ObserverBoot) => true,
            (Validator, Writer | ObserverBoot | Observer)
            | (Boot, Validator | Writer | ObserverBoot | Observer)
            | (Writer, Validator | Writer | ObserverBoot | Observer)
            | (ObserverBoot, Validator | Writer | Observer)
            | (Observer, Validator | Boot | Writer | Observer) => false,
        }
    }

    /// Whether a node listens for peers at all.
    pub fn listens(self, role: Role) -> bool {
        match role {
            Role::Validator => self == Self::Mesh,
            Role::Boot | Role::ObserverBoot => true,
            Role::Writer | Role::Observer => false,
        }
    }

    /// Whether `local` accepts a connection that `remote` opened: exactly those that `remote` is to dial.
    pub fn admits(self, local: Place<'_>, remote: Place<'_>) -> bool {
        self.listens(local.role) && self.dials(remote, local)
    }

    /// Whether boots of `validator` carry its sessions with `remote`, a validator that listens (another implementation's,
    /// which sends consensus messages only to sessions of validators). Who it is and where it listens is the
    /// directory's to say, see [`crate::members::Members::listening_validator`].
    pub fn carries(self, validator: Place<'_>, remote: Place<'_>) -> bool {
        self == Self::Sentry && (validator.role, remote.role) == (Role::Validator, Role::Validator)
    }

    /// Whether the two may be connected, whoever dialled.
    pub fn links(self, a: Place<'_>, b: Place<'_>) -> bool {
        self.admits(a, b) || self.admits(b, a)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(role: Role, institution: &'static str) -> Place<'static> {
        Place { role, institution, has_boot: institution != "parceiro" }
    }

    #[test]
    fn a_sentry_validator_reaches_its_own_boots_and_nobody_else_reaches_it() {
        let validator = place(Role::Validator, "bndes");
        assert!(!Topology::Sentry.listens(Role::Validator));
        for institution in ["bndes", "tcu", "parceiro"] {
            for role in Role::ALL {
                let other = place(role, institution);
                assert_eq!(
                    Topology::Sentry.links(validator, other),
                    role == Role::Boot && institution == "bndes",
                    "{role} of {institution}"
                );
                assert!(!Topology::Sentry.admits(validator, other));
            }
        }
    }

    #[test]
    fn only_validators_of_a_sentry_network_have_their_sessions_carried() {
        for topology in [Topology::Sentry, Topology::Mesh] {
            for a in Role::ALL {
                for b in Role::ALL {
                    let expected = topology == Topology::Sentry && a == Role::Validator && b == Role::Validator;
                    assert_eq!(topology.carries(place(a, "bndes"), place(b, "tcu")), expected, "{topology} {a} {b}");
                }
            }
        }
    }

    #[test]
    fn boots_admit_their_own_other_boots_and_partners() {
        let boot = place(Role::Boot, "bndes");
        let admitted: Vec<(Role, &str)> = ["bndes", "tcu", "parceiro"]
            .into_iter()
            .flat_map(|institution| Role::ALL.map(|role| (role, institution)))
            .filter(|&(role, institution)| Topology::Sentry.admits(boot, place(role, institution)))
            .collect();
        assert_eq!(
            admitted,
            [
                (Role::Validator, "bndes"),
                (Role::Boot, "bndes"),
                (Role::Writer, "bndes"),
                (Role::ObserverBoot, "bndes"),
                (Role::Boot, "tcu"),
                (Role::Boot, "parceiro"),
                (Role::Writer, "parceiro"),
                (Role::ObserverBoot, "parceiro"),
            ]
        );
    }

    #[test]
    fn observers_never_touch_the_core() {
        for topology in [Topology::Sentry, Topology::Mesh] {
            for role in [Role::Validator, Role::Boot, Role::Writer, Role::Observer] {
                assert!(!topology.links(place(Role::Observer, "publico"), place(role, "bndes")));
            }
            assert!(topology.links(place(Role::Observer, "publico"), place(Role::ObserverBoot, "bndes")));
        }
        assert!(Topology::Mesh.links(place(Role::Validator, "bndes"), place(Role::Validator, "tcu")));
    }
}
