//! Consensus messages of `istanbul/100` (spec/qbft.md 7): what is signed, what travels, and both dialects.
//!
//! What a peer signed is kept as its raw bytes and never encoded again: the dialects differ inside the signed
//! payload of a Proposal, so a re-encoding would lose the author.
//!
//! There is one decoder, in two steps: an [`Outline`] cuts the bytes along their outer lists, which costs next to nothing
//! whatever their size, and [`Outline::message`] decodes blocks and recovers who signed the justification. A relay judges
//! in between.

use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes, Keccak256};
use alloy_rlp::{BufMut, Decodable, Encodable, Error as RlpError, Header as RlpHeader};
use thiserror::Error;

use crate::block::Block;
use crate::crypto::{HighS, Signature65, SignatureError, recover_address};
use crate::extra::MAX_VALIDATORS;
use crate::work;

/// Bytes of one consensus message: what a session carries. A block that is voted for leaves room for the justification of 512
/// validators ([`crate::sizes`]).
pub const MAX_MESSAGE_BYTES: usize = crate::sizes::MESSAGE_BYTES;

/// Kinds of consensus message; the value is the code on the wire and inside what is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// A block for a round, with its justification.
    Proposal = 0x12,
    /// Agreement with the proposal of a round.
    Prepare = 0x13,
    /// Agreement to seal, with the commit seal.
    Commit = 0x14,
    /// Wish to leave for a round, with what was prepared.
    RoundChange = 0x15,
}

impl Kind {
    /// Kind of a wire code, if it is one.
    pub fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0x12 => Self::Proposal,
            0x13 => Self::Prepare,
            0x14 => Self::Commit,
            0x15 => Self::RoundChange,
            _ => return None,
        })
    }

    /// Wire code.
    pub fn code(self) -> u8 {
        self as u8
    }
}

/// Form of Proposal and RoundChange that we emit; both are read, told apart by their number of items
/// (spec/qbft.md 7.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Dialect {
    /// Besu ≤ 25.12, and Besu ≥ 26.6 with its legacy switch: three items.
    #[default]
    Legacy,
    /// GoQuorum: three items, and a proposed block keeps round 0 in its extra data whatever the round of the message, so
    /// that its digest has no round (spec/qbft.md 3.4).
    GoQuorum,
    /// Besu ≥ 26.1: a block access list (`80` when there is none) as an item of its own.
    Besu26,
}

/// `[height, round, block(, block access list)]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProposalPayload {
    /// Number of the block.
    pub height: u64,
    /// Round it is proposed in.
    pub round: u32,
    /// Without seals; Besu ≥ 24.12 puts the round into its extra data, GoQuorum leaves 0.
    pub block: Arc<Block>,
    /// Raw RLP item of the block access list (`80` for none); `None` in the legacy dialect.
    pub access_list: Option<Bytes>,
}

/// `[height, round, digest]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreparePayload {
    /// Height.
    pub height: u64,
    /// Round.
    pub round: u32,
    /// Digest of the proposed block, in the form of the proposal's author (spec/qbft.md 3.4).
    pub digest: B256,
}

/// `[height, round, digest, seal]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitPayload {
    /// Height.
    pub height: u64,
    /// Round.
    pub round: u32,
    /// As in Prepare.
    pub digest: B256,
    /// Signature over the commit hash of the block with `round`.
    pub seal: Signature65,
}

/// `[height, round, [] or [prepared round, prepared digest]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoundChangePayload {
    /// Height.
    pub height: u64,
    /// Round to go to, from 1 on.
    pub round: u32,
    /// The latest round in which the author was prepared, and the digest then.
    pub prepared: Option<(u32, B256)>,
}

/// What can stand in a signed envelope.
pub trait Payload: Sized {
    /// Code that is hashed with the payload.
    const KIND: Kind;
    /// Block number.
    fn height(&self) -> u64;
    /// Round of the message.
    fn round(&self) -> u32;
    /// RLP list of the payload.
    fn encode_payload(&self) -> Vec<u8>;
    /// Reads the items of the payload's list.
    ///
    /// # Errors
    /// Any deviation from the form of the payload.
    fn decode_items(items: &mut &[u8]) -> Result<Self, RlpError>;
}

/// A payload with its author's signature; the author is recovered, never claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed<P> {
    payload: P,
    raw: Bytes,
    signature: Signature65,
    author: Address,
}

impl<P: Payload> Signed<P> {
    /// Hash that the author of `raw` (the payload's RLP) signs: keccak(rlp([code, payload])).
    pub fn signing_hash(raw: &[u8]) -> B256 {
        signing_hash(P::KIND, raw)
    }

