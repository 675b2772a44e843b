//! Replicas, links and a virtual clock. Each test file uses a part of it.

#![allow(dead_code)]

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::sync::Arc;

use alloy_consensus::{SignableTransaction, TxLegacy};
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, keccak256};
use ipe_chain::kv::MemoryStore;
use ipe_chain::{Candidate, Ledger};
use ipe_engine::fair_queue::Payer;
use ipe_engine::journal::{MemoryJournal, newborn};
use ipe_engine::pool::{Origin, Pool, Refusal, Rules, Settings as PoolSettings};
use ipe_engine::signing::{Gate, Signer};
use ipe_engine::{
    Clock, Input, Job, Level, Output, Parts, PeerId, PeerInfo, PeerStatus, Replica, Settings, Status, StatusCell, admission,
};
use ipe_types::eth::{EthMessage, EthVersion};
use ipe_types::fork::Fork;
use ipe_types::genesis::{GenesisAccount, GenesisBuilder, Permissioning};
use ipe_types::spec::ChainSpec;
use ipe_types::{Checkpoint, Dialect, NodeKey, Role, Topology, Transaction};
use parking_lot::Mutex;

pub const PERIOD_MS: u64 = 1_000;
pub const REQUEST_TIMEOUT_MS: u64 = 4_000;
/// One way over any link.
const LATENCY_US: u64 = 2_000;
const START_US: u64 = 1_800_000_000_000_000;

pub struct Node {
    pub name: String,
    pub role: Role,
    /// Its own; a validator of another implementation knows no sentry network.
    topology: Topology,
    key: NodeKey,
    store: Arc<MemoryStore>,
    journal: MemoryJournal,
    skew_ms: i64,
    /// Its own genesis file, where it differs from the network's.
    spec: Option<Arc<ChainSpec>>,
    checkpoint: Option<Checkpoint>,
    alive: Option<Alive>,
}

impl Node {
    /// From its next start on it has the network's genesis file.
    pub fn correct(&mut self) {
        self.spec = None;
    }
}

struct Alive {
    replica: Replica,
    ledger: Arc<Ledger>,
    pool: Arc<Mutex<Pool>>,
    judged: admission::Judged,
    status: StatusCell,
    sessions: BTreeMap<PeerId, (usize, PeerId)>,
}

enum Happening {
    Connect(usize, usize),
    Deliver { to: usize, session: PeerId, packet: Packet },
    Gone { to: usize, session: PeerId },
    Work(usize, Box<Job>),
    Flood,
}

