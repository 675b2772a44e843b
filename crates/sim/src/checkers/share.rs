//! What one party sends is paid for by that party: no honest node spends more than its share of time on one villain, whether
//! as the peer that brings something or as the author whose signature is on it.

use std::collections::BTreeMap;

use alloy_primitives::Address;

/// Share of the time, percent.
const MOST: u64 = 25;

pub(super) fn check(who: &str, window_us: u64, spent_us: &BTreeMap<Address, u64>, villains: &[Address]) -> Result<(), String> {
    let greedy = spent_us.iter().find(|(party, spent)| villains.contains(party) && **spent * 100 > window_us * MOST);
    match greedy {
        None => Ok(()),
        Some((party, spent)) => Err(format!(
            "{who} spent {} of {} ms on what {party} sent or signed, at most {MOST} % are its share",
            spent / 1_000,
            window_us / 1_000
        )),
    }
}
