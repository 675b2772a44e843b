//! Makes what is released of a commit, and tries it: `cargo xtask dist [--check] [--test] [--key FILE] [--target TRIPLE]`.
//!
//! The sources are those of the commit, exported into a folder of their own; what is not committed is not released. The same
//! commit and the same compiler give the same bytes, in whatever folder.

mod assets;
mod binary;
mod files;
mod image;
mod packages;
mod sbom;
mod sums;
mod trial;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const USAGE: &str = "cargo xtask dist [options]

  --check          build everything once more in another folder and compare every byte
  --test           install and start every artefact, as far as this machine can (most of it needs root)
  --key FILE       sign SHA256SUMS with this secret key of minisign; MINISIGN_PASSWORD opens it
  --target TRIPLE  for another system than x86_64-unknown-linux-gnu
  --jobs N         processors that the builds use
  --program FILE   take this executable instead of building one, for work on the packages themselves; excludes --check

The artefacts are in target/dist/VERSION, or where CARGO_TARGET_DIR is instead of target.";

/// What is released, and where it is made.
#[derive(Clone, Debug)]
pub struct Release {
    /// Number in Cargo.toml, as `0.1.0`.
    pub version: String,
    /// 40 hexadecimal digits.
    pub commit: String,
    /// Time of the commit, seconds since 1970.
    pub time: u64,
    /// The number, or between releases `0.1.0-git20260102.1a2b3c4d`; in names of files.
    pub label: String,
    /// As the label, in the form that sorts before the release in dpkg and rpm: `0.1.0~git20260102.1a2b3c4d`.
    pub package_version: String,
    /// Target triple.
    pub target: String,
    /// `amd64`, `arm64`; also the name in image indices.
    pub deb_arch: String,
    /// `x86_64`, `aarch64`.
    pub rpm_arch: String,
    /// Name and address in packages.
    pub maintainer: String,
    /// Exported sources.
    pub source: PathBuf,
    /// Where artefacts go.
    pub folder: PathBuf,
}

struct Options {
    check: bool,
    test: bool,
    key: Option<PathBuf>,
    target: String,
    jobs: Option<String>,
    program: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((root, rest)) = arguments.split_first() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let options = match options(rest) {
        Ok(options) => options,
        Err(wrong) => {
            eprintln!("{wrong}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match make(Path::new(root), &options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dist: {error}");
            ExitCode::FAILURE
        }
    }
}

fn options(arguments: &[String]) -> Result<Options, String> {
    let mut options =
        Options { check: false, test: false, key: None, target: binary::TARGETS[0].0.to_owned(), jobs: None, program: None };
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let mut value = || rest.next().cloned().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--check" => options.check = true,
            "--test" => options.test = true,
            "--key" => options.key = Some(PathBuf::from(value()?)),
            "--target" => options.target = value()?,
            "--jobs" => options.jobs = Some(value()?),
            "--program" => options.program = Some(PathBuf::from(value()?)),
            other => return Err(format!("unknown option {other}")),
        }
    }
    if options.check && options.program.is_some() {
        return Err("--check builds, --program does not".to_owned());
    }
    Ok(options)
}

fn make(root: &Path, options: &Options) -> Result<(), String> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from).join("dist");
    let first = release(root, &target.join("build"), options)?;
    let artefacts = artefacts(&first, options)?;
    if options.check {
        // A path of another length: what would leak into the binary would also move it.
        let second = release(root, &target.join("once-more").join("another-folder"), options)?;
        let again = self::artefacts(&second, options)?;
        let mut differences: Vec<String> = Vec::new();
        for ((name, one), (_, other)) in artefacts.iter().zip(&again) {
            if one != other {
                let at = one.iter().zip(other).position(|(a, b)| a != b).unwrap_or(one.len().min(other.len()));
                differences.push(format!("{name}: {} and {} bytes, the first difference at {at}", one.len(), other.len()));
            }
        }
        if !differences.is_empty() || artefacts.len() != again.len() {
            return Err(format!("not reproducible: {}", differences.join("; ")));
        }
        std::fs::remove_dir_all(target.join("once-more")).map_err(fail("remove", &target))?;
        println!("dist: {} artefacts built twice, in two folders, are equal byte by byte", artefacts.len());
    }
    let folder = target.join(&first.label);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).map_err(fail("make", &folder))?;
    let write = |name: &str, bytes: &[u8]| {
        println!("  {:>11}  {name}", bytes.len());
        let path = folder.join(name);
        std::fs::write(&path, bytes).map_err(fail("write", &path))
    };
    println!("dist: {}", folder.display());
    for (name, bytes) in &artefacts {
        write(name, bytes)?;
    }
    let list = sums::sums(&artefacts);
    write("SHA256SUMS", list.as_bytes())?;
    match &options.key {
        Some(key) => write("SHA256SUMS.minisig", sums::sign(&first, key, &list)?.as_bytes())?,
        None => println!("dist: not signed; --key FILE gives the secret key of minisign"),
    }
    if options.test { trial::run_all(&first, &folder) } else { Ok(()) }
}

