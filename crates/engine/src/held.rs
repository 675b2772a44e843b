//! Consensus messages of undecided heights, kept to be told again to whoever connects.
//!
//! Besu never sends a message twice, so a validator that connects a moment late loses a whole round. Here a new
//! connection is told at once what it has missed: own messages and relayed ones, the latest of each author and kind.
//! A node that only looks on also finds here when a proposal has been committed.

use std::collections::BTreeMap;
use std::sync::Arc;

use ipe_types::header::{block_hash, commit_hash, digest};
use ipe_types::message::{Kind, Message};
use ipe_types::seals::is_seal_of;
use ipe_types::{Address, B256, Block, Bytes, Signature65, ValidatorSet};

/// Bytes held at most, as sent and as read: the proposals of a height and its round changes, each with a full block of four
/// megabytes, of a network of ten.
const MAX_BYTES: usize = 128 * 1024 * 1024;
/// What holding a message costs beside its bytes, about.
const OVERHEAD: usize = 512;

/// One message as it goes over the wire, and read.
#[derive(Clone, Debug)]
pub struct HeldMessage {
    /// Kind, whose code goes with the bytes.
    pub kind: Kind,
    /// Original bytes.
    pub bytes: Bytes,
    /// Names it, see [`ipe_types::message::Outline::key`].
    pub key: B256,
    /// Who signed it.
    pub author: Address,
    /// What it says.
    pub message: Arc<Message>,
    /// Bytes that it takes in memory, about, as it came and as it was read.
    size: usize,
}

impl HeldMessage {
    /// The proposed block, of a Proposal.
    pub fn block(&self) -> Option<&Arc<Block>> {
        match &*self.message {
            Message::Proposal(proposal) => Some(&proposal.signed.payload().block),
            _ => None,
        }
    }
}

fn size_of_message(message: &Message, bytes: &Bytes) -> usize {
    let block = match message {
        Message::Proposal(proposal) => Some(&proposal.signed.payload().block),
        Message::RoundChange(change) => change.block.as_ref(),
        Message::Prepare(_) | Message::Commit(_) => None,
    };
    bytes.len() + block.map_or(0, |block| bytes.len() + block.body.overhead()) + OVERHEAD
}

/// Height, kind, author, and of a RoundChange whether it has the form with an access list: who reads only one of the forms
/// is told that one.
type Place = (u64, Kind, Address, bool);

/// The latest message of each author and kind, by height.
#[derive(Debug, Default)]
pub struct Held {
    messages: BTreeMap<Place, HeldMessage>,
    bytes: usize,
}

impl Held {
    /// Keeps a verified message unless one of the same or a later round of this author is kept already.
    ///
    /// When there is no room, messages of later heights than the lowest make room first, those of the author that has most
    /// of them; then of the lowest height. So who fills the store puts out what it has sent itself.
    pub fn keep(&mut self, message: Arc<Message>, bytes: &Bytes, key: B256) {
        let form = matches!(&*message, Message::RoundChange(change) if change.access_list.is_some());
        let place = (message.height(), message.kind(), message.author(), form);
        if self.messages.get(&place).is_some_and(|held| held.message.round() >= message.round()) {
            return;
        }
        let size = size_of_message(&message, bytes);
        let held = HeldMessage { kind: place.1, bytes: bytes.clone(), key, author: place.2, message, size };
        self.bytes += size;
        if let Some(previous) = self.messages.insert(place, held) {
            self.bytes -= previous.size;
        }
        while self.bytes > MAX_BYTES && self.make_room() {}
    }

    /// Puts out the largest message, or the highest of the largest, of the author that has most; `false` when nothing is held.
    fn make_room(&mut self) -> bool {
        let Some(lowest) = self.messages.first_key_value().map(|((height, ..), _)| *height) else { return false };
        let later = self.messages.last_key_value().is_some_and(|((height, ..), _)| *height > lowest);
        let candidates = || self.messages.iter().filter(|((height, ..), _)| !later || *height > lowest);
        let mut shares: BTreeMap<Address, usize> = BTreeMap::new();
        candidates().for_each(|(_, held)| *shares.entry(held.author).or_default() += held.size);
        let Some((author, _)) = shares.into_iter().max_by_key(|(_, share)| *share) else { return false };
        let of_author = candidates().filter(|(_, held)| held.author == author);
        let Some(place) = of_author.max_by_key(|(place, held)| (held.size, place.0)).map(|(place, _)| *place) else {
            return false;
        };
        if let Some(held) = self.messages.remove(&place) {
            self.bytes -= held.size;
        }
        true
    }

    /// Forgets the heights up to `head`.
    pub fn decided(&mut self, head: u64) {
        self.messages = self.messages.split_off(&(head.saturating_add(1), Kind::Proposal, Address::ZERO, false));
        self.bytes = self.messages.values().map(|held| held.size).sum();
    }

