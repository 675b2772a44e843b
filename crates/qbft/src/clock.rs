//! When things happen: pure arithmetic on the parameters of a height. `now` is the wall clock here. The reasons are in the crate's first page.

use ipe_types::planted::{self, Bug};

use crate::event::{HeadInfo, Millis};

/// Patience is doubled at most this often: a million request timeouts, weeks. It bounds the arithmetic, not the delay that
/// can be borne in practice.
const DOUBLINGS_MAX: u32 = 20;

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

/// How long a round is borne whose proposer is taken for gone: a sixteenth of the request timeout, some ways of a message.
pub(crate) fn gone_ms(parent: &HeadInfo) -> u64 {
    (timeout_ms(parent) / 16).max(1)
}

/// How often our latest messages are sent again.
pub(crate) fn resend_period_ms(parent: &HeadInfo) -> u64 {
    quarter_ms(parent).clamp(*RESEND_MS.start(), *RESEND_MS.end())
}

/// T · 2^doublings without overflow.
pub(crate) fn doubled(timeout_ms: u64, doublings: u32) -> u64 {
    timeout_ms.saturating_mul(1u64.checked_shl(doublings.min(63)).unwrap_or(u64::MAX))
}

/// A leap over more rounds than this is the way back of a node that was away, and says nothing about delays.
const LEAP_COUNTED: u32 = 16;

/// What a height has taught us about patience. Never forgotten while the height lasts: what makes one round fail, a long
/// delay or a slow check, is there in the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pace {
    /// Rounds above which we went, whatever was the reason, so that all who began the height together count the same.
    passed: u32,
}

impl Pace {
    /// A round was left for one that is `rounds` above it.
    pub(crate) fn went_up(&mut self, rounds: u32) {
        if planted::is(Bug::PaceForgotten) {
            return;
        }
        self.passed = self.passed.saturating_add(if rounds > LEAP_COUNTED { 1 } else { rounds });
    }

    /// Patience with a round that can have a proposal.
    ///
    /// One request timeout T, as long as f faulty proposers explain what failed. Then T · 2^(passed − f), so that after as
    /// many rounds as the logarithm of what a decision takes every correct proposer has the time that it needs. With more
    /// than three faulty ones it doubles more slowly: three times while f rounds fail, so that f liars in a row cost no
    /// more than some eight times f of what is needed. Never more than Besu's T · 2^round.
    pub(crate) fn patience_ms(&self, parent: &HeadInfo) -> u64 {
        let faulty = parent.validators.f() as u32;
        let doublings = self.passed.saturating_sub(faulty).saturating_mul(3) / faulty.max(3);
        doubled(timeout_ms(parent), doublings.min(DOUBLINGS_MAX))
    }

    /// How long we wait for others at a round before we go up to those who are above it: a quarter of the patience, so
    /// that it grows with it. A round that is left while RoundChanges for it are under way is lost.
    pub(crate) fn climb_ms(&self, parent: &HeadInfo) -> u64 {
        (self.patience_ms(parent) / 4).max(1)
    }
}
