//! Nodes that lie. A villain runs the same replica as everybody, to know what is going on; what it says passes through its
//! own file here, which may suppress, alter, double or invent it. It holds its own keys and no others: what honest nodes
//! signed it can only repeat.

mod claimant;
mod colluding;
mod dear;
mod derived;
mod equivocating_proposer;
mod equivocating_voter;
mod flood;
mod flooding_peer;
mod impersonating;
mod invalid_blocks;
mod lying_sync;
mod mutating;
mod replaying;
mod seesaw;
mod silent;
mod stale;
mod twin;
mod unruled;
mod wrong_round;

use std::collections::VecDeque;
use std::sync::Arc;

use ipe_chain::Ledger;
use ipe_engine::PeerId;
use ipe_types::eth::EthMessage;
use ipe_types::header::commit_hash;
use ipe_types::message::{
    CommitPayload, Payload, PreparePayload, Proposal, ProposalPayload, RoundChange, RoundChangePayload, Signed,
};
use ipe_types::{Address, B256, Block, Bytes, ExtraData, Header, Kind as Code, Message, NodeKey, Role};

use crate::rng::Rng;

/// What a villain does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Says nothing of its own.
    Silent,
    /// Proposes different blocks to different peers.
    EquivocatingProposer,
    /// Votes for different blocks.
    EquivocatingVoter,
    /// Two processes with one key, each honest by itself.
    Twin,
    /// Says what it should have said seconds ago.
    Stale,
    /// Speaks for others.
    Impersonating,
    /// Speaks about other rounds.
    WrongRound,
    /// Repeats what others said.
    Replaying,
    /// Changes what it heard and signs it: other rounds, other blocks under valid certificates.
    Mutating,
    /// Proposes blocks that are not valid.
    InvalidBlocks,
    /// Signs for whatever any proposer proposes, together with its allies, with all their keys.
    Colluding,
    /// A boot that floods its peers.
    FloodingPeer,
    /// A boot that lies about blocks.
    LyingSync,
    /// A writer and a boot that send sound transactions as fast as they can.
    Flood,
    /// A writer and a boot that send transactions which run long for their gas.
    Dear,
    /// A whole institution that changes every item of every message, with all its keys in the hands of all its nodes.
    Derived,
    /// The same by a boot without any validator's key.
    DerivedBoot,
    /// The same by writers and observers.
    DerivedLeaf,
    /// A whole institution that claims heights and transactions that do not exist, and answers nothing.
    Claimant,
    /// Votes in and out whom others disagree about.
    Seesaw,
    /// Proposes transactions of accounts that the rules on chain do not permit.
    Unruled,
}

impl Kind {
    /// Every villain that somebody thought of.
    pub const ALL: [Kind; 13] = [
        Kind::Silent,
        Kind::EquivocatingProposer,
        Kind::EquivocatingVoter,
        Kind::Twin,
        Kind::Stale,
        Kind::Impersonating,
        Kind::WrongRound,
        Kind::Replaying,
        Kind::Mutating,
        Kind::InvalidBlocks,
        Kind::Colluding,
        Kind::FloodingPeer,
        Kind::LyingSync,
    ];

    /// Those that follow from the types of the messages, in every role.
    pub const DERIVED: [Kind; 4] = [Kind::Derived, Kind::DerivedBoot, Kind::DerivedLeaf, Kind::Claimant];

    /// Whether a node of this role in the villain's institution is one; where there is none of them, its validator is.
    pub(crate) fn takes(self, role: Role) -> bool {
        match self {
            Kind::Derived | Kind::Claimant => true,
            Kind::FloodingPeer | Kind::LyingSync | Kind::DerivedBoot => role == Role::Boot,
            Kind::Flood | Kind::Dear => matches!(role, Role::Boot | Role::Writer),
            Kind::DerivedLeaf => matches!(role, Role::Writer | Role::Observer | Role::ObserverBoot),
            _ => role == Role::Validator,
        }
    }

    /// Time between two acts of its own, µs; 0 when it only alters what it says.
    pub(crate) fn pause_us(self) -> u64 {
        match self {
            Kind::Silent | Kind::EquivocatingProposer | Kind::Twin | Kind::InvalidBlocks | Kind::Seesaw => 0,
            Kind::EquivocatingVoter | Kind::Colluding | Kind::Stale | Kind::Flood | Kind::Dear => 100_000,
            Kind::Impersonating | Kind::WrongRound | Kind::Mutating | Kind::LyingSync | Kind::Unruled => 300_000,
            Kind::Replaying => 200_000,
            Kind::FloodingPeer => 50_000,
            Kind::Derived | Kind::DerivedBoot | Kind::DerivedLeaf | Kind::Claimant => 100_000,
        }
    }
}

/// Messages that a villain remembers.
const MEMORY: usize = 128;

/// One message that a villain sends.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) to: Vec<PeerId>,
    pub(crate) wire: Wire,
    /// No honest node would have sent it.
    pub(crate) foul: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Wire {
    Consensus(u8, Bytes),
    Eth(EthMessage),
    /// Of the eth protocol, as no encoder writes it.
    Bytes(u8, Bytes),
}