#[derive(Clone)]
enum Packet {
    Eth(EthMessage),
    Istanbul(u8, Bytes),
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

pub struct World {
    pub topology: Topology,
    /// Whether boots carry.
    carrying: bool,
    pub nodes: Vec<Node>,
    spec: Arc<ChainSpec>,
    client: NodeKey,
    now_us: u64,
    sequence: u64,
    queue: BinaryHeap<Reverse<Queued>>,
    links: Vec<(usize, usize)>,
    next_session: u64,
    sent: HashMap<(usize, usize, B256), u32>,
    errors: Vec<String>,
    villain: Option<(usize, PeerId, bool)>,
    /// Sends spoiled copies of what it hears, before anybody can have the sound ones from another.
    spoiler: Option<usize>,
    spoiled: u64,
    /// Sessions of peers that claim heights and answer nothing: at whom, and with which key.
    claimants: HashMap<PeerId, (usize, usize)>,
    /// What every Status tells: the head of some time ago, as when the handshake took its time.
    pub stale_status: Option<(u64, B256)>,
    /// Genesis files of nodes that have another, by number.
    deaf: BTreeMap<usize, Arc<ChainSpec>>,
    /// How long every job waits until it is run, at once.
    pub job_us: u64,
}

/// Institutions with a validator and a boot each; validators have links to their own boot, boots to each other.
pub fn sentry(institutions: usize) -> World {
    let mut world = World::new(institutions, Topology::Sentry);
    let validators: Vec<usize> = (0..institutions).map(|index| world.add(format!("v{index}"), Role::Validator, index)).collect();
    let boots: Vec<usize> = (0..institutions).map(|index| world.add(format!("b{index}"), Role::Boot, 100 + index)).collect();
    for (validator, boot) in validators.iter().zip(&boots) {
        world.link(*validator, *boot);
    }
    for (index, a) in boots.iter().enumerate() {
        for b in &boots[index + 1..] {
            world.link(*a, *b);
        }
    }
    world
}

/// Validators with links to each other.
pub fn mesh(validators: usize) -> World {
    linked(World::new(validators, Topology::Mesh), validators)
}

/// The same on a chain whose account rules permit the client of [`World::submit`] and nobody else. Nodes of `deaf`, by number,
/// have a genesis file that says nothing of rules.
pub fn ruled(validators: usize, deaf: &[usize]) -> World {
    let mut world = World::new(validators, Topology::Mesh);
    let mut genesis = genesis(validators, &world.client);
    let client = U256::from_be_slice(world.client.address().as_slice());
    let code = Bytes::from_static(&RULES_CODE);
    genesis
        .alloc
        .insert(RULES, GenesisAccount { code, storage: [(client.into(), U256::from(1))].into(), ..GenesisAccount::default() });
    let other = spec(&genesis);
    genesis.permissioning = vec![(0, Permissioning { accounts: Some(RULES), ..Permissioning::default() })];
    world.spec = spec(&genesis);
    assert_eq!(world.spec.genesis_hash(), other.genesis_hash());
    world.deaf = deaf.iter().map(|number| (*number, other.clone())).collect();
    linked(world, validators)
}

/// Answers what is stored under the sender (the first argument); a call with two words stores the second under the first.
const RULES_CODE: [u8; 28] = [
    0x36, 0x60, 0x40, 0x14, 0x60, 0x13, 0x57, 0x60, 0x04, 0x35, 0x54, 0x60, 0x00, 0x52, 0x60, 0x20, 0x60, 0x00, 0xf3, 0x5b, 0x60,
    0x20, 0x35, 0x60, 0x00, 0x35, 0x55, 0x00,
];
const RULES: Address = Address::repeat_byte(0x88);

fn linked(mut world: World, validators: usize) -> World {
    let nodes: Vec<usize> = (0..validators).map(|index| world.add(format!("v{index}"), Role::Validator, index)).collect();
    for (index, a) in nodes.iter().enumerate() {
        for b in &nodes[index + 1..] {
            world.link(*a, *b);
        }
    }
    world
}

/// A sentry network of `ours` institutions with `foreign` validators that behave as Besu's do: they have links to each
/// other, and send consensus messages to validators only. Boots of the first `carried` institutions carry sessions
/// between their validators and each of the foreign ones.
pub fn mixed(ours: usize, foreign: usize, carried: usize) -> World {
    let mut world = World::new(ours + foreign, Topology::Sentry);
    world.carrying = true;
    let validators: Vec<usize> = (0..ours).map(|index| world.add(format!("v{index}"), Role::Validator, index)).collect();
    let boots: Vec<usize> = (0..ours).map(|index| world.add(format!("b{index}"), Role::Boot, 100 + index)).collect();
    world.topology = Topology::Mesh;
    let foreign: Vec<usize> = (ours..ours + foreign).map(|index| world.add(format!("f{index}"), Role::Validator, index)).collect();
    world.topology = Topology::Sentry;
    for (validator, boot) in validators.iter().zip(&boots) {
        world.link(*validator, *boot);
    }
    for nodes in [&boots, &foreign] {
        for (index, a) in nodes.iter().enumerate() {
            nodes[index + 1..].iter().for_each(|b| world.link(*a, *b));
        }
    }
    for validator in &validators[..carried] {
        foreign.iter().for_each(|other| world.link(*validator, *other));
    }
    world
}

fn key(number: usize) -> NodeKey {
    let mut secret = [0x11; 32];
    secret[30..].copy_from_slice(&(number as u16 + 1).to_be_bytes());
    NodeKey::from_bytes(secret).expect("in range")
}

/// The network's genesis.
fn genesis(validators: usize, client: &NodeKey) -> GenesisBuilder {
    let account = GenesisAccount { balance: U256::from(10).pow(U256::from(24)), ..GenesisAccount::default() };
    GenesisBuilder {
        chain_id: 1337,
        fork: Fork::Berlin,
        validators: (0..validators).map(|index| key(index).address()).collect(),
        validator_contract: None,
        bootnodes: Vec::new(),
        period_ms: PERIOD_MS,
        empty_period_s: 0,
        request_timeout_s: REQUEST_TIMEOUT_MS / 1_000,
        epoch_length: 30_000,
        gas_limit: 100_000_000,
        timestamp: START_US / 1_000_000 - 100,
        zero_base_fee: false,
        code_size_limit: None,
        block_reward: U256::ZERO,
        beneficiary: None,
        alloc: BTreeMap::from([(client.address(), account)]),
        permissioning: Vec::new(),
        goquorum: false,
    }
}

fn spec(genesis: &GenesisBuilder) -> Arc<ChainSpec> {
    Arc::new(ChainSpec::parse(&genesis.to_json().expect("a valid genesis")).expect("a valid genesis"))
}

impl World {
    fn new(validators: usize, topology: Topology) -> Self {
        let client = key(9_999);
        let spec = spec(&genesis(validators, &client));
        Self {
            topology,
            carrying: false,
            nodes: Vec::new(),
            spec,
            client,
            now_us: START_US,
            sequence: 0,
            queue: BinaryHeap::new(),
            links: Vec::new(),
            next_session: 0,
            sent: HashMap::new(),
            errors: Vec::new(),
            villain: None,
            spoiler: None,
            spoiled: 0,
            claimants: HashMap::new(),
            stale_status: None,
            deaf: BTreeMap::new(),
            job_us: 0,
        }
    }

