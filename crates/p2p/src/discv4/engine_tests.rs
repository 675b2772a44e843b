//! Discovery without sockets: what is asked of a node that means well, and of one that does not.

use super::*;

const UNIX: u64 = 1_800_000_000;

fn key(n: u8) -> NodeKey {
    NodeKey::from_bytes([n; 32]).expect("a key")
}

fn address(n: u8) -> SocketAddr {
    ([10, 0, 0, n], 30303).into()
}

fn fork() -> ForkId {
    ForkId { hash: [1, 2, 3, 4], next: 0 }
}

fn node(now: Instant, n: u8) -> Discovery {
    Discovery::new(now, key(n), Endpoint { ip: Some(address(n).ip()), udp: 30303, tcp: 30303 }, fork(), 1)
}

fn endpoint(n: u8) -> Endpoint {
    Endpoint { ip: Some(address(n).ip()), udp: 30303, tcp: 30303 }
}

fn open(datagram: &[u8]) -> Packet {
    Envelope::open(datagram).expect("a packet").packet().expect("a packet")
}

/// Sends `packet` of node `n` and returns the answers that go back to it.
fn tell(node: &mut Discovery, now: Instant, n: u8, packet: &Packet) -> (B256, Vec<(B256, Packet)>) {
    let (datagram, hash) = packet.encode(&key(n));
    node.receive(now, UNIX, address(n), &datagram);
    let answers = node
        .take_output()
        .into_iter()
        .filter(|(to, _)| *to == address(n))
        .map(|(_, datagram)| (Envelope::open(&datagram).expect("a packet").hash, open(&datagram)))
        .collect();
    (hash, answers)
}

fn ping() -> Packet {
    Packet::Ping { from: endpoint(9), to: endpoint(1), expiration: UNIX + 5, enr_seq: None }
}

/// Proves the endpoint of node `n`.
fn bond(node: &mut Discovery, now: Instant, n: u8) {
    let (hash, answers) = tell(node, now, n, &ping());
    let mut pinged = None;
    for (answer_hash, packet) in answers {
        match packet {
            Packet::Pong { ping_hash, to, .. } => {
                assert_eq!((ping_hash, to.ip, to.udp), (hash, Some(address(n).ip()), 30303));
            }
            Packet::Ping { .. } => pinged = Some(answer_hash),
            other => panic!("unexpected {other:?}"),
        }
    }
    let ping_hash = pinged.expect("it wants a proof");
    tell(node, now, n, &Packet::Pong { to: endpoint(1), ping_hash, expiration: UNIX + 5, enr_seq: None });
}

/// Allows the nodes whose numbers are in `listed`, at their addresses and on port 30303.
fn allow_only(node: &mut Discovery, listed: &std::sync::Arc<parking_lot::Mutex<Vec<u8>>>) {
    let listed = listed.clone();
    node.set_permits(Permit::new(move |id, ip, tcp| {
        listed.lock().iter().any(|n| key(*n).node_id() == *id && address(*n).ip() == ip && tcp == 30303)
    }));
}

