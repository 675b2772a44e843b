//! `UponRoundChange`: somebody wishes to leave for a round.

use std::sync::Arc;

use ipe_types::message::RoundChange;
use ipe_types::{Kind, Message};

use crate::bounds::LEAP_ROUND;
use crate::height::{Height, Stage, Turn};
use crate::justify;
use crate::rejection::Reason;
use crate::round_changes::Inserted;
use crate::upon_timeout::{change_round, leave, open_round, set_deadline};

/// A RoundChange of a validator of this height.
pub(crate) fn upon_round_change(height: &mut Height, turn: &mut Turn, change: &RoundChange, message: &Arc<Message>) {
    let (author, number) = (change.signed.author(), change.signed.round());
    let own = author == turn.settings.local;
    if height.round_number().is_some_and(|current| number < current) {
        return;
    }
    let refuse = |turn: &mut Turn, reason: Reason| {
        turn.report(author, Kind::RoundChange, change.signed.height(), number, reason);
    };
    if let Err(reason) = justify::round_change(&height.rules, change).and_then(|()| height.check_body(change)) {
        return refuse(turn, reason);
    }
    match height.round_changes.insert(author, change, message) {
        Inserted::Known => {}
        Inserted::Conflict => refuse(turn, Reason::Equivocation),
        Inserted::New => {
            if own && height.own.round_change.as_ref().is_none_or(|held| held.round() < number) {
                height.own.round_change = Some(message.clone());
            }
            settle(height, turn);
        }
    }
}

/// Draws what follows from the RoundChanges that are known: leap, open the round in hand, or see that it is vain.
pub(crate) fn settle(height: &mut Height, turn: &mut Turn) {
    if height.decided {
        return;
    }
    let local = turn.settings.local;
    // f+1 others are at this round or above: one of them is honest, and without them no round below can succeed.
    let leap = height.round_changes.reached_by(height.rules.validators.f() + 1, &local).min(LEAP_ROUND);
    if leap > height.round_number().unwrap_or(0) {
        // What else follows will be seen when our own RoundChange is heard, or refused.
        return change_round(height, turn, leap);
    }
    let quorum = height.rules.quorum();
    let Some(round) = height.round.as_mut() else { return };
    let number = round.number;
    if round.stage == Stage::Gathering {
        if height.round_changes.at(number).count() >= quorum {
            open_round(height, turn);
        } else if !round.climbing && height.round_changes.present(number, &local) >= quorum {
            // Enough of us to go on, but some are above and will not come down: soon up to them.
            round.climbing = true;
            let at = turn.now.saturating_add(height.pace.climb_ms(&height.parent));
            set_deadline(height, turn, at);
        }
    }
    let Some(round) = height.round.as_ref() else { return };
    // Who is to propose has left for a higher round: nothing will come.
    if round.stage == Stage::Open
        && round.accepted.is_none()
        && round.proposer != local
        && height.round_changes.latest(&round.proposer) > round.number
    {
        leave(height, turn);
    }
}
