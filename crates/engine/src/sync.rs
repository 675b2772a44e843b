//! Catching up: which headers and bodies to ask of whom, and the blocks that are ready to be checked and imported.
//!
//! One chain of headers grows from the own head, each linked to the one before by its hash; bodies are fetched for it
//! from several peers at once; blocks leave in order. Nothing here is believed: a height that a peer claims only decides
//! whom to ask, a header counts as proof of being behind only when a quorum of the next validators has sealed it, and
//! every block is fully checked by the ledger before it is imported.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use alloy_rlp::Encodable;
use ipe_types::block::{Block, Body};
use ipe_types::crypto::{HighS, recover_address};
use ipe_types::eth::{EthMessage, HeadersQuery, HeadersStart};
use ipe_types::header::{EMPTY_ROOT, block_hash, commit_hash};
use ipe_types::{Address, B256, ExtraData, Header, ValidatorSet};

use crate::peer::{PeerId, Peers};
use crate::replica::Output;

/// Headers asked for at once: a quarter of what Besu serves, so that a slow link answers in time.
const HEADERS_A_REQUEST: u64 = 192;
/// Headers held ahead of the head: some seconds of import.
const MAX_HEADERS: usize = 768;
/// Bodies asked for at once: half of what Besu serves.
const BODIES_A_REQUEST: usize = 64;
/// Bytes of bodies held ahead of the head: what stays of the memory budget of a loaded node.
const MAX_BODY_BYTES: usize = 32 * 1024 * 1024;
/// How long an answer may take, ms: 10 MiB over a slow line.
const REQUEST_TIMEOUT_MS: u64 = 5_000;
/// How long a peer that did not answer, or answered with nothing, is not asked again, ms.
const COOLING_MS: u64 = 5_000;
/// Body requests under way at once, one a peer.
const MAX_BODY_REQUESTS: usize = 6;
/// Blocks above the next one that are kept when they come by NewBlock: Besu's window.
const MAX_BLOCKS_AHEAD: u64 = 30;
/// Blocks below the head that may still be announced without blame: Besu's window.
pub const MAX_BLOCKS_BEHIND: u64 = 10;
/// Pause after a block that we could not write, ms: the disk is full or failing, and to fetch the same block as fast as the
/// line allows would help nobody.
const UNWRITTEN_PAUSE_MS: u64 = 1_000;
/// Bytes of blocks above the next one that are kept.
const MAX_AHEAD_BYTES: usize = 24 * 1024 * 1024;

/// A header of the chain that is being fetched.
#[derive(Debug)]
struct Link {
    header: Header,
    hash: B256,
    from: PeerId,
    body: BodyState,
    /// A quorum has sealed it. Known of the block after the head only.
    proved: bool,
}

#[derive(Debug)]
enum BodyState {
    Missing,
    Asked,
    Here { body: Body, from: PeerId, bytes: usize },
}

#[derive(Debug)]
struct HeaderRequest {
    id: u64,
    peer: PeerId,
    first: u64,
    count: u64,
    until_ms: u64,
}

#[derive(Debug)]
struct BodyRequest {
    peer: PeerId,
    first: u64,
    hashes: Vec<B256>,
    until_ms: u64,
}

/// A block that is next in order, with who is to be blamed for it.
#[derive(Debug)]
pub struct Fetched {
    /// Unchecked.
    pub block: Arc<Block>,
    /// Peers that its header and body came from.
    pub from: [PeerId; 2],
    /// It came by itself (NewBlock) and not because we asked.
    pub pushed: bool,
}

/// Why a peer is to be cut.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SyncFault {
    /// Headers that do not follow one another or what was asked for.
    #[error("header {number} does not follow the header before it")]
    Unlinked {
        /// Number expected.
        number: u64,
    },
    /// The peer's chain has another block at a height that is final here.
    #[error("its block {number} does not build on our final block {ours}: it is on another chain")]
    OtherChain {
        /// First number of the answer.
        number: u64,
        /// Hash of our block below it.
        ours: B256,
    },
    /// The header of the next block has no quorum of seals.
    #[error("header {number} is not sealed by a quorum of the validators")]
    Unsealed {
        /// Number of the header.
        number: u64,
    },
    /// More items than were asked for.
    #[error("it answered with more than was asked for")]
    TooMany,
}

