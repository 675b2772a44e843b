//! The core beside the formal specification, event by event.
//!
//! Whatever [`ipe_qbft::step`] wishes to say must be what some transition of the specification sends in the same state, and
//! whatever the specification can say must have been said, up to the deviations in [`Deviation`]. Messages are random: sound,
//! contradictory, unjustified, of strangers, of later rounds and heights. Now and then the process is killed and goes on from
//! its journal, or a block comes that others have decided; the specification knows the second and not the first.

#![allow(clippy::unwrap_used, clippy::panic)]

mod model;
#[path = "../network/mod.rs"]
mod network;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes};
use ipe_qbft::{Draft, Effect, Event, HeadInfo, PreparedCertificate, Restored, Settings, State, Timer, justify, step};
use ipe_types::crypto::{HighS, recover_address};
use ipe_types::extra::ExtraData;
use ipe_types::header::commit_hash;
use ipe_types::message::{
    CommitPayload, Payload, PreparePayload, Proposal, ProposalPayload, RoundChange, RoundChangePayload, Signed,
};
use ipe_types::{Block, Dialect, Kind, Message, NodeKey, ValidatorSet};
use model::{Node, is_valid_block, name_of, replace_round};
use network::{Dice, START_MS};

/// Where the core does other than the specification says. Each is counted, and each must come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Deviation {
    /// A proposal for a later round is taken although nothing was accepted in ours.
    LaterRoundWithNothingAccepted,
    /// A round is left when the core's patience is over, or its proposer has left it: the specification has 2^r ticks.
    Patience,
    /// A RoundChange that proves less than it claims, or is of a stranger, is not heard; the specification counts it for f+1.
    UnprovenRoundChange,
    /// Prepares that justify a proposal are those that came inside RoundChanges; the specification takes those that came as
    /// messages.
    PreparesInsideRoundChanges,
    /// Whoever holds a justification may propose a prepared block again; here only whose turn it is.
    OnlyTheProposerProposesAgain,
    /// An author's first word counts; the specification keeps contradictions side by side. Of a later height that is the first
    /// copy, with what it carries unsigned.
    FirstWordCounts,
    /// A justification is refused for something that the specification does not look at: two RoundChanges of one author, a
    /// second digest for the latest prepared round, Prepares or RoundChanges where none belong.
    StricterJustification,
    /// A block that was prepared is judged again when it is proposed again.
    PreparedBlockIsJudged,
    /// A justified proposal proves that its round was reached: the round is entered although the block turns out invalid.
    RoundOfAnInvalidBlock,
    /// All seals that came are in the block; the specification has exactly a quorum.
    MoreSealsThanAQuorum,
    /// What others said is forgotten with the process, and what was accepted of it; the specification's nodes do not crash.
    ForgottenInACrash,
    /// After a crash the same is wished again, and has the same message.
    SaidAgain,
    /// After a crash something else is wished in a place where something was said: the gate refuses, and nothing is sent.
    RefusedByTheGate,
    /// After a crash in a round that was entered by a proposal, a RoundChange asks for that very round: nothing was prepared in
    /// it, and those who crashed with us come back to it.
    AsksForItsOwnRound,
    /// What is about a height more than ten above ours is not kept; the specification keeps everything.
    TooFarAhead,
}

/// Those that a random history comes across; the others have their own tests.
const RANDOM: [Deviation; 13] = [
    Deviation::LaterRoundWithNothingAccepted,
    Deviation::Patience,
    Deviation::UnprovenRoundChange,
    Deviation::PreparesInsideRoundChanges,
    Deviation::OnlyTheProposerProposesAgain,
    Deviation::FirstWordCounts,
    Deviation::StricterJustification,
    Deviation::PreparedBlockIsJudged,
    Deviation::RoundOfAnInvalidBlock,
    Deviation::ForgottenInACrash,
    Deviation::SaidAgain,
    Deviation::RefusedByTheGate,
    Deviation::AsksForItsOwnRound,
];

type Place = (Address, u64, u32, Kind);

