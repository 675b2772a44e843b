//! The shell of a node: settings, event loop, timers, tasks and shutdown around the replica.

pub mod config;
pub mod endpoints;
pub mod key_file;

pub use config::NodeConfig;
pub use endpoints::Endpoints;
