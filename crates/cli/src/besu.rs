//! `ipe besu`: coming from Besu.

mod compose;

use crate::failure::{Failure, Outcome, print};
use clap::{Args, Subcommand};
use ipe_node::config::besu::{GivenOption, read_besu_arguments, read_besu_environment, read_besu_toml, translate};
use ipe_node::config::{Given, MAX_SETTINGS_BYTES, read_text, resolve};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

#[derive(Subcommand)]
pub enum BesuCommand {
    /// Write this node's settings from Besu's: from its TOML file, from variables, or from a service of a compose file.
    /// What has no effect here stands there as a comment; what is not supported is named, and the exit code is 1.
    Translate(TranslateArgs),
}

#[derive(Args)]
pub struct TranslateArgs {
    /// Besu's TOML file.
    file: Option<PathBuf>,
    /// A docker-compose file: environment, command and image tag of a Besu service.
    #[arg(long, value_name = "FILE", conflicts_with = "file")]
    compose: Option<PathBuf>,
    /// Which service of the compose file, when several are Besu's.
    #[arg(long, value_name = "NAME", requires = "compose")]
    service: Option<String>,
    /// Besu's version, such as 25.5.0; when absent, what the tag of an image says.
    #[arg(long, value_name = "VERSION")]
    release: Option<String>,
    /// File of KEY=VALUE lines: Besu's variables (BESU_…), and what a compose file refers to.
    #[arg(long, value_name = "FILE")]
    env: Option<PathBuf>,
    /// Where to write; standard output when absent. Never overwrites.
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub fn run(command: BesuCommand) -> Outcome {
    match command {
        BesuCommand::Translate(arguments) => run_translate(&arguments),
    }
}

fn run_translate(arguments: &TranslateArgs) -> Outcome {
    let variables = match &arguments.env {
        Some(path) => variables_of(path)?,
        None => BTreeMap::new(),
    };
    let mut given: Vec<GivenOption> = Vec::new();
    let (mut unknown, mut release, mut remarks) = (Vec::new(), None, Vec::new());
    let source = if let Some(path) = &arguments.compose {
        let text = read_text(path, MAX_SETTINGS_BYTES)?;
        let wrong = |problem: String| Failure::Usage(format!("{}: {problem}", path.display()));
        let service = compose::read(&text, arguments.service.as_deref(), &variables).map_err(wrong)?;
        let pairs = service.environment.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let (options, rest) = read_besu_environment(pairs);
        given.extend(options);
        unknown.extend(rest);
        given.extend(read_besu_arguments(&service.command).map_err(wrong)?);
        release = service.release;
        remarks = service.remarks;
        format!("service {} of {}", service.name, path.display())
    } else if let Some(path) = &arguments.file {
        given.extend(read_besu_toml(path, &read_text(path, MAX_SETTINGS_BYTES)?)?);
        path.display().to_string()
    } else if let Some(path) = &arguments.env {
        path.display().to_string()
    } else {
        return Err(Failure::Usage("give Besu's TOML file, --compose FILE or --env FILE".to_owned()));
    };
    if arguments.compose.is_none() {
        let (options, rest) = read_besu_environment(variables.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        given.extend(options);
        unknown.extend(rest);
    }
    let mut told = translate(&given).map_err(Failure::Usage)?;
    if let Some(version) = &arguments.release {
        let major = version.split('.').next().and_then(|major| major.parse().ok());
        let major = major.ok_or_else(|| Failure::Usage(format!("--release: got {version:?}, expected a version such as 25.5.0")))?;
        release = Some((major, format!("Besu {version}")));
    }
    if let Some((major, image)) = release {
        told.with_release(major, &image);
    }
    match told.static_nodes_beside_the_key() {
        Some(file) if Path::new(&file).exists() => told.with_static_nodes(file),
        Some(file) => told.remarks.push(format!("when {file} exists, name it in static-nodes-file: Besu reads it unasked")),
        None => {}
    }
    told.remarks.extend(remarks);
    told.remarks.extend(unknown.iter().map(|name| format!("{name} is no option of Besu that is known here; Besu ignores such variables")));
    let text = told.to_toml(&source);
    // What is written is read again by the same reader that a node uses, before anybody relies on it.
    let config = resolve(&Given { file: Some((PathBuf::from("translation"), text.clone())), ..Given::default() })?;
    debug_assert!(config.warnings.is_empty());
    match &arguments.out {
        None => print(&text)?,
        Some(path) => {
            let failed = |error| Failure::failed(format!("could not write {}", path.display()), error);
            let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(path).map_err(failed)?;
            std::io::Write::write_all(&mut file, text.as_bytes()).map_err(failed)?;
        }
    }
    if told.refused.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> =
        told.refused.iter().map(|note| format!("  {} = {}: {}", note.spelled, note.value, note.why)).collect();
    Err(Failure::Failed(format!("not supported and left out:\n{}", lines.join("\n"))))
}

/// `KEY=VALUE` lines; `#` begins a comment line, quotes around a value are taken off.
fn variables_of(path: &Path) -> Result<BTreeMap<String, String>, Failure> {
    let text = read_text(path, MAX_SETTINGS_BYTES)?;
    let mut out = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        let line = line.strip_prefix("export ").unwrap_or(line);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = line.split_once('=').ok_or_else(|| {
            Failure::Usage(format!("{} line {}: got {line:?}, expected KEY=VALUE", path.display(), index + 1))
        })?;
        let value = value.trim();
        let bare = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote)).unwrap_or(value);
        out.insert(name.trim().to_owned(), bare.to_owned());
    }
    Ok(out)
}
