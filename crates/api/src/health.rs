//! Health endpoints, on the JSON-RPC port and on the metrics port.
//!
//! `/liveness` and `/readiness` answer as Besu's. `/live` is the former by another name; `/health` says the same with
//! the figures behind it, for people and for load balancers that read JSON.
//!
//! What counts is proven: how far the chain has come by seals and signed messages of its validators. A height that peers
//! merely claim turns nothing DOWN.

use crate::backend::Api;
use axum::http::{StatusCode, header::CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use ipe_chain::{Asked, Ledger};
use ipe_engine::{RefusedBlock, Status};
use serde::Serialize;

/// Besu's default for `minPeers` of the readiness check.
const MIN_PEERS: usize = 1;
/// Besu's default for `maxBlocksBehind` of the readiness check.
const MAX_BEHIND: u64 = 2;

fn word(up: bool) -> &'static str {
    if up { "UP" } else { "DOWN" }
}

fn reply(up: bool, body: String) -> Response {
    let status = if up { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(CONTENT_TYPE, "application/json")], body).into_response()
}

/// What [`answer`] knows. These are answered also when all connections of a listener are taken.
pub const PATHS: [&str; 4] = ["/liveness", "/live", "/readiness", "/health"];

/// The answer to a GET of this path; `None` when it is no health endpoint.
pub fn answer(api: &Api, path: &str, query: &str) -> Option<Response> {
    match path {
        "/liveness" | "/live" => Some(liveness()),
        "/readiness" => Some(readiness(api, query)),
        "/health" => Some(health(api)),
        _ => None,
    }
}

/// The process answers.
fn liveness() -> Response {
    reply(true, r#"{"status":"UP"}"#.into())
}

/// Enough peers and not behind; `query` may change both bounds (`minPeers=…&maxBlocksBehind=…`).
fn readiness(api: &Api, query: &str) -> Response {
    let mut min_peers = MIN_PEERS;
    let mut max_behind = MAX_BEHIND;
    for pair in query.split('&') {
        match pair.split_once('=') {
            Some(("minPeers", v)) => match v.parse() {
                Ok(v) => min_peers = v,
                Err(_) => return reply(false, r#"{"status":"DOWN"}"#.into()),
            },
            Some(("maxBlocksBehind", v)) => match v.parse() {
                Ok(v) => max_behind = v,
                Err(_) => return reply(false, r#"{"status":"DOWN"}"#.into()),
            },
            _ => {}
        }
    }
    let up = ready(api, min_peers, max_behind);
    reply(up, format!(r#"{{"status":"{}"}}"#, word(up)))
}

fn ready(api: &Api, min_peers: usize, max_behind: u64) -> bool {
    api.backend.status.stuck().is_none()
        && reason(&api.backend.status.get(), api.backend.ledger.head().number, min_peers, max_behind).is_none()
}

/// Why the node is not ready; `None` when it is.
fn reason(status: &Status, head: u64, min_peers: usize, max_behind: u64) -> Option<String> {
    if let Some(block) = status.refused_block.as_ref().filter(|block| block.number > head) {
        let RefusedBlock { number, hash, rule } = block;
        return Some(format!(
            "cannot follow the network: block {number} ({hash}), sealed by a quorum, breaks the rule {rule} here"
        ));
    }
    let behind = status.best_known.saturating_sub(head);
    if behind > max_behind {
        return Some(format!("{behind} blocks behind"));
    }
    let peers: usize = status.peers.iter().map(|(_, n)| n).sum();
    (peers < min_peers).then(|| format!("{peers} peers, at least {min_peers} are needed"))
}

/// Readiness with its figures.
fn health(api: &Api) -> Response {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Health<'a> {
        status: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        version: &'a str,
        height: u64,
        best_known: u64,
        seconds_since_block: u64,
        round: Option<u32>,
        fault_margin: i64,
        /// Why this validator signs nothing at present.
        #[serde(skip_serializing_if = "Option::is_none")]
        abstains: Option<String>,
        peers: usize,
        pending_transactions: usize,
        last_error: Option<&'a str>,
        /// What to look after although all is well.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        warnings: Vec<String>,
    }
    let status = api.backend.status.get();
    let head = api.backend.ledger.head();
    // While the replica is stuck the snapshot is of before, and says nothing about now.
    let stuck = api.backend.status.stuck();
    let reason = match &stuck {
        Some(why) => Some(why.to_string()),
        None => reason(&status, head.number, MIN_PEERS, MAX_BEHIND),
    };
    let up = reason.is_none();
    let body = Health {
        status: word(up),
        reason,
        version: &api.settings.client_version,
        height: head.number,
        best_known: status.best_known.max(head.number),
        seconds_since_block: (Api::now_ms() / 1000).saturating_sub(head.header.timestamp),
        round: status.round,
        fault_margin: status.fault_margin,
        abstains: status.abstains.map(|doubt| doubt.to_string()),
        peers: status.peers.iter().map(|(_, n)| n).sum(),
        // Whatever the replica is stuck in, it may hold the pool.
        pending_transactions: match stuck {
            None => api.backend.pool.lock().statistics().count,
            Some(_) => api.backend.pool.try_lock().map_or(0, |pool| pool.statistics().count),
        },
        last_error: stuck.as_deref().or(status.last_error.as_deref()),
        warnings: [(api.backend.advice)(), broken_rules(&api.backend.ledger)].concat(),
    };
    match serde_json::to_string(&body) {
        Ok(text) => reply(up, text),
        Err(_) => reply(false, r#"{"status":"DOWN"}"#.into()),
    }
}

/// Contracts with rules that give no answer, one sentence each.
fn broken_rules(ledger: &Ledger) -> Vec<String> {
    let of = |asked, what: &str, effect: &str| {
        let report = ledger.rules_report(asked);
        let (contract, fault) = (report.contract?, report.fault?);
        Some(format!(
            "the contract with the rules of {what} ({contract}) gives no answer: {fault}; {effect} until the rules are repaired or the \
             genesis names another contract from a height on (docs/permissioning.md)"
        ))
    };
    let accounts = of(Asked::Accounts, "accounts", "only empty blocks are valid");
    accounts.into_iter().chain(of(Asked::Nodes, "nodes", "no new connection is made")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(peers: usize, best_known: u64) -> Status {
        Status { best_known, peers: vec![(None, peers)], ..Status::default() }
    }

    #[test]
    fn not_ready_has_a_reason() {
        assert_eq!(reason(&status(1, 9), 7, 1, 2), None);
        assert_eq!(reason(&status(1, 10), 7, 1, 2).as_deref(), Some("3 blocks behind"));
        assert_eq!(reason(&status(0, 7), 7, 1, 2).as_deref(), Some("0 peers, at least 1 are needed"));
    }

    /// One block behind is no delay, but this node will never come to it.
    #[test]
    fn a_node_that_refuses_a_final_block_is_not_ready_and_names_the_rule() {
        let block = RefusedBlock { number: 8, hash: Default::default(), rule: "state_root" };
        let status = Status { refused_block: Some(block), ..status(4, 8) };
        let told = reason(&status, 7, 1, 2).expect("a reason");
        assert!(told.contains("block 8 (0x0000") && told.contains("the rule state_root"), "{told}");
        assert_eq!(reason(&status, 8, 1, 2), None, "it has come to it");
    }
}
