//! The table of header fields and rules, which drives the check before a vote; `docs/spec/header-fields.md` is its rendering.
//!
//! A validator votes only for what its own builder would have written: every field that follows from the parent, the genesis
//! and the body is compared with the header that [`crate::build`] makes for the same moment, before anything is computed with
//! it and before anything is executed. Blocks that a quorum sealed are judged by Besu's rules ([`crate::rules`]), which leave
//! more open: whoever refused what the others sealed would stand alone.

use std::fmt;

use alloy_eips::eip4844::DATA_GAS_PER_BLOB;
use alloy_primitives::{Address, B256, U256, hex};
use ipe_types::block::Block;
use ipe_types::extra::ExtraData;
use ipe_types::fork::Fork;
use ipe_types::genesis::{BesuRules, GOQUORUM_GAS_LIMIT};
use ipe_types::header::Header;
use ipe_types::planted::{self, Bug};
use ipe_types::sizes::VANITY_BYTES;
use ipe_types::spec::ChainSpec;

use crate::build::next_header;
use crate::invalid::InvalidBlock;
use crate::rules::{GAS_LIMIT_DIVISOR, Parent, gas_limit_base};
use crate::validators::is_goquorum;

/// How far from what a validator aims at others may move the gas limit, as a part of that.
const AIM_PART: u64 = 8;

/// A header field and its rules.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// JSON name.
    pub name: &'static str,
    /// Fork that brought it; before it, and always where there is none, the field must be absent, at voting and at import.
    pub since: Option<Fork>,
    /// Fork from which on no block is without it. Before that a header may end in front of it.
    pub needed: Option<Fork>,
    /// Before a vote.
    pub voting: Voting,
    /// At import of a sealed block, in words: Besu's rule.
    pub import: &'static str,
}

impl Field {
    /// Whether a block with the rules of `fork` must have the field. Besu 25.5.0 needs none of those that came after London
    /// (besu `AbstractBlockProcessor`: it compares `requestsHash` where there is one).
    pub fn needed(&self, fork: Fork, rules: BesuRules) -> bool {
        let from = self.needed.filter(|from| rules == BesuRules::V26_8 || *from <= Fork::London);
        from.is_some_and(|from| fork >= from)
    }
}

