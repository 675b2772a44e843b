//! How fast a file of ERC-20 transfers imports: makes 103 blocks of some 610 transfers (or what is asked), sealed by four
//! validators, writes `genesis.json` and `blocks.rlp` into a folder (or takes them from there), and imports the file into memory and into a new disk store.
//!
//! `cargo run --release -p ipe-store --example erc20_import -- FOLDER [BLOCKS] [TRANSFERS PER BLOCK]`
#![allow(clippy::unwrap_used)]

mod support;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use alloy_consensus::{SignableTransaction, TxLegacy};
use alloy_primitives::{Address, Bytes, Signature, TxKind, U256, hex, keccak256};
use ipe_chain::kv::{MemoryStore, Store, Table};
use ipe_chain::{Bound, BuildOrder, BulkStep, Candidate, Feedback, Ledger};
use ipe_store::{DiskSettings, FjallStore};
use ipe_types::block::{Block, Transaction};
use ipe_types::crypto::NodeKey;
use ipe_types::header::{commit_hash, with_round_and_seals};
use ipe_types::spec::ChainSpec;
use support::{CHAIN_ID, TOKEN, cpu, genesis, key, validators};

const SENDERS: usize = 500;
const HOLDERS: usize = 5_000;
const NOW_MS: u64 = 1_900_000_000_000;

fn main() {
    let mut args = std::env::args().skip(1);
    let folder = std::path::PathBuf::from(args.next().expect("usage: erc20_import FOLDER [BLOCKS] [TRANSFERS]"));
    let blocks: usize = args.next().map_or(103, |n| n.parse().unwrap());
    let per_block: usize = args.next().map_or(612, |n| n.parse().unwrap());
    std::fs::create_dir_all(&folder).unwrap();
    let genesis = genesis(SENDERS);
    std::fs::write(folder.join("genesis.json"), &genesis).unwrap();
    let spec = Arc::new(ChainSpec::parse(&genesis).unwrap());
    let file = folder.join("blocks.rlp");
    let made = match std::fs::read(&file) {
        Ok(bytes) => split(&bytes),
        Err(_) => make(&spec, blocks, per_block),
    };
    std::fs::write(&file, made.concat()).unwrap();
    println!("{} blocks, {} bytes in {}", made.len(), made.iter().map(|block| block.len()).sum::<usize>(), file.display());
    for round in 0..3 {
        let memory = MemoryStore::new();
        import("memory", Arc::new(memory.clone()), &spec, &made);
        if round == 0 {
            print_bytes(&memory, &spec, made.len());
        }
        let path = folder.join(format!("store-{round}"));
        let _ = std::fs::remove_dir_all(&path);
        let disk: Arc<dyn Store> = Arc::new(FjallStore::open(&path, DiskSettings::default()).unwrap());
        import("disk", disk, &spec, &made);
    }
}

fn import(what: &str, store: Arc<dyn Store>, spec: &Arc<ChainSpec>, blocks: &[Bytes]) {
    let ledger = Ledger::open(Arc::clone(&store), Arc::clone(spec)).unwrap();
    let (start, cpu) = (Instant::now(), cpu());
    let mut transfers = 0;
    let source = blocks.iter().map(|block| Ok::<_, Infallible>(block.clone()));
    ledger
        .import_stream(source, NOW_MS, &mut |step| {
            if let BulkStep::Imported(imported) = step {
                transfers += imported.receipts.len();
            }
            true
        })
        .unwrap();
    let seconds = start.elapsed().as_secs_f64();
    let cpu = (support::cpu() - cpu).as_secs_f64();
    println!("{what}: {transfers} transfers in {seconds:.3} s, {:.0}/s; {cpu:.2} s of processor", transfers as f64 / seconds);
}

