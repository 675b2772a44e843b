//! `config.qbft` and `transitions.qbft[]` of Besu; what both clients share.

mod goquorum;

use super::field::{self, Section};
use super::json::Json;
use super::warnings::Warnings;
use super::{DEFAULT_CODE_SIZE_LIMIT, GenesisError, GenesisFormat};
use crate::fork::{Activation, ForkSchedule};
use crate::goquorum::GasPrices;
use crate::transition::{QbftParams, QbftSchedule, Selection, TxGasCap};
use alloy_primitives::{Address, U256};
use std::collections::BTreeSet;

/// Longest block, empty-block or request time in seconds that is accepted: ten years. Anything longer is a slip of
/// units, and the bound keeps every later sum of milliseconds inside 64 bits.
const MAX_SECONDS: u64 = 10 * 365 * 24 * 3600;

/// Most transitions of a file: they are looked through for every block, and real files have less than fifty.
const MOST_TRANSITIONS: usize = 1_000;

/// Everything the consensus part of the file says.
pub(super) struct Consensus {
    pub(super) schedule: Option<QbftSchedule>,
    pub(super) code_size_limits: Vec<(u64, u64)>,
    pub(super) gas_floors: Vec<u64>,
    pub(super) gas_prices: GasPrices,
}

/// The file's values before they become milliseconds; transitions change some of them and inherit the rest.
#[derive(Clone)]
struct Raw {
    format: GenesisFormat,
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
            format,
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

    /// Seconds above 0; in GoQuorum's format 0 is as good as absent.
    fn seconds_of(&self, section: &mut Section<'_>, key: &str) -> Result<Option<u64>, GenesisError> {
        match self.format {
            GenesisFormat::Besu => section.get(key, POSITIVE_SECONDS, positive_seconds),
            GenesisFormat::GoQuorum => Ok(section.get(key, POSITIVE_SECONDS, seconds)?.filter(|seconds| *seconds > 0)),
        }
    }

    /// Keys that the genesis object and transitions share.
    fn read_common(&mut self, section: &mut Section<'_>, gas_limit: u64, warnings: &mut Warnings) -> Result<(), GenesisError> {
        if let Some(value) = self.seconds_of(section, "blockPeriodSeconds")? {
            self.period_s = value;
        }
        self.read_empty_period(section, warnings)?;
        if let Some(value) = section.get("blockReward", "wei, decimal or 0x hex, not negative", field::quantity)? {
            self.block_reward = value;
        }
        if let Some((path, value)) = section.take("miningBeneficiary") {
            self.beneficiary =
                match field::text(value) {
                    Some(text) if text.trim().is_empty() => None,
                    _ => Some(field::address(value).ok_or_else(|| {
                        field::bad(&path, value, "an address of 20 bytes of hex, or \"\" for the block's proposer")
                    })?),
                };
        }
        match self.format {
            GenesisFormat::Besu => self.read_besus(section, gas_limit),
            GenesisFormat::GoQuorum => Ok(()),
        }
    }

    /// Besu has two names for it and goes by the first where both are there (`BftFork.getEmptyBlockPeriodSeconds`); each release
    /// reads at least one.
    fn read_empty_period(&mut self, section: &mut Section<'_>, warnings: &mut Warnings) -> Result<(), GenesisError> {
        const NAMES: [(&str, &str); 2] = [("emptyBlockPeriodSeconds", "before 26.5"), ("xEmptyBlockPeriodSeconds", "after 26.8")];
        let expected = "seconds, 0 (off) to ten years";
        let [(name, _), (old, _)] = NAMES;
        let new = section.get(name, expected, seconds)?;
        if self.format == GenesisFormat::GoQuorum {
            self.empty_period_s = new.unwrap_or(self.empty_period_s);
            return Ok(());
        }
        let old = section.get(old, expected, seconds)?;
        match (new, old) {
            (Some(new), Some(old)) if new != old => warnings.push(format!(
                "{} is {new} and {} is {old}: the first counts, but a Besu before 26.5 reads only the second",
                section.path_of(NAMES[0].0),
                section.path_of(NAMES[1].0)
            )),
            (Some(0), None) | (None, Some(0)) | (None, None) | (Some(_), Some(_)) => {}
            (new, _) => {
                let [there, other] = if new.is_some() { NAMES } else { [NAMES[1], NAMES[0]] };
                warnings.push(format!(
                    "{}: a Besu {} does not know this name and makes empty blocks at the ordinary period; beside one write {} as well",
                    section.path_of(there.0),
                    there.1,
                    other.0.to_lowercase()
                ));
            }
        }
        self.empty_period_s = new.or(old).unwrap_or(self.empty_period_s);
        Ok(())
    }

