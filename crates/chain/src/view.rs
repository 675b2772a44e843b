//! Views of the state after a block, for questions that change nothing: calls, estimates, access lists, traces.

use std::collections::BTreeMap;
use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes, U256};
use ipe_types::header::Header;
use revm::bytecode::Bytecode;
use revm::context::result::{EVMError, ExecResultAndState, ExecutionResult};
use revm::database::{AccountState, CacheDB};
use revm::database_interface::DatabaseRef;
use revm::inspector::NoOpInspector;
use revm::state::{AccountInfo, EvmState};
use revm::{Database, DatabaseCommit, Inspector};

use ipe_types::fork::Fork;

use crate::bound::Bound;
use crate::delegation;
use crate::env::{Env, Tx, tx_env};
use crate::kv::Store;
use crate::ledger::{Ledger, LedgerError};
use crate::machine::{Context, Machine};
use crate::overlay::{ReadError, StateDb, info_of};
use crate::read::StoredBlock;
use crate::state::{Account, AccountChange, StateAt, StateChanges};
use crate::system::First;
use crate::trie::EMPTY_ROOT_HASH;

/// The state after one block, unchanging while the chain goes on. Cheap to clone.
#[derive(Clone)]
pub struct View {
    state: StateAt,
    header: Arc<Header>,
    store: Arc<dyn Store>,
}

/// The database of simulations: a view with writes in memory on top.
pub type SimDb = CacheDB<View>;
/// The context that inspectors of simulations and traces see.
pub type SimContext<'a> = Context<SimState<'a>>;
/// What a simulated transaction came to: result and changed state.
pub type Simulated = ExecResultAndState<ExecutionResult, EvmState>;

/// Why a simulation gave no result.
#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    /// The transaction may not be executed on this state.
    #[error("{0}")]
    Invalid(#[from] revm::context::result::InvalidTransaction),
    /// Reading failed.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The EVM could not run it (an inspector's or environment's fault).
    #[error("{0}")]
    Evm(String),
}

impl From<EVMError<ReadError>> for SimulateError {
    fn from(error: EVMError<ReadError>) -> Self {
        match error {
            EVMError::Transaction(invalid) => Self::Invalid(invalid),
            EVMError::Database(error) => Self::Read(error),
            other => Self::Evm(other.to_string()),
        }
    }
}

/// Checks of a transaction that a simulation leaves out. The default leaves out none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Relax {
    /// The sender may spend what it does not have.
    pub balance: bool,
    /// Any nonce.
    pub nonce: bool,
    /// Gas price below the base fee.
    pub base_fee: bool,
    /// Gas limit above the block's, and above the cap of EIP-7825 or `pertxgaslimit`.
    pub gas_limit: bool,
    /// The sender may have code (EIP-3607).
    pub sender_code: bool,
    /// No fee is taken from the sender nor given to the beneficiary.
    pub fee_charge: bool,
}

impl Relax {
    /// As `eth_call` and `eth_estimateGas` want it: nothing that only a signed transaction must satisfy.
    pub fn call() -> Self {
        Self { balance: false, nonce: true, base_fee: true, gas_limit: true, sender_code: true, fee_charge: false }
    }

    /// Writes the choice into the EVM's configuration.
    pub fn apply(self, env: &mut Env) {
        env.cfg.disable_balance_check = self.balance;
        env.cfg.disable_nonce_check = self.nonce;
        env.cfg.disable_base_fee = self.base_fee;
        env.cfg.disable_block_gas_limit = self.gas_limit;
        env.cfg.disable_eip3607 = self.sender_code || env.goquorum.is_some();
        env.cfg.disable_fee_charge = self.fee_charge;
        if self.gas_limit {
            env.cfg.tx_gas_limit_cap = Some(u64::MAX);
        }
    }
}

/// What a simulation pretends of one account (the state overrides of `eth_call`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountOverride {
    /// Wei.
    pub balance: Option<U256>,
    /// Transaction count.
    pub nonce: Option<u64>,
    /// Code.
    pub code: Option<Bytes>,
    /// The whole storage: what is not here is zero (`state`).
    pub storage: Option<BTreeMap<U256, U256>>,
    /// Single slots (`stateDiff`).
    pub slots: BTreeMap<U256, U256>,
}

