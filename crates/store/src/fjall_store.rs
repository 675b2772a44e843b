//! The ledger's tables on fjall.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{SendError, Sender};
use std::time::{Duration, Instant};

use fjall::{
    CompressionType, Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode, Readable, Snapshot,
    config::{CompressionPolicy, PartitioningPolicy},
};
use ipe_chain::kv::{Batch, Read, Store, StoreError, Table, Visit};

use crate::check::{self, CheckError, Depth};
use crate::moved;

const MIB: u64 = 1024 * 1024;

/// Memory and threads of the disk store.
#[derive(Clone, Copy, Debug)]
pub struct DiskSettings {
    /// Bytes of decompressed blocks, filters and indexes kept in memory for reads: the bound on what the engine's reading takes,
    /// whatever the state holds. By default 1/512 of the memory of the machine or its container, from 16 to 128 MiB.
    pub cache: u64,
    /// Background threads that flush and compact. With more than one, fjall 3.1's first worker hands compactions back to
    /// the queue without waiting and so takes a whole core for as long as another worker compacts; and what a block writes
    /// is little enough for one.
    pub workers: usize,
    /// Files kept open.
    pub open_files: usize,
    /// Whether a commit waits for the device. Only tests and throw-away imports turn it off.
    pub durable: bool,
}

impl Default for DiskSettings {
    fn default() -> Self {
        DiskSettings { cache: default_cache(memory()), workers: 1, open_files: 256, durable: true }
    }
}

/// The cache of a machine with `memory` bytes. The filters and indexes of ten million accounts and ten million slots take some 50 MB.
fn default_cache(memory: u64) -> u64 {
    (memory / 512).clamp(16 * MIB, 128 * MIB)
}

/// Bytes of memory of the machine, or of the control group when it has less; 0 where neither can be read.
fn memory() -> u64 {
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
    });
    let group = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| text.trim().parse().ok());
    machine.into_iter().chain(group).min().unwrap_or(0)
}

/// The ledger's store on disk: one keyspace per table, one synced journal entry per batch.
pub struct FjallStore {
    folder: PathBuf,
    database: Database,
    keyspaces: Arc<[Keyspace]>,
    durable: bool,
    aside: Sender<Work>,
}

/// What is not done on a block's thread.
type Work = Box<dyn FnOnce() + Send>;

/// A thread that does what is handed to it, one after the other, until the store is gone.
fn thread_aside() -> std::io::Result<Sender<Work>> {
    let (sender, receiver) = std::sync::mpsc::channel::<Work>();
    std::thread::Builder::new().name("ipe-settle".to_owned()).spawn(move || receiver.into_iter().for_each(|work| work()))?;
    Ok(sender)
}

fn engine(action: impl Into<String>, cause: impl std::fmt::Display) -> StoreError {
    StoreError::Engine { action: action.into(), cause: cause.to_string() }
}

/// What the engine says of its files, told apart: the disk's trouble, or damage.
fn failed(action: impl Into<String>, error: &fjall::Error) -> StoreError {
    let (action, mut cause) = (action.into(), Some(error as &dyn std::error::Error));
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref::<std::io::Error>() {
            use std::io::ErrorKind::{InvalidData, NotFound, UnexpectedEof};
            return match io.kind() {
                InvalidData | NotFound | UnexpectedEof => StoreError::Damaged { action, cause: io.to_string() },
                _ => engine(action, io),
            };
        }
        cause = inner.source();
    }
    match error {
        fjall::Error::Poisoned => engine(
            action,
            "an earlier write failed, or tables could not be merged, and nothing is written any more; the log tells what it was, and \
             'ipe store check DIR' whether files are damaged",
        ),
        fjall::Error::Locked | fjall::Error::KeyspaceDeleted => engine(action, error),
        other => StoreError::Damaged { action, cause: other.to_string() },
    }
}

/// Bytes of rows that are read to name the damaged file when the engine has found damage at its start.
const NAMED_WITHIN: u64 = 4 << 30;

/// Refuses what the engine would make worse by opening it.
fn refuse_damage(folder: &Path, depth: Depth) -> Result<(), StoreError> {
    let report = match check::check(folder, depth) {
        Ok(report) => report,
        Err(CheckError::Absent { .. }) => return Ok(()),
        Err(CheckError::InUse { path }) => return Err(StoreError::InUse { path }),
        Err(error @ CheckError::Unreadable { .. }) => return Err(engine("look at the database", error)),
    };
    for note in &report.notes {
        tracing::warn!(folder = %folder.display(), "{note}");
    }
    if report.findings.is_empty() {
        return Ok(());
    }
    let told: Vec<String> = report.findings.iter().take(TOLD_AT_ONCE).map(ToString::to_string).collect();
    let more = report.findings.len() as u64 - told.len() as u64 + report.more;
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    Err(StoreError::Damaged { action: format!("open {}", folder.display()), cause: format!("{}{more}", told.join("; ")) })
}

