//! Catching up: which headers and bodies to ask of whom, and the blocks that are ready to be checked and imported.
//!
//! One chain of headers grows from the own head, each linked to the one before by its hash; bodies are fetched for it
//! from several peers at once; blocks leave in order. A claim is worth nothing until sealed headers back it: a height that
//! a peer claims only decides whom to ask, who is slow is overtaken by the next, who stays silent is asked later each time.
//! What is *proven* is what validators that we know have sealed, or what f+1 of them say in signed messages; only that
//! makes this node say that it is behind, and only for that are bodies asked: nobody has the body of a block that never was,
//! and whoever has not would be blamed. Every block is fully checked by the ledger before it is imported.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use alloy_rlp::Encodable;
use ipe_types::block::{Block, Body};
use ipe_types::crypto::{HighS, recover_address};
use ipe_types::eth::{EthMessage, HeadersQuery, HeadersStart};
use ipe_types::header::{EMPTY_ROOT, block_hash, commit_hash};
use ipe_types::planted::{self, Bug};
use ipe_types::seals::is_sealed;
use ipe_types::{Address, B256, Checkpoint, ExtraData, Header, ValidatorSet};

use crate::peer::{Peer, PeerId, Peers};
use crate::replica::Output;

/// Headers asked for at once: a quarter of what Besu serves, so that a slow link answers in time.
const HEADERS_A_REQUEST: u64 = 192;
/// Headers held ahead of the head: some seconds of import.
const MAX_HEADERS: usize = 768;
/// Bodies asked for at once: half of what Besu serves.
const BODIES_A_REQUEST: usize = 64;
/// Bytes of bodies held ahead of the head: what stays of the memory budget of a loaded node.
const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;
/// How long an answer may take, ms: 10 MiB over a slow line.
const REQUEST_TIMEOUT_MS: u64 = 5_000;
/// After so long without an answer the next peer is asked the same, ms: several round trips around the world.
const OVERTAKE_MS: u64 = 750;
/// How long a peer that may have been wronged is not asked again, ms: others get their turn.
const DOUBT_REST_MS: u64 = 1_000;
/// Body requests under way at once, one a peer; those that overtake a slow one come on top.
const MAX_BODY_REQUESTS: usize = 6;
/// An answer below this size that has fewer items than were asked for is stingy: what is served is cut at 2 MiB.
const STINGY_BYTES: usize = 512 * 1024;
/// Blocks above the next one that are kept when they come by NewBlock: Besu's window.
const MAX_BLOCKS_AHEAD: u64 = 30;
/// Blocks below the head that may still be announced without blame: Besu's window.
pub const MAX_BLOCKS_BEHIND: u64 = 10;
/// Pause after a block that we could not write, ms: the disk is full or failing, and to fetch the same block as fast as the
/// line allows would help nobody.
const UNWRITTEN_PAUSE_MS: u64 = 1_000;
/// Bytes of blocks above the next one that are kept.
const MAX_AHEAD_BYTES: usize = 48 * 1024 * 1024;

/// How often what begins at a height was asked for: the last such height, whoever was asked and whatever became of that.
#[derive(Clone, Copy, Debug, Default)]
struct Repeats {
    first: u64,
    times: usize,
}

impl Repeats {
    fn of(&self, first: u64) -> usize {
        if self.first == first { self.times } else { 0 }
    }

    fn count(&mut self, first: u64) {
        *self = Self { first, times: self.of(first) + 1 };
    }
}

/// A header of the chain that is being fetched.
#[derive(Debug)]
struct Link {
    header: Header,
    hash: B256,
    from: PeerId,
    body: BodyState,
    /// Validators that we know have sealed it, or one that descends from it. Always so of the block after the head when it
    /// comes first.
    proved: bool,
}

#[derive(Debug)]
enum BodyState {
    Missing,
    Asked,
    Here {
        body: Body,
        from: PeerId,
        bytes: usize,
    },
    /// Handed out with the body. The link stays for what is linked to it, until the head has passed it or it is found false.
    HandedOut,
}

impl BodyState {
    fn is_here(&self) -> bool {
        matches!(self, BodyState::Here { .. })
    }

