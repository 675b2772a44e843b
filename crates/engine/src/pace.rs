//! How much a block may hold so that the network keeps its pace.
//!
//! A block that takes longer to build, send, check and import than the period allows makes every following block late,
//! and one that takes longer than the request timeout costs a round. So each validator watches how long heights really
//! take from the moment they are due to the import, whoever proposed, and keeps a budget of work for the blocks that it
//! builds itself: it grows while full blocks are imported well inside the period, and shrinks in proportion when they
//! are not. The machine's speed, its load and the network are all inside what is measured; nothing has to be configured.

use ipe_chain::{Cut, Over};

/// What one transaction costs beyond its gas, in gas: decoding, hashing, roots, receipts and indexes of a plain transfer
/// cost about as much again as the 21,000 gas that it pays.
const GAS_A_TRANSACTION: u64 = 21_000;
/// Least budget: 25 transfers. Below it a slow machine would stop serving instead of being late.
const LEAST: u64 = 25 * 2 * GAS_A_TRANSACTION;
/// Budget of the first block: a few thousand transfers.
const FIRST: u64 = 6_000 * 2 * GAS_A_TRANSACTION;
/// Share of the period, percent, by which a height should be imported.
const AIM: u64 = 60;
/// Share of the period, percent, from which a height counts as late.
const LATE: u64 = 75;
/// Share of the period, percent, that building may take at most.
const MOST_BUILD: u64 = 30;
/// Shortest time given to building, µs.
const LEAST_BUILD_US: u64 = 10_000;

/// Most gas that one transaction may use in a block built here, unless the network's own cap is lower: three blocks' worth of
/// Ethereum's main network. It is about use and not about the limit that a transaction names, which where gas is free is
/// whatever a tool put there.
pub const TX_GAS: u64 = 100_000_000;
/// Most memory of one transaction in a block built here, bytes: what some 8,000,000,000 gas buy.
pub const TX_MEMORY: u64 = 64 << 20;
/// Most memory of one transaction in a proposal that is judged here, bytes. More than an honest builder of any client would
/// let one have, since refusing its block costs a round.
pub const JUDGED_TX_MEMORY: u64 = 1 << 30;
/// Part of the time for building a block that one transaction may run for; part of it after which the order changes, see
/// [`Phase`]; what is left for that, as a part; and what one transaction may run for then.
const TX_PART: u64 = 2;
const INORDER_PART: u64 = 2;
const LEFT_PART: u64 = 4;
const SMALL_TX_PART: u64 = 16;

/// One height as this node saw it.
#[derive(Clone, Copy, Debug)]
pub struct Height {
    /// Block period, ms.
    pub period_ms: u64,
    /// Gas used by the block.
    pub gas_used: u64,
    /// Its transactions.
    pub transactions: u64,
    /// From the moment the block was due (or, after a round change, its round began) to its import, µs.
    pub took_us: u64,
}

/// The learned budget.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    work: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { work: FIRST }
    }
}

/// Work of so much gas in so many transactions, in gas.
pub fn work(gas: u64, transactions: u64) -> u64 {
    gas.saturating_add(transactions.saturating_mul(GAS_A_TRANSACTION))
}

/// How long choosing and executing transactions for a block may take, µs: `percent` of the period, but no more than
/// `MOST_BUILD` of it, since everybody else executes the block again within the same period.
pub fn build_us(period_ms: u64, percent: u32) -> u64 {
    (period_ms * 10 * u64::from(percent).min(MOST_BUILD)).max(LEAST_BUILD_US)
}

/// How candidates are taken for a block. Gas limits are no times, and a flood of transactions that run long for their gas must
/// not keep out those that cannot: so half of the time for building goes to candidates in the pool's order, and what is left, a
/// quarter at least, to the smallest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// In the pool's order.
    InOrder,
    /// Those that name the least gas first.
    SmallestFirst,
}

impl Phase {
    /// The phase of a block for which building may take `build_us` when it has taken `elapsed_us`.
    pub fn at(build_us: u64, elapsed_us: u64) -> Self {
        if elapsed_us.saturating_mul(INORDER_PART) < build_us { Phase::InOrder } else { Phase::SmallestFirst }
    }

