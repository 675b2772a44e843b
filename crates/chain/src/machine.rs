//! The EVM, for blocks and for simulations: that of the library, with the rules that are ours ([`crate::handler`],
//! [`crate::collision`], [`crate::delegation`], [`crate::net_gas`]), stopped when what runs has taken what it may.
//!
//! An interpreter runs on until its gas has fallen by [`SLICE_GAS`]; then the clock is asked. A precompiled contract cannot be
//! stopped, so it gets no more gas than fits the time that is left at the worst rate measured for it ([`crate::rates`]): it
//! answers "out of gas" before it works, and if that is because of our bound, the transaction is stopped.

use alloy_primitives::map::AddressSet;
use alloy_primitives::{Address, Bytes};
use revm::context::result::{EVMError, ExecutionResult, InvalidTransaction};
use revm::context::{
    BlockEnv, Cfg, CfgEnv, ContextError, ContextSetters, ContextTr, Evm, FrameStack, Journal, JournalEntry, JournalTr,
    LocalContextTr, TxEnv,
};
use revm::handler::evm::{ContextDbError, FrameInitResult, FrameTr};
use revm::handler::instructions::EthInstructions;
use revm::handler::precompile_output_to_interpreter_result;
use revm::handler::{EthFrame, EthPrecompiles, EvmTr, FrameInitOrResult, Handler, ItemOrResult, PrecompileProvider, SystemCallTx};
use revm::inspector::handler::frame_end;
use revm::inspector::{Inspector, InspectorEvmTr, InspectorHandler as _, JournalExt, inspect_instructions};
use revm::interpreter::interpreter::EthInterpreter;
use revm::interpreter::interpreter_action::FrameInput;
use revm::interpreter::interpreter_types::{LoopControl, MemoryTr};
use revm::interpreter::{
    CallInputs, Instruction, InstructionContext, InstructionExecResult, InstructionResult, Interpreter, InterpreterAction,
    InterpreterResult,
};
use revm::primitives::hardfork::SpecId;
use revm::state::EvmState;

use ipe_types::fork::Fork;

use crate::bound::{Bound, Cut, Over};
use crate::collision;
use crate::delegation;
use crate::env::{Tx, Wide};
use crate::handler::{Rules, price};
use crate::net_gas;
use crate::overlay::{ReadError, StateDb};
use crate::rates;
use crate::witness::Witness;

/// Gas after which the clock is asked, at most half a millisecond of all but the dearest instructions.
const SLICE_GAS: u64 = 50_000;
/// What the EVM is told when we stop it; the reason is in the meter.
const STOPPED: &str = "stopped by this node";

/// The same when a balance would exceed 2^256 − 1.
const OVERFLOW: &str = "a balance overflows";

/// The library's context for Ethereum, with the prices of a transaction that it has no room for.
pub(crate) type Context<DB> = revm::Context<BlockEnv, TxEnv, CfgEnv, DB, Journal<DB>, Wide>;
/// Byte of the instruction that tells the price of gas.
const GASPRICE: u8 = 0x3a;
/// What it costs, gas.
const GASPRICE_GAS: u16 = 2;

type Instructions<DB> = EthInstructions<EthInterpreter, Context<DB>>;
type Frame = EthFrame<EthInterpreter>;

/// An EVM over a block in execution, or over a simulation that an inspector watches.
pub(crate) struct Machine<'a, DB: StateDb, I = ()> {
    evm: Evm<Context<DB>, I, Instructions<DB>, Precompiles<'a>, Frame>,
    /// Contract whose logs are deposits, where the block has any.
    deposits: Option<Address>,
    /// Whether a payment of the transaction at hand did not fit into a balance.
    overflow: bool,
    /// Who looks at every instruction, where a rules contract is asked.
    witness: Option<Witness>,
}

/// How an execution fails: the transaction is invalid, reading failed, or it was stopped.
pub(crate) type MachineError = EVMError<ReadError, InvalidTransaction>;

impl<'a, DB: StateDb> Machine<'a, DB> {
    pub(crate) fn new(fork: Fork, context: Context<DB>, bound: Bound<'a>, deposits: Option<Address>) -> Self {
        Self::watched(fork, context, (), bound, deposits)
    }
}

