//! Transactions that wait for a block.
//!
//! Per sender a queue by nonce, gaps held; across senders one order: highest effective tip first, then in turns (every
//! sender's next transaction before anybody's second), then by arrival. On a zero-fee network all tips are equal, so it is
//! turns by arrival, and a flood from one sender leaves the others' latency intact.
//!
//! Nothing waits here and nothing is looked up: time, account states and blocks come in as arguments. The shell shares one
//! pool behind a mutex; what costs time (decoding, recovering the sender, [`Offer::check`], reading the account) happens
//! outside of it:
//!
//! ```text
//! gate.check()?                       // refuse without any work when the node is far beyond what it holds
//! let rules = *pool.lock().rules();
//! let offer = Offer::check(candidate, Origin::Local, &rules)?;
//! let state = SenderState { .. };     // from the ledger's head
//! pool.lock().add(now, offer, &state)?;
//! ```
//!
//! What cannot be included soon is refused early ([`Shed`]); what was admitted is never forgotten silently: [`Pool::why`]
//! tells what a transaction waits for, or why it was dropped.

mod drops;
mod local;
mod order;
mod permitted;
mod queue;
mod refusal;
mod rules;
mod shed;
mod turnover;
mod why;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use alloy_consensus::Transaction as _;
use alloy_primitives::map::{AddressHashMap, AddressHashSet, B256HashMap};
use alloy_primitives::{Address, B256, U256};
use ipe_chain::Candidate;
use ipe_types::Transaction;

pub use drops::DropReason;
pub use local::{LocalJournal, LocalJournalError};
pub use order::{PickLimits, Picks};
pub use permitted::SenderChecks;
pub use refusal::Refusal;
pub use rules::{Offer, Origin, Rules};
pub use shed::{LoadGate, Shed};
pub use turnover::{Departure, Passed, Turnover};
pub use why::Why;

use drops::Drops;
use order::Rank;
use queue::{Entry, Parked, Queue};

/// Bounds and habits of the pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Most transactions.
    pub max_count: usize,
    /// Most bytes, as the sum of encoded lengths.
    pub max_bytes: usize,
    /// Most transactions of one sender.
    pub max_per_sender: usize,
    /// How far beyond the first missing nonce of a sender a nonce may lie.
    pub max_gap: u64,
    /// Per cent that a replacement must offer more than what it replaces (Besu: 10; 0 on zero-fee networks, so that an
    /// equally priced resend replaces; besu-compat §11.2).
    pub price_bump_percent: u32,
    /// Longest stay of a transaction, milliseconds (Besu: 13 h).
    pub retention_ms: u64,
    /// Longest stay behind a missing nonce, milliseconds.
    pub gap_retention_ms: u64,
    /// How long an admitted transaction should wait at most until its block is imported, milliseconds; what would wait longer
    /// is refused. Never below 1.9 block periods and 0.3 s.
    pub target_wait_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            // Ten blocks of 6,400 transfers; about 60 MB of memory when full.
            max_count: 65_536,
            // The same memory again for a pool of large deployments.
            max_bytes: 64 << 20,
            // One relayer may carry a whole application on a zero-fee network.
            max_per_sender: 4_096,
            // A client that sends in parallel reorders a few; more is a client that lost one.
            max_gap: 64,
            price_bump_percent: 0,
            retention_ms: 13 * 3_600_000,
            // Long enough for a client to notice a refusal and to send the missing one again.
            gap_retention_ms: 10 * 60_000,
            // Leaves a client some tenths of a second to see the block within 2.5 s.
            target_wait_ms: 2_200,
        }
    }
}

/// The sender's account on the state of the head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SenderState {
    /// Next nonce.
    pub nonce: u64,
    /// Wei.
    pub balance: U256,
    /// It has code that is not a delegation (EIP-3607, EIP-7702).
    pub has_code: bool,
}

/// A transaction was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Added {
    /// Its hash.
    pub hash: B256,
    /// What it took the place of.
    pub replaced: Option<B256>,
    /// It can be included now; otherwise a lower nonce is missing.
    pub ready: bool,
}

