use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, U256, keccak256};
use alloy_trie::proof::verify_proof;
use alloy_trie::{HashBuilder, TrieAccount};
use proptest::prelude::*;
use revm::bytecode::Bytecode;

use super::*;
use crate::kv::{Batch, MemoryStore, Read};
use crate::trie::key_path;

/// The state as plain maps.
pub(super) type Model = BTreeMap<Address, (Account, BTreeMap<U256, U256>)>;

fn root_of(leaves: BTreeMap<B256, Vec<u8>>) -> B256 {
    let mut builder = HashBuilder::default();
    for (key, value) in &leaves {
        builder.add_leaf(key_path(key), value);
    }
    builder.root()
}

fn storage_root(slots: &BTreeMap<U256, U256>) -> B256 {
    root_of(slots.iter().map(|(slot, value)| (keccak256(slot.to_be_bytes::<32>()), alloy_rlp::encode(value))).collect())
}

fn leaf(account: &Account, slots: &BTreeMap<U256, U256>) -> Vec<u8> {
    alloy_rlp::encode(TrieAccount {
        nonce: account.nonce,
        balance: account.balance,
        storage_root: storage_root(slots),
        code_hash: account.code_hash,
    })
}

pub(super) fn state_root(model: &Model) -> B256 {
    root_of(model.iter().map(|(address, (account, slots))| (keccak256(address), leaf(account, slots))).collect())
}

pub(super) fn play(model: &mut Model, changes: &StateChanges) {
    for (address, change) in &changes.accounts {
        let Some(account) = change.account else {
            model.remove(address);
            continue;
        };
        let entry = model.entry(*address).or_default();
        entry.0 = account;
        if change.wiped {
            entry.1.clear();
        }
        entry.1.extend(&change.slots);
        entry.1.retain(|_, value| !value.is_zero());
    }
}

pub(super) fn address(n: u8) -> Address {
    Address::with_last_byte(n)
}

/// One block on the head: prepared, applied, committed.
pub(super) fn block(store: &MemoryStore, state: &State, changes: &StateChanges) -> B256 {
    let number = state.position().map_or(0, |(number, _)| number + 1);
    let prepared = state.prepare(changes).expect("prepares");
    let mut batch = Batch::new();
    state.apply(number, &prepared, &mut batch).expect("applies");
    store.commit(batch).expect("commits");
    state.committed(number, &prepared).expect("is the head");
    prepared.root()
}

pub(super) fn open(store: &MemoryStore, settings: StateSettings) -> State {
    State::open(Arc::new(store.clone()), settings).expect("opens")
}

pub(super) fn small() -> StateSettings {
    // Small enough that everything is evicted, flushed and read again.
    StateSettings {
        account_cache: 8 * 600,
        slot_cache: 8 * 600,
        code_cache: 8 * 600,
        trie_cache: 8 * 1200,
        upper_trie_cache: 8 * 1200,
        unsettled: 16_000,
        ..StateSettings::default()
    }
}

pub(super) fn check_view(at: &StateAt, model: &Model, root: B256) {
    for n in 0..24u8 {
        let address = address(n);
        let expected = model.get(&address);
        assert_eq!(at.account(address).expect("reads"), expected.map(|(account, _)| *account), "account {n}");
        for slot in (0..12).map(U256::from) {
            let value = expected.and_then(|(_, slots)| slots.get(&slot)).copied().unwrap_or_default();
            assert_eq!(at.slot(address, slot).expect("reads"), value, "slot {slot} of {n} at {}", at.number());
        }
    }
    for n in [0, 3, 7, 23] {
        let slots: Vec<U256> = (0..12).map(U256::from).collect();
        let proof = at.proof(address(n), &slots).expect("proves");
        let expected = model.get(&address(n));
        let value = expected.map(|(account, slots)| leaf(account, slots));
        verify_proof(root, key_path(&keccak256(address(n))), value, &proof.nodes)
            .unwrap_or_else(|error| panic!("account {n} at {}: {error}", at.number()));
        assert_eq!(proof.account, expected.map(|(account, _)| *account));
        for slot in &proof.slots {
            let value = expected.and_then(|(_, slots)| slots.get(&slot.slot)).copied();
            assert_eq!(slot.value, value.unwrap_or_default());
            let key = key_path(&keccak256(slot.slot.to_be_bytes::<32>()));
            verify_proof(proof.storage_root, key, value.map(alloy_rlp::encode), &slot.nodes)
                .unwrap_or_else(|error| panic!("slot {} of {n} at {}: {error}", slot.slot, at.number()));
        }
    }
}

