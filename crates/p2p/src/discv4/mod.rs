//! discv4: finding nodes over UDP (devp2p `discv4.md`).
//!
//! [`engine`] decides, with time and datagrams as arguments; this file owns the socket. Bounds: packets looked at per
//! address and in all ([`limiter`]), nodes known by distance and by subnet ([`table`]), questions waiting, proofs kept.

pub mod engine;
pub mod enr;
pub mod limiter;
pub mod packet;
pub mod table;

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ipe_types::fork_id::ForkId;
use ipe_types::{Enode, NodeId, NodeKey};
use tokio::net::UdpSocket;
use tokio::sync::watch;

use crate::config::DiscoveryConfig;
use crate::dial;
use crate::network::Shared;
use engine::Discovery;
use packet::{Endpoint, MAX_PACKET};

/// How often the engine may ask something.
const TICK: Duration = Duration::from_millis(500);
/// How often bootnodes' names are looked up again, and the fork identifier compared (Besu: 30 s).
const REFRESH: Duration = Duration::from_secs(30);
/// Found nodes dialled at a time, so that a lookup does not become a burst of connections.
const DIALS_AT_ONCE: usize = 4;

/// Serves discovery on a bound socket until the network stops.
pub(crate) fn start(shared: Arc<Shared>, key: NodeKey, socket: UdpSocket, config: DiscoveryConfig) {
    tokio::spawn(async move {
        tokio::select! {
            () = shared.stopped() => {}
            () = serve(&shared, key, &socket, &config) => {}
        }
    });
}

async fn serve(shared: &Arc<Shared>, key: NodeKey, socket: &UdpSocket, config: &DiscoveryConfig) {
    let own = Endpoint {
        ip: own_ip(shared, socket),
        udp: shared.local.discovery.map_or(0, |address| address.port()),
        tcp: shared.local.listen.map_or(0, |address| address.port()),
    };
    // Milliseconds as the first sequence number: a restarted node's record is newer than its last one.
    let seq = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    let mut discovery = Discovery::new(Instant::now(), key, own, fork_id(shared), seq);
    discovery.set_permits(config.permits.clone());
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut refresh = tokio::time::interval(REFRESH);
    let (sender, mut bootnodes) = watch::channel(literal(&config.bootnodes));
    discovery.set_bootnodes(bootnodes.borrow_and_update().clone());
    let mut resolving = std::pin::pin!(resolve_for_ever(&config.bootnodes, &sender));
    let mut datagram = [0u8; MAX_PACKET + 1];
    loop {
        tokio::select! {
            received = socket.recv_from(&mut datagram) => {
                // An error tells of an earlier packet that found no listener.
                if let Ok((length, from)) = received {
                    discovery.receive(Instant::now(), unix(), from, &datagram[..length]);
                }
            }
            _ = tick.tick() => {
                discovery.tick(Instant::now(), unix());
                if config.dial_found {
                    dial_found(shared, &mut discovery);
                }
            }
            _ = refresh.tick() => {
                discovery.set_fork_id(fork_id(shared));
                discovery.set_known_addresses(shared.addresses.configured());
                tracing::debug!(known = discovery.known(), "discovery");
            }
            () = &mut resolving => {}
            changed = bootnodes.changed() => if changed.is_ok() {
                discovery.set_bootnodes(bootnodes.borrow_and_update().clone());
            }
        }
        shared.counters.discovery(discovery.counts(), discovery.known());
        for (node, ip) in discovery.take_seen() {
            if shared.knows(&node) {
                shared.seen.say(node, ip);
            }
        }
        for (to, packet) in discovery.take_output() {
            // A packet that cannot be sent is a packet lost, which UDP may do anyway.
            if let Err(error) = socket.send_to(&packet, to).await {
                tracing::trace!(%to, "discovery packet not sent: {error}");
            }
        }
    }
}

fn unix() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn fork_id(shared: &Shared) -> ForkId {
    let head = *shared.head.borrow();
    shared.chain.fork_ids.at(head.number, head.timestamp)
}

/// The address to tell others: the first advertised host when it is an IP address, else what the socket is bound to.
fn own_ip(shared: &Shared, socket: &UdpSocket) -> Option<IpAddr> {
    let advertised = shared.local.enode.as_ref().and_then(|enode| enode.hosts.first()?.parse().ok());
    let bound = || socket.local_addr().ok().map(|address| address.ip()).filter(|ip| !ip.is_unspecified());
    advertised.or_else(bound)
}

/// A bootnode's key, UDP address and TCP port.
type Bootnode = (NodeId, SocketAddr, u16);

/// The bootnodes whose addresses need no name server.
fn literal(bootnodes: &[Enode]) -> Vec<Bootnode> {
    let each = bootnodes.iter().filter_map(|enode| Some((enode, enode.udp?)));
    each.flat_map(|(enode, udp)| {
        let addresses = enode.hosts.iter().filter_map(|host| host.parse::<IpAddr>().ok());
        addresses.map(move |ip| (enode.id, SocketAddr::new(ip, udp), enode.tcp))
    })
    .collect()
}

/// Looks names up again and again, beside the packets: a name server that does not answer holds up nothing.
async fn resolve_for_ever(bootnodes: &[Enode], resolved: &watch::Sender<Vec<Bootnode>>) {
    if bootnodes.iter().flat_map(|enode| &enode.hosts).all(|host| host.parse::<IpAddr>().is_ok()) {
        return std::future::pending().await;
    }
    loop {
        let mut all = literal(bootnodes);
        for enode in bootnodes {
            let Some(udp) = enode.udp else { continue };
            for host in enode.hosts.iter().filter(|host| host.parse::<IpAddr>().is_err()) {
                match dial::resolve(host, udp).await {
                    Ok(found) => all.extend(found.first().map(|address| (enode.id, *address, enode.tcp))),
                    Err(why) => tracing::debug!("a bootnode: {why}"),
                }
            }
        }
        resolved.send_replace(all);
        tokio::time::sleep(REFRESH).await;
    }
}

fn dial_found(shared: &Arc<Shared>, discovery: &mut Discovery) {
    let wanted = shared.registry.to_dial().min(DIALS_AT_ONCE);
    if wanted == 0 {
        return;
    }
    let connected: HashSet<NodeId> = shared.registry.links().iter().map(|link| link.node).collect();
    for enode in discovery.to_dial(Instant::now(), wanted, &connected) {
        if shared.registry.is_static(&enode.id) {
            continue;
        }
        let shared = Arc::clone(shared);
        tokio::spawn(async move {
            tokio::select! {
                () = shared.stopped() => {}
                _ = dial::dial(&shared, &enode) => {}
            }
        });
    }
}
