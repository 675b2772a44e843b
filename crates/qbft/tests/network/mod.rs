//! A network of cores in one thread: clock, wires, disks and faults are values, and a seed replays any run.
//!
//! The checker of agreement shares no code with the core: it keeps what was decided and verifies seals by itself.

#![allow(dead_code)]

pub mod besu;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::ops::RangeInclusive;
use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes, U256};
use ipe_qbft::{Draft, Effect, Event, HeadInfo, Millis, Now, PreparedCertificate, Restored, Settings, State, Timer, step};
use ipe_types::crypto::{HighS, recover_address};
use ipe_types::extra::ExtraData;
use ipe_types::header::{BFT_MIX_HASH, EMPTY_OMMERS_HASH, EMPTY_ROOT, commit_hash};
use ipe_types::message::{CommitPayload, PreparePayload, Proposal, ProposalPayload, Signed};
use ipe_types::{Block, Dialect, Header, Kind, Message, NodeKey, ValidatorSet};

use self::besu::Besu;

/// Deterministic numbers (splitmix64).
#[derive(Clone, Debug)]
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn within(&mut self, range: RangeInclusive<u64>) -> u64 {
        range.start() + self.roll() % (range.end() - range.start() + 1)
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.roll() % 100 < percent
    }
}

/// The fault model as a menu.
#[derive(Clone, Debug)]
pub struct Model {
    pub seed: u64,
    pub validators: usize,
    pub period_ms: u64,
    pub empty_period_ms: u64,
    pub timeout_ms: u64,
    /// One way of a message.
    pub delay_ms: RangeInclusive<u64>,
    /// Percent of consensus messages that vanish.
    pub loss: u64,
    /// Percent that come twice.
    pub twice: u64,
    /// To build or to execute a block.
    pub execution_ms: u64,
    /// A node that comes back is told the latest of those that are there.
    pub greet: bool,
    /// What was sent to a paused process waits for it.
    pub backlog: bool,
    /// Every block has a transaction.
    pub busy: bool,
    /// The journal can give back what was signed.
    pub journal_keeps_messages: bool,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            seed: 1,
            validators: 4,
            period_ms: 1000,
            empty_period_ms: 0,
            timeout_ms: 4000,
            delay_ms: 5..=20,
            loss: 0,
            twice: 0,
            execution_ms: 20,
            greet: true,
            backlog: true,
            busy: true,
            journal_keeps_messages: true,
        }
    }
}

/// What a node does instead of following the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Villain {
    /// Proposes one block to one half and another to the rest, and agrees with everybody.
    Equivocator,
    /// Asks for the highest round of all, and never proposes.
    Climber,
    /// Proposes only invalid blocks.
    Spoiler,
    /// Asks for round 1000 at every height, and never proposes.
    Ceiling,
    /// Does everything but propose.
    Mute,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    Up,
    Paused,
    Down,
}

#[derive(Clone, Debug)]
enum Happening {
    Deliver { to: usize, message: Arc<Message> },
    Timer { node: usize, timer: Timer, generation: u64 },
    Answer { node: usize, life: u64, event: Event },
    BesuTimer { node: usize, life: u64, generation: u64 },
    Announce { to: usize, block: Arc<Block> },
    Pull { node: usize },
}

/// Durable memory of one node: its journal and its chain survive a kill.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    signed: BTreeMap<(u64, u32, Kind), (B256, Arc<Message>)>,
    certificate: Option<(u64, Arc<PreparedCertificate>)>,
    pub chain: Vec<Arc<Block>>,
}

pub struct Node {
    pub key: NodeKey,
    pub health: Health,
    pub villain: Option<Villain>,
    pub state: State,
    pub besu: Option<Besu>,
    pub disk: Disk,
    /// Wall clock minus true time.
    pub skew_ms: i64,
    /// One way of what this node sends, in place of the model's.
    pub delay_ms: Option<RangeInclusive<u64>>,
    /// Time that this node takes to build a block, in place of the model's.
    pub building_ms: Option<u64>,
    timers: [Option<(Timer, u64)>; Timer::SLOTS],
    life: u64,
    held: Vec<Happening>,
    built: u64,
    /// Height at which it last asked for the highest round, as a villain.
    asked: u64,
    pub refused: u64,
    pub reports: Vec<ipe_qbft::Rejection>,
}

