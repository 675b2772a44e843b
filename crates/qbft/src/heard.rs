//! Who is there: of which proposers nothing at all was heard in their last turns, so that the next need not be waited for.
//!
//! Only ever a reason to leave a round sooner, which is never a matter of safety. Evidence is what a validator signed, in
//! whatever kind of message, and blocks of its own; no message of another makes one look gone or there.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::Address;
use ipe_types::ValidatorSet;
use ipe_types::planted::{self, Bug};

/// Turns in a row in which nothing was heard of a proposer, after which it is taken for gone.
const TURNS: u32 = 2;

/// One turn in so many of a proposer that is taken for gone has its full patience: should it be there, and so slow that
/// its proposals are all that could be heard of it, it is found again.
const PROBE: u64 = 16;

/// At most one entry for each validator.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heard {
    /// Turns in which nothing was heard, since something was; none for those who were heard after their last turn.
    missed: BTreeMap<Address, u32>,
    /// Who said something at the height in hand, or of a later one while it is in hand.
    spoke: BTreeSet<Address>,
}

impl Heard {
    /// For the next height, whose parent is by `coinbase`.
    pub(crate) fn next(mut self, validators: &ValidatorSet, coinbase: &Address) -> Self {
        self.missed.retain(|author, _| author != coinbase && validators.contains(author));
        self.spoke.clear();
        self
    }

    /// `author` signed something.
    pub(crate) fn saw(&mut self, author: Address) {
        self.missed.remove(&author);
        self.spoke.insert(author);
    }

    /// Whether `author` has said anything at the height in hand.
    pub(crate) fn spoke(&self, author: &Address) -> bool {
        self.spoke.contains(author)
    }

    /// A round of `proposer` was left that could have had a proposal.
    pub(crate) fn had_its_turn(&mut self, proposer: Address) {
        if !self.spoke(&proposer) {
            let missed = self.missed.entry(proposer).or_default();
            *missed = missed.saturating_add(1);
        }
    }

    /// Whether `proposer` need not be waited for at `height` of `validators` validators. All who heard the same agree
    /// about which turns have full patience.
    pub(crate) fn is_gone(&self, proposer: &Address, height: u64, validators: usize) -> bool {
        let probe = (height / validators.max(1) as u64).is_multiple_of(PROBE);
        !planted::is(Bug::GoneWaitedFor)
            && !probe
            && !self.spoke(proposer)
            && self.missed.get(proposer).is_some_and(|missed| *missed >= TURNS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANA: Address = Address::repeat_byte(1);
    const BIA: Address = Address::repeat_byte(2);

    fn two() -> ValidatorSet {
        ValidatorSet::new(vec![ANA, BIA])
    }

    #[test]
    fn two_silent_turns_and_no_word_in_between_make_one_gone() {
        let mut heard = Heard::default();
        heard.had_its_turn(ANA);
        assert!(!heard.is_gone(&ANA, 3, 2));
        heard = heard.next(&two(), &BIA);
        heard.had_its_turn(ANA);
        assert!(heard.is_gone(&ANA, 4, 2) && !heard.is_gone(&BIA, 4, 2));
        // One word, or a block of its own, and it is there.
        let mut spoken = heard.clone();
        spoken.saw(ANA);
        assert!(!spoken.is_gone(&ANA, 4, 2));
        spoken = spoken.next(&two(), &BIA);
        spoken.had_its_turn(ANA);
        assert!(!spoken.is_gone(&ANA, 5, 2), "its turns count from anew");
        assert!(!heard.clone().next(&two(), &ANA).is_gone(&ANA, 5, 2));
        // Who leaves the set is forgotten.
        assert!(heard.next(&ValidatorSet::new(vec![BIA]), &BIA).missed.is_empty());
    }

    #[test]
    fn one_turn_in_sixteen_has_its_patience() {
        let mut heard = Heard::default();
        heard.had_its_turn(ANA);
        heard.had_its_turn(ANA);
        let full = (0..640).filter(|height| !heard.is_gone(&ANA, *height, 4)).count();
        assert_eq!(full, 640 / 16);
    }
}
