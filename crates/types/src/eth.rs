//! The messages of the `eth` wire protocol, versions 66, 68 and 69, as values.
//!
//! One closed enum, [`EthMessage`], is what the engine reads and writes; [`EthMessage::encode`] and
//! [`EthMessage::decode`] are the only way to bytes and back. The bytes are the payload of a devp2p message before
//! snappy and without its id; the id (`code`) is relative to the start of the protocol's id space.
//!
//! Sources: `ethereum/devp2p` `caps/eth.md`, EIP-4938 (68), EIP-7642 (69); limits as Besu serves them.
//!
//! | Code | Message | 66 | 68 | 69 |
//! |---|---|---|---|---|
//! | 0x00 | Status | total difficulty form | same | block range form |
//! | 0x01 | NewBlockHashes | ✓ | ✓ | ✓ |
//! | 0x02 | Transactions | ✓ | ✓ | ✓ |
//! | 0x03, 0x04 | GetBlockHeaders, BlockHeaders | ✓ | ✓ | ✓ |
//! | 0x05, 0x06 | GetBlockBodies, BlockBodies | ✓ | ✓ | ✓ |
//! | 0x07 | NewBlock | ✓ | ✓ | ✓ (Besu keeps it on 69 for proof of authority) |
//! | 0x08 | NewPooledTransactionHashes | hashes | types, sizes, hashes | as 68 |
//! | 0x09, 0x0a | GetPooledTransactions, PooledTransactions | ✓ | ✓ | ✓ |
//! | 0x0f, 0x10 | GetReceipts, Receipts | with bloom | with bloom | flat, without bloom |
//! | 0x11 | BlockRangeUpdate | | | ✓ |

use alloy_consensus::{Eip658Value, Receipt, ReceiptEnvelope, ReceiptWithBloom};
use alloy_primitives::{B256, Bytes, Log, U256};
use alloy_rlp::{BufMut, Decodable, Encodable, Header as RlpHeader};

use crate::block::{Block, Body, Transaction};
use crate::fork_id::ForkId;
use crate::header::Header;

/// Most headers put into one answer (Besu serves 512); a longer request is answered with this many.
pub const MAX_HEADERS_SERVED: usize = 512;
/// Most bodies put into one answer (Besu serves 128).
pub const MAX_BODIES_SERVED: usize = 128;
/// Most blocks whose receipts are put into one answer (Besu serves 256).
pub const MAX_RECEIPTS_SERVED: usize = 256;
/// Most transactions put into one PooledTransactions answer (Besu serves 256).
pub const MAX_POOLED_SERVED: usize = 256;
/// Most transactions put into one Transactions message, and hashes into one announcement (Besu and the protocol: 4096).
pub const MAX_TRANSACTIONS_PER_MESSAGE: usize = 4096;
/// Where an answer stops growing, bytes: the soft limit of the protocol, so that no answer nears the 10 MiB cut.
pub const SOFT_ANSWER_BYTES: usize = 2 * 1024 * 1024;
/// Largest Transactions message that is sent, bytes (Besu refuses more than 1 MiB).
pub const MAX_TRANSACTIONS_BYTES: usize = 1024 * 1024;
/// Largest payload accepted for any message, bytes, uncompressed (Besu's limit).
pub const MAX_MESSAGE_BYTES: usize = 10 * 1024 * 1024;
/// Most items accepted in any list of hashes: the largest list that an honest client sends (announcements of 4096).
pub const MAX_HASHES: usize = 4096;
/// Most headers, bodies or receipt lists accepted in one answer: we never ask for more than a client serves (1024 in go-ethereum).
pub const MAX_ANSWER_ITEMS: usize = 1024;
/// Most transactions accepted in one Transactions or PooledTransactions message; the byte limit is reached first.
pub const MAX_TRANSACTIONS_ACCEPTED: usize = 65_536;

