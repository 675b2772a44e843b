//! Villainy that follows from the types: every item of every message, consensus and eth, changed in every way that
//! [`crate::mutation`] knows. Nobody has to imagine which field might be trusted; a field that is added tomorrow is changed tomorrow.
//!
//! What is inside a signed part is signed again, with the keys that the villain has; what is outside is changed under the
//! signature of whoever made it.

use alloy_primitives::U256;
use ipe_engine::PeerId;
use ipe_types::eth::{EthMessage, EthVersion};
use ipe_types::message::{CommitPayload, MAX_MESSAGE_BYTES, PreparePayload, ProposalPayload, RoundChangePayload, Signed};
use ipe_types::{B256, Block, Bytes, ExtraData, Kind as Code, Message, NodeKey};

use super::{Said, Scene, Villain, Wire};
use crate::mutation::{Mutation, apply};
use crate::tree::{Item, Place};

/// Length of a siege, in which one thing is done as fast as it goes, µs.
const SIEGE_US: u64 = 6_000_000;
/// Copies of honest messages in one act of a siege, each with another remainder: three times as many in a second as an author
/// may have relayed.
const COPIES: usize = 30;
/// Large messages in one act of a siege: with what hashing them takes, half of somebody's time.
const LARGE: usize = 15;
/// Copies of each where its height is past: it is only decompressed, and that again half of somebody's time.
const LATE_COPIES: usize = 3;
/// Their size, bytes.
const LARGE_BYTES: usize = 1 << 20;
/// Messages of the largest size that one villain sends in a run: they cost the machine that simulates as much as others.
const LARGEST: u32 = 6;
/// Where the extra data of the proposed block is in a Proposal: payload, block, header.
const EXTRA_DATA: [usize; 5] = [0, 0, 2, 0, 12];
/// Attempts at a change that still decodes.
const ATTEMPTS: usize = 6;

/// In place of what its replica wants to say of its own.
pub(super) fn speak(villain: &mut Villain, to: Vec<PeerId>, message: &Message) -> Vec<Said> {
    match villain.rng.below(4) {
        0 => vec![Said::plain(to, message)],
        1 => {
            let mut said = vec![Said::plain(to.clone(), message)];
            said.extend(changed(villain, message, true).map(|bytes| Said::raw(to, message.kind().code(), bytes)));
            said
        }
        _ => match changed(villain, message, true) {
            Some(bytes) => vec![Said::raw(to, message.kind().code(), bytes)],
            None => vec![Said::plain(to, message)],
        },
    }
}

/// In place of what it passes on for others: now and then a spoiled copy, before the honest one or instead.
pub(super) fn pass(villain: &mut Villain, to: Vec<PeerId>, message: &Message) -> Vec<Said> {
    let code = message.kind().code();
    let honest = Said { to: to.clone(), wire: Wire::Consensus(code, message.encode()), foul: false };
    if !villain.rng.chance(300) {
        return vec![honest];
    }
    // Half of the copies are sound but for something foreign behind what justifies them.
    let spoiled = if villain.rng.chance(500) { with_more(villain, message) } else { changed(villain, message, false) };
    let spoiled = spoiled.map(|bytes| Said::raw(to, code, bytes));
    let instead = villain.rng.chance(300);
    spoiled.into_iter().chain((!instead).then_some(honest)).collect()
}

/// In place of an eth message.
pub(super) fn tell(villain: &mut Villain, to: Vec<PeerId>, message: EthMessage) -> Vec<Said> {
    if villain.rng.chance(300)
        && let Some((code, bytes)) = changed_eth(villain, &message)
    {
        return vec![Said { to, wire: Wire::Bytes(code, bytes), foul: true }];
    }
    vec![Said { to, wire: Wire::Eth(message), foul: false }]
}

