//! Whole nodes over loopback TCP: disk, sockets, JSON-RPC, start and stop.

mod common;

use std::net::TcpListener;
use std::time::Duration;

use common::{config, endpoints, height, reaches, start, write_genesis};
use ipe_node::{Endpoints, RunError, key_file};
use ipe_types::members::{Member, Members};
use ipe_types::{Enode, NodeKey, Role, Topology};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_validator_makes_blocks_stops_and_goes_on() {
    let dir = tempfile::tempdir().expect("a folder");
    let key = key_file::generate();
    write_genesis(dir.path(), std::slice::from_ref(&key), &[]);
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
    write_genesis(dir.path(), &validators, &[]);
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

/// Proposer of a block, by its number.
fn proposer(address: SocketAddr, number: u64) -> String {
    let answer = call(address, "eth_getBlockByNumber", &format!("[\"{number:#x}\",false]"));
    let answer: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
    answer["result"]["miner"].as_str().unwrap_or_default().to_owned()
}

/// One institution in sentry form with two boots, beside three validators that know no boots: they connect to each
/// other, and send consensus messages to nodes with a validator's key only, as Besu's do. One of them has the sentry
/// validator's key at a boot's address in its static nodes, the others know nothing of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_sentry_institution_beside_validators_of_another_kind() {
    let dir = tempfile::tempdir().expect("a folder");
    let validators: Vec<NodeKey> = (0..4).map(|_| key_file::generate()).collect();
    let boots: Vec<(NodeKey, u16)> = (0..2).map(|_| (key_file::generate(), free_port())).collect();
    let ports: Vec<u16> = (0..4).map(|_| free_port()).collect();
    write_genesis(dir.path(), &validators);
    let enode = |key: &NodeKey, port| Enode { id: key.node_id(), hosts: vec!["127.0.0.1".to_owned()], tcp: port, udp: None };
    let member = |name: &str, institution: &str, role, key: &NodeKey, enode| Member {
        name: name.to_owned(),
        institution: institution.to_owned(),
        role,
        node_id: key.node_id(),
        address: key.address(),
        enode,
    };
    let mut nodes = vec![member("v0", "ours", Role::Validator, &validators[0], None)];
    for (name, (key, port)) in ["b0", "c0"].into_iter().zip(&boots) {
        nodes.push(member(name, "ours", Role::Boot, key, Some(enode(key, *port))));
    }
    for (index, name) in ["besu1", "besu2", "besu3"].into_iter().enumerate() {
        let (key, port) = (&validators[index + 1], ports[index + 1]);
        nodes.push(member(name, name, Role::Validator, key, Some(enode(key, port))));
    }
    let members = Members::new(Topology::Sentry, nodes).expect("distinct");
    std::fs::write(dir.path().join("network.json"), members.to_json()).expect("written");

    let ours = |name: &str, role, key: &NodeKey| {
        let data = dir.path().join(name);
        key_file::write_new(&data.join("key"), key).expect("written");
        let mut settings = config(&data, role, Topology::Sentry);
        settings.institution = "ours".to_owned();
        settings.members = Some(dir.path().join("network.json"));
        settings
    };
    let mut running = Vec::new();
    for (index, (key, port)) in boots.iter().enumerate() {
        let mut settings = ours(["b0", "c0"][index], Role::Boot, key);
        settings.p2p_port = *port;
        settings.static_nodes = vec![enode(&boots[1 - index].0, boots[1 - index].1)];
        running.push(start(settings));
    }
    let mut settings = ours("v0", Role::Validator, &validators[0]);
    settings.static_nodes = boots.iter().map(|(key, port)| enode(key, *port)).collect();
    assert!(!settings.listens());
    let sentry = start(settings);
    let mut mesh = Vec::new();
    for index in 1..4 {
        let data = dir.path().join(format!("besu{index}"));
        key_file::write_new(&data.join("key"), &validators[index]).expect("written");
        let mut settings = config(&data, Role::Validator, Topology::Mesh);
        settings.p2p_port = ports[index];
        settings.static_nodes = (1..4).filter(|other| *other != index).map(|other| enode(&validators[other], ports[other])).collect();
        if index == 1 {
            settings.static_nodes.push(enode(&validators[0], boots[0].1));
        }
        mesh.push(start(settings));
    }
    let http = |name: &str| {
        let data = dir.path().join(name);
        async move { endpoints(&data).await.rpc_http.expect("JSON-RPC listens") }
    };
    let at_ours = http("v0").await;
    for name in ["v0", "b0", "c0", "besu1", "besu2", "besu3"] {
        let reached = reaches(http(name).await, 6, Duration::from_secs(60)).await;
        assert!(reached >= 6, "{name} is at {reached}");
    }
    let own = validators[0].address().to_string().to_lowercase();
    let by_ours = |from: u64, to: u64| (from..=to).any(|number| proposer(at_ours, number) == own);
    assert!(by_ours(1, 6), "the sentry validator has had its turn");

    // Three of four are needed: with one of the others gone every block has a seal that a boot carried.
    mesh.remove(2).stop().await.expect("a clean end");
    let before = height(at_ours);
    let reached = reaches(at_ours, before + 4, Duration::from_secs(90)).await;
    assert!(reached >= before + 4, "{reached}");

    // And with either boot alone.
    running.remove(0).stop().await.expect("a clean end");
    let before = height(at_ours);
    let reached = reaches(at_ours, before + 5, Duration::from_secs(90)).await;
    assert!(reached >= before + 5, "{reached}");
    let other_boot = reaches(http("c0").await, before + 5, Duration::from_secs(30)).await;
    assert!(other_boot >= before + 5, "{other_boot}");

    for node in running.into_iter().chain(mesh).chain([sentry]) {
        node.stop().await.expect("a clean end");
    }
}
