//! Chores that run other programs.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use crate::gates;

/// What one step found.
type Step = fn(&Path) -> Result<(), Vec<String>>;

/// What needs no test: the quick form, for the desk.
const GATES: [(&str, Step); 5] = [
    ("form", gates::form),
    ("tidy", crate::tidy::run),
    ("purity", crate::purity::run),
    ("dependencies", gates::dependencies),
    ("lints", gates::lints),
];

/// What takes longer.
const TESTS: [(&str, Step); 4] = [
    ("documentation", gates::documentation),
    ("workspace tests", workspace_tests),
    ("clients", clients),
    ("monitoring", monitoring),
];

/// The gates alone.
pub fn check(root: &Path) -> Result<(), Vec<String>> {
    run(root, &GATES)
}

/// All that has to pass.
pub fn test(root: &Path) -> Result<(), Vec<String>> {
    run(root, &[&GATES[..], &TESTS[..]].concat())
}

/// Later steps run even when an earlier one failed, so that one run tells everything.
fn run(root: &Path, steps: &[(&str, Step)]) -> Result<(), Vec<String>> {
    let mut faults = Vec::new();
    for (name, step) in steps {
        let began = Instant::now();
        println!("\n=== {name}");
        let outcome = step(root);
        println!("=== {name}: {} in {} s", if outcome.is_ok() { "ok" } else { "FAILED" }, began.elapsed().as_secs());
        faults.extend(outcome.err().into_iter().flatten().map(|fault| format!("{name}: {fault}")));
    }
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

fn workspace_tests(root: &Path) -> Result<(), Vec<String>> {
    // Real processes and timers: two test binaries are never run at once, and within one the process tests take turns.
    cargo(root, &["test", "--locked", "--workspace", "--no-fail-fast"])
}

/// What is tested is what ships: simulator, fuzz targets and process tests on the release profile. Planted bugs need debug
/// assertions and are left out there.
pub fn release(root: &Path) -> Result<(), Vec<String>> {
    let packages = ["ipe-qbft", "ipe-chain", "ipe-engine", "ipe-store", "ipe-sim", "ipe-fuzz", "ipe-p2p", "ipe-node", "ipe"];
    let mut arguments = vec!["test", "--locked", "--release", "--no-fail-fast"];
    arguments.extend(packages.iter().flat_map(|package| ["-p", package]));
    cargo(root, &arguments)
}

/// The recorded questions of every client, with the differences by method; a difference without a reason is a fault.
pub fn conformance(root: &Path) -> Result<(), Vec<String>> {
    // As the workspace tests build it: another choice of packages would compile the libraries once more.
    cargo(root, &["test", "--locked", "--workspace", "--test", "conformance", "--", "--nocapture"])
}

/// Real client libraries, unchanged, against a lab network of real processes.
///
/// The libraries are installed from their registries into the target folder. Without the programs that run them this
/// says "NOT RUN"; with them, a client that could not be installed is a fault.
pub fn clients(root: &Path) -> Result<(), Vec<String>> {
    for program in ["npm", "node", "python3"] {
        if Command::new(program).arg("--version").output().is_err() {
            println!("clients: NOT RUN, {program} is not installed here");
            return Ok(());
        }
    }
    // As the workspace tests build it: another choice of packages would compile the libraries once more.
    cargo(root, &["test", "--locked", "--workspace", "--no-run", "--quiet"])?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let lab = target.join("clients-lab");
    let ipe = |arguments: &[&str]| -> Result<String, Vec<String>> {
        let output = Command::new(target.join("debug/ipe"))
            .arg("lab")
            .args(arguments)
            .arg("--dir")
            .arg(&lab)
            .output()
            .map_err(|error| vec![format!("ipe lab {} did not start: {error}", arguments.join(" "))])?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(vec![format!("ipe lab {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim())])
    };
    ipe(&["down"])?;
    ipe(&["up", "--detach"])?;
    let checked = against(root, &target, &lab, || ipe(&["status", "--json"]));
    ipe(&["down"])?;
    checked
}

/// RBB's Prometheus rules in a real Prometheus that scrapes a lab network of real processes.
///
/// The script finds the program or unpacks Debian's package of it into the target folder; where neither can be, it says
/// "NOT RUN".
pub fn monitoring(root: &Path) -> Result<(), Vec<String>> {
    if Command::new("python3").arg("--version").output().is_err() {
        println!("monitoring: NOT RUN, python3 is not installed here");
        return Ok(());
    }
    // As the workspace tests build it: another choice of packages would compile the libraries once more.
    cargo(root, &["test", "--locked", "--workspace", "--no-run", "--quiet"])?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let status = Command::new("python3")
        .arg(root.join("tests/clients/prometheus.py"))
        .args([target.join("debug/ipe"), target.join("monitoring")])
        .status()
        .map_err(|error| vec![format!("tests/clients/prometheus.py did not start: {error}")])?;
    if status.success() { Ok(()) } else { Err(vec![format!("tests/clients/prometheus.py ended with {status}")]) }
}

fn against(root: &Path, target: &Path, lab: &Path, status: impl Fn() -> Result<String, Vec<String>>) -> Result<(), Vec<String>> {
    let url = (0..60)
        .find_map(|_| {
            let url = status().ok().and_then(|text| writer_of(&text));
            if url.is_none() {
                std::thread::sleep(std::time::Duration::from_secs(1));
            }
            url
        })
        .ok_or_else(|| vec!["the lab's writer did not answer within a minute".to_owned()])?;
    let accounts = std::fs::read_to_string(lab.join("accounts.json")).unwrap_or_default();
    let key = text_after(&accounts, "\"privateKey\"").ok_or_else(|| vec!["the lab has no accounts.json".to_owned()])?;
    let output = Command::new("sh")
        .arg(root.join("tests/clients/run.sh"))
        .args([&url, &url.replace("http://", "ws://"), &key])
        .env("IPE_CLIENTS", target.join("clients"))
        .env("IPE_CLIENTS_INSTALL", "1")
        .stderr(std::process::Stdio::inherit())
        .output()
        .map_err(|error| vec![format!("tests/clients/run.sh did not start: {error}")])?;
    let said = String::from_utf8_lossy(&output.stdout);
    print!("{said}");
    if !output.status.success() {
        return Err(vec![format!("tests/clients/run.sh ended with {}", output.status)]);
    }
    said.lines().filter(|line| line.contains("not run")).try_for_each(|line| Err(vec![line.to_owned()]))
}

/// JSON-RPC address of the first writer in `ipe lab status --json`.
fn writer_of(status: &str) -> Option<String> {
    let writer = &status[status.find("\"writer\"")?..];
    text_after(writer, "\"rpc\"")
}

/// The string that follows `key` in a JSON text.
fn text_after(json: &str, key: &str) -> Option<String> {
    let rest = &json[json.find(key)? + key.len()..];
    rest.split('"').nth(1).map(str::to_owned)
}

/// Mixed networks with real Besu and GoQuorum nodes; the rest of the arguments picks cases. The exit code is the suite's
/// own, which tells "nothing to run against" (77) from both success and failure.
pub fn interop(root: &Path) -> ExitCode {
    suite(root, "interop", false)
}

/// What one institution or a stranger can do to a network of release processes; the rest of the arguments picks attacks.
pub fn attack(root: &Path) -> ExitCode {
    suite(root, "attack", true)
}

/// Builds a program of ours beside `ipe` and runs it with the rest of the arguments; the exit code is its own.
fn suite(root: &Path, program: &str, release: bool) -> ExitCode {
    let mut arguments = vec!["build", "--locked", "--quiet", "--workspace", "--bin", "ipe", "--bin", program];
    arguments.extend(release.then_some("--release"));
    if let Err(faults) = cargo(root, &arguments) {
        eprintln!("{program}: {}", faults.join("; "));
        return ExitCode::FAILURE;
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let program = target.join(if release { "release" } else { "debug" }).join(program);
    match Command::new(&program).args(std::env::args().skip(2)).status() {
        Ok(status) => status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from),
        Err(error) => {
            eprintln!("{} did not start: {error}", program.display());
            ExitCode::FAILURE
        }
    }
}

/// Makes what is released, with a tool that has its own workspace and lock file; the exit code is its own.
pub fn dist(root: &Path, arguments: &[String]) -> ExitCode {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let status = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--locked", "--manifest-path"])
        .arg(root.join("crates/dist/Cargo.toml"))
        .arg("--target-dir")
        .arg(target.join("dist/tool"))
        .arg("--")
        .arg(root)
        .args(arguments)
        .status();
    match status {
        Ok(status) => status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from),
        Err(error) => {
            eprintln!("dist: cargo did not start: {error}");
            ExitCode::FAILURE
        }
    }
}

fn cargo(root: &Path, arguments: &[&str]) -> Result<(), Vec<String>> {
    let status = Command::new(env!("CARGO"))
        .args(arguments)
        .current_dir(root)
        .status()
        .map_err(|error| vec![format!("cargo {} did not start: {error}", arguments.join(" "))])?;
    if status.success() { Ok(()) } else { Err(vec![format!("cargo {} ended with {status}", arguments.join(" "))]) }
}

/// Violations after which fresh seeds are of no more use.
const VIOLATIONS_MAX: usize = 20;

/// Fresh seeds of every scenario in turn for so many hours. Each violation is printed with the command that replays it; at
/// the end stands how much was simulated and which faults were injected.
pub fn sim(root: &Path, arguments: &[String]) -> Result<(), Vec<String>> {
    let hours = match arguments {
        [flag, hours] if flag == "--hours" => hours.parse::<f64>().ok().filter(|hours| *hours > 0.0 && hours.is_finite()),
        _ => None,
    };
    let Some(hours) = hours else { return Err(vec!["expected --hours N, such as --hours 0.5".to_owned()]) };
    cargo(root, &["build", "--locked", "--release", "--workspace", "--bin", "ipe"])?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let ipe = target.join("release/ipe");
    let list = Command::new(&ipe).args(["sim", "list"]).output().map_err(|error| vec![format!("ipe sim list: {error}")])?;
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    let names: Vec<&str> = list.lines().filter_map(|line| line.split(' ').next()).filter(|name| *name != "idle").collect();
    // Fresh: nobody has run the seeds of this second.
    let first = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (began, mut total, mut violations) = (Instant::now(), Simulated::default(), Vec::new());
    while began.elapsed().as_secs_f64() < hours * 3_600.0 && violations.len() < VIOLATIONS_MAX {
        for name in &names {
            let seed = (first * 1_000 + total.runs).to_string();
            let output = Command::new(&ipe)
                .args(["sim", "run", "--scenario", name, "--seed", &seed])
                .output()
                .map_err(|error| vec![format!("ipe sim run: {error}")])?;
            let (said, replay) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            total.add(&said);
            if !output.status.success() {
                let found = format!("{}\n{}", said.trim(), replay.trim());
                println!("{found}");
                violations.push(found);
            }
        }
        println!("after {} s: {} runs, {} violations", began.elapsed().as_secs(), total.runs, violations.len());
    }
    println!("{total}");
    if violations.is_empty() { Ok(()) } else { Err(violations) }
}

/// What many runs add up to, from what `ipe sim run` prints.
#[derive(Default)]
struct Simulated {
    runs: u64,
    seconds: u64,
    blocks: u64,
    transactions: u64,
    faults: std::collections::BTreeMap<String, u64>,
}

impl Simulated {
    fn add(&mut self, said: &str) {
        self.runs += 1;
        let number_before = |line: &str, word: &str| {
            line.split_once(word).and_then(|(before, _)| before.rsplit([' ', ',']).next()?.parse::<u64>().ok()).unwrap_or(0)
        };
        for line in said.lines() {
            if line.contains(" times real time)") {
                self.seconds += number_before(line, " s in ");
                self.blocks += number_before(line, " blocks,");
                self.transactions += number_before(line, " of ");
            } else if let Some(faults) = line.trim().strip_prefix("faults: ") {
                for (kind, count) in faults.split(", ").filter_map(|fault| fault.rsplit_once(' ')) {
                    *self.faults.entry(kind.to_owned()).or_default() += count.parse::<u64>().unwrap_or(0);
                }
            }
        }
    }
}

impl std::fmt::Display for Simulated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let faults: Vec<String> = self.faults.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        write!(
            f,
            "{} runs, {:.1} simulated hours, {} blocks, {} transactions included\nfaults: {}",
            self.runs,
            self.seconds as f64 / 3_600.0,
            self.blocks,
            self.transactions,
            faults.join(", ")
        )
    }
}
