//! The builder's answers to its caller, and that nothing is executed twice.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/order.rs"]
mod order;
mod support;

use std::collections::VecDeque;
use std::sync::Arc;

use alloy_consensus::{SignableTransaction, TxLegacy};
use alloy_primitives::{Address, Bytes, Signature, TxKind, U256};
use ipe_chain::kv::MemoryStore;
use ipe_chain::{Bound, BuildOrder, Candidate, CheckedBlock, Feedback, InvalidBlock, Ledger, LedgerError, Terms};
use ipe_types::block::{Block, Transaction};
use ipe_types::extra::ExtraData;
use ipe_types::header::with_round_and_seals;
use ipe_types::spec::ChainSpec;
use order::{key, seal};

const NOW: u64 = 1_700_000_000;

fn ledger() -> Ledger {
    let mut validators: Vec<Address> = (1..=4).map(|n| key(n).address()).collect();
    validators.sort();
    let extra = ExtraData::genesis(validators).encode();
    let funded = key(9).address();
    let genesis = format!(
        r#"{{"config":{{"chainId":5,"berlinBlock":0,"qbft":{{"blockperiodseconds":1}}}},"gasLimit":"0x186a0","difficulty":"0x1",
        "timestamp":"{}","extraData":"{extra}","alloc":{{"{funded}":{{"balance":"1000"}}}}}}"#,
        NOW - 10
    );
    Ledger::open(Arc::new(MemoryStore::new()), Arc::new(ChainSpec::parse(&genesis).unwrap())).unwrap()
}

fn payment(from: u8, nonce: u64, value: u64, gas_limit: u64) -> Arc<Candidate> {
    let tx = TxLegacy {
        chain_id: Some(5),
        nonce,
        gas_price: 0,
        gas_limit,
        to: TxKind::Call(Address::repeat_byte(0xcc)),
        value: U256::from(value),
        input: Bytes::new(),
    };
    let signed = key(from).sign(tx.signature_hash());
    let bytes = signed.as_slice();
    let signature = Signature::new(U256::from_be_slice(&bytes[..32]), U256::from_be_slice(&bytes[32..64]), bytes[64] == 1);
    Arc::new(Candidate::recover(Transaction::from(tx.into_signed(signature))).unwrap())
}

fn order(ledger: &Ledger) -> BuildOrder {
    order::next(&ledger.head())
}

fn build(ledger: &Ledger, candidates: Vec<Arc<Candidate>>) -> (CheckedBlock, Vec<Feedback>) {
    let (mut queue, mut told) = (VecDeque::from(candidates), Vec::new());
    let mut next = |feedback| {
        told.push(feedback);
        queue.pop_front()
    };
    let built = ledger.build(&order(ledger), &mut next, Bound::NONE).unwrap();
    (built, told)
}

#[test]
fn every_candidate_gets_its_answer() {
    let ledger = ledger();
    let (built, told) = build(
        &ledger,
        vec![
            payment(9, 1, 1, 21_000),
            payment(9, 0, 1, 21_000),
            payment(9, 0, 2, 21_000),
            payment(9, 1, 10_000, 21_000),
            payment(9, 1, 5, 90_000),
            payment(9, 1, 5, 20_000),
            payment(9, 1, 5, 50_000),
        ],
    );
    assert_eq!(told[0], Feedback::Start);
    assert_eq!(told[1], Feedback::NonceTooHigh { expected: 0 });
    assert_eq!(told[2], Feedback::Included { gas_used: 21_000 });
    assert_eq!(told[3], Feedback::NonceTooLow { expected: 1 });
    assert!(matches!(&told[4], Feedback::Refused { reason } if reason.contains("fund")), "{:?}", told[4]);
    assert_eq!(told[5], Feedback::DoesNotFit { gas_left: 79_000 });
    assert!(matches!(&told[6], Feedback::Refused { .. }));
    assert_eq!(told[7], Feedback::Included { gas_used: 21_000 });
    assert_eq!(built.block().body.transactions.len(), 2);
    assert_eq!(built.block().header.gas_used, 42_000);
    // The block as built passes the check of anybody else.
    let other = self::ledger();
    other.check_proposal(Arc::clone(built.block()), NOW * 1000, &|_| None, Terms::NONE).unwrap();
}

