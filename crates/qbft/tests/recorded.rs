//! Messages recorded from Besu 25.5.0 and 26.8.0 (both dialects) and GoQuorum 24.4.1: every one decodes, is a
//! validator's, is justified by our predicates, and encodes to the same bytes.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::PathBuf;

use alloy_primitives::{Address, B256, Bytes};
use ipe_qbft::justify::{self, Digests, Rules};
use ipe_types::crypto::{HighS, NodeKey, recover_address};
use ipe_types::header::commit_hash;
use ipe_types::{Block, Message, ValidatorSet};
use serde_json::Value;

#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    proposals: usize,
    in_later_rounds: usize,
    of_prepared_blocks: usize,
    prepares: usize,
    commits: usize,
    round_changes: usize,
    with_certificate: usize,
}

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures").join(name)
}

fn lines(folder: &std::path::Path, file: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.join(file)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap().trim_start_matches("0x")).unwrap()
}

fn judge(name: &str, items: usize) -> Seen {
    let folder = folder(name);
    let about: Value = serde_json::from_str(&std::fs::read_to_string(folder.join("about.json")).unwrap()).unwrap();
    let validators: ValidatorSet = about["validator_keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| NodeKey::from_bytes(bytes(key).try_into().unwrap()).unwrap().address())
        .collect();
    assert_eq!(validators.len(), 4);
    let chain = std::fs::read(folder.join("blocks.rlp")).unwrap();
    let mut rest = &chain[..];
    let mut coinbases: BTreeMap<u64, Address> = BTreeMap::from([(0, Address::ZERO)]);
    while !rest.is_empty() {
        let block: Block = alloy_rlp::Decodable::decode(&mut rest).unwrap();
        coinbases.insert(block.header.number, block.header.beneficiary);
    }
    let mut seen = Seen::default();
    for file in ["silent.jsonl", "prepared.jsonl"] {
        let recorded = lines(&folder, file);
        let messages: Vec<Message> = recorded
            .iter()
            .filter(|line| line["proto"] == "istanbul")
            .map(|line| {
                let (code, raw) = (line["code"].as_u64().unwrap() as u8, bytes(&line["rlp"]));
                let message = Message::decode(code, &raw).unwrap_or_else(|error| panic!("{name} {file}: {error}"));
                assert_eq!(message.encode(), Bytes::from(raw), "{name} {file}");
                message
            })
            .collect();
        // Digest names by (height, round), and commit hashes, of what was proposed.
        let mut proposed: BTreeMap<(u64, u32), (Digests, B256)> = BTreeMap::new();
        for message in &messages {
            let Message::Proposal(proposal) = message else { continue };
            let payload = proposal.signed.payload();
            let header = &payload.block.header;
            let carried = ipe_types::ExtraData::decode(&header.extra_data).unwrap().round;
            let names = Digests::of(header, carried).unwrap();
            proposed.insert((payload.height, payload.round), (names, commit_hash(header, payload.round).unwrap()));
        }
        for message in &messages {
            assert!(validators.contains(&message.author()), "{name} {file}: {}", message.author());
            let (height, round) = (message.height(), message.round());
            // The recording of wire messages goes past the last stored block.
            let Some(previous_proposer) = coinbases.get(&(height - 1)).copied() else { continue };
            let rules = Rules { height, validators: validators.clone(), previous_proposer };
            match message {
                Message::Proposal(proposal) => {
                    assert_eq!(justify::proposal(&rules, proposal), Ok(()), "{name} {file} {height}/{round}");
                    assert_eq!(proposal.signed.payload().access_list.is_some(), items == 4);
                    seen.proposals += 1;
                    seen.in_later_rounds += usize::from(round > 0);
                    seen.of_prepared_blocks += usize::from(!proposal.prepares.is_empty());
                }
                Message::Prepare(prepare) => {
                    seen.prepares += 1;
                    if let Some((names, _)) = proposed.get(&(height, round)) {
                        assert!(names.name(&prepare.payload().digest), "{name} {file} {height}/{round}");
                    }
                }
                Message::Commit(commit) => {
                    seen.commits += 1;
                    if let Some((names, sealed)) = proposed.get(&(height, round)) {
                        assert!(names.name(&commit.payload().digest), "{name} {file} {height}/{round}");
                        let committer = recover_address(*sealed, &commit.payload().seal, HighS::Allowed);
                        assert_eq!(committer, Ok(commit.author()), "{name} {file} {height}/{round}");
                    }
                }
                Message::RoundChange(change) => {
                    assert_eq!(justify::round_change(&rules, change), Ok(()), "{name} {file} {height}/{round}");
                    seen.round_changes += 1;
                    seen.with_certificate += usize::from(change.block.is_some());
                }
            }
        }
    }
    println!("{name}: {seen:?}");
    seen
}

fn assert_rich(seen: &Seen) {
    assert!(seen.proposals > 10 && seen.prepares > 50 && seen.commits > 50 && seen.round_changes > 10, "{seen:?}");
    assert!(seen.in_later_rounds > 0 && seen.of_prepared_blocks > 0 && seen.with_certificate > 0, "{seen:?}");
}

#[test]
fn besu_25_5_0() {
    assert_rich(&judge("besu-25.5.0-wire", 3));
}

#[test]
fn besu_26_8_0() {
    assert_rich(&judge("besu-26.8.0-wire", 4));
}

#[test]
fn besu_26_8_0_legacy() {
    assert_rich(&judge("besu-26.8.0-wire-legacy", 3));
}

#[test]
fn quorum_24_4_1() {
    assert_rich(&judge("quorum-24.4.1-wire", 3));
}
