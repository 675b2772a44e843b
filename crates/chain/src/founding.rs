//! Contracts that a chain has from its genesis on: accounts that constructors and calls leave behind on a state without any.
//!
//! A constructor writes storage and puts values into the code that it returns (Solidity's immutables). Nobody can write either by
//! hand and be sure, so they are executed here and what they leave is taken.

use crate::kv::MemoryStore;
use crate::view::{Overrides, Relax, SimulateError, call};
use crate::{Ledger, LedgerError, OpenError, ReadError};
use alloy_primitives::{Address, Bytes, TxKind, U256};
use ipe_types::fork::Fork;
use ipe_types::genesis::{GenesisAccount, GenesisBuilder, GenesisError};
use ipe_types::spec::ChainSpec;
use revm::DatabaseCommit;
use revm::context::TxEnv;
use revm::context::result::ExecutionResult;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Most gas of one step; a constructor of the largest contract takes a few million.
const STEP_GAS: u64 = 1_000_000_000;

/// One transaction of the founding. Nobody signs it and it costs nothing, so contracts may be senders too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Who sends it.
    pub from: Address,
    /// Whom it calls; `None` creates a contract.
    pub to: Option<Address>,
    /// Call data, or creation code with the constructor's arguments.
    pub data: Bytes,
}

/// Why a founding failed.
#[derive(Debug, thiserror::Error)]
pub enum FoundingError {
    /// The empty chain could not be made.
    #[error("the chain to execute on: {0}")]
    Genesis(#[from] GenesisError),
    /// The empty chain could not be opened.
    #[error("the chain to execute on: {0}")]
    Open(#[from] OpenError),
    /// The empty chain could not be read.
    #[error("the chain to execute on: {0}")]
    Ledger(#[from] LedgerError),
    /// The empty chain could not be read.
    #[error("the chain to execute on: {0}")]
    Read(#[from] ReadError),
    /// A step could not be executed.
    #[error("step {step}: {source}")]
    Simulate {
        /// From 0.
        step: usize,
        /// What is wrong.
        source: SimulateError,
    },
    /// A step was refused.
    #[error("step {step} was refused: {reason}")]
    Refused {
        /// From 0.
        step: usize,
        /// What the contract gave back, or why it halted.
        reason: String,
        /// What the contract gave back; empty when it halted.
        output: Bytes,
    },
}

/// Executes the steps in block 0 of a chain with this id under the rules of `fork`, and gives every account with code that is there
/// afterwards: code, storage, nonce, balance. The same steps give the same accounts, always.
///
/// # Errors
/// [`FoundingError`]; a refused step names itself and its reason.
pub fn found(chain_id: u64, fork: Fork, steps: &[Step]) -> Result<BTreeMap<Address, GenesisAccount>, FoundingError> {
    let genesis = GenesisBuilder { chain_id, fork, validators: vec![Address::repeat_byte(1)], ..GenesisBuilder::default() };
    let spec = ChainSpec::parse(&genesis.to_json()?)?;
    let ledger = Ledger::open(Arc::new(MemoryStore::new()), Arc::new(spec))?;
    let view = ledger.view(0)?;
    let view = view.unwrap_or_else(|| unreachable!("a chain has its genesis"));
    let mut env = ledger.env(view.header());
    Relax::call().apply(&mut env);
    let mut db = view.with(&Overrides::new())?;
    let mut nonces: BTreeMap<Address, u64> = BTreeMap::new();
    for (step, Step { from, to, data }) in steps.iter().enumerate() {
        let nonce = nonces.entry(*from).or_default();
        let tx = TxEnv {
            caller: *from,
            gas_limit: STEP_GAS,
            gas_price: 0,
            kind: to.map_or(TxKind::Create, TxKind::Call),
            data: data.clone(),
            nonce: *nonce,
            chain_id: Some(chain_id),
            ..TxEnv::default()
        };
        let done = call(&mut db, &env, tx).map_err(|source| FoundingError::Simulate { step, source })?;
        match done.result {
            ExecutionResult::Success { .. } => {}
            ExecutionResult::Revert { output, .. } => {
                return Err(FoundingError::Refused { step, reason: output.to_string(), output });
            }
            ExecutionResult::Halt { reason, .. } => {
                return Err(FoundingError::Refused { step, reason: format!("{reason:?}"), output: Bytes::new() });
            }
        }
        *nonce += 1;
        db.commit(done.state);
    }
    let mut accounts = BTreeMap::new();
    for (address, account) in &db.cache.accounts {
        let code = match &account.info.code {
            Some(code) => Some(code.original_bytes()),
            None => db.cache.contracts.get(&account.info.code_hash).map(|code| code.original_bytes()),
        };
        let Some(code) = code.filter(|code| !code.is_empty()) else { continue };
        let storage = account
            .storage
            .iter()
            .filter(|(_, value)| !value.is_zero())
            .map(|(slot, value)| ((*slot).into(), U256::from(*value)))
            .collect();
        accounts.insert(*address, GenesisAccount { balance: account.info.balance, nonce: account.info.nonce, code, storage });
    }
    Ok(accounts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::{B256, hex};

    /// Creation code that writes its argument into slot 1 and returns two bytes of code, `0x5f5f`... as PUSH1s: 60 00.
    fn creation() -> Bytes {
        // PUSH1 7 PUSH1 1 SSTORE; PUSH2 6000 PUSH1 0 MSTORE; RETURN(30, 2).
        Bytes::from(hex!("6007600155 616000600052 6002601ef3").to_vec())
    }

    #[test]
    fn code_storage_and_nonce_are_those_that_execution_leaves() {
        let from = Address::repeat_byte(9);
        let steps = [Step { from, to: None, data: creation() }, Step { from, to: None, data: creation() }];
        let founded = found(5, Fork::Berlin, &steps).unwrap();
        assert_eq!(founded.len(), 2, "the sender has no code and is not among them");
        let first = &founded[&from.create(0)];
        assert_eq!((first.code.as_ref(), first.nonce), (&hex!("6000")[..], 1));
        assert_eq!(first.storage, BTreeMap::from([(B256::with_last_byte(1), U256::from(7))]));
        assert_eq!(founded, found(5, Fork::Berlin, &steps).unwrap());
    }

    #[test]
    fn a_refused_step_is_named() {
        let refusing = Bytes::from(hex!("60006000fd").to_vec());
        let steps = [
            Step { from: Address::repeat_byte(9), to: None, data: creation() },
            Step { from: Address::repeat_byte(9), to: None, data: refusing },
        ];
        assert!(matches!(found(5, Fork::Berlin, &steps), Err(FoundingError::Refused { step: 1, .. })));
    }
}
