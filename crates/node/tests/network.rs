//! Whole nodes over loopback TCP: disk, sockets, JSON-RPC, start and stop.

mod common;

use std::net::TcpListener;
use std::time::Duration;

use common::{call, config, endpoints, height, reaches, start, write_genesis};
use ipe_node::{Endpoints, NodeConfig, RunError, key_file};
use ipe_types::members::{Member, Members};
use ipe_types::{B256, Checkpoint, Enode, NodeKey, Role, Topology};

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

/// Without a directory, as where the rules are on the chain, and with no place for strangers at all: a boot knows the chain's
/// validators by the addresses of their keys, and whom its operator names. Others are strangers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_boot_without_a_directory_keeps_its_validators_and_named_nodes_places() {
    let dir = tempfile::tempdir().expect("a folder");
    let keys: Vec<NodeKey> = (0..4).map(|_| key_file::generate()).collect();
    let [boot, validator, writer, stranger] = keys.try_into().expect("four");
    write_genesis(dir.path(), std::slice::from_ref(&validator), &[]);
    let port = free_port();
    let enode = Enode { id: boot.node_id(), hosts: vec!["127.0.0.1".to_owned()], tcp: port, udp: None };
    let launch = |name: &str, key: &NodeKey, role: Role, change: &dyn Fn(&mut NodeConfig)| {
        let data = dir.path().join(name);
        key_file::write_new(&data.join("key"), key).expect("written");
        let mut settings = config(&data, role, Topology::Sentry);
        settings.static_nodes = if role == Role::Boot { Vec::new() } else { vec![enode.clone()] };
        change(&mut settings);
        (start(settings), data)
    };
    let (boot, data) = launch("boot", &boot, Role::Boot, &|settings| {
        settings.p2p_port = port;
        settings.max_peers = 0;
        settings.reserved_nodes = vec![(writer.node_id(), Vec::new())];
    });
    let http = endpoints(&data).await.rpc_http.expect("JSON-RPC listens");
    let (stranger, _) = launch("stranger", &stranger, Role::Writer, &|_| {});
    let (writer, _) = launch("writer", &writer, Role::Writer, &|_| {});
    let (validator, _) = launch("validator", &validator, Role::Validator, &|_| {});
    assert!(reaches(http, 2, Duration::from_secs(30)).await >= 2, "the boot hears its validator");
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while !common::call(http, "net_peerCount", "[]").contains("\"0x2\"") {
        assert!(std::time::Instant::now() < deadline, "{}", common::call(http, "net_peerCount", "[]"));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for node in [validator, writer, stranger, boot] {
        node.stop().await.expect("a clean end");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_with_another_history_than_the_checkpoint_is_told_at_the_start() {
    let dir = tempfile::tempdir().expect("a folder");
    let key = key_file::generate();
    write_genesis(dir.path(), std::slice::from_ref(&key), &[]);
    let data = dir.path().join("node");
    key_file::write_new(&data.join("key"), &key).expect("written");
    let mut settings = config(&data, Role::Validator, Topology::Sentry);
    settings.rpc_http.api.push("IPE".to_owned());
    let node = start(settings.clone());
    let http = endpoints(&data).await.rpc_http.expect("JSON-RPC listens");
    assert!(reaches(http, 2, Duration::from_secs(15)).await >= 2);
    let told: serde_json::Value = serde_json::from_str(&call(http, "ipe_status", "[]")).expect("JSON");
    node.stop().await.expect("a clean end");

    // What a running node tells is what the setting takes.
    let known: Checkpoint = told["result"]["checkpoint"].as_str().expect("a text").parse().expect("a checkpoint");
    settings.checkpoint = Some(known);
    let node = start(settings.clone());
    let http = endpoints(&data).await.rpc_http.expect("JSON-RPC listens");
    assert!(reaches(http, known.number + 1, Duration::from_secs(15)).await > known.number);
    node.stop().await.expect("a clean end");

    settings.checkpoint = Some(Checkpoint { hash: B256::repeat_byte(7), ..known });
    let error = start(settings).task.await.expect("no panic").expect_err("another history");
    assert!(matches!(&error, RunError::OffCheckpoint { got, .. } if *got == known.hash), "{error}");
    let text = error.to_string();
    assert!(text.contains("keep the signing journal") && text.contains(&known.hash.to_string()), "{text}");
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
    let enode =
        |(key, port): &(NodeKey, u16)| Enode { id: key.node_id(), hosts: vec!["127.0.0.1".to_owned()], tcp: *port, udp: None };
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
                settings.static_nodes =
                    boots.iter().enumerate().filter(|(i, _)| *i != institution).map(|(_, b)| enode(b)).collect();
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
