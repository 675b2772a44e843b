//! Repeats what others said, whenever: messages of this height, of past ones, of other rounds; each as it was signed.

use super::{Said, Scene, Villain};

pub(super) fn act(villain: &mut Villain, scene: &Scene<'_>) -> Vec<Said> {
    let count = villain.rng.below(4);
    let mut said = Vec::new();
    for _ in 0..count {
        let Some(message) = villain.any_heard() else { break };
        let Some(peer) = villain.rng.pick(&scene.peers).copied() else { break };
        said.push(Said::foul(vec![peer], &message));
    }
    said
}
