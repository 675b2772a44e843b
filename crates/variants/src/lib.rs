//! Blocks that are wrong in one way, each with its seals: what they are put to, by the tests here and by `cargo xtask interop
//! verdicts` to a real Besu, are two questions: is it imported, and is it voted for. The right answers are in [`rows`].
//!
//! Everything is made of fixed keys and times, so the same bytes come out every time.

pub mod chain;
pub mod draft;
mod goquorum;
pub mod headers;
pub mod recorded;
pub mod rows;
mod system;
mod transactions;

use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes, keccak256};
use ipe_chain::{Ledger, RawBlock, Terms};
use ipe_types::fork::Fork;
use ipe_types::header::Header;

use chain::{Chain, FIRST, Fees, Plan, genesis};
use draft::Draft;

/// One block.
#[derive(Clone, Debug)]
pub struct Variant {
    /// What is wrong with it, in words; one name stands for the same change on every chain.
    pub name: String,
    /// With a quorum of seals, over what Besu hashes.
    pub sealed: Bytes,
    /// The block without seals, as a proposal of round 0 carries it.
    pub proposal: Bytes,
}

impl Variant {
    pub(crate) fn new(name: String, draft: &Draft) -> Self {
        Self { sealed: marked(&name, draft).sealed(None), proposal: draft.proposal(), name }
    }

    /// Sealed over the first `items` items of the header.
    pub(crate) fn hashed(name: String, draft: &Draft, items: usize) -> Self {
        Self { sealed: marked(&name, draft).sealed(Some(items)), proposal: draft.proposal(), name }
    }

    /// The block without seals, as a proposal of this round carries it.
    pub fn proposal_in(&self, round: u32) -> Bytes {
        draft::in_round(&self.proposal, round)
    }

    /// Whom the block names as its maker.
    pub fn coinbase(&self) -> Option<Address> {
        draft::coinbase(&self.proposal)
    }

    /// Whether `besu blocks import` judges the block at all: what has another number than a block can have it passes over.
    pub fn is_judged_by_import(&self) -> bool {
        !matches!(self.name.as_str(), "number zero" | "number 2^63" | "number 2^64 − 1")
    }

    /// Names the bytes, so that a verdict is about these and no others.
    pub fn id(&self) -> String {
        let hash: B256 = keccak256(&self.sealed);
        alloy_primitives::hex::encode(&hash[..6])
    }
}

/// The draft with a nonce of its own, which no rule looks at once a quorum has sealed the block: Besu's importer passes over a
/// block whose hash it has, so two variants that differ in the body alone must not have one hash.
fn marked(name: &str, draft: &Draft) -> Draft {
    let mut draft = draft.clone();
    if !name.starts_with("good") && !name.starts_with("nonce") {
        let hash = keccak256(name);
        draft.set_nonce(&hash[..8]);
    }
    draft
}

/// A chain with variants of its next block.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Fork and what is special.
    pub name: String,
    /// In Besu's format.
    pub genesis: String,
    /// Good sealed blocks from 1 on.
    pub good: Vec<Bytes>,
    /// Of the block after those.
    pub variants: Vec<Variant>,
    /// Wei, the node's.
    pub min_gas_price: u64,
}

/// What ours says to a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Rule that refuses it at import, if one does.
    pub import: Result<(), String>,
    /// The same before a vote.
    pub vote: Result<(), String>,
}

/// Forks that have chains here.
pub const FORKS: [Fork; 6] = [Fork::Berlin, Fork::London, Fork::Shanghai, Fork::Cancun, Fork::Prague, Fork::Osaka];

/// Chains on which prices of 2^128 wei and more are asked about: each fork, and each way of pricing.
const WIDE_PRICES: [(Fork, Fees); 6] = [
    (Fork::Berlin, Fees::Market),
    (Fork::London, Fees::Market),
    (Fork::Shanghai, Fees::Fixed),
    (Fork::Cancun, Fees::Zero),
    (Fork::Prague, Fees::Fixed),
    (Fork::Osaka, Fees::Market),
];

/// Every scenario.
pub fn all() -> Vec<Scenario> {
    let mut all = Vec::new();
    for fork in FORKS {
        for fees in [Fees::Market, Fees::Zero, Fees::Fixed] {
            if fork > Fork::Berlin || fees == Fees::Market {
                all.push(by_fork(fork, fees));
            }
        }
    }
    all.extend(system::all());
    all.extend(goquorum::all());
    all.push(sub_second());
    all.push(sizes());
    all
}

