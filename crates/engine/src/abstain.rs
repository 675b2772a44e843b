//! The start of consensus at a validator whose gate has a doubt: it waits until what the key may have signed is decided.
//!
//! While there is a doubt the consensus core does not run: the validator follows the chain as a boot does. The doubt ends
//!
//! - with a block that was made after this node was connected and had caught up: when it was made, its height was
//!   undecided, and a key signs only for the height after the head that its node has, so everything that it can have signed
//!   before is for heights that are decided now; or
//! - where nothing points to a loss ([`Doubt::is_bounded`]), after a while in which it was connected, no older block came,
//!   and none of its own messages was told back by a peer (peers tell whoever connects what they hold of undecided
//!   heights). The while is a quarter of the request timeout for a validator that was away, so that a quorum that it
//!   completes does not wait for it, and two request timeouts where there was no journal and the chain has no block yet or no other
//!   validator; or
//! - by an operator's word; always so where another process signs with the key, and where the others lack a quorum without
//!   this validator.

use crate::doubt::{Cause, Doubt};
use crate::replica::{Clock, Level, Output, Put, Replica, new_core};

/// How often the log repeats why this validator abstains, ms.
const TOLD_MS: u64 = 60_000;
/// Pause before the end of a doubt that could not be written to the journal is tried again, ms.
const AGAIN_MS: u64 = 1_000;

/// What is remembered about a doubt while it lasts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Waiting {
    /// When this node was connected first, ms.
    connected_at: Option<u64>,
    /// The head, and since when no older block came, ms.
    head: (u64, u64),
    /// The wait is over; only the journal has still to be told.
    over: bool,
    /// When the log says it again, ms.
    told_at: u64,
    /// Not before this time is the journal written, ms.
    again_at: u64,
}

impl Replica {
    /// Whether the gate signs nothing.
    pub(crate) fn doubt(&self) -> Option<Doubt> {
        self.parts.gate.as_ref().and_then(crate::signing::Gate::doubt)
    }

    /// Whether consensus may start, when all else is ready: no doubt is left. `connected` tells that some peer that shares
    /// consensus is there, or that there is no other validator.
    pub(crate) fn is_beyond_doubt(&mut self, clock: Clock<'_>, connected: bool, put: Put<'_>) -> bool {
        let head = self.parts.ledger.head();
        let now_ms = clock.now_ms();
        let Some(gate) = &mut self.parts.gate else { return true };
        // The journal of a validator that stopped knows of the height that was undecided then, or of the one before it.
        if gate.doubt().is_none() && gate.floor() < head.number {
            // In memory only, which cannot fail.
            let _ = gate.abstain(Doubt::new(Cause::Behind));
        }
        let Some(doubt) = gate.doubt() else { return true };
        let params = self.parts.spec.qbft_at(head.number + 1, head.header.timestamp);
        let patience_ms = match doubt.cause {
            Cause::Behind => params.request_timeout_ms / 4,
            _ => 2 * params.request_timeout_ms,
        };
        let alone = head.validators_next.len() <= 1;
        self.tell_doubt(now_ms, doubt, doubt.is_bounded(head.number, alone), put);
        self.start_at = None;
        if !connected {
            return false;
        }
        let waiting = &mut self.waiting;
        let connected_at = *waiting.connected_at.get_or_insert_with(|| {
            waiting.head = (head.number, now_ms);
            now_ms
        });
        let mut decided = false;
        if head.number > waiting.head.0 {
            let age_ms = clock.wall_ms().saturating_sub(head.header.timestamp.saturating_mul(1_000));
            decided = doubt.ends_by_itself() && age_ms < now_ms.saturating_sub(connected_at);
            waiting.head = (head.number, now_ms);
        }
        let patient_at = waiting.head.1 + patience_ms;
        let bounded = doubt.is_bounded(head.number, alone);
        waiting.over |= decided || (bounded && now_ms >= patient_at);
        // What was heard meanwhile may say that there is more to wait for.
        waiting.over &= doubt.ends_by_itself() && doubt.through <= head.number;
        if !waiting.over {
            self.start_at = bounded.then_some(patient_at);
            return false;
        }
        if now_ms < waiting.again_at {
            self.start_at = Some(waiting.again_at);
            return false;
        }
        let Some(gate) = &mut self.parts.gate else { return true };
        match gate.settle(head.number + 1) {
            Ok(()) => {
                let what = format!("this validator signs again, from height {}: what its key may have signed before is decided", head.number + 1);
                put(Output::Log(Level::Info, what));
                self.waiting = Waiting::default();
                self.touch_status();
                true
            }
            Err(error) => {
                self.waiting.again_at = now_ms + AGAIN_MS;
                self.start_at = Some(now_ms + AGAIN_MS);
                self.fail(format!("this validator goes on abstaining: {error}"), put);
                false
            }
        }
    }

    fn tell_doubt(&mut self, now_ms: u64, doubt: Doubt, bounded: bool, put: Put<'_>) {
        if now_ms < self.waiting.told_at {
            return;
        }
        self.waiting.told_at = now_ms + TOLD_MS;
        self.touch_status();
        let until = match doubt {
            _ if !doubt.ends_by_itself() => {
                "until an operator has stopped the other process and said so: stop this node and run \
                 ipe journal resume --other-process-stopped"
            }
            _ if bounded => "until the others decide a block, or for at most two request timeouts once it is connected and has caught up",
            _ => {
                "until the others decide a block that is made from now on; if they cannot do without this validator and its key \
                 has certainly signed nothing else, stop this node and run ipe journal resume --nothing-else-was-signed"
            }
        };
        let level = if bounded { Level::Info } else { Level::Error };
        put(Output::Log(level, format!("this validator abstains, it signs nothing: {doubt}; {until}")));
    }

    /// A doubt came up while consensus runs: the core, and what it waits for, is given up. When the doubt is over it starts
    /// from the chain as it is then.
    pub(crate) fn stand_down(&mut self) {
        if self.told_head.is_none() || self.doubt().is_none() {
            return;
        }
        self.core = Some(new_core(&self.settings));
        self.told_head = None;
        self.timers = Default::default();
        self.round_began = None;
        self.restored = None;
        self.waiting = Waiting::default();
        self.touch_status();
    }
}
