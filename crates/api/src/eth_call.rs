//! `eth_call`, `eth_estimateGas`, `eth_createAccessList`.

use crate::backend::Api;
use crate::error::RpcError;
use crate::execution::{block_overrides, not_executed, outcome, overrides, run, Call, Scene, Watch};
use crate::params::Params;
use crate::wire::json;
use alloy_eips::eip2930::AccessList;
use alloy_primitives::U64;
use ipe_chain::view::{Overrides, Relax};
use revm::context::result::ExecutionResult;
use revm::interpreter::{CallInputs, CallOutcome, CreateInputs, CreateOutcome, Interpreter, InterpreterTypes};
use revm::interpreter::interpreter_types::Jumps;
use revm::Inspector;
use revm_inspectors::access_list::AccessListInspector;
use serde::Serialize;
use std::time::Instant;

type Answer = Result<Vec<u8>, RpcError>;

const NULL: &[u8] = b"null";
/// Gas of the cheapest transaction.
const TRANSFER: u64 = 21_000;
/// Besu's default of `estimate-gas-tolerance-ratio`: how far above the true value an estimate may lie.
const TOLERANCE: f64 = 0.015;

pub(crate) fn call(api: &Api, params: &Params<'_>) -> Answer {
    let call = Call::read(params, 0)?;
    let Some(mut scene) = api.scene(params, 1)? else { return Ok(NULL.to_vec()) };
    block_overrides(params, 3, &mut scene.env)?;
    relax(&call, &mut scene);
    let mut db = scene.view.with(&overrides(params, 2)?).map_err(RpcError::internal)?;
    let tx = call.tx(&scene.env, api.call_gas(&call, &scene.env));
    let (result, last) = run(&mut db, &scene.env, tx, api.deadline())?;
    json(&outcome(api, &result, last)?, api.settings.response_limit)
}

fn relax(call: &Call, scene: &mut Scene) {
    if !call.strict {
        Relax { balance: true, ..Relax::call() }.apply(&mut scene.env);
    }
}

/// What Besu's estimate needs to know of an execution: how deep it went, whether it stored anything.
#[derive(Debug, Default)]
struct Depth {
    now: u32,
    most: u32,
    stores: bool,
}

impl<C, I: InterpreterTypes> Inspector<C, I> for Depth {
    fn step(&mut self, interp: &mut Interpreter<I>, _: &mut C) {
        self.most = self.most.max(self.now);
        self.stores |= interp.bytecode.opcode() == revm::bytecode::opcode::SSTORE;
    }

    fn call(&mut self, _: &mut C, _: &mut CallInputs) -> Option<CallOutcome> {
        self.now += 1;
        None
    }

    fn call_end(&mut self, _: &mut C, _: &CallInputs, _: &mut CallOutcome) {
        self.now = self.now.saturating_sub(1);
    }

    fn create(&mut self, _: &mut C, _: &mut CreateInputs) -> Option<CreateOutcome> {
        self.now += 1;
        None
    }

    fn create_end(&mut self, _: &mut C, _: &CreateInputs, _: &mut CreateOutcome) {
        self.now = self.now.saturating_sub(1);
    }
}

/// Gas spent before refunds: what the transaction needs on its way.
fn spent(result: &ExecutionResult) -> u64 {
    result.gas().total_gas_spent()
}

/// Besu's upper guess: what was spent, a stipend that a store demands to be left, and 1/64 more for every level of calls,
/// each of which keeps that share back.
fn upper_guess(spent: u64, depth: &Depth) -> u64 {
    let stipend = if depth.stores { 2300 } else { 0 };
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let guess = ((spent + stipend) as f64 * (65.0_f64 / 64.0).powi(i32::try_from(depth.most).unwrap_or(1024))) as u64;
    guess
}