    /// Signs with `sign`, which is given the 32 bytes to sign.
    ///
    /// # Errors
    /// The signature does not recover, or its s is high: a fault of the signer.
    pub fn sign_with(payload: P, sign: impl FnOnce(B256) -> Signature65) -> Result<Self, SignatureError> {
        let raw = Bytes::from(payload.encode_payload());
        let hash = Self::signing_hash(&raw);
        let signature = sign(hash);
        let author = recover_address(hash, &signature, HighS::Rejected)?;
        Ok(Self { payload, raw, signature, author })
    }

    /// What was signed.
    pub fn payload(&self) -> &P {
        &self.payload
    }

    /// RLP of the payload as it was signed.
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// Signature over [`Signed::signing_hash`].
    pub fn signature(&self) -> &Signature65 {
        &self.signature
    }

    /// Recovered from the signature.
    pub fn author(&self) -> Address {
        self.author
    }

    /// Block number.
    pub fn height(&self) -> u64 {
        self.payload.height()
    }

    /// Round.
    pub fn round(&self) -> u32 {
        self.payload.round()
    }

    fn items_length(&self) -> usize {
        self.raw.len() + 67
    }

    fn length(&self) -> usize {
        self.items_length() + alloy_rlp::length_of_length(self.items_length())
    }

    fn encode(&self, out: &mut Vec<u8>) {
        RlpHeader { list: true, payload_length: self.items_length() }.encode(out);
        out.extend_from_slice(&self.raw);
        self.signature.as_slice().encode(out);
    }

    /// What `author` signed: `raw` is the RLP of the payload.
    fn open(raw: Bytes, signature: Signature65, author: Address) -> Result<Self, MessageError> {
        let mut items = RlpHeader::decode_bytes(&mut &raw[..], true)?;
        let payload = P::decode_items(&mut items)?;
        end(items)?;
        Ok(Self { payload, raw, signature, author })
    }
}

/// A signed proposal with what justifies its round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// The proposer's payload.
    pub signed: Signed<ProposalPayload>,
    /// A quorum of round changes for this round; empty in round 0.
    pub round_changes: Vec<Signed<RoundChangePayload>>,
    /// A quorum of prepares for the latest prepared round among them; empty when none was prepared.
    pub prepares: Vec<Signed<PreparePayload>>,
}

/// A signed wish to change the round with the prepared certificate that it refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoundChange {
    /// The author's payload.
    pub signed: Signed<RoundChangePayload>,
    /// The prepared block.
    pub block: Option<Arc<Block>>,
    /// Raw RLP item of the block access list; `None` in the legacy dialect.
    pub access_list: Option<Bytes>,
    /// A quorum of prepares for the block.
    pub prepares: Vec<Signed<PreparePayload>>,
}

/// A consensus message whose authors have all been recovered. Whether they are validators is for others to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Code 0x12.
    Proposal(Box<Proposal>),
    /// Code 0x13.
    Prepare(Signed<PreparePayload>),
    /// Code 0x14.
    Commit(Signed<CommitPayload>),
    /// Code 0x15.
    RoundChange(Box<RoundChange>),
}

