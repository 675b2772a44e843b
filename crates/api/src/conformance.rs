//! Puts recorded questions to this node's dispatcher and compares the answers: the measure of "every tool that talks to
//! Besu can talk to us". Used by the tests and by `cargo xtask conformance`; reads no files itself.

pub mod quorum;

use crate::backend::{Api, Backend, Release, Settings};
use crate::table::Groups;
use crate::wire::MAX_BATCH;
use alloy_primitives::{Address, Bytes};
use ipe_chain::kv::MemoryStore;
use ipe_chain::{BulkStep, Ledger};
use ipe_engine::pool::{Pool, Rules};
use ipe_engine::{Control, Status, StatusCell, VoteControl};
use ipe_types::genesis::BaseFeePolicy;
use ipe_types::spec::ChainSpec;
use parking_lot::Mutex;
use serde_json::Value;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::Arc;
use tokio::sync::{broadcast, mpsc};

/// A clock beyond every recorded block, in unix milliseconds.
const NOW_MS: u64 = 1_900_000_000_000;

/// One recorded question and its answer, as JSON.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// The request's body.
    pub request: Value,
    /// The response's body.
    pub response: Value,
}

/// Reads lines of `{"request": …, "response": …}`.
///
/// # Errors
/// The number of the line that is not such an object.
pub fn exchanges(text: &str) -> Result<Vec<Exchange>, String> {
    text.lines()
        .enumerate()
        .map(|(i, line)| {
            let mut row: Value = serde_json::from_str(line).map_err(|e| format!("line {}: {e}", i + 1))?;
            let mut take = |name: &str| row.get_mut(name).map(Value::take).ok_or(format!("line {}: no {name}", i + 1));
            Ok(Exchange { request: take("request")?, response: take("response")? })
        })
        .collect()
}

/// A dispatcher over the imported chain of a recording. What the recorded node was told by its operator (its own address,
/// its votes) is taken from the recording.
///
/// # Errors
/// The genesis or a block is not accepted.
pub fn dispatcher(genesis: &str, blocks: &[u8], exchanges: &[Exchange], release: Release) -> Result<Arc<Api>, String> {
    let spec = Arc::new(ChainSpec::parse(genesis).map_err(|e| e.to_string())?);
    let ledger = Ledger::open(Arc::new(MemoryStore::new()), Arc::clone(&spec)).map_err(|e| e.to_string())?;
    let source = split(blocks)?.into_iter().map(Ok::<_, Infallible>);
    ledger
        .import_stream(source, NOW_MS, &mut |step| matches!(step, BulkStep::Imported(_) | BulkStep::Skipped { .. }))
        .map_err(|e| e.to_string())?;
    let answer_of = |method: &str| exchanges.iter().find(|e| e.request["method"] == method).map(|e| e.response["result"].clone());
    let address: Address = answer_of("eth_coinbase").and_then(|v| v.as_str()?.parse().ok()).unwrap_or_default();
    let votes: BTreeMap<Address, bool> = answer_of("qbft_getPendingVotes")
        .and_then(|v| v.as_object()?.iter().map(|(k, v)| Some((k.parse().ok()?, v.as_bool()?))).collect())
        .unwrap_or_default();
    // The recorded nodes ran with the default price floor where there is a fee market and without one elsewhere.
    let min_gas_price: u64 = if spec.base_fee_policy() == BaseFeePolicy::Market
        && spec.fork_at(1, spec.genesis_header().timestamp + 1) >= ipe_types::fork::Fork::London
    {
        1000
    } else {
        0
    };
    let head = ledger.head();
    let own = Rules {
        chain_id: spec.chain_id(),
        fork: spec.fork_at(head.number, head.header.timestamp),
        block_gas_limit: head.header.gas_limit,
        tx_gas_cap: None,
        base_fee: None,
        min_gas_price: u128::from(min_gas_price),
        fee_cap: Some(Settings::default().fee_cap),
        max_tx_bytes: 128 * 1024,
        goquorum: None,
        period_ms: 1000,
    };
    let rules = ipe_engine::admission::rules(&ledger, &spec, &own);
    let pool = Pool::new(ipe_engine::pool::Settings::default(), rules, head.number);
    let status = StatusCell::default();
    status.set(Status { height: head.number, validating: true, ..Status::default() });
    let (control, wishes) = mpsc::channel(16);
    operate(wishes, votes);
    let backend = Backend {
        ledger: Arc::new(ledger),
        pool: Arc::new(Mutex::new(pool)),
        control,
        notifications: broadcast::channel(16).0,
        status,
        log_level: Arc::new(|_, _| true),
        steady_ms: Api::now_ms,
        advice: Arc::new(Vec::new),
    };
    let network_id = spec.chain_id();
    let settings = Settings { network_id, address, release, ..Settings::default() };
    Ok(Api::new(backend, settings))
}

