//! The permissioning contracts as tools and nodes see them: functions, events and errors of RBB's first and second generation
//! and of ours, as values and in words.
//!
//! Pure: bytes in, values out. Nothing here asks a node. What comes from a node is decoded with a bound: an answer never grows
//! to more than a small multiple of its own bytes ([`answer`], [`catalogue::MAX_DECODED`]).

pub mod abi;
pub mod answer;
pub mod artifact;
pub mod catalogue;
pub mod refusal;
pub mod words;

use alloy_primitives::{Address, B256, address, b256};

/// Where nodes of a network such as RBB's ask about transactions.
pub const ACCOUNT_INGRESS: Address = address!("0000000000000000000000000000000000008888");
/// Where nodes of a network such as RBB's ask about connections.
pub const NODE_INGRESS: Address = address!("0000000000000000000000000000000000009999");
/// Name under which an ingress keeps the rules: `"rules"`, padded with zeros.
pub const RULES: B256 = b256!("72756c6573000000000000000000000000000000000000000000000000000000");
/// Name under which an ingress keeps who may change it: `"administration"`, padded with zeros.
pub const ADMINISTRATION: B256 = b256!("61646d696e697374726174696f6e000000000000000000000000000000000000");
/// Answer of `connectionAllowed` that lets a connection be: 32 bytes ff.
pub const CONNECTION_ALLOWED: B256 = B256::repeat_byte(0xff);
