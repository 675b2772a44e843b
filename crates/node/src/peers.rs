//! Whom this node dials and whom it lets in: the topology's answer, rendered for the network.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use ipe_chain::Ledger;
use ipe_p2p::{Admit, Candidate, Core, Path};
use ipe_types::crypto::address_of;
use ipe_types::members::Members;
use ipe_types::spec::ChainSpec;
use ipe_types::topology::Place;
use ipe_types::{Address, Enode, NodeId, Role, Topology};

use crate::config::{ConfigError, NodeConfig};
use crate::permissions::NodeList;
use crate::rules::NodeRules;

/// This node's place in the network and what it knows of the others.
pub(crate) struct Neighbours {
    id: NodeId,
    role: Role,
    institution: String,
    topology: Topology,
    members: Option<Members>,
    /// See [`NodeConfig::carry`].
    carry: Vec<Enode>,
    /// See [`NodeConfig::carry_for`].
    carry_for: HashSet<NodeId>,
    /// See [`NodeConfig::reserved_nodes`].
    reserved: HashMap<NodeId, Vec<String>>,
}

impl Neighbours {
    /// Reads the directory when one is configured.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub(crate) fn new(config: &NodeConfig, id: NodeId) -> Result<Self, ConfigError> {
        let (role, institution, topology) = (config.role, config.institution.clone(), config.topology);
        let members = config.load_members()?;
        let (mut carry, mut carry_for) = (config.carry.clone(), config.carry_for.iter().copied().collect::<HashSet<_>>());
        let carries = (topology, role) == (Topology::Sentry, Role::Boot);
        if !carries && !carry_for.is_empty() {
            tracing::warn!("carry-for has no effect at a {role} of a {topology} network: boots of a sentry network carry");
            carry_for.clear();
        }
        if !carries && (topology, role) != (Topology::Sentry, Role::Validator) && !carry.is_empty() {
            tracing::warn!(
                "carry has no effect at a {role} of a {topology} network: it is for validators that listen nowhere, and their boots"
            );
            carry.clear();
        }
        carry.retain(|enode| {
            let ours = members
                .as_ref()
                .and_then(|members| members.by_id(&enode.id).filter(|member| members.listening_validator(member).is_none()));
            if let Some(ours) = ours {
                tracing::warn!(
                    "carry: {} is no validator that listens, by the directory: boots relay for it, nothing is carried",
                    ours.name
                );
            }
            ours.is_none()
        });
        let reserved = config.reserved_nodes.iter().cloned().collect();
        Ok(Self { id, role, institution, topology, members, carry, carry_for, reserved })
    }

    /// The address under which a node signs blocks if it is a validator: the directory's, else that of its node key.
    pub(crate) fn address_of(&self, node: &NodeId) -> Address {
        let listed = self.members.as_ref().and_then(|members| members.by_id(node));
        listed.map_or_else(|| address_of(*node), |member| member.address)
    }

    /// A validator whose key is not the node's is one to others only where the directory says so.
    ///
    /// # Errors
    /// The directory does not name this node with this address.
    pub(crate) fn names_validator(&self, validator: Address) -> Result<(), String> {
        if self.address_of(&self.id) == validator {
            return Ok(());
        }
        let found = match self.members.as_ref().map(|members| members.by_id(&self.id)) {
            None => "no directory (members) is set".to_owned(),
            Some(None) => format!("the directory does not list the node {:#x}", self.id),
            Some(Some(member)) => format!("the directory has {} with the address {}", member.name, member.address),
        };
        Err(format!(
            "its address is {validator}, which is not the node key's, and {found}: name it in the directory of every node, or leave \
             validator-key-file out"
        ))
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
        let carried = self.carried_nodes();
        let carried = carried.iter().map(|enode| enode.id).chain(self.carry_for.iter().copied());
        let carried = carried.map(|id| (id, Role::Validator));
        let mut roles: HashMap<NodeId, Role> = guessed.chain(known).chain(carried).collect();
        roles.remove(&self.id);
        if self.carries_for().is_some() {
            // They have a session with the validator that we carry for, so that this boot is nothing to them.
            for enode in self.listening_validators().chain(&self.carry) {
                roles.remove(&enode.id);
            }
        }
        roles
    }

    /// Whose places are nobody else's: the chain's validators, known by the addresses of their keys, whom the operator names,
    /// and the institution's own nodes, which other members of their role must not crowd out.
    pub(crate) fn core(self: Arc<Self>, ledger: Arc<Ledger>) -> Core {
        Core::new(move |node| {
            let own = |members: &Members| members.by_id(node).is_some_and(|member| member.institution == self.institution);
            self.members.as_ref().is_some_and(own)
                || self.reserved.contains_key(node)
                || ledger.head().validators_next.contains(&self.address_of(node))
        })
    }

    /// Whose voice a node has when others are counted: its institution's, this node's own not among them; its own when no directory
    /// names it. Only known nodes are asked about.
    pub(crate) fn voice(self: Arc<Self>) -> crate::advice::Voice {
        Arc::new(move |node| match self.members.as_ref().and_then(|members| members.by_id(node)) {
            Some(member) => (member.institution != self.institution).then(|| member.institution.clone()),
            None => Some(format!("{node:#x}")),
        })
    }

    /// Where known nodes come from, as far as the directory and the settings say.
    pub(crate) fn known_hosts(&self) -> Vec<String> {
        let listed = self.members.iter().flat_map(|members| members.nodes()).filter_map(|member| member.enode.as_ref());
        let enodes = listed.chain(&self.carry).flat_map(|enode| &enode.hosts);
        enodes.chain(self.reserved.values().flatten()).cloned().collect()
    }

    fn listening_validators(&self) -> impl Iterator<Item = &Enode> {
        self.members.iter().flat_map(|members| members.nodes().iter().filter_map(|member| members.listening_validator(member)))
    }

    /// Nodes with whom this validator's sessions are carried by its boots: the operator's, and the directory's
    /// validators that listen.
    pub(crate) fn carried_nodes(&self) -> Vec<Enode> {
        if (self.role, self.topology) != (Role::Validator, Topology::Sentry) {
            return Vec::new();
        }
        let mut seen = HashSet::from([self.id]);
        self.carry.iter().chain(self.listening_validators()).filter(|enode| seen.insert(enode.id)).cloned().collect()
    }

    /// Validators for which this boot carries: those named, and where there is somebody to carry to, those of its own
    /// institution. `None`: it does not carry.
    pub(crate) fn carries_for(&self) -> Option<HashSet<NodeId>> {
        if (self.role, self.topology) != (Role::Boot, Topology::Sentry) {
            return None;
        }
        let mut validators = self.carry_for.clone();
        if let Some(members) = &self.members
            && (!self.carry.is_empty() || self.listening_validators().next().is_some())
        {
            let own = members.nodes().iter().filter(|member| {
                member.role == Role::Validator
                    && members.listening_validator(member).is_none()
                    && self.topology.dials(members.place(member), self.place())
            });
            validators.extend(own.map(|member| member.node_id));
        }
        (!validators.is_empty()).then_some(validators)
    }

    /// Whether this boot carries to `candidate`: to a validator that listens where the directory or the operator says,
    /// and without either to anybody, as a direct connection would be let in.
    fn judge_carried(&self, candidate: &Candidate, validator: &NodeId) -> Result<(), String> {
        let at = |enode: &Enode| {
            let named = |host: &String| host.parse::<std::net::IpAddr>().map_or(true, |ip| ip == candidate.remote.ip());
            enode.id == candidate.node && enode.tcp == candidate.listen_port && enode.hosts.iter().any(named)
        };
        if self.carry.iter().any(at) {
            return Ok(());
        }
        let Some(members) = &self.members else {
            return if self.carry.is_empty() { Ok(()) } else { Err("it is not among those given as carry".to_owned()) };
        };
        let Some(member) = members.by_id(&candidate.node) else {
            return Err("it is not in the directory of the network".to_owned());
        };
        let place = members.by_id(validator).map_or(Place { role: Role::Validator, ..self.place() }, |own| members.place(own));
        if !self.topology.carries(place, members.place(member)) {
            return Err(format!("{} is a {}: sessions are carried between validators only", member.name, member.role));
        }
        match members.listening_validator(member) {
            Some(enode) if at(enode) => Ok(()),
            Some(enode) => Err(format!(
                "{} listens on {}:{} by the directory, not on {}",
                member.name,
                enode.hosts.join(","),
                enode.tcp,
                candidate.remote
            )),
            None => Err(format!("{} listens nowhere by the directory: boots relay for it", member.name)),
        }
    }

    /// Who may be connected: members as the topology says; strangers where there is no directory, and at nodes that are
    /// there for the public. What the operator names as static node is always let in.
    fn judge_one(&self, candidate: &Candidate) -> Result<(), String> {
        match &candidate.path {
            Path::Direct if candidate.is_static => return Ok(()),
            Path::Direct => {}
            Path::Through(_) if candidate.is_static => return Ok(()),
            Path::Through(_) => return Err("it is not among the validators with whom this one has carried sessions".to_owned()),
            Path::For(validator) => return self.judge_carried(candidate, validator),
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

    /// The judge for the network: the local allow-list first, which static nodes have to pass too, then the rules on chain, then
    /// the topology.
    pub(crate) fn judge(self: Arc<Self>, listed: Option<Arc<NodeList>>, rules: Arc<NodeRules>) -> Admit {
        Admit::new(move |candidate| {
            if let Some(list) = &listed {
                list.judge(candidate)?;
            }
            rules.judge(candidate)?;
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
        Some(members) => {
            members.by_id(&enode.id).is_some_and(|member| neighbours.topology.dials(neighbours.place(), members.place(member)))
        }
        // Without a directory nobody knows whose boots these are; a sentry validator dials its own only.
        None => !(neighbours.role == Role::Validator && neighbours.topology == Topology::Sentry),
    };
    list.extend(bootnodes.into_iter().filter(|enode| enode.tcp != 0 && allowed(enode)));
    let mut seen = std::collections::HashSet::from([neighbours.id]);
    list.retain(|enode| seen.insert(enode.id));
    Ok(list)
}
