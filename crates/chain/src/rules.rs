//! Header and body rules of QBFT blocks (spec/qbft.md 4.1), before anything is executed.

use alloy_primitives::{Address, B256, U256};
use ipe_types::block::{Block, BodyFault};
use ipe_types::extra::ExtraData;
use ipe_types::fork::Fork;
use ipe_types::header::{BFT_MIX_HASH, EMPTY_OMMERS_HASH, Header};
use ipe_types::planted::{self, Bug};
use ipe_types::seals;
use ipe_types::sizes::{IMPORTED_EXTRA_BYTES, IMPORTED_VANITY_BYTES, MESSAGE_BYTES, PROPOSED_BLOCK_BYTES};
use ipe_types::spec::ChainSpec;
use ipe_types::transition::Selection;
use ipe_types::validators::ValidatorSet;

use crate::fields::{FIELDS, items};
use crate::invalid::InvalidBlock;
use crate::validators::{is_goquorum, may_vote};

/// Least gas limit of a block.
pub const MIN_GAS_LIMIT: u64 = 5000;
/// Most gas a block may have: Besu counts in signed 64 bits.
pub const MAX_GAS_LIMIT: u64 = i64::MAX as u64;
/// The gas limit moves by less than parent / this.
pub const GAS_LIMIT_DIVISOR: u64 = 1024;
/// Seconds by which a timestamp may be ahead of the clock.
pub const FUTURE_SECONDS: u64 = 1;

/// The parent, as the rules need it.
#[derive(Clone, Copy, Debug)]
pub struct Parent<'a> {
    /// Its header.
    pub header: &'a Header,
    /// Its hash.
    pub hash: B256,
}

/// Where the validators of a height come from.
#[derive(Clone, Copy, Debug)]
pub struct Sealers<'a> {
    /// Header or contract mode at this block.
    pub selection: Selection,
    /// The set.
    pub validators: &'a ValidatorSet,
}

/// Header rules that need neither the validators nor the seals (with [`check_validators`] Besu's LIGHT mode). `now_ms` is our
/// clock in unix milliseconds. Executes nothing: what follows may ask a contract by the header's timestamp.
///
/// # Errors
/// The first rule that is broken.
pub fn check_header(
    spec: &ChainSpec,
    header: &Header,
    extra: &ExtraData,
    parent: Parent<'_>,
    now_ms: u64,
) -> Result<(), InvalidBlock> {
    check_ancestry(header, parent)?;
    check_extra(spec, header, extra)?;
    check_gas(spec, header, parent.header)?;
    check_time(spec, header, parent.header, now_ms)?;
    check_constants(header)?;
    check_fork_fields(spec, header)
}

/// The seals (Besu's FULL mode adds these to LIGHT): a quorum, nobody twice, validators only. Who sealed, in the order of
/// the seals.
///
/// # Errors
/// The first rule that is broken.
pub fn check_seals(header: &Header, extra: &ExtraData, validators: &ValidatorSet) -> Result<Vec<Address>, InvalidBlock> {
    if planted::is(Bug::SealsUncheckedAtImport) {
        return Ok(Vec::new());
    }
    Ok(seals::sealers(header, extra, validators)?)
}

/// Who judges a block's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judging {
    /// A validator before its vote: every path has to be able to carry the block with the most seals.
    Proposal,
    /// At import of what a quorum sealed.
    Sealed,
}

/// The body is the one that the header names, and the block no larger than allowed. Seals and the round do not count
/// ([`Block::unsealed_length`]): what is valid without seals is valid with any.
///
/// # Errors
/// The first rule that is broken.
pub fn check_body(block: &Block, judging: Judging) -> Result<(), InvalidBlock> {
    let max = match judging {
        Judging::Proposal => PROPOSED_BLOCK_BYTES,
        Judging::Sealed => MESSAGE_BYTES,
    };
    let got = block.unsealed_length()?;
    if got > max {
        return Err(InvalidBlock::TooLarge { got, max });
    }
    match block.check_body() {
        Err(BodyFault::TransactionsRoot { .. }) if planted::is(Bug::TransactionsRootUnchecked) => Ok(()),
        judged => Ok(judged?),
    }
}

fn check_ancestry(header: &Header, parent: Parent<'_>) -> Result<(), InvalidBlock> {
    let expected = parent.header.number.saturating_add(1);
    if header.number != expected {
        return Err(InvalidBlock::Number { got: header.number, expected });
    }
    if header.parent_hash != parent.hash && !planted::is(Bug::ParentUnchecked) {
        return Err(InvalidBlock::ParentHash { got: header.parent_hash, expected: parent.hash });
    }
    Ok(())
}

/// What decoding tolerates and the clients do not: Besu's rounds are signed, and GoQuorum reads one form only. And its size,
/// which Besu does not bound: a header has to stay servable.
fn check_extra(spec: &ChainSpec, header: &Header, extra: &ExtraData) -> Result<(), InvalidBlock> {
    if extra.vanity.len() > IMPORTED_VANITY_BYTES {
        return Err(InvalidBlock::Vanity { got: extra.vanity.len(), expected: IMPORTED_VANITY_BYTES });
    }
    if header.extra_data.len() > IMPORTED_EXTRA_BYTES {
        return Err(InvalidBlock::ExtraDataSize { got: header.extra_data.len(), max: IMPORTED_EXTRA_BYTES });
    }
    if i32::try_from(extra.round).is_err() {
        return Err(InvalidBlock::Round { got: extra.round });
    }
    if is_goquorum(spec) && extra.encode() != header.extra_data {
        return Err(InvalidBlock::ExtraDataForm);
    }
    Ok(())
}

