//! `ipe tx`: questions about a transaction, and an end to one.

use crate::failure::{Failure, Outcome};
use crate::rpc::Client;
use alloy_primitives::B256;
use clap::Subcommand;
use serde_json::{Value, json};
use std::time::Duration;

#[derive(Subcommand)]
pub enum TxCommand {
    /// Say why a transaction is not mined, or in which block it is.
    Why {
        /// Transaction hash, 0x and 64 hex digits.
        hash: String,
        /// JSON-RPC address of a node.
        #[arg(long, value_name = "URL", env = "IPE_RPC_URL", default_value = "http://127.0.0.1:8545")]
        rpc: String,
        /// Print the node's answer as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Drop a waiting transaction from a node, which then does not take it again.
    ///
    /// Each node has a pool of its own: drop it at each of your validators, boots and writers. The group MINER of JSON-RPC has
    /// to be on.
    Drop {
        /// Transaction hash, 0x and 64 hex digits.
        hash: String,
        /// JSON-RPC address of a node.
        #[arg(long, value_name = "URL", env = "IPE_RPC_URL", default_value = "http://127.0.0.1:8545")]
        rpc: String,
    },
}

pub fn run(command: TxCommand) -> Outcome {
    match command {
        TxCommand::Why { hash, rpc, json } => why(&hash, &rpc, json),
        TxCommand::Drop { hash, rpc } => drop(&hash, &rpc),
    }
}

fn ask(hash: &str, rpc: &str, method: &str) -> Result<Value, Failure> {
    let hash: B256 = hash.parse().map_err(|_| Failure::Usage(format!("hash: got {hash:?}, expected 0x and 64 hex digits")))?;
    crate::node::runtime()?.block_on(async {
        let client = Client::new(Duration::from_secs(10)).map_err(Failure::Failed)?;
        client.call(rpc, method, json!([hash])).await.map_err(Failure::Failed)
    })
}

fn drop(hash: &str, rpc: &str) -> Outcome {
    match ask(hash, rpc, "miner_dropTransaction")? {
        Value::Bool(true) => println!("{hash} is dropped; this node does not take it again until its next start"),
        _ => println!("{hash} did not wait here; this node does not take it until its next start"),
    }
    Ok(())
}

fn why(hash: &str, rpc: &str, as_json: bool) -> Outcome {
    let answer = ask(hash, rpc, "ipe_whyNotMined")?;
    if as_json {
        println!("{answer:#}");
        return Ok(());
    }
    // The node answers with a sentence in two languages.
    let sentence = ["english", "why", "reason"].iter().find_map(|key| answer.get(key).and_then(Value::as_str));
    match sentence {
        Some(sentence) => println!("{sentence}"),
        None => println!("{answer}"),
    }
    Ok(())
}