/// Damaged files that an error names.
const TOLD_AT_ONCE: usize = 4;

/// Bytes of all files below a folder. A file that goes away meanwhile counts nothing.
fn occupied(folder: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        match std::fs::symlink_metadata(&path) {
            Ok(data) if data.is_dir() => bytes += occupied(&path).unwrap_or(0),
            Ok(data) => bytes += occupied_by(&data),
            Err(_) => {}
        }
    }
    Ok(bytes)
}

#[cfg(unix)]
fn occupied_by(file: &std::fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::blocks(file) * 512
}

#[cfg(not(unix))]
fn occupied_by(file: &std::fs::Metadata) -> u64 {
    file.len()
}

/// Bytes of a table's newest rows in memory before they are written to a file. Fifty or so megabytes if all tables were
/// full at once; small rows take two to three times what the engine counts.
fn memtable(table: Table) -> u64 {
    match table {
        // Large rows with every block, which must not wait while the engine's thread compacts another table.
        Table::Changes => 8 * MIB,
        Table::Bodies | Table::Receipts | Table::AccountTrie | Table::StorageTrie => 4 * MIB,
        Table::Accounts | Table::Slots | Table::AccountHistory | Table::SlotHistory => 3 * MIB,
        _ => 2 * MIB,
    }
}

/// Bytes of newest rows in memory, of all tables and those included that wait to be written to a file, above which nothing is settled:
/// the engine itself would let each table have four such. More than all tables have when nothing waits, so that it goes on.
const MOST_BUFFERED: u64 = 64 * MIB;

/// How long settling waits for that at most. Then the engine says what is wrong.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

fn options(table: Table) -> KeyspaceCreateOptions {
    // Filters and indexes in parts of 4 KiB on every level. Whole, those of a large file take a megabyte and more, which no cache of
    // ours keeps: each lookup would read and checksum them anew. What finds a part is in memory always, a byte for some ten rows.
    let options = KeyspaceCreateOptions::default()
        .max_memtable_size(memtable(table))
        .filter_block_partitioning_policy(PartitioningPolicy::all(true))
        .index_block_partitioning_policy(PartitioningPolicy::all(true));
    match table {
        // Written once, large, compressible.
        Table::Bodies | Table::Receipts | Table::Code => {
            options.data_block_compression_policy(CompressionPolicy::all(CompressionType::Lz4))
        }
        _ => options,
    }
}

/// The keyspace of a table. The engine keeps a keyspace's options as they were when it was made, so the tables whose options changed
/// are in keyspaces of another name; [`moved`] takes over what is under the old one.
fn disk_name(table: Table) -> String {
    if moved::MOVED.contains(&table) { format!("{}.2", table.name()) } else { table.name().to_owned() }
}

impl FjallStore {
    /// Opens the database in `folder`, creating it when absent. Tables of an older version are rewritten: a second or two for
    /// each million rows, and room for the largest of them once more.
    ///
    /// # Errors
    /// [`StoreError::InUse`] when another process has it open; [`StoreError::Damaged`], and nothing is changed, when files are not what was
    /// written; [`StoreError::Engine`] for anything else that the disk says.
    pub fn open(folder: &Path, settings: DiskSettings) -> Result<FjallStore, StoreError> {
        refuse_damage(folder, Depth::Structure)?;
        let failed = |error: fjall::Error| match error {
            fjall::Error::Locked => StoreError::InUse { path: folder.display().to_string() },
            other => match failed(format!("open {}", folder.display()), &other) {
                // The engine does not say which file it is.
                damaged @ StoreError::Damaged { .. } => refuse_damage(folder, Depth::Rows(NAMED_WITHIN)).err().unwrap_or(damaged),
                other => other,
            },
        };
        let database = Database::builder(folder)
            .cache_size(settings.cache)
            .worker_threads(settings.workers.max(1))
            .max_cached_files(Some(settings.open_files.max(16)))
            .max_journaling_size(64 * MIB)
            .open()
            .map_err(failed)?;
        let keyspaces = Table::ALL
            .into_iter()
            .map(|table| database.keyspace(&disk_name(table), || options(table)).map_err(failed))
            .collect::<Result<Arc<[_]>, _>>()?;
        moved::take_over(&database, &keyspaces).map_err(failed)?;
        let aside = thread_aside().map_err(|error| engine("start the thread that settles", error))?;
        Ok(FjallStore { folder: folder.to_path_buf(), database, keyspaces, durable: settings.durable, aside })
    }

