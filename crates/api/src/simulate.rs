//! `eth_simulateV1`: blocks that do not exist, one after the other on one that does, as Besu 26.8 makes them
//! (`ethereum/core/.../transaction/BlockSimulator.java`).

use crate::allowance::Allowance;
use crate::backend::Api;
use crate::error::RpcError;
use crate::execution::{Call, halt_words, overrides_of, reverted};
use crate::object::{Object, elements};
use crate::params::{Params, address, bytes, number, word};
use crate::shapes::{Place, RpcBlock, RpcLog};
use crate::watch::{self, Records, Stop};
use alloy_consensus::{TxEip1559, TxEip2930, TxLegacy};
use alloy_primitives::{Address, B256, Bytes, Log, LogData, Signature, U64, U256, address, b256, keccak256};
use ipe_chain::receipts::{self, BloomMaker, Receipt};
use ipe_chain::state::{RootWith, StateAt};
use ipe_chain::system::NO_REQUESTS_HASH;
use ipe_chain::view::{self, Overrides, SimDb, SimulateError, Simulated};
use ipe_chain::{Env, SimContext};
use ipe_types::fork::Fork;
use ipe_types::transaction::Unsigned;
use ipe_types::{Block, Body, Header, Transaction};
use revm::Inspector;
use revm::context::result::{ExecutionResult, InvalidTransaction};
use revm::database_interface::DatabaseRef;
use revm::interpreter::{CallInputs, CallOutcome, CreateInputs, CreateOutcome};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// Blocks of one request, those that fill gaps among them, as Besu.
const MAX_BLOCKS: usize = 256;
/// Calls of one request.
const MAX_CALLS: usize = 4096;
/// Seconds between two blocks where nobody says otherwise, as Besu.
const SLOT_S: u64 = 12;
/// Instructions' worth of computing a root, for each account and slot that changes or is put back to what it was at the block on which
/// the others are put.
const ROOT_STEPS: u64 = 500;
/// Bytes of a block's answer besides what its calls gave.
const BLOCK_BYTES: usize = 4096;
/// Gas of one transaction from Osaka on where its sender names none (EIP-7825).
pub(crate) const TX_GAS_CAP: u64 = 1 << 24;
/// Emitter and topic of transfers of wei among the logs.
const TRANSFER_EMITTER: Address = address!("eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee");
const TRANSFER_TOPIC: B256 = b256!("ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef");

type Answer = Result<Vec<u8>, RpcError>;

/// Fields that a block has instead of those that follow from its parent.
#[derive(Debug, Clone, Default)]
struct BlockOverrides {
    time: Option<u64>,
    number: Option<u64>,
    hash: Option<B256>,
    random: Option<B256>,
    gas_limit: Option<u64>,
    fee_recipient: Option<Address>,
    base_fee: Option<u64>,
    state_root: Option<B256>,
    difficulty: Option<U256>,
    extra_data: Option<Bytes>,
    beacon_root: Option<B256>,
}

/// A block that is asked for.
#[derive(Debug, Clone, Default)]
struct Asked {
    overrides: BlockOverrides,
    state: Overrides,
    calls: Vec<Call>,
}

/// The whole request.
struct Request {
    blocks: Vec<Asked>,
    validation: bool,
    transfers: bool,
    full: bool,
}

/// What a call came to.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Failed>,
    gas_used: U64,
    logs: Vec<RpcLog>,
    max_used_gas: U64,
    return_data: Bytes,
    status: U64,
}

#[derive(Serialize)]
struct Failed {
    code: i32,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<String>,
}

#[derive(Serialize)]
struct SimulatedBlock {
    #[serde(flatten)]
    block: RpcBlock,
    calls: Vec<Outcome>,
}

