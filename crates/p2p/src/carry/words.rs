//! The four messages of carrying, all RLP lists; items that later versions append are ignored.

use std::net::{IpAddr, SocketAddr};

use alloy_rlp::{Decodable, Encodable, Header};
use ipe_types::{Enode, NodeId};

use crate::handshake::MAX_AUTH;

/// Largest payload of any of them: an auth packet with the offer around it.
pub const MAX_WORD: usize = MAX_AUTH + 64;
/// Longest host of a dial request, bytes (the longest DNS name).
const MAX_HOST: usize = 253;
/// Longest sentence of a refusal that is read, bytes.
const MAX_WHY: usize = 300;

const TAKE: u8 = 0;
const DIAL: u8 = 1;
const OPENED: u8 = 0;
const REFUSED: u8 = 1;

/// Boot to validator, over `ipe/1`: somebody has dialled with an auth that is not for the boot. `[token, ip, port, auth]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Names the waiting stream.
    pub token: u64,
    /// Who dialled.
    pub remote: SocketAddr,
    /// The first packet, as it came.
    pub auth: Vec<u8>,
}

/// Validator to boot, over `ipe/1`: the offered auth is not for it either. `[token]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decline {
    /// The offered stream.
    pub token: u64,
}

/// Validator to boot, on a connection of its own: what that connection is to become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// The stream that was offered. `[0, token]`.
    Take(u64),
    /// A stream to that node, which the boot is to dial. `[1, node id, [host…], port]`.
    Dial(Enode),
}

/// The boot's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// From now on this connection is the stream; the node at its other end has this address. `[0, ip, port]`.
    Opened(SocketAddr),
    /// Nothing is carried. `[1, why]`.
    Refused(String),
}

fn list(items: &[&dyn Encodable]) -> Vec<u8> {
    let payload_length = items.iter().map(|item| item.length()).sum();
    let mut out = Vec::with_capacity(payload_length + 3);
    Header { list: true, payload_length }.encode(&mut out);
    items.iter().for_each(|item| item.encode(&mut out));
    out
}

fn open<'a>(payload: &mut &'a [u8]) -> alloy_rlp::Result<&'a [u8]> {
    if payload.len() > MAX_WORD {
        return Err(alloy_rlp::Error::Custom("longer than any message about carrying"));
    }
    Header::decode_bytes(payload, true)
}

fn ip_bytes(address: SocketAddr) -> Vec<u8> {
    match address.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

fn address(items: &mut &[u8]) -> alloy_rlp::Result<SocketAddr> {
    let ip = Header::decode_bytes(items, false)?;
    let ip = match (<[u8; 4]>::try_from(ip), <[u8; 16]>::try_from(ip)) {
        (Ok(v4), _) => IpAddr::from(v4),
        (_, Ok(v6)) => IpAddr::from(v6),
        _ => return Err(alloy_rlp::Error::Custom("an IP address of neither 4 nor 16 bytes")),
    };
    Ok(SocketAddr::new(ip, u16::decode(items)?))
}

impl Offer {
    /// The message's payload.
    pub fn encode(&self) -> Vec<u8> {
        list(&[&self.token, &&ip_bytes(self.remote)[..], &self.remote.port(), &&self.auth[..]])
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// Not the list above, an auth over [`MAX_AUTH`] bytes.
    pub fn decode(mut payload: &[u8]) -> alloy_rlp::Result<Offer> {
        let mut items = open(&mut payload)?;
        let token = u64::decode(&mut items)?;
        let remote = address(&mut items)?;
        let auth = Header::decode_bytes(&mut items, false)?;
        if auth.len() > MAX_AUTH {
            return Err(alloy_rlp::Error::Custom("an auth longer than any"));
        }
        Ok(Offer { token, remote, auth: auth.to_vec() })
    }
}

impl Decline {
    /// The message's payload.
    pub fn encode(&self) -> Vec<u8> {
        list(&[&self.token])
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// Not the list above.
    pub fn decode(mut payload: &[u8]) -> alloy_rlp::Result<Decline> {
        let mut items = open(&mut payload)?;
        Ok(Decline { token: u64::decode(&mut items)? })
    }
}

impl Request {
    /// The message's payload.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Request::Take(token) => list(&[&TAKE, token]),
            Request::Dial(enode) => list(&[&DIAL, &enode.id, &enode.hosts, &enode.tcp]),
        }
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// Not one of the lists above, no host, a host that no enode could have, port 0.
    pub fn decode(mut payload: &[u8]) -> alloy_rlp::Result<Request> {
        let mut items = open(&mut payload)?;
        match u8::decode(&mut items)? {
            TAKE => Ok(Request::Take(u64::decode(&mut items)?)),
            DIAL => {
                let id = NodeId::decode(&mut items)?;
                let mut list = Header::decode_bytes(&mut items, true)?;
                let mut hosts = Vec::new();
                while !list.is_empty() {
                    let host = Header::decode_str(&mut list)?;
                    let plausible = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte);
                    if host.is_empty() || host.len() > MAX_HOST || !host.bytes().all(plausible) {
                        return Err(alloy_rlp::Error::Custom("a host that is none"));
                    }
                    if hosts.len() == ipe_types::enode::MAX_HOSTS {
                        return Err(alloy_rlp::Error::Custom("too many hosts"));
                    }
                    hosts.push(host.to_owned());
                }
                let tcp = u16::decode(&mut items)?;
                if hosts.is_empty() || tcp == 0 {
                    return Err(alloy_rlp::Error::Custom("nothing to dial"));
                }
                Ok(Request::Dial(Enode { id, hosts, tcp, udp: None }))
            }
            _ => Err(alloy_rlp::Error::Custom("an unknown request")),
        }
    }
}

impl Answer {
    /// The message's payload.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Answer::Opened(remote) => list(&[&OPENED, &&ip_bytes(*remote)[..], &remote.port()]),
            Answer::Refused(why) => list(&[&REFUSED, &clip(why).as_str()]),
        }
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// Not one of the lists above.
    pub fn decode(mut payload: &[u8]) -> alloy_rlp::Result<Answer> {
        let mut items = open(&mut payload)?;
        match u8::decode(&mut items)? {
            OPENED => Ok(Answer::Opened(address(&mut items)?)),
            REFUSED => Ok(Answer::Refused(clip(&String::from_utf8_lossy(Header::decode_bytes(&mut items, false)?)))),
            _ => Err(alloy_rlp::Error::Custom("an unknown answer")),
        }
    }
}

