//! What one sender has waiting.

use std::collections::BTreeMap;
use std::sync::Arc;

use ipe_chain::Candidate;

use super::fair::Rank;
use super::ingress::Ingress;

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
    /// How often this nonce was given another body without paying for it.
    pub(super) replacements: u8,
    /// When this body came, ms of the steady clock.
    pub(super) placed: u64,
    /// Peers were told of it.
    pub(super) told: bool,
    /// Gas by which it is counted among what was told and is in no block; 0 = not any more.
    pub(super) counted: u128,
    /// Its key among those that peers are still to be told of: size and number.
    pub(super) untold: Option<(usize, u64)>,
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
    /// Key of this sender among the heads of its ingress: size and place.
    pub(super) rank: Option<(usize, Rank)>,
    /// Something waits beyond `ready_end`.
    pub(super) has_gap: bool,
    /// Whose share it takes: of those who bring its transactions, the one that holds least.
    pub(super) home: Ingress,
    /// What it holds: bytes and what holding costs.
    pub(super) weight: u64,
    /// What of that [`super::fair::Fair::hold`] knows.
    pub(super) load: u64,
    /// Its place where all else is equal: a hash with a key that nobody else knows.
    pub(super) lot: u64,
}

impl Queue {
    /// Of a sender whose account has the nonce `next`.
    pub(super) fn new(next: u64, home: Ingress, lot: u64) -> Self {
        Self {
            next,
            ready_end: next,
            entries: BTreeMap::new(),
            parked: None,
            rank: None,
            has_gap: false,
            home,
            weight: 0,
            load: 0,
            lot,
        }
    }
}
