//! A block as it goes over the eth wire, into proposals and into block files:
//! `[header, transactions, ommers[, withdrawals]]`.

use std::sync::Arc;

use alloy_consensus::proofs::calculate_transaction_root;
use alloy_eips::eip2718::{Decodable2718, Eip2718Error};
use alloy_primitives::B256;
use alloy_rlp::{BufMut, Decodable, Encodable, Error as RlpError, Header as RlpHeader, Result as RlpResult};

use crate::extra::ExtraDataError;
use crate::header::{EMPTY_ROOT, Header, block_hash, with_round_and_seals};
use crate::sizes::BLOCK_TRANSACTIONS;

pub use crate::transaction::Transaction;
pub use alloy_eips::eip4895::Withdrawal;

/// Bytes of one block's RLP that are read from a file or a message.
pub const MAX_BLOCK_BYTES: usize = crate::sizes::READ_BLOCK_BYTES;

/// Transactions and, from Shanghai on, the list of withdrawals (always empty in QBFT). Ommers do not exist in QBFT:
/// an empty list is written and only an empty one is read.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Body {
    /// In execution order.
    pub transactions: Vec<Transaction>,
    /// `None` before Shanghai.
    pub withdrawals: Option<Vec<Withdrawal>>,
}

/// A header with its body; nothing about it has been checked.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Block {
    /// Fifteen fields and those that forks added.
    pub header: Header,
    /// What was executed.
    pub body: Body,
}

/// A body that is not the one that its header names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyFault {
    /// Other transactions.
    #[error("transactions root is {computed}, the header says {header}")]
    TransactionsRoot {
        /// In the header.
        header: B256,
        /// Of the body.
        computed: B256,
    },
    /// The body has withdrawals, or none where the header names them.
    #[error("withdrawals: {reason}")]
    Withdrawals {
        /// What does not fit.
        reason: &'static str,
    },
}

impl Block {
    /// Identity of the block (spec/qbft.md 3.4).
    ///
    /// # Errors
    /// The extra data does not decode.
    pub fn hash(&self) -> Result<B256, ExtraDataError> {
        block_hash(&self.header)
    }

    /// Bytes of the block's RLP at round 0 and without seals: what rules about size count, so that no verdict depends on who
    /// sealed it when. Items that the extra data has beyond the known ones do not count, as they do not count in the hash.
    ///
    /// # Errors
    /// The extra data does not decode.
    pub fn unsealed_length(&self) -> Result<usize, ExtraDataError> {
        let header = with_round_and_seals(&self.header, 0, Vec::new())?;
        let items = header.length() + self.body.items_length();
        Ok(items + alloy_rlp::length_of_length(items))
    }

    /// [`Body::named_by`] of this block's own header.
    ///
    /// # Errors
    /// What does not fit.
    pub fn check_body(&self) -> Result<(), BodyFault> {
        self.body.named_by(&self.header)
    }

    /// RLP of the block in a buffer of its own.
    pub fn to_rlp(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.length());
        self.encode(&mut out);
        out
    }
}

impl Body {
    /// Whether the header names this body: by the root of the transactions, and by the withdrawals, of which QBFT has none.
    /// Ommers cannot differ: only an empty list is read. The block hash and every digest cover the header only, so whoever takes
    /// a body from anybody but the author of a signature over it has to ask this.
    ///
    /// Costs a hash tree over the transactions.
    ///
    /// # Errors
    /// What does not fit.
    pub fn named_by(&self, header: &Header) -> Result<(), BodyFault> {
        // The withdrawals first, which cost nothing.
        self.fits(header, header.transactions_root)?;
        self.fits(header, self.transactions_root())
    }

    /// Root of the hash tree over the transactions.
    pub fn transactions_root(&self) -> B256 {
        calculate_transaction_root(&self.transactions)
    }

    /// [`Body::named_by`] for whoever has computed the root already.
    ///
    /// # Errors
    /// What does not fit.
    pub fn fits(&self, header: &Header, transactions_root: B256) -> Result<(), BodyFault> {
        let reason = match (&self.withdrawals, header.withdrawals_root) {
            (None, None) => None,
            (Some(list), Some(root)) if list.is_empty() && root == EMPTY_ROOT => None,
            (Some(_), Some(_)) => Some("QBFT has none, the list must be empty"),
            (None, Some(_)) => Some("the header names a list, the body has none"),
            (Some(_), None) => Some("the body has a list, the header names none"),
        };
        if let Some(reason) = reason {
            return Err(BodyFault::Withdrawals { reason });
        }
        let (header, computed) = (header.transactions_root, transactions_root);
        if header == computed { Ok(()) } else { Err(BodyFault::TransactionsRoot { header, computed }) }
    }

    /// [`Body::named_by`] without the reason.
    pub fn is_named_by(&self, header: &Header) -> bool {
        self.named_by(header).is_ok()
    }

