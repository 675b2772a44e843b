//! One branch of a trie with the extension in front of it, and how it is stored.

use std::cell::RefCell;

use alloy_primitives::{B256, keccak256};
use alloy_rlp::Encodable;
use alloy_trie::nodes::{BranchNodeRef, ExtensionNodeRef, RlpNode};
use alloy_trie::{Nibbles, TrieMask};

/// A branch node with at least two children.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Nibbles between the record's path and the branch.
    pub extension: Nibbles,
    /// Bit n: there is a child at nibble n.
    pub children: u16,
    /// Bit n: that child is a leaf.
    pub leaves: u16,
    /// References of the children in nibble order: the hash of a child's RLP, or the RLP itself when below 32 bytes.
    pub references: Vec<RlpNode>,
}

impl Record {
    /// The bytes stored.
    pub fn encode(&self) -> Vec<u8> {
        let references: usize = self.references.iter().map(|reference| reference.len()).sum();
        let packed = self.extension.len().div_ceil(2);
        let mut bytes = vec![0; 1 + packed];
        bytes.reserve_exact(4 + references);
        bytes[0] = self.extension.len() as u8;
        self.extension.pack_to(&mut bytes[1..]);
        bytes.extend_from_slice(&self.children.to_be_bytes());
        bytes.extend_from_slice(&self.leaves.to_be_bytes());
        for reference in &self.references {
            bytes.extend_from_slice(reference);
        }
        bytes
    }

    /// The record of stored bytes, or what is wrong with them.
    pub fn decode(bytes: &[u8]) -> Result<Record, String> {
        let short = || format!("branch record of {} bytes is cut short", bytes.len());
        let (&length, rest) = bytes.split_first().ok_or_else(short)?;
        if length > 64 {
            return Err(format!("extension of {length} nibbles, expected at most 64"));
        }
        let (packed, rest) = rest.split_at_checked(usize::from(length).div_ceil(2)).ok_or_else(short)?;
        let extension = unpack(packed, usize::from(length));
        let (children, rest) = rest.split_first_chunk::<2>().ok_or_else(short)?;
        let (leaves, mut rest) = rest.split_first_chunk::<2>().ok_or_else(short)?;
        let (children, leaves) = (u16::from_be_bytes(*children), u16::from_be_bytes(*leaves));
        if children.count_ones() < 2 || leaves & !children != 0 {
            return Err(format!("children mask {children:#06x} with leaf mask {leaves:#06x}"));
        }
        let mut references = Vec::with_capacity(children.count_ones() as usize);
        for _ in 0..children.count_ones() {
            // A reference says its own length: a 32-byte string (0xa0) or a short list (0xc0 + length).
            let length = match rest.first().ok_or_else(short)? {
                0xa0 => 33,
                list @ 0xc0..=0xde => usize::from(list - 0xc0) + 1,
                other => return Err(format!("child reference starts with {other:#04x}")),
            };
            let (reference, after) = rest.split_at_checked(length).ok_or_else(short)?;
            references.push(RlpNode::from_raw_rlp(reference).map_err(|error| error.to_string())?);
            rest = after;
        }
        if !rest.is_empty() {
            return Err(format!("{} bytes after the branch record", rest.len()));
        }
        Ok(Record { extension, children, leaves, references })
    }

    /// The reference at a nibble, and whether it is a leaf's.
    pub fn child(&self, nibble: u8) -> Option<(&RlpNode, bool)> {
        let bit = 1u16 << nibble;
        if self.children & bit == 0 {
            return None;
        }
        Some((&self.references[self.place(nibble)], self.leaves & bit != 0))
    }

    /// Bytes that the record takes in memory, about.
    pub fn memory(&self) -> usize {
        std::mem::size_of::<Record>() + self.references.len() * std::mem::size_of::<RlpNode>() + 32
    }

    /// The place of a child's reference in [`Record::references`].
    pub fn place(&self, nibble: u8) -> usize {
        (self.children & ((1 << nibble) - 1)).count_ones() as usize
    }

    fn branch(&self) -> BranchNodeRef<'_> {
        BranchNodeRef::new(&self.references, TrieMask::new(self.children))
    }

    /// RLP of the branch node, without the extension.
    pub fn branch_rlp(&self) -> Vec<u8> {
        alloy_rlp::encode(self.branch())
    }

    /// RLP of the extension node in front of the branch, if there is one.
    pub fn extension_rlp(&self) -> Option<Vec<u8>> {
        if self.extension.is_empty() {
            return None;
        }
        let branch = rlp_node(&self.branch());
        Some(alloy_rlp::encode(ExtensionNodeRef::new(&self.extension, &branch)))
    }

    /// What the parent refers to: the extension if there is one, else the branch.
    pub fn reference(&self) -> RlpNode {
        let branch = rlp_node(&self.branch());
        match self.extension.is_empty() {
            true => branch,
            false => rlp_node(&ExtensionNodeRef::new(&self.extension, &branch)),
        }
    }

    /// Hash of the record as the root of a trie, where even short RLP is hashed.
    pub fn root(&self) -> B256 {
        keccak256(self.extension_rlp().unwrap_or_else(|| self.branch_rlp()))
    }
}

thread_local! {
    /// Where nodes are encoded before they are hashed: one buffer a thread instead of one allocation a node.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(Vec::with_capacity(1024));
}

/// How a parent refers to a node: its hash, or its RLP when that is below 32 bytes.
pub(super) fn rlp_node(node: &dyn Encodable) -> RlpNode {
    SCRATCH.with_borrow_mut(|rlp| {
        rlp.clear();
        node.encode(rlp);
        RlpNode::from_rlp(rlp)
    })
}

/// The storage key of a path, at the end of `prefix` (the account's hash for a storage trie, nothing for the account trie).
pub fn encode_path(prefix: &[u8], path: &Nibbles) -> Vec<u8> {
    let mut key = Vec::with_capacity(prefix.len() + 1 + path.len().div_ceil(2));
    key.extend_from_slice(prefix);
    key.push(path.len() as u8);
    let start = key.len();
    key.resize(start + path.len().div_ceil(2), 0);
    path.pack_to(&mut key[start..]);
    key
}

/// The path of a storage key without its prefix, or `None` when it is none.
pub fn decode_path(key: &[u8]) -> Option<Nibbles> {
    let (&length, packed) = key.split_first()?;
    let length = usize::from(length);
    (length <= 64 && packed.len() == length.div_ceil(2)).then(|| unpack(packed, length))
}

fn unpack(packed: &[u8], length: usize) -> Nibbles {
    let mut nibbles = Nibbles::unpack(packed);
    nibbles.truncate(length);
    nibbles
}
