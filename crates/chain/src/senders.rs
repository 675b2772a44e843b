//! Recovery of senders: once per transaction, on the C library, in parallel, and only for transactions whose sender nobody
//! knows yet.

use alloy_primitives::{Address, B256};
use ipe_types::block::Transaction;
use ipe_types::fork::Fork;
use rayon::prelude::*;
use thiserror::Error;

use crate::invalid::InvalidBlock;

/// No sender answers to a transaction's signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("no sender can be recovered from the signature (or its s is above half the curve order)")]
pub struct SenderError;

/// The sender of a transaction whose s must be low (EIP-2, from Homestead on).
///
/// # Errors
/// No key answers to the signature, or s is high.
pub fn recover(tx: &Transaction) -> Result<Address, SenderError> {
    ipe_types::work::count(|done| done.recoveries += 1);
    tx.recover_signer().map_err(|_| SenderError)
}

/// The sender under the rules of `fork`: Frontier takes a high s, and replay protection exists from Spurious Dragon on.
///
/// # Errors
/// No key answers to the signature under those rules.
pub fn recover_at(fork: Fork, tx: &Transaction) -> Result<Address, SenderError> {
    if fork < Fork::SpuriousDragon && tx.chain_id().is_some() {
        return Err(SenderError);
    }
    if fork < Fork::Homestead { tx.recover_signer_unchecked().map_err(|_| SenderError) } else { recover(tx) }
}

/// Transactions per unit of parallel work: about a millisecond of recovery, so that stealing costs nothing beside it.
const CHUNK: usize = 24;

/// Senders of all transactions of a block, in order. `known` answers for transactions already seen (pool, builder).
///
/// # Errors
/// The first transaction without a sender.
pub fn recover_block(
    fork: Fork,
    transactions: &[Transaction],
    known: &dyn Fn(&B256) -> Option<Address>,
) -> Result<Vec<Address>, InvalidBlock> {
    let mut senders: Vec<Option<Address>> = transactions.iter().map(|tx| known(tx.tx_hash())).collect();
    let mut missing: Vec<(usize, &mut Option<Address>)> =
        senders.iter_mut().enumerate().filter(|(_, sender)| sender.is_none()).collect();
    missing.par_chunks_mut(CHUNK).for_each(|chunk| {
        for (index, sender) in chunk {
            **sender = recover_at(fork, &transactions[*index]).ok();
        }
    });
    senders
        .into_iter()
        .enumerate()
        .map(|(index, sender)| sender.ok_or_else(|| unrecoverable(index, &transactions[index])))
        .collect()
}

pub(crate) fn unrecoverable(index: usize, tx: &Transaction) -> InvalidBlock {
    InvalidBlock::Transaction { index, hash: *tx.tx_hash(), reason: SenderError.to_string() }
}
