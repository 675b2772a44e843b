//! The replica and its parts under whatever a peer can bring about.
#![allow(clippy::panic, reason = "a promise that is broken ends the run")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use alloy_consensus::{TxEip1559, TxLegacy};
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256};
use arbitrary::Unstructured;
use ipe_chain::kv::MemoryStore;
use ipe_chain::{Candidate, Feedback, Ledger};
use ipe_engine::admission::Judged;
use ipe_engine::fair_queue::Payer;
use ipe_engine::journal::{MemoryJournal, newborn};
use ipe_engine::peer::Peers;
use ipe_engine::pool::{Ingress, Offer, Origin, PickLimits, Pool, Rules, SenderState, Settings as PoolSettings};
use ipe_engine::signing::{Gate, Signer};
use ipe_engine::sync::{HeadView, Sync};
use ipe_engine::{Clock, Input, Job, Output, Parts, PeerId, PeerInfo, PeerStatus, Replica, Settings, StatusCell};
use ipe_types::eth::{EthMessage, EthVersion};
use ipe_types::fork::Fork;
use ipe_types::genesis::{GenesisAccount, GenesisBuilder};
use ipe_types::header::block_hash;
use ipe_types::seals::is_sealed;
use ipe_types::spec::ChainSpec;
use ipe_types::transaction::{Prices, Unsigned};
use ipe_types::{Block, Body, Dialect, Header, Kind, Message, NodeKey, Role, Topology, Transaction};
use parking_lot::Mutex;

use crate::events::{KEYS, Scene, below, block, byte, piece, sealed, short, validators};
use crate::{Target, fixtures};

fn noise(count: u64, length: usize) -> Vec<Vec<u8>> {
    let mut dice = crate::mutate::Dice(11);
    (0..count).map(|_| (0..length).map(|_| dice.roll() as u8).collect()).collect()
}

/// The pool under transactions of clients and peers, blocks and builders.
pub(super) const POOL: Target = Target {
    name: "pool",
    about: "the pool under any transactions, blocks and builders",
    longest: 1_024,
    memory: Some((8 << 20, 64 << 10)),
    seeds: || noise(16, 300),
    run: pool,
};

/// Catching up with peers that answer anything.
pub(super) const SYNC: Target = Target {
    name: "sync",
    about: "synchronisation under any answers",
    longest: 1_024,
    memory: Some((16 << 20, 256 << 10)),
    seeds: || noise(16, 300),
    run: sync,
};

/// A whole validator with hostile peers.
pub(super) const REPLICA: Target = Target {
    name: "replica",
    about: "a validator's replica under hostile peers",
    longest: 2_048,
    memory: None,
    seeds: || {
        let mut seeds = noise(16, 500);
        // Recorded messages, each as the input of one peer.
        for message in fixtures::messages().into_iter().filter(|message| message.payload.len() < 1_500).take(60) {
            let kind = if message.protocol == "eth" { 60 } else { 100 };
            let length = (message.payload.len() as u16).to_le_bytes();
            seeds.push([&[0, 0, 0, kind, 1, message.code, length[0], length[1]][..], &message.payload].concat());
        }
        seeds
    },
    run: replica,
};

const PERIOD_MS: u64 = 1_000;
const START_MS: u64 = 1_800_000_000_000;

fn rules() -> Rules {
    Rules {
        chain_id: 7,
        fork: Fork::London,
        block_gas_limit: 30_000_000,
        tx_gas_cap: None,
        base_fee: Some(0),
        min_gas_price: 0,
        fee_cap: None,
        max_tx_bytes: 1 << 10,
        goquorum: None,
        period_ms: PERIOD_MS,
    }
}

/// Small, or about as large as 128 bits, 242 (with the least gas that a transaction has) and 256 hold.
fn price(source: &mut Unstructured<'_>) -> U256 {
    let (kind, small) = (byte(source), U256::from(byte(source) % 4));
    let edge = match kind {
        0 => 128,
        1 => 242,
        2 => return U256::MAX - small,
        _ => return small,
    };
    (U256::from(1) << edge) - U256::from(2) + small
}