pub struct Network {
    pub model: Model,
    pub now: Millis,
    pub nodes: Vec<Node>,
    pub validators: ValidatorSet,
    /// First decision of each height: when, which block, in which round.
    pub decided: BTreeMap<u64, (Millis, B256, u32)>,
    /// Links that are cut, both ways, as (lower, higher).
    pub cut: BTreeSet<(usize, usize)>,
    pub sent: u64,
    /// Seals verified before, by what they are about.
    verified: BTreeSet<B256>,
    dice: Dice,
    queue: BinaryHeap<Reverse<(Millis, u64)>>,
    events: BTreeMap<u64, Happening>,
    sequence: u64,
    generation: u64,
    trace: u64,
}

/// Every run begins here, in unix milliseconds.
pub const START_MS: Millis = 1_700_000_000_000;

pub fn key(index: usize) -> NodeKey {
    let mut secret = [0x11u8; 32];
    secret[30..].copy_from_slice(&(index as u16 + 1).to_be_bytes());
    NodeKey::from_bytes(secret).unwrap()
}

pub fn genesis() -> (B256, u64) {
    (B256::repeat_byte(0x99), START_MS / 1000)
}

pub fn block(number: u64, parent: B256, by: Address, timestamp: u64, round: u32, mark: u64, set: &ValidatorSet) -> Block {
    let mut vanity = [0u8; 32];
    vanity[24..].copy_from_slice(&mark.to_be_bytes());
    let extra = ExtraData {
        vanity: Bytes::copy_from_slice(&vanity),
        validators: set.as_slice().to_vec(),
        vote: None,
        round,
        seals: Vec::new(),
    };
    let header = Header {
        parent_hash: parent,
        ommers_hash: EMPTY_OMMERS_HASH,
        beneficiary: by,
        transactions_root: EMPTY_ROOT,
        receipts_root: EMPTY_ROOT,
        difficulty: U256::from(1),
        number,
        gas_limit: 10_000_000,
        timestamp,
        extra_data: extra.encode(),
        mix_hash: BFT_MIX_HASH,
        ..Header::default()
    };
    Block { header, ..Block::default() }
}

/// Mark of a block that every honest node finds invalid.
const SPOILT: u64 = 0xdead << 32;

impl Network {
    pub fn new(model: Model) -> Self {
        let keys: Vec<NodeKey> = (0..model.validators).map(key).collect();
        let validators: ValidatorSet = keys.iter().map(NodeKey::address).collect();
        let nodes = keys
            .into_iter()
            .map(|key| Node {
                state: State::new(Settings { local: key.address(), dialect: Dialect::Legacy }),
                key,
                health: Health::Down,
                villain: None,
                besu: None,
                disk: Disk::default(),
                skew_ms: 0,
                delay_ms: None,
                building_ms: None,
                timers: Default::default(),
                life: 0,
                held: Vec::new(),
                built: 0,
                asked: 0,
                refused: 0,
                reports: Vec::new(),
            })
            .collect();
        let dice = Dice(model.seed);
        Self {
            model,
            now: START_MS + 500,
            nodes,
            validators,
            decided: BTreeMap::new(),
            cut: BTreeSet::new(),
            sent: 0,
            verified: BTreeSet::new(),
            dice,
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            sequence: 0,
            generation: 0,
            trace: 0,
        }
    }

    /// All nodes up.
    pub fn started(model: Model) -> Self {
        let mut network = Self::new(model);
        for node in 0..network.nodes.len() {
            network.start(node);
        }
        network
    }

    pub fn height_of(&self, node: usize) -> u64 {
        self.nodes[node].disk.chain.len() as u64
    }

    pub fn height(&self) -> u64 {
        self.decided.keys().next_back().copied().unwrap_or(0)
    }