/// The parent's gas limit as the next block's is measured against: doubled on the first London block.
pub fn gas_limit_base(spec: &ChainSpec, parent: &Header, number: u64, timestamp: u64) -> u64 {
    let london = |number, timestamp| spec.fork_at(number, timestamp) >= Fork::London;
    if london(number, timestamp) && !london(parent.number, parent.timestamp) {
        parent.gas_limit.saturating_mul(2)
    } else {
        parent.gas_limit
    }
}

fn check_gas(spec: &ChainSpec, header: &Header, parent: &Header) -> Result<(), InvalidBlock> {
    if !(MIN_GAS_LIMIT..=MAX_GAS_LIMIT).contains(&header.gas_limit) {
        return Err(InvalidBlock::GasLimitRange { got: header.gas_limit });
    }
    if header.gas_used > header.gas_limit {
        return Err(InvalidBlock::GasAboveLimit { used: header.gas_used, limit: header.gas_limit });
    }
    if is_goquorum(spec) {
        // It bounds no step, and its builder goes from any genesis to 700 million, its default minimum, in the first block.
        return Ok(());
    }
    let base = gas_limit_base(spec, parent, header.number, header.timestamp);
    let (delta, bound) = (header.gas_limit.abs_diff(base), base / GAS_LIMIT_DIVISOR);
    if delta >= bound && !planted::is(Bug::GasLimitUnchecked) {
        return Err(InvalidBlock::GasLimitDelta { got: header.gas_limit, parent: base, delta, bound });
    }
    Ok(())
}

fn check_time(spec: &ChainSpec, header: &Header, parent: &Header, now_ms: u64) -> Result<(), InvalidBlock> {
    let now = now_ms / 1000;
    if header.timestamp > now.saturating_add(FUTURE_SECONDS) {
        return Err(InvalidBlock::TimestampFuture { got: header.timestamp, now });
    }
    if let Some(period) = spec.qbft_at(header.number, header.timestamp).min_timestamp_distance()
        && header.timestamp < parent.timestamp.saturating_add(period)
        && !planted::is(Bug::TimestampUnchecked)
    {
        return Err(InvalidBlock::TimestampEarly { got: header.timestamp, parent: parent.timestamp, period });
    }
    Ok(())
}

fn check_constants(header: &Header) -> Result<(), InvalidBlock> {
    if header.mix_hash != BFT_MIX_HASH {
        return Err(InvalidBlock::MixHash { got: header.mix_hash, expected: BFT_MIX_HASH });
    }
    if header.difficulty != U256::from(1) && !planted::is(Bug::DifficultyUnchecked) {
        return Err(InvalidBlock::Difficulty { got: header.difficulty });
    }
    if header.ommers_hash != EMPTY_OMMERS_HASH {
        return Err(InvalidBlock::OmmersHash { got: header.ommers_hash, expected: EMPTY_OMMERS_HASH });
    }
    Ok(())
}

/// Which fields there are: exactly those of the fork, by the table of [`FIELDS`].
fn check_fork_fields(spec: &ChainSpec, header: &Header) -> Result<(), InvalidBlock> {
    let fork = spec.fork_at(header.number, header.timestamp);
    let rules = spec.genesis().system.rules;
    for (field, item) in FIELDS.iter().zip(items(header)) {
        let begun = field.since.is_some_and(|since| fork >= since);
        if item.is_some() && !begun {
            return Err(InvalidBlock::FieldBeforeFork { field: field.name, fork: fork.to_string() });
        }
        if item.is_none() && field.needed(fork, rules) {
            return Err(InvalidBlock::FieldMissing { field: field.name, fork: fork.to_string() });
        }
    }
    // Besu hashes a header with one of them as if it had none.
    if header.blob_gas_used.is_some() != header.excess_blob_gas.is_some() {
        return Err(InvalidBlock::FieldMissing { field: "excessBlobGas", fork: fork.to_string() });
    }
    Ok(())
}

/// The validators that the extra data lists, the vote, and the coinbase.
///
/// # Errors
/// The first rule that is broken.
pub fn check_validators(spec: &ChainSpec, header: &Header, extra: &ExtraData, sealers: Sealers<'_>) -> Result<(), InvalidBlock> {
    match sealers.selection {
        Selection::Header => {
            if extra.validators != sealers.validators.as_slice() && !planted::is(Bug::ValidatorListUnchecked) {
                return Err(InvalidBlock::Validators {
                    got: extra.validators.clone(),
                    expected: sealers.validators.as_slice().to_vec(),
                });
            }
        }
        Selection::Contract(_) => {
            if !extra.validators.is_empty() {
                return Err(InvalidBlock::NotInContractMode { what: "validators" });
            }
            if extra.vote.is_some() && !may_vote(spec, sealers.selection) {
                return Err(InvalidBlock::NotInContractMode { what: "a vote" });
            }
        }
    }
    if !sealers.validators.contains(&header.beneficiary) {
        return Err(InvalidBlock::Coinbase { got: header.beneficiary });
    }
    Ok(())
}
