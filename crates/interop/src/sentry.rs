//! Our validator behind two boots beside three validators of another client: the boots carry its sessions.

use crate::compare::same_chain;
use crate::genesis::VALIDATORS;
use crate::journey::{Case, Journey, proposes};
use crate::traffic::{self, mined};
use nix::sys::signal::Signal;

/// Our validator.
const VALIDATOR: usize = 0;
/// Theirs.
const THEIRS: [usize; 3] = [1, 2, 3];
/// One of theirs, without which every vote is needed.
const LAST_OF_THEIRS: usize = 3;
/// Our boots.
const BOOTS: [usize; 2] = [4, 5];

/// All cases, in the order of the network's life; each leaves six running nodes.
pub const CASES: &[Case] = &[
    ("carried: our validator behind boots makes blocks with theirs", meet),
    ("carried: transactions of both sides, equal blocks and receipts", transactions),
    ("carried: one of theirs stopped, every vote is needed", stopped),
    ("carried: either boot killed, the other one carries", boots),
    ("carried: our validator restarted and killed", restarts),
    ("carried: the whole chain, on every node", whole),
];

/// Waits until our validator has a session with each of theirs that runs, and a block in the chain.
fn back(journey: &mut Journey) -> Result<(), String> {
    journey.network.meshed(VALIDATORS)?;
    proposes(journey, VALIDATOR)
}

fn meet(journey: &mut Journey) -> Result<String, String> {
    let height = journey.network.grow(5)?;
    back(journey)?;
    let nodes = &journey.network.nodes;
    for theirs in THEIRS {
        let peers = nodes[theirs].peers()?;
        if let Some(boot) = BOOTS.into_iter().find(|&boot| peers.contains(&nodes[boot].id())) {
            return Err(format!("node {theirs} has a session with boot {boot}, expected the validator's only"));
        }
    }
    Ok(format!("block {height}"))
}

fn transactions(journey: &mut Journey) -> Result<String, String> {
    let mut submitted = Vec::new();
    for at in 0..VALIDATORS {
        submitted.extend(traffic::submit(&mut journey.network, at)?);
    }
    mined(&mut journey.network, &submitted)?;
    let height = journey.network.grow(1)?;
    let seen = same_chain(&journey.network, &[0, 1, 2, 3, 4, 5], height)?;
    if seen < submitted.len() {
        return Err(format!("{seen} transactions are in the chain, expected {}", submitted.len()));
    }
    Ok(format!("{seen} transactions"))
}

fn stopped(journey: &mut Journey) -> Result<String, String> {
    journey.network.stop(LAST_OF_THEIRS, Signal::SIGTERM)?;
    let from = journey.network.height();
    let to = journey.network.grow(6)?;
    journey.network.run(LAST_OF_THEIRS)?;
    back(journey)?;
    proposes(journey, LAST_OF_THEIRS)?;
    Ok(format!("{} blocks without it", to - from))
}

fn boots(journey: &mut Journey) -> Result<String, String> {
    for boot in BOOTS {
        journey.network.stop(boot, Signal::SIGKILL)?;
        journey.network.grow(1)?;
        back(journey).map_err(|why| format!("boot {boot} killed: {why}"))?;
        journey.network.run(boot)?;
        let height = journey.network.height();
        journey.network.all_reach(&[boot], height)?;
        let connected =
            |network: &crate::network::Network| Ok(network.nodes[VALIDATOR].peers()?.contains(&network.nodes[boot].id()));
        journey.network.until("our validator is connected to the boot again", connected)?;
    }
    Ok("it proposes with either alone".to_owned())
}

fn restarts(journey: &mut Journey) -> Result<String, String> {
    for how in [Signal::SIGTERM, Signal::SIGKILL] {
        journey.network.stop(VALIDATOR, how)?;
        // Theirs go on; our boots hear of blocks by their validator only.
        let next = journey.network.height() + 1;
        journey.network.all_reach(&THEIRS, next)?;
        journey.network.run(VALIDATOR)?;
        back(journey).map_err(|why| format!("after {how}: {why}"))?;
    }
    Ok("connected with all and proposing after each".to_owned())
}

fn whole(journey: &mut Journey) -> Result<String, String> {
    let height = journey.network.grow(2)?;
    let up = journey.network.up();
    let seen = same_chain(&journey.network, &up, height)?;
    Ok(format!("{height} blocks, {seen} transactions"))
}
