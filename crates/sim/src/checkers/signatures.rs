//! No honest validator signs two different messages of one kind for one height and round, whatever happens to its process
//! and its disk. Signatures are gathered from everything on the wire, those inside justifications too.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, keccak256};
use ipe_types::message::{Payload, PreparePayload, RoundChangePayload, Signed};
use ipe_types::{Kind, Message};

#[derive(Default)]
pub(super) struct Signatures {
    said: BTreeMap<(u64, u32, Kind, Address), B256>,
}

impl Signatures {
    pub(super) fn saw(&mut self, message: &Message, honest: &[Address]) -> Vec<Result<(), String>> {
        let mut outcomes = Vec::new();
        let mut one = |kind, author: Address, height, round, raw: &[u8]| {
            if honest.contains(&author) {
                let identity = keccak256(raw);
                let known = *self.said.entry((height, round, kind, author)).or_insert(identity);
                if known != identity {
                    outcomes.push(Err(format!("{author} signed two different {kind:?} for height {height} round {round}")));
                }
            }
        };
        fn part<P: Payload>(signed: &Signed<P>) -> (Kind, Address, u64, u32, &[u8]) {
            (P::KIND, signed.author(), signed.height(), signed.round(), signed.raw())
        }
        let mut take = |(kind, author, height, round, raw): (Kind, Address, u64, u32, &[u8])| one(kind, author, height, round, raw);
        match message {
            Message::Proposal(proposal) => {
                take(part(&proposal.signed));
                proposal.round_changes.iter().for_each(|change: &Signed<RoundChangePayload>| take(part(change)));
                proposal.prepares.iter().for_each(|prepare: &Signed<PreparePayload>| take(part(prepare)));
            }
            Message::Prepare(prepare) => take(part(prepare)),
            Message::Commit(commit) => take(part(commit)),
            Message::RoundChange(change) => {
                take(part(&change.signed));
                change.prepares.iter().for_each(|prepare| take(part(prepare)));
            }
        }
        outcomes
    }

    pub(super) fn forget_below(&mut self, height: u64) {
        self.said = self.said.split_off(&(height, 0, Kind::Proposal, Address::ZERO));
    }
}
