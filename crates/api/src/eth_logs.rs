//! Logs and filters of `eth_*`.
//!
//! Filters cost almost nothing: a log or block filter is a query and the next block to look at, a pending filter is a
//! reader on the ring of the node's notifications. They are bounded in number and forgotten when nobody asks.

use crate::allowance::Allowance;
use crate::backend::Api;
use crate::error::RpcError;
use crate::object::Object;
use crate::params::{BlockTag, Params, address};
use crate::purse::{Lease, Purse};
use crate::shapes::{Place, RpcLog};
use alloy_primitives::{Address, B256, Bloom, Log};
use ipe_chain::logs::{LogLimits, LogsError};
use ipe_engine::Notification;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::TryRecvError;

/// Filters installed at once, three quarters of them by one address: enough for many dApp pages, small enough to walk for expiry.
const MAX_FILTERS: usize = 1000;
/// A filter that nobody asked for this long is forgotten (Besu: 10 minutes).
const EXPIRY: Duration = Duration::from_secs(600);
/// Addresses, and topics per position, in one filter.
const MAX_ALTERNATIVES: usize = 1024;
/// Blocks that are searched between two looks at what the request may still cost.
const STRETCH: u64 = 128;
/// The same for a filter of more than [`FEW`] addresses and topics.
const WIDE_STRETCH: u64 = 1024;
/// See [`WIDE_STRETCH`].
const FEW: usize = 16;
/// Bytes that a log takes beside its data, found and in the form of an answer.
const LOG: usize = 640;
/// Pending transactions that one poll of a filter returns at most.
const MAX_PENDING: usize = 10_000;

type Answer = Result<Vec<u8>, RpcError>;

/// What logs are wanted.
#[derive(Debug, Clone, Default)]
pub struct LogFilter {
    from: Option<BlockTag>,
    to: Option<BlockTag>,
    block_hash: Option<B256>,
    filter: ipe_chain::LogFilter,
    /// Number of topic positions given, wildcards included: a log must have at least as many.
    positions: usize,
}

/// One value or an array of values.
fn alternatives<T>(raw: &RawValue, read: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
    let text = raw.get();
    if text == "null" {
        return Some(Vec::new());
    }
    if text.starts_with('[') {
        let list: Vec<Option<String>> = serde_json::from_str(text).ok()?;
        if list.len() > MAX_ALTERNATIVES {
            return None;
        }
        // A null among alternatives matches everything.
        if list.iter().any(Option::is_none) {
            return Some(Vec::new());
        }
        return list.iter().flatten().map(|t| read(t)).collect();
    }
    let one: String = serde_json::from_str(text).ok()?;
    Some(vec![read(&one)?])
}

impl LogFilter {
    /// From a JSON object.
    ///
    /// # Errors
    /// -32602 "Invalid filter params".
    pub fn read(raw: &str) -> Result<Self, RpcError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Raw<'a> {
            #[serde(borrow, default)]
            from_block: Option<&'a RawValue>,
            #[serde(borrow, default)]
            to_block: Option<&'a RawValue>,
            #[serde(borrow, default, alias = "blockhash")]
            block_hash: Option<&'a RawValue>,
            #[serde(borrow, default)]
            address: Option<&'a RawValue>,
            #[serde(borrow, default)]
            topics: Option<Vec<&'a RawValue>>,
        }
        let Object(raw): Object<Raw<'_>> = serde_json::from_str(raw).map_err(|_| RpcError::FILTER)?;
        let tag = |raw: Option<&RawValue>| match raw {
            None => Ok(None),
            Some(raw) => BlockTag::read(raw.get()).map(Some).ok_or(RpcError::FILTER),
        };
        let mut out = Self { from: tag(raw.from_block)?, to: tag(raw.to_block)?, ..Self::default() };
        if let Some(hash) = raw.block_hash {
            if out.from.is_some() || out.to.is_some() {
                return Err(RpcError::FILTER);
            }
            out.block_hash = Some(crate::params::hash(hash.get().trim_matches('"')).ok_or(RpcError::FILTER)?);
        }
        if let Some(addresses) = raw.address {
            out.filter.addresses = alternatives::<Address>(addresses, address).ok_or(RpcError::FILTER)?.into_iter().collect();
        }
        let topics = raw.topics.unwrap_or_default();
        if topics.len() > out.filter.topics.len() {
            return Err(RpcError::FILTER);
        }
        out.positions = topics.len();
        for (slot, raw) in out.filter.topics.iter_mut().zip(topics) {
            *slot = alternatives(raw, crate::params::hash).ok_or(RpcError::FILTER)?.into_iter().collect();
        }
        Ok(out)
    }

    /// Addresses and topics that a log is held against.
    pub(crate) fn alternatives(&self) -> usize {
        self.filter.addresses.len() + self.filter.topics.iter().map(BTreeSet::len).sum::<usize>()
    }

    /// Whether a block with this bloom can hold a log that is wanted.
    pub(crate) fn may_want(&self, bloom: &Bloom) -> bool {
        self.filter.may_match(bloom)
    }

    /// Whether a log is wanted, whatever block it is in.
    pub(crate) fn wants(&self, log: &Log) -> bool {
        log.topics().len() >= self.positions && self.filter.matches(log)
    }
}

