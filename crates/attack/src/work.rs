//! Processor time of the attacker and of the nodes, which share one machine here and would not elsewhere.

use std::time::Instant;

use crate::lab::Lab;

/// Kernel ticks a second in /proc on Linux.
const TICKS_A_SECOND: f64 = 100.0;

/// Processors' worth of work: seconds of processor time a second.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cores {
    /// Of the attacker's process, which also measures.
    pub attacker: f64,
    /// Of the honest node that used most.
    pub busiest: f64,
}

/// Processor time used at one moment.
pub struct Look {
    at: Instant,
    attacker: Option<u64>,
    nodes: Vec<Option<u64>>,
}

impl Look {
    /// Looks now. A process that is gone is left out of the answer.
    pub fn now(lab: &Lab) -> Look {
        let nodes = lab.honest().map(|node| ticks(&lab.process(node)?)).collect();
        Look { at: Instant::now(), attacker: ticks("self"), nodes }
    }

    /// What was used since.
    pub fn since(&self, lab: &Lab) -> Cores {
        let now = Look::now(lab);
        let passed_s = now.at.duration_since(self.at).as_secs_f64().max(f64::MIN_POSITIVE);
        let cores = |before: Option<u64>, after: Option<u64>| {
            let used = after.zip(before).map_or(0, |(after, before)| after.saturating_sub(before));
            used as f64 / TICKS_A_SECOND / passed_s
        };
        let nodes = self.nodes.iter().zip(&now.nodes).map(|(before, after)| cores(*before, *after));
        Cores { attacker: cores(self.attacker, now.attacker), busiest: nodes.fold(0.0, f64::max) }
    }
}

/// Ticks of user and system time, fields 14 and 15 of `/proc/<pid>/stat`; the name in parentheses may hold anything.
fn ticks(process: &str) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}
