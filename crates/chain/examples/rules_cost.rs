//! What account rules on chain cost: the same blocks built and imported with this project's contracts in force, 1,000 accounts
//! registered, and without, in turns. `cargo run --workspace --example rules_cost [BLOCKS] [TRANSACTIONS A BLOCK]`
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

#[path = "../tests/support/order.rs"]
mod order;

use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy_consensus::TxLegacy;
use alloy_primitives::{Address, B256, TxKind, U256};
use alloy_sol_types::{SolCall, sol};
use ipe_chain::kv::MemoryStore;
use ipe_chain::{Asked, Candidate, Ledger};
use ipe_types::block::Block;
use ipe_types::crypto::NodeKey;
use ipe_types::extra::ExtraData;
use ipe_types::spec::ChainSpec;
use order::{build, import, key, seal, signed};
use serde_json::{Value, json};

sol! {
    function addLocalAccount(address account, bytes32 roleId, bytes32 dataHash) external;
}

const ACCOUNTS: usize = 1_000;
const USER: &str = "0x14823911f2da1b49f045a0929a60b8c1f2a7fc8c06c7284ca3e8ab4e193a08c8";
const TURNS: usize = 5;

fn account(number: usize) -> NodeKey {
    let mut secret = [0x33; 32];
    secret[28..].copy_from_slice(&(number as u32).to_be_bytes());
    NodeKey::from_bytes(secret).unwrap()
}

fn ledger(fixture: &Value, ruled: bool) -> Ledger {
    let ipe = if ruled { json!({ "permissioning": { "accounts": fixture["contracts"]["AccountIngress"] } }) } else { json!({}) };
    let genesis = json!({
        "config": { "chainId": 5, "berlinBlock": 0, "qbft": { "blockperiodseconds": 1 }, "ipe": ipe },
        "gasLimit": "0x17d78400", "difficulty": "0x1", "timestamp": "0x64000000",
        "extraData": ExtraData::genesis(vec![key(1).address()]).encode(),
        "alloc": fixture["alloc"],
    });
    Ledger::open(Arc::new(MemoryStore::new()), Arc::new(ChainSpec::parse(&genesis.to_string()).unwrap())).unwrap()
}

fn transaction(from: &NodeKey, nonce: u64, to: Address, input: Vec<u8>, gas_limit: u64) -> Arc<Candidate> {
    signed(from, TxLegacy { chain_id: Some(5), nonce, gas_limit, to: TxKind::Call(to), input: input.into(), ..TxLegacy::default() })
}

/// Time of importing these blocks into a ledger that has those of the registration already; and of what a proposer does with the
/// same transactions: recover and ask when they are heard, build, write.
fn run(
    fixture: &Value,
    ruled: bool,
    first: &[Arc<Block>],
    blocks: &[Arc<Block>],
    candidates: &[Vec<Arc<Candidate>>],
) -> [Duration; 2] {
    let importing = ledger(fixture, ruled);
    first.iter().for_each(|block| import(&importing, block).unwrap());
    let began = Instant::now();
    blocks.iter().for_each(|block| import(&importing, block).unwrap());
    let imported = began.elapsed();
    let building = ledger(fixture, ruled);
    first.iter().for_each(|block| import(&building, block).unwrap());
    let began = Instant::now();
    for candidates in candidates {
        for candidate in candidates {
            Candidate::recover(candidate.tx.clone()).unwrap();
            assert!(building.may_send(candidate).unwrap().allows());
        }
        let (built, _) = build(&building, candidates);
        assert_eq!(built.block().body.transactions.len(), candidates.len());
        let sealed = seal(built.block(), 0, [1]);
        building.import(built, sealed).unwrap();
    }
    assert_eq!(building.rules_report(Asked::Accounts).evaluated > 0, ruled);
    [imported, began.elapsed()]
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<usize>().unwrap());
    let (count, each) = (arguments.next().unwrap_or(40), arguments.next().unwrap_or(500));
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/permissioned/alloc.json");
    let fixture: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let rules: Address = serde_json::from_value(fixture["contracts"]["AccountRulesV2Impl"].clone()).unwrap();
    let made = ledger(&fixture, true);
    let mut first = Vec::new();
    for some in (0..ACCOUNTS).collect::<Vec<_>>().chunks(500) {
        let register: Vec<_> = some
            .iter()
            .map(|number| {
                let call = addLocalAccountCall {
                    account: account(*number).address(),
                    roleId: USER.parse().unwrap(),
                    dataHash: B256::repeat_byte(1),
                };
                transaction(&key(2), *number as u64, rules, call.abi_encode(), 600_000)
            })
            .collect();
        let (built, _) = build(&made, &register);
        assert!(built.receipts().iter().all(alloy_consensus::TxReceipt::status), "an account was not registered");
        assert_eq!(built.block().body.transactions.len(), some.len());
        import(&made, built.block()).unwrap();
        first.push(Arc::clone(built.block()));
    }
    // Payments, and calls with the 68 bytes of a token's transfer.
    let keys: Vec<NodeKey> = (0..ACCOUNTS).map(account).collect();
    let mut nonces = vec![0u64; ACCOUNTS];
    let (mut blocks, mut candidates) = (Vec::new(), Vec::new());
    for block in 0..count {
        let sent: Vec<_> = (0..each)
            .map(|index| {
                let number = (block * each + index) % ACCOUNTS;
                let nonce = nonces[number];
                nonces[number] += 1;
                let words = U256::from(block * each + index).to_be_bytes::<32>().repeat(2);
                let input = if index % 2 == 0 { Vec::new() } else { [&[1; 4][..], &words].concat() };
                transaction(&keys[number], nonce, Address::repeat_byte(0x70 + (index % 4) as u8), input, 30_000)
            })
            .collect();
        let (built, _) = build(&made, &sent);
        assert_eq!(built.block().body.transactions.len(), each);
        import(&made, built.block()).unwrap();
        blocks.push(Arc::clone(built.block()));
        candidates.push(sent);
    }
    let mut best = [[Duration::MAX; 2]; 2];
    for _ in 0..TURNS {
        for ruled in [false, true] {
            let took = run(&fixture, ruled, &first, &blocks, &candidates);
            let best = &mut best[usize::from(ruled)];
            *best = [best[0].min(took[0]), best[1].min(took[1])];
        }
    }
    let transactions = (count * each) as f64;
    for (index, what) in ["import", "admit, build and write"].into_iter().enumerate() {
        let speed = |ruled: usize| transactions / best[ruled][index].as_secs_f64();
        let cost = 100.0 * (1.0 - speed(1) / speed(0));
        println!("{what}: {:.0} tx/s without rules, {:.0} with them: {cost:.1} % (best of {TURNS})", speed(0), speed(1));
    }
}
