//! Chores of the project: `cargo xtask test | check | fuzz | sim | release | tidy | purity | conformance | clients | monitoring |
//! interop | attack | contracts | dist`.
//!
//! `test` is the one command that has to pass before a change lands, at the desk and in CI.

mod contracts;
mod fuzz;
mod gates;
mod purity;
mod steps;
mod tidy;
mod twins;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "cargo xtask <chore>

  test      everything that has to pass: what check looks at, documentation, all tests of the workspace, real clients, monitoring
  check     what needs no test: form, lints, tidy, purity, dependencies (licences, versions, sources, unused)
  tidy      leftovers, broken references between documents and code, oversized files
  purity    no async runtime under the rooms that decide
  fuzz      [--list] [--seconds N] [TARGET ...]  long runs of the fuzz targets, a minute each unless said otherwise
  conformance  every recorded JSON-RPC question put to this node, the differences by method; IPE_SHOW=20 shows more of
            each recording, IPE_RECORDING=<folder> takes one
  interop   mixed networks with the Besu and GoQuorum executables of IPE_BESU and IPE_GOQUORUM (docs/interop.md);
            interop verdicts [words]: what each makes of every variant of a block at import, into fixtures/verdicts;
            interop votes words: whether a live Besu votes for them
  attack    what one institution or a stranger can do to release processes on loopback (docs/attacks.md): [--seconds N]
            [--mesh] [words of an attack's name]
  contracts [--check | --gen02]  compile contracts/, compare with what is committed, or run RBB's scenarios on it (docs/contracts.md;
            needs npm)
  dist      what is released of the commit: static executable, packages, container image, bills of materials, checksums
            (docs/releasing.md): [--check] [--test] [--key FILE] [--target TRIPLE]
  sim       fresh seeds of the simulator, --hours N: violations with the commands that replay them, and all faults
  release   the tests of the simulator, of the fuzz targets and of real processes, on the profile that ships
  clients   real Ethereum clients against a lab network (needs npm and python3; says \"not run\" without them)
  monitoring  a real Prometheus with RBB's rules scrapes a lab network, nodes are stopped (needs python3; IPE_PROMETHEUS is
            the program, else that of the PATH, else Debian's package unpacked into the target folder)
";

fn main() -> ExitCode {
    let root = root();
    let chore = std::env::args().nth(1).unwrap_or_default();
    let arguments: Vec<String> = std::env::args().skip(2).collect();
    match chore.as_str() {
        "interop" => return steps::interop(&root),
        "attack" => return steps::attack(&root),
        "contracts" => return contracts::run(&root),
        "dist" => return steps::dist(&root, &arguments),
        _ => {}
    }
    let outcome = match chore.as_str() {
        "fuzz" => fuzz::run(&root, &arguments),
        "test" => steps::test(&root),
        "check" => steps::check(&root),
        "tidy" => tidy::run(&root),
        "purity" => purity::run(&root),
        "conformance" => steps::conformance(&root),
        "sim" => steps::sim(&root, &std::env::args().skip(2).collect::<Vec<_>>()),
        "release" => steps::release(&root),
        "clients" => steps::clients(&root),
        "monitoring" => steps::monitoring(&root),
        other => {
            eprint!("{}{USAGE}", if other.is_empty() { String::new() } else { format!("no such chore: {other}\n\n") });
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(faults) => {
            eprintln!("\n{chore}: {} fault(s)", faults.len());
            for fault in &faults {
                eprintln!("  {fault}");
            }
            ExitCode::FAILURE
        }
    }
}

/// Folder of the workspace, whatever the current folder is.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask stands one level below the root").to_owned()
}
