//! `ipe genesis explain`: what a genesis file means, in words and as JSON. Both are made from one [`Explanation`].

use crate::failure::{Failure, Outcome, print};
use alloy_primitives::{Address, B256};
use ipe_node::config::{MAX_GENESIS_BYTES, read_text};
use ipe_types::ExtraData;
use ipe_types::fork::Activation;
use ipe_types::fork::Fork;
use ipe_types::fork_id::ForkIds;
use ipe_types::genesis::{BaseFeePolicy, BesuRules, Genesis, GenesisFormat, RequestContracts};
use ipe_types::transition::{QbftParams, QbftSchedule, Selection};
use ipe_types::utc;
use serde::Serialize;
use std::fmt::Write as _;
use std::path::Path;

/// When something begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct When {
    #[serde(skip_serializing_if = "Option::is_none")]
    block: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    utc: Option<String>,
}

impl When {
    fn of(at: Activation) -> When {
        match at {
            Activation::Block(number) => When { block: Some(number), time: None, utc: None },
            Activation::Time(time) => When { block: None, time: Some(time), utc: utc::seconds(time) },
        }
    }
}

impl std::fmt::Display for When {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.block, self.time, &self.utc) {
            (Some(block), _, _) => write!(f, "block {block}"),
            (_, Some(time), Some(utc)) => write!(f, "time {time} ({utc})"),
            (_, Some(time), None) => write!(f, "time {time}"),
            _ => f.write_str("never"),
        }
    }
}

#[derive(Debug, Serialize)]
struct ForkLine {
    key: &'static str,
    rules: &'static str,
    from: When,
}

/// One value that a transition changes.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Change {
    what: &'static str,
    before: String,
    after: String,
}

/// The parameters from one activation on.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Consensus {
    from: When,
    /// Why these parameters begin earlier than the number says, or never rule; absent where the number is the height.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    /// Against the parameters before; empty for the genesis.
    changes: Vec<Change>,
    block_period_ms: u64,
    empty_block_period_ms: u64,
    request_timeout_ms: u64,
    epoch_length: u64,
    block_reward: String,
    beneficiary: Option<Address>,
    validators: Validators,
    tx_gas_cap: String,
    /// The same for people.
    #[serde(skip)]
    words: [(&'static str, String); 8],
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
enum Validators {
    HeaderVotes,
    Contract(Address),
}

#[derive(Debug, Serialize)]
struct Override {
    block: u64,
    validators: Vec<Address>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SizeLimit {
    from_block: u64,
    bytes: u64,
}

/// Which contracts the protocol calls or reads.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SystemContracts {
    besu_rules: &'static str,
    called: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    deposits: Option<Address>,
    #[serde(skip_serializing_if = "Option::is_none")]
    withdrawals: Option<Address>,
    #[serde(skip_serializing_if = "Option::is_none")]
    consolidations: Option<Address>,
}

impl SystemContracts {
    fn of(genesis: &Genesis) -> Option<Self> {
        genesis.forks.points().iter().find(|point| point.fork >= Fork::Cancun)?;
        let system = &genesis.system;
        let address = |of: fn(&RequestContracts) -> Address| system.requests.as_ref().map(of);
        Some(SystemContracts {
            besu_rules: system.rules.name(),
            called: system.requests.is_some() || system.rules == BesuRules::V25_5,
            deposits: address(|contracts| contracts.deposits),
            withdrawals: address(|contracts| contracts.withdrawals),
            consolidations: address(|contracts| contracts.consolidations),
        })
    }
}

impl std::fmt::Display for SystemContracts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let called = if self.called { "called where they have code" } else { "none is called" };
        write!(f, "{called} (rules of Besu {})", self.besu_rules)?;
        if let (Some(deposits), Some(withdrawals), Some(consolidations)) = (self.deposits, self.withdrawals, self.consolidations) {
            write!(f, "; from Prague on deposits {deposits}, withdrawals {withdrawals}, consolidations {consolidations}")?;
        }
        Ok(())
    }
}

/// Everything that is said about a file.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Explanation {
    hash: B256,
    state_root: B256,
    chain_id: u64,
    format: &'static str,
    fork_id: String,
    next_fork: u64,
    timestamp: u64,
    gas_limit: u64,
    accounts: usize,
    contracts: usize,
    base_fee: &'static str,
    /// Besu release whose rules hold where releases differ, and what follows for the contracts that the protocol calls; absent
    /// on chains without Cancun, where there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    system_contracts: Option<SystemContracts>,
    /// Rules of block 0.
    fork: &'static str,
    forks: Vec<ForkLine>,
    code_size_limits: Vec<SizeLimit>,
    /// First the genesis, then the transitions; empty when the file does not configure QBFT.
    consensus: Vec<Consensus>,
    /// Sets that a transition forces at exactly one block.
    validator_overrides: Vec<Override>,
    /// Those of block 0's extra data.
    validators: Vec<Address>,
    bootnodes: Vec<String>,
    /// Why no node of this kind runs the chain; absent when one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
    warnings: Vec<String>,
}

