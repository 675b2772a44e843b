//! Blocks, transactions and receipts of `eth_*`.

use crate::allowance::Allowance;
use crate::backend::Api;
use crate::debug::revert_reasons;
use crate::error::RpcError;
use crate::params::{BlockTag, Params};
use crate::shapes::{Place, RpcBlock, RpcReceipt, RpcTransaction, receipts};
use crate::wire::json;
use alloy_consensus::TxReceipt;
use alloy_primitives::{Address, B256, Bytes, U64, U256};
use ipe_chain::read::StoredBlock;
use ipe_types::fork::Fork;
use serde::Serialize;
use serde_json::{Map, Value};
use std::sync::Arc;

type Answer = Result<Vec<u8>, RpcError>;

const NULL: &[u8] = b"null";

pub(crate) fn chain_id(api: &Api, _: &Params<'_>) -> Answer {
    json(&U64::from(api.backend.ledger.spec().chain_id()), 64)
}

pub(crate) fn block_number(api: &Api, _: &Params<'_>) -> Answer {
    json(&U64::from(api.backend.ledger.head().number), 64)
}

/// `eth_syncing`'s object.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Syncing {
    starting_block: U64,
    current_block: U64,
    highest_block: U64,
}

impl Syncing {
    pub(crate) fn of(sync: &ipe_engine::SyncProgress) -> Self {
        Self {
            starting_block: U64::from(sync.start),
            current_block: U64::from(sync.current),
            highest_block: U64::from(sync.highest),
        }
    }
}

pub(crate) fn syncing(api: &Api, _: &Params<'_>) -> Answer {
    match api.backend.status.get().sync {
        Some(sync) => json(&Syncing::of(&sync), 256),
        None => Ok(b"false".to_vec()),
    }
}

fn block(api: &Api, found: Option<Arc<StoredBlock>>, full: bool, allowance: &Allowance) -> Answer {
    let Some(stored) = found else { return Ok(NULL.to_vec()) };
    let total = api.backend.ledger.total_difficulty(stored.block.header.number);
    let senders = full.then(|| stored.senders.as_slice());
    let shape = RpcBlock::new(stored.hash, &stored.block, total, senders, api.settings.release);
    allowance.json(&shape)
}

pub(crate) fn block_by_number(api: &Api, params: &Params<'_>, allowance: &Allowance) -> Answer {
    let full = params.flag(1, &RpcError::new(-32602, "Invalid return complete transaction params"))?;
    block(api, api.stored_by_tag(params, 0)?, full, allowance)
}

pub(crate) fn block_by_hash(api: &Api, params: &Params<'_>, allowance: &Allowance) -> Answer {
    let full = params.flag(1, &RpcError::new(-32602, "Invalid return complete transaction params"))?;
    block(api, api.stored_by_hash(params, 0)?, full, allowance)
}

pub(crate) fn block_receipts(api: &Api, params: &Params<'_>, allowance: &Allowance) -> Answer {
    let block = params.block_or_hash(0, &RpcError::BLOCK_NUMBER)?.ok_or(RpcError::BLOCK_NUMBER)?;
    let stored = match api.number_of(block)? {
        Some(number) => api.stored(number)?,
        None => None,
    };
    let Some(stored) = stored else { return Ok(NULL.to_vec()) };
    let mut list = receipts(api, stored.hash, &stored.block, &stored.senders, &stored.receipts);
    if api.settings.revert_reason {
        let failed: Vec<usize> = stored.receipts.iter().enumerate().filter(|(_, r)| !r.status()).map(|(index, _)| index).collect();
        for (index, reason) in revert_reasons(api, stored.block.header.number, &failed, allowance)? {
            list[index].revert_reason = Some(reason);
        }
    }
    allowance.json(&list)
}

fn count(found: Option<Arc<StoredBlock>>) -> Answer {
    json(&found.map(|s| U64::from(s.block.body.transactions.len() as u64)), 64)
}

pub(crate) fn transaction_count_by_number(api: &Api, params: &Params<'_>, _: &Allowance) -> Answer {
    count(api.stored_by_tag(params, 0)?)
}

pub(crate) fn transaction_count_by_hash(api: &Api, params: &Params<'_>, _: &Allowance) -> Answer {
    count(api.stored_by_hash(params, 0)?)
}

