//! Says everything seconds late, and now and then what it said heights ago.

use ipe_engine::PeerId;
use ipe_types::Message;

use super::{Said, Scene, Villain};

/// Held back at most so many messages; the oldest are never said.
const LATE_MAX: usize = 256;

pub(super) fn speak(villain: &mut Villain, scene: &Scene<'_>, to: Vec<PeerId>, message: &Message) -> Vec<Said> {
    let due = scene.now_us + villain.rng.between(500_000, 9_000_000);
    if villain.late.len() >= LATE_MAX {
        villain.late.pop_front();
    }
    villain.late.push_back((due, Said::foul(to, message)));
    Vec::new()
}

pub(super) fn act(villain: &mut Villain, scene: &Scene<'_>) -> Vec<Said> {
    let mut said = Vec::new();
    let mut kept = std::mem::take(&mut villain.late);
    kept.retain(|(due, late)| {
        let ripe = *due <= scene.now_us;
        if ripe {
            said.push(late.clone());
        }
        !ripe
    });
    villain.late = kept;
    let own = villain.key.address();
    if villain.rng.chance(100)
        && let Some(message) = villain.any_heard().filter(|message| message.author() == own)
    {
        said.push(Said::foul(scene.peers.clone(), &message));
    }
    said
}