/// The own head, as far as synchronisation needs it.
#[derive(Clone, Copy, Debug)]
pub struct HeadView<'a> {
    /// Number.
    pub number: u64,
    /// Hash.
    pub hash: B256,
    /// Validators of the next block.
    pub next: &'a ValidatorSet,
}

/// State of catching up.
#[derive(Debug, Default)]
pub struct Sync {
    links: VecDeque<Link>,
    body_bytes: usize,
    header_request: Option<HeaderRequest>,
    body_requests: HashMap<u64, BodyRequest>,
    cooling: HashMap<PeerId, u64>,
    next_request: u64,
    ahead: BTreeMap<u64, (Arc<Block>, PeerId, usize)>,
    ahead_bytes: usize,
    behind_since: Option<u64>,
    started_at: Option<u64>,
    wake: Option<u64>,
    /// Nothing is asked for before, ms.
    rest_until: Option<u64>,
}

impl Sync {
    /// Whether blocks above the head are known to be final: building or voting on the next height is pointless.
    pub fn is_behind(&self) -> bool {
        !self.links.is_empty()
    }

    /// Head at which the current catching up started, when it is more than a block or two.
    pub fn started_at(&self) -> Option<u64> {
        self.started_at
    }

    /// When [`Sync::poll`] has something to do by itself, ms.
    pub fn wake_at(&self) -> Option<u64> {
        self.wake
    }

    /// Headers and blocks held ahead of the head.
    pub fn held(&self) -> (usize, usize) {
        (self.links.len(), self.ahead.len())
    }

    /// Whether a block is ready to be imported.
    pub fn is_ready(&self, head: HeadView<'_>) -> bool {
        self.ahead.contains_key(&(head.number + 1))
            || self.links.front().is_some_and(|link| {
                link.header.number == head.number + 1 && matches!(link.body, BodyState::Here { .. })
            })
    }

    /// The block after the head, when it is here.
    pub fn next_block(&mut self, head: HeadView<'_>) -> Option<Fetched> {
        self.advance(head);
        if let Some((block, from, bytes)) = self.ahead.remove(&(head.number + 1)) {
            self.ahead_bytes -= bytes;
            return Some(Fetched { block, from: [from, from], pushed: true });
        }
        if !matches!(self.links.front()?.body, BodyState::Here { .. }) {
            return None;
        }
        let link = self.links.pop_front()?;
        let BodyState::Here { body, from, bytes } = link.body else { return None };
        self.body_bytes -= bytes;
        Some(Fetched { block: Arc::new(Block { header: link.header, body }), from: [link.from, from], pushed: false })
    }

    /// Takes a block that a peer sent by itself; `false` when it is outside the window or there is no room.
    pub fn offer(&mut self, head: HeadView<'_>, block: Arc<Block>, from: PeerId) -> bool {
        let number = block.header.number;
        if number <= head.number || number > head.number + MAX_BLOCKS_AHEAD || self.ahead.contains_key(&number) {
            return false;
        }
        let bytes = block.length();
        if number > head.number + 1 && self.ahead_bytes + bytes > MAX_AHEAD_BYTES {
            return false;
        }
        self.ahead_bytes += bytes;
        self.ahead.insert(number, (block, from, bytes));
        true
    }

    /// A block that had been handed out was not valid: everything fetched on top of it is worthless.
    pub fn rejected(&mut self, now_ms: u64, from: [PeerId; 2]) {
        self.clear_links();
        for peer in from {
            self.cool(now_ms, peer);
        }
    }

    /// A block that had been handed out could not be judged or written, by no fault of a peer: what was fetched on top of it
    /// has lost its ground, and all of it is fetched again after a pause.
    pub fn unwritten(&mut self, now_ms: u64) {
        self.clear_links();
        self.rest_until = Some(now_ms + UNWRITTEN_PAUSE_MS);
    }

    /// A connection is gone: what it was asked for is asked of others.
    pub fn disconnected(&mut self, peer: PeerId) {
        self.cooling.remove(&peer);
        if self.header_request.as_ref().is_some_and(|request| request.peer == peer) {
            self.header_request = None;
        }
        let gone: Vec<u64> =
            self.body_requests.iter().filter(|(_, request)| request.peer == peer).map(|(id, _)| *id).collect();
        for id in gone {
            self.give_up_bodies(id);
        }
    }

