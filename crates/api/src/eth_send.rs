//! `eth_sendRawTransaction`: the one method that must be fast.
//!
//! What costs time (decoding, recovering the sender, the rules that need no pool, the sender's account) happens outside
//! the pool's lock; under overload the request is refused before any of it.

use crate::allowance::Allowance;
use crate::backend::Api;
use crate::error::RpcError;
use crate::params::Params;
use alloy_eips::eip2718::Decodable2718;
use alloy_primitives::hex;
use ipe_chain::Candidate;
use ipe_engine::pool::{Ingress, Origin, Refusal};
use ipe_engine::{Control, admission};
use ipe_types::Transaction;
use std::sync::Arc;

/// Longest raw transaction looked at, in bytes: above every pool's own bound, below the body limit.
const MAX_RAW: usize = 4 << 20;

/// Blocks behind beyond which this node does not judge transactions: its view of nonces and balances is too old. Some blocks
/// of catching up are normal on a loaded machine.
const MAX_BEHIND: u64 = 32;

pub(crate) fn send_transaction(_: &Api, _: &Params<'_>) -> Result<Vec<u8>, RpcError> {
    Err(RpcError::new(
        -32604,
        "The method eth_sendTransaction is not supported. Use eth_sendRawTransaction to send a signed transaction to Besu.",
    ))
}

pub(crate) fn send_raw(api: &Api, params: &Params<'_>, allowance: &Allowance) -> Result<Vec<u8>, RpcError> {
    api.gate.check().map_err(refused)?;
    if api.backend.status.get().sync.is_some_and(|s| s.highest.saturating_sub(s.current) > MAX_BEHIND) {
        return Err(refused(Refusal::Syncing));
    }
    let candidate = decode(api, params)?;
    let hash = candidate.hash;
    let now_ms = (api.backend.steady_ms)();
    let ingress = Ingress::client(allowance.from());
    admission::offer_by(&api.backend.pool, &api.backend.ledger, now_ms, candidate.clone(), Origin::Local, ingress)
        .map_err(refused)?;
    // A full channel means that the node is busy; it announces everything fresh with the next message or block anyway.
    if let Err(error) = api.backend.control.try_send(Control::Announce(vec![candidate])) {
        tracing::debug!(%error, "the node was not told at once of a submitted transaction");
    }
    let mut out = Vec::with_capacity(68);
    out.extend_from_slice(b"\"0x");
    out.extend_from_slice(hex::encode(hash).as_bytes());
    out.push(b'"');
    Ok(out)
}

fn decode(api: &Api, params: &Params<'_>) -> Result<Arc<Candidate>, RpcError> {
    let text = params.text(0).ok_or(RpcError::INVALID_PARAMS)?;
    let digits = text.strip_prefix("0x").unwrap_or(text);
    if digits.is_empty() {
        // Besu 25 stumbles over the empty transaction; 26 says what is wrong.
        return Err(if api.besu26() { RpcError::INVALID_PARAMS } else { RpcError::INTERNAL });
    }
    if digits.len() > 2 * MAX_RAW {
        return Err(refused(Refusal::TooLong { got: digits.len() / 2, most: MAX_RAW }));
    }
    let bytes = hex::decode(digits).map_err(|_| RpcError::INVALID_PARAMS)?;
    let mut rest = bytes.as_slice();
    let tx = Transaction::decode_2718(&mut rest).map_err(|_| RpcError::INVALID_PARAMS)?;
    if !rest.is_empty() {
        return Err(RpcError::INVALID_PARAMS);
    }
    Candidate::recover(tx).map(Arc::new).map_err(|_| refused(Refusal::Signature))
}

/// A refusal with its code and words.
fn refused(refusal: Refusal) -> RpcError {
    metrics::counter!("ipe_rpc_transactions_refused_total", "reason" => refusal.label()).increment(1);
    metrics::counter!(
        "besu_transaction_pool_rejected_total",
        "source" => "local", "priority" => "yes", "reason" => refusal.reason(), "layer" => "txpool"
    )
    .increment(1);
    RpcError::said(refusal.code(), refusal.to_string())
}
