//! The disk store keeps its promises: what was acknowledged survives, batches are whole, one process at a time.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use alloy_primitives::{Address, U256};
use ipe_chain::kv::{Batch, Read, Store, StoreError, Table};
use ipe_chain::state::{Account, AccountChange, State, StateChanges, StateSettings};
use ipe_store::{DiskSettings, FjallStore};

/// Set for the child process that writes until it is killed: the folder.
const WRITER: &str = "IPE_STORE_TEST_WRITER";

fn open(folder: &Path) -> FjallStore {
    FjallStore::open(folder, DiskSettings::default()).expect("opens")
}

fn number(row: Option<Vec<u8>>) -> u64 {
    row.map_or(0, |row| u64::from_be_bytes(row.try_into().expect("eight bytes")))
}

#[test]
fn rows_survive_closing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = open(folder.path());
    let mut batch = Batch::new();
    for n in 0..1000u64 {
        batch.put(Table::Accounts, &n.to_be_bytes(), &[n as u8; 40]);
        batch.put(Table::Bodies, &n.to_be_bytes(), &[n as u8; 4000]);
    }
    store.commit(batch).expect("commits");
    let mut batch = Batch::new();
    batch.delete(Table::Accounts, &7u64.to_be_bytes());
    batch.put(Table::Accounts, &8u64.to_be_bytes(), b"twice");
    batch.put(Table::Accounts, &8u64.to_be_bytes(), b"last");
    store.commit(batch).expect("commits");
    drop(store);
    let store = open(folder.path());
    assert_eq!(store.get(Table::Accounts, &7u64.to_be_bytes()).expect("reads"), None);
    assert_eq!(store.get(Table::Accounts, &8u64.to_be_bytes()).expect("reads"), Some(b"last".to_vec()));
    assert_eq!(store.get(Table::Bodies, &999u64.to_be_bytes()).expect("reads"), Some(vec![999u64 as u8; 4000]));
    assert!(store.disk_bytes().expect("measures") > 0);
}

#[test]
fn ranges_are_ordered_and_snapshots_stand_still() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = open(folder.path());
    let put = |key: &[u8]| {
        let mut batch = Batch::new();
        batch.put(Table::Logs, key, b"x");
        store.commit(batch).expect("commits");
    };
    for key in [&b"b"[..], b"a", b"c", b"ca"] {
        put(key);
    }
    let before = store.snapshot();
    put(b"bb");
    let keys = |read: &dyn Read, from: &[u8], to: &[u8], reverse: bool, limit: usize| {
        let mut keys = Vec::new();
        read.range(Table::Logs, from, to, reverse, &mut |key, _| {
            keys.push(String::from_utf8_lossy(key).into_owned());
            if keys.len() == limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .expect("reads");
        keys.join(" ")
    };
    assert_eq!(keys(&store, b"", b"", false, 99), "a b bb c ca");
    assert_eq!(keys(&*before, b"", b"", false, 99), "a b c ca");
    assert_eq!(keys(&store, b"b", b"c", false, 99), "b bb");
    assert_eq!(keys(&store, b"a", b"", true, 2), "ca c");
    assert_eq!(keys(&store, b"c", b"b", false, 99), "");
    assert_eq!(before.get(Table::Logs, b"bb").expect("reads"), None);
}

#[test]
fn a_second_process_is_told_that_the_folder_is_in_use() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let _store = open(folder.path());
    let error = FjallStore::open(folder.path(), DiskSettings::default()).err().expect("is refused");
    assert!(matches!(&error, StoreError::InUse { path } if Path::new(path) == folder.path()), "{error}");
    assert!(error.to_string().contains("in use by another process"), "{error}");
}

/// Runs in the child only: commits numbered batches over two tables and says each number once it is durable.
#[test]
fn writer() {
    let Some(folder) = std::env::var_os(WRITER) else { return };
    let store = open(Path::new(&folder));
    let mut at = number(store.get(Table::Meta, b"at").expect("reads"));
    loop {
        at += 1;
        let mut batch = Batch::new();
        for n in 0..50u64 {
            let key = (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ n).to_be_bytes();
            batch.put(Table::Slots, &key, &at.to_be_bytes());
            batch.put(Table::Receipts, &n.to_be_bytes(), &[at.to_be_bytes(), [7; 8]].concat());
        }
        batch.put(Table::Meta, b"at", &at.to_be_bytes());
        store.commit(batch).expect("commits");
        println!("durable {at}");
    }
}

