//! Transactions of ten bytes, 300 in memory: a block of them is refused before it is made.

use alloy_rlp::{Decodable, Header};
use ipe_types::block::Body;
use ipe_types::eth::{EthMessage, EthVersion, code};
use ipe_types::sizes::BLOCK_TRANSACTIONS;

/// A legacy transaction whose every item is as short as can be.
const TINY: [u8; 10] = [0xc9, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x1b, 0x01, 0x01];

/// RLP of a body with so many of them.
fn body(count: usize) -> Vec<u8> {
    let transactions = TINY.len() * count;
    let list = Header { list: true, payload_length: transactions };
    let mut out = Vec::new();
    Header { list: true, payload_length: list.length_with_payload() + 1 }.encode(&mut out);
    list.encode(&mut out);
    (0..count).for_each(|_| out.extend_from_slice(&TINY));
    out.push(0xc0);
    out
}

#[test]
fn a_block_has_a_bounded_number_of_transactions() {
    let most = Body::decode(&mut &body(BLOCK_TRANSACTIONS)[..]).expect("as many as there may be");
    assert_eq!(most.transactions.len(), BLOCK_TRANSACTIONS);
    assert!(most.overhead() > 10 * body(BLOCK_TRANSACTIONS).len(), "what counts is the memory");
    let error = Body::decode(&mut &body(BLOCK_TRANSACTIONS + 1)[..]).expect_err("one more").to_string();
    assert!(error.contains("131,072 transactions"), "{error}");
    // Only the first is looked at when an item is cut off or has no end.
    for cut in [1, 5, 9] {
        let whole = body(3);
        assert!(Body::decode(&mut &whole[..whole.len() - cut]).is_err());
    }
}

/// The bodies of one answer share a bound: a message of ten megabytes had room for a million.
#[test]
fn the_bodies_of_an_answer_have_a_bounded_number_of_transactions() {
    let answer = |bodies: usize| {
        let body = body(BLOCK_TRANSACTIONS / 2);
        let list = Header { list: true, payload_length: bodies * body.len() };
        let mut out = Vec::new();
        Header { list: true, payload_length: list.length_with_payload() + 1 }.encode(&mut out);
        out.push(1);
        list.encode(&mut out);
        (0..bodies).for_each(|_| out.extend_from_slice(&body));
        EthMessage::decode(EthVersion::V69, code::BLOCK_BODIES, &out)
    };
    assert!(matches!(answer(4), Ok(EthMessage::BlockBodies { bodies, .. }) if bodies.len() == 4));
    let error = answer(5).expect_err("more than two full blocks have").to_string();
    assert!(error.contains("transactions"), "{error}");
}
