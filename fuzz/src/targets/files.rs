//! Files that an operator writes, and those that a crash may leave in any state.
#![allow(clippy::panic, reason = "a promise that is broken ends the run")]

use std::path::PathBuf;
use std::sync::LazyLock;

use alloy_primitives::B256;
use ipe_engine::journal::{MAGIC, MemoryJournal, frames, newborn};
use ipe_engine::pool::LocalJournal;
use ipe_engine::signing::{Gate, Signer};
use ipe_node::config::{Given, resolve};
use ipe_qbft::Draft;
use ipe_types::journal::chain::Chain;
use ipe_types::journal::frame;
use ipe_types::members::{Member, Members};
use ipe_types::message::PreparePayload;
use ipe_types::spec::ChainSpec;
use ipe_types::{Enode, Role, Topology};

use crate::events::KEYS;
use crate::{Target, fixtures};

const ENODES: [&str; 3] = ["10.0.0.1:30303", "[::1]:5?discport=0", "a.example,10.0.0.2:1?discport=7"];

fn enodes() -> Vec<String> {
    ENODES.iter().map(|place| format!("enode://{}@{place}", hex::encode(KEYS[0].node_id()))).collect()
}

/// A genesis file of Besu or GoQuorum.
pub(super) const GENESIS: Target = Target {
    name: "genesis",
    about: "a genesis file of Besu or GoQuorum",
    longest: 16_384,
    memory: Some((32 << 20, 4_096)),
    seeds: || {
        let texts = fixtures::genesis_texts().into_iter().map(|text| {
            // Without long codes: what is read of them is hex.
            let mut value: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
            if let Some(alloc) = value["alloc"].as_object_mut() {
                alloc.retain(|_, account| account["code"].as_str().is_none_or(|code| code.len() < 300));
            }
            value.to_string().into_bytes()
        });
        texts.filter(|text| text.len() <= 16_384).collect()
    },
    run: |input| {
        let Ok(text) = std::str::from_utf8(input) else { return };
        let Ok(spec) = ChainSpec::parse(text) else { return };
        let again = ChainSpec::parse(text).expect("it was read before");
        assert_eq!(again.genesis_hash(), spec.genesis_hash(), "a genesis names one chain");
        for number in [0, 1, 100, u64::MAX] {
            let _ = (spec.fork_at(number, number), spec.qbft_at(number, number), spec.fork_id(number, number));
            let _ = (spec.code_size_limit(number), spec.validators_override(number));
        }
    },
};

/// The configuration of a node.
pub(super) const CONFIG: Target = Target {
    name: "config",
    about: "the TOML configuration of a node",
    longest: 4_096,
    memory: Some((1 << 20, 4_096)),
    seeds: || {
        let text = format!(
            "role = \"boot\"\nname = \"boot-1\"\ninstitution = \"tcu\"\ngenesis = \"genesis.json\"\np2p-port = 30303\n\
             static-nodes = [\"{}\"]\nrpc-http-enabled = true\nrpc_http_api = [\"eth\", \"qbft\"]\nmax-peers = 25\n\
             miner-extra-data = \"0x6970\"\ndialect = \"legacy\"\nmin-gas-price = 0\n",
            enodes()[2]
        );
        vec![text.into_bytes(), b"p2p-port = [1]".to_vec(), b"[a]\nb.c = 1979-05-27".to_vec()]
    },
    run: |input| {
        let Ok(text) = std::str::from_utf8(input) else { return };
        let given = Given { file: Some((PathBuf::from("/etc/ipe/node.toml"), text.to_owned())), ..Given::default() };
        if let Err(error) = resolve(&given) {
            assert!(error.to_string().contains("/etc/ipe/node.toml"), "an error names the file: {error}");
        }
    },
};

/// One enode URL.
pub(super) const ENODE: Target = Target {
    name: "enode",
    about: "an enode URL",
    longest: 1_024,
    memory: Some((8 << 10, 64)),
    seeds: || enodes().into_iter().map(String::into_bytes).collect(),
    run: |input| {
        let Ok(text) = std::str::from_utf8(input) else { return };
        if let Ok(enode) = text.parse::<Enode>() {
            assert_eq!(enode.to_string().parse::<Enode>().as_ref(), Ok(&enode), "what is read is written alike");
        }
    },
};

