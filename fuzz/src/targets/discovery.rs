//! discv4: what anybody can send to the UDP port.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use arbitrary::Unstructured;
use ipe_p2p::discv4::engine::Discovery;
use ipe_p2p::discv4::enr::{MAX_RECORD, Record};
use ipe_p2p::discv4::packet::{Endpoint, Envelope, MAX_PACKET, Neighbor, Packet};
use ipe_types::fork_id::ForkId;
use ipe_types::{B256, NodeId, NodeKey, keccak256};

use crate::Target;
use crate::events::{KEYS, below, byte, piece, short};

/// One datagram; the hash in front is put right, so that what follows it is reached.
pub(super) const PACKETS: Target = Target {
    name: "discv4-packet",
    about: "one datagram of anybody",
    longest: MAX_PACKET,
    memory: Some((32 << 10, 64)),
    seeds: || packets().into_iter().map(|packet| packet.encode(&KEYS[0]).0[32..].to_vec()).collect(),
    run: |input| {
        drop(Envelope::open(input).map(|envelope| (envelope.sender(), envelope.packet())));
        let datagram = sealed(input);
        let Ok(envelope) = Envelope::open(&datagram) else { return };
        assert!(datagram.len() <= MAX_PACKET);
        let (sender, Ok(packet)) = (envelope.sender(), envelope.packet()) else { return };
        assert_eq!(envelope.sender(), sender, "the author stays who it is");
        let (again, _) = packet.encode(&KEYS[0]);
        if again.len() <= MAX_PACKET {
            let read = Envelope::open(&again).expect("we wrote it");
            assert_eq!(read.sender(), Ok(KEYS[0].node_id()));
            assert_eq!(read.packet().as_ref(), Ok(&packet), "what is read is written alike");
        }
    },
};

/// A node record.
pub(super) const RECORD: Target = Target {
    name: "enr",
    about: "a node record (EIP-778)",
    longest: 2 * MAX_RECORD,
    memory: Some((8 << 10, 64)),
    seeds: || vec![record().encode(&KEYS[0])],
    run: |input| {
        if let Ok(record) = Record::decode(input) {
            assert!(input.len() <= MAX_RECORD);
            assert_eq!(Record::decode(input).as_ref(), Ok(&record));
        }
    },
};

/// The state of discovery under a stream of datagrams of several senders over some minutes.
pub(super) const MACHINE: Target = Target {
    name: "discv4",
    about: "discovery under datagrams of many senders",
    longest: 2_048,
    memory: Some((4 << 20, 16 << 10)),
    seeds: || {
        // Ping, answer their ping, ask, tell: the dialogue of a friendly node, then noise.
        let dialogue = [0, 0, 1, 0, 0, 1, 2, 0, 0, 2, 3, 0, 0, 3, 5, 0, 0, 4, 9, 0];
        vec![dialogue.to_vec(), dialogue.repeat(8), (0..=255).collect()]
    },
    run: machine,
};

static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
const UNIX: u64 = 1_800_000_000;

fn sealed(rest: &[u8]) -> Vec<u8> {
    [keccak256(rest).as_slice(), rest].concat()
}

fn fork_id() -> ForkId {
    ForkId { hash: [1, 2, 3, 4], next: 0 }
}

fn endpoint(last: u8) -> Endpoint {
    Endpoint { ip: Some(IpAddr::V4(Ipv4Addr::new(10, 0, last, 7))), udp: 30_303, tcp: 30_303 }
}

fn record() -> Record {
    let id = KEYS[0].node_id();
    Record { seq: 1, id, ip: Some([10, 0, 0, 1].into()), tcp: Some(1), udp: Some(2), fork_id: Some(fork_id()) }
}

fn packets() -> Vec<Packet> {
    let expiration = UNIX + 20;
    let node = |key: &NodeKey, last| Neighbor { endpoint: endpoint(last), id: key.node_id() };
    vec![
        Packet::Ping { from: endpoint(1), to: endpoint(2), expiration, enr_seq: Some(1) },
        Packet::Pong { to: endpoint(2), ping_hash: B256::repeat_byte(3), expiration, enr_seq: None },
        Packet::FindNode { target: NodeId::repeat_byte(4), expiration },
        Packet::Neighbors { nodes: vec![node(&KEYS[1], 3), node(&KEYS[2], 4)], expiration },
        Packet::EnrRequest { expiration },
        Packet::EnrResponse { request_hash: B256::repeat_byte(3), record: record().encode(&KEYS[0]) },
    ]
}

fn machine(input: &[u8]) {
    let mut source = Unstructured::new(input);
    let mut now = *BEGIN;
    let mut unix = UNIX;
    let own = Endpoint { ip: Some([10, 0, 0, 99].into()), udp: 30_303, tcp: 30_303 };
    let mut discovery = Discovery::new(now, KEYS[4].clone(), own, fork_id(), 1);
    discovery.set_bootnodes(vec![(KEYS[0].node_id(), SocketAddr::from(([10, 0, 0, 7], 30_303)), 30_303)]);
    // The last packets that went out: answers repeat their hashes.
    let mut hashes = vec![B256::ZERO];
    for _ in 0..48 {
        if source.is_empty() {
            break;
        }
        let key = &KEYS[below(&mut source, 4)];
        let last = byte(&mut source) % 6;
        let from = SocketAddr::from(([10, 0, last, 7], 30_303));
        let kind = byte(&mut source);
        let expiration = if kind & 0x40 == 0 { unix + 20 } else { unix.saturating_sub(u64::from(kind)) };
        let hash = hashes[below(&mut source, hashes.len())];
        let datagram = match kind & 0x0f {
            0 => Packet::Ping { from: endpoint(last), to: own, expiration, enr_seq: Some(2) }.encode(key).0,
            1 | 2 => Packet::Pong { to: own, ping_hash: hash, expiration, enr_seq: Some(2) }.encode(key).0,
            3 => Packet::FindNode { target: NodeId::repeat_byte(kind), expiration }.encode(key).0,
            4 | 5 => {
                let nodes = (0..below(&mut source, 14) as u8)
                    .map(|index| Neighbor { endpoint: endpoint(index), id: KEYS[usize::from(index) % 5].node_id() })
                    .collect();
                Packet::Neighbors { nodes, expiration }.encode(key).0
            }
            6 => Packet::EnrRequest { expiration }.encode(key).0,
            7 => Packet::EnrResponse { request_hash: hash, record: record().encode(&KEYS[0]) }.encode(key).0,
            8 => sealed(piece(&mut source)),
            9 => piece(&mut source).to_vec(),
            10 => {
                let ms = u64::from(short(&mut source)) * 20;
                now += Duration::from_millis(ms);
                unix += ms / 1_000;
                discovery.tick(now, unix);
                Vec::new()
            }
            _ => {
                discovery.tick(now, unix);
                drop(discovery.to_dial(now, 3, &std::collections::HashSet::new()));
                Vec::new()
            }
        };
        if !datagram.is_empty() {
            discovery.receive(now, unix, from, &datagram);
        }
        let output = discovery.take_output();
        assert!(output.len() <= 64, "{} datagrams for one event", output.len());
        for (_, sent) in output {
            assert!(sent.len() <= MAX_PACKET);
            hashes.push(B256::from_slice(&sent[..32]));
        }
        hashes.drain(..hashes.len().saturating_sub(16));
        assert!(discovery.known() <= 4, "four keys take part");
    }
}
