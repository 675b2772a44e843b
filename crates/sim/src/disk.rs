//! The disk of a simulated node: files and tables that forget what was not synced, with a crash in any write.
//!
//! Everything that a node keeps goes through here: the signing journal, the journal of its clients' transactions and the
//! ledger's tables. Bytes are first in a buffer and reach the disk by a sync; each of the two implementations syncs
//! before it answers, as those on real disks promise to. A crash is put at the n-th write counted from the start of the
//! disk, and leaves of that write nothing, a part, or all.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use alloy_primitives::B256;
use ipe_chain::kv::{Batch, MemoryStore, Read, Store, StoreError, Table, Visit};
use ipe_engine::journal::MAGIC;
use ipe_types::journal::JournalFile;
use ipe_types::journal::chain::{Chain, Chained};
use parking_lot::Mutex;

use crate::cost;
use crate::faults::Fault;

/// What a crash leaves of the write that it happens in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remains {
    /// Nothing.
    Nothing,
    /// So many thousandths of the bytes of an append. Of a replacement and of a batch, which are atomic, nothing.
    Part(u32),
    /// All of it; only the process never learnt that.
    All,
}

impl Remains {
    /// How it is counted.
    pub fn fault(self) -> Fault {
        match self {
            Remains::Nothing => Fault::LostWrite,
            Remains::Part(_) => Fault::TornWrite,
            Remains::All => Fault::UnacknowledgedWrite,
        }
    }
}

/// A crash that will happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrashPoint {
    /// In the write with this number, counted from 0 over the life of the disk.
    pub at_write: u64,
    /// What is left of it.
    pub remains: Remains,
}

/// What may happen to the signing journal of a node that does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rot {
    /// One bit flips, at so many thousandths of its length.
    FlippedBit(u32),
    /// So many zeros stand behind its end.
    ZeroTail(usize),
    /// It is not there.
    Lost,
    /// Its second half is not there.
    Halved,
    /// It is as it was some writes ago: a backup was put back.
    Older,
}

impl Rot {
    /// How it is counted.
    pub fn fault(self) -> Fault {
        match self {
            Rot::FlippedBit(_) => Fault::FlippedBit,
            Rot::ZeroTail(_) => Fault::ZeroTail,
            Rot::Lost => Fault::LostFile,
            Rot::Halved => Fault::HalvedFile,
            Rot::Older => Fault::OlderFile,
        }
    }
}

/// Appends to the signing journal between two copies of it.
const COPIED_EVERY: u64 = 24;

/// Files that a node has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileName {
    /// The signing journal.
    Signing,
    /// The journal of the transactions of its clients.
    Local,
}

/// Room on a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Room {
    /// As much as anybody wants.
    #[default]
    Enough,
    /// For the records of journals, not for blocks.
    Scarce,
    /// None.
    None,
}

/// What was announced durably in a signing journal: height, round, code of the kind, identity.
pub type Announced = (u64, u32, u8, B256);

#[derive(Default)]
struct State {
    files: BTreeMap<FileName, Vec<u8>>,
    writes: u64,
    crash: Option<CrashPoint>,
    crashed: bool,
    room: Room,
    slow_us: u64,
    spent_us: u64,
    refused: u64,
    slowed: u64,
    announced: BTreeSet<Announced>,
    /// (height, round) of certificates, with the number of Prepares in them.
    certified: BTreeMap<(u64, u32), usize>,
    /// The signing journal some appends ago, and as it was before that.
    older: [Vec<u8>; 2],
    appended: u64,
    /// How far the signing journal has been read, as one reads it who starts: up to the first record that is torn.
    read: Option<(usize, Chain)>,
    /// The mark beside the signing journal.
    mark: Vec<u8>,
}

/// How a write goes.
enum Course {
    Done,
    Refused,
    Crash(Remains),
    /// The process is dead already; nothing that it still tries has any effect.
    Dead,
}

impl State {
    /// A write begins; with such room it is refused.
    fn begin(&mut self, refused_with: &[Room], bytes: usize) -> Course {
        if self.crashed {
            return Course::Dead;
        }
        let this = self.writes;
        self.writes += 1;
        if let Some(point) = self.crash
            && point.at_write == this
        {
            self.crash = None;
            self.crashed = true;
            return Course::Crash(point.remains);
        }
        if refused_with.contains(&self.room) {
            self.refused += 1;
            return Course::Refused;
        }
        self.spent_us += cost::write_us(bytes);
        if self.slow_us > 0 {
            self.slowed += 1;
            self.spent_us += self.slow_us;
        }
        Course::Done
    }

