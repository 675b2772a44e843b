//! Values out of bytes: what a machine is fed with. Bytes that run out give zeros, so every input means something.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use alloy_primitives::{Address, B256, Bytes};
use arbitrary::Unstructured;
use ipe_qbft::PreparedCertificate;
use ipe_types::header::{BFT_MIX_HASH, EMPTY_OMMERS_HASH, EMPTY_ROOT, commit_hash, digest, with_round_and_seals};
use ipe_types::message::{
    CommitPayload, Payload, PreparePayload, Proposal, ProposalPayload, RoundChange, RoundChangePayload, Signed,
};
use ipe_types::{Block, ExtraData, Header, Message, NodeKey, Signature65, ValidatorSet};
use parking_lot::Mutex;

/// Four validators in the order of their addresses, and a stranger.
pub static KEYS: LazyLock<[NodeKey; 5]> = LazyLock::new(|| {
    let mut keys: Vec<NodeKey> = (1..=4).map(key).collect();
    keys.sort_by_key(NodeKey::address);
    keys.push(key(9));
    keys.try_into().unwrap_or_else(|_| unreachable!("five keys"))
});

fn key(byte: u8) -> NodeKey {
    NodeKey::from_bytes([byte; 32]).expect("small numbers are keys")
}

/// The four validators.
pub fn validators() -> ValidatorSet {
    KEYS[..4].iter().map(NodeKey::address).collect()
}

/// The next byte.
pub fn byte(source: &mut Unstructured<'_>) -> u8 {
    source.arbitrary().unwrap_or(0)
}

/// A number below `most`.
pub fn below(source: &mut Unstructured<'_>, most: usize) -> usize {
    usize::from(byte(source)) % most
}

/// Two bytes.
pub fn short(source: &mut Unstructured<'_>) -> u16 {
    source.arbitrary().unwrap_or(0)
}

/// Bytes with their length before them, at most what is left.
pub fn piece<'a>(source: &mut Unstructured<'a>) -> &'a [u8] {
    let length = usize::from(short(source)).min(source.len());
    source.bytes(length).unwrap_or(&[])
}

/// Rounds that matter: the first few, and around the ceiling.
pub fn round(source: &mut Unstructured<'_>) -> u32 {
    match byte(source) {
        value @ 0..=239 => u32::from(value % 6),
        value @ 240..=250 => 990 + u32::from(value - 240),
        251 => 1000,
        252 => 1001,
        _ => u32::MAX,
    }
}

/// A block of `by` on `parent`; `mark` tells blocks apart.
pub fn block(number: u64, parent: B256, by: Address, timestamp: u64, round: u32, mark: u8) -> Block {
    let mut vanity = [0; 32];
    vanity[31] = mark;
    let extra = ExtraData {
        vanity: Bytes::copy_from_slice(&vanity),
        validators: validators().as_slice().to_vec(),
        round,
        ..ExtraData::default()
    };
    let header = Header {
        parent_hash: parent,
        ommers_hash: EMPTY_OMMERS_HASH,
        beneficiary: by,
        transactions_root: EMPTY_ROOT,
        receipts_root: EMPTY_ROOT,
        difficulty: alloy_primitives::U256::from(1),
        number,
        gas_limit: 10_000_000,
        timestamp,
        extra_data: extra.encode(),
        mix_hash: BFT_MIX_HASH,
        ..Header::default()
    };
    Block { header, ..Block::default() }
}

/// The block with seals of the first `count` validators over `round`.
pub fn sealed(block: &Block, round: u32, count: usize) -> Option<Block> {
    let hash = commit_hash(&block.header, round).ok()?;
    let seals = (0..count.min(5)).map(|who| signature(who, hash)).collect();
    let header = with_round_and_seals(&block.header, round, seals).ok()?;
    Some(Block { header, body: block.body.clone() })
}

/// Signs as `who`; the last is the stranger.
pub fn sign<P: Payload>(who: usize, payload: P) -> Signed<P> {
    Signed::sign_with(payload, |hash| signature(who % 5, hash)).expect("our keys sign")
}

