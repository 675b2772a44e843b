//! What the EVM does around the instructions of a transaction, where ours differs from the library's: prices have 256 bits and are
//! multiplied in as many, as in Besu (`Wei`), and a balance that would exceed 2^256 − 1 makes the transaction invalid instead of a
//! payment that fails or stops at the largest number (besu `MutableAccount.incrementBalance`, which throws).
//!
//! Prices beyond the library's 128 bits are beside the transaction, in the context ([`Wide`]).

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

use crate::env::Wide;
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

/// Most that the transaction may take from its sender: `gas limit × max fee + value + blob gas × max blob fee`, wei; 2^256 − 1 for
/// more, and `None` where gas alone is more (besu `Transaction.getUpfrontCost`, `MainnetTransactionValidator.validateCostAndFee`).
fn most_spent(tx: &impl revm::context::Transaction, wide: &Wide) -> Option<U256> {
    let (fee, blob_fee) = match wide {
        Some(prices) => (prices.fee, prices.blob.unwrap_or_default()),
        None => (U256::from(tx.max_fee_per_gas()), U256::from(tx.max_fee_per_blob_gas())),
    };
    let gas = U256::from(tx.gas_limit()).checked_mul(fee)?;
    Some(gas.saturating_add(U256::from(blob_gas(tx)).saturating_mul(blob_fee)).saturating_add(tx.value()))
}

/// Gas of a transaction's blobs.
fn blob_gas(tx: &impl revm::context::Transaction) -> u64 {
    if tx.tx_type() == TransactionType::Eip4844 { tx.total_blob_gas() } else { 0 }
}

/// Wei that the transaction at hand pays for each gas.
pub(crate) fn price(context: &impl ContextTr<Chain = Wide>) -> U256 {
    let base_fee = context.block().basefee();
    match context.chain() {
        Some(prices) => prices.effective(Some(base_fee)),
        None => U256::from(context.tx().effective_gas_price(u128::from(base_fee))),
    }
}

impl<EVM, ERROR, FRAME> Handler for Rules<EVM, ERROR, FRAME>
where
    EVM: EvmTr<Context: ContextTr<Journal: JournalTr<State = EvmState>, Chain = Wide>, Frame = FRAME>,
    ERROR: EvmTrError<EVM>,
    FRAME: FrameTr<FrameResult = FrameResult, FrameInit = FrameInit>,
{
    type Evm = EVM;
    type Error = ERROR;
    type HaltReason = HaltReason;

    fn validate_env(&self, evm: &mut EVM) -> Result<(), ERROR> {
        revm::handler::validation::validate_env::<_, ERROR>(evm.ctx())?;
        let context = evm.ctx_ref();
        if let Some(prices) = context.chain()
            && !context.cfg().is_priority_fee_check_disabled()
            && prices.tip.is_some_and(|tip| tip > prices.fee)
        {
            return Err(InvalidTransaction::PriorityFeeGreaterThanMaxFee.into());
        }
        Ok(())
    }

    fn validate_against_state_and_deduct_caller(&self, evm: &mut EVM, _: &mut InitialAndFloorGas) -> Result<(), ERROR> {
        let context = evm.ctx();
        let price = price(context);
        let (block, tx, cfg, journal, wide, _) = context.all_mut();
        let mut caller = journal.load_account_with_code_mut(tx.caller())?.data;
        validate_account_nonce_and_code_with_components(&caller.account().info, tx, cfg)?;
        if !cfg.is_fee_charge_disabled() {
            let balance = *caller.balance();
            if !cfg.is_balance_check_disabled() {
                let most = most_spent(tx, wide).ok_or(InvalidTransaction::OverflowPaymentInTransaction)?;
                if most > balance {
                    let (fee, balance) = (Box::new(most), Box::new(balance));
                    return Err(InvalidTransaction::LackOfFundForMaxFee { fee, balance }.into());
                }
            }
            let blob_price = U256::from(block.blob_gasprice().unwrap_or_default());
            let gas = U256::from(tx.gas_limit()).saturating_mul(price);
            let fees = gas.saturating_add(U256::from(blob_gas(tx)).saturating_mul(blob_price));
            let mut left = balance.saturating_sub(fees);
            if cfg.is_balance_check_disabled() {
                left = left.max(tx.value());
            } else if left < tx.value() {
                // The sum of all was beyond 2^256 and the balance is 2^256 − 1.
                return Err(InvalidTransaction::OverflowPaymentInTransaction.into());
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
            Context: ContextTr<Journal: JournalTr<State = EvmState>, Chain = Wide>,
            Frame = EthFrame<EthInterpreter>,
            Inspector: Inspector<<<Self as Handler>::Evm as EvmTr>::Context, EthInterpreter>,
        >,
    ERROR: EvmTrError<EVM>,
{
    type IT = EthInterpreter;
}
