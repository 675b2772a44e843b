//! Counts of what the network did, for metrics. Every count only grows, but for [`Snapshot::discovered`].

use std::sync::atomic::{AtomicU64, Ordering};

use ipe_types::eth::{self, EthVersion};
use parking_lot::Mutex;

use crate::carry::{CarryRefusal, Meter};
use crate::disconnect::Reason;
use crate::discv4::engine::PacketCounts;
use crate::event::Protocol;

/// Codes counted apart for each protocol; higher ones share the last place.
const CODES: usize = 32;
/// Reasons counted apart: codes up to 0x10, and all others in one.
const REASONS: usize = 0x12;

/// Protocols and versions that are counted apart, by their names in metrics, which are Besu's where Besu has them.
const LANES: [(Protocol, &str); 5] = [
    (Protocol::Eth, "eth/66"),
    (Protocol::Eth, "eth/68"),
    (Protocol::Eth, "eth/69"),
    (Protocol::Ipe, "ipe/1"),
    (Protocol::Istanbul, "istanbul/100"),
];

const fn lane(protocol: Protocol, version: Option<EthVersion>) -> usize {
    match (protocol, version) {
        (Protocol::Eth, Some(EthVersion::V66)) => 0,
        (Protocol::Eth, Some(EthVersion::V68)) => 1,
        (Protocol::Eth, Some(EthVersion::V69) | None) => 2,
        (Protocol::Ipe, _) => 3,
        (Protocol::Istanbul, _) => 4,
    }
}

/// How an attempt to connect ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// A session was opened.
    Connected,
    /// No TCP connection, or it broke in the handshake.
    Unreachable,
    /// Some stage took too long.
    TimedOut,
    /// The handshake or Hello was malformed, or the key was not the expected one.
    Malformed,
    /// We refused: slots, rules, ban, duplicate.
    Refused,
    /// The other refused with a Disconnect.
    RefusedByPeer,
    /// Another network, genesis, fork, or no shared protocol version.
    Incompatible,
    /// Dropped for others while unproven.
    Evicted,
    /// Its address or network connects too often: closed before a byte was read.
    Throttled,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Outcome; 9] = [
        Outcome::Connected,
        Outcome::Unreachable,
        Outcome::TimedOut,
        Outcome::Malformed,
        Outcome::Refused,
        Outcome::RefusedByPeer,
        Outcome::Incompatible,
        Outcome::Evicted,
        Outcome::Throttled,
    ];

    /// The outcome's name, a metric label.
    pub const fn name(self) -> &'static str {
        match self {
            Outcome::Connected => "connected",
            Outcome::Unreachable => "unreachable",
            Outcome::TimedOut => "timed_out",
            Outcome::Malformed => "malformed",
            Outcome::Refused => "refused",
            Outcome::RefusedByPeer => "refused_by_peer",
            Outcome::Incompatible => "incompatible",
            Outcome::Evicted => "evicted",
            Outcome::Throttled => "throttled",
        }
    }
}

#[derive(Debug, Default)]
struct Traffic {
    messages: AtomicU64,
    bytes: AtomicU64,
}

/// The counts, shared by every task.
#[derive(Debug, Default)]
pub struct Counters {
    inbound: [[Traffic; CODES]; LANES.len()],
    outbound: [[Traffic; CODES]; LANES.len()],
    outcomes: [[AtomicU64; Outcome::ALL.len()]; 2],
    disconnects: [[AtomicU64; REASONS]; 2],
    dials: [AtomicU64; 2],
    discovery: Mutex<(PacketCounts, usize)>,
    penalties: AtomicU64,
    bans: AtomicU64,
    shed: AtomicU64,
    /// Bytes of carried streams.
    pub(crate) carried: Meter,
    streams: [AtomicU64; 2],
    not_carried: [AtomicU64; CarryRefusal::ALL.len()],
}

/// What a boot has carried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CarriedCount {
    /// Streams now, those being opened among them.
    pub open: usize,
    /// Streams that others opened to our validators.
    pub inbound: u64,
    /// Streams that our validators opened.
    pub dialled: u64,
    /// Bytes forwarded to validators.
    pub bytes_to_validators: u64,
    /// Bytes forwarded from validators.
    pub bytes_from_validators: u64,
    /// What was not carried, or cut, by reason; reasons that did not occur are left out.
    pub refused: Vec<(CarryRefusal, u64)>,
}

/// Messages and bytes of one message code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageCount {
    /// The protocol's name and version, as in `eth/68`.
    pub protocol: &'static str,
    /// The message's name.
    pub name: &'static str,
    /// Code relative to the protocol.
    pub code: u8,
    /// Whether received (or sent).
    pub inbound: bool,
    /// Messages.
    pub messages: u64,
    /// Bytes of payload, uncompressed.
    pub bytes: u64,
}

/// Sessions ended for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DisconnectCount {
    /// Whether we ended them (`initiator` local, otherwise remote).
    pub by_us: bool,
    /// The reason; `Other(0xff)` when none was given.
    pub reason: Reason,
    /// Sessions.
    pub count: u64,
}

/// Attempts to connect with one outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutcomeCount {
    /// Whether the other dialled.
    pub inbound: bool,
    /// The outcome.
    pub outcome: Outcome,
    /// Attempts.
    pub count: u64,
}

