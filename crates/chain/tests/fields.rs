//! A validator votes only for what its own builder would have written: proposals with each header field changed in each way,
//! and what a quorum sealed nevertheless.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/order.rs"]
mod order;
mod support;

use std::cell::Cell;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy_primitives::{Address, B256, Bytes};
use alloy_rlp::{Decodable, Encodable};
use ipe_chain::fields::{FIELDS, Voting, items};
use ipe_chain::kv::MemoryStore;
use ipe_chain::rules::{Judging, check_body};
use ipe_chain::{Bound, BuildOrder, BulkStep, InvalidBlock, Ledger, RawBlock, Terms};
use ipe_types::block::{Block, Body, Transaction};
use ipe_types::extra::ExtraData;
use ipe_types::fork::Fork;
use ipe_types::header::{Header, with_round_and_seals};
use ipe_types::sizes::{MESSAGE_BYTES, PROPOSED_BLOCK_BYTES};
use ipe_types::spec::ChainSpec;
use ipe_variants::chain::{key, sealed};
use support::chains;

const NOW: u64 = 1_700_000_000;
const FORKS: [Fork; 6] = [Fork::Berlin, Fork::London, Fork::Shanghai, Fork::Cancun, Fork::Prague, Fork::Osaka];

fn ledger(fork: Fork, more: &str) -> Ledger {
    let mut validators: Vec<Address> = (1..=4).map(|n| key(n).address()).collect();
    validators.sort();
    let extra = ExtraData::genesis(validators).encode();
    let mut keys = String::from("\"berlinBlock\":0");
    for (from, name) in [
        (Fork::London, "londonBlock"),
        (Fork::Shanghai, "shanghaiTime"),
        (Fork::Cancun, "cancunTime"),
        (Fork::Prague, "pragueTime"),
        (Fork::Osaka, "osakaTime"),
    ] {
        if fork >= from {
            keys.push_str(&format!(",\"{name}\":0"));
        }
    }
    let genesis = format!(
        r#"{{"config":{{"chainId":5,{keys}{more},"qbft":{{"blockperiodseconds":1}}}},"gasLimit":"0x1c9c380","difficulty":"0x1",
        "timestamp":"{}","extraData":"{extra}","alloc":{{}}}}"#,
        NOW - 1
    );
    Ledger::open(Arc::new(MemoryStore::new()), Arc::new(ChainSpec::parse(&genesis).unwrap())).unwrap()
}

/// The block that an honest proposer builds on the head.
fn honest(ledger: &Ledger) -> Block {
    aiming(ledger, None)
}

/// The same by one who moves the gas limit towards `target_gas_limit`.
fn aiming(ledger: &Ledger, target_gas_limit: Option<u64>) -> Block {
    let order = BuildOrder { target_gas_limit, ..order::next(&ledger.head()) };
    (**ledger.build(&order, &mut |_| None, Bound::NONE).unwrap().block()).clone()
}