/// Why bytes are not a consensus message.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MessageError {
    /// Not one of 0x12 to 0x15.
    #[error("consensus message code is {0:#04x}, expected 0x12 to 0x15")]
    UnknownCode(u8),
    /// More than [`MAX_MESSAGE_BYTES`].
    #[error("consensus message has {0} bytes, at most {MAX_MESSAGE_BYTES} are read")]
    TooLarge(usize),
    /// Not the list that its kind asks for.
    #[error("consensus message is not the expected RLP: {0}")]
    Rlp(#[from] RlpError),
    /// A signature is out of range or gives no author.
    #[error("consensus message: {0}")]
    Signature(#[from] SignatureError),
    /// More justifying messages than [`MAX_VALIDATORS`].
    #[error("consensus message carries {0} justifying messages of one kind, at most {MAX_VALIDATORS} are read")]
    TooManyJustifications(usize),
    /// The reader takes no justification by this author, see [`Outline::message`].
    #[error("consensus message is justified by {0}, who does not validate its height")]
    Outsider(Address),
}

impl Message {
    /// Reads the bytes of a frame after its sub-protocol code. Both dialects are read.
    ///
    /// # Errors
    /// [`MessageError`]; never panics, and work is bounded by [`MAX_MESSAGE_BYTES`] and [`MAX_VALIDATORS`]
    /// recoveries of each kind.
    pub fn decode(code: u8, bytes: &[u8]) -> Result<Self, MessageError> {
        if bytes.len() > MAX_MESSAGE_BYTES {
            return Err(MessageError::TooLarge(bytes.len()));
        }
        let kind = Kind::from_code(code).ok_or(MessageError::UnknownCode(code))?;
        let outline = Outline::read(kind, bytes)?;
        let author = outline.author()?;
        outline.message(author, &mut |hash, signature| Ok(recover_address(hash, signature, HighS::Rejected)?))
    }

    /// Bytes of the frame after the sub-protocol code.
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        match self {
            Self::Proposal(proposal) => proposal.encode(&mut out),
            Self::Prepare(signed) => signed.encode(&mut out),
            Self::Commit(signed) => signed.encode(&mut out),
            Self::RoundChange(change) => change.encode(&mut out),
        }
        out.into()
    }

    /// As [`Outline::key`] of its bytes.
    pub fn key(&self) -> B256 {
        let block_header = |block: &Arc<Block>| {
            let mut out = Vec::new();
            block.header.encode(&mut out);
            out
        };
        match self {
            Self::Proposal(proposal) => key(Kind::Proposal, &proposal.signed.signature, None),
            Self::Prepare(signed) => key(Kind::Prepare, &signed.signature, None),
            Self::Commit(signed) => key(Kind::Commit, &signed.signature, None),
            Self::RoundChange(change) => {
                let header = change.block.as_ref().map(block_header).unwrap_or_default();
                key(Kind::RoundChange, &change.signed.signature, Some((change.access_list.is_some(), &header)))
            }
        }
    }

    /// Kind, and by it the code on the wire.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Proposal(_) => Kind::Proposal,
            Self::Prepare(_) => Kind::Prepare,
            Self::Commit(_) => Kind::Commit,
            Self::RoundChange(_) => Kind::RoundChange,
        }
    }

    /// Who signed the message itself.
    pub fn author(&self) -> Address {
        match self {
            Self::Proposal(proposal) => proposal.signed.author,
            Self::Prepare(signed) => signed.author,
            Self::Commit(signed) => signed.author,
            Self::RoundChange(change) => change.signed.author,
        }
    }

    /// Block number it is about.
    pub fn height(&self) -> u64 {
        match self {
            Self::Proposal(proposal) => proposal.signed.height(),
            Self::Prepare(signed) => signed.height(),
            Self::Commit(signed) => signed.height(),
            Self::RoundChange(change) => change.signed.height(),
        }
    }

    /// Round it is about; of a RoundChange the round to go to.
    pub fn round(&self) -> u32 {
        match self {
            Self::Proposal(proposal) => proposal.signed.round(),
            Self::Prepare(signed) => signed.round(),
            Self::Commit(signed) => signed.round(),
            Self::RoundChange(change) => change.signed.round(),
        }
    }
}

/// Height and round of a message's bytes, read without recovering anybody.
///
/// # Errors
/// The outer lists are not those of `kind`.
pub fn peek(kind: Kind, bytes: &[u8]) -> Result<(u64, u32), MessageError> {
    Outline::read(kind, bytes).map(|outline| (outline.height, outline.round))
}

/// The bytes of a message cut along their outer lists: what was signed, the signature, and the rest, which nobody signed
/// and everybody who passes the message on can change.
///
/// Nothing is copied, decoded or recovered, so it costs the same for any size of message.
#[derive(Clone, Copy, Debug)]
pub struct Outline<'a> {
    kind: Kind,
    height: u64,
    round: u32,
    raw: &'a [u8],
    signature: Signature65,
    rest: Rest<'a>,
    /// Of which `raw` is a part, to be shared instead of copied.
    whole: Option<&'a Bytes>,
}

/// What nobody signed, as RLP items.
#[derive(Clone, Copy, Debug)]
enum Rest<'a> {
    Nothing,
    Proposal { round_changes: &'a [u8], prepares: &'a [u8] },
    RoundChange { block: &'a [u8], access_list: Option<&'a [u8]>, prepares: &'a [u8] },
}

impl Rest<'_> {
    fn len(&self) -> usize {
        match self {
            Rest::Nothing => 0,
            Rest::Proposal { round_changes, prepares } => round_changes.len() + prepares.len(),
            Rest::RoundChange { block, access_list, prepares } => block.len() + access_list.map_or(0, <[u8]>::len) + prepares.len(),
        }
    }
}

/// Finds out who signed a hash.
pub type Recover<'a> = &'a mut dyn FnMut(B256, &Signature65) -> Result<Address, MessageError>;