    fn add(&mut self, name: String, role: Role, key_number: usize) -> usize {
        let (store, journal) = (Arc::new(MemoryStore::new()), MemoryJournal::new());
        journal.set_content(newborn(self.spec.genesis_hash(), key(key_number).address()));
        let topology = self.topology;
        let spec = self.deaf.get(&self.nodes.len()).cloned();
        self.nodes.push(Node {
            name,
            role,
            topology,
            key: key(key_number),
            store,
            journal,
            skew_ms: 0,
            spec,
            checkpoint: None,
            alive: None,
        });
        let index = self.nodes.len() - 1;
        self.start(index);
        index
    }

    pub fn add_backup_boot(&mut self, institution: usize) {
        let backup = self.add(format!("c{institution}"), Role::Boot, 200 + institution);
        self.link(self.index(&format!("v{institution}")), backup);
        let boots: Vec<usize> = (0..self.nodes.len()).filter(|&i| self.nodes[i].role == Role::Boot && i != backup).collect();
        boots.into_iter().for_each(|boot| self.link(backup, boot));
    }

    pub fn add_writer(&mut self, institution: usize) {
        let writer = self.add(format!("w{institution}"), Role::Writer, 300 + institution);
        self.link(writer, self.index(&format!("b{institution}")));
    }

    fn link(&mut self, from: usize, to: usize) {
        self.links.push((from, to));
        self.at(LATENCY_US, Happening::Connect(from, to));
    }

    fn start(&mut self, index: usize) {
        let others = self.nodes.len() > 1;
        let node = &mut self.nodes[index];
        let spec = node.spec.clone().unwrap_or_else(|| self.spec.clone());
        let ledger = Arc::new(Ledger::open(node.store.clone(), spec.clone()).expect("the ledger opens"));
        let rules = Rules {
            chain_id: 1337,
            fork: Fork::Berlin,
            block_gas_limit: 0,
            tx_gas_cap: None,
            base_fee: None,
            min_gas_price: 0,
            fee_cap: None,
            max_tx_bytes: 128 * 1024,
            goquorum: None,
            period_ms: PERIOD_MS,
        };
        let rules = admission::rules(&ledger, &spec, &rules);
        let pool = Arc::new(Mutex::new(Pool::new(PoolSettings::default(), rules, ledger.head().number)));
        let (gate, restored) = match node.role {
            Role::Validator => {
                let file = Box::new(node.journal.clone());
                let opened = Gate::open(Signer::Local(node.key.clone()), file, self.spec.genesis_hash());
                let (gate, restored) = opened.expect("the journal opens");
                (Some(gate), restored)
            }
            _ => (None, None),
        };
        let settings = Settings {
            role: node.role,
            topology: node.topology,
            local: node.key.address(),
            dialect: Dialect::Besu26,
            vanity: Bytes::from(vec![0; 32]),
            target_gas_limit: None,
            min_gas_price: 0,
            build_percent: 75,
            tx_gas: ipe_engine::pace::TX_GAS,
            carrying: node.role == Role::Boot && self.carrying,
            expects_peers: others,
            checkpoint: node.checkpoint,
        };
        let status = StatusCell::default();
        let parts = Parts { ledger: ledger.clone(), spec, pool: pool.clone(), gate, status: status.clone() };
        let replica = Replica::new(settings, parts, restored);
        node.alive = Some(Alive { replica, ledger, pool, judged: admission::Judged::default(), status, sessions: BTreeMap::new() });
        self.input(index, Input::Tick);
    }

