//! Executions within an [`Allowance`]: every simulated or traced transaction is watched, so that none lasts beyond its request's
//! time, and neither its memory nor what a tracer keeps of it grows beyond what a request may hold.

use crate::allowance::Allowance;
use crate::error::RpcError;
use crate::execution::not_executed;
use ipe_chain::view::{self, Replay, SimDb, SimulateError, Simulated};
use ipe_chain::{Env, SimContext, Tx};
use revm::Inspector;
use revm::bytecode::opcode::{self, OpCode};
use revm::context::{ContextTr, JournalEntry};
use revm::inspector::JournalExt;
use revm::interpreter::interpreter::EthInterpreter;
use revm::interpreter::interpreter_types::{Jumps, LegacyBytecode, LoopControl, MemoryTr};
use revm::interpreter::{CallInputs, CallOutcome, CreateInputs, CreateOutcome, InstructionResult, Interpreter, InterpreterAction};
use revm::primitives::Log;
use revm_inspectors::tracing::{TraceLimits, TracingInspector, TracingInspectorConfig};

/// Instructions between two looks at the clock: some 20 µs.
const CLOCK_EVERY: u64 = 1024;
/// Instructions between two looks at the memory in use.
const MEMORY_EVERY: u64 = 64;
/// Bytes that something read for the first time, or written, takes in the journal and the cache of an execution.
const STATE_ENTRY: usize = 384;
/// What a byte that is copied takes in all: as a byte, and twice as text.
const COPIES: usize = 3;
/// Bytes of a contract that is only looked at, with what is found out about its jumps.
const CODE: usize = 32 << 10;

/// What a tracer keeps, in bytes: what its records and the answer made of them take together.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Records {
    /// Of each instruction.
    pub(crate) step: usize,
    /// Of each word that an instruction leaves on the stack, those that a DUP or SWAP looks past among them.
    pub(crate) word: usize,
    /// Of each call.
    pub(crate) call: usize,
    /// Of each call for each call above it.
    pub(crate) depth: usize,
    /// Input and output of calls.
    pub(crate) data: bool,
    /// Logs.
    pub(crate) logs: bool,
}

impl Records {
    /// Keeps nothing, or counts by itself.
    pub(crate) const NONE: Self = Self { step: 0, word: 0, call: 0, depth: 0, data: false, logs: false };
    /// Calls with their places: flat traces, `callTracer`.
    pub(crate) const CALLS: Self = Self { step: 0, word: 0, call: 1536, depth: 16, data: true, logs: false };
    /// The same with logs.
    pub(crate) const CALLS_AND_LOGS: Self = Self { logs: true, ..Self::CALLS };
    /// Calls without what they carry.
    pub(crate) const PLAIN_CALLS: Self = Self { data: false, ..Self::CALLS };
    /// `vmTrace`: its records, and the instructions made of them.
    pub(crate) const VM: Self = Self { step: 768, word: 80, ..Self::CALLS };
    /// A log for each call.
    pub(crate) const TRANSFERS: Self = Self { step: 0, word: 0, call: 768, depth: 0, data: false, logs: false };
    /// Selectors, each once with a length.
    pub(crate) const SELECTORS: Self = Self { step: 0, word: 0, call: 192, depth: 0, data: false, logs: false };
}

/// Why an execution gave nothing.
pub(crate) enum Stop {
    /// It could not start, or reading failed.
    Simulate(SimulateError),
    /// The request has no more time, gas or memory, or nobody waits for it.
    Over(RpcError),
}

impl From<Stop> for RpcError {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Simulate(error) => not_executed(error),
            Stop::Over(error) => error,
        }
    }
}

impl From<RpcError> for Stop {
    fn from(error: RpcError) -> Self {
        Self::Over(error)
    }
}

