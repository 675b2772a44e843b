//! What precompiled contracts cost in time: the worst of each, measured (docs/costs.md; `cargo bench -p ipe-chain --bench costs`).

use alloy_primitives::Address;

/// Gas that a precompiled contract gets whatever time is left, as long as there is some: calls that cost less are over before
/// the clock would say anything.
const LEAST_GAS: u64 = 10_000;

/// Longest time of a precompiled contract per gas that it charges, picoseconds, for inputs that cost 1,000 gas or more.
pub(crate) fn picoseconds_a_gas(contract: &Address) -> u64 {
    match number(contract) {
        // Recovery of a secp256k1 key.
        1 => 20_000,
        // SHA-256.
        2 => 6_000,
        // RIPEMD-160.
        3 => 3_000,
        // Copy.
        4 => 2_000,
        // MODEXP: small odd moduli squared often.
        5 => 60_000,
        // alt_bn128: addition, multiplication, pairing.
        6 => 35_000,
        7 => 20_000,
        8 => 20_000,
        // BLAKE2F: gas is rounds.
        9 => 16_000,
        // KZG point evaluation.
        10 => 20_000,
        // BLS12-381: G1 addition, multiplications, G2 addition, multiplications, pairing, maps.
        11 => 25_000,
        12 => 30_000,
        13 => 25_000,
        14 => 50_000,
        15 => 25_000,
        16 => 25_000,
        17 => 20_000,
        // P-256 verification.
        256 => 15_000,
        _ => 60_000,
    }
}

/// Gas of a precompiled contract that fits into the time left, µs, at this rate, picoseconds a gas.
pub(crate) fn gas_within(left_us: u64, rate: u64) -> u64 {
    left_us.saturating_mul(1_000_000).checked_div(rate).unwrap_or(u64::MAX).max(LEAST_GAS)
}

fn number(contract: &Address) -> u64 {
    let (zeros, low) = contract.split_at(12);
    if zeros.iter().any(|byte| *byte != 0) {
        return u64::MAX;
    }
    low.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}
