//! Proofs: the nodes from the root towards a key.

use alloy_primitives::{B256, Bytes, keccak256};
use alloy_trie::nodes::{LeafNodeRef, RlpNode};
use alloy_trie::{EMPTY_ROOT_HASH, Nibbles};

use super::TrieRead;
use crate::kv::{StoreError, Table};

/// RLP of the nodes from the root of `read` towards `key`, for a proof that the key is there or is not. Nodes below 32
/// bytes are inside their parent and not listed, except the root. The empty trie has no nodes.
///
/// # Errors
/// What `read` says; [`StoreError::Corrupt`] when a record or a row is missing, or is not the one that its parent, or `root`, refers to.
pub fn prove(read: &dyn TrieRead, root: B256, key: &Nibbles) -> Result<Vec<Bytes>, StoreError> {
    if root == EMPTY_ROOT_HASH {
        return Ok(Vec::new());
    }
    let mut path = Nibbles::new();
    let mut nodes = Nodes { list: Vec::new(), expected: RlpNode::word_rlp(&root) };
    let Some(mut record) = read.record(&path)? else {
        // Only a trie of one leaf has no record at its root.
        nodes.add(&path, leaf_rlp(read, &path)?)?;
        return Ok(nodes.list);
    };
    loop {
        let rest = key.slice(path.len()..);
        if let Some(extension) = record.extension_rlp() {
            nodes.add(&path, extension)?;
            nodes.expected = RlpNode::from_rlp(&record.branch_rlp());
        }
        if !rest.starts_with(&record.extension) {
            return Ok(nodes.list);
        }
        nodes.add(&path, record.branch_rlp())?;
        path.extend(&record.extension);
        let Some(nibble) = key.get(path.len()) else { return Ok(nodes.list) };
        path.push(nibble);
        let Some((reference, leaf)) = record.child(nibble) else { return Ok(nodes.list) };
        nodes.expected = reference.clone();
        if leaf {
            nodes.add(&path, leaf_rlp(read, &path)?)?;
            return Ok(nodes.list);
        }
        record = read.record(&path)?.ok_or_else(|| corrupt(&path, "the branch record is missing"))?;
    }
}

/// The proof so far, and how the next node is referred to.
struct Nodes {
    list: Vec<Bytes>,
    expected: RlpNode,
}

impl Nodes {
    /// Lists a node, or not when it is inside its parent. The root is referred to by its hash, however short it is.
    fn add(&mut self, path: &Nibbles, rlp: Vec<u8>) -> Result<(), StoreError> {
        let reference = match self.list.is_empty() {
            true => RlpNode::word_rlp(&keccak256(&rlp)),
            false => RlpNode::from_rlp(&rlp),
        };
        if reference != self.expected {
            return Err(corrupt(path, "what is stored there is not what its parent refers to"));
        }
        if rlp.len() >= 32 || self.list.is_empty() {
            self.list.push(rlp.into());
        }
        Ok(())
    }
}

fn leaf_rlp(read: &dyn TrieRead, path: &Nibbles) -> Result<Vec<u8>, StoreError> {
    let leaf = read.leaf(path)?.filter(|(key, _)| key.starts_with(path));
    let (key, value) = leaf.ok_or_else(|| corrupt(path, "neither a branch record nor a leaf's row is there"))?;
    Ok(alloy_rlp::encode(LeafNodeRef::new(&key.slice(path.len()..), &value)))
}

fn corrupt(path: &Nibbles, problem: &str) -> StoreError {
    StoreError::corrupt(Table::AccountTrie, format!("trie at path {path:?}: {problem}"))
}