#[derive(Clone, Debug)]
pub(super) enum Step {
    Pay(u8, u8),
    Store(u8, Vec<(u8, u8)>),
    Delete(u8),
    Recreate(u8, Vec<(u8, u8)>),
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let slots = || prop::collection::vec((0..12u8, prop::sample::select(vec![0u8, 0, 1, 2, 200])), 0..8);
    prop_oneof![
        4 => (0..24u8, any::<u8>()).prop_map(|(n, amount)| Step::Pay(n, amount)),
        6 => (0..24u8, slots()).prop_map(|(n, slots)| Step::Store(n, slots)),
        1 => (0..24u8).prop_map(Step::Delete),
        1 => (0..24u8, slots()).prop_map(|(n, slots)| Step::Recreate(n, slots)),
    ]
}

pub(super) fn changes_of(model: &Model, steps: &[Step]) -> StateChanges {
    let mut changes = StateChanges::default();
    let named = |slots: &[(u8, u8)]| slots.iter().map(|(slot, value)| (U256::from(*slot), U256::from(*value))).collect();
    for step in steps {
        let (n, change) = match step {
            Step::Pay(n, amount) => {
                let mut account = model.get(&address(*n)).map(|(account, _)| *account).unwrap_or_default();
                account.balance += U256::from(*amount);
                (n, AccountChange { account: Some(account), ..AccountChange::default() })
            }
            Step::Store(n, slots) => {
                let account = model.get(&address(*n)).map(|(account, _)| *account).unwrap_or_default();
                (n, AccountChange { account: Some(account), slots: named(slots), ..AccountChange::default() })
            }
            Step::Delete(n) => (n, AccountChange { wiped: true, ..AccountChange::default() }),
            Step::Recreate(n, slots) => {
                let account = Account { nonce: 1, ..Account::default() };
                let slots = named(slots);
                (n, AccountChange { account: Some(account), wiped: true, slots, code: None })
            }
        };
        changes.accounts.insert(address(*n), change);
    }
    changes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn random_chains_agree_with_plain_maps(
        blocks in prop::collection::vec((prop::collection::vec(step(), 0..12), any::<u8>()), 1..16),
        unwritten in prop::collection::vec(prop::collection::vec(step(), 0..12), 4),
    ) {
        let store = MemoryStore::new();
        let mut state = open(&store, small());
        let mut model = Model::new();
        let mut past = Vec::new();
        for (steps, dice) in blocks {
            let changes = changes_of(&model, &steps);
            if dice % 4 == 0 {
                // Another candidate of the same height, looked at and dropped.
                let other = StateChanges { accounts: changes.accounts.iter().take(2).map(|(a, c)| (*a, c.clone())).collect() };
                drop(state.prepare(&other).expect("prepares"));
            }
            let root = block(&store, &state, &changes);
            play(&mut model, &changes);
            prop_assert_eq!(root, state_root(&model));
            past.push((model.clone(), root));
            if dice % 3 == 0 {
                state = open(&store, small());
            }
            prop_assert_eq!(state.head().root(), Some(root));
            check_view(&state.head(), &model, root);
        }
        for (number, (model, root)) in past.iter().enumerate() {
            let at = state.at(number as u64).expect("is kept");
            check_view(&at, model, *root);
            // Blocks on top of it that are never written.
            for steps in &unwritten {
                let changes = changes_of(model, steps);
                let mut after = model.clone();
                play(&mut after, &changes);
                prop_assert_eq!(at.root_with(&changes).expect("goes back").root, state_root(&after));
            }
        }
        let head = past.len() as u64 - 1;
        prop_assert!(matches!(state.at(head + 1), Err(StateError::Ahead { .. })), "above the head");
    }
}

pub(super) fn pay(n: u8, balance: u64) -> StateChanges {
    let account = Account { nonce: 0, balance: U256::from(balance), code_hash: KECCAK256_EMPTY };
    let change = AccountChange { account: Some(account), ..AccountChange::default() };
    StateChanges { accounts: BTreeMap::from([(address(n), change)]) }
}

#[test]
fn full_keeps_only_the_last_blocks() {
    let store = MemoryStore::new();
    let settings = StateSettings { retention: Retention::Full { keep: MIN_KEEP }, ..StateSettings::default() };
    let state = open(&store, settings);
    for number in 0..MIN_KEEP + 72 {
        block(&store, &state, &pay((number % 7) as u8, number));
    }
    let head = MIN_KEEP + 71;
    assert_eq!(state.oldest(), 71);
    assert!(matches!(state.at(70), Err(StateError::Pruned { asked: 70, oldest: 71 })));
    let at = state.at(71).expect("is kept");
    assert_eq!(at.account(address(1)).expect("reads").expect("exists").balance, U256::from(71));
    let mut oldest_row = u64::MAX;
    store
        .range(Table::AccountHistory, &[], &[], false, &mut |key, _| {
            let last = key.last_chunk::<8>().expect("ends with a block");
            oldest_row = oldest_row.min(u64::from_be_bytes(*last));
            std::ops::ControlFlow::Continue(())
        })
        .expect("reads");
    assert!(oldest_row > 71, "history of block {oldest_row} is left");
    assert_eq!(store.len(Table::Changes) as u64, head - 71);
    at.proof(address(1), &[]).expect("proves");
    let archive = open(&store, StateSettings::default());
    block(&store, &archive, &pay(1, 1));
    assert_eq!(archive.oldest(), 71, "what is gone stays gone");
}

