//! `config.qbft`, `config.istanbul` and the transitions of both clients.

use super::field::{self, Section};
use super::{DEFAULT_CODE_SIZE_LIMIT, GenesisError, GenesisFormat};
use crate::fork::{Activation, ForkSchedule};
use crate::transition::{QbftParams, QbftSchedule, Selection, TxGasCap};
use alloy_primitives::{Address, U256};
use std::collections::BTreeSet;

/// Longest block, empty-block or request time in seconds that is accepted: ten years. Anything longer is a slip of
/// units, and the bound keeps every later sum of milliseconds inside 64 bits.
const MAX_SECONDS: u64 = 10 * 365 * 24 * 3600;

/// Everything the consensus part of the file says.
pub(super) struct Consensus {
    pub(super) format: GenesisFormat,
    pub(super) schedule: Option<QbftSchedule>,
    pub(super) code_size_limits: Vec<(u64, u64)>,
    pub(super) gas_floors: Vec<u64>,
}

/// The file's values before they become milliseconds; transitions change some of them and inherit the rest.
#[derive(Clone)]
struct Raw {
    period_s: u64,
    period_ms: u64,
    empty_period_s: u64,
    request_timeout_s: u64,
    epoch_length: u64,
    block_reward: U256,
    beneficiary: Option<Address>,
    selection: Selection,
    tx_gas_cap: TxGasCap,
    start_block: u64,
}

impl Raw {
    /// Defaults of Besu, or of GoQuorum (spec/qbft.md 14, last row).
    fn defaults(format: GenesisFormat) -> Raw {
        let (period_s, request_timeout_s) = match format {
            GenesisFormat::Besu => (1, 1),
            GenesisFormat::GoQuorum => (5, 10),
        };
        Raw {
            period_s,
            period_ms: 0,
            empty_period_s: 0,
            request_timeout_s,
            epoch_length: 30_000,
            block_reward: U256::ZERO,
            beneficiary: None,
            selection: Selection::Header,
            tx_gas_cap: TxGasCap::Fork,
            start_block: 0,
        }
    }

    fn params(&self) -> QbftParams {
        QbftParams {
            period_ms: if self.period_ms > 0 { self.period_ms } else { self.period_s * 1000 },
            empty_period_ms: self.empty_period_s * 1000,
            request_timeout_ms: self.request_timeout_s * 1000,
            epoch_length: self.epoch_length,
            block_reward: self.block_reward,
            beneficiary: self.beneficiary,
            selection: self.selection,
            tx_gas_cap: self.tx_gas_cap,
            start_block: self.start_block,
        }
    }

    /// Keys that the genesis object and transitions share.
    fn read_common(&mut self, section: &mut Section, gas_limit: u64) -> Result<(), GenesisError> {
        if let Some(value) = section.get("blockPeriodSeconds", POSITIVE_SECONDS, positive_seconds)? {
            self.period_s = value;
        }
        if let Some(value) = section.get("xBlockPeriodMilliseconds", "milliseconds, 0 (off) to ten years", |value| {
            field::quantity64(value).filter(|ms| *ms <= MAX_SECONDS * 1000)
        })? {
            self.period_ms = value;
        }
        for key in ["xEmptyBlockPeriodSeconds", "emptyBlockPeriodSeconds"] {
            if let Some(value) = section.get(key, "seconds, 0 (off) to ten years", seconds)? {
                self.empty_period_s = value;
            }
        }
        if let Some(value) = section.get("blockReward", "wei, decimal or 0x hex, not negative", field::quantity)? {
            self.block_reward = value;
        }
        if let Some((path, value)) = section.take("miningBeneficiary") {
            self.beneficiary = match value.as_str() {
                Some(text) if text.trim().is_empty() => None,
                _ => Some(field::address(&value).ok_or_else(|| {
                    field::bad(&path, &value, "an address of 20 bytes of hex, or \"\" for the block's proposer")
                })?),
            };
        }
        if let Some(cap) = section.get("perTxGasLimit", "gas, not above the genesis gasLimit; 0 = no cap", |value| {
            field::quantity64(value).filter(|cap| *cap <= gas_limit)
        })? {
            self.tx_gas_cap = if cap == 0 { TxGasCap::Unlimited } else { TxGasCap::Gas(cap) };
        }
        Ok(())
    }

    /// Keys that Besu reads in the genesis object only; GoQuorum also in transitions.
    fn read_timers(&mut self, section: &mut Section) -> Result<(), GenesisError> {
        for key in ["epoch", "epochLength"] {
            if let Some(value) =
                section.get(key, "a number of blocks above 0", |value| field::quantity64(value).filter(|n| *n > 0))?
            {
                self.epoch_length = value;
            }
        }
        if let Some(value) = section.get("requestTimeoutSeconds", POSITIVE_SECONDS, positive_seconds)? {
            self.request_timeout_s = value;
        }
        Ok(())
    }
}

