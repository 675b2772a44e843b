//! The tally of votes against a naive model: a list of everything that was ever said, read from the start for every question.

#![allow(clippy::unwrap_used)]

use ipe_chain::Tally;
use ipe_types::genesis::GenesisBuilder;
use ipe_types::spec::ChainSpec;
use ipe_types::{Address, ExtraData, Header, ValidatorSet, Vote};

/// One voter's word about somebody.
#[derive(Clone, Copy)]
struct Said {
    voter: Address,
    about: Address,
    add: bool,
}

/// spec/qbft.md on votes, as literally as possible: what was said since the last epoch, minus what was struck out.
struct Naive {
    validators: Vec<Address>,
    said: Vec<Said>,
    epoch: u64,
}

impl Naive {
    /// The last word of each voter about somebody; how many of them say `add`.
    fn count(&self, about: Address, add: bool) -> usize {
        let mut voters: Vec<Address> = self.said.iter().map(|said| said.voter).collect();
        voters.sort_unstable();
        voters.dedup();
        let last = |voter: &Address| self.said.iter().rev().find(|said| said.voter == *voter && said.about == about);
        voters.iter().filter(|voter| last(voter).is_some_and(|said| said.add == add)).count()
    }

    fn block(&mut self, number: u64, proposer: Address, vote: Option<Vote>, in_header: &[Address]) {
        if number.is_multiple_of(self.epoch) {
            self.said.clear();
            self.validators = in_header.to_vec();
            return;
        }
        let Some(vote) = vote else { return };
        let majority = self.validators.len() / 2 + 1;
        self.said.push(Said { voter: proposer, about: vote.recipient, add: vote.add });
        if self.count(vote.recipient, true) >= majority {
            self.validators.push(vote.recipient);
            self.validators.sort_unstable();
            self.validators.dedup();
            self.said.retain(|said| said.about != vote.recipient);
        } else if self.count(vote.recipient, false) >= majority {
            self.validators.retain(|who| *who != vote.recipient);
            self.said.retain(|said| said.about != vote.recipient && said.voter != vote.recipient);
        }
    }
}

fn address(index: usize) -> Address {
    Address::with_last_byte(index as u8 + 1)
}

fn spec(validators: usize, epoch_length: u64) -> ChainSpec {
    let validators = (0..validators).map(address).collect();
    let genesis = GenesisBuilder { validators, epoch_length, ..GenesisBuilder::default() };
    ChainSpec::parse(&genesis.to_json().unwrap()).unwrap()
}

/// One block: who makes it and whom it votes about.
type Step = (usize, Option<(usize, bool)>);

/// Applies the steps to both and compares after each. A step of somebody who is no validator any more is left out: such a
/// block would be invalid.
fn compare(spec: &ChainSpec, start: usize, epoch: u64, steps: &[Step]) {
    let mut naive = Naive { validators: (0..start).map(address).collect(), said: Vec::new(), epoch };
    let mut tally = Tally::genesis(spec).unwrap();
    let mut number = 0;
    for (who, vote) in steps {
        let proposer = address(*who);
        if !naive.validators.contains(&proposer) {
            continue;
        }
        number += 1;
        let is_epoch = number % epoch == 0;
        let vote = vote.map(|(about, add)| Vote { recipient: address(about), add }).filter(|_| !is_epoch);
        let validators: ValidatorSet = naive.validators.iter().copied().collect();
        let extra =
            ExtraData { vanity: vec![0; 32].into(), validators: validators.as_slice().to_vec(), vote, ..ExtraData::default() };
        let header = Header { number, timestamp: number, beneficiary: proposer, extra_data: extra.encode(), ..Header::default() };
        naive.block(number, proposer, vote, validators.as_slice());
        tally = tally.after(spec, &header).unwrap();
        let expected: ValidatorSet = naive.validators.iter().copied().collect();
        assert_eq!(tally.validators, expected, "after block {number} of {steps:?}");
        for about in (0..8).map(address) {
            let ballots = tally.votes.get(&about);
            let counted = ballots.map_or((0, 0), |ballots| (ballots.add.len(), ballots.drop.len()));
            assert_eq!(counted, (naive.count(about, true), naive.count(about, false)), "about {about} after {number}");
        }
        assert_eq!(Tally::decode(&tally.encode()).unwrap(), tally);
        if naive.validators.is_empty() {
            return;
        }
    }
}

/// Every sequence of four blocks of two validators about three addresses, with epochs of 1 to 3 blocks and without.
#[test]
fn every_short_history() {
    let choices: Vec<Step> = (0..3)
        .flat_map(|who| {
            let votes = (0..3).flat_map(|about| [(about, true), (about, false)]).map(Some).chain([None]);
            votes.map(move |vote| (who, vote))
        })
        .collect();
    for epoch in [1, 2, 3, 100] {
        let spec = spec(2, epoch);
        for first in &choices {
            for second in &choices {
                for third in &choices {
                    compare(&spec, 2, epoch, &[*first, *second, *third, *first]);
                }
            }
        }
    }
}

/// Long histories of four to eight validators, with epochs.
#[test]
fn long_histories() {
    let mut dice = 0x5eed_u64;
    let mut roll = |most: u64| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (dice >> 33) % most
    };
    for start in 4..=8 {
        for epoch in [7, 30, 1_000] {
            let spec = spec(start, epoch);
            for _ in 0..12 {
                let steps: Vec<Step> = (0..150)
                    .map(|_| {
                        // Few addresses and a lean towards one answer, so that majorities come about.
                        let vote = (roll(5) > 0).then(|| (roll(8) as usize, roll(3) > 0));
                        (roll(8) as usize, vote)
                    })
                    .collect();
                compare(&spec, start, epoch, &steps);
            }
        }
    }
}
