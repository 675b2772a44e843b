//! The replica: consensus, ledger, pool, synchronisation, relay and the signing gate, as one value driven by inputs.
//!
//! Nothing here waits: no sockets, no clock, no randomness, no files. The shell ([`ipe-node`]) or a simulator hands in
//! what happened ([`Input`]) together with a clock, and carries out what comes back ([`Output`]). Many replicas can
//! therefore live in one thread and be replayed from one seed.
//!
//! [`ipe-node`]: https://docs.rs/ipe-node

mod abstain;
pub mod accounts;
pub mod admission;
mod blocks;
mod consensus;
pub mod control;
pub mod doubt;
pub mod fair_queue;
pub mod gossip;
pub mod held;
pub mod job;
pub mod journal;
pub mod pace;
pub mod peer;
pub mod pool;
pub mod recent;
pub mod relay;
pub mod replica;
pub mod serve;
pub mod signing;
mod start;
pub mod status;
pub mod sync;
pub mod unproven;
pub mod wishes;
mod works;

pub use control::{Control, PeerControl, Reply, VoteControl, VoteError};
pub use ipe_qbft::Restored;
pub use job::{Done, Job};
pub use peer::{PeerId, PeerInfo, PeerStatus};
pub use replica::{Clock, Input, Level, Notification, Output, Parts, Replica, Settings, Stages};
pub use status::{RefusedBlock, Status, StatusCell, SyncProgress, Work, WorkKind};
