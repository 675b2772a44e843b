//! Blocks, transactions, receipts and logs as Besu writes them (`besu-compat` 7.1).

use crate::backend::{Api, Release};
use alloy_consensus::{TxReceipt, Typed2718};
use alloy_eips::eip2930::AccessListItem;
use alloy_primitives::{Address, B64, B256, Bloom, Bytes, Log, TxKind, U64, U256};
use alloy_rlp::Encodable;
use ipe_chain::receipts::Receipt;
use ipe_types::{Block, Header, Transaction};
use serde::Serialize;

/// Where a transaction stands in the chain.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub hash: B256,
    pub number: u64,
    pub timestamp: u64,
    pub base_fee: Option<u64>,
    pub index: u64,
}

impl Place {
    pub(crate) fn of(hash: B256, header: &Header, index: usize) -> Self {
        Self { hash, number: header.number, timestamp: header.timestamp, base_fee: header.base_fee_per_gas, index: index as u64 }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RpcAuthorization {
    chain_id: U256,
    address: Address,
    nonce: U64,
    y_parity: U64,
    r: U256,
    s: U256,
}

/// A transaction object.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RpcTransaction {
    #[serde(skip_serializing_if = "Option::is_none")]
    access_list: Option<Vec<AccessListItem>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    authorization_list: Option<Vec<RpcAuthorization>>,
    block_hash: Option<B256>,
    block_number: Option<U64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    block_timestamp: Option<U64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chain_id: Option<U64>,
    from: Address,
    gas: U64,
    #[serde(skip_serializing_if = "Option::is_none")]
    gas_price: Option<U256>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_priority_fee_per_gas: Option<U256>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_fee_per_gas: Option<U256>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_fee_per_blob_gas: Option<U256>,
    hash: B256,
    input: Bytes,
    nonce: U64,
    to: Option<Address>,
    transaction_index: Option<U64>,
    r#type: U64,
    value: U256,
    #[serde(skip_serializing_if = "Option::is_none")]
    y_parity: Option<U64>,
    v: U256,
    r: U256,
    s: U256,
    #[serde(skip_serializing_if = "Option::is_none")]
    blob_versioned_hashes: Option<Vec<B256>>,
}

impl RpcTransaction {
    /// `place` is `None` while pending.
    pub(crate) fn new(tx: &Transaction, hash: B256, from: Address, place: Option<&Place>, release: Release) -> Self {
        let signature = tx.signature();
        let parity = u64::from(signature.v());
        let typed = !tx.is_legacy();
        let v = match tx.chain_id() {
            _ if typed => U256::from(parity),
            Some(chain) => U256::from(chain) * U256::from(2) + U256::from(35 + parity),
            None => U256::from(27 + parity),
        };
        let dynamic = tx.is_dynamic_fee();
        let gas_price = match (tx.gas_price(), place) {
            (Some(price), _) => Some(price),
            (None, Some(place)) => Some(tx.effective_gas_price(place.base_fee)),
            // Besu shows no gasPrice on a pending fee-market transaction.
            (None, None) => None,
        };
        Self {
            access_list: tx.access_list().map(|l| l.0.clone()),
            authorization_list: tx.authorization_list().map(|list| {
                list.iter()
                    .map(|a| RpcAuthorization {
                        chain_id: a.chain_id,
                        address: a.address,
                        nonce: U64::from(a.nonce),
                        y_parity: U64::from(a.y_parity()),
                        r: a.r(),
                        s: a.s(),
                    })
                    .collect()
            }),
            block_hash: place.map(|p| p.hash),
            block_number: place.map(|p| U64::from(p.number)),
            block_timestamp: place.filter(|_| release == Release::Besu26).map(|p| U64::from(p.timestamp)),
            chain_id: tx.chain_id().map(U64::from),
            from,
            gas: U64::from(tx.gas_limit()),
            gas_price,
            max_priority_fee_per_gas: tx.max_priority_fee_per_gas(),
            max_fee_per_gas: dynamic.then(|| tx.max_fee_per_gas()),
            max_fee_per_blob_gas: tx.max_fee_per_blob_gas(),
            hash,
            input: tx.input().clone(),
            nonce: U64::from(tx.nonce()),
            to: tx.to(),
            transaction_index: place.map(|p| U64::from(p.index)),
            r#type: U64::from(tx.ty()),
            value: tx.value(),
            y_parity: typed.then(|| U64::from(parity)),
            v,
            r: signature.r(),
            s: signature.s(),
            blob_versioned_hashes: tx.blob_versioned_hashes().map(<[B256]>::to_vec),
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RpcWithdrawal {
    index: U64,
    validator_index: U64,
    address: Address,
    amount: U64,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum RpcTransactions {
    Hashes(Vec<B256>),
    Full(Vec<RpcTransaction>),
}

/// A block object.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RpcBlock {
    number: U64,
    hash: B256,
    mix_hash: B256,
    parent_hash: B256,
    nonce: B64,
    sha3_uncles: B256,
    logs_bloom: Bloom,
    transactions_root: B256,
    state_root: B256,
    receipts_root: B256,
    miner: Address,
    difficulty: U256,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_difficulty: Option<U256>,
    extra_data: Bytes,
    #[serde(skip_serializing_if = "Option::is_none")]
    base_fee_per_gas: Option<U64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<U64>,
    gas_limit: U64,
    gas_used: U64,
    timestamp: U64,
    #[serde(skip_serializing_if = "Option::is_none")]
    uncles: Option<[B256; 0]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transactions: Option<RpcTransactions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    withdrawals_root: Option<B256>,
    #[serde(skip_serializing_if = "Option::is_none")]
    withdrawals: Option<Vec<RpcWithdrawal>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    requests_hash: Option<B256>,
    #[serde(skip_serializing_if = "Option::is_none")]
    blob_gas_used: Option<U64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    excess_blob_gas: Option<U64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_beacon_block_root: Option<B256>,
}

impl RpcBlock {
    fn header(hash: B256, h: &Header) -> Self {
        Self {
            number: U64::from(h.number),
            hash,
            mix_hash: h.mix_hash,
            parent_hash: h.parent_hash,
            nonce: h.nonce,
            sha3_uncles: h.ommers_hash,
            logs_bloom: h.logs_bloom,
            transactions_root: h.transactions_root,
            state_root: h.state_root,
            receipts_root: h.receipts_root,
            miner: h.beneficiary,
            difficulty: h.difficulty,
            total_difficulty: None,
            extra_data: h.extra_data.clone(),
            base_fee_per_gas: h.base_fee_per_gas.map(U64::from),
            size: None,
            gas_limit: U64::from(h.gas_limit),
            gas_used: U64::from(h.gas_used),
            timestamp: U64::from(h.timestamp),
            uncles: None,
            transactions: None,
            withdrawals_root: h.withdrawals_root,
            withdrawals: None,
            requests_hash: h.requests_hash,
            blob_gas_used: h.blob_gas_used.map(U64::from),
            excess_blob_gas: h.excess_blob_gas.map(U64::from),
            parent_beacon_block_root: h.parent_beacon_block_root,
        }
    }

    /// The whole block; `senders` are needed for full transactions only.
    pub(crate) fn new(hash: B256, block: &Block, total_difficulty: U256, senders: Option<&[Address]>, release: Release) -> Self {
        let h = &block.header;
        let transactions = &block.body.transactions;
        let list = match senders {
            None => RpcTransactions::Hashes(transactions.iter().map(|t| *t.tx_hash()).collect()),
            Some(senders) => RpcTransactions::Full(
                transactions
                    .iter()
                    .zip(senders)
                    .enumerate()
                    .map(|(i, (t, from))| RpcTransaction::new(t, *t.tx_hash(), *from, Some(&Place::of(hash, h, i)), release))
                    .collect(),
            ),
        };
        Self {
            total_difficulty: Some(total_difficulty),
            size: Some(U64::from(block.length() as u64)),
            uncles: Some([]),
            transactions: Some(list),
            withdrawals: block.body.withdrawals.as_ref().map(|list| {
                list.iter()
                    .map(|w| RpcWithdrawal {
                        index: U64::from(w.index),
                        validator_index: U64::from(w.validator_index),
                        address: w.address,
                        amount: U64::from(w.amount),
                    })
                    .collect()
            }),
            ..Self::header(hash, h)
        }
    }
}

impl RpcBlock {
    /// A block that was simulated: its bytes as `block` has them, its fields as `header`.
    pub(crate) fn simulated(hash: B256, block: &Block, header: &Header, senders: Option<&[Address]>, release: Release) -> Self {
        let whole = Self::new(hash, &Block { header: header.clone(), body: block.body.clone() }, U256::ZERO, senders, release);
        Self { total_difficulty: None, size: Some(U64::from(block.length() as u64)), withdrawals: None, ..whole }
    }
}

/// A log object.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RpcLog {
    log_index: U64,
    removed: bool,
    block_number: U64,
    block_hash: B256,
    #[serde(skip_serializing_if = "Option::is_none")]
    block_timestamp: Option<U64>,
    transaction_hash: B256,
    transaction_index: U64,
    address: Address,
    data: Bytes,
    topics: Vec<B256>,
}

impl RpcLog {
    /// `index` counts in the block.
    pub(crate) fn new(log: &Log, index: u64, transaction: B256, place: &Place, release: Release) -> Self {
        Self {
            log_index: U64::from(index),
            removed: false,
            block_number: U64::from(place.number),
            block_hash: place.hash,
            block_timestamp: (release == Release::Besu26).then(|| U64::from(place.timestamp)),
            transaction_hash: transaction,
            transaction_index: U64::from(place.index),
            address: log.address,
            data: log.data.data.clone(),
            topics: log.topics().to_vec(),
        }
    }
}

/// A receipt object.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RpcReceipt {
    block_hash: B256,
    block_number: U64,
    contract_address: Option<Address>,
    cumulative_gas_used: U64,
    from: Address,
    gas_used: U64,
    effective_gas_price: U256,
    logs: Vec<RpcLog>,
    logs_bloom: Bloom,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<U64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    root: Option<B256>,
    to: Option<Address>,
    transaction_hash: B256,
    transaction_index: U64,
    r#type: U64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revert_reason: Option<Bytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    blob_gas_used: Option<U64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    blob_gas_price: Option<U256>,
}

impl RpcReceipt {
    /// `before` is the cumulative gas of the transactions before, `first_log` the number of logs before.
    pub(crate) fn new(
        tx: &Transaction,
        from: Address,
        receipt: &Receipt,
        before: u64,
        first_log: u64,
        place: &Place,
        release: Release,
    ) -> Self {
        let hash = *tx.tx_hash();
        let created = match tx.kind() {
            TxKind::Create => Some(from.create(tx.nonce())),
            TxKind::Call(_) => None,
        };
        let post = receipt.status_or_post_state();
        Self {
            block_hash: place.hash,
            block_number: U64::from(place.number),
            contract_address: created,
            cumulative_gas_used: U64::from(receipt.cumulative_gas_used()),
            from,
            gas_used: U64::from(receipt.cumulative_gas_used().saturating_sub(before)),
            effective_gas_price: tx.effective_gas_price(place.base_fee),
            logs: receipt
                .logs()
                .iter()
                .zip(first_log..)
                .map(|(log, index)| RpcLog::new(log, index, hash, place, release))
                .collect(),
            logs_bloom: receipt.bloom(),
            status: (!post.is_post_state()).then(|| U64::from(receipt.status())),
            root: post.as_post_state(),
            to: tx.to(),
            transaction_hash: hash,
            transaction_index: U64::from(place.index),
            r#type: U64::from(tx.ty()),
            revert_reason: None,
            blob_gas_used: tx.blob_gas_used().map(U64::from),
            blob_gas_price: None,
        }
    }
}

/// All receipts of a block.
pub(crate) fn receipts(api: &Api, hash: B256, block: &Block, senders: &[Address], receipts: &[Receipt]) -> Vec<RpcReceipt> {
    let mut before = 0;
    let mut first_log = 0;
    let release = api.settings.release;
    let items = block.body.transactions.iter().zip(senders).zip(receipts).enumerate();
    items
        .map(|(i, ((tx, from), receipt))| {
            let place = Place::of(hash, &block.header, i);
            let shape = RpcReceipt::new(tx, *from, receipt, before, first_log, &place, release);
            before = receipt.cumulative_gas_used();
            first_log += receipt.logs().len() as u64;
            shape
        })
        .collect()
}
