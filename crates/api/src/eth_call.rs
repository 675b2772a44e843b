//! `eth_call`, `eth_estimateGas`, `eth_createAccessList`.

use crate::allowance::Allowance;
use crate::backend::Api;
use crate::error::RpcError;
use crate::execution::{Call, Scene, block_overrides, outcome, overrides, run};
use crate::params::Params;
use crate::watch::{self, Records};
use crate::wire::json;
use alloy_eips::eip2930::AccessList;
use alloy_primitives::U64;
use ipe_chain::view::{Overrides, Relax};
use revm::context::result::ExecutionResult;
use revm_inspectors::access_list::AccessListInspector;
use serde::Serialize;

type Answer = Result<Vec<u8>, RpcError>;

const NULL: &[u8] = b"null";
/// Gas of the cheapest transaction.
const TRANSFER: u64 = 21_000;
/// Gas that a call with value hands to the callee.
const STIPEND: u64 = 2300;
/// Besu's default of `estimate-gas-tolerance-ratio`: how far above the true value an estimate may lie.
const TOLERANCE: f64 = 0.015;

pub(crate) fn call(api: &Api, params: &Params<'_>, allowance: &Allowance) -> Answer {
    let call = Call::read(params, 0)?;
    let Some(mut scene) = api.scene(params, 1)? else { return Ok(NULL.to_vec()) };
    block_overrides(params, 3, &mut scene.env)?;
    relax(&call, &mut scene);
    let mut db = scene.view.with(&overrides(params, 2)?).map_err(RpcError::internal)?;
    let tx = call.tx(&scene.env, api.call_gas(&call, &scene.env));
    let (result, last) = run(api, &mut db, &scene.env, tx, allowance)?;
    allowance.json(&outcome(api, &result, last)?)
}

fn relax(call: &Call, scene: &mut Scene) {
    if !call.strict {
        Relax { balance: true, ..Relax::call() }.apply(&mut scene.env);
    }
}

pub(crate) fn estimate_gas(api: &Api, params: &Params<'_>, allowance: &Allowance) -> Answer {
    let call = Call::read(params, 0)?;
    let Some(mut scene) = api.scene(params, 1)? else { return Ok(NULL.to_vec()) };
    relax(&call, &mut scene);
    let overrides = overrides(params, 2)?;
    let limit = gas_limit(api, &scene);
    let gas = estimate(api, &call, &scene, &overrides, limit, allowance)?;
    json(&U64::from(gas), 64)
}

/// Most gas a transaction may have here: the block's limit, the fork's cap on one transaction, `rpc-gas-cap`.
fn gas_limit(api: &Api, scene: &Scene) -> u64 {
    let fork_cap = api.backend.pool.lock().rules().tx_gas_cap.unwrap_or(u64::MAX);
    scene.env.block.gas_limit.min(fork_cap).min(api.most_gas())
}

/// Bisects between what the call uses with all the gas there is and a first guess with everything that a call or store
/// wants to be left over, until within [`TOLERANCE`].
fn estimate(
    api: &Api,
    call: &Call,
    scene: &Scene,
    overrides: &Overrides,
    limit: u64,
    allowance: &Allowance,
) -> Result<u64, RpcError> {
    let with = |gas: u64| -> Result<(ExecutionResult, u8), RpcError> {
        let mut db = scene.view.with(overrides).map_err(RpcError::internal)?;
        run(api, &mut db, &scene.env, call.tx(&scene.env, gas), allowance)
    };
    let succeeds = |gas: u64| match with(gas) {
        Ok((result, _)) => Ok(result.is_success()),
        Err(e) if e.ends_request() || e == RpcError::INTERNAL => Err(e),
        Err(_) => Ok(false),
    };
    if call.data.is_empty() && call.to.is_some() && succeeds(TRANSFER)? {
        return Ok(TRANSFER);
    }
    let (result, last) = with(limit)?;
    outcome(api, &result, last)?;
    let used = result.tx_gas_used();
    let mut low = used.saturating_sub(1);
    let mut high = limit;
    let guess = result.gas().total_gas_spent().saturating_add(STIPEND).saturating_mul(64) / 63;
    if guess < high {
        if succeeds(guess)? { high = guess } else { low = guess }
    }
    while low + 1 < high {
        #[allow(clippy::cast_precision_loss)]
        if (high - low) as f64 / (high as f64) < TOLERANCE {
            break;
        }
        let middle = (low + (high - low) / 2).min(low.saturating_mul(2));
        if succeeds(middle)? { high = middle } else { low = middle }
    }
    Ok(high)
}

pub(crate) fn create_access_list(api: &Api, params: &Params<'_>, allowance: &Allowance) -> Answer {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Body {
        access_list: AccessList,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<&'static str>,
        gas_used: U64,
    }
    let mut call = Call::read(params, 0)?;
    let Some(mut scene) = api.scene(params, 1)? else { return Ok(NULL.to_vec()) };
    relax(&call, &mut scene);
    let limit = gas_limit(api, &scene);
    let none = Overrides::new();
    let mut touched = AccessListInspector::new(call.access_list.clone().unwrap_or_default());
    let mut db = scene.view.with(&none).map_err(RpcError::internal)?;
    let tx = call.tx(&scene.env, limit);
    let (first, last) = watch::execute(allowance, Records::NONE, &mut db, &scene.env, tx, &mut touched)?;
    let failed = outcome(api, &first.result, last);
    if !api.besu26() {
        // Only from 26 on does a failing call have an access list.
        failed.clone()?;
    }
    let access_list = touched.into_access_list();
    let mut result = first.result;
    if !access_list.0.is_empty() {
        call.access_list = Some(access_list.clone());
        let mut db = scene.view.with(&none).map_err(RpcError::internal)?;
        result = run(api, &mut db, &scene.env, call.tx(&scene.env, limit), allowance)?.0;
    }
    let gas_used = U64::from(result.tx_gas_used());
    let error = failed.is_err().then_some("execution reverted");
    allowance.json(&Body { access_list, error, gas_used })
}
