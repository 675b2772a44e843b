//! Peers that mean harm or are broken: each is turned away with the right word, and honest sessions go on.

mod common;

use std::time::{Duration, Instant};

use common::{Node, Peer, config, eventually, key};
use ipe_p2p::hello::MAX_HELLO;
use ipe_p2p::{Capability, Limits, NetEvent, Protocol, Reason, snappy};
use ipe_types::eth::{EthMessage, Status};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A victim with one honest peer, and the means to prove that their session still works.
struct Scene {
    victim: Node,
    honest: Node,
}

impl Scene {
    async fn new() -> Scene {
        Scene::with(Limits::default()).await
    }

    async fn with(limits: Limits) -> Scene {
        let mut victim = config(1);
        victim.limits = limits;
        let mut victim = Node::start(victim).await;
        let mut honest = config(2);
        honest.listen = None;
        honest.static_nodes = vec![victim.enode()];
        let mut honest = Node::start(honest).await;
        honest.connected().await;
        victim.connected().await;
        Scene { victim, honest }
    }

    /// The honest session was never interrupted and a message still passes quickly.
    async fn still_well(&mut self) {
        let peers = self.honest.handle.peers();
        assert_eq!(peers.len(), 1, "the honest peer is connected");
        assert_eq!(peers[0].id.0, 1, "by its first session");
        let started = Instant::now();
        assert!(self.honest.handle.send(peers[0].id, Protocol::Istanbul, 0x13, b"still here".to_vec()));
        loop {
            if let NetEvent::Message(message) = self.victim.next().await
                && message.payload == b"still here"[..]
            {
                break;
            }
        }
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_instead_of_a_handshake() {
    let mut scene = Scene::new().await;
    for garbage in [vec![0u8; 500], vec![0xff; 100_000], vec![4; 5000], b"GET / HTTP/1.1\r\n\r\n".repeat(40)] {
        let mut stream = TcpStream::connect(scene.victim.address()).await.expect("an open port");
        let _ = stream.write_all(&garbage).await;
        let mut answer = Vec::new();
        // Closed without a word: a reset is as good as an end.
        let read = tokio::time::timeout(Duration::from_secs(15), stream.read_to_end(&mut answer)).await;
        assert!(read.is_ok() && answer.is_empty());
    }
    scene.still_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_larger_than_allowed() {
    let mut scene = Scene::new().await;
    // Before Status hardly anything is read; after it, frames up to the largest message.
    let mut early = Peer::dial(5, &scene.victim).await;
    early.greet(Peer::hello(5)).await;
    early.send_raw(0x10, &vec![0; 100_000]).await;
    assert_eq!(early.until_disconnected().await, Some(Reason::BreachOfProtocol));
    let mut late = Peer::join(6, &scene.victim).await;
    late.send_raw(0x17, &vec![0; 15 << 20]).await;
    let _ = late.until_disconnected().await;
    assert_eq!(scene.victim.disconnected().await, (key(6).node_id(), Some(Reason::BreachOfProtocol), true));
    scene.still_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_never_comes_takes_no_memory_and_ends() {
    let limits = Limits { keepalive: Duration::from_millis(300), ..Limits::default() };
    let mut scene = Scene::with(limits).await;
    let mut peer = Peer::join(5, &scene.victim).await;
    let mut frame = Vec::new();
    peer.writer.append(0x17, &vec![0; 10 << 20], &mut frame);
    peer.io.write_all(&frame[..100]).await.expect("a connection");
    // The rest never comes: silence ends it.
    assert_eq!(peer.until_disconnected().await, Some(Reason::Timeout));
    scene.still_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oversize_or_malformed_hello() {
    let mut scene = Scene::new().await;
    let mut oversize = Peer::hello(5);
    oversize.capabilities = (0..400).map(|version| Capability { name: "eth".into(), version }).collect();
    assert!(oversize.encode().len() > MAX_HELLO);
    for payload in [oversize.encode(), vec![0xc0], vec![1, 2, 3], Vec::new()] {
        let mut peer = Peer::dial(5, &scene.victim).await;
        peer.send_raw(0, &payload).await;
        // Our own Hello comes first, unprompted.
        let (id, _) = peer.reader.read(4096).await.expect("a Hello");
        assert_eq!(id, 0);
        assert_eq!(peer.until_disconnected().await, Some(Reason::BreachOfProtocol));
    }
    scene.still_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hello_that_names_another_key() {
    let mut scene = Scene::new().await;
    let mut peer = Peer::dial(5, &scene.victim).await;
    // The honest peer's name with the stranger's key.
    peer.greet(Peer::hello(2)).await;
    assert_eq!(peer.until_disconnected().await, Some(Reason::UnexpectedIdentity));
    let mut peer = Peer::dial(5, &scene.victim).await;
    peer.greet(ipe_p2p::hello::Hello { id: ipe_types::NodeId::ZERO, ..Peer::hello(5) }).await;
    assert_eq!(peer.until_disconnected().await, Some(Reason::NullIdentity));
    let mut peer = Peer::dial(5, &scene.victim).await;
    peer.greet(ipe_p2p::hello::Hello { version: 4, ..Peer::hello(5) }).await;
    assert_eq!(peer.until_disconnected().await, Some(Reason::IncompatibleVersion));
    let mut peer = Peer::dial(5, &scene.victim).await;
    let old = vec![Capability { name: "eth".into(), version: 65 }, Capability { name: "istanbul".into(), version: 100 }];
    peer.greet(ipe_p2p::hello::Hello { capabilities: old, ..Peer::hello(5) }).await;
    assert_eq!(peer.until_disconnected().await, Some(Reason::UselessPeer), "no shared eth version");
    let mut itself = Peer::dial(1, &scene.victim).await;
    itself.greet(Peer::hello(1)).await;
    assert_eq!(itself.until_disconnected().await, Some(Reason::ConnectedToSelf));
    scene.still_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_network_genesis_or_fork() {
    let mut scene = Scene::new().await;
    let Status::Legacy { version, network_id, total_difficulty, head, genesis, fork_id } = Peer::status() else {
        unreachable!("the peer speaks eth/68")
    };
    let status = |network_id, genesis, fork_id, version| {
        EthMessage::Status(Status::Legacy { version, network_id, total_difficulty, head, genesis, fork_id })
    };
    let wrong = [
        status(network_id + 1, genesis, fork_id, version),
        status(network_id, ipe_types::B256::repeat_byte(1), fork_id, version),
        status(network_id, genesis, fork_id, 67),
    ];
    for message in wrong {
        let mut peer = Peer::dial(5, &scene.victim).await;
        peer.greet(Peer::hello(5)).await;
        peer.send_eth(message).await;
        assert_eq!(peer.until_disconnected().await, Some(Reason::SubprotocolReason));
    }
    for malformed in [&[0xc0][..], &[0xff; 30], &[]] {
        let mut peer = Peer::dial(5, &scene.victim).await;
        peer.greet(Peer::hello(5)).await;
        peer.send(0x10, malformed).await;
        assert_eq!(peer.until_disconnected().await, Some(Reason::SubprotocolReason));
    }
    // A message before Status.
    let mut peer = Peer::dial(5, &scene.victim).await;
    peer.greet(Peer::hello(5)).await;
    peer.send(0x33, &[0xc0]).await;
    assert_eq!(peer.until_disconnected().await, Some(Reason::BreachOfProtocol));
    let counted: u64 = scene
        .victim
        .handle
        .counters()
        .outcomes
        .iter()
        .filter(|count| count.outcome.name() == "incompatible")
        .map(|count| count.count)
        .sum();
    assert_eq!(counted, 3);
    scene.still_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn snappy_bombs_and_unknown_ids() {
    let mut scene = Scene::new().await;
    // States 4 GiB in six bytes; a Prepare of a megabyte of zeros in a few kilobytes; no snappy at all; no such id.
    let zeros = snappy::compress(&vec![0; 1 << 20]).to_vec();
    let attacks: [(u8, Vec<u8>); 4] =
        [(0x17, vec![0xff, 0xff, 0xff, 0xff, 0x0f, 0]), (0x34, zeros), (0x12, vec![9, 9, 9]), (0x7f, vec![1, 0, 0xc0])];
    for (n, (id, payload)) in attacks.into_iter().enumerate() {
        let mut peer = Peer::join(10 + n as u64, &scene.victim).await;
        peer.send_raw(id, &payload).await;
        assert_eq!(peer.until_disconnected().await, Some(Reason::BreachOfProtocol), "attack {n}");
        // It is kept away for a while.
        let mut again = Peer::dial(10 + n as u64, &scene.victim).await;
        again.greet(Peer::hello(10 + n as u64)).await;
        assert_eq!(again.until_disconnected().await, Some(Reason::UselessPeer), "attack {n}");
    }
    scene.still_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_with_a_wrong_mac() {
    let mut scene = Scene::new().await;
    let mut peer = Peer::join(5, &scene.victim).await;
    let mut frame = Vec::new();
    peer.writer.append(0x12, &[1, 0, 0xc0], &mut frame);
    frame[40] ^= 1;
    peer.io.write_all(&frame).await.expect("a connection");
    assert_eq!(peer.until_disconnected().await, Some(Reason::BreachOfProtocol));
    // Whoever can write into a connection's bytes can do this: its node is not banned for it.
    let _again = Peer::join(5, &scene.victim).await;
    scene.still_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pings_without_end_before_status() {
    let mut scene = Scene::new().await;
    let mut peer = Peer::dial(5, &scene.victim).await;
    peer.greet(Peer::hello(5)).await;
    for _ in 0..100 {
        peer.send(2, &[0xc0]).await;
    }
    assert_eq!(peer.until_disconnected().await, Some(Reason::BreachOfProtocol));
    scene.still_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_loris_at_every_stage() {
    let limits = Limits { handshake: Duration::from_millis(500), keys: Duration::from_millis(500), ..Limits::default() };
    let mut scene = Scene::with(limits).await;
    let started = Instant::now();
    // Says nothing; says two bytes; stops after the keys; stops after Hello.
    let mut silent = TcpStream::connect(scene.victim.address()).await.expect("an open port");
    let mut slow = TcpStream::connect(scene.victim.address()).await.expect("an open port");
    slow.write_all(&[1, 0xb3]).await.expect("a connection");
    let mut keys_only = Peer::dial(5, &scene.victim).await;
    let mut hello_only = Peer::dial(6, &scene.victim).await;
    hello_only.greet(Peer::hello(6)).await;
    let mut rest = Vec::new();
    assert!(silent.read_to_end(&mut rest).await.is_ok() && rest.is_empty());
    assert!(slow.read_to_end(&mut rest).await.is_ok() && rest.is_empty());
    let (id, _) = keys_only.reader.read(4096).await.expect("a Hello, unprompted");
    assert_eq!(id, 0);
    assert_eq!(keys_only.until_disconnected().await, Some(Reason::Timeout));
    assert_eq!(hello_only.until_disconnected().await, Some(Reason::Timeout));
    // A byte every now and then gains no time.
    let mut trickle = TcpStream::connect(scene.victim.address()).await.expect("an open port");
    while trickle.write_all(&[1]).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    scene.still_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_connection_of_the_same_node() {
    let mut scene = Scene::new().await;
    let mut first = Peer::join(5, &scene.victim).await;
    scene.victim.connected().await;
    let mut second = Peer::dial(5, &scene.victim).await;
    second.send_raw(0, &Peer::hello(5).encode()).await;
    assert_eq!(second.until_disconnected().await, Some(Reason::AlreadyConnected));
    // The first is asked whether it lives, answers, and stays.
    loop {
        let (id, _) = first.receive().await.expect("a Ping");
        if id == 2 {
            break;
        }
    }
    first.send(3, &[0xc0]).await;
    first.send(0x33, b"first").await;
    assert_eq!(scene.victim.message().await.payload, b"first"[..]);
    scene.still_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_connection_makes_room_for_its_node() {
    let limits = Limits { keepalive: Duration::from_secs(2), ..Limits::default() };
    let mut scene = Scene::with(limits).await;
    // The machine of the first connection vanished without a word.
    let _vanished = Peer::join(5, &scene.victim).await;
    scene.victim.connected().await;
    let started = Instant::now();
    loop {
        let mut again = Peer::dial(5, &scene.victim).await;
        again.send_raw(0, &Peer::hello(5).encode()).await;
        // A Disconnect while the first connection counts as alive.
        match again.reader.read(4096).await {
            Ok((0, _)) => break,
            _ => tokio::time::sleep(Duration::from_millis(200)).await,
        }
        assert!(started.elapsed() < Duration::from_secs(10), "never let in");
    }
    scene.still_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_strangers() {
    let mut scene = Scene::with(Limits { strangers: 10, unproven: 64, ..Limits::default() }).await;
    // Half never speak, half join as well as they can.
    let mut idle = Vec::new();
    for _ in 0..100 {
        idle.push(TcpStream::connect(scene.victim.address()).await.expect("an open port"));
    }
    let mut sessions = Vec::new();
    for n in 0..100 {
        let mut peer = Peer::dial(1000 + n, &scene.victim).await;
        peer.greet(Peer::hello(1000 + n)).await;
        peer.send_eth(EthMessage::Status(Peer::status())).await;
        sessions.push(peer);
    }
    eventually("the strangers are sorted out", || {
        let outcomes = scene.victim.handle.counters().outcomes;
        let of = |name| outcomes.iter().find(|count| count.inbound && count.outcome.name() == name).map_or(0, |count| count.count);
        // The honest peer is a stranger too: it took one of the ten slots.
        of("connected") == 10 && of("refused") == 91
    })
    .await;
    assert_eq!(scene.victim.handle.peers().len(), 10);
    let evicted = scene.victim.handle.counters().outcomes;
    assert!(evicted.iter().any(|count| count.outcome.name() == "evicted" && count.count >= 36), "{evicted:?}");
    // A known node still gets in: its slots are its own.
    let mut known = config(3);
    known.listen = None;
    known.static_nodes = vec![scene.victim.enode()];
    scene.victim.handle.set_directory([(key(3).node_id(), ipe_types::Role::Boot)].into());
    let mut known = Node::start(known).await;
    known.connected().await;
    scene.still_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_fills_only_its_own_share() {
    let mut scene = Scene::new().await;
    let mut flooder = Peer::join(5, &scene.victim).await;
    scene.victim.connected().await;
    // The owner does not read while 20,000 messages come.
    let flood = tokio::spawn(async move {
        for _ in 0..20_000u32 {
            flooder.send(0x34, &[0xc0; 40]).await;
        }
        flooder
    });
    tokio::time::sleep(Duration::from_millis(700)).await;
    let counted = scene.victim.handle.counters();
    let taken = counted.messages.iter().find(|count| count.name == "Prepare" && count.inbound).expect("counted").messages;
    assert!(taken < 1000, "{taken} messages were taken in although none was handled");
    scene.still_well().await;
    drop(scene);
    // The flooder's connection ends with the victim.
    let _ = tokio::time::timeout(Duration::from_secs(15), flood).await.expect("it ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_never_reads_is_cut() {
    let mut scene = Scene::new().await;
    let peer = Peer::join(5, &scene.victim).await;
    let info = scene.victim.connected().await;
    let answer: Vec<u8> = (0..1_000_000u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let queued = (0..200).take_while(|_| scene.victim.handle.send(info.id, Protocol::Eth, 0x06, answer.clone())).count();
    assert!(queued < 60, "{queued} MB were queued");
    assert_eq!(scene.victim.disconnected().await, (key(5).node_id(), Some(Reason::Timeout), true));
    drop(peer);
    scene.still_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn points_run_out_and_the_peer_is_banned() {
    let mut scene = Scene::with(Limits { ban: Duration::from_millis(1500), ..Limits::default() }).await;
    let mut peer = Peer::join(5, &scene.victim).await;
    let info = scene.victim.connected().await;
    for _ in 0..4 {
        assert!(!scene.victim.handle.penalise(info.id, 20, "invalid consensus message"));
    }
    assert!(scene.victim.handle.penalise(info.id, 20, "invalid consensus message"));
    assert_eq!(peer.until_disconnected().await, Some(Reason::BreachOfProtocol));
    let mut again = Peer::dial(5, &scene.victim).await;
    again.greet(Peer::hello(5)).await;
    assert_eq!(again.until_disconnected().await, Some(Reason::UselessPeer));
    tokio::time::sleep(Duration::from_millis(1600)).await;
    let _again = Peer::join(5, &scene.victim).await;
    scene.still_well().await;
}
