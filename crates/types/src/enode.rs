//! Addresses of nodes: `enode://<128 hex>@host:port[?discport=udp]` (spec/besu-compat.md 3).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use crate::crypto::NodeId;

/// Hosts that one enode may list; a member has a few lines to the Internet, not a phone book.
pub const MAX_HOSTS: usize = 8;

/// A node's key with where it listens. Ours may list several hosts, separated by commas, tried in order; Besu's have
/// one. A host is an IPv4 address, an IPv6 address in brackets, or a DNS name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Enode {
    /// Public key of the node.
    pub id: NodeId,
    /// One to [`MAX_HOSTS`] hosts, without brackets.
    pub hosts: Vec<String>,
    /// RLPx port; 0 when the node does not listen.
    pub tcp: u16,
    /// Discovery port; `None` when the node has none (`discport=0`).
    pub udp: Option<u16>,
}

/// What is wrong with an enode.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("enode {text:?}: {fault}; expected enode://<128 hex>@host[,host]:port[?discport=port]")]
pub struct EnodeError {
    text: String,
    fault: String,
}

impl FromStr for Enode {
    type Err = EnodeError;

    fn from_str(text: &str) -> Result<Self, EnodeError> {
        parse(text.trim()).map_err(|fault| EnodeError { text: text.chars().take(240).collect(), fault })
    }
}

fn parse(text: &str) -> Result<Enode, String> {
    let rest = text.strip_prefix("enode://").ok_or("it does not begin with enode://")?;
    let (id, rest) = rest.split_once('@').ok_or("there is no @ after the public key")?;
    let id = id.strip_prefix("0x").unwrap_or(id);
    let key = hex::decode(id).map_err(|_| "the public key is not hex".to_owned())?;
    if key.len() != 64 {
        return Err(format!("the public key has {} hex digits, expected 128", id.len()));
    }
    let (address, query) = match rest.split_once('?') {
        Some((address, query)) => (address.trim_end_matches('/'), Some(query)),
        None => (rest.trim_end_matches('/'), None),
    };
    let (hosts, port) = address.rsplit_once(':').ok_or("there is no port after the host")?;
    let tcp = port.parse::<u16>().map_err(|_| format!("the port is {port:?}, expected 0 to 65535"))?;
    let hosts = hosts.split(',').map(host).collect::<Result<Vec<_>, _>>()?;
    if hosts.len() > MAX_HOSTS {
        return Err(format!("{} hosts are listed, at most {MAX_HOSTS} are read", hosts.len()));
    }
    let mut udp = tcp;
    for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let port = |value: &str, name: &str| value.parse::<u16>().map_err(|_| format!("{name} is {value:?}, expected 0 to 65535"));
        match pair.split_once('=') {
            Some(("discport", value)) => udp = port(value, "discport")?,
            // GoQuorum's, of its consensus Raft; nothing here listens there.
            Some(("raftport", value)) => _ = port(value, "raftport")?,
            _ => return Err(format!("{pair:?} is not discport=port")),
        }
    }
    Ok(Enode { id: NodeId::from_slice(&key), hosts, tcp, udp: Some(udp).filter(|&port| port != 0) })
}

fn host(text: &str) -> Result<String, String> {
    if let Some(inner) = text.strip_prefix('[') {
        let address = inner.strip_suffix(']').ok_or("an IPv6 address is not closed by ]")?;
        address.parse::<std::net::Ipv6Addr>().map_err(|_| format!("{address:?} is not an IPv6 address"))?;
        return Ok(address.to_owned());
    }
    let plausible = !text.is_empty()
        && text.len() <= 253
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
    if plausible { Ok(text.to_owned()) } else { Err(format!("the host is {text:?}")) }
}

impl fmt::Display for Enode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "enode://{}@", hex::encode(self.id))?;
        for (index, host) in self.hosts.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            if host.contains(':') {
                write!(out, "{comma}[{host}]")?;
            } else {
                write!(out, "{comma}{host}")?;
            }
        }
        write!(out, ":{}", self.tcp)?;
        match self.udp {
            Some(port) if port == self.tcp => Ok(()),
            other => write!(out, "?discport={}", other.unwrap_or(0)),
        }
    }
}

impl Serialize for Enode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Enode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "ca35b7d915458ef540ade6068dfe2f44e8fa733c16f2cb6a9bb9cb5ef3a52ef0d1f0a8e7b3b0f8f1b6d56cd5d1d6d0dcd6b6c2ff0b2fa3c9d9a3a2c0b0c0d0e0";

    #[test]
    fn every_form_comes_back_as_it_was() {
        for rest in [
            "127.0.0.1:30303",
            "no.bndes.gov.br:10303",
            "10.0.0.1,no.bndes.gov.br:10303",
            "[::1]:30303",
            "10.0.0.1:30303?discport=0",
            "10.0.0.1:30303?discport=30301",
            "10.0.0.1:0?discport=0",
        ] {
            let text = format!("enode://{ID}@{rest}");
            let enode: Enode = text.parse().unwrap();
            let expected = if rest.ends_with(":0") { format!("{text}?discport=0") } else { text };
            assert_eq!(enode.to_string(), expected);
        }
    }

    #[test]
    fn goquorums_port_of_raft_is_passed_over() {
        let plain: Enode = format!("enode://{ID}@10.0.0.1:30303?discport=0").parse().unwrap();
        for query in ["discport=0&raftport=53000", "raftport=53000&discport=0", "discport=0&"] {
            assert_eq!(format!("enode://{ID}@10.0.0.1:30303?{query}").parse::<Enode>().unwrap(), plain);
        }
        let raft: Enode = format!("enode://{ID}@10.0.0.1:30303?raftport=50400").parse().unwrap();
        assert_eq!(raft.udp, Some(30303));
    }

    #[test]
    fn faults_are_named() {
        for (text, word) in [
            ("http://x".to_owned(), "enode://"),
            (format!("enode://{}@1.2.3.4:1", &ID[2..]), "126 hex"),
            (format!("enode://{ID}@1.2.3.4"), "port"),
            (format!("enode://{ID}@1.2.3.4:99999"), "65535"),
            (format!("enode://{ID}@a b:1"), "host"),
            (format!("enode://{ID}@1.2.3.4:1?x=1"), "discport"),
            (format!("enode://{ID}@1.2.3.4:1?discport=1&x=1"), "\"x=1\""),
            (format!("enode://{ID}@1.2.3.4:1?raftport=x"), "raftport"),
        ] {
            let error = text.parse::<Enode>().unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
