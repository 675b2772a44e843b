//! Transactions that take more than they may: stopped inside the EVM, gone without a trace, and no obstacle to what is sealed.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/order.rs"]
mod order;

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;

use alloy_consensus::{SignableTransaction, TxLegacy};
use alloy_primitives::{Address, Bytes, Signature, TxKind, U256, hex};
use ipe_chain::kv::MemoryStore;
use ipe_chain::{Bound, Candidate, CheckedBlock, Cut, Feedback, InvalidBlock, Ledger, Over, Terms};
use ipe_types::block::{Block, Transaction};
use ipe_types::crypto::NodeKey;
use ipe_types::extra::ExtraData;
use ipe_types::header::{commit_hash, with_round_and_seals};
use ipe_types::spec::ChainSpec;

const NOW: u64 = 1_700_000_000;
/// The gas limit that Besu recommends for networks where gas is free.
const FREE_GAS: u64 = 0x1f_ffff_ffff_ffff;
const LOOP: Address = Address::repeat_byte(0xa1);
const BUSY: Address = Address::repeat_byte(0xa2);
const MODEXP: Address = Address::repeat_byte(0xa3);
const MEMORY: Address = Address::repeat_byte(0xa4);
const RECOVER: Address = Address::repeat_byte(0xa5);
const NESTED: Address = Address::repeat_byte(0xa6);

fn key(byte: u8) -> NodeKey {
    NodeKey::from_bytes([byte; 32]).unwrap()
}

/// JUMPDEST PUSH1 0 JUMP.
const FOREVER: &str = "5b600056";

/// Writes slots, logs, creates and destroys accounts, sends value and calls itself, again and again: slot 0 counts.
fn busy() -> String {
    let mut code = String::from("5b");
    // sstore(0, sload(0) + 1); sstore(sload(0), gas)
    code += "600054600101600055" /* +1 */;
    code += "5a60005455";
    // log1(0, 32, 7)
    code += "600760206000a1";
    // create(1, 0, 0): an account with a wei
    code += "600060006001f050";
    // create(0, 27, 5) of code that destroys itself at once: PUSH1 0 SELFDESTRUCT
    code += "626000ff60005260036000601d6000f050" /* three bytes at 29 */;
    // call(2000 gas, 0xcc.., 1 wei)
    code += "60006000600060006001";
    code += &format!("73{}", hex::encode(Address::repeat_byte(0xcc)));
    code += "6107d0f150";
    // tstore does not exist in Berlin; jump to the start.
    code += "600056";
    code
}

/// MODEXP of 256-byte numbers with an exponent of 256 bytes, once.
fn modexp() -> String {
    let mut code = String::new();
    // base length, exponent length, modulus length = 256; all bytes 0xff
    for at in [0u8, 0x20, 0x40] {
        code += &format!("610100{}", format_args!("60{at:02x}52"));
    }
    for word in 0..24u16 {
        code += &format!("7f{}61{:04x}52", "ff".repeat(32), 0x60 + 32 * word);
    }
    // staticcall(gas, 5, 0, 0x360, 0x400, 0x100)
    code + "610100610400610360600060055afa00"
}

fn genesis(gas_limit: u64) -> String {
    let mut validators: Vec<Address> = (1..=4).map(|n| key(n).address()).collect();
    validators.sort();
    let extra = ExtraData::genesis(validators).encode();
    let funded = key(9).address();
    let memory = "6001637fffffff5200"; // mstore(2^31 - 1, 1)
    // staticcall(gas, 1, 0, 0x80, 0x80, 0x20) with all gas there is, then stop: a contract that checks a signature
    let recover = "60206080608060006001 5afa00".replace(' ', "");
    // call(gas / 2, LOOP): the callee is stopped, not the caller
    let nested = format!("6000600060006000600073{}60025a04f1600160015500", hex::encode(LOOP));
    format!(
        r#"{{"config":{{"chainId":5,"berlinBlock":0,"qbft":{{"blockperiodseconds":1}}}},"gasLimit":"{gas_limit:#x}","difficulty":"0x1",
        "timestamp":"{}","extraData":"{extra}","alloc":{{"{funded}":{{"balance":"1000000000"}},
        "{LOOP}":{{"balance":"0","code":"0x{FOREVER}"}},"{BUSY}":{{"balance":"1000000","code":"0x{}"}},
        "{MODEXP}":{{"balance":"0","code":"0x{}"}},"{MEMORY}":{{"balance":"0","code":"0x{memory}"}},
        "{RECOVER}":{{"balance":"0","code":"0x{recover}"}},"{NESTED}":{{"balance":"0","code":"0x{nested}"}}}}}}"#,
        NOW - 10,
        busy(),
        modexp(),
    )
}