/// Executes one transaction on `db`, which does not change, watched by `inspector` as well; gives what it did and the last
/// instruction. What the tracer keeps stays counted.
pub(crate) fn execute<I>(
    allowance: &Allowance,
    records: Records,
    db: &mut SimDb,
    env: &Env,
    tx: Tx,
    inspector: I,
) -> Result<(Simulated, u8), Stop>
where
    I: for<'a> Inspector<SimContext<'a>>,
{
    allowance.has_gas()?;
    allowance.pause()?;
    let mut watch = Watch::new(allowance, records);
    let done = ipe_chain::simulate(db, env, tx, (&mut watch, inspector));
    let (last, over) = watch.end();
    over?;
    let simulated = done.map_err(Stop::Simulate)?;
    allowance.spend_gas(simulated.result.tx_gas_used());
    Ok((simulated, last))
}

/// Keeps what a simulated transaction did on the database of a simulation that goes on, and counts it: what it read stays in the
/// database's cache as well.
///
/// # Errors
/// There is no room for it.
pub(crate) fn keep(allowance: &Allowance, db: &mut SimDb, simulated: Simulated) -> Result<(), RpcError> {
    let state = &simulated.state;
    let entries: usize = state.values().map(|account| 1 + account.storage.len()).sum();
    let code: usize = state.values().filter_map(|account| account.info.code.as_ref()).map(|code| 2 * code.len()).sum();
    allowance.hold(entries * STATE_ENTRY + code)?;
    view::keep(db, simulated.state);
    Ok(())
}

/// Executes the transactions of a replay before position `index`, and keeps what they did.
pub(crate) fn skip_to(allowance: &Allowance, replay: &mut Replay, index: usize) -> Result<(), RpcError> {
    while replay.position() < index {
        let Some(tx) = next_tx(replay) else { break };
        let env = replay.env().clone();
        let (simulated, _) = execute(allowance, Records::NONE, replay.db(), &env, tx, revm::inspector::NoOpInspector)?;
        replay.keep(simulated);
    }
    Ok(())
}

/// A tracer of calls and instructions whose copies of memory and input are bounded as well.
pub(crate) fn tracing(allowance: &Allowance, config: TracingInspectorConfig) -> TracingInspector {
    // Copied once, and made text of.
    let most = allowance.memory_left() / COPIES;
    TracingInspector::new(config).with_limits(TraceLimits::default().set_max_recorded_bytes(Some(most)))
}

/// Counts what such a tracer has copied.
///
/// # Errors
/// It has left out something, or there is no room for it.
pub(crate) fn complete(allowance: &Allowance, inspector: &TracingInspector) -> Result<(), RpcError> {
    if inspector.limit_exceeded() {
        return Err(RpcError::MEMORY);
    }
    allowance.hold(inspector.recorded_bytes().saturating_mul(COPIES))
}

/// The next transaction of a replay, as the EVM takes it.
pub(crate) fn next_tx(replay: &Replay) -> Option<Tx> {
    let stored = replay.stored();
    let tx = stored.block.body.transactions.get(replay.position())?;
    let sender = stored.senders.get(replay.position())?;
    Some(ipe_chain::tx_env(tx, *sender))
}

/// Stops an execution that is beyond its allowance, and remembers the last instruction.
struct Watch<'a> {
    allowance: &'a Allowance,
    records: Records,
    steps: u64,
    last: u8,
    depth: usize,
    journal: usize,
    /// Bytes of the EVM's memory, at its largest.
    memory: usize,
    /// Bytes held for the execution itself, given back at its end.
    own: usize,
    /// Bytes not yet held, of the execution itself and of records.
    owed: usize,
    kept: usize,
    over: Option<RpcError>,
}

/// Bytes that are held at once.
const LOT: usize = 16 << 10;

impl<'a> Watch<'a> {
    fn new(allowance: &'a Allowance, records: Records) -> Self {
        Self { allowance, records, steps: 0, last: 0, depth: 0, journal: 0, memory: 0, own: 0, owed: 0, kept: 0, over: None }
    }

    fn state(&mut self, bytes: usize) {
        self.owed += bytes;
        if self.owed >= LOT {
            self.own += self.owed;
            self.hold(self.owed);
            self.owed = 0;
        }
    }

    fn keep(&mut self, bytes: usize) {
        self.kept += bytes;
        if self.kept >= LOT {
            self.hold(self.kept);
            self.kept = 0;
        }
    }

    fn hold(&mut self, bytes: usize) {
        if self.over.is_none() {
            self.over = self.allowance.hold(bytes).err();
        }
    }