    pub fn kill(&mut self, name: &str) {
        let index = self.index(name);
        let Some(alive) = self.nodes[index].alive.take() else { return };
        for (other, session) in alive.sessions.values() {
            self.at(LATENCY_US, Happening::Gone { to: *other, session: *session });
        }
    }

    /// Takes the chain away; the journal stays, as it does with every wipe.
    pub fn wipe(&mut self, name: &str) {
        let index = self.index(name);
        assert!(self.nodes[index].alive.is_none(), "only a stopped node is wiped");
        self.nodes[index].store = Arc::new(MemoryStore::new());
    }

    /// The signing journal of a stopped node.
    pub fn journal(&mut self, name: &str) -> &mut MemoryJournal {
        let index = self.index(name);
        assert!(self.nodes[index].alive.is_none(), "only the journal of a stopped node is touched");
        &mut self.nodes[index].journal
    }

    pub fn revive(&mut self, name: &str) {
        let index = self.index(name);
        self.start(index);
        let links: Vec<(usize, usize)> = self.links.iter().copied().filter(|(a, b)| *a == index || *b == index).collect();
        links.into_iter().for_each(|(a, b)| self.at(20 * LATENCY_US, Happening::Connect(a, b)));
    }

    pub fn skew(&mut self, name: &str, skew_ms: i64) {
        let index = self.index(name);
        self.nodes[index].skew_ms = skew_ms;
    }

    /// A node outside of every list that has got a session with `name` and sends garbage as fast as it can.
    pub fn add_villain(&mut self, name: &str) {
        let target = self.index(name);
        self.next_session += 1;
        let session = PeerId(self.next_session);
        self.villain = Some((target, session, false));
        let head = self.spec.genesis_hash();
        let info = self.info(session, &key(7_777), None, head, 0, true);
        self.input(target, Input::PeerConnected(info));
        self.at(1_000, Happening::Flood);
    }

    /// From now on the node sends, of each Proposal and RoundChange that it hears, many copies with a foreign Prepare in
    /// what justifies it, faster than anybody else passes the sound one on.
    pub fn spoil(&mut self, name: &str) {
        self.spoiler = Some(self.index(name));
    }

    fn spoil_copies(&mut self, spoiler: usize, code: u8, bytes: &Bytes) {
        let Ok(message) = ipe_types::Message::decode(code, bytes) else { return };
        let sessions: Vec<_> = self.nodes[spoiler].alive.iter().flat_map(|alive| alive.sessions.values().copied()).collect();
        for _ in 0..150 {
            self.spoiled += 1;
            let digest = keccak256(self.spoiled.to_be_bytes());
            let payload = ipe_types::message::PreparePayload { height: message.height(), round: 0, digest };
            let foreign = ipe_types::message::Signed::sign_with(payload, |hash| key(5_000).sign(hash)).expect("signs");
            let mut copy = message.clone();
            match &mut copy {
                ipe_types::Message::Proposal(proposal) => proposal.prepares.push(foreign),
                ipe_types::Message::RoundChange(change) => change.prepares.push(foreign),
                _ => return,
            }
            let packet = Packet::Istanbul(code, copy.encode());
            for (to, session) in &sessions {
                self.at(100, Happening::Deliver { to: *to, session: *session, packet: packet.clone() });
            }
        }
    }