/// Answers wishes in place of a node until the dispatcher is dropped.
fn operate(mut wishes: mpsc::Receiver<Control>, mut votes: BTreeMap<Address, bool>) {
    std::thread::spawn(move || {
        while let Some(wish) = wishes.blocking_recv() {
            match wish {
                Control::Vote(VoteControl::Propose(whom, add, reply)) => {
                    votes.insert(whom, add);
                    reply(Ok(()));
                }
                Control::Vote(VoteControl::Discard(whom, reply)) => {
                    votes.remove(&whom);
                    reply(Ok(()));
                }
                Control::Vote(VoteControl::Pending(reply)) => reply(votes.iter().map(|(a, v)| (*a, *v)).collect()),
                // A reply dropped unanswered is an error to the asker.
                Control::Announce(_) | Control::Peer(_) | Control::Permission(_) | Control::Miner(_) => {}
            }
        }
    });
}

/// Concatenated block RLP.
fn split(mut bytes: &[u8]) -> Result<Vec<Bytes>, String> {
    let mut blocks = Vec::new();
    while !bytes.is_empty() {
        let mut rest = bytes;
        alloy_rlp::Header::decode_bytes(&mut rest, true).map_err(|e| e.to_string())?;
        let (block, after) = bytes.split_at(bytes.len() - rest.len());
        blocks.push(Bytes::copy_from_slice(block));
        bytes = after;
    }
    Ok(blocks)
}

/// Equal and all lines of one method.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Answers equal to the recorded ones.
    pub equal: usize,
    /// Questions.
    pub total: usize,
    /// Recorded answers that are results.
    pub results: usize,
    /// Of these, equal.
    pub equal_results: usize,
}

/// An answer that differs.
#[derive(Debug, Clone)]
pub struct Difference {
    /// Method.
    pub method: String,
    /// Parameters.
    pub params: Value,
    /// The recorded answer without envelope.
    pub recorded: Value,
    /// Ours.
    pub ours: Value,
}

/// Outcome of a comparison.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// By method.
    pub methods: BTreeMap<String, Tally>,
    /// In order of the recording.
    pub differences: Vec<Difference>,
}

impl Report {
    /// Equal and all lines.
    pub fn total(&self) -> Tally {
        self.methods.values().fold(Tally::default(), |a, b| Tally {
            equal: a.equal + b.equal,
            total: a.total + b.total,
            results: a.results + b.results,
            equal_results: a.equal_results + b.equal_results,
        })
    }

    /// One line per method with differences, then the first `most` differences in short.
    pub fn text(&self, most: usize) -> String {
        let total = self.total();
        let mut out = format!("{} of {} equal\n", total.equal, total.total);
        for (method, tally) in self.methods.iter().filter(|(_, t)| t.equal != t.total) {
            let _ = writeln!(out, "  {method}: {} of {}", tally.equal, tally.total);
        }
        for d in self.differences.iter().take(most) {
            let _ = writeln!(out, "  {} {}", d.method, short(&d.params));
            for line in inside(&d.recorded, &d.ours, "") {
                let _ = writeln!(out, "    {line}");
            }
        }
        out
    }
}

fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(240) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Where two values differ, at most a few lines.
pub fn inside(recorded: &Value, ours: &Value, path: &str) -> Vec<String> {
    const FEW: usize = 6;
    let mut out = Vec::new();
    match (recorded, ours) {
        (Value::Object(a), Value::Object(b)) => {
            for (key, value) in a {
                match b.get(key) {
                    None => out.push(format!("{path}.{key}: recorded {}, ours has none", short(value))),
                    Some(other) => out.extend(inside(value, other, &format!("{path}.{key}"))),
                }
            }
            for (key, value) in b.iter().filter(|(k, _)| !a.contains_key(*k)) {
                out.push(format!("{path}.{key}: recorded none, ours {}", short(value)));
            }
        }
        (Value::Array(a), Value::Array(b)) => {
            if a.len() != b.len() {
                out.push(format!("{path}: recorded {} items, ours {}", a.len(), b.len()));
            }
            for (i, (x, y)) in a.iter().zip(b).enumerate() {
                if out.len() >= FEW {
                    break;
                }
                out.extend(inside(x, y, &format!("{path}[{i}]")));
            }
        }
        _ if recorded != ours => out.push(format!("{path}: recorded {}, ours {}", short(recorded), short(ours))),
        _ => {}
    }
    out.truncate(FEW);
    out
}

/// The result or the error of a response.
fn essence(response: &Value) -> Value {
    match response.get("error") {
        Some(error) => serde_json::json!({ "error": error }),
        None => response.get("result").cloned().unwrap_or(Value::Null),
    }
}

/// Puts order into what has none: Besu lists signers in the order of a hash table.
fn settled(method: &str, mut value: Value) -> Value {
    if method == "qbft_getSignerMetrics"
        && let Some(list) = value.as_array_mut()
    {
        list.sort_by_key(|item| item["address"].to_string());
    }
    value
}

/// Groups that the recorded node had enabled.
fn groups_of(exchanges: &[Exchange]) -> Groups {
    let modules = exchanges.iter().find(|e| e.request["method"] == "rpc_modules").map(|e| &e.response["result"]);
    let names = modules.and_then(Value::as_object).map(|m| m.keys().map(String::as_str).collect::<Vec<_>>());
    names.and_then(|names| Groups::parse(names).ok()).unwrap_or_else(Groups::all)
}

/// Why an answer differs from Besu's, for the differences that are wanted or known; `None` for any other.
pub fn reason(difference: &Difference) -> Option<&'static str> {
    let (recorded, ours) = (&difference.recorded, &difference.ours);
    let code = recorded["error"]["code"].as_i64();
    let lines = inside(recorded, ours, "").join(" ");
    match difference.method.as_str() {
        _ if code == Some(-39001) => {
            Some("`finalized` and `safe` are the newest block here: every block of QBFT is final; Besu knows none and fails")
        }
        "eth_simulateV1" if lines.contains("returnData") => {
            Some("a slot that an override of the whole storage leaves out is zero here; Besu shows what was there before")
        }
        "trace_callMany" if lines.contains("creationMethod") => {
            Some("how a contract is created is told here in calls as in blocks; Besu tells it in blocks only")
        }
        "trace_callMany" if ours["error"]["code"] == -32603 => {
            Some("a call that may not be executed is an error here; Besu puts its error into the result")
        }
        "eth_sendRawTransaction" => match code {
            Some(-32603) => Some("Besu 25.5 fails inside on the largest possible nonce; the refusal here says what is wrong"),
            Some(-32007) => {
                Some("account rules were on in the recorded node; here the same transaction is refused for another reason first")
            }
            None => Some(
                "Besu 26.8's pool takes, and never mines, what its sender cannot pay for on a chain without fees; refused here",
            ),
            Some(-32000) => Some("refused by both; Besu 26.8 had taken the transaction before"),
            _ => None,
        },
        "eth_estimateGas" if code == Some(-32603) => {
            Some("Besu 26.8 fails inside when the sender cannot pay the value; the error here says so, as Besu 25.5 does")
        }
        "eth_getLogs" => Some("the recorded node was some empty blocks further when it answered"),
        method if method.starts_with("trace_") && lines.contains("\"Precompile error\"") => {
            Some("Besu 26.8 names the failure of a precompile called earlier instead of the frame's own end")
        }
        method if method.starts_with("trace_") && lines.contains("\"Reverted\", ours has none") => {
            Some("Besu marks a call that succeeded as reverted when a call after it reverts; its receipt shows the effects")
        }
        method if method.starts_with("debug_trace") && lines.contains("PRECOMPILE_ERROR") => {
            Some("Besu 26.8 marks the instruction that called a failing precompile; here the call just returns 0")
        }
        method
            if method.starts_with("debug_trace")
                && (lines.contains(".storage") || lines.contains("gas: recorded") || lines.contains("stack[")) =>
        {
            Some("Besu does not apply all of the block's earlier transactions before it traces one; gas here is the receipt's")
        }
        method if method.starts_with("debug_trace") && lines.contains("gasCost") => {
            Some("price shown for an instruction that the gas did not suffice for")
        }
        _ => None,
    }
}

