//! The directory of a network's nodes (`network.json`): who runs which node in which role. Nodes use it to admit peers
//! and to say names instead of keys; it is the same file on every node of a network.

use std::collections::{HashMap, HashSet};

use alloy_primitives::Address;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::crypto::{NodeId, address_of};
use crate::enode::Enode;
use crate::role::Role;
use crate::topology::{Place, Topology};

/// Nodes that one directory may list: twenty institutions with a dozen nodes each are 240; the bound only keeps a
/// wrong file from filling memory.
pub const MAX_MEMBERS: usize = 10_000;

/// One node of the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Member {
    /// Unique name, for people: `inst1-validator`.
    pub name: String,
    /// Who runs it.
    pub institution: String,
    /// What it is for.
    pub role: Role,
    /// Public key, 64 bytes.
    pub node_id: NodeId,
    /// A validator's address in the validator set, whose key may be another than the node's; of every other node the account
    /// address of its key.
    pub address: Address,
    /// Where it listens; absent when it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enode: Option<Enode>,
}

/// Why a directory cannot be used.
#[derive(Debug, Error)]
pub enum MembersError {
    /// Not the expected JSON.
    #[error(
        "not a directory of nodes: {0}; expected {{\"topology\": \"sentry\", \"nodes\": [{{\"name\", \"institution\", \"role\", \"nodeId\", \"address\"}}]}}"
    )]
    Json(#[from] serde_json::Error),
    /// More nodes than [`MAX_MEMBERS`].
    #[error("nodes: got {0} nodes, expected at most {MAX_MEMBERS}")]
    TooMany(usize),
    /// Two nodes share a name, a key or an address.
    #[error("nodes: {what} {value} is there twice, expected each once")]
    Twice {
        /// `name`, `nodeId` or `address`.
        what: &'static str,
        /// The repeated value.
        value: String,
    },
    /// The address is not the key's.
    #[error("nodes: {name}: address is {got}, expected {expected}, the address of its nodeId")]
    Address {
        /// Name of the node.
        name: String,
        /// In the file.
        got: Address,
        /// Computed.
        expected: Address,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    #[serde(default)]
    topology: Topology,
    nodes: Vec<Member>,
}

/// A checked directory, indexed by key and address.
#[derive(Clone, Debug, Default)]
pub struct Members {
    topology: Topology,
    nodes: Vec<Member>,
    by_id: HashMap<NodeId, usize>,
    by_address: HashMap<Address, usize>,
    with_boot: HashSet<String>,
}

impl Members {
    /// Checks and indexes.
    pub fn new(topology: Topology, nodes: Vec<Member>) -> Result<Members, MembersError> {
        if nodes.len() > MAX_MEMBERS {
            return Err(MembersError::TooMany(nodes.len()));
        }
        let mut members = Members { topology, ..Members::default() };
        let mut names = HashSet::new();
        for (index, node) in nodes.iter().enumerate() {
            if !names.insert(node.name.clone()) {
                return Err(MembersError::Twice { what: "name", value: node.name.clone() });
            }
            let expected = address_of(node.node_id);
            if node.address != expected && node.role != Role::Validator {
                return Err(MembersError::Address { name: node.name.clone(), got: node.address, expected });
            }
            if members.by_id.insert(node.node_id, index).is_some() {
                return Err(MembersError::Twice { what: "nodeId", value: node.node_id.to_string() });
            }
            if members.by_address.insert(node.address, index).is_some() {
                return Err(MembersError::Twice { what: "address", value: node.address.to_string() });
            }
            if node.role == Role::Boot {
                members.with_boot.insert(node.institution.clone());
            }
        }
        members.nodes = nodes;
        Ok(members)
    }

    /// Reads the file's text.
    pub fn parse(text: &str) -> Result<Members, MembersError> {
        let file: File = serde_json::from_str(text)?;
        Members::new(file.topology, file.nodes)
    }

    /// The file's text.
    pub fn to_json(&self) -> String {
        let file = File { topology: self.topology, nodes: self.nodes.clone() };
        serde_json::to_string_pretty(&file).unwrap_or_default() + "\n"
    }

    /// Shape of the network.
    pub fn topology(&self) -> Topology {
        self.topology
    }

    /// Every node, in the file's order.
    pub fn nodes(&self) -> &[Member] {
        &self.nodes
    }

    /// The node with this key.
    pub fn by_id(&self, id: &NodeId) -> Option<&Member> {
        self.by_id.get(id).map(|index| &self.nodes[*index])
    }

    /// The node whose key has this account address.
    pub fn by_address(&self, address: &Address) -> Option<&Member> {
        self.by_address.get(address).map(|index| &self.nodes[*index])
    }

    /// Whether the institution runs a boot.
    pub fn has_boot(&self, institution: &str) -> bool {
        self.with_boot.contains(institution)
    }

    /// Where a validator of a sentry network listens, though validators of such a network listen nowhere: it is another
    /// implementation's, and boots carry the sessions of their validators with it. `None` for every other node.
    pub fn listening_validator<'a>(&self, member: &'a Member) -> Option<&'a Enode> {
        let listens = self.topology == Topology::Sentry && member.role == Role::Validator;
        member.enode.as_ref().filter(|enode| listens && enode.tcp != 0)
    }

    /// What the topology needs to know about a node of this directory.
    pub fn place<'a>(&self, member: &'a Member) -> Place<'a> {
        Place { role: member.role, institution: &member.institution, has_boot: self.has_boot(&member.institution) }
    }

    /// The nodes that `member` keeps a connection to, itself excluded.
    pub fn dialled_by<'a>(&'a self, member: &'a Member) -> impl Iterator<Item = &'a Member> {
        let from = self.place(member);
        self.nodes.iter().filter(move |other| other.node_id != member.node_id && self.topology.dials(from, self.place(other)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::NodeKey;

    fn member(name: &str, institution: &str, role: Role, secret: u8) -> Member {
        let key = NodeKey::from_bytes([secret; 32]).expect("in range");
        let (node_id, address) = (key.node_id(), key.address());
        Member { name: name.into(), institution: institution.into(), role, node_id, address, enode: None }
    }

    #[test]
    fn a_validator_dials_its_own_boots() {
        let nodes = vec![
            member("a-validator", "a", Role::Validator, 1),
            member("a-boot", "a", Role::Boot, 2),
            member("b-boot", "b", Role::Boot, 3),
        ];
        let members = Members::new(Topology::Sentry, nodes).expect("distinct");
        let dialled =
            |at: usize| -> Vec<&str> { members.dialled_by(&members.nodes()[at]).map(|other| other.name.as_str()).collect() };
        assert_eq!(dialled(0), ["a-boot"]);
        assert_eq!(dialled(1), ["b-boot"]);
        let again = Members::parse(&members.to_json()).expect("own text");
        assert_eq!(again.nodes(), members.nodes());
        assert_eq!(again.by_id(&members.nodes()[2].node_id).map(|node| node.name.as_str()), Some("b-boot"));
    }

    #[test]
    fn a_validator_with_an_enode_is_another_implementations() {
        let mut foreign = member("x-validator", "x", Role::Validator, 4);
        let enode = Enode { id: foreign.node_id, hosts: vec!["besu.example".into()], tcp: 30303, udp: None };
        foreign.enode = Some(enode.clone());
        let mut boot = member("x-boot", "x", Role::Boot, 5);
        boot.enode = Some(Enode { id: boot.node_id, ..enode.clone() });
        let nodes = vec![foreign, boot, member("a-validator", "a", Role::Validator, 6)];
        let listening = |topology| {
            let members = Members::new(topology, nodes.clone()).expect("distinct");
            let found: Vec<Enode> =
                members.nodes().iter().filter_map(|member| members.listening_validator(member).cloned()).collect();
            found
        };
        assert_eq!(listening(Topology::Sentry), [enode]);
        assert_eq!(listening(Topology::Mesh), []);
    }

    #[test]
    fn mistakes_are_named() {
        let mut wrong = member("x", "a", Role::Boot, 1);
        wrong.address = Address::ZERO;
        let error = |nodes| Members::new(Topology::Sentry, nodes).expect_err("wrong").to_string();
        assert!(error(vec![wrong]).contains("address of its nodeId"));
        assert!(error(vec![member("x", "a", Role::Boot, 1), member("x", "a", Role::Boot, 2)]).contains("name x"));
        assert!(error(vec![member("x", "a", Role::Boot, 1), member("y", "a", Role::Boot, 1)]).contains("nodeId"));
        assert!(Members::parse("[]").expect_err("no object").to_string().contains("expected"));
    }
}