impl Said {
    fn foul(to: Vec<PeerId>, message: &Message) -> Self {
        Self { to, wire: Wire::Consensus(message.kind().code(), message.encode()), foul: true }
    }

    fn raw(to: Vec<PeerId>, code: u8, bytes: Bytes) -> Self {
        Self { to, wire: Wire::Consensus(code, bytes), foul: true }
    }

    fn eth(to: Vec<PeerId>, message: EthMessage) -> Self {
        Self { to, wire: Wire::Eth(message), foul: true }
    }

    fn plain(to: Vec<PeerId>, message: &Message) -> Self {
        Self { to, wire: Wire::Consensus(message.kind().code(), message.encode()), foul: false }
    }
}

/// What a villain sees when it speaks.
pub(crate) struct Scene<'a> {
    pub(crate) now_us: u64,
    pub(crate) peers: Vec<PeerId>,
    pub(crate) ledger: &'a Ledger,
}

impl Scene<'_> {
    /// Height that is being decided.
    fn height(&self) -> u64 {
        self.ledger.head().number + 1
    }
}

/// A villain's mind.
pub(crate) struct Villain {
    pub(crate) kind: Kind,
    pub(crate) key: NodeKey,
    /// Keys of all villains of the network, its own among them.
    pub(crate) allies: Vec<NodeKey>,
    /// Whether its allies' keys are in its hands.
    shares_keys: bool,
    /// What it does as fast as it goes, until when, µs, and to whom.
    siege: (u64, u64, Option<PeerId>),
    /// Messages near the limit of size that it has sent.
    large: u32,
    /// Whom it voted about last.
    swung: Option<Address>,
    /// How often it has acted.
    acts: u64,
    rng: Rng,
    heard: VecDeque<Arc<Message>>,
    /// What it held back: when it is due, µs, and what.
    late: VecDeque<(u64, Said)>,
}

impl Villain {
    pub(crate) fn new(kind: Kind, key: NodeKey, allies: Vec<NodeKey>, rng: Rng) -> Self {
        let shares_keys = kind == Kind::Derived;
        Self {
            kind,
            key,
            allies,
            shares_keys,
            siege: (0, 0, None),
            large: 0,
            swung: None,
            acts: 0,
            rng,
            heard: VecDeque::new(),
            late: VecDeque::new(),
        }
    }

    /// Remembers what a peer said.
    pub(crate) fn hear(&mut self, code: u8, bytes: &[u8]) {
        if let Ok(message) = Message::decode(code, bytes) {
            self.remember(Arc::new(message));
        }
    }

    fn remember(&mut self, message: Arc<Message>) {
        if self.heard.len() >= MEMORY {
            self.heard.pop_front();
        }
        self.heard.push_back(message);
    }

    /// What it says in place of what its replica wants to say.
    pub(crate) fn speak(&mut self, scene: &Scene<'_>, to: Vec<PeerId>, code: u8, bytes: Bytes) -> Vec<Said> {
        let passed = |to, bytes| vec![Said { to, wire: Wire::Consensus(code, bytes), foul: false }];
        let Ok(message) = Message::decode(code, &bytes) else { return passed(to, bytes) };
        if message.author() != self.key.address() {
            return match self.kind {
                Kind::Derived | Kind::DerivedBoot => derived::pass(self, to, &message),
                _ => passed(to, bytes),
            };
        }
        let message = Arc::new(message);
        self.remember(message.clone());
        match self.kind {
            Kind::Silent => silent::speak(),
            Kind::EquivocatingProposer => equivocating_proposer::speak(self, to, &message),
            Kind::EquivocatingVoter => equivocating_voter::speak(self, to, &message),
            Kind::Stale => stale::speak(self, scene, to, &message),
            Kind::InvalidBlocks => invalid_blocks::speak(self, scene, to, &message),
            Kind::Seesaw => seesaw::speak(self, scene, to, &message),
            Kind::Unruled => unruled::speak(self, scene, to, &message),
            Kind::Colluding => colluding::speak(self, to, &message),
            Kind::Twin => twin::speak(to, &message),
            Kind::WrongRound => wrong_round::speak(self, to, &message),
            Kind::Derived | Kind::DerivedBoot | Kind::DerivedLeaf => derived::speak(self, to, &message),
            Kind::Impersonating
            | Kind::Replaying
            | Kind::Mutating
            | Kind::FloodingPeer
            | Kind::LyingSync
            | Kind::Claimant
            | Kind::Flood
            | Kind::Dear => passed(to, bytes),
        }
    }

    /// The height of its Status.
    pub(crate) fn claims(&self, head: u64) -> u64 {
        if self.kind == Kind::Claimant { head + claimant::FAR } else { head }
    }

    /// What it says in place of an eth message.
    pub(crate) fn tell(&mut self, scene: &Scene<'_>, to: Vec<PeerId>, message: EthMessage) -> Vec<Said> {
        match self.kind {
            Kind::LyingSync => lying_sync::tell(self, scene, to, message),
            Kind::Claimant => claimant::tell(to, message),
            Kind::Derived | Kind::DerivedBoot | Kind::DerivedLeaf => derived::tell(self, to, message),
            _ => vec![Said { to, wire: Wire::Eth(message), foul: false }],
        }
    }

