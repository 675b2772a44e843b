//! What a validator says stands in its journal, durably, before it is on the wire; and with a Commit its certificate.

use alloy_primitives::keccak256;
use ipe_types::Message;
use ipe_types::message::{Payload, PreparePayload};

use super::Who;

pub(super) fn check(who: &Who<'_>, message: &Message, validators: usize) -> Result<(), String> {
    // What names a message in the journal: its payload; of a Commit without the seal, which follows from the rest.
    let identity = match message {
        Message::Proposal(proposal) => keccak256(proposal.signed.raw()),
        Message::Prepare(prepare) => keccak256(prepare.raw()),
        Message::Commit(commit) => {
            let payload = commit.payload();
            keccak256(PreparePayload { height: payload.height, round: payload.round, digest: payload.digest }.encode_payload())
        }
        Message::RoundChange(change) => keccak256(change.signed.raw()),
    };
    let (height, round, kind) = (message.height(), message.round(), message.kind());
    if !who.disk.has_announced(&(height, round, kind.code(), identity)) {
        return Err(format!("{} sent a {kind:?} for height {height} round {round} that its journal does not hold", who.name));
    }
    if !matches!(message, Message::Commit(_)) {
        return Ok(());
    }
    match who.disk.certificate(height, round) {
        None => Err(format!("{} sent a Commit for height {height} round {round} without a certificate in its journal", who.name)),
        Some(prepares) if 3 * prepares < 2 * validators => Err(format!(
            "{} sent a Commit for height {height} round {round} with {prepares} Prepares of {validators} validators",
            who.name
        )),
        Some(_) => Ok(()),
    }
}
