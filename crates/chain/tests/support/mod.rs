//! Chains recorded from real clients, as tests read them.
#![allow(dead_code, clippy::unwrap_used, clippy::panic)]

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use alloy_primitives::{B256, Bytes};
use ipe_chain::kv::{MemoryStore, Store};
use ipe_chain::{BulkStep, Ledger};
use ipe_types::spec::ChainSpec;

/// One height as the client reported it.
pub struct Recorded {
    pub number: u64,
    pub hash: B256,
    pub state_root: B256,
    /// Round and seals inside; absent where the client had no call for it.
    pub header: Option<Bytes>,
    pub receipts: Option<Vec<Bytes>>,
}

/// A folder under `fixtures/`.
pub struct Chain {
    pub name: String,
    pub dir: PathBuf,
    pub spec: Arc<ChainSpec>,
    pub recorded: Vec<Recorded>,
    pub blocks: Vec<Bytes>,
}

pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures")
}

/// Every recorded chain in the project.
pub fn chains() -> Vec<Chain> {
    let mut dirs: Vec<PathBuf> = std::fs::read_dir(fixtures())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|dir| dir.join("blocks.rlp").exists())
        .collect();
    dirs.sort();
    dirs.iter().map(|dir| chain(dir)).collect()
}

pub fn chain(dir: &Path) -> Chain {
    let text = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap_or_else(|e| panic!("{}/{name}: {e}", dir.display()));
    let recorded = text("blocks.jsonl")
        .lines()
        .map(|line| {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            let bytes = |value: &serde_json::Value| value.as_str().map(|s| Bytes::from(alloy_primitives::hex::decode(s).unwrap()));
            Recorded {
                number: row["number"].as_u64().or_else(|| hex_number(row["number"].as_str()?)).unwrap(),
                hash: row["hash"].as_str().unwrap().parse().unwrap(),
                state_root: row["stateRoot"].as_str().unwrap().parse().unwrap(),
                header: bytes(&row["header"]),
                receipts: row["receipts"].as_array().map(|all| all.iter().map(|r| bytes(r).unwrap()).collect()),
            }
        })
        .collect();
    Chain {
        name: dir.file_name().unwrap().to_string_lossy().into_owned(),
        dir: dir.to_owned(),
        spec: Arc::new(ChainSpec::parse(&text("genesis.json")).unwrap_or_else(|e| panic!("{}: {e}", dir.display()))),
        recorded,
        blocks: split(&std::fs::read(dir.join("blocks.rlp")).unwrap()),
    }
}

fn hex_number(text: &str) -> Option<u64> {
    u64::from_str_radix(text.trim_start_matches("0x"), 16).ok()
}

/// Concatenated block RLP.
pub fn split(mut bytes: &[u8]) -> Vec<Bytes> {
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

/// A clock that is past every recorded block, in unix milliseconds.
pub const NOW_MS: u64 = 1_900_000_000_000;

impl Chain {
    pub fn ledger(&self) -> (Arc<dyn Store>, Ledger) {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let ledger = Ledger::open(Arc::clone(&store), Arc::clone(&self.spec)).unwrap_or_else(|e| panic!("{}: {e}", self.name));
        (store, ledger)
    }

    /// Imports the first `count` blocks.
    pub fn import(&self, ledger: &Ledger, count: usize) -> Result<(), String> {
        let source = self.blocks.iter().take(count).map(|block| Ok::<_, Infallible>(block.clone()));
        ledger
            .import_stream(source, NOW_MS, &mut |step| matches!(step, BulkStep::Imported(_) | BulkStep::Skipped { .. }))
            .map_err(|error| error.to_string())
    }
}
