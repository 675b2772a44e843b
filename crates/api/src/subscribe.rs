//! WebSocket connections: calls, and the subscriptions of `eth_subscribe`.
//!
//! A client that does not read is not waited for: when a message cannot be sent within [`SEND_TIME`], or the node has
//! announced more than the ring of notifications holds while the client was busy, the connection is closed with a reason.
//! Silently skipping logs would be worse than making the client reconnect.

use crate::access::Access;
use crate::backend::{Api, Release};
use crate::error::RpcError;
use crate::eth_logs::LogFilter;
use crate::params::Params;
use crate::purse::Lease;
use crate::server::{Answer, HttpConfig};
use crate::shapes::{Place, RpcBlock, RpcLog, RpcTransaction};
use crate::table::Group;
use crate::turns::Caller;
use crate::wire;
use alloy_primitives::U64;
use axum::extract::ws::{CloseFrame, Message, WebSocket};
use ipe_chain::{Candidate, Imported};
use ipe_engine::Notification;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;

/// Longest one message may wait for the client to read.
const SEND_TIME: Duration = Duration::from_secs(20);
/// A ping this often keeps middle boxes and the quiet rule of the listener content.
const PING: Duration = Duration::from_secs(30);
/// "Policy violation": the client is too slow.
const CLOSE_SLOW: u16 = 1008;
/// "Going away": the node stops.
const CLOSE_AWAY: u16 = 1001;

/// What all subscriptions of a node together may want, see [`Topic::weight`]: what each new block costs at most. Three quarters for
/// one address.
pub(crate) const ATTENTION: usize = 16_384;
/// The share of it that one connection may have: eight connections.
const OF_ONE: usize = ATTENTION / 8;

/// Bytes of events that one connection is sent about one block, or one round of pending transactions: some 45,000 transfers
/// as JSON, or 90,000 logs without data. Who wants more has to ask for it by call.
const NEWS_BYTES: usize = 32 << 20;

/// What a subscription wants to hear.
enum Topic {
    NewHeads { full: bool },
    Logs(Box<LogFilter>),
    Pending { full: bool },
    Syncing,
}

impl Topic {
    /// What hearing of a block costs, in comparisons of a log with one address or topic.
    fn weight(&self) -> usize {
        match self {
            Topic::Logs(filter) => 4 + filter.alternatives(),
            Topic::NewHeads { full: true } | Topic::Pending { full: true } => 128,
            Topic::NewHeads { full: false } | Topic::Pending { full: false } => 4,
            Topic::Syncing => 1,
        }
    }
}

/// A subscription, and its part of [`ATTENTION`].
struct Subscription {
    topic: Topic,
    part: Lease,
}

struct Session {
    api: Arc<Api>,
    config: Arc<HttpConfig>,
    /// By the token of the upgrade, which may come to its end meanwhile: asked for each call.
    access: Access,
    caller: Caller,
    socket: WebSocket,
    /// A message that came while the one before it was being answered. No other is read before it.
    early: Option<Message>,
    topics: BTreeMap<u64, Subscription>,
    next: u64,
    release: Release,
}

/// Ready when the node stops.
async fn gone(stopped: &mut watch::Receiver<bool>) {
    // The value must not be borrowed across anything awaited; an error means that the sender is gone, which is a stop too.
    drop(stopped.wait_for(|stop| *stop).await);
}

/// The message that came early, or the next.
async fn next(early: &mut Option<Message>, socket: &mut WebSocket) -> Option<Result<Message, axum::Error>> {
    match early.take() {
        Some(message) => Some(Ok(message)),
        None => socket.recv().await,
    }
}

