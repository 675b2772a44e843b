//! What a network tells its owner.

use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use ipe_types::eth::{EthVersion, Status};
use ipe_types::{Address, Enode, NodeId, Role};
use tokio::sync::OwnedSemaphorePermit;

use crate::config::Path;
use crate::disconnect::Reason;
use crate::ipe::IpeStatus;

/// One connection. Never reused while the network lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u64);

/// A sub-protocol that messages belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// `eth/66`, `68` or `69`.
    Eth,
    /// `ipe/1`, our own.
    Ipe,
    /// `istanbul/100`: consensus.
    Istanbul,
}

impl Protocol {
    /// Every protocol, in the order of their names, which is the order of their ids on the wire.
    pub const ALL: [Protocol; 3] = [Protocol::Eth, Protocol::Ipe, Protocol::Istanbul];

    /// The capability's name.
    pub const fn name(self) -> &'static str {
        match self {
            Protocol::Eth => "eth",
            Protocol::Ipe => "ipe",
            Protocol::Istanbul => "istanbul",
        }
    }
}

/// A capability in a Hello.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Capability {
    /// Name, at most 8 bytes of ASCII.
    pub name: String,
    /// Version.
    pub version: u64,
}

impl std::fmt::Display for Capability {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}/{}", self.name, self.version)
    }
}

/// A session that has finished Status.
#[derive(Clone, Debug)]
pub struct PeerInfo {
    /// The connection.
    pub id: PeerId,
    /// The peer's public key.
    pub node: NodeId,
    /// Address of that key: a validator's author address.
    pub address: Address,
    /// Role by the directory when it connected; `None` for a stranger.
    pub role: Option<Role>,
    /// Whether it is one of our static nodes.
    pub is_static: bool,
    /// Client name of its Hello, printable, at most 128 characters.
    pub client: String,
    /// Every capability of its Hello.
    pub offered: Vec<Capability>,
    /// The shared capabilities, in the order of their ids.
    pub shared: Vec<Capability>,
    /// The eth version in use.
    pub eth: EthVersion,
    /// Whether `istanbul/100` is shared.
    pub istanbul: bool,
    /// Whether `ipe/1` is shared.
    pub ipe: bool,
    /// The peer's socket address.
    pub remote: SocketAddr,
    /// Our end's socket address.
    pub local: SocketAddr,
    /// Whether the peer dialled us.
    pub inbound: bool,
    /// By a connection of its own, or through a boot of ours.
    pub path: Path,
    /// The port on which it says it listens; 0: it does not.
    pub listen_port: u16,
    /// The peer's enode: key, remote IP and listening port (as Besu builds it).
    pub enode: Enode,
    /// Its Status when it connected.
    pub status: Status,
    /// The latest that it told by `ipe/1`; none until then.
    pub ipe_status: Option<IpeStatus>,
}

/// A message of a peer.
#[derive(Debug)]
pub struct Inbound {
    /// From which connection.
    pub peer: PeerId,
    /// Of which protocol.
    pub protocol: Protocol,
    /// Code relative to the protocol.
    pub code: u8,
    /// Payload after snappy; within the limit of its code.
    pub payload: Bytes,
    /// What the message takes of the peer's allowance; given back when the message is dropped.
    pub credit: Credit,
    /// When its last byte had been read from the socket.
    pub arrived: Instant,
}

/// A share of a peer's allowance of unhandled messages, of which consensus has one of its own. While it is all in use
/// messages about transactions are left out, and for any other the peer's socket is not read until some is given back:
/// a flood fills its own connection and nobody else's queue.
#[derive(Debug)]
pub struct Credit(#[expect(dead_code, reason = "held for its drop")] pub(crate) OwnedSemaphorePermit);

/// Something happened.
#[derive(Debug)]
pub enum NetEvent {
    /// A session is open: messages of this peer follow.
    Connected(Box<PeerInfo>),
    /// The session is over: no message of this connection follows.
    Disconnected {
        /// The connection.
        peer: PeerId,
        /// The peer's public key.
        node: NodeId,
        /// The reason given; `None` when the connection just broke.
        reason: Option<Reason>,
        /// Whether we ended it.
        by_us: bool,
    },
    /// A message of `eth` or `istanbul`.
    Message(Inbound),
}
