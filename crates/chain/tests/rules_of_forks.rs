//! Rules that the EVM's library leaves to us: EIP-1283, which Constantinople has until Petersburg, and EIP-7610.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/order.rs"]
mod order;

use std::sync::Arc;

use alloy_consensus::{SignableTransaction, TxEip4844, TxLegacy, TxReceipt};
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256};
use ipe_chain::kv::MemoryStore;
use ipe_chain::receipts::gas_used;
use ipe_chain::{AccountOverride, Bound, Candidate, Env, Ledger, Overrides, Relax, SimDb, Terms};
use ipe_types::block::{Block, Transaction};
use ipe_types::crypto::NodeKey;
use ipe_types::extra::ExtraData;
use ipe_types::header::{commit_hash, with_round_and_seals};
use ipe_types::spec::ChainSpec;
use revm::context::TxEnv;
use revm::inspector::NoOpInspector;

fn key(byte: u8) -> NodeKey {
    NodeKey::from_bytes([byte; 32]).unwrap()
}

fn ledger(forks: &str, alloc: &str) -> Ledger {
    let extra = ExtraData::genesis(vec![key(1).address()]).encode();
    let genesis = format!(
        r#"{{"config":{{"chainId":5,{forks},"zeroBaseFee":true,"qbft":{{"blockperiodseconds":1}}}},"gasLimit":"0x1c9c380","difficulty":"0x1","baseFeePerGas":"0x0",
        "extraData":"{extra}","alloc":{{"{}":{{"balance":"1000000"}}{alloc}}}}}"#,
        key(9).address(),
    );
    Ledger::open(Arc::new(MemoryStore::new()), Arc::new(ChainSpec::parse(&genesis).unwrap())).unwrap()
}

fn transaction(nonce: u64, to: TxKind, input: Bytes) -> Arc<Candidate> {
    signed(TxLegacy { chain_id: Some(5), nonce, gas_price: 0, gas_limit: 200_000, to, value: U256::ZERO, input })
}

fn signed<T>(tx: T) -> Arc<Candidate>
where
    T: SignableTransaction<Signature>,
    alloy_consensus::Signed<T>: Into<Transaction>,
{
    let signed = key(9).sign(tx.signature_hash());
    let bytes = signed.as_slice();
    let signature = Signature::new(U256::from_be_slice(&bytes[..32]), U256::from_be_slice(&bytes[32..64]), bytes[64] == 1);
    Arc::new(Candidate::recover(tx.into_signed(signature).into()).unwrap())
}

/// Imports the next block with these transactions, those that it may have; whether each succeeded, and the gas that it used.
fn block(ledger: &Ledger, transactions: Vec<Arc<Candidate>>) -> Vec<(bool, u64)> {
    let order = order::next(&ledger.head());
    let mut left = transactions.into_iter();
    let built = ledger.build(&order, &mut |_| left.next(), Bound::NONE).unwrap();
    let header = &built.block().header;
    let seal = key(1).sign(commit_hash(header, 0).unwrap());
    let header = with_round_and_seals(header, 0, vec![seal]).unwrap();
    ledger.import(built.clone(), Arc::new(Block { header, body: built.block().body.clone() })).unwrap();
    let receipts = ledger.receipts(ledger.head().number).unwrap().unwrap();
    receipts.iter().map(TxReceipt::status).zip(gas_used(&receipts)).collect()
}

/// The examples of EIP-1283: code, gas that it uses, refund, and the slot's value before.
const EXAMPLES: [(&str, u64, u64, u64); 17] = [
    ("60006000556000600055", 412, 0, 0),
    ("60006000556001600055", 20_212, 0, 0),
    ("60016000556000600055", 20_212, 19_800, 0),
    ("60016000556002600055", 20_212, 0, 0),
    ("60016000556001600055", 20_212, 0, 0),
    ("60006000556000600055", 5_212, 15_000, 1),
    ("60006000556001600055", 5_212, 4_800, 1),
    ("60006000556002600055", 5_212, 0, 1),
    ("60026000556000600055", 5_212, 15_000, 1),
    ("60026000556003600055", 5_212, 0, 1),
    ("60026000556001600055", 5_212, 4_800, 1),
    ("60026000556002600055", 5_212, 0, 1),
    ("60016000556000600055", 5_212, 15_000, 1),
    ("60016000556002600055", 5_212, 0, 1),
    ("60016000556001600055", 412, 0, 1),
    ("600160005560006000556001600055", 40_218, 19_800, 0),
    ("600060005560016000556000600055", 10_218, 19_800, 1),
];

