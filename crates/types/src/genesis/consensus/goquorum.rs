//! `config.qbft`, `config.istanbul` and flat `transitions[]` of GoQuorum (spec/qbft.md 14).

use super::{ADDRESS, ADDRESSES, Consensus, KILOBYTES, Raw, kilobytes, ordered};
use crate::fork::Activation;
use crate::genesis::field::{self, Section, sections};
use crate::genesis::json::Json;
use crate::genesis::warnings::Warnings;
use crate::genesis::{GenesisError, GenesisFormat};
use crate::transition::{QbftSchedule, Selection};
use alloy_primitives::Address;

const CONTRACT: &str = "contract";
const HEADER: &str = "blockheader";

/// Who names the validators. Both parts come together: from the genesis object, from transitions, or one from each.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Choice {
    by_contract: bool,
    /// Zero = none.
    contract: Address,
}

impl Choice {
    /// GoQuorum asks a contract only when it has an address and the mode says so (`Backend.snapshot`).
    fn selection(self) -> Selection {
        if self.by_contract && !self.contract.is_zero() { Selection::Contract(self.contract) } else { Selection::Header }
    }
}

pub(super) fn read<'a>(
    config: &mut Section<'a>,
    transitions: Option<(String, Json<'a>)>,
    gas_limit: u64,
    consensus: &mut Consensus,
    warnings: &mut Warnings,
) -> Result<(), GenesisError> {
    let mut flat = match transitions {
        Some((path, value)) => ordered(&mut sections(&path, value)?, 0, false)?,
        None => Vec::new(),
    };
    let Some((section, legacy)) = engine(config, &flat)? else { return Ok(()) };
    let mut raw = Raw::defaults(GenesisFormat::GoQuorum);
    let (mut choice, validators) = read_engine(section, legacy, &mut raw, gas_limit, warnings)?;

    let at_genesis = flat.iter().take_while(|(block, _)| *block == 0).count();
    let mut forced: Vec<(u64, Vec<Address>)> = Vec::new();
    for (block, section) in flat.drain(..at_genesis) {
        let set = read_transition(block, section, &mut raw, &mut choice, gas_limit, consensus, warnings)?;
        forced.extend(set.map(|set| (block, set)));
    }
    if !validators.is_empty() {
        forced.push((0, validators));
    }
    raw.selection = choice.selection();
    let mut schedule = QbftSchedule::new(raw.params());
    for (block, section) in flat {
        let set = read_transition(block, section, &mut raw, &mut choice, gas_limit, consensus, warnings)?;
        forced.extend(set.map(|set| (block, set)));
        raw.selection = choice.selection();
        schedule.push(Activation::Block(block), raw.params());
    }
    for (block, set) in forced {
        schedule.force_validators(block, set);
    }
    consensus.code_size_limits.sort_by_key(|(from, _)| *from);
    consensus.schedule = Some(schedule);
    Ok(())
}

