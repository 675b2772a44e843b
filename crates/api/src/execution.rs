//! Simulated transactions: call objects, overrides, and what an execution's end means for a client.

use crate::allowance::{Allowance, MOST_GAS};
use crate::backend::Api;
use crate::error::RpcError;
use crate::eth_blocks::LATEST;
use crate::object::{Entries, Object};
use crate::params::{BlockRef, BlockTag, Params, address, bytes, number, word};
use crate::watch::{self, Records, Stop};
use alloy_eips::eip2930::{AccessList, AccessListItem};
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, hex};
use ipe_chain::view::{AccountOverride, Overrides, Relax, SimDb, SimulateError};
use ipe_chain::{Env, Tx, View};
use ipe_types::transaction::Prices;
use revm::context::TxEnv;
use revm::context::result::{ExecutionResult, HaltReason, InvalidTransaction};
use revm::inspector::NoOpInspector;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Most accounts and slots that one request may override: a page of JSON, not a second state.
const MAX_OVERRIDES: usize = 10_000;

/// A call object, still as text; [`Call::read`] makes numbers of it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawCall {
    from: Option<String>,
    to: Option<String>,
    gas: Option<String>,
    gas_limit: Option<String>,
    gas_price: Option<String>,
    max_fee_per_gas: Option<String>,
    max_priority_fee_per_gas: Option<String>,
    value: Option<String>,
    data: Option<String>,
    input: Option<String>,
    nonce: Option<String>,
    strict: Option<bool>,
    access_list: Option<Vec<Object<RawAccess>>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawAccess {
    address: String,
    #[serde(default)]
    storage_keys: Vec<String>,
}

/// What is to be simulated.
#[derive(Debug, Clone, Default)]
pub(crate) struct Call {
    pub from: Address,
    pub to: Option<Address>,
    pub gas: Option<u64>,
    pub gas_price: Option<U256>,
    pub max_fee: Option<U256>,
    pub max_tip: Option<U256>,
    pub value: U256,
    pub data: Bytes,
    pub nonce: Option<u64>,
    pub access_list: Option<AccessList>,
    /// `strict: false` lets the sender spend what it does not have.
    pub strict: bool,
}

fn wei(text: &str) -> Option<U256> {
    word(text).or_else(|| number(text).map(U256::from))
}

impl Call {
    /// From a parameter.
    pub(crate) fn read(params: &Params<'_>, index: usize) -> Result<Self, RpcError> {
        let Object(raw): Object<RawCall> = params.required(index, &RpcError::CALL)?;
        Self::of(raw).ok_or(RpcError::CALL)
    }

    /// From JSON text in `eth_simulateV1`: `input` wins over another `data`.
    pub(crate) fn simulated(text: &str) -> Option<Self> {
        let Object(mut raw): Object<RawCall> = serde_json::from_str(text).ok()?;
        if raw.input.is_some() {
            raw.data = None;
        }
        Self::of(raw)
    }

    fn of(raw: RawCall) -> Option<Self> {
        let optional = |text: &Option<String>| match text.as_deref() {
            None => Some(None),
            Some(text) => wei(text).map(Some),
        };
        let gas = match raw.gas.as_deref().or(raw.gas_limit.as_deref()) {
            None => None,
            Some(text) => Some(number(text)?),
        };
        let data = match (raw.input.as_deref(), raw.data.as_deref()) {
            (Some(input), Some(data)) if input != data => return None,
            (Some(text), _) | (None, Some(text)) => bytes(text)?,
            (None, None) => Bytes::new(),
        };
        let access_list = match raw.access_list {
            None => None,
            Some(list) => Some(AccessList(
                list.into_iter()
                    .map(|Object(item)| {
                        let keys = item.storage_keys.iter().map(|k| word(k).map(B256::from));
                        Some(AccessListItem { address: address(&item.address)?, storage_keys: keys.collect::<Option<_>>()? })
                    })
                    .collect::<Option<_>>()?,
            )),
        };
        let call = Self {
            from: match raw.from.as_deref() {
                None => Address::ZERO,
                Some(text) => address(text)?,
            },
            to: match raw.to.as_deref() {
                None | Some("" | "0x") => None,
                Some(text) => Some(address(text)?),
            },
            gas,
            gas_price: optional(&raw.gas_price)?,
            max_fee: optional(&raw.max_fee_per_gas)?,
            max_tip: optional(&raw.max_priority_fee_per_gas)?,
            value: match raw.value.as_deref() {
                None => U256::ZERO,
                Some(text) => wei(text)?,
            },
            data,
            nonce: match raw.nonce.as_deref() {
                None => None,
                Some(text) => Some(number(text)?),
            },
            access_list,
            strict: raw.strict.unwrap_or(true),
        };
        // Besu: gasPrice cannot be used with the fee market's fields.
        if call.gas_price.is_some() && (call.max_fee.is_some() || call.max_tip.is_some()) { None } else { Some(call) }
    }

