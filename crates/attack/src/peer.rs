//! A hostile peer: it speaks devp2p well enough to be let in, and from there on says whatever it likes.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use ipe_p2p::frame::{FrameReader, FrameWriter};
use ipe_p2p::hello::Hello;
use ipe_p2p::{Capability, handshake, snappy};
use ipe_types::eth::{EthMessage, EthVersion, Status};
use ipe_types::{B256, NodeId, NodeKey};
use secp256k1::SecretKey;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;

/// First id of eth and of istanbul where eth/69 and istanbul/100 are shared (spec/qbft.md 11).
const ETH: u8 = 0x10;
const ISTANBUL: u8 = 0x22;
/// Consensus messages kept of what it hears.
const HEARD: usize = 512;
/// Questions about blocks kept of what it is asked.
const ASKED: usize = 64;
/// Messages that wait to be written; what comes beyond is dropped, as is what comes while there is no connection.
const OUTBOX: usize = 256;
/// Pause before the next attempt after a connection ended.
const AGAIN: Duration = Duration::from_millis(250);

/// Pause of whoever wants to say something without a session.
const NOT_CONNECTED: Duration = Duration::from_millis(5);

/// A consensus message as it was heard.
#[derive(Clone, Debug)]
pub struct Heard {
    /// 0x12 to 0x15.
    pub code: u8,
    /// Payload.
    pub bytes: Bytes,
}

/// What its Status says of its head.
#[derive(Clone, Copy, Debug)]
pub enum Claim {
    /// The same as the other's.
    Same,
    /// This height, under a hash that nobody has.
    Height(u64),
}

/// How it uses its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Reads and writes as others do.
    Usual,
    /// Reads nothing once it is let in.
    Deaf,
    /// Sends each byte by itself.
    Crumbs,
    /// Leaves as soon as it is let in.
    Brief,
}

/// Where to and as whom.
#[derive(Clone, Debug)]
pub struct Target {
    /// The victim's listener.
    pub address: SocketAddr,
    /// The victim's key.
    pub node: NodeId,
    /// Own key.
    pub key: NodeKey,
    /// Own address on loopback.
    pub from: std::net::Ipv4Addr,
    /// What its Status says.
    pub claim: Claim,
    pub manner: Manner,
}

/// A connection that comes back whenever it is cut, until it is dropped.
pub struct Peer {
    out: mpsc::Sender<(u8, Bytes)>,
    heard: Arc<Mutex<VecDeque<Heard>>>,
    asked: Arc<Mutex<VecDeque<EthMessage>>>,
    connected: Arc<AtomicBool>,
    /// Sessions that it ended itself.
    left: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Peer {
    /// Starts it.
    pub fn start(target: Target) -> Peer {
        let (out, mut wishes) = mpsc::channel::<(u8, Bytes)>(OUTBOX);
        let heard = Arc::new(Mutex::new(VecDeque::new()));
        let asked = Arc::new(Mutex::new(VecDeque::new()));
        let connected = Arc::new(AtomicBool::new(false));
        let left = Arc::new(AtomicU64::new(0));
        let (memory, questions) = (Arc::clone(&heard), Arc::clone(&asked));
        let (open, count) = (Arc::clone(&connected), Arc::clone(&left));
        let task = tokio::spawn(async move {
            loop {
                let ended = session(&target, &mut wishes, &memory, &questions, &open).await;
                open.store(false, Ordering::Relaxed);
                count.fetch_add(u64::from(ended.is_ok()), Ordering::Relaxed);
                tokio::time::sleep(if target.manner == Manner::Brief { Duration::from_millis(1) } else { AGAIN }).await;
                while wishes.try_recv().is_ok() {}
            }
        });
        Peer { out, heard, asked, connected, left, task }
    }

    /// Whether a session is open.
    pub fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// How often it was let in and left.
    pub fn left(&self) -> u64 {
        self.left.load(Ordering::Relaxed)
    }

    /// Says a consensus message; waits while the socket is full. `false`: there is no session.
    pub async fn consensus(&self, code: u8, payload: &[u8]) -> bool {
        self.say(ISTANBUL.wrapping_add(code), payload).await
    }

    /// Says a message of eth/69; as [`Peer::consensus`].
    pub async fn eth(&self, message: &EthMessage) -> bool {
        let (code, payload) = message.encode(EthVersion::V69);
        self.say(ETH + code, &payload).await
    }

    /// Says a message of eth/69 whose payload may be anything; as [`Peer::consensus`].
    pub async fn eth_bytes(&self, code: u8, payload: &[u8]) -> bool {
        self.say(ETH + code, payload).await
    }

    async fn say(&self, id: u8, payload: &[u8]) -> bool {
        if !self.is_connected() {
            // Whoever goes on at once would take the processor that the nodes share with it, and other tasks' turns.
            tokio::time::sleep(NOT_CONNECTED).await;
            return false;
        }
        self.out.send((id, snappy::compress(payload))).await.is_ok()
    }

    /// Says a message of eth/69, unless the socket is full.
    pub fn try_eth(&self, message: &EthMessage) {
        let (code, payload) = message.encode(EthVersion::V69);
        if self.is_connected() {
            let _ = self.out.try_send((ETH + code, snappy::compress(&payload)));
        }
    }

    /// Takes what it has heard since the last call.
    pub fn take_heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect()
    }