fn shape(api: &Api, entry: &ipe_chain::LogEntry) -> RpcLog {
    let place = Place {
        hash: entry.block_hash,
        number: entry.block_number,
        timestamp: entry.timestamp,
        base_fee: None,
        index: entry.tx_index as u64,
    };
    RpcLog::new(&entry.log, entry.log_index as u64, entry.tx_hash, &place, api.settings.release)
}

/// Logs of a range of existing or future blocks.
fn search(api: &Api, filter: &LogFilter, from: u64, to: u64, allowance: &Allowance) -> Result<Vec<RpcLog>, RpcError> {
    let limit = api.settings.max_logs_range;
    if limit != 0 && to.saturating_sub(from) > limit {
        return Err(RpcError::RANGE);
    }
    let whole = LogLimits::default();
    let head = api.backend.ledger.head().number;
    // Each stretch asks the index for every address and topic.
    let stretch = if filter.alternatives() > FEW { WIDE_STRETCH } else { STRETCH };
    let (mut next, mut found) = (from, 0);
    let mut out = Vec::new();
    let mut query = ipe_chain::LogFilter { from, to, ..filter.filter.clone() };
    while next <= to.min(head) {
        allowance.pause()?;
        (query.from, query.to) = (next, to.min(next.saturating_add(stretch - 1)));
        let limits = LogLimits { logs: whole.logs - found, ..whole };
        let entries = api.backend.ledger.logs(&query, limits).map_err(|e| match e {
            LogsError::TooMuch { what, .. } => {
                let all = LogsError::TooMuch { what, limit: whole.logs as u64 };
                RpcError::said(-32005, format!("{}: {all}", RpcError::RANGE.message))
            }
            LogsError::Ledger(e) => e.into(),
        })?;
        found += entries.len();
        for entry in entries.iter().filter(|entry| filter.wants(&entry.log)) {
            allowance.hold(LOG + 3 * entry.log.data.data.len())?;
            out.push(shape(api, entry));
        }
        next = query.to.saturating_add(1);
    }
    Ok(out)
}

fn answer(api: &Api, filter: &LogFilter, allowance: &Allowance) -> Answer {
    if let Some(hash) = filter.block_hash {
        let number = api.backend.ledger.number_of(&hash)?.ok_or(RpcError::BLOCK_NOT_FOUND)?;
        return allowance.json(&search(api, filter, number, number, allowance)?);
    }
    let head = api.backend.ledger.head().number;
    let at = |tag: Option<BlockTag>| match tag {
        None => Ok::<u64, RpcError>(head),
        Some(BlockTag::Number(number)) => Ok(number),
        Some(tag) => Ok(api.number(tag)?.unwrap_or(head)),
    };
    let (from, to) = (at(filter.from)?, at(filter.to)?);
    if from > to {
        // 26 refuses a range that runs backwards, 25 finds nothing in it.
        return if api.besu26() { Err(RpcError::INVALID_PARAMS) } else { Ok(b"[]".to_vec()) };
    }
    if from > head {
        return if api.besu26() { Err(RpcError::INVALID_PARAMS) } else { Ok(b"[]".to_vec()) };
    }
    allowance.json(&search(api, filter, from, to, allowance)?)
}

