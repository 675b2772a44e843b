//! How long the root and the durable commit of a block take, and what a block leaves on the disk.
//!
//! `cargo run --release -p ipe-store --example state_speed -- [ACCOUNTS] [CHANGES] [BLOCKS] [FOLDER]`
//! changes random accounts of a state of ACCOUNTS; then the same with token transfers: CHANGES / 2 senders that move
//! tokens between two of ACCOUNTS slots each.

mod support;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy_primitives::{Address, B256, KECCAK256_EMPTY, U256, keccak256};
use ipe_chain::kv::{Batch, Store, Table};
use ipe_chain::state::{Account, AccountChange, State, StateChanges, StateSettings};
use ipe_store::{DiskSettings, FjallStore};
use support::{Dice, cpu, memory};

fn address(n: u64) -> Address {
    Address::from_word(keccak256(n.to_be_bytes()))
}

fn account(nonce: u64, balance: u64, code_hash: B256) -> Option<Account> {
    Some(Account { nonce, balance: U256::from(balance) << 40, code_hash })
}

/// Wall time and the time all threads of the process spent on a processor, background work included.
#[derive(Clone, Copy)]
struct Stopwatch {
    wall: Instant,
    cpu: Duration,
}

impl Stopwatch {
    fn start() -> Self {
        Stopwatch { cpu: cpu(), wall: Instant::now() }
    }

    fn stop(self, times: &mut Vec<(Duration, Duration)>) {
        let wall = self.wall.elapsed();
        times.push((wall, cpu().saturating_sub(self.cpu)));
    }
}

#[derive(Default)]
struct Times {
    read: Vec<(Duration, Duration)>,
    prepare: Vec<(Duration, Duration)>,
    apply: Vec<(Duration, Duration)>,
    commit: Vec<(Duration, Duration)>,
    committed: Vec<(Duration, Duration)>,
    rows: usize,
    bytes: usize,
}

fn percentile(times: &mut [(Duration, Duration)], percent: usize) -> f64 {
    times.sort();
    let at = (times.len() * percent / 100).min(times.len().saturating_sub(1));
    times.get(at).map_or(0.0, |(wall, _)| wall.as_secs_f64() * 1e3)
}

impl Times {
    fn print(&mut self, title: &str) {
        println!("{title}: {} rows, {} KB a block", self.rows / self.commit.len(), self.bytes / self.commit.len() / 1024);
        for (name, times) in [
            ("read", &mut self.read),
            ("prepare (root)", &mut self.prepare),
            ("apply", &mut self.apply),
            ("commit (durable)", &mut self.commit),
            ("committed (caches)", &mut self.committed),
        ] {
            let cpu = times.iter().map(|(_, cpu)| *cpu).sum::<Duration>().as_secs_f64() * 1e3 / times.len() as f64;
            println!(
                "  {name:<20} p50 {:7.2} ms   p99 {:7.2} ms   processor {cpu:7.2} ms",
                percentile(times, 50),
                percentile(times, 99)
            );
        }
    }
}