/// One core, its gate, and the model that follows it.
struct Run {
    keys: Vec<NodeKey>,
    me: usize,
    dice: Dice,
    now: u64,
    state: State,
    model: Node,
    timers: [Option<(Timer, u64)>; Timer::SLOTS],
    /// What every author said first in a place.
    first: BTreeMap<Place, Bytes>,
    /// Authors that contradicted themselves at a place.
    contradicted: BTreeSet<Place>,
    /// The first copy of what was said of a later height, and the places in which another carried something else.
    copies: BTreeMap<Place, Bytes>,
    recopied: BTreeSet<Place>,
    /// What we said: what the gate has in its journal, with the identity of each.
    said: BTreeMap<(u64, u32, Kind), (B256, Arc<Message>)>,
    /// Height and certificate in the journal.
    certificate: Option<(u64, Arc<PreparedCertificate>)>,
    /// Latest head, as the core was told of it.
    head: Option<HeadInfo>,
    /// Times that the process was killed: the mark of the blocks that it builds.
    lives: u8,
    /// Height at which it was killed last.
    crashed_at: Option<u64>,
    /// What was heard and is not kept.
    forgotten: Vec<Arc<Message>>,
    /// The others said what more than f liars say: what follows has no meaning.
    over: bool,
    seen: BTreeMap<Deviation, usize>,
    case: String,
}

fn payload_of(message: &Message) -> Bytes {
    match message {
        Message::Proposal(proposal) => proposal.signed.raw().clone(),
        Message::Prepare(signed) => signed.raw().clone(),
        Message::Commit(signed) => signed.raw().clone(),
        Message::RoundChange(change) => change.signed.raw().clone(),
    }
}

impl Run {
    fn new(seed: u64, n: usize) -> Self {
        let mut keys: Vec<NodeKey> = (0..n).map(network::key).collect();
        keys.sort_by_key(NodeKey::address);
        keys.push(network::key(99));
        let validators: ValidatorSet = keys[..n].iter().map(NodeKey::address).collect();
        let mut dice = Dice(seed);
        let me = dice.within(0..=n as u64 - 1) as usize;
        let id = keys[me].address();
        let model = Node {
            id,
            validators,
            height: 1,
            previous: Address::ZERO,
            round: 0,
            accepted: None,
            prepared: None,
            received: Vec::new(),
        };
        let mut run = Self {
            keys,
            me,
            dice,
            now: START_MS,
            state: State::new(Settings { local: id, dialect: Dialect::Legacy }),
            model,
            timers: [None; Timer::SLOTS],
            first: BTreeMap::new(),
            contradicted: BTreeSet::new(),
            copies: BTreeMap::new(),
            recopied: BTreeSet::new(),
            said: BTreeMap::new(),
            certificate: None,
            head: None,
            lives: 0,
            crashed_at: None,
            forgotten: Vec::new(),
            over: false,
            seen: BTreeMap::new(),
            case: String::new(),
        };
        let head = run.next_head();
        run.happen([head]);
        run
    }

    fn note(&mut self, deviation: Deviation) {
        *self.seen.entry(deviation).or_default() += 1;
    }

    /// The model's head, told to the core.
    fn next_head(&mut self) -> Event {
        let head = HeadInfo {
            number: self.model.height - 1,
            hash: B256::repeat_byte(self.model.height as u8 - 1),
            timestamp_s: self.now / 1000,
            coinbase: self.model.previous,
            validators: self.model.validators.clone(),
            period_ms: 1000,
            empty_period_ms: 0,
            request_timeout_ms: 4000,
        };
        self.head = Some(head.clone());
        Event::HeadAdvanced(head)
    }

    /// `getNewBlock`, and any other block that somebody may propose. Mark 0xbb is invalid.
    fn block(&self, by: usize, round: u32, mark: u8) -> Block {
        let (height, parent) = (self.model.height, B256::repeat_byte(self.model.height as u8 - 1));
        let by = self.keys[by].address();
        network::block(height, parent, by, START_MS / 1000 + 60 * height, round, u64::from(mark), &self.model.validators)
    }

    // ---- what happens ----

    fn happen(&mut self, events: impl IntoIterator<Item = Event>) {
        let mut queue: VecDeque<Event> = events.into_iter().collect();
        while let Some(event) = queue.pop_front() {
            if let Event::Received(message) = &event {
                self.hear(message);
            }
            for effect in step(&mut self.state, self.now.into(), event) {
                match effect {
                    Effect::Sign(draft) => queue.push_back(self.gate(&draft)),
                    Effect::BuildBlock { height, round, .. } => {
                        let block = Arc::new(self.block(self.me, round, self.lives));
                        queue.push_back(Event::BlockBuilt { height, round, block, empty: false });
                    }
                    Effect::CheckBlock { height, round, block, hash, .. } => {
                        let verdict = if is_valid_block(&block) { Ok(()) } else { Err("marked".to_owned()) };
                        queue.push_back(Event::BlockChecked { height, round, hash, verdict });
                    }
                    Effect::SetTimer { timer, at } => self.timers[timer.slot()] = Some((timer, at)),
                    Effect::CancelTimer(timer) => self.timers[timer.slot()] = None,
                    Effect::Decide { block, round, .. } => {
                        self.decided_by_core(&block, round);
                        self.now += 900;
                        queue.clear();
                        queue.push_back(self.next_head());
                    }
                    _ => {}
                }
            }
        }
        self.nothing_left_unsaid();
    }

