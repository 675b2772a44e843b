//! Genesis of the networks: one file that every client reads, made as `ipe genesis build` makes it.

use crate::network::key;
use crate::traffic;
use alloy_primitives::{Address, B256, U256};
use ipe_types::Dialect;
use ipe_types::extra::ExtraData;
use ipe_types::fork::Fork;
use ipe_types::genesis::{GenesisAccount, GenesisBuilder};
use ipe_types::header::BFT_MIX_HASH;
use serde_json::{Value, json};

/// Validators in the genesis.
pub const VALIDATORS: usize = 4;

/// Votes are forgotten at every multiple of this height; short enough that a run passes several.
pub const EPOCH: u64 = 40;

/// Where GoQuorum's builder moves down from by itself, in steps that Besu accepts.
const HIGH_GAS_LIMIT: u64 = 800_000_000;

/// From here GoQuorum's builder goes to 700 million in one step, which only GoQuorum's chains allow.
const LOW_GAS_LIMIT: u64 = 30_000_000;

/// Seconds between empty blocks where they are rare.
pub const QUIET_S: u64 = 8;

/// What all networks have: four validators, a block a second, rounds of two seconds, rich accounts.
pub fn builder() -> Result<GenesisBuilder, String> {
    let validators = (0..VALIDATORS).map(|index| Ok(key(index)?.address())).collect::<Result<_, String>>()?;
    let mut builder = GenesisBuilder { validators, epoch_length: EPOCH, gas_limit: LOW_GAS_LIMIT, ..GenesisBuilder::default() };
    for index in 0..traffic::COUNT {
        let account = GenesisAccount { balance: U256::from(10).pow(U256::from(24)), ..GenesisAccount::default() };
        builder.alloc.insert(traffic::account(index)?.address(), account);
    }
    Ok(builder)
}

/// A block a second, rounds of two seconds, no price for gas. Berlin where the dialect is an older one, everything up to
/// Osaka where it is the newer. `with_besu`: whether Besu reads it.
pub fn genesis(dialect: Dialect, with_besu: bool) -> Result<Value, String> {
    made(builder()?, dialect, with_besu)
}

fn made(mut builder: GenesisBuilder, dialect: Dialect, with_besu: bool) -> Result<Value, String> {
    builder.fork = if dialect == Dialect::Besu26 { Fork::Osaka } else { Fork::Berlin };
    builder.goquorum = dialect == Dialect::GoQuorum;
    if builder.goquorum && with_besu {
        builder.gas_limit = HIGH_GAS_LIMIT;
    }
    let text = builder.to_json().map_err(|error| error.to_string())?;
    serde_json::from_str(&text).map_err(|error| error.to_string())
}

/// As [`genesis`], with an empty block only every [`QUIET_S`] seconds.
pub fn quiet(dialect: Dialect) -> Result<Value, String> {
    made(GenesisBuilder { empty_period_s: QUIET_S, ..builder()? }, dialect, true)
}

/// A genesis in the form of GoQuorum's quickstart: forks at 0 but Berlin, which is far away, a London that GoQuorum does not
/// know, code and transactions of up to 64 KiB, a low gas limit, and longer periods for empty blocks.
pub fn quickstart() -> Result<Value, String> {
    let validators = (0..VALIDATORS).map(|index| Ok(key(index)?.address())).collect::<Result<_, String>>()?;
    let zero = B256::ZERO;
    let mut alloc = serde_json::Map::new();
    for index in 0..traffic::COUNT {
        alloc.insert(traffic::account(index)?.address().to_string(), json!({ "balance": "1000000000000000000000000000" }));
    }
    Ok(json!({
        "nonce": "0x0",
        "timestamp": "0x58ee40ba",
        "extraData": ExtraData::genesis(validators).encode(),
        "gasLimit": "0xFFFFFF",
        "gasUsed": "0x0",
        "number": "0x0",
        "difficulty": "0x1",
        "coinbase": Address::ZERO,
        "mixHash": BFT_MIX_HASH,
        "parentHash": zero,
        "config": {
            "chainId": 1337,
            "homesteadBlock": 0,
            "eip150Block": 0,
            "eip150Hash": zero,
            "eip155Block": 0,
            "eip158Block": 0,
            "byzantiumBlock": 0,
            "constantinopleBlock": 0,
            "petersburgBlock": 0,
            "istanbulBlock": 0,
            "muirglacierblock": 0,
            "berlinBlock": 10_000_000,
            "londonBlock": 0,
            "isQuorum": true,
            "maxCodeSizeConfig": [{ "block": 0, "size": 64 }],
            "txnSizeLimit": 64,
            "qbft": {
                "policy": 0,
                "epoch": EPOCH,
                "ceil2Nby3Block": 0,
                "testQBFTBlock": 0,
                "blockperiodseconds": 1,
                "emptyblockperiodseconds": 3,
                "requesttimeoutseconds": 4,
            },
        },
        "alloc": alloc,
    }))
}