/// The header with one field as a villain may write it, by the table's order: what [`ipe_variants`] puts to real clients, and what
/// only our own checks are asked about.
fn spoiled(header: &Header, index: usize) -> Vec<(&'static str, Header)> {
    let field = FIELDS[index].name;
    let mut all = ipe_variants::headers::spoiled(header, field);
    let mut set = |what, change: &dyn Fn(&mut Header)| {
        let mut changed = header.clone();
        change(&mut changed);
        all.push((what, changed));
    };
    let extra = ExtraData::decode(&header.extra_data).unwrap();
    let with = |change: &dyn Fn(&mut ExtraData)| {
        let mut changed = extra.clone();
        change(&mut changed);
        changed.encode()
    };
    let behind = |item: &[u8]| {
        let mut list = &header.extra_data[..];
        let mut items = alloy_rlp::Header::decode_bytes(&mut list, true).unwrap().to_vec();
        item.encode(&mut items);
        let mut out = Vec::new();
        alloy_rlp::Header { list: true, payload_length: items.len() }.encode(&mut out);
        out.extend_from_slice(&items);
        Bytes::from(out)
    };
    match field {
        "extraData" => {
            set("a vanity of 1 MiB", &|header| header.extra_data = with(&|extra| extra.vanity = vec![0; 1 << 20].into()));
            set("a sixth item", &|header| header.extra_data = behind(&[1]));
            set("a sixth item of 1 MiB", &|header| header.extra_data = behind(&vec![1; 1 << 20]));
            set("a seal", &|header| header.extra_data = with(&|extra| extra.seals = vec![key(1).sign(B256::ZERO)]));
            set("the extreme round", &|header| header.extra_data = with(&|extra| extra.round = u32::MAX));
        }
        "baseFeePerGas" => set("absent", &|header| header.base_fee_per_gas = None),
        "withdrawalsRoot" => set("absent", &|header| header.withdrawals_root = None),
        "blobGasUsed" => set("absent", &|header| header.blob_gas_used = None),
        "excessBlobGas" => set("absent", &|header| header.excess_blob_gas = None),
        "parentBeaconBlockRoot" => set("absent", &|header| header.parent_beacon_block_root = None),
        "requestsHash" => set("absent", &|header| header.requests_hash = None),
        "blockAccessListHash" => set("there", &|header| header.block_access_list_hash = Some(B256::ZERO)),
        "slotNumber" => set("there", &|header| header.slot_number = Some(0)),
        _ => {}
    }
    // Fields of later forks.
    match field {
        "baseFeePerGas" if header.base_fee_per_gas.is_none() => set("there", &|header| header.base_fee_per_gas = Some(1)),
        "withdrawalsRoot" if header.withdrawals_root.is_none() => {
            set("there", &|header| header.withdrawals_root = Some(B256::ZERO))
        }
        "blobGasUsed" if header.blob_gas_used.is_none() => set("there", &|header| header.blob_gas_used = Some(0)),
        "excessBlobGas" if header.excess_blob_gas.is_none() => set("there", &|header| header.excess_blob_gas = Some(0)),
        "parentBeaconBlockRoot" if header.parent_beacon_block_root.is_none() => {
            set("there", &|header| header.parent_beacon_block_root = Some(B256::ZERO));
        }
        "requestsHash" if header.requests_hash.is_none() => set("there", &|header| header.requests_hash = Some(B256::ZERO)),
        _ => {}
    }
    all.retain(|(_, changed)| changed != header);
    all
}

/// Only what is told here may differ from what our builder writes; everything else is refused, and what does not follow from
/// execution is refused before any.
#[test]
fn a_proposal_with_any_other_header_field_is_refused_before_execution() {
    let allowed = |fork, field, what| {
        matches!((field, what), ("gasLimit", "one more" | "one less" | "a step up" | "a step down"))
            || (field == "miner" && what.starts_with("validator"))
            || (fork == Fork::Cancun && (field, what) == ("parentBeaconBlockRoot", "absent"))
    };
    let mut tried = 0;
    for fork in FORKS {
        let ledger = ledger(fork, "");
        let block = honest(&ledger);
        let now_ms = block.header.timestamp * 1000 - 1;
        ledger.check_proposal(Arc::new(block.clone()), now_ms, &|_| None, Terms::NONE).unwrap();
        for (index, field) in FIELDS.iter().enumerate() {
            for (what, header) in spoiled(&block.header, index) {
                let at = format!("{fork}: {} {what}", field.name);
                // What no message can carry is no attack: an absent field with a later one behind it.
                let mut bytes = Vec::new();
                header.encode(&mut bytes);
                if Header::decode(&mut &bytes[..]).as_ref() != Ok(&header) {
                    continue;
                }
                tried += 1;
                // A ledger that has executed nothing: senders are asked for before execution begins.
                let fresh = self::ledger(fork, "");
                let body = block.body.clone();
                let verdict = fresh.check_proposal(Arc::new(Block { header, body }), now_ms, &|_| None, Terms::NONE);
                if allowed(fork, field.name, what) {
                    assert!(verdict.is_ok(), "{at}: {verdict:?}");
                    continue;
                }
                let refused = verdict.err().unwrap_or_else(|| panic!("{at} was accepted"));
                assert!(refused.is_verdict(), "{at}: {refused}");
                let late = ["state_root", "receipts_root", "logs_bloom", "gas_used", "requests_hash"];
                let executed = late.contains(&refused.rule());
                assert_eq!(executed, executed && matches!(field.voting, Voting::Executed(_)), "{at}: {refused}");
            }
        }
    }
    assert!(tried > 350, "{tried}");
}

