//! `ipe besu`: coming from Besu.

mod compose;
mod helm;
mod shell;

use crate::failure::{Failure, Outcome, print};
use clap::{Args, Subcommand};
use ipe_node::config::besu::{
    GivenOption, Note, Translation, read_besu_arguments, read_besu_environment, read_besu_toml, translate,
};
use ipe_node::config::{Given, MAX_SETTINGS_BYTES, read_text, resolve};
use serde_json::Value;
use shell::{Word, besu_in_script};
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
    /// Besu's TOML file; or a docker-compose file, values of the Helm chart besu-node, a script or a service unit that runs
    /// besu, or a file of variables. With --compose: the TOML file that the service names.
    file: Option<PathBuf>,
    /// A docker-compose file: environment, entrypoint, command and image tag of a Besu service.
    #[arg(long, value_name = "FILE")]
    compose: Option<PathBuf>,
    /// Which service of the compose file, when several are Besu's.
    #[arg(long, value_name = "NAME")]
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

/// What was found in the files, weakest first, as Besu has it: TOML file, variables, arguments.
#[derive(Default)]
struct Found {
    source: String,
    given: Vec<GivenOption>,
    unknown: Vec<String>,
    release: Option<(u32, String)>,
    remarks: Vec<String>,
}

impl Found {
    fn toml(&mut self, path: &Path) -> Result<(), Failure> {
        let text = read_file(path)?;
        let options = read_besu_toml(path, &text).map_err(|error| match text.contains("{{") || text.contains("{%") {
            true => Failure::Usage(format!("{error}; the file is a template: fill in what stands in its braces first")),
            false => error.into(),
        })?;
        self.given.extend(options);
        Ok(())
    }