    /// Keys that only Besu has.
    fn read_besus(&mut self, section: &mut Section<'_>, gas_limit: u64) -> Result<(), GenesisError> {
        if let Some(value) = section.get("xBlockPeriodMilliseconds", "milliseconds, 0 (off) to ten years", |value| {
            field::quantity64(value).filter(|ms| *ms <= MAX_SECONDS * 1000)
        })? {
            self.period_ms = value;
        }
        if let Some(cap) = section.get("perTxGasLimit", "gas, not above the genesis gasLimit; 0 = no cap", |value| {
            field::quantity64(value).filter(|cap| *cap <= gas_limit)
        })? {
            self.tx_gas_cap = if cap == 0 { TxGasCap::Unlimited } else { TxGasCap::Gas(cap) };
        }
        Ok(())
    }

    /// Keys that Besu reads in the genesis object only; GoQuorum also in transitions.
    fn read_timers(&mut self, section: &mut Section<'_>) -> Result<(), GenesisError> {
        let expected = "a number of blocks above 0";
        let least = if self.format == GenesisFormat::Besu { 1 } else { 0 };
        let blocks = section.get("epochLength", expected, |value| field::quantity64(value).filter(|n| *n >= least))?;
        self.epoch_length = blocks.filter(|blocks| *blocks > 0).unwrap_or(self.epoch_length);
        if let Some(value) = self.seconds_of(section, "requestTimeoutSeconds")? {
            self.request_timeout_s = value;
        }
        Ok(())
    }
}

const POSITIVE_SECONDS: &str = "seconds, 1 to ten years";

fn seconds(value: Json<'_>) -> Option<u64> {
    field::quantity64(value).filter(|seconds| *seconds <= MAX_SECONDS)
}

fn positive_seconds(value: Json<'_>) -> Option<u64> {
    seconds(value).filter(|seconds| *seconds > 0)
}

/// Keys of Besu that size its own queues; ours are bounded in their own way.
const QUEUE_KEYS: [&str; 5] =
    ["gossipedHistoryLimit", "messageQueueLimit", "duplicateMessageLimit", "futureMessagesLimit", "futureMessagesMaxDistance"];

fn is_quorum(config: &Section<'_>) -> bool {
    config.peek("isQuorum").and_then(field::boolean).unwrap_or(false)
}

/// Whose format it is. GoQuorum cannot read an object under `transitions`, Besu no array (spec/qbft.md 14).
pub(super) fn format(config: &Section<'_>, warnings: &mut Warnings) -> GenesisFormat {
    let is_quorum = is_quorum(config);
    let transitions = config.peek("transitions");
    let besus = ["shanghaiTime", "cancunTime", "pragueTime", "osakaTime", "zeroBaseFee", "fixedBaseFee"];
    let besu = match transitions {
        Some(value) if value.is_object() => Some("transitions as an object"),
        Some(value) if value.is_array() => None,
        _ => besus.into_iter().find(|key| config.has(key)),
    };
    match besu {
        Some(key) => {
            if is_quorum {
                warnings.push(format!("config.isQuorum is ignored: the file has {key}, which only Besu reads"));
            }
            GenesisFormat::Besu
        }
        None if is_quorum || config.has("istanbul") || transitions.is_some_and(Json::is_array) => GenesisFormat::GoQuorum,
        None => GenesisFormat::Besu,
    }
}

/// Reads the engine and its transitions out of `config`.
pub(super) fn read(
    config: &mut Section<'_>,
    format: GenesisFormat,
    forks: &ForkSchedule,
    gas_limit: u64,
    warnings: &mut Warnings,
) -> Result<Consensus, GenesisError> {
    let quorum = is_quorum(config);
    config.ignore(&["isQuorum"]);
    let transitions = config.take("transitions");
    let code_size_limits = read_code_sizes(config, format, warnings)?;
    let gas_prices = GasPrices::default();
    let mut consensus = Consensus { schedule: None, code_size_limits, gas_floors: Vec::new(), gas_prices };
    if format == GenesisFormat::GoQuorum {
        let from = config.get("enableGasPriceBlock", "a block number", field::quantity64)?;
        consensus.gas_prices = GasPrices { quorum, from, switches: Vec::new() };
        goquorum::read(config, transitions, gas_limit, &mut consensus, warnings)?;
        return Ok(consensus);
    }
    if let Some((path, _)) = config.take("istanbul") {
        warnings.push(format!("{path} is ignored: it is GoQuorum's"));
    }
    let Some(section) = config.section("qbft")? else { return Ok(consensus) };
    let raw = read_engine(section, gas_limit, warnings)?;
    let mut schedule = QbftSchedule::new(raw.params());
    if let Some((path, value)) = transitions {
        let mut section = Section::new(&path, value)?;
        read_nested(section.sections("qbft")?, raw, gas_limit, forks, &mut schedule, warnings)?;
        section.ignore(&["ibft2"]);
        section.finish(warnings);
    }
    consensus.schedule = Some(schedule);
    Ok(consensus)
}

