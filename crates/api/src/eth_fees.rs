//! Prices of `eth_*`.

use crate::allowance::Allowance;
use crate::backend::Api;
use crate::error::RpcError;
use crate::params::Params;
use crate::wire::json;
use alloy_primitives::{U64, U256};
use ipe_types::Header;
use ipe_types::fork::Fork;
use ipe_types::spec::ChainSpec;
use ipe_types::transaction::narrow;
use serde::Serialize;
use std::collections::VecDeque;

/// Blocks that the suggested prices look at (`api-gas-price-blocks`).
const SAMPLE_BLOCKS: u64 = 100;
/// Share of cheaper transactions in that sample (`api-gas-price-percentile`), per cent.
const PERCENTILE: usize = 50;
/// Highest suggested price in wei (`api-gas-price-max`).
const MAX_PRICE: u128 = 500_000_000_000;
/// Most blocks of one fee history, as Besu and go-ethereum.
const MAX_HISTORY: u64 = 1024;
/// Most percentiles of one fee history.
const MAX_PERCENTILES: usize = 100;

type Answer = Result<Vec<u8>, RpcError>;

/// Base fee of the block after the head; `None` before London.
fn next_base_fee(api: &Api) -> Option<u64> {
    let head = api.backend.ledger.head();
    let floor = u64::try_from(api.min_gas_price()).unwrap_or(u64::MAX);
    let time = head.header.timestamp.saturating_add(1);
    api.backend.ledger.spec().next_base_fee(&head.header, time, floor)
}

pub(crate) fn base_fee(api: &Api, _: &Params<'_>) -> Answer {
    json(&U64::from(next_base_fee(api).unwrap_or(0)), 64)
}

/// Transactions of one block that are looked at: evenly spread, they tell the block's prices well enough.
const SAMPLE_OF_BLOCK: usize = 64;

/// Prices seen in the newest blocks. Each block is read once, whoever asks how often.
#[derive(Debug, Default)]
pub(crate) struct Prices {
    next: u64,
    blocks: VecDeque<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    prices: Vec<u128>,
    tips: Vec<u128>,
}

impl Prices {
    fn follow(&mut self, api: &Api) -> Result<(), RpcError> {
        let head = api.backend.ledger.head().number;
        let first = (head + 1).saturating_sub(SAMPLE_BLOCKS).max(self.next);
        for number in first..=head {
            self.blocks.push_back(Seen::of(api, number)?);
            self.next = number + 1;
            if self.blocks.len() as u64 > SAMPLE_BLOCKS {
                self.blocks.pop_front();
            }
        }
        Ok(())
    }
}

impl Seen {
    fn of(api: &Api, number: u64) -> Result<Self, RpcError> {
        let mut seen = Self::default();
        let header = api.header(number)?;
        // Empty blocks are recognised by the header alone.
        if header.gas_used == 0 {
            return Ok(seen);
        }
        let Some(block) = api.backend.ledger.block(number)? else { return Ok(seen) };
        let all = &block.body.transactions;
        for tx in all.iter().step_by(all.len().div_ceil(SAMPLE_OF_BLOCK).max(1)) {
            seen.prices.push(narrow(tx.effective_gas_price(header.base_fee_per_gas)));
            // Only transactions that name a tip tell what tips are usual.
            seen.tips.extend(tx.max_priority_fee_per_gas().map(narrow));
        }
        Ok(seen)
    }
}

/// The value that [`PERCENTILE`] per cent of the sample are below.
fn usual(api: &Api, of: impl Fn(&Seen) -> &[u128]) -> Result<Option<u128>, RpcError> {
    let mut prices = api.prices.lock();
    prices.follow(api)?;
    let mut all: Vec<u128> = prices.blocks.iter().flat_map(|seen| of(seen).iter().copied()).collect();
    drop(prices);
    all.sort_unstable();
    Ok(all.get(all.len() * PERCENTILE / 100).copied())
}

pub(crate) fn gas_price(api: &Api, _: &Params<'_>) -> Answer {
    let rules = *api.backend.pool.lock().rules();
    if rules.goquorum.is_some_and(|goquorum| !goquorum.priced) {
        return Ok(b"\"0x0\"".to_vec());
    }
    let floor = rules.least_price();
    let median = usual(api, |seen| &seen.prices)?.unwrap_or(floor);
    let least = floor.max(next_base_fee(api).map_or(0, u128::from));
    json(&U256::from(median.min(MAX_PRICE.max(least)).max(least)), 128)
}

pub(crate) fn max_priority_fee(api: &Api, _: &Params<'_>) -> Answer {
    if next_base_fee(api).is_none() {
        return Ok(b"\"0x0\"".to_vec());
    }
    let median = usual(api, |seen| &seen.tips)?.unwrap_or(0);
    json(&U256::from(median.min(MAX_PRICE)), 128)
}

/// Blob base fee of a block; zero before Cancun.
fn blob_fee(api: &Api, header: &Header) -> u128 {
    let spec = api.backend.ledger.spec();
    let fork = spec.fork_at(header.number, header.timestamp);
    match header.excess_blob_gas {
        Some(excess) if fork >= Fork::Cancun => spec.blob_rules(header.number, header.timestamp).price(excess),
        _ => 0,
    }
}