fn candidate(source: &mut Unstructured<'_>) -> Candidate {
    let sender = Address::with_last_byte(byte(source) % 4);
    let nonce = match byte(source) {
        255 => u64::MAX,
        value => u64::from(value % 24),
    };
    let price = price(source);
    let chain_id = if byte(source) == 0 { 8 } else { 7 };
    let gas_limit = if byte(source) == 0 { u64::MAX } else { 21_000 + u64::from(short(source)) };
    let to = if byte(source).is_multiple_of(4) { TxKind::Create } else { TxKind::Call(Address::ZERO) };
    let input = Bytes::from(vec![7; usize::from(short(source)) % 1_500]);
    let value = if byte(source) == 0 { U256::MAX } else { U256::ZERO };
    let signature = Signature::new(U256::from(1 + u64::from(byte(source))), U256::from(1), false);
    let mut prices = Prices { fee: price, tip: None, blob: None };
    let unsigned: Unsigned = if byte(source).is_multiple_of(2) {
        TxLegacy { chain_id: Some(chain_id), nonce, gas_limit, to, value, input, ..TxLegacy::default() }.into()
    } else {
        prices.tip = Some(self::price(source));
        TxEip1559 { chain_id, nonce, gas_limit, to, value, input, ..TxEip1559::default() }.into()
    };
    let tx = Transaction::sign(unsigned, prices, |_| signature);
    Candidate { hash: *tx.tx_hash(), sender, tx }
}

fn pool(input: &[u8]) {
    let mut source = Unstructured::new(input);
    let settings = PoolSettings { max_count: 24, max_bytes: 8 << 10, max_per_sender: 10, max_gap: 6, ..PoolSettings::default() };
    let mut pool = Pool::new(settings.clone(), rules(), 0);
    let mut accounts = BTreeMap::<Address, SenderState>::new();
    let mut now = START_MS;
    let mut height = 0;
    let mut known = Vec::new();
    for _ in 0..64 {
        if source.is_empty() {
            break;
        }
        match byte(&mut source) % 8 {
            0..=4 => {
                let candidate = Arc::new(candidate(&mut source));
                let origin = [Origin::Local, Origin::Remote, Origin::Restored][below(&mut source, 3)];
                known.push(candidate.hash);
                let ingress =
                    if origin == Origin::Remote { Ingress::from(payer(PeerId(height % 4))) } else { Ingress::Client(None) };
                if let Ok(offer) = Offer::check(candidate.clone(), origin, pool.rules()) {
                    let offer = offer.brought_by(ingress);
                    let balance = if byte(&mut source) == 0 { U256::ZERO } else { U256::MAX };
                    let state = accounts.entry(candidate.sender).or_insert(SenderState { nonce: 0, balance, has_code: false });
                    if pool.add(now, offer, state).is_ok() {
                        assert!(pool.contains(&candidate.hash));
                    }
                }
            }
            5 => {
                let mut picks = pool.pick(&PickLimits { count: 8, bytes: 4 << 10 });
                let mut included = Vec::new();
                let mut feedback = Feedback::Start;
                let mut next = BTreeMap::<Address, u64>::new();
                while let Some(candidate) = picks.next(feedback) {
                    let account = accounts.get(&candidate.sender).map_or(0, |state| state.nonce);
                    let expected = *next.get(&candidate.sender).unwrap_or(&account);
                    assert_eq!(candidate.tx.nonce(), expected, "nonces of a sender come in order and without gaps");
                    feedback = match byte(&mut source) % 6 {
                        0 => Feedback::DoesNotFit { gas_left: 0 },
                        1 => Feedback::Refused { reason: "no".into() },
                        2 => Feedback::TooManyBytes,
                        _ => Feedback::Included { gas_used: 21_000 },
                    };
                    if matches!(feedback, Feedback::Included { .. }) {
                        next.insert(candidate.sender, expected + 1);
                        included.push(candidate);
                    }
                }
                pool.judged(now, picks);
                height += 1;
                for (sender, nonce) in next {
                    accounts.entry(sender).or_default().nonce = nonce;
                }
                let transactions: Vec<Transaction> = included.iter().map(|candidate| candidate.tx.clone()).collect();
                let senders: Vec<Address> = included.iter().map(|candidate| candidate.sender).collect();
                let mined = ipe_engine::pool::MinedBlock {
                    number: height,
                    transactions: &transactions,
                    senders: &senders,
                    gas_used: &[],
                    rules: rules(),
                };
                let account = |sender: Address| accounts.get(&sender).copied().unwrap_or_default();
                pool.on_block(now, &mined, &account);
                assert!(included.iter().all(|candidate| !pool.contains(&candidate.hash)), "mined and still here");
            }
            6 => now += u64::from(short(&mut source)) * 100,
            _ => drop((pool.take_fresh(8), pool.take_unheard(now), pool.take_unsaved(), pool.local_waiting())),
        }
        let held: Vec<_> = pool.iter().collect();
        let statistics = pool.statistics();
        assert_eq!((statistics.count, statistics.ready), (held.len(), held.iter().filter(|held| held.ready).count()));
        assert!(held.len() <= settings.max_count && statistics.bytes <= settings.max_bytes);
        for sender in accounts.keys() {
            assert!(pool.of_sender(sender).len() <= settings.max_per_sender);
        }
        for hash in known.iter().rev().take(4) {
            drop(pool.why(hash));
        }
    }
}

