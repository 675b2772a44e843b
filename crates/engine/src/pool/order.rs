//! The order of inclusion and the list that a builder works through.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::btree_map::{Iter, Range};
use std::iter::Peekable;
use std::sync::Arc;

use alloy_primitives::map::AddressHashMap;
use alloy_primitives::map::AddressHashSet;
use alloy_primitives::{Address, B256};
use ipe_chain::{Candidate, Feedback};

use super::fair::{self, Fair, Flow, Rank, SIZES, rounds, turn};
use super::ingress::Ingress;
use super::queue::{Entry, Queue};
use super::rules::Rules;

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
    Late { reason: String },
    TooDear { reason: String },
    NotPermitted { reason: String },
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
                        self.verdicts.push((last.hash, Verdict::Late { reason: cut.to_string() }));
                    }
                }
                Feedback::NotPermitted { reason } => {
                    self.passed_over.insert(last.sender);
                    self.verdicts.push((last.hash, Verdict::NotPermitted { reason }));
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

    /// From here on those that name the least gas come first, of a sender in the order of nonces.
    pub fn smallest_first(&mut self) {
        let mut most: AddressHashMap<u64> = AddressHashMap::default();
        let mut left: Vec<(u64, Arc<Candidate>)> = self
            .list
            .by_ref()
            .map(|candidate| {
                let gas = most.entry(candidate.sender).or_default();
                *gas = candidate.tx.gas_limit().max(*gas);
                (*gas, candidate)
            })
            .collect();
        left.sort_by_key(|(gas, _)| *gas);
        self.list = left.into_iter().map(|(_, candidate)| candidate).collect::<Vec<_>>().into_iter();
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
    rank: Rank,
    entry: &'a Entry,
    rest: Range<'a, u64, Entry>,
    /// Gas that the sender's earlier ones reserve.
    before: u128,
}

impl PartialEq for Later<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.rank == other.rank
    }
}

impl Eq for Later<'_> {}

impl PartialOrd for Later<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Later<'_> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.rank.cmp(&other.rank)
    }
}

/// One size of one ingress in the merge: its heads, which are sorted already, and the later transactions of the senders
/// taken so far.
struct Size<'a> {
    had: u128,
    firsts: Peekable<Iter<'a, Rank, (Address, u64)>>,
    later: BinaryHeap<Reverse<Later<'a>>>,
}

impl Size<'_> {
    fn best(&mut self) -> Option<(Rank, u64)> {
        let first = self.firsts.peek().map(|(rank, (_, gas))| (**rank, *gas));
        let later = self.later.peek().map(|Reverse(later)| (later.rank, later.entry.candidate.tx.gas_limit()));
        match (first, later) {
            (Some(first), Some(later)) => Some(first.min(later)),
            (first, later) => first.or(later),
        }
    }
}

/// One ingress in the merge.
struct Line<'a> {
    ingress: Ingress,
    flow: &'a Flow,
    had: u128,
    sizes: [Size<'a>; SIZES],
}

impl<'a> Line<'a> {
    fn new(ingress: Ingress, flow: &'a Flow, had: u128) -> Self {
        let size =
            |size: usize| Size { had: flow.sizes[size], firsts: flow.heads[size].iter().peekable(), later: BinaryHeap::new() };
        Self { ingress, flow, had, sizes: std::array::from_fn(size) }
    }

    /// The size whose turn it is, with its place among the sizes.
    fn best(&mut self) -> Option<(usize, Rank, u64)> {
        let flow = self.flow;
        let heads = self.sizes.iter_mut().enumerate().filter_map(|(index, size)| {
            let (rank, gas) = size.best()?;
            Some((index, flow.among_sizes(size.had, &rank, gas), gas))
        });
        heads.min_by_key(|(_, rank, _)| *rank)
    }

    /// Its place among the ingresses by the best that it has left.
    fn rank(&mut self, fair: &Fair) -> Option<Rank> {
        let (_, rank, gas) = self.best()?;
        let due = self.had.saturating_add(fair.charge(&self.ingress, self.flow.expected(gas)));
        Some(Rank::new(rank.tip.0, due, rank.arrival))
    }

    fn take(&mut self, senders: &'a AddressHashMap<Queue>, rules: &Rules, fair: &Fair) -> Option<&'a Entry> {
        let (index, _, gas) = self.best()?;
        let turn = turn(rules.block_gas_limit);
        let size = &mut self.sizes[index];
        let first = size.firsts.peek().map(|(rank, _)| **rank);
        let is_first = match (first, size.later.peek()) {
            (Some(first), Some(Reverse(later))) => first < later.rank,
            (first, _) => first.is_some(),
        };
        let (before, entry, mut rest) = if is_first {
            let (_, (sender, _)) = size.firsts.next()?;
            let queue = senders.get(sender)?;
            let mut range = queue.entries.range(queue.next..queue.ready_end);
            let (_, entry) = range.next()?;
            (0, entry, range)
        } else {
            let Reverse(Later { before, entry, rest, .. }) = size.later.pop()?;
            (before, entry, rest)
        };
        let expected = self.flow.expected(gas);
        size.had = size.had.saturating_add(expected);
        self.had = self.had.saturating_add(fair.charge(&self.ingress, expected));
        if let Some((_, next)) = rest.next()
            && let Some(tip) = rules.tip(&next.candidate)
        {
            let before = before + u128::from(gas.max(turn));
            let rank = Rank::new(tip, rounds(before, turn), next.arrival);
            let index = fair::size(next.candidate.tx.gas_limit(), turn);
            self.sizes[index].later.push(Reverse(Later { rank, entry: next, rest, before }));
        }
        Some(entry)
    }
}

/// Merges the ingresses, which are sorted already, and the senders of those taken so far: the work grows with what is
/// picked, not with what is held.
pub(super) fn pick(senders: &AddressHashMap<Queue>, fair: &Fair, rules: &Rules, limits: &PickLimits) -> Picks {
    let mut list = Vec::with_capacity(limits.count.min(8_192));
    let mut bytes = 0usize;
    let mut untouched = fair.turns.iter().peekable();
    let mut lines: Vec<Line<'_>> = Vec::new();
    let mut running: BinaryHeap<Reverse<(Rank, usize)>> = BinaryHeap::new();
    while list.len() < limits.count {
        let fresh = match (untouched.peek(), running.peek()) {
            (None, None) => break,
            (Some((first, _)), Some(Reverse((running, _)))) => *first < running,
            (first, _) => first.is_some(),
        };
        let index = if fresh {
            let Some((_, ingress)) = untouched.next() else { break };
            let Some(flow) = fair.flow(ingress) else { continue };
            lines.push(Line::new(*ingress, flow, fair.had(ingress)));
            lines.len() - 1
        } else {
            let Some(Reverse((_, index))) = running.pop() else { break };
            index
        };
        let Some(line) = lines.get_mut(index) else { continue };
        let Some(entry) = line.take(senders, rules, fair) else { continue };
        bytes = bytes.saturating_add(entry.bytes);
        if bytes > limits.bytes && !list.is_empty() {
            break;
        }
        list.push(entry.candidate.clone());
        if let Some(rank) = line.rank(fair) {
            running.push(Reverse((rank, index)));
        }
    }
    Picks { list: list.into_iter(), last: None, passed_over: AddressHashSet::default(), verdicts: Vec::new() }
}
