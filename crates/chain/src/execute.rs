//! Execution of a block's transactions on the state of its parent.

use std::sync::Arc;

use alloy_consensus::{Eip658Value, TxReceipt};
use alloy_primitives::{Address, B256, Bloom, Bytes, U256};
use ipe_types::block::{Block, Transaction};
use ipe_types::fork::Fork;
use ipe_types::goquorum::GoQuorumFault;
use ipe_types::header::Header;
use revm::context::journaled_state::account::JournaledAccountTr;
use revm::context::result::{EVMError, ExecutionResult, InvalidTransaction};
use revm::context::{ContextTr, JournalTr};

use crate::bound::{Bound, Cut};
use crate::env::{Env, tx_env};
use crate::machine::{Context, Machine};
use crate::overlay::{BlockHashes, Overlay, ReadError};
use crate::receipts::{BloomMaker, Receipt, receipt};
use crate::state::{Prepared, StateAt, StateChanges};
use crate::system::{First, deposit_of, requests_hash};

/// Gas of the cheapest transaction.
const LEAST_GAS: u64 = 21_000;

/// What executing a block gave: kept by block hash, so that the block is executed once.
pub struct Executed {
    /// The block that was executed, as it was then.
    pub(crate) block: Arc<Block>,
    /// Senders of the transactions.
    pub(crate) senders: Arc<Vec<Address>>,
    /// Receipts of the transactions.
    pub(crate) receipts: Arc<Vec<Receipt>>,
    /// The state after the block, computed but not written.
    pub(crate) prepared: Prepared,
}

impl std::fmt::Debug for Executed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Executed(block {}, {} receipts)", self.block.header.number, self.receipts.len())
    }
}

/// Why a transaction cannot be in the block.
#[derive(Debug, thiserror::Error)]
pub enum TxError {
    /// Breaks a rule on this state.
    #[error("{0}")]
    Invalid(InvalidTransaction),
    /// GoQuorum's chains: not a transaction of theirs, or not of this node's.
    #[error("{0}")]
    GoQuorum(GoQuorumFault),
    /// Its gas limit is above what is left of the block.
    #[error("gas limit {gas_limit} is above the {gas_left} left in the block")]
    DoesNotFit {
        /// The transaction's.
        gas_limit: u64,
        /// The block's.
        gas_left: u64,
    },
    /// More blobs than a block may name.
    #[error("the block would name more than {max} blobs")]
    TooManyBlobs {
        /// Allowed.
        max: u64,
    },
    /// It was stopped: no verdict on it, this node only spends no more on it.
    #[error("{0}")]
    Cut(Cut),
    /// Ours: reading the state failed.
    #[error("{0}")]
    Read(ReadError),
    /// Ours: the EVM refused for a reason that is no transaction's.
    #[error("{0}")]
    Evm(String),
}

impl TxError {
    /// Whether the transaction is to blame.
    pub fn is_verdict(&self) -> bool {
        !matches!(self, Self::Read(_) | Self::Evm(_) | Self::Cut(_))
    }
}

fn tx_error(error: EVMError<ReadError>) -> TxError {
    match error {
        EVMError::Transaction(invalid) => TxError::Invalid(invalid),
        EVMError::Database(error) => TxError::Read(error),
        other => TxError::Evm(other.to_string()),
    }
}

/// A block in execution. From Byzantium on the EVM's journal lives through the whole block, so that an account or slot is
/// looked up once; before, the state root after every transaction is in its receipt, and each transaction is taken over.
pub struct Execution<'a> {
    evm: Machine<'a, Overlay<'a>>,
    env: Env,
    gas_used: u64,
    blobs: u64,
    receipts: Vec<Receipt>,
    blooms: BloomMaker,
    /// Root of a state that has these changes, for receipts before Byzantium.
    root_of: &'a dyn Fn(&StateChanges) -> Result<B256, ReadError>,
}

/// What a block's execution comes to, before the roots are computed.
pub struct Outcome {
    /// For the state.
    pub changes: StateChanges,
    /// In order.
    pub receipts: Vec<Receipt>,
    /// Of all logs.
    pub bloom: Bloom,
    /// Of all transactions.
    pub gas_used: u64,
    /// EIP-4844, from Cancun on.
    pub blob_gas_used: u64,
    /// EIP-7685, from Prague on.
    pub requests_hash: Option<B256>,
}

