//! From an order, keys and ports to the files of a network.

use crate::order::{Order, OrderError, Slot, merge_alloc};
use crate::settings::Settings;
use alloy_primitives::{Address, U256};
use ipe_types::genesis::{GenesisAccount, GenesisBuilder};
use ipe_types::members::{Member, Members};
use ipe_types::{Enode, NodeId, NodeKey, Role};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Names of the funded development accounts.
pub const ACCOUNT_NAMES: [&str; 10] = ["ana", "bruno", "carla", "diego", "elisa", "fabio", "gabriela", "heitor", "iara", "joana"];

/// Wei of each development account: a million ether.
pub const ACCOUNT_BALANCE: U256 = U256::from_limbs([0x1bce_cced_a100_0000, 0xd3c2, 0, 0]);

/// Method groups that a lab node serves: all of them, it listens on loopback only.
pub const RPC_GROUPS: [&str; 10] = ["ETH", "NET", "WEB3", "QBFT", "TXPOOL", "ADMIN", "DEBUG", "TRACE", "PERM", "IPE"];

/// The public half of a node's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// Public key, 64 bytes.
    pub node_id: NodeId,
    /// Its address.
    pub address: Address,
}

impl Identity {
    /// Of a private key.
    pub fn of(key: &NodeKey) -> Identity {
        Identity { node_id: key.node_id(), address: key.address() }
    }
}

/// Loopback ports of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    /// RLPx; unused when the node does not listen.
    pub p2p: u16,
    /// JSON-RPC, HTTP and WebSocket.
    pub rpc: u16,
    /// Prometheus.
    pub metrics: u16,
}

/// A development account, public half.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DevAccount {
    /// From [`ACCOUNT_NAMES`].
    pub name: String,
    /// Funded in the genesis.
    pub address: Address,
}

/// One node with everything decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedNode {
    /// Name, institution, role.
    #[serde(flatten)]
    pub slot: Slot,
    /// Key, public half.
    pub identity: Identity,
    /// Ports on 127.0.0.1.
    pub ports: Ports,
    /// Whether it listens for peers.
    pub listens: bool,
    /// Its enode; port 0 when it does not listen.
    pub enode: Enode,
    /// Nodes it keeps a connection to.
    pub static_nodes: Vec<Enode>,
}

/// A text file of the network, path relative to the network's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Relative path.
    pub path: PathBuf,
    /// Contents.
    pub text: String,
}

/// A network, decided. Holds no secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// What was wanted.
    pub order: Order,
    /// Every node.
    pub nodes: Vec<PlannedNode>,
    /// Funded accounts with names.
    pub accounts: Vec<DevAccount>,
    /// Text of the genesis file; a file of its own, not part of the plan's.
    #[serde(skip)]
    pub genesis: String,
}

/// Decides a network. `identities` and `ports` go with [`Order::slots`]; `more` are accounts besides the named ones.
///
/// Errors: a range, a count, equal keys, or an account that makes the genesis invalid.
pub fn plan(
    order: Order,
    identities: &[Identity],
    accounts: Vec<DevAccount>,
    ports: &[Ports],
    more: BTreeMap<Address, GenesisAccount>,
) -> Result<Plan, OrderError> {
    order.check()?;
    let slots = order.slots();
    for (what, got) in [("keys", identities.len()), ("ports", ports.len())] {
        if got != slots.len() {
            return Err(OrderError::Count { what, got, nodes: slots.len() });
        }
    }
    let mut nodes: Vec<PlannedNode> = slots
        .into_iter()
        .zip(identities.iter().zip(ports))
        .map(|(slot, (identity, ports))| {
            let listens = order.topology.listens(slot.role);
            let port = if listens { ports.p2p } else { 0 };
            let enode = Enode { id: identity.node_id, hosts: vec!["127.0.0.1".to_owned()], tcp: port, udp: None };
            PlannedNode { slot, identity: *identity, ports: *ports, listens, enode, static_nodes: Vec::new() }
        })
        .collect();
    let members = directory(&order, &nodes)?;
    for (node, member) in nodes.iter_mut().zip(members.nodes()) {
        node.static_nodes = members.dialled_by(member).filter_map(|other| other.enode.clone()).collect();
    }
    let genesis = genesis(&order, &nodes, &accounts, more)?;
    Ok(Plan { order, nodes, accounts, genesis })
}