fn spawn_writer(folder: &Path, test: &str) -> Child {
    Command::new(std::env::current_exe().expect("knows itself"))
        .args(["--exact", test, "--nocapture"])
        .env(WRITER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts the writer")
}

/// Lets a child write until it has said `lines` lines, kills it in the middle of what it does next, and returns the last
/// number that it called durable.
fn write_and_kill(folder: &Path, test: &str, lines: u64, before: u64) -> u64 {
    let mut acknowledged = before;
    let mut child = spawn_writer(folder, test);
    let mut output = BufReader::new(child.stdout.take().expect("is piped")).lines();
    let said = |line: &str| line.split("durable ").nth(1).and_then(|number| number.trim().parse::<u64>().ok());
    for _ in 0..lines {
        let Some(Ok(line)) = output.next() else { break };
        acknowledged = said(&line).unwrap_or(acknowledged);
    }
    child.kill().expect("kills its own child");
    child.wait().expect("waits for its own child");
    for line in output.map_while(Result::ok) {
        acknowledged = said(&line).unwrap_or(acknowledged);
    }
    acknowledged
}

#[test]
fn killing_the_writer_loses_nothing_acknowledged_and_tears_no_batch() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut acknowledged = 0;
    for turn in 0..8u64 {
        acknowledged = write_and_kill(folder.path(), "writer", turn * 7 + 3, acknowledged);
        let store = open(folder.path());
        let at = number(store.get(Table::Meta, b"at").expect("reads"));
        assert!(at >= acknowledged && acknowledged > 0, "turn {turn}: at {at}, acknowledged {acknowledged}");
        for n in 0..50u64 {
            let key = (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ n).to_be_bytes();
            assert_eq!(number(store.get(Table::Slots, &key).expect("reads")), at, "torn batch");
            let row = store.get(Table::Receipts, &n.to_be_bytes()).expect("reads").expect("is there");
            assert_eq!(row[..8], at.to_be_bytes(), "torn batch");
        }
        let mut rows = 0;
        store
            .range(Table::Slots, &[], &[], false, &mut |_, value| {
                assert!(number(Some(value.to_vec())) <= at, "a row of a batch that is not there");
                rows += 1;
                ControlFlow::Continue(())
            })
            .expect("reads");
        assert_eq!(rows, at * 50);
    }
}

/// Accounts that the blocks of [`state_writer`] pay in turn.
const PAID: u64 = 40;

/// Settles every few blocks, so that kills fall before, in and after a settling.
fn state(store: &Arc<FjallStore>) -> State {
    let settings = StateSettings { unsettled: 24 * 1024, ..StateSettings::default() };
    State::open(store.clone(), settings).expect("opens and agrees with its roots")
}

fn paid(n: u64) -> Address {
    Address::with_last_byte(n as u8)
}

/// Runs in the child only: block n sets the balance and a slot of account n mod 40 to n.
#[test]
fn state_writer() {
    let Some(folder) = std::env::var_os(WRITER) else { return };
    let store = Arc::new(open(Path::new(&folder)));
    let state = state(&store);
    loop {
        let number = state.position().map_or(0, |(number, _)| number + 1);
        let value = U256::from(number);
        let change = AccountChange {
            account: Some(Account { balance: value, ..Account::default() }),
            slots: BTreeMap::from([(U256::from(7), value)]),
            ..AccountChange::default()
        };
        let changes = StateChanges { accounts: BTreeMap::from([(paid(number % PAID), change)]) };
        let prepared = state.prepare(&changes).expect("prepares");
        let mut batch = Batch::new();
        state.apply(number, &prepared, &mut batch).expect("applies");
        store.commit(batch).expect("commits");
        println!("durable {number}");
        state.committed(number, &prepared).expect("is the head");
    }
}

#[test]
fn a_killed_state_opens_at_its_last_block_with_all_its_past() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut acknowledged = 0;
    for turn in 0..6u64 {
        acknowledged = write_and_kill(folder.path(), "state_writer", turn * 11 + 6, acknowledged);
        let store = Arc::new(open(folder.path()));
        let state = state(&store);
        let (head, _) = state.position().expect("has blocks");
        assert!(head >= acknowledged && acknowledged > 0, "turn {turn}: at {head}, acknowledged {acknowledged}");
        for height in (0..=head).rev().step_by(5) {
            let at = state.at(height).expect("is kept");
            for n in 0..PAID {
                let last = (0..=height).rev().take(PAID as usize).find(|block| block % PAID == n);
                let expected = last.map(|block| Account { balance: U256::from(block), ..Account::default() });
                assert_eq!(at.account(paid(n)).expect("reads"), expected, "account {n} at {height} of {head}");
                let slot = at.slot(paid(n), U256::from(7)).expect("reads");
                assert_eq!(slot, U256::from(last.unwrap_or(0)), "slot of {n} at {height} of {head}");
            }
        }
        state.head().proof(paid(1), &[U256::from(7)]).expect("proves");
    }
}

