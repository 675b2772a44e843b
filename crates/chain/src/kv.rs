//! The key-value store that the ledger writes to: a closed list of tables, snapshot reads, and one atomic batch per block.
//!
//! Two implementations exist: the disk (crate `ipe-store`) and [`MemoryStore`] for tests, the simulator and throw-away
//! ledgers. Both order keys bytewise, and both give snapshots that later commits do not disturb.

use std::collections::{BTreeMap, VecDeque};
use std::ops::{Bound, ControlFlow, Range};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

/// What a table holds. The order of the variants is the order in [`Table::ALL`]; the disk knows a table by [`Table::name`].
///
/// Numbers in keys are big-endian `u64`, so that byte order is number order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// keccak(address) → account row (nonce, balance, code hash, storage root) after the settled block.
    Accounts,
    /// storage ‖ keccak(slot) → value without leading zero bytes, after the settled block. Zero is absent. A storage's key is
    /// keccak(address), or keccak(keccak(address) ‖ block) for one that began in a block after the genesis.
    Slots,
    /// code hash → code. Never deleted: other accounts or older heights may share it.
    Code,
    /// trie path → branch record of the account trie.
    AccountTrie,
    /// storage ‖ trie path → branch record of that storage's trie.
    StorageTrie,
    /// keccak(address) ‖ block → account rows before the changes that were settled together and ended with that block
    /// (empty = it did not exist).
    AccountHistory,
    /// storage ‖ keccak(slot) ‖ block → the same for a slot (empty = zero).
    SlotHistory,
    /// block → every account and slot that it changed, with the values before and after.
    Changes,
    /// block ‖ storage → how far the rows of this storage, which its account lost in that block, are removed.
    DeadStorage,
    /// block → header as RLP, seals inside.
    Headers,
    /// block → body as RLP.
    Bodies,
    /// block → receipts.
    Receipts,
    /// block hash → block.
    BlockNumbers,
    /// transaction hash → block and index.
    Transactions,
    /// log index: address or topic → blocks.
    Logs,
    /// block → validators and votes after it.
    Votes,
    /// single rows by name: head, genesis hash, schema version, state position.
    Meta,
}

impl Table {
    /// Every table, in the order of [`Table::index`].
    pub const ALL: [Table; 17] = [
        Table::Accounts,
        Table::Slots,
        Table::Code,
        Table::AccountTrie,
        Table::StorageTrie,
        Table::AccountHistory,
        Table::SlotHistory,
        Table::Changes,
        Table::DeadStorage,
        Table::Headers,
        Table::Bodies,
        Table::Receipts,
        Table::BlockNumbers,
        Table::Transactions,
        Table::Logs,
        Table::Votes,
        Table::Meta,
    ];

    /// The table's position in [`Table::ALL`], for arrays indexed by table.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The name on disk. Never change one: existing data folders are found by it.
    pub const fn name(self) -> &'static str {
        match self {
            Table::Accounts => "accounts",
            Table::Slots => "slots",
            Table::Code => "code",
            Table::AccountTrie => "account_trie",
            Table::StorageTrie => "storage_trie",
            Table::AccountHistory => "account_history",
            Table::SlotHistory => "slot_history",
            Table::Changes => "changes",
            Table::DeadStorage => "dead_storage",
            Table::Headers => "headers",
            Table::Bodies => "bodies",
            Table::Receipts => "receipts",
            Table::BlockNumbers => "block_numbers",
            Table::Transactions => "transactions",
            Table::Logs => "logs",
            Table::Votes => "votes",
            Table::Meta => "meta",
        }
    }
}

/// What to do about a damaged database.
pub const REMEDY: &str = "Keep the node's key and every file signing.journal*, which belong to the validator and not to the chain. Then put \
    back a copy of the folder 'database' that was made while the node was stopped, or move that folder away and start: the node fetches \
    the chain from its peers. While the node is stopped, 'ipe store check DIR' names the damaged files";

