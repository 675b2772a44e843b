//! Moving the trie between heights by the keys that changed in between: forwards after a crash, backwards for proofs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use alloy_primitives::map::HashMap;
use alloy_primitives::{Address, B256, U256};

use super::rows::{AccountRow, Position, slot_key, slot_leaf};
use super::tail::Tail;
use super::view::{RecordKey, RecordMap, TrieView, Unwritten, View};
use super::{AccountProof, CHANGES_KEPT, SlotProof, StateAt, StateError, history};
use crate::kv::{Read, StoreError, Table};
use crate::trie::{
    EMPTY_ROOT_HASH, LeafChange, Nibbles, Record, TrieRead, TrieUpdate, key_path, path_key, prove as prove_key, update,
};

/// Most changed rows that are undone to go back to a height: about a fifth of a second of work.
const UNDO_LIMIT: usize = 20_000;

/// Leaves of one trie by key: what they hold at the target height.
type Leaves = BTreeMap<B256, Option<Vec<u8>>>;

pub(super) fn account_change(key: &B256, old: Option<AccountRow>, new: Option<AccountRow>) -> Option<LeafChange> {
    let change = || LeafChange { key: key_path(key), value: new.map(|row| row.leaf()), existed: old.is_some() };
    (old != new).then(change)
}

pub(super) fn slot_change(key: &B256, old: U256, new: U256) -> Option<LeafChange> {
    (old != new).then(|| LeafChange { key: key_path(key), value: slot_leaf(new), existed: !old.is_zero() })
}

/// The changes that were not settled when the process ended, and the branch records that they lead to.
///
/// # Errors
/// [`StoreError::Corrupt`] when the roots that come out are not the ones stored.
pub(super) fn recover(read: &Arc<dyn Read>, position: &Position) -> Result<(Tail, Unwritten), StateError> {
    let mut tail = Tail::default();
    for block in position.settled + 1..=position.number {
        tail = tail.with(Arc::new(history::changed(&**read, block)?));
    }
    // The tables as they are: a view without tail.
    let view = View::new(Some(*position), Arc::clone(read), Tail::default());
    let none = RecordMap::default();
    let mut recovered = Unwritten::default();
    let mut keep = |owner: Option<B256>, done: TrieUpdate, expected: B256| -> Result<(), StateError> {
        if done.root != expected {
            let what = owner.map_or_else(|| "account trie".to_owned(), |owner| format!("storage trie of {owner}"));
            let block = position.number;
            let problem = format!("{what} after block {block} has root {}, expected {expected}", done.root);
            return Err(StoreError::corrupt(Table::Changes, problem).into());
        }
        for (path, record) in done.records {
            recovered.set(RecordKey { owner, path }, record);
        }
        Ok(())
    };
    let accounts = tail.accounts(&B256::ZERO, |_| true);
    let owners: BTreeSet<B256> = tail.blocks.iter().flat_map(|diff| diff.storage.iter().map(|(owner, _)| *owner)).collect();
    let roots = tail.storage_roots();
    for owner in owners {
        let (old, new) = roots.get(&owner).copied().unwrap_or((EMPTY_ROOT_HASH, EMPTY_ROOT_HASH));
        let slots = tail.slots(&owner, &B256::ZERO, |_| true);
        let changes: Vec<_> = slots.iter().filter_map(|(key, (old, new))| slot_change(key, *old, *new)).collect();
        let trie = TrieView { view: &view, unwritten: &none, owner: Some(owner), caches: None, hidden: None };
        keep(Some(owner), update(&trie, old, &changes)?, new)?;
    }
    let changes: Vec<_> = accounts.iter().filter_map(|(key, (old, new))| account_change(key, *old, *new)).collect();
    let trie = TrieView { view: &view, unwritten: &none, owner: None, caches: None, hidden: None };
    keep(None, update(&trie, position.settled_root, &changes)?, position.root)?;
    Ok((tail, recovered))
}

/// What the blocks after a height changed, up to the head.
pub(super) struct Since {
    /// Keys of accounts.
    pub accounts: BTreeSet<B256>,
    /// Storages that were asked for, by key.
    pub storages: BTreeMap<B256, Past>,
}

/// One storage.
pub(super) struct Past {
    /// The root that the storage's records have: the head's, or that of the moment when the account lost the storage.
    pub root: B256,
    /// Keys of slots that changed.
    pub slots: BTreeSet<B256>,
}

