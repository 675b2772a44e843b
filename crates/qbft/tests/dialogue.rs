//! Dialogues: a named peer says this, we answer exactly that, and silence is asserted too.
//!
//! Four validators, Ana, Bia, Caio and Davi, who propose block 1 in this order of rounds. We are one of them. What we
//! sign is heard by ourselves at once, as the host does it.

#![allow(clippy::unwrap_used, clippy::panic)]

mod network;

use std::sync::Arc;

use alloy_primitives::{Address, B256};
use ipe_qbft::bounds::MAX_ROUND;
use ipe_qbft::{Draft, Effect, Event, HeadInfo, Now, PreparedCertificate, Restored, Settings, State, Timer, step};
use ipe_types::extra::ExtraData;
use ipe_types::header::{block_hash, commit_hash, digest, with_round_and_seals};
use ipe_types::message::{CommitPayload, PreparePayload, Proposal, ProposalPayload, RoundChangePayload, Signed};
use ipe_types::{Block, Bytes, Dialect, Kind, Message, NodeKey, ValidatorSet};
use network::{START_MS, block, genesis};

const ANA: usize = 0;
const BIA: usize = 1;
const CAIO: usize = 2;
const DAVI: usize = 3;

const T: u64 = 4000;

struct Talk {
    keys: Vec<NodeKey>,
    set: ValidatorSet,
    me: usize,
    state: State,
    now: u64,
    /// How far the wall clock was set back, in milliseconds.
    set_back: u64,
    parent: B256,
    drafts: Vec<Draft>,
    refuse: bool,
    dialect: Dialect,
}

impl Talk {
    /// We are `me`, at the genesis block, a second before block 1 is due.
    fn new(me: usize) -> Self {
        let mut talk = Self::silent(me, Dialect::Legacy);
        let begin = talk.head(0, talk.parent, Address::ZERO, START_MS / 1000);
        assert_eq!(talk.on(Event::HeadAdvanced(begin)), [format!("timer Block at {}", START_MS + 1000)]);
        talk
    }

    fn silent(me: usize, dialect: Dialect) -> Self {
        let mut keys: Vec<NodeKey> = (0..4).map(network::key).collect();
        keys.sort_by_key(NodeKey::address);
        let set: ValidatorSet = keys.iter().map(NodeKey::address).collect();
        let state = State::new(Settings { local: keys[me].address(), dialect });
        Self { keys, set, me, state, now: START_MS, set_back: 0, parent: genesis().0, drafts: vec![], refuse: false, dialect }
    }

    fn head(&self, number: u64, hash: B256, coinbase: Address, timestamp_s: u64) -> HeadInfo {
        HeadInfo {
            number,
            hash,
            timestamp_s,
            coinbase,
            validators: self.set.clone(),
            period_ms: 1000,
            empty_period_ms: 0,
            request_timeout_ms: T,
        }
    }

