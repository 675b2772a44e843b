//! The ladder that a block climbs: [`RawBlock`] → [`Block`] → [`CheckedBlock`] → `FinalBlock`. Only the function that
//! checks makes the next rung, and only a final block can be written.

use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_rlp::Decodable;
use ipe_types::block::{Block, MAX_BLOCK_BYTES, Transaction};
use ipe_types::extra::Vote;

use crate::bound::{Bound, Cut};
use crate::execute::Executed;
use crate::receipts::Receipt;

/// Bytes that claim to be a block; nothing about them is known.
#[derive(Clone, Debug)]
pub struct RawBlock(pub Bytes);

impl RawBlock {
    /// Decodes the bytes.
    ///
    /// # Errors
    /// More than [`MAX_BLOCK_BYTES`], not a block's RLP, or bytes behind it.
    pub fn decode(&self) -> Result<Block, alloy_rlp::Error> {
        if self.0.len() > MAX_BLOCK_BYTES {
            return Err(alloy_rlp::Error::Custom("block has more bytes than are read"));
        }
        let mut bytes = self.0.as_ref();
        let block = Block::decode(&mut bytes)?;
        if bytes.is_empty() { Ok(block) } else { Err(alloy_rlp::Error::UnexpectedLength) }
    }
}

/// A transaction with what recovery and hashing cost, so that neither is done twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The transaction.
    pub tx: Transaction,
    /// Recovered from its signature.
    pub sender: Address,
    /// Transaction hash.
    pub hash: B256,
}

impl Candidate {
    /// Recovers the sender (a low-s signature is required, EIP-2).
    ///
    /// # Errors
    /// No sender can be recovered.
    pub fn recover(tx: Transaction) -> Result<Self, crate::senders::SenderError> {
        let sender = crate::senders::recover(&tx)?;
        let hash = *tx.tx_hash();
        Ok(Self { tx, sender, hash })
    }
}

/// What the proposer asks the builder for.
#[derive(Clone, Debug)]
pub struct BuildOrder {
    /// Seconds; the caller keeps it at least a block period after the parent's.
    pub timestamp: u64,
    /// The proposer's address.
    pub coinbase: Address,
    /// Written into the extra data (Besu ≥ 24.12 puts the message's round there).
    pub round: u32,
    /// Free bytes in front of the extra data; cut or filled with zeros to 32.
    pub vanity: Bytes,
    /// Vote to cast; dropped in contract mode.
    pub vote: Option<Vote>,
    /// Wei; the base fee under a fixed base fee (`fixedBaseFee`), else without effect.
    pub min_gas_price: u64,
    /// Gas limit towards which the block moves by at most parent/1024 − 1; `None` keeps the parent's.
    pub target_gas_limit: Option<u64>,
}

/// What a validator asks of a proposal beyond the chain's rules. Other nodes may ask for something else, so that a block which
/// a quorum has prepared is judged without `gas_limit_aim` and without a bound of memory: whoever refused it could keep the
/// height from ever being decided.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// Wei; the base fee where it is fixed.
    pub min_gas_price: u64,
    /// The gas limit may move towards this, or within an eighth of it; `None`: anywhere that the rules allow. A step is a
    /// thousandth, and whoever could take one in each of its turns would bring the limit to any value within hours.
    pub gas_limit_aim: Option<u64>,
    /// How long executing it may take.
    pub bound: Bound<'a>,
}

impl Terms<'_> {
    /// Nothing but the chain's rules, the base fee 0 where it is fixed.
    pub const NONE: Terms<'static> = Terms { min_gas_price: 0, gas_limit_aim: None, bound: Bound::NONE };
}

/// What became of the candidate handed out before; the builder tells it when it asks for the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Feedback {
    /// The first call: nothing was handed out yet.
    Start,
    /// It is in the block.
    Included {
        /// Gas it used.
        gas_used: u64,
    },
    /// Its nonce was used already; it can never be included.
    NonceTooLow {
        /// The account's nonce.
        expected: u64,
    },
    /// An earlier nonce of the sender is missing.
    NonceTooHigh {
        /// The account's nonce.
        expected: u64,
    },
    /// Its gas limit does not fit into what is left of this block; a smaller one may.
    DoesNotFit {
        /// Gas left in the block.
        gas_left: u64,
    },
    /// It would make the block larger than a block may be.
    TooManyBytes,
    /// It was stopped while it ran, and is not in the block.
    Cut(Cut),
    /// The rules on chain do not permit its sender, on this state.
    NotPermitted {
        /// A no of the contract with the rules, or why it did not answer.
        reason: String,
    },
    /// It cannot be included on this state or under these rules.
    Refused {
        /// What is wrong.
        reason: String,
    },
}

/// A block whose header and execution were checked. Cheap to clone; the result of the execution inside is shared.
#[derive(Clone, Debug)]
pub struct CheckedBlock {
    pub(crate) block: Arc<Block>,
    pub(crate) hash: B256,
    pub(crate) executed: Arc<Executed>,
    /// Who sealed this very header, when its seals were checked, too.
    pub(crate) sealers: Option<Arc<[Address]>>,
}

impl CheckedBlock {
    /// The block as it was checked or built.
    pub fn block(&self) -> &Arc<Block> {
        &self.block
    }

    /// Block hash.
    pub fn hash(&self) -> B256 {
        self.hash
    }

    /// Senders of its transactions, in order.
    pub fn senders(&self) -> &[Address] {
        &self.executed.senders
    }

    /// Receipts, in order.
    pub fn receipts(&self) -> &Arc<Vec<Receipt>> {
        &self.executed.receipts
    }

    /// True without transactions: what the empty-block period is about.
    pub fn is_empty(&self) -> bool {
        self.block.body.transactions.is_empty()
    }
}

/// A checked block with the round and seals that make it final: the only thing that can be imported.
#[derive(Clone, Debug)]
pub(crate) struct FinalBlock {
    pub(crate) block: Arc<Block>,
    pub(crate) hash: B256,
    pub(crate) executed: Arc<Executed>,
    pub(crate) sealers: Arc<[Address]>,
}

/// A block that was just written.
#[derive(Clone, Debug)]
pub struct Imported {
    /// With round and seals.
    pub block: Arc<Block>,
    /// Block hash.
    pub hash: B256,
    /// One per transaction.
    pub receipts: Arc<Vec<Receipt>>,
    /// One per transaction.
    pub senders: Arc<Vec<Address>>,
    /// Who sealed it, in the order of the seals.
    pub sealers: Arc<[Address]>,
    /// Sum of difficulties up to this block.
    pub total_difficulty: U256,
}

impl Imported {
    /// Height of the block.
    pub fn number(&self) -> u64 {
        self.block.header.number
    }
}
