//! Whether the files of a database are what was written. Nothing is opened for writing, and the engine is not started: it repairs as
//! it opens, which takes the rest away as well (a table without its `current` file is deleted, a journal is cut at its first bad
//! byte, versions and tables that the newest version does not name are removed).
//!
//! What there is in a folder:
//!
//! ```text
//! version                 "FJL" and 3
//! lock                    empty; locked by the process that has the database open
//! N.jnl                   the newest rows of all tables, batch by batch (see [`batches`])
//! keyspaces/K/current     which version is the newest, with the XXH3-128 of its file
//! keyspaces/K/vN          a version: the files of the table and the XXH3-128 of each (see [`manifest`])
//! keyspaces/K/tables/T    rows, sorted; never changed once written
//! keyspaces/0             names of the others
//! ```
//!
//! All of it is covered by a checksum. A file is read once, in pieces of `PIECE`; versions and `current` whole, within bounds.

mod batches;
mod manifest;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

use self::manifest::Manifest;

/// Bytes read at once.
const PIECE: usize = 1 << 20;
/// Findings and notes that are told, each; more are counted.
pub const TOLD: usize = 64;
/// Entries of one folder that are looked at: some hundred times what a database of 100 GB has.
const ENTRIES: usize = 1_000_000;
/// Bytes of the tables that hold the names: some hundred times what there is.
const NAMES_BYTES: u64 = 16 << 20;

/// What is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// All but the rows in `keyspaces/K/tables`: some milliseconds, and what the engine must not be started without.
    Structure,
    /// Everything, until so many bytes of rows were read.
    Rows(u64),
}

/// A file that is not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Below the database's folder.
    pub file: PathBuf,
    /// The table to which it belongs, where that is known.
    pub table: Option<String>,
    /// What is wrong with it.
    pub what: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.table {
            Some(table) => write!(out, "{} (table {table}): {}", self.file.display(), self.what),
            None => write!(out, "{}: {}", self.file.display(), self.what),
        }
    }
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Damage, [`TOLD`] at most.
    pub findings: Vec<Finding>,
    /// Damaged files beyond those.
    pub more: u64,
    /// What is no damage and worth knowing, [`TOLD`] at most.
    pub notes: Vec<String>,
    /// Files that were read.
    pub files: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// Files of rows that were not read.
    pub unread: u64,
}

/// The check could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// There is no database.
    #[error("{path} holds no database: no file 'version' and no folder 'keyspaces'")]
    Absent {
        /// The folder.
        path: String,
    },
    /// A running node has it open.
    #[error(
        "the database {path} is in use by another process, which changes its files: stop that process first, or check a copy made while it was stopped"
    )]
    InUse {
        /// The folder.
        path: String,
    },
    /// The system refused to read.
    #[error("could not read {path}: {cause}")]
    Unreadable {
        /// File or folder.
        path: String,
        /// What the system says.
        cause: io::Error,
    },
}

/// Looks at the database in `folder`. While it looks no process can open the database, and any number of others may look.
///
/// # Errors
/// [`CheckError`]: nothing was judged.
pub fn check(folder: &Path, depth: Depth) -> Result<Report, CheckError> {
    let _lock = lock(folder)?;
    let mut look = Look { folder, report: Report::default(), names: BTreeMap::new() };
    if !folder.join("version").exists() && !folder.join("keyspaces").exists() {
        return Err(CheckError::Absent { path: folder.display().to_string() });
    }
    look.version()?;
    look.keyspaces(depth)?;
    look.journals()?;
    look.name();
    Ok(look.report)
}

/// Keeps a process that would open the database out. The lock ends with the value.
fn lock(folder: &Path) -> Result<Option<File>, CheckError> {
    let path = folder.join("lock");
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(unreadable(&path, cause)),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(CheckError::InUse { path: folder.display().to_string() }),
        // A file system without locks has none that a node could hold.
        Err(TryLockError::Error(_)) => Ok(None),
    }
}

fn unreadable(path: &Path, cause: io::Error) -> CheckError {
    CheckError::Unreadable { path: path.display().to_string(), cause }
}

