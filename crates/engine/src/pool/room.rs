//! Who makes room in a full pool, and whose share a sender takes.

use alloy_primitives::{Address, U256};

use super::fair::{self, HELD_BYTES};
use super::ingress::Ingress;
use super::{DropReason, Pool, Refusal};

/// A sender with more than this waiting keeps its ingress: moving it would take too long.
const MOVED: usize = 16;

impl Pool {
    /// Makes room for `bytes` and `count` more of `newcomer`, which comes by `ingress`, bids `tip` and holds `held`. Whoever
    /// holds most gives way, with what waits behind a missing nonce first; nobody gives way to one that would hold more.
    pub(super) fn make_room(
        &mut self,
        now: u64,
        more: (usize, usize),
        tip: U256,
        newcomer: &Address,
        ingress: &Ingress,
    ) -> Result<(), Refusal> {
        let (count, bytes) = more;
        let full =
            |pool: &Self| pool.by_hash.len() + count > pool.settings.max_count || pool.bytes + bytes > pool.settings.max_bytes;
        if bytes > self.settings.max_bytes || self.settings.max_count == 0 {
            return Err(self.is_full());
        }
        let weight = bytes as u64 + count as u64 * HELD_BYTES;
        while full(self) {
            let victim = self.fair.fullest(ingress, weight);
            let sender = self.victim_of(&victim, ingress, newcomer, weight, tip);
            let tail = sender.and_then(|sender| {
                let (nonce, _) = self.senders.get(&sender)?.entries.last_key_value()?;
                Some((sender, *nonce))
            });
            let Some((sender, nonce)) = tail else { return Err(self.is_full()) };
            self.remove(now, sender, nonce, DropReason::Evicted);
        }
        Ok(())
    }

    fn is_full(&self) -> Refusal {
        Refusal::Full { count: self.by_hash.len(), bytes: self.bytes }
    }

    fn victim_of(&self, victim: &Ingress, ingress: &Ingress, newcomer: &Address, weight: u64, tip: U256) -> Option<Address> {
        let flow = self.fair.flow(victim)?;
        if let Some(gapped) = flow.gapped.iter().find(|sender| *sender != newcomer) {
            return Some(*gapped);
        }
        let others = |(_, _, sender): &&(u64, u64, Address)| sender != newcomer;
        let (load, _, sender) = flow.senders.iter().rev().find(others)?;
        let own = self.senders.get(newcomer).map_or(0, |queue| queue.load);
        if victim != ingress || *load > own + weight {
            return Some(*sender);
        }
        // Where fees count a better offer comes before an equal share.
        let (rank, (sender, _)) = flow.heads.iter().filter_map(|heads| heads.last_key_value()).max_by_key(|(rank, _)| **rank)?;
        (rank.tip.0 < tip && sender != newcomer).then_some(*sender)
    }

    /// `ingress` brings a transaction of `sender`: the sender takes the share of the one that holds less, so that nobody
    /// makes another's clients wait in its own line by being the first to repeat what they send.
    pub(super) fn rehome(&mut self, sender: Address, ingress: Ingress) {
        let Some(queue) = self.senders.get_mut(&sender) else { return };
        let old = queue.home;
        if old == ingress || queue.entries.len() > MOVED {
            return;
        }
        let load = |ingress: &Ingress| self.fair.flow(ingress).map_or(0, |flow| flow.load());
        if load(&ingress) + queue.load >= load(&old) {
            return;
        }
        self.fair.rank(&old, sender, queue.rank.take(), None);
        let turn = fair::turn(self.rules.block_gas_limit);
        let mut untold = Vec::new();
        let flow = self.fair.flow_mut(&old);
        for (nonce, entry) in &mut queue.entries {
            if entry.counted > 0 {
                let (count, gas) = &mut flow.told[fair::size(entry.candidate.tx.gas_limit(), turn)];
                (*count, *gas) = (count.saturating_sub(1), gas.saturating_sub(entry.counted));
                entry.counted = 0;
            }
            if let Some((size, number)) = entry.untold {
                flow.untold[size].remove(&number);
                untold.push((size, number, *nonce));
            }
        }
        let ready = queue.entries.range(..queue.ready_end).count();
        self.fair.ready[old.class()] -= ready;
        self.fair.ready[ingress.class()] += ready;
        self.fair.hold(&old, sender, queue.lot, queue.load, 0);
        self.fair.hold(&ingress, sender, queue.lot, 0, queue.load);
        let flow = self.fair.flow_mut(&ingress);
        queue.home = ingress;
        if queue.has_gap {
            flow.gapped.insert(sender);
        }
        for (size, number, nonce) in untold {
            flow.untold[size].insert(number, (sender, nonce));
        }
        self.settle(sender);
    }

    /// A transaction that is held was brought once more.
    pub fn brought_again(&mut self, hash: &alloy_primitives::B256, ingress: Ingress) {
        if let Some(&(sender, _)) = self.by_hash.get(hash) {
            self.rehome(sender, ingress);
        }
    }
}