    /// Looks at the clock, the head and the peers, and asks for what is missing. `grace_ms` is how long a single missing
    /// block is left to consensus or to a NewBlock under way.
    pub fn poll(&mut self, now_ms: u64, head: HeadView<'_>, peers: &Peers, grace_ms: u64) -> Vec<Output> {
        self.advance(head);
        // One that is here is judged at once by whoever imports it. For one that is waited for, consensus rests: nobody has the
        // body of a block that never was.
        let waited = self.links.front().is_some_and(|front| !front.proved && !matches!(front.body, BodyState::Here { .. }));
        if waited {
            self.prove(now_ms, head);
        }
        self.cooling.retain(|_, until| *until > now_ms);
        self.expire(now_ms);
        self.wake = None;
        self.rest_until = self.rest_until.filter(|until| (now_ms + 1..=now_ms + UNWRITTEN_PAUSE_MS).contains(until));
        if self.rest_until.is_some() {
            self.wake = self.rest_until;
            return Vec::new();
        }
        let target = peers.best_height();
        if target <= head.number {
            self.behind_since = None;
            self.started_at = None;
            self.clear_links();
            return Vec::new();
        }
        let since = *self.behind_since.get_or_insert(now_ms);
        if target == head.number + 1 && self.links.is_empty() && now_ms < since + grace_ms {
            self.wake = Some(since + grace_ms);
            return Vec::new();
        }
        if target > head.number + 2 && !self.links.is_empty() {
            self.started_at.get_or_insert(head.number);
        }
        let mut outputs = Vec::new();
        self.ask_headers(now_ms, head, target, peers, &mut outputs);
        self.ask_bodies(now_ms, peers, &mut outputs);
        let timeouts = self.body_requests.values().map(|request| request.until_ms);
        let header_timeout = self.header_request.as_ref().map(|request| request.until_ms);
        let retry = (self.header_request.is_none() && self.body_requests.is_empty())
            .then(|| self.cooling.values().copied().min().unwrap_or(now_ms + 1_000));
        self.wake = timeouts.chain(header_timeout).chain(retry).min();
        outputs
    }

    fn ask_headers(&mut self, now_ms: u64, head: HeadView<'_>, target: u64, peers: &Peers, outputs: &mut Vec<Output>) {
        let last = self.links.back().map_or(head.number, |link| link.header.number);
        if self.header_request.is_some() || last >= target || self.links.len() >= MAX_HEADERS {
            return;
        }
        let Some(peer) = peers
            .iter()
            .filter(|peer| peer.height > last && !self.cooling.contains_key(&peer.info.id))
            .max_by_key(|peer| (peer.height, peer.is_core(), !peer.info.carried))
        else {
            return;
        };
        self.next_request += 1;
        let (id, peer, count) = (self.next_request, peer.info.id, HEADERS_A_REQUEST.min(target - last));
        let until_ms = now_ms + REQUEST_TIMEOUT_MS;
        self.header_request = Some(HeaderRequest { id, peer, first: last + 1, count, until_ms });
        let query = HeadersQuery { start: HeadersStart::Number(last + 1), limit: count, skip: 0, reverse: false };
        outputs.push(Output::Eth(vec![peer], Arc::new(EthMessage::GetBlockHeaders { request_id: id, query })));
    }

    fn ask_bodies(&mut self, now_ms: u64, peers: &Peers, outputs: &mut Vec<Output>) {
        while self.body_requests.len() < MAX_BODY_REQUESTS && self.body_bytes < MAX_BODY_BYTES {
            let Some(first) = self.links.iter().position(|link| matches!(link.body, BodyState::Missing)) else { return };
            let first_number = self.links[first].header.number;
            let busy: HashSet<PeerId> = self.body_requests.values().map(|request| request.peer).collect();
            // Whoever sent the header has the body; others only if they are that far.
            let candidate = peers
                .iter()
                .filter(|peer| !busy.contains(&peer.info.id) && !self.cooling.contains_key(&peer.info.id))
                .filter(|peer| peer.height >= first_number)
                .max_by_key(|peer| (peer.height.min(first_number + BODIES_A_REQUEST as u64), !peer.info.carried, !peer.info.inbound));
            let Some(peer) = candidate else { return };
            let (peer, height) = (peer.info.id, peer.height);
            let mut hashes = Vec::new();
            for link in self.links.iter_mut().skip(first) {
                let wanted = matches!(link.body, BodyState::Missing) && link.header.number <= height;
                if !wanted || hashes.len() == BODIES_A_REQUEST {
                    break;
                }
                link.body = BodyState::Asked;
                hashes.push(link.hash);
            }
            self.next_request += 1;
            let id = self.next_request;
            let until_ms = now_ms + REQUEST_TIMEOUT_MS;
            self.body_requests.insert(id, BodyRequest { peer, first: first_number, hashes: hashes.clone(), until_ms });
            outputs.push(Output::Eth(vec![peer], Arc::new(EthMessage::GetBlockBodies { request_id: id, hashes })));
        }
    }

