//! Starting a network, and the state that its tasks share.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use ipe_types::eth::Status;
use ipe_types::{B256, Enode, NodeId};
use parking_lot::Mutex;
use secp256k1::SecretKey;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::AbortHandle;

use crate::addresses::{self, Addresses};
use crate::capability::Offer;
use crate::carry::boot::Carrier;
use crate::carry::validator::MAX_TAKING;
use crate::config::{ChainIdentity, DiscoveryConfig, Limits, LocalHead, NetworkConfig};
use crate::counters::Counters;
use crate::door::Door;
use crate::event::NetEvent;
use crate::handle::{LocalNode, NetworkHandle};
use crate::hello::{self, Hello};
use crate::ipe::IpeStatus;
use crate::link::{Link, short};
use crate::rations::Rations;
use crate::registry::Registry;
use crate::seen::Seen;
use crate::turn::Turns;
use crate::{Reason, dial, discv4, listen};

/// Events that may wait for the owner. Each peer's share is bounded apart (see [`crate::event::Credit`]), so that this
/// only has to be large enough for a burst of all of them.
const EVENT_QUEUE: usize = 4096;
/// A frame of this size is large, bytes; smaller ones cost no more than the session itself.
const LARGE_FRAME: usize = 256 * 1024;
/// What strangers' large frames may take at once, in units of [`LARGE_FRAME`]: 64 MiB, some of the largest messages.
const LARGE_FRAMES: usize = 256;
/// Log lines about other nodes' faults per [`LOG_WINDOW`], so that a hostile peer cannot fill the disk.
const LOG_LINES: u32 = 20;
const LOG_WINDOW: Duration = Duration::from_secs(10);

