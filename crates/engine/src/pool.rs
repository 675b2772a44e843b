//! Transactions that wait for a block.
//!
//! Per sender a queue by nonce, gaps held. Where fees count, the highest effective tip comes first. Among equals, and always
//! where there are no fees ([`Rules::is_free`]), ingresses ([`Ingress`]: who brought it) and within them senders have their
//! shares, by gas (`fair.rs`). The same shares decide who makes room in a full pool, and what peers are told of first; so a
//! flood, of one sender or of many accounts of one ingress, waits in its own line.
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
mod fair;
mod ingress;
mod local;
mod order;
mod permitted;
mod queue;
mod refusal;
mod replace;
mod room;
mod rules;
mod shed;
mod tell;
mod turnover;
mod why;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use alloy_primitives::map::{AddressHashMap, AddressHashSet, B256HashMap};
use alloy_primitives::{Address, B256, U256};
use ipe_chain::Candidate;
use ipe_types::Transaction;

pub use drops::DropReason;
pub use ingress::Ingress;
pub use local::{LocalJournal, LocalJournalError};
pub use order::{PickLimits, Picks};
pub use permitted::SenderChecks;
pub use refusal::Refusal;
pub use rules::{Offer, Origin, Rules};
pub use shed::{LoadGate, Shed};
pub use turnover::{Departure, Passed, Turnover};
pub use why::Why;

use drops::Drops;
use fair::{Fair, HELD_BYTES, Rank};
use ingress::CLIENTS;
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
    /// equally priced resend replaces; besu-compat §11.2). One that pays nothing more waits a while (`replace.rs`).
    pub price_bump_percent: u32,
    /// Longest stay of a transaction, milliseconds (Besu: 13 h).
    pub retention_ms: u64,
    /// Longest stay behind a missing nonce, milliseconds.
    pub gap_retention_ms: u64,
    /// How long an admitted transaction should wait at most until its block is imported, milliseconds; what would wait longer
    /// is refused. Never below 1.9 block periods and 0.3 s.
    pub target_wait_ms: u64,
    /// Secret of this process: decides between senders where all else is equal. The shell draws it at start.
    pub key: B256,
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
            key: B256::ZERO,
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
    /// Gas used, one per transaction.
    pub gas_used: &'a [u64],
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
/// Blocks for which a transaction is put off that came when the time for one was about to end: as short as the first refusal.
const LATE_BLOCKS: u64 = 2;
/// Unclaimed journal or announcement entries; beyond it the oldest are forgotten (their owner is not listening).
const MAX_FEED: usize = 65_536;
/// How far [`Pool::why`] counts a position: beyond it "later than that" says enough, and counting holds the pool's lock.
const MAX_POSITION: usize = 1_000;
/// What peers brought fills at most this share of the room, quarters: the rest is for this node's own clients, whatever
/// comes from elsewhere.
const ROOM_OF_PEERS: usize = 3;

