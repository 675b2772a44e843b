//! The append-only file on disk below the signing journal: appends wait for the device, replacement is one rename.
//!
//! Records and their checksums are the caller's ([`ipe_types::journal`]); this file only makes bytes durable. A crash in
//! the middle of an append can leave part of it at the end, with zeros after it after a power cut.
//!
//! Beside the journal are `.lock`, which keeps a second process out, `.mark` (see [`JournalFile::write_mark`]), and
//! `.damaged`, the copy that was set aside when the journal could not be read. All are readable by their owner only.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ipe_types::journal::JournalFile;

/// A journal file. While it is open no other process can open it: two validators with one key must never run.
pub struct JournalFileDisk {
    path: PathBuf,
    file: File,
    /// Bytes that were acknowledged, or read at opening.
    end: u64,
    /// The mark's file, once it was written to.
    mark: Option<File>,
    /// The locked file beside the journal (the journal itself is replaced by rename, so its lock would move).
    _lock: File,
}

impl JournalFileDisk {
    /// Opens the journal at `path`, creating it when absent.
    ///
    /// # Errors
    /// With `ErrorKind::WouldBlock` when another process has it open; else what the operating system says. The message
    /// names the file.
    pub fn open(path: &Path) -> io::Result<JournalFileDisk> {
        let lock_path = beside(path, "lock");
        let lock = writable().open(&lock_path).map_err(|error| naming(&lock_path, "open", error))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => io::Error::new(
                io::ErrorKind::WouldBlock,
                format!(
                    "journal {} is in use by another process; stop it first, two validators with one key must never run",
                    path.display()
                ),
            ),
            TryLockError::Error(error) => naming(&lock_path, "lock", error),
        })?;
        let file = writable().open(path).map_err(|error| naming(path, "open", error))?;
        sync_folder(path)?;
        let end = file.metadata().map_err(|error| naming(path, "read", error))?.len();
        Ok(JournalFileDisk { path: path.to_path_buf(), file, end, mark: None, _lock: lock })
    }
}

impl JournalFile for JournalFileDisk {
    fn read_all(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.file.seek(SeekFrom::Start(0)).map_err(|error| naming(&self.path, "read", error))?;
        self.file.read_to_end(&mut bytes).map_err(|error| naming(&self.path, "read", error))?;
        Ok(bytes)
    }

    fn append_durable(&mut self, bytes: &[u8]) -> io::Result<()> {
        let failed = |error| naming(&self.path, "append to", error);
        self.file.seek(SeekFrom::Start(self.end)).map_err(failed)?;
        self.file.write_all(bytes).map_err(failed)?;
        self.file.sync_data().map_err(failed)?;
        self.end += bytes.len() as u64;
        Ok(())
    }

    fn replace(&mut self, bytes: &[u8]) -> io::Result<()> {
        let fresh = beside(&self.path, "new");
        let failed = |error| naming(&fresh, "write", error);
        let mut file = writable().truncate(true).open(&fresh).map_err(failed)?;
        file.write_all(bytes).map_err(failed)?;
        file.sync_data().map_err(failed)?;
        std::fs::rename(&fresh, &self.path).map_err(|error| naming(&self.path, "replace", error))?;
        self.file = file;
        self.end = bytes.len() as u64;
        sync_folder(&self.path)
    }

    fn write_mark(&mut self, mark: &[u8]) -> io::Result<()> {
        let path = beside(&self.path, "mark");
        if self.mark.is_none() {
            self.mark = Some(writable().open(&path).map_err(|error| naming(&path, "open", error))?);
        }
        match &self.mark {
            // In one write, which a crash of the process does not split.
            Some(file) => file.write_all_at(mark, 0).map_err(|error| naming(&path, "write", error)),
            None => Ok(()),
        }
    }

    fn read_mark(&mut self) -> io::Result<Vec<u8>> {
        let path = beside(&self.path, "mark");
        let mut mark = Vec::new();
        match File::open(&path).and_then(|file| file.take(MAX_MARK).read_to_end(&mut mark)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(naming(&path, "read", error)),
            _ => Ok(mark),
        }
    }

    fn set_aside(&mut self) -> io::Result<()> {
        let path = beside(&self.path, "damaged");
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(naming(&path, "delete", error)),
            _ => {}
        }
        std::fs::copy(&self.path, &path).map(|_| ()).map_err(|error| naming(&path, "write", error))
    }
}

/// Bytes of a mark that are read at most.
const MAX_MARK: u64 = 4_096;

/// How files are opened: made when absent, for their owner only.
fn writable() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).read(true).write(true).mode(0o600);
    options
}

/// `path` with `.suffix` added to its name.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}

/// Makes a creation or rename in the file's folder survive a crash.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| naming(folder, "sync", error))
}

fn naming(path: &Path, action: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("could not {action} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn appends_and_replacements_are_read_back_after_opening_again() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("signing.journal");
        let mut journal = JournalFileDisk::open(&path).expect("opens");
        assert_eq!(journal.read_all().expect("reads"), b"");
        journal.append_durable(b"one").expect("appends");
        journal.append_durable(b"two").expect("appends");
        drop(journal);
        let mut journal = JournalFileDisk::open(&path).expect("opens again");
        journal.append_durable(b"three").expect("appends");
        assert_eq!(journal.read_all().expect("reads"), b"onetwothree");
        journal.replace(b"short").expect("replaces");
        journal.append_durable(b"!").expect("appends");
        drop(journal);
        assert_eq!(JournalFileDisk::open(&path).expect("opens").read_all().expect("reads"), b"short!");
    }

    #[test]
    fn the_mark_and_the_copy_of_a_damaged_journal_are_files_beside_it() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("signing.journal");
        let mut journal = JournalFileDisk::open(&path).expect("opens");
        assert_eq!(journal.read_mark().expect("reads"), b"");
        journal.write_mark(b"one").expect("writes");
        journal.write_mark(b"two").expect("writes");
        journal.append_durable(b"content").expect("appends");
        journal.set_aside().expect("copies");
        journal.replace(b"other").expect("replaces");
        journal.set_aside().expect("copies again");
        drop(journal);
        assert_eq!(JournalFileDisk::open(&path).expect("opens").read_mark().expect("reads"), b"two");
        assert_eq!(std::fs::read(folder.path().join("signing.journal.damaged")).expect("there"), b"other");
        use std::os::unix::fs::PermissionsExt;
        for entry in std::fs::read_dir(folder.path()).expect("a folder") {
            let entry = entry.expect("an entry");
            let mode = entry.metadata().expect("its mode").permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{}", entry.path().display());
        }
    }

    #[test]
    fn a_second_opening_is_refused_while_the_first_lives() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("signing.journal");
        let first = JournalFileDisk::open(&path).expect("opens");
        let error = JournalFileDisk::open(&path).err().expect("is refused");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert!(error.to_string().contains("in use by another process"), "{error}");
        drop(first);
        JournalFileDisk::open(&path).expect("opens after the first is gone");
    }
}
