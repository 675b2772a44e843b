//! Which consensus messages are taken from a peer, and to whom they are passed on (spec/qbft.md 8.5, 9).
//!
//! The order of the checks is that of their cost: size and kind, already seen (one keccak), height and round (a peek at
//! the outer lists), the sender's budget, and only then signatures: the author's first, those of the justification
//! last. So whoever is no validator can make us do one recovery per token of its budget, and then it is cut.
//!
//! What is passed on are the original bytes, once, never to the sender nor to whom is known to have them.

use ipe_types::crypto::{HighS, Signature65, recover_address};
use ipe_types::planted::{self, Bug};
use ipe_types::message::{CommitPayload, Kind, MAX_MESSAGE_BYTES, Message, PreparePayload, ProposalPayload, RoundChangePayload, Signed, peek};
use ipe_types::{Address, B256, Bytes, NodeId, Role, Topology, ValidatorSet, keccak256};

use alloy_rlp::{Decodable, Header as RlpHeader};

use crate::peer::Peer;
use crate::recent::{BoundedMap, Budget, Recent};
use crate::status::Refused;

/// Heights above the next one that are still taken: Besu's `futuremessagesmaxdistance`.
pub const MAX_DISTANCE: u64 = 10;
/// Highest round taken: Besu's cap since 26.8.
pub const MAX_ROUND: u32 = 1_000;
/// Messages remembered as seen: some heights of the largest network, with round changes.
const SEEN: usize = 16_384;
/// What a peer may cost us in refused messages before it is cut, in tokens of about one signature recovery (50 µs): a
/// burst of it delays nothing that a block period would notice.
const PEER_TOKENS: u64 = 256;
/// Tokens a peer regains each second: an honest peer that is a little out of step is never cut, nor a validator that
/// says its four latest messages again twice a second while a quorum is missing.
const PEER_TOKENS_A_SECOND: u64 = 16;
/// Bytes of a message that count as one more token: hashing and decoding them costs about as much as a recovery.
const BYTES_A_TOKEN: usize = 128 * 1024;
/// Messages an author may have relayed in a burst: a Byzantine validator cannot flood others through us, an honest one
/// sends four a round.
const AUTHOR_TOKENS: u64 = 400;
/// Messages an author regains each second: 100 ms blocks need 40.
const AUTHOR_TOKENS_A_SECOND: u64 = 100;
/// Nodes whose spent budgets are remembered across reconnections.
const REMEMBERED_NODES: usize = 1_024;

/// What the replica knows of heights and validators when a message comes.
#[derive(Clone, Copy, Debug)]
pub struct Window<'a> {
    /// Own head number.
    pub head: u64,
    /// Validators that sealed the head.
    pub current: &'a ValidatorSet,
    /// Validators of the next block.
    pub next: &'a ValidatorSet,
}

/// What to do with a message.
#[derive(Debug)]
pub enum Intake {
    /// Nothing: seen before or refused.
    Drop,
    /// Nothing, and the peer is to be disconnected for this reason.
    Cut(String),
    /// Verified as coming from this validator at a height too far above to be relayed; evidence that we are behind.
    Ahead(Address, u64),
    /// Verified and new: relay and process.
    Take(Box<Message>, B256),
}

/// The memory of the relay.
#[derive(Debug)]
pub struct Relay {
    seen: Recent,
    /// By node and not by connection, so that reconnecting restores nothing.
    nodes: BoundedMap<NodeId, Budget>,
    authors: BoundedMap<Address, Budget>,
    /// Highest verified height by author, for authors of the current sets.
    heights: BoundedMap<Address, u64>,
    /// Counts of what was refused.
    pub refused: Refused,
    /// Messages dropped because they had been seen.
    pub duplicates: u64,
    /// Messages passed on for others, counted once whatever the number of receivers.
    pub relayed: u64,
    /// Peers cut.
    pub cut: u64,
}

impl Default for Relay {
    fn default() -> Self {
        Self {
            seen: Recent::new(SEEN),
            nodes: BoundedMap::new(REMEMBERED_NODES),
            authors: BoundedMap::new(ipe_types::extra::MAX_VALIDATORS),
            heights: BoundedMap::new(ipe_types::extra::MAX_VALIDATORS),
            refused: Refused::default(),
            duplicates: 0,
            relayed: 0,
            cut: 0,
        }
    }
}

impl Relay {
    /// Whether this node may connect: not while its budget is spent.
    pub fn welcomes(&mut self, now_ms: u64, node: &NodeId) -> bool {
        match self.nodes.get_mut(node) {
            Some(budget) => budget.take(now_ms, PEER_TOKENS / 4) && {
                budget.give(PEER_TOKENS / 4);
                true
            },
            None => true,
        }
    }

