//! What the EVM does around the instructions of a transaction, where ours differs from the library's: prices are multiplied in
//! 256 bits, as in Besu (`Wei`), and a balance that would exceed 2^256 − 1 makes the transaction invalid instead of a payment
//! that fails or stops at the largest number (besu `MutableAccount.incrementBalance`, which throws).

use std::marker::PhantomData;

use alloy_primitives::{Address, U256};
use revm::context::journaled_state::account::JournaledAccountTr;
use revm::context::result::{HaltReason, InvalidTransaction, ResultGas};
use revm::context::transaction::TransactionType;
use revm::context::{Block as _, Cfg as _, ContextTr, JournalTr, Transaction as _};
use revm::handler::pre_execution::validate_account_nonce_and_code_with_components;
use revm::handler::{EthFrame, EvmTr, EvmTrError, FrameResult, FrameTr, Handler};
use revm::inspector::{Inspector, InspectorEvmTr, InspectorHandler};
use revm::interpreter::InitialAndFloorGas;
use revm::interpreter::interpreter::EthInterpreter;
use revm::interpreter::interpreter_action::FrameInit;
use revm::primitives::hardfork::SpecId;
use revm::state::EvmState;

use crate::system::deposit_of;

/// Runs a transaction; see the module.
pub(crate) struct Rules<EVM, ERROR, FRAME> {
    /// Contract whose logs are deposits (EIP-6110), where the block has any: a transaction with one that cannot be read is
    /// invalid, because no block with it would be valid.
    deposits: Option<Address>,
    types: PhantomData<(EVM, ERROR, FRAME)>,
}

impl<EVM, ERROR, FRAME> Rules<EVM, ERROR, FRAME> {
    pub(crate) fn new(deposits: Option<Address>) -> Self {
        Self { deposits, types: PhantomData }
    }
}

/// Most that the transaction may take from its sender: `gas limit × max fee + value + blob gas × max blob fee`, wei; `None`
/// beyond 256 bits.
fn most_spent(tx: &impl revm::context::Transaction) -> Option<U256> {
    let gas = U256::from(tx.gas_limit()).checked_mul(U256::from(tx.max_fee_per_gas()))?;
    let blobs = if tx.tx_type() == TransactionType::Eip4844 {
        U256::from(tx.total_blob_gas()).checked_mul(U256::from(tx.max_fee_per_blob_gas()))?
    } else {
        U256::ZERO
    };
    gas.checked_add(tx.value())?.checked_add(blobs)
}

fn price(context: &impl ContextTr) -> U256 {
    U256::from(context.tx().effective_gas_price(u128::from(context.block().basefee())))
}

impl<EVM, ERROR, FRAME> Handler for Rules<EVM, ERROR, FRAME>
where
    EVM: EvmTr<Context: ContextTr<Journal: JournalTr<State = EvmState>>, Frame = FRAME>,
    ERROR: EvmTrError<EVM>,
    FRAME: FrameTr<FrameResult = FrameResult, FrameInit = FrameInit>,
{
    type Evm = EVM;
    type Error = ERROR;
    type HaltReason = HaltReason;

    fn validate_against_state_and_deduct_caller(&self, evm: &mut EVM, _: &mut InitialAndFloorGas) -> Result<(), ERROR> {
        let context = evm.ctx();
        let price = price(context);
        let (block, tx, cfg, journal, _, _) = context.all_mut();
        let mut caller = journal.load_account_with_code_mut(tx.caller())?.data;
        validate_account_nonce_and_code_with_components(&caller.account().info, tx, cfg)?;
        if !cfg.is_fee_charge_disabled() {
            let balance = *caller.balance();
            if !cfg.is_balance_check_disabled() {
                let most = most_spent(tx).ok_or(InvalidTransaction::OverflowPaymentInTransaction)?;
                if most > balance {
                    let (fee, balance) = (Box::new(most), Box::new(balance));
                    return Err(InvalidTransaction::LackOfFundForMaxFee { fee, balance }.into());
                }
            }
            let blob_gas = if tx.tx_type() == TransactionType::Eip4844 { tx.total_blob_gas() } else { 0 };
            let blob_price = U256::from(block.blob_gasprice().unwrap_or_default());
            let gas = U256::from(tx.gas_limit()).saturating_mul(price);
            let fees = gas.saturating_add(U256::from(blob_gas).saturating_mul(blob_price));
            let mut left = balance.saturating_sub(fees);
            if cfg.is_balance_check_disabled() {
                left = left.max(tx.value());
            }
            caller.set_balance(left);
        }
        if tx.kind().is_call() {
            caller.bump_nonce();
        }
        Ok(())
    }

    fn reimburse_caller(&self, evm: &mut EVM, result: &mut FrameResult) -> Result<(), ERROR> {
        let context = evm.ctx();
        if context.cfg().is_fee_charge_disabled() {
            return Ok(());
        }
        let gas = result.gas();
        let unused = gas.remaining().saturating_add(gas.reservoir()).saturating_add(gas.refunded().unsigned_abs());
        let (caller, back) = (context.tx().caller(), price(context).saturating_mul(U256::from(unused)));
        if !context.journal_mut().load_account_mut(caller)?.incr_balance(back) {
            return Err(InvalidTransaction::OverflowPaymentInTransaction.into());
        }
        Ok(())
    }

    fn reward_beneficiary(&self, evm: &mut EVM, result: &mut FrameResult) -> Result<(), ERROR> {
        let context = evm.ctx();
        if context.cfg().is_fee_charge_disabled() {
            return Ok(());
        }
        let london = context.cfg().spec().into().is_enabled_in(SpecId::LONDON);
        let burnt = if london { U256::from(context.block().basefee()) } else { U256::ZERO };
        let gas = result.gas();
        let used = gas.used().saturating_sub(gas.reservoir());
        let (beneficiary, tip) = (context.block().beneficiary(), price(context).saturating_sub(burnt));
        if !context.journal_mut().load_account_mut(beneficiary)?.incr_balance(tip.saturating_mul(U256::from(used))) {
            return Err(InvalidTransaction::OverflowPaymentInTransaction.into());
        }
        Ok(())
    }

    fn execution_result(
        &mut self,
        evm: &mut EVM,
        result: FrameResult,
        gas: ResultGas,
    ) -> Result<revm::context::result::ExecutionResult<HaltReason>, ERROR> {
        if let Some(contract) = self.deposits {
            for log in evm.ctx_ref().journal().logs() {
                if let Err(reason) = deposit_of(contract, log) {
                    return Err(InvalidTransaction::Str(format!("a deposit that cannot be read: {reason}").into()).into());
                }
            }
        }
        // As the library's, which cannot be called from here.
        revm::context_interface::context::take_error::<ERROR, _>(evm.ctx().error())?;
        let result = revm::handler::post_execution::output(evm.ctx(), result, gas);
        evm.ctx().journal_mut().commit_tx();
        revm::context::LocalContextTr::clear(evm.ctx().local_mut());
        evm.frame_stack().clear();
        Ok(result)
    }
}

impl<EVM, ERROR> InspectorHandler for Rules<EVM, ERROR, EthFrame<EthInterpreter>>
where
    EVM: InspectorEvmTr<
            Context: ContextTr<Journal: JournalTr<State = EvmState>>,
            Frame = EthFrame<EthInterpreter>,
            Inspector: Inspector<<<Self as Handler>::Evm as EvmTr>::Context, EthInterpreter>,
        >,
    ERROR: EvmTrError<EVM>,
{
    type IT = EthInterpreter;
}
