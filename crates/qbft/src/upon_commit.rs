//! `UponCommit`: somebody agrees to seal; with a quorum the block is final.

use std::sync::Arc;

use alloy_primitives::B256;
use ipe_types::message::{CommitPayload, Signed};
use ipe_types::planted::{self, Bug};
use ipe_types::seals::is_seal_of;
use ipe_types::{Block, Kind, Message, header};

use crate::event::{Effect, Timer};
use crate::height::{Height, Turn};
use crate::rejection::Reason;

/// A Commit of a validator of this height.
pub(crate) fn upon_commit(height: &mut Height, turn: &mut Turn, commit: &Signed<CommitPayload>, message: &Arc<Message>) {
    let (author, number) = (commit.author(), commit.round());
    let current = height.round_number();
    if current.is_some_and(|current| number < current) {
        return;
    }
    let refuse = |turn: &mut Turn, reason| turn.report(author, Kind::Commit, commit.height(), number, reason);
    if number > crate::bounds::MAX_ROUND {
        return refuse(turn, Reason::RoundTooHigh);
    }
    let round = height.round.as_mut().filter(|round| round.number == number);
    if round.is_some() && author == turn.settings.local {
        height.own.commit = Some(message.clone());
    }
    let slot = height.votes.slot(author, number, current);
    if let Some(known) = &slot.commit {
        if known.payload() != commit.payload() {
            refuse(turn, Reason::Equivocation);
        }
        return;
    }
    if let Some(accepted) = round.as_ref().and_then(|round| round.accepted.as_ref()) {
        if !accepted.digests.name(&commit.payload().digest) {
            return refuse(turn, Reason::Digest { got: commit.payload().digest, expected: accepted.digest });
        }
        if !seals(commit, accepted.commit_hash) {
            return refuse(turn, Reason::Seal(accepted.commit_hash));
        }
    }
    slot.commit = Some(commit.clone());
    let Some(round) = round else { return };
    round.progress = true;
    decide_if_sealed(height, turn);
}

/// Whether the seal in `commit` is its author's over the block and round of `commit_hash`.
pub(crate) fn seals(commit: &Signed<CommitPayload>, commit_hash: B256) -> bool {
    planted::is(Bug::CommitSealUnchecked) || is_seal_of(&commit.author(), &commit.payload().seal, commit_hash)
}

/// With a quorum of Commits for a valid proposal the block is sealed with all seals that came, and final.
pub(crate) fn decide_if_sealed(height: &mut Height, turn: &mut Turn) {
    let Some(round) = height.round.as_ref().filter(|_| !height.decided) else { return };
    let Some(accepted) = round.accepted.as_ref().filter(|accepted| accepted.valid) else { return };
    let commits = height.votes.seals(round.number);
    if commits.len() + usize::from(planted::is(Bug::DecideTooEarly)) < height.rules.quorum() {
        return;
    }
    let Ok(header) = header::with_round_and_seals(&accepted.block.header, round.number, commits) else { return };
    let block = Arc::new(Block { header, body: accepted.block.body.clone() });
    turn.push(Effect::Decide { block, hash: accepted.hash, round: round.number });
    let (number, round) = (height.rules.height, round.number);
    turn.push(Effect::CancelTimer(Timer::Round { height: number, round }));
    turn.push(Effect::CancelTimer(Timer::Resend { height: number }));
    height.decided = true;
}
