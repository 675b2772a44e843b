//! `interop`: mixed networks of our node and real Besu and GoQuorum executables on loopback.
//!
//! `IPE_BESU` and `IPE_GOQUORUM` name executables (colons between several), arguments pick cases by words of `network: case`.
//! Exit code 0: everything asked for passed; 1: something failed; 77: nothing ran, because no executable is given.

mod children;
mod client;
mod compare;
mod evm;
mod genesis;
mod journey;
mod lab;
mod network;
mod rpc;
mod sentry;
mod traffic;
mod typed;
mod verdicts;
mod votes;
mod wishes;

use client::{Client, Kind};
use ipe_types::Dialect;
use journey::{CASES, Case, Journey, THREE_CLIENTS};
use lab::System;
use network::Network;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// Exit code when there was nothing to run against: neither success nor failure, the custom of test runners.
const NOT_RUN: u8 = 77;

fn main() -> ExitCode {
    let code = match watched() {
        Ok(code) => code,
        Err(why) => {
            eprintln!("interop: {why}");
            ExitCode::FAILURE
        }
    };
    children::kill_all();
    code
}

/// Runs the suite; SIGINT and SIGTERM end it together with everything that it started.
fn watched() -> Result<ExitCode, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| format!("no async runtime: {error}"))?;
    runtime.block_on(async {
        use tokio::signal::unix::{SignalKind, signal};
        let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| error.to_string())?;
        let mut terminate = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
        let suite = tokio::task::spawn_blocking(suite);
        tokio::select! {
            code = suite => code.map_err(|error| format!("the suite broke off: {error}"))?,
            _ = interrupt.recv() => interrupted(),
            _ = terminate.recv() => interrupted(),
        }
    })
}

fn interrupted() -> ! {
    children::kill_all();
    std::process::exit(130)
}

/// One line of the summary.
struct Outcome {
    network: String,
    case: &'static str,
    seconds: u64,
    result: Result<String, String>,
}

