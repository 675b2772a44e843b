//! How large things may be. One table: each limit follows from the next outer one, so that what a quorum may seal can be
//! carried, stored and served by everything else, with the most seals and the largest envelope. Checked when this compiles.
//!
//! | what | at most | follows from |
//! |---|---|---|
//! | RLPx frame | [`FRAME_BYTES`] | its 24-bit length |
//! | message of eth or istanbul, decompressed | [`MESSAGE_BYTES`] | Besu's bound of 10 MiB; compressed it fits a frame |
//! | sealed block | [`SEALED_BLOCK_BYTES`] | a message, less NewBlock's envelope |
//! | block without seals that is voted for | [`PROPOSED_BLOCK_BYTES`] | a sealed block less the most seals; a message less the justification of a Proposal or RoundChange |
//! | block that we build | [`BUILT_BLOCK_BYTES`] | our own choice, below all of these |
//! | transactions of a block that we build | [`BUILT_TRANSACTIONS_BYTES`] | the last one, less the largest header |
//! | transactions of a block | [`BLOCK_TRANSACTIONS`] | our own choice: what they take in memory, 40 MB, is in proportion to the largest block |
//! | sealed header | [`SEALED_HEADER_BYTES`] | the most validators and seals, and the longest vanity that is imported |
//!
//! At import no rule looks at the bytes of seals: what counts is the block without them (`ipe_chain::rules`).

use crate::extra::MAX_VALIDATORS;

/// Bytes of an RLPx frame: its length has 24 bits.
pub const FRAME_BYTES: usize = (1 << 24) - 1;

/// Bytes of one message of eth or istanbul, decompressed: what Besu takes (`maxMessageSize`, 10 MiB).
pub const MESSAGE_BYTES: usize = 10 * 1024 * 1024;

/// Bytes of a block that this node builds, sealed by the most validators: 8 MiB. EIP-7934 has this bound from Osaka on; in Besu
/// it does not hold for QBFT (`BaseBftProtocolScheduleBuilder` takes the block validator without it), so a larger block is
/// voted for and imported. Ours keeps to it on every fork: one limit for the pool, and room on every link.
pub const BUILT_BLOCK_BYTES: usize = 8 * 1024 * 1024;

/// Transactions of a block that is read: 2.7 Ggas of them that do nothing. Besu has no such bound; with gas without a limit a block
/// of 10 MiB may have a million, of twelve bytes each and 300 in memory.
pub const BLOCK_TRANSACTIONS: usize = 131_072;

/// RLP of one commit seal in extra data: 65 bytes and their prefix.
pub const SEAL_BYTES: usize = 67;

/// RLP of one validator in extra data: 20 bytes and their prefix.
pub const VALIDATOR_BYTES: usize = 21;

/// Vanity that every client writes (spec/qbft.md 3.1), and the only length that is voted for.
pub const VANITY_BYTES: usize = 32;

/// Longest vanity that is imported. Besu reads any; no client writes another than 32, and a header must stay servable.
pub const IMPORTED_VANITY_BYTES: usize = 1024;

/// What sealing adds to a block at most: seals of the most validators, the round (4 bytes), and longer length prefixes of the
/// lists around them.
pub const SEALS_BYTES: usize = MAX_VALIDATORS * SEAL_BYTES + 4 + 16;

/// Extra data of a block without seals, at most: list, vanity, validators, vote, round, no seals.
pub const UNSEALED_EXTRA_BYTES: usize = 4 + (VANITY_BYTES + 1) + (MAX_VALIDATORS * VALIDATOR_BYTES + 3) + 24 + 5 + 1;

/// Extra data that is imported: with seals, and with the longest vanity. Items after the seals, which Besu reads and drops, have
/// to fit into what the others leave.
pub const IMPORTED_EXTRA_BYTES: usize = UNSEALED_EXTRA_BYTES + SEALS_BYTES + IMPORTED_VANITY_BYTES;

/// A header's RLP without the extra data, at most: twenty fields of Osaka, their prefixes, those of the extra data and of the
/// header itself (asserted in a test).
pub const HEADER_FIELDS_BYTES: usize = 700;

/// Header of a block without seals, at most.
pub const UNSEALED_HEADER_BYTES: usize = HEADER_FIELDS_BYTES + UNSEALED_EXTRA_BYTES;

/// Header with seals, at most: some 47 kB with 512 validators, so that a BlockHeaders answer always holds one.
pub const SEALED_HEADER_BYTES: usize = HEADER_FIELDS_BYTES + IMPORTED_EXTRA_BYTES;

/// eth's envelope around one block, header or body: message code, request id or total difficulty, lists.
pub const ETH_ENVELOPE_BYTES: usize = 1 + 4 + 33 + 4 + 4;