    /// Reads the signing records that have become durable since the last time.
    fn learn(&mut self) {
        let content = self.files.get(&FileName::Signing).cloned().unwrap_or_default();
        let content = content.strip_prefix(MAGIC).unwrap_or_default();
        let mut frames = match self.read {
            Some((at, chain)) => Chained::resume(content, at, chain),
            None => Chained::new(content),
        };
        for record in frames.by_ref() {
            let number = |range: std::ops::Range<usize>| {
                record.get(range).map(|bytes| bytes.iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte)))
            };
            match record.first() {
                Some(1) => {
                    let (Some(height), Some(round), Some(kind)) = (number(1..9), number(9..13), record.get(13)) else { continue };
                    let Some(identity) = record.get(14..46) else { continue };
                    self.announced.insert((height, round as u32, *kind, B256::from_slice(identity)));
                }
                Some(2) => {
                    let Some(height) = number(1..9) else { continue };
                    if let Ok(certificate) = ipe_qbft::PreparedCertificate::from_bytes(&record[9..]) {
                        self.certified.insert((height, certificate.round), certificate.prepares.len());
                    }
                }
                _ => {}
            }
        }
        self.read = Some((frames.sound_len(), frames.reached()));
    }

    fn forget_below(&mut self, height: u64) {
        self.announced = self.announced.split_off(&(height, 0, 0, B256::ZERO));
        self.certified = self.certified.split_off(&(height, 0));
    }
}

/// The disk of one node. Clones share it; it outlives the node's process.
#[derive(Clone, Default)]
pub struct Disk {
    state: Arc<Mutex<State>>,
    tables: Arc<Mutex<MemoryStore>>,
}

impl Disk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a file on the disk before anything starts.
    pub fn place(&self, name: FileName, content: Vec<u8>) {
        self.state.lock().files.insert(name, content);
    }

    /// A file for the process that is about to start.
    pub fn file(&self, name: FileName) -> SimFile {
        SimFile { disk: self.clone(), name }
    }

    /// The ledger's tables for the process that is about to start.
    pub fn store(&self) -> Arc<SimStore> {
        Arc::new(SimStore { disk: self.clone(), tables: self.tables.lock().clone() })
    }

    /// Writes so far.
    pub fn writes(&self) -> u64 {
        self.state.lock().writes
    }

    /// Puts a crash at a write to come.
    pub fn crash_at(&self, point: CrashPoint) {
        self.state.lock().crash = Some(point);
    }

    /// Whether the crash has happened and the process is to be taken away.
    pub fn crashed(&self) -> bool {
        self.state.lock().crashed
    }

    /// The process is gone: whatever it left unsynced is lost, and a new one may start.
    pub fn restart(&self) {
        let mut state = self.state.lock();
        state.crashed = false;
        state.crash = None;
    }

    /// Something happens to the signing journal while no process runs.
    pub fn rot(&self, rot: Rot) {
        let mut state = self.state.lock();
        let older = state.older[0].clone();
        let file = state.files.entry(FileName::Signing).or_default();
        match rot {
            Rot::FlippedBit(thousandths) => {
                let at = file.len() * thousandths.min(999) as usize / 1_000;
                if let Some(byte) = file.get_mut(at) {
                    *byte ^= 1 << (thousandths % 8);
                }
            }
            Rot::ZeroTail(count) => file.resize(file.len() + count, 0),
            Rot::Lost => file.clear(),
            Rot::Halved => file.truncate(file.len() / 2),
            Rot::Older => *file = older,
        }
        if rot == Rot::Lost {
            state.files.remove(&FileName::Signing);
        }
        // What is written next is read from the start; what stood there before is known already.
        state.read = None;
    }

    /// The tables are gone, and nothing else: what `ipe wipe` does.
    pub fn wipe(&self) {
        *self.tables.lock() = MemoryStore::default();
    }

    /// From now on there is so much room; what does not fit is refused.
    pub fn set_room(&self, room: Room) {
        self.state.lock().room = room;
    }

    /// Whether some writes are refused.
    pub fn is_full(&self) -> bool {
        self.state.lock().room != Room::Enough
    }

    /// How long every write takes, µs.
    pub fn set_slow(&self, slow_us: u64) {
        self.state.lock().slow_us = slow_us;
    }

    /// Time that writes took since the last call with `true`, µs.
    pub fn spent_us(&self, reset: bool) -> u64 {
        let mut state = self.state.lock();
        if reset { std::mem::take(&mut state.spent_us) } else { state.spent_us }
    }

    /// Writes that were refused and slowed since the last call.
    pub fn take_counts(&self) -> (u64, u64) {
        let mut state = self.state.lock();
        (std::mem::take(&mut state.refused), std::mem::take(&mut state.slowed))
    }

    /// Whether the signing journal holds this durably.
    pub fn has_announced(&self, announced: &Announced) -> bool {
        self.state.lock().announced.contains(announced)
    }

    /// Prepares in the certificate of this height and round that the signing journal holds durably.
    pub fn certificate(&self, height: u64, round: u32) -> Option<usize> {
        self.state.lock().certified.get(&(height, round)).copied()
    }

    /// Forgets what is known about announcements of heights that nobody asks for any more.
    pub fn forget_below(&self, height: u64) {
        self.state.lock().forget_below(height);
    }
}