    /// A new peer of `name` brings what the key of `name` signed for `height` on another chain: a proposal on a block that nobody
    /// here has, the votes for it, and a wish for the next round.
    pub fn hears_its_words_of_another_chain(&mut self, name: &str, height: u64) {
        use ipe_types::message::{
            CommitPayload, PreparePayload, Proposal, ProposalPayload, RoundChange, RoundChangePayload, Signed,
        };
        let index = self.index(name);
        let key = self.nodes[index].key.clone();
        let known = self.nodes[index].alive.as_ref().and_then(|alive| alive.ledger.header(self.height_of(name)).ok()).flatten();
        let mut header = known.expect("a header of its own head").as_ref().clone();
        (header.parent_hash, header.number, header.beneficiary) = (B256::repeat_byte(0xaa), height, key.address());
        header.extra_data = ipe_types::header::with_round_and_seals(&header, 0, Vec::new()).expect("sound").extra_data;
        let digest = ipe_types::header::block_hash(&header).expect("sound");
        let block = Arc::new(ipe_types::Block { header, ..Default::default() });
        let sign = |hash| key.sign(hash);
        let signed = Signed::sign_with(ProposalPayload { height, round: 0, block, access_list: None }, sign).expect("signs");
        let change = RoundChangePayload { height, round: 1, prepared: None };
        let words = [
            ipe_types::Message::Proposal(Box::new(Proposal { signed, round_changes: Vec::new(), prepares: Vec::new() })),
            ipe_types::Message::Prepare(Signed::sign_with(PreparePayload { height, round: 0, digest }, sign).expect("signs")),
            ipe_types::Message::Commit(
                Signed::sign_with(CommitPayload { height, round: 0, digest, seal: key.sign(digest) }, sign).expect("signs"),
            ),
            ipe_types::Message::RoundChange(Box::new(RoundChange {
                signed: Signed::sign_with(change, sign).expect("signs"),
                block: None,
                access_list: None,
                prepares: Vec::new(),
            })),
        ];
        let role = if self.topology == Topology::Mesh { Role::Validator } else { Role::Boot };
        let number = usize::try_from(self.next_session).expect("few sessions");
        let session = self.add_claimant(name, number, Some(role), 0);
        for word in words {
            self.input(index, Input::Istanbul(session, word.kind().code(), word.encode()));
        }
    }

    /// A peer of that role that claims to have block `height`, and answers nothing.
    pub fn add_claimant(&mut self, name: &str, number: usize, role: Option<Role>, height: u64) -> PeerId {
        let target = self.index(name);
        self.next_session += 1;
        let session = PeerId(self.next_session);
        self.claimants.insert(session, (target, number));
        let head = self.spec.genesis_hash();
        let info = self.info(session, &key(8_000 + number), role, head, height, true);
        self.input(target, Input::PeerConnected(info));
        session
    }

    /// What a claimant says besides.
    pub fn say(&mut self, session: PeerId, message: EthMessage) {
        let (target, _) = self.claimants[&session];
        self.input(target, Input::Eth(session, message));
    }

    /// A writer of the first institution, with another genesis file than the network's.
    pub fn add_writer_with(&mut self, change: impl FnOnce(&mut GenesisBuilder)) -> String {
        let validators = self.nodes.iter().filter(|node| node.role == Role::Validator).count();
        let mut own = genesis(validators, &self.client);
        change(&mut own);
        let name = format!("x{}", self.nodes.len());
        let index = self.add(name.clone(), Role::Writer, 400 + self.nodes.len());
        self.kill(&name);
        self.nodes[index].spec = Some(spec(&own));
        self.start(index);
        self.link(index, self.index("b0"));
        name
    }

    /// Before it is started again.
    pub fn pin(&mut self, name: &str, checkpoint: Checkpoint) {
        let index = self.index(name);
        self.nodes[index].checkpoint = Some(checkpoint);
    }

    pub fn now_ms(&self) -> u64 {
        (self.now_us - START_US) / 1_000
    }

    /// A stranger connects to `name`, claims this height and says this.
    pub fn stranger_says(&mut self, name: &str, height: u64, message: EthMessage) {
        let target = self.index(name);
        self.next_session += 1;
        let session = PeerId(self.next_session);
        let head = self.spec.genesis_hash();
        let info = self.info(session, &key(7_778), None, head, height, true);
        self.input(target, Input::PeerConnected(info));
        self.input(target, Input::Eth(session, message));
    }

    pub fn distrust(&mut self, name: &str, proposal: B256) {
        let index = self.index(name);
        self.nodes[index].alive.as_mut().expect("alive").replica.distrust([proposal]);
    }

    pub fn villain_was_cut(&self) -> bool {
        self.villain.is_some_and(|(_, _, cut)| cut)
    }

    pub fn submit(&mut self, name: &str, nonce: u64) -> B256 {
        let client = self.client.clone();
        self.submit_as(name, &client, nonce).expect("a sound transaction, and room")
    }

    /// A transaction that moves nothing, of an account that has nothing.
    pub fn submit_of_a_stranger(&mut self, name: &str, nonce: u64) -> Result<B256, Refusal> {
        self.submit_as(name, &key(9_998), nonce)
    }

