//! One connection from its first byte to its last: keys here, then [`crate::greeting`], then [`crate::conversation`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ipe_types::NodeId;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout_at;

use crate::conversation::converse;
use crate::counters::Outcome;
use crate::event::PeerInfo;
use crate::frame::{FrameReader, FrameWriter};
use crate::greeting::{DISCONNECT, Entered, Failure, Wire, greet};
use crate::handshake;
use crate::listen::Place;
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
pub(crate) struct Session {
    pub(crate) wire: Wire,
    pub(crate) entered: Entered,
    pub(crate) info: PeerInfo,
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
