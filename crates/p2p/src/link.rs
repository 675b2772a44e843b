//! One session's shared part: what is queued for the peer, what it may still send us, and how the session ends.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ipe_types::NodeId;
use ipe_types::eth::{MAX_MESSAGE_BYTES, code};
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, watch};

use crate::capability::Shared as SharedCapabilities;
use crate::disconnect::Reason;
use crate::event::{Credit, PeerId, Protocol};
use crate::intake::Intake;

/// Messages that may wait for one peer: more than a healthy peer ever leaves waiting, few enough to notice a dead one.
const MAX_QUEUED_MESSAGES: usize = 4096;
/// Bytes that may wait for a known node: a few of the largest answers.
const KNOWN_QUEUED_BYTES: usize = 32 * 1024 * 1024;
/// Bytes that may wait for a stranger: one of the largest messages and some.
const STRANGER_QUEUED_BYTES: usize = 12 * 1024 * 1024;
/// From here on announced and pushed transactions are left out: a peer that is behind needs blocks and consensus first,
/// and must not be cut because the network is busy. From a quarter of its bytes on no further question of it is taken.
const SHED_QUEUED_MESSAGES: usize = MAX_QUEUED_MESSAGES / 4;
/// Questions of a peer that may be unanswered at once: an answer may be thousands of times as long.
const MAX_QUESTIONS: u32 = 8;
/// Unit of the inbound allowances. A message costs at least one unit, so that small ones are bounded by count.
const CREDIT_BYTES: usize = 16 * 1024;
/// Allowances of a known node, in units, for consensus and for all else: 12 MiB, one message of the largest size and
/// some, or 768 small ones; and 24 MiB. Apart, so that a busy pool does not hold up the votes on the same connection.
const KNOWN_CREDITS: [u32; 2] = [768, 1536];
/// Allowances of a stranger: 2 and 6 MiB. A single larger message takes all.
const STRANGER_CREDITS: [u32; 2] = [128, 384];
/// Points that a peer may lose before it is cut.
const BUDGET: u32 = 100;
/// Time in which one lost point comes back: a peer that errs once in a while is kept for ever.
const POINT_BACK: Duration = Duration::from_secs(3);

/// A payload that any number of peers share; compressed once, by the first task that sends it.
#[derive(Debug)]
pub(crate) struct Payload {
    raw: Bytes,
    compressed: OnceLock<Bytes>,
}

impl Payload {
    pub(crate) fn new(raw: Bytes) -> Self {
        Payload { raw, compressed: OnceLock::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.raw.len()
    }

    pub(crate) fn compressed(&self) -> &Bytes {
        self.compressed.get_or_init(|| crate::snappy::compress(&self.raw))
    }
}

/// A message that waits to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub(crate) protocol: Protocol,
    pub(crate) code: u8,
    pub(crate) payload: Arc<Payload>,
}

/// What waits for the writer, the urgent first.
#[derive(Debug, Default)]
struct Queue {
    ping: bool,
    pong: bool,
    consensus: VecDeque<Outgoing>,
    bulk: VecDeque<Outgoing>,
    bytes: usize,
}

/// What the writer is to send next.
#[derive(Debug)]
pub(crate) enum Next {
    Ping,
    Pong,
    Message(Outgoing),
}

/// How a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Close {
    /// `None`: the connection broke.
    pub(crate) reason: Option<Reason>,
    pub(crate) by_us: bool,
}

/// What a peer may leave unhandled at our side.
#[derive(Debug)]
struct Allowance {
    units: u32,
    free: Arc<Semaphore>,
}

impl Allowance {
    fn new(units: u32) -> Self {
        Allowance { units, free: Arc::new(Semaphore::new(units as usize)) }
    }
}

/// Whether a message only tells of transactions: it can be left out, for the sender's pool still holds them.
pub(crate) fn is_gossip(protocol: Protocol, message: u8) -> bool {
    protocol == Protocol::Eth && matches!(message, code::TRANSACTIONS | code::NEW_POOLED_TRANSACTION_HASHES)
}

/// Whether a message asks for something that we have to look up and send.
pub(crate) fn is_question(protocol: Protocol, message: u8) -> bool {
    let questions = [code::GET_BLOCK_HEADERS, code::GET_BLOCK_BODIES, code::GET_POOLED_TRANSACTIONS, code::GET_RECEIPTS];
    protocol == Protocol::Eth && questions.contains(&message)
}

#[derive(Debug)]
struct Budget {
    left: u32,
    at: Instant,
}

