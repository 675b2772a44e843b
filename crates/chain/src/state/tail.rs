//! The changes of the newest blocks: logged with each block, settled into the tables every few blocks.

use std::collections::BTreeMap;
use std::sync::Arc;

use alloy_primitives::{B256, U256};

use super::prepare::Prepared;
use super::rows::{AccountRow, decode_value, encode_value};
use crate::kv::{StoreError, Table};
use crate::trie::EMPTY_ROOT_HASH;

/// A value that a block replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change<V> {
    pub key: B256,
    pub old: V,
    pub new: V,
}

/// What one block changed. Everything is sorted by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct BlockDiff {
    pub number: u64,
    pub accounts: Vec<Change<Option<AccountRow>>>,
    /// By the storage's key.
    pub storage: Vec<(B256, Vec<Change<U256>>)>,
}

fn find<'a, V>(changes: &'a [Change<V>], key: &B256) -> Option<&'a Change<V>> {
    changes.binary_search_by(|change| change.key.cmp(key)).ok().map(|at| &changes[at])
}

impl BlockDiff {
    pub fn new(number: u64, prepared: &Prepared) -> BlockDiff {
        let mut diff = BlockDiff { number, accounts: Vec::with_capacity(prepared.accounts.len()), storage: Vec::new() };
        for write in &prepared.accounts {
            if write.old != write.new {
                diff.accounts.push(Change { key: write.key, old: write.old, new: write.new });
            }
            if let Some(storage) = write.new.and_then(|row| row.storage(&write.key))
                && !write.slots.is_empty()
            {
                let slots = write.slots.iter().map(|slot| Change { key: slot.key, old: slot.old, new: slot.new });
                diff.storage.push((storage, slots.collect()));
            }
        }
        diff.storage.sort_unstable_by_key(|(storage, _)| *storage);
        diff
    }

    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty() && self.storage.is_empty()
    }

    /// Bytes in memory, about.
    pub fn memory(&self) -> usize {
        let slots: usize = self.storage.iter().map(|(_, slots)| slots.len()).sum();
        128 + self.accounts.len() * size_of::<Change<Option<AccountRow>>>()
            + self.storage.len() * 64
            + slots * size_of::<Change<U256>>()
    }

    pub fn account(&self, key: &B256) -> Option<&Change<Option<AccountRow>>> {
        find(&self.accounts, key)
    }

    /// Changed slots of one storage.
    pub fn slots(&self, storage: &B256) -> &[Change<U256>] {
        match self.storage.binary_search_by(|(other, _)| other.cmp(storage)) {
            Ok(at) => &self.storage[at].1,
            Err(_) => &[],
        }
    }

    /// The root of a storage after the block, from the root before it. `change` is the block's of the storage's account.
    pub fn storage_root(&self, storage: &B256, change: &Change<Option<AccountRow>>, before: B256) -> B256 {
        match &change.new {
            Some(row) if row.storage(&change.key) == Some(*storage) => row.storage_root,
            // The account lost it, and it stays as it was. Blocks from before storages had numbers list all its slots: they went.
            _ if self.slots(storage).is_empty() => before,
            _ => EMPTY_ROOT_HASH,
        }
    }

    /// The row of [`Table::Changes`]:
    /// `count (4) ‖ (key ‖ old ‖ new)… ‖ (storage ‖ count (4) ‖ (key ‖ old ‖ new)…)…`, each value after its length (1).
    pub fn encode(&self) -> Vec<u8> {
        fn value(row: &mut Vec<u8>, value: &[u8]) {
            row.push(value.len() as u8);
            row.extend_from_slice(value);
        }
        let mut row = Vec::with_capacity(8 + self.memory() / 2);
        row.extend_from_slice(&(self.accounts.len() as u32).to_be_bytes());
        for change in &self.accounts {
            row.extend_from_slice(change.key.as_slice());
            value(&mut row, &encode_account(&change.old));
            value(&mut row, &encode_account(&change.new));
        }
        for (owner, slots) in &self.storage {
            row.extend_from_slice(owner.as_slice());
            row.extend_from_slice(&(slots.len() as u32).to_be_bytes());
            for change in slots {
                row.extend_from_slice(change.key.as_slice());
                value(&mut row, &encode_value(change.old));
                value(&mut row, &encode_value(change.new));
            }
        }
        row
    }

    pub fn decode(number: u64, row: &[u8]) -> Result<BlockDiff, StoreError> {
        let mut reader = Reader { rest: row };
        let mut diff = BlockDiff { number, ..BlockDiff::default() };
        for _ in 0..reader.count()? {
            let key = reader.key()?;
            let (old, new) = (decode_account(reader.value()?)?, decode_account(reader.value()?)?);
            diff.accounts.push(Change { key, old, new });
        }
        while !reader.rest.is_empty() {
            let owner = reader.key()?;
            let mut slots = Vec::new();
            for _ in 0..reader.count()? {
                let key = reader.key()?;
                let old = decode_value(Table::Changes, reader.value()?)?;
                let new = decode_value(Table::Changes, reader.value()?)?;
                slots.push(Change { key, old, new });
            }
            diff.storage.push((owner, slots));
        }
        Ok(diff)
    }
}

