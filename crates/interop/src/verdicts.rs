//! `interop verdicts`: the variants of `ipe-variants` put to real Besu programs, and what they say written into
//! `fixtures/verdicts`.
//!
//! One start of Besu imports the files of a whole chain, a file for each variant: `besu blocks import` goes on after a file
//! with a bad block, and a second block of the same height is judged like the first.

use crate::children;
use crate::client::{Client, Kind};
use ipe_variants::recorded::{self, Line};
use ipe_variants::{Scenario, Variant};
use nix::sys::signal::Signal;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long Besu may take for one chain.
const MOST: Duration = Duration::from_secs(420);
/// Characters of a reason that are kept.
const REASON: usize = 90;

/// Asks every Besu about every variant whose chain's name contains one of `wanted`, or all.
///
/// Errors: a Besu does not start or does not end, or the fixture cannot be written.
pub fn run(others: &[Client], folder: &Path, wanted: &[String]) -> Result<(), String> {
    let began = Instant::now();
    let scenarios = ipe_variants::all();
    println!("{} chains with {} variants made in {} s", scenarios.len(), scenarios.iter().map(|all| all.variants.len()).sum::<usize>(), began.elapsed().as_secs());
    for besu in others.iter().filter(|other| other.kind == Kind::Besu) {
        let mut lines: BTreeMap<(String, String), Line> = recorded::read(&besu.name()).unwrap_or_default();
        // What is not made any more is not kept.
        lines.retain(|(chain, variant), _| {
            scenarios.iter().any(|made| made.name == *chain && made.variants.iter().any(|one| one.name == *variant))
        });
        for scenario in scenarios.iter().filter(|made| wanted.is_empty() || wanted.iter().any(|words| made.name.contains(words))) {
            if let Some(reason) = not_for(besu, scenario) {
                println!("{}: {}: left out: {reason}", besu.name(), scenario.name);
                lines.retain(|(chain, _), _| *chain != scenario.name);
                continue;
            }
            let began = Instant::now();
            let said = imported(besu, &folder.join(format!("verdicts-{}", besu.name())), scenario)?;
            let taken = said.iter().filter(|line| line.import).count();
            println!("{}: {}: {} of {} imported, {} s", besu.name(), scenario.name, taken, said.len(), began.elapsed().as_secs());
            for line in said {
                let vote = lines.get(&(line.chain.clone(), line.variant.clone())).filter(|old| old.id == line.id).and_then(|old| old.vote);
                lines.insert((line.chain.clone(), line.variant.clone()), Line { vote, ..line });
            }
        }
        let path = recorded::write(&besu.name(), in_order(&scenarios, &lines))?;
        println!("{}: {} verdicts in {}", besu.name(), lines.len(), path.display());
    }
    Ok(())
}

fn in_order<'a>(scenarios: &'a [Scenario], lines: &'a BTreeMap<(String, String), Line>) -> impl Iterator<Item = &'a Line> {
    scenarios.iter().flat_map(|made| made.variants.iter().map(move |one| (made.name.clone(), one.name.clone()))).filter_map(|key| lines.get(&key))
}

/// Why a release cannot be asked about a chain.
fn not_for(besu: &Client, scenario: &Scenario) -> Option<&'static str> {
    let old = besu.version.starts_with("25.5");
    if old && scenario.name.starts_with("osaka") {
        return Some("its Osaka is a draft that nobody runs");
    }
    if old && scenario.genesis.contains("pragueTime") && !scenario.genesis.contains("depositContractAddress") {
        return Some("it does not start on Prague without the addresses of the request contracts");
    }
    None
}

