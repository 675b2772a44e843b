//! The life of one mixed network, case after case: each begins with the network that the one before left.

use crate::client::Client;
use crate::compare::same_chain;
use crate::genesis::{EPOCH, QUIET_S, VALIDATORS};
use crate::network::{Network, key};
use crate::rpc::quantity;
use crate::traffic::{self, mined};
use nix::sys::signal::Signal;
use serde_json::json;
use std::time::Duration;

/// A network of four validators, ours at the even places and theirs at the odd ones, so that proposers take turns.
pub struct Journey {
    /// The nodes.
    pub network: Network,
    /// Our client.
    pub ours: Client,
    /// The other's.
    pub theirs: Client,
}

/// One case: does its part, leaves four running validators, and says what it saw.
pub type Case = (&'static str, fn(&mut Journey) -> Result<String, String>);

/// All cases, in the order of the network's life.
pub const CASES: &[Case] = &[
    ("validators of both clients make blocks", meet),
    ("transactions of both sides, equal blocks and receipts", transactions),
    ("one of theirs stopped: later rounds", |journey| stopped(journey, 3)),
    ("one of ours stopped: later rounds", |journey| stopped(journey, 2)),
    ("two paused around proposals: prepared rounds", paused),
    ("quorum lost and back", quorum),
    ("a validator voted in and out", votes),
    ("restarts and crashes on either side", restarts),
    ("they sync from ours alone, again after a wipe", they_sync),
    ("ours syncs from theirs alone, again after a crash and a wipe", we_sync),
    ("every node replaced by ours, then by theirs", rolling),
    ("together for as long as IPE_INTEROP_HOURS says", hours),
    ("the whole chain, on every node", whole),
    ("no connection ended but by a stop", connections),
];

/// Cases of a newer Besu that is spoken to in the older dialect, our default: what it reads of it.
pub const LEGACY: &[Case] = &[CASES[0], CASES[1], CASES[2], CASES[3], CASES[4], ("the whole chain, on every node", whole)];

/// Cases of a chain on which empty blocks are rare.
pub const QUIET: &[Case] =
    &[CASES[0], ("ours do not wait with a vote, and theirs agree", hurried), ("the whole chain, on every node", whole)];

/// Cases of a chain that GoQuorum's quickstart began.
pub const QUICKSTART: &[Case] = &[
    CASES[0],
    CASES[1],
    ("one of theirs stopped: later rounds", |journey| stopped(journey, 3)),
    ("they sync from ours alone, again after a wipe", they_sync),
    ("ours syncs from theirs alone, again after a crash and a wipe", we_sync),
    ("the whole chain, on every node", whole),
];

/// Cases of a network where Besu and GoQuorum validators sit at one table. They name a block of a later round
/// differently and refuse each other's votes for it (spec/qbft.md 3.4): the heights go on because the rounds that ours or
/// GoQuorum propose are agreed upon by all. Two paused at once is left out: a later round that is prepared and not
/// committed is a trap for Besu and GoQuorum themselves.
pub const THREE_CLIENTS: &[Case] = &[
    CASES[0],
    CASES[1],
    ("the second client stopped: later rounds", |journey| stopped(journey, 3)),
    ("one of ours stopped: later rounds", |journey| stopped(journey, 2)),
    ("the first client stopped: later rounds", |journey| stopped(journey, 1)),
    ("restarts and crashes on either side", restarts),
    ("together for as long as IPE_INTEROP_HOURS says", hours),
    ("the whole chain, on every node", whole),
    ("no connection ended but by a stop", connections),
];

fn meet(journey: &mut Journey) -> Result<String, String> {
    let height = journey.network.grow(5)?;
    journey.network.meshed(VALIDATORS)?;
    Ok(format!("block {height}"))
}

fn transactions(journey: &mut Journey) -> Result<String, String> {
    let mut submitted = Vec::new();
    for at in 0..VALIDATORS {
        submitted.extend(traffic::submit(&mut journey.network, at)?);
    }
    mined(&mut journey.network, &submitted)?;
    let height = journey.network.grow(1)?;
    let seen = same_chain(&journey.network, &[0, 1, 2, 3], height)?;
    if seen < submitted.len() {
        return Err(format!("{seen} transactions are in the chain, expected {}", submitted.len()));
    }
    Ok(format!("{seen} transactions"))
}

/// Rounds of the blocks after `from` up to `to`, as a node of ours has them; only those above 0.
fn later_rounds(journey: &Journey, from: u64, to: u64) -> Result<Vec<u32>, String> {
    let node = journey.network.up().first().map(|&at| &journey.network.nodes[at]).ok_or("no node runs")?;
    let mut rounds = Vec::new();
    for height in from + 1..=to {
        rounds.push(node.extra(height)?.round);
    }
    rounds.retain(|&round| round > 0);
    Ok(rounds)
}

fn stopped(journey: &mut Journey, at: usize) -> Result<String, String> {
    let from = journey.network.height();
    journey.network.stop(at, Signal::SIGTERM)?;
    // Three of four have to agree, so every vote counts; one height in four begins with the missing proposer.
    let submitted = traffic::submit(&mut journey.network, 0)?;
    let to = journey.network.grow(9)?;
    mined(&mut journey.network, &submitted)?;
    let rounds = later_rounds(journey, from, to)?;
    if rounds.is_empty() {
        return Err(format!("blocks {from} to {to} are all of round 0, expected some of later rounds"));
    }
    journey.network.run(at)?;
    back_in(journey, at)?;
    Ok(format!("{} of {} blocks in later rounds", rounds.len(), to - from))
}

/// Waits until a validator that was away has caught up, is connected, and has its own block in the chain.
fn back_in(journey: &mut Journey, at: usize) -> Result<(), String> {
    journey.network.meshed(VALIDATORS)?;
    proposes(journey, at)
}

/// Waits until a block proposed by this validator is known to every running node.
pub fn proposes(journey: &mut Journey, at: usize) -> Result<(), String> {
    let address = journey.network.nodes[at].address();
    let up = journey.network.up();
    let mut seen = journey.network.height();
    journey.network.until(&format!("a block of node {at} is in the chain"), |network| {
        for height in seen + 1..=network.height() {
            let number = format!("{height:#x}");
            for &node in &up {
                let block = network.nodes[node].ask("eth_getBlockByNumber", json!([number, false]))?;
                if block.is_null() {
                    return Ok(false);
                }
                if block["miner"].as_str().and_then(|text| text.parse().ok()) != Some(address) {
                    break;
                }
                if Some(&node) == up.last() {
                    return Ok(true);
                }
            }
            seen = height;
        }
        Ok(false)
    })
}

fn paused(journey: &mut Journey) -> Result<String, String> {
    const TIMES: u64 = 16;
    let from = journey.network.height();
    for time in 0..TIMES {
        // A proposal goes out a second after the last block: two stop around that moment, each time a little later, so
        // that some heights are prepared and not committed before the others miss the two.
        let height = journey.network.height();
        journey.network.until("the next block", |network| Ok(network.height() > height))?;
        std::thread::sleep(Duration::from_millis(750 + 25 * time));
        let victims = [[0, 1], [1, 2], [2, 3], [0, 3]][(time % 4) as usize];
        for at in victims {
            journey.network.pause(at, true)?;
        }
        std::thread::sleep(Duration::from_millis(2_500));
        for at in victims {
            journey.network.pause(at, false)?;
        }
    }
    let to = journey.network.grow(4)?;
    let rounds = later_rounds(journey, from, to)?;
    journey.network.meshed(VALIDATORS)?;
    if rounds.is_empty() {
        return Err(format!("blocks {from} to {to} are all of round 0, expected some of later rounds"));
    }
    let highest = rounds.iter().max().copied().unwrap_or(0);
    Ok(format!("{} of {} blocks in later rounds, the highest {highest}", rounds.len(), to - from))
}

fn quorum(journey: &mut Journey) -> Result<String, String> {
    for at in [1, 2] {
        journey.network.stop(at, Signal::SIGKILL)?;
    }
    let height = journey.network.height();
    std::thread::sleep(Duration::from_secs(8));
    let grown = journey.network.height() - height;
    if grown > 1 {
        return Err(format!("{grown} blocks with two of four validators"));
    }
    for at in [1, 2] {
        journey.network.run(at)?;
    }
    back_in(journey, 1)?;
    back_in(journey, 2)?;
    Ok("nothing without it, goes on with it".to_owned())
}

fn votes(journey: &mut Journey) -> Result<String, String> {
    // One of ours is voted in first, then one of theirs; each proposes; then both are voted out.
    for client in [journey.ours.clone(), journey.theirs.clone()] {
        let name = client.name();
        let at = journey.network.add(client, &[0, 1, 2, 3])?;
        journey.network.grow(1)?;
        let candidate = key(at)?;
        vote(journey, at, true)?;
        journey.network.grow(2)?;
        proposes(journey, at).map_err(|why| format!("{name} voted in: {why}"))?;
        vote(journey, at, false)?;
        journey.network.stop(at, Signal::SIGTERM)?;
        for voter in 0..VALIDATORS {
            let (method, params) = journey.network.nodes[voter].client.discard(&candidate);
            journey.network.nodes[voter].ask(method, params)?;
        }
        journey.network.grow(2)?;
    }
    let height = journey.network.height();
    Ok(format!("block {height}, past {} epochs", height / EPOCH))
}

/// All four vote, and every running node sees the change.
fn vote(journey: &mut Journey, at: usize, add: bool) -> Result<(), String> {
    let candidate = key(at)?;
    for voter in 0..VALIDATORS {
        let (method, params) = journey.network.nodes[voter].client.vote(&candidate, add);
        journey.network.nodes[voter].ask(method, params)?;
    }
    let up = journey.network.up();
    journey.network.until(&format!("node {at} is voted {}", if add { "in" } else { "out" }), |network| {
        for &node in &up {
            let height = network.nodes[node].height()?;
            if network.nodes[node].validators(height)?.contains(&candidate.address()) != add {
                return Ok(false);
            }
        }
        Ok(true)
    })
}

/// A validator is voted in and out where empty blocks are rare: ours propose their votes at the ordinary period.
fn hurried(journey: &mut Journey) -> Result<String, String> {
    let at = journey.network.add(journey.ours.clone(), &[0, 1, 2, 3])?;
    journey.network.grow(1)?;
    let from = journey.network.height();
    vote(journey, at, true)?;
    vote(journey, at, false)?;
    let to = journey.network.height();
    let ours = [0, 2, at].map(|at| journey.network.nodes[at].address());
    let (mut hurried, mut waited) = (0, 0);
    // The first block may have been waited for before anybody wished for anything.
    for height in from + 2..=to {
        let node = &journey.network.nodes[0];
        let at = |height: u64| {
            let block = node.ask("eth_getBlockByNumber", json!([format!("{height:#x}"), false]))?;
            let miner: Option<alloy_primitives::Address> = block["miner"].as_str().and_then(|text| text.parse().ok());
            quantity(&block["timestamp"]).zip(miner).ok_or_else(|| format!("block {height} is {block}"))
        };
        let ((time, miner), (before, _)) = (at(height)?, at(height - 1)?);
        let extra = node.extra(height)?;
        let votes_of_ours = ours.contains(&miner) && extra.vote.is_some() && extra.round == 0;
        match time - before {
            gap if votes_of_ours && gap >= QUIET_S => {
                return Err(format!("block {height}, a vote of ours, came {gap} s after the one before, expected about one"));
            }
            _ if votes_of_ours => hurried += 1,
            gap if gap >= QUIET_S => waited += 1,
            _ => {}
        }
    }
    if hurried == 0 {
        return Err(format!("no vote of ours in blocks {} to {to}", from + 2));
    }
    journey.network.stop(at, Signal::SIGTERM)?;
    Ok(format!("{hurried} votes of ours at once, {waited} blocks after {QUIET_S} s"))
}

fn restarts(journey: &mut Journey) -> Result<String, String> {
    for (at, how) in [(0, Signal::SIGTERM), (1, Signal::SIGTERM), (2, Signal::SIGKILL), (3, Signal::SIGKILL)] {
        journey.network.stop(at, how)?;
        journey.network.run(at)?;
        back_in(journey, at).map_err(|why| format!("after {how} to node {at}: {why}"))?;
    }
    Ok("all connected with each other and proposing after each".to_owned())
}

fn they_sync(journey: &mut Journey) -> Result<String, String> {
    let client = journey.theirs.clone();
    let at = journey.network.add(client.clone(), &[0, 2])?;
    follow(journey, at)?;
    journey.network.replace(at, client)?;
    let seen = follow(journey, at)?;
    journey.network.stop(at, Signal::SIGTERM)?;
    Ok(seen)
}

fn we_sync(journey: &mut Journey) -> Result<String, String> {
    let client = journey.ours.clone();
    let at = journey.network.add(client.clone(), &[1, 3])?;
    journey.network.until("ours has begun to sync", |network| Ok(network.nodes[at].height()? > 0))?;
    journey.network.stop(at, Signal::SIGKILL)?;
    journey.network.run(at)?;
    follow(journey, at)?;
    journey.network.replace(at, client)?;
    let seen = follow(journey, at)?;
    journey.network.stop(at, Signal::SIGTERM)?;
    Ok(seen)
}

/// Waits until a node that does not vote follows the chain, and compares all of it.
fn follow(journey: &mut Journey, at: usize) -> Result<String, String> {
    journey.network.grow(2)?;
    let submitted = traffic::submit(&mut journey.network, 0)?;
    mined(&mut journey.network, &submitted)?;
    let height = journey.network.grow(1)?;
    let seen = same_chain(&journey.network, &[0, at], height)?;
    Ok(format!("{height} blocks, {seen} transactions"))
}

fn rolling(journey: &mut Journey) -> Result<String, String> {
    let (ours, theirs) = (journey.ours.clone(), journey.theirs.clone());
    for (at, client) in [(1, &ours), (3, &ours), (0, &theirs), (1, &theirs), (2, &theirs), (3, &theirs), (0, &ours), (2, &ours)] {
        journey.network.replace(at, client.clone())?;
        back_in(journey, at).map_err(|why| format!("node {at} replaced by {}: {why}", client.name()))?;
        let submitted = traffic::submit(&mut journey.network, at)?;
        mined(&mut journey.network, &submitted).map_err(|why| format!("node {at} replaced by {}: {why}", client.name()))?;
    }
    Ok("8 replacements, each syncs, proposes and takes transactions".to_owned())
}

/// All four for so many hours (none unless they are asked for, as in 0.5), with transactions at every node in turn: no
/// connection ends.
fn hours(journey: &mut Journey) -> Result<String, String> {
    let hours = std::env::var("IPE_INTEROP_HOURS").unwrap_or_else(|_| "0".to_owned());
    let hours = hours.parse::<f64>().ok().filter(|hours| (0.0..=1_000.0).contains(hours));
    let hours = hours.ok_or("IPE_INTEROP_HOURS: expected a number of hours up to 1000, as in 0.5")?;
    let (began, from) = (std::time::Instant::now(), journey.network.height());
    let before = ends(journey)?;
    let (mut at, mut sent) = (0, 0);
    while began.elapsed().as_secs_f64() < hours * 3_600.0 {
        let submitted = traffic::submit(&mut journey.network, at)?;
        mined(&mut journey.network, &submitted)?;
        sent += submitted.len();
        at = (at + 1) % VALIDATORS;
        journey.network.grow(10)?;
    }
    let grown = journey.network.height() - from;
    let mut ended = ends(journey)?;
    ended.retain(|line| !before.contains(line));
    if !ended.is_empty() {
        return Err(format!("{} connections ended:\n{}", ended.len(), ended.join("\n")));
    }
    Ok(format!("{} minutes, {grown} blocks, {sent} transactions", began.elapsed().as_secs() / 60))
}

fn whole(journey: &mut Journey) -> Result<String, String> {
    let height = journey.network.grow(2)?;
    let up = journey.network.up();
    let seen = same_chain(&journey.network, &up, height)?;
    let rounds = later_rounds(journey, 0, height)?;
    Ok(format!("{height} blocks, {} in later rounds, {seen} transactions", rounds.len()))
}

/// In the logs of our nodes, every end of a connection is a node that stopped or was killed.
fn connections(journey: &mut Journey) -> Result<String, String> {
    let mut others = ends(journey)?;
    let ends = others.len();
    others.retain(|line| !line.contains("CLIENT_QUITTING") && !line.contains("the connection broke"));
    if others.is_empty() {
        return Ok(format!("{ends} ends"));
    }
    Err(format!("of {ends} ends:\n{}", others.join("\n")))
}

/// Every end of a connection that our nodes have logged.
fn ends(journey: &Journey) -> Result<Vec<String>, String> {
    let mut lines = journey.network.lines_of(&journey.ours)?;
    lines.retain(|line| line.contains("disconnected: "));
    Ok(lines)
}
