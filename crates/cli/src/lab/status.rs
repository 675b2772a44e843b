//! How a lab is: what every node says about itself.

use super::folder::Folder;
use super::process::running;
use crate::failure::{Failure, Outcome};
use crate::rpc::Client;
use ipe_node::Endpoints;
use ipe_provision::PlannedNode;
use serde::Serialize;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;

/// How long a node may take to say how it is.
const PATIENCE: Duration = Duration::from_secs(3);

/// One node.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    /// `inst1-validator`.
    pub name: String,
    /// `inst1`.
    pub institution: String,
    /// `validator`, `boot`, `writer`.
    pub role: String,
    /// Process id, absent when it does not run.
    pub pid: Option<u32>,
    /// Address of its key.
    pub address: String,
    /// Height of its newest block.
    pub height: Option<u64>,
    /// Hash of it.
    pub hash: Option<String>,
    /// Consensus round, of a validator that takes part.
    pub round: Option<u64>,
    /// Live connections.
    pub peers: Option<u64>,
    /// Where it listens for peers, absent when it does not.
    pub p2p: Option<String>,
    /// JSON-RPC over HTTP and WebSocket.
    pub rpc: Option<String>,
    /// Prometheus.
    pub metrics: Option<String>,
    /// How others name it.
    pub enode: String,
    /// Whether it takes part in consensus.
    pub validating: Option<bool>,
    /// What went wrong last.
    pub last_error: Option<String>,
}

/// The network.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LabStatus {
    /// Folder.
    pub dir: PathBuf,
    /// Processes that run.
    pub running: usize,
    /// Highest block of any node.
    pub height: Option<u64>,
    /// Highest round of any validator.
    pub round: Option<u64>,
    /// Development accounts with their keys.
    pub accounts: PathBuf,
    /// Every node.
    pub nodes: Vec<NodeStatus>,
}

/// A client with the patience of a status question.
pub fn client() -> Result<Client, Failure> {
    Client::new(PATIENCE).map_err(Failure::Failed)
}

/// Asks every running node, all at once.
pub async fn poll(folder: &Folder, client: &Client) -> LabStatus {
    let mut questions = tokio::task::JoinSet::new();
    let mut nodes: Vec<NodeStatus> = Vec::with_capacity(folder.plan.nodes.len());
    for (at, node) in folder.plan.nodes.iter().enumerate() {
        let known = known(folder, node);
        if let (Some(_), Some(url)) = (known.pid, known.rpc.clone()) {
            let client = client.clone();
            questions.spawn(async move { (at, client.call(&url, "ipe_status", json!([])).await) });
        }
        nodes.push(known);
    }
    while let Some(answer) = questions.join_next().await {
        let Ok((at, answer)) = answer else { continue };
        match answer {
            Ok(told) => fill(&mut nodes[at], &told),
            Err(error) => nodes[at].last_error = Some(error),
        }
    }
    LabStatus {
        dir: folder.root().to_owned(),
        running: nodes.iter().filter(|node| node.pid.is_some()).count(),
        height: nodes.iter().filter_map(|node| node.height).max(),
        round: nodes.iter().filter_map(|node| node.round).max(),
        accounts: folder.accounts(),
        nodes,
    }
}

/// What the folder and the process table say.
fn known(folder: &Folder, node: &PlannedNode) -> NodeStatus {
    let pid = running(folder, &node.slot.name).map(|process| process.pid);
    let endpoints = pid
        .and_then(|pid| Endpoints::read(&folder.data_dir(&node.slot.name)).filter(|endpoints| endpoints.pid == pid))
        .unwrap_or_default();
    let url = |address: Option<std::net::SocketAddr>| address.map(|address| format!("http://{address}"));
    NodeStatus {
        name: node.slot.name.clone(),
        institution: node.slot.institution.clone(),
        role: node.slot.role.name().to_owned(),
        pid,
        address: node.identity.address.to_string(),
        height: None,
        hash: None,
        round: None,
        peers: None,
        p2p: endpoints.p2p.map(|address| address.to_string()),
        rpc: url(endpoints.rpc_http).or_else(|| Some(format!("http://127.0.0.1:{}", node.ports.rpc))),
        metrics: url(endpoints.metrics),
        enode: endpoints.enode.unwrap_or_else(|| node.enode.to_string()),
        validating: None,
        last_error: None,
    }
}

/// What the node says (`ipe_status`).
fn fill(node: &mut NodeStatus, told: &Value) {
    let text = |key: &str| told.get(key).and_then(Value::as_str).map(str::to_owned);
    node.height = told.get("height").and_then(Value::as_u64);
    node.hash = text("head").or_else(|| text("hash"));
    node.validating = told.get("validating").and_then(Value::as_bool);
    // Between two heights a validator is in no round; the next one begins in round 0.
    let waiting = (node.validating == Some(true)).then_some(0);
    node.round = told.get("round").and_then(Value::as_u64).or(waiting);
    node.peers = match told.get("peers") {
        Some(Value::Object(by_role)) => Some(by_role.values().filter_map(Value::as_u64).sum()),
        Some(Value::Array(peers)) => Some(peers.len() as u64),
        Some(Value::Number(count)) => count.as_u64(),
        _ => None,
    };
    node.last_error = text("lastError");
}

/// `ipe lab status`.
pub fn run(folder: &Folder, as_json: bool) -> Outcome {
    let client = client()?;
    let status = crate::node::runtime()?.block_on(poll(folder, &client));
    if as_json {
        let text = serde_json::to_string_pretty(&status).map_err(|error| Failure::failed("could not write the status", error))?;
        return crate::failure::print(&format!("{text}\n"));
    }
    let mut text = format!("{}\n", line(&status, None));
    text += &format!(
        "{:<18} {:<13} {:>8} {:>8} {:>5} {:>5}  {:<26} {}\n",
        "node", "role", "pid", "height", "round", "peers", "JSON-RPC", "last error"
    );
    for node in &status.nodes {
        text += &format!(
            "{:<18} {:<13} {:>8} {:>8} {:>5} {:>5}  {:<26} {}\n",
            node.name,
            node.role,
            shown(node.pid),
            shown(node.height),
            shown(node.round),
            shown(node.peers),
            node.rpc.as_deref().unwrap_or("-"),
            if node.pid.is_none() { "stopped" } else { node.last_error.as_deref().unwrap_or("") },
        );
    }
    crate::failure::print(&text)
}

/// A figure, or a dash.
pub fn shown<T: std::fmt::Display>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// The network in one line.
pub fn line(status: &LabStatus, interval: Option<Duration>) -> String {
    let behind = status.nodes.iter().filter(|node| node.pid.is_some() && node.height < status.height).count();
    let interval = interval.map_or_else(|| "-".to_owned(), |interval| format!("{:.2} s", interval.as_secs_f64()));
    format!(
        "height {} round {} interval {interval} running {}/{} behind {behind}",
        shown(status.height),
        shown(status.round),
        status.running,
        status.nodes.len()
    )
}
