//! Chains whose genesis is in GoQuorum's format: one where gas has no price, and one where it has.

use alloy_consensus::{Eip658Value, Receipt, ReceiptEnvelope, SignableTransaction as _, TxLegacy, proofs};
use alloy_primitives::{Bytes, TxKind, U256, keccak256};
use ipe_types::fork::Fork;

use crate::chain::{Chain, FORWARDER, Fees, Plan, RICH, genesis, signature, signed};
use crate::draft::{Draft, list, rlp};
use crate::{Scenario, Variant, headers, transactions};

/// Every fork that GoQuorum wants to be named, and its mark.
const CONFIG: &str = r#","homesteadBlock":0,"eip150Block":0,"eip155Block":0,"eip158Block":0,"byzantiumBlock":0,"constantinopleBlock":0,"petersburgBlock":0,"istanbulBlock":0,"muirGlacierBlock":0,"isQuorum":true"#;
/// Of the quorum that Besu has too.
const QBFT: &str = r#","policy":0,"epochlength":30000,"ceil2Nby3Block":0"#;

/// The chains.
pub fn all() -> Vec<Scenario> {
    vec![without_price(), with_price()]
}

fn chain(config: &str) -> Chain {
    let config = format!("{CONFIG}{config}");
    Chain::new(genesis(Plan { fork: Fork::Berlin, fees: Fees::Market, config: &config, qbft: QBFT, alloc: "" }), Fees::Market)
}

fn scenario(name: &str, chain: Chain, variants: Vec<Variant>) -> Scenario {
    Scenario { name: format!("goquorum {name}"), variants, min_gas_price: 0, good: vec![chain.first], genesis: chain.genesis }
}

/// Headers and lists, prices, and a private transaction.
fn without_price() -> Scenario {
    let chain = chain("");
    let free = |nonce: u64| TxLegacy {
        chain_id: Some(crate::chain::CHAIN_ID),
        nonce,
        gas_price: 0,
        gas_limit: 100_000,
        to: TxKind::Call(FORWARDER),
        value: U256::ZERO,
        input: Bytes::new(),
    };
    let (good, all) = chain.built(vec![signed(RICH, free(0)), signed(RICH, free(1))]);
    assert!(all, "ours takes what offers no price");
    let (empty, _) = chain.built(Vec::new());
    let mut variants =
        vec![Variant::new("good".to_owned(), &Draft::of(&good)), Variant::new("good and empty".to_owned(), &Draft::of(&empty))];
    variants.extend(headers::fields(&good));
    variants.extend(headers::endings(&empty, Fork::Berlin));
    variants.extend(headers::lists(&good, Fork::Berlin));
    // Executed where prices are, so that only the price is wrong.
    let (priced, all) = self::chain(PRICED).built(vec![signed(RICH, TxLegacy { gas_price: 1, ..free(0) })]);
    assert!(all, "ours takes a price where there is one");
    let mut priced = Draft::of(&priced);
    let parent = Draft::of(&empty);
    priced.header[0] = parent.header[0].clone();
    variants.push(Variant::new("legacy gas price 1".to_owned(), &priced));
    variants.push(private(&chain, free(0)));
    scenario("without gas price", chain, variants)
}

/// A transaction that GoQuorum takes for a private one: signed as before EIP-155, with v = 37 or 38. A node without the payload
/// only counts the nonce.
fn private(chain: &Chain, tx: TxLegacy) -> Variant {
    let (counted, all) = chain.built(vec![signed(RICH, tx.clone())]);
    assert!(all, "a call that changes nothing but the nonce");
    let payload = keccak256("a payload").0;
    // 64 bytes that name the payload.
    let private = TxLegacy { input: [payload, payload].concat().into(), chain_id: None, ..tx };
    let made = signature(RICH, private.signature_hash());
    let item = list(&[
        rlp(private.nonce),
        rlp(private.gas_price),
        rlp(private.gas_limit),
        rlp(private.to),
        rlp(private.value),
        rlp(&private.input[..]),
        rlp(37 + u64::from(made.v())),
        rlp(made.r()),
        rlp(made.s()),
    ]);
    let mut draft = Draft::of(&counted).with_transactions(vec![item]);
    let receipt = Receipt { status: Eip658Value::Eip658(true), cumulative_gas_used: 0, logs: Vec::<alloy_primitives::Log>::new() };
    draft.header[5] = rlp(proofs::calculate_receipt_root(&[ReceiptEnvelope::Legacy(receipt.with_bloom())]));
    draft.header[10] = rlp(0u64);
    Variant::new("legacy private".to_owned(), &draft)
}

const PRICED: &str = r#","enableGasPriceBlock":0"#;

/// Transactions, as on Besu's chains.
fn with_price() -> Scenario {
    let chain = chain(PRICED);
    let (good, all) = chain.built(transactions::ordinary(Fork::Berlin));
    assert!(all, "ours takes every ordinary transaction");
    let mut variants = vec![Variant::new("good".to_owned(), &Draft::of(&good))];
    variants.extend(transactions::all(&chain, &chain, Fork::Berlin));
    variants.extend(transactions::wide_prices(&chain));
    scenario("with gas price", chain, variants)
}