/// The page of remaining differences, by recording: `besu-…` and `quorum-…`.
pub fn page(reports: &[(String, Report)]) -> String {
    let (besu, quorum): (Vec<_>, Vec<_>) = reports.iter().partition(|(name, _)| name.starts_with("besu"));
    let mut out = String::from(
        "# Where answers differ from Besu's and GoQuorum's\n\nGenerated by the test of `crates/api` that puts every recorded \
         question to the dispatcher over the imported chain; `cargo xtask conformance` prints the same by method.\n\n\
         ## Besu\n\n",
    );
    section(&mut out, &besu, reason);
    out.push_str(
        "\n## GoQuorum\n\nThe answers here have Besu's form. What GoQuorum answers otherwise is listed; balances, code, \
         storage, calls, gas, logs, blocks and counts are the same.\n\n",
    );
    section(&mut out, &quorum, quorum::reason);
    out
}

fn section(out: &mut String, reports: &[&(String, Report)], reason: fn(&Difference) -> Option<&'static str>) {
    out.push_str("| Recording | Equal | of | Results of `eth_`, `qbft_`, `net_` equal | of |\n|---|---|---|---|---|\n");
    for (name, report) in reports {
        let total = report.total();
        let core = |m: &str| ["eth_", "qbft_", "net_"].iter().any(|p| m.starts_with(p));
        let (results, equal) = report
            .methods
            .iter()
            .filter(|(m, _)| core(m))
            .fold((0, 0), |(all, same), (_, t)| (all + t.results, same + t.equal_results));
        let _ = writeln!(out, "| {name} | {} | {} | {equal} | {results} |", total.equal, total.total);
    }
    out.push_str("\n| Method | Times | Why |\n|---|---|---|\n");
    let mut reasons: BTreeMap<(String, &str), usize> = BTreeMap::new();
    for difference in reports.iter().flat_map(|(_, r)| &r.differences) {
        let why = reason(difference).unwrap_or("not explained");
        *reasons.entry((difference.method.clone(), why)).or_default() += 1;
    }
    for ((method, why), times) in reasons {
        let _ = writeln!(out, "| `{method}` | {times} | {why} |");
    }
}

/// Puts every question to the dispatcher, in order, with the groups of the recorded node.
pub fn compare(api: &Api, exchanges: &[Exchange]) -> Report {
    let mut report = Report::default();
    let groups = groups_of(exchanges);
    for exchange in exchanges {
        let method = exchange.request["method"].as_str().unwrap_or_default().to_owned();
        let body = exchange.request.to_string();
        let answer = api.answer_here(body.as_bytes(), groups, MAX_BATCH).body;
        let ours: Value = serde_json::from_slice(&answer).unwrap_or(Value::Null);
        let (recorded, ours) = (settled(&method, essence(&exchange.response)), settled(&method, essence(&ours)));
        let is_result = exchange.response.get("error").is_none();
        let equal = recorded == ours;
        let tally = report.methods.entry(method.clone()).or_default();
        tally.total += 1;
        tally.equal += usize::from(equal);
        tally.results += usize::from(is_result);
        tally.equal_results += usize::from(is_result && equal);
        if !equal {
            report.differences.push(Difference { method, params: exchange.request["params"].clone(), recorded, ours });
        }
    }
    report
}
