//! Reading: one committed moment, and the heights below it.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};

use alloy_primitives::map::HashMap;
use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, U256};
use parking_lot::RwLock;
use rayon::prelude::*;
use revm::bytecode::Bytecode;

use super::cache::Cache;
use super::onward::{self, RootWith};
use super::rows::{AccountRow, Position, address_key, decode_value, slot_key, slot_leaf, slot_row};
use super::settle::Settling;
use super::tail::Tail;
use super::{Account, AccountProof, StateChanges, StateError, StateSettings, history, retrace};
use crate::kv::{Read, StoreError, Table, prefix_end};
use crate::trie::{EMPTY_ROOT_HASH, Nibbles, Record, TrieRead, encode_path, key_path, lowest_key};

/// Rows that one thread reads ahead at least: some tenths of a millisecond when none is in a cache.
const READ_TOGETHER: usize = 32;

/// Which branch record: of the account trie, or of one storage's trie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct RecordKey {
    /// The storage's key; `None` for the account trie.
    pub owner: Option<B256>,
    pub path: Nibbles,
}

impl RecordKey {
    pub fn table(&self) -> Table {
        if self.owner.is_some() { Table::StorageTrie } else { Table::AccountTrie }
    }

    pub fn row(&self) -> Vec<u8> {
        encode_path(self.owner.as_ref().map_or(&[], B256::as_slice), &self.path)
    }
}

/// Changed branch records; `None` where one is to be removed.
pub(super) type RecordMap = HashMap<RecordKey, Option<Arc<Record>>>;

/// Bytes that a changed record takes in memory, about.
pub(super) fn record_memory(record: &Option<Arc<Record>>) -> usize {
    std::mem::size_of::<(RecordKey, Option<Arc<Record>>)>() + record.as_ref().map_or(0, |record| record.memory())
}

/// Changed branch records of the head that the store does not have yet.
#[derive(Default)]
pub(super) struct Unwritten {
    pub records: RecordMap,
    /// What they take in memory, about.
    pub bytes: usize,
}

impl Unwritten {
    pub fn set(&mut self, key: RecordKey, record: Option<Arc<Record>>) {
        self.bytes += record_memory(&record);
        if let Some(old) = self.records.insert(key, record) {
            self.bytes -= record_memory(&old);
        }
    }

    pub fn remove(&mut self, key: &RecordKey) {
        if let Some(old) = self.records.remove(key) {
            self.bytes -= record_memory(&old);
        }
    }
}

/// What all views share: decoded rows in front of the store.
pub(super) struct Caches {
    /// Version of the head: its block + 1, or 0 before the genesis.
    pub head: AtomicU64,
    /// Account rows with their keys.
    pub accounts: Cache<Address, (B256, Option<AccountRow>)>,
    /// Slot values with their keys.
    pub slots: Cache<(Address, U256), (B256, U256)>,
    pub code: Cache<B256, Bytecode>,
    /// Branch records that the store has; changed ones are in [`Unwritten`]. Those of the upper part of a trie, which every change
    /// asks for, are kept apart from the many below, which would drive them out.
    upper: Cache<RecordKey, Arc<Record>>,
    lower: Cache<RecordKey, Arc<Record>>,
}

/// Nibbles of the longest path whose record counts as upper: 4,369 of a trie at most.
const UPPER: usize = 3;

impl Caches {
    pub fn new(settings: &StateSettings) -> Self {
        Caches {
            head: AtomicU64::new(0),
            accounts: Cache::new(settings.account_cache),
            slots: Cache::new(settings.slot_cache),
            code: Cache::new(settings.code_cache),
            upper: Cache::new(settings.upper_trie_cache),
            lower: Cache::new(settings.trie_cache),
        }
    }

    pub fn records(&self, key: &RecordKey) -> &Cache<RecordKey, Arc<Record>> {
        if key.path.len() <= UPPER { &self.upper } else { &self.lower }
    }

    /// A record that changed is in the store now; `None`: it is gone.
    pub fn record_settled(&self, key: RecordKey, record: Option<Arc<Record>>, version: u64) {
        match record {
            Some(record) => {
                let memory = record.memory();
                self.records(&key).set(version, key, record, memory);
            }
            None => self.records(&key).remove(&key),
        }
    }