    /// Hash of everything that happened, for the test of determinism.
    pub fn trace(&self) -> u64 {
        self.trace
    }

    /// Index of a validator.
    pub fn index_of(&self, address: Address) -> usize {
        self.nodes.iter().position(|node| node.key.address() == address).unwrap()
    }

    // ---- faults ----

    /// The process starts, reading its disk.
    pub fn start(&mut self, node: usize) {
        assert_eq!(self.nodes[node].health, Health::Down);
        let local = self.nodes[node].key.address();
        let this = &mut self.nodes[node];
        this.health = Health::Up;
        this.life += 1;
        this.timers = Default::default();
        if this.besu.is_some() {
            this.besu = Some(Besu::default());
        } else {
            this.state = State::new(Settings { local, dialect: Dialect::Legacy });
        }
        if let Some(restored) = self.restored(node) {
            self.apply(node, Event::Restored(restored));
        }
        self.new_head(node);
        self.push(self.now + 250, Happening::Pull { node });
        self.greet(node);
    }

    /// A `kill -9`.
    pub fn kill(&mut self, node: usize) {
        self.nodes[node].health = Health::Down;
        self.nodes[node].life += 1;
        self.nodes[node].held.clear();
    }

    /// A `kill -9` and an empty disk.
    pub fn wipe(&mut self, node: usize) {
        self.kill(node);
        self.nodes[node].disk = Disk::default();
    }

    /// A SIGSTOP.
    pub fn pause(&mut self, node: usize) {
        assert_eq!(self.nodes[node].health, Health::Up);
        self.nodes[node].health = Health::Paused;
    }

    /// A SIGCONT: timers that are due fire, and what waited in sockets is read.
    pub fn resume(&mut self, node: usize) {
        assert_eq!(self.nodes[node].health, Health::Paused);
        self.nodes[node].health = Health::Up;
        let held = std::mem::take(&mut self.nodes[node].held);
        for happening in held {
            let keep = self.model.backlog || !matches!(happening, Happening::Deliver { .. } | Happening::Announce { .. });
            if keep {
                self.push(self.now, happening);
            }
        }
        self.greet(node);
    }

    /// Connections come up: both sides say where they are.
    fn greet(&mut self, node: usize) {
        if !self.model.greet {
            return;
        }
        for other in 0..self.nodes.len() {
            if other == node || self.nodes[other].health != Health::Up || self.nodes[other].besu.is_some() {
                continue;
            }
            for message in self.nodes[other].state.own_messages() {
                self.send(other, node, message);
            }
        }
        if self.nodes[node].besu.is_none() {
            let own = self.nodes[node].state.own_messages();
            for other in 0..self.nodes.len() {
                for message in &own {
                    self.send(node, other, message.clone());
                }
            }
        }
    }

    fn restored(&self, node: usize) -> Option<Restored> {
        let disk = &self.nodes[node].disk;
        let height = disk.chain.len() as u64 + 1;
        let signed: Vec<_> = disk.signed.iter().filter(|((at, ..), _)| *at == height).collect();
        let round = signed.iter().map(|((_, round, _), _)| *round).max()?;
        let certificate = disk.certificate.as_ref().filter(|(at, _)| *at == height).map(|(_, held)| held.clone());
        let messages = if self.model.journal_keeps_messages {
            signed.iter().map(|(_, (_, message))| message.clone()).collect()
        } else {
            Vec::new()
        };
        Some(Restored { height, round, certificate, messages })
    }

    /// Writes into the journal of a node that it signed `draft`.
    pub fn remember(&mut self, node: usize, draft: &Draft) {
        let key = self.nodes[node].key.clone();
        let message = Arc::new(draft.sign_with(|hash| key.sign(hash)).unwrap());
        let place = (draft.height(), draft.round(), draft.kind());
        self.nodes[node].disk.signed.insert(place, (draft.identity(), message));
    }

    // ---- the run ----

