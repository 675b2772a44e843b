//! A network of mixed clients on loopback: full mesh of static nodes, every process with its folder and log.

use crate::children;
use crate::client::Client;
use crate::rpc::{self, quantity};
use alloy_primitives::{Address, keccak256};
use ipe_types::crypto::{NodeId, NodeKey};
use ipe_types::extra::ExtraData;
use ipe_types::{Dialect, Enode};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// Longest wait for one thing to come true. Far above what a healthy network needs (a Java node starts in ten to
/// twenty seconds, a dozen rounds may pass before a proposer is up): it only ends a network that stands still.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(200);

/// What a client needs to know to run one node.
pub struct Place {
    /// Unique name, also of its folder.
    pub name: String,
    /// Everything the node writes.
    pub folder: PathBuf,
    /// Genesis file of the network.
    pub genesis: PathBuf,
    /// Chain id, also the network id.
    pub chain_id: u64,
    /// The node's key.
    pub key: NodeKey,
    /// TCP port for peers.
    pub p2p: u16,
    /// JSON-RPC over HTTP.
    pub http: u16,
    /// Static nodes, as enode URLs.
    pub peers: Vec<String>,
    /// Where a node of ours stands.
    pub seat: Seat,
}

/// Where a node of ours stands in the network.
#[derive(Clone, Debug)]
pub enum Seat {
    /// A validator that is connected to all others, as theirs are.
    Mesh,
    /// A validator behind boots, which carry its sessions with these nodes.
    BehindBoots(Vec<String>),
    /// A boot that carries sessions of the validator with this public key (hex) with these nodes.
    Boot(String, Vec<String>),
}

/// One node, running or not.
pub struct Node {
    /// What it runs.
    pub client: Client,
    /// Its settings.
    pub place: Place,
    child: Option<Child>,
    paused: bool,
}

/// A mixed network.
pub struct Network {
    folder: PathBuf,
    dialect: Dialect,
    /// All nodes; the first four are the genesis' validators.
    pub nodes: Vec<Node>,
}

/// A free TCP port of loopback. It is given back before the node binds it, which nobody else on a test machine hurries to do.
pub fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|error| format!("no free port: {error}"))?;
    listener.local_addr().map(|address| address.port()).map_err(|error| error.to_string())
}

/// The key of node `index`, the same in every run so that logs can be compared.
pub fn key(index: usize) -> Result<NodeKey, String> {
    NodeKey::from_bytes(keccak256(format!("interop node {index}")).0).map_err(|error| error.to_string())
}

pub fn enode(id: NodeId, port: u16) -> String {
    Enode { id, hosts: vec!["127.0.0.1".to_owned()], tcp: port, udp: None }.to_string()
}

impl Network {
    /// Lays out a network whose first validators run these clients, and starts them all.
    pub fn start(folder: &Path, clients: &[Client], dialect: Dialect, genesis: Value) -> Result<Network, String> {
        let mut network = Network::empty(folder, dialect, &genesis)?;
        for client in clients {
            network.place(client.clone(), genesis["config"]["chainId"].as_u64().unwrap_or(1))?;
        }
        let urls: Vec<String> = network.nodes.iter().map(Node::enode).collect();
        for (index, node) in network.nodes.iter_mut().enumerate() {
            node.place.peers = urls.iter().enumerate().filter(|(at, _)| *at != index).map(|(_, url)| url.clone()).collect();
        }
        for index in 0..network.nodes.len() {
            network.run(index)?;
        }
        Ok(network)
    }

