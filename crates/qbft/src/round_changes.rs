//! RoundChanges of one height: one per author and round, and how far each author has gone.

use std::collections::BTreeMap;
use std::sync::Arc;

use alloy_primitives::Address;
use alloy_rlp::Encodable;
use ipe_types::Message;
use ipe_types::message::RoundChange;
use ipe_types::planted::{self, Bug};

use crate::bounds::{ROUND_CHANGE_BYTES_PER_AUTHOR, ROUND_CHANGES_PER_AUTHOR};

/// What [`RoundChanges::insert`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inserted {
    /// It is new.
    New,
    /// The same was there.
    Known,
    /// The author said something else for this round.
    Conflict,
}

/// The collector of spec/qbft.md 8.3.
#[derive(Clone, Debug, Default)]
pub(crate) struct RoundChanges {
    by_author: BTreeMap<Address, Author>,
}

#[derive(Clone, Debug, Default)]
struct Author {
    /// Highest round that the author has asked for; never goes down within a height.
    latest: u32,
    messages: BTreeMap<u32, (Arc<Message>, usize)>,
}

impl RoundChanges {
    /// Stores a valid RoundChange. Beyond the bounds the author's lowest round goes first.
    pub(crate) fn insert(&mut self, author: Address, change: &RoundChange, message: &Arc<Message>) -> Inserted {
        let entry = self.by_author.entry(author).or_default();
        let round = change.signed.round();
        if let Some((known, _)) = entry.messages.get(&round) {
            let same = matches!(&**known, Message::RoundChange(known) if known.signed.raw() == change.signed.raw());
            return if same { Inserted::Known } else { Inserted::Conflict };
        }
        entry.latest = entry.latest.max(round);
        entry.messages.insert(round, (message.clone(), size(change)));
        while !planted::is(Bug::RoundChangesUnbounded)
            && entry.messages.len() > 1
            && (entry.messages.len() > ROUND_CHANGES_PER_AUTHOR
                || entry.messages.values().map(|(_, bytes)| bytes).sum::<usize>() > ROUND_CHANGE_BYTES_PER_AUTHOR)
        {
            entry.messages.pop_first();
        }
        Inserted::New
    }

    /// Learns from a justification that `author` has asked for `round`.
    pub(crate) fn saw(&mut self, author: Address, round: u32) {
        let entry = self.by_author.entry(author).or_default();
        entry.latest = entry.latest.max(round);
    }

    /// Highest round that `author` has asked for; 0 when none.
    pub(crate) fn latest(&self, author: &Address) -> u32 {
        self.by_author.get(author).map_or(0, |entry| entry.latest)
    }

    /// RoundChanges for exactly `round`, by author.
    pub(crate) fn at(&self, round: u32) -> impl Iterator<Item = (&Address, &RoundChange)> {
        self.by_author.iter().filter_map(move |(author, entry)| match &*entry.messages.get(&round)?.0 {
            Message::RoundChange(change) => Some((author, &**change)),
            _ => None,
        })
    }

    /// How many authors, `local` counted as being there, have asked for `round` or more.
    pub(crate) fn present(&self, round: u32, local: &Address) -> usize {
        1 + self.by_author.iter().filter(|(author, entry)| *author != local && entry.latest >= round).count()
    }

    /// The highest round that `authors` others have reached or passed: where to leap (spec/qbft.md 8.4). 0 when none.
    pub(crate) fn reached_by(&self, authors: usize, local: &Address) -> u32 {
        let mut rounds: Vec<u32> =
            self.by_author.iter().filter(|(author, _)| *author != local).map(|(_, entry)| entry.latest).collect();
        rounds.sort_unstable_by(|a, b| b.cmp(a));
        authors.checked_sub(1).and_then(|index| rounds.get(index)).copied().unwrap_or(0)
    }

    /// Forgets what asked for less than `round`; how far authors have gone stays known.
    pub(crate) fn discard_below(&mut self, round: u32) {
        for entry in self.by_author.values_mut() {
            entry.messages = entry.messages.split_off(&round);
        }
    }

    /// Messages held, and their bytes.
    pub(crate) fn held(&self) -> (usize, usize) {
        self.by_author
            .values()
            .flat_map(|entry| entry.messages.values())
            .fold((0, 0), |(count, bytes), (_, size)| (count + 1, bytes + size))
    }
}

/// Bytes that a RoundChange keeps alive, about.
fn size(change: &RoundChange) -> usize {
    let block = change.block.as_ref().map_or(0, |block| block.length());
    change.signed.raw().len() + block + 256 * (1 + change.prepares.len())
}