/// By itself: messages that it has heard, changed, to everybody, and claims in eth.
pub(super) fn act(villain: &mut Villain, scene: &Scene<'_>) -> Vec<Said> {
    let mut said = Vec::new();
    if villain.rng.chance(100) {
        said.extend(push(villain, scene));
    }
    let Some(message) = villain.any_heard() else { return said };
    let code = message.kind().code();
    if scene.now_us < villain.siege.1 {
        said.extend(besiege(villain, scene));
    } else if villain.rng.chance(20) {
        let target = villain.rng.pick(&scene.peers).copied();
        villain.siege = (villain.rng.below(3), scene.now_us + SIEGE_US, target);
    }
    for _ in 0..villain.rng.below(3) {
        let own = villain.rng.chance(500);
        let to: Vec<PeerId> = scene.peers.iter().copied().filter(|_| villain.rng.chance(700)).collect();
        let bytes = if villain.rng.chance(50) { Some(message.encode()) } else { changed(villain, &message, own) };
        said.extend(bytes.map(|bytes| Said::raw(to, code, bytes)));
    }
    said
}

/// One thing, as fast as it goes: copies of what honest validators say with more and more behind it, to everybody; large
/// messages of heights that are past, and of heights to come, to one peer.
fn besiege(villain: &mut Villain, scene: &Scene<'_>) -> Vec<Said> {
    let height = scene.height();
    let (kind, _, target) = villain.siege;
    let mut said = Vec::new();
    if kind == 0 {
        let justified = |message: &&std::sync::Arc<Message>| matches!(message.kind(), Code::Proposal | Code::RoundChange);
        let latest: Vec<_> = villain.heard.iter().rev().filter(justified).take(4).cloned().collect();
        for _ in 0..COPIES {
            let Some(message) = villain.rng.pick(&latest).cloned() else { break };
            let Some(mut tree) = Item::read(&message.encode()) else { continue };
            for _ in 0..villain.rng.between(1, 3) {
                appended(villain, &mut tree);
            }
            said.push(Said::raw(scene.peers.clone(), message.kind().code(), tree.write().into()));
        }
        return said;
    }
    let is_past =
        |message: &&std::sync::Arc<Message>| message.kind() == Code::Proposal && message.height().saturating_add(1) < height;
    let past: Vec<_> = villain.heard.iter().filter(is_past).cloned().collect();
    let copies = if kind == 1 { LATE_COPIES } else { 1 };
    for number in 0..LARGE {
        let Some(message) = villain.rng.pick(&past).cloned() else { break };
        let Message::Proposal(proposal) = &*message else { break };
        let Some(mut tree) = Item::read(&message.encode()) else { continue };
        // Large where it is well formed: in the free bytes of the extra data, inside what is signed.
        let Ok(mut extra) = ExtraData::decode(&proposal.signed.payload().block.header.extra_data) else { continue };
        extra.vanity = vec![0; LARGE_BYTES + number].into();
        let Some((items, index)) = tree.holder(&EXTRA_DATA) else { continue };
        items[index] = Item::Word(extra.encode().to_vec());
        if kind == 2 {
            far(villain, &mut tree, &payload_place(message.kind()), &message);
        }
        let key = villain.signing_key();
        sign_again(&mut tree, message.kind(), &key);
        let large = Said::raw(target.into_iter().collect(), message.kind().code(), tree.write().into());
        said.extend(std::iter::repeat_n(large, copies));
    }
    said
}

/// A block that nobody sealed, or one with a header that is not its own, as news.
fn push(villain: &mut Villain, scene: &Scene<'_>) -> Vec<Said> {
    let head = scene.ledger.head();
    let above = match villain.rng.below(3) {
        0 => head.number + 1 + villain.rng.below(3),
        1 => head.number + villain.rng.between(1, 100_000),
        _ => u64::MAX - villain.rng.below(2),
    };
    let latest_hash = B256::repeat_byte(0xab);
    let message = match villain.rng.below(3) {
        0 => EthMessage::BlockRangeUpdate { earliest: 0, latest: above, latest_hash },
        1 => EthMessage::NewBlockHashes(vec![ipe_types::eth::BlockHashNumber { hash: latest_hash, number: above }]),
        _ => {
            let Some((_, block)) = villain.proposed_at(head.number + 1).into_iter().next() else { return Vec::new() };
            let seals = ExtraData::decode(&head.header.extra_data).map(|extra| extra.seals).unwrap_or_default();
            let Ok(header) = ipe_types::header::with_round_and_seals(&block.header, 0, seals) else { return Vec::new() };
            let block = Box::new(Block { header, body: block.body.clone() });
            EthMessage::NewBlock { block, total_difficulty: U256::from(head.number + 2) }
        }
    };
    let to = scene.peers.clone();
    match changed_eth(villain, &message) {
        Some((code, bytes)) if villain.rng.chance(500) => vec![Said { to, wire: Wire::Bytes(code, bytes), foul: true }],
        _ => vec![Said::eth(to, message)],
    }
}