    fn submit_as(&mut self, name: &str, from: &NodeKey, nonce: u64) -> Result<B256, Refusal> {
        let to = TxKind::Call(Address::repeat_byte(0x77));
        let value = U256::from(u64::from(from.address() == self.client.address()));
        let tx = TxLegacy { chain_id: Some(1337), nonce, gas_price: 0, gas_limit: 21_000, to, value, input: Bytes::new() };
        let signature = from.sign(tx.signature_hash());
        let bytes = signature.as_slice();
        let parity = bytes[64] == 1;
        let signature =
            alloy_primitives::Signature::new(U256::from_be_slice(&bytes[..32]), U256::from_be_slice(&bytes[32..64]), parity);
        let candidate = Arc::new(Candidate::recover(Transaction::from(tx.into_signed(signature))).expect("signed"));
        let hash = candidate.hash;
        let index = self.index(name);
        let now_ms = self.now_us / 1_000;
        let alive = self.nodes[index].alive.as_mut().expect("alive");
        admission::offer(&alive.pool, &alive.ledger, now_ms, candidate, Origin::Local)?;
        self.input(index, Input::PoolChanged);
        Ok(hash)
    }

    pub fn run_for(&mut self, ms: u64) {
        let end = self.now_us + ms * 1_000;
        loop {
            let wake = (0..self.nodes.len()).filter_map(|index| Some((self.wake_of(index)?, index))).min();
            let queued = self.queue.peek().map(|Reverse(queued)| queued.0);
            let next = wake.map(|(at, _)| at).into_iter().chain(queued).min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.now_us = self.now_us.max(next);
            if queued == Some(next) {
                if let Some(Reverse(Queued(_, _, happening))) = self.queue.pop() {
                    self.happen(happening);
                }
                continue;
            }
            if let Some((_, index)) = wake {
                self.input(index, Input::Tick);
                if self.wake_of(index).is_some_and(|at| at <= self.now_us) {
                    // Whoever is never satisfied must not stop the world's clock.
                    self.now_us += 100;
                }
            }
        }
        self.now_us = end;
    }

    fn wake_of(&self, index: usize) -> Option<u64> {
        let node = &self.nodes[index];
        let at_ms = node.alive.as_ref()?.replica.wake_at()?;
        Some(at_ms.saturating_mul(1_000))
    }

    fn at(&mut self, in_us: u64, happening: Happening) {
        self.sequence += 1;
        self.queue.push(Reverse(Queued(self.now_us + in_us, self.sequence, happening)));
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Connect(a, b) => self.connect(a, b),
            Happening::Work(index, job) if self.nodes[index].alive.is_some() => {
                let clock_us = self.wall_us(index);
                let now_us = self.now_us;
                let done = job.run(Clock { steady: &|| now_us, wall: &|| clock_us });
                self.input(index, Input::Done(done));
            }
            Happening::Work(..) => {}
            Happening::Gone { to, session } => {
                let known = self.nodes[to].alive.as_mut().is_some_and(|alive| alive.sessions.remove(&session).is_some());
                if known {
                    self.input(to, Input::PeerGone(session));
                }
            }
            Happening::Deliver { to, session, packet } => {
                if !self.nodes[to].alive.as_ref().is_some_and(|alive| alive.sessions.contains_key(&session)) {
                    return;
                }
                if self.spoiler == Some(to)
                    && let Packet::Istanbul(code, bytes) = &packet
                {
                    self.spoil_copies(to, *code, &bytes.clone());
                }
                let input = match packet {
                    Packet::Eth(message) => match &self.nodes[to].alive {
                        Some(alive) => {
                            // Sessions of those who are no nodes here are a stranger's.
                            let bringer = alive.sessions.get(&session).map(|(other, _)| &self.nodes[*other].key);
                            let payer = Payer { node: bringer.unwrap_or(&key(7_777)).node_id(), known: bringer.is_some() };
                            alive.judged.input(&alive.pool, &alive.ledger, self.now_us / 1_000, (payer, session), message)
                        }
                        None => Input::Eth(session, message),
                    },
                    Packet::Istanbul(code, bytes) => Input::Istanbul(session, code, bytes),
                };
                self.input(to, input);
            }
            Happening::Flood => {
                let Some((target, session, false)) = self.villain else { return };
                let height = self.nodes[target].alive.as_ref().map_or(0, |alive| alive.ledger.head().number) + 1;
                for number in 0..50u64 {
                    let stranger = key(5_000);
                    let payload = ipe_types::message::PreparePayload {
                        height,
                        round: 0,
                        digest: keccak256((self.now_us + number).to_be_bytes()),
                    };
                    let signed = ipe_types::message::Signed::sign_with(payload, |hash| stranger.sign(hash)).expect("signs");
                    let bytes = ipe_types::Message::Prepare(signed).encode();
                    self.input(target, Input::Istanbul(session, 0x13, bytes));
                }
                self.at(1_000, Happening::Flood);
            }
        }
    }

