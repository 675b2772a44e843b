//! eth messages to bytes and back.

use alloy_consensus::{Eip658Value, Receipt, ReceiptEnvelope, ReceiptWithBloom};
use alloy_eips::eip2718::Decodable2718;
use alloy_primitives::{B256, Bytes, Log};
use alloy_rlp::{BufMut, Decodable, Encodable, Header as RlpHeader};

use crate::block::{Body, decode_listed};

use super::{
    Announced, BlockHashNumber, EthError, EthMessage, EthVersion, HeadersQuery, HeadersStart, MAX_ANSWER_ITEMS,
    MAX_BODIES_TRANSACTIONS, MAX_HASHES, MAX_MESSAGE_BYTES, MAX_TRANSACTIONS_ACCEPTED, Status, code, code_name,
};

impl EthMessage {
    /// The message's code, relative to the eth id space.
    pub fn code(&self) -> u8 {
        match self {
            EthMessage::Status(_) => code::STATUS,
            EthMessage::NewBlockHashes(_) => code::NEW_BLOCK_HASHES,
            EthMessage::Transactions(_) => code::TRANSACTIONS,
            EthMessage::GetBlockHeaders { .. } => code::GET_BLOCK_HEADERS,
            EthMessage::BlockHeaders { .. } => code::BLOCK_HEADERS,
            EthMessage::GetBlockBodies { .. } => code::GET_BLOCK_BODIES,
            EthMessage::BlockBodies { .. } => code::BLOCK_BODIES,
            EthMessage::NewBlock { .. } => code::NEW_BLOCK,
            EthMessage::NewPooledTransactionHashes(_) => code::NEW_POOLED_TRANSACTION_HASHES,
            EthMessage::GetPooledTransactions { .. } => code::GET_POOLED_TRANSACTIONS,
            EthMessage::PooledTransactions { .. } => code::POOLED_TRANSACTIONS,
            EthMessage::GetReceipts { .. } => code::GET_RECEIPTS,
            EthMessage::Receipts { .. } => code::RECEIPTS,
            EthMessage::BlockRangeUpdate { .. } => code::BLOCK_RANGE_UPDATE,
        }
    }

    /// The message's code and payload for a session of `version`.
    ///
    /// A [`Status`] is written in the form it has, whatever `version` says. Announcements without type and size are
    /// written with type 0 and size 0 to versions that have them.
    pub fn encode(&self, version: EthVersion) -> (u8, Bytes) {
        let mut out = Vec::new();
        match self {
            EthMessage::Status(status) => encode_status(status, &mut out),
            EthMessage::NewBlockHashes(blocks) => {
                list(&mut out, |out| {
                    for block in blocks {
                        list(out, |out| {
                            block.hash.encode(out);
                            block.number.encode(out);
                        });
                    }
                });
            }
            EthMessage::Transactions(transactions) => encode_items(transactions, &mut out),
            EthMessage::GetBlockHeaders { request_id, query } => list(&mut out, |out| {
                request_id.encode(out);
                list(out, |out| {
                    match query.start {
                        HeadersStart::Hash(hash) => hash.encode(out),
                        HeadersStart::Number(number) => number.encode(out),
                    }
                    query.limit.encode(out);
                    query.skip.encode(out);
                    u8::from(query.reverse).encode(out);
                });
            }),
            EthMessage::BlockHeaders { request_id, headers } => answer(*request_id, headers, &mut out),
            EthMessage::BlockBodies { request_id, bodies } => answer(*request_id, bodies, &mut out),
            EthMessage::GetBlockBodies { request_id, hashes }
            | EthMessage::GetPooledTransactions { request_id, hashes }
            | EthMessage::GetReceipts { request_id, hashes } => answer(*request_id, hashes, &mut out),
            EthMessage::PooledTransactions { request_id, transactions } => {
                answer(*request_id, transactions, &mut out);
            }
            EthMessage::NewBlock { block, total_difficulty } => list(&mut out, |out| {
                block.encode(out);
                total_difficulty.encode(out);
            }),
            EthMessage::NewPooledTransactionHashes(announced) => encode_announcement(announced, version, &mut out),
            EthMessage::Receipts { request_id, receipts } => list(&mut out, |out| {
                request_id.encode(out);
                list(out, |out| {
                    for block in receipts {
                        list(out, |out| {
                            for receipt in block {
                                match version {
                                    EthVersion::V66 | EthVersion::V68 => receipt.encode(out),
                                    EthVersion::V69 => encode_flat_receipt(receipt, out),
                                }
                            }
                        });
                    }
                });
            }),
            EthMessage::BlockRangeUpdate { earliest, latest, latest_hash } => list(&mut out, |out| {
                earliest.encode(out);
                latest.encode(out);
                latest_hash.encode(out);
            }),
        }
        (self.code(), out.into())
    }

