//! Carried sessions: a validator that listens nowhere holds RLPx sessions with validators of another implementation
//! through a boot of its own institution.
//!
//! Besu and GoQuorum send consensus messages only over sessions whose key is a validator's, so a boot, which has a key of
//! its own, cannot stand in for its validator there. It carries instead: it forwards the raw bytes of the validator's
//! session between two TCP connections, the handshake runs from end to end, and the validator's key stays where it is.
//!
//! A stream travels over a TCP connection of its own, which the validator opens to its boot's p2p port; the system's flow
//! control is the stream's, and a busy stream holds up no other. After the keys (so that each end knows the other) and a
//! Hello that offers nothing but `carry/1`, the validator sends one [`Request`]: dial a node, or take a stream that the
//! boot has offered. After [`Answer::Opened`] the connection is the stream, byte by byte.
//!
//! Who dials the boot for the validator is recognised by the RLPx auth, which is encrypted for the key that was dialled:
//! an auth that is not for the boot is offered to each validator that it carries for, over their `ipe/1` sessions
//! ([`Offer`], [`Decline`]); the one that can read it takes the stream.

pub(crate) mod boot;
mod pump;
mod table;
pub(crate) mod validator;
mod words;

use std::collections::HashSet;
use std::time::Duration;

use ipe_types::NodeId;

pub(crate) use pump::Meter;
pub use words::{Answer, Decline, MAX_WORD, Offer, Request};

/// Name of the capability that a boot offers when it carries.
pub const NAME: &str = "carry";
/// Version of the capability.
pub const VERSION: u64 = 1;
/// First frame on the validator's connection after the Hellos: a [`Request`].
pub(crate) const REQUEST: u8 = crate::capability::BASE;
/// The boot's answer to it: an [`Answer`].
pub(crate) const ANSWER: u8 = crate::capability::BASE + 1;

/// What a boot that carries is started with.
#[derive(Clone, Debug)]
pub struct CarrierConfig {
    /// Validators for which it carries: those of its own institution.
    pub validators: HashSet<NodeId>,
    /// Bounds on what it carries.
    pub limits: CarryLimits,
}

/// Bounds on what a boot carries.
#[derive(Clone, Debug)]
pub struct CarryLimits {
    /// Streams that a validator may have opened through us: one for each foreign validator, and as many again while
    /// both ends have dialled.
    pub dialled: usize,
    /// Streams that strangers may have opened to one validator through us, and as many again from known addresses. Apart, so
    /// that strangers who know the validator's public key take neither the places of those that it dials nor of those from
    /// where its peers come. When strangers' are taken, the latest of the most crowded network gives way.
    pub inbound: usize,
    /// The same from one IP address (IPv6: a /64); 127.0.0.1 and ::1 are exempt.
    pub inbound_per_ip: usize,
    /// Offers made in a burst for one IP address; an honest node that is refused comes back after seconds.
    pub offers_per_ip: u32,
    /// Offers made in a burst for everybody together; each costs the validators one decryption (some 100 µs).
    pub offers: u32,
    /// Offers regained each second by everybody together, and a quarter of it by one IP address.
    pub offers_a_second: u32,
    /// Streams that one validator may ask for in a burst.
    pub dials: u32,
    /// The same regained each second.
    pub dials_a_second: u32,
    /// How long an offered stream waits to be taken.
    pub wait: Duration,
    /// Silence in both directions after which a stream is cut: Besu, GoQuorum and we ping after 15 s of it.
    pub idle: Duration,
    /// How long an end may take for a buffer of bytes (32 KiB at most) that wait for it.
    pub stall: Duration,
}

impl Default for CarryLimits {
    /// For networks of up to some forty foreign validators.
    fn default() -> Self {
        CarryLimits {
            dialled: 96,
            inbound: 64,
            inbound_per_ip: 8,
            offers_per_ip: 8,
            offers: 64,
            offers_a_second: 16,
            dials: 96,
            dials_a_second: 16,
            wait: Duration::from_secs(5),
            idle: Duration::from_secs(60),
            stall: Duration::from_secs(20),
        }
    }
}

/// Why a boot did not carry a stream, or ended one. The name is a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CarryRefusal {
    /// The first bytes are no auth for anybody.
    Garbage,
    /// No validator that this boot carries for is connected to it.
    NoValidator,
    /// No validator could read the auth: it was meant for somebody else.
    Unknown,
    /// No validator answered in time.
    Unanswered,
    /// Too many offers or dials in a short time.
    Rate,
    /// All places are taken.
    Full,
    /// The one who asks is no validator that this boot carries for.
    NotOurs,
    /// The rules do not admit the pair.
    Rules,
    /// The node to be dialled cannot be reached.
    Unreachable,
    /// The request is malformed, or names a stream that does not wait.
    Malformed,
    /// A carried stream was cut: neither end said anything.
    Idle,
    /// A carried stream was cut: one end took none of the bytes that waited for it.
    Stalled,
}

impl CarryRefusal {
    /// Every reason.
    pub const ALL: [CarryRefusal; 12] = [
        CarryRefusal::Garbage,
        CarryRefusal::NoValidator,
        CarryRefusal::Unknown,
        CarryRefusal::Unanswered,
        CarryRefusal::Rate,
        CarryRefusal::Full,
        CarryRefusal::NotOurs,
        CarryRefusal::Rules,
        CarryRefusal::Unreachable,
        CarryRefusal::Malformed,
        CarryRefusal::Idle,
        CarryRefusal::Stalled,
    ];

    /// The metric label.
    pub const fn name(self) -> &'static str {
        match self {
            CarryRefusal::Garbage => "garbage",
            CarryRefusal::NoValidator => "no_validator",
            CarryRefusal::Unknown => "unknown",
            CarryRefusal::Unanswered => "unanswered",
            CarryRefusal::Rate => "rate",
            CarryRefusal::Full => "full",
            CarryRefusal::NotOurs => "not_ours",
            CarryRefusal::Rules => "rules",
            CarryRefusal::Unreachable => "unreachable",
            CarryRefusal::Malformed => "malformed",
            CarryRefusal::Idle => "idle",
            CarryRefusal::Stalled => "stalled",
        }
    }
}
