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
//!
//! # Whose words count
//!
//! What a validator signs does not name its chain (spec/qbft.md 7), so whoever recorded another chain on which the key was used
//! can say all of it again here. A message signed with our key that the journal does not know counts only
//!
//! - for the height after the head: no other is undecided;
//! - once consensus runs, when it names a block that builds on our head: a Proposal or a prepared certificate by itself, a
//!   Prepare or Commit by the proposal that it is about. No other chain has such a block;
//! - before, whatever it names: a RoundChange without a certificate may be all that the key has said. On another chain's
//!   word a start then waits for one block of the others, never longer.

use std::collections::BTreeSet;

use ipe_chain::Head;
use ipe_types::{Address, Message};

use crate::doubt::{Cause, Doubt};
use crate::replica::{Clock, Level, Output, Put, Replica, new_core};

/// How often the log repeats why this validator abstains, ms.
const TOLD_MS: u64 = 60_000;
/// Pause before the end of a doubt that could not be written to the journal is tried again, ms.
const AGAIN_MS: u64 = 1_000;
/// How far a timestamp may be ahead of a clock at import, ms (`chain::rules`), and a whole second, which is all that a timestamp
/// tells.
const TIMESTAMP_AHEAD_MS: u64 = 1_000;
/// Heights remembered of words of our own that came too early to be kept. The lowest are reached first.
const MAX_EARLY: usize = 32;

/// What is remembered about a doubt while it lasts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Waiting {
    /// Heights far above the head for which something signed with our key was heard.
    early: BTreeSet<u64>,
    /// When this node was connected first, ms.
    connected_at: Option<u64>,
    /// The head, and since when no older block came, ms.
    head: (u64, u64),
    /// A block was made since this node was connected.
    decided: bool,
    /// When the log says it again, ms.
    told_at: u64,
    /// Not before this time is the journal written, ms.
    again_at: u64,
}

impl Waiting {
    /// Looks at the head. Once it is a block that was made after this node was connected, everything that the key can have
    /// signed before is decided, and what is heard of it from then on is another chain's.
    fn look(&mut self, head: &Head, now_ms: u64, wall_ms: u64) {
        let Some(connected_at) = self.connected_at.filter(|_| head.number > self.head.0) else { return };
        self.head = (head.number, now_ms);
        let age_ms = wall_ms.saturating_sub(head.header.timestamp.saturating_mul(1_000));
        // Import takes a timestamp that is ahead by as much.
        self.decided |= age_ms + TIMESTAMP_AHEAD_MS < now_ms.saturating_sub(connected_at);
    }
}

impl Replica {
    /// Whether the gate signs nothing.
    pub(crate) fn doubt(&self) -> Option<Doubt> {
        self.parts.gate.as_ref().and_then(crate::signing::Gate::doubt)
    }

    /// Whether consensus may start, when all else is ready: no doubt is left. `connected` tells that some peer that shares
    /// consensus is there, or that there is no other validator.
    pub(crate) fn is_beyond_doubt(&mut self, clock: Clock<'_>, connected: bool, put: Put<'_>) -> bool {
        let head = self.head.clone();
        let now_ms = clock.now_ms();
        self.waiting.look(&head, now_ms, clock.wall_ms());
        if !self.waiting.decided {
            self.look_at_own_votes();
            let early = self.waiting.early.contains(&(head.number + 1));
            if let Some(gate) = self.parts.gate.as_mut().filter(|gate| early && gate.floor() <= head.number) {
                // In this life it holds even when it cannot be written.
                let _ = gate.abstain(Doubt { cause: Cause::Older, through: head.number + 1 });
            }
        }
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
        if waiting.connected_at.is_none() {
            waiting.connected_at = Some(now_ms);
            waiting.head = (head.number, now_ms);
        }
        let patient_at = waiting.head.1 + patience_ms;
        let bounded = doubt.is_bounded(head.number, alone);
        // What was heard meanwhile may say that there is more to wait for.
        let patient = bounded && now_ms >= patient_at && doubt.through <= head.number;
        if !(doubt.ends_by_itself() && (waiting.decided || patient)) {
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
                let what = format!(
                    "this validator signs again, from height {}: what its key may have signed before is decided",
                    head.number + 1
                );
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
            _ if bounded => {
                "until the others decide a block, or for at most two request timeouts once it is connected and has caught up"
            }
            _ => {
                "until the others decide a block that is made from now on; if they cannot do without this validator and its key \
                 has certainly signed nothing else, stop this node and run ipe journal resume --nothing-else-was-signed"
            }
        };
        let level = if bounded { Level::Info } else { Level::Error };
        put(Output::Log(level, format!("this validator abstains, it signs nothing: {doubt}; {until}")));
    }

    /// Takes a message with a sound signature of our own key; `false` when nothing is to be made of it here.
    pub(crate) fn heard_own(&mut self, message: &Message) -> bool {
        let head = self.head.clone();
        if message.height() != head.number + 1 {
            // Decided, or looked at again when that height is the next.
            return self.told_head.is_none();
        }
        let counts = self.told_head.is_none() || self.is_of_this_chain(message);
        if counts && let Some(gate) = &mut self.parts.gate {
            gate.heard_own(message);
        }
        counts
    }

    /// Something with a sound signature of `author` came for a height too far above the head to be kept.
    pub(crate) fn heard_ahead(&mut self, author: Address, height: u64) {
        if author == self.settings.local && self.told_head.is_none() {
            self.waiting.early.insert(height);
            if self.waiting.early.len() > MAX_EARLY {
                self.waiting.early.pop_last();
            }
        }
    }

    /// Looks again at what is held of our own key for the next height: what it is about may have become known.
    pub(crate) fn look_at_own_votes(&mut self) {
        if self.parts.gate.is_none() {
            return;
        }
        let height = self.head.number + 1;
        let own: Vec<_> = self.held.by(self.settings.local, height).cloned().collect();
        for message in own {
            self.heard_own(&message);
        }
    }

    /// Whether only this chain can have had use for the message, which is about the height after the head.
    fn is_of_this_chain(&self, message: &Message) -> bool {
        let head = self.head.clone();
        let builds_on_it = |block: &ipe_types::Block| block.header.parent_hash == head.hash;
        let named = |digest| self.held.names_a_block_on(&head.hash, head.number + 1, digest);
        match message {
            Message::Proposal(proposal) => builds_on_it(&proposal.signed.payload().block),
            Message::Prepare(prepare) => named(&prepare.payload().digest),
            Message::Commit(commit) => named(&commit.payload().digest),
            Message::RoundChange(change) => change.block.as_deref().is_some_and(builds_on_it),
        }
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
        self.works.core_is_gone();
        self.round_began = None;
        self.restored = None;
        self.waiting = Waiting::default();
        self.touch_status();
    }
}
