//! `admin_*`: peers and the node's own identity (`besu-compat` 7.1).

use crate::backend::Api;
use crate::error::RpcError;
use crate::params::Params;
use crate::wire::json;
use alloy_primitives::{B256, U256, hex};
use ipe_engine::Control;
use ipe_engine::control::PeerControl;
use ipe_types::Enode;
use serde::Serialize;
use serde_json::{Map, Value};

type Answer = Result<Vec<u8>, RpcError>;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Network {
    local_address: String,
    remote_address: String,
    inbound: bool,
}

#[derive(Serialize)]
struct EthPeer {
    difficulty: U256,
    head: B256,
    version: u32,
}

#[derive(Serialize)]
struct Peer {
    version: &'static str,
    name: String,
    caps: Vec<String>,
    network: Network,
    port: String,
    id: String,
    protocols: Map<String, Value>,
    enode: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
}

pub(crate) fn peers(api: &Api, _: &Params<'_>) -> Answer {
    let peers = api.ask(|reply| Control::Peer(PeerControl::List(reply)))?;
    let list: Vec<Peer> = peers
        .into_iter()
        .map(|p| {
            let id = hex::encode(p.id);
            let mut protocols = Map::new();
            let eth = EthPeer {
                difficulty: p.total_difficulty.unwrap_or_default(),
                head: p.head.unwrap_or_default(),
                version: p.eth_version,
            };
            if let Ok(eth) = serde_json::to_value(eth) {
                protocols.insert("eth".to_owned(), eth);
            }
            let enode = format!("enode://{id}@{}:{}", host(p.remote.ip()), p.listen_port);
            Peer {
                version: "0x5",
                name: p.client,
                caps: p.capabilities,
                network: Network { local_address: p.local.to_string(), remote_address: p.remote.to_string(), inbound: p.inbound },
                port: format!("{:#x}", p.remote.port()),
                id: format!("0x{id}"),
                protocols,
                enode,
                role: p.role.map(|r| r.name()),
            }
        })
        .collect();
    json(&list, api.settings.response_limit)
}

fn host(ip: std::net::IpAddr) -> String {
    match ip {
        std::net::IpAddr::V4(ip) => ip.to_string(),
        std::net::IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

pub(crate) fn node_info(api: &Api, _: &Params<'_>) -> Answer {
    let info = api.ask(|reply| Control::Peer(PeerControl::NodeInfo(reply)))?;
    let head = api.backend.ledger.head();
    let spec = api.backend.ledger.spec();
    let id = hex::encode(info.id);
    let port = info.listen.map_or(0, |a| a.port());
    let ip = info.listen.map_or_else(|| "127.0.0.1".to_owned(), |a| host(a.ip()));
    let enode = match (&info.enode, &api.settings.enode) {
        (Some(enode), _) => enode.to_string(),
        (None, Some(enode)) => enode.clone(),
        // A node without a port is known by its key; Besu writes port 0 for "does not listen".
        (None, None) => format!("enode://{id}@{ip}:0"),
    };
    let mut ports = Map::new();
    ports.insert("discovery".into(), Value::from(port));
    ports.insert("listener".into(), Value::from(port));
    let mut eth = Map::new();
    eth.insert("config".into(), genesis_config(api));
    // A JSON number in Besu; the difficulty of a QBFT chain is its height plus one and fits.
    eth.insert("difficulty".into(), Value::from(u64::try_from(head.total_difficulty).unwrap_or(u64::MAX)));
    eth.insert("genesis".into(), Value::from(spec.genesis_hash().to_string()));
    eth.insert("head".into(), Value::from(head.hash.to_string()));
    eth.insert("network".into(), Value::from(api.settings.network_id));
    let mut protocols = Map::new();
    protocols.insert("eth".into(), Value::Object(eth));
    let mut out = Map::new();
    out.insert("enode".into(), Value::from(enode));
    out.insert("listenAddr".into(), Value::from(format!("{ip}:{port}")));
    out.insert("ip".into(), Value::from(ip));
    out.insert("name".into(), Value::from(info.client));
    out.insert("id".into(), Value::from(id));
    out.insert("ports".into(), Value::Object(ports));
    out.insert("protocols".into(), Value::Object(protocols));
    out.insert("activeFork".into(), Value::from(spec.fork_at(head.number, head.header.timestamp).name()));
    out.insert("role".into(), Value::from(info.role.name()));
    json(&out, api.settings.response_limit)
}

fn genesis_config(api: &Api) -> Value {
    let spec = api.backend.ledger.spec();
    let mut config = Map::new();
    config.insert("chainId".into(), Value::from(spec.chain_id()));
    Value::Object(config)
}

fn enode(params: &Params<'_>) -> Result<Enode, RpcError> {
    let text: String = params.required(0, &RpcError::new(-32602, "Invalid peer params"))?;
    text.parse().map_err(|e| RpcError::said(-32000, format!("Unable to add peer: not an enode URL ({e})")))
}

pub(crate) fn add_peer(api: &Api, params: &Params<'_>) -> Answer {
    let enode = enode(params)?;
    let own = api.ask(|reply| Control::Peer(PeerControl::NodeInfo(reply)))?;
    if enode.id == own.id {
        return Err(RpcError::new(-32100, "Cannot add local node as peer."));
    }
    let added = api.ask(|reply| Control::Peer(PeerControl::Add(enode, reply)))?;
    json(&added.map_err(|_| RpcError::new(-32000, "Cannot add a non-permitted node as a peer"))?, 16)
}

pub(crate) fn remove_peer(api: &Api, params: &Params<'_>) -> Answer {
    let enode = enode(params)?;
    let removed = api.ask(|reply| Control::Peer(PeerControl::Remove(enode, reply)))?;
    json(&removed, 16)
}

pub(crate) fn change_log_level(api: &Api, params: &Params<'_>) -> Answer {
    let bad = RpcError::new(-32602, "Invalid log level params");
    let level: String = params.required(0, &bad)?;
    let targets: Vec<String> = params.optional(1, &bad)?.unwrap_or_default();
    if !(api.backend.log_level)(&level, &targets) {
        return Err(bad);
    }
    Ok(b"\"Success\"".to_vec())
}