    /// Lays out an institution of ours in sentry form beside three validators of theirs, and starts them all: node 0 is our
    /// validator behind the boots 4 and 5, nodes 1 to 3 are theirs. The first of theirs has our validator at the first
    /// boot's address in its static nodes; the others know nothing of it.
    pub fn sentry(folder: &Path, ours: &Client, theirs: &Client, dialect: Dialect, genesis: Value) -> Result<Network, String> {
        let mut network = Network::empty(folder, dialect, &genesis)?;
        let clients = [ours, theirs, theirs, theirs, ours, ours];
        for client in clients {
            network.place(client.clone(), genesis["config"]["chainId"].as_u64().unwrap_or(1))?;
        }
        let urls: Vec<String> = network.nodes.iter().map(Node::enode).collect();
        let validator = network.nodes[0].id();
        let at_boot = enode(network.nodes[0].place.key.node_id(), network.nodes[4].place.p2p);
        let (foreign, boots) = (&urls[1..4], &urls[4..6]);
        let others = |own: usize, list: &[String]| list.iter().filter(|url| **url != urls[own]).cloned().collect::<Vec<_>>();
        for (index, node) in network.nodes.iter_mut().enumerate() {
            (node.place.peers, node.place.seat) = match index {
                0 => (boots.to_vec(), Seat::BehindBoots(foreign.to_vec())),
                1 => ([others(1, foreign), vec![at_boot.clone()]].concat(), Seat::Mesh),
                2 | 3 => (others(index, foreign), Seat::Mesh),
                _ => (others(index, boots), Seat::Boot(validator.clone(), foreign.to_vec())),
            };
        }
        for index in [4, 5, 0, 1, 2, 3] {
            network.run(index)?;
        }
        Ok(network)
    }

    fn empty(folder: &Path, dialect: Dialect, genesis: &Value) -> Result<Network, String> {
        if folder.exists() {
            std::fs::remove_dir_all(folder).map_err(|error| format!("clearing {}: {error}", folder.display()))?;
        }
        std::fs::create_dir_all(folder).map_err(|error| format!("making {}: {error}", folder.display()))?;
        let path = folder.join("genesis.json");
        std::fs::write(&path, format!("{genesis:#}")).map_err(|error| format!("writing {}: {error}", path.display()))?;
        Ok(Network { folder: folder.to_owned(), dialect, nodes: Vec::new() })
    }

    fn place(&mut self, client: Client, chain_id: u64) -> Result<usize, String> {
        let index = self.nodes.len();
        let place = Place {
            name: format!("node{}", index + 1),
            folder: PathBuf::new(),
            genesis: self.folder.join("genesis.json"),
            chain_id,
            key: key(index)?,
            p2p: free_port()?,
            http: free_port()?,
            peers: Vec::new(),
            seat: Seat::Mesh,
        };
        self.nodes.push(Node { client, place, child: None, paused: false });
        self.fresh_folder(index)?;
        Ok(index)
    }

    /// Gives a node an empty folder of its own; the old one stays where it is.
    fn fresh_folder(&mut self, index: usize) -> Result<(), String> {
        let node = &mut self.nodes[index];
        let mut life = 1;
        let folder = loop {
            let folder = self.folder.join(format!("{}-{}-{life}", node.place.name, node.client.name()));
            if !folder.exists() {
                break folder;
            }
            life += 1;
        };
        std::fs::create_dir_all(&folder).map_err(|error| format!("making {}: {error}", folder.display()))?;
        node.place.folder = folder;
        Ok(())
    }

    /// Adds a node with a new key that dials these nodes only, and starts it.
    pub fn add(&mut self, client: Client, peers: &[usize]) -> Result<usize, String> {
        let chain_id = self.nodes.first().map_or(1, |node| node.place.chain_id);
        let index = self.place(client, chain_id)?;
        self.nodes[index].place.peers = peers.iter().map(|&peer| self.nodes[peer].enode()).collect();
        self.run(index)?;
        Ok(index)
    }

    /// Starts a stopped node on the folder that it has, and waits until it answers.
    pub fn run(&mut self, index: usize) -> Result<(), String> {
        let dialect = self.dialect;
        let node = &mut self.nodes[index];
        let log = node.place.folder.join("log.txt");
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(&log)
            .map_err(|error| format!("opening {}: {error}", log.display()))?;
        let copy = log.try_clone().map_err(|error| error.to_string())?;
        let mut command = node.client.prepare(&node.place, dialect)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(copy)
            .spawn()
            .map_err(|error| format!("{} did not start: {error}", node.client.program.display()))?;
        children::started(&child);
        node.child = Some(child);
        Ok(())
    }

