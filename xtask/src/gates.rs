//! What keeps the house clean without running a test: form, lints, documentation, and what it depends on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Where every package comes from.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// `cargo fmt --check`.
pub fn form(root: &Path) -> Result<(), Vec<String>> {
    tool(root, "fmt", &["fmt", "--all", "--", "--check"], None, "cargo fmt --all mends it")
}

/// Clippy over everything, a warning is a fault.
pub fn lints(root: &Path) -> Result<(), Vec<String>> {
    let arguments = ["clippy", "--workspace", "--all-targets", "--locked", "--quiet", "--", "-D", "warnings"];
    tool(root, "clippy", &arguments, None, "each warning says what to do")
}

/// The documentation of every item, private ones too, a broken link is a fault.
pub fn documentation(root: &Path) -> Result<(), Vec<String>> {
    let arguments = ["doc", "--workspace", "--no-deps", "--document-private-items", "--locked", "--quiet"];
    tool(root, "doc", &arguments, Some(("RUSTDOCFLAGS", "-D warnings")), "each warning says what to do")
}

/// Runs a part of the toolchain. One that is not installed is said and is no fault: a compiler alone builds and tests the project.
fn tool(root: &Path, name: &str, arguments: &[&str], variable: Option<(&str, &str)>, next: &str) -> Result<(), Vec<String>> {
    if !has(name) {
        println!("{name}: NOT RUN, this toolchain has no cargo {name}");
        return Ok(());
    }
    let status = Command::new(env!("CARGO"))
        .args(arguments)
        .envs(variable)
        .current_dir(root)
        .status()
        .map_err(|error| vec![format!("cargo {name} did not start: {error}")])?;
    if status.success() { Ok(()) } else { Err(vec![format!("cargo {} failed: {next}", arguments.join(" "))]) }
}

fn has(name: &str) -> bool {
    Command::new(env!("CARGO")).args([name, "--version"]).output().is_ok_and(|output| output.status.success())
}

/// Licences, sources and pairs of versions by `deny.toml`, and dependencies that nothing uses.
///
/// `cargo deny` reads the same file and knows more (texts of licences, advisories): it runs too where it is installed.
pub fn dependencies(root: &Path) -> Result<(), Vec<String>> {
    let rules = fs::read_to_string(root.join("deny.toml")).map_err(|error| vec![format!("deny.toml: {error}")])?;
    let lock = fs::read_to_string(root.join("Cargo.lock")).map_err(|error| vec![format!("Cargo.lock: {error}")])?;
    let mut faults = Vec::new();
    let packages = packages(root)?;
    licences(&packages, &strings(&rules, "allow = ["), &mut faults);
    versions(&packages, &strings(&rules, "skip = ["), &mut faults);
    for source in lock.lines().filter_map(|line| line.strip_prefix("source = ")) {
        if source.trim_matches('"') != REGISTRY {
            faults.push(format!("Cargo.lock: a package comes from {source}, all come from crates.io"));
        }
    }
    unused(root, &mut faults);
    if has("deny") {
        let checks = ["deny", "--locked", "check", "--hide-inclusion-graph", "licenses", "bans", "sources"];
        if let Err(fault) = tool(root, "deny", &checks, None, "deny.toml has the rules") {
            faults.extend(fault);
        }
        println!("cargo deny: advisories NOT RUN, their database is not part of the project (cargo deny check advisories)");
    } else {
        println!("cargo deny: NOT RUN, it is not installed; licences, versions and sources were looked at without it");
    }
    if faults.is_empty() {
        println!("dependencies: {} packages", packages.len());
        Ok(())
    } else {
        Err(faults)
    }
}

/// Everything that is compiled for Linux, as `name version` with the licence.
fn packages(root: &Path) -> Result<BTreeMap<(String, String), String>, Vec<String>> {
    let arguments = [
        "tree",
        "--workspace",
        "--locked",
        "--edges",
        "normal,build,dev",
        "--target",
        "x86_64-unknown-linux-gnu",
        "--prefix",
        "none",
    ];
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .args(["--format", "{p}|{l}"])
        .current_dir(root)
        .output()
        .map_err(|error| vec![format!("cargo tree did not start: {error}")])?;
    if !output.status.success() {
        return Err(vec![format!("cargo tree: {}", String::from_utf8_lossy(&output.stderr).trim())]);
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text.lines().filter_map(|line| line.split_once('|'));
    Ok(lines
        .filter_map(|(package, licence)| {
            let mut words = package.split(' ');
            let name = words.next()?.to_owned();
            let version = words.next()?.trim_start_matches('v').to_owned();
            Some(((name, version), licence.trim_end_matches(" (*)").to_owned()))
        })
        .collect())
}

/// First strings in quotes of each line of a list in `deny.toml`.
fn strings(rules: &str, list: &str) -> BTreeSet<String> {
    let from = rules.lines().skip_while(|line| !line.starts_with(list)).skip(1);
    from.take_while(|line| !line.starts_with(']')).filter_map(|line| line.split('"').nth(1)).map(str::to_owned).collect()
}

fn licences(packages: &BTreeMap<(String, String), String>, allowed: &BTreeSet<String>, faults: &mut Vec<String>) {
    for ((name, version), licence) in packages {
        if !satisfied(licence, allowed) {
            faults.push(format!("{name} {version} is under \"{licence}\", which deny.toml does not allow: choose another library"));
        }
    }
}

/// Whether one of the choices that an SPDX expression leaves has only allowed licences. An older form has a slash for OR.
fn satisfied(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ").replace(" WITH ", "\u{a0}WITH\u{a0}");
    let words: Vec<&str> = spaced.split([' ']).filter(|word| !word.is_empty()).collect();
    let mut rest = words.as_slice();
    any(&mut rest, allowed) && rest.is_empty()
}

fn any(rest: &mut &[&str], allowed: &BTreeSet<String>) -> bool {
    let mut found = all(rest, allowed);
    while rest.first() == Some(&"OR") {
        *rest = &rest[1..];
        found |= all(rest, allowed);
    }
    found
}

fn all(rest: &mut &[&str], allowed: &BTreeSet<String>) -> bool {
    let mut every = one(rest, allowed);
    while rest.first() == Some(&"AND") {
        *rest = &rest[1..];
        every &= one(rest, allowed);
    }
    every
}

fn one(rest: &mut &[&str], allowed: &BTreeSet<String>) -> bool {
    let Some((word, after)) = rest.split_first() else { return false };
    *rest = after;
    if *word != "(" {
        // "Or any later version" leaves the choice of this one.
        return allowed.contains(word.replace('\u{a0}', " ").trim_end_matches('+'));
    }
    let found = any(rest, allowed);
    let closed = rest.first() == Some(&")");
    *rest = rest.get(1..).unwrap_or_default();
    found && closed
}

/// Of each library one version, but for those that are named with what holds them.
fn versions(packages: &BTreeMap<(String, String), String>, skipped: &BTreeSet<String>, faults: &mut Vec<String>) {
    let mut by_name: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, version) in packages.keys().filter(|(name, version)| !skipped.contains(&format!("{name}@{version}"))) {
        by_name.entry(name).or_default().push(version);
    }
    for (name, versions) in by_name.into_iter().filter(|(_, versions)| versions.len() > 1) {
        let all = versions.join(" and ");
        faults.push(format!(
            "{name} comes as {all}: use one, or name the older in deny.toml with what holds it (cargo tree -i {name})"
        ));
    }
    for skipped in skipped {
        let there = skipped.split_once('@').is_some_and(|(name, version)| packages.contains_key(&(name.into(), version.into())));
        if !there {
            faults.push(format!("deny.toml: {skipped} is not among the dependencies any more, remove the line"));
        }
    }
}