impl<'a, DB: StateDb, I> Machine<'a, DB, I> {
    /// The same with an inspector, which sees what [`Machine::inspect`] executes.
    pub(crate) fn watched(fork: Fork, context: Context<DB>, inspector: I, bound: Bound<'a>, deposits: Option<Address>) -> Self {
        let spec = *context.cfg().spec();
        let precompiles = Precompiles { eth: EthPrecompiles::new(spec), meter: Meter::new(bound) };
        let mut instructions = EthInstructions::new_mainnet_with_spec(spec);
        net_gas::set_instruction(fork, &mut instructions);
        Self {
            evm: Evm::new_with_inspector(context, inspector, instructions, precompiles),
            deposits,
            overflow: false,
            witness: None,
        }
    }

    /// The same with somebody who looks at every instruction that [`Machine::transact`] executes, within the bound.
    pub(crate) fn with_witness(self, witness: Witness) -> Self {
        Self { witness: Some(witness), ..self }
    }

    /// Who looked at every instruction.
    pub(crate) fn into_witness(self) -> Witness {
        self.witness.unwrap_or_else(|| Witness::new(0, &[]))
    }

    pub(crate) fn context(&mut self) -> &mut Context<DB> {
        &mut self.evm.ctx
    }

    /// Executes a transaction; its changes stay in the journal. After an error nothing of it remains.
    pub(crate) fn transact(&mut self, tx: impl Into<Tx>) -> Result<ExecutionResult, MachineError> {
        self.begin(tx.into());
        let result = Rules::<_, MachineError, Frame>::new(self.deposits).run(self);
        self.unless_overflown(result)
    }

    /// As [`Machine::transact`], watched, and bounded by the inspector alone.
    pub(crate) fn inspect(&mut self, tx: impl Into<Tx>) -> Result<ExecutionResult, MachineError>
    where
        I: Inspector<Context<DB>>,
    {
        self.begin(tx.into());
        let result = Rules::<_, MachineError, Frame>::new(self.deposits).inspect_run(self);
        self.unless_overflown(result)
    }

    fn begin(&mut self, tx: Tx) {
        self.evm.precompiles.meter.begin();
        if tx.wide.is_some() {
            self.evm.instruction.insert_instruction(GASPRICE, Instruction::new(gas_price), GASPRICE_GAS);
        }
        self.evm.ctx.chain = tx.wide;
        self.evm.ctx.set_tx(tx.env);
        self.overflow = false;
    }

    fn unless_overflown(&self, result: Result<ExecutionResult, MachineError>) -> Result<ExecutionResult, MachineError> {
        if self.overflow { Err(InvalidTransaction::OverflowPaymentInTransaction.into()) } else { result }
    }

    /// Why the last transaction was stopped, if it was.
    pub(crate) fn cut(&mut self) -> Option<Cut> {
        self.evm.precompiles.meter.cut.take()
    }

    /// Gas that the interpreters have counted as work since the transaction began, see [`ipe_types::work`].
    pub(crate) fn counted_gas(&self) -> u64 {
        self.evm.precompiles.meter.used
    }

    /// A call by the system address, which nothing stops.
    pub(crate) fn system_call(&mut self, contract: Address, input: Bytes) -> Result<ExecutionResult, MachineError> {
        self.evm.precompiles.meter.exempt();
        let caller = revm::handler::SYSTEM_ADDRESS;
        self.evm.ctx.chain = None;
        self.evm.ctx.set_tx(TxEnv::new_system_tx_with_caller(caller, contract, input));
        Rules::<_, MachineError, Frame>::new(None).run_system_call(self)
    }

    /// All changes since the last call.
    pub(crate) fn take(&mut self) -> EvmState {
        self.evm.ctx.journal_mut().finalize()
    }
}

/// What the transaction at hand has taken.
struct Meter<'a> {
    bound: Bound<'a>,
    /// Time left for the block when the transaction began, µs.
    began_left_us: u64,
    /// How long it may run, µs.
    tx_us: u64,
    /// Gas used so far, without what is due before the first instruction.
    used: u64,
    /// Gas used since the clock was asked.
    unasked: u64,
    exempt: bool,
    cut: Option<Cut>,
}

impl<'a> Meter<'a> {
    fn new(bound: Bound<'a>) -> Self {
        Self { bound, began_left_us: u64::MAX, tx_us: u64::MAX, used: 0, unasked: 0, exempt: false, cut: None }
    }

