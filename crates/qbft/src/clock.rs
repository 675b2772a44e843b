//! When things happen: pure arithmetic on the parameters of a height. `now` is the wall clock here. The reasons are in the crate's first page.

use crate::event::{HeadInfo, Millis};

/// Patience with a round that fails on and on is doubled at most this often: 64 request timeouts.
pub(crate) const DOUBLINGS_MAX: u32 = 6;

/// Rounds that a node climbs at the pace of [`quarter_ms`] to meet others who are above it, before it slows down: a
/// Besu peer alone for 250 request timeouts is eight rounds up.
pub(crate) const QUICK_CLIMBS: u32 = 8;

/// Shortest and longest time between two sendings of the same messages, in milliseconds. Shorter would look like a
/// flood to a relay (four messages at most, twice a second); longer would keep a returning node waiting at a request
/// timeout of minutes.
const RESEND_MS: std::ops::RangeInclusive<u64> = 500..=2_500;

/// Time of the block timer: whole-second periods are counted from the parent's timestamp; others from `anchor`, the
/// moment at which the former round 0 began, so that blocks do not fall behind by the time that a decision takes.
pub(crate) fn block_due(parent: &HeadInfo, now: Millis, anchor: Option<Millis>) -> Millis {
    if is_sub_second(parent) {
        let due = anchor.unwrap_or(now).saturating_add(parent.period_ms);
        // A clock that was set back must not stop the chain.
        due.clamp(now, now.saturating_add(parent.period_ms))
    } else {
        parent.timestamp_s.saturating_mul(1000).saturating_add(parent.period_ms)
    }
}

/// Whether it is too early for round 0. A sub-second period is bound to no timestamp, so a clock that was set back does
/// not prolong it.
pub(crate) fn is_early(parent: &HeadInfo, now: Millis, due: Millis) -> bool {
    let early_ms = due.saturating_sub(now);
    early_ms > 0 && !(is_sub_second(parent) && early_ms > parent.period_ms)
}

/// Whether the period is not of whole seconds: Besu's `xblockperiodmilliseconds`, without a minimum distance of
/// timestamps.
fn is_sub_second(parent: &HeadInfo) -> bool {
    !parent.period_ms.is_multiple_of(1000)
}

/// Timestamp of a new block in seconds: rounded half up in round 0 and down above (spec/qbft.md 4.3), and never nearer
/// to the parent than the period allows.
pub(crate) fn timestamp_s(parent: &HeadInfo, now: Millis, round: u32) -> u64 {
    let rounded = if round == 0 { now.saturating_add(500) / 1000 } else { now / 1000 };
    rounded.max(parent.timestamp_s.saturating_add(parent.period_ms / 1000))
}

/// Until when an empty block is held back; `None` when the feature is off or the time is over.
pub(crate) fn empty_until(parent: &HeadInfo, now: Millis) -> Option<Millis> {
    let until = parent.timestamp_s.saturating_mul(1000).saturating_add(parent.empty_period_ms);
    (parent.empty_period_ms > 0 && now < until).then_some(until)
}

/// Whether the block should have been there a request timeout ago: then whoever is alive has left round 0, or everyone
/// has just started. `usual_ms` is how late heads come anyway by our clock: it is what the clock is ahead.
pub(crate) fn is_overdue(parent: &HeadInfo, now: Millis, usual_ms: u64) -> bool {
    let period = parent.period_ms.max(parent.empty_period_ms);
    let due = parent.timestamp_s.saturating_mul(1000).saturating_add(period);
    now.saturating_sub(usual_ms) >= due.saturating_add(timeout_ms(parent)).saturating_add(500)
}

/// How late the last heads came, counted from their timestamps by our clock.
///
/// A clock that is ahead sees every head come late, and would take every block for overdue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lateness {
    /// When the last head came; `None` before the first.
    came: Option<Millis>,
    /// Milliseconds; 0 until as many heads came at their time.
    recent: [u64; Lateness::HEADS],
    next: usize,
}

impl Lateness {
    /// Heads to learn from. A block that was delayed by a lost quorum is late once; a clock, every time.
    const HEADS: usize = 4;

    /// `head` came, after `before`. Heads that come in a heap are caught up with and teach nothing.
    pub(crate) fn saw(&mut self, before: &HeadInfo, head: &HeadInfo, now: Millis) {
        let apart_ms = head.timestamp_s.saturating_sub(before.timestamp_s).saturating_mul(1000);
        let live = self.came.is_some_and(|came| now.saturating_sub(came) >= apart_ms / 2);
        self.came = Some(now);
        if live && before.number.checked_add(1) == Some(head.number) {
            self.recent[self.next % Self::HEADS] = now.saturating_sub(head.timestamp_s.saturating_mul(1000));
            self.next = (self.next + 1) % Self::HEADS;
        }
    }

    /// What is usual, in milliseconds.
    pub(crate) fn usual_ms(&self) -> u64 {
        self.recent.into_iter().min().unwrap_or(0)
    }
}

/// Request timeout T; 0 would spin.
pub(crate) fn timeout_ms(parent: &HeadInfo) -> u64 {
    parent.request_timeout_ms.max(1)
}

/// A quarter of the request timeout: how long a round is borne that is overdue or cannot get its own quorum.
pub(crate) fn quarter_ms(parent: &HeadInfo) -> u64 {
    (timeout_ms(parent) / 4).max(1)
}

/// How often our latest messages are sent again.
pub(crate) fn resend_period_ms(parent: &HeadInfo) -> u64 {
    quarter_ms(parent).clamp(*RESEND_MS.start(), *RESEND_MS.end())
}

/// T · 2^doublings without overflow.
pub(crate) fn doubled(timeout_ms: u64, doublings: u32) -> u64 {
    timeout_ms.saturating_mul(1u64.checked_shl(doublings.min(63)).unwrap_or(u64::MAX))
}

/// What a height has taught us about patience.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pace {
    /// Rounds that had their quorum of RoundChanges and failed all the same, since a quorum was last missing.
    pub(crate) failed: u32,
    /// Proposals that came after we had left their round.
    pub(crate) late: u32,
    /// Rounds left because part of the quorum was above them.
    pub(crate) climbs: u32,
}

impl Pace {
    /// Patience with a round that can have a proposal.
    ///
    /// One request timeout, as long as it may be the proposers who fail: a whole turn of them. Beyond, and when
    /// proposals come late, it is the timeout that is too short: it doubles, within what Besu would wait in `round`.
    pub(crate) fn patience_ms(&self, parent: &HeadInfo, round: u32) -> u64 {
        let turn = parent.validators.len() as u32;
        let doublings = self.late.max(self.failed.saturating_sub(turn)).min(DOUBLINGS_MAX).min(round);
        doubled(timeout_ms(parent), doublings)
    }

    /// Patience with a round that waits for others who are above it.
    pub(crate) fn climb_ms(&self, parent: &HeadInfo) -> u64 {
        doubled(quarter_ms(parent), self.climbs.saturating_sub(QUICK_CLIMBS))
    }
}