    /// Reads the payload of a message with `code` on a session of `version`.
    ///
    /// # Errors
    /// Whatever is not exactly the message's RLP, a list longer than its limit, a code that the version does not have.
    pub fn decode(version: EthVersion, code: u8, payload: &[u8]) -> Result<EthMessage, EthError> {
        let message = code_name(code);
        if payload.len() > MAX_MESSAGE_BYTES {
            return Err(EthError::TooLong { message, got: payload.len() });
        }
        crate::work::count(|done| done.decoded += payload.len() as u64);
        let unknown = EthError::UnknownCode { version: version.number(), code };
        let mut input = Input { message, rest: payload };
        let decoded = match code {
            code::STATUS => EthMessage::Status(decode_status(&mut input, version)?),
            code::NEW_BLOCK_HASHES => EthMessage::NewBlockHashes(input.items("blocks", MAX_HASHES, |input| {
                input.enter(|input| Ok(BlockHashNumber { hash: input.value()?, number: input.value()? }))
            })?),
            code::TRANSACTIONS => EthMessage::Transactions(input.listed("transactions", MAX_TRANSACTIONS_ACCEPTED)?),
            code::GET_BLOCK_HEADERS => input.enter(|input| {
                let request_id = input.value()?;
                let query = input.enter(decode_headers_query)?;
                Ok(EthMessage::GetBlockHeaders { request_id, query })
            })?,
            code::BLOCK_HEADERS => input.enter(|input| {
                Ok(EthMessage::BlockHeaders { request_id: input.value()?, headers: input.values("headers", MAX_ANSWER_ITEMS)? })
            })?,
            code::GET_BLOCK_BODIES => input.enter(|input| {
                Ok(EthMessage::GetBlockBodies { request_id: input.value()?, hashes: input.values("hashes", MAX_HASHES)? })
            })?,
            code::BLOCK_BODIES => input.enter(|input| {
                let request_id = input.value()?;
                let mut count = 0;
                let bodies = input.items("bodies", MAX_ANSWER_ITEMS, |input| {
                    let body: Body = input.value()?;
                    count += body.transactions.len();
                    if count > MAX_BODIES_TRANSACTIONS {
                        let (what, max) = ("transactions of bodies", MAX_BODIES_TRANSACTIONS);
                        return Err(EthError::TooMany { message: input.message, what, max });
                    }
                    Ok(body)
                })?;
                Ok(EthMessage::BlockBodies { request_id, bodies })
            })?,
            code::NEW_BLOCK => input
                .enter(|input| Ok(EthMessage::NewBlock { block: Box::new(input.value()?), total_difficulty: input.value()? }))?,
            code::NEW_POOLED_TRANSACTION_HASHES => {
                EthMessage::NewPooledTransactionHashes(decode_announcement(&mut input, version)?)
            }
            code::GET_POOLED_TRANSACTIONS => input.enter(|input| {
                Ok(EthMessage::GetPooledTransactions { request_id: input.value()?, hashes: input.values("hashes", MAX_HASHES)? })
            })?,
            code::POOLED_TRANSACTIONS => input.enter(|input| {
                Ok(EthMessage::PooledTransactions {
                    request_id: input.value()?,
                    transactions: input.listed("transactions", MAX_TRANSACTIONS_ACCEPTED)?,
                })
            })?,
            code::GET_RECEIPTS => input.enter(|input| {
                Ok(EthMessage::GetReceipts { request_id: input.value()?, hashes: input.values("hashes", MAX_HASHES)? })
            })?,
            code::RECEIPTS => input.enter(|input| {
                let request_id = input.value()?;
                let receipts = input.items("blocks", MAX_ANSWER_ITEMS, |input| match version {
                    EthVersion::V66 | EthVersion::V68 => input.listed("receipts", MAX_TRANSACTIONS_ACCEPTED),
                    EthVersion::V69 => input.items("receipts", MAX_TRANSACTIONS_ACCEPTED, decode_flat_receipt),
                })?;
                Ok(EthMessage::Receipts { request_id, receipts })
            })?,
            code::BLOCK_RANGE_UPDATE if version >= EthVersion::V69 => input.enter(|input| {
                Ok(EthMessage::BlockRangeUpdate { earliest: input.value()?, latest: input.value()?, latest_hash: input.value()? })
            })?,
            _ => return Err(unknown),
        };
        input.end()?;
        Ok(decoded)
    }
}

