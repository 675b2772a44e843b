//! Speaks about other rounds than the one in hand: later ones, the highest, and one more than that.

use ipe_engine::PeerId;
use ipe_types::Message;
use ipe_types::header::commit_hash;

use super::{Said, Scene, Villain, commit, prepare, proposal_again, round_change};

/// Votes and RoundChanges for later rounds and heights in one act: more than a relay passes on of one author.
const FLOOD: u64 = 24;

pub(super) fn speak(villain: &mut Villain, to: Vec<PeerId>, message: &Message) -> Vec<Said> {
    let mut said = vec![Said::plain(to.clone(), message)];
    if let Message::Proposal(proposal) = message {
        let payload = proposal.signed.payload();
        let round = payload.round + 1 + villain.rng.below(4) as u32;
        let again = proposal_again(&villain.key, proposal, round, payload.block.clone());
        said.extend(again.map(|again| Said::foul(to, &again)));
    }
    said
}

pub(super) fn act(villain: &mut Villain, scene: &Scene<'_>) -> Vec<Said> {
    let mut flood = Vec::new();
    for _ in 0..FLOOD {
        let (height, round) = (scene.height() + villain.rng.below(10), villain.rng.between(1, 1_000) as u32);
        flood.push(round_change(&villain.key, height, round));
        flood.push(prepare(&villain.key, height, round, alloy_primitives::B256::repeat_byte(round as u8)));
    }
    let height = scene.height() + villain.rng.below(3);
    let rounds = [1, 2, 3, 8, 999, 1_000, 1_001, u32::MAX];
    let Some(&round) = villain.rng.pick(&rounds) else { return Vec::new() };
    let mut messages = vec![round_change(&villain.key, height, round)];
    if let Some((_, block)) = villain.proposed_at(height).into_iter().next() {
        let digest = commit_hash(&block.header, round).unwrap_or_default();
        messages.push(prepare(&villain.key, height, round, digest));
        messages.push(commit(&villain.key, height, round, &block.header));
    }
    messages.append(&mut flood);
    messages.iter().flatten().map(|message| Said::foul(scene.peers.clone(), message)).collect()
}
