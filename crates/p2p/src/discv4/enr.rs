//! Ethereum node records (EIP-778) of the `v4` scheme, with the fork identifier in `eth` (EIP-2124).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use alloy_rlp::{Decodable, Encodable, Error, Header};
use ipe_types::crypto::node_id_of;
use ipe_types::fork_id::ForkId;
use ipe_types::{NodeId, NodeKey, keccak256};
use secp256k1::ecdsa::Signature;
use secp256k1::{Message, PublicKey, SECP256K1};

use super::packet::list;
use crate::ecies::public_key;

/// Largest record, bytes (EIP-778).
pub const MAX_RECORD: usize = 300;

/// What a record says, as far as this node cares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Grows with every change.
    pub seq: u64,
    /// Whose record it is.
    pub id: NodeId,
    /// IP address.
    pub ip: Option<IpAddr>,
    /// TCP port.
    pub tcp: Option<u16>,
    /// UDP port.
    pub udp: Option<u16>,
    /// Fork identifier.
    pub fork_id: Option<ForkId>,
}

impl Record {
    /// The signed record; `key` must be the key of `id`.
    pub fn encode(&self, key: &NodeKey) -> Vec<u8> {
        let content = self.content();
        let signature = key.sign(keccak256(list(&content)));
        let mut items = Vec::new();
        signature.as_slice()[..64].encode(&mut items);
        items.extend(content);
        list(&items)
    }

    /// Sequence number and pairs, keys in order.
    fn content(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.seq.encode(&mut out);
        if let Some(fork_id) = &self.fork_id {
            "eth".encode(&mut out);
            let mut entry = Vec::new();
            fork_id.encode(&mut entry);
            out.extend(list(&entry));
        }
        "id".encode(&mut out);
        "v4".encode(&mut out);
        let (ip, tcp, udp) = match self.ip {
            Some(IpAddr::V6(ip)) => (Some(("ip6", ip.octets().to_vec())), "tcp6", "udp6"),
            Some(IpAddr::V4(ip)) => (Some(("ip", ip.octets().to_vec())), "tcp", "udp"),
            None => (None, "tcp", "udp"),
        };
        if let Some((name, octets)) = ip {
            name.encode(&mut out);
            octets.as_slice().encode(&mut out);
        }
        if let Some(public) = public_key(&self.id) {
            "secp256k1".encode(&mut out);
            public.serialize().as_slice().encode(&mut out);
        }
        for (name, port) in [(tcp, self.tcp), (udp, self.udp)] {
            if let Some(port) = port {
                name.encode(&mut out);
                port.encode(&mut out);
            }
        }
        out
    }

