//! One devp2p session, from the first byte of a stranger to the messages of a peer.

use std::sync::LazyLock;

use alloy_primitives::{B256, Keccak256};
use alloy_rlp::{Encodable, Header};
use ipe_p2p::capability::{Offer, Shared};
use ipe_p2p::frame::{FrameReader, FrameWriter};
use ipe_p2p::handshake::{self, Secrets};
use ipe_p2p::hello::Hello;
use ipe_p2p::{Capability, IpeStatus, Protocol, Reason, carry, ecies, snappy};
use ipe_types::eth::{EthMessage, EthVersion};
use ipe_types::{Message, NodeKey, Role};
use secp256k1::SecretKey;

use crate::{Target, fixtures};

/// The two packets of the RLPx handshake, in both forms, raw and rightly encrypted for us.
pub(super) const HANDSHAKE: Target = Target {
    name: "handshake",
    about: "RLPx auth and ack of whoever connects",
    longest: 2_500,
    memory: Some((128 << 10, 64)),
    seeds: handshakes,
    run: handshake,
};

/// Frames under keys that the peer knows, with damage.
pub(super) const FRAMES: Target = Target {
    name: "frames",
    about: "RLPx frames of a peer, some damaged",
    longest: 4_096,
    memory: Some((256 << 10, 64)),
    seeds: || vec![vec![0; 40], [&[1, 9, 0, 3, 1][..], &[7; 200]].concat(), vec![0xff; 600]],
    run: frames,
};

/// Hello and Disconnect, which come uncompressed from strangers.
pub(super) const HELLO: Target = Target {
    name: "hello",
    about: "Hello and Disconnect of a stranger",
    longest: 4_096,
    memory: Some((16 << 10, 64)),
    seeds: || vec![[&[0][..], &hello().encode()].concat(), [&[1][..], &Reason::TooManyPeers.encode()].concat(), vec![1, 4]],
    run: read_hello,
};

/// A message id with a compressed payload, as a session reads it: eth, istanbul/100, ipe/1.
pub(super) const SESSION: Target = Target {
    name: "session",
    about: "any message of a peer after Hello: id, snappy, protocol",
    longest: 16_384,
    memory: Some((8 << 20, 2_048)),
    seeds: || {
        let shared = shared();
        let ours = fixtures::messages().into_iter().filter_map(|message| {
            let protocol = if message.protocol == "eth" { Protocol::Eth } else { Protocol::Istanbul };
            let id = shared.offset(protocol)? + message.code;
            Some([&[id][..], &snappy::compress(&message.payload)].concat())
        });
        let status = IpeStatus { role: Role::Boot, institution: "tcu".into(), name: "boot-1".into(), height: 9 }.encode();
        let ipe = shared.offset(Protocol::Ipe).map(|id| [&[id][..], &snappy::compress(&status)].concat());
        ours.chain(ipe).collect()
    },
    run: session,
};

/// eth messages of every version.
pub(super) const ETH: Target = Target {
    name: "eth",
    about: "payloads of eth/66 to eth/69",
    longest: 16_384,
    memory: Some((64 << 10, 2_048)),
    seeds: || {
        let eth = fixtures::messages().into_iter().filter(|message| message.protocol == "eth");
        eth.map(|message| [&[message.code][..], &message.payload].concat()).collect()
    },
    run: eth,
};

/// What a boot and its validator say to each other about carried sessions.
pub(super) const CARRY: Target = Target {
    name: "carry",
    about: "messages about carried sessions between a validator and its boot",
    longest: 4_096,
    memory: Some((16 << 10, 64)),
    seeds: || {
        let remote = ([10, 0, 0, 7], 30_303).into();
        let enode = format!("enode://{}@a.example,10.0.0.2:7", hex::encode(node(3).node_id()));
        let dial = enode.parse().ok().map(|enode| carry::Request::Dial(enode).encode());
        let words = [
            (0, carry::Offer { token: 9, remote, auth: vec![4; 300] }.encode()),
            (1, carry::Decline { token: 9 }.encode()),
            (2, carry::Request::Take(9).encode()),
            (2, dial.unwrap_or_default()),
            (3, carry::Answer::Opened(remote).encode()),
            (3, carry::Answer::Refused("no room".to_owned()).encode()),
        ];
        words.into_iter().map(|(kind, word)| [&[kind][..], &word].concat()).collect()
    },
    run: |input| {
        let Some((kind, payload)) = input.split_first() else { return };
        match kind % 4 {
            0 => {
                if let Ok(word) = carry::Offer::decode(payload) {
                    assert_eq!(carry::Offer::decode(&word.encode()).as_ref(), Ok(&word), "what is read is written alike");
                }
            }
            1 => {
                if let Ok(word) = carry::Decline::decode(payload) {
                    assert_eq!(carry::Decline::decode(&word.encode()).as_ref(), Ok(&word), "what is read is written alike");
                }
            }
            2 => {
                if let Ok(word) = carry::Request::decode(payload) {
                    assert_eq!(carry::Request::decode(&word.encode()).as_ref(), Ok(&word), "what is read is written alike");
                }
            }
            _ => {
                if let Ok(word) = carry::Answer::decode(payload) {
                    assert_eq!(carry::Answer::decode(&word.encode()).as_ref(), Ok(&word), "what is read is written alike");
                }
            }
        }
    },
};

