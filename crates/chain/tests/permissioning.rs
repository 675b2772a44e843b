//! Rules on chain, asked of contracts that a genesis has: whom the builder takes, which blocks are valid, what is asked again
//! (docs/spec/permissioning.md).
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/order.rs"]
mod order;

use std::sync::Arc;

use alloy_consensus::{SignableTransaction, TxEip1559, TxLegacy};
use alloy_primitives::{Address, Bytes, Signature, TxKind, U256, address};
use ipe_chain::kv::MemoryStore;
use ipe_chain::{Asked, Bound, Candidate, CheckedBlock, Feedback, InvalidBlock, Ledger, Over, Terms};
use ipe_permissioning::verdict::Fault;
use ipe_permissioning::{End, Link, Verdict};
use ipe_types::block::{Block, Transaction};
use ipe_types::extra::ExtraData;
use ipe_types::spec::ChainSpec;
use order::{build, import, key, signed};

const NOW: u64 = 1_700_000_000;
const RULES: Address = address!("0000000000000000000000000000000000008888");
const OTHER: Address = address!("0000000000000000000000000000000000007777");

/// Answers what is stored under the sender; a call with two words stores the second under the first.
const LIST: &str = "3660401460135760043554600052602060 00f35b60203560003555 00";
/// The administrator and the two other senders of these tests.
const ADMIN: u8 = 9;
const FIRST: u8 = 11;
const SECOND: u8 = 12;

fn word(address: Address) -> U256 {
    U256::from_be_slice(address.as_slice())
}

