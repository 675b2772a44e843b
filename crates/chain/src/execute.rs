//! Execution of a block's transactions on the state of its parent.

use std::sync::Arc;

use alloy_consensus::{Eip658Value, Transaction as _, TxReceipt};
use alloy_primitives::{Address, B256, Bloom, Bytes, U256, address, b256};
use ipe_types::block::{Block, Transaction};
use ipe_types::fork::Fork;
use ipe_types::header::Header;
use revm::context::result::{EVMError, ExecutionResult, InvalidTransaction};
use revm::context::{ContextTr, JournalTr};
use revm::handler::MainnetContext;
use sha2::{Digest, Sha256};

use crate::bound::{Bound, Cut};
use crate::env::{Env, tx_env};
use crate::machine::Machine;
use crate::overlay::{BlockHashes, Overlay, ReadError};
use crate::receipts::{BloomMaker, Receipt, receipt};
use crate::state::{Prepared, StateAt, StateChanges};

/// Ring of parent hashes (EIP-2935, Prague). Called when the genesis put its code there, as Besu does.
pub const HISTORY_CONTRACT: Address = address!("0000F90827F1C53a10cb7A02335B175320002935");
/// Beacon roots (EIP-4788, Cancun).
pub const BEACON_ROOTS_CONTRACT: Address = address!("000F3df6D732807Ef1319fB7B8bB8522d0Beac02");
/// Withdrawal requests (EIP-7002, Prague).
pub const WITHDRAWAL_REQUESTS_CONTRACT: Address = address!("00000961Ef480Eb55e80D19ad83579A64c007002");
/// Consolidation requests (EIP-7251, Prague).
pub const CONSOLIDATION_REQUESTS_CONTRACT: Address = address!("0000BBdDc7CE488642fb579F8B00f3a590007251");
/// Hash of no requests (EIP-7685): SHA-256 of nothing.
pub const NO_REQUESTS_HASH: B256 = b256!("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");

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
    evm: Machine<'a>,
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
    /// Reading the state failed.
    pub fn begin(
        env: Env,
        header: &Header,
        state: &'a StateAt,
        hashes: BlockHashes<'a>,
        root_of: &'a dyn Fn(&StateChanges) -> Result<B256, ReadError>,
        bound: Bound<'a>,
    ) -> Result<Self, TxError> {
        let overlay = Overlay::new(state, hashes, env.fork >= Fork::SpuriousDragon);
        let mut cfg = env.cfg.clone();
        cfg.memory_limit = bound.memory;
        let context = MainnetContext::new(overlay, cfg.spec).with_cfg(cfg).with_block(env.block.clone());
        let evm = Machine::new(env.fork, context, bound);
        let mut execution =
            Self { evm, env, gas_used: 0, blobs: 0, receipts: Vec::new(), blooms: BloomMaker::default(), root_of };
        if execution.env.fork >= Fork::Cancun
            && let Some(root) = header.parent_beacon_block_root
        {
            execution.system_call(BEACON_ROOTS_CONTRACT, Bytes::copy_from_slice(root.as_slice()))?;
        }
        if execution.env.fork >= Fork::Prague {
            execution.system_call(HISTORY_CONTRACT, Bytes::copy_from_slice(header.parent_hash.as_slice()))?;
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
        let gas_left = self.gas_left();
        if tx.gas_limit() > gas_left {
            return Err(TxError::DoesNotFit { gas_limit: tx.gas_limit(), gas_left });
        }
        let blobs = tx.blob_count().unwrap_or(0);
        if self.blobs + blobs > crate::env::max_blobs(self.env.fork) {
            return Err(TxError::TooManyBlobs { max: crate::env::max_blobs(self.env.fork) });
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
            journal.balance_incr(beneficiary, reward).map_err(|error| FinishError::Tx(TxError::Read(error)))?;
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

    /// A call by the system address; nothing happens where no code is, as in Besu.
    fn system_call(&mut self, contract: Address, input: Bytes) -> Result<Option<ExecutionResult>, TxError> {
        let has_code = {
            let account = self.evm.context().journal_mut().load_account(contract).map_err(TxError::Read)?;
            !account.data.info.is_empty_code_hash()
        };
        self.evm.context().journal_mut().commit_tx();
        if !has_code {
            return Ok(None);
        }
        self.evm.system_call(contract, input).map(Some).map_err(tx_error)
    }

    /// EIP-7685. Deposits (EIP-6110) are the beacon chain's and have no meaning here.
    fn requests_hash(&mut self) -> Result<B256, FinishError> {
        let mut all = Sha256::new();
        for (kind, contract) in [(1u8, WITHDRAWAL_REQUESTS_CONTRACT), (2u8, CONSOLIDATION_REQUESTS_CONTRACT)] {
            match self.system_call(contract, Bytes::new())? {
                None => {}
                Some(result) if result.is_success() => {
                    let output = result.into_output().unwrap_or_default();
                    if !output.is_empty() {
                        let mut one = Sha256::new();
                        one.update([kind]);
                        one.update(&output);
                        all.update(one.finalize());
                    }
                }
                Some(result) => {
                    return Err(FinishError::System { contract, reason: format!("{result:?}") });
                }
            }
        }
        Ok(B256::from_slice(&all.finalize()))
    }
}

/// Why a block cannot be ended.
#[derive(Debug, thiserror::Error)]
pub enum FinishError {
    /// As of a transaction.
    #[error(transparent)]
    Tx(#[from] TxError),
    /// A system contract reverted.
    #[error("system call to {contract} failed: {reason}")]
    System {
        /// Which.
        contract: Address,
        /// What the EVM said.
        reason: String,
    },
}

impl Outcome {
    /// Gas used by the receipts' account; equal to `gas_used`.
    pub fn cumulative(&self) -> u64 {
        self.receipts.last().map_or(0, TxReceipt::cumulative_gas_used)
    }
}