    fn is_wanted(&self) -> bool {
        matches!(self, BodyState::Missing | BodyState::Asked)
    }
}

#[derive(Debug)]
struct HeaderRequest {
    id: u64,
    peer: PeerId,
    first: u64,
    /// Whether the peer had said that it has them.
    claimed: bool,
    asked_ms: u64,
}

#[derive(Debug)]
struct BodyRequest {
    peer: PeerId,
    first: u64,
    hashes: Vec<B256>,
    asked_ms: u64,
}

impl BodyRequest {
    fn covers(&self, number: u64) -> bool {
        (self.first..self.first + self.hashes.len() as u64).contains(&number)
    }
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

/// Why an answer is refused.
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
        /// Hash of its block; zero when its extra data does not decode.
        got: B256,
        /// Hash of our block below it.
        ours: B256,
        /// A quorum of our validators has sealed it, or it is the checkpoint: who sent it is not to blame.
        sealed: bool,
    },
    /// The header of the next block has no quorum of seals.
    #[error("header {number} is not sealed by a quorum of the validators")]
    Unsealed {
        /// Number of the header.
        number: u64,
    },
    /// Another block at the height of the checkpoint.
    #[error("its block {number} is {got}, but the checkpoint of this node says {expected}: it has another history", number = expected.number)]
    OffCheckpoint {
        /// Hash of its block.
        got: B256,
        /// Ours.
        expected: Checkpoint,
        /// A quorum of our validators has sealed it on our head: the history that we have leads there, too.
        sealed: bool,
    },
    /// More items than were asked for.
    #[error("it answered with more than was asked for")]
    TooMany,
}

impl SyncFault {
    /// Whether the peer that answered so has broken the rules. Not when the fault may be in the chain that we have.
    pub fn is_the_peers(&self) -> bool {
        !matches!(self, SyncFault::OtherChain { sealed: true, .. })
    }
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
    /// What the operator knows of the chain.
    checkpoint: Option<Checkpoint>,
    links: VecDeque<Link>,
    body_bytes: usize,
    headers_asked: Repeats,
    /// Of the lowest body alone: others are asked for in between.
    front_repeats: Repeats,
    header_requests: Vec<HeaderRequest>,
    body_requests: HashMap<u64, BodyRequest>,
    next_request: u64,
    ahead: BTreeMap<u64, (Arc<Block>, PeerId, usize)>,
    ahead_bytes: usize,
    /// Highest block that is known to exist.
    proven: u64,
    /// Head, and since when something above it has been claimed, ms.
    behind_since: Option<(u64, u64)>,
    started_at: Option<u64>,
    wake: Option<u64>,
    /// Nothing is asked for before, ms.
    rest_until: Option<u64>,
    /// The validators by whose seals the links that are not proved were looked at last.
    judges: Option<ValidatorSet>,
    /// Who sent a header that no quorum has sealed behind a sound one, and its number.
    forgers: Vec<(PeerId, u64)>,
}

impl Sync {
    /// Nothing is asked for yet. `checkpoint` is a block that the operator knows to be of the chain.
    pub fn new(checkpoint: Option<Checkpoint>) -> Self {
        Self { checkpoint, ..Self::default() }
    }

    /// Whether the block after the head is known to be final: building or voting on that height is pointless.
    pub fn is_behind(&self) -> bool {
        self.links.front().is_some_and(|front| front.proved)
    }

    /// Peers whose headers were found forged when their turn came, with the fault; to be told once.
    pub fn take_forgers(&mut self) -> Vec<(PeerId, SyncFault)> {
        self.forgers.drain(..).map(|(peer, number)| (peer, SyncFault::Unsealed { number })).collect()
    }