/// Looks up the commit and exports its sources into `work/src`.
fn release(root: &Path, work: &Path, options: &Options) -> Result<Release, String> {
    let git = |arguments: &[&str]| -> Result<String, String> {
        let bytes = run(Command::new("git").args(arguments).current_dir(root))?;
        Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
    };
    let commit = git(&["rev-parse", "HEAD"])?;
    let time: u64 = git(&["log", "-1", "--format=%ct"])?.parse().map_err(|_| "git log gives no time of the commit".to_owned())?;
    if !git(&["status", "--porcelain"])?.is_empty() {
        println!("dist: the work tree has changes that are not committed; they are not in what is made of commit {commit}");
    }
    let work = &std::path::absolute(work).map_err(fail("find", work))?;
    let source = work.join("src");
    let _ = std::fs::remove_dir_all(&source);
    std::fs::create_dir_all(&source).map_err(fail("make", &source))?;
    let exported = run(Command::new("git").args(["archive", "--format=tar", "HEAD"]).current_dir(root))?;
    let mut archive = tar::Archive::new(&exported[..]);
    // The files are new to cargo, however old the commit is.
    archive.set_preserve_mtime(false);
    archive.unpack(&source).map_err(fail("unpack the sources into", &source))?;

    let manifest = String::from_utf8_lossy(&files::read(&source.join("Cargo.toml"))?).into_owned();
    let version = manifest
        .lines()
        .skip_while(|line| *line != "[workspace.package]")
        .find_map(|line| line.strip_prefix("version = \"")?.strip_suffix('"'))
        .ok_or("Cargo.toml has no version under [workspace.package]")?
        .to_owned();
    let released = git(&["tag", "--points-at", "HEAD"])?.lines().any(|tag| tag == format!("v{version}"));
    let between = format!("git{}.{}", date(time).get(..10).unwrap_or_default().replace('-', ""), &commit[..8]);
    let arches = binary::TARGETS.iter().find(|(target, ..)| *target == options.target).ok_or_else(|| {
        format!("no packages are known for {}, only for {}", options.target, binary::TARGETS.map(|(target, ..)| target).join(", "))
    })?;
    Ok(Release {
        label: if released { version.clone() } else { format!("{version}-{between}") },
        package_version: if released { version.clone() } else { format!("{version}~{between}") },
        version,
        commit,
        time,
        target: options.target.clone(),
        deb_arch: arches.1.to_owned(),
        rpm_arch: arches.2.to_owned(),
        maintainer: std::env::var("IPE_MAINTAINER").unwrap_or_else(|_| "Ipê <maintainers@localhost>".to_owned()),
        folder: work.to_owned(),
        source,
    })
}

/// Name and bytes of every artefact but the checksums.
fn artefacts(release: &Release, options: &Options) -> Result<Vec<(String, Vec<u8>)>, String> {
    let built = binary::build(release, options.program.as_deref(), options.jobs.as_deref())?;
    let files = files::all(release, &built.program)?;
    let (label, arch) = (&release.label, &release.rpm_arch);
    let parts = sbom::parts(release)?;
    Ok(vec![
        (format!("ipe-{label}-{arch}-linux.tar.gz"), packages::archive(release, &files)?),
        (format!("ipe_{label}_{}.deb", release.deb_arch), packages::deb(release, &files)?),
        (format!("ipe-{label}-1.{arch}.rpm"), packages::rpm(release, &files)?),
        (format!("ipe-{label}-{arch}.oci.tar"), image::image(release, &files)?),
        (format!("ipe-{label}-{arch}.debug.gz"), files::gzip(&files::read(&built.debug)?)?),
        (format!("ipe-{label}.cdx.json"), sbom::cyclonedx(release, &parts)),
        (format!("ipe-{label}.spdx.json"), sbom::spdx(release, &parts)),
        ("RELEASE-NOTES.md".to_owned(), sums::notes(release)?.into_bytes()),
    ])
}

/// Runs a program to its end; its output, or what it complains of.
pub fn run(command: &mut Command) -> Result<Vec<u8>, String> {
    let name = format!("{command:?}");
    let output = command.output().map_err(|error| format!("{name} did not start: {error}"))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(format!(
        "{name} ended with {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    ))
}

/// Words for an error on a path.
pub fn fail(doing: &str, path: &Path) -> impl FnOnce(std::io::Error) -> String {
    let text = format!("could not {doing} {}", path.display());
    move |error| format!("{text}: {error}")
}

/// `2026-01-02T03:04:05Z` of seconds since 1970 (proleptic Gregorian calendar, days counted in eras of 400 years).
pub fn date(time: u64) -> String {
    let (days, second) = (time / 86_400, time % 86_400);
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * month + 2) / 5 + 1;
    let (month, year) = if month < 10 { (month + 3, year + era * 400) } else { (month - 9, year + era * 400 + 1) };
    format!("{year:04}-{month:02}-{of_month:02}T{:02}:{:02}:{:02}Z", second / 3_600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (time, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_700_000_000, "2023-11-14T22:13:20Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(date(time), text);
        }
    }
}