    /// Takes an answer to a header request; answers that nobody waits for are ignored.
    ///
    /// # Errors
    /// [`SyncFault`]: the peer is to be cut.
    pub fn on_headers(
        &mut self,
        now_ms: u64,
        peer: PeerId,
        request_id: u64,
        headers: Vec<Header>,
        head: HeadView<'_>,
        peers: &mut Peers,
    ) -> Result<(), SyncFault> {
        match &self.header_request {
            Some(request) if request.id == request_id && request.peer == peer => {}
            _ => return Ok(()),
        }
        let Some(request) = self.header_request.take() else { return Ok(()) };
        if headers.len() as u64 > request.count {
            return Err(SyncFault::TooMany);
        }
        if headers.is_empty() {
            // It does not have what it claimed; its next announcement may say better.
            if let Some(known) = peers.get_mut(peer) {
                known.height = request.first - 1;
            }
            self.cool(now_ms, peer);
            return Ok(());
        }
        self.advance(head);
        for header in headers {
            if header.number <= head.number {
                continue;
            }
            let (number, parent) = match self.links.back() {
                Some(last) => (last.header.number + 1, last.hash),
                None => (head.number + 1, head.hash),
            };
            if header.number < number {
                continue;
            }
            if header.number != number {
                return Err(SyncFault::Unlinked { number });
            }
            if header.parent_hash != parent {
                let Some(from) = self.links.back().map(|last| last.from) else {
                    return Err(SyncFault::OtherChain { number, ours: parent });
                };
                // When the header before it is another's, one of the two lies.
                let dropped = from != peer && (!self.prove(now_ms, head) || self.doubt(now_ms));
                return if dropped { Ok(()) } else { Err(SyncFault::Unlinked { number }) };
            }
            let proved = self.links.is_empty();
            if proved && !is_sealed(&header, head.next) {
                return Err(SyncFault::Unsealed { number });
            }
            let Ok(hash) = block_hash(&header) else { return Err(SyncFault::Unlinked { number }) };
            let body = if header.transactions_root == EMPTY_ROOT && header.withdrawals_root.is_none_or(|root| root == EMPTY_ROOT) {
                let withdrawals = header.withdrawals_root.map(|_| Vec::new());
                BodyState::Here { body: Body { transactions: Vec::new(), withdrawals }, from: peer, bytes: 0 }
            } else {
                BodyState::Missing
            };
            self.links.push_back(Link { header, hash, from: peer, body, proved });
        }
        Ok(())
    }

    /// Takes an answer to a body request; answers that nobody waits for are ignored.
    ///
    /// # Errors
    /// [`SyncFault`]: the peer is to be cut.
    pub fn on_bodies(&mut self, now_ms: u64, peer: PeerId, request_id: u64, bodies: Vec<Body>) -> Result<(), SyncFault> {
        if self.body_requests.get(&request_id).is_none_or(|request| request.peer != peer) {
            return Ok(());
        }
        let Some(request) = self.body_requests.remove(&request_id) else { return Ok(()) };
        if bodies.len() > request.hashes.len() {
            return Err(SyncFault::TooMany);
        }
        if bodies.is_empty() {
            self.cool(now_ms, peer);
        }
        let mut bodies = bodies.into_iter();
        let mut arrived = 0;
        for (offset, hash) in request.hashes.iter().enumerate() {
            let number = request.first + offset as u64;
            let Some(link) = self.link_mut(number) else { continue };
            if link.hash != *hash || !matches!(link.body, BodyState::Asked) {
                continue;
            }
            // The rest of a shortened answer, and whatever cannot belong to its header, is asked for again.
            link.body = match bodies.next() {
                Some(body) if !body.transactions.is_empty() || link.header.transactions_root == EMPTY_ROOT => {
                    let bytes = body.length();
                    arrived += bytes;
                    BodyState::Here { body, from: peer, bytes }
                }
                _ => BodyState::Missing,
            };
        }
        self.body_bytes += arrived;
        Ok(())
    }

