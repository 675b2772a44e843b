//! Another body for a nonce that waits already.

use alloy_primitives::U256;

use super::queue::Entry;
use super::{Pool, Refusal};

/// How long a body stays before another one that pays no more may take its place, ms; at least two block periods. It
/// doubles with each further one, so that a slot costs its peers a dozen bodies in its longest stay.
const REPLACE_AFTER_MS: u64 = 5_000;
/// Doublings at most: two and a half hours.
const MOST_DOUBLINGS: u8 = 11;

impl Pool {
    /// Whether `new` may take the place of `old`, and how often the place has changed hands for nothing then. As in Besu it
    /// must offer as much and the price bump more. Where that costs nothing (no fees, or no bump) the old one keeps its
    /// place for a while: Besu lets two bodies alternate without end (docs/costs.md).
    pub(super) fn may_replace(&self, now: u64, new: &Entry, old: &Entry) -> Result<u8, Refusal> {
        let bump = U256::from(100 + u64::from(self.settings.price_bump_percent));
        let enough = |new: U256, old: U256| new.saturating_mul(U256::from(100)) >= old.saturating_mul(bump);
        let (new_tx, old_tx) = (&new.candidate.tx, &old.candidate.tx);
        if !enough(new_tx.max_fee_per_gas(), old_tx.max_fee_per_gas())
            || !enough(new_tx.priority_fee_or_price(), old_tx.priority_fee_or_price())
        {
            return Err(Refusal::ReplacementUnderpriced);
        }
        if self.settings.price_bump_percent > 0 && !self.rules.is_free() && !old_tx.max_fee_per_gas().is_zero() {
            return Ok(old.replacements);
        }
        let stay = REPLACE_AFTER_MS.max(2 * self.rules.period_ms) << old.replacements.min(MOST_DOUBLINGS);
        let stayed = now.saturating_sub(old.placed);
        if stayed < stay {
            return Err(Refusal::ReplacedTooSoon { retry_ms: stay - stayed });
        }
        Ok(old.replacements.saturating_add(1))
    }
}
