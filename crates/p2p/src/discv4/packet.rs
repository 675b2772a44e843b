//! discv4 packets: `hash(32) ‖ signature(65) ‖ type ‖ RLP list` (devp2p `discv4.md`, EIP-8, EIP-868).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use alloy_primitives::Keccak256;
use alloy_rlp::{Decodable, Encodable, Error, Header};
use ipe_types::crypto::{HighS, Signature65, recover_node_id};
use ipe_types::{B256, NodeId, NodeKey, keccak256};

/// Largest packet, bytes.
pub const MAX_PACKET: usize = 1280;
/// Most nodes in one Neighbors, so that IPv6 ones fit into [`MAX_PACKET`].
pub const MAX_NEIGHBORS: usize = 12;
const PREFIX: usize = 32 + 65;

/// Where a node is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// IP address; none when the sender wrote no valid one.
    pub ip: Option<IpAddr>,
    /// UDP port.
    pub udp: u16,
    /// TCP port, 0 when unknown.
    pub tcp: u16,
}

/// A node as Neighbors lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbor {
    /// Where.
    pub endpoint: Endpoint,
    /// Who.
    pub id: NodeId,
}

/// A packet's contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// Are you there?
    Ping {
        /// What the sender believes its own endpoint is; not to be relied on.
        from: Endpoint,
        /// What it believes ours is.
        to: Endpoint,
        /// Unix seconds after which the packet is void.
        expiration: u64,
        /// Sequence number of its node record.
        enr_seq: Option<u64>,
    },
    /// Yes.
    Pong {
        /// The endpoint that the Ping came from.
        to: Endpoint,
        /// Hash of the Ping's packet.
        ping_hash: B256,
        /// Unix seconds.
        expiration: u64,
        /// Sequence number of the sender's node record.
        enr_seq: Option<u64>,
    },
    /// Whom do you know near this key?
    FindNode {
        /// The key.
        target: NodeId,
        /// Unix seconds.
        expiration: u64,
    },
    /// These.
    Neighbors {
        /// At most [`MAX_NEIGHBORS`] are sent; as many as fit are read.
        nodes: Vec<Neighbor>,
        /// Unix seconds.
        expiration: u64,
    },
    /// Your node record, please.
    EnrRequest {
        /// Unix seconds.
        expiration: u64,
    },
    /// My node record.
    EnrResponse {
        /// Hash of the request's packet.
        request_hash: B256,
        /// The record's RLP.
        record: Vec<u8>,
    },
}

/// Why a datagram is no packet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// Shorter than a prefix and a type, or longer than [`MAX_PACKET`].
    #[error("{0} bytes are no packet")]
    Length(usize),
    /// The hash is not that of the rest.
    #[error("the hash is wrong")]
    Hash,
    /// No key answers to the signature.
    #[error("the signature is wrong")]
    Signature,
    /// A type that discv4 does not have.
    #[error("unknown packet type {0}")]
    Type(u8),
    /// The contents are not the type's.
    #[error("malformed: {0}")]
    Rlp(#[from] Error),
}

/// Names of the packet types, from type 1 on, as Besu's metrics have them.
pub const KINDS: [&str; 6] = ["PING", "PONG", "FIND_NEIGHBORS", "NEIGHBORS", "ENR_REQUEST", "ENR_RESPONSE"];

impl Packet {
    /// The type byte, 1 to 6: one more than the place of its name in [`KINDS`].
    pub const fn kind(&self) -> u8 {
        match self {
            Packet::Ping { .. } => 1,
            Packet::Pong { .. } => 2,
            Packet::FindNode { .. } => 3,
            Packet::Neighbors { .. } => 4,
            Packet::EnrRequest { .. } => 5,
            Packet::EnrResponse { .. } => 6,
        }
    }

    /// When the packet becomes void, unix seconds; a node record does not.
    pub const fn expiration(&self) -> Option<u64> {
        match self {
            Packet::Ping { expiration, .. }
            | Packet::Pong { expiration, .. }
            | Packet::FindNode { expiration, .. }
            | Packet::Neighbors { expiration, .. }
            | Packet::EnrRequest { expiration } => Some(*expiration),
            Packet::EnrResponse { .. } => None,
        }
    }

