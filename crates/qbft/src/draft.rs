//! A message before its signature: what the gate journals and signs.

use std::sync::Arc;

use alloy_primitives::{B256, Bytes, keccak256};
use ipe_types::crypto::SignatureError;
use ipe_types::message::{
    CommitPayload, Payload, PreparePayload, Proposal, ProposalPayload, RoundChange, RoundChangePayload, Signed,
};
use ipe_types::{Dialect, Kind, Message, Signature65};

use crate::certificate::PreparedCertificate;

/// RLP of "no block access list" in the dialect of Besu ≥ 26.1.
const NO_ACCESS_LIST: Bytes = Bytes::from_static(&[0x80]);

/// A message that the core wishes to sign.
///
/// Before anything is signed the gate must have made durable: `(height, round, kind, identity)`, and the
/// [`Draft::certificate`] if there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Draft {
    /// A block for a round.
    Proposal {
        /// In the dialect to be emitted.
        payload: ProposalPayload,
        /// A quorum for the round; empty in round 0.
        round_changes: Vec<Signed<RoundChangePayload>>,
        /// A quorum for the block when it was prepared before.
        prepares: Vec<Signed<PreparePayload>>,
    },
    /// Agreement with a proposal.
    Prepare(PreparePayload),
    /// Agreement to seal.
    Commit {
        /// Height.
        height: u64,
        /// Round.
        round: u32,
        /// Digest in the form of the proposal's author.
        digest: B256,
        /// What the commit seal signs.
        commit_hash: B256,
        /// Why we may: lost, it could let another block be sealed at this height, so it is journalled first.
        certificate: Arc<PreparedCertificate>,
    },
    /// Wish to leave for a round.
    RoundChange {
        /// What is signed.
        payload: RoundChangePayload,
        /// The certificate that the payload refers to.
        certificate: Option<Arc<PreparedCertificate>>,
        /// Form to be emitted.
        dialect: Dialect,
    },
}

/// What a signer gives for a [`Draft`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signatures {
    /// Over what a Commit's seal signs; for a Commit alone.
    pub seal: Option<Signature65>,
    /// Over the message.
    pub message: Signature65,
}

impl Draft {
    /// Kind of the message.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Proposal { .. } => Kind::Proposal,
            Self::Prepare(_) => Kind::Prepare,
            Self::Commit { .. } => Kind::Commit,
            Self::RoundChange { .. } => Kind::RoundChange,
        }
    }

    /// Height of the message.
    pub fn height(&self) -> u64 {
        match self {
            Self::Proposal { payload, .. } => payload.height,
            Self::Prepare(payload) => payload.height,
            Self::Commit { height, .. } => *height,
            Self::RoundChange { payload, .. } => payload.height,
        }
    }

    /// Round of the message.
    pub fn round(&self) -> u32 {
        match self {
            Self::Proposal { payload, .. } => payload.round,
            Self::Prepare(payload) => payload.round,
            Self::Commit { round, .. } => *round,
            Self::RoundChange { payload, .. } => payload.round,
        }
    }

    /// Names what is said: two drafts of one (height, round, kind) with different identities must never both be
    /// signed. Keccak of the payload's RLP; of a Commit without its seal, which follows from the rest.
    pub fn identity(&self) -> B256 {
        match self {
            Self::Proposal { payload, .. } => keccak256(payload.encode_payload()),
            Self::Prepare(payload) => keccak256(payload.encode_payload()),
            Self::Commit { height, round, digest, .. } => {
                keccak256(PreparePayload { height: *height, round: *round, digest: *digest }.encode_payload())
            }
            Self::RoundChange { payload, .. } => keccak256(payload.encode_payload()),
        }
    }

    /// The prepared certificate that must be durable before this is signed.
    pub fn certificate(&self) -> Option<&Arc<PreparedCertificate>> {
        match self {
            Self::Proposal { .. } | Self::Prepare(_) => None,
            Self::Commit { certificate, .. } => Some(certificate),
            Self::RoundChange { certificate, .. } => certificate.as_ref(),
        }
    }

    /// Makes the message; `sign` signs the 32 bytes it is given (twice for a Commit: seal, then message).
    ///
    /// # Errors
    /// The signer gave a signature that has no author or a high s.
    pub fn sign_with(&self, mut sign: impl FnMut(B256) -> Signature65) -> Result<Message, SignatureError> {
        Ok(match self {
            Self::Proposal { payload, round_changes, prepares } => Message::Proposal(Box::new(Proposal {
                signed: Signed::sign_with(payload.clone(), sign)?,
                round_changes: round_changes.clone(),
                prepares: prepares.clone(),
            })),
            Self::Prepare(payload) => Message::Prepare(Signed::sign_with(payload.clone(), sign)?),
            Self::Commit { height, round, digest, commit_hash, .. } => {
                let seal = sign(*commit_hash);
                let payload = CommitPayload { height: *height, round: *round, digest: *digest, seal };
                Message::Commit(Signed::sign_with(payload, sign)?)
            }
            Self::RoundChange { payload, certificate, dialect } => {
                let access_list = certificate.as_ref().and_then(|certificate| certificate.access_list.clone());
                Message::RoundChange(Box::new(RoundChange {
                    signed: Signed::sign_with(payload.clone(), sign)?,
                    block: certificate.as_ref().map(|certificate| certificate.block.clone()),
                    access_list: access_list_for(*dialect, access_list),
                    prepares: certificate.as_ref().map_or_else(Vec::new, |certificate| certificate.prepares.clone()),
                }))
            }
        })
    }

    /// What a signer elsewhere does with it: each hash that needs a signature, in order (of a Commit first the seal's).
    ///
    /// # Errors
    /// Those of `sign`.
    pub fn signatures<E>(&self, mut sign: impl FnMut(B256) -> Result<Signature65, E>) -> Result<Signatures, E> {
        let mut seal = None;
        let hash = match self {
            Self::Proposal { payload, .. } => Signed::<ProposalPayload>::signing_hash(&payload.encode_payload()),
            Self::Prepare(payload) => Signed::<PreparePayload>::signing_hash(&payload.encode_payload()),
            Self::Commit { height, round, digest, commit_hash, .. } => {
                let made = *seal.insert(sign(*commit_hash)?);
                let payload = CommitPayload { height: *height, round: *round, digest: *digest, seal: made };
                Signed::<CommitPayload>::signing_hash(&payload.encode_payload())
            }
            Self::RoundChange { payload, .. } => Signed::<RoundChangePayload>::signing_hash(&payload.encode_payload()),
        };
        Ok(Signatures { seal, message: sign(hash)? })
    }

    /// The message with signatures that a signer elsewhere made. Whose they are is for the caller to see.
    ///
    /// # Errors
    /// A signature has no author or a high s, or a Commit's seal is missing.
    pub fn with(&self, signatures: &Signatures) -> Result<Message, SignatureError> {
        let mut given = signatures.seal.into_iter().chain([signatures.message]).fuse();
        let message = self.sign_with(|_| given.next().unwrap_or(signatures.message))?;
        if given.next().is_some() { Err(SignatureError::NotRecoverable) } else { Ok(message) }
    }
}

/// The access list item to emit in `dialect`, given the one that the block came with.
pub(crate) fn access_list_for(dialect: Dialect, received: Option<Bytes>) -> Option<Bytes> {
    match dialect {
        Dialect::Legacy | Dialect::GoQuorum => None,
        Dialect::Besu26 => Some(received.unwrap_or(NO_ACCESS_LIST)),
    }
}