fn refused() -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, "no space left on device")
}

fn gone() -> io::Error {
    io::Error::other("the process is no more")
}

/// A file on a [`Disk`].
pub struct SimFile {
    disk: Disk,
    name: FileName,
}

impl JournalFile for SimFile {
    fn read_all(&mut self) -> io::Result<Vec<u8>> {
        Ok(self.disk.state.lock().files.get(&self.name).cloned().unwrap_or_default())
    }

    fn append_durable(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        let (kept, outcome) = match state.begin(&[Room::None], bytes.len()) {
            Course::Done => (bytes.len(), Ok(())),
            Course::Refused => (0, Err(refused())),
            Course::Dead => (0, Err(gone())),
            Course::Crash(Remains::Nothing) => (0, Err(gone())),
            Course::Crash(Remains::All) => (bytes.len(), Err(gone())),
            Course::Crash(Remains::Part(thousandths)) => (bytes.len() * thousandths.min(1_000) as usize / 1_000, Err(gone())),
        };
        let kept = &bytes[..kept];
        if self.name == FileName::Signing {
            state.appended += 1;
            if state.appended.is_multiple_of(COPIED_EVERY) {
                let copy = state.files.get(&self.name).cloned().unwrap_or_default();
                state.older.swap(0, 1);
                state.older[1] = copy;
            }
        }
        state.files.entry(self.name).or_default().extend_from_slice(kept);
        if self.name == FileName::Signing {
            state.learn();
        }
        outcome
    }

    fn replace(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        let (happens, outcome) = match state.begin(&[Room::None], bytes.len()) {
            Course::Done => (true, Ok(())),
            Course::Refused => (false, Err(refused())),
            Course::Dead | Course::Crash(Remains::Nothing | Remains::Part(_)) => (false, Err(gone())),
            Course::Crash(Remains::All) => (true, Err(gone())),
        };
        if happens {
            state.files.insert(self.name, bytes.to_vec());
            if self.name == FileName::Signing {
                state.read = None;
                state.learn();
            }
        }
        outcome
    }

    fn write_mark(&mut self, mark: &[u8]) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        if state.crashed {
            return Err(gone());
        }
        state.mark = mark.to_vec();
        Ok(())
    }

    fn read_mark(&mut self) -> io::Result<Vec<u8>> {
        let state = self.disk.state.lock();
        Ok(if self.name == FileName::Signing { state.mark.clone() } else { Vec::new() })
    }
}

/// The tables on a [`Disk`].
pub struct SimStore {
    disk: Disk,
    tables: MemoryStore,
}

impl Read for SimStore {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.tables.get(table, key)
    }

    fn range(&self, table: Table, from: &[u8], to: &[u8], reverse: bool, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        self.tables.range(table, from, to, reverse, visit)
    }
}

impl Store for SimStore {
    fn snapshot(&self) -> Arc<dyn Read> {
        self.tables.snapshot()
    }

    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        let course = self.disk.state.lock().begin(&[Room::None, Room::Scarce], 0);
        let failed = |cause: io::Error| StoreError::Engine { action: "commit a batch".to_owned(), cause: cause.to_string() };
        match course {
            Course::Done => self.tables.commit(batch),
            Course::Refused => Err(failed(refused())),
            Course::Dead | Course::Crash(Remains::Nothing | Remains::Part(_)) => Err(failed(gone())),
            Course::Crash(Remains::All) => {
                self.tables.commit(batch)?;
                Err(failed(gone()))
            }
        }
    }
}
