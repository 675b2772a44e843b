//! One connection from its first byte to its last: keys, Hello, judgement, Status, messages, goodbye.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ipe_types::crypto::address_of;
use ipe_types::eth::{EthMessage, EthVersion, MAX_MESSAGE_BYTES, Status, code};
use ipe_types::{Enode, NodeId};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout_at;

use crate::capability::{BASE, Shared as SharedCapabilities};
use crate::config::Candidate;
use crate::counters::Outcome;
use crate::disconnect::Reason;
use crate::event::{Inbound, NetEvent, PeerInfo, Protocol};
use crate::frame::{FRAME_SLACK, FrameError, FrameReader, FrameWriter};
use crate::handshake;
use crate::hello::{Hello, MAX_HELLO, VERSION};
use crate::ipe::{self, IpeStatus};
use crate::link::{Link, Next, Outgoing, Payload, short};
use crate::listen::Place;
use crate::network::Shared;
use crate::registry::Refusal;
use crate::snappy;

/// Ids of the base protocol.
const HELLO: u64 = 0;
const DISCONNECT: u64 = 1;
const PING: u64 = 2;
const PONG: u64 = 3;
/// An empty list: the payload of Ping and Pong.
const EMPTY_LIST: [u8; 1] = [0xc0];
/// Largest payload of a base message after Hello.
const MAX_BASE: usize = 1024;
/// Largest frame read until Status is done: a Hello, or a Status of at most a few hundred bytes.
const MAX_EARLY_FRAME: usize = MAX_HELLO + 64;
/// Where a batch of frames is written out, bytes: a few messages a system call, without delaying the first.
const WRITE_BATCH: usize = 64 * 1024;
/// Output buffer kept between batches, bytes.
const KEEP_OUTPUT: usize = 64 * 1024;
/// Time in which a peer must take at least one byte of what we write.
const WRITE_STALL: Duration = Duration::from_secs(20);
/// Time for a Disconnect to be taken.
const GOODBYE: Duration = Duration::from_secs(1);
/// Time for a probed peer to show a sign of life.
const PROBE: Duration = Duration::from_secs(3);
/// Points that a malformed `ipe` message costs.
const MALFORMED_IPE: u32 = 20;

/// Who dialled.
#[derive(Debug)]
pub(crate) enum Origin {
    /// The other, whose place among the unproven this is.
    Inbound(Place),
    /// We, this node.
    Outbound(NodeId),
}

/// How a connection went.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) outcome: Outcome,
    /// How long the session lasted; none when none was opened.
    pub(crate) lasted: Option<Duration>,
    pub(crate) why: String,
}

/// Why no session was opened.
#[derive(Debug)]
struct Failure {
    outcome: Outcome,
    /// What the other is told, when it can be told.
    tell: Option<Reason>,
    why: String,
}

impl Failure {
    fn new(outcome: Outcome, tell: Option<Reason>, why: impl Into<String>) -> Self {
        Failure { outcome, tell, why: why.into() }
    }

    fn late(stage: &str) -> Self {
        Failure::new(Outcome::TimedOut, Some(Reason::Timeout), format!("no {stage} in time"))
    }

    fn told(reason: Reason) -> Self {
        let incompatible =
            matches!(reason, Reason::SubprotocolReason | Reason::UselessPeer | Reason::IncompatibleVersion);
        let outcome = if incompatible { Outcome::Incompatible } else { Outcome::RefusedByPeer };
        Failure::new(outcome, None, format!("it refused with {reason}"))
    }
}

impl From<FrameError> for Failure {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Io(error) => Failure::new(Outcome::Unreachable, None, format!("connection lost: {error}")),
            other => Failure::new(Outcome::Malformed, Some(Reason::BreachOfProtocol), other.to_string()),
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Failure::new(Outcome::Refused, Some(refusal.reason), refusal.why)
    }
}

/// Counts the connection tasks that live.
struct Running(Arc<Shared>);

