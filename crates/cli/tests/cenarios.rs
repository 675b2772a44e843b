//! The scenarios of `features/`, in Portuguese, against real processes.
//!
//! Each scenario starts a network of its own and stops it. Scenarios take turns: four institutions are twelve
//! processes.
#![allow(clippy::panic, clippy::unwrap_used, missing_docs)]

mod common;
#[path = "cenarios/governanca.rs"]
mod governanca;
#[path = "cenarios/permissionamento.rs"]
mod permissionamento;

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;

use alloy_consensus::{SignableTransaction, TxLegacy};
use alloy_primitives::{Address, Signature, TxKind, U256};
use common::lab::{Lab, Node};
use common::sockets::{self, Socket};
use cucumber::{World, WriterExt, given, then, when};
use ipe_types::NodeKey;
use serde_json::{Value, json};

#[derive(World, Default)]
struct Rede {
    lab: Option<Lab>,
    arguments: Vec<String>,
    at_fall: u64,
    transaction: Option<Value>,
    removed: Option<Value>,
    contracts: Option<common::contracts::Deployed>,
}

impl std::fmt::Debug for Rede {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "rede {}", self.arguments.join(" "))
    }
}

impl Rede {
    fn lab(&self) -> &Lab {
        self.lab.as_ref().expect("a rede está no ar")
    }
}

#[given(expr = "uma rede de {int} instituições")]
fn network(rede: &mut Rede, institutions: u32) {
    rede.arguments = vec!["--institutions".into(), institutions.to_string()];
}

#[given(expr = "uma rede de {int} instituições com {int} boots em cada uma")]
fn network_with_boots(rede: &mut Rede, institutions: u32, boots: u32) {
    network(rede, institutions);
    rede.arguments.extend(["--boots".into(), boots.to_string()]);
}

#[when("a rede está no ar")]
fn up(rede: &mut Rede) {
    let arguments: Vec<&str> = rede.arguments.iter().map(String::as_str).collect();
    let lab = Lab::up(&arguments);
    lab.all_reach(1);
    rede.lab = Some(lab);
}

#[when(expr = "um boot da instituição {int} é derrubado")]
fn boot_falls(rede: &mut Rede, institution: usize) {
    let lab = rede.lab();
    lab.all_reach(3);
    let boot = of_institution(lab, institution).into_iter().find(|node| node.role == "boot").expect("há um boot");
    lab.ok(&["kill", &boot.name]);
    assert_eq!(lab.node(&boot.name).pid, None, "{} foi derrubado", boot.name);
    rede.at_fall = lab.height();
}

#[when(expr = "o escritor da instituição {int} recebe uma transação")]
fn transaction(rede: &mut Rede, institution: usize) {
    let writer = of_institution(rede.lab(), institution).into_iter().find(|node| node.role == "writer").expect("há um escritor");
    let chain_id = writer.answer("eth_chainId", json!([]));
    let raw = signed_transaction(quantity(&chain_id));
    rede.transaction = Some(writer.answer("eth_sendRawTransaction", json!([raw])));
}

#[then(expr = "a rede chega a pelo menos {int} blocos")]
fn reaches(rede: &mut Rede, blocks: u64) {
    rede.lab().all_reach(blocks);
}

#[then(expr = "a rede produz mais {int} blocos")]
fn goes_on(rede: &mut Rede, blocks: u64) {
    rede.lab().reaches(rede.at_fall + blocks);
}

#[then(expr = "todos os nós concordam sobre o bloco {int}")]
fn agreement(rede: &mut Rede, number: u64) {
    let hashes: HashSet<String> = rede
        .lab()
        .nodes()
        .iter()
        .map(|node| node.answer("eth_getBlockByNumber", json!([format!("{number:#x}"), false])))
        .map(|block| block["hash"].as_str().expect("o nó tem o bloco").to_owned())
        .collect();
    assert_eq!(hashes.len(), 1, "{hashes:?}");
}

#[then("nenhum validador tem conexão com outro validador")]
fn no_link_between_validators(rede: &mut Rede) {
    let open = Open::of(rede.lab());
    for (name, sockets) in &open.of_validators() {
        for socket in sockets.iter().filter(|socket| !socket.listening) {
            let other = open.owner_of_other_end(socket);
            assert!(
                other.is_none_or(|other| other.role != "validator"),
                "{name} tem uma conexão com {}",
                other.map(|node| node.name.as_str()).unwrap_or_default()
            );
        }
    }
}