/// RLP of a signed RoundChange payload without its block, at most: height 9, round 5, prepared 39, signature 67, lists 3.
pub const SIGNED_ROUND_CHANGE_BYTES: usize = 9 + 5 + 39 + 67 + 3;

/// RLP of a signed Prepare, at most: height 9, round 5, digest 33, signature 67, lists 3.
pub const SIGNED_PREPARE_BYTES: usize = 9 + 5 + 33 + 67 + 3;

/// What stands around the block in a Proposal or RoundChange, at most: message code, height, round, empty access list,
/// signature, seven lists, and a justification by the most validators.
pub const CONSENSUS_ENVELOPE_BYTES: usize =
    1 + 9 + 5 + 1 + SEAL_BYTES + 7 * 4 + MAX_VALIDATORS * (SIGNED_ROUND_CHANGE_BYTES + SIGNED_PREPARE_BYTES);

/// A block with seals that every path carries.
pub const SEALED_BLOCK_BYTES: usize = MESSAGE_BYTES - ETH_ENVELOPE_BYTES;

/// A block without seals that a validator votes for.
pub const PROPOSED_BLOCK_BYTES: usize = smaller(SEALED_BLOCK_BYTES - SEALS_BYTES, MESSAGE_BYTES - CONSENSUS_ENVELOPE_BYTES);

/// Transactions of a block that we build, with the prefixes that they have in the block. The rest holds the header and the
/// lists of the block.
pub const BUILT_TRANSACTIONS_BYTES: usize = BUILT_BLOCK_BYTES - SEALS_BYTES - UNSEALED_HEADER_BYTES - 3 * 4;

/// Bytes of a block that are read from a file or a message, with any seals: a block without seals that fills a message on its
/// own, and the most seals. More cannot be received from anybody.
pub const READ_BLOCK_BYTES: usize = MESSAGE_BYTES + SEALS_BYTES;

const fn smaller(a: usize, b: usize) -> usize {
    if a < b { a } else { b }
}

// Snappy's worst case (length / 6 + 32 more bytes) of the largest message fits a frame.
const _: () = assert!(MESSAGE_BYTES + MESSAGE_BYTES / 6 + 32 + 64 < FRAME_BYTES);
const _: () = assert!(SEALED_BLOCK_BYTES + ETH_ENVELOPE_BYTES <= MESSAGE_BYTES);
const _: () = assert!(PROPOSED_BLOCK_BYTES + SEALS_BYTES <= SEALED_BLOCK_BYTES);
const _: () = assert!(PROPOSED_BLOCK_BYTES + CONSENSUS_ENVELOPE_BYTES <= MESSAGE_BYTES);
const _: () = assert!(BUILT_BLOCK_BYTES <= PROPOSED_BLOCK_BYTES);
const _: () = assert!(BUILT_TRANSACTIONS_BYTES + UNSEALED_HEADER_BYTES + SEALS_BYTES < BUILT_BLOCK_BYTES);
const _: () = assert!(SEALED_HEADER_BYTES + ETH_ENVELOPE_BYTES <= crate::eth::SOFT_ANSWER_BYTES);
const _: () = assert!(crate::eth::SOFT_ANSWER_BYTES <= MESSAGE_BYTES);
const _: () = assert!(SEALED_BLOCK_BYTES <= READ_BLOCK_BYTES);
// A certificate in the journal: the block and its Prepares.
const _: () = assert!(PROPOSED_BLOCK_BYTES + MAX_VALIDATORS * SIGNED_PREPARE_BYTES + 128 <= crate::journal::MAX_RECORD);

#[cfg(test)]
mod tests {
    use alloy_primitives::{Address, B64, B256, Bytes, U256};
    use alloy_rlp::Encodable;

    use super::*;
    use crate::crypto::NodeKey;
    use crate::eth::EthMessage;
    use crate::extra::{ExtraData, Vote};
    use crate::header::{Header, with_round_and_seals};
    use crate::message::{Message, PreparePayload, Proposal, ProposalPayload, RoundChange, RoundChangePayload, Signed};
    use crate::{Block, Bytes as RlpBytes};

    /// Every field as large as it can be, and the most validators.
    fn largest_header() -> Header {
        let validators = (0..MAX_VALIDATORS as u64).map(|n| Address::left_padding_from(&(u64::MAX - n).to_be_bytes()));
        let extra = ExtraData {
            vanity: Bytes::from(vec![0xff; VANITY_BYTES]),
            validators: validators.collect(),
            vote: Some(Vote { recipient: Address::repeat_byte(0xff), add: true }),
            round: u32::MAX,
            seals: Vec::new(),
        };
        let hash = B256::repeat_byte(0xff);
        Header {
            parent_hash: hash,
            ommers_hash: hash,
            beneficiary: Address::repeat_byte(0xff),
            state_root: hash,
            transactions_root: hash,
            receipts_root: hash,
            logs_bloom: alloy_primitives::Bloom::repeat_byte(0xff),
            difficulty: U256::MAX,
            number: u64::MAX,
            gas_limit: u64::MAX,
            gas_used: u64::MAX,
            timestamp: u64::MAX,
            extra_data: extra.encode(),
            mix_hash: hash,
            nonce: B64::repeat_byte(0xff),
            base_fee_per_gas: Some(u64::MAX),
            withdrawals_root: Some(hash),
            blob_gas_used: Some(u64::MAX),
            excess_blob_gas: Some(u64::MAX),
            parent_beacon_block_root: Some(hash),
            requests_hash: Some(hash),
            block_access_list_hash: None,
            slot_number: None,
        }
    }

