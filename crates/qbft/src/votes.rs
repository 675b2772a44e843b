//! Prepares and Commits of one height, from the round in hand on: one of each per author and round.

use std::collections::BTreeMap;

use alloy_primitives::Address;
use ipe_types::Signature65;
use ipe_types::message::{CommitPayload, PreparePayload, Signed};
use ipe_types::planted::{self, Bug};

use crate::bounds::EARLY_ROUNDS_PER_AUTHOR;

/// One author's votes in one round.
#[derive(Clone, Debug, Default)]
pub(crate) struct Vote {
    pub(crate) prepare: Option<Signed<PreparePayload>>,
    pub(crate) commit: Option<Signed<CommitPayload>>,
}

/// Votes by author and round. Votes of the round in hand are sifted once its proposal is found valid, so that afterwards
/// whatever is here counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Votes {
    by_author: BTreeMap<Address, BTreeMap<u32, Vote>>,
}

impl Votes {
    /// The author's votes in `round`, with room made: a vote beyond the bound pushes the author's lowest round out,
    /// but never `current`.
    pub(crate) fn slot(&mut self, author: Address, round: u32, current: Option<u32>) -> &mut Vote {
        let rounds = self.by_author.entry(author).or_default();
        if !rounds.contains_key(&round) && !planted::is(Bug::VotesUnbounded) {
            while rounds.len() >= EARLY_ROUNDS_PER_AUTHOR {
                let Some(lowest) = rounds.keys().copied().find(|held| Some(*held) != current) else { break };
                rounds.remove(&lowest);
            }
        }
        rounds.entry(round).or_default()
    }

    /// Prepares of `round`, ascending by author.
    pub(crate) fn prepares(&self, round: u32) -> impl Iterator<Item = &Signed<PreparePayload>> {
        self.by_author.values().filter_map(move |rounds| rounds.get(&round)?.prepare.as_ref())
    }

    /// Commits of `round`, ascending by author.
    pub(crate) fn commits(&self, round: u32) -> impl Iterator<Item = &Signed<CommitPayload>> {
        self.by_author.values().filter_map(move |rounds| rounds.get(&round)?.commit.as_ref())
    }

    /// Commit seals of `round`, ascending by author.
    pub(crate) fn seals(&self, round: u32) -> Vec<Signature65> {
        self.commits(round).map(|commit| commit.payload().seal).collect()
    }

    /// Every author's votes in `round`.
    pub(crate) fn of_round_mut(&mut self, round: u32) -> impl Iterator<Item = (&Address, &mut Vote)> {
        self.by_author.iter_mut().filter_map(move |(author, rounds)| Some((author, rounds.get_mut(&round)?)))
    }

    /// Forgets rounds below `round`.
    pub(crate) fn discard_below(&mut self, round: u32) {
        self.by_author.retain(|_, rounds| {
            *rounds = rounds.split_off(&round);
            !rounds.is_empty()
        });
    }

    /// (author, round) pairs held.
    pub(crate) fn held(&self) -> usize {
        self.by_author.values().map(BTreeMap::len).sum()
    }
}
