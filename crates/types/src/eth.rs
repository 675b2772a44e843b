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

mod codec;

use alloy_consensus::ReceiptEnvelope;
use alloy_primitives::{B256, U256};

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
pub const MAX_MESSAGE_BYTES: usize = crate::sizes::MESSAGE_BYTES;
/// Most items accepted in any list of hashes: the largest list that an honest client sends (announcements of 4096).
pub const MAX_HASHES: usize = 4096;
/// Most headers, bodies or receipt lists accepted in one answer: we never ask for more than a client serves (1024 in go-ethereum).
pub const MAX_ANSWER_ITEMS: usize = 1024;
/// Most transactions accepted in the bodies of one answer: as many as two full blocks have. Each takes some 300 bytes in memory.
pub const MAX_BODIES_TRANSACTIONS: usize = 2 * crate::sizes::BLOCK_TRANSACTIONS;
/// Most transactions accepted in one Transactions or PooledTransactions message. With honest ones the byte limit is reached first.
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
    #[error("NewPooledTransactionHashes announces {types} types, {sizes} sizes and {hashes} hashes: the numbers must be equal")]
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
