//! The new root of a trie after a set of changes, and the records that change with it. Nothing is written.

use std::borrow::Cow;

use alloy_primitives::{B256, keccak256};
use alloy_trie::nodes::{LeafNodeRef, RlpNode};
use alloy_trie::{EMPTY_ROOT_HASH, Nibbles};
use rayon::prelude::*;

use super::{Record, TrieRead};
use crate::kv::{StoreError, Table};

/// From this many changes below one branch its children are worked on in parallel. Below, handing work to another
/// thread costs more than the hashing it saves (about 2 µs a change).
const PARALLEL: usize = 96;

/// A leaf that an update sets or removes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafChange {
    /// The hashed key, 64 nibbles.
    pub key: Nibbles,
    /// The RLP that the leaf holds after the update, or `None` to remove it.
    pub value: Option<Vec<u8>>,
    /// Whether the trie had this leaf before the update.
    pub existed: bool,
}

/// What an update leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrieUpdate {
    /// The new root.
    pub root: B256,
    /// Records by path, each path once: the new bytes, or `None` where the record goes.
    pub records: Vec<(Nibbles, Option<Vec<u8>>)>,
}

type Records = Vec<(Nibbles, Option<Vec<u8>>)>;

/// Applies `changes` to the trie of `root` that `read` holds.
///
/// `changes` must be sorted by key and name each key once; a removal must name a leaf that existed, and `existed` must
/// be right, because a leaf's key is not in the records.
///
/// # Errors
/// What `read` says; [`StoreError::Corrupt`] when a record or a leaf's row is missing.
pub fn update(read: &dyn TrieRead, root: B256, changes: &[LeafChange]) -> Result<TrieUpdate, StoreError> {
    debug_assert!(changes.windows(2).all(|pair| pair[0].key < pair[1].key), "changes are sorted and unique");
    debug_assert!(changes.iter().all(|change| change.existed || change.value.is_some()), "removals name leaves");
    if changes.is_empty() {
        return Ok(TrieUpdate { root, records: Vec::new() });
    }
    let top = Nibbles::new();
    let mut records = Vec::with_capacity(changes.len() * 2);
    let walk = Walk { read };
    let (node, stored) = if root == EMPTY_ROOT_HASH {
        (build(top, &inserted(changes), &mut records), false)
    } else {
        match read.record(&top)? {
            Some(record) => (walk.branch(top, record, changes, &mut records)?, true),
            None => (walk.leaf(top, changes, &mut records)?, false),
        }
    };
    let root = match &node {
        Node::Empty => EMPTY_ROOT_HASH,
        Node::Leaf { key, value } => {
            let mut rlp = Vec::new();
            let _ = LeafNodeRef::new(key, value).rlp(&mut rlp);
            keccak256(&rlp)
        }
        Node::Branch(record) => record.root(),
    };
    match node {
        Node::Branch(record) => records.push((top, Some(record.encode()))),
        _ if stored => records.push((top, None)),
        _ => {}
    }
    Ok(TrieUpdate { root, records })
}

/// What is below a path after the update, not yet put in place: a parent that loses its other children takes it over.
enum Node<'a> {
    Empty,
    Leaf { key: Nibbles, value: Cow<'a, [u8]> },
    Branch(Record),
}

/// A child of a branch while the branch is worked on.
enum Child<'a> {
    None,
    Same(RlpNode, bool),
    /// The child's node, and whether a record is stored at its path.
    New(Node<'a>, bool),
}

/// Key and value of a leaf to build with.
type Entry<'a> = (Nibbles, Cow<'a, [u8]>);

struct Walk<'r> {
    read: &'r dyn TrieRead,
}

