//! What a block has done so far, over the state of its parent: the EVM's database during execution.

use alloy_primitives::map::{AddressMap, B256Map, HashMap};
use alloy_primitives::{Address, B256, KECCAK256_EMPTY, U256};
use ipe_permissioning::Fact;
use ipe_types::fork::Fork;
use revm::Database;
use revm::bytecode::Bytecode;
use revm::database_interface::DBErrorMarker;
use revm::state::{Account as EvmAccount, AccountInfo, EvmState};

use crate::delegation;
use crate::state::{Account, AccountChange, StateAt, StateChanges, StateError};
use crate::trie::EMPTY_ROOT_HASH;

/// Reading failed under the EVM: the disk's fault, never the transaction's.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The state could not answer.
    #[error(transparent)]
    State(#[from] StateError),
    /// An account names code that is not stored.
    #[error("code {hash} is not stored, though an account has it; restore the data folder or synchronise again")]
    Code {
        /// Its hash.
        hash: B256,
    },
    /// BLOCKHASH could not be answered.
    #[error("hash of block {number}: {reason}")]
    BlockHash {
        /// The block asked.
        number: u64,
        /// What failed.
        reason: String,
    },
}

impl DBErrorMarker for ReadError {}

/// Hashes of blocks for BLOCKHASH, by number; zero for an unknown block.
pub type BlockHashes<'a> = &'a dyn Fn(u64) -> Result<B256, ReadError>;

/// What the EVM works on, a block's state or a simulation's, with what the rules ask of it beside the library's questions.
pub trait StateDb: Database<Error = ReadError> {
    /// Whether the EVM's library knows code that names an account (EIP-7702). Where it does not, such code is given to it as bytes.
    fn has_delegations(&self) -> bool;

    /// Whether an account has storage, and neither nonce nor code, since before the block: no transaction since Spurious Dragon
    /// makes one, and nothing can write to it.
    ///
    /// # Errors
    /// Reading failed.
    fn is_only_storage(&mut self, address: Address) -> Result<bool, ReadError>;
}

/// One account during a block.
#[derive(Default)]
struct Cell {
    before: Option<Account>,
    now: Option<Account>,
    written: bool,
    /// Created in this block already.
    created: bool,
    /// Storage from before the block is gone.
    wiped: bool,
    code: Option<Bytecode>,
    slots: HashMap<U256, Slot>,
}

#[derive(Clone, Copy)]
struct Slot {
    before: U256,
    now: U256,
}

/// State of the parent plus what the block did.
pub struct Overlay<'a> {
    state: &'a StateAt,
    hashes: BlockHashes<'a>,
    cells: AddressMap<Cell>,
    codes: B256Map<Bytecode>,
    /// EIP-161: touched accounts that are empty are deleted.
    clear_empty: bool,
    /// EIP-7702: the EVM knows code that names an account.
    delegations: bool,
}

impl<'a> Overlay<'a> {
    /// Nothing done yet, under the rules of a fork.
    pub fn new(state: &'a StateAt, hashes: BlockHashes<'a>, fork: Fork) -> Self {
        let (clear_empty, delegations) = (fork >= Fork::SpuriousDragon, fork >= Fork::Prague);
        Self { state, hashes, cells: AddressMap::default(), codes: B256Map::default(), clear_empty, delegations }
    }

    /// Takes over what the EVM's journal holds: one transaction's or a whole block's.
    pub fn commit(&mut self, journal: EvmState) {
        for (address, account) in journal {
            if account.is_touched() {
                let cell = self.cells.entry(address).or_default();
                Self::merge(cell, account, &mut self.codes, self.clear_empty);
            }
        }
    }

