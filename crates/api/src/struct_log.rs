//! The struct logger of `debug_trace…` in Besu's form.
//!
//! Besu 25 shows the stack before and memory and storage after an instruction, numbers without leading zeros, and as
//! storage everything that the transaction has written in the account so far. Besu 26 follows go-ethereum more closely:
//! no memory unless asked for, storage only where it is read or written, and the refund counter.
//!
//! Steps are written as JSON text at once, so a trace takes no more memory than its answer, and ends at the answer's limit
//! or when there is no memory for it.

use crate::allowance::Allowance;
use crate::backend::Release;
use crate::error::RpcError;
use alloy_primitives::map::HashMap;
use alloy_primitives::{Address, U256, hex};
use revm::Inspector;
use revm::bytecode::opcode::{self, OpCode};
use revm::context::{ContextTr, JournalTr};
use revm::interpreter::interpreter::EthInterpreter;
use revm::interpreter::interpreter_types::{InputsTr, Jumps, LoopControl, MemoryTr};
use revm::interpreter::{
    CallInputs, CallOutcome, CreateInputs, CreateOutcome, FrameInput, InstructionResult, Interpreter, InterpreterAction,
};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::Write as _;

/// Bytes that are counted at once.
const LOT: usize = 16 << 10;
/// Gas that a call with value gives to the callee on top.
const STIPEND: u64 = 2300;

/// Options of a struct-log trace, Besu's and go-ethereum's spellings.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Options {
    pub disable_storage: Option<bool>,
    pub disable_memory: Option<bool>,
    pub enable_memory: Option<bool>,
    pub disable_stack: Option<bool>,
    pub tracer: Option<String>,
    pub tracer_config: Option<serde_json::Value>,
    pub state_overrides: Option<serde_json::Value>,
    pub block_overrides: Option<serde_json::Value>,
}

/// Records the steps of one transaction.
pub(crate) struct StructLogger<'a> {
    release: Release,
    stack: bool,
    memory: bool,
    storage: bool,
    allowance: &'a Allowance,
    /// Why nothing is written any more.
    full: Option<RpcError>,
    /// Bytes of `out` that are counted.
    counted: usize,
    out: Vec<u8>,
    step: Step,
    /// The instruction set calls 0x44 PREVRANDAO.
    merged: bool,
    /// What each open frame has written. A frame does not show what its caller wrote before; when it succeeds, its caller
    /// shows what it wrote.
    frames: Vec<Writes>,
}

type Writes = HashMap<Address, BTreeMap<U256, U256>>;

#[derive(Default)]
struct Step {
    pc: usize,
    op: u8,
    gas: u64,
    stack: Vec<U256>,
    memory: usize,
    address: Address,
    open: bool,
}

impl Step {
    /// What the instruction would have cost when the gas did not suffice, for those whose price depends on operands.
    fn wanted(&self) -> Option<u64> {
        match self.op {
            opcode::SSTORE if self.gas <= STIPEND => Some(STIPEND),
            op @ opcode::LOG0..=opcode::LOG4 => {
                let at = self.stack.len();
                let offset = u64::try_from(*self.stack.get(at.checked_sub(1)?)?).ok()?;
                let size = u64::try_from(*self.stack.get(at.checked_sub(2)?)?).ok()?;
                let words = |bytes: u64| bytes.div_ceil(32);
                let price = |words: u64| words.checked_mul(3)?.checked_add(words.checked_mul(words)? / 512);
                let before = price(words(self.memory as u64))?;
                let end = if size == 0 { 0 } else { offset.checked_add(size)? };
                let growth = price(words(end).max(words(self.memory as u64)))?.checked_sub(before)?;
                let topics = u64::from(op - opcode::LOG0);
                375_u64.checked_add(375 * topics)?.checked_add(size.checked_mul(8)?)?.checked_add(growth)
            }
            _ => None,
        }
    }
}

impl<'a> StructLogger<'a> {
    pub(crate) fn new(release: Release, merged: bool, options: &Options, allowance: &'a Allowance) -> Self {
        let memory = match release {
            Release::Besu25 => !options.disable_memory.unwrap_or(false),
            Release::Besu26 => options.enable_memory.unwrap_or(false) || options.disable_memory == Some(false),
        };
        Self {
            release,
            stack: !options.disable_stack.unwrap_or(false),
            memory,
            storage: !options.disable_storage.unwrap_or(false),
            allowance,
            full: None,
            counted: 0,
            out: Vec::new(),
            step: Step::default(),
            merged,
            frames: Vec::new(),
        }
    }

    /// The object with everything in it.
    pub(crate) fn finish(self, gas: u64, failed: bool, returned: &[u8]) -> Result<Vec<u8>, RpcError> {
        if let Some(error) = self.full {
            return Err(error);
        }
        let returned = if failed { &[] } else { returned };
        let prefix = if self.release == Release::Besu26 && !returned.is_empty() { "0x" } else { "" };
        let mut text = Vec::with_capacity(self.out.len() + 2 * returned.len() + 96);
        // Writing to memory cannot fail.
        let _ = write!(
            text,
            "{{\"gas\":{gas},\"failed\":{failed},\"returnValue\":\"{prefix}{}\",\"structLogs\":[",
            hex::encode(returned)
        );
        text.extend_from_slice(&self.out);
        text.extend_from_slice(b"]}");
        Ok(text)
    }