/// A block that became final.
#[derive(Clone, Copy, Debug)]
pub struct MinedBlock<'a> {
    /// Height.
    pub number: u64,
    /// In order.
    pub transactions: &'a [Transaction],
    /// One per transaction.
    pub senders: &'a [Address],
    /// Rules of the block after it.
    pub rules: Rules,
}

/// What the pool holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Transactions.
    pub count: usize,
    /// Of these, that could be included now.
    pub ready: usize,
    /// Of these, that came through this node's own interface.
    pub local: usize,
    /// Sum of encoded lengths.
    pub bytes: usize,
    /// Senders.
    pub senders: usize,
    /// How many may wait before clients are refused.
    pub room: usize,
}

/// One held transaction, for listings.
#[derive(Clone, Debug)]
pub struct Held {
    /// The transaction.
    pub candidate: Arc<Candidate>,
    /// When it came, ms of the steady clock.
    pub at: u64,
    /// It came through this node's own interface.
    pub local: bool,
    /// It could be included now; otherwise a lower nonce is missing.
    pub ready: bool,
}

/// Pause between two announcements of the same waiting transaction, milliseconds: some blocks, so that only what was lost
/// on the way travels twice.
const ANNOUNCE_AGAIN_MS: u64 = 5_000;
/// Transactions announced again at once: what one message holds.
const ANNOUNCE_AGAIN_MOST: usize = 512;
/// Pause between two walks over everything for expiry, milliseconds.
const SWEEP_MS: u64 = 20_000;
/// Refusals by the builder after which a transaction is dropped; with doubled pauses it has had about 60 blocks.
const MAX_FAILURES: u8 = 6;
/// Unclaimed journal or announcement entries; beyond it the oldest are forgotten (their owner is not listening).
const MAX_FEED: usize = 65_536;
/// How far [`Pool::why`] counts a position: beyond it "later than that" says enough.
const MAX_POSITION: usize = 10_000;

/// The pool. See the module's page.
#[derive(Debug)]
pub struct Pool {
    settings: Settings,
    rules: Rules,
    height: u64,
    senders: AddressHashMap<Queue>,
    by_hash: B256HashMap<(Address, u64)>,
    /// Senders whose next transaction can be included, best first.
    heads: BTreeMap<Rank, Address>,
    with_gaps: BTreeSet<Address>,
    parked: BTreeSet<Address>,
    /// Next nonces by the last block: a client's answer about the account may be a block old.
    settled: BTreeMap<Address, u64>,
    bytes: usize,
    ready: usize,
    local: usize,
    local_dropped: bool,
    /// Ready ones that have waited so long that they tell nothing about the pace of blocks.
    stuck: usize,
    arrivals: u64,
    drops: Drops,
    fresh: VecDeque<Arc<Candidate>>,
    unsaved: VecDeque<Arc<Candidate>>,
    shed: Shed,
    swept_at: u64,
    announced_at: u64,
    permitted: Option<AddressHashSet>,
    checks: SenderChecks,
    turnover: Turnover,
}

impl Pool {
    /// An empty pool on a chain whose head has this height; `rules` are those of the next block.
    pub fn new(settings: Settings, rules: Rules, height: u64) -> Self {
        let shed = Shed::new(&settings, &rules);
        Self {
            settings,
            rules,
            height,
            senders: AddressHashMap::default(),
            by_hash: B256HashMap::default(),
            heads: BTreeMap::new(),
            with_gaps: BTreeSet::new(),
            parked: BTreeSet::new(),
            settled: BTreeMap::new(),
            bytes: 0,
            ready: 0,
            local: 0,
            local_dropped: false,
            stuck: 0,
            arrivals: 0,
            drops: Drops::default(),
            fresh: VecDeque::new(),
            unsaved: VecDeque::new(),
            shed,
            swept_at: 0,
            announced_at: 0,
            permitted: None,
            checks: SenderChecks::default(),
            turnover: Turnover::default(),
        }
    }

