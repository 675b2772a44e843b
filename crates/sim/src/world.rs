//! The world: one clock, one queue of what will happen, and the nodes that it happens to.

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use alloy_primitives::{B256, Bytes};
use ipe_chain::{Candidate, Ledger};
use ipe_engine::fair_queue::Payer;
use ipe_engine::pool::{LocalJournal, Origin, Pool, Rules, Settings as PoolSettings};
use ipe_engine::signing::{Gate, Signer};
use ipe_engine::{
    Clock, Done, Input, Level, Output, Parts, PeerId, PeerInfo, PeerStatus, Replica, Settings, StatusCell, admission,
};
use ipe_types::eth::{EthMessage, EthVersion};
use ipe_types::spec::ChainSpec;
use ipe_types::work;
use ipe_types::{Address, Dialect, NodeId, Role, Topology};
use parking_lot::Mutex;

use crate::checkers::{Checkers, Who};
use crate::clients::Clients;
use crate::cost;
use crate::disk::{Disk, FileName};
use crate::faults::{Fault, FaultCounts};
use crate::inbox::Inbox;
use crate::log::{Log, Teller, Window};
use crate::network::{
    End, HELD_MAX, LOST_AGAIN, Link, Packet, REDIAL_US, RETRANSMIT_MAX_US, RETRANSMIT_US, Retransmission, SESSION_PATIENCE_US,
};
use crate::node::{Alive, Node, SAVE_US, STEADY_BEHIND_US};
use crate::report::Report;
use crate::rng::Rng;
use crate::scenario::Scenario;
use crate::setup::{self, CHAIN_ID, START_US};
use crate::villains::{Kind, Said, Scene, Villain, Wire};

/// Times in a row that a node may ask to be woken at once before that counts as a fault of its own.
const SPINS_MAX: u32 = 2_000;
/// How often checkers look at what replicas hold, µs.
const INSPECT_US: u64 = 5_000_000;
/// How often clients look for what got lost with a writer's process, µs.
const RECHECK_US: u64 = 3_000_000;
/// Time of one input from which its author is noted, µs.
const NOTED_US: u64 = 500;
/// How long a connection may not be dialled again after a breach of protocol, µs.
const PENALTY_US: u64 = 30_000_000;
/// Time over a line of a villain where these are the fastest, µs.
const NEAR_US: u64 = 200;

/// What will happen.
pub(crate) enum Happening {
    /// The dialler of a link tries.
    Dial(usize),
    /// A message arrives.
    Deliver { to: usize, session: PeerId, packet: Packet },
    /// A node has time for the next of what waits.
    Work(usize),
    /// A process has done the job that was out.
    Done { at: usize, life: u64, done: Box<Done> },
    /// A session tries again to get a lost packet through.
    Retransmit { link: usize, side: usize, session: PeerId },
    /// An end of a session learns that it is over.
    Gone { to: usize, session: PeerId },
    /// A process starts.
    Start(usize),
    /// A writer makes its clients' transactions durable.
    Save(usize),
    /// A writer's clients send one.
    Submit(usize),
    /// Clients look for what was lost.
    Recheck,
    /// A villain acts.
    Act(usize),
    /// Checkers look at what is held.
    Inspect,
    /// The nemesis strikes.
    Strike,
    /// A fault is over.
    Mend(crate::nemesis::Mend),
    /// A storm begins.
    Storm,
    /// A calm begins.
    Calm,
    /// The promise of the calm is looked at.
    Judge,
    /// The calm is over.
    Settle,
    /// Clients send nothing any more.
    Quiet,
}

struct Queued(u64, u64, Happening);

impl PartialEq for Queued {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}
impl Eq for Queued {}
impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Queued {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

/// One run.
pub(crate) struct World {
    pub(crate) scenario: Scenario,
    seed: u64,
    spec: Arc<ChainSpec>,
    /// The same without rules.
    unruled: Arc<ChainSpec>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) links: Vec<Link>,
    pub(crate) now_us: u64,
    sequence: u64,
    queue: BinaryHeap<Reverse<Queued>>,
    next_session: u64,
    /// Processes started.
    lives: u64,
    /// When the message in hand arrived at its node, µs.
    arrived_us: u64,
    pub(crate) network: Rng,
    pub(crate) nemesis: Rng,
    villainy: Rng,
    pub(crate) storm: bool,
    /// The change of the validators that was begun last: whom, and whether to add.
    pub(crate) change: Option<(Address, bool)>,
    pub(crate) quiet: bool,
    pub(crate) counts: FaultCounts,
    pub(crate) checkers: Checkers,
    pub(crate) clients: Clients,
    writers: Vec<usize>,
    pub(crate) others: usize,
    /// Which of the validators has a disk that rots.
    pub(crate) rotten: u64,
    pub(crate) log: Log,
}

impl World {
    pub(crate) fn new(scenario: &Scenario, seed: u64, teller: Option<(Window, Teller)>) -> Self {
        let (spec, unruled) = setup::specs(scenario);
        let clients = Clients::new(scenario.writers, Rng::new(seed, "clients"));
        let checkers = Checkers::new(scenario, spec.genesis_header(), &clients.addresses());
        let mut world = Self {
            scenario: scenario.clone(),
            seed,
            spec,
            unruled,
            nodes: Vec::new(),
            links: Vec::new(),
            now_us: START_US,
            sequence: 0,
            queue: BinaryHeap::new(),
            next_session: 0,
            lives: 0,
            arrived_us: 0,
            network: Rng::new(seed, "network"),
            nemesis: Rng::new(seed, "nemesis"),
            villainy: Rng::new(seed, "villains"),
            storm: false,
            change: None,
            quiet: false,
            counts: FaultCounts::default(),
            checkers,
            clients,
            writers: Vec::new(),
            others: 0,
            rotten: Rng::new(seed, "rot").next(),
            log: Log::new(teller),
        };
        for planned in setup::nodes(scenario) {
            world.add(planned);
        }
        world.others = world.nodes.len();
        world.cast_villains();
        for index in 0..world.nodes.len() {
            world.link_up(index);
        }
        if let Some((index, point)) = scenario.crash
            && let Some(node) = world.nodes.get(index)
        {
            node.disk.crash_at(point);
            world.counts.count(point.remains.fault());
        }
        world
    }

