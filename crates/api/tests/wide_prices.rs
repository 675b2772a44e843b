//! Prices of 2^128 wei and more over JSON-RPC: sent, waiting, in a block, traced, simulated.
#![allow(clippy::unwrap_used, clippy::panic)]

use alloy_consensus::{TxEip1559, TxLegacy};
use alloy_eips::eip2718::Encodable2718 as _;
use alloy_primitives::{Bytes, TxKind, U256, hex};
use ipe_api::conformance::dispatcher;
use ipe_api::{Api, Groups, Release};
use ipe_types::Transaction;
use ipe_types::fork::Fork;
use ipe_types::transaction::{Prices, Unsigned};
use ipe_variants::chain::{CHAIN_ID, Chain, FIRST, Fees, Plan, WHALE, genesis, key, sealed, signature};
use serde_json::{Value, json};
use std::sync::Arc;

/// Keeps GASPRICE in slot 0.
const KEEPS: &[u8] = &[0x3a, 0x60, 0, 0x55, 0];
/// Answers GASPRICE.
const TELLS: &str = "0x3a60005260206000f3";

fn signed(unsigned: impl Into<Unsigned>, fee: U256, tip: Option<U256>) -> Transaction {
    Transaction::sign(unsigned.into(), Prices { fee, tip, blob: None }, |hash| signature(WHALE, hash))
}

fn legacy(nonce: u64) -> TxLegacy {
    let (to, input) = (TxKind::Create, Bytes::from_static(KEEPS));
    TxLegacy { chain_id: Some(CHAIN_ID), nonce, gas_limit: 100_000, to, input, ..TxLegacy::default() }
}

fn dynamic(nonce: u64) -> TxEip1559 {
    let (to, input) = (TxKind::Create, Bytes::from_static(KEEPS));
    TxEip1559 { chain_id: CHAIN_ID, nonce, gas_limit: 100_000, to, input, ..TxEip1559::default() }
}

/// Two such transactions in block 2.
fn api() -> (Arc<Api>, [Transaction; 2], u64) {
    let chain = Chain::new(genesis(Plan { fork: Fork::London, fees: Fees::Market, config: "", qbft: "", alloc: "" }), Fees::Market);
    let wide = U256::from(1) << 128;
    let transactions = [signed(legacy(0), wide, None), signed(dynamic(1), wide << 8, Some(wide))];
    let (block, all) = chain.built(transactions.to_vec());
    assert!(all && block.header.timestamp == FIRST + 1);
    let base_fee = block.header.base_fee_per_gas.unwrap();
    let blocks = [chain.first.to_vec(), sealed(block, 0).to_rlp()].concat();
    (dispatcher(&chain.genesis, &blocks, &[], Release::Besu26).unwrap(), transactions, base_fee)
}

fn ask(api: &Arc<Api>, method: &str, params: Value) -> Value {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
    let answer = api.answer_here(body.as_bytes(), Groups::all(), 1);
    let answer: Value = serde_json::from_slice(&answer.body).unwrap();
    assert!(answer.get("error").is_none(), "{method}: {answer}");
    answer["result"].clone()
}

fn quantity(value: U256) -> Value {
    json!(format!("{value:#x}"))
}