#[test]
fn the_builder_stops_when_told() {
    let ledger = ledger();
    let asked = std::cell::Cell::new(0);
    let left_us = || {
        asked.set(asked.get() + 1);
        // Before the first transaction and when it begins; the second is not begun.
        u64::from(asked.get() <= 2)
    };
    let mut nonce = 0;
    let mut next = |_| {
        nonce += 1;
        Some(payment(9, nonce - 1, 1, 21_000))
    };
    let built = ledger.build(&order(&ledger), &mut next, Bound { left_us: &left_us, ..Bound::NONE }).unwrap();
    assert_eq!(built.block().body.transactions.len(), 1);
}

#[test]
fn only_a_quorum_of_seals_on_the_checked_block_is_imported() {
    let ledger = ledger();
    let (built, _) = build(&ledger, vec![payment(9, 0, 1, 21_000)]);
    let import = |sealed| ledger.import(built.clone(), sealed).map(|imported| imported.number());
    let rule = |result: Result<u64, LedgerError>| match result {
        Err(LedgerError::Invalid { reason, .. }) => reason.rule(),
        other => panic!("{other:?}"),
    };
    assert_eq!(rule(import(Arc::clone(built.block()))), "too_few_seals");
    assert_eq!(rule(import(seal(built.block(), 0, [1, 2]))), "too_few_seals");
    assert_eq!(rule(import(seal(built.block(), 0, [1, 2, 2]))), "seal_twice");
    assert_eq!(rule(import(seal(built.block(), 0, [1, 2, 8]))), "seal_by_stranger");
    assert_eq!(rule(import(seal(built.block(), 0, [1, 2, 3, 4, 1]))), "seal_twice");
    let mut other = (*seal(built.block(), 0, [1, 2, 3])).clone();
    other.header.timestamp += 1;
    assert_eq!(rule(import(Arc::new(other))), "other_block");
    let mut other = (*seal(built.block(), 0, [1, 2, 3])).clone();
    other.body.transactions.clear();
    assert_eq!(rule(import(Arc::new(other))), "other_block");

    // A later round seals the same block.
    assert_eq!(import(seal(built.block(), 3, [4, 2, 3])).unwrap(), 1);
    assert_eq!(ledger.head().hash, built.hash());
    assert_eq!(rule(import(seal(built.block(), 0, [1, 2, 3]))), "parent_hash");
}

#[test]
fn a_checked_block_is_not_executed_again() {
    let ledger = ledger();
    let (built, _) = build(&ledger, vec![payment(9, 0, 1, 21_000)]);
    // Another round of the same block: senders are not even asked.
    let again = with_round_and_seals(&built.block().header, 2, vec![]).unwrap();
    let again = Arc::new(Block { header: again, body: built.block().body.clone() });
    let asked = std::cell::Cell::new(0);
    let senders = |_: &_| {
        asked.set(asked.get() + 1);
        None
    };
    let checked = ledger.check_proposal(again, NOW * 1000, &senders, Terms::NONE).unwrap();
    assert_eq!((checked.hash(), asked.get()), (built.hash(), 0));
    // Another body under the same header is looked at.
    let mut other = (**built.block()).clone();
    other.body.transactions.push(payment(9, 1, 1, 21_000).tx.clone());
    let refused = ledger.check_proposal(Arc::new(other), NOW * 1000, &senders, Terms::NONE).unwrap_err();
    assert!(matches!(refused, InvalidBlock::Body(_)), "{refused}");
    let refused = ledger.check_proposal(Arc::clone(built.block()), (NOW - 20) * 1000, &senders, Terms::NONE).unwrap_err();
    assert_eq!(refused.rule(), "timestamp_future");
}

#[test]
fn another_genesis_is_refused() {
    let store = Arc::new(MemoryStore::new());
    let open = |gas: &str| {
        let extra = ExtraData::genesis(vec![key(1).address()]).encode();
        let genesis = format!(
            r#"{{"config":{{"chainId":5,"berlinBlock":0,"qbft":{{}}}},"gasLimit":"{gas}","difficulty":"0x1","extraData":"{extra}","alloc":{{}}}}"#
        );
        Ledger::open(store.clone(), Arc::new(ChainSpec::parse(&genesis).unwrap()))
    };
    open("0x186a0").unwrap();
    open("0x186a0").unwrap();
    let error = open("0x186a1").unwrap_err().to_string();
    assert!(error.contains("genesis"), "{error}");
}