/// A version of the eth protocol that this node speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EthVersion {
    /// eth/66: the newest that GoQuorum shares.
    V66,
    /// eth/68: announcements carry type and size.
    V68,
    /// eth/69: block range in Status, receipts without bloom.
    V69,
}

impl EthVersion {
    /// All versions spoken, oldest first.
    pub const ALL: [EthVersion; 3] = [EthVersion::V66, EthVersion::V68, EthVersion::V69];

    /// The number in the Hello's capability list.
    pub const fn number(self) -> u8 {
        match self {
            EthVersion::V66 => 66,
            EthVersion::V68 => 68,
            EthVersion::V69 => 69,
        }
    }

    /// The version of that number, or none when it is not spoken here.
    pub const fn from_number(number: u64) -> Option<EthVersion> {
        match number {
            66 => Some(EthVersion::V66),
            68 => Some(EthVersion::V68),
            69 => Some(EthVersion::V69),
            _ => None,
        }
    }

    /// Message ids that the version reserves: what follows it in the multiplexer starts after them.
    pub const fn length(self) -> u8 {
        match self {
            EthVersion::V66 | EthVersion::V68 => 17,
            EthVersion::V69 => 18,
        }
    }
}

/// The message codes, relative to the start of the eth id space.
pub mod code {
    #![allow(missing_docs)]
    pub const STATUS: u8 = 0x00;
    pub const NEW_BLOCK_HASHES: u8 = 0x01;
    pub const TRANSACTIONS: u8 = 0x02;
    pub const GET_BLOCK_HEADERS: u8 = 0x03;
    pub const BLOCK_HEADERS: u8 = 0x04;
    pub const GET_BLOCK_BODIES: u8 = 0x05;
    pub const BLOCK_BODIES: u8 = 0x06;
    pub const NEW_BLOCK: u8 = 0x07;
    pub const NEW_POOLED_TRANSACTION_HASHES: u8 = 0x08;
    pub const GET_POOLED_TRANSACTIONS: u8 = 0x09;
    pub const POOLED_TRANSACTIONS: u8 = 0x0a;
    pub const GET_RECEIPTS: u8 = 0x0f;
    pub const RECEIPTS: u8 = 0x10;
    pub const BLOCK_RANGE_UPDATE: u8 = 0x11;
}

/// The name of a message code as in the protocol's document, for logs and metrics labels.
pub const fn code_name(code: u8) -> &'static str {
    match code {
        code::STATUS => "Status",
        code::NEW_BLOCK_HASHES => "NewBlockHashes",
        code::TRANSACTIONS => "Transactions",
        code::GET_BLOCK_HEADERS => "GetBlockHeaders",
        code::BLOCK_HEADERS => "BlockHeaders",
        code::GET_BLOCK_BODIES => "GetBlockBodies",
        code::BLOCK_BODIES => "BlockBodies",
        code::NEW_BLOCK => "NewBlock",
        code::NEW_POOLED_TRANSACTION_HASHES => "NewPooledTransactionHashes",
        code::GET_POOLED_TRANSACTIONS => "GetPooledTransactions",
        code::POOLED_TRANSACTIONS => "PooledTransactions",
        code::GET_RECEIPTS => "GetReceipts",
        code::RECEIPTS => "Receipts",
        code::BLOCK_RANGE_UPDATE => "BlockRangeUpdate",
        _ => "Unknown",
    }
}

