//! A sentry institution whose boots carry its validator's sessions, whole nodes over loopback TCP.

mod common;

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use common::{call, config, endpoints, height, reaches, start, write_genesis};
use ipe_node::key_file;
use ipe_types::members::{Member, Members};
use ipe_types::{Enode, NodeKey, Role, Topology};

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
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
    write_genesis(dir.path(), &validators, &[]);
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
        settings.static_nodes =
            (1..4).filter(|other| *other != index).map(|other| enode(&validators[other], ports[other])).collect();
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
