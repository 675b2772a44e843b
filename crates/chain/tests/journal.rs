//! A block executed with one journal (as the ledger does) leaves what its transactions leave one by one, whatever is created,
//! destroyed, funded and created again in it.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/order.rs"]
mod order;

use std::sync::Arc;

use alloy_consensus::{SignableTransaction, TxLegacy};
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256, hex, keccak256};
use ipe_chain::kv::{MemoryStore, Table};
use ipe_chain::receipts::gas_used;
use ipe_chain::{Bound, Candidate, Feedback, Ledger};
use ipe_types::block::{Block, Transaction};
use ipe_types::crypto::NodeKey;
use ipe_types::extra::ExtraData;
use ipe_types::header::{commit_hash, with_round_and_seals};
use ipe_types::spec::ChainSpec;
use revm::database_interface::DatabaseRef;
use revm::inspector::NoOpInspector;

/// Called without input: counts in slot 0. With an address: destroys itself in its favour.
const CHILD: &str = "36600e57600054600101600055005b600035ff";

fn init_code() -> Vec<u8> {
    hex::decode(format!("72{CHILD}6000526007600155{}", "6013600df3")).unwrap()
}

/// CREATE2 of a child with the salt in the input and the value of the call.
fn factory() -> String {
    format!("6021601160003960003560216000{}{}", "34f500", hex::encode(init_code()))
}

const FACTORY: Address = Address::repeat_byte(0xfa);

fn child(salt: u64) -> Address {
    FACTORY.create2(B256::from(U256::from(salt)), keccak256(init_code()))
}

fn key(byte: u8) -> NodeKey {
    NodeKey::from_bytes([byte; 32]).unwrap()
}

fn ledger(forks: &str) -> (MemoryStore, Ledger) {
    let extra = ExtraData::genesis(vec![key(1).address()]).encode();
    let genesis = format!(
        r#"{{"config":{{"chainId":5,{forks},"zeroBaseFee":true,"qbft":{{"blockperiodseconds":1}}}},"gasLimit":"0x1c9c380","baseFeePerGas":"0x0",
        "difficulty":"0x1","extraData":"{extra}","alloc":{{"{}":{{"balance":"1000000"}},"{FACTORY}":{{"balance":"0","code":"0x{}"}}}}}}"#,
        key(9).address(),
        factory()
    );
    let store = MemoryStore::new();
    let ledger = Ledger::open(Arc::new(store.clone()), Arc::new(ChainSpec::parse(&genesis).unwrap())).unwrap();
    (store, ledger)
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

fn action(random: &mut Random, nonce: u64) -> Arc<Candidate> {
    let salt = random.below(3);
    let word = |address: Address| Bytes::copy_from_slice(address.into_word().as_slice());
    let (to, input, value) = match random.below(6) {
        0 | 1 => (FACTORY, Bytes::copy_from_slice(&U256::from(salt).to_be_bytes::<32>()), random.below(3)),
        2 => (child(salt), Bytes::new(), random.below(2)),
        3 => (child(salt), word(child(random.below(3))), random.below(2)),
        4 => (child(salt), word(Address::repeat_byte(0xee)), random.below(2)),
        _ => (child(salt), Bytes::new(), random.below(2) * 5),
    };
    let tx = TxLegacy {
        chain_id: Some(5),
        nonce,
        gas_price: 0,
        gas_limit: 200_000,
        to: TxKind::Call(to),
        value: U256::from(value),
        input,
    };
    let signed = key(9).sign(tx.signature_hash());
    let bytes = signed.as_slice();
    let signature = Signature::new(U256::from_be_slice(&bytes[..32]), U256::from_be_slice(&bytes[32..64]), bytes[64] == 1);
    Arc::new(Candidate::recover(Transaction::from(tx.into_signed(signature))).unwrap())
}

fn watched() -> Vec<Address> {
    let mut all = vec![FACTORY, Address::repeat_byte(0xee), key(9).address()];
    all.extend((0..3).map(child));
    all
}

