//! How transactions spread: whom they are sent to in full, to whom only announced, and what is asked for.
//!
//! A transaction of our own interface goes in full to the core at once. One that a peer sent us is announced by its hash
//! (32 bytes instead of some hundred) and fetched by whoever misses it, except where this node is the only way: a boot
//! in a sentry network hands transactions of its writers on in full, to its validators and to the other boots.
//! What is new is collected for [`FLUSH_MS`] and sent together.
//!
//! Whoever announces and does not deliver pays with its share: each hash asked for takes a token of its node, which comes
//! back when the transaction is here, from whomever ([`Peer::share`]).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use alloy_eips::Typed2718;
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::map::B256HashMap;
use ipe_chain::Candidate;
use ipe_types::eth::{Announced, EthMessage, MAX_POOLED_SERVED, MAX_TRANSACTIONS_BYTES, MAX_TRANSACTIONS_PER_MESSAGE};
use ipe_types::{B256, Role, Topology};

use crate::peer::{Peer, PeerId, Peers};
use crate::replica::Output;

/// How long new transactions are collected before they are sent, ms: a fiftieth of a block period, and at a thousand
/// transactions a second twenty of them share a message.
pub const FLUSH_MS: u64 = 20;
/// How long what only has to be announced waits, ms: by then most peers have it from elsewhere and need no telling.
pub const ANNOUNCE_MS: u64 = 120;
/// Peers to whom local transactions go in full without counting roots: the size of a core.
const SMALL_NETWORK: usize = 16;
/// Announced transactions that are being fetched at once, of those whom we know and of strangers; more announcements are
/// ignored until some have come. Some MiB.
const MAX_WANTED: [usize; 2] = [32_768, 32_768];
/// Nobody has more than a seventh of what the others leave free: one alone has room for the largest announcement, and 25
/// that want all of it leave more than a hundred to the next.
const FREE_FOR_ONE: usize = 7;
/// How long a peer may take to answer a request for transactions, ms; then another one that announced them is asked.
const FETCH_TIMEOUT_MS: u64 = 3_000;
/// Types of transactions that the pool takes (`crate::pool::rules`).
const CARRIED: [u8; 4] = [0, 1, 2, 4];
/// Further peers remembered for one wanted transaction.
const MAX_ALTERNATIVES: usize = 3;
/// Transactions waiting to be told; above it the oldest are dropped, since they are in the pool and a later connection
/// is told of the whole pool.
const MAX_FRESH: usize = 65_536;
/// Transactions of the pool announced to a new connection (the largest announcement that Besu takes).
const MAX_INITIAL: usize = MAX_TRANSACTIONS_PER_MESSAGE;

#[derive(Debug)]
struct Fresh {
    candidate: Arc<Candidate>,
    /// Sent in full to those who get it so.
    pushed: bool,
    at_ms: u64,
}

#[derive(Debug)]
struct Wanted {
    /// Whose share it takes.
    asked: PeerId,
    stranger: bool,
    until_ms: u64,
    alternatives: Vec<PeerId>,
}

/// The memory of transaction gossip.
#[derive(Debug, Default)]
pub struct Gossip {
    fresh: VecDeque<Fresh>,
    wanted: B256HashMap<Wanted>,
    /// How many of these are asked of those whom we know, and of strangers.
    asked_of: [usize; 2],
    next_request: u64,
    push_at: Option<u64>,
    announce_at: Option<u64>,
    expire_at: Option<u64>,
}

impl Gossip {
    /// When [`Gossip::tick`] has something to do, ms.
    pub fn wake_at(&self) -> Option<u64> {
        [self.push_at, self.announce_at, self.expire_at].into_iter().flatten().min()
    }

    /// Transactions that are being fetched.
    pub fn wanted(&self) -> usize {
        self.wanted.len()
    }