    /// What the journal has more than at the last look is state that was read or written.
    fn look_at_journal<C: ContextTr<Journal: JournalExt>>(&mut self, context: &C, code: usize) {
        let journal = context.journal_ref().journal();
        let more = journal.get(self.journal..).unwrap_or_default();
        if !more.is_empty() {
            let warmed = more.iter().any(|entry| matches!(entry, JournalEntry::AccountWarmed { .. }));
            let code = match self.last {
                _ if !warmed => 0,
                opcode::EXTCODESIZE | opcode::EXTCODECOPY | opcode::EXTCODEHASH => CODE,
                opcode::CALL | opcode::CALLCODE | opcode::DELEGATECALL | opcode::STATICCALL => 2 * code,
                _ => 0,
            };
            let bytes = more.len() * STATE_ENTRY + code;
            self.state(bytes);
        }
        self.journal = journal.len();
    }

    fn enter(&mut self) {
        self.depth += 1;
        self.keep(self.records.call + self.records.depth * self.depth);
    }

    fn leave(&mut self, output: usize) {
        self.depth = self.depth.saturating_sub(1);
        if self.records.data {
            self.keep(COPIES * output);
        }
    }

    /// The last instruction, and why the execution was stopped if it was. Counts what is not counted yet and gives back what the
    /// execution itself held.
    fn end(mut self) -> (u8, Result<(), RpcError>) {
        if self.kept > 0 {
            self.hold(self.kept);
        }
        let over = self.over.take().or_else(|| self.allowance.spend_steps(self.steps % CLOCK_EVERY).err());
        (self.last, over.map_or(Ok(()), Err))
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.allowance.hold_only(self.allowance.held().saturating_sub(self.own));
    }
}

impl<C: ContextTr<Journal: JournalExt>> Inspector<C, EthInterpreter> for Watch<'_> {
    fn step(&mut self, interp: &mut Interpreter<EthInterpreter>, context: &mut C) {
        self.steps += 1;
        self.look_at_journal(context, interp.bytecode.bytecode_len());
        self.last = interp.bytecode.opcode();
        if self.records.step > 0 {
            let words = OpCode::new(self.last).map_or(0, |op| usize::from(op.outputs()));
            self.keep(self.records.step + self.records.word * words);
        }
        if self.steps.is_multiple_of(MEMORY_EVERY) {
            let memory = interp.memory.local_memory_offset() + interp.memory.size();
            if memory > self.memory {
                // Its buffer grows by doubling.
                self.state(2 * (memory - self.memory));
                self.memory = memory;
            }
        }
        if self.steps.is_multiple_of(CLOCK_EVERY) && self.over.is_none() {
            self.over = self.allowance.spend_steps(CLOCK_EVERY).and_then(|()| self.allowance.pause()).err();
        }
        if self.over.is_some() {
            interp.bytecode.set_action(InterpreterAction::new_halt(InstructionResult::OutOfGas, interp.gas));
        }
    }

    fn log(&mut self, _: &mut C, log: Log) {
        // It stays in the journal until the end.
        let bytes = log.data.data.len() + 32 * log.data.topics().len() + STATE_ENTRY;
        self.state(bytes);
        if self.records.logs {
            self.keep(COPIES * bytes);
        }
    }

    fn call(&mut self, context: &mut C, inputs: &mut CallInputs) -> Option<CallOutcome> {
        self.look_at_journal(context, inputs.known_bytecode.1.len());
        self.enter();
        if self.records.data {
            self.keep(COPIES * inputs.input.len());
        }
        None
    }

    fn call_end(&mut self, _: &mut C, _: &CallInputs, outcome: &mut CallOutcome) {
        self.leave(outcome.result.output.len());
    }

    fn create(&mut self, _: &mut C, inputs: &mut CreateInputs) -> Option<CreateOutcome> {
        self.enter();
        if self.records.data {
            self.keep(COPIES * inputs.init_code().len());
        }
        None
    }

    fn create_end(&mut self, _: &mut C, _: &CreateInputs, outcome: &mut CreateOutcome) {
        self.leave(outcome.result.output.len());
    }
}