    /// Highest block that exists unless more than f validators that we know have lied; 0 before anything was proven.
    pub fn proven(&self) -> u64 {
        self.proven
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

    /// The block after the head, when it is here. What follows it is fetched meanwhile; whoever takes it tells what became of it, by
    /// the next head, [`Sync::rejected`], [`Sync::unwritten`] or [`Sync::pause`].
    pub fn next_block(&mut self, head: HeadView<'_>) -> Option<Fetched> {
        self.advance(head);
        if let Some((block, from, bytes)) = self.ahead.remove(&(head.number + 1)) {
            self.ahead_bytes -= bytes;
            return Some(Fetched { block, from: [from, from], pushed: true });
        }
        let link = self.links.front_mut().filter(|link| link.body.is_here())?;
        let BodyState::Here { body, from, bytes } = std::mem::replace(&mut link.body, BodyState::HandedOut) else { return None };
        self.body_bytes -= bytes;
        Some(Fetched { block: Arc::new(Block { header: link.header.clone(), body }), from: [link.from, from], pushed: false })
    }

    /// Takes a block that a peer sent by itself; `false` when it is outside the window or there is no room.
    pub fn offer(&mut self, head: HeadView<'_>, block: Arc<Block>, from: PeerId) -> bool {
        let number = block.header.number;
        if number <= head.number || number > head.number + MAX_BLOCKS_AHEAD || self.ahead.contains_key(&number) {
            return false;
        }
        let bytes = block.length() + block.body.overhead();
        if number > head.number + 1 && self.ahead_bytes + bytes > MAX_AHEAD_BYTES {
            return false;
        }
        self.ahead_bytes += bytes;
        self.ahead.insert(number, (block, from, bytes));
        true
    }

    /// A block that had been handed out was not valid: everything fetched on top of it is worthless.
    pub fn rejected(&mut self, now_ms: u64, from: [PeerId; 2], peers: &mut Peers) {
        self.clear_links();
        for (index, peer) in from.into_iter().enumerate() {
            if (index == 0 || peer != from[0])
                && let Some(peer) = peers.get_mut(peer)
            {
                peer.failed(now_ms);
            }
        }
    }

    /// A block that had been handed out could not be judged or written, by no fault of a peer: what was fetched on top of it
    /// has lost its ground, and all of it is fetched again after a pause.
    pub fn unwritten(&mut self, now_ms: u64) {
        self.pause(now_ms + UNWRITTEN_PAUSE_MS);
    }

    /// Drops what was fetched, and asks for nothing before `until_ms`.
    pub fn pause(&mut self, until_ms: u64) {
        self.clear_links();
        self.rest_until = Some(until_ms);
    }

    /// A connection is gone: what it was asked for is asked of others. Who left slow questions unanswered has failed.
    pub fn disconnected(&mut self, now_ms: u64, peer: PeerId, peers: &mut Peers) {
        let slow = |asked_ms: u64| now_ms >= asked_ms + OVERTAKE_MS;
        let mut failed = self.header_requests.iter().any(|request| request.peer == peer && slow(request.asked_ms));
        self.header_requests.retain(|request| request.peer != peer);
        let gone: Vec<u64> = self.body_requests.iter().filter(|(_, request)| request.peer == peer).map(|(id, _)| *id).collect();
        for id in gone {
            failed |= self.give_up_bodies(id).is_some_and(|request| slow(request.asked_ms));
        }
        if failed && let Some(peer) = peers.get_mut(peer) {
            peer.failed(now_ms);
        }
    }

    /// Looks at the clock, the head and the peers, and asks for what is missing. `witnessed` is a height at which f+1
    /// validators say they are, by signed messages, less one; `grace_ms` is how long a single missing block is left to
    /// consensus or to a NewBlock under way.
    pub fn poll(&mut self, now_ms: u64, head: HeadView<'_>, peers: &mut Peers, witnessed: u64, grace_ms: u64) -> Vec<Output> {
        self.advance(head);
        self.proven = self.proven.max(witnessed);
        if planted::is(Bug::ClaimBelieved) {
            self.proven = peers.iter().map(|peer| peer.claimed).fold(self.proven, u64::max);
        }
        // Consensus rests for the front: nobody has the body of a block that never was.
        self.prove(head);
        self.prove_more(head);
        self.expire(now_ms, peers);
        self.wake = None;
        if self.proven > head.number + 2 {
            self.started_at.get_or_insert(head.number);
        } else if self.proven <= head.number {
            self.started_at = None;
        }
        self.rest_until = self.rest_until.filter(|until| *until > now_ms);
        if self.rest_until.is_some() {
            self.wake = self.rest_until;
            return Vec::new();
        }
        let claimed = peers.iter().filter(|peer| !peer.rests(now_ms)).map(|peer| peer.claimed).max().unwrap_or(0);
        let target = claimed.max(self.proven);
        if target <= head.number {
            self.behind_since = None;
            self.clear_links();
            self.wake = next_turn(now_ms, head.number, peers);
            return Vec::new();
        }
        let since = match self.behind_since {
            Some((number, since)) if number == head.number => since,
            _ => now_ms,
        };
        self.behind_since = Some((head.number, since));
        if target == head.number + 1 && self.links.is_empty() && now_ms < since + grace_ms {
            self.wake = Some(since + grace_ms);
            return Vec::new();
        }
        let mut outputs = Vec::new();
        let headers = self.ask_headers(now_ms, head, target, peers, &mut outputs);
        let bodies = self.ask_bodies(now_ms, peers, &mut outputs);
        let asked = self.header_requests.iter().map(|request| request.asked_ms);
        let timeouts = asked.chain(self.body_requests.values().map(|request| request.asked_ms)).map(|at| at + REQUEST_TIMEOUT_MS);
        let idle = self.header_requests.is_empty() && self.body_requests.is_empty();
        let retry = idle.then(|| next_turn(now_ms, head.number, peers).unwrap_or(u64::MAX).min(now_ms + 1_000));
        self.wake = timeouts.chain(headers).chain(bodies).chain(retry).min();
        outputs
    }

    /// Asks for the headers after those that are here: one peer, and one more each time that the last one is slow. When to
    /// look again, ms.
    fn ask_headers(
        &mut self,
        now_ms: u64,
        head: HeadView<'_>,
        target: u64,
        peers: &mut Peers,
        outputs: &mut Vec<Output>,
    ) -> Option<u64> {
        let last = self.links.back().map_or(head.number, |link| link.header.number);
        if last >= target || self.links.len() >= MAX_HEADERS {
            return None;
        }
        let same = self.header_requests.iter().filter(|request| request.first.saturating_add(HEADERS_A_REQUEST) > last + 1);
        let youngest = same.map(|request| request.asked_ms).max();
        if let Some(asked_ms) = youngest
            && now_ms < asked_ms + OVERTAKE_MS
        {
            return Some(asked_ms + OVERTAKE_MS);
        }
        let asked = self.headers_asked.of(last + 1);
        let free = |peer: &&Peer| !peer.rests(now_ms) && self.header_requests.iter().all(|request| request.peer != peer.info.id);
        let claimant = peers.iter().filter(free).filter(|peer| peer.claimed > last).max_by_key(|peer| peer.rank_for(asked));
        // That it exists is proven, so somebody has it, whatever they say.
        let anybody = || peers.iter().filter(free).filter(|_| self.proven > last).max_by_key(|peer| peer.rank_for(asked));
        let (peer, claimed) = match claimant {
            Some(peer) => (peer, true),
            None => (anybody()?, false),
        };
        self.next_request += 1;
        let (id, peer) = (self.next_request, peer.info.id);
        if let Some(peer) = peers.get_mut(peer) {
            peer.asked = id;
        }
        self.headers_asked.count(last + 1);
        self.header_requests.push(HeaderRequest { id, peer, first: last + 1, claimed, asked_ms: now_ms });
        // Whatever it claims: who claims one more each time would be asked for one header each time.
        let query = HeadersQuery { start: HeadersStart::Number(last + 1), limit: HEADERS_A_REQUEST, skip: 0, reverse: false };
        outputs.push(Output::Eth(vec![peer], Arc::new(EthMessage::GetBlockHeaders { request_id: id, query })));
        Some(now_ms + OVERTAKE_MS)
    }

    /// Asks for bodies of proved links, the lowest first. When to look again, ms.
    fn ask_bodies(&mut self, now_ms: u64, peers: &Peers, outputs: &mut Vec<Output>) -> Option<u64> {
        // Import waits for the lowest: whoever is slow with it is overtaken, before anything else is asked for.
        let waiting = self.front_asked();
        let overtaken = waiting.is_some_and(|asked_ms| now_ms >= asked_ms + OVERTAKE_MS)
            && self.ask_bodies_from(now_ms, 0, |link| link.proved && link.body.is_wanted(), peers, outputs);
        while self.body_requests.len() < MAX_BODY_REQUESTS && self.body_bytes < MAX_BODY_BYTES {
            let missing = |link: &Link| link.proved && matches!(link.body, BodyState::Missing);
            let Some(first) = self.links.iter().position(missing) else { break };
            if !self.ask_bodies_from(now_ms, first, missing, peers, outputs) {
                break;
            }
        }
        if overtaken {
            return Some(now_ms + OVERTAKE_MS);
        }
        self.front_asked().map(|asked_ms| (asked_ms + OVERTAKE_MS).max(now_ms + OVERTAKE_MS / 3))
    }

    /// When the body of the lowest link was asked for last, ms, when it is not here.
    fn front_asked(&self) -> Option<u64> {
        let front = self.links.front().filter(|front| matches!(front.body, BodyState::Asked))?.header.number;
        self.body_requests.values().filter(|request| request.covers(front)).map(|request| request.asked_ms).max()
    }

    /// Asks one peer for the bodies of the links from `first` on that are `wanted`; false when there is nobody to ask.
    fn ask_bodies_from(
        &mut self,
        now_ms: u64,
        first: usize,
        wanted: impl Fn(&Link) -> bool,
        peers: &Peers,
        outputs: &mut Vec<Output>,
    ) -> bool {
        let Some(first_number) = self.links.get(first).map(|link| link.header.number) else { return false };
        let busy: HashSet<PeerId> = self.body_requests.values().map(|request| request.peer).collect();
        let free = |peer: &&Peer| !peer.rests(now_ms) && !busy.contains(&peer.info.id);
        let asked = if first == 0 { self.front_repeats.of(first_number) } else { 0 };
        let able = peers.iter().filter(free).filter(|peer| peer.claimed >= first_number);
        let Some(peer) = able.max_by_key(|peer| peer.rank_for(asked)) else { return false };
        let (peer, claimed) = (peer.info.id, peer.claimed);
        let mut hashes = Vec::new();
        for link in self.links.iter_mut().skip(first) {
            if !wanted(link) || link.header.number > claimed || hashes.len() == BODIES_A_REQUEST {
                break;
            }
            link.body = BodyState::Asked;
            hashes.push(link.hash);
        }
        self.next_request += 1;
        if first == 0 {
            self.front_repeats.count(first_number);
        }
        let id = self.next_request;
        self.body_requests.insert(id, BodyRequest { peer, first: first_number, hashes: hashes.clone(), asked_ms: now_ms });
        outputs.push(Output::Eth(vec![peer], Arc::new(EthMessage::GetBlockBodies { request_id: id, hashes })));
        true
    }

    /// Takes an answer to a header request; answers that nobody waits for are ignored.
    ///
    /// # Errors
    /// [`SyncFault`]: nothing of it is taken, and the peer is to be cut when the fault is its own.
    pub fn on_headers(
        &mut self,
        now_ms: u64,
        peer: PeerId,
        request_id: u64,
        headers: Vec<Header>,
        head: HeadView<'_>,
        peers: &mut Peers,
    ) -> Result<(), SyncFault> {
        let asked = |request: &HeaderRequest| request.id == request_id && request.peer == peer;
        let Some(index) = self.header_requests.iter().position(asked) else { return Ok(()) };
        let request = self.header_requests.swap_remove(index);
        if headers.len() as u64 > HEADERS_A_REQUEST {
            return Err(SyncFault::TooMany);
        }
        if headers.is_empty() {
            if let Some(known) = peers.get_mut(peer) {
                match request.claimed {
                    // It does not have what it claimed; its next announcement may say better.
                    true => {
                        known.claimed = known.claimed.min(request.first - 1);
                        known.failed(now_ms);
                    }
                    false => known.rest(now_ms + DOUBT_REST_MS),
                }
            }
            return Ok(());
        }
        let stingy =
            (headers.len() as u64) < HEADERS_A_REQUEST && headers.iter().map(Encodable::length).sum::<usize>() < STINGY_BYTES;
        let claimed = peers.iter().filter(|peer| !peer.rests(now_ms)).map(|peer| peer.claimed).max().unwrap_or(0);
        let late = now_ms >= request.asked_ms + OVERTAKE_MS;
        self.advance(head);
        self.prove(head);
        if self.links.back().map_or(head.number, |link| link.header.number) + 1 < request.first {
            // What it was to follow is gone.
            return Ok(());
        }
        let Some(fresh) = self.link(now_ms, peer, headers, head, peers)? else { return Ok(()) };
        let proved = fresh.iter().rposition(|link| link.proved).map(|index| fresh[index].header.number);
        let here = fresh.last().map(|link| link.header.number);
        self.links.extend(fresh);
        self.judges = Some(head.next.clone());
        if let Some(number) = proved {
            self.proven = self.proven.max(number);
            self.links.iter_mut().take_while(|link| link.header.number <= number).for_each(|link| link.proved = true);
        }
        if let Some(known) = peers.get_mut(peer) {
            // It may have told all that there is; whether there is more, others may know better.
            known.stingy = late || (stingy && here.is_some_and(|here| claimed.max(self.proven) > here));
            if let Some(number) = proved {
                known.delivered(number);
            }
        }
        Ok(())
    }

    /// Headers of an answer as links of our chain; `None` when they contradict what another has said and nothing decides
    /// who is right.
    fn link(
        &mut self,
        now_ms: u64,
        peer: PeerId,
        headers: Vec<Header>,
        head: HeadView<'_>,
        peers: &mut Peers,
    ) -> Result<Option<Vec<Link>>, SyncFault> {
        let mut fresh: Vec<Link> = Vec::new();
        for header in headers {
            let (number, parent) = match fresh.last().or(self.links.back()) {
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
                return match self.links.back() {
                    None if fresh.is_empty() => {
                        let got = block_hash(&header).unwrap_or_default();
                        let pinned = self.checkpoint == Some(Checkpoint { number, hash: got });
                        let sealed = pinned || is_sealed(&header, head.next);
                        Err(SyncFault::OtherChain { number, got, ours: parent, sealed })
                    }
                    Some(last) if fresh.is_empty() && last.from != peer && !last.proved => {
                        // One of the two lies. What is dropped is asked for again, from what is proved on.
                        self.doubt(now_ms, peers);
                        if sealers(&header, head.next) <= head.next.f()
                            && let Some(peer) = peers.get_mut(peer)
                        {
                            peer.rest(now_ms + DOUBT_REST_MS);
                        }
                        Ok(None)
                    }
                    _ => Err(SyncFault::Unlinked { number }),
                };
            }
            let first = self.links.is_empty() && fresh.is_empty();
            if first && !is_sealed(&header, head.next) {
                return Err(SyncFault::Unsealed { number });
            }
            let Ok(hash) = block_hash(&header) else { return Err(SyncFault::Unlinked { number }) };
            if let Some(expected) = self.checkpoint.filter(|checkpoint| checkpoint.number == number && checkpoint.hash != hash) {
                // What is held below it led there.
                self.clear_links();
                return Err(SyncFault::OffCheckpoint { got: hash, expected, sealed: first });
            }
            let body = if header.transactions_root == EMPTY_ROOT && header.withdrawals_root.is_none_or(|root| root == EMPTY_ROOT) {
                let withdrawals = header.withdrawals_root.map(|_| Vec::new());
                BodyState::Here { body: Body { transactions: Vec::new(), withdrawals }, from: peer, bytes: 0 }
            } else {
                BodyState::Missing
            };
            fresh.push(Link { header, hash, from: peer, body, proved: first });
        }
        if fresh.last().is_some_and(|last| !last.proved)
            && let Some(proved) = last_proved(&fresh, head.next)
        {
            fresh.iter_mut().take(proved + 1).for_each(|link| link.proved = true);
        }
        Ok(Some(fresh))
    }

    /// Takes an answer to a body request; answers that nobody waits for are ignored.
    ///
    /// # Errors
    /// [`SyncFault`]: the peer is to be cut.
    pub fn on_bodies(
        &mut self,
        now_ms: u64,
        peer: PeerId,
        request_id: u64,
        bodies: Vec<Body>,
        peers: &mut Peers,
    ) -> Result<(), SyncFault> {
        if self.body_requests.get(&request_id).is_none_or(|request| request.peer != peer) {
            return Ok(());
        }
        let Some(request) = self.body_requests.remove(&request_id) else { return Ok(()) };
        if bodies.len() > request.hashes.len() {
            return Err(SyncFault::TooMany);
        }
        let bytes: usize = bodies.iter().map(Encodable::length).sum();
        let late = now_ms >= request.asked_ms + OVERTAKE_MS;
        let stingy = bodies.len() < request.hashes.len() && bytes < STINGY_BYTES;
        let mut failed = bodies.is_empty();
        // What is held may have been dropped meanwhile, and imported: then nothing is missing, and nobody to blame.
        let all_here = (0..request.hashes.len()).all(|offset| self.named(&request, offset).is_some());
        // Whoever lacks one leaves it out, so a body belongs to the next header that names it.
        let mut next = 0;
        for body in bodies {
            let root = body.transactions_root();
            let offset = (next..request.hashes.len())
                .find(|offset| self.named(&request, *offset).is_some_and(|link| body.fits(&link.header, root).is_ok()));
            let Some(link) = offset.and_then(|offset| self.link_mut(request.first + offset as u64)) else {
                failed |= all_here;
                continue;
            };
            next = offset.map_or(next, |offset| offset + 1);
            if matches!(link.body, BodyState::Asked) {
                let bytes = body.length() + body.overhead();
                link.body = BodyState::Here { body, from: peer, bytes };
                self.body_bytes += bytes;
            }
        }
        // The rest is asked for again.
        for (offset, hash) in request.hashes.iter().enumerate() {
            let number = request.first + offset as u64;
            let elsewhere = self.body_requests.values().any(|other| other.covers(number));
            if let Some(link) = self.link_mut(number)
                && link.hash == *hash
                && matches!(link.body, BodyState::Asked)
                && !elsewhere
            {
                link.body = BodyState::Missing;
            }
        }
        if let Some(known) = peers.get_mut(peer) {
            known.stingy = stingy || late;
            if failed {
                known.failed(now_ms);
            }
        }
        Ok(())
    }

    /// The link whose body was asked for there, while it is held.
    fn named(&mut self, request: &BodyRequest, offset: usize) -> Option<&Link> {
        let hash = request.hashes.get(offset)?;
        self.link_mut(request.first + offset as u64).filter(|link| link.hash == *hash).map(|link| &*link)
    }

    fn link_mut(&mut self, number: u64) -> Option<&mut Link> {
        let first = self.links.front()?.header.number;
        self.links.get_mut(usize::try_from(number.checked_sub(first)?).ok()?)
    }

    /// Drops what the head has passed.
    pub fn advance(&mut self, head: HeadView<'_>) {
        while self.links.front().is_some_and(|link| link.header.number <= head.number) {
            if let Some(Link { body: BodyState::Here { bytes, .. }, .. }) = self.links.pop_front() {
                self.body_bytes -= bytes;
            }
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

    /// Holds the block after the head against its seals. When no quorum has sealed it, all that is held rested on its
    /// sender's word and is dropped.
    fn prove(&mut self, head: HeadView<'_>) {
        let Some(front) = self.links.front_mut().filter(|front| !front.proved) else { return };
        front.proved = is_sealed(&front.header, head.next);
        if front.proved {
            self.proven = self.proven.max(front.header.number);
            return;
        }
        // Nobody who checks what he imports has it.
        self.forgers.push((front.from, front.header.number));
        self.clear_links();
    }

    /// Validators change along the chain: what the last ones did not vouch for the next ones may.
    fn prove_more(&mut self, head: HeadView<'_>) {
        let Some(first) = self.links.iter().position(|link| !link.proved) else { return };
        if self.judges.as_ref() == Some(head.next) {
            return;
        }
        self.judges = Some(head.next.clone());
        let Some(last) = last_proved(&self.links.make_contiguous()[first..], head.next) else { return };
        self.links.iter_mut().take(first + last + 1).for_each(|link| link.proved = true);
        self.proven = self.proven.max(self.links[first + last].header.number);
    }

    /// Drops what is held on the word of its sender alone. It is asked for again, first of others: that shows who lied.
    fn doubt(&mut self, now_ms: u64, peers: &mut Peers) {
        let proved = self.links.iter().take_while(|link| link.proved).count();
        for link in self.links.split_off(proved) {
            if let BodyState::Here { bytes, .. } = link.body {
                self.body_bytes -= bytes;
            }
            if let Some(peer) = peers.get_mut(link.from) {
                peer.rest(now_ms + DOUBT_REST_MS);
            }
        }
        self.header_requests.clear();
    }

    fn clear_links(&mut self) {
        self.links.clear();
        self.body_bytes = 0;
        self.body_requests.clear();
        self.header_requests.clear();
    }

    fn give_up_bodies(&mut self, id: u64) -> Option<BodyRequest> {
        let request = self.body_requests.remove(&id)?;
        for number in (request.first..).take(request.hashes.len()) {
            let elsewhere = self.body_requests.values().any(|other| other.covers(number));
            if let Some(link) = self.link_mut(number)
                && matches!(link.body, BodyState::Asked)
                && !elsewhere
            {
                link.body = BodyState::Missing;
            }
        }
        Some(request)
    }

    /// Whoever has not answered in time has failed, and what it was asked for is asked of others.
    fn expire(&mut self, now_ms: u64, peers: &mut Peers) {
        let late = |asked_ms: u64| now_ms >= asked_ms + REQUEST_TIMEOUT_MS;
        let mut failed: Vec<PeerId> =
            self.header_requests.extract_if(.., |request| late(request.asked_ms)).map(|request| request.peer).collect();
        let silent: Vec<u64> = self.body_requests.iter().filter(|(_, request)| late(request.asked_ms)).map(|(id, _)| *id).collect();
        failed.extend(silent.into_iter().filter_map(|id| self.give_up_bodies(id)).map(|request| request.peer));
        failed.sort_unstable();
        failed.dedup();
        for peer in failed {
            if let Some(peer) = peers.get_mut(peer) {
                peer.failed(now_ms);
            }
        }
    }
}

/// When the next one of those who claim more than `head` may be asked again, ms.
fn next_turn(now_ms: u64, head: u64, peers: &Peers) -> Option<u64> {
    peers.iter().filter(|peer| peer.claimed > head && peer.rests(now_ms)).map(|peer| peer.standing.rests_until).min()
}

/// Position of the last of these linked headers that exists unless more than f validators that we know have lied: a quorum
/// of them has sealed it, or f+1 the one after it. The set changes along the chain, so that the last header may bear the
/// seals of others; then some of those before it are tried. Costs at most ten times n recoveries: a header has 2 n seals at most.
fn last_proved(links: &[Link], validators: &ValidatorSet) -> Option<usize> {
    let last = links.len().checked_sub(1).filter(|_| !validators.is_empty())?;
    let mut tried = [last, last * 3 / 4, last / 2, last / 4, 0].to_vec();
    tried.dedup();
    for index in tried {
        let sealers = sealers(&links[index].header, validators);
        if sealers >= validators.quorum() {
            return Some(index);
        }
        if sealers > validators.f() && index > 0 {
            return Some(index - 1);
        }
    }
    None
}

/// How many of `validators` have sealed this header. At most twice as many seals as there are validators are looked at: an
/// honest header has no more seals than its own set has members, and each costs a recovery.
fn sealers(header: &Header, validators: &ValidatorSet) -> usize {
    let Ok(extra) = ExtraData::decode(&header.extra_data) else { return 0 };
    let Ok(hash) = commit_hash(header, extra.round) else { return 0 };
    let sealers: HashSet<Address> = extra
        .seals
        .iter()
        .take(2 * validators.len())
        .filter_map(|seal| recover_address(hash, seal, HighS::Allowed).ok())
        .filter(|address| validators.contains(address))
        .collect();
    sealers.len()
}
