//! Both ends dial at once: Hello is said on one connection at a time (what Besu does with two: docs/interop.md).

mod common;

use std::time::Duration;

use common::{Node, Peer, config, key};
use ipe_p2p::frame::{FrameReader, FrameWriter};
use ipe_p2p::hello::Hello;
use ipe_p2p::{NetEvent, Reason, handshake};
use ipe_types::Enode;
use ipe_types::eth::EthMessage;
use secp256k1::SecretKey;
use tokio::net::{TcpListener, TcpStream};

/// Long enough for a frame that was sent to arrive; a slower machine only makes the test see less.
const MOMENT: Duration = Duration::from_millis(300);

/// A node of another implementation, by its listener and its key.
struct Foreign {
    n: u64,
    listener: TcpListener,
}

impl Foreign {
    async fn new(n: u64) -> Foreign {
        Foreign { n, listener: TcpListener::bind("127.0.0.1:0").await.expect("a free port") }
    }

    fn enode(&self) -> Enode {
        let tcp = self.listener.local_addr().expect("an address").port();
        Enode { id: key(self.n).node_id(), hosts: vec!["127.0.0.1".into()], tcp, udp: None }
    }

    /// The next connection, whose keys are not answered yet.
    async fn dialled(&self) -> TcpStream {
        self.listener.accept().await.expect("a connection").0
    }

    /// Answers the keys of the next connection and says nothing yet.
    async fn accept(&self) -> Peer {
        self.keys(self.dialled().await).await
    }

    async fn keys(&self, mut stream: TcpStream) -> Peer {
        stream.set_nodelay(true).expect("a socket");
        let key = key(self.n);
        let secret = SecretKey::from_byte_array(*key.secret_bytes()).expect("a key");
        let (_, secrets) = handshake::respond(&mut stream, &secret).await.expect("a handshake");
        let (read, io) = stream.into_split();
        Peer { key, reader: FrameReader::new(read, &secrets), writer: FrameWriter::new(&secrets), io }
    }

    /// Answers a Hello that was heard with Hello and Status, as Besu does, and waits for the other's Status.
    async fn answer(&self, peer: &mut Peer) {
        peer.send_raw(0, &Peer::hello(self.n).encode()).await;
        peer.send_eth(EthMessage::Status(Peer::status())).await;
        assert_eq!(peer.receive().await.map(|(id, _)| id), Some(0x10), "Status");
    }
}

async fn hears_hello(peer: &mut Peer) {
    let (id, payload) = peer.reader.read(4096).await.expect("a Hello");
    assert_eq!(id, 0, "the first message is Hello");
    Hello::decode(payload).expect("a Hello");
}

/// The first message that comes, with its id and payload as sent.
async fn first(peer: &mut Peer) -> (u64, Vec<u8>) {
    let (id, payload) = peer.reader.read(4096).await.expect("a message");
    (id, payload.to_vec())
}

/// Our key is the lower one with one of these, the higher with the other.
async fn pairs() -> [(Node, Foreign); 2] {
    let mut pairs = Vec::new();
    for (ours, theirs) in [(1, 2), (2, 1)] {
        pairs.push((Node::start(config(ours)).await, Foreign::new(theirs).await));
    }
    pairs.try_into().unwrap_or_else(|_| unreachable!("two were made"))
}

#[tokio::test(flavor = "multi_thread")]
async fn no_hello_to_who_dials_us_while_our_own_waits_for_its_answer() {
    for (mut node, foreign) in pairs().await {
        node.handle.add_static(foreign.enode());
        let mut ours = foreign.accept().await;
        // Only what it said shows that the node has our keys; until then the other connection may be the first.
        hears_hello(&mut ours).await;
        let mut theirs = Peer::dial(foreign.n, &node).await;
        theirs.send_raw(0, &Peer::hello(foreign.n).encode()).await;
        let mut told = Box::pin(first(&mut theirs));
        let early = tokio::time::timeout(MOMENT, &mut told).await;
        assert!(early.is_err(), "{early:?} was said on the second connection");
        foreign.answer(&mut ours).await;
        let info = node.connected().await;
        assert!(!info.inbound);
        let (id, payload) = told.await;
        assert_eq!((id, Reason::decode(&payload)), (1, Reason::AlreadyConnected), "no Hello was said on it");
        // What was asked on the first connection is still answered there, and it stays.
        ours.send(0x33, b"vote").await;
        assert_eq!(node.message().await.payload, b"vote"[..]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_hello_on_our_own_connection_while_who_dialled_us_says_its_status() {
    for (mut node, foreign) in pairs().await {
        node.handle.add_static(foreign.enode());
        let ours = foreign.dialled().await;
        let mut theirs = Peer::dial(foreign.n, &node).await;
        theirs.greet(Peer::hello(foreign.n)).await;
        let mut ours = foreign.keys(ours).await;
        let mut told = Box::pin(first(&mut ours));
        let early = tokio::time::timeout(MOMENT, &mut told).await;
        assert!(early.is_err(), "{early:?} was said on the second connection");
        theirs.send_eth(EthMessage::Status(Peer::status())).await;
        assert!(node.connected().await.inbound);
        let (id, payload) = told.await;
        assert_eq!((id, Reason::decode(&payload)), (1, Reason::AlreadyConnected), "no Hello was said on it");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_first_fails_the_second_goes_on() {
    for (mut node, foreign) in pairs().await {
        node.handle.add_static(foreign.enode());
        let mut ours = foreign.accept().await;
        hears_hello(&mut ours).await;
        let mut theirs = Peer::dial(foreign.n, &node).await;
        theirs.send_raw(0, &Peer::hello(foreign.n).encode()).await;
        drop(ours);
        hears_hello(&mut theirs).await;
        theirs.send_eth(EthMessage::Status(Peer::status())).await;
        assert!(node.connected().await.inbound);
    }
}

/// The first packet of a connection can be played again by whoever saw it; what follows cannot.
#[tokio::test(flavor = "multi_thread")]
async fn who_dials_us_and_says_nothing_does_not_keep_its_node_out() {
    for (mut node, foreign) in pairs().await {
        let _silent = Peer::dial(foreign.n, &node).await;
        node.handle.add_static(foreign.enode());
        let mut ours = foreign.accept().await;
        hears_hello(&mut ours).await;
        foreign.answer(&mut ours).await;
        assert!(!node.connected().await.inbound);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_nodes_of_ours_neither_waits_for_the_other() {
    // Many times, for who says Hello first is chance.
    for round in 0..20 {
        let mut a = Node::start(config(100 + round)).await;
        let b = Node::start(config(200 - round)).await;
        a.handle.add_static(b.enode());
        b.handle.add_static(a.enode());
        let info = a.connected().await;
        common::eventually("the same session at the other end", || {
            b.handle.peers().first().is_some_and(|peer| peer.local == info.remote && peer.inbound != info.inbound)
        })
        .await;
        while let Ok(event) = a.events.try_recv() {
            assert!(!matches!(event, NetEvent::Disconnected { .. }), "the first session stays");
        }
    }
}