/// `static-nodes.json`.
pub(super) const STATIC_NODES: Target = Target {
    name: "static-nodes",
    about: "static-nodes.json",
    longest: 4_096,
    memory: Some((64 << 10, 256)),
    seeds: || vec![serde_json::json!(enodes()).to_string().into_bytes(), b"[]".to_vec()],
    run: |input| {
        let Ok(text) = std::str::from_utf8(input) else { return };
        if let Ok(nodes) = ipe_node::config::parse_static_nodes(text) {
            let urls: Vec<String> = nodes.iter().map(Enode::to_string).collect();
            let again = ipe_node::config::parse_static_nodes(&serde_json::json!(urls).to_string());
            assert_eq!(again.as_ref(), Ok(&nodes));
        }
    },
};

/// The directory of a network's nodes.
pub(super) const MEMBERS: Target = Target {
    name: "members",
    about: "network.json",
    longest: 4_096,
    memory: Some((64 << 10, 512)),
    seeds: || {
        let member = |key: usize, name: &str, role| Member {
            name: name.to_owned(),
            institution: "tcu".to_owned(),
            role,
            node_id: KEYS[key].node_id(),
            address: KEYS[key].address(),
            enode: enodes().first().and_then(|url| url.parse().ok()).filter(|_| role == Role::Boot),
        };
        let nodes = vec![member(0, "boot-1", Role::Boot), member(1, "validator-1", Role::Validator)];
        let members = Members::new(Topology::Sentry, nodes).expect("a sound directory");
        vec![members.to_json().into_bytes()]
    },
    run: |input| {
        let Ok(text) = std::str::from_utf8(input) else { return };
        if let Ok(members) = Members::parse(text) {
            let again = Members::parse(&members.to_json()).expect("we wrote it");
            assert_eq!(again.nodes(), members.nodes());
        }
    },
};

/// What the validator of the next target has signed, and the contrary of each.
fn signed_before() -> Vec<(Draft, Draft)> {
    let prepare = |round, mark| Draft::Prepare(PreparePayload { height: 7, round, digest: B256::repeat_byte(mark) });
    (0..3).map(|round| (prepare(round, round as u8), prepare(round, 0x80 + round as u8))).collect()
}

/// A disk with a journal in which all of that stands, and its mark.
static SIGNED: LazyLock<(Vec<u8>, Vec<u8>)> = LazyLock::new(|| {
    let file = MemoryJournal::new();
    file.set_content(newborn(JOURNAL_CHAIN, KEYS[0].address()));
    let opened = Gate::open(Signer::Local(KEYS[0].clone()), Box::new(file.clone()), JOURNAL_CHAIN);
    let (mut gate, _) = opened.expect("a new journal opens");
    for (draft, _) in signed_before() {
        gate.sign(&draft).expect("nothing is against it");
    }
    (file.content(), file.mark())
});

const JOURNAL_CHAIN: B256 = B256::repeat_byte(1);

/// Damages a file as a disk or an operator can: the input is a list of four bytes each, what and where.
fn damaged(whole: &[u8], input: &[u8]) -> Vec<u8> {
    let mut content = whole.to_vec();
    for order in input.chunks_exact(4).take(32) {
        let at = usize::from(u16::from_le_bytes([order[1], order[2]])) % (content.len() + 1);
        match order[0] % 6 {
            0 => content.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << (order[3] % 8)),
            1 => content.truncate(at),
            2 => content.iter_mut().skip(at).for_each(|byte| *byte = 0),
            3 => content.resize((content.len() + usize::from(order[3])).min(8_192), 0),
            4 => content.extend_from_within(at..),
            _ => content.iter_mut().skip(at).take(usize::from(order[3])).for_each(|byte| *byte = order[3]),
        }
        content.truncate(8_192);
    }
    content
}

