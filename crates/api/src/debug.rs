//! `debug_*`: traces and raw data.

use crate::allowance::Allowance;
use crate::backend::Api;
use crate::error::RpcError;
use crate::execution::{Call, not_executed};
use crate::object::Object;
use crate::params::{BlockRef, BlockTag, Params, bytes};
use crate::struct_log::{Options, StructLogger};
use crate::watch::{self, Records, next_tx};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, Bytes, U64, U256, hex};
use alloy_rlp::{Decodable, Encodable};
use alloy_rpc_types_trace::geth::{CallConfig, FourByteFrame, PreStateConfig};
use ipe_chain::view::{Replay, ReplayError, SimDb, Simulated};
use ipe_chain::{Env, Tx};
use ipe_types::Block;
use revm::context::result::ExecutionResult;
use revm::database_interface::DatabaseRef;
use revm::inspector::NoOpInspector;
use revm_inspectors::tracing::{FourByteInspector, TracingInspector, TracingInspectorConfig};
use serde::Serialize;
use std::collections::BTreeMap;

/// Slots that one `debug_storageRangeAt` shows at most.
const MAX_RANGE: usize = 1024;

type Answer = Result<Vec<u8>, RpcError>;

impl From<ReplayError> for RpcError {
    fn from(error: ReplayError) -> Self {
        match error {
            ReplayError::Ledger(error) => error.into(),
            ReplayError::Simulate(error) => not_executed(error),
        }
    }
}

/// Which tracer with which settings.
pub(crate) enum Tracer {
    Struct(Box<Options>),
    Call(CallConfig),
    Prestate(PreStateConfig),
    FourByte,
}

fn tracer(params: &Params<'_>, index: usize) -> Result<Tracer, RpcError> {
    let Object(options): Object<Options> = params.optional(index, &RpcError::TRACE_OPTIONS)?.unwrap_or_default();
    let config = options.tracer_config.clone().unwrap_or(serde_json::Value::Object(serde_json::Map::new()));
    let bad = |_| RpcError::TRACE_OPTIONS;
    Ok(match options.tracer.as_deref() {
        None | Some("" | "opcodeTracer" | "structLogger") => Tracer::Struct(Box::new(options)),
        Some("callTracer") => {
            let Object(config) = serde_json::from_value(config).map_err(bad)?;
            Tracer::Call(config)
        }
        Some("prestateTracer") => {
            let Object(config) = serde_json::from_value(config).map_err(bad)?;
            Tracer::Prestate(config)
        }
        Some("4byteTracer") => Tracer::FourByte,
        Some(other) => {
            return Err(RpcError::said(
                -32602,
                format!("Invalid tracer {other:?}; known are callTracer, prestateTracer, 4byteTracer and the struct logger"),
            ));
        }
    })
}

fn output(result: &ExecutionResult) -> Bytes {
    match result {
        ExecutionResult::Success { output, .. } => output.data().clone(),
        ExecutionResult::Revert { output, .. } => output.clone(),
        ExecutionResult::Halt { .. } => Bytes::new(),
    }
}

/// Traces one transaction on `db`, which does not change; gives the answer's text and what the transaction did.
fn traced(
    api: &Api,
    tracer: &Tracer,
    db: &mut SimDb,
    env: &Env,
    tx: Tx,
    allowance: &Allowance,
) -> Result<(Vec<u8>, Simulated), RpcError> {
    match tracer {
        Tracer::Struct(options) => {
            let merged = env.fork >= ipe_types::fork::Fork::Paris;
            let mut logger = StructLogger::new(api.settings.release, merged, options, allowance);
            let (simulated, _) = watch::execute(allowance, Records::NONE, db, env, tx, &mut logger)?;
            let result = &simulated.result;
            let text = logger.finish(result.tx_gas_used(), !result.is_success(), &output(result))?;
            Ok((text, simulated))
        }
        Tracer::Call(config) => {
            let records = if config.with_log == Some(true) { Records::CALLS_AND_LOGS } else { Records::CALLS };
            let mut inspector = watch::tracing(allowance, TracingInspectorConfig::from_geth_call_config(config));
            let limit = tx.env.gas_limit;
            let (simulated, _) = watch::execute(allowance, records, db, env, tx, &mut inspector)?;
            watch::complete(allowance, &inspector)?;
            inspector.set_transaction_gas_limit(limit);
            let frame = inspector.geth_builder().geth_call_traces(*config, simulated.result.tx_gas_used());
            Ok((allowance.json(&frame)?, simulated))
        }
        Tracer::Prestate(config) => {
            let mut inspector = watch::tracing(allowance, TracingInspectorConfig::from_geth_prestate_config(config));
            let (simulated, _) = watch::execute(allowance, Records::PLAIN_CALLS, db, env, tx, &mut inspector)?;
            watch::complete(allowance, &inspector)?;
            let frame = inspector.geth_builder().geth_prestate_traces(&simulated, config, &*db).map_err(RpcError::internal)?;
            Ok((allowance.json(&frame)?, simulated))
        }
        Tracer::FourByte => {
            let mut inspector = FourByteInspector::default();
            let (simulated, _) = watch::execute(allowance, Records::SELECTORS, db, env, tx, &mut inspector)?;
            Ok((allowance.json(&FourByteFrame::from(&inspector))?, simulated))
        }
    }
}

