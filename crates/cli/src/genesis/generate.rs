//! `ipe genesis build --from`: a network from the input of Besu's `operator generate-blockchain-config`.

use crate::failure::{Failure, Outcome, print};
use alloy_primitives::hex;
use ipe_node::config::{MAX_GENESIS_BYTES, read_text};
use ipe_node::key_file;
use ipe_types::crypto::address_of;
use ipe_types::spec::ChainSpec;
use ipe_types::{Address, Bytes, ExtraData, NodeId, NodeKey};
use serde_json::{Map, Value};
use std::fmt::Write as _;
use std::path::Path;

/// Most nodes of one file: QBFT does not carry more validators.
const MOST_NODES: u64 = 1_000;

/// A node whose address goes into the extra data; the key is absent when only its public part was given.
struct Node {
    id: NodeId,
    key: Option<NodeKey>,
}

pub fn run(from: &Path, out: &Path) -> Outcome {
    let wrong = |problem: String| Failure::Usage(format!("{}: {problem}", from.display()));
    let text = read_text(from, MAX_GENESIS_BYTES)?;
    let input: Value = serde_json::from_str(&text).map_err(|error| wrong(format!("not JSON: {error}")))?;
    let genesis = input.get("genesis").and_then(Value::as_object);
    let genesis =
        genesis.ok_or_else(|| wrong("genesis is missing; expected the object of a genesis file without extraData".to_owned()))?;
    let nodes = nodes(&input).map_err(wrong)?;
    let file = with_validators(genesis, &nodes).map_err(wrong)?;
    let spec = ChainSpec::parse(&file).map_err(|error| wrong(format!("genesis: {error}")))?;

    let failed = |path: &Path, error: std::io::Error| Failure::failed(format!("could not write {}", path.display()), error);
    let used = std::fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some());
    if used || out.is_file() {
        return Err(Failure::Usage(format!("--out: {} is there and not empty; expected a new or an empty folder", out.display())));
    }
    let mut told = String::new();
    for node in &nodes {
        let folder = out.join("keys").join(format!("{:#x}", address_of(node.id)));
        std::fs::create_dir_all(&folder).map_err(|error| failed(&folder, error))?;
        if let Some(key) = &node.key {
            key_file::write_new(&folder.join("key.priv"), key)?;
        }
        let public = folder.join("key.pub");
        std::fs::write(&public, format!("0x{}", hex::encode(node.id))).map_err(|error| failed(&public, error))?;
        let _ = writeln!(told, "{}", folder.display());
    }
    let path = out.join("genesis.json");
    std::fs::write(&path, file).map_err(|error| failed(&path, error))?;
    for warning in spec.warnings() {
        eprintln!("ipe: {warning}");
    }
    print(&format!("{} {}\n{told}", spec.genesis_hash(), path.display()))
}

fn nodes(input: &Value) -> Result<Vec<Node>, String> {
    let nodes = input.pointer("/blockchain/nodes").filter(|nodes| nodes.is_object());
    let nodes =
        nodes.ok_or("blockchain.nodes is missing; expected {\"generate\": true, \"count\": N} or {\"keys\": [public keys]}")?;
    let generate = nodes.get("generate").is_some_and(|value| *value == Value::Bool(true));
    if generate {
        let count = nodes.get("count").and_then(Value::as_u64).filter(|count| (1..=MOST_NODES).contains(count));
        let count = count.ok_or_else(|| format!("blockchain.nodes.count: expected 1 to {MOST_NODES}"))?;
        return Ok((0..count)
            .map(|_| {
                let key = key_file::generate();
                Node { id: key.node_id(), key: Some(key) }
            })
            .collect());
    }
    let keys = nodes.get("keys").and_then(Value::as_array).filter(|keys| !keys.is_empty() && keys.len() as u64 <= MOST_NODES);
    let keys =
        keys.ok_or_else(|| format!("blockchain.nodes.keys: expected 1 to {MOST_NODES} public keys, or generate true and a count"))?;
    keys.iter()
        .enumerate()
        .map(|(index, key)| {
            let digits = key.as_str().map(|text| text.trim().trim_start_matches("0x"));
            let bytes = digits.and_then(|digits| hex::decode(digits).ok()).filter(|bytes| bytes.len() == 64);
            let bytes = bytes.ok_or_else(|| format!("blockchain.nodes.keys[{index}]: expected a public key of 128 hex digits"))?;
            Ok(Node { id: NodeId::from_slice(&bytes), key: None })
        })
        .collect()
}

/// The genesis file with the nodes' addresses in its extra data, in the order of the nodes, as Besu has them.
fn with_validators(genesis: &Map<String, Value>, nodes: &[Node]) -> Result<String, String> {
    let config = genesis.get("config").and_then(Value::as_object).ok_or("genesis.config is missing")?;
    if !config.keys().any(|key| key.eq_ignore_ascii_case("qbft")) {
        return Err("genesis.config.qbft is missing; IBFT 2.0 and Clique are not implemented".to_owned());
    }
    let validators: Vec<Address> = nodes.iter().map(|node| address_of(node.id)).collect();
    let extra = ExtraData { vanity: Bytes::from(vec![0; 32]), validators, vote: None, round: 0, seals: Vec::new() };
    let mut file = genesis.clone();
    file.retain(|key, _| !key.eq_ignore_ascii_case("extraData"));
    file.insert("extraData".to_owned(), Value::from(format!("0x{}", hex::encode(extra.encode()))));
    serde_json::to_string_pretty(&Value::Object(file)).map_err(|error| error.to_string())
}
