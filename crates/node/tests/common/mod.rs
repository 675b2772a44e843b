//! Whole nodes in the process of the test, and how to ask them.
#![allow(dead_code)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipe_node::{Endpoints, NodeConfig, RunError};
use ipe_types::fork::Fork;
use ipe_types::genesis::{GenesisAccount, GenesisBuilder};
use ipe_types::{Address, NodeKey, Role, Topology, U256};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A node inside of this process.
pub struct Running {
    stop: oneshot::Sender<()>,
    pub task: JoinHandle<Result<(), RunError>>,
}

pub fn start(config: NodeConfig) -> Running {
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async move {
        let _ = stopped.await;
    };
    let task = tokio::spawn(ipe_node::run(config, "ipe/v0/test".to_owned(), shutdown, Arc::new(|_, _| true)));
    Running { stop, task }
}

impl Running {
    /// Asks it to stop, and waits for the end.
    pub async fn stop(self) -> Result<(), RunError> {
        let _ = self.stop.send(());
        tokio::time::timeout(Duration::from_secs(20), self.task).await.expect("the node stops in time").expect("no panic")
    }
}

pub fn config(dir: &Path, role: Role, topology: Topology) -> NodeConfig {
    let mut config = NodeConfig { data_dir: dir.to_owned(), role, topology, ..NodeConfig::default() };
    config.genesis = Some(dir.parent().expect("a parent").join("genesis.json"));
    config.rpc_http.port = 0;
    config.rpc_http.api = ["ETH", "NET", "WEB3", "QBFT", "ADMIN", "TXPOOL"].map(str::to_owned).to_vec();
    config.p2p_interface = "127.0.0.1".parse().expect("an address");
    config.p2p_port = 0;
    config
}

/// Berlin, chain 1337, blocks each second, these validators and rich accounts.
pub fn write_genesis(dir: &Path, validators: &[NodeKey], rich: &[Address]) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    let account = GenesisAccount::funded(U256::from(10).pow(U256::from(24)));
    let genesis = GenesisBuilder {
        chain_id: 1337,
        fork: Fork::Berlin,
        validators: validators.iter().map(NodeKey::address).collect(),
        validator_contract: None,
        bootnodes: Vec::new(),
        period_ms: 1_000,
        empty_period_s: 0,
        request_timeout_s: 4,
        epoch_length: 30_000,
        gas_limit: 30_000_000,
        timestamp: now - 10,
        zero_base_fee: false,
        code_size_limit: None,
        block_reward: U256::ZERO,
        beneficiary: None,
        alloc: rich.iter().map(|address| (*address, account.clone())).collect(),
        permissioning: Vec::new(),
        goquorum: false,
    };
    std::fs::write(dir.join("genesis.json"), genesis.to_json().expect("a valid genesis")).expect("written");
}

/// One JSON-RPC call over a connection of its own; the raw text of the answer.
pub fn call(address: SocketAddr, method: &str, params: &str) -> String {
    let body = format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"{method}\",\"params\":{params}}}");
    let mut stream = TcpStream::connect(address).expect("the listener answers");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("settable");
    let request = format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()
}

/// Status line of a GET.
pub fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("the listener answers");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("settable");
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    answer.lines().next().unwrap_or_default().to_owned()
}

pub fn height(address: SocketAddr) -> u64 {
    let answer: serde_json::Value = serde_json::from_str(&call(address, "eth_blockNumber", "[]")).expect("JSON");
    u64::from_str_radix(answer["result"].as_str().expect("a number").trim_start_matches("0x"), 16).expect("hex")
}

pub async fn endpoints(dir: &Path) -> Endpoints {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(endpoints) = Endpoints::read(dir) {
            return endpoints;
        }
        assert!(Instant::now() < deadline, "the node did not start: {}", dir.display());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub async fn reaches(address: SocketAddr, wanted: u64, patience: Duration) -> u64 {
    let deadline = Instant::now() + patience;
    loop {
        let now = tokio::task::spawn_blocking(move || height(address)).await.expect("no panic");
        if now >= wanted || Instant::now() > deadline {
            return now;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