/// Appends a list whose payload `fill` writes.
fn list(out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    fill(out);
    let payload_length = out.len() - start;
    let header = RlpHeader { list: true, payload_length };
    let width = header.length();
    out.resize(start + payload_length + width, 0);
    out.copy_within(start..start + payload_length, start + width);
    let mut head = &mut out[start..start + width];
    header.encode(&mut head as &mut dyn BufMut);
}

fn encode_items<T: Encodable>(items: &[T], out: &mut Vec<u8>) {
    list(out, |out| items.iter().for_each(|item| item.encode(out)));
}

fn answer<T: Encodable>(request_id: u64, items: &[T], out: &mut Vec<u8>) {
    list(out, |out| {
        request_id.encode(out);
        encode_items(items, out);
    });
}

fn encode_status(status: &Status, out: &mut Vec<u8>) {
    list(out, |out| match status {
        Status::Legacy { version, network_id, total_difficulty, head, genesis, fork_id } => {
            version.encode(out);
            network_id.encode(out);
            total_difficulty.encode(out);
            head.encode(out);
            genesis.encode(out);
            fork_id.encode(out);
        }
        Status::Range { version, network_id, genesis, fork_id, earliest, latest, latest_hash } => {
            version.encode(out);
            network_id.encode(out);
            genesis.encode(out);
            fork_id.encode(out);
            earliest.encode(out);
            latest.encode(out);
            latest_hash.encode(out);
        }
    });
}

fn encode_announcement(announced: &[Announced], version: EthVersion, out: &mut Vec<u8>) {
    match version {
        EthVersion::V66 => list(out, |out| announced.iter().for_each(|item| item.hash.encode(out))),
        EthVersion::V68 | EthVersion::V69 => list(out, |out| {
            let types: Vec<u8> = announced.iter().map(|item| item.kind.map_or(0, |(kind, _)| kind)).collect();
            types.as_slice().encode(out);
            list(out, |out| announced.iter().for_each(|item| item.kind.map_or(0, |(_, size)| size).encode(out)));
            list(out, |out| announced.iter().for_each(|item| item.hash.encode(out)));
        }),
    }
}

fn encode_flat_receipt(receipt: &ReceiptEnvelope, out: &mut Vec<u8>) {
    let (kind, with_bloom) = match receipt {
        ReceiptEnvelope::Legacy(inner) => (0u8, inner),
        ReceiptEnvelope::Eip2930(inner) => (1, inner),
        ReceiptEnvelope::Eip1559(inner) => (2, inner),
        ReceiptEnvelope::Eip4844(inner) => (3, inner),
        ReceiptEnvelope::Eip7702(inner) => (4, inner),
    };
    list(out, |out| {
        kind.encode(out);
        with_bloom.receipt.status.encode(out);
        with_bloom.receipt.cumulative_gas_used.encode(out);
        encode_items(&with_bloom.receipt.logs, out);
    });
}

