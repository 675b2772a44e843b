//! The new root of a trie after a set of changes, and the records that change with it. Nothing is written.

use std::borrow::Cow;
use std::sync::Arc;

use alloy_primitives::{B256, keccak256};
use alloy_trie::nodes::{LeafNodeRef, RlpNode};
use alloy_trie::{EMPTY_ROOT_HASH, Nibbles};
use rayon::prelude::*;

use super::record::rlp_node;
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
    /// Records by path, each path once: the new record, or `None` where the record goes.
    pub records: Vec<(Nibbles, Option<Arc<Record>>)>,
}

type Records = Vec<(Nibbles, Option<Arc<Record>>)>;

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
            Some(record) => (walk.branch(top, &record, changes, &mut records)?, true),
            None => (walk.only_leaf(root, changes, &mut records)?, false),
        }
    };
    let root = match &node {
        Node::Empty => EMPTY_ROOT_HASH,
        Node::Leaf { key, value } => keccak256(alloy_rlp::encode(LeafNodeRef::new(key, value))),
        Node::Branch(record) => record.root(),
    };
    match node {
        Node::Branch(record) => records.push((top, Some(Arc::new(record)))),
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

/// What the changes below one nibble of a branch lead to.
struct Changed<'a> {
    nibble: u8,
    node: Node<'a>,
    /// Whether a record is stored at the child's path.
    stored: bool,
}

impl Changed<'_> {
    /// Whether there was a child and there still is.
    fn stays(&self, record: &Record) -> bool {
        record.children & (1 << self.nibble) != 0 && !matches!(self.node, Node::Empty)
    }
}

/// Key and value of a leaf to build with.
type Entry<'a> = (Nibbles, Cow<'a, [u8]>);

struct Walk<'r> {
    read: &'r dyn TrieRead,
}

impl<'r> Walk<'r> {
    /// Changes at a place that holds one leaf.
    fn leaf<'a>(&self, path: Nibbles, changes: &'a [LeafChange], records: &mut Records) -> Result<Node<'a>, StoreError> {
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

    /// Changes in a trie without a record at its root: one of a single leaf, or a damaged one, of which no root must come.
    fn only_leaf<'a>(&self, root: B256, changes: &'a [LeafChange], records: &mut Records) -> Result<Node<'a>, StoreError> {
        let top = Nibbles::new();
        if !changes.iter().any(|change| change.existed) {
            let (key, value) = self.stored_leaf(&top)?;
            if keccak256(alloy_rlp::encode(LeafNodeRef::new(&key, &value))) != root {
                return Err(missing("branch record", &top));
            }
        }
        self.leaf(top, changes, records)
    }

    /// Changes at a place that holds a branch. Whether the record is stored there is the caller's to know and settle.
    fn branch<'a>(
        &self,
        path: Nibbles,
        record: &Record,
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
        let mut start = path;
        start.extend(&extension.slice(..shared));
        let depth = start.len();
        // A key leaves in the middle of the extension: a new branch there, the old one a nibble below it.
        let moved = (shared < extension.len()).then(|| {
            let rest = Record { extension: extension.slice(shared + 1..), ..record.clone() };
            (extension.get_unchecked(shared), rest)
        });
        let work = |group: &'a [LeafChange], records: &mut Records| -> Result<Changed<'a>, StoreError> {
            let nibble = group[0].key.get_unchecked(depth);
            let mut below = start;
            below.push(nibble);
            let (node, stored) = match &moved {
                Some((at, rest)) if *at == nibble => (self.branch(below, rest, group, records)?, false),
                Some(_) => (build(below, &inserted(group), records), false),
                None => match record.child(nibble) {
                    Some((_, true)) => (self.leaf(below, group, records)?, false),
                    Some((_, false)) => {
                        let record = self.stored_record(&below)?;
                        (self.branch(below, &record, group, records)?, true)
                    }
                    None => (build(below, &inserted(group), records), false),
                },
            };
            Ok(Changed { nibble, node, stored })
        };
        let groups = changes.chunk_by(|a, b| a.key.get_unchecked(depth) == b.key.get_unchecked(depth));
        let done: Vec<Changed<'a>> = if changes.len() >= PARALLEL {
            let groups: Vec<_> = groups.collect();
            let apart = |group: &&'a [LeafChange]| {
                let mut records = Vec::with_capacity(group.len() * 2);
                work(group, &mut records).map(|changed| (changed, records))
            };
            let done: Vec<_> = groups.par_iter().map(apart).collect::<Result<_, _>>()?;
            done.into_iter()
                .map(|(changed, more)| {
                    records.extend(more);
                    changed
                })
                .collect()
        } else {
            groups.map(|group| work(group, records)).collect::<Result<_, _>>()?
        };

        if moved.is_none() && done.iter().all(|change| change.stays(record)) {
            // The usual case: the same children, some with new references.
            let mut record = record.clone();
            for Changed { nibble, node, stored } in done {
                let mut below = start;
                below.push(nibble);
                if stored && !matches!(node, Node::Branch(_)) {
                    records.push((below, None));
                }
                let (reference, leaf) = place(below, node, records);
                let bit = 1 << nibble;
                record.leaves = if leaf { record.leaves | bit } else { record.leaves & !bit };
                let at = record.place(nibble);
                record.references[at] = reference;
            }
            return Ok(Node::Branch(record));
        }
        let mut children: [Child<'a>; 16] = std::array::from_fn(|_| Child::None);
        match moved {
            Some((nibble, rest)) => children[usize::from(nibble)] = Child::New(Node::Branch(rest), false),
            None => {
                for nibble in 0..16 {
                    if let Some((reference, leaf)) = record.child(nibble) {
                        children[usize::from(nibble)] = Child::Same(reference.clone(), leaf);
                    }
                }
            }
        }
        for Changed { nibble, node, stored } in done {
            children[usize::from(nibble)] = Child::New(node, stored);
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
        let mut record = Record { extension: start.slice(base..), children: 0, leaves: 0, references: Vec::with_capacity(living) };
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
                    only = (nibble, Node::Branch(Arc::unwrap_or_clone(below)));
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

    fn stored_record(&self, path: &Nibbles) -> Result<Arc<Record>, StoreError> {
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
    let mut record = Record { extension: first.slice(path.len()..depth), children: 0, leaves: 0, references: Vec::new() };
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
        Node::Leaf { key, value } => (rlp_node(&LeafNodeRef::new(&key.slice(path.len()..), &value)), true),
        Node::Branch(record) => {
            let reference = record.reference();
            records.push((path, Some(Arc::new(record))));
            (reference, false)
        }
    }
}

fn missing(what: &str, path: &Nibbles) -> StoreError {
    StoreError::corrupt(Table::AccountTrie, format!("{what} at path {path:?} is missing"))
}