    /// Bytes that the database's files take on the disk. (The engine's journal is created with holes; they do not count.)
    ///
    /// # Errors
    /// What the operating system says.
    pub fn disk_bytes(&self) -> Result<u64, StoreError> {
        occupied(&self.folder).map_err(|error| engine(format!("measure {}", self.folder.display()), error))
    }

    fn keyspace(&self, table: Table) -> &Keyspace {
        &self.keyspaces[table.index()]
    }
}

fn range(
    read: &impl Readable,
    keyspace: &Keyspace,
    table: Table,
    from: &[u8],
    to: &[u8],
    reverse: bool,
    visit: &mut Visit<'_>,
) -> Result<(), StoreError> {
    if !to.is_empty() && from >= to {
        return Ok(());
    }
    let mut rows = if to.is_empty() { read.range(keyspace, from..) } else { read.range(keyspace, from..to) };
    loop {
        let row = if reverse { rows.next_back() } else { rows.next() };
        let Some(row) = row else { return Ok(()) };
        let (key, value) = row.into_inner().map_err(|error| failed(format!("scan table {}", table.name()), &error))?;
        if visit(&key, &value).is_break() {
            return Ok(());
        }
    }
}

impl Read for FjallStore {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match self.keyspace(table).get(key) {
            Ok(value) => Ok(value.map(|value| value.to_vec())),
            Err(error) => Err(failed(format!("read table {}", table.name()), &error)),
        }
    }

    fn range(&self, table: Table, from: &[u8], to: &[u8], reverse: bool, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        range(&self.database.snapshot(), self.keyspace(table), table, from, to, reverse, visit)
    }
}

impl FjallStore {
    /// Waits until everything committed so far is on the device: for a store opened without `durable`, whose commits
    /// only reach the operating system.
    ///
    /// # Errors
    /// [`StoreError::Engine`] when the disk refuses; what was committed since the last sync may then be lost at a power
    /// cut.
    pub fn sync(&self) -> Result<(), StoreError> {
        self.database.persist(PersistMode::SyncAll).map_err(|error| failed("sync what was committed", &error))
    }
}

impl Store for FjallStore {
    fn snapshot(&self) -> Arc<dyn Read> {
        Arc::new(DiskSnapshot { snapshot: self.database.snapshot(), keyspaces: Arc::clone(&self.keyspaces) })
    }

    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        self.write(batch, if self.durable { PersistMode::SyncData } else { PersistMode::Buffer })
    }

    fn commit_lazily(&self, batch: Batch) -> Result<(), StoreError> {
        let start = Instant::now();
        while self.database.write_buffer_size() > MOST_BUFFERED && start.elapsed() < LONGEST_WAIT {
            std::thread::sleep(Duration::from_millis(2));
        }
        self.write(batch, PersistMode::Buffer)
    }

    fn aside(&self, work: Work) {
        // The thread lives as long as the store; if a piece of work has killed it, the next is done here.
        if let Err(SendError(work)) = self.aside.send(work) {
            work();
        }
    }
}

impl FjallStore {
    fn write(&self, batch: Batch, mode: PersistMode) -> Result<(), StoreError> {
        let mut writes = OwnedWriteBatch::with_capacity(self.database.clone(), batch.len()).durability(Some(mode));
        for write in batch.writes() {
            let keyspace = self.keyspace(write.table);
            match write.value {
                Some(value) => writes.insert(keyspace, write.key, value),
                None => writes.remove(keyspace, write.key),
            }
        }
        writes.commit().map_err(|error| failed(format!("commit a batch of {} rows", batch.len()), &error))
    }
}

struct DiskSnapshot {
    snapshot: Snapshot,
    keyspaces: Arc<[Keyspace]>,
}

impl Read for DiskSnapshot {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match self.snapshot.get(&self.keyspaces[table.index()], key) {
            Ok(value) => Ok(value.map(|value| value.to_vec())),
            Err(error) => Err(failed(format!("read table {}", table.name()), &error)),
        }
    }

    fn range(&self, table: Table, from: &[u8], to: &[u8], reverse: bool, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        range(&self.snapshot, &self.keyspaces[table.index()], table, from, to, reverse, visit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_of_newest_rows_is_above_what_all_tables_hold_when_nothing_waits() {
        assert!(Table::ALL.into_iter().map(memtable).sum::<u64>() < MOST_BUFFERED, "settling would wait for ever");
    }

    #[test]
    fn the_cache_follows_the_memory_within_its_bounds() {
        let gib = 1024 * MIB;
        assert_eq!([0, 4, 24, 512].map(|memory| default_cache(memory * gib) / MIB), [16, 16, 48, 128]);
        #[cfg(target_os = "linux")]
        assert!(memory() > 0, "this machine says how much it has");
    }
}
