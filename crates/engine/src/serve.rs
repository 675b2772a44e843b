//! Answers to what peers ask of the chain and the pool, and what they may ask for. Reads only, so the shell may answer
//! outside the replica's thread.
//!
//! An answer costs reading, encoding, compressing and sending, and its question almost nothing. So questions wait at a
//! [`Desk`]: each node has a budget of bytes a second, strangers one more for all of them, and whoever was served longest
//! ago is next. Nothing is refused: who asks too much waits, and while it waits its connection is read no further.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use alloy_eips::eip2718::Encodable2718;
use alloy_rlp::Encodable;
use ipe_chain::{Candidate, Ledger};
use ipe_types::eth::{
    EthMessage, HeadersQuery, HeadersStart, MAX_BODIES_SERVED, MAX_HEADERS_SERVED, MAX_POOLED_SERVED, MAX_RECEIPTS_SERVED,
    MAX_TRANSACTIONS_BYTES, SOFT_ANSWER_BYTES,
};
use ipe_types::header::Header;
use ipe_types::{B256, NodeId};

use crate::fair_queue::Payer;

/// Bytes a second that a node whose role is known is served, and at most at once: several times what it can import.
const KNOWN: Rate = Rate { per_second: 64 * MIB, burst: 256 * MIB };
/// The same for a stranger: 30,000 transfers a second have 4 MiB.
const STRANGER: Rate = Rate { per_second: 8 * MIB, burst: 32 * MIB };
/// The same for all strangers together: a sixth of what one processor encodes.
const STRANGERS: Rate = Rate { per_second: 32 * MIB, burst: 64 * MIB };
/// What a question costs besides the bytes of its answer: a look-up for each item, and decoding and sending a message.
const ITEM_BYTES: i64 = 256;
const QUESTION_BYTES: i64 = 1_024;
/// Budgets kept at most; those that are full are forgotten first.
const MAX_BUDGETS: usize = 1_024;
const MIB: i64 = 1024 * 1024;

/// How fast a budget refills, and how full it gets.
#[derive(Clone, Copy, Debug)]
struct Rate {
    per_second: i64,
    burst: i64,
}

/// A budget of bytes that may be overdrawn: what an answer costs is known when it is there.
#[derive(Clone, Copy, Debug)]
struct Purse {
    rate: Rate,
    /// Thousandths of a byte.
    level: i64,
    at_ms: u64,
    /// Which answer of the desk was its last; 0 for none.
    served: u64,
}

impl Purse {
    fn new(now_ms: u64, rate: Rate) -> Self {
        Self { rate, level: rate.burst * 1_000, at_ms: now_ms, served: 0 }
    }

    fn level(&self, now_ms: u64) -> i64 {
        let passed = i64::try_from(now_ms.saturating_sub(self.at_ms)).unwrap_or(i64::MAX);
        self.level.saturating_add(passed.saturating_mul(self.rate.per_second)).min(self.rate.burst * 1_000)
    }

    fn spend(&mut self, now_ms: u64, bytes: i64) {
        self.level = self.level(now_ms).saturating_sub(bytes.saturating_mul(1_000));
        self.at_ms = self.at_ms.max(now_ms);
    }

    /// When something may be spent again, ms.
    fn ready_at(&self, now_ms: u64) -> u64 {
        let lacking = 1 - self.level(now_ms);
        now_ms + u64::try_from(lacking).map_or(0, |lacking| lacking.div_ceil(self.rate.per_second.unsigned_abs()))
    }
}

/// Questions that wait to be answered, by asker.
#[derive(Debug)]
pub struct Desk<Q> {
    waiting: BTreeMap<NodeId, (Payer, VecDeque<Q>)>,
    purses: HashMap<NodeId, Purse>,
    strangers: Purse,
    /// Answers so far.
    served: u64,
}

impl<Q> Desk<Q> {
    /// An empty desk.
    pub fn new(now_ms: u64) -> Self {
        Self { waiting: BTreeMap::new(), purses: HashMap::new(), strangers: Purse::new(now_ms, STRANGERS), served: 0 }
    }

    /// Takes a question. How many wait is the caller's to bound: each holds a share of its connection's allowance.
    pub fn put(&mut self, asker: Payer, question: Q) {
        self.waiting.entry(asker.node).or_insert_with(|| (asker, VecDeque::new())).1.push_back(question);
    }

    /// The next question to answer: of whoever was served longest ago. `None` while all who wait have spent their budgets.
    pub fn next(&mut self, now_ms: u64) -> Option<(Payer, Q)> {
        let strangers = self.strangers.level(now_ms) > 0;
        let ready = self.waiting.values().map(|(asker, _)| *asker).filter(|asker| asker.known || strangers);
        let ready = ready.map(|asker| (self.purse(now_ms, asker), asker)).filter(|(purse, _)| purse.level(now_ms) > 0);
        let (_, asker) = ready.min_by_key(|(purse, _)| purse.served)?;
        let (_, queue) = self.waiting.get_mut(&asker.node)?;
        let question = queue.pop_front();
        if queue.is_empty() {
            self.waiting.remove(&asker.node);
        }
        question.map(|question| (asker, question))
    }

    /// When [`Desk::next`] has something, ms; `None` when nothing waits.
    pub fn ready_at(&self, now_ms: u64) -> Option<u64> {
        let ready = |asker: &Payer| {
            let own = self.purse(now_ms, *asker).ready_at(now_ms);
            if asker.known { own } else { own.max(self.strangers.ready_at(now_ms)) }
        };
        self.waiting.values().map(|(asker, _)| ready(asker)).min()
    }