pub(crate) fn simulate(api: &Api, params: &Params<'_>, allowance: &Allowance) -> Answer {
    let block = params.block_or_hash(1, &RpcError::BLOCK_PARAM)?.ok_or(RpcError::BLOCK_PARAM)?;
    let base = api.number_of(block)?.ok_or(RpcError::BLOCK_NOT_FOUND)?;
    let request = read(params)?;
    validate(&request)?;
    allowance.json(&run(api, &request, base, allowance)?)
}

fn read(params: &Params<'_>) -> Result<Request, RpcError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Raw<'a> {
        #[serde(borrow)]
        block_state_calls: &'a RawValue,
        #[serde(default)]
        validation: bool,
        #[serde(default)]
        trace_transfers: bool,
        #[serde(default)]
        return_full_transactions: bool,
    }
    #[derive(Deserialize, Default)]
    #[serde(rename_all = "camelCase")]
    struct RawBlock<'a> {
        block_overrides: Option<Object<RawOverrides>>,
        #[serde(borrow)]
        state_overrides: Option<&'a RawValue>,
        #[serde(borrow)]
        calls: Option<&'a RawValue>,
    }
    let bad = RpcError::INVALID_PARAMS;
    let text = params.raw(0).ok_or_else(|| bad.clone())?;
    let Object(raw): Object<Raw<'_>> = serde_json::from_str(text).map_err(|_| bad.clone())?;
    let too_many = || RpcError::new(-38026, "Too many block calls");
    let list = elements(raw.block_state_calls.get(), MAX_BLOCKS).map_err(|_| bad.clone())?.ok_or_else(too_many)?;
    let mut blocks = Vec::with_capacity(list.len());
    let mut calls_left = MAX_CALLS;
    for item in list {
        let Object(raw): Object<RawBlock<'_>> = serde_json::from_str(item.get()).map_err(|_| bad.clone())?;
        let overrides = match raw.block_overrides {
            None => BlockOverrides::default(),
            Some(Object(raw)) => raw.read().ok_or_else(|| bad.clone())?,
        };
        let state = match raw.state_overrides.map(RawValue::get).filter(|text| *text != "null") {
            None => Overrides::new(),
            Some(text) => overrides_of(text, &bad)?,
        };
        let mut calls = Vec::new();
        if let Some(text) = raw.calls.map(RawValue::get).filter(|text| *text != "null") {
            let list = elements(text, calls_left).map_err(|_| bad.clone())?;
            let list = list.ok_or_else(|| RpcError::said(-32602, format!("Too many calls; at most {MAX_CALLS} in one request")))?;
            calls_left -= list.len();
            calls =
                list.into_iter().map(|call| Call::simulated(call.get()).ok_or_else(|| bad.clone())).collect::<Result<_, _>>()?;
        }
        blocks.push(Asked { overrides, state, calls });
    }
    Ok(Request { blocks, validation: raw.validation, transfers: raw.trace_transfers, full: raw.return_full_transactions })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawOverrides {
    time: Option<String>,
    number: Option<String>,
    hash: Option<B256>,
    prev_randao: Option<String>,
    mix_hash: Option<String>,
    gas_limit: Option<String>,
    fee_recipient: Option<String>,
    base_fee_per_gas: Option<String>,
    state_root: Option<B256>,
    difficulty: Option<u64>,
    extra_data: Option<String>,
    parent_beacon_block_root: Option<String>,
}

impl RawOverrides {
    fn read(self) -> Option<BlockOverrides> {
        fn each<T>(text: Option<String>, read: impl Fn(&str) -> Option<T>) -> Option<Option<T>> {
            match text {
                None => Some(None),
                Some(text) => read(&text).map(Some),
            }
        }
        let word256 = |text: &str| word(text).map(B256::from);
        Some(BlockOverrides {
            time: each(self.time, number)?,
            number: each(self.number, number)?,
            hash: self.hash,
            random: each(self.mix_hash.or(self.prev_randao), word256)?,
            gas_limit: each(self.gas_limit, number)?,
            fee_recipient: each(self.fee_recipient, address)?,
            base_fee: each(self.base_fee_per_gas, number)?,
            state_root: self.state_root,
            difficulty: self.difficulty.map(U256::from),
            extra_data: each(self.extra_data, bytes)?,
            beacon_root: each(self.parent_beacon_block_root, word256)?,
        })
    }
}