    /// Everything that follows from `event`, in words.
    fn on(&mut self, event: Event) -> Vec<String> {
        let mut said = Vec::new();
        let mut events = std::collections::VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let now = Now { steady: self.now, wall: self.now - self.set_back };
            for effect in step(&mut self.state, now, event) {
                if let Effect::Sign(draft) = &effect {
                    self.drafts.push(draft.clone());
                    if self.refuse {
                        let (height, round, kind) = (draft.height(), draft.round(), draft.kind());
                        events.push_back(Event::SignRefused { height, round, kind });
                    } else {
                        let key = self.keys[self.me].clone();
                        let message = draft.sign_with(|hash| key.sign(hash)).unwrap();
                        events.push_back(Event::Received(Arc::new(message)));
                    }
                }
                said.extend(self.words(&effect));
            }
        }
        said
    }

    fn words(&self, effect: &Effect) -> Option<String> {
        Some(match effect {
            Effect::Sign(draft) => {
                let with = match draft {
                    Draft::RoundChange { certificate: Some(held), .. } => format!(" prepared in {}", held.round),
                    Draft::Proposal { round_changes, prepares, .. } if !round_changes.is_empty() => {
                        format!(" by {} round changes and {} prepares", round_changes.len(), prepares.len())
                    }
                    _ => String::new(),
                };
                format!("say {:?} {}/{}{with}", draft.kind(), draft.height(), draft.round())
            }
            Effect::Resend(messages) => {
                let what: Vec<_> = messages.iter().map(|message| format!("{:?} {}", message.kind(), message.round())).collect();
                format!("say again {}", what.join(", "))
            }
            Effect::BuildBlock { height, round, timestamp_s } => format!("build {height}/{round} at {timestamp_s}"),
            Effect::AskTransactions { height } => format!("ask transactions {height}"),
            Effect::CheckBlock { height, round, .. } => format!("check {height}/{round}"),
            Effect::SetTimer { timer: Timer::Block { .. }, at } => format!("timer Block at {at}"),
            Effect::SetTimer { timer: Timer::Round { round, .. }, at } => {
                format!("patience with {round} for {}", at - self.now)
            }
            Effect::SetTimer { timer: Timer::Resend { .. }, .. } | Effect::CancelTimer(_) => return None,
            Effect::Decide { block, round, .. } => {
                let seals = ipe_types::extra::ExtraData::decode(&block.header.extra_data).unwrap().seals.len();
                format!("decide {}/{round} with {seals} seals", block.header.number)
            }
            Effect::Report(rejection) => format!("report {}", name_of(&rejection.reason)),
            Effect::RoundStarted { height, round, .. } => format!("begin {height}/{round}"),
        })
    }

    fn sign<P: ipe_types::message::Payload>(&self, who: usize, payload: P) -> Signed<P> {
        Signed::sign_with(payload, |hash| self.keys[who].sign(hash)).unwrap()
    }

    fn block(&self, by: usize, round: u32, mark: u64) -> Block {
        block(1, self.parent, self.keys[by].address(), START_MS / 1000 + 1, round, mark, &self.set)
    }

    fn hears(&mut self, message: Message) -> Vec<String> {
        self.on(Event::Received(Arc::new(message)))
    }

    fn proposal(&self, by: usize, round: u32, block: &Block) -> Message {
        self.justified(by, round, block, vec![], vec![])
    }

    fn justified(
        &self,
        by: usize,
        round: u32,
        block: &Block,
        round_changes: Vec<Signed<RoundChangePayload>>,
        prepares: Vec<Signed<PreparePayload>>,
    ) -> Message {
        let payload = ProposalPayload { height: 1, round, block: Arc::new(block.clone()), access_list: self.access_list() };
        Message::Proposal(Box::new(Proposal { signed: self.sign(by, payload), round_changes, prepares }))
    }

    fn access_list(&self) -> Option<Bytes> {
        (self.dialect == Dialect::Besu26).then(|| Bytes::from_static(&[0x80]))
    }

    fn prepare(&self, by: usize, round: u32, digest: B256) -> Message {
        Message::Prepare(self.sign(by, PreparePayload { height: 1, round, digest }))
    }

    fn commit(&self, by: usize, round: u32, block: &Block) -> Message {
        self.commit_as(by, round, digest(&block.header).unwrap(), block)
    }

    fn commit_as(&self, by: usize, round: u32, digest: B256, block: &Block) -> Message {
        let seal = self.keys[by].sign(commit_hash(&block.header, round).unwrap());
        Message::Commit(self.sign(by, CommitPayload { height: 1, round, digest, seal }))
    }

    fn change(&self, by: usize, round: u32) -> Signed<RoundChangePayload> {
        self.sign(by, RoundChangePayload { height: 1, round, prepared: None })
    }

    fn round_change(&self, by: usize, round: u32) -> Message {
        let payload = RoundChangePayload { height: 1, round, prepared: None };
        let draft = Draft::RoundChange { payload, certificate: None, dialect: Dialect::Legacy };
        draft.sign_with(|hash| self.keys[by].sign(hash)).unwrap()
    }

    fn prepared_change(&self, by: usize, round: u32, certificate: &Arc<PreparedCertificate>) -> Message {
        let payload = RoundChangePayload { height: 1, round, prepared: Some((certificate.round, certificate.digest)) };
        let draft = Draft::RoundChange { payload, certificate: Some(certificate.clone()), dialect: Dialect::Legacy };
        draft.sign_with(|hash| self.keys[by].sign(hash)).unwrap()
    }

    fn certificate(&self, block: &Block, round: u32, by: &[usize]) -> Arc<PreparedCertificate> {
        let header = with_round_and_seals(&block.header, round, vec![]).unwrap();
        let block = Block { header, body: block.body.clone() };
        let digest = digest(&block.header).unwrap();
        let prepares = by.iter().map(|by| self.sign(*by, PreparePayload { height: 1, round, digest })).collect();
        Arc::new(PreparedCertificate { round, digest, block: Arc::new(block), access_list: None, prepares })
    }

    fn block_timer(&mut self) -> Vec<String> {
        self.now = self.now.max(START_MS + 1000);
        self.on(Event::TimerFired(Timer::Block { height: 1 }))
    }

    fn timeout(&mut self, round: u32, after: u64) -> Vec<String> {
        self.now += after;
        self.on(Event::TimerFired(Timer::Round { height: 1, round }))
    }

    fn checked(&mut self, round: u32, block: &Block, verdict: Result<(), String>) -> Vec<String> {
        self.on(Event::BlockChecked { height: 1, round, hash: block_hash(&block.header).unwrap(), verdict })
    }
}

fn name_of(reason: &ipe_qbft::Reason) -> String {
    let text = format!("{reason:?}");
    text.split([' ', '(']).next().unwrap().to_owned()
}

const SILENCE: [&str; 0] = [];

#[test]
fn round_zero_as_a_follower() {
    let mut talk = Talk::new(BIA);
    let block = talk.block(ANA, 0, 1);
    let named = digest(&block.header).unwrap();
    assert_eq!(talk.block_timer(), ["begin 1/0", "patience with 0 for 4000"]);
    assert_eq!(talk.hears(talk.proposal(ANA, 0, &block)), ["check 1/0"]);
    assert_eq!(talk.checked(0, &block, Ok(())), ["say Prepare 1/0"]);
    assert_eq!(talk.hears(talk.prepare(ANA, 0, named)), SILENCE);
    assert_eq!(talk.hears(talk.prepare(ANA, 0, named)), SILENCE);
    assert_eq!(talk.hears(talk.prepare(CAIO, 0, named)), ["say Commit 1/0"]);
    assert_eq!(talk.hears(talk.prepare(DAVI, 0, named)), SILENCE);
    assert_eq!(talk.hears(talk.commit(ANA, 0, &block)), SILENCE);
    assert_eq!(talk.hears(talk.commit(CAIO, 0, &block)), ["decide 1/0 with 3 seals"]);
    assert_eq!(talk.hears(talk.commit(DAVI, 0, &block)), SILENCE);
    assert_eq!(talk.timeout(0, T), SILENCE);
}

#[test]
fn round_zero_as_the_proposer() {
    let mut talk = Talk::new(ANA);
    let at = START_MS / 1000 + 1;
    assert_eq!(talk.block_timer(), ["begin 1/0", "patience with 0 for 4000", format!("build 1/0 at {at}").as_str()]);
    let block = Arc::new(talk.block(ANA, 0, 1));
    let built = Event::BlockBuilt { height: 1, round: 0, block: block.clone(), empty: true };
    // Our own block needs no check.
    assert_eq!(talk.on(built.clone()), ["say Proposal 1/0", "say Prepare 1/0"]);
    assert_eq!(talk.on(built), SILENCE);
    assert_eq!(talk.state.own_messages().len(), 2);
    let named = digest(&block.header).unwrap();
    assert_eq!(talk.hears(talk.prepare(BIA, 0, named)), SILENCE);
    assert_eq!(talk.hears(talk.prepare(CAIO, 0, named)), ["say Commit 1/0"]);
    let Draft::Commit { certificate, .. } = talk.drafts.last().unwrap() else { panic!() };
    assert_eq!(certificate.prepares.len(), 3);
}

