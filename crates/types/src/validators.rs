//! Validator sets: quorum, fault bound and whose turn it is (spec/qbft.md 6).

use std::sync::Arc;

use alloy_primitives::Address;

use crate::planted::{self, Bug};

/// The validators of one height, ascending and without repetition. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ValidatorSet(Arc<[Address]>);

impl ValidatorSet {
    /// Sorts and removes repetitions, as Besu does with what a contract answers.
    pub fn new(mut addresses: Vec<Address>) -> Self {
        addresses.sort_unstable();
        addresses.dedup();
        Self(addresses.into())
    }

    /// The addresses, ascending.
    pub fn as_slice(&self) -> &[Address] {
        &self.0
    }

    /// Addresses, ascending.
    pub fn iter(&self) -> impl Iterator<Item = &Address> {
        self.0.iter()
    }

    /// n.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// A set that can seal nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Membership.
    pub fn contains(&self, address: &Address) -> bool {
        self.0.binary_search(address).is_ok()
    }

    /// ceil(2n/3): Prepares to be prepared, commit seals to be final, RoundChanges to change the round. At least 1, so that
    /// nothing is never a quorum: an empty set decides nothing.
    pub fn quorum(&self) -> usize {
        let quorum = (2 * self.len()).div_ceil(3);
        let quorum = if planted::is(Bug::QuorumOffByOne) { quorum.saturating_sub(1) } else { quorum };
        quorum.max(1)
    }

    /// floor((n−1)/3): how many may fail in any way.
    pub fn f(&self) -> usize {
        self.len().saturating_sub(1) / 3
    }

    /// Who proposes in `round`, given the coinbase of the parent (round robin). `None` for an empty set.
    pub fn proposer(&self, previous: Address, round: u32) -> Option<Address> {
        let n = self.len() as u64;
        if n == 0 {
            return None;
        }
        let first = match self.0.binary_search(&previous) {
            Ok(index) => index as u64 + 1,
            Err(index) => index as u64 % n,
        };
        Some(self.0[((first + u64::from(round)) % n) as usize])
    }
}

impl FromIterator<Address> for ValidatorSet {
    fn from_iter<I: IntoIterator<Item = Address>>(addresses: I) -> Self {
        Self::new(addresses.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(bytes: impl IntoIterator<Item = u8>) -> ValidatorSet {
        bytes.into_iter().map(Address::with_last_byte).collect()
    }

    #[test]
    fn quorums_are_besus() {
        let quorums: Vec<usize> = [1, 2, 3, 4, 5, 6, 7, 10].iter().map(|&n| set(1..=n).quorum()).collect();
        assert_eq!(quorums, [1, 2, 2, 3, 4, 4, 5, 7]);
    }

    /// Two quorums share an honest member, and the honest ones alone make a quorum.
    #[test]
    fn quorums_intersect_in_an_honest_validator() {
        for n in 1..=200u8 {
            let (quorum, f) = (set(1..=n).quorum(), set(1..=n).f());
            assert!(usize::from(n) - f >= quorum, "n = {n}");
            assert!(2 * quorum > usize::from(n) + f, "n = {n}");
        }
    }

    #[test]
    fn the_turn_goes_round() {
        let validators = set([2, 4, 6]);
        let at = |previous: u8, round| validators.proposer(Address::with_last_byte(previous), round).unwrap()[19];
        assert_eq!([at(2, 0), at(4, 0), at(6, 0), at(2, 1), at(2, 5)], [4, 6, 2, 6, 2]);
        // The previous proposer left: the first above it, or the lowest.
        assert_eq!([at(3, 0), at(5, 0), at(7, 0), at(3, 1)], [4, 6, 2, 6]);
        // Block 1: the genesis coinbase is zero.
        assert_eq!([at(0, 0), at(0, 1), at(0, 3)], [2, 4, 2]);
        assert_eq!(ValidatorSet::default().proposer(Address::ZERO, 0), None);
    }
}
