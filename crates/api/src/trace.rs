//! `trace_*`: flat traces.

use crate::allowance::Allowance;
use crate::backend::Api;
use crate::debug::each_traced;
use crate::error::RpcError;
use crate::execution::{Call, not_executed};
use crate::flat_trace::{FlatTrace, flatten, reward};
use crate::object::{Object, elements};
use crate::params::{BlockTag, Params, address, bytes};
use crate::simulate::TX_GAS_CAP;
use crate::watch::{self, Records, Stop};
use alloy_eips::eip2718::Decodable2718;
use alloy_primitives::B256;
use alloy_primitives::map::HashSet;
use alloy_rpc_types_trace::parity::{TraceResults, TraceResultsWithTransactionHash, TraceType};
use ipe_chain::{Env, SimDb, Simulated, Tx};
use ipe_types::Transaction;
use ipe_types::fork::Fork;
use revm::database_interface::DatabaseRef;
use revm_inspectors::tracing::TracingInspectorConfig;
use serde::Deserialize;
use serde_json::json;

/// Most flat traces in one answer of `trace_filter`.
const MAX_TRACES: usize = 10_000;

/// Most calls of one `trace_callMany`.
const MAX_CALLS: usize = 1024;

type Answer = Result<Vec<u8>, RpcError>;

/// Bytes of one flat trace that is kept, its place and what it carries not among them.
const FLAT: usize = 512;

/// What a flat trace takes that is kept.
fn size(trace: &FlatTrace) -> usize {
    FLAT + 8 * trace.trace_address.len() + 3 * trace.data()
}

/// Traces of a block, with its reward at the end; `only` one transaction, without the reward. Those that are not wanted are
/// neither kept nor counted.
fn traces(
    api: &Api,
    number: u64,
    only: Option<usize>,
    allowance: &Allowance,
    wanted: impl Fn(&FlatTrace) -> bool,
) -> Result<Vec<FlatTrace>, RpcError> {
    let mut out = Vec::new();
    let Some(stored) = api.stored(number)? else { return Ok(out) };
    let header = &stored.block.header;
    let hash = stored.hash;
    if let Some(mut replay) = api.backend.ledger.replay(number)? {
        if let Some(index) = only {
            watch::skip_to(allowance, &mut replay, index)?;
        }
        let mut held = allowance.held();
        let config = TracingInspectorConfig::default_parity();
        each_traced(&mut replay, config, Records::CALLS, allowance, |index, inspector, _, _| {
            let before = out.len();
            if only.is_none_or(|only| only == index) {
                let transaction = *stored.block.body.transactions[index].tx_hash();
                out.extend(flatten(inspector.traces(), hash, number, transaction, index).into_iter().filter(&wanted));
            }
            drop(inspector);
            // What is kept is counted from here on, in place of the records that it was made of.
            allowance.hold_only(held);
            allowance.hold(out[before..].iter().map(size).sum())?;
            held = allowance.held();
            Ok(only.is_none())
        })?;
    }
    let params = api.backend.ledger.spec().qbft_at(number, header.timestamp);
    if only.is_none() && number > 0 {
        let reward = reward(hash, header, params.beneficiary.unwrap_or(header.beneficiary), params.block_reward);
        out.extend(Some(reward).filter(wanted));
    }
    Ok(out)
}

pub(crate) fn block(api: &Api, params: &Params<'_>, allowance: &Allowance) -> Answer {
    let number = api.number(params.block(0, &RpcError::BLOCK_NUMBER)?)?.ok_or(RpcError::BLOCK_NOT_FOUND)?;
    allowance.json(&traces(api, number, None, allowance, |_| true)?)
}

fn of_transaction(api: &Api, hash: B256, allowance: &Allowance) -> Result<Option<Vec<FlatTrace>>, RpcError> {
    let Some((number, index)) = api.transaction_place(hash)? else { return Ok(None) };
    traces(api, number, Some(index), allowance, |_| true).map(Some)
}

pub(crate) fn transaction(api: &Api, params: &Params<'_>, allowance: &Allowance) -> Answer {
    let hash = params.hash(0, &RpcError::TRANSACTION_HASH)?;
    allowance.json(&of_transaction(api, hash, allowance)?.unwrap_or_default())
}

pub(crate) fn get(api: &Api, params: &Params<'_>, allowance: &Allowance) -> Answer {
    let hash = params.hash(0, &RpcError::TRANSACTION_HASH)?;
    let bad = RpcError::new(-32602, "Invalid trace numbers params");
    let place: Vec<String> = params.required(1, &bad)?;
    let place: Vec<usize> =
        place.iter().map(|t| crate::params::number(t).and_then(|n| usize::try_from(n).ok())).collect::<Option<_>>().ok_or(bad)?;
    let found = of_transaction(api, hash, allowance)?.unwrap_or_default().into_iter().find(|t| t.trace_address == place);
    allowance.json(&found)
}