/// Whatever the order in which the messages of a round come, the same is decided.
#[test]
fn the_order_of_messages_does_not_matter() {
    let talk = Talk::new(BIA);
    let block = talk.block(ANA, 0, 1);
    let named = digest(&block.header).unwrap();
    let messages = [
        talk.proposal(ANA, 0, &block),
        talk.prepare(ANA, 0, named),
        talk.prepare(CAIO, 0, named),
        talk.commit(ANA, 0, &block),
        talk.commit(CAIO, 0, &block),
    ];
    let mut orders = vec![vec![]];
    for index in 0..messages.len() {
        orders = orders
            .into_iter()
            .flat_map(|order: Vec<usize>| {
                (0..=order.len()).map(move |at| {
                    let mut next = order.clone();
                    next.insert(at, index);
                    next
                })
            })
            .collect();
    }
    assert_eq!(orders.len(), 120);
    for order in orders {
        for timer_first in [true, false] {
            let mut talk = Talk::new(BIA);
            if timer_first {
                talk.block_timer();
            }
            let mut said = Vec::new();
            for index in &order {
                said.extend(talk.hears(messages[*index].clone()));
            }
            said.extend(talk.checked(0, &block, Ok(())));
            assert!(said.contains(&"decide 1/0 with 3 seals".to_owned()), "{order:?}: {said:?}");
            assert!(!said.iter().any(|word| word.starts_with("report")), "{order:?}: {said:?}");
        }
    }
}

#[test]
fn a_proposal_before_our_timer_starts_round_zero() {
    let mut talk = Talk::new(CAIO);
    let block = talk.block(ANA, 0, 1);
    assert_eq!(talk.hears(talk.proposal(ANA, 0, &block)), ["begin 1/0", "patience with 0 for 4000", "check 1/0"]);
    assert_eq!(talk.block_timer(), SILENCE);
}

#[test]
fn the_first_proposal_of_a_round_counts() {
    let mut talk = Talk::new(BIA);
    let (first, second) = (talk.block(ANA, 0, 1), talk.block(ANA, 0, 2));
    talk.block_timer();
    assert_eq!(talk.hears(talk.proposal(ANA, 0, &first)), ["check 1/0"]);
    assert_eq!(talk.hears(talk.proposal(ANA, 0, &first)), SILENCE);
    assert_eq!(talk.hears(talk.proposal(ANA, 0, &second)), ["report Equivocation"]);
    let other = digest(&second.header).unwrap();
    assert_eq!(talk.hears(talk.prepare(CAIO, 0, other)), ["report Digest"]);
    assert_eq!(talk.hears(talk.commit(CAIO, 0, &second)), ["report Digest"]);
}

#[test]
fn an_invalid_block_is_reported_and_a_valid_one_may_follow() {
    let mut talk = Talk::new(BIA);
    talk.block_timer();
    for mark in 1..=3 {
        let block = talk.block(ANA, 0, mark);
        assert_eq!(talk.hears(talk.proposal(ANA, 0, &block)), ["check 1/0"]);
        // A valid one may follow soon, or none will.
        let first = ["report InvalidBlock", "patience with 0 for 1000"];
        assert_eq!(talk.checked(0, &block, Err("state root".into())), &first[..if mark == 1 { 2 } else { 1 }]);
    }
    // Three executions of one proposer's blocks are enough.
    let block = talk.block(ANA, 0, 4);
    assert_eq!(talk.hears(talk.proposal(ANA, 0, &block)), ["report TooManyBlocks"]);
    // And nothing but a little patience is left.
    assert_eq!(talk.timeout(0, T / 4), ["begin 1/1", "patience with 1 for 4000", "say RoundChange 1/1"]);
}

/// The others were told the second block of an equivocating proposer, and need not vote again.
#[test]
fn votes_for_a_block_count_although_an_invalid_one_came_before_it() {
    let mut talk = Talk::new(BIA);
    talk.block_timer();
    let (first, second) = (talk.block(ANA, 0, 1), talk.block(ANA, 0, 2));
    let named = digest(&second.header).unwrap();
    for who in [CAIO, DAVI] {
        assert_eq!(talk.hears(talk.prepare(who, 0, named)), SILENCE);
    }
    assert_eq!(talk.hears(talk.proposal(ANA, 0, &first)), ["check 1/0"]);
    let said = talk.checked(0, &first, Err("state root".into()));
    assert_eq!(said, ["report InvalidBlock", "patience with 0 for 1000"]);
    assert_eq!(talk.hears(talk.proposal(ANA, 0, &second)), ["check 1/0"]);
    assert_eq!(talk.checked(0, &second, Ok(())), ["say Prepare 1/0", "say Commit 1/0"]);
}

