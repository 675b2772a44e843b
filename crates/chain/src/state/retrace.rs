//! Moving the trie between heights by the keys that changed in between: forwards after a crash, backwards for proofs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use alloy_primitives::map::HashMap;
use alloy_primitives::{Address, B256, U256};

use super::rows::{AccountRow, Position, decode_value, slot_key, slot_leaf, slot_row};
use super::view::{RecordKey, RecordMap, TrieView, Unwritten, View};
use super::{AccountProof, CHANGES_KEPT, SlotProof, StateAt, StateError, history, stored_at};
use crate::kv::{Read, StoreError, Table};
use crate::trie::{
    EMPTY_ROOT_HASH, LeafChange, Nibbles, Record, TrieRead, TrieUpdate, key_path, prove as prove_key, update,
};

/// Most changed rows that a proof undoes: about a fifth of a second of work.
const PROOF_LIMIT: usize = 20_000;

/// Keys that changed in a span of blocks.
#[derive(Default)]
struct Touched {
    accounts: BTreeSet<B256>,
    slots: BTreeMap<B256, BTreeSet<B256>>,
}

/// Leaves of one trie by key: what they hold at the target height.
type Leaves = BTreeMap<B256, Option<Vec<u8>>>;

/// Reads the rows of one store snapshot whose newest block is `head`.
struct Rows<'a> {
    read: &'a dyn Read,
    head: u64,
}

impl Rows<'_> {
    fn account(&self, key: &B256, number: u64) -> Result<Option<AccountRow>, StateError> {
        let row = stored_at(self.read, Table::Accounts, key.as_slice(), number, self.head)?;
        Ok(row.map(|row| AccountRow::decode(Table::Accounts, &row)).transpose()?)
    }

    fn slot(&self, owner: &B256, slot: &B256, number: u64) -> Result<U256, StateError> {
        let row = stored_at(self.read, Table::Slots, &slot_row(owner, slot), number, self.head)?;
        Ok(row.map_or(Ok(U256::ZERO), |row| decode_value(Table::Slots, &row))?)
    }

    /// Leaf changes of the account trie from one height to another.
    fn account_changes(&self, keys: &BTreeSet<B256>, from: u64, to: u64) -> Result<Vec<LeafChange>, StateError> {
        let mut changes = Vec::with_capacity(keys.len());
        for key in keys {
            let (old, new) = (self.account(key, from)?, self.account(key, to)?);
            if old != new {
                let value = new.map(|row| row.leaf());
                changes.push(LeafChange { key: key_path(key), value, existed: old.is_some() });
            }
        }
        Ok(changes)
    }

    /// Leaf changes of one storage trie from one height to another.
    fn slot_changes(
        &self,
        owner: &B256,
        keys: &BTreeSet<B256>,
        from: u64,
        to: u64,
    ) -> Result<Vec<LeafChange>, StateError> {
        let mut changes = Vec::with_capacity(keys.len());
        for key in keys {
            let (old, new) = (self.slot(owner, key, from)?, self.slot(owner, key, to)?);
            if old != new {
                changes.push(LeafChange { key: key_path(key), value: slot_leaf(new), existed: !old.is_zero() });
            }
        }
        Ok(changes)
    }
}

fn hidden(changes: &[LeafChange]) -> Leaves {
    changes.iter().map(|change| (crate::trie::path_key(&change.key), change.value.clone())).collect()
}