    /// Hashes of messages remembered as seen.
    pub fn seen(&self) -> usize {
        self.seen.held()
    }

    /// Remembers a message of our own as seen, so that it is not processed again when it comes back.
    pub fn own(&mut self, hash: &B256) {
        self.seen.insert(hash);
    }

    /// Judges one message of a peer.
    pub fn intake(&mut self, now_ms: u64, peer: &mut Peer, code: u8, bytes: &Bytes, window: Window<'_>) -> Intake {
        let node = peer.info.node;
        let Some(kind) = Kind::from_code(code) else {
            self.refused.malformed += 1;
            return self.charge(now_ms, node, 8, "it sent an unknown consensus message");
        };
        if bytes.len() > MAX_MESSAGE_BYTES {
            self.refused.malformed += 1;
            return self.charge(now_ms, node, PEER_TOKENS, "it sent a consensus message above the size limit");
        }
        let hash = keccak256(bytes);
        peer.messages.insert(&hash);
        let repeated = !peer.brought.insert(&hash);
        if !self.seen.insert(&hash) {
            self.duplicates += 1;
            // Every peer may bring a message once; one that brings its own again and again wastes our time.
            return if repeated { self.charge(now_ms, node, 1, "it repeats itself") } else { Intake::Drop };
        }
        let cost = 1 + (bytes.len() / BYTES_A_TOKEN) as u64;
        let Ok((height, round)) = peek(kind, bytes) else {
            self.refused.malformed += 1;
            return self.charge(now_ms, node, cost, "its consensus messages do not decode");
        };
        if round > MAX_ROUND || height < window.head {
            self.refused.window += 1;
            // A late message of a past height is nobody's fault; a round above the cap is.
            let tokens = if round > MAX_ROUND { cost } else { 0 };
            return self.charge(now_ms, node, tokens, "its consensus messages have rounds above the limit");
        }
        let set = if height == window.head { window.current } else { window.next };
        if let Some(cut) = self.spend(now_ms, node, cost) {
            self.seen.remove(&hash);
            self.refused.budget += 1;
            return cut;
        }
        // From here on tokens are held; they come back when the message proves good.
        let bar = self.reference(window).saturating_add(MAX_DISTANCE);
        if height > bar || has_justification(kind, bytes) {
            match outer_author(kind, bytes) {
                Some(author) if set.contains(&author) || planted::is(Bug::RelayWithoutAuthorCheck) => {
                    if height > bar {
                        self.give_back(node, cost);
                        // It may come again from another peer when we have caught up.
                        self.seen.remove(&hash);
                        self.refused.window += 1;
                        self.note_height(author, height);
                        return Intake::Ahead(author, height);
                    }
                }
                Some(_) => {
                    self.forget_early(&hash, height, window);
                    self.refused.author += 1;
                    return Intake::Drop;
                }
                None => {
                    self.refused.malformed += 1;
                    return Intake::Drop;
                }
            }
        }
        let message = match Message::decode(code, bytes) {
            Ok(message) => message,
            Err(_) => {
                self.refused.malformed += 1;
                return Intake::Drop;
            }
        };
        let author = message.author();
        if !set.contains(&author) && !planted::is(Bug::RelayWithoutAuthorCheck) {
            self.forget_early(&hash, height, window);
            self.refused.author += 1;
            return Intake::Drop;
        }
        self.give_back(node, cost);
        let budget = self.authors.entry(author, || Budget::new(now_ms, AUTHOR_TOKENS, AUTHOR_TOKENS_A_SECOND));
        if !budget.take(now_ms, 1) {
            self.refused.budget += 1;
            return Intake::Drop;
        }
        self.note_height(author, height);
        Intake::Take(Box::new(message), hash)
    }

    /// A peer did something costly or false outside of consensus messages; `Some` when that was its last token.
    pub fn misbehaved(&mut self, now_ms: u64, node: NodeId, tokens: u64, why: &str) -> Option<String> {
        match self.charge(now_ms, node, tokens, why) {
            Intake::Cut(reason) => Some(reason),
            _ => None,
        }
    }

    /// Height around which messages are relayed: the own head, or, while behind, what f+1 validators are at (one of
    /// them is honest), so that a boot that is catching up still carries its validator's votes.
    fn reference(&self, window: Window<'_>) -> u64 {
        let mut heights: Vec<u64> = self
            .heights
            .iter()
            .filter(|(author, _)| window.next.contains(author))
            .map(|(_, height)| height.saturating_sub(1))
            .collect();
        heights.sort_unstable_by(|a, b| b.cmp(a));
        heights.get(window.next.f()).copied().unwrap_or(0).max(window.head)
    }