const POSITIVE_SECONDS: &str = "seconds, 1 to ten years";

fn seconds(value: &serde_json::Value) -> Option<u64> {
    field::quantity64(value).filter(|seconds| *seconds <= MAX_SECONDS)
}

fn positive_seconds(value: &serde_json::Value) -> Option<u64> {
    seconds(value).filter(|seconds| *seconds > 0)
}

/// Keys of Besu that size its own queues; ours are bounded in their own way.
const QUEUE_KEYS: [&str; 5] = [
    "gossipedHistoryLimit",
    "messageQueueLimit",
    "duplicateMessageLimit",
    "futureMessagesLimit",
    "futureMessagesMaxDistance",
];

/// Reads the engine and its transitions out of `config`.
pub(super) fn read(
    config: &mut Section,
    forks: &ForkSchedule,
    gas_limit: u64,
    warnings: &mut Vec<String>,
) -> Result<Consensus, GenesisError> {
    let is_quorum = config.get("isQuorum", "true or false", field::boolean)?.unwrap_or(false);
    let transitions = config.take("transitions");
    let flat = matches!(&transitions, Some((_, serde_json::Value::Array(_))));
    let istanbul = config.section("istanbul")?;
    let format =
        if is_quorum || flat || istanbul.is_some() { GenesisFormat::GoQuorum } else { GenesisFormat::Besu };
    let code_size_limits = read_code_sizes(config, format)?;

    let section = match (config.section("qbft")?, istanbul) {
        (Some(section), _) => section,
        (None, Some(section)) => {
            if !section.has("testQBFTBlock") {
                return Err(GenesisError::Missing {
                    key: "config.istanbul.testQBFTBlock".to_owned(),
                    expected: "0, for QBFT from the first block (IBFT chains are not supported)".to_owned(),
                });
            }
            section
        }
        (None, None) => return Ok(Consensus { format, schedule: None, code_size_limits, gas_floors: Vec::new() }),
    };
    let mut consensus = Consensus { format, schedule: None, code_size_limits, gas_floors: Vec::new() };
    let raw = read_engine(section, format, gas_limit, warnings)?;
    let mut schedule = QbftSchedule::new(raw.params());
    match transitions {
        None => {}
        Some((path, value @ serde_json::Value::Array(_))) => {
            let mut holder = Section::new("config", serde_json::json!({ "transitions": value }))?;
            debug_assert!(path.eq_ignore_ascii_case("config.transitions"));
            read_flat(holder.sections("transitions")?, raw, gas_limit, &mut schedule, &mut consensus, warnings)?;
        }
        Some((path, value)) => {
            let mut section = Section::new(&path, value)?;
            read_nested(section.sections("qbft")?, raw, gas_limit, forks, &mut schedule, warnings)?;
            section.ignore(&["ibft2"]);
            section.finish(warnings);
        }
    }
    consensus.schedule = Some(schedule);
    Ok(consensus)
}

fn read_engine(
    mut section: Section,
    format: GenesisFormat,
    gas_limit: u64,
    warnings: &mut Vec<String>,
) -> Result<Raw, GenesisError> {
    let mut raw = Raw::defaults(format);
    raw.read_common(&mut section, gas_limit)?;
    raw.read_timers(&mut section)?;
    raw.start_block = section.get("startBlock", "a block number", field::quantity64)?.unwrap_or(0);
    if raw.start_block > 1 {
        return Err(GenesisError::Unsupported {
            key: section.path_of("startBlock"),
            got: raw.start_block.to_string(),
            reason: "blocks before it were made under IBFT, which is not implemented; only QBFT from the first block"
                .to_owned(),
        });
    }
    if let Some(contract) = section.get("validatorContractAddress", ADDRESS, field::address)? {
        raw.selection = Selection::Contract(contract);
    }
    section.ignore(&QUEUE_KEYS);
    if format == GenesisFormat::GoQuorum {
        read_quorum_rules(&mut section, &mut raw, warnings)?;
        for key in ["testQBFTBlock", "ceil2Nby3Block"] {
            let at = section.get(key, "a block number", field::quantity64)?.unwrap_or(0);
            if at > 0 {
                return Err(GenesisError::Unsupported {
                    key: section.path_of(key),
                    got: at.to_string(),
                    reason: "QBFT with a quorum of ceil(2N/3) has to hold from the first block; expected 0".to_owned(),
                });
            }
        }
        section.ignore(&["policy", "proposerPolicy"]);
    }
    section.finish(warnings);
    Ok(raw)
}

const ADDRESS: &str = "an address of 20 bytes of hex";