/// All counts at one moment; zero counts are left out of the lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Traffic by protocol and code.
    pub messages: Vec<MessageCount>,
    /// Sessions ended.
    pub disconnects: Vec<DisconnectCount>,
    /// Attempts to connect.
    pub outcomes: Vec<OutcomeCount>,
    /// Times we dialled nodes to stay connected to.
    pub dials: u64,
    /// Times we dialled nodes that discovery found.
    pub dials_found: u64,
    /// discv4 packets.
    pub discovery: PacketCounts,
    /// Nodes that discovery knows now.
    pub discovered: usize,
    /// Penalties given to peers.
    pub penalties: u64,
    /// Nodes banned.
    pub bans: u64,
    /// Messages left out before they were decompressed: about transactions while their sender's earlier ones were not handled or
    /// paid for yet, or weighed and found too dear.
    pub shed: u64,
    /// Streams carried for our validators.
    pub carried: CarriedCount,
}

impl Counters {
    /// `version` is that of eth in the session, whatever the message's protocol.
    pub(crate) fn message(&self, inbound: bool, protocol: Protocol, version: Option<EthVersion>, code: u8, bytes: usize) {
        let table = if inbound { &self.inbound } else { &self.outbound };
        let traffic = &table[lane(protocol, version)][usize::from(code).min(CODES - 1)];
        traffic.messages.fetch_add(1, Ordering::Relaxed);
        traffic.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn outcome(&self, inbound: bool, outcome: Outcome) {
        self.outcomes[usize::from(inbound)][outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn disconnect(&self, by_us: bool, reason: Option<Reason>) {
        let code = usize::from(reason.map_or(0xff, Reason::code)).min(REASONS - 1);
        self.disconnects[usize::from(by_us)][code].fetch_add(1, Ordering::Relaxed);
    }

    /// `found`: by discovery; otherwise it is a node to stay connected to.
    pub(crate) fn dial(&self, found: bool) {
        self.dials[usize::from(found)].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn discovery(&self, packets: PacketCounts, known: usize) {
        *self.discovery.lock() = (packets, known);
    }

    pub(crate) fn penalty(&self) {
        self.penalties.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn shed(&self) {
        self.shed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn carried(&self, inbound: bool) {
        self.streams[usize::from(inbound)].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn not_carried(&self, refusal: CarryRefusal) {
        self.not_carried[refusal as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn ban(&self) {
        self.bans.fetch_add(1, Ordering::Relaxed);
    }

    /// The counts now.
    pub fn snapshot(&self) -> Snapshot {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (discovery, discovered) = *self.discovery.lock();
        let mut snapshot = Snapshot {
            dials: read(&self.dials[0]),
            dials_found: read(&self.dials[1]),
            discovery,
            discovered,
            penalties: read(&self.penalties),
            bans: read(&self.bans),
            shed: read(&self.shed),
            carried: CarriedCount {
                open: 0,
                inbound: read(&self.streams[1]),
                dialled: read(&self.streams[0]),
                bytes_to_validators: read(&self.carried.to_validator),
                bytes_from_validators: read(&self.carried.from_validator),
                refused: CarryRefusal::ALL
                    .into_iter()
                    .zip(&self.not_carried)
                    .map(|(refusal, count)| (refusal, read(count)))
                    .filter(|(_, count)| *count > 0)
                    .collect(),
            },
            ..Snapshot::default()
        };
        for (inbound, table) in [(true, &self.inbound), (false, &self.outbound)] {
            for ((spoken, protocol), codes) in LANES.into_iter().zip(table) {
                for (code, traffic) in codes.iter().enumerate() {
                    let messages = read(&traffic.messages);
                    if messages > 0 {
                        let (code, bytes) = (code as u8, read(&traffic.bytes));
                        let name = message_name(spoken, code);
                        snapshot.messages.push(MessageCount { protocol, name, code, inbound, messages, bytes });
                    }
                }
            }
        }
        for (by_us, counts) in [false, true].into_iter().zip(&self.disconnects) {
            for (code, count) in counts.iter().enumerate().filter(|(_, count)| read(count) > 0) {
                let reason = if code == REASONS - 1 { Reason::Other(0xff) } else { Reason::from_code(code as u8) };
                snapshot.disconnects.push(DisconnectCount { by_us, reason, count: read(count) });
            }
        }
        for (inbound, counts) in [false, true].into_iter().zip(&self.outcomes) {
            for (outcome, count) in Outcome::ALL.into_iter().zip(counts).filter(|(_, count)| read(count) > 0) {
                snapshot.outcomes.push(OutcomeCount { inbound, outcome, count: read(count) });
            }
        }
        snapshot
    }
}

/// The name of a message, for metrics labels and logs.
pub const fn message_name(protocol: Protocol, code: u8) -> &'static str {
    match (protocol, code) {
        (Protocol::Eth, code) => eth::code_name(code),
        (Protocol::Ipe, crate::ipe::STATUS) => "Status",
        (Protocol::Ipe, crate::ipe::OFFER) => "Offer",
        (Protocol::Ipe, crate::ipe::DECLINE) => "Decline",
        (Protocol::Istanbul, 0x12) => "Proposal",
        (Protocol::Istanbul, 0x13) => "Prepare",
        (Protocol::Istanbul, 0x14) => "Commit",
        (Protocol::Istanbul, 0x15) => "RoundChange",
        (Protocol::Ipe | Protocol::Istanbul, _) => "Unknown",
    }
}
