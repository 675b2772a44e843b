//! Links between nodes: sessions that come and go, delays, packets that are lost, and directions that are blocked.
//!
//! A session is a TCP connection: it delivers everything in order or it ends. So a lost packet holds back itself and
//! everything after it until a retransmission gets through, and what an ended connection had under way is gone.

use std::collections::VecDeque;

use ipe_engine::PeerId;
use ipe_types::Bytes;

/// How long a session lives while nothing passes in one of its directions, µs: devp2p pings and gives up about then.
pub(crate) const SESSION_PATIENCE_US: u64 = 15_000_000;
/// Time between two attempts to connect in a storm, µs.
pub(crate) const REDIAL_US: u64 = 1_000_000;
/// Messages that may wait behind a lost packet; with one more the session's send queue is full and the session ends.
pub(crate) const HELD_MAX: usize = 4_096;
/// First wait for a retransmission, µs, as on Linux; each further one is twice as long (RFC 6298).
pub(crate) const RETRANSMIT_US: u64 = 200_000;
/// Longest wait for a retransmission, µs: the sixth. The seventh would come after [`SESSION_PATIENCE_US`], so the session ends
/// when the sixth was in vain.
pub(crate) const RETRANSMIT_MAX_US: u64 = 6_400_000;
/// Retransmissions that are lost as well where packets get lost, per mille: losses come in bursts.
pub(crate) const LOST_AGAIN: u32 = 300;

/// A message on its way.
#[derive(Clone, Debug)]
pub(crate) enum Packet {
    /// eth: code and payload as encoded for eth/69.
    Eth(u8, Bytes),
    /// istanbul: code and payload.
    Istanbul(u8, Bytes),
}

/// A retransmission to come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retransmission {
    /// When, µs.
    pub(crate) at_us: u64,
    /// How long it was waited for, µs.
    pub(crate) wait_us: u64,
}

/// One direction of a link.
#[derive(Debug, Default)]
pub(crate) struct Direction {
    /// Nothing passes.
    pub(crate) blocked: bool,
    /// A lost packet and everything after it, until a retransmission gets through.
    pub(crate) held: VecDeque<Packet>,
    /// The next attempt, while anything is held.
    pub(crate) retransmission: Option<Retransmission>,
    /// When the last message arrives, µs: later ones do not overtake it.
    pub(crate) last_us: u64,
}

/// A session as one end sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    pub(crate) link: usize,
    pub(crate) other: usize,
    pub(crate) theirs: PeerId,
    /// 0 when this end is the dialler's.
    pub(crate) side: usize,
}

/// A link that the topology allows; `from` dials.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) from: usize,
    pub(crate) to: usize,
    /// Time over the line without faults, µs.
    pub(crate) latency_us: u64,
    /// From the dialler, to the dialler.
    pub(crate) directions: [Direction; 2],
    /// The session's ids at both ends.
    pub(crate) session: Option<[PeerId; 2]>,
    /// A dial is scheduled.
    pub(crate) dialling: bool,
    /// Counts partitions, so that a late timer knows that it is late.
    pub(crate) epoch: u64,
    /// An end is gone for good.
    pub(crate) gone: bool,
    /// Whatever blocks the link has forgotten its connection (a firewall that was started anew): it is reset when the link opens.
    pub(crate) forgotten: bool,
    /// Not dialled before: an end broke the protocol, µs.
    pub(crate) penalty_us: u64,
}

impl Link {
    pub(crate) fn new(from: usize, to: usize, latency_us: u64) -> Self {
        Self {
            from,
            to,
            latency_us,
            directions: [Direction::default(), Direction::default()],
            session: None,
            dialling: false,
            epoch: 0,
            gone: false,
            forgotten: false,
            penalty_us: 0,
        }
    }

    pub(crate) fn is_blocked(&self) -> bool {
        self.directions.iter().any(|direction| direction.blocked)
    }
}