/// As Besu with a local list of nodes: who is not in it gets no Pong and is not pinged.
#[test]
fn who_is_not_listed_gets_no_answer_and_is_not_asked() {
    let now = Instant::now();
    let mut node = node(now, 1);
    let listed = std::sync::Arc::new(parking_lot::Mutex::new(vec![2, 3]));
    allow_only(&mut node, &listed);
    let ask = Packet::FindNode { target: NodeId::repeat_byte(5), expiration: UNIX + 5 };
    for packet in [ping(), ask.clone(), Packet::EnrRequest { expiration: UNIX + 5 }] {
        assert!(tell(&mut node, now, 4, &packet).1.is_empty(), "{packet:?}");
    }
    let elsewhere =
        Packet::Ping { from: Endpoint { tcp: 30999, ..endpoint(2) }, to: endpoint(1), expiration: UNIX + 5, enr_seq: None };
    assert!(tell(&mut node, now, 2, &elsewhere).1.is_empty(), "listed with another port");
    let silent = Packet::Ping { from: Endpoint { tcp: 0, ..endpoint(2) }, to: endpoint(1), expiration: UNIX + 5, enr_seq: None };
    assert_eq!(tell(&mut node, now, 2, &silent).1.len(), 2, "says no port: that of UDP counts, answered and asked");
    node.pings.clear();

    bond(&mut node, now, 2);
    bond(&mut node, now, 3);
    assert_eq!(node.known(), 2);
    let Packet::Neighbors { nodes, .. } = &tell(&mut node, now, 2, &ask).1[0].1 else { panic!("Neighbors") };
    assert_eq!(nodes.iter().map(|node| node.id).collect::<Vec<_>>(), [key(3).node_id()]);

    // What others tell of, and bootnodes, are asked only when they are listed.
    node.asked.insert(key(2).node_id(), Asked { to: address(2), at: now, tries: 0, left: BUCKET });
    let told = |n: u8| Neighbor { endpoint: endpoint(n), id: key(n).node_id() };
    listed.lock().push(6);
    let neighbors = Packet::Neighbors { nodes: vec![told(5), told(6)], expiration: UNIX + 5 };
    let (datagram, _) = neighbors.encode(&key(2));
    node.receive(now, UNIX, address(2), &datagram);
    let pinged: Vec<_> = node.take_output().into_iter().map(|(to, _)| to).collect();
    assert_eq!(pinged, [address(6)]);
    node.set_bootnodes(vec![(key(7).node_id(), address(7), 30303), (key(6).node_id(), address(6), 30303)]);
    node.pings.clear();
    node.tick(now, UNIX);
    let pinged: Vec<_> = node.take_output().into_iter().map(|(to, _)| to).collect();
    assert_eq!(pinged, [address(6)]);

    // Who leaves the list is forgotten, though its endpoint is proved; so is an answer that was on its way.
    listed.lock().retain(|n| *n == 3);
    assert!(tell(&mut node, now, 2, &ask).1.is_empty() && tell(&mut node, now, 2, &ping()).1.is_empty());
    let Packet::Neighbors { nodes, .. } = &tell(&mut node, now, 3, &ask).1[0].1 else { panic!("Neighbors") };
    assert!(nodes.is_empty(), "told of nobody who left");
    node.tick(now, UNIX);
    assert_eq!(node.known(), 1);
}

/// The list changes between our Ping and its Pong.
#[test]
fn a_pong_of_who_left_the_list_proves_nothing() {
    let now = Instant::now();
    let mut node = node(now, 1);
    let listed = std::sync::Arc::new(parking_lot::Mutex::new(vec![2]));
    allow_only(&mut node, &listed);
    let (_, answers) = tell(&mut node, now, 2, &ping());
    let ping_hash =
        answers.iter().find_map(|(hash, packet)| matches!(packet, Packet::Ping { .. }).then_some(*hash)).expect("a Ping");
    listed.lock().clear();
    tell(&mut node, now, 2, &Packet::Pong { to: endpoint(1), ping_hash, expiration: UNIX + 5, enr_seq: None });
    assert_eq!(node.known(), 0);
    listed.lock().push(2);
    let ask = Packet::FindNode { target: NodeId::repeat_byte(5), expiration: UNIX + 5 };
    assert!(tell(&mut node, now, 2, &ask).1.is_empty(), "no proof");
}

