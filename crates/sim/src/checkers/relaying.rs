//! Boots pass consensus messages on at once, whatever blocks they execute meanwhile: in calms, and on processors that nothing slows
//! down, 99 of 100 messages leave within the stated time after their arrival.

use crate::scenario::Scenario;

/// Messages below which nothing is judged.
const FEW: usize = 200;

/// Time from arrival to hand-over of what honest boots have passed on, µs.
#[derive(Default)]
pub(crate) struct Relaying {
    took_us: Vec<u64>,
}

impl Relaying {
    pub(super) fn passed_on(&mut self, took_us: u64) {
        self.took_us.push(took_us);
    }

    /// How many messages there were, and within what time 99 of 100 of them left, µs.
    pub(crate) fn p99_us(&mut self) -> (usize, u64) {
        self.took_us.sort_unstable();
        let count = self.took_us.len();
        (count, self.took_us.get(count * 99 / 100).copied().unwrap_or(0))
    }

    /// Looks at the whole run.
    pub(super) fn check(&mut self, scenario: &Scenario) -> Result<(), String> {
        let ((count, p99), most_us) = (self.p99_us(), scenario.relay_ms * 1_000);
        if most_us == 0 || count < FEW || p99 <= most_us {
            return Ok(());
        }
        Err(format!("one of a hundred of {count} messages waited {p99} us or longer at a boot, {most_us} us are promised"))
    }
}
