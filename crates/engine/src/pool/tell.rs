//! What peers are told of, in which order and how far ahead of the blocks.
//!
//! A node tells what the next blocks can hold and keeps the rest: whoever floods it fills this node's pool, within its
//! share, and not those behind it. Each ingress has its window; while several have more to tell they divide it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use ipe_chain::Candidate;
use ipe_types::planted::{self, Bug};

use super::fair::{Flow, SIZES};
use super::ingress::Ingress;
use super::{Entry, Pool, fair, shed};

/// Time until what is told when a block was made has reached who builds the next one, ms. The window is the gas of a block,
/// a quarter, and what blocks use in that time: the next builder has a full block, and what comes later waits behind no more.
const TELLING_MS: u64 = 200;
/// Blocks for which it counts that peers were told of a transaction: what nobody includes does not stop its ingress for ever.
pub(super) const WAITED_FOR_BLOCKS: u64 = 32;

impl Pool {
    /// What became includable and peers were not told of, at most `most`: of each ingress as much as its window allows, in
    /// turn of their sizes. The rest follows as blocks are made.
    pub fn take_fresh(&mut self, most: usize) -> Vec<Arc<Candidate>> {
        let open = planted::is(Bug::FloodToldOn) || planted::is(Bug::ArrivalAlone);
        let most_told = if open { u64::MAX } else { shed::hard(self.shed.room()) as u64 };
        let most_gas = if open { u128::MAX } else { self.gas_ahead() };
        let count = |flow: &Flow| flow.told.iter().map(|(count, _)| count).sum::<u64>();
        let gas = |flow: &Flow| flow.told.iter().map(|(_, gas)| gas).sum::<u128>();
        let more = |flow: &Flow| flow.untold.iter().any(|untold| !untold.is_empty());
        let mut waiting: BinaryHeap<Reverse<(u64, Ingress)>> =
            self.fair.flows_mut().filter(|(_, flow)| more(flow)).map(|(ingress, flow)| Reverse((count(flow), *ingress))).collect();
        let sharing = waiting.len().max(1) as u64;
        let (most_told, most_gas) = ((most_told / sharing).max(1), (most_gas / u128::from(sharing)).max(1));
        let mut taken = Vec::with_capacity(most.min(1_024));
        while taken.len() < most
            && let Some(Reverse((_, ingress))) = waiting.pop()
        {
            let flow = self.fair.flow_mut(&ingress);
            // What nobody includes, of one size, does not keep back the others: an eighth of the window is each size's own.
            let whole = count(flow) >= most_told || gas(flow) >= most_gas;
            let has_room = |(count, gas): (u64, u128)| count < most_told.div_ceil(SIZES as u64) && gas < most_gas / SIZES as u128;
            // Of the size of which least was told.
            let sizes = (0..SIZES).filter(|size| !flow.untold[*size].is_empty() && (!whole || has_room(flow.told[*size])));
            let Some(size) = sizes.min_by_key(|size| flow.told[*size].1) else { continue };
            let Some((_, (sender, nonce))) = flow.untold[size].pop_first() else { continue };
            if let Some(queue) = self.senders.get_mut(&sender)
                && let Some(entry) = queue.entries.get_mut(&nonce)
            {
                entry.untold = None;
                if nonce < queue.ready_end {
                    entry.told = true;
                    self.told.push_back((self.height, entry.candidate.hash));
                    let gas = flow.expected(entry.candidate.tx.gas_limit());
                    entry.counted = gas;
                    flow.told[size].0 += 1;
                    flow.told[size].1 = flow.told[size].1.saturating_add(gas);
                    taken.push(entry.candidate.clone());
                }
            }
            if more(flow) {
                waiting.push(Reverse((count(flow), ingress)));
            }
        }
        taken
    }

    fn gas_ahead(&self) -> u128 {
        let period_ms = u128::from(self.rules.period_ms.max(1));
        u128::from(self.rules.block_gas_limit).saturating_mul(period_ms * 5 / 4 + u128::from(TELLING_MS)) / period_ms
    }

    /// An entry leaves the pool or is given another body.
    pub(super) fn untell(&mut self, home: &Ingress, entry: &Entry) {
        if entry.untold.is_none() && !entry.told {
            return;
        }
        let turn = fair::turn(self.rules.block_gas_limit);
        let flow = self.fair.flow_mut(home);
        if let Some((size, number)) = entry.untold {
            flow.untold[size].remove(&number);
        }
        if entry.counted > 0 {
            let (count, gas) = &mut flow.told[fair::size(entry.candidate.tx.gas_limit(), turn)];
            (*count, *gas) = (count.saturating_sub(1), gas.saturating_sub(entry.counted));
        }
    }

    /// What was told at heights below `height`, and all but the latest `most`, counts no more.
    pub(super) fn forget_told(&mut self, height: u64, most: usize) {
        let turn = fair::turn(self.rules.block_gas_limit);
        while let Some((told_at, hash)) = self.told.front().copied()
            && (told_at < height || self.told.len() > most)
        {
            self.told.pop_front();
            let Some((sender, nonce)) = self.by_hash.get(&hash) else { continue };
            let Some(queue) = self.senders.get_mut(sender) else { continue };
            let Some(entry) = queue.entries.get_mut(nonce).filter(|entry| entry.counted > 0) else { continue };
            let (count, gas) = &mut self.fair.flow_mut(&queue.home).told[fair::size(entry.candidate.tx.gas_limit(), turn)];
            (*count, *gas) = (count.saturating_sub(1), gas.saturating_sub(entry.counted));
            entry.counted = 0;
        }
    }
}
