//! Whom this node dials and whom it lets in: the topology's answer, rendered for the network.

use std::collections::HashMap;
use std::sync::Arc;

use ipe_p2p::{Admit, Candidate};
use ipe_types::members::Members;
use ipe_types::spec::ChainSpec;
use ipe_types::topology::Place;
use ipe_types::{Enode, NodeId, Role, Topology};

use crate::config::{ConfigError, NodeConfig};
use crate::permissions::NodeList;

/// This node's place in the network and what it knows of the others.
pub(crate) struct Neighbours {
    id: NodeId,
    role: Role,
    institution: String,
    topology: Topology,
    members: Option<Members>,
}

impl Neighbours {
    /// Reads the directory when one is configured.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub(crate) fn new(config: &NodeConfig, id: NodeId) -> Result<Self, ConfigError> {
        let (role, institution, topology) = (config.role, config.institution.clone(), config.topology);
        Ok(Self { id, role, institution, topology, members: config.load_members()? })
    }

    fn place(&self) -> Place<'_> {
        let has_boot = self.members.as_ref().is_none_or(|members| members.has_boot(&self.institution));
        Place { role: self.role, institution: &self.institution, has_boot }
    }

    /// Roles by key: the directory's, and for static nodes outside of it the only role that a node of ours would dial.
    pub(crate) fn directory(&self, static_nodes: &[Enode]) -> HashMap<NodeId, Role> {
        let dialled = match (self.role, self.topology) {
            (Role::Validator, Topology::Mesh) => None,
            (Role::Validator | Role::Boot | Role::Writer, _) => Some(Role::Boot),
            (Role::ObserverBoot | Role::Observer, _) => Some(Role::ObserverBoot),
        };
        let guessed = static_nodes.iter().filter_map(|enode| Some((enode.id, dialled?)));
        let known = self.members.iter().flat_map(|members| members.nodes()).map(|member| (member.node_id, member.role));
        guessed.chain(known).filter(|(id, _)| *id != self.id).collect()
    }

    /// Who may be connected: members as the topology says; strangers where there is no directory, and at nodes that are
    /// there for the public. What the operator names as static node is always let in.
    fn judge_one(&self, candidate: &Candidate) -> Result<(), String> {
        if candidate.is_static {
            return Ok(());
        }
        let Some(members) = &self.members else { return Ok(()) };
        match members.by_id(&candidate.node) {
            Some(member) if self.topology.links(self.place(), members.place(member)) => Ok(()),
            Some(member) => Err(format!(
                "{} ({} of {}) is not to be connected to a {} of {} in a {} network",
                member.name, member.role, member.institution, self.role, self.institution, self.topology
            )),
            None if matches!(self.role, Role::ObserverBoot | Role::Observer) => Ok(()),
            None => Err("it is not in the directory of the network".to_owned()),
        }
    }

    /// The judge for the network: the local allow-list first, which static nodes have to pass too, then the topology.
    pub(crate) fn judge(self: Arc<Self>, listed: Option<Arc<NodeList>>) -> Admit {
        Admit::new(move |candidate| {
            if let Some(list) = &listed {
                list.judge(candidate)?;
            }
            self.judge_one(candidate)
        })
    }
}

/// Nodes to stay connected to: the operator's, and the bootnodes that the topology lets this node dial.
///
/// # Errors
/// The file of static nodes cannot be read.
pub(crate) fn dial_list(config: &NodeConfig, spec: &ChainSpec, neighbours: &Neighbours) -> Result<Vec<Enode>, ConfigError> {
    let mut list = config.load_static_nodes()?;
    let bootnodes = match &config.bootnodes {
        Some(given) => given.clone(),
        None => spec.genesis().bootnodes.iter().filter_map(|text| text.parse::<Enode>().ok()).collect(),
    };
    let allowed = |enode: &Enode| match &neighbours.members {
        Some(members) => members
            .by_id(&enode.id)
            .is_some_and(|member| neighbours.topology.dials(neighbours.place(), members.place(member))),
        // Without a directory nobody knows whose boots these are; a sentry validator dials its own only.
        None => !(neighbours.role == Role::Validator && neighbours.topology == Topology::Sentry),
    };
    list.extend(bootnodes.into_iter().filter(|enode| enode.tcp != 0 && allowed(enode)));
    let mut seen = std::collections::HashSet::from([neighbours.id]);
    list.retain(|enode| seen.insert(enode.id));
    Ok(list)
}
