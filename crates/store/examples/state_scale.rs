//! What a cold lookup and a block cost over a state of millions of accounts and slots.
//!
//! `cargo run --release -p ipe-store --example state_scale -- [ROWS] [FOLDER] [CHANGES] [CACHE_MIB] [PERIOD_MS]`
//! fills FOLDER with ROWS accounts and ROWS slots of one contract through the state's own path (unless FOLDER exists), opens it
//! again and prints the time and the bytes read of lookups by random keys, each key once, and the time of blocks that change
//! CHANGES accounts and as many slots, one every PERIOD_MS or as fast as they come. The folder stays; CACHE_MIB is the engine's cache.
//! `destroy` at the end destroys the contract.

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy_primitives::{Address, B256, KECCAK256_EMPTY, U256, keccak256};
use ipe_chain::kv::{Batch, Store};
use ipe_chain::state::{Account, AccountChange, State, StateChanges, StateSettings};
use ipe_store::{DiskSettings, FjallStore};
use support::{Dice, block, bytes_read, bytes_written, cpu, memory, percentile, quiet};

/// Accounts, and slots, that one block of the filling creates.
const AT_ONCE: usize = 100_000;
/// Passes over the key space, each in key order: what a later pass writes lies between what earlier ones wrote.
const PASSES: usize = 4;
/// Lookups of each kind.
const LOOKUPS: u64 = 20_000;
/// Blocks of each kind.
const BLOCKS: u64 = 20;

fn address(n: u64) -> Address {
    let mut bytes = [0x11; 20];
    bytes[12..].copy_from_slice(&n.to_be_bytes());
    Address::from(bytes)
}

fn slot(n: u64) -> U256 {
    U256::from(n) << 8
}

fn token() -> Address {
    Address::repeat_byte(0x70)
}

fn account(nonce: u64, balance: u64) -> AccountChange {
    let account = Account { nonce, balance: U256::from(balance) << 40, code_hash: KECCAK256_EMPTY };
    AccountChange { account: Some(account), ..AccountChange::default() }
}

fn token_with(slots: BTreeMap<U256, U256>) -> AccountChange {
    let account = Account { nonce: 1, balance: U256::ZERO, code_hash: keccak256("token") };
    AccountChange { account: Some(account), slots, ..AccountChange::default() }
}

/// The numbers below `rows`, in the order of the hashes that `hash` gives.
fn by_hash(rows: u64, hash: impl Fn(u64) -> B256) -> Vec<u64> {
    let mut order: Vec<(u64, u32)> =
        (0..rows).map(|n| (hash(n).0[..8].iter().fold(0, |key, byte| key << 8 | u64::from(*byte)), n as u32)).collect();
    order.sort_unstable();
    order.into_iter().map(|(_, n)| u64::from(n)).collect()
}

fn fill(folder: &Path, rows: u64) {
    let start = Instant::now();
    let store = Arc::new(FjallStore::open(folder, DiskSettings { durable: false, ..DiskSettings::default() }).expect("opens"));
    let state = State::open(store.clone(), StateSettings::default()).expect("opens");
    block(&store, &state, &StateChanges::default());
    let accounts = by_hash(rows, |n| keccak256(address(n)));
    let slots = by_hash(rows, |n| keccak256(slot(n).to_be_bytes::<32>()));
    for pass in 0..PASSES {
        let accounts: Vec<u64> = accounts.iter().copied().skip(pass).step_by(PASSES).collect();
        let slots: Vec<u64> = slots.iter().copied().skip(pass).step_by(PASSES).collect();
        for (accounts, slots) in accounts.chunks(AT_ONCE).zip(slots.chunks(AT_ONCE)) {
            let mut changes = StateChanges::default();
            changes.accounts.extend(accounts.iter().map(|n| (address(*n), account(0, n + 1))));
            let slots = slots.iter().map(|n| (slot(*n), U256::from(1u64 << 40 | n))).collect();
            changes.accounts.insert(token(), token_with(slots));
            block(&store, &state, &changes);
        }
        eprintln!("pass {pass}: {:.0} s", start.elapsed().as_secs_f64());
    }
    store.sync().expect("syncs");
    println!("filled {rows} accounts and slots in {:.0} s", start.elapsed().as_secs_f64());
}

fn lookups(what: &str, mut one: impl FnMut()) {
    let mut times = Vec::with_capacity(LOOKUPS as usize);
    let before = bytes_read();
    for _ in 0..LOOKUPS {
        let start = Instant::now();
        one();
        times.push(start.elapsed());
    }
    let read = (bytes_read() - before) as f64 / LOOKUPS as f64;
    println!(
        "  {what:<28} p50 {:7.1} us   p99 {:7.1} us   p99.9 {:7.1} us   {read:8.0} bytes read each",
        percentile(&mut times, 500) * 1e3,
        percentile(&mut times, 990) * 1e3,
        percentile(&mut times, 999) * 1e3
    );
}