#[test]
fn nothing_of_a_refused_proposal_is_recovered_or_executed() {
    let ledger = ledger(Fork::Osaka, "");
    let mut block = honest(&ledger);
    let tx = alloy_consensus::TxLegacy { gas_limit: 21_000, ..Default::default() };
    let tx: Transaction =
        alloy_consensus::SignableTransaction::into_signed(tx, alloy_primitives::Signature::test_signature()).into();
    block.body.transactions = vec![tx];
    block.header.transactions_root = alloy_consensus::proofs::calculate_transaction_root(&block.body.transactions);
    let asked = Cell::new(0);
    let senders = |_: &B256| {
        asked.set(asked.get() + 1);
        None
    };
    let now_ms = block.header.timestamp * 1000 - 1;
    let _ = ledger.check_proposal(Arc::new(block.clone()), now_ms, &senders, Terms::NONE).unwrap_err();
    assert_eq!(asked.get(), 1, "the honest header gets as far as the transactions");
    for (index, field) in FIELDS.iter().enumerate() {
        if matches!(field.voting, Voting::Executed(_)) || field.name == "gasLimit" {
            continue;
        }
        for (what, header) in spoiled(&block.header, index).into_iter().filter(|(what, _)| !what.starts_with("validator")) {
            asked.set(0);
            let verdict =
                ledger.check_proposal(Arc::new(Block { header, body: block.body.clone() }), now_ms, &senders, Terms::NONE);
            // The absent fields of a block that cannot be encoded are no case.
            if what != "absent" {
                assert!(verdict.is_err() && asked.get() == 0, "{} {what}: {verdict:?}", field.name);
            }
        }
    }
}

/// One header value hung every validator: 2^64 − 1 went into an exponential of 5·10^12 steps.
#[test]
fn the_largest_excess_blob_gas_is_refused_at_once_and_imported_at_once() {
    let began = Instant::now();
    for fork in [Fork::Cancun, Fork::Osaka] {
        let ledger = ledger(fork, "");
        for excess in [1 << 44, u64::MAX / 2, u64::MAX] {
            let mut block = honest(&ledger);
            block.header.excess_blob_gas = Some(excess);
            let now_ms = block.header.timestamp * 1000;
            let refused = ledger.check_proposal(Arc::new(block.clone()), now_ms, &|_| None, Terms::NONE).unwrap_err();
            assert!(matches!(refused, InvalidBlock::Field { field: "excessBlobGas", .. }), "{refused}");
            // A quorum that checks less sealed it: it is followed, as Besu would.
            let bytes = Bytes::from(sealed(block, 0).to_rlp());
            ledger
                .import_stream([Ok::<_, Infallible>(bytes)].into_iter(), now_ms, &mut |step| matches!(step, BulkStep::Imported(_)))
                .unwrap();
        }
        assert_eq!(ledger.head().number, 3);
        // And what comes after it can be built and voted for.
        let next = honest(&ledger);
        let now_ms = next.header.timestamp * 1000;
        ledger.check_proposal(Arc::new(next), now_ms, &|_| None, Terms::NONE).unwrap();
    }
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
}

/// Whatever numbers a quorum sealed, the next block can be built, judged and sealed.
#[test]
fn no_sealed_value_stops_the_chain() {
    for fork in FORKS {
        for (index, field) in FIELDS.iter().enumerate() {
            let sample = honest(&ledger(fork, "")).header;
            for (what, header) in spoiled(&sample, index) {
                let ledger = ledger(fork, "");
                let block = Block { header, body: honest(&ledger).body };
                if ExtraData::decode(&block.header.extra_data).is_err() {
                    continue;
                }
                let at = format!("{fork}: {} {what}", field.name);
                let block = Arc::new(sealed(block, 1));
                let now_ms = block.header.timestamp.saturating_mul(1000);
                let Ok(checked) = ledger.check_sealed(block.clone(), now_ms, &|_| None) else { continue };
                ledger.import(checked, block).unwrap_or_else(|error| panic!("{at}: {error}"));
                if ledger.head().header.timestamp > u64::MAX / 2 {
                    continue;
                }
                let next = honest(&ledger);
                let now_ms = next.header.timestamp.saturating_mul(1000);
                let next = Arc::new(next);
                ledger.check_proposal(next, now_ms, &|_| None, Terms::NONE).unwrap_or_else(|error| panic!("{at}: {error}"));
            }
        }
    }
}

