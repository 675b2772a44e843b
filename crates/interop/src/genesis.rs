//! Genesis of the networks: one file that every client reads, with the keys of each.

use crate::network::key;
use crate::traffic;
use alloy_primitives::Address;
use ipe_types::extra::ExtraData;
use ipe_types::Dialect;
use serde_json::{Map, Value, json};

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
    let mut validators = Vec::new();
    for index in 0..VALIDATORS {
        validators.push(key(index)?.address());
    }
    let mut alloc = Map::new();
    for index in 0..traffic::COUNT {
        let address: Address = traffic::account(index)?.address();
        alloc.insert(hex::encode(address), json!({ "balance": "0xd3c21bcecceda1000000" }));
    }
    let mut config = json!({
        "chainId": 1337,
        "homesteadBlock": 0, "eip150Block": 0, "eip155Block": 0, "eip158Block": 0, "byzantiumBlock": 0,
        "constantinopleBlock": 0, "petersburgBlock": 0, "istanbulBlock": 0, "berlinBlock": 0,
        "qbft": { "epochlength": EPOCH, "blockperiodseconds": 1, "requesttimeoutseconds": 2 },
    });
    if dialect == Dialect::GoQuorum {
        config["isQuorum"] = true.into();
        config["qbft"]["policy"] = 0.into();
        config["qbft"]["ceil2Nby3Block"] = 0.into();
    }
    let gas_limit = if dialect == Dialect::GoQuorum && with_besu { HIGH_GAS_LIMIT } else { LOW_GAS_LIMIT };
    if dialect == Dialect::Besu26 {
        for (name, value) in [("londonBlock", 0), ("shanghaiTime", 0), ("cancunTime", 0), ("pragueTime", 0), ("osakaTime", 0)] {
            config[name] = value.into();
        }
        config["zeroBaseFee"] = true.into();
    }
    Ok(json!({
        "config": config,
        "nonce": "0x0",
        "timestamp": "0x58ee40ba",
        "gasLimit": format!("{gas_limit:#x}"),
        "difficulty": "0x1",
        "mixHash": "0x63746963616c2062797a616e74696e65206661756c7420746f6c6572616e6365",
        "coinbase": "0x0000000000000000000000000000000000000000",
        "extraData": format!("0x{}", hex::encode(ExtraData::genesis(validators).encode())),
        "alloc": alloc,
    }))
}
