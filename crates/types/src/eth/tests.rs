//! Forms of each version, and lists that are too long.

use super::*;
use crate::fork_id::ForkId;
use alloy_primitives::U256;
use alloy_primitives::{Address, LogData};

fn comes_back(version: EthVersion, message: EthMessage) -> Bytes {
    let (code, payload) = message.encode(version);
    assert_eq!(EthMessage::decode(version, code, &payload), Ok(message));
    payload
}

fn receipt(status: Eip658Value) -> ReceiptWithBloom<Receipt> {
    let log =
        Log { address: Address::repeat_byte(5), data: LogData::new_unchecked(vec![B256::repeat_byte(6)], vec![1, 2, 3].into()) };
    Receipt { status, cumulative_gas_used: 21_000, logs: vec![log] }.into()
}

#[test]
fn receipts_are_the_same_with_and_without_bloom() {
    let receipts = vec![
        vec![
            ReceiptEnvelope::Legacy(receipt(Eip658Value::PostState(B256::repeat_byte(1)))),
            ReceiptEnvelope::Legacy(receipt(Eip658Value::Eip658(false))),
            ReceiptEnvelope::Eip2930(receipt(Eip658Value::Eip658(true))),
            ReceiptEnvelope::Eip1559(receipt(Eip658Value::Eip658(true))),
            ReceiptEnvelope::Eip7702(receipt(Eip658Value::Eip658(true))),
        ],
        Vec::new(),
    ];
    let message = EthMessage::Receipts { request_id: 0, receipts };
    let with_bloom = comes_back(EthVersion::V68, message.clone());
    let without = comes_back(EthVersion::V69, message);
    assert!(with_bloom.len() > without.len() + 5 * 256);
}

/// EIP-7642: `[version, networkid, genesis, forkid, earliest, latest, latestHash]`.
#[test]
fn the_status_of_each_version_has_its_form() {
    let fork_id = ForkId { hash: [0xa6, 0x20, 0xdb, 0xe8], next: 0 };
    let (genesis, head) = (B256::repeat_byte(1), B256::repeat_byte(2));
    let range = Status::Range { version: 69, network_id: 12_120_014, genesis, fork_id, earliest: 0, latest: 9, latest_hash: head };
    let payload = comes_back(EthVersion::V69, EthMessage::Status(range.clone()));
    let expected = format!("f850{}83b8efcea0{}c684a620dbe8808009a0{}", "45", "01".repeat(32), "02".repeat(32));
    assert_eq!(hex::encode(&payload), expected);
    assert_eq!((range.head_number(), range.head_hash()), (Some(9), head));
    let total_difficulty = U256::from(10);
    let legacy = Status::Legacy { version: 68, network_id: 1, total_difficulty, head, genesis, fork_id };
    comes_back(EthVersion::V68, EthMessage::Status(legacy));
    assert!(EthMessage::decode(EthVersion::V68, code::STATUS, &payload).is_err(), "a form of another version");
}

#[test]
fn requests_and_announcements_come_back() {
    for version in EthVersion::ALL {
        for (start, reverse) in [(HeadersStart::Hash(B256::ZERO), false), (HeadersStart::Number(u64::MAX), true)] {
            let query = HeadersQuery { start, limit: u64::MAX, skip: 3, reverse };
            comes_back(version, EthMessage::GetBlockHeaders { request_id: u64::MAX, query });
        }
        let hashes = vec![B256::repeat_byte(1), B256::ZERO];
        comes_back(version, EthMessage::GetBlockBodies { request_id: 0, hashes: hashes.clone() });
        comes_back(version, EthMessage::GetReceipts { request_id: 1, hashes: hashes.clone() });
        comes_back(version, EthMessage::GetPooledTransactions { request_id: 2, hashes });
        let kind = (version != EthVersion::V66).then_some((2, 110));
        comes_back(version, EthMessage::NewPooledTransactionHashes(vec![Announced { hash: B256::ZERO, kind }; 3]));
        let blocks = vec![BlockHashNumber { hash: B256::ZERO, number: 7 }];
        comes_back(version, EthMessage::NewBlockHashes(blocks));
    }
    let update = EthMessage::BlockRangeUpdate { earliest: 0, latest: 5, latest_hash: B256::ZERO };
    comes_back(EthVersion::V69, update.clone());
    let (code, payload) = update.encode(EthVersion::V69);
    assert_eq!(EthMessage::decode(EthVersion::V68, code, &payload), Err(EthError::UnknownCode { version: 68, code: 0x11 }));
}

#[test]
fn lists_longer_than_any_honest_one_are_refused() {
    let hashes = vec![B256::ZERO; MAX_HASHES + 1];
    let (code, payload) = EthMessage::GetReceipts { request_id: 1, hashes }.encode(EthVersion::V68);
    let refused = EthMessage::decode(EthVersion::V68, code, &payload);
    assert_eq!(refused, Err(EthError::TooMany { message: "GetReceipts", what: "hashes", max: MAX_HASHES }));
    let unequal = [0xc5, 0x82, 1, 2, 0xc0, 0xc0];
    let refused = EthMessage::decode(EthVersion::V68, code::NEW_POOLED_TRANSACTION_HASHES, &unequal);
    assert_eq!(refused, Err(EthError::UnequalAnnouncement { types: 2, sizes: 0, hashes: 0 }));
    let long = vec![0u8; MAX_MESSAGE_BYTES + 1];
    let refused = EthMessage::decode(EthVersion::V68, code::TRANSACTIONS, &long);
    assert!(matches!(refused, Err(EthError::TooLong { .. })));
}
