//! discv4: finding nodes over UDP.

use std::sync::Arc;

use ipe_types::NodeKey;
use tokio::net::UdpSocket;

use crate::config::DiscoveryConfig;
use crate::network::Shared;

/// Starts discovery on a bound socket.
pub(crate) fn start(shared: Arc<Shared>, _key: NodeKey, socket: UdpSocket, _config: DiscoveryConfig) {
    tokio::spawn(async move {
        shared.stopped().await;
        drop(socket);
    });
}