    /// A message enters `messagesReceived`.
    fn hear(&mut self, message: &Arc<Message>) {
        if message.height() > self.model.height + ipe_qbft::bounds::FUTURE_DISTANCE {
            self.note(Deviation::TooFarAhead);
            self.forgotten.push(message.clone());
            return;
        }
        let place = (message.author(), message.height(), message.round(), message.kind());
        let payload = payload_of(message);
        if *self.first.entry(place).or_insert_with(|| payload.clone()) != payload {
            self.contradicted.insert(place);
        }
        let spoiled = match &**message {
            Message::Proposal(proposal) => place.2 == 0 && proposal.round_changes.len() + proposal.prepares.len() > 0,
            Message::RoundChange(change) => {
                change.signed.payload().prepared.is_none() && (change.block.is_some() || !change.prepares.is_empty())
            }
            _ => false,
        };
        if message.height() > self.model.height && !spoiled {
            let copy = message.encode();
            if *self.copies.entry(place).or_insert_with(|| copy.clone()) != copy {
                self.recopied.insert(place);
            }
        }
        self.model.received.push(message.clone());
    }

    /// The signing gate with its journal: what was said is said again, and nothing else in its place.
    fn gate(&mut self, draft: &Draft) -> Event {
        let (height, round, kind) = (draft.height(), draft.round(), draft.kind());
        let Some((identity, message)) = self.said.get(&(height, round, kind)).cloned() else {
            self.said_by_core(draft);
            let key = self.keys[self.me].clone();
            let message = Arc::new(draft.sign_with(|hash| key.sign(hash)).unwrap());
            self.said.insert((height, round, kind), (draft.identity(), message.clone()));
            if let Draft::Commit { certificate, .. } = draft {
                self.certificate = Some((height, certificate.clone()));
            }
            return Event::Received(message);
        };
        assert_eq!(self.crashed_at, Some(height), "{}: {kind:?} for round {round} is said twice", self.case);
        if let Draft::Prepare(payload) = draft {
            self.accepts(round, payload.digest);
        }
        if identity == draft.identity() {
            self.note(Deviation::SaidAgain);
            return Event::Received(message);
        }
        assert_ne!(kind, Kind::RoundChange, "{}: another {draft:?}", self.case);
        self.over |= kind == Kind::Commit;
        self.note(Deviation::RefusedByTheGate);
        Event::SignRefused { height, round, kind }
    }

    /// `kill -9`, and a start from the journal.
    fn crash(&mut self) {
        let (id, height) = (self.model.id, self.model.height);
        self.lives += 1;
        self.crashed_at = Some(height);
        self.state = State::new(Settings { local: id, dialect: Dialect::Legacy });
        self.timers = [None; Timer::SLOTS];
        self.first.retain(|(author, ..), _| *author == id);
        self.contradicted.clear();
        self.copies.clear();
        self.recopied.clear();
        let certificate = self.certificate.as_ref().filter(|(at, _)| *at == height).map(|(_, held)| held.clone());
        // What the journal can make again: no Proposal, and nothing whose certificate was replaced by a later one.
        let again = |message: &Message| match message {
            Message::Proposal(_) => false,
            Message::Prepare(_) => true,
            Message::Commit(commit) => certificate.as_ref().is_some_and(|held| held.round == commit.round()),
            Message::RoundChange(change) => change
                .signed
                .payload()
                .prepared
                .is_none_or(|(round, _)| certificate.as_ref().is_some_and(|held| held.round == round)),
        };
        let spoken = self.said.iter().filter(|((at, ..), _)| *at == height);
        let messages: Vec<Arc<Message>> =
            spoken.clone().map(|(_, (_, message))| message.clone()).filter(|message| again(message)).collect();
        let round = spoken.map(|((_, round, _), _)| *round).max();
        let heard = std::mem::replace(&mut self.model.received, messages.clone());
        self.forgotten.extend(heard);
        self.model.round = round.unwrap_or(0);
        self.model.accepted = None;
        let restored = round.map(|round| Event::Restored(Restored { height, round, certificate, messages }));
        let head = self.head.clone().map(Event::HeadAdvanced);
        self.happen(restored.into_iter().chain(head));
    }

    /// `UponNewBlock`: others have decided, and the block came by itself.
    fn imported(&mut self) {
        let round = self.model.round;
        let by = self.index(self.model.proposer(round));
        let block = self.block(by, round, 0);
        self.model.append(&block);
        self.now += 900;
        let head = self.next_head();
        self.happen([head]);
    }

