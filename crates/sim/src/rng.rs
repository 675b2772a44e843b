//! The one source of chance in a run: ChaCha8 from the seed, an algorithm that no release of a library changes.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// A stream of numbers that a seed determines.
#[derive(Clone, Debug)]
pub struct Rng(ChaCha8Rng);

impl Rng {
    /// The stream of `seed` that has this name: what one part of the world draws does not shift what another gets.
    pub fn new(seed: u64, name: &str) -> Self {
        let mut bytes = seed.to_be_bytes().to_vec();
        bytes.extend_from_slice(name.as_bytes());
        Self(ChaCha8Rng::from_seed(alloy_primitives::keccak256(bytes).0))
    }

    /// Any number.
    pub fn next(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Below `end`; 0 when `end` is 0. The bias of the remainder is below 2⁻³² for what is drawn here.
    pub fn below(&mut self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.next() % end }
    }

    /// From `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// True in so many of a thousand cases.
    pub fn chance(&mut self, per_mille: u32) -> bool {
        per_mille > 0 && self.below(1_000) < u64::from(per_mille)
    }

    /// One of `items`.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        let index = self.below(items.len() as u64) as usize;
        items.get(index)
    }
}

#[cfg(test)]
mod tests {
    use super::Rng;

    /// A library that changed its algorithm would change every hash that was ever reported.
    #[test]
    fn the_stream_of_a_seed_is_fixed() {
        let mut rng = Rng::new(1, "network");
        let first: Vec<u64> = (0..3).map(|_| rng.next()).collect();
        assert_eq!(first, PINNED);
        assert_ne!(Rng::new(1, "disk").next(), first[0]);
        assert_ne!(Rng::new(2, "network").next(), first[0]);
    }

    const PINNED: [u64; 3] = [16_202_920_087_551_592_029, 18_174_655_421_117_684_544, 8_137_674_587_342_575_734];
}