/// Why a network could not start.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// A socket could not be bound.
    #[error("cannot listen on {protocol} {address}: {source}; free the port or choose another one")]
    Bind {
        /// `tcp` or `udp`.
        protocol: &'static str,
        /// The address wanted.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// The configuration contradicts itself.
    #[error("network configuration: {0}")]
    Config(&'static str),
}

/// A network of connections to other nodes.
#[derive(Debug)]
pub struct Network;

impl Network {
    /// Binds the sockets and starts listening, dialling and discovery in the current tokio runtime. Events wait in the
    /// receiver; when it is dropped the network shuts down by itself.
    ///
    /// # Errors
    /// A socket cannot be bound, no eth version is offered.
    pub async fn start(config: NetworkConfig) -> Result<(NetworkHandle, mpsc::Receiver<NetEvent>), NetworkError> {
        let NetworkConfig {
            key,
            client,
            listen,
            advertised,
            discovery,
            chain,
            head,
            eth_versions,
            istanbul,
            ipe,
            static_nodes,
            carried_nodes,
            carrier,
            directory,
            core,
            known_hosts,
            admit,
            limits,
        } = config;
        if eth_versions.is_empty() {
            return Err(NetworkError::Config("at least one eth version must be offered"));
        }
        let listener = match listen {
            None => None,
            Some(address) => Some(bind_tcp(address).await?),
        };
        let socket = match &discovery {
            None => None,
            Some(DiscoveryConfig { listen, .. }) => Some(bind_udp(*listen).await?),
        };
        let address = listener.as_ref().map(|(_, address)| *address);
        let udp = socket.as_ref().map(|(_, address)| *address);
        let id = key.node_id();
        let local = LocalNode {
            id,
            client,
            listen: address,
            discovery: udp,
            enode: address.map(|address| own_enode(id, address, udp, advertised)),
        };
        // Else all strangers' slots could be filled by who dials us, and we would see only what they show us.
        let dials_found = discovery.as_ref().is_some_and(|discovery| discovery.dial_found);
        let kept_for_dialled = if dials_found { limits.strangers / 4 } else { 0 };
        let (events, receiver) = mpsc::channel(EVENT_QUEUE);
        let offer = Offer { eth: eth_versions, istanbul, ipe: ipe.is_some(), carry: carrier.is_some() };
        let secret =
            SecretKey::from_byte_array(*key.secret_bytes()).map_err(|_| NetworkError::Config("the node key is no secret key"))?;
        let shared = Arc::new(Shared {
            secret,
            hello: Hello {
                version: hello::VERSION,
                client: local.client.clone(),
                capabilities: offer.capabilities(),
                listen_port: address.map_or(0, |address| address.port()),
                id,
            }
            .encode(),
            local,
            offer,
            chain,
            head,
            registry: Registry::new(id, limits.clone(), admit, directory, core, kept_for_dialled),
            limits,
            counters: Counters::default(),
            events,
            ipe,
            stop: watch::Sender::new(false),
            running: AtomicUsize::new(0),
            dialling: Mutex::default(),
            door: Door::default(),
            addresses: Addresses::default(),
            seen: Seen::default(),
            turns: Turns::default(),
            carrier: carrier.map(Carrier::new),
            accepts_carried: !carried_nodes.is_empty(),
            taking: Arc::new(Semaphore::new(MAX_TAKING)),
            large: Arc::new(Semaphore::new(LARGE_FRAMES)),
            log: LogGate::default(),
            own_log: LogGate::default(),
            rations: Rations::default(),
        });
        let hosts = static_nodes.iter().chain(&carried_nodes).flat_map(|enode| enode.hosts.iter().cloned());
        addresses::keep(&shared, hosts.chain(known_hosts).collect());
        for enode in static_nodes {
            shared.add_static(enode);
        }
        for enode in carried_nodes {
            shared.keep(enode, true);
        }
        if let Some((listener, _)) = listener {
            tokio::spawn(listen::accept(Arc::clone(&shared), listener));
        }
        if let (Some((socket, _)), Some(discovery)) = (socket, discovery) {
            discv4::start(Arc::clone(&shared), key, socket, discovery);
        }
        tokio::spawn(stop_when_unheard(Arc::clone(&shared)));
        Ok((NetworkHandle { shared }, receiver))
    }
}

async fn bind_tcp(address: SocketAddr) -> Result<(TcpListener, SocketAddr), NetworkError> {
    let fault = |source| NetworkError::Bind { protocol: "tcp", address, source };
    let listener = TcpListener::bind(address).await.map_err(fault)?;
    let actual = listener.local_addr().map_err(fault)?;
    Ok((listener, actual))
}

async fn bind_udp(address: SocketAddr) -> Result<(UdpSocket, SocketAddr), NetworkError> {
    let fault = |source| NetworkError::Bind { protocol: "udp", address, source };
    let socket = UdpSocket::bind(address).await.map_err(fault)?;
    let actual = socket.local_addr().map_err(fault)?;
    Ok((socket, actual))
}

/// Our enode: the advertised hosts, or the listening address (loopback when it is "any").
fn own_enode(id: NodeId, address: SocketAddr, udp: Option<SocketAddr>, advertised: Vec<String>) -> Enode {
    let hosts = if advertised.is_empty() {
        let ip = match address.ip() {
            ip if !ip.is_unspecified() => ip.to_string(),
            std::net::IpAddr::V4(_) => "127.0.0.1".into(),
            std::net::IpAddr::V6(_) => "::1".into(),
        };
        vec![ip]
    } else {
        advertised
    };
    Enode { id, hosts, tcp: address.port(), udp: udp.map(|address| address.port()) }
}

/// The owner has dropped its receiver: nobody hears us any more.
async fn stop_when_unheard(shared: Arc<Shared>) {
    tokio::select! {
        () = shared.events.closed() => {}
        () = shared.stopped() => {}
    }
    shared.stop.send_replace(true);
    for link in shared.registry.links() {
        link.end(Some(Reason::Quitting), true);
    }
}

/// What every task of one network shares.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) secret: SecretKey,
    /// Our encoded Hello.
    pub(crate) hello: Vec<u8>,
    pub(crate) local: LocalNode,
    pub(crate) offer: Offer,
    pub(crate) chain: ChainIdentity,
    pub(crate) head: watch::Receiver<LocalHead>,
    pub(crate) limits: Limits,
    pub(crate) registry: Registry,
    pub(crate) counters: Counters,
    pub(crate) events: mpsc::Sender<NetEvent>,
    pub(crate) ipe: Option<IpeStatus>,
    pub(crate) stop: watch::Sender<bool>,
    /// Connection tasks that live.
    pub(crate) running: AtomicUsize,
    /// The task that dials each static node.
    dialling: Mutex<HashMap<NodeId, AbortHandle>>,
    pub(crate) door: Door,
    pub(crate) addresses: Addresses,
    /// Under which addresses known nodes see us.
    pub(crate) seen: Seen,
    pub(crate) turns: Turns,
    /// What we carry for our validators.
    pub(crate) carrier: Option<Carrier>,
    /// Whether streams that our boots offer are taken.
    pub(crate) accepts_carried: bool,
    /// Places for streams that are being taken.
    pub(crate) taking: Arc<Semaphore>,
    /// Room for strangers' large frames.
    large: Arc<Semaphore>,
    /// Lines about strangers.
    pub(crate) log: LogGate,
    /// Lines about known nodes and those that we dialled, which strangers' lines do not crowd out.
    pub(crate) own_log: LogGate,
    /// Lines about sessions of known nodes and of those that we dial.
    pub(crate) rations: Rations,
}

impl Shared {
    /// Waits until the network is to stop.
    pub(crate) async fn stopped(&self) {
        let mut stop = self.stop.subscribe();
        // An error would mean that the sender is gone, which `self` owns.
        let _ = stop.wait_for(|stop| *stop).await;
    }

    /// Whether a node's places are its own.
    pub(crate) fn knows(&self, node: &NodeId) -> bool {
        self.registry.knows(node) || self.carries_for(node)
    }

    /// Whether a node is a validator for which we carry.
    pub(crate) fn carries_for(&self, node: &NodeId) -> bool {
        self.carrier.as_ref().is_some_and(|carrier| carrier.serves(node))
    }

