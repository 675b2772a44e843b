//! A block body in which a transaction is wrapped otherwise than the block's hash says: other clients have taken such bodies for
//! sound and so disagreed with each other (besu-eth/besu#11103, erigontech/erigon#22522).

use alloy_consensus::{SignableTransaction, TxEip1559, TxLegacy};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::Signature;
use alloy_rlp::{Decodable, Encodable, Header};
use ipe_types::{Body, Transaction, U256};

/// `[[transaction], []]` with these very bytes in the place of the transaction.
fn body(transaction: &[u8]) -> Vec<u8> {
    let list = |payload: &[u8]| {
        let mut out = Vec::new();
        Header { list: true, payload_length: payload.len() }.encode(&mut out);
        out.extend_from_slice(payload);
        out
    };
    list(&[list(transaction), list(&[])].concat())
}

fn string(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    bytes.encode(&mut out);
    out
}

#[test]
fn a_transaction_has_one_form_in_a_body() {
    let signature = Signature::new(U256::from(7), U256::from(9), true);
    let typed = Transaction::from(TxEip1559 { chain_id: 7, ..TxEip1559::default() }.into_signed(signature));
    let legacy = Transaction::from(TxLegacy { chain_id: Some(7), ..TxLegacy::default() }.into_signed(signature));
    let (typed, legacy) = (typed.encoded_2718(), legacy.encoded_2718());
    let read = |transaction: &[u8]| Body::decode(&mut &body(transaction)[..]);
    assert_eq!(read(&string(&typed)).map(|body| body.transactions.len()), Ok(1), "a typed one is a string");
    assert_eq!(read(&legacy).map(|body| body.transactions.len()), Ok(1), "a legacy one is a list");
    for (wrong, what) in [
        (typed.clone(), "a typed one without its string"),
        (string(&string(&typed)), "a typed one in two strings"),
        (string(&legacy), "a legacy one in a string"),
        (string(&string(&legacy)), "a legacy one in two strings"),
        (string(&[0x02]), "a type alone"),
        (string(&[]), "an empty string"),
        (string(&[&[0x00][..], &legacy].concat()), "a legacy one with a type byte"),
        (string(&[&typed[..], &[0]].concat()), "a typed one with a byte behind it"),
    ] {
        assert!(read(&wrong).is_err(), "{what} was read");
    }
}