/// The shared part of a session, from the other's Hello on.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) id: PeerId,
    pub(crate) node: NodeId,
    pub(crate) inbound: bool,
    /// Whether it is a known node's.
    pub(crate) known: bool,
    pub(crate) capabilities: SharedCapabilities,
    queue: Mutex<Queue>,
    max_queued_bytes: usize,
    wake: Notify,
    /// Told when so little waits that the peer may ask again.
    room: Notify,
    close: watch::Sender<Option<Close>>,
    finished: watch::Sender<bool>,
    credits: [Allowance; 2],
    intake: Intake,
    /// Whether the reader waits for our own side, so that silence is not the peer's fault.
    stalled: AtomicBool,
    /// When the peer was asked for a sign of life because somebody with its key has connected again.
    probed: Mutex<Option<Instant>>,
    born: Instant,
    /// When the peer was last heard, in milliseconds after `born`.
    heard: AtomicU64,
    budget: Mutex<Budget>,
}

impl Link {
    pub(crate) fn new(id: PeerId, node: NodeId, inbound: bool, known: bool, capabilities: SharedCapabilities) -> Self {
        let allowances = if known { KNOWN_CREDITS } else { STRANGER_CREDITS };
        Link {
            id,
            node,
            inbound,
            known,
            capabilities,
            queue: Mutex::default(),
            max_queued_bytes: if known { KNOWN_QUEUED_BYTES } else { STRANGER_QUEUED_BYTES },
            wake: Notify::new(),
            room: Notify::new(),
            close: watch::Sender::new(None),
            finished: watch::Sender::new(false),
            credits: allowances.map(Allowance::new),
            intake: Intake::new(known),
            stalled: AtomicBool::new(false),
            probed: Mutex::new(None),
            born: Instant::now(),
            heard: AtomicU64::new(0),
            budget: Mutex::new(Budget { left: BUDGET, at: Instant::now() }),
        }
    }

    /// Queues a message. `false` when the protocol is not shared or the session ends; a peer that reads too slowly to
    /// keep its queue within bounds is cut.
    pub(crate) fn push(&self, message: Outgoing) -> bool {
        if !self.capabilities.has(message.protocol) || self.closing().is_some() {
            return false;
        }
        if message.payload.len() > MAX_MESSAGE_BYTES {
            tracing::error!(
                bytes = message.payload.len(),
                "not sending a message over {MAX_MESSAGE_BYTES} bytes: no peer would accept it"
            );
            return false;
        }
        let overflow = {
            let mut queue = self.queue.lock();
            let waiting = queue.consensus.len() + queue.bulk.len();
            let bytes = queue.bytes + message.payload.len();
            let behind = waiting >= SHED_QUEUED_MESSAGES || (waiting > 0 && bytes > self.max_queued_bytes / 4);
            if behind && is_gossip(message.protocol, message.code) {
                return false;
            }
            let full = waiting >= MAX_QUEUED_MESSAGES || (waiting > 0 && bytes > self.max_queued_bytes);
            if !full {
                queue.bytes = bytes;
                match message.protocol {
                    Protocol::Istanbul => queue.consensus.push_back(message),
                    Protocol::Eth | Protocol::Ipe => queue.bulk.push_back(message),
                }
            }
            full
        };
        if overflow {
            // Strangers come back to do it again, as often as they like.
            if self.known {
                tracing::info!(
                    peer = %short(self.node),
                    "cutting a peer that does not read: more than {MAX_QUEUED_MESSAGES} messages or {} bytes wait for it",
                    self.max_queued_bytes
                );
            }
            self.end(Some(Reason::Timeout), true);
            return false;
        }
        self.wake.notify_one();
        true
    }

    pub(crate) fn ping(&self) {
        self.queue.lock().ping = true;
        self.wake.notify_one();
    }

    /// Asks for a sign of life soon: the writer ends the session when none comes.
    pub(crate) fn probe(&self) {
        self.probed.lock().get_or_insert_with(Instant::now);
        self.ping();
    }

    /// When the sign of life was asked for; none when it was not, or something has come since.
    pub(crate) fn probed(&self, heard: Instant) -> Option<Instant> {
        let mut probed = self.probed.lock();
        if probed.is_some_and(|asked| heard > asked) {
            *probed = None;
        }
        *probed
    }

    /// Answers a Ping; any number that waits is answered once.
    pub(crate) fn pong(&self) {
        self.queue.lock().pong = true;
        self.wake.notify_one();
    }