impl<'a> Outline<'a> {
    /// Cuts the bytes of a frame after its sub-protocol code.
    ///
    /// # Errors
    /// They are too many, the outer lists are not those of `kind`, or the signature is out of range.
    pub fn read(kind: Kind, bytes: &'a [u8]) -> Result<Self, MessageError> {
        if bytes.len() > MAX_MESSAGE_BYTES {
            return Err(MessageError::TooLarge(bytes.len()));
        }
        let mut buffer = bytes;
        let (raw, signature, rest) = match kind {
            Kind::Prepare | Kind::Commit => {
                let (raw, signature) = cut(&mut buffer)?;
                (raw, signature, Rest::Nothing)
            }
            Kind::Proposal => {
                let mut items = RlpHeader::decode_bytes(&mut buffer, true)?;
                let (raw, signature) = cut(&mut items)?;
                let mut justification = RlpHeader::decode_bytes(&mut items, true)?;
                end(items)?;
                let (round_changes, prepares) = (raw_item(&mut justification)?, raw_item(&mut justification)?);
                end(justification)?;
                (raw, signature, Rest::Proposal { round_changes, prepares })
            }
            Kind::RoundChange => {
                let mut items = RlpHeader::decode_bytes(&mut buffer, true)?;
                let (raw, signature) = cut(&mut items)?;
                let (block, third) = (raw_item(&mut items)?, raw_item(&mut items)?);
                let (access_list, prepares) = if items.is_empty() { (None, third) } else { (Some(third), raw_item(&mut items)?) };
                end(items)?;
                (raw, signature, Rest::RoundChange { block, access_list, prepares })
            }
        };
        end(buffer)?;
        let mut payload = RlpHeader::decode_bytes(&mut &raw[..], true)?;
        let (height, round) = (u64::decode(&mut payload)?, u32::decode(&mut payload)?);
        Ok(Self { kind, height, round, raw, signature, rest, whole: None })
    }

    /// As [`Outline::read`]; a large payload of the message is then a part of `bytes` and no copy.
    ///
    /// # Errors
    /// As of [`Outline::read`].
    pub fn of(kind: Kind, bytes: &'a Bytes) -> Result<Self, MessageError> {
        Ok(Self { whole: Some(bytes), ..Self::read(kind, bytes)? })
    }

    /// Kind of the message.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Block number it is about.
    pub fn height(&self) -> u64 {
        self.height
    }

    /// Round it is about; of a RoundChange the round to go to.
    pub fn round(&self) -> u32 {
        self.round
    }

    /// The author's signature.
    pub fn signature(&self) -> &Signature65 {
        &self.signature
    }

    /// What the author signed. Costs a hash of the payload, some 2 ns a byte.
    pub fn signing_hash(&self) -> B256 {
        signing_hash(self.kind, self.raw)
    }

    /// Who signed it.
    ///
    /// # Errors
    /// The signature has no author or a high s.
    pub fn author(&self) -> Result<Address, SignatureError> {
        recover_address(self.signing_hash(), &self.signature, HighS::Rejected)
    }

    /// Names a message by what is signed: once a message of this key has been found sound, every other of the same key is
    /// a copy of it, sound or spoiled, or was never signed by anybody (a signature belongs to one author and payload).
    ///
    /// A RoundChange has several sound forms, told apart by what others of the network read: three items or four, and the
    /// round that the prepared block carries (spec/qbft.md 7.4, 3.4). Each has a key of its own, so that whoever turns one
    /// into another keeps it from nobody.
    pub fn key(&self) -> B256 {
        match self.rest {
            Rest::RoundChange { block, access_list, .. } => {
                let header = block_header(block).unwrap_or_default();
                key(self.kind, &self.signature, Some((access_list.is_some(), header)))
            }
            Rest::Nothing | Rest::Proposal { .. } => key(self.kind, &self.signature, None),
        }
    }

    /// How many justifying messages there are, RoundChanges and Prepares.
    ///
    /// # Errors
    /// A list does not decode, or has more than [`MAX_VALIDATORS`].
    pub fn justifications(&self) -> Result<usize, MessageError> {
        Ok(match self.rest {
            Rest::Nothing => 0,
            Rest::Proposal { round_changes, prepares } => count(round_changes)? + count(prepares)?,
            Rest::RoundChange { prepares, .. } => count(prepares)?,
        })
    }