    fn link_mut(&mut self, number: u64) -> Option<&mut Link> {
        let first = self.links.front()?.header.number;
        self.links.get_mut(usize::try_from(number.checked_sub(first)?).ok()?)
    }

    /// Drops what the head has passed.
    fn advance(&mut self, head: HeadView<'_>) {
        while self.links.front().is_some_and(|link| link.header.number <= head.number) {
            if let Some(Link { body: BodyState::Here { bytes, .. }, .. }) = self.links.pop_front() {
                self.body_bytes -= bytes;
            }
            self.behind_since = None;
        }
        if self.links.front().is_some_and(|link| link.header.parent_hash != head.hash) {
            self.clear_links();
        }
        while let Some(entry) = self.ahead.first_entry() {
            if *entry.key() > head.number {
                break;
            }
            self.ahead_bytes -= entry.remove().2;
        }
    }

    /// Holds the block after the head against its seals; `false` when no quorum has sealed it: then all that was held rested on
    /// its sender's word and is gone.
    fn prove(&mut self, now_ms: u64, head: HeadView<'_>) -> bool {
        let Some(front) = self.links.front_mut() else { return true };
        front.proved = front.proved || is_sealed(&front.header, head.next);
        let proved = front.proved;
        if !proved {
            self.doubt(now_ms);
        }
        proved
    }

    /// Drops what is held on the word of its sender alone: all above the block after the head, and that block too unless a
    /// quorum has sealed it. Whoever sent what is dropped is not asked for a while; the block that follows the head proves who
    /// lied when it is asked for again. `false` when nothing was dropped: what is held is proved.
    fn doubt(&mut self, now_ms: u64) -> bool {
        let proved = self.links.front().is_some_and(|front| front.proved);
        let senders: Vec<PeerId> = self.links.iter().skip(usize::from(proved)).map(|link| link.from).collect();
        if senders.is_empty() {
            return false;
        }
        let front = self.links.pop_front().filter(|_| proved);
        self.clear_links();
        if let Some(mut front) = front {
            match &front.body {
                BodyState::Here { bytes, .. } => self.body_bytes += bytes,
                BodyState::Asked | BodyState::Missing => front.body = BodyState::Missing,
            }
            self.links.push_back(front);
        }
        for peer in senders {
            self.cool(now_ms, peer);
        }
        true
    }

    fn clear_links(&mut self) {
        self.links.clear();
        self.body_bytes = 0;
        self.body_requests.clear();
        self.header_request = None;
    }

    fn cool(&mut self, now_ms: u64, peer: PeerId) {
        self.cooling.insert(peer, now_ms + COOLING_MS);
    }

    fn give_up_bodies(&mut self, id: u64) {
        let Some(request) = self.body_requests.remove(&id) else { return };
        for offset in 0..request.hashes.len() as u64 {
            if let Some(link) = self.link_mut(request.first + offset)
                && matches!(link.body, BodyState::Asked)
            {
                link.body = BodyState::Missing;
            }
        }
    }

    fn expire(&mut self, now_ms: u64) {
        if let Some(request) = self.header_request.take_if(|request| request.until_ms <= now_ms) {
            self.cool(now_ms, request.peer);
        }
        let late: Vec<(u64, PeerId)> = self
            .body_requests
            .iter()
            .filter(|(_, request)| request.until_ms <= now_ms)
            .map(|(id, request)| (*id, request.peer))
            .collect();
        for (id, peer) in late {
            self.give_up_bodies(id);
            self.cool(now_ms, peer);
        }
    }
}

/// Whether a quorum of `validators` has sealed this header.
pub fn is_sealed(header: &Header, validators: &ValidatorSet) -> bool {
    let Ok(extra) = ExtraData::decode(&header.extra_data) else { return false };
    let Ok(hash) = commit_hash(header, extra.round) else { return false };
    let sealers: HashSet<Address> = extra
        .seals
        .iter()
        .filter_map(|seal| recover_address(hash, seal, HighS::Allowed).ok())
        .filter(|address| validators.contains(address))
        .collect();
    !validators.is_empty() && sealers.len() >= validators.quorum()
}
