//! What comes from the network: sorted, decoded and recovered beside the replica's thread, so that neither a flood of
//! transactions nor a peer that synchronises from us delays a consensus message.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use ipe_chain::Ledger;
use ipe_engine::admission::Judged;
use ipe_engine::fair_queue::{FairQueue, Payer};
use ipe_engine::pool::Pool;
use ipe_engine::serve::{self, Desk};
use ipe_engine::{Input, PeerId, PeerInfo, PeerStatus};
use ipe_p2p::event::Credit;
use ipe_p2p::{Inbound, NetEvent, NetworkHandle, Protocol};
use ipe_types::eth::{EthMessage, EthVersion, Status, code};
use ipe_types::{B256, Bytes, Dialect, Transaction};
use parking_lot::{Condvar, Mutex};
use tokio::sync::{mpsc, watch};

use crate::dialect::misunderstanding;
use crate::inbox::Inbox;
use crate::outbound::Versions;
use crate::peers::Neighbours;

/// Points that a message which does not decode costs its sender: Besu ends such a session at once, and so do we.
const UNDECODABLE: u32 = 100;

/// Messages sorted between two answers.
const BATCH: usize = 32;
/// Longest wait for a message while nothing waits to be answered.
const IDLE: Duration = Duration::from_secs(60);
/// Transactions judged before others have their turn: 10 ms.
const SLICE: usize = 256;

/// An eth message as it came.
struct Raw {
    peer: PeerId,
    payer: Payer,
    version: EthVersion,
    code: u8,
    payload: Bytes,
    credit: Credit,
}

/// Transactions of one message, as they came or what is left of them to be judged.
enum Transactions {
    Raw(Raw),
    Rest(Vec<Transaction>, Credit),
}

/// Transactions that wait for the threads that recover senders.
struct Queue {
    pieces: Mutex<(FairQueue<Transactions>, Open)>,
    came: Condvar,
}

/// Whether more may come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Yes,
    No,
}

impl Queue {
    fn new() -> Self {
        Self { pieces: Mutex::new((FairQueue::new(now_ms()), Open::Yes)), came: Condvar::new() }
    }

    fn put(&self, payer: Payer, peer: PeerId, work: Transactions) {
        self.pieces.lock().0.put(payer, peer, work);
        self.came.notify_one();
    }

    /// What is left of a piece in hand goes before everything else of its node.
    fn put_back(&self, payer: Payer, peer: PeerId, work: Transactions) {
        self.pieces.lock().0.put_back(payer, peer, work);
        self.came.notify_one();
    }

    /// Waits for the next piece; `None` when nothing comes any more.
    fn next(&self) -> Option<(Payer, PeerId, Transactions)> {
        let mut pieces = self.pieces.lock();
        loop {
            if pieces.1 == Open::No {
                return None;
            }
            if let Some(next) = pieces.0.next(now_ms()) {
                return Some(next);
            }
            let patience = pieces.0.again_at(now_ms()).map_or(IDLE, |at| Duration::from_millis(at.saturating_sub(now_ms())));
            self.came.wait_for(&mut pieces, patience);
        }
    }

    fn done(&self, payer: Payer, took_us: u64, vain_us: u64) {
        self.pieces.lock().0.done(now_ms(), payer, took_us, vain_us);
    }

    fn gone(&self, payer: Payer, peer: PeerId) {
        self.pieces.lock().0.gone(&payer.node, peer);
    }

    fn close(&self) {
        self.pieces.lock().1 = Open::No;
        self.came.notify_all();
    }
}

fn now_ms() -> u64 {
    crate::driver::steady_us() / 1_000
}

/// What the workers share.
pub(crate) struct Shared {
    pub(crate) network: NetworkHandle,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) pool: Arc<Mutex<Pool>>,
    pub(crate) inbox: Inbox,
    pub(crate) versions: Versions,
    /// What this node emits, when it may validate.
    pub(crate) dialect: Option<Dialect>,
    /// Who is who.
    pub(crate) neighbours: Arc<Neighbours>,
}

