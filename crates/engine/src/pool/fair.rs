//! Shares of ingresses, of sizes and of senders.
//!
//! Ingresses share by gas. Within one, transactions of different sizes share by gas too: sizes double from a hundredth of a
//! block, the size of a turn, to a whole block, so that who reserves a block waits until the others have had as much.
//! Within a size it is arrival that counts, and a sender has sixteen turns at most before the others have had theirs.
//! Accounts are free on a network without fees, so a share for each would be a share for whoever makes most of them.
//!
//! Shares are virtual time: whoever has had least gas is next. What comes newly starts at the present virtual time, which
//! advances by what was mined, divided by those who wait for it: nobody gains by a fresh connection, and nobody keeps a
//! claim to what it left unused.
//!
//! The gas limit is what is reserved; what the transaction has used is charged when a block has it. An ingress whose
//! transactions use less than they reserve is reserved less for the next ones.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Address, U256};
use ipe_types::planted::{self, Bug};

use super::ingress::{CLASSES, Ingress, PEERS};

/// Least gas of a transaction.
const LEAST_GAS: u64 = 21_000;
/// Turns in the gas of one block.
const TURNS_IN_A_BLOCK: u64 = 100;
/// Turns that a sender has before the others: one that sends some at a time is not set back by others' fresh accounts.
const TURNS_AT_ONCE: u128 = 16;
/// Sizes: 1, 2, 4, … 64 turns and a whole block.
pub(super) const SIZES: usize = 8;
/// What holding a transaction costs beside its bytes: the default pool of 64 MiB holds 65,536.
pub(super) const HELD_BYTES: u64 = 1_024;
/// A share of the gas used by an ingress of what it reserved is never taken for less than one in so many.
const MOST_UNUSED: u128 = 64;

/// Place in an order: highest tip first where fees count; then, among ingresses or sizes, least virtual time, and among
/// senders the number of their turns; then arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    pub(super) tip: Reverse<U256>,
    /// Virtual time at which it will have been served, gas; or turns of [`TURNS_AT_ONCE`].
    pub(super) due: u128,
    pub(super) arrival: u64,
}

impl Rank {
    pub(super) fn new(tip: U256, due: u128, arrival: u64) -> Self {
        Self { tip: Reverse(tip), due: if planted::is(Bug::ArrivalAlone) { 0 } else { due }, arrival }
    }
}

/// Gas of one turn in blocks of this gas limit.
pub(super) fn turn(block_gas_limit: u64) -> u64 {
    (block_gas_limit / TURNS_IN_A_BLOCK).max(LEAST_GAS)
}

/// Size of a transaction that reserves `gas`, 0 to [`SIZES`].
pub(super) fn size(gas: u64, turn: u64) -> usize {
    if planted::is(Bug::ArrivalAlone) {
        return 0;
    }
    let turns = gas.div_ceil(turn.max(1)).max(1);
    (turns.next_power_of_two().trailing_zeros() as usize).min(SIZES - 1)
}

/// How often a sender that has reserved `gas` before has had its turns.
pub(super) fn rounds(gas: u128, turn: u64) -> u128 {
    if planted::is(Bug::ArrivalAlone) { 0 } else { gas / (u128::from(turn) * TURNS_AT_ONCE) }
}

/// What one ingress has waiting.
#[derive(Debug, Default)]
pub(super) struct Flow {
    /// Gas it has had, on the clock of all ingresses.
    had: u128,
    /// The clock of its sizes, and the gas that each has had.
    clock: u128,
    pub(super) sizes: [u128; SIZES],
    /// Senders whose next transaction can be included, by its size, best first, with the gas that it reserves.
    pub(super) heads: [BTreeMap<Rank, (Address, u64)>; SIZES],
    /// Its senders by what they hold; among equals in a secret order.
    pub(super) senders: BTreeSet<(u64, u64, Address)>,
    /// Senders with something behind a missing nonce.
    pub(super) gapped: BTreeSet<Address>,
    /// Includable transactions that peers were not told of, by size and in the order in which they became so.
    pub(super) untold: [BTreeMap<u64, (Address, u64)>; SIZES],
    /// What peers were told of and no block has, by size: transactions and gas.
    pub(super) told: [(u64, u128); SIZES],
    rank: Option<Rank>,
    load: u64,
    /// Gas reserved and used by what was mined lately.
    reserved: u128,
    used: u128,
}

impl Flow {
    /// What a transaction that reserves `gas` will use, by what others of this ingress have used.
    pub(super) fn expected(&self, gas: u64) -> u128 {
        let gas = u128::from(gas.max(LEAST_GAS));
        if self.reserved == 0 {
            return gas;
        }
        let used = self.used.clamp(self.reserved / MOST_UNUSED, self.reserved);
        (gas.saturating_mul(used) / self.reserved).max(u128::from(LEAST_GAS))
    }

