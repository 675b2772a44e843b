//! The contracts: compiled from their sources, compared with what is committed, put through RBB's scenarios.
//!
//! The compiler and the scenarios' packages come from npm, as `contracts/package-lock.json` and
//! `contracts/gen02/package-lock.json` pin them, into the target folder. The test command needs neither: it checks the
//! committed artifacts against the hashes in `contracts/artifacts/lock.json` (`crates/chain/tests/contracts`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// What could not be run was not run: neither success nor a fault.
const NOT_RUN: u8 = 77;

const USAGE: &str = "cargo xtask contracts [--check | --gen02]

  (nothing)  compile contracts/ and write contracts/artifacts/
  --check    compile and compare with contracts/artifacts/ byte for byte
  --gen02    RBB's scenarios of the second generation on contracts/artifacts/; IPE_GEN02 is a checkout of
             RBBNet/Permissionamento, further arguments go to cucumber-js
";

/// Runs the chore; 77 when npm, the network or RBB's scenarios are missing.
pub fn run(root: &Path) -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(2).collect();
    let work = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from).join("contracts");
    match arguments.first().map(String::as_str) {
        None => build(root, &work, &[]),
        Some("--check") if arguments.len() == 1 => build(root, &work, &["--check"]),
        Some("--gen02") => scenarios(root, &work, &arguments[1..]),
        Some(_) => {
            eprint!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn build(root: &Path, work: &Path, mode: &[&str]) -> ExitCode {
    let contracts = root.join("contracts");
    match install(&contracts, &work.join("solc")) {
        Ok(modules) => node(Command::new("node").arg(contracts.join("build.cjs")).arg(modules).args(mode)),
        Err(why) => not_run(&why),
    }
}

fn scenarios(root: &Path, work: &Path, rest: &[String]) -> ExitCode {
    let Some(checkout) = std::env::var_os("IPE_GEN02").map(PathBuf::from) else {
        return not_run("IPE_GEN02 names no checkout of RBBNet/Permissionamento");
    };
    let features = checkout.join("gen02/features");
    if !features.is_dir() {
        return not_run(&format!("there is no {}", features.display()));
    }
    let (contracts, work) = (root.join("contracts/gen02"), work.join("gen02"));
    match install(&contracts, &work) {
        Ok(_) => node(Command::new("node").arg(contracts.join("run.cjs")).args([&work, &features]).args(rest)),
        Err(why) => not_run(&why),
    }
}

/// The packages that the folder's lock file pins, installed in `work`; a folder that has them already is left as it is.
fn install(pinned: &Path, work: &Path) -> Result<PathBuf, String> {
    let modules = work.join("node_modules");
    let read = |path: PathBuf| fs::read(&path).map_err(|error| format!("{}: {error}", path.display()));
    let (lock, installed) = (read(pinned.join("package-lock.json"))?, work.join("installed-lock.json"));
    if fs::read(&installed).is_ok_and(|present| present == lock) && modules.is_dir() {
        return Ok(modules);
    }
    fs::create_dir_all(work).map_err(|error| format!("{}: {error}", work.display()))?;
    for name in ["package.json", "package-lock.json"] {
        fs::copy(pinned.join(name), work.join(name)).map_err(|error| format!("{}: {error}", work.join(name).display()))?;
    }
    let status = Command::new("npm")
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"])
        .current_dir(work)
        .status()
        .map_err(|error| format!("npm did not start: {error}"))?;
    if !status.success() {
        return Err(format!("npm ci in {} ended with {status}", work.display()));
    }
    fs::write(&installed, lock).map_err(|error| format!("{}: {error}", installed.display()))?;
    Ok(modules)
}

fn node(command: &mut Command) -> ExitCode {
    match command.status() {
        Ok(status) => status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from),
        Err(error) => not_run(&format!("node did not start: {error}")),
    }
}

fn not_run(why: &str) -> ExitCode {
    eprintln!("contracts: NOT RUN, {why}");
    ExitCode::from(NOT_RUN)
}