/// Compressed bytes that claim any length.
pub(super) const SNAPPY: Target = Target {
    name: "snappy",
    about: "compressed payloads, bombs included",
    longest: 4_096,
    memory: Some((300 << 10, 64)),
    seeds: || [0, 40, 5_000].map(|length| snappy::compress(&vec![7; length]).to_vec()).to_vec(),
    run: |input| {
        const LIMIT: usize = 64 << 10;
        if let Ok(raw) = snappy::decompress(input, LIMIT) {
            assert!(raw.len() <= LIMIT);
            assert_eq!(snappy::decompress(&snappy::compress(&raw), LIMIT).ok(), Some(raw));
        }
    },
};

static OUR_KEY: LazyLock<SecretKey> = LazyLock::new(|| secret(9));

fn secret(byte: u8) -> SecretKey {
    SecretKey::from_byte_array([byte; 32]).expect("small numbers are keys")
}

fn node(byte: u8) -> NodeKey {
    NodeKey::from_bytes([byte; 32]).expect("small numbers are keys")
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime =
            tokio::runtime::Builder::new_current_thread().build().expect("a runtime without threads");
    }
    RUNTIME.with(|runtime| runtime.block_on(future))
}

fn handshakes() -> Vec<Vec<u8>> {
    // The plain text of an auth: signature, key, nonce, version. The signature is only well formed, so the seed ends in
    // the recovery of a key that nobody has.
    let signature = node(3).sign(B256::repeat_byte(5));
    let (id, nonce) = (node(3).node_id(), B256::repeat_byte(4));
    let list = |items: &[&dyn Encodable]| {
        let mut out = Vec::new();
        Header { list: true, payload_length: items.iter().map(|item| item.length()).sum() }.encode(&mut out);
        items.iter().for_each(|item| item.encode(&mut out));
        out
    };
    let auth = list(&[&signature.as_slice(), &id, &nonce, &4u8]);
    let ack = list(&[&id, &nonce, &4u8]);
    let plain_auth = [signature.as_slice(), &[7; 32], id.as_slice(), nonce.as_slice(), &[0]].concat();
    let plain_ack = [id.as_slice(), nonce.as_slice(), &[0]].concat();
    let kinds: [(u8, Vec<u8>); 5] = [(0, vec![4; 400]), (1, auth), (2, plain_auth), (5, ack), (6, plain_ack)];
    kinds.into_iter().map(|(kind, text)| [vec![kind], text].concat()).collect()
}

/// First byte: bit 2 says whether we dialled, the rest how the bytes travel.
fn handshake(input: &[u8]) {
    let Some((kind, text)) = input.split_first() else { return };
    let public = OUR_KEY.public_key(secp256k1::SECP256K1);
    let wire = match kind & 3 {
        1 => {
            let size = ((text.len() + ecies::OVERHEAD).min(usize::from(u16::MAX)) as u16).to_be_bytes();
            [&size[..], &ecies::encrypt(&public, text, &size)].concat()
        }
        2 => ecies::encrypt(&public, text, &[]),
        _ => text.to_vec(),
    };
    block_on(async {
        let (mut ours, mut theirs) = tokio::io::duplex(16 << 10);
        tokio::io::AsyncWriteExt::write_all(&mut theirs, &wire).await.expect("room for it");
        tokio::io::AsyncWriteExt::shutdown(&mut theirs).await.expect("the other end is open");
        // Whoever can shake hands has a key: the node id that comes out must be a point of the curve.
        if kind & 4 == 0 {
            if let Ok((id, _)) = handshake::respond(&mut ours, &OUR_KEY).await {
                assert!(ecies::public_key(&id).is_some());
            }
        } else {
            drop(handshake::initiate(&mut ours, &OUR_KEY, &node(3).node_id()).await);
        }
    });
}

