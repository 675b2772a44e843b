//! The replica: consensus, ledger, pool, synchronisation and relay held together by one verb, [`Replica::handle`].
//!
//! Inputs come one at a time, outputs leave through a closure the moment they are decided. Nothing is executed here: what takes long
//! goes out as a [`Job`] and comes back as [`Input::Done`], and meanwhile messages are heard and passed on. Consensus effects are in
//! `consensus.rs`, blocks in `blocks.rs`, the start of consensus in `start.rs`, jobs in `job.rs` and what they are for in `works.rs`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ipe_chain::{Candidate, Head, Imported, Ledger};
use ipe_qbft::justify::Rules;
use ipe_qbft::{Event, State as Core, Timer};
use ipe_types::eth::{BlockHashNumber, EthMessage};
use ipe_types::planted::{self, Bug};
use ipe_types::spec::ChainSpec;
use ipe_types::{Address, B256, Block, Bytes, Checkpoint, Dialect, Kind, Role, Topology, U256};
use parking_lot::Mutex;

use crate::abstain::Waiting;
use crate::blocks::CHECKPOINT;
use crate::control::{MinerControl, VoteControl};
use crate::gossip::{Gossip, GossipPlace};
use crate::held::Held;
use crate::job::{Done, Job};
use crate::pace::Pace;
use crate::peer::{Peer, PeerId, PeerInfo, Peers};
use crate::pool::Pool;
use crate::recent::{BoundedMap, Recent};
use crate::relay::{Intake, Relay, Window, passes_on, shares_consensus};
use crate::serve;
use crate::signing::{Gate, SignAnswer, SignRequest};
use crate::status::{RefusedBlock, Status, StatusCell};
use crate::sync::{Sync, SyncFault};
use crate::unproven::{Early, Unproven};
use crate::wishes::Wishes;
use crate::works::Works;

/// The clocks of a node, in microseconds, asked whenever the replica needs to know how late it is. A simulator hands in
/// closures over its virtual time.
#[derive(Clone, Copy)]
pub struct Clock<'a> {
    /// Never goes back: for all that lasts or waits. It shows unix time as it was when the process started, and what has
    /// passed since.
    pub steady: &'a dyn Fn() -> u64,
    /// Unix time as the machine has it, which somebody may set: for timestamps of blocks.
    pub wall: &'a dyn Fn() -> u64,
}

impl Clock<'_> {
    /// The steady clock, µs.
    pub fn now_us(&self) -> u64 {
        (self.steady)()
    }

    /// The steady clock, ms.
    pub fn now_ms(&self) -> u64 {
        self.now_us() / 1_000
    }

    /// Unix time, ms.
    pub fn wall_ms(&self) -> u64 {
        (self.wall)() / 1_000
    }
}

/// Where outputs go, in the order in which they are decided.
pub type Put<'a> = &'a mut dyn FnMut(Output);

/// Timers fired in one go; a timer that is set into the past again and again leaves room for inputs in between.
const MAX_FIRED: usize = 16;
/// How often the snapshot for others is renewed without any reason, ms.
const STATUS_MS: u64 = 1_000;
/// Blocks remembered as invalid.
const BAD_BLOCKS: usize = 128;

/// Waiting transactions up to which a node that nobody depends on for passing them on fetches those of others, to show them
/// as pending. Above it the network is busy, and fetching them would cost a signature recovery each for nothing.
const LEAF_POOL: usize = 256;

/// devp2p disconnect reason: breach of protocol.
pub const BREACH_OF_PROTOCOL: u8 = 0x02;
/// devp2p disconnect reason: useless peer.
pub const USELESS_PEER: u8 = 0x03;

