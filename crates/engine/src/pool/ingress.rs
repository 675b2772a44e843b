//! Who brought a transaction to this node.

use std::net::{IpAddr, Ipv6Addr};

use ipe_types::NodeId;

use crate::fair_queue::Payer;

/// The way by which a sender's transactions come here: the first level of sharing. A share per organisation will be another
/// case of this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ingress {
    /// Clients of this node's own interface at this address; `None` where the shell does not tell it. All clients together
    /// have the share of one peer.
    Client(Option<IpAddr>),
    /// A node whose role is known.
    Peer(NodeId),
    /// Any other node. All of them together have the share of one peer, as in [`crate::fair_queue`].
    Stranger(NodeId),
}

/// Ingresses that are counted together.
pub(super) const CLASSES: usize = 3;
/// Class of [`Ingress::Client`].
pub(super) const CLIENTS: usize = 0;
/// Class of [`Ingress::Peer`], each of which is counted by itself.
pub(super) const PEERS: usize = 1;

impl Ingress {
    /// Clients at an address; an IPv6 network of 64 bits is one client.
    pub fn client(address: IpAddr) -> Self {
        Self::Client(Some(match address {
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
            address => address,
        }))
    }

    pub(super) fn class(&self) -> usize {
        match self {
            Ingress::Client(_) => CLIENTS,
            Ingress::Peer(_) => PEERS,
            Ingress::Stranger(_) => 2,
        }
    }
}

impl From<Payer> for Ingress {
    fn from(payer: Payer) -> Self {
        if payer.known { Self::Peer(payer.node) } else { Self::Stranger(payer.node) }
    }
}