impl Running {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.running.fetch_add(1, Ordering::AcqRel);
        Running(Arc::clone(shared))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A connection's entry in the registry; whatever ends the task takes it out.
struct Entered {
    shared: Arc<Shared>,
    link: Arc<Link>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.shared.registry.leave(self.link.id);
        self.link.finish();
    }
}

/// An encrypted connection.
struct Wire {
    reader: FrameReader<OwnedReadHalf>,
    writer: FrameWriter,
    io: OwnedWriteHalf,
    /// Whether Hellos have been exchanged, after which everything is compressed.
    compressed: bool,
}

impl Wire {
    async fn send(&mut self, id: u8, payload: &[u8]) -> Result<(), FrameError> {
        let mut out = Vec::new();
        if self.compressed {
            self.writer.append(id, &snappy::compress(payload), &mut out);
        } else {
            self.writer.append(id, payload, &mut out);
        }
        self.io.write_all(&out).await?;
        Ok(())
    }

    async fn receive(&mut self) -> Result<(u64, Vec<u8>), Failure> {
        let (id, body) = self.reader.read(MAX_EARLY_FRAME).await?;
        let payload = match self.compressed {
            false => body.to_vec(),
            // Some clients do not compress a Disconnect.
            true => match snappy::decompress(body, MAX_HELLO) {
                Ok(payload) => payload,
                Err(_) if id == DISCONNECT => body.to_vec(),
                Err(error) => {
                    return Err(Failure::new(Outcome::Malformed, Some(Reason::BreachOfProtocol), error.to_string()));
                }
            },
        };
        Ok((id, payload))
    }
}

/// Serves a connection until it ends.
pub(crate) async fn run(shared: Arc<Shared>, stream: TcpStream, remote: SocketAddr, origin: Origin) -> Ended {
    let _running = Running::new(&shared);
    let remote = SocketAddr::new(remote.ip().to_canonical(), remote.port());
    let inbound = matches!(origin, Origin::Inbound(_));
    let opened = tokio::select! {
        opened = open(&shared, stream, remote, origin) => opened,
        () = shared.stopped() => Err(Failure::new(Outcome::Refused, None, "this node stops")),
    };
    match opened {
        Ok(session) => {
            shared.counters.outcome(inbound, Outcome::Connected);
            let started = Instant::now();
            let why = converse(&shared, session).await;
            Ended { outcome: Outcome::Connected, lasted: Some(started.elapsed()), why }
        }
        Err(failure) => {
            shared.counters.outcome(inbound, failure.outcome);
            let worth_a_line = failure.outcome == Outcome::Incompatible;
            if worth_a_line && let Some(suppressed) = shared.log.allow() {
                tracing::warn!(%remote, inbound, suppressed, "no session: {}", failure.why);
            } else {
                tracing::debug!(%remote, inbound, outcome = failure.outcome.name(), "no session: {}", failure.why);
            }
            Ended { outcome: failure.outcome, lasted: None, why: failure.why }
        }
    }
}

/// An open session, ready for messages.
struct Session {
    wire: Wire,
    entered: Entered,
    info: PeerInfo,
}