    fn begin(&mut self) {
        (self.used, self.unasked, self.exempt, self.cut) = (0, 0, false, None);
        (self.began_left_us, self.tx_us) = ((self.bound.left_us)(), (self.bound.tx_us)());
    }

    fn exempt(&mut self) {
        (self.used, self.unasked, self.exempt, self.cut) = (0, 0, true, None);
    }

    /// Notes gas that instructions used.
    fn used(&mut self, gas: u64) {
        self.used = self.used.saturating_add(gas);
        self.unasked = self.unasked.saturating_add(gas);
        ipe_types::work::count(|done| done.gas = done.gas.wrapping_add(gas));
    }

    /// Time left for the transaction, µs; zero when it has to stop, with the reason noted.
    fn ask(&mut self) -> u64 {
        self.unasked = 0;
        if self.exempt {
            return u64::MAX;
        }
        let (left_us, own_us) = self.left_us();
        if self.used > self.bound.tx_gas {
            self.stop(Over::Gas { most: self.bound.tx_gas });
            return 0;
        }
        if own_us == 0 {
            self.stop(Over::TxTime { most_us: self.tx_us });
        } else if left_us == 0 {
            self.stop(Over::BlockTime);
        }
        left_us.min(own_us)
    }

    /// Time left for the block and for the transaction, µs.
    fn left_us(&self) -> (u64, u64) {
        let left_us = (self.bound.left_us)();
        (left_us, self.tx_us.saturating_sub(self.began_left_us.saturating_sub(left_us)))
    }

    fn stop(&mut self, over: Over) {
        let ran_us = self.began_left_us.saturating_sub((self.bound.left_us)());
        self.cut = Some(Cut { ran_us, used_gas: self.used, over });
    }

    /// A precompiled contract would run longer than there is time.
    fn stop_before(&mut self) {
        // With the whole block before it, it would not have fitted either when its own time is what ends first.
        let (left_us, own_us) = self.left_us();
        self.stop(if own_us <= left_us { Over::TxTime { most_us: self.tx_us } } else { Over::BlockTime });
    }
}

/// The precompiled contracts, within what is left.
pub(crate) struct Precompiles<'a> {
    eth: EthPrecompiles,
    meter: Meter<'a>,
}

impl<DB: StateDb> PrecompileProvider<Context<DB>> for Precompiles<'_> {
    type Output = InterpreterResult;

    fn set_spec(&mut self, spec: SpecId) -> bool {
        PrecompileProvider::<Context<DB>>::set_spec(&mut self.eth, spec)
    }

    fn run(&mut self, context: &mut Context<DB>, inputs: &CallInputs) -> Result<Option<InterpreterResult>, String> {
        let Some(precompile) = self.eth.precompiles.get(&inputs.bytecode_address) else { return Ok(None) };
        let left_us = self.meter.ask();
        if self.meter.cut.is_some() {
            return Err(STOPPED.into());
        }
        let rate = rates::picoseconds_a_gas(&inputs.bytecode_address);
        let affordable = rates::gas_within(left_us, rate);
        let gas_limit = inputs.gas_limit.min(affordable);
        let output =
            precompile.execute(&inputs.input.as_bytes(context), gas_limit, inputs.reservoir).map_err(|error| error.to_string())?;
        let out_of_gas = output.halt_reason().is_some_and(revm::precompile::PrecompileHalt::is_oog);
        if out_of_gas && affordable < inputs.gas_limit {
            self.meter.stop_before();
            return Err(STOPPED.into());
        }
        // What it charges is what it did, unless it failed: then all is charged, whatever was done.
        let worked = if output.halt_reason().is_some() { 0 } else { output.gas_used };
        self.meter.used(worked);
        ipe_types::work::count(|done| done.precompiled_ns = done.precompiled_ns.wrapping_add(worked.saturating_mul(rate) / 1_000));
        if let Some(reason) = output.halt_reason()
            && !out_of_gas
            && context.journal().depth() == 1
        {
            context.local_mut().set_precompile_error_context(reason.to_string());
        }
        Ok(Some(precompile_output_to_interpreter_result(output, inputs.gas_limit)))
    }

    fn warm_addresses(&self) -> &AddressSet {
        self.eth.warm_addresses()
    }
}

