//! The order of inclusion and the list that a builder works through.

use std::cmp::{Ordering, Reverse};
use std::collections::btree_map::Range;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use alloy_primitives::map::AddressHashMap;
use alloy_primitives::map::AddressHashSet;
use alloy_primitives::{Address, B256};
use ipe_chain::{Candidate, Feedback};

use super::queue::{Entry, Queue};
use super::rules::effective_tip;

/// Place of a sender's next transaction: highest tip first, then earliest arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank(Reverse<u128>, u64);

impl Rank {
    pub(super) fn new(tip: u128, arrival: u64) -> Self {
        Self(Reverse(tip), arrival)
    }

    pub(super) fn tip(&self) -> u128 {
        self.0.0
    }
}

/// Run time from which a transaction that the end of a block's time stopped is put off, µs: so much it would waste again.
const LATE_US: u64 = 5_000;

/// How much to hand to a builder at most. A block rarely uses all of it: the builder stops at its deadline or gas limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PickLimits {
    /// Transactions.
    pub count: usize,
    /// Sum of encoded lengths.
    pub bytes: usize,
}

/// What a builder said about a candidate that it could not use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    NonceUsed { next: u64 },
    Refused { reason: String },
    TooDear { reason: String },
}

/// Candidates in order, with the memory of what became of them. When one is not included, later nonces of its sender are
/// passed over: they could not be included either.
#[derive(Debug)]
pub struct Picks {
    list: std::vec::IntoIter<Arc<Candidate>>,
    last: Option<Arc<Candidate>>,
    passed_over: AddressHashSet,
    verdicts: Vec<(B256, Verdict)>,
}

impl Picks {
    /// The next candidate; `feedback` is about the one before (the ledger's builder calls it so).
    pub fn next(&mut self, feedback: Feedback) -> Option<Arc<Candidate>> {
        if let Some(last) = self.last.take() {
            match feedback {
                Feedback::Start | Feedback::Included { .. } => {}
                Feedback::NonceTooLow { expected } => {
                    self.verdicts.push((last.hash, Verdict::NonceUsed { next: expected }));
                }
                Feedback::NonceTooHigh { .. } | Feedback::DoesNotFit { .. } | Feedback::TooManyBytes => {
                    self.passed_over.insert(last.sender);
                }
                Feedback::Cut(cut) => {
                    self.passed_over.insert(last.sender);
                    if cut.is_its_own() {
                        self.verdicts.push((last.hash, Verdict::TooDear { reason: cut.to_string() }));
                    } else if cut.ran_us >= LATE_US {
                        self.verdicts.push((last.hash, Verdict::Refused { reason: cut.to_string() }));
                    }
                }
                Feedback::Refused { reason } => {
                    self.passed_over.insert(last.sender);
                    self.verdicts.push((last.hash, Verdict::Refused { reason }));
                }
            }
        }
        let next = self.list.by_ref().find(|candidate| !self.passed_over.contains(&candidate.sender))?;
        self.last = Some(next.clone());
        Some(next)
    }

    /// How many are left, passed-over ones included.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether none is left.
    pub fn is_empty(&self) -> bool {
        self.list.len() == 0
    }

    /// What is left, in order.
    pub(super) fn remaining(self) -> impl Iterator<Item = Arc<Candidate>> {
        self.list
    }

    pub(super) fn into_verdicts(self) -> Vec<(B256, Verdict)> {
        self.verdicts
    }
}

/// A sender's second or later transaction in the merge.
struct Later<'a> {
    tip: u128,
    turn: u32,
    entry: &'a Entry,
    rest: Range<'a, u64, Entry>,
}

impl Later<'_> {
    fn key(&self) -> (u128, Reverse<u32>, Reverse<u64>) {
        (self.tip, Reverse(self.turn), Reverse(self.entry.arrival))
    }
}

impl PartialEq for Later<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Later<'_> {}

impl PartialOrd for Later<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Later<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

/// Merges the heads, which are sorted already, with the later transactions of the senders taken so far: the work grows
/// with what is picked, not with what is held.
pub(super) fn pick(
    senders: &AddressHashMap<Queue>,
    heads: &BTreeMap<Rank, Address>,
    base_fee: Option<u64>,
    limits: &PickLimits,
) -> Picks {
    let mut list = Vec::with_capacity(limits.count.min(8_192));
    let mut bytes = 0usize;
    let mut firsts = heads.iter().peekable();
    let mut later: BinaryHeap<Later<'_>> = BinaryHeap::new();
    while list.len() < limits.count {
        let first_tip = firsts.peek().map(|(rank, _)| rank.tip());
        let take_first = match (first_tip, later.peek()) {
            (None, None) => break,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            // At equal tips a sender's first comes before anybody's second.
            (Some(tip), Some(top)) => tip >= top.tip,
        };
        let (entry, mut rest, turn) = if take_first {
            let Some((_, sender)) = firsts.next() else { break };
            let Some(queue) = senders.get(sender) else { continue };
            let mut range = queue.entries.range(queue.next..queue.ready_end);
            let Some((_, entry)) = range.next() else { continue };
            (entry, range, 0)
        } else {
            let Some(top) = later.pop() else { break };
            (top.entry, top.rest, top.turn)
        };
        bytes = bytes.saturating_add(entry.bytes);
        if bytes > limits.bytes && !list.is_empty() {
            break;
        }
        list.push(entry.candidate.clone());
        if let Some((_, entry)) = rest.next()
            && let Some(tip) = effective_tip(&entry.candidate, base_fee)
        {
            later.push(Later { tip, turn: turn + 1, entry, rest });
        }
    }
    Picks { list: list.into_iter(), last: None, passed_over: AddressHashSet::default(), verdicts: Vec::new() }
}