async fn open(
    shared: &Arc<Shared>,
    mut stream: TcpStream,
    remote: SocketAddr,
    origin: Origin,
) -> Result<Session, Failure> {
    let lost = |error: std::io::Error| Failure::new(Outcome::Unreachable, None, format!("connection lost: {error}"));
    stream.set_nodelay(true).map_err(lost)?;
    let local = stream.local_addr().map_err(lost)?;
    let deadline = tokio::time::Instant::now() + shared.limits.handshake;
    let shaking = async {
        match &origin {
            Origin::Outbound(node) => {
                handshake::initiate(&mut stream, &shared.secret, node).await.map(|secrets| (*node, secrets))
            }
            Origin::Inbound(_) => handshake::respond(&mut stream, &shared.secret).await,
        }
    };
    let (node, secrets) = match timeout_at(deadline, shaking).await {
        Err(_) => return Err(Failure::late("RLPx handshake")),
        Ok(Ok(done)) => done,
        Ok(Err(handshake::HandshakeError::Io(error))) => return Err(lost(error)),
        Ok(Err(error)) => return Err(Failure::new(Outcome::Malformed, None, error.to_string())),
    };
    let (read, io) = stream.into_split();
    let mut wire =
        Wire { reader: FrameReader::new(read, &secrets), writer: FrameWriter::new(&secrets), io, compressed: false };
    let greeted = greet(shared, &mut wire, node, (remote, local), &origin, deadline).await;
    let (entered, info) = match greeted {
        Ok(greeted) => greeted,
        Err(failure) => {
            if let Some(reason) = failure.tell {
                // Best effort: the connection may be gone.
                let _ = tokio::time::timeout(GOODBYE, wire.send(DISCONNECT as u8, &reason.encode())).await;
                let _ = tokio::time::timeout(GOODBYE, wire.io.shutdown()).await;
                shared.counters.disconnect(true, Some(reason));
            }
            return Err(failure);
        }
    };
    if let Origin::Inbound(place) = &origin
        && !place.prove()
    {
        return Err(Failure::new(Outcome::Evicted, None, "dropped for newer connections"));
    }
    Ok(Session { wire, entered, info })
}

/// Hello, judgement and Status.
async fn greet(
    shared: &Arc<Shared>,
    wire: &mut Wire,
    node: NodeId,
    (remote, local): (SocketAddr, SocketAddr),
    origin: &Origin,
    deadline: tokio::time::Instant,
) -> Result<(Entered, PeerInfo), Failure> {
    let hello = timeout_at(deadline, exchange_hello(shared, wire)).await.map_err(|_| Failure::late("Hello"))??;
    wire.compressed = hello.version >= VERSION;
    let malformed = |reason, why: String| Failure::new(Outcome::Malformed, Some(reason), why);
    if hello.id.is_zero() {
        return Err(malformed(Reason::NullIdentity, "its Hello has no node id".into()));
    }
    if hello.id != node {
        let why = format!("its Hello names node {}, its key is {}", short(hello.id), short(node));
        return Err(malformed(Reason::UnexpectedIdentity, why));
    }
    if hello.version < VERSION {
        let why =
            format!("{} ({remote}) speaks p2p version {}, at least {VERSION} is needed", hello.client, hello.version);
        return Err(Failure::new(Outcome::Incompatible, Some(Reason::IncompatibleVersion), why));
    }
    let capabilities = shared.offer.shared(&hello.capabilities);
    let Some(version) = capabilities.eth() else {
        let why = format!(
            "{} ({remote}, node {}) shares no eth version: it offers {}, this node {}",
            hello.client,
            short(node),
            join(hello.capabilities.iter()),
            join(shared.offer.capabilities().iter()),
        );
        return Err(Failure::new(Outcome::Incompatible, Some(Reason::UselessPeer), why));
    };
    let candidate = Candidate {
        node,
        role: shared.registry.role(&node),
        remote,
        listen_port: hello.listen_port,
        inbound: matches!(origin, Origin::Inbound(_)),
        is_static: shared.registry.is_static(&node),
    };
    let (link, replaced) = shared.registry.enter(&candidate, capabilities)?;
    let entered = Entered { shared: Arc::clone(shared), link };
    let deadline = tokio::time::Instant::now() + shared.limits.handshake;
    let status = async {
        if let Some(replaced) = replaced {
            replaced.finished().await;
        }
        exchange_status(shared, wire, version).await
    };
    let status = tokio::select! {
        status = timeout_at(deadline, status) => status.map_err(|_| Failure::late("Status"))??,
        close = entered.link.closed() => {
            return Err(Failure::new(Outcome::Refused, close.reason, "replaced by another connection of the node, or removed"));
        }
    };
    judge_status(shared, &status, version, &hello, remote)?;
    let listen_port = hello.listen_port;
    let enode = Enode {
        id: node,
        hosts: vec![remote.ip().to_string()],
        tcp: listen_port,
        udp: (listen_port != 0).then_some(listen_port),
    };
    let info = PeerInfo {
        id: entered.link.id,
        node,
        address: address_of(node),
        role: candidate.role,
        is_static: candidate.is_static,
        client: hello.client,
        offered: hello.capabilities,
        shared: capabilities.capabilities(),
        eth: version,
        istanbul: capabilities.has(Protocol::Istanbul),
        ipe: capabilities.has(Protocol::Ipe),
        remote,
        local,
        inbound: candidate.inbound,
        listen_port,
        enode,
        status,
        ipe_status: None,
    };
    Ok((entered, info))
}

