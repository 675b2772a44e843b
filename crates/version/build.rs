//! Finds out which commit is built, with which compiler and for which target.
//!
//! Git is asked in release builds only: there the answer matters, and a debug build would compile and link the command line again
//! after every commit.

#[path = "src/commit.rs"]
mod commit;

use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    let here = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let archive = here.join("COMMIT");
    println!("cargo::rerun-if-env-changed={}", commit::VARIABLE);
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/commit.rs");
    println!("cargo::rerun-if-changed={}", archive.display());
    let variable = std::env::var(commit::VARIABLE).ok();
    let file = std::fs::read_to_string(&archive).unwrap_or_default();
    let release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let ask = || match release {
        true => git(&here),
        false => Err("a debug build does not ask git"),
    };
    match commit::decide(variable.as_deref(), &file, ask) {
        Ok(source) => {
            println!("cargo::rustc-env=IPE_BUILD_COMMIT={}", source.commit);
            println!("cargo::rustc-env=IPE_BUILD_MODIFIED={}", if source.modified { "yes" } else { "" });
            println!("cargo::rustc-env=IPE_BUILD_UNKNOWN={}", source.unknown);
        }
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(1);
        }
    }
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let said = output(Command::new(compiler).arg("--version")).unwrap_or_default();
    println!("cargo::rustc-env=IPE_BUILD_RUSTC={}", said.split(' ').nth(1).unwrap_or("unknown"));
    println!("cargo::rustc-env=IPE_BUILD_TARGET={}", std::env::var("TARGET").unwrap_or_default());
}

/// Commit of the work tree that holds this crate, and whether what is built differs from it.
fn git(here: &Path) -> Result<(String, bool), &'static str> {
    let root = here.join("../..");
    let ask = |arguments: &[&str]| output(Command::new("git").arg("--no-optional-locks").args(arguments).current_dir(&root));
    // A source archive unpacked inside of another project's work tree is not of that project.
    let top = ask(&["rev-parse", "--show-toplevel"]).and_then(|top| std::fs::canonicalize(top).ok());
    if top.is_none() || top != std::fs::canonicalize(&root).ok() {
        return Err("built outside of a git work tree and without IPE_COMMIT");
    }
    let head = ask(&["rev-parse", "HEAD"]).ok_or("the git work tree has no commit")?;
    let built = ["Cargo.toml", "Cargo.lock", "crates", "contracts"];
    let changes = ask(&[&["status", "--porcelain", "--"][..], &built].concat()).ok_or("git status failed")?;
    for file in built {
        println!("cargo::rerun-if-changed={}", root.join(file).display());
    }
    let branch = ask(&["symbolic-ref", "--quiet", "HEAD"]).unwrap_or_default();
    for file in ["HEAD", "logs/HEAD", "packed-refs", "index", &branch] {
        // A file that is absent would run this script at every build.
        if let Some(path) = ask(&["rev-parse", "--git-path", file]).map(|path| root.join(path)).filter(|path| path.is_file()) {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }
    Ok((head, !changes.is_empty()))
}

fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
