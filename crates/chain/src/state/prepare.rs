//! The root that a block's changes lead to, and all rows that change with it. Nothing is written.

use std::collections::BTreeMap;
use std::sync::Arc;

use alloy_primitives::{Address, B256, U256};
use ipe_permissioning::{Change, Fact};
use rayon::prelude::*;
use revm::bytecode::Bytecode;

use super::rows::{AccountRow, slot_key, slot_leaf};
use super::view::{RecordKey, RecordMap, TrieView, record_memory};
use super::{AccountChange, State, StateAt, StateChanges, StateError};
use crate::trie::{EMPTY_ROOT_HASH, LeafChange, Nibbles, Record, key_path, update};

/// From this many changed accounts and slots the accounts are worked on in parallel.
const PARALLEL: usize = 64;

/// Changes whose root is known and that are not written yet. Dropping it undoes everything.
pub struct Prepared {
    /// Version of the head it was made on.
    pub(super) base: u64,
    pub(super) root: B256,
    /// Sorted by key.
    pub(super) accounts: Vec<AccountWrite>,
    /// Accounts that lost the storage from before the block, and the key of that storage.
    pub(super) wiped: BTreeMap<Address, B256>,
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
    /// Slots of the new row's storage, sorted by key. Those of a storage that the account lost stay as they are.
    pub slots: Vec<SlotWrite>,
}

/// One slot that changes.
pub(super) struct SlotWrite {
    pub slot: U256,
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

    /// What changes, for whoever remembers parts of the state.
    pub(crate) fn changes(&self) -> impl Iterator<Item = Change> + '_ {
        let wiped = self.wiped.keys().map(|address| Change::Wiped(*address));
        wiped.chain(self.accounts.iter().flat_map(|write| {
            let account = Fact::Account(write.address, write.new.map(|row| row.account.fields()));
            let slots = write.slots.iter().map(|slot| Change::To(Fact::Slot(write.address, slot.slot, slot.new)));
            std::iter::once(Change::To(account)).chain(slots)
        }))
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
    /// The storage that the account lost.
    lost: Option<B256>,
    records: Records,
}

impl State {
    /// Computes the root that `changes` on the head lead to, writing nothing.
    ///
    /// # Errors
    /// What the store says; `StoreError::Corrupt` when a branch record or a row is missing.
    pub fn prepare(&self, changes: &StateChanges) -> Result<Prepared, StateError> {
        // First the lock: until it goes, no settling moves records from here into the tables behind the view's back.
        let unwritten = self.shared.unwritten.read_recursive();
        let head = self.head();
        let unwritten = &unwritten.records;
        let list: Vec<(&Address, &AccountChange)> = changes.accounts.iter().collect();
        let size = list.len() + list.iter().map(|(_, change)| change.slots.len()).sum::<usize>();
        let one = |(address, change): &(&Address, &AccountChange)| account_work(&head, unwritten, **address, change).transpose();
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
            wiped: BTreeMap::new(),
            codes: Vec::new(),
            records: Vec::with_capacity(done.records.len() * 2),
            record_bytes: 0,
        };
        keep_records(&mut prepared, None, done.records);
        for work in works {
            if let Some(storage) = work.write.new.and_then(|row| row.storage(&work.write.key)) {
                keep_records(&mut prepared, Some(storage), work.records);
            }
            let change = &changes.accounts[&work.write.address];
            if let (Some(row), Some(code)) = (&work.write.new, &change.code)
                && work.write.old.is_none_or(|old| old.account.code_hash != row.account.code_hash)
            {
                prepared.codes.push((row.account.code_hash, code.clone()));
            }
            if let Some(storage) = work.lost {
                prepared.wiped.insert(work.write.address, storage);
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
    let lost = old.filter(|_| wiped).and_then(|row| row.storage(&key));
    let Some(account) = change.account else {
        let write = AccountWrite { address, key, old, new: None, slots: Vec::new() };
        return Ok(old.map(|_| Work { write, lost, records: Vec::new() }));
    };
    // A storage that begins now has the number of this block: the account cannot have had it before. Nothing of an older one
    // is read or listed, however much it holds.
    let kept = old.filter(|_| !wiped).and_then(|row| row.incarnation);
    let begun = AccountRow { account, storage_root: old_root, incarnation: kept.or(Some(head.view().version())) };
    let (root, slots, records) = match begun.storage(&key) {
        Some(_) if change.slots.is_empty() => (if wiped { EMPTY_ROOT_HASH } else { old_root }, Vec::new(), Vec::new()),
        Some(storage) => {
            let old_value = |slot| if wiped { Ok((slot_key(slot), U256::ZERO)) } else { head.slot_value(address, slot) };
            let root = if wiped { EMPTY_ROOT_HASH } else { old_root };
            changed_storage(&trie_of(head, unwritten, Some(storage)), root, change, old_value)?
        }
        None => (EMPTY_ROOT_HASH, Vec::new(), Vec::new()),
    };
    let incarnation = if root == EMPTY_ROOT_HASH { kept } else { begun.incarnation };
    let new = Some(AccountRow { account, storage_root: root, incarnation });
    if new == old && slots.is_empty() {
        return Ok(None);
    }
    Ok(Some(Work { write: AccountWrite { address, key, old, new, slots }, lost, records }))
}

/// The new root of a storage, its slots that change, and its changed records. `root` and `old_value` say what it was.
fn changed_storage(
    trie: &TrieView<'_>,
    root: B256,
    change: &AccountChange,
    old_value: impl Fn(U256) -> Result<(B256, U256), StateError>,
) -> Result<(B256, Vec<SlotWrite>, Records), StateError> {
    let mut slots = Vec::with_capacity(change.slots.len());
    for (slot, new) in &change.slots {
        let (key, old) = old_value(*slot)?;
        if old != *new {
            slots.push(SlotWrite { slot: *slot, key, old, new: *new });
        }
    }
    slots.sort_unstable_by_key(|write| write.key);
    let leaves: Vec<LeafChange> = slots
        .iter()
        .map(|write| LeafChange { key: key_path(&write.key), value: slot_leaf(write.new), existed: !write.old.is_zero() })
        .collect();
    let done = update(trie, root, &leaves)?;
    Ok((done.root, slots, done.records))
}