fn frames(input: &[u8]) {
    let mac = |byte| {
        let mut running = Keccak256::new();
        running.update([byte]);
        running
    };
    let (aes, key) = (B256::repeat_byte(7), B256::repeat_byte(9));
    let ours = Secrets { aes, mac: key, egress: mac(1), ingress: mac(2) };
    let theirs = Secrets { aes, mac: key, egress: mac(2), ingress: mac(1) };
    let [flips, at_high, at_low, bit, id, rest @ ..] = input else { return };
    let mut writer = FrameWriter::new(&ours);
    let mut wire = Vec::new();
    let parts: Vec<&[u8]> = rest.chunks(300).collect();
    parts.iter().for_each(|part| writer.append(*id, part, &mut wire));
    let damaged = flips & 1 == 1 && !wire.is_empty();
    let place = usize::from(u16::from_be_bytes([*at_high, *at_low])) % wire.len().max(1);
    if damaged {
        wire[place] ^= 1 << (bit & 7);
    }
    let limit = if flips & 2 == 2 { 200 } else { 1 << 10 };
    block_on(async {
        let mut reader = FrameReader::new(wire.as_slice(), &theirs);
        let mut seen = 0;
        while let Ok((read_id, payload)) = reader.read(limit).await {
            assert_eq!((read_id, payload), (u64::from(*id), parts[seen]), "a damaged frame never comes through");
            assert!(payload.len() < limit);
            seen += 1;
        }
        assert!(damaged || limit == 200 || seen == parts.len(), "a sound frame was not read");
    });
}

fn hello() -> Hello {
    let capability = |name: &str, version| Capability { name: name.into(), version };
    let capabilities = vec![capability("eth", 68), capability("eth", 69), capability("istanbul", 100), capability("snap", 1)];
    Hello { version: 5, client: "besu/v25".into(), capabilities, listen_port: 30303, id: node(3).node_id() }
}

fn read_hello(input: &[u8]) {
    let Some((kind, payload)) = input.split_first() else { return };
    if kind & 1 == 1 {
        let reason = Reason::decode(payload);
        assert_eq!(Reason::from_code(reason.code()), reason);
        return;
    }
    if let Ok(hello) = Hello::decode(payload) {
        assert_eq!(Hello::decode(&hello.encode()).as_ref(), Ok(&hello), "what is read is written alike");
        let shared = offer().shared(&hello.capabilities);
        for id in 0..=255 {
            assert!(shared.locate(id).is_none_or(|(protocol, _)| shared.has(protocol)));
        }
    }
}

fn offer() -> Offer {
    Offer { eth: EthVersion::ALL.to_vec(), istanbul: true, ipe: true, carry: true }
}

fn shared() -> Shared {
    offer().shared(&offer().capabilities())
}

fn session(input: &[u8]) {
    /// Sessions allow 16 MiB; the smaller limit keeps a run of bombs quick.
    const LIMIT: usize = 1 << 20;
    let Some((id, compressed)) = input.split_first() else { return };
    let shared = shared();
    let Some((protocol, code)) = shared.locate(u64::from(*id)) else { return };
    let Ok(payload) = snappy::decompress(compressed, LIMIT) else { return };
    match protocol {
        Protocol::Eth => drop(EthMessage::decode(shared.eth().expect("it was offered"), code, &payload)),
        Protocol::Istanbul => drop(Message::decode(code, &payload)),
        Protocol::Ipe => {
            if let Ok(status) = IpeStatus::decode(&payload) {
                assert_eq!(IpeStatus::decode(&status.encode()).as_ref(), Ok(&status));
            }
        }
    }
}

fn eth(input: &[u8]) {
    let Some((code, payload)) = input.split_first() else { return };
    for version in EthVersion::ALL {
        let Ok(message) = EthMessage::decode(version, *code, payload) else { continue };
        let (again, encoded) = message.encode(version);
        assert_eq!(again, *code);
        assert_eq!(encoded.as_ref(), payload, "what is read is written alike, byte for byte");
        assert_eq!(EthMessage::decode(version, again, &encoded).as_ref(), Ok(&message));
    }
}