fn by_fork(fork: Fork, fees: Fees) -> Scenario {
    let chain = Chain::new(genesis(Plan { fork, fees, config: "", qbft: "", alloc: "" }), fees);
    let (good, all) = chain.built(transactions::ordinary(fork));
    assert!(all, "{fork} {}: ours takes every ordinary transaction", fees.name());
    let (empty, _) = chain.built(Vec::new());
    let mut variants =
        vec![Variant::new("good".to_owned(), &Draft::of(&good)), Variant::new("good and empty".to_owned(), &Draft::of(&empty))];
    variants.extend(headers::fields(&good));
    variants.extend(headers::endings(&empty, fork));
    variants.extend(headers::lists(&good, fork));
    let limits = r#"{"target":6,"max":100,"baseFeeUpdateFraction":5007716}"#;
    let config = format!(r#","blobSchedule":{{"cancun":{limits},"prague":{limits}}}"#);
    let lenient = Chain::new(genesis(Plan { fork, fees, config: &config, qbft: "", alloc: "" }), fees);
    variants.extend(transactions::all(&chain, &lenient, fork));
    if WIDE_PRICES.contains(&(fork, fees)) {
        variants.extend(transactions::wide_prices(&chain));
    }
    Scenario {
        name: format!("{fork} {}", fees.name()),
        min_gas_price: chain.min_gas_price(),
        good: vec![chain.first],
        genesis: chain.genesis,
        variants,
    }
}

/// A block period below a second, where Besu has no rule about the parent's time.
fn sub_second() -> Scenario {
    let plan = Plan { fork: Fork::Berlin, fees: Fees::Market, config: "", qbft: ",\"xblockperiodmilliseconds\":500", alloc: "" };
    let chain = Chain::new(genesis(plan), Fees::Market);
    let (empty, _) = chain.built(Vec::new());
    let variants =
        [("the parent's", FIRST), ("a second before the parent's", FIRST - 1), ("before block 0's", FIRST - 1_000), ("zero", 0)];
    let variants = variants.into_iter().map(|(name, timestamp)| {
        let header = Header { timestamp, ..empty.header.clone() };
        let block = ipe_types::block::Block { header, body: empty.body.clone() };
        Variant::new(format!("timestamp {name}"), &Draft::of(&block))
    });
    Scenario {
        name: "berlin below a second".to_owned(),
        variants: variants.collect(),
        min_gas_price: 0,
        good: vec![chain.first.clone()],
        genesis: chain.genesis,
    }
}

/// Blocks around 8 MiB and 10 MiB.
fn sizes() -> Scenario {
    let fees = Fees::Zero;
    let chain = Chain::new(genesis(Plan { fork: Fork::Osaka, fees, config: "", qbft: "", alloc: "" }), fees);
    let mut variants = Vec::new();
    for (name, bytes) in [
        ("8 MiB", 8 << 20),
        ("8 MiB + 1", (8 << 20) + 1),
        ("10 MiB − 200 KiB", (10 << 20) - (200 << 10)),
        ("10 MiB + 1", (10 << 20) + 1),
    ] {
        variants.push(Variant::new(format!("block of {name}"), &Draft::of(&chain.filled(bytes))));
    }
    Scenario {
        name: "osaka large blocks".to_owned(),
        variants,
        min_gas_price: 0,
        good: vec![chain.first.clone()],
        genesis: chain.genesis,
    }
}

/// A ledger with the scenario's good blocks.
pub fn ledger(scenario: &Scenario) -> Ledger {
    let ledger = chain::open(&scenario.genesis);
    for raw in &scenario.good {
        let judged = RawBlock(raw.clone()).decode().map_err(|error| error.to_string()).and_then(|block| {
            let (block, now_ms) = (Arc::new(block), u64::MAX / 2);
            let checked = ledger.check_sealed(Arc::clone(&block), now_ms, &|_| None).map_err(|error| error.to_string())?;
            ledger.import(checked, block).map_err(|error| error.to_string())
        });
        judged.unwrap_or_else(|error| unreachable!("{}: a good block is imported: {error}", scenario.name));
    }
    ledger
}

/// What ours says to a variant on `ledger`, which stays as it is.
pub fn judge(ledger: &Ledger, scenario: &Scenario, variant: &Variant) -> Verdict {
    let now_ms = (FIRST + 3600) * 1000;
    let import = RawBlock(variant.sealed.clone()).decode().map_err(|error| format!("rlp: {error}")).and_then(|block| {
        let judged = ledger.check_sealed(Arc::new(block), now_ms, &|_| None);
        judged.map(drop).map_err(|error| format!("{}: {error}", error.rule()))
    });
    let vote = RawBlock(variant.proposal.clone()).decode().map_err(|error| format!("rlp: {error}")).and_then(|block| {
        let terms = Terms { min_gas_price: scenario.min_gas_price, ..Terms::NONE };
        let judged = ledger.check_proposal(Arc::new(block), now_ms, &|_| None, terms);
        judged.map(drop).map_err(|error| format!("{}: {error}", error.rule()))
    });
    Verdict { import, vote }
}