fn run(forks: &str, seed: u64) -> usize {
    let (_, ledger) = ledger(forks);
    let (mut random, mut nonce, mut destroyed) = (Random(seed), 0, 0);
    for _ in 0..30 {
        let order = order::next(&ledger.head());
        let mut left = random.below(12) + 1;
        let mut next = |feedback: Feedback| {
            assert!(matches!(feedback, Feedback::Start | Feedback::Included { .. }), "{feedback:?}");
            left = left.checked_sub(1)?;
            nonce += 1;
            Some(action(&mut random, nonce - 1))
        };
        let built = ledger.build(&order, &mut next, Bound::NONE).unwrap();
        let header = &built.block().header;
        let seal = key(1).sign(commit_hash(header, 0).unwrap());
        let header = with_round_and_seals(header, 0, vec![seal]).unwrap();
        ledger.import(built.clone(), Arc::new(Block { header, body: built.block().body.clone() })).unwrap();

        let number = ledger.head().number;
        let mut replay = ledger.replay(number).unwrap().unwrap();
        let gas = gas_used(built.receipts());
        for (index, gas) in gas.iter().enumerate() {
            let simulated = replay.step(NoOpInspector).unwrap().unwrap();
            assert_eq!(simulated.result.tx_gas_used(), *gas, "{forks} seed {seed} block {number} transaction {index}");
            destroyed += simulated.state.values().filter(|account| account.is_selfdestructed()).count();
        }
        let view = ledger.view(number).unwrap().unwrap();
        for address in watched() {
            let at = format!("{forks} seed {seed} block {number} {address}");
            let plain = |info: Option<revm::state::AccountInfo>| {
                info.filter(|info| !info.is_empty()).map(|info| (info.nonce, info.balance, info.code_hash))
            };
            let (ours, theirs) = (view.basic_ref(address).unwrap(), replay.db().basic_ref(address).unwrap());
            assert_eq!(plain(ours), plain(theirs), "{at}");
            for slot in 0..2 {
                let slot = U256::from(slot);
                assert_eq!(
                    view.storage_ref(address, slot).unwrap(),
                    replay.db().storage_ref(address, slot).unwrap(),
                    "{at} {slot}"
                );
            }
        }
    }
    destroyed
}

#[test]
fn one_journal_a_block_or_one_a_transaction_come_to_the_same() {
    let forks = [
        r#""byzantiumBlock":0,"constantinopleBlock":0,"petersburgBlock":0"#,
        r#""berlinBlock":0"#,
        r#""londonBlock":0"#,
        r#""londonBlock":0,"cancunTime":0"#,
        r#""londonBlock":0,"pragueTime":0"#,
        r#""londonBlock":0,"osakaTime":0"#,
    ];
    for forks in forks {
        let destroyed: usize = (1..=6u64).map(|seed| run(forks, 0x9e37_79b9_7f4a_7c15u64.wrapping_mul(seed))).sum();
        let cancun = forks.contains("Time");
        assert!(cancun || destroyed > 50, "{forks}: only {destroyed} contracts destroyed");
    }
}

#[test]
fn an_empty_block_and_a_transfer_take_little_room() {
    let (store, ledger) = ledger(r#""berlinBlock":0"#);
    let size = || Table::ALL.into_iter().filter(|table| *table != Table::Headers).map(|table| store.bytes(table)).sum::<usize>();
    let grow = |transfers: usize, from: u64| {
        let before = size();
        let mut nonce = from;
        for _ in 0..20 {
            let order = order::next(&ledger.head());
            let mut left = transfers;
            let mut next = |_| {
                left = left.checked_sub(1)?;
                nonce += 1;
                Some(payment(nonce - 1))
            };
            let built = ledger.build(&order, &mut next, Bound::NONE).unwrap();
            let header = &built.block().header;
            let seal = key(1).sign(commit_hash(header, 0).unwrap());
            let header = with_round_and_seals(header, 0, vec![seal]).unwrap();
            ledger.import(built.clone(), Arc::new(Block { header, body: built.block().body.clone() })).unwrap();
        }
        (size() - before) / 20
    };
    let empty = grow(0, 0);
    let full = grow(100, 0);
    println!("{empty} bytes an empty block beyond its header, {} a transfer", (full - empty) / 100);
    assert!(empty <= 100, "an empty block takes {empty} bytes beyond its header");
    assert!(full <= 100 * 320, "a transfer takes {} bytes", full / 100);
}

fn payment(nonce: u64) -> Arc<Candidate> {
    let tx = TxLegacy {
        chain_id: Some(5),
        nonce,
        gas_price: 0,
        gas_limit: 21_000,
        to: TxKind::Call(Address::from_word(keccak256(nonce.to_be_bytes()))),
        value: U256::from(1),
        input: Bytes::new(),
    };
    let signed = key(9).sign(tx.signature_hash());
    let bytes = signed.as_slice();
    let signature = Signature::new(U256::from_be_slice(&bytes[..32]), U256::from_be_slice(&bytes[32..64]), bytes[64] == 1);
    Arc::new(Candidate::recover(Transaction::from(tx.into_signed(signature))).unwrap())
}