    /// As the EVM takes it, with this much gas.
    pub(crate) fn tx(&self, env: &Env, gas: u64) -> Tx {
        let dynamic = self.max_fee.is_some() || self.max_tip.is_some();
        let called = TxEnv {
            tx_type: match (dynamic, &self.access_list) {
                (true, _) => 2,
                (false, Some(_)) => 1,
                (false, None) => 0,
            },
            caller: self.from,
            gas_limit: gas,
            kind: self.to.map_or(TxKind::Create, TxKind::Call),
            value: self.value,
            data: self.data.clone(),
            nonce: self.nonce.unwrap_or(0),
            chain_id: Some(env.cfg.chain_id),
            access_list: self.access_list.clone().unwrap_or_default(),
            ..TxEnv::default()
        };
        Tx::priced(called, self.prices(dynamic))
    }

    /// What it offers; `dynamic` with a tip.
    pub(crate) fn prices(&self, dynamic: bool) -> Prices {
        let fee = if dynamic { self.max_fee } else { self.gas_price };
        Prices { fee: fee.unwrap_or_default(), tip: dynamic.then(|| self.max_tip.unwrap_or_default()), blob: None }
    }
}

/// Where a simulation runs: the state after a block and the environment it gives.
pub(crate) struct Scene {
    pub view: View,
    pub env: Env,
}

impl Api {
    /// The scene of a block parameter; the head when it is absent. `pending` is the block after the head.
    pub(crate) fn scene(&self, params: &Params<'_>, index: usize) -> Result<Option<Scene>, RpcError> {
        let block = params.block_or_hash(index, &RpcError::BLOCK_PARAM)?.unwrap_or(LATEST);
        let ledger = &self.backend.ledger;
        let Some(number) = self.number_of(block)? else {
            return if self.besu26() { Ok(None) } else { Err(RpcError::BLOCK_NOT_FOUND) };
        };
        let view = ledger.view(number)?.ok_or(RpcError::BLOCK_NOT_FOUND)?;
        let mut env = if block == BlockRef::Tag(BlockTag::Pending) {
            let floor = u64::try_from(self.min_gas_price()).unwrap_or(u64::MAX);
            ledger.env(&ledger.pending_header(Self::now_ms() / 1000, floor))
        } else {
            ledger.env(view.header())
        };
        Relax::call().apply(&mut env);
        Ok(Some(Scene { view, env }))
    }

    /// What a request that starts now may cost.
    pub(crate) fn allowance(&self) -> Allowance {
        Allowance::new(self.settings.time_limit, self.settings.response_limit)
    }

    /// Most gas of one simulated call or transaction.
    pub(crate) fn most_gas(&self) -> u64 {
        match self.settings.gas_cap {
            0 => MOST_GAS,
            cap => cap.min(MOST_GAS),
        }
    }

    /// Gas of a simulated call: what it asks for, bounded by `rpc-gas-cap` and in any case by [`MOST_GAS`].
    pub(crate) fn call_gas(&self, call: &Call, env: &Env) -> u64 {
        let cap = self.most_gas();
        call.gas.unwrap_or(cap.max(env.block.gas_limit.min(cap))).min(cap)
    }
}

/// State overrides of a parameter.
pub(crate) fn overrides(params: &Params<'_>, index: usize) -> Result<Overrides, RpcError> {
    let bad = RpcError::new(-32602, "Invalid account overrides parameter");
    params.raw(index).map_or_else(|| Ok(Overrides::new()), |text| overrides_of(text, &bad))
}

