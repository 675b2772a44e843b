//! Storages that their accounts lost: destroyed, or created anew over old storage.
//!
//! Losing a storage costs one row, however much it holds. Its slots stay as they were, for the heights that still see them, and
//! its branch records for proofs. When no height needs them any more they are removed, [`CLEAR_AT_ONCE`] rows with each block: an
//! archive keeps the slots for ever and removes the records.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};

use alloy_primitives::B256;

use super::rows::Position;
use super::{CHANGES_KEPT, Retention};
use crate::kv::{Batch, Read, StoreError, Table, prefix_end};

/// Most rows of lost storages that one block's batch removes; a storage without rows counts as one. A few milliseconds of work.
/// Whoever fills and destroys storages faster leaves the rest for the blocks after.
const CLEAR_AT_ONCE: usize = 2_048;

/// Key of a row in [`Table::DeadStorage`].
fn row(block: u64, storage: &B256) -> [u8; 40] {
    let mut key = [0; 40];
    key[..8].copy_from_slice(&block.to_be_bytes());
    key[8..].copy_from_slice(storage.as_slice());
    key
}

/// Notes that an account lost `storage` in `block`. Nothing is removed yet.
pub(super) fn put(batch: &mut Batch, block: u64, storage: &B256) {
    batch.put(Table::DeadStorage, &row(block, storage), &[]);
}

/// A lost storage whose rows go.
struct Dead {
    block: u64,
    storage: B256,
    /// The last row that was removed: position of its table in the list, then its key. Empty when none was.
    removed: Vec<u8>,
}

/// Adds the removal of rows that neither a height nor a proof from `position` on can read. `from` is the block below which nothing is
/// left to remove, as far as the committed rows of `read` say; it is raised here.
///
/// # Errors
/// What the store says; [`StoreError::Corrupt`] for a row that is none.
pub(super) fn clear(
    read: &dyn Read,
    position: &Position,
    retention: Retention,
    from: &AtomicU64,
    batch: &mut Batch,
) -> Result<(), StoreError> {
    let tables: &[Table] = match retention {
        Retention::Archive => &[Table::StorageTrie],
        Retention::Full { .. } => &[Table::StorageTrie, Table::Slots],
    };
    // A storage lost in block n was last seen after block n - 1.
    let Some(mut last) = position.number.checked_sub(CHANGES_KEPT) else { return Ok(()) };
    if let Retention::Full { .. } = retention {
        last = last.min(position.oldest);
    }
    let start = from.load(Ordering::Relaxed);
    if start > last {
        return Ok(());
    }
    let listed = dead(read, start, last)?;
    from.store(listed.first().map_or(last + 1, |dead| dead.block), Ordering::Relaxed);
    let mut left = CLEAR_AT_ONCE;
    for dead in listed {
        let key = row(dead.block, &dead.storage);
        match remove(read, tables, &dead, &mut left, batch)? {
            None => batch.delete(Table::DeadStorage, &key),
            Some(removed) => batch.put(Table::DeadStorage, &key, &removed),
        }
        left = left.saturating_sub(1);
        if left == 0 {
            break;
        }
    }
    Ok(())
}