    /// Decodes the message of `author`, as [`Outline::author`] found it; `recover` finds the authors of what justifies it
    /// and may refuse one, by [`MessageError::Outsider`], which ends the work.
    ///
    /// # Errors
    /// Payload, block or justification do not decode; whatever `recover` answers.
    pub fn message(&self, author: Address, recover: Recover<'_>) -> Result<Message, MessageError> {
        work::count(|done| done.decoded += (self.raw.len() + self.rest.len()) as u64);
        Ok(match self.rest {
            Rest::Nothing if self.kind == Kind::Prepare => Message::Prepare(self.signed(author)?),
            Rest::Nothing => Message::Commit(self.signed(author)?),
            Rest::Proposal { round_changes, prepares } => Message::Proposal(Box::new(Proposal {
                signed: self.signed(author)?,
                round_changes: decode_list(round_changes, recover)?,
                prepares: decode_list(prepares, recover)?,
            })),
            Rest::RoundChange { block, access_list, prepares } => Message::RoundChange(Box::new(RoundChange {
                signed: self.signed(author)?,
                block: match block {
                    [alloy_rlp::EMPTY_LIST_CODE] => None,
                    mut bytes => Some(Arc::new(Block::decode(&mut bytes)?)),
                },
                access_list: access_list.map(Bytes::copy_from_slice),
                prepares: decode_list(prepares, recover)?,
            })),
        })
    }

    fn signed<P: Payload>(&self, author: Address) -> Result<Signed<P>, MessageError> {
        // A small part must not keep a large whole alive.
        let raw = match self.whole {
            Some(whole) if 2 * self.raw.len() > whole.len() => whole.slice_ref(self.raw),
            _ => Bytes::copy_from_slice(self.raw),
        };
        Signed::open(raw, self.signature, author)
    }
}

/// Bytes of a prepared block's header that go into a key: more than any header that an honest client writes has.
const HEADER_IN_KEY: usize = 32 * 1024;

/// `form`, of a RoundChange: whether it has an access list, and the RLP of its block's header.
fn key(kind: Kind, signature: &Signature65, form: Option<(bool, &[u8])>) -> B256 {
    let mut hasher = Keccak256::new();
    hasher.update([kind.code()]);
    hasher.update(signature.as_slice());
    if let Some((access_list, header)) = form {
        hasher.update([u8::from(access_list)]);
        hasher.update(&header[..header.len().min(HEADER_IN_KEY)]);
    }
    hasher.finalize()
}

fn signing_hash(kind: Kind, raw: &[u8]) -> B256 {
    work::count(|done| done.hashed = done.hashed.wrapping_add(raw.len() as u64));
    let mut head = Vec::with_capacity(8);
    RlpHeader { list: true, payload_length: 1 + raw.len() }.encode(&mut head);
    head.push(kind.code());
    let mut hasher = Keccak256::new();
    hasher.update(head);
    hasher.update(raw);
    hasher.finalize()
}

/// `[payload, signature]`.
fn cut<'a>(buffer: &mut &'a [u8]) -> Result<(&'a [u8], Signature65), MessageError> {
    let mut items = RlpHeader::decode_bytes(buffer, true)?;
    let raw = raw_item(&mut items)?;
    let signature = Signature65::from_bytes(<[u8; 65]>::decode(&mut items)?)?;
    end(items)?;
    Ok((raw, signature))
}

/// The header of a block, as the item that it is.
fn block_header(mut block: &[u8]) -> Result<&[u8], RlpError> {
    let mut items = RlpHeader::decode_bytes(&mut block, true)?;
    if items.is_empty() { Ok(&[]) } else { raw_item(&mut items) }
}

impl Proposal {
    fn encode(&self, out: &mut Vec<u8>) {
        let mut justification = Vec::new();
        encode_list(&self.round_changes, &mut justification);
        encode_list(&self.prepares, &mut justification);
        let inner = RlpHeader { list: true, payload_length: justification.len() };
        RlpHeader { list: true, payload_length: self.signed.length() + inner.length() + justification.len() }.encode(out);
        self.signed.encode(out);
        inner.encode(out);
        out.extend_from_slice(&justification);
    }
}

impl RoundChange {
    fn encode(&self, out: &mut Vec<u8>) {
        let mut body = Vec::new();
        self.signed.encode(&mut body);
        match &self.block {
            Some(block) => block.encode(&mut body),
            None => body.push(alloy_rlp::EMPTY_LIST_CODE),
        }
        if let Some(access_list) = &self.access_list {
            body.extend_from_slice(access_list);
        }
        encode_list(&self.prepares, &mut body);
        RlpHeader { list: true, payload_length: body.len() }.encode(out);
        out.extend_from_slice(&body);
    }
}

impl Payload for ProposalPayload {
    const KIND: Kind = Kind::Proposal;

    fn height(&self) -> u64 {
        self.height
    }

    fn round(&self) -> u32 {
        self.round
    }

