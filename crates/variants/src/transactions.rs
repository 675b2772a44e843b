//! Transactions that are wrong in one field, or right at a limit, alone in a block.

use alloy_consensus::{SignableTransaction as _, TxEip1559, TxEip2930, TxEip4844, TxEip7702, TxLegacy};
use alloy_eips::eip2930::{AccessList, AccessListItem};
use alloy_eips::eip7702::Authorization;
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256, keccak256};
use ipe_types::block::{Block, Transaction};
use ipe_types::fork::Fork;
use ipe_types::transaction::{Prices, Unsigned};

use crate::Variant;
use crate::chain::{
    BLOB_READER, CHAIN_ID, CODED, CREATOR, Chain, DESTROYER, FORWARDER, FULL, POOR, PRICE, RICH, USED, WHALE, signature, signed,
};
use crate::draft::{Draft, list, rlp};

/// Gas of a plain payment.
const PLAIN: u64 = 21_000;
/// Who is paid.
const PAYEE: Address = Address::repeat_byte(0xcc);

fn legacy(nonce: u64) -> TxLegacy {
    TxLegacy {
        chain_id: Some(CHAIN_ID),
        nonce,
        gas_price: PRICE,
        gas_limit: 100_000,
        to: TxKind::Call(PAYEE),
        value: U256::from(1),
        input: Bytes::new(),
    }
}

fn access_list(nonce: u64) -> TxEip2930 {
    let access_list = AccessList(vec![AccessListItem { address: FORWARDER, storage_keys: vec![B256::ZERO] }]);
    let TxLegacy { gas_price, gas_limit, to, value, input, .. } = legacy(nonce);
    TxEip2930 { chain_id: CHAIN_ID, nonce, gas_price, gas_limit, to, value, input, access_list }
}

fn dynamic(nonce: u64) -> TxEip1559 {
    let TxLegacy { gas_limit, to, value, input, .. } = legacy(nonce);
    TxEip1559 {
        chain_id: CHAIN_ID,
        nonce,
        gas_limit,
        max_fee_per_gas: PRICE,
        max_priority_fee_per_gas: 1,
        to,
        value,
        input,
        access_list: AccessList::default(),
    }
}

/// A versioned hash that counts.
fn blob(byte: u8) -> B256 {
    let mut hash = B256::repeat_byte(byte);
    hash.0[0] = 1;
    hash
}

fn blobs(nonce: u64, count: u8) -> TxEip4844 {
    TxEip4844 {
        chain_id: CHAIN_ID,
        nonce,
        gas_limit: 100_000,
        max_fee_per_gas: PRICE,
        max_priority_fee_per_gas: 1,
        to: PAYEE,
        value: U256::from(1),
        access_list: AccessList::default(),
        blob_versioned_hashes: (1..=count).map(blob).collect(),
        max_fee_per_blob_gas: 1_000,
        input: Bytes::new(),
    }
}

fn set_code(nonce: u64) -> TxEip7702 {
    let authorization = Authorization { chain_id: U256::from(CHAIN_ID), address: FORWARDER, nonce: 0 };
    let signed = authorization.clone().into_signed(signature(POOR, authorization.signature_hash()));
    TxEip7702 {
        chain_id: CHAIN_ID,
        nonce,
        gas_limit: 100_000,
        max_fee_per_gas: PRICE,
        max_priority_fee_per_gas: 1,
        to: PAYEE,
        value: U256::from(1),
        access_list: AccessList::default(),
        authorization_list: vec![signed],
        input: Bytes::new(),
    }
}

/// One of each type that the fork has, from one sender, and a call that asks for the price of blobs.
pub fn ordinary(fork: Fork) -> Vec<Transaction> {
    let mut all = vec![signed(RICH, legacy(0)), signed(RICH, access_list(1))];
    if fork >= Fork::London {
        all.push(signed(RICH, dynamic(2)));
    }
    if fork >= Fork::Cancun {
        all.push(signed(RICH, blobs(3, 2)));
        all.push(signed(RICH, TxEip1559 { to: TxKind::Call(BLOB_READER), value: U256::ZERO, ..dynamic(4) }));
    }
    if fork >= Fork::Prague {
        all.push(signed(RICH, set_code(5)));
    }
    all
}

