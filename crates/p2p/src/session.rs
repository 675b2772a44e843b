//! One connection from its first byte to its last: keys here, then [`crate::greeting`], then [`crate::conversation`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ipe_types::NodeId;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant as Deadline, timeout};

use crate::carry;
use crate::carry::boot::Carrier;
use crate::config::Path;
use crate::conversation::converse;
use crate::counters::Outcome;
use crate::door::Place;
use crate::event::PeerInfo;
use crate::frame::{FrameReader, FrameWriter};
use crate::greeting::{DISCONNECT, Entered, Failure, Greeted, Wire, greet};
use crate::handshake::{self, HandshakeError};
use crate::network::Shared;

/// Time for a Disconnect to be taken.
pub(crate) const GOODBYE: Duration = Duration::from_secs(1);

/// Who dialled.
#[derive(Debug)]
pub(crate) enum Origin {
    /// The other, whose place among the unproven this is.
    Inbound(Place),
    /// We, this node.
    Outbound(NodeId),
    /// A boot of ours that listens on `port` carries the session: with the node that we asked for, or with one that
    /// asked for us.
    Carried { boot: NodeId, port: u16, node: Option<NodeId> },
}

impl Origin {
    /// Whether the other dialled.
    pub(crate) fn is_inbound(&self) -> bool {
        matches!(self, Origin::Inbound(_) | Origin::Carried { node: None, .. })
    }

    /// How the two ends reach each other.
    pub(crate) fn path(&self) -> Path {
        match self {
            Origin::Inbound(_) | Origin::Outbound(_) => Path::Direct,
            Origin::Carried { boot, .. } => Path::Through(*boot),
        }
    }
}

/// How a connection went.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) outcome: Outcome,
    /// How long the session lasted; none when none was opened.
    pub(crate) lasted: Option<Duration>,
    pub(crate) why: String,
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

/// Serves a connection until it ends.
pub(crate) async fn run(shared: Arc<Shared>, stream: TcpStream, remote: SocketAddr, origin: Origin) -> Ended {
    let _running = Running::new(&shared);
    let remote = SocketAddr::new(remote.ip().to_canonical(), remote.port());
    let inbound = origin.is_inbound();
    let opened = tokio::select! {
        opened = open_in_time(&shared, stream, remote, origin) => opened,
        () = shared.stopped() => Err(Failure::new(Outcome::Refused, None, "this node stops")),
    };
    match opened {
        Ok(Opened::Auth { stream, auth, place, carrier }) => {
            let ended = carry::boot::forward(&shared, carrier, stream, remote, auth, place).await;
            shared.counters.outcome(true, ended.outcome);
            ended
        }
        Ok(Opened::Stream { wire, node, place, carrier }) => carry::boot::serve(&shared, carrier, *wire, node, remote, place).await,
        Ok(Opened::Session(session)) => {
            let session = *session;
            shared.counters.outcome(inbound, Outcome::Connected);
            let started = Instant::now();
            let why = converse(&shared, session).await;
            Ended { outcome: Outcome::Connected, lasted: Some(started.elapsed()), why }
        }
        Err(failure) => {
            shared.counters.outcome(inbound, failure.outcome);
            let worth_a_line = failure.outcome == Outcome::Incompatible;
            let gate = if inbound { &shared.log } else { &shared.own_log };
            if worth_a_line && let Some(suppressed) = gate.allow() {
                tracing::warn!(%remote, inbound, suppressed, "no session: {}", failure.why);
            } else {
                tracing::debug!(%remote, inbound, outcome = failure.outcome.name(), "no session: {}", failure.why);
            }
            Ended { outcome: failure.outcome, lasted: None, why: failure.why }
        }
    }
}

/// An open session, ready for messages.
pub(crate) struct Session {
    pub(crate) wire: Wire,
    pub(crate) entered: Entered,
    pub(crate) info: PeerInfo,
}

/// What a connection has become.
enum Opened<'a> {
    /// A session of ours.
    Session(Box<Session>),
    /// Its auth is for another key than ours, perhaps for a validator that we carry for.
    Auth { stream: TcpStream, auth: Vec<u8>, place: Place, carrier: &'a Carrier },
    /// A validator wants it to become a carried stream.
    Stream { wire: Box<Wire>, node: NodeId, place: Place, carrier: &'a Carrier },
}

/// [`open`], and however the stages share it, within the time of all of them.
async fn open_in_time(shared: &Arc<Shared>, stream: TcpStream, remote: SocketAddr, origin: Origin) -> Result<Opened<'_>, Failure> {
    let limits = &shared.limits;
    let keys = if origin.is_inbound() { limits.keys } else { limits.handshake };
    let all = keys + limits.handshake * 2 + GOODBYE * 2;
    timeout(all, open(shared, stream, remote, origin)).await.unwrap_or_else(|_| Err(Failure::late("session")))
}

async fn open(shared: &Arc<Shared>, mut stream: TcpStream, remote: SocketAddr, mut origin: Origin) -> Result<Opened<'_>, Failure> {
    let lost = |error: std::io::Error| Failure::new(Outcome::Unreachable, None, format!("connection lost: {error}"));
    stream.set_nodelay(true).map_err(lost)?;
    let local = stream.local_addr().map_err(lost)?;
    let patience = if origin.is_inbound() { shared.limits.keys } else { shared.limits.handshake };
    let shaking = async {
        match &origin {
            Origin::Outbound(node) | Origin::Carried { node: Some(node), .. } => {
                handshake::initiate(&mut stream, &shared.secret, node).await.map(|secrets| (*node, secrets))
            }
            Origin::Carried { node: None, .. } => handshake::respond(&mut stream, &shared.secret).await,
            Origin::Inbound(place) => handshake::respond_at(&mut stream, &shared.secret, Some(place)).await,
        }
    };
    let shaken = match timeout(patience, shaking).await {
        Err(_) => return Err(Failure::late("RLPx handshake")),
        Ok(shaken) => shaken,
    };
    let (node, secrets) = match (shaken, origin, &shared.carrier) {
        (Err(HandshakeError::Ecies { bytes: auth, .. }), Origin::Inbound(place), Some(carrier)) => {
            return Ok(Opened::Auth { stream, auth, place, carrier });
        }
        (Err(HandshakeError::Io(error)), ..) => return Err(lost(error)),
        (Err(error), ..) => return Err(Failure::new(Outcome::Malformed, None, error.to_string())),
        (Ok(done), kept, _) => {
            origin = kept;
            done
        }
    };
    let deadline = Deadline::now() + shared.limits.handshake;
    let (read, io) = stream.into_split();
    let mut wire = Wire { reader: FrameReader::new(read, &secrets), writer: FrameWriter::new(&secrets), io, compressed: false };
    let greeted = greet(shared, &mut wire, node, (remote, local), &origin, deadline).await;
    let (entered, info) = match greeted {
        Ok(Greeted::Peer(entered, info)) => (entered, *info),
        Ok(Greeted::Stream) => {
            return match (origin, &shared.carrier) {
                (Origin::Inbound(place), Some(carrier)) => Ok(Opened::Stream { wire: Box::new(wire), node, place, carrier }),
                _ => Err(Failure::new(Outcome::Refused, None, "nothing is carried here")),
            };
        }
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
        return Err(Failure::new(Outcome::Evicted, None, "dropped for other connections"));
    }
    if matches!(origin, Origin::Inbound(_)) && entered.link.known {
        shared.addresses.learn(node, remote.ip());
    }
    Ok(Opened::Session(Box::new(Session { wire, entered, info })))
}
