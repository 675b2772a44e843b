//! EIP-7610: nothing is created where storage is. An account with storage, and neither nonce nor code, comes from a genesis file
//! or from a creation before Spurious Dragon; the EVM's library looks for nonce and code alone.

use alloy_primitives::Bytes;
use revm::context::{ContextError, ContextTr, JournalTr};
use revm::context_interface::journaled_state::account::JournaledAccountTr;
use revm::handler::FrameResult;
use revm::interpreter::interpreter_action::{FrameInit, FrameInput};
use revm::interpreter::{CreateOutcome, Gas, InstructionResult, InterpreterResult};

use crate::machine::Context;
use crate::overlay::{ReadError, StateDb};

/// Deepest call.
const DEEPEST: usize = 1024;

/// What comes of a frame that creates over storage: the creator's nonce is used, all gas is gone (Besu's
/// `ContractCreationProcessor`). `None` for every other frame, which the library begins.
///
/// # Errors
/// Reading failed.
pub(crate) fn over_storage(
    context: &mut Context<impl StateDb>,
    init: &FrameInit,
) -> Result<Option<FrameResult>, ContextError<ReadError>> {
    let FrameInput::Create(inputs) = &init.frame_input else { return Ok(None) };
    let creator = &context.journal_mut().load_account(inputs.caller())?.data.info;
    let (nonce, can_pay) = (creator.nonce, creator.balance >= inputs.value());
    // What is refused before the address is looked at.
    if init.depth > DEEPEST || !can_pay || nonce == u64::MAX {
        return Ok(None);
    }
    let created = inputs.created_address(nonce);
    if !context.db_mut().is_only_storage(created)? {
        return Ok(None);
    }
    let journal = context.journal_mut();
    journal.load_account_mut(inputs.caller())?.bump_nonce();
    journal.load_account(created)?;
    let result = InterpreterResult {
        result: InstructionResult::CreateCollision,
        gas: Gas::new_with_regular_gas_and_reservoir(inputs.gas_limit(), inputs.reservoir()),
        output: Bytes::new(),
    };
    Ok(Some(FrameResult::Create(CreateOutcome::new(result, None))))
}
