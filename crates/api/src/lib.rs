//! Everything a node says over HTTP and WebSocket: JSON-RPC, subscriptions, health.
//!
//! One request in one page:
//!
//! 1. [`server`] takes bytes from a socket, checks the headers `Host`, `Origin` and `Content-Type`, the token where one is asked for
//!    (`authentication`, `token`) and the limits, and hands the body to `Api::answer`.
//! 2. [`wire`] splits it into one call or a batch without building a tree: parameters stay slices of the body.
//! 3. [`table`] is the one closed list of methods: name, group, cost, handler, one line of documentation.
//!    `docs/rpc.md` is generated from it.
//! 4. The handler (`eth_*.rs`, `qbft.rs`, `debug.rs`, …) is a plain function from the parameters to JSON text or an
//!    [`RpcError`]. Light ones run where the request was read; heavy ones (execution, tracing, log search) on threads
//!    of their own, in turns and within the request's allowance (`turns`, `allowance`, `watch`).
//! 5. What must be done by the node itself (votes, peers) goes through [`Control`](ipe_engine::Control) messages; what the node announces
//!    (blocks, pending transactions) comes through [`Notification`](ipe_engine::Notification)s.
//!
//! Shapes, codes and texts are Hyperledger Besu's, of the release chosen by [`Settings::release`].

pub mod backend;
pub mod besu_methods;
pub mod conformance;
pub mod error;
pub mod health;
pub mod hosts;
pub mod listener;
pub mod params;
pub mod server;
pub mod table;
pub mod wire;

mod access;
mod admin;
mod allowance;
mod answers;
mod authentication;
mod credentials;
mod debug;
mod eth_blocks;
mod eth_call;
mod eth_fees;
mod eth_logs;
mod eth_send;
mod eth_state;
mod execution;
mod flat_trace;
mod handshakes;
mod ipe;
mod lookup;
mod miner;
mod net;
mod object;
mod origins;
mod perm;
mod places;
mod purse;
mod qbft;
mod shapes;
mod simulate;
mod struct_log;
mod subscribe;
mod threads;
mod tls;
mod token;
mod trace;
mod turns;
mod txpool;
mod watch;
mod watched;

pub use authentication::{AuthenticationConfig, AuthenticationError};
pub use backend::{Api, Backend, Release, Services, Settings};
pub use error::RpcError;
pub use server::{HttpConfig, RunningServer, ServeError, ServerConfig, serve};
pub use table::{Group, Groups};
pub use tls::{Authorities, Clients, Identity, Password, Store, TlsConfig};
pub use token::Algorithm;
pub use watched::Unusable;