impl<'a> Execution<'a> {
    /// Starts the block of `header` on `state`, the state of its parent: runs the system calls that come first. `bound` is for
    /// its transactions.
    ///
    /// # Errors
    /// Reading the state failed, or a system contract did.
    pub fn begin(
        env: Env,
        header: &Header,
        state: &'a StateAt,
        hashes: BlockHashes<'a>,
        root_of: &'a dyn Fn(&StateChanges) -> Result<B256, ReadError>,
        bound: Bound<'a>,
    ) -> Result<Self, FinishError> {
        let overlay = Overlay::new(state, hashes, env.fork);
        let mut cfg = env.cfg.clone();
        cfg.memory_limit = bound.memory;
        let context = Context::new(overlay, cfg.spec).with_cfg(cfg).with_block(env.block.clone());
        let evm = Machine::new(env.fork, context, bound, env.system.requests.map(|contracts| contracts.deposits));
        let mut execution = Self { evm, env, gas_used: 0, blobs: 0, receipts: Vec::new(), blooms: BloomMaker::default(), root_of };
        for (contract, first) in execution.env.system.first(header) {
            execution.do_first(contract, first)?;
        }
        Ok(execution)
    }

    /// Gas left for transactions.
    pub fn gas_left(&self) -> u64 {
        self.env.block.gas_limit.saturating_sub(self.gas_used)
    }

    /// Executes the next transaction and keeps its receipt; returns the gas it used. After an error the block stands as
    /// before.
    ///
    /// # Errors
    /// The transaction cannot be in the block here, or reading failed.
    pub fn transact(&mut self, tx: &Transaction, sender: Address) -> Result<u64, TxError> {
        if let Some(rules) = self.env.goquorum {
            rules.check(tx).map_err(TxError::GoQuorum)?;
        }
        let gas_left = self.gas_left();
        if tx.gas_limit() > gas_left {
            return Err(TxError::DoesNotFit { gas_limit: tx.gas_limit(), gas_left });
        }
        let blobs = tx.blob_count().unwrap_or(0);
        let max = self.env.blobs.most_in_block();
        if self.blobs + blobs > max {
            return Err(TxError::TooManyBlobs { max });
        }
        let result = self.evm.transact(tx_env(tx, sender)).map_err(|error| match self.evm.cut() {
            Some(cut) => TxError::Cut(cut),
            None => tx_error(error),
        })?;
        let gas = result.tx_gas_used();
        // What was due before the first instruction; a failure takes all gas and does nothing for it.
        let due = if result.is_halt() { LEAST_GAS } else { gas.saturating_sub(self.evm.counted_gas()) };
        ipe_types::work::count(|done| done.gas = done.gas.wrapping_add(due));
        let success = result.is_success();
        let logs = match result {
            ExecutionResult::Success { logs, .. } => logs,
            ExecutionResult::Revert { .. } | ExecutionResult::Halt { .. } => Vec::new(),
        };
        self.gas_used = self.gas_used.saturating_add(gas);
        self.blobs += blobs;
        let outcome = if self.env.fork >= Fork::Byzantium {
            Eip658Value::Eip658(success)
        } else {
            Eip658Value::PostState(self.intermediate_root()?)
        };
        let bloom = self.blooms.of(&logs);
        self.receipts.push(receipt(tx.tx_type(), outcome, self.gas_used, logs, bloom));
        Ok(gas)
    }

    /// Ends the block: system calls that come last, then the reward.
    ///
    /// # Errors
    /// Reading the state failed, or a system contract did.
    pub fn finish(mut self, reward: U256) -> Result<Outcome, FinishError> {
        let requests_hash = if self.env.fork >= Fork::Prague { Some(self.requests_hash()?) } else { None };
        if !reward.is_zero() {
            let beneficiary = self.env.block.beneficiary;
            let journal = self.evm.context().journal_mut();
            let mut account = journal.load_account_mut(beneficiary).map_err(|error| FinishError::Tx(TxError::Read(error)))?;
            if !account.incr_balance(reward) {
                return Err(FinishError::Reward { beneficiary });
            }
            journal.commit_tx();
        }
        self.take_over();
        Ok(Outcome {
            changes: self.evm.context().db().changes(),
            receipts: self.receipts,
            bloom: self.blooms.block(),
            gas_used: self.gas_used,
            blob_gas_used: self.blobs * alloy_eips::eip4844::DATA_GAS_PER_BLOB,
            requests_hash,
        })
    }