    /// Charges an answer: its payload in bytes, for so many items asked for.
    pub fn charge(&mut self, now_ms: u64, asker: Payer, bytes: usize, items: usize) {
        let cost = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let cost = cost(bytes).saturating_add(cost(items).saturating_mul(ITEM_BYTES)).saturating_add(QUESTION_BYTES);
        self.served += 1;
        let mut purse = self.purse(now_ms, asker);
        purse.served = self.served;
        purse.spend(now_ms, cost);
        if !asker.known {
            self.strangers.spend(now_ms, cost);
        }
        if self.purses.len() >= MAX_BUDGETS {
            self.purses.retain(|_, purse| purse.level(now_ms) < purse.rate.burst * 1_000);
        }
        // All of them spent within the last seconds: then the budget of all strangers is what bounds this one.
        if self.purses.len() < MAX_BUDGETS || self.purses.contains_key(&asker.node) {
            self.purses.insert(asker.node, purse);
        }
    }

    fn purse(&self, now_ms: u64, asker: Payer) -> Purse {
        let fresh = || Purse::new(now_ms, if asker.known { KNOWN } else { STRANGER });
        self.purses.get(&asker.node).copied().unwrap_or_else(fresh)
    }
}

/// Items that a request asks for, at least those that are looked up; `None` when the message is no request.
pub fn items(request: &EthMessage) -> Option<usize> {
    match request {
        EthMessage::GetBlockHeaders { query, .. } => {
            Some(usize::try_from(query.limit).unwrap_or(usize::MAX).min(MAX_HEADERS_SERVED))
        }
        EthMessage::GetBlockBodies { hashes, .. } => Some(hashes.len().min(MAX_BODIES_SERVED)),
        EthMessage::GetReceipts { hashes, .. } => Some(hashes.len().min(MAX_RECEIPTS_SERVED)),
        EthMessage::GetPooledTransactions { hashes, .. } => Some(hashes.len().min(MAX_POOLED_SERVED)),
        _ => None,
    }
}

/// The answer to a request; `None` when the message is not one. What cannot be read is left out, as if it were unknown:
/// the asker turns to somebody else.
pub fn answer(ledger: &Ledger, pooled: &dyn Fn(&B256) -> Option<Arc<Candidate>>, request: &EthMessage) -> Option<EthMessage> {
    Some(match request {
        EthMessage::GetBlockHeaders { request_id, query } => {
            EthMessage::BlockHeaders { request_id: *request_id, headers: headers(ledger, query) }
        }
        EthMessage::GetBlockBodies { request_id, hashes } => {
            let found = hashes.iter().take(MAX_BODIES_SERVED).filter_map(|hash| {
                let number = ledger.number_of(hash).ok()??;
                ledger.body(number).ok()?
            });
            EthMessage::BlockBodies { request_id: *request_id, bodies: limited(found, SOFT_ANSWER_BYTES, Encodable::length) }
        }
        EthMessage::GetReceipts { request_id, hashes } => {
            let found = hashes.iter().take(MAX_RECEIPTS_SERVED).filter_map(|hash| {
                let number = ledger.number_of(hash).ok()??;
                let receipts = ledger.receipts(number).ok()??;
                Some(receipts.as_ref().clone())
            });
            let size = |receipts: &Vec<_>| receipts.iter().map(Encodable2718::encode_2718_len).sum();
            EthMessage::Receipts { request_id: *request_id, receipts: limited(found, SOFT_ANSWER_BYTES, size) }
        }
        EthMessage::GetPooledTransactions { request_id, hashes } => {
            let found = hashes.iter().take(MAX_POOLED_SERVED).filter_map(|hash| Some(pooled(hash)?.tx.clone()));
            let transactions = limited(found, MAX_TRANSACTIONS_BYTES, Encodable2718::encode_2718_len);
            EthMessage::PooledTransactions { request_id: *request_id, transactions }
        }
        _ => return None,
    })
}

fn headers(ledger: &Ledger, query: &HeadersQuery) -> Vec<Header> {
    let first = match query.start {
        HeadersStart::Number(number) => Some(number),
        HeadersStart::Hash(hash) => ledger.number_of(&hash).ok().flatten(),
    };
    let count = usize::try_from(query.limit).unwrap_or(usize::MAX).min(MAX_HEADERS_SERVED);
    let Some(step) = query.skip.checked_add(1) else {
        let only = first.and_then(|number| ledger.header(number).ok().flatten());
        return only.into_iter().take(count).map(|header| header.as_ref().clone()).collect();
    };
    let after = |number: &u64| if query.reverse { number.checked_sub(step) } else { number.checked_add(step) };
    let found =
        std::iter::successors(first, after).take(count).map_while(|number| Some(ledger.header(number).ok()??.as_ref().clone()));
    limited(found, SOFT_ANSWER_BYTES, Encodable::length)
}

/// Items until their sizes reach `bytes`; at least one, since none would look like not having it.
fn limited<T>(items: impl Iterator<Item = T>, bytes: usize, size: impl Fn(&T) -> usize) -> Vec<T> {
    let mut total = 0;
    let mut taken = Vec::new();
    for item in items {
        total += size(&item);
        if total > bytes && !taken.is_empty() {
            break;
        }
        taken.push(item);
    }
    taken
}