    /// Ends a node: SIGTERM for a stop, SIGKILL for a crash.
    pub fn stop(&mut self, index: usize, how: Signal) -> Result<(), String> {
        let node = &mut self.nodes[index];
        if let Some(mut child) = node.child.take() {
            node.paused = false;
            children::end(&mut child, how)?;
        }
        Ok(())
    }

    /// Stops the process where it stands, or lets it go on.
    pub fn pause(&mut self, index: usize, paused: bool) -> Result<(), String> {
        let node = &mut self.nodes[index];
        if let Some(child) = &node.child {
            children::signal(child, if paused { Signal::SIGSTOP } else { Signal::SIGCONT })?;
            node.paused = paused;
        }
        Ok(())
    }

    /// Stops a node and starts it with nothing but its key, perhaps with another client.
    pub fn replace(&mut self, index: usize, client: Client) -> Result<(), String> {
        self.stop(index, Signal::SIGTERM)?;
        self.nodes[index].client = client;
        self.fresh_folder(index)?;
        self.run(index)
    }

    /// All lines that nodes of this client have logged so far, those that run no more included.
    pub fn lines_of(&self, client: &Client) -> Result<Vec<String>, String> {
        let failed = |error: std::io::Error| format!("reading the logs in {}: {error}", self.folder.display());
        let mut lines = Vec::new();
        for entry in std::fs::read_dir(&self.folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.file_name().to_string_lossy().contains(&format!("-{}-", client.name())) {
                let text = std::fs::read(entry.path().join("log.txt")).map_err(failed)?;
                lines.extend(String::from_utf8_lossy(&text).lines().map(str::to_owned));
            }
        }
        Ok(lines)
    }

    /// Name of its folder.
    pub fn name(&self) -> String {
        self.folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Nodes that run and are not paused.
    pub fn up(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|&at| self.nodes[at].child.is_some() && !self.nodes[at].paused).collect()
    }

    /// Highest height that any node tells, 0 when none answers.
    pub fn height(&self) -> u64 {
        self.up().into_iter().filter_map(|at| self.nodes[at].height().ok()).max().unwrap_or(0)
    }