/// The signing journal, in any state: opened or refused, never forgetting what was acknowledged unless it abstains.
pub(super) const JOURNAL: Target = Target {
    name: "journal",
    about: "the signing journal after a crash or damage",
    longest: 8_192,
    memory: Some((128 << 10, 1_024)),
    seeds: || {
        let content = &SIGNED.0;
        // Payloads alone, which the target frames itself: checksums are no riddle worth solving.
        let payloads = frames(content).map(|record| [&[1][..], record].concat()).collect::<Vec<_>>();
        let mut old = Vec::new();
        frames(content).for_each(|record| frame(&mut old, record));
        let orders = [[0, 90, 0, 3], [1, 200, 0, 0], [2, 150, 0, 0], [3, 0, 0, 64], [4, 100, 0, 0], [5, 40, 0, 9]];
        let damages = (0..orders.len()).map(|count| [&[2][..], &orders[..=count].concat()].concat());
        [content.clone(), old].into_iter().map(|bytes| [&[0][..], &bytes].concat()).chain(payloads).chain(damages).collect()
    },
    run: |input| {
        let Some((kind, bytes)) = input.split_first() else { return };
        let file = MemoryJournal::new();
        file.set_content(match kind % 3 {
            0 => bytes.to_vec(),
            1 => {
                let (mut out, mut chain) = (MAGIC.to_vec(), Chain::new(1));
                bytes
                    .split(|byte| *byte == 0xaa)
                    .filter(|payload| !payload.is_empty())
                    .for_each(|payload| chain.frame(&mut out, payload));
                out
            }
            _ => {
                file.set_mark(SIGNED.1.clone());
                damaged(&SIGNED.0, bytes)
            }
        });
        let open = || Gate::open(Signer::Local(KEYS[0].clone()), Box::new(file.clone()), JOURNAL_CHAIN);
        let Ok((mut gate, restored)) = open() else { return };
        let (floor, doubt) = (gate.floor(), gate.doubt());
        if kind % 3 == 2 {
            for (draft, contrary) in signed_before() {
                assert!(gate.sign(&contrary).is_err(), "a contradiction was signed");
                assert_eq!(gate.sign(&draft).is_ok(), doubt.is_none(), "forgotten without a doubt");
            }
        }
        // What is signed now is remembered by whoever opens it next.
        let draft = |mark| Draft::Prepare(PreparePayload { height: floor.max(1), round: 900, digest: B256::repeat_byte(mark) });
        let signed = gate.sign(&draft(1)).is_ok();
        assert!(!signed || doubt.is_none());
        drop(gate);
        let Ok((mut gate, again)) = open() else { panic!("a journal that was opened is opened again") };
        assert!(gate.floor() >= floor);
        assert_eq!(gate.doubt(), doubt, "a doubt stays until it is settled, and none comes without a reason");
        if signed {
            assert!(gate.sign(&draft(2)).is_err(), "the contradiction was signed");
            assert!(gate.sign(&draft(1)).is_ok(), "the same may be said again");
        } else {
            assert_eq!(again.map(|records| records.round), restored.map(|records| records.round));
        }
    },
};

/// The journal of local transactions.
pub(super) const LOCAL_TRANSACTIONS: Target = Target {
    name: "local-transactions",
    about: "the journal of a node's own transactions",
    longest: 8_192,
    memory: Some((64 << 10, 512)),
    seeds: || {
        use alloy_eips::eip2718::Encodable2718;
        let mut bytes = Vec::new();
        let blocks = fixtures::blocks();
        for tx in blocks.iter().flat_map(|block| &block.body.transactions).filter(|tx| tx.encode_2718_len() < 500).take(6) {
            frame(&mut bytes, &tx.encoded_2718());
        }
        vec![bytes]
    },
    run: |input| {
        let file = MemoryJournal::new();
        file.set_content(input.to_vec());
        let (_, found) = LocalJournal::open(file).expect("memory reads");
        assert!(found.len() <= input.len() / 8);
    },
};
