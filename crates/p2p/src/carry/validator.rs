//! The validator's side: sessions through a boot that carries.

use std::net::SocketAddr;
use std::sync::Arc;

use ipe_types::{Enode, NodeId};
use tokio::net::TcpStream;
use tokio::time::timeout_at;

use super::{ANSWER, Answer, Decline, Offer, REQUEST, Request};
use crate::counters::Outcome;
use crate::dial::CONNECT;
use crate::event::{Capability, PeerInfo, Protocol};
use crate::frame::{FrameReader, FrameWriter};
use crate::greeting::{DISCONNECT, Failure, HELLO, MAX_BASE, Wire};
use crate::handshake;
use crate::hello::{self, Hello};
use crate::ipe;
use crate::link::{Link, Outgoing, Payload, short};
use crate::network::Shared;
use crate::session::{self, Ended, Origin};
use crate::snappy;
use crate::{Reason, config::Path};

/// Offered streams that are being taken at once; a boot that offers more has to wait for its own rate to refuse them.
pub(crate) const MAX_TAKING: usize = 32;

/// Whether a node offers to carry.
fn carries(offered: &[Capability]) -> bool {
    offered.iter().any(|capability| capability.name == super::NAME && capability.version == super::VERSION)
}

/// Our boots that carry, those that carry least for us first.
fn boots(shared: &Shared) -> Vec<PeerInfo> {
    let peers = shared.registry.peers();
    let load = |boot: NodeId| peers.iter().filter(|peer| peer.path == Path::Through(boot)).count();
    let mut boots: Vec<(usize, PeerInfo)> = peers
        .iter()
        .filter(|peer| peer.is_static && !peer.inbound && peer.path == Path::Direct && carries(&peer.offered))
        .map(|peer| (load(peer.node), peer.clone()))
        .collect();
    boots.sort_by_key(|(load, boot)| (*load, boot.id));
    boots.into_iter().map(|(_, boot)| boot).collect()
}

/// Opens a session with `enode` through the first of our boots that reaches it; ends with the session, or with the last
/// failure.
pub(crate) async fn dial(shared: &Arc<Shared>, enode: &Enode) -> Ended {
    let nobody = "none of our boots that carry is connected";
    let mut last = Ended { outcome: Outcome::Unreachable, lasted: None, why: nobody.into() };
    for boot in boots(shared) {
        let ended = match reach(shared, &boot, Request::Dial(enode.clone())).await {
            Ok((stream, remote)) => {
                let origin = Origin::Carried { boot: boot.node, port: boot.listen_port, node: Some(enode.id) };
                // A task of its own, as for a direct connection.
                let session = tokio::spawn(session::run(Arc::clone(shared), stream, remote, origin));
                session.await.unwrap_or_else(|error| Ended {
                    outcome: Outcome::Malformed,
                    lasted: None,
                    why: format!("the session's task failed: {error}"),
                })
            }
            Err(failure) => {
                shared.counters.outcome(false, failure.outcome);
                Ended { outcome: failure.outcome, lasted: None, why: format!("boot {}: {}", short(boot.node), failure.why) }
            }
        };
        // Another boot may do better, unless the node itself has answered.
        let elsewhere = matches!(ended.outcome, Outcome::Unreachable | Outcome::TimedOut | Outcome::Refused);
        if !elsewhere || ended.lasted.is_some() || shared.registry.link_of(&enode.id).is_some() {
            return ended;
        }
        last = ended;
    }
    last
}

