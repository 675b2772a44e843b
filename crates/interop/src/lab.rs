//! A network that runs every instruction and every precompiled contract of its fork, transactions of every type, and the
//! system contracts, for hundreds of blocks: every node has to have the same roots at every height.

use crate::compare::same_chain;
use crate::evm::random::{self, Random};
use crate::evm::{self, assembly, executor};
use crate::genesis::{VALIDATORS, builder};
use crate::journey::{CASES, Case, Journey};
use crate::network::Node;
use crate::rpc::{self, quantity};
use crate::traffic;
use crate::typed::{Carries, Proofs, Wish, signed};
use crate::wishes::{blobs, deposits, run, wishes};
use alloy_eips::{eip2935, eip4788, eip7002, eip7251};
use alloy_primitives::{Address, B256, Bytes, U256, address};
use ipe_types::Dialect;
use ipe_types::fork::Fork;
use ipe_types::genesis::GenesisAccount;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

/// The contract that runs programs.
pub const EXECUTOR: Address = address!("00000000000000000000000000000000e0e0e0e0");
/// An account whose code in the genesis says that it runs the executor's (EIP-7702).
pub const DELEGATED: Address = address!("00000000000000000000000000000000d0d0d0d0");
/// An account that the genesis names and gives nothing.
pub const EMPTY: Address = address!("00000000000000000000000000000000e1e1e1e1");
/// A contract that logs deposits.
pub const DEPOSITS: Address = address!("0000000000000000000000000000000060606060");
/// Beacon roots, block hashes, withdrawal requests, consolidation requests.
pub const SYSTEM: [Address; 4] = [
    eip4788::BEACON_ROOTS_ADDRESS,
    eip2935::HISTORY_STORAGE_ADDRESS,
    eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS,
    eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS,
];

/// Blocks that a lab runs for, unless `IPE_INTEROP_BLOCKS` says otherwise.
const BLOCKS: u64 = 500;
/// Transactions a block, on average: what a run's list comes to.
const A_BLOCK: usize = 5;
/// Heights after which everything that was sent has to be in a block.
const STEP: u64 = 10;

/// What the genesis says of the system contracts, whose code it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    /// Their addresses are in `config`.
    Named,
    /// They are not.
    Unnamed,
}

/// The cases of a lab.
pub const LAB: &[Case] = &[
    CASES[0],
    ("every program answered alike by eth_call", answered),
    ("every instruction, precompiled contract and transaction type, in blocks of both", lab),
    ("the whole chain, on every node", recorded),
];

/// Fork of the lab of a dialect.
pub fn fork(dialect: Dialect) -> Fork {
    if dialect == Dialect::Besu26 { Fork::Osaka } else { Fork::Cancun }
}

/// Genesis of a lab.
pub fn genesis(dialect: Dialect, system: System) -> Result<Value, String> {
    let mut builder = builder()?;
    builder.fork = fork(dialect);
    builder.gas_limit = 200_000_000;
    // Java executes some programs slowly: a round is no short one, so that a slow node falls behind nobody.
    builder.request_timeout_s = 8;
    let code = |code: Vec<u8>| GenesisAccount { code: Bytes::from(code), nonce: 1, ..GenesisAccount::default() };
    let rich = U256::from(10).pow(U256::from(18));
    builder.alloc.insert(EXECUTOR, GenesisAccount { balance: rich, ..code(executor::executor().0) });
    builder.alloc.insert(DELEGATED, code([&[0xef, 1, 0], EXECUTOR.as_slice()].concat()));
    builder.alloc.insert(EMPTY, GenesisAccount::default());
    builder.alloc.insert(DEPOSITS, code(deposits()));
    let codes = [
        &eip4788::BEACON_ROOTS_CODE,
        &eip2935::HISTORY_STORAGE_CODE,
        &eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_CODE,
        &eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_CODE,
    ];
    for (contract, bytes) in SYSTEM.into_iter().zip(codes) {
        builder.alloc.insert(contract, code(bytes.to_vec()));
    }
    let text = builder.to_json().map_err(|error| error.to_string())?;
    let mut genesis: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    if system == System::Named {
        genesis["config"]["depositContractAddress"] = json!(DEPOSITS);
        genesis["config"]["withdrawalRequestContractAddress"] = json!(SYSTEM[2]);
        genesis["config"]["consolidationRequestContractAddress"] = json!(SYSTEM[3]);
    } else if dialect == Dialect::Legacy {
        // Older releases call the contracts of EIP-4788 and 2935 whether they are named or not.
        genesis["config"]["ipe"] = json!({ "besuRules": "25.5.0" });
    }
    Ok(genesis)
}