/// Something that happened outside.
pub enum Input {
    /// A connection finished its handshake.
    PeerConnected(PeerInfo),
    /// A connection ended.
    PeerGone(PeerId),
    /// A message of the eth protocol. The shell may answer requests (`Get…`) itself, see [`serve`].
    Eth(PeerId, EthMessage),
    /// A consensus message as it came from the wire: code 0x12–0x15 and payload.
    Istanbul(PeerId, u8, Bytes),
    /// These transactions of a peer have been judged and, where they deserved it, put into the pool outside; see
    /// [`crate::admission::Judged::hear`].
    Heard(PeerId, Vec<B256>),
    /// Transactions entered the pool through this node's own interface.
    PoolChanged,
    /// An operator's request about votes.
    Vote(VoteControl),
    /// An operator's request about the blocks made here.
    Miner(MinerControl),
    /// The answer to the job that was out.
    Done(Done),
    /// The answer to the [`Output::Sign`] with this id. A second one, or one that nobody asked for, changes nothing.
    Signed(u64, SignAnswer),
    /// Time has passed: at least [`Replica::wake_at`].
    Tick,
}

/// Something the shell is asked to do.
#[derive(Debug)]
pub enum Output {
    /// Send an eth message to each of these.
    Eth(Vec<PeerId>, Arc<EthMessage>),
    /// Send transactions in full to each of these (the eth message `Transactions`, without copying them into one).
    Transactions(Vec<PeerId>, Vec<Arc<Candidate>>),
    /// Send `NewBlock` with the total difficulty to each of these.
    NewBlock(Vec<PeerId>, Arc<Block>, U256),
    /// Send a consensus message, these very bytes, to each of these.
    Istanbul(Vec<PeerId>, u8, Bytes),
    /// Close a connection, with the devp2p reason and a sentence for the log.
    Disconnect(PeerId, u8, String),
    /// A block became final here: log it, count it and tell whoever subscribed.
    Imported(Arc<Imported>, Stages),
    /// Run this beside the replica, and give the answer back with [`Input::Done`]. There is no second one before that.
    Work(Box<Job>),
    /// Ask the signer of the validator's key, which is elsewhere, and give its answer back with [`Input::Signed`]: soon, late, or
    /// never.
    Sign(SignRequest),
    /// Tell whoever subscribed.
    Notify(Notification),
    /// Write to the log.
    Log(Level, String),
}

/// What subscribers (WebSocket, filters, metrics) are told.
#[derive(Clone, Debug)]
pub enum Notification {
    /// A block became final here.
    Imported(Arc<Imported>),
    /// Transactions entered the pool and can be included.
    Pending(Arc<Vec<Arc<Candidate>>>),
    /// Catching up started (`true`) or ended.
    Syncing(bool),
}

/// Where the time of a block went, as far as this node did it; zero where it did not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stages {
    /// Building it.
    pub build: Duration,
    /// Checking it: execution and roots.
    pub check: Duration,
    /// Importing it: one durable commit.
    pub import: Duration,
    /// From the start of its round to the end of the import; zero when it came by sync.
    pub total: Duration,
    /// Round in which it was sealed.
    pub round: u32,
    /// It came from a peer as a sealed block, not through consensus here.
    pub synced: bool,
}

/// How loud a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Something needs an operator.
    Error,
    /// Something is odd.
    Warn,
    /// The life of the node.
    Info,
    /// For whoever looks for a fault.
    Debug,
}

/// What a replica is, apart from what it knows.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Role of the node.
    pub role: Role,
    /// Shape of the network.
    pub topology: Topology,
    /// Address of the node's key: author and coinbase of what it signs.
    pub local: Address,
    /// Form of the consensus messages it emits.
    pub dialect: Dialect,
    /// Vanity of the blocks it builds, 32 bytes by custom.
    pub vanity: Bytes,
    /// Gas limit towards which its blocks move; `None` keeps the parent's.
    pub target_gas_limit: Option<u64>,
    /// Base fee of the blocks that it builds and votes for where the genesis fixes it to the configured minimum, wei per gas.
    pub min_gas_price: u64,
    /// Share of the block period that building may take, percent; see [`crate::pace::build_us`].
    pub build_percent: u32,
    /// Most gas that one transaction may use in a block built here; see [`crate::pace::TX_GAS`].
    pub tx_gas: u64,
    /// Whether this node, a boot, carries sessions of its validators.
    pub carrying: bool,
    /// Whether it dials anybody. The only validator of a chain, which needs nobody's vote, then hears from one of them how
    /// far the chain has come before it makes blocks: on an empty folder it would begin a second chain.
    pub expects_peers: bool,
    /// A block that the operator knows to be of the chain: no other history is taken, and this node is behind until it is
    /// reached.
    pub checkpoint: Option<Checkpoint>,
}