/// What is wrong whatever the chain says.
fn validate(request: &Request) -> Result<(), RpcError> {
    if !ascend(request.blocks.iter().filter_map(|block| block.overrides.number)) {
        return Err(RpcError::new(-38020, "Block numbers are not ascending"));
    }
    if !ascend(request.blocks.iter().filter_map(|block| block.overrides.time)) {
        return Err(RpcError::new(-38021, "Timestamps are not ascending"));
    }
    let mut nonces: BTreeMap<Address, u64> = BTreeMap::new();
    for call in request.blocks.iter().flat_map(|block| &block.calls) {
        if let Some(nonce) = call.nonce
            && nonces.insert(call.from, nonce).is_some_and(|before| before >= nonce)
        {
            return Err(RpcError::new(-32602, "Invalid nonces"));
        }
    }
    Ok(())
}

fn ascend(mut values: impl Iterator<Item = u64>) -> bool {
    let mut last = None;
    values.all(|value| last.replace(value).is_none_or(|last| last < value))
}

/// The blocks with numbers and times, gaps filled.
fn filled(asked: &[Asked], head: &Header) -> Result<Vec<Asked>, RpcError> {
    let named = asked.iter().filter_map(|block| block.overrides.number).max();
    let after = asked.iter().filter(|block| block.overrides.number.is_none_or(|number| Some(number) > named)).count() as u64;
    if let Some(named) = named {
        let (last, most) = (named.saturating_add(after), head.number + MAX_BLOCKS as u64);
        if last > most {
            return Err(RpcError::said(
                -38026,
                format!(
                    "Block number {last} exceeds the limit of {most} (header: {} + MAX_BLOCK_CALL_SIZE: {MAX_BLOCKS})",
                    head.number
                ),
            ));
        }
    }
    let mut out: Vec<Asked> = Vec::new();
    let (mut number, mut time) = (head.number, head.timestamp);
    for block in asked {
        let wanted = block.overrides.number.unwrap_or(number + 1);
        while number + 1 < wanted {
            (number, time) = (number + 1, time + SLOT_S);
            let overrides = BlockOverrides { number: Some(number), time: Some(time), ..BlockOverrides::default() };
            out.push(Asked { overrides, ..Asked::default() });
        }
        let at = block.overrides.time.unwrap_or(time + SLOT_S);
        if wanted <= number {
            return Err(RpcError::said(
                -38020,
                format!(
                    "Block number is invalid. Trying to add a call at block number {wanted}, while current block number is {number}."
                ),
            ));
        }
        if at <= time {
            return Err(RpcError::said(
                -38021,
                format!("Timestamp is invalid. Trying to add a call at timestamp {at}, while current timestamp is {time}."),
            ));
        }
        (number, time) = (wanted, at);
        let overrides = BlockOverrides { number: Some(number), time: Some(time), ..block.overrides.clone() };
        out.push(Asked { overrides, ..block.clone() });
    }
    Ok(out)
}

/// All blocks, on that of this height.
fn run(api: &Api, request: &Request, base: u64, allowance: &Allowance) -> Result<Vec<SimulatedBlock>, RpcError> {
    let ledger = &api.backend.ledger;
    let view = ledger.view(base)?.ok_or(RpcError::BLOCK_NOT_FOUND)?;
    let mut db = view.with(&Overrides::new()).map_err(RpcError::internal)?;
    let mut parent = (Header::clone(view.header()), ledger.hash_of(base)?.ok_or(RpcError::BLOCK_NOT_FOUND)?);
    let mut out = Vec::new();
    let mut gas_before = 0;
    for asked in filled(&request.blocks, view.header())? {
        allowance.pause()?;
        let header = next_header(api, &asked.overrides, (&parent.0, parent.1), request.validation);
        let mut sim = Sim {
            api,
            request,
            allowance,
            env: environment(api, &asked.overrides, &header, request.validation),
            header,
            gas_before,
        };
        let (block, header, hash) = sim.block(&mut db, &asked, view.state())?;
        gas_before += header.gas_used;
        db.cache.block_hashes.insert(U256::from(header.number), hash);
        parent = (header, hash);
        out.push(block);
    }
    Ok(out)
}

