//! `UponRoundTimeout`: patience with a round is over; and how a round is entered and left.

use alloy_primitives::Address;
use ipe_types::Kind;
use ipe_types::message::RoundChangePayload;
use ipe_types::planted::{self, Bug};

use crate::bounds::MAX_ROUND;
use crate::clock;
use crate::draft::Draft;
use crate::event::{Effect, Timer};
use crate::height::{Height, Round, Stage, Turn};
use crate::upon_block_timer::propose_if_ours;
use crate::upon_round_change::settle;

/// The round timer fired.
pub(crate) fn upon_timeout(height: &mut Height, turn: &mut Turn, number: u32) {
    let Some(round) = height.round.as_mut().filter(|round| round.number == number) else { return };
    let Some(deadline) = round.deadline.filter(|_| !height.decided) else { return };
    if turn.now < deadline {
        turn.push(Effect::SetTimer { timer: timer(height.rules.height, number), at: deadline });
        return;
    }
    match round.stage {
        Stage::Open => {
            // Something may still come of it: up to twice the patience, in round 0 the request timeout as with Besu.
            let most_ms = match number {
                0 => clock::timeout_ms(&height.parent),
                _ => height.pace.patience_ms(&height.parent).saturating_mul(2),
            };
            let last = round.since.saturating_add(most_ms);
            let busy = round.building.is_some() || round.accepted.as_ref().is_some_and(|accepted| !accepted.valid);
            if (round.progress || busy) && deadline < last {
                round.progress = false;
                let at = turn.now.saturating_add(round.patience_ms).min(last.max(turn.now.saturating_add(1)));
                set_deadline(height, turn, at);
                return;
            }
            leave(height, turn);
        }
        Stage::Gathering if round.climbing || round.refused => leave(height, turn),
        // Less than a quorum is here. Going up alone would only make the way back longer: wait, and say again where we
        // are.
        Stage::Gathering => round.deadline = None,
    }
}

/// The resend timer fired.
pub(crate) fn upon_resend(height: &mut Height, turn: &mut Turn) {
    if height.round.is_none() || height.decided {
        return;
    }
    let messages = height.own.messages();
    if !messages.is_empty() {
        turn.push(Effect::Resend(messages));
    }
    for draft in height.unsigned().cloned().collect::<Vec<_>>() {
        turn.push(Effect::Sign(draft));
    }
    set_resend(height, turn);
}

/// Goes to the next round, saying so. Above the highest there is none, and nobody gets that far.
pub(crate) fn leave(height: &mut Height, turn: &mut Turn) {
    let Some(number) = height.round_number() else { return };
    if number >= MAX_ROUND || (number > 0 && planted::is(Bug::LeavesFirstRoundOnly)) {
        let at = turn.now.saturating_add(height.pace.patience_ms(&height.parent));
        set_deadline(height, turn, at);
        return;
    }
    change_round(height, turn, number + 1);
}

/// Goes to `number` and asks the others to come.
pub(crate) fn change_round(height: &mut Height, turn: &mut Turn, number: u32) {
    enter_round(height, turn, number);
    ask_round_change(height, turn, number);
}

/// Wishes to sign the RoundChange for `number`, with what we were prepared on before it.
pub(crate) fn ask_round_change(height: &Height, turn: &mut Turn, number: u32) {
    if number == 0 {
        return;
    }
    let certificate =
        height.certificate.clone().filter(|certificate| certificate.round < number && !planted::is(Bug::CertificateForgotten));
    let prepared = certificate.as_ref().map(|certificate| (certificate.round, certificate.digest));
    let payload = RoundChangePayload { height: height.number(), round: number, prepared };
    turn.push(Effect::Sign(Draft::RoundChange { payload, certificate, dialect: turn.settings.dialect }));
}

/// Begins `number`; what was said in lower rounds is forgotten.
pub(crate) fn enter_round(height: &mut Height, turn: &mut Turn, number: u32) {
    let (now, proposer) = (turn.now, height.rules.proposer(number));
    if let Some(left) = &height.round {
        height.pace.went_up(number.saturating_sub(left.number));
        if left.stage == Stage::Open && left.proposer != turn.settings.local {
            height.heard.had_its_turn(left.proposer);
        }
    }
    height.votes.discard_below(number);
    height.round_changes.discard_below(number);
    height.idle = false;
    height.own.proposal = None;
    height.own.prepare = None;
    height.own.commit = None;
    if number == 0 {
        height.began = Some(turn.wall);
    }
    let (patience_ms, doubted) = if number == 0 { patience(height, turn, 0) } else { (clock::timeout_ms(&height.parent), false) };
    height.round = Some(Round {
        number,
        proposer,
        stage: if number == 0 { Stage::Open } else { Stage::Gathering },
        since: now,
        deadline: None,
        patience_ms,
        doubted,
        progress: false,
        climbing: false,
        refused: false,
        building: None,
        proposed: false,
        built: None,
        accepted: None,
        checks: 0,
        wished: Vec::new(),
        prepare_asked: false,
        commit_asked: false,
    });
    turn.push(Effect::CancelTimer(Timer::Block { height: height.rules.height }));
    turn.push(Effect::RoundStarted { height: height.rules.height, round: number, proposer });
    set_deadline(height, turn, now.saturating_add(patience_ms));
    // Round 0 is short, and a large proposal is not worth sending twice in it: whoever connects is told anyway.
    if number > 0 {
        set_resend(height, turn);
    }
}

