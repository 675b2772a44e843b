//! The root that a block's changes lead to, and all rows that change with it. Nothing is written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use alloy_primitives::{Address, B256, U256};
use rayon::prelude::*;
use revm::bytecode::Bytecode;

use super::rows::{AccountRow, slot_key, slot_leaf};
use super::view::{RecordKey, RecordMap, TrieView, record_memory};
use super::{AccountChange, State, StateAt, StateChanges, StateError};
use crate::kv::StoreError;
use crate::trie::{EMPTY_ROOT_HASH, LeafChange, Nibbles, Record, TrieRead, key_path, update};

/// From this many changed accounts and slots the accounts are worked on in parallel.
const PARALLEL: usize = 64;

/// Changes whose root is known and that are not written yet. Dropping it undoes everything.
pub struct Prepared {
    /// Version of the head it was made on.
    pub(super) base: u64,
    pub(super) root: B256,
    /// Sorted by key.
    pub(super) accounts: Vec<AccountWrite>,
    /// Accounts that lost storage from before the block.
    pub(super) wiped: BTreeSet<Address>,
    pub(super) codes: Vec<(B256, Bytecode)>,
    /// Changed branch records of all tries, each once.
    pub(super) records: Vec<(RecordKey, Option<Arc<Record>>)>,
    /// What they take in memory, about.
    pub(super) record_bytes: usize,
}

/// One account and its slots that change.
pub(super) struct AccountWrite {
    pub address: Address,
    pub key: B256,
    pub old: Option<AccountRow>,
    pub new: Option<AccountRow>,
    /// Sorted by key.
    pub slots: Vec<SlotWrite>,
}

/// One slot that changes.
pub(super) struct SlotWrite {
    /// The slot, or `None` when only its key is known (storage that was wiped without the block naming its slots).
    pub slot: Option<U256>,
    pub key: B256,
    pub old: U256,
    pub new: U256,
}

impl Prepared {
    /// State root after the changes.
    pub fn root(&self) -> B256 {
        self.root
    }

    /// Accounts and slots that change.
    pub fn len(&self) -> usize {
        self.accounts.iter().map(|write| 1 + write.slots.len()).sum()
    }

    /// Bytes that the changes take in memory until they are settled, about.
    pub(super) fn memory(&self) -> usize {
        self.record_bytes + self.len() * 160
    }

    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty()
    }
}

type Records = Vec<(Nibbles, Option<Arc<Record>>)>;

/// What one account's changes lead to.
struct Work {
    write: AccountWrite,
    wiped: bool,
    records: Records,
}

impl State {
    /// Computes the root that `changes` on the head lead to, writing nothing.
    ///
    /// # Errors
    /// What the store says; [`StoreError::Corrupt`] when a branch record or a row is missing.
    pub fn prepare(&self, changes: &StateChanges) -> Result<Prepared, StateError> {
        let head = self.head();
        let unwritten = self.shared.unwritten.read_recursive();
        let unwritten = &unwritten.records;
        let list: Vec<(&Address, &AccountChange)> = changes.accounts.iter().collect();
        let size = list.len() + list.iter().map(|(_, change)| change.slots.len()).sum::<usize>();
        let one = |(address, change): &(&Address, &AccountChange)| {
            account_work(&head, unwritten, **address, change).transpose()
        };
        let mut works: Vec<Work> = if size >= PARALLEL {
            list.par_iter().with_min_len(8).filter_map(one).collect::<Result<_, _>>()?
        } else {
            list.iter().filter_map(one).collect::<Result<_, _>>()?
        };
        works.sort_unstable_by_key(|work| work.write.key);

        let leaves: Vec<LeafChange> = works
            .iter()
            .filter(|work| work.write.old != work.write.new)
            .map(|work| LeafChange {
                key: key_path(&work.write.key),
                value: work.write.new.map(|row| row.leaf()),
                existed: work.write.old.is_some(),
            })
            .collect();
        let trie = trie_of(&head, unwritten, None);
        let done = update(&trie, head.view().root(), &leaves)?;

        let mut prepared = Prepared {
            base: head.view().version(),
            root: done.root,
            accounts: Vec::with_capacity(works.len()),
            wiped: BTreeSet::new(),
            codes: Vec::new(),
            records: Vec::with_capacity(done.records.len() * 2),
            record_bytes: 0,
        };
        keep_records(&mut prepared, None, done.records);
        for work in works {
            keep_records(&mut prepared, Some(work.write.key), work.records);
            let change = &changes.accounts[&work.write.address];
            if let (Some(row), Some(code)) = (&work.write.new, &change.code)
                && work.write.old.is_none_or(|old| old.account.code_hash != row.account.code_hash)
            {
                prepared.codes.push((row.account.code_hash, code.clone()));
            }
            if work.wiped {
                prepared.wiped.insert(work.write.address);
            }
            prepared.accounts.push(work.write);
        }
        Ok(prepared)
    }
}

