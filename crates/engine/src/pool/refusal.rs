//! Why the pool did not take a transaction, with the JSON-RPC codes and texts that Besu gives (besu-compat §7.2).

use alloy_primitives::{Address, U256};
use ipe_types::goquorum::GoQuorumFault;
use thiserror::Error;

/// A transaction was not taken. The text is what a client reads in the error's `message`; where Besu has a text for the
/// case it is Besu's, because wallets and relayers compare it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// This very transaction is in the pool already.
    #[error("Known transaction")]
    Known,
    /// It was dropped here for good.
    #[error("Transaction was dropped by this node: {why}")]
    Dropped {
        /// Why, in English.
        why: String,
    },
    /// Another transaction of the same sender and nonce is in the pool and this one does not pay enough more.
    #[error("Replacement transaction underpriced")]
    ReplacementUnderpriced,
    /// It pays no more than the one of the same sender and nonce, which came a short while ago.
    #[error("Replacement transaction too soon: another one with this nonce came a short while ago; try again in {retry_ms} ms")]
    ReplacedTooSoon {
        /// Milliseconds until it would be taken.
        retry_ms: u64,
    },
    /// Signed for another chain.
    #[error("Wrong chainId")]
    WrongChain {
        /// Chain id in the transaction.
        got: u64,
        /// Chain id of this network.
        expected: u64,
    },
    /// Signed for a chain id where the fork in force does not know chain ids yet (before EIP-155).
    #[error("ChainId not supported")]
    ChainIdNotSupported,
    /// The fork in force does not know this type of transaction, or this node carries none (blobs).
    #[error("Invalid transaction type")]
    TypeNotSupported {
        /// EIP-2718 type byte.
        got: u8,
    },
    /// GoQuorum's chains: it is private, or offers a price where gas has none.
    #[error("{0}")]
    GoQuorum(GoQuorumFault),
    /// The fee offered in total exceeds `rpc-tx-feecap`.
    #[error("Transaction fee cap exceeded")]
    FeeCap,
    /// The tip offered is larger than the whole fee offered.
    #[error("Max priority fee per gas exceeds max fee per gas")]
    TipAboveFee,
    /// The nonce is further ahead than the pool holds.
    #[error("Transaction nonce is too distant from current sender nonce")]
    NonceTooDistant {
        /// Nonce of the transaction.
        got: u64,
        /// Largest nonce that would be taken now.
        most: u64,
    },
    /// The nonce is used.
    #[error("Nonce too low")]
    NonceTooLow {
        /// Nonce of the transaction.
        got: u64,
        /// Next nonce of the sender.
        expected: u64,
    },
    /// No key answers to the signature, or its form is not accepted (high s).
    #[error("Invalid signature")]
    Signature,
    /// The gas limit does not cover the transaction's own cost.
    #[error("Intrinsic gas exceeds gas limit")]
    IntrinsicGas {
        /// Gas limit of the transaction.
        limit: u64,
        /// What it costs before the first instruction.
        needed: u64,
    },
    /// Gas at the highest price offered is more than 2^256 − 1 wei, which no block may have.
    #[error("Upfront gas cost cannot exceed 2^256 wei: {gas_limit} gas at {price} wei per gas; offer less for it")]
    CostOverflow {
        /// Gas limit of the transaction.
        gas_limit: u64,
        /// Wei per gas offered.
        price: U256,
    },
    /// Value plus the largest possible fee exceed what the sender has.
    #[error("Upfront cost exceeds account balance")]
    CannotPay {
        /// Wei needed.
        cost: U256,
        /// Wei there.
        balance: U256,
    },
    /// No block can hold it.
    #[error("Transaction gas limit exceeds block gas limit")]
    AboveBlockGas {
        /// Gas limit of the transaction.
        limit: u64,
        /// Gas limit of a block.
        block: u64,
    },
    /// Above the per-transaction gas cap of the fork (EIP-7825).
    #[error("Transaction gas limit exceeds the cap of {cap} gas per transaction")]
    AboveGasCap {
        /// Gas limit of the transaction.
        limit: u64,
        /// The cap.
        cap: u64,
    },
    /// The creation code is longer than EIP-3860 allows.
    #[error("Initcode size of {got} bytes exceeds the maximum of {most}")]
    InitcodeTooLong {
        /// Bytes of creation code.
        got: usize,
        /// Most bytes.
        most: usize,
    },
    /// The sender may not send transactions (account rules).
    #[error("Sender account not authorized to send transactions")]
    NotPermitted {
        /// The sender.
        sender: Address,
    },
    /// The contract with the account rules gives no answer, so that nobody may send.
    #[error(
        "Sender account not authorized to send transactions: the rules on chain give no answer ({why}); tell the operator of this node"
    )]
    RulesBroken {
        /// The sender.
        sender: Address,
        /// What the contract did instead.
        why: String,
    },
    /// The sender is a contract (EIP-3607).
    #[error("Sender account is a contract and cannot send transactions")]
    SenderHasCode {
        /// The sender.
        sender: Address,
    },
    /// The node is still catching up, so it cannot judge.
    #[error("Initial sync is still in progress")]
    Syncing,
    /// Offers less than `min-gas-price`.
    #[error("Gas price below configured minimum gas price")]
    BelowMinimumPrice {
        /// Wei per gas offered.
        got: U256,
        /// The minimum.
        least: u128,
    },
    /// Offers less than the base fee of the next block.
    #[error("Gas price below current base fee")]
    BelowBaseFee {
        /// Wei per gas offered.
        got: U256,
        /// The base fee.
        base_fee: u64,
    },
    /// Longer than a transaction may be.
    #[error("Transaction of {got} bytes is longer than this node takes ({most} bytes)")]
    TooLong {
        /// Encoded length.
        got: usize,
        /// Largest length.
        most: usize,
    },
    /// The sender has as many transactions waiting as one sender may have.
    #[error("Sender has {most} transactions waiting, which is the most that this node holds for one; wait for some to be mined")]
    SenderFull {
        /// The limit.
        most: usize,
    },
    /// More is waiting than the next blocks can hold: the node sheds load instead of letting everybody wait.
    #[error("Node is at capacity: {waiting} transactions wait and the next blocks hold {room}; try again in {retry_ms} ms")]
    Overloaded {
        /// Transactions that could be included now.
        waiting: usize,
        /// How many the pool lets wait at the pace that blocks currently have.
        room: usize,
        /// Suggested pause before trying again, milliseconds (one block period).
        retry_ms: u64,
    },
    /// The pool is full and everything in it is at least as good as this one.
    #[error("Transaction pool is full ({count} transactions, {bytes} bytes); try again later or offer a higher price")]
    Full {
        /// Transactions held.
        count: usize,
        /// Encoded bytes held.
        bytes: usize,
    },
}