pub(crate) fn trace_transaction(api: &Api, params: &Params<'_>, allowance: &Allowance) -> Answer {
    let hash = params.hash(0, &RpcError::TRANSACTION_HASH)?;
    let tracer = tracer(params, 1)?;
    let Some((number, index)) = api.transaction_place(hash)? else {
        return if api.besu26() { Err(RpcError::new(-32000, "Transaction not found")) } else { Ok(b"null".to_vec()) };
    };
    let mut replay = api.backend.ledger.replay(number)?.ok_or(RpcError::BLOCK_NOT_FOUND)?;
    watch::skip_to(allowance, &mut replay, index)?;
    let tx = next_tx(&replay).ok_or(RpcError::INTERNAL)?;
    let env = replay.env().clone();
    let (text, _) = traced(api, &tracer, replay.db(), &env, tx, allowance)?;
    Ok(text)
}

/// Traces of a whole block.
fn trace_of_block(api: &Api, number: Option<u64>, tracer: &Tracer, allowance: &Allowance) -> Answer {
    let number = number.ok_or(RpcError::BLOCK_NOT_FOUND)?;
    let Some(mut replay) = api.backend.ledger.replay(number)? else {
        // The genesis has no transactions to trace.
        return Ok(b"[]".to_vec());
    };
    let held = allowance.held();
    let mut out = vec![b'['];
    while let Some(tx) = next_tx(&replay) {
        let hash = *replay.stored().block.body.transactions[replay.position()].tx_hash();
        let env = replay.env().clone();
        let (text, simulated) = traced(api, tracer, replay.db(), &env, tx, allowance)?;
        replay.keep(simulated);
        if out.len() > 1 {
            out.push(b',');
        }
        let before = out.len();
        out.extend_from_slice(format!("{{\"txHash\":\"{hash}\",\"result\":").as_bytes());
        out.extend_from_slice(&text);
        out.push(b'}');
        allowance.spend_bytes(out.len() - before);
        // The records of this transaction are gone, its text is there.
        drop(text);
        allowance.hold_only(held);
        allowance.hold(2 * out.len())?;
    }
    out.push(b']');
    // Whoever puts the answer together takes its bytes.
    allowance.return_bytes(out.len());
    Ok(out)
}

pub(crate) fn trace_block_by_number(api: &Api, params: &Params<'_>, allowance: &Allowance) -> Answer {
    let number = api.number(params.block(0, &RpcError::BLOCK_NUMBER)?)?;
    trace_of_block(api, number, &tracer(params, 1)?, allowance)
}

pub(crate) fn trace_block_by_hash(api: &Api, params: &Params<'_>, allowance: &Allowance) -> Answer {
    let hash = params.hash(0, &RpcError::BLOCK_HASH)?;
    trace_of_block(api, api.backend.ledger.number_of(&hash)?, &tracer(params, 1)?, allowance)
}

pub(crate) fn trace_block(api: &Api, params: &Params<'_>, allowance: &Allowance) -> Answer {
    let bad = RpcError::new(-32602, "Invalid block params");
    let raw = params.text(0).and_then(bytes).ok_or_else(|| bad.clone())?;
    let tracer = tracer(params, 1)?;
    let block = Block::decode(&mut raw.as_ref()).map_err(|_| bad)?;
    let hash = ipe_types::header::block_hash(&block.header).map_err(|_| RpcError::new(-32602, "Invalid block params"))?;
    // A block of this chain is traced as stored; any other would have to be executed on trust.
    match api.backend.ledger.number_of(&hash)? {
        Some(number) => trace_of_block(api, Some(number), &tracer, allowance),
        None => Err(RpcError::new(-32000, "Block not found; only blocks of this chain can be traced")),
    }
}

pub(crate) fn trace_call(api: &Api, params: &Params<'_>, allowance: &Allowance) -> Answer {
    let call = Call::read(params, 0)?;
    let tracer = tracer(params, 2)?;
    let Some(scene) = api.scene(params, 1)? else { return Ok(b"null".to_vec()) };
    let mut env = scene.env;
    let mut changes = ipe_chain::Overrides::new();
    if let Tracer::Struct(options) = &tracer {
        if let Some(value) = &options.state_overrides {
            changes = nested(value, crate::execution::overrides)?;
        }
        if let Some(value) = &options.block_overrides {
            nested(value, |params, index| crate::execution::block_overrides(params, index, &mut env))?;
        }
    }
    let mut db = scene.view.with(&changes).map_err(RpcError::internal)?;
    let tx = call.tx(&env, api.call_gas(&call, &env));
    let (text, _) = traced(api, &tracer, &mut db, &env, tx, allowance)?;
    Ok(text)
}