    /// Waits until `holds`.
    ///
    /// Errors: after [`PATIENCE`], with what every node says of itself, or as soon as a node has ended by itself.
    pub fn until(&mut self, what: &str, mut holds: impl FnMut(&Network) -> Result<bool, String>) -> Result<(), String> {
        let began = Instant::now();
        let mut last = String::new();
        loop {
            match holds(self) {
                Ok(true) => return Ok(()),
                Ok(false) => last.clear(),
                Err(why) => last = why,
            }
            for node in &mut self.nodes {
                if let Some(Ok(Some(status))) = node.child.as_mut().map(Child::try_wait) {
                    return Err(format!("{} ({}) ended by itself: {status}", node.place.name, node.client.name()));
                }
            }
            if began.elapsed() > PATIENCE {
                return Err(format!("after {} s still waiting until {what}; {last}\n{}", PATIENCE.as_secs(), self.told()));
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Waits until all of these nodes have reached `height`.
    pub fn all_reach(&mut self, nodes: &[usize], height: u64) -> Result<(), String> {
        self.until(&format!("nodes {nodes:?} reach block {height}"), |network| {
            for &at in nodes {
                if network.nodes[at].height()? < height {
                    return Ok(false);
                }
            }
            Ok(true)
        })
    }

    /// Waits until every running node is `count` blocks past the highest of now; gives that height.
    pub fn grow(&mut self, count: u64) -> Result<u64, String> {
        let target = self.height() + count;
        self.all_reach(&self.up(), target)?;
        Ok(target)
    }

    /// Waits until the validators (first `count` nodes) that run all are connected with each other.
    pub fn meshed(&mut self, count: usize) -> Result<(), String> {
        let up: Vec<usize> = self.up().into_iter().filter(|&at| at < count).collect();
        self.until("validators are connected with each other", |network| {
            for &at in &up {
                let peers = network.nodes[at].peers()?;
                if !up.iter().all(|&other| other == at || peers.contains(&network.nodes[other].id())) {
                    return Ok(false);
                }
            }
            Ok(true)
        })
    }

    /// One line a node: height, peers, or why it does not answer.
    fn told(&self) -> String {
        let line = |node: &Node| {
            let state = match (&node.child, node.paused) {
                (None, _) => "stopped".to_owned(),
                (_, true) => "paused".to_owned(),
                _ => match (node.height(), node.peers()) {
                    (Ok(height), Ok(peers)) => format!("height {height}, {} peers", peers.len()),
                    (Err(why), _) | (_, Err(why)) => why,
                },
            };
            format!("    {} {}: {state}; log in {}\n", node.place.name, node.client.name(), node.place.folder.display())
        };
        self.nodes.iter().map(line).collect()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for index in 0..self.nodes.len() {
            if let Err(why) = self.stop(index, Signal::SIGTERM) {
                eprintln!("stopping {}: {why}", self.nodes[index].place.name);
            }
        }
    }
}

impl Node {
    /// Public key, 128 hex digits without prefix.
    pub fn id(&self) -> String {
        hex::encode(self.place.key.node_id())
    }

    /// Address of the key.
    pub fn address(&self) -> Address {
        self.place.key.address()
    }

    fn enode(&self) -> String {
        enode(self.place.key.node_id(), self.place.p2p)
    }

    /// Puts a question.
    pub fn ask(&self, method: &str, params: Value) -> Result<Value, String> {
        rpc::ask(self.place.http, method, params).map_err(|why| format!("{}: {why}", self.place.name))
    }

    /// Number of its newest block.
    pub fn height(&self) -> Result<u64, String> {
        let answer = self.ask("eth_blockNumber", json!([]))?;
        quantity(&answer).ok_or_else(|| format!("{}: eth_blockNumber is {answer}", self.place.name))
    }

    /// Public keys of its peers, 128 hex digits each.
    pub fn peers(&self) -> Result<Vec<String>, String> {
        let answer = self.ask("admin_peers", json!([]))?;
        let peers = answer.as_array().ok_or_else(|| format!("{}: admin_peers is {answer}", self.place.name))?;
        let id = |peer: &Value| {
            let text = peer["enode"].as_str().or_else(|| peer["id"].as_str()).unwrap_or_default();
            let text = text.trim_start_matches("enode://").trim_start_matches("0x");
            text.split('@').next().unwrap_or_default().to_owned()
        };
        Ok(peers.iter().map(id).collect())
    }

    /// Validators that seal the block after `height`, sorted.
    pub fn validators(&self, height: u64) -> Result<Vec<Address>, String> {
        let (method, params) = self.client.validators(height);
        let answer = self.ask(method, params)?;
        let mut list: Vec<Address> =
            serde_json::from_value(answer).map_err(|error| format!("{}: {method}: {error}", self.place.name))?;
        list.sort_unstable();
        Ok(list)
    }

    /// A block's header extra data, decoded.
    pub fn extra(&self, height: u64) -> Result<ExtraData, String> {
        let block = self.ask("eth_getBlockByNumber", json!([format!("{height:#x}"), false]))?;
        let text = block["extraData"].as_str().unwrap_or_default();
        let bytes = hex::decode(text.trim_start_matches("0x")).map_err(|error| error.to_string())?;
        ExtraData::decode(&bytes).map_err(|error| format!("{}: block {height}: {error}", self.place.name))
    }
}