/// The parts that a replica works with.
pub struct Parts {
    /// The chain. The replica is its only writer.
    pub ledger: Arc<Ledger>,
    /// Rules and parameters of the chain.
    pub spec: Arc<ChainSpec>,
    /// The pool, shared with the interfaces.
    pub pool: Arc<Mutex<Pool>>,
    /// The only way to the validator key; `None` at nodes that are no validators.
    pub gate: Option<Gate>,
    /// Where the snapshot for others goes.
    pub status: StatusCell,
}

/// How much a replica holds of what others can make it hold: for those who check that there is a bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Consensus messages of later heights in the core.
    pub future_messages: usize,
    /// Their bytes, about.
    pub future_bytes: usize,
    /// (Author, round) pairs with votes of the height in hand.
    pub vote_rounds: usize,
    /// RoundChanges of the height in hand.
    pub round_changes: usize,
    /// Messages of undecided heights kept for who connects.
    pub held_messages: usize,
    /// Their bytes.
    pub held_bytes: usize,
    /// Messages that cannot be judged yet.
    pub unproven: usize,
    /// Checked blocks of the height in hand.
    pub candidacies: usize,
    /// Blocks above the next one.
    pub blocks_ahead: usize,
    /// Headers above the head.
    pub headers_ahead: usize,
    /// Hashes of consensus messages remembered as seen.
    pub seen: usize,
    /// Transactions asked for.
    pub wanted: usize,
    /// Transactions in the pool.
    pub transactions: usize,
}

/// One node's whole behaviour.
pub struct Replica {
    pub(crate) settings: Settings,
    pub(crate) parts: Parts,
    pub(crate) core: Option<Core>,
    pub(crate) timers: [Option<(Timer, u64)>; Timer::SLOTS],
    pub(crate) peers: Peers,
    pub(crate) relay: Relay,
    pub(crate) held: Held,
    pub(crate) gossip: Gossip,
    pub(crate) sync: Sync,
    pub(crate) pace: Pace,
    pub(crate) works: Works,
    /// The head as the replica knows it: the ledger's own is one ahead between the end of a job and its answer.
    pub(crate) head: Arc<Head>,
    pub(crate) bad_blocks: Recent,
    /// Proposals that are not executed for a vote; see [`Replica::distrust`].
    pub(crate) suspects: BTreeSet<B256>,
    pub(crate) wishes: Wishes,
    /// By what consensus messages of the head's height and of the next are judged.
    pub(crate) rules: [Rules; 2],
    /// And those of the height after, while the next block is being written.
    pub(crate) coming: Option<Rules>,
    /// Head that the core was told last; `None` until consensus starts.
    pub(crate) told_head: Option<u64>,
    /// When the round in hand began, µs, and its number.
    pub(crate) round_began: Option<(u64, u32)>,
    pub(crate) restored: Option<ipe_qbft::Restored>,
    /// When each validator was last heard, ms.
    pub(crate) heard: BoundedMap<Address, u64>,
    unproven: Unproven,
    /// Height for which [`Self::unproven`] was looked through last.
    heard_early: u64,
    pub(crate) was_syncing: bool,
    pub(crate) round_changes: u64,
    pub(crate) proposed: u64,
    pub(crate) last_error: Option<String>,
    /// A final block that our rules refuse.
    pub(crate) refused_block: Option<RefusedBlock>,
    /// How often in a row that has happened.
    pub(crate) refusals: u32,
    pub(crate) started_ms: Option<u64>,
    /// When a validator that has not started consensus looks again whether to.
    pub(crate) start_at: Option<u64>,
    /// When it says again what it waits for.
    pub(crate) start_told_at: u64,
    /// Head at which it waits, and since when.
    pub(crate) start_head: Option<(u64, u64)>,
    /// While the signing gate has a doubt.
    pub(crate) waiting: Waiting,
    status_at: u64,
    status_stale: bool,
}