fn join(items: impl Iterator<Item = impl ToString>) -> String {
    let list: Vec<String> = items.map(|item| item.to_string()).collect();
    if list.is_empty() { "nothing".into() } else { list.join(" ") }
}

async fn exchange_hello(shared: &Shared, wire: &mut Wire) -> Result<Hello, Failure> {
    wire.send(HELLO as u8, &shared.hello).await?;
    match wire.receive().await? {
        (HELLO, payload) => Hello::decode(&payload).map_err(|error| {
            Failure::new(Outcome::Malformed, Some(Reason::BreachOfProtocol), format!("its Hello is malformed: {error}"))
        }),
        (DISCONNECT, payload) => {
            // Who saw our Hello first compresses already.
            let reason = snappy::decompress(&payload, MAX_BASE)
                .map_or_else(|_| Reason::decode(&payload), |raw| Reason::decode(&raw));
            shared.counters.disconnect(false, Some(reason));
            Err(Failure::told(reason))
        }
        (id, _) => Err(Failure::new(
            Outcome::Malformed,
            Some(Reason::BreachOfProtocol),
            format!("its first message has id {id}, not Hello's"),
        )),
    }
}

async fn exchange_status(shared: &Shared, wire: &mut Wire, version: EthVersion) -> Result<Status, Failure> {
    let (_, ours) = EthMessage::Status(shared.status(version)).encode(version);
    wire.send(BASE + code::STATUS, &ours).await?;
    shared.counters.message(false, Protocol::Eth, code::STATUS, ours.len());
    let breach = |why: String| Failure::new(Outcome::Malformed, Some(Reason::BreachOfProtocol), why);
    loop {
        let (id, payload) = wire.receive().await?;
        match id {
            DISCONNECT => {
                let reason = Reason::decode(&payload);
                shared.counters.disconnect(false, Some(reason));
                return Err(Failure::told(reason));
            }
            PING => wire.send(PONG as u8, &EMPTY_LIST).await?,
            PONG => {}
            id if id == u64::from(BASE) => {
                shared.counters.message(true, Protocol::Eth, code::STATUS, payload.len());
                return match EthMessage::decode(version, code::STATUS, &payload) {
                    Ok(EthMessage::Status(status)) => Ok(status),
                    Ok(_) => Err(breach("its Status is another message".into())),
                    Err(error) => {
                        Err(Failure::new(Outcome::Malformed, Some(Reason::SubprotocolReason), error.to_string()))
                    }
                };
            }
            other => return Err(breach(format!("message {other:#04x} before its Status"))),
        }
    }
}

