//! `txpool_*`: Besu's listings and, from Besu 26.4 on, go-ethereum's.

use crate::allowance::Allowance;
use crate::backend::Api;
use crate::error::RpcError;
use crate::params::{Params, address, number, word};
use crate::shapes::RpcTransaction;
use crate::wire::json;
use alloy_primitives::{Address, B256, U64, U256};
use ipe_engine::pool::Held;
use ipe_types::utc;
use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// Most transactions one listing shows: a full answer stays under 16 MB and the pool's lock is held for some milliseconds.
const MAX_LISTED: usize = 10_000;

type Answer = Result<Vec<u8>, RpcError>;

fn held(api: &Api, keep: impl Fn(&Held) -> bool) -> Vec<Held> {
    api.backend.pool.lock().iter().filter(keep).take(MAX_LISTED).collect()
}

pub(crate) fn besu_statistics(api: &Api, _: &Params<'_>) -> Answer {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Statistics {
        max_size: i64,
        local_count: usize,
        remote_count: usize,
    }
    let statistics = api.backend.pool.lock().statistics();
    // -1 as from Besu's layered pool: the bound is by bytes and pace, not by count alone.
    json(
        &Statistics {
            max_size: -1,
            local_count: statistics.local,
            remote_count: statistics.count.saturating_sub(statistics.local),
        },
        256,
    )
}

pub(crate) fn besu_transactions(api: &Api, _: &Params<'_>, allowance: &Allowance) -> Answer {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Entry {
        hash: B256,
        is_received_from_local_source: bool,
        added_to_pool_at: String,
    }
    let list: Vec<Entry> = held(api, |_| true)
        .into_iter()
        .map(|h| Entry { hash: h.candidate.hash, is_received_from_local_source: h.local, added_to_pool_at: utc::millis(h.at) })
        .collect();
    allowance.json(&list)
}

/// One condition of `txpool_besuPendingTransactions`.
enum Condition {
    From(Address),
    To(Option<Address>),
    Number { field: Field, order: std::cmp::Ordering, than: U256 },
}

#[derive(Clone, Copy)]
enum Field {
    Value,
    Gas,
    GasPrice,
    Nonce,
}

impl Condition {
    fn holds(&self, held: &Held) -> bool {
        let tx = &held.candidate.tx;
        match self {
            Self::From(from) => held.candidate.sender == *from,
            Self::To(to) => tx.to() == *to,
            Self::Number { field, order, than } => {
                let value = match field {
                    Field::Value => tx.value(),
                    Field::Gas => U256::from(tx.gas_limit()),
                    Field::GasPrice => tx.max_fee_per_gas(),
                    Field::Nonce => U256::from(tx.nonce()),
                };
                value.cmp(than) == *order
            }
        }
    }
}

fn conditions(raw: &str) -> Result<Vec<Condition>, RpcError> {
    let bad = RpcError::new(-32602, "Invalid pending transactions params");
    let fields: BTreeMap<String, BTreeMap<String, Box<RawValue>>> = serde_json::from_str(raw).map_err(|_| bad.clone())?;
    let mut out = Vec::new();
    for (name, operators) in &fields {
        for (operator, value) in operators {
            let text = value.get().trim_matches('"');
            let order = match operator.as_str() {
                "eq" => std::cmp::Ordering::Equal,
                "gt" => std::cmp::Ordering::Greater,
                "lt" => std::cmp::Ordering::Less,
                "action" => {
                    if name == "to" && text == "contract_creation" {
                        out.push(Condition::To(None));
                        continue;
                    }
                    return Err(bad);
                }
                _ => return Err(bad),
            };
            let field = match name.as_str() {
                "from" => {
                    out.push(Condition::From(address(text).ok_or_else(|| bad.clone())?));
                    continue;
                }
                "to" => {
                    out.push(Condition::To(Some(address(text).ok_or_else(|| bad.clone())?)));
                    continue;
                }
                "value" => Field::Value,
                "gas" => Field::Gas,
                "gasPrice" => Field::GasPrice,
                "nonce" => Field::Nonce,
                _ => return Err(bad),
            };
            let than = word(text).or_else(|| number(text).map(U256::from)).ok_or_else(|| bad.clone())?;
            out.push(Condition::Number { field, order, than });
        }
    }
    Ok(out)
}

