//! Who belongs, and who decided it: organisations, accounts, nodes, proposals, validators and the contracts that keep them.
//!
//! Works with RBB's first and second generation and with this project's contracts, told apart by asking them, over any node's
//! JSON-RPC. The node is not trusted: answers are bounded and checked, and what they say moves no cursor.

pub mod account;
pub mod contract;
mod decoded;
mod explain;
mod genesis;
mod history;
mod keystore;
mod link;
mod network;
pub mod node_rule;
pub mod org;
pub mod peer;
pub mod permission;
mod proposal;
pub mod proposals;
mod send;
mod signer;
mod simulate;
mod text;
pub mod validator;