/// State overrides as JSON text.
///
/// # Errors
/// `bad` for anything else, and -32602 for too many.
pub(crate) fn overrides_of(text: &str, bad: &RpcError) -> Result<Overrides, RpcError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Raw {
        balance: Option<String>,
        nonce: Option<String>,
        code: Option<String>,
        state: Option<Entries<String, MAX_OVERRIDES>>,
        state_diff: Option<Entries<String, MAX_OVERRIDES>>,
        move_precompile_to_address: Option<String>,
    }
    let Entries(raw): Entries<Object<Raw>, MAX_OVERRIDES> = serde_json::from_str(text).map_err(|_| bad.clone())?;
    let mut size = 0;
    let mut slots = |Entries(map): Entries<String, MAX_OVERRIDES>| -> Option<BTreeMap<U256, U256>> {
        size += map.len();
        map.iter().map(|(k, v)| Some((word(k)?, word(v)?))).collect()
    };
    let mut out = Overrides::new();
    for (whom, Object(raw)) in raw {
        if raw.move_precompile_to_address.is_some() {
            return Err(match address(&whom) {
                Some(whom) if whom.as_slice()[..18].iter().all(|byte| *byte == 0) => {
                    RpcError::new(-32602, "movePrecompileToAddress is not served by this node")
                }
                _ => RpcError::new(-32000, "Invalid precompile address"),
            });
        }
        let read = || -> Option<(Address, AccountOverride)> {
            if raw.state.is_some() && raw.state_diff.is_some() {
                return None;
            }
            let change = AccountOverride {
                balance: match &raw.balance {
                    None => None,
                    Some(text) => Some(word(text).or_else(|| number(text).map(U256::from))?),
                },
                nonce: match &raw.nonce {
                    None => None,
                    Some(text) => Some(number(text)?),
                },
                code: match &raw.code {
                    None => None,
                    Some(text) => Some(bytes(text)?),
                },
                storage: match raw.state {
                    None => None,
                    Some(map) => Some(slots(map)?),
                },
                slots: slots(raw.state_diff.unwrap_or_default())?,
            };
            Some((address(&whom)?, change))
        };
        let (whom, change) = read().ok_or_else(|| bad.clone())?;
        out.insert(whom, change);
    }
    if out.len() + size > MAX_OVERRIDES {
        return Err(RpcError::said(-32602, format!("Too many overrides; at most {MAX_OVERRIDES} accounts and slots")));
    }
    Ok(out)
}

/// Block overrides of a parameter, written into the environment.
pub(crate) fn block_overrides(params: &Params<'_>, index: usize, env: &mut Env) -> Result<(), RpcError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Raw {
        number: Option<String>,
        #[serde(alias = "timestamp")]
        time: Option<String>,
        gas_limit: Option<String>,
        #[serde(alias = "feeRecipient")]
        coinbase: Option<String>,
        #[serde(alias = "prevRandao", alias = "mixHash")]
        random: Option<B256>,
        difficulty: Option<String>,
        #[serde(alias = "baseFeePerGas")]
        base_fee: Option<String>,
    }
    let bad = RpcError::new(-32602, "Invalid block overrides parameter");
    let Some(Object(raw)) = params.optional::<Object<Raw>>(index, &bad)? else { return Ok(()) };
    let mut set = || -> Option<()> {
        if let Some(text) = &raw.number {
            env.block.number = U256::from(number(text)?);
        }
        if let Some(text) = &raw.time {
            env.block.timestamp = U256::from(number(text)?);
        }
        if let Some(text) = &raw.gas_limit {
            env.block.gas_limit = number(text)?;
        }
        if let Some(text) = &raw.coinbase {
            env.block.beneficiary = address(text)?;
        }
        if let Some(random) = raw.random {
            env.block.prevrandao = Some(random);
        }
        if let Some(text) = &raw.difficulty {
            env.block.difficulty = word(text)?;
        }
        if let Some(text) = &raw.base_fee {
            env.block.basefee = number(text)?;
        }
        Some(())
    };
    set().ok_or(bad)
}

/// Why a simulated transaction could not start, in Besu's codes and words.
pub(crate) fn not_executed(error: SimulateError) -> RpcError {
    refused(error, None)
}

/// As [`not_executed`]; from Besu 26 on, the sender who cannot pay is named.
pub(crate) fn refused(error: SimulateError, sender: Option<Address>) -> RpcError {
    let invalid = match error {
        SimulateError::Invalid(invalid) => invalid,
        other => return RpcError::internal(other),
    };
    match invalid {
        InvalidTransaction::LackOfFundForMaxFee { fee, balance } => RpcError::said(
            -32004,
            format!(
                "Upfront cost exceeds account balance (transaction up-front cost {:#x} exceeds transaction sender account balance {:#x}{})",
                *fee,
                *balance,
                sender.map(|s| format!(" for sender {s:#x}")).unwrap_or_default(),
            ),
        ),
        InvalidTransaction::OverflowPaymentInTransaction => RpcError::new(-32004, "Upfront cost exceeds account balance"),
        InvalidTransaction::CallGasCostMoreThanGasLimit { initial_gas: cost, gas_limit }
        | InvalidTransaction::GasFloorMoreThanGasLimit { gas_floor: cost, gas_limit } => RpcError::said(
            -32003,
            format!("Intrinsic gas exceeds gas limit (intrinsic gas cost {cost} exceeds gas limit {gas_limit})"),
        ),
        InvalidTransaction::GasPriceLessThanBasefee => RpcError::new(-32009, "Gas price below current base fee"),
        InvalidTransaction::PriorityFeeGreaterThanMaxFee => {
            RpcError::new(-32000, "Max priority fee per gas exceeds max fee per gas")
        }
        other => RpcError::said(-32000, other.to_string()),
    }
}