impl Replica {
    /// A replica at the ledger's head. It does nothing until its first input. `restored` is what the signing gate's
    /// journal knows about the height in hand.
    pub fn new(settings: Settings, parts: Parts, restored: Option<ipe_qbft::Restored>) -> Self {
        let core = parts.gate.is_some().then(|| new_core(&settings));
        let head = parts.ledger.head();
        let current = Rules {
            height: head.number,
            validators: parts.ledger.validators_for(head.number).ok().flatten().unwrap_or_else(|| head.validators_next.clone()),
            previous_proposer: head
                .number
                .checked_sub(1)
                .and_then(|parent| parts.ledger.header(parent).ok().flatten())
                .map_or(Address::ZERO, |parent| parent.beneficiary),
        };
        let rules = [current, rules_after(&head)];
        Self {
            core,
            timers: [None; Timer::SLOTS],
            peers: Peers::default(),
            relay: Relay::default(),
            held: Held::default(),
            gossip: Gossip::default(),
            sync: Sync::new(settings.checkpoint),
            pace: Pace::default(),
            works: Works::default(),
            head,
            bad_blocks: Recent::new(BAD_BLOCKS),
            suspects: BTreeSet::new(),
            wishes: Wishes::default(),
            rules,
            coming: None,
            told_head: None,
            round_began: None,
            restored,
            heard: BoundedMap::new(ipe_types::extra::MAX_VALIDATORS),
            unproven: Unproven::default(),
            heard_early: 0,
            was_syncing: false,
            round_changes: 0,
            proposed: 0,
            last_error: None,
            refused_block: None,
            refusals: 0,
            started_ms: None,
            start_at: None,
            start_told_at: 0,
            start_head: None,
            waiting: Waiting::default(),
            status_at: 0,
            status_stale: true,
            settings,
            parts,
        }
    }

    /// Names proposals (by block hash) that made an earlier run of this node answer nothing any more. They are never executed for
    /// a vote again; a quorum that seals one all the same has it imported.
    pub fn distrust(&mut self, proposals: impl IntoIterator<Item = B256>) {
        self.suspects.extend(proposals);
    }

    /// When [`Input::Tick`] is due, ms of the steady clock; `None` before the first input.
    pub fn wake_at(&self) -> Option<u64> {
        let paused = self.is_behind() || self.works.is_finishing();
        let timers = self.timers.iter().flatten().map(|(_, at)| *at).filter(|_| !paused);
        timers
            .chain(self.start_at)
            .chain(self.works.wake_at())
            .chain(self.gossip.wake_at())
            .chain(self.sync.wake_at().filter(|_| !self.works.is_finishing_counted()))
            .chain(self.started_ms.map(|_| self.status_at + STATUS_MS))
            .min()
    }

    /// Ends the job that is out as soon as it looks, unless it makes a block final: nobody waits for its answer any more.
    pub fn stop_work(&mut self) {
        self.works.stop();
    }

    /// How much it holds.
    pub fn holdings(&self) -> Holdings {
        let core = self.core.as_ref().map(Core::holdings).unwrap_or_default();
        let (held_messages, held_bytes) = self.held.size();
        let (headers_ahead, blocks_ahead) = self.sync.held();
        Holdings {
            future_messages: core.future_messages,
            future_bytes: core.future_bytes,
            vote_rounds: core.vote_rounds,
            round_changes: core.round_changes,
            held_messages,
            held_bytes,
            unproven: self.unproven.held(),
            candidacies: self.works.known(),
            blocks_ahead,
            headers_ahead,
            seen: self.relay.seen(),
            wanted: self.gossip.wanted(),
            transactions: self.parts.pool.lock().statistics().count,
        }
    }

