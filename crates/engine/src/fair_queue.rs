//! Whose transactions are looked at next. Recovering a sender costs some 40 µs and sending a transaction nothing, so what
//! peers bring waits in lines, one for each node, and whoever has had the least time is next: a flood delays its own line.
//! All strangers together count as one node.
//!
//! Transactions that no honest node would have passed on are paid for from a budget as well. While it is spent the line
//! waits; what comes meanwhile uses up the connection's allowance, and then gossip is left unread.

use std::collections::{BTreeMap, VecDeque};

use ipe_types::NodeId;

use crate::PeerId;
use crate::recent::{BoundedMap, Budget};

/// Time for transactions in vain, µs: in a burst, and each second. Some 16,000 and 1,600 transactions, which is more than
/// an honest node brings of those that can no longer, or not yet, be taken here.
const VAIN_US: u64 = 1_000_000;
const VAIN_US_A_SECOND: u64 = 100_000;
/// What has to be there before a piece is given out, µs: what one costs at most, as a rule.
const PIECE_US: u64 = 10_000;
/// Nodes whose spent budgets are remembered across reconnections.
const REMEMBERED_NODES: usize = 1_024;
/// How soon a line whose budget is spent is looked at again, ms.
const AGAIN_MS: u64 = 20;

/// Who pays for work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payer {
    /// Its key: reconnecting restores no budget.
    pub node: NodeId,
    /// Whether its role is known.
    pub known: bool,
}

/// What waits of one node.
#[derive(Debug)]
struct Line<W> {
    payer: Payer,
    work: VecDeque<(PeerId, W)>,
    /// Time had, µs.
    used_us: u64,
    /// Pieces given out and not done.
    in_hand: usize,
}

/// Pieces of work that wait, by node. How many there are is the caller's to bound: each holds a share of its
/// connection's allowance.
#[derive(Debug)]
pub struct FairQueue<W> {
    lines: BTreeMap<NodeId, Line<W>>,
    /// What the line given out last had used: time that a node left unused is not owed to it.
    clock_us: u64,
    vain: BoundedMap<NodeId, Budget>,
    vain_of_strangers: Budget,
}

impl<W> FairQueue<W> {
    /// Nothing waits.
    pub fn new(now_ms: u64) -> Self {
        Self {
            lines: BTreeMap::new(),
            clock_us: 0,
            vain: BoundedMap::new(REMEMBERED_NODES),
            vain_of_strangers: Budget::new(now_ms, VAIN_US, VAIN_US_A_SECOND),
        }
    }

    /// Takes what `peer` brought.
    pub fn put(&mut self, payer: Payer, peer: PeerId, work: W) {
        self.line(payer).work.push_back((peer, work));
    }

    /// Takes back what is left of a piece that was given out and is not done yet: it is its node's next one.
    pub fn put_back(&mut self, payer: Payer, peer: PeerId, work: W) {
        self.line(payer).work.push_front((peer, work));
    }

    fn line(&mut self, payer: Payer) -> &mut Line<W> {
        let fresh = || Line { payer, work: VecDeque::new(), used_us: self.clock_us, in_hand: 0 };
        self.lines.entry(payer.node).or_insert_with(fresh)
    }

    /// The next piece: of the node that has had least time among those whose budget is not spent. To be answered with
    /// [`FairQueue::done`].
    pub fn next(&mut self, now_ms: u64) -> Option<(Payer, PeerId, W)> {
        let (vain, of_strangers) = (&mut self.vain, self.vain_of_strangers.has(now_ms, PIECE_US));
        let mut can_pay = |payer: &Payer| match payer.known {
            true => vain.get_mut(&payer.node).is_none_or(|vain| vain.has(now_ms, PIECE_US)),
            false => of_strangers,
        };
        let ready = self.lines.values_mut().filter(|line| !line.work.is_empty() && can_pay(&line.payer));
        let line = ready.min_by_key(|line| line.used_us)?;
        self.clock_us = self.clock_us.max(line.used_us);
        line.in_hand += 1;
        line.work.pop_front().map(|(peer, work)| (line.payer, peer, work))
    }

    /// A piece given out is done: it took `took_us`, of which `vain_us` were for what no honest node would have brought.
    pub fn done(&mut self, now_ms: u64, payer: Payer, took_us: u64, vain_us: u64) {
        let strangers = self.lines.values().filter(|line| !line.payer.known).count().max(1);
        if let Some(line) = self.lines.get_mut(&payer.node) {
            let weight = if payer.known { 1 } else { strangers as u64 };
            line.used_us = line.used_us.saturating_add(took_us.max(1).saturating_mul(weight));
            line.in_hand = line.in_hand.saturating_sub(1);
            self.leave_when_idle(&payer.node);
        }
        if vain_us > 0 {
            let budget = || Budget::new(now_ms, VAIN_US, VAIN_US_A_SECOND);
            let vain = if payer.known { self.vain.entry(payer.node, budget) } else { &mut self.vain_of_strangers };
            vain.drain(now_ms, vain_us);
        }
    }

