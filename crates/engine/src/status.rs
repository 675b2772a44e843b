//! A snapshot of the replica for metrics, JSON-RPC and `lab status`.

use std::sync::Arc;

use ipe_types::{Address, B256, role::Role};
use parking_lot::RwLock;

use crate::doubt::Doubt;

/// How far a synchronisation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncProgress {
    /// Head when it started.
    pub start: u64,
    /// Head now.
    pub current: u64,
    /// Highest block that is proven to exist, by seals or signed messages of validators; no mere claim of a peer.
    pub highest: u64,
}

/// A block that a quorum of the validators has sealed and that the rules of this node refuse. The block is final for the
/// network, so that a difference of this node's own genesis file or history is the likelier cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedBlock {
    /// Its height.
    pub number: u64,
    /// Its hash.
    pub hash: B256,
    /// Name of the rule, as [`ipe_chain::InvalidBlock::rule`].
    pub rule: &'static str,
}

/// Where the replica stands. Written by the replica's thread, read by anyone.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// Head number.
    pub height: u64,
    /// Head hash.
    pub head: B256,
    /// Head timestamp, seconds.
    pub head_timestamp: u64,
    /// Consensus round of the height being decided; `None` at nodes that see no consensus messages.
    pub round: Option<u32>,
    /// Whether this node is in the validator set of the next block.
    pub validating: bool,
    /// Why this validator signs nothing at present; `None` when it signs, and at nodes that are no validators.
    pub abstains: Option<Doubt>,
    /// Validators of the next block.
    pub validators: Vec<Address>,
    /// Validators whose consensus messages were seen for one of the last heights, ourselves included.
    pub validators_heard: Vec<Address>,
    /// How many further validators may fall silent before blocks stop: heard − quorum. Negative when blocks have stopped.
    pub fault_margin: i64,
    /// Present while behind: catching up, or unable to.
    pub sync: Option<SyncProgress>,
    /// Highest block that is proven to exist, own or by seals or signed messages of validators; no mere claim of a peer.
    pub best_known: u64,
    /// Why this node cannot follow the network, when it cannot.
    pub refused_block: Option<RefusedBlock>,
    /// Connections by role (`None` = stranger).
    pub peers: Vec<(Option<Role>, usize)>,
    /// Consensus messages passed on for others.
    pub relayed: u64,
    /// Consensus messages dropped as already seen.
    pub duplicates: u64,
    /// Consensus messages refused, with what was wrong (decode, author, window, budget).
    pub refused: Refused,
    /// Peers cut for misbehaviour.
    pub peers_cut: u64,
    /// Rounds above 0 that this node has entered since it started.
    pub round_changes: u64,
    /// Blocks this node proposed since it started.
    pub proposed: u64,
    /// Work that the next block we build may hold, in gas plus 21,000 a transaction.
    pub build_budget_gas: u64,
    /// Last error worth an operator's attention.
    pub last_error: Option<String>,
}

/// Consensus messages not passed on, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// Does not decode, or is too large.
    pub malformed: u64,
    /// Author is in no validator set that matters.
    pub author: u64,
    /// Height or round outside the window.
    pub window: u64,
    /// The sender or the author has used up its budget.
    pub budget: u64,
    /// It is not justified, or its author's turn is another: a copy that somebody spoiled, or a liar's.
    pub justification: u64,
}

/// What the replica does in one go for longer than anything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkKind {
    /// Executes a proposal to vote for it.
    Proposal,
    /// Executes a block that a quorum sealed, to import it.
    Sealed,
    /// Builds a block.
    Build,
}

/// The work in hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// What is done.
    pub kind: WorkKind,
    /// Height of the block.
    pub height: u64,
    /// Its hash; zero for a block that is being built.
    pub hash: B256,
}

#[derive(Default)]
struct Shared {
    status: RwLock<Arc<Status>>,
    work: RwLock<Option<Work>>,
    stuck: RwLock<Option<Arc<str>>>,
}

/// The latest [`Status`], and what the replica works on, shared with everybody who tells of it.
#[derive(Clone, Default)]
pub struct StatusCell(Arc<Shared>);

/// While it lives the work stands in the cell.
pub struct Working(StatusCell);

impl Drop for Working {
    fn drop(&mut self) {
        *self.0.0.work.write() = None;
    }
}

impl StatusCell {
    /// The latest snapshot; never blocks for longer than a pointer swap.
    pub fn get(&self) -> Arc<Status> {
        self.0.status.read().clone()
    }

    /// Replaces the snapshot.
    pub fn set(&self, status: Status) {
        *self.0.status.write() = Arc::new(status);
    }

    /// What the replica executes or builds at this moment.
    pub fn work(&self) -> Option<Work> {
        *self.0.work.read()
    }

    /// Tells what is worked on from now on.
    pub fn works_on(&self, kind: WorkKind, height: u64, hash: B256) -> Working {
        *self.0.work.write() = Some(Work { kind, height, hash });
        Working(self.clone())
    }

    /// Why the replica answers nothing any more, when somebody who watches it has found out. The snapshot is old then.
    pub fn stuck(&self) -> Option<Arc<str>> {
        self.0.stuck.read().clone()
    }

    /// Says that the replica answers nothing, or (`None`) that it does again.
    pub fn set_stuck(&self, why: Option<String>) {
        *self.0.stuck.write() = why.map(Arc::from);
    }
}