/// The workers; they end when the network's events do.
pub(crate) struct Workers {
    transactions: Arc<Queue>,
    requests: Sender<Raw>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Starts the threads: recovery of senders on half of the processors (one recovers some 25,000 a second; more would
    /// only take the replica's time), and one for everything else.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub(crate) fn start(shared: Arc<Shared>) -> io::Result<Self> {
        let transactions = Arc::new(Queue::new());
        let (requests, requests_out) = unbounded::<Raw>();
        let judged = Arc::new(Judged::default());
        let mut threads = Vec::new();
        let parallel = (std::thread::available_parallelism().map_or(1, usize::from) / 2).clamp(1, 4);
        for index in 0..parallel {
            let (queue, shared, judged) = (transactions.clone(), shared.clone(), judged.clone());
            let work = move || recover(&shared, &judged, &queue);
            threads.push(std::thread::Builder::new().name(format!("recover-{index}")).spawn(work)?);
        }
        let work = move || answer(&shared, &requests_out);
        threads.push(std::thread::Builder::new().name("eth".to_owned()).spawn(work)?);
        Ok(Self { transactions, requests, threads })
    }

    /// Hands events over until the network ends or the node stops. The network alone would not do: it ends with its
    /// last handle, and `shared` has one.
    pub(crate) async fn pump(self, shared: Arc<Shared>, mut events: mpsc::Receiver<NetEvent>, mut stopped: watch::Receiver<bool>) {
        let mut payers: HashMap<PeerId, Payer> = HashMap::new();
        loop {
            let event = tokio::select! {
                event = events.recv() => event,
                _ = stopped.wait_for(|stop| *stop) => None,
            };
            let Some(event) = event else { break };
            match event {
                NetEvent::Connected(info) => {
                    let id = PeerId(info.id.0);
                    shared.versions.write().insert(id, info.eth);
                    payers.insert(id, Payer { node: info.node, known: info.role.is_some() });
                    let peer = peer_info(&shared.neighbours, &info);
                    warn_of_dialect(&shared, &peer, &info.client);
                    shared.inbox.control(Input::PeerConnected(peer));
                }
                NetEvent::Disconnected { peer, .. } => {
                    let id = PeerId(peer.0);
                    shared.versions.write().remove(&id);
                    if let Some(payer) = payers.remove(&id) {
                        self.transactions.gone(payer, id);
                    }
                    shared.inbox.consensus(Input::PeerGone(id), None);
                }
                NetEvent::Message(message) => self.message(&shared, &payers, message),
            }
        }
        let Self { transactions, requests, threads } = self;
        transactions.close();
        drop(requests);
        let join = move || threads.into_iter().for_each(|thread| drop(thread.join()));
        let _ = tokio::task::spawn_blocking(join).await;
    }

    fn message(&self, shared: &Shared, payers: &HashMap<PeerId, Payer>, message: Inbound) {
        let Inbound { peer, protocol, code, payload, credit, arrived } = message;
        let peer = PeerId(peer.0);
        let payload = Bytes::from(payload);
        match protocol {
            Protocol::Istanbul => shared.inbox.consensus(Input::Istanbul(peer, code, payload), Some((credit, arrived))),
            Protocol::Eth => {
                let Some(version) = shared.versions.read().get(&peer).copied() else { return };
                let Some(payer) = payers.get(&peer).copied() else { return };
                let raw = Raw { peer, payer, version, code, payload, credit };
                match code {
                    code::TRANSACTIONS | code::POOLED_TRANSACTIONS => self.transactions.put(payer, peer, Transactions::Raw(raw)),
                    // It fails only when the thread is gone, and then the process ends.
                    _ => drop(self.requests.send(raw)),
                }
            }
            Protocol::Ipe => {}
        }
    }
}

/// Two validators that cannot read each other cost the network a round at each of their turns, and nothing else shows why.
fn warn_of_dialect(shared: &Shared, peer: &PeerInfo, client: &str) {
    if let Some(ours) = shared.dialect
        && shared.ledger.head().validators_next.contains(&peer.address)
        && let Some(why) = misunderstanding(client, ours)
    {
        tracing::warn!(validator = %peer.address, client, "{why}");
    }
}