/// What a block of one variant consists of.
enum Content {
    /// Transactions that can be parsed.
    Parsed(Vec<Transaction>),
    /// RLP of one that cannot.
    Raw(Bytes),
}

/// The variants on the chain's head.
///
/// `lenient` is the same chain with room for more blobs in a block: what Besu makes of too many is asked with the roots that follow
/// from executing them.
pub fn all(chain: &Chain, lenient: &Chain, fork: Fork) -> Vec<Variant> {
    let on = |chain, cases: Vec<(String, Content)>| cases.into_iter().map(move |(name, content)| variant(chain, name, content));
    let others = fields_of_legacy().into_iter().chain(fields_of_typed(fork)).chain(balances()).collect();
    on(chain, others).chain(on(lenient, blob_counts())).collect()
}

/// The block with this content as an honest builder would write it, where ours takes the transactions; else with what follows
/// from the body, and roots as if nothing had happened.
fn variant(chain: &Chain, name: String, content: Content) -> Variant {
    let (items, built) = match content {
        Content::Parsed(transactions) => {
            let items: Vec<Bytes> = transactions.iter().map(rlp).collect();
            let used = transactions.iter().map(|tx| tx.blob_count().unwrap_or(0)).sum::<u64>();
            let (block, all) = chain.built(transactions);
            if all {
                return Variant::new(name, &Draft::of(&block));
            }
            (items, with_blobs(chain, used))
        }
        Content::Raw(item) => (vec![item], with_blobs(chain, 0)),
    };
    let mut draft = Draft::of(&built);
    draft.header[10] = rlp(PLAIN * items.len() as u64);
    Variant::new(name, &draft.with_transactions(items))
}

/// The honest empty block with the gas of so many blobs.
fn with_blobs(chain: &Chain, count: u64) -> Block {
    let (mut block, _) = chain.built(Vec::new());
    block.header.blob_gas_used = block.header.blob_gas_used.map(|_| count * alloy_eips::eip4844::DATA_GAS_PER_BLOB);
    block
}

fn fields_of_legacy() -> Vec<(String, Content)> {
    let mut all = Vec::new();
    let mut add = |name: &str, from: u8, tx: TxLegacy| {
        all.push((format!("legacy {name}"), Content::Parsed(vec![signed(from, tx)])));
    };
    add("ordinary", RICH, legacy(0));
    add("without a chain id", RICH, TxLegacy { chain_id: None, ..legacy(0) });
    add("of another chain", RICH, TxLegacy { chain_id: Some(6), ..legacy(0) });
    add("nonce one more", RICH, legacy(1));
    add("nonce 2^64 − 1", RICH, legacy(u64::MAX));
    add("nonce below the state's", USED, TxLegacy { value: U256::ZERO, ..legacy(4) });
    add("gas limit 20,999", RICH, TxLegacy { gas_limit: PLAIN - 1, ..legacy(0) });
    add("gas limit 21,000", RICH, TxLegacy { gas_limit: PLAIN, ..legacy(0) });
    add("gas limit 2^24", RICH, TxLegacy { gas_limit: 1 << 24, ..legacy(0) });
    add("gas limit 2^24 + 1", RICH, TxLegacy { gas_limit: (1 << 24) + 1, ..legacy(0) });
    add("gas limit of the block", RICH, TxLegacy { gas_limit: 300_000_000, ..legacy(0) });
    add("gas limit of the block + 1", RICH, TxLegacy { gas_limit: 300_000_001, ..legacy(0) });
    add("gas limit 2^64 − 1", WHALE, TxLegacy { gas_limit: u64::MAX, ..legacy(0) });
    add("gas price 0", RICH, TxLegacy { gas_price: 0, ..legacy(0) });
    add("gas price 1", RICH, TxLegacy { gas_price: 1, ..legacy(0) });
    add("input of 31 floor bytes", RICH, TxLegacy { input: vec![1; 31].into(), gas_limit: PLAIN + 31 * 16, ..legacy(0) });
    add("creation of 49,152 bytes", RICH, creation(49_152));
    add("creation of 49,153 bytes", RICH, creation(49_153));
    add("from an account with code", CODED, TxLegacy { value: U256::ZERO, ..legacy(0) });
    let good = legacy(0);
    let hash = good.signature_hash();
    let made = signature(RICH, hash);
    let order = U256::from_be_bytes(ORDER);
    for (name, signature) in [
        ("high s", Signature::new(made.r(), order - made.s(), !made.v())),
        ("the other parity", Signature::new(made.r(), made.s(), !made.v())),
        ("r zero", Signature::new(U256::ZERO, made.s(), made.v())),
        ("s zero", Signature::new(made.r(), U256::ZERO, made.v())),
        ("r the order", Signature::new(order, made.s(), made.v())),
    ] {
        all.push((format!("legacy {name}"), Content::Parsed(vec![good.clone().into_signed(signature).into()])));
    }
    all
}

