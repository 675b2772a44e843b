//! Extra data of a QBFT header: `rlp([vanity, validators, vote, round, seals])` (spec/qbft.md 3.1, 3.2).

use alloy_primitives::{Address, Bytes};
use alloy_rlp::{Decodable, Encodable, Header as RlpHeader};
use thiserror::Error;

use crate::crypto::{Signature65, SignatureError};

/// Validators that one extra data may list. RBB has ten; Besu has no bound. A list of this length is 21 kB of every
/// header, far beyond where QBFT's quadratic messages stop being useful.
pub const MAX_VALIDATORS: usize = 512;

/// A vote of the proposer about one address, carried by the header that it proposes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Vote {
    /// Whose membership the vote is about.
    pub recipient: Address,
    /// True to add the recipient to the validators (wire `0xff`), false to drop it (wire: empty string).
    pub add: bool,
}

/// The decoded extra data of a header.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ExtraData {
    /// Free bytes of the proposer; 32 when we write them, of any length when read, as in Besu.
    pub vanity: Bytes,
    /// Header mode: the validators that seal this block, ascending from block 1 on. Contract mode: empty.
    pub validators: Vec<Address>,
    /// At most one vote; none in contract mode.
    pub vote: Option<Vote>,
    /// Round in which the block was sealed, or that its proposal carried.
    pub round: u32,
    /// Commit seals in the order of arrival; empty in a proposal.
    pub seals: Vec<Signature65>,
}

/// Why extra data is not QBFT's.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ExtraDataError {
    /// Not the expected list of five items.
    #[error("extra data is not rlp([vanity, validators, vote, round, seals]): {item}: {source}")]
    Rlp {
        /// The item that failed.
        item: &'static str,
        /// What the RLP decoder said.
        source: alloy_rlp::Error,
    },
    /// A vote type that is neither add (`ff`) nor drop (empty or `00`).
    #[error("extra data: vote type is {got}, expected ff (add) or an empty string (drop)")]
    VoteType {
        /// The bytes found, in hex.
        got: String,
    },
    /// More validators or seals than [`MAX_VALIDATORS`].
    #[error("extra data lists {got} {what}, at most {max} are read", max = MAX_VALIDATORS)]
    TooMany {
        /// `validators` or `seals`.
        what: &'static str,
        /// How many were listed.
        got: usize,
    },
    /// A seal whose r or s is out of range, or whose recovery id is not 0 or 1.
    #[error("extra data: commit seal {index}: {source}")]
    Seal {
        /// Position in the list, from 0.
        index: usize,
        /// What is wrong with it.
        source: SignatureError,
    },
}

impl ExtraData {
    /// Reads extra data with Besu's tolerance: a drop vote may be `00`, items after the seals are ignored, the vanity
    /// may have any length (spec/qbft.md 3.2).
    ///
    /// # Errors
    /// [`ExtraDataError`] names the item.
    pub fn decode(bytes: &[u8]) -> Result<Self, ExtraDataError> {
        let mut rest = bytes;
        let mut list = list_of(&mut rest, "list")?;
        if !rest.is_empty() {
            return Err(ExtraDataError::Rlp { item: "end", source: alloy_rlp::Error::UnexpectedLength });
        }
        let vanity = Bytes::from(string_of(&mut list, "vanity")?.to_vec());
        let validators = addresses_of(&mut list)?;
        let vote = vote_of(&mut list)?;
        let round = u32::decode(&mut list).map_err(rlp("round"))?;
        let seals = seals_of(&mut list)?;
        Ok(Self { vanity, validators, vote, round, seals })
    }

    /// Canonical bytes of these five items.
    pub fn encode(&self) -> Bytes {
        let mut body = Vec::with_capacity(64 + 21 * self.validators.len() + 67 * self.seals.len());
        self.vanity.encode(&mut body);
        self.validators.encode(&mut body);
        match &self.vote {
            None => body.push(alloy_rlp::EMPTY_LIST_CODE),
            Some(vote) => {
                let kind: &[u8] = if vote.add { &[0xff] } else { &[] };
                RlpHeader { list: true, payload_length: 21 + kind.length() }.encode(&mut body);
                vote.recipient.encode(&mut body);
                kind.encode(&mut body);
            }
        }
        self.round.encode(&mut body);
        let seals_length = 67 * self.seals.len();
        RlpHeader { list: true, payload_length: seals_length }.encode(&mut body);
        for seal in &self.seals {
            seal.as_slice().encode(&mut body);
        }
        let mut out = Vec::with_capacity(body.len() + 4);
        RlpHeader { list: true, payload_length: body.len() }.encode(&mut out);
        out.extend_from_slice(&body);
        out.into()
    }

    /// Extra data of a header-mode genesis: zero vanity, these validators in this order.
    pub fn genesis(validators: Vec<Address>) -> Self {
        Self { vanity: Bytes::from(vec![0; 32]), validators, ..Self::default() }
    }
}

fn rlp(item: &'static str) -> impl Fn(alloy_rlp::Error) -> ExtraDataError {
    move |source| ExtraDataError::Rlp { item, source }
}

fn list_of<'a>(bytes: &mut &'a [u8], item: &'static str) -> Result<&'a [u8], ExtraDataError> {
    RlpHeader::decode_bytes(bytes, true).map_err(rlp(item))
}