    fn seals() -> Vec<crate::Signature65> {
        let seal = NodeKey::from_bytes([7; 32]).expect("in range").sign(B256::repeat_byte(9));
        vec![seal; MAX_VALIDATORS]
    }

    /// A block of exactly `bytes` of RLP on the largest header; one transaction fills it.
    fn block_of(header: Header, bytes: usize) -> Block {
        let mut fill = bytes - header.length() - 200;
        loop {
            let tx = alloy_consensus::TxLegacy { input: RlpBytes::from(vec![1; fill]), ..Default::default() };
            let signature = alloy_primitives::Signature::test_signature();
            let tx = alloy_consensus::SignableTransaction::into_signed(tx, signature).into();
            let body = crate::Body { transactions: vec![tx], withdrawals: Some(Vec::new()) };
            let block = Block { header: header.clone(), body };
            if block.length() == bytes {
                return block;
            }
            fill = fill + bytes - block.length();
        }
    }

    #[test]
    fn a_header_is_never_larger_than_the_table_says() {
        let unsealed = largest_header();
        assert!(unsealed.length() <= UNSEALED_HEADER_BYTES, "{}", unsealed.length());
        assert!(unsealed.length() + 64 > UNSEALED_HEADER_BYTES, "{} is far below", unsealed.length());
        let sealed = with_round_and_seals(&unsealed, u32::MAX, seals()).expect("decodes");
        assert!(sealed.length() <= SEALED_HEADER_BYTES - IMPORTED_VANITY_BYTES);
        let zero = with_round_and_seals(&unsealed, 0, Vec::new()).expect("decodes");
        assert!(sealed.length() - zero.length() <= SEALS_BYTES, "{}", sealed.length() - zero.length());
    }

    /// The promise of the table: what may be proposed fits, with the most seals and the largest envelope, into every message
    /// that carries it.
    #[test]
    fn what_may_be_proposed_is_carried_by_every_message() {
        let block = std::sync::Arc::new(block_of(largest_header(), PROPOSED_BLOCK_BYTES));
        let key = NodeKey::from_bytes([7; 32]).expect("in range");
        let (height, round, digest) = (u64::MAX, u32::MAX, B256::repeat_byte(0xff));
        let change = RoundChangePayload { height, round, prepared: Some((round, digest)) };
        let change = Signed::sign_with(change, |hash| key.sign(hash)).expect("signs");
        let prepare = Signed::sign_with(PreparePayload { height, round, digest }, |hash| key.sign(hash)).expect("signs");
        let prepares = vec![prepare; MAX_VALIDATORS];
        let access_list = Some(RlpBytes::from_static(&[0x80]));
        let payload = ProposalPayload { height, round, block: block.clone(), access_list: access_list.clone() };
        let signed = Signed::sign_with(payload, |hash| key.sign(hash)).expect("signs");
        let proposal = Proposal { signed, round_changes: vec![change.clone(); MAX_VALIDATORS], prepares: prepares.clone() };
        let messages = [
            Message::Proposal(Box::new(proposal)),
            Message::RoundChange(Box::new(RoundChange { signed: change, block: Some(block.clone()), access_list, prepares })),
        ];
        for message in messages {
            let bytes = message.encode();
            assert!(bytes.len() < MESSAGE_BYTES, "{:?} has {}", message.kind(), bytes.len());
            assert_eq!(Message::decode(message.kind().code(), &bytes).as_ref(), Ok(&message));
        }
        let header = with_round_and_seals(&block.header, u32::MAX, seals()).expect("decodes");
        let sealed = Block { header, body: block.body.clone() };
        assert!(sealed.length() <= SEALED_BLOCK_BYTES, "{}", sealed.length());
        for message in [
            EthMessage::NewBlock { block: Box::new(sealed.clone()), total_difficulty: U256::MAX },
            EthMessage::BlockHeaders { request_id: u64::MAX, headers: vec![sealed.header.clone()] },
            EthMessage::BlockBodies { request_id: u64::MAX, bodies: vec![sealed.body.clone()] },
        ] {
            let (_, bytes) = message.encode(crate::eth::EthVersion::V68);
            assert!(bytes.len() <= MESSAGE_BYTES, "{}", bytes.len());
        }
    }
}
