//! Tidiness is a test: what a reviewer would have to look for every time is looked for here.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Marks of unfinished work.
const LEFTOVERS: [&str; 5] = ["todo!(", "unimplemented!(", "dbg!(", "FIXME", "#[ignore"];

/// Longest source file, in lines; beyond it a file has more than one noun.
const LINES_MAX: usize = 1200;

/// Largest committed file, in bytes: recorded chains are the largest that belong here.
const BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Looks at every file that git knows.
pub fn run(root: &Path) -> Result<(), Vec<String>> {
    let files = tracked(root)?;
    let mut faults = Vec::new();
    for file in &files {
        let path = root.join(file);
        let Ok(metadata) = fs::metadata(&path) else { continue };
        if metadata.len() > BYTES_MAX {
            faults.push(format!("{file}: {} bytes, at most {BYTES_MAX} are committed", metadata.len()));
        }
        let Ok(text) = fs::read_to_string(&path) else { continue };
        if file.ends_with(".rs") && file != "xtask/src/tidy.rs" {
            source(file, &text, &mut faults);
        }
        if file.ends_with(".md") {
            links(root, file, &text, &mut faults);
        }
    }
    for document in ["docs/advisories.md", "docs/spec/qbft-transitions.md"] {
        named_tests(root, document, &mut faults);
    }
    crate::twins::check(root, &mut faults);
    rooms(root, &mut faults);
    decisions(root, &mut faults);
    readme(root, &mut faults);
    if faults.is_empty() {
        println!("tidy: {} files", files.len());
        Ok(())
    } else {
        Err(faults)
    }
}

fn tracked(root: &Path) -> Result<Vec<String>, Vec<String>> {
    let output = Command::new("git")
        .args(["ls-files"])
        .current_dir(root)
        .output()
        .map_err(|error| vec![format!("git ls-files did not start: {error}")])?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}

fn source(file: &str, text: &str, faults: &mut Vec<String>) {
    let lines = text.lines().count();
    if lines > LINES_MAX {
        faults.push(format!("{file}: {lines} lines, at most {LINES_MAX}; split it by noun"));
    }
    for (index, line) in text.lines().enumerate() {
        for mark in LEFTOVERS {
            if line.contains(mark) {
                faults.push(format!("{file}:{}: {mark} is unfinished work", index + 1));
            }
        }
    }
}

/// Relative links in documents lead to files that exist.
fn links(root: &Path, file: &str, text: &str, faults: &mut Vec<String>) {
    let folder = Path::new(file).parent().unwrap_or(Path::new(""));
    for part in text.split("](").skip(1) {
        let Some(target) = part.split(')').next() else { continue };
        let target = target.split('#').next().unwrap_or_default();
        if target.is_empty() || target.contains("://") || target.contains(' ') {
            continue;
        }
        if !root.join(folder).join(target).exists() {
            faults.push(format!("{file}: the link to {target} leads nowhere"));
        }
    }
}

/// Every "`test` in `file`" of the document is a test function of that file, and every `crates/…` path exists: a table of proofs
/// cannot drift from what is proved.
fn named_tests(root: &Path, document: &str, faults: &mut Vec<String>) {
    let text = fs::read_to_string(root.join(document)).unwrap_or_default();
    let mut proofs = 0;
    for line in text.lines().filter(|line| line.starts_with('|')) {
        let quoted: Vec<&str> = line.split('`').collect();
        // Odd parts stand between backquotes.
        for index in (1..quoted.len()).step_by(2) {
            let (name, between) = (quoted[index], quoted.get(index + 1).copied().unwrap_or_default());
            if name.starts_with("crates/") && !root.join(name).is_file() {
                faults.push(format!("{document}: there is no {name}"));
            }
            let Some(file) = quoted.get(index + 2).filter(|file| between == " in " && file.starts_with("crates/")) else {
                continue;
            };
            let source = fs::read_to_string(root.join(file)).unwrap_or_default();
            let mut lines = source.lines().map(str::trim);
            let is_function = |line: &str| line.contains(&format!("fn {name}("));
            if !source.contains(&format!("fn {name}(")) {
                faults.push(format!("{document}: {file} has no function {name}"));
            } else if document.ends_with("advisories.md") {
                // The attribute is on one of the lines above.
                let mut tested = false;
                for line in lines.by_ref() {
                    if is_function(line) {
                        break;
                    }
                    tested = line.starts_with("#[test]") || line.starts_with("#[tokio::test") || (tested && line.starts_with("//"));
                }
                if !tested {
                    faults.push(format!("{document}: {name} in {file} is no test"));
                }
            }
            proofs += 1;
        }
    }
    if proofs == 0 {
        faults.push(format!("{document}: names no test"));
    }
}

/// The index of decisions has a row with a status for every decision.
fn decisions(root: &Path, faults: &mut Vec<String>) {
    let index = fs::read_to_string(root.join("docs/adr/README.md")).unwrap_or_default();
    let Ok(entries) = fs::read_dir(root.join("docs/adr")) else { return };
    for name in entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).filter(|name| name != "README.md") {
        let number = name.split('-').next().unwrap_or_default();
        let row = index.lines().find(|line| line.starts_with(&format!("| [{number}]({name}) |")));
        let status = row.and_then(|row| row.trim_end_matches('|').rsplit('|').next()).unwrap_or_default().trim();
        if status.is_empty() {
            faults.push(format!("docs/adr/README.md: no row `| [{number}]({name}) | decision | status |`"));
        }
    }
}

/// The table of rooms in ARCHITECTURE.md names every crate, and only crates.
fn rooms(root: &Path, faults: &mut Vec<String>) {
    let text = fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap_or_default();
    let named: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("| `")).filter_map(|rest| rest.split('`').next()).collect();
    let Ok(entries) = fs::read_dir(root.join("crates")) else { return };
    let crates: Vec<String> = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    for room in &crates {
        if !named.contains(&room.as_str()) {
            faults.push(format!("ARCHITECTURE.md: crates/{room} is not in the table of rooms"));
        }
    }
    for name in named {
        if !crates.iter().any(|room| room == name) {
            faults.push(format!("ARCHITECTURE.md: the table of rooms names `{name}`, there is no crates/{name}"));
        }
    }
}

/// The first screen of the README has the command that runs the lab and the one that CI runs.
fn readme(root: &Path, faults: &mut Vec<String>) {
    let readme = fs::read_to_string(root.join("README.md")).unwrap_or_default();
    let screen: String = readme.lines().take(40).collect::<Vec<_>>().join("\n");
    let ci = fs::read_to_string(root.join(".ci/run")).unwrap_or_default();
    for command in ["cargo run --release -p ipe -- lab up", "cargo xtask test"] {
        if !screen.contains(command) {
            faults.push(format!("README.md: `{command}` is not on the first screen"));
        }
    }
    if !ci.contains("cargo xtask test") {
        faults.push(".ci/run does not call `cargo xtask test`, the test command of the README".to_owned());
    }
}
