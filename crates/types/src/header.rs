//! The three hashes of a QBFT header (spec/qbft.md 3.4).
//!
//! A header on the wire and on disk carries the round and the commit seals of the node that sent it, so the
//! keccak of its bytes names nothing. What is hashed is a re-encoding of the header in which the extra data was
//! decoded, changed and encoded again.

use alloy_primitives::{B256, Bytes};
use alloy_rlp::Encodable;

use crate::extra::{ExtraData, ExtraDataError};
use crate::work::keccak256;

pub use alloy_consensus::Header;

/// Mix hash of every BFT block: ASCII "ctical byzantine fault tolerance".
pub const BFT_MIX_HASH: B256 = B256::new(*b"ctical byzantine fault tolerance");

/// Keccak of the empty ommers list, in every header.
pub const EMPTY_OMMERS_HASH: B256 = alloy_consensus::EMPTY_OMMER_ROOT_HASH;

/// Root of an empty trie.
pub const EMPTY_ROOT: B256 = alloy_consensus::EMPTY_ROOT_HASH;

/// Identity of a block: `parentHash`, eth wire, RPC `hash`, BLOCKHASH.
///
/// Round and seals do not count, except in block 0, which is hashed as it stands.
///
/// # Errors
/// The extra data of a header above 0 does not decode.
pub fn block_hash(header: &Header) -> Result<B256, ExtraDataError> {
    if header.number == 0 {
        return Ok(raw_hash(header));
    }
    Ok(hash_with(header, &ExtraData::decode(&header.extra_data)?, 0))
}

/// What a commit seal of `round` signs, without prefix or second hash.
///
/// # Errors
/// The extra data does not decode.
pub fn commit_hash(header: &Header, round: u32) -> Result<B256, ExtraDataError> {
    Ok(hash_with(header, &ExtraData::decode(&header.extra_data)?, round))
}

/// Digest of a proposed block in Prepare, Commit and RoundChange as Besu ≥ 24.12 computes it: with the round that
/// the block itself carries. GoQuorum's digest is [`block_hash`].
///
/// # Errors
/// The extra data does not decode.
pub fn digest(header: &Header) -> Result<B256, ExtraDataError> {
    let extra = ExtraData::decode(&header.extra_data)?;
    Ok(hash_with(header, &extra, extra.round))
}

/// Keccak of the header's bytes as they stand; names block 0 only.
pub fn raw_hash(header: &Header) -> B256 {
    let mut out = Vec::with_capacity(header.length());
    header.encode(&mut out);
    keccak256(out)
}

/// The header with `round` and `seals` in its extra data.
///
/// # Errors
/// The extra data does not decode.
pub fn with_round_and_seals(header: &Header, round: u32, seals: Vec<crate::crypto::Signature65>) -> Result<Header, ExtraDataError> {
    let mut extra = ExtraData::decode(&header.extra_data)?;
    extra.round = round;
    extra.seals = seals;
    Ok(Header { extra_data: extra.encode(), ..header.clone() })
}

