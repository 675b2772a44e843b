//! Transactions whose prices have up to 256 bits: their bytes, hashes and senders are what the EIPs say, written here item by item.
#![allow(clippy::unwrap_used, clippy::panic)]

use alloy_consensus::{TxEip1559, TxEip2930, TxEip4844, TxEip7702, TxLegacy, Typed2718 as _};
use alloy_eips::eip2718::{Decodable2718 as _, Encodable2718 as _};
use alloy_eips::eip2930::{AccessList, AccessListItem};
use alloy_eips::eip7702::Authorization;
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256, keccak256};
use alloy_rlp::{Decodable as _, EMPTY_LIST_CODE, Encodable, Header};
use ipe_types::transaction::{Prices, Unsigned};
use ipe_types::{Body, NodeKey, Transaction};
use proptest::prelude::*;

const CHAIN: u64 = 1_337;

fn key() -> NodeKey {
    NodeKey::from_bytes([7; 32]).unwrap()
}

fn sign(hash: B256) -> Signature {
    let signed = key().sign(hash);
    let bytes = signed.as_slice();
    Signature::new(U256::from_be_slice(&bytes[..32]), U256::from_be_slice(&bytes[32..64]), bytes[64] == 1)
}

fn rlp(value: impl Encodable) -> Vec<u8> {
    alloy_rlp::encode(value)
}

fn list(items: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    Header { list: true, payload_length: items.iter().map(Vec::len).sum() }.encode(&mut out);
    items.iter().for_each(|item| out.extend_from_slice(item));
    out
}

fn access() -> AccessList {
    AccessList(vec![AccessListItem { address: Address::repeat_byte(3), storage_keys: vec![B256::repeat_byte(4)] }])
}

/// A transaction of a type, and its items up to the signature, with these prices; those of `unsigned` are nothing.
fn made(kind: u8, nonce: u64, chain_id: Option<u64>, input: &[u8], prices: &Prices) -> (Unsigned, Vec<Vec<u8>>) {
    let (to, value, input) = (Address::repeat_byte(2), U256::from(5), Bytes::copy_from_slice(input));
    let (gas_limit, chain) = (50_000, CHAIN);
    let delegation = Authorization { chain_id: U256::from(1), address: to, nonce: 9 };
    let delegation = delegation.clone().into_signed(sign(delegation.signature_hash()));
    let blob = B256::repeat_byte(1);
    let dynamic = || vec![rlp(chain), rlp(nonce), rlp(prices.tip.unwrap()), rlp(prices.fee), rlp(gas_limit), rlp(to), rlp(value)];
    match kind {
        0 => (
            TxLegacy { chain_id, nonce, gas_price: 0, gas_limit, to: TxKind::Call(to), value, input: input.clone() }.into(),
            vec![rlp(nonce), rlp(prices.fee), rlp(gas_limit), rlp(to), rlp(value), rlp(&input[..])],
        ),
        1 => (
            TxEip2930 {
                chain_id: chain,
                nonce,
                gas_limit,
                to: TxKind::Call(to),
                value,
                input: input.clone(),
                access_list: access(),
                ..TxEip2930::default()
            }
            .into(),
            vec![rlp(chain), rlp(nonce), rlp(prices.fee), rlp(gas_limit), rlp(to), rlp(value), rlp(&input[..]), rlp(access())],
        ),
        2 => {
            let tx = TxEip1559 {
                chain_id: chain,
                nonce,
                gas_limit,
                to: TxKind::Create,
                value,
                input: input.clone(),
                access_list: access(),
                ..TxEip1559::default()
            };
            let mut items = dynamic();
            items[5] = rlp(&[][..]);
            items.extend([rlp(&input[..]), rlp(access())]);
            (tx.into(), items)
        }
        3 => {
            let tx = TxEip4844 {
                chain_id: chain,
                nonce,
                gas_limit,
                to,
                value,
                input: input.clone(),
                blob_versioned_hashes: vec![blob],
                ..TxEip4844::default()
            };
            let mut items = dynamic();
            items.extend([rlp(&input[..]), rlp(AccessList::default()), rlp(prices.blob.unwrap()), rlp(vec![blob])]);
            (Unsigned::Eip4844(tx), items)
        }
        _ => {
            let tx = TxEip7702 {
                chain_id: chain,
                nonce,
                gas_limit,
                to,
                value,
                input: input.clone(),
                authorization_list: vec![delegation.clone()],
                ..TxEip7702::default()
            };
            let mut items = dynamic();
            items.extend([rlp(&input[..]), rlp(AccessList::default()), rlp(vec![delegation])]);
            (tx.into(), items)
        }
    }
}

fn with_type(kind: u8, list: Vec<u8>) -> Vec<u8> {
    if kind == 0 { list } else { [vec![kind], list].concat() }
}

/// Of any length, mostly about as long as the library's 128 bits.
fn price() -> impl Strategy<Value = U256> {
    let any = any::<[u8; 32]>().prop_map(U256::from_be_bytes);
    prop_oneof![
        (any, 0usize..=256).prop_map(|(value, bits)| if bits == 0 { U256::ZERO } else { value >> (256 - bits) }),
        (-2i8..3).prop_map(|off| {
            let edge = U256::from(1) << 128;
            if off < 0 { edge - U256::from(off.unsigned_abs()) } else { edge + U256::from(off.unsigned_abs()) }
        }),
        Just(U256::MAX),
    ]
}

