//! `ipe_*`: what only this node answers.

use crate::allowance::Allowance;
use crate::backend::Api;
use crate::error::RpcError;
use crate::params::Params;
use crate::wire::json;
use alloy_consensus::TxReceipt;
use alloy_primitives::{Address, B256};
use ipe_engine::pool::Why;
use ipe_types::Checkpoint;
use serde::Serialize;
use std::collections::BTreeMap;

type Answer = Result<Vec<u8>, RpcError>;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    version: String,
    network_id: u64,
    address: Address,
    height: u64,
    head: B256,
    /// The head as the setting `checkpoint` of another node takes it: a block of QBFT is final.
    checkpoint: Option<String>,
    head_timestamp: u64,
    round: Option<u32>,
    validating: bool,
    abstains: Option<String>,
    validators: Vec<Address>,
    validators_heard: Vec<Address>,
    fault_margin: i64,
    syncing: Option<Progress>,
    best_known: u64,
    refused_block: Option<Refused>,
    peers: BTreeMap<&'static str, usize>,
    relay: Relay,
    round_changes: u64,
    proposed: u64,
    build_budget_gas: u64,
    pool: Pool,
    last_error: Option<String>,
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct Refused {
    number: u64,
    hash: B256,
    rule: &'static str,
}

#[derive(Serialize)]
struct Progress {
    start: u64,
    current: u64,
    highest: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Relay {
    relayed: u64,
    duplicates: u64,
    malformed: u64,
    author: u64,
    window: u64,
    budget: u64,
    peers_cut: u64,
}

#[derive(Serialize)]
struct Pool {
    count: usize,
    ready: usize,
    local: usize,
    bytes: usize,
    senders: usize,
    room: usize,
    refused: u64,
}

pub(crate) fn status(api: &Api, _: &Params<'_>) -> Answer {
    let status = api.backend.status.get();
    let head = api.backend.ledger.head();
    let pool = api.backend.pool.lock().statistics();
    let mut peers = BTreeMap::new();
    for (role, count) in &status.peers {
        *peers.entry(role.map_or("unknown", |r| r.name())).or_default() += count;
    }
    let body = Status {
        version: api.settings.client_version.clone(),
        network_id: api.settings.network_id,
        address: api.settings.address,
        height: head.number,
        head: head.hash,
        checkpoint: (head.number > 0).then(|| Checkpoint { number: head.number, hash: head.hash }.to_string()),
        head_timestamp: head.header.timestamp,
        round: status.round,
        validating: status.validating,
        abstains: status.abstains.map(|doubt| doubt.to_string()),
        validators: status.validators.clone(),
        validators_heard: status.validators_heard.clone(),
        fault_margin: status.fault_margin,
        syncing: status.sync.map(|s| Progress { start: s.start, current: s.current, highest: s.highest }),
        best_known: status.best_known.max(head.number),
        refused_block: status.refused_block.as_ref().map(|block| Refused {
            number: block.number,
            hash: block.hash,
            rule: block.rule,
        }),
        peers,
        relay: Relay {
            relayed: status.relayed,
            duplicates: status.duplicates,
            malformed: status.refused.malformed,
            author: status.refused.author,
            window: status.refused.window,
            budget: status.refused.budget,
            peers_cut: status.peers_cut,
        },
        round_changes: status.round_changes,
        proposed: status.proposed,
        build_budget_gas: status.build_budget_gas,
        pool: Pool {
            count: pool.count,
            ready: pool.ready,
            local: pool.local,
            bytes: pool.bytes,
            senders: pool.senders,
            room: pool.room,
            refused: api.gate.refused(),
        },
        last_error: status.last_error.clone(),
        warnings: (api.backend.advice)(),
    };
    json(&body, api.settings.response_limit)
}

pub(crate) fn why_not_mined(api: &Api, params: &Params<'_>, _: &Allowance) -> Answer {
    #[derive(Serialize)]
    struct Body {
        hash: B256,
        why: &'static str,
        english: String,
        portuguese: String,
    }
    let hash = params.hash(0, &RpcError::TRANSACTION_HASH)?;
    let why = match api.transaction_place(hash)? {
        Some((number, index)) => {
            let receipts = api.block_receipts(number)?.ok_or(RpcError::BLOCK_NOT_FOUND)?;
            let succeeded = receipts.get(index).is_some_and(TxReceipt::status);
            Why::Mined { block: number, succeeded }
        }
        None => api.backend.pool.lock().why(&hash),
    };
    let body = Body { hash, why: why.label(), english: why.english(), portuguese: why.portuguese() };
    json(&body, api.settings.response_limit)
}