/// A chain of twelve sealed empty blocks.
static CHAIN: LazyLock<Vec<Header>> = LazyLock::new(|| {
    let mut parent = B256::ZERO;
    (1..=12)
        .map(|number| {
            let plain = block(number, parent, KEYS[0].address(), number, 0, 0);
            let header = sealed(&plain, 0, 3).expect("its extra data is sound").header;
            parent = block_hash(&header).expect("its extra data is sound");
            header
        })
        .collect()
});

fn payer(peer: PeerId) -> Payer {
    Payer { node: KEYS[peer.0 as usize % KEYS.len()].node_id(), known: peer.0.is_multiple_of(2) }
}

fn info(id: u64, key: &NodeKey, role: Option<Role>, height: u64) -> PeerInfo {
    let status = PeerStatus { head: B256::repeat_byte(1), height: Some(height), total_difficulty: None };
    let (node, address) = (key.node_id(), key.address());
    PeerInfo {
        id: PeerId(id),
        node,
        address,
        role,
        eth: EthVersion::V69,
        istanbul: true,
        inbound: id.is_multiple_of(2),
        carried: id.is_multiple_of(3),
        status,
    }
}

fn sync(input: &[u8]) {
    let mut source = Unstructured::new(input);
    let set = validators();
    let (mut peers, mut sync) = (Peers::default(), Sync::default());
    let mut now = START_MS;
    let (mut number, mut hash) = (0u64, B256::ZERO);
    let mut asked: Vec<(PeerId, u64, u64)> = vec![(PeerId(1), 1, 1)];
    for id in 1..=3 {
        peers.connect(info(id, &KEYS[id as usize], None, 12 + u64::from(byte(&mut source))));
    }
    for _ in 0..64 {
        if source.is_empty() {
            break;
        }
        let head = HeadView { number, hash, next: &set };
        let (peer, id, first) = asked[below(&mut source, asked.len())];
        let peer = if byte(&mut source).is_multiple_of(8) { PeerId(1 + u64::from(byte(&mut source) % 4)) } else { peer };
        match byte(&mut source) % 8 {
            0 | 1 => {
                for output in sync.poll(now, head, &mut peers, 0, 250) {
                    let Output::Eth(to, message) = output else { panic!("only requests are sent") };
                    assert_eq!(to.len(), 1);
                    match &*message {
                        EthMessage::GetBlockHeaders { request_id, .. } => asked.push((to[0], *request_id, number + 1)),
                        EthMessage::GetBlockBodies { request_id, hashes } => {
                            asked.push((to[0], *request_id, hashes.len() as u64));
                        }
                        other => panic!("asks {other:?}"),
                    }
                }
                asked.drain(..asked.len().saturating_sub(12));
            }
            2 | 3 => {
                // The right answer, or one with a header changed, left out, repeated or strange.
                let from = (first.max(1) as usize - 1).min(CHAIN.len());
                let mut headers = CHAIN[from..(from + below(&mut source, 13)).min(CHAIN.len())].to_vec();
                let at = below(&mut source, headers.len().max(1));
                match byte(&mut source) % 8 {
                    0 if !headers.is_empty() => headers[at].gas_used += 1,
                    1 if !headers.is_empty() => drop(headers.remove(at)),
                    2 if !headers.is_empty() => headers.push(headers[at].clone()),
                    3 if !headers.is_empty() => headers[at].extra_data = Bytes::copy_from_slice(piece(&mut source)),
                    4 => headers = vec![Header { number: u64::MAX, ..Header::default() }; 1 + at],
                    _ => {}
                }
                if sync.on_headers(now, peer, id, headers, head, &mut peers).is_err() {
                    sync.disconnected(now, peer, &mut peers);
                }
            }
            4 => {
                let bodies = vec![Body::default(); below(&mut source, 70)];
                if sync.on_bodies(now, peer, id, bodies, &mut peers).is_err() {
                    sync.disconnected(now, peer, &mut peers);
                }
            }
            5 => {
                let header = CHAIN[below(&mut source, CHAIN.len())].clone();
                let _ = sync.offer(head, Arc::new(Block { header, body: Body::default() }), peer);
            }
            6 => {
                while let Some(fetched) = sync.next_block(HeadView { number, hash, next: &set }) {
                    let header = &fetched.block.header;
                    assert_eq!(header.number, number + 1, "blocks leave in order");
                    // The ledger judges seals; a block that was fetched has the quorum that its request was checked for.
                    if !is_sealed(header, &set) || header.parent_hash != hash || byte(&mut source) == 0 {
                        sync.rejected(now, fetched.from, &mut peers);
                        break;
                    }
                    number += 1;
                    hash = block_hash(header).expect("it was read before");
                }
            }
            _ => now += u64::from(short(&mut source)),
        }
        assert!(sync.proven() <= CHAIN.len() as u64, "only what is sealed is proven");
    }
}