    // ---- the core may only do what the specification can ----

    /// `UponProposal`.
    fn accepts(&mut self, round: u32, digest: B256) {
        let found = self
            .model
            .upon_proposal()
            .into_iter()
            .find(|proposal| proposal.signed.round() == round && name_of(&proposal.signed.payload().block) == digest);
        let proposal = found.unwrap_or_else(|| panic!("{}: UponProposal accepts no {digest} in {round}", self.case));
        if !self.model.may_accept_literally(round) {
            self.note(Deviation::LaterRoundWithNothingAccepted);
        }
        self.model.accept(proposal);
    }

    fn said_by_core(&mut self, draft: &Draft) {
        let (height, round) = (draft.height(), draft.round());
        assert_eq!(height, self.model.height, "{}: {draft:?}", self.case);
        match draft {
            Draft::Proposal { payload, round_changes, prepares } => {
                self.proposes(round, &payload.block, round_changes, prepares);
            }
            Draft::Prepare(payload) => self.accepts(round, payload.digest),
            Draft::Commit { digest, certificate, .. } => {
                let block = self.model.upon_prepare();
                let block = block.unwrap_or_else(|| panic!("{}: UponPrepare does not send {draft:?}", self.case));
                assert_eq!((round, *digest, certificate.round), (self.model.round, name_of(&block), round), "{}", self.case);
                self.model.prepared = Some((block, round));
            }
            Draft::RoundChange { payload, .. } => {
                assert_eq!(payload.prepared, self.model.prepared_to_say(), "{}: createRoundChange for {round}", self.case);
                if round == self.model.round && self.crashed_at == Some(height) {
                    assert!(self.model.prepared.as_ref().is_none_or(|(_, prepared)| *prepared < round), "{}", self.case);
                    self.note(Deviation::AsksForItsOwnRound);
                } else if !self.model.upon_f_plus_one().contains(&round) {
                    assert_eq!(round, self.model.round + 1, "{}: neither f+1 nor UponRoundTimeout", self.case);
                    self.note(Deviation::Patience);
                }
                self.model.go_to(round);
            }
        }
    }

    /// `UponBlockTimeout` in round 0, the first branch of `UponRoundChange` above.
    fn proposes(&mut self, round: u32, block: &Block, changes: &[Signed<RoundChangePayload>], prepares: &[Signed<PreparePayload>]) {
        let case = self.case.clone();
        assert_eq!(self.model.proposer(round), self.model.id, "{case}: it is not our turn");
        assert!(self.model.may_accept(round) && round >= self.model.round, "{case}: something was accepted in {round}");
        assert!(self.model.is_proposal_justification(changes, prepares, round, block), "{case}: round {round} is not justified");
        let heard = |change: &Signed<RoundChangePayload>| {
            self.model
                .received
                .iter()
                .any(|message| matches!(&**message, Message::RoundChange(held) if held.signed.raw() == change.raw()))
        };
        assert!(changes.iter().all(heard), "{case}: a RoundChange that nobody sent");
        if prepares.is_empty() {
            let fresh = self.block(self.me, round, self.lives);
            assert_eq!(name_of(block), name_of(&fresh), "{case}: not the block that was built");
        } else {
            let came = |prepare: &Signed<PreparePayload>| {
                self.model.received.iter().any(|message| match &**message {
                    Message::Prepare(held) => held == prepare,
                    _ => false,
                })
            };
            let inside = |prepare: &Signed<PreparePayload>| {
                self.model.received.iter().any(|message| match &**message {
                    Message::RoundChange(change) => change.prepares.contains(prepare),
                    _ => false,
                })
            };
            assert!(prepares.iter().all(|prepare| came(prepare) || inside(prepare)), "{case}: a Prepare out of nowhere");
            if !prepares.iter().all(came) {
                self.note(Deviation::PreparesInsideRoundChanges);
            }
        }
    }

    fn decided_by_core(&mut self, block: &Block, round: u32) {
        let (expected, authors) = self.model.upon_commit().unwrap_or_else(|| panic!("{}: UponCommit decides nothing", self.case));
        assert_eq!((round, block.hash()), (self.model.round, expected.hash()), "{}", self.case);
        let sealed = commit_hash(&block.header, round).unwrap();
        let extra = ExtraData::decode(&block.header.extra_data).unwrap();
        let committers: BTreeSet<Address> =
            extra.seals.iter().map(|seal| recover_address(sealed, seal, HighS::Allowed).unwrap()).collect();
        assert!(committers.len() >= self.model.quorum() && committers.is_subset(&authors), "{}", self.case);
        if committers.len() > self.model.quorum() {
            self.note(Deviation::MoreSealsThanAQuorum);
        }
        self.model.append(&expected);
    }

