//! Whole nodes over loopback TCP: disk, sockets, JSON-RPC, start and stop.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipe_node::{Endpoints, NodeConfig, RunError, key_file};
use ipe_types::fork::Fork;
use ipe_types::genesis::GenesisBuilder;
use ipe_types::members::{Member, Members};
use ipe_types::{Enode, NodeKey, Role, Topology, U256};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), RunError>>,
}

fn start(config: NodeConfig) -> Running {
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async move {
        let _ = stopped.await;
    };
    let task = tokio::spawn(ipe_node::run(config, shutdown, Arc::new(|_, _| true)));
    Running { stop, task }
}

impl Running {
    async fn stop(self) -> Result<(), RunError> {
        let _ = self.stop.send(());
        tokio::time::timeout(Duration::from_secs(20), self.task).await.expect("the node stops in time").expect("no panic")
    }
}

fn config(dir: &Path, role: Role, topology: Topology) -> NodeConfig {
    let mut config = NodeConfig { data_dir: dir.to_owned(), role, topology, ..NodeConfig::default() };
    config.genesis = Some(dir.parent().expect("a parent").join("genesis.json"));
    config.rpc_http.port = 0;
    config.rpc_http.api = ["ETH", "NET", "WEB3", "QBFT", "ADMIN", "TXPOOL"].map(str::to_owned).to_vec();
    config.p2p_interface = "127.0.0.1".parse().expect("an address");
    config.p2p_port = 0;
    config
}

fn write_genesis(dir: &Path, validators: &[NodeKey]) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
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
        alloc: BTreeMap::new(),
    };
    std::fs::write(dir.join("genesis.json"), genesis.to_json().expect("a valid genesis")).expect("written");
}

/// One JSON-RPC call over a connection of its own; the raw text of the answer.
fn call(address: SocketAddr, method: &str, params: &str) -> String {
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

fn height(address: SocketAddr) -> u64 {
    let answer: serde_json::Value = serde_json::from_str(&call(address, "eth_blockNumber", "[]")).expect("JSON");
    u64::from_str_radix(answer["result"].as_str().expect("a number").trim_start_matches("0x"), 16).expect("hex")
}

async fn endpoints(dir: &Path) -> Endpoints {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(endpoints) = Endpoints::read(dir) {
            return endpoints;
        }
        assert!(Instant::now() < deadline, "the node did not start: {}", dir.display());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn reaches(address: SocketAddr, wanted: u64, patience: Duration) -> u64 {
    let deadline = Instant::now() + patience;
    loop {
        let now = tokio::task::spawn_blocking(move || height(address)).await.expect("no panic");
        if now >= wanted || Instant::now() > deadline {
            return now;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_validator_makes_blocks_stops_and_goes_on() {
    let dir = tempfile::tempdir().expect("a folder");
    let key = key_file::generate();
    write_genesis(dir.path(), std::slice::from_ref(&key));
    let data = dir.path().join("node");
    key_file::write_new(&data.join("key"), &key).expect("written");
    let settings = config(&data, Role::Validator, Topology::Sentry);

    let node = start(settings.clone());
    let open = endpoints(&data).await;
    assert_eq!(open.p2p, None, "a sentry validator opens no port");
    let http = open.rpc_http.expect("JSON-RPC listens");
    assert!(reaches(http, 2, Duration::from_secs(15)).await >= 2);
    // The folder belongs to one process.
    let second = start(settings.clone());
    assert!(matches!(second.task.await.expect("no panic"), Err(RunError::InUse { .. })));
    let before = height(http);
    node.stop().await.expect("a clean end");
    assert_eq!(Endpoints::read(&data), None);

    let node = start(settings);
    let http = endpoints(&data).await.rpc_http.expect("JSON-RPC listens");
    assert!(height(http) >= before, "the chain is still there");
    assert!(reaches(http, before + 2, Duration::from_secs(15)).await >= before + 2);
    node.stop().await.expect("a clean end");
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_sentry_network_of_eight_nodes_makes_blocks() {
    let dir = tempfile::tempdir().expect("a folder");
    let institutions = 4;
    let validators: Vec<NodeKey> = (0..institutions).map(|_| key_file::generate()).collect();
    let boots: Vec<(NodeKey, u16)> = (0..institutions).map(|_| (key_file::generate(), free_port())).collect();
    write_genesis(dir.path(), &validators);
    let enode = |(key, port): &(NodeKey, u16)| Enode {
        id: key.node_id(),
        hosts: vec!["127.0.0.1".to_owned()],
        tcp: *port,
        udp: None,
    };
    let member = |name: String, institution: usize, role: Role, key: &NodeKey| Member {
        name,
        institution: format!("inst{institution}"),
        role,
        node_id: key.node_id(),
        address: key.address(),
        enode: None,
    };
    let mut nodes = Vec::new();
    for institution in 0..institutions {
        nodes.push(member(format!("v{institution}"), institution, Role::Validator, &validators[institution]));
        nodes.push(member(format!("b{institution}"), institution, Role::Boot, &boots[institution].0));
    }
    let members = Members::new(Topology::Sentry, nodes).expect("distinct");
    std::fs::write(dir.path().join("network.json"), members.to_json()).expect("written");

    let mut running = Vec::new();
    let mut folders = Vec::new();
    for institution in 0..institutions {
        for role in [Role::Boot, Role::Validator] {
            let data = dir.path().join(format!("{role}{institution}"));
            let key = if role == Role::Boot { &boots[institution].0 } else { &validators[institution] };
            key_file::write_new(&data.join("key"), key).expect("written");
            let mut settings = config(&data, role, Topology::Sentry);
            settings.institution = format!("inst{institution}");
            settings.members = Some(dir.path().join("network.json"));
            if role == Role::Boot {
                settings.p2p_port = boots[institution].1;
                settings.static_nodes = boots.iter().enumerate().filter(|(i, _)| *i != institution).map(|(_, b)| enode(b)).collect();
            } else {
                settings.static_nodes = vec![enode(&boots[institution])];
            }
            running.push(start(settings));
            folders.push(data);
        }
    }
    for folder in &folders {
        let http = endpoints(folder).await.rpc_http.expect("JSON-RPC listens");
        let reached = reaches(http, 3, Duration::from_secs(30)).await;
        assert!(reached >= 3, "{} is at {reached}", folder.display());
    }
    for node in running {
        node.stop().await.expect("a clean end");
    }
}
