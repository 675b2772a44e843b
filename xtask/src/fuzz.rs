//! The long run of the fuzz targets: libFuzzer with our crates instrumented, one target after the other.
//!
//! Needs a C++ compiler and nothing else: the instrumentation is a pass of the stable compiler (`fuzz/rustc.sh`). What was
//! learnt stays in `target/fuzz/<target>/corpus` for the next run; what broke a promise is in `target/fuzz/<target>/broken`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Seconds for each target unless `--seconds` says otherwise.
const SECONDS: u64 = 60;
/// Memory of the whole process, MiB: the largest honest input needs a tenth of it.
const MEMORY_MIB: u64 = 2_048;
/// Seconds that one input may take.
const SLOW: u64 = 30;

/// `cargo xtask fuzz [--list] [--seconds N] [TARGET …]`.
pub fn run(root: &Path, arguments: &[String]) -> Result<(), Vec<String>> {
    let (mut seconds, mut wanted, mut list) = (SECONDS, Vec::new(), false);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--list" => list = true,
            "--seconds" => {
                let value = rest.next().and_then(|value| value.parse().ok());
                seconds = value.ok_or_else(|| vec!["--seconds needs a number".to_owned()])?;
            }
            other => wanted.push(other.to_owned()),
        }
    }
    let all = names(root)?;
    if list {
        all.iter().for_each(|name| println!("{name}"));
        return Ok(());
    }
    if let Some(unknown) = wanted.iter().find(|name| !all.contains(name)) {
        return Err(vec![format!("{unknown} is no target; they are {}", all.join(", "))]);
    }
    let program = build(root)?;
    let mut faults = Vec::new();
    println!("{:<20} {:>12} {:>10} {:>8} {:>8}", "target", "executions", "a second", "edges", "corpus");
    for name in all.iter().filter(|name| wanted.is_empty() || wanted.contains(name)) {
        faults.extend(fuzz(root, &program, name, seconds).err());
    }
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

/// Names of the targets, in their order, as the sources have them.
fn names(root: &Path) -> Result<Vec<String>, Vec<String>> {
    let folder = root.join("fuzz/src/targets");
    let entries = fs::read_dir(&folder).map_err(|error| vec![format!("{}: {error}", folder.display())])?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    let mut names = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap_or_default();
        let quoted = text.lines().filter_map(|line| line.trim().strip_prefix("name: \"")?.strip_suffix("\","));
        names.extend(quoted.map(str::to_owned));
    }
    Ok(names)
}

fn target_folder(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}

fn build(root: &Path) -> Result<PathBuf, Vec<String>> {
    // The whole workspace chooses the features of the libraries, so that they are those of every other build.
    let arguments = ["build", "--locked", "--workspace", "--features", "ipe-fuzz/libfuzzer", "--bin", "ipe-fuzz"];
    let status = Command::new(env!("CARGO"))
        .args(arguments)
        .env("RUSTC_WORKSPACE_WRAPPER", root.join("fuzz/rustc.sh"))
        .current_dir(root)
        .status()
        .map_err(|error| vec![format!("cargo {} did not start: {error}", arguments.join(" "))])?;
    if !status.success() {
        return Err(vec![format!("cargo {} ended with {status}", arguments.join(" "))]);
    }
    Ok(target_folder(root).join("debug/ipe-fuzz"))
}

fn fuzz(root: &Path, program: &Path, name: &str, seconds: u64) -> Result<(), String> {
    let folder = target_folder(root).join("fuzz").join(name);
    let [seeds, corpus, broken] = ["seeds", "corpus", "broken"].map(|part| folder.join(part));
    for part in [&seeds, &corpus, &broken] {
        fs::create_dir_all(part).map_err(|error| format!("{}: {error}", part.display()))?;
    }
    let start = |command: &mut Command| {
        command.env("IPE_FUZZ_TARGET", name).output().map_err(|error| format!("{}: {error}", program.display()))
    };
    let written = start(Command::new(program).env("IPE_FUZZ_SEEDS", &seeds))?;
    if !written.status.success() {
        return Err(format!("{name}: no seeds: {}", String::from_utf8_lossy(&written.stderr).trim()));
    }
    let mut command = Command::new(program);
    command
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-rss_limit_mb={MEMORY_MIB}"))
        .arg(format!("-timeout={SLOW}"))
        .arg(format!("-artifact_prefix={}/", broken.display()))
        .args(["-max_len=16384", "-print_final_stats=1", "-detect_leaks=0"])
        .args([&corpus, &seeds]);
    let kept = root.join("fuzz/regressions").join(name);
    if kept.is_dir() {
        command.arg(kept);
    }
    let output = start(&mut command)?;
    let said = String::from_utf8_lossy(&output.stderr);
    let number = |key: &str| {
        let line = said.lines().rev().find(|line| line.contains(key))?;
        line.split(key).nth(1)?.split_whitespace().next()?.parse::<u64>().ok()
    };
    let executions = number("stat::number_of_executed_units:").unwrap_or(0);
    println!(
        "{name:<20} {executions:>12} {:>10} {:>8} {:>8}",
        number("stat::average_exec_per_sec:").unwrap_or(0),
        number("cov:").unwrap_or(0),
        fs::read_dir(&corpus).map_or(0, Iterator::count),
    );
    if output.status.success() {
        return Ok(());
    }
    let last: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("panicked") || line.contains("ERROR") || line.contains("Test unit written"))
        .collect();
    Err(format!("{name}: {}", last.join("; ")))
}