    /// A node with its disk, not yet running.
    pub(crate) fn add(&mut self, planned: setup::Planned) -> usize {
        let index = self.nodes.len();
        if planned.role == Role::Writer {
            self.writers.push(index);
        }
        let disk = Disk::new();
        if planned.role == Role::Validator {
            // Its key was made for this network and has signed nothing.
            disk.place(FileName::Signing, ipe_engine::journal::newborn(self.spec.genesis_hash(), planned.key.address()));
        }
        self.nodes.push(Node {
            name: planned.name,
            role: planned.role,
            institution: planned.institution,
            address: planned.key.address(),
            key: planned.key,
            disk,
            skew_us: 0,
            jump: None,
            slow_us: 0,
            busy_us: 0,
            rest_us: 0,
            spins: 0,
            spent_us: BTreeMap::new(),
            gone: false,
            complains: false,
            villain: None,
            alive: None,
        });
        index
    }

    /// At most f institutions are villains', each with one kind.
    fn cast_villains(&mut self) {
        let f = self.scenario.validators.saturating_sub(1) / 3;
        let kinds = self.scenario.villains;
        let mut institutions: Vec<usize> = (0..self.scenario.validators).collect();
        let mut cast: Vec<(usize, Kind)> = Vec::new();
        for turn in 0..f.min(if self.scenario.drawn > 0 { self.scenario.drawn } else { kinds.len() }) {
            let kind = if self.scenario.drawn > 0 { self.villainy.pick(kinds).copied() } else { kinds.get(turn).copied() };
            let Some(kind) = kind else { continue };
            let institution = institutions.remove(self.villainy.below(institutions.len() as u64) as usize);
            let of = |node: &Node, role| node.institution == institution && node.role == role;
            let mut found: Vec<usize> = (0..self.nodes.len())
                .filter(|index| of(&self.nodes[*index], self.nodes[*index].role) && kind.takes(self.nodes[*index].role))
                .collect();
            if found.is_empty() {
                found.extend(self.nodes.iter().position(|node| of(node, Role::Validator)));
            }
            cast.extend(found.iter().map(|index| (*index, kind)));
            if kind == Kind::Twin
                && let Some(&index) = found.first()
            {
                let role = Role::Validator;
                let (name, key) = (format!("{}~", self.nodes[index].name), self.nodes[index].key.clone());
                let twin = self.add(setup::Planned { name, role, institution, key });
                cast.push((twin, kind));
            }
        }
        let allies: Vec<_> = cast.iter().map(|(index, _)| self.nodes[*index].key.clone()).collect();
        for (number, (index, kind)) in cast.into_iter().enumerate() {
            let rng = Rng::new(self.seed, &format!("villain {number}"));
            let villain = Villain::new(kind, self.nodes[index].key.clone(), allies.clone(), rng);
            self.nodes[index].villain = Some(Box::new(villain));
        }
        self.tell_checkers();
    }

    pub(crate) fn tell_checkers(&mut self) {
        let honest = self.nodes.iter().filter(|node| node.is_honest()).map(|node| node.address).collect();
        let villains: Vec<&Node> = self.nodes.iter().filter(|node| !node.is_honest()).collect();
        let tainted = self.nodes.iter().filter(|node| villains.iter().any(|villain| villain.institution == node.institution));
        let tainted = tainted.map(|node| node.address).collect();
        self.checkers.set_honest(honest, villains.iter().map(|node| node.address).collect(), tainted);
    }

    /// Links between a node and all before it.
    pub(crate) fn link_up(&mut self, index: usize) {
        let me = (self.nodes[index].role, self.nodes[index].institution);
        for other in 0..index {
            if self.nodes[other].gone || self.nodes[other].address == self.nodes[index].address {
                continue;
            }
            let them = (self.nodes[other].role, self.nodes[other].institution);
            let (from, to) = if setup::dials(&self.scenario, me, them) {
                (index, other)
            } else if setup::dials(&self.scenario, them, me) {
                (other, index)
            } else {
                continue;
            };
            let near = self.scenario.near && !(self.nodes[from].is_honest() && self.nodes[to].is_honest());
            let drawn_us = self.network.between(500, 30_000);
            let latency_us = self.scenario.delay_ms * 1_000 + if near { NEAR_US } else { drawn_us };
            self.links.push(Link::new(from, to, latency_us));
            self.dial_in(self.links.len() - 1, 0);
        }
    }

    pub(crate) fn run(mut self) -> Report {
        for index in 0..self.nodes.len() {
            let pause = self.network.below(200_000);
            self.at(pause, Happening::Start(index));
        }
        for number in 0..self.writers.len() {
            if self.scenario.load_ms > 0 {
                self.at(500_000, Happening::Submit(number));
            }
        }
        self.at(RECHECK_US, Happening::Recheck);
        self.at(INSPECT_US, Happening::Inspect);
        let (storm_us, calm_us) = (self.scenario.storm_ms * 1_000, self.scenario.calm_ms * 1_000);
        let mut at = 5_000_000;
        for cycle in 0..self.scenario.cycles {
            self.at(at, Happening::Storm);
            at += storm_us;
            self.at(at, Happening::Calm);
            if cycle + 1 == self.scenario.cycles {
                self.at(at + calm_us / 2, Happening::Quiet);
            }
            at += calm_us;
            self.at(at - 1, Happening::Settle);
        }
        self.run_until(START_US + at);
        self.finish()
    }

    fn run_until(&mut self, end: u64) {
        loop {
            let wake = (0..self.nodes.len()).filter_map(|index| Some((self.nodes[index].wake_us()?, index))).min();
            let queued = self.queue.peek().map(|Reverse(queued)| queued.0);
            let next = wake.map(|(at, _)| at).into_iter().chain(queued).min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.now_us = self.now_us.max(next);
            // What the world itself did meanwhile costs nobody anything.
            work::take();
            if !self.checkers.violations.is_empty() {
                return;
            }
            if queued == Some(next) {
                if let Some(Reverse(Queued(_, _, happening))) = self.queue.pop() {
                    self.happen(happening);
                }
            } else if let Some((_, index)) = wake {
                self.wake(index);
            }
        }
        self.now_us = end;
    }