    fn encode_payload(&self) -> Vec<u8> {
        let access_list = self.access_list.as_ref().map_or(&[][..], |item| item.as_ref());
        let payload_length = self.height.length() + self.round.length() + self.block.length() + access_list.len();
        let mut out = Vec::with_capacity(payload_length + 5);
        RlpHeader { list: true, payload_length }.encode(&mut out);
        self.height.encode(&mut out);
        self.round.encode(&mut out);
        self.block.encode(&mut out);
        out.put_slice(access_list);
        out
    }

    fn decode_items(items: &mut &[u8]) -> Result<Self, RlpError> {
        let (height, round) = (u64::decode(items)?, u32::decode(items)?);
        let block = Arc::new(Block::decode(items)?);
        let access_list = if items.is_empty() { None } else { Some(Bytes::copy_from_slice(raw_item(items)?)) };
        Ok(Self { height, round, block, access_list })
    }
}

impl Payload for PreparePayload {
    const KIND: Kind = Kind::Prepare;

    fn height(&self) -> u64 {
        self.height
    }

    fn round(&self) -> u32 {
        self.round
    }

    fn encode_payload(&self) -> Vec<u8> {
        list(|body| {
            self.height.encode(body);
            self.round.encode(body);
            self.digest.encode(body);
        })
    }

    fn decode_items(items: &mut &[u8]) -> Result<Self, RlpError> {
        Ok(Self { height: u64::decode(items)?, round: u32::decode(items)?, digest: B256::decode(items)? })
    }
}

impl Payload for CommitPayload {
    const KIND: Kind = Kind::Commit;

    fn height(&self) -> u64 {
        self.height
    }

    fn round(&self) -> u32 {
        self.round
    }

    fn encode_payload(&self) -> Vec<u8> {
        list(|body| {
            self.height.encode(body);
            self.round.encode(body);
            self.digest.encode(body);
            self.seal.as_slice().encode(body);
        })
    }

    fn decode_items(items: &mut &[u8]) -> Result<Self, RlpError> {
        let (height, round) = (u64::decode(items)?, u32::decode(items)?);
        let digest = B256::decode(items)?;
        let seal =
            Signature65::from_bytes(<[u8; 65]>::decode(items)?).map_err(|_| RlpError::Custom("commit seal is out of range"))?;
        Ok(Self { height, round, digest, seal })
    }
}

impl Payload for RoundChangePayload {
    const KIND: Kind = Kind::RoundChange;

    fn height(&self) -> u64 {
        self.height
    }

    fn round(&self) -> u32 {
        self.round
    }

    fn encode_payload(&self) -> Vec<u8> {
        list(|body| {
            self.height.encode(body);
            self.round.encode(body);
            match &self.prepared {
                None => body.push(alloy_rlp::EMPTY_LIST_CODE),
                Some((round, digest)) => body.extend(list(|prepared| {
                    round.encode(prepared);
                    digest.encode(prepared);
                })),
            }
        })
    }

    fn decode_items(items: &mut &[u8]) -> Result<Self, RlpError> {
        let (height, round) = (u64::decode(items)?, u32::decode(items)?);
        let mut prepared = RlpHeader::decode_bytes(items, true)?;
        let prepared = if prepared.is_empty() {
            None
        } else {
            let pair = (u32::decode(&mut prepared)?, B256::decode(&mut prepared)?);
            if !prepared.is_empty() {
                return Err(RlpError::ListLengthMismatch { expected: 0, got: prepared.len() });
            }
            Some(pair)
        };
        Ok(Self { height, round, prepared })
    }
}

fn list(fill: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut body = Vec::with_capacity(160);
    fill(&mut body);
    let mut out = Vec::with_capacity(body.len() + 4);
    RlpHeader { list: true, payload_length: body.len() }.encode(&mut out);
    out.extend_from_slice(&body);
    out
}

fn encode_list<P: Payload>(signed: &[Signed<P>], out: &mut Vec<u8>) {
    let payload_length = signed.iter().map(Signed::length).sum();
    RlpHeader { list: true, payload_length }.encode(out);
    for item in signed {
        item.encode(out);
    }
}

fn decode_list<P: Payload>(mut list: &[u8], recover: Recover<'_>) -> Result<Vec<Signed<P>>, MessageError> {
    let mut items = RlpHeader::decode_bytes(&mut list, true)?;
    let mut signed = Vec::new();
    while !items.is_empty() {
        if signed.len() == MAX_VALIDATORS {
            return Err(MessageError::TooManyJustifications(MAX_VALIDATORS + 1));
        }
        let (raw, signature) = cut(&mut items)?;
        let author = recover(signing_hash(P::KIND, raw), &signature)?;
        signed.push(Signed::open(Bytes::copy_from_slice(raw), signature, author)?);
    }
    Ok(signed)
}

