//! The boot's side: recognising what is meant for a validator, and carrying it.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipe_types::{Enode, NodeId};
use parking_lot::RwLock;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{timeout, timeout_at};

use super::pump::{End, pump};
use super::table::{Dialler, Place, Table};
use super::{ANSWER, Answer, CarrierConfig, CarryLimits, CarryRefusal, Offer, REQUEST, Request};
use crate::config::{Candidate, Path};
use crate::counters::Outcome;
use crate::dial;
use crate::ecies;
use crate::event::Protocol;
use crate::greeting::{DISCONNECT, Wire};
use crate::link::{Outgoing, Payload, short};
use crate::network::Shared;
use crate::session::{Ended, GOODBYE};
use crate::{Reason, door, ipe};

/// What a boot carries.
#[derive(Debug)]
pub(crate) struct Carrier {
    validators: RwLock<HashSet<NodeId>>,
    limits: CarryLimits,
    table: Table,
}

impl Carrier {
    pub(crate) fn new(config: CarrierConfig) -> Self {
        let CarrierConfig { validators, limits } = config;
        Carrier { validators: RwLock::new(validators), table: Table::new(limits.clone()), limits }
    }

    /// Streams carried or being opened.
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether it carries for this validator.
    pub(crate) fn serves(&self, node: &NodeId) -> bool {
        self.validators.read().contains(node)
    }

    /// A validator cannot read the auth that it was offered.
    pub(crate) fn decline(&self, token: u64, validator: &NodeId) {
        self.table.decline(token, validator);
    }

    /// Asks the rules about every stream again and cuts those refused; tells how many.
    pub(crate) fn reconsider(&self, shared: &Shared) -> usize {
        self.table.reconsider(|validator, dialled| {
            let judged = |(node, address): (NodeId, SocketAddr)| judge(shared, validator, node, address, address.port());
            self.serves(validator) && dialled.is_none_or(|dialled| judged(dialled).is_ok())
        })
    }
}

/// A refusal with a sentence for the log.
struct Refused(CarryRefusal, String);

impl Refused {
    fn new(refusal: CarryRefusal, why: impl Into<String>) -> Self {
        Refused(refusal, why.into())
    }
}

/// Carries the connection of somebody whose auth is not for us to the validator that can read it.
pub(crate) async fn forward(
    shared: &Arc<Shared>,
    carrier: &Carrier,
    stream: TcpStream,
    remote: SocketAddr,
    auth: Vec<u8>,
    unproven: door::Place,
) -> Ended {
    let done = tokio::select! {
        done = forwarded(shared, carrier, stream, remote, auth, unproven) => done,
        () = shared.stopped() => Ok(End::Closed),
    };
    finish(shared, remote, done)
}

async fn forwarded(
    shared: &Shared,
    carrier: &Carrier,
    stream: TcpStream,
    remote: SocketAddr,
    auth: Vec<u8>,
    unproven: door::Place,
) -> Result<End, Refused> {
    if !is_sealed(&auth) {
        return Err(Refused::new(CarryRefusal::Garbage, "its first bytes are no RLPx auth"));
    }
    let links: Vec<_> = {
        let validators = carrier.validators.read();
        let links = validators.iter().filter_map(|validator| shared.registry.link_of(validator));
        links.filter(|link| link.capabilities.has(Protocol::Ipe)).collect()
    };
    if links.is_empty() {
        return Err(Refused::new(CarryRefusal::NoValidator, "its auth is for another key, and no validator of ours is connected"));
    }
    let dialler = Dialler { ip: remote.ip(), known: shared.addresses.knows(remote.ip()) };
    let asked = links.iter().map(|link| link.node).collect();
    let mut offered = carrier
        .table
        .offer(remote, dialler.known, asked, Instant::now())
        .map_err(|refusal| Refused::new(refusal, "too many connections for other keys in a short time"))?;
    let offer = Offer { token: offered.token, remote, auth: auth.clone() };
    let payload = Arc::new(Payload::new(offer.encode().into()));
    for link in &links {
        link.push(Outgoing { protocol: Protocol::Ipe, code: ipe::OFFER, payload: Arc::clone(&payload) });
    }
    let (validator, mut data) = match timeout(carrier.limits.wait, &mut offered.taken).await {
        Err(_) => return Err(Refused::new(CarryRefusal::Unanswered, "no validator of ours took it in time")),
        Ok(Err(_)) => return Err(Refused::new(CarryRefusal::Unknown, "its auth is for a key that we do not carry for")),
        Ok(Ok(taken)) => taken,
    };
    drop(offered);
    let place = carrier
        .table
        .place(validator, Some(dialler), Instant::now())
        .map_err(|refusal| Refused::new(refusal, "too many connections to our validator"))?;
    if !unproven.prove() {
        return Ok(End::Closed);
    }
    if data.write_all(&auth).await.is_err() {
        return Ok(End::Closed);
    }
    shared.counters.carried(true);
    if dialler.known || shared.log.allow().is_some() {
        tracing::info!(%remote, validator = %short(validator), "carrying a connection to our validator");
    }
    Ok(flow(shared, carrier, &place, data, stream).await)
}