fn ledger(gas_limit: u64) -> Ledger {
    Ledger::open(Arc::new(MemoryStore::new()), Arc::new(ChainSpec::parse(&genesis(gas_limit)).unwrap())).unwrap()
}

fn transaction(from: u8, nonce: u64, gas_limit: u64, to: TxKind, input: &str) -> Arc<Candidate> {
    let input = Bytes::from(hex::decode(input).unwrap());
    let tx = TxLegacy { chain_id: Some(5), nonce, gas_price: 0, gas_limit, to, value: U256::ZERO, input };
    let signed = key(from).sign(tx.signature_hash());
    let bytes = signed.as_slice();
    let signature = Signature::new(U256::from_be_slice(&bytes[..32]), U256::from_be_slice(&bytes[32..64]), bytes[64] == 1);
    Arc::new(Candidate::recover(Transaction::from(tx.into_signed(signature))).unwrap())
}

fn call(from: u8, nonce: u64, gas_limit: u64, to: Address) -> Arc<Candidate> {
    transaction(from, nonce, gas_limit, TxKind::Call(to), "")
}

fn build(ledger: &Ledger, candidates: Vec<Arc<Candidate>>, bound: Bound<'_>) -> (CheckedBlock, Vec<Feedback>) {
    let order = order::next(&ledger.head());
    let (mut queue, mut told) = (VecDeque::from(candidates), Vec::new());
    let mut next = |feedback| {
        told.push(feedback);
        queue.pop_front()
    };
    let built = ledger.build(&order, &mut next, bound).unwrap();
    (built, told)
}

/// A clock of which a microsecond passes whenever it is asked.
fn ticking(us: u64) -> impl Fn() -> u64 {
    let left = Cell::new(us);
    move || {
        left.set(left.get().saturating_sub(1));
        left.get()
    }
}

#[test]
fn a_loop_of_all_gas_there_is_stops_and_the_next_one_gets_in() {
    let left = ticking(10_000);
    let bound = Bound { left_us: &left, tx_us: &|| 1_000, ..Bound::NONE };
    for looping in
        [transaction(8, 0, FREE_GAS - 1, TxKind::Create, FOREVER), call(8, 0, FREE_GAS - 1, LOOP), call(8, 0, FREE_GAS - 1, NESTED)]
    {
        let (built, told) = build(&ledger(FREE_GAS), vec![looping, call(9, 0, 21_000, Address::repeat_byte(0xcc))], bound);
        assert!(matches!(told[1], Feedback::Cut(Cut { over: Over::TxTime { most_us: 1_000 }, .. })), "{told:?}");
        assert_eq!(told[2], Feedback::Included { gas_used: 21_000 });
        assert_eq!(built.block().body.transactions.len(), 1);
        assert_eq!(built.block().header.gas_used, 21_000);
    }
}

#[test]
fn the_end_of_the_blocks_time_is_nobodys_fault() {
    let left = ticking(500);
    let bound = Bound { left_us: &left, tx_us: &|| 1_000, ..Bound::NONE };
    let (built, told) = build(&ledger(FREE_GAS), vec![call(8, 0, FREE_GAS - 1, LOOP), call(9, 0, 21_000, LOOP)], bound);
    assert_eq!(told, [Feedback::Start]);
    assert!(built.is_empty());
    let (_, told) = build(&ledger(FREE_GAS), vec![call(9, 0, 30_000, LOOP)], bound);
    // Asked before the first candidate, the clock had stopped: nothing was handed out.
    assert_eq!(told, []);
}