#[test]
fn neighbours_only_for_who_proved_its_endpoint() {
    let now = Instant::now();
    let mut node = node(now, 1);
    let ask = Packet::FindNode { target: NodeId::repeat_byte(5), expiration: UNIX + 5 };
    assert!(tell(&mut node, now, 2, &ask).1.is_empty(), "no proof, no answer");
    assert!(tell(&mut node, now, 2, &Packet::EnrRequest { expiration: UNIX + 5 }).1.is_empty());
    bond(&mut node, now, 3);
    bond(&mut node, now, 2);
    let (_, answers) = tell(&mut node, now, 2, &ask);
    let Packet::Neighbors { nodes, .. } = &answers[0].1 else { panic!("{answers:?}") };
    assert_eq!(nodes.iter().map(|found| found.id).collect::<Vec<_>>(), [key(3).node_id()]);
    let (hash, answers) = tell(&mut node, now, 2, &Packet::EnrRequest { expiration: UNIX + 5 });
    let Packet::EnrResponse { request_hash, record } = &answers[0].1 else { panic!("{answers:?}") };
    assert_eq!(*request_hash, hash);
    assert_eq!(Record::decode(record).expect("a record").fork_id, Some(fork()));
    // The same key from another address has proved nothing there.
    let (datagram, _) = ask.encode(&key(2));
    node.receive(now, UNIX, address(77), &datagram);
    assert!(node.take_output().is_empty());
}

#[test]
fn a_wrong_pong_proves_nothing() {
    let now = Instant::now();
    let mut node = node(now, 1);
    tell(&mut node, now, 2, &ping());
    let wrong = Packet::Pong { to: endpoint(1), ping_hash: B256::repeat_byte(7), expiration: UNIX + 5, enr_seq: None };
    tell(&mut node, now, 2, &wrong);
    let ask = Packet::FindNode { target: NodeId::ZERO, expiration: UNIX + 5 };
    assert!(tell(&mut node, now, 2, &ask).1.is_empty());
}

#[test]
fn expired_packets_are_dropped() {
    let now = Instant::now();
    let mut node = node(now, 1);
    let late = Packet::Ping { from: endpoint(2), to: endpoint(1), expiration: UNIX - 1, enr_seq: None };
    assert!(tell(&mut node, now, 2, &late).1.is_empty());
    bond(&mut node, now, 2);
    for expiration in [UNIX - 1, u64::MAX, UNIX.wrapping_neg()] {
        let late = Packet::FindNode { target: NodeId::ZERO, expiration };
        assert!(tell(&mut node, now, 2, &late).1.is_empty());
    }
}

#[test]
fn neighbours_that_nobody_asked_for_are_ignored() {
    let now = Instant::now();
    let mut node = node(now, 1);
    bond(&mut node, now, 2);
    let fake = Neighbor { endpoint: endpoint(66), id: key(66).node_id() };
    let offer = Packet::Neighbors { nodes: vec![fake; 12], expiration: UNIX + 5 };
    let (datagram, _) = offer.encode(&key(2));
    node.receive(now, UNIX, address(2), &datagram);
    assert!(node.take_output().is_empty(), "the fake node is not even pinged");
    // Asked for, they are pinged, each once, and no more than were asked for.
    let now = now + SETTLE;
    node.tick(now, UNIX);
    assert!(node.take_output().iter().any(|(_, datagram)| matches!(open(datagram), Packet::FindNode { .. })));
    let many: Vec<Neighbor> = (100..112).map(|n| Neighbor { endpoint: endpoint(n), id: key(n).node_id() }).collect();
    for _ in 0..3 {
        let (datagram, _) = Packet::Neighbors { nodes: many.clone(), expiration: UNIX + 5 }.encode(&key(2));
        node.receive(now, UNIX, address(2), &datagram);
    }
    assert_eq!(node.take_output().len(), 12);
}

#[test]
fn a_flood_is_answered_within_bounds() {
    let now = Instant::now();
    let mut node = node(now, 1);
    let (datagram, _) = ping().encode(&key(2));
    for _ in 0..10_000 {
        node.receive(now, UNIX, address(2), &datagram);
    }
    assert!(node.take_output().len() <= 100);
    for garbage in [vec![0; 97], vec![0xff; 1280], vec![1; 3000], Vec::new()] {
        node.receive(now, UNIX, address(3), &garbage);
    }
    assert!(node.take_output().is_empty());
}

