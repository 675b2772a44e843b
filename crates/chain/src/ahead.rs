//! What a block's transactions name, read before they run.

use alloy_consensus::Transaction as _;
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