    fn connect(&mut self, a: usize, b: usize) {
        if self.nodes[a].alive.is_none() || self.nodes[b].alive.is_none() {
            return;
        }
        if self.nodes[a].alive.as_ref().is_some_and(|alive| alive.sessions.values().any(|(other, _)| *other == b)) {
            return;
        }
        let (at_a, at_b) = (PeerId(self.next_session + 1), PeerId(self.next_session + 2));
        self.next_session += 2;
        for (me, other, mine, theirs, inbound) in [(a, b, at_a, at_b, false), (b, a, at_b, at_a, true)] {
            let (hash, number) = self.nodes[other]
                .alive
                .as_ref()
                .map(|alive| {
                    let head = alive.ledger.head();
                    (head.hash, head.number)
                })
                .expect("alive");
            let (number, hash) = self.stale_status.unwrap_or((number, hash));
            let mut info = self.info(mine, &self.nodes[other].key.clone(), Some(self.nodes[other].role), hash, number, inbound);
            let (my, its) = (&self.nodes[me], &self.nodes[other]);
            info.carried = my.topology != its.topology && (my.topology, my.role) == (Topology::Sentry, Role::Validator);
            if let Some(alive) = &mut self.nodes[me].alive {
                alive.sessions.insert(mine, (other, theirs));
            }
            self.input(me, Input::PeerConnected(info));
        }
    }

    fn info(&self, id: PeerId, key: &NodeKey, role: Option<Role>, head: B256, height: u64, inbound: bool) -> PeerInfo {
        let status = PeerStatus { head, height: Some(height), total_difficulty: None };
        PeerInfo {
            id,
            node: key.node_id(),
            address: key.address(),
            role,
            eth: EthVersion::V69,
            istanbul: true,
            inbound,
            carried: false,
            status,
        }
    }

    fn wall_us(&self, index: usize) -> u64 {
        (self.now_us as i64 + self.nodes[index].skew_ms * 1_000) as u64
    }

    fn input(&mut self, index: usize, input: Input) {
        let (now_us, clock_us) = (self.now_us, self.wall_us(index));
        let node = &mut self.nodes[index];
        let Some(alive) = &mut node.alive else { return };
        let mut outputs = Vec::new();
        let clock = Clock { steady: &|| now_us, wall: &|| clock_us };
        alive.replica.handle(clock, input, &mut |output| outputs.push(output));
        for output in outputs {
            self.output(index, output);
        }
    }

    fn output(&mut self, from: usize, output: Output) {
        match output {
            Output::Eth(to, message) => self.send(from, &to, &Packet::Eth((*message).clone())),
            Output::Transactions(to, candidates) => {
                let transactions = candidates.iter().map(|candidate| candidate.tx.clone()).collect();
                self.send(from, &to, &Packet::Eth(EthMessage::Transactions(transactions)));
            }
            Output::NewBlock(to, block, total_difficulty) => {
                let message = EthMessage::NewBlock { block: Box::new((*block).clone()), total_difficulty };
                self.send(from, &to, &Packet::Eth(message));
            }
            Output::Istanbul(to, code, bytes) => {
                let hash = keccak256(&bytes);
                if self.nodes[from].role == Role::Boot {
                    for session in &to {
                        if let Some(other) = self.other_end(from, *session) {
                            *self.sent.entry((from, other, hash)).or_default() += 1;
                        }
                    }
                }
                self.send(from, &to, &Packet::Istanbul(code, bytes));
            }
            Output::Disconnect(session, _, why) => {
                if let Some((target, villain, cut)) = &mut self.villain
                    && *target == from
                    && *villain == session
                {
                    *cut = true;
                    self.input(from, Input::PeerGone(session));
                    return;
                }
                if self.claimants.remove(&session).is_some() {
                    self.input(from, Input::PeerGone(session));
                    return;
                }
                self.errors.push(format!("{} cut a peer: {why}", self.nodes[from].name));
                let Some(alive) = &mut self.nodes[from].alive else { return };
                if let Some((other, theirs)) = alive.sessions.remove(&session) {
                    self.at(LATENCY_US, Happening::Gone { to: other, session: theirs });
                    self.input(from, Input::PeerGone(session));
                }
            }
            Output::Log(Level::Error, text) => self.errors.push(format!("{}: {text}", self.nodes[from].name)),
            Output::Log(level, text) => {
                if std::env::var_os("WORLD_LOG").is_some() {
                    eprintln!("{:>9} {} {level:?} {text}", (self.now_us - START_US) / 1_000, self.nodes[from].name);
                }
            }
            Output::Imported(imported, stages) => {
                if std::env::var_os("WORLD_LOG").is_some() {
                    let at = (self.now_us - START_US) / 1_000;
                    eprintln!("{at:>9} {} block {} {stages:?}", self.nodes[from].name, imported.number());
                }
            }
            // At once, and yet after all that is due now.
            Output::Work(job) => self.at(self.job_us, Happening::Work(from, job)),
            Output::Notify(_) => {}
            Output::Sign(request) => unreachable!("the keys are here: {request:?}"),
        }
    }

