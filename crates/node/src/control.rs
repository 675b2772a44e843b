//! Requests of the interfaces: votes and announcements go to the replica, connections to the network.

use ipe_engine::control::{AllowListError, NodeInfo, NotPermitted, PeerView, PermissionControl};
use ipe_engine::{Control, Input, PeerControl};
use ipe_p2p::NetworkHandle;
use ipe_types::Role;
use ipe_types::eth::Status;
use tokio::sync::mpsc;

use crate::inbox::Inbox;
use crate::permissions::Permissions;

/// Answers requests.
pub(crate) struct Controller {
    pub(crate) network: NetworkHandle,
    pub(crate) inbox: Inbox,
    pub(crate) role: Role,
    pub(crate) permissions: Permissions,
}

impl Controller {
    /// Serves requests until nobody can make any more.
    pub(crate) async fn serve(self, mut requests: mpsc::Receiver<Control>) {
        while let Some(request) = requests.recv().await {
            match request {
                Control::Announce(_) => self.inbox.pool_changed(),
                Control::Vote(vote) => self.inbox.control(Input::Vote(vote)),
                Control::Miner(request) => self.inbox.control(Input::Miner(request)),
                Control::Peer(request) => self.peer(request),
                Control::Permission(request) => self.permission(request).await,
            }
        }
    }

    async fn permission(&self, request: PermissionControl) {
        let permissions = self.permissions.clone();
        match request {
            PermissionControl::Get(list, reply) => reply(permissions.get(list)),
            PermissionControl::Add(list, entries, reply) => {
                reply(self.changed(move || permissions.add(list, &entries)).await);
            }
            PermissionControl::Remove(list, entries, reply) => {
                reply(self.changed(move || permissions.remove(list, &entries)).await);
            }
            PermissionControl::Reload(reply) => reply(self.changed(move || permissions.reload()).await),
        }
    }

    /// Makes a change, which waits for the disk, and puts it into force on the connections.
    async fn changed(&self, change: impl FnOnce() -> Result<(), AllowListError> + Send + 'static) -> Result<(), AllowListError> {
        let outcome = tokio::task::spawn_blocking(change).await.unwrap_or(Err(AllowListError::NotWritten));
        if let Some(nodes) = &self.permissions.nodes {
            nodes.resolve().await;
            self.network.reconsider();
        }
        outcome
    }

    fn peer(&self, request: PeerControl) {
        match request {
            PeerControl::List(reply) => reply(self.network.peers().iter().map(view).collect()),
            PeerControl::Add(enode, reply) => {
                let listed = self.permissions.nodes.as_ref().is_none_or(|nodes| nodes.lists(&enode));
                reply(if listed { Ok(self.network.add_static(enode)) } else { Err(NotPermitted) });
            }
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
