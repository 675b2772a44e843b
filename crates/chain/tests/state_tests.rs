//! The public general state tests, through our executor and trie. They are not part of this project: the test reads them from
//! beside the project's folder and says "not run" where they are absent.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use alloy_eips::eip2718::Decodable2718;
use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, Log, U256, keccak256};
use alloy_rlp::Encodable;
use ipe_chain::env::rules;
use ipe_chain::execute::Execution;
use ipe_chain::kv::{Batch, MemoryStore, Store};
use ipe_chain::senders::recover_at;
use ipe_chain::state::{Account, AccountChange, State, StateChanges, StateSettings};
use ipe_chain::system::SystemCalls;
use ipe_chain::{Bound, Env};
use ipe_types::block::Transaction;
use ipe_types::fees::BlobRules;
use ipe_types::fork::Fork;
use ipe_types::header::Header;
use revm::bytecode::Bytecode;
use revm::context::BlockEnv;
use serde_json::Value;

/// Bounds that no test comes near: being bounded changes no result.
const FAR: Bound<'static> = Bound { left_us: &|| 1 << 40, tx_us: &|| 1 << 39, tx_gas: 1 << 60, memory: 1 << 30 };

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures/ethereum-tests/GeneralStateTests")
}

fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "json") {
            found.push(path);
        }
    }
}

fn number(value: &Value) -> U256 {
    value.as_str().map_or(U256::ZERO, |text| text.parse().unwrap())
}

fn small(value: &Value) -> u64 {
    number(value).saturating_to()
}

fn bytes(value: &Value) -> Bytes {
    alloy_primitives::hex::decode(value.as_str().unwrap()).unwrap().into()
}

/// The forks of the tests.
fn fork(name: &str) -> Option<Fork> {
    match name {
        "ConstantinopleFix" => Some(Fork::Petersburg),
        "EIP150" => Some(Fork::Tangerine),
        "EIP158" => Some(Fork::SpuriousDragon),
        other => Fork::from_name(other),
    }
}

fn pre_state(pre: &Value) -> StateChanges {
    let mut changes = StateChanges::default();
    for (address, account) in pre.as_object().unwrap() {
        let code = bytes(&account["code"]);
        let code = (!code.is_empty()).then(|| Bytecode::new_legacy(code));
        let slots = account["storage"].as_object().unwrap();
        let change = AccountChange {
            account: Some(Account {
                nonce: small(&account["nonce"]),
                balance: number(&account["balance"]),
                code_hash: code.as_ref().map_or(KECCAK256_EMPTY, Bytecode::hash_slow),
            }),
            wiped: false,
            slots: slots.iter().map(|(slot, value)| (slot.parse().unwrap(), number(value))).collect(),
            code,
        };
        changes.accounts.insert(address.parse().unwrap(), change);
    }
    changes
}

fn environment(fork: Fork, env: &Value) -> (Env, Header) {
    let header = Header {
        number: small(&env["currentNumber"]),
        timestamp: small(&env["currentTimestamp"]),
        gas_limit: small(&env["currentGasLimit"]),
        beneficiary: env["currentCoinbase"].as_str().unwrap().parse().unwrap(),
        ..Header::default()
    };
    let cfg = rules(fork);
    let mut block = BlockEnv {
        number: U256::from(header.number),
        beneficiary: header.beneficiary,
        timestamp: number(&env["currentTimestamp"]),
        gas_limit: header.gas_limit,
        basefee: if fork >= Fork::London { small(&env["currentBaseFee"]) } else { 0 },
        difficulty: number(&env["currentDifficulty"]),
        prevrandao: (fork >= Fork::Paris).then(|| B256::from(number(&env["currentRandom"]))),
        blob_excess_gas_and_price: None,
        slot_num: 0,
    };
    let blobs = BlobRules::of(fork, true);
    let mut env_of = Env { fork, cfg, block: block.clone(), blobs, system: SystemCalls::of_ethereum(fork), goquorum: None };
    if fork >= Fork::Cancun {
        block.set_blob_excess_gas_and_price(small(&env["currentExcessBlobGas"]), env_of.cfg.blob_base_fee_update_fraction());
        env_of.cfg.set_max_blobs_per_tx(blobs.most_in_transaction());
        env_of.block = block;
    }
    (env_of, header)
}

