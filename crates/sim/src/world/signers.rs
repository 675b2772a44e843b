//! Signers beside the validators' processes: they take their time, answer in any order, and are gone for a while.

use super::*;

/// After which a node's shell stops waiting for an answer and says so itself, µs.
const SIGNER_PATIENCE_US: u64 = 2_000_000;
/// Time of a signer that refuses, or signs at its best, µs.
const SIGNER_LEAST_US: u64 = 1_000;

impl World {
    pub(super) fn ask_signer(&mut self, index: usize, after_us: u64, request: &SignRequest) {
        let node = &self.nodes[index];
        let Some(alive) = &node.alive else { return };
        let (life, key) = (alive.life, node.key.clone());
        let (takes_us, answer) = if self.now_us < node.signer_gone_us {
            self.counts.count(Fault::Signer);
            let takes_us = if self.network.chance(500) { SIGNER_LEAST_US } else { SIGNER_PATIENCE_US };
            (takes_us, Err("the signer is gone".to_owned()))
        } else {
            let takes_us = self.network.between(SIGNER_LEAST_US, self.scenario.signer_ms * 1_000);
            (takes_us, request.draft.signatures(|hash| Ok(key.sign(hash))))
        };
        work::take();
        self.at(after_us + takes_us, Happening::Signed { at: index, life, id: request.id, answer: Box::new(answer) });
    }

    pub(super) fn signed(&mut self, at: usize, life: u64, id: u64, answer: Box<SignAnswer>) {
        let node = &self.nodes[at];
        if node.alive.as_ref().is_none_or(|alive| alive.life != life) {
            return;
        }
        let complains = node.complains;
        let wait_us = node.busy_us.saturating_sub(self.now_us);
        if wait_us > 0 {
            return self.at(wait_us, Happening::Signed { at, life, id, answer });
        }
        let text = format!("hears its signer about request {id}: {}", if answer.is_ok() { "signed" } else { "not signed" });
        // It may complain of this, though everything was healed meanwhile.
        self.nodes[at].complains |= answer.is_err();
        self.input(at, 16, text.as_bytes(), Input::Signed(id, *answer), || text.clone());
        self.nodes[at].complains = complains;
    }
}