    /// Rules of the next block, to check offers with outside the lock.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// From now on nothing that offers less is taken, wei per gas; what waits and offers less is dropped.
    pub fn set_min_gas_price(&mut self, now: u64, least: u128) {
        self.rules.min_gas_price = least;
        let too_cheap: Vec<(Address, u64)> = self
            .by_hash
            .values()
            .filter(|(sender, nonce)| {
                let entry = self.senders.get(sender).and_then(|queue| queue.entries.get(nonce));
                entry.is_some_and(|entry| entry.candidate.tx.max_fee_per_gas() < least)
            })
            .copied()
            .collect();
        for (sender, nonce) in too_cheap {
            self.remove(now, sender, nonce, DropReason::BelowMinimumPrice { least });
        }
    }

    /// The gate that says, without the pool's lock, whether to refuse clients before any work is spent on them.
    pub fn gate(&self) -> Arc<LoadGate> {
        self.shed.gate().clone()
    }

    /// Takes a transaction. `now` is milliseconds of the steady clock ([`crate::Clock`]), here and below;
    /// `state` the sender's account at the head.
    ///
    /// # Errors
    /// Why it was not taken; the pool is unchanged then.
    pub fn add(&mut self, now: u64, offer: Offer, state: &SenderState) -> Result<Added, Refusal> {
        let Offer { candidate, bytes, origin } = offer;
        let hash = candidate.hash;
        if self.by_hash.contains_key(&hash) {
            return Err(Refusal::Known);
        }
        if let Some((_, reason)) = self.drops.find(&hash).filter(|(_, reason)| reason.is_for_good()) {
            return Err(Refusal::Dropped { why: reason.english() });
        }
        let sender = candidate.sender;
        self.check_sender(sender)?;
        let got = candidate.tx.nonce();
        let settled = self.settled.get(&sender).copied().unwrap_or(0);
        let next = state.nonce.max(settled);
        let known = self.senders.get(&sender).map_or(next, |queue| queue.next.max(next));
        if got < known {
            return Err(Refusal::NonceTooLow { got, expected: known });
        }
        if state.has_code {
            return Err(Refusal::SenderHasCode { sender });
        }
        let Some(tip) = rules::effective_tip(&candidate, self.rules.base_fee) else {
            let base_fee = self.rules.base_fee.unwrap_or(0);
            return Err(Refusal::BelowBaseFee { got: candidate.tx.max_fee_per_gas(), base_fee });
        };
        let cost = rules::upfront_cost(&candidate);
        if cost > state.balance {
            return Err(Refusal::CannotPay { cost, balance: state.balance });
        }
        if self.senders.get(&sender).is_some_and(|queue| queue.next < next) {
            self.advance(now, sender, next);
        }

        let entry = Entry { candidate, bytes, at: now, height: self.height, arrival: self.arrivals, local: origin.is_ours(), failures: 0, mined: false };
        if self.senders.get(&sender).is_some_and(|queue| queue.entries.contains_key(&got)) {
            return self.replace(now, sender, entry, origin);
        }

        let (ready_end, held) = self.senders.get(&sender).map_or((next, 0), |queue| (queue.ready_end, queue.entries.len()));
        let most = ready_end.saturating_add(self.settings.max_gap);
        if got > most {
            return Err(Refusal::NonceTooDistant { got, most });
        }
        if held >= self.settings.max_per_sender {
            return Err(Refusal::SenderFull { most: self.settings.max_per_sender });
        }
        if origin == Origin::Local {
            self.shed.admit(&sender, held, self.senders.len(), got == ready_end)?;
        }
        self.make_room(now, bytes, tip, &sender)?;

        self.arrivals += 1;
        self.bytes += bytes;
        self.local += usize::from(entry.local);
        self.turnover.added(entry.local);
        self.by_hash.insert(hash, (sender, got));
        if origin == Origin::Local {
            push_bounded(&mut self.unsaved, entry.candidate.clone());
        }
        let queue = self.senders.entry(sender).or_insert_with(|| Queue::new(next));
        queue.entries.insert(got, entry);
        self.settle(sender);
        Ok(Added { hash, replaced: None, ready: got <= ready_end })
    }