pub(crate) fn filter(api: &Api, params: &Params<'_>, allowance: &Allowance) -> Answer {
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
    let most = raw.count.unwrap_or(MAX_TRACES).min(MAX_TRACES);
    let mut skip = raw.after.unwrap_or(0);
    let mut out = Vec::new();
    for number in from..=to {
        allowance.pause()?;
        for trace in traces(api, number, None, allowance, |trace| trace.concerns(&senders, &receivers))? {
            if skip > 0 {
                skip -= 1;
                allowance.hold_only(allowance.held().saturating_sub(size(&trace)));
                continue;
            }
            if out.len() == most {
                return allowance.json(&out);
            }
            out.push(trace);
        }
    }
    allowance.json(&out)
}

fn kinds(params: &Params<'_>, index: usize) -> Result<HashSet<TraceType>, RpcError> {
    params.required(index, &RpcError::new(-32602, "Invalid trace type params"))
}

/// What the tracer keeps for these kinds of traces.
fn records(kinds: &HashSet<TraceType>) -> Records {
    if kinds.contains(&TraceType::VmTrace) {
        Records::VM
    } else if kinds.contains(&TraceType::Trace) {
        Records::CALLS
    } else {
        Records::PLAIN_CALLS
    }
}

pub(crate) fn call(api: &Api, params: &Params<'_>, allowance: &Allowance) -> Answer {
    let call = Call::read(params, 0)?;
    let kinds = kinds(params, 1)?;
    let Some(scene) = api.scene(params, 2)? else { return Ok(b"null".to_vec()) };
    let mut db = scene.view.with(&ipe_chain::Overrides::new()).map_err(RpcError::internal)?;
    let tx = call.tx(&scene.env, api.call_gas(&call, &scene.env));
    let (traced, _) = results(&kinds, &mut db, &scene.env, tx, allowance)?;
    allowance.json(&traced)
}

pub(crate) fn replay_block(api: &Api, params: &Params<'_>, allowance: &Allowance) -> Answer {
    let number = api.number(params.block(0, &RpcError::BLOCK_NUMBER)?)?.ok_or(RpcError::BLOCK_NOT_FOUND)?;
    let kinds = kinds(params, 1)?;
    let Some(mut replay) = api.backend.ledger.replay(number)? else { return Ok(b"[]".to_vec()) };
    let stored = replay.stored().clone();
    let mut out = Vec::new();
    let config = TracingInspectorConfig::from_parity_config(&kinds);
    each_traced(&mut replay, config, records(&kinds), allowance, |index, inspector, simulated, db| {
        let full_trace =
            inspector.into_parity_builder().into_trace_results_with_state(simulated, &kinds, &*db).map_err(RpcError::internal)?;
        let transaction_hash = *stored.block.body.transactions[index].tx_hash();
        out.push(TraceResultsWithTransactionHash { full_trace, transaction_hash });
        Ok(true)
    })?;
    allowance.json(&out)
}

pub(crate) fn replay_transaction(api: &Api, params: &Params<'_>, allowance: &Allowance) -> Answer {
    let hash = params.hash(0, &RpcError::TRANSACTION_HASH)?;
    let kinds = kinds(params, 1)?;
    let Some((number, index)) = api.transaction_place(hash)? else { return Ok(b"null".to_vec()) };
    let mut replay = api.backend.ledger.replay(number)?.ok_or(RpcError::BLOCK_NOT_FOUND)?;
    watch::skip_to(allowance, &mut replay, index)?;
    let mut out = None;
    let config = TracingInspectorConfig::from_parity_config(&kinds);
    each_traced(&mut replay, config, records(&kinds), allowance, |_, inspector, simulated, db| {
        let built = inspector.into_parity_builder().into_trace_results_with_state(simulated, &kinds, &*db);
        out = Some(built.map_err(RpcError::internal)?);
        Ok(false)
    })?;
    allowance.json(&out)
}

/// Traces of one transaction on `db`, as `trace_call` gives them.
fn results(
    kinds: &HashSet<TraceType>,
    db: &mut SimDb,
    env: &Env,
    tx: Tx,
    allowance: &Allowance,
) -> Result<(TraceResults, Simulated), Stop> {
    let mut inspector = watch::tracing(allowance, TracingInspectorConfig::from_parity_config(kinds));
    let (simulated, _) = watch::execute(allowance, records(kinds), db, env, tx, &mut inspector)?;
    watch::complete(allowance, &inspector)?;
    let built = inspector.into_parity_builder().into_trace_results_with_state(&simulated, kinds, &*db);
    Ok((built.map_err(RpcError::internal)?, simulated))
}

