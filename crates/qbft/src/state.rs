//! What the core remembers, and the one verb that changes it.

use std::sync::Arc;

use alloy_primitives::Address;
use ipe_types::{Dialect, Message};

use crate::clock::Lateness;
use crate::event::{Effect, Event, HeadInfo, Now, Restored, Timer};
use crate::future::Future;
use crate::height::{Height, Turn};
use crate::justify::{self, Rules};
use crate::rejection::Reason;
use crate::upon_block_timer::{upon_block_built, upon_block_timer, upon_transactions_answered, upon_transactions_waiting};
use crate::upon_commit::upon_commit;
use crate::upon_new_block::{upon_new_block, upon_restored};
use crate::upon_prepare::upon_prepare;
use crate::upon_proposal::{upon_block_checked, upon_proposal};
use crate::upon_round_change::upon_round_change;
use crate::upon_timeout::{upon_resend, upon_sign_refused, upon_timeout, upon_word};

/// What differs between nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Our validator address, whether or not it is in the set.
    pub local: Address,
    /// Form of the Proposals and RoundChanges that we sign.
    pub dialect: Dialect,
}

/// The whole state of the core; one per node.
#[derive(Clone, Debug)]
pub struct State {
    pub(crate) settings: Settings,
    pub(crate) head: Option<HeadInfo>,
    /// The height in hand; `None` before the first head and while we are not a validator.
    pub(crate) inhand: Option<Height>,
    pub(crate) future: Future,
    pub(crate) restored: Option<Restored>,
    pub(crate) lateness: Lateness,
}

/// How much the core holds of what others said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CoreHoldings {
    /// Messages of later heights.
    pub future_messages: usize,
    /// Their bytes, about.
    pub future_bytes: usize,
    /// (Author, round) pairs with votes of the height in hand.
    pub vote_rounds: usize,
    /// RoundChanges of the height in hand.
    pub round_changes: usize,
}

impl State {
    /// How much it holds.
    pub fn holdings(&self) -> CoreHoldings {
        let (future_messages, future_bytes) = self.future.held();
        let inhand = self.inhand.as_ref();
        CoreHoldings {
            future_messages,
            future_bytes,
            vote_rounds: inhand.map_or(0, |height| height.votes.held()),
            round_changes: inhand.map_or(0, |height| height.round_changes.held().0),
        }
    }

    /// Knows nothing and does nothing until the first [`Event::HeadAdvanced`].
    pub fn new(settings: Settings) -> Self {
        Self { settings, head: None, inhand: None, future: Future::default(), restored: None, lateness: Lateness::default() }
    }

    /// Height in hand: the number after the head. `None` before the first head.
    pub fn height(&self) -> Option<u64> {
        self.head.as_ref().map(|head| head.number.saturating_add(1))
    }

    /// Round in hand; `None` before the block timer, in an empty-block wait, and at a node that is not a validator of
    /// the height.
    pub fn round(&self) -> Option<u32> {
        self.inhand.as_ref().and_then(Height::round_number)
    }

    /// Whether we are a validator of the height in hand.
    pub fn is_validator(&self) -> bool {
        self.inhand.is_some()
    }

    /// Our latest messages at the height in hand: what a peer that has just connected must be told, because it was not
    /// there when they were sent.
    pub fn own_messages(&self) -> Vec<Arc<Message>> {
        self.inhand.as_ref().filter(|height| !height.decided).map(|height| height.own.messages()).unwrap_or_default()
    }
}

/// The one verb: takes what happened, and when, and answers with what is to be done, in order.
///
/// Total: no input panics, and what is held stays within [`crate::bounds`].
pub fn step(state: &mut State, now: Now, event: Event) -> Vec<Effect> {
    let mut turn = Turn { now: now.steady, wall: now.wall, settings: state.settings, effects: Vec::new() };
    match event {
        Event::HeadAdvanced(head) => upon_new_block(state, &mut turn, head),
        Event::Restored(restored) => upon_restored(state, &mut turn, restored),
        Event::Received(message) => receive(state, &mut turn, message),
        Event::TimerFired(Timer::Block { height }) => {
            at(state, height, |inhand| upon_block_timer(inhand, &mut turn));
        }
        Event::TimerFired(Timer::Round { height, round }) => {
            at(state, height, |inhand| upon_timeout(inhand, &mut turn, round));
        }
        Event::TimerFired(Timer::Resend { height }) => at(state, height, |inhand| upon_resend(inhand, &mut turn)),
        Event::BlockBuilt { height, round, block, empty } => {
            at(state, height, |inhand| upon_block_built(inhand, &mut turn, round, block, empty));
        }
        Event::BlockChecked { height, round, hash, verdict } => {
            at(state, height, |inhand| upon_block_checked(inhand, &mut turn, round, hash, verdict));
        }
        Event::TransactionsAnswered { height, waiting } => {
            at(state, height, |inhand| upon_transactions_answered(inhand, &mut turn, waiting));
        }
        Event::TransactionsWaiting => {
            if let Some(inhand) = &mut state.inhand {
                upon_transactions_waiting(inhand, &mut turn);
            }
        }
        Event::SignRefused { height, round, kind } => {
            at(state, height, |inhand| upon_sign_refused(inhand, &mut turn, round, kind));
        }
    }
    turn.effects
}

/// Runs `transition` if `height` is the one in hand: answers and timers of other heights come too late.
fn at(state: &mut State, height: u64, transition: impl FnOnce(&mut Height)) {
    if let Some(inhand) = state.inhand.as_mut().filter(|inhand| inhand.number() == height) {
        transition(inhand);
    }
}

/// Message intake (spec/qbft.md 8.5).
pub(crate) fn receive(state: &mut State, turn: &mut Turn, message: Arc<Message>) {
    let Some(head) = &state.head else { return };
    let (author, number, current) = (message.author(), message.height(), head.number.saturating_add(1));
    if number.saturating_add(1) < current {
        return;
    }
    if !head.validators.contains(&author) {
        // Who joins with one of the next blocks is heard then: it will say it again.
        if number == current {
            turn.report(author, message.kind(), number, message.round(), Reason::NotValidator);
        }
        return;
    }
    if let Some(inhand) = state.inhand.as_mut() {
        // What is about the head comes too late to count, but shows that its author is there.
        upon_word(inhand, turn, author);
    }
    if number < current {
        return;
    }
    if number > current {
        // Whoever validates that height is most likely who validates the next, and what cannot be judged so is not held: who
        // said it says it again. So a spoiled copy never stands in the way of the sound one.
        let (kind, round) = (message.kind(), message.round());
        let rules = Rules { height: number, validators: head.validators.clone(), previous_proposer: Address::ZERO };
        let sound = justify::message(&rules, &message, false).map_err(Reason::from);
        if let Err(reason) = sound.and_then(|()| state.future.insert(message, current)) {
            turn.report(author, kind, number, round, reason);
        }
        return;
    }
    let Some(height) = state.inhand.as_mut().filter(|height| !height.decided) else { return };
    match &*message {
        Message::Proposal(proposal) => upon_proposal(height, turn, proposal, &message),
        Message::Prepare(prepare) => upon_prepare(height, turn, prepare, &message),
        Message::Commit(commit) => upon_commit(height, turn, commit, &message),
        Message::RoundChange(change) => upon_round_change(height, turn, change, &message),
    }
}
