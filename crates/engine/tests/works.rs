//! What a replica does while a job is out, and with answers that come late.

use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes};
use ipe_chain::kv::MemoryStore;
use ipe_chain::{Bound, BuildOrder, CheckedBlock, Ledger};
use ipe_engine::journal::{MemoryJournal, newborn};
use ipe_engine::pool::{Pool, Rules, Settings as PoolSettings};
use ipe_engine::signing::{Gate, Signer};
use ipe_engine::{Clock, Input, Job, Output, Parts, PeerId, PeerInfo, PeerStatus, Replica, Settings, StatusCell, admission};
use ipe_types::eth::EthVersion;
use ipe_types::fork::Fork;
use ipe_types::genesis::GenesisBuilder;
use ipe_types::header::{block_hash, commit_hash};
use ipe_types::message::{
    CommitPayload, Payload, PreparePayload, Proposal, ProposalPayload, RoundChange, RoundChangePayload, Signed,
};
use ipe_types::spec::ChainSpec;
use ipe_types::{Block, Dialect, Kind, Message, NodeKey, Role, Topology, ValidatorSet};
use parking_lot::Mutex;

const START_MS: u64 = 1_800_000_000_000;
const TIMEOUT_MS: u64 = 4_000;

fn key(byte: u8) -> NodeKey {
    NodeKey::from_bytes([byte; 32]).expect("in range")
}

fn validators() -> ValidatorSet {
    (1..=4).map(|byte| key(byte).address()).collect()
}

/// Whose turn is in a round of the height after a block with this coinbase.
fn proposer(coinbase: Address, round: u32) -> u8 {
    let whose = validators().proposer(coinbase, round).expect("somebody");
    (1..=4).find(|byte| key(*byte).address() == whose).expect("one of them")
}

fn sign<P: Payload>(author: u8, payload: P) -> Signed<P> {
    Signed::sign_with(payload, |hash| key(author).sign(hash)).expect("signs")
}

fn proposal(author: u8, round: u32, block: &Arc<Block>, round_changes: Vec<Signed<RoundChangePayload>>) -> Message {
    let payload = ProposalPayload { height: block.header.number, round, block: block.clone(), access_list: None };
    Message::Proposal(Box::new(Proposal { signed: sign(author, payload), round_changes, prepares: Vec::new() }))
}

fn round_change(author: u8, height: u64, round: u32) -> Signed<RoundChangePayload> {
    sign(author, RoundChangePayload { height, round, prepared: None })
}

fn commit(author: u8, block: &Block) -> Message {
    let digest = commit_hash(&block.header, 0).expect("sound");
    Message::Commit(sign(author, CommitPayload { height: block.header.number, round: 0, digest, seal: key(author).sign(digest) }))
}

/// One replica with two peers that share consensus, and what it has put out.
struct Scene {
    replica: Replica,
    ledger: Arc<Ledger>,
    now_ms: u64,
    job: Option<Box<Job>>,
    /// Receivers, and what was sent to them.
    sent: Vec<(Vec<PeerId>, Message)>,
    errors: Vec<String>,
}