    /// Counts what was written: it is there a second time when the answer is put together.
    fn count(&mut self) {
        let more = self.out.len() - self.counted;
        if self.out.len() > self.allowance.room() {
            self.full = Some(RpcError::RESPONSE_SIZE);
        } else if more >= LOT {
            self.full = self.allowance.hold(2 * more).err();
            self.counted = self.out.len();
        }
    }

    fn depth(&self) -> usize {
        self.frames.len()
    }

    fn put(&mut self, address: Address, slot: U256, value: U256) {
        if let Some(writes) = self.frames.last_mut() {
            writes.entry(address).or_default().insert(slot, value);
        }
    }

    fn enter(&mut self) {
        self.frames.push(Writes::default());
    }

    fn leave(&mut self, succeeded: bool) {
        let Some(writes) = self.frames.pop() else { return };
        if let (true, Some(caller)) = (succeeded, self.frames.last_mut()) {
            for (address, slots) in writes {
                caller.entry(address).or_default().extend(slots);
            }
        }
    }

    fn begin(&mut self) {
        if !self.out.is_empty() {
            self.out.push(b',');
        }
    }

    fn head(&mut self, pc: usize, name: &str, gas: u64, cost: u64) {
        self.begin();
        let _ = write!(self.out, "{{\"pc\":{pc},\"op\":\"{name}\",\"gas\":{gas},\"gasCost\":{cost},\"depth\":{}", self.depth());
    }

    fn words<'w>(out: &mut Vec<u8>, name: &str, words: impl Iterator<Item = U256> + 'w) {
        let _ = write!(out, ",\"{name}\":[");
        let mut first = true;
        for word in words {
            if !first {
                out.push(b',');
            }
            first = false;
            let _ = write!(out, "\"{word:#x}\"");
        }
        out.push(b']');
    }

    /// `accessed` is the slot of this very instruction.
    fn write_storage(&mut self, address: &Address, accessed: Option<(U256, U256)>) {
        if !self.storage {
            return;
        }
        if self.release == Release::Besu26 {
            if let Some((slot, value)) = accessed {
                let _ = write!(self.out, ",\"storage\":{{\"{slot:#066x}\":\"{value:#066x}\"}}");
            }
            return;
        }
        let Some(slots) = self.frames.last().and_then(|writes| writes.get(address)) else { return };
        self.out.extend_from_slice(b",\"storage\":{");
        for (nth, (slot, value)) in slots.iter().enumerate() {
            let comma = if nth == 0 { "" } else { "," };
            let _ = write!(self.out, "{comma}\"{slot:x}\":\"{value:x}\"");
        }
        self.out.push(b'}');
    }
}

/// `0x` and the digits without leading zeros.
fn short(bytes: &[u8]) -> String {
    let digits = hex::encode(bytes);
    let trimmed = digits.trim_start_matches('0');
    format!("0x{}", if trimmed.is_empty() { "0" } else { trimmed })
}

fn op_name(op: u8, merged: bool) -> String {
    match op {
        opcode::DIFFICULTY if merged => "PREVRANDAO".to_owned(),
        opcode::INVALID => "INVALID".to_owned(),
        _ => OpCode::new(op).map_or_else(|| "INVALID".to_owned(), |o| o.as_str().to_owned()),
    }
}

/// Besu's name of an instruction's failure; `None` for an end that is none.
fn failure(result: InstructionResult) -> Option<&'static str> {
    use InstructionResult as R;
    Some(match result {
        R::Stop | R::Return | R::SelfDestruct | R::Suspend | R::Revert => return None,
        R::OutOfGas | R::MemoryOOG | R::MemoryLimitOOG | R::PrecompileOOG | R::InvalidOperandOOG | R::ReentrancySentryOOG => {
            "INSUFFICIENT_GAS"
        }
        R::OpcodeNotFound | R::InvalidFEOpcode | R::NotActivated => "INVALID_OPERATION",
        R::InvalidJump => "INVALID_JUMP_DESTINATION",
        R::StackUnderflow => "INSUFFICIENT_STACK_ITEMS",
        R::StackOverflow => "TOO_MANY_STACK_ITEMS",
        R::OutOfOffset => "INVALID_RETURN_DATA_BUFFER_ACCESS",
        R::CallNotAllowedInsideStatic | R::StateChangeDuringStaticCall => "ILLEGAL_STATE_CHANGE",
        R::CreateContractSizeLimit | R::CreateInitCodeSizeLimit => "CODE_TOO_LARGE",
        R::CreateContractStartingWithEF => "INVALID_CODE",
        R::PrecompileError => "PRECOMPILE_ERROR",
        _ => "NONE",
    })
}