    /// Everything held, lowest height first, proposals before votes.
    pub fn iter(&self) -> impl Iterator<Item = &HeldMessage> {
        self.messages.values()
    }

    /// Messages held, and their bytes.
    pub fn size(&self) -> (usize, usize) {
        (self.messages.len(), self.bytes)
    }

    /// Whether a proposal that is held for `height` and builds on `parent` is what this digest, in either of its forms, names.
    pub fn names_a_block_on(&self, parent: &B256, height: u64, named: &B256) -> bool {
        self.of(height, Kind::Proposal).filter_map(HeldMessage::block).any(|block| {
            block.header.parent_hash == *parent && [digest(&block.header), block_hash(&block.header)].contains(&Ok(*named))
        })
    }

    /// What is held of one author for `height`.
    pub fn by(&self, author: Address, height: u64) -> impl Iterator<Item = &Arc<Message>> {
        let kinds = [Kind::Proposal, Kind::Prepare, Kind::Commit, Kind::RoundChange];
        kinds
            .into_iter()
            .flat_map(move |kind| self.of(height, kind))
            .filter(move |held| held.author == author)
            .map(|held| &held.message)
    }

    fn of(&self, height: u64, kind: Kind) -> impl Iterator<Item = &HeldMessage> {
        let places = (height, kind, Address::ZERO, false)..=(height, kind, Address::repeat_byte(0xff), true);
        self.messages.range(places).map(|(_, held)| held)
    }

    /// Highest round of a height in which a proposal or a vote was seen: the round as an onlooker knows it.
    pub fn round_of(&self, height: u64) -> Option<u32> {
        [Kind::Proposal, Kind::Prepare, Kind::Commit]
            .into_iter()
            .flat_map(|kind| self.of(height, kind))
            .map(|held| held.message.round())
            .max()
    }

    /// The proposal of a height to which a quorum of `validators` has committed, with the round and the seals. A Commit whose
    /// seal is not its author's does not count: its author would have the block thrown away by everybody who looks on.
    pub fn quorum_at(&self, height: u64, validators: &ValidatorSet) -> Option<(Arc<Block>, u32, Vec<Signature65>)> {
        let quorum = validators.quorum();
        if self.of(height, Kind::Commit).count() < quorum {
            return None;
        }
        for proposal in self.of(height, Kind::Proposal) {
            let Some(block) = proposal.block() else { continue };
            // Either form of the digest names this block (spec/qbft.md 3.4).
            let (Ok(own), Ok(stripped)) = (digest(&block.header), block_hash(&block.header)) else { continue };
            let round = proposal.message.round();
            let Ok(sealed) = commit_hash(&block.header, round) else { continue };
            let seals: Vec<Signature65> = self
                .of(height, Kind::Commit)
                .filter_map(|commit| match &*commit.message {
                    Message::Commit(commit) if commit.round() == round && validators.contains(&commit.author()) => Some(commit),
                    _ => None,
                })
                .filter(|commit| [own, stripped].contains(&commit.payload().digest))
                .filter(|commit| is_seal_of(&commit.author(), &commit.payload().seal, sealed))
                .map(|commit| commit.payload().seal)
                .collect();
            if seals.len() >= quorum {
                return Some((block.clone(), round, seals));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use ipe_types::block::Transaction;
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
            held.keep(Arc::new(message), &bytes, hash);
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

    /// Ten bytes of a transaction are three hundred in memory: six proposals of ten megabytes were two gigabytes.
    #[test]
    fn what_is_held_is_counted_as_it_is_in_memory() {
        const TRANSACTIONS: usize = 60_000;
        let key = NodeKey::from_bytes([1; 32]).expect("in range");
        let tiny: Transaction = alloy_rlp::decode_exact(hex::decode("c98080808080801b0101").expect("hex")).expect("a transaction");
        let body = ipe_types::block::Body { transactions: vec![tiny; TRANSACTIONS], withdrawals: None };
        let mut held = Held::default();
        for height in 1..=12 {
            let block = Arc::new(Block { header: Header { number: height, ..Header::default() }, body: body.clone() });
            let payload = ProposalPayload { height, round: 0, block, access_list: None };
            let signed = Signed::sign_with(payload, |hash| key.sign(hash)).expect("signs");
            let message = Message::Proposal(Box::new(Proposal { signed, round_changes: Vec::new(), prepares: Vec::new() }));
            let bytes = message.encode();
            held.keep(Arc::new(message), &bytes, ipe_types::keccak256(&bytes));
            let (count, counted) = held.size();
            assert!(counted <= MAX_BYTES && counted >= count * TRANSACTIONS * size_of::<Transaction>());
        }
        assert!(held.size().0 < 12, "they do not all fit");
    }
}