/// One proposer must not be able to price everybody out, whatever the base fee rule of the chain.
#[test]
fn a_base_fee_is_the_one_that_everybody_computes() {
    for (more, min_gas_price, expected) in [("", 0, 875_000_000), (",\"zeroBaseFee\":true", 7, 0), (",\"fixedBaseFee\":true", 7, 7)]
    {
        let ledger = ledger(Fork::London, more);
        let mut block = honest(&ledger);
        let now_ms = block.header.timestamp * 1000;
        for fee in [0, 1, 7, 875_000_000, 875_000_001, 1_000_000_000, u64::MAX] {
            block.header.base_fee_per_gas = Some(fee);
            let verdict = ledger.check_proposal(Arc::new(block.clone()), now_ms, &|_| None, Terms { min_gas_price, ..Terms::NONE });
            assert_eq!(verdict.is_ok(), fee == expected, "{more} {fee}: {verdict:?}");
        }
    }
}

/// GoQuorum's builder may jump up to its least gas limit and moves in steps otherwise; nobody may set it to nothing.
#[test]
fn in_goquorums_chains_one_proposer_cannot_move_the_gas_limit_at_will() {
    let ledger = ledger(Fork::Berlin, ",\"isQuorum\":true,\"transitions\":[{\"block\":9,\"miner.gaslimit\":900000000}]");
    let mut block = honest(&ledger);
    let now_ms = block.header.timestamp * 1000;
    let step = 30_000_000 / 1024;
    for (limit, taken) in [
        (30_000_000, true),
        (30_000_000 + step, true),
        (30_000_000 - step, true),
        (30_000_000 + step + 1, false),
        (30_000_000 - step - 1, false),
        (5_000, false),
        (700_000_000, true),
        (700_000_001, false),
        (900_000_000, true),
        (i64::MAX as u64, false),
    ] {
        block.header.gas_limit = limit;
        let verdict = ledger.check_proposal(Arc::new(block.clone()), now_ms, &|_| None, Terms::NONE);
        assert_eq!(verdict.is_ok(), taken, "{limit}: {verdict:?}");
        // Sealed by others it is followed, as before.
        if limit >= 5_000 {
            let sealed = Arc::new(sealed(block.clone(), 0));
            ledger.check_sealed(sealed, now_ms, &|_| None).unwrap_or_else(|error| panic!("{limit}: {error}"));
        }
    }
}

/// What honest Besu and GoQuorum proposers wrote is voted for: every block of every recorded chain, without its seals, with the
/// round that it was sealed in and with round 0.
#[test]
fn every_recorded_block_of_besu_and_goquorum_is_voted_for() {
    let mut judged = 0;
    for chain in chains() {
        let (_, ledger) = chain.ledger();
        for raw in &chain.blocks {
            let block = Arc::new(RawBlock(raw.clone()).decode().unwrap());
            let round = ExtraData::decode(&block.header.extra_data).unwrap().round;
            let now_ms = block.header.timestamp * 1000;
            for round in [round, 0] {
                let header = with_round_and_seals(&block.header, round, Vec::new()).unwrap();
                let proposal = Arc::new(Block { header, body: block.body.clone() });
                ledger
                    .check_proposal(proposal, now_ms, &|_| None, Terms::NONE)
                    .unwrap_or_else(|error| panic!("{} block {}: {error}", chain.name, block.header.number));
                judged += 1;
            }
            let checked = ledger.check_sealed(Arc::clone(&block), now_ms, &|_| None).unwrap();
            ledger.import(checked, block).unwrap();
        }
    }
    assert!(judged > 400, "{judged}");
}

/// Nothing that comes behind the seals is under the hash or the seals, so anybody who passes a block on could add it: a wiped node
/// stored 45 KB for each header that has 0.9.
#[test]
fn what_somebody_added_behind_the_seals_is_not_kept() {
    let chain = &chains()[0];
    let (_, ledger) = chain.ledger();
    let block = RawBlock(chain.blocks[0].clone()).decode().unwrap();
    let mut items = Vec::new();
    let mut rest = &block.header.extra_data[..];
    let list = alloy_rlp::Header::decode(&mut rest).unwrap();
    assert!(list.list && list.payload_length == rest.len());
    items.extend_from_slice(rest);
    vec![b'J'; 40_000].as_slice().encode(&mut items);
    let mut padded = Vec::new();
    alloy_rlp::Header { list: true, payload_length: items.len() }.encode(&mut padded);
    padded.extend_from_slice(&items);
    let honest = block.header.extra_data.clone();
    let mut spoiled = block.clone();
    spoiled.header.extra_data = padded.into();
    assert_eq!(spoiled.hash().unwrap(), block.hash().unwrap());
    let (spoiled, now_ms) = (Arc::new(spoiled), block.header.timestamp * 1_000);
    let checked = ledger.check_sealed(Arc::clone(&spoiled), now_ms, &|_| None).expect("Besu takes it, too");
    let imported = ledger.import(checked, spoiled).unwrap();
    assert_eq!(imported.block.header.extra_data, honest);
    assert_eq!(ledger.header(1).unwrap().unwrap().extra_data, honest);
}