    /// Self-destruction in the last transaction that loaded the account has its flag still set; after one in an earlier
    /// transaction the journal cleared the account when it was loaded again, and only the lasting flag remains.
    fn merge(cell: &mut Cell, account: EvmAccount, codes: &mut B256Map<Bytecode>, clear_empty: bool) {
        cell.written = true;
        let fresh = account.is_created() && !cell.created;
        if account.is_selfdestructed() || fresh {
            cell.wiped |= cell.before.is_some();
            for slot in cell.slots.values_mut() {
                slot.now = U256::ZERO;
            }
        }
        cell.created |= account.is_created();
        if account.is_selfdestructed_locally() || (clear_empty && account.info.is_empty()) {
            cell.now = None;
            cell.code = None;
            cell.created = false;
            for slot in cell.slots.values_mut() {
                slot.now = U256::ZERO;
            }
            return;
        }
        let info = account.info;
        if cell.now.is_none_or(|now| now.code_hash != info.code_hash)
            && info.code_hash != KECCAK256_EMPTY
            && let Some(code) = info.code
        {
            codes.insert(info.code_hash, code.clone());
            cell.code = Some(code);
        }
        cell.now = Some(Account { nonce: info.nonce, balance: info.balance, code_hash: info.code_hash });
        for (key, slot) in account.storage {
            let now = slot.present_value;
            cell.slots.entry(key).and_modify(|slot| slot.now = now).or_insert(Slot { before: U256::ZERO, now });
        }
    }

    /// What the block changed, for the state.
    pub fn changes(&self) -> StateChanges {
        let mut changes = StateChanges::default();
        for (address, cell) in &self.cells {
            if !cell.written {
                continue;
            }
            let slots: std::collections::BTreeMap<U256, U256> = cell
                .slots
                .iter()
                .filter(|(_, slot)| if cell.wiped { !slot.now.is_zero() } else { slot.now != slot.before })
                .map(|(key, slot)| (*key, slot.now))
                .collect();
            if cell.now == cell.before && !cell.wiped && slots.is_empty() {
                continue;
            }
            let change = AccountChange { account: cell.now, wiped: cell.wiped, slots, code: cell.code.clone() };
            changes.accounts.insert(*address, change);
        }
        changes
    }

    /// Everything of the parent's state that was asked for so far.
    pub(crate) fn read_facts(&self) -> Vec<Fact> {
        let mut facts = Vec::with_capacity(self.cells.len() * 2);
        for (address, cell) in &self.cells {
            facts.push(Fact::Account(*address, cell.before.map(|account| account.fields())));
            facts.extend(cell.slots.iter().map(|(slot, value)| Fact::Slot(*address, *slot, value.before)));
        }
        facts
    }

    fn cell(&mut self, address: Address) -> Result<&mut Cell, ReadError> {
        use std::collections::hash_map::Entry;
        match self.cells.entry(address) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => {
                let account = self.state.account(address)?;
                Ok(entry.insert(Cell { before: account, now: account, ..Cell::default() }))
            }
        }
    }
}

impl StateDb for Overlay<'_> {
    fn has_delegations(&self) -> bool {
        self.delegations
    }

    fn is_only_storage(&mut self, address: Address) -> Result<bool, ReadError> {
        let state = self.state;
        let cell = self.cell(address)?;
        let bare = cell.before.is_some_and(|before| before.nonce == 0 && before.code_hash == KECCAK256_EMPTY);
        Ok(bare && !cell.wiped && state.storage_root(address)? != EMPTY_ROOT_HASH)
    }
}

impl Database for Overlay<'_> {
    type Error = ReadError;

    fn basic(&mut self, address: Address) -> Result<Option<AccountInfo>, ReadError> {
        Ok(self.cell(address)?.now.map(info_of))
    }

    fn code_by_hash(&mut self, hash: B256) -> Result<Bytecode, ReadError> {
        let code = match self.codes.get(&hash) {
            Some(code) => code.clone(),
            None => self.state.code(hash)?.ok_or(ReadError::Code { hash })?,
        };
        Ok(delegation::seen(code, self.delegations))
    }

    fn storage(&mut self, address: Address, key: U256) -> Result<U256, ReadError> {
        let state = self.state;
        let cell = self.cell(address)?;
        if let Some(slot) = cell.slots.get(&key) {
            return Ok(slot.now);
        }
        let value = if cell.wiped || cell.before.is_none() { U256::ZERO } else { state.slot(address, key)? };
        cell.slots.insert(key, Slot { before: value, now: value });
        Ok(value)
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, ReadError> {
        (self.hashes)(number)
    }
}

/// An account as the EVM takes it; its code is asked for by hash when it is needed.
pub fn info_of(account: Account) -> AccountInfo {
    AccountInfo {
        balance: account.balance,
        nonce: account.nonce,
        code_hash: account.code_hash,
        account_id: None,
        code: (account.code_hash == KECCAK256_EMPTY).then(Bytecode::default),
    }
}