impl<'a, DB: StateDb, I> EvmTr for Machine<'a, DB, I> {
    type Context = Context<DB>;
    type Instructions = Instructions<DB>;
    type Precompiles = Precompiles<'a>;
    type Frame = Frame;

    fn all(&self) -> (&Self::Context, &Self::Instructions, &Self::Precompiles, &FrameStack<Self::Frame>) {
        self.evm.all()
    }

    fn all_mut(&mut self) -> (&mut Self::Context, &mut Self::Instructions, &mut Self::Precompiles, &mut FrameStack<Self::Frame>) {
        self.evm.all_mut()
    }

    fn frame_init(
        &mut self,
        mut input: <Self::Frame as FrameTr>::FrameInit,
    ) -> Result<FrameInitResult<'_, Self::Frame>, ContextDbError<Self::Context>> {
        let Machine { evm, overflow, witness, .. } = self;
        if let Some(result) = collision::over_storage(&mut evm.ctx, &input)? {
            return Ok(ItemOrResult::Result(result));
        }
        delegation::follow(&mut evm.ctx, &mut input)?;
        let begun = evm.frame_init(input)?;
        if let Some(witness) = witness {
            witness.begun(matches!(begun, ItemOrResult::Item(_)));
        }
        if let ItemOrResult::Result(result) = &begun
            && result.instruction_result() == InstructionResult::OverflowPayment
        {
            *overflow = true;
            return Err(ContextError::Custom(OVERFLOW.into()));
        }
        Ok(begun)
    }

    fn frame_run(&mut self) -> Result<FrameInitOrResult<Self::Frame>, ContextDbError<Self::Context>> {
        let Evm { ctx, instruction, precompiles, frame_stack, .. } = &mut self.evm;
        let frame = frame_stack.get();
        let (interpreter, meter) = (&mut frame.interpreter, &mut precompiles.meter);
        let action = match &mut self.witness {
            None => run(interpreter, instruction, ctx, meter, &mut |_| ()),
            Some(witness) => run(interpreter, instruction, ctx, meter, &mut |interpreter| witness.before(interpreter)),
        };
        let Some(action) = action else {
            return Err(ContextError::Custom(STOPPED.into()));
        };
        if heir_overflows(ctx, &action) {
            self.overflow = true;
            return Err(ContextError::Custom(OVERFLOW.into()));
        }
        let next: Result<_, ContextDbError<Self::Context>> = frame.process_next_action(ctx, action);
        next.inspect(|next| {
            if matches!(next, ItemOrResult::Result(_)) {
                frame.set_finished(true);
            }
        })
    }

    fn frame_return_result(
        &mut self,
        result: <Self::Frame as FrameTr>::FrameResult,
    ) -> Result<Option<<Self::Frame as FrameTr>::FrameResult>, ContextDbError<Self::Context>> {
        if let Some(witness) = &mut self.witness {
            let ended = result.instruction_result();
            witness.ended(ended.is_ok_or_revert().then(|| result.gas().remaining()));
        }
        self.evm.frame_return_result(result)
    }
}

impl<DB: StateDb, I: Inspector<Context<DB>>> InspectorEvmTr for Machine<'_, DB, I> {
    type Inspector = I;

    fn all_inspector(&self) -> (&Self::Context, &Self::Instructions, &Self::Precompiles, &FrameStack<Frame>, &I) {
        self.evm.all_inspector()
    }

    fn all_mut_inspector(
        &mut self,
    ) -> (&mut Self::Context, &mut Self::Instructions, &mut Self::Precompiles, &mut FrameStack<Frame>, &mut I) {
        self.evm.all_mut_inspector()
    }

    fn inspect_frame_run(&mut self) -> Result<FrameInitOrResult<Frame>, ContextDbError<Self::Context>> {
        let Evm { ctx, inspector, instruction, frame_stack, .. } = &mut self.evm;
        let frame = frame_stack.get();
        let (table, gas_table) = (instruction.instruction_table(), instruction.gas_table());
        let action = inspect_instructions(ctx, &mut frame.interpreter, &mut *inspector, table, gas_table);
        if heir_overflows(ctx, &action) {
            self.overflow = true;
            return Err(ContextError::Custom(OVERFLOW.into()));
        }
        let mut next: Result<_, ContextDbError<Self::Context>> = frame.process_next_action(ctx, action);
        if let Ok(ItemOrResult::Result(result)) = &mut next {
            frame_end(ctx, inspector, &frame.input, result);
            frame.set_finished(true);
        }
        next
    }
}

