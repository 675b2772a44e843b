//! EIP-1283, what SSTORE costs from Constantinople until Petersburg took it back: by the slot's value before the transaction, as
//! from Istanbul on (EIP-2200), with SLOAD at 200 gas and without a least amount of gas left (Besu's
//! `ConstantinopleGasCalculator`). The EVM's library knows it from Istanbul on.

use ipe_types::fork::Fork;
use revm::context::CfgEnv;
use revm::context_interface::cfg::GasId;
use revm::handler::instructions::EthInstructions;
use revm::interpreter::instructions::host::sstore_with_gas_accounting;
use revm::interpreter::interpreter::EthInterpreter;
use revm::interpreter::interpreter_types::InterpreterTypes;
use revm::interpreter::{Host, Instruction, InstructionContext, InstructionExecResult, InstructionResult};

/// Byte of the instruction.
const SSTORE: u8 = 0x55;
/// A write that changes nothing, or a slot that the transaction wrote before.
const AGAIN: u64 = 200;
/// The first write to a slot that was zero before the transaction.
const SET: u64 = 20_000;
/// The first write to a slot that was not.
const RESET: u64 = 5_000;

fn is_in_force(fork: Fork) -> bool {
    fork == Fork::Constantinople
}

/// Sets the gas of a fork that has it.
pub(crate) fn set_gas(fork: Fork, cfg: &mut CfgEnv) {
    if is_in_force(fork) {
        cfg.gas_params.override_gas([
            (GasId::sstore_static(), AGAIN),
            (GasId::sstore_set_without_load_cost(), SET - AGAIN),
            (GasId::sstore_reset_without_cold_load_cost(), RESET - AGAIN),
            (GasId::sstore_set_refund(), SET - AGAIN),
            (GasId::sstore_reset_refund(), RESET - AGAIN),
        ]);
    }
}

/// Puts the instruction in for a fork that has it; the others keep the library's.
pub(crate) fn set_instruction<H: Host>(fork: Fork, instructions: &mut EthInstructions<EthInterpreter, H>) {
    if is_in_force(fork) {
        instructions.insert_instruction(SSTORE, Instruction::new(sstore), 0);
    }
}

fn sstore<I: InterpreterTypes, H: Host + ?Sized>(context: InstructionContext<'_, H, I>) -> InstructionExecResult {
    sstore_with_gas_accounting(context, |context, _, slot| {
        let params = context.host.gas_params();
        let (gas, refund) = (params.sstore_dynamic_gas(true, &slot.data, false), params.sstore_refund(true, &slot.data));
        if !context.interpreter.gas.record_regular_cost(gas) {
            return Err(InstructionResult::OutOfGas);
        }
        context.interpreter.gas.record_refund(refund);
        Ok(())
    })
}
