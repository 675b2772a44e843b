//! The Merkle Patricia trie (Yellow Paper, appendix D) as path-keyed branch records.
//!
//! One record per branch node, under the path where its parent points: the extension in front of the branch is folded
//! in, and every child's reference is kept, so that hashing a branch again reads nothing below it. Leaves have no
//! record: they are rebuilt from the flat rows, and only where a leaf moves is such a row read. A trie of one leaf has
//! no record at all. Keys have 64 nibbles (keccak of an address or slot), so branches have no value of their own.
//!
//! ```text
//! key   = path length ‖ path, two nibbles a byte
//! value = extension length ‖ extension ‖ children mask (2) ‖ leaf mask (2) ‖ references in nibble order
//! ```

mod proof;
mod record;
mod update;

#[cfg(test)]
mod tests;

pub use proof::prove;
pub use record::{Record, decode_path, encode_path};
pub use update::{LeafChange, TrieUpdate, update};

use std::sync::Arc;

use alloy_primitives::B256;
pub use alloy_trie::{EMPTY_ROOT_HASH, Nibbles};

use crate::kv::StoreError;

/// A trie that is stored: its branch records and, for leaves, its flat rows.
pub trait TrieRead: Sync {
    /// The branch record at a path, or `None` when no branch starts there.
    fn record(&self, path: &Nibbles) -> Result<Option<Arc<Record>>, StoreError>;

    /// Key and leaf value (the RLP inside the leaf) of the first leaf at or below a path. Asked only where the trie has
    /// exactly one leaf there that no change of the running update names.
    fn leaf(&self, path: &Nibbles) -> Result<Option<(Nibbles, Vec<u8>)>, StoreError>;
}

/// The 64 nibbles of a hashed key.
pub fn key_path(hash: &B256) -> Nibbles {
    Nibbles::unpack_array(&hash.0)
}

/// The hashed key of a path of 64 nibbles.
pub fn path_key(path: &Nibbles) -> B256 {
    let mut key = B256::ZERO;
    path.pack_to(&mut key.0);
    key
}

/// The smallest hashed key at or below a path.
pub fn lowest_key(path: &Nibbles) -> B256 {
    let mut key = B256::ZERO;
    path.pack_to(&mut key.0[..path.len().div_ceil(2)]);
    key
}