    // ---- what the specification can do, the core has done ----

    fn nothing_left_unsaid(&mut self) {
        if self.over {
            return;
        }
        self.follow_into_the_round_of_an_invalid_block();
        let mut whole = self.model.clone();
        whole.received.extend(self.forgotten.iter().cloned());
        let more = |of: fn(&Node) -> bool| of(&whole) && !of(&self.model);
        if more(|node| node.upon_prepare().is_some()) || more(|node| node.upon_commit().is_some()) {
            self.note(Deviation::ForgottenInACrash);
        }
        let (height, round) = (self.model.height, self.model.round);
        let case = self.case.clone();
        for proposal in self.model.upon_proposal() {
            let at = proposal.signed.round();
            let place = (proposal.signed.author(), height, at, Kind::Proposal);
            if self.contradicted.contains(&place) || self.recopied.contains(&place) {
                self.note(Deviation::FirstWordCounts);
            } else if let Some(deviation) = self.why_refused(&proposal) {
                self.note(deviation);
            } else {
                panic!(
                    "{case}: UponProposal accepts round {at} in round {round}, the core did not: {:?}",
                    self.rules_say(&proposal)
                );
            }
        }
        if self.model.upon_prepare().is_some() {
            assert!(self.explained_by_contradictions(round, Kind::Prepare), "{case}: UponPrepare commits in round {round}");
        }
        if self.model.upon_commit().is_some() {
            assert!(self.explained_by_contradictions(round, Kind::Commit), "{case}: UponCommit decides in round {round}");
        }
        // Of the RoundChanges those that prove what they claim.
        let mut proven = self.model.clone();
        proven.received.retain(|message| self.is_proven(message));
        if !self.model.upon_f_plus_one().is_empty() {
            assert!(proven.upon_f_plus_one().is_empty(), "{case}: f+1 are above round {round}, the core stays");
            self.note(Deviation::UnprovenRoundChange);
        }
        self.nothing_left_to_propose(&proven);
    }

    fn follow_into_the_round_of_an_invalid_block(&mut self) {
        let core = self.state.round().unwrap_or(0);
        if core == self.model.round {
            return;
        }
        let proven = self.model.received.iter().any(|message| match &**message {
            Message::Proposal(proposal) => {
                proposal.signed.round() == core
                    && !is_valid_block(&proposal.signed.payload().block)
                    && self.rules_say(proposal).is_ok()
            }
            _ => false,
        });
        assert!(core > self.model.round && proven, "{}: the core is in round {core}, the model in {}", self.case, self.model.round);
        self.note(Deviation::RoundOfAnInvalidBlock);
        self.model.go_to(core);
    }

    fn rules_say(&self, proposal: &Proposal) -> Result<(), ipe_qbft::Reason> {
        let rules = justify::Rules {
            height: self.model.height,
            validators: self.model.validators.clone(),
            previous_proposer: self.model.previous,
        };
        justify::proposal(&rules, proposal)
    }

    fn why_refused(&self, proposal: &Proposal) -> Option<Deviation> {
        use ipe_qbft::Reason;
        match self.rules_say(proposal) {
            Err(
                Reason::DuplicateAuthor { .. }
                | Reason::PreparedDigest { .. }
                | Reason::UnexpectedPrepares
                | Reason::JustificationInRoundZero,
            ) => Some(Deviation::StricterJustification),
            Ok(()) if !is_valid_block(&proposal.signed.payload().block) => Some(Deviation::PreparedBlockIsJudged),
            _ => None,
        }
    }

    /// Whether somebody said two things of this kind in this round.
    fn explained_by_contradictions(&mut self, round: u32, kind: Kind) -> bool {
        let height = self.model.height;
        let explained = self.contradicted.iter().any(|(_, at, of, what)| (*at, *of, *what) == (height, round, kind));
        if explained {
            self.note(Deviation::FirstWordCounts);
        }
        explained
    }

    fn is_proven(&self, message: &Message) -> bool {
        let Message::RoundChange(change) = message else { return true };
        let place = (message.author(), message.height(), message.round(), Kind::RoundChange);
        let rules = justify::Rules {
            height: self.model.height,
            validators: self.model.validators.clone(),
            previous_proposer: self.model.previous,
        };
        // The core does not count its own word for f+1 others.
        change.signed.author() != self.model.id
            && self.model.validators.contains(&change.signed.author())
            && justify::round_change(&rules, change).is_ok()
            && self.first.get(&place) == Some(change.signed.raw())
            && !self.recopied.contains(&place)
    }