/// Several calls one after the other, each on what the ones before it did.
pub(crate) fn call_many(api: &Api, params: &Params<'_>, allowance: &Allowance) -> Answer {
    let bad = RpcError::new(-32602, "Invalid trace call many params");
    let Some(scene) = api.scene(params, 1)? else { return Err(RpcError::BLOCK_NOT_FOUND) };
    if params.count() != 2 {
        return Err(RpcError::PARAM_COUNT);
    }
    let items =
        elements(params.raw(0).ok_or_else(|| bad.clone())?, MAX_CALLS).map_err(|_| bad.clone())?.ok_or_else(|| bad.clone())?;
    let calls = items.into_iter().map(|item| {
        let pair = Params::parse(Some(item)).map_err(|_| bad.clone())?;
        if pair.count() != 2 {
            return Err(bad.clone());
        }
        Ok((Call::read(&pair, 0).map_err(|_| bad.clone())?, kinds(&pair, 1).map_err(|_| bad.clone())?))
    });
    let calls: Vec<(Call, HashSet<TraceType>)> = calls.collect::<Result<_, _>>()?;
    let mut db = scene.view.with(&ipe_chain::Overrides::new()).map_err(RpcError::internal)?;
    let mut out = Vec::with_capacity(calls.len());
    for (call, kinds) in calls {
        let mut tx = call.tx(&scene.env, api.call_gas(&call, &scene.env));
        // As Besu here: who names no price pays the base fee, and who names no gas has what one transaction may have.
        if call.gas_price.is_none() && call.max_fee.is_none() {
            tx.env.gas_price = u128::from(scene.env.block.basefee);
        }
        if call.gas.is_none() && scene.env.fork >= Fork::Osaka {
            tx.env.gas_limit = tx.env.gas_limit.min(TX_GAS_CAP);
        }
        let (traced, simulated) = match results(&kinds, &mut db, &scene.env, tx, allowance) {
            Ok(done) => done,
            // Besu's answer to a call that may not be executed.
            Err(Stop::Simulate(_)) => return Err(RpcError::INTERNAL),
            Err(Stop::Over(error)) => return Err(error),
        };
        watch::keep(allowance, &mut db, simulated)?;
        out.push(traced);
    }
    allowance.json(&out)
}

/// A signed transaction, executed on the state of the head without being sent.
pub(crate) fn raw_transaction(api: &Api, params: &Params<'_>, allowance: &Allowance) -> Answer {
    if params.count() != 2 {
        return Err(RpcError::PARAM_COUNT);
    }
    let bad = RpcError::new(-32602, "Invalid transaction params (missing or incorrect)");
    let raw = params.text(0).and_then(bytes).ok_or_else(|| bad.clone())?;
    let kinds = kinds(params, 1)?;
    // Typed ones may be wrapped into a string, as `debug_getRawTransaction` of Besu gives them.
    let mut inner = raw.as_ref();
    let wrapped =
        matches!(raw.first(), Some(0x80..=0xbf)).then(|| alloy_rlp::Header::decode_bytes(&mut inner, false).ok()).flatten();
    let tx = Transaction::decode_2718_exact(wrapped.unwrap_or(&raw)).map_err(|_| bad.clone())?;
    let sender = ipe_chain::recover(&tx).map_err(|_| bad)?;
    let scene = api.scene(&Params::default(), 0)?.ok_or(RpcError::BLOCK_NOT_FOUND)?;
    let mut db = scene.view.with(&ipe_chain::Overrides::new()).map_err(RpcError::internal)?;
    let nonce = db.basic_ref(sender).map_err(RpcError::internal)?.map_or(0, |account| account.nonce);
    let mut executed = ipe_chain::tx_env(&tx, sender);
    executed.env.gas_limit = executed.env.gas_limit.min(api.most_gas());
    let traced = if tx.nonce() < nonce { None } else { Some(results(&kinds, &mut db, &scene.env, executed, allowance)) };
    match traced {
        Some(Ok((traced, _))) => allowance.json(&traced),
        Some(Err(Stop::Over(error))) => Err(error),
        Some(Err(Stop::Simulate(error))) if tx.to().is_none() => Err(not_executed(error)),
        // Besu's answer to one that may not be executed: a call that used nothing.
        None | Some(Err(Stop::Simulate(_))) => {
            let action = json!({ "callType": "call", "from": sender, "input": tx.input(), "to": tx.to(), "value": tx.value() });
            let result = json!({ "gasUsed": "0x0", "output": "0x" });
            let call = json!({ "action": action, "result": result, "subtraces": 0, "traceAddress": [], "type": "call" });
            let traces = if kinds.contains(&TraceType::Trace) { vec![call] } else { Vec::new() };
            allowance.json(&json!({ "output": "0x", "stateDiff": null, "trace": traces, "vmTrace": null }))
        }
    }
}