/// Overrides by address.
pub type Overrides = BTreeMap<Address, AccountOverride>;

impl View {
    /// Header of the block after which the state holds.
    pub fn header(&self) -> &Arc<Header> {
        &self.header
    }

    /// The state below: accounts, slots, code, proofs.
    pub fn state(&self) -> &StateAt {
        &self.state
    }

    /// A database for simulations with the overrides in it.
    ///
    /// # Errors
    /// Reading an overridden account failed.
    pub fn with(&self, overrides: &Overrides) -> Result<SimDb, ReadError> {
        let mut db = CacheDB::new(self.clone());
        override_state(&mut db, overrides)?;
        Ok(db)
    }
}

/// Writes the overrides into a simulation's database.
///
/// # Errors
/// Reading an overridden account failed.
pub fn override_state(db: &mut SimDb, overrides: &Overrides) -> Result<(), ReadError> {
    for (address, change) in overrides {
        let mut info = db.basic_ref(*address)?.unwrap_or_default();
        if let Some(balance) = change.balance {
            info.balance = balance;
        }
        if let Some(nonce) = change.nonce {
            info.nonce = nonce;
        }
        if let Some(code) = &change.code {
            let code = Bytecode::new_raw(code.clone());
            info.code_hash = code.hash_slow();
            info.code = Some(code);
        }
        db.insert_account_info(*address, info);
        if let Some(storage) = &change.storage {
            let storage = storage.iter().map(|(slot, value)| (*slot, *value)).collect();
            db.replace_account_storage(*address, storage)?;
        }
        for (slot, value) in &change.slots {
            db.insert_account_storage(*address, *slot, *value)?;
        }
    }
    Ok(())
}

/// Gives wei to an account of a simulation's database: a block's reward.
///
/// # Errors
/// Reading the account failed.
pub fn reward(db: &mut SimDb, to: Address, wei: U256) -> Result<(), ReadError> {
    if !wei.is_zero() {
        let mut info = db.basic_ref(to)?.unwrap_or_default();
        info.balance = info.balance.saturating_add(wei);
        db.insert_account_info(to, info);
    }
    Ok(())
}

/// Everything that a simulation's database holds, as changes of the state below it. What was only read is among them and changes
/// nothing; an account that became empty is gone (EIP-161).
pub fn changes(db: &SimDb) -> StateChanges {
    let mut changes = StateChanges::default();
    for (address, held) in &db.cache.accounts {
        let exists = held.account_state != AccountState::NotExisting && !held.info.is_empty();
        let account =
            exists.then_some(Account { nonce: held.info.nonce, balance: held.info.balance, code_hash: held.info.code_hash });
        let wiped = held.account_state == AccountState::StorageCleared;
        let code = held.info.code.clone().or_else(|| db.cache.contracts.get(&held.info.code_hash).cloned());
        let code = code.filter(|code| exists && !code.is_empty());
        let slots = if exists { held.storage.iter().map(|(slot, value)| (*slot, *value)).collect() } else { BTreeMap::new() };
        changes.accounts.insert(*address, AccountChange { account, wiped, slots, code });
    }
    changes
}

impl DatabaseRef for View {
    type Error = ReadError;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, ReadError> {
        Ok(self.state.account(address)?.map(info_of))
    }

    fn code_by_hash_ref(&self, hash: B256) -> Result<Bytecode, ReadError> {
        self.state.code(hash)?.ok_or(ReadError::Code { hash })
    }

    fn storage_ref(&self, address: Address, slot: U256) -> Result<U256, ReadError> {
        Ok(self.state.slot(address, slot)?)
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, ReadError> {
        crate::read::hash_at(&*self.store, number)
    }
}

/// A simulation's database as the EVM reads it under the rules of a fork.
pub struct SimState<'a> {
    db: &'a mut SimDb,
    delegations: bool,
}