    fn take_over(&mut self) {
        let journal = self.evm.take();
        self.evm.context().db_mut().commit(journal);
    }

    fn intermediate_root(&mut self) -> Result<B256, TxError> {
        self.take_over();
        (self.root_of)(&self.evm.context().db().changes()).map_err(TxError::Read)
    }

    fn has_code(&mut self, contract: Address) -> Result<bool, TxError> {
        let journal = self.evm.context().journal_mut();
        let has_code = !journal.load_account(contract).map_err(TxError::Read)?.data.info.is_empty_code_hash();
        journal.commit_tx();
        Ok(has_code)
    }

    fn do_first(&mut self, contract: Address, first: First) -> Result<(), FinishError> {
        if !self.has_code(contract)? {
            return Ok(());
        }
        match first {
            First::Call(word) => self.system_call(contract, Bytes::copy_from_slice(word.as_slice())).map(drop),
            First::Write(slots) => {
                let journal = self.evm.context().journal_mut();
                journal.load_account(contract).map_err(TxError::Read)?;
                journal.touch_account(contract);
                for (slot, value) in slots {
                    journal.sload(contract, slot).map_err(TxError::Read)?;
                    journal.sstore(contract, slot, value).map_err(TxError::Read)?;
                }
                journal.commit_tx();
                Ok(())
            }
        }
    }

    /// A call by the system address, which has to succeed (besu `SystemCallProcessor`).
    fn system_call(&mut self, contract: Address, input: Bytes) -> Result<Bytes, FinishError> {
        match self.evm.system_call(contract, input).map_err(tx_error)? {
            ExecutionResult::Success { output, .. } => Ok(output.into_data()),
            failed => Err(FinishError::System { contract, reason: format!("{failed:?}") }),
        }
    }

    /// EIP-7685: what the request contracts say.
    fn requests_hash(&mut self) -> Result<B256, FinishError> {
        let Some(contracts) = self.env.system.requests else { return Ok(requests_hash([])) };
        let mut deposits = Vec::new();
        for log in self.receipts.iter().flat_map(TxReceipt::logs) {
            let deposit = deposit_of(contracts.deposits, log);
            let deposit = deposit.map_err(|reason| FinishError::System { contract: contracts.deposits, reason })?;
            deposits.extend(deposit.unwrap_or_default());
        }
        let mut called = Vec::new();
        for contract in [contracts.withdrawals, contracts.consolidations] {
            if !self.has_code(contract)? {
                return Err(FinishError::System { contract, reason: "there is no code".to_owned() });
            }
            called.push(self.system_call(contract, Bytes::new())?);
        }
        let deposits = Bytes::from(deposits);
        Ok(requests_hash(std::iter::once(&deposits).chain(&called).enumerate().map(|(kind, request)| (kind as u8, request))))
    }
}

/// Why a block cannot be ended.
#[derive(Debug, thiserror::Error)]
pub enum FinishError {
    /// As of a transaction.
    #[error(transparent)]
    Tx(#[from] TxError),
    /// A system contract failed, or left something that cannot be read.
    #[error("system call to {contract} failed: {reason}")]
    System {
        /// Which.
        contract: Address,
        /// What the EVM said, or what cannot be read.
        reason: String,
    },
    /// The block's reward does not fit into a balance.
    #[error("the reward does not fit into the balance of {beneficiary}")]
    Reward {
        /// Who would get it.
        beneficiary: Address,
    },
}

impl Outcome {
    /// Gas used by the receipts' account; equal to `gas_used`.
    pub fn cumulative(&self) -> u64 {
        self.receipts.last().map_or(0, TxReceipt::cumulative_gas_used)
    }
}