/// Order of the curve secp256k1.
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe, 0xba, 0xae, 0xdc, 0xe6, 0xaf,
    0x48, 0xa0, 0x3b, 0xbf, 0xd2, 0x5e, 0x8c, 0xd0, 0x36, 0x41, 0x41,
];

fn creation(bytes: usize) -> TxLegacy {
    TxLegacy { to: TxKind::Create, value: U256::ZERO, gas_limit: 3_000_000, input: vec![0; bytes].into(), ..legacy(0) }
}

/// Signed by one who offers these prices, which may have more bits than the library's types.
fn priced(from: u8, unsigned: impl Into<Unsigned>, prices: Prices) -> Transaction {
    Transaction::sign(unsigned.into(), prices, |hash| signature(from, hash))
}

/// 2^128, the first price that has more bits than the library's types.
fn wide() -> U256 {
    U256::from(1) << 128
}

/// The variants with prices of 2^128 wei and more on the chain's head: every field that is one, of every type.
pub fn wide_prices(chain: &Chain) -> Vec<Variant> {
    prices().into_iter().map(|(name, content)| variant(chain, name, content)).collect()
}

/// The whale has 2^256 − 1 wei, the rich 2^200.
fn prices() -> Vec<(String, Content)> {
    let mut all = Vec::new();
    let mut add = |name: &str, from: u8, unsigned: Unsigned, fee: U256, tip: Option<U256>, blob: Option<U256>| {
        let tx = priced(from, unsigned, Prices { fee, tip, blob });
        all.push((format!("wide {name}"), Content::Parsed(vec![tx])));
    };
    let one = U256::from(1);
    // What 21,000 gas may cost at most.
    let most = U256::MAX / U256::from(PLAIN);
    // Keeps GASPRICE in slot 0.
    let code = Bytes::from_static(&[0x3a, 0x60, 0, 0x55, 0]);
    let reader = || TxLegacy { to: TxKind::Create, value: U256::ZERO, input: code.clone(), ..legacy(0) };
    let plain = || TxLegacy { gas_limit: PLAIN, value: U256::ZERO, ..legacy(0) };
    add("legacy gas price 2^128", WHALE, plain().into(), wide(), None, None);
    add("legacy gas price 2^128, without a chain id", WHALE, TxLegacy { chain_id: None, ..plain() }.into(), wide(), None, None);
    add("legacy gas price 2^128, read by code", RICH, reader().into(), wide(), None, None);
    add("legacy gas price 2^200 + 1, read by code", WHALE, reader().into(), (one << 200) + one, None, None);
    add("legacy gas price 2^128, not paid for", POOR, plain().into(), wide(), None, None);
    add("legacy gas price of all that there is", WHALE, plain().into(), most, None, None);
    add("legacy gas × price 2^256 and more", WHALE, plain().into(), most + one, None, None);
    add("legacy gas price 2^256 − 1", WHALE, plain().into(), U256::MAX, None, None);
    add(
        "legacy gas price of all that there is, and a value",
        WHALE,
        TxLegacy { value: U256::MAX, ..plain() }.into(),
        most,
        None,
        None,
    );

    let listed = |tx: TxLegacy| TxEip2930 { to: tx.to, value: tx.value, input: tx.input, ..access_list(0) };
    add("access list gas price 2^128, read by code", WHALE, listed(reader()).into(), wide(), None, None);
    add("access list gas × price 2^256 and more", WHALE, listed(plain()).into(), most, None, None);

    let called = |tx: TxLegacy| TxEip1559 { to: tx.to, value: tx.value, input: tx.input, ..dynamic(0) };
    let mut both = |name: &str, from: u8, fee: U256, tip: U256| {
        add(&format!("dynamic {name}"), from, called(reader()).into(), fee, Some(tip), None);
    };
    both("max fee 2^128, tip 1", WHALE, wide(), one);
    both("max fee and tip 2^128", RICH, wide(), wide());
    both("max fee 2^200, tip 2^128", WHALE, one << 200, wide());
    both("max fee 2^128, not paid for", POOR, wide(), one);
    both("tip 2^128 above a max fee of 2^128 − 1", WHALE, wide() - one, wide());
    both("tip 2^128 + 1 above a max fee of 2^128", WHALE, wide(), wide() + one);
    both("gas × max fee 2^256 and more, tip 1", WHALE, most, one);
    both("max fee and tip 2^256 − 1", WHALE, U256::MAX, U256::MAX);

    let mut blob = |name: &str, from: u8, value: U256, fee: U256, tip: U256, blob: U256| {
        add(&format!("blob {name}"), from, TxEip4844 { value, ..blobs(0, 1) }.into(), fee, Some(tip), Some(blob));
    };
    let (price, none) = (U256::from(PRICE), U256::ZERO);
    blob("max fee and tip 2^128", WHALE, none, wide(), wide(), U256::from(1_000));
    blob("max blob fee 2^128", RICH, none, price, one, wide());
    blob("max blob fee 2^256 − 1, from 2^256 − 1 wei", WHALE, one, price, one, U256::MAX);
    blob("max blob fee 2^256 − 1, from 2^200 wei", RICH, none, price, one, U256::MAX);
    blob("max blob fee 2^256 − 1, and a value that is not there", WHALE, U256::MAX, price, one, U256::MAX);
    blob("tip 2^128 above a max fee of 2^128 − 1", WHALE, none, wide() - one, wide(), U256::from(1_000));

    add("set-code max fee and tip 2^128", WHALE, set_code(0).into(), wide(), Some(wide()), None);
    add("set-code max fee 2^128, tip 1", RICH, set_code(0).into(), wide(), Some(one), None);
    add("set-code gas × max fee 2^256 and more", WHALE, set_code(0).into(), most, Some(one), None);

    let mut raw = |name: &str, price: Vec<u8>| {
        let fields = [rlp(0u64), rlp(&price[..]), rlp(PLAIN), rlp(PAYEE), rlp(0u64), Bytes::from_static(&[0x80])];
        all.push((format!("wide {name}"), Content::Raw(sealed_list(&fields))));
    };
    raw("legacy gas price 2^128 with a leading zero", [&[0, 1][..], &[0; 16]].concat());
    raw("legacy gas price 2^256", [&[1][..], &[0; 32]].concat());
    all
}

