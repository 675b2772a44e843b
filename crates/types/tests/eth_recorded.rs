//! Every eth message recorded from Besu 25.5.0, Besu 26.8.0 and GoQuorum 24.4.1 decodes and encodes to the same bytes.
#![allow(clippy::panic)]

use std::collections::BTreeMap;
use std::path::Path;

use ipe_types::eth::{EthMessage, EthVersion, code};

/// The version that was in use with us on the recording: the highest that the client offered and the recorder spoke.
fn version(folder: &str, payload_of_status: Option<u8>) -> EthVersion {
    match (payload_of_status, folder) {
        (Some(66), _) => EthVersion::V66,
        (Some(68), _) => EthVersion::V68,
        (Some(69), _) => EthVersion::V69,
        (other, folder) => panic!("{folder}: Status says version {other:?}"),
    }
}

#[test]
fn recorded_messages_come_back_byte_by_byte() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures");
    let mut counts: BTreeMap<(u8, u8), usize> = BTreeMap::new();
    for folder in ["besu-25.5.0-wire", "besu-26.8.0-wire", "besu-26.8.0-wire-legacy", "quorum-24.4.1-wire"] {
        for file in ["silent.jsonl", "prepared.jsonl"] {
            let path = fixtures.join(folder).join(file);
            let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let messages: Vec<(u8, Vec<u8>)> = text
                .lines()
                .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("a JSON line"))
                .filter(|line| line["proto"] == "eth")
                .map(|line| {
                    let rlp = line["rlp"].as_str().expect("rlp").trim_start_matches("0x");
                    (line["code"].as_u64().expect("code") as u8, hex::decode(rlp).expect("hex"))
                })
                .collect();
            // Every session of a recording used one version: its Status begins with it.
            let status = messages.iter().find(|(code, _)| *code == code::STATUS).map(|(_, payload)| {
                let list_header = if payload[0] >= 0xf8 { 2 } else { 1 };
                payload[list_header]
            });
            for (code, payload) in &messages {
                let version = version(folder, status);
                let message = EthMessage::decode(version, *code, payload)
                    .unwrap_or_else(|error| panic!("{folder}/{file} code {code}: {error}"));
                let (again, encoded) = message.encode(version);
                assert_eq!(again, *code);
                assert_eq!(hex::encode(&encoded), hex::encode(payload), "{folder}/{file} code {code}");
                // Cut or extended, it is an error and never a panic.
                assert!(EthMessage::decode(version, *code, &payload[..payload.len() - 1]).is_err());
                let longer = [payload.as_slice(), &[0]].concat();
                assert!(EthMessage::decode(version, *code, &longer).is_err());
                *counts.entry((version.number(), *code)).or_default() += 1;
            }
        }
    }
    for needed in [code::STATUS, code::TRANSACTIONS, code::BLOCK_HEADERS, code::BLOCK_BODIES, code::NEW_BLOCK, code::RECEIPTS] {
        assert!(counts.keys().any(|(_, code)| *code == needed), "no message with code {needed} is recorded: {counts:?}");
    }
    println!("{counts:?}");
}