#[test]
fn nodes_find_each_other_through_a_bootnode() {
    let start = Instant::now();
    let mut nodes: Vec<Discovery> = (1..=6).map(|n| node(start, n)).collect();
    for node in &mut nodes[1..] {
        node.set_bootnodes(vec![(key(1).node_id(), address(1), 30303)]);
    }
    for second in 0..120u64 {
        let now = start + Duration::from_secs(second);
        for at in 0..nodes.len() {
            nodes[at].tick(now, UNIX + second);
            // Deliver until nothing is on its way.
            let mut on_the_way: Vec<(u8, Datagram)> =
                nodes[at].take_output().into_iter().map(|datagram| (at as u8 + 1, datagram)).collect();
            while let Some((from, (to, datagram))) = on_the_way.pop() {
                let Some(receiver) = (1..=6u8).find(|n| address(*n) == to) else { continue };
                let node = &mut nodes[usize::from(receiver) - 1];
                node.receive(now, UNIX + second, address(from), &datagram);
                on_the_way.extend(node.take_output().into_iter().map(|datagram| (receiver, datagram)));
            }
        }
    }
    for node in &mut nodes {
        assert_eq!(node.known(), 5);
        let to_dial = node.to_dial(start + Duration::from_secs(120), 10, &HashSet::new());
        assert_eq!(to_dial.len(), 5, "all are of our chain");
        assert!(node.to_dial(start + Duration::from_secs(120), 10, &HashSet::new()).is_empty(), "not again at once");
    }
}

#[test]
fn private_addresses_do_not_leak_into_public_networks() {
    let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
    for (from, of, allowed) in [
        ("8.8.8.8", "127.0.0.1", false),
        ("8.8.8.8", "10.0.0.1", false),
        ("8.8.8.8", "9.9.9.9", true),
        ("10.1.1.1", "10.0.0.1", true),
        ("127.0.0.1", "127.0.0.1", true),
        ("127.0.0.1", "0.0.0.0", false),
        ("127.0.0.1", "224.0.0.1", false),
    ] {
        assert_eq!(may_relay(ip(from), ip(of)), allowed, "{from} tells of {of}");
    }
}

/// Pings from addresses that nobody has, as fast as they come.
fn invented(node: &mut Discovery, now: Instant, rounds: std::ops::Range<u32>) {
    let (datagram, _) = ping().encode(&key(200));
    for n in rounds {
        node.receive(now, UNIX, ([11, (n >> 8) as u8, n as u8, 7], 30303).into(), &datagram);
    }
}

/// A flood with invented source addresses, from which a node that we are configured with comes through: its Ping is
/// answered, ours goes out, and its Pong proves its endpoint.
#[test]
fn invented_addresses_do_not_keep_a_configured_node_from_bonding() {
    let now = Instant::now();
    let mut node = node(now, 1);
    node.set_bootnodes(vec![(key(2).node_id(), address(2), 30303)]);
    node.set_known_addresses(vec![address(3).ip()]);
    invented(&mut node, now, 0..5_000);
    node.take_output();
    for n in [2, 3] {
        bond(&mut node, now, n);
    }
    assert_eq!(node.known(), 2);
    // Strangers have to wait.
    assert!(tell(&mut node, now, 4, &ping()).1.is_empty());
    // Ours, of its own accord, although everybody has been asked for a proof.
    let mut later = self::node(now, 1);
    invented(&mut later, now, 0..5_000);
    let now = now + Duration::from_secs(1);
    invented(&mut later, now, 5_000..10_000);
    later.set_bootnodes(vec![(key(2).node_id(), address(2), 30303)]);
    later.take_output();
    later.tick(now, UNIX);
    let asked =
        later.take_output().into_iter().any(|(to, datagram)| to == address(2) && matches!(open(&datagram), Packet::Ping { .. }));
    assert!(asked);
}