#[then("cada validador só tem conexão com boots da sua própria instituição")]
fn only_own_boots(rede: &mut Rede) {
    let lab = rede.lab();
    let open = Open::of(lab);
    for validator in lab.with_role("validator") {
        let others: Vec<&Node> = open.sockets[&validator.name]
            .iter()
            .filter(|socket| !socket.listening)
            .filter_map(|socket| open.owner_of_other_end(socket))
            .collect();
        assert!(!others.is_empty(), "{} não tem conexão nenhuma", validator.name);
        for other in others {
            assert_eq!((other.role.as_str(), &other.institution), ("boot", &validator.institution));
        }
    }
}

#[then("nenhum validador anuncia endereço p2p")]
fn no_p2p_address(rede: &mut Rede) {
    for validator in rede.lab().with_role("validator") {
        assert_eq!(validator.p2p, None, "{}", validator.name);
    }
}

#[then("os únicos sockets que um validador abre para escuta são os de consulta e de métricas")]
fn listens_for_questions_only(rede: &mut Rede) {
    let lab = rede.lab();
    let open = Open::of(lab);
    for (name, sockets) in open.of_validators() {
        let endpoints = std::fs::read_to_string(lab.folder().join(&name).join("data").join("endpoints.json"))
            .expect("o nó escreve os seus endereços");
        let endpoints: Value = serde_json::from_str(&endpoints).unwrap();
        let known: Vec<SocketAddr> =
            ["rpcHttp", "rpcWs", "metrics"].iter().filter_map(|key| endpoints[*key].as_str()?.parse().ok()).collect();
        assert!(!known.is_empty(), "{endpoints}");
        for socket in sockets.iter().filter(|socket| socket.listening) {
            assert!(known.contains(&socket.local), "{name} escuta em {}; conhecidos: {known:?}", socket.local);
        }
    }
}

#[then("todo boot escuta em um endereço p2p")]
fn boots_listen(rede: &mut Rede) {
    let open = Open::of(rede.lab());
    for boot in rede.lab().with_role("boot") {
        let address: SocketAddr = boot.p2p.as_deref().expect("um boot anuncia o seu endereço").parse().unwrap();
        let sockets = &open.sockets[&boot.name];
        assert!(
            sockets.iter().any(|socket| socket.listening && socket.local.port() == address.port()),
            "{} não escuta em {address}",
            boot.name
        );
    }
}

#[then(expr = "o validador da instituição {int} acompanha a rede")]
fn keeps_up(rede: &mut Rede, institution: usize) {
    let lab = rede.lab();
    let name = validator_of(lab, institution).name;
    lab.until("o validador acompanha a rede", || lab.node(&name).height.is_some_and(|height| height + 1 >= lab.height()));
}

#[then(expr = "o validador da instituição {int} propõe um bloco depois da queda")]
fn proposes(rede: &mut Rede, institution: usize) {
    let lab = rede.lab();
    let validator = validator_of(lab, institution);
    let address = validator.answer("ipe_status", json!([]))["address"].as_str().expect("um endereço").to_lowercase();
    let mut next = rede.at_fall + 2;
    lab.until("o validador propõe um bloco", || {
        while next <= lab.height() {
            let block = validator.answer("eth_getBlockByNumber", json!([format!("{next:#x}"), false]));
            let Some(miner) = block["miner"].as_str() else { return false };
            if miner.to_lowercase() == address {
                return true;
            }
            next += 1;
        }
        false
    });
}

#[then("a transação é finalizada com sucesso")]
fn finalised(rede: &mut Rede) {
    let lab = rede.lab();
    let hash = rede.transaction.clone().expect("uma transação foi enviada");
    let writer = &lab.with_role("writer")[0];
    lab.until("a transação tem recibo", || {
        let receipt = writer.answer("eth_getTransactionReceipt", json!([hash]));
        assert!(receipt.is_null() || receipt["status"] == "0x1", "{receipt}");
        !receipt.is_null()
    });
}