    fn replace(&mut self, now: u64, sender: Address, mut entry: Entry, origin: Origin) -> Result<Added, Refusal> {
        let nonce = entry.candidate.tx.nonce();
        let Some(queue) = self.senders.get_mut(&sender) else { return Err(Refusal::ReplacementUnderpriced) };
        let Some(old) = queue.entries.get_mut(&nonce) else { return Err(Refusal::ReplacementUnderpriced) };
        let bump = u128::from(self.settings.price_bump_percent);
        let enough = |new: u128, old: u128| new.saturating_mul(100) >= old.saturating_mul(100 + bump);
        let (new_tx, old_tx) = (&entry.candidate.tx, &old.candidate.tx);
        if !enough(new_tx.max_fee_per_gas(), old_tx.max_fee_per_gas())
            || !enough(new_tx.priority_fee_or_price(), old_tx.priority_fee_or_price())
        {
            return Err(Refusal::ReplacementUnderpriced);
        }
        let hash = entry.candidate.hash;
        // Its place in the order stays, so a resend costs the client nothing; the clock for the overload limit, too.
        entry.arrival = old.arrival;
        entry.at = old.at;
        entry.height = old.height;
        entry.local |= old.local;
        let ready = nonce < queue.ready_end;
        let replaced = old.candidate.hash;
        self.bytes = self.bytes - old.bytes + entry.bytes;
        self.local = self.local - usize::from(old.local) + usize::from(entry.local);
        self.turnover.left(old.local, Departure::Replaced);
        self.turnover.added(entry.local);
        let candidate = entry.candidate.clone();
        *old = entry;
        self.by_hash.remove(&replaced);
        self.by_hash.insert(hash, (sender, nonce));
        self.drops.remember(now, replaced, DropReason::Replaced { by: hash });
        if ready {
            push_bounded(&mut self.fresh, candidate.clone());
        }
        if origin == Origin::Local {
            push_bounded(&mut self.unsaved, candidate);
        }
        if queue.next == nonce && self.parked.remove(&sender) {
            queue.parked = None;
        }
        self.settle(sender);
        Ok(Added { hash, replaced: Some(replaced), ready })
    }

    /// Learns that a block became final: its transactions leave, later ones move up, the limits follow the pace that blocks
    /// have, what has expired goes. `account` answers for senders whose turn was put off because they could not pay.
    pub fn on_block(&mut self, now: u64, block: &MinedBlock<'_>, account: &dyn Fn(Address) -> SenderState) {
        self.height = block.number;
        let mut waits = Vec::with_capacity(block.transactions.len());
        self.settled.clear();
        for (tx, sender) in block.transactions.iter().zip(block.senders) {
            let nonce = tx.nonce();
            if let Some(entry) = self.senders.get_mut(sender).and_then(|queue| queue.entries.get_mut(&nonce))
                && entry.candidate.hash == *tx.tx_hash()
            {
                entry.mined = true;
                waits.push(now.saturating_sub(entry.at));
            }
            let next = self.settled.entry(*sender).or_insert(0);
            *next = (*next).max(nonce.saturating_add(1));
        }
        let settled = std::mem::take(&mut self.settled);
        for (sender, next) in &settled {
            if self.senders.get(sender).is_some_and(|queue| queue.next < *next) {
                self.advance(now, *sender, *next);
            }
        }
        self.settled = settled;

        if block.rules != self.rules {
            let base_fee_moved = block.rules.base_fee != self.rules.base_fee;
            self.rules = block.rules;
            if base_fee_moved {
                let mut all: Vec<Address> = self.senders.keys().copied().collect();
                all.sort_unstable();
                for sender in all {
                    self.settle(sender);
                }
            }
        }
        self.unpark(now, account);
        if now.saturating_sub(self.swept_at) >= SWEEP_MS {
            self.swept_at = now;
            self.sweep(now);
        }
        if self.ready > self.shed.room() / 2 {
            self.stuck = self.count_stuck(now);
        } else {
            self.stuck = 0;
        }
        self.shed.on_block(now, block.transactions.len(), &mut waits, &self.rules);
        self.tell_shed();
    }