/// The round in hand has its quorum: now it can have a proposal, and gets full patience.
pub(crate) fn open_round(height: &mut Height, turn: &mut Turn) {
    let Some(number) = height.round.as_ref().filter(|round| round.stage == Stage::Gathering).map(|round| round.number) else {
        return;
    };
    let (patience_ms, doubted) = patience(height, turn, number);
    let Some(round) = height.round.as_mut() else { return };
    round.stage = Stage::Open;
    round.since = turn.now;
    (round.patience_ms, round.doubted) = (patience_ms, doubted);
    set_deadline(height, turn, turn.now.saturating_add(patience_ms));
    propose_if_ours(height, turn);
}

/// Patience with an open round in milliseconds, and whether it is less than the full because its proposer was not heard.
fn patience(height: &Height, turn: &Turn, number: u32) -> (u64, bool) {
    let full_ms = full_patience_ms(height, turn, number);
    let proposer = height.rules.proposer(number);
    if proposer == turn.settings.local || height.heard.spoke(&proposer) {
        return (full_ms, false);
    }
    if height.heard.is_gone(&proposer, height.number(), height.rules.validators.len()) {
        return (full_ms.min(clock::gone_ms(&height.parent)), true);
    }
    // Not one word of the proposer at this height, while a quorum has left round 0: most likely it is not there.
    if number > 0 { ((full_ms / 2).max(1), true) } else { (full_ms, false) }
}

fn full_patience_ms(height: &Height, turn: &Turn, number: u32) -> u64 {
    match number {
        0 if clock::is_overdue(&height.parent, turn.wall, height.usual_ms) => clock::quarter_ms(&height.parent),
        0 => clock::timeout_ms(&height.parent),
        _ => height.pace.patience_ms(&height.parent),
    }
}

/// `author` signed something: it is there, and its round worth the full patience.
pub(crate) fn upon_word(height: &mut Height, turn: &mut Turn, author: Address) {
    height.heard.saw(author);
    let doubted = |round: &&Round| round.doubted && round.proposer == author && !height.decided;
    let Some((number, since)) = height.round.as_ref().filter(doubted).map(|round| (round.number, round.since)) else {
        return;
    };
    let full_ms = full_patience_ms(height, turn, number);
    let Some(round) = height.round.as_mut() else { return };
    (round.patience_ms, round.doubted) = (full_ms, false);
    set_deadline(height, turn, since.saturating_add(full_ms));
}

/// The proposed block is invalid: a valid one may follow in a moment, if the proposer's clock is ahead, but hardly later.
pub(crate) fn soon_over(height: &mut Height, turn: &mut Turn) {
    let patience_ms = clock::quarter_ms(&height.parent);
    let at = turn.now.saturating_add(patience_ms);
    let Some(round) = height.round.as_mut() else { return };
    round.progress = false;
    round.patience_ms = round.patience_ms.min(patience_ms);
    if round.deadline.is_some_and(|deadline| at < deadline) {
        set_deadline(height, turn, at);
    }
}

/// The gate did not sign. What others sign still counts, and a round that we cannot speak in is left in time; one in
/// which we proposed before a restart, and nobody has told us what, at once: the others then need not wait for it.
pub(crate) fn upon_sign_refused(height: &mut Height, turn: &mut Turn, number: u32, kind: Kind) {
    let Some(round) = height.round.as_mut().filter(|round| round.number == number && !height.decided) else { return };
    match kind {
        Kind::RoundChange => {
            round.refused = true;
            settle(height, turn);
        }
        Kind::Proposal if round.accepted.is_none() => leave(height, turn),
        Kind::Proposal => {}
        Kind::Prepare | Kind::Commit => round.wished.retain(|draft| draft.kind() != kind),
    }
}

/// Sets the end of patience with the round in hand.
pub(crate) fn set_deadline(height: &mut Height, turn: &mut Turn, at: u64) {
    let number = height.number();
    let Some(round) = height.round.as_mut() else { return };
    round.deadline = Some(at);
    turn.push(Effect::SetTimer { timer: timer(number, round.number), at });
}

fn set_resend(height: &Height, turn: &mut Turn) {
    let at = turn.now.saturating_add(clock::resend_period_ms(&height.parent));
    turn.push(Effect::SetTimer { timer: Timer::Resend { height: height.number() }, at });
}

fn timer(height: u64, round: u32) -> Timer {
    Timer::Round { height, round }
}