#[test]
fn wrong_messages_are_reported_and_change_nothing() {
    let mut talk = Talk::new(BIA);
    talk.block_timer();
    let block = talk.block(ANA, 0, 1);
    let named = digest(&block.header).unwrap();
    assert_eq!(talk.hears(talk.proposal(CAIO, 0, &talk.block(CAIO, 0, 1))), ["report NotProposer"]);
    assert_eq!(talk.hears(talk.proposal(ANA, 0, &talk.block(CAIO, 0, 1))), ["report Coinbase"]);
    let mut wrong = block.clone();
    wrong.header.number = 2;
    assert_eq!(talk.hears(talk.proposal(ANA, 0, &wrong)), ["report BlockNumber"]);
    wrong = block.clone();
    wrong.header.extra_data = Bytes::from_static(&[0xc0]);
    assert_eq!(talk.hears(talk.proposal(ANA, 0, &wrong)), ["report ExtraData"]);
    let change = talk.change(CAIO, 1);
    assert_eq!(talk.hears(talk.justified(ANA, 0, &block, vec![change], vec![])), ["report JustificationInRoundZero"]);
    assert_eq!(talk.hears(talk.justified(BIA, 1, &talk.block(BIA, 1, 1), vec![], vec![])), ["report NoQuorum"]);
    assert_eq!(talk.hears(talk.round_change(CAIO, 0)), ["report RoundZero"]);
    assert_eq!(talk.hears(talk.round_change(CAIO, MAX_ROUND + 1)), ["report RoundTooHigh"]);
    assert_eq!(talk.hears(talk.prepare(CAIO, MAX_ROUND + 1, named)), ["report RoundTooHigh"]);
    assert_eq!(talk.hears(talk.commit(CAIO, MAX_ROUND + 1, &block)), ["report RoundTooHigh"]);
    // A stranger.
    let stranger = network::key(77);
    let signed = Signed::sign_with(PreparePayload { height: 1, round: 0, digest: named }, |hash| stranger.sign(hash));
    assert_eq!(talk.hears(Message::Prepare(signed.unwrap())), ["report NotValidator"]);
    // A seal by another key, or over another round.
    talk.hears(talk.proposal(ANA, 0, &block));
    let seal = talk.keys[DAVI].sign(commit_hash(&block.header, 0).unwrap());
    let forged = talk.sign(CAIO, CommitPayload { height: 1, round: 0, digest: named, seal });
    assert_eq!(talk.hears(Message::Commit(forged)), ["report Seal"]);
    let seal = talk.keys[CAIO].sign(commit_hash(&block.header, 1).unwrap());
    let forged = talk.sign(CAIO, CommitPayload { height: 1, round: 0, digest: named, seal });
    assert_eq!(talk.hears(Message::Commit(forged)), ["report Seal"]);
    // A good one is still taken afterwards.
    assert_eq!(talk.hears(talk.commit(CAIO, 0, &block)), SILENCE);
}

#[test]
fn past_heights_are_silence_and_later_ones_wait() {
    let mut talk = Talk::new(BIA);
    let parent = B256::repeat_byte(7);
    let head = talk.head(1, parent, talk.keys[ANA].address(), START_MS / 1000 + 1);
    // Bia is next at height 2, Caio after her.
    let at_two = block(2, parent, talk.keys[BIA].address(), START_MS / 1000 + 2, 0, 1, &talk.set);
    let named = digest(&at_two.header).unwrap();
    let early = talk.sign(CAIO, PreparePayload { height: 2, round: 0, digest: named });
    assert_eq!(talk.hears(Message::Prepare(early)), SILENCE);
    let far = talk.sign(CAIO, PreparePayload { height: 12, round: 0, digest: named });
    assert_eq!(talk.hears(Message::Prepare(far)), ["report TooFarAhead"]);
    talk.now = START_MS + 2000;
    talk.on(Event::HeadAdvanced(head.clone()));
    assert_eq!(talk.hears(talk.prepare(CAIO, 0, named)), SILENCE);
    talk.on(Event::TimerFired(Timer::Block { height: 2 }));
    let built = Event::BlockBuilt { height: 2, round: 0, block: Arc::new(at_two), empty: true };
    assert_eq!(talk.on(built), ["say Proposal 2/0", "say Prepare 2/0"]);
    // Caio's Prepare has waited: one more makes the quorum.
    let third = talk.sign(DAVI, PreparePayload { height: 2, round: 0, digest: named });
    assert_eq!(talk.hears(Message::Prepare(third)), ["say Commit 2/0"]);
    // A head at or below ours is nothing new.
    assert_eq!(talk.on(Event::HeadAdvanced(head)), SILENCE);
}

#[test]
fn a_round_without_proposal_is_left_and_the_next_proposer_proposes() {
    let mut talk = Talk::new(BIA);
    talk.block_timer();
    assert_eq!(talk.timeout(0, T), ["begin 1/1", "patience with 1 for 4000", "say RoundChange 1/1"]);
    assert_eq!(talk.hears(talk.round_change(CAIO, 1)), SILENCE);
    let at = talk.now / 1000;
    assert_eq!(talk.hears(talk.round_change(DAVI, 1)), ["patience with 1 for 4000".to_owned(), format!("build 1/1 at {at}")]);
    // One that comes while we build changes nothing any more.
    let old = talk.block(ANA, 0, 9);
    let certificate = talk.certificate(&old, 0, &[ANA, CAIO, DAVI]);
    assert_eq!(talk.hears(talk.prepared_change(ANA, 1, &certificate)), SILENCE);
    let block = talk.block(BIA, 1, 1);
    let built = Event::BlockBuilt { height: 1, round: 1, block: Arc::new(block), empty: true };
    assert_eq!(talk.on(built), ["say Proposal 1/1 by 3 round changes and 0 prepares", "say Prepare 1/1"]);
}

#[test]
fn what_was_prepared_is_proposed_again_with_the_new_round_and_its_coinbase() {
    let mut talk = Talk::new(BIA);
    talk.block_timer();
    talk.timeout(0, T);
    let old = talk.block(ANA, 0, 9);
    let certificate = talk.certificate(&old, 0, &[ANA, CAIO, DAVI]);
    talk.hears(talk.round_change(CAIO, 1));
    assert_eq!(
        talk.hears(talk.prepared_change(DAVI, 1, &certificate)),
        ["patience with 1 for 4000", "say Proposal 1/1 by 3 round changes and 3 prepares", "check 1/1"]
    );
    let Draft::Proposal { payload, .. } = talk.drafts.last().unwrap().clone() else { panic!() };
    assert_eq!(payload.block.header.beneficiary, talk.keys[ANA].address());
    assert_eq!(ipe_types::extra::ExtraData::decode(&payload.block.header.extra_data).unwrap().round, 1);
    assert_eq!(block_hash(&payload.block.header).unwrap(), block_hash(&old.header).unwrap());
    assert_eq!(talk.checked(1, &old, Ok(())), ["say Prepare 1/1"]);
}

