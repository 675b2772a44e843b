//! The shell of a node: settings, event loop, timers, tasks and shutdown around the replica.
//!
//! ```text
//! sockets ─ p2p tasks ─ pump ─┬─ consensus ──────────────────────────┐
//!                             ├─ transactions ─ recover threads ─ pool ─┤
//!                             └─ requests and the rest ─ eth thread ────┤ inbox ─ replica thread ─ outputs
//! JSON-RPC tasks ─ pool, control ────────────────────────────────────────┘
//! ```

mod advice;
mod chain_rules;
pub mod config;
mod control;
mod dialect;
mod driver;
pub mod endpoints;
mod executor;
mod inbound;
mod inbox;
pub mod key_file;
mod local_journal;
pub mod metric_table;
mod outbound;
mod peers;
mod permissions;
mod rpc_server;
mod rules;
mod run;
pub mod signing_journal;
mod supervisor;
mod telemetry;
mod watchdog;

pub use config::NodeConfig;
pub use endpoints::Endpoints;
pub use run::{LogLevel, RunError, run};
pub use signing_journal::SIGNING_JOURNAL;
pub use watchdog::{EXIT_STUCK, SUSPECTS};
