//! What the core remembers.

use std::sync::Arc;

use alloy_primitives::Address;
use ipe_types::{Dialect, Message};

use crate::event::{Effect, Event, HeadInfo, Millis, Restored};

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
    pub(crate) restored: Option<Restored>,
}

impl State {
    /// Knows nothing and does nothing until the first [`Event::HeadAdvanced`].
    pub fn new(settings: Settings) -> Self {
        Self { settings, head: None, restored: None }
    }

    /// Height in hand: the number after the head. `None` before the first head.
    pub fn height(&self) -> Option<u64> {
        self.head.as_ref().map(|head| head.number + 1)
    }

    /// Round in hand; `None` before the block timer, in an empty-block wait, after a decision, and at a node that is
    /// not a validator of the height.
    pub fn round(&self) -> Option<u32> {
        None
    }

    /// Whether we are a validator of the height in hand.
    pub fn is_validator(&self) -> bool {
        self.head.as_ref().is_some_and(|head| head.validators.contains(&self.settings.local))
    }

    /// Our latest messages at the height in hand, oldest kind first: what a peer that has just connected must be told.
    pub fn own_messages(&self) -> Vec<Arc<Message>> {
        Vec::new()
    }
}

/// The one verb: takes what happened at wall clock `now` and answers with what is to be done, in order.
///
/// Total: no input panics, and what is held stays within [`crate::bounds`].
pub fn step(state: &mut State, now: Millis, event: Event) -> Vec<Effect> {
    let _ = (state, now, event);
    Vec::new()
}