#[test]
fn the_latest_certificate_is_carried_and_kept() {
    let mut talk = Talk::new(CAIO);
    talk.block_timer();
    let block = talk.block(ANA, 0, 1);
    let named = digest(&block.header).unwrap();
    talk.hears(talk.proposal(ANA, 0, &block));
    talk.checked(0, &block, Ok(()));
    talk.hears(talk.prepare(ANA, 0, named));
    assert_eq!(talk.hears(talk.prepare(BIA, 0, named)), ["say Commit 1/0"]);
    assert_eq!(talk.timeout(0, T), ["begin 1/1", "patience with 1 for 4000", "say RoundChange 1/1 prepared in 0"]);
    talk.hears(talk.round_change(DAVI, 1));
    // Bia cannot pass it over.
    let (bia, davi) = (talk.change(BIA, 1), talk.change(DAVI, 1));
    let Some(Draft::RoundChange { payload, certificate, .. }) = talk.drafts.last().cloned() else { panic!() };
    let mine = talk.sign(CAIO, payload);
    let fresh = talk.block(BIA, 1, 2);
    let changes = vec![bia, davi, mine];
    assert_eq!(talk.hears(talk.justified(BIA, 1, &fresh, changes.clone(), vec![])), ["report PreparedDigest"]);
    let prepares = certificate.unwrap().prepares.clone();
    let again = Block { header: with_round_and_seals(&block.header, 1, vec![]).unwrap(), body: block.body.clone() };
    assert_eq!(talk.hears(talk.justified(BIA, 1, &again, changes.clone(), vec![])), ["report NoQuorum"]);
    // The same block again: known to be valid, so agreed with at once.
    assert_eq!(talk.hears(talk.justified(BIA, 1, &again, changes, prepares)), ["patience with 1 for 4000", "say Prepare 1/1"]);
    // A vain round 1 changes nothing about the certificate.
    assert_eq!(talk.timeout(1, T), ["patience with 1 for 4000"]);
    assert_eq!(talk.timeout(1, T), ["begin 1/2", "patience with 2 for 4000", "say RoundChange 1/2 prepared in 0"]);
}

#[test]
fn f_plus_one_others_pull_us_to_their_round() {
    let mut talk = Talk::new(DAVI);
    talk.block_timer();
    assert_eq!(talk.hears(talk.round_change(ANA, 7)), ["begin 1/1", "patience with 1 for 4000", "say RoundChange 1/1"]);
    // Above: Ana left round 0, which was hers. One alone cannot pull us up to where it is.
    assert_eq!(
        talk.hears(talk.round_change(BIA, 5)),
        ["begin 1/5", "patience with 5 for 4000", "say RoundChange 1/5", "patience with 5 for 16000"]
    );
    // Three are at 5 or above, but not at 5: up after a quarter of the patience, which five rounds have made long.
    assert_eq!(talk.timeout(5, T), ["patience with 5 for 12000"]);
    assert_eq!(talk.timeout(5, 12_000), ["begin 1/6", "patience with 6 for 4000", "say RoundChange 1/6"]);
    // Bia has not come along: less than a quorum, so we wait.
    assert_eq!(talk.timeout(6, T), SILENCE);
    assert_eq!(talk.timeout(6, 100 * T), SILENCE);
    assert_eq!(
        talk.hears(talk.round_change(BIA, 7)),
        ["begin 1/7", "patience with 7 for 4000", "say RoundChange 1/7", "patience with 7 for 256000", "build 1/7 at 1700000421"]
    );
}

#[test]
fn alone_we_ask_for_round_one_again_and_again_and_climb_no_further() {
    let mut talk = Talk::new(CAIO);
    talk.block_timer();
    talk.timeout(0, T);
    assert_eq!(talk.timeout(1, T), SILENCE);
    for _ in 0..100 {
        talk.now += 1000;
        assert_eq!(talk.on(Event::TimerFired(Timer::Resend { height: 1 })), ["say again RoundChange 1"]);
    }
    assert_eq!(talk.hears(talk.round_change(ANA, 1)), SILENCE);
    assert_eq!(talk.hears(talk.round_change(BIA, 1)), ["patience with 1 for 4000"]);
}

#[test]
fn a_justified_proposal_of_a_later_round_is_followed_without_asking() {
    let mut talk = Talk::new(DAVI);
    talk.block_timer();
    let changes: Vec<_> = [ANA, BIA, CAIO].map(|who| talk.change(who, 2)).to_vec();
    let block = talk.block(CAIO, 2, 1);
    assert_eq!(
        talk.hears(talk.justified(CAIO, 2, &block, changes.clone(), vec![])),
        ["begin 1/2", "patience with 2 for 4000", "patience with 2 for 8000", "check 1/2"]
    );
    // Rounds below are over.
    let late = talk.block(ANA, 0, 1);
    assert_eq!(talk.hears(talk.proposal(ANA, 0, &late)), SILENCE);
    assert_eq!(talk.hears(talk.prepare(ANA, 0, digest(&late.header).unwrap())), SILENCE);
    assert_eq!(talk.hears(talk.commit(ANA, 1, &late)), SILENCE);
    assert_eq!(talk.hears(talk.round_change(ANA, 1)), SILENCE);
}

