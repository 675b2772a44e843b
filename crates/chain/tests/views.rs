//! Views of the past: blocks executed again give what was stored, simulations change nothing, logs are found by index as by
//! reading everything.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::collections::BTreeSet;

use alloy_consensus::TxReceipt;
use alloy_primitives::{Address, B256, TxKind, U256};
use ipe_chain::receipts::gas_used;
use ipe_chain::view::ReplayError;
use ipe_chain::{AccountOverride, Ledger, LogFilter, LogLimits, LogsError, Overrides, Relax, call};
use revm::context::TxEnv;
use revm::database_interface::DatabaseRef;
use revm::inspector::NoOpInspector;
use support::{chain, chains, fixtures};

#[test]
fn blocks_executed_again_use_the_same_gas_and_emit_the_same_logs() -> Result<(), ReplayError> {
    for chain in chains() {
        let (_, ledger) = chain.ledger();
        chain.import(&ledger, usize::MAX).unwrap();
        for number in 1..=ledger.head().number {
            let mut replay = ledger.replay(number)?.unwrap();
            let stored = replay.stored().clone();
            for (index, gas) in gas_used(&stored.receipts).into_iter().enumerate() {
                let at = format!("{} block {number} transaction {index}", chain.name);
                assert_eq!(replay.position(), index);
                let simulated = replay.step(NoOpInspector)?.unwrap();
                assert_eq!(simulated.result.tx_gas_used(), gas, "{at}");
                if simulated.result.is_success() {
                    assert_eq!(simulated.result.logs(), stored.receipts[index].logs(), "{at}");
                }
                let sender = simulated.state.get(&stored.senders[index]).unwrap().info.clone();
                assert_eq!(replay.db().basic_ref(stored.senders[index]).unwrap().unwrap().nonce, sender.nonce, "{at}");
            }
            assert!(replay.step(NoOpInspector)?.is_none());
        }
        assert!(ledger.replay(0)?.is_none() && ledger.replay(ledger.head().number + 1)?.is_none());
    }
    Ok(())
}

fn brute(ledger: &Ledger, filter: &LogFilter) -> Vec<(u64, usize)> {
    let mut found = Vec::new();
    for number in filter.from..=filter.to.min(ledger.head().number) {
        let stored = ledger.stored(number).unwrap().unwrap();
        for (index, log) in stored.receipts.iter().flat_map(TxReceipt::logs).enumerate() {
            if filter.matches(log) {
                found.push((number, index));
            }
        }
    }
    found
}

#[test]
fn logs_are_found_as_by_reading_everything() {
    let mut compared = 0;
    for chain in chains() {
        let (_, ledger) = chain.ledger();
        chain.import(&ledger, usize::MAX).unwrap();
        let (mut addresses, mut topics) = (BTreeSet::new(), [const { BTreeSet::new() }; 4]);
        for number in 0..=ledger.head().number {
            let receipts = ledger.receipts(number).unwrap().unwrap();
            for log in receipts.iter().flat_map(TxReceipt::logs) {
                addresses.insert(log.address);
                for (position, topic) in log.topics().iter().enumerate() {
                    topics[position].insert(*topic);
                }
            }
        }
        let whole = LogFilter { from: 0, to: u64::MAX, ..LogFilter::default() };
        let mut filters = vec![whole.clone(), LogFilter { from: 20, to: 30, ..whole.clone() }];
        for address in addresses.iter().chain([&Address::repeat_byte(9)]) {
            filters.push(LogFilter { addresses: [*address].into(), ..whole.clone() });
            filters.push(LogFilter { addresses: [*address].into(), from: 10, to: 40, ..whole.clone() });
        }
        for (position, values) in topics.iter().enumerate() {
            for topic in values.iter().take(5).chain([&B256::repeat_byte(9)]) {
                let mut filter = whole.clone();
                filter.topics[position] = [*topic, B256::repeat_byte(7)].into();
                filters.push(filter.clone());
                filter.addresses = addresses.iter().copied().collect();
                filters.push(filter);
            }
        }
        for filter in filters {
            let found = ledger.logs(&filter, LogLimits::default()).unwrap();
            let found: Vec<(u64, usize)> = found.iter().map(|entry| (entry.block_number, entry.log_index)).collect();
            assert_eq!(found, brute(&ledger, &filter), "{} {filter:?}", chain.name);
            compared += found.len();
        }
        let tight = LogLimits { headers: 5, ..LogLimits::default() };
        assert!(matches!(ledger.logs(&whole, tight), Err(LogsError::TooMuch { what: "blocks", .. })));
    }
    assert!(compared > 800, "only {compared} logs compared");
}

#[test]
fn simulations_take_overrides_and_change_nothing() {
    let chain = chain(&fixtures().join("besu-25.5.0-header-votes"));
    let (_, ledger) = chain.ledger();
    chain.import(&ledger, usize::MAX).unwrap();
    let head = ledger.head();
    let view = ledger.view(head.number).unwrap().unwrap();
    let (from, to) = (Address::repeat_byte(0xaa), Address::repeat_byte(0xbb));
    let mut env = ledger.env(view.header());
    Relax::call().apply(&mut env);
    let tx = || TxEnv {
        caller: from,
        gas_limit: 100_000,
        kind: TxKind::Call(to),
        value: U256::from(5),
        chain_id: None,
        ..TxEnv::default()
    };
    assert!(call(&mut view.with(&Overrides::new()).unwrap(), &env, tx()).is_err(), "nothing to send");

    let mut overrides = Overrides::new();
    overrides.insert(from, AccountOverride { balance: Some(U256::from(7)), ..AccountOverride::default() });
    // Returns slot 1 and the hash of the parent block.
    let code = "60015460005260014303406020526040600060f3";
    let code = code.replace("6040600060f3", "60406000f3");
    overrides.insert(
        to,
        AccountOverride {
            code: Some(alloy_primitives::hex::decode(code).unwrap().into()),
            slots: [(U256::from(1), U256::from(42))].into(),
            ..AccountOverride::default()
        },
    );
    let mut db = view.with(&overrides).unwrap();
    let simulated = call(&mut db, &env, tx()).unwrap();
    let output = simulated.result.output().unwrap();
    assert_eq!(U256::from_be_slice(&output[..32]), U256::from(42));
    assert_eq!(B256::from_slice(&output[32..]), head.header.parent_hash);
    assert_eq!(simulated.state[&to].info.balance, U256::from(5));
    assert!(ledger.view(head.number).unwrap().unwrap().basic_ref(to).unwrap().is_none());
    assert!(ledger.view(head.number + 1).unwrap().is_none());
}