/// Reads the file and prints.
pub fn run(file: &Path, as_json: bool) -> Outcome {
    let text = read_text(file, MAX_GENESIS_BYTES)?;
    let genesis = Genesis::parse(&text).map_err(|error| Failure::Usage(format!("{}: {error}", file.display())))?;
    let told = explain(&genesis);
    if as_json {
        let json = serde_json::to_string_pretty(&told)
            .map_err(|error| Failure::failed(format!("could not write {} as JSON", file.display()), error))?;
        print(&(json + "\n"))?;
    } else {
        print(&text_of(&told))?;
    }
    match told.refused {
        None => Ok(()),
        Some(why) => Err(Failure::Failed(format!("{}: a node does not run this chain: {why}", file.display()))),
    }
}

fn explain(genesis: &Genesis) -> Explanation {
    let header = genesis.header();
    let hash = header.hash_slow();
    let fork_id = ForkIds::new(hash, genesis.timestamp, &genesis.forks).at(0, genesis.timestamp);
    let mut warnings = genesis.warnings.clone();
    warnings.extend(genesis.system_warnings());
    let validators = match ExtraData::decode(&genesis.extra_data) {
        Ok(extra) => extra.validators,
        Err(_) => Vec::new(),
    };
    let consensus = match &genesis.qbft {
        Some(schedule) => consensus(schedule, genesis.timestamp),
        None => Vec::new(),
    };
    if let Some(first) = consensus.first() {
        match (&first.validators, validators.is_empty()) {
            (Validators::Contract(_), false) => {
                warnings.push("extraData lists validators that have no effect: the contract names them from block 1 on".to_owned())
            }
            (Validators::HeaderVotes, true) if genesis.qbft.as_ref().is_some_and(|qbft| qbft.validators_override(0).is_none()) => {
                warnings.push("extraData lists no validators: the chain cannot begin".to_owned());
            }
            _ => {}
        }
    }
    Explanation {
        hash,
        state_root: header.state_root,
        chain_id: genesis.chain_id,
        format: match genesis.format {
            GenesisFormat::Besu => "Besu",
            GenesisFormat::GoQuorum => "GoQuorum",
        },
        fork_id: format!("0x{:08x}", u32::from_be_bytes(fork_id.hash)),
        next_fork: fork_id.next,
        timestamp: genesis.timestamp,
        gas_limit: genesis.gas_limit,
        accounts: genesis.alloc.len(),
        contracts: genesis.alloc.values().filter(|account| !account.code.is_empty()).count(),
        base_fee: match genesis.base_fee {
            BaseFeePolicy::Market => "market",
            BaseFeePolicy::Zero => "zero",
            BaseFeePolicy::Fixed => "fixed",
        },
        system_contracts: SystemContracts::of(genesis),
        fork: genesis.fork().name(),
        forks: genesis
            .forks
            .points()
            .iter()
            .map(|point| ForkLine { key: point.key, rules: point.fork.name(), from: When::of(point.at) })
            .chain(genesis.forks.marks().iter().filter(|(_, at)| *at > 0).map(|(key, at)| ForkLine {
                key,
                rules: if *key == "enableGasPriceBlock" {
                    "transactions may offer a gas price"
                } else {
                    "no rule, counts in the fork id"
                },
                from: When::of(Activation::Block(*at)),
            }))
            .collect(),
        code_size_limits: genesis
            .code_size_limits
            .iter()
            .map(|(from_block, bytes)| SizeLimit { from_block: *from_block, bytes: *bytes })
            .collect(),
        consensus,
        validator_overrides: genesis
            .qbft
            .iter()
            .flat_map(QbftSchedule::overrides)
            .map(|(block, set)| Override { block, validators: set.to_vec() })
            .collect(),
        validators,
        bootnodes: genesis.bootnodes.clone(),
        refused: genesis.refusal().map(|error| error.to_string()),
        warnings,
    }
}