/// What a validator asks of a field before it votes.
#[derive(Clone, Copy, Debug)]
pub enum Voting {
    /// Equal to what our builder writes: the words say what that is.
    Built(&'static str),
    /// The same, or absent with all that follows it where what our builder writes means nothing: Besu releases leave these
    /// out, up to 25.x and wherever the base fee is fixed (spec/qbft.md 4.5).
    BuiltOrAbsent(&'static str),
    /// A rule of its own.
    Rule(&'static str, fn(&Proposed<'_>) -> Result<(), InvalidBlock>),
    /// As at import: the check comes before the vote all the same.
    AsImport,
    /// Follows from executing the block, and is compared after it.
    Executed(&'static str),
}

/// Every header field, in the order of the RLP.
pub const FIELDS: [Field; 23] = [
    field("parentHash", Fork::Frontier, Voting::AsImport, "hash of the head"),
    field("sha3Uncles", Fork::Frontier, Voting::AsImport, "of the empty list"),
    field(
        "miner",
        Fork::Frontier,
        Voting::Rule("as at import; the proposer's own in a block that nobody had prepared (`qbft::justify`)", anything),
        "some validator of the height",
    ),
    field("stateRoot", Fork::Frontier, Voting::Executed("of the state after the block"), "the same"),
    field("transactionsRoot", Fork::Frontier, Voting::AsImport, "of the body, before execution"),
    field("receiptsRoot", Fork::Frontier, Voting::Executed("of the receipts"), "the same"),
    field("logsBloom", Fork::Frontier, Voting::Executed("of the receipts"), "the same"),
    field("difficulty", Fork::Frontier, Voting::AsImport, "1"),
    field("number", Fork::Frontier, Voting::AsImport, "one more than the head's"),
    field(
        "gasLimit",
        Fork::Frontier,
        Voting::Rule(
            "as at import, and no step away from the validator's own target (or the genesis's limit) by more than an eighth of it, \
             unless a quorum had prepared the block. GoQuorum's chains: a step of at most parent / 1024, or up to 700,000,000 or a `miner.gaslimit` of the \
             genesis, where its builder jumps to",
            gas_limit,
        ),
        "5,000 to 2^63 − 1, a step below parent / 1024 (the parent's counts double in the first London block); any step in \
         GoQuorum's chains",
    ),
    field("gasUsed", Fork::Frontier, Voting::Executed("of the transactions; at most gasLimit, before execution"), "the same"),
    field(
        "timestamp",
        Fork::Frontier,
        Voting::Rule("as at import, and the parent's at least", timestamp),
        "the parent's and a block period at least (nothing where the period is below 1 s), our clock and 1 s at most",
    ),
    field(
        "extraData",
        Fork::Frontier,
        Voting::Rule("as at import, and: canonical RLP without further items, vanity of 32 bytes, no seals", extra_data),
        "decodes; round below 2^31; the validators of the height, or none in contract mode; no vote in contract mode; a quorum of \
         seals; vanity of 1,024 bytes at most and room for 512 seals (Besu: any length)",
    ),
    field("mixHash", Fork::Frontier, Voting::AsImport, "the BFT constant"),
    field("nonce", Fork::Frontier, Voting::Built("0"), "any"),
    field(
        "baseFeePerGas",
        Fork::London,
        Voting::Built(
            "EIP-1559 from the parent; 10^9 in the first London block; 0 with `zeroBaseFee`; this node's `min-gas-price` at its \
             start with `fixedBaseFee`",
        ),
        "any value",
    ),
    later("withdrawalsRoot", Fork::Shanghai, Voting::BuiltOrAbsent("root of no withdrawals"), "the same"),
    later(
        "blobGasUsed",
        Fork::Cancun,
        Voting::BuiltOrAbsent("131,072 for each blob that the body names; absent with blobs too"),
        "131,072 for each blob of the body",
    ),
    later(
        "excessBlobGas",
        Fork::Cancun,
        Voting::BuiltOrAbsent("EIP-4844 from the parent, EIP-7918 from Osaka on"),
        "any value: a blob's price follows from the parent",
    ),
    later("parentBeaconBlockRoot", Fork::Cancun, Voting::BuiltOrAbsent("zero"), "any value"),
    later("requestsHash", Fork::Prague, Voting::Executed("of the requests (EIP-7685)"), "the same"),
    unknown("blockAccessListHash"),
    unknown("slotNumber"),
];

const fn field(name: &'static str, since: Fork, voting: Voting, import: &'static str) -> Field {
    Field { name, since: Some(since), needed: Some(since), voting, import }
}

/// A field that a header may end in front of until Prague.
const fn later(name: &'static str, since: Fork, voting: Voting, import: &'static str) -> Field {
    Field { name, since: Some(since), needed: Some(Fork::Prague), voting, import }
}

/// A field of a fork that is newer than all that this node knows.
const fn unknown(name: &'static str) -> Field {
    Field { name, since: None, needed: None, voting: Voting::AsImport, import: "absent" }
}

/// A proposed block with what it is judged by.
#[derive(Clone, Copy, Debug)]
pub struct Proposed<'a> {
    /// The chain.
    pub spec: &'a ChainSpec,
    /// The block.
    pub block: &'a Block,
    /// Its extra data, decoded.
    pub extra: &'a ExtraData,
    /// The head.
    pub parent: Parent<'a>,
    /// Wei; the base fee where it is fixed.
    pub min_gas_price: u64,
    /// See [`crate::Terms`].
    pub gas_limit_aim: Option<u64>,
}

/// Compares each field of a proposal by the table, up to those that follow from execution. The rules of
/// `crate::rules::check_header_light` are to be checked before.
///
/// # Errors
/// The first field that our own builder would have written in another way.
pub fn check_proposed(proposed: Proposed<'_>) -> Result<(), InvalidBlock> {
    if planted::is(Bug::VotingFieldsUnchecked) {
        return Ok(());
    }
    let Proposed { spec, block, parent, min_gas_price, .. } = proposed;
    let header = &block.header;
    let mut built = next_header(spec, parent.header, header.timestamp, min_gas_price);
    // Without it a header says nothing of blobs, however many the body names: so do Besu's up to Cancun where the base fee is zero or
    // fixed (`AbstractBlockCreator`). Where it may not be left out, the header's rules have said so.
    built.blob_gas_used = header.blob_gas_used.and(built.blob_gas_used).map(|_| blob_gas(block));
    for ((field, got), expected) in FIELDS.iter().zip(items(header)).zip(items(&built)) {
        let differs = match field.voting {
            Voting::Built(_) => got != expected,
            Voting::BuiltOrAbsent(_) => got != expected && !(got.is_none() && expected.is_none_or(Item::is_nothing)),
            Voting::Rule(_, rule) => {
                rule(&proposed)?;
                false
            }
            Voting::AsImport | Voting::Executed(_) => false,
        };
        if differs {
            return Err(InvalidBlock::Field { field: field.name, got: shown(got), expected: shown(expected) });
        }
    }
    Ok(())
}

/// Blob gas of the blobs that the body names. The body is bounded, so the sum is.
fn blob_gas(block: &Block) -> u64 {
    let blobs = block.body.transactions.iter().map(|tx| tx.blob_count().unwrap_or(0)).fold(0u64, u64::saturating_add);
    blobs.saturating_mul(DATA_GAS_PER_BLOB)
}

fn anything(_: &Proposed<'_>) -> Result<(), InvalidBlock> {
    Ok(())
}

/// Besu's rule bounds the step at import already; GoQuorum's builder (`CalcGasLimit`) moves by less than 1/1024, except up to
/// its least limit, and by itself: there no step says anything about who takes it.
fn gas_limit(proposed: &Proposed<'_>) -> Result<(), InvalidBlock> {
    let (spec, header) = (proposed.spec, &proposed.block.header);
    if planted::is(Bug::GasLimitUnchecked) {
        return Ok(());
    }
    let base = gas_limit_base(spec, proposed.parent.header, header.number, header.timestamp);
    let (got, bound) = (header.gas_limit, base / GAS_LIMIT_DIVISOR);
    if !is_goquorum(spec) {
        return match proposed.gas_limit_aim {
            Some(aim) if got.abs_diff(aim) > base.abs_diff(aim) && got.abs_diff(aim) > aim / AIM_PART => {
                Err(InvalidBlock::GasLimitAway { got, parent: base, aim })
            }
            _ => Ok(()),
        };
    }
    let jump = got > base && (got == GOQUORUM_GAS_LIMIT || spec.genesis().gas_floors.contains(&got));
    if got.abs_diff(base) > bound && !jump {
        let delta = got.abs_diff(base);
        return Err(InvalidBlock::GasLimitDelta { got, parent: base, delta, bound: bound.saturating_add(1) });
    }
    Ok(())
}

/// Where the period is below 1 s, Besu's rule is that there is none, at import (`QbftBlockHeaderValidationRulesetFactory`).
fn timestamp(proposed: &Proposed<'_>) -> Result<(), InvalidBlock> {
    let (got, parent) = (proposed.block.header.timestamp, proposed.parent.header.timestamp);
    if got < parent {
        return Err(InvalidBlock::TimestampEarly { got, parent, period: 0 });
    }
    Ok(())
}

fn extra_data(proposed: &Proposed<'_>) -> Result<(), InvalidBlock> {
    let extra = proposed.extra;
    if extra.vanity.len() != VANITY_BYTES {
        return Err(InvalidBlock::Vanity { got: extra.vanity.len(), expected: VANITY_BYTES });
    }
    if !extra.seals.is_empty() || extra.encode() != proposed.block.header.extra_data {
        return Err(InvalidBlock::ExtraDataForm);
    }
    Ok(())
}

/// A field's value, for comparing and showing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// 32 bytes.
    Hash(&'a B256),
    /// 20 bytes.
    Address(&'a Address),
    /// A scalar.
    Number(U256),
    /// Anything else.
    Bytes(&'a [u8]),
}

impl Item<'_> {
    /// Whether leaving it out says the same: a scalar of 0, or a hash, which our builder has for nothing only.
    fn is_nothing(self) -> bool {
        match self {
            Self::Number(number) => number.is_zero(),
            Self::Hash(_) => true,
            Self::Address(_) | Self::Bytes(_) => false,
        }
    }
}

impl fmt::Display for Item<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hash(hash) => write!(f, "{hash}"),
            Self::Address(address) => write!(f, "{address}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Bytes(bytes) => write!(f, "0x{}", hex::encode(&bytes[..bytes.len().min(32)])),
        }
    }
}

