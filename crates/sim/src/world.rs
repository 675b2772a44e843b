//! The world: one clock, one queue of what will happen, and the nodes that it happens to.

mod clients;
mod inputs;
mod links;
mod looking;
mod processes;
mod signers;
mod villains;

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use alloy_primitives::{B256, Bytes};
use ipe_chain::{Candidate, Ledger};
use ipe_engine::fair_queue::Payer;
use ipe_engine::pool::{LocalJournal, Origin, Pool, Rules, Settings as PoolSettings};
use ipe_engine::signing::{Gate, SignAnswer, SignRequest, Signer};
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
    /// A signer answers the process that asked.
    Signed { at: usize, life: u64, id: u64, answer: Box<SignAnswer> },
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
            signer_gone_us: 0,
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
            Happening::Signed { at, life, id, answer } => self.signed(at, life, id, answer),
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