/// A boot offers a stream: takes it when its auth is for us.
pub(crate) fn hear(shared: &Arc<Shared>, link: &Link, offer: Offer) {
    let boot = shared.registry.info(link.id).filter(|boot| boot.is_static && !boot.inbound && carries(&boot.offered));
    let decline = || {
        let payload = Arc::new(Payload::new(Decline { token: offer.token }.encode().into()));
        link.push(Outgoing { protocol: Protocol::Ipe, code: ipe::DECLINE, payload });
    };
    let (Some(boot), true) = (boot, shared.accepts_carried) else { return decline() };
    let Ok(permit) = Arc::clone(&shared.taking).try_acquire_owned() else { return decline() };
    if !handshake::opens(&shared.secret, &offer.auth) {
        return decline();
    }
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        match reach(&shared, &boot, Request::Take(offer.token)).await {
            Ok((stream, remote)) => {
                let origin = Origin::Carried { boot: boot.node, port: boot.listen_port, node: None };
                let session = tokio::spawn(session::run(Arc::clone(&shared), stream, remote, origin));
                // The place is for opening; what has opened is bounded by slots. Until then the handshake's time is.
                drop(permit);
                let _ = session.await;
            }
            Err(failure) => tracing::debug!(boot = %short(boot.node), "an offered stream was not taken: {}", failure.why),
        }
    });
}

/// Asks a boot for a stream on a connection of its own; the stream, and who is at its other end.
async fn reach(shared: &Shared, boot: &PeerInfo, request: Request) -> Result<(TcpStream, SocketAddr), Failure> {
    let lost = |error: std::io::Error| Failure::new(Outcome::Unreachable, None, format!("connection lost: {error}"));
    let connected = tokio::time::timeout(CONNECT, TcpStream::connect(boot.remote)).await;
    let mut stream = connected.map_err(|_| Failure::late("connection to the boot"))?.map_err(lost)?;
    stream.set_nodelay(true).map_err(lost)?;
    // The boot has the time of a handshake to dial; the answer needs some more to come.
    let deadline = tokio::time::Instant::now() + shared.limits.handshake * 2;
    let asking = async {
        let secrets = handshake::initiate(&mut stream, &shared.secret, &boot.node)
            .await
            .map_err(|error| Failure::new(Outcome::Malformed, None, error.to_string()))?;
        let (read, io) = stream.into_split();
        let (reader, writer) = (FrameReader::unbuffered(read, &secrets), FrameWriter::new(&secrets));
        let mut wire = Wire { reader, writer, io, compressed: false };
        let hello = Hello {
            version: hello::VERSION,
            client: shared.local.client.clone(),
            capabilities: vec![Capability { name: super::NAME.into(), version: super::VERSION }],
            listen_port: 0,
            id: shared.local.id,
        };
        wire.send(HELLO as u8, &hello.encode()).await?;
        expect(&mut wire, HELLO).await?;
        wire.compressed = true;
        wire.send(REQUEST, &request.encode()).await?;
        let payload = expect(&mut wire, u64::from(ANSWER)).await?;
        let malformed = |why: String| Failure::new(Outcome::Malformed, None, why);
        match Answer::decode(&payload).map_err(|error| malformed(format!("its answer is malformed: {error}")))? {
            Answer::Refused(why) => Err(Failure::new(Outcome::Unreachable, None, why)),
            Answer::Opened(remote) => {
                let Wire { reader, io, .. } = wire;
                let stream = reader.into_inner().and_then(|read| read.reunite(io).ok());
                stream.map(|stream| (stream, remote)).ok_or_else(|| malformed("bytes before the stream".into()))
            }
        }
    };
    timeout_at(deadline, asking).await.map_err(|_| Failure::late("answer of the boot"))?
}

async fn expect(wire: &mut Wire, wanted: u64) -> Result<Vec<u8>, Failure> {
    match wire.receive().await? {
        (id, payload) if id == wanted => Ok(payload),
        (DISCONNECT, payload) => {
            let reason =
                snappy::decompress(&payload, MAX_BASE).map_or_else(|_| Reason::decode(&payload), |raw| Reason::decode(&raw));
            Err(Failure::new(Outcome::RefusedByPeer, None, format!("it refused with {reason}")))
        }
        (id, _) => Err(Failure::new(Outcome::Malformed, None, format!("message {id:#04x} where {wanted:#04x} belongs"))),
    }
}