fn no_uncles(exists: bool) -> Answer {
    Ok(if exists { b"\"0x0\"".to_vec() } else { NULL.to_vec() })
}

pub(crate) fn uncle_count_by_number(api: &Api, params: &Params<'_>) -> Answer {
    no_uncles(api.number(params.block(0, &RpcError::BLOCK_NUMBER)?)?.is_some())
}

pub(crate) fn uncle_count_by_hash(api: &Api, params: &Params<'_>) -> Answer {
    let hash = params.hash(0, &RpcError::BLOCK_HASH)?;
    no_uncles(api.backend.ledger.number_of(&hash)?.is_some())
}

pub(crate) fn uncle_by_number(_: &Api, params: &Params<'_>) -> Answer {
    params.block(0, &RpcError::BLOCK_NUMBER)?;
    params.number(1, &RpcError::INDEX)?;
    Ok(NULL.to_vec())
}

pub(crate) fn uncle_by_hash(_: &Api, params: &Params<'_>) -> Answer {
    params.hash(0, &RpcError::BLOCK_HASH)?;
    params.number(1, &RpcError::INDEX)?;
    Ok(NULL.to_vec())
}

/// The transaction at an index of a block.
fn at_index(api: &Api, found: Option<Arc<StoredBlock>>, index: u64, allowance: &Allowance) -> Answer {
    let shape = found.and_then(|stored| {
        let index = usize::try_from(index).ok()?;
        mined(api, &stored, index)
    });
    allowance.json(&shape)
}

fn mined(api: &Api, stored: &StoredBlock, index: usize) -> Option<RpcTransaction> {
    let tx = stored.block.body.transactions.get(index)?;
    let from = *stored.senders.get(index)?;
    let place = Place::of(stored.hash, &stored.block.header, index);
    Some(RpcTransaction::new(tx, *tx.tx_hash(), from, Some(&place), api.settings.release))
}

pub(crate) fn transaction_by_number_and_index(api: &Api, params: &Params<'_>, allowance: &Allowance) -> Answer {
    let index = params.number(1, &RpcError::INDEX)?;
    at_index(api, api.stored_by_tag(params, 0)?, index, allowance)
}

pub(crate) fn transaction_by_hash_and_index(api: &Api, params: &Params<'_>, allowance: &Allowance) -> Answer {
    let index = params.number(1, &RpcError::INDEX)?;
    at_index(api, api.stored_by_hash(params, 0)?, index, allowance)
}

pub(crate) fn transaction_by_hash(api: &Api, params: &Params<'_>, allowance: &Allowance) -> Answer {
    let hash = params.hash(0, &RpcError::TRANSACTION_HASH)?;
    let pending = api.backend.pool.lock().get(&hash);
    if let Some(c) = pending {
        let shape = RpcTransaction::new(&c.tx, c.hash, c.sender, None, api.settings.release);
        return allowance.json(&shape);
    }
    let found = api.backend.ledger.transaction(&hash)?;
    allowance.json(&found.and_then(|t| mined(api, &t.stored, t.index)))
}

/// Looks for a mined transaction by sender and nonce: the block in which the sender's nonce passed it is found by bisection
/// over the states, so that no index is needed.
pub(crate) fn transaction_by_sender_and_nonce(api: &Api, params: &Params<'_>, allowance: &Allowance) -> Answer {
    let sender = params.address(0, &RpcError::ADDRESS)?;
    let nonce = params.number(1, &RpcError::new(-32602, "Invalid nonce params"))?;
    let pending = api.backend.pool.lock().by_sender(&sender, nonce);
    if let Some(c) = pending {
        let shape = RpcTransaction::new(&c.tx, c.hash, c.sender, None, api.settings.release);
        return allowance.json(&shape);
    }
    let nonce_after = |number: u64| -> Result<u64, RpcError> { Ok(api.state_at(number)?.account(sender)?.map_or(0, |a| a.nonce)) };
    let mut high = api.backend.ledger.head().number;
    if nonce_after(high)? <= nonce {
        return Ok(NULL.to_vec());
    }
    let mut low = 0;
    while low + 1 < high {
        let middle = low + (high - low) / 2;
        if nonce_after(middle)? > nonce { high = middle } else { low = middle }
    }
    let Some(stored) = api.stored(high)? else { return Ok(NULL.to_vec()) };
    let index = stored
        .block
        .body
        .transactions
        .iter()
        .zip(stored.senders.iter())
        .position(|(tx, from)| *from == sender && tx.nonce() == nonce);
    allowance.json(&index.and_then(|i| mined(api, &stored, i)))
}