    /// Signs the packet; its datagram and hash.
    pub fn encode(&self, key: &NodeKey) -> (Vec<u8>, B256) {
        let mut signed = vec![self.kind()];
        signed.extend(self.contents());
        let signature = key.sign(keccak256(&signed));
        let mut hasher = Keccak256::new();
        hasher.update(signature.as_slice());
        hasher.update(&signed);
        let hash = hasher.finalize();
        let mut out = Vec::with_capacity(PREFIX + signed.len());
        out.extend_from_slice(hash.as_slice());
        out.extend_from_slice(signature.as_slice());
        out.extend(signed);
        (out, hash)
    }

    fn contents(&self) -> Vec<u8> {
        let mut items = Vec::new();
        match self {
            Packet::Ping { from, to, expiration, enr_seq } => {
                4u8.encode(&mut items);
                items.extend(endpoint(from));
                items.extend(endpoint(to));
                expiration.encode(&mut items);
                enr_seq.iter().for_each(|seq| seq.encode(&mut items));
            }
            Packet::Pong { to, ping_hash, expiration, enr_seq } => {
                items.extend(endpoint(to));
                ping_hash.encode(&mut items);
                expiration.encode(&mut items);
                enr_seq.iter().for_each(|seq| seq.encode(&mut items));
            }
            Packet::FindNode { target, expiration } => {
                target.encode(&mut items);
                expiration.encode(&mut items);
            }
            Packet::Neighbors { nodes, expiration } => {
                let mut all = Vec::new();
                for node in nodes {
                    let mut fields = endpoint_fields(&node.endpoint);
                    node.id.encode(&mut fields);
                    all.extend(list(&fields));
                }
                items.extend(list(&all));
                expiration.encode(&mut items);
            }
            Packet::EnrRequest { expiration } => expiration.encode(&mut items),
            Packet::EnrResponse { request_hash, record } => {
                request_hash.encode(&mut items);
                items.extend_from_slice(record);
            }
        }
        list(&items)
    }
}

/// A datagram whose hash is right; the signature, which is dear, has not been looked at.
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'a> {
    /// The packet's hash.
    pub hash: B256,
    signature: [u8; 65],
    signed: &'a [u8],
}

impl<'a> Envelope<'a> {
    /// Checks length, hash and type.
    ///
    /// # Errors
    /// See [`PacketError`].
    pub fn open(datagram: &'a [u8]) -> Result<Self, PacketError> {
        if datagram.len() <= PREFIX || datagram.len() > MAX_PACKET {
            return Err(PacketError::Length(datagram.len()));
        }
        let (hash, rest) = datagram.split_at(32);
        if keccak256(rest) != hash {
            return Err(PacketError::Hash);
        }
        let (signature, signed) = rest.split_first_chunk::<65>().ok_or(PacketError::Length(datagram.len()))?;
        if !(1..=6).contains(&signed[0]) {
            return Err(PacketError::Type(signed[0]));
        }
        Ok(Envelope { hash: B256::from_slice(hash), signature: *signature, signed })
    }

    /// The contents of a datagram that may be an answer (Pong, Neighbors or a node record), without looking at hash and
    /// signature: enough to see whether it is worth that.
    pub fn glance(datagram: &'a [u8]) -> Option<Packet> {
        let signed = datagram.get(PREFIX..).filter(|_| datagram.len() <= MAX_PACKET)?;
        let answer = matches!(signed.first()?, 2 | 4 | 6);
        let unverified = Envelope { hash: B256::ZERO, signature: [0; 65], signed };
        answer.then(|| unverified.packet().ok())?
    }

    /// Who signed it.
    ///
    /// # Errors
    /// The signature is out of range or nobody's.
    pub fn sender(&self) -> Result<NodeId, PacketError> {
        let signature = Signature65::from_bytes(self.signature).map_err(|_| PacketError::Signature)?;
        recover_node_id(keccak256(self.signed), &signature, HighS::Allowed).map_err(|_| PacketError::Signature)
    }

