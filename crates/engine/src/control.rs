//! Requests that an operator's interface (JSON-RPC, command line) makes to the running node.

use std::sync::Arc;

use ipe_chain::Candidate;
use ipe_types::{Address, Bytes, enode::Enode};

/// Where an answer goes. A closure, so that the caller may wait in whatever way it likes (an async one-shot, a channel,
/// a variable of a test) and the replica needs to know none of them.
pub type Reply<T> = Box<dyn FnOnce(T) + Send>;

/// Votes that may stand at once: more than any consortium has validators.
pub const MAX_VOTE_INTENTS: usize = 256;

/// One request to the node.
pub enum Control {
    /// Local transactions have entered the pool: announce them to peers and wake an idle proposer.
    Announce(Vec<Arc<Candidate>>),
    /// About votes on validators; answered by the replica.
    Vote(VoteControl),
    /// About connections; answered by the network side of the shell.
    Peer(PeerControl),
    /// About the blocks that this node makes; answered by the replica.
    Miner(MinerControl),
    /// About the local allow-lists; answered by the shell, which keeps their files.
    Permission(PermissionControl),
}

/// What this node puts into the blocks it makes (`miner_*`), until the next start.
pub enum MinerControl {
    /// Move the gas limit towards this one (`miner_changeTargetGasLimit`).
    TargetGasLimit(u64, Reply<()>),
    /// Least price of what is taken and included, wei per gas; also the base fee where the genesis fixes it.
    MinGasPrice(u64, Reply<()>),
    /// Vanity, at most 32 bytes; shorter ones are filled up with zeros on the right.
    Vanity(Bytes, Reply<()>),
    /// The vanity in use.
    GetVanity(Reply<Bytes>),
}

/// The local allow-lists (`perm_*`, spec/besu-compat.md 4 and 6). Entries are texts, as they stand in the file.
pub enum PermissionControl {
    /// The entries of a list.
    Get(AllowList, Reply<Result<Vec<String>, AllowListError>>),
    /// Add these entries: all or none.
    Add(AllowList, Vec<String>, Reply<Result<(), AllowListError>>),
    /// Remove these entries: all or none. Connected nodes that are no longer permitted are cut.
    Remove(AllowList, Vec<String>, Reply<Result<(), AllowListError>>),
    /// Read the files again; a file that cannot be used changes nothing.
    Reload(Reply<Result<(), AllowListError>>),
}

/// Which allow-list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllowList {
    /// Senders of transactions.
    Accounts,
    /// Nodes to be connected to.
    Nodes,
}

/// Why a list was not read or changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AllowListError {
    /// The node runs without this list (for a reload: without any).
    #[error("the allow-list is not enabled")]
    NotEnabled,
    /// No entry was given.
    #[error("no entry was given")]
    Empty,
    /// An entry is no address or no enode URL.
    #[error("an entry is not an address or an enode URL")]
    Invalid,
    /// An entry was given twice.
    #[error("an entry was given twice")]
    Duplicate,
    /// An entry to be added is there.
    #[error("an entry is in the list already")]
    Existing,
    /// An entry to be removed is not there.
    #[error("an entry is not in the list")]
    Absent,
    /// A boot or static node cannot be removed.
    #[error("an entry is a boot or static node of this node")]
    Fixed,
    /// The file was not written and nothing changed.
    #[error("the file could not be written; nothing changed")]
    NotWritten,
    /// The file lacks entries that the node has: the change holds until the next start.
    #[error("the file was changed by somebody else; the change holds in memory only")]
    OutOfSync,
    /// The file cannot be used and the list stays as it was.
    #[error("the file cannot be used; the list stays as it was")]
    NotReloaded,
}

/// The node is not on the allow-list of nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the node is not on the allow-list of nodes")]
pub struct NotPermitted;

/// Votes on validators (header mode). In contract mode the voting requests are answered with an error.
pub enum VoteControl {
    /// Vote to add (`true`) or drop (`false`) this address in the blocks we propose, whenever that is of use, until the
    /// intent is discarded.
    Propose(Address, bool, Reply<Result<(), VoteError>>),
    /// Forget our vote on this address.
    Discard(Address, Reply<Result<(), VoteError>>),
    /// Our votes still standing.
    Pending(Reply<Vec<(Address, bool)>>),
}

/// Why a vote was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VoteError {
    /// The validators come from a contract, so blocks carry no votes (Besu answers −32604).
    #[error("validators are selected by a contract here, votes have no effect")]
    ContractMode,
    /// The list of standing votes is full.
    #[error("{MAX_VOTE_INTENTS} votes already stand; discard one first")]
    TooMany,
}

/// Connections of the node.
pub enum PeerControl {
    /// Every live connection, for `admin_peers`.
    List(Reply<Vec<PeerView>>),
    /// Keep a connection to this node (`admin_addPeer`); `false` when it was kept already.
    Add(Enode, Reply<Result<bool, NotPermitted>>),
    /// Drop and forget this node (`admin_removePeer`); `false` when it was not known.
    Remove(Enode, Reply<bool>),
    /// Our own identity, for `admin_nodeInfo`.
    NodeInfo(Reply<NodeInfo>),
}

/// One live connection as the operator sees it.
#[derive(Clone, Debug)]
pub struct PeerView {
    /// Public key of the peer, 64 bytes.
    pub id: ipe_types::crypto::NodeId,
    /// Client string of its Hello.
    pub client: String,
    /// Negotiated capabilities, as `eth/68`.
    pub capabilities: Vec<String>,
    /// Remote socket address.
    pub remote: std::net::SocketAddr,
    /// Local socket address.
    pub local: std::net::SocketAddr,
    /// The peer dialled us.
    pub inbound: bool,
    /// Port on which the peer says it listens; 0 when it does not.
    pub listen_port: u16,
    /// Role that the topology gives it, when it is known.
    pub role: Option<ipe_types::role::Role>,
    /// Its head number as far as we know.
    pub height: Option<u64>,
    /// Its head hash as far as we know.
    pub head: Option<ipe_types::B256>,
    /// Its total difficulty as far as we know.
    pub total_difficulty: Option<ipe_types::U256>,
    /// Negotiated eth version.
    pub eth_version: u32,
}

/// Our own network identity.
#[derive(Clone, Debug)]
pub struct NodeInfo {
    /// Public key.
    pub id: ipe_types::crypto::NodeId,
    /// Client string we send.
    pub client: String,
    /// Our enode; `None` when we listen nowhere (a validator in sentry topology).
    pub enode: Option<Enode>,
    /// Actual listener, when there is one.
    pub listen: Option<std::net::SocketAddr>,
    /// Role of this node.
    pub role: ipe_types::role::Role,
}
