//! What peers are told of, in which order and how far ahead of the blocks.
//!
//! A node tells what the next blocks can hold and keeps the rest: whoever floods it fills this node's pool, within its
//! share, and not those behind it. Each ingress has its window; while several have more to tell they divide it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use alloy_consensus::Transaction as _;
use ipe_chain::Candidate;
use ipe_types::planted::{self, Bug};

use super::ingress::Ingress;
use super::fair::{Flow, SIZES};
use super::{Entry, Pool, fair, shed};

/// Gas ahead of the blocks, in blocks: one that is being decided and one that comes after it.
const BLOCKS_AHEAD: u128 = 2;
/// What was told and is in no block is forgotten by one in so many with each block: what nobody includes does not stop
/// its ingress for ever.
const FORGOTTEN: u64 = 8;

impl Pool {
    /// What became includable and peers were not told of, at most `most`: of each ingress as much as its window allows, in
    /// turn of their sizes. The rest follows as blocks are made.
    pub fn take_fresh(&mut self, most: usize) -> Vec<Arc<Candidate>> {
        let open = planted::is(Bug::FloodToldOn);
        let most_told = if open { u64::MAX } else { shed::hard(self.shed.room()) as u64 };
        let most_gas = if open { u128::MAX } else { u128::from(self.rules.block_gas_limit).saturating_mul(BLOCKS_AHEAD) };
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
            if count(flow) >= most_told || gas(flow) >= most_gas {
                continue;
            }
            // Of the size of which least was told.
            let sizes = (0..SIZES).filter(|size| !flow.untold[*size].is_empty());
            let Some(size) = sizes.min_by_key(|size| flow.told[*size].1) else { continue };
            let Some((_, (sender, nonce))) = flow.untold[size].pop_first() else { continue };
            if let Some(queue) = self.senders.get_mut(&sender)
                && let Some(entry) = queue.entries.get_mut(&nonce)
            {
                entry.untold = None;
                if nonce < queue.ready_end {
                    entry.told = true;
                    let gas = flow.expected(entry.candidate.tx.gas_limit());
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
        if entry.told {
            let limit = entry.candidate.tx.gas_limit();
            let gas = flow.expected(limit);
            let (count, told) = &mut flow.told[fair::size(limit, turn)];
            (*count, *told) = (count.saturating_sub(1), told.saturating_sub(gas));
        }
    }

    /// A block was made.
    pub(super) fn forget_told(&mut self) {
        for (count, gas) in self.fair.flows_mut().flat_map(|(_, flow)| &mut flow.told) {
            *count -= count.div_ceil(FORGOTTEN);
            *gas -= gas.div_ceil(u128::from(FORGOTTEN));
        }
    }
}