/// A folder as versions before this one left it: keyspaces under the tables' own names, with the engine's options.
fn older(folder: &Path, table: Table, rows: impl Iterator<Item = (Vec<u8>, Vec<u8>)>) {
    let database = fjall::Database::builder(folder).open().expect("opens");
    let keyspace = database.keyspace(table.name(), fjall::KeyspaceCreateOptions::default).expect("creates");
    for (key, value) in rows {
        keyspace.insert(key, value).expect("writes");
    }
    keyspace.rotate_memtable_and_wait().expect("flushes");
    database.persist(fjall::PersistMode::SyncAll).expect("syncs");
}

fn rows_of(store: &FjallStore, table: Table) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut rows = BTreeMap::new();
    store
        .range(table, &[], &[], false, &mut |key, value| {
            rows.insert(key.to_vec(), value.to_vec());
            ControlFlow::Continue(())
        })
        .expect("reads");
    rows
}

#[test]
fn tables_of_an_older_version_are_taken_over_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let number = |n: u64| (n.to_be_bytes().to_vec(), [n.to_be_bytes(), [3; 8]].concat());
    let expected: BTreeMap<_, _> = (0..5_000).map(number).collect();
    older(folder.path(), Table::Slots, expected.clone().into_iter());
    older(folder.path(), Table::Accounts, (0..10).map(number));
    older(folder.path(), Table::Meta, [(b"head".to_vec(), b"here".to_vec())].into_iter());
    for turn in 0..3 {
        let store = open(folder.path());
        assert_eq!(rows_of(&store, Table::Slots), expected, "turn {turn}");
        assert_eq!(rows_of(&store, Table::Accounts).len(), 10);
        assert_eq!(store.get(Table::Meta, b"head").expect("reads").as_deref(), Some(&b"here"[..]));
    }
    // A process that ended between the copy and the deletion: the old rows do not come back over newer ones.
    let store = open(folder.path());
    let mut batch = Batch::new();
    batch.put(Table::Slots, &7u64.to_be_bytes(), b"newer");
    batch.delete(Table::Slots, &8u64.to_be_bytes());
    store.commit(batch).expect("commits");
    drop(store);
    older(folder.path(), Table::Slots, expected.into_iter());
    let store = open(folder.path());
    assert_eq!(store.get(Table::Slots, &7u64.to_be_bytes()).expect("reads").as_deref(), Some(&b"newer"[..]));
    assert_eq!(store.get(Table::Slots, &8u64.to_be_bytes()).expect("reads"), None);
    drop(store);
    let database = fjall::Database::builder(folder.path()).open().expect("opens");
    assert!(!database.keyspace_exists(Table::Slots.name()), "what was taken over is gone");
}

/// Bytes that this thread asked the operating system to read.
#[cfg(target_os = "linux")]
fn bytes_read() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/io").expect("reads");
    text.lines().find_map(|line| line.strip_prefix("rchar: ")?.parse().ok()).expect("has the count")
}

#[cfg(target_os = "linux")]
#[test]
fn a_cold_lookup_in_a_large_table_reads_parts_of_its_filter_and_index() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let key = |n: u64| alloy_primitives::keccak256(n.to_be_bytes());
    let keys: Vec<_> = (0..600_000).map(key).collect();
    let store = FjallStore::open(folder.path(), DiskSettings { durable: false, ..DiskSettings::default() }).expect("opens");
    for keys in keys.chunks(10_000) {
        let mut batch = Batch::new();
        keys.iter().for_each(|key| batch.put(Table::Slots, key.as_slice(), &key[..8]));
        store.commit(batch).expect("commits");
    }
    drop(store);
    // A cache that holds next to nothing: every part is read from the file.
    let store = FjallStore::open(folder.path(), DiskSettings { cache: 64 * 1024, ..DiskSettings::default() }).expect("opens");
    let before = bytes_read();
    let lookups = 500;
    for n in 0..lookups {
        let key = key(n * 577);
        assert_eq!(store.get(Table::Slots, key.as_slice()).expect("reads").as_deref(), Some(&key[..8]));
    }
    let each = (bytes_read() - before) / lookups;
    // 16 KiB at rest. Right after so much was written some tables of level 0 are not merged yet, and each costs its parts; a
    // filter that is read whole would be 900 KB.
    assert!(each <= 64 * 1024, "{each} bytes a lookup");
    // Ranges find their way through the parts of the index too.
    let mut keys = keys;
    keys.sort();
    for at in (1..keys.len() - 1).step_by(1_237) {
        let key = keys[at].as_slice();
        for (from, to, reverse, expected) in [(key, &[][..], false, at), (&[][..], key, true, at - 1)] {
            let found = ipe_chain::kv::first(&store, Table::Slots, from, to, reverse).expect("reads");
            assert_eq!(found.expect("there is one").0, keys[expected].as_slice(), "row {at}, reverse {reverse}");
        }
    }
}
