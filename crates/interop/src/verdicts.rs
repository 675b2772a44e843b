//! `interop verdicts`: the variants of `ipe-variants` put to real Besu and GoQuorum programs, and what they say written into
//! `fixtures/verdicts`.
//!
//! One start imports the files of a whole chain, a file for each variant: `besu blocks import` and `geth import` go on after a
//! file with a bad block, and a second block of the same height is judged like the first.

use crate::children;
use crate::client::{Client, Kind};
use ipe_variants::recorded::{self, Line};
use ipe_variants::{Scenario, Variant};
use nix::sys::signal::Signal;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long a client may take for one chain.
const MOST: Duration = Duration::from_secs(420);
/// Characters of a reason that are kept.
const REASON: usize = 90;

/// Asks every Besu and GoQuorum about every variant whose chain's name contains one of `wanted`, or all.
///
/// Errors: a client does not start or does not end, or the fixture cannot be written.
pub fn run(others: &[Client], folder: &Path, wanted: &[String]) -> Result<(), String> {
    let began = Instant::now();
    let scenarios = ipe_variants::all();
    println!(
        "{} chains with {} variants made in {} s",
        scenarios.len(),
        scenarios.iter().map(|all| all.variants.len()).sum::<usize>(),
        began.elapsed().as_secs()
    );
    for client in others {
        let mut lines: BTreeMap<(String, String), Line> = recorded::read(&client.name()).unwrap_or_default();
        // What is not made any more is not kept.
        lines.retain(|(chain, variant), _| {
            scenarios.iter().any(|made| made.name == *chain && made.variants.iter().any(|one| one.name == *variant))
        });
        for scenario in scenarios.iter().filter(|made| wanted.is_empty() || wanted.iter().any(|words| made.name.contains(words))) {
            if let Some(reason) = not_for(client, scenario) {
                if !wanted.is_empty() {
                    println!("{}: {}: left out: {reason}", client.name(), scenario.name);
                }
                lines.retain(|(chain, _), _| *chain != scenario.name);
                continue;
            }
            let began = Instant::now();
            let said = imported(client, &folder.join(format!("verdicts-{}", client.name())), scenario)?;
            let taken = said.iter().filter(|line| line.import).count();
            println!("{}: {}: {} of {} imported, {} s", client.name(), scenario.name, taken, said.len(), began.elapsed().as_secs());
            for line in said {
                let vote =
                    lines.get(&(line.chain.clone(), line.variant.clone())).filter(|old| old.id == line.id).and_then(|old| old.vote);
                lines.insert((line.chain.clone(), line.variant.clone()), Line { vote, ..line });
            }
        }
        let path = recorded::write(&client.name(), in_order(&scenarios, &lines))?;
        println!("{}: {} verdicts in {}", client.name(), lines.len(), path.display());
    }
    Ok(())
}

pub fn in_order<'a>(scenarios: &'a [Scenario], lines: &'a BTreeMap<(String, String), Line>) -> impl Iterator<Item = &'a Line> {
    scenarios
        .iter()
        .flat_map(|made| made.variants.iter().map(move |one| (made.name.clone(), one.name.clone())))
        .filter_map(|key| lines.get(&key))
}

/// Why a release cannot be asked about a chain.
pub fn not_for(client: &Client, scenario: &Scenario) -> Option<&'static str> {
    if (client.kind == Kind::GoQuorum) != scenario.name.starts_with("goquorum") {
        return Some("its genesis is in the other client's format");
    }
    let old = client.kind == Kind::Besu && client.version.starts_with("25.5");
    if old && scenario.name.starts_with("osaka") {
        return Some("its Osaka is a draft that nobody runs");
    }
    if old && scenario.genesis.contains("pragueTime") && !scenario.genesis.contains("depositContractAddress") {
        return Some("it does not start on Prague without the addresses of the request contracts");
    }
    None
}

