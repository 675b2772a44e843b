//! Where empty blocks are held back, one that comes before its time has a reason: a vote that its proposer's operator asked for,
//! and each time he asks ends a few waits only. And a change that all operators ask for does not wait for empty blocks.

use std::collections::BTreeMap;

use alloy_primitives::Address;
use ipe_types::{ExtraData, Header};

use crate::scenario::Scenario;

/// Waits that one request for a vote may end.
const WAITS: u64 = 4;
/// Time for a block beyond its period, ms.
const ROOM_MS: u64 = 1_000;

pub(crate) struct Early {
    period_ms: u64,
    empty_period_s: u64,
    /// Nothing is in the way of a change.
    calm: bool,
    /// How often each operator has asked for a vote.
    asked: BTreeMap<Address, u64>,
    /// Blocks that came before their time, by proposer.
    early: BTreeMap<Address, u64>,
    /// The change that all operators ask for: about whom, in or out, and since when, ms.
    change: Option<(Address, bool, u64)>,
}

impl Early {
    pub(super) fn new(scenario: &Scenario) -> Self {
        Self {
            period_ms: scenario.period_ms,
            empty_period_s: scenario.empty_period_s,
            calm: scenario.villains.is_empty() && scenario.faults.is_only_change(),
            asked: BTreeMap::new(),
            early: BTreeMap::new(),
            change: None,
        }
    }

    pub(super) fn asked(&mut self, voter: Address) {
        *self.asked.entry(voter).or_default() += 1;
    }

    pub(super) fn change(&mut self, about: Address, add: bool, now_ms: u64) {
        if self.change.is_none_or(|(whom, to_add, _)| (whom, to_add) != (about, add)) {
            self.change = Some((about, add, now_ms));
        }
    }

    /// A block is final for the first time; `honest` tells of its proposer, and `after` are the validators that follow from it.
    pub(super) fn block(
        &mut self,
        header: &Header,
        parent: &Header,
        honest: bool,
        after: &[Address],
        now_ms: u64,
    ) -> Result<(), String> {
        if self.empty_period_s == 0 {
            return Ok(());
        }
        self.took_effect(after, now_ms)?;
        let Ok(extra) = ExtraData::decode(&header.extra_data) else { return Ok(()) };
        let full = header.gas_used > 0 || header.timestamp >= parent.timestamp + self.empty_period_s;
        if full || extra.round > 0 || !honest {
            return Ok(());
        }
        let (number, who) = (header.number, header.beneficiary);
        if extra.vote.is_none() {
            return Err(format!(
                "{who} proposed the empty block {number} {} s after its parent, and no vote is in it",
                header.timestamp - parent.timestamp
            ));
        }
        let early = self.early.entry(who).or_default();
        *early += 1;
        let asked = self.asked.get(&who).copied().unwrap_or(0);
        if *early > WAITS * asked {
            return Err(format!(
                "{who} proposed {early} empty blocks before their time, the last is {number}; its operator asked {asked} times for a vote"
            ));
        }
        Ok(())
    }

    /// With nothing in its way a change takes a majority of blocks at the ordinary period.
    fn took_effect(&mut self, after: &[Address], now_ms: u64) -> Result<(), String> {
        let Some((about, add, since_ms)) = self.change else { return Ok(()) };
        let took_ms = now_ms - since_ms;
        if after.contains(&about) == add {
            self.change = None;
        }
        let most_ms = (after.len() as u64 / 2 + 4) * self.period_ms + ROOM_MS;
        if self.calm && took_ms > most_ms {
            return Err(format!(
                "{took_ms} ms after all operators asked for it, {about} is {}, at most {most_ms} ms are promised",
                if add { "just in" } else { "just out" }
            ));
        }
        Ok(())
    }
}
