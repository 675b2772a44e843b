//! Consensus messages of heights to come that cannot be judged yet, because validators change on the way there: kept until the
//! height is next, and then taken as if they had come just now.
//!
//! Boots pass a message on once. Whoever is a few blocks behind when it comes would otherwise never hear it again, and a
//! validator that has caught up would not vote in the round in hand.

use std::collections::{BTreeMap, VecDeque};

use ipe_types::Bytes;
use ipe_types::message::MAX_MESSAGE_BYTES;

use crate::peer::PeerId;

/// Messages kept of one peer: of the validators of a large network one each.
const MESSAGES: usize = 64;
/// Bytes kept of one peer: nobody has verified them, so they are its own.
const BYTES: usize = MAX_MESSAGE_BYTES;

/// One message as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Early {
    /// Who brought it.
    pub peer: PeerId,
    /// Height that it is about.
    pub height: u64,
    /// Kind.
    pub code: u8,
    /// Payload.
    pub bytes: Bytes,
}

/// What waits, by peer and in the order of coming.
#[derive(Debug, Default)]
pub struct Unproven {
    of: BTreeMap<PeerId, VecDeque<Early>>,
}

impl Unproven {
    /// Keeps a message; the oldest of the same peer make room.
    pub fn keep(&mut self, early: Early) {
        if early.bytes.len() > BYTES {
            return;
        }
        let of = self.of.entry(early.peer).or_default();
        of.push_back(early);
        while of.len() > MESSAGES || of.iter().map(|early| early.bytes.len()).sum::<usize>() > BYTES {
            of.pop_front();
        }
    }

    /// Forgets what a peer has brought.
    pub fn disconnected(&mut self, peer: PeerId) {
        self.of.remove(&peer);
    }

    /// Takes what is about `next`, and forgets what is about heights below.
    pub fn take(&mut self, next: u64) -> Vec<Early> {
        let mut due = Vec::new();
        for of in self.of.values_mut() {
            of.retain(|early| {
                if early.height == next {
                    due.push(early.clone());
                }
                early.height > next
            });
        }
        self.of.retain(|_, of| !of.is_empty());
        due
    }

    /// Messages that wait.
    pub fn held(&self) -> usize {
        self.of.values().map(VecDeque::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn early(peer: u64, height: u64, bytes: usize) -> Early {
        Early { peer: PeerId(peer), height, code: 0x12, bytes: Bytes::from(vec![0; bytes]) }
    }

    #[test]
    fn what_is_kept_is_of_one_peer_and_bounded() {
        let mut unproven = Unproven::default();
        (0..200).for_each(|height| unproven.keep(early(1, height, 10)));
        unproven.keep(early(2, 150, BYTES));
        unproven.keep(early(2, 151, 1));
        unproven.keep(early(3, 151, BYTES + 1));
        assert_eq!(unproven.held(), MESSAGES + 1, "the last of one, and of two what fits");
        assert_eq!(unproven.take(150), [early(1, 150, 10)]);
        assert_eq!(unproven.held(), 49 + 1);
        unproven.disconnected(PeerId(1));
        assert_eq!(unproven.take(151), [early(2, 151, 1)]);
        assert_eq!(unproven.held(), 0);
    }
}