struct Look<'a> {
    folder: &'a Path,
    report: Report,
    /// Keyspace → table.
    names: BTreeMap<u64, String>,
}

impl Look<'_> {
    fn find(&mut self, file: &Path, what: impl Into<String>) {
        if self.report.findings.len() >= TOLD {
            self.report.more += 1;
            return;
        }
        self.report.findings.push(Finding { file: file.to_owned(), table: None, what: what.into() });
    }

    fn note(&mut self, what: String) {
        if self.report.notes.len() < TOLD {
            self.report.notes.push(what);
        }
    }

    /// A file below the folder, whole. `None` after a finding: it is absent, too long, or the disk does not give it back.
    fn whole(&mut self, file: &Path, most: u64) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let read = File::open(self.folder.join(file)).and_then(|opened| opened.take(most + 1).read_to_end(&mut bytes));
        match read {
            Err(error) => {
                self.find(file, lost(&error));
                None
            }
            Ok(_) if bytes.len() as u64 > most => {
                self.find(file, format!("it has more than {most} bytes"));
                None
            }
            Ok(_) => {
                self.report.files += 1;
                self.report.bytes += bytes.len() as u64;
                Some(bytes)
            }
        }
    }

    /// Names of what is in a folder below this one; `None` when it does not exist.
    fn entries(&self, below: &Path) -> Result<Option<BTreeSet<String>>, CheckError> {
        let path = self.folder.join(below);
        let list = match std::fs::read_dir(&path) {
            Ok(list) => list,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(None),
            Err(cause) => return Err(unreadable(&path, cause)),
        };
        let names = list.take(ENTRIES).map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()));
        names.collect::<io::Result<_>>().map(Some).map_err(|cause| unreadable(&path, cause))
    }

    fn version(&mut self) -> Result<(), CheckError> {
        let file = Path::new("version");
        if !self.folder.join(file).exists() {
            // The last file that the engine makes in a new folder: without it nothing can have been written.
            let written = self.numbered(Path::new("keyspaces"))?.iter().any(|keyspace| {
                let tables = Path::new("keyspaces").join(keyspace.to_string()).join("tables");
                self.entries(&tables).ok().flatten().is_some_and(|tables| !tables.is_empty())
            });
            if written {
                self.find(file, "it is missing");
            }
        } else if let Some(bytes) = self.whole(file, 4_096)
            && bytes != [b'F', b'J', b'L', 3]
        {
            self.find(file, format!("it holds {}, expected 464a4c03", hex(&bytes)));
        } else if !self.folder.join("lock").exists() {
            self.find(Path::new("lock"), "it is missing; an empty file of this name is enough");
        }
        Ok(())
    }

    /// Entries of a folder whose names are numbers.
    fn numbered(&self, below: &Path) -> Result<Vec<u64>, CheckError> {
        let mut numbers: Vec<u64> = self.entries(below)?.unwrap_or_default().iter().filter_map(|name| name.parse().ok()).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn keyspaces(&mut self, depth: Depth) -> Result<(), CheckError> {
        let keyspaces = self.numbered(Path::new("keyspaces"))?;
        if !keyspaces.contains(&0) {
            self.find(Path::new("keyspaces/0"), "it is missing");
        }
        let mut left = match depth {
            Depth::Structure => 0,
            Depth::Rows(most) => most,
        };
        for keyspace in keyspaces {
            let folder = Path::new("keyspaces").join(keyspace.to_string());
            let Some(manifest) = self.manifest(&folder)? else { continue };
            for (table, checksum) in &manifest.tables {
                let file = folder.join("tables").join(table.to_string());
                match std::fs::metadata(self.folder.join(&file)) {
                    Err(error) => self.find(&file, lost(&error)),
                    Ok(data) if keyspace == 0 || data.len() <= left => {
                        left = if keyspace == 0 { left } else { left - data.len() };
                        self.rows(&file, *checksum, keyspace == 0);
                    }
                    Ok(data) if data.len() == 0 => self.find(&file, "it is empty"),
                    Ok(_) => self.report.unread += 1,
                }
            }
        }
        Ok(())
    }

    /// The newest version of a keyspace; `None` after a finding, and for one that was about to be made when the process ended.
    fn manifest(&mut self, folder: &Path) -> Result<Option<Manifest>, CheckError> {
        let current = folder.join("current");
        if !self.folder.join(&current).exists() {
            if self.entries(&folder.join("tables"))?.is_some_and(|tables| !tables.is_empty()) {
                self.find(&current, "it is missing");
            }
            return Ok(None);
        }
        let Some(bytes) = self.whole(&current, 4_096) else { return Ok(None) };
        let (number, checksum) = match manifest::current(&bytes) {
            Ok(found) => found,
            Err(what) => {
                self.find(&current, what);
                return Ok(None);
            }
        };
        let file = folder.join(format!("v{number}"));
        let Some(bytes) = self.whole(&file, manifest::MOST_BYTES) else { return Ok(None) };
        let found = xxhash_rust::xxh3::xxh3_128(&bytes);
        if found != checksum {
            self.find(&file, differs(found, checksum, &current));
            return Ok(None);
        }
        match manifest::parse(&bytes) {
            Ok(manifest) => Ok(Some(manifest)),
            Err(what) => {
                self.find(&file, what);
                Ok(None)
            }
        }
    }

    /// A file of rows. What names keyspaces is kept.
    fn rows(&mut self, file: &Path, expected: u128, names: bool) {
        let mut kept = Vec::new();
        let hashed = File::open(self.folder.join(file)).and_then(|mut opened| {
            let (mut hasher, mut piece, mut length) = (Xxh3::new(), vec![0; PIECE], 0);
            loop {
                let read = opened.read(&mut piece)?;
                let Some(read) = piece.get(..read).filter(|read| !read.is_empty()) else { break };
                hasher.update(read);
                length += read.len() as u64;
                if names && length <= NAMES_BYTES {
                    kept.extend_from_slice(read);
                }
            }
            Ok((hasher.digest128(), length))
        });
        match hashed {
            Err(error) => self.find(file, lost(&error)),
            Ok((found, length)) => {
                self.report.files += 1;
                self.report.bytes += length;
                if found == expected {
                    manifest::names(&kept, &mut self.names);
                } else {
                    self.find(
                        file,
                        format!(
                            "its checksum is {found:032x}, expected {expected:032x}: it was changed or cut after it was written"
                        ),
                    );
                }
            }
        }
    }

    fn journals(&mut self) -> Result<(), CheckError> {
        let names = self.entries(Path::new(""))?.unwrap_or_default();
        let mut numbers: Vec<u64> = names.iter().filter_map(|name| name.strip_suffix(".jnl")?.parse().ok()).collect();
        numbers.sort_unstable();
        let mut sequence = None;
        for number in numbers {
            let file = PathBuf::from(format!("{number}.jnl"));
            let read = File::open(self.folder.join(&file)).and_then(|opened| batches::read(opened, sequence));
            match read {
                Err(error) => self.find(&file, lost(&error)),
                Ok(read) => {
                    self.report.files += 1;
                    self.report.bytes += read.bytes;
                    sequence = read.sequence.or(sequence);
                    match read.ending {
                        batches::Ending::Whole => {}
                        batches::Ending::Damaged(what) => self.find(&file, what),
                        batches::Ending::Torn { at } => self.note(format!(
                            "{}: from byte {at} on is a write that was not finished, as after a power cut; the next start drops it",
                            file.display()
                        )),
                    }
                }
            }
        }
        Ok(())
    }

    /// Says to which tables the findings belong.
    fn name(&mut self) {
        for finding in &mut self.report.findings {
            let keyspace = finding.file.strip_prefix("keyspaces").ok().and_then(|rest| rest.iter().next()?.to_str()?.parse().ok());
            finding.table = keyspace.and_then(|keyspace: u64| self.names.get(&keyspace).cloned());
        }
    }
}

/// Why a file that must be there cannot be read.
fn lost(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "it is missing".to_owned(),
        _ => format!("the disk does not give it back: {error}"),
    }
}

fn differs(found: u128, expected: u128, named_in: &Path) -> String {
    format!(
        "its checksum is {found:032x}, {} says {expected:032x}: one of the two was changed after it was written",
        named_in.display()
    )
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
