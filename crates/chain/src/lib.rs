//! The ledger: state, execution, checking and import of blocks over a key-value store.

pub mod kv;
pub mod state;
pub mod trie;