#[test]
fn a_mined_one_is_told_with_its_whole_price() {
    let (api, [legacy, dynamic], base_fee) = api();
    let wide = U256::from(1) << 128;
    let paid = wide + U256::from(base_fee);
    let told = ask(&api, "eth_getTransactionByHash", json!([legacy.tx_hash()]));
    assert_eq!(told["gasPrice"], quantity(wide));
    let told = ask(&api, "eth_getTransactionByHash", json!([dynamic.tx_hash()]));
    assert_eq!(told["gasPrice"], quantity(paid));
    assert_eq!((&told["maxFeePerGas"], &told["maxPriorityFeePerGas"]), (&quantity(wide << 8), &quantity(wide)));
    assert_eq!(told["from"], json!(key(WHALE).address()));
    let block = ask(&api, "eth_getBlockByNumber", json!(["0x2", true]));
    assert_eq!(block["transactions"][1]["maxFeePerGas"], quantity(wide << 8));
    for (tx, price) in [(&legacy, wide), (&dynamic, paid)] {
        let receipt = ask(&api, "eth_getTransactionReceipt", json!([tx.tx_hash()]));
        assert_eq!((&receipt["effectiveGasPrice"], &receipt["status"]), (&quantity(price), &json!("0x1")));
        let kept = ask(&api, "eth_getStorageAt", json!([receipt["contractAddress"], "0x0", "latest"]));
        assert_eq!(kept, json!(format!("0x{price:064x}")), "GASPRICE as it was executed");
        let traced = ask(&api, "debug_traceTransaction", json!([tx.tx_hash()]));
        let steps = traced["structLogs"].as_array().unwrap();
        assert_eq!(steps[1]["op"], "PUSH1");
        let top = steps[1]["stack"][0].as_str().unwrap().trim_start_matches("0x");
        assert_eq!(U256::from_str_radix(top, 16).unwrap(), price, "GASPRICE as it is traced");
        let parity = ask(&api, "trace_transaction", json!([tx.tx_hash()]));
        assert_eq!(parity[0]["type"], "create");
    }
    let raw = ask(&api, "debug_getRawTransaction", json!([dynamic.tx_hash()]));
    assert_eq!(raw, json!(format!("0x{}", hex::encode(dynamic.encoded_2718()))));
    let history = ask(&api, "eth_feeHistory", json!(["0x1", "0x2", [0, 100]]));
    assert_eq!(history["reward"][0], json!([quantity(wide - U256::from(base_fee)), quantity(wide)]));
    let suggested = ask(&api, "eth_gasPrice", json!([]));
    assert_eq!(suggested, quantity(U256::from(500_000_000_000u64)), "the suggestion has its bound");
}

#[test]
fn one_that_is_sent_waits_with_its_whole_price() {
    let (api, ..) = api();
    let wide = U256::from(3) << 200;
    let tx = signed(dynamic(2), wide, Some(U256::from(7)));
    // The node's own bound on fees, and what gas may cost.
    let send = |tx: &Transaction| {
        let params = json!([format!("0x{}", hex::encode(tx.encoded_2718()))]);
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "eth_sendRawTransaction", "params": params}).to_string();
        let answer: Value = serde_json::from_slice(&api.answer_here(body.as_bytes(), Groups::all(), 1).body).unwrap();
        answer
    };
    assert_eq!(send(&tx)["error"]["message"], "Transaction fee cap exceeded");
    let mut rules = *api.backend.pool.lock().rules();
    rules.fee_cap = None;
    *api.backend.pool.lock() = ipe_engine::pool::Pool::new(ipe_engine::pool::Settings::default(), rules, 2);
    assert_eq!(send(&tx)["result"], json!(tx.tx_hash()));
    let told = ask(&api, "eth_getTransactionByHash", json!([tx.tx_hash()]));
    assert_eq!((&told["maxFeePerGas"], &told["blockHash"]), (&quantity(wide), &Value::Null));
    let refused = send(&signed(legacy(2), U256::MAX, None));
    assert!(refused["error"]["message"].as_str().unwrap().starts_with("Upfront gas cost cannot exceed 2^256 wei"), "{refused}");
}

#[test]
fn one_that_is_only_asked_about_is_executed_with_its_whole_price() {
    let (api, ..) = api();
    let wide = U256::from(5) << 150;
    let from = key(WHALE).address();
    let call = json!({"from": from, "data": TELLS, "gasPrice": quantity(wide), "gas": "0x186a0"});
    assert_eq!(ask(&api, "eth_call", json!([call, "latest"])), json!(format!("0x{wide:064x}")));
    let call =
        json!({"from": from, "data": TELLS, "maxFeePerGas": quantity(wide), "maxPriorityFeePerGas": "0x0", "gas": "0x186a0"});
    let base_fee = ask(&api, "eth_getBlockByNumber", json!(["latest", false]))["baseFeePerGas"].clone();
    let told = ask(&api, "eth_call", json!([call, "latest"]));
    assert_eq!(told.as_str().unwrap().trim_start_matches("0x").trim_start_matches('0'), &base_fee.as_str().unwrap()[2..]);
    let call = json!({"from": from, "data": TELLS, "gasPrice": quantity(wide)});
    let gas = ask(&api, "eth_estimateGas", json!([call, "latest"]));
    assert!(u64::from_str_radix(&gas.as_str().unwrap()[2..], 16).unwrap() > 53_000);
    let call = json!({"from": from, "input": TELLS, "maxFeePerGas": quantity(wide), "maxPriorityFeePerGas": quantity(wide), "gas": "0x186a0"});
    let asked = json!([{"blockStateCalls": [{"calls": [call]}], "returnFullTransactions": true}, "latest"]);
    let told = ask(&api, "eth_simulateV1", asked);
    assert_eq!(told[0]["transactions"][0]["maxFeePerGas"], quantity(wide));
}