    pub fn bytes(&self) -> usize {
        self.accounts.bytes() + self.slots.bytes() + self.code.bytes() + self.upper.bytes() + self.lower.bytes()
    }
}

/// Bytes of analysed code: the code, a bit a byte for jump targets, the object around them.
pub(super) fn code_bytes(code: &Bytecode) -> usize {
    let length = code.original_byte_slice().len();
    length + length / 8 + 256
}

/// What the state and all its views share.
pub(super) struct Shared {
    pub caches: Caches,
    pub published: RwLock<Arc<View>>,
    /// Of the published view: both change together, under this lock.
    pub unwritten: RwLock<Unwritten>,
    pub settling: Settling,
}

impl Shared {
    pub fn view(&self) -> Arc<View> {
        Arc::clone(&self.published.read())
    }

    /// The newest view with its unwritten records. They are copied once a view, and only when somebody asks.
    pub fn newest_with_records(&self) -> (Arc<View>, Arc<RecordMap>) {
        let unwritten = self.unwritten.read_recursive();
        let view = self.view();
        let records = Arc::clone(view.unwritten.get_or_init(|| Arc::new(unwritten.records.clone())));
        (view, records)
    }
}

/// One committed moment.
pub(super) struct View {
    pub position: Option<Position>,
    pub snapshot: Arc<dyn Read>,
    /// The blocks above the settled one. The snapshot may already have some of them, for whole batches of [`super::settle`].
    pub tail: Tail,
    /// The unwritten records of this moment, if somebody asked for them while it was the newest.
    unwritten: OnceLock<Arc<RecordMap>>,
}

impl View {
    pub fn new(position: Option<Position>, snapshot: Arc<dyn Read>, tail: Tail) -> Self {
        View { position, snapshot, tail, unwritten: OnceLock::new() }
    }

    /// The block that the tables belong to.
    pub fn settled(&self) -> u64 {
        self.position.map_or(0, |position| position.settled)
    }

    /// The row of an account after block `number`, by its key.
    pub fn account(&self, key: &B256, number: u64) -> Result<Option<AccountRow>, StateError> {
        if let Some(row) = self.tail.account(key, number, self.settled()) {
            return Ok(row);
        }
        let row = self.stored(Table::Accounts, key.as_slice(), number)?;
        Ok(row.map(|row| AccountRow::decode(Table::Accounts, &row)).transpose()?)
    }

    /// The value of a slot after block `number`, by the keys of its storage and its own.
    pub fn slot(&self, storage: &B256, slot: &B256, number: u64) -> Result<U256, StateError> {
        if let Some(value) = self.tail.slot(storage, slot, number, self.settled()) {
            return Ok(value);
        }
        let row = self.stored(Table::Slots, &slot_row(storage, slot), number)?;
        Ok(row.map_or(Ok(U256::ZERO), |row| decode_value(Table::Slots, &row))?)
    }

    /// What the tables say about a row after block `number`, the tail left out; `None` when it had none.
    fn stored(&self, flat: Table, key: &[u8], number: u64) -> Result<Option<Vec<u8>>, StoreError> {
        if number < self.settled()
            && let Some(before) = history::first_after(&*self.snapshot, flat, key, number)?
        {
            return Ok(Some(before).filter(|row| !row.is_empty()));
        }
        self.snapshot.get(flat, key)
    }

    pub fn number(&self) -> u64 {
        self.position.map_or(0, |position| position.number)
    }

    pub fn root(&self) -> B256 {
        self.position.map_or(EMPTY_ROOT_HASH, |position| position.root)
    }

    pub fn version(&self) -> u64 {
        self.position.map_or(0, |position| position.number + 1)
    }
}

/// One trie in a view.
pub(super) struct TrieView<'a> {
    pub view: &'a View,
    /// The view's unwritten records.
    pub unwritten: &'a RecordMap,
    pub owner: Option<B256>,
    /// The caches, when the view is the head and its writer asks.
    pub caches: Option<&'a Caches>,
    /// Leaves that [`TrieRead::leaf`] must pass over, because the flat rows are of another height than the records.
    pub hidden: Option<&'a BTreeMap<B256, Option<Vec<u8>>>>,
}

