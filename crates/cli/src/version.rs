//! `ipe --version`: what was built, and what it speaks.

use ipe_p2p::capability::ISTANBUL_VERSION;
use ipe_types::eth::EthVersion;
use ipe_types::fork::Fork;
use ipe_version::BUILD;
use std::sync::LazyLock;

/// Of `-V`: `0.1.0-1a2b3c4d`.
pub fn short() -> &'static str {
    static SHORT: LazyLock<String> = LazyLock::new(|| BUILD.short());
    &SHORT
}

/// Of `--version`: a line each for the commit, the compiler, and every protocol with its versions. The first line is that of `-V`.
pub fn long() -> &'static str {
    static LONG: LazyLock<String> = LazyLock::new(lines);
    &LONG
}

fn lines() -> String {
    let commit = match BUILD.commit {
        Ok(commit) if BUILD.modified => format!("{commit}, modified"),
        Ok(commit) => commit.to_owned(),
        Err(why) => format!("unknown: {why}"),
    };
    let forks = [Fork::ALL.first(), Fork::ALL.last()].map(|fork| fork.map_or("none", |fork| fork.name()));
    let lines = [
        ("commit", commit),
        ("rustc", BUILD.rustc.to_owned()),
        ("target", format!("{}, {}", BUILD.target, if cfg!(target_feature = "crt-static") { "static" } else { "dynamic" })),
        ("client", BUILD.client()),
        ("eth", EthVersion::ALL.map(|version| version.number().to_string()).join(", ")),
        ("istanbul", ISTANBUL_VERSION.to_string()),
        ("ipe", ipe_p2p::ipe::VERSION.to_string()),
        ("carry", ipe_p2p::carry::VERSION.to_string()),
        ("snap", "no".to_owned()),
        ("discovery", "discv4".to_owned()),
        ("forks", format!("{} to {}", forks[0], forks[1])),
        ("data", format!("layout {}", ipe_chain::LAYOUT)),
    ];
    lines.iter().fold(BUILD.short(), |text, (name, value)| format!("{text}\n{name:<10} {value}"))
}