pub(crate) fn get_logs(api: &Api, params: &Params<'_>, allowance: &Allowance) -> Answer {
    answer(api, &LogFilter::read(params.raw(0).ok_or(RpcError::FILTER)?)?, allowance)
}

/// The installed filters.
pub(crate) struct Filters {
    parts: Arc<Purse>,
    table: Mutex<HashMap<u64, Installed>>,
    names: RandomState,
    count: AtomicU64,
}

struct Installed {
    asked: Instant,
    kind: Kind,
    _part: Lease,
}

enum Kind {
    Logs { filter: Box<LogFilter>, next: u64 },
    Blocks { next: u64 },
    Pending { news: Receiver<Notification> },
}

impl Default for Filters {
    fn default() -> Self {
        Self { parts: Purse::new(MAX_FILTERS), table: Mutex::default(), names: RandomState::new(), count: AtomicU64::new(0) }
    }
}

impl Filters {
    /// Installs a filter and gives its id, which cannot be guessed from another's.
    fn install(&self, from: IpAddr, kind: Kind) -> Result<u64, RpcError> {
        let mut table = self.table.lock();
        let now = Instant::now();
        table.retain(|_, f| now.duration_since(f.asked) < EXPIRY);
        let Some(part) = self.parts.take(from, 1) else { return Err(RpcError::TOO_MANY_FILTERS) };
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let id = self.names.hash_one(count);
        table.insert(id, Installed { asked: now, kind, _part: part });
        Ok(id)
    }

    fn remove(&self, id: u64) -> bool {
        self.table.lock().remove(&id).is_some_and(|f| f.asked.elapsed() < EXPIRY)
    }
}

fn installed(id: Result<u64, RpcError>) -> Answer {
    Ok(format!("\"{:#x}\"", id?).into_bytes())
}

pub(crate) fn new_filter(api: &Api, params: &Params<'_>, allowance: &Allowance) -> Answer {
    let filter = LogFilter::read(params.raw(0).ok_or(RpcError::FILTER)?)?;
    if filter.block_hash.is_some() {
        return Err(RpcError::FILTER);
    }
    let head = api.backend.ledger.head().number;
    let next = match filter.from {
        Some(BlockTag::Number(number)) => number.max(head + 1),
        _ => head + 1,
    };
    installed(api.filters.install(allowance.from(), Kind::Logs { filter: Box::new(filter), next }))
}

pub(crate) fn new_block_filter(api: &Api, _: &Params<'_>, allowance: &Allowance) -> Answer {
    let next = api.backend.ledger.head().number + 1;
    installed(api.filters.install(allowance.from(), Kind::Blocks { next }))
}

pub(crate) fn new_pending_filter(api: &Api, _: &Params<'_>, allowance: &Allowance) -> Answer {
    let news = api.backend.notifications.subscribe();
    installed(api.filters.install(allowance.from(), Kind::Pending { news }))
}

pub(crate) fn uninstall_filter(api: &Api, params: &Params<'_>) -> Answer {
    let id = filter_id(params)?;
    Ok(if id.is_some_and(|id| api.filters.remove(id)) { b"true".to_vec() } else { b"false".to_vec() })
}

/// The id, `None` when it is well formed but larger than any of ours.
fn filter_id(params: &Params<'_>) -> Result<Option<u64>, RpcError> {
    let bad = RpcError::new(-32602, "Invalid filter ID params");
    let text = params.text(0).ok_or_else(|| bad.clone())?;
    if !text.starts_with("0x") {
        return Err(bad);
    }
    Ok(crate::params::number(text))
}

