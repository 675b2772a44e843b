//! The rooms that decide have no async runtime, proved with the dependency tree.

use std::path::Path;
use std::process::Command;

/// Packages in which time, bytes and answers come in as arguments.
const PURE: [&str; 8] =
    ["ipe-types", "ipe-qbft", "ipe-permissioning", "ipe-chain", "ipe-engine", "ipe-provision", "ipe-sim", "ipe-rules"];

/// Packages that none of them may reach.
const FORBIDDEN: [&str; 3] = ["tokio", "async-std", "reqwest"];

/// Fails with a line for each pure package that reaches a forbidden one.
pub fn run(root: &Path) -> Result<(), Vec<String>> {
    let mut faults = Vec::new();
    for package in PURE {
        let output = Command::new(env!("CARGO"))
            .args(["tree", "--locked", "--edges", "normal", "--prefix", "none", "--package", package])
            .current_dir(root)
            .output()
            .map_err(|error| vec![format!("cargo tree of {package} did not start: {error}")])?;
        if !output.status.success() {
            faults.push(format!("cargo tree of {package}: {}", String::from_utf8_lossy(&output.stderr).trim()));
            continue;
        }
        let tree = String::from_utf8_lossy(&output.stdout);
        for forbidden in FORBIDDEN {
            if tree.lines().any(|line| line.split(' ').next() == Some(forbidden)) {
                faults.push(format!(
                    "{package} reaches {forbidden}: the core decides, the shell waits; move the waiting into node, \
                     p2p or api (`cargo tree -p {package} -i {forbidden}` shows the way)"
                ));
            }
        }
    }
    if faults.is_empty() {
        println!("purity: {} packages reach none of {}", PURE.len(), FORBIDDEN.join(", "));
        Ok(())
    } else {
        Err(faults)
    }
}