#[test]
fn an_archive_reads_every_height_and_bounds_its_change_lists() {
    let store = MemoryStore::new();
    let state = open(&store, StateSettings::default());
    let head = CHANGES_KEPT + 100;
    for number in 0..=head {
        block(&store, &state, &pay((number % 7) as u8, number));
    }
    assert_eq!(store.len(Table::Changes) as u64, CHANGES_KEPT);
    for number in (0..head).step_by(31) {
        let at = state.at(number).expect("is kept");
        let n = (number % 7) as u8;
        assert_eq!(at.account(address(n)).expect("reads").expect("exists").balance, U256::from(number));
    }
    assert!(matches!(state.at(99).expect("is kept").proof(address(1), &[]), Err(StateError::TooFarBack { .. })));
    state.at(100).expect("is kept").proof(address(1), &[]).expect("proves");
}

#[test]
fn a_block_without_changes_writes_only_the_position() {
    let store = MemoryStore::new();
    let state = open(&store, StateSettings::default());
    block(&store, &state, &pay(1, 1));
    let prepared = state.prepare(&pay(1, 1)).expect("prepares");
    assert!(prepared.is_empty());
    let mut batch = Batch::new();
    state.apply(1, &prepared, &mut batch).expect("applies");
    assert_eq!(batch.len(), 1);
    assert!(batch.bytes() < 100);
}

#[test]
fn stale_changes_are_refused() {
    let store = MemoryStore::new();
    let state = open(&store, StateSettings::default());
    block(&store, &state, &pay(1, 1));
    let first = state.prepare(&pay(1, 2)).expect("prepares");
    block(&store, &state, &pay(2, 2));
    let refused = state.apply(2, &first, &mut Batch::new());
    assert!(matches!(refused, Err(StateError::Stale { prepared: Some(0), head: Some(1) })), "{refused:?}");
    let fresh = state.prepare(&pay(1, 2)).expect("prepares");
    assert!(matches!(state.apply(3, &fresh, &mut Batch::new()), Err(StateError::Stale { .. })), "a number is skipped");
}

#[test]
fn code_is_stored_once_and_served_analysed() {
    let store = MemoryStore::new();
    let state = open(&store, StateSettings::default());
    let code = Bytecode::new_legacy(Bytes::from_static(&[0x60, 0x01, 0x5b, 0x00]));
    let hash = code.hash_slow();
    let mut changes = pay(1, 1);
    let change = changes.accounts.get_mut(&address(1)).expect("is there");
    change.account = Some(Account { nonce: 1, balance: U256::ZERO, code_hash: hash });
    change.code = Some(code.clone());
    block(&store, &state, &changes);
    assert_eq!(store.len(Table::Code), 1);
    for state in [&state, &open(&store, StateSettings::default())] {
        assert_eq!(state.head().code(hash).expect("reads"), Some(code.clone()));
        assert_eq!(state.head().code(KECCAK256_EMPTY).expect("reads"), Some(Bytecode::default()));
        assert_eq!(state.head().code(B256::ZERO).expect("reads"), None);
    }
}

#[test]
fn views_stay_true_while_blocks_commit() {
    let store = MemoryStore::new();
    let state = open(&store, small());
    let all = |balance: u64| StateChanges { accounts: (0..24).flat_map(|n| pay(n, balance).accounts).collect() };
    block(&store, &state, &all(0));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut turns = 0u64;
                while !done.load(Ordering::Relaxed) {
                    let head = state.head();
                    let at = state.at(head.number().saturating_sub(turns % 4)).expect("is kept");
                    for view in [&head, &at] {
                        for n in 0..24 {
                            let balance = view.account(address(n)).expect("reads").expect("exists").balance;
                            assert_eq!(balance, U256::from(view.number()), "account {n}");
                        }
                    }
                    turns += 1;
                }
            });
        }
        for number in 1..400 {
            block(&store, &state, &all(number));
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn tables_that_contradict_the_root_are_refused_at_opening() {
    let store = MemoryStore::new();
    let state = open(&store, StateSettings::default());
    block(&store, &state, &pay(1, 1));
    block(&store, &state, &pay(2, 2));
    let mut batch = Batch::new();
    batch.delete(Table::Changes, &1u64.to_be_bytes());
    store.commit(batch).expect("commits");
    let refused = State::open(Arc::new(store), StateSettings::default()).err().expect("is refused");
    assert!(matches!(refused, StateError::Store(crate::kv::StoreError::Corrupt { .. })), "{refused}");
}
