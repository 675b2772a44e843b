//! Who validates, counted again from the headers alone, by the letter of the rule: each proposer's last word about each
//! address, a strict majority of the set decides, an epoch block forgets all words.

use std::collections::BTreeSet;

use alloy_primitives::Address;
use ipe_types::{ExtraData, Header};

pub(crate) struct Members {
    set: BTreeSet<Address>,
    /// Who said about whom whether it is to be a validator.
    words: Vec<(Address, Address, bool)>,
    epoch: u64,
}

impl Members {
    pub(crate) fn of(genesis: &Header, epoch: u64) -> Self {
        let validators = ExtraData::decode(&genesis.extra_data).map(|extra| extra.validators).unwrap_or_default();
        Self { set: validators.into_iter().collect(), words: Vec::new(), epoch }
    }

    pub(crate) fn set(&self) -> Vec<Address> {
        self.set.iter().copied().collect()
    }

    pub(crate) fn block(&mut self, header: &Header) {
        if header.number.is_multiple_of(self.epoch) {
            self.words.clear();
            return;
        }
        let vote = ExtraData::decode(&header.extra_data).ok().and_then(|extra| extra.vote);
        let Some(vote) = vote else { return };
        let voter = header.beneficiary;
        self.words.retain(|(who, whom, _)| (*who, *whom) != (voter, vote.recipient));
        self.words.push((voter, vote.recipient, vote.add));
        let agree = self.words.iter().filter(|(_, whom, add)| *whom == vote.recipient && *add == vote.add).count();
        if 2 * agree <= self.set.len() {
            return;
        }
        self.words.retain(|(_, whom, _)| *whom != vote.recipient);
        if vote.add {
            self.set.insert(vote.recipient);
        } else {
            self.set.remove(&vote.recipient);
            self.words.retain(|(who, ..)| *who != vote.recipient);
        }
    }
}
