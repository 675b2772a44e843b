//! After faults heal the next block comes in time, and nobody needs a restart to follow.

/// A block that must come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Promise {
    /// Time of the last heal, ms.
    pub(crate) healed_ms: u64,
    /// Earliest time at which the block may exist, ms.
    pub(crate) earliest_ms: u64,
    /// Latest time, ms.
    pub(crate) latest_ms: u64,
}

#[derive(Default)]
pub(crate) struct Liveness {
    promise: Option<Promise>,
    /// Longest time from a heal, or from when a block might exist, to the block, ms.
    pub(crate) longest_ms: u64,
}

impl Liveness {
    pub(crate) fn promise(&mut self, promise: Promise) {
        self.promise = Some(promise);
    }

    pub(crate) fn block(&mut self, now_ms: u64) {
        if let Some(promise) = self.promise.take() {
            self.longest_ms = self.longest_ms.max(now_ms.saturating_sub(promise.earliest_ms.max(promise.healed_ms)));
        }
    }

    /// Looks whether the promise was kept.
    pub(crate) fn check(&mut self, now_ms: u64) -> Result<(), String> {
        match self.promise {
            Some(promise) if now_ms >= promise.latest_ms => {
                self.promise = None;
                let since = now_ms - promise.earliest_ms.max(promise.healed_ms);
                Err(format!("no block came within {since} ms after all faults were healed"))
            }
            _ => Ok(()),
        }
    }
}

/// Every node is at the highest height or one below.
pub(super) fn level(heads: &[(String, u64)]) -> Result<(), String> {
    let best = heads.iter().map(|(_, head)| *head).max().unwrap_or(0);
    match heads.iter().find(|(_, head)| head + 1 < best) {
        None => Ok(()),
        Some((name, head)) => Err(format!("{name} is at block {head} at the end of a calm, others are at {best}")),
    }
}
