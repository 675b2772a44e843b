//! What the operator wants of the validator set: votes that stand until they are discarded, and which of them may end the wait of
//! an empty-block period.
//!
//! A vote travels in a block that this node proposes. Where empty blocks are held back that block would come an empty-block period
//! later, and a change needs a majority of such blocks. So a vote that changes the tally is proposed at the ordinary period, as a
//! transaction is. What changes the tally is not only ours: a validator that votes a change in and out again makes the same wish
//! useful for ever. Therefore each wish ends a few waits and no more, until its operator says it again; after that the vote goes
//! with the blocks that come anyway.

use std::collections::BTreeMap;

use ipe_chain::validators::Tally;
use ipe_chain::vote_choice;
use ipe_types::Address;
use ipe_types::extra::Vote;
use ipe_types::planted::{self, Bug};

use crate::control::{MAX_VOTE_INTENTS, VoteControl, VoteError};

/// Waits that one wish ends: one for the vote, one more for each of a round that failed, an epoch block that forgot the vote, and
/// a set that changed back.
pub const HURRIES: u32 = 4;

/// Standing votes of one node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wishes {
    /// By recipient: whether it is to be a validator.
    intents: BTreeMap<Address, bool>,
    /// Waits that the wish about this recipient has ended; at most one entry for each of `intents`.
    hurried: BTreeMap<Address, u32>,
}

impl Wishes {
    /// Carries out an operator's request; in contract mode blocks carry no votes.
    pub(crate) fn answer(&mut self, request: VoteControl, by_contract: bool) {
        let guard = if by_contract { Err(VoteError::ContractMode) } else { Ok(()) };
        match request {
            VoteControl::Propose(recipient, add, reply) => reply(guard.and_then(|()| self.want(recipient, add))),
            VoteControl::Discard(recipient, reply) => reply(guard.map(|()| {
                self.intents.remove(&recipient);
                self.hurried.remove(&recipient);
            })),
            VoteControl::Pending(reply) => reply(self.intents.iter().map(|(address, add)| (*address, *add)).collect()),
        }
    }

    fn want(&mut self, recipient: Address, add: bool) -> Result<(), VoteError> {
        if self.intents.len() >= MAX_VOTE_INTENTS && !self.intents.contains_key(&recipient) {
            return Err(VoteError::TooMany);
        }
        self.intents.insert(recipient, add);
        self.hurried.remove(&recipient);
        Ok(())
    }

    /// The vote of the next block that `local` builds; see [`vote_choice`].
    pub(crate) fn choice(&self, tally: &Tally, local: Address, turn: u64) -> Option<Vote> {
        vote_choice(&self.intents, tally, local, turn)
    }

    /// Whether an empty block with this vote is proposed although empty blocks are held back. It counts as one of the waits that
    /// the wish may end, so it is asked once for each block that is otherwise held back.
    pub(crate) fn hurries(&mut self, vote: &Vote) -> bool {
        if planted::is(Bug::VotesHurryForEver) || planted::is(Bug::VotesWait) {
            return planted::is(Bug::VotesHurryForEver);
        }
        let hurried = self.hurried.entry(vote.recipient).or_default();
        let may = *hurried < HURRIES;
        *hurried += u32::from(may);
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    fn a(byte: u8) -> Address {
        Address::with_last_byte(byte)
    }

    fn propose(wishes: &mut Wishes, who: u8, add: bool) -> Result<(), VoteError> {
        let answer = Arc::new(Mutex::new(None));
        let place = answer.clone();
        wishes.answer(VoteControl::Propose(a(who), add, Box::new(move |said| *place.lock().unwrap() = Some(said))), false);
        answer.lock().unwrap().take().expect("it answers at once")
    }

    /// Whatever others do to the tally, a wish ends so many waits and no more; saying it again is a new wish.
    #[test]
    fn a_wish_ends_some_waits_and_no_more() {
        let mut wishes = Wishes::default();
        let vote = Vote { recipient: a(9), add: true };
        for _ in 0..2 {
            propose(&mut wishes, 9, true).unwrap();
            assert_eq!((0..100).filter(|_| wishes.hurries(&vote)).count(), HURRIES as usize);
        }
        let other = Vote { recipient: a(8), add: false };
        propose(&mut wishes, 8, false).unwrap();
        assert!(wishes.hurries(&other), "each wish has its own");
        wishes.answer(VoteControl::Discard(a(9), Box::new(|_| {})), false);
        assert_eq!((wishes.intents.len(), wishes.hurried.len()), (1, 1));
    }

    #[test]
    fn wishes_are_bounded() {
        let mut wishes = Wishes::default();
        for number in 0..MAX_VOTE_INTENTS as u64 {
            wishes.want(Address::left_padding_from(&number.to_be_bytes()), true).unwrap();
        }
        assert_eq!(propose(&mut wishes, 7, false), Ok(()), "one that stands is changed");
        assert_eq!(wishes.want(Address::repeat_byte(0xff), true), Err(VoteError::TooMany));
    }
}