/// The storages lost from block `start` to block `last`, oldest first, as many as one block can have to do with.
fn dead(read: &dyn Read, start: u64, last: u64) -> Result<Vec<Dead>, StoreError> {
    let mut listed = Vec::new();
    let mut bad = None;
    let end = (last + 1).to_be_bytes();
    read.range(Table::DeadStorage, &start.to_be_bytes(), &end, false, &mut |key, removed| {
        let Some((block, Ok(storage))) = key.split_first_chunk::<8>().map(|(n, key)| (n, B256::try_from(key))) else {
            bad = Some(StoreError::corrupt(Table::DeadStorage, format!("key of {} bytes, expected 40", key.len())));
            return ControlFlow::Break(());
        };
        listed.push(Dead { block: u64::from_be_bytes(*block), storage, removed: removed.to_vec() });
        if listed.len() < CLEAR_AT_ONCE { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    bad.map_or(Ok(listed), Err)
}

/// Removes up to `left` rows of one storage and counts them off. `None` when all are removed, else the last one.
fn remove(
    read: &dyn Read,
    tables: &[Table],
    dead: &Dead,
    left: &mut usize,
    batch: &mut Batch,
) -> Result<Option<Vec<u8>>, StoreError> {
    let end = prefix_end(dead.storage.as_slice());
    for (at, table) in tables.iter().enumerate() {
        let mut from = dead.storage.to_vec();
        match dead.removed.split_first() {
            Some((before, _)) if usize::from(*before) > at => continue,
            Some((before, key)) if usize::from(*before) == at => from = [key, &[0]].concat(),
            _ => {}
        }
        let mut stopped = None;
        read.range(*table, &from, &end, false, &mut |key, _| {
            batch.delete(*table, key);
            *left = left.saturating_sub(1);
            if *left > 0 {
                return ControlFlow::Continue(());
            }
            stopped = Some([&[at as u8], key].concat());
            ControlFlow::Break(())
        })?;
        if stopped.is_some() {
            return Ok(stopped);
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use alloy_primitives::{Address, U256};
    use proptest::prelude::*;

    use super::*;
    use crate::kv::{MemoryStore, Store};
    use crate::state::rows::{AccountRow, POSITION, address_key};
    use crate::state::tail::{BlockDiff, Change};
    use crate::state::tests::{Model, Step, address, block, changes_of, check_view, open, pay, play, small, state_root};
    use crate::state::{Account, AccountChange, MIN_KEEP, State, StateChanges, StateSettings};

    fn only(address: Address, change: AccountChange) -> StateChanges {
        StateChanges { accounts: BTreeMap::from([(address, change)]) }
    }

    fn filled(slots: u64) -> AccountChange {
        let slots = (0..slots).map(|n| (U256::from(n), U256::from(n + 1))).collect();
        AccountChange { account: Some(Account { nonce: 1, ..Account::default() }), slots, ..AccountChange::default() }
    }

    fn destroyed() -> AccountChange {
        AccountChange { wiped: true, ..AccountChange::default() }
    }

    #[test]
    fn destroying_costs_the_same_whatever_the_storage_holds() {
        let store = MemoryStore::new();
        let state = open(&store, StateSettings::default());
        block(&store, &state, &pay(1, 1));
        for (n, slots) in [(2, 1), (3, 20_000)] {
            block(&store, &state, &only(address(n), filled(slots)));
        }
        let mut costs = Vec::new();
        for n in [2, 3] {
            let prepared = state.prepare(&only(address(n), destroyed())).expect("prepares");
            let mut batch = Batch::new();
            state.apply(3, &prepared, &mut batch).expect("applies");
            costs.push((prepared.len(), batch.len(), batch.bytes()));
        }
        assert_eq!(costs[0].0, 1, "the account alone changes");
        assert_eq!(costs[0], costs[1]);
        block(&store, &state, &only(address(3), destroyed()));
        let at = |number: u64| state.at(number).expect("is kept").slot(address(3), U256::from(77)).expect("reads");
        assert_eq!((at(2), at(3)), (U256::from(78), U256::ZERO));
    }

    /// Rows of `table` below no storage that an account of the head has.
    fn orphans(store: &MemoryStore, table: Table, living: &[B256]) -> usize {
        let mut orphans = 0;
        store
            .range(table, &[], &[], false, &mut |key, _| {
                orphans += usize::from(!living.iter().any(|storage| key.starts_with(storage.as_slice())));
                ControlFlow::Continue(())
            })
            .expect("reads");
        orphans
    }

    fn living(state: &State, address: Address) -> B256 {
        let (key, row) = state.head().account_row(address).expect("reads");
        row.and_then(|row| row.storage(&key)).expect("has a storage")
    }

    fn pass(store: &MemoryStore, state: &State, blocks: u64) {
        for number in 0..blocks {
            block(store, state, &pay(9, number + 2));
        }
    }

    #[test]
    fn a_full_node_removes_a_lost_storage_a_little_with_every_block() {
        let store = MemoryStore::new();
        let settings = StateSettings { retention: Retention::Full { keep: MIN_KEEP }, ..StateSettings::default() };
        let mut state = open(&store, settings);
        block(&store, &state, &pay(1, 1));
        block(&store, &state, &only(address(2), filled(5_000)));
        block(&store, &state, &only(address(2), AccountChange { wiped: true, ..filled(3) }));
        let kept = [living(&state, address(2))];
        pass(&store, &state, CHANGES_KEPT - 1);
        assert_eq!(orphans(&store, Table::Slots, &kept), 5_000, "a proof may still ask");
        let mut before = orphans(&store, Table::Slots, &kept) + orphans(&store, Table::StorageTrie, &kept);
        let mut blocks = 0;
        while before > 0 {
            pass(&store, &state, 1);
            let now = orphans(&store, Table::Slots, &kept) + orphans(&store, Table::StorageTrie, &kept);
            assert!(before - now <= CLEAR_AT_ONCE && now < before, "from {before} to {now}");
            before = now;
            blocks += 1;
            state = open(&store, settings);
        }
        assert!(blocks > 2, "{blocks} blocks");
        pass(&store, &state, 1);
        assert!(store.is_empty(Table::DeadStorage));
        assert_eq!(store.len(Table::Slots), 3);
        let slots: Vec<U256> = (0..4).map(U256::from).collect();
        let proof = state.head().proof(address(2), &slots).expect("proves");
        assert_eq!(proof.slots.iter().map(|slot| slot.value.to::<u64>()).collect::<Vec<_>>(), [1, 2, 3, 0]);
    }

    #[test]
    fn an_archive_keeps_the_slots_of_a_lost_storage_and_removes_its_records() {
        let store = MemoryStore::new();
        let state = open(&store, StateSettings::default());
        block(&store, &state, &pay(1, 1));
        block(&store, &state, &only(address(2), filled(500)));
        block(&store, &state, &only(address(2), destroyed()));
        pass(&store, &state, CHANGES_KEPT - 1);
        let proof = |number: u64| state.at(number).expect("is kept").proof(address(2), &[U256::from(7)]);
        let oldest = proof(1).expect("is the oldest");
        assert_eq!(oldest.slots[0].value, U256::from(8));
        let path = crate::trie::key_path(&crate::state::rows::slot_key(U256::from(7)));
        let value = Some(alloy_rlp::encode(U256::from(8)));
        alloy_trie::proof::verify_proof(oldest.storage_root, path, value, &oldest.slots[0].nodes).expect("proves it");
        assert_eq!(proof(2).expect("proves").slots[0].value, U256::ZERO);
        pass(&store, &state, 1);
        assert!(matches!(proof(1), Err(crate::state::StateError::TooFarBack { .. })), "nobody needs the records now");
        assert!(store.is_empty(Table::StorageTrie) && store.is_empty(Table::DeadStorage));
        assert_eq!(store.len(Table::Slots), 500);
        for state in [&state, &open(&store, StateSettings::default())] {
            let old = state.at(1).expect("is kept");
            assert_eq!(old.slot(address(2), U256::from(7)).expect("reads"), U256::from(8));
        }
    }

    /// Before storages had numbers the block that destroyed an account listed its slots, and all storages had the account's key.
    #[test]
    fn a_destruction_logged_by_the_layout_before_is_taken_up() {
        let store = MemoryStore::new();
        let state = open(&store, StateSettings::default());
        let (doomed, key) = (address(2), address_key(address(2)));
        let mut changes = pay(1, 1);
        changes.accounts.insert(doomed, filled(4));
        let mut model = Model::new();
        play(&mut model, &changes);
        let before = (model.clone(), block(&store, &state, &changes));
        let (_, row) = state.head().account_row(doomed).expect("reads");
        assert_eq!(row.and_then(|row| row.storage(&key)), Some(key), "a storage of the genesis has the account's key");
        play(&mut model, &only(doomed, destroyed()));
        let root = state_root(&model);
        let mut slots: Vec<_> = (0..4u64)
            .map(|n| Change { key: crate::state::rows::slot_key(U256::from(n)), old: U256::from(n + 1), new: U256::ZERO })
            .collect();
        slots.sort_by_key(|change| change.key);
        let accounts = vec![Change::<Option<AccountRow>> { key, old: row, new: None }];
        let diff = BlockDiff { number: 1, accounts, storage: vec![(key, slots)] };
        let position = Position { number: 1, root, settled: 0, settled_root: before.1, oldest: 0 };
        let mut batch = Batch::new();
        batch.put(Table::Changes, &1u64.to_be_bytes(), &diff.encode());
        batch.put(Table::Meta, POSITION, &position.encode());
        store.commit(batch).expect("commits");

        let state = open(&store, small());
        check_view(&state.head(), &model, root);
        check_view(&state.at(0).expect("is kept"), &before.0, before.1);
        let born = only(doomed, filled(2));
        let root = block(&store, &state, &born);
        play(&mut model, &born);
        assert_eq!(root, state_root(&model));
        check_view(&state.head(), &model, root);
        check_view(&state.at(0).expect("is kept"), &before.0, before.1);
    }

    fn life() -> impl Strategy<Value = Step> {
        let slots = || prop::collection::vec((0..12u8, prop::sample::select(vec![0u8, 0, 1, 200])), 0..6);
        let who = || prop::sample::select(vec![0u8, 3, 7]);
        prop_oneof![
            1 => (who(), any::<u8>()).prop_map(|(n, amount)| Step::Pay(n, amount)),
            3 => (who(), slots()).prop_map(|(n, slots)| Step::Store(n, slots)),
            2 => who().prop_map(Step::Delete),
            2 => (who(), slots()).prop_map(|(n, slots)| Step::Recreate(n, slots)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// Few accounts that are destroyed and created anew all the time, in the same block and in later ones, over more blocks
        /// than wait to be settled; the process ends in between, before or after the commit of a block.
        #[test]
        fn many_lives_of_few_accounts_agree_with_plain_maps(
            blocks in prop::collection::vec((prop::collection::vec(life(), 0..4), any::<u8>()), 1..90),
            unsettled in prop::sample::select(vec![0usize, 4_000, 16_000, 1 << 20]),
        ) {
            let settings = StateSettings { unsettled, ..small() };
            let store = MemoryStore::new();
            let mut state = open(&store, settings);
            let mut model = Model::new();
            let mut past = Vec::new();
            for (number, (steps, dice)) in blocks.into_iter().enumerate() {
                let changes = changes_of(&model, &steps);
                if dice % 7 == 0 {
                    // The process ends after the block was worked out and before it was committed.
                    let prepared = state.prepare(&changes).expect("prepares");
                    state.apply(number as u64, &prepared, &mut Batch::new()).expect("applies");
                    state = open(&store, settings);
                }
                if dice % 5 == 0 {
                    // It ends after the commit, before the state heard of it.
                    let prepared = state.prepare(&changes).expect("prepares");
                    let mut batch = Batch::new();
                    state.apply(number as u64, &prepared, &mut batch).expect("applies");
                    store.commit(batch).expect("commits");
                    state = open(&store, settings);
                } else {
                    block(&store, &state, &changes);
                }
                play(&mut model, &changes);
                let root = state_root(&model);
                prop_assert_eq!(state.head().root(), Some(root), "block {}", number);
                past.push((model.clone(), root));
                if dice % 3 == 0 {
                    check_view(&state.head(), &model, root);
                }
            }
            for (number, (model, root)) in past.iter().enumerate() {
                check_view(&state.at(number as u64).expect("is kept"), model, *root);
            }
        }
    }
}