    /// A connection is gone, and what came over it is dropped.
    pub fn gone(&mut self, node: &NodeId, peer: PeerId) {
        if let Some(line) = self.lines.get_mut(node) {
            line.work.retain(|(bringer, _)| *bringer != peer);
            self.leave_when_idle(node);
        }
    }

    fn leave_when_idle(&mut self, node: &NodeId) {
        if self.lines.get(node).is_some_and(|line| line.work.is_empty() && line.in_hand == 0) {
            self.lines.remove(node);
        }
    }

    /// When something that waits may be ready, ms; `None` when nothing waits.
    pub fn again_at(&self, now_ms: u64) -> Option<u64> {
        self.lines.values().any(|line| !line.work.is_empty()).then_some(now_ms + AGAIN_MS)
    }

    /// Pieces that wait.
    pub fn len(&self) -> usize {
        self.lines.values().map(|line| line.work.len()).sum()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use ipe_types::NodeKey;

    use super::*;

    fn payer(byte: u8, known: bool) -> Payer {
        Payer { node: NodeKey::from_bytes([byte; 32]).expect("a key").node_id(), known }
    }

    /// Works `pieces` of 10 ms each off; answers with how many each of the payers had.
    fn work(queue: &mut FairQueue<u64>, payers: &[Payer], pieces: usize) -> Vec<usize> {
        let mut had = vec![0; payers.len()];
        for now_ms in (0..).step_by(10).take(pieces) {
            let Some((payer, _, _)) = queue.next(now_ms) else { continue };
            had[payers.iter().position(|known| *known == payer).expect("one of them")] += 1;
            queue.done(now_ms, payer, 10_000, 0);
        }
        had
    }

    #[test]
    fn a_flood_waits_in_its_own_line() {
        let mut queue = FairQueue::new(0);
        let payers = [payer(1, true), payer(2, true)];
        (0..10_000).for_each(|piece| queue.put(payers[0], PeerId(1), piece));
        assert_eq!(work(&mut queue, &payers, 100), [100, 0], "alone it has everything");
        queue.put(payers[1], PeerId(2), 0);
        assert_eq!(queue.next(0).expect("a piece").0, payers[1], "whoever comes does not wait behind it");
        queue.done(0, payers[1], 10_000, 0);
        (0..10_000).for_each(|piece| queue.put(payers[1], PeerId(2), piece));
        let had = work(&mut queue, &payers, 100);
        assert!(had.iter().all(|had| (49..=51).contains(had)), "and then half of it, not what it left unused: {had:?}");
    }

    #[test]
    fn many_strangers_are_one() {
        let mut queue = FairQueue::new(0);
        let payers: Vec<Payer> = (1..=25).map(|byte| payer(byte, false)).chain([payer(99, true)]).collect();
        for (peer, payer) in (0..).zip(&payers) {
            (0..1_000).for_each(|piece| queue.put(*payer, PeerId(peer), piece));
        }
        let had = work(&mut queue, &payers, 1_000);
        assert!((450..=550).contains(had.last().expect("the one")), "{had:?}");
    }

    #[test]
    fn what_no_honest_node_brings_is_paid_for() {
        let mut queue = FairQueue::new(0);
        let (liar, honest) = (payer(1, true), payer(2, true));
        (0..10_000).for_each(|piece| queue.put(liar, PeerId(1), piece));
        let mut spent_ms = 0;
        for now_ms in 0..10_000 {
            if queue.next(now_ms).is_some() {
                queue.done(now_ms, liar, 1_000, 1_000);
                spent_ms += 1;
            }
        }
        assert!((1_900..=2_100).contains(&spent_ms), "a second, and a tenth of ten: {spent_ms}");
        while queue.next(10_000).is_some() {
            queue.done(10_000, liar, 1_000, 1_000);
        }
        queue.gone(&liar.node, PeerId(1));
        assert!(queue.is_empty());
        queue.put(liar, PeerId(3), 0);
        assert!(queue.next(10_000).is_none(), "it comes again no richer");
        queue.put(honest, PeerId(2), 0);
        assert_eq!(queue.next(10_000).expect("a piece").0, honest);
        queue.done(10_000, honest, 1_000, 0);
        assert_eq!(queue.next(11_000).map(|(payer, ..)| payer), Some(liar), "and is heard again later");
    }

    #[test]
    fn the_rest_of_a_piece_comes_before_what_came_after_it() {
        let mut queue = FairQueue::new(0);
        let payer = payer(1, true);
        queue.put(payer, PeerId(1), 1);
        queue.put(payer, PeerId(1), 3);
        let (_, peer, first) = queue.next(0).expect("a piece");
        queue.put_back(payer, peer, first + 1);
        queue.done(0, payer, 1, 0);
        assert_eq!(queue.next(0).map(|(_, _, piece)| piece), Some(2));
        assert_eq!(queue.next(0).map(|(_, _, piece)| piece), Some(3));
        assert_eq!((queue.len(), queue.again_at(0)), (0, None));
    }
}
