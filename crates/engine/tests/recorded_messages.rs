//! Messages recorded from Besu 25.5.0 and 26.8.0 (both dialects) and GoQuorum 24.4.1: the relay takes every one, with all
//! that justifies it, also a height early and a height late.

use std::collections::BTreeMap;
use std::path::PathBuf;

use alloy_primitives::{Address, B256, Bytes};
use ipe_engine::peer::Peers;
use ipe_engine::relay::{Intake, Relay, Window};
use ipe_engine::{PeerId, PeerInfo, PeerStatus};
use ipe_qbft::justify::Rules;
use ipe_types::eth::EthVersion;
use ipe_types::message::{Kind, peek};
use ipe_types::{Block, NodeKey, Role, ValidatorSet};
use serde_json::Value;

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().expect("a string").trim_start_matches("0x")).expect("hex")
}

fn relayed(name: &str) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures").join(name);
    let text = |file: &str| std::fs::read_to_string(folder.join(file)).expect("a fixture");
    let about: Value = serde_json::from_str(&text("about.json")).expect("JSON");
    let keys = about["validator_keys"].as_array().expect("keys");
    let validators: ValidatorSet =
        keys.iter().map(|key| NodeKey::from_bytes(bytes(key).try_into().expect("32 bytes")).expect("a key").address()).collect();
    let mut coinbases: BTreeMap<u64, Address> = BTreeMap::from([(0, Address::ZERO)]);
    let chain = std::fs::read(folder.join("blocks.rlp")).expect("a fixture");
    let mut rest = &chain[..];
    while !rest.is_empty() {
        let block: Block = alloy_rlp::Decodable::decode(&mut rest).expect("a block");
        coinbases.insert(block.header.number, block.header.beneficiary);
    }
    let mut taken = BTreeMap::<Kind, usize>::new();
    for file in ["silent.jsonl", "prepared.jsonl"] {
        // The head at which messages of a height arrive: the one before, two before, the height itself.
        for late in [0, -1, 1] {
            let mut relay = Relay::default();
            let mut peers = Peers::default();
            let key = NodeKey::from_bytes([9; 32]).expect("in range");
            let peer = peers.connect(PeerInfo {
                id: PeerId(1),
                node: key.node_id(),
                address: key.address(),
                role: Some(Role::Boot),
                eth: EthVersion::V68,
                istanbul: true,
                inbound: true,
                carried: false,
                status: PeerStatus { head: B256::ZERO, height: Some(0), total_difficulty: None },
            });
            let mut now_ms = 0;
            for line in text(file).lines() {
                let line: Value = serde_json::from_str(line).expect("JSON");
                if line["proto"] != "istanbul" {
                    continue;
                }
                let code = line["code"].as_u64().expect("a code") as u8;
                let raw = Bytes::from(bytes(&line["rlp"]));
                let kind = Kind::from_code(code).expect("a kind");
                let (height, round) = peek(kind, &raw).expect("it decodes");
                let Some(head) = (height - 1).checked_add_signed(late) else { continue };
                let (Some(current), Some(next)) = (
                    head.checked_sub(1).map_or(Some(Address::ZERO), |number| coinbases.get(&number).copied()),
                    coinbases.get(&head).copied(),
                ) else {
                    continue;
                };
                let rules = |height, previous_proposer| Rules { height, validators: validators.clone(), previous_proposer };
                let (current, next) = (rules(head, current), rules(head + 1, next));
                let window = Window { head, current: &current, next: &next, coming: None };
                now_ms += 100;
                let duplicates = relay.duplicates;
                let intake = relay.intake(now_ms, peer, true, code, &raw, window);
                let known = relay.duplicates > duplicates;
                assert!(
                    matches!(intake, Intake::Take(..)) || known,
                    "{name} {file}: {kind:?} {height}/{round} at head {head}: {intake:?}"
                );
                *taken.entry(kind).or_default() += usize::from(!known);
            }
        }
    }
    assert!(taken.len() == 4 && taken.values().all(|count| *count > 20), "{taken:?}");
}

#[test]
fn whatever_besu_25_5_0_says_is_passed_on() {
    relayed("besu-25.5.0-wire");
}

#[test]
fn whatever_besu_26_8_0_says_is_passed_on() {
    relayed("besu-26.8.0-wire");
}

#[test]
fn whatever_besu_26_8_0_says_in_the_legacy_form_is_passed_on() {
    relayed("besu-26.8.0-wire-legacy");
}

#[test]
fn whatever_goquorum_24_4_1_says_is_passed_on() {
    relayed("quorum-24.4.1-wire");
}
