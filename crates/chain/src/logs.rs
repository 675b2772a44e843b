//! Logs: an index from emitters and event signatures to blocks, and bounded queries.
//!
//! Indexed are addresses and first topics, once per block. The other topics are looked for with the header's bloom: in a
//! block of thousands of token transfers they are thousands of accounts, and indexing them would cost more than the
//! transfers themselves.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use alloy_consensus::TxReceipt;
use alloy_primitives::{Address, B256, Bloom, BloomInput, Log};
use alloy_rlp::Header as RlpHeader;

use crate::kv::{Batch, Read, StoreError, Table, prefix_end};
use crate::ledger::{Ledger, LedgerError};
use crate::receipts::Receipt;

/// Bytes of the indexed item in a key; the query compares whole items.
const ITEM: usize = 12;
const ADDRESS: u8 = 0;
const TOPIC: u8 = 1;

/// What is looked for. Blocks `from` to `to` inclusive; an empty list matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogFilter {
    /// First block.
    pub from: u64,
    /// Last block; more than the head is the head.
    pub to: u64,
    /// Emitters, any of them.
    pub addresses: BTreeSet<Address>,
    /// Per position, any of these.
    pub topics: [BTreeSet<B256>; 4],
}

/// How far one query may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLimits {
    /// Logs answered.
    pub logs: usize,
    /// Blocks whose receipts are read.
    pub blocks: usize,
    /// Headers whose bloom is read, when the index does not help.
    pub headers: u64,
}

impl Default for LogLimits {
    /// A second or two of one core at worst.
    fn default() -> Self {
        Self { logs: 20_000, blocks: 20_000, headers: 200_000 }
    }
}

/// A log and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Height.
    pub block_number: u64,
    /// Block hash.
    pub block_hash: B256,
    /// Seconds.
    pub timestamp: u64,
    /// Transaction hash.
    pub tx_hash: B256,
    /// Position of the transaction in the block.
    pub tx_index: usize,
    /// Position of the log in the block.
    pub log_index: usize,
    /// The log.
    pub log: Log,
}

/// Why a query was not answered.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    /// More than the limits allow.
    #[error("the query covers more than {limit} {what}; ask for fewer blocks at a time")]
    TooMuch {
        /// `logs`, `blocks with candidates` or `blocks`.
        what: &'static str,
        /// The bound.
        limit: u64,
    },
    /// Reading failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl From<StoreError> for LogsError {
    fn from(error: StoreError) -> Self {
        Self::Ledger(error.into())
    }
}

impl LogFilter {
    /// Whether a log is looked for.
    pub fn matches(&self, log: &Log) -> bool {
        (self.addresses.is_empty() || self.addresses.contains(&log.address))
            && self.topics.iter().enumerate().all(|(position, wanted)| {
                wanted.is_empty() || log.topics().get(position).is_some_and(|topic| wanted.contains(topic))
            })
    }

    /// Whether a block or receipt with this bloom can hold such a log.
    pub fn may_match(&self, bloom: &Bloom) -> bool {
        let has = |item: &[u8]| bloom.contains_input(BloomInput::Raw(item));
        (self.addresses.is_empty() || self.addresses.iter().any(|address| has(address.as_slice())))
            && self.topics.iter().all(|wanted| wanted.is_empty() || wanted.iter().any(|topic| has(topic.as_slice())))
    }

    /// Logs of one block that are looked for.
    pub fn of_block(&self, stored: &crate::read::StoredBlock) -> Vec<LogEntry> {
        let mut found = Vec::new();
        let mut log_index = 0;
        for (tx_index, receipt) in stored.receipts.iter().enumerate() {
            for log in receipt.logs() {
                if self.matches(log) {
                    found.push(LogEntry {
                        block_number: stored.block.header.number,
                        block_hash: stored.hash,
                        timestamp: stored.block.header.timestamp,
                        tx_hash: *stored.block.body.transactions[tx_index].tx_hash(),
                        tx_index,
                        log_index,
                        log: log.clone(),
                    });
                }
                log_index += 1;
            }
        }
        found
    }
}

fn key(kind: u8, item: &[u8], number: u64) -> [u8; 1 + ITEM + 8] {
    let mut key = [0u8; 1 + ITEM + 8];
    key[0] = kind;
    key[1..=ITEM].copy_from_slice(&item[..ITEM]);
    key[1 + ITEM..].copy_from_slice(&number.to_be_bytes());
    key
}

/// Adds a block's emitters and first topics.
pub(crate) fn put_index(batch: &mut Batch, number: u64, receipts: &[Receipt]) {
    let mut seen: BTreeSet<[u8; 1 + ITEM + 8]> = BTreeSet::new();
    let mut last = None;
    for log in receipts.iter().flat_map(TxReceipt::logs) {
        let this = (log.address, log.topics().first().copied());
        if last == Some(this) {
            continue;
        }
        last = Some(this);
        seen.insert(key(ADDRESS, this.0.as_slice(), number));
        if let Some(topic) = this.1 {
            seen.insert(key(TOPIC, topic.as_slice(), number));
        }
    }
    for key in seen {
        batch.put(Table::Logs, &key, &[]);
    }
}

