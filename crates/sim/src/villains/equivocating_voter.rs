//! Votes for the block at hand to one half of its peers, for another to the other half, and for every block that it hears of.

use alloy_primitives::keccak256;
use ipe_engine::PeerId;
use ipe_types::Message;
use ipe_types::header::commit_hash;
use ipe_types::message::{CommitPayload, Signed};

use super::{Said, Scene, Villain, commit, prepare};

pub(super) fn speak(villain: &mut Villain, to: Vec<PeerId>, message: &Message) -> Vec<Said> {
    let (here, there) = villain.halves(&to);
    let other = match message {
        Message::Prepare(vote) => prepare(&villain.key, vote.height(), vote.round(), keccak256(vote.payload().digest)),
        Message::Commit(vote) => {
            let height = vote.height();
            let block = villain.proposed_at(height).into_iter().map(|(_, block)| block).next();
            if villain.rng.chance(500) {
                block.and_then(|block| commit(&villain.key, height, vote.round() + 1, &block.header))
            } else {
                // The right digest, and a seal over something else.
                let payload = CommitPayload { seal: villain.key.sign(keccak256(vote.payload().digest)), ..vote.payload().clone() };
                Signed::sign_with(payload, |hash| villain.key.sign(hash)).ok().map(Message::Commit)
            }
        }
        Message::Proposal(_) | Message::RoundChange(_) => None,
    };
    match other {
        Some(other) => vec![Said::plain(here, message), Said::foul(there, &other)],
        None => vec![Said::plain(to, message)],
    }
}

pub(super) fn act(villain: &mut Villain, scene: &Scene<'_>) -> Vec<Said> {
    let height = scene.height();
    let mut said = Vec::new();
    for (round, block) in villain.proposed_at(height).into_iter().take(2) {
        let digest = commit_hash(&block.header, round).unwrap_or_default();
        let votes = [prepare(&villain.key, height, round, digest), commit(&villain.key, height, round, &block.header)];
        said.extend(votes.iter().flatten().map(|vote| Said::foul(scene.peers.clone(), vote)));
    }
    said
}