pub(crate) fn blob_base_fee(api: &Api, _: &Params<'_>) -> Answer {
    json(&U256::from(blob_fee(api, &api.backend.ledger.head().header)), 128)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FeeHistory {
    oldest_block: U64,
    base_fee_per_gas: Vec<U64>,
    base_fee_per_blob_gas: Vec<U256>,
    gas_used_ratio: Vec<f64>,
    blob_gas_used_ratio: Vec<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reward: Option<Vec<Vec<U256>>>,
}

pub(crate) fn fee_history(api: &Api, params: &Params<'_>, allowance: &Allowance) -> Answer {
    let bad_count = RpcError::new(-32602, "Invalid block count params");
    let count = params.number(0, &bad_count)?;
    if count == 0 || count > MAX_HISTORY {
        return Err(bad_count);
    }
    let newest = api.number(params.block(1, &RpcError::BLOCK_NUMBER)?)?;
    let newest = newest.ok_or(RpcError::INVALID_PARAMS)?;
    let bad = RpcError::new(-32602, "Invalid reward percentiles params");
    let percentiles: Option<Vec<f64>> = params.optional(2, &bad)?;
    if let Some(list) = &percentiles {
        let sorted = list.windows(2).all(|w| w[0] <= w[1]);
        if !sorted || list.len() > MAX_PERCENTILES || list.iter().any(|p| !(0.0..=100.0).contains(p)) {
            return Err(bad);
        }
    }
    let oldest = (newest + 1).saturating_sub(count);
    let spec = api.backend.ledger.spec();
    let mut out = FeeHistory {
        oldest_block: U64::from(oldest),
        base_fee_per_gas: Vec::new(),
        base_fee_per_blob_gas: Vec::new(),
        gas_used_ratio: Vec::new(),
        blob_gas_used_ratio: Vec::new(),
        reward: percentiles.as_ref().map(|_| Vec::new()),
    };
    for number in oldest..=newest {
        allowance.pause()?;
        let header = api.header(number)?;
        out.base_fee_per_gas.push(U64::from(header.base_fee_per_gas.unwrap_or(0)));
        out.base_fee_per_blob_gas.push(U256::from(blob_fee(api, &header)));
        #[allow(clippy::cast_precision_loss)]
        let ratio = |used: u64, limit: u64| if limit == 0 { 0.0 } else { used as f64 / limit as f64 };
        out.gas_used_ratio.push(ratio(header.gas_used, header.gas_limit));
        let most = spec.blob_rules(number, header.timestamp).params.max_blob_gas_per_block();
        out.blob_gas_used_ratio.push(ratio(header.blob_gas_used.unwrap_or(0), most));
        if let (Some(list), Some(rewards)) = (&percentiles, &mut out.reward) {
            rewards.push(rewards_of(api, number, &header, list)?);
        }
        if number == newest {
            let floor = u64::try_from(api.min_gas_price()).unwrap_or(u64::MAX);
            let next = spec.next_base_fee(&header, header.timestamp.saturating_add(1), floor);
            out.base_fee_per_gas.push(U64::from(next.unwrap_or(0)));
            out.base_fee_per_blob_gas.push(U256::from(next_blob_fee(spec, &header)));
        }
    }
    allowance.json(&out)
}

fn next_blob_fee(spec: &ChainSpec, header: &Header) -> u128 {
    match (header.excess_blob_gas, header.blob_gas_used) {
        (Some(_), Some(_)) if spec.fork_at(header.number, header.timestamp) >= Fork::Cancun => {
            spec.blob_rules(header.number, header.timestamp).price_after(header)
        }
        _ => 0,
    }
}

/// Tips at the percentiles of gas used in a block.
fn rewards_of(api: &Api, number: u64, header: &Header, percentiles: &[f64]) -> Result<Vec<U256>, RpcError> {
    if header.gas_used == 0 {
        return Ok(vec![U256::ZERO; percentiles.len()]);
    }
    let Some(stored) = api.stored(number)? else { return Ok(vec![U256::ZERO; percentiles.len()]) };
    let base = header.base_fee_per_gas.unwrap_or(0);
    let mut before = 0;
    let mut tips: Vec<(U256, u64)> = stored
        .block
        .body
        .transactions
        .iter()
        .zip(stored.receipts.iter())
        .map(|(tx, receipt)| {
            let used = receipt.cumulative_gas_used().saturating_sub(before);
            before = receipt.cumulative_gas_used();
            (tx.effective_tip_per_gas(base).unwrap_or_default(), used)
        })
        .collect();
    tips.sort_unstable();
    let mut out = Vec::with_capacity(percentiles.len());
    let mut at = 0;
    let mut used = tips.first().map_or(0, |(_, gas)| *gas);
    for percentile in percentiles {
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let threshold = (percentile * header.gas_used as f64 / 100.0) as u64;
        while used < threshold && at + 1 < tips.len() {
            at += 1;
            used += tips[at].1;
        }
        out.push(tips.get(at).map_or(U256::ZERO, |(tip, _)| *tip));
    }
    Ok(out)
}
