//! What strangers can make a node write: at the level that operators run with, next to nothing, however much they send.

mod common;

use std::fmt::Write as _;
use std::sync::Mutex;
use std::time::Duration;

use common::{Node, Peer, config, eventually};
use ipe_p2p::DiscoveryConfig;
use ipe_types::B256;
use ipe_types::eth::{EthMessage, Status};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UdpSocket};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Collects what a node at level `info` writes.
struct Collect;

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let _ = write!(self.0, "{field}={value:?} ");
    }
}

impl Subscriber for Collect {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::INFO
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        LINES.lock().expect("no test panics with it").push(text.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_cannot_fill_the_log() {
    tracing::subscriber::set_global_default(Collect).expect("the only test here");
    let mut victim = config(1);
    let listen = "127.0.0.1:0".parse().expect("an address");
    victim.discovery = Some(DiscoveryConfig { listen, bootnodes: Vec::new(), dial_found: false, permits: Default::default() });
    let victim = Node::start(victim).await;
    // Datagrams that are no packets, connections that are no handshakes, sessions of another chain.
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    for round in 0..100u8 {
        let _ = socket.send_to(&[round; 200], victim.address()).await;
        let mut stream = TcpStream::connect(victim.address()).await.expect("an open port");
        let _ = stream.write_all(&[round; 400]).await;
    }
    for n in 0..60 {
        let mut peer = Peer::dial(500 + n, &victim).await;
        peer.greet(Peer::hello(500 + n)).await;
        let mut status = Peer::status();
        if let Status::Legacy { genesis, .. } = &mut status
            && n % 2 == 0
        {
            *genesis = B256::repeat_byte(3);
        }
        // Every other one is welcome, and leaves at once with nonsense.
        peer.send_eth(EthMessage::Status(status)).await;
        peer.send_raw(0x7f, &[0xff; 64]).await;
    }
    eventually("all of it was looked at", || {
        let outcomes = victim.handle.counters().outcomes;
        outcomes.iter().filter(|count| count.inbound).map(|count| count.count).sum::<u64>() >= 160
    })
    .await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let lines = LINES.lock().expect("no test panics with it");
    assert!(lines.len() <= 40, "{} lines:\n{}", lines.len(), lines.join("\n"));
    assert!(lines.iter().all(|line| line.len() < 600), "a stranger's bytes are in the log: {lines:?}");
}