/// Whether the bytes look like something sealed for a key: an EIP-8 packet begins with its size and a public key.
fn is_sealed(auth: &[u8]) -> bool {
    let key = auth.get(2..67).filter(|key| key[0] == 4).and_then(|key| key.get(1..));
    key.is_some_and(|key| ecies::public_key(&NodeId::from_slice(key)).is_some())
}

async fn flow(shared: &Shared, carrier: &Carrier, place: &Place<'_>, validator: TcpStream, remote: TcpStream) -> End {
    // Small messages must not wait for each other; without it they only come later.
    let _ = (validator.set_nodelay(true), remote.set_nodelay(true));
    let limits = &carrier.limits;
    tokio::select! {
        end = pump(validator, remote, &shared.counters.carried, limits.idle, limits.stall) => end,
        refusal = place.cut() => End::Cut(refusal),
    }
}

/// Serves the connection that `node` has opened for a stream.
pub(crate) async fn serve(
    shared: &Arc<Shared>,
    carrier: &Carrier,
    mut wire: Wire,
    node: NodeId,
    remote: SocketAddr,
    unproven: door::Place,
) -> Ended {
    let serving = async {
        if !carrier.serves(&node) {
            // Best effort: it learns by the end of the connection as well.
            let _ = timeout(GOODBYE, wire.send(DISCONNECT as u8, &Reason::UselessPeer.encode())).await;
            let why = format!("node {} is no validator that we carry for", short(node));
            return Err(Refused::new(CarryRefusal::NotOurs, why));
        }
        let deadline = tokio::time::Instant::now() + shared.limits.handshake;
        let request = match timeout_at(deadline, wire.receive()).await {
            Ok(Ok((id, payload))) if id == u64::from(REQUEST) => Request::decode(&payload).ok(),
            _ => None,
        };
        if !unproven.prove() {
            return Ok(End::Closed);
        }
        let done = match request {
            Some(Request::Take(token)) => give(carrier, &mut wire, node, token).await.map(Given::Taken),
            Some(Request::Dial(enode)) => timeout_at(deadline, reach(shared, carrier, &mut wire, node, &enode))
                .await
                .unwrap_or_else(|_| Err(Refused::new(CarryRefusal::Unreachable, format!("{enode} did not answer in time")))),
            None => Err(Refused::new(CarryRefusal::Malformed, "no request for a stream")),
        };
        match done {
            Ok(Given::Taken(give)) => match rejoin(wire) {
                // Whoever waited may be gone; then both connections end.
                Some(stream) => {
                    let _ = give.send((node, stream));
                    Ok(End::Closed)
                }
                None => Err(Refused::new(CarryRefusal::Malformed, "bytes before the answer")),
            },
            Ok(Given::Dialled(stream, place)) => match rejoin(wire) {
                Some(data) => {
                    shared.counters.carried(false);
                    Ok(flow(shared, carrier, &place, data, stream).await)
                }
                None => Err(Refused::new(CarryRefusal::Malformed, "bytes before the answer")),
            },
            Err(refused) => {
                let answer = Answer::Refused(refused.1.clone());
                let _ = timeout(GOODBYE, wire.send(ANSWER, &answer.encode())).await;
                let _ = timeout(GOODBYE, wire.io.shutdown()).await;
                Err(refused)
            }
        }
    };
    let done = tokio::select! {
        done = serving => done,
        () = shared.stopped() => Ok(End::Closed),
    };
    finish(shared, remote, done)
}

