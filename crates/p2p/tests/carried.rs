//! Sessions of a validator that its boots carry, with nodes that behave as Besu's validators do, and with peers that mean
//! harm.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::{Node, Peer, config, eventually, key};
use ipe_p2p::carry::{Answer, Request};
use ipe_p2p::hello::Hello;
use ipe_p2p::{Admit, Capability, CarrierConfig, CarryLimits, CarryRefusal, Limits, Path, Protocol, Reason, handshake};
use ipe_types::{Enode, NodeId, Role};
use secp256k1::SecretKey;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The validator's number; boots are 1 and 2, foreign validators 20 and above.
const VALIDATOR: u64 = 10;

fn carrier(limits: CarryLimits) -> Option<CarrierConfig> {
    Some(CarrierConfig { validators: [key(VALIDATOR).node_id()].into(), limits })
}

async fn boot(n: u64, limits: CarryLimits) -> Node {
    let mut config = config(n);
    config.carrier = carrier(limits);
    config.directory = [(key(VALIDATOR).node_id(), Role::Validator)].into();
    Node::start(config).await
}

/// A validator that listens nowhere, connected to `boots`, with carried sessions to `foreign`.
async fn validator(n: u64, boots: &[&Node], foreign: Vec<Enode>) -> Node {
    let mut config = config(n);
    config.listen = None;
    config.static_nodes = boots.iter().map(|boot| boot.enode()).collect();
    config.directory = boots.iter().map(|boot| (boot.handle.local().id, Role::Boot)).collect();
    config.carried_nodes = foreign;
    let node = Node::start(config).await;
    eventually("the boots are connected", || {
        boots.iter().all(|boot| node.handle.peers().iter().any(|peer| peer.node == boot.handle.local().id))
    })
    .await;
    node
}

/// A node of another implementation: no capability of ours.
async fn foreign(n: u64, static_nodes: Vec<Enode>) -> Node {
    let mut config = config(n);
    config.ipe = None;
    config.client = format!("besu/v25.5.0/test-{n}");
    config.static_nodes = static_nodes;
    Node::start(config).await
}

/// What stands in Besu's static-nodes.json: the validator's key at the boot's address.
fn at_boot(n: u64, boot: &Node) -> Enode {
    Enode { id: key(n).node_id(), ..boot.enode() }
}

/// An enode that nobody dials successfully: it makes a validator take offered streams.
fn nowhere() -> Enode {
    Enode { id: key(99).node_id(), hosts: vec!["127.0.0.1".into()], tcp: 9, udp: None }
}

async fn session_with(node: &Node, other: NodeId) -> ipe_p2p::PeerInfo {
    let find = || node.handle.peers().into_iter().find(|peer| peer.node == other);
    eventually("a session", || find().is_some()).await;
    find().expect("a session")
}

fn refused(node: &Node, refusal: CarryRefusal) -> u64 {
    let refused = node.handle.counters().carried.refused;
    refused.iter().find(|(reason, _)| *reason == refusal).map_or(0, |(_, count)| *count)
}