impl Database for SimState<'_> {
    type Error = ReadError;

    fn basic(&mut self, address: Address) -> Result<Option<AccountInfo>, ReadError> {
        let delegations = self.delegations;
        let info = self.db.basic(address)?;
        Ok(info.map(|info| AccountInfo { code: info.code.map(|code| delegation::seen(code, delegations)), ..info }))
    }

    fn code_by_hash(&mut self, hash: B256) -> Result<Bytecode, ReadError> {
        Ok(delegation::seen(self.db.code_by_hash(hash)?, self.delegations))
    }

    fn storage(&mut self, address: Address, slot: U256) -> Result<U256, ReadError> {
        self.db.storage(address, slot)
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, ReadError> {
        self.db.block_hash(number)
    }
}

impl StateDb for SimState<'_> {
    fn has_delegations(&self) -> bool {
        self.delegations
    }

    fn is_only_storage(&mut self, address: Address) -> Result<bool, ReadError> {
        let Some(info) = self.db.basic(address)? else { return Ok(false) };
        if info.nonce != 0 || !info.is_empty_code_hash() {
            return Ok(false);
        }
        let held = self.db.cache.accounts.get(&address);
        if held.is_some_and(|held| held.storage.values().any(|value| !value.is_zero())) {
            return Ok(true);
        }
        let below = held.is_none_or(|held| !matches!(held.account_state, AccountState::StorageCleared | AccountState::NotExisting));
        Ok(below && self.db.db.state.storage_root(address)? != EMPTY_ROOT_HASH)
    }
}

fn machine<'a, I>(db: &'a mut SimDb, env: &Env, inspector: I) -> Machine<'static, SimState<'a>, I> {
    let state = SimState { db, delegations: env.fork >= Fork::Prague };
    let context = Context::new(state, env.cfg.spec).with_cfg(env.cfg.clone()).with_block(env.block.clone());
    Machine::watched(env.fork, context, inspector, Bound::NONE, None)
}

/// Runs one transaction on `db` in `env` by the rules that blocks are executed by, watched by `inspector`; `db` is not changed
/// (commit the returned state to keep it).
///
/// # Errors
/// The transaction may not be executed, or reading failed.
pub fn simulate<I>(db: &mut SimDb, env: &Env, tx: impl Into<Tx>, inspector: I) -> Result<Simulated, SimulateError>
where
    I: for<'a> Inspector<SimContext<'a>>,
{
    let mut evm = machine(db, env, inspector);
    let result = evm.inspect(tx);
    let state = evm.take();
    Ok(ExecResultAndState::new(result?, state))
}

/// As [`simulate`], watched by nobody and faster.
///
/// # Errors
/// As [`simulate`].
pub fn call(db: &mut SimDb, env: &Env, tx: impl Into<Tx>) -> Result<Simulated, SimulateError> {
    let mut evm = machine(db, env, ());
    let result = evm.transact(tx);
    let state = evm.take();
    Ok(ExecResultAndState::new(result?, state))
}

/// Keeps what a transaction did on a simulation's database.
///
/// An account that was destroyed and exists again has none of its former storage. The library's cache looks below it for that.
pub fn keep(db: &mut SimDb, state: EvmState) {
    let absent =
        |address: &Address| db.cache.accounts.get(address).is_some_and(|held| held.account_state == AccountState::NotExisting);
    let absent: Vec<Address> = state.keys().filter(|address| absent(address)).copied().collect();
    db.commit(state);
    for address in absent {
        if let Some(held) = db.cache.accounts.get_mut(&address)
            && held.account_state == AccountState::Touched
        {
            held.account_state = AccountState::StorageCleared;
        }
    }
}

/// A stored block executed again, transaction by transaction, on the state of its parent.
pub struct Replay {
    db: SimDb,
    env: Env,
    stored: Arc<StoredBlock>,
    next: usize,
}

impl Replay {
    /// The block.
    pub fn stored(&self) -> &Arc<StoredBlock> {
        &self.stored
    }

    /// Its environment.
    pub fn env(&self) -> &Env {
        &self.env
    }