    /// The first branch of `UponRoundChange`, in the round in hand.
    fn nothing_left_to_propose(&mut self, proven: &Node) {
        let (height, round) = (self.model.height, self.model.round);
        if round == 0 || !self.model.may_accept(round) || self.said.contains_key(&(height, round, Kind::Proposal)) {
            return;
        }
        let own = self.model.received.iter().filter(|message| message.author() == self.model.id);
        let mut changes = BTreeMap::new();
        let mut held = None;
        for message in proven.received.iter().chain(own) {
            let Message::RoundChange(change) = &**message else { continue };
            if self.model.valid_round_change(&change.signed, round) {
                changes.insert(change.signed.author(), change.signed.clone());
                held = held.max(change.signed.payload().prepared.map(|(prepared, _)| prepared));
            }
        }
        if changes.len() < self.model.quorum() {
            return;
        }
        let ours = self.model.proposer(round) == self.model.id;
        assert!(!ours, "{}: round {round} is ours and justified, the core does not propose", self.case);
        if held.is_some() {
            self.note(Deviation::OnlyTheProposerProposesAgain);
        }
    }

    // ---- what others say ----

    fn sign<P: Payload>(&self, who: usize, payload: P) -> Signed<P> {
        Signed::sign_with(payload, |hash| self.keys[who].sign(hash)).unwrap()
    }

    fn other(&mut self) -> usize {
        let most = self.keys.len() as u64 - 1;
        loop {
            // Now and then the stranger, who is last.
            let who = if self.dice.chance(4) { most as usize } else { self.dice.within(0..=most - 1) as usize };
            if who != self.me {
                return who;
            }
        }
    }

    /// Near the round in hand, where something follows from a message.
    fn some_round(&mut self) -> u32 {
        match self.dice.within(0..=9) {
            0..=5 => self.model.round,
            6..=8 => self.model.round + 1,
            _ => self.model.round + 2,
        }
        .min(3)
    }

    fn index(&self, address: Address) -> usize {
        self.keys.iter().position(|key| key.address() == address).unwrap()
    }

    /// The block that is talked about in `round`: what was proposed if we know it, else what its proposer would build.
    fn talked_about(&mut self, round: u32) -> Block {
        let known = self.model.received.iter().rev().find_map(|message| match &**message {
            Message::Proposal(proposal) if proposal.signed.round() == round && proposal.signed.height() == self.model.height => {
                Some((*proposal.signed.payload().block).clone())
            }
            _ => None,
        });
        match known {
            Some(block) if !self.dice.chance(3) => block,
            _ => {
                let by = self.index(self.model.proposer(round));
                let mark = if self.dice.chance(5) { 1 } else { 0 };
                self.block(by, round, mark)
            }
        }
    }

    /// A prepared certificate of one of the rounds below `round`, now and then with a fault.
    fn certificate(&mut self, round: u32) -> Option<PreparedCertificate> {
        let below = self.dice.within(0..=u64::from(round.checked_sub(1)?)) as u32;
        let block = self.talked_about(below);
        let digest = if self.dice.chance(4) { B256::repeat_byte(9) } else { name_of(&replace_round(&block, below)) };
        let quorum = self.model.quorum();
        let count = if self.dice.chance(6) { quorum - 1 } else { quorum };
        let height = self.model.height;
        // A validator that prepared in earnest would not say so for two blocks, and we ourselves say what we say.
        let authors: Vec<usize> = (0..self.keys.len() - 1).filter(|who| *who != self.me).take(count).collect();
        let named = name_of(&replace_round(&block, below));
        let prepares =
            authors.into_iter().map(|who| self.sign(who, PreparePayload { height, round: below, digest: named })).collect();
        let block = Arc::new(replace_round(&block, below));
        Some(PreparedCertificate { round: below, digest, block, access_list: None, prepares })
    }

    fn round_change(&mut self, who: usize, round: u32, certificate: Option<&PreparedCertificate>) -> RoundChange {
        let prepared = certificate.map(|held| (held.round, held.digest));
        let signed = self.sign(who, RoundChangePayload { height: self.model.height, round, prepared });
        RoundChange {
            signed,
            block: certificate.map(|held| held.block.clone()),
            access_list: None,
            prepares: certificate.map_or_else(Vec::new, |held| held.prepares.clone()),
        }
    }

