//! Transactions that pay 2^128 wei and more for a gas: whatever is mixed with what, everybody has afterwards what the prices say,
//! GASPRICE tells them, and the block is the same to its maker, to who checks it, after a restart and when it is executed again.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/order.rs"]
mod order;

use std::collections::BTreeMap;
use std::sync::Arc;

use alloy_consensus::{TxEip1559, TxEip2930, TxEip4844, TxEip7702, TxLegacy};
use alloy_eips::eip7702::Authorization;
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256, address};
use ipe_chain::kv::MemoryStore;
use ipe_chain::receipts::gas_used;
use ipe_chain::{Candidate, Ledger, Terms};
use ipe_types::extra::ExtraData;
use ipe_types::spec::ChainSpec;
use ipe_types::transaction::{Prices, Unsigned};
use ipe_types::{NodeKey, Transaction};
use order::{key, seal};
use proptest::prelude::*;
use revm::database_interface::DatabaseRef as _;
use revm::inspector::NoOpInspector;

/// Keeps GASPRICE in the slot that the input names.
const READER: Address = address!("0x00000000000000000000000000000000000c0de5");
/// Three who have 2^250 wei.
const SENDERS: [u8; 3] = [9, 10, 11];
const BASE_FEE: u64 = 1_000_000_000;

fn spec(fork: &str, fees: &str) -> Arc<ChainSpec> {
    let extra = ExtraData::genesis(vec![key(1).address()]).encode();
    let balance = U256::from(1) << 250;
    let alloc = SENDERS.map(|n| format!(r#""{}":{{"balance":"{balance:#x}"}}"#, key(n).address())).join(",");
    let genesis = format!(
        r#"{{"config":{{"chainId":5,"berlinBlock":0{fork}{fees},"qbft":{{"blockperiodseconds":1}}}},"gasLimit":"0x1c9c380","difficulty":"0x1",
        "timestamp":"0x10","extraData":"{extra}","alloc":{{{alloc},"{READER}":{{"balance":"0","code":"0x3a60003555"}}}}}}"#
    );
    Arc::new(ChainSpec::parse(&genesis).unwrap())
}

const OSAKA: &str = r#","londonBlock":0,"shanghaiTime":0,"cancunTime":0,"pragueTime":0,"osakaTime":0"#;

fn sign(from: &NodeKey, hash: B256) -> Signature {
    let signed = from.sign(hash);
    let bytes = signed.as_slice();
    Signature::new(U256::from_be_slice(&bytes[..32]), U256::from_be_slice(&bytes[32..64]), bytes[64] == 1)
}

/// One transaction: type, sender, prices and value.
#[derive(Clone, Debug)]
struct Wish {
    kind: u8,
    from: usize,
    prices: Prices,
    value: u64,
}

fn made(wish: &Wish, nonce: u64, slot: usize) -> Arc<Candidate> {
    let from = key(SENDERS[wish.from]);
    let (to, value, input) = (READER, U256::from(wish.value), Bytes::from(U256::from(slot).to_be_bytes::<32>()));
    let gas_limit = 200_000;
    let unsigned: Unsigned = match wish.kind {
        0 => TxLegacy { chain_id: Some(5), nonce, gas_limit, to: TxKind::Call(to), value, input, ..TxLegacy::default() }.into(),
        1 => TxEip2930 { chain_id: 5, nonce, gas_limit, to: TxKind::Call(to), value, input, ..TxEip2930::default() }.into(),
        2 => TxEip1559 { chain_id: 5, nonce, gas_limit, to: TxKind::Call(to), value, input, ..TxEip1559::default() }.into(),
        3 => {
            let mut blob = B256::repeat_byte(9);
            blob.0[0] = 1;
            let blob_versioned_hashes = vec![blob];
            Unsigned::Eip4844(TxEip4844 {
                chain_id: 5,
                nonce,
                gas_limit,
                to,
                value,
                input,
                blob_versioned_hashes,
                ..TxEip4844::default()
            })
        }
        _ => {
            let authorization = Authorization { chain_id: U256::from(6), address: to, nonce: 0 };
            let signed = authorization.clone().into_signed(sign(&from, authorization.signature_hash()));
            let authorization_list = vec![signed];
            TxEip7702 { chain_id: 5, nonce, gas_limit, to, value, input, authorization_list, ..TxEip7702::default() }.into()
        }
    };
    Arc::new(Candidate::recover(Transaction::sign(unsigned, wish.prices, |hash| sign(&from, hash))).unwrap())
}

/// Above every base fee here, and up to what 200,000 gas may cost of 2^250 wei; mostly about 2^128.
fn price() -> impl Strategy<Value = U256> {
    prop_oneof![
        (32usize..225, any::<u64>()).prop_map(|(bits, low)| (U256::from(1) << bits) + U256::from(low)),
        (0u64..4).prop_map(|off| (U256::from(1) << 128) - U256::from(2) + U256::from(off)),
        Just(U256::from(10 * BASE_FEE)),
    ]
}

