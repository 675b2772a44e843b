//! Whether nodes hold the same chain: blocks with all their roots, and every receipt, as each tells them.

use crate::network::{Network, Node};
use crate::rpc;
use serde_json::{Value, json};

/// Blocks or receipts asked for at once; small enough for every client's default batch limit.
const BATCH: usize = 200;

/// Fields of a block that all clients name alike, those of later forks where a block has them. Extra data is not among them: two nodes may hold other seals.
const BLOCK: [&str; 18] = [
    "number",
    "hash",
    "parentHash",
    "stateRoot",
    "receiptsRoot",
    "transactionsRoot",
    "logsBloom",
    "gasUsed",
    "gasLimit",
    "timestamp",
    "miner",
    "transactions",
    "baseFeePerGas",
    "withdrawalsRoot",
    "blobGasUsed",
    "excessBlobGas",
    "parentBeaconBlockRoot",
    "requestsHash",
];

/// Fields of a receipt that all clients name alike.
const RECEIPT: [&str; 8] =
    ["transactionHash", "blockHash", "transactionIndex", "status", "gasUsed", "cumulativeGasUsed", "contractAddress", "logs"];

/// Compares blocks 0 to `height` of all these nodes with the first one's; gives the number of transactions.
pub fn same_chain(network: &Network, nodes: &[usize], height: u64) -> Result<usize, String> {
    let Some((&first, others)) = nodes.split_first() else { return Ok(0) };
    let first = &network.nodes[first];
    let expected = blocks(first, height)?;
    let hashes: Vec<Value> =
        expected.iter().flat_map(|block| block["transactions"].as_array().cloned().unwrap_or_default()).collect();
    let expected_receipts = receipts(first, &hashes)?;
    for &at in others {
        let node = &network.nodes[at];
        alike(first, node, &expected, &blocks(node, height)?)?;
        alike(first, node, &expected_receipts, &receipts(node, &hashes)?)?;
    }
    Ok(hashes.len())
}

fn alike(first: &Node, node: &Node, expected: &[Value], got: &[Value]) -> Result<(), String> {
    for (expected, got) in expected.iter().zip(got) {
        if expected != got {
            let (name, other) = (&node.place.name, &first.place.name);
            return Err(format!("{name} ({}) has {got}\n{other} ({}) has {expected}", node.client.name(), first.client.name()));
        }
    }
    Ok(())
}

fn blocks(node: &Node, height: u64) -> Result<Vec<Value>, String> {
    let heights: Vec<u64> = (0..=height).collect();
    let question = |height: &u64| ("eth_getBlockByNumber", json!([format!("{height:#x}"), false]));
    many(node, heights.iter().map(question).collect(), &BLOCK)
}

fn receipts(node: &Node, hashes: &[Value]) -> Result<Vec<Value>, String> {
    many(node, hashes.iter().map(|hash| ("eth_getTransactionReceipt", json!([hash]))).collect(), &RECEIPT)
}

fn many(node: &Node, questions: Vec<(&'static str, Value)>, fields: &[&str]) -> Result<Vec<Value>, String> {
    let mut answers = Vec::with_capacity(questions.len());
    for part in questions.chunks(BATCH) {
        let part = rpc::ask_all(node.place.http, part).map_err(|why| format!("{}: {why}", node.place.name))?;
        for mut answer in part {
            if answer.is_null() {
                return Err(format!("{} lacks a block or receipt that another node has", node.place.name));
            }
            let mut kept: Value = fields.iter().map(|field| ((*field).to_owned(), answer[*field].take())).collect();
            for log in kept["logs"].as_array_mut().into_iter().flatten() {
                *log = json!([log["address"], log["topics"], log["data"], log["logIndex"]]);
            }
            answers.push(kept);
        }
    }
    Ok(answers)
}
