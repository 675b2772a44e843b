//! What one peer may make us decrypt, decompress and look at, in bytes a second; judged before anything is decompressed.
//!
//! The price of a message is the larger of what came over the wire and what it says it would be decompressed, and never
//! below [`LEAST`]: so neither compression nor many small messages make anything cheaper. A peer in debt is not read
//! (its own connection waits, and nobody else's), and what it tells of transactions is left out.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::bucket::{Bucket, Rate};

const MIB: f64 = 1024.0 * 1024.0;
/// A stranger's: a message of the largest size and some, then what a block a second of the largest size needs.
const STRANGER: Rate = Rate::new(16.0 * MIB, 8.0 * MIB);
/// That of a known node: what synchronisation over a fast line needs.
const KNOWN: Rate = Rate::new(64.0 * MIB, 32.0 * MIB);
/// Least price of a message: at a stranger's rate some 8,000 empty messages a second.
pub(crate) const LEAST: usize = 1024;

/// One peer's budget.
#[derive(Debug)]
pub(crate) struct Intake {
    rate: Rate,
    bucket: Mutex<Bucket>,
}

impl Intake {
    pub(crate) fn new(known: bool) -> Self {
        let rate = if known { KNOWN } else { STRANGER };
        Intake { rate, bucket: Mutex::new(Bucket::full(rate, Instant::now())) }
    }

    /// Charges a message of `wire` bytes that says it decompresses to `declared`.
    ///
    /// # Errors
    /// The peer is in debt: the time until it is not. Nothing is charged.
    pub(crate) fn charge(&self, wire: usize, declared: usize) -> Result<(), Duration> {
        let price = wire.max(declared).max(LEAST);
        self.bucket.lock().spend(self.rate, price as f64, Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bomb_costs_what_it_would_be_and_nothing_is_free() {
        let intake = Intake::new(false);
        assert!(intake.charge(500_000, 10 << 20).is_ok() && intake.charge(500_000, 10 << 20).is_ok());
        let wait = intake.charge(1, 1).expect_err("in debt");
        assert!(wait > Duration::from_millis(400) && wait < Duration::from_secs(1), "{wait:?}");
        let intake = Intake::new(false);
        let small = (0..100_000).take_while(|_| intake.charge(0, 0).is_ok()).count();
        // The clock goes on meanwhile.
        assert!((16_384..26_000).contains(&small), "{small}");
    }
}