/// Network, genesis and fork must be ours.
fn judge_status(
    shared: &Shared,
    status: &Status,
    version: EthVersion,
    hello: &Hello,
    remote: SocketAddr,
) -> Result<(), Failure> {
    let chain = &shared.chain;
    let head = *shared.head.borrow();
    let own_fork = chain.fork_ids.at(head.number, head.timestamp);
    let (fork, ours) = (status.fork_id(), alloy_primitives::hex::encode(own_fork.hash));
    let fault = if status.version() != version.number() {
        format!("eth version: got {}, expected {}", status.version(), version.number())
    } else if status.network_id() != chain.network_id {
        format!("network id: got {}, expected {}", status.network_id(), chain.network_id)
    } else if status.genesis() != chain.genesis {
        format!("genesis hash: got {}, expected {}", status.genesis(), chain.genesis)
    } else if !chain.fork_ids.accepts(head.number, head.timestamp, fork) {
        let theirs = alloy_primitives::hex::encode(fork.hash);
        format!("fork id: got [{theirs}, {}], expected one compatible with [{ours}, {}]", fork.next, own_fork.next)
    } else if let Status::Range { earliest, latest, .. } = status
        && earliest > latest
    {
        format!("block range: got {earliest} to {latest}, expected an ascending one")
    } else {
        return Ok(());
    };
    let why = format!("{} ({remote}, node {}) is on another network: {fault}", hello.client, short(hello.id));
    Err(Failure::new(Outcome::Incompatible, Some(Reason::SubprotocolReason), why))
}

/// Passes messages until either side ends the session; tells why it ended.
async fn converse(shared: &Arc<Shared>, session: Session) -> String {
    let Session { wire, entered, info } = session;
    let link = Arc::clone(&entered.link);
    let (node, id) = (info.node, info.id);
    tracing::info!(
        peer = %short(node), remote = %info.remote, inbound = info.inbound, client = %info.client, protocols = %join(info.shared.iter()),
        role = info.role.map_or("unknown", |role| role.name()), "connected"
    );
    link.hear();
    shared.registry.open(info.clone());
    if *shared.stop.borrow() {
        link.end(Some(Reason::Quitting), true);
    }
    let Wire { reader, writer, io, .. } = wire;
    let writer = tokio::spawn(write(Arc::clone(shared), Arc::clone(&link), writer, io));
    deliver(shared, &link, NetEvent::Connected(Box::new(info))).await;
    let close = tokio::select! {
        biased;
        close = link.closed() => close,
        () = read(shared, &link, reader) => link.closed().await,
    };
    shared.registry.leave(id);
    shared.counters.disconnect(close.by_us, close.reason);
    let why = match (close.reason, close.by_us) {
        (None, _) => "the connection broke".to_owned(),
        (Some(reason), true) => format!("we ended it: {reason}"),
        (Some(reason), false) => format!("it ended it: {reason}"),
    };
    tracing::info!(peer = %short(node), after_s = link.age().as_secs(), "disconnected: {why}");
    // The owner learns of every end, however full its queue is; when it is gone there is nobody to tell.
    let _ =
        shared.events.send(NetEvent::Disconnected { peer: id, node, reason: close.reason, by_us: close.by_us }).await;
    drop(entered);
    // The writer ends within its own bounds.
    let _ = writer.await;
    why
}

/// Hands an event over, waiting for room, unless the session ends meanwhile.
async fn deliver(shared: &Shared, link: &Link, event: NetEvent) {
    let event = match shared.events.try_send(event) {
        Ok(()) => return,
        Err(tokio::sync::mpsc::error::TrySendError::Full(event)) => event,
        Err(tokio::sync::mpsc::error::TrySendError::Closed(_)) => return link.end(Some(Reason::Quitting), true),
    };
    link.set_stalled(true);
    // An opened session is told even when it ends at once, or its end would come without a beginning.
    let must = matches!(event, NetEvent::Connected(_));
    tokio::select! {
        sent = shared.events.send(event) => if sent.is_err() {
            link.end(Some(Reason::Quitting), true);
        },
        _ = link.closed(), if !must => {}
    }
    link.set_stalled(false);
}