/// Header of the next block before its calls.
fn next_header(api: &Api, overrides: &BlockOverrides, (parent, hash): (&Header, B256), validation: bool) -> Header {
    let spec = api.backend.ledger.spec();
    let (number, timestamp) = (overrides.number.unwrap_or(parent.number + 1), overrides.time.unwrap_or(parent.timestamp + SLOT_S));
    let fork = spec.fork_at(number, timestamp);
    let min_gas_price = u64::try_from(api.min_gas_price()).unwrap_or(u64::MAX);
    let own_fee = || if validation { spec.next_base_fee(parent, timestamp, min_gas_price).unwrap_or(0) } else { 0 };
    Header {
        parent_hash: hash,
        ommers_hash: ipe_types::header::EMPTY_OMMERS_HASH,
        beneficiary: overrides.fee_recipient.unwrap_or(parent.beneficiary),
        difficulty: overrides.difficulty.unwrap_or(parent.difficulty),
        number,
        timestamp,
        gas_limit: overrides.gas_limit.unwrap_or(parent.gas_limit),
        extra_data: overrides.extra_data.clone().unwrap_or_default(),
        mix_hash: overrides.random.unwrap_or_default(),
        base_fee_per_gas: (fork >= Fork::London).then(|| overrides.base_fee.unwrap_or_else(own_fee)),
        blob_gas_used: (fork >= Fork::Cancun).then_some(0),
        excess_blob_gas: (fork >= Fork::Cancun).then(|| spec.blob_rules(number, timestamp).next_excess(parent)),
        parent_beacon_block_root: (fork >= Fork::Cancun).then(|| overrides.beacon_root.unwrap_or_default()),
        requests_hash: (fork >= Fork::Prague).then_some(NO_REQUESTS_HASH),
        ..Header::default()
    }
}

fn environment(api: &Api, overrides: &BlockOverrides, header: &Header, validation: bool) -> Env {
    let mut env = api.backend.ledger.env(header);
    if let Some(recipient) = overrides.fee_recipient {
        env.block.beneficiary = recipient;
    }
    // Nonces are judged here, which tells Besu's reason.
    env.cfg.disable_nonce_check = true;
    env.cfg.disable_block_gas_limit = true;
    env.cfg.disable_eip3607 = true;
    env.cfg.disable_base_fee = !validation;
    env.cfg.tx_gas_limit_cap = Some(u64::MAX);
    env
}

/// The simulation of one block.
struct Sim<'a> {
    api: &'a Api,
    request: &'a Request,
    allowance: &'a Allowance,
    env: Env,
    header: Header,
    /// Gas of the blocks before.
    gas_before: u64,
}

/// A call that was carried out.
struct Done {
    tx: Transaction,
    from: Address,
    result: ExecutionResult,
    last: u8,
    logs: Vec<Log>,
}