/// Whether every node computes curves with a library: BLS12-381 at all, and a pairing in much less than a block's time. Besu's is
/// native, and not every build of it has one.
fn is_native(journey: &Journey) -> bool {
    const SOON: Duration = Duration::from_millis(500);
    let asked = |node: &Node, contract: u8, input: &[u8]| {
        let call = json!([{ "to": Address::with_last_byte(contract), "data": format!("0x{}", hex::encode(input)) }, "latest"]);
        node.ask("eth_call", call).ok()
    };
    let fork = fork(journey.theirs.dialect);
    journey.network.nodes.iter().all(|node| {
        // The first may have to load the library.
        let first = asked(node, 8, &evm::precompiles::pairing());
        let began = Instant::now();
        let again = asked(node, 8, &evm::precompiles::pairing());
        let soon = first.is_some() && first == again && began.elapsed() < SOON;
        soon && (fork < Fork::Prague || asked(node, 0x0b, &[0; 256]).is_some_and(|sum| sum == format!("0x{}", "00".repeat(128))))
    })
}

/// Every program put to every node as a question, on the state of one block: a difference is told with its name, and stops no
/// chain.
fn answered(journey: &mut Journey) -> Result<String, String> {
    const AT_ONCE: usize = 20;
    let (fork, native) = (fork(journey.theirs.dialect), is_native(journey));
    let programs = evm::all(fork, native);
    let without = if !native {
        ", without BLS12-381 and alt_bn128's multiplication and pairing: this Besu has no native library for them"
    } else {
        ""
    };
    let mut differences = Vec::new();
    let from = traffic::account(0)?.address();
    for part in programs.chunks(AT_ONCE) {
        // A block that all have, and no old one: Besu goes back to a state block by block.
        let height = journey.network.height();
        journey.network.all_reach(&[0, 1, 2, 3], height)?;
        let at = format!("{height:#x}");
        let questions: Vec<(&str, Value)> = part
            .iter()
            .map(|program| {
                let data = Bytes::from(assembly::creation(&program.code));
                ("eth_call", json!([{ "from": from, "to": EXECUTOR, "data": data, "gas": "0x3d0900", "value": "0x6" }, at]))
            })
            .collect();
        let answers: Vec<Vec<Value>> = journey.network.nodes.iter().map(|node| answers(node, &questions)).collect();
        for (at, program) in part.iter().enumerate() {
            let (first, others) = (&answers[0][at], &answers[1..]);
            if first["error"].is_string() || others.iter().any(|other| other[at] != *first) {
                let told: Vec<String> = answers.iter().map(|answers| told(&answers[at])).collect();
                differences.push(format!("{}: code 0x{}\n    {}", program.name, hex::encode(&program.code), told.join("\n    ")));
            }
        }
    }
    if !differences.is_empty() {
        return Err(format!("{} of {} programs differ:\n{}", differences.len(), programs.len(), differences.join("\n")));
    }
    Ok(format!("{} programs{without}", programs.len()))
}

/// A node's answers; a question that fails has its error as an object.
fn answers(node: &Node, questions: &[(&str, Value)]) -> Vec<Value> {
    rpc::ask_all(node.place.http, questions).unwrap_or_else(|_| {
        let one = |(method, params): &(&str, Value)| {
            rpc::ask(node.place.http, method, params.clone()).unwrap_or_else(|why| json!({ "error": why }))
        };
        questions.iter().map(one).collect()
    })
}

