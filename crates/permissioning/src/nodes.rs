//! `connectionAllowed` of the node ingress, in both versions that Besu 25.5.0 knows
//! (`NodeSmartContractPermissioningController`, `NodeSmartContractV2PermissioningController`).

use std::net::IpAddr;

use alloy_primitives::{B256, Bytes, U256};
use ipe_types::NodeId;

use crate::verdict::{Fault, Outcome, Verdict};

/// Selector of version 1: `connectionAllowed(bytes32,bytes32,bytes16,uint16,bytes32,bytes32,bytes16,uint16)`.
pub const SELECTOR_V1: [u8; 4] = [0x36, 0x20, 0xb1, 0xdf];
/// Selector of version 2: `connectionAllowed(string,string,uint16)`.
pub const SELECTOR_V2: [u8; 4] = [0x45, 0xa5, 0x9e, 0x5b];

/// One end of a connection: a node's enode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// Its public key.
    pub id: NodeId,
    /// Its address.
    pub ip: IpAddr,
    /// The port on which it listens; 0 for none.
    pub port: u16,
}

/// A connection, from who opened it to who was called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Who opens it.
    pub source: End,
    /// Whom it is opened to.
    pub destination: End,
}

impl End {
    fn words(&self) -> [B256; 4] {
        let id = self.id.as_slice();
        // Sixteen bytes at the front of the word; an IPv4 address as IPv6 maps it.
        let ip = match self.ip {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        let mut word = [0; 32];
        word[..16].copy_from_slice(&ip.octets());
        let port = B256::from(U256::from(self.port));
        [B256::from_slice(&id[..32]), B256::from_slice(&id[32..]), B256::from(word), port]
    }

    /// The question of version 2 about this end, with its host in this text.
    pub fn call_v2(&self, host: &str) -> Bytes {
        let id = alloy_primitives::hex::encode(self.id);
        let words = |text: &str| text.len().div_ceil(32);
        let mut input = Vec::with_capacity(4 + 32 * (5 + words(&id) + words(host)));
        input.extend_from_slice(&SELECTOR_V2);
        let mut word = |value: U256| input.extend_from_slice(&value.to_be_bytes::<32>());
        word(U256::from(3 * 32));
        word(U256::from(3 * 32 + 32 + 32 * words(&id)));
        word(U256::from(self.port));
        for text in [id.as_str(), host] {
            input.extend_from_slice(&U256::from(text.len()).to_be_bytes::<32>());
            input.extend_from_slice(text.as_bytes());
            input.resize(input.len() + 32 * words(text) - text.len(), 0);
        }
        input.into()
    }
}

impl Link {
    /// The question of version 1.
    pub fn call_v1(&self) -> Bytes {
        let mut input = Vec::with_capacity(4 + 8 * 32);
        input.extend_from_slice(&SELECTOR_V1);
        for word in self.source.words().iter().chain(&self.destination.words()) {
            input.extend_from_slice(word.as_slice());
        }
        input.into()
    }
}

fn judge(outcome: Outcome, yes: B256, no: B256) -> Verdict {
    match outcome {
        Outcome::NoAccount => Verdict::Broken(Fault::NoAccount),
        Outcome::Failed(fault) => Verdict::Broken(fault),
        Outcome::Returned(bytes) if bytes[..] == yes[..] => Verdict::Allowed,
        Outcome::Returned(bytes) if bytes[..] == no[..] => Verdict::Denied,
        Outcome::Returned(bytes) => Verdict::Broken(Fault::Answer { bytes: bytes.len() }),
    }
}

/// The verdict of version 1: 32 bytes ff are a yes, 7f and 31 bytes ff a no.
pub fn judge_v1(outcome: Outcome) -> Verdict {
    let (yes, mut no) = (B256::repeat_byte(0xff), B256::repeat_byte(0xff));
    no[0] = 0x7f;
    judge(outcome, yes, no)
}

/// The verdict of version 2: a word that is 1 is a yes, 0 a no.
pub fn judge_v2(outcome: Outcome) -> Verdict {
    judge(outcome, B256::with_last_byte(1), B256::ZERO)
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{hex, keccak256};
    use ipe_types::NodeKey;

    use super::*;

    fn end(byte: u8, ip: &str, port: u16) -> End {
        End { id: NodeKey::from_bytes([byte; 32]).expect("a key").node_id(), ip: ip.parse().expect("an address"), port }
    }

    #[test]
    fn version_one_has_eight_words() {
        assert_eq!(keccak256("connectionAllowed(bytes32,bytes32,bytes16,uint16,bytes32,bytes32,bytes16,uint16)")[..4], SELECTOR_V1);
        let link = Link { source: end(1, "127.0.0.1", 0), destination: end(2, "2001:db8::1", 30303) };
        let input = link.call_v1();
        assert_eq!(input.len(), 4 + 256);
        assert_eq!(input[4..68], link.source.id[..]);
        assert_eq!(hex::encode(&input[68..100]), format!("00000000000000000000ffff7f000001{}", "0".repeat(32)));
        assert_eq!(input[100..132], [0; 32]);
        assert_eq!(hex::encode(&input[196..228]), format!("20010db8000000000000000000000001{}", "0".repeat(32)));
        assert_eq!(hex::encode(&input[228..]), format!("{}765f", "0".repeat(60)));
    }

    #[test]
    fn version_two_is_asked_about_one_end() {
        assert_eq!(keccak256("connectionAllowed(string,string,uint16)")[..4], SELECTOR_V2);
        let end = end(1, "127.0.0.1", 30303);
        let input = end.call_v2("127.0.0.1");
        assert_eq!(input.len(), 4 + 32 * (3 + 1 + 4 + 1 + 1));
        assert_eq!(U256::from_be_slice(&input[4..36]), U256::from(96));
        assert_eq!(U256::from_be_slice(&input[36..68]), U256::from(96 + 32 + 128));
        assert_eq!(U256::from_be_slice(&input[100..132]), U256::from(128));
        assert_eq!(input[132..260], *hex::encode(end.id).as_bytes());
        assert_eq!(&input[292..301], b"127.0.0.1");
    }

    #[test]
    fn answers_are_besus() {
        let yes = Outcome::Returned(Bytes::from(vec![0xff; 32]));
        let mut no = vec![0xff; 32];
        no[0] = 0x7f;
        assert_eq!(judge_v1(yes), Verdict::Allowed);
        assert_eq!(judge_v1(Outcome::Returned(no.into())), Verdict::Denied);
        let one = Outcome::Returned(U256::from(1).to_be_bytes::<32>().into());
        assert_eq!(judge_v1(one.clone()), Verdict::Broken(Fault::Answer { bytes: 32 }));
        assert_eq!(judge_v2(one), Verdict::Allowed);
        assert_eq!(judge_v2(Outcome::Returned(vec![0; 32].into())), Verdict::Denied);
        assert_eq!(judge_v2(Outcome::Returned(Bytes::new())), Verdict::Broken(Fault::Answer { bytes: 0 }));
        assert_eq!(judge_v1(Outcome::NoAccount), Verdict::Broken(Fault::NoAccount));
    }
}