/// Why the store could not answer or write. Every case is the disk's or the data folder's, never the caller's input.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The data folder is open in another process.
    #[error("data folder {path} is in use by another process; stop that process or choose another folder")]
    InUse {
        /// The data folder.
        path: String,
    },
    /// The engine below failed: I/O, full disk.
    #[error("could not {action} in the data folder: {cause}; check free space and the disk, then start again")]
    Engine {
        /// What was attempted, such as `read table accounts` or `commit a batch of 812 rows`.
        action: String,
        /// What the engine said.
        cause: String,
    },
    /// Files are not what was written.
    #[error("the database is damaged, could not {action}: {cause}. {REMEDY}")]
    Damaged {
        /// What was attempted.
        action: String,
        /// The files with what is wrong with each, or what the engine said.
        cause: String,
    },
    /// A stored row does not decode: the data folder was written by another version or is damaged.
    #[error("the database is damaged, a row in table {table} does not decode: {problem}. {REMEDY}")]
    Corrupt {
        /// Name of the table.
        table: &'static str,
        /// What was expected and found.
        problem: String,
    },
}

impl StoreError {
    /// A row of `table` that does not decode.
    pub fn corrupt(table: Table, problem: impl Into<String>) -> Self {
        StoreError::Corrupt { table: table.name(), problem: problem.into() }
    }
}

/// What a range visit calls for every row; `Break` ends the visit.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// Reading: the store itself (its newest rows) or a snapshot (one moment's rows).
pub trait Read: Send + Sync {
    /// The value under `key`, if any.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Visits rows with `from <= key < to` in key order (or from the end when `reverse`), until `visit` breaks.
    /// An empty `to` means "to the end of the table".
    fn range(&self, table: Table, from: &[u8], to: &[u8], reverse: bool, visit: &mut Visit<'_>) -> Result<(), StoreError>;
}

/// A store: reading, snapshots, atomic and durable batches.
pub trait Store: Read {
    /// A view of this moment that later commits do not change. Cheap; but holding one for long keeps old rows alive.
    fn snapshot(&self) -> Arc<dyn Read>;

    /// Writes the whole batch or nothing. When it returns `Ok` the rows survive a crash (for the disk: synced).
    fn commit(&self, batch: Batch) -> Result<(), StoreError>;

    /// The same without waiting for the device: a crash may lose the whole batch, but only until the next [`Store::commit`].
    fn commit_lazily(&self, batch: Batch) -> Result<(), StoreError> {
        self.commit(batch)
    }

    /// Runs `work` once, on a thread of the store's if it has one, one after the other; else here, before it returns.
    fn aside(&self, work: Box<dyn FnOnce() + Send>) {
        work();
    }
}

/// The first key after all keys that start with `prefix`, or empty ("to the end") when there is none.
pub fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end;
        }
    }
    end
}

/// The first row with `from <= key < to`, or the last one when `reverse`.
pub fn first(
    read: &dyn Read,
    table: Table,
    from: &[u8],
    to: &[u8],
    reverse: bool,
) -> Result<Option<(Vec<u8>, Vec<u8>)>, StoreError> {
    let mut found = None;
    read.range(table, from, to, reverse, &mut |key, value| {
        found = Some((key.to_vec(), value.to_vec()));
        ControlFlow::Break(())
    })?;
    Ok(found)
}

/// One write of a batch, as [`Batch::writes`] gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write<'a> {
    /// Where.
    pub table: Table,
    /// The key.
    pub key: &'a [u8],
    /// The new value, or `None` to delete the row.
    pub value: Option<&'a [u8]>,
}

/// Writes that go in together. Keys and values live in one buffer, so adding a row allocates nothing of its own.
/// A later write to the same key wins.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    writes: Vec<(Table, Range<usize>, Option<Range<usize>>)>,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty batch with room for `rows` rows of `bytes` bytes in all.
    pub fn with_capacity(rows: usize, bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), writes: Vec::with_capacity(rows) }
    }

    /// Sets `key` to `value`.
    pub fn put(&mut self, table: Table, key: &[u8], value: &[u8]) {
        let key = self.keep(key);
        let value = self.keep(value);
        self.writes.push((table, key, Some(value)));
    }

    /// Removes `key`; nothing happens if it is absent.
    pub fn delete(&mut self, table: Table, key: &[u8]) {
        let key = self.keep(key);
        self.writes.push((table, key, None));
    }

    /// Adds the writes of another batch after these.
    pub fn append(&mut self, other: &Batch) {
        for write in other.writes() {
            match write.value {
                Some(value) => self.put(write.table, write.key, value),
                None => self.delete(write.table, write.key),
            }
        }
    }

    /// The writes in the order they were added.
    pub fn writes(&self) -> impl Iterator<Item = Write<'_>> {
        self.writes.iter().map(|(table, key, value)| Write {
            table: *table,
            key: &self.bytes[key.clone()],
            value: value.clone().map(|value| &self.bytes[value]),
        })
    }

    /// Number of writes.
    pub fn len(&self) -> usize {
        self.writes.len()
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Bytes of all keys and values.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    fn keep(&mut self, part: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(part);
        start..self.bytes.len()
    }
}