    /// Takes what it has been asked about headers and bodies since the last call.
    pub fn take_asked(&self) -> Vec<EthMessage> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect()
    }
}

async fn session(
    target: &Target,
    wishes: &mut mpsc::Receiver<(u8, Bytes)>,
    heard: &Mutex<VecDeque<Heard>>,
    asked: &Mutex<VecDeque<EthMessage>>,
    connected: &AtomicBool,
) -> Result<(), String> {
    let failed = |error: &dyn std::fmt::Display| error.to_string();
    let mut stream = connect(target.from, target.address).await?;
    let secret = SecretKey::from_byte_array(*target.key.secret_bytes()).map_err(|error| failed(&error))?;
    let secrets = handshake::initiate(&mut stream, &secret, &target.node).await.map_err(|error| failed(&error))?;
    let (read, mut io) = stream.into_split();
    let (mut reader, mut writer) = (FrameReader::new(read, &secrets), FrameWriter::new(&secrets));
    let capability = |name: &str, version| Capability { name: name.into(), version };
    let hello = Hello {
        version: 5,
        client: "ipe/v0.1.0/linux-x86_64".into(),
        capabilities: vec![capability("eth", 69), capability("istanbul", 100)],
        listen_port: 0,
        id: target.key.node_id(),
    };
    let mut out = Vec::new();
    writer.append(0, &hello.encode(), &mut out);
    io.write_all(&out).await.map_err(|error| failed(&error))?;
    // Hello, then Status, of which ours is a copy but for the head.
    loop {
        let (id, body) = reader.read(16 << 20).await.map_err(|error| failed(&error))?;
        match id {
            0 => {}
            0x10 => {
                let payload = snappy::decompress(body, 1 << 20).map_err(|error| failed(&error))?;
                let status = match EthMessage::decode(EthVersion::V69, 0, &payload) {
                    Ok(EthMessage::Status(status)) => claim(status, target.claim),
                    other => return Err(format!("no Status: {other:?}")),
                };
                let (_, payload) = EthMessage::Status(status).encode(EthVersion::V69);
                out.clear();
                writer.append(ETH, &snappy::compress(&payload), &mut out);
                io.write_all(&out).await.map_err(|error| failed(&error))?;
                break;
            }
            1 => return Err(format!("disconnected: {body:?}")),
            _ => {}
        }
    }
    if target.manner == Manner::Brief {
        return Ok(());
    }
    connected.store(true, Ordering::Relaxed);
    let (pongs, mut pings) = mpsc::channel::<()>(4);
    let hear = async {
        if target.manner == Manner::Deaf {
            std::future::pending::<()>().await;
        }
        loop {
            let (id, body) = reader.read(16 << 20).await.map_err(|error| failed(&error))?;
            match u8::try_from(id).unwrap_or(u8::MAX) {
                1 => return Err::<(), String>("disconnected".to_owned()),
                2 => {
                    let _ = pongs.try_send(());
                }
                id if id >= ISTANBUL => {
                    if let Ok(payload) = snappy::decompress(body, 16 << 20) {
                        let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
                        if heard.len() == HEARD {
                            heard.pop_front();
                        }
                        heard.push_back(Heard { code: id - ISTANBUL, bytes: payload.into() });
                    }
                }
                id if id >= ETH => {
                    let message = snappy::decompress(body, 16 << 20)
                        .ok()
                        .map(|payload| EthMessage::decode(EthVersion::V69, id - ETH, &payload));
                    if let Some(Ok(message @ (EthMessage::GetBlockHeaders { .. } | EthMessage::GetBlockBodies { .. }))) = message {
                        let mut asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
                        if asked.len() < ASKED {
                            asked.push_back(message);
                        }
                    }
                }
                _ => {}
            }
        }
    };
    let say = async {
        loop {
            let (id, payload) = tokio::select! {
                wish = wishes.recv() => wish.ok_or("nobody wishes anything")?,
                _ = pings.recv() => (3, snappy::compress(&[0xc0])),
            };
            let mut out = Vec::new();
            writer.append(id, &payload, &mut out);
            let size = if target.manner == Manner::Crumbs { 1 } else { out.len() };
            for piece in out.chunks(size) {
                io.write_all(piece).await.map_err(|error| failed(&error))?;
            }
        }
    };
    tokio::select! {
        ended = hear => ended,
        ended = say => ended,
    }
}

/// A TCP connection from one of the loopback addresses.
pub async fn connect(from: std::net::Ipv4Addr, to: SocketAddr) -> Result<TcpStream, String> {
    let connecting = async {
        let socket = TcpSocket::new_v4()?;
        socket.bind((from, 0).into())?;
        socket.set_nodelay(true)?;
        socket.connect(to).await
    };
    connecting.await.map_err(|error| format!("{to}: {error}"))
}

fn claim(status: Status, claim: Claim) -> Status {
    match (status, claim) {
        (Status::Range { version, network_id, genesis, fork_id, .. }, Claim::Height(latest)) => {
            let latest_hash = B256::repeat_byte(0xee);
            Status::Range { version, network_id, genesis, fork_id, earliest: 0, latest, latest_hash }
        }
        (status, _) => status,
    }
}
