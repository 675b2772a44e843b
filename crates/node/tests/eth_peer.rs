//! What a node answers to a peer of `eth`, and what it tells: requests by every origin, their ids, blocks and receipts that
//! have the roots of their headers, transactions announced, fetched and mined. The questions are those of go-ethereum's
//! public eth suite, as far as they need no engine API.
#![allow(clippy::panic)]

mod common;

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use alloy_consensus::proofs::{calculate_receipt_root, calculate_transaction_root};
use alloy_consensus::{SignableTransaction, TxLegacy};
use alloy_eips::eip2718::Encodable2718;
use common::{Running, call, config, endpoints, get, reaches, start, write_genesis};
use ipe_node::{Endpoints, key_file};
use ipe_p2p::{Admit, ChainIdentity, Limits, LocalHead, NetEvent, Network, NetworkConfig, NetworkHandle, PeerId, Protocol};
use ipe_types::eth::{Announced, BlockHashNumber, EthMessage, EthVersion, HeadersQuery, HeadersStart, MAX_HEADERS_SERVED};
use ipe_types::header::block_hash;
use ipe_types::spec::ChainSpec;
use ipe_types::{Address, B256, Bytes, Enode, Header, NodeKey, Role, Topology, Transaction, U256};
use tokio::sync::{mpsc, watch};

const PATIENCE: Duration = Duration::from_secs(30);
const NONE: [u64; 0] = [];

/// A validator that makes blocks alone and listens, with one rich account.
struct Scene {
    folder: tempfile::TempDir,
    node: Running,
    enode: Enode,
    http: SocketAddr,
    client: NodeKey,
}

impl Scene {
    async fn new() -> Scene {
        let folder = tempfile::tempdir().expect("a folder");
        let (key, client) = (key_file::generate(), key_file::generate());
        write_genesis(folder.path(), std::slice::from_ref(&key), &[client.address()]);
        let data = folder.path().join("node");
        key_file::write_new(&data.join("key"), &key).expect("written");
        let node = start(config(&data, Role::Validator, Topology::Mesh));
        let Endpoints { p2p, rpc_http, .. } = endpoints(&data).await;
        let tcp = p2p.expect("a mesh validator listens").port();
        let enode = Enode { id: key.node_id(), hosts: vec!["127.0.0.1".to_owned()], tcp, udp: None };
        Scene { folder, node, enode, http: rpc_http.expect("JSON-RPC listens"), client }
    }

    fn transfer(&self, nonce: u64) -> Transaction {
        signed(&self.client, 1337, nonce, 21_000)
    }

    /// Answer of a JSON-RPC method.
    async fn ask(&self, method: &'static str, params: String) -> serde_json::Value {
        let http = self.http;
        let text = tokio::task::spawn_blocking(move || call(http, method, &params)).await.expect("no panic");
        serde_json::from_str(&text).expect("JSON")
    }

    async fn peer(&self, version: EthVersion) -> Peer {
        Peer::connect(self.folder.path(), &self.enode, version).await
    }

    async fn nonce(&self) -> u64 {
        let answer = self.ask("eth_getTransactionCount", format!("[\"{}\",\"latest\"]", self.client.address())).await;
        let count = answer["result"].as_str().expect("a number");
        u64::from_str_radix(count.trim_start_matches("0x"), 16).expect("hex")
    }

