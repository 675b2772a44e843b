//! `ipe peer why`: why a node is connected to another, or not, from its own point of view.

use super::explain::{about_pair, node, short};
use super::network::{Network, Reach};
use super::text::{clean, print_json};
use crate::failure::{Failure, Outcome};
use crate::rpc::CallError;
use clap::Subcommand;
use ipe_types::NodeId;
use serde_json::{Value, json};

/// Most peers that a node's answer may have.
const MAX_PEERS: usize = 10_000;

#[derive(Subcommand)]
pub enum PeerCommand {
    /// Say why the node behind --rpc is connected to another, or is not. The group ADMIN of JSON-RPC has to be on.
    Why {
        /// Enode URL, or the other node's public key of 128 hex digits.
        #[arg(value_parser = node, value_name = "ENODE")]
        enode: NodeId,
        #[command(flatten)]
        reach: Reach,
    },
}

pub fn run(command: PeerCommand) -> Outcome {
    let PeerCommand::Why { enode, reach } = command;
    let network = Network::open(&reach, None)?;
    let link = &network.link;
    let info = link.must("admin_nodeInfo", json!([]))?;
    let own = info["id"]
        .as_str()
        .and_then(|id| node(id.trim_start_matches("0x")).ok())
        .ok_or_else(|| link.wrong("admin_nodeInfo", &info["id"], "a node's key of 128 hex digits"))?;
    if own == enode {
        return Err(Failure::Usage(format!("{} is the node behind {} itself", short(enode), link.url())));
    }
    let peers = link.must("admin_peers", json!([]))?;
    let list = peers
        .as_array()
        .filter(|list| list.len() <= MAX_PEERS)
        .ok_or_else(|| link.wrong("admin_peers", &json!(peers.as_array().map(Vec::len)), "a list of at most 10000 peers"))?;
    let connection = list.iter().find(|peer| id_of(peer) == Some(enode));
    let mut sentences = Vec::new();
    match connection {
        Some(peer) => {
            let inbound = peer["network"]["inbound"].as_bool().unwrap_or_default();
            let address = peer["network"]["remoteAddress"].as_str().map(clean).unwrap_or_default();
            sentences.push(format!(
                "they are connected: {}, {address}",
                if inbound { "the other node opened the connection" } else { "this node opened the connection" }
            ));
        }
        None => sentences.push(format!("they are not connected; this node has {} peers", list.len())),
    }
    let local = allow_list(&network, enode)?;
    sentences.push(match local {
        None => "this node has no local list of nodes".to_owned(),
        Some(true) => "the other node is on this node's local list".to_owned(),
        Some(false) => "the other node is NOT on this node's local list (perm_getNodesAllowlist): this node refuses it".to_owned(),
    });
    let explained = about_pair(&network, own, enode)?;
    let enforced = info["ipe"]["permissioning"].as_bool();
    if reach.json {
        print_json(&json!({
            "network": network.json(), "own": own, "other": enode, "connected": connection.is_some(), "onLocalList": local,
            "contract": { "allowed": explained.allowed, "because": explained.because, "since": explained.since, "change": explained.change },
            "enforced": enforced, "sentences": sentences,
        }));
        return Ok(());
    }
    println!("this node   {own}");
    println!("the other   {enode}");
    for sentence in sentences {
        println!("{sentence}");
    }
    println!("the contracts: (a node follows them only if its permissioning is on)");
    explained.print(&network, false)?;
    if connection.is_none() && local != Some(false) && explained.allowed != Some(false) {
        println!(
            "no rule forbids it: the other node may be down, out of reach, full, or neither of them dials the other (static nodes, discovery, topology)"
        );
    }
    Ok(())
}

fn id_of(peer: &Value) -> Option<NodeId> {
    let of = |text: &str| node(text.trim_start_matches("0x")).ok();
    peer["enode"].as_str().and_then(of).or_else(|| peer["id"].as_str().and_then(of))
}

/// Whether a node is on the local list; `None` when there is none, or the node does not tell.
fn allow_list(network: &Network, id: NodeId) -> Result<Option<bool>, Failure> {
    match network.link.ask("perm_getNodesAllowlist", json!([])) {
        Ok(Value::Array(list)) => Ok(Some(list.iter().filter_map(Value::as_str).any(|enode| node(enode) == Ok(id)))),
        Ok(_) | Err(CallError::Refused { .. }) => Ok(None),
        Err(error) => Err(Failure::Failed(network.link.sentence("perm_getNodesAllowlist", error))),
    }
}