    /// The pool may hold something new: [`Gossip::collect`] is to be called with it at the next flush.
    pub fn stir(&mut self, now_ms: u64) {
        self.push_at.get_or_insert(now_ms + FLUSH_MS);
    }

    /// Takes what has become includable in the pool.
    pub fn collect(&mut self, now_ms: u64, fresh: Vec<Arc<Candidate>>, peers: &mut Peers) {
        if fresh.is_empty() {
            return;
        }
        for candidate in fresh {
            self.received(&candidate.hash, peers);
            if self.fresh.len() >= MAX_FRESH {
                self.fresh.pop_front();
            }
            self.fresh.push_back(Fresh { candidate, pushed: false, at_ms: now_ms });
        }
        self.push_at.get_or_insert(now_ms);
        self.announce_at.get_or_insert(now_ms + ANNOUNCE_MS);
    }

    /// Whether the time of collecting is over.
    pub fn is_due(&self, now_ms: u64) -> bool {
        self.push_at.is_some_and(|at| now_ms >= at)
    }

    /// Own transactions that nobody has mined for some seconds are told again, also to whom they were told before.
    pub fn repeat(&mut self, now_ms: u64, unheard: Vec<Arc<Candidate>>, peers: &mut Peers) {
        for candidate in &unheard {
            peers.iter_mut().for_each(|peer| peer.transactions.remove(&candidate.hash));
        }
        self.collect(now_ms, unheard, peers);
    }

    /// A transaction that was asked for has come, from whomever, and whether the pool took it or not.
    pub fn received(&mut self, hash: &B256, peers: &mut Peers) {
        let Some(wanted) = self.wanted.remove(hash) else { return };
        self.asked_of[usize::from(wanted.stranger)] -= 1;
        if let Some(asked) = peers.get_mut(wanted.asked) {
            asked.fetching = asked.fetching.saturating_sub(1);
            asked.share.give(1);
        }
    }

    /// A new connection is told what the pool holds.
    pub fn connected(&self, peer: &mut Peer, pool: impl Iterator<Item = Arc<Candidate>>) -> Option<Output> {
        let announced: Vec<Announced> = pool
            .take(MAX_INITIAL)
            .filter(|candidate| peer.transactions.insert(&candidate.hash))
            .map(|candidate| announcement(&candidate))
            .collect();
        let message = Arc::new(EthMessage::NewPooledTransactionHashes(announced.clone()));
        (!announced.is_empty()).then(|| Output::Eth(vec![peer.info.id], message))
    }

    /// A peer has announced transactions: ask for those that nobody has been asked for, as far as its share goes. None is asked for
    /// that the pool does not take: a blob transaction would come with its blobs, in a form that no message of ours has.
    pub fn announced(&mut self, now_ms: u64, peer: &mut Peer, hashes: &[Announced], known: impl Fn(&B256) -> bool) -> Vec<Output> {
        let mut ask = Vec::new();
        for Announced { hash, kind } in hashes {
            if kind.is_some_and(|(kind, _)| !CARRIED.contains(&kind)) {
                continue;
            }
            peer.transactions.insert(hash);
            if let Some(wanted) = self.wanted.get_mut(hash) {
                let listed = wanted.asked == peer.info.id || wanted.alternatives.contains(&peer.info.id);
                if !listed && (wanted.alternatives.len() < MAX_ALTERNATIVES || peer.is_known()) {
                    // Whom we know is asked first, and cannot be kept out by those whom we do not.
                    wanted.alternatives.insert(if peer.is_known() { 0 } else { wanted.alternatives.len() }, peer.info.id);
                    wanted.alternatives.truncate(MAX_ALTERNATIVES);
                }
                continue;
            }
            if known(hash) || !self.want(now_ms, *hash, peer, Vec::new()) {
                continue;
            }
            ask.push(*hash);
        }
        self.requests(peer.info.id, &ask)
    }