/// A dependency whose name occurs nowhere in the sources of its package, or that no package takes from the workspace.
fn unused(root: &Path, faults: &mut Vec<String>) {
    let workspace = fs::read_to_string(root.join("Cargo.toml")).unwrap_or_default();
    let mut spare: BTreeSet<&str> = named(&workspace).into_iter().collect();
    let mut members: Vec<_> = fs::read_dir(root.join("crates")).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    members.extend([root.join("fuzz"), root.join("xtask")]);
    for member in members {
        let Ok(manifest) = fs::read_to_string(member.join("Cargo.toml")) else { continue };
        let mut sources = String::new();
        read(&member, &mut sources);
        for name in named(&manifest) {
            spare.remove(name);
            if !mentions(&sources, &name.replace('-', "_")) {
                faults.push(format!("{}: nothing uses {name}", member.join("Cargo.toml").display()));
            }
        }
    }
    faults.extend(spare.into_iter().map(|name| format!("Cargo.toml: no package takes {name}")));
}

/// Names of the dependencies of a manifest, of each kind.
fn named(manifest: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut inside = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.ends_with("dependencies]");
        } else if inside
            && let Some((name, _)) = line.split_once(['.', ' ', '='])
            && !name.is_empty()
            && !name.starts_with('#')
        {
            names.push(name);
        }
    }
    names
}

fn read(folder: &Path, sources: &mut String) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            read(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push_str(&fs::read_to_string(&path).unwrap_or_default());
        }
    }
}

fn mentions(sources: &str, name: &str) -> bool {
    let part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    sources.match_indices(name).any(|(at, _)| {
        let before = at.checked_sub(1).is_some_and(|at| part(sources.as_bytes()[at]));
        let after = sources.as_bytes().get(at + name.len()).is_some_and(|byte| part(*byte));
        !before && !after
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_is_satisfied_by_one_of_its_choices() {
        let allowed: BTreeSet<String> = ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned).into();
        for good in
            ["MIT", "MIT/Apache-2.0", "GPL-2.0 OR ISC", "ISC AND (Apache-2.0 OR MIT)", "Apache-2.0 WITH LLVM-exception OR X"]
        {
            assert!(satisfied(good, &allowed), "{good}");
        }
        for bad in ["", "Apache-2.0", "MIT AND GPL-2.0", "(MIT", "MIT )", "ISC AND (Apache-2.0 OR X)", "MIT AND", "MIT ISC"] {
            assert!(!satisfied(bad, &allowed), "{bad}");
        }
    }

    #[test]
    fn names_of_dependencies_are_read_and_looked_for_as_words() {
        let manifest = "[package]\nname = \"x\"\n[dependencies]\n# a note\nserde_json.workspace = true\nipe-types = { path = \"\" }\n\n\
                        [dev-dependencies]\ntempfile = \"3\"\n[lints]\nworkspace = true\n";
        assert_eq!(named(manifest), ["serde_json", "ipe-types", "tempfile"]);
        assert!(mentions("use serde_json::Value;", "serde_json") && !mentions("use serde_json::Value;", "serde"));
    }

    #[test]
    fn a_second_version_is_a_fault_unless_it_is_named() {
        let packages =
            [("a", "1"), ("a", "2"), ("b", "1")].map(|(name, version)| ((name.into(), version.into()), "MIT".to_owned())).into();
        let check = |skipped: &[&str]| {
            let mut faults = Vec::new();
            versions(&packages, &skipped.iter().map(|name| (*name).to_owned()).collect(), &mut faults);
            faults.len()
        };
        assert_eq!([check(&[]), check(&["a@1"]), check(&["a@1", "c@1"])], [1, 0, 1]);
    }
}