/// GoQuorum's beneficiary mode and the rules of it that this node does not follow.
fn read_quorum_rules(section: &mut Section, raw: &mut Raw, warnings: &mut Vec<String>) -> Result<(), GenesisError> {
    let expected = "\"fixed\", \"validator\" or \"validators\"";
    if let Some(mode) = section.get("beneficiaryMode", expected, |value| {
        field::text(value).map(|mode| mode.to_lowercase()).filter(|mode| {
            ["", "fixed", "validator", "validators"].contains(&mode.as_str())
        })
    })? {
        match mode.as_str() {
            "validator" | "validators" => raw.beneficiary = None,
            "fixed" if raw.beneficiary.is_none() => {
                return Err(GenesisError::Missing {
                    key: section.path_of("miningBeneficiary"),
                    expected: format!("{ADDRESS}, because beneficiaryMode is \"fixed\""),
                });
            }
            _ => {}
        }
    }
    if section.get("2FPlus1Enabled", "true or false", field::boolean)?.unwrap_or(false) {
        return Err(GenesisError::Unsupported {
            key: section.path_of("2FPlus1Enabled"),
            got: "true".to_owned(),
            reason: "the quorum is always ceil(2N/3); set it to false".to_owned(),
        });
    }
    for key in ["maxRequestTimeoutSeconds", "allowedFutureBlockTime"] {
        if section.has(key) {
            section.ignore(&[key]);
            warnings.push(format!("{} has no effect here", section.path_of(key)));
        }
    }
    Ok(())
}

/// Besu: `transitions.qbft[]`, spec/qbft.md 2.2.
fn read_nested(
    mut sections: Vec<Section>,
    mut raw: Raw,
    gas_limit: u64,
    forks: &ForkSchedule,
    schedule: &mut QbftSchedule,
    warnings: &mut Vec<String>,
) -> Result<(), GenesisError> {
    for (block, mut section) in ordered(&mut sections, 1, true)? {
        raw.read_common(&mut section, gas_limit)?;
        let mode = read_mode(&mut section)?;
        let contract = section.get("validatorContractAddress", ADDRESS, field::address)?;
        let validators = section.get("validators", ADDRESSES, field::addresses)?;
        match mode {
            Some(Mode::Contract) => raw.selection = Selection::Contract(need_contract(&section, contract)?),
            Some(Mode::Header) => {
                raw.selection = Selection::Header;
                if validators.as_ref().is_none_or(Vec::is_empty) {
                    return Err(GenesisError::Missing {
                        key: section.path_of("validators"),
                        expected: format!("{ADDRESSES}, because validatorselectionmode is \"blockheader\""),
                    });
                }
            }
            None if contract.is_some() => warnings.push(format!(
                "{} is ignored: the same object does not set validatorselectionmode to \"contract\"",
                section.path_of("validatorcontractaddress")
            )),
            None => {}
        }
        if let Some(validators) = validators.filter(|set| !set.is_empty()) {
            schedule.force_validators(block, validators);
        }
        for key in ["requestTimeoutSeconds", "epochLength"] {
            if section.has(key) {
                section.ignore(&[key]);
                warnings.push(format!("{} is ignored: Besu cannot change it by a transition", section.path_of(key)));
            }
        }
        section.ignore(&QUEUE_KEYS);
        section.finish(warnings);
        let at = if forks.reads_as_time(block) {
            warnings.push(format!(
                "config.transitions.qbft with block {block} is read as unix time {block}, because the forks in force \
                 at that value are keyed by time (as Besu 26.4 and later do); its validators, if any, still come at \
                 block {block}"
            ));
            Activation::Time(block)
        } else {
            Activation::Block(block)
        };
        schedule.push(at, raw.params());
    }
    Ok(())
}