/// Reads a value inside the options as if it were a parameter of its own.
fn nested<T>(value: &serde_json::Value, read: impl FnOnce(&Params<'_>, usize) -> Result<T, RpcError>) -> Result<T, RpcError> {
    let text = serde_json::to_string(&[value]).map_err(|_| RpcError::TRACE_OPTIONS)?;
    let raw: &serde_json::value::RawValue = serde_json::from_str(&text).map_err(|_| RpcError::TRACE_OPTIONS)?;
    read(&Params::parse(Some(raw))?, 0)
}

/// Height named by a number, tag or hash.
fn place(api: &Api, params: &Params<'_>) -> Result<Option<u64>, RpcError> {
    let block = params.block_or_hash(0, &RpcError::BLOCK_NUMBER)?.unwrap_or(BlockRef::Tag(BlockTag::Latest));
    api.number_of(block)
}

fn raw_answer(room: usize, raw: &[u8]) -> Answer {
    if raw.len() > room / 2 {
        return Err(RpcError::RESPONSE_SIZE);
    }
    Ok(format!("\"0x{}\"", hex::encode(raw)).into_bytes())
}

pub(crate) fn raw_header(api: &Api, params: &Params<'_>) -> Answer {
    match place(api, params)? {
        Some(number) => match api.backend.ledger.raw_header(number)? {
            Some(raw) => raw_answer(api.settings.response_limit, &raw),
            None => Err(RpcError::BLOCK_NOT_FOUND),
        },
        None => Err(RpcError::BLOCK_NOT_FOUND),
    }
}

pub(crate) fn raw_block(api: &Api, params: &Params<'_>, allowance: &Allowance) -> Answer {
    let number = place(api, params)?.ok_or(RpcError::BLOCK_NOT_FOUND)?;
    let block = api.backend.ledger.block(number)?.ok_or(RpcError::BLOCK_NOT_FOUND)?;
    let mut raw = Vec::with_capacity(block.length());
    block.encode(&mut raw);
    raw_answer(allowance.room(), &raw)
}

pub(crate) fn raw_receipts(api: &Api, params: &Params<'_>, allowance: &Allowance) -> Answer {
    let number = place(api, params)?.ok_or(RpcError::BLOCK_NOT_FOUND)?;
    let receipts = api.block_receipts(number)?.ok_or(RpcError::BLOCK_NOT_FOUND)?;
    let list: Vec<Bytes> = receipts.iter().map(|r| r.encoded_2718().into()).collect();
    allowance.json(&list)
}

pub(crate) fn raw_transaction(api: &Api, params: &Params<'_>, allowance: &Allowance) -> Answer {
    let hash = params.hash(0, &RpcError::TRANSACTION_HASH)?;
    let pending = api.backend.pool.lock().get(&hash);
    if let Some(candidate) = pending {
        return raw_answer(allowance.room(), &candidate.tx.encoded_2718());
    }
    match api.backend.ledger.transaction(&hash)? {
        Some(found) => raw_answer(allowance.room(), &found.tx().encoded_2718()),
        None => Ok(b"null".to_vec()),
    }
}

/// Accounts by the hashes of their addresses: none, as Besu answers with its usual storage. Here as there the state keeps the hash of an
/// address and not the address.
pub(crate) fn account_range(_: &Api, params: &Params<'_>) -> Answer {
    params.block_or_hash(0, &RpcError::BLOCK_PARAM)?.ok_or(RpcError::BLOCK_PARAM)?;
    params.text(2).ok_or(RpcError::new(-32602, "Invalid address hash params"))?;
    let most = params.raw(3).and_then(|text| text.trim_matches('"').parse::<i32>().ok());
    most.ok_or(RpcError::new(-32602, "Invalid max results params"))?;
    Ok(br#"{"addressMap":{}}"#.to_vec())
}

pub(crate) fn bad_blocks(_: &Api, _: &Params<'_>) -> Answer {
    Ok(b"[]".to_vec())
}

/// A replay of the block with that hash, after its first `index + 1` transactions.
fn after(api: &Api, params: &Params<'_>, allowance: &Allowance) -> Result<Option<Replay>, RpcError> {
    let hash = params.hash(0, &RpcError::BLOCK_HASH)?;
    let index = params.number(1, &RpcError::INDEX)?;
    let Some(number) = api.backend.ledger.number_of(&hash)? else { return Ok(None) };
    let Some(mut replay) = api.backend.ledger.replay(number)? else { return Ok(None) };
    let index = usize::try_from(index).unwrap_or(usize::MAX);
    watch::skip_to(allowance, &mut replay, index.saturating_add(1))?;
    Ok(Some(replay))
}

pub(crate) fn account_at(api: &Api, params: &Params<'_>, allowance: &Allowance) -> Answer {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Body {
        code: Bytes,
        nonce: U64,
        balance: U256,
        codehash: B256,
    }
    let address: Address = params.address(2, &RpcError::ADDRESS)?;
    let Some(mut replay) = after(api, params, allowance)? else { return Err(RpcError::BLOCK_NOT_FOUND) };
    let db = replay.db();
    let info = db.basic_ref(address).map_err(RpcError::internal)?;
    let Some(info) = info else { return Err(RpcError::new(-32000, "Account not found")) };
    let code = match info.code {
        Some(code) => code,
        None => db.code_by_hash_ref(info.code_hash).map_err(RpcError::internal)?,
    };
    let body = Body { code: code.original_bytes(), nonce: U64::from(info.nonce), balance: info.balance, codehash: info.code_hash };
    allowance.json(&body)
}

/// What the reverted ones among some transactions of a block gave as reason, found by executing the block again up to the
/// last of them: reasons are not part of a receipt and not stored.
pub(crate) fn revert_reasons(
    api: &Api,
    number: u64,
    failed: &[usize],
    allowance: &Allowance,
) -> Result<BTreeMap<usize, Bytes>, RpcError> {
    let mut out = BTreeMap::new();
    let Some(last) = failed.last() else { return Ok(out) };
    let Some(mut replay) = api.backend.ledger.replay(number)? else { return Ok(out) };
    while replay.position() <= *last {
        let index = replay.position();
        let Some(tx) = next_tx(&replay) else { break };
        let env = replay.env().clone();
        let (simulated, _) = watch::execute(allowance, Records::NONE, replay.db(), &env, tx, NoOpInspector)?;
        if let (true, ExecutionResult::Revert { output, .. }) = (failed.contains(&index), &simulated.result) {
            allowance.hold(3 * output.len())?;
            out.insert(index, output.clone());
        }
        replay.keep(simulated);
    }
    Ok(out)
}

/// Slots that the block's transactions touched in an account: those are the ones whose keys are known (the state keeps
/// slots by their plain keys, but a range over a whole account at an old height would have no bound).
pub(crate) fn storage_range_at(api: &Api, params: &Params<'_>, allowance: &Allowance) -> Answer {
    #[derive(Serialize)]
    struct Slot {
        key: B256,
        value: B256,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Body {
        storage: BTreeMap<B256, Slot>,
        next_key: Option<B256>,
    }
    let address = params.address(2, &RpcError::ADDRESS)?;
    let bad = RpcError::new(-32602, "Invalid data start params");
    let start = params.text(3).and_then(crate::params::word).ok_or(bad)?;
    let limit = params.number(4, &RpcError::new(-32602, "Invalid limit params"))?;
    let limit = usize::try_from(limit).unwrap_or(MAX_RANGE).min(MAX_RANGE);
    let Some(mut replay) = after(api, params, allowance)? else { return Err(RpcError::BLOCK_NOT_FOUND) };
    let touched = replay.db().cache.accounts.get(&address).map(|a| a.storage.clone()).unwrap_or_default();
    let mut storage = BTreeMap::new();
    for (slot, value) in touched {
        let hashed = alloy_primitives::keccak256(slot.to_be_bytes::<32>());
        if !value.is_zero() && hashed >= B256::from(start) {
            storage.insert(hashed, Slot { key: slot.into(), value: value.into() });
        }
    }
    let next_key = storage.keys().nth(limit).copied();
    if let Some(next) = next_key {
        storage.split_off(&next);
    }
    allowance.json(&Body { storage, next_key })
}

/// Runs the rest of a block's transactions under an inspector made for each, until `give` says `false`; used by `trace_*`.
pub(crate) fn each_traced<F>(
    replay: &mut Replay,
    config: TracingInspectorConfig,
    records: Records,
    allowance: &Allowance,
    mut give: F,
) -> Result<(), RpcError>
where
    F: FnMut(usize, TracingInspector, &Simulated, &mut SimDb) -> Result<bool, RpcError>,
{
    while let Some(tx) = next_tx(replay) {
        let index = replay.position();
        let env = replay.env().clone();
        let mut inspector = watch::tracing(allowance, config);
        let (simulated, _) = watch::execute(allowance, records, replay.db(), &env, tx, &mut inspector)?;
        watch::complete(allowance, &inspector)?;
        if !give(index, inspector, &simulated, replay.db())? {
            break;
        }
        replay.keep(simulated);
    }
    Ok(())
}