fn blocks(store: &FjallStore, state: &State, dice: &mut Dice, (rows, changed): (u64, u64), period: Duration, kind: &str) {
    let (mut reads, mut roots, mut commits, mut wholes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (hot, ahead) = (kind == "the same", kind == "random, read ahead");
    let picks: Vec<u64> = (0..changed).map(|_| dice.next() % rows).collect();
    quiet();
    let (used, read, written) = (cpu(), bytes_read(), bytes_written());
    for at in 0..BLOCKS {
        let mut changes = StateChanges::default();
        let mut slots = BTreeMap::new();
        for pick in &picks {
            let n = if hot { *pick } else { dice.next() % rows };
            changes.accounts.insert(address(n), account(at + 1, n + at));
            slots.insert(slot(n), U256::from(dice.next() >> 20));
        }
        changes.accounts.insert(token(), token_with(slots));
        let number = state.position().map_or(0, |(number, _)| number + 1);
        let start = Instant::now();
        let head = state.head();
        if ahead {
            let accounts: Vec<Address> = changes.accounts.keys().copied().collect();
            let slots: Vec<_> = changes.accounts[&token()].slots.keys().map(|slot| (token(), *slot)).collect();
            head.read_ahead(&accounts, &slots);
        }
        for (address, change) in &changes.accounts {
            head.account(*address).expect("reads");
            for slot in change.slots.keys() {
                head.slot(*address, *slot).expect("reads");
            }
        }
        drop(head);
        reads.push(start.elapsed());
        let rooted = Instant::now();
        let prepared = state.prepare(&changes).expect("prepares");
        roots.push(rooted.elapsed());
        assert!(prepared.len() as u64 > changed, "only {} rows change", prepared.len());
        let committed = Instant::now();
        let mut batch = Batch::new();
        state.apply(number, &prepared, &mut batch).expect("applies");
        store.commit(batch).expect("commits");
        state.committed(number, &prepared).expect("is the head");
        commits.push(committed.elapsed());
        wholes.push(start.elapsed());
        std::thread::sleep(period.saturating_sub(start.elapsed()));
    }
    quiet();
    let each = |all: u64| all / BLOCKS / 1024;
    println!(
        "  block of {changed} accounts and slots, {kind}: processor {:.0} ms, {} KiB read, {} KiB written, all that follows included",
        (cpu() - used).as_secs_f64() * 1e3 / BLOCKS as f64,
        each(bytes_read() - read),
        each(bytes_written() - written)
    );
    for (what, times) in [("reads", &mut reads), ("root", &mut roots), ("commit", &mut commits), ("whole", &mut wholes)] {
        let mean = times.iter().sum::<Duration>().as_secs_f64() * 1e3 / BLOCKS as f64;
        println!(
            "    {what:<7} mean {mean:7.1} ms, p50 {:7.1} ms, longest {:7.1} ms",
            percentile(times, 500),
            percentile(times, 1000)
        );
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let rows = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(100_000u64);
    let folder = PathBuf::from(arguments.next().unwrap_or_else(|| "state_scale.data".to_owned()));
    let changed = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(2_500u64);
    let mut disk = DiskSettings::default();
    if let Some(mib) = arguments.next().and_then(|text| text.parse::<u64>().ok()) {
        disk.cache = mib << 20;
    }
    let period = Duration::from_millis(arguments.next().and_then(|text| text.parse().ok()).unwrap_or(0));
    if !folder.exists() {
        fill(&folder, rows);
    }
    let start = Instant::now();
    let store = Arc::new(FjallStore::open(&folder, disk).expect("opens"));
    let state = State::open(store.clone(), StateSettings::default()).expect("opens");
    println!(
        "opened {rows} rows in {:.2} s, {} MB on disk, {}",
        start.elapsed().as_secs_f64(),
        store.disk_bytes().expect("measures") / 1_000_000,
        memory()
    );
    quiet();
    // Another seed at every run of a folder: the same changes once more would change nothing.
    let mut dice = Dice(state.position().map_or(0, |(number, _)| number));
    let head = state.head();
    lookups("account that exists", || {
        assert!(head.account(address(dice.next() % rows)).expect("reads").is_some());
    });
    lookups("account that does not", || {
        assert!(head.account(address(rows + dice.next() % (1 << 40))).expect("reads").is_none());
    });
    lookups("slot that is set", || {
        assert!(!head.slot(token(), slot(dice.next() % rows)).expect("reads").is_zero());
    });
    lookups("slot that is not", || {
        assert!(head.slot(token(), slot(rows + dice.next() % (1 << 40))).expect("reads").is_zero());
    });
    drop(head);
    println!("  {}", memory());
    for kind in ["the same", "random", "random, read ahead"] {
        blocks(&store, &state, &mut dice, (rows, changed), period, kind);
    }
    println!("  {} MB on disk, {}", store.disk_bytes().expect("measures") / 1_000_000, memory());
    // Last, because it changes what the folder is.
    if std::env::args().any(|argument| argument == "destroy") {
        let before = bytes_read();
        let start = Instant::now();
        let destroyed = AccountChange { wiped: true, ..AccountChange::default() };
        block(&store, &state, &StateChanges { accounts: BTreeMap::from([(token(), destroyed)]) });
        let (time, read) = (start.elapsed().as_secs_f64() * 1e3, (bytes_read() - before) / 1024);
        println!("  block that destroys the contract and its slots: {time:.1} ms, {read} KiB read, {}", memory());
    }
}
