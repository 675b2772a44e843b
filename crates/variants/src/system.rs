//! Chains with contracts that the protocol itself calls, in the genesis and in `config`, one of both, or neither.

use alloy_primitives::{B256, Bytes, U256};
use ipe_chain::system::{BEACON_ROOTS_CONTRACT, HISTORY_CONTRACT, requests_hash};
use ipe_types::fork::Fork;

use crate::chain::{CONSOLIDATIONS, Chain, Fees, LOGGER, Plan, WITHDRAWALS, genesis};
use crate::draft::{Draft, rlp};
use crate::transactions::call;
use crate::{Scenario, Variant};

/// Writes its input into slot 0.
const KEEPER: &str = "60003560005500";

/// The chains.
pub fn all() -> Vec<Scenario> {
    let keeper = |address| format!(r#","{address}":{{"balance":"0x0","nonce":"0x1","code":"0x{KEEPER}"}}"#);
    let code = keeper(BEACON_ROOTS_CONTRACT) + &keeper(HISTORY_CONTRACT);
    let addresses = |withdrawals| {
        format!(
            r#","depositContractAddress":"{LOGGER}","withdrawalRequestContractAddress":"{withdrawals}","consolidationRequestContractAddress":"{CONSOLIDATIONS}""#
        )
    };
    let mut all = Vec::new();
    for fork in [Fork::Cancun, Fork::Prague, Fork::Osaka] {
        for (name, config, alloc) in [
            ("system contracts in alloc", String::new(), code.as_str()),
            ("system contracts in alloc and config", addresses(WITHDRAWALS), code.as_str()),
            ("system contracts in config", addresses(WITHDRAWALS), ""),
        ] {
            all.push(scenario(fork, name, &config, alloc));
        }
    }
    all.push(scenario(
        Fork::Osaka,
        "a request contract without code",
        &addresses(alloy_primitives::Address::repeat_byte(0xab)),
        "",
    ));
    all
}

fn scenario(fork: Fork, name: &str, config: &str, alloc: &str) -> Scenario {
    let with_rules = |rules: &str| {
        let config = format!(r#"{config},"ipe":{{"besuRules":"{rules}"}}"#);
        genesis(Plan { fork, fees: Fees::Zero, config: &config, qbft: "", alloc })
    };
    // Block 1 itself differs by the rules, so every variant is a block 1, and the chain has no good block before it.
    let mut variants = Vec::new();
    for rules in ["26.8.0", "25.5.0"] {
        let chain = Chain::at_genesis(with_rules(rules), Fees::Zero);
        let Some((block, _)) = chain.try_build(Vec::new()) else {
            // Nobody can make a block here: one without the contracts stands for all.
            let without = Chain::at_genesis(genesis(Plan { fork, fees: Fees::Zero, config: "", qbft: "", alloc }), Fees::Zero);
            let (block, _) = without.built(Vec::new());
            variants.push(Variant::new("block 1, its contracts not called".to_owned(), &Draft::of(&block)));
            break;
        };
        variants.push(Variant::new(format!("block 1, contracts called as by {rules}"), &Draft::of(&block)));
        let mut rooted = block.clone();
        rooted.header.parent_beacon_block_root = Some(B256::repeat_byte(0x22));
        variants.push(Variant::new(format!("block 1 as by {rules}, another beacon root"), &Draft::of(&rooted)));
        if rules == "26.8.0" && fork >= Fork::Prague {
            variants.extend(requests(&chain));
        }
    }
    Scenario { name: format!("{fork} {name}"), genesis: with_rules("26.8.0"), good: Vec::new(), variants, min_gas_price: 0 }
}

/// Requests that are missing, wrong, or cannot be read.
fn requests(chain: &Chain) -> Vec<Variant> {
    let mut all = Vec::new();
    let (block, _) = chain.built(Vec::new());
    for (name, hash) in [
        ("no requests", requests_hash([])),
        ("a withdrawal request", requests_hash([(1, &Bytes::from_static(&[1]))])),
        ("all ones", B256::repeat_byte(0xff)),
    ] {
        if block.header.requests_hash != Some(hash) {
            let mut changed = block.clone();
            changed.header.requests_hash = Some(hash);
            all.push(Variant::new(format!("requestsHash of {name}"), &Draft::of(&changed)));
        }
    }
    for (name, input) in deposits() {
        let transactions = vec![call(0, LOGGER, input)];
        let (mut block, taken) = chain.built(transactions.clone());
        if !taken {
            // As a builder would write it who ignores deposits.
            block.header.gas_used = 21_000;
        }
        let items = transactions.iter().map(rlp).collect();
        let draft = Draft::of(&block);
        all.push(Variant::new(format!("deposit {name}"), &if taken { draft } else { draft.with_transactions(items) }));
    }
    all
}

/// Data of deposit logs: the one good layout, and one that differs in each part of it.
fn deposits() -> Vec<(String, Bytes)> {
    let fields = [(160usize, 48usize), (256, 32), (320, 8), (384, 96), (512, 8)];
    let mut good = vec![0u8; 576];
    for (index, (at, length)) in fields.into_iter().enumerate() {
        good[index * 32..(index + 1) * 32].copy_from_slice(&U256::from(at).to_be_bytes::<32>());
        good[at..at + 32].copy_from_slice(&U256::from(length).to_be_bytes::<32>());
        good[at + 32..at + 32 + length].fill(index as u8 + 1);
    }
    let mut all = vec![("good".to_owned(), Bytes::from(good.clone()))];
    all.push(("empty".to_owned(), Bytes::new()));
    all.push(("a byte short".to_owned(), good[..575].to_vec().into()));
    all.push(("a byte long".to_owned(), [&good[..], &[0]].concat().into()));
    for (index, (at, _)) in fields.into_iter().enumerate() {
        for (what, place) in [("offset", index * 32 + 31), ("length", at + 31)] {
            let mut bad = good.clone();
            bad[place] ^= 1;
            all.push((format!("with another {what} of field {index}"), bad.into()));
        }
    }
    let mut padded = good;
    padded[575] = 1;
    all.push(("with bytes where it is filled up".to_owned(), padded.into()));
    all
}