/// Items of a list of at most [`MAX_VALIDATORS`].
fn count(mut list: &[u8]) -> Result<usize, MessageError> {
    let mut items = RlpHeader::decode_bytes(&mut list, true)?;
    let mut count = 0;
    while !items.is_empty() {
        if count == MAX_VALIDATORS {
            return Err(MessageError::TooManyJustifications(MAX_VALIDATORS + 1));
        }
        raw_item(&mut items)?;
        count += 1;
    }
    Ok(count)
}

/// The next RLP item with its header.
fn raw_item<'a>(buffer: &mut &'a [u8]) -> Result<&'a [u8], RlpError> {
    let start = *buffer;
    let header = RlpHeader::decode(buffer)?;
    // A single byte below 0x80 is its own header and stays in the buffer.
    let header_length = start.len() - buffer.len();
    let end = header_length + header.payload_length;
    let item = start.get(..end).ok_or(RlpError::InputTooShort)?;
    *buffer = &start[end..];
    Ok(item)
}

fn end(rest: &[u8]) -> Result<(), RlpError> {
    if rest.is_empty() { Ok(()) } else { Err(RlpError::ListLengthMismatch { expected: 0, got: rest.len() }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::NodeKey;
    use crate::extra::ExtraData;
    use crate::header::{BFT_MIX_HASH, EMPTY_OMMERS_HASH, EMPTY_ROOT, Header, commit_hash};
    use alloy_primitives::{U256, b256, hex, keccak256};

    fn key(n: u8) -> NodeKey {
        let mut secret = [0u8; 32];
        secret[31] = n;
        NodeKey::from_bytes(secret).unwrap()
    }

    fn sign<P: Payload>(payload: P, by: u8) -> Signed<P> {
        Signed::sign_with(payload, |hash| key(by).sign(hash)).unwrap()
    }

    /// The header of spec/qbft.md 19.
    fn header() -> Header {
        let validators = [4, 2, 3, 1].map(|n| key(n).address()).to_vec();
        Header {
            parent_hash: b256!("a7762d3307dbf2ae6a1ae1b09cf61c7603722b2379731b6b90409cdb8c8288a0"),
            ommers_hash: EMPTY_OMMERS_HASH,
            beneficiary: key(4).address(),
            state_root: b256!("ca07595b82f908822971b7e848398e3395e59ee52565c7ef3603df1a1fa7bc80"),
            transactions_root: EMPTY_ROOT,
            receipts_root: EMPTY_ROOT,
            difficulty: U256::from(1),
            number: 1,
            gas_limit: 4_704_588,
            timestamp: 1_530_674_616,
            extra_data: ExtraData::genesis(validators).encode(),
            mix_hash: BFT_MIX_HASH,
            ..Header::default()
        }
    }

    const DIGEST: B256 = b256!("9378d1078aa1f9c35a5fe6a2d93fec5ea908b9e5b744af475a50aefca750c82b");

    #[test]
    fn hashes_of_the_vector_block() {
        let block = Block { header: header(), ..Block::default() };
        assert_eq!(block.hash().unwrap(), DIGEST);
        assert_eq!(
            commit_hash(&block.header, 1).unwrap(),
            b256!("fe9e533e54eb9082e7e6eabcf984512d83f6dccfb3b01018fc785b2dd1c9a7f7")
        );
        assert_eq!(block.to_rlp().len(), 633);
        assert_eq!(keccak256(block.to_rlp()), b256!("90e5b598308dc0ab8d6a6dece93afc809db4d2859da2b0be034156b86cb53156"));
        assert_eq!(Block::decode(&mut &block.to_rlp()[..]).unwrap(), block);
    }

    fn round_trip(message: &Message, wire: &[u8]) {
        assert_eq!(hex::encode(message.encode()), hex::encode(wire));
        assert_eq!(&Message::decode(message.kind().code(), wire).unwrap(), message);
        assert_eq!(peek(message.kind(), wire).unwrap(), (message.height(), message.round()));
        assert_eq!(Outline::read(message.kind(), wire).unwrap().key(), message.key());
    }

    #[test]
    fn prepare_and_commit_vectors() {
        let prepare = Message::Prepare(sign(PreparePayload { height: 1, round: 0, digest: DIGEST }, 2));
        round_trip(
            &prepare,
            &hex!(
                "f867e30180a09378d1078aa1f9c35a5fe6a2d93fec5ea908b9e5b744af475a50aefca750c82bb841692d367f98911dac4366c653eca3323081a3ecc50efad58d10ca3e163c962c5a2119cdea8c15ed51478bdfedc790641856308350e8be5cf5bf63ed5937cb113101"
            ),
        );
        let seal = key(2).sign(DIGEST);
        let commit = Message::Commit(sign(CommitPayload { height: 1, round: 0, digest: DIGEST, seal }, 2));
        round_trip(
            &commit,
            &hex!(
                "f8abf8660180a09378d1078aa1f9c35a5fe6a2d93fec5ea908b9e5b744af475a50aefca750c82bb8414265c35b204734ddfa68ce3709e582f68bb7698838a4a8608294259d46a85d1562bf23ea1b32cb0843c1b2146a0f03eb4ce37011700a0d448e4d0764f06716f001b841155a2e592f58159d6d51e2de1a7077f4210a9f2c13427c64c30729bd191d4ab253614874890af08bde66208d451eb3ea6631ce6fe147286a394a535f941bcd1701"
            ),
        );
    }

    #[test]
    fn round_change_vectors_in_both_dialects() {
        let signed = sign(RoundChangePayload { height: 1, round: 1, prepared: None }, 2);
        let of = |access_list| {
            Message::RoundChange(Box::new(RoundChange { signed: signed.clone(), block: None, access_list, prepares: vec![] }))
        };
        round_trip(
            &of(None),
            &hex!(
                "f84bf847c30101c0b8418a9b5d7f1bdfd6743475ab6314b804748ad48ffbb5c9769aacb5502d00d5fc30428b86e50f1b01d6e6ec587899fab4adca4a81ef597db151491f77132497f7a700c0c0"
            ),
        );
        round_trip(
            &of(Some(Bytes::from_static(&[0x80]))),
            &hex!(
                "f84cf847c30101c0b8418a9b5d7f1bdfd6743475ab6314b804748ad48ffbb5c9769aacb5502d00d5fc30428b86e50f1b01d6e6ec587899fab4adca4a81ef597db151491f77132497f7a700c080c0"
            ),
        );
        let prepared = sign(RoundChangePayload { height: 1, round: 1, prepared: Some((0, DIGEST)) }, 3);
        assert_eq!(
            Signed::<RoundChangePayload>::signing_hash(prepared.raw()),
            b256!("ffc8d9353fd4d1ef966e3b1ec518e822c559812234c242a0e78006c505bebf97")
        );
        let with_certificate = Message::RoundChange(Box::new(RoundChange {
            signed: prepared,
            block: Some(Arc::new(Block { header: header(), ..Block::default() })),
            access_list: None,
            prepares: vec![sign(PreparePayload { height: 1, round: 0, digest: DIGEST }, 2)],
        }));
        round_trip(&with_certificate, &with_certificate.encode());
    }

    #[test]
    fn proposal_vectors_in_both_dialects() {
        let block = Arc::new(Block { header: header(), ..Block::default() });
        let of = |access_list| {
            let payload = ProposalPayload { height: 1, round: 0, block: block.clone(), access_list };
            Message::Proposal(Box::new(Proposal { signed: sign(payload, 4), round_changes: vec![], prepares: vec![] }))
        };
        let legacy = of(None).encode();
        assert_eq!(legacy.len(), 714);
        assert_eq!(keccak256(&legacy), b256!("2aa7552ec7eec8a7992db26c46eb495747603f9e82d9ff63aaa682951c4952a3"));
        round_trip(&of(None), &legacy);
        let besu26 = of(Some(Bytes::from_static(&[0x80]))).encode();
        assert_eq!(besu26.len(), 715);
        assert_eq!(keccak256(&besu26), b256!("addd50b930191e25cd9fa18f0173b27a76c33f0307905d158b1520a3aef0e8ad"));
        round_trip(&of(Some(Bytes::from_static(&[0x80]))), &besu26);
    }

    #[test]
    fn hostile_bytes_are_errors() {
        assert_eq!(Message::decode(0x11, &[0xc0]), Err(MessageError::UnknownCode(0x11)));
        for code in 0x12..=0x15 {
            for bytes in [&[][..], &[0xc0], &[0x80], &[0xf8], &[0xff; 9], &[0xc2, 0xc0, 0xc0], &[0xbf, 0xff, 0xff]] {
                assert!(Message::decode(code, bytes).is_err());
                let _ = peek(Kind::from_code(code).unwrap(), bytes);
            }
        }
        let prepare = Message::Prepare(sign(PreparePayload { height: 1, round: 0, digest: DIGEST }, 2)).encode();
        for cut in 0..prepare.len() {
            assert!(Message::decode(0x13, &prepare[..cut]).is_err());
        }
        let mut longer = prepare.to_vec();
        longer.push(0x80);
        assert!(Message::decode(0x13, &longer).is_err());
    }
}