/// Why bytes are no message of the protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EthError {
    /// The payload is not the RLP that the message's definition asks for.
    #[error("{message} could not be decoded: {error}; the sender broke the protocol")]
    Rlp {
        /// The message's name.
        message: &'static str,
        /// What the decoder met.
        error: alloy_rlp::Error,
    },
    /// A list holds more items than any honest client sends.
    #[error("{message} holds more than {max} {what}; the sender broke the protocol")]
    TooMany {
        /// The message's name.
        message: &'static str,
        /// What is counted.
        what: &'static str,
        /// The limit.
        max: usize,
    },
    /// Types, sizes and hashes of an announcement differ in number.
    #[error(
        "NewPooledTransactionHashes announces {types} types, {sizes} sizes and {hashes} hashes: the numbers must be equal"
    )]
    UnequalAnnouncement {
        /// Types announced.
        types: usize,
        /// Sizes announced.
        sizes: usize,
        /// Hashes announced.
        hashes: usize,
    },
    /// The payload is longer than [`MAX_MESSAGE_BYTES`].
    #[error("{message} of {got} bytes: at most {MAX_MESSAGE_BYTES} are accepted")]
    TooLong {
        /// The message's name.
        message: &'static str,
        /// Its length in bytes.
        got: usize,
    },
    /// The version has no message with this code.
    #[error("eth/{version} has no message with code {code:#04x}")]
    UnknownCode {
        /// The negotiated version.
        version: u8,
        /// The code received.
        code: u8,
    },
}

/// The first message of a session, in the form of the negotiated version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// eth/66 and eth/68.
    Legacy {
        /// The version's number; must be the negotiated one.
        version: u8,
        /// The network id (the chain id unless configured otherwise).
        network_id: u64,
        /// Sum of the difficulties up to the head, genesis included (height + 1 on QBFT).
        total_difficulty: U256,
        /// The head's hash (commit seals excluded).
        head: B256,
        /// The genesis hash.
        genesis: B256,
        /// The fork identifier at the head.
        fork_id: ForkId,
    },
    /// eth/69 (EIP-7642).
    Range {
        /// The version's number; must be the negotiated one.
        version: u8,
        /// The network id.
        network_id: u64,
        /// The genesis hash.
        genesis: B256,
        /// The fork identifier at the head.
        fork_id: ForkId,
        /// First block whose body and receipts are served.
        earliest: u64,
        /// The head's number.
        latest: u64,
        /// The head's hash.
        latest_hash: B256,
    },
}

impl Status {
    /// The version's number stated.
    pub fn version(&self) -> u8 {
        match self {
            Status::Legacy { version, .. } | Status::Range { version, .. } => *version,
        }
    }

    /// The network id stated.
    pub fn network_id(&self) -> u64 {
        match self {
            Status::Legacy { network_id, .. } | Status::Range { network_id, .. } => *network_id,
        }
    }

    /// The genesis hash stated.
    pub fn genesis(&self) -> B256 {
        match self {
            Status::Legacy { genesis, .. } | Status::Range { genesis, .. } => *genesis,
        }
    }

    /// The fork identifier stated.
    pub fn fork_id(&self) -> ForkId {
        match self {
            Status::Legacy { fork_id, .. } | Status::Range { fork_id, .. } => *fork_id,
        }
    }

    /// The head's hash stated.
    pub fn head_hash(&self) -> B256 {
        match self {
            Status::Legacy { head, .. } => *head,
            Status::Range { latest_hash, .. } => *latest_hash,
        }
    }

    /// The head's number: stated since eth/69, before that unknown until its header is asked for.
    pub fn head_number(&self) -> Option<u64> {
        match self {
            Status::Legacy { .. } => None,
            Status::Range { latest, .. } => Some(*latest),
        }
    }
}

/// Where a header request starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadersStart {
    /// At the block of this hash.
    Hash(B256),
    /// At the block of this number.
    Number(u64),
}

/// What a header request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadersQuery {
    /// The first header of the answer.
    pub start: HeadersStart,
    /// Most headers wanted. Not bounded by the decoder: answer at most [`MAX_HEADERS_SERVED`].
    pub limit: u64,
    /// Blocks left out between two headers of the answer.
    pub skip: u64,
    /// Whether numbers fall.
    pub reverse: bool,
}

/// A block's hash and number, as announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockHashNumber {
    /// The block's hash.
    pub hash: B256,
    /// The block's number.
    pub number: u64,
}

