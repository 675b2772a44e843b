//! `attack`: what one institution, or a stranger, can do to a network of real processes on loopback, and what it does to
//! them (docs/attacks.md).
//!
//! Arguments pick cases by a part of their names; `--seconds N` is how long each attack lasts (20), `--mesh` the other
//! topology. Exit code 0: every promise was kept; 1: one was not.

mod cases;
mod dear;
mod forge;
mod history;
mod lab;
mod peer;
mod rlp;
mod rpc;
mod siege;
mod work;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use cases::{Beside, Case};
use siege::Measured;

const HEADING: &str = "| attack | blocks/s | of the pace without | false readiness | next block after | together after | messages | \
     attacker's cores | busiest node's | |\n|---|---|---|---|---|---|---|---|---|---|";
/// Share of the pace without an attack that must be left while it lasts (docs/threat-model.md, promise 2).
const LEAST_PACE: f64 = 0.8;
/// Share of the answers about readiness that may be wrong: the moment between a block and the answer.
const MOST_FALSE: f64 = 0.01;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    match runtime.map_err(|error| format!("no async runtime: {error}")).and_then(|runtime| runtime.block_on(suite())) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("attack: {why}");
            ExitCode::FAILURE
        }
    }
}

async fn suite() -> Result<bool, String> {
    let (mut seconds, mut mesh, mut names) = (20, false, Vec::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--seconds" => {
                let value = arguments.next().and_then(|value| value.parse().ok()).filter(|value| (1..=3_600).contains(value));
                seconds = value.ok_or("--seconds: expected a number from 1 to 3600")?;
            }
            "--mesh" => mesh = true,
            name => names.push(name.to_owned()),
        }
    }
    let here = std::env::current_exe().map_err(|error| format!("finding this executable: {error}"))?;
    let target = here.parent().ok_or("this executable has no folder")?;
    let ipe = std::env::var_os("IPE_ATTACK_BINARY").map_or_else(|| target.join("ipe"), PathBuf::from);
    let dir = target.join("attack-lab");
    let lasting = Duration::from_secs(seconds);
    let mut kept = true;
    // The pace that is left without an attack.
    let mut measures: BTreeMap<(u64, Beside), f64> = BTreeMap::new();
    println!("{HEADING}");
    for case in cases::all() {
        if !names.is_empty() && !names.iter().any(|name| case.name.contains(name.as_str())) {
            continue;
        }
        let wanted = if mesh { lab::Wanted { topology: "mesh", ..case.wanted } } else { case.wanted };
        let mut without = None;
        for beside in [Some(Beside::Gone), Some(case.beside).filter(|beside| *beside != Beside::Gone)].into_iter().flatten() {
            let measure = cases::measure(beside);
            let key = (wanted.period_ms, beside);
            let pace = match measures.get(&key) {
                Some(pace) => *pace,
                None => {
                    let outcome = siege::measure(&ipe, &dir, wanted, measure.attack, lasting).await;
                    kept &= report(&measure, &outcome, without.and_then(|pace| expected(beside, pace, wanted)), wanted);
                    outcome?.pace
                }
            };
            measures.insert(key, pace);
            without = Some(pace);
        }
        let outcome = siege::measure(&ipe, &dir, wanted, case.attack, lasting).await;
        kept &= report(&case, &outcome, without, wanted);
    }
    Ok(kept)
}

/// The pace that is due where the attacker is as in `beside`, from the one without its institution; nobody knows beforehand
/// how long a machine takes to start a node.
fn expected(beside: Beside, gone: f64, wanted: lab::Wanted) -> Option<f64> {
    // Between two of its own turns every other has one.
    let (honest, hostile) = (f64::from(wanted.institutions - wanted.hostile), f64::from(wanted.hostile));
    match beside {
        Beside::Gone => Some(gone),
        Beside::Mute => Some(honest / (honest / gone + hostile * wanted.timeout_s as f64)),
        Beside::Returning => None,
    }
}

/// Prints a row and says whether the promise was kept; `without` is the pace to compare with.
fn report(case: &Case, outcome: &Result<Measured, String>, without: Option<f64>, wanted: lab::Wanted) -> bool {
    let measured = match outcome {
        Ok(measured) => measured,
        Err(why) => {
            println!("| {}: {} | | | | | | | | | **BROKEN**: {why} |", case.name, case.what);
            return false;
        }
    };
    let share = measured.pace / without.unwrap_or(measured.pace).max(f64::MIN_POSITIVE);
    let (wrong, all) = measured.false_answers;
    // Two request timeouts from the end, and the block's own period.
    let soon = Duration::from_secs(2 * wanted.timeout_s) + Duration::from_millis(wanted.period_ms);
    let mut broken = Vec::new();
    if share < LEAST_PACE {
        broken.push("pace");
    }
    if wrong as f64 > MOST_FALSE * all as f64 {
        broken.push("readiness");
    }
    if measured.next_block > soon {
        broken.push("recovery");
    }
    let verdict = if broken.is_empty() { "kept".to_owned() } else { format!("**BROKEN**: {}", broken.join(", ")) };
    println!(
        "| {}: {} | {:.2} | {:.0} % | {wrong} of {all} | {:.2} s | {:.2} s | {} | {:.2} | {:.2} | {verdict} |",
        case.name,
        case.what,
        measured.pace,
        share * 100.0,
        measured.next_block.as_secs_f64(),
        measured.together.as_secs_f64(),
        measured.sent,
        measured.cores.attacker,
        measured.cores.busiest,
    );
    broken.is_empty()
}
