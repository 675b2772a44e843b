//! Variants of one block that real clients accepted or rejected: ours is the same verdict, or the deviation is in the table
//! below with its reason.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::path::PathBuf;
use std::sync::Arc;

use alloy_primitives::Bytes;
use ipe_chain::RawBlock;
use support::{chain, fixtures};

/// Where we are stricter than the client that is named: what no honest peer produces.
const DEVIATIONS: &[(&str, &str, &str)] = &[
    ("quorum", "one seal short of a quorum", "GoQuorum takes F + 1 seals; finality needs a quorum, and its proposers wait for one"),
    ("quorum", "round 2^32-1, sealed for it", "Besu cannot read such a round; none is reached in the lifetime of a network"),
    ("quorum", "gas limit below gas used", "the variant's gas limit is 0; no builder goes below its configured minimum"),
    ("quorum", "validators without the last", "GoQuorum does not compare the list; its proposers write the true one"),
    ("quorum", "validators unsorted", "as above"),
    ("quorum", "validators with a stranger", "as above"),
    ("quorum", "validators empty", "as above"),
    ("quorum", "vote of an unknown type", "a vote is to add or to drop; no client writes another"),
];

struct Verdict {
    name: String,
    height: u64,
    accepted: bool,
    block: Bytes,
}

fn verdicts(path: &PathBuf) -> Vec<Verdict> {
    std::fs::read_to_string(path)
        .unwrap()
        .lines()
        .map(|line| {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            Verdict {
                name: row["name"].as_str().unwrap().to_owned(),
                height: row["height"].as_u64().unwrap(),
                accepted: row["accepted"].as_bool().unwrap(),
                block: alloy_primitives::hex::decode(row["block"].as_str().unwrap()).unwrap().into(),
            }
        })
        .collect()
}

/// The rule that rejects the variant, if any.
fn ours(chain: &support::Chain, verdict: &Verdict) -> Result<(), String> {
    let (_, ledger) = chain.ledger();
    chain.import(&ledger, verdict.height as usize - 1).unwrap();
    assert_eq!(ledger.head().number, verdict.height - 1);
    let block = Arc::new(RawBlock(verdict.block.clone()).decode().map_err(|error| format!("rlp: {error}"))?);
    let now = (ledger.head().header.timestamp + 3600) * 1000;
    let checked = ledger.check_sealed(Arc::clone(&block), now, &|_| None).map_err(|error| format!("{}: {error}", error.rule()))?;
    ledger.import(checked, block).map(|_| ()).map_err(|error| error.to_string())
}

#[test]
fn every_verdict_is_the_clients_or_a_known_deviation() {
    let (mut seen, mut unexpected) = (0, Vec::new());
    for folder in ["besu-25.5.0-header-votes", "besu-26.8.0-header-votes", "quorum-24.4.1-header-votes"] {
        let dir = fixtures().join(folder);
        let chain = chain(&dir);
        let mut files: Vec<PathBuf> = std::fs::read_dir(&dir)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("verdicts-")))
            .collect();
        files.sort();
        assert!(!files.is_empty(), "{folder} has no verdicts");
        for file in files {
            for verdict in verdicts(&file) {
                seen += 1;
                let ours = ours(&chain, &verdict);
                let rule = ours.as_ref().err().map_or("accepted", String::as_str);
                let known = DEVIATIONS.iter().find(|(client, name, _)| {
                    folder.starts_with(client) && *name == verdict.name && verdict.accepted && ours.is_err()
                });
                if verdict.accepted == ours.is_ok() {
                    continue;
                }
                let client = if verdict.accepted { "accepts" } else { "rejects" };
                let line = format!("{folder} {}: client {client}, ours: {rule}", verdict.name);
                match known {
                    Some((_, _, reason)) => println!("{line}; {reason}"),
                    None => unexpected.push(line),
                }
            }
        }
    }
    assert!(seen > 250, "only {seen} verdicts found");
    assert!(unexpected.is_empty(), "{} of {seen}:\n{}", unexpected.len(), unexpected.join("\n"));
}
