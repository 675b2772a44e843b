//! Chores that run other programs.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// All that has to pass. Later steps run even when an earlier one failed, so that one run tells everything.
pub fn test(root: &Path) -> Result<(), Vec<String>> {
    let mut faults = Vec::new();
    for (name, step) in [
        ("tidy", crate::tidy::run as fn(&Path) -> Result<(), Vec<String>>),
        ("purity", crate::purity::run),
        ("workspace tests", workspace_tests),
        ("clients", clients),
    ] {
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

/// Real client libraries against a lab network of real processes.
pub fn clients(root: &Path) -> Result<(), Vec<String>> {
    let script = root.join("tests/clients/run.sh");
    if !script.exists() {
        return Err(vec![format!("{} is missing", script.display())]);
    }
    for program in ["npm", "node", "python3"] {
        if Command::new(program).arg("--version").output().is_err() {
            println!("clients: NOT RUN, {program} is not installed here");
            return Ok(());
        }
    }
    cargo(root, &["build", "--locked", "--package", "ipe"])?;
    let status = Command::new("bash")
        .arg(&script)
        .current_dir(root)
        .status()
        .map_err(|error| vec![format!("bash {} did not start: {error}", script.display())])?;
    if status.success() { Ok(()) } else { Err(vec![format!("{} ended with {status}", script.display())]) }
}

fn cargo(root: &Path, arguments: &[&str]) -> Result<(), Vec<String>> {
    let status = Command::new(env!("CARGO"))
        .args(arguments)
        .current_dir(root)
        .status()
        .map_err(|error| vec![format!("cargo {} did not start: {error}", arguments.join(" "))])?;
    if status.success() { Ok(()) } else { Err(vec![format!("cargo {} ended with {status}", arguments.join(" "))]) }
}