    /// How long the next transaction may run, µs, 1 or more.
    pub fn tx_us(self, build_us: u64, elapsed_us: u64) -> u64 {
        let longest = match self {
            Phase::InOrder => longest_tx_us(build_us).min((build_us - build_us / LEFT_PART).saturating_sub(elapsed_us)),
            Phase::SmallestFirst => build_us / SMALL_TX_PART,
        };
        longest.max(1)
    }
}

/// The longest that any transaction may run in a block for which building may take `build_us`, µs.
pub fn longest_tx_us(build_us: u64) -> u64 {
    build_us / TX_PART
}

/// Whether a transaction that was stopped is itself to blame, in a block for which building may take `build_us`: it used more gas or
/// memory than one may, or ran for as long as one may while its gas accounts for that. Not when others had left it less time, or
/// the proposer of a block that is judged had, nor when this machine, or its disk, was held up.
pub fn is_to_blame(cut: &Cut, build_us: u64) -> bool {
    let longest_us = longest_tx_us(build_us);
    let had_its_time = match cut.over {
        Over::Gas { .. } | Over::Memory { .. } => return true,
        Over::TxTime { most_us } => most_us >= longest_us,
        Over::BlockTime => cut.ran_us >= longest_us,
    };
    had_its_time && cut.ran_us <= accounted_us(cut.used_gas)
}

/// Time that so much gas accounts for at the worst rate of what is held in memory, µs (docs/costs.md), with what a scheduler
/// takes now and then.
fn accounted_us(gas: u64) -> u64 {
    (gas / 10).saturating_add(10_000)
}

impl Pace {
    /// Work that the next block we build may hold, see [`work`].
    pub fn budget(&self) -> u64 {
        self.work
    }

    /// Learns from a height.
    pub fn observe(&mut self, height: Height) {
        let period_us = height.period_ms.max(1) * 1_000;
        let held = work(height.gas_used, height.transactions);
        if height.took_us * 100 > period_us * LATE {
            // What a block of this work should have held to be in time; never cut by more than half at once, so that a
            // single hiccup does not starve the network.
            let fitting = u128::from(held) * u128::from(period_us * AIM / 100) / u128::from(height.took_us.max(1));
            let fitting = u64::try_from(fitting).unwrap_or(u64::MAX).max(held / 2);
            // A small block that was late says nothing about work.
            if held.saturating_mul(2) > self.work {
                self.work = self.work.min(fitting).max(LEAST);
            }
        } else if height.took_us * 100 < period_us * AIM && held.saturating_mul(10) > self.work.saturating_mul(8) {
            // Halfway to what such a block could have held, at most half as much again: a hiccup that halved the budget is
            // made up for in some blocks, and close to the aim the steps become small.
            let fitting = u128::from(held) * u128::from(period_us * AIM / 100) / u128::from(height.took_us.max(1));
            let fitting = u64::try_from(fitting).unwrap_or(u64::MAX);
            let step = fitting.saturating_sub(self.work) / 2;
            self.work = self.work.saturating_add(step.min(self.work / 2));
        }
    }

