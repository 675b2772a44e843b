//! `UponBlockTimeout`: time for round 0, with the wait of an empty-block period; and the block that we built.

use std::sync::Arc;

use ipe_types::extra::ExtraData;
use ipe_types::message::{ProposalPayload, RoundChangePayload, Signed};
use ipe_types::planted::{self, Bug};
use ipe_types::{Block, Dialect, header};

use crate::certificate::PreparedCertificate;
use crate::clock;
use crate::draft::{Draft, access_list_for};
use crate::event::{Effect, HeadInfo, Millis, Timer};
use crate::height::{Height, Stage, Turn};
use crate::upon_timeout::enter_round;

/// The block timer fired.
pub(crate) fn upon_block_timer(height: &mut Height, turn: &mut Turn) {
    if height.round.is_some() || height.decided {
        return;
    }
    if clock::is_early(&height.parent, turn.wall, height.due) {
        set_block_timer(turn, &height.parent, height.due);
        return;
    }
    begin_round_zero(height, turn);
}

/// Sets the timer of the height after `parent` for when the wall clock should show `due`. Somebody may set that clock
/// meanwhile, so it is looked at again after a period.
pub(crate) fn set_block_timer(turn: &mut Turn, parent: &HeadInfo, due: Millis) {
    let wait_ms = due.saturating_sub(turn.wall).min(parent.period_ms.max(1));
    let timer = Timer::Block { height: parent.number.saturating_add(1) };
    turn.push(Effect::SetTimer { timer, at: turn.now.saturating_add(wait_ms) });
}

/// A transaction waits: an idle height goes on at once (Besu #10153).
pub(crate) fn upon_transactions_waiting(height: &mut Height, turn: &mut Turn) {
    if height.idle && height.round.is_none() && !height.decided && turn.wall >= height.first_due {
        begin_round_zero(height, turn);
    }
}

fn begin_round_zero(height: &mut Height, turn: &mut Turn) {
    enter_round(height, turn, 0);
    let Some(round) = height.round.as_mut() else { return };
    if round.proposer == turn.settings.local {
        round.building = Some(Vec::new());
        let timestamp_s = clock::timestamp_s(&height.parent, turn.wall, 0);
        turn.push(Effect::BuildBlock { height: height.number(), round: 0, timestamp_s });
    } else if clock::empty_until(&height.parent, turn.wall).is_some() {
        turn.push(Effect::AskTransactions { height: height.number() });
    }
}

/// We would have nothing to propose either: if nothing was proposed, round 0 waits with us (Besu #11031).
pub(crate) fn upon_transactions_answered(height: &mut Height, turn: &mut Turn, waiting: bool) {
    let nothing_yet = height
        .round
        .as_ref()
        .is_some_and(|round| round.number == 0 && round.accepted.is_none() && round.building.is_none() && !round.proposed);
    if !waiting
        && nothing_yet
        && !height.decided
        && let Some(until) = clock::empty_until(&height.parent, turn.wall)
    {
        go_idle(height, turn, until);
    }
}

/// The block that we asked for: proposed, unless it is empty while empty blocks are held back.
pub(crate) fn upon_block_built(height: &mut Height, turn: &mut Turn, number: u32, block: Arc<Block>, empty: bool) {
    if height.decided || block.header.number != height.number() {
        return;
    }
    let Some(round) = height.round.as_mut().filter(|round| round.number == number) else { return };
    let Some(round_changes) = round.building.take() else { return };
    if round.accepted.is_some() {
        return;
    }
    if number == 0
        && empty
        && let Some(until) = clock::empty_until(&height.parent, turn.wall)
    {
        go_idle(height, turn, until);
        return;
    }
    let Ok(hash) = block.hash() else { return };
    let Some(block) = with_round(turn, block, number) else { return };
    round.built = Some(hash);
    round.proposed = true;
    let payload = ProposalPayload {
        height: height.rules.height,
        round: number,
        block,
        access_list: access_list_for(turn.settings.dialect, None),
    };
    turn.push(Effect::Sign(Draft::Proposal { payload, round_changes, prepares: Vec::new() }));
}

/// Drops round 0 and comes back after a period, or when the empty-block period is over.
fn go_idle(height: &mut Height, turn: &mut Turn, until: Millis) {
    height.round = None;
    height.idle = true;
    height.due = until.min(turn.wall.saturating_add(height.parent.period_ms.max(1)));
    let number = height.number();
    turn.push(Effect::CancelTimer(Timer::Round { height: number, round: 0 }));
    turn.push(Effect::CancelTimer(Timer::Resend { height: number }));
    set_block_timer(turn, &height.parent, height.due);
}

/// Our turn in a round that has its quorum: proposes the block that was prepared last among the quorum, or has a new
/// one built. The justification is fixed here: a RoundChange that comes while we build must not contradict the block.
pub(crate) fn propose_if_ours(height: &mut Height, turn: &mut Turn) {
    let number = height.number();
    let Some(round) = height.round.as_mut() else { return };
    let ours = round.proposer == turn.settings.local && round.stage == Stage::Open && round.number > 0;
    if !ours || round.proposed || round.building.is_some() || round.accepted.is_some() {
        return;
    }
    let changes: Vec<_> = height.round_changes.at(round.number).map(|(_, change)| change).collect();
    if changes.len() < height.rules.quorum() {
        return;
    }
    let signed = changes.iter().map(|change| change.signed.clone()).collect();
    let latest = changes
        .iter()
        .filter(|_| !planted::is(Bug::PreparedBlockIgnored))
        .filter_map(|change| Some((change.signed.payload().prepared?, change.block.as_ref()?, *change)))
        .max_by_key(|((prepared, _), ..)| *prepared);
    let Some(((prepared, digest), block, change)) = latest else {
        round.building = Some(signed);
        let timestamp_s = clock::timestamp_s(&height.parent, turn.wall, round.number);
        turn.push(Effect::BuildBlock { height: number, round: round.number, timestamp_s });
        return;
    };
    let certificate = PreparedCertificate {
        round: prepared,
        digest,
        block: block.clone(),
        access_list: change.access_list.clone(),
        prepares: change.prepares.clone(),
    };
    round.proposed = true;
    if let Some(draft) = proposal_again(turn, number, round.number, certificate, signed) {
        turn.push(Effect::Sign(draft));
    }
}

/// The block as its proposal carries it: with the round of the message (Besu ≥ 24.12), or with round 0 where GoQuorum
/// votes, which names blocks by that and refuses votes and certificates that name them otherwise (spec/qbft.md 3.4).
fn with_round(turn: &Turn, block: Arc<Block>, round: u32) -> Option<Arc<Block>> {
    let round = if turn.settings.dialect == Dialect::GoQuorum { 0 } else { round };
    if ExtraData::decode(&block.header.extra_data).is_ok_and(|extra| extra.round == round && extra.seals.is_empty()) {
        return Some(block);
    }
    let header = header::with_round_and_seals(&block.header, round, Vec::new()).ok()?;
    Some(Arc::new(Block { header, body: block.body.clone() }))
}

/// A prepared block for a later round, all as it was but the round in its extra data.
fn proposal_again(
    turn: &Turn,
    height: u64,
    round: u32,
    certificate: PreparedCertificate,
    round_changes: Vec<Signed<RoundChangePayload>>,
) -> Option<Draft> {
    let block = with_round(turn, certificate.block, round)?;
    let access_list = access_list_for(turn.settings.dialect, certificate.access_list);
    let payload = ProposalPayload { height, round, block, access_list };
    Some(Draft::Proposal { payload, round_changes, prepares: certificate.prepares })
}