/// Besu names a block of round 1 with the round, GoQuorum without. We take both and speak as the proposer.
#[test]
fn both_forms_of_the_digest_name_the_block() {
    for carried in [1, 0] {
        let mut talk = Talk::new(DAVI);
        let block = talk.block(BIA, carried, 1);
        let changes: Vec<_> = [ANA, BIA, CAIO].map(|who| talk.change(who, 1)).to_vec();
        talk.hears(talk.justified(BIA, 1, &block, changes, vec![]));
        assert_eq!(talk.checked(1, &block, Ok(())), ["say Prepare 1/1"]);
        let (with, without) = (digest(&block.header).unwrap(), block_hash(&block.header).unwrap());
        assert_eq!(with == without, carried == 0);
        let Some(Draft::Prepare(mine)) = talk.drafts.last().cloned() else { panic!() };
        assert_eq!(mine.digest, with);
        assert_eq!(talk.hears(talk.prepare(ANA, 1, without)), SILENCE);
        assert_eq!(talk.hears(talk.prepare(BIA, 1, with)), ["say Commit 1/1"]);
        assert_eq!(talk.hears(talk.commit_as(ANA, 1, without, &block)), SILENCE);
        assert_eq!(talk.hears(talk.commit_as(BIA, 1, with, &block)), ["decide 1/1 with 3 seals"]);
    }
}

#[test]
fn votes_of_a_later_round_are_kept_until_it_begins() {
    let mut talk = Talk::new(DAVI);
    talk.block_timer();
    let block = talk.block(BIA, 1, 1);
    let named = digest(&block.header).unwrap();
    for who in [ANA, BIA, CAIO] {
        assert_eq!(talk.hears(talk.prepare(who, 1, named)), SILENCE);
        assert_eq!(talk.hears(talk.commit(who, 1, &block)), SILENCE);
    }
    let changes: Vec<_> = [ANA, BIA, CAIO].map(|who| talk.change(who, 1)).to_vec();
    talk.hears(talk.justified(BIA, 1, &block, changes, vec![]));
    // Our own Prepare makes it four, and so three Commits of others are a quorum already.
    assert_eq!(talk.checked(1, &block, Ok(())), ["say Prepare 1/1", "say Commit 1/1", "decide 1/1 with 3 seals"]);
}

#[test]
fn a_head_by_sync_abandons_the_round() {
    let mut talk = Talk::new(BIA);
    talk.block_timer();
    let block = talk.block(ANA, 0, 1);
    talk.hears(talk.proposal(ANA, 0, &block));
    let head = talk.head(1, B256::repeat_byte(5), talk.keys[ANA].address(), START_MS / 1000 + 1);
    let due = START_MS + 2000;
    assert_eq!(talk.on(Event::HeadAdvanced(head)), [format!("timer Block at {due}")]);
    assert_eq!(talk.checked(0, &block, Ok(())), SILENCE);
    assert_eq!(talk.timeout(0, T), SILENCE);
    assert_eq!(talk.state.height(), Some(2));
    assert_eq!(talk.state.round(), None);
}

#[test]
fn who_is_no_validator_says_nothing() {
    let mut talk = Talk::silent(BIA, Dialect::Legacy);
    let mut head = talk.head(0, talk.parent, Address::ZERO, START_MS / 1000);
    head.validators = [ANA, CAIO, DAVI].map(|who| talk.keys[who].address()).into_iter().collect();
    assert_eq!(talk.on(Event::HeadAdvanced(head)), SILENCE);
    assert!(!talk.state.is_validator());
    assert_eq!(talk.block_timer(), SILENCE);
    let block = talk.block(ANA, 0, 1);
    assert_eq!(talk.hears(talk.proposal(ANA, 0, &block)), SILENCE);
    assert_eq!(talk.hears(talk.round_change(ANA, 3)), SILENCE);
    assert_eq!(talk.on(Event::TransactionsWaiting), SILENCE);
    // With the next block it joins.
    let next = talk.head(1, B256::repeat_byte(5), talk.keys[ANA].address(), START_MS / 1000 + 1);
    assert_eq!(talk.on(Event::HeadAdvanced(next)).len(), 1);
    assert!(talk.state.is_validator());
}

#[test]
fn an_empty_block_waits_and_a_transaction_ends_the_wait() {
    for me in [ANA, BIA] {
        let mut talk = Talk::silent(me, Dialect::Legacy);
        let mut head = talk.head(0, talk.parent, Address::ZERO, START_MS / 1000);
        head.empty_period_ms = 10_000;
        talk.on(Event::HeadAdvanced(head));
        let begun = talk.block_timer();
        let idle = [format!("timer Block at {}", START_MS + 2000)];
        if me == ANA {
            assert!(begun.last().unwrap().starts_with("build 1/0"));
            let block = Arc::new(talk.block(ANA, 0, 1));
            assert_eq!(talk.on(Event::BlockBuilt { height: 1, round: 0, block, empty: true }), idle);
        } else {
            assert_eq!(begun.last().unwrap(), "ask transactions 1");
            assert_eq!(talk.on(Event::TransactionsAnswered { height: 1, waiting: false }), idle);
        }
        assert_eq!(talk.state.round(), None);
        assert_eq!(talk.timeout(0, T), SILENCE);
        talk.now = START_MS + 1500;
        assert_eq!(talk.on(Event::TransactionsWaiting)[0], "begin 1/0");
        assert_eq!(talk.on(Event::TransactionsWaiting), SILENCE);
        if me == ANA {
            let block = Arc::new(talk.block(ANA, 0, 1));
            assert_eq!(
                talk.on(Event::BlockBuilt { height: 1, round: 0, block, empty: false }),
                ["say Proposal 1/0", "say Prepare 1/0"]
            );
        } else {
            assert_eq!(talk.on(Event::TransactionsAnswered { height: 1, waiting: true }), SILENCE);
            assert_eq!(talk.state.round(), Some(0));
        }
    }
}

#[test]
fn an_empty_block_is_proposed_when_its_time_has_come() {
    let mut talk = Talk::silent(ANA, Dialect::Legacy);
    let mut head = talk.head(0, talk.parent, Address::ZERO, START_MS / 1000);
    head.empty_period_ms = 10_000;
    talk.on(Event::HeadAdvanced(head));
    talk.now = START_MS + 9_700;
    talk.block_timer();
    let block = Arc::new(talk.block(ANA, 0, 1));
    let built = Event::BlockBuilt { height: 1, round: 0, block, empty: true };
    // Not later than the end of the empty period.
    assert_eq!(talk.on(built.clone()), [format!("timer Block at {}", START_MS + 10_000)]);
    talk.now = START_MS + 10_000;
    talk.block_timer();
    assert_eq!(talk.on(built), ["say Proposal 1/0", "say Prepare 1/0"]);
}

