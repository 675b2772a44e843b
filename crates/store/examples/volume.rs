//! A day of load, by volume: what transfers, ERC-20 transfers and new slots leave on the disk, how much is written for that, and how
//! long a block's commit takes while the engine compacts.
//!
//! `cargo run --release -p ipe-store --example volume -- FOLDER [TRANSFERS] [ERC20] [SLOTS] [HOLDERS] [PERIOD_MS] [full]`
//! makes blocks of 1,000 transactions (of [`SLOTS_A_CALL`] slots each: 250) through the ledger, from 2,000 senders to random ones of
//! HOLDERS, one every PERIOD_MS or as fast as they come. By default 864,000 transfers, ten a second for a day, as many ERC-20 transfers and
//! 864,000 slots among a million holders. `full` keeps the last 128 states in place of all. Signatures are made up: nobody recovers
//! them here.

mod support;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use alloy_consensus::{SignableTransaction, TxLegacy};
use alloy_primitives::{Address, Bytes, Signature, TxKind, U256, hex, keccak256};
use ipe_chain::kv::{Batch, Read, Store, StoreError, Table, Visit};
use ipe_chain::state::{Retention, StateSettings};
use ipe_chain::{Bound, BuildOrder, Candidate, Feedback, Ledger};
use ipe_store::{DiskSettings, FjallStore};
use ipe_types::block::{Block, Transaction};
use ipe_types::crypto::NodeKey;
use ipe_types::header::{commit_hash, with_round_and_seals};
use ipe_types::spec::ChainSpec;
use support::{
    CHAIN_ID, Dice, SLOTS, SLOTS_A_CALL, TOKEN, bytes_written, cpu, genesis, key, memory, percentile, quiet, validators,
};

const SENDERS: usize = 2_000;

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Transfer,
    Erc20,
    Slots,
}

/// A store that counts what it is given.
struct Counted {
    store: FjallStore,
    /// Bytes of rows, of blocks and of what is settled.
    bytes: AtomicU64,
    rows: AtomicU64,
}

impl Counted {
    fn count(&self, batch: &Batch) {
        self.bytes.fetch_add(batch.bytes() as u64, Ordering::Relaxed);
        self.rows.fetch_add(batch.len() as u64, Ordering::Relaxed);
    }
}

impl Read for Counted {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.get(table, key)
    }

    fn range(&self, table: Table, from: &[u8], to: &[u8], reverse: bool, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        self.store.range(table, from, to, reverse, visit)
    }
}

impl Store for Counted {
    fn snapshot(&self) -> Arc<dyn Read> {
        self.store.snapshot()
    }

    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        self.count(&batch);
        self.store.commit(batch)
    }

    fn commit_lazily(&self, batch: Batch) -> Result<(), StoreError> {
        self.count(&batch);
        self.store.commit_lazily(batch)
    }

    fn aside(&self, work: Box<dyn FnOnce() + Send>) {
        self.store.aside(work);
    }
}

struct Load {
    ledger: Ledger,
    validators: Vec<NodeKey>,
    senders: Vec<Address>,
    nonces: Vec<u64>,
    made: usize,
    holders: u64,
    dice: Dice,
}

impl Load {
    fn transaction(&mut self, kind: Kind) -> Candidate {
        let sender = self.made % SENDERS;
        let holder = Address::from_word(keccak256(format!("holder {}", self.dice.next() % self.holders)));
        let contract = |at: &str| TxKind::Call(at.parse().expect("an address"));
        let (to, value, input) = match kind {
            Kind::Transfer => (TxKind::Call(holder), 1, Vec::new()),
            Kind::Erc20 => {
                let input = [&hex!("a9059cbb")[..], holder.into_word().as_slice(), &U256::from(1).to_be_bytes::<32>()].concat();
                (contract(TOKEN), 0, input)
            }
            Kind::Slots => (contract(SLOTS), 0, U256::from(self.made * SLOTS_A_CALL).to_be_bytes::<32>().to_vec()),
        };
        let tx = TxLegacy {
            chain_id: Some(CHAIN_ID),
            nonce: self.nonces[sender],
            gas_price: 0,
            gas_limit: if kind == Kind::Slots { 400_000 } else { 100_000 },
            to,
            value: U256::from(value),
            input: input.into(),
        };
        self.nonces[sender] += 1;
        self.made += 1;
        // The hash of a transaction covers its signature, and has to be its own.
        let signature = Signature::new(keccak256(self.made.to_be_bytes()).into(), U256::from(self.made), false);
        let tx = Transaction::from(tx.into_signed(signature));
        Candidate { hash: *tx.tx_hash(), sender: self.senders[sender], tx }
    }

