//! What a node is for.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Role of a node in its institution (design: roles of RBB).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Signs blocks. In a sentry topology it listens nowhere and dials only its own institution's boots.
    Validator,
    /// Connects an institution to the others and relays their consensus messages.
    Boot,
    /// Takes transactions from applications.
    Writer,
    /// Public entry: observers connect to it, never to the core.
    ObserverBoot,
    /// Follows the chain, submits nothing.
    Observer,
}

impl Role {
    /// All roles, the core first.
    pub const ALL: [Self; 5] = [Self::Validator, Self::Boot, Self::Writer, Self::ObserverBoot, Self::Observer];

    /// Name in configuration files, metrics and node names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Validator => "validator",
            Self::Boot => "boot",
            Self::Writer => "writer",
            Self::ObserverBoot => "observer-boot",
            Self::Observer => "observer",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.name())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|role| role.name() == text)
            .ok_or_else(|| format!("role is {text:?}, expected validator, boot, writer, observer-boot or observer"))
    }
}
