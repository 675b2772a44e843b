//! `web3_*`, `net_*`, `rpc_modules` and the small constants of `eth_*`.

use crate::backend::Api;
use crate::error::RpcError;
use crate::params::{Params, bytes};
use crate::table::Groups;
use crate::wire::json;
use alloy_primitives::{U64, keccak256};
use serde_json::{Map, Value};
use std::net::SocketAddr;

type Answer = Result<Vec<u8>, RpcError>;

pub(crate) fn modules(api: &Api, _: &Params<'_>, groups: Groups) -> Answer {
    let map: Map<String, Value> = groups.iter().map(|g| (g.name().to_owned(), Value::from("1.0"))).collect();
    json(&map, api.settings.response_limit)
}

pub(crate) fn client_version(api: &Api, _: &Params<'_>) -> Answer {
    json(&api.settings.client_version, api.settings.response_limit)
}

pub(crate) fn sha3(_: &Api, params: &Params<'_>) -> Answer {
    let data = params.text(0).and_then(bytes).ok_or(RpcError::INVALID_PARAMS)?;
    json(&keccak256(data), 128)
}

pub(crate) fn version(api: &Api, _: &Params<'_>) -> Answer {
    json(&api.settings.network_id.to_string(), 128)
}

pub(crate) fn listening(_: &Api, _: &Params<'_>) -> Answer {
    // Besu's meaning: peer-to-peer networking runs. A validator without a port dials and so runs it too.
    Ok(b"true".to_vec())
}

pub(crate) fn peer_count(api: &Api, _: &Params<'_>) -> Answer {
    let count: usize = api.backend.status.get().peers.iter().map(|(_, n)| n).sum();
    json(&U64::from(count as u64), 128)
}

pub(crate) fn enode(api: &Api, _: &Params<'_>) -> Answer {
    match &api.settings.enode {
        Some(enode) => json(enode, api.settings.response_limit),
        None => Err(RpcError::new(-32000, "Enode URL not available")),
    }
}

pub(crate) fn services(api: &Api, _: &Params<'_>) -> Answer {
    let mut map = Map::new();
    let services = &api.settings.services;
    let listed = [("jsonrpc", services.http), ("ws", services.ws), ("p2p", services.p2p), ("metrics", services.metrics)];
    for (name, address) in listed {
        if let Some(address) = address {
            map.insert(name.to_owned(), place(address));
        }
    }
    json(&map, api.settings.response_limit)
}

fn place(address: SocketAddr) -> Value {
    let mut map = Map::new();
    map.insert("host".to_owned(), Value::from(address.ip().to_string()));
    map.insert("port".to_owned(), Value::from(address.port().to_string()));
    Value::Object(map)
}

pub(crate) fn accounts(_: &Api, _: &Params<'_>) -> Answer {
    Ok(b"[]".to_vec())
}

pub(crate) fn protocol_version(api: &Api, _: &Params<'_>) -> Answer {
    // What each release says; 26.8's 71 is above what this node speaks, but nothing reads it as a promise.
    Ok(if api.besu26() { b"\"0x47\"".to_vec() } else { b"\"0x44\"".to_vec() })
}

pub(crate) fn mining(api: &Api, _: &Params<'_>) -> Answer {
    Ok(if api.backend.status.get().validating { b"true".to_vec() } else { b"false".to_vec() })
}

pub(crate) fn hashrate(_: &Api, _: &Params<'_>) -> Answer {
    Ok(b"\"0x0\"".to_vec())
}

pub(crate) fn coinbase(api: &Api, _: &Params<'_>) -> Answer {
    if api.besu26() {
        return Err(RpcError::METHOD_NOT_ENABLED);
    }
    json(&api.settings.address, 128)
}