    /// Builds and imports a block; the time of each.
    fn block(&mut self, kind: Kind, transactions: usize) -> (Duration, Duration) {
        let candidates: Vec<Arc<Candidate>> = (0..transactions).map(|_| Arc::new(self.transaction(kind))).collect();
        let number = self.ledger.head().number + 1;
        let order = BuildOrder {
            timestamp: 0x58ee_40ba + number,
            coinbase: self.validators[number as usize % 4].address(),
            round: 0,
            vanity: Bytes::from(vec![0; 32]),
            vote: None,
            min_gas_price: 0,
            target_gas_limit: None,
        };
        let mut queue = candidates.into_iter();
        let mut next = |feedback: Feedback| {
            assert!(matches!(feedback, Feedback::Start | Feedback::Included { .. }), "{feedback:?}");
            queue.next()
        };
        let start = Instant::now();
        let built = self.ledger.build(&order, &mut next, Bound::NONE).expect("builds");
        let executed = start.elapsed();
        assert!(built.receipts().iter().all(alloy_consensus::TxReceipt::status), "every transaction succeeds");
        let header = &built.block().header;
        let hash = commit_hash(header, 0).expect("hashes");
        let seals = self.validators.iter().take(3).map(|key| key.sign(hash)).collect();
        let header = with_round_and_seals(header, 0, seals).expect("seals");
        let sealed = Block { header, body: built.block().body.clone() };
        let start = Instant::now();
        self.ledger.import(built, Arc::new(sealed)).expect("imports");
        (executed, start.elapsed())
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "full");
    let folder =
        PathBuf::from(arguments.next().expect("usage: volume FOLDER [TRANSFERS] [ERC20] [SLOTS] [HOLDERS] [PERIOD_MS] [full]"));
    let mut number = |otherwise: u64| arguments.next().and_then(|text| text.parse().ok()).unwrap_or(otherwise);
    let (transfers, erc20, slots) = (number(864_000), number(864_000), number(864_000));
    let (holders, period) = (number(1_000_000), Duration::from_millis(number(0)));
    let retention = match std::env::args().any(|argument| argument == "full") {
        true => Retention::Full { keep: 128 },
        false => Retention::Archive,
    };
    assert!(!folder.exists(), "{} exists: name a new folder", folder.display());
    let store = FjallStore::open(&folder, DiskSettings::default()).expect("opens");
    let store = Arc::new(Counted { store, bytes: AtomicU64::new(0), rows: AtomicU64::new(0) });
    let spec = Arc::new(ChainSpec::parse(&genesis(SENDERS)).expect("parses"));
    let settings = StateSettings { retention, ..StateSettings::default() };
    let ledger = Ledger::open_with(store.clone(), spec, settings).expect("opens");
    let senders: Vec<Address> = (0..SENDERS).map(|n| key(n).address()).collect();
    let nonces = vec![0; SENDERS];
    let mut load = Load { ledger, validators: validators(), senders, nonces, made: 0, holders, dice: Dice(1) };
    for (name, kind, units, a_block, a_transaction) in [
        ("transfers", Kind::Transfer, transfers, 1_000, 1),
        ("ERC-20 transfers", Kind::Erc20, erc20, 1_000, 1),
        ("slots", Kind::Slots, slots, 250, SLOTS_A_CALL as u64),
    ] {
        let blocks = units / (a_block * a_transaction);
        if blocks == 0 {
            continue;
        }
        let count = || (store.bytes.load(Ordering::Relaxed), store.rows.load(Ordering::Relaxed));
        let (disk, written, given, used, start) =
            (store.store.disk_bytes().expect("measures"), bytes_written(), count(), cpu(), Instant::now());
        let (mut executed, mut imported) = (Vec::new(), Vec::new());
        for _ in 0..blocks {
            let begun = Instant::now();
            let (execute, import) = load.block(kind, a_block as usize);
            executed.push(execute);
            imported.push(import);
            std::thread::sleep(period.saturating_sub(begun.elapsed()));
        }
        let wall = start.elapsed();
        quiet();
        let units = (blocks * a_block * a_transaction) as f64;
        let each = |bytes: u64| bytes as f64 / units;
        let (bytes, rows) = (count().0 - given.0, count().1 - given.1);
        println!(
            "{units} {name} in {blocks} blocks, {:.0} s, processor {:.1} us each: disk {:.0} bytes each; {:.1} rows of {:.0} bytes given, {:.0} bytes \
             written: {:.1} times",
            wall.as_secs_f64(),
            (cpu() - used).as_secs_f64() * 1e6 / units,
            each(store.store.disk_bytes().expect("measures").saturating_sub(disk)),
            each(rows),
            each(bytes),
            each(bytes_written() - written),
            (bytes_written() - written) as f64 / bytes as f64,
        );
        for (what, times) in [("executed", &mut executed), ("committed", &mut imported)] {
            let long = times.iter().filter(|time| **time > Duration::from_millis(200)).count();
            println!(
                "  {what} p50 {:.1} ms, p99 {:.1} ms, longest {:.1} ms, {long} above 200 ms",
                percentile(times, 500),
                percentile(times, 990),
                percentile(times, 1000)
            );
        }
        println!("  {}", memory());
    }
}