    /// The one verb: takes what happened, and puts out what is to be done about it.
    pub fn handle(&mut self, clock: Clock<'_>, input: Input, put: Put<'_>) {
        let now_ms = clock.now_ms();
        self.started_ms.get_or_insert(now_ms);
        match input {
            Input::PeerConnected(info) => self.peer_connected(now_ms, info, put),
            Input::PeerGone(id) => {
                self.sync.disconnected(now_ms, id, &mut self.peers);
                self.peers.disconnect(now_ms, id);
                self.unproven.disconnected(id);
                self.status_stale = true;
            }
            Input::Eth(peer, message) => self.eth(clock, peer, message, put),
            Input::Istanbul(peer, code, bytes) => self.istanbul(clock, peer, code, bytes, put),
            Input::Heard(peer, hashes) => self.transactions_heard(now_ms, peer, hashes),
            Input::PoolChanged => self.gossip.stir(now_ms),
            Input::Vote(request) => self.vote(request),
            Input::Miner(request) => self.miner(now_ms, request),
            Input::Done(done) => self.done(clock, done, put),
            Input::Signed(id, answer) => self.sign_answered(clock, id, answer, put),
            Input::Tick => {}
        }
        self.stand_down();
        self.start_when_ready(clock, put);
        self.put_to_work(clock, put);
        self.tell_new_head(clock, put);
        self.fire_timers(clock, put);
        self.drive_sync(clock, put);
        self.hear_early(clock, put);
        self.spread_transactions(clock, put);
        self.put_to_work(clock, put);
        let now_ms = clock.now_ms();
        if self.status_stale || now_ms >= self.status_at + STATUS_MS {
            self.publish_status(now_ms);
        }
    }

    fn peer_connected(&mut self, now_ms: u64, info: PeerInfo, put: Put<'_>) {
        self.status_stale = true;
        if !self.relay.welcomes(now_ms, &info.node) {
            put(Output::Disconnect(info.id, USELESS_PEER, "it has not regained what it lost by misbehaving".to_owned()));
            return;
        }
        let id = info.id;
        let head = self.head.clone();
        let peer = self.peers.connect(info);
        let pool = self.parts.pool.lock();
        let told = pool.told(ipe_types::eth::MAX_TRANSACTIONS_PER_MESSAGE);
        drop(pool);
        let announcement = self.gossip.connected(peer, told.into_iter());
        announcement.into_iter().for_each(&mut *put);
        let Some(peer) = self.peers.get_mut(id) else { return };
        // A block imported after our Status was written and before now was announced to others only.
        if peer.claimed < head.number && peer.blocks.insert(&head.hash) {
            let block = BlockHashNumber { hash: head.hash, number: head.number };
            put(Output::Eth(vec![id], Arc::new(EthMessage::NewBlockHashes(vec![block]))));
        }
        let shares = shares_consensus(self.settings.topology, self.settings.carrying, peer, &head.validators_next);
        if shares && !planted::is(Bug::HeldNotTold) {
            // Tell it what it has missed of the height in hand; and what it said itself, in case its journal was lost.
            for held in self.held.iter() {
                if peer.messages.insert(&held.key) {
                    put(Output::Istanbul(vec![id], held.kind.code(), held.bytes.clone()));
                }
            }
        }
    }

    fn eth(&mut self, clock: Clock<'_>, id: PeerId, message: EthMessage, put: Put<'_>) {
        let now_ms = clock.now_ms();
        let head = self.head.clone();
        let Some(peer) = self.peers.get_mut(id) else { return };
        match message {
            EthMessage::NewBlockHashes(blocks) => {
                for block in blocks {
                    peer.blocks.insert(&block.hash);
                    peer.claims(block.number);
                }
            }
            EthMessage::NewBlock { block, .. } => self.new_block(clock, id, Arc::from(block), put),
            EthMessage::BlockRangeUpdate { latest, .. } => peer.claimed = latest,
            EthMessage::BlockHeaders { request_id, headers } => {
                let view = crate::blocks::view(&head);
                let verdict = self.sync.on_headers(now_ms, id, request_id, headers, view, &mut self.peers);
                self.judge_sync(clock, id, verdict, put);
            }
            EthMessage::BlockBodies { request_id, bodies } => {
                let verdict = self.sync.on_bodies(now_ms, id, request_id, bodies, &mut self.peers);
                self.judge_sync(clock, id, verdict, put);
            }
            EthMessage::NewPooledTransactionHashes(announced) => {
                let pool = self.parts.pool.lock();
                if is_leaf(self.settings.role) && pool.ready_count() > LEAF_POOL {
                    return;
                }
                let asked = self.gossip.announced(now_ms, peer, &announced, |hash| pool.contains(hash));
                drop(pool);
                asked.into_iter().for_each(put);
            }
            EthMessage::GetBlockHeaders { .. }
            | EthMessage::GetBlockBodies { .. }
            | EthMessage::GetReceipts { .. }
            | EthMessage::GetPooledTransactions { .. } => {
                let find = |hash: &B256| self.parts.pool.lock().get(hash);
                if let Some(answer) = serve::answer(&self.parts.ledger, &find, &message) {
                    put(Output::Eth(vec![id], Arc::new(answer)));
                }
            }
            // Transactions are judged outside and come as `Input::Heard`; a second Status is the network's business; receipts
            // are never asked for.
            EthMessage::Transactions(_)
            | EthMessage::PooledTransactions { .. }
            | EthMessage::Status(_)
            | EthMessage::Receipts { .. } => {}
        }
    }

