//! Every bit of a database matters: whichever file is changed, cut or lost, the check says which it is, and the node does not start on
//! it or says what is damaged when it reads it. Nothing is made worse on the way.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use ipe_chain::kv::{Batch, Read, Store, StoreError, Table};
use ipe_store::check::{CheckError, Depth, Report, check};
use ipe_store::{DiskSettings, FjallStore};

const ALL: Depth = Depth::Rows(u64::MAX);

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(length);
    while out.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(length);
    out
}

/// A closed database with files of rows, versions, and a journal of some batches. Made once and written out for each test.
fn database() -> tempfile::TempDir {
    static MADE: LazyLock<BTreeMap<PathBuf, Vec<u8>>> = LazyLock::new(|| contents(make().path()));
    let folder = tempfile::tempdir().expect("a temporary folder");
    write_out(folder.path(), &MADE);
    folder
}

fn write_out(folder: &Path, files: &BTreeMap<PathBuf, Vec<u8>>) {
    for (path, bytes) in files {
        let to = folder.join(path);
        std::fs::create_dir_all(to.parent().expect("a folder")).expect("made");
        std::fs::write(to, bytes).expect("writes");
    }
    // Some tables have no files of rows yet.
    let keyspaces = std::fs::read_dir(folder.join("keyspaces")).expect("a folder").flatten();
    keyspaces.for_each(|keyspace| std::fs::create_dir_all(keyspace.path().join("tables")).expect("made"));
}

fn make() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = FjallStore::open(folder.path(), DiskSettings { durable: false, ..DiskSettings::default() }).expect("opens");
    for block in 0..30u64 {
        let mut batch = Batch::new();
        for row in 0..60 {
            let key = (block * 60 + row).to_be_bytes();
            batch.put(Table::Bodies, &key, &noise(block * 60 + row, 3_000));
            batch.put(Table::Accounts, &key, &noise(block + row, 40));
        }
        batch.put(Table::Meta, b"head", &block.to_be_bytes());
        store.commit(batch).expect("commits");
    }
    store.sync().expect("syncs");
    drop(store);
    // Tables are written in the background, so there are some only when it has had its time.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while files(folder.path())
        .iter()
        .filter(|file| file.to_string_lossy().contains("tables/") && !file.starts_with("keyspaces/0"))
        .count()
        == 0
    {
        assert!(std::time::Instant::now() < deadline, "no table was written");
        let store = FjallStore::open(folder.path(), DiskSettings::default()).expect("opens");
        let mut batch = Batch::new();
        (0..600u64).for_each(|row| batch.put(Table::Bodies, &(10_000 + row).to_be_bytes(), &noise(row, 3_000)));
        store.commit(batch).expect("commits");
    }
    folder
}

/// Relative paths of all files.
fn files(folder: &Path) -> Vec<PathBuf> {
    fn walk(root: &Path, below: &Path, out: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(root.join(below)).expect("a folder").flatten() {
            let path = below.join(entry.file_name());
            if entry.path().is_dir() { walk(root, &path, out) } else { out.push(path) }
        }
    }
    let mut out = Vec::new();
    walk(folder, Path::new(""), &mut out);
    out.sort();
    out
}

fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    files(folder).into_iter().map(|file| (file.clone(), std::fs::read(folder.join(&file)).expect("reads"))).collect()
}

/// Files that the database is made of now: others wait to be deleted.
fn live(folder: &Path) -> Vec<PathBuf> {
    let current = |keyspace: &Path| {
        let bytes = std::fs::read(folder.join(keyspace).join("current")).expect("a current version");
        format!("v{}", u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")))
    };
    let is_version =
        |file: &Path| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with('v')) && file != Path::new("version");
    let all = files(folder).into_iter().filter(|file| file != Path::new("lock"));
    all.filter(|file| !is_version(file) || file.ends_with(current(file.parent().expect("a folder")))).collect()
}

fn named(report: &Report, file: &Path) -> bool {
    // `current` and the version that it names vouch for each other.
    let same = |found: &Path| found == file || (found.parent() == file.parent() && file.ends_with("current"));
    report.findings.iter().any(|finding| same(&finding.file))
}