impl TrieRead for TrieView<'_> {
    fn record(&self, path: &Nibbles) -> Result<Option<Arc<Record>>, StoreError> {
        let key = RecordKey { owner: self.owner, path: *path };
        if let Some(record) = self.unwritten.get(&key) {
            return Ok(record.clone());
        }
        let version = self.view.version();
        if let Some(record) = self.caches.and_then(|caches| caches.records(&key).get(&key, version)) {
            return Ok(Some(record));
        }
        let Some(bytes) = self.view.snapshot.get(key.table(), &key.row())? else { return Ok(None) };
        let record = Record::decode(&bytes).map_err(|problem| StoreError::corrupt(key.table(), format!("{path:?}: {problem}")))?;
        let record = Arc::new(record);
        if let Some(caches) = self.caches {
            caches.records(&key).keep(&caches.head, version, key, Arc::clone(&record), record.memory());
        }
        Ok(Some(record))
    }

    fn leaf(&self, path: &Nibbles) -> Result<Option<(Nibbles, Vec<u8>)>, StoreError> {
        let lowest = lowest_key(path);
        let within = |key: &B256| key_path(key).starts_with(path);
        let hidden = |key: &B256| self.hidden.is_some_and(|hidden| hidden.contains_key(key));
        // What the tail changed below the path, as leaves; the tables are older there.
        let changed: BTreeMap<B256, Option<Vec<u8>>> = match &self.owner {
            Some(owner) => {
                let slots = self.view.tail.slots(owner, &lowest, within);
                slots.into_iter().map(|(key, (_, new))| (key, slot_leaf(new))).collect()
            }
            None => {
                let accounts = self.view.tail.accounts(&lowest, within);
                accounts.into_iter().map(|(key, (_, new))| (key, new.map(|row| row.leaf()))).collect()
            }
        };
        if let Some((key, Some(value))) = changed.iter().find(|(key, value)| value.is_some() && !hidden(key)) {
            return Ok(Some((key_path(key), value.clone())));
        }
        let prefix = self.owner.as_ref().map_or(&[][..], B256::as_slice);
        let table = if self.owner.is_some() { Table::Slots } else { Table::Accounts };
        let from = [prefix, lowest.as_slice()].concat();
        let mut found = None;
        self.view.snapshot.range(table, &from, &prefix_end(prefix), false, &mut |key, row| {
            let Some(key) = key.get(prefix.len()..).and_then(|key| B256::try_from(key).ok()) else {
                return ControlFlow::Break(());
            };
            if within(&key) && (changed.contains_key(&key) || hidden(&key)) {
                return ControlFlow::Continue(());
            }
            found = Some((key, row.to_vec()));
            ControlFlow::Break(())
        })?;
        let Some((key, row)) = found else { return Ok(None) };
        let value = match table {
            Table::Slots => slot_leaf(decode_value(table, &row)?).unwrap_or_default(),
            _ => AccountRow::decode(table, &row)?.leaf(),
        };
        Ok(Some((key_path(&key), value)))
    }
}

/// The state after one block, unchanging while later blocks commit. Cheap to clone; holding one for long keeps old rows
/// of the store alive.
#[derive(Clone)]
pub struct StateAt {
    number: u64,
    view: Arc<View>,
    shared: Arc<Shared>,
}

impl StateAt {
    pub(super) fn new(number: u64, view: Arc<View>, shared: Arc<Shared>) -> Self {
        StateAt { number, view, shared }
    }

    pub(super) fn view(&self) -> &View {
        &self.view
    }

    pub(super) fn caches(&self) -> &Caches {
        &self.shared.caches
    }

    /// The same block in the newest view, with the unwritten records.
    pub(super) fn renewed(&self) -> (StateAt, Arc<RecordMap>) {
        let (view, records) = self.shared.newest_with_records();
        (StateAt::new(self.number, view, Arc::clone(&self.shared)), records)
    }

    fn is_head(&self) -> bool {
        self.number == self.view.number()
    }

    /// The block after which this state holds.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The state root, known here only for the block that was the head when the view was taken; other blocks' roots are
    /// in their headers.
    pub fn root(&self) -> Option<B256> {
        self.is_head().then(|| self.view.root())
    }

    /// The account, or `None` when it does not exist.
    pub fn account(&self, address: Address) -> Result<Option<Account>, StateError> {
        Ok(self.account_row(address)?.1.map(|row| row.account))
    }

