//! Genesis of the networks: one file that every client reads, made as `ipe genesis build` makes it.

use crate::network::key;
use crate::traffic;
use alloy_primitives::U256;
use ipe_types::Dialect;
use ipe_types::fork::Fork;
use ipe_types::genesis::{GenesisAccount, GenesisBuilder};
use serde_json::Value;

/// Validators in the genesis.
pub const VALIDATORS: usize = 4;

/// Votes are forgotten at every multiple of this height; short enough that a run passes several.
pub const EPOCH: u64 = 40;

/// Where GoQuorum's builder moves down from by itself, in steps that Besu accepts.
const HIGH_GAS_LIMIT: u64 = 800_000_000;

/// From here GoQuorum's builder goes to 700 million in one step, which only GoQuorum's chains allow.
const LOW_GAS_LIMIT: u64 = 30_000_000;

/// A block a second, rounds of two seconds, no price for gas. Berlin where the dialect is an older one, everything up to
/// Osaka where it is the newer. `with_besu`: whether Besu reads it.
pub fn genesis(dialect: Dialect, with_besu: bool) -> Result<Value, String> {
    let validators = (0..VALIDATORS).map(|index| Ok(key(index)?.address())).collect::<Result<_, String>>()?;
    let mut builder = GenesisBuilder {
        fork: if dialect == Dialect::Besu26 { Fork::Osaka } else { Fork::Berlin },
        validators,
        epoch_length: EPOCH,
        gas_limit: if dialect == Dialect::GoQuorum && with_besu { HIGH_GAS_LIMIT } else { LOW_GAS_LIMIT },
        goquorum: dialect == Dialect::GoQuorum,
        ..GenesisBuilder::default()
    };
    for index in 0..traffic::COUNT {
        let account = GenesisAccount { balance: U256::from(10).pow(U256::from(24)), ..GenesisAccount::default() };
        builder.alloc.insert(traffic::account(index)?.address(), account);
    }
    let text = builder.to_json().map_err(|error| error.to_string())?;
    serde_json::from_str(&text).map_err(|error| error.to_string())
}
