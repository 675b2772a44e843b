//! A bare node for other implementations' test tools: listens on TCP and UDP, answers handshakes and discovery.
//!
//! `cargo run -p ipe-p2p --example listen -- 127.0.0.1:30303` prints the enode, then one line an event.

use std::collections::HashMap;
use std::net::SocketAddr;

use ipe_p2p::{Admit, ChainIdentity, DiscoveryConfig, Limits, LocalHead, NetEvent, Network, NetworkConfig};
use ipe_types::eth::EthVersion;
use ipe_types::fork::ForkSchedule;
use ipe_types::fork_id::ForkIds;
use ipe_types::{B256, NodeKey, U256};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listen: SocketAddr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".into()).parse()?;
    let genesis = B256::repeat_byte(0xa7);
    let forks = ForkSchedule::new(Vec::new()).map_err(|_| "forks")?;
    let head = LocalHead { number: 0, timestamp: 0, hash: genesis, total_difficulty: U256::from(1), earliest: 0 };
    let (_keep, head) = tokio::sync::watch::channel(head);
    let (handle, mut events) = Network::start(NetworkConfig {
        key: NodeKey::from_bytes(rand::random())?,
        client: concat!("ipe/v", env!("CARGO_PKG_VERSION")).into(),
        listen: Some(listen),
        advertised: Vec::new(),
        discovery: Some(DiscoveryConfig { listen, bootnodes: Vec::new(), dial_found: false, permits: Default::default() }),
        chain: ChainIdentity { network_id: 1337, genesis, fork_ids: ForkIds::new(genesis, 0, &forks) },
        head,
        eth_versions: EthVersion::ALL.to_vec(),
        istanbul: true,
        ipe: None,
        static_nodes: Vec::new(),
        carried_nodes: Vec::new(),
        carrier: None,
        directory: HashMap::new(),
        admit: Admit::everybody(),
        core: ipe_p2p::Core::default(),
        known_hosts: Vec::new(),
        limits: Limits::default(),
    })
    .await?;
    if let Some(enode) = &handle.local().enode {
        println!("{enode}");
    }
    while let Some(event) = events.recv().await {
        match event {
            NetEvent::Connected(info) => println!("connected {} {}", info.client, info.remote),
            NetEvent::Disconnected { reason, by_us, .. } => println!("disconnected {reason:?} by_us={by_us}"),
            NetEvent::Message(message) => {
                println!("{} {:#04x} {} bytes", message.protocol.name(), message.code, message.payload.len());
            }
        }
    }
    Ok(())
}