/// What a Besu with an empty folder makes of the scenario's variants, after its good blocks.
fn imported(besu: &Client, folder: &Path, scenario: &Scenario) -> Result<Vec<Line>, String> {
    let folder = folder.join(scenario.name.replace(' ', "-"));
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    if folder.exists() {
        std::fs::remove_dir_all(&folder).map_err(failed)?;
    }
    std::fs::create_dir_all(&folder).map_err(failed)?;
    std::fs::write(folder.join("genesis.json"), &scenario.genesis).map_err(failed)?;
    let mut names = vec!["good.rlp".to_owned()];
    std::fs::write(folder.join("good.rlp"), scenario.good.concat()).map_err(failed)?;
    for (index, Variant { sealed, .. }) in scenario.variants.iter().enumerate() {
        let name = format!("{index:04}.rlp");
        std::fs::write(folder.join(&name), sealed).map_err(failed)?;
        names.push(name);
    }
    let log = std::fs::File::create(folder.join("log")).map_err(failed)?;
    let mut command = Command::new(&besu.program);
    command
        .args(["--data-path=data", "--genesis-file=genesis.json", "--data-storage-format=FOREST", "--logging=INFO", "--color-enabled=false"])
        .args(["blocks", "import"])
        .args(&names)
        .current_dir(&folder)
        .stdin(Stdio::null())
        .stderr(Stdio::from(log.try_clone().map_err(failed)?))
        .stdout(Stdio::from(log));
    if std::env::var_os("JAVA_OPTS").is_none() && std::env::var_os("BESU_OPTS").is_none() {
        command.env("JAVA_OPTS", "-Xmx1g");
    }
    let mut child = command.spawn().map_err(|error| format!("{} did not start: {error}", besu.program.display()))?;
    children::started(&child);
    let began = Instant::now();
    while child.try_wait().map_err(failed)?.is_none() {
        if began.elapsed() > MOST {
            let _ = children::end(&mut child, Signal::SIGKILL);
            return Err(format!("{}: {} took more than {} s; its log is in {}", besu.name(), scenario.name, MOST.as_secs(), folder.display()));
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    children::ended(&child);
    let text = std::fs::read(folder.join("log")).map_err(failed)?;
    let said = sections(&String::from_utf8_lossy(&text), &names);
    let _ = std::fs::remove_dir_all(folder.join("data"));
    let verdict = |name: &String| {
        let told = said.get(name).ok_or_else(|| format!("{}: {}: nothing is said about {name}; see {}", besu.name(), scenario.name, folder.display()))?;
        Ok::<_, String>(told.clone())
    };
    if let (_, Some(why)) = verdict(&names[0])? {
        return Err(format!("{}: {}: the good blocks were not imported: {why}", besu.name(), scenario.name));
    }
    scenario
        .variants
        .iter()
        .zip(&names[1..])
        .filter(|(variant, _)| variant.is_judged_by_import())
        .map(|(variant, name)| {
            let (import, why) = verdict(name)?;
            Ok(Line {
                chain: scenario.name.clone(),
                variant: variant.name.clone(),
                id: variant.id(),
                import,
                why: why.unwrap_or_default(),
                vote: None,
            })
        })
        .collect()
}

/// What a log says about each file: whether all of it was imported, and the first reason if not.
fn sections(log: &str, names: &[String]) -> BTreeMap<String, (bool, Option<String>)> {
    let (mut all, mut current): (BTreeMap<String, (bool, Option<String>)>, Option<String>) = (BTreeMap::new(), None);
    for line in log.lines() {
        if let Some((_, name)) = line.split_once("Importing from ") {
            current = names.iter().find(|known| known.as_str() == name.trim()).cloned();
            if let Some(name) = &current {
                all.insert(name.clone(), (true, None));
            }
            continue;
        }
        let Some((imported, why)) = current.as_ref().and_then(|name| all.get_mut(name)) else { continue };
        if line.contains("Unable to import blocks") {
            *imported = false;
        }
        let telling = ["Invalid", "invalid", "Exception", "mismatch", "failed", "Block processing error", "did not", "missing"];
        if why.is_none() && telling.iter().any(|word| line.contains(word)) && !line.contains("Unable to import") {
            *why = Some(reason(line));
        }
    }
    for (imported, why) in all.values_mut() {
        if *imported {
            *why = None;
        } else if why.is_none() {
            *why = Some(String::new());
        }
    }
    all
}

/// The message of a log line, without time and thread, and hashes by their first digits.
fn reason(line: &str) -> String {
    let message = line.rsplit(" | ").next().unwrap_or(line).trim();
    let (mut short, mut digits) = (String::new(), 0);
    for (at, character) in message.char_indices() {
        digits = if character.is_ascii_hexdigit() || (character == 'x' && message[..at].ends_with('0')) { digits + 1 } else { 0 };
        if digits <= 8 {
            short.push(character);
        }
    }
    short.chars().take(REASON).collect()
}
