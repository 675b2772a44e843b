//! The signing journal of a validator on disk: beside the chain, of one chain and one key, and for one process at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ipe_engine::Restored;
use ipe_engine::doubt::Doubt;
use ipe_engine::journal::{MemoryJournal, newborn};
use ipe_engine::signing::{Gate, Signer, Word};
use ipe_store::JournalFileDisk;
use ipe_types::journal::JournalFile;
use ipe_types::{Address, B256, NodeKey};

use crate::run::RunError;

/// Name of the signing journal in the data folder. It belongs to the key: whoever deletes the chain keeps it, and the files
/// beside it whose names begin with its own.
pub const SIGNING_JOURNAL: &str = "signing.journal";

/// Where the journal of a data folder is.
pub fn path(data_dir: &Path) -> PathBuf {
    data_dir.join(SIGNING_JOURNAL)
}

/// Begins the journal of a key that was made a moment ago for this data folder and has signed nothing. A journal that is
/// there stays.
///
/// # Errors
/// The folder or the file cannot be written.
pub fn begin(data_dir: &Path, chain: B256, key: Address) -> Result<(), RunError> {
    let path = path(data_dir);
    let failed = |error: std::io::Error| RunError::SigningJournal { path: path.clone(), reason: error.to_string() };
    std::fs::create_dir_all(data_dir).map_err(failed)?;
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
        Ok(mut file) => file.write_all(&newborn(chain, key)).and_then(|()| file.sync_all()).map_err(failed),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

/// Opens the gate of a validator.
///
/// # Errors
/// The journal is in use, cannot be read or written, or belongs to another chain or key.
pub fn open(data_dir: &Path, chain: B256, key: &NodeKey) -> Result<(Gate, Option<Restored>), RunError> {
    let path = path(data_dir);
    let failed = |reason: String| RunError::SigningJournal { path: path.clone(), reason };
    let file = JournalFileDisk::open(&path).map_err(|error| failed(error.to_string()))?;
    Gate::open(Signer::Local(key.clone()), Box::new(file), chain).map_err(|error| failed(error.to_string()))
}

/// What a start with this folder would find: the lowest height at which anything would be signed, and the doubt. Nothing is
/// changed.
///
/// # Errors
/// The journal is in use, cannot be read, or belongs to another chain or key.
pub fn look(data_dir: &Path, chain: B256, key: &NodeKey) -> Result<(u64, Option<Doubt>), RunError> {
    let path = path(data_dir);
    let failed = |reason: String| RunError::SigningJournal { path: path.clone(), reason };
    let copy = MemoryJournal::new();
    if path.exists() {
        let mut file = JournalFileDisk::open(&path).map_err(|error| failed(error.to_string()))?;
        copy.set_content(file.read_all().map_err(|error| failed(error.to_string()))?);
        copy.set_mark(file.read_mark().map_err(|error| failed(error.to_string()))?);
    }
    let opened = Gate::open(Signer::Local(key.clone()), Box::new(copy), chain);
    let (gate, _) = opened.map_err(|error| failed(error.to_string()))?;
    Ok((gate.floor(), gate.doubt()))
}

/// Takes an operator's word about a stopped validator. Answers with the doubt before and the one that is left.
///
/// # Errors
/// The folder or the key is in use, or the journal cannot be used.
pub fn answer(
    data_dir: &Path,
    key_file: &Path,
    chain: B256,
    key: &NodeKey,
    word: Word,
) -> Result<(Option<Doubt>, Option<Doubt>), RunError> {
    let _folder = lock_folder(data_dir)?;
    let _key = lock_key(key_file)?;
    let (mut gate, _) = open(data_dir, chain, key)?;
    let before = gate.doubt();
    let left = gate.answer(word).map_err(|error| RunError::SigningJournal { path: path(data_dir), reason: error.to_string() })?;
    Ok((before, left))
}

/// Takes the data folder for this process; the lock is the operating system's and ends with the process.
pub(crate) fn lock_folder(data_dir: &Path) -> Result<File, RunError> {
    let failed = |error: std::io::Error| RunError::DataDir { path: data_dir.to_owned(), reason: error.to_string() };
    std::fs::create_dir_all(data_dir).map_err(failed)?;
    let path = data_dir.join("LOCK");
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(RunError::InUse { path: data_dir.to_owned() }),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// Takes the key file itself for this process, under whatever name or link it was opened: two processes with one key and two
/// data folders would contradict each other. `None` where the file system has no locks.
pub(crate) fn lock_key(path: &Path) -> Result<Option<File>, RunError> {
    let failed = |error: std::io::Error| RunError::Key { path: path.to_owned(), reason: error.to_string() };
    let file = File::open(path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(RunError::KeyInUse { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => {
            tracing::warn!(
                file = %path.display(),
                "the key file cannot be locked ({error}): make sure that no other process runs with this key"
            );
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key_file;
    use ipe_engine::doubt::Cause;

    const CHAIN: B256 = B256::repeat_byte(7);

    #[test]
    fn a_journal_that_began_with_its_key_has_no_doubt_and_one_that_vanished_has() {
        let folder = tempfile::tempdir().expect("folder");
        let data = folder.path().join("data");
        let key = key_file::generate();
        assert_eq!(look(&data, CHAIN, &key).expect("looked").1, Some(Doubt::new(Cause::Absent)));
        assert!(!data.exists(), "looking changes nothing");
        begin(&data, CHAIN, key.address()).expect("begun");
        assert_eq!(look(&data, CHAIN, &key).expect("looked"), (0, None));
        assert_eq!(open(&data, CHAIN, &key).expect("opened").0.doubt(), None);
        begin(&data, CHAIN, key_file::generate().address()).expect("what is there stays");
        assert_eq!(look(&data, CHAIN, &key).expect("looked"), (0, None));
        std::fs::remove_file(path(&data)).expect("deleted");
        assert!(open(&data, CHAIN, &key).expect("opened").0.doubt().is_some());
        assert!(open(&data, CHAIN, &key).expect("opened again").0.doubt().is_some(), "the doubt is kept");
    }

    #[test]
    fn a_second_process_with_the_key_is_refused_under_any_name() {
        let folder = tempfile::tempdir().expect("folder");
        let (file, link) = (folder.path().join("key"), folder.path().join("other-name"));
        key_file::write_new(&file, &key_file::generate()).expect("written");
        std::os::unix::fs::symlink(&file, &link).expect("linked");
        let first = lock_key(&file).expect("free").expect("locks");
        for path in [&file, &link] {
            let error = lock_key(path).expect_err("in use").to_string();
            assert!(error.contains("another process") && error.contains("twice"), "{error}");
        }
        drop(first);
        lock_key(&link).expect("free again");
    }

    #[test]
    fn an_operators_word_ends_the_doubt() {
        let folder = tempfile::tempdir().expect("folder");
        let (data, file) = (folder.path().join("data"), folder.path().join("key"));
        let (key, _) = key_file::load_or_create(&file).expect("made");
        let (before, left) = answer(&data, &file, CHAIN, &key, Word::OtherStopped).expect("answered");
        assert_eq!((before, left), (Some(Doubt::new(Cause::Absent)), Some(Doubt::new(Cause::Absent))), "that is no answer to it");
        let (before, left) = answer(&data, &file, CHAIN, &key, Word::NothingElseSigned).expect("answered");
        assert_eq!((before, left), (Some(Doubt::new(Cause::Absent)), None));
        assert_eq!(look(&data, CHAIN, &key).expect("looked"), (0, None));
        let running = lock_folder(&data).expect("free");
        assert!(answer(&data, &file, CHAIN, &key, Word::NothingElseSigned).is_err(), "not while it runs");
        drop(running);
    }
}