/// Length of a file without the zeros that the engine puts after a journal.
fn used(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

#[test]
fn a_changed_bit_of_any_file_is_found_and_named() {
    let folder = database();
    let root = folder.path();
    let sound = check(root, ALL).expect("looks");
    assert_eq!((sound.findings.as_slice(), sound.notes.as_slice()), (&[][..], &[][..]));
    let before = contents(root);
    assert_eq!(contents(root), before, "looking changes nothing");
    let mut kinds = BTreeMap::new();
    for file in live(root) {
        let bytes = &before[&file];
        let is_journal = file.extension().is_some_and(|end| end == "jnl");
        // What tears the last batch of a journal is not told from what breaks off a write: the last batch ends with the file.
        let last = if is_journal { last_batch(bytes) } else { bytes.len() };
        let steps = if bytes.len() > 100_000 { 24 } else { 6 };
        let places: Vec<usize> = (0..steps).map(|step| step * last / steps).chain([last.saturating_sub(1)]).collect();
        for (turn, place) in places.into_iter().enumerate().filter(|(_, place)| *place < last) {
            let mut damaged = bytes.clone();
            damaged[place] ^= 1 << (turn % 8);
            std::fs::write(root.join(&file), &damaged).expect("writes");
            // What is before every start finds all but damage of rows.
            let depth = if kind(&file) == "table" { ALL } else { Depth::Structure };
            let report = check(root, depth).expect("looks");
            assert!(named(&report, &file), "bit {} of byte {place} of {}: {report:?}", turn % 8, file.display());
            *kinds.entry(kind(&file)).or_insert(0) += 1;
        }
        std::fs::write(root.join(&file), bytes).expect("writes");
    }
    assert!(["current", "jnl", "names", "table", "version", "versions"].iter().all(|kind| kinds.contains_key(*kind)), "{kinds:?}");
    assert_eq!(check(root, ALL).expect("looks"), sound);
}

fn kind(file: &Path) -> &'static str {
    let text = file.to_string_lossy();
    match () {
        () if text.ends_with(".jnl") => "jnl",
        () if text == "version" => "version",
        () if text.ends_with("current") => "current",
        () if text.starts_with("keyspaces/0/tables") => "names",
        () if text.contains("/tables/") => "table",
        () => "versions",
    }
}

/// Where the last batch of a journal begins: after the end of the one before.
fn last_batch(bytes: &[u8]) -> usize {
    let end = used(bytes);
    let ends: Vec<usize> =
        bytes[..end].windows(4).enumerate().filter(|(_, four)| *four == b"FJL\x03").map(|(at, _)| at + 4).collect();
    match ends.as_slice() {
        [.., before, _last] => *before,
        _ => 0,
    }
}

#[test]
fn a_lost_or_shortened_file_is_found_and_named() {
    let folder = database();
    let root = folder.path();
    let before = contents(root);
    for file in live(root).into_iter().filter(|file| kind(file) != "jnl") {
        let bytes = &before[&file];
        for cut in [None, Some(0), Some(bytes.len() / 2), Some(bytes.len() - 1)] {
            match cut {
                None => std::fs::remove_file(root.join(&file)).expect("removes"),
                Some(length) => std::fs::write(root.join(&file), &bytes[..length]).expect("writes"),
            }
            let report = check(root, if kind(&file) == "table" { ALL } else { Depth::Structure }).expect("looks");
            // A keyspace without any file of rows was about to be made.
            let empty = kind(&file) == "current" && cut.is_none() && report.findings.is_empty();
            let rows = before.keys().any(|other| other.parent().is_some_and(|tables| tables == file.with_file_name("tables")));
            assert!(named(&report, &file) || (empty && !rows), "{} cut to {cut:?}: {report:?}", file.display());
        }
        std::fs::write(root.join(&file), bytes).expect("writes");
    }
}

