//! A peer with Besu's timing (spec/qbft.md 8.2, 8.3), for mixed networks: rounds grow by its timer whether or not
//! anybody is there, timeouts double, nothing is sent twice, nobody leaps on f+1, and nothing is remembered across a
//! restart. Blocks are taken as valid.

use std::collections::BTreeMap;
use std::sync::Arc;

use alloy_primitives::Address;
use ipe_qbft::justify::{self, Rules};
use ipe_qbft::{Draft, Event, HeadInfo, Millis, PreparedCertificate};
use ipe_types::header::{commit_hash, digest, with_round_and_seals};
use ipe_types::message::{CommitPayload, PreparePayload, Proposal, ProposalPayload, RoundChange, RoundChangePayload, Signed};
use ipe_types::{Block, Dialect, Message, NodeKey};

use super::block;

pub struct World {
    pub now: Millis,
    pub head: HeadInfo,
    pub key: NodeKey,
    pub wishes: Vec<Wish>,
}

pub enum Wish {
    Send(Arc<Message>),
    Timer { at: Millis, generation: u64 },
    Decide(Arc<Block>),
}

#[derive(Clone, Debug, Default)]
pub struct Besu {
    height: u64,
    round: Option<u32>,
    generation: u64,
    proposal: Option<Proposal>,
    prepares: BTreeMap<(u32, Address), Signed<PreparePayload>>,
    commits: BTreeMap<(u32, Address), Signed<CommitPayload>>,
    changes: BTreeMap<(u32, Address), RoundChange>,
    certificate: Option<Arc<PreparedCertificate>>,
    committed: bool,
    proposed: bool,
    done: bool,
    future: Vec<Arc<Message>>,
}

impl Besu {
    pub fn round(&self) -> Option<u32> {
        self.round
    }

    pub fn on_event(&mut self, world: &mut World, event: Event) {
        match event {
            Event::HeadAdvanced(head) => {
                let future = std::mem::take(&mut self.future);
                *self = Self { height: head.number + 1, generation: self.generation, future, ..Self::default() };
                self.arm(world, head.timestamp_s * 1000 + head.period_ms);
                for message in std::mem::take(&mut self.future) {
                    self.receive(world, &message);
                }
            }
            Event::Received(message) => self.receive(world, &message),
            _ => {}
        }
    }

    pub fn timer_fired(&mut self, world: &mut World, generation: u64) {
        if generation != self.generation || self.done {
            return;
        }
        match self.round {
            None => {
                self.start(world, 0);
                if self.proposer(world, 0) == world.key.address() {
                    self.propose(world, Vec::new(), None);
                }
            }
            Some(round) => {
                self.start(world, round + 1);
                let certificate = self.certificate.clone();
                let prepared = certificate.as_ref().map(|held| (held.round, held.digest));
                let payload = RoundChangePayload { height: self.height, round: round + 1, prepared };
                self.say(world, &Draft::RoundChange { payload, certificate, dialect: Dialect::Legacy });
            }
        }
    }

    fn rules(&self, world: &World) -> Rules {
        Rules { height: self.height, validators: world.head.validators.clone(), previous_proposer: world.head.coinbase }
    }

    fn proposer(&self, world: &World, round: u32) -> Address {
        self.rules(world).proposer(round)
    }

    fn arm(&mut self, world: &mut World, at: Millis) {
        self.generation += 1;
        world.wishes.push(Wish::Timer { at, generation: self.generation });
    }

    fn start(&mut self, world: &mut World, round: u32) {
        self.round = Some(round);
        self.proposal = None;
        self.committed = false;
        self.proposed = false;
        self.changes.retain(|(at, _), _| *at >= round);
        self.arm(world, world.now + (world.head.request_timeout_ms << round.min(20)));
    }

    fn say(&mut self, world: &mut World, draft: &Draft) {
        let key = world.key.clone();
        let message = Arc::new(draft.sign_with(|hash| key.sign(hash)).unwrap());
        world.wishes.push(Wish::Send(message.clone()));
        self.receive(world, &message);
    }

