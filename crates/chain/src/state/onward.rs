//! The root that changes lead to on any block whose state is kept: for blocks that are never written.

use std::collections::BTreeMap;

use alloy_primitives::{B256, U256};

use super::retrace::{Since, account_change, slot_change};
use super::rows::{AccountRow, slot_key};
use super::view::{RecordMap, TrieView};
use super::{AccountChange, StateAt, StateChanges, StateError};
use crate::trie::{EMPTY_ROOT_HASH, update};

/// A root, and what it took to find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootWith {
    /// The root.
    pub root: B256,
    /// Accounts and slots that were put back to what they were, or that changed.
    pub rows: usize,
}

/// An account that changes.
struct Named<'a> {
    change: &'a AccountChange,
    /// Its row before, at the older height.
    row: Option<AccountRow>,
    /// The storage that it keeps, when some slots of that change.
    storage: Option<B256>,
}

/// See [`StateAt::root_with`].
pub(super) fn root_with(at: &StateAt, changes: &StateChanges) -> Result<RootWith, StateError> {
    let (at, unwritten) = at.renewed();
    let (view, number, head) = (at.view(), at.number(), at.view().number());
    let mut named = BTreeMap::new();
    for (address, change) in &changes.accounts {
        let (key, row) = at.account_row(*address)?;
        let keeps = change.account.is_some() && !change.wiped && !change.slots.is_empty();
        let storage = row.filter(|_| keeps).and_then(|row| row.storage(&key));
        named.insert(key, Named { change, row, storage });
    }
    let storages = named.values().filter_map(|one| Some((one.storage?, one.row?.storage_root)));
    let since = Since::gather(&at, storages)?;
    let mut rows = since.rows() + named.len();

    let mut after = BTreeMap::new();
    for (key, one) in &named {
        let new = match one.change.account {
            None => None,
            Some(account) => {
                rows += one.change.slots.len();
                let storage_root = storage_root(&at, &unwritten, &since, key, one)?;
                Some(AccountRow { account, storage_root, incarnation: None })
            }
        };
        after.insert(*key, new);
    }
    for key in &since.accounts {
        if !after.contains_key(key) {
            after.insert(*key, view.account(key, number)?);
        }
    }
    let mut leaves = Vec::with_capacity(after.len());
    for (key, new) in &after {
        leaves.extend(account_change(key, view.account(key, head)?, *new));
    }
    let trie = TrieView { view, unwritten: &unwritten, owner: None, caches: None, hidden: None };
    Ok(RootWith { root: update(&trie, view.root(), &leaves)?.root, rows })
}

/// Root of the storage of an account that exists afterwards.
fn storage_root(at: &StateAt, unwritten: &RecordMap, since: &Since, key: &B256, one: &Named<'_>) -> Result<B256, StateError> {
    let view = at.view();
    let changed = one.change.slots.iter().map(|(slot, value)| (slot_key(*slot), *value));
    let Some(storage) = one.storage else {
        if one.change.slots.is_empty() && !one.change.wiped {
            return Ok(one.row.map_or(EMPTY_ROOT_HASH, |row| row.storage_root));
        }
        // It begins with nothing: nothing is read of the trie that is named here.
        let trie = TrieView { view, unwritten, owner: Some(*key), caches: None, hidden: None };
        let slots: BTreeMap<B256, U256> = changed.collect();
        let leaves: Vec<_> = slots.iter().filter_map(|(slot, value)| slot_change(slot, U256::ZERO, *value)).collect();
        return Ok(update(&trie, EMPTY_ROOT_HASH, &leaves)?.root);
    };
    let past = &since.storages[&storage];
    let mut slots = BTreeMap::new();
    for slot in &past.slots {
        slots.insert(*slot, view.slot(&storage, slot, at.number())?);
    }
    slots.extend(changed);
    let mut leaves = Vec::with_capacity(slots.len());
    for (slot, value) in &slots {
        leaves.extend(slot_change(slot, view.slot(&storage, slot, view.number())?, *value));
    }
    let trie = TrieView { view, unwritten, owner: Some(storage), caches: None, hidden: None };
    Ok(update(&trie, past.root, &leaves)?.root)
}