    fn proposal(&mut self) -> Message {
        let round = self.some_round();
        let proposer = self.index(self.model.proposer(round));
        let who = if proposer == self.me || self.dice.chance(4) { self.other() } else { proposer };
        let mark = match self.dice.within(0..=19) {
            0 => 0xbb,
            1 => 1,
            _ => 0,
        };
        let mut block = self.block(who, round, mark);
        let (mut round_changes, mut prepares) = (Vec::new(), Vec::new());
        if round > 0 {
            let certificate = if self.dice.chance(40) { self.certificate(round) } else { None };
            let quorum = self.model.quorum();
            let count = if self.dice.chance(6) { quorum - 1 } else { quorum };
            let others: Vec<usize> = (0..self.keys.len() - 1).filter(|who| *who != self.me).take(count).collect();
            for (index, author) in others.into_iter().enumerate() {
                let holds = index == 0 || self.dice.chance(50);
                let change = self.round_change(author, round, certificate.as_ref().filter(|_| holds));
                round_changes.push(change.signed);
            }
            if let Some(held) = certificate {
                if !self.dice.chance(5) {
                    block = replace_round(&held.block, round);
                    prepares = held.prepares;
                }
                if self.dice.chance(8) {
                    // Somebody names another block for the same round.
                    let last = round_changes.len() - 1;
                    let author = self.index(round_changes[last].author());
                    let prepared = Some((held.round, B256::repeat_byte(5)));
                    round_changes[last] = self.sign(author, RoundChangePayload { height: self.model.height, round, prepared });
                }
            }
        }
        match self.dice.within(0..=24) {
            0 if !round_changes.is_empty() => round_changes.push(round_changes[0].clone()),
            1 => {
                let stray = PreparePayload { height: self.model.height, round: 0, digest: B256::ZERO };
                prepares.push(self.sign(who, stray));
            }
            _ => {}
        }
        let payload = ProposalPayload { height: self.model.height, round, block: Arc::new(block), access_list: None };
        Message::Proposal(Box::new(Proposal { signed: self.sign(who, payload), round_changes, prepares }))
    }

    /// Commits of all others to a block of round 0.
    fn commits(&self, block: &Block) -> Vec<Message> {
        let (height, digest) = (self.model.height, name_of(block));
        let others = (0..self.keys.len() - 1).filter(|who| *who != self.me);
        others
            .map(|who| {
                let seal = self.keys[who].sign(commit_hash(&block.header, 0).unwrap());
                Message::Commit(self.sign(who, CommitPayload { height, round: 0, digest, seal }))
            })
            .collect()
    }

    fn message(&mut self) -> Message {
        let who = self.other();
        let height = self.model.height;
        match self.dice.within(0..=11) {
            0..=2 => self.proposal(),
            3..=5 => {
                let round = self.some_round();
                let block = self.talked_about(round);
                let digest = if self.dice.chance(5) { B256::repeat_byte(3) } else { name_of(&block) };
                Message::Prepare(self.sign(who, PreparePayload { height, round, digest }))
            }
            6..=8 => {
                let round = self.some_round();
                let block = self.talked_about(round);
                let signer = if self.dice.chance(4) { self.other() } else { who };
                let seal = self.keys[signer].sign(commit_hash(&block.header, round).unwrap());
                Message::Commit(self.sign(who, CommitPayload { height, round, digest: name_of(&block), seal }))
            }
            _ => {
                let round = self.some_round().max(1);
                let certificate = if self.dice.chance(35) { self.certificate(round) } else { None };
                Message::RoundChange(Box::new(self.round_change(who, round, certificate.as_ref())))
            }
        }
    }

    /// A message about the height after the one in hand, as if what is talked about now were decided.
    fn message_ahead(&mut self) -> Message {
        let here = self.model.clone();
        let block = self.talked_about(here.round);
        self.model.append(&block);
        let message = self.message();
        self.model = here;
        message
    }

    /// The timer that is due next, at its time.
    fn timer(&mut self) {
        let due = self.timers.iter().flatten().filter(|(timer, _)| timer.slot() != 2).min_by_key(|(_, at)| *at).copied();
        if let Some((timer, at)) = due {
            self.now = self.now.max(at);
            self.timers[timer.slot()] = None;
            self.happen([Event::TimerFired(timer)]);
        }
    }
}

