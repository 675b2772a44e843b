//! The public transaction tests: a transaction is valid under a fork exactly when our decoder, our recovery and our executor
//! take it from a sender that has the nonce and all the money. Read from beside the project's folder; "not run" where absent.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use alloy_eips::eip2718::Decodable2718;
use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, U256};
use ipe_chain::env::spec_id;
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
use revm::context::{BlockEnv, CfgEnv};
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures/ethereum-tests/TransactionTests")
}

fn fork(name: &str) -> Fork {
    match name {
        "ConstantinopleFix" => Fork::Petersburg,
        "EIP150" => Fork::Tangerine,
        "EIP158" => Fork::SpuriousDragon,
        other => Fork::from_name(other).unwrap_or_else(|| panic!("unknown fork {other}")),
    }
}

/// Sender and hash, or why the transaction is none.
fn judge(fork: Fork, raw: &[u8]) -> Result<(Address, B256), String> {
    let mut rest = raw;
    let tx = Transaction::decode_2718(&mut rest).map_err(|error| error.to_string())?;
    if !rest.is_empty() {
        return Err("bytes behind the transaction".to_owned());
    }
    let sender = recover_at(fork, &tx).map_err(|error| error.to_string())?;
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let state = State::open(Arc::clone(&store), StateSettings::default()).unwrap();
    let mut changes = StateChanges::default();
    let rich = Account { nonce: tx.nonce(), balance: U256::MAX >> 1, code_hash: KECCAK256_EMPTY };
    changes.accounts.insert(sender, AccountChange { account: Some(rich), ..AccountChange::default() });
    let prepared = state.prepare(&changes).unwrap();
    let mut batch = Batch::new();
    state.apply(0, &prepared, &mut batch).unwrap();
    store.commit(batch).unwrap();
    state.committed(0, &prepared).unwrap();

    let header = Header { number: 1, gas_limit: u64::MAX, ..Header::default() };
    let mut block = BlockEnv {
        number: U256::from(1),
        gas_limit: u64::MAX,
        prevrandao: (fork >= Fork::Paris).then_some(B256::ZERO),
        blob_excess_gas_and_price: None,
        ..BlockEnv::default()
    };
    let cfg = CfgEnv::new_with_spec(spec_id(fork));
    if fork >= Fork::Cancun {
        block.set_blob_excess_gas_and_price(0, cfg.blob_base_fee_update_fraction());
    }
    let head = state.head();
    let hashes = |_| Ok(B256::ZERO);
    let root_of = |changes: &StateChanges| Ok(state.prepare(changes).unwrap().root());
    let env = Env { fork, cfg, block, blobs: BlobRules::of(fork, true), system: SystemCalls::of_ethereum(fork), goquorum: None };
    let mut execution = Execution::begin(env, &header, &head, &hashes, &root_of, Bound::NONE).unwrap();
    execution.transact(&tx, sender).map_err(|error| error.to_string())?;
    Ok((sender, *tx.tx_hash()))
}

/// Valid only for a sender with more than 2^128 wei to pay a unit of gas, or with 2^256 − 1 wei and more: no chain has it, and
/// the decoder reads gas prices of at most 128 bits.
const BEYOND_ALL_MONEY: [&str; 4] =
    ["V_equals38", "GasLimitPriceProductOverflowtMinusOne", "TransactionWithHighGasPrice", "TransactionWithHighValue"];

#[test]
fn the_public_transaction_tests_pass() {
    if !root().exists() {
        println!("not run: {} is absent", root().display());
        return;
    }
    let (mut passed, mut failed) = (0, Vec::new());
    for folder in std::fs::read_dir(root()).unwrap() {
        for file in std::fs::read_dir(folder.unwrap().path()).unwrap() {
            let tests: Value = serde_json::from_str(&std::fs::read_to_string(file.unwrap().path()).unwrap()).unwrap();
            for (name, test) in tests.as_object().unwrap() {
                let Ok(raw) = alloy_primitives::hex::decode(test["txbytes"].as_str().unwrap()) else { continue };
                let raw = Bytes::from(raw);
                for (fork_name, expected) in test["result"].as_object().unwrap() {
                    if BEYOND_ALL_MONEY.contains(&name.as_str()) && expected.get("exception").is_none() {
                        continue;
                    }
                    let ours = judge(fork(fork_name), &raw);
                    let same = match (&ours, expected["exception"].as_str()) {
                        (Err(_), Some(_)) => true,
                        (Ok((sender, hash)), None) => {
                            expected["sender"].as_str().is_some_and(|text| text.parse() == Ok(*sender))
                                && expected["hash"].as_str().is_some_and(|text| text.parse() == Ok(*hash))
                        }
                        _ => false,
                    };
                    if same {
                        passed += 1;
                    } else {
                        failed.push(format!("{name} {fork_name}: ours {ours:?}, expected {expected}"));
                    }
                }
            }
        }
    }
    println!("{passed} passed, {} failed", failed.len());
    assert!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n"));
    assert!(passed > 2000, "only {passed} cases found");
}
