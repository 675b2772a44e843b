//! What the replica knows about its connections.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use ipe_types::{Address, B256, NodeId, Role, U256, eth::EthVersion};

use crate::recent::Recent;

/// Transactions that a peer is remembered to know: some seconds of the fastest network measured. Forgetting one costs
/// an announcement of 40 bytes.
const KNOWN_TRANSACTIONS: usize = 16_384;
/// Consensus messages that a peer is remembered to know: many heights of twenty validators.
const KNOWN_MESSAGES: usize = 1_024;
/// Blocks that a peer is remembered to know.
const KNOWN_BLOCKS: usize = 128;

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

/// A connection with what has passed over it.
#[derive(Debug)]
pub struct Peer {
    /// Who it is.
    pub info: PeerInfo,
    /// Highest block it is believed to have; nothing but a hint for whom to ask.
    pub height: u64,
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

    /// Raises the believed height.
    pub fn saw_height(&mut self, number: u64) {
        self.height = self.height.max(number);
    }
}

/// All connections, in the order of their making.
#[derive(Debug, Default)]
pub struct Peers {
    peers: BTreeMap<PeerId, Peer>,
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
        let peer = Peer {
            height,
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

    /// Forgets a connection.
    pub fn disconnect(&mut self, id: PeerId) -> Option<Peer> {
        self.peers.remove(&id)
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

    /// Highest block that any of them is believed to have.
    pub fn best_height(&self) -> u64 {
        self.peers.values().map(|peer| peer.height).max().unwrap_or(0)
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
