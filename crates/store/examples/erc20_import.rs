//! How fast a file of ERC-20 transfers imports: makes 103 blocks of some 610 transfers (or what is asked), sealed by four
//! validators, writes `genesis.json` and `blocks.rlp` into a folder (or takes them from there), and imports the file into memory and into a new disk store.
//!
//! `cargo run --release -p ipe-store --example erc20_import -- FOLDER [BLOCKS] [TRANSFERS PER BLOCK]`
#![allow(clippy::unwrap_used)]

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use alloy_consensus::{SignableTransaction, TxLegacy};
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256, hex, keccak256};
use ipe_chain::kv::{MemoryStore, Store, Table};
use ipe_chain::{Bound, BuildOrder, BulkStep, Candidate, Feedback, Ledger};
use ipe_store::{DiskSettings, FjallStore};
use ipe_types::block::{Block, Transaction};
use ipe_types::crypto::NodeKey;
use ipe_types::extra::ExtraData;
use ipe_types::header::{commit_hash, with_round_and_seals};
use ipe_types::spec::ChainSpec;

const CHAIN_ID: u64 = 1337;
const SENDERS: usize = 500;
const HOLDERS: usize = 5_000;
const NOW_MS: u64 = 1_900_000_000_000;

fn key(n: usize) -> NodeKey {
    NodeKey::from_bytes(keccak256(format!("sender {n}")).0).unwrap()
}

/// Code of a token whose balances are a mapping at slot 0: the caller's balance down, the receiver's up, the event, true. It
/// reads every call as `transfer(address,uint256)`.
fn token() -> Vec<u8> {
    const BODY: [&str; 8] = [
        "336000526040600020", // slot of the caller's balance                 [from]
        "8054602435",         // balance and amount                           [from, balance, amount]
        "80821060ff57",       // revert when balance < amount                 (destination filled in below)
        "8091038255",         // store balance - amount                       [from, amount]
        "60043560005260406000208054820190" , // slot and new balance of `to`  [from, amount, balance + amount, to]
        "55600052",           // store it; amount to memory                   [from]
        "600435337fddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef60206000a3", // event
        "600160005260206000f3",
    ];
    let mut code = hex::decode(BODY.concat()).unwrap();
    let revert = code.len() as u8;
    code.extend(hex::decode("5b600080fd").unwrap());
    let at = code.windows(2).position(|pair| pair == [0x60, 0xff]).unwrap();
    code[at + 1] = revert;
    code
}

fn balance_slot(of: Address) -> B256 {
    keccak256([of.into_word().0, [0u8; 32]].concat())
}

fn main() {
    let mut args = std::env::args().skip(1);
    let folder = std::path::PathBuf::from(args.next().expect("usage: erc20_import FOLDER [BLOCKS] [TRANSFERS]"));
    let blocks: usize = args.next().map_or(103, |n| n.parse().unwrap());
    let per_block: usize = args.next().map_or(612, |n| n.parse().unwrap());
    std::fs::create_dir_all(&folder).unwrap();
    let genesis = genesis();
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
    let (start, cpu) = (Instant::now(), cpu_seconds());
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
    let cpu = cpu_seconds() - cpu;
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

/// Seconds of processor time of this process so far, user and system, where the system tells them.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = stat.rsplit(')').next().unwrap_or_default();
    after.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
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

fn genesis() -> String {
    let validators: Vec<Address> = (0..4).map(|n| key(1_000_000 + n).address()).collect();
    let extra = ExtraData::genesis(sorted(validators)).encode();
    let token_storage: Vec<String> = (0..SENDERS)
        .map(|n| format!("\"{}\":\"0xffffffffffff\"", balance_slot(key(n).address())))
        .collect();
    format!(
        r#"{{"config":{{"chainId":{CHAIN_ID},"berlinBlock":0,"contractSizeLimit":2147483647,"qbft":{{"blockperiodseconds":1,"epochlength":30000,"requesttimeoutseconds":2}}}},
"nonce":"0x0","timestamp":"0x58ee40ba","gasLimit":"0x5f5e100","difficulty":"0x1","mixHash":"0x63746963616c2062797a616e74696e65206661756c7420746f6c6572616e6365",
"coinbase":"0x0000000000000000000000000000000000000000","extraData":"{extra}",
"alloc":{{"0x00000000000000000000000000000000000e2c20":{{"balance":"0","code":"0x{}","storage":{{{}}}}}}}}}"#,
        hex::encode(token()),
        token_storage.join(",")
    )
}

fn sorted(mut addresses: Vec<Address>) -> Vec<Address> {
    addresses.sort();
    addresses
}

fn make(spec: &Arc<ChainSpec>, blocks: usize, per_block: usize) -> Vec<Bytes> {
    let ledger = Ledger::open(Arc::new(MemoryStore::new()), Arc::clone(spec)).unwrap();
    let validators: Vec<NodeKey> = (0..4).map(|n| key(1_000_000 + n)).collect();
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
        assert!(built.receipts().iter().all(|receipt| alloy_consensus::TxReceipt::status(receipt)));
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
        to: TxKind::Call("0x00000000000000000000000000000000000e2c20".parse().unwrap()),
        value: U256::ZERO,
        input: input.into(),
    };
    let signature = from.sign(tx.signature_hash());
    let bytes = signature.as_slice();
    let signature = Signature::new(U256::from_be_slice(&bytes[..32]), U256::from_be_slice(&bytes[32..64]), bytes[64] == 1);
    let tx = Transaction::Legacy(tx.into_signed(signature));
    Candidate { hash: *tx.tx_hash(), sender: from.address(), tx }
}
