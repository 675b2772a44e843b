//! What a [`Network`](crate::Network) is started with.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipe_types::eth::EthVersion;
use ipe_types::fork_id::ForkIds;
use ipe_types::{B256, Enode, NodeId, NodeKey, Role, U256};
use tokio::sync::watch;

use crate::carry::CarrierConfig;
use crate::ipe::IpeStatus;

/// Everything that a network needs; nothing is read from files or the environment.
#[derive(Clone, Debug)]
pub struct NetworkConfig {
    /// The node's key: its identity on the wire.
    pub key: NodeKey,
    /// Client name sent in Hello, as `ipe/v0.1.0/linux-x86_64`; at most 128 bytes are sent.
    pub client: String,
    /// Where to accept connections; port 0 takes any free one. `None`: no listening socket is ever opened.
    pub listen: Option<SocketAddr>,
    /// Hosts (IP addresses or DNS names) under which others reach the listener, for our own enode; empty: the listening address.
    pub advertised: Vec<String>,
    /// UDP discovery; `None`: no UDP socket is ever opened.
    pub discovery: Option<DiscoveryConfig>,
    /// The chain that peers must share.
    pub chain: ChainIdentity,
    /// The head that Status messages tell; its sender may change it at any time.
    pub head: watch::Receiver<LocalHead>,
    /// Versions of eth offered, in any order.
    pub eth_versions: Vec<EthVersion>,
    /// Whether `istanbul/100` is offered.
    pub istanbul: bool,
    /// What `ipe/1` tells peers about us, with the height of `head`; `None`: the capability is not offered.
    pub ipe: Option<IpeStatus>,
    /// Nodes to stay connected to: dialled for ever, admitted beyond the slots. Boot nodes belong here too.
    pub static_nodes: Vec<Enode>,
    /// Nodes to stay connected to through those static nodes that carry: validators of another implementation, for a
    /// validator that listens nowhere. Empty: no carried session is opened or taken.
    pub carried_nodes: Vec<Enode>,
    /// For whom this node carries; `None`: for nobody.
    pub carrier: Option<CarrierConfig>,
    /// Known nodes and their roles.
    pub directory: HashMap<NodeId, Role>,
    /// Nodes outside the directory whose places are kept free for them all the same. Who is neither static, nor in the
    /// directory, nor of the core is a stranger.
    pub core: Core,
    /// Hosts (IP addresses or DNS names) from which known nodes come: connections from there do not share their places with
    /// strangers' before their keys are known. The hosts of static and carried nodes are known anyway.
    pub known_hosts: Vec<String>,
    /// Asked for every connection in both directions, before dialling and after the other's Hello.
    pub admit: Admit,
    /// Bounds on connections.
    pub limits: Limits,
}

/// The chain that a peer must be on.
#[derive(Clone, Debug)]
pub struct ChainIdentity {
    /// Network id; the chain id unless configured otherwise.
    pub network_id: u64,
    /// The genesis hash.
    pub genesis: B256,
    /// Fork identifiers of the chain (EIP-2124).
    pub fork_ids: ForkIds,
}

/// Our head, as Status tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalHead {
    /// Number of the head.
    pub number: u64,
    /// Its time, unix seconds; it decides the fork identifier.
    pub timestamp: u64,
    /// Its hash (commit seals excluded).
    pub hash: B256,
    /// Sum of difficulties, genesis included.
    pub total_difficulty: U256,
    /// First block whose body and receipts we serve.
    pub earliest: u64,
}

/// UDP discovery (discv4).
#[derive(Clone, Debug)]
pub struct DiscoveryConfig {
    /// UDP address to bind; port 0 takes any free one.
    pub listen: SocketAddr,
    /// Nodes asked first.
    pub bootnodes: Vec<Enode>,
    /// Whether nodes found are dialled until the stranger slots are half full.
    pub dial_found: bool,
    /// Whom it talks with; all others get no answer and are not asked.
    pub permits: Permit,
}

/// Bounds on connections. Static nodes and the core are outside every slot count.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Slots by role of the directory; roles do not take each other's.
    pub by_role: HashMap<Role, usize>,
    /// Slots of strangers; while discovery dials, a quarter is kept for those that it finds. When full, a stranger of the most crowded network gives way to one of a less crowded one.
    pub strangers: usize,
    /// Slots of strangers from one IP address (IPv6: a /64); 127.0.0.1 and ::1 are exempt.
    pub strangers_per_ip: usize,
    /// Inbound connections of strangers that have not sent their keys, and as many again that have and have not finished
    /// Status. When full, the most crowded network gives way (`crate::door`).
    pub unproven: usize,
    /// The same from one IP address (IPv6: a /64); 127.0.0.1 and ::1 are exempt. Each known address has
    /// places of its own.
    pub unproven_per_ip: usize,
    /// Time for the keys of who dials us, the first packet of a connection: it is sent at once.
    pub keys: Duration,
    /// Time for TCP connect, and again for the keys of whom we dial, and again for Hello, and again for Status.
    pub handshake: Duration,
    /// Silence after which a Ping is sent; twice this without a message ends the session.
    pub keepalive: Duration,
    /// How long a banned node stays banned.
    pub ban: Duration,
    /// Shortest time between two Status messages of `ipe/1` to a peer; both ends have to agree.
    pub ipe_status: Duration,
}