enum Given<'a> {
    Taken(tokio::sync::oneshot::Sender<(NodeId, TcpStream)>),
    Dialled(TcpStream, Place<'a>),
}

async fn give(
    carrier: &Carrier,
    wire: &mut Wire,
    validator: NodeId,
    token: u64,
) -> Result<tokio::sync::oneshot::Sender<(NodeId, TcpStream)>, Refused> {
    let taken = carrier.table.take(token, &validator);
    let (remote, give) = taken.map_err(|refusal| Refused::new(refusal, "no such stream waits any more"))?;
    answer(wire, remote).await?;
    Ok(give)
}

async fn reach<'a>(
    shared: &Shared,
    carrier: &'a Carrier,
    wire: &mut Wire,
    validator: NodeId,
    enode: &Enode,
) -> Result<Given<'a>, Refused> {
    let place = carrier.table.place(validator, None, Instant::now());
    let place = place.map_err(|refusal| Refused::new(refusal, "too many streams, or too many in a short time"))?;
    let mut last = Refused::new(CarryRefusal::Unreachable, "it has no host");
    for host in &enode.hosts {
        let addresses = match dial::resolve(host, enode.tcp).await {
            Ok(addresses) => addresses,
            Err(why) => {
                last = Refused::new(CarryRefusal::Unreachable, why);
                continue;
            }
        };
        for address in addresses {
            judge(shared, &validator, enode.id, address, enode.tcp)?;
            shared.counters.dial(false);
            match timeout(dial::CONNECT, TcpStream::connect(address)).await {
                Err(_) => last = Refused::new(CarryRefusal::Unreachable, format!("{address} did not accept in time")),
                Ok(Err(error)) => last = Refused::new(CarryRefusal::Unreachable, format!("{address}: {error}")),
                Ok(Ok(stream)) => {
                    place.dialled(enode.id, address);
                    answer(wire, address).await?;
                    tracing::info!(node = %short(enode.id), remote = %address, validator = %short(validator), "carrying a connection of our validator");
                    return Ok(Given::Dialled(stream, place));
                }
            }
        }
    }
    Err(last)
}

fn judge(shared: &Shared, validator: &NodeId, node: NodeId, remote: SocketAddr, listen_port: u16) -> Result<(), Refused> {
    let candidate = Candidate {
        node,
        role: shared.registry.role(&node),
        remote,
        listen_port,
        inbound: false,
        is_static: false,
        path: Path::For(*validator),
    };
    shared.registry.judge(&candidate).map_err(|refusal| Refused::new(CarryRefusal::Rules, refusal.why))
}

async fn answer(wire: &mut Wire, remote: SocketAddr) -> Result<(), Refused> {
    let sent = timeout(Duration::from_secs(5), wire.send(ANSWER, &Answer::Opened(remote).encode())).await;
    match sent {
        Ok(Ok(())) => Ok(()),
        _ => Err(Refused::new(CarryRefusal::Unreachable, "the validator's connection broke")),
    }
}

/// The connection as it was before its keys; none when it holds bytes that came too early.
fn rejoin(wire: Wire) -> Option<TcpStream> {
    let Wire { reader, io, .. } = wire;
    reader.into_inner()?.reunite(io).ok()
}

fn finish(shared: &Shared, remote: SocketAddr, done: Result<End, Refused>) -> Ended {
    let (refusal, why) = match done {
        Ok(End::Closed) => {
            return Ended { outcome: Outcome::Connected, lasted: None, why: "carried to its end".into() };
        }
        Ok(End::Cut(refusal)) => (refusal, format!("a carried stream was cut: {}", refusal.name())),
        Err(Refused(refusal, why)) => (refusal, why),
    };
    shared.counters.not_carried(refusal);
    if let Some(suppressed) = shared.log.allow() {
        tracing::info!(%remote, reason = refusal.name(), suppressed, "not carried: {why}");
    }
    Ended { outcome: Outcome::Refused, lasted: None, why }
}