    /// The value of a slot; zero when absent.
    pub fn slot(&self, address: Address, slot: U256) -> Result<U256, StateError> {
        Ok(self.slot_value(address, slot)?.1)
    }

    /// Analysed code by its hash, or `None` when no account ever had it. The hash of nothing gives empty code.
    pub fn code(&self, hash: B256) -> Result<Option<Bytecode>, StateError> {
        if hash == KECCAK256_EMPTY {
            return Ok(Some(Bytecode::default()));
        }
        if let Some(code) = self.shared.caches.code.get(&hash, u64::MAX) {
            return Ok(Some(code));
        }
        let Some(bytes) = self.view.snapshot.get(Table::Code, hash.as_slice())? else { return Ok(None) };
        let code = analysed(Bytes::from(bytes));
        self.shared.caches.code.set(0, hash, code.clone(), code_bytes(&code));
        Ok(Some(code))
    }

    /// Root of an account's storage trie; the empty root when it has none or does not exist.
    pub fn storage_root(&self, address: Address) -> Result<B256, StateError> {
        Ok(self.account_row(address)?.1.map_or(EMPTY_ROOT_HASH, |row| row.storage_root))
    }

    /// Proof of an account and some of its slots in this state.
    ///
    /// # Errors
    /// [`StateError::TooFarBack`] when more has changed since than a proof may undo.
    pub fn proof(&self, address: Address, slots: &[U256]) -> Result<AccountProof, StateError> {
        retrace::prove(self, address, slots)
    }

    /// The root that `changes` lead to on this state, which need not be the head's.
    ///
    /// # Errors
    /// [`StateError::TooFarBack`] when more has changed since than may be undone; [`StateError::Pruned`].
    pub fn root_with(&self, changes: &StateChanges) -> Result<RootWith, StateError> {
        onward::root_with(self, changes)
    }

    /// Reads accounts and slots into the caches, on all processors, for whoever asks for them one by one right after. A row that
    /// cannot be read is for that reader to complain about.
    pub fn read_ahead(&self, accounts: &[Address], slots: &[(Address, U256)]) {
        accounts.par_iter().with_min_len(READ_TOGETHER).for_each(|address| {
            self.account_row(*address).ok();
        });
        slots.par_iter().with_min_len(READ_TOGETHER).for_each(|(address, slot)| {
            self.slot_value(*address, *slot).ok();
        });
    }

    /// Key and row of an account.
    pub(super) fn account_row(&self, address: Address) -> Result<(B256, Option<AccountRow>), StateError> {
        if let Some(known) = self.shared.caches.accounts.get(&address, self.number_version()) {
            return Ok(known);
        }
        let hash = address_key(address);
        let row = self.view.account(&hash, self.number)?;
        if self.is_head() {
            self.shared.caches.accounts.keep(&self.shared.caches.head, self.view.version(), address, (hash, row), 0);
        }
        Ok((hash, row))
    }

    /// Key and value of a slot.
    pub(super) fn slot_value(&self, address: Address, slot: U256) -> Result<(B256, U256), StateError> {
        if let Some(known) = self.shared.caches.slots.get(&(address, slot), self.number_version()) {
            return Ok(known);
        }
        let hash = slot_key(slot);
        // An account without storage has no slots: the account is nearly always in the cache, the slot is not.
        let (owner, row) = self.account_row(address)?;
        let storage = row.filter(|row| row.storage_root != EMPTY_ROOT_HASH).and_then(|row| row.storage(&owner));
        let value = match storage {
            Some(storage) => self.view.slot(&storage, &hash, self.number)?,
            None => U256::ZERO,
        };
        if self.is_head() {
            self.shared.caches.slots.keep(&self.shared.caches.head, self.view.version(), (address, slot), (hash, value), 0);
        }
        Ok((hash, value))
    }

    /// The newest version of a row that this state may see.
    fn number_version(&self) -> u64 {
        if self.is_head() { self.view.version() } else { self.number + 1 }
    }
}

/// Code as the EVM runs it: a delegation when it is one (EIP-7702), else with its jump targets found.
fn analysed(code: Bytes) -> Bytecode {
    // Chains from before EIP-3541 may hold code that starts like a delegation and is none.
    Bytecode::new_raw_checked(code.clone()).unwrap_or_else(|_| Bytecode::new_legacy(code))
}
