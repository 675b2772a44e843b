//! The replica: one value that holds consensus, ledger, pool, synchronisation and relay together.

use std::sync::Arc;

use alloy_primitives::Bytes;
use ipe_chain::{Candidate, Imported};
use ipe_types::{B256, eth};

use crate::{control::VoteControl, peer::{PeerId, PeerInfo}};

/// Unix time in microseconds, asked whenever the replica needs to know how long something took or whether a deadline has
/// passed. A simulator hands in a closure over its virtual time.
pub type Clock<'a> = &'a dyn Fn() -> u64;

/// Votes that may stand at once (`qbft_proposeValidatorVote`): more than any consortium has validators.
pub const MAX_VOTE_INTENTS: usize = 256;

/// Something that happened outside.
pub enum Input {
    /// A connection finished its handshake.
    PeerConnected(PeerInfo),
    /// A connection ended.
    PeerGone(PeerId),
    /// A message of the eth protocol, except `Transactions` and `PooledTransactions`, which come as [`Input::Transactions`].
    Eth(PeerId, eth::Message),
    /// A consensus message as it came from the wire: code 0x12–0x15 and payload.
    Istanbul(PeerId, u8, Bytes),
    /// Transactions of a peer, decoded and their senders recovered outside.
    Transactions(PeerId, Vec<Arc<Candidate>>),
    /// Transactions that entered the pool through this node's own interface.
    LocalTransactions(Vec<Arc<Candidate>>),
    /// An operator's request about votes.
    Vote(VoteControl),
    /// Time has passed: at least [`Replica::wake_at`].
    Tick,
}

/// Something the shell is asked to do.
#[derive(Debug)]
pub enum Output {
    /// Send an eth message to each of these.
    Eth(Vec<PeerId>, Arc<eth::Message>),
    /// Send a consensus message, these very bytes, to each of these.
    Istanbul(Vec<PeerId>, u8, Bytes),
    /// Close a connection, with the devp2p reason and a sentence for the log.
    Disconnect(PeerId, u8, String),
    /// Tell whoever subscribed.
    Notify(Notification),
    /// Write to the log.
    Log(LogLine),
}

/// What subscribers (WebSocket, filters, metrics) are told.
#[derive(Clone, Debug)]
pub enum Notification {
    /// A block became final here.
    Imported(Arc<Imported>),
    /// Transactions entered the pool.
    Pending(Arc<Vec<Arc<Candidate>>>),
    /// Catching up started (`true`) or ended.
    Syncing(bool),
}

/// How loud a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Something needs an operator.
    Error,
    /// Something is odd.
    Warn,
    /// The life of the node: a line a block.
    Info,
    /// For whoever looks for a fault.
    Debug,
}

/// One line for the log.
#[derive(Clone, Debug)]
pub struct LogLine {
    /// Loudness.
    pub level: Level,
    /// The sentence.
    pub text: String,
}