/// Thousands of random histories at four and seven validators.
#[test]
fn the_core_does_what_the_specification_does() {
    let mut seen: BTreeMap<Deviation, usize> = BTreeMap::new();
    let (mut messages, mut heights) = (0, 0);
    for (n, seeds, events) in [(4, 450, 90), (7, 100, 140)] {
        for seed in 0..seeds {
            let mut run = Run::new(seed * 31 + n as u64, n);
            for index in 0..events {
                run.case = format!("{n} validators, seed {seed}, event {index}");
                // Beyond the rounds that are talked about the bounds begin, which have tests of their own.
                if run.model.round > 2 || run.model.height > 4 || run.over {
                    break;
                }
                match run.dice.within(0..=99) {
                    0..=6 => run.timer(),
                    7 | 8 => run.crash(),
                    9 => run.imported(),
                    kind => {
                        let message = if kind < 20 { run.message_ahead() } else { run.message() };
                        messages += 1;
                        run.happen([Event::Received(Arc::new(message))]);
                    }
                }
            }
            heights += run.model.height - 1;
            run.seen.into_iter().for_each(|(deviation, count)| *seen.entry(deviation).or_default() += count);
        }
    }
    println!("{messages} messages, {heights} blocks decided; {seen:?}");
    assert!(heights > 50, "{heights} blocks were decided: the histories lead nowhere");
    for deviation in RANDOM {
        assert!(seen.contains_key(&deviation), "{deviation:?} never came about: no deviation, or the histories are too tame");
    }
}

/// What is said ten heights above ours is kept until we are there; what is said eleven above is not.
#[test]
fn later_heights_are_heard_when_they_are_in_hand_up_to_ten_above() {
    // Neither of the two is to be ours.
    let mut run = (0..).map(|seed| Run::new(seed, 4)).find(|run: &Run| run.me < 2).unwrap();
    run.case = "later heights".to_owned();
    let here = run.model.clone();
    let mut said = Vec::new();
    for height in 1..=12 {
        let first = run.model.proposer(0);
        let proposer = run.index(first);
        let block = run.block(proposer, 0, 0);
        if height >= 11 {
            said.extend(run.commits(&block));
            let payload = ProposalPayload { height, round: 0, block: Arc::new(block.clone()), access_list: None };
            let signed = run.sign(proposer, payload);
            said.push(Message::Proposal(Box::new(Proposal { signed, round_changes: vec![], prepares: vec![] })));
        }
        run.model.append(&block);
    }
    run.model = here;
    for message in said {
        run.happen([Event::Received(Arc::new(message))]);
    }
    (1..=10).for_each(|_| run.imported());
    assert_eq!(run.model.height, 12, "block 11 is decided as soon as block 10 is here, and block 12 is not");
    assert_eq!(run.seen.get(&Deviation::TooFarAhead), Some(&4));
    let mut whole = run.model.clone();
    whole.received.append(&mut run.forgotten);
    assert_eq!(whole.upon_proposal().len(), 1, "the specification has it");
}

/// Found by the random histories: what a proposal carries beside its payload is signed by nobody, and whoever passes it on may
/// add to it. For the height in hand such a copy is refused; of the next one it took the place of the sound proposal.
#[test]
fn a_spoiled_copy_does_not_keep_the_sound_proposal_of_the_next_height_out() {
    let mut run = (0..).map(|seed| Run::new(seed, 4)).find(|run: &Run| run.me != 1).unwrap();
    let here = run.model.clone();
    let block = run.block(0, 0, 0);
    run.model.append(&block);
    assert_eq!(run.index(run.model.proposer(0)), 1);
    let payload = ProposalPayload { height: 2, round: 0, block: Arc::new(run.block(1, 0, 0)), access_list: None };
    let sound = Proposal { signed: run.sign(1, payload), round_changes: vec![], prepares: vec![] };
    let stray = run.sign(1, PreparePayload { height: 2, round: 0, digest: B256::ZERO });
    let spoiled = Proposal { prepares: vec![stray], ..sound.clone() };
    run.model = here;
    for proposal in [spoiled, sound] {
        run.happen([Event::Received(Arc::new(Message::Proposal(Box::new(proposal))))]);
    }
    run.imported();
    assert!(run.said.contains_key(&(2, 0, Kind::Prepare)));
}

/// Everybody else has committed before we hear of the proposal: it is final at once, with all their seals, although nobody's
/// Prepare has come.
#[test]
fn commits_that_were_here_before_the_proposal_decide() {
    let mut run = (0..).map(|seed| Run::new(seed, 7)).find(|run: &Run| run.model.proposer(0) != run.model.id).unwrap();
    let first = run.model.proposer(0);
    let proposer = run.index(first);
    let block = run.block(proposer, 0, 0);
    for commit in run.commits(&block) {
        run.happen([Event::Received(Arc::new(commit))]);
    }
    let payload = ProposalPayload { height: 1, round: 0, block: Arc::new(block), access_list: None };
    let signed = run.sign(proposer, payload);
    let proposal = Proposal { signed, round_changes: vec![], prepares: vec![] };
    run.happen([Event::Received(Arc::new(Message::Proposal(Box::new(proposal))))]);
    assert_eq!(run.model.height, 2, "nothing was decided");
    assert!(run.seen.contains_key(&Deviation::MoreSealsThanAQuorum), "six seals came");
}