fn sealed_list(fields: &[Bytes]) -> Bytes {
    let mut signed: Vec<Bytes> = fields.to_vec();
    let mut hashed = signed.clone();
    hashed.extend([rlp(CHAIN_ID), rlp(0u64), rlp(0u64)]);
    let made = signature(WHALE, keccak256(list(&hashed)));
    signed.extend([rlp(CHAIN_ID * 2 + 35 + u64::from(made.v())), rlp(made.r()), rlp(made.s())]);
    list(&signed)
}

fn fields_of_typed(fork: Fork) -> Vec<(String, Content)> {
    let mut all = Vec::new();
    let mut add = |name: &str, tx: Transaction| all.push((name.to_owned(), Content::Parsed(vec![tx])));
    add("access list ordinary", signed(RICH, access_list(0)));
    add("access list of another chain", signed(RICH, TxEip2930 { chain_id: 6, ..access_list(0) }));
    add("access list gas limit too low", signed(RICH, TxEip2930 { gas_limit: PLAIN + 4_299, ..access_list(0) }));
    add("access list gas limit just right", signed(RICH, TxEip2930 { gas_limit: PLAIN + 4_300, ..access_list(0) }));
    add("dynamic ordinary", signed(RICH, dynamic(0)));
    add("dynamic max fee 0", signed(RICH, TxEip1559 { max_fee_per_gas: 0, max_priority_fee_per_gas: 0, ..dynamic(0) }));
    add("dynamic tip above the max fee", signed(RICH, TxEip1559 { max_priority_fee_per_gas: PRICE + 1, ..dynamic(0) }));
    add("dynamic of another chain", signed(RICH, TxEip1559 { chain_id: 6, ..dynamic(0) }));
    add("blob ordinary", signed(RICH, blobs(0, 1)));
    add("blob max blob fee 0", signed(RICH, TxEip4844 { max_fee_per_blob_gas: 0, ..blobs(0, 1) }));
    add("blob max blob fee 1", signed(RICH, TxEip4844 { max_fee_per_blob_gas: 1, ..blobs(0, 1) }));
    let other = B256::repeat_byte(2);
    add("blob hash of another version", signed(RICH, TxEip4844 { blob_versioned_hashes: vec![other], ..blobs(0, 1) }));
    add("blob tip above the max fee", signed(RICH, TxEip4844 { max_priority_fee_per_gas: PRICE + 1, ..blobs(0, 1) }));
    add("set-code ordinary", signed(RICH, set_code(0)));
    add("set-code without authorizations", signed(RICH, TxEip7702 { authorization_list: Vec::new(), ..set_code(0) }));
    let foreign = Authorization { chain_id: U256::from(6), address: FORWARDER, nonce: 0 };
    let foreign = foreign.clone().into_signed(signature(POOR, foreign.signature_hash()));
    add("set-code authorization of another chain", signed(RICH, TxEip7702 { authorization_list: vec![foreign], ..set_code(0) }));
    if fork >= Fork::Cancun {
        add(
            "a call that asks for the price of blobs",
            signed(RICH, TxLegacy { to: TxKind::Call(BLOB_READER), value: U256::ZERO, ..legacy(0) }),
        );
    }
    all
}