/// The pool. See the module's page.
#[derive(Debug)]
pub struct Pool {
    settings: Settings,
    rules: Rules,
    height: u64,
    senders: AddressHashMap<Queue>,
    by_hash: B256HashMap<(Address, u64)>,
    /// By arrival, for listings.
    arrived: BTreeMap<u64, (Address, u64)>,
    fair: Fair,
    parked: BTreeSet<Address>,
    /// Next nonces by the last block: a client's answer about the account may be a block old.
    settled: BTreeMap<Address, u64>,
    bytes: usize,
    ready: usize,
    local: usize,
    local_dropped: bool,
    /// Ready ones that have waited so long that they tell nothing about the pace of blocks: of clients, of others.
    stuck: [usize; 2],
    arrivals: u64,
    /// Transactions that became includable, as a number of its own for each.
    readied: u64,
    drops: Drops,
    /// What peers were told of, with the height at which they were.
    told: VecDeque<(u64, B256)>,
    /// Of clients, not journalled yet. Hashes: what has left the pool meanwhile is not kept for it.
    unsaved: VecDeque<B256>,
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
            arrived: BTreeMap::new(),
            fair: Fair::default(),
            parked: BTreeSet::new(),
            settled: BTreeMap::new(),
            bytes: 0,
            ready: 0,
            local: 0,
            local_dropped: false,
            stuck: [0; 2],
            arrivals: 0,
            readied: 0,
            drops: Drops::default(),
            told: VecDeque::new(),
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
        let least = self.rules.least_price();
        let too_cheap: Vec<(Address, u64)> = self
            .by_hash
            .values()
            .filter(|(sender, nonce)| {
                let entry = self.senders.get(sender).and_then(|queue| queue.entries.get(nonce));
                entry.is_some_and(|entry| entry.candidate.tx.max_fee_per_gas() < U256::from(least))
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
        let Offer { candidate, bytes, origin, ingress } = offer;
        let hash = candidate.hash;
        if self.by_hash.contains_key(&hash) {
            self.brought_again(&hash, ingress);
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
        let Some(tip) = self.rules.tip(&candidate) else {
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

        let mut entry = Entry {
            candidate,
            bytes,
            at: now,
            height: self.height,
            arrival: self.arrivals,
            local: origin.is_ours(),
            failures: 0,
            mined: false,
            replacements: 0,
            placed: now,
            told: false,
            counted: 0,
            untold: None,
        };
        let queue = self.senders.get(&sender);
        let (ready_end, held) = queue.map_or((next, 0), |queue| (queue.ready_end, queue.entries.len()));
        let lot = queue.map_or_else(|| self.lot(&sender), |queue| queue.lot);
        let mut more = (1, bytes);
        let old = queue.and_then(|queue| queue.entries.get(&got));
        if let Some(old) = old {
            entry.replacements = self.may_replace(now, &entry, old)?;
            more = (0, bytes.saturating_sub(old.bytes));
        } else {
            let most = ready_end.saturating_add(self.settings.max_gap);
            if got > most {
                return Err(Refusal::NonceTooDistant { got, most });
            }
            if held >= self.settings.max_per_sender {
                return Err(Refusal::SenderFull { most: self.settings.max_per_sender });
            }
        }
        if origin == Origin::Local {
            let ask =
                shed::Ask { lot, held, senders: self.senders.len(), contiguous: got <= ready_end, client: self.client(&ingress) };
            self.shed.admit(&ask)?;
        }
        self.make_room(now, more, tip, &sender, &ingress)?;
        self.rehome(sender, ingress);
        let added = self.place(now, sender, entry, (next, ingress, lot));
        if origin == Origin::Local {
            if self.unsaved.len() >= MAX_FEED {
                self.unsaved.pop_front();
            }
            self.unsaved.push_back(hash);
        }
        Ok(added)
    }

    /// Puts an admitted transaction into its place, in the stead of the one that is there.
    fn place(&mut self, now: u64, sender: Address, mut entry: Entry, (next, ingress, lot): (u64, Ingress, u64)) -> Added {
        let (hash, nonce, bytes) = (entry.candidate.hash, entry.candidate.tx.nonce(), entry.bytes);
        let queue = self.senders.entry(sender).or_insert_with(|| Queue::new(next, ingress, lot));
        let (home, ready) = (queue.home, nonce <= queue.ready_end);
        let old = queue.entries.remove(&nonce);
        if let Some(old) = &old {
            // Its place in the order stays, so a resend costs the client nothing; the clock for the overload limit, too.
            (entry.arrival, entry.at, entry.height) = (old.arrival, old.at, old.height);
            entry.local |= old.local;
            queue.weight -= old.bytes as u64 + HELD_BYTES;
            if queue.next == nonce && self.parked.remove(&sender) {
                queue.parked = None;
            }
            if nonce < queue.ready_end {
                let size = fair::size(entry.candidate.tx.gas_limit(), fair::turn(self.rules.block_gas_limit));
                self.readied += 1;
                entry.untold = Some((size, self.readied));
            }
        } else {
            self.arrivals += 1;
        }
        queue.weight += bytes as u64 + HELD_BYTES;
        self.arrived.insert(entry.arrival, (sender, nonce));
        self.local += usize::from(entry.local);
        self.bytes += bytes;
        self.turnover.added(entry.local);
        let untold = entry.untold;
        queue.entries.insert(nonce, entry);
        self.by_hash.insert(hash, (sender, nonce));
        if let Some(old) = &old {
            self.untell(&home, old);
            self.bytes -= old.bytes;
            self.local -= usize::from(old.local);
            self.turnover.left(old.local, Departure::Replaced);
            self.by_hash.remove(&old.candidate.hash);
            self.drops.remember(now, old.candidate.hash, DropReason::Replaced { by: hash });
            if let Some((size, number)) = untold {
                self.fair.flow_mut(&home).untold[size].insert(number, (sender, nonce));
            }
        }
        self.settle(sender);
        Added { hash, replaced: old.map(|old| old.candidate.hash), ready }
    }

    /// The sender's place where all else is equal, 64 bits.
    fn lot(&self, sender: &Address) -> u64 {
        let mut bytes = [0; 52];
        bytes[..32].copy_from_slice(self.settings.key.as_slice());
        bytes[32..].copy_from_slice(sender.as_slice());
        let mut first = [0; 8];
        first.copy_from_slice(&ipe_types::keccak256(bytes)[..8]);
        u64::from_be_bytes(first)
    }

    fn client(&self, ingress: &Ingress) -> shed::Client {
        let held = self.fair.flow(ingress).map_or(0, |flow| flow.load());
        match (ingress, self.fair.count(CLIENTS) as u64) {
            (Ingress::Client(None), _) => shed::Client::Unknown,
            (_, 0) => shed::Client::Alone,
            (_, 1) if held > 0 => shed::Client::Alone,
            (_, clients) => shed::Client::One { held, share: self.fair.total(CLIENTS) / clients },
        }
    }

    /// Learns that a block became final: its transactions leave, later ones move up, the limits follow the pace that blocks
    /// have, what has expired goes. `account` answers for senders whose turn was put off because they could not pay.
    pub fn on_block(&mut self, now: u64, block: &MinedBlock<'_>, account: &dyn Fn(Address) -> SenderState) {
        self.height = block.number;
        let mut waits = Vec::with_capacity(block.transactions.len());
        self.settled.clear();
        let (sharing, turn) = (self.fair.sharing(), fair::turn(self.rules.block_gas_limit));
        for (index, (tx, sender)) in block.transactions.iter().zip(block.senders).enumerate() {
            let nonce = tx.nonce();
            if let Some(queue) = self.senders.get_mut(sender)
                && let Some(entry) = queue.entries.get_mut(&nonce)
                && entry.candidate.hash == *tx.tx_hash()
            {
                entry.mined = true;
                waits.push(now.saturating_sub(entry.at));
                let used = block.gas_used.get(index).copied().unwrap_or(tx.gas_limit());
                self.fair.served(&queue.home, tx.gas_limit(), used, sharing, self.rules.block_gas_limit, turn);
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
            let base_fee_moved = block.rules.base_fee != self.rules.base_fee || block.rules.is_free() != self.rules.is_free();
            self.rules = block.rules;
            if base_fee_moved {
                self.settle_all();
            }
        }
        self.forget_told(self.height.saturating_sub(tell::WAITED_FOR_BLOCKS), MAX_FEED);
        self.unpark(now, account);
        if now.saturating_sub(self.swept_at) >= SWEEP_MS {
            self.swept_at = now;
            self.sweep(now);
        }
        if self.ready > self.shed.room() / 2 {
            self.stuck = self.count_stuck(now);
        } else {
            self.stuck = [0; 2];
        }
        self.shed.on_block(now, block.transactions.len(), &mut waits, &self.rules);
        self.tell_shed();
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
            .filter(|entry| entry.local && entry.told && entry.at.saturating_add(ANNOUNCE_AGAIN_MS) <= now)
            .collect();
        old.sort_unstable_by_key(|entry| entry.arrival);
        old.into_iter().take(ANNOUNCE_AGAIN_MOST).map(|entry| entry.candidate.clone()).collect()
    }

    /// Local transactions taken since the last call and still here, for the journal.
    pub fn take_unsaved(&mut self) -> Vec<Arc<Candidate>> {
        let hashes = std::mem::take(&mut self.unsaved);
        hashes.iter().filter_map(|hash| self.get(hash)).collect()
    }

    /// Candidates for a block in their order. The result is independent of the pool: the builder runs without the lock, and
    /// tells afterwards what it could not use ([`Pool::judged`]).
    pub fn pick(&self, limits: &PickLimits) -> Picks {
        order::pick(&self.senders, &self.fair, &self.rules, limits)
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
                order::Verdict::NotPermitted { reason } => {
                    let reason = DropReason::AgainstRules { reason };
                    self.remove(now, sender, nonce, reason.clone());
                    dropped.push((hash, reason));
                }
                order::Verdict::Refused { reason } => {
                    let Some(entry) = self.senders.get_mut(&sender).and_then(|queue| queue.entries.get_mut(&nonce)) else {
                        continue;
                    };
                    entry.failures += 1;
                    let failures = entry.failures;
                    if failures >= MAX_FAILURES {
                        self.remove(now, sender, nonce, DropReason::Unbuildable { reason });
                    } else {
                        self.put_off(sender, nonce, 1 << failures, reason);
                    }
                    self.settle(sender);
                }
                order::Verdict::Late { reason } => {
                    self.put_off(sender, nonce, LATE_BLOCKS, reason);
                    self.settle(sender);
                }
            }
        }
        self.tell_shed();
        dropped
    }

    /// Leaves a sender out for so many blocks, when this nonce is its next.
    fn put_off(&mut self, sender: Address, nonce: u64, blocks: u64, reason: String) {
        let until = self.height + blocks;
        if let Some(queue) = self.senders.get_mut(&sender)
            && queue.next == nonce
        {
            queue.parked = Some(Parked { until, reason });
            self.parked.insert(sender);
        }
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
        let least = self.rules.least_price();
        if price < U256::from(least) {
            return Why::BelowMinimumPrice { price, least };
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
        self.fair.is_idle()
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
    /// mood. The work grows with what is taken of it.
    pub fn iter(&self) -> impl Iterator<Item = Held> + '_ {
        self.arrived.values().filter_map(|(sender, nonce)| {
            let queue = self.senders.get(sender)?;
            let entry = queue.entries.get(nonce)?;
            Some(Held { candidate: entry.candidate.clone(), at: entry.at, local: entry.local, ready: *nonce < queue.ready_end })
        })
    }

    /// What a new connection is told of, at most `most`: includable, and told to others before.
    pub fn told(&self, most: usize) -> Vec<Arc<Candidate>> {
        let was_told = |candidate: &Arc<Candidate>| {
            let queue = self.senders.get(&candidate.sender);
            queue.and_then(|queue| queue.entries.get(&candidate.tx.nonce())).is_some_and(|entry| entry.told)
        };
        self.pick(&PickLimits { count: most, bytes: usize::MAX }).remaining().filter(was_told).collect()
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
        let home = queue.home;
        if let Some(rank) = queue.rank.take() {
            self.fair.rank(&home, sender, Some(rank), None);
        }
        while let Some(queue) = self.senders.get_mut(&sender)
            && let Some(first) = queue.entries.first_entry()
            && *first.key() < next
        {
            let (nonce, entry) = first.remove_entry();
            let was_ready = nonce < queue.ready_end;
            queue.weight -= entry.bytes as u64 + HELD_BYTES;
            self.forget(&home, &entry, usize::from(was_ready));
            if entry.mined {
                self.turnover.left(entry.local, Departure::AddedToBlock);
            } else {
                let reason = DropReason::NonceUsed { nonce };
                self.turnover.left(entry.local, Departure::from(&reason));
                self.drops.remember(now, entry.candidate.hash, reason);
            }
        }
        let Some(queue) = self.senders.get_mut(&sender) else { return };
        queue.next = queue.next.max(next);
        queue.ready_end = queue.ready_end.max(queue.next);
        queue.parked = None;
        self.parked.remove(&sender);
        self.settle(sender);
    }

    /// An entry has left its queue; `ready` transactions fewer can be included.
    fn forget(&mut self, home: &Ingress, entry: &Entry, ready: usize) {
        self.by_hash.remove(&entry.candidate.hash);
        self.arrived.remove(&entry.arrival);
        self.bytes -= entry.bytes;
        self.local -= usize::from(entry.local);
        self.ready -= ready;
        self.fair.ready[home.class()] -= ready;
        self.untell(home, entry);
    }

    /// Takes one transaction out; what follows it waits for its nonce.
    fn remove(&mut self, now: u64, sender: Address, nonce: u64, reason: DropReason) {
        let Some(queue) = self.senders.get_mut(&sender) else { return };
        let Some(entry) = queue.entries.remove(&nonce) else { return };
        let home = queue.home;
        queue.weight -= entry.bytes as u64 + HELD_BYTES;
        let mut unready = 0;
        if nonce < queue.ready_end {
            unready = 1 + queue.entries.range(nonce..queue.ready_end).count();
            queue.ready_end = nonce;
        }
        if queue.next == nonce {
            queue.parked = None;
            self.parked.remove(&sender);
        }
        self.forget(&home, &entry, unready);
        self.turnover.left(entry.local, Departure::from(&reason));
        self.local_dropped |= entry.local && reason.is_for_good();
        self.drops.remember(now, entry.candidate.hash, reason);
        self.settle(sender);
    }

    fn settle_all(&mut self) {
        let mut all: Vec<Address> = self.senders.keys().copied().collect();
        all.sort_unstable();
        all.into_iter().for_each(|sender| self.settle(sender));
    }

    /// Brings readiness, rank and the indexes of a sender in line with its queue.
    fn settle(&mut self, sender: Address) {
        let Some(queue) = self.senders.get_mut(&sender) else { return };
        let (home, turn) = (queue.home, fair::turn(self.rules.block_gas_limit));
        let flow = self.fair.flow_mut(&home);
        let from = queue.ready_end;
        while let Some(entry) = queue.entries.get_mut(&queue.ready_end) {
            if !entry.told && entry.untold.is_none() {
                let size = fair::size(entry.candidate.tx.gas_limit(), turn);
                self.readied += 1;
                entry.untold = Some((size, self.readied));
                flow.untold[size].insert(self.readied, (sender, queue.ready_end));
            }
            queue.ready_end += 1;
        }
        let more = (queue.ready_end - from) as usize;
        self.ready += more;
        let has_gap = queue.entries.last_key_value().is_some_and(|(last, _)| *last >= queue.ready_end);
        if has_gap != queue.has_gap {
            queue.has_gap = has_gap;
            if has_gap {
                flow.gapped.insert(sender);
            } else {
                flow.gapped.remove(&sender);
            }
        }
        self.fair.ready[home.class()] += more;
        let head = match (&queue.parked, queue.entries.get(&queue.next)) {
            (None, Some(head)) => self.rules.tip(&head.candidate).map(|tip| (tip, head.candidate.tx.gas_limit(), head.arrival)),
            _ => None,
        };
        let rank = head.map(|(tip, gas, arrival)| (fair::size(gas, turn), Rank::new(tip, 0, arrival), gas));
        if queue.rank != rank.map(|(size, rank, _)| (size, rank)) {
            self.fair.rank(&home, sender, queue.rank, rank);
            queue.rank = rank.map(|(size, rank, _)| (size, rank));
        }
        if queue.load != queue.weight {
            self.fair.hold(&home, sender, queue.lot, queue.load, queue.weight);
            queue.load = queue.weight;
        }
        if queue.entries.is_empty() {
            self.senders.remove(&sender);
        }
        self.tell_shed();
    }

    /// What waits before a client's transaction: what clients sent, and what peers brought as far as its share of the room.
    fn tell_shed(&mut self) {
        let [of_clients, of_others] = self.stuck;
        let clients = self.fair.ready[CLIENTS];
        let others = (self.ready - clients).saturating_sub(of_others);
        self.shed.set_waiting(clients.saturating_sub(of_clients) + others.min(self.shed.room() / 4 * ROOM_OF_PEERS));
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

    fn count_stuck(&self, now: u64) -> [usize; 2] {
        let wait = shed::STUCK_MS.max(4 * self.shed.target_wait_ms(&self.rules));
        let mut stuck = [0; 2];
        for queue in self.senders.values() {
            let is_stuck = |entry: &Entry| {
                self.height.saturating_sub(entry.height) > shed::STUCK_BLOCKS && now.saturating_sub(entry.at) > wait
            };
            let count = queue.entries.range(..queue.ready_end).filter(|(_, entry)| is_stuck(entry)).count();
            stuck[usize::from(queue.home.class() != CLIENTS)] += count;
        }
        stuck
    }
}

#[cfg(test)]
mod tests;