fn block(store: &FjallStore, state: &State, number: u64, changes: &StateChanges, times: &mut Times) {
    let start = Stopwatch::start();
    let head = state.head();
    for (address, change) in &changes.accounts {
        head.account(*address).expect("reads");
        for slot in change.slots.keys() {
            head.slot(*address, *slot).expect("reads");
        }
    }
    drop(head);
    start.stop(&mut times.read);
    let start = Stopwatch::start();
    let prepared = state.prepare(changes).expect("prepares");
    start.stop(&mut times.prepare);
    let start = Stopwatch::start();
    let mut batch = Batch::new();
    state.apply(number, &prepared, &mut batch).expect("applies");
    start.stop(&mut times.apply);
    times.rows += batch.len();
    times.bytes += batch.bytes();
    let start = Stopwatch::start();
    store.commit(batch).expect("commits");
    start.stop(&mut times.commit);
    let start = Stopwatch::start();
    state.committed(number, &prepared).expect("is the head");
    start.stop(&mut times.committed);
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |otherwise: u64| arguments.next().and_then(|text| text.parse().ok()).unwrap_or(otherwise);
    let (accounts, changed, blocks) = (number(100_000), number(2_500), number(60));
    let folder = PathBuf::from(arguments.next().unwrap_or_else(|| "state_speed.data".to_owned()));
    let _ = std::fs::remove_dir_all(&folder);
    let store = Arc::new(FjallStore::open(&folder, DiskSettings::default()).expect("opens"));
    let state = State::open(store.clone(), StateSettings::default()).expect("opens");
    let mut dice = Dice(1);
    let mut times = Times::default();

    let token = address(u64::MAX);
    let start = Instant::now();
    let mut genesis: BTreeMap<Address, AccountChange> = (0..accounts)
        .map(|n| (address(n), AccountChange { account: account(0, n + 1, KECCAK256_EMPTY), ..AccountChange::default() }))
        .collect();
    let slots = (0..accounts).map(|n| (U256::from_be_bytes(keccak256(n.to_le_bytes()).0), U256::from(1u64 << 40))).collect();
    let token_account = account(1, 0, keccak256("token"));
    genesis.insert(token, AccountChange { account: token_account, slots, ..AccountChange::default() });
    block(&store, &state, 0, &StateChanges { accounts: genesis }, &mut times);
    println!(
        "genesis of {accounts} accounts and slots: {:.2} s, {} MB on disk, {}",
        start.elapsed().as_secs_f64(),
        store.disk_bytes().expect("measures") / 1_000_000,
        memory()
    );

    let mut at = 0;
    let mut times = Times::default();
    for _ in 0..blocks {
        at += 1;
        let changes = (0..changed)
            .map(|_| {
                let new = account(at, dice.next() >> 30, KECCAK256_EMPTY);
                let n = if dice.next().is_multiple_of(10) { accounts + dice.next() % accounts } else { dice.next() % accounts };
                (address(n), AccountChange { account: new, ..AccountChange::default() })
            })
            .collect();
        block(&store, &state, at, &StateChanges { accounts: changes }, &mut times);
    }
    times.print(&format!("{changed} account changes (a tenth new)"));
    println!("  {} MB on disk, {}", store.disk_bytes().expect("measures") / 1_000_000, memory());

    let holders = accounts.min(2_000);
    let mut times = Times::default();
    for _ in 0..blocks {
        at += 1;
        let mut changes = StateChanges::default();
        let mut slots = BTreeMap::new();
        for _ in 0..changed / 4 {
            let sender = dice.next() % holders;
            let change = AccountChange { account: account(at, sender + 1, KECCAK256_EMPTY), ..AccountChange::default() };
            changes.accounts.insert(address(sender), change);
            for n in [sender, dice.next() % holders] {
                slots.insert(U256::from_be_bytes(keccak256(n.to_le_bytes()).0), U256::from(dice.next() >> 20));
            }
        }
        changes.accounts.insert(token, AccountChange { account: token_account, slots, ..AccountChange::default() });
        block(&store, &state, at, &changes, &mut times);
    }
    times.print(&format!("{} token transfers between {holders} holders", changed / 4));
    println!("  {} MB on disk, {}", store.disk_bytes().expect("measures") / 1_000_000, memory());

    let mut times = Times::default();
    for _ in 0..blocks {
        at += 1;
        block(&store, &state, at, &StateChanges::default(), &mut times);
    }
    times.print("empty block (state part)");
    for table in [Table::Accounts, Table::AccountTrie] {
        let start = Instant::now();
        let snapshot = store.snapshot();
        let reads = 5_000;
        for _ in 0..reads {
            let key = keccak256(address(dice.next() % accounts));
            let key = if table == Table::Accounts { key.to_vec() } else { vec![4, key[0], key[1]] };
            snapshot.get(table, &key).expect("reads");
        }
        println!("{} random read: {:.2} us", table.name(), start.elapsed().as_secs_f64() * 1e6 / f64::from(reads));
    }
    drop((state, store));
    let _ = std::fs::remove_dir_all(&folder);
}