impl<'r> Walk<'r> {
    /// Changes at a place that holds one leaf.
    fn leaf<'a>(
        &self,
        path: Nibbles,
        changes: &'a [LeafChange],
        records: &mut Records,
    ) -> Result<Node<'a>, StoreError> {
        if let [LeafChange { key, value: Some(value), existed: true }] = changes {
            return Ok(Node::Leaf { key: *key, value: Cow::Borrowed(value) });
        }
        let mut entries = inserted(changes);
        if !changes.iter().any(|change| change.existed) {
            let (key, value) = self.stored_leaf(&path)?;
            let at = entries.partition_point(|(other, _)| *other < key);
            entries.insert(at, (key, Cow::Owned(value)));
        }
        Ok(build(path, &entries, records))
    }

    /// Changes at a place that holds a branch. Whether the record is stored there is the caller's to know and settle.
    fn branch<'a>(
        &self,
        path: Nibbles,
        record: Record,
        changes: &'a [LeafChange],
        records: &mut Records,
    ) -> Result<Node<'a>, StoreError> {
        let extension = record.extension;
        let base = path.len();
        let shared = match (changes.first(), changes.last()) {
            (Some(first), Some(last)) if !extension.is_empty() => {
                let along = |change: &LeafChange| change.key.slice(base..).common_prefix_length(&extension);
                along(first).min(along(last))
            }
            _ => extension.len(),
        };
        let mut children: [Child<'a>; 16] = std::array::from_fn(|_| Child::None);
        let mut start = path;
        start.extend(&extension.slice(..shared));
        let depth = start.len();
        let mut old = None;
        if shared < extension.len() {
            // A key leaves in the middle of the extension: a new branch there, the old one a nibble below it.
            let nibble = extension.get_unchecked(shared);
            let moved = Record { extension: extension.slice(shared + 1..), ..record };
            old = Some((nibble, moved));
        } else {
            for nibble in 0..16 {
                if let Some((reference, leaf)) = record.child(nibble) {
                    children[usize::from(nibble)] = Child::Same(reference.clone(), leaf);
                }
            }
        }
        let groups: Vec<&'a [LeafChange]> =
            changes.chunk_by(|a, b| a.key.get_unchecked(depth) == b.key.get_unchecked(depth)).collect();
        let work = |group: &'a [LeafChange]| -> Result<(Node<'a>, bool, Records), StoreError> {
            let nibble = group[0].key.get_unchecked(depth);
            let mut records = Vec::new();
            let mut below = start;
            below.push(nibble);
            let (node, stored) = match (&old, &children[usize::from(nibble)]) {
                (Some((at, moved)), _) if *at == nibble => {
                    (self.branch(below, moved.clone(), group, &mut records)?, false)
                }
                (_, Child::Same(_, true)) => (self.leaf(below, group, &mut records)?, false),
                (_, Child::Same(_, false)) => {
                    let record = self.stored_record(&below)?;
                    (self.branch(below, record, group, &mut records)?, true)
                }
                _ => (build(below, &inserted(group), &mut records), false),
            };
            Ok((node, stored, records))
        };
        let done: Vec<_> = if changes.len() >= PARALLEL && groups.len() > 1 {
            groups.par_iter().map(|group| work(group)).collect::<Result<_, _>>()?
        } else {
            groups.iter().map(|group| work(group)).collect::<Result<_, _>>()?
        };
        if let Some((nibble, moved)) = old {
            children[usize::from(nibble)] = Child::New(Node::Branch(moved), false);
        }
        for (group, (node, stored, more)) in groups.iter().zip(done) {
            records.extend(more);
            children[usize::from(group[0].key.get_unchecked(depth))] = Child::New(node, stored);
        }
        self.finish(path.len(), start, children, records)
    }

    /// The node of a branch at `start` whose record's path has `base` nibbles, from its children.
    fn finish<'a>(
        &self,
        base: usize,
        start: Nibbles,
        children: [Child<'a>; 16],
        records: &mut Records,
    ) -> Result<Node<'a>, StoreError> {
        let living = children.iter().filter(|child| !matches!(child, Child::None | Child::New(Node::Empty, _))).count();
        let mut record =
            Record { extension: start.slice(base..), children: 0, leaves: 0, references: Vec::with_capacity(living) };
        let mut only = (0, Node::Empty);
        for (nibble, child) in children.into_iter().enumerate() {
            let mut path = start;
            path.push(nibble as u8);
            let (reference, leaf) = match child {
                Child::None => continue,
                Child::Same(reference, leaf) if living > 1 => (reference, leaf),
                Child::Same(_, true) => {
                    let (key, value) = self.stored_leaf(&path)?;
                    only = (nibble, Node::Leaf { key, value: Cow::Owned(value) });
                    continue;
                }
                Child::Same(_, false) => {
                    let below = self.stored_record(&path)?;
                    records.push((path, None));
                    only = (nibble, Node::Branch(below));
                    continue;
                }
                Child::New(node, stored) => {
                    if stored && (living == 1 || !matches!(node, Node::Branch(_))) {
                        records.push((path, None));
                    }
                    match node {
                        Node::Empty => continue,
                        node if living == 1 => {
                            only = (nibble, node);
                            continue;
                        }
                        node => place(path, node, records),
                    }
                }
            };
            let bit = 1 << nibble;
            record.children |= bit;
            record.leaves |= if leaf { bit } else { 0 };
            record.references.push(reference);
        }
        if living > 1 {
            return Ok(Node::Branch(record));
        }
        let (nibble, mut node) = only;
        if let Node::Branch(below) = &mut node {
            // The surviving branch moves up: our extension and the nibble that led to it come in front of its own.
            let mut extension = record.extension;
            extension.push(nibble as u8);
            extension.extend(&below.extension);
            below.extension = extension;
        }
        Ok(node)
    }

    fn stored_record(&self, path: &Nibbles) -> Result<Record, StoreError> {
        self.read.record(path)?.ok_or_else(|| missing("branch record", path))
    }

    fn stored_leaf(&self, path: &Nibbles) -> Result<(Nibbles, Vec<u8>), StoreError> {
        match self.read.leaf(path)? {
            Some((key, value)) if key.starts_with(path) => Ok((key, value)),
            _ => Err(missing("row of the leaf", path)),
        }
    }
}

