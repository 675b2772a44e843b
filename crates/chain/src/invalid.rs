//! Why a block is not accepted: one variant per rule, with what was got and what was expected.

use alloy_primitives::{Address, B256, U256};
use ipe_types::block::BodyFault;
use ipe_types::extra::ExtraDataError;
use ipe_types::seals::SealFault;
use thiserror::Error;

use crate::bound::Cut;

/// A rule that a block breaks (spec/qbft.md 4.1), or the reason why it could not be judged.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidBlock {
    /// The parent is not the head of this chain.
    #[error("parent hash is {got}, expected the head's {expected}")]
    ParentHash {
        /// In the header.
        got: B256,
        /// Hash of our head.
        expected: B256,
    },
    /// The number does not follow the parent's.
    #[error("number is {got}, expected {expected} (one more than the head)")]
    Number {
        /// In the header.
        got: u64,
        /// Head + 1.
        expected: u64,
    },
    /// The extra data does not decode, so the block has no hash.
    #[error("{0}")]
    ExtraData(#[from] ExtraDataError),
    /// A round that clients with signed 32-bit rounds cannot read.
    #[error("round is {got}, expected at most {max}", max = i32::MAX)]
    Round {
        /// In the extra data.
        got: u32,
    },
    /// Extra data in another form than the canonical one, or with seals: GoQuorum reads one form only, and no client proposes
    /// another.
    #[error("extra data is not in its canonical form without further items, or a proposal carries seals")]
    ExtraDataForm,
    /// Extra data larger than with the most validators and seals.
    #[error("extra data has {got} bytes, expected at most {max}")]
    ExtraDataSize {
        /// Bytes.
        got: usize,
        /// Bytes.
        max: usize,
    },
    /// A vanity of another length.
    #[error("vanity has {got} bytes, expected {expected} (in a proposal exactly, at import at most)")]
    Vanity {
        /// Bytes.
        got: usize,
        /// Bytes.
        expected: usize,
    },
    /// A field of a proposal that our own builder would have written in another way (docs/spec/header-fields.md).
    #[error("field {field} is {got}, expected {expected}: what every builder has to write here")]
    Field {
        /// JSON name of the header field.
        field: &'static str,
        /// In the header, or `no value`.
        got: String,
        /// What our builder writes, or `no value`.
        expected: String,
    },
    /// Gas used above the gas limit.
    #[error("gas used {used} is above the gas limit {limit}")]
    GasAboveLimit {
        /// `gasUsed`.
        used: u64,
        /// `gasLimit`.
        limit: u64,
    },
    /// Gas limit outside 5000 … 2^63−1.
    #[error("gas limit is {got}, expected 5000 to 9223372036854775807")]
    GasLimitRange {
        /// `gasLimit`.
        got: u64,
    },
    /// Gas limit too far from the parent's.
    #[error("gas limit {got} differs from the parent's {parent} by {delta}, expected less than {bound}")]
    GasLimitDelta {
        /// `gasLimit`.
        got: u64,
        /// The parent's (doubled on the first London block).
        parent: u64,
        /// Distance.
        delta: u64,
        /// parent / 1024; the distance must be below it.
        bound: u64,
    },
    /// A step of the gas limit that this node does not vote for.
    #[error(
        "gas limit {got} moves away from {aim} (the parent has {parent}), this node's target-gas-limit or else the limit of the \
         genesis; set target-gas-limit for it to vote for such steps"
    )]
    GasLimitAway {
        /// `gasLimit`.
        got: u64,
        /// The parent's (doubled on the first London block).
        parent: u64,
        /// Towards which it may move, or within an eighth.
        aim: u64,
    },
    /// A field that the fork of this block does not have.
    #[error("field {field} is present, but {fork} does not have it")]
    FieldBeforeFork {
        /// JSON name of the header field.
        field: &'static str,
        /// Fork in force at the block.
        fork: String,
    },
    /// A field that the fork of this block needs.
    #[error("field {field} is missing, {fork} needs it")]
    FieldMissing {
        /// JSON name of the header field.
        field: &'static str,
        /// Fork in force at the block.
        fork: String,
    },
    /// More than a second ahead of the clock.
    #[error("timestamp {got} is in the future: the clock says {now}, one second ahead is allowed")]
    TimestampFuture {
        /// Seconds.
        got: u64,
        /// Seconds, by our clock.
        now: u64,
    },
    /// Closer to the parent than the block period.
    #[error("timestamp {got} is too early: the parent has {parent} and the block period is {period} s")]
    TimestampEarly {
        /// Seconds.
        got: u64,
        /// Seconds.
        parent: u64,
        /// Seconds.
        period: u64,
    },
    /// Not the BFT constant.
    #[error("mix hash is {got}, expected {expected}")]
    MixHash {
        /// In the header.
        got: B256,
        /// The constant.
        expected: B256,
    },
    /// Not 1.
    #[error("difficulty is {got}, expected 1")]
    Difficulty {
        /// In the header.
        got: U256,
    },
    /// Not the hash of the empty list.
    #[error("ommers hash is {got}, expected {expected}: QBFT has no ommers")]
    OmmersHash {
        /// In the header.
        got: B256,
        /// Of the empty list.
        expected: B256,
    },
    /// Header mode: the listed validators are not those after the parent.
    #[error("validators in the extra data are {got:?}, expected {expected:?}")]
    Validators {
        /// As listed.
        got: Vec<Address>,
        /// The set after the parent, ascending.
        expected: Vec<Address>,
    },
    /// Contract mode: extra data lists validators or a vote.
    #[error("extra data carries {what}, expected none while a contract selects the validators")]
    NotInContractMode {
        /// `validators` or `a vote`.
        what: &'static str,
    },
    /// The coinbase is no validator.
    #[error("coinbase {got} is not a validator of this height")]
    Coinbase {
        /// In the header.
        got: Address,
    },
    /// The validators of the height cannot be known (contract mode: the call failed).
    #[error("the validators of height {number} cannot be known: {reason}")]
    ValidatorsUnknown {
        /// Height to be sealed.
        number: u64,
        /// What failed.
        reason: String,
    },
    /// No quorum of commit seals.
    #[error(transparent)]
    Seals(#[from] SealFault),
    /// The body is not the one that the header names.
    #[error(transparent)]
    Body(#[from] BodyFault),
    /// Larger than a block may be.
    #[error("block has {got} bytes of RLP without seals, expected at most {max}")]
    TooLarge {
        /// Bytes.
        got: usize,
        /// Bytes.
        max: usize,
    },
    /// A transaction that may not be in this block.
    #[error("transaction {index} ({hash}): {reason}")]
    Transaction {
        /// Position, from 0.
        index: usize,
        /// Its hash.
        hash: B256,
        /// What is wrong with it.
        reason: String,
    },
    /// A transaction whose sender the rules on chain do not permit.
    #[error("transaction {index} ({hash}) of {sender}: {reason}")]
    NotPermitted {
        /// Position, from 0.
        index: usize,
        /// Its hash.
        hash: B256,
        /// Who signed it.
        sender: Address,
        /// A no of the contract with the rules, or why it did not answer.
        reason: String,
    },
    /// The receipts are not the ones the header names.
    #[error("receipts root is {computed}, the header says {header}")]
    ReceiptsRoot {
        /// In the header.
        header: B256,
        /// After execution.
        computed: B256,
    },
    /// Gas used is not what execution used.
    #[error("gas used is {computed}, the header says {header}")]
    GasUsed {
        /// In the header.
        header: u64,
        /// After execution.
        computed: u64,
    },
    /// The logs bloom is not that of the receipts.
    #[error("logs bloom is not that of the receipts")]
    LogsBloom,
    /// The state after the block is another one.
    #[error("state root is {computed}, the header says {header}")]
    StateRoot {
        /// In the header.
        header: B256,
        /// After execution.
        computed: B256,
    },
    /// The requests that execution produced are others (EIP-7685).
    #[error("requests hash is {computed}, the header says {header}")]
    RequestsHash {
        /// In the header.
        header: B256,
        /// After execution.
        computed: B256,
    },
    /// A system contract failed (EIP-4788, 2935, 7002, 7251), or a deposit cannot be read (EIP-6110).
    #[error("system contract {contract}: {reason}")]
    SystemCall {
        /// The contract.
        contract: Address,
        /// What happened.
        reason: String,
    },
    /// The block's reward makes a balance larger than 256 bits.
    #[error("the block reward does not fit into the balance of {beneficiary}")]
    Reward {
        /// Who would get it.
        beneficiary: Address,
    },
    /// A sealed block that is not the checked one.
    #[error("the sealed block {got} is not the checked block {expected}")]
    OtherBlock {
        /// Hash of the sealed block.
        got: B256,
        /// Hash of the checked block.
        expected: B256,
    },
    /// Executing it was stopped, for it took more than this node gives to a proposal: no vote, and no verdict.
    #[error("transaction {index} ({hash}) takes more than this node gives to a proposal: {cut}")]
    TooDear {
        /// Place in the block.
        index: usize,
        /// Its hash.
        hash: B256,
        /// What it took.
        cut: Cut,
    },
    /// The block could not be judged: says nothing about the block or who sent it.
    #[error("the block could not be judged: {reason}")]
    NotJudged {
        /// What failed on our side.
        reason: String,
    },
}

impl InvalidBlock {
    /// Name of the rule, stable, for logs, metrics and command output.
    pub fn rule(&self) -> &'static str {
        match self {
            Self::ParentHash { .. } => "parent_hash",
            Self::Number { .. } => "number",
            Self::ExtraData(_) => "extra_data",
            Self::Round { .. } => "round",
            Self::ExtraDataForm => "extra_data_form",
            Self::ExtraDataSize { .. } => "extra_data_size",
            Self::Vanity { .. } => "vanity",
            Self::Field { .. } => "field",
            Self::GasAboveLimit { .. } => "gas_above_limit",
            Self::GasLimitRange { .. } => "gas_limit_range",
            Self::GasLimitDelta { .. } => "gas_limit_delta",
            Self::FieldBeforeFork { .. } => "field_before_fork",
            Self::FieldMissing { .. } => "field_missing",
            Self::TimestampFuture { .. } => "timestamp_future",
            Self::TimestampEarly { .. } => "timestamp_early",
            Self::MixHash { .. } => "mix_hash",
            Self::Difficulty { .. } => "difficulty",
            Self::OmmersHash { .. } => "ommers_hash",
            Self::Validators { .. } => "validators",
            Self::NotInContractMode { .. } => "not_in_contract_mode",
            Self::Coinbase { .. } => "coinbase",
            Self::ValidatorsUnknown { .. } => "validators_unknown",
            Self::Seals(SealFault::Twice { .. }) => "seal_twice",
            Self::Seals(SealFault::Stranger { .. }) => "seal_by_stranger",
            Self::Seals(SealFault::Unrecoverable { .. }) => "seal_unrecoverable",
            Self::Seals(SealFault::TooFew { .. }) => "too_few_seals",
            Self::Seals(SealFault::ExtraData(_)) => "extra_data",
            Self::Body(BodyFault::TransactionsRoot { .. }) => "transactions_root",
            Self::Body(BodyFault::Withdrawals { .. }) => "withdrawals",
            Self::TooLarge { .. } => "too_large",
            Self::Transaction { .. } => "transaction",
            Self::NotPermitted { .. } => "not_permitted",
            Self::ReceiptsRoot { .. } => "receipts_root",
            Self::GasUsed { .. } => "gas_used",
            Self::LogsBloom => "logs_bloom",
            Self::StateRoot { .. } => "state_root",
            Self::RequestsHash { .. } => "requests_hash",
            Self::SystemCall { .. } => "system_call",
            Self::Reward { .. } => "reward",
            Self::OtherBlock { .. } => "other_block",
            Self::GasLimitAway { .. } => "gas_limit_away",
            Self::TooDear { .. } => "too_dear",
            Self::NotJudged { .. } => "not_judged",
        }
    }

    /// False when the failure is ours (disk, missing state, time) and nobody is to be blamed for the block.
    pub fn is_verdict(&self) -> bool {
        !matches!(self, Self::NotJudged { .. } | Self::TooDear { .. } | Self::ValidatorsUnknown { .. })
    }

    /// Whether the seals are wrong. The hash does not cover them: with other seals the block may be valid.
    pub fn is_of_seals(&self) -> bool {
        matches!(self, Self::Seals(_))
    }

    /// Whether the body is not the one that the header names: nothing is said against the header.
    pub fn is_of_body(&self) -> bool {
        matches!(self, Self::TooLarge { .. } | Self::Body(_))
    }
}