fn shown(item: Option<Item<'_>>) -> String {
    item.map_or_else(|| "no value".to_owned(), |item| item.to_string())
}

/// The values of [`FIELDS`]. Takes the header apart, so that a field which is added to it is missed here by the compiler.
pub fn items(header: &Header) -> [Option<Item<'_>>; FIELDS.len()] {
    let Header {
        parent_hash,
        ommers_hash,
        beneficiary,
        state_root,
        transactions_root,
        receipts_root,
        logs_bloom,
        difficulty,
        number,
        gas_limit,
        gas_used,
        timestamp,
        extra_data,
        mix_hash,
        nonce,
        base_fee_per_gas,
        withdrawals_root,
        blob_gas_used,
        excess_blob_gas,
        parent_beacon_block_root,
        requests_hash,
        block_access_list_hash,
        slot_number,
    } = header;
    let scalar = |value: &u64| Some(Item::Number(U256::from(*value)));
    [
        Some(Item::Hash(parent_hash)),
        Some(Item::Hash(ommers_hash)),
        Some(Item::Address(beneficiary)),
        Some(Item::Hash(state_root)),
        Some(Item::Hash(transactions_root)),
        Some(Item::Hash(receipts_root)),
        Some(Item::Bytes(logs_bloom.as_slice())),
        Some(Item::Number(*difficulty)),
        scalar(number),
        scalar(gas_limit),
        scalar(gas_used),
        scalar(timestamp),
        Some(Item::Bytes(extra_data)),
        Some(Item::Hash(mix_hash)),
        Some(Item::Bytes(nonce.as_slice())),
        base_fee_per_gas.as_ref().and_then(scalar),
        withdrawals_root.as_ref().map(Item::Hash),
        blob_gas_used.as_ref().and_then(scalar),
        excess_blob_gas.as_ref().and_then(scalar),
        parent_beacon_block_root.as_ref().map(Item::Hash),
        requests_hash.as_ref().map(Item::Hash),
        block_access_list_hash.as_ref().map(Item::Hash),
        slot_number.as_ref().and_then(scalar),
    ]
}