    /// Notes that `peer` is asked for a transaction, when there is room and its share allows it.
    fn want(&mut self, now_ms: u64, hash: B256, peer: &mut Peer, alternatives: Vec<PeerId>) -> bool {
        let stranger = !peer.is_known();
        let class = usize::from(stranger);
        if self.asked_of[class] + FREE_FOR_ONE * peer.fetching >= MAX_WANTED[class] || !peer.share.take(now_ms, 1) {
            return false;
        }
        let until_ms = now_ms + FETCH_TIMEOUT_MS;
        self.wanted.insert(hash, Wanted { asked: peer.info.id, stranger, until_ms, alternatives });
        self.asked_of[class] += 1;
        peer.fetching += 1;
        self.expire_at.get_or_insert(until_ms);
        true
    }

    fn requests(&mut self, peer: PeerId, hashes: &[B256]) -> Vec<Output> {
        hashes
            .chunks(MAX_POOLED_SERVED)
            .map(|hashes| {
                self.next_request += 1;
                let request_id = self.next_request;
                let message = EthMessage::GetPooledTransactions { request_id, hashes: hashes.to_vec() };
                Output::Eth(vec![peer], Arc::new(message))
            })
            .collect()
    }

    /// Sends what is due and asks again for what has not come.
    pub fn tick(&mut self, now_ms: u64, peers: &mut Peers, place: GossipPlace) -> Vec<Output> {
        let mut outputs = Vec::new();
        if self.push_at.is_some_and(|at| now_ms >= at) {
            self.push_at = None;
            self.push(peers, place, &mut outputs);
        }
        if self.announce_at.is_some_and(|at| now_ms >= at) {
            self.announce(now_ms, peers, &mut outputs);
            self.announce_at = self.fresh.front().map(|oldest| oldest.at_ms + ANNOUNCE_MS);
        }
        if self.expire_at.is_some_and(|at| now_ms >= at) {
            self.expire(now_ms, peers, &mut outputs);
        }
        outputs
    }

    fn push(&mut self, peers: &mut Peers, place: GossipPlace, outputs: &mut Vec<Output>) {
        let count = peers.len();
        let source = |hash: &B256| {
            let mut source = Source::Own;
            for peer in peers.iter().filter(|peer| peer.transactions.contains(hash)) {
                if peer.info.role == Some(Role::Boot) {
                    return Source::Boot;
                }
                source = Source::Peer;
            }
            source
        };
        let unpushed: Vec<(u32, Source)> = self
            .fresh
            .iter()
            .enumerate()
            .filter(|(_, fresh)| !fresh.pushed)
            .map(|(index, fresh)| (index as u32, source(&fresh.candidate.hash)))
            .collect();
        let mut lists: BTreeMap<Vec<u32>, Vec<PeerId>> = BTreeMap::new();
        for (position, peer) in peers.iter_mut().enumerate() {
            let mut list = Vec::new();
            for &(index, source) in &unpushed {
                let hash = &self.fresh[index as usize].candidate.hash;
                if gets_in_full(place, peer, position, count, source) && peer.transactions.insert(hash) {
                    list.push(index);
                }
            }
            if !list.is_empty() {
                lists.entry(list).or_default().push(peer.info.id);
            }
        }
        for (list, to) in lists {
            let mut batch = Vec::new();
            let mut bytes = 0;
            for index in list {
                let candidate = &self.fresh[index as usize].candidate;
                let size = candidate.tx.encode_2718_len() + 4;
                if !batch.is_empty() && (bytes + size > MAX_TRANSACTIONS_BYTES || batch.len() >= MAX_TRANSACTIONS_PER_MESSAGE) {
                    outputs.push(Output::Transactions(to.clone(), std::mem::take(&mut batch)));
                    bytes = 0;
                }
                bytes += size;
                batch.push(candidate.clone());
            }
            outputs.push(Output::Transactions(to, batch));
        }
        self.fresh.iter_mut().for_each(|fresh| fresh.pushed = true);
    }

