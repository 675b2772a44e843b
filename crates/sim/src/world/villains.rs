//! What villains say and do.

use super::*;

impl World {
    pub(super) fn with_villain(&mut self, index: usize, f: impl FnOnce(&mut Villain, &Scene<'_>) -> Vec<Said>) -> Vec<Said> {
        let now_us = self.now_us;
        let node = &mut self.nodes[index];
        let (Some(villain), Some(alive)) = (&mut node.villain, &node.alive) else { return Vec::new() };
        let scene = Scene { now_us, peers: alive.sessions.keys().copied().collect(), ledger: &alive.ledger };
        f(villain, &scene)
    }

    pub(super) fn say(&mut self, from: usize, after_us: u64, said: Vec<Said>) {
        for Said { to, wire, foul } in said {
            self.counts.add(Fault::Villainy, u64::from(foul));
            let packet = match wire {
                Wire::Consensus(code, bytes) => Packet::Istanbul(code, bytes),
                Wire::Bytes(code, bytes) => Packet::Eth(code, bytes),
                Wire::Eth(message) => {
                    let (code, bytes) = message.encode(EthVersion::V69);
                    Packet::Eth(code, bytes)
                }
            };
            self.send(from, after_us, &to, &packet);
        }
    }

    pub(super) fn act(&mut self, index: usize) {
        let Some(pause) = self.nodes[index].villain.as_ref().map(|villain| villain.kind.pause_us()) else { return };
        if self.nodes[index].alive.is_none() {
            return;
        }
        let said = self.with_villain(index, Villain::act);
        self.say(index, 0, said);
        self.at(pause, Happening::Act(index));
    }
}