/// Somebody sends as if from the configured node's own address. What answers our Ping still comes through.
#[test]
fn who_invents_a_configured_nodes_address_does_not_keep_its_answer_out() {
    let now = Instant::now();
    let mut node = node(now, 1);
    node.set_bootnodes(vec![(key(2).node_id(), address(2), 30303)]);
    node.tick(now, UNIX);
    let pinged = node.take_output();
    let ping_hash =
        pinged.iter().find(|(to, _)| *to == address(2)).map(|(_, datagram)| Envelope::open(datagram).expect("a packet").hash);
    let (forged, _) = ping().encode(&key(200));
    for _ in 0..1_000 {
        node.receive(now, UNIX, address(2), &forged);
    }
    let pong = |ping_hash| Packet::Pong { to: endpoint(1), ping_hash, expiration: UNIX + 5, enr_seq: None };
    for n in 0..1_000u64 {
        let (guess, _) = pong(B256::left_padding_from(&n.to_be_bytes())).encode(&key(200));
        node.receive(now, UNIX, address(2), &guess);
    }
    tell(&mut node, now, 2, &pong(ping_hash.expect("a Ping")));
    assert_eq!(node.known(), 1);
}

/// Checks of nodes that are known go on during a flood: else they would be dropped as silent.
#[test]
fn a_flood_does_not_make_known_nodes_look_silent() {
    let start = Instant::now();
    let mut node = node(start, 1);
    bond(&mut node, start, 2);
    let mut checks = 0;
    for second in (0..90u64).step_by(3) {
        let now = start + Duration::from_secs(second);
        invented(&mut node, now, 0..1_000);
        node.take_output();
        node.tick(now, UNIX);
        for (to, datagram) in node.take_output() {
            if to == address(2) && matches!(open(&datagram), Packet::Ping { .. }) {
                checks += 1;
                let ping_hash = Envelope::open(&datagram).expect("a packet").hash;
                tell(&mut node, now, 2, &Packet::Pong { to: endpoint(1), ping_hash, expiration: UNIX + 100, enr_seq: None });
            }
        }
    }
    assert!(checks >= 2 && node.known() == 1, "{checks}");
}

/// One machine with any number of keys takes few places, in the table and among the proofs.
#[test]
fn keys_without_end_of_one_address_displace_nobody() {
    let now = Instant::now();
    let mut node = node(now, 1);
    bond(&mut node, now, 2);
    for n in 0..100u8 {
        // Slowly enough for the budgets.
        let now = now + Duration::from_secs(u64::from(n));
        let from = address(9);
        let mut secret = [0x77; 32];
        secret[0] = n + 1;
        let other = NodeKey::from_bytes(secret).expect("a key");
        let (datagram, _) = ping().encode(&other);
        node.receive(now, UNIX, from, &datagram);
        let hashes =
            node.take_output().into_iter().filter(|(to, datagram)| *to == from && matches!(open(datagram), Packet::Ping { .. }));
        for ping_hash in hashes.map(|(_, datagram)| Envelope::open(&datagram).expect("a packet").hash).collect::<Vec<_>>() {
            let (pong, _) = Packet::Pong { to: endpoint(1), ping_hash, expiration: UNIX + 200, enr_seq: None }.encode(&other);
            node.receive(now, UNIX, from, &pong);
        }
    }
    assert!(node.known() > 1 && node.known() <= 5, "{}", node.known());
    assert_eq!(node.proofs.len(), 1 + PROOFS_PER_ADDRESS);
    assert_eq!(node.proof_order.len(), node.proofs.len());
    assert_eq!(node.proved_addresses.values().sum::<usize>(), node.proofs.len());
}

/// What a Pong says of our address counts only when it answers a Ping of ours.
#[test]
fn who_answers_a_ping_says_where_it_sees_us() {
    let now = Instant::now();
    let mut node = node(now, 1);
    bond(&mut node, now, 2);
    assert_eq!(node.take_seen(), [(key(2).node_id(), address(1).ip())]);
    let unasked = Packet::Pong { to: endpoint(7), ping_hash: B256::repeat_byte(1), expiration: UNIX + 5, enr_seq: None };
    tell(&mut node, now, 2, &unasked);
    assert_eq!(node.take_seen(), []);
}