static SPEC: LazyLock<Arc<ChainSpec>> = LazyLock::new(|| {
    let account = GenesisAccount::funded(U256::from(1_000_000_000u64));
    let genesis = GenesisBuilder {
        chain_id: 7,
        fork: Fork::London,
        validators: validators().as_slice().to_vec(),
        period_ms: PERIOD_MS,
        request_timeout_s: 1,
        timestamp: START_MS / 1_000 - 1,
        alloc: BTreeMap::from([(KEYS[0].address(), account)]),
        ..GenesisBuilder::default()
    };
    Arc::new(ChainSpec::parse(&genesis.to_json().expect("a sound genesis")).expect("a sound genesis"))
});

fn replica(input: &[u8]) {
    let mut source = Unstructured::new(input);
    let me = below(&mut source, 4);
    let ledger = Arc::new(Ledger::open(Arc::new(MemoryStore::new()), SPEC.clone()).expect("an empty store opens"));
    let pool = Arc::new(Mutex::new(Pool::new(PoolSettings::default(), rules(), 0)));
    let journal = MemoryJournal::new();
    journal.set_content(newborn(SPEC.genesis_hash(), KEYS[me].address()));
    let opened = Gate::open(Signer::Local(KEYS[me].clone()), Box::new(journal), SPEC.genesis_hash());
    let (gate, restored) = opened.expect("an empty journal opens");
    let topology = if byte(&mut source).is_multiple_of(2) { Topology::Mesh } else { Topology::Sentry };
    let settings = Settings {
        role: Role::Validator,
        topology,
        local: KEYS[me].address(),
        dialect: Dialect::Besu26,
        vanity: Bytes::from(vec![0; 32]),
        target_gas_limit: None,
        min_gas_price: 0,
        build_percent: 75,
        tx_gas: ipe_engine::pace::TX_GAS,
        carrying: false,
        expects_peers: false,
        checkpoint: None,
    };
    let parts =
        Parts { ledger: ledger.clone(), spec: SPEC.clone(), pool: pool.clone(), gate: Some(gate), status: StatusCell::default() };
    let mut replica = Replica::new(settings, parts, restored);
    let judged = Judged::default();
    let mut now_us = START_MS * 1_000;
    let mut said = BTreeMap::<(u64, u32, Kind), Bytes>::new();
    // What a twin said with our key is passed on like anybody's.
    let mut twins = BTreeSet::<Bytes>::new();
    let mut connected: Vec<u64> = Vec::new();
    let mut next_peer = 0;
    let mut inputs = vec![Input::Tick];
    let mut out: Option<Box<Job>> = None;
    for _ in 0..48 {
        let head = ledger.head();
        let scene = Scene { height: head.number + 1, parent: head.hash, timestamp: head.header.timestamp + 1 };
        let peer = PeerId(connected.get(below(&mut source, connected.len().max(1))).copied().unwrap_or(99));
        match byte(&mut source) {
            0..=39 if connected.len() < 4 => {
                next_peer += 1;
                connected.push(next_peer);
                let key = &KEYS[below(&mut source, 5)];
                let role = [None, Some(Role::Boot), Some(Role::Validator), Some(Role::Writer)][below(&mut source, 4)];
                inputs.push(Input::PeerConnected(info(next_peer, key, role, u64::from(byte(&mut source)))));
            }
            0..=79 => {
                let version = EthVersion::ALL[below(&mut source, EthVersion::ALL.len())];
                let code = byte(&mut source) % 0x13;
                if let Ok(message) = EthMessage::decode(version, code, piece(&mut source)) {
                    inputs.push(judged.input(&pool, &ledger, now_us / 1_000, (payer(peer), peer), message));
                }
            }
            80..=109 => {
                let code = byte(&mut source);
                inputs.push(Input::Istanbul(peer, code, Bytes::copy_from_slice(piece(&mut source))));
            }
            110..=199 => {
                let message = scene.message(&mut source);
                inputs.push(Input::Istanbul(peer, message.kind().code(), message.encode()));
            }
            200..=209 => {
                let block = scene.block(&mut source);
                let block = sealed(&block, 0, below(&mut source, 6)).unwrap_or(block);
                inputs.push(Input::Eth(peer, EthMessage::NewBlock { block: Box::new(block), total_difficulty: U256::MAX }));
            }
            210..=215 => {
                let transactions = EthMessage::Transactions(vec![candidate(&mut source).tx.clone()]);
                inputs.push(judged.input(&pool, &ledger, now_us / 1_000, (payer(peer), peer), transactions));
            }
            216..=219 => {
                connected.retain(|id| *id != peer.0);
                inputs.push(Input::PeerGone(peer));
            }
            _ => {
                now_us += u64::from(short(&mut source)) * 100;
                inputs.push(Input::Tick);
            }
        }
        // A job is done at once, or while other inputs come.
        if let Some(job) = out.take_if(|_| !byte(&mut source).is_multiple_of(4)) {
            inputs.push(Input::Done(job.run(Clock { steady: &|| now_us, wall: &|| now_us })));
        }
        for input in inputs.drain(..) {
            if let Input::Istanbul(_, code, bytes) = &input
                && Message::decode(*code, bytes).is_ok_and(|message| message.author() == KEYS[me].address())
            {
                twins.insert(bytes.clone());
            }
            let mut outputs = 0;
            let mut gone = Vec::new();
            replica.handle(Clock { steady: &|| now_us, wall: &|| now_us }, input, &mut |output| {
                outputs += 1;
                match output {
                    Output::Istanbul(_, code, bytes) => {
                        let message = Message::decode(code, &bytes).expect("nothing leaves that does not decode");
                        assert!(validators().contains(&message.author()), "a stranger's message was passed on");
                        if message.author() == KEYS[me].address() && !twins.contains(&bytes) {
                            let place = (message.height(), message.round(), message.kind());
                            let payload = own_payload(&message);
                            assert_eq!(said.entry(place).or_insert(payload.clone()), &payload, "{place:?} twice");
                        }
                    }
                    Output::Disconnect(id, ..) => gone.push(id.0),
                    Output::Work(job) => assert!(out.replace(job).is_none(), "a second job while one is out"),
                    _ => {}
                }
            });
            connected.retain(|id| !gone.contains(id));
            assert!(outputs < 1_000, "{outputs} outputs for one input");
        }
        if source.is_empty() {
            break;
        }
    }
}

/// What we signed, without who it was sent to and what it was justified with.
fn own_payload(message: &Message) -> Bytes {
    match message {
        Message::Proposal(proposal) => proposal.signed.raw().clone(),
        Message::Prepare(signed) => signed.raw().clone(),
        Message::Commit(signed) => signed.raw().clone(),
        Message::RoundChange(change) => change.signed.raw().clone(),
    }
}