    /// Everything that became includable since the last call, for announcement to peers; at most `most` at a time.
    pub fn take_fresh(&mut self, most: usize) -> Vec<Arc<Candidate>> {
        let mut taken = Vec::with_capacity(most.min(self.fresh.len()));
        while taken.len() < most
            && let Some(candidate) = self.fresh.pop_front()
        {
            if self.by_hash.contains_key(&candidate.hash) {
                taken.push(candidate);
            }
        }
        taken
    }

    /// This node's own transactions that are includable and yet have not been included for some seconds, to be announced
    /// once more, also to peers that were told before. Empty when called again within that time.
    pub fn take_unheard(&mut self, now: u64) -> Vec<Arc<Candidate>> {
        if now.saturating_sub(self.announced_at) < ANNOUNCE_AGAIN_MS {
            return Vec::new();
        }
        self.announced_at = now;
        if self.local == 0 || self.ready == 0 {
            return Vec::new();
        }
        let mut old: Vec<&Entry> = self
            .senders
            .values()
            .flat_map(|queue| queue.entries.range(..queue.ready_end).map(|(_, entry)| entry))
            .filter(|entry| entry.local && entry.at.saturating_add(ANNOUNCE_AGAIN_MS) <= now)
            .collect();
        old.sort_unstable_by_key(|entry| entry.arrival);
        old.into_iter().take(ANNOUNCE_AGAIN_MOST).map(|entry| entry.candidate.clone()).collect()
    }

    /// Local transactions taken since the last call, for the journal.
    pub fn take_unsaved(&mut self) -> Vec<Arc<Candidate>> {
        self.unsaved.drain(..).collect()
    }

    /// Candidates for a block in their order. The result is independent of the pool: the builder runs without the lock, and
    /// tells afterwards what it could not use ([`Pool::judged`]).
    pub fn pick(&self, limits: &PickLimits) -> Picks {
        order::pick(&self.senders, &self.heads, self.rules.base_fee, limits)
    }

    /// Takes the builder's verdicts on what it was given.
    pub fn judged(&mut self, now: u64, picks: Picks) -> Vec<(B256, DropReason)> {
        let mut dropped = Vec::new();
        for (hash, verdict) in picks.into_verdicts() {
            let Some(&(sender, nonce)) = self.by_hash.get(&hash) else { continue };
            match verdict {
                order::Verdict::NonceUsed { next } => self.advance(now, sender, next.max(nonce + 1)),
                order::Verdict::TooDear { reason } => {
                    let reason = DropReason::TooDear { reason };
                    self.remove(now, sender, nonce, reason.clone());
                    dropped.push((hash, reason));
                }
                order::Verdict::Refused { reason } => {
                    let height = self.height;
                    let Some(entry) = self.senders.get_mut(&sender).and_then(|queue| queue.entries.get_mut(&nonce)) else {
                        continue;
                    };
                    entry.failures += 1;
                    if entry.failures >= MAX_FAILURES {
                        self.remove(now, sender, nonce, DropReason::Unbuildable { reason });
                    } else {
                        let until = height + (1 << entry.failures);
                        if let Some(queue) = self.senders.get_mut(&sender)
                            && queue.next == nonce
                        {
                            queue.parked = Some(Parked { until, reason });
                            self.parked.insert(sender);
                        }
                    }
                    self.settle(sender);
                }
            }
        }
        self.tell_shed();
        dropped
    }

    /// Drops a transaction for a reason for which it is not taken again, whether it waits here or not; says whether it did.
    pub fn drop_for_good(&mut self, now: u64, hash: &B256, reason: DropReason) -> bool {
        let Some(&(sender, nonce)) = self.by_hash.get(hash) else {
            self.drops.remember(now, *hash, reason);
            return false;
        };
        self.remove(now, sender, nonce, reason);
        self.tell_shed();
        true
    }