impl Refusal {
    /// JSON-RPC error code, as Besu gives it for the case (besu-compat §7.2). −32005 ("limit exceeded") marks what a
    /// client should simply try again later.
    pub fn code(&self) -> i32 {
        match self {
            Refusal::Known
            | Refusal::Dropped { .. }
            | Refusal::ReplacementUnderpriced
            | Refusal::ReplacedTooSoon { .. }
            | Refusal::WrongChain { .. }
            | Refusal::ChainIdNotSupported
            | Refusal::GoQuorum(_)
            | Refusal::FeeCap
            | Refusal::TipAboveFee
            | Refusal::NonceTooDistant { .. }
            | Refusal::InitcodeTooLong { .. }
            | Refusal::SenderHasCode { .. }
            | Refusal::TooLong { .. }
            | Refusal::SenderFull { .. } => -32000,
            Refusal::NonceTooLow { .. } => -32001,
            Refusal::Signature => -32002,
            Refusal::IntrinsicGas { .. } => -32003,
            Refusal::CannotPay { .. } => -32004,
            // Besu's code where it has none of its own.
            Refusal::CostOverflow { .. } => -32603,
            Refusal::AboveBlockGas { .. } | Refusal::AboveGasCap { .. } | Refusal::Overloaded { .. } | Refusal::Full { .. } => {
                -32005
            }
            Refusal::NotPermitted { .. } | Refusal::RulesBroken { .. } => -32007,
            Refusal::Syncing => -32008,
            Refusal::BelowMinimumPrice { .. } | Refusal::BelowBaseFee { .. } => -32009,
            Refusal::TypeNotSupported { .. } => -32602,
        }
    }

