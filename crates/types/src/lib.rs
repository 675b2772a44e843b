//! The nouns of the network: header, extra data, block, consensus messages, validator set, keys, enode, role,
//! topology, genesis. Everything here is a value; nothing waits, asks for the time or touches a file.

pub mod block;
pub mod checkpoint;
pub mod crypto;
pub mod enode;
pub mod eth;
pub mod extra;
pub mod fees;
pub mod fork;
pub mod fork_id;
pub mod genesis;
pub mod goquorum;
pub mod header;
pub mod journal;
pub mod members;
pub mod message;
#[doc(hidden)]
pub mod planted;
pub mod role;
pub mod seals;
pub mod sizes;
pub mod spec;
pub mod topology;
pub mod transaction;
pub mod transition;
pub mod utc;
pub mod validators;
pub mod work;

pub use alloy_primitives::{Address, B256, B512, Bloom, Bytes, U256};
pub use block::{Block, Body, SealedBlock, Transaction, Withdrawal};
pub use checkpoint::Checkpoint;
pub use crypto::{NodeId, NodeKey, Signature65};
pub use enode::Enode;
pub use extra::{ExtraData, Vote};
pub use header::Header;
pub use message::{Dialect, Kind, Message};
pub use role::Role;
pub use topology::Topology;
pub use validators::ValidatorSet;
pub use work::keccak256;