pub(crate) fn besu_pending(api: &Api, params: &Params<'_>, allowance: &Allowance) -> Answer {
    let bad = RpcError::new(-32602, "Invalid pending transactions params");
    let limit = params.optional_number(0, &bad)?.map_or(MAX_LISTED, |n| usize::try_from(n).unwrap_or(MAX_LISTED));
    let conditions = params.raw(1).map(conditions).transpose()?.unwrap_or_default();
    let list: Vec<RpcTransaction> =
        held(api, |h| conditions.iter().all(|c| c.holds(h))).iter().take(limit).map(|h| shape(api, h)).collect();
    allowance.json(&list)
}

fn shape(api: &Api, held: &Held) -> RpcTransaction {
    let c = &held.candidate;
    RpcTransaction::new(&c.tx, c.hash, c.sender, None, api.settings.release)
}

pub(crate) fn status(api: &Api, _: &Params<'_>) -> Answer {
    #[derive(Serialize)]
    struct Status {
        pending: U64,
        queued: U64,
    }
    let statistics = api.backend.pool.lock().statistics();
    let pending = U64::from(statistics.ready as u64);
    let queued = U64::from(statistics.count.saturating_sub(statistics.ready) as u64);
    json(&Status { pending, queued }, 256)
}

#[derive(Serialize)]
struct Content<T> {
    pending: BTreeMap<Address, BTreeMap<u64, T>>,
    queued: BTreeMap<Address, BTreeMap<u64, T>>,
}

fn sorted<T>(list: &[Held], mut show: impl FnMut(&Held) -> T) -> Content<T> {
    let mut content = Content { pending: BTreeMap::new(), queued: BTreeMap::new() };
    for held in list {
        let side = if held.ready { &mut content.pending } else { &mut content.queued };
        side.entry(held.candidate.sender).or_default().insert(held.candidate.tx.nonce(), show(held));
    }
    content
}

pub(crate) fn content(api: &Api, _: &Params<'_>, allowance: &Allowance) -> Answer {
    allowance.json(&sorted(&held(api, |_| true), |h| shape(api, h)))
}

pub(crate) fn content_from(api: &Api, params: &Params<'_>, allowance: &Allowance) -> Answer {
    let from = params.address(0, &RpcError::ADDRESS)?;
    let list = api.backend.pool.lock().of_sender(&from);
    let mut content = sorted(&list, |h| shape(api, h));
    #[derive(Serialize)]
    struct Of<T> {
        pending: BTreeMap<u64, T>,
        queued: BTreeMap<u64, T>,
    }
    let of =
        Of { pending: content.pending.remove(&from).unwrap_or_default(), queued: content.queued.remove(&from).unwrap_or_default() };
    allowance.json(&of)
}

pub(crate) fn inspect(api: &Api, _: &Params<'_>, allowance: &Allowance) -> Answer {
    let line = |h: &Held| {
        let tx = &h.candidate.tx;
        let to = tx.to().map_or_else(|| "contract creation".to_owned(), |to| to.to_checksum(None));
        format!("{to}: {} wei + {} gas × {} wei", tx.value(), tx.gas_limit(), tx.max_fee_per_gas())
    };
    allowance.json(&sorted(&held(api, |_| true), line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_of_pending_transactions() {
        assert_eq!(
            conditions(r#"{"from":{"eq":"0x12"},"gas":{"lt":"0x5209"},"to":{"action":"contract_creation"}}"#).map(|c| c.len()),
            Ok(3)
        );
        assert!(conditions(r#"{"from":{"like":"0x12"}}"#).is_err());
        assert!(conditions("7").is_err());
    }
}