impl Scene {
    /// The node of the key `me`, at the genesis, connected for some seconds.
    fn new(me: u8, role: Role) -> Self {
        let genesis = GenesisBuilder {
            chain_id: 1337,
            fork: Fork::Berlin,
            validators: validators().as_slice().to_vec(),
            period_ms: 1_000,
            request_timeout_s: TIMEOUT_MS / 1_000,
            gas_limit: 30_000_000,
            timestamp: START_MS / 1_000 - 1,
            ..GenesisBuilder::default()
        };
        let spec = Arc::new(ChainSpec::parse(&genesis.to_json().expect("a valid genesis")).expect("a valid genesis"));
        let ledger = Arc::new(Ledger::open(Arc::new(MemoryStore::new()), spec.clone()).expect("the ledger opens"));
        let rules = Rules {
            chain_id: 1337,
            fork: Fork::Berlin,
            block_gas_limit: 0,
            tx_gas_cap: None,
            base_fee: None,
            min_gas_price: 0,
            fee_cap: None,
            max_tx_bytes: 128 * 1024,
            period_ms: 1_000,
        };
        let pool = Pool::new(PoolSettings::default(), admission::rules(&ledger, &spec, &rules), 0);
        let gate = (role == Role::Validator).then(|| {
            let journal = MemoryJournal::new();
            journal.set_content(newborn(spec.genesis_hash(), key(me).address()));
            Gate::open(Signer::Local(key(me)), Box::new(journal), spec.genesis_hash()).expect("a new journal opens").0
        });
        let settings = Settings {
            role,
            topology: Topology::Sentry,
            local: key(me).address(),
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
        let parts = Parts { ledger: ledger.clone(), spec, pool: Arc::new(Mutex::new(pool)), gate, status: StatusCell::default() };
        let replica = Replica::new(settings, parts, None);
        let mut scene = Self { replica, ledger, now_ms: START_MS, job: None, sent: Vec::new(), errors: Vec::new() };
        for id in [1, 2] {
            let key = key(0x20 + id as u8);
            scene.input(Input::PeerConnected(PeerInfo {
                id: PeerId(id),
                node: key.node_id(),
                address: key.address(),
                role: Some(Role::Boot),
                eth: EthVersion::V69,
                istanbul: true,
                inbound: false,
                carried: false,
                status: PeerStatus { head: B256::ZERO, height: Some(0), total_difficulty: None },
            }));
        }
        scene.pass(100);
        scene
    }

    fn input(&mut self, input: Input) {
        let now_us = self.now_ms * 1_000;
        let (mut job, sent, errors) = (None, &mut self.sent, &mut self.errors);
        self.replica.handle(Clock { steady: &|| now_us, wall: &|| now_us }, input, &mut |output| match output {
            Output::Istanbul(to, code, bytes) => sent.push((to, Message::decode(code, &bytes).expect("it decodes"))),
            Output::Work(one) => assert!(job.replace(one).is_none(), "two jobs at once"),
            Output::Disconnect(_, _, why) => errors.push(why),
            Output::Log(ipe_engine::Level::Error, text) => errors.push(text),
            _ => {}
        });
        if let Some(job) = job {
            assert!(self.job.replace(job).is_none(), "a second job while one is out");
        }
    }

    fn hear(&mut self, message: &Message) {
        self.input(Input::Istanbul(PeerId(1), message.kind().code(), message.encode()));
    }

    /// Time goes on, and timers with it.
    fn pass(&mut self, ms: u64) {
        let end = self.now_ms + ms;
        while let Some(at) = self.replica.wake_at().filter(|at| *at <= end) {
            self.now_ms = self.now_ms.max(at);
            self.input(Input::Tick);
            if self.replica.wake_at().is_some_and(|at| at <= self.now_ms) {
                self.now_ms += 1;
            }
        }
        self.now_ms = end;
    }

    /// Runs the job that is out, and hands the answer in.
    fn work(&mut self) {
        let job = self.job.take().expect("a job is out");
        let now_us = self.now_ms * 1_000;
        let done = job.run(Clock { steady: &|| now_us, wall: &|| now_us });
        self.input(Input::Done(done));
    }

    /// What was sent of a kind, and is forgotten now.
    fn take_sent(&mut self, kind: Kind) -> Vec<(Vec<PeerId>, Message)> {
        let (taken, rest) = self.sent.drain(..).partition(|(_, message)| message.kind() == kind);
        self.sent = rest;
        taken
    }

    /// An empty block on the head, as its proposer builds it.
    fn block(&self, author: u8, round: u32, after_s: u64) -> CheckedBlock {
        let order = BuildOrder {
            timestamp: self.ledger.head().header.timestamp + after_s,
            coinbase: key(author).address(),
            round,
            vanity: Bytes::from(vec![0; 32]),
            vote: None,
            min_gas_price: 0,
            target_gas_limit: None,
        };
        self.ledger.build(&order, &mut |_| None, Bound::NONE).expect("a block")
    }
}

/// The replica was its own executor: a boot passed nothing on while it executed a block.
#[test]
fn a_boot_passes_messages_on_while_a_block_is_written() {
    let mut scene = Scene::new(9, Role::Boot);
    let author = proposer(Address::ZERO, 0);
    let first = scene.block(author, 0, 1).block().clone();
    scene.hear(&proposal(author, 0, &first, Vec::new()));
    (1..=3).for_each(|author| scene.hear(&commit(author, &first)));
    assert!(scene.job.is_some(), "a quorum has sealed it");
    scene.sent.clear();

    // Of the height that is being written.
    scene.hear(&commit(4, &first));
    assert_eq!(scene.take_sent(Kind::Commit).len(), 1);
    // And of the one after it: by the turn that follows from the block, not by the one before it.
    let next = proposer(first.header.beneficiary, 0);
    let liar = (1..=4).find(|author| *author != next).expect("four of them");
    let header = ipe_types::Header {
        number: 2,
        parent_hash: block_hash(&first.header).expect("sound"),
        timestamp: first.header.timestamp + 1,
        ..first.header.clone()
    };
    let second = |author: u8| {
        let header = ipe_types::Header { beneficiary: key(author).address(), ..header.clone() };
        Arc::new(Block { header, body: first.body.clone() })
    };
    scene.hear(&proposal(liar, 0, &second(liar), Vec::new()));
    assert_eq!(scene.take_sent(Kind::Proposal).len(), 0, "not its turn");
    scene.hear(&proposal(next, 0, &second(next), Vec::new()));
    assert_eq!(scene.take_sent(Kind::Proposal).len(), 1);
    let early = Message::Prepare(sign(3, PreparePayload { height: 2, round: 0, digest: B256::repeat_byte(2) }));
    scene.hear(&early);
    let told = scene.take_sent(Kind::Prepare);
    assert_eq!(told.iter().map(|(to, _)| to.clone()).collect::<Vec<_>>(), [[PeerId(2)]]);

    scene.work();
    assert_eq!(scene.ledger.head().number, 1);
    assert!(scene.job.is_none() && scene.errors.is_empty(), "{:?}", scene.errors);
}

/// A verdict that comes when the core asks about another block says nothing about that one: here a bad one of a liar in the next
/// round.
#[test]
fn a_late_verdict_counts_for_its_own_block_alone() {
    let honest = proposer(Address::ZERO, 0);
    let liar = proposer(Address::ZERO, 1);
    let me = (1..=4).find(|byte| *byte != honest && *byte != liar).expect("four of them");
    let mut scene = Scene::new(me, Role::Validator);
    scene.pass(2_000);
    let good = scene.block(honest, 0, 1).block().clone();
    scene.hear(&proposal(honest, 0, &good, Vec::new()));
    assert!(scene.job.is_some(), "it is to be judged");
    // That takes longer than the round.
    scene.pass(2 * TIMEOUT_MS);
    let changes: Vec<_> = (1..=4).filter(|by| *by != me).map(|by| round_change(by, 1, 1)).collect();
    for signed in &changes {
        let change = RoundChange { signed: signed.clone(), block: None, access_list: None, prepares: Vec::new() };
        scene.hear(&Message::RoundChange(Box::new(change)));
    }
    let header = ipe_types::Header { beneficiary: key(liar).address(), gas_used: 21_000, ..good.header.clone() };
    scene.hear(&proposal(liar, 1, &Arc::new(Block { header, body: good.body.clone() }), changes));
    scene.take_sent(Kind::Prepare);
    scene.work();
    assert!(scene.take_sent(Kind::Prepare).is_empty(), "the verdict was about another block");
    assert!(scene.job.is_some(), "which is judged now");
    scene.work();
    assert!(scene.take_sent(Kind::Prepare).is_empty(), "and is not good");
    assert!(scene.errors.is_empty(), "{:?}", scene.errors);
}

/// A vote for a proposal goes out when its verdict comes, and the block is written from what was checked.
#[test]
fn answers_lead_on_from_the_proposal_to_the_next_height() {
    let honest = proposer(Address::ZERO, 0);
    let me = (1..=4).find(|byte| *byte != honest).expect("four of them");
    let mut scene = Scene::new(me, Role::Validator);
    scene.pass(2_000);
    let block = scene.block(honest, 0, 1).block().clone();
    let others: Vec<u8> = (1..=4).filter(|by| *by != me).collect();
    scene.hear(&proposal(honest, 0, &block, Vec::new()));
    let digest = commit_hash(&block.header, 0).expect("sound");
    for by in &others {
        scene.hear(&Message::Prepare(sign(*by, PreparePayload { height: 1, round: 0, digest })));
        scene.hear(&commit(*by, &block));
    }
    assert!(scene.take_sent(Kind::Prepare).iter().all(|(_, message)| message.author() != key(me).address()), "no verdict yet");
    scene.work();
    assert!(scene.take_sent(Kind::Prepare).iter().any(|(_, message)| message.author() == key(me).address()));
    assert!(scene.job.is_some(), "all had sealed it");
    assert_eq!(scene.ledger.head().number, 0);
    scene.pass(3 * TIMEOUT_MS);
    assert!(scene.take_sent(Kind::RoundChange).is_empty(), "a head that is about to come ends the round");
    scene.work();
    assert_eq!(scene.ledger.head().number, 1);
    assert_eq!(scene.ledger.head().header.beneficiary, key(honest).address());
    scene.pass(2_000);
    assert!(scene.errors.is_empty(), "{:?}", scene.errors);
    assert_eq!(scene.replica.holdings().candidacies, 0, "of a height that is over");
}