/// An account row, or nothing for no account.
pub(super) fn encode_account(row: &Option<AccountRow>) -> Vec<u8> {
    row.map(|row| row.encode()).unwrap_or_default()
}

fn decode_account(bytes: &[u8]) -> Result<Option<AccountRow>, StoreError> {
    if bytes.is_empty() { Ok(None) } else { AccountRow::decode(Table::Changes, bytes).map(Some) }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], StoreError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or_else(|| StoreError::corrupt(Table::Changes, "changes of a block are cut short"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn key(&mut self) -> Result<B256, StoreError> {
        Ok(B256::from_slice(self.take(32)?))
    }

    fn count(&mut self) -> Result<usize, StoreError> {
        Ok(self.take(4)?.iter().fold(0, |count, byte| count << 8 | usize::from(*byte)))
    }

    fn value(&mut self) -> Result<&'a [u8], StoreError> {
        let length = usize::from(self.take(1)?[0]);
        self.take(length)
    }
}

/// The blocks after the settled one that changed something, oldest first. Never changed in place: views share it.
#[derive(Clone, Default)]
pub(super) struct Tail {
    pub blocks: Vec<Arc<BlockDiff>>,
    /// Bytes in memory, about.
    pub memory: usize,
}

impl Tail {
    /// This and one more block.
    pub fn with(&self, diff: Arc<BlockDiff>) -> Tail {
        let mut blocks = Vec::with_capacity(self.blocks.len() + 1);
        blocks.extend_from_slice(&self.blocks);
        let memory = self.memory + diff.memory();
        if !diff.is_empty() {
            blocks.push(diff);
        }
        Tail { blocks, memory }
    }

    /// The blocks above `number`.
    pub fn after(&self, number: u64) -> Tail {
        let blocks: Vec<_> = self.blocks.iter().filter(|diff| diff.number > number).cloned().collect();
        let memory = blocks.iter().map(|diff| diff.memory()).sum();
        Tail { blocks, memory }
    }

    /// Blocks up to `number`, newest first.
    fn until(&self, number: u64) -> impl Iterator<Item = &Arc<BlockDiff>> {
        self.blocks.iter().rev().skip_while(move |diff| diff.number > number)
    }

    /// The account after block `number`, if the tail changed it; `settled` is the block before the tail. What only later blocks
    /// changed is known by its value before: the tables may already be ahead of the tail.
    pub fn account(&self, key: &B256, number: u64, settled: u64) -> Option<Option<AccountRow>> {
        let upto = self.until(number).find_map(|diff| diff.account(key)).map(|change| change.new);
        upto.or_else(|| self.first(number, settled, |diff| diff.account(key)))
    }

    /// The slot after block `number`, likewise.
    pub fn slot(&self, owner: &B256, key: &B256, number: u64, settled: u64) -> Option<U256> {
        let upto = self.until(number).find_map(|diff| find(diff.slots(owner), key)).map(|change| change.new);
        upto.or_else(|| self.first(number, settled, |diff| find(diff.slots(owner), key)))
    }

