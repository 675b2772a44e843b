//! Code that says "run that account's code" (EIP-7702), before Prague. No transaction sets it there, but a genesis can, and until
//! London (EIP-3541) any contract can be created with it. Every Besu follows it at every fork, and neither charges for it nor warms
//! the other account before Prague (`AbstractCallOperation`, `GasCalculator.calculateCodeDelegationResolutionGas`); the EVM's
//! library charges and warms at every fork. So it is given such code as what it is, 23 bytes, and the frame gets the other's.

use alloy_primitives::{Address, KECCAK256_EMPTY};
use revm::bytecode::Bytecode;
use revm::context::{ContextError, ContextTr, JournalTr};
use revm::interpreter::interpreter_action::{FrameInit, FrameInput};

use crate::machine::Context;
use crate::overlay::{ReadError, StateDb};

/// First bytes of such code; an address follows.
const PREFIX: [u8; 3] = [0xef, 0x01, 0x00];

/// The code as the library is to see it: as what it is where the library `follows` it, else as bytes that mean nothing to it.
pub(crate) fn seen(code: Bytecode, follows: bool) -> Bytecode {
    match (code.is_eip7702(), follows) {
        (true, false) => Bytecode::new_legacy(code.original_bytes()),
        // Put there while it meant nothing.
        (false, true) if target(code.original_byte_slice()).is_some() => Bytecode::new_raw(code.original_bytes()),
        _ => code,
    }
}

fn target(code: &[u8]) -> Option<Address> {
    let address = code.strip_prefix(&PREFIX)?;
    <[u8; 20]>::try_from(address).ok().map(Address::from)
}

/// Gives a call before Prague the code that its account's code names; once, as Besu.
///
/// # Errors
/// Reading failed.
pub(crate) fn follow(context: &mut Context<impl StateDb>, init: &mut FrameInit) -> Result<(), ContextError<ReadError>> {
    let FrameInput::Call(call) = &mut init.frame_input else { return Ok(()) };
    if context.db().has_delegations() {
        return Ok(());
    }
    let Some(target) = target(call.known_bytecode.1.original_byte_slice()) else { return Ok(()) };
    if init.depth == 0 {
        // What a transaction itself calls is followed to an account that is warm from then on (`MainnetTransactionProcessor`).
        context.journal_mut().load_account(target)?;
    }
    let info = match context.journaled_state.inner.state.get(&target) {
        Some(account) => Some(account.info.clone()),
        None => context.db_mut().basic(target)?,
    };
    let hash = info.as_ref().map_or(KECCAK256_EMPTY, |info| info.code_hash);
    let code = match info.and_then(|info| info.code) {
        Some(code) => code,
        None => context.db_mut().code_by_hash(hash)?,
    };
    call.known_bytecode = (hash, code);
    Ok(())
}