/// Wherever it is stopped, nothing of it is in the block, and nothing that others touch is left changed or warm.
#[test]
fn what_is_stopped_leaves_no_trace() {
    let after = || {
        vec![
            call(9, 0, 400_000, BUSY),
            call(9, 1, 21_000, Address::repeat_byte(0xcc)),
            transaction(8, 0, 90_000, TxKind::Create, "600060005500"),
        ]
    };
    let (without, told) = build(&ledger(FREE_GAS), after(), Bound::NONE);
    assert!(told.iter().skip(1).all(|told| matches!(told, Feedback::Included { .. })), "{told:?}");
    let mut stopped_at = Vec::new();
    for most in 1..60 {
        let left = ticking(1_000_000);
        let bound = Bound { left_us: &left, tx_us: &|| most, ..Bound::NONE };
        // Only the first is bound so narrowly; the others run within the same bound and take less.
        let mut candidates = vec![call(7, 0, 40_000_000, BUSY)];
        candidates.extend(after());
        let (with, told) = build(&ledger(FREE_GAS), candidates, bound);
        if !matches!(told[1], Feedback::Cut(Cut { over: Over::TxTime { .. }, .. })) {
            continue;
        }
        if told.iter().skip(2).any(|told| !matches!(told, Feedback::Included { .. })) {
            continue;
        }
        stopped_at.push(most);
        assert_eq!(with.block().header, without.block().header, "stopped after {most}");
        assert_eq!(with.block().body, without.block().body);
        assert_eq!(with.receipts(), without.receipts());
    }
    assert!(stopped_at.len() > 20, "{stopped_at:?}");
}

#[test]
fn a_precompiled_contract_that_would_take_too_long_does_not_begin() {
    // 256 bytes to the power of 256 bytes: 174,677 gas in Berlin, some milliseconds.
    let free = build(&ledger(FREE_GAS), vec![call(8, 0, 1_000_000, MODEXP)], Bound::NONE);
    let Feedback::Included { gas_used } = free.1[1] else { panic!("{:?}", free.1) };
    assert!(gas_used > 150_000, "{gas_used}");
    let left = ticking(1_000);
    let short = Bound { left_us: &left, tx_us: &|| 500, ..Bound::NONE };
    let (_, told) = build(&ledger(FREE_GAS), vec![call(8, 0, 1_000_000, MODEXP)], short);
    assert!(matches!(told[1], Feedback::Cut(Cut { over: Over::TxTime { most_us: 500 }, .. })), "{told:?}");
    // Without the gas for it, it runs out of gas as the rules have it, whatever the clock says.
    let left = ticking(1_000);
    let bound = Bound { left_us: &left, tx_us: &|| 500, ..Bound::NONE };
    let (poor, told) = build(&ledger(FREE_GAS), vec![call(8, 0, 30_000, MODEXP)], bound);
    assert!(matches!(told[1], Feedback::Included { .. }), "{told:?}");
    assert_eq!(poor.block().header, build(&ledger(FREE_GAS), vec![call(8, 0, 30_000, MODEXP)], Bound::NONE).0.block().header);
}

#[test]
fn a_cheap_precompiled_contract_may_be_given_all_gas() {
    let left = ticking(1_000);
    let bound = Bound { left_us: &left, tx_us: &|| 500, ..Bound::NONE };
    let (built, told) = build(&ledger(FREE_GAS), vec![call(8, 0, FREE_GAS - 1, RECOVER)], bound);
    assert!(matches!(told[1], Feedback::Included { gas_used } if gas_used < 30_000), "{told:?}");
    assert_eq!(
        built.block().header,
        build(&ledger(FREE_GAS), vec![call(8, 0, FREE_GAS - 1, RECOVER)], Bound::NONE).0.block().header
    );
}