/// An eth message with one item changed; as a rule so that it still decodes, since the session ends on what does not.
fn changed_eth(villain: &mut Villain, message: &EthMessage) -> Option<(u8, Bytes)> {
    let (code, bytes) = message.encode(EthVersion::V69);
    let tree = Item::read(&bytes)?;
    let places = tree.places();
    for _ in 0..ATTEMPTS {
        let mut other = tree.clone();
        let place = villain.rng.pick(&places)?.clone();
        let mutation = *villain.rng.pick(&Mutation::ALL)?;
        let room = villain.room(bytes.len(), ipe_types::eth::MAX_MESSAGE_BYTES);
        if !apply(&mut other, &place, mutation, None, room, &mut |end| villain.rng.below(end)) {
            continue;
        }
        let bytes = Bytes::from(other.write());
        match EthMessage::decode(EthVersion::V69, code, &bytes) {
            Ok(other) if is_free(&other, message) => {}
            Err(_) if !villain.rng.chance(20) => {}
            _ => return Some((code, bytes)),
        }
    }
    None
}

/// Whether there is a transaction in it that the original has not and that moves nothing: gas costs nothing in these networks,
/// so whoever the spoiled signature belongs to may send it, and no checker knows of it.
fn is_free(message: &EthMessage, original: &EthMessage) -> bool {
    let transactions = |message: &EthMessage| match message {
        EthMessage::Transactions(transactions) | EthMessage::PooledTransactions { transactions, .. } => transactions.clone(),
        _ => Vec::new(),
    };
    let known: Vec<B256> = transactions(original).iter().map(|tx| *tx.tx_hash()).collect();
    transactions(message).iter().any(|tx| tx.value().is_zero() && !known.contains(tx.tx_hash()))
}

/// Where the signed payload of a kind is; behind it in the same list is the signature.
fn payload_place(kind: Code) -> Place {
    match kind {
        Code::Proposal | Code::RoundChange => vec![0, 0],
        Code::Prepare | Code::Commit => vec![0],
    }
}

/// The message with one item changed, sometimes two: of the signed part, signed again with a key of the villain's, or outside
/// of it.
pub(super) fn changed(villain: &mut Villain, message: &Message, signed: bool) -> Option<Bytes> {
    let kind = message.kind();
    let encoded = message.encode();
    let tree = Item::read(&encoded)?;
    let payload = payload_place(kind);
    let envelope = &payload[..payload.len() - 1];
    let places = tree.places();
    let inside: Vec<&Place> = places.iter().filter(|place| place.starts_with(&payload) && **place != payload).collect();
    let outside: Vec<&Place> = places.iter().filter(|place| !place.starts_with(&payload) && **place != envelope).collect();
    let other = villain.another(message).and_then(|other| Item::read(&other.encode()));
    let mut changed = tree;
    let mut done = false;
    for _ in 0..if villain.rng.chance(200) { 2 } else { 1 } {
        if signed && villain.rng.chance(200) {
            done |= far(villain, &mut changed, &payload, message);
            continue;
        }
        let place = villain.rng.pick(if signed { &inside } else { &outside }).map(|place| (*place).clone());
        let mutation = *villain.rng.pick(&Mutation::ALL)?;
        let room = if mutation == Mutation::Padded { villain.room(encoded.len(), MAX_MESSAGE_BYTES) } else { 0 };
        let other = other.as_ref();
        done |= match place {
            Some(place) => apply(&mut changed, &place, mutation, other, room, &mut |end| villain.rng.below(end)),
            None => false,
        };
    }
    if !signed && villain.rng.chance(300) {
        done |= appended(villain, &mut changed);
    }
    if !done {
        return None;
    }
    if signed {
        let key = villain.signing_key();
        sign_again(&mut changed, kind, &key);
    }
    let bytes = changed.write();
    (bytes.len() <= 2 * MAX_MESSAGE_BYTES).then(|| bytes.into())
}

