//! Clients: what they submit, and look for again.

use super::*;

impl World {
    pub(super) fn offer(
        &self,
        pool: &Mutex<Pool>,
        ledger: &Ledger,
        candidate: Arc<Candidate>,
        origin: Origin,
    ) -> Result<(), String> {
        let now_ms = (self.now_us - STEADY_BEHIND_US) / 1_000;
        admission::offer(pool, ledger, now_ms, candidate, origin).map(drop).map_err(|refusal| refusal.to_string())
    }

    pub(super) fn submit(&mut self, number: usize) {
        let mean = self.scenario.load_ms * 1_000;
        let pause = self.network.between(mean / 2, mean * 3 / 2);
        if self.quiet {
            return;
        }
        self.at(pause, Happening::Submit(number));
        let Some(index) = self.writers.get(number).copied() else { return };
        let Some(alive) = &self.nodes[index].alive else { return };
        let Some(prepared) = self.clients.prepare(number, index) else { return };
        let candidate = prepared.sent.candidate.clone();
        let hash = candidate.hash;
        if self.offer(&alive.pool, &alive.ledger, candidate, Origin::Local).is_ok() {
            self.clients.acknowledged(number, self.checkers.chain.height(), prepared);
            self.input(index, 11, hash.as_slice(), Input::PoolChanged, || format!("acknowledges transaction {hash}"));
        }
    }

    /// Clients look whether their writers still know what they acknowledged, and send it again where they do not.
    pub(super) fn recheck(&mut self) {
        self.at(RECHECK_US, Happening::Recheck);
        for index in self.writers.clone() {
            let waiting = self.clients.waiting(index);
            let Some(alive) = &self.nodes[index].alive else { continue };
            let (pool, ledger) = (alive.pool.clone(), alive.ledger.clone());
            let mut again = 0u64;
            for candidate in waiting {
                let known = pool.lock().contains(&candidate.hash) || matches!(ledger.position_of(&candidate.hash), Ok(Some(_)));
                if !known && self.offer(&pool, &ledger, candidate, Origin::Local).is_ok() {
                    again += 1;
                }
            }
            if again > 0 {
                self.input(index, 12, &again.to_be_bytes(), Input::PoolChanged, || format!("takes {again} transactions again"));
            }
        }
    }

    pub(super) fn save(&mut self, index: usize) {
        let Some(alive) = &mut self.nodes[index].alive else { return };
        let Some(local) = &mut alive.local else { return };
        let fresh = alive.pool.lock().take_unsaved();
        // What could not be written goes out with the rewriting.
        let _ = local.save(&fresh);
        if alive.pool.lock().take_local_dropped() || local.wants_rewrite() {
            let waiting = alive.pool.lock().local_waiting();
            let _ = local.rewrite(&waiting);
        }
        self.at(SAVE_US, Happening::Save(index));
        if self.nodes[index].disk.crashed() {
            let pause = self.nemesis.between(200_000, 8_000_000);
            self.die(index, if self.storm { pause } else { 100_000 });
        }
    }
}
