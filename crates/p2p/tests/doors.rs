//! Doors stay open for those who belong there, whatever strangers do: many addresses, any number of keys, at every stage.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use common::{Node, Peer, config, connect_from, eventually, key};
use ipe_p2p::{Core, DiscoveryConfig, Limits, NetworkConfig, Permit, Reason, handshake};
use ipe_types::eth::EthMessage;
use ipe_types::{Enode, Role};
use secp256k1::SecretKey;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

/// The boot's and its validator's numbers.
const BOOT: u64 = 1;
const VALIDATOR: u64 = 2;
/// Strangers, each at an address of its own, in twenty networks.
const STRANGERS: u64 = 200;

fn stranger_address(n: u64) -> [u8; 4] {
    [127, 40, (n % 20) as u8, (1 + n / 20) as u8]
}

/// Two hundred strangers who do at every moment whatever blocks a door best, until they are dropped.
struct Mob {
    stop: Arc<AtomicBool>,
    joined: Arc<AtomicU64>,
    _tasks: JoinSet<()>,
}

impl Mob {
    fn against(boot: &Arc<Node>) -> Mob {
        let (stop, joined) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut tasks = JoinSet::new();
        for n in 0..STRANGERS {
            let (boot, stop, joined) = (Arc::clone(boot), Arc::clone(&stop), Arc::clone(&joined));
            tasks.spawn(async move {
                let ip = stranger_address(n);
                while !stop.load(Ordering::Relaxed) {
                    match n % 3 {
                        // Says nothing, on some connections at once.
                        0 => {
                            let mut silent = Vec::new();
                            for _ in 0..8 {
                                silent.extend(connect_from(ip, boot.address()).await);
                            }
                            tokio::time::sleep(Duration::from_millis(400)).await;
                        }
                        // Stops before Hello.
                        1 => {
                            let peer = Peer::dial_from(ip, 1000 + n, &boot).await;
                            tokio::time::sleep(Duration::from_millis(if peer.is_some() { 2000 } else { 200 })).await;
                        }
                        // Joins as well as it can, and stays.
                        _ => {
                            if let Some(mut peer) = Peer::dial_from(ip, 1000 + n, &boot).await {
                                peer.send_raw(0, &Peer::hello(1000 + n).encode()).await;
                                peer.send_eth(EthMessage::Status(Peer::status())).await;
                                joined.fetch_add(1, Ordering::Relaxed);
                                while peer.reader.read(1 << 16).await.is_ok() {}
                            }
                            tokio::time::sleep(Duration::from_millis(200)).await;
                        }
                    }
                }
            });
        }
        Mob { stop, joined, _tasks: tasks }
    }
}