/// The leaves that `changes` set.
fn inserted(changes: &[LeafChange]) -> Vec<Entry<'_>> {
    changes.iter().filter_map(|change| Some((change.key, Cow::Borrowed(change.value.as_deref()?)))).collect()
}

/// A new subtree at `path` from its leaves, sorted by key.
fn build<'a>(path: Nibbles, entries: &[Entry<'a>], records: &mut Records) -> Node<'a> {
    let ([(first, value), ..], Some((last, _))) = (entries, entries.last()) else { return Node::Empty };
    if entries.len() == 1 {
        return Node::Leaf { key: *first, value: value.clone() };
    }
    let depth = first.common_prefix_length(last);
    let mut record =
        Record { extension: first.slice(path.len()..depth), children: 0, leaves: 0, references: Vec::new() };
    for group in entries.chunk_by(|(a, _), (b, _)| a.get_unchecked(depth) == b.get_unchecked(depth)) {
        let nibble = group[0].0.get_unchecked(depth);
        let below = first.slice(..depth).join(&Nibbles::from_nibbles([nibble]));
        let node = build(below, group, records);
        let (reference, leaf) = place(below, node, records);
        record.children |= 1 << nibble;
        record.leaves |= u16::from(leaf) << nibble;
        record.references.push(reference);
    }
    Node::Branch(record)
}

/// Puts a node where it stays: its reference for the parent, and whether it is a leaf.
fn place(path: Nibbles, node: Node<'_>, records: &mut Records) -> (RlpNode, bool) {
    match node {
        Node::Empty => (RlpNode::default(), false),
        Node::Leaf { key, value } => {
            let mut rlp = Vec::with_capacity(160);
            (LeafNodeRef::new(&key.slice(path.len()..), &value).rlp(&mut rlp), true)
        }
        Node::Branch(record) => {
            records.push((path, Some(record.encode())));
            (record.reference(), false)
        }
    }
}

fn missing(what: &str, path: &Nibbles) -> StoreError {
    StoreError::corrupt(Table::AccountTrie, format!("{what} at path {path:?} is missing"))
}
