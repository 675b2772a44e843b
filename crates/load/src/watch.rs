//! Looks for new blocks, as a client that waits for its transaction does.

use std::time::{Duration, Instant};

use alloy_primitives::B256;
use serde_json::json;
use tokio::sync::mpsc;

use crate::http::Connection;
use crate::setup::read_block;

/// A block when it was seen.
#[derive(Debug)]
pub(crate) struct Sight {
    pub(crate) number: u64,
    pub(crate) gas_used: u64,
    pub(crate) hashes: Vec<B256>,
    pub(crate) at: Instant,
}

/// Polls for the block after `head`, then the next, until nobody listens. A failed look is repeated: the endpoint may be
/// starting again.
pub(crate) async fn watch(mut node: Connection, head: u64, poll: Duration, out: mpsc::UnboundedSender<Sight>) {
    let mut next = head + 1;
    while !out.is_closed() {
        let answer = node.call("eth_getBlockByNumber", json!([format!("{next:#x}"), false])).await;
        let at = Instant::now();
        match answer.and_then(|value| read_block("eth_getBlockByNumber", &value)) {
            Ok(Some((number, gas_used, hashes))) => {
                if out.send(Sight { number, gas_used, hashes, at }).is_err() {
                    return;
                }
                next = number + 1;
                // Another one may be there already.
                continue;
            }
            // "Unknown block" is an error at some clients and null at others.
            Ok(None) | Err(_) => tokio::time::sleep(poll).await,
        }
    }
}