/// A store in memory: every row keeps the versions that a living snapshot may still ask for, and no others.
#[derive(Clone, Default)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    rows: RwLock<Rows>,
    /// Living snapshots: version → how many.
    live: Mutex<BTreeMap<u64, usize>>,
}

#[derive(Default)]
struct Rows {
    /// Number of commits so far.
    version: u64,
    tables: [BTreeMap<Box<[u8]>, Versions>; Table::ALL.len()],
    /// Rows with more than one version, or whose newest version is a deletion: (version of the write, table, key).
    stale: VecDeque<(u64, Table, Box<[u8]>)>,
}

/// Values of one row by the commit that wrote them, oldest first; `None` is a deletion. Never empty.
type Versions = Vec<(u64, Option<Box<[u8]>>)>;

fn as_of(versions: &Versions, version: u64) -> Option<&[u8]> {
    versions.iter().rev().find(|(written, _)| *written <= version).and_then(|(_, value)| value.as_deref())
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Rows of `table` that exist now.
    pub fn len(&self, table: Table) -> usize {
        let rows = self.shared.rows.read_recursive();
        rows.tables[table.index()].values().filter(|versions| as_of(versions, rows.version).is_some()).count()
    }

    /// Whether `table` has no row now.
    pub fn is_empty(&self, table: Table) -> bool {
        self.len(table) == 0
    }

    /// Bytes of the keys and values of `table` that exist now.
    pub fn bytes(&self, table: Table) -> usize {
        let rows = self.shared.rows.read_recursive();
        rows.tables[table.index()]
            .iter()
            .filter_map(|(key, versions)| as_of(versions, rows.version).map(|value| key.len() + value.len()))
            .sum()
    }
}

impl Shared {
    fn get(&self, version: Option<u64>, table: Table, key: &[u8]) -> Option<Vec<u8>> {
        let rows = self.rows.read_recursive();
        let versions = rows.tables[table.index()].get(key)?;
        as_of(versions, version.unwrap_or(rows.version)).map(<[u8]>::to_vec)
    }

    fn range(&self, version: Option<u64>, table: Table, from: &[u8], to: &[u8], reverse: bool, visit: &mut Visit<'_>) {
        if !to.is_empty() && from >= to {
            return;
        }
        let rows = self.rows.read_recursive();
        let version = version.unwrap_or(rows.version);
        let end = if to.is_empty() { Bound::Unbounded } else { Bound::Excluded(to) };
        let span = rows.tables[table.index()].range::<[u8], _>((Bound::Included(from), end));
        #[allow(clippy::borrowed_box, reason = "the map's own item")]
        let mut step = |(key, versions): (&Box<[u8]>, &Versions)| match as_of(versions, version) {
            Some(value) => visit(key, value),
            None => ControlFlow::Continue(()),
        };
        let _ = if reverse { span.rev().try_for_each(&mut step) } else { { span }.try_for_each(&mut step) };
    }

    fn commit(&self, batch: &Batch) {
        let mut rows = self.rows.write();
        let rows = &mut *rows;
        rows.version += 1;
        let now = rows.version;
        for write in batch.writes() {
            let table = &mut rows.tables[write.table.index()];
            let value = write.value.map(Box::from);
            match table.get_mut(write.key) {
                Some(versions) => {
                    match versions.last_mut() {
                        Some(last) if last.0 == now => last.1 = value,
                        _ => versions.push((now, value)),
                    }
                    rows.stale.push_back((now, write.table, write.key.into()));
                }
                None if value.is_some() => {
                    table.insert(write.key.into(), vec![(now, value)]);
                }
                None => {}
            }
        }
        let oldest = self.live.lock().keys().next().copied().unwrap_or(now);
        while rows.stale.front().is_some_and(|(written, _, _)| *written <= oldest) {
            let Some((_, table, key)) = rows.stale.pop_front() else { break };
            let table = &mut rows.tables[table.index()];
            let Some(versions) = table.get_mut(&key) else { continue };
            let keep = versions.iter().rposition(|(written, _)| *written <= oldest).unwrap_or(0);
            versions.drain(..keep);
            if matches!(versions.as_slice(), [(_, None)]) {
                table.remove(&key);
            }
        }
    }
}