    pub(crate) fn next(&self) -> Option<Next> {
        let mut queue = self.queue.lock();
        if std::mem::take(&mut queue.pong) {
            return Some(Next::Pong);
        }
        let message = match queue.consensus.pop_front() {
            Some(message) => Some(message),
            None if std::mem::take(&mut queue.ping) => return Some(Next::Ping),
            None => queue.bulk.pop_front(),
        };
        let message = message?;
        queue.bytes -= message.payload.len();
        if queue.bytes < self.max_queued_bytes / 4 {
            self.room.notify_one();
        }
        Some(Next::Message(message))
    }

    /// Waits until the peer has taken most of its answers. `false`: the session ends.
    pub(crate) async fn room_for_an_answer(&self) -> bool {
        while self.queue.lock().bytes >= self.max_queued_bytes / 4 {
            self.set_stalled(true);
            let ended = tokio::select! {
                () = self.room.notified() => false,
                _ = self.closed() => true,
            };
            self.set_stalled(false);
            if ended {
                return false;
            }
        }
        true
    }

    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Ends the session; the first reason stays.
    pub(crate) fn end(&self, reason: Option<Reason>, by_us: bool) {
        self.close.send_if_modified(|close| {
            let first = close.is_none();
            if first {
                *close = Some(Close { reason, by_us });
            }
            first
        });
    }

    pub(crate) fn closing(&self) -> Option<Close> {
        *self.close.borrow()
    }

    /// Waits until the session is to end.
    pub(crate) async fn closed(&self) -> Close {
        let mut receiver = self.close.subscribe();
        loop {
            if let Some(close) = *receiver.borrow_and_update() {
                return close;
            }
            if receiver.changed().await.is_err() {
                return Close { reason: None, by_us: true };
            }
        }
    }

    /// Tells that no event of this session follows.
    pub(crate) fn finish(&self) {
        self.finished.send_replace(true);
    }

    /// Waits for [`Self::finish`].
    pub(crate) async fn finished(&self) {
        let mut receiver = self.finished.subscribe();
        // An error would mean that the sender is gone, which `self` owns.
        let _ = receiver.wait_for(|finished| *finished).await;
    }

    /// Charges a message before it is decompressed, waiting until the peer's earlier ones are paid for. `false`: leave it
    /// out, because the session ends, or it tells of transactions and the peer is in debt.
    pub(crate) async fn charge(&self, gossip: bool, wire: usize, declared: usize) -> bool {
        while let Err(wait) = self.intake.charge(wire, declared) {
            if gossip {
                return false;
            }
            self.set_stalled(true);
            let ended = tokio::select! {
                () = tokio::time::sleep(wait) => false,
                _ = self.closed() => true,
            };
            self.set_stalled(false);
            if ended {
                return false;
            }
        }
        true
    }

    /// Takes allowance for a message of that length, waiting until the owner has dropped enough earlier ones. `None`:
    /// the session ends, or the message tells of transactions and there is no allowance for it: leave it out.
    pub(crate) async fn credit(&self, protocol: Protocol, code: u8, bytes: usize) -> Option<Credit> {
        let allowance = &self.credits[usize::from(protocol != Protocol::Istanbul)];
        let least = if is_question(protocol, code) { allowance.units / MAX_QUESTIONS } else { 1 };
        let units = u32::try_from(bytes.div_ceil(CREDIT_BYTES)).unwrap_or(u32::MAX).clamp(least, allowance.units);
        if let Ok(permit) = Arc::clone(&allowance.free).try_acquire_many_owned(units) {
            return Some(Credit(permit));
        }
        if is_gossip(protocol, code) {
            return None;
        }
        self.stalled.store(true, Ordering::Relaxed);
        let permit = tokio::select! {
            permit = Arc::clone(&allowance.free).acquire_many_owned(units) => permit.ok(),
            _ = self.closed() => None,
        };
        self.stalled.store(false, Ordering::Relaxed);
        permit.map(Credit)
    }

    pub(crate) fn set_stalled(&self, stalled: bool) {
        self.stalled.store(stalled, Ordering::Relaxed);
    }

    /// Notes that the peer lives.
    pub(crate) fn hear(&self) {
        let after = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.heard.store(after, Ordering::Relaxed);
    }

    /// When the peer was last heard.
    pub(crate) fn heard(&self) -> Instant {
        self.born + Duration::from_millis(self.heard.load(Ordering::Relaxed))
    }

    /// How long the connection has lasted since the other's Hello.
    pub(crate) fn age(&self) -> Duration {
        self.born.elapsed()
    }

    pub(crate) fn stalled(&self) -> bool {
        self.stalled.load(Ordering::Relaxed)
    }