pub(crate) fn transaction_receipt(api: &Api, params: &Params<'_>, allowance: &Allowance) -> Answer {
    let hash = params.hash(0, &RpcError::TRANSACTION_HASH)?;
    let Some(found) = api.backend.ledger.transaction(&hash)? else { return Ok(NULL.to_vec()) };
    let stored = &found.stored;
    let before = found.index.checked_sub(1).map_or(0, |i| stored.receipts[i].cumulative_gas_used());
    let first_log = stored.receipts[..found.index].iter().map(|r| r.logs().len() as u64).sum();
    let place = Place::of(stored.hash, &stored.block.header, found.index);
    let mut shape = RpcReceipt::new(found.tx(), found.sender(), found.receipt(), before, first_log, &place, api.settings.release);
    if api.settings.revert_reason && !found.receipt().status() {
        shape.revert_reason = revert_reasons(api, place.number, &[found.index], allowance)?.remove(&found.index);
    }
    allowance.json(&shape)
}

/// `eth_getMinerData…`: words of 32 bytes, as Besu writes them.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MinerData {
    net_block_reward: B256,
    static_block_reward: B256,
    transaction_fee: B256,
    uncle_inclusion_reward: B256,
    uncle_rewards: [Value; 0],
    coinbase: Address,
    extra_data: Bytes,
    difficulty: B256,
    total_difficulty: B256,
}

fn miner_data(api: &Api, found: Option<Arc<StoredBlock>>) -> Answer {
    let Some(stored) = found else { return Ok(NULL.to_vec()) };
    let header = &stored.block.header;
    let reward = api.backend.ledger.spec().qbft_at(header.number, header.timestamp).block_reward;
    let mut before = 0;
    let mut fee = U256::ZERO;
    for (tx, receipt) in stored.block.body.transactions.iter().zip(stored.receipts.iter()) {
        let used = receipt.cumulative_gas_used().saturating_sub(before);
        before = receipt.cumulative_gas_used();
        fee = fee.saturating_add(U256::from(used).saturating_mul(tx.effective_gas_price(header.base_fee_per_gas)));
    }
    let data = MinerData {
        net_block_reward: reward.saturating_add(fee).into(),
        static_block_reward: reward.into(),
        transaction_fee: fee.into(),
        uncle_inclusion_reward: B256::ZERO,
        uncle_rewards: [],
        coinbase: header.beneficiary,
        extra_data: header.extra_data.clone(),
        difficulty: header.difficulty.into(),
        total_difficulty: api.backend.ledger.total_difficulty(header.number).into(),
    };
    json(&data, api.settings.response_limit)
}

pub(crate) fn miner_data_by_number(api: &Api, params: &Params<'_>, _: &Allowance) -> Answer {
    miner_data(api, api.stored_by_tag(params, 0)?)
}

pub(crate) fn miner_data_by_hash(api: &Api, params: &Params<'_>, _: &Allowance) -> Answer {
    miner_data(api, api.stored_by_hash(params, 0)?)
}

/// Precompiles by EIP-7910's names with the fork that brought each.
const PRECOMPILES: [(&str, Fork, u16); 18] = [
    ("ECREC", Fork::Frontier, 1),
    ("SHA256", Fork::Frontier, 2),
    ("RIPEMD160", Fork::Frontier, 3),
    ("ID", Fork::Frontier, 4),
    ("MODEXP", Fork::Byzantium, 5),
    ("BN254_ADD", Fork::Byzantium, 6),
    ("BN254_MUL", Fork::Byzantium, 7),
    ("BN254_PAIRING", Fork::Byzantium, 8),
    ("BLAKE2F", Fork::Istanbul, 9),
    ("KZG_POINT_EVALUATION", Fork::Cancun, 0x0a),
    ("BLS12_G1ADD", Fork::Prague, 0x0b),
    ("BLS12_G1MSM", Fork::Prague, 0x0c),
    ("BLS12_G2ADD", Fork::Prague, 0x0d),
    ("BLS12_G2MSM", Fork::Prague, 0x0e),
    ("BLS12_PAIRING_CHECK", Fork::Prague, 0x0f),
    ("BLS12_MAP_FP_TO_G1", Fork::Prague, 0x10),
    ("BLS12_MAP_FP2_TO_G2", Fork::Prague, 0x11),
    ("P256VERIFY", Fork::Osaka, 0x100),
];

