//! Networks on loopback, and a peer made of the crate's own parts that can misbehave at any step.
#![allow(dead_code, clippy::panic)]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use ipe_p2p::frame::{FrameReader, FrameWriter};
use ipe_p2p::hello::Hello;
use ipe_p2p::{
    Admit, Capability, ChainIdentity, IpeStatus, Limits, LocalHead, NetEvent, Network, NetworkConfig, NetworkHandle, PeerInfo,
    Reason, handshake, snappy,
};
use ipe_types::eth::{EthMessage, EthVersion, Status};
use ipe_types::fork::ForkSchedule;
use ipe_types::fork_id::{ForkId, ForkIds};
use ipe_types::{B256, Enode, NodeId, NodeKey, Role, U256};
use secp256k1::SecretKey;
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};

pub const NETWORK_ID: u64 = 648_629;
pub const PATIENCE: Duration = Duration::from_secs(20);

pub fn genesis() -> B256 {
    B256::repeat_byte(0xa7)
}

pub fn key(n: u64) -> NodeKey {
    let mut secret = [0x11; 32];
    secret[..8].copy_from_slice(&n.to_be_bytes());
    NodeKey::from_bytes(secret).expect("a key")
}

pub fn fork_ids() -> ForkIds {
    ForkIds::new(genesis(), 0, &ForkSchedule::new(Vec::new()).expect("no forks"))
}

pub fn head() -> LocalHead {
    LocalHead { number: 41, timestamp: 1_700_000_000, hash: B256::repeat_byte(0x41), total_difficulty: U256::from(42), earliest: 0 }
}

pub fn config(n: u64) -> NetworkConfig {
    let (sender, head) = watch::channel(head());
    // The head of a test never moves; the channel stays open.
    std::mem::forget(sender);
    NetworkConfig {
        key: key(n),
        client: format!("ipe/test-{n}"),
        listen: Some("127.0.0.1:0".parse().expect("an address")),
        advertised: Vec::new(),
        discovery: None,
        chain: ChainIdentity { network_id: NETWORK_ID, genesis: genesis(), fork_ids: fork_ids() },
        head,
        eth_versions: EthVersion::ALL.to_vec(),
        istanbul: true,
        ipe: Some(IpeStatus { role: Role::Boot, institution: "bndes".into(), name: format!("n{n}"), height: n }),
        static_nodes: Vec::new(),
        carried_nodes: Vec::new(),
        carrier: None,
        directory: HashMap::new(),
        admit: Admit::everybody(),
        core: ipe_p2p::Core::default(),
        known_hosts: Vec::new(),
        limits: Limits::default(),
    }
}

pub struct Node {
    pub handle: NetworkHandle,
    pub events: mpsc::Receiver<NetEvent>,
}

impl Node {
    pub async fn start(config: NetworkConfig) -> Node {
        let (handle, events) = Network::start(config).await.expect("a free port");
        Node { handle, events }
    }

    pub fn enode(&self) -> Enode {
        self.handle.local().enode.clone().expect("a listener")
    }

    pub fn address(&self) -> SocketAddr {
        self.handle.local().listen.expect("a listener")
    }

    pub async fn next(&mut self) -> NetEvent {
        tokio::time::timeout(PATIENCE, self.events.recv()).await.expect("an event in time").expect("a network")
    }

    /// The next connection, passing over everything else.
    pub async fn connected(&mut self) -> PeerInfo {
        loop {
            if let NetEvent::Connected(info) = self.next().await {
                return *info;
            }
        }
    }

    /// The next end of a session, passing over everything else.
    pub async fn disconnected(&mut self) -> (NodeId, Option<Reason>, bool) {
        loop {
            if let NetEvent::Disconnected { node, reason, by_us, .. } = self.next().await {
                return (node, reason, by_us);
            }
        }
    }

    /// The next message, passing over connections.
    pub async fn message(&mut self) -> ipe_p2p::Inbound {
        loop {
            if let NetEvent::Message(message) = self.next().await {
                return message;
            }
        }
    }
}

/// Waits until `holds`.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let waited = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waited).await.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"));
}

/// Connects from one of this machine's loopback addresses.
pub async fn connect_from(ip: [u8; 4], to: SocketAddr) -> Option<TcpStream> {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind((ip, 0).into()).expect("a loopback address");
    socket.connect(to).await.ok()
}

/// A peer under the test's control.
pub struct Peer {
    pub key: NodeKey,
    pub reader: FrameReader<OwnedReadHalf>,
    pub writer: FrameWriter,
    pub io: OwnedWriteHalf,
}