    /// The state before the next transaction.
    pub fn db(&mut self) -> &mut SimDb {
        &mut self.db
    }

    /// Position of the next transaction.
    pub fn position(&self) -> usize {
        self.next
    }

    /// Executes transactions without watching them, up to (not including) position `index`.
    ///
    /// # Errors
    /// Reading failed.
    pub fn skip_to(&mut self, index: usize) -> Result<(), SimulateError> {
        while self.next < index {
            if self.step(NoOpInspector)?.is_none() {
                break;
            }
        }
        Ok(())
    }

    /// Keeps what the next transaction did, when the caller simulated it on [`Replay::db`] itself, and moves on.
    pub fn keep(&mut self, simulated: Simulated) {
        keep(&mut self.db, simulated.state);
        self.next += 1;
    }

    /// Executes the next transaction, watched by `inspector`, and keeps its changes; `None` after the last.
    ///
    /// # Errors
    /// Reading failed.
    pub fn step<I>(&mut self, inspector: I) -> Result<Option<Simulated>, SimulateError>
    where
        I: for<'a> Inspector<SimContext<'a>>,
    {
        let block = &self.stored.block;
        let (Some(tx), Some(sender)) = (block.body.transactions.get(self.next), self.stored.senders.get(self.next)) else {
            return Ok(None);
        };
        let simulated = simulate(&mut self.db, &self.env, tx_env(tx, *sender), inspector)?;
        keep(&mut self.db, simulated.state.clone());
        self.next += 1;
        Ok(Some(simulated))
    }
}

impl Ledger {
    /// The state after block `number`; `None` when there is no such block.
    ///
    /// # Errors
    /// The state of that height is not kept any more, or reading failed.
    pub fn view(&self, number: u64) -> Result<Option<View>, LedgerError> {
        let Some(header) = self.header(number)? else { return Ok(None) };
        let state = self.state.at(number)?;
        Ok(Some(View { state, header, store: Arc::clone(&self.store) }))
    }

    /// The environment of a block: stored, or made by [`Ledger::pending_header`].
    pub fn env(&self, header: &Header) -> Env {
        // Where the parent cannot be read the header's own field stands for it, the same in every honest block.
        let parent = header.number.checked_sub(1).and_then(|number| self.header(number).ok().flatten());
        Env::of(&self.spec, header, parent.as_deref())
    }

    /// Starts executing block `number` again; `None` when there is no such block or it is the genesis.
    ///
    /// # Errors
    /// The state of its parent is not kept any more, or reading failed.
    pub fn replay(&self, number: u64) -> Result<Option<Replay>, ReplayError> {
        let Some(parent) = number.checked_sub(1) else { return Ok(None) };
        let Some(stored) = self.stored(number)? else { return Ok(None) };
        let Some(view) = self.view(parent)? else { return Ok(None) };
        let env = Env::of(&self.spec, &stored.block.header, Some(&view.header));
        let mut db = CacheDB::new(view);
        begin_block(&mut db, &env, &stored.block.header)?;
        Ok(Some(Replay { db, env, stored, next: 0 }))
    }
}

/// Why a block cannot be executed again.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// Reading failed, or the state is not kept.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A system call failed.
    #[error(transparent)]
    Simulate(#[from] SimulateError),
}

/// What [`crate::execute::Execution::begin`] does before the transactions, on a simulation's database.
///
/// # Errors
/// Reading failed, or a system contract did.
pub fn begin_block(db: &mut SimDb, env: &Env, header: &Header) -> Result<(), SimulateError> {
    for (contract, first) in env.system.first(header) {
        if db.basic_ref(contract)?.is_none_or(|info| info.is_empty_code_hash()) {
            continue;
        }
        match first {
            First::Call(word) => {
                let mut evm = machine(db, env, ());
                evm.system_call(contract, Bytes::copy_from_slice(word.as_slice()))?;
                let state = evm.take();
                keep(db, state);
            }
            First::Write(slots) => {
                for (slot, value) in slots {
                    db.insert_account_storage(contract, slot, value)?;
                }
            }
        }
    }
    Ok(())
}
