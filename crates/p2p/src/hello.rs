//! Hello: the first message each end sends, unprompted, once keys are agreed.
//!
//! `[5, client, [[name, version]…], listenPort, nodeId]`, never compressed (devp2p base protocol).

use alloy_rlp::{Decodable, Encodable, Header};
use ipe_types::NodeId;

use crate::event::Capability;

/// Version of the base protocol: 5 compresses everything after Hello.
pub const VERSION: u64 = 5;
/// Largest Hello accepted, bytes (Besu's limit).
pub const MAX_HELLO: usize = 2048;
/// Most capabilities read; clients offer fewer than ten.
const MAX_CAPABILITIES: usize = 64;
/// Longest capability name (devp2p: 8).
const MAX_CAPABILITY_NAME: usize = 8;
/// Longest client name kept and sent, bytes.
pub const MAX_CLIENT: usize = 128;

/// A Hello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Version of the base protocol.
    pub version: u64,
    /// Client name; when read, cut to [`MAX_CLIENT`] bytes with control characters replaced.
    pub client: String,
    /// Capabilities offered; when read, without those whose names are too long.
    pub capabilities: Vec<Capability>,
    /// Port listened on; 0: none.
    pub listen_port: u16,
    /// The sender's key.
    pub id: NodeId,
}

impl Hello {
    /// The message's payload.
    pub fn encode(&self) -> Vec<u8> {
        let list = |items: &[u8]| {
            let mut out = Vec::with_capacity(items.len() + 3);
            Header { list: true, payload_length: items.len() }.encode(&mut out);
            out.extend_from_slice(items);
            out
        };
        let mut capabilities = Vec::new();
        for capability in &self.capabilities {
            let mut item = Vec::new();
            capability.name.as_str().encode(&mut item);
            capability.version.encode(&mut item);
            capabilities.extend(list(&item));
        }
        let mut items = Vec::new();
        self.version.encode(&mut items);
        printable(&self.client).as_str().encode(&mut items);
        items.extend(list(&capabilities));
        self.listen_port.encode(&mut items);
        self.id.encode(&mut items);
        list(&items)
    }

    /// Reads a payload; items after the fifth are ignored (EIP-8).
    ///
    /// # Errors
    /// Over [`MAX_HELLO`] bytes, not the list above.
    pub fn decode(mut payload: &[u8]) -> Result<Hello, alloy_rlp::Error> {
        if payload.len() > MAX_HELLO {
            return Err(alloy_rlp::Error::Custom("longer than 2 KiB"));
        }
        let mut items = Header::decode_bytes(&mut payload, true)?;
        let version = u64::decode(&mut items)?;
        let client = printable(&String::from_utf8_lossy(Header::decode_bytes(&mut items, false)?));
        let mut list = Header::decode_bytes(&mut items, true)?;
        let mut capabilities = Vec::new();
        while !list.is_empty() {
            let mut item = Header::decode_bytes(&mut list, true)?;
            let name = Header::decode_bytes(&mut item, false)?;
            let version = u64::decode(&mut item)?;
            if capabilities.len() == MAX_CAPABILITIES {
                return Err(alloy_rlp::Error::Custom("more than 64 capabilities"));
            }
            if name.len() <= MAX_CAPABILITY_NAME && name.iter().all(u8::is_ascii_graphic) {
                capabilities.push(Capability { name: String::from_utf8_lossy(name).into_owned(), version });
            }
        }
        let listen_port = u16::try_from(u64::decode(&mut items)?).unwrap_or(0);
        let id = NodeId::decode(&mut items)?;
        Ok(Hello { version, client, capabilities, listen_port, id })
    }
}

/// A client name fit for a log line.
fn printable(client: &str) -> String {
    let mut out = String::new();
    for character in client.chars() {
        if out.len() + character.len_utf8() > MAX_CLIENT {
            break;
        }
        out.push(if character.is_control() { '?' } else { character });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello() -> Hello {
        let capability = |name: &str, version| Capability { name: name.into(), version };
        Hello {
            version: VERSION,
            client: "ipe/v0.1.0/linux-x86_64".into(),
            capabilities: vec![capability("eth", 68), capability("istanbul", 100)],
            listen_port: 30303,
            id: NodeId::repeat_byte(3),
        }
    }

    #[test]
    fn a_hello_comes_back() {
        assert_eq!(Hello::decode(&hello().encode()), Ok(hello()));
    }

    #[test]
    fn a_client_name_cannot_forge_log_lines_or_fill_memory() {
        let client = format!("x\n\u{1b}[31m{}", "é".repeat(400));
        let read = Hello::decode(&Hello { client, ..hello() }.encode()).expect("a hello");
        assert!(read.client.len() <= MAX_CLIENT && read.client.starts_with("x??[31m"));
        let mut long = hello();
        long.capabilities = (0..300).map(|version| Capability { name: "eth".into(), version }).collect();
        assert!(Hello::decode(&long.encode()).is_err());
        long.capabilities = (0..65).map(|version| Capability { name: "e".into(), version }).collect();
        assert!(Hello::decode(&long.encode()).is_err());
    }
}