fn peer_info(neighbours: &Neighbours, info: &ipe_p2p::PeerInfo) -> PeerInfo {
    let total_difficulty = match &info.status {
        Status::Legacy { total_difficulty, .. } => Some(*total_difficulty),
        Status::Range { .. } => None,
    };
    PeerInfo {
        id: PeerId(info.id.0),
        node: info.node,
        address: neighbours.address_of(&info.node),
        role: info.role,
        eth: info.eth,
        istanbul: info.istanbul,
        inbound: info.inbound,
        carried: info.path != ipe_p2p::Path::Direct,
        status: PeerStatus { head: info.status.head_hash(), height: info.status.head_number(), total_difficulty },
    }
}

fn decode(shared: &Shared, raw: &Raw) -> Option<EthMessage> {
    match EthMessage::decode(raw.version, raw.code, &raw.payload) {
        Ok(message) => Some(message),
        Err(error) => {
            shared.network.penalise(ipe_p2p::PeerId(raw.peer.0), UNDECODABLE, &error.to_string());
            None
        }
    }
}

/// Decodes transactions, recovers the senders of those not judged before, and offers them to the pool; some at a time, so
/// that nobody waits for the whole message of another.
fn recover(shared: &Shared, judged: &Judged, queue: &Queue) {
    while let Some((payer, peer, work)) = queue.next() {
        let began_us = crate::driver::steady_us();
        let vain_us = judge_some(shared, judged, queue, (payer, peer), work);
        queue.done(payer, crate::driver::steady_us().saturating_sub(began_us), vain_us);
    }
}

/// Answers with the work for what no honest node would have passed on, µs.
fn judge_some(shared: &Shared, judged: &Judged, queue: &Queue, (payer, peer): (Payer, PeerId), work: Transactions) -> u64 {
    let (mut transactions, credit) = match work {
        Transactions::Rest(transactions, credit) => (transactions, credit),
        Transactions::Raw(raw) => match decode(shared, &raw) {
            Some(EthMessage::Transactions(transactions) | EthMessage::PooledTransactions { transactions, .. }) => {
                (transactions, raw.credit)
            }
            _ => return 0,
        },
    };
    let rest = transactions.split_off(transactions.len().min(SLICE));
    let heard = judged.hear(&shared.pool, &shared.ledger, now_ms(), payer, transactions);
    let last = if rest.is_empty() {
        Some(credit)
    } else {
        queue.put_back(payer, peer, Transactions::Rest(rest, credit));
        None
    };
    shared.inbox.bulk(Input::Heard(peer, heard.hashes), last);
    heard.vain_us
}

/// Decodes everything else; hands it to the replica, and answers requests here, each when the turn of who asks has come.
fn answer(shared: &Shared, queue: &Receiver<Raw>) {
    let pooled = |hash: &B256| shared.pool.lock().get(hash);
    let mut desk: Desk<(Raw, EthMessage)> = Desk::new(now_ms());
    loop {
        let patience = desk.ready_at(now_ms()).map_or(IDLE, |at| Duration::from_millis(at.saturating_sub(now_ms())));
        let first = match queue.recv_timeout(patience) {
            Ok(raw) => Some(raw),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        // Blocks and answers do not wait for what others ask, nor the other way round.
        for raw in first.into_iter().chain(queue.try_iter().take(BATCH)) {
            let Some(message) = decode(shared, &raw) else { continue };
            match serve::items(&message) {
                Some(_) => desk.put(raw.payer, (raw, message)),
                None => shared.inbox.bulk(Input::Eth(raw.peer, message), Some(raw.credit)),
            }
        }
        let Some((payer, (raw, request))) = desk.next(now_ms()) else { continue };
        // Nobody waits for it any more.
        if !shared.versions.read().contains_key(&raw.peer) {
            continue;
        }
        let items = serve::items(&request).unwrap_or_default();
        let Some(answer) = serve::answer(&shared.ledger, &pooled, &request) else { continue };
        let (code, bytes) = answer.encode(raw.version);
        desk.charge(now_ms(), payer, bytes.len(), items);
        shared.network.send(ipe_p2p::PeerId(raw.peer.0), Protocol::Eth, code, bytes.0);
    }
}