impl Default for Limits {
    /// Slots for a network of 20 institutions with several nodes each, and Besu's 25 peers for everybody else.
    fn default() -> Self {
        let by_role = HashMap::from([
            (Role::Validator, 64),
            (Role::Boot, 128),
            (Role::Writer, 64),
            (Role::ObserverBoot, 64),
            (Role::Observer, 64),
        ]);
        Limits {
            by_role,
            strangers: 25,
            strangers_per_ip: 8,
            unproven: 128,
            unproven_per_ip: 16,
            keys: Duration::from_secs(5),
            // A Besu that starts needs seconds for its first Status.
            handshake: Duration::from_secs(10),
            keepalive: Duration::from_secs(15),
            ban: Duration::from_secs(60),
            ipe_status: crate::ipe::STATUS_INTERVAL,
        }
    }
}

/// How the two ends of a session reach each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// By a connection of their own.
    Direct,
    /// A boot of ours carries our session.
    Through(NodeId),
    /// We carry it for this validator of ours, and are neither of its ends.
    For(NodeId),
}

/// A connection to be judged.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// The other's identity.
    pub node: NodeId,
    /// Role by the directory; `None` for a stranger.
    pub role: Option<Role>,
    /// The other's socket address (its listener when we dial).
    pub remote: SocketAddr,
    /// The port it says it listens on; 0: none.
    pub listen_port: u16,
    /// Whether it dialled us.
    pub inbound: bool,
    /// Whether it is one of our static or carried nodes.
    pub is_static: bool,
    /// How it reaches us, or whom.
    pub path: Path,
}

/// Whether a node (its key, its address, the TCP port it listens on) may be known.
type Known = dyn Fn(&NodeId, IpAddr, u16) -> bool + Send + Sync;

/// The judge of whom discovery talks with. Called for every packet: must not block. None: everybody.
#[derive(Clone, Default)]
pub struct Permit(Option<Arc<Known>>);

impl Permit {
    /// Wraps a judge.
    pub fn new(judge: impl Fn(&NodeId, IpAddr, u16) -> bool + Send + Sync + 'static) -> Self {
        Permit(Some(Arc::new(judge)))
    }

    /// Whether there is a judge at all.
    pub(crate) fn restricts(&self) -> bool {
        self.0.is_some()
    }

    /// The verdict on a node.
    pub(crate) fn allows(&self, node: &NodeId, ip: IpAddr, tcp: u16) -> bool {
        self.0.as_ref().is_none_or(|judge| judge(node, ip, tcp))
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Permit({})", if self.restricts() { "listed nodes" } else { "everybody" })
    }
}

/// Whether a node has a place of its own.
type Own = dyn Fn(&NodeId) -> bool + Send + Sync;

/// The judge of whose places are kept although no directory has them: a chain's validators, and whom an operator names. There
/// must be a bound on how many it can be. Called from network tasks: must not block. None: nobody.
#[derive(Clone, Default)]
pub struct Core(Option<Arc<Own>>);

impl Core {
    /// Wraps a judge.
    pub fn new(judge: impl Fn(&NodeId) -> bool + Send + Sync + 'static) -> Self {
        Core(Some(Arc::new(judge)))
    }

    /// Whether the node is of the core.
    pub(crate) fn has(&self, node: &NodeId) -> bool {
        self.0.as_ref().is_some_and(|judge| judge(node))
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Core({})", if self.0.is_some() { "some" } else { "nobody" })
    }
}

/// `Err` with a reason for the log refuses.
type Judge = dyn Fn(&Candidate) -> Result<(), String> + Send + Sync;

/// The judge of connections. Called from network tasks: must not block.
#[derive(Clone)]
pub struct Admit(Arc<Judge>);

impl Admit {
    /// Wraps a judge.
    pub fn new(judge: impl Fn(&Candidate) -> Result<(), String> + Send + Sync + 'static) -> Self {
        Admit(Arc::new(judge))
    }

    /// The verdict on a connection.
    pub(crate) fn judge(&self, candidate: &Candidate) -> Result<(), String> {
        (self.0)(candidate)
    }

    /// Lets everybody in, within the slots.
    pub fn everybody() -> Self {
        Admit::new(|_| Ok(()))
    }
}

impl fmt::Debug for Admit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Admit(..)")
    }
}