    /// A round ended without a block although a proposal had been seen that claims this work. Nothing of a claim is known to be
    /// true, so it can make the budget smaller, down to the least, and never larger.
    pub fn round_lost(&mut self, held: u64) {
        if held.saturating_mul(2) > self.work {
            self.work = self.work.min(held / 2).max(LEAST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A proposal whose header claims all the gas there is neither overflows nor lifts the budget to its half.
    #[test]
    fn a_claimed_gas_used_never_makes_the_budget_larger() {
        for claimed in [0, LEAST, FIRST, u64::MAX / 2, u64::MAX] {
            let mut pace = Pace::default();
            pace.round_lost(work(claimed, u64::MAX));
            pace.round_lost(work(claimed, 0));
            assert!((LEAST..=FIRST).contains(&pace.budget()), "{claimed}: {}", pace.budget());
            pace.observe(Height { period_ms: 1_000, gas_used: claimed, transactions: 1, took_us: 1_500_000 });
            pace.observe(Height { period_ms: 1_000, gas_used: claimed, transactions: 1, took_us: 1 });
            assert!(pace.budget() >= LEAST);
        }
    }

    /// A machine that needs 40 µs a transfer and 50 ms a block.
    fn run(pace: &mut Pace, offered: u64, period_ms: u64) -> (u64, u64) {
        let transactions = offered.min(pace.budget() / (2 * GAS_A_TRANSACTION));
        let took_us = 50_000 + transactions * 150;
        pace.observe(Height { period_ms, gas_used: transactions * 21_000, transactions, took_us });
        (transactions, took_us)
    }

    #[test]
    fn an_overloaded_network_settles_inside_its_period() {
        let mut pace = Pace::default();
        let blocks: Vec<(u64, u64)> = (0..200).map(|_| run(&mut pace, 100_000, 1_000)).collect();
        let late = blocks[20..].iter().filter(|(_, took)| *took > 800_000).count();
        assert_eq!(late, 0, "{blocks:?}");
        let held: u64 = blocks[20..].iter().map(|(count, _)| count).sum::<u64>() / 180;
        // 3,600 transfers would take 60 % of the period.
        assert!((3_300..5_000).contains(&held), "{held}");
    }

    #[test]
    fn a_hiccup_is_made_up_for_within_a_few_blocks() {
        let mut pace = Pace::default();
        (0..50).for_each(|_| _ = run(&mut pace, 100_000, 1_000));
        let before = pace.budget();
        for _ in 0..2 {
            let transactions = pace.budget() / (2 * GAS_A_TRANSACTION);
            let gas_used = transactions * 21_000;
            pace.observe(Height { period_ms: 1_000, gas_used, transactions, took_us: 3_000_000 });
        }
        assert!(pace.budget() * 10 < before * 3);
        (0..6).for_each(|_| _ = run(&mut pace, 100_000, 1_000));
        assert!(pace.budget() * 10 > before * 9, "{} of {before}", pace.budget());
    }

    #[test]
    fn a_late_small_block_and_an_idle_network_change_nothing() {
        let mut pace = Pace::default();
        let before = pace.budget();
        pace.observe(Height { period_ms: 1_000, gas_used: 0, transactions: 0, took_us: 5_000_000 });
        pace.observe(Height { period_ms: 1_000, gas_used: 21_000, transactions: 1, took_us: 10_000 });
        assert_eq!(pace.budget(), before);
    }

    /// Whoever decides what runs before a transaction, or when, has nothing dropped that could have been in a block.
    #[test]
    fn who_is_left_little_time_is_not_to_blame() {
        let build_us = 300_000;
        let cut = |ran_us, used_gas, over| is_to_blame(&Cut { ran_us, used_gas, over }, build_us);
        let own = |most_us| Over::TxTime { most_us };
        assert!(cut(150_000, 30_000_000, own(150_000)));
        assert!(cut(10, 60_000, own(150_000)), "before a precompiled contract that would take longer");
        assert!(!cut(18_750, 30_000_000, own(18_750)), "the smallest come first");
        assert!(!cut(150_000, 60_000, own(150_000)), "the machine was held up");
        assert!(!cut(2_000, 500_000, Over::BlockTime), "proposed when the round was nearly over");
        assert!(cut(900_000, 100_000_000, Over::BlockTime), "a proposal that it held up by itself");
        assert!(cut(1, 100_000_001, Over::Gas { most: TX_GAS }) && cut(1, 1, Over::Memory { most: TX_MEMORY }));
    }

    /// However long the transactions before run, a quarter of the time is left for the smallest, and there no one takes much.
    #[test]
    fn a_quarter_of_the_time_is_left_for_the_smallest() {
        let build_us = 300_000;
        for steps in [1u64, 7, 1_000, 50_000, 149_000, 150_000] {
            let mut elapsed_us = 0;
            while Phase::at(build_us, elapsed_us) == Phase::InOrder {
                elapsed_us += Phase::InOrder.tx_us(build_us, elapsed_us).min(steps.max(1));
            }
            assert!(elapsed_us <= build_us * 3 / 4, "{steps}: {elapsed_us}");
        }
        assert_eq!(Phase::InOrder.tx_us(build_us, 0), longest_tx_us(build_us));
        assert!(Phase::SmallestFirst.tx_us(build_us, 225_000) * 4 <= build_us / 4);
    }

    #[test]
    fn lost_rounds_halve_what_was_proposed() {
        let mut pace = Pace::default();
        let before = pace.budget();
        pace.round_lost(before);
        assert_eq!(pace.budget(), before / 2);
        (0..100).for_each(|_| pace.round_lost(pace.budget()));
        assert_eq!(pace.budget(), LEAST);
    }
}