/// An answer of the executor without the bytes that nothing was written to.
fn told(answer: &Value) -> String {
    match answer.as_str() {
        Some(text) => {
            let words: Vec<&str> =
                text.trim_start_matches("0x").as_bytes().chunks(64).filter_map(|word| std::str::from_utf8(word).ok()).collect();
            let short = |word: &&str| {
                let short = word.trim_start_matches('0');
                if short.is_empty() { "0".to_owned() } else { short.to_owned() }
            };
            let slots = words.chunks((executor::SLOT / 32) as usize);
            let slot = |slot: &[&str]| {
                let used = slot.iter().rposition(|word| !word.trim_start_matches('0').is_empty()).map_or(0, |last| last + 1);
                slot[..used].iter().map(short).collect::<Vec<_>>().join(" ")
            };
            slots.map(slot).collect::<Vec<_>>().join(" | ")
        }
        None => answer.to_string(),
    }
}

/// What a run sends, in order: what belongs to one account stays in order.
fn plan(journey: &Journey, blocks: u64) -> Result<Vec<Wish>, String> {
    let chain_id = journey.network.nodes[0].place.chain_id;
    let (fork, native) = (fork(journey.theirs.dialect), is_native(journey));
    let mut programs: Vec<Wish> = evm::all(fork, native).iter().map(run).collect();
    let count = usize::try_from(blocks).unwrap_or(usize::MAX).saturating_mul(A_BLOCK);
    let own = wishes(fork, chain_id)?;
    let blob_count = usize::try_from(blocks / 12).unwrap_or(0);
    programs.extend(
        (0u64..)
            .map(|index| run(&random::program(fork, native, index)))
            .take(count.saturating_sub(programs.len() + own.len() + blob_count)),
    );
    // Programs in any order, and the others evenly among them in theirs.
    let mut random = Random(7);
    for at in (1..programs.len()).rev() {
        programs.swap(at, random.below(at + 1));
    }
    let mut wishes = Vec::with_capacity(count);
    let every = programs.len() / (own.len() + blob_count).max(1) + 1;
    let mut others = interleaved(own, (0..blob_count).map(blobs).collect()).into_iter();
    for (at, program) in programs.into_iter().enumerate() {
        if at % every == 0 {
            wishes.extend(others.next());
        }
        wishes.push(program);
    }
    wishes.extend(others);
    Ok(wishes)
}

fn interleaved(long: Vec<Wish>, short: Vec<Wish>) -> Vec<Wish> {
    let every = long.len() / short.len().max(1) + 1;
    let mut short = short.into_iter();
    let mut all = Vec::new();
    for (at, wish) in long.into_iter().enumerate() {
        if at % every == 0 {
            all.extend(short.next());
        }
        all.push(wish);
    }
    all.extend(short);
    all
}

