//! The part of a connection between its keys and its first message: Hello, judgement, Status.

use std::net::SocketAddr;
use std::sync::Arc;

use ipe_types::crypto::address_of;
use ipe_types::eth::{EthMessage, EthVersion, Status, code};
use ipe_types::{Enode, NodeId};
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::capability::BASE;
use crate::carry;
use crate::config::Candidate;
use crate::counters::Outcome;
use crate::disconnect::Reason;
use crate::event::{Capability, PeerInfo, Protocol};
use crate::frame::{FrameError, FrameReader, FrameWriter};
use crate::hello::{Hello, MAX_HELLO, VERSION};
use crate::link::{Link, short};
use crate::network::Shared;
use crate::registry::Refusal;
use crate::session::Origin;
use crate::snappy;
use crate::turn::{Busy, Turn, UNHEARD};

/// Ids of the base protocol.
pub(crate) const HELLO: u64 = 0;
pub(crate) const DISCONNECT: u64 = 1;
pub(crate) const PING: u64 = 2;
pub(crate) const PONG: u64 = 3;
/// An empty list: the payload of Ping and Pong.
pub(crate) const EMPTY_LIST: [u8; 1] = [0xc0];
/// Largest payload of a base message after Hello.
pub(crate) const MAX_BASE: usize = 1024;
/// Largest frame read until Status is done: a Hello, or a Status of at most a few hundred bytes.
const MAX_EARLY_FRAME: usize = MAX_HELLO + 64;
/// Pings and Pongs before Status; an honest node sends one at most.
const MAX_EARLY_MESSAGES: usize = 8;

/// Why no session was opened.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) outcome: Outcome,
    /// What the other is told, when it can be told.
    pub(crate) tell: Option<Reason>,
    pub(crate) why: String,
}

impl Failure {
    pub(crate) fn new(outcome: Outcome, tell: Option<Reason>, why: impl Into<String>) -> Self {
        Failure { outcome, tell, why: why.into() }
    }

    pub(crate) fn late(stage: &str) -> Self {
        Failure::new(Outcome::TimedOut, Some(Reason::Timeout), format!("no {stage} in time"))
    }

    fn told(reason: Reason) -> Self {
        let incompatible = matches!(reason, Reason::SubprotocolReason | Reason::UselessPeer | Reason::IncompatibleVersion);
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

/// A connection's entry in the registry; whatever ends the task takes it out.
pub(crate) struct Entered {
    shared: Arc<Shared>,
    pub(crate) link: Arc<Link>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.shared.registry.leave(self.link.id);
        // Whatever ended the task, the writer must not live on.
        self.link.end(None, true);
        self.link.finish();
    }
}

/// An encrypted connection.
pub(crate) struct Wire {
    pub(crate) reader: FrameReader<OwnedReadHalf>,
    pub(crate) writer: FrameWriter,
    pub(crate) io: OwnedWriteHalf,
    /// Whether Hellos have been exchanged, after which everything is compressed.
    pub(crate) compressed: bool,
}

impl Wire {
    pub(crate) async fn send(&mut self, id: u8, payload: &[u8]) -> Result<(), FrameError> {
        let mut out = Vec::new();
        if self.compressed {
            self.writer.append(id, &snappy::compress(payload), &mut out);
        } else {
            self.writer.append(id, payload, &mut out);
        }
        self.io.write_all(&out).await?;
        Ok(())
    }