impl Drop for Mob {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

async fn validator(boot: &Node) -> Node {
    let mut config = config(VALIDATOR);
    config.listen = None;
    config.static_nodes = vec![boot.enode()];
    Node::start(config).await
}

/// A validator that is stopped and started again and again finds its boot's door open within [`common::PATIENCE`].
async fn comes_back_to(mut boot: NetworkConfig) {
    boot.limits = Limits { strangers: 25, ..Limits::default() };
    let (strangers, validator_id) = (boot.limits.strangers, key(VALIDATOR).node_id());
    let mut node = Node::start(boot).await;
    // Nobody has to know of what happens there.
    let (_sender, unused) = tokio::sync::mpsc::channel(1);
    let mut events = std::mem::replace(&mut node.events, unused);
    let heard = tokio::spawn(async move { while events.recv().await.is_some() {} });
    let boot = Arc::new(node);
    let mob = Mob::against(&boot);
    eventually("strangers have taken every place", || {
        boot.handle.peers().len() >= strangers && mob.joined.load(Ordering::Relaxed) > strangers as u64
    })
    .await;
    for _ in 0..3 {
        let validator = validator(&boot).await;
        eventually("the validator is connected", || {
            boot.handle.peers().iter().any(|peer| peer.node == validator_id) && validator.handle.peers().len() == 1
        })
        .await;
        assert!(boot.handle.peers().len() > strangers, "it has taken nobody's place");
        validator.handle.shutdown().await;
        eventually("it is gone", || boot.handle.peers().iter().all(|peer| peer.node != validator_id)).await;
    }
    drop(mob);
    boot.handle.shutdown().await;
    heard.abort();
}

/// Where rules are on chain there is no directory, and strangers are let in: validators are known by their keys' addresses.
#[tokio::test(flavor = "multi_thread")]
async fn a_validator_comes_back_to_its_boot_through_a_crowd_without_a_directory() {
    let mut boot = config(BOOT);
    boot.core = Core::new(|node| *node == key(VALIDATOR).node_id());
    comes_back_to(boot).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_validator_comes_back_to_its_boot_through_a_crowd_with_a_directory() {
    let mut boot = config(BOOT);
    boot.directory = [(key(VALIDATOR).node_id(), Role::Validator)].into();
    comes_back_to(boot).await;
}

/// A few addresses that have taken all strangers' places make room for a stranger from elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn strangers_of_few_networks_do_not_keep_other_strangers_out() {
    let mut boot = config(BOOT);
    boot.limits = Limits { strangers: 10, ..Limits::default() };
    let boot = Node::start(boot).await;
    let join = |ip: [u8; 4], n: u64| {
        let boot = &boot;
        async move {
            let mut peer = Peer::dial_from(ip, n, boot).await.expect("a handshake");
            peer.greet(Peer::hello(n)).await;
            peer.send_eth(EthMessage::Status(Peer::status())).await;
            peer
        }
    };
    let mut crowd = Vec::new();
    for n in 0..10 {
        crowd.push(join([127, 50, (n / 5) as u8, 1 + n as u8], 100 + n).await);
    }
    eventually("all places are taken", || boot.handle.peers().len() == 10).await;
    let mut late = join([127, 50, 1, 99], 150).await;
    assert_eq!(late.until_disconnected().await, Some(Reason::TooManyPeers), "of the same network");
    let _other = join([127, 51, 0, 1], 200).await;
    eventually("it is in", || boot.handle.peers().iter().any(|peer| peer.node == key(200).node_id())).await;
    eventually("one has given way", || boot.handle.peers().len() == 10).await;
}

/// Who has seen a known node's first packet can send it again; it is not even answered, and the node itself comes in at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_known_nodes_first_packet_is_good_once() {
    let mut boot = config(BOOT);
    boot.core = Core::new(|node| *node == key(VALIDATOR).node_id());
    let boot = Node::start(boot).await;
    // What the validator would send, caught on its way.
    let (mut near, mut far) = tokio::io::duplex(4096);
    let secret = SecretKey::from_byte_array(*key(VALIDATOR).secret_bytes()).expect("a key");
    let target = boot.handle.local().id;
    let sending = tokio::spawn(async move { handshake::initiate(&mut near, &secret, &target).await.map(|_| ()) });
    let mut auth = vec![0; 2];
    far.read_exact(&mut auth).await.expect("its size");
    let mut rest = vec![0; usize::from(u16::from_be_bytes([auth[0], auth[1]]))];
    far.read_exact(&mut rest).await.expect("the packet");
    auth.extend(rest);
    sending.abort();
    let mut answered = 0;
    for _ in 0..5 {
        let mut stream = connect_from([127, 60, 0, 1], boot.address()).await.expect("an open port");
        stream.write_all(&auth).await.expect("a connection");
        let mut first = [0; 1];
        answered += usize::from(stream.read_exact(&mut first).await.is_ok());
    }
    assert_eq!(answered, 1);
    let validator = validator(&boot).await;
    eventually("the validator is connected", || validator.handle.peers().len() == 1).await;
}

/// Datagrams from hundreds of addresses, as invented ones would be: two nodes that are configured with each other find each
/// other all the same.
#[tokio::test(flavor = "multi_thread")]
async fn configured_nodes_find_each_other_through_a_flood_of_datagrams() {
    let discovery = |bootnodes: Vec<Enode>| {
        let listen = "127.0.0.1:0".parse().expect("an address");
        Some(DiscoveryConfig { listen, bootnodes, dial_found: false, permits: Permit::default() })
    };
    let mut boot = config(BOOT);
    boot.discovery = discovery(Vec::new());
    boot.known_hosts = vec!["127.0.0.1".into()];
    let boot = Node::start(boot).await;
    let to = boot.handle.local().discovery.expect("a socket");
    let stop = Arc::new(AtomicBool::new(false));
    let mut flood = JoinSet::new();
    for n in 0..100u8 {
        let stop = Arc::clone(&stop);
        flood.spawn(async move {
            let socket =
                tokio::net::UdpSocket::bind(std::net::SocketAddr::from(([127, 70, n, 1], 0))).await.expect("a loopback address");
            let datagram = common::ping(2000 + u64::from(n));
            while !stop.load(Ordering::Relaxed) {
                for _ in 0..20 {
                    let _ = socket.send_to(&datagram, to).await;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
    }
    eventually("the flood has begun", || boot.handle.counters().discovery.inbound[0] > 1000).await;
    let mut member = config(VALIDATOR);
    member.discovery = discovery(vec![boot.enode()]);
    let member = Node::start(member).await;
    eventually("both have proved their addresses to each other", || {
        boot.handle.counters().discovered == 1 && member.handle.counters().discovered == 1
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    while flood.join_next().await.is_some() {}
}