/// What the blocks left in each table: bytes of keys and values, before compression, without the genesis.
fn print_bytes(store: &MemoryStore, spec: &Arc<ChainSpec>, blocks: usize) {
    let genesis = MemoryStore::new();
    drop(Ledger::open(Arc::new(genesis.clone()), Arc::clone(spec)).unwrap());
    let transfers = store.len(Table::Transactions);
    let mut total = 0;
    for table in Table::ALL {
        let bytes = store.bytes(table).saturating_sub(genesis.bytes(table));
        let rows = store.len(table).saturating_sub(genesis.len(table));
        total += bytes;
        if rows > 0 {
            println!(
                "  {:<16} {rows:>7} rows {:>8.1} bytes a block {:>7.1} a transfer",
                table.name(),
                bytes as f64 / blocks as f64,
                bytes as f64 / transfers.max(1) as f64
            );
        }
    }
    println!("  all: {:.1} bytes a block, {:.1} a transfer", total as f64 / blocks as f64, total as f64 / transfers.max(1) as f64);
}

/// Concatenated block RLP.
fn split(mut bytes: &[u8]) -> Vec<Bytes> {
    let mut blocks = Vec::new();
    while !bytes.is_empty() {
        let mut rest = bytes;
        alloy_rlp::Header::decode_bytes(&mut rest, true).unwrap();
        let (block, after) = bytes.split_at(bytes.len() - rest.len());
        blocks.push(Bytes::copy_from_slice(block));
        bytes = after;
    }
    blocks
}

fn make(spec: &Arc<ChainSpec>, blocks: usize, per_block: usize) -> Vec<Bytes> {
    let ledger = Ledger::open(Arc::new(MemoryStore::new()), Arc::clone(spec)).unwrap();
    let validators = validators();
    let senders: Vec<NodeKey> = (0..SENDERS).map(key).collect();
    let mut nonces = vec![0u64; SENDERS];
    let mut count = 0usize;
    let mut made = Vec::new();
    for number in 1..=blocks {
        let mut candidates: Vec<Arc<Candidate>> = Vec::new();
        for _ in 0..per_block {
            let sender = count % SENDERS;
            candidates.push(Arc::new(transfer(&senders[sender], nonces[sender], count)));
            nonces[sender] += 1;
            count += 1;
        }
        let order = BuildOrder {
            timestamp: 0x58ee_40ba + number as u64,
            coinbase: validators[number % 4].address(),
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
        let built = ledger.build(&order, &mut next, Bound::NONE).unwrap();
        let header = &built.block().header;
        let hash = commit_hash(header, 0).unwrap();
        let seals = validators.iter().take(3).map(|key| key.sign(hash)).collect();
        let sealed = Block { header: with_round_and_seals(header, 0, seals).unwrap(), body: built.block().body.clone() };
        assert!(built.receipts().iter().all(alloy_consensus::TxReceipt::status));
        made.push(Bytes::from(sealed.to_rlp()));
        ledger.import(built, Arc::new(sealed)).unwrap();
    }
    made
}

fn transfer(from: &NodeKey, nonce: u64, count: usize) -> Candidate {
    let to = Address::from_word(keccak256(format!("holder {}", count.wrapping_mul(2_654_435_761) % HOLDERS)));
    let mut input = hex::decode("a9059cbb").unwrap();
    input.extend_from_slice(to.into_word().as_slice());
    input.extend_from_slice(&U256::from(count % 1000 + 1).to_be_bytes::<32>());
    let tx = TxLegacy {
        chain_id: Some(CHAIN_ID),
        nonce,
        gas_price: 0,
        gas_limit: 100_000,
        to: TxKind::Call(TOKEN.parse().unwrap()),
        value: U256::ZERO,
        input: input.into(),
    };
    let signature = from.sign(tx.signature_hash());
    let bytes = signature.as_slice();
    let signature = Signature::new(U256::from_be_slice(&bytes[..32]), U256::from_be_slice(&bytes[32..64]), bytes[64] == 1);
    let tx = Transaction::from(tx.into_signed(signature));
    Candidate { hash: *tx.tx_hash(), sender: from.address(), tx }
}