fn directory(order: &Order, nodes: &[PlannedNode]) -> Result<Members, OrderError> {
    let members = nodes
        .iter()
        .map(|node| Member {
            name: node.slot.name.clone(),
            institution: node.slot.institution.clone(),
            role: node.slot.role,
            node_id: node.identity.node_id,
            address: node.identity.address,
            enode: node.listens.then(|| node.enode.clone()),
        })
        .collect();
    Members::new(order.topology, members).map_err(|error| OrderError::Members(error.to_string()))
}

fn genesis(
    order: &Order,
    nodes: &[PlannedNode],
    accounts: &[DevAccount],
    more: BTreeMap<Address, GenesisAccount>,
) -> Result<String, OrderError> {
    let of = |role| nodes.iter().filter(move |node| node.slot.role == role);
    let mut alloc: BTreeMap<Address, GenesisAccount> =
        accounts.iter().map(|account| (account.address, GenesisAccount::funded(ACCOUNT_BALANCE))).collect();
    merge_alloc(&mut alloc, more);
    let builder = GenesisBuilder {
        chain_id: order.chain_id,
        fork: order.fork()?,
        validators: of(Role::Validator).map(|node| node.identity.address).collect(),
        bootnodes: of(Role::Boot).map(|node| node.enode.to_string()).collect(),
        period_ms: order.period_ms,
        empty_period_s: order.empty_period_s,
        request_timeout_s: order.request_timeout_s,
        gas_limit: order.gas_limit,
        timestamp: order.timestamp,
        alloc,
        ..GenesisBuilder::default()
    };
    Ok(builder.to_json()?)
}

impl Plan {
    /// The directory of nodes.
    pub fn members(&self) -> Result<Members, OrderError> {
        directory(&self.order, &self.nodes)
    }

    /// The node of that name.
    pub fn node(&self, name: &str) -> Option<&PlannedNode> {
        self.nodes.iter().find(|node| node.slot.name == name)
    }

    /// Every file without a secret: genesis, directory, and one configuration a node.
    pub fn files(&self) -> Result<Vec<File>, OrderError> {
        let mut files = vec![
            File { path: "genesis.json".into(), text: self.genesis.clone() },
            File { path: "network.json".into(), text: self.members()?.to_json() },
        ];
        for node in &self.nodes {
            files.push(File { path: PathBuf::from(&node.slot.name).join("node.toml"), text: self.node_settings(node) });
        }
        Ok(files)
    }

