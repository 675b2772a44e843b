//! Requests of the interfaces: votes and announcements go to the replica, connections to the network.

use ipe_engine::control::{NodeInfo, PeerView};
use ipe_engine::{Control, Input, PeerControl};
use ipe_p2p::NetworkHandle;
use ipe_types::Role;
use ipe_types::eth::Status;
use tokio::sync::mpsc;

use crate::inbox::Inbox;

/// Answers requests.
pub(crate) struct Controller {
    pub(crate) network: NetworkHandle,
    pub(crate) inbox: Inbox,
    pub(crate) role: Role,
}

impl Controller {
    /// Serves requests until nobody can make any more.
    pub(crate) async fn serve(self, mut requests: mpsc::Receiver<Control>) {
        while let Some(request) = requests.recv().await {
            match request {
                Control::Announce(_) => self.inbox.pool_changed(),
                Control::Vote(vote) => self.inbox.urgent(Input::Vote(vote), None),
                Control::Peer(request) => self.peer(request),
            }
        }
    }

    fn peer(&self, request: PeerControl) {
        match request {
            PeerControl::List(reply) => reply(self.network.peers().iter().map(view).collect()),
            PeerControl::Add(enode, reply) => reply(self.network.add_static(enode)),
            PeerControl::Remove(enode, reply) => reply(self.network.remove(&enode.id)),
            PeerControl::NodeInfo(reply) => {
                let local = self.network.local();
                reply(NodeInfo {
                    id: local.id,
                    client: local.client.clone(),
                    enode: local.enode.clone(),
                    listen: local.listen,
                    role: self.role,
                });
            }
        }
    }
}

fn view(peer: &ipe_p2p::PeerInfo) -> PeerView {
    let total_difficulty = match &peer.status {
        Status::Legacy { total_difficulty, .. } => Some(*total_difficulty),
        Status::Range { .. } => None,
    };
    PeerView {
        id: peer.node,
        client: peer.client.clone(),
        capabilities: peer.shared.iter().map(ToString::to_string).collect(),
        remote: peer.remote,
        local: peer.local,
        inbound: peer.inbound,
        listen_port: peer.listen_port,
        role: peer.role,
        height: peer.status.head_number(),
        head: Some(peer.status.head_hash()),
        total_difficulty,
        eth_version: u32::from(peer.eth.number()),
    }
}