#[test]
fn constantinople_without_petersburg_has_the_gas_of_eip_1283() {
    let address = |at: usize| Address::with_last_byte(0x80 + u8::try_from(at).unwrap());
    let alloc: String = EXAMPLES
        .iter()
        .enumerate()
        .map(|(at, (code, _, _, before))| {
            format!(r#","{}":{{"balance":"1","code":"0x{code}","storage":{{"0x0":"{before:#x}"}}}}"#, address(at))
        })
        .collect();
    let calls = || (0..EXAMPLES.len()).map(|at| transaction(at as u64, TxKind::Call(address(at)), Bytes::new())).collect();

    let net = ledger(r#""byzantiumBlock":0,"constantinopleBlock":0"#, &alloc);
    let used = block(&net, calls());
    for (at, (code, gas, refund, before)) in EXAMPLES.iter().enumerate() {
        let whole = 21_000 + gas;
        assert_eq!(used[at], (true, whole - (*refund).min(whole / 2)), "{code} over {before}");
    }
    let mut replay = net.replay(1).unwrap().unwrap();
    for (at, (_, gas)) in used.iter().enumerate() {
        assert_eq!(replay.step(NoOpInspector).unwrap().unwrap().result.tx_gas_used(), *gas, "transaction {at} again");
    }

    // Petersburg takes it back, at whatever height: two writes of nothing over nothing are 5,000 gas each.
    for forks in
        [r#""byzantiumBlock":0,"constantinopleBlock":0,"petersburgBlock":0"#, r#""byzantiumBlock":0,"constantinopleBlock":9"#]
    {
        assert_eq!(block(&ledger(forks, &alloc), calls())[0], (true, 31_012), "{forks}");
    }
}

#[test]
fn nothing_is_created_where_storage_is() {
    let created = key(9).address().create(0);
    // A contract whose code creates what it is called with, and one that CREATE2 would make of no code.
    let factory = Address::repeat_byte(0xfa);
    let by_factory = factory.create2(B256::ZERO, alloy_primitives::keccak256([]));
    let storage = r#"{"balance":"7","storage":{"0x1":"0x2"}}"#;
    // CREATE2 of nothing with salt 0; the address goes to slot 0.
    let alloc = format!(
        r#","{created}":{storage},"{by_factory}":{storage},"{factory}":{{"balance":"0","code":"0x6000600060006000f5600055"}}"#
    );
    let ledger = ledger(r#""petersburgBlock":0"#, &alloc);
    let calls = vec![
        transaction(0, TxKind::Create, Bytes::from_static(&[0x00])),
        transaction(1, TxKind::Create, Bytes::from_static(&[0x00])),
        transaction(2, TxKind::Call(factory), Bytes::new()),
    ];
    let used = block(&ledger, calls);
    assert_eq!(used[0], (false, 200_000), "all gas, as of a creation over code");
    assert!(used[1].0, "the next address has no storage");
    assert_eq!(used[2], (false, 200_000), "what the creation left is not enough for the write after it");
    let view = ledger.view(1).unwrap().unwrap();
    for address in [created, by_factory] {
        assert_eq!(view.state().slot(address, U256::from(1)).unwrap(), U256::from(2), "{address} keeps its storage");
        assert_eq!(view.state().account(address).unwrap().unwrap().nonce, 0, "{address} is no contract");
    }
    assert_eq!(view.state().slot(factory, U256::ZERO).unwrap(), U256::ZERO);
    assert_eq!(view.state().account(key(9).address()).unwrap().unwrap().nonce, 3);

    // A trace of the block and a question to its parent come to the same.
    assert_eq!(again(&ledger), used);
    let asked = |to, db: &mut SimDb, env: &Env| simulated(db, env, TxEnv { kind: to, ..TxEnv::default() });
    let (mut db, env) = scene(&ledger, 0, &Overrides::new());
    assert_eq!(asked(TxKind::Call(factory), &mut db, &env), (false, 200_000));
    // What a question only pretends to be stored counts as well, and what it pretends to be gone does not.
    let pretended = |storage: &[(u64, u64)]| {
        let storage = storage.iter().map(|(slot, value)| (U256::from(*slot), U256::from(*value))).collect();
        Overrides::from([(by_factory, AccountOverride { storage: Some(storage), ..AccountOverride::default() })])
    };
    for (storage, collides) in [(&[][..], false), (&[(7, 1)], true)] {
        let (mut db, env) = scene(&ledger, 0, &pretended(storage));
        assert_eq!(asked(TxKind::Call(factory), &mut db, &env).0, !collides, "{storage:?}");
    }
}

/// Every transaction of the head's block executed again: whether it succeeded, and the gas that it used.
fn again(ledger: &Ledger) -> Vec<(bool, u64)> {
    let mut replay = ledger.replay(ledger.head().number).unwrap().unwrap();
    let mut all = Vec::new();
    while let Some(done) = replay.step(NoOpInspector).unwrap() {
        all.push((done.result.is_success(), done.result.tx_gas_used()));
    }
    all
}

/// Where a question is asked about the state after a block.
fn scene(ledger: &Ledger, number: u64, overrides: &Overrides) -> (SimDb, Env) {
    let view = ledger.view(number).unwrap().unwrap();
    let mut env = ledger.env(view.header());
    Relax::call().apply(&mut env);
    (view.with(overrides).unwrap(), env)
}

/// A question with 200,000 gas, watched and not watched: whether it succeeded, and the gas that it used.
fn simulated(db: &mut SimDb, env: &Env, tx: TxEnv) -> (bool, u64) {
    let tx = TxEnv { caller: key(9).address(), gas_limit: 200_000, chain_id: Some(5), ..tx };
    let unwatched = ipe_chain::call(db, env, tx.clone()).unwrap().result;
    let watched = ipe_chain::simulate(db, env, tx, NoOpInspector).unwrap().result;
    assert_eq!(watched, unwatched);
    (watched.is_success(), watched.tx_gas_used())
}

#[test]
fn the_cap_on_a_transaction_s_gas_comes_and_goes_by_transition() {
    let wants = 17_000_000;
    let sent = |nonce: u64| {
        let to = TxKind::Call(Address::repeat_byte(0xcc));
        let tx = TxLegacy { chain_id: Some(5), nonce, gas_price: 0, gas_limit: wants, to, value: U256::ZERO, input: Bytes::new() };
        signed(tx)
    };
    let transitions = r#""transitions":{"qbft":[{"block":2,"pertxgaslimit":16999999},{"block":3,"pertxgaslimit":17000000},
        {"block":5,"pertxgaslimit":0},{"block":6,"blockreward":"0x1"}]}"#;
    // By height: no cap of the fork's own.
    let berlin = ledger(&format!(r#""berlinBlock":0,{transitions}"#), "");
    let mut nonce = 0;
    for (height, fits) in [(1, true), (2, false), (3, true), (4, true), (5, true), (6, true)] {
        let used = block(&berlin, vec![sent(nonce)]);
        assert_eq!(used.len(), usize::from(fits), "block {height}");
        nonce += used.len() as u64;
    }
    // Osaka has a cap of 2^24, which 0 lifts; its transitions come by timestamp, and a block's is its height here.
    let osaka = ledger(&format!(r#""londonBlock":0,"osakaTime":0,{transitions}"#), "");
    let mut nonce = 0;
    for (height, fits) in [(1, false), (2, false), (3, true), (4, true), (5, true), (6, true)] {
        let used = block(&osaka, vec![sent(nonce)]);
        assert_eq!(osaka.head().header.timestamp, height);
        assert_eq!(used.len(), usize::from(fits), "block {height}");
        nonce += used.len() as u64;
    }
}

/// GoQuorum's chains: a price only where gas has one, no private transaction ever, whoever sealed the block.
#[test]
fn goquorums_chains_have_no_gas_price_before_it_is_enabled_and_no_private_transactions() {
    let forks =
        r#""berlinBlock":0,"isQuorum":true,"transitions":[{"block":2,"gasPriceEnabled":true},{"block":3,"gasPriceEnabled":false}]"#;
    let extra = ExtraData::genesis(vec![key(1).address()]).encode();
    let genesis = format!(
        r#"{{"config":{{"chainId":5,{forks},"qbft":{{"blockperiodseconds":1}}}},"gasLimit":"0x1c9c380","difficulty":"0x1",
        "extraData":"{extra}","alloc":{{"{}":{{"balance":"1000000"}}}}}}"#,
        key(9).address(),
    );
    let open = || Ledger::open(Arc::new(MemoryStore::new()), Arc::new(ChainSpec::parse(&genesis).unwrap())).unwrap();
    let tx = |nonce, gas_price, chain_id| {
        let to = TxKind::Call(Address::repeat_byte(0xcc));
        signed(TxLegacy {
            chain_id: Some(chain_id),
            nonce,
            gas_price,
            gas_limit: 21_000,
            to,
            value: U256::ZERO,
            input: Bytes::new(),
        })
    };
    let ledger = open();
    let mut nonce = 0;
    for (height, priced) in [(1, false), (2, true), (3, false)] {
        let used = block(&ledger, vec![tx(nonce, 1, 5), tx(nonce + u64::from(priced), 0, 1), tx(nonce + u64::from(priced), 0, 5)]);
        assert_eq!(used.len(), 1 + usize::from(priced), "block {height}: what may be in it, and only that");
        nonce += used.len() as u64;
    }
    // A block that has one of them all the same, as it would be without these rules.
    for (what, chain_id, gas_price) in [("Gas price not 0", 5, 1), ("Private transaction", 1, 0)] {
        let ledger = open();
        let built = ledger.build(&order::next(&ledger.head()), &mut |_| None, Bound::NONE).unwrap();
        let mut block = Block::clone(built.block());
        block.body.transactions = vec![tx(0, gas_price, chain_id).tx.clone()];
        block.header.transactions_root = alloy_consensus::proofs::calculate_transaction_root(&block.body.transactions);
        let proposal = ledger.check_proposal(Arc::new(block.clone()), 1_900_000_000_000, &|_| None, Terms::NONE).unwrap_err();
        let seal = key(1).sign(commit_hash(&block.header, 0).unwrap());
        block.header = with_round_and_seals(&block.header, 0, vec![seal]).unwrap();
        let sealed = ledger.check_sealed(Arc::new(block), 1_900_000_000_000, &|_| None).unwrap_err();
        for refused in [proposal, sealed] {
            assert!(refused.is_verdict() && refused.to_string().contains(what), "{refused}");
        }
    }
}

/// Where the base fee is zero, Besu's blocks of Cancun say nothing of blobs, not even with blobs in them. A vote was refused: any
/// user's blob transaction kept ours and theirs apart.
#[test]
fn a_block_of_cancun_may_have_blobs_and_say_nothing_of_them() {
    let order = |ledger: &Ledger| order::next(&ledger.head());
    for (forks, voted) in [(r#""londonBlock":0,"cancunTime":0"#, true), (r#""londonBlock":0,"pragueTime":0"#, false)] {
        let ledger = ledger(forks, "");
        let tx = TxEip4844 {
            chain_id: 5,
            gas_limit: 100_000,
            to: Address::repeat_byte(0xcc),
            blob_versioned_hashes: vec![B256::with_last_byte(1) | B256::from(U256::from(1) << 248)],
            max_fee_per_blob_gas: 1,
            ..TxEip4844::default()
        };
        let mut left = vec![signed(tx)].into_iter();
        let built = ledger.build(&order(&ledger), &mut |_| left.next(), Bound::NONE).unwrap();
        let block = built.block();
        assert_eq!((block.body.transactions.len(), block.header.blob_gas_used), (1, Some(131_072)), "{forks}");
        let mut silent = Block::clone(block);
        silent.header.blob_gas_used = None;
        silent.header.excess_blob_gas = None;
        silent.header.parent_beacon_block_root = None;
        silent.header.requests_hash = None;
        let judged = ledger.check_proposal(Arc::new(silent), 1_900_000_000_000, &|_| None, Terms::NONE);
        assert_eq!(judged.is_ok(), voted, "{forks}: {judged:?}");
    }
}

/// Before London anybody can create a contract whose code reads as a delegation; Besu runs the other's code, for no gas of its own
/// and without warming the other. On Berlin this split a mixed chain.
#[test]
fn code_that_names_an_account_is_followed_before_prague_for_nothing() {
    let [named, naming, caller] = [0xa1, 0xd1, 0xc1].map(Address::with_last_byte);
    // The named one writes 1 to slot 0. The caller calls what names it, then asks for the named one's balance.
    let hex = |address: Address| address.to_string().to_lowercase().trim_start_matches("0x").to_owned();
    let calling = format!("60006000600060006000{}5af15073{}31", format_args!("73{}", hex(naming)), hex(named));
    let alloc = format!(
        r#","{named}":{{"balance":"1","code":"0x600160005500"}},"{naming}":{{"balance":"1","code":"0xef0100{}"}},"{caller}":{{"balance":"1","code":"0x{calling}"}}"#,
        hex(named)
    );
    // Six pushes, GAS, the cold call, two pushes and the write in the named code, POP, a push, a cold balance.
    let own = 21_000 + 6 * 3 + 2 + 2_600 + 2 * 3 + 22_100 + 2 + 3;
    let forks = [
        (r#""berlinBlock":0"#, own + 2_600),
        (r#""londonBlock":0,"cancunTime":0"#, own + 2_600),
        // From Prague on the other account is paid for, and warm after it.
        (r#""londonBlock":0,"pragueTime":0"#, own + 2_600 + 100),
    ];
    for (forks, gas) in forks {
        let ledger = ledger(forks, &alloc);
        let directly = transaction(1, TxKind::Call(naming), Bytes::new());
        let used = block(&ledger, vec![transaction(0, TxKind::Call(caller), Bytes::new()), directly]);
        assert_eq!(used[0], (true, gas), "{forks}");
        assert!(used[1].0, "{forks}: a transaction to it runs the named code");
        assert_eq!(ledger.view(1).unwrap().unwrap().state().slot(naming, U256::ZERO).unwrap(), U256::from(1), "{forks}");
        assert_eq!(again(&ledger), used, "{forks}: traced");
        let (mut db, env) = scene(&ledger, 0, &Overrides::new());
        let mut asked = |to| simulated(&mut db, &env, TxEnv { kind: TxKind::Call(to), ..TxEnv::default() });
        assert_eq!(asked(caller), used[0], "{forks}: asked");
        // The block's second transaction found the slot written.
        assert_eq!(asked(naming), (true, used[1].1 - 2_200 + 22_100), "{forks}: asked directly");
    }
}

/// Code that was put there while it meant nothing to the EVM's library is followed by it from Prague on, without a start between.
#[test]
fn code_that_names_an_account_is_followed_when_prague_comes() {
    let named = Address::with_last_byte(0xa1);
    let alloc = format!(r#","{named}":{{"balance":"1","code":"0x600160005500"}}"#);
    let ledger = ledger(r#""berlinBlock":0,"londonBlock":2,"pragueTime":2"#, &alloc);
    // Returns the 23 bytes behind it.
    let code = format!("6017600c60003960176000f3ef0100{}", alloy_primitives::hex::encode(named));
    let naming = key(9).address().create(0);
    let call = |nonce| transaction(nonce, TxKind::Call(naming), Bytes::new());
    let creation = transaction(0, TxKind::Create, alloy_primitives::hex::decode(code).unwrap().into());
    let berlin = block(&ledger, vec![creation, call(1)]);
    assert!(berlin[0].0, "created");
    // 21,000, two pushes, and the write to a slot that is cold and zero.
    assert_eq!(berlin[1], (true, 21_000 + 6 + 22_100), "followed at Berlin");
    let (mut db, env) = scene(&ledger, 1, &Overrides::new());
    let prague = block(&ledger, vec![call(2)]);
    // The slot has its value now.
    assert_eq!(prague, [(true, 21_000 + 6 + 2_200)], "followed at Prague");
    assert_eq!(again(&ledger), prague);
    // A simulation that goes on from a block of Berlin to one of Prague.
    let asked = TxEnv { kind: TxKind::Call(naming), ..TxEnv::default() };
    assert_eq!(simulated(&mut db, &env, asked.clone()), (true, 21_000 + 6 + 2_200));
    let (_, later) = scene(&ledger, 2, &Overrides::new());
    assert_eq!(simulated(&mut db, &later, asked), (true, 21_000 + 6 + 2_200));
}