    fn wake(&mut self, index: usize) {
        self.input(index, 1, &[], Input::Tick, || "tick".to_owned());
        let now_us = self.now_us;
        let node = &mut self.nodes[index];
        if node.wake_us().is_some_and(|at| at <= now_us) {
            // Whoever is never satisfied must not stop the world's clock.
            node.rest_us = now_us + 1_000;
            node.spins += 1;
            if node.spins == SPINS_MAX {
                let what = format!("{} asks to be woken at once again and again", node.name);
                self.fault("rest", what);
            }
        } else {
            node.spins = 0;
        }
    }

    /// Notes a violation that the world itself saw.
    pub(crate) fn fault(&mut self, checker: &'static str, what: String) {
        self.checkers.at((self.now_us - START_US) / 1_000, self.log.steps());
        self.checkers.verdict(checker, Err(what));
    }

    pub(crate) fn note(&mut self, code: u8, what: impl FnOnce() -> String) {
        let text = what();
        self.log.event(self.now_us - START_US, None, code, text.as_bytes(), || text.clone());
    }

    pub(crate) fn at(&mut self, in_us: u64, happening: Happening) {
        self.sequence += 1;
        self.queue.push(Reverse(Queued(self.now_us + in_us, self.sequence, happening)));
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Dial(link) => self.dial(link),
            Happening::Deliver { to, session, packet } => self.deliver(to, session, packet),
            Happening::Work(index) => self.work(index),
            Happening::Done { at, life, done } => self.done(at, life, *done),
            Happening::Retransmit { link, side, session } => self.retransmit(link, side, session),
            Happening::Gone { to, session } => {
                let known = self.nodes[to].alive.as_mut().is_some_and(|alive| {
                    alive.inbox.forget(session);
                    alive.sessions.remove(&session).is_some()
                });
                if known {
                    self.input(to, 2, &session.0.to_be_bytes(), Input::PeerGone(session), || {
                        format!("session {} ended", session.0)
                    });
                }
            }
            Happening::Start(index) => self.start(index),
            Happening::Save(index) => self.save(index),
            Happening::Submit(number) => self.submit(number),
            Happening::Recheck => self.recheck(),
            Happening::Act(index) => self.act(index),
            Happening::Inspect => self.inspect(),
            Happening::Strike => self.strike(),
            Happening::Mend(mend) => self.mend(mend),
            Happening::Storm => self.begin_storm(),
            Happening::Calm => self.begin_calm(),
            Happening::Judge => {
                let now_ms = (self.now_us - START_US) / 1_000;
                self.checkers.at(now_ms, self.log.steps());
                let outcome = self.checkers.liveness.check(now_ms);
                self.checkers.verdict("liveness", outcome);
            }
            Happening::Settle => self.settle(),
            Happening::Quiet => self.quiet = true,
        }
    }

    // Processes.

    fn start(&mut self, index: usize) {
        if self.nodes[index].alive.is_some() || self.nodes[index].gone {
            return;
        }
        self.nodes[index].disk.restart();
        self.lives += 1;
        match self.open(index) {
            Ok(alive) => {
                let ledger = alive.ledger.clone();
                let node = &mut self.nodes[index];
                node.busy_us = 0;
                node.rest_us = 0;
                node.alive = Some(alive);
                let head = ledger.head().number;
                self.log.event(self.now_us - START_US, Some((index, &self.nodes[index].name)), 3, &head.to_be_bytes(), || {
                    format!("starts at block {head}")
                });
                if self.nodes[index].is_honest() {
                    let node = &self.nodes[index];
                    let who = Who { index, name: &node.name, address: node.address, disk: &node.disk };
                    self.checkers.at((self.now_us - START_US) / 1_000, self.log.steps());
                    self.checkers.started(&who, &ledger, &self.clients);
                }
                if self.nodes[index].role == Role::Writer {
                    self.at(SAVE_US, Happening::Save(index));
                }
                if let Some(villain) = &self.nodes[index].villain
                    && villain.kind.pause_us() > 0
                {
                    self.at(villain.kind.pause_us(), Happening::Act(index));
                }
                self.wake(index);
                for link in 0..self.links.len() {
                    if self.links[link].from == index || self.links[link].to == index {
                        self.dial_in(link, 20_000);
                    }
                }
            }
            Err(why) => {
                // A full disk, or a crash in the first write: the operator's supervisor tries again.
                let crashed = self.nodes[index].disk.crashed();
                if !crashed && !self.nodes[index].disk.is_full() {
                    let what = format!("{} does not start: {why}", self.nodes[index].name);
                    self.fault("restart", what);
                }
                self.note(4, || format!("node {index} does not start: {why}"));
                self.at(1_000_000, Happening::Start(index));
            }
        }
    }

    fn open(&self, index: usize) -> Result<Alive, String> {
        let node = &self.nodes[index];
        let deaf = node.villain.as_ref().is_some_and(|villain| villain.kind == Kind::Unruled);
        let spec = if deaf { &self.unruled } else { &self.spec };
        let ledger = Ledger::open(node.disk.store(), spec.clone()).map_err(|error| error.to_string())?;
        let ledger = Arc::new(ledger);
        let rules = Rules {
            chain_id: CHAIN_ID,
            fork: self.scenario.fork,
            block_gas_limit: 0,
            tx_gas_cap: None,
            base_fee: None,
            min_gas_price: 0,
            fee_cap: None,
            max_tx_bytes: 128 * 1024,
            goquorum: None,
            period_ms: self.scenario.period_ms,
        };
        let rules = admission::rules(&ledger, spec, &rules);
        let key = alloy_primitives::keccak256([self.seed.to_be_bytes(), (index as u64).to_be_bytes()].concat());
        let limits = PoolSettings { key, ..PoolSettings::default() };
        let pool = Arc::new(Mutex::new(Pool::new(limits, rules, ledger.head().number)));
        let (gate, restored) = match node.role {
            Role::Validator => {
                let file = Box::new(node.disk.file(FileName::Signing));
                let opened = Gate::open(Signer::Local(node.key.clone()), file, self.spec.genesis_hash());
                let (gate, restored) = opened.map_err(|error| error.to_string())?;
                (Some(gate), restored)
            }
            _ => (None, None),
        };
        let settings = Settings {
            role: node.role,
            topology: if setup::is_foreign(&self.scenario, node.institution) { Topology::Mesh } else { self.scenario.topology },
            local: node.address,
            dialect: Dialect::Besu26,
            vanity: Bytes::from(vec![0; 32]),
            target_gas_limit: None,
            min_gas_price: 0,
            build_percent: 75,
            tx_gas: ipe_engine::pace::TX_GAS,
            carrying: false,
            expects_peers: true,
            checkpoint: None,
        };
        let status = StatusCell::default();
        let parts = Parts { ledger: ledger.clone(), spec: spec.clone(), pool: pool.clone(), gate, status: status.clone() };
        let local = match node.role {
            Role::Writer => {
                let (journal, found) = LocalJournal::open(node.disk.file(FileName::Local)).map_err(|error| error.to_string())?;
                for tx in found {
                    if let Ok(candidate) = Candidate::recover(tx) {
                        // What is mined by now is refused, rightly.
                        let _ = self.offer(&pool, &ledger, Arc::new(candidate), Origin::Restored);
                    }
                }
                Some(journal)
            }
            _ => None,
        };
        let (replica, judged) = (Replica::new(settings, parts, restored), admission::Judged::default());
        let (life, inbox, sessions) = (self.lives, Inbox::default(), BTreeMap::new());
        Ok(Alive { life, replica, done: None, status, ledger, pool, judged, inbox, local, sessions })
    }

    /// Takes the process away; what it had not synced is lost.
    pub(crate) fn die(&mut self, index: usize, restart_us: u64) {
        let Some(alive) = self.nodes[index].alive.take() else { return };
        self.note(5, || format!("node {index} dies"));
        for (_, end) in alive.sessions {
            self.links[end.link].session = None;
            let latency_us = self.links[end.link].latency_us;
            self.at(latency_us, Happening::Gone { to: end.other, session: end.theirs });
        }
        if !self.nodes[index].gone {
            self.at(restart_us, Happening::Start(index));
        }
    }

    // Links.

    pub(crate) fn dial_in(&mut self, link: usize, in_us: u64) {
        if !self.links[link].dialling && !self.links[link].gone {
            self.links[link].dialling = true;
            self.at(in_us, Happening::Dial(link));
        }
    }

    fn dial(&mut self, index: usize) {
        let link = &mut self.links[index];
        link.dialling = false;
        if link.session.is_some() || link.gone {
            return;
        }
        let (from, to) = (link.from, link.to);
        if link.is_blocked() || link.penalty_us > self.now_us || self.nodes[from].alive.is_none() || self.nodes[to].alive.is_none()
        {
            self.dial_in(index, REDIAL_US);
            return;
        }
        let ids = [PeerId(self.next_session + 1), PeerId(self.next_session + 2)];
        self.next_session += 2;
        let link = &mut self.links[index];
        link.session = Some(ids);
        link.forgotten = false;
        for direction in &mut link.directions {
            direction.held.clear();
            direction.retransmission = None;
            direction.last_us = 0;
        }
        let mut infos = [self.info(to, ids[0], false), self.info(from, ids[1], true)];
        let foreign = [from, to].map(|node| setup::is_foreign(&self.scenario, self.nodes[node].institution));
        // Only whose boot carries it knows a session for a carried one.
        infos[0].carried = !foreign[0] && foreign[1];
        for (side, (me, info)) in [from, to].into_iter().zip(infos).enumerate() {
            let end = End { link: index, other: if side == 0 { to } else { from }, theirs: ids[1 - side], side };
            if let Some(alive) = &mut self.nodes[me].alive {
                alive.sessions.insert(ids[side], end);
            }
            let name = self.nodes[end.other].name.clone();
            self.input(me, 6, &ids[side].0.to_be_bytes(), Input::PeerConnected(info), || format!("session with {name}"));
        }
    }

    fn info(&self, of: usize, id: PeerId, inbound: bool) -> PeerInfo {
        let node = &self.nodes[of];
        let head = node.alive.as_ref().map(|alive| alive.ledger.head());
        let claims = |number| node.villain.as_ref().map_or(number, |villain| villain.claims(number));
        let status = PeerStatus {
            head: head.as_ref().map_or(B256::ZERO, |head| head.hash),
            height: head.map(|head| claims(head.number)),
            total_difficulty: None,
        };
        let (node_id, address) = (node.key.node_id(), node.address);
        PeerInfo {
            id,
            node: node_id,
            address,
            role: Some(node.role),
            eth: EthVersion::V69,
            istanbul: true,
            inbound,
            carried: false,
            status,
        }
    }

    /// Ends the session of a link at both ends.
    pub(crate) fn close(&mut self, index: usize, redial_us: u64) {
        let link = &mut self.links[index];
        let Some(ids) = link.session.take() else { return };
        let (from, to, latency_us) = (link.from, link.to, link.latency_us);
        self.at(latency_us, Happening::Gone { to: from, session: ids[0] });
        self.at(latency_us, Happening::Gone { to, session: ids[1] });
        self.dial_in(index, redial_us + latency_us);
    }

    fn deliver(&mut self, to: usize, session: PeerId, packet: Packet) {
        let Some(alive) = &mut self.nodes[to].alive else { return };
        let Some(end) = alive.sessions.get(&session).copied() else { return };
        if !alive.inbox.push(session, packet, self.now_us) {
            return self.close(end.link, REDIAL_US);
        }
        if !alive.inbox.scheduled {
            self.work(to);
        }
    }

    /// Takes the next of what waits for a node, or comes back when it has time.
    pub(crate) fn work(&mut self, index: usize) {
        let now_us = self.now_us;
        let node = &mut self.nodes[index];
        let Some(alive) = &mut node.alive else { return };
        alive.inbox.scheduled = false;
        if node.busy_us <= now_us {
            if let Some(done) = alive.done.take() {
                let text = done.to_string();
                self.input(index, 15, text.as_bytes(), Input::Done(done), || text.clone());
            } else if let Some((session, packet, arrived_us)) = alive.inbox.pop() {
                self.handle(index, session, packet, arrived_us);
            }
        }
        let node = &mut self.nodes[index];
        let Some(alive) = &mut node.alive else { return };
        if (alive.done.is_some() || !alive.inbox.is_empty()) && !alive.inbox.scheduled {
            alive.inbox.scheduled = true;
            let wait = node.busy_us.saturating_sub(now_us);
            self.at(wait, Happening::Work(index));
        }
    }

    fn handle(&mut self, to: usize, session: PeerId, packet: Packet, arrived_us: u64) {
        work::take();
        self.arrived_us = arrived_us;
        match packet {
            Packet::Istanbul(code, bytes) => {
                work::count(|done| done.decoded += bytes.len() as u64);
                if let Some(villain) = &mut self.nodes[to].villain {
                    villain.hear(code, &bytes);
                    work::take();
                }
                let told = bytes.clone();
                let text = move || format!("hears {}", describe(code, &told));
                self.input(to, code, &bytes, Input::Istanbul(session, code, bytes.clone()), text);
            }
            Packet::Eth(code, bytes) => match EthMessage::decode(EthVersion::V69, code, &bytes) {
                Ok(message) => {
                    let text = || format!("hears eth {}", brief(code, &bytes));
                    let input = self.hear(to, session, message);
                    self.input(to, code | 0x80, &bytes, input, text);
                }
                // The session ends on what does not decode, as in the real network.
                Err(_) => self.breach(to, session, "it sent an eth message that does not decode"),
            },
        }
    }

    /// What the shell makes of an eth message: transactions are judged beside the replica, as by the node's own threads.
    fn hear(&self, to: usize, session: PeerId, message: EthMessage) -> Input {
        let now_ms = (self.now_us - STEADY_BEHIND_US) / 1_000;
        match &self.nodes[to].alive {
            Some(alive) => {
                let node = alive.sessions.get(&session).map_or(NodeId::ZERO, |end| self.nodes[end.other].key.node_id());
                let from = (Payer { node, known: true }, session);
                alive.judged.input(&alive.pool, &alive.ledger, now_ms, from, message)
            }
            None => Input::Eth(session, message),
        }
    }

    fn breach(&mut self, at: usize, session: PeerId, why: &str) {
        let Some(end) = self.nodes[at].alive.as_ref().and_then(|alive| alive.sessions.get(&session).copied()) else { return };
        if self.nodes[at].is_honest() && self.nodes[end.other].is_honest() {
            let (who, whom) = (self.nodes[at].name.clone(), self.nodes[end.other].name.clone());
            self.checkers.at((self.now_us - START_US) / 1_000, self.log.steps());
            self.checkers.cut(&who, &whom, why);
        }
        self.links[end.link].penalty_us = self.now_us + PENALTY_US;
        self.close(end.link, REDIAL_US);
    }

    fn send(&mut self, from: usize, delay_us: u64, to: &[PeerId], packet: &Packet) {
        for session in to {
            let end = self.nodes[from].alive.as_ref().and_then(|alive| alive.sessions.get(session).copied());
            let Some(end) = end else { continue };
            self.transmit(end, delay_us, packet.clone());
        }
    }

    fn transmit(&mut self, end: End, delay_us: u64, packet: Packet) {
        let faults = if self.storm { self.scenario.faults } else { crate::faults::Faults::default() };
        let link = &mut self.links[end.link];
        let Some(ids) = link.session.filter(|ids| ids[1 - end.side] == end.theirs) else { return };
        let direction = &mut link.directions[end.side];
        if direction.retransmission.is_some() {
            direction.held.push_back(packet);
            if direction.held.len() > HELD_MAX {
                self.close(end.link, REDIAL_US);
            }
            return;
        }
        let lost = self.network.chance(faults.loss);
        if direction.blocked || lost {
            self.counts.add(Fault::Loss, u64::from(!direction.blocked));
            direction.held.push_back(packet);
            direction.retransmission = Some(Retransmission { at_us: self.now_us + RETRANSMIT_US, wait_us: RETRANSMIT_US });
            self.at(RETRANSMIT_US, Happening::Retransmit { link: end.link, side: end.side, session: ids[0] });
            return;
        }
        let mut delay = delay_us + link.latency_us;
        if faults.delay_us > 0 && self.network.chance(300) {
            delay += self.network.below(faults.delay_us);
            self.counts.count(Fault::Delay);
        }
        let copies = if self.network.chance(faults.duplication) { 2 } else { 1 };
        for copy in 0..copies {
            let reordered = self.network.chance(faults.reordering);
            let mut arrives = self.now_us + delay + copy * 1_000;
            if reordered {
                self.counts.count(Fault::Reordering);
                arrives += self.network.below(200_000);
            } else {
                arrives = arrives.max(direction.last_us);
                direction.last_us = arrives;
            }
            if copy > 0 {
                self.counts.count(Fault::Duplication);
            }
            let happening = Happening::Deliver { to: end.other, session: end.theirs, packet: packet.clone() };
            self.sequence += 1;
            self.queue.push(Reverse(Queued(arrives, self.sequence, happening)));
        }
    }

    /// Tries once more to get a lost packet through, and with it all that waits behind it.
    fn retransmit(&mut self, index: usize, side: usize, session: PeerId) {
        let link = &mut self.links[index];
        let Some(ids) = link.session.filter(|ids| ids[0] == session) else { return };
        let other = if side == 0 { link.to } else { link.from };
        let direction = &mut link.directions[side];
        let Some(tried) = direction.retransmission.take() else { return };
        let lost = self.storm && self.scenario.faults.loss > 0 && self.network.chance(LOST_AGAIN);
        if direction.blocked || lost {
            self.counts.add(Fault::Loss, u64::from(!direction.blocked));
            let wait_us = 2 * tried.wait_us;
            if wait_us > RETRANSMIT_MAX_US {
                return self.close(index, REDIAL_US);
            }
            direction.retransmission = Some(Retransmission { at_us: self.now_us + wait_us, wait_us });
            return self.at(wait_us, Happening::Retransmit { link: index, side, session });
        }
        for packet in std::mem::take(&mut direction.held) {
            self.transmit(End { link: index, other, theirs: ids[1 - side], side }, 0, packet);
        }
    }

    pub(crate) fn session_patience(&mut self, index: usize) {
        let epoch = self.links[index].epoch;
        self.at(SESSION_PATIENCE_US, Happening::Mend(crate::nemesis::Mend::Hangup { link: index, epoch }));
    }

    // Inputs and outputs.

    pub(crate) fn input(&mut self, index: usize, code: u8, data: &[u8], input: Input, what: impl FnOnce() -> String) {
        let now_us = self.now_us;
        let node = &mut self.nodes[index];
        let Some(alive) = &mut node.alive else { return };
        self.log.event(now_us - START_US, Some((index, &node.name)), code, data, what);
        let disk = node.disk.clone();
        disk.spent_us(true);
        let from = match &input {
            Input::Istanbul(session, ..) | Input::Eth(session, _) | Input::Heard(session, _) => {
                alive.sessions.get(session).map(|end| end.other)
            }
            _ => None,
        };
        let consensus = match &input {
            Input::Istanbul(_, code, bytes) => Some((*code, bytes.clone())),
            _ => None,
        };
        let skew_us = node.skew_us;
        let (worked, leap) = (Cell::new(node.slow_us), Cell::new(0i64));
        let jump = Cell::new(node.jump.take());
        let slow_us = node.slow_us;
        // What was done before the replica got the input, such as decoding it, is counted too.
        let done_ns = Cell::new(cost::INPUT_NS + cost::nanos(&work::take()));
        let spent = || {
            let done = work::take();
            done_ns.set(done_ns.get() + cost::nanos(&done));
            // A slow processor takes as long as `slow_us` for each input, and for each plain transaction's worth of gas.
            worked.set(worked.get() + done.gas.saturating_mul(slow_us) / 21_000);
            worked.get() + done_ns.get() / 1_000 + disk.spent_us(false)
        };
        let look = || {
            match jump.take() {
                Some((0, by)) => leap.set(by),
                Some((looks, by)) => jump.set(Some((looks - 1, by))),
                None => {}
            }
            now_us + spent()
        };
        let clock = Clock { steady: &|| look() - STEADY_BEHIND_US, wall: &|| look().saturating_add_signed(skew_us + leap.get()) };
        let mut outputs = Vec::new();
        let (checkers, clients, honest) = (&mut self.checkers, &mut self.clients, node.villain.is_none());
        let (boot, storm, arrived_us) = (node.role == Role::Boot, self.storm, self.arrived_us);
        checkers.at((now_us - START_US) / 1_000, self.log.steps());
        let who = Who { index, name: &node.name, address: node.address, disk: &node.disk };
        let ledger = alive.ledger.clone();
        alive.replica.handle(clock, input, &mut |output| {
            // What a dead process would have said is never said.
            if disk.crashed() {
                return;
            }
            let after_us = spent();
            // Looked at in this very moment: a journal written a moment later would be too late.
            match &output {
                Output::Istanbul(_, code, bytes) if honest => {
                    checkers.sent(&who, *code, bytes);
                    if let Some((_, heard)) = &consensus
                        && std::ptr::eq(heard.as_ptr(), bytes.as_ptr())
                    {
                        checkers.relayed(boot, slow_us == 0 && !storm, now_us + after_us - arrived_us);
                    }
                }
                Output::Imported(imported, _) if honest => checkers.imported(&who, imported, &ledger, clients),
                _ => {}
            }
            outputs.push((after_us, output));
            // What checkers do costs the node nothing.
            work::take();
        });
        let took = spent();
        node.jump = jump.take();
        node.skew_us += leap.get();
        node.busy_us = node.busy_us.max(now_us) + took;
        if let Some(alive) = &mut node.alive {
            alive.inbox.charge(took);
        }
        self.attribute(index, from, consensus, took);
        let node = &mut self.nodes[index];
        let (refused, slowed) = disk.take_counts();
        node.complains |= refused > 0;
        self.counts.add(Fault::DiskFull, refused);
        self.counts.add(Fault::SlowDisk, slowed);
        self.counts.add(Fault::SlowExecution, u64::from(slow_us > 0));
        self.counts.add(Fault::Jump, u64::from(leap.get() != 0));
        for (after_us, output) in outputs {
            match output {
                Output::Work(job) => self.run_job(index, from, after_us, *job),
                output => self.output(index, after_us, output),
            }
        }
        if disk.crashed() {
            let pause = self.nemesis.between(200_000, 8_000_000);
            self.die(index, if self.storm { pause } else { 100_000 });
        }
    }

    /// Notes what a node's time went into: the peer that an input came from, and who signed it.
    fn attribute(&mut self, index: usize, from: Option<usize>, consensus: Option<(u8, Bytes)>, took_us: u64) {
        let Some(peer) = from.map(|from| self.nodes[from].address) else { return };
        let spent = &mut self.nodes[index].spent_us;
        *spent.entry(peer).or_default() += took_us;
        // Whoever signed it is looked for where that might matter.
        if took_us >= NOTED_US
            && let Some((code, bytes)) = consensus
            && let Ok(message) = ipe_types::Message::decode(code, &bytes)
            && message.author() != peer
        {
            *self.nodes[index].spent_us.entry(message.author()).or_default() += took_us;
        }
        work::take();
    }

    fn output(&mut self, from: usize, after_us: u64, output: Output) {
        match output {
            Output::Eth(to, message) => self.send_eth(from, after_us, to, (*message).clone()),
            Output::Transactions(to, candidates) => {
                let transactions = candidates.iter().map(|candidate| candidate.tx.clone()).collect();
                self.send_eth(from, after_us, to, EthMessage::Transactions(transactions));
            }
            Output::NewBlock(to, block, total_difficulty) => {
                self.send_eth(from, after_us, to, EthMessage::NewBlock { block: Box::new((*block).clone()), total_difficulty });
            }
            Output::Istanbul(to, code, bytes) => self.send_consensus(from, after_us, to, code, bytes),
            Output::Disconnect(session, reason, why) => {
                let text = why.clone();
                self.log.event(self.now_us - START_US, Some((from, &self.nodes[from].name)), 7, why.as_bytes(), move || {
                    format!("cuts a peer: {text}")
                });
                if reason == ipe_engine::replica::BREACH_OF_PROTOCOL {
                    self.breach(from, session, &why);
                } else if let Some(end) = self.nodes[from].alive.as_ref().and_then(|alive| alive.sessions.get(&session).copied()) {
                    self.close(end.link, REDIAL_US);
                }
            }
            Output::Log(level, text) => {
                let told = text.clone();
                self.log.event(self.now_us - START_US, Some((from, &self.nodes[from].name)), 8, text.as_bytes(), move || {
                    format!("{level:?} {told}")
                });
                let node = &self.nodes[from];
                // Whose journal rots says that it abstains.
                let abstains = self.scenario.faults.rot > 0 && text.starts_with("this validator abstains");
                if level == Level::Error && node.is_honest() && !node.complains && !node.disk.crashed() && !abstains {
                    let what = format!("{} reports an error: {text}", node.name);
                    self.fault("errors", what);
                }
            }
            Output::Imported(imported, stages) => {
                let number = imported.number();
                let node = &self.nodes[from];
                let (round, count) = (stages.round, imported.block.body.transactions.len());
                self.log.event(self.now_us - START_US, Some((from, &node.name)), 9, imported.hash.as_slice(), || {
                    format!(
                        "block {number} {} is final: round {round}, {count} transactions{}",
                        imported.hash,
                        if stages.synced { ", by sync" } else { "" }
                    )
                });
            }
            Output::Notify(_) | Output::Work(_) => {}
        }
    }

    fn send_eth(&mut self, from: usize, after_us: u64, to: Vec<PeerId>, message: EthMessage) {
        if self.nodes[from].villain.is_some() {
            let said = self.with_villain(from, |villain, scene| villain.tell(scene, to, message));
            return self.say(from, after_us, said);
        }
        let (code, bytes) = message.encode(EthVersion::V69);
        self.log.event(self.now_us - START_US, Some((from, &self.nodes[from].name)), 14, &bytes, || {
            let to: Vec<String> = to.iter().map(|peer| peer.0.to_string()).collect();
            format!("sends eth {} to sessions {}", brief(code, &bytes), to.join(", "))
        });
        self.send(from, after_us, &to, &Packet::Eth(code, bytes));
    }

    fn send_consensus(&mut self, from: usize, after_us: u64, to: Vec<PeerId>, code: u8, bytes: Bytes) {
        let node = &self.nodes[from];
        let (told, count) = (bytes.clone(), to.len());
        self.log.event(self.now_us - START_US, Some((from, &node.name)), 10, &bytes, move || {
            format!("sends {} to {count}", describe(code, &told))
        });
        if node.villain.is_some() {
            let said = self.with_villain(from, |villain, scene| villain.speak(scene, to, code, bytes));
            return self.say(from, after_us, said);
        }
        self.send(from, after_us, &to, &Packet::Istanbul(code, bytes));
    }

    // Villains.

    fn with_villain(&mut self, index: usize, f: impl FnOnce(&mut Villain, &Scene<'_>) -> Vec<Said>) -> Vec<Said> {
        let now_us = self.now_us;
        let node = &mut self.nodes[index];
        let (Some(villain), Some(alive)) = (&mut node.villain, &node.alive) else { return Vec::new() };
        let scene = Scene { now_us, peers: alive.sessions.keys().copied().collect(), ledger: &alive.ledger };
        f(villain, &scene)
    }

    fn say(&mut self, from: usize, after_us: u64, said: Vec<Said>) {
        for Said { to, wire, foul } in said {
            self.counts.add(Fault::Villainy, u64::from(foul));
            let packet = match wire {
                Wire::Consensus(code, bytes) => Packet::Istanbul(code, bytes),
                Wire::Bytes(code, bytes) => Packet::Eth(code, bytes),
                Wire::Eth(message) => {
                    let (code, bytes) = message.encode(EthVersion::V69);
                    Packet::Eth(code, bytes)
                }
            };
            self.send(from, after_us, &to, &packet);
        }
    }

    fn act(&mut self, index: usize) {
        let Some(pause) = self.nodes[index].villain.as_ref().map(|villain| villain.kind.pause_us()) else { return };
        if self.nodes[index].alive.is_none() {
            return;
        }
        let said = self.with_villain(index, Villain::act);
        self.say(index, 0, said);
        self.at(pause, Happening::Act(index));
    }

    // Clients.

    fn offer(&self, pool: &Mutex<Pool>, ledger: &Ledger, candidate: Arc<Candidate>, origin: Origin) -> Result<(), String> {
        let now_ms = (self.now_us - STEADY_BEHIND_US) / 1_000;
        admission::offer(pool, ledger, now_ms, candidate, origin).map(drop).map_err(|refusal| refusal.to_string())
    }

    fn submit(&mut self, number: usize) {
        let mean = self.scenario.load_ms * 1_000;
        let pause = self.network.between(mean / 2, mean * 3 / 2);
        if self.quiet {
            return;
        }
        self.at(pause, Happening::Submit(number));
        let Some(index) = self.writers.get(number).copied() else { return };
        let Some(alive) = &self.nodes[index].alive else { return };
        let Some(prepared) = self.clients.prepare(number, index) else { return };
        let candidate = prepared.sent.candidate.clone();
        let hash = candidate.hash;
        if self.offer(&alive.pool, &alive.ledger, candidate, Origin::Local).is_ok() {
            self.clients.acknowledged(number, self.checkers.chain.height(), prepared);
            self.input(index, 11, hash.as_slice(), Input::PoolChanged, || format!("acknowledges transaction {hash}"));
        }
    }

    /// Clients look whether their writers still know what they acknowledged, and send it again where they do not.
    fn recheck(&mut self) {
        self.at(RECHECK_US, Happening::Recheck);
        for index in self.writers.clone() {
            let waiting = self.clients.waiting(index);
            let Some(alive) = &self.nodes[index].alive else { continue };
            let (pool, ledger) = (alive.pool.clone(), alive.ledger.clone());
            let mut again = 0u64;
            for candidate in waiting {
                let known = pool.lock().contains(&candidate.hash) || matches!(ledger.position_of(&candidate.hash), Ok(Some(_)));
                if !known && self.offer(&pool, &ledger, candidate, Origin::Local).is_ok() {
                    again += 1;
                }
            }
            if again > 0 {
                self.input(index, 12, &again.to_be_bytes(), Input::PoolChanged, || format!("takes {again} transactions again"));
            }
        }
    }

    fn save(&mut self, index: usize) {
        let Some(alive) = &mut self.nodes[index].alive else { return };
        let Some(local) = &mut alive.local else { return };
        let fresh = alive.pool.lock().take_unsaved();
        // What could not be written goes out with the rewriting.
        let _ = local.save(&fresh);
        if alive.pool.lock().take_local_dropped() || local.wants_rewrite() {
            let waiting = alive.pool.lock().local_waiting();
            let _ = local.rewrite(&waiting);
        }
        self.at(SAVE_US, Happening::Save(index));
        if self.nodes[index].disk.crashed() {
            let pause = self.nemesis.between(200_000, 8_000_000);
            self.die(index, if self.storm { pause } else { 100_000 });
        }
    }

    // Looking.

    fn inspect(&mut self) {
        self.at(INSPECT_US, Happening::Inspect);
        self.checkers.at((self.now_us - START_US) / 1_000, self.log.steps());
        let validators = self.scenario.validators + self.scenario.standby;
        let slowed = self.scenario.faults.slow_disk > 0 || self.scenario.faults.slow_execution > 0;
        // Whom only villains tell of the network can be kept in the dark.
        let joined = if self.storm { Vec::new() } else { self.joined() };
        for (index, node) in self.nodes.iter_mut().enumerate().filter(|(_, node)| node.is_honest()) {
            let spent_us = std::mem::take(&mut node.spent_us);
            let Some(alive) = &node.alive else { continue };
            self.checkers.holds(&node.name, &alive.replica.holdings(), validators);
            let (head, status) = (alive.ledger.head().number, alive.status.get());
            let spent_us = if slowed { BTreeMap::new() } else { spent_us };
            self.checkers.looked_at(index, &node.name, INSPECT_US, &spent_us, &status, head, joined.contains(&index));
        }
    }

    fn settle(&mut self) {
        // Who knows the network only through villains may be kept from it: an institution all of whose boots are hostile is
        // faulty itself.
        let joined = self.joined();
        let heads: Vec<(String, u64)> =
            joined.into_iter().map(|index| &self.nodes[index]).map(|node| (node.name.clone(), node.head().unwrap_or(0))).collect();
        self.checkers.at((self.now_us - START_US) / 1_000, self.log.steps());
        // Where messages take longer than blocks, somebody is always behind.
        if self.scenario.delay_ms == 0 {
            self.checkers.settled(&heads);
        }
    }

    fn finish(mut self) -> Report {
        self.checkers.at((self.now_us - START_US) / 1_000, self.log.steps());
        // What a violation cut short owes nothing more.
        let whole = self.checkers.violations.is_empty();
        for node in self.nodes.iter().filter(|node| whole && node.is_honest()) {
            if let Some(alive) = &node.alive {
                self.checkers.ended(&node.name, &alive.ledger, &self.clients);
            }
        }
        if whole {
            let now_ms = self.now_ms();
            self.checkers.paced(&self.scenario, now_ms);
        }
        if whole {
            let villains: Vec<usize> = self.nodes.iter().filter(|node| !node.is_honest()).map(|node| node.institution).collect();
            let nodes = &self.nodes;
            self.checkers.waited(&self.clients, |writer| nodes.get(writer).is_none_or(|node| villains.contains(&node.institution)));
        }
        if whole {
            // Whoever knows the network only through villains, and has cut them, has nobody to hand a transaction to.
            let heard: Vec<usize> = (0..self.nodes.len()).filter(|index| self.has_honest_link(*index)).collect();
            self.checkers.nothing_waits(&self.clients, &heard);
        }
        let included = self.clients.sent.values().filter(|sent| sent.included.is_some()).count() as u64;
        Report {
            scenario: self.scenario.name,
            seed: self.seed,
            hash: self.log.hash().to_string(),
            events: self.log.steps(),
            simulated_ms: (self.now_us - START_US) / 1_000,
            blocks: self.checkers.chain.height(),
            acknowledged: self.clients.sent.len() as u64,
            included,
            recovery_ms: self.checkers.liveness.longest_ms,
            relayed: self.checkers.relaying.p99_us(),
            writes: self.nodes.iter().map(|node| node.disk.writes()).collect(),
            faults: self.counts,
            violations: self.checkers.violations,
        }
    }

    fn has_honest_link(&self, index: usize) -> bool {
        self.nodes[index].is_honest()
            && self.links.iter().any(|link| {
                let other = if link.from == index { link.to } else { link.from };
                (link.from == index || link.to == index) && self.nodes[other].is_honest() && !self.nodes[other].gone
            })
    }

    /// The largest set of honest nodes that hear each other over links between honest nodes.
    fn joined(&self) -> Vec<usize> {
        let owes = |index: usize| self.nodes[index].is_honest() && !self.nodes[index].gone;
        let mut left: Vec<usize> = (0..self.nodes.len()).filter(|index| owes(*index)).collect();
        let mut largest = Vec::new();
        while let Some(first) = left.pop() {
            let mut reached = vec![first];
            let mut at = 0;
            while let Some(&node) = reached.get(at) {
                let beside = |link: &Link| if link.from == node { Some(link.to) } else { (link.to == node).then_some(link.from) };
                let others: Vec<usize> = self.links.iter().filter(|link| !link.gone).filter_map(beside).collect();
                left.retain(|index| {
                    let is_new = others.contains(index);
                    if is_new {
                        reached.push(*index);
                    }
                    !is_new
                });
                at += 1;
            }
            if reached.len() > largest.len() {
                largest = reached;
            }
        }
        largest.sort_unstable();
        largest
    }

    pub(crate) fn address_of(&self, index: usize) -> Address {
        self.nodes[index].address
    }

    pub(crate) fn now_ms(&self) -> u64 {
        (self.now_us - START_US) / 1_000
    }
}

fn describe(code: u8, bytes: &[u8]) -> String {
    let Some(kind) = ipe_types::Kind::from_code(code) else { return format!("consensus message {code:#04x}") };
    match ipe_types::message::peek(kind, bytes) {
        Ok((height, round)) => format!("{kind:?} for height {height} round {round} of {} bytes", bytes.len()),
        Err(_) => format!("{kind:?} that does not decode"),
    }
}

fn brief(code: u8, bytes: &[u8]) -> String {
    let hash = alloy_primitives::hex::encode(ipe_types::keccak256(bytes));
    format!("{} of {} bytes {hash:.8}", ipe_types::eth::code_name(code), bytes.len())
}
