//! What one sender has waiting.

use std::collections::BTreeMap;
use std::sync::Arc;

use ipe_chain::Candidate;

use super::order::Rank;

/// One held transaction.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) candidate: Arc<Candidate>,
    /// Encoded length.
    pub(super) bytes: usize,
    /// Arrival, ms of the steady clock.
    pub(super) at: u64,
    /// Head height at its arrival.
    pub(super) height: u64,
    /// Arrival as a number of its own: the order among equals.
    pub(super) arrival: u64,
    /// This node answers for it.
    pub(super) local: bool,
    /// How often a builder refused it.
    pub(super) failures: u8,
    /// The block in hand has it.
    pub(super) mined: bool,
}

/// A sender whose next transaction could not be included just now.
#[derive(Clone, Debug)]
pub(super) struct Parked {
    /// Tried again when the head has this height.
    pub(super) until: u64,
    /// The builder's words.
    pub(super) reason: String,
}

/// A sender's transactions by nonce. Those in `next..ready_end` are all there.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    /// Next nonce of the account.
    pub(super) next: u64,
    /// First nonce that is missing.
    pub(super) ready_end: u64,
    pub(super) entries: BTreeMap<u64, Entry>,
    pub(super) parked: Option<Parked>,
    /// Key of this sender among the heads.
    pub(super) rank: Option<Rank>,
    /// Something waits beyond `ready_end`.
    pub(super) has_gap: bool,
}

impl Queue {
    pub(super) fn new(next: u64) -> Self {
        Self { next, ready_end: next, entries: BTreeMap::new(), parked: None, rank: None, has_gap: false }
    }
}
