//! Shared by the tests that run real processes.
#![allow(dead_code, clippy::panic, clippy::unwrap_used, missing_docs)]

pub mod contracts;
pub mod http;
pub mod lab;
pub mod sockets;