impl<C: ContextTr> Inspector<C, EthInterpreter> for StructLogger<'_> {
    fn step(&mut self, interp: &mut Interpreter<EthInterpreter>, _: &mut C) {
        if self.full.is_some() {
            interp.bytecode.set_action(InterpreterAction::new_halt(InstructionResult::OutOfGas, interp.gas));
            return;
        }
        self.step.pc = interp.bytecode.pc();
        self.step.op = interp.bytecode.opcode();
        self.step.gas = interp.gas.remaining();
        self.step.address = interp.input.target_address();
        self.step.open = true;
        self.step.stack.clear();
        // The operands of a store are needed whether the stack is shown or not.
        self.step.memory = interp.memory.size();
        let operands =
            matches!(self.step.op, opcode::SLOAD | opcode::SSTORE | opcode::CALL | opcode::CALLCODE | opcode::LOG0..=opcode::LOG4);
        if self.stack || operands {
            self.step.stack.extend_from_slice(interp.stack.data());
        }
    }

    fn step_end(&mut self, interp: &mut Interpreter<EthInterpreter>, _: &mut C) {
        if !std::mem::take(&mut self.step.open) {
            return;
        }
        let (op, gas, address) = (self.step.op, self.step.gas, self.step.address);
        let mut cost = gas.saturating_sub(interp.gas.remaining());
        let mut error = None;
        let mut reason = None;
        match interp.bytecode.action() {
            Some(InterpreterAction::NewFrame(FrameInput::Create(inputs))) => {
                // What the new contract may spend is not the instruction's own cost.
                cost = cost.saturating_sub(inputs.gas_limit());
            }
            Some(InterpreterAction::NewFrame(FrameInput::Call(_))) => {
                let operands = &self.step.stack;
                let with_value =
                    matches!(op, opcode::CALL | opcode::CALLCODE) && operands.len() >= 3 && !operands[operands.len() - 3].is_zero();
                if with_value {
                    cost = cost.saturating_add(STIPEND);
                }
            }
            Some(InterpreterAction::Return(end)) => {
                error = failure(end.result);
                if end.result == InstructionResult::Revert && op == opcode::REVERT {
                    // Memory grown for the reason is paid by the instruction; Besu shows no cost for it.
                    reason = Some(short(&end.output));
                }
                match error {
                    Some("INVALID_OPERATION") => cost = 0,
                    Some("INSUFFICIENT_GAS") => cost = self.step.wanted().unwrap_or(cost),
                    _ => {}
                }
            }
            _ => {}
        }
        let mut accessed = None;
        if error.is_none() {
            let operands = &self.step.stack;
            let top = operands.last().copied();
            let second = operands.len().checked_sub(2).map(|i| operands[i]);
            match (op, top, second) {
                (opcode::SSTORE, Some(slot), Some(value)) => {
                    self.put(address, slot, value);
                    accessed = Some((slot, value));
                }
                (opcode::SLOAD, Some(slot), _) => accessed = interp.stack.data().last().map(|value| (slot, *value)),
                _ => {}
            }
        }
        let name = op_name(op, self.merged);
        let pc = self.step.pc;
        self.head(pc, &name, gas, cost);
        if self.stack {
            let stack = std::mem::take(&mut self.step.stack);
            Self::words(&mut self.out, "stack", stack.iter().copied());
            self.step.stack = stack;
        }
        if self.memory && interp.memory.size() > 0 {
            let memory = interp.memory.slice(0..interp.memory.size());
            Self::words(&mut self.out, "memory", memory.chunks(32).map(U256::from_be_slice));
        }
        self.write_storage(&address, accessed);
        if self.release == Release::Besu26 {
            let refund = interp.gas.refunded();
            if refund != 0 {
                let _ = write!(self.out, ",\"refund\":{refund}");
            }
        }
        if let Some(reason) = reason {
            let _ = write!(self.out, ",\"reason\":\"{reason}\"");
        }
        if let Some(error) = error {
            let _ = match self.release {
                Release::Besu25 => write!(self.out, ",\"error\":[\"{error}\"]"),
                Release::Besu26 => write!(self.out, ",\"error\":\"{error}\""),
            };
        }
        self.out.push(b'}');
        self.count();
    }

    fn call(&mut self, context: &mut C, inputs: &mut CallInputs) -> Option<CallOutcome> {
        self.enter();
        // A call to an account without code executes one STOP in Besu; the EVM here ends it without a step.
        let precompile = context.journal_ref().precompile_addresses().contains(&inputs.bytecode_address);
        if inputs.known_bytecode.1.is_empty() && !precompile {
            self.head(0, "STOP", inputs.gas_limit, 0);
            if self.stack {
                self.out.extend_from_slice(b",\"stack\":[]");
            }
            let target = inputs.target_address;
            self.write_storage(&target, None);
            self.out.push(b'}');
        }
        None
    }

    fn call_end(&mut self, _: &mut C, _: &CallInputs, outcome: &mut CallOutcome) {
        self.leave(outcome.result.is_ok());
    }

    fn create(&mut self, _: &mut C, _: &mut CreateInputs) -> Option<CreateOutcome> {
        self.enter();
        None
    }

    fn create_end(&mut self, _: &mut C, _: &CreateInputs, outcome: &mut CreateOutcome) {
        self.leave(outcome.result.is_ok());
    }
}
