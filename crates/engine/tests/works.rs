//! What a replica does while a job is out, and with answers that come late.

use std::sync::Arc;

use alloy_consensus::{SignableTransaction, TxLegacy};
use alloy_primitives::{Address, B256, Bytes, TxKind, U256};
use ipe_chain::kv::MemoryStore;
use ipe_chain::{Bound, BuildOrder, Candidate, CheckedBlock, Ledger};
use ipe_engine::journal::{MemoryJournal, newborn};
use ipe_engine::pool::{Pool, Rules, Settings as PoolSettings};
use ipe_engine::signing::{Gate, Signer};
use ipe_engine::{Clock, Input, Job, Output, Parts, PeerId, PeerInfo, PeerStatus, Replica, Settings, StatusCell, admission};
use ipe_types::eth::{EthMessage, EthVersion};
use ipe_types::fork::Fork;
use ipe_types::genesis::GenesisBuilder;
use ipe_types::header::{block_hash, commit_hash, with_round_and_seals};
use ipe_types::message::{
    CommitPayload, Payload, PreparePayload, Proposal, ProposalPayload, RoundChange, RoundChangePayload, Signed,
};
use ipe_types::spec::ChainSpec;
use ipe_types::{Block, Dialect, Kind, Message, NodeKey, Role, Topology, Transaction, ValidatorSet};
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

/// The block, sealed by these.
fn sealed(block: &Block, by: &[u8]) -> Block {
    let digest = commit_hash(&block.header, 0).expect("sound");
    let seals = by.iter().map(|by| key(*by).sign(digest)).collect();
    Block { header: with_round_and_seals(&block.header, 0, seals).expect("sound"), body: block.body.clone() }
}

/// A transaction of some account, which costs nothing.
fn transaction() -> Arc<Candidate> {
    let to = TxKind::Call(Address::repeat_byte(0x77));
    let tx =
        TxLegacy { chain_id: Some(1337), nonce: 0, gas_price: 0, gas_limit: 21_000, to, value: U256::ZERO, input: Bytes::new() };
    let signature = key(0x70).sign(tx.signature_hash());
    let signature = alloy_primitives::Signature::try_from(signature.as_slice()).expect("a signature");
    Arc::new(Candidate::recover(Transaction::from(tx.into_signed(signature))).expect("signed"))
}