    fn propose(&mut self, world: &mut World, round_changes: Vec<Signed<RoundChangePayload>>, again: Option<&RoundChange>) {
        let round = self.round.unwrap();
        self.proposed = true;
        let (block, prepares) = match again {
            Some(change) => {
                let old = change.block.as_ref().unwrap();
                let header = with_round_and_seals(&old.header, round, Vec::new()).unwrap();
                (Block { header, body: old.body.clone() }, change.prepares.clone())
            }
            None => {
                let mark = world.now ^ u64::from(round) << 50;
                let at = (world.now / 1000).max(world.head.timestamp_s + world.head.period_ms / 1000);
                let head = &world.head;
                (block(self.height, head.hash, world.key.address(), at, round, mark & 0xffff_ffff, &head.validators), Vec::new())
            }
        };
        let payload = ProposalPayload { height: self.height, round, block: Arc::new(block), access_list: None };
        self.say(world, &Draft::Proposal { payload, round_changes, prepares });
    }

    fn receive(&mut self, world: &mut World, message: &Arc<Message>) {
        if message.height() > self.height && message.height() <= self.height + 10 {
            return self.future.push(message.clone());
        }
        if message.height() != self.height || self.done || self.round.is_some_and(|round| message.round() < round) {
            return;
        }
        let rules = self.rules(world);
        match &**message {
            Message::Proposal(proposal) => {
                let round = message.round();
                if justify::proposal(&rules, proposal).is_err() || (self.round == Some(round) && self.proposal.is_some()) {
                    return;
                }
                if self.round != Some(round) {
                    self.start(world, round);
                }
                self.proposal = Some((**proposal).clone());
                let header = &proposal.signed.payload().block.header;
                let payload = PreparePayload { height: self.height, round, digest: digest(header).unwrap() };
                self.say(world, &Draft::Prepare(payload));
            }
            Message::Prepare(prepare) => {
                self.prepares.insert((prepare.round(), prepare.author()), prepare.clone());
            }
            Message::Commit(commit) => {
                self.commits.insert((commit.round(), commit.author()), commit.clone());
            }
            Message::RoundChange(change) => {
                if justify::round_change(&rules, change).is_err() {
                    return;
                }
                self.changes.insert((message.round(), message.author()), (**change).clone());
                self.count_changes(world, &rules, message.round());
            }
        }
        self.count_votes(world, &rules);
    }

    fn count_changes(&mut self, world: &mut World, rules: &Rules, round: u32) {
        let changes: Vec<RoundChange> = self
            .changes
            .range((round, Address::ZERO)..=(round, Address::repeat_byte(0xff)))
            .map(|(_, change)| change.clone())
            .collect();
        if changes.len() < rules.quorum() {
            return;
        }
        if self.round.is_none_or(|current| current < round) {
            self.start(world, round);
        }
        if rules.proposer(round) == world.key.address() && !self.proposed {
            let signed = changes.iter().map(|change| change.signed.clone()).collect();
            let latest =
                changes.iter().filter(|change| change.block.is_some()).max_by_key(|change| change.signed.payload().prepared);
            self.propose(world, signed, latest);
        }
    }

    fn count_votes(&mut self, world: &mut World, rules: &Rules) {
        let (Some(round), Some(proposal)) = (self.round, self.proposal.clone()) else { return };
        let block = proposal.signed.payload().block.clone();
        let named = digest(&block.header).unwrap();
        let sealed = commit_hash(&block.header, round).unwrap();
        let in_round = (round, Address::ZERO)..=(round, Address::repeat_byte(0xff));
        let prepares: Vec<_> = self
            .prepares
            .range(in_round.clone())
            .filter(|(_, prepare)| prepare.payload().digest == named)
            .map(|(_, prepare)| prepare.clone())
            .collect();
        if prepares.len() >= rules.quorum() && !self.committed {
            self.committed = true;
            let certificate =
                Arc::new(PreparedCertificate { round, digest: named, block: block.clone(), access_list: None, prepares });
            self.certificate = Some(certificate.clone());
            let (height, digest) = (self.height, named);
            self.say(world, &Draft::Commit { height, round, digest, commit_hash: sealed, certificate });
            return;
        }
        let seals: Vec<_> = self
            .commits
            .range(in_round)
            .filter(|(_, commit)| commit.payload().digest == named)
            .map(|(_, commit)| commit.payload().seal)
            .collect();
        if seals.len() >= rules.quorum() && !self.done {
            self.done = true;
            let header = with_round_and_seals(&block.header, round, seals).unwrap();
            world.wishes.push(Wish::Decide(Arc::new(Block { header, body: block.body.clone() })));
        }
    }
}
