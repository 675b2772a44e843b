//! Discovery over real sockets.

mod common;

use common::{Node, config, eventually, key};
use ipe_p2p::DiscoveryConfig;
use ipe_types::Enode;

/// A node with discovery on any free port, which asks `bootnodes` first.
async fn discoverer(n: u64, bootnodes: Vec<Enode>) -> Node {
    let mut config = config(n);
    let listen = "127.0.0.1:0".parse().expect("an address");
    config.discovery = Some(DiscoveryConfig { listen, bootnodes, dial_found: true });
    Node::start(config).await
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_know_only_the_bootnode_find_and_dial_each_other() {
    let boot = discoverer(1, Vec::new()).await;
    let enode = boot.enode();
    assert_eq!(enode.udp, boot.handle.local().discovery.map(|address| address.port()));
    let others = [discoverer(2, vec![enode.clone()]).await, discoverer(3, vec![enode.clone()]).await];
    let all = [&boot, &others[0], &others[1]];
    eventually("everybody is connected to everybody", || all.iter().all(|node| node.handle.peers().len() == 2)).await;
    assert!(others[0].handle.peers().iter().any(|peer| peer.node == key(3).node_id()));
    let counters = boot.handle.counters();
    assert!(counters.discovery_inbound > 0 && counters.discovery_outbound > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_discovery_no_udp_socket_is_opened() {
    let node = Node::start(config(1)).await;
    assert_eq!(node.handle.local().discovery, None);
    assert_eq!(node.enode().udp, None);
}