    /// Configuration file of one node; paths are relative to its folder.
    fn node_settings(&self, node: &PlannedNode) -> String {
        let mut settings = Settings::new(&format!(
            "{} of a lab network. Flags and IPE_ variables win over this file; ipe node run --help lists every key.",
            node.slot.name
        ));
        settings
            .text("name", &node.slot.name)
            .text("institution", &node.slot.institution)
            .text("role", node.slot.role.name())
            .text("topology", &self.order.topology.to_string())
            .text("data-dir", "data")
            .text("key-file", "key")
            .text("genesis", "../genesis.json")
            .text("members", "../network.json")
            .list("p2p-host", &["127.0.0.1".to_owned()])
            .text("p2p-interface", "127.0.0.1")
            .number("p2p-port", node.enode.tcp.into())
            .switch("p2p-listen", node.listens);
        let enodes: Vec<String> = node.static_nodes.iter().map(Enode::to_string).collect();
        settings
            .list("static-nodes", &enodes)
            .switch("discovery-enabled", false)
            .switch("rpc-http-enabled", true)
            .text("rpc-http-host", "127.0.0.1")
            .number("rpc-http-port", node.ports.rpc.into())
            .list("rpc-http-api", &RPC_GROUPS.map(str::to_owned))
            .switch("metrics-enabled", true)
            .text("metrics-host", "127.0.0.1")
            .number("metrics-port", node.ports.metrics.into())
            .number("min-gas-price", 0);
        settings.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ipe_types::Topology;
    use ipe_types::spec::ChainSpec;

    fn key(n: u16) -> NodeKey {
        let mut secret = [7; 32];
        secret[..2].copy_from_slice(&n.to_be_bytes());
        NodeKey::from_bytes(secret).expect("in range")
    }

    fn planned(order: Order) -> Plan {
        let count = order.slots().len() as u16;
        let identities: Vec<Identity> = (0..count).map(|n| Identity::of(&key(n))).collect();
        let ports: Vec<Ports> = (0..count).map(|n| Ports { p2p: 20_000 + n, rpc: 21_000 + n, metrics: 22_000 + n }).collect();
        let account = DevAccount { name: "ana".into(), address: key(9_999).address() };
        plan(order, &identities, vec![account], &ports, BTreeMap::new()).expect("valid order")
    }

    #[test]
    fn in_sentry_a_validator_knows_only_its_own_boots_and_nobody_knows_it() {
        let plan = planned(Order { boots: 2, ..Order::default() });
        let validator = plan.node("inst2-validator").expect("planned");
        let dialled: Vec<&str> = validator
            .static_nodes
            .iter()
            .map(|enode| plan.nodes.iter().find(|node| node.enode.id == enode.id).expect("known").slot.name.as_str())
            .collect();
        assert_eq!(dialled, ["inst2-boot", "inst2-boot2"]);
        assert!(!validator.listens);
        for node in &plan.nodes {
            assert!(node.static_nodes.iter().all(|enode| enode.tcp != 0));
            assert!(node.static_nodes.iter().all(|enode| enode.id != node.identity.node_id));
        }
    }

    #[test]
    fn in_mesh_validators_know_each_other() {
        let plan = planned(Order { topology: Topology::Mesh, ..Order::default() });
        let validator = plan.node("inst1-validator").expect("planned");
        assert!(validator.listens);
        assert_eq!(validator.static_nodes.len(), 4, "three validators and the own boot");
    }

    #[test]
    fn files_are_what_nodes_read() {
        for institutions in [1, 20] {
            let plan = planned(Order { institutions, period_ms: 250, ..Order::default() });
            let files = plan.files().expect("files");
            assert_eq!(files.len(), plan.nodes.len() + 2);
            let spec = ChainSpec::parse(&files[0].text).expect("genesis");
            assert_eq!(spec.qbft_at(1, 0).period_ms, 250);
            assert_eq!(spec.genesis().bootnodes.len(), institutions as usize);
            assert_eq!(spec.alloc()[&plan.accounts[0].address].balance, ACCOUNT_BALANCE);
            assert_eq!(ACCOUNT_BALANCE, U256::from(10).pow(U256::from(24)));
            let members = Members::parse(&files[1].text).expect("directory");
            assert_eq!(members.nodes().len(), plan.nodes.len());
            for file in &files[2..] {
                let table: toml::Table = file.text.parse().expect("TOML");
                assert!(table.contains_key("static-nodes"));
                // A web page in the operator's browser reaches loopback as well.
                assert!(!table.contains_key("rpc-http-cors-origins"), "{}", file.text);
            }
        }
    }

    #[test]
    fn a_plan_comes_back_from_its_file() {
        let plan = planned(Order::default());
        let text = serde_json::to_string(&plan).expect("json");
        let again: Plan = serde_json::from_str(&text).expect("own text");
        assert_eq!(Plan { genesis: plan.genesis.clone(), ..again }, plan);
    }

    #[test]
    fn counts_and_equal_keys_are_refused() {
        let order = Order::default();
        let error = plan(order.clone(), &[], Vec::new(), &[], BTreeMap::new()).expect_err("no keys");
        assert!(error.to_string().contains("keys: got 0"), "{error}");
        let same = vec![Identity::of(&key(1)); order.slots().len()];
        let ports = vec![Ports { p2p: 1, rpc: 2, metrics: 3 }; same.len()];
        assert!(matches!(plan(order, &same, Vec::new(), &ports, BTreeMap::new()), Err(OrderError::Members(_))));
    }
}
