//! Every chain that a real client recorded imports to the recorded hashes, state roots, raw headers and raw receipts, and
//! the builder, given the same transactions, makes the same blocks.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::sync::Arc;

use ipe_chain::receipts::network_bytes;
use ipe_chain::{Bound, BuildOrder, Candidate, Feedback, Ledger, RawBlock, Terms};
use ipe_types::extra::ExtraData;
use support::{Chain, chains};

/// Fewer than this means that folders went missing.
const CHAINS: usize = 15;

#[test]
fn every_recorded_chain_imports_to_the_recorded_bytes() {
    let chains = chains();
    assert!(chains.len() >= CHAINS, "only {} recorded chains found", chains.len());
    let mut failures = Vec::new();
    for chain in &chains {
        let (store, ledger) = chain.ledger();
        if let Err(error) = chain.import(&ledger, usize::MAX) {
            failures.push(format!("{}: {error}", chain.name));
            continue;
        }
        failures.extend(differences(chain, &ledger));
        let head = ledger.head();
        drop(ledger);
        let again = Ledger::open(store, Arc::clone(&chain.spec)).unwrap();
        assert_eq!(again.head().hash, head.hash, "{}: reopened", chain.name);
        assert_eq!(again.head().votes, head.votes, "{}: reopened", chain.name);
        failures.extend(differences(chain, &again));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn differences(chain: &Chain, ledger: &Ledger) -> Vec<String> {
    let mut found = Vec::new();
    for recorded in &chain.recorded {
        let number = recorded.number;
        let mut differ = |what: &str| found.push(format!("{} block {number}: {what} differs", chain.name));
        let Some(header) = ledger.header(number).unwrap() else {
            if number as usize <= chain.blocks.len() {
                differ("presence");
            }
            continue;
        };
        if ledger.hash_of(number).unwrap() != Some(recorded.hash) {
            differ("hash");
        }
        if ledger.number_of(&recorded.hash).unwrap() != Some(number) {
            differ("number by hash");
        }
        if header.state_root != recorded.state_root {
            differ("state root");
        }
        if recorded.header.as_deref().is_some_and(|raw| raw.as_ref() != ledger.raw_header(number).unwrap().unwrap()) {
            differ("raw header");
        }
        if let Some(raw) = &recorded.receipts {
            let ours: Vec<_> = ledger.receipts(number).unwrap().unwrap().iter().map(network_bytes).collect();
            if ours != *raw {
                differ("raw receipts");
            }
        }
        if number > 0 {
            let block = ledger.block(number).unwrap().unwrap();
            if block.to_rlp() != chain.blocks[number as usize - 1] {
                differ("block bytes");
            }
            let stored = ledger.stored(number).unwrap().unwrap();
            for (index, tx) in block.body.transactions.iter().enumerate() {
                let found = ledger.transaction(tx.tx_hash()).unwrap();
                if found.is_none_or(|found| found.index != index || found.sender() != stored.senders[index]) {
                    differ("transaction by hash");
                }
            }
        }
    }
    found
}

#[test]
fn the_builder_makes_the_recorded_blocks() {
    for chain in chains() {
        let (_, ledger) = chain.ledger();
        for raw in &chain.blocks {
            let sealed = Arc::new(RawBlock(raw.clone()).decode().unwrap());
            let header = &sealed.header;
            let extra = ExtraData::decode(&header.extra_data).unwrap();
            let order = BuildOrder {
                timestamp: header.timestamp,
                coinbase: header.beneficiary,
                round: extra.round,
                vanity: extra.vanity.clone(),
                vote: extra.vote,
                min_gas_price: 0,
                target_gas_limit: Some(header.gas_limit),
            };
            let mut candidates = sealed.body.transactions.iter().map(|tx| Arc::new(Candidate::recover(tx.clone()).unwrap()));
            let mut next = |feedback| {
                assert!(matches!(feedback, Feedback::Start | Feedback::Included { .. }), "{feedback:?}");
                candidates.next()
            };
            let built = ledger.build(&order, &mut next, Bound::NONE).unwrap();
            let at = format!("{} block {}", chain.name, header.number);
            assert_eq!(built.block().header.state_root, header.state_root, "{at}");
            assert_eq!(built.block().header.base_fee_per_gas, header.base_fee_per_gas, "{at}");
            assert_eq!(Some(built.hash()), sealed.hash().ok(), "{at}");
            let checked = ledger.check_proposal(Arc::clone(built.block()), support::NOW_MS, &|_| None, Terms::NONE).unwrap();
            ledger.import(checked, Arc::clone(&sealed)).unwrap_or_else(|error| panic!("{at}: {error}"));
        }
    }
}

#[test]
fn votes_after_any_block_are_those_that_the_import_saw() {
    for chain in chains() {
        let (_, ledger) = chain.ledger();
        let mut seen = vec![Arc::clone(&ledger.head().votes)];
        for raw in &chain.blocks {
            let block = Arc::new(RawBlock(raw.clone()).decode().unwrap());
            let checked = ledger.check_sealed(Arc::clone(&block), support::NOW_MS, &|_| None).unwrap();
            ledger.import(checked, block).unwrap();
            seen.push(Arc::clone(&ledger.head().votes));
        }
        for (number, votes) in seen.iter().enumerate() {
            assert_eq!(ledger.votes_after(number as u64).unwrap().as_ref(), Some(votes), "{} {number}", chain.name);
        }
    }
}
