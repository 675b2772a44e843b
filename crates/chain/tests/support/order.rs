//! What an honest proposer orders and a quorum seals, for tests and benches.
#![allow(dead_code, clippy::unwrap_used, clippy::panic)]

use std::collections::VecDeque;
use std::sync::Arc;

use alloy_consensus::{SignableTransaction, TxLegacy};
use alloy_primitives::{Bytes, Signature, U256};
use ipe_chain::{Bound, BuildOrder, Candidate, CheckedBlock, Feedback, Head, InvalidBlock, Ledger, LedgerError};
use ipe_types::block::{Block, Transaction};
use ipe_types::crypto::NodeKey;
use ipe_types::header::{commit_hash, with_round_and_seals};

/// The block after `head`, a second later, by whose turn it is in round 0.
pub fn next(head: &Head) -> BuildOrder {
    BuildOrder {
        timestamp: head.header.timestamp + 1,
        coinbase: head.validators_next.proposer(head.header.beneficiary, 0).unwrap(),
        round: 0,
        vanity: Bytes::from(vec![0; 32]),
        vote: None,
        min_gas_price: 0,
        target_gas_limit: None,
    }
}

/// Key number `byte`.
pub fn key(byte: u8) -> NodeKey {
    NodeKey::from_bytes([byte; 32]).unwrap()
}

/// The block with the seals of these keys.
pub fn seal(block: &Block, round: u32, keys: impl IntoIterator<Item = u8>) -> Arc<Block> {
    let hash = commit_hash(&block.header, round).unwrap();
    let seals = keys.into_iter().map(|n| key(n).sign(hash)).collect();
    Arc::new(Block { header: with_round_and_seals(&block.header, round, seals).unwrap(), body: block.body.clone() })
}

/// The transaction with a signature.
pub fn signed(from: &NodeKey, tx: TxLegacy) -> Arc<Candidate> {
    let bytes = from.sign(tx.signature_hash());
    let bytes = bytes.as_slice();
    let signature = Signature::new(U256::from_be_slice(&bytes[..32]), U256::from_be_slice(&bytes[32..64]), bytes[64] == 1);
    Arc::new(Candidate::recover(Transaction::from(tx.into_signed(signature))).unwrap())
}

/// What the builder makes of these candidates, and what it says of each.
pub fn build(ledger: &Ledger, candidates: &[Arc<Candidate>]) -> (CheckedBlock, Vec<Feedback>) {
    let (mut queue, mut told) = (VecDeque::from(candidates.to_vec()), Vec::new());
    let mut hand = |feedback| {
        told.push(feedback);
        queue.pop_front()
    };
    let built = ledger.build(&next(&ledger.head()), &mut hand, Bound::NONE).unwrap();
    (built, told.split_off(1))
}

/// Seals a block of the validator with key 1 and imports it.
pub fn import(ledger: &Ledger, block: &Arc<Block>) -> Result<(), InvalidBlock> {
    let sealed = seal(block, 0, [1]);
    let checked = ledger.check_sealed(Arc::clone(&sealed), sealed.header.timestamp * 1_000, &|_| None)?;
    match ledger.import(checked, sealed) {
        Ok(_) => Ok(()),
        Err(LedgerError::Invalid { reason, .. }) => Err(reason),
        Err(other) => panic!("{other}"),
    }
}