/// A first block with a transaction, that no other ledger has executed.
fn foreign_block(author: u8) -> Arc<Block> {
    let block = Scene::new(8, Role::Boot).block_with(author, 0, 1, vec![transaction()]).block().clone();
    assert_eq!(block.body.transactions.len(), 1);
    block
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
            goquorum: None,
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
        self.work_late(0);
    }

    /// The same by a clock that is so much later, ms.
    fn work_late(&mut self, late_ms: u64) {
        let job = self.job.take().expect("a job is out");
        let now_us = (self.now_ms + late_ms) * 1_000;
        let done = job.run(Clock { steady: &|| now_us, wall: &|| now_us });
        self.input(Input::Done(done));
    }

    /// What was sent of a kind, and is forgotten now.
    fn take_sent(&mut self, kind: Kind) -> Vec<(Vec<PeerId>, Message)> {
        let (taken, rest) = self.sent.drain(..).partition(|(_, message)| message.kind() == kind);
        self.sent = rest;
        taken
    }

    /// A peer sends a block by itself.
    fn push(&mut self, from: u64, block: Block) {
        self.input(Input::Eth(PeerId(from), EthMessage::NewBlock { block: Box::new(block), total_difficulty: U256::from(2) }));
    }

    /// The others tell that the round is over.
    fn change_round(&mut self, me: u8, round: u32) -> Vec<Signed<RoundChangePayload>> {
        let changes: Vec<_> = (1..=4).filter(|by| *by != me).map(|by| round_change(by, 1, round)).collect();
        for signed in &changes {
            let change = RoundChange { signed: signed.clone(), block: None, access_list: None, prepares: Vec::new() };
            self.hear(&Message::RoundChange(Box::new(change)));
        }
        changes
    }

    /// Whether this validator has sent something of a kind, which is forgotten now.
    fn has_said(&mut self, me: u8, kind: Kind) -> bool {
        self.take_sent(kind).iter().any(|(_, message)| message.author() == key(me).address())
    }

    /// An empty block on the head, as its proposer builds it.
    fn block(&self, author: u8, round: u32, after_s: u64) -> CheckedBlock {
        self.block_with(author, round, after_s, Vec::new())
    }

    fn block_with(&self, author: u8, round: u32, after_s: u64, transactions: Vec<Arc<Candidate>>) -> CheckedBlock {
        let order = BuildOrder {
            timestamp: self.ledger.head().header.timestamp + after_s,
            coinbase: key(author).address(),
            round,
            vanity: Bytes::from(vec![0; 32]),
            vote: None,
            min_gas_price: 0,
            target_gas_limit: None,
        };
        let mut transactions = transactions.into_iter();
        self.ledger.build(&order, &mut |_| transactions.next(), Bound::NONE).expect("a block")
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
    let changes = scene.change_round(me, 1);
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

/// Found in review: a boot to which all votes for the next block had come while it wrote the one before waited for one more, or
/// fetched the block.
#[test]
fn a_block_that_was_sealed_while_the_one_before_was_written_follows_at_once() {
    let mut ahead = Scene::new(8, Role::Boot);
    let author = proposer(Address::ZERO, 0);
    let first = ahead.block(author, 0, 1).block().clone();
    ahead.push(1, sealed(&first, &[1, 2, 3]));
    ahead.work();
    let next = proposer(first.header.beneficiary, 0);
    let second = ahead.block(next, 0, 1).block().clone();

    let mut scene = Scene::new(9, Role::Boot);
    scene.hear(&proposal(author, 0, &first, Vec::new()));
    (1..=3).for_each(|author| scene.hear(&commit(author, &first)));
    scene.hear(&proposal(next, 0, &second, Vec::new()));
    (1..=3).for_each(|author| scene.hear(&commit(author, &second)));
    scene.work();
    assert_eq!(scene.ledger.head().number, 1);
    scene.work();
    assert_eq!((scene.ledger.head().number, scene.ledger.head().header.beneficiary), (2, key(next).address()));
    assert!(scene.job.is_none() && scene.errors.is_empty(), "{:?}", scene.errors);
}

/// What was not executed to its end is neither good nor bad: no vote, and nothing is kept of it. A quorum that has sealed it has it
/// written all the same.
#[test]
fn a_proposal_whose_execution_was_cut_gets_no_vote() {
    let honest = proposer(Address::ZERO, 0);
    let me = (1..=4).find(|byte| *byte != honest).expect("four of them");
    let mut scene = Scene::new(me, Role::Validator);
    scene.pass(2_000);
    let block = foreign_block(honest);
    scene.hear(&proposal(honest, 0, &block, Vec::new()));
    scene.work_late(2 * TIMEOUT_MS);
    assert!(!scene.has_said(me, Kind::Prepare), "the round was over before it was executed");
    assert_eq!(scene.replica.holdings().candidacies, 0);
    let others: Vec<u8> = (1..=4).filter(|by| *by != me).collect();
    scene.push(1, sealed(&block, &others));
    // However late it is.
    scene.work_late(2 * TIMEOUT_MS);
    assert_eq!(scene.ledger.head().number, 1);
    assert!(scene.errors.is_empty(), "{:?}", scene.errors);
}

/// The turn goes on while a block is built; who built it then has nothing to propose.
#[test]
fn a_block_for_a_round_that_is_over_is_not_proposed() {
    let me = proposer(Address::ZERO, 0);
    let mut scene = Scene::new(me, Role::Validator);
    scene.pass(2_000);
    assert!(scene.job.is_some(), "its own block is to be built");
    scene.pass(2 * TIMEOUT_MS);
    assert!(scene.has_said(me, Kind::RoundChange));
    scene.change_round(me, 1);
    scene.work();
    assert!(!scene.has_said(me, Kind::Proposal), "it is another one's turn");
    assert!(scene.job.is_none() && scene.errors.is_empty(), "{:?}", scene.errors);
}

/// A proposal that takes as long as it may must not keep the next proposer from building.
#[test]
fn judging_the_block_of_the_last_round_ends_where_this_ones_is_to_be_built() {
    let (dear, me) = (proposer(Address::ZERO, 0), proposer(Address::ZERO, 1));
    let mut scene = Scene::new(me, Role::Validator);
    scene.pass(2_000);
    let block = foreign_block(dear);
    scene.hear(&proposal(dear, 0, &block, Vec::new()));
    scene.pass(2 * TIMEOUT_MS);
    scene.change_round(me, 1);
    scene.take_sent(Kind::Prepare);
    // It looks at its clock, which stands still: it is told to end.
    let job = format!("{:?}", scene.job);
    assert!(job.contains("Check"), "{job}");
    scene.work();
    assert!(!scene.has_said(me, Kind::Prepare));
    let job = format!("{:?}", scene.job);
    assert!(job.contains("Build"), "{job}");
    scene.work();
    assert!(scene.has_said(me, Kind::Proposal));
    assert!(scene.errors.is_empty(), "{:?}", scene.errors);
}

/// What is wanted for a height goes with it, from wherever its block came.
#[test]
fn a_proposal_is_not_judged_any_more_when_a_peer_has_brought_the_block() {
    let honest = proposer(Address::ZERO, 0);
    let me = (1..=4).find(|byte| *byte != honest).expect("four of them");
    let mut scene = Scene::new(me, Role::Validator);
    scene.pass(2_000);
    let block = scene.block(honest, 0, 1).block().clone();
    let others: Vec<u8> = (1..=4).filter(|by| *by != me).collect();
    scene.push(1, sealed(&block, &others));
    assert!(scene.job.is_some(), "it is written");
    scene.hear(&proposal(honest, 0, &block, Vec::new()));
    scene.work();
    assert_eq!(scene.ledger.head().number, 1);
    assert!(!scene.has_said(me, Kind::Prepare), "nobody needs it");
    assert!(scene.job.is_none() && scene.errors.is_empty(), "{:?}", scene.errors);
}

/// Each block that somebody pushes is a job, which goes before others and stops the timers: only so many are taken of one peer.
#[test]
fn a_peer_that_pushes_false_blocks_is_cut_and_the_round_ends_in_time() {
    let honest = proposer(Address::ZERO, 0);
    let me = (1..=4).find(|byte| *byte != honest).expect("four of them");
    let mut scene = Scene::new(me, Role::Validator);
    scene.pass(2_000);
    let block = scene.block(honest, 0, 1).block().clone();
    let mut jobs = 0;
    for fake in 0..100 {
        let header = ipe_types::Header { gas_used: fake, ..block.header.clone() };
        scene.push(1, sealed(&Block { header, body: block.body.clone() }, &[me]));
        if scene.job.is_some() {
            jobs += 1;
            scene.work();
        }
        if !scene.errors.is_empty() {
            break;
        }
    }
    assert!((1..=8).contains(&jobs), "{jobs}");
    assert!(scene.errors.iter().any(|why| why.contains("it sent invalid blocks")), "{:?}", scene.errors);
    scene.input(Input::PeerGone(PeerId(1)));
    scene.pass(2 * TIMEOUT_MS);
    assert!(scene.has_said(me, Kind::RoundChange));
}

/// A node that stops does not wait for a proposal that takes as long as its round; a final block is written.
#[test]
fn a_node_that_stops_ends_what_nobody_waits_for() {
    let honest = proposer(Address::ZERO, 0);
    let me = (1..=4).find(|byte| *byte != honest).expect("four of them");
    let mut scene = Scene::new(me, Role::Validator);
    scene.pass(2_000);
    let block = foreign_block(honest);
    scene.hear(&proposal(honest, 0, &block, Vec::new()));
    scene.replica.stop_work();
    scene.work();
    assert!(!scene.has_said(me, Kind::Prepare), "it has not been executed");

    let mut scene = Scene::new(9, Role::Boot);
    scene.push(1, sealed(&block, &[1, 2, 3]));
    scene.replica.stop_work();
    scene.work();
    assert_eq!(scene.ledger.head().number, 1);
}