#[then("todos os nós têm o mesmo recibo da transação")]
fn same_receipt(rede: &mut Rede) {
    let lab = rede.lab();
    let hash = rede.transaction.clone().expect("uma transação foi enviada");
    let mut receipts = BTreeMap::new();
    lab.until("todos os nós têm o recibo", || {
        receipts =
            lab.nodes().iter().map(|node| (node.name.clone(), node.answer("eth_getTransactionReceipt", json!([hash])))).collect();
        receipts.values().all(|receipt| !receipt.is_null())
    });
    let blocks: HashSet<String> =
        receipts.values().map(|receipt| receipt["blockHash"].as_str().expect("um bloco").to_owned()).collect();
    assert_eq!(blocks.len(), 1, "{receipts:?}");
}

/// Open sockets of all running nodes, and whose port is whose.
struct Open {
    nodes: Vec<Node>,
    sockets: BTreeMap<String, Vec<Socket>>,
}

impl Open {
    fn of(lab: &Lab) -> Self {
        let nodes = lab.nodes();
        let sockets = nodes.iter().filter_map(|node| Some((node.name.clone(), sockets::of(node.pid?)))).collect();
        Self { nodes, sockets }
    }

    fn of_validators(&self) -> Vec<(String, Vec<Socket>)> {
        let validators = self.nodes.iter().filter(|node| node.role == "validator");
        validators.map(|node| (node.name.clone(), self.sockets[&node.name].clone())).collect()
    }

    /// The node that holds the other end of a connection; `None` for a process that is not a node (this test).
    fn owner_of_other_end(&self, socket: &Socket) -> Option<&Node> {
        self.nodes.iter().find(|node| {
            self.sockets.get(&node.name).is_some_and(|sockets| {
                sockets.iter().any(|other| !other.listening && other.local == socket.remote && other.remote == socket.local)
            })
        })
    }
}

/// Nodes of the n-th institution, from 1, in the order of the lab.
fn of_institution(lab: &Lab, number: usize) -> Vec<Node> {
    let nodes = lab.nodes();
    let mut names: Vec<String> = Vec::new();
    for node in &nodes {
        if !names.contains(&node.institution) {
            names.push(node.institution.clone());
        }
    }
    let name = names.get(number - 1).unwrap_or_else(|| panic!("não há instituição {number}")).clone();
    nodes.into_iter().filter(|node| node.institution == name).collect()
}

fn validator_of(lab: &Lab, institution: usize) -> Node {
    of_institution(lab, institution).into_iter().find(|node| node.role == "validator").expect("há um validador")
}

fn quantity(value: &Value) -> u64 {
    let text = value.as_str().unwrap_or_default();
    u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap_or_else(|_| panic!("{value} não é uma quantidade"))
}

/// The account of [`signed_transaction`].
fn test_account() -> String {
    NodeKey::from_bytes([9; 32]).unwrap().address().to_string()
}

/// A transfer of nothing at no price, by an account that has nothing: the network is free of fees.
fn signed_transaction(chain_id: u64) -> String {
    signed_transaction_with_nonce(chain_id, 0)
}

fn signed_transaction_with_nonce(chain_id: u64, nonce: u64) -> String {
    let key = NodeKey::from_bytes([9; 32]).unwrap();
    let transaction = TxLegacy {
        chain_id: Some(chain_id),
        nonce,
        gas_price: 0,
        gas_limit: 21_000,
        to: TxKind::Call(Address::repeat_byte(0x77)),
        value: U256::ZERO,
        input: Default::default(),
    };
    let signature = key.sign(transaction.signature_hash());
    let bytes = signature.as_slice();
    let signature = Signature::from_bytes_and_parity(&bytes[..64], bytes[64] == 1);
    let envelope = ipe_types::Transaction::from(transaction.into_signed(signature));
    use alloy_eips::Encodable2718;
    format!("0x{}", hex::encode(envelope.encoded_2718()))
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    Rede::cucumber()
        .max_concurrent_scenarios(1)
        .fail_on_skipped()
        .with_writer(cucumber::writer::Basic::stdout().summarized())
        .run_and_exit(concat!(env!("CARGO_MANIFEST_DIR"), "/../../features"))
        .await;
}
