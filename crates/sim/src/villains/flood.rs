//! An institution whose writer and boot send transactions as fast as they can, in every way that might keep others' out: each
//! is sound, and uses all the gas that it reserves.

use alloy_consensus::{SignableTransaction, TxLegacy};
use alloy_primitives::{Bytes, Signature, TxKind, U256};
use ipe_types::eth::EthMessage;
use ipe_types::{NodeKey, Transaction};

use super::{Said, Scene, Villain};
use crate::setup::{CHAIN_ID, FLOODERS, class, key};

/// Creations that reserve a whole block, at the beginning.
const WHOLE_BLOCKS: u64 = 300;
/// Fresh accounts of one act.
const FRESH: u64 = 16;
/// Accounts of one act whose transaction is sent with two bodies.
const DOUBLE: u64 = 4;
/// Transactions of one act that bid a wei a gas.
const TIPS: u64 = 3;
/// Gas of these.
const GAS: u64 = 1_000_000;

pub(super) fn act(villain: &mut Villain, scene: &Scene<'_>) -> Vec<Said> {
    let whole = scene.ledger.head().header.gas_limit;
    let mut transactions = Vec::new();
    if villain.acts == 0 {
        transactions.extend((0..WHOLE_BLOCKS).filter_map(|_| burning(&fresh(villain), 0, 0, whole, 0)));
    }
    // As large as anybody's.
    transactions.extend((0..FRESH).filter_map(|_| burning(&fresh(villain), 0, 0, whole / 100, 0)));
    for _ in 0..DOUBLE {
        let key = fresh(villain);
        transactions.extend((0..2).filter_map(|body| burning(&key, 0, 0, GAS, body)));
    }
    // One wei a gas, of accounts that have some.
    let accounts = FLOODERS as u64;
    transactions.extend(
        (0..TIPS)
            .map(|tip| villain.acts * TIPS + tip)
            .filter_map(|number| burning(&key(class::FLOODER, (number % accounts) as usize), number / accounts, 1, GAS, 0)),
    );
    villain.acts += 1;
    vec![Said::eth(scene.peers.clone(), EthMessage::Transactions(transactions))]
}

/// An account that nobody has seen.
pub(super) fn fresh(villain: &mut Villain) -> NodeKey {
    loop {
        let words: Vec<u8> = (0..4).flat_map(|_| villain.rng.next().to_be_bytes()).collect();
        let Ok(secret) = <[u8; 32]>::try_from(words.as_slice()) else { continue };
        if let Ok(key) = NodeKey::from_bytes(secret) {
            return key;
        }
    }
}

/// A creation whose only instruction is none: it uses all of its gas at once.
fn burning(key: &NodeKey, nonce: u64, gas_price: u128, gas_limit: u64, body: u8) -> Option<Transaction> {
    creation(key, nonce, gas_price, gas_limit, vec![0xfe, body])
}

/// A creation with this code.
pub(super) fn creation(key: &NodeKey, nonce: u64, gas_price: u128, gas_limit: u64, code: Vec<u8>) -> Option<Transaction> {
    let input = Bytes::from(code);
    let tx = TxLegacy { chain_id: Some(CHAIN_ID), nonce, gas_price, gas_limit, to: TxKind::Create, value: U256::ZERO, input };
    let signed = key.sign(tx.signature_hash());
    let bytes = signed.as_slice();
    let (r, s) = (bytes.get(..32)?, bytes.get(32..64)?);
    let signature = Signature::new(U256::from_be_slice(r), U256::from_be_slice(s), *bytes.get(64)? == 1);
    Some(Transaction::from(tx.into_signed(signature)))
}
