//! A journal file in memory.

use std::io;
use std::sync::Arc;

use ipe_types::journal::JournalFile;
use parking_lot::Mutex;

/// A journal file in memory, whose handles share one content: the second implementation of [`JournalFile`], for the
/// simulator and for tests that crash a node at a chosen write.
#[derive(Clone, Debug, Default)]
pub struct MemoryJournal {
    disk: Arc<Mutex<Disk>>,
}

#[derive(Debug, Default)]
struct Disk {
    content: Vec<u8>,
    mark: Vec<u8>,
    writes: usize,
    fault: Option<Fault>,
}

/// A crash in the middle of a write of a [`MemoryJournal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which write, counted from 0 since the file was made.
    pub at_write: usize,
    /// How many bytes of an append reach the disk, at most all of them; a replacement happens (any number but 0) or not (0).
    pub bytes: usize,
}

impl MemoryJournal {
    /// An empty file.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets one write fail; every write after it fails as well, until [`MemoryJournal::repair`].
    pub fn break_at(&self, fault: Fault) {
        self.disk.lock().fault = Some(fault);
    }

    /// The disk works again.
    pub fn repair(&self) {
        self.disk.lock().fault = None;
    }

    /// Writes so far, failed ones included.
    pub fn writes(&self) -> usize {
        self.disk.lock().writes
    }

    /// What is on the disk.
    pub fn content(&self) -> Vec<u8> {
        self.disk.lock().content.clone()
    }

    /// Puts other bytes on the disk. The mark stays.
    pub fn set_content(&self, content: Vec<u8>) {
        self.disk.lock().content = content;
    }

    /// The mark beside the journal.
    pub fn mark(&self) -> Vec<u8> {
        self.disk.lock().mark.clone()
    }

    /// Puts another mark beside the journal.
    pub fn set_mark(&self, mark: Vec<u8>) {
        self.disk.lock().mark = mark;
    }

    /// Another disk with the same content, for a test that goes on in several ways.
    pub fn copy(&self) -> Self {
        let disk = self.disk.lock();
        let copied = Disk { content: disk.content.clone(), mark: disk.mark.clone(), writes: 0, fault: None };
        Self { disk: Arc::new(Mutex::new(copied)) }
    }
}

impl Disk {
    /// How much of this write reaches the disk; `Err` when the caller must hear of a failure.
    fn begin(&mut self) -> Result<(), usize> {
        let this = self.writes;
        self.writes += 1;
        match self.fault {
            Some(fault) if fault.at_write == this => Err(fault.bytes),
            Some(fault) if fault.at_write < this => Err(0),
            _ => Ok(()),
        }
    }
}

impl JournalFile for MemoryJournal {
    fn read_all(&mut self) -> io::Result<Vec<u8>> {
        Ok(self.content())
    }

    fn append_durable(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.disk.lock();
        match disk.begin() {
            Ok(()) => {
                disk.content.extend_from_slice(bytes);
                Ok(())
            }
            Err(reached) => {
                disk.content.extend_from_slice(&bytes[..reached.min(bytes.len())]);
                Err(io::Error::other("the disk failed in the middle of an append"))
            }
        }
    }

    fn replace(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.disk.lock();
        match disk.begin() {
            Ok(()) => {
                disk.content = bytes.to_vec();
                Ok(())
            }
            Err(reached) => {
                if reached > 0 {
                    disk.content = bytes.to_vec();
                }
                Err(io::Error::other("the disk failed in the middle of a replacement"))
            }
        }
    }

    fn write_mark(&mut self, mark: &[u8]) -> io::Result<()> {
        self.disk.lock().mark = mark.to_vec();
        Ok(())
    }

    fn read_mark(&mut self) -> io::Result<Vec<u8>> {
        Ok(self.mark())
    }
}
