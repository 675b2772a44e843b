//! devp2p: connections to other nodes, frames in, frames out.
//!
//! [`Network::start`] gives a [`NetworkHandle`] for wishes and a receiver of [`NetEvent`]s. A session's way is: TCP →
//! keys ([`handshake`]) → [`hello`], on one connection to a node at a time → judgement (bans, rules, slots) → Status →
//! messages. What a stranger can make us keep is bounded at each of these steps; each bound is a constant or a field of
//! [`config::Limits`].
//!
//! Two tasks serve a session: one reads, decrypts and hands messages over, one encrypts and writes. The sender of a
//! message queues it from any thread ([`NetworkHandle::send`]); consensus overtakes everything else.

mod addresses;
pub mod bucket;
pub mod capability;
pub mod carry;
pub mod config;
mod conversation;
pub mod counters;
mod dial;
pub mod disconnect;
pub mod discv4;
mod door;
pub mod ecies;
pub mod event;
pub mod frame;
mod greeting;
mod handle;
pub mod handshake;
pub mod hello;
mod intake;
pub mod ipe;
mod link;
mod listen;
mod net;
mod network;
mod rations;
mod registry;
mod seen;
mod session;
pub mod snappy;
mod turn;

pub use carry::{CarrierConfig, CarryLimits, CarryRefusal};
pub use config::{Admit, Candidate, ChainIdentity, Core, DiscoveryConfig, Limits, LocalHead, NetworkConfig, Path, Permit};
pub use counters::Snapshot;
pub use disconnect::Reason;
pub use event::{Capability, Inbound, NetEvent, PeerId, PeerInfo, Protocol};
pub use handle::{LocalNode, NetworkHandle};
pub use ipe::IpeStatus;
pub use network::{Network, NetworkError};