/// What a client with an empty folder makes of the scenario's variants, after its good blocks.
fn imported(client: &Client, folder: &Path, scenario: &Scenario) -> Result<Vec<Line>, String> {
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
    let mut command = importer(client, &folder)?;
    command
        .args(&names)
        .current_dir(&folder)
        .stdin(Stdio::null())
        .stderr(Stdio::from(log.try_clone().map_err(failed)?))
        .stdout(Stdio::from(log));
    let mut child = command.spawn().map_err(|error| format!("{} did not start: {error}", client.program.display()))?;
    children::started(&child);
    let began = Instant::now();
    while child.try_wait().map_err(failed)?.is_none() {
        if began.elapsed() > MOST {
            let _ = children::end(&mut child, Signal::SIGKILL);
            return Err(format!(
                "{}: {} took more than {} s; its log is in {}",
                client.name(),
                scenario.name,
                MOST.as_secs(),
                folder.display()
            ));
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    children::ended(&child);
    let text = std::fs::read(folder.join("log")).map_err(failed)?;
    let said = sections(client.kind, &String::from_utf8_lossy(&text), &names);
    let _ = std::fs::remove_dir_all(folder.join("data"));
    let verdict = |name: &String| {
        let told = said.get(name).ok_or_else(|| {
            format!("{}: {}: nothing is said about {name}; see {}", client.name(), scenario.name, folder.display())
        })?;
        Ok::<_, String>(told.clone())
    };
    if let (_, Some(why)) = verdict(&names[0])? {
        return Err(format!("{}: {}: the good blocks were not imported: {why}", client.name(), scenario.name));
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

/// The command that imports the files that follow as arguments, run in the folder of the genesis.
pub fn importer(client: &Client, folder: &Path) -> Result<Command, String> {
    let mut command = Command::new(&client.program);
    if client.kind != Kind::GoQuorum {
        command.args([
            "--data-path=data",
            "--genesis-file=genesis.json",
            "--data-storage-format=FOREST",
            "--logging=INFO",
            "--color-enabled=false",
        ]);
        command.args(["blocks", "import"]);
        if std::env::var_os("JAVA_OPTS").is_none() && std::env::var_os("BESU_OPTS").is_none() {
            command.env("JAVA_OPTS", "-Xmx1g");
        }
        return Ok(command);
    }
    let mut init = Command::new(&client.program);
    let made =
        init.args(["--datadir", "data", "init", "genesis.json"]).current_dir(folder).env("PRIVATE_CONFIG", "ignore").output();
    let made = made.map_err(|error| format!("{} did not start: {error}", client.program.display()))?;
    if !made.status.success() {
        return Err(format!("{} init: {}", client.program.display(), String::from_utf8_lossy(&made.stderr).trim()));
    }
    command.env("PRIVATE_CONFIG", "ignore");
    command.args(["--datadir", "data", "--nousb", "--gcmode", "archive", "--snapshot=false", "import"]);
    Ok(command)
}

/// By file: whether all of it was imported, and the first reason if not.
type Sections = BTreeMap<String, (bool, Option<String>)>;

/// What a log says about each file.
fn sections(kind: Kind, log: &str, names: &[String]) -> Sections {
    let (mut all, mut current): (Sections, Option<String>) = (BTreeMap::new(), None);
    for line in log.lines() {
        if kind == Kind::GoQuorum && line.contains("Import error") {
            // ERROR[…] Import error    file=0001.rlp err="at block 1: …"
            let (_, told) = line.split_once("file=").unwrap_or_default();
            let (name, why) = told.split_once(" err=").unwrap_or((told, ""));
            all.insert(name.trim().to_owned(), (false, Some(reason(why.trim_matches('"')))));
            continue;
        }
        let begun = if kind == Kind::GoQuorum { "Importing blockchain " } else { "Importing from " };
        if let Some((_, name)) = line.split_once(begun) {
            let name = name.trim().trim_start_matches("file=");
            if kind == Kind::GoQuorum {
                all.insert(name.to_owned(), (true, None));
                continue;
            }
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
