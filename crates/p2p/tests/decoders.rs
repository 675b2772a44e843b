//! Everything that reads a stranger's bytes takes any bytes: an error at worst, never a panic or a large allocation.

use ipe_p2p::discv4::enr::Record;
use ipe_p2p::discv4::packet::{Envelope, Packet};
use ipe_p2p::hello::Hello;
use ipe_p2p::{Capability, IpeStatus, Reason, handshake, snappy};
use ipe_types::eth::{EthMessage, EthVersion};
use ipe_types::{NodeId, NodeKey, Role, keccak256};
use proptest::prelude::*;
use secp256k1::SecretKey;

fn key() -> NodeKey {
    NodeKey::from_bytes([7; 32]).expect("a key")
}

/// Valid bytes with some of them changed, cut or repeated: deeper than random ones go.
fn mutated(valid: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let length = valid.len();
    let edits = prop::collection::vec((0..length.max(1), any::<u8>()), 1..6);
    (edits, 0..=length, any::<bool>()).prop_map(move |(edits, cut, whole)| {
        let mut bytes = valid.clone();
        for (at, byte) in edits {
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
        }
        if !whole {
            bytes.truncate(cut);
        }
        bytes
    })
}

fn hello() -> Vec<u8> {
    let capability = |name: &str, version| Capability { name: name.into(), version };
    let capabilities = vec![capability("eth", 68), capability("istanbul", 100), capability("snap", 1)];
    Hello { version: 5, client: "besu/v25".into(), capabilities, listen_port: 30303, id: key().node_id() }.encode()
}

fn record() -> Vec<u8> {
    let id = key().node_id();
    Record { seq: 1, id, ip: Some([10, 0, 0, 1].into()), tcp: Some(1), udp: Some(2), fork_id: None }.encode(&key())
}

fn read_eth(payload: &[u8]) {
    for version in EthVersion::ALL {
        for code in 0..=0x12 {
            if let Ok(message) = EthMessage::decode(version, code, payload) {
                let (again, encoded) = message.encode(version);
                assert_eq!(again, code);
                assert_eq!(EthMessage::decode(version, code, &encoded), Ok(message), "what is read is written alike");
            }
        }
    }
}

/// A datagram whose hash is right, so that what follows it is reached.
fn sealed(rest: &[u8]) -> Vec<u8> {
    [keccak256(rest).as_slice(), rest].concat()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = Hello::decode(&bytes);
        let _ = IpeStatus::decode(&bytes);
        let _ = Reason::decode(&bytes);
        let _ = Record::decode(&bytes);
        let _ = snappy::decompress(&bytes, 1 << 16);
        read_eth(&bytes);
        if let Ok(envelope) = Envelope::open(&sealed(&bytes)) {
            let _ = (envelope.sender(), envelope.packet());
        }
    }

    #[test]
    fn damaged_hellos(bytes in mutated(hello())) {
        if let Ok(hello) = Hello::decode(&bytes) {
            prop_assert!(hello.client.len() <= 128 && hello.capabilities.len() <= 64);
        }
    }

    #[test]
    fn damaged_ipe_statuses(bytes in mutated(
        IpeStatus { role: Role::Boot, institution: "tcu".into(), name: "boot-1".into(), height: 9 }.encode()
    )) {
        let _ = IpeStatus::decode(&bytes);
    }

    #[test]
    fn damaged_records(bytes in mutated(record())) {
        let _ = Record::decode(&bytes);
    }

    #[test]
    fn damaged_packets(bytes in mutated(
        Packet::EnrResponse { request_hash: keccak256([1]), record: record() }.encode(&key()).0[32..].to_vec()
    )) {
        if let Ok(envelope) = Envelope::open(&sealed(&bytes)) {
            let _ = (envelope.sender(), envelope.packet());
        }
        let mut find = Packet::FindNode { target: NodeId::ZERO, expiration: 1 }.encode(&key()).0[32..].to_vec();
        find.extend(bytes);
        if let Ok(envelope) = Envelope::open(&sealed(&find)) {
            let _ = envelope.packet();
        }
    }

    #[test]
    fn snappy_comes_back(bytes in prop::collection::vec(any::<u8>(), 0..4000)) {
        let compressed = snappy::compress(&bytes);
        prop_assert_eq!(snappy::decompress(&compressed, bytes.len()).ok(), Some(bytes));
    }

    #[test]
    fn handshakes(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let secret = SecretKey::from_byte_array([9; 32]).expect("a key");
        let refused = runtime.block_on(async {
            let (mut end, mut other) = tokio::io::duplex(8192);
            tokio::io::AsyncWriteExt::write_all(&mut other, &bytes).await.expect("room");
            drop(other);
            handshake::respond(&mut end, &secret).await.is_err()
        });
        prop_assert!(refused);
    }
}