    /// The best of its senders: the size, its place among the sizes, and the gas.
    pub(super) fn best(&self) -> Option<(usize, Rank, u64)> {
        let heads = self.heads.iter().enumerate().filter_map(|(size, heads)| Some((size, heads.first_key_value()?)));
        let placed = heads.map(|(size, (rank, (_, gas)))| (size, self.among_sizes(self.sizes[size], rank, *gas), *gas));
        placed.min_by_key(|(_, rank, _)| *rank)
    }

    /// Place among the sizes of a transaction whose size has had `had`.
    pub(super) fn among_sizes(&self, had: u128, rank: &Rank, gas: u64) -> Rank {
        Rank::new(rank.tip.0, had.saturating_add(self.expected(gas)), rank.arrival)
    }

    fn waiting_sizes(&self) -> u128 {
        self.heads.iter().filter(|heads| !heads.is_empty()).count().max(1) as u128
    }

    /// Bytes held, with the cost of each transaction.
    pub(super) fn load(&self) -> u64 {
        self.load
    }
}

/// All ingresses with something in the pool.
#[derive(Debug, Default)]
pub(super) struct Fair {
    flows: BTreeMap<Ingress, Flow>,
    /// Ingresses with something includable, best first.
    pub(super) turns: BTreeMap<Rank, Ingress>,
    /// By class and by what they hold.
    loads: [BTreeSet<(u64, Ingress)>; CLASSES],
    totals: [u64; CLASSES],
    /// How many ingresses of a class have something includable.
    waiting: [u64; CLASSES],
    /// Includable transactions by class.
    pub(super) ready: [usize; CLASSES],
    clock: u128,
}

impl Fair {
    pub(super) fn flow(&self, ingress: &Ingress) -> Option<&Flow> {
        self.flows.get(ingress)
    }

    pub(super) fn flow_mut(&mut self, ingress: &Ingress) -> &mut Flow {
        let clock = self.clock;
        self.flows.entry(*ingress).or_insert_with(|| Flow { had: clock, ..Flow::default() })
    }

    pub(super) fn flows_mut(&mut self) -> impl Iterator<Item = (&Ingress, &mut Flow)> {
        self.flows.iter_mut()
    }

    /// Ingresses of a class that hold something.
    pub(super) fn count(&self, class: usize) -> usize {
        self.loads[class].len()
    }

    /// What a class holds, bytes and what holding costs.
    pub(super) fn total(&self, class: usize) -> u64 {
        self.totals[class]
    }

    /// Whether nothing can be included.
    pub(super) fn is_idle(&self) -> bool {
        self.turns.is_empty()
    }

    /// So many ingresses share what is one peer's.
    fn sharers(&self, ingress: &Ingress) -> u128 {
        let class = ingress.class();
        if class == PEERS { 1 } else { u128::from(self.waiting[class].max(1)) }
    }

    /// What an ingress is charged for gas.
    pub(super) fn charge(&self, ingress: &Ingress, gas: u128) -> u128 {
        gas.saturating_mul(self.sharers(ingress))
    }

    pub(super) fn had(&self, ingress: &Ingress) -> u128 {
        self.flows.get(ingress).map_or(self.clock, |flow| flow.had)
    }

    /// A sender holds `new` instead of `old`; 0 = nothing. `lot` is its secret place among equals.
    pub(super) fn hold(&mut self, ingress: &Ingress, sender: Address, lot: u64, old: u64, new: u64) {
        let class = ingress.class();
        let flow = self.flow_mut(ingress);
        let before = flow.load;
        flow.senders.remove(&(old, lot, sender));
        if new > 0 {
            flow.senders.insert((new, lot, sender));
        } else {
            flow.gapped.remove(&sender);
        }
        flow.load = before - old + new;
        let load = flow.load;
        let is_empty = flow.senders.is_empty();
        self.loads[class].remove(&(before, *ingress));
        self.totals[class] = self.totals[class] - old + new;
        if is_empty {
            self.flows.remove(ingress);
        } else {
            self.loads[class].insert((load, *ingress));
        }
    }

    /// A sender's place among the heads of its ingress changes.
    pub(super) fn rank(&mut self, ingress: &Ingress, sender: Address, old: Option<(usize, Rank)>, new: Option<(usize, Rank, u64)>) {
        let flow = self.flow_mut(ingress);
        if let Some((size, old)) = old {
            flow.heads[size].remove(&old);
        }
        if let Some((size, new, gas)) = new {
            if flow.heads[size].is_empty() {
                // What a size could have had while nothing of it waited is no claim.
                flow.sizes[size] = flow.sizes[size].max(flow.clock);
            }
            flow.heads[size].insert(new, (sender, gas));
        }
        self.place(ingress);
    }

