//! The shell of a node: settings, event loop, timers, tasks and shutdown around the replica.

pub mod config;
pub mod endpoints;

pub use config::NodeConfig;
pub use endpoints::Endpoints;
