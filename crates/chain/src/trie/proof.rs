//! Proofs: the nodes from the root towards a key.

use alloy_primitives::{B256, Bytes};
use alloy_rlp::Encodable;
use alloy_trie::nodes::LeafNodeRef;
use alloy_trie::{EMPTY_ROOT_HASH, Nibbles};

use super::TrieRead;
use crate::kv::StoreError;

/// RLP of the nodes from the root of `read` towards `key`, for a proof that the key is there or is not. Nodes below 32
/// bytes are inside their parent and not listed, except the root. The empty trie has no nodes.
///
/// # Errors
/// What `read` says.
pub fn prove(read: &dyn TrieRead, root: B256, key: &Nibbles) -> Result<Vec<Bytes>, StoreError> {
    let mut nodes = Vec::new();
    if root == EMPTY_ROOT_HASH {
        return Ok(nodes);
    }
    let mut path = Nibbles::new();
    loop {
        let Some(record) = read.record(&path)? else {
            // Only the root can be without a record here: a trie of one leaf.
            add_leaf(read, &path, &mut nodes)?;
            return Ok(nodes);
        };
        if let Some(extension) = record.extension_rlp() {
            add(extension, &mut nodes);
        }
        let rest = key.slice(path.len()..);
        if !rest.starts_with(&record.extension) {
            return Ok(nodes);
        }
        add(record.branch_rlp(), &mut nodes);
        path.extend(&record.extension);
        let Some(nibble) = key.get(path.len()) else { return Ok(nodes) };
        path.push(nibble);
        match record.child(nibble) {
            None => return Ok(nodes),
            Some((_, true)) => {
                add_leaf(read, &path, &mut nodes)?;
                return Ok(nodes);
            }
            Some((_, false)) => {}
        }
    }
}

fn add(rlp: Vec<u8>, nodes: &mut Vec<Bytes>) {
    if rlp.len() >= 32 || nodes.is_empty() {
        nodes.push(rlp.into());
    }
}

fn add_leaf(read: &dyn TrieRead, path: &Nibbles, nodes: &mut Vec<Bytes>) -> Result<(), StoreError> {
    if let Some((key, value)) = read.leaf(path)?
        && key.starts_with(path)
    {
        let mut rlp = Vec::new();
        LeafNodeRef::new(&key.slice(path.len()..), &value).encode(&mut rlp);
        add(rlp, nodes);
    }
    Ok(())
}