/// Reads messages until the session ends.
async fn read(shared: &Shared, link: &Link, mut reader: FrameReader<OwnedReadHalf>) {
    let mut shown_ipe = None;
    while link.closing().is_none() {
        let (id, body) = match reader.read(MAX_MESSAGE_BYTES + FRAME_SLACK).await {
            Ok(frame) => frame,
            Err(FrameError::Io(_)) => return link.end(None, false),
            Err(error) => return shared.ban(link, &error.to_string()),
        };
        link.hear();
        if id < u64::from(BASE) {
            match id {
                DISCONNECT => {
                    let raw = snappy::decompress(body, MAX_BASE);
                    let reason = raw.map_or_else(|_| Reason::decode(body), |raw| Reason::decode(&raw));
                    return link.end(Some(reason), false);
                }
                PING => link.pong(),
                HELLO => return shared.ban(link, "a second Hello"),
                // Pong needs nothing done; other ids of the base protocol are reserved.
                _ => {}
            }
            continue;
        }
        let Some((protocol, code)) = link.capabilities.locate(id) else {
            return shared.ban(link, &format!("message id {id} belongs to no shared protocol"));
        };
        let payload = match snappy::decompress(body, limit(protocol, code)) {
            Ok(payload) => payload,
            Err(error) => return shared.ban(link, &format!("{} message {code:#04x}: {error}", protocol.name())),
        };
        shared.counters.message(true, protocol, code, payload.len());
        match protocol {
            Protocol::Ipe => hear_ipe(shared, link, code, &payload, &mut shown_ipe),
            Protocol::Eth if code == ipe_types::eth::code::STATUS => return shared.ban(link, "a second Status"),
            Protocol::Eth | Protocol::Istanbul => {
                let Some(credit) = link.credit(protocol, code, payload.len()).await else {
                    shared.counters.shed();
                    continue;
                };
                let (peer, payload) = (link.id, payload.into());
                deliver(shared, link, NetEvent::Message(Inbound { peer, protocol, code, payload, credit })).await;
                link.hear();
            }
        }
    }
}

/// Largest payload of a message, by what an honest client ever puts into it; the general limit where that is large.
fn limit(protocol: Protocol, message: u8) -> usize {
    // Lists of hashes: 4096 of them, with types and sizes, are under 160 KiB.
    const HASHES: usize = 256 * 1024;
    match (protocol, message) {
        (Protocol::Ipe, _) => 1024,
        (Protocol::Istanbul, 0x13 | 0x14) => 4 * 1024,
        (Protocol::Eth, code::STATUS | code::GET_BLOCK_HEADERS | code::BLOCK_RANGE_UPDATE) => 4 * 1024,
        (
            Protocol::Eth,
            code::NEW_BLOCK_HASHES
            | code::NEW_POOLED_TRANSACTION_HASHES
            | code::GET_BLOCK_BODIES
            | code::GET_POOLED_TRANSACTIONS
            | code::GET_RECEIPTS,
        ) => HASHES,
        (Protocol::Eth | Protocol::Istanbul, _) => MAX_MESSAGE_BYTES,
    }
}

fn hear_ipe(shared: &Shared, link: &Link, code: u8, payload: &[u8], shown: &mut Option<Instant>) {
    // Codes of later versions are ignored.
    if code != ipe::STATUS {
        return;
    }
    // Twice as often as agreed is already more than an honest clock's error.
    let early = shown.is_some_and(|at| at.elapsed() < ipe::STATUS_INTERVAL / 2);
    *shown = Some(Instant::now());
    match IpeStatus::decode(payload) {
        Ok(status) if !early => shared.registry.update(link.id, |info| info.ipe_status = Some(status)),
        Ok(_) => {
            shared.penalise(link, 1, "ipe Status too often");
        }
        Err(error) => {
            shared.penalise(link, MALFORMED_IPE, &format!("malformed ipe Status: {error}"));
        }
    }
}