/// The page `docs/spec/header-fields.md`.
pub fn page() -> String {
    let mut out = String::from(PAGE_HEAD);
    for Field { name, since, needed, voting, import } in FIELDS {
        let since = match (since, needed) {
            (Some(Fork::Frontier), _) => "always".to_owned(),
            (Some(fork), Some(needed)) if needed > fork => format!("{fork} on; needed from {needed} on"),
            (Some(fork), _) => format!("{fork} on"),
            (None, _) => "never".to_owned(),
        };
        let voting = match voting {
            Voting::Built(words) => words.to_owned(),
            Voting::BuiltOrAbsent(words) => format!("{words}; where it may be absent, only if that says the same (see below)"),
            Voting::Rule(words, _) => words.to_owned(),
            Voting::AsImport => "as at import".to_owned(),
            Voting::Executed(words) => format!("{words} (after execution)"),
        };
        out.push_str(&format!("| `{name}` | {since} | {voting} | {import} |\n"));
    }
    out.push_str(PAGE_TAIL);
    out
}

const PAGE_HEAD: &str = "# Header fields: what is asked before a vote, and at import

This table is made from `crates/chain/src/fields.rs`, which drives the check before a vote; a test holds the two together.

A validator votes only for what its own builder would have written for the same moment: every field that follows from the parent,
the genesis and the body is compared before anything is computed with it and before a transaction is executed. Otherwise one
proposer could have everybody compute with a value of its choice: an `excessBlobGas` of 2^64 − 1 keeps an unbounded exponential
busy for days, and a base fee near 2^64 prices every sender out for hundreds of blocks.

At import of a block that a quorum sealed the rules are Besu's (spec/qbft.md 4.1), because whoever refuses what the others took
stands alone. There, too, nothing that feeds arithmetic is unbounded: prices saturate (`ipe_types::fees`), and what Besu leaves
without a bound on size has one (`ipe_types::sizes`). What Besu makes of each change of each field, and where this node differs on
purpose, is in [verdicts.md](verdicts.md).

| field | present | before a vote | at import of a sealed block |
|---|---|---|---|
";

const PAGE_TAIL: &str = "
- **Absent.** Besu's builder ends a header in front of the blob fields where its fee market knows no blobs (`fixedBaseFee`;
  `zeroBaseFee` up to 25.x), 25.5.0 in front of `parentBeaconBlockRoot`, and some releases left out the withdrawals root of a QBFT
  block (spec/qbft.md 4.5, 13). So up to Cancun a header may end in front of a field that came after London; before a vote only when
  the values that are missing would be those of nothing: no withdrawals, no blobs, a zero root. `blobGasUsed` and `excessBlobGas` come
  together. From Prague on every field is there: without `requestsHash` Besu 26.8.0 takes no block (`AbstractBlockProcessor`). Besu
  25.5.0 does; a chain of that release says so in its genesis (`config.ipe.besuRules`, [besu-compat.md](besu-compat.md) 14).
- **Size.** Counted without seals and at round 0, so that no verdict depends on who sealed a block when. Before a vote: 10 MiB less
  the largest envelope and the most seals. At import: 10 MiB, which is what a message carries. The 8 MiB of EIP-7934 are no rule of
  QBFT: Besu takes its block validator without it; this node builds below 8 MiB on every fork. The numbers are in
  `ipe_types::sizes`.
- **Round.** The round in the extra data of a proposal is that of the message, or 0 (spec/qbft.md 3.4). It counts in no rule here but
  that it is below 2^31.
- **Fixed base fee.** Besu takes the `min-gas-price` that each node was started with and compares it with nobody's, so it has to be
  the same on all nodes. Here a validator refuses proposals with another one.
";

#[cfg(test)]
mod tests {
    #[test]
    fn the_page_is_the_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/spec/header-fields.md");
        let wanted = super::page();
        if std::env::var_os("IPE_BLESS").is_some() {
            std::fs::write(path, &wanted).expect("docs/spec/header-fields.md is writable");
        }
        let documented = std::fs::read_to_string(path).expect("docs/spec/header-fields.md exists");
        assert!(documented == wanted, "docs/spec/header-fields.md is not up to date; run this test with IPE_BLESS=1");
    }
}