impl Sim<'_> {
    fn block(&mut self, db: &mut SimDb, asked: &Asked, base: &StateAt) -> Result<(SimulatedBlock, Header, B256), RpcError> {
        let ledger = &self.api.backend.ledger;
        self.allowance.hold(BLOCK_BYTES)?;
        view::override_state(db, &asked.state).map_err(RpcError::internal)?;
        view::begin_block(db, &self.env, &self.header).map_err(|error| RpcError::internal(error.to_string()))?;
        let mut done = Vec::with_capacity(asked.calls.len());
        let (mut receipts, mut blooms, mut gas_used): (Vec<Receipt>, _, u64) = (Vec::new(), BloomMaker::default(), 0);
        for call in &asked.calls {
            let one = self.call(db, call, gas_used)?;
            // Besu counts what a transaction took before its refunds.
            gas_used = gas_used.saturating_add(one.result.gas().total_gas_spent().max(one.result.tx_gas_used()));
            let logs = if let ExecutionResult::Success { logs, .. } = &one.result { logs.clone() } else { Vec::new() };
            let bloom = blooms.of(&logs);
            receipts.push(receipts::receipt(one.tx.tx_type(), one.result.is_success().into(), gas_used, logs, bloom));
            done.push(one);
        }
        let params = ledger.spec().qbft_at(self.header.number, self.header.timestamp);
        view::reward(db, self.header.beneficiary, params.block_reward).map_err(RpcError::internal)?;
        let changes = view::changes(db);
        let entries: usize = changes.accounts.values().map(|account| 1 + account.slots.len()).sum();
        self.allowance.spend_steps(ROOT_STEPS * entries as u64)?;
        let RootWith { root, rows } = base.root_with(&changes)?;
        self.allowance.spend_steps(ROOT_STEPS * rows.saturating_sub(entries) as u64)?;
        let transactions: Vec<Transaction> = done.iter().map(|one| one.tx.clone()).collect();
        let mut header = self.header.clone();
        header.state_root = asked.overrides.state_root.unwrap_or(root);
        header.transactions_root = alloy_consensus::proofs::calculate_transaction_root(&transactions);
        header.receipts_root = receipts::root(&receipts);
        header.logs_bloom = blooms.block();
        header.gas_used = gas_used;
        // Besu writes the optional fields of a header up to the first that is absent, and a QBFT block has no withdrawals.
        let written = Header {
            blob_gas_used: None,
            excess_blob_gas: None,
            parent_beacon_block_root: None,
            requests_hash: None,
            ..header.clone()
        };
        let hash = asked.overrides.hash.unwrap_or_else(|| keccak256(alloy_rlp::encode(&written)));
        let senders: Vec<Address> = done.iter().map(|one| one.from).collect();
        let block = Block { header: written, body: Body { transactions, ..Body::default() } };
        let shown =
            RpcBlock::simulated(hash, &block, &header, self.request.full.then_some(&senders[..]), self.api.settings.release);
        let calls = self.outcomes(done, hash, &header);
        Ok((SimulatedBlock { block: shown, calls }, header, hash))
    }

    fn call(&mut self, db: &mut SimDb, call: &Call, gas_used: u64) -> Result<Done, RpcError> {
        let account = db.basic_ref(call.from).map_err(RpcError::internal)?.unwrap_or_default();
        let nonce = call.nonce.unwrap_or(account.nonce);
        let wrong = |how: &str| {
            RpcError::said(
                -32603,
                format!("transaction nonce {nonce} {how} sender account nonce {} for sender {:#x}", account.nonce, call.from),
            )
        };
        let fee = call.gas_price.or(call.max_fee).unwrap_or_default();
        if self.request.validation && fee < U256::from(self.env.block.basefee) {
            return Err(RpcError::new(-38012, "gasPrice is less than the current BaseFee"));
        }
        let gas = self.gas(call, gas_used)?;
        let tx = self.transaction(call, nonce, gas);
        let executed = ipe_chain::tx_env(&tx, call.from);
        let mut transfers = Transfers::default();
        let executed = if self.request.transfers {
            watch::execute(self.allowance, Records::TRANSFERS, db, &self.env, executed, &mut transfers)
        } else {
            watch::execute(self.allowance, Records::NONE, db, &self.env, executed, revm::inspector::NoOpInspector)
        };
        let (simulated, last) = match executed {
            Ok(_) if nonce < account.nonce => return Err(wrong("below")),
            Ok(_) if self.request.validation && nonce > account.nonce => return Err(wrong("does not match")),
            Ok(done) => done,
            Err(Stop::Simulate(error)) => return Err(refused(error, call.from)),
            Err(Stop::Over(error)) => return Err(error),
        };
        let Simulated { result, .. } = &simulated;
        let result = result.clone();
        watch::keep(self.allowance, db, simulated)?;
        // With transfers asked for Besu tells of them only.
        let logs = match &result {
            _ if self.request.transfers => transfers.logs,
            ExecutionResult::Success { logs, .. } => logs.clone(),
            _ => Vec::new(),
        };
        let data: usize = logs.iter().map(|log| 512 + 3 * log.data.data.len()).sum();
        self.allowance.hold(data + 1024 + 3 * (result.output().map_or(0, |output| output.len()) + call.data.len()))?;
        Ok(Done { tx, from: call.from, result, last, logs })
    }

    /// Gas of a call: what it asks for, or what is left.
    fn gas(&self, call: &Call, gas_used: u64) -> Result<u64, RpcError> {
        let cap = self.api.most_gas();
        let left = cap.saturating_sub(self.gas_before).min(self.header.gas_limit).saturating_sub(gas_used);
        match call.gas {
            Some(gas) if gas > left => Err(RpcError::new(-38015, "Transaction gas exceeds block gas limit")),
            Some(gas) => Ok(gas.min(cap)),
            None => {
                let fork = self.api.backend.ledger.spec().fork_at(self.header.number, self.header.timestamp);
                let own = if fork >= Fork::Osaka { TX_GAS_CAP } else { u64::MAX };
                Ok(cap.min(own).min(left))
            }
        }
    }

    /// The transaction that the call stands for, with a signature of zeros.
    fn transaction(&self, call: &Call, nonce: u64, gas_limit: u64) -> Transaction {
        let (chain_id, to) =
            (self.env.cfg.chain_id, call.to.map_or(alloy_primitives::TxKind::Create, alloy_primitives::TxKind::Call));
        let (value, input) = (call.value, call.data.clone());
        let access_list = call.access_list.clone().unwrap_or_default();
        let dynamic = call.gas_price.is_none() && self.header.base_fee_per_gas.is_some();
        let unsigned: Unsigned = if dynamic {
            TxEip1559 { chain_id, nonce, gas_limit, to, value, access_list, input, ..TxEip1559::default() }.into()
        } else if call.access_list.is_some() {
            TxEip2930 { chain_id, nonce, gas_limit, to, value, access_list, input, ..TxEip2930::default() }.into()
        } else {
            TxLegacy { chain_id: None, nonce, gas_limit, to, value, input, ..TxLegacy::default() }.into()
        };
        Transaction::sign(unsigned, call.prices(dynamic), |_| Signature::new(U256::ZERO, U256::ZERO, false))
    }

    fn outcomes(&self, done: Vec<Done>, hash: B256, header: &Header) -> Vec<Outcome> {
        let mut first_log = 0;
        let mut out = Vec::with_capacity(done.len());
        for (index, one) in done.into_iter().enumerate() {
            let place = Place::of(hash, header, index);
            let logs: Vec<RpcLog> = one
                .logs
                .iter()
                .zip(first_log..)
                .map(|(log, at)| RpcLog::new(log, at, *one.tx.tx_hash(), &place, self.api.settings.release))
                .collect();
            // A transaction without logs counts as one, in Besu too.
            first_log += (logs.len() as u64).max(1);
            let error = match &one.result {
                ExecutionResult::Success { .. } => None,
                ExecutionResult::Revert { output, .. } => {
                    let RpcError { code, message, data } = reverted(self.api, output);
                    Some(Failed { code, message: message.into_owned(), data })
                }
                ExecutionResult::Halt { reason, .. } => {
                    Some(Failed { code: -32015, message: halt_words(reason, one.last), data: None })
                }
            };
            let return_data =
                if let ExecutionResult::Success { output, .. } = &one.result { output.data().clone() } else { Bytes::new() };
            out.push(Outcome {
                status: U64::from(u8::from(error.is_none())),
                error,
                gas_used: U64::from(one.result.tx_gas_used()),
                max_used_gas: U64::from(one.result.gas().total_gas_spent().max(one.result.tx_gas_used())),
                logs,
                return_data,
            });
        }
        out
    }
}