    /// The value before the first change, where the height asked is one of the tail's or the one before it.
    fn first<'a, V: Copy + 'a>(
        &'a self,
        number: u64,
        settled: u64,
        change: impl Fn(&'a BlockDiff) -> Option<&'a Change<V>>,
    ) -> Option<V> {
        let newest = self.blocks.last()?.number;
        if number < settled || number >= newest {
            return None;
        }
        self.blocks.iter().find_map(|diff| change(diff)).map(|change| change.old)
    }

    /// Accounts that the tail changed: value before, value after. From `lowest` on, while `within`.
    pub fn accounts(
        &self,
        lowest: &B256,
        within: impl Fn(&B256) -> bool,
    ) -> BTreeMap<B256, (Option<AccountRow>, Option<AccountRow>)> {
        spanned(self.blocks.iter().map(|diff| &diff.accounts[..]), lowest, within)
    }

    /// The same for the slots of one storage.
    pub fn slots(&self, owner: &B256, lowest: &B256, within: impl Fn(&B256) -> bool) -> BTreeMap<B256, (U256, U256)> {
        spanned(self.blocks.iter().map(|diff| diff.slots(owner)), lowest, within)
    }

    /// Roots of the storages that the tail's accounts had: before its first block, and after its last block or, of those that an
    /// account lost, when it lost them.
    pub fn storage_roots(&self) -> BTreeMap<B256, (B256, B256)> {
        let mut roots = BTreeMap::new();
        for diff in &self.blocks {
            for change in &diff.accounts {
                let storage = |row: Option<AccountRow>| row.and_then(|row| row.storage(&change.key));
                let before = change.old.map_or(EMPTY_ROOT_HASH, |row| row.storage_root);
                let (old, new) = (storage(change.old), storage(change.new));
                if let Some(old) = old {
                    let (_, root) = roots.entry(old).or_insert((before, before));
                    *root = diff.storage_root(&old, change, *root);
                }
                if let Some(new) = new.filter(|new| old != Some(*new)) {
                    let (_, root) = roots.entry(new).or_insert((EMPTY_ROOT_HASH, EMPTY_ROOT_HASH));
                    *root = diff.storage_root(&new, change, *root);
                }
            }
        }
        roots
    }
}

fn spanned<'a, V: Copy + 'a>(
    blocks: impl Iterator<Item = &'a [Change<V>]>,
    lowest: &B256,
    within: impl Fn(&B256) -> bool,
) -> BTreeMap<B256, (V, V)> {
    let mut spans = BTreeMap::new();
    for changes in blocks {
        let start = changes.partition_point(|change| change.key < *lowest);
        for change in changes[start..].iter().take_while(|change| within(&change.key)) {
            spans.entry(change.key).and_modify(|(_, new)| *new = change.new).or_insert((change.old, change.new));
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::super::Account;
    use super::*;

    fn key(n: u8) -> B256 {
        B256::repeat_byte(n)
    }

    fn row(nonce: u64) -> Option<AccountRow> {
        Some(AccountRow { account: Account { nonce, ..Account::default() }, storage_root: key(9), incarnation: Some(1) })
    }

    fn diff(number: u64, from: u64) -> BlockDiff {
        let slot = |n: u8, old: u64| Change { key: key(n), old: U256::from(old), new: U256::from(old + 1) };
        BlockDiff {
            number,
            accounts: vec![
                Change { key: key(1), old: (from > 0).then(|| row(from)).flatten(), new: row(from + 1) },
                Change { key: key(3), old: row(7), new: None },
            ],
            storage: vec![(key(1), vec![slot(4, from), slot(5, 0)]), (key(2), vec![slot(4, 300)])],
        }
    }

    #[test]
    fn diffs_survive_their_encoding_and_cut_ones_are_refused() {
        for diff in [diff(7, 0), diff(7, 5), BlockDiff { number: 7, ..BlockDiff::default() }] {
            let bytes = diff.encode();
            assert_eq!(BlockDiff::decode(7, &bytes).expect("decodes"), diff);
            for cut in 0..bytes.len() {
                assert_ne!(BlockDiff::decode(7, &bytes[..cut]).ok().as_ref(), Some(&diff), "cut at {cut}");
            }
        }
    }

    #[test]
    fn the_newest_change_up_to_a_height_counts() {
        let tail = Tail::default().with(diff(5, 0).into()).with(diff(8, 1).into());
        assert_eq!(tail.account(&key(1), 4, 5), None, "before what is settled the history knows");
        assert_eq!(tail.account(&key(1), 4, 4), Some(None), "what the tables had");
        assert_eq!(tail.account(&key(1), 7, 4), Some(row(1)));
        assert_eq!(tail.account(&key(1), 8, 4), Some(row(2)));
        assert_eq!(tail.account(&key(3), 8, 4), Some(None));
        assert_eq!(tail.account(&key(2), 8, 4), None);
        assert_eq!(tail.slot(&key(1), &key(4), 9, 4), Some(U256::from(2)));
        assert_eq!(tail.slot(&key(1), &key(4), 4, 4), Some(U256::ZERO));
        assert_eq!(tail.slot(&key(1), &key(6), 9, 4), None);
        let later = tail.after(5);
        assert_eq!((later.blocks.len(), later.memory), (1, diff(8, 1).memory()));
        assert_eq!(later.account(&key(1), 5, 5), Some(row(1)));
        assert_eq!(tail.slots(&key(1), &key(0), |_| true)[&key(4)], (U256::ZERO, U256::from(2)));
        assert_eq!(tail.accounts(&key(2), |_| true).keys().copied().collect::<Vec<_>>(), [key(3)]);
        assert!(tail.accounts(&key(1), |_| false).is_empty());
    }
}