    /// Takes points from the peer's budget; `true` when it is used up.
    pub(crate) fn penalise(&self, points: u32) -> bool {
        let mut budget = self.budget.lock();
        let back = budget.at.elapsed().as_millis() / POINT_BACK.as_millis();
        if back > 0 {
            budget.left = budget.left.saturating_add(u32::try_from(back).unwrap_or(BUDGET)).min(BUDGET);
            budget.at = Instant::now();
        }
        budget.left = budget.left.saturating_sub(points);
        budget.left == 0
    }
}

/// The start of a node id, for logs.
pub(crate) fn short(node: NodeId) -> String {
    let bytes: &[u8] = node.as_slice();
    bytes.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capability::Shared;

    fn link() -> Link {
        Link::new(PeerId(1), NodeId::ZERO, false, true, Shared::all_for_tests())
    }

    fn message(protocol: Protocol, length: usize) -> Outgoing {
        Outgoing { protocol, code: 0x12, payload: Arc::new(Payload::new(vec![0; length].into())) }
    }

    #[test]
    fn consensus_overtakes_bulk() {
        let link = link();
        assert!(link.push(message(Protocol::Eth, 5)));
        assert!(link.push(message(Protocol::Istanbul, 6)));
        link.pong();
        assert!(matches!(link.next(), Some(Next::Pong)));
        assert!(matches!(link.next(), Some(Next::Message(Outgoing { protocol: Protocol::Istanbul, .. }))));
        assert!(matches!(link.next(), Some(Next::Message(Outgoing { protocol: Protocol::Eth, .. }))));
        assert!(link.next().is_none());
    }

    #[test]
    fn a_peer_that_does_not_read_is_cut_by_count_and_by_bytes() {
        let by_count = link();
        for _ in 0..MAX_QUEUED_MESSAGES {
            assert!(by_count.push(message(Protocol::Eth, 1)));
        }
        assert!(!by_count.push(message(Protocol::Eth, 1)));
        assert_eq!(by_count.closing(), Some(Close { reason: Some(Reason::Timeout), by_us: true }));
        let by_bytes = link();
        for _ in 0..4 {
            assert!(by_bytes.push(message(Protocol::Eth, KNOWN_QUEUED_BYTES / 4)));
        }
        assert!(!by_bytes.push(message(Protocol::Istanbul, 1)));
        assert!(by_bytes.closing().is_some());
    }

    #[tokio::test]
    async fn a_busy_pool_holds_up_neither_votes_nor_the_session() {
        let link = link();
        let gossip = Outgoing { code: code::TRANSACTIONS, ..message(Protocol::Eth, 1) };
        let queued = (0..MAX_QUEUED_MESSAGES).filter(|_| link.push(gossip.clone())).count();
        assert_eq!(queued, SHED_QUEUED_MESSAGES);
        assert!(link.push(message(Protocol::Istanbul, 1)) && link.closing().is_none());
        let mut held = Vec::new();
        while let Some(credit) = link.credit(Protocol::Eth, code::TRANSACTIONS, 100_000).await {
            held.push(credit);
        }
        assert_eq!(held.len() as u32, KNOWN_CREDITS[1] / 7);
        assert!(link.credit(Protocol::Istanbul, 0x13, 200).await.is_some());
        held.pop();
        assert!(link.credit(Protocol::Eth, code::TRANSACTIONS, 100_000).await.is_some(), "given back when handled");
    }

    #[tokio::test]
    async fn questions_wait_for_their_answers_to_be_taken() {
        let link = link();
        let mut held = Vec::new();
        for _ in 0..MAX_QUESTIONS {
            held.push(link.credit(Protocol::Eth, code::GET_BLOCK_BODIES, 40).await.expect("an allowance"));
        }
        let next = link.credit(Protocol::Eth, code::GET_BLOCK_BODIES, 40);
        assert!(tokio::time::timeout(Duration::from_millis(50), next).await.is_err(), "too many are unanswered");
        held.clear();
        assert!(link.push(message(Protocol::Eth, KNOWN_QUEUED_BYTES / 4)));
        assert!(tokio::time::timeout(Duration::from_millis(50), link.room_for_an_answer()).await.is_err());
        assert!(link.next().is_some());
        let room = tokio::time::timeout(Duration::from_secs(5), link.room_for_an_answer()).await;
        assert_eq!(room, Ok(true), "taken");
    }

    #[test]
    fn a_budget_runs_out_and_the_first_reason_stays() {
        let link = link();
        assert!(!link.penalise(99));
        assert!(link.penalise(1));
        link.end(Some(Reason::BreachOfProtocol), true);
        link.end(None, false);
        assert_eq!(link.closing(), Some(Close { reason: Some(Reason::BreachOfProtocol), by_us: true }));
    }
}