impl Peer {
    /// Connects and shakes hands.
    pub async fn dial(n: u64, target: &Node) -> Peer {
        Peer::dial_from([127, 0, 0, 1], n, target).await.expect("a handshake")
    }

    /// Connects from this address and shakes hands; none when that fails.
    pub async fn dial_from(ip: [u8; 4], n: u64, target: &Node) -> Option<Peer> {
        let stream = connect_from(ip, target.address()).await?;
        Peer::shake(n, stream, target.handle.local().id).await
    }

    async fn shake(n: u64, mut stream: TcpStream, target: NodeId) -> Option<Peer> {
        let key = key(n);
        let secret = SecretKey::from_byte_array(*key.secret_bytes()).expect("a key");
        stream.set_nodelay(true).expect("a socket");
        let secrets = handshake::initiate(&mut stream, &secret, &target).await.ok()?;
        let (read, io) = stream.into_split();
        Some(Peer { key, reader: FrameReader::new(read, &secrets), writer: FrameWriter::new(&secrets), io })
    }

    /// Shakes hands and exchanges Hello and Status.
    pub async fn join(n: u64, target: &Node) -> Peer {
        let mut peer = Peer::dial(n, target).await;
        peer.greet(Peer::hello(n)).await;
        peer.send_eth(EthMessage::Status(Peer::status())).await;
        let (id, _) = peer.receive().await.expect("a Status");
        assert_eq!(id, 0x10);
        peer
    }

    /// Hello of this peer: eth/68 and istanbul/100.
    pub fn hello(n: u64) -> Hello {
        let capability = |name: &str, version| Capability { name: name.into(), version };
        Hello {
            version: 5,
            client: format!("test/{n}"),
            capabilities: vec![capability("eth", 68), capability("istanbul", 100)],
            listen_port: 0,
            id: key(n).node_id(),
        }
    }

    pub fn status() -> Status {
        Status::Legacy {
            version: 68,
            network_id: NETWORK_ID,
            total_difficulty: U256::from(1),
            head: genesis(),
            genesis: genesis(),
            fork_id: fork_ids().at(0, 0),
        }
    }

    pub fn other_fork() -> ForkId {
        ForkId { hash: [1, 2, 3, 4], next: 0 }
    }

    /// Says this Hello and hears the other's.
    pub async fn greet(&mut self, hello: Hello) -> Hello {
        self.send_raw(0, &hello.encode()).await;
        let (id, payload) = self.reader.read(4096).await.expect("a Hello");
        assert_eq!(id, 0, "the first message is Hello");
        Hello::decode(payload).expect("a Hello")
    }

    /// Sends bytes as they are.
    pub async fn send_raw(&mut self, id: u8, payload: &[u8]) {
        let mut out = Vec::new();
        self.writer.append(id, payload, &mut out);
        // The other end may have closed already: what it does then is what tests look at.
        let _ = self.io.write_all(&out).await;
    }

    /// Sends a message after Hello.
    pub async fn send(&mut self, id: u8, payload: &[u8]) {
        self.send_raw(id, &snappy::compress(payload)).await;
    }

    pub async fn send_eth(&mut self, message: EthMessage) {
        let (code, payload) = message.encode(EthVersion::V68);
        self.send(0x10 + code, &payload).await;
    }

    /// The next message after Hello; none when the connection is closed.
    pub async fn receive(&mut self) -> Option<(u64, Vec<u8>)> {
        let read = tokio::time::timeout(PATIENCE, self.reader.read(16 << 20)).await.expect("a message or the end");
        let (id, body) = read.ok()?;
        Some((id, snappy::decompress(body, 16 << 20).unwrap_or_else(|_| body.to_vec())))
    }

    /// Reads until the other end disconnects; its reason, if it gave one.
    pub async fn until_disconnected(&mut self) -> Option<Reason> {
        while let Some((id, payload)) = self.receive().await {
            if id == 1 {
                return Some(Reason::decode(&payload));
            }
        }
        None
    }
}

/// A Ping of discovery, signed by this node and good for a minute.
pub fn ping(n: u64) -> Vec<u8> {
    use ipe_p2p::discv4::packet::{Endpoint, Packet};
    let unix = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    let endpoint = Endpoint { ip: None, udp: 30303, tcp: 30303 };
    Packet::Ping { from: endpoint, to: endpoint, expiration: unix + 60, enr_seq: None }.encode(&key(n)).0
}
