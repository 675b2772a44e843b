//! A budget that refills with time: how much somebody may make us do.

use std::time::{Duration, Instant};

/// What a budget holds and how fast it refills; the unit is its user's (packets, connections, bytes).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Held at most, and at the start.
    pub burst: f64,
    /// Regained each second.
    pub a_second: f64,
}

impl Rate {
    /// A rate.
    pub const fn new(burst: f64, a_second: f64) -> Self {
        Rate { burst, a_second }
    }
}

/// A budget. Its [`Rate`] is given with each use, so that it can be a constant.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    level: f64,
    at: Instant,
}

impl Bucket {
    /// As much as the rate allows at once.
    pub const fn full(rate: Rate, now: Instant) -> Self {
        Bucket { level: rate.burst, at: now }
    }

    /// When it was used last.
    pub const fn used(&self) -> Instant {
        self.at
    }

    fn refill(&mut self, rate: Rate, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.level = (self.level + passed * rate.a_second).min(rate.burst);
        self.at = self.at.max(now);
    }

    /// Takes one, or nothing when less than one is left.
    pub fn take(&mut self, rate: Rate, now: Instant) -> bool {
        self.refill(rate, now);
        let enough = self.level >= 1.0;
        if enough {
            self.level -= 1.0;
        }
        enough
    }

    /// Takes `amount`, which may leave a debt. While there is one nothing is taken: how long until it is paid.
    ///
    /// So an amount above the burst is never refused for ever, and in the long run no more than the rate passes.
    ///
    /// # Errors
    /// The time to wait before asking again.
    pub fn spend(&mut self, rate: Rate, amount: f64, now: Instant) -> Result<(), Duration> {
        self.refill(rate, now);
        if self.level < 0.0 {
            // A day is for ever here; it keeps the division in range.
            let seconds = (-self.level / rate.a_second).clamp(0.001, 86_400.0);
            return Err(Duration::from_secs_f64(seconds));
        }
        self.level -= amount;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate::new(10.0, 2.0);

    #[test]
    fn a_burst_and_then_the_rate() {
        let now = Instant::now();
        let mut bucket = Bucket::full(RATE, now);
        assert_eq!((0..100).filter(|_| bucket.take(RATE, now)).count(), 10);
        assert_eq!((0..100).filter(|_| bucket.take(RATE, now + Duration::from_secs(3))).count(), 6);
        assert!(!bucket.take(RATE, now), "a clock that is behind gives nothing");
    }

    #[test]
    fn what_is_larger_than_the_burst_is_paid_afterwards() {
        let now = Instant::now();
        let mut bucket = Bucket::full(RATE, now);
        assert_eq!(bucket.spend(RATE, 30.0, now), Ok(()));
        assert_eq!(bucket.spend(RATE, 1.0, now), Err(Duration::from_secs(10)));
        let mut passed = 0.0;
        for second in 0..100 {
            while bucket.spend(RATE, 1.0, now + Duration::from_secs(second)).is_ok() {
                passed += 1.0;
            }
        }
        assert!(passed <= 100.0 * RATE.a_second && passed > 80.0 * RATE.a_second, "{passed}");
    }
}