#[test]
fn memory_is_bounded_only_where_gas_would_pay_for_it() {
    let bound = Bound { memory: 1 << 20, ..Bound::NONE };
    let (built, told) = build(&ledger(FREE_GAS), vec![call(8, 0, FREE_GAS - 1, MEMORY), call(8, 0, 90_000, MEMORY)], bound);
    assert!(matches!(told[1], Feedback::Cut(Cut { over: Over::Memory { most: 0x10_0000 }, .. })), "{told:?}");
    // 90,000 gas buy no megabyte: the same as without any bound.
    assert_eq!(told[2], Feedback::Included { gas_used: 90_000 });
    assert_eq!(built.block().header, build(&ledger(FREE_GAS), vec![call(8, 0, 90_000, MEMORY)], Bound::NONE).0.block().header);
}

#[test]
fn gas_that_is_used_counts_and_not_the_limit_that_is_named() {
    let bound = Bound { tx_gas: 1_000_000, ..Bound::NONE };
    let candidates = vec![call(8, 0, FREE_GAS - 1, RECOVER), call(9, 0, 30_000_000, LOOP), call(9, 0, 900_000, LOOP)];
    let (_, told) = build(&ledger(FREE_GAS), candidates, bound);
    assert!(matches!(told[1], Feedback::Included { .. }), "{told:?}");
    let Feedback::Cut(Cut { used_gas: used, over: Over::Gas { most: 1_000_000 }, .. }) = told[2] else { panic!("{told:?}") };
    assert!((1_000_000..1_060_000).contains(&used), "{used}");
    assert_eq!(told[3], Feedback::Included { gas_used: 900_000 });
}

/// A proposal that takes too long gets no vote and is no proof of anything; sealed, it is imported.
#[test]
fn a_proposal_is_stopped_and_a_sealed_block_never() {
    let gas = 30_000_000;
    let candidates = || vec![call(9, 0, 21_000, Address::repeat_byte(0xcc)), call(8, 0, gas - 21_000, BUSY)];
    let (built, _) = build(&ledger(gas), candidates(), Bound::NONE);
    assert_eq!(built.block().body.transactions.len(), 2);
    let other = ledger(gas);
    let left = ticking(200);
    let bound = Bound { left_us: &left, ..Bound::NONE };
    let error = other.check_proposal(Arc::clone(built.block()), NOW * 1000, &|_| None, Terms { bound, ..Terms::NONE }).unwrap_err();
    let hash = *built.block().body.transactions[1].tx_hash();
    let InvalidBlock::TooDear { index: 1, hash: of, cut: Cut { ran_us: 196, over: Over::BlockTime, .. } } = error else {
        panic!("{error}")
    };
    assert_eq!(of, hash);
    assert!(!error.is_verdict());
    let block = built.block();
    let commit = commit_hash(&block.header, 0).unwrap();
    let seals = [1, 2, 3].into_iter().map(|n| key(n).sign(commit)).collect();
    let sealed = Arc::new(Block { header: with_round_and_seals(&block.header, 0, seals).unwrap(), body: block.body.clone() });
    let checked = other.check_sealed(Arc::clone(&sealed), NOW * 1000, &|_| None).unwrap();
    assert_eq!(other.import(checked, sealed).unwrap().number(), 1);
}

/// Transfers run no instruction that would ask for the time: a proposal of many would go on to its end after everybody has stopped
/// waiting for it.
#[test]
fn a_proposal_of_transfers_alone_is_stopped_between_them() {
    let candidates = vec![call(9, 0, 21_000, Address::repeat_byte(0xcc)), call(8, 0, 21_000, Address::repeat_byte(0xcd))];
    let (built, _) = build(&ledger(30_000_000), candidates, Bound::NONE);
    assert_eq!(built.block().body.transactions.len(), 2);
    let left = ticking(3);
    let bound = Bound { left_us: &left, ..Bound::NONE };
    let other = ledger(30_000_000);
    let error = other.check_proposal(Arc::clone(built.block()), NOW * 1000, &|_| None, Terms { bound, ..Terms::NONE }).unwrap_err();
    assert!(matches!(error, InvalidBlock::TooDear { index: 1, cut: Cut { over: Over::BlockTime, .. }, .. }), "{error}");
}