    /// Short name for metrics and counters, stable.
    pub fn label(&self) -> &'static str {
        match self {
            Refusal::Known => "known",
            Refusal::Dropped { .. } => "dropped",
            Refusal::ReplacementUnderpriced => "replacement_underpriced",
            Refusal::ReplacedTooSoon { .. } => "replaced_too_soon",
            Refusal::WrongChain { .. } => "wrong_chain",
            Refusal::ChainIdNotSupported => "chain_id_not_supported",
            Refusal::TypeNotSupported { .. } => "type_not_supported",
            Refusal::GoQuorum(GoQuorumFault::Private) => "private",
            Refusal::GoQuorum(GoQuorumFault::Priced { .. }) => "price_not_zero",
            Refusal::FeeCap => "fee_cap",
            Refusal::TipAboveFee => "tip_above_fee",
            Refusal::NonceTooDistant { .. } => "nonce_too_distant",
            Refusal::NonceTooLow { .. } => "nonce_too_low",
            Refusal::Signature => "signature",
            Refusal::IntrinsicGas { .. } => "intrinsic_gas",
            Refusal::CannotPay { .. } => "cannot_pay",
            Refusal::CostOverflow { .. } => "cost_overflow",
            Refusal::AboveBlockGas { .. } => "above_block_gas",
            Refusal::AboveGasCap { .. } => "above_gas_cap",
            Refusal::InitcodeTooLong { .. } => "initcode_too_long",
            Refusal::NotPermitted { .. } => "not_permitted",
            Refusal::RulesBroken { .. } => "rules_broken",
            Refusal::SenderHasCode { .. } => "sender_has_code",
            Refusal::Syncing => "syncing",
            Refusal::BelowMinimumPrice { .. } => "below_minimum_price",
            Refusal::BelowBaseFee { .. } => "below_base_fee",
            Refusal::TooLong { .. } => "too_long",
            Refusal::SenderFull { .. } => "sender_full",
            Refusal::Overloaded { .. } => "overloaded",
            Refusal::Full { .. } => "full",
        }
    }

    /// Besu's name of the reason, a metric label there; for what Besu does not refuse, a name in the same form.
    pub fn reason(&self) -> &'static str {
        match self {
            Refusal::Known => "TRANSACTION_ALREADY_KNOWN",
            Refusal::Dropped { .. } => "DROPPED",
            Refusal::ReplacementUnderpriced => "TRANSACTION_REPLACEMENT_UNDERPRICED",
            Refusal::ReplacedTooSoon { .. } => "TRANSACTION_REPLACED_TOO_SOON",
            Refusal::WrongChain { .. } => "WRONG_CHAIN_ID",
            Refusal::ChainIdNotSupported => "REPLAY_PROTECTED_SIGNATURES_NOT_SUPPORTED",
            Refusal::TypeNotSupported { .. } => "INVALID_TRANSACTION_FORMAT",
            Refusal::GoQuorum(GoQuorumFault::Private) => "PRIVATE_TRANSACTION",
            Refusal::GoQuorum(GoQuorumFault::Priced { .. }) => "GAS_PRICE_NOT_ZERO",
            Refusal::FeeCap => "TX_FEECAP_EXCEEDED",
            Refusal::TipAboveFee => "MAX_PRIORITY_FEE_PER_GAS_EXCEEDS_MAX_FEE_PER_GAS",
            Refusal::NonceTooDistant { .. } => "NONCE_TOO_FAR_IN_FUTURE_FOR_SENDER",
            Refusal::NonceTooLow { .. } => "NONCE_TOO_LOW",
            Refusal::Signature => "INVALID_SIGNATURE",
            Refusal::IntrinsicGas { .. } => "INTRINSIC_GAS_EXCEEDS_GAS_LIMIT",
            Refusal::CannotPay { .. } => "UPFRONT_COST_EXCEEDS_BALANCE",
            Refusal::CostOverflow { .. } => "UPFRONT_COST_EXCEEDS_UINT256",
            Refusal::AboveBlockGas { .. } => "EXCEEDS_BLOCK_GAS_LIMIT",
            Refusal::AboveGasCap { .. } => "EXCEEDS_PER_TRANSACTION_GAS_LIMIT",
            Refusal::InitcodeTooLong { .. } => "INITCODE_TOO_LARGE",
            Refusal::NotPermitted { .. } | Refusal::RulesBroken { .. } | Refusal::SenderHasCode { .. } => {
                "TX_SENDER_NOT_AUTHORIZED"
            }
            Refusal::Syncing => "CHAIN_HEAD_WORLD_STATE_NOT_AVAILABLE",
            Refusal::BelowMinimumPrice { .. } => "GAS_PRICE_TOO_LOW",
            Refusal::BelowBaseFee { .. } => "GAS_PRICE_BELOW_CURRENT_BASE_FEE",
            Refusal::TooLong { .. } => "TRANSACTION_TOO_LONG",
            Refusal::SenderFull { .. } => "SENDER_FULL",
            Refusal::Overloaded { .. } => "OVERLOADED",
            Refusal::Full { .. } => "POOL_FULL",
        }
    }

    /// Whether a peer that follows the chain and keeps the rules may have passed the transaction on: the reason lies in what
    /// this node holds or chose, or in what the peer could not know.
    pub fn is_honest(&self) -> bool {
        matches!(
            self,
            Refusal::Known
                | Refusal::Dropped { .. }
                | Refusal::ReplacementUnderpriced
                | Refusal::ReplacedTooSoon { .. }
                | Refusal::Syncing
                // GoQuorum carries private ones, and looks prices up at its head.
                | Refusal::GoQuorum(_)
                | Refusal::BelowMinimumPrice { .. }
                | Refusal::BelowBaseFee { .. }
                | Refusal::SenderFull { .. }
                | Refusal::Overloaded { .. }
                | Refusal::Full { .. }
                | Refusal::NotPermitted { .. }
                | Refusal::RulesBroken { .. }
        )
    }

    /// Whether the same transaction may be taken later without any change.
    pub fn is_passing(&self) -> bool {
        matches!(
            self,
            Refusal::NonceTooDistant { .. }
                | Refusal::ReplacedTooSoon { .. }
                | Refusal::CannotPay { .. }
                | Refusal::Syncing
                | Refusal::BelowBaseFee { .. }
                | Refusal::SenderFull { .. }
                | Refusal::Overloaded { .. }
                | Refusal::Full { .. }
                | Refusal::NotPermitted { .. }
                | Refusal::RulesBroken { .. }
        )
    }
}