async fn is_refused(node: &Node, refusal: CarryRefusal, times: u64) {
    eventually(refusal.name(), || refused(node, refusal) >= times).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_validator_that_listens_nowhere_dials_out_through_its_boot() {
    let boot = boot(1, CarryLimits::default()).await;
    let mut besu = foreign(20, Vec::new()).await;
    let mut validator = validator(VALIDATOR, &[&boot], vec![besu.enode()]).await;
    assert_eq!(validator.handle.local().listen, None);

    let seen = session_with(&besu, key(VALIDATOR).node_id()).await;
    assert_eq!(seen.address, key(VALIDATOR).address(), "a session of the validator's key");
    assert!(seen.inbound && seen.remote.ip().is_loopback());
    assert_eq!(seen.enode.tcp, boot.address().port(), "at the boot's address and port, as node rules have it");
    assert_eq!(seen.path, Path::Direct, "it knows of no carrying");
    let carried = session_with(&validator, key(20).node_id()).await;
    assert_eq!(carried.path, Path::Through(boot.handle.local().id));
    assert_eq!((carried.remote, carried.inbound), (besu.address(), false));
    assert_eq!(boot.handle.peers().len(), 1, "the boot has a session with its validator only");

    // Consensus and blocks of every size that matters, both ways.
    for size in [0usize, 1, 250, 32 * 1024, 1_000_000, 9_000_000] {
        let payload: Vec<u8> = (0..size as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        assert!(validator.handle.send(carried.id, Protocol::Istanbul, 0x12, payload.clone()));
        assert_eq!(besu.message().await.payload, payload);
        assert!(besu.handle.send(seen.id, Protocol::Eth, 0x07, payload.clone()));
        assert_eq!(validator.message().await.payload, payload);
    }
    let count = boot.handle.counters().carried;
    assert_eq!((count.open, count.dialled, count.inbound), (1, 1, 0));
    assert!(count.bytes_to_validators > 1_000_000 && count.bytes_from_validators > 1_000_000, "{count:?}");

    // The end of the session is the end of the stream.
    besu.handle.shutdown().await;
    eventually("the stream has ended", || boot.handle.counters().carried.open == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_dials_the_boot_with_the_validators_key_reaches_the_validator() {
    let boot = boot(1, CarryLimits::default()).await;
    let validator = validator(VALIDATOR, &[&boot], vec![nowhere()]).await;
    let besu = foreign(20, vec![at_boot(VALIDATOR, &boot)]).await;
    let seen = session_with(&besu, key(VALIDATOR).node_id()).await;
    assert_eq!((seen.inbound, seen.remote), (false, boot.address()));
    let carried = session_with(&validator, key(20).node_id()).await;
    assert!(carried.inbound && carried.path == Path::Through(boot.handle.local().id));
    assert_eq!(carried.remote, seen.local, "the validator knows who dialled, and from where");
    assert_eq!(boot.handle.counters().carried.inbound, 1);
    // The boot itself is still there for those who mean it.
    let other = foreign(21, vec![boot.enode()]).await;
    session_with(&other, boot.handle.local().id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_validators_the_one_that_was_dialled_takes_the_stream() {
    let mut config = config(1);
    let ids = [VALIDATOR, 11, 12].map(|n| key(n).node_id());
    config.carrier = Some(CarrierConfig { validators: ids.into(), limits: CarryLimits::default() });
    let boot = Node::start(config).await;
    let first = validator(VALIDATOR, &[&boot], vec![nowhere()]).await;
    let second = validator(11, &[&boot], vec![nowhere()]).await;
    let third = validator(12, &[&boot], Vec::new()).await;
    let besu = foreign(20, vec![at_boot(11, &boot)]).await;
    session_with(&second, key(20).node_id()).await;
    let other = foreign(21, vec![at_boot(VALIDATOR, &boot)]).await;
    session_with(&first, key(21).node_id()).await;
    assert_eq!((besu.handle.peers().len(), other.handle.peers().len()), (1, 1));
    // The third has no carried nodes: it takes nothing, and who asks for it learns so by the end of the connection.
    let _lost = foreign(22, vec![at_boot(12, &boot)]).await;
    is_refused(&boot, CarryRefusal::Unknown, 1).await;
    assert_eq!(third.handle.peers().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_a_boot_is_lost_the_other_one_carries() {
    let boots = [boot(1, CarryLimits::default()).await, boot(2, CarryLimits::default()).await];
    let besu = [foreign(20, Vec::new()).await, foreign(21, Vec::new()).await];
    let validator = validator(VALIDATOR, &[&boots[0], &boots[1]], besu.iter().map(Node::enode).collect()).await;
    let through = |path: Path| match path {
        Path::Through(boot) => boots.iter().position(|other| other.handle.local().id == boot).expect("a boot"),
        _ => panic!("a direct session"),
    };
    let mut load = Vec::new();
    for other in &besu {
        load.push(through(session_with(&validator, other.handle.local().id).await.path));
    }
    let lost = load[0];
    boots[lost].handle.shutdown().await;
    eventually("every session is carried by the boot that is left", || {
        let peers = validator.handle.peers();
        besu.iter().all(|other| {
            let session = peers.iter().find(|peer| peer.node == other.handle.local().id);
            session.is_some_and(|session| through(session.path) != lost)
        })
    })
    .await;
    for other in &besu {
        let seen = session_with(other, key(VALIDATOR).node_id()).await;
        assert_eq!(seen.enode.tcp, boots[1 - lost].address().port());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_ends_may_dial_and_end_with_one_session() {
    let boot = boot(1, CarryLimits::default()).await;
    let besu = foreign(20, vec![at_boot(VALIDATOR, &boot)]).await;
    let validator = validator(VALIDATOR, &[&boot], vec![besu.enode()]).await;
    eventually("one session with the same direction at both ends", || {
        let (ours, theirs) = (validator.handle.peers(), besu.handle.peers());
        let ours = ours.iter().find(|peer| peer.path != Path::Direct);
        theirs.len() == 1 && ours.is_some_and(|ours| ours.inbound != theirs[0].inbound)
    })
    .await;
    eventually("one stream", || boot.handle.counters().carried.open == 1).await;
}

/// Boots relay between validators of ours; carrying as well would make every message pass twice.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_carried_between_validators_of_ours() {
    let mut second_boot = config(2);
    second_boot.carrier = Some(CarrierConfig { validators: [key(11).node_id()].into(), limits: CarryLimits::default() });
    let boots = [boot(1, CarryLimits::default()).await, Node::start(second_boot).await];
    let _second = validator(11, &[&boots[1]], vec![nowhere()]).await;
    let first = validator(VALIDATOR, &[&boots[0]], vec![at_boot(11, &boots[1])]).await;
    eventually("they recognise each other", || {
        let outcomes = first.handle.counters().outcomes;
        outcomes.iter().any(|count| !count.inbound && count.outcome.name() == "incompatible" && count.count > 0)
    })
    .await;
    assert!(first.handle.peers().iter().all(|peer| peer.path == Path::Direct));
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_judge_the_carried_pair_at_once_and_again() {
    let permitted = Arc::new(AtomicBool::new(true));
    let mut ruled = config(1);
    ruled.carrier = carrier(CarryLimits::default());
    ruled.admit = Admit::new({
        let (permitted, validator, besu) = (Arc::clone(&permitted), key(VALIDATOR).node_id(), key(20).node_id());
        move |candidate| match candidate.path {
            Path::For(node) if node == validator && candidate.node == besu && permitted.load(Ordering::Relaxed) => Ok(()),
            Path::For(_) => Err("it is not permitted".into()),
            _ => Ok(()),
        }
    });
    let boot = Node::start(ruled).await;
    let (besu, other) = (foreign(20, Vec::new()).await, foreign(21, Vec::new()).await);
    let validator = validator(VALIDATOR, &[&boot], vec![besu.enode(), other.enode()]).await;
    session_with(&validator, key(20).node_id()).await;
    is_refused(&boot, CarryRefusal::Rules, 1).await;
    assert!(other.handle.peers().is_empty());
    assert_eq!(boot.handle.reconsider(), 0);
    permitted.store(false, Ordering::Relaxed);
    assert_eq!(boot.handle.reconsider(), 1);
    eventually("the session has ended", || besu.handle.peers().is_empty()).await;
    eventually("the place is free", || boot.handle.counters().carried.open == 0).await;
}

/// A validator admits through its boots only whom it means to, whoever knows its key.
#[tokio::test(flavor = "multi_thread")]
async fn the_validator_judges_who_dials_it() {
    let boot = boot(1, CarryLimits::default()).await;
    let mut ours = config(VALIDATOR);
    ours.listen = None;
    ours.static_nodes = vec![boot.enode()];
    ours.carried_nodes = vec![nowhere()];
    ours.admit = Admit::new(|candidate| match candidate.path {
        Path::Through(_) if !candidate.is_static => Err("a stranger".into()),
        _ => Ok(()),
    });
    let validator = Node::start(ours).await;
    session_with(&validator, boot.handle.local().id).await;
    let stranger = foreign(20, vec![at_boot(VALIDATOR, &boot)]).await;
    eventually("it is told", || {
        let outcomes = stranger.handle.counters().outcomes;
        outcomes.iter().any(|count| count.outcome.name() == "refused_by_peer" && count.count > 0)
    })
    .await;
    assert_eq!(validator.handle.peers().len(), 1);
    eventually("nothing stays open", || boot.handle.counters().carried.open == 0).await;
}

fn secret(n: u64) -> SecretKey {
    SecretKey::from_byte_array(*key(n).secret_bytes()).expect("a key")
}

/// An honest auth of node `n` for the key of node `to`, as bytes.
async fn auth(n: u64, to: u64) -> Vec<u8> {
    let (mut ours, mut theirs) = tokio::io::duplex(8192);
    tokio::spawn(async move { handshake::initiate(&mut ours, &secret(n), &key(to).node_id()).await.map(|_| ()) });
    let mut size = [0; 2];
    theirs.read_exact(&mut size).await.expect("an auth");
    let mut auth = vec![0; usize::from(u16::from_be_bytes(size))];
    theirs.read_exact(&mut auth).await.expect("an auth");
    [&size[..], &auth].concat()
}

/// Says `bytes` to the boot and reads what comes until the connection ends.
async fn say(boot: &Node, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(boot.address()).await.expect("an open port");
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let read = tokio::time::timeout(common::PATIENCE, stream.read_to_end(&mut answer)).await;
    assert!(read.is_ok(), "the boot ends the connection");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_auth_for_a_validator_of_ours_costs_a_bounded_number_of_offers() {
    let limits = CarryLimits { offers: 5, offers_a_second: 1, ..CarryLimits::default() };
    let boot = boot(1, limits).await;
    let validator = validator(VALIDATOR, &[&boot], vec![nowhere()]).await;
    // A size that an auth may have, and noise behind it.
    let mut noise = vec![1, 0];
    noise.resize(2 + 256, 0x5a);
    assert!(say(&boot, &noise).await.is_empty());
    is_refused(&boot, CarryRefusal::Garbage, 1).await;
    // An honest auth, for somebody whom nobody knows.
    let unknown = auth(30, 77).await;
    assert!(say(&boot, &unknown).await.is_empty());
    is_refused(&boot, CarryRefusal::Unknown, 1).await;
    // An auth for our validator, damaged at its end: nobody can read it.
    let mut damaged = auth(30, VALIDATOR).await;
    *damaged.last_mut().expect("bytes") ^= 1;
    assert!(say(&boot, &damaged).await.is_empty());
    is_refused(&boot, CarryRefusal::Unknown, 2).await;
    // Many of them: the budget ends, and with it what the validator hears.
    for _ in 0..40 {
        say(&boot, &unknown).await;
    }
    is_refused(&boot, CarryRefusal::Rate, 20).await;
    let heard = validator.handle.counters().messages;
    let offers = heard.iter().find(|count| count.name == "Offer" && count.inbound).map_or(0, |count| count.messages);
    assert!(offers < 20, "{offers} offers");
    assert_eq!(validator.handle.peers().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_validator_a_boot_carries_nothing() {
    let boot = boot(1, CarryLimits::default()).await;
    assert!(say(&boot, &auth(30, VALIDATOR).await).await.is_empty());
    is_refused(&boot, CarryRefusal::NoValidator, 1).await;
    // A boot that does not carry at all ends the connection as ever.
    let plain = Node::start(config(2)).await;
    assert!(say(&plain, &auth(30, VALIDATOR).await).await.is_empty());
    assert_eq!(plain.handle.counters().carried.refused, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_and_silent_remotes_lose_their_places() {
    let mut slow = config(1);
    slow.carrier = carrier(CarryLimits { inbound: 3, ..CarryLimits::default() });
    slow.limits = Limits { handshake: Duration::from_millis(700), ..Limits::default() };
    let boot = Node::start(slow).await;
    let mut ours = config(VALIDATOR);
    ours.listen = None;
    ours.static_nodes = vec![boot.enode()];
    ours.carried_nodes = vec![nowhere()];
    ours.limits = Limits { handshake: Duration::from_secs(3), ..Limits::default() };
    let validator = Node::start(ours).await;
    session_with(&validator, boot.handle.local().id).await;
    // Half an auth.
    let whole = auth(30, VALIDATOR).await;
    assert!(say(&boot, &whole[..100]).await.is_empty());
    // A whole one and then nothing: taken, and ended by the validator when its patience ends.
    let mut held = Vec::new();
    for n in 0..3 {
        let mut stream = TcpStream::connect(boot.address()).await.expect("an open port");
        stream.write_all(&auth(30 + n, VALIDATOR).await).await.expect("sent");
        let mut first = [0; 2];
        stream.read_exact(&mut first).await.expect("the validator's ack");
        held.push(stream);
    }
    assert_eq!(boot.handle.counters().carried.open, 3);
    // All places are taken: the next one is turned away.
    say(&boot, &auth(40, VALIDATOR).await).await;
    is_refused(&boot, CarryRefusal::Full, 1).await;
    for mut stream in held {
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(common::PATIENCE, stream.read_to_end(&mut rest)).await;
        assert!(ended.is_ok() && rest.len() < 4096);
    }
    eventually("the places are free", || boot.handle.counters().carried.open == 0).await;
    let besu = foreign(20, vec![at_boot(VALIDATOR, &boot)]).await;
    session_with(&besu, key(VALIDATOR).node_id()).await;
}

/// After the handshake the validator judges what comes as on any session; the boot holds no more than its buffers.
#[tokio::test(flavor = "multi_thread")]
async fn a_byte_bomb_ends_its_own_session_only() {
    let boot = boot(1, CarryLimits::default()).await;
    let honest = foreign(20, Vec::new()).await;
    let mut validator = validator(VALIDATOR, &[&boot], vec![honest.enode()]).await;
    let session = session_with(&validator, key(20).node_id()).await;
    let mut stream = TcpStream::connect(boot.address()).await.expect("an open port");
    let secrets = handshake::initiate(&mut stream, &secret(30), &key(VALIDATOR).node_id()).await.expect("end to end");
    let (read, io) = stream.into_split();
    let mut peer = Peer {
        key: key(30),
        reader: ipe_p2p::frame::FrameReader::new(read, &secrets),
        writer: ipe_p2p::frame::FrameWriter::new(&secrets),
        io,
    };
    peer.greet(Peer::hello(30)).await;
    peer.send_eth(ipe_types::eth::EthMessage::Status(Peer::status())).await;
    peer.receive().await.expect("a Status");
    session_with(&validator, key(30).node_id()).await;
    // A snappy length of a gigabyte in a few bytes, and a frame of 15 MiB.
    peer.send_raw(0x17, &[0x80, 0x80, 0x80, 0x80, 0x04, 1, 2, 3]).await;
    peer.send_raw(0x17, &vec![0; 15 << 20]).await;
    assert_eq!(validator.disconnected().await, (key(30).node_id(), Some(Reason::BreachOfProtocol), true));
    assert!(validator.handle.peers().iter().any(|peer| peer.id == session.id), "the honest session goes on");
    eventually("only its stream is left", || boot.handle.counters().carried.open == 1).await;
}

/// The connection that a validator opens for a stream, in the test's hands.
async fn ask(n: u64, boot: &Node, payload: &[u8]) -> Result<Answer, Option<Reason>> {
    let mut peer = Peer::dial(n, boot).await;
    let capability = Capability { name: "carry".into(), version: 1 };
    peer.greet(Hello { capabilities: vec![capability], ..Peer::hello(n) }).await;
    peer.send(0x10, payload).await;
    match peer.receive().await {
        Some((0x11, payload)) => Ok(Answer::decode(&payload).expect("an answer")),
        Some((1, payload)) => Err(Some(Reason::decode(&payload))),
        _ => Err(None),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_for_validators_of_ours_within_their_bounds() {
    let limits = CarryLimits { dialled: 2, dials: 6, dials_a_second: 0, ..CarryLimits::default() };
    let boot = boot(1, limits).await;
    let target = foreign(20, Vec::new()).await;
    let dial = Request::Dial(target.enode()).encode();
    assert_eq!(ask(30, &boot, &dial).await, Err(Some(Reason::UselessPeer)), "a stranger");
    is_refused(&boot, CarryRefusal::NotOurs, 1).await;
    for payload in [vec![0xc0], vec![0xff; 600], Request::Take(7).encode(), vec![0xc1, 0x05]] {
        assert!(matches!(ask(VALIDATOR, &boot, &payload).await, Ok(Answer::Refused(_))), "{payload:02x?}");
    }
    is_refused(&boot, CarryRefusal::Malformed, 4).await;
    assert_eq!(boot.handle.counters().carried.open, 0);
    // A port where nothing listens, and a name that is none.
    let closed = Enode { tcp: 9, ..target.enode() };
    let unknown = Enode { hosts: vec!["nowhere.invalid".into()], ..target.enode() };
    for enode in [closed, unknown] {
        assert!(matches!(ask(VALIDATOR, &boot, &Request::Dial(enode).encode()).await, Ok(Answer::Refused(_))));
    }
    is_refused(&boot, CarryRefusal::Unreachable, 2).await;
    // The boot itself is no target.
    let itself = boot.enode();
    assert!(matches!(ask(VALIDATOR, &boot, &Request::Dial(itself).encode()).await, Ok(Answer::Refused(_))));
    is_refused(&boot, CarryRefusal::Rules, 1).await;

    // Two streams at once, and six in a burst of which three have been used.
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut peer = Peer::dial(VALIDATOR, &boot).await;
        let capability = Capability { name: "carry".into(), version: 1 };
        peer.greet(Hello { capabilities: vec![capability], ..Peer::hello(VALIDATOR) }).await;
        peer.send(0x10, &dial).await;
        let (id, payload) = peer.receive().await.expect("an answer");
        assert_eq!((id, Answer::decode(&payload)), (0x11, Ok(Answer::Opened(target.address()))));
        held.push(peer);
    }
    assert!(matches!(ask(VALIDATOR, &boot, &dial).await, Ok(Answer::Refused(_))));
    is_refused(&boot, CarryRefusal::Full, 1).await;
    drop(held);
    eventually("the places are free", || boot.handle.counters().carried.open == 0).await;
    let mut opened = 0;
    while let Ok(Answer::Opened(_)) = ask(VALIDATOR, &boot, &dial).await {
        opened += 1;
        eventually("the place is free", || boot.handle.counters().carried.open == 0).await;
    }
    assert_eq!(opened, 1, "six in all");
    is_refused(&boot, CarryRefusal::Rate, 1).await;
}

/// A synchronisation over a carried stream, and votes from the validator through its boot to another one, at the same time.
#[tokio::test(flavor = "multi_thread")]
async fn a_busy_stream_does_not_hold_up_the_relay() {
    let mut boot = boot(1, CarryLimits::default()).await;
    let mut besu = foreign(20, Vec::new()).await;
    let mut validator = validator(VALIDATOR, &[&boot], vec![besu.enode()]).await;
    let mut other = config(3);
    other.static_nodes = vec![boot.enode()];
    let mut other = Node::start(other).await;
    let to_other = session_with(&boot, key(3).node_id()).await.id;
    let to_boot = session_with(&validator, boot.handle.local().id).await.id;
    let from_besu = session_with(&besu, key(VALIDATOR).node_id()).await.id;
    let bulk = tokio::spawn(async move {
        let mut state = 7u64;
        let mut noise = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        let noise: Vec<u8> = (0..1_000_000).map(|_| noise()).collect();
        loop {
            besu.handle.send(from_besu, Protocol::Eth, 0x06, noise.clone());
            while besu.events.try_recv().is_ok() {}
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let votes = validator.handle.clone();
    let taking = tokio::spawn(async move { while validator.events.recv().await.is_some() {} });
    let mut times = Vec::new();
    for _ in 0..100 {
        let started = Instant::now();
        assert!(votes.send(to_boot, Protocol::Istanbul, 0x13, vec![7; 200]));
        let vote = boot.message().await;
        assert!(boot.handle.send(to_other, Protocol::Istanbul, vote.code, vote.payload));
        other.message().await;
        times.push(started.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let carried = boot.handle.counters().carried.bytes_to_validators;
    bulk.abort();
    taking.abort();
    times.sort();
    println!("{} MB carried beside 100 votes over two hops: median {:?}, worst {:?}", carried / 1_000_000, times[50], times[99]);
    assert!(carried > 5_000_000, "{carried} bytes were carried");
    // Behind the stream's backlog a vote would wait for seconds; how fast it is otherwise is printed.
    assert!(times[50] < Duration::from_secs(2), "{times:?}");
}
