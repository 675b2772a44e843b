//! Prices that follow from a header: the next base fee and the blob fields. Total functions: a header that a quorum sealed
//! may hold any numbers (Besu compares none of these at import), so nothing here wraps, panics or runs longer than a few
//! hundred steps.

use alloy_consensus::Header;
use alloy_eips::eip4844::DATA_GAS_PER_BLOB;
use alloy_eips::eip7840::BlobParams;
use alloy_primitives::U256;

use crate::fork::Fork;

/// The gas target is the limit divided by this (EIP-1559).
const ELASTICITY: u64 = 2;
/// The base fee moves by at most an eighth (EIP-1559).
const MAX_CHANGE: u128 = 8;

/// EIP-1559: base fee (wei) of the block after one with these values. Stays at the last value that fits 64 bits, beyond which
/// no header that this node reads can go.
pub fn next_market_base_fee(gas_used: u64, gas_limit: u64, base_fee: u64) -> u64 {
    let target = gas_limit / ELASTICITY;
    if target == 0 {
        return base_fee;
    }
    // Both factors are below 2^64, so the product fits 128 bits.
    let change = u128::from(base_fee) * u128::from(gas_used.abs_diff(target)) / u128::from(target) / MAX_CHANGE;
    let change = u64::try_from(change).unwrap_or(u64::MAX);
    match gas_used.cmp(&target) {
        std::cmp::Ordering::Equal => base_fee,
        std::cmp::Ordering::Greater => base_fee.saturating_add(change.max(1)),
        std::cmp::Ordering::Less => base_fee.saturating_sub(change),
    }
}

/// How blobs are counted and priced in a block (EIP-4844; EIP-7691 from Prague on; EIP-7594 and EIP-7918 from Osaka on; the
/// genesis's `blobSchedule`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobRules {
    /// Target, most and step of the price.
    pub params: BlobParams,
    /// False where the base fee is zero or fixed: there blobs cost nothing, whatever the excess (besu `FeeMarket`,
    /// `blobGasPricePerGas`).
    pub priced: bool,
}

impl BlobRules {
    /// The rules of a fork; Cancun's for the forks before it.
    pub fn of(fork: Fork, priced: bool) -> Self {
        let params = match fork {
            Fork::Osaka => BlobParams::osaka(),
            Fork::Prague => BlobParams::prague(),
            _ => BlobParams::cancun(),
        };
        Self { params, priced }
    }

    /// Wei per unit of blob gas at this excess, from 1 on; `u128::MAX` when it is more. Computed in 512 bits, which some dozens
    /// of terms fill whatever the excess: the EVM's own function wraps at 128 bits and then hardly ends.
    pub fn price(&self, excess_blob_gas: u64) -> u128 {
        if !self.priced {
            return 0;
        }
        self.params.calc_blob_fee(excess_blob_gas).max(self.params.min_blob_fee)
    }

    /// Wei per unit of blob gas in the block after `parent`, whatever that block's own header says (besu
    /// `AbstractBlockProcessor`, `ExcessBlobGasCalculator`).
    pub fn price_after(&self, parent: &Header) -> u128 {
        self.price(self.next_excess(parent))
    }

    /// `excessBlobGas` of the block after `parent`; absent fields of the parent count as 0, as in Besu.
    pub fn next_excess(&self, parent: &Header) -> u64 {
        let params = &self.params;
        let (excess, used) = (parent.excess_blob_gas.unwrap_or(0), parent.blob_gas_used.unwrap_or(0));
        let (sum, target) = (excess.saturating_add(used), params.target_blob_gas_per_block());
        if sum < target {
            return 0;
        }
        let reserve = U256::from(params.blob_base_cost) * U256::from(parent.base_fee_per_gas.unwrap_or(0));
        if reserve > U256::from(DATA_GAS_PER_BLOB) * U256::from(self.price(excess)) {
            let room = u128::from(params.max_blob_count.saturating_sub(params.target_blob_count));
            let scaled = u128::from(used) * room / u128::from(params.max_blob_count.max(1));
            excess.saturating_add(u64::try_from(scaled).unwrap_or(u64::MAX))
        } else {
            sum.saturating_sub(target)
        }
    }

    /// Blobs that one transaction may name (besu `OsakaTargetingGasLimitCalculator`: 6 from Osaka on, before as many as a
    /// block).
    pub fn most_in_transaction(&self) -> u64 {
        self.params.max_blobs_per_tx.min(self.params.max_blob_count)
    }

    /// Blobs that the transactions of one block may name.
    pub fn most_in_block(&self) -> u64 {
        self.params.max_blob_count
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn the_base_fee_moves_as_in_eip_1559() {
        let params = alloy_eips::eip1559::BaseFeeParams::ethereum();
        for (used, limit, fee) in [
            (0, 30_000_000, 1_000_000_000),
            (15_000_000, 30_000_000, 1_000_000_000),
            (30_000_000, 30_000_000, 1_000_000_000),
            (15_000_001, 30_000_000, 7),
            (14_999_999, 30_000_000, 7),
            (5_000, 5_000, 0),
            (1, u64::MAX, 1 << 40),
        ] {
            let expected = alloy_eips::eip1559::calc_next_block_base_fee(used, limit, fee, params);
            assert_eq!(next_market_base_fee(used, limit, fee), expected, "{used} of {limit} at {fee}");
        }
    }

    /// Whatever a sealed header holds, computing on it ends, at once and without a panic.
    #[test]
    fn no_header_value_breaks_or_delays_the_prices() {
        let began = Instant::now();
        let extremes = [0, 1, 7, 1 << 20, 393_216, 1 << 32, 1 << 44, 1 << 53, u64::MAX / 2, u64::MAX - 1, u64::MAX];
        for fork in [Fork::Cancun, Fork::Prague, Fork::Osaka] {
            for excess in extremes {
                let rules = BlobRules::of(fork, true);
                assert!(rules.price(excess) >= 1);
                assert_eq!(BlobRules::of(fork, false).price(excess), 0);
                for used in extremes {
                    for fee in extremes {
                        let parent = Header {
                            excess_blob_gas: Some(excess),
                            blob_gas_used: Some(used),
                            base_fee_per_gas: Some(fee),
                            ..Header::default()
                        };
                        let _ = rules.next_excess(&parent);
                        for limit in [0, 1, 2, 5_000, u64::MAX] {
                            let _ = next_market_base_fee(used, limit, fee);
                        }
                    }
                }
            }
        }
        assert_eq!(BlobRules::of(Fork::Osaka, true).price(u64::MAX), u128::MAX);
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    }

    #[test]
    fn blob_fields_are_those_of_the_eips() {
        for (fork, params) in
            [(Fork::Cancun, BlobParams::cancun()), (Fork::Prague, BlobParams::prague()), (Fork::Osaka, BlobParams::osaka())]
        {
            for (excess, used, fee) in [(0, 0, 0), (0, 1_179_648, 1 << 30), (5_000_000, 131_072, 7), (90_000_000, 786_432, 0)] {
                let parent = Header {
                    excess_blob_gas: Some(excess),
                    blob_gas_used: Some(used),
                    base_fee_per_gas: Some(fee),
                    ..Header::default()
                };
                let expected = params.next_block_excess_blob_gas_osaka(excess, used, fee);
                let rules = BlobRules::of(fork, true);
                assert_eq!(rules.next_excess(&parent), expected, "{fork} {excess} {used} {fee}");
            }
        }
        assert_eq!(BlobRules::of(Fork::Osaka, true).next_excess(&Header::default()), 0);
    }
}