    /// Brings the place of an ingress among all in line with its best head.
    fn place(&mut self, ingress: &Ingress) {
        let sharers = self.sharers(ingress);
        let Some(flow) = self.flows.get_mut(ingress) else { return };
        let new = flow.best().map(|(_, rank, gas)| {
            Rank::new(rank.tip.0, flow.had.saturating_add(flow.expected(gas).saturating_mul(sharers)), rank.arrival)
        });
        let old = std::mem::replace(&mut flow.rank, new);
        if old == new {
            return;
        }
        let waiting = &mut self.waiting[ingress.class()];
        *waiting = *waiting + u64::from(new.is_some()) - u64::from(old.is_some());
        if let Some(old) = old {
            self.turns.remove(&old);
        }
        if let Some(new) = new {
            self.turns.insert(new, *ingress);
        }
    }

    /// A block has a transaction of this ingress that reserved `limit` and used `used`. `sharing` is [`Fair::sharing`] before
    /// the block.
    pub(super) fn served(&mut self, ingress: &Ingress, limit: u64, used: u64, sharing: u128, block_gas: u64, turn: u64) {
        let used = used.max(LEAST_GAS);
        let charged = self.charge(ingress, u128::from(used));
        self.clock = self.clock.saturating_add(u128::from(used) / sharing.max(1));
        let clock = self.clock;
        let Some(flow) = self.flows.get_mut(ingress) else { return };
        // What was left unserved for long is a claim to one block and no more.
        flow.had = flow.had.max(clock.saturating_sub(u128::from(block_gas))).saturating_add(charged);
        flow.clock = flow.clock.saturating_add(u128::from(used) / flow.waiting_sizes());
        let (clock, block) = (flow.clock, u128::from(block_gas));
        let had = &mut flow.sizes[size(limit, turn)];
        *had = had.saturating_add(u128::from(used)).clamp(clock.saturating_sub(block), clock.saturating_add(block));
        flow.reserved = flow.reserved - flow.reserved / 32 + u128::from(limit.max(used));
        flow.used = flow.used - flow.used / 32 + u128::from(used);
    }

    /// Every index agrees with the flows.
    #[cfg(test)]
    pub(super) fn audit(&self, heads: usize, senders: usize) {
        let heads_of = |flow: &Flow| flow.heads.iter().map(BTreeMap::len).sum::<usize>();
        assert_eq!(self.flows.values().map(heads_of).sum::<usize>(), heads);
        assert_eq!(self.flows.values().map(|flow| flow.senders.len()).sum::<usize>(), senders);
        assert_eq!(self.turns.len(), self.flows.values().filter(|flow| heads_of(flow) > 0).count());
        assert_eq!(self.loads.iter().map(BTreeSet::len).sum::<usize>(), self.flows.len());
        for (ingress, flow) in &self.flows {
            assert_eq!(flow.load, flow.senders.iter().map(|(load, ..)| load).sum::<u64>());
            assert!(self.loads[ingress.class()].contains(&(flow.load, *ingress)));
            assert!(flow.rank.is_none_or(|rank| self.turns.get(&rank) == Some(ingress)));
        }
        for (class, waiting) in self.waiting.iter().enumerate() {
            assert_eq!(*waiting, self.turns.values().filter(|ingress| ingress.class() == class).count() as u64);
            assert_eq!(self.totals[class], self.loads[class].iter().map(|(load, _)| load).sum::<u64>());
        }
    }

    /// Among how many a block is shared now.
    pub(super) fn sharing(&self) -> u128 {
        let [clients, peers, strangers] = self.waiting;
        u128::from(peers + u64::from(clients > 0) + u64::from(strangers > 0))
    }

    /// The ingress that has to make room for `more` of `newcomer`: of the class, or the peer, that holds most, the one that
    /// holds most. It is `newcomer` itself when nobody holds more than it would.
    pub(super) fn fullest(&self, newcomer: &Ingress, more: u64) -> Ingress {
        let group = |ingress: &Ingress| {
            let class = ingress.class();
            if class == PEERS { (class, Some(*ingress)) } else { (class, None) }
        };
        let total = |ingress: &Ingress| match ingress.class() {
            PEERS => self.flows.get(ingress).map_or(0, |flow| flow.load),
            class => self.totals[class],
        };
        let fullest =
            self.loads.iter().filter_map(|loads| loads.last().map(|(_, ingress)| *ingress)).max_by_key(|ingress| total(ingress));
        let Some(fullest) = fullest else { return *newcomer };
        let more = |other: &dyn Fn(&Ingress) -> u64| other(&fullest) > other(newcomer) + more;
        let load = |ingress: &Ingress| self.flows.get(ingress).map_or(0, |flow| flow.load);
        if group(&fullest) == group(newcomer) {
            return if more(&load) { fullest } else { *newcomer };
        }
        if more(&total) {
            return fullest;
        }
        // Within its own class there may be one that holds more.
        let own = self.loads[newcomer.class()].last().map(|(_, ingress)| *ingress);
        own.filter(|own| newcomer.class() != PEERS && load(own) > load(newcomer)).unwrap_or(*newcomer)
    }
}
