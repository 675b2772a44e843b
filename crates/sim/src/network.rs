//! Links between nodes: sessions that come and go, delays, and directions that are blocked.

use std::collections::VecDeque;

use ipe_engine::PeerId;
use ipe_types::Bytes;

/// How long a session lives while nothing passes in one of its directions, µs: devp2p pings and gives up about then.
pub(crate) const SESSION_PATIENCE_US: u64 = 15_000_000;
/// Time between two attempts to connect in a storm, µs.
pub(crate) const REDIAL_US: u64 = 1_000_000;
/// Bytes are kept for a blocked direction up to so many messages; then the session's send queue is full and the session ends.
pub(crate) const HELD_MAX: usize = 4_096;

/// A message on its way.
#[derive(Clone, Debug)]
pub(crate) enum Packet {
    /// eth: code and payload as encoded for eth/69.
    Eth(u8, Bytes),
    /// istanbul: code and payload.
    Istanbul(u8, Bytes),
}

/// One direction of a link.
#[derive(Debug, Default)]
pub(crate) struct Direction {
    /// Nothing passes.
    pub(crate) blocked: bool,
    /// While blocked, bytes wait instead of being lost.
    pub(crate) keeps: bool,
    /// What waits.
    pub(crate) held: VecDeque<Packet>,
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
    /// A message of this session was lost. A real stream has no holes, so such a session does not outlive the storm.
    pub(crate) holed: bool,
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
            holed: false,
            penalty_us: 0,
        }
    }

    pub(crate) fn is_blocked(&self) -> bool {
        self.directions.iter().any(|direction| direction.blocked)
    }
}
