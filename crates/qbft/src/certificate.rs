//! The prepared certificate: a block with a quorum of Prepares, which a validator never forgets.

use std::sync::Arc;

use alloy_primitives::{B256, Bytes};
use alloy_rlp::{Decodable, Encodable, Error as RlpError, Header as RlpHeader};
use ipe_types::message::{MessageError, PreparePayload, Signed};
use ipe_types::{Block, Kind, Message};

/// Proof that a quorum prepared `block` in `round`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreparedCertificate {
    /// Round in which it was prepared.
    pub round: u32,
    /// Digest named in RoundChanges: the form of the proposal's author (spec/qbft.md 3.4).
    pub digest: B256,
    /// The block as it was proposed in `round`.
    pub block: Arc<Block>,
    /// Raw item of the block access list of the proposal, if it had one.
    pub access_list: Option<Bytes>,
    /// At least a quorum, of distinct validators.
    pub prepares: Vec<Signed<PreparePayload>>,
}

impl PreparedCertificate {
    /// Bytes for the journal: `[round, digest, block, access list, [prepare message, …]]`.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut prepares = Vec::new();
        for prepare in &self.prepares {
            Message::Prepare(prepare.clone()).encode().as_ref().encode(&mut prepares);
        }
        let mut body = Vec::with_capacity(self.block.length() + prepares.len() + 64);
        self.round.encode(&mut body);
        self.digest.encode(&mut body);
        self.block.encode(&mut body);
        self.access_list.as_ref().map_or(&[][..], |item| item.as_ref()).encode(&mut body);
        RlpHeader { list: true, payload_length: prepares.len() }.encode(&mut body);
        body.extend_from_slice(&prepares);
        let mut out = Vec::with_capacity(body.len() + 5);
        RlpHeader { list: true, payload_length: body.len() }.encode(&mut out);
        out.extend_from_slice(&body);
        out
    }

    /// Reads [`PreparedCertificate::to_bytes`].
    ///
    /// # Errors
    /// The bytes are not a certificate or a Prepare in it has no author. Whether it proves anything is for
    /// the justification rules to say.
    pub fn from_bytes(mut bytes: &[u8]) -> Result<Self, MessageError> {
        let mut items = RlpHeader::decode_bytes(&mut bytes, true)?;
        let round = u32::decode(&mut items)?;
        let digest = B256::decode(&mut items)?;
        let block = Arc::new(Block::decode(&mut items)?);
        let access_list = Some(Bytes::decode(&mut items)?).filter(|item| !item.is_empty());
        let mut list = RlpHeader::decode_bytes(&mut items, true)?;
        let mut prepares = Vec::new();
        while !list.is_empty() {
            let message = Bytes::decode(&mut list)?;
            match Message::decode(Kind::Prepare.code(), &message)? {
                Message::Prepare(prepare) => prepares.push(prepare),
                _ => return Err(RlpError::Custom("a certificate holds Prepares only").into()),
            }
        }
        Ok(Self { round, digest, block, access_list, prepares })
    }
}