/// The section that configures the engine, and whether it is the legacy one. `config.istanbul` goes before `config.ibft`
/// and that before `config.qbft`, which a transition at block 0 may stand for (GoQuorum `CreateConsensusEngine`).
fn engine<'a>(config: &mut Section<'a>, transitions: &[(u64, Section<'a>)]) -> Result<Option<(Section<'a>, bool)>, GenesisError> {
    if let Some(section) = config.section("istanbul")? {
        if !section.has("testQBFTBlock") {
            return Err(GenesisError::Missing {
                key: "config.istanbul.testQBFTBlock".to_owned(),
                expected: "0, for QBFT from the first block (IBFT chains are not supported)".to_owned(),
            });
        }
        config.ignore(&["qbft", "ibft"]);
        return Ok(Some((section, true)));
    }
    if config.has("ibft") {
        return Err(GenesisError::Unsupported {
            key: "config.ibft".to_owned(),
            got: "an object".to_owned(),
            reason: "GoQuorum runs IBFT where this stands, even beside config.qbft, and only QBFT is implemented".to_owned(),
        });
    }
    if let Some(section) = config.section("qbft")? {
        return Ok(Some((section, false)));
    }
    let by_transition = transitions.iter().any(|(block, section)| {
        let algorithm = section.peek("algorithm").and_then(field::text);
        *block == 0 && algorithm.is_some_and(|name| name.eq_ignore_ascii_case("qbft"))
    });
    let empty = Json::parse("{}").ok().filter(|_| by_transition);
    empty.map(|empty| Section::new("config.qbft", empty).map(|section| (section, false))).transpose()
}

/// Reads the engine's section; who names the validators at the start, and the set that it names itself.
fn read_engine(
    mut section: Section<'_>,
    legacy: bool,
    raw: &mut Raw,
    gas_limit: u64,
    warnings: &mut Warnings,
) -> Result<(Choice, Vec<Address>), GenesisError> {
    if section.get("policy", "0, round robin", field::quantity64)?.is_some_and(|policy| policy != 0) {
        return Err(GenesisError::Unsupported {
            key: section.path_of("policy"),
            got: "not 0".to_owned(),
            reason: "only round robin (0) is implemented for choosing the proposer".to_owned(),
        });
    }
    let must_be_zero = if legacy { &["testQBFTBlock", "ceil2Nby3Block"][..] } else { &["ceil2Nby3Block"] };
    if legacy && !section.has("ceil2Nby3Block") {
        return Err(GenesisError::Missing {
            key: section.path_of("ceil2Nby3Block"),
            expected: "0: without it GoQuorum's quorum is 2F+1 under config.istanbul, and here it is ceil(2N/3)".to_owned(),
        });
    }
    for key in must_be_zero {
        let at = section.get(key, "a block number", field::quantity64)?.unwrap_or(0);
        if at > 0 {
            return Err(GenesisError::Unsupported {
                key: section.path_of(key),
                got: at.to_string(),
                reason: "QBFT with a quorum of ceil(2N/3) has to hold from the first block; expected 0".to_owned(),
            });
        }
    }
    if legacy {
        let blocks = section.get("epoch", "a number of blocks", field::quantity64)?;
        raw.epoch_length = blocks.filter(|blocks| *blocks > 0).unwrap_or(raw.epoch_length);
        warnings.push(
            "config.istanbul has no block period: GoQuorum takes it from --istanbul.blockperiod (5 s when absent) and \
             --istanbul.requesttimeout, here it is 5 s and 10 s; write config.qbft with blockperiodseconds for another"
                .to_owned(),
        );
        section.finish(warnings);
        return Ok((Choice::default(), Vec::new()));
    }
    section.ignore_aloud(&["epoch"], "GoQuorum reads epochlength", warnings);
    section.ignore(&["testQBFTBlock"]);
    raw.read_common(&mut section, gas_limit, warnings)?;
    raw.read_timers(&mut section)?;
    read_rules(&mut section, raw, warnings)?;
    // GoQuorum compares letter by letter here and takes whatever else stands there for headers.
    let by_contract = section.get("validatorSelectionMode", MODES, field::text)?.is_some_and(|mode| mode == CONTRACT);
    let mut choice = Choice { by_contract, ..Choice::default() };
    choice.contract = section.get("validatorContractAddress", ADDRESS, field::address)?.unwrap_or_default();
    if choice.by_contract == choice.contract.is_zero() {
        let address = section.path_of("validatorcontractaddress");
        let mode = section.path_of("validatorselectionmode");
        warnings.push(if choice.by_contract {
            format!("{mode} \"contract\" has no effect without {address}: the validators come from the headers")
        } else {
            format!("{address} has no effect without {mode} \"contract\": the validators come from the headers")
        });
    }
    let validators = section.get("validators", ADDRESSES, field::addresses)?.unwrap_or_default();
    section.finish(warnings);
    Ok((choice, validators))
}

const MODES: &str = "\"contract\" or \"blockheader\"";

/// GoQuorum's beneficiary mode and the rules of it that this node does not follow.
fn read_rules(section: &mut Section<'_>, raw: &mut Raw, warnings: &mut Warnings) -> Result<(), GenesisError> {
    let expected = "\"fixed\", \"validator\" or \"validators\"";
    if let Some(mode) = section.get("beneficiaryMode", expected, |value| {
        field::text(value)
            .map(|mode| mode.to_lowercase())
            .filter(|mode| ["", "fixed", "validator", "validators"].contains(&mode.as_str()))
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
    let keys = ["maxRequestTimeoutSeconds", "allowedFutureBlockTime"];
    section.ignore_aloud(&keys, "rounds have no longest time", warnings);
    Ok(())
}

/// One transition; returns the validators that it forces.
fn read_transition(
    block: u64,
    mut section: Section<'_>,
    raw: &mut Raw,
    choice: &mut Choice,
    gas_limit: u64,
    consensus: &mut Consensus,
    warnings: &mut Warnings,
) -> Result<Option<Vec<Address>>, GenesisError> {
    if let Some(algorithm) = section.get("algorithm", "\"qbft\"", field::text)?
        && !algorithm.is_empty()
        && !algorithm.eq_ignore_ascii_case("qbft")
    {
        return Err(GenesisError::Unsupported {
            key: section.path_of("algorithm"),
            got: algorithm,
            reason: "only \"qbft\" is implemented".to_owned(),
        });
    }
    raw.read_common(&mut section, gas_limit, warnings)?;
    raw.read_timers(&mut section)?;
    read_rules(&mut section, raw, warnings)?;
    let mode = section.get("validatorSelectionMode", MODES, |value| {
        field::text(value).filter(|mode| ["", CONTRACT, HEADER].contains(&mode.as_str()))
    })?;
    let contract = section.get("validatorContractAddress", ADDRESS, field::address)?.unwrap_or_default();
    if !contract.is_zero() {
        if mode.as_deref() != Some(CONTRACT) {
            return Err(GenesisError::Missing {
                key: section.path_of("validatorselectionmode"),
                expected: "\"contract\", which GoQuorum wants beside a contract's address".to_owned(),
            });
        }
        choice.contract = contract;
    }
    if let Some(mode) = mode.filter(|mode| !mode.is_empty()) {
        choice.by_contract = mode == CONTRACT;
    }
    let validators = section.get("validators", ADDRESSES, field::addresses)?.filter(|set| !set.is_empty());
    if let Some(kilobytes) = section.get("contractSizeLimit", KILOBYTES, kilobytes)?.filter(|size| *size > 0) {
        consensus.code_size_limits.push((block, kilobytes * 1024));
    }
    if let Some(floor) = section.get("miner.gaslimit", "gas, an integer from 0 to 2^63-1", |value| {
        field::quantity64(value).filter(|limit| *limit <= i64::MAX as u64)
    })? {
        consensus.gas_floors.push(floor);
    }
    if let Some(allowed) = section.get("gasPriceEnabled", "true or false", field::boolean)? {
        consensus.gas_prices.switches.push((block, allowed));
    }
    section.ignore(&["transactionSizeLimit"]);
    for (key, why) in [
        ("privacyEnhancementsEnabled", "private transactions are not implemented"),
        ("privacyPrecompileEnabled", "private transactions are not implemented"),
        ("enhancedPermissioningEnabled", "GoQuorum's permissioning by contract is not implemented"),
    ] {
        if section.get(key, "true or false", field::boolean)?.unwrap_or(false) {
            warnings.push(format!("{} has no effect here: {why}", section.path_of(key)));
        }
    }
    section.finish(warnings);
    Ok(validators)
}
