//! Files that an operator writes, and those that a crash may leave in any state.

use std::path::PathBuf;

use alloy_primitives::B256;
use ipe_engine::journal::MemoryJournal;
use ipe_engine::pool::LocalJournal;
use ipe_engine::signing::{Gate, Signer};
use ipe_node::config::{Given, resolve};
use ipe_qbft::Draft;
use ipe_types::journal::{Frames, frame};
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

/// The signing journal, in any state: opened or refused, never forgetting what a whole record says.
pub(super) const JOURNAL: Target = Target {
    name: "journal",
    about: "the signing journal after a crash or damage",
    longest: 8_192,
    memory: Some((128 << 10, 1_024)),
    seeds: || {
        let chain = B256::repeat_byte(1);
        let file = MemoryJournal::new();
        let opened = Gate::open(Signer::Local(KEYS[0].clone()), Box::new(file.clone()), chain);
        let (mut gate, _) = opened.expect("an empty journal opens");
        let mut seeds = vec![file.content()];
        for round in 0..3 {
            let payload = PreparePayload { height: 7, round, digest: B256::repeat_byte(round as u8) };
            gate.sign(&Draft::Prepare(payload)).expect("nothing is against it");
            seeds.push(file.content());
        }
        // Payloads alone, which the target frames itself: checksums are no riddle worth solving.
        let payloads = Frames::new(&file.content()).map(|record| [&[1][..], record].concat()).collect::<Vec<_>>();
        seeds.into_iter().map(|bytes| [&[0][..], &bytes].concat()).chain(payloads).collect()
    },
    run: |input| {
        let Some((kind, bytes)) = input.split_first() else { return };
        let content = if kind & 1 == 0 {
            bytes.to_vec()
        } else {
            let mut out = Vec::new();
            bytes.split(|byte| *byte == 0xaa).for_each(|payload| frame(&mut out, payload));
            out
        };
        let file = MemoryJournal::new();
        file.set_content(content);
        let chain = B256::repeat_byte(1);
        let open = || Gate::open(Signer::Local(KEYS[0].clone()), Box::new(file.clone()), chain);
        let Ok((mut gate, restored)) = open() else { return };
        let floor = gate.floor();
        // What is signed now is remembered by whoever opens it next.
        let draft =
            |mark| Draft::Prepare(PreparePayload { height: floor.max(1), round: 900, digest: B256::repeat_byte(mark) });
        let signed = gate.sign(&draft(1)).is_ok();
        drop(gate);
        let Ok((mut gate, again)) = open() else { panic!("a journal that was opened is opened again") };
        assert!(gate.floor() >= floor);
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
        for tx in
            blocks.iter().flat_map(|block| &block.body.transactions).filter(|tx| tx.encode_2718_len() < 500).take(6)
        {
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
