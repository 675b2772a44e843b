//! `ipe sim`: networks of replicas in one thread, from one seed.

use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use ipe_sim::{Entry, Report, SCENARIOS, Scenario, Window, by_name, cost};

use crate::failure::{Failure, Outcome, print};

#[derive(Subcommand)]
pub enum SimCommand {
    /// Run a scenario with one seed or several.
    Run(RunArgs),
    /// The scenarios.
    List,
    /// Measure on this machine what the simulation says that work costs.
    Costs,
    /// Run a seed again and show its events.
    Replay(ReplayArgs),
}

#[derive(Args)]
pub struct RunArgs {
    /// One of `ipe sim list`.
    #[arg(long, value_name = "NAME", default_value = "everything")]
    scenario: String,
    /// Where all chance comes from; the first one with --seeds.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// So many seeds, one after the other; ends at the first violation.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seeds: u64,
    /// Print each run's report as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub struct ReplayArgs {
    /// One of `ipe sim list`.
    #[arg(long, value_name = "NAME", default_value = "everything")]
    scenario: String,
    /// Seed of the run.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// First step that is shown.
    #[arg(long, value_name = "STEP", default_value_t = 0)]
    from: u64,
    /// Last step that is shown.
    #[arg(long, value_name = "STEP", default_value_t = u64::MAX)]
    to: u64,
    /// Only events of nodes whose name contains this.
    #[arg(long, value_name = "NAME", default_value = "")]
    node: String,
    /// Only events whose text contains this.
    #[arg(long, value_name = "TEXT", default_value = "")]
    text: String,
    /// Wait for Enter after each event.
    #[arg(long)]
    step: bool,
}

fn scenario(name: &str) -> Result<&'static Scenario, Failure> {
    by_name(name).ok_or_else(|| Failure::Usage(format!("--scenario: there is no {name:?}; `ipe sim list` has them")))
}

pub fn run(command: SimCommand) -> Outcome {
    match command {
        SimCommand::Run(arguments) => run_seeds(&arguments),
        SimCommand::List => list(),
        SimCommand::Costs => costs(),
        SimCommand::Replay(arguments) => replay(arguments),
    }
}

fn list() -> Outcome {
    let lines: Vec<String> = SCENARIOS.iter().map(|scenario| format!("{:<17} {}\n", scenario.name, scenario.about)).collect();
    print(&lines.concat())
}

/// Runs `work` for about half a second. Returns the mean time of one, ns.
fn timed(mut work: impl FnMut()) -> u64 {
    let began = Instant::now();
    let mut count = 0u64;
    while began.elapsed() < Duration::from_millis(500) {
        work();
        count += 1;
    }
    u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX) / count.max(1)
}

/// Each cost that the simulator knows, and what it is here. Written to the working directory: a file that is removed again.
fn costs() -> Outcome {
    let key = ipe_types::NodeKey::from_bytes([7; 32]).map_err(|error| Failure::failed("could not make a key", error))?;
    let hash = ipe_types::keccak256([1]);
    let signature = key.sign(hash);
    let block = vec![7u8; 1 << 20];
    let message =
        ipe_types::eth::EthMessage::NewBlockHashes(vec![ipe_types::eth::BlockHashNumber { hash, number: 1 << 40 }; 4_000]);
    let (code, bytes) = message.encode(ipe_types::eth::EthVersion::V69);
    let kib = (bytes.len() as u64 / 1_024).max(1);
    let recovery = timed(|| _ = ipe_types::crypto::recover_node_id(hash, &signature, ipe_types::crypto::HighS::Rejected));
    let mut rows = vec![
        ("recovery of a key, ns".to_owned(), recovery, cost::RECOVERY_NS),
        ("signature, ns".to_owned(), timed(|| _ = key.sign(hash)), cost::SIGNATURE_NS),
        ("hashing 1 KiB, ns".to_owned(), timed(|| _ = ipe_types::keccak256(&block)) / 1_024, cost::HASHED_KIB_NS),
        (
            "decoding 1 KiB, ns".to_owned(),
            timed(|| drop(ipe_types::eth::EthMessage::decode(ipe_types::eth::EthVersion::V69, code, &bytes))) / kib,
            cost::DECODED_KIB_NS,
        ),
        ("durable write of 4 KiB, µs".to_owned(), durable_write_us()?, cost::WRITE_US),
    ];
    for load in ipe_sim::load::Load::all().unwrap_or_default() {
        let kilogas = timed(|| _ = load.run()) / (ipe_sim::load::GAS / 1_000);
        rows.push((format!("1,000 gas of {}, ns", load.name), kilogas, cost::KILOGAS_NS));
    }
    let lines = rows.iter().map(|(what, here, simulated)| format!("{what:<40} {here:>8} here {simulated:>8} simulated\n"));
    print(&lines.collect::<String>())
}