/// A cursor that names the message in its errors.
struct Input<'a> {
    message: &'static str,
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    fn error(&self, error: alloy_rlp::Error) -> EthError {
        EthError::Rlp { message: self.message, error }
    }

    fn value<T: Decodable>(&mut self) -> Result<T, EthError> {
        T::decode(&mut self.rest).map_err(|error| self.error(error))
    }

    /// Takes a string's bytes.
    fn string(&mut self) -> Result<&'a [u8], EthError> {
        RlpHeader::decode_bytes(&mut self.rest, false).map_err(|error| self.error(error))
    }

    /// Reads one list with `read`, which must use it up.
    fn enter<T>(&mut self, read: impl FnOnce(&mut Input<'a>) -> Result<T, EthError>) -> Result<T, EthError> {
        let payload = RlpHeader::decode_bytes(&mut self.rest, true).map_err(|error| self.error(error))?;
        let mut inner = Input { message: self.message, rest: payload };
        let value = read(&mut inner)?;
        inner.end()?;
        Ok(value)
    }

    /// Reads one list of at most `max` items with `read`.
    fn items<T>(
        &mut self,
        what: &'static str,
        max: usize,
        mut read: impl FnMut(&mut Input<'a>) -> Result<T, EthError>,
    ) -> Result<Vec<T>, EthError> {
        self.enter(|input| {
            let mut items = Vec::new();
            while !input.rest.is_empty() {
                if items.len() == max {
                    return Err(EthError::TooMany { message: input.message, what, max });
                }
                items.push(read(input)?);
            }
            Ok(items)
        })
    }

    fn values<T: Decodable>(&mut self, what: &'static str, max: usize) -> Result<Vec<T>, EthError> {
        self.items(what, max, |input| input.value())
    }

    /// Reads a list of at most `max` transactions or receipts.
    fn listed<T: Decodable + Decodable2718>(&mut self, what: &'static str, max: usize) -> Result<Vec<T>, EthError> {
        self.items(what, max, |input| decode_listed(&mut input.rest).map_err(|error| input.error(error)))
    }

    fn end(&self) -> Result<(), EthError> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.error(alloy_rlp::Error::UnexpectedLength)) }
    }
}

fn decode_status(input: &mut Input<'_>, version: EthVersion) -> Result<Status, EthError> {
    input.enter(|input| match version {
        EthVersion::V66 | EthVersion::V68 => Ok(Status::Legacy {
            version: input.value()?,
            network_id: input.value()?,
            total_difficulty: input.value()?,
            head: input.value()?,
            genesis: input.value()?,
            fork_id: input.value()?,
        }),
        EthVersion::V69 => Ok(Status::Range {
            version: input.value()?,
            network_id: input.value()?,
            genesis: input.value()?,
            fork_id: input.value()?,
            earliest: input.value()?,
            latest: input.value()?,
            latest_hash: input.value()?,
        }),
    })
}

fn decode_headers_query(input: &mut Input<'_>) -> Result<HeadersQuery, EthError> {
    // A hash is a string of exactly 32 bytes; everything shorter is a number.
    let start = match input.rest.first() {
        Some(0xa0) => HeadersStart::Hash(input.value()?),
        _ => HeadersStart::Number(input.value()?),
    };
    Ok(HeadersQuery { start, limit: input.value()?, skip: input.value()?, reverse: input.value()? })
}

fn decode_announcement(input: &mut Input<'_>, version: EthVersion) -> Result<Vec<Announced>, EthError> {
    match version {
        EthVersion::V66 => {
            let hashes: Vec<B256> = input.values("hashes", MAX_HASHES)?;
            Ok(hashes.into_iter().map(|hash| Announced { hash, kind: None }).collect())
        }
        EthVersion::V68 | EthVersion::V69 => input.enter(|input| {
            let types = input.string()?;
            let sizes: Vec<u32> = input.values("sizes", MAX_HASHES)?;
            let hashes: Vec<B256> = input.values("hashes", MAX_HASHES)?;
            if types.len() != hashes.len() || sizes.len() != hashes.len() {
                let (types, sizes, hashes) = (types.len(), sizes.len(), hashes.len());
                return Err(EthError::UnequalAnnouncement { types, sizes, hashes });
            }
            let kinds = types.iter().copied().zip(sizes);
            Ok(hashes.into_iter().zip(kinds).map(|(hash, kind)| Announced { hash, kind: Some(kind) }).collect())
        }),
    }
}

fn decode_flat_receipt(input: &mut Input<'_>) -> Result<ReceiptEnvelope, EthError> {
    input.enter(|input| {
        let kind: u8 = input.value()?;
        let status: Eip658Value = input.value()?;
        let cumulative_gas_used: u64 = input.value()?;
        let logs: Vec<Log> = input.values("logs", MAX_TRANSACTIONS_ACCEPTED)?;
        let receipt = ReceiptWithBloom::from(Receipt { status, cumulative_gas_used, logs });
        match kind {
            0 => Ok(ReceiptEnvelope::Legacy(receipt)),
            1 => Ok(ReceiptEnvelope::Eip2930(receipt)),
            2 => Ok(ReceiptEnvelope::Eip1559(receipt)),
            3 => Ok(ReceiptEnvelope::Eip4844(receipt)),
            4 => Ok(ReceiptEnvelope::Eip7702(receipt)),
            _ => Err(input.error(alloy_rlp::Error::Custom("unknown transaction type"))),
        }
    })
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