    /// Whether a transaction that the journal of local ones has was dropped for good since the last call: the journal is to be
    /// written anew.
    pub fn take_local_dropped(&mut self) -> bool {
        std::mem::take(&mut self.local_dropped)
    }

    /// Why the transaction is not in a block yet. The caller asks the ledger first: a mined transaction is unknown here.
    pub fn why(&self, hash: &B256) -> Why {
        let Some(&(sender, nonce)) = self.by_hash.get(hash) else {
            return match self.drops.find(hash) {
                Some((at, reason)) => Why::Dropped { at, reason: reason.clone() },
                None => Why::Unknown,
            };
        };
        let Some(queue) = self.senders.get(&sender) else { return Why::Unknown };
        if nonce >= queue.ready_end {
            return Why::NonceMissing { nonce, missing: queue.ready_end, sender };
        }
        if let Some(parked) = &queue.parked {
            return Why::PutOff { reason: parked.reason.clone(), again_at: parked.until, before: nonce - queue.next };
        }
        let Some(entry) = queue.entries.get(&nonce) else { return Why::Unknown };
        let price = entry.candidate.tx.max_fee_per_gas();
        if price < self.rules.min_gas_price {
            return Why::BelowMinimumPrice { price, least: self.rules.min_gas_price };
        }
        if queue.rank.is_none()
            && let Some(head) = queue.entries.get(&queue.next)
        {
            let price = head.candidate.tx.max_fee_per_gas();
            return Why::BelowBaseFee { price, base_fee: self.rules.base_fee.unwrap_or(0), nonce: queue.next };
        }
        let mut position = 0;
        for candidate in self.pick(&PickLimits { count: MAX_POSITION, bytes: usize::MAX }).remaining() {
            position += 1;
            if candidate.hash == *hash {
                break;
            }
        }
        Why::Turn { position, of: self.ready, since: entry.at }
    }

    /// Sender of a held transaction, so that a block with it is checked without recovering it again.
    pub fn sender_of(&self, hash: &B256) -> Option<Address> {
        self.by_hash.get(hash).map(|(sender, _)| *sender)
    }

    /// A held transaction.
    pub fn get(&self, hash: &B256) -> Option<Arc<Candidate>> {
        let (sender, nonce) = self.by_hash.get(hash)?;
        self.by_sender(sender, *nonce)
    }

    /// The held transaction of that sender and nonce.
    pub fn by_sender(&self, sender: &Address, nonce: u64) -> Option<Arc<Candidate>> {
        self.senders.get(sender)?.entries.get(&nonce).map(|entry| entry.candidate.clone())
    }

    /// Whether the transaction is held.
    pub fn contains(&self, hash: &B256) -> bool {
        self.by_hash.contains_key(hash)
    }

    /// The nonce after the sender's last includable transaction: `eth_getTransactionCount` at `pending`. `None` when
    /// nothing of the sender is held; the state's nonce holds then.
    pub fn pending_nonce(&self, sender: &Address) -> Option<u64> {
        self.senders.get(sender).map(|queue| queue.ready_end)
    }

    /// How many transactions a block could hold now.
    pub fn ready_count(&self) -> usize {
        self.ready
    }

    /// Whether a block built now would be empty.
    pub fn is_idle(&self) -> bool {
        self.heads.is_empty()
    }

    /// What is held.
    pub fn statistics(&self) -> Statistics {
        Statistics {
            count: self.by_hash.len(),
            ready: self.ready,
            local: self.local,
            bytes: self.bytes,
            senders: self.senders.len(),
            room: self.shed.room(),
        }
    }

