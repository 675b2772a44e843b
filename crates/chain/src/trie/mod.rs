//! The Merkle Patricia trie as path-keyed branch records.
