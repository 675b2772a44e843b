//! Speaks for others: votes with a key that is no validator's, and honest messages with another payload under the old
//! signature.

use alloy_primitives::keccak256;
use ipe_types::Bytes;

use super::{Said, Scene, Villain, commit, prepare, round_change};
use crate::setup::{class, key};

pub(super) fn act(villain: &mut Villain, scene: &Scene<'_>) -> Vec<Said> {
    let stranger = key(class::STRANGER, villain.rng.below(4) as usize);
    let height = scene.height();
    let mut messages =
        vec![prepare(&stranger, height, 0, keccak256(scene.now_us.to_be_bytes())), round_change(&stranger, height, 1)];
    if let Some((round, block)) = villain.proposed_at(height).into_iter().next() {
        messages.push(commit(&stranger, height, round, &block.header));
    }
    let mut said: Vec<Said> = messages.iter().flatten().map(|message| Said::foul(scene.peers.clone(), message)).collect();
    if let Some(message) = villain.any_heard() {
        let mut bytes = message.encode().to_vec();
        let at = villain.rng.below(bytes.len() as u64) as usize;
        bytes[at] ^= 1 << villain.rng.below(8);
        said.push(Said::raw(scene.peers.clone(), message.kind().code(), Bytes::from(bytes)));
    }
    said
}
