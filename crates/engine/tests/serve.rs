//! What peers may ask for at once, and what they may say when nobody asked.
#![allow(clippy::panic)]

use std::collections::BTreeMap;
use std::sync::Arc;

use ipe_chain::Ledger;
use ipe_chain::kv::{Batch, MemoryStore, Store as _, Table};
use ipe_engine::fair_queue::Payer;
use ipe_engine::serve::{Desk, answer};
use ipe_types::eth::{
    EthMessage, HeadersQuery, HeadersStart, MAX_BODIES_SERVED, MAX_HASHES, MAX_HEADERS_SERVED, MAX_POOLED_SERVED,
    MAX_RECEIPTS_SERVED,
};
use ipe_types::genesis::GenesisBuilder;
use ipe_types::spec::ChainSpec;
use ipe_types::{B256, Header, NodeKey};

const HEADERS: u64 = 2 * MAX_HEADERS_SERVED as u64;

/// A ledger at its genesis over a store that holds headers far beyond what one answer may carry.
fn ledger() -> Ledger {
    let validators = vec![NodeKey::from_bytes([7; 32]).expect("a key").address()];
    let genesis = GenesisBuilder { validators, alloc: BTreeMap::new(), ..GenesisBuilder::default() };
    let spec = ChainSpec::parse(&genesis.to_json().expect("sound")).expect("sound");
    let store = Arc::new(MemoryStore::new());
    let ledger = Ledger::open(store.clone(), Arc::new(spec)).expect("an empty store opens");
    let mut batch = Batch::new();
    for number in 1..=HEADERS {
        let header = Header { number, ..Header::default() };
        batch.put(Table::Headers, &number.to_be_bytes(), &alloy_rlp::encode(&header));
    }
    store.commit(batch).expect("memory writes");
    ledger
}

fn headers(ledger: &Ledger, start: u64, limit: u64, skip: u64, reverse: bool) -> Vec<u64> {
    let query = HeadersQuery { start: HeadersStart::Number(start), limit, skip, reverse };
    match answer(ledger, &|_| None, &EthMessage::GetBlockHeaders { request_id: 0, query }) {
        Some(EthMessage::BlockHeaders { request_id: 0, headers }) => headers.iter().map(|header| header.number).collect(),
        other => panic!("{other:?}"),
    }
}

/// A count of 0, a count and a distance that overflow: each was a crash or a walk over the whole chain somewhere.
#[test]
fn whatever_range_is_asked_for_the_answer_is_bounded() {
    let ledger = ledger();
    assert_eq!(headers(&ledger, 0, u64::MAX, 0, false).len(), MAX_HEADERS_SERVED);
    assert_eq!(headers(&ledger, HEADERS, u64::MAX, 0, true).len(), MAX_HEADERS_SERVED);
    assert!(headers(&ledger, 3, 0, 0, false).is_empty());
    assert_eq!(headers(&ledger, 3, 2, u64::MAX, false), [3]);
    assert_eq!(headers(&ledger, 3, 2, u64::MAX - 1, false), [3]);
    assert_eq!(headers(&ledger, 3, 9, 1, true), [3, 1]);
    assert!(headers(&ledger, u64::MAX, 2, 0, false).is_empty());
}

/// The same block asked for thousands of times is not read thousands of times.
#[test]
fn lists_of_hashes_are_answered_up_to_a_bound() {
    let ledger = ledger();
    let hashes = vec![ledger.spec().genesis_hash(); MAX_HASHES];
    let asked = std::cell::Cell::new(0);
    let pooled = |_: &B256| {
        asked.set(asked.get() + 1);
        None
    };
    let ask = |request| answer(&ledger, &pooled, &request);
    match ask(EthMessage::GetBlockBodies { request_id: 0, hashes: hashes.clone() }) {
        Some(EthMessage::BlockBodies { request_id: 0, bodies }) => assert_eq!(bodies.len(), MAX_BODIES_SERVED),
        other => panic!("{other:?}"),
    }
    match ask(EthMessage::GetReceipts { request_id: 0, hashes: hashes.clone() }) {
        Some(EthMessage::Receipts { request_id: 0, receipts }) => assert_eq!(receipts.len(), MAX_RECEIPTS_SERVED),
        other => panic!("{other:?}"),
    }
    assert!(ask(EthMessage::GetPooledTransactions { request_id: 0, hashes }).is_some());
    assert_eq!(asked.get(), MAX_POOLED_SERVED);
}

const MIB: usize = 1024 * 1024;

fn asker(byte: u8, known: bool) -> Payer {
    Payer { node: NodeKey::from_bytes([byte; 32]).expect("a key").node_id(), known }
}

/// Bytes that each of `askers` is served in `seconds` when all ask for answers of 2 MiB without end.
fn served(askers: &[Payer], seconds: u64) -> Vec<usize> {
    let mut desk = Desk::new(0);
    let mut bytes = vec![0; askers.len()];
    askers.iter().enumerate().for_each(|(index, asker)| desk.put(*asker, index));
    let mut now = 0;
    while now <= seconds * 1_000 {
        match desk.next(now) {
            Some((asker, index)) => {
                desk.charge(now, asker, 2 * MIB, 100);
                desk.put(asker, index);
                bytes[index] += 2 * MIB;
            }
            None => now = desk.ready_at(now).expect("somebody waits").max(now + 1),
        }
    }
    bytes
}

/// Strangers that ask for whole chains pay with waiting, whatever their number; who is known goes on at its own rate.
#[test]
fn a_stranger_is_served_at_a_bounded_rate_and_takes_nothing_from_whom_we_know() {
    let alone = served(&[asker(1, false)], 20);
    assert!(alone[0] >= 8 * 20 * MIB && alone[0] <= (8 * 20 + 32 + 4) * MIB, "{alone:?}");
    let many: Vec<Payer> = (1..=25).map(|byte| asker(byte, false)).chain([asker(99, true)]).collect();
    let got = served(&many, 20);
    let strangers: usize = got[..25].iter().sum();
    assert!(strangers <= (32 * 20 + 64 + 25 * 2) * MIB, "{strangers}");
    assert!(got[..25].iter().all(|bytes| *bytes >= 10 * MIB), "each gets a share: {got:?}");
    assert!(got[25] >= 64 * 20 * MIB, "{got:?}");
}

/// A question without an answer costs look-ups, and a node that comes again has not regained anything.
#[test]
fn questions_have_a_price_whatever_the_answer() {
    let mut desk = Desk::new(0);
    let mut asked = 0;
    loop {
        desk.put(asker(1, false), ());
        let Some((who, ())) = desk.next(0) else { break };
        desk.charge(0, who, 3, 256);
        asked += 1;
    }
    assert!((100..=1_000).contains(&asked), "{asked}");
    assert!(desk.ready_at(0).is_some_and(|at| at > 0));
    desk.put(asker(2, false), ());
    assert_eq!(desk.next(0).map(|(who, ())| who), Some(asker(2, false)), "another has its own");
}