    /// Everything held, in the order of arrival: what is said of it to peers and clients does not depend on a hash table's
    /// mood.
    pub fn iter(&self) -> impl Iterator<Item = Held> + '_ {
        let entries = self.senders.values().flat_map(|queue| {
            queue.entries.iter().map(move |(nonce, entry)| (entry, *nonce < queue.ready_end))
        });
        let mut entries: Vec<(&Entry, bool)> = entries.collect();
        entries.sort_unstable_by_key(|(entry, _)| entry.arrival);
        entries.into_iter().map(|(entry, ready)| Held {
            candidate: entry.candidate.clone(),
            at: entry.at,
            local: entry.local,
            ready,
        })
    }

    /// Everything held of one sender, by nonce.
    pub fn of_sender(&self, sender: &Address) -> Vec<Held> {
        let Some(queue) = self.senders.get(sender) else { return Vec::new() };
        queue
            .entries
            .iter()
            .map(|(nonce, entry)| Held {
                candidate: entry.candidate.clone(),
                at: entry.at,
                local: entry.local,
                ready: *nonce < queue.ready_end,
            })
            .collect()
    }

    /// The gauge of how much may wait, for metrics.
    pub fn shed(&self) -> &Shed {
        &self.shed
    }

    /// Everything of `sender` below `next` leaves: mined or overtaken.
    fn advance(&mut self, now: u64, sender: Address, next: u64) {
        let Some(queue) = self.senders.get_mut(&sender) else { return };
        while let Some(first) = queue.entries.first_entry() {
            if *first.key() >= next {
                break;
            }
            let (nonce, entry) = first.remove_entry();
            let hash = entry.candidate.hash;
            self.by_hash.remove(&hash);
            self.bytes -= entry.bytes;
            self.local -= usize::from(entry.local);
            if nonce < queue.ready_end {
                self.ready -= 1;
            }
            if entry.mined {
                self.turnover.left(entry.local, Departure::AddedToBlock);
            } else {
                let reason = DropReason::NonceUsed { nonce };
                self.turnover.left(entry.local, Departure::from(&reason));
                self.drops.remember(now, hash, reason);
            }
        }
        queue.next = queue.next.max(next);
        queue.ready_end = queue.ready_end.max(queue.next);
        queue.parked = None;
        self.parked.remove(&sender);
        self.settle(sender);
    }

    /// Takes one transaction out; what follows it waits for its nonce.
    fn remove(&mut self, now: u64, sender: Address, nonce: u64, reason: DropReason) {
        let Some(queue) = self.senders.get_mut(&sender) else { return };
        let Some(entry) = queue.entries.remove(&nonce) else { return };
        self.by_hash.remove(&entry.candidate.hash);
        self.bytes -= entry.bytes;
        self.local -= usize::from(entry.local);
        if nonce < queue.ready_end {
            self.ready -= 1 + queue.entries.range(nonce..queue.ready_end).count();
            queue.ready_end = nonce;
        }
        if queue.next == nonce {
            queue.parked = None;
            self.parked.remove(&sender);
        }
        self.turnover.left(entry.local, Departure::from(&reason));
        self.local_dropped |= entry.local && reason.is_for_good();
        self.drops.remember(now, entry.candidate.hash, reason);
        self.settle(sender);
    }

    /// Brings readiness, rank and the indexes of a sender in line with its queue.
    fn settle(&mut self, sender: Address) {
        let Some(queue) = self.senders.get_mut(&sender) else { return };
        while let Some(entry) = queue.entries.get(&queue.ready_end) {
            push_bounded(&mut self.fresh, entry.candidate.clone());
            queue.ready_end += 1;
            self.ready += 1;
        }
        let rank = match (&queue.parked, queue.entries.get(&queue.next)) {
            (None, Some(head)) => {
                rules::effective_tip(&head.candidate, self.rules.base_fee).map(|tip| Rank::new(tip, head.arrival))
            }
            _ => None,
        };
        if queue.rank != rank {
            if let Some(old) = queue.rank.take() {
                self.heads.remove(&old);
            }
            if let Some(new) = rank {
                self.heads.insert(new, sender);
            }
            queue.rank = rank;
        }
        let has_gap = queue.entries.last_key_value().is_some_and(|(last, _)| *last >= queue.ready_end);
        if has_gap != queue.has_gap {
            queue.has_gap = has_gap;
            if has_gap {
                self.with_gaps.insert(sender);
            } else {
                self.with_gaps.remove(&sender);
            }
        }
        if queue.entries.is_empty() {
            self.senders.remove(&sender);
        }
        self.tell_shed();
    }

    fn tell_shed(&mut self) {
        self.shed.set_waiting(self.ready.saturating_sub(self.stuck));
    }

    /// Makes room for `bytes` more: first what waits behind gaps, then the tail of the lowest sender if it pays less.
    fn make_room(&mut self, now: u64, bytes: usize, tip: u128, newcomer: &Address) -> Result<(), Refusal> {
        while self.by_hash.len() >= self.settings.max_count || self.bytes + bytes > self.settings.max_bytes {
            let behind_gap = self.with_gaps.iter().find(|sender| *sender != newcomer).copied();
            let victim = behind_gap.or_else(|| {
                let (rank, sender) = self.heads.last_key_value()?;
                (rank.tip() < tip && sender != newcomer).then_some(*sender)
            });
            let tail = victim.and_then(|sender| {
                let (nonce, _) = self.senders.get(&sender)?.entries.last_key_value()?;
                Some((sender, *nonce))
            });
            let Some((sender, nonce)) = tail else {
                return Err(Refusal::Full { count: self.by_hash.len(), bytes: self.bytes });
            };
            self.remove(now, sender, nonce, DropReason::Evicted);
        }
        Ok(())
    }

    /// Senders put off by the builder come back when their time is up or their account has changed.
    fn unpark(&mut self, now: u64, account: &dyn Fn(Address) -> SenderState) {
        let height = self.height;
        let parked: Vec<Address> = self.parked.iter().copied().collect();
        for sender in parked {
            let state = account(sender);
            if self.senders.get(&sender).is_some_and(|queue| queue.next < state.nonce) {
                self.advance(now, sender, state.nonce);
                continue;
            }
            let Some(queue) = self.senders.get_mut(&sender) else {
                self.parked.remove(&sender);
                continue;
            };
            if queue.parked.as_ref().is_none_or(|parked| parked.until <= height) {
                queue.parked = None;
                self.parked.remove(&sender);
                self.settle(sender);
            }
        }
    }

    /// Drops what has stayed too long.
    fn sweep(&mut self, now: u64) {
        let mut expired = Vec::new();
        for (sender, queue) in &self.senders {
            for (nonce, entry) in &queue.entries {
                let age = now.saturating_sub(entry.at);
                if age > self.settings.retention_ms {
                    expired.push((*sender, *nonce, DropReason::Expired));
                } else if *nonce >= queue.ready_end && age > self.settings.gap_retention_ms {
                    expired.push((*sender, *nonce, DropReason::GapExpired { missing: queue.ready_end }));
                }
            }
        }
        // From the highest nonce down, so that no drop turns its successors into gaps that are still to be visited.
        expired.sort_unstable_by_key(|(sender, nonce, _)| (std::cmp::Reverse(*nonce), *sender));
        for (sender, nonce, reason) in expired {
            self.remove(now, sender, nonce, reason);
        }
    }

    fn count_stuck(&self, now: u64) -> usize {
        let wait = shed::STUCK_MS.max(4 * self.shed.target_wait_ms(&self.rules));
        self.senders
            .values()
            .flat_map(|queue| queue.entries.range(..queue.ready_end))
            .filter(|(_, entry)| {
                self.height.saturating_sub(entry.height) > shed::STUCK_BLOCKS && now.saturating_sub(entry.at) > wait
            })
            .count()
    }
}

fn push_bounded(queue: &mut VecDeque<Arc<Candidate>>, candidate: Arc<Candidate>) {
    if queue.len() >= MAX_FEED {
        queue.pop_front();
    }
    queue.push_back(candidate);
}

#[cfg(test)]
mod tests;