/// The signature of `who`. The same few things are signed again and again, and signing is most of what a run costs.
pub fn signature(who: usize, hash: B256) -> Signature65 {
    const MOST: usize = 1 << 16;
    static KNOWN: Mutex<BTreeMap<(usize, B256), Signature65>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock();
    if known.len() >= MOST {
        known.clear();
    }
    *known.entry((who, hash)).or_insert_with(|| KEYS[who].sign(hash))
}

/// What the messages of one height are about.
#[derive(Clone, Copy, Debug)]
pub struct Scene {
    /// Height in hand.
    pub height: u64,
    /// Hash of the block below.
    pub parent: B256,
    /// Timestamp of its blocks.
    pub timestamp: u64,
}

impl Scene {
    /// One of some blocks that are proposed at this height.
    pub fn block(&self, source: &mut Unstructured<'_>) -> Block {
        let by = KEYS[below(source, 4)].address();
        let round = round(source) % 8;
        block(self.height, self.parent, by, self.timestamp, round, byte(source) % 3)
    }

    /// A signed message of one of the validators or of a stranger: sound, stale, contradictory or far away.
    pub fn message(&self, source: &mut Unstructured<'_>) -> Message {
        let who = below(source, 5);
        let height = match byte(source) {
            0..=239 => self.height,
            240..=247 => self.height + u64::from(byte(source) % 14),
            248..=253 => self.height.saturating_sub(1),
            _ => u64::MAX,
        };
        let round = round(source);
        match byte(source) % 8 {
            0 | 1 => {
                let block = Arc::new(self.block(source));
                let (round_changes, prepares) = if round == 0 { (vec![], vec![]) } else { self.justification(source, round) };
                let access_list = byte(source).is_multiple_of(4).then(|| Bytes::from_static(&[0x80]));
                let payload = ProposalPayload { height, round, block, access_list };
                Message::Proposal(Box::new(Proposal { signed: sign(who, payload), round_changes, prepares }))
            }
            2 | 3 => Message::Prepare(sign(who, PreparePayload { height, round, digest: self.digest(source) })),
            4 | 5 => {
                let block = self.block(source);
                let hash = commit_hash(&block.header, round).unwrap_or_default();
                let seal = signature(if byte(source).is_multiple_of(8) { 4 } else { who }, hash);
                let digest =
                    if byte(source).is_multiple_of(4) { self.digest(source) } else { digest(&block.header).unwrap_or_default() };
                Message::Commit(sign(who, CommitPayload { height, round, digest, seal }))
            }
            _ => {
                let certificate = byte(source).is_multiple_of(2).then(|| self.certificate(source));
                let prepared = certificate.as_ref().map(|held| (held.round, held.digest));
                let signed = sign(who, RoundChangePayload { height, round, prepared });
                let (block, prepares) = certificate.map_or((None, vec![]), |held| (Some(held.block), held.prepares));
                Message::RoundChange(Box::new(RoundChange { signed, block, access_list: None, prepares }))
            }
        }
    }

    fn digest(&self, source: &mut Unstructured<'_>) -> B256 {
        if byte(source).is_multiple_of(8) { B256::repeat_byte(7) } else { digest(&self.block(source).header).unwrap_or_default() }
    }

    /// Some RoundChanges for `round` and some Prepares.
    fn justification(
        &self,
        source: &mut Unstructured<'_>,
        round: u32,
    ) -> (Vec<Signed<RoundChangePayload>>, Vec<Signed<PreparePayload>>) {
        let certificate = byte(source).is_multiple_of(2).then(|| self.certificate(source));
        let changes = (0..1 + below(source, 5))
            .map(|who| {
                let holds = byte(source).is_multiple_of(2);
                let prepared = certificate.as_ref().filter(|_| holds).map(|held| (held.round, held.digest));
                sign(who, RoundChangePayload { height: self.height, round, prepared })
            })
            .collect();
        (changes, certificate.map_or_else(Vec::new, |held| held.prepares))
    }

    /// A certificate that may prove something.
    pub fn certificate(&self, source: &mut Unstructured<'_>) -> PreparedCertificate {
        let block = self.block(source);
        let round = round(source) % 4;
        let digest = digest(&block.header).unwrap_or_default();
        let height = self.height;
        let prepares = (0..below(source, 5) + 1).map(|who| sign(who, PreparePayload { height, round, digest })).collect();
        PreparedCertificate { round, digest, block: Arc::new(block), access_list: None, prepares }
    }
}