    pub(crate) fn judge_sync(&mut self, clock: Clock<'_>, id: PeerId, verdict: Result<(), SyncFault>, put: Put<'_>) {
        let Err(fault) = verdict else { return };
        match &fault {
            SyncFault::OtherChain { number, got, ours, sealed: true } => {
                let pinned = self.settings.checkpoint == Some(Checkpoint { number: *number, hash: *got });
                let rule = if pinned { CHECKPOINT } else { "parent_hash" };
                let why = format!(
                    "it does not build on our block {ours}: the data folder has another history than the network; stop the node, wipe the folder but for the signing journal, and start with boots that you trust"
                );
                self.refuse_block(clock, RefusedBlock { number: *number, hash: *got, rule }, &why, put);
            }
            SyncFault::OffCheckpoint { got, expected, sealed: true } => {
                let why = format!(
                    "this node's checkpoint is {expected}: the history in the data folder leads past it, so that one of the two is not the network's; stop the node, and compare both with a node that you trust"
                );
                self.refuse_block(clock, RefusedBlock { number: expected.number, hash: *got, rule: CHECKPOINT }, &why, put);
            }
            SyncFault::OtherChain { .. } | SyncFault::OffCheckpoint { .. } => {
                put(Output::Log(
                    Level::Warn,
                    format!("a peer has another history: {fault}; if every peer does, compare genesis files and data folders"),
                ));
            }
            SyncFault::Unlinked { .. } | SyncFault::Unsealed { .. } | SyncFault::TooMany => {}
        }
        if fault.is_the_peers() {
            if let Some(peer) = self.peers.get_mut(id) {
                peer.failed(clock.now_ms());
            }
            put(Output::Disconnect(id, BREACH_OF_PROTOCOL, fault.to_string()));
        }
    }

    /// Whether a block above the head is known to be final, so that building or voting on that height is pointless; or the
    /// operator knows of one.
    pub(crate) fn is_behind(&self) -> bool {
        let head = self.head.number;
        let above = |number: u64| number > head;
        self.sync.is_behind()
            || self.refused_block.as_ref().is_some_and(|block| above(block.number))
            || self.settings.checkpoint.is_some_and(|checkpoint| above(checkpoint.number))
    }

    fn istanbul(&mut self, clock: Clock<'_>, id: PeerId, code: u8, bytes: Bytes, put: Put<'_>) {
        let now_ms = clock.now_ms();
        let head = self.head.clone();
        let Some(peer) = self.peers.get_mut(id) else { return };
        let (topology, carrying) = (self.settings.topology, self.settings.carrying);
        let shares = shares_consensus(topology, carrying, peer, &head.validators_next)
            || self.coming.as_ref().is_some_and(|coming| shares_consensus(topology, carrying, peer, &coming.validators));
        let window = Window { head: head.number, current: &self.rules[0], next: &self.rules[1], coming: self.coming.as_ref() };
        match self.relay.intake(now_ms, peer, shares, code, &bytes, window) {
            Intake::Drop => {}
            Intake::Early(height) => self.unproven.keep(Early { peer: id, height, code, bytes }),
            // The relay has noted it: f+1 of them prove that we are behind. One may be a liar's, and whoever passed it on has
            // claimed nothing.
            Intake::Ahead(author, height) => self.heard_ahead(author, height),
            Intake::Cut(reason) => put(Output::Disconnect(id, BREACH_OF_PROTOCOL, reason)),
            Intake::Take(message, key) => {
                let (author, height) = (message.author(), message.height());
                if peer.info.address == author {
                    peer.claims(height.saturating_sub(1));
                }
                if author == self.settings.local && !self.heard_own(&message) {
                    // The proposal that it is about may come yet.
                    if height > head.number {
                        self.held.keep(message, &bytes, key);
                    }
                    return;
                }
                *self.heard.entry(author, || now_ms) = now_ms;
                self.pass_on(id, author, key, code, &bytes, put);
                if height > head.number {
                    self.held.keep(message.clone(), &bytes, key);
                    if message.kind() == Kind::Proposal {
                        self.look_at_own_votes();
                    }
                    if self.told_head.is_some() {
                        self.drive(clock, Event::Received(message), put);
                    } else {
                        self.assemble(height);
                    }
                }
            }
        }
    }

