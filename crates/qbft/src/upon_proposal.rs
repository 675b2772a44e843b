//! `UponProposal`: whose turn it is proposes a block; and the judgement about it.

use std::sync::Arc;

use alloy_primitives::B256;
use ipe_types::extra::ExtraData;
use ipe_types::header::commit_hash;
use ipe_types::message::{PreparePayload, Proposal};
use ipe_types::planted::{self, Bug};
use ipe_types::{Kind, Message};

use crate::bounds::CHECKS_PER_ROUND;
use crate::draft::Draft;
use crate::event::Effect;
use crate::height::{Accepted, Height, Turn};
use crate::justify::{self, Digests};
use crate::rejection::Reason;
use crate::upon_commit::seals;
use crate::upon_prepare::commit_if_prepared;
use crate::upon_timeout::{enter_round, open_round, soon_over};

/// A Proposal of a validator of this height.
pub(crate) fn upon_proposal(height: &mut Height, turn: &mut Turn, proposal: &Proposal, message: &Arc<Message>) {
    let (author, number) = (proposal.signed.author(), proposal.signed.round());
    let refuse = |turn: &mut Turn, reason| {
        turn.report(author, Kind::Proposal, proposal.signed.height(), number, reason);
    };
    let current = height.round_number();
    if current.is_some_and(|current| number < current) {
        return;
    }
    if let Some(round) = height.round.as_ref().filter(|round| round.number == number) {
        if let Some(accepted) = &round.accepted {
            if accepted.raw != *proposal.signed.raw() {
                refuse(turn, Reason::Equivocation);
            }
            return;
        }
        if round.checks >= CHECKS_PER_ROUND {
            return refuse(turn, Reason::TooManyBlocks);
        }
    }
    if let Err(reason) = justify::proposal(&height.rules, proposal) {
        return refuse(turn, reason);
    }
    let accepted = match accepted(proposal) {
        Ok(accepted) => accepted,
        Err(reason) => return refuse(turn, reason),
    };
    if current != Some(number) {
        enter_round(height, turn, number);
    }
    for change in &proposal.round_changes {
        height.round_changes.saw(change.author(), number);
    }
    accept(height, turn, accepted, message);
    // A justified proposal proves that the round has its quorum.
    open_round(height, turn);
    judge(height, turn);
}

fn accepted(proposal: &Proposal) -> Result<Accepted, Reason> {
    let payload = proposal.signed.payload();
    let header = &payload.block.header;
    let carried = ExtraData::decode(&header.extra_data)?.round;
    let digests = Digests::of(header, carried)?;
    // Besu ≥ 24.12 puts the round of the message into the block and names it by that; whoever leaves another round
    // in it names the block without one.
    let digest = if carried == payload.round { digests.with_round } else { digests.without_round };
    Ok(Accepted {
        block: payload.block.clone(),
        access_list: payload.access_list.clone(),
        raw: proposal.signed.raw().clone(),
        hash: digests.without_round,
        digest,
        digests,
        commit_hash: commit_hash(header, payload.round)?,
        prepared: !proposal.prepares.is_empty(),
        valid: false,
    })
}

/// Takes it as the proposal of the round in hand.
fn accept(height: &mut Height, turn: &mut Turn, accepted: Accepted, message: &Arc<Message>) {
    let Some(round) = height.round.as_mut() else { return };
    round.progress = true;
    if message.author() == turn.settings.local {
        round.proposed = true;
        height.own.proposal = Some(message.clone());
    }
    round.accepted = Some(accepted);
}

/// Has the accepted block judged, unless we built it or know the answer.
fn judge(height: &mut Height, turn: &mut Turn) {
    let Some(accepted) = height.round.as_ref().and_then(|round| round.accepted.as_ref()) else { return };
    let (hash, block, prepared) = (accepted.hash, accepted.block.clone(), accepted.prepared);
    let judged = height.is_judged(hash, &block);
    let Some(round) = height.round.as_mut() else { return };
    if judged || round.built == Some(hash) {
        found_valid(height, turn);
        return;
    }
    round.checks += 1;
    turn.push(Effect::CheckBlock { height: height.rules.height, round: round.number, block, hash, prepared });
}

/// The host judged the proposed block.
pub(crate) fn upon_block_checked(height: &mut Height, turn: &mut Turn, number: u32, hash: B256, verdict: Result<(), String>) {
    let verdict = if planted::is(Bug::InvalidProposalAccepted) { Ok(()) } else { verdict };
    let pending = |accepted: &Accepted| accepted.hash == hash && !accepted.valid;
    let Some(round) = height.round.as_mut().filter(|_| !height.decided) else { return };
    if !round.accepted.as_ref().is_some_and(pending) {
        return;
    }
    match verdict {
        Ok(()) => found_valid(height, turn),
        Err(why) if round.number == number => {
            let proposer = round.proposer;
            round.accepted = None;
            turn.report(proposer, Kind::Proposal, height.rules.height, number, Reason::InvalidBlock(why));
            soon_over(height, turn);
        }
        Err(_) => {}
    }
}

fn found_valid(height: &mut Height, turn: &mut Turn) {
    let number = height.number();
    let Some(round) = height.round.as_mut() else { return };
    let Some(accepted) = round.accepted.as_mut() else { return };
    accepted.valid = true;
    round.progress = true;
    // Votes that came before it and are about something else are refused; had it been invalid, they might be about the next.
    for (author, vote) in height.votes.of_round_mut(round.number) {
        if let Some(prepare) = vote.prepare.take_if(|prepare| !accepted.digests.name(&prepare.payload().digest)) {
            let reason = Reason::Digest { got: prepare.payload().digest, expected: accepted.digest };
            turn.report(*author, Kind::Prepare, number, round.number, reason);
        }
        if let Some(commit) = vote.commit.take_if(|commit| !accepted.digests.name(&commit.payload().digest)) {
            let reason = Reason::Digest { got: commit.payload().digest, expected: accepted.digest };
            turn.report(*author, Kind::Commit, number, round.number, reason);
        }
        if vote.commit.take_if(|commit| !seals(commit, accepted.commit_hash)).is_some() {
            turn.report(*author, Kind::Commit, number, round.number, Reason::Seal(accepted.commit_hash));
        }
    }
    let (hash, digest, round_number) = (accepted.hash, accepted.digest, round.number);
    let block = accepted.block.clone();
    if !round.prepare_asked {
        round.prepare_asked = true;
        let draft = Draft::Prepare(PreparePayload { height: number, round: round_number, digest });
        round.wished.push(draft.clone());
        turn.push(Effect::Sign(draft));
    }
    height.judge_valid(hash, &block);
    commit_if_prepared(height, turn);
}