pub(crate) fn estimate_gas(api: &Api, params: &Params<'_>) -> Answer {
    let call = Call::read(params, 0)?;
    let Some(mut scene) = api.scene(params, 1)? else { return Ok(NULL.to_vec()) };
    relax(&call, &mut scene);
    let overrides = overrides(params, 2)?;
    let deadline = api.deadline();
    let limit = match api.settings.gas_cap {
        0 => scene.env.block.gas_limit,
        cap => scene.env.block.gas_limit.min(cap),
    };
    let gas = estimate(api, &call, &scene, &overrides, limit, deadline)?;
    json(&U64::from(gas), 64)
}

fn estimate(
    api: &Api,
    call: &Call,
    scene: &Scene,
    overrides: &Overrides,
    limit: u64,
    deadline: Instant,
) -> Result<u64, RpcError> {
    let succeeds = |gas: u64| -> Result<bool, RpcError> {
        let mut db = scene.view.with(overrides).map_err(RpcError::internal)?;
        match run(&mut db, &scene.env, call.tx(&scene.env, gas), deadline) {
            Ok((result, _)) => Ok(result.is_success()),
            Err(e) if e == RpcError::TIMEOUT || e == RpcError::INTERNAL => Err(e),
            Err(_) => Ok(false),
        }
    };
    if call.data.is_empty() && call.to.is_some() && succeeds(TRANSFER)? {
        return Ok(TRANSFER);
    }
    let (result, last, depth) = measured(call, scene, overrides, limit, deadline)?;
    outcome(api, &result, last)?;
    let mut low = spent(&result);
    if succeeds(low)? {
        return Ok(low);
    }
    let mut high = upper_guess(low, &depth).min(limit).max(low);
    if !succeeds(high)? {
        high = limit;
    }
    while low + 1 < high {
        #[allow(clippy::cast_precision_loss)]
        if (high - low) as f64 / (high as f64) < TOLERANCE {
            break;
        }
        let middle = low + (high - low) / 2;
        if succeeds(middle)? { high = middle } else { low = middle }
    }
    Ok(high)
}

fn measured(
    call: &Call,
    scene: &Scene,
    overrides: &Overrides,
    gas: u64,
    deadline: Instant,
) -> Result<(ExecutionResult, u8, Depth), RpcError> {
    let mut db = scene.view.with(overrides).map_err(RpcError::internal)?;
    let mut watch = Watch::until(deadline);
    let mut depth = Depth::default();
    let inspector = (&mut watch, &mut depth);
    let simulated = ipe_chain::simulate(&mut db, &scene.env, call.tx(&scene.env, gas), inspector).map_err(not_executed)?;
    watch.in_time()?;
    Ok((simulated.result, watch.last(), depth))
}

pub(crate) fn create_access_list(api: &Api, params: &Params<'_>) -> Answer {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Body {
        access_list: AccessList,
        gas_used: U64,
    }
    let mut call = Call::read(params, 0)?;
    let Some(mut scene) = api.scene(params, 1)? else { return Ok(NULL.to_vec()) };
    relax(&call, &mut scene);
    let deadline = api.deadline();
    let limit = scene.env.block.gas_limit;
    let none = Overrides::new();
    let mut watch = Watch::until(deadline);
    let mut touched = AccessListInspector::new(call.access_list.clone().unwrap_or_default());
    let mut db = scene.view.with(&none).map_err(RpcError::internal)?;
    let first = ipe_chain::simulate(&mut db, &scene.env, call.tx(&scene.env, limit), (&mut watch, &mut touched))
        .map_err(not_executed)?;
    watch.in_time()?;
    outcome(api, &first.result, watch.last())?;
    let access_list = touched.into_access_list();
    if !access_list.0.is_empty() {
        call.access_list = Some(access_list.clone());
    }
    let (result, last, depth) = measured(&call, &scene, &none, limit, deadline)?;
    outcome(api, &result, last)?;
    let gas_used = U64::from(upper_guess(spent(&result), &depth));
    json(&Body { access_list, gas_used }, api.settings.response_limit)
}