fn lab(journey: &mut Journey) -> Result<String, String> {
    let blocks = match std::env::var("IPE_INTEROP_BLOCKS") {
        Ok(text) => text
            .parse()
            .ok()
            .filter(|blocks| (1..=100_000).contains(blocks))
            .ok_or("IPE_INTEROP_BLOCKS: expected a number of blocks up to 100000")?,
        Err(_) => BLOCKS,
    };
    let from = journey.network.height();
    let mut wishes = plan(journey, blocks)?.into_iter();
    let total = wishes.len();
    let mut nonces = [0u64; traffic::COUNT];
    for (lane, nonce) in nonces.iter_mut().enumerate() {
        *nonce = quantity(
            &journey.network.nodes[0].ask("eth_getTransactionCount", json!([traffic::account(lane)?.address(), "latest"]))?,
        )
        .ok_or("no nonce")?;
    }
    let (mut refused, mut done, mut restarted) = (Vec::new(), 0usize, 0usize);
    for step in 1..=blocks.div_ceil(STEP) {
        let to = from + (step * STEP).min(blocks);
        let due = total * usize::try_from(to - from).unwrap_or(0) / usize::try_from(blocks).unwrap_or(1);
        let mut sent = BTreeMap::new();
        while done < due {
            let Some(wish) = wishes.next() else { break };
            match send(journey, &wish, done, &mut nonces) {
                Ok((hash, one)) => {
                    sent.insert(hash, one);
                }
                Err(why) => refused.push(format!("{}: {why}", wish.name)),
            }
            done += 1;
            // A few, then the next block: every block has some. What stands still is looked at below.
            let height = journey.network.height();
            if done.is_multiple_of(A_BLOCK) && height + 1 < to && journey.network.all_reach(&[0], height + 1).is_err() {
                break;
            }
        }
        restarted += settle(journey, &sent, to)?;
    }
    let height = journey.network.height();
    let seen = same_chain(&journey.network, &[0, 1, 2, 3], height)?;
    let proposed = proposers(journey, from, height)?;
    if proposed.contains(&0) {
        return Err(format!("blocks with transactions by proposer: {proposed:?}, expected some of each"));
    }
    let few = total / 20;
    if refused.len() > few {
        return Err(format!(
            "{} of {total} transactions were refused, expected at most {few}:\n{}",
            refused.len(),
            refused.join("\n")
        ));
    }
    for line in &refused {
        println!("    refused: {line}");
    }
    Ok(format!(
        "{} blocks, {seen} transactions of {total}, blocks with transactions by proposer {proposed:?}, roots and receipts equal, \
         {restarted} restarts of a Besu that stood still",
        height - from
    ))
}

/// What was sent, and to which node.
#[derive(Clone, Debug)]
struct Sent {
    name: String,
    at: usize,
    raw: Bytes,
}

/// Signs a wish by the account whose turn it is and gives it to a node; blobs only go to theirs, since ours keep none.
fn send(journey: &Journey, wish: &Wish, turn: usize, nonces: &mut [u64; traffic::COUNT]) -> Result<(B256, Sent), String> {
    // The last account sends all that gives code to accounts: what is authorized has to come in order.
    let lane = match wish.carries {
        Carries::Code(_) => traffic::COUNT - 1,
        _ => turn % (traffic::COUNT - 1),
    };
    let at = match wish.carries {
        Carries::Blobs(_) => turn % 2 * 2 + 1,
        _ => turn % VALIDATORS,
    };
    let node = &journey.network.nodes[at];
    let proofs = if fork(journey.theirs.dialect) >= Fork::Osaka { Proofs::Cells } else { Proofs::Blob };
    let tx = signed(wish, &traffic::account(lane)?, node.place.chain_id, nonces[lane], proofs)?;
    let raw = Bytes::from(tx.raw);
    node.ask("eth_sendRawTransaction", json!([raw]))?;
    nonces[lane] += 1;
    Ok((tx.hash, Sent { name: wish.name.clone(), at, raw }))
}

/// Waits until all of these are in blocks and every node has block `to`. A Besu that a sync met while it imported stands still for
/// good (docs/interop.md); on a machine under load that is not rare, and not what a lab is about: one that is behind is killed and
/// started again, and what it may have forgotten is sent once more. Gives how many were.
fn settle(journey: &mut Journey, sent: &BTreeMap<B256, Sent>, to: u64) -> Result<usize, String> {
    const RESTARTS: usize = 8;
    let (mut left, mut restarted) = (sent.clone(), 0);
    loop {
        let waited = journey.network.until("what was sent is in blocks on every node", |network| {
            let hashes: Vec<B256> = left.keys().copied().collect();
            for part in hashes.chunks(100) {
                let questions: Vec<(&str, Value)> = part.iter().map(|hash| ("eth_getTransactionReceipt", json!([hash]))).collect();
                let answers = rpc::ask_all(network.nodes[0].place.http, &questions)?;
                for (hash, answer) in part.iter().zip(answers) {
                    if !answer.is_null() {
                        left.remove(hash);
                    }
                }
            }
            let all = network.nodes.iter().all(|node| node.height().is_ok_and(|height| height >= to));
            Ok(left.is_empty() && all)
        });
        let Err(why) = waited else { return Ok(restarted) };
        let highest = journey.network.height();
        let behind = |at: &usize| journey.network.nodes[*at].height().map_or(true, |height| height < highest);
        let mut stuck: Vec<usize> = [1, 3].into_iter().filter(behind).collect();
        if stuck.is_empty() {
            // Nobody is ahead: two that stand still leave no quorum.
            stuck = vec![1, 3];
        }
        restarted += stuck.len();
        if restarted > RESTARTS {
            let names: Vec<&String> = left.values().map(|sent| &sent.name).collect();
            return Err(format!("{why}\nnot in a block: {names:?}"));
        }
        for at in stuck {
            println!("    node{} stands still and is started again", at + 1);
            journey.network.stop(at, Signal::SIGKILL)?;
            journey.network.run(at)?;
        }
        journey.network.grow(2)?;
        for sent in left.values() {
            // Whoever has it still says so.
            let _ = journey.network.nodes[sent.at].ask("eth_sendRawTransaction", json!([sent.raw]));
        }
    }
}