impl Since {
    /// `storages` are those whose slots are wanted, with their roots at `at`, which is a height of the newest view.
    ///
    /// # Errors
    /// [`StateError::Pruned`]; [`StateError::TooFarBack`] when more than [`UNDO_LIMIT`] rows changed.
    pub(super) fn gather(at: &StateAt, storages: impl IntoIterator<Item = (B256, B256)>) -> Result<Since, StateError> {
        let (view, number) = (at.view(), at.number());
        if let Some(position) = view.position
            && number < position.oldest
        {
            return Err(StateError::Pruned { asked: number, oldest: position.oldest });
        }
        let storages = storages.into_iter().map(|(storage, root)| (storage, Past { root, slots: BTreeSet::new() }));
        let mut since = Since { accounts: BTreeSet::new(), storages: storages.collect() };
        let too_far = || StateError::TooFarBack { asked: number, limit: UNDO_LIMIT };
        if view.number().saturating_sub(number) > CHANGES_KEPT {
            return Err(too_far());
        }
        for block in number + 1..=view.number() {
            let diff = history::changed(&*view.snapshot, block)?;
            since.accounts.extend(diff.accounts.iter().map(|change| change.key));
            for (storage, past) in &mut since.storages {
                past.slots.extend(diff.slots(storage).iter().map(|change| change.key));
            }
            for change in &diff.accounts {
                let of = |row: Option<AccountRow>| row.and_then(|row| row.storage(&change.key));
                for storage in BTreeSet::from([of(change.old), of(change.new)]).into_iter().flatten() {
                    if let Some(past) = since.storages.get_mut(&storage) {
                        past.root = diff.storage_root(&storage, change, past.root);
                    }
                }
            }
            if since.rows() > UNDO_LIMIT {
                return Err(too_far());
            }
        }
        Ok(since)
    }

    /// Rows that going back undoes.
    pub(super) fn rows(&self) -> usize {
        self.accounts.len() + self.storages.values().map(|past| past.slots.len()).sum::<usize>()
    }
}

/// A trie of the head with the changes back to an older height on top.
struct Undone<'a> {
    head: TrieView<'a>,
    records: HashMap<Nibbles, Option<Arc<Record>>>,
    leaves: &'a Leaves,
}

impl TrieRead for Undone<'_> {
    fn record(&self, path: &Nibbles) -> Result<Option<Arc<Record>>, StoreError> {
        match self.records.get(path) {
            Some(record) => Ok(record.clone()),
            None => self.head.record(path),
        }
    }

    fn leaf(&self, path: &Nibbles) -> Result<Option<(Nibbles, Vec<u8>)>, StoreError> {
        let changed = self
            .leaves
            .range(crate::trie::lowest_key(path)..)
            .find_map(|(key, value)| Some((key_path(key), value.clone()?)))
            .filter(|(key, _)| key.starts_with(path));
        match changed {
            Some(leaf) => Ok(Some(leaf)),
            None => self.head.leaf(path),
        }
    }
}

/// Proofs of several keys in one trie of `view`, undoing `changes` first.
fn prove_in(
    (view, unwritten): (&View, &RecordMap),
    owner: Option<B256>,
    root: B256,
    changes: &[LeafChange],
    keys: &[B256],
) -> Result<Vec<Vec<alloy_primitives::Bytes>>, StateError> {
    let leaves: Leaves = changes.iter().map(|change| (path_key(&change.key), change.value.clone())).collect();
    let head = TrieView { view, unwritten, owner, caches: None, hidden: None };
    let done = update(&head, root, changes)?;
    let head = TrieView { view, unwritten, owner, caches: None, hidden: Some(&leaves) };
    let undone = Undone { head, records: done.records.into_iter().collect(), leaves: &leaves };
    keys.iter().map(|key| Ok(prove_key(&undone, done.root, &key_path(key))?)).collect()
}

/// See [`StateAt::proof`].
pub(super) fn prove(at: &StateAt, address: Address, slots: &[U256]) -> Result<AccountProof, StateError> {
    let (at, unwritten) = at.renewed();
    let view = at.view();
    let (number, head) = (at.number(), view.number());
    let (key, row) = at.account_row(address)?;
    let storage = row.and_then(|row| row.storage(&key));
    let storage_root = row.map_or(EMPTY_ROOT_HASH, |row| row.storage_root);
    let since = Since::gather(&at, storage.map(|storage| (storage, storage_root)))?;
    let mut changes = Vec::with_capacity(since.accounts.len());
    for account in &since.accounts {
        changes.extend(account_change(account, view.account(account, head)?, view.account(account, number)?));
    }
    let nodes = prove_in((view, &unwritten), None, view.root(), &changes, &[key])?.pop().unwrap_or_default();

    let keys: Vec<B256> = slots.iter().map(|slot| slot_key(*slot)).collect();
    let proofs = match &storage {
        None => vec![Vec::new(); keys.len()],
        Some(storage) => {
            let past = &since.storages[storage];
            let mut changes = Vec::with_capacity(past.slots.len());
            for slot in &past.slots {
                changes.extend(slot_change(slot, view.slot(storage, slot, head)?, view.slot(storage, slot, number)?));
            }
            prove_in((view, &unwritten), Some(*storage), past.root, &changes, &keys)?
        }
    };
    let mut proven = Vec::with_capacity(slots.len());
    for (slot, nodes) in slots.iter().zip(proofs) {
        proven.push(SlotProof { slot: *slot, value: at.slot(address, *slot)?, nodes });
    }
    Ok(AccountProof { address, account: row.map(|row| row.account), storage_root, nodes, slots: proven })
}
