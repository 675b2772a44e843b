//! Consensus messages of undecided heights, kept to be told again to whoever connects.
//!
//! Besu never sends a message twice, so a validator that connects a moment late loses a whole round. Here a new
//! connection is told at once what it has missed: own messages and relayed ones, the latest of each author and kind.
//! A node that only looks on also finds here when a proposal has been committed.

use std::collections::BTreeMap;
use std::sync::Arc;

use ipe_types::crypto::{HighS, recover_address};
use ipe_types::header::{block_hash, commit_hash, digest};
use ipe_types::message::{Kind, Message};
use ipe_types::{Address, B256, Block, Bytes, Signature65, ValidatorSet};

/// Bytes held at most: the proposals of a height and its round changes, each with a full block, of a network of ten.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// What of a message is looked at again.
#[derive(Clone, Debug)]
enum Content {
    Proposal(Arc<Block>),
    Commit { digest: B256, seal: Signature65 },
    Other,
}

/// One message as it goes over the wire.
#[derive(Clone, Debug)]
pub struct HeldMessage {
    /// Kind, whose code goes with the bytes.
    pub kind: Kind,
    /// Original bytes.
    pub bytes: Bytes,
    /// Keccak of the bytes.
    pub hash: B256,
    /// Who signed it.
    pub author: Address,
    round: u32,
    content: Content,
}

impl HeldMessage {
    /// The proposed block, of a Proposal.
    pub fn block(&self) -> Option<&Arc<Block>> {
        match &self.content {
            Content::Proposal(block) => Some(block),
            Content::Commit { .. } | Content::Other => None,
        }
    }
}

/// The latest message of each author and kind, by height.
#[derive(Debug, Default)]
pub struct Held {
    messages: BTreeMap<(u64, Kind, Address), HeldMessage>,
    bytes: usize,
}

impl Held {
    /// Keeps a verified message unless one of the same or a later round of this author is kept already.
    pub fn keep(&mut self, message: &Message, bytes: &Bytes, hash: B256) {
        let key = (message.height(), message.kind(), message.author());
        let round = message.round();
        if self.messages.get(&key).is_some_and(|held| held.round >= round) || self.bytes + bytes.len() > MAX_BYTES {
            return;
        }
        self.bytes += bytes.len();
        let content = match message {
            Message::Proposal(proposal) => Content::Proposal(proposal.signed.payload().block.clone()),
            Message::Commit(commit) => Content::Commit { digest: commit.payload().digest, seal: commit.payload().seal },
            Message::Prepare(_) | Message::RoundChange(_) => Content::Other,
        };
        let held = HeldMessage { kind: key.1, bytes: bytes.clone(), hash, author: key.2, round, content };
        if let Some(previous) = self.messages.insert(key, held) {
            self.bytes -= previous.bytes.len();
        }
    }

    /// Forgets the heights up to `head`.
    pub fn decided(&mut self, head: u64) {
        self.messages = self.messages.split_off(&(head.saturating_add(1), Kind::Proposal, Address::ZERO));
        self.bytes = self.messages.values().map(|held| held.bytes.len()).sum();
    }

    /// Everything held, lowest height first, proposals before votes.
    pub fn iter(&self) -> impl Iterator<Item = &HeldMessage> {
        self.messages.values()
    }

    /// Messages held, and their bytes.
    pub fn size(&self) -> (usize, usize) {
        (self.messages.len(), self.bytes)
    }

    fn of(&self, height: u64, kind: Kind) -> impl Iterator<Item = &HeldMessage> {
        self.messages.range((height, kind, Address::ZERO)..=(height, kind, Address::repeat_byte(0xff))).map(|(_, held)| held)
    }

    /// Highest round of a height in which a proposal or a vote was seen: the round as an onlooker knows it.
    pub fn round_of(&self, height: u64) -> Option<u32> {
        [Kind::Proposal, Kind::Prepare, Kind::Commit].into_iter().flat_map(|kind| self.of(height, kind)).map(|held| held.round).max()
    }

    /// The proposal of a height to which a quorum of `validators` has committed, with the round and the seals. A Commit whose
    /// seal is not its author's does not count: its author would have the block thrown away by everybody who looks on.
    pub fn quorum_at(&self, height: u64, validators: &ValidatorSet) -> Option<(Arc<Block>, u32, Vec<Signature65>)> {
        let quorum = validators.quorum();
        if quorum == 0 || self.of(height, Kind::Commit).count() < quorum {
            return None;
        }
        for proposal in self.of(height, Kind::Proposal) {
            let Some(block) = proposal.block() else { continue };
            // Either form of the digest names this block (spec/qbft.md 3.4).
            let (Ok(own), Ok(stripped)) = (digest(&block.header), block_hash(&block.header)) else { continue };
            let Ok(sealed) = commit_hash(&block.header, proposal.round) else { continue };
            let seals: Vec<Signature65> = self
                .of(height, Kind::Commit)
                .filter(|commit| commit.round == proposal.round && validators.contains(&commit.author))
                .filter_map(|commit| match &commit.content {
                    Content::Commit { digest, seal } if *digest == own || *digest == stripped => {
                        (recover_address(sealed, seal, HighS::Allowed) == Ok(commit.author)).then_some(*seal)
                    }
                    _ => None,
                })
                .collect();
            if seals.len() >= quorum {
                return Some((block.clone(), proposal.round, seals));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use ipe_types::message::{CommitPayload, Proposal, ProposalPayload, Signed};
    use ipe_types::{ExtraData, Header, NodeKey};

    use super::*;

    /// Found by the simulator (scenario equivocating-voter, seed 1): one validator with a seal over something else made every
    /// onlooker throw the block away that the others had sealed.
    #[test]
    fn a_commit_with_a_foreign_seal_neither_counts_nor_spoils_the_block() {
        let keys: Vec<NodeKey> = (1..=4).map(|byte| NodeKey::from_bytes([byte; 32]).expect("in range")).collect();
        let validators: ValidatorSet = keys.iter().map(NodeKey::address).collect();
        let extra = ExtraData { validators: validators.as_slice().to_vec(), ..ExtraData::default() };
        let header = Header { number: 1, extra_data: extra.encode(), ..Header::default() };
        let block = Arc::new(Block { header: header.clone(), ..Block::default() });
        let mut held = Held::default();
        let mut keep = |message: Message| {
            let bytes = message.encode();
            let hash = ipe_types::keccak256(&bytes);
            held.keep(&message, &bytes, hash);
            held.quorum_at(1, &validators).map(|(_, _, seals)| seals.len())
        };
        let payload = ProposalPayload { height: 1, round: 0, block, access_list: None };
        let signed = Signed::sign_with(payload, |hash| keys[0].sign(hash)).expect("signs");
        keep(Message::Proposal(Box::new(Proposal { signed, round_changes: Vec::new(), prepares: Vec::new() })));
        let sealed = commit_hash(&header, 0).expect("sound");
        let found: Vec<Option<usize>> = keys
            .iter()
            .enumerate()
            .map(|(index, key)| {
                let over = if index == 0 { B256::repeat_byte(0xee) } else { sealed };
                let payload = CommitPayload { height: 1, round: 0, digest: sealed, seal: key.sign(over) };
                keep(Message::Commit(Signed::sign_with(payload, |hash| key.sign(hash)).expect("signs")))
            })
            .collect();
        assert_eq!(found, [None, None, None, Some(3)]);
    }
}