fn suite() -> Result<ExitCode, String> {
    let others = others()?;
    if others.is_empty() {
        println!("interop: NOT RUN: set IPE_BESU and IPE_GOQUORUM to executables of Besu and GoQuorum (colons between several)");
        return Ok(ExitCode::from(NOT_RUN));
    }
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let here = std::env::current_exe().map_err(|error| format!("finding this executable: {error}"))?;
    let target = here.parent().ok_or("this executable has no folder")?;
    let folder = std::env::var_os("IPE_INTEROP_DIR").map_or_else(|| target.join("interop-networks"), PathBuf::from);
    println!("logs and data of every node: {}", folder.display());
    if wanted.first().is_some_and(|first| first == "verdicts") {
        return verdicts::run(&others, &folder, &wanted[1..]).map(|()| ExitCode::SUCCESS);
    }
    if wanted.first().is_some_and(|first| first == "votes") {
        return votes::run(&others, &folder, &wanted[1..]).map(|()| ExitCode::SUCCESS);
    }
    let ours = Client::find(Kind::Ipe, &target.join("ipe"))?;
    let mut outcomes = Vec::new();
    for theirs in &others {
        let clients = [&ours, theirs, &ours, theirs].map(Clone::clone);
        let table =
            Table { name: theirs.name(), clients: clients.clone(), dialect: theirs.dialect, cases: CASES, form: Form::Mesh };
        run(&folder, table, &wanted, &mut outcomes);
        if theirs.dialect == Dialect::Besu26 {
            let name = format!("{} in the legacy dialect", theirs.name());
            let untold = |client: Client| Client { untold: true, ..client };
            let table = Table {
                name,
                clients: clients.clone().map(untold),
                dialect: Dialect::Legacy,
                cases: journey::LEGACY,
                form: Form::Mesh,
            };
            run(&folder, table, &wanted, &mut outcomes);
        }
        let name = format!("{} before boots of ours", theirs.name());
        let table = Table { name, clients: clients.clone(), dialect: theirs.dialect, cases: sentry::CASES, form: Form::Sentry };
        run(&folder, table, &wanted, &mut outcomes);
        if theirs.kind == Kind::GoQuorum {
            let name = format!("{} on its quickstart's genesis", theirs.name());
            let table = Table {
                name,
                clients: clients.clone(),
                dialect: theirs.dialect,
                cases: journey::QUICKSTART,
                form: Form::Quickstart,
            };
            run(&folder, table, &wanted, &mut outcomes);
        }
        if theirs.kind == Kind::Besu {
            let name = format!("{} where empty blocks are rare", theirs.name());
            let table = Table { name, clients: clients.clone(), dialect: theirs.dialect, cases: journey::QUIET, form: Form::Quiet };
            run(&folder, table, &wanted, &mut outcomes);
            for (system, words) in
                [(System::Named, "every instruction"), (System::Unnamed, "every instruction, system contracts unnamed")]
            {
                let name = format!("{} {words}", theirs.name());
                let table =
                    Table { name, clients: clients.clone(), dialect: theirs.dialect, cases: lab::LAB, form: Form::Lab(system) };
                run(&folder, table, &wanted, &mut outcomes);
            }
        }
    }
    let legacy_besu = others.iter().find(|other| other.kind == Kind::Besu && other.dialect == Dialect::Legacy);
    if let (Some(besu), Some(goquorum)) = (legacy_besu, others.iter().find(|other| other.kind == Kind::GoQuorum)) {
        let clients = [&ours, besu, &ours, goquorum].map(Clone::clone);
        let name = format!("{} and {}", besu.name(), goquorum.name());
        run(
            &folder,
            Table { name, clients, dialect: Dialect::GoQuorum, cases: THREE_CLIENTS, form: Form::Mesh },
            &wanted,
            &mut outcomes,
        );
    }
    println!("\n| network | case | result | seconds |\n|---|---|---|---|");
    for outcome in &outcomes {
        let result = match &outcome.result {
            Ok(seen) => format!("passed: {seen}"),
            Err(_) => "FAILED".to_owned(),
        };
        println!("| {} | {} | {result} | {} |", outcome.network, outcome.case, outcome.seconds);
    }
    let failed = outcomes.iter().filter(|outcome| outcome.result.is_err()).count();
    println!("\n{} passed, {failed} failed", outcomes.len() - failed);
    Ok(if failed == 0 && !outcomes.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The executables that the environment names.
fn others() -> Result<Vec<Client>, String> {
    let mut others = Vec::new();
    for (variable, kind) in [("IPE_BESU", Kind::Besu), ("IPE_GOQUORUM", Kind::GoQuorum)] {
        let paths = std::env::var_os(variable).unwrap_or_default();
        for path in std::env::split_paths(&paths).filter(|path| !path.as_os_str().is_empty()) {
            others.push(Client::find(kind, &path).map_err(|why| format!("{variable}: {why}"))?);
        }
    }
    Ok(others)
}

/// A network to run: who validates, in which dialect, and what is checked.
struct Table {
    name: String,
    clients: [Client; 4],
    dialect: Dialect,
    cases: &'static [Case],
    form: Form,
}

/// Who stands where, on which genesis.
#[derive(Clone, Copy)]
enum Form {
    /// Two and two, all connected.
    Mesh,
    /// One of ours behind boots, beside three of theirs.
    Sentry,
    /// As a mesh, on a genesis in the form of GoQuorum's quickstart.
    Quickstart,
    /// As a mesh, on a genesis that wants empty blocks rarely.
    Quiet,
    /// As a mesh, with the contracts of a lab in the genesis.
    Lab(System),
}

/// The cases of one network, if any is wanted. The first always runs; after a failure the rest still do, each on what it finds.
fn run(folder: &Path, table: Table, wanted: &[String], outcomes: &mut Vec<Outcome>) {
    let Table { name, clients, dialect, cases, form } = table;
    let is_wanted =
        |name: &str, case: &str| wanted.is_empty() || wanted.iter().any(|words| format!("{name}: {case}").contains(words));
    if !cases.iter().any(|(case, _)| is_wanted(&name, case)) {
        return;
    }
    println!("\n=== {} with {name}", clients[0].name());
    let with_besu = clients.iter().any(|client| client.kind == Kind::Besu);
    let genesis = match form {
        Form::Lab(system) => lab::genesis(dialect, system),
        Form::Quickstart => genesis::quickstart(),
        Form::Quiet => genesis::quiet(dialect),
        Form::Mesh | Form::Sentry => genesis::genesis(dialect, with_besu),
    };
    let network = genesis.and_then(|genesis| {
        let folder = folder.join(name.replace([' ', ',', '\''], "-"));
        match form {
            Form::Sentry => Network::sentry(&folder, &clients[0], &clients[1], dialect, genesis),
            Form::Mesh | Form::Quiet | Form::Quickstart | Form::Lab(_) => Network::start(&folder, &clients, dialect, genesis),
        }
    });
    let [ours, theirs, ..] = clients;
    let mut journey = match network {
        Ok(network) => Journey { network, ours, theirs },
        Err(why) => {
            println!("{name}: FAILED: {why}");
            outcomes.push(Outcome { network: name, case: "start", seconds: 0, result: Err(why) });
            return;
        }
    };
    for (at, (case, check)) in cases.iter().enumerate() {
        if at > 0 && !is_wanted(&name, case) {
            continue;
        }
        let began = Instant::now();
        let result = check(&mut journey);
        let seconds = began.elapsed().as_secs();
        match &result {
            Ok(seen) => println!("{name}: {case}: passed in {seconds} s ({seen})"),
            Err(why) => println!("{name}: {case}: FAILED in {seconds} s: {why}"),
        }
        let stuck = result.is_err() && at == 0;
        outcomes.push(Outcome { network: name.clone(), case, seconds, result });
        if stuck {
            return;
        }
    }
}