    fn other_end(&self, from: usize, session: PeerId) -> Option<usize> {
        self.nodes[from].alive.as_ref()?.sessions.get(&session).map(|(other, _)| *other)
    }

    fn send(&mut self, from: usize, to: &[PeerId], packet: &Packet) {
        for session in to {
            let Some((other, theirs)) = self.nodes[from].alive.as_ref().and_then(|alive| alive.sessions.get(session).copied())
            else {
                continue;
            };
            self.at(LATENCY_US, Happening::Deliver { to: other, session: theirs, packet: packet.clone() });
        }
    }

    pub fn index(&self, name: &str) -> usize {
        self.nodes.iter().position(|node| node.name == name).expect("a node of that name")
    }

    pub fn names(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.name.clone()).collect()
    }

    fn ledger(&self, name: &str) -> Option<&Arc<Ledger>> {
        self.nodes[self.index(name)].alive.as_ref().map(|alive| &alive.ledger)
    }

    pub fn head_of(&self, name: &str) -> (u64, B256) {
        let head = self.ledger(name).expect("alive").head();
        (head.number, head.hash)
    }

    /// What a live node says about itself.
    pub fn status_of(&self, name: &str) -> Arc<Status> {
        self.nodes[self.index(name)].alive.as_ref().expect("a live node").status.get()
    }

    pub fn height_of(&self, name: &str) -> u64 {
        self.head_of(name).0
    }

    pub fn hash_at(&self, name: &str, number: u64) -> Option<B256> {
        self.ledger(name)?.hash_of(number).expect("readable")
    }

    pub fn heights(&self) -> Vec<(&str, u64)> {
        let alive = self.nodes.iter().filter_map(|node| Some((node, node.alive.as_ref()?)));
        alive.map(|(node, alive)| (node.name.as_str(), alive.ledger.head().number)).collect()
    }

    pub fn is_mined(&self, name: &str, hash: &B256) -> bool {
        self.ledger(name).expect("alive").position_of(hash).expect("readable").is_some()
    }

    /// Every two nodes have the same block at the lower of their heights.
    pub fn agree(&self) -> bool {
        let ledgers: Vec<&Arc<Ledger>> =
            self.nodes.iter().filter_map(|node| node.alive.as_ref().map(|alive| &alive.ledger)).collect();
        let lowest = ledgers.iter().map(|ledger| ledger.head().number).min().unwrap_or(0);
        (0..=lowest).all(|number| {
            let hashes: std::collections::HashSet<Option<B256>> =
                ledgers.iter().map(|ledger| ledger.hash_of(number).expect("readable")).collect();
            hashes.len() == 1
        })
    }

    pub fn links_of(&self, index: usize) -> Vec<usize> {
        let alive = self.nodes[index].alive.as_ref().expect("alive");
        alive.sessions.values().map(|(other, _)| *other).collect()
    }

    /// How often a boot sent the same bytes to the same node again.
    pub fn repeated_relays(&self) -> usize {
        self.sent.values().filter(|count| **count > 1).count()
    }

    pub fn faults(&self) -> Vec<String> {
        self.errors.clone()
    }
}
