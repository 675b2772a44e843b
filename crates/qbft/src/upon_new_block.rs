//! `UponNewBlock`: the head advanced, by our decision or by another's; whatever was in hand is over.

use std::sync::Arc;

use ipe_types::{Kind, Message};

use crate::clock::{self, Pace};
use crate::event::{Effect, HeadInfo, Restored, Timer};
use crate::heard::Heard;
use crate::height::{Height, Own, Turn};
use crate::justify::{self, Rules};
use crate::round_changes::RoundChanges;
use crate::state::{State, receive};
use crate::upon_block_timer::set_block_timer;
use crate::upon_timeout;
use crate::upon_timeout::enter_round;
use crate::votes::Votes;

/// A head at or below ours changes nothing (spec/qbft.md 8.5).
pub(crate) fn upon_new_block(state: &mut State, turn: &mut Turn, head: HeadInfo) {
    if state.head.as_ref().is_some_and(|known| head.number <= known.number) {
        return;
    }
    let anchor = state.inhand.as_ref().and_then(|height| {
        let follows = height.number() == head.number && height.round_number().unwrap_or(0) == 0;
        height.began.filter(|_| follows)
    });
    let number = head.number.saturating_add(1);
    for timer in [Timer::Block { height: number }, Timer::Round { height: number, round: 0 }, Timer::Resend { height: number }] {
        turn.push(Effect::CancelTimer(timer));
    }
    match &state.head {
        Some(before) => state.lateness.saw(before, &head, turn.wall),
        None => state.lateness.saw(&head, &head, turn.wall),
    }
    let usual_ms = state.lateness.usual_ms();
    let heard = state.inhand.take().map(|height| height.heard).unwrap_or_default();
    let heard = heard.next(&head.validators, &head.coinbase);
    state.inhand = head.validators.contains(&state.settings.local).then(|| begin(&head, turn, anchor, usual_ms, heard));
    state.head = Some(head);
    resume(state, turn);
    for message in state.future.take(number) {
        receive(state, turn, message);
    }
}

fn begin(head: &HeadInfo, turn: &mut Turn, anchor: Option<u64>, usual_ms: u64, heard: Heard) -> Height {
    let due = clock::block_due(head, turn.wall, anchor);
    let number = head.number.saturating_add(1);
    set_block_timer(turn, head, due);
    Height {
        parent: head.clone(),
        rules: Rules { height: number, validators: head.validators.clone(), previous_proposer: head.coinbase },
        due,
        first_due: due,
        idle: false,
        round: None,
        certificate: None,
        round_changes: RoundChanges::default(),
        votes: Votes::default(),
        own: Own::default(),
        pace: Pace::default(),
        heard,
        judged: Vec::new(),
        whole: None,
        usual_ms,
        began: None,
        decided: false,
    }
}

/// Records of the journal arrived: they count for the height that they are about, now or when it is in hand.
pub(crate) fn upon_restored(state: &mut State, turn: &mut Turn, restored: Restored) {
    state.restored = Some(restored);
    resume(state, turn);
}

/// Goes on where the journal says that we were: at the highest round in which we signed anything, holding what we were
/// prepared on, saying again what we said.
fn resume(state: &mut State, turn: &mut Turn) {
    let Some(height) = state.inhand.as_mut() else { return };
    match &state.restored {
        Some(restored) if restored.height == height.number() => {}
        // Records of a height that is over have no meaning; those of one to come may still get it.
        Some(restored) if restored.height < height.number() => {
            state.restored = None;
            return;
        }
        _ => return,
    }
    let Some(restored) = state.restored.take() else { return };
    let Restored { round, certificate, messages, .. } = restored;
    if let Some(certificate) = certificate
        && justify::certificate(&height.rules, &certificate).is_ok()
        && height.certificate.as_ref().is_none_or(|held| held.round < certificate.round)
    {
        height.certificate = Some(certificate);
    }
    if round > 0 && height.round_number().is_none_or(|current| current < round) {
        enter_round(height, turn, round);
    }
    let local = turn.settings.local;
    let mut own: Vec<Arc<Message>> = messages
        .into_iter()
        .filter(|message| message.author() == local && message.height() == height.number() && message.round() <= round)
        .collect();
    own.sort_by_key(|message| (message.kind() != Kind::RoundChange, message.kind()));
    let spoke = own.iter().any(|message| message.kind() == Kind::RoundChange && message.round() == round);
    for message in own {
        receive(state, turn, message);
    }
    let Some(height) = state.inhand.as_mut() else { return };
    // Nobody may have heard them before we went down.
    let again = height.own.messages();
    if !again.is_empty() {
        turn.push(Effect::Resend(again));
    }
    if round == 0 || spoke || height.round_number() != Some(round) {
        return;
    }
    if height.certificate.as_ref().is_some_and(|certificate| certificate.round >= round) {
        // Prepared in this very round, we can no more ask for it: others who came down with us would wait for that in
        // vain. If it does not end by itself it is left in time.
        if let Some(inhand) = height.round.as_mut() {
            inhand.refused = true;
        }
    } else {
        upon_timeout::ask_round_change(height, turn, round);
    }
}
