//! What a block must be, without executing it: it follows its parent, names its validators, is proposed by one of them, is
//! not too early, and holds no transaction twice.

use std::collections::BTreeSet;

use alloy_consensus::proofs::calculate_transaction_root;
use alloy_primitives::{Address, U256};
use ipe_types::header::block_hash;
use ipe_types::{Block, ExtraData, Header};

pub(super) fn check(block: &Block, parent: Option<&Header>, validators: &[Address], period_s: u64) -> Result<(), String> {
    let header = &block.header;
    let number = header.number;
    let wrong = |what: String| Err(format!("block {number} is final and {what}"));
    let Some(parent) = parent else { return wrong("its parent is not".to_owned()) };
    if block_hash(parent).ok() != Some(header.parent_hash) || parent.number + 1 != number {
        return wrong(format!("does not follow block {}", parent.number));
    }
    if header.timestamp < parent.timestamp + period_s {
        return wrong(format!(
            "came {} s after its parent, the period is {period_s} s",
            header.timestamp.saturating_sub(parent.timestamp)
        ));
    }
    if header.difficulty != U256::from(1) {
        return wrong(format!("has difficulty {}", header.difficulty));
    }
    let Ok(extra) = ExtraData::decode(&header.extra_data) else { return wrong("its extra data does not decode".to_owned()) };
    if extra.validators != validators {
        return wrong(format!("lists validators {:?}, the votes say {validators:?}", extra.validators));
    }
    if !validators.contains(&header.beneficiary) {
        return wrong(format!("was proposed by {}, who is no validator", header.beneficiary));
    }
    // In round 0 it is the turn of whoever follows the last proposer in the list.
    let turn = validators.iter().find(|who| **who > parent.beneficiary).or(validators.first());
    if extra.round == 0 && turn != Some(&header.beneficiary) {
        return wrong(format!("was built by {} in round 0, the turn of {turn:?}", header.beneficiary));
    }
    if header.gas_limit.abs_diff(parent.gas_limit) * 1_024 >= parent.gas_limit {
        return wrong(format!("has gas limit {}, its parent {}", header.gas_limit, parent.gas_limit));
    }
    if calculate_transaction_root(&block.body.transactions) != header.transactions_root {
        return wrong("holds other transactions than its header says".to_owned());
    }
    let hashes: BTreeSet<_> = block.body.transactions.iter().map(|tx| *tx.tx_hash()).collect();
    if hashes.len() != block.body.transactions.len() {
        return wrong("holds a transaction twice".to_owned());
    }
    if header.gas_used > header.gas_limit {
        return wrong(format!("used {} gas of {}", header.gas_used, header.gas_limit));
    }
    is_as_built(header, parent, &extra).map_or(Ok(()), |what| wrong(format!("has {what}, which no honest validator builds")))
}

/// What no validator would have built, though every node imports it.
fn is_as_built(header: &Header, parent: &Header, extra: &ExtraData) -> Option<String> {
    if extra.vanity.len() != 32 {
        return Some(format!("{} bytes before its extra data", extra.vanity.len()));
    }
    if !header.nonce.is_zero() {
        return Some(format!("nonce {}", header.nonce));
    }
    // No base fee of these chains moves away from the least: hardly any gas is used.
    if header.base_fee_per_gas.zip(parent.base_fee_per_gas).is_some_and(|(fee, before)| fee > before) {
        return Some(format!("base fee {:?} after {:?}", header.base_fee_per_gas, parent.base_fee_per_gas));
    }
    // No transaction of these chains has a blob.
    let blobs = [("blob gas", header.blob_gas_used), ("excess blob gas", header.excess_blob_gas)];
    if let Some((name, some)) = blobs.iter().find(|(_, gas)| gas.is_some_and(|gas| gas > 0)) {
        return Some(format!("{name} {some:?}"));
    }
    header.parent_beacon_block_root.filter(|root| !root.is_zero()).map(|root| format!("beacon root {root}"))
}