    pub fn run_for(&mut self, ms: u64) {
        let until = self.now + ms;
        while let Some(Reverse((at, sequence))) = self.queue.peek().copied() {
            if at > until {
                break;
            }
            self.queue.pop();
            self.now = self.now.max(at);
            let happening = self.events.remove(&sequence).unwrap();
            self.trace = self.trace.wrapping_mul(31).wrapping_add(at).wrapping_add(sequence);
            self.happen(happening);
        }
        self.now = until;
    }

    /// Runs until some node decides a block above `height`, and answers with how long that took.
    pub fn time_to_next_block(&mut self, limit_ms: u64) -> Option<u64> {
        let (from, height) = (self.now, self.height());
        while self.height() == height {
            if self.now - from > limit_ms {
                return None;
            }
            self.run_for(5);
        }
        Some(self.now - from)
    }

    fn push(&mut self, at: Millis, happening: Happening) {
        self.sequence += 1;
        self.queue.push(Reverse((at, self.sequence)));
        self.events.insert(self.sequence, happening);
    }

    fn happen(&mut self, happening: Happening) {
        let node = match &happening {
            Happening::Deliver { to, .. } | Happening::Announce { to, .. } => *to,
            Happening::Timer { node, .. }
            | Happening::Answer { node, .. }
            | Happening::Pull { node }
            | Happening::BesuTimer { node, .. } => *node,
        };
        match self.nodes[node].health {
            Health::Up => {}
            Health::Paused => return self.nodes[node].held.push(happening),
            Health::Down => return,
        }
        match happening {
            // Relays pass on nothing about heights below the head.
            Happening::Deliver { to, message } if message.height() < self.height_of(to) => {}
            Happening::Deliver { to, message } => self.apply(to, Event::Received(message)),
            Happening::Timer { node, timer, generation } => {
                if self.nodes[node].timers[timer.slot()] == Some((timer, generation)) {
                    self.nodes[node].timers[timer.slot()] = None;
                    self.apply(node, Event::TimerFired(timer));
                }
            }
            Happening::Answer { node, life, event } => {
                if self.nodes[node].life == life {
                    self.apply(node, event);
                }
            }
            Happening::BesuTimer { node, life, generation } => {
                if self.nodes[node].life == life {
                    self.with_besu(node, |besu, world| besu.timer_fired(world, generation));
                }
            }
            Happening::Announce { to, block } => self.import(to, block),
            Happening::Pull { node } => {
                self.pull(node);
                self.push(self.now + 500, Happening::Pull { node });
            }
        }
    }

    /// A node that is behind asks whoever it can reach.
    fn pull(&mut self, node: usize) {
        let mine = self.nodes[node].disk.chain.len();
        let ahead = (0..self.nodes.len()).find(|other| self.reaches(*other, node) && self.nodes[*other].disk.chain.len() > mine);
        if let Some(other) = ahead {
            let missing = self.nodes[other].disk.chain[mine..].to_vec();
            for block in missing {
                self.import(node, block);
            }
        }
    }

    fn reaches(&self, from: usize, to: usize) -> bool {
        from != to
            && self.nodes[from].health == Health::Up
            && self.nodes[to].health != Health::Down
            && !self.cut.contains(&(from.min(to), from.max(to)))
    }

    fn wall(&self, node: usize) -> Millis {
        self.now.saturating_add_signed(self.nodes[node].skew_ms)
    }

    pub fn head_info(&self, node: usize) -> HeadInfo {
        let chain = &self.nodes[node].disk.chain;
        let (number, hash, timestamp_s, coinbase) = match chain.last() {
            None => (0, genesis().0, genesis().1, Address::ZERO),
            Some(block) => {
                let header = &block.header;
                (header.number, block.hash().unwrap(), header.timestamp, header.beneficiary)
            }
        };
        HeadInfo {
            number,
            hash,
            timestamp_s,
            coinbase,
            validators: self.validators.clone(),
            period_ms: self.model.period_ms,
            empty_period_ms: self.model.empty_period_ms,
            request_timeout_ms: self.model.timeout_ms,
        }
    }

    fn new_head(&mut self, node: usize) {
        let head = self.head_info(node);
        self.apply(node, Event::HeadAdvanced(head));
    }

