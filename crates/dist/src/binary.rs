//! The static executable, and its debug information in a file of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Release, fail, run};

/// Target, and the name of its processor in Debian packages and in RPM packages.
pub const TARGETS: [(&str, &str, &str); 2] =
    [("x86_64-unknown-linux-gnu", "amd64", "x86_64"), ("aarch64-unknown-linux-gnu", "arm64", "aarch64")];

/// What a build gives.
pub struct Built {
    /// The executable, without symbols.
    pub program: PathBuf,
    /// Its symbols and line tables, for `gdb` and for backtraces.
    pub debug: PathBuf,
}

/// Builds the sources of `release` beside them.
///
/// The C library is linked statically (Debian and Ubuntu: libc6-dev has it; Fedora: glibc-static). Folders are replaced by fixed
/// names in what compilers write down, the time by the commit's.
pub fn build(release: &Release, given: Option<&Path>, jobs: Option<&str>) -> Result<Built, String> {
    let target_dir = release.folder.join("target");
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")))
        .ok_or("neither CARGO_HOME nor HOME is set")?;
    let absolute = |path: &Path| std::path::absolute(path).map_err(fail("find", path));
    let names = [(absolute(&release.source)?, "/ipe"), (absolute(&target_dir)?, "/target"), (home, "/cargo")];
    let mut rust = vec!["-Ctarget-feature=+crt-static".to_owned()];
    let mut c = Vec::new();
    for (folder, name) in &names {
        rust.push(format!("--remap-path-prefix={}={name}", folder.display()));
        c.push(format!("-ffile-prefix-map={}={name}", folder.display()));
    }
    let host = release.target.starts_with(std::env::consts::ARCH);
    let prefix = if host { String::new() } else { format!("{}-linux-gnu-", release.rpm_arch) };
    if let Some(given) = given {
        return split(release, &absolute(given)?, &prefix);
    }
    let variable = release.target.to_uppercase().replace('-', "_");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["build", "--locked", "--profile", "dist", "--package", "ipe", "--target", &release.target, "--target-dir"])
        .arg(absolute(&target_dir)?)
        .current_dir(&release.source)
        .env("SOURCE_DATE_EPOCH", release.time.to_string())
        .env("IPE_COMMIT", &release.commit)
        .env("CARGO_INCREMENTAL", "0")
        .env("CFLAGS", c.join(" "))
        .env("CXXFLAGS", c.join(" "))
        .env(format!("CARGO_TARGET_{variable}_RUSTFLAGS"), rust.join(" "))
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTC_WRAPPER");
    if let Some(jobs) = jobs {
        cargo.args(["--jobs", jobs]);
    }
    if !host {
        cargo
            .env(format!("CARGO_TARGET_{variable}_LINKER"), format!("{prefix}gcc"))
            .env(format!("CC_{}", release.target.replace('-', "_")), format!("{prefix}gcc"))
            .env(format!("CXX_{}", release.target.replace('-', "_")), format!("{prefix}g++"));
    }
    println!("dist: building {} in {}", release.label, release.folder.display());
    let status = cargo.status().map_err(|error| format!("cargo did not start: {error}"))?;
    if !status.success() {
        return Err(format!(
            "cargo build ended with {status}. The target {} needs its standard library (rustup target add {0}), the static C library \
             and, for another processor than this one's, {}-linux-gnu-gcc",
            release.target, release.rpm_arch
        ));
    }
    let built = split(release, &target_dir.join(&release.target).join("dist/ipe"), &prefix)?;
    examine(&built.program, &names)?;
    Ok(built)
}

/// Separates the executable `linked` and its debug information.
fn split(release: &Release, linked: &Path, prefix: &str) -> Result<Built, String> {
    let (program, debug) = (release.folder.join("ipe"), release.folder.join("ipe.debug"));
    let objcopy = || Command::new(format!("{prefix}objcopy"));
    run(objcopy().arg("--only-keep-debug").arg(linked).arg(&debug))?;
    let _ = std::fs::remove_file(&program);
    // The link names the file of the debug information without its folder, and its checksum.
    run(objcopy().args(["--strip-all", "--add-gnu-debuglink=ipe.debug"]).arg(linked).arg("ipe").current_dir(&release.folder))?;
    Ok(Built { program, debug })
}

/// Insists that the executable is static and names no folder of the machine that built it.
fn examine(program: &Path, names: &[(PathBuf, &str)]) -> Result<(), String> {
    let headers = run(Command::new("readelf").arg("--program-headers").arg("--wide").arg(program).env("LC_ALL", "C"))?;
    if String::from_utf8_lossy(&headers).contains(" INTERP ") {
        return Err(format!("{} asks for a dynamic loader, expected a static executable", program.display()));
    }
    let bytes = crate::files::read(program)?;
    for (folder, _) in names {
        let text = folder.display().to_string();
        if bytes.windows(text.len()).any(|window| window == text.as_bytes()) {
            return Err(format!("{} names the folder {text} of this machine", program.display()));
        }
    }
    Ok(())
}