fn wish() -> impl Strategy<Value = Wish> {
    (0u8..5, 0..SENDERS.len(), price(), price(), price(), any::<bool>(), any::<u64>()).prop_map(
        |(kind, from, one, other, blob, small, value)| {
            let (fee, tip) = (one.max(other), if small { U256::from(3) } else { one.min(other) });
            let prices = Prices { fee, tip: (kind >= 2).then_some(tip), blob: (kind == 3).then_some(blob) };
            Wish { kind, from, prices, value }
        },
    )
}

fn balance(ledger: &Ledger, of: Address) -> U256 {
    let view = ledger.view(ledger.head().number).unwrap().unwrap();
    view.basic_ref(of).unwrap().map_or(U256::ZERO, |account| account.balance)
}

/// Executes a block with these and compares what everybody has with what the prices say, in 256 bits.
fn run(fork: &str, fees: &str, wishes: &[Wish]) {
    let spec = spec(fork, fees);
    let store = MemoryStore::new();
    let ledger = Ledger::open(Arc::new(store.clone()), Arc::clone(&spec)).unwrap();
    let mut nonces = [0; SENDERS.len()];
    let candidates: Vec<Arc<Candidate>> = wishes
        .iter()
        .enumerate()
        .map(|(slot, wish)| {
            nonces[wish.from] += 1;
            made(wish, nonces[wish.from] - 1, slot)
        })
        .collect();
    let before: Vec<U256> = SENDERS.iter().map(|n| balance(&ledger, key(*n).address())).collect();
    let (built, told) = order::build(&ledger, &candidates);
    let block = Arc::clone(built.block());
    assert_eq!(block.body.transactions.len(), wishes.len(), "{told:?}");

    // Somebody else judges the bytes, votes, and imports them with a seal.
    let other = Ledger::open(Arc::new(MemoryStore::new()), Arc::clone(&spec)).unwrap();
    let sent = alloy_rlp::encode(&*block);
    let read = Arc::new(ipe_chain::RawBlock(sent.into()).decode().unwrap());
    assert_eq!(read, block);
    other.check_proposal(Arc::clone(&read), block.header.timestamp * 1_000, &|_| None, Terms::NONE).unwrap();
    order::import(&other, &read).unwrap();
    let sealed = seal(&block, 0, [1]);
    ledger.import(built, sealed).unwrap();
    drop(ledger);

    // Read again from the store.
    let ledger = Ledger::open(Arc::new(store), Arc::clone(&spec)).unwrap();
    assert_eq!(ledger.head().header.state_root, other.head().header.state_root);
    let stored = ledger.stored(1).unwrap().unwrap();
    let base_fee = block.header.base_fee_per_gas;
    let mut expected: BTreeMap<Address, U256> = SENDERS.iter().map(|n| key(*n).address()).zip(before).collect();
    let (mut earned, mut received) = (U256::ZERO, U256::ZERO);
    let view = ledger.view(1).unwrap().unwrap();
    let mut replay = ledger.replay(1).unwrap().unwrap();
    for (index, gas) in gas_used(&stored.receipts).into_iter().enumerate() {
        let (tx, wish) = (&stored.block.body.transactions[index], &wishes[index]);
        assert_eq!((tx, tx.prices()), (&candidates[index].tx, wish.prices), "as it was sent");
        assert_eq!(ledger.transaction(tx.tx_hash()).unwrap().unwrap().tx(), tx);
        assert!(stored.receipts[index].status(), "{wish:?}");
        let base = U256::from(base_fee.unwrap_or(0));
        let price = wish.prices.tip.map_or(wish.prices.fee, |tip| wish.prices.fee.min(base + tip));
        assert_eq!(tx.effective_gas_price(base_fee), price);
        assert_eq!(view.storage_ref(READER, U256::from(index)).unwrap(), price, "GASPRICE of {wish:?}");
        let blobs = if wish.kind == 3 { spec.blob_rules(1, 17).price(0) * u128::from(tx.blob_gas_used().unwrap()) } else { 0 };
        let sender = expected.get_mut(&key(SENDERS[wish.from]).address()).unwrap();
        *sender -= price * U256::from(gas) + U256::from(wish.value) + U256::from(blobs);
        earned += (price - base) * U256::from(gas);
        received += U256::from(wish.value);
        let again = replay.step(NoOpInspector).unwrap().unwrap();
        assert_eq!(again.result.tx_gas_used(), gas);
    }
    for (account, has) in expected {
        assert_eq!(balance(&ledger, account), has);
        assert_eq!(replay.db().basic_ref(account).unwrap().unwrap().balance, has, "executed again");
    }
    assert_eq!(balance(&ledger, block.header.beneficiary), earned);
    assert_eq!(balance(&ledger, READER), received);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn everybody_has_what_the_prices_say(
        fees in prop::sample::select(vec!["", r#","zeroBaseFee":true"#]),
        mut wishes in proptest::collection::vec(wish(), 1..12),
    ) {
        // A block has nine blobs at most.
        let mut blobs = 0;
        wishes.retain(|wish| wish.kind != 3 || { blobs += 1; blobs <= 6 });
        run(OSAKA, fees, &wishes);
    }

    #[test]
    fn before_there_was_a_base_fee(mut wishes in proptest::collection::vec(wish(), 1..12)) {
        for wish in &mut wishes {
            wish.kind %= 2;
            wish.prices = Prices { tip: None, blob: None, ..wish.prices };
        }
        run("", "", &wishes);
    }
}