#[test]
fn the_gates_refusal_stops_nothing_else() {
    let mut talk = Talk::new(ANA);
    talk.refuse = true;
    talk.block_timer();
    let block = Arc::new(talk.block(ANA, 0, 1));
    // We proposed before and do not know what: the round is vain, unless others have heard it.
    assert_eq!(
        talk.on(Event::BlockBuilt { height: 1, round: 0, block, empty: true }),
        ["say Proposal 1/0", "begin 1/1", "patience with 1 for 4000", "say RoundChange 1/1"]
    );
    // We cannot say where we are, so waiting to be found would be vain.
    assert_eq!(talk.timeout(1, T), ["begin 1/2", "patience with 2 for 4000", "say RoundChange 1/2"]);
    talk.refuse = false;
    let changes: Vec<_> = [BIA, CAIO, DAVI].map(|who| talk.change(who, 2)).to_vec();
    let block = talk.block(CAIO, 2, 1);
    talk.hears(talk.justified(CAIO, 2, &block, changes, vec![]));
    assert_eq!(talk.checked(2, &block, Ok(())), ["say Prepare 1/2"]);
}

#[test]
fn after_a_restart_we_go_on_where_we_signed() {
    let before = Talk::new(DAVI);
    let block = before.block(BIA, 1, 1);
    let certificate = before.certificate(&block, 1, &[ANA, BIA, DAVI]);
    let own = Arc::new(before.prepared_change(DAVI, 2, &certificate));
    let restored = |messages| Restored { height: 1, round: 2, certificate: Some(certificate.clone()), messages };
    // With the message in the journal it is said again; without it, signed again.
    let mut talk = Talk::new(DAVI);
    talk.now += 60_000;
    assert_eq!(
        talk.on(Event::Restored(restored(vec![own.clone()]))),
        ["begin 1/2", "patience with 2 for 4000", "say again RoundChange 2"]
    );
    assert_eq!(talk.state.own_messages(), [own]);
    let mut talk = Talk::silent(DAVI, Dialect::Legacy);
    talk.now += 60_000;
    assert_eq!(talk.on(Event::Restored(restored(vec![]))), SILENCE);
    let head = talk.head(0, talk.parent, Address::ZERO, START_MS / 1000);
    assert_eq!(
        talk.on(Event::HeadAdvanced(head))[1..],
        ["begin 1/2", "patience with 2 for 4000", "say RoundChange 1/2 prepared in 1"]
    );
    // Rounds below are over for good.
    let block = talk.block(ANA, 0, 1);
    assert_eq!(talk.hears(talk.proposal(ANA, 0, &block)), SILENCE);
    // Prepared in the very round: it cannot be asked for any more, and is left in time.
    let mut talk = Talk::new(DAVI);
    talk.now += 60_000;
    let there = Restored { height: 1, round: 1, certificate: Some(certificate.clone()), messages: vec![] };
    assert_eq!(talk.on(Event::Restored(there)), ["begin 1/1", "patience with 1 for 4000"]);
    assert_eq!(talk.timeout(1, T), ["begin 1/2", "patience with 2 for 4000", "say RoundChange 1/2 prepared in 1"]);
    // A Proposal of round 0 is taken up again before its time, and nobody needs to have heard it.
    let mut talk = Talk::new(ANA);
    let block = talk.block(ANA, 0, 1);
    let own = vec![Arc::new(talk.proposal(ANA, 0, &block))];
    let there = Restored { height: 1, round: 0, certificate: None, messages: own };
    assert_eq!(talk.on(Event::Restored(there)), ["begin 1/0", "patience with 0 for 4000", "check 1/0", "say again Proposal 0"]);
    assert_eq!(talk.block_timer(), SILENCE);
    assert_eq!(talk.checked(0, &block, Ok(())), ["say Prepare 1/0"]);
    // A journal of another height says nothing about this one.
    let mut talk = Talk::new(DAVI);
    let old = Restored { height: 9, round: 5, certificate: None, messages: vec![] };
    assert_eq!(talk.on(Event::Restored(old)), SILENCE);
    assert_eq!(talk.state.round(), None);
}

#[test]
fn the_newer_dialect_is_spoken_when_asked_for() {
    let mut talk = Talk::silent(ANA, Dialect::Besu26);
    talk.on(Event::HeadAdvanced(talk.head(0, talk.parent, Address::ZERO, START_MS / 1000)));
    talk.block_timer();
    let block = Arc::new(talk.block(ANA, 0, 1));
    talk.on(Event::BlockBuilt { height: 1, round: 0, block, empty: true });
    let own = talk.state.own_messages();
    let Message::Proposal(proposal) = &*own[0] else { panic!() };
    assert_eq!(proposal.signed.payload().access_list, Some(Bytes::from_static(&[0x80])));
    talk.timeout(0, T);
    talk.timeout(0, T);
    let own = talk.state.own_messages();
    let Message::RoundChange(change) = &*own[0] else { panic!("{own:?}") };
    assert_eq!(change.access_list, Some(Bytes::from_static(&[0x80])));
    for message in own {
        assert_eq!(Message::decode(message.kind().code(), &message.encode()).unwrap(), *message);
    }
}

