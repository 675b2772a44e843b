//! `miner_*`: what this node puts into the blocks it makes, until the next start. Texts and bounds are Besu's.

use crate::backend::Api;
use crate::error::RpcError;
use crate::params::{Params, bytes, word};
use crate::wire::json;
use alloy_primitives::{Bytes, U128};
use ipe_engine::Control;
use ipe_engine::control::MinerControl;
use ipe_engine::pool::DropReason;

/// Least gas limit that a block may have, as in Ethereum's header rule.
const LEAST_GAS_LIMIT: u64 = 5_000;

type Answer = Result<Vec<u8>, RpcError>;

pub(crate) fn change_target_gas_limit(api: &Api, params: &Params<'_>) -> Answer {
    let bad = RpcError::new(-32602, "Invalid target gas limit params");
    // A JSON number, or its digits as a string.
    let digits = params.raw(0).map(|raw| raw.trim_matches('"')).unwrap_or_default();
    let limit: u64 = digits.parse().map_err(|_| bad.clone())?;
    if !(LEAST_GAS_LIMIT..=i64::MAX as u64).contains(&limit) {
        return Err(bad);
    }
    api.ask(|reply| Control::Miner(MinerControl::TargetGasLimit(limit, reply)))?;
    Ok(b"\"Success\"".to_vec())
}

pub(crate) fn get_min_gas_price(api: &Api, _: &Params<'_>) -> Answer {
    json(&U128::from(api.min_gas_price()), 64)
}

pub(crate) fn set_min_gas_price(api: &Api, params: &Params<'_>) -> Answer {
    let bad = RpcError::new(-32602, "Invalid min gas price params");
    let price = params.text(0).and_then(word).and_then(|price| u64::try_from(price).ok()).ok_or(bad)?;
    api.ask(|reply| Control::Miner(MinerControl::MinGasPrice(price, reply)))?;
    Ok(b"true".to_vec())
}

/// Drops a transaction from this node's pool and does not take it again; says whether it waited here.
pub(crate) fn drop_transaction(api: &Api, params: &Params<'_>) -> Answer {
    let hash = params.hash(0, &RpcError::TRANSACTION_HASH)?;
    let waited = api.backend.pool.lock().drop_for_good(Api::now_ms(), &hash, DropReason::ByOperator);
    Ok(waited.to_string().into_bytes())
}

pub(crate) fn get_extra_data(api: &Api, _: &Params<'_>) -> Answer {
    let vanity = api.ask(|reply| Control::Miner(MinerControl::GetVanity(reply)))?;
    json(&vanity, 128)
}

pub(crate) fn set_extra_data(api: &Api, params: &Params<'_>) -> Answer {
    let bad = RpcError::new(-32602, "Invalid extra data params");
    let text: Bytes = params.text(0).and_then(bytes).filter(|text| text.len() <= 32).ok_or(bad)?;
    api.ask(|reply| Control::Miner(MinerControl::Vanity(text, reply)))?;
    Ok(b"true".to_vec())
}