/// Why a call may not be executed, in Besu's codes and words.
fn refused(error: SimulateError, sender: Address) -> RpcError {
    let invalid = match error {
        SimulateError::Invalid(invalid) => invalid,
        other => return RpcError::internal(other),
    };
    match invalid {
        InvalidTransaction::LackOfFundForMaxFee { fee, balance } => RpcError::said(
            -38014,
            format!(
                "transaction up-front cost {:#x} exceeds transaction sender account balance {:#x} for sender {sender:#x}",
                *fee, *balance
            ),
        ),
        InvalidTransaction::OverflowPaymentInTransaction => RpcError::new(-38014, "Upfront cost exceeds balance"),
        InvalidTransaction::CallGasCostMoreThanGasLimit { initial_gas: cost, gas_limit }
        | InvalidTransaction::GasFloorMoreThanGasLimit { gas_floor: cost, gas_limit } => {
            RpcError::said(-38013, format!("intrinsic gas cost {cost} exceeds gas limit {gas_limit}"))
        }
        InvalidTransaction::GasPriceLessThanBasefee => RpcError::new(-38012, "gasPrice is less than the current BaseFee"),
        other => RpcError::said(-32603, other.to_string()),
    }
}

/// Notes transfers of wei as logs; those of a call that failed are taken back.
#[derive(Default)]
struct Transfers {
    logs: Vec<Log>,
    marks: Vec<usize>,
}