impl Read for MemoryStore {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.shared.get(None, table, key))
    }

    fn range(&self, table: Table, from: &[u8], to: &[u8], reverse: bool, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        self.shared.range(None, table, from, to, reverse, visit);
        Ok(())
    }
}

impl Store for MemoryStore {
    fn snapshot(&self) -> Arc<dyn Read> {
        let rows = self.shared.rows.read_recursive();
        let version = rows.version;
        *self.shared.live.lock().entry(version).or_insert(0) += 1;
        drop(rows);
        Arc::new(MemorySnapshot { shared: Arc::clone(&self.shared), version })
    }

    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        self.shared.commit(&batch);
        Ok(())
    }
}

struct MemorySnapshot {
    shared: Arc<Shared>,
    version: u64,
}

impl Drop for MemorySnapshot {
    fn drop(&mut self) {
        let mut live = self.shared.live.lock();
        if let Some(count) = live.get_mut(&self.version) {
            *count -= 1;
            if *count == 0 {
                live.remove(&self.version);
            }
        }
    }
}

impl Read for MemorySnapshot {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.shared.get(Some(self.version), table, key))
    }

    fn range(&self, table: Table, from: &[u8], to: &[u8], reverse: bool, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        self.shared.range(Some(self.version), table, from, to, reverse, visit);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(store: &MemoryStore, key: &[u8], value: Option<&[u8]>) {
        let mut batch = Batch::new();
        match value {
            Some(value) => batch.put(Table::Meta, key, value),
            None => batch.delete(Table::Meta, key),
        }
        store.commit(batch).expect("memory commits");
    }

    fn rows(read: &dyn Read, from: &[u8], to: &[u8], reverse: bool) -> Vec<Vec<u8>> {
        let mut keys = Vec::new();
        read.range(Table::Meta, from, to, reverse, &mut |key, _| {
            keys.push(key.to_vec());
            ControlFlow::Continue(())
        })
        .expect("memory reads");
        keys
    }

    #[test]
    fn table_names_are_unique_and_indexed() {
        for (at, table) in Table::ALL.into_iter().enumerate() {
            assert_eq!(table.index(), at);
            assert_eq!(Table::ALL.iter().filter(|other| other.name() == table.name()).count(), 1);
        }
    }

    #[test]
    fn snapshots_keep_their_moment() {
        let store = MemoryStore::new();
        put(&store, b"a", Some(b"1"));
        put(&store, b"b", Some(b"1"));
        let before = store.snapshot();
        put(&store, b"a", Some(b"2"));
        put(&store, b"b", None);
        put(&store, b"c", Some(b"3"));
        assert_eq!(before.get(Table::Meta, b"a").expect("reads"), Some(b"1".to_vec()));
        assert_eq!(rows(&*before, b"", b"", false), [b"a", b"b"]);
        assert_eq!(store.get(Table::Meta, b"a").expect("reads"), Some(b"2".to_vec()));
        assert_eq!(rows(&store, b"", b"", true), [b"c", b"a"]);
        assert_eq!(rows(&store, b"b", b"c", false), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn old_versions_go_when_no_snapshot_needs_them() {
        let store = MemoryStore::new();
        for round in 0..100u8 {
            let held = store.snapshot();
            put(&store, b"a", Some(&[round]));
            let value = [round];
            put(&store, b"b", (round % 2 == 0).then_some(&value[..]));
            drop(held);
        }
        put(&store, b"z", Some(b"end"));
        let rows = store.shared.rows.read();
        assert_eq!(rows.stale.len(), 0);
        assert_eq!(rows.tables[Table::Meta.index()].values().map(Vec::len).sum::<usize>(), 2);
        assert!(store.shared.live.lock().is_empty());
    }

    #[test]
    fn prefix_end_carries() {
        assert_eq!(prefix_end(&[1, 2]), [1, 3]);
        assert_eq!(prefix_end(&[1, 0xff]), [2]);
        assert_eq!(prefix_end(&[0xff, 0xff]), Vec::<u8>::new());
    }
}