/// `eth_config` (EIP-7910) as Besu 26.8 fills it on a QBFT chain: every milestone, also a QBFT transition, counts.
pub(crate) fn config(api: &Api, _: &Params<'_>) -> Answer {
    let spec = api.backend.ledger.spec();
    let head = api.backend.ledger.head();
    let (number, timestamp) = (head.number, head.header.timestamp);
    let fork = spec.fork_at(number, timestamp);
    let forks = spec.genesis().forks.points().iter().map(|p| p.at);
    let transitions = spec.qbft().entries().iter().map(|(at, _)| *at);
    let active = forks.chain(transitions).filter(|at| at.active(number, timestamp)).map(|at| at.value()).max();
    let zero = spec.base_fee_policy() == ipe_types::genesis::BaseFeePolicy::Zero;
    let (target, max, fraction) = match fork {
        f if f >= Fork::Prague => (6, 9, 5_007_716),
        f if f >= Fork::Cancun => (3, 6, 3_338_477),
        _ => (0, 6, 0),
    };
    let mut blobs = Map::new();
    blobs.insert("baseFeeUpdateFraction".into(), Value::from(if zero { 0 } else { fraction }));
    blobs.insert("max".into(), Value::from(max));
    blobs.insert("target".into(), Value::from(target));
    let precompiles: Map<String, Value> = PRECOMPILES
        .iter()
        .filter(|(_, since, _)| fork >= *since)
        .map(|(name, _, at)| {
            let address = Address::left_padding_from(&at.to_be_bytes());
            ((*name).to_owned(), Value::from(format!("{address:#x}")))
        })
        .collect();
    let mut current = Map::new();
    current.insert("activationTime".into(), Value::from(active.unwrap_or(0)));
    current.insert("blobSchedule".into(), Value::Object(blobs));
    current.insert("chainId".into(), Value::from(format!("{:#x}", spec.chain_id())));
    let id = spec.fork_id(number, timestamp);
    current.insert("forkId".into(), Value::from(format!("0x{}", alloy_primitives::hex::encode(id.hash))));
    current.insert("precompiles".into(), Value::Object(precompiles));
    let mut out = Map::new();
    out.insert("current".into(), Value::Object(current));
    out.insert("next".into(), Value::Null);
    out.insert("last".into(), Value::Null);
    json(&out, api.settings.response_limit)
}

/// The block after which a method looks by default.
pub(crate) const LATEST: crate::params::BlockRef = crate::params::BlockRef::Tag(BlockTag::Latest);

/// What of the chain is kept: everything, but for the states before those that are pruned.
pub(crate) fn capabilities(api: &Api, _: &Params<'_>) -> Answer {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Resource {
        disabled: bool,
        oldest_block: U64,
    }
    #[derive(Serialize)]
    struct Head {
        number: U64,
        hash: B256,
    }
    #[derive(Serialize)]
    struct Body {
        head: Head,
        state: Resource,
        tx: Resource,
        logs: Resource,
        receipts: Resource,
        blocks: Resource,
        stateproofs: Resource,
    }
    let ledger = &api.backend.ledger;
    let head = ledger.head();
    let from = |number: u64| Resource { disabled: false, oldest_block: U64::from(number) };
    let body = Body {
        head: Head { number: U64::from(head.number), hash: head.hash },
        state: from(ledger.state().oldest()),
        tx: from(0),
        logs: from(0),
        receipts: from(0),
        blocks: from(0),
        stateproofs: from(ledger.state().oldest()),
    };
    json(&body, api.settings.response_limit)
}