    fn variables(&mut self, variables: &BTreeMap<String, String>) {
        let (options, rest) = read_besu_environment(variables.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        self.given.extend(options.into_iter().filter(|option| option.key != CONFIG_FILE));
        self.unknown.extend(rest);
    }

    /// Arguments of which each part is known; the others are left out and named.
    fn arguments(&mut self, words: Vec<Word>, wrong: impl Fn(String) -> Failure) -> Result<(), Failure> {
        let (known, open): (Vec<Word>, Vec<Word>) = words.into_iter().partition(|word| word.open.is_empty());
        for word in open {
            let key = word.text.split('=').next().unwrap_or_default().to_owned();
            self.remarks.push(format!(
                "{key} is left out: the shell works out {} when it starts Besu; write the value in yourself",
                word.open.join(" ")
            ));
        }
        let known: Vec<String> = known.into_iter().map(|word| word.text).collect();
        let options = read_besu_arguments(&known).map_err(wrong)?;
        self.given.extend(options.into_iter().filter(|option| option.key != CONFIG_FILE));
        Ok(())
    }
}

const CONFIG_FILE: &str = "config-file";

/// What kind of file it is, by its name and, of YAML, by what is in it.
enum Kind {
    Toml,
    Compose,
    Helm(Value),
    Script,
    Unit,
    Variables,
}

fn kind_of(path: &Path) -> Result<Kind, Failure> {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default().to_lowercase();
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    Ok(match extension.as_str() {
        "yml" | "yaml" => {
            let text = read_file(path)?;
            let wrong = |what: String| Failure::Usage(format!("{}: {what}", path.display()));
            let value: Value = match serde_saphyr::from_str(&text) {
                Ok(value) => value,
                Err(_) if text.contains("services:") => return Ok(Kind::Compose),
                Err(error) => {
                    let several = if text.contains("\n---") { "; of a file of several documents give one" } else { "" };
                    return Err(wrong(format!("not YAML: {error}{several}")));
                }
            };
            match value {
                value if helm::is_values(&value) => Kind::Helm(value),
                value if value.get("services").is_some() => Kind::Compose,
                value if value.get("kind").is_some() => {
                    return Err(wrong(
                        "a manifest of Kubernetes is not read; give the config.toml of its ConfigMap as FILE, and its container's \
                         arguments and variables by --env"
                            .to_owned(),
                    ));
                }
                _ => return Err(wrong("neither services of docker-compose nor node.besu of the Helm chart are in it".to_owned())),
            }
        }
        "sh" | "bash" => Kind::Script,
        "service" => Kind::Unit,
        "env" => Kind::Variables,
        _ if name.starts_with(".env") => Kind::Variables,
        _ => Kind::Toml,
    })
}

/// A regular file of bounded size: a pipe or a device would never end.
fn read_file(path: &Path) -> Result<String, Failure> {
    if std::fs::metadata(path).is_ok_and(|data| !data.is_file()) {
        return Err(Failure::Usage(format!("{} is no file", path.display())));
    }
    Ok(read_text(path, MAX_SETTINGS_BYTES)?)
}

fn find(arguments: &TranslateArgs) -> Result<Found, Failure> {
    let mut variables = match &arguments.env {
        Some(path) => variables_of(path)?,
        None => BTreeMap::new(),
    };
    let mut found = Found::default();
    let file = arguments.file.as_ref().map(|path| Ok::<_, Failure>((path, kind_of(path)?))).transpose()?;
    let (compose, file) = match (&arguments.compose, file) {
        (Some(compose), None) => (Some(compose), None),
        (Some(compose), Some((path, Kind::Toml))) => (Some(compose), Some((path, Kind::Toml))),
        (Some(_), Some((path, _))) => {
            return Err(Failure::Usage(format!("{}: beside --compose expected Besu's TOML file", path.display())));
        }
        (None, Some((path, Kind::Compose))) => (Some(path), None),
        (None, file) => (None, file),
    };
    if arguments.service.is_some() && compose.is_none() {
        return Err(Failure::Usage("--service chooses among those of a docker-compose file; give one".to_owned()));
    }
    if let Some(path) = compose {
        read_compose(
            &mut found,
            path,
            file.map(|(path, _)| path),
            arguments.service.as_deref(),
            &mut variables,
            arguments.env.is_none(),
        )?;
        return Ok(found);
    }
    let Some((path, kind)) = file else {
        let Some(path) = &arguments.env else {
            return Err(Failure::Usage("give Besu's TOML file, --compose FILE or --env FILE".to_owned()));
        };
        found.source = path.display().to_string();
        found.variables(&variables);
        return Ok(found);
    };
    found.source = path.display().to_string();
    let wrong = |problem: String| Failure::Usage(format!("{}: {problem}", path.display()));
    match kind {
        Kind::Toml => {
            found.toml(path)?;
            found.variables(&variables);
        }
        Kind::Variables => {
            found.variables(&variables_of(path)?);
            found.variables(&variables);
        }
        Kind::Helm(values) => {
            let chart = helm::read(&values).map_err(wrong)?;
            found.given.extend(chart.given);
            found.remarks.extend(chart.remarks);
            found.release = chart.tag.and_then(|tag| Some((tag.split('.').next()?.parse().ok()?, format!("image tag {tag}"))));
        }
        Kind::Script | Kind::Unit => {
            let text = read_file(path)?;
            let words = match kind {
                Kind::Unit => unit(&text, &mut variables).and_then(|line| besu_in_script(&line, &variables)),
                _ => besu_in_script(&text, &variables),
            };
            let words = words.map_err(wrong)?;
            if let Some(config) = config_file(&words, &variables) {
                let beside = path.parent().unwrap_or(Path::new("")).join(&config);
                match beside.is_file() {
                    true => found.toml(&beside)?,
                    false => {
                        return Err(wrong(format!(
                            "it reads {config}, which is not at {}; give that file as FILE",
                            beside.display()
                        )));
                    }
                }
            }
            found.variables(&variables);
            found.arguments(words, wrong)?;
        }
        Kind::Compose => {}
    }
    Ok(found)
}

fn read_compose(
    found: &mut Found,
    path: &Path,
    toml: Option<&PathBuf>,
    service: Option<&str>,
    variables: &mut BTreeMap<String, String>,
    no_env: bool,
) -> Result<(), Failure> {
    let text = read_file(path)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    // docker compose reads it unasked.
    let beside = folder.join(".env");
    if no_env && beside.is_file() {
        variables.extend(variables_of(&beside)?);
        found.remarks.push(format!("variables are from {}", beside.display()));
    }
    let wrong = |problem: String| Failure::Usage(format!("{}: {problem}", path.display()));
    let service = compose::read(&text, folder, service, variables).map_err(wrong)?;
    found.source = format!("service {} of {}", service.name, path.display());
    match (toml, config_file(&service.arguments, &service.environment)) {
        (Some(toml), _) => found.toml(toml)?,
        (None, None) => {}
        (None, Some(inside)) => match service.outside(&inside).map(|outside| folder.join(outside)) {
            Some(outside) if outside.is_file() => {
                found.toml(&outside)?;
                found.remarks.push(format!("{inside} is {}", outside.display()));
            }
            Some(outside) => {
                return Err(wrong(format!(
                    "service {} reads {inside}, which is not at {}; give the file as FILE beside --compose",
                    service.name,
                    outside.display()
                )));
            }
            None => {
                return Err(wrong(format!(
                    "service {} reads {inside}, which no mount brings into the container; give the file as FILE beside --compose",
                    service.name
                )));
            }
        },
    }
    found.variables(&service.environment);
    found.release = service.release;
    found.remarks.extend(service.remarks);
    found.arguments(service.arguments, wrong)
}

/// The TOML file that arguments or, weaker, the environment name.
fn config_file(words: &[Word], variables: &BTreeMap<String, String>) -> Option<String> {
    let mut words = words.iter();
    let mut named = None;
    while let Some(word) = words.next() {
        match word.text.strip_prefix("--config-file") {
            Some("") => named = words.next().map(|next| next.text.clone()),
            Some(value) if value.starts_with('=') => named = Some(value[1..].trim_matches(['"', '\'']).to_owned()),
            _ => {}
        }
    }
    named.or_else(|| variables.get("BESU_CONFIG_FILE").cloned())
}

/// The command of a systemd unit; its variables are added.
fn unit(text: &str, variables: &mut BTreeMap<String, String>) -> Result<String, String> {
    let text = text.replace("\\\r\n", " ").replace("\\\n", " ");
    let mut command = None;
    for line in text.lines() {
        match line.trim().split_once('=') {
            Some(("ExecStart", line)) if !line.is_empty() => {
                command = Some(line.trim_start_matches(['-', '@', '+', '!', ':']).to_owned())
            }
            Some(("Environment", pairs)) => {
                for pair in shell::words(pairs)? {
                    if let Some((name, value)) = pair.split_once('=') {
                        variables.insert(name.to_owned(), value.to_owned());
                    }
                }
            }
            _ => {}
        }
    }
    command.ok_or_else(|| "no ExecStart is in it".to_owned())
}

fn run_translate(arguments: &TranslateArgs) -> Outcome {
    let found = find(arguments)?;
    let mut release = found.release;
    let mut told = translate(&found.given).map_err(Failure::Usage)?;
    if let Some(version) = &arguments.release {
        let major = version.split('.').next().and_then(|major| major.parse().ok());
        let major =
            major.ok_or_else(|| Failure::Usage(format!("--release: got {version:?}, expected a version such as 25.5.0")))?;
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
    point_out_relative_paths(&mut told);
    told.remarks.extend(found.remarks);
    told.remarks.extend(
        found.unknown.iter().map(|name| format!("{name} is no option of Besu that is known here; Besu ignores such variables")),
    );
    if told.get("genesis").is_none()
        && !told.refused.iter().any(|note| note.spelled.ends_with("network") || note.spelled.ends_with("NETWORK"))
    {
        told.refused.push(Note {
            spelled: "genesis-file".to_owned(),
            value: "(not said)".to_owned(),
            why: "without it Besu joins the public main network; name the network's genesis file in genesis".to_owned(),
        });
    }
    let text = told.to_toml(&found.source);
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
    let lines: Vec<String> = told.refused.iter().map(|note| format!("  {} = {}: {}", note.spelled, note.value, note.why)).collect();
    Err(Failure::Failed(format!("not supported and left out:\n{}", lines.join("\n"))))
}

/// Besu resolves relative paths from the folder in which it is started; a key that is in the data folder only is found
/// there.
fn point_out_relative_paths(told: &mut Translation) {
    let relative: Vec<String> = PATHS
        .iter()
        .filter_map(|key| Some((*key, told.get(key)?)))
        .filter(|(_, path)| Path::new(path).is_relative())
        .map(|(key, path)| format!("{key} = {path}"))
        .collect();
    if !relative.is_empty() {
        told.remarks.push(format!(
            "relative here are {}: Besu resolves such paths from the folder in which it is started, ipe from the folder of this file",
            relative.join(", ")
        ));
    }
}

const PATHS: [&str; 5] = ["genesis", "key-file", "data-dir", "static-nodes-file", "permissions-nodes-config-file"];

/// `KEY=VALUE` lines; `#` begins a comment line, quotes around a value are taken off.
fn variables_of(path: &Path) -> Result<BTreeMap<String, String>, Failure> {
    let text = read_file(path)?;
    let mut out = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        let line = line.strip_prefix("export ").unwrap_or(line);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = line
            .split_once('=')
            .ok_or_else(|| Failure::Usage(format!("{} line {}: got {line:?}, expected KEY=VALUE", path.display(), index + 1)))?;
        let value = value.trim();
        let bare = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote)).unwrap_or(value);
        out.insert(name.trim().to_owned(), bare.to_owned());
    }
    Ok(out)
}
