//! What waits for a node's processor: as in the node itself, consensus and everything else share its time by weight and cost,
//! and of each connection no more than its allowance waits here; what exceeds it waits in the connection, which is not read
//! meanwhile.

use std::collections::{BTreeMap, VecDeque};

use ipe_engine::PeerId;

use crate::network::{HELD_MAX, Packet};

/// Allowance of a connection, bytes: of consensus, and of everything else (`KNOWN_CREDITS` in `ipe_p2p::link`).
const ALLOWANCES: [usize; 2] = [12 << 20, 24 << 20];
/// What a message takes of it at least, bytes.
const LEAST: usize = 16 << 10;

/// Weights of consensus and of everything else (`WEIGHTS` in `ipe_node::inbox`).
const WEIGHTS: [u64; 2] = [3, 1];

/// One message, and when it arrived, µs.
type Waiting = (PeerId, Packet, u64);

/// What one connection has in the queues, and what waits in it.
#[derive(Debug, Default)]
struct Share {
    taken: [usize; 2],
    behind: [VecDeque<(Packet, u64)>; 2],
}

/// Two queues.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    queues: [VecDeque<Waiting>; 2],
    shares: BTreeMap<PeerId, Share>,
    /// Time that each class has used, µs by weight, and the class of what is in hand.
    used: [u64; 2],
    in_hand: Option<usize>,
    /// Whether the world knows that there is work.
    pub(crate) scheduled: bool,
}

fn class(packet: &Packet) -> usize {
    usize::from(matches!(packet, Packet::Eth(..)))
}

fn charge(packet: &Packet) -> usize {
    match packet {
        Packet::Eth(_, bytes) | Packet::Istanbul(_, bytes) => bytes.len().max(LEAST),
    }
}

impl Inbox {
    /// Takes a message; `false` when so much waits in its connection that this ends.
    pub(crate) fn push(&mut self, session: PeerId, packet: Packet, now_us: u64) -> bool {
        let (class, charge) = (class(&packet), charge(&packet));
        let share = self.shares.entry(session).or_default();
        // A message above the allowance takes all of it.
        if !share.behind[class].is_empty() || (share.taken[class] > 0 && share.taken[class] + charge > ALLOWANCES[class]) {
            share.behind[class].push_back((packet, now_us));
            return share.behind[class].len() <= HELD_MAX;
        }
        share.taken[class] += charge;
        self.queues[class].push_back((session, packet, now_us));
        true
    }

    /// The next message: of the class that has used less of what it may.
    pub(crate) fn pop(&mut self) -> Option<Waiting> {
        let first = usize::from(self.used[0] > self.used[1]);
        let class = [first, 1 - first].into_iter().find(|class| !self.queues[*class].is_empty())?;
        if self.queues[1 - class].is_empty() {
            // What a class leaves unused while nothing of it waits is not owed to it.
            self.used[1 - class] = self.used[1 - class].max(self.used[class]);
        }
        self.in_hand = Some(class);
        let (session, packet, arrived_us) = self.queues[class].pop_front()?;
        if let Some(share) = self.shares.get_mut(&session) {
            share.taken[class] = share.taken[class].saturating_sub(charge(&packet));
            while let Some((next, _)) = share.behind[class].front()
                && (share.taken[class] == 0 || share.taken[class] + charge(next) <= ALLOWANCES[class])
                && let Some((next, arrived_us)) = share.behind[class].pop_front()
            {
                share.taken[class] += charge(&next);
                self.queues[class].push_back((session, next, arrived_us));
            }
            if share.taken == [0, 0] {
                self.shares.remove(&session);
            }
        }
        Some((session, packet, arrived_us))
    }

    /// What was in hand took so long.
    pub(crate) fn charge(&mut self, took_us: u64) {
        if let Some(class) = self.in_hand.take() {
            self.used[class] = self.used[class].saturating_add(took_us.max(1) * WEIGHTS[1 - class]);
        }
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.queues.iter().all(VecDeque::is_empty)
    }

    /// Forgets what waits of a connection that is over.
    pub(crate) fn forget(&mut self, session: PeerId) {
        self.shares.remove(&session);
        self.queues.iter_mut().for_each(|queue| queue.retain(|(of, ..)| *of != session));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::Bytes;

    #[test]
    fn a_flood_fills_its_own_connection_and_nothing_starves() {
        let mut inbox = Inbox::default();
        let large = Packet::Istanbul(0x12, Bytes::from(vec![0; 5 << 20]));
        for _ in 0..5 {
            assert!(inbox.push(PeerId(1), large.clone(), 0));
        }
        inbox.push(PeerId(2), Packet::Eth(1, Bytes::new()), 0);
        inbox.push(PeerId(2), Packet::Istanbul(0x13, Bytes::new()), 0);
        let next = || {
            let next = inbox.pop();
            inbox.charge(1_000);
            next
        };
        let order: Vec<(u64, usize)> = std::iter::from_fn(next).map(|(session, packet, _)| (session.0, class(&packet))).collect();
        assert_eq!(order, [(1, 0), (2, 1), (1, 0), (2, 0), (1, 0), (1, 0), (1, 0)]);
        assert!(inbox.is_empty() && inbox.shares.is_empty());
        let session = PeerId(3);
        let taken = (0..2 * HELD_MAX).take_while(|_| inbox.push(session, large.clone(), 0)).count();
        assert_eq!(taken, HELD_MAX + 2);
        inbox.forget(session);
        assert!(inbox.is_empty());
    }
}
