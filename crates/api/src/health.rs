//! Health endpoints, on the JSON-RPC port and on the metrics port.
//!
//! `/liveness` and `/readiness` answer as Besu's. `/live` is the former by another name; `/health` says the same with
//! the figures behind it, for people and for load balancers that read JSON.

use crate::backend::Api;
use axum::http::{StatusCode, header::CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
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
    let status = api.backend.status.get();
    let peers: usize = status.peers.iter().map(|(_, n)| n).sum();
    let highest = status.sync.map_or(status.best_known, |s| s.highest.max(status.best_known));
    peers >= min_peers && highest.saturating_sub(api.backend.ledger.head().number) <= max_behind
}

/// Readiness with its figures.
fn health(api: &Api) -> Response {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Health<'a> {
        status: &'a str,
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
    }
    let status = api.backend.status.get();
    let head = api.backend.ledger.head();
    let up = ready(api, MIN_PEERS, MAX_BEHIND);
    let body = Health {
        status: word(up),
        version: &api.settings.client_version,
        height: head.number,
        best_known: status.best_known.max(head.number),
        seconds_since_block: (Api::now_ms() / 1000).saturating_sub(head.header.timestamp),
        round: status.round,
        fault_margin: status.fault_margin,
        abstains: status.abstains.map(|doubt| doubt.to_string()),
        peers: status.peers.iter().map(|(_, n)| n).sum(),
        pending_transactions: api.backend.pool.lock().statistics().count,
        last_error: status.last_error.as_deref(),
    };
    match serde_json::to_string(&body) {
        Ok(text) => reply(up, text),
        Err(_) => reply(false, r#"{"status":"DOWN"}"#.into()),
    }
}