impl Transfers {
    fn enter(&mut self, from: Address, to: Address, value: U256) {
        self.marks.push(self.logs.len());
        if from != to {
            self.note(from, to, value);
        }
    }

    fn note(&mut self, from: Address, to: Address, value: U256) {
        if !value.is_zero() {
            let topics = vec![TRANSFER_TOPIC, from.into_word(), to.into_word()];
            let data = LogData::new_unchecked(topics, Bytes::copy_from_slice(&value.to_be_bytes::<32>()));
            self.logs.push(Log { address: TRANSFER_EMITTER, data });
        }
    }

    fn leave(&mut self, succeeded: bool) {
        let mark = self.marks.pop().unwrap_or(0);
        if !succeeded {
            self.logs.truncate(mark);
        }
    }
}

impl<'a> Inspector<SimContext<'a>> for Transfers {
    fn call(&mut self, _: &mut SimContext<'a>, inputs: &mut CallInputs) -> Option<CallOutcome> {
        self.enter(inputs.transfer_from(), inputs.transfer_to(), inputs.transfer_value().unwrap_or_default());
        None
    }

    fn call_end(&mut self, _: &mut SimContext<'a>, _: &CallInputs, outcome: &mut CallOutcome) {
        self.leave(outcome.result.is_ok());
    }

    fn create(&mut self, context: &mut SimContext<'a>, inputs: &mut CreateInputs) -> Option<CreateOutcome> {
        use revm::context::{ContextTr, JournalTr};
        let nonce = context.journal_mut().load_account(inputs.caller()).map_or(0, |account| account.data.info.nonce);
        self.enter(inputs.caller(), inputs.created_address(nonce), inputs.value());
        None
    }

    fn create_end(&mut self, _: &mut SimContext<'a>, _: &CreateInputs, outcome: &mut CreateOutcome) {
        self.leave(outcome.result.is_ok());
    }

    fn selfdestruct(&mut self, contract: Address, target: Address, value: U256) {
        self.note(contract, target, value);
    }
}