fn durable_write_us() -> Result<u64, Failure> {
    let failed = |error| Failure::failed("could not write .ipe-sim-costs in the working directory", error);
    let path = std::path::Path::new(".ipe-sim-costs");
    let mut file = std::fs::File::create(path).map_err(failed)?;
    let mut outcome = Ok(());
    let nanos = timed(|| outcome = std::io::Write::write_all(&mut file, &[7; 4_096]).and_then(|()| file.sync_data()));
    let removed = std::fs::remove_file(path);
    outcome.and(removed).map_err(failed)?;
    Ok(nanos / 1_000)
}

fn run_seeds(arguments: &RunArgs) -> Outcome {
    let scenario = scenario(&arguments.scenario)?;
    for seed in (arguments.seed..).take(usize::try_from(arguments.seeds).unwrap_or(usize::MAX)) {
        let began = Instant::now();
        // A panic of a replica is a find, too, and has its seed.
        let before = std::panic::take_hook();
        let name = scenario.name;
        std::panic::set_hook(Box::new(move |panic| {
            eprintln!("{panic}\nreplay: ipe sim replay --scenario {name} --seed {seed}");
        }));
        let report = ipe_sim::run(scenario, seed);
        std::panic::set_hook(before);
        let wall_s = began.elapsed().as_secs_f64();
        if arguments.json {
            let text = serde_json::to_string_pretty(&report.json(wall_s))
                .map_err(|error| Failure::failed("could not write the report", error))?;
            print(&format!("{text}\n"))?;
        } else {
            print(&told(&report, wall_s))?;
        }
        if !report.violations.is_empty() {
            eprintln!("replay: {}", report.replay_command());
            return Err(Failure::Told);
        }
    }
    Ok(())
}

fn told(report: &Report, wall_s: f64) -> String {
    let simulated_s = report.simulated_ms as f64 / 1_000.0;
    let faults: Vec<String> = report.faults.iter().map(|(fault, count)| format!("{} {count}", fault.name())).collect();
    let mut text = format!(
        "{} seed {}: {simulated_s:.0} s in {wall_s:.2} s ({:.0} times real time), {} blocks, {} of {} transactions included, \
         recovery {:.1} s at most\n  hash {}\n  faults: {}\n",
        report.scenario,
        report.seed,
        simulated_s / wall_s.max(1e-6),
        report.blocks,
        report.included,
        report.acknowledged,
        report.recovery_ms as f64 / 1_000.0,
        report.hash,
        if faults.is_empty() { "none".to_owned() } else { faults.join(", ") },
    );
    for violation in &report.violations {
        text.push_str(&violated(violation));
    }
    text
}

fn violated(violation: &ipe_sim::Violation) -> String {
    format!(
        "  VIOLATION of {} at {:.3} s, step {}: {}\n",
        violation.checker,
        violation.at_ms as f64 / 1_000.0,
        violation.step,
        violation.what
    )
}

fn replay(arguments: ReplayArgs) -> Outcome {
    let scenario = scenario(&arguments.scenario)?;
    let window = Window { from: arguments.from, to: arguments.to, node: arguments.node, text: arguments.text };
    let step = arguments.step;
    let tell = Box::new(move |entry: &Entry| {
        println!("{:>8} {:>12.6} {:<6} {}", entry.step, entry.at_us as f64 / 1e6, entry.node, entry.what);
        if step {
            let mut line = String::new();
            // At the end of the input the rest is shown at once.
            let _ = std::io::stdin().read_line(&mut line);
        }
    });
    let began = Instant::now();
    let report = ipe_sim::replay(scenario, arguments.seed, window, tell);
    print(&told(&report, began.elapsed().as_secs_f64()))?;
    if report.violations.is_empty() { Ok(()) } else { Err(Failure::Told) }
}