    /// The contents. Further items and bytes after the list are ignored (EIP-8).
    ///
    /// # Errors
    /// The items are not the type's.
    pub fn packet(&self) -> Result<Packet, PacketError> {
        let (kind, mut data) = (self.signed[0], &self.signed[1..]);
        let mut items = Header::decode_bytes(&mut data, true)?;
        let items = &mut items;
        Ok(match kind {
            1 => {
                // The version; every one is answered (EIP-8).
                Header::decode_bytes(items, false)?;
                Packet::Ping {
                    from: read_endpoint(items)?,
                    to: read_endpoint(items)?,
                    expiration: u64::decode(items)?,
                    enr_seq: u64::decode(items).ok(),
                }
            }
            2 => Packet::Pong {
                to: read_endpoint(items)?,
                ping_hash: B256::decode(items)?,
                expiration: u64::decode(items)?,
                enr_seq: u64::decode(items).ok(),
            },
            3 => Packet::FindNode { target: NodeId::decode(items)?, expiration: u64::decode(items)? },
            4 => {
                let mut all = Header::decode_bytes(items, true)?;
                let mut nodes = Vec::new();
                while !all.is_empty() {
                    let mut fields = Header::decode_bytes(&mut all, true)?;
                    let endpoint = read_fields(&mut fields)?;
                    nodes.push(Neighbor { endpoint, id: NodeId::decode(&mut fields)? });
                }
                Packet::Neighbors { nodes, expiration: u64::decode(items)? }
            }
            5 => Packet::EnrRequest { expiration: u64::decode(items)? },
            6 => {
                let request_hash = B256::decode(items)?;
                let start = *items;
                Header::decode_bytes(items, true)?;
                Packet::EnrResponse { request_hash, record: start[..start.len() - items.len()].to_vec() }
            }
            other => return Err(PacketError::Type(other)),
        })
    }
}

/// Wraps encoded items in a list.
pub(super) fn list(items: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(items.len() + 3);
    Header { list: true, payload_length: items.len() }.encode(&mut out);
    out.extend_from_slice(items);
    out
}

fn endpoint(endpoint: &Endpoint) -> Vec<u8> {
    list(&endpoint_fields(endpoint))
}

fn endpoint_fields(endpoint: &Endpoint) -> Vec<u8> {
    let mut fields = Vec::new();
    match endpoint.ip {
        Some(IpAddr::V4(ip)) => ip.octets().as_slice().encode(&mut fields),
        Some(IpAddr::V6(ip)) => ip.octets().as_slice().encode(&mut fields),
        None => [0u8; 0].as_slice().encode(&mut fields),
    }
    endpoint.udp.encode(&mut fields);
    endpoint.tcp.encode(&mut fields);
    fields
}

fn read_endpoint(items: &mut &[u8]) -> Result<Endpoint, Error> {
    let mut fields = Header::decode_bytes(items, true)?;
    read_fields(&mut fields)
}

fn read_fields(fields: &mut &[u8]) -> Result<Endpoint, Error> {
    let ip = Header::decode_bytes(fields, false)?;
    let ip = match ip.len() {
        4 => <[u8; 4]>::try_from(ip).ok().map(|octets| IpAddr::V4(Ipv4Addr::from(octets))),
        16 => <[u8; 16]>::try_from(ip).ok().map(|octets| IpAddr::V6(Ipv6Addr::from(octets)).to_canonical()),
        _ => None,
    };
    let port = |fields: &mut &[u8]| u64::decode(fields).map(|port| u16::try_from(port).unwrap_or(0));
    let udp = port(fields)?;
    // Some clients leave the TCP port out.
    let tcp = if fields.is_empty() { 0 } else { port(fields)? };
    Ok(Endpoint { ip, udp, tcp })
}

#[cfg(test)]
#[path = "packet_tests.rs"]
mod tests;