    pub(crate) async fn receive(&mut self) -> Result<(u64, Vec<u8>), Failure> {
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

/// What a connection turns out to be.
pub(crate) enum Greeted {
    /// A session.
    Peer(Entered, Box<PeerInfo>),
    /// A connection for a stream that is to be carried.
    Stream,
}

/// Hello, judgement and Status.
pub(crate) async fn greet(
    shared: &Arc<Shared>,
    wire: &mut Wire,
    node: NodeId,
    (remote, local): (SocketAddr, SocketAddr),
    origin: &Origin,
    deadline: Instant,
) -> Result<Greeted, Failure> {
    let carried_hello = match origin {
        Origin::Carried { port, .. } => Some(shared.carried_hello(*port)),
        Origin::Inbound(_) | Origin::Outbound(_) => None,
    };
    let ours = carried_hello.as_deref().unwrap_or(&shared.hello);
    // The turn is passed on when this is done, whichever way.
    let (hello, _turn) =
        timeout_at(deadline, exchange_hello(shared, wire, node, origin, ours)).await.map_err(|_| Failure::late("Hello"))??;
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
        let why = format!("{} ({remote}) speaks p2p version {}, at least {VERSION} is needed", hello.client, hello.version);
        return Err(Failure::new(Outcome::Incompatible, Some(Reason::IncompatibleVersion), why));
    }
    if is_stream(shared, origin, &hello) {
        return Ok(Greeted::Stream);
    }
    if carried_hello.is_some() && hello.capabilities.iter().any(is_carry) {
        let why = format!("node {} has boots that relay: take it out of the carried nodes", short(node));
        return Err(Failure::new(Outcome::Incompatible, Some(Reason::UselessPeer), why));
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
        inbound: origin.is_inbound(),
        is_static: shared.registry.is_static(&node),
        path: origin.path(),
    };
    let (link, replaced) = shared.registry.enter(&candidate, capabilities)?;
    let entered = Entered { shared: Arc::clone(shared), link };
    let deadline = Instant::now() + shared.limits.handshake;
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
    let enode =
        Enode { id: node, hosts: vec![remote.ip().to_string()], tcp: listen_port, udp: (listen_port != 0).then_some(listen_port) };
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
        path: candidate.path,
        listen_port,
        enode,
        status,
        ipe_status: None,
    };
    Ok(Greeted::Peer(entered, Box::new(info)))
}

pub(crate) fn join(items: impl Iterator<Item = impl ToString>) -> String {
    let list: Vec<String> = items.map(|item| item.to_string()).collect();
    if list.is_empty() { "nothing".into() } else { list.join(" ") }
}

/// Says Hello when it is this connection's turn, and hears the other's. The turn is to be kept until the session is open;
/// none for a stream, which is no session.
async fn exchange_hello(
    shared: &Arc<Shared>,
    wire: &mut Wire,
    node: NodeId,
    origin: &Origin,
    ours: &[u8],
) -> Result<(Hello, Option<Turn>), Failure> {
    let Wire { reader, writer, io, .. } = wire;
    let inbound = origin.is_inbound();
    let mut frame = std::pin::pin!(async {
        let (id, body) = reader.read(MAX_EARLY_FRAME).await?;
        read_hello(shared, id, body)
    });
    let mut heard: Option<Hello> = None;
    // Nobody is held up for longer by those who prove nothing, one after the other.
    let tired = Instant::now() + UNHEARD;
    let turn = loop {
        if heard.as_ref().is_some_and(|hello| is_stream(shared, origin, hello)) {
            break None;
        }
        match Turn::take(shared, node, inbound) {
            Ok(turn) => break Some(turn),
            Err(Busy::Open(link)) if link.closing().is_some() => tokio::select! {
                () = link.finished() => {}
                hello = &mut frame, if heard.is_none() => heard = Some(hello?),
            },
            // Only its Hello proves that it is the node, and shows whether it is to become a stream.
            Err(Busy::Open(_)) if inbound && heard.is_none() => heard = Some((&mut frame).await?),
            Err(Busy::Open(link)) => {
                link.probe();
                let why = format!("connection {} to it is open", link.id.0);
                return Err(Refusal { reason: Reason::AlreadyConnected, why }.into());
            }
            Err(Busy::Greeting(other)) => {
                if heard.as_ref().is_some_and(|hello| hello.capabilities.iter().any(|item| item.name == "ipe")) {
                    other.ask_to_give_way(&shared.local.id, &node, inbound);
                }
                let patience = other.patience().map(|end| end.min(tired));
                tokio::select! {
                    () = other.over() => {}
                    hello = &mut frame, if heard.is_none() => heard = Some(hello?),
                    () = sleep_until(patience.unwrap_or_else(Instant::now)), if patience.is_some() => {
                        if other.patience().is_some() {
                            break Some(Turn::seize(shared, node, inbound));
                        }
                    }
                }
            }
        }
    };
    let mut out = Vec::new();
    writer.append(HELLO as u8, ours, &mut out);
    io.write_all(&out).await.map_err(FrameError::from)?;
    let hello = match (heard, &turn) {
        (Some(hello), _) => hello,
        (None, None) => frame.await?,
        (None, Some(turn)) => tokio::select! {
            hello = frame => hello?,
            () = turn.asked_to_give_way() => {
                let why = "the other end waits on the connection that the lower node id dialled".to_owned();
                return Err(Refusal { reason: Reason::AlreadyConnected, why }.into());
            }
        },
    };
    if let Some(turn) = &turn {
        turn.hear();
    }
    Ok((hello, turn))
}

/// The first message, which has to be Hello.
fn read_hello(shared: &Shared, id: u64, payload: &[u8]) -> Result<Hello, Failure> {
    match id {
        HELLO => Hello::decode(payload).map_err(|error| {
            Failure::new(Outcome::Malformed, Some(Reason::BreachOfProtocol), format!("its Hello is malformed: {error}"))
        }),
        DISCONNECT => {
            // Who saw our Hello first compresses already.
            let reason = snappy::decompress(payload, MAX_BASE).map_or_else(|_| Reason::decode(payload), |raw| Reason::decode(&raw));
            shared.counters.disconnect(false, Some(reason));
            Err(Failure::told(reason))
        }
        id => Err(Failure::new(
            Outcome::Malformed,
            Some(Reason::BreachOfProtocol),
            format!("its first message has id {id}, not Hello's"),
        )),
    }
}

/// Whether a validator of ours wants the connection to become a carried stream.
fn is_stream(shared: &Shared, origin: &Origin, hello: &Hello) -> bool {
    shared.carrier.is_some() && matches!(origin, Origin::Inbound(_)) && matches!(&hello.capabilities[..], [only] if is_carry(only))
}

fn is_carry(item: &Capability) -> bool {
    item.name == carry::NAME && item.version == carry::VERSION
}

async fn exchange_status(shared: &Shared, wire: &mut Wire, version: EthVersion) -> Result<Status, Failure> {
    let (_, ours) = EthMessage::Status(shared.status(version)).encode(version);
    wire.send(BASE + code::STATUS, &ours).await?;
    shared.counters.message(false, Protocol::Eth, Some(version), code::STATUS, ours.len());
    let breach = |why: String| Failure::new(Outcome::Malformed, Some(Reason::BreachOfProtocol), why);
    for _ in 0..=MAX_EARLY_MESSAGES {
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
                shared.counters.message(true, Protocol::Eth, Some(version), code::STATUS, payload.len());
                return match EthMessage::decode(version, code::STATUS, &payload) {
                    Ok(EthMessage::Status(status)) => Ok(status),
                    Ok(_) => Err(breach("its Status is another message".into())),
                    Err(error) => Err(Failure::new(Outcome::Malformed, Some(Reason::SubprotocolReason), error.to_string())),
                };
            }
            other => return Err(breach(format!("message {other:#04x} before its Status"))),
        }
    }
    Err(breach("only Pings before its Status".into()))
}

/// Network, genesis and fork must be ours.
fn judge_status(shared: &Shared, status: &Status, version: EthVersion, hello: &Hello, remote: SocketAddr) -> Result<(), Failure> {
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