    fn announce(&mut self, now_ms: u64, peers: &mut Peers, outputs: &mut Vec<Output>) {
        let ripe = self.fresh.partition_point(|fresh| fresh.at_ms + ANNOUNCE_MS <= now_ms && fresh.pushed);
        let ripe: Vec<Fresh> = self.fresh.drain(..ripe).collect();
        let mut lists: BTreeMap<Vec<u32>, Vec<PeerId>> = BTreeMap::new();
        for peer in peers.iter_mut() {
            let list: Vec<u32> = ripe
                .iter()
                .enumerate()
                .filter(|(_, fresh)| peer.transactions.insert(&fresh.candidate.hash))
                .map(|(index, _)| index as u32)
                .collect();
            if !list.is_empty() {
                lists.entry(list).or_default().push(peer.info.id);
            }
        }
        for (list, to) in lists {
            for part in list.chunks(MAX_TRANSACTIONS_PER_MESSAGE) {
                let announced = part.iter().map(|&index| announcement(&ripe[index as usize].candidate)).collect();
                outputs.push(Output::Eth(to.clone(), Arc::new(EthMessage::NewPooledTransactionHashes(announced))));
            }
        }
    }

    /// What has not come in time is asked of another that has announced it; who was silent has lost the tokens.
    fn expire(&mut self, now_ms: u64, peers: &mut Peers, outputs: &mut Vec<Output>) {
        let mut late: Vec<(B256, Wanted)> = self.wanted.extract_if(|_, wanted| wanted.until_ms <= now_ms).collect();
        late.sort_unstable_by_key(|(hash, _)| *hash);
        for (_, wanted) in &late {
            self.asked_of[usize::from(wanted.stranger)] -= 1;
            if let Some(asked) = peers.get_mut(wanted.asked) {
                asked.fetching = asked.fetching.saturating_sub(1);
            }
        }
        let mut again: BTreeMap<PeerId, Vec<B256>> = BTreeMap::new();
        for (hash, Wanted { mut alternatives, .. }) in late {
            while !alternatives.is_empty() {
                let id = alternatives.remove(0);
                let Some(peer) = peers.get_mut(id) else { continue };
                if self.want(now_ms, hash, peer, alternatives.clone()) {
                    again.entry(id).or_default().push(hash);
                    break;
                }
            }
        }
        self.expire_at = self.wanted.values().map(|wanted| wanted.until_ms).min();
        for (peer, mut hashes) in again {
            hashes.sort_unstable();
            outputs.extend(self.requests(peer, &hashes));
        }
    }
}

/// Where this node stands, for choosing whom to send to in full.
#[derive(Clone, Copy, Debug)]
pub struct GossipPlace {
    /// Own role.
    pub role: Role,
    /// Shape of the network.
    pub topology: Topology,
}

/// Who is known to have a transaction, as far as it decides whom it is sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// Nobody: it is our own client's.
    Own,
    /// A boot.
    Boot,
    /// Another peer.
    Peer,
}

/// Whether a transaction goes to `peer` in full.
fn gets_in_full(place: GossipPlace, peer: &Peer, position: usize, count: usize, source: Source) -> bool {
    match source {
        Source::Own if count <= SMALL_NETWORK => true,
        Source::Own => peer.is_core() || position < count.isqrt(),
        Source::Boot | Source::Peer if place.role == Role::Boot && place.topology == Topology::Sentry => {
            match peer.info.role {
                Some(Role::Validator) => true,
                // The boots form a mesh: what one of them has, the others have been sent, too.
                Some(Role::Boot) => source != Source::Boot,
                _ => false,
            }
        }
        Source::Boot | Source::Peer => false,
    }
}

fn announcement(candidate: &Candidate) -> Announced {
    let size = u32::try_from(candidate.tx.encode_2718_len()).unwrap_or(u32::MAX);
    Announced { hash: candidate.hash, kind: Some((candidate.tx.ty(), size)) }
}
