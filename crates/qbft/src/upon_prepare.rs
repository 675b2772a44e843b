//! `UponPrepare`: somebody agrees with the proposal; and what follows when a quorum does.

use std::sync::Arc;

use ipe_types::message::{PreparePayload, Signed};
use ipe_types::planted::{self, Bug};
use ipe_types::{Kind, Message};

use crate::certificate::PreparedCertificate;
use crate::draft::Draft;
use crate::event::Effect;
use crate::height::{Height, Turn};
use crate::rejection::Reason;
use crate::upon_commit::decide_if_sealed;

/// A Prepare of a validator of this height.
pub(crate) fn upon_prepare(height: &mut Height, turn: &mut Turn, prepare: &Signed<PreparePayload>, message: &Arc<Message>) {
    let (author, number) = (prepare.author(), prepare.round());
    let current = height.round_number();
    if current.is_some_and(|current| number < current) {
        return;
    }
    let refuse = |turn: &mut Turn, reason| turn.report(author, Kind::Prepare, prepare.height(), number, reason);
    if number > crate::bounds::MAX_ROUND {
        return refuse(turn, Reason::RoundTooHigh);
    }
    let round = height.round.as_mut().filter(|round| round.number == number);
    if let Some(accepted) = round.as_ref().and_then(|round| round.accepted.as_ref())
        && !accepted.digests.name(&prepare.payload().digest)
    {
        return refuse(turn, Reason::Digest { got: prepare.payload().digest, expected: accepted.digest });
    }
    if round.is_some() && author == turn.settings.local {
        height.own.prepare = Some(message.clone());
    }
    let slot = height.votes.slot(author, number, current);
    if let Some(known) = &slot.prepare {
        if known.payload().digest != prepare.payload().digest {
            refuse(turn, Reason::Equivocation);
        }
        return;
    }
    slot.prepare = Some(prepare.clone());
    let Some(round) = round else { return };
    round.progress = true;
    commit_if_prepared(height, turn);
}

/// With a quorum of Prepares for a valid proposal we are prepared: remember it for good, and agree to seal.
pub(crate) fn commit_if_prepared(height: &mut Height, turn: &mut Turn) {
    let quorum = height.rules.quorum();
    let Some(round) = height.round.as_mut() else { return };
    let Some(accepted) = round.accepted.as_ref().filter(|accepted| accepted.valid) else { return };
    if !round.commit_asked {
        let mut prepares: Vec<_> = height.votes.prepares(round.number).cloned().collect();
        if prepares.len() + usize::from(planted::is(Bug::PreparedTooEarly)) < quorum {
            // The Commits may all have been here before the proposal was: they seal it without our agreement.
            return decide_if_sealed(height, turn);
        }
        // Others take only the digest that the RoundChange will name, so keep to it if it suffices.
        let uniform = prepares.iter().filter(|prepare| prepare.payload().digest == accepted.digest).count();
        if uniform >= quorum {
            prepares.retain(|prepare| prepare.payload().digest == accepted.digest);
        }
        let certificate = Arc::new(PreparedCertificate {
            round: round.number,
            digest: accepted.digest,
            block: accepted.block.clone(),
            access_list: accepted.access_list.clone(),
            prepares,
        });
        round.commit_asked = true;
        let draft = Draft::Commit {
            height: height.rules.height,
            round: round.number,
            digest: accepted.digest,
            commit_hash: accepted.commit_hash,
            certificate: certificate.clone(),
        };
        round.wished.push(draft.clone());
        height.certificate = Some(certificate);
        turn.push(Effect::Sign(draft));
    }
    decide_if_sealed(height, turn);
}
