//! What came out of a measurement.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

/// The load while it runs.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Progress {
    /// What is being done, while preparing.
    pub stage: String,
    /// Seconds since the first transaction was offered.
    pub elapsed_s: f64,
    /// Transactions handed to an endpoint.
    pub offered: u64,
    /// Taken by it.
    pub accepted: u64,
    /// Refused by it.
    pub refused: u64,
    /// Seen in a block.
    pub included: u64,
    /// Handed over and not seen yet.
    pub in_flight: usize,
    /// Height.
    pub block: u64,
}

/// Result of one measurement. Times in milliseconds unless the name says otherwise.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// What the transactions did.
    pub kind: String,
    /// Offered per second by plan, if it had a rate.
    pub target_rate: Option<f64>,
    /// Transactions in flight by plan, if it had a closed loop.
    pub target_in_flight: Option<usize>,
    /// Seconds during which transactions were offered.
    pub duration_s: f64,
    /// Number of senders.
    pub senders: usize,
    /// Transactions handed to an endpoint, each attempt counted.
    pub offered: u64,
    /// Taken.
    pub accepted: u64,
    /// Refused, in total.
    pub refused: u64,
    /// Refused, by the endpoint's words.
    pub refused_by: BTreeMap<String, u64>,
    /// Requests that got no answer; what they carried counts neither as accepted nor as refused.
    pub transport_errors: u64,
    /// The last of them.
    pub last_transport_error: Option<String>,
    /// By plan due, but every sender was waiting for an answer.
    pub not_offered: u64,
    /// Accepted and seen in a block.
    pub included: u64,
    /// Accepted and not seen when the measurement ended.
    pub missing: u64,
    /// Of the included ones, how many failed when executed; `None` when no endpoint serves receipts.
    pub failed: Option<u64>,
    /// Receipts looked at for `failed`.
    pub receipts_checked: u64,
    /// Transactions per second between the first and the last block of the time after the warm-up.
    pub sustained_tps: f64,
    /// All included ones over the time from the first offer to the last inclusion.
    pub overall_tps: f64,
    /// Gas per second over the same blocks as `sustained_tps`.
    pub gas_per_s: f64,
    /// From handing over to sight, after the warm-up.
    pub latency: Spread,
    /// From handing over to the endpoint's answer.
    pub answer: Spread,
    /// Blocks of the time after the warm-up.
    pub blocks: u64,
    /// First and last of them.
    pub block_range: (u64, u64),
    /// Between sights of two blocks.
    pub interval: Spread,
    /// Most transactions in one block.
    pub fullest_block: u64,
    /// Blocks without transactions.
    pub empty_blocks: u64,
}

/// A distribution in milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Spread {
    /// How many values.
    pub count: u64,
    /// Mean.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Largest.
    pub max: f64,
}

/// Collects durations with a fixed memory: exact to a tenth of a millisecond below 10 s, to 10 ms above.
#[derive(Clone)]
pub struct Latency {
    fine: Vec<u32>,
    coarse: Vec<u32>,
    count: u64,
    sum_us: u64,
    max_us: u64,
}

const FINE: usize = 100_000;
const COARSE: usize = 100_000;

impl Default for Latency {
    fn default() -> Self {
        Self { fine: vec![0; FINE], coarse: vec![0; COARSE], count: 0, sum_us: 0, max_us: 0 }
    }
}

impl Latency {
    /// Takes one duration in microseconds.
    pub fn add(&mut self, us: u64) {
        self.count += 1;
        self.sum_us += us;
        self.max_us = self.max_us.max(us);
        let fine = (us / 100) as usize;
        if fine < FINE {
            self.fine[fine] += 1;
        } else {
            let coarse = ((us / 10_000) as usize).min(COARSE - 1);
            self.coarse[coarse] += 1;
        }
    }

    /// The distribution so far.
    pub fn spread(&self) -> Spread {
        if self.count == 0 {
            return Spread::default();
        }
        Spread {
            count: self.count,
            mean: self.sum_us as f64 / self.count as f64 / 1_000.0,
            p50: self.at(0.50),
            p95: self.at(0.95),
            p99: self.at(0.99),
            max: self.max_us as f64 / 1_000.0,
        }
    }

    fn at(&self, share: f64) -> f64 {
        let wanted = (share * self.count as f64).ceil() as u64;
        let mut seen = 0;
        let fine = self.fine.iter().enumerate().map(|(index, count)| (index as f64 / 10.0, *count));
        let coarse = self.coarse.iter().enumerate().map(|(index, count)| (index as f64 * 10.0, *count));
        for (ms, count) in fine.chain(coarse) {
            seen += u64::from(count);
            if seen >= wanted {
                return ms;
            }
        }
        self.max_us as f64 / 1_000.0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pace = match (self.target_rate, self.target_in_flight) {
            (Some(rate), _) => format!("{rate}/s"),
            (_, Some(count)) => format!("{count} in flight"),
            _ => String::new(),
        };
        writeln!(f, "{} at {pace} for {:.0} s from {} senders", self.kind, self.duration_s, self.senders)?;
        writeln!(
            f,
            "offered {}  accepted {}  refused {}  included {}  missing {}  failed {}",
            self.offered,
            self.accepted,
            self.refused,
            self.included,
            self.missing,
            self.failed.map_or_else(|| "?".into(), |failed| failed.to_string())
        )?;
        for (reason, count) in &self.refused_by {
            writeln!(f, "  refused {count}: {reason}")?;
        }
        if self.transport_errors > 0 {
            let last = self.last_transport_error.as_deref().unwrap_or_default();
            writeln!(f, "  {} requests without an answer, the last: {last}", self.transport_errors)?;
        }
        if self.not_offered > 0 {
            writeln!(f, "  {} could not be offered in time: more senders or connections are needed", self.not_offered)?;
        }
        writeln!(
            f,
            "sustained {:.0} tx/s, {:.1} Mgas/s; overall {:.0} tx/s",
            self.sustained_tps,
            self.gas_per_s / 1e6,
            self.overall_tps
        )?;
        let spread = |name: &str, spread: &Spread| {
            format!(
                "{name} ms: p50 {:.0}  p95 {:.0}  p99 {:.0}  max {:.0}  mean {:.0}",
                spread.p50, spread.p95, spread.p99, spread.max, spread.mean
            )
        };
        writeln!(f, "{}", spread("latency  ", &self.latency))?;
        writeln!(f, "{}", spread("answer   ", &self.answer))?;
        writeln!(f, "{}", spread("interval ", &self.interval))?;
        write!(
            f,
            "{} blocks ({} to {}), fullest {} transactions, {} empty",
            self.blocks, self.block_range.0, self.block_range.1, self.fullest_block, self.empty_blocks
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_a_known_distribution() {
        let mut latency = Latency::default();
        for ms in 1..=1_000 {
            latency.add(ms * 1_000);
        }
        let spread = latency.spread();
        assert_eq!((spread.p50, spread.p95, spread.p99, spread.max), (500.0, 950.0, 990.0, 1_000.0));
        assert_eq!(spread.mean, 500.5);
        latency.add(25_000_000);
        assert_eq!(latency.spread().max, 25_000.0);
        let mut slow = Latency::default();
        slow.add(25_004_000);
        assert_eq!(slow.spread().p99, 25_000.0);
    }
}
