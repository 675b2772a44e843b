//! What a block's transactions name, read before they run.

use alloy_primitives::{Address, TxKind, U256};
use ipe_types::block::Transaction;

use crate::state::StateAt;

/// Accounts, and slots, of a block that are read ahead at most. Less than the caches of the state hold, so that none is evicted before
/// it is asked for; the access list of a full block of 100 Mgas can name some fifty thousand.
const MOST: usize = 8_192;

/// Fewest transactions and slots for which it pays: below, threads cost more than waiting for the disk.
const LEAST: usize = 64;

/// Senders, recipients and access lists of `transactions`, into the caches of `state`.
pub(crate) fn read_ahead(state: &StateAt, transactions: &[Transaction], senders: &[Address]) {
    let (mut accounts, mut slots) = (Vec::new(), Vec::new());
    for (tx, sender) in transactions.iter().zip(senders) {
        accounts.push(*sender);
        if let TxKind::Call(to) = tx.kind() {
            accounts.push(to);
        }
        let named = tx.access_list().map_or(&[][..], |list| &list.0);
        accounts.extend(named.iter().map(|item| item.address));
        let keys = named.iter().flat_map(|item| item.storage_keys.iter().map(|key| (item.address, U256::from_be_bytes(key.0))));
        slots.extend(keys.take(MOST - slots.len()));
        if accounts.len() >= MOST {
            break;
        }
    }
    accounts.truncate(MOST);
    accounts.sort_unstable();
    accounts.dedup();
    if accounts.len() + slots.len() >= LEAST {
        state.read_ahead(&accounts, &slots);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use alloy_consensus::{Signed, TxEip2930};
    use alloy_eips::eip2930::{AccessList, AccessListItem};
    use alloy_primitives::{B256, Signature};

    use super::*;
    use crate::kv::{Batch, MemoryStore, Read, Store, StoreError, Table, Visit};
    use crate::state::{Account, AccountChange, State, StateChanges, StateSettings};

    /// A store that counts the rows asked of it and of its snapshots.
    struct Counted<S> {
        store: S,
        reads: Arc<AtomicUsize>,
    }

    impl<S: std::ops::Deref<Target: Read> + Send + Sync> Read for Counted<S> {
        fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
            self.reads.fetch_add(1, Ordering::Relaxed);
            self.store.get(table, key)
        }

        fn range(&self, table: Table, from: &[u8], to: &[u8], reverse: bool, visit: &mut Visit<'_>) -> Result<(), StoreError> {
            self.store.range(table, from, to, reverse, visit)
        }
    }

    impl Store for Counted<Arc<MemoryStore>> {
        fn snapshot(&self) -> Arc<dyn Read> {
            Arc::new(Counted { store: self.store.snapshot(), reads: Arc::clone(&self.reads) })
        }

        fn commit(&self, batch: Batch) -> Result<(), StoreError> {
            self.store.commit(batch)
        }
    }

    fn address(n: usize) -> Address {
        Address::from_word(B256::from(U256::from(n + 1)))
    }

    fn names(to: usize, keys: std::ops::Range<usize>) -> Transaction {
        let storage_keys = keys.map(|key| B256::from(U256::from(key))).collect();
        let access_list = AccessList(vec![AccessListItem { address: address(to), storage_keys }]);
        let tx = TxEip2930 { to: TxKind::Call(address(to)), access_list, ..TxEip2930::default() };
        Signed::new_unchecked(tx, Signature::test_signature(), B256::ZERO).into()
    }

    #[test]
    fn what_is_named_is_read_once_and_no_more_than_the_bound() {
        let reads = Arc::new(AtomicUsize::new(0));
        let store = Arc::new(Counted { store: Arc::new(MemoryStore::new()), reads: Arc::clone(&reads) });
        let account = Some(Account { nonce: 1, ..Account::default() });
        let slots: BTreeMap<U256, U256> = (0..MOST + 500).map(|n| (U256::from(n), U256::from(n + 1))).collect();
        let mut changes = StateChanges::default();
        for n in 0..300 {
            changes.accounts.insert(address(n), AccountChange { account, ..AccountChange::default() });
        }
        changes.accounts.insert(address(7), AccountChange { account, slots, ..AccountChange::default() });
        let state = State::open(store.clone(), StateSettings::default()).expect("opens");
        let prepared = state.prepare(&changes).expect("prepares");
        let mut batch = Batch::new();
        state.apply(0, &prepared, &mut batch).expect("applies");
        store.commit(batch).expect("commits");
        let count = || reads.load(Ordering::Relaxed);

        let state = State::open(store, StateSettings::default()).expect("opens with empty caches");
        let head = state.head();
        let senders: Vec<Address> = (0..100).map(address).collect();
        let transactions: Vec<Transaction> = (0..100).map(|n| names(n + 100, 0..0)).collect();
        let before = count();
        read_ahead(&head, &transactions, &senders);
        assert_eq!(count() - before, 200, "each account once");
        for n in 0..200 {
            assert_eq!(head.account(address(n)).expect("reads"), account);
        }
        assert_eq!(count() - before, 200, "nothing is read twice");

        read_ahead(&head, &[names(7, 0..100)], &senders[..1]);
        let named = count();
        assert_eq!(named - before, 300);
        assert_eq!(head.slot(address(7), U256::from(99)).expect("reads"), U256::from(100));
        assert_eq!(count(), named, "its slots are in the cache");
        read_ahead(&head, &[names(7, 100..MOST + 500)], &senders[..1]);
        assert!(count() - named <= MOST, "{} rows for one list", count() - named);
    }
}