/// What is paid and cannot be, up to 2^256.
fn balances() -> Vec<(String, Content)> {
    let mut all = Vec::new();
    let mut add = |name: &str, from: u8, tx: TxLegacy| {
        all.push((format!("legacy {name}"), Content::Parsed(vec![signed(from, tx)])));
    };
    let word = |address: Address| Bytes::copy_from_slice(address.into_word().as_slice());
    add("value beyond the balance", POOR, TxLegacy { value: U256::from(1) << 60, ..legacy(0) });
    add("value 2^256 − 1", WHALE, TxLegacy { value: U256::MAX, ..legacy(0) });
    add("gas × price 2^128 and more", WHALE, TxLegacy { gas_price: u128::MAX, ..legacy(0) });
    add("gas × price 2^128 and more, not paid for", POOR, TxLegacy { gas_price: u128::MAX, ..legacy(0) });
    add("payment that overflows a balance", WHALE, TxLegacy { to: TxKind::Call(FULL), ..legacy(0) });
    let call = |to: Address, heir: Address| TxLegacy { to: TxKind::Call(to), input: word(heir), ..legacy(0) };
    add("call that pays an account with room", WHALE, call(FORWARDER, PAYEE));
    add("call whose payment overflows a balance", WHALE, call(FORWARDER, FULL));
    add("contract that leaves its wei to one with room", WHALE, call(DESTROYER, PAYEE));
    add("contract whose heir's balance overflows", WHALE, call(DESTROYER, FULL));
    add("creation at an address whose balance overflows", WHALE, TxLegacy { to: TxKind::Call(CREATOR), ..legacy(0) });
    all
}

/// Blobs of one transaction and of several.
fn blob_counts() -> Vec<(String, Content)> {
    let mut all = Vec::new();
    for count in [0, 6, 7, 9, 10] {
        all.push((format!("blob × {count} in one transaction"), Content::Parsed(vec![signed(RICH, blobs(0, count))])));
    }
    for (first, second) in [(3, 3), (3, 4), (5, 4), (6, 4)] {
        let both = vec![signed(RICH, blobs(0, first)), signed(RICH, blobs(1, second))];
        all.push((format!("blob × {} in two transactions", first + second), Content::Parsed(both)));
    }
    all
}

/// A payment to nobody in particular with `gas` and `input`, for blocks of a given size.
pub fn filler(nonce: u64, gas_limit: u64, input: Bytes) -> Transaction {
    signed(RICH, TxLegacy { gas_limit, input, value: U256::ZERO, ..legacy(nonce) })
}

/// A call with this input by the rich account.
pub fn call(nonce: u64, to: Address, input: Bytes) -> Transaction {
    signed(RICH, TxLegacy { to: TxKind::Call(to), input, value: U256::ZERO, gas_limit: 1_000_000, ..legacy(nonce) })
}