/// The schedule's entries with what each changes and, where its number is a time, what that means for a chain that
/// begins at `genesis_time` (unix seconds).
fn consensus(schedule: &QbftSchedule, genesis_time: u64) -> Vec<Consensus> {
    let entries = schedule.entries();
    // Block 1 is never older than block 0, so what begins at such a time rules from block 1 on, and only the last does.
    let from_first_block = entries.iter().rposition(|(at, _)| matches!(at, Activation::Time(time) if *time <= genesis_time));
    let mut out = Vec::with_capacity(entries.len());
    for (index, (at, params)) in entries.iter().enumerate() {
        let same_later = entries.iter().skip(index + 1).any(|(later, _)| later == at);
        let note = match (at, from_first_block) {
            (_, Some(last)) if index > 0 && index < last => {
                Some("never in force: a later transition is in force from block 1 on".to_owned())
            }
            (Activation::Time(time), last) => {
                let mut note =
                    format!("written as block {time}, read as a time: the forks in force at that value are keyed by time");
                if last == Some(index) {
                    note += "; block 0 is later, so it is in force from block 1 on";
                }
                Some(note)
            }
            _ if same_later => Some("never in force: another transition has the same block".to_owned()),
            _ => None,
        };
        let before = index.checked_sub(1).and_then(|before| entries.get(before)).map(|(_, params)| params);
        out.push(Consensus {
            from: When::of(*at),
            note,
            changes: before.map(|before| changes(before, params)).unwrap_or_default(),
            block_period_ms: params.period_ms,
            empty_block_period_ms: params.empty_period_ms,
            request_timeout_ms: params.request_timeout_ms,
            epoch_length: params.epoch_length,
            block_reward: params.block_reward.to_string(),
            beneficiary: params.beneficiary,
            validators: match params.selection {
                Selection::Header => Validators::HeaderVotes,
                Selection::Contract(address) => Validators::Contract(address),
            },
            tx_gas_cap: params.tx_gas_cap.to_string(),
            words: params.named(),
        });
    }
    out
}

fn changes(before: &QbftParams, after: &QbftParams) -> Vec<Change> {
    before
        .named()
        .into_iter()
        .zip(after.named())
        .filter(|((_, old), (_, new))| old != new)
        .map(|((what, before), (_, after))| Change { what, before, after })
        .collect()
}

fn text_of(told: &Explanation) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "{name:<12} {value}");
    };
    line("hash", told.hash.to_string());
    line("state root", told.state_root.to_string());
    line("chain id", told.chain_id.to_string());
    line("format", told.format.to_owned());
    let next = if told.next_fork == 0 { String::new() } else { format!(", next {}", told.next_fork) };
    line("fork id", format!("{}{next}", told.fork_id));
    let time = utc::seconds(told.timestamp).map_or_else(String::new, |utc| format!(" ({utc})"));
    line("block 0", format!("time {}{time}, gas limit {}", told.timestamp, told.gas_limit));
    line("alloc", format!("{} accounts, {} of them with code", told.accounts, told.contracts));
    line("base fee", told.base_fee.to_owned());
    if let Some(system) = &told.system_contracts {
        line("system", system.to_string());
    }
    for limit in &told.code_size_limits {
        line("code limit", format!("{} bytes from block {}", limit.bytes, limit.from_block));
    }
    let _ = writeln!(out, "\nforks (block 0 has the rules of {}):", told.fork);
    for fork in &told.forks {
        let _ = writeln!(out, "  {}: {} ({})", fork.from, fork.rules, fork.key);
    }
    if let Some((first, rest)) = told.consensus.split_first() {
        out.push_str("\nconsensus, QBFT:\n");
        for (what, value) in &first.words {
            let _ = writeln!(out, "  {what:<24} {value}");
        }
        if !rest.is_empty() {
            out.push_str("\ntransitions:\n");
        }
        for entry in rest {
            let _ = writeln!(out, "  from {}", entry.from);
            if let Some(note) = &entry.note {
                let _ = writeln!(out, "    {note}");
            }
            for change in &entry.changes {
                let _ = writeln!(out, "    {}: {} (before: {})", change.what, change.after, change.before);
            }
            if entry.changes.is_empty() {
                out.push_str("    changes no parameter\n");
            }
        }
        for forced in &told.validator_overrides {
            let _ = writeln!(out, "  at block {} the validators become", forced.block);
            for validator in &forced.validators {
                let _ = writeln!(out, "    {validator}");
            }
        }
    }
    section(&mut out, "validators of block 0", told.validators.iter().map(ToString::to_string));
    section(&mut out, "bootnodes", told.bootnodes.iter().cloned());
    section(&mut out, "warnings", told.warnings.iter().cloned());
    out
}

fn section(out: &mut String, name: &str, items: impl ExactSizeIterator<Item = String>) {
    if items.len() > 0 {
        let _ = writeln!(out, "\n{name}:");
        for item in items {
            let _ = writeln!(out, "  {item}");
        }
    }
}
