//! Blocks go on: at four fifths of their pace while an attack lasts, but in the attackers' own turns; within the stated number
//! of timeouts whatever the delays; at the stated share of the pace where some are gone.

use crate::scenario::Scenario;

/// Blocks in honest turns below which nothing is judged.
const FEW: u64 = 15;
/// From here on a network has started, ms.
const STARTED_MS: u64 = 5_000;

/// Intervals between the first imports of blocks.
#[derive(Default)]
pub(crate) struct Pace {
    last_ms: Option<u64>,
    blocks: u64,
    /// Longest interval, and when it ended, ms.
    longest_ms: (u64, u64),
    /// Of the turns of institutions without a villain.
    honest: u64,
    honest_ms: u64,
}

impl Pace {
    /// A block is final for the first time; `honest` tells whose turn it was in round 0.
    pub(super) fn block(&mut self, now_ms: u64, honest: bool) {
        let took_ms = now_ms - self.last_ms.replace(now_ms).unwrap_or(now_ms);
        self.longest_ms = self.longest_ms.max((took_ms, now_ms));
        self.blocks += u64::from(now_ms >= STARTED_MS);
        if honest && took_ms > 0 {
            self.honest += 1;
            self.honest_ms += took_ms;
        }
    }

    /// Looks at the whole run.
    pub(super) fn check(&self, scenario: &Scenario, end_ms: u64) -> Result<(), String> {
        let period_ms = scenario.period_ms;
        let attacked = scenario.faults.is_none() && !scenario.villains.is_empty() && scenario.bound == 0;
        if attacked && self.honest >= FEW && self.honest_ms * 4 > self.honest * period_ms * 5 {
            let (longest, at) = self.longest_ms;
            return Err(format!(
                "{} blocks in honest turns took {} ms, the period is {period_ms} ms; the longest of all took {longest} ms until {at} ms",
                self.honest, self.honest_ms
            ));
        }
        let bound_ms = scenario.bound * scenario.timeout_s * 1_000;
        let longest_ms = self.longest_ms.0.max(end_ms - self.last_ms.unwrap_or(0));
        if bound_ms > 0 && longest_ms > bound_ms {
            return Err(format!("a block took {longest_ms} ms, at most {bound_ms} are promised"));
        }
        let most = end_ms.saturating_sub(STARTED_MS) / period_ms;
        if self.blocks * 100 < most * scenario.least_pace {
            return Err(format!(
                "{} blocks of {most} that the period allows, at least {} % are promised",
                self.blocks, scenario.least_pace
            ));
        }
        Ok(())
    }
}