    /// What came before its height could be judged.
    fn hear_early(&mut self, clock: Clock<'_>, put: Put<'_>) {
        if self.unproven.held() == 0 || self.heard_early == self.rules[1].height {
            return;
        }
        self.heard_early = self.rules[1].height;
        for Early { peer, code, bytes, .. } in self.unproven.take(self.rules[1].height) {
            self.istanbul(clock, peer, code, bytes, put);
        }
    }

    /// Passes a verified message of a peer on to those whom it concerns.
    fn pass_on(&mut self, from: PeerId, author: Address, key: B256, code: u8, bytes: &Bytes, put: Put<'_>) {
        let head = self.head.clone();
        let Settings { topology, role, local, .. } = self.settings;
        let validating = head.validators_next.contains(&local);
        let from_carried = self.peers.get(from).is_some_and(|peer| peer.info.carried);
        let to = self.receivers(Some(author), key, |peer| passes_on(topology, role, validating, from_carried, peer.info.carried));
        if !to.is_empty() {
            self.relay.relayed += 1;
            put(Output::Istanbul(to, code, bytes.clone()));
        }
    }

    /// Those among `wanted` to whom a consensus message goes and who are not known to have it, marked as having it from
    /// now on.
    pub(crate) fn receivers(&mut self, author: Option<Address>, key: B256, wanted: impl Fn(&Peer) -> bool) -> Vec<PeerId> {
        let head = self.head.clone();
        let (topology, carrying) = (self.settings.topology, self.settings.carrying);
        let coming = self.coming.as_ref();
        self.peers
            .iter_mut()
            .filter(|peer| {
                shares_consensus(topology, carrying, peer, &head.validators_next)
                    || coming.is_some_and(|coming| shares_consensus(topology, carrying, peer, &coming.validators))
            })
            .filter(|peer| author != Some(peer.info.address) && wanted(peer))
            .filter_map(|peer| peer.messages.insert(&key).then_some(peer.info.id))
            .collect()
    }

    fn transactions_heard(&mut self, now_ms: u64, id: PeerId, hashes: Vec<B256>) {
        for hash in &hashes {
            self.gossip.received(hash, &mut self.peers);
        }
        if let Some(peer) = self.peers.get_mut(id) {
            hashes.iter().for_each(|hash| {
                peer.transactions.insert(hash);
            });
        }
        self.gossip.stir(now_ms);
    }

    fn spread_transactions(&mut self, clock: Clock<'_>, put: Put<'_>) {
        let now_ms = clock.now_ms();
        if self.gossip.is_due(now_ms) {
            let mut pool = self.parts.pool.lock();
            let fresh = pool.take_fresh(ipe_types::eth::MAX_TRANSACTIONS_PER_MESSAGE);
            let idle = pool.is_idle();
            drop(pool);
            if !fresh.is_empty() {
                put(Output::Notify(Notification::Pending(Arc::new(fresh.clone()))));
            }
            self.gossip.collect(now_ms, fresh, &mut self.peers);
            if !idle && self.waits_for_transactions() {
                self.drive(clock, Event::TransactionsWaiting, put);
            }
        }
        let place = GossipPlace { role: self.settings.role, topology: self.settings.topology };
        self.gossip.tick(now_ms, &mut self.peers, place).into_iter().for_each(put);
    }