    pub(crate) fn add_static(self: &Arc<Self>, enode: Enode) -> bool {
        self.keep(enode, false)
    }

    /// Stays connected to a node, by ourselves or through a boot that carries.
    fn keep(self: &Arc<Self>, enode: Enode, carried: bool) -> bool {
        if enode.tcp == 0 {
            tracing::warn!(node = %short(enode.id), "a static node without a listening port cannot be dialled: {enode}");
            return false;
        }
        if enode.id == self.local.id || *self.stop.borrow() || !self.registry.add_static(enode.id) {
            return false;
        }
        let id = enode.id;
        let task = tokio::spawn(dial::keep(Arc::clone(self), enode, carried));
        self.dialling.lock().insert(id, task.abort_handle());
        true
    }

    pub(crate) fn remove_static(&self, node: &NodeId) -> bool {
        if let Some(task) = self.dialling.lock().remove(node) {
            task.abort();
        }
        self.registry.remove_static(node)
    }

    /// Room for a stranger's large frame, which waits while others' take it all; known nodes need none.
    pub(crate) async fn room_for_large(&self, link: &Link, size: usize) -> Option<OwnedSemaphorePermit> {
        if link.known || size < LARGE_FRAME {
            return None;
        }
        let units = u32::try_from(size.div_ceil(LARGE_FRAME)).unwrap_or(u32::MAX);
        link.set_stalled(true);
        let permit = Arc::clone(&self.large).acquire_many_owned(units).await.ok();
        link.set_stalled(false);
        permit
    }

    pub(crate) fn penalise(&self, link: &Link, points: u32, why: &str) -> bool {
        self.counters.penalty();
        let cut = link.penalise(points);
        if cut && link.closing().is_none() {
            self.ban(link, why);
        }
        cut
    }

    /// Cuts a peer that broke the protocol and keeps it away for a while.
    pub(crate) fn ban(&self, link: &Link, why: &str) {
        self.counters.ban();
        let gate = if link.known { &self.own_log } else { &self.log };
        if let Some(suppressed) = gate.allow() {
            tracing::warn!(
                peer = %short(link.node),
                suppressed,
                "cut and banned for {} s: {why}",
                self.limits.ban.as_secs()
            );
        }
        self.registry.ban(link);
        link.end(Some(Reason::BreachOfProtocol), true);
    }

    /// Our Hello in a session that a boot listening on `port` carries: the other end dials us there. It offers `carry/1`,
    /// by which two validators of ours recognise each other: between them boots relay, and nothing is carried.
    pub(crate) fn carried_hello(&self, port: u16) -> Vec<u8> {
        Hello {
            version: hello::VERSION,
            client: self.local.client.clone(),
            capabilities: Offer { carry: true, ..self.offer.clone() }.capabilities(),
            listen_port: port,
            id: self.local.id,
        }
        .encode()
    }

    /// What `ipe/1` tells peers, with the head of this moment; none where it is not spoken.
    pub(crate) fn ipe_status(&self) -> Option<IpeStatus> {
        Some(IpeStatus { height: self.head.borrow().number, ..self.ipe.clone()? })
    }

    /// Our Status of that version, at the head of this moment.
    pub(crate) fn status(&self, version: ipe_types::eth::EthVersion) -> Status {
        let head = *self.head.borrow();
        let fork_id = self.chain.fork_ids.at(head.number, head.timestamp);
        let (network_id, genesis): (u64, B256) = (self.chain.network_id, self.chain.genesis);
        match version {
            ipe_types::eth::EthVersion::V66 | ipe_types::eth::EthVersion::V68 => Status::Legacy {
                version: version.number(),
                network_id,
                total_difficulty: head.total_difficulty,
                head: head.hash,
                genesis,
                fork_id,
            },
            ipe_types::eth::EthVersion::V69 => Status::Range {
                version: version.number(),
                network_id,
                genesis,
                fork_id,
                earliest: head.earliest,
                latest: head.number,
                latest_hash: head.hash,
            },
        }
    }
}

/// Bounds the log lines that other nodes' faults can cause.
#[derive(Debug, Default)]
pub(crate) struct LogGate {
    state: Mutex<Option<(Instant, u32)>>,
}

impl LogGate {
    /// Whether a line may be written; with it, how many were left out since the window began.
    pub(crate) fn allow(&self) -> Option<u32> {
        let mut state = self.state.lock();
        let (since, written) = state.get_or_insert_with(|| (Instant::now(), 0));
        if since.elapsed() >= LOG_WINDOW {
            let suppressed = written.saturating_sub(LOG_LINES);
            (*since, *written) = (Instant::now(), 1);
            return Some(suppressed);
        }
        *written = written.saturating_add(1);
        (*written <= LOG_LINES).then_some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_peers_cannot_fill_the_log() {
        let gate = LogGate::default();
        assert_eq!((0..10_000).filter(|_| gate.allow().is_some()).count(), LOG_LINES as usize);
    }
}