/// An announced transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announced {
    /// The transaction's hash.
    pub hash: B256,
    /// Transaction type and length in bytes (EIP-2718 form), which eth/66 does not say.
    pub kind: Option<(u8, u32)>,
}

/// A message of the eth protocol.
#[derive(Clone, Debug, PartialEq)]
pub enum EthMessage {
    /// The session's first message.
    Status(Status),
    /// Blocks that the sender has imported.
    NewBlockHashes(Vec<BlockHashNumber>),
    /// Transactions in full.
    Transactions(Vec<Transaction>),
    /// Request for headers.
    GetBlockHeaders {
        /// Chosen by the asker, repeated in the answer; any value, zero included.
        request_id: u64,
        /// What is wanted.
        query: HeadersQuery,
    },
    /// Answer to GetBlockHeaders.
    BlockHeaders {
        /// The request's.
        request_id: u64,
        /// In the order asked for; fewer than asked when not known.
        headers: Vec<Header>,
    },
    /// Request for bodies.
    GetBlockBodies {
        /// The request's.
        request_id: u64,
        /// Blocks wanted.
        hashes: Vec<B256>,
    },
    /// Answer to GetBlockBodies.
    BlockBodies {
        /// The request's.
        request_id: u64,
        /// In the order asked for; unknown blocks are left out.
        bodies: Vec<Body>,
    },
    /// A new block in full.
    NewBlock {
        /// The block, sealed.
        block: Box<Block>,
        /// Sum of difficulties up to and with it.
        total_difficulty: U256,
    },
    /// Transactions that the sender's pool holds.
    NewPooledTransactionHashes(Vec<Announced>),
    /// Request for announced transactions.
    GetPooledTransactions {
        /// The request's.
        request_id: u64,
        /// Transactions wanted.
        hashes: Vec<B256>,
    },
    /// Answer to GetPooledTransactions.
    PooledTransactions {
        /// The request's.
        request_id: u64,
        /// In the order asked for; unknown ones are left out.
        transactions: Vec<Transaction>,
    },
    /// Request for receipts.
    GetReceipts {
        /// The request's.
        request_id: u64,
        /// Blocks wanted.
        hashes: Vec<B256>,
    },
    /// Answer to GetReceipts. Blooms are on the wire before eth/69 only; decoding 69 computes them.
    Receipts {
        /// The request's.
        request_id: u64,
        /// One list a block, in the order asked for.
        receipts: Vec<Vec<ReceiptEnvelope>>,
    },
    /// The range of blocks that the sender serves has moved (eth/69).
    BlockRangeUpdate {
        /// First block served.
        earliest: u64,
        /// The head's number.
        latest: u64,
        /// The head's hash.
        latest_hash: B256,
    },
}

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
        let unknown = EthError::UnknownCode { version: version.number(), code };
        let mut input = Input { message, rest: payload };
        let decoded = match code {
            code::STATUS => EthMessage::Status(decode_status(&mut input, version)?),
            code::NEW_BLOCK_HASHES => EthMessage::NewBlockHashes(input.items("blocks", MAX_HASHES, |input| {
                input.enter(|input| Ok(BlockHashNumber { hash: input.value()?, number: input.value()? }))
            })?),
            code::TRANSACTIONS => EthMessage::Transactions(input.values("transactions", MAX_TRANSACTIONS_ACCEPTED)?),
            code::GET_BLOCK_HEADERS => input.enter(|input| {
                let request_id = input.value()?;
                let query = input.enter(decode_headers_query)?;
                Ok(EthMessage::GetBlockHeaders { request_id, query })
            })?,
            code::BLOCK_HEADERS => input.enter(|input| {
                Ok(EthMessage::BlockHeaders {
                    request_id: input.value()?,
                    headers: input.values("headers", MAX_ANSWER_ITEMS)?,
                })
            })?,
            code::GET_BLOCK_BODIES => input.enter(|input| {
                Ok(EthMessage::GetBlockBodies {
                    request_id: input.value()?,
                    hashes: input.values("hashes", MAX_HASHES)?,
                })
            })?,
            code::BLOCK_BODIES => input.enter(|input| {
                Ok(EthMessage::BlockBodies {
                    request_id: input.value()?,
                    bodies: input.values("bodies", MAX_ANSWER_ITEMS)?,
                })
            })?,
            code::NEW_BLOCK => input.enter(|input| {
                Ok(EthMessage::NewBlock { block: Box::new(input.value()?), total_difficulty: input.value()? })
            })?,
            code::NEW_POOLED_TRANSACTION_HASHES => {
                EthMessage::NewPooledTransactionHashes(decode_announcement(&mut input, version)?)
            }
            code::GET_POOLED_TRANSACTIONS => input.enter(|input| {
                Ok(EthMessage::GetPooledTransactions {
                    request_id: input.value()?,
                    hashes: input.values("hashes", MAX_HASHES)?,
                })
            })?,
            code::POOLED_TRANSACTIONS => input.enter(|input| {
                Ok(EthMessage::PooledTransactions {
                    request_id: input.value()?,
                    transactions: input.values("transactions", MAX_TRANSACTIONS_ACCEPTED)?,
                })
            })?,
            code::GET_RECEIPTS => input.enter(|input| {
                Ok(EthMessage::GetReceipts { request_id: input.value()?, hashes: input.values("hashes", MAX_HASHES)? })
            })?,
            code::RECEIPTS => input.enter(|input| {
                let request_id = input.value()?;
                let receipts = input.items("blocks", MAX_ANSWER_ITEMS, |input| match version {
                    EthVersion::V66 | EthVersion::V68 => input.values("receipts", MAX_TRANSACTIONS_ACCEPTED),
                    EthVersion::V69 => input.items("receipts", MAX_TRANSACTIONS_ACCEPTED, decode_flat_receipt),
                })?;
                Ok(EthMessage::Receipts { request_id, receipts })
            })?,
            code::BLOCK_RANGE_UPDATE if version >= EthVersion::V69 => input.enter(|input| {
                Ok(EthMessage::BlockRangeUpdate {
                    earliest: input.value()?,
                    latest: input.value()?,
                    latest_hash: input.value()?,
                })
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
mod tests {
    use super::*;
    use alloy_primitives::{Address, LogData};

    fn comes_back(version: EthVersion, message: EthMessage) -> Bytes {
        let (code, payload) = message.encode(version);
        assert_eq!(EthMessage::decode(version, code, &payload), Ok(message));
        payload
    }

    fn receipt(status: Eip658Value) -> ReceiptWithBloom<Receipt> {
        let log = Log {
            address: Address::repeat_byte(5),
            data: LogData::new_unchecked(vec![B256::repeat_byte(6)], vec![1, 2, 3].into()),
        };
        Receipt { status, cumulative_gas_used: 21_000, logs: vec![log] }.into()
    }

    #[test]
    fn receipts_are_the_same_with_and_without_bloom() {
        let receipts = vec![
            vec![
                ReceiptEnvelope::Legacy(receipt(Eip658Value::PostState(B256::repeat_byte(1)))),
                ReceiptEnvelope::Legacy(receipt(Eip658Value::Eip658(false))),
                ReceiptEnvelope::Eip2930(receipt(Eip658Value::Eip658(true))),
                ReceiptEnvelope::Eip1559(receipt(Eip658Value::Eip658(true))),
                ReceiptEnvelope::Eip7702(receipt(Eip658Value::Eip658(true))),
            ],
            Vec::new(),
        ];
        let message = EthMessage::Receipts { request_id: 0, receipts };
        let with_bloom = comes_back(EthVersion::V68, message.clone());
        let without = comes_back(EthVersion::V69, message);
        assert!(with_bloom.len() > without.len() + 5 * 256);
    }

    /// EIP-7642: `[version, networkid, genesis, forkid, earliest, latest, latestHash]`.
    #[test]
    fn the_status_of_each_version_has_its_form() {
        let fork_id = ForkId { hash: [0xa6, 0x20, 0xdb, 0xe8], next: 0 };
        let (genesis, head) = (B256::repeat_byte(1), B256::repeat_byte(2));
        let range = Status::Range {
            version: 69,
            network_id: 12_120_014,
            genesis,
            fork_id,
            earliest: 0,
            latest: 9,
            latest_hash: head,
        };
        let payload = comes_back(EthVersion::V69, EthMessage::Status(range.clone()));
        let expected = format!("f850{}83b8efcea0{}c684a620dbe8808009a0{}", "45", "01".repeat(32), "02".repeat(32));
        assert_eq!(hex::encode(&payload), expected);
        assert_eq!((range.head_number(), range.head_hash()), (Some(9), head));
        let total_difficulty = U256::from(10);
        let legacy = Status::Legacy { version: 68, network_id: 1, total_difficulty, head, genesis, fork_id };
        comes_back(EthVersion::V68, EthMessage::Status(legacy));
        assert!(EthMessage::decode(EthVersion::V68, code::STATUS, &payload).is_err(), "a form of another version");
    }

    #[test]
    fn requests_and_announcements_come_back() {
        for version in EthVersion::ALL {
            for (start, reverse) in [(HeadersStart::Hash(B256::ZERO), false), (HeadersStart::Number(u64::MAX), true)] {
                let query = HeadersQuery { start, limit: u64::MAX, skip: 3, reverse };
                comes_back(version, EthMessage::GetBlockHeaders { request_id: u64::MAX, query });
            }
            let hashes = vec![B256::repeat_byte(1), B256::ZERO];
            comes_back(version, EthMessage::GetBlockBodies { request_id: 0, hashes: hashes.clone() });
            comes_back(version, EthMessage::GetReceipts { request_id: 1, hashes: hashes.clone() });
            comes_back(version, EthMessage::GetPooledTransactions { request_id: 2, hashes });
            let kind = (version != EthVersion::V66).then_some((2, 110));
            comes_back(version, EthMessage::NewPooledTransactionHashes(vec![Announced { hash: B256::ZERO, kind }; 3]));
            let blocks = vec![BlockHashNumber { hash: B256::ZERO, number: 7 }];
            comes_back(version, EthMessage::NewBlockHashes(blocks));
        }
        let update = EthMessage::BlockRangeUpdate { earliest: 0, latest: 5, latest_hash: B256::ZERO };
        comes_back(EthVersion::V69, update.clone());
        let (code, payload) = update.encode(EthVersion::V69);
        assert_eq!(
            EthMessage::decode(EthVersion::V68, code, &payload),
            Err(EthError::UnknownCode { version: 68, code: 0x11 })
        );
    }

    #[test]
    fn lists_longer_than_any_honest_one_are_refused() {
        let hashes = vec![B256::ZERO; MAX_HASHES + 1];
        let (code, payload) = EthMessage::GetReceipts { request_id: 1, hashes }.encode(EthVersion::V68);
        let refused = EthMessage::decode(EthVersion::V68, code, &payload);
        assert_eq!(refused, Err(EthError::TooMany { message: "GetReceipts", what: "hashes", max: MAX_HASHES }));
        let unequal = [0xc5, 0x82, 1, 2, 0xc0, 0xc0];
        let refused = EthMessage::decode(EthVersion::V68, code::NEW_POOLED_TRANSACTION_HASHES, &unequal);
        assert_eq!(refused, Err(EthError::UnequalAnnouncement { types: 2, sizes: 0, hashes: 0 }));
        let long = vec![0u8; MAX_MESSAGE_BYTES + 1];
        let refused = EthMessage::decode(EthVersion::V68, code::TRANSACTIONS, &long);
        assert!(matches!(refused, Err(EthError::TooLong { .. })));
    }
}
