//! What the replica knows about its connections.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use ipe_types::eth::{EthVersion, MAX_TRANSACTIONS_PER_MESSAGE};
use ipe_types::{Address, B256, NodeId, Role, U256};

use crate::recent::{BoundedMap, Budget, Recent};

/// Transactions that a peer is remembered to know: some seconds of the fastest network measured. Forgetting one costs
/// an announcement of 40 bytes.
const KNOWN_TRANSACTIONS: usize = 16_384;
/// Consensus messages that a peer is remembered to know: many heights of twenty validators.
const KNOWN_MESSAGES: usize = 1_024;
/// Blocks that a peer is remembered to know.
const KNOWN_BLOCKS: usize = 128;
/// How long a node that failed to answer is not asked again, ms: this long after the first time, twice as long after each
/// further one.
const FIRST_REST_MS: u64 = 2_000;
/// Longest such rest of a node whose role is known, ms: it may be the only one that we have.
const LONGEST_REST_KNOWN_MS: u64 = 16_000;
/// Longest such rest of a stranger, ms.
const LONGEST_REST_MS: u64 = 256_000;
/// Failures after which the claim of a node whose role is known is not waited for any more: about a minute of silence.
const GIVEN_UP_KNOWN: u32 = 5;
/// The same for a stranger.
const GIVEN_UP: u32 = 1;
/// Announced transactions that a node may fail to deliver: the largest announcement.
const SHARE: u64 = MAX_TRANSACTIONS_PER_MESSAGE as u64;
/// Seconds in which a share that was lost to silence is regained.
const REGAIN_S: u64 = 64;
/// Nodes of which it is remembered across reconnections how they have answered.
const REMEMBERED_NODES: usize = 1_024;

/// One connection. Never reused while the process lives, so a late message of an old connection cannot be taken for one
/// of a new connection to the same node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u64);

/// A connection that has finished Hello and Status.
#[derive(Clone, Debug)]
pub struct PeerInfo {
    /// Connection.
    pub id: PeerId,
    /// Public key of the peer.
    pub node: NodeId,
    /// Address of `node`: the author of its consensus messages when the peer is a validator.
    pub address: Address,
    /// Role by the topology, `None` for a stranger.
    pub role: Option<Role>,
    /// Negotiated eth version.
    pub eth: EthVersion,
    /// Whether `istanbul/100` was negotiated.
    pub istanbul: bool,
    /// Whether the peer dialled us.
    pub inbound: bool,
    /// Whether a boot carries the session: the peer is a validator of another implementation.
    pub carried: bool,
    /// What its Status said.
    pub status: PeerStatus,
}

/// Head of a peer by its Status (spec/besu-compat.md 2.3).
#[derive(Clone, Copy, Debug)]
pub struct PeerStatus {
    /// Head hash.
    pub head: B256,
    /// Head number; `None` before eth/69, where only the hash is told.
    pub height: Option<u64>,
    /// Total difficulty; `None` from eth/69 on. On a QBFT chain it is the height plus the genesis' difficulty.
    pub total_difficulty: Option<U256>,
}

/// How a node has answered what it was asked. It belongs to the node and not to the connection, so that reconnecting
/// restores nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Requests that it did not answer, or answered with less than it claimed to have; one fewer for each good answer.
    pub failures: u32,
    /// It is not asked before, ms.
    pub rests_until: u64,
}

/// A connection with what has passed over it.
#[derive(Debug)]
pub struct Peer {
    /// Who it is.
    pub info: PeerInfo,
    /// Highest block that it says it has: decides whom to ask first, and nothing else.
    pub claimed: u64,
    /// Highest block that it has given us, sealed by our validators; 0 before the first.
    pub proven: u64,
    /// Its last answer was much shorter than what was asked for: others are asked first.
    pub stingy: bool,
    /// Id of the last question for headers that it was asked, ids growing; 0 before the first. See [`Peer::rank`].
    pub asked: u64,
    /// How it has answered.
    pub standing: Standing,
    /// Transactions that it has announced and that may yet be asked of it. One that does not come is lost to it for a while.
    pub share: Budget,
    /// Transactions that it has been asked for and that are not here.
    pub fetching: usize,
    /// Transactions it has sent us or been sent.
    pub transactions: Recent,
    /// Consensus messages it has sent us or been sent.
    pub messages: Recent,
    /// Those among them that it has sent us. A message that crosses with ours on the way is no repetition.
    pub brought: Recent,
    /// Blocks it has sent or announced to us, or been sent.
    pub blocks: Recent,
}

impl Peer {
    /// Whether the peer belongs to the core by its role.
    pub fn is_core(&self) -> bool {
        matches!(self.info.role, Some(Role::Validator | Role::Boot))
    }

    /// Whether we know who it is: its role is in the directory, or it is a static node.
    pub fn is_known(&self) -> bool {
        self.info.role.is_some()
    }

    /// It says that it has this block.
    pub fn claims(&mut self, number: u64) {
        self.claimed = self.claimed.max(number);
    }

    /// Whether it is not to be asked for blocks now.
    pub fn rests(&self, now_ms: u64) -> bool {
        self.standing.rests_until > now_ms
    }

    /// Whether its claims still deserve to be waited for. Silence ends that.
    pub fn is_given_up(&self) -> bool {
        self.standing.failures > if self.is_known() { GIVEN_UP_KNOWN } else { GIVEN_UP }
    }

