//! Offering transactions to the shared pool: the steps around [`Pool::add`] that need the ledger.

use std::sync::Arc;

use alloy_primitives::{Address, B256, KECCAK256_EMPTY};
use ipe_chain::{Candidate, Ledger};
use ipe_types::spec::ChainSpec;
use ipe_types::transition::TxGasCap;
use parking_lot::Mutex;

use crate::pool::{Offer, Origin, Pool, Rules, SenderState};

/// Offers transactions of a peer to the pool; what it does not take is dropped silently, as in Besu. Returns the hashes of
/// those that may be taken when they come again, unchanged.
pub fn remote(pool: &Mutex<Pool>, ledger: &Ledger, now_ms: u64, candidates: Vec<Arc<Candidate>>) -> Vec<B256> {
    let rules = *pool.lock().rules();
    let mut passing = Vec::new();
    for candidate in candidates {
        let hash = candidate.hash;
        let offered = Offer::check(candidate, Origin::Remote, &rules).and_then(|offer| {
            let state = sender_state(ledger, offer.candidate().sender);
            pool.lock().add(now_ms, offer, &state)
        });
        if let Err(refusal) = offered {
            pool.lock().refused_of_peer(&refusal);
            if refusal.is_passing() {
                passing.push(hash);
            }
        }
    }
    passing
}

/// The account of a sender at the head; an account that cannot be read counts as empty, so that nothing is admitted for it.
pub fn sender_state(ledger: &Ledger, address: Address) -> SenderState {
    let state = ledger.state().head();
    let Ok(Some(account)) = state.account(address) else { return SenderState::default() };
    let has_code = account.code_hash != KECCAK256_EMPTY
        && !matches!(state.code(account.code_hash), Ok(Some(code)) if code.is_eip7702());
    SenderState { nonce: account.nonce, balance: account.balance, has_code }
}

/// Rules of the block after the head; what is this node's own choice is kept from `before`.
pub fn rules(ledger: &Ledger, spec: &ChainSpec, before: &Rules) -> Rules {
    let head = ledger.head();
    let number = head.number + 1;
    let params = spec.qbft_at(number, head.header.timestamp);
    let timestamp = head.header.timestamp + params.period_ms / 1_000;
    let fork = spec.fork_at(number, timestamp);
    let min_gas_price = u64::try_from(before.min_gas_price).unwrap_or(u64::MAX);
    let tx_gas_cap = match params.tx_gas_cap {
        TxGasCap::Gas(cap) => Some(cap),
        TxGasCap::Unlimited => None,
        TxGasCap::Fork => (fork >= ipe_types::fork::Fork::Osaka).then_some(1 << 24),
    };
    Rules {
        fork,
        block_gas_limit: head.header.gas_limit,
        tx_gas_cap,
        base_fee: spec.next_base_fee(&head.header, timestamp, min_gas_price),
        period_ms: params.period_ms,
        ..*before
    }
}