/// GASPRICE, of any size.
fn gas_price<DB: StateDb>(context: InstructionContext<'_, Context<DB>, EthInterpreter>) -> InstructionExecResult {
    if context.interpreter.stack.push(price(&*context.host)) { Ok(()) } else { Err(InstructionResult::StackOverflow) }
}

/// Runs an interpreter until it ends, calls, or has to be stopped (`None`). `before` sees it before every instruction.
fn run<DB: StateDb>(
    interpreter: &mut Interpreter<EthInterpreter>,
    instructions: &Instructions<DB>,
    context: &mut Context<DB>,
    meter: &mut Meter<'_>,
    before: &mut impl FnMut(&Interpreter<EthInterpreter>),
) -> Option<InterpreterAction> {
    let (table, gas_table) = (instructions.instruction_table(), instructions.gas_table());
    let mut mark = interpreter.gas.remaining();
    let end = loop {
        let ask_at = mark.saturating_sub(SLICE_GAS.saturating_sub(meter.unasked));
        let end = loop {
            before(interpreter);
            if let Err(end) = interpreter.step(table, gas_table, context) {
                break Some(end);
            }
            if interpreter.gas.remaining() < ask_at {
                break None;
            }
        };
        if let Some(end) = end {
            break end;
        }
        meter.used(mark - interpreter.gas.remaining());
        mark = interpreter.gas.remaining();
        if meter.ask() == 0 {
            return None;
        }
    };
    if end == InstructionResult::MemoryLimitOOG && can_pay_for(interpreter, context, meter.bound.memory) {
        meter.stop(Over::Memory { most: meter.bound.memory });
        return None;
    }
    if interpreter.bytecode.action().is_none() {
        interpreter.halt(end);
    }
    let action = interpreter.take_next_action();
    let spent = mark.saturating_sub(interpreter.gas.remaining());
    match &action {
        // What a call is given is its own to use.
        InterpreterAction::NewFrame(FrameInput::Call(call)) => meter.used(spent.saturating_sub(call.gas_limit)),
        InterpreterAction::NewFrame(FrameInput::Create(create)) => meter.used(spent.saturating_sub(create.gas_limit())),
        InterpreterAction::NewFrame(FrameInput::Empty) => meter.used(spent),
        // Failing takes all gas and does nothing for it.
        InterpreterAction::Return(result) if result.result.is_halt() => meter.used(spent.min(SLICE_GAS)),
        InterpreterAction::Return(_) => meter.used(spent),
    }
    if meter.unasked >= SLICE_GAS && meter.ask() == 0 {
        return None;
    }
    Some(action)
}

/// Whether a contract has just destroyed itself, and what it left was more than its heir's balance could take: the library adds
/// without a check, so the sum is then below what was added.
fn heir_overflows(context: &Context<impl StateDb>, action: &InterpreterAction) -> bool {
    if !matches!(action, InterpreterAction::Return(end) if end.result == InstructionResult::SelfDestruct) {
        return false;
    }
    let (heir, left) = match context.journal().journal().last() {
        Some(JournalEntry::AccountDestroyed { had_balance, target, address, .. }) if target != address => (target, had_balance),
        Some(JournalEntry::BalanceTransfer { balance, to, from }) if to != from => (to, balance),
        _ => return false,
    };
    context.journal().evm_state().get(heir).is_some_and(|account| account.info.balance < *left)
}

/// Whether a frame that would need more memory than `limit` bytes, with those that called it, has the gas for that. If not, it
/// runs out of gas without any bound of ours, as the rules have it.
fn can_pay_for(interpreter: &Interpreter<EthInterpreter>, context: &Context<impl StateDb>, limit: u64) -> bool {
    let below = interpreter.memory.local_memory_offset() as u64;
    let words = usize::try_from(limit.saturating_sub(below) / 32 + 1).unwrap_or(usize::MAX);
    let cost = context.cfg().gas_params().memory_cost(words).saturating_sub(interpreter.gas.memory().expansion_cost);
    interpreter.gas.remaining() >= cost
}