    /// It did not give what it was asked for: it is asked again later each time.
    pub fn failed(&mut self, now_ms: u64) {
        let longest = if self.is_known() { LONGEST_REST_KNOWN_MS } else { LONGEST_REST_MS };
        let rest = (FIRST_REST_MS << self.standing.failures.min(16)).min(longest);
        self.standing.failures = self.standing.failures.saturating_add(1);
        self.rest(now_ms.saturating_add(rest));
    }

    /// It is not asked before `until_ms`, through no proven fault of its own.
    pub fn rest(&mut self, until_ms: u64) {
        self.standing.rests_until = self.standing.rests_until.max(until_ms);
    }

    /// It gave us this block.
    pub fn delivered(&mut self, number: u64) {
        self.proven = self.proven.max(number);
        self.claimed = self.claimed.max(number);
        self.standing.failures = self.standing.failures.saturating_sub(1);
    }

    /// Who is asked first, the greatest: who has not failed (whom we know is forgiven twice) nor been stingy, whom we know, who
    /// has given us something, whom we chose ourselves, and the older connection, so that nobody gets to the front by coming
    /// again. The stingy are asked in turn. What is claimed counts for nothing.
    pub fn rank(&self) -> impl Ord + use<> {
        let failures = self.standing.failures.saturating_sub(if self.is_known() { 2 } else { 0 });
        let direct = !self.info.carried;
        let turn = if self.stingy { self.asked } else { 0 };
        (
            Reverse(failures),
            !self.stingy,
            Reverse(turn),
            self.is_known(),
            self.proven > 0,
            direct,
            !self.info.inbound,
            Reverse(self.info.id),
        )
    }
}

impl Peer {
    /// [`Self::rank`] for a question that was asked already so many times: every second time whoever we know comes before all others, so
    /// that strangers who keep silent, and come again under fresh keys, cost half of the questions and no more.
    pub fn rank_for(&self, asked: usize) -> impl Ord + use<> {
        (asked % 2 == 1 && self.is_known(), self.rank())
    }
}

/// All connections, in the order of their making, and how those who are gone had answered.
#[derive(Debug)]
pub struct Peers {
    peers: BTreeMap<PeerId, Peer>,
    standings: BoundedMap<NodeId, (Standing, Budget)>,
}

impl Default for Peers {
    fn default() -> Self {
        Self { peers: BTreeMap::new(), standings: BoundedMap::new(REMEMBERED_NODES) }
    }
}

impl Peers {
    /// Takes a new connection in.
    pub fn connect(&mut self, info: PeerInfo) -> &mut Peer {
        let mut blocks = Recent::new(KNOWN_BLOCKS);
        blocks.insert(&info.status.head);
        let height = info.status.height.unwrap_or_else(|| {
            // Every block has difficulty 1, so the sum of an eth/68 Status is the height plus the genesis' (1 as a rule).
            let sum = info.status.total_difficulty.unwrap_or_default();
            u64::try_from(sum).unwrap_or(0).saturating_sub(1)
        });
        let fresh = || (Standing::default(), Budget::new(0, SHARE, SHARE / REGAIN_S));
        let (standing, share) = self.standings.remove(&info.node).unwrap_or_else(fresh);
        let peer = Peer {
            claimed: height,
            proven: 0,
            stingy: false,
            asked: 0,
            standing,
            share,
            fetching: 0,
            transactions: Recent::new(KNOWN_TRANSACTIONS),
            messages: Recent::new(KNOWN_MESSAGES),
            brought: Recent::new(KNOWN_MESSAGES),
            blocks,
            info,
        };
        match self.peers.entry(peer.info.id) {
            Entry::Vacant(place) => place.insert(peer),
            Entry::Occupied(mut place) => {
                place.insert(peer);
                place.into_mut()
            }
        }
    }

    /// Forgets a connection, but not how its node has answered.
    pub fn disconnect(&mut self, now_ms: u64, id: PeerId) {
        let Some(mut peer) = self.peers.remove(&id) else { return };
        let how = (peer.standing, peer.share);
        if peer.standing.failures > 0 || !peer.share.is_full(now_ms) {
            *self.standings.entry(peer.info.node, || how) = how;
        }
    }

    /// A live connection.
    pub fn get(&self, id: PeerId) -> Option<&Peer> {
        self.peers.get(&id)
    }

    /// A live connection.
    pub fn get_mut(&mut self, id: PeerId) -> Option<&mut Peer> {
        self.peers.get_mut(&id)
    }

    /// All, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Peer> {
        self.peers.values()
    }

    /// All, oldest first.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Peer> {
        self.peers.values_mut()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.peers.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    /// Highest block that somebody claims whose claim deserves to be waited for, with or without those of strangers; nothing
    /// but a reason to ask.
    pub fn best_claim(&self, strangers: bool) -> u64 {
        let heard = self.peers.values().filter(|peer| !peer.is_given_up() && (strangers || peer.is_known()));
        heard.map(|peer| peer.claimed).max().unwrap_or(0)
    }

    /// Counts by role, core first, strangers last.
    pub fn by_role(&self) -> Vec<(Option<Role>, usize)> {
        Role::ALL
            .into_iter()
            .map(Some)
            .chain([None])
            .map(|role| (role, self.peers.values().filter(|peer| peer.info.role == role).count()))
            .filter(|&(_, count)| count > 0)
            .collect()
    }
}
