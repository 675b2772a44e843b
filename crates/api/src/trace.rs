//! `trace_*`: flat traces.

use crate::backend::Api;
use crate::debug::each_traced;
use crate::error::RpcError;
use crate::execution::{Call, Watch, not_executed};
use crate::flat_trace::{FlatTrace, flatten, reward};
use crate::object::Object;
use crate::params::{BlockTag, Params, address};
use crate::wire::json;
use alloy_primitives::B256;
use alloy_primitives::map::HashSet;
use alloy_rpc_types_trace::parity::{TraceResults, TraceResultsWithTransactionHash, TraceType};
use revm_inspectors::tracing::{TracingInspector, TracingInspectorConfig};
use serde::Deserialize;
use std::time::Instant;

/// Most flat traces in one answer of `trace_filter`.
const MAX_TRACES: usize = 10_000;

type Answer = Result<Vec<u8>, RpcError>;

/// Traces of a block, with its reward at the end; `only` one transaction, without the reward.
fn traces(api: &Api, number: u64, only: Option<usize>, deadline: Instant) -> Result<Vec<FlatTrace>, RpcError> {
    let mut out = Vec::new();
    let Some(stored) = api.stored(number)? else { return Ok(out) };
    let header = &stored.block.header;
    let hash = stored.hash;
    if let Some(mut replay) = api.backend.ledger.replay(number)? {
        if let Some(index) = only {
            replay.skip_to(index).map_err(not_executed)?;
        }
        each_traced(&mut replay, deadline, |index, inspector, _, _| {
            if only.is_none_or(|only| only == index) {
                let transaction = *stored.block.body.transactions[index].tx_hash();
                out.extend(flatten(inspector.traces(), hash, number, transaction, index));
            }
            Ok(only.is_none())
        })?;
    }
    let params = api.backend.ledger.spec().qbft_at(number, header.timestamp);
    if only.is_none() && number > 0 {
        out.push(reward(hash, header, params.beneficiary.unwrap_or(header.beneficiary), params.block_reward));
    }
    Ok(out)
}

pub(crate) fn block(api: &Api, params: &Params<'_>) -> Answer {
    let number = api.number(params.block(0, &RpcError::BLOCK_NUMBER)?)?.ok_or(RpcError::BLOCK_NOT_FOUND)?;
    json(&traces(api, number, None, api.deadline())?, api.settings.response_limit)
}

fn of_transaction(api: &Api, hash: B256) -> Result<Option<Vec<FlatTrace>>, RpcError> {
    let Some((number, index)) = api.transaction_place(hash)? else { return Ok(None) };
    traces(api, number, Some(index), api.deadline()).map(Some)
}

pub(crate) fn transaction(api: &Api, params: &Params<'_>) -> Answer {
    let hash = params.hash(0, &RpcError::TRANSACTION_HASH)?;
    json(&of_transaction(api, hash)?.unwrap_or_default(), api.settings.response_limit)
}

pub(crate) fn get(api: &Api, params: &Params<'_>) -> Answer {
    let hash = params.hash(0, &RpcError::TRANSACTION_HASH)?;
    let bad = RpcError::new(-32602, "Invalid trace numbers params");
    let place: Vec<String> = params.required(1, &bad)?;
    let place: Vec<usize> = place
        .iter()
        .map(|t| crate::params::number(t).and_then(|n| usize::try_from(n).ok()))
        .collect::<Option<_>>()
        .ok_or(bad)?;
    let found = of_transaction(api, hash)?.unwrap_or_default().into_iter().find(|t| t.trace_address == place);
    json(&found, api.settings.response_limit)
}

pub(crate) fn filter(api: &Api, params: &Params<'_>) -> Answer {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Raw {
        from_block: Option<String>,
        to_block: Option<String>,
        #[serde(default)]
        from_address: Vec<String>,
        #[serde(default)]
        to_address: Vec<String>,
        after: Option<usize>,
        count: Option<usize>,
    }
    let Object(raw): Object<Raw> = params.required(0, &RpcError::FILTER)?;
    let head = api.backend.ledger.head().number;
    let at = |text: &Option<String>| match text {
        None => Ok::<u64, RpcError>(head),
        Some(text) => Ok(api.number(BlockTag::read(text).ok_or(RpcError::FILTER)?)?.unwrap_or(head)),
    };
    let (from, to) = (at(&raw.from_block)?, at(&raw.to_block)?);
    let limit = api.settings.max_trace_range;
    if limit != 0 && to.saturating_sub(from) > limit {
        return Err(RpcError::RANGE);
    }
    let read = |list: &[String]| list.iter().map(|t| address(t)).collect::<Option<Vec<_>>>().ok_or(RpcError::FILTER);
    let (senders, receivers) = (read(&raw.from_address)?, read(&raw.to_address)?);
    let deadline = api.deadline();
    let most = raw.count.unwrap_or(MAX_TRACES).min(MAX_TRACES);
    let mut skip = raw.after.unwrap_or(0);
    let mut out = Vec::new();
    for number in from..=to {
        if Instant::now() >= deadline {
            return Err(RpcError::TIMEOUT);
        }
        for trace in traces(api, number, None, deadline)? {
            if !trace.concerns(&senders, &receivers) {
                continue;
            }
            if skip > 0 {
                skip -= 1;
                continue;
            }
            if out.len() == most {
                return json(&out, api.settings.response_limit);
            }
            out.push(trace);
        }
    }
    json(&out, api.settings.response_limit)
}

fn kinds(params: &Params<'_>, index: usize) -> Result<HashSet<TraceType>, RpcError> {
    params.required(index, &RpcError::new(-32602, "Invalid trace type params"))
}

pub(crate) fn call(api: &Api, params: &Params<'_>) -> Answer {
    let call = Call::read(params, 0)?;
    let kinds = kinds(params, 1)?;
    let Some(scene) = api.scene(params, 2)? else { return Ok(b"null".to_vec()) };
    let mut db = scene.view.with(&ipe_chain::Overrides::new()).map_err(RpcError::internal)?;
    let mut watch = Watch::until(api.deadline());
    let mut inspector = TracingInspector::new(TracingInspectorConfig::from_parity_config(&kinds));
    let tx = call.tx(&scene.env, api.call_gas(&call, &scene.env));
    let simulated = ipe_chain::simulate(&mut db, &scene.env, tx, (&mut watch, &mut inspector)).map_err(not_executed)?;
    watch.in_time()?;
    let results: TraceResults = inspector
        .into_parity_builder()
        .into_trace_results_with_state(&simulated, &kinds, &db)
        .map_err(RpcError::internal)?;
    json(&results, api.settings.response_limit)
}

pub(crate) fn replay_block(api: &Api, params: &Params<'_>) -> Answer {
    let number = api.number(params.block(0, &RpcError::BLOCK_NUMBER)?)?.ok_or(RpcError::BLOCK_NOT_FOUND)?;
    let kinds = kinds(params, 1)?;
    let Some(mut replay) = api.backend.ledger.replay(number)? else { return Ok(b"[]".to_vec()) };
    let stored = replay.stored().clone();
    let mut out = Vec::new();
    each_traced(&mut replay, api.deadline(), |index, inspector, simulated, db| {
        let full_trace = inspector
            .into_parity_builder()
            .into_trace_results_with_state(simulated, &kinds, &*db)
            .map_err(RpcError::internal)?;
        let transaction_hash = *stored.block.body.transactions[index].tx_hash();
        out.push(TraceResultsWithTransactionHash { full_trace, transaction_hash });
        Ok(true)
    })?;
    json(&out, api.settings.response_limit)
}