fn string_of<'a>(bytes: &mut &'a [u8], item: &'static str) -> Result<&'a [u8], ExtraDataError> {
    RlpHeader::decode_bytes(bytes, false).map_err(rlp(item))
}

fn addresses_of(list: &mut &[u8]) -> Result<Vec<Address>, ExtraDataError> {
    let mut items = list_of(list, "validators")?;
    if items.len() / 21 > MAX_VALIDATORS {
        return Err(ExtraDataError::TooMany { what: "validators", got: items.len() / 21 });
    }
    let mut validators = Vec::with_capacity(items.len() / 21);
    while !items.is_empty() {
        validators.push(Address::decode(&mut items).map_err(rlp("validator"))?);
    }
    Ok(validators)
}

fn vote_of(list: &mut &[u8]) -> Result<Option<Vote>, ExtraDataError> {
    let mut items = list_of(list, "vote")?;
    if items.is_empty() {
        return Ok(None);
    }
    let recipient = Address::decode(&mut items).map_err(rlp("vote recipient"))?;
    match string_of(&mut items, "vote type")? {
        [0xff] => Ok(Some(Vote { recipient, add: true })),
        [] | [0x00] => Ok(Some(Vote { recipient, add: false })),
        other => Err(ExtraDataError::VoteType { got: hex::encode(&other[..other.len().min(8)]) }),
    }
}

fn seals_of(list: &mut &[u8]) -> Result<Vec<Signature65>, ExtraDataError> {
    let mut items = list_of(list, "seals")?;
    if items.len() / 67 > MAX_VALIDATORS {
        return Err(ExtraDataError::TooMany { what: "seals", got: items.len() / 67 });
    }
    let mut seals = Vec::with_capacity(items.len() / 67);
    while !items.is_empty() {
        let bytes = <[u8; 65]>::decode(&mut items).map_err(rlp("seal"))?;
        let index = seals.len();
        seals.push(Signature65::from_bytes(bytes).map_err(|source| ExtraDataError::Seal { index, source })?);
    }
    Ok(seals)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::hex;

    fn seal(r: u8, s: u8) -> Signature65 {
        let mut bytes = [0u8; 65];
        bytes[31] = r;
        bytes[63] = s;
        Signature65::from_bytes(bytes).unwrap()
    }

    /// spec/qbft.md 3.5, example A.
    #[test]
    fn every_item_populated_is_byte_equal_to_besus_own_test() {
        let vanity: Vec<u8> = (1..=32).collect();
        let extra = ExtraData {
            vanity: vanity.into(),
            validators: vec![Address::with_last_byte(1), Address::with_last_byte(2)],
            vote: Some(Vote { recipient: Address::with_last_byte(1), add: true }),
            round: 0xFE_DCBA,
            seals: vec![seal(1, 10), seal(10, 1)],
        };
        let expected = hex!(
            "f8f0a00102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20ea940000000000000000000000000000000000000001940000000000000000000000000000000000000002d794000000000000000000000000000000000000000181ff83fedcbaf886b8410000000000000000000000000000000000000000000000000000000000000001000000000000000000000000000000000000000000000000000000000000000a00b841000000000000000000000000000000000000000000000000000000000000000a000000000000000000000000000000000000000000000000000000000000000100"
        );
        assert_eq!(extra.encode().as_ref(), expected);
        assert_eq!(ExtraData::decode(&expected).unwrap(), extra);
    }

    #[test]
    fn besus_tolerance_is_mirrored() {
        let mut drop = ExtraData::genesis(vec![]);
        drop.vote = Some(Vote { recipient: Address::with_last_byte(7), add: false });
        let canonical = drop.encode();
        let mut with_zero = canonical.to_vec();
        let at = canonical.len() - 3;
        assert_eq!(with_zero[at], 0x80);
        with_zero[at] = 0x00;
        assert_eq!(ExtraData::decode(&with_zero).unwrap(), drop);
        let mut trailing = canonical.to_vec();
        trailing.push(0x01);
        trailing[1] += 1;
        assert_eq!(ExtraData::decode(&trailing).unwrap(), drop);

        let mut behind = canonical.to_vec();
        behind.push(0x01);
        assert!(matches!(ExtraData::decode(&behind), Err(ExtraDataError::Rlp { item: "end", .. })));

        assert!(ExtraData::decode(&[]).is_err());
        let no_vote_as_string = hex!("e5a00000000000000000000000000000000000000000000000000000000000000000c08080c0");
        assert!(matches!(ExtraData::decode(&no_vote_as_string), Err(ExtraDataError::Rlp { item: "vote", .. })));
        let round_with_leading_zero = hex!("e5a00000000000000000000000000000000000000000000000000000000000000000c0c000c0");
        assert!(matches!(ExtraData::decode(&round_with_leading_zero), Err(ExtraDataError::Rlp { item: "round", .. })));
    }

    #[test]
    fn a_contract_mode_genesis_is_the_short_form() {
        assert_eq!(
            ExtraData::genesis(vec![]).encode().as_ref(),
            hex!("e5a00000000000000000000000000000000000000000000000000000000000000000c0c080c0")
        );
    }
}