/// Besu's name for an exceptional halt.
pub(crate) fn halt_words(reason: &HaltReason, last: u8) -> String {
    match reason {
        HaltReason::OutOfGas(_) => "Out of gas".into(),
        HaltReason::OpcodeNotFound | HaltReason::InvalidFEOpcode | HaltReason::NotActivated => {
            format!("Invalid opcode: {last:#04x}")
        }
        HaltReason::InvalidJump => "Bad jump destination".into(),
        HaltReason::StackUnderflow => "Stack underflow".into(),
        HaltReason::StackOverflow => "Out of stack".into(),
        HaltReason::OutOfOffset => "Out of bounds".into(),
        HaltReason::StateChangeDuringStaticCall | HaltReason::CallNotAllowedInsideStatic => "Illegal state change".into(),
        HaltReason::CreateContractSizeLimit | HaltReason::CreateInitCodeSizeLimit => "Code is too large".into(),
        HaltReason::CreateContractStartingWithEF => "Invalid code".into(),
        HaltReason::PrecompileError | HaltReason::PrecompileErrorWithContext(_) => "Precompile error".into(),
        other => format!("{other:?}"),
    }
}

/// Returned bytes, or the error that a client is told about the execution's end.
pub(crate) fn outcome(api: &Api, result: &ExecutionResult, last: u8) -> Result<Bytes, RpcError> {
    match result {
        ExecutionResult::Success { output, .. } => Ok(output.data().clone()),
        ExecutionResult::Revert { output, .. } => Err(reverted(api, output)),
        ExecutionResult::Halt { reason, .. } => Err(RpcError::said(
            -32000,
            format!("Transaction processing could not be completed due to an exception ({})", halt_words(reason, last)),
        )),
    }
}

/// A revert: code 3 from Besu 26 on, -32000 before; the reason of `Error(string)` in brackets.
pub(crate) fn reverted(api: &Api, output: &Bytes) -> RpcError {
    let message = match reason(output) {
        Some(reason) => format!("Execution reverted ({reason})"),
        None => "Execution reverted".to_owned(),
    };
    RpcError {
        code: if api.besu26() { 3 } else { -32000 },
        message: message.into(),
        data: Some(format!("0x{}", hex::encode(output))),
    }
}

/// Text of `Error(string)`.
pub(crate) fn reason(output: &[u8]) -> Option<String> {
    let body = output.strip_prefix(&[0x08, 0xc3, 0x79, 0xa0])?;
    let at = usize::try_from(U256::try_from_be_slice(body.get(..32)?)?).ok()?;
    let length = usize::try_from(U256::try_from_be_slice(body.get(at..at.checked_add(32)?)?)?).ok()?;
    let start = at.checked_add(32)?;
    let text = body.get(start..start.checked_add(length)?)?;
    String::from_utf8(text.to_vec()).ok()
}

/// Runs a call on a database and gives its result with the last instruction.
pub(crate) fn run(api: &Api, db: &mut SimDb, env: &Env, tx: Tx, allowance: &Allowance) -> Result<(ExecutionResult, u8), RpcError> {
    let sender = api.besu26().then_some(tx.env.caller);
    match watch::execute(allowance, Records::NONE, db, env, tx, NoOpInspector) {
        Ok((simulated, last)) => Ok((simulated.result, last)),
        Err(Stop::Simulate(error)) => Err(refused(error, sender)),
        Err(Stop::Over(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_of_reverts() {
        let mut data = vec![0x08, 0xc3, 0x79, 0xa0];
        data.extend(U256::from(32).to_be_bytes::<32>());
        data.extend(U256::from(2).to_be_bytes::<32>());
        data.extend(b"no");
        data.resize(4 + 96, 0);
        assert_eq!(reason(&data).as_deref(), Some("no"));
        assert_eq!(reason(&data[..50]), None);
        let mut far = data.clone();
        far[4..36].fill(0xff);
        assert_eq!(reason(&far), None);
    }
}