    /// What it says by itself.
    pub(crate) fn act(&mut self, scene: &Scene<'_>) -> Vec<Said> {
        match self.kind {
            Kind::EquivocatingVoter => equivocating_voter::act(self, scene),
            Kind::Stale => stale::act(self, scene),
            Kind::Impersonating => impersonating::act(self, scene),
            Kind::WrongRound => wrong_round::act(self, scene),
            Kind::Replaying => replaying::act(self, scene),
            Kind::Mutating => mutating::act(self, scene),
            Kind::Colluding => colluding::act(self, scene),
            Kind::FloodingPeer => flooding_peer::act(self, scene),
            Kind::Flood => flood::act(self, scene),
            Kind::Dear => dear::act(self, scene),
            Kind::LyingSync => lying_sync::act(self, scene),
            Kind::Derived | Kind::DerivedBoot | Kind::DerivedLeaf => derived::act(self, scene),
            Kind::Claimant => claimant::act(self, scene),
            Kind::Unruled => unruled::act(self, scene),
            Kind::Silent | Kind::EquivocatingProposer | Kind::Twin | Kind::InvalidBlocks | Kind::Seesaw => Vec::new(),
        }
    }

    /// Any of the messages it remembers.
    fn any_heard(&mut self) -> Option<Arc<Message>> {
        let index = self.rng.below(self.heard.len() as u64) as usize;
        self.heard.get(index).cloned()
    }

    /// Blocks proposed for a height, with their rounds, latest first.
    fn proposed_at(&self, height: u64) -> Vec<(u32, Arc<Block>)> {
        let proposals = self.heard.iter().rev().filter_map(|message| match &**message {
            Message::Proposal(proposal) if message.height() == height => Some(proposal),
            _ => None,
        });
        proposals.map(|proposal| (proposal.signed.payload().round, proposal.signed.payload().block.clone())).collect()
    }

    /// Two halves of the peers.
    fn halves(&mut self, peers: &[PeerId]) -> (Vec<PeerId>, Vec<PeerId>) {
        peers.iter().partition(|_| self.rng.chance(500))
    }
}

fn prepare(key: &NodeKey, height: u64, round: u32, digest: B256) -> Option<Message> {
    let payload = PreparePayload { height, round, digest };
    Some(Message::Prepare(Signed::sign_with(payload, |hash| key.sign(hash)).ok()?))
}

fn commit(key: &NodeKey, height: u64, round: u32, header: &Header) -> Option<Message> {
    let digest = commit_hash(header, round).ok()?;
    let payload = CommitPayload { height, round, digest, seal: key.sign(digest) };
    Some(Message::Commit(Signed::sign_with(payload, |hash| key.sign(hash)).ok()?))
}

fn round_change(key: &NodeKey, height: u64, round: u32) -> Option<Message> {
    let payload = RoundChangePayload { height, round, prepared: None };
    let signed = Signed::sign_with(payload, |hash| key.sign(hash)).ok()?;
    let access_list = Some(Bytes::from_static(&[0x80]));
    Some(Message::RoundChange(Box::new(RoundChange { signed, block: None, access_list, prepares: Vec::new() })))
}

/// The proposal with another block or round, signed again; its justification as it was.
fn proposal_again(key: &NodeKey, proposal: &Proposal, round: u32, block: Arc<Block>) -> Option<Message> {
    let payload = ProposalPayload { round, block, ..proposal.signed.payload().clone() };
    debug_assert_eq!(ProposalPayload::KIND, Code::Proposal);
    let signed = Signed::sign_with(payload, |hash| key.sign(hash)).ok()?;
    Some(Message::Proposal(Box::new(Proposal {
        signed,
        round_changes: proposal.round_changes.clone(),
        prepares: proposal.prepares.clone(),
    })))
}

/// Another block, as valid as the first: only the free bytes of its extra data differ. None of a block that has this mark.
fn twin_of(block: &Block, mark: u8) -> Option<Arc<Block>> {
    let mut extra = ExtraData::decode(&block.header.extra_data).ok()?;
    let vanity = Bytes::from(vec![mark; 32]);
    if extra.vanity == vanity {
        return None;
    }
    extra.vanity = vanity;
    let header = Header { extra_data: extra.encode(), ..block.header.clone() };
    Some(Arc::new(Block { header, body: block.body.clone() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A mutating villain that heard its own twin once took it for another block than itself.
    #[test]
    fn a_block_is_not_its_own_twin() {
        let header = Header { extra_data: ExtraData::default().encode(), ..Header::default() };
        let block = Block { header, ..Block::default() };
        let twin = twin_of(&block, 7).expect("it has no mark");
        assert_ne!(twin.hash().ok(), block.hash().ok());
        assert!(twin_of(&twin, 7).is_none());
        assert!(twin_of(&twin, 8).is_some());
    }
}
