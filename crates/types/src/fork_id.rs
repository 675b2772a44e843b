//! Fork identifier of a chain (EIP-2124, EIP-6122), sent in the eth Status and in node records.

use crate::fork::ForkSchedule;
use alloy_primitives::B256;
use alloy_rlp::{RlpDecodable, RlpEncodable};

/// `[hash, next]`: CRC-32 over the genesis hash and the passed forks, and the next fork's block or time (0 if none).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, RlpEncodable, RlpDecodable)]
pub struct ForkId {
    /// CRC-32 (IEEE), big-endian.
    pub hash: [u8; 4],
    /// Block number or unix seconds of the next fork, 0 when none is known.
    pub next: u64,
}

/// The fork points of a chain with their cumulative hashes; made once per chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForkIds {
    /// Passed-forks hash before any fork, then after each.
    hashes: Vec<[u8; 4]>,
    /// Block forks first, then time forks; same order as `hashes[1..]`.
    forks: Vec<u64>,
    /// How many of `forks` are block numbers.
    by_block: usize,
}

impl ForkIds {
    /// From the genesis hash, its timestamp (seconds) and the defined forks. QBFT transitions never count.
    pub fn new(genesis_hash: B256, genesis_timestamp: u64, forks: &ForkSchedule) -> ForkIds {
        let mut all = forks.block_numbers();
        let by_block = all.len();
        all.extend(forks.timestamps_after(genesis_timestamp));
        let mut crc = crc32fast::Hasher::new();
        crc.update(genesis_hash.as_slice());
        let mut hashes = vec![crc.clone().finalize().to_be_bytes()];
        for fork in &all {
            crc.update(&fork.to_be_bytes());
            hashes.push(crc.clone().finalize().to_be_bytes());
        }
        ForkIds { hashes, forks: all, by_block }
    }

    /// The id that a node announces whose head has this number and timestamp (seconds).
    pub fn at(&self, number: u64, timestamp: u64) -> ForkId {
        let passed = self.passed(number, timestamp);
        ForkId { hash: self.hashes[passed], next: self.forks.get(passed).copied().unwrap_or(0) }
    }

    /// Whether a peer that announced `remote` can be on our chain (EIP-2124 validation rules). With every fork at
    /// block 0, the usual private set-up, everything passes as in Besu: genesis hash and chain id decide there.
    pub fn accepts(&self, number: u64, timestamp: u64, remote: ForkId) -> bool {
        if self.forks.is_empty() {
            return true;
        }
        let passed = self.passed(number, timestamp);
        if remote.hash == self.hashes[passed] {
            // Same state: the remote must not announce a next fork that we have passed without knowing it.
            let head = if passed < self.by_block { number } else { timestamp };
            return remote.next == 0 || remote.next > head;
        }
        // The remote is behind: its next fork must be the one that we know follows.
        if let Some(at) = self.hashes[..passed].iter().position(|hash| *hash == remote.hash) {
            return self.forks[at] == remote.next;
        }
        // The remote is ahead of us on our own line.
        self.hashes[passed + 1..].contains(&remote.hash)
    }

    fn passed(&self, number: u64, timestamp: u64) -> usize {
        self.forks
            .iter()
            .enumerate()
            .take_while(|(at, fork)| if *at < self.by_block { number >= **fork } else { timestamp >= **fork })
            .count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fork::{Activation, Fork, ForkPoint};

    /// Mainnet vectors of EIP-2124.
    fn mainnet() -> ForkIds {
        let hash: B256 = "0xd4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3".parse().expect("hash");
        let points = [
            ("homesteadBlock", Fork::Homestead, 1_150_000),
            ("daoForkBlock", Fork::Homestead, 1_920_000),
            ("eip150Block", Fork::Tangerine, 2_463_000),
            ("eip158Block", Fork::SpuriousDragon, 2_675_000),
            ("byzantiumBlock", Fork::Byzantium, 4_370_000),
            ("constantinopleBlock", Fork::Constantinople, 7_280_000),
            ("petersburgBlock", Fork::Petersburg, 7_280_000),
        ]
        .map(|(key, fork, at)| ForkPoint { key, fork, at: Activation::Block(at) });
        ForkIds::new(hash, 0, &ForkSchedule::new(points.to_vec()).expect("ordered"))
    }

    #[test]
    fn mainnet_vectors() {
        let ids = mainnet();
        for (number, hash, next) in [
            (0, 0xfc64ec04_u32, 1_150_000),
            (1_149_999, 0xfc64ec04, 1_150_000),
            (1_150_000, 0x97c2c34c, 1_920_000),
            (1_920_000, 0x91d1f948, 2_463_000),
            (2_463_000, 0x7a64da13, 2_675_000),
            (2_675_000, 0x3edd5b10, 4_370_000),
            (4_370_000, 0xa00bc324, 7_280_000),
            (7_280_000, 0x668db0af, 0),
        ] {
            assert_eq!(ids.at(number, 0), ForkId { hash: hash.to_be_bytes(), next }, "at {number}");
        }
    }

    #[test]
    fn mainnet_validation_vectors() {
        let ids = mainnet();
        let id = |hash: u32, next| ForkId { hash: hash.to_be_bytes(), next };
        assert!(ids.accepts(7_987_396, 0, id(0x668db0af, 0)));
        assert!(ids.accepts(7_987_396, 0, id(0x668db0af, u64::MAX)));
        assert!(ids.accepts(7_279_999, 0, id(0xa00bc324, 0)));
        assert!(ids.accepts(7_279_999, 0, id(0xa00bc324, 7_280_000)));
        assert!(ids.accepts(7_987_396, 0, id(0xa00bc324, 7_280_000)));
        assert!(ids.accepts(7_987_396, 0, id(0x3edd5b10, 4_370_000)));
        assert!(ids.accepts(7_279_999, 0, id(0x668db0af, 0)));
        assert!(!ids.accepts(7_987_396, 0, id(0x3edd5b10, 0)));
        assert!(!ids.accepts(7_987_396, 0, id(0x5cddc0e1, 0)));
        assert!(!ids.accepts(7_987_396, 0, id(0xafec6b27, 0)));
    }
}