    /// Reads a record and checks its signature. Unknown pairs are ignored.
    ///
    /// # Errors
    /// Over [`MAX_RECORD`] bytes, keys out of order, another identity scheme, no key, a wrong signature.
    pub fn decode(mut bytes: &[u8]) -> Result<Record, Error> {
        if bytes.len() > MAX_RECORD {
            return Err(Error::Custom("record over 300 bytes"));
        }
        let mut items = Header::decode_bytes(&mut bytes, true)?;
        let signature = Header::decode_bytes(&mut items, false)?;
        let content = items;
        let seq = u64::decode(&mut items)?;
        let (mut public, mut ip4, mut ip6, mut fork_id) = (None, None, None, None);
        let (mut tcp, mut udp, mut tcp6, mut udp6) = (None, None, None, None);
        let mut scheme: &[u8] = &[];
        let mut last: &[u8] = &[];
        while !items.is_empty() {
            let name = Header::decode_bytes(&mut items, false)?;
            if name <= last {
                return Err(Error::Custom("record keys out of order"));
            }
            last = name;
            let mut value = take_value(&mut items)?;
            match name {
                b"id" => scheme = Header::decode_bytes(&mut value, false)?,
                b"secp256k1" => public = PublicKey::from_slice(Header::decode_bytes(&mut value, false)?).ok(),
                b"ip" => ip4 = Some(IpAddr::from(Ipv4Addr::from(<[u8; 4]>::decode(&mut value)?))),
                b"ip6" => ip6 = Some(IpAddr::from(Ipv6Addr::from(<[u8; 16]>::decode(&mut value)?))),
                b"tcp" => tcp = Some(u16::decode(&mut value)?),
                b"udp" => udp = Some(u16::decode(&mut value)?),
                b"tcp6" => tcp6 = Some(u16::decode(&mut value)?),
                b"udp6" => udp6 = Some(u16::decode(&mut value)?),
                // `[[hash, next], …]`
                b"eth" => {
                    fork_id = Header::decode_bytes(&mut value, true).and_then(|mut entry| ForkId::decode(&mut entry)).ok();
                }
                _ => {}
            }
        }
        if scheme != b"v4" {
            return Err(Error::Custom("record of another identity scheme"));
        }
        let public = public.ok_or(Error::Custom("record without key"))?;
        let signature = Signature::from_compact(signature).map_err(|_| Error::Custom("record signature malformed"))?;
        let digest = keccak256(list(content));
        SECP256K1
            .verify_ecdsa(Message::from_digest(digest.0), &signature, &public)
            .map_err(|_| Error::Custom("record signature wrong"))?;
        let (ip, tcp, udp) = match (ip4, ip6) {
            (Some(ip), _) | (None, Some(ip)) if ip.is_ipv4() => (Some(ip), tcp, udp),
            (_, ip) => (ip, tcp6.or(tcp), udp6.or(udp)),
        };
        Ok(Record { seq, id: node_id_of(&public), ip, tcp, udp, fork_id })
    }
}

/// One item, header included, whatever it is.
fn take_value<'a>(items: &mut &'a [u8]) -> Result<&'a [u8], Error> {
    let start = *items;
    let header = Header::decode(items)?;
    if items.len() < header.payload_length {
        return Err(Error::InputTooShort);
    }
    *items = &items[header.payload_length..];
    Ok(&start[..start.len() - items.len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> NodeKey {
        NodeKey::from_bytes([7; 32]).expect("a key")
    }

    fn record(ip: Option<IpAddr>) -> Record {
        let fork_id = Some(ForkId { hash: [0xa6, 0x20, 0xdb, 0xe8], next: 0 });
        Record { seq: 3, id: key().node_id(), ip, tcp: Some(30303), udp: Some(30301), fork_id }
    }

    #[test]
    fn a_record_comes_back_and_damage_is_noticed() {
        for ip in [None, Some(IpAddr::from([10, 0, 0, 1])), Some(IpAddr::from(Ipv6Addr::LOCALHOST))] {
            let encoded = record(ip).encode(&key());
            assert!(encoded.len() <= MAX_RECORD);
            assert_eq!(Record::decode(&encoded), Ok(record(ip)));
            for at in 0..encoded.len() {
                let mut damaged = encoded.clone();
                damaged[at] ^= 1;
                assert!(Record::decode(&damaged) != Ok(record(ip)), "byte {at}");
            }
        }
        assert!(Record::decode(&[0xc0; MAX_RECORD + 1]).is_err());
    }

    /// The example of EIP-778.
    #[test]
    fn the_published_record_is_read() {
        let text = "f884b8407098ad865b00a582051940cb9cf36836572411a47278783077011599ed5cd16b76f2635f4e234738f30813a89eb9137e\
                    3e3df5266e3a1f11df72ecf1145ccb9c01826964827634826970847f00000189736563703235366b31a103ca634cae0d49acb401\
                    d8a4c6b6fe8c55b70d115bf400769cc1400f3258cd31388375647082765f";
        let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
        let record = Record::decode(&hex::decode(digits).expect("hex")).expect("a record");
        assert_eq!((record.seq, record.ip, record.udp, record.tcp), (1, Some([127, 0, 0, 1].into()), Some(30303), None));
        assert!(hex::encode(record.id).starts_with("ca634cae0d49acb401d8a4c6b6fe8c55b70d115bf400769cc1400f3258cd3138"));
    }
}