    /// Highest height at which f+1 validators are, less one: a head that exists unless more than f of them lie.
    pub fn proven_head(&self, validators: &ValidatorSet) -> u64 {
        self.reference(Window { head: 0, current: validators, next: validators })
    }

    /// Who is no validator yet may be one of that height: what it says must be heard when it is said again.
    fn forget_early(&mut self, hash: &B256, height: u64, window: Window<'_>) {
        if height > window.head.saturating_add(1) {
            self.seen.remove(hash);
        }
    }

    fn note_height(&mut self, author: Address, height: u64) {
        let known = self.heights.entry(author, || height);
        *known = (*known).max(height);
    }

    fn spend(&mut self, now_ms: u64, node: NodeId, tokens: u64) -> Option<Intake> {
        let budget = self.nodes.entry(node, || Budget::new(now_ms, PEER_TOKENS, PEER_TOKENS_A_SECOND));
        if budget.take(now_ms, tokens) {
            return None;
        }
        self.cut += 1;
        Some(Intake::Cut("it sent too many invalid consensus messages".to_owned()))
    }

    fn give_back(&mut self, node: NodeId, tokens: u64) {
        if let Some(budget) = self.nodes.get_mut(&node) {
            budget.give(tokens);
        }
    }

    fn charge(&mut self, now_ms: u64, node: NodeId, tokens: u64, why: &str) -> Intake {
        let budget = self.nodes.entry(node, || Budget::new(now_ms, PEER_TOKENS, PEER_TOKENS_A_SECOND));
        if budget.take(now_ms, tokens) {
            return Intake::Drop;
        }
        self.cut += 1;
        Intake::Cut(why.to_owned())
    }
}

/// Whether consensus messages go over this connection: to validators by address or role, and in a sentry network to
/// boots, which pass them on. A boot that carries sessions sends none to validators that it does not know by role:
/// those have a session with the validator itself.
pub fn shares_consensus(topology: Topology, carrying: bool, peer: &Peer, validators: &ValidatorSet) -> bool {
    let by_role = match (topology, peer.info.role) {
        (Topology::Sentry, Some(Role::Validator | Role::Boot)) => true,
        (Topology::Mesh, Some(Role::Validator)) => true,
        _ => false,
    };
    peer.info.istanbul && (by_role || (!carrying && validators.contains(&peer.info.address)))
}

/// Whether a node of this role passes on what others have signed, and to whom of the peers that share consensus.
///
/// Boots of a sentry network do, and validators of a mesh (as Besu's do), to everybody. A sentry validator has carried
/// sessions on one side and its boots on the other; it passes on from either to the other, as every validator of a mesh
/// would in its place, so that those who have no session with each other hear of each other. Where it has no carried
/// session there is nobody to pass anything to.
pub fn passes_on(topology: Topology, role: Role, validating: bool, from_carried: bool, to_carried: bool) -> bool {
    match (topology, role) {
        (Topology::Sentry, Role::Boot) => true,
        (Topology::Sentry, Role::Validator) => from_carried != to_carried,
        (Topology::Mesh, Role::Validator) => validating,
        _ => false,
    }
}

/// Whether a Proposal or RoundChange carries signatures of others; unreadable ones count as carrying none and fail in
/// the decoder.
fn has_justification(kind: Kind, bytes: &[u8]) -> bool {
    if !matches!(kind, Kind::Proposal | Kind::RoundChange) {
        return false;
    }
    let Ok(mut items) = RlpHeader::decode_bytes(&mut &bytes[..], true) else { return false };
    let Ok(_signed) = RlpHeader::decode_bytes(&mut items, true) else { return false };
    // What is left without any justification: two empty lists, or an empty block, list and access list.
    items.len() > 3
}

/// Author of the outer signature, recovered without touching the justification.
fn outer_author(kind: Kind, bytes: &[u8]) -> Option<Address> {
    let mut items = RlpHeader::decode_bytes(&mut &bytes[..], true).ok()?;
    if matches!(kind, Kind::Proposal | Kind::RoundChange) {
        items = RlpHeader::decode_bytes(&mut items, true).ok()?;
    }
    let start = items;
    RlpHeader::decode_bytes(&mut items, true).ok()?;
    let raw = &start[..start.len() - items.len()];
    let signature = Signature65::from_bytes(<[u8; 65]>::decode(&mut items).ok()?).ok()?;
    let hash = match kind {
        Kind::Proposal => Signed::<ProposalPayload>::signing_hash(raw),
        Kind::Prepare => Signed::<PreparePayload>::signing_hash(raw),
        Kind::Commit => Signed::<CommitPayload>::signing_hash(raw),
        Kind::RoundChange => Signed::<RoundChangePayload>::signing_hash(raw),
    };
    recover_address(hash, &signature, HighS::Rejected).ok()
}