/// Why a connection ends.
enum End {
    Gone,
    Slow(&'static str),
    Away,
}

/// Serves one connection until either side ends it.
pub(crate) async fn connection(
    api: Arc<Api>,
    config: Arc<HttpConfig>,
    access: Access,
    stopped: watch::Receiver<bool>,
    caller: Caller,
    socket: WebSocket,
) {
    metrics::gauge!("besu_rpc_active_ws_connection_count").increment(1.0);
    let release = api.settings.release;
    let mut session = Session { api, config, access, caller, socket, early: None, topics: BTreeMap::new(), next: 1, release };
    let close = match session.run(stopped).await {
        End::Gone => None,
        End::Slow(reason) => Some(CloseFrame { code: CLOSE_SLOW, reason: reason.into() }),
        End::Away => Some(CloseFrame { code: CLOSE_AWAY, reason: "the node is stopping".into() }),
    };
    if let Some(frame) = close {
        // The client may be gone or deaf; then it learns nothing, which is its doing.
        let _ = tokio::time::timeout(Duration::from_secs(1), session.socket.send(Message::Close(Some(frame)))).await;
    }
    metrics::gauge!("besu_rpc_active_ws_connection_count").decrement(1.0);
}

impl Session {
    async fn run(&mut self, mut stopped: watch::Receiver<bool>) -> End {
        let mut news = self.api.backend.notifications.subscribe();
        let mut ping = tokio::time::interval(PING);
        ping.tick().await;
        loop {
            let listening = !self.topics.is_empty();
            let step = tokio::select! {
                message = next(&mut self.early, &mut self.socket) => match message {
                    Some(Ok(Message::Text(text))) => self.request(text.as_bytes().to_vec()).await,
                    Some(Ok(Message::Binary(bytes))) => self.request(bytes.to_vec()).await,
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(()),
                    Some(Ok(Message::Close(_)) | Err(_)) | None => Err(End::Gone),
                },
                heard = news.recv() => match heard {
                    Ok(news) if listening => self.announce(&news).await,
                    Ok(_) => Ok(()),
                    Err(RecvError::Lagged(_)) if listening => {
                        Err(End::Slow("subscription fell behind the node; reconnect and read what was missed"))
                    }
                    Err(RecvError::Lagged(_)) => Ok(()),
                    Err(RecvError::Closed) => Err(End::Away),
                },
                _ = ping.tick() => self.send(Message::Ping(Vec::new().into())).await,
                () = gone(&mut stopped) => Err(End::Away),
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    async fn send(&mut self, message: Message) -> Result<(), End> {
        match tokio::time::timeout(SEND_TIME, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Gone),
            Err(_) => Err(End::Slow("client does not read what it asked for")),
        }
    }

    async fn send_text(&mut self, text: Vec<u8>) -> Result<(), End> {
        match String::from_utf8(text) {
            Ok(text) => self.send(Message::Text(text.into())).await,
            Err(_) => Ok(()),
        }
    }

    async fn request(&mut self, body: Vec<u8>) -> Result<(), End> {
        if let Ok(wire::Frame::One(call)) = wire::split(&body, self.config.max_batch) {
            let answer = match &*call.method {
                "eth_subscribe" | "eth_unsubscribe" if !self.access.permits(&call.method) => Some(Err(RpcError::UNAUTHORIZED)),
                "eth_subscribe" => Some(Params::parse(call.params).and_then(|p| self.subscribe(&p))),
                "eth_unsubscribe" => Some(Params::parse(call.params).and_then(|p| self.unsubscribe(&p))),
                _ => None,
            };
            if let Some(answer) = answer {
                let mut out = Vec::with_capacity(96);
                wire::respond(&mut out, call.id, &answer);
                return self.send_text(out).await;
            }
        }
        let api = self.api.clone();
        let answer = api.answer(self.caller, body.into(), self.access.clone(), self.config.max_batch);
        tokio::pin!(answer);
        // A client that goes away meanwhile is noticed, which ends the work for it.
        let Answer { body, room, .. } = loop {
            tokio::select! {
                answer = &mut answer => break answer,
                message = self.socket.recv(), if self.early.is_none() => match message {
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(End::Gone),
                    Some(Ok(message)) => self.early = Some(message),
                },
            }
        };
        let sent = if body.is_empty() { Ok(()) } else { self.send_text(body).await };
        drop(room);
        sent
    }

    fn subscribe(&mut self, params: &Params<'_>) -> Result<Vec<u8>, RpcError> {
        if !self.config.groups.has(Group::Eth) {
            return Err(RpcError::METHOD_NOT_ENABLED);
        }
        if self.topics.len() >= self.config.max_subscriptions {
            return Err(RpcError::new(-32000, "Too many subscriptions on this connection; unsubscribe from some"));
        }
        let full = || {
            params.raw(1).is_some_and(|options| {
                let options = options.replace(' ', "");
                options == "true"
                    || options.contains("\"includeTransactions\":true")
                    || options.contains("\"includeTransaction\":true")
            })
        };
        let topic = match params.text(0) {
            Some("newHeads") => Topic::NewHeads { full: full() },
            Some("logs") => Topic::Logs(Box::new(match params.raw(1) {
                Some(raw) => LogFilter::read(raw)?,
                None => LogFilter::default(),
            })),
            Some("newPendingTransactions") => Topic::Pending { full: full() },
            Some("syncing") => Topic::Syncing,
            _ => return Err(RpcError::INVALID_PARAMS),
        };
        let weight = topic.weight();
        let held: usize = self.topics.values().map(|held| held.part.bytes()).sum();
        if held + weight > OF_ONE {
            return Err(RpcError::new(
                -32000,
                "The subscriptions of this connection want too much; ask for fewer addresses and topics",
            ));
        }
        let Some(part) = self.api.attention.take(self.caller.from, weight) else {
            let text = "All subscriptions of this node, or of this address, together want too much; try again later";
            return Err(RpcError::new(-32000, text));
        };
        let id = self.next;
        self.next += 1;
        self.topics.insert(id, Subscription { topic, part });
        Ok(format!("\"{id:#x}\"").into_bytes())
    }

    fn unsubscribe(&mut self, params: &Params<'_>) -> Result<Vec<u8>, RpcError> {
        let id = params.number(0, &RpcError::INVALID_PARAMS)?;
        match self.topics.remove(&id) {
            Some(_) => Ok(b"true".to_vec()),
            None => Err(RpcError::new(-32000, "Subscription not found")),
        }
    }

    /// Tells what each subscription wants of the news, an event at a time: none is made before the one before it is sent, so
    /// that news of any size take no more memory than one event.
    async fn announce(&mut self, news: &Notification) -> Result<(), End> {
        // Nothing else is asked of this connection meanwhile.
        let topics = std::mem::take(&mut self.topics);
        let mut told = 0;
        for (id, Subscription { topic, .. }) in &topics {
            match (news, topic) {
                (Notification::Imported(block), Topic::NewHeads { full }) => {
                    let senders = full.then(|| block.senders.as_slice());
                    let shape = RpcBlock::new(block.hash, &block.block, block.total_difficulty, senders, self.release);
                    let text = event(*id, &shape);
                    drop(shape);
                    self.tell(text, &mut told).await?;
                }
                (Notification::Imported(block), Topic::Logs(filter)) => {
                    let release = self.release;
                    for log in logs(block, filter, release) {
                        self.tell(event(*id, &log), &mut told).await?;
                    }
                }
                (Notification::Pending(all), Topic::Pending { full }) => {
                    for tx in all.iter() {
                        self.tell(self.pending(*id, tx, *full), &mut told).await?;
                    }
                }
                (Notification::Syncing(_), Topic::Syncing) => {
                    let text = match self.api.backend.status.get().sync {
                        Some(sync) => event(*id, &SyncingNews::of(&sync)),
                        None => event(*id, &false),
                    };
                    self.tell(text, &mut told).await?;
                }
                _ => {}
            }
        }
        self.topics = topics;
        Ok(())
    }

    /// Sends one event, and lets others have the thread.
    async fn tell(&mut self, text: Vec<u8>, told: &mut usize) -> Result<(), End> {
        *told += text.len();
        if *told > NEWS_BYTES {
            return Err(End::Slow("one block holds more for these subscriptions than is sent; ask for less, or read it by call"));
        }
        self.send_text(text).await?;
        tokio::task::yield_now().await;
        Ok(())
    }

    fn pending(&self, id: u64, tx: &Candidate, full: bool) -> Vec<u8> {
        if full { event(id, &RpcTransaction::new(&tx.tx, tx.hash, tx.sender, None, self.release)) } else { event(id, &tx.hash) }
    }
}

#[derive(Serialize)]
struct SyncingNews {
    syncing: bool,
    status: crate::eth_blocks::Syncing,
}

impl SyncingNews {
    fn of(sync: &ipe_engine::SyncProgress) -> Self {
        Self { syncing: true, status: crate::eth_blocks::Syncing::of(sync) }
    }
}

/// The logs of a block that a filter wants, in order.
pub(crate) fn logs<'a>(block: &'a Imported, filter: &'a LogFilter, release: Release) -> impl Iterator<Item = RpcLog> + Send + 'a {
    let any = filter.may_want(&block.block.header.logs_bloom);
    let receipts = block.receipts.iter().take(if any { usize::MAX } else { 0 });
    let all = block.block.body.transactions.iter().zip(receipts).enumerate();
    all.flat_map(|(i, (tx, receipt))| alloy_consensus::TxReceipt::logs(receipt).iter().map(move |log| (i, *tx.tx_hash(), log)))
        .enumerate()
        .filter(|(_, (_, _, log))| filter.wants(log))
        .map(move |(index, (i, hash, log))| {
            RpcLog::new(log, index as u64, hash, &Place::of(block.hash, &block.block.header, i), release)
        })
}

fn event<T: Serialize>(id: u64, result: &T) -> Vec<u8> {
    #[derive(Serialize)]
    struct Body<'a, T> {
        subscription: U64,
        result: &'a T,
    }
    #[derive(Serialize)]
    struct Envelope<'a, T> {
        jsonrpc: &'static str,
        method: &'static str,
        params: Body<'a, T>,
    }
    let params = Body { subscription: U64::from(id), result };
    serde_json::to_vec(&Envelope { jsonrpc: "2.0", method: "eth_subscription", params }).unwrap_or_default()
}