proptest! {
    #[test]
    fn every_price_is_read_and_written_as_the_eips_have_it(
        kind in 0u8..5,
        nonce in any::<u64>(),
        bound in any::<bool>(),
        input in proptest::collection::vec(any::<u8>(), 0..80),
        (fee, tip, blob) in (price(), price(), price()),
        base_fee in any::<u64>(),
    ) {
        let chain_id = bound.then_some(CHAIN);
        let prices = Prices { fee, tip: (kind >= 2).then_some(tip), blob: (kind == 3).then_some(blob) };
        let (unsigned, mut items) = made(kind, nonce, chain_id, &input, &prices);
        let mut hashed = items.clone();
        if let (0, Some(chain)) = (kind, chain_id) {
            hashed.extend([rlp(chain), rlp(0u8), rlp(0u8)]);
        }
        let hash = keccak256(with_type(kind, list(&hashed)));
        let tx = Transaction::sign(unsigned, prices, |asked| {
            assert_eq!(asked, hash, "what is signed");
            sign(asked)
        });
        let signature = sign(hash);
        let parity = u64::from(signature.v());
        let v = match (kind, chain_id) {
            (0, Some(chain)) => 35 + 2 * chain + parity,
            (0, None) => 27 + parity,
            _ => parity,
        };
        items.extend([rlp(v), rlp(signature.r()), rlp(signature.s())]);
        let bytes = with_type(kind, list(&items));

        prop_assert_eq!(tx.encoded_2718(), bytes.clone());
        prop_assert_eq!(tx.encode_2718_len(), bytes.len());
        prop_assert_eq!(*tx.tx_hash(), keccak256(&bytes));
        prop_assert_eq!(tx.signature_hash(), hash);
        prop_assert_eq!(tx.recover_signer().unwrap(), key().address());
        prop_assert_eq!(tx.recover_signer_unchecked().unwrap(), key().address());
        prop_assert_eq!(tx.prices(), prices);
        prop_assert_eq!((tx.ty(), tx.nonce(), &tx.input()[..]), (kind, nonce, &input[..]));
        prop_assert_eq!(tx.chain_id(), if kind == 0 { chain_id } else { Some(CHAIN) });
        prop_assert_eq!(Transaction::decode_2718_exact(&bytes).unwrap(), tx.clone());
        let base = U256::from(base_fee);
        let paid = if kind < 2 { fee } else { fee.min(tip.saturating_add(base)) };
        prop_assert_eq!(tx.effective_gas_price(Some(base_fee)), paid);
        prop_assert_eq!(tx.effective_tip_per_gas(base_fee), (fee >= base).then(|| paid - base));

        // Two in a body, so that the first ends where it does.
        let body = Body { transactions: vec![tx.clone(), tx], withdrawals: None };
        let written = alloy_rlp::encode(&body);
        prop_assert_eq!(written.len(), body.length());
        let item = if kind == 0 { bytes } else { rlp(&bytes[..]) };
        prop_assert_eq!(&written, &list(&[list(&[item.clone(), item]), vec![EMPTY_LIST_CODE]]));
        prop_assert_eq!(Body::decode(&mut &written[..]).unwrap(), body);
    }

    #[test]
    fn nothing_else_is_read_as_a_wide_price(at in 0usize..12, with in any::<[u8; 3]>(), cut in any::<u8>(), kind in 0u8..5) {
        let prices = Prices { fee: U256::MAX, tip: Some(U256::MAX - U256::from(1)), blob: Some(U256::from(1) << 130) };
        let (unsigned, _) = made(kind, 3, Some(CHAIN), &[1, 2, 3], &prices);
        let mut bytes = Transaction::sign(unsigned, prices, sign).encoded_2718();
        if cut < 40 {
            bytes.truncate(bytes.len().saturating_sub(usize::from(cut)));
        }
        let at = at * bytes.len() / 12;
        for (byte, with) in bytes[at..].iter_mut().zip(with) {
            *byte ^= with;
        }
        let mut rest = &bytes[..];
        if let Ok(read) = Transaction::decode_2718(&mut rest) {
            let taken = &bytes[..bytes.len() - rest.len()];
            prop_assert_eq!(&read.encoded_2718()[..], taken, "what is read is written alike");
            prop_assert_eq!(*read.tx_hash(), keccak256(taken));
        }
    }
}

#[test]
fn a_price_has_32_bytes_at_most_and_no_leading_zero() {
    let read = |price: &[u8]| {
        let items = [rlp(0u8), rlp(price), rlp(21_000u64), rlp(Address::ZERO), rlp(0u8), rlp(0u8), rlp(27u8), rlp(1u8), rlp(1u8)];
        Transaction::decode_2718_exact(&list(&items)).map(|tx| tx.max_fee_per_gas())
    };
    assert_eq!(read(&[1]).unwrap(), U256::from(1));
    assert_eq!(read(&[0xff; 16]).unwrap(), U256::from(u128::MAX));
    assert_eq!(read(&[[1].as_slice(), &[0; 16]].concat()).unwrap(), U256::from(1) << 128);
    assert_eq!(read(&[0xff; 32]).unwrap(), U256::MAX);
    assert!(read(&[1; 33]).is_err(), "33 bytes");
    assert!(read(&[[0].as_slice(), &[1; 17]].concat()).is_err(), "a leading zero");
    assert!(read(&[[0].as_slice(), &[1; 16]].concat()).is_err(), "a leading zero of a small one");
    // Only a price may be so long.
    let items = [rlp(0u8), rlp(U256::MAX), rlp(U256::MAX), rlp(Address::ZERO), rlp(0u8), rlp(0u8), rlp(27u8), rlp(1u8), rlp(1u8)];
    assert!(Transaction::decode_2718_exact(&list(&items)).is_err(), "a gas limit");
}

#[test]
fn a_list_of_many_items_is_no_transaction() {
    let items = vec![rlp(U256::MAX); 4_000];
    for kind in 0..5 {
        assert!(Transaction::decode_2718_exact(&with_type(kind, list(&items))).is_err());
    }
}
