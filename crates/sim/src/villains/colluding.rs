//! All villains together, up to f of them, with all their keys in every hand: they propose different blocks to different
//! peers, and prepare and commit each of them, in every round.

use ipe_engine::PeerId;
use ipe_types::Message;
use ipe_types::header::commit_hash;

use super::{Said, Scene, Villain, commit, equivocating_proposer, prepare};

pub(super) fn speak(villain: &mut Villain, to: Vec<PeerId>, message: &Message) -> Vec<Said> {
    equivocating_proposer::speak(villain, to, message)
}

pub(super) fn act(villain: &mut Villain, scene: &Scene<'_>) -> Vec<Said> {
    let height = scene.height();
    let mut said = Vec::new();
    for (round, block) in villain.proposed_at(height).into_iter().take(4) {
        let digest = commit_hash(&block.header, round).unwrap_or_default();
        for key in &villain.allies {
            let votes = [prepare(key, height, round, digest), commit(key, height, round, &block.header)];
            said.extend(votes.iter().flatten().map(|vote| Said::foul(scene.peers.clone(), vote)));
        }
    }
    said
}