    async fn mined(&self, count: u64) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let nonce = self.nonce().await;
            if nonce >= count {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "{nonce} of {count} transactions mined");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn signed(key: &NodeKey, chain_id: u64, nonce: u64, gas_limit: u64) -> Transaction {
    let to = Address::repeat_byte(0x77).into();
    let tx = TxLegacy { chain_id: Some(chain_id), nonce, gas_price: 0, gas_limit, to, value: U256::from(1), input: Bytes::new() };
    let signature = key.sign(tx.signature_hash());
    let bytes = signature.as_slice();
    let (r, s) = (U256::from_be_slice(&bytes[..32]), U256::from_be_slice(&bytes[32..64]));
    Transaction::from(tx.into_signed(alloy_primitives::Signature::new(r, s, bytes[64] == 1)))
}

/// A stranger with one connection to the node.
struct Peer {
    handle: NetworkHandle,
    events: mpsc::Receiver<NetEvent>,
    session: PeerId,
    version: EthVersion,
    _head: watch::Sender<LocalHead>,
}

impl Peer {
    async fn connect(folder: &Path, node: &Enode, version: EthVersion) -> Peer {
        let text = std::fs::read_to_string(folder.join("genesis.json")).expect("a genesis");
        let spec = ChainSpec::parse(&text).expect("a valid genesis");
        let (hash, timestamp) = (spec.genesis_hash(), spec.genesis_header().timestamp);
        let head = LocalHead { number: 0, timestamp, hash, total_difficulty: U256::from(1), earliest: 0 };
        let (sender, head) = watch::channel(head);
        let fork_ids = ipe_types::fork_id::ForkIds::new(hash, timestamp, &spec.genesis().forks);
        let network = NetworkConfig {
            key: key_file::generate(),
            client: "peer/of-a-test".to_owned(),
            listen: None,
            advertised: Vec::new(),
            discovery: None,
            chain: ChainIdentity { network_id: spec.chain_id(), genesis: hash, fork_ids },
            head,
            eth_versions: vec![version],
            istanbul: false,
            ipe: None,
            static_nodes: vec![node.clone()],
            carried_nodes: Vec::new(),
            carrier: None,
            directory: HashMap::new(),
            admit: Admit::everybody(),
            core: ipe_p2p::Core::default(),
            known_hosts: Vec::new(),
            limits: Limits::default(),
        };
        let (handle, mut events) = Network::start(network).await.expect("a network");
        let session = loop {
            match tokio::time::timeout(PATIENCE, events.recv()).await.expect("a session in time").expect("a network") {
                NetEvent::Connected(info) => break info.id,
                _ => continue,
            }
        };
        Peer { handle, events, session, version, _head: sender }
    }

    fn send(&self, message: EthMessage) {
        let (code, payload) = message.encode(self.version);
        assert!(self.handle.send(self.session, Protocol::Eth, code, payload));
    }

    /// The next message; none when nothing comes within `patience`.
    async fn hear(&mut self, patience: Duration) -> Option<EthMessage> {
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            match tokio::time::timeout_at(deadline, self.events.recv()).await.ok()?.expect("a network") {
                NetEvent::Message(inbound) if inbound.protocol == Protocol::Eth => {
                    return Some(EthMessage::decode(self.version, inbound.code, &inbound.payload).expect("sound"));
                }
                NetEvent::Disconnected { reason, .. } => panic!("the node ended the session: {reason:?}"),
                _ => continue,
            }
        }
    }

    /// The first message that `wanted` takes.
    async fn answer<T>(&mut self, mut wanted: impl FnMut(EthMessage) -> Option<T>) -> T {
        loop {
            let message = self.hear(PATIENCE).await.expect("an answer in time");
            if let Some(found) = wanted(message) {
                return found;
            }
        }
    }

    async fn headers(&mut self, query: HeadersQuery) -> Vec<Header> {
        self.send(EthMessage::GetBlockHeaders { request_id: 77, query });
        self.answer(|message| match message {
            EthMessage::BlockHeaders { request_id: 77, headers } => Some(headers),
            _ => None,
        })
        .await
    }