/// A sentence fit for a log line.
fn clip(text: &str) -> String {
    let mut out = String::new();
    for character in text.chars() {
        if out.len() + character.len_utf8() > MAX_WHY {
            break;
        }
        out.push(if character.is_control() { '?' } else { character });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn socket() -> impl Strategy<Value = SocketAddr> {
        (any::<IpAddr>(), any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port))
    }

    proptest! {
        #[test]
        fn every_word_comes_back(
            token in any::<u64>(), remote in socket(), auth in prop::collection::vec(any::<u8>(), 0..MAX_AUTH),
            id in any::<[u8; 64]>(), hosts in prop::collection::vec("[a-z0-9.:-]{1,253}", 1..=8), tcp in 1u16..,
            why in "[ -~]{0,300}",
        ) {
            let offer = Offer { token, remote, auth };
            prop_assert!(offer.encode().len() <= MAX_WORD);
            prop_assert_eq!(Offer::decode(&offer.encode()), Ok(offer));
            prop_assert_eq!(Decline::decode(&Decline { token }.encode()), Ok(Decline { token }));
            let dial = Request::Dial(Enode { id: NodeId::from(id), hosts, tcp, udp: None });
            prop_assert_eq!(Request::decode(&dial.encode()), Ok(dial));
            prop_assert_eq!(Request::decode(&Request::Take(token).encode()), Ok(Request::Take(token)));
            for answer in [Answer::Opened(remote), Answer::Refused(why)] {
                prop_assert_eq!(Answer::decode(&answer.encode()), Ok(answer));
            }
        }

        #[test]
        fn no_bytes_make_the_decoders_fail_otherwise_than_by_an_error(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
            let _ = Offer::decode(&bytes);
            let _ = Decline::decode(&bytes);
            let _ = Answer::decode(&bytes);
            if let Ok(Request::Dial(enode)) = Request::decode(&bytes) {
                prop_assert!(enode.tcp != 0 && (1..=8).contains(&enode.hosts.len()));
            }
        }
    }

    #[test]
    fn hosts_ports_and_lengths_are_bounded() {
        let enode = |hosts: Vec<String>, tcp| Enode { id: NodeId::repeat_byte(1), hosts, tcp, udp: None };
        for (hosts, tcp) in [
            (vec![], 30303),
            (vec!["h".to_owned()], 0),
            (vec!["h".to_owned(); 9], 30303),
            (vec!["h".repeat(254)], 30303),
            (vec!["a b".to_owned()], 30303),
            (vec!["a\n".to_owned()], 30303),
        ] {
            assert!(Request::decode(&Request::Dial(enode(hosts.clone(), tcp)).encode()).is_err(), "{hosts:?} {tcp}");
        }
        let long = Offer { token: 1, remote: "1.2.3.4:5".parse().expect("an address"), auth: vec![0; MAX_AUTH + 1] };
        assert!(Offer::decode(&long.encode()).is_err());
        let Ok(Answer::Refused(why)) = Answer::decode(&Answer::Refused("x\n".repeat(1000)).encode()) else { panic!("a refusal") };
        assert!(why.len() == MAX_WHY && why.starts_with("x?x?"));
    }
}