/// Writes what is queued until the session ends, then says goodbye.
async fn write(shared: Arc<Shared>, link: Arc<Link>, mut frames: FrameWriter, mut io: OwnedWriteHalf) {
    let mut ipe = shared.ipe.subscribe();
    let mut ipe_sent: Option<Instant> = None;
    let mut tick = tokio::time::interval(shared.limits.keepalive.div_f64(4.0).max(Duration::from_millis(10)));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut out = Vec::new();
    let mut closed = std::pin::pin!(link.closed());
    let close = loop {
        while out.len() < WRITE_BATCH {
            let Some(next) = link.next() else { break };
            append(&shared, &link.capabilities, &mut frames, next, &mut out);
        }
        if out.is_empty() {
            tokio::select! {
                close = &mut closed => break Some(close),
                () = link.woken() => {}
                _ = tick.tick() => {
                    keep_alive(&link, shared.limits.keepalive);
                    let due = ipe_sent.is_none_or(|at| at.elapsed() >= ipe::STATUS_INTERVAL);
                    if due && (ipe_sent.is_none() || ipe.has_changed().unwrap_or(false)) {
                        ipe_sent = Some(Instant::now());
                        tell_ipe(&link, ipe.borrow_and_update().as_ref());
                    }
                }
            }
            continue;
        }
        let written = tokio::select! {
            // Written to the end before looking at the end of the session, unless the peer does not read.
            biased;
            written = write_all(&mut io, &out) => written,
            _ = &mut closed => break None,
        };
        match written {
            Ok(()) => {}
            Err(WriteError::Stalled) => {
                link.end(Some(Reason::Timeout), true);
                break None;
            }
            Err(WriteError::Io) => {
                link.end(None, false);
                break None;
            }
        }
        out.clear();
        if out.capacity() > KEEP_OUTPUT {
            out = Vec::new();
        }
    };
    if let Some(crate::link::Close { reason: Some(reason), by_us: true }) = close {
        frames.append(DISCONNECT as u8, &snappy::compress(&reason.encode()), &mut out);
        // Best effort: the peer may be gone.
        let _ = tokio::time::timeout(GOODBYE, io.write_all(&out)).await;
    }
    let _ = tokio::time::timeout(GOODBYE, io.shutdown()).await;
}

fn append(shared: &Shared, capabilities: &SharedCapabilities, frames: &mut FrameWriter, next: Next, out: &mut Vec<u8>) {
    match next {
        Next::Ping => frames.append(PING as u8, &snappy::compress(&EMPTY_LIST), out),
        Next::Pong => frames.append(PONG as u8, &snappy::compress(&EMPTY_LIST), out),
        Next::Message(Outgoing { protocol, code, payload }) => {
            // The queue takes messages of shared protocols only.
            if let Some(offset) = capabilities.offset(protocol) {
                frames.append(offset.saturating_add(code), payload.compressed(), out);
                shared.counters.message(false, protocol, code, payload.len());
            }
        }
    }
}

fn keep_alive(link: &Link, keepalive: Duration) {
    if link.stalled() {
        return;
    }
    let heard = link.heard();
    let silent = heard.elapsed();
    let dead = silent >= keepalive * 2 || link.probed(heard).is_some_and(|asked| asked.elapsed() >= PROBE);
    if dead {
        link.end(Some(Reason::Timeout), true);
    } else if silent >= keepalive {
        link.ping();
    }
}

fn tell_ipe(link: &Link, status: Option<&IpeStatus>) {
    if let Some(status) = status
        && link.capabilities.has(Protocol::Ipe)
    {
        let payload = Arc::new(Payload::new(status.encode().into()));
        link.push(Outgoing { protocol: Protocol::Ipe, code: ipe::STATUS, payload });
    }
}

enum WriteError {
    Stalled,
    Io,
}

/// Writes everything, as long as the peer goes on taking some of it.
async fn write_all<W: AsyncWrite + Unpin>(io: &mut W, mut bytes: &[u8]) -> Result<(), WriteError> {
    while !bytes.is_empty() {
        match tokio::time::timeout(WRITE_STALL, io.write(bytes)).await {
            Err(_) => return Err(WriteError::Stalled),
            Ok(Ok(0) | Err(_)) => return Err(WriteError::Io),
            Ok(Ok(written)) => bytes = &bytes[written..],
        }
    }
    Ok(())
}
