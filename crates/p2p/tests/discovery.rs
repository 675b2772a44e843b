//! Discovery over real sockets.

mod common;

use common::{Node, config, eventually, key};
use ipe_p2p::{DiscoveryConfig, Permit};
use ipe_types::Enode;

/// A node with discovery on any free port, which asks `bootnodes` first.
async fn discoverer_with(n: u64, bootnodes: Vec<Enode>, permits: Permit) -> Node {
    let mut config = config(n);
    let listen = "127.0.0.1:0".parse().expect("an address");
    config.discovery = Some(DiscoveryConfig { listen, bootnodes, dial_found: true, permits });
    Node::start(config).await
}

async fn discoverer(n: u64, bootnodes: Vec<Enode>) -> Node {
    discoverer_with(n, bootnodes, Permit::default()).await
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
    let packets = counters.discovery;
    assert!(packets.inbound[0] > 0 && packets.outbound[0] > 0 && packets.inbound[1] > 0, "{packets:?}");
    assert!(counters.discovered > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_discovery_no_udp_socket_is_opened() {
    let node = Node::start(config(1)).await;
    assert_eq!(node.handle.local().discovery, None);
    assert_eq!(node.enode().udp, None);
}

/// A node's list of permitted nodes holds for discovery as well: who is not in it cannot even find out that it is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_a_list_is_found_by_listed_nodes_only() {
    let listed = key(3).node_id();
    let boot = discoverer_with(1, Vec::new(), Permit::new(move |node, _, _| *node == listed)).await;
    let stranger = discoverer(2, vec![boot.enode()]).await;
    let member = discoverer(3, vec![boot.enode()]).await;
    eventually("the member has found it", || member.handle.counters().discovered == 1 && boot.handle.counters().discovered == 1)
        .await;
    eventually("the stranger has asked again and again", || stranger.handle.counters().discovery.outbound[0] >= 2).await;
    assert_eq!((stranger.handle.counters().discovered, stranger.handle.counters().discovery.inbound), (0, [0; 6]));
    assert!(stranger.handle.peers().is_empty());
}