    fn import(&mut self, node: usize, block: Arc<Block>) {
        if block.header.number != self.nodes[node].disk.chain.len() as u64 + 1 {
            return;
        }
        self.check_sealed(&block);
        self.nodes[node].disk.chain.push(block);
        self.new_head(node);
    }

    /// Agreement and seals, judged by code of our own.
    fn check_sealed(&mut self, block: &Block) {
        let (number, hash) = (block.header.number, block.hash().unwrap());
        let extra = ExtraData::decode(&block.header.extra_data).unwrap();
        let sealed = commit_hash(&block.header, extra.round).unwrap();
        if !self.verified.insert(ipe_types::header::raw_hash(&block.header)) {
            assert_eq!(self.decided[&number].1, hash);
            return;
        }
        let committers: BTreeSet<Address> =
            extra.seals.iter().map(|seal| recover_address(sealed, seal, HighS::Allowed).unwrap()).collect();
        assert_eq!(committers.len(), extra.seals.len(), "a committer twice at {number}");
        assert!(committers.iter().all(|committer| self.validators.contains(committer)));
        assert!(committers.len() >= (2 * self.model.validators).div_ceil(3), "too few seals at {number}");
        let first = self.decided.entry(number).or_insert((self.now, hash, extra.round));
        assert_eq!(first.1, hash, "seed {}: two blocks are final at height {number}", self.model.seed);
    }

