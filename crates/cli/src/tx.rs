//! `ipe tx`: questions about a transaction.

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
}

pub fn run(command: TxCommand) -> Outcome {
    let TxCommand::Why { hash, rpc, json: as_json } = command;
    let hash: B256 = hash
        .parse()
        .map_err(|_| Failure::Usage(format!("hash: got {hash:?}, expected 0x and 64 hex digits")))?;
    let answer = crate::node::runtime()?.block_on(async {
        let client = Client::new(Duration::from_secs(10)).map_err(Failure::Failed)?;
        client.call(&rpc, "ipe_whyNotMined", json!([hash])).await.map_err(Failure::Failed)
    })?;
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