    /// Bytes that it takes in memory beside those of its RLP, about: what stands for an item of a list is larger than the item may be.
    /// Costs a look at each transaction.
    pub fn overhead(&self) -> usize {
        let lists = |tx: &Transaction| {
            size_of_val(tx.authorization_list().unwrap_or_default()) + size_of_val(tx.access_list().map_or(&[][..], |list| &list.0))
        };
        size_of_val(&self.transactions[..])
            + size_of_val(self.withdrawals.as_deref().unwrap_or_default())
            + self.transactions.iter().map(lists).sum::<usize>()
    }

    fn items_length(&self) -> usize {
        self.transactions.length() + 1 + self.withdrawals.as_ref().map_or(0, Encodable::length)
    }

    fn encode_items(&self, out: &mut dyn BufMut) {
        self.transactions.encode(out);
        out.put_u8(alloy_rlp::EMPTY_LIST_CODE);
        if let Some(withdrawals) = &self.withdrawals {
            withdrawals.encode(out);
        }
    }

    fn decode_items(items: &mut &[u8]) -> RlpResult<Self> {
        let transactions = decode_transactions(items)?;
        if !RlpHeader::decode_bytes(items, true)?.is_empty() {
            return Err(RlpError::Custom("ommers are not empty, QBFT has none"));
        }
        let withdrawals = if items.is_empty() { None } else { Some(Vec::<Withdrawal>::decode(items)?) };
        if !items.is_empty() {
            return Err(RlpError::ListLengthMismatch { expected: 0, got: items.len() });
        }
        Ok(Self { transactions, withdrawals })
    }
}

/// A transaction takes some 300 bytes in memory, and as little as ten in RLP (twelve where it is sound: a creation signed with r = s =
/// 1). So they are counted before the first is made.
fn decode_transactions(items: &mut &[u8]) -> RlpResult<Vec<Transaction>> {
    let mut list = RlpHeader::decode_bytes(items, true)?;
    let mut uncounted = list;
    let mut count = 0;
    while !uncounted.is_empty() {
        let item = RlpHeader::decode(&mut uncounted)?;
        uncounted = uncounted.get(item.payload_length..).ok_or(RlpError::InputTooShort)?;
        count += 1;
        if count > BLOCK_TRANSACTIONS {
            return Err(RlpError::Custom("more than 131,072 transactions in a block"));
        }
    }
    // An item of one byte is none, and asks for no room.
    let mut transactions = Vec::with_capacity(count.min(list.len() / 10));
    while !list.is_empty() {
        transactions.push(decode_listed(&mut list)?);
    }
    Ok(transactions)
}

/// One transaction or receipt as an item of a list, in a block or in a message: a typed one is a string, a legacy one a
/// list (EIP-2718), and nothing else is either. Other forms of the same transaction would give one block several
/// encodings, and clients that disagree about them (besu-eth/besu#11103).
pub(crate) fn decode_listed<T: Decodable + Decodable2718>(items: &mut &[u8]) -> RlpResult<T> {
    match items.first() {
        Some(0xc0..) => T::decode(items),
        Some(0x80..) => {
            let mut typed = RlpHeader::decode_bytes(items, false)?;
            if !matches!(typed.first(), Some(0x01..=0x7f)) {
                return Err(RlpError::Custom("a string in the place of a transaction or receipt does not begin with its type"));
            }
            let item = T::decode_2718(&mut typed).map_err(|error| match error {
                Eip2718Error::RlpError(error) => error,
                _ => RlpError::Custom("unknown transaction type"),
            })?;
            if typed.is_empty() { Ok(item) } else { Err(RlpError::UnexpectedLength) }
        }
        _ => Err(RlpError::Custom("a typed transaction or receipt in a list is a string, a legacy one a list")),
    }
}

/// As in BlockBodies of the eth wire: `[transactions, ommers[, withdrawals]]`.
impl Encodable for Body {
    fn encode(&self, out: &mut dyn BufMut) {
        RlpHeader { list: true, payload_length: self.items_length() }.encode(out);
        self.encode_items(out);
    }

    fn length(&self) -> usize {
        let items = self.items_length();
        items + alloy_rlp::length_of_length(items)
    }
}

impl Decodable for Body {
    fn decode(buffer: &mut &[u8]) -> RlpResult<Self> {
        let mut items = RlpHeader::decode_bytes(buffer, true)?;
        Self::decode_items(&mut items)
    }
}

impl Encodable for Block {
    fn encode(&self, out: &mut dyn BufMut) {
        let payload_length = self.header.length() + self.body.items_length();
        RlpHeader { list: true, payload_length }.encode(out);
        self.header.encode(out);
        self.body.encode_items(out);
    }

    fn length(&self) -> usize {
        let items = self.header.length() + self.body.items_length();
        items + alloy_rlp::length_of_length(items)
    }
}

impl Decodable for Block {
    fn decode(buffer: &mut &[u8]) -> RlpResult<Self> {
        let mut items = RlpHeader::decode_bytes(buffer, true)?;
        let header = Header::decode(&mut items)?;
        let body = Body::decode_items(&mut items)?;
        Ok(Self { header, body })
    }
}

/// A block with a quorum of commit seals in its extra data, beside its identity, so that it is hashed once.
#[derive(Clone, Debug)]
pub struct SealedBlock {
    /// Round and seals inside.
    pub block: Arc<Block>,
    /// Block hash.
    pub hash: B256,
}