fn hash_with(header: &Header, extra: &ExtraData, round: u32) -> B256 {
    let mut stripped = extra.clone();
    stripped.round = round;
    stripped.seals.clear();
    let bytes: Bytes = stripped.encode();
    raw_hash(&Header { extra_data: bytes, ..header.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::{Address, B64, U256, address, b256, hex};

    /// spec/qbft.md 3.5, example B: a header that a real Besu sealed in round 1.
    fn example_b() -> Header {
        let extra = hex!(
            "f90144a00000000000000000000000000000000000000000000000000000000000000000f85494647bfdd19655e51e69d35454ff3a92f8828e630294a5c8416b9d13417b45b45ada76408f39d1e504ef94b92e91f4dcc9d28503be521afa2a8fbf3c1acf6094ee3353e587cfa91625a1adaef308a726de3803d3c001f8c9b841bc7633fd65570f610a595086e9a34e5bf6aacfb67b8f8cd01852e6b285147f046a50577b49378b86723ac9b456ef59ef7ab57cda7139d807f10f58e8cb10c67600b841ad1defc2b0b4a48158cff24778bb5ba4d9f373c171022ab0a42e37bdb0d4025718434d303a8d94df56ef9ad5219be9f27b2f67179a7fb82d3323dde29546f9f701b841e233d3670dd97c715f72b440eeb1ccb1e22c8c23f6ab470c46c99c2d0ee6509f0341a42e0e4569782557e93c3815e8ca4294043595f69a90f73f135de8ecf41e00"
        );
        Header {
            parent_hash: b256!("0af93e70b1c6d3974a88a42eb70bb61adbd523bfac0c83027ba4637c52746a0f"),
            ommers_hash: EMPTY_OMMERS_HASH,
            beneficiary: address!("ee3353e587cfa91625a1adaef308a726de3803d3"),
            state_root: b256!("166ed98eea93ab2b6f6b1a425526994adc2d675bf9a0d77d600ed1e02d8f77df"),
            transactions_root: EMPTY_ROOT,
            receipts_root: EMPTY_ROOT,
            difficulty: U256::from(1),
            number: 7528,
            gas_limit: 4_700_000,
            timestamp: 1_715_495_307,
            extra_data: extra.to_vec().into(),
            mix_hash: BFT_MIX_HASH,
            nonce: B64::ZERO,
            ..Header::default()
        }
    }

    #[test]
    fn a_sealed_besu_header_has_the_recorded_hashes_and_signers() {
        let header = example_b();
        assert_eq!(header.length(), 834);
        assert_eq!(raw_hash(&header), b256!("d382717766b765988fcda71870a567a2702c979e604c1fd76f9264a377a1a271"));
        assert_eq!(block_hash(&header).unwrap(), b256!("502568a07cc2303558ed8eea495d61255946a14c46be5ead61cdc737bdeaaf42"));
        let commit = commit_hash(&header, 1).unwrap();
        assert_eq!(commit, b256!("75ea184f58cd3f0ef89032a069df01f07ec524ef3a85cf6d3e424d62130c0a32"));
        assert_eq!(digest(&header).unwrap(), commit);
        let signers: Vec<Address> = ExtraData::decode(&header.extra_data)
            .unwrap()
            .seals
            .iter()
            .map(|seal| crate::crypto::recover_address(commit, seal, crate::crypto::HighS::Allowed).unwrap())
            .collect();
        assert_eq!(
            signers,
            [
                address!("647bfdd19655e51e69d35454ff3a92f8828e6302"),
                address!("ee3353e587cfa91625a1adaef308a726de3803d3"),
                address!("a5c8416b9d13417b45b45ada76408f39d1e504ef"),
            ]
        );
    }

    /// spec/qbft.md 3.5, example E: a vote and a large round.
    #[test]
    fn a_vote_and_a_large_round_hash_as_computed() {
        let mut vanity = [0u8; 32];
        for (index, byte) in vanity.iter_mut().enumerate() {
            *byte = index as u8;
        }
        let extra = ExtraData {
            vanity: vanity.to_vec().into(),
            validators: vec![Address::with_last_byte(1), Address::with_last_byte(2)],
            vote: Some(crate::extra::Vote { recipient: Address::with_last_byte(3), add: true }),
            round: 0xFE_DCBA,
            seals: vec![],
        };
        let header = Header {
            parent_hash: b256!("a7762d3307dbf2ae6a1ae1b09cf61c7603722b2379731b6b90409cdb8c8288a0"),
            ommers_hash: EMPTY_OMMERS_HASH,
            state_root: b256!("ca07595b82f908822971b7e848398e3395e59ee52565c7ef3603df1a1fa7bc80"),
            transactions_root: EMPTY_ROOT,
            receipts_root: EMPTY_ROOT,
            difficulty: U256::from(1),
            number: 1,
            gas_limit: 4_704_588,
            timestamp: 1_530_674_616,
            extra_data: extra.encode(),
            mix_hash: BFT_MIX_HASH,
            ..Header::default()
        };
        assert_eq!(digest(&header).unwrap(), b256!("81db92ea38284f1c7cf1595a1e4f74caede5d961a418bf0f7ce0ab05d680ab9f"));
        assert_eq!(block_hash(&header).unwrap(), b256!("6c9fa1845957da70ab04f12c452e0d2b76065a50105e8f59098c8be808b91f6f"));
    }
}