fn read_engine(mut section: Section<'_>, gas_limit: u64, warnings: &mut Warnings) -> Result<Raw, GenesisError> {
    let mut raw = Raw::defaults(GenesisFormat::Besu);
    raw.read_common(&mut section, gas_limit, warnings)?;
    raw.read_timers(&mut section)?;
    raw.start_block = section.get("startBlock", "a block number", field::quantity64)?.unwrap_or(0);
    if raw.start_block > 1 {
        return Err(GenesisError::Unsupported {
            key: section.path_of("startBlock"),
            got: raw.start_block.to_string(),
            reason: "blocks before it were made under IBFT, which is not implemented; only QBFT from the first block".to_owned(),
        });
    }
    if let Some(contract) = section.get("validatorContractAddress", ADDRESS, field::address)? {
        raw.selection = Selection::Contract(contract);
    }
    section.ignore(&QUEUE_KEYS);
    // Of GoQuorum, which reads the same file in a mixed network; Besu has them not, and does so unasked.
    section.ignore(&["policy", "ceil2Nby3Block"]);
    section.finish(warnings);
    Ok(raw)
}

const ADDRESS: &str = "an address of 20 bytes of hex";

/// Besu: `transitions.qbft[]`, spec/qbft.md 2.2.
fn read_nested(
    mut sections: Vec<Section<'_>>,
    mut raw: Raw,
    gas_limit: u64,
    forks: &ForkSchedule,
    schedule: &mut QbftSchedule,
    warnings: &mut Warnings,
) -> Result<(), GenesisError> {
    for (block, mut section) in ordered(&mut sections, 1, true)? {
        raw.read_common(&mut section, gas_limit, warnings)?;
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

const ADDRESSES: &str = "an array of addresses";
const KILOBYTES: &str = "kilobytes, 0 to 2^32";

fn kilobytes(value: Json<'_>) -> Option<u64> {
    field::quantity64(value).filter(|size| *size <= u64::from(u32::MAX))
}

enum Mode {
    Header,
    Contract,
}

fn read_mode(section: &mut Section<'_>) -> Result<Option<Mode>, GenesisError> {
    section.get("validatorSelectionMode", "\"contract\" or \"blockheader\"", |value| {
        match field::text(value)?.to_lowercase().as_str() {
            "contract" => Some(Mode::Contract),
            "blockheader" => Some(Mode::Header),
            _ => None,
        }
    })
}

fn need_contract(section: &Section<'_>, contract: Option<Address>) -> Result<Address, GenesisError> {
    contract.ok_or_else(|| GenesisError::Missing {
        key: section.path_of("validatorcontractaddress"),
        expected: format!("{ADDRESS}, because validatorselectionmode is \"contract\""),
    })
}

/// The transitions by ascending `block`, which must be there, at least `least`, and (Besu) unique.
fn ordered<'a>(sections: &mut Vec<Section<'a>>, least: u64, unique: bool) -> Result<Vec<(u64, Section<'a>)>, GenesisError> {
    let expected = if least == 0 { "a block number" } else { "a block number above 0" };
    if let Some(section) = sections.get(MOST_TRANSITIONS) {
        return Err(GenesisError::Bad {
            key: section.path_of("block"),
            got: format!("{} transitions", sections.len()),
            expected: format!("{MOST_TRANSITIONS} at most"),
        });
    }
    let mut seen = BTreeSet::new();
    let mut out = Vec::with_capacity(sections.len());
    for mut section in sections.drain(..) {
        let block = section.need("block", expected, |value| field::quantity64(value).filter(|block| *block >= least))?;
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
fn read_code_sizes(
    config: &mut Section<'_>,
    format: GenesisFormat,
    warnings: &mut Warnings,
) -> Result<Vec<(u64, u64)>, GenesisError> {
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
        config.ignore(&["txnSizeLimit", "isMPS"]);
        let private = ["privacyEnhancementsBlock", "privacyPrecompileBlock"];
        config.ignore_aloud(&private, "private transactions are not implemented", warnings);
        config.ignore_aloud(&["qip714Block"], "GoQuorum's permissioning by contract is not implemented", warnings);
    }
    limits.sort_by_key(|(from, _)| *from);
    Ok(limits)
}