fn keep_records(prepared: &mut Prepared, owner: Option<B256>, records: Records) {
    for (path, record) in records {
        prepared.record_bytes += record_memory(&record);
        prepared.records.push((RecordKey { owner, path }, record));
    }
}

fn trie_of<'a>(head: &'a StateAt, unwritten: &'a RecordMap, owner: Option<B256>) -> TrieView<'a> {
    TrieView { view: head.view(), unwritten, owner, caches: Some(head.caches()), hidden: None }
}

/// One account: its changed slots, its new storage root, its new row. `None` when nothing changes.
fn account_work(
    head: &StateAt,
    unwritten: &RecordMap,
    address: Address,
    change: &AccountChange,
) -> Result<Option<Work>, StateError> {
    let (key, old) = head.account_row(address)?;
    let old_root = old.map_or(EMPTY_ROOT_HASH, |row| row.storage_root);
    let wiped = (change.wiped || change.account.is_none()) && old_root != EMPTY_ROOT_HASH;
    let (root, slots, records) = if wiped {
        wiped_storage(head, unwritten, &key, change)?
    } else if change.slots.is_empty() || change.account.is_none() {
        (old_root, Vec::new(), Vec::new())
    } else {
        changed_storage(head, unwritten, address, &key, old_root, change)?
    };
    let new = change.account.map(|account| AccountRow { account, storage_root: root });
    if new == old && slots.is_empty() {
        return Ok(None);
    }
    Ok(Some(Work { write: AccountWrite { address, key, old, new, slots }, wiped, records }))
}

fn changed_storage(
    head: &StateAt,
    unwritten: &RecordMap,
    address: Address,
    owner: &B256,
    old_root: B256,
    change: &AccountChange,
) -> Result<(B256, Vec<SlotWrite>, Records), StateError> {
    let mut slots = Vec::with_capacity(change.slots.len());
    for (slot, new) in &change.slots {
        let (key, old) = head.slot_value(address, *slot)?;
        if old != *new {
            slots.push(SlotWrite { slot: Some(*slot), key, old, new: *new });
        }
    }
    slots.sort_unstable_by_key(|write| write.key);
    let leaves: Vec<LeafChange> = slots
        .iter()
        .map(|write| LeafChange {
            key: key_path(&write.key),
            value: slot_leaf(write.new),
            existed: !write.old.is_zero(),
        })
        .collect();
    let done = update(&trie_of(head, unwritten, Some(*owner)), old_root, &leaves)?;
    Ok((done.root, slots, done.records))
}

/// Everything from before goes; what the block wrote after that is all there is.
fn wiped_storage(
    head: &StateAt,
    unwritten: &RecordMap,
    owner: &B256,
    change: &AccountChange,
) -> Result<(B256, Vec<SlotWrite>, Records), StateError> {
    let mut before = head.all_slots(owner)?;
    let mut slots = Vec::new();
    let mut leaves = Vec::new();
    if change.account.is_some() {
        for (slot, new) in &change.slots {
            let key = slot_key(*slot);
            let old = before.remove(&key).unwrap_or_default();
            if old != *new {
                slots.push(SlotWrite { slot: Some(*slot), key, old, new: *new });
            }
            if let Some(value) = slot_leaf(*new) {
                leaves.push(LeafChange { key: key_path(&key), value: Some(value), existed: false });
            }
        }
    }
    slots.extend(before.into_iter().map(|(key, old)| SlotWrite { slot: None, key, old, new: U256::ZERO }));
    slots.sort_unstable_by_key(|write| write.key);
    leaves.sort_unstable_by_key(|change| change.key);
    let done = update(&NoTrie, EMPTY_ROOT_HASH, &leaves)?;
    let mut records: BTreeMap<Nibbles, Option<Arc<Record>>> =
        head.all_records(owner, unwritten)?.into_iter().map(|path| (path, None)).collect();
    records.extend(done.records);
    Ok((done.root, slots, records.into_iter().collect()))
}

/// A trie without anything.
struct NoTrie;

impl TrieRead for NoTrie {
    fn record(&self, _path: &Nibbles) -> Result<Option<Arc<Record>>, StoreError> {
        Ok(None)
    }

    fn leaf(&self, _path: &Nibbles) -> Result<Option<(Nibbles, Vec<u8>)>, StoreError> {
        Ok(None)
    }
}