impl Ledger {
    /// Logs that match, in order of the chain.
    ///
    /// # Errors
    /// The query goes beyond `limits`, or reading failed.
    pub fn logs(&self, filter: &LogFilter, limits: LogLimits) -> Result<Vec<LogEntry>, LogsError> {
        let to = filter.to.min(self.head().number);
        if filter.from > to {
            return Ok(Vec::new());
        }
        let snapshot = self.store.snapshot();
        let candidates = candidates(&*snapshot, filter, filter.from, to, limits)?;
        let mut found = Vec::new();
        for number in candidates {
            let Some(stored) = self.stored(number)? else { continue };
            found.append(&mut filter.of_block(&stored));
            if found.len() > limits.logs {
                return Err(LogsError::TooMuch { what: "logs", limit: limits.logs as u64 });
            }
        }
        Ok(found)
    }
}

/// Blocks that may hold what is looked for, ascending.
fn candidates(read: &dyn Read, filter: &LogFilter, from: u64, to: u64, limits: LogLimits) -> Result<BTreeSet<u64>, LogsError> {
    let addresses: Vec<&[u8]> = filter.addresses.iter().map(|address| address.as_slice()).collect();
    let topics: Vec<&[u8]> = filter.topics[0].iter().map(|topic| topic.as_slice()).collect();
    let mut blocks = match (addresses.is_empty(), topics.is_empty()) {
        (true, true) => return by_bloom(read, filter, from, to, limits),
        (false, true) => indexed(read, ADDRESS, &addresses, from, to, limits)?,
        (true, false) => indexed(read, TOPIC, &topics, from, to, limits)?,
        (false, false) => {
            let emitters = indexed(read, ADDRESS, &addresses, from, to, limits)?;
            if emitters.is_empty() {
                return Ok(emitters);
            }
            let events = indexed(read, TOPIC, &topics, from, to, limits)?;
            emitters.intersection(&events).copied().collect()
        }
    };
    if filter.topics[1..].iter().any(|wanted| !wanted.is_empty()) {
        let mut kept = BTreeSet::new();
        for number in blocks {
            if let Some(header) = read.get(Table::Headers, &number.to_be_bytes())?
                && filter.may_match(&bloom_of(&header)?)
            {
                kept.insert(number);
            }
        }
        blocks = kept;
    }
    bounded(blocks, limits)
}

fn bounded(blocks: BTreeSet<u64>, limits: LogLimits) -> Result<BTreeSet<u64>, LogsError> {
    if blocks.len() > limits.blocks {
        return Err(LogsError::TooMuch { what: "blocks with candidates", limit: limits.blocks as u64 });
    }
    Ok(blocks)
}

fn indexed(read: &dyn Read, kind: u8, items: &[&[u8]], from: u64, to: u64, limits: LogLimits) -> Result<BTreeSet<u64>, LogsError> {
    let mut blocks = BTreeSet::new();
    for item in items {
        let end = prefix_end(&key(kind, item, to));
        read.range(Table::Logs, &key(kind, item, from), &end, false, &mut |key, _| {
            if let Some(number) = key.last_chunk::<8>() {
                blocks.insert(u64::from_be_bytes(*number));
            }
            if blocks.len() as u64 > limits.headers { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        if blocks.len() as u64 > limits.headers {
            return Err(LogsError::TooMuch { what: "blocks with candidates", limit: limits.headers });
        }
    }
    Ok(blocks)
}

fn by_bloom(read: &dyn Read, filter: &LogFilter, from: u64, to: u64, limits: LogLimits) -> Result<BTreeSet<u64>, LogsError> {
    if to - from >= limits.headers {
        return Err(LogsError::TooMuch { what: "blocks", limit: limits.headers });
    }
    let mut blocks = BTreeSet::new();
    let mut failed = None;
    let end = prefix_end(&to.to_be_bytes());
    read.range(
        Table::Headers,
        &from.to_be_bytes(),
        &end,
        false,
        &mut |key, header| match (key.first_chunk::<8>(), bloom_of(header)) {
            (Some(number), Ok(bloom)) => {
                if !bloom.is_zero() && filter.may_match(&bloom) {
                    blocks.insert(u64::from_be_bytes(*number));
                }
                ControlFlow::Continue(())
            }
            (_, Err(error)) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
            (None, Ok(_)) => ControlFlow::Continue(()),
        },
    )?;
    match failed {
        Some(error) => Err(error.into()),
        None => bounded(blocks, limits),
    }
}

/// The bloom inside a header's RLP: behind three hashes, an address and three hashes more, each of fixed length.
fn bloom_of(header: &[u8]) -> Result<Bloom, StoreError> {
    const BEFORE: usize = 33 + 33 + 21 + 33 + 33 + 33;
    const PREFIX: [u8; 3] = [0xb9, 0x01, 0x00];
    let mut rest = header;
    let body = RlpHeader::decode_bytes(&mut rest, true).map_err(|error| StoreError::corrupt(Table::Headers, error.to_string()))?;
    match body.get(BEFORE..BEFORE + 3 + 256) {
        Some(bytes) if bytes[..3] == PREFIX => Ok(Bloom::from_slice(&bytes[3..])),
        _ => Err(StoreError::corrupt(Table::Headers, "no logs bloom where it belongs")),
    }
}