/// GoQuorum: flat `transitions[]`, spec/qbft.md 14.
fn read_flat(
    mut sections: Vec<Section>,
    mut raw: Raw,
    gas_limit: u64,
    schedule: &mut QbftSchedule,
    consensus: &mut Consensus,
    warnings: &mut Vec<String>,
) -> Result<(), GenesisError> {
    for (block, mut section) in ordered(&mut sections, 0, false)? {
        if let Some(algorithm) = section.get("algorithm", "\"qbft\"", field::text)? {
            if !algorithm.eq_ignore_ascii_case("qbft") {
                return Err(GenesisError::Unsupported {
                    key: section.path_of("algorithm"),
                    got: algorithm,
                    reason: "only \"qbft\" is implemented".to_owned(),
                });
            }
        }
        raw.read_common(&mut section, gas_limit)?;
        raw.read_timers(&mut section)?;
        read_quorum_rules(&mut section, &mut raw, warnings)?;
        let mode = read_mode(&mut section)?;
        let contract = section.get("validatorContractAddress", ADDRESS, field::address)?;
        let validators = section.get("validators", ADDRESSES, field::addresses)?;
        match mode {
            Some(Mode::Contract) => raw.selection = Selection::Contract(need_contract(&section, contract)?),
            Some(Mode::Header) => raw.selection = Selection::Header,
            None => {
                if let (Some(contract), Selection::Contract(_)) = (contract, raw.selection) {
                    raw.selection = Selection::Contract(contract);
                }
            }
        }
        if let Some(validators) = validators.filter(|set| !set.is_empty()) {
            schedule.force_validators(block, validators);
        }
        if let Some(kilobytes) = section.get("contractSizeLimit", KILOBYTES, kilobytes)? {
            if kilobytes > 0 {
                consensus.code_size_limits.push((block, kilobytes * 1024));
            }
        }
        if let Some(floor) = section.get("miner.gaslimit", "gas, an integer from 0 to 2^63-1", |value| {
            field::quantity64(value).filter(|limit| *limit <= i64::MAX as u64)
        })? {
            consensus.gas_floors.push(floor);
        }
        section.ignore(&["transactionSizeLimit", "policy", "proposerPolicy"]);
        if section.get("gasPriceEnabled", "true or false", field::boolean)?.unwrap_or(false) {
            warnings.push(format!("{} has no effect here", section.path_of("gasPriceEnabled")));
        }
        section.finish(warnings);
        schedule.push(Activation::Block(block), raw.params());
    }
    consensus.code_size_limits.sort_by_key(|(from, _)| *from);
    Ok(())
}

const ADDRESSES: &str = "an array of addresses";
const KILOBYTES: &str = "kilobytes, 0 to 2^32";

fn kilobytes(value: &serde_json::Value) -> Option<u64> {
    field::quantity64(value).filter(|size| *size <= u64::from(u32::MAX))
}

enum Mode {
    Header,
    Contract,
}

fn read_mode(section: &mut Section) -> Result<Option<Mode>, GenesisError> {
    section.get("validatorSelectionMode", "\"contract\" or \"blockheader\"", |value| {
        match field::text(value)?.to_lowercase().as_str() {
            "contract" => Some(Mode::Contract),
            "blockheader" => Some(Mode::Header),
            _ => None,
        }
    })
}

fn need_contract(section: &Section, contract: Option<Address>) -> Result<Address, GenesisError> {
    contract.ok_or_else(|| GenesisError::Missing {
        key: section.path_of("validatorcontractaddress"),
        expected: format!("{ADDRESS}, because validatorselectionmode is \"contract\""),
    })
}

/// The transitions by ascending `block`, which must be there, at least `least`, and (Besu) unique.
fn ordered(sections: &mut Vec<Section>, least: u64, unique: bool) -> Result<Vec<(u64, Section)>, GenesisError> {
    let expected = if least == 0 { "a block number" } else { "a block number above 0" };
    let mut seen = BTreeSet::new();
    let mut out = Vec::with_capacity(sections.len());
    for mut section in sections.drain(..) {
        let block =
            section.need("block", expected, |value| field::quantity64(value).filter(|block| *block >= least))?;
        if !seen.insert(block) && unique {
            return Err(GenesisError::Bad {
                key: section.path_of("block"),
                got: format!("{block} for the second time"),
                expected: "each transition at a block of its own".to_owned(),
            });
        }
        out.push((block, section));
    }
    out.sort_by_key(|(block, _)| *block);
    Ok(out)
}

/// Deployed code limits: Besu's `contractSizeLimit` (bytes), GoQuorum's `maxCodeSizeConfig` and `maxCodeSize` (kB).
fn read_code_sizes(config: &mut Section, format: GenesisFormat) -> Result<Vec<(u64, u64)>, GenesisError> {
    let besu = config.get("contractSizeLimit", "bytes, 0 to 2^31-1", |value| {
        field::quantity64(value).filter(|limit| *limit <= i32::MAX as u64)
    })?;
    let mut limits = vec![(0, besu.unwrap_or(DEFAULT_CODE_SIZE_LIMIT))];
    let single = config.get("maxCodeSize", KILOBYTES, kilobytes)?;
    let from = config.get("maxCodeSizeChangeBlock", "a block number", field::quantity64)?.unwrap_or(0);
    for (index, mut section) in config.sections("maxCodeSizeConfig")?.into_iter().enumerate() {
        let block = section.need("block", "a block number", field::quantity64)?;
        let size = section.need("size", KILOBYTES, kilobytes)?;
        if index == 0 && block == 0 {
            limits.clear();
        }
        limits.push((block, size * 1024));
    }
    if let Some(size) = single.filter(|size| *size > 0 && limits.len() == 1) {
        limits.push((from, size * 1024));
    }
    if format == GenesisFormat::GoQuorum {
        config.ignore(&["txnSizeLimit", "privacyEnhancementsBlock", "isMPS", "enableGasPriceBlock"]);
    }
    limits.sort_by_key(|(from, _)| *from);
    Ok(limits)
}
