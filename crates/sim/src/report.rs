//! What came of a run.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::faults::FaultCounts;

/// Something that must never happen, and did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Simulated time since the start, ms.
    pub at_ms: u64,
    /// Step of the event log.
    pub step: u64,
    /// Checker that saw it.
    pub checker: &'static str,
    /// What it saw.
    pub what: String,
}

/// The result of one run.
#[derive(Clone, Debug)]
pub struct Report {
    /// Scenario.
    pub scenario: &'static str,
    /// Seed.
    pub seed: u64,
    /// Hash of the event log, in hex.
    pub hash: String,
    /// Events in the log.
    pub events: u64,
    /// Simulated time, ms.
    pub simulated_ms: u64,
    /// Height of the chain at the end.
    pub blocks: u64,
    /// Transactions that writers acknowledged.
    pub acknowledged: u64,
    /// Of these, that are in blocks.
    pub included: u64,
    /// Longest time from the end of the faults to the next block, ms.
    pub recovery_ms: u64,
    /// Consensus messages that honest boots passed on in calms, and within what time 99 of 100 of them left after their arrival, µs.
    pub relayed: (usize, u64),
    /// Writes that each of the first nodes made, in their order: as many places to crash in.
    pub writes: Vec<u64>,
    /// Faults injected, by kind.
    pub faults: FaultCounts,
    /// What must not happen and did; empty in a good run.
    pub violations: Vec<Violation>,
}

/// The form of a report in JSON. `wall_s` is the caller's, who has a clock.
#[derive(Debug, Serialize)]
pub struct ReportJson<'a> {
    scenario: &'a str,
    seed: u64,
    hash: &'a str,
    events: u64,
    simulated_s: f64,
    wall_s: f64,
    blocks: u64,
    acknowledged: u64,
    included: u64,
    recovery_s: f64,
    relayed: usize,
    relay_p99_ms: f64,
    faults: BTreeMap<&'static str, u64>,
    violations: &'a [Violation],
}

impl Report {
    /// For `--json`, with the time that the run took, s.
    pub fn json(&self, wall_s: f64) -> ReportJson<'_> {
        ReportJson {
            scenario: self.scenario,
            seed: self.seed,
            hash: &self.hash,
            events: self.events,
            simulated_s: self.simulated_ms as f64 / 1_000.0,
            wall_s,
            blocks: self.blocks,
            acknowledged: self.acknowledged,
            included: self.included,
            recovery_s: self.recovery_ms as f64 / 1_000.0,
            relayed: self.relayed.0,
            relay_p99_ms: self.relayed.1 as f64 / 1_000.0,
            faults: self.faults.by_name(),
            violations: &self.violations,
        }
    }

    /// The command that runs this again and shows the events around the first violation.
    pub fn replay_command(&self) -> String {
        let step = self.violations.first().map_or(0, |violation| violation.step);
        let (scenario, seed) = (self.scenario, self.seed);
        format!("ipe sim replay --scenario {scenario} --seed {seed} --from {} --to {}", step.saturating_sub(200), step + 20)
    }
}