    async fn numbers(&mut self, start: HeadersStart, limit: u64, skip: u64, reverse: bool) -> Vec<u64> {
        let headers = self.headers(HeadersQuery { start, limit, skip, reverse }).await;
        headers.iter().map(|header| header.number).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_are_served_by_every_origin_and_every_id() {
    let scene = Scene::new().await;
    assert!(reaches(scene.http, 6, PATIENCE).await >= 6);
    for version in EthVersion::ALL {
        let mut peer = scene.peer(version).await;
        let at = HeadersStart::Number;
        let known = peer.headers(HeadersQuery { start: at(0), limit: 7, skip: 0, reverse: false }).await;
        assert_eq!(known.len(), 7, "{version:?}");
        let hashes: Vec<B256> = known[1..].iter().map(|header| block_hash(header).expect("sound")).collect();
        for (parent, child) in hashes.iter().zip(&known[2..]) {
            assert_eq!(child.parent_hash, *parent);
        }
        let by_hash = HeadersStart::Hash(hashes[2]);
        assert_eq!(peer.numbers(by_hash, 3, 0, false).await, [3, 4, 5]);
        assert_eq!(peer.numbers(by_hash, 10, 0, true).await, [3, 2, 1, 0]);
        assert_eq!(peer.numbers(by_hash, 10, 1, true).await, [3, 1]);
        assert_eq!(peer.numbers(at(1), 3, 1, false).await, [1, 3, 5]);
        assert_eq!(peer.numbers(at(4), 1, u64::MAX, false).await, [4], "a skip beyond every number");
        assert_eq!(peer.numbers(at(4), 5, u64::MAX - 1, false).await, [4]);
        assert_eq!(peer.numbers(at(4), 5, u64::MAX, true).await, [4]);
        assert_eq!(peer.numbers(at(2), 0, 0, false).await, NONE);
        assert_eq!(peer.numbers(at(u64::MAX), 5, 0, false).await, NONE);
        assert_eq!(peer.numbers(at(1_000_000), 5, 0, true).await, NONE);
        assert_eq!(peer.numbers(HeadersStart::Hash(B256::repeat_byte(1)), 5, 0, false).await, NONE);
        let all = peer.numbers(at(0), u64::MAX, 0, false).await;
        assert!(all.len() >= 7 && all.len() <= MAX_HEADERS_SERVED, "{}", all.len());

        // Requests under way at once are all answered, by their ids: zero, the largest, and one used twice.
        for (request_id, number) in [(0, 1), (u64::MAX, 2), (5, 3), (5, 4)] {
            let query = HeadersQuery { start: at(number), limit: 1, skip: 0, reverse: false };
            peer.send(EthMessage::GetBlockHeaders { request_id, query });
        }
        let mut open = HashSet::from([(0, 1), (u64::MAX, 2), (5, 3), (5, 4)]);
        while !open.is_empty() {
            let answered = peer.answer(|message| match message {
                EthMessage::BlockHeaders { request_id, headers } => Some((request_id, headers[0].number)),
                _ => None,
            });
            let answered = answered.await;
            assert!(open.remove(&answered), "{answered:?} was not asked");
        }
    }
    scene.node.stop().await.expect("a clean end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_and_receipts_have_the_roots_of_their_headers() {
    let scene = Scene::new().await;
    let pusher = scene.peer(EthVersion::V68).await;
    pusher.send(EthMessage::Transactions((0..300).map(|nonce| scene.transfer(nonce)).collect()));
    scene.mined(300).await;
    for version in EthVersion::ALL {
        let mut peer = scene.peer(version).await;
        let query = HeadersQuery { start: HeadersStart::Number(1), limit: 100, skip: 0, reverse: false };
        let headers = peer.headers(query).await;
        let mut hashes: Vec<B256> = headers.iter().map(|header| block_hash(header).expect("sound")).collect();
        // What is not known is left out; the answers to the others keep their order.
        hashes.insert(1, B256::repeat_byte(9));
        peer.send(EthMessage::GetBlockBodies { request_id: 1, hashes: hashes.clone() });
        peer.send(EthMessage::GetReceipts { request_id: 2, hashes });
        let (mut bodies, mut receipts) = (None, None);
        while bodies.is_none() || receipts.is_none() {
            match peer.hear(PATIENCE).await.expect("an answer in time") {
                EthMessage::BlockBodies { request_id: 1, bodies: found } => bodies = Some(found),
                EthMessage::Receipts { request_id: 2, receipts: found } => receipts = Some(found),
                _ => {}
            }
        }
        let (bodies, receipts) = (bodies.expect("heard"), receipts.expect("heard"));
        assert_eq!((bodies.len(), receipts.len()), (headers.len(), headers.len()), "{version:?}");
        let mut transactions = 0;
        for ((header, body), receipts) in headers.iter().zip(&bodies).zip(&receipts) {
            assert_eq!(calculate_transaction_root(&body.transactions), header.transactions_root);
            assert_eq!(calculate_receipt_root(receipts), header.receipts_root);
            transactions += body.transactions.len();
        }
        assert_eq!(transactions, 300);
    }
    scene.node.stop().await.expect("a clean end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_announced_transactions_of_one_sender_are_fetched_and_mined() {
    for version in EthVersion::ALL {
        let scene = Scene::new().await;
        let mut peer = scene.peer(version).await;
        let held: Vec<Transaction> = (0..2_000).map(|nonce| scene.transfer(nonce)).collect();
        let by_hash: HashMap<B256, &Transaction> = held.iter().map(|tx| (*tx.hash(), tx)).collect();
        let announced = held
            .iter()
            .map(|tx| Announced { hash: *tx.hash(), kind: (version != EthVersion::V66).then(|| (0, tx.encode_2718_len() as u32)) });
        peer.send(EthMessage::NewPooledTransactionHashes(announced.collect()));
        let mut left = held.len();
        while left > 0 {
            let (request_id, hashes) = peer
                .answer(|message| match message {
                    EthMessage::GetPooledTransactions { request_id, hashes } => Some((request_id, hashes)),
                    _ => None,
                })
                .await;
            let transactions: Vec<Transaction> = hashes.iter().map(|hash| by_hash[hash].clone()).collect();
            left -= transactions.len();
            peer.send(EthMessage::PooledTransactions { request_id, transactions });
        }
        scene.mined(2_000).await;
        scene.node.stop().await.expect("a clean end");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invalid_transactions_are_never_announced_and_valid_ones_are() {
    let scene = Scene::new().await;
    let sender = scene.peer(EthVersion::V69).await;
    let mut listener = scene.peer(EthVersion::V68).await;
    sender.send(EthMessage::Transactions(vec![scene.transfer(0)]));
    scene.mined(1).await;

    let stranger = key_file::generate();
    let invalid = [
        ("a nonce that is used", scene.transfer(0)),
        ("another chain", signed(&scene.client, 1338, 1, 21_000)),
        ("too little gas", signed(&scene.client, 1337, 1, 20_999)),
        ("more gas than a block has", signed(&scene.client, 1337, 1, 1_000_000_000)),
        ("no balance", signed(&stranger, 1337, 0, 21_000)),
    ];
    let names: HashMap<B256, &str> = invalid.iter().map(|(name, tx)| (*tx.hash(), *name)).collect();
    sender.send(EthMessage::Transactions(invalid.iter().map(|(_, tx)| tx.clone()).collect()));
    let valid = scene.transfer(1);
    sender.send(EthMessage::Transactions(vec![valid.clone()]));

    // The first, valid one may be told late; the invalid ones would be told before the last.
    let mut told = Vec::new();
    while !told.contains(valid.hash()) {
        told = listener
            .answer(|message| match message {
                EthMessage::Transactions(all) => Some(all.iter().map(|tx| *tx.hash()).collect::<Vec<B256>>()),
                EthMessage::NewPooledTransactionHashes(all) => Some(all.iter().map(|one| one.hash).collect()),
                _ => None,
            })
            .await;
        let wrong: Vec<&str> =
            told.iter().filter(|hash| *hash != scene.transfer(0).hash()).filter_map(|hash| names.get(hash).copied()).collect();
        assert!(wrong.is_empty(), "told: {wrong:?}");
    }
    scene.mined(2).await;
    scene.node.stop().await.expect("a clean end");
}

/// Promise 5: what peers claim turns no readiness DOWN, no `eth_syncing` true, and keeps no transaction out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claimed_height_makes_no_node_unready_nor_refuse_transactions() {
    let scene = Scene::new().await;
    let mut liars = Vec::new();
    for version in [EthVersion::V68, EthVersion::V69] {
        liars.push(scene.peer(version).await);
    }
    let hash = B256::repeat_byte(0xaa);
    for nonce in 0..12 {
        for (liar, number) in liars.iter().zip([u64::MAX, 1_000_000]) {
            liar.send(EthMessage::NewBlockHashes(vec![BlockHashNumber { hash, number }]));
        }
        liars[1].send(EthMessage::BlockRangeUpdate { earliest: 0, latest: u64::MAX, latest_hash: hash });
        let raw = format!("[\"0x{}\"]", alloy_primitives::hex::encode(scene.transfer(nonce).encoded_2718()));
        let sent = scene.ask("eth_sendRawTransaction", raw).await;
        assert!(sent["result"].is_string(), "{sent}");
        scene.mined(nonce + 1).await;
        assert_eq!(scene.ask("eth_syncing", "[]".to_owned()).await["result"], false);
        let http = scene.http;
        let ready = tokio::task::spawn_blocking(move || get(http, "/readiness")).await.expect("no panic");
        assert!(ready.contains("200"), "{ready}");
    }
    scene.node.stop().await.expect("a clean end");
}