    fn miner(&mut self, now_ms: u64, request: MinerControl) {
        match request {
            MinerControl::TargetGasLimit(limit, reply) => {
                self.settings.target_gas_limit = Some(limit);
                reply(());
            }
            MinerControl::MinGasPrice(price, reply) => {
                // For the pool alone: a fixed base fee is the one of the start, as in Besu, or the others refuse our blocks.
                self.parts.pool.lock().set_min_gas_price(now_ms, u128::from(price));
                reply(());
            }
            MinerControl::Vanity(text, reply) => {
                let mut vanity = text.to_vec();
                vanity.resize(32, 0);
                self.settings.vanity = vanity.into();
                reply(());
            }
            MinerControl::GetVanity(reply) => reply(self.settings.vanity.clone()),
        }
    }

    fn vote(&mut self, request: VoteControl) {
        let head = self.head.clone();
        let next = self.parts.spec.qbft_at(head.number + 1, head.header.timestamp);
        let by_contract = matches!(next.selection, ipe_types::transition::Selection::Contract(_));
        self.wishes.answer(request, by_contract);
    }

    fn fire_timers(&mut self, clock: Clock<'_>, put: Put<'_>) {
        for _ in 0..MAX_FIRED {
            // A head that is about to come ends what they are for.
            if self.is_behind() || self.works.is_finishing() {
                return;
            }
            let now_ms = clock.now_ms();
            let due = self.timers.iter_mut().filter(|slot| slot.is_some_and(|(_, at)| at <= now_ms));
            let Some((timer, _)) = due.min_by_key(|slot| slot.map(|(_, at)| at)).and_then(Option::take) else { return };
            self.drive(clock, Event::TimerFired(timer), put);
        }
    }

    pub(crate) fn touch_status(&mut self) {
        self.status_stale = true;
    }

    fn publish_status(&mut self, now_ms: u64) {
        self.status_at = now_ms;
        self.status_stale = false;
        let head = self.head.clone();
        let next = &head.validators_next;
        let params = self.parts.spec.qbft_at(head.number + 1, head.header.timestamp);
        // Silent for two request timeouts and an (empty) period: the others have had to do without it.
        let patience = 2 * params.request_timeout_ms + params.period_ms.max(params.empty_period_ms);
        let heard: Vec<Address> = next
            .iter()
            .filter(|address| {
                (self.core.is_some() && **address == self.settings.local && self.doubt().is_none())
                    || self.heard.iter().any(|(known, at)| known == *address && at + patience >= now_ms)
            })
            .copied()
            .collect();
        let round = match &self.core {
            // Before the block timer there is no round yet; the next one is 0.
            Some(core) if core.is_validator() => Some(core.round().unwrap_or(0)),
            _ if is_leaf(self.settings.role) => None,
            _ => Some(self.held.round_of(head.number + 1).unwrap_or(0)),
        };
        self.parts.status.set(Status {
            height: head.number,
            head: head.hash,
            head_timestamp: head.header.timestamp,
            round,
            validating: self.core.is_some() && next.contains(&self.settings.local),
            abstains: self.doubt(),
            validators: next.as_slice().to_vec(),
            fault_margin: heard.len() as i64 - next.quorum() as i64,
            validators_heard: heard,
            sync: self.sync_progress(),
            best_known: self.best_known(),
            refused_block: self.refused_block.clone(),
            peers: self.peers.by_role(),
            relayed: self.relay.relayed,
            duplicates: self.relay.duplicates,
            refused: self.relay.refused,
            peers_cut: self.relay.cut,
            round_changes: self.round_changes,
            proposed: self.proposed,
            build_budget_gas: self.pace.budget(),
            last_error: self.last_error.clone(),
        });
    }
}

/// A core that knows nothing yet.
pub(crate) fn new_core(settings: &Settings) -> Core {
    Core::new(ipe_qbft::Settings { local: settings.local, dialect: settings.dialect })
}

/// By what consensus messages of the height after `head` are judged.
pub(crate) fn rules_after(head: &Head) -> Rules {
    Rules {
        height: head.number.saturating_add(1),
        validators: head.validators_next.clone(),
        previous_proposer: head.header.beneficiary,
    }
}

/// Whether no transaction passes through nodes of this role but their own clients'.
pub(crate) fn is_leaf(role: Role) -> bool {
    matches!(role, Role::Writer | Role::ObserverBoot | Role::Observer)
}
