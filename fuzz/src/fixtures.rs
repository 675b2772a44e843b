//! Seeds: what real Besu and GoQuorum nodes said, read from `fixtures/` when they are asked for.

use std::fs;
use std::io::Read;
use std::path::PathBuf;

use alloy_rlp::Decodable;
use ipe_types::Block;
use serde_json::Value;

/// Every recording; a checkout has all of them.
const RECORDINGS: [&str; 14] = [
    "besu-25.5.0-contract-validators",
    "besu-25.5.0-execution-london",
    "besu-25.5.0-header-votes",
    "besu-25.5.0-permissioning",
    "besu-25.5.0-wire",
    "besu-26.8.0-contract-validators",
    "besu-26.8.0-execution-osaka",
    "besu-26.8.0-header-votes",
    "besu-26.8.0-transitions-as-time",
    "besu-26.8.0-wire",
    "besu-26.8.0-wire-legacy",
    "quorum-24.4.1-contract-validators",
    "quorum-24.4.1-header-votes",
    "quorum-24.4.1-wire",
];

fn path(recording: &str, file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fixtures").join(recording).join(file)
}

/// One recorded message.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// `eth` or `istanbul`.
    pub protocol: String,
    /// Code within the protocol.
    pub code: u8,
    /// Payload.
    pub payload: Vec<u8>,
}

/// Messages recorded on the wire: of each kind and length class some, not thousands of the same.
pub fn messages() -> Vec<Recorded> {
    let mut seen = std::collections::BTreeMap::<(String, String, u8, usize), usize>::new();
    let mut messages = Vec::new();
    for recording in RECORDINGS {
        for file in ["silent.jsonl", "prepared.jsonl"] {
            let text = fs::read_to_string(path(recording, file)).unwrap_or_default();
            for line in text.lines() {
                let Ok(row) = serde_json::from_str::<Value>(line) else { continue };
                let (Some(protocol), Some(code), Some(hex)) = (row["proto"].as_str(), row["code"].as_u64(), row["rlp"].as_str())
                else {
                    continue;
                };
                let Ok(payload) = hex::decode(hex.trim_start_matches("0x")) else { continue };
                let class = (recording.to_owned(), protocol.to_owned(), code as u8, payload.len() / 256);
                let count = seen.entry(class).or_default();
                *count += 1;
                if *count <= 2 {
                    messages.push(Recorded { protocol: protocol.to_owned(), code: code as u8, payload });
                }
            }
        }
    }
    messages
}

/// Blocks of every recorded chain: the first ones and every ninth.
pub fn blocks() -> Vec<Block> {
    let mut blocks = Vec::new();
    for recording in RECORDINGS {
        let bytes = fs::read(path(recording, "blocks.rlp")).unwrap_or_default();
        let mut rest = &bytes[..];
        let mut number = 0;
        while let Ok(block) = Block::decode(&mut rest) {
            if number < 3 || number % 9 == 0 {
                blocks.push(block);
            }
            number += 1;
        }
    }
    blocks
}

/// Texts of the recorded genesis files.
pub fn genesis_texts() -> Vec<String> {
    RECORDINGS.iter().filter_map(|recording| fs::read_to_string(path(recording, "genesis.json")).ok()).collect()
}

/// A recorded chain as it is imported: genesis text and blocks.
///
/// # Panics
/// The recording is not in the checkout.
pub fn chain(recording: &str) -> (String, Vec<u8>) {
    let genesis = fs::read_to_string(path(recording, "genesis.json"));
    let blocks = fs::read(path(recording, "blocks.rlp"));
    (genesis.expect("fixtures are part of the checkout"), blocks.expect("fixtures are part of the checkout"))
}

/// Recorded JSON-RPC requests, some of each method.
pub fn requests(recording: &str) -> Vec<String> {
    let mut text = String::new();
    if let Ok(file) = fs::File::open(path(recording, "rpc.jsonl.gz"))
        && flate2::read::GzDecoder::new(file).read_to_string(&mut text).is_err()
    {
        return Vec::new();
    }
    let mut seen = std::collections::BTreeMap::<String, usize>::new();
    let mut requests = Vec::new();
    for line in text.lines() {
        let Ok(row) = serde_json::from_str::<Value>(line) else { continue };
        let count = seen.entry(row["request"]["method"].as_str().unwrap_or_default().to_owned()).or_default();
        *count += 1;
        if *count <= 4 {
            requests.push(row["request"].to_string());
        }
    }
    requests
}
