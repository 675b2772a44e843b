//! Changes what it heard and signs it: a proposal for the next round, another block under valid round changes, a prepared
//! certificate with another block in it, a certificate of an earlier round as if it were of a later one.

use ipe_types::Message;
use ipe_types::header::commit_hash;
use ipe_types::message::{RoundChange, RoundChangePayload, Signed};

use super::{Said, Scene, Villain, proposal_again, twin_of};

pub(super) fn act(villain: &mut Villain, scene: &Scene<'_>) -> Vec<Said> {
    let height = scene.height();
    let mark = villain.rng.between(1, 255) as u8;
    let mut messages = Vec::new();
    let recent: Vec<_> = villain.heard.iter().rev().filter(|message| message.height() == height).take(24).cloned().collect();
    let prepares: Vec<_> = recent
        .iter()
        .filter_map(|message| match &**message {
            Message::Prepare(vote) => Some(vote.clone()),
            _ => None,
        })
        .collect();
    for message in &recent {
        match &**message {
            Message::Proposal(proposal) => {
                let payload = proposal.signed.payload();
                let (block, round) = (&payload.block, payload.round);
                messages.push(proposal_again(&villain.key, proposal, round + 1, block.clone()));
                messages.extend(twin_of(block, mark).map(|other| proposal_again(&villain.key, proposal, round, other)));
                // The Prepares that were heard, in a certificate for another block and for a round that they are not of.
                for (claimed, other) in [(round, twin_of(block, mark)), (round + 1, Some(block.clone()))] {
                    let Some(other) = other else { continue };
                    let digest = commit_hash(&other.header, claimed).unwrap_or_default();
                    let payload = RoundChangePayload { height, round: claimed + 1, prepared: Some((claimed, digest)) };
                    let Ok(signed) = Signed::sign_with(payload, |hash| villain.key.sign(hash)) else { continue };
                    let access_list = Some(alloy_primitives::Bytes::from_static(&[0x80]));
                    let change = RoundChange { signed, block: Some(other), access_list, prepares: prepares.clone() };
                    messages.push(Some(Message::RoundChange(Box::new(change))));
                }
            }
            Message::RoundChange(change) => {
                let payload = RoundChangePayload { round: change.signed.round() + 1, ..change.signed.payload().clone() };
                let Ok(signed) = Signed::sign_with(payload, |hash| villain.key.sign(hash)) else { continue };
                let block = change.block.as_ref().and_then(|block| twin_of(block, mark));
                messages.push(Some(Message::RoundChange(Box::new(RoundChange { signed, block, ..(**change).clone() }))));
            }
            Message::Prepare(_) | Message::Commit(_) => {}
        }
    }
    let at = villain.rng.below(messages.len() as u64) as usize;
    messages.get(at).into_iter().flatten().map(|message| Said::foul(scene.peers.clone(), message)).collect()
}