    fn apply(&mut self, node: usize, event: Event) {
        if self.nodes[node].besu.is_some() {
            return self.with_besu(node, |besu, world| besu.on_event(world, event));
        }
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let now = Now { steady: self.now, wall: self.wall(node) };
            if let (Some(villain), Event::Received(message)) = (self.nodes[node].villain, &event) {
                self.villainy(node, villain, &message.clone());
            }
            for effect in step(&mut self.nodes[node].state, now, event.clone()) {
                self.carry_out(node, effect, &mut events);
            }
        }
    }

    fn with_besu(&mut self, node: usize, act: impl FnOnce(&mut Besu, &mut besu::World)) {
        let Some(mut besu) = self.nodes[node].besu.take() else { return };
        let mut world =
            besu::World { now: self.wall(node), head: self.head_info(node), key: self.nodes[node].key.clone(), wishes: Vec::new() };
        act(&mut besu, &mut world);
        self.nodes[node].besu = Some(besu);
        for wish in world.wishes {
            match wish {
                besu::Wish::Send(message) => self.broadcast(node, &message),
                besu::Wish::Timer { at, generation } => {
                    let life = self.nodes[node].life;
                    self.push(at.max(self.now), Happening::BesuTimer { node, life, generation });
                }
                besu::Wish::Decide(block) => self.decide(node, block),
            }
        }
    }

    fn decide(&mut self, node: usize, block: Arc<Block>) {
        for other in 0..self.nodes.len() {
            if self.reaches(node, other) {
                let at = self.now + self.one_way_ms(node);
                self.push(at, Happening::Announce { to: other, block: block.clone() });
            }
        }
        self.import(node, block);
    }

    fn carry_out(&mut self, node: usize, effect: Effect, events: &mut VecDeque<Event>) {
        let life = self.nodes[node].life;
        match effect {
            Effect::Sign(draft) => self.sign(node, &draft, events),
            Effect::Resend(messages) => {
                for message in messages {
                    self.broadcast(node, &message);
                }
            }
            Effect::BuildBlock { height, round, timestamp_s } => {
                self.nodes[node].built += 1;
                let mut mark = (node as u64) << 48 | self.nodes[node].life << 40 | self.nodes[node].built;
                if self.nodes[node].villain == Some(Villain::Spoiler) {
                    mark |= SPOILT;
                }
                let parent = self.head_info(node).hash;
                let local = self.nodes[node].key.address();
                let block = Arc::new(block(height, parent, local, timestamp_s, round, mark, &self.validators));
                let event = Event::BlockBuilt { height, round, block, empty: !self.model.busy };
                let took_ms = self.nodes[node].building_ms.unwrap_or(self.model.execution_ms);
                self.push(self.now + took_ms, Happening::Answer { node, life, event });
            }
            Effect::AskTransactions { height } => {
                events.push_back(Event::TransactionsAnswered { height, waiting: self.model.busy });
            }
            Effect::CheckBlock { height, round, block, hash, .. } => {
                let verdict = self.judge(node, &block);
                let event = Event::BlockChecked { height, round, hash, verdict };
                self.push(self.now + self.model.execution_ms, Happening::Answer { node, life, event });
            }
            Effect::SetTimer { timer, at } => {
                self.generation += 1;
                let generation = self.generation;
                self.nodes[node].timers[timer.slot()] = Some((timer, generation));
                self.push(at.max(self.now), Happening::Timer { node, timer, generation });
            }
            Effect::CancelTimer(timer) => self.nodes[node].timers[timer.slot()] = None,
            Effect::Decide { block, hash, .. } => {
                assert_eq!(block.hash().unwrap(), hash);
                self.decide(node, block);
            }
            Effect::Report(rejection) => self.nodes[node].reports.push(rejection),
            Effect::RoundStarted { .. } => {}
        }
    }

    fn judge(&self, node: usize, block: &Block) -> Result<(), String> {
        let head = self.head_info(node);
        let extra = ExtraData::decode(&block.header.extra_data).unwrap();
        let mark = u64::from_be_bytes(extra.vanity[24..].try_into().unwrap());
        if mark & SPOILT == SPOILT {
            return Err("state root differs".into());
        }
        if block.header.parent_hash != head.hash {
            return Err("unknown parent".into());
        }
        if block.header.timestamp < head.timestamp_s + head.period_ms / 1000 {
            return Err("timestamp is too near to the parent's".into());
        }
        if block.header.timestamp > self.wall(node) / 1000 + 1 {
            return Err("timestamp is in the future".into());
        }
        Ok(())
    }

    /// The gate: durable before public, the same twice is allowed, a conflict never.
    fn sign(&mut self, node: usize, draft: &Draft, events: &mut VecDeque<Event>) {
        let place = (draft.height(), draft.round(), draft.kind());
        if self.nodes[node].villain.is_some() {
            return self.sign_as_villain(node, draft, events);
        }
        let disk = &mut self.nodes[node].disk;
        // A validator that asked for a round has nothing to say in lower ones any more.
        let left = disk.signed.keys().filter(|(height, _, kind)| *height == place.0 && *kind == Kind::RoundChange);
        let left = left.map(|(_, round, _)| *round).max().unwrap_or(0);
        assert!(place.1 >= left, "{place:?} is signed after a RoundChange to {left}");
        if let Some((identity, message)) = disk.signed.get(&place) {
            if *identity == draft.identity() {
                let message = message.clone();
                self.broadcast(node, &message);
                events.push_back(Event::Received(message));
            } else if self.model.journal_keeps_messages {
                let message = message.clone();
                self.broadcast(node, &message);
                events.push_back(Event::Received(message));
                self.nodes[node].refused += 1;
            } else {
                self.nodes[node].refused += 1;
                events.push_back(Event::SignRefused { height: place.0, round: place.1, kind: place.2 });
            }
            return;
        }
        if let Some(certificate) = draft.certificate() {
            // Through the journal's own form, as after a crash.
            let bytes = certificate.to_bytes();
            let read = PreparedCertificate::from_bytes(&bytes).unwrap();
            assert_eq!(&read, &**certificate);
            disk.certificate = Some((place.0, Arc::new(read)));
        }
        let key = self.nodes[node].key.clone();
        let message = Arc::new(draft.sign_with(|hash| key.sign(hash)).unwrap());
        self.nodes[node].disk.signed.insert(place, (draft.identity(), message.clone()));
        self.broadcast(node, &message);
        events.push_back(Event::Received(message));
    }

    pub fn broadcast(&mut self, from: usize, message: &Arc<Message>) {
        for to in 0..self.nodes.len() {
            self.send(from, to, message.clone());
        }
    }

    fn send(&mut self, from: usize, to: usize, message: Arc<Message>) {
        if !self.reaches(from, to) {
            return;
        }
        self.sent += 1;
        let copies = if self.dice.chance(self.model.loss) { 0 } else { 1 + u64::from(self.dice.chance(self.model.twice)) };
        for _ in 0..copies {
            let at = self.now + self.one_way_ms(from);
            self.push(at, Happening::Deliver { to, message: message.clone() });
        }
    }

    fn one_way_ms(&mut self, from: usize) -> u64 {
        let range = self.nodes[from].delay_ms.as_ref().unwrap_or(&self.model.delay_ms).clone();
        self.dice.within(range)
    }

    // ---- villains ----

    fn sign_as_villain(&mut self, node: usize, draft: &Draft, events: &mut VecDeque<Event>) {
        let key = self.nodes[node].key.clone();
        let message = Arc::new(draft.sign_with(|hash| key.sign(hash)).unwrap());
        match (self.nodes[node].villain, draft) {
            (Some(Villain::Equivocator), Draft::Proposal { payload, round_changes, prepares }) if prepares.is_empty() => {
                let mut other = (*payload.block).clone();
                other.header.gas_limit += 1;
                let payload = ProposalPayload { block: Arc::new(other), ..payload.clone() };
                let twin = Message::Proposal(Box::new(Proposal {
                    signed: Signed::sign_with(payload, |hash| key.sign(hash)).unwrap(),
                    round_changes: round_changes.clone(),
                    prepares: prepares.clone(),
                }));
                let twin = Arc::new(twin);
                for to in 0..self.nodes.len() {
                    self.send(node, to, if to % 2 == 0 { message.clone() } else { twin.clone() });
                }
                self.agree(node, &message);
                self.agree(node, &twin);
            }
            (Some(Villain::Climber | Villain::Ceiling | Villain::Mute), Draft::Proposal { .. }) => {}
            _ => {
                self.broadcast(node, &message);
                events.push_back(Event::Received(message));
            }
        }
    }

    fn villainy(&mut self, node: usize, villain: Villain, message: &Arc<Message>) {
        match villain {
            Villain::Equivocator => self.agree(node, message),
            Villain::Climber if message.round() < 900 && message.author() != self.nodes[node].key.address() => {
                self.ask_for(node, message.height(), &[message.round() + 1, 1000]);
            }
            Villain::Ceiling if self.nodes[node].asked < message.height() => {
                self.nodes[node].asked = message.height();
                self.ask_for(node, message.height(), &[1000]);
            }
            _ => {}
        }
    }

    fn ask_for(&mut self, node: usize, height: u64, rounds: &[u32]) {
        let key = self.nodes[node].key.clone();
        for round in rounds {
            let payload = ipe_types::message::RoundChangePayload { height, round: *round, prepared: None };
            let draft = Draft::RoundChange { payload, certificate: None, dialect: Dialect::Legacy };
            let change = Arc::new(draft.sign_with(|hash| key.sign(hash)).unwrap());
            self.broadcast(node, &change);
        }
    }

    /// Prepares and commits whatever is proposed.
    fn agree(&mut self, node: usize, message: &Arc<Message>) {
        let Message::Proposal(proposal) = &**message else { return };
        let payload = proposal.signed.payload();
        let key = self.nodes[node].key.clone();
        let (height, round) = (payload.height, payload.round);
        let digest = ipe_types::header::digest(&payload.block.header).unwrap();
        let seal = key.sign(commit_hash(&payload.block.header, round).unwrap());
        let prepare = Signed::sign_with(PreparePayload { height, round, digest }, |hash| key.sign(hash)).unwrap();
        let commit = Signed::sign_with(CommitPayload { height, round, digest, seal }, |hash| key.sign(hash)).unwrap();
        self.broadcast(node, &Arc::new(Message::Prepare(prepare)));
        self.broadcast(node, &Arc::new(Message::Commit(commit)));
    }
}
