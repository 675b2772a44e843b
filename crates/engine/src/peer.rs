//! What the replica knows about one connection.

use ipe_types::{Address, B256, U256, crypto::NodeId, role::Role};

/// One connection. Never reused while the process lives, so a late message of an old connection cannot be taken for one
/// of a new connection to the same node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u64);

/// A connection that has finished Hello and Status.
#[derive(Clone, Debug)]
pub struct PeerInfo {
    /// Connection.
    pub id: PeerId,
    /// Public key of the peer; its address is the author address when the peer is a validator.
    pub node: NodeId,
    /// Address of `node`.
    pub address: Address,
    /// Role by the topology, `None` for a stranger.
    pub role: Option<Role>,
    /// Negotiated eth version, 68 or 69.
    pub eth: u32,
    /// Whether `istanbul/100` was negotiated.
    pub istanbul: bool,
    /// Whether the peer dialled us.
    pub inbound: bool,
    /// What its Status said.
    pub status: PeerStatus,
}

/// Head of a peer by its Status (besu-compat §2.3).
#[derive(Clone, Copy, Debug)]
pub struct PeerStatus {
    /// Head hash.
    pub head: B256,
    /// Head number; `None` on eth/68, which only tells the hash.
    pub height: Option<u64>,
    /// Total difficulty; `None` on eth/69. On a QBFT chain it is the height plus the genesis' difficulty.
    pub total_difficulty: Option<U256>,
}