/// The branch records that were not yet written when the process ended: the stored ones are of block
/// `position.trie_number`, the flat rows of block `position.number`.
///
/// # Errors
/// [`StoreError::Corrupt`] when the roots that come out are not the ones stored.
pub(super) fn recover(read: Arc<dyn Read>, position: &Position) -> Result<Unwritten, StateError> {
    let (from, to) = (position.trie_number, position.number);
    let mut touched = Touched::default();
    for block in from + 1..=to {
        let keys = history::changed(&*read, block)?;
        touched.accounts.extend(keys.accounts);
        for (owner, slots) in keys.slots {
            touched.slots.entry(owner).or_default().extend(slots);
        }
    }
    let mut recovered = Unwritten::default();
    let none = RecordMap::default();
    let rows = Rows { read: &*read, head: to };
    let view = View::new(Some(*position), Arc::clone(&read));
    let mut keep = |owner: Option<B256>, done: TrieUpdate, expected: B256| -> Result<(), StateError> {
        if done.root != expected {
            let what = owner.map_or_else(|| "account trie".to_owned(), |owner| format!("storage trie of {owner}"));
            let problem = format!("{what} after block {to} has root {}, expected {expected}", done.root);
            return Err(StoreError::corrupt(Table::AccountTrie, problem).into());
        }
        for (path, record) in done.records {
            recovered.set(RecordKey { owner, path }, record);
        }
        Ok(())
    };
    for (owner, slots) in &touched.slots {
        let root_at = |number| -> Result<B256, StateError> {
            Ok(rows.account(owner, number)?.map_or(EMPTY_ROOT_HASH, |row| row.storage_root))
        };
        let changes = rows.slot_changes(owner, slots, from, to)?;
        let hidden = hidden(&changes);
        let trie = TrieView { view: &view, unwritten: &none, owner: Some(*owner), caches: None, hidden: Some(&hidden) };
        keep(Some(*owner), update(&trie, root_at(from)?, &changes)?, root_at(to)?)?;
    }
    let changes = rows.account_changes(&touched.accounts, from, to)?;
    let hidden = hidden(&changes);
    let trie = TrieView { view: &view, unwritten: &none, owner: None, caches: None, hidden: Some(&hidden) };
    keep(None, update(&trie, position.trie_root, &changes)?, position.root)?;
    Ok(recovered)
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
    let leaves = hidden(changes);
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
    if let Some(position) = view.position
        && at.number() < position.oldest
    {
        return Err(StateError::Pruned { asked: at.number(), oldest: position.oldest });
    }
    let (number, head) = (at.number(), view.number());
    let (key, row) = at.account_row(address)?;
    let mut touched = Touched::default();
    if number < head {
        let too_old = StateError::ProofTooOld { asked: number, limit: PROOF_LIMIT };
        if head - number > CHANGES_KEPT {
            return Err(too_old);
        }
        for block in (number + 1..=head).rev() {
            let keys = history::changed(&*view.snapshot, block)?;
            touched.accounts.extend(keys.accounts);
            for (owner, slots) in keys.slots {
                if owner == key {
                    touched.slots.entry(owner).or_default().extend(slots);
                }
            }
            if touched.accounts.len() + touched.slots.values().map(BTreeSet::len).sum::<usize>() > PROOF_LIMIT {
                return Err(too_old);
            }
        }
    }
    let rows = Rows { read: &*view.snapshot, head };
    let changes = rows.account_changes(&touched.accounts, head, number)?;
    let nodes = prove_in((view, &unwritten), None, view.root(), &changes, &[key])?.pop().unwrap_or_default();

    let keys: Vec<B256> = slots.iter().map(|slot| slot_key(*slot)).collect();
    let head_root = rows.account(&key, head)?.map_or(EMPTY_ROOT_HASH, |row| row.storage_root);
    let changes = match touched.slots.get(&key) {
        Some(changed) => rows.slot_changes(&key, changed, head, number)?,
        None => Vec::new(),
    };
    let proofs = prove_in((view, &unwritten), Some(key), head_root, &changes, &keys)?;
    let mut proven = Vec::with_capacity(slots.len());
    for (slot, nodes) in slots.iter().zip(proofs) {
        proven.push(SlotProof { slot: *slot, value: at.slot(address, *slot)?, nodes });
    }
    Ok(AccountProof {
        address,
        account: row.map(|row| row.account),
        storage_root: row.map_or(EMPTY_ROOT_HASH, |row| row.storage_root),
        nodes,
        slots: proven,
    })
}