fn account(code: &str, storage: &[(U256, u64)]) -> String {
    let code: String = code.split(' ').collect();
    let slots: Vec<String> = storage.iter().map(|(slot, value)| format!(r#""{slot:#066x}":"{value:#066x}""#)).collect();
    format!(r#"{{"balance":"0","code":"0x{code}","storage":{{{}}}}}"#, slots.join(","))
}

/// The list with the administrator and the first sender on it.
fn list() -> String {
    account(LIST, &[(word(key(ADMIN).address()), 1), (word(key(FIRST).address()), 1)])
}

/// A chain of one validator with these rules and these accounts.
fn spec(permissioning: &str, alloc: &str) -> Arc<ChainSpec> {
    spec_with(permissioning, alloc, "0x1312d00")
}

fn spec_with(permissioning: &str, alloc: &str, gas_limit: &str) -> Arc<ChainSpec> {
    let extra = ExtraData::genesis(vec![key(1).address()]).encode();
    let ipe = if permissioning.is_empty() { String::new() } else { format!(r#","ipe":{{"permissioning":{permissioning}}}"#) };
    let genesis = format!(
        r#"{{"config":{{"chainId":5,"londonBlock":0,"zeroBaseFee":true,"qbft":{{"blockperiodseconds":1}}{ipe}}},"gasLimit":"{gas_limit}",
        "difficulty":"0x1","timestamp":"{}","extraData":"{extra}","alloc":{{{alloc}}}}}"#,
        NOW - 100
    );
    Arc::new(ChainSpec::parse(&genesis).unwrap())
}

fn open(spec: Arc<ChainSpec>) -> Ledger {
    Ledger::open(Arc::new(MemoryStore::new()), spec).unwrap()
}

/// A chain whose account rules are this account.
fn ruled(account: &str) -> Ledger {
    open(spec(&format!(r#"{{"accounts":"{RULES}"}}"#), &format!(r#""{RULES}":{account}"#)))
}

/// The same chain, whose genesis hash does not hold the rules, for a node that does not ask them.
fn unruled(account: &str) -> Ledger {
    open(spec("", &format!(r#""{RULES}":{account}"#)))
}

fn sent(from: u8, nonce: u64, to: TxKind, input: Vec<u8>) -> Arc<Candidate> {
    let tx = TxLegacy { chain_id: Some(5), nonce, gas_price: 0, gas_limit: 100_000, to, value: U256::ZERO, input: input.into() };
    signed(&key(from), tx)
}

fn payment(from: u8, nonce: u64) -> Arc<Candidate> {
    sent(from, nonce, TxKind::Call(Address::repeat_byte(0xcc)), Vec::new())
}

/// A transaction that sets what the list says about a sender.
fn listing(from: u8, nonce: u64, about: u8, value: u64) -> Arc<Candidate> {
    let input = [word(key(about).address()).to_be_bytes::<32>(), U256::from(value).to_be_bytes::<32>()].concat();
    sent(from, nonce, TxKind::Call(RULES), input)
}

/// The block with exactly these transactions, by a proposer that asks nobody.
fn block(unruled: &Ledger, candidates: &[Arc<Candidate>]) -> Arc<Block> {
    let (built, _) = build(unruled, candidates);
    assert_eq!(built.block().body.transactions.len(), candidates.len(), "all of them can be executed");
    Arc::clone(built.block())
}

fn verdict(ledger: &Ledger, block: &Arc<Block>) -> Result<CheckedBlock, InvalidBlock> {
    ledger.check_proposal(Arc::clone(block), NOW * 1_000, &|_| None, Terms::NONE)
}

/// Both ways in which a block is judged refuse it, for this reason.
#[track_caller]
fn refused(ledger: &Ledger, block: &Arc<Block>, sender: u8, reason: &str) {
    for error in [verdict(ledger, block).unwrap_err(), import(ledger, block).unwrap_err()] {
        assert!(error.is_verdict() && error.rule() == "not_permitted", "{error}");
        let InvalidBlock::NotPermitted { sender: named, reason: why, .. } = &error else { panic!("{error}") };
        assert!(*named == key(sender).address() && why.contains(reason), "{error}");
    }
}

#[test]
fn who_is_not_permitted_is_in_no_block() {
    let (ledger, other) = (ruled(&list()), unruled(&list()));
    assert_eq!(ledger.spec().genesis_hash(), other.spec().genesis_hash());
    let (built, told) = build(&ledger, &[payment(FIRST, 0), payment(SECOND, 0), payment(ADMIN, 0)]);
    assert!(matches!(&told[1], Feedback::NotPermitted { reason } if reason.contains("do not permit")), "{told:?}");
    assert_eq!(built.block().body.transactions.len(), 2);
    assert_eq!(ledger.may_send(&payment(SECOND, 0)).unwrap(), Verdict::Denied);
    assert_eq!(ledger.may_send(&payment(FIRST, 5)).unwrap(), Verdict::Allowed);
    refused(&ledger, &block(&other, &[payment(FIRST, 0), payment(SECOND, 0)]), SECOND, "do not permit");
    import(&ledger, built.block()).unwrap();
}

/// The rules are asked on the state after the parent: what a block does to them counts from the next on.
#[test]
fn what_a_block_does_to_the_rules_counts_from_the_next_block_on() {
    let (ledger, other) = (ruled(&list()), unruled(&list()));
    // Granted and used in one block: invalid, in any order, and nothing for the builder.
    let granted = [listing(ADMIN, 0, SECOND, 1), payment(SECOND, 0)];
    refused(&ledger, &block(&other, &granted), SECOND, "do not permit");
    let (built, told) = build(&ledger, &granted);
    assert!(matches!(told[1], Feedback::NotPermitted { .. }));
    import(&ledger, built.block()).unwrap();
    import(&other, built.block()).unwrap();
    let used = block(&other, &[payment(SECOND, 0)]);
    import(&ledger, &used).unwrap();
    import(&other, &used).unwrap();
    // Revoked and used in one block: valid.
    let revoked = block(&other, &[listing(ADMIN, 1, SECOND, 0), payment(SECOND, 1), listing(ADMIN, 2, ADMIN, 0)]);
    import(&ledger, &revoked).unwrap();
    import(&other, &revoked).unwrap();
    refused(&ledger, &block(&other, &[payment(SECOND, 2)]), SECOND, "do not permit");
    // The administrator has removed itself, too: only the first sender is left.
    refused(&ledger, &block(&other, &[listing(ADMIN, 3, ADMIN, 1)]), ADMIN, "do not permit");
    import(&ledger, &block(&other, &[payment(FIRST, 0)])).unwrap();
}

/// Every odd case of docs/spec/permissioning.md, with what Besu 25.5.0 makes of it.
#[test]
fn a_contract_that_gives_no_answer_permits_nobody() {
    let answer = |hex: &str| account(hex, &[]);
    for (name, rules, fault) in [
        // PUSH1 1 PUSH1 0 MSTORE PUSH1 length PUSH1 0 RETURN
        ("a yes", answer("600160005260206000f3"), None),
        ("a no", answer("60206000f3"), Some("do not permit")),
        ("no code", r#"{"balance":"1"}"#.to_owned(), Some("answered nothing")),
        ("a revert", answer("60006000fd"), Some("reverted")),
        ("an invalid instruction", answer("fe"), Some("stopped by the EVM")),
        ("a loop", answer("5b600056"), Some("used up the gas")),
        ("no bytes", answer("00"), Some("answered nothing")),
        ("31 bytes", answer("600160005260 1f6001f3"), Some("31 bytes")),
        ("33 bytes", answer("60016000526021 6000f3"), Some("33 bytes")),
        ("a two", answer("600260005260206000f3"), Some("32 bytes")),
        ("a yes that is not the last bit", answer("60016000 53 60206000f3"), Some("32 bytes")),
    ] {
        let (ledger, other) = (ruled(&rules), unruled(&rules));
        let used = block(&other, &[payment(FIRST, 0)]);
        let Some(fault) = fault else {
            verdict(&ledger, &used).unwrap_or_else(|error| panic!("{name}: {error}"));
            continue;
        };
        refused(&ledger, &used, FIRST, fault);
        let (built, told) = build(&ledger, &[payment(FIRST, 0)]);
        let Feedback::NotPermitted { reason } = &told[0] else { panic!("{name}: {told:?}") };
        // What loops is stopped earlier by who only chooses.
        assert!(reason.contains(fault) || name == "a loop", "{name}: {reason}");
        // An empty block asks nobody: the chain goes on.
        assert!(built.is_empty());
        import(&ledger, built.block()).unwrap();
    }
}

#[test]
fn without_an_account_at_the_address_everybody_may_send() {
    let ledger = open(spec(&format!(r#"{{"accounts":"{RULES}"}}"#), ""));
    assert_eq!(ledger.may_send(&payment(FIRST, 0)).unwrap(), Verdict::Unruled);
    let (built, _) = build(&ledger, &[payment(FIRST, 0)]);
    import(&ledger, built.block()).unwrap();
    // Whoever pays a wei to it makes an account of it, without code: from the next block on nobody may send.
    let wei =
        TxLegacy { chain_id: Some(5), gas_limit: 21_000, to: TxKind::Call(RULES), value: U256::from(1), ..TxLegacy::default() };
    let funded = format!(r#""{}":{{"balance":"1"}}"#, key(FIRST).address());
    let ledger = open(spec(&format!(r#"{{"accounts":"{RULES}"}}"#), &funded));
    let (built, told) = build(&ledger, &[signed(&key(FIRST), wei)]);
    assert!(matches!(told[0], Feedback::Included { .. }), "{told:?}");
    import(&ledger, built.block()).unwrap();
    assert_eq!(ledger.may_send(&payment(FIRST, 1)).unwrap(), Verdict::Broken(Fault::Answer { bytes: 0 }));
}

/// The environment is the parent's: its number, its time, its proposer, no price.
#[test]
fn the_contract_sees_the_parents_block() {
    let see = |instruction: &str, expected: U256| {
        // Compares what the instruction says with a word.
        account(&format!("{instruction} 7f{expected:064x} 14 600052 60206000f3"), &[])
    };
    let gas_limit = U256::from(20_000_000);
    for (name, instruction, expected) in [
        ("number", "43", U256::ZERO),
        ("time", "42", U256::from(NOW - 100)),
        ("coinbase", "41", U256::ZERO),
        ("gas limit", "45", gas_limit),
        ("base fee", "48", U256::ZERO),
        ("origin", "32", U256::ZERO),
        ("caller", "33", U256::ZERO),
        ("gas price", "3a", U256::ZERO),
        ("value", "34", U256::ZERO),
        ("chain id", "46", U256::from(5)),
        ("own balance", "47", U256::ZERO),
    ] {
        let ledger = ruled(&see(instruction, expected));
        assert_eq!(ledger.may_send(&payment(FIRST, 0)).unwrap(), Verdict::Allowed, "{name}");
    }
    // GAS, as the first instruction: the network's gas or the block's, less what the call costs before it begins.
    for (limit, chosen, given) in
        [("0x1312d00", "", 20_000_000), ("0x1312d00", r#","gas":3000000"#, 3_000_000), ("0x5f5e100", "", 50_000_000)]
    {
        let code = |gas: u64| account(&format!("5a 7f{:064x} 14 600052 60206000f3", U256::from(gas)), &[]);
        let input = ipe_permissioning::Sending::of(&payment(FIRST, 0).tx, key(FIRST).address()).call();
        let zeros = input.iter().filter(|byte| **byte == 0).count() as u64;
        let before = 21_000 + 4 * zeros + 16 * (input.len() as u64 - zeros) + 2;
        let rules = code(given - before);
        let ledger = open(spec_with(&format!(r#"{{"accounts":"{RULES}"{chosen}}}"#), &format!(r#""{RULES}":{rules}"#), limit));
        assert_eq!(ledger.may_send(&payment(FIRST, 0)).unwrap(), Verdict::Allowed, "{limit} {chosen}");
    }
}

/// The transaction is told as Besu tells it: target zero for a creation, no price of EIP-1559.
#[test]
fn the_contract_is_told_the_transaction() {
    // The word at an offset of the input is compared.
    let compare = |at: u64, expected: U256| account(&format!("60{at:02x} 35 7f{expected:064x} 14 600052 60206000f3"), &[]);
    let payload = vec![0xab; 32];
    let legacy = TxLegacy {
        chain_id: Some(5),
        nonce: 0,
        gas_price: 7,
        gas_limit: 90_000,
        to: TxKind::Create,
        value: U256::from(3),
        input: payload.clone().into(),
    };
    let creation = signed(&key(FIRST), legacy);
    let dynamic = TxEip1559 {
        chain_id: 5,
        max_fee_per_gas: 9,
        gas_limit: 1,
        to: TxKind::Call(OTHER),
        input: Bytes::new(),
        ..TxEip1559::default()
    };
    let signature = Signature::test_signature();
    let dynamic =
        Candidate { sender: key(FIRST).address(), hash: Default::default(), tx: Transaction::from(dynamic.into_signed(signature)) };
    for (candidate, at, expected) in [
        (&*creation, 4, word(key(FIRST).address())),
        (&*creation, 36, U256::ZERO),
        (&*creation, 68, U256::from(3)),
        (&*creation, 100, U256::from(7)),
        (&*creation, 132, U256::from(90_000)),
        (&*creation, 164, U256::from(192)),
        (&*creation, 196, U256::from(32)),
        (&*creation, 228, U256::from_be_slice(&payload)),
        (&dynamic, 36, word(OTHER)),
        (&dynamic, 100, U256::ZERO),
        (&dynamic, 132, U256::from(1)),
        (&dynamic, 196, U256::ZERO),
    ] {
        let ledger = ruled(&compare(at, expected));
        assert_eq!(ledger.may_send(candidate).unwrap(), Verdict::Allowed, "the word at {at}");
    }
    // The extra word of Besu's encoding.
    for (bytes, size) in [(0, 260), (1, 260), (32, 292), (33, 292)] {
        let rules = account(&format!("36 61{size:04x} 14 600052 60206000f3"), &[]);
        let candidate = sent(FIRST, 0, TxKind::Call(OTHER), vec![1; bytes]);
        assert_eq!(ruled(&rules).may_send(&candidate).unwrap(), Verdict::Allowed, "{bytes} bytes");
    }
}

/// A contract that answers differently in every block: everybody gives the same verdict on the same block, and nothing is
/// kept for the next.
#[test]
fn an_answer_that_differs_by_block_is_asked_in_every_block() {
    // NUMBER PUSH1 1 AND
    let rules = account("43600116600052 60206000f3", &[]);
    let (ledger, other) = (ruled(&rules), unruled(&rules));
    for height in 1..=6u64 {
        let odd = height % 2 == 0;
        assert_eq!(ledger.may_send(&payment(FIRST, 0)).unwrap().allows(), odd, "block {height}");
        let used = block(&other, &[payment(FIRST, height / 2 - u64::from(odd))]);
        let empty = block(&other, &[]);
        assert_eq!(verdict(&ledger, &used).is_ok(), odd, "block {height}");
        let next = if odd { used } else { empty };
        import(&ledger, &next).unwrap();
        import(&other, &next).unwrap();
    }
}

#[test]
fn the_schedule_replaces_a_contract_that_permits_nobody() {
    let deny = account("60206000f3", &[]);
    let allow = account("600160005260206000f3", &[]);
    let alloc = format!(r#""{RULES}":{deny},"{OTHER}":{allow}"#);
    let schedule = format!(
        r#"[{{"accounts":"{RULES}"}},{{"fromBlock":3,"accounts":"{OTHER}"}},{{"fromBlock":5,"accounts":"{RULES}"}},{{"fromBlock":6}}]"#
    );
    let (ledger, other) = (open(spec(&schedule, &alloc)), open(spec("", &alloc)));
    let mut nonce = 0;
    for (height, permitted) in [(1, false), (2, false), (3, true), (4, true), (5, false), (6, true)] {
        let used = block(&other, &[payment(FIRST, nonce)]);
        assert_eq!(verdict(&ledger, &used).is_ok(), permitted, "block {height}");
        assert_eq!(ledger.may_send(&payment(FIRST, nonce)).unwrap().allows(), permitted);
        let next = if permitted { used } else { block(&other, &[]) };
        nonce += u64::from(permitted);
        import(&ledger, &next).unwrap();
        import(&other, &next).unwrap();
    }
    assert_eq!(ledger.rules_report(Asked::Accounts).contract, None);
}

/// One evaluation serves pool, builder, proposal and import, and the blocks after, until a block changes what it read.
#[test]
fn a_contract_is_executed_once_for_what_it_has_answered() {
    let ledger = ruled(&list());
    let evaluated = || ledger.rules_report(Asked::Accounts).evaluated;
    let used = payment(FIRST, 0);
    ledger.may_send(&used).unwrap();
    assert_eq!(evaluated(), 1);
    ledger.may_send(&used).unwrap();
    let (built, _) = build(&ledger, &[Arc::clone(&used)]);
    verdict(&ledger, built.block()).unwrap();
    import(&ledger, built.block()).unwrap();
    ledger.may_send(&used).unwrap();
    assert_eq!(evaluated(), 1);
    let report = ledger.rules_report(Asked::Accounts);
    assert!(report.permitted >= 4 && report.unpermitted == 0, "{report:?}");
    // A block that changes another slot of the contract changes nothing for this one.
    let (built, _) = build(&ledger, &[listing(ADMIN, 0, SECOND, 1)]);
    import(&ledger, built.block()).unwrap();
    let before = evaluated();
    assert_eq!(ledger.may_send(&used).unwrap(), Verdict::Allowed);
    assert_eq!(evaluated(), before);
    // One that changes what it read does.
    let (built, _) = build(&ledger, &[listing(ADMIN, 1, FIRST, 0)]);
    import(&ledger, built.block()).unwrap();
    let before = evaluated();
    assert_eq!(ledger.may_send(&used).unwrap(), Verdict::Denied);
    assert_eq!(evaluated(), before + 1);
}

/// A transaction of the first sender, unsigned, with what rules seldom look at.
fn told(value: u64, gas_price: u128, gas_limit: u64, payload: Vec<u8>) -> Candidate {
    let tx = TxLegacy {
        chain_id: Some(5),
        gas_price,
        gas_limit,
        to: TxKind::Call(OTHER),
        value: U256::from(value),
        input: payload.into(),
        ..TxLegacy::default()
    };
    Candidate {
        sender: key(FIRST).address(),
        hash: Default::default(),
        tx: Transaction::from(tx.into_signed(Signature::test_signature())),
    }
}

/// What a contract does not look at is not asked about again; what it looks at is, wherever it looks.
#[test]
fn an_answer_holds_for_all_that_it_did_not_look_at() {
    let yes = "600160005260206000f3";
    for (name, code, alike) in [
        ("it looks at nothing", yes.to_owned(), true),
        ("value is loaded and forgotten", format!("60443550{yes}"), true),
        ("payload is copied and forgotten", format!("60ff60e4604037{yes}"), true),
        ("the sender decides", format!("60043580600857005b50{yes}"), true),
        ("the payload's length decides", format!("60c43580600857005b50{yes}"), true),
        ("value decides", format!("60443580600857005b50{yes}"), false),
        ("gas decides", format!("5a80600657005b50{yes}"), false),
        ("a slot by the payload", format!("60e4355450{yes}"), false),
        ("a hash of the input, for a slot", format!("366000600037366000205450{yes}"), false),
        ("memory as long as the value says", format!("6044356000600037{yes}"), false),
        ("the answer is the gas limit", "60843560005260206000f3".to_owned(), false),
        ("a creation", format!("600060006000f050{yes}"), false),
        ("a call with all gas", format!("600060006000600060ff5afa50{yes}"), true),
        ("a call with some gas", format!("600060006000600060ff61fffffa50{yes}"), false),
    ] {
        let ledger = ruled(&account(&code, &[]));
        let verdicts = [told(1, 2, 30_000, vec![0; 40]), told(0, 9, 31_000, vec![7; 40])]
            .map(|candidate| ledger.may_send(&candidate).unwrap());
        let evaluated = ledger.rules_report(Asked::Accounts).evaluated;
        assert_eq!(evaluated == 1, alike, "{name}: {evaluated} executions, {verdicts:?}");
    }
    // Another length is another question.
    let ledger = ruled(&account(yes, &[]));
    for bytes in [0, 1, 1, 0] {
        assert!(ledger.may_send(&told(0, 0, 21_000, vec![1; bytes])).unwrap().allows());
    }
    assert_eq!(ledger.rules_report(Asked::Accounts).evaluated, 2);
}

/// A program from numbers: it loads words of its input, computes, stores, hashes, asks storage, jumps and calls itself, and answers with
/// one bit.
fn program(steps: &[(u8, u8)]) -> String {
    let mut code = Vec::new();
    let offsets = [4u8, 36, 68, 100, 132, 164, 196, 228, 240];
    // A call of itself, whose input is short, ends here with what it was told.
    code.extend([0x36, 0x60, 0x40, 0x10, 0x60, 0x12, 0x57, 0x36, 0x60, 0x00, 0x60, 0x00, 0x37, 0x60, 0x20, 0x60, 0x00, 0xf3, 0x5b]);
    code.extend([0x60, 0x01]);
    for (kind, detail) in steps {
        match kind % 12 {
            0..=2 => code.extend([0x60, offsets[usize::from(*detail) % offsets.len()], 0x35]),
            3 => code.extend([0x80, [0x01, 0x02, 0x03, 0x10, 0x14, 0x16, 0x17, 0x18][usize::from(*detail) % 8]]),
            4 => code.extend([0x60, *detail, 0x35, 0x60, detail % 96, 0x52]),
            5 => code.extend([0x60, detail % 96, 0x51]),
            6 => code.extend([0x60, 0x20, 0x60, detail % 96, 0x20]),
            7 => code.extend([0x60, *detail, 0x54, 0x17]),
            8 => code.extend([0x80, 0x54, 0x18]),
            // If the top is not zero, one word is skipped.
            9 => {
                let to = code.len() as u16 + 10;
                code.extend([0x80, 0x61, (to >> 8) as u8, to as u8, 0x57, 0x60, *detail, 0x60, 0x00, 0x52, 0x5b]);
            }
            // Itself with 32 bytes of memory, whose answer is loaded.
            10 => code.extend([0x60, 0x20, 0x60, 0x20, 0x60, 0x20, 0x60, detail % 64, 0x30, 0x5a, 0xfa, 0x50, 0x60, 0x20, 0x51]),
            _ => code.extend([0x15]),
        }
    }
    code.extend([0x60, 0x01, 0x16, 0x60, 0x00, 0x52, 0x60, 0x20, 0x60, 0x00, 0xf3]);
    alloy_primitives::hex::encode(code)
}

/// A question that costs too much to begin with says nothing about one of the same length with cheaper bytes: who has the answer would
/// refuse a block that others take.
#[test]
fn a_question_that_cannot_begin_answers_no_other() {
    let yes = account("600160005260206000f3", &[]);
    let rules = || open(spec(&format!(r#"{{"accounts":"{RULES}","gas":100000}}"#), &format!(r#""{RULES}":{yes}"#)));
    let tell = |byte: u8| told(0, 0, 100_000, vec![byte; 6_000]);
    let ledger = rules();
    assert!(matches!(ledger.may_send(&tell(1)).unwrap(), Verdict::Broken(_)), "96,000 gas of bytes that are not zero");
    assert_eq!(ledger.may_send(&tell(0)).unwrap(), Verdict::Allowed);
    assert_eq!(rules().may_send(&tell(0)).unwrap(), Verdict::Allowed);
    assert!(matches!(ledger.may_send(&tell(1)).unwrap(), Verdict::Broken(_)), "nor the other way round");
}

/// Whatever a contract does, a kept answer is the one that it would have given.
#[test]
fn a_kept_answer_is_the_one_that_the_contract_would_have_given() {
    use proptest::strategy::{Strategy, ValueTree};
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let word = || proptest::prelude::any::<u64>();
    let strategy = (proptest::collection::vec((0u8..12, proptest::prelude::any::<u8>()), 1..14), word(), word());
    let (mut alike, mut exact, mut yes) = (0, 0, 0);
    for _ in 0..400 {
        let (steps, a, b) = strategy.new_tree(&mut runner).unwrap().current();
        let rules = account(&program(&steps), &[(U256::from(1), 1), (U256::from(a), 1), (U256::from(b), 3)]);
        let tell = |word: u64| {
            told(word, u128::from(word >> 7), 21_000 + word % 1_000, [word.to_be_bytes(), (word / 3).to_be_bytes()].concat())
        };
        let ledger = ruled(&rules);
        let first = ledger.may_send(&tell(a)).unwrap();
        let second = ledger.may_send(&tell(b)).unwrap();
        let fresh = ruled(&rules).may_send(&tell(b)).unwrap();
        assert_eq!(second, fresh, "{} after {first:?}: {}", ledger.rules_report(Asked::Accounts).evaluated, program(&steps));
        yes += u32::from(second.allows());
        if ledger.rules_report(Asked::Accounts).evaluated == 1 { alike += 1 } else { exact += 1 }
    }
    assert!(alike >= 40 && exact >= 40 && yes >= 40, "{alike} alike, {exact} not, {yes} yes");
}

/// A contract that burns gas: what a node chooses itself has less than a block's verdict has, and a proposal has the time that
/// its judge gives.
#[test]
fn a_contract_that_burns_gas_is_bounded_and_named() {
    // Counts down from the number of rounds, some 40 gas each, then says yes.
    let burns = |rounds: u32| account(&format!("63{rounds:08x} 5b 6001 90 03 80 6005 57 600160005260206000f3"), &[]);
    let (ledger, other) = (ruled(&burns(300_000)), unruled(&burns(300_000)));
    let Verdict::Broken(Fault::TooDear { reason }) = ledger.may_send(&payment(FIRST, 0)).unwrap() else { panic!("not stopped") };
    assert!(reason.contains("5000000"), "{reason}");
    let report = ledger.rules_report(Asked::Accounts);
    assert!(matches!(report.fault, Some(Fault::TooDear { .. })) && report.faults.iter().sum::<u64>() == 1, "{report:?}");
    assert!(matches!(&build(&ledger, &[payment(FIRST, 0)]).1[0], Feedback::NotPermitted { .. }));
    let used = block(&other, &[payment(FIRST, 0)]);
    // A judge whose time ends says nothing about the block.
    let calls = std::cell::Cell::new(100u64);
    let left_us = || {
        calls.set(calls.get().saturating_sub(1));
        calls.get()
    };
    let terms = Terms { bound: Bound { left_us: &left_us, ..Bound::NONE }, ..Terms::NONE };
    let error = ledger.check_proposal(Arc::clone(&used), NOW * 1_000, &|_| None, terms).unwrap_err();
    assert!(matches!(&error, InvalidBlock::TooDear { cut, .. } if cut.over == Over::BlockTime) && !error.is_verdict(), "{error}");
    // The rules have their gas, and whoever imports follows them.
    import(&ledger, &used).unwrap();
    assert_eq!(ledger.rules_report(Asked::Accounts).fault, None);
}

fn end(byte: u8) -> End {
    End { id: key(byte).node_id(), ip: [127, 0, 0, 1].into(), port: 30_303 }
}

#[test]
fn connections_are_asked_of_their_own_contract() {
    let link = Link { source: end(1), destination: end(2) };
    let nodes = |version: u8, code: &str| {
        open(spec(&format!(r#"{{"nodes":"{RULES}","nodesVersion":{version}}}"#), &format!(r#""{RULES}":{}"#, account(code, &[]))))
    };
    let all = format!("7f{} 600052 60206000f3", "ff".repeat(32));
    assert_eq!(nodes(1, &all).may_connect(&link, [None; 2]).unwrap(), Verdict::Allowed);
    assert_eq!(nodes(2, &all).may_connect(&link, [None; 2]).unwrap(), Verdict::Broken(Fault::Answer { bytes: 32 }));
    let none = format!("7f7f{} 600052 60206000f3", "ff".repeat(31));
    assert_eq!(nodes(1, &none).may_connect(&link, [None; 2]).unwrap(), Verdict::Denied);
    // Version 2 is asked about each end: here only about ports that are not this one.
    let port = "604435 61765f 14 15 600052 60206000f3";
    assert_eq!(nodes(2, port).may_connect(&link, [None; 2]).unwrap(), Verdict::Denied);
    let other = Link { source: End { port: 1, ..end(1) }, destination: End { port: 2, ..end(2) } };
    assert_eq!(nodes(2, port).may_connect(&other, [None; 2]).unwrap(), Verdict::Allowed);
    let half = Link { source: End { port: 1, ..end(1) }, destination: end(2) };
    assert_eq!(nodes(2, port).may_connect(&half, [None; 2]).unwrap(), Verdict::Denied);
    // The host's length is not that of the address: a name is asked about when the address is refused.
    let host = "61010435 6009 14 15 600052 60206000f3";
    let ledger = nodes(2, host);
    assert_eq!(ledger.may_connect(&link, [None; 2]).unwrap(), Verdict::Denied);
    assert_eq!(ledger.may_connect(&link, [Some("a.example.org"), None]).unwrap(), Verdict::Denied);
    assert_eq!(ledger.may_connect(&link, [Some("a.example.org"), Some("b.example.org")]).unwrap(), Verdict::Allowed);
    // Without a contract nobody may connect, and transactions are not judged by node rules.
    let empty = open(spec(&format!(r#"{{"nodes":"{RULES}"}}"#), ""));
    assert_eq!(empty.may_connect(&link, [None; 2]).unwrap(), Verdict::Broken(Fault::NoAccount));
    assert_eq!(empty.may_send(&payment(FIRST, 0)).unwrap(), Verdict::Allowed);
    assert_eq!(ruled(&list()).may_connect(&link, [None; 2]).unwrap(), Verdict::Allowed);
}
