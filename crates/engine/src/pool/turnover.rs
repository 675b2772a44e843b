//! What came into the pool and left it since the start, for metrics.

use super::{DropReason, Pool, Refusal};

/// How a transaction left the pool. The names are those of Besu's sequenced pool where it has one for the case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// A block has it.
    AddedToBlock,
    /// Another one of the same sender and nonce took its place.
    Replaced,
    /// A block used its nonce for another transaction, or builders refused it again and again.
    Invalid,
    /// It waited too long.
    TimedEviction,
    /// The pool was full.
    Evicted,
    /// This node does not take such transactions any more: its sender, or its price.
    Dropped,
}

impl Departure {
    /// Every kind.
    pub const ALL: [Departure; 6] = [
        Departure::AddedToBlock,
        Departure::Replaced,
        Departure::Invalid,
        Departure::TimedEviction,
        Departure::Evicted,
        Departure::Dropped,
    ];

    /// Value of the label `operation`.
    pub const fn name(self) -> &'static str {
        match self {
            Departure::AddedToBlock => "addedToBlock",
            Departure::Replaced => "replaced",
            Departure::Invalid => "invalid",
            Departure::TimedEviction => "timed_eviction",
            Departure::Evicted => "evicted",
            Departure::Dropped => "dropped",
        }
    }
}

impl From<&DropReason> for Departure {
    fn from(reason: &DropReason) -> Self {
        match reason {
            DropReason::Replaced { .. } => Departure::Replaced,
            DropReason::NonceUsed { .. } | DropReason::Unbuildable { .. } | DropReason::TooDear { .. } => Departure::Invalid,
            DropReason::GapExpired { .. } | DropReason::Expired => Departure::TimedEviction,
            DropReason::Evicted => Departure::Evicted,
            DropReason::BelowMinimumPrice { .. }
            | DropReason::NotPermitted
            | DropReason::AgainstRules { .. }
            | DropReason::ByOperator => Departure::Dropped,
        }
    }
}

/// Transactions of one source: this node's own interface, or peers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// Taken; a replacement counts as one more.
    pub added: u64,
    /// Left, in the order of [`Departure::ALL`]. What was added and did not leave is in the pool.
    pub removed: [u64; Departure::ALL.len()],
}

/// Counts by source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Turnover {
    /// From clients of this node, the ones restored from its journal among them.
    pub local: Passed,
    /// From peers.
    pub remote: Passed,
    /// Refused from peers, by the name that [`Refusal::reason`] gives, in the order in which they first occurred.
    pub refused_of_peers: Vec<(&'static str, u64)>,
}

impl Turnover {
    fn of(&mut self, local: bool) -> &mut Passed {
        if local { &mut self.local } else { &mut self.remote }
    }

    pub(super) fn added(&mut self, local: bool) {
        self.of(local).added += 1;
    }

    pub(super) fn left(&mut self, local: bool, how: Departure) {
        self.of(local).removed[how as usize] += 1;
    }
}

impl Pool {
    /// What came and left since the start.
    pub fn turnover(&self) -> &Turnover {
        &self.turnover
    }

    /// Counts a transaction of a peer that was not taken; those of clients are counted where they are told.
    pub fn refused_of_peer(&mut self, refusal: &Refusal) {
        let reason = refusal.reason();
        match self.turnover.refused_of_peers.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, count)) => *count += 1,
            // One entry a reason, of which there are two dozen.
            None => self.turnover.refused_of_peers.push((reason, 1)),
        }
    }
}