/// GoQuorum names a block by its digest without round, and refuses certificates that name it otherwise.
#[test]
fn among_goquorum_validators_no_proposal_carries_a_round() {
    let mut talk = Talk::silent(BIA, Dialect::GoQuorum);
    talk.on(Event::HeadAdvanced(talk.head(0, talk.parent, Address::ZERO, START_MS / 1000)));
    talk.block_timer();
    for who in [ANA, CAIO, DAVI] {
        talk.hears(talk.round_change(who, 1));
    }
    // Built for round 1, whatever the builder put into it.
    let block = Arc::new(talk.block(BIA, 1, 1));
    let hash = block_hash(&block.header).unwrap();
    talk.on(Event::BlockBuilt { height: 1, round: 1, block: block.clone(), empty: true });
    let own = talk.state.own_messages();
    let proposed = own.iter().find_map(|message| match &**message {
        Message::Proposal(proposal) => Some(proposal.signed.payload().clone()),
        _ => None,
    });
    let proposed = proposed.unwrap();
    assert_eq!((proposed.round, proposed.access_list.clone()), (1, None));
    assert_eq!(ExtraData::decode(&proposed.block.header.extra_data).unwrap().round, 0);
    assert!(own.iter().any(|message| matches!(&**message, Message::Prepare(vote) if vote.payload().digest == hash)));
    // Prepared on it, the certificate names it so too, and so does the proposal of a later round.
    talk.hears(talk.prepare(ANA, 1, hash));
    assert_eq!(talk.hears(talk.prepare(CAIO, 1, hash)), ["say Commit 1/1"]);
    talk.timeout(1, T);
    talk.timeout(1, T);
    let own = talk.state.own_messages();
    let change = own.iter().find_map(|message| match &**message {
        Message::RoundChange(change) => Some(change.clone()),
        _ => None,
    });
    let change = change.unwrap();
    assert_eq!(change.signed.payload().prepared, Some((1, hash)));
    assert!(change.prepares.iter().all(|prepare| prepare.payload().digest == hash));
    let again = talk.drafts.iter().filter(|draft| matches!(draft, Draft::Proposal { .. })).count();
    assert_eq!(again, 1);
    let mut talk = Talk::silent(CAIO, Dialect::GoQuorum);
    talk.on(Event::HeadAdvanced(talk.head(0, talk.parent, Address::ZERO, START_MS / 1000)));
    talk.block_timer();
    let prepares = [ANA, BIA, DAVI].map(|who| talk.sign(who, PreparePayload { height: 1, round: 1, digest: hash }));
    let certificate = Arc::new(PreparedCertificate {
        round: 1,
        digest: hash,
        block: proposed.block.clone(),
        access_list: None,
        prepares: prepares.to_vec(),
    });
    for who in [ANA, BIA, DAVI] {
        talk.hears(talk.prepared_change(who, 2, &certificate));
    }
    let again = talk.drafts.iter().find_map(|draft| match draft {
        Draft::Proposal { payload, .. } => Some(payload.clone()),
        _ => None,
    });
    let again = again.unwrap();
    assert_eq!((again.round, &*again.block), (2, &*proposed.block));
}

#[test]
fn timers_that_fire_early_or_for_something_else_are_set_right() {
    let mut talk = Talk::new(BIA);
    talk.now = START_MS + 400;
    assert_eq!(talk.on(Event::TimerFired(Timer::Block { height: 1 })), [format!("timer Block at {}", START_MS + 1000)]);
    assert_eq!(talk.on(Event::TimerFired(Timer::Block { height: 2 })), SILENCE);
    talk.block_timer();
    assert_eq!(talk.timeout(0, T - 1), ["patience with 0 for 1"]);
    assert_eq!(talk.timeout(3, 0), SILENCE);
    assert_eq!(Kind::Prepare.code(), 0x13);
}

/// Somebody sets the clock back by an hour: a round is borne no longer for it, and a block is begun when its time has come
/// by the new clock, which is looked at again every period.
#[test]
fn a_clock_that_is_set_back_holds_no_round() {
    let mut talk = Talk::new(BIA);
    talk.block_timer();
    talk.set_back = 3_600_000;
    assert_eq!(talk.timeout(0, T), ["begin 1/1", "patience with 1 for 4000", "say RoundChange 1/1"]);

    let mut talk = Talk::new(BIA);
    talk.set_back = 3_600_000;
    talk.now = START_MS + 1_000;
    let block_timer = || Event::TimerFired(Timer::Block { height: 1 });
    assert_eq!(talk.on(block_timer()), [format!("timer Block at {}", START_MS + 2_000)]);
    talk.now = START_MS + 2_000;
    talk.set_back = 0;
    assert_eq!(talk.on(block_timer()), ["begin 1/0", "patience with 0 for 4000"]);

    // A period that is bound to no timestamp need not wait for the clock either.
    let mut talk = Talk::silent(BIA, Dialect::Legacy);
    let head = HeadInfo { period_ms: 300, ..talk.head(0, talk.parent, Address::ZERO, START_MS / 1000) };
    assert_eq!(talk.on(Event::HeadAdvanced(head)), [format!("timer Block at {}", START_MS + 300)]);
    talk.set_back = 3_600_000;
    talk.now = START_MS + 300;
    assert_eq!(talk.on(block_timer()), ["begin 1/0", "patience with 0 for 4000"]);
}

/// A block that is long overdue: whoever is alive has left round 0, so it is given a quarter of the timeout.
#[test]
fn an_overdue_round_zero_is_short() {
    let mut talk = Talk::new(BIA);
    talk.now = START_MS + 3_600_000;
    assert_eq!(talk.block_timer(), ["begin 1/0", "patience with 0 for 1000"]);
    let block = talk.block(ANA, 0, 1);
    talk.hears(talk.proposal(ANA, 0, &block));
    // Something happens: it may take the whole timeout.
    assert_eq!(talk.timeout(0, 1000), ["patience with 0 for 1000"]);
    assert_eq!(talk.checked(0, &block, Ok(())), ["say Prepare 1/0"]);
    assert_eq!(talk.timeout(0, 1000), ["patience with 0 for 1000"]);
    assert_eq!(talk.timeout(0, 1000), ["begin 1/1", "patience with 1 for 4000", "say RoundChange 1/1"]);
}