/// Another height or round: the next ones, the bounds, one beyond, and as far as numbers go.
fn far(villain: &mut Villain, tree: &mut Item, payload: &Place, message: &Message) -> bool {
    let far = [1, 2, 3, 9, 10, 11, 12, 1_000, u64::MAX - message.height()];
    let rounds = [0, 1, 2, 5, 999, 1_000, 1_001, u64::from(u32::MAX), u64::MAX];
    let (index, value) = match villain.rng.below(4) {
        0 => (1, villain.rng.pick(&rounds).copied().unwrap_or(1)),
        _ => (0, message.height().saturating_add(villain.rng.pick(&far).copied().unwrap_or(1))),
    };
    let place = [payload.as_slice(), &[index]].concat();
    let Some((items, index)) = tree.holder(&place) else { return false };
    let digits: Vec<u8> = value.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
    items[index] = Item::Word(digits);
    true
}

/// A message that somebody signed, put behind the last item of some list outside of the signed part.
fn appended(villain: &mut Villain, tree: &mut Item) -> bool {
    let Some(foreign) = villain.any_heard().and_then(|message| match &*message {
        Message::Prepare(_) => Item::read(&message.encode()),
        Message::RoundChange(_) | Message::Proposal(_) => Item::read(&message.encode())?.at(&[0]).cloned(),
        Message::Commit(_) => None,
    }) else {
        return false;
    };
    let lists: Vec<Place> = tree
        .places()
        .into_iter()
        .filter(|place| place.first() == Some(&1) && matches!(tree.at(place), Some(Item::List(_))))
        .collect();
    let Some(place) = villain.rng.pick(&lists).cloned() else { return false };
    match tree.holder(&place) {
        Some((items, index)) => match &mut items[index] {
            Item::List(inner) => {
                inner.push(foreign);
                true
            }
            _ => false,
        },
        None => false,
    }
}

/// A copy with something appended.
fn with_more(villain: &mut Villain, message: &Message) -> Option<Bytes> {
    let mut tree = Item::read(&message.encode())?;
    appended(villain, &mut tree).then(|| tree.write().into())
}

/// Puts the signature of `key` over whatever the payload is now.
pub(super) fn sign_again(tree: &mut Item, kind: Code, key: &NodeKey) {
    let payload = payload_place(kind);
    let Some(raw) = tree.at(&payload).map(Item::write) else { return };
    let hash = match kind {
        Code::Proposal => Signed::<ProposalPayload>::signing_hash(&raw),
        Code::Prepare => Signed::<PreparePayload>::signing_hash(&raw),
        Code::Commit => Signed::<CommitPayload>::signing_hash(&raw),
        Code::RoundChange => Signed::<RoundChangePayload>::signing_hash(&raw),
    };
    let mut signature = payload;
    if let Some(last) = signature.last_mut() {
        *last += 1;
    }
    if let Some((items, index)) = tree.holder(&signature) {
        items[index] = Item::Word(key.sign(hash).as_slice().to_vec());
    }
}

impl Villain {
    /// What it signs with: its own key, or one of its allies' where they have put them together.
    fn signing_key(&mut self) -> NodeKey {
        let index = if self.shares_keys { self.rng.below(self.allies.len() as u64) as usize } else { usize::MAX };
        self.allies.get(index).unwrap_or(&self.key).clone()
    }

    /// Another message of the kind among those that it remembers.
    fn another(&mut self, message: &Message) -> Option<std::sync::Arc<Message>> {
        let of_kind: Vec<_> =
            self.heard.iter().filter(|other| other.kind() == message.kind() && ***other != *message).cloned().collect();
        self.rng.pick(&of_kind).cloned()
    }

    /// Bytes that padding adds: seldom all that the limit leaves.
    fn room(&mut self, length: usize, limit: usize) -> usize {
        match self.rng.below(40) {
            0 if self.large < LARGEST => {
                self.large += 1;
                limit.saturating_sub(length + 64)
            }
            1 | 2 if self.large < 4 * LARGEST => {
                self.large += 1;
                1 << 20
            }
            number => (number as usize) << 8,
        }
    }
}

#[cfg(test)]
mod tests;