/// Blocks with transactions after `from`, by the validator that proposed them.
fn proposers(journey: &Journey, from: u64, to: u64) -> Result<[usize; VALIDATORS], String> {
    let mut counts = [0; VALIDATORS];
    let heights: Vec<u64> = (from + 1..=to).collect();
    for part in heights.chunks(100) {
        let questions: Vec<(&str, Value)> =
            part.iter().map(|height| ("eth_getBlockByNumber", json!([format!("{height:#x}"), false]))).collect();
        for block in rpc::ask_all(journey.network.nodes[0].place.http, &questions)? {
            let miner: Option<Address> = block["miner"].as_str().and_then(|text| text.parse().ok());
            let filled = block["transactions"].as_array().is_some_and(|list| !list.is_empty());
            if let Some(at) = (0..VALIDATORS).find(|at| miner == Some(journey.network.nodes[*at].address())) {
                counts[at] += usize::from(filled);
            }
        }
    }
    Ok(counts)
}

/// Compares once more, and writes the chain as a fixture where `IPE_INTEROP_RECORD` names a folder: genesis, blocks, and hash and
/// state root of each, as theirs tells them.
fn recorded(journey: &mut Journey) -> Result<String, String> {
    let height = journey.network.grow(2)?;
    let seen = same_chain(&journey.network, &[0, 1, 2, 3], height)?;
    let Some(folder) = std::env::var_os("IPE_INTEROP_RECORD") else { return Ok(format!("{height} blocks, {seen} transactions")) };
    let folder = Path::new(&folder).join(journey.network.name());
    let failed = |error: std::io::Error| format!("writing to {}: {error}", folder.display());
    std::fs::create_dir_all(&folder).map_err(failed)?;
    let theirs = &journey.network.nodes[1];
    std::fs::copy(&theirs.place.genesis, folder.join("genesis.json")).map_err(failed)?;
    let (mut blocks, mut lines) = (Vec::new(), String::new());
    for number in 0..=height {
        let at = format!("{number:#x}");
        let block = theirs.ask("eth_getBlockByNumber", json!([at, false]))?;
        let line = json!({ "number": number, "hash": block["hash"], "stateRoot": block["stateRoot"] });
        lines.push_str(&format!("{line}\n"));
        if number > 0 {
            let raw = theirs.ask("debug_getRawBlock", json!([at]))?;
            let raw = raw.as_str().unwrap_or_default();
            blocks.extend(hex::decode(raw.trim_start_matches("0x")).map_err(|error| error.to_string())?);
        }
    }
    std::fs::write(folder.join("blocks.rlp"), &blocks).map_err(failed)?;
    std::fs::write(folder.join("blocks.jsonl"), lines).map_err(failed)?;
    let about = json!({ "client": theirs.client.name(), "head": height, "transactions": seen });
    std::fs::write(folder.join("about.json"), format!("{about:#}\n")).map_err(failed)?;
    Ok(format!("{height} blocks, {seen} transactions, {} bytes recorded in {}", blocks.len(), folder.display()))
}
