//! The owner's side of a network: wishes in, from any thread.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ipe_types::{Enode, NodeId, Role};

use crate::carry::boot::Carrier;
use crate::counters::Snapshot;
use crate::disconnect::Reason;
use crate::event::{PeerId, PeerInfo, Protocol};
use crate::link::{Outgoing, Payload, short};
use crate::network::Shared;

/// Longest wait for sessions to say goodbye at shutdown.
const GOODBYE: Duration = Duration::from_secs(2);

/// Our own identity on the wire.
#[derive(Clone, Debug)]
pub struct LocalNode {
    /// Public key.
    pub id: NodeId,
    /// Client name sent.
    pub client: String,
    /// The listener's actual address; `None`: no listening socket.
    pub listen: Option<SocketAddr>,
    /// The discovery socket's actual address; `None`: no discovery.
    pub discovery: Option<SocketAddr>,
    /// Our enode; `None` without a listener.
    pub enode: Option<Enode>,
}

/// A running network. Clones are the same network.
#[derive(Clone, Debug)]
pub struct NetworkHandle {
    pub(crate) shared: Arc<Shared>,
}

impl NetworkHandle {
    /// Our own identity and addresses.
    pub fn local(&self) -> &LocalNode {
        &self.shared.local
    }

    /// Queues one message. `false` when the peer is gone, does not share the protocol, or was cut because it reads too
    /// slowly. `code` is relative to the protocol.
    pub fn send(&self, peer: PeerId, protocol: Protocol, code: u8, payload: impl Into<Bytes>) -> bool {
        self.send_many(&[peer], protocol, code, payload) == 1
    }

    /// Queues one message for many peers, which share the buffer and its compressed form. Returns for how many it was
    /// queued.
    pub fn send_many(&self, peers: &[PeerId], protocol: Protocol, code: u8, payload: impl Into<Bytes>) -> usize {
        let payload = Arc::new(Payload::new(payload.into()));
        let mut queued = 0;
        self.shared.registry.with_links(peers, |link| {
            let message = Outgoing { protocol, code, payload: Arc::clone(&payload) };
            queued += usize::from(link.push(message));
        });
        queued
    }

    /// Ends a session, telling the peer why. A static node is dialled again; use [`Self::remove`] for good.
    pub fn disconnect(&self, peer: PeerId, reason: Reason) {
        if let Some(link) = self.shared.registry.link(peer) {
            link.end(Some(reason), true);
        }
    }

    /// Takes points (of 100, one comes back every 3 s) from a peer that misbehaved; a peer without points is cut and
    /// banned for a while. Returns whether it was.
    pub fn penalise(&self, peer: PeerId, points: u32, why: &str) -> bool {
        self.shared.registry.link(peer).is_some_and(|link| self.shared.penalise(&link, points, why))
    }

    /// Stays connected to a node from now on. `false` when it was kept already, is this node, or does not listen.
    pub fn add_static(&self, enode: Enode) -> bool {
        self.shared.add_static(enode)
    }

    /// Forgets a static node and ends its session. `false` when it was neither static nor connected.
    pub fn remove(&self, node: &NodeId) -> bool {
        let forgotten = self.shared.remove_static(node);
        let link = self.shared.registry.link_of(node);
        if let Some(link) = &link {
            link.end(Some(Reason::Requested), true);
        }
        forgotten || link.is_some()
    }

    /// Every open session, in the order they were opened.
    pub fn peers(&self) -> Vec<PeerInfo> {
        self.shared.registry.peers()
    }

    /// Replaces the directory of known nodes. Sessions that are open keep the role they were opened with.
    pub fn set_directory(&self, directory: HashMap<NodeId, Role>) {
        self.shared.registry.set_directory(directory);
    }

    /// Asks the admission rules about every session again and ends those refused; call it when the rules may have
    /// changed (node rules: on each new head). Carried streams are judged as well. Returns how many were ended.
    pub fn reconsider(&self) -> usize {
        let refused = self.shared.registry.reconsider();
        for (link, refusal) in &refused {
            tracing::info!(peer = %short(link.node), "disconnecting: no longer permitted: {}", refusal.why);
            link.end(Some(refusal.reason), true);
        }
        refused.len() + self.shared.carrier.as_ref().map_or(0, |carrier| carrier.reconsider(&self.shared))
    }

    /// Under which address each known node sees this one, as it says in its Pongs: nodes of the directory, static nodes and those
    /// of the core, some thousand at most. One that lies can say anything.
    pub fn seen_as(&self) -> Vec<(NodeId, std::net::IpAddr)> {
        self.shared.seen.words()
    }

    /// Whether this node carries sessions of its validators.
    pub fn carries(&self) -> bool {
        self.shared.carrier.is_some()
    }

    /// Counts for metrics.
    pub fn counters(&self) -> Snapshot {
        let mut snapshot = self.shared.counters.snapshot();
        snapshot.carried.open = self.shared.carrier.as_ref().map_or(0, Carrier::len);
        snapshot
    }

    /// Stops listening and dialling and ends every session with "client quitting"; returns when they are closed, or
    /// after two seconds.
    pub async fn shutdown(&self) {
        self.shared.stop.send_replace(true);
        let closing = async {
            for link in self.shared.registry.links() {
                link.end(Some(Reason::Quitting), true);
            }
            while self.shared.running.load(std::sync::atomic::Ordering::Acquire) > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(GOODBYE, closing).await.is_err() {
            tracing::debug!("some peers did not take our goodbye within {GOODBYE:?}");
        }
    }
}