/// State root and logs hash after one case; an invalid transaction leaves the state as it was.
fn run(fork: Fork, test: &Value, case: &Value) -> (B256, B256, Option<String>) {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let state = State::open(Arc::clone(&store), StateSettings::default()).unwrap();
    let prepared = state.prepare(&pre_state(&test["pre"])).unwrap();
    let before = prepared.root();
    let mut batch = Batch::new();
    state.apply(0, &prepared, &mut batch).unwrap();
    store.commit(batch).unwrap();
    state.committed(0, &prepared).unwrap();

    let no_logs = keccak256([alloy_rlp::EMPTY_LIST_CODE]);
    let invalid = |reason: String| (before, no_logs, Some(reason));
    let raw = bytes(&case["txbytes"]);
    let tx = match Transaction::decode_2718(&mut raw.as_ref()) {
        Ok(tx) => tx,
        Err(error) => return invalid(error.to_string()),
    };
    let sender: Address = match recover_at(fork, &tx) {
        Ok(sender) => sender,
        Err(error) => return invalid(error.to_string()),
    };
    let (env, header) = environment(fork, &test["env"]);
    let head = state.head();
    let hashes = |number: u64| Ok(keccak256(number.to_string()));
    let root_of = |changes: &StateChanges| Ok(state.prepare(changes).unwrap().root());
    let mut execution = Execution::begin(env, &header, &head, &hashes, &root_of, FAR).unwrap();
    if let Err(error) = execution.transact(&tx, sender) {
        assert!(error.is_verdict(), "{error}");
        return invalid(error.to_string());
    }
    let outcome = execution.finish(U256::ZERO).unwrap();
    let logs: Vec<Log> = outcome.receipts.iter().flat_map(alloy_consensus::TxReceipt::logs).cloned().collect();
    let mut encoded = Vec::new();
    logs.encode(&mut encoded);
    (state.prepare(&outcome.changes).unwrap().root(), keccak256(encoded), None)
}

#[test]
fn the_public_state_tests_pass() {
    if !root().exists() {
        println!("not run: {} is absent", root().display());
        return;
    }
    let mut all = Vec::new();
    files(&root(), &mut all);
    all.sort();
    let results: Vec<(usize, usize, Vec<String>)> = rayon::prelude::ParallelIterator::collect(
        rayon::prelude::ParallelIterator::map(rayon::prelude::IntoParallelRefIterator::par_iter(&all), |path| run_file(path)),
    );
    let passed: usize = results.iter().map(|result| result.0).sum();
    let skipped: usize = results.iter().map(|result| result.1).sum();
    let failed: Vec<&String> = results.iter().flat_map(|result| &result.2).collect();
    println!("{passed} passed, {skipped} not run, {} failed", failed.len());
    let shown: Vec<&str> = failed.iter().take(40).map(|line| line.as_str()).collect();
    assert!(failed.is_empty(), "{} failed:\n{}", failed.len(), shown.join("\n"));
    assert!(passed > 7000, "only {passed} cases found");
}

fn run_file(path: &Path) -> (usize, usize, Vec<String>) {
    let text = std::fs::read_to_string(path).unwrap();
    let tests: Value = serde_json::from_str(&text).unwrap();
    let (mut passed, mut skipped, mut failed) = (0, 0, Vec::new());
    for (name, test) in tests.as_object().unwrap() {
        for (fork_name, cases) in test["post"].as_object().unwrap() {
            for case in cases.as_array().unwrap() {
                let Some(fork) = fork(fork_name) else {
                    skipped += 1;
                    continue;
                };
                let (root, logs, rejected) = run(fork, test, case);
                let expected: B256 = case["hash"].as_str().unwrap().parse().unwrap();
                let expected_logs: B256 = case["logs"].as_str().unwrap().parse().unwrap();
                let should_fail = case.get("expectException").is_some();
                if root == expected && logs == expected_logs && rejected.is_some() == should_fail {
                    passed += 1;
                } else {
                    failed.push(format!(
                        "{name} {fork_name} {}: root {root} expected {expected}, rejected {rejected:?}",
                        case["indexes"]
                    ));
                }
            }
        }
    }
    (passed, skipped, failed)
}