pub(crate) fn filter_changes(api: &Api, params: &Params<'_>, allowance: &Allowance) -> Answer {
    enum Todo {
        Logs(Box<LogFilter>, u64, u64),
        Blocks(u64, u64),
        Pending(Vec<B256>),
    }
    let id = filter_id(params)?.ok_or(RpcError::FILTER_NOT_FOUND)?;
    let head = api.backend.ledger.head().number;
    let bound = match api.settings.max_logs_range {
        0 => u64::MAX,
        bound => bound,
    };
    let todo = {
        let mut table = api.filters.table.lock();
        let now = Instant::now();
        let filter = table.get_mut(&id).filter(|f| now.duration_since(f.asked) < EXPIRY).ok_or(RpcError::FILTER_NOT_FOUND)?;
        filter.asked = now;
        match &mut filter.kind {
            Kind::Logs { filter, next } => {
                let last = match filter.to {
                    Some(BlockTag::Number(to)) => to.min(head),
                    _ => head,
                };
                let from = *next;
                // What is beyond the bound comes with the next question.
                let to = last.min(from.saturating_add(bound - 1));
                *next = (*next).max(to.saturating_add(1));
                Todo::Logs(filter.clone(), from, to)
            }
            Kind::Blocks { next } => {
                let from = *next;
                let to = head.min(from.saturating_add(bound - 1));
                *next = (*next).max(to.saturating_add(1));
                Todo::Blocks(from, to)
            }
            Kind::Pending { news } => Todo::Pending(drain(news)),
        }
    };
    match todo {
        Todo::Logs(_, from, to) if from > to => Ok(b"[]".to_vec()),
        Todo::Logs(filter, from, to) => allowance.json(&search(api, &filter, from, to, allowance)?),
        Todo::Blocks(from, to) => {
            let hashes = (from..=to).map(|n| api.hash_of(n)).collect::<Result<Vec<_>, _>>()?;
            allowance.json(&hashes)
        }
        Todo::Pending(hashes) => allowance.json(&hashes),
    }
}

/// What the ring still holds; a filter asked too seldom misses what was overwritten.
fn drain(news: &mut Receiver<Notification>) -> Vec<B256> {
    let mut out = Vec::new();
    while out.len() < MAX_PENDING {
        match news.try_recv() {
            Ok(Notification::Pending(list)) => out.extend(list.iter().map(|c| c.hash)),
            Ok(_) | Err(TryRecvError::Lagged(_)) => {}
            Err(TryRecvError::Empty | TryRecvError::Closed) => break,
        }
    }
    out
}

pub(crate) fn filter_logs(api: &Api, params: &Params<'_>, allowance: &Allowance) -> Answer {
    let id = filter_id(params)?.ok_or(RpcError::FILTER_NOT_FOUND)?;
    let filter = {
        let mut table = api.filters.table.lock();
        let found = table.get_mut(&id).filter(|f| f.asked.elapsed() < EXPIRY).ok_or(RpcError::FILTER_NOT_FOUND)?;
        found.asked = Instant::now();
        match &found.kind {
            Kind::Logs { filter, .. } => filter.clone(),
            Kind::Blocks { .. } | Kind::Pending { .. } => return Err(RpcError::FILTER_NOT_FOUND),
        }
    };
    answer(api, &filter, allowance)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::Bytes;

    #[test]
    fn filters_match_by_position() {
        let topic = B256::repeat_byte(1);
        let log = |topics: Vec<B256>| Log::new_unchecked(Address::repeat_byte(9), topics, Bytes::new());
        let one = LogFilter::read(&format!("{{\"topics\":[null,\"{topic}\"]}}")).expect("filter");
        assert!(one.wants(&log(vec![B256::ZERO, topic])));
        assert!(!one.wants(&log(vec![topic])));
        let any = LogFilter::read(&format!("{{\"address\":[\"{}\"],\"topics\":[[\"{topic}\"]]}}", Address::repeat_byte(9)))
            .expect("filter");
        assert!(any.wants(&log(vec![topic])));
        assert!(LogFilter::read("{}").expect("filter").wants(&log(vec![])));
        for bad in [
            "7",
            "[]",
            "[\"0x1\",\"0x2\",null,null,[]]",
            "{\"fromBlock\":\"x\"}",
            "{\"topics\":[1]}",
            "{\"address\":\"zz\"}",
            "{\"topics\":[null,null,null,null,null]}",
        ] {
            assert_eq!(LogFilter::read(bad).err(), Some(RpcError::FILTER), "{bad}");
        }
    }
}