/// What the engine would make worse by opening it is refused before, as it is; damaged rows are told when they are read.
#[test]
fn a_node_does_not_start_on_damage_and_does_not_make_it_worse() {
    let folder = database();
    let root = folder.path();
    let before = contents(root);
    let mut refused = BTreeMap::new();
    for file in live(root) {
        let bytes = &before[&file];
        let place = if kind(&file) == "jnl" { last_batch(bytes) / 2 } else { bytes.len() / 2 };
        if kind(&file) == "jnl" && last_batch(bytes) == 0 {
            continue;
        }
        let copy = tempfile::tempdir().expect("a temporary folder");
        write_out(copy.path(), &before);
        let mut damaged = bytes.clone();
        damaged[place] ^= 0x10;
        std::fs::write(copy.path().join(&file), &damaged).expect("writes");
        let state = contents(copy.path());
        match FjallStore::open(copy.path(), DiskSettings::default()) {
            Err(error @ StoreError::Damaged { .. }) => {
                let text = error.to_string();
                assert!(
                    text.contains("signing.journal*") && text.contains("ipe store check") && !text.contains("free space"),
                    "{text}"
                );
                if kind(&file) != "table" {
                    assert_eq!(contents(copy.path()), state, "{}: nothing is changed", file.display());
                }
                *refused.entry(kind(&file)).or_insert(0) += 1;
            }
            Err(other) => unreachable!("{}: {other}", file.display()),
            // Damage in the rows of a table: whatever is read is right, or an error names the table.
            Ok(store) => {
                assert_eq!(kind(&file), "table", "{}", file.display());
                let read =
                    Table::ALL.into_iter().map(|table| store.range(table, &[], &[], false, &mut |_, _| ControlFlow::Continue(())));
                let errors: Vec<StoreError> = read.filter_map(Result::err).collect();
                assert!(errors.iter().all(|error| matches!(error, StoreError::Damaged { .. })), "{errors:?}");
                assert!(!errors.is_empty(), "{}", file.display());
            }
        }
    }
    assert!(["current", "jnl", "names", "version", "versions"].iter().all(|kind| refused.contains_key(*kind)), "{refused:?}");
}

/// A process that died in the middle of a write is no damage.
#[test]
fn a_write_that_was_not_finished_is_no_damage() {
    let folder = database();
    let root = folder.path();
    let journal = files(root).into_iter().rfind(|file| kind(file) == "jnl").expect("a journal");
    let bytes = std::fs::read(root.join(&journal)).expect("reads");
    let (begin, end) = (last_batch(&bytes), used(&bytes));
    for cut in [begin + 1, begin + 13, (begin + end) / 2, end - 1] {
        let mut torn = bytes.clone();
        torn[cut..].fill(0);
        std::fs::write(root.join(&journal), &torn).expect("writes");
        let report = check(root, ALL).expect("looks");
        assert_eq!(report.findings, [], "cut at {cut} of {begin} to {end}");
        assert_eq!(report.notes.len(), 1, "cut at {cut} of {begin} to {end}");
    }
    drop(FjallStore::open(root, DiskSettings::default()).expect("opens"));
}

#[test]
fn a_database_in_use_is_not_judged_and_what_is_none_is_told() {
    let folder = database();
    let store = FjallStore::open(folder.path(), DiskSettings::default()).expect("opens");
    assert!(matches!(check(folder.path(), ALL), Err(CheckError::InUse { .. })));
    drop(store);
    assert!(check(folder.path(), ALL).is_ok());
    let empty = tempfile::tempdir().expect("a temporary folder");
    assert!(matches!(check(empty.path(), ALL), Err(CheckError::Absent { .. })));
}

/// Findings in a table say which one it is.
#[test]
fn the_table_is_named() {
    let folder = database();
    let root = folder.path();
    let table = live(root).into_iter().find(|file| kind(file) == "table").expect("a table");
    let mut bytes = std::fs::read(root.join(&table)).expect("reads");
    bytes[100] ^= 1;
    std::fs::write(root.join(&table), bytes).expect("writes");
    let report = check(root, ALL).expect("looks");
    let name = report.findings[0].table.clone().expect("a name");
    assert!(Table::ALL.iter().any(|table| table.name() == name), "{name}");
    assert!(report.findings[0].to_string().contains(&format!("(table {name})")));
}