/// A proposal just under a limit became a sealed block over it, which nobody could import.
#[test]
fn a_verdict_about_size_never_depends_on_round_or_seals() {
    for (fork, voting, import) in
        [(Fork::Berlin, PROPOSED_BLOCK_BYTES, MESSAGE_BYTES), (Fork::Osaka, PROPOSED_BLOCK_BYTES, MESSAGE_BYTES)]
    {
        let ledger = ledger(fork, "");
        let empty = honest(&ledger);
        for (judging, most) in [(Judging::Proposal, voting), (Judging::Sealed, import)] {
            for (bytes, fits) in [(most, true), (most + 1, false)] {
                let block = filled(&empty, bytes);
                for (round, seals) in [(0, 0), (1, 3), (u32::MAX >> 1, 4), (7, 512)] {
                    let seal = key(1).sign(B256::ZERO);
                    let header = with_round_and_seals(&block.header, round, vec![seal; seals]).unwrap();
                    let block = Block { header, body: block.body.clone() };
                    let verdict = check_body(&block, judging);
                    assert_eq!(verdict.is_ok(), fits, "{fork} {judging:?} {bytes} {seals}: {verdict:?}");
                }
            }
        }
    }
}

/// The block with one transaction that makes it exactly this long.
fn filled(block: &Block, bytes: usize) -> Block {
    let mut fill = bytes - block.unsealed_length().unwrap() - 100;
    loop {
        let tx = alloy_consensus::TxLegacy { input: Bytes::from(vec![1; fill]), ..Default::default() };
        let signature = alloy_primitives::Signature::test_signature();
        let tx: Transaction = alloy_consensus::SignableTransaction::into_signed(tx, signature).into();
        let transactions = vec![tx];
        let transactions_root = alloy_consensus::proofs::calculate_transaction_root(&transactions);
        let header = Header { transactions_root, ..block.header.clone() };
        let block = Block { header, body: Body { transactions, withdrawals: block.body.withdrawals.clone() } };
        match block.unsealed_length().unwrap() {
            length if length == bytes => return block,
            length => fill = fill + bytes - length,
        }
    }
}

#[test]
fn the_table_names_every_field_of_a_header_once() {
    let mut names: Vec<&str> = FIELDS.iter().map(|field| field.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), FIELDS.len());
    let block = honest(&ledger(Fork::Osaka, ""));
    for (field, item) in FIELDS.iter().zip(items(&block.header)) {
        assert_eq!(item.is_some(), field.since.is_some(), "{}", field.name);
    }
}

/// One proposer alone cannot bring the gas limit anywhere: others vote for steps towards what they aim at, and around it.
#[test]
fn the_gas_limit_moves_towards_what_validators_aim_at() {
    let ledger = || ledger(Fork::Berlin, "");
    let build = |target| aiming(&ledger(), Some(target));
    let limit = ledger().head().header.gas_limit;
    let (up, same, down) = (build(2 * limit), build(limit), build(limit / 2));
    assert!(up.header.gas_limit > limit && same.header.gas_limit == limit && down.header.gas_limit < limit);
    let judge = |block: &Block, aim| {
        let now_ms = block.header.timestamp * 1_000;
        let terms = Terms { gas_limit_aim: aim, ..Terms::NONE };
        ledger().check_proposal(Arc::new(block.clone()), now_ms, &|_| None, terms).map(drop).map_err(|error| error.rule())
    };
    let away: Result<(), &str> = Err("gas_limit_away");
    // (aim, verdicts on a step up, none, a step down)
    let cases = [
        (None, [Ok(()), Ok(()), Ok(())]),
        (Some(limit), [Ok(()), Ok(()), Ok(())]),
        (Some(limit - limit / 10), [Ok(()), Ok(()), Ok(())]),
        (Some(limit / 2), [away, Ok(()), Ok(())]),
        (Some(2 * limit), [Ok(()), Ok(()), away]),
    ];
    for (aim, verdicts) in cases {
        for (block, verdict) in [&up, &same, &down].into_iter().zip(verdicts) {
            assert_eq!(judge(block, aim), verdict, "aim {aim:?}, gas limit {}", block.header.gas_limit);
        }
    }
}
