//! Besu's configuration, said in our settings.
//!
//! [`BESU_OPTIONS`] is the one definition of what becomes of each of Besu's options; `ipe node run --besu-config`,
//! `ipe besu translate` and `docs/besu-options.md` are read from it. Where Besu's default differs from ours and matters,
//! the translation writes Besu's ([`translate`]).

mod table;

pub use table::BESU_OPTIONS;

use super::resolve::{close_keys, scalar};
use super::{ConfigError, MAX_SETTINGS_BYTES, OPTIONS, split};
use ipe_api::Groups;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

/// Makes the texts of our setting out of Besu's; `Err` says what was expected.
type Convert = fn(&[String]) -> Result<Vec<String>, String>;

/// What becomes of an option.
#[derive(Clone, Copy)]
pub enum Fate {
    /// Our setting of the same name means the same.
    Same,
    /// Our setting of this name means the same.
    Renamed(&'static str),
    /// Our setting of this name, with the value changed as the second text says.
    Converted(&'static str, &'static str, Convert),
    /// It has no effect here, and why that is right.
    Ignored(&'static str),
    /// With one of these values (any letter case, several joined by commas) it has no effect here; any other is refused,
    /// because it would change what the node does, and this is why.
    Only(&'static [&'static str], &'static str),
    /// It sets several things; handled by [`translate`] as the text says.
    Special(&'static str),
}

/// One option of Besu.
#[derive(Clone, Copy)]
pub struct BesuOption {
    /// As in its TOML file; the environment variable is `BESU_` and the key in upper snake case.
    pub key: &'static str,
    /// What becomes of it.
    pub fate: Fate,
}

impl BesuOption {
    fn variable(&self) -> String {
        format!("BESU_{}", self.key.replace('-', "_").to_uppercase())
    }
}

/// One option that was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenOption {
    /// Key as in Besu's TOML file.
    pub key: String,
    /// The value; a list's items.
    pub values: Vec<String>,
    /// Where it stood, for messages: `BESU_P2P_PORT`, `--p2p-port`, `p2p-port`.
    pub spelled: String,
}

/// What Besu's own sources say of an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BesuRelease {
    /// As in its TOML file.
    pub key: &'static str,
    /// `switch`, `number`, `text`, `path` or `list`.
    pub kind: &'static str,
    /// First release that has it; 22.1.0 = that one or an earlier one.
    pub first: &'static str,
    /// Last release that has it, `-` when the newest has.
    pub last: &'static str,
}

/// Every option of Besu's node from 22.1 to 26.8.
pub fn besu_releases() -> impl Iterator<Item = BesuRelease> {
    include_str!("besu/releases.txt").lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let mut parts = line.split(' ');
        Some(BesuRelease { key: parts.next()?, kind: parts.next()?, first: parts.next()?, last: parts.next()? })
    })
}

/// Something that is not passed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// As the operator wrote it.
    pub spelled: String,
    /// Its value.
    pub value: String,
    /// Why.
    pub why: String,
}

/// Our settings and what could not be said in them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Translation {
    /// Key of ours, texts, and where it comes from (for comments and messages).
    pub settings: Vec<(&'static str, Vec<String>, String)>,
    /// Has no effect here.
    pub ignored: Vec<Note>,
    /// Would change what the node does and is not supported: a node must not run as if it had been said.
    pub refused: Vec<Note>,
    /// What the operator has to look at.
    pub remarks: Vec<String>,
}

impl Translation {
    /// The value of one of our settings, when it is a single one.
    pub fn get(&self, key: &str) -> Option<&str> {
        let (_, values, _) = self.settings.iter().rev().find(|(known, _, _)| *known == key)?;
        values.first().map(String::as_str)
    }

    fn set(&mut self, key: &'static str, values: Vec<String>, from: impl Into<String>) {
        self.settings.retain(|(known, _, _)| *known != key);
        self.settings.push((key, values, from.into()));
    }

    fn unless_set(&mut self, key: &'static str, value: &str, why: &str) {
        if self.get(key).is_none() {
            self.set(key, vec![value.to_owned()], why);
        }
    }
}

/// The options in the text of Besu's TOML file; a key that Besu does not have is an error there too.
///
/// # Errors
/// Not TOML, or an unknown key. `path` is for the message.
pub fn read_besu_toml(path: &Path, text: &str) -> Result<Vec<GivenOption>, ConfigError> {
    debug_assert!(text.len() as u64 <= MAX_SETTINGS_BYTES);
    let wrong = |message: String| ConfigError::Content { path: path.to_owned(), message };
    let table: toml::Table =
        text.parse().map_err(|error: toml::de::Error| wrong(format!("not TOML: {}", error.to_string().trim_end())))?;
    let mut out = Vec::new();
    for (key, value) in table {
        if find(&key).is_none() {
            let names = BESU_OPTIONS.iter().map(|option| option.key);
            return Err(ConfigError::Unknown {
                path: path.to_owned(),
                hint: close_keys(&key, names, "Besu has no such option"),
                key,
            });
        }
        let values = match &value {
            toml::Value::Array(items) => items.iter().map(scalar).collect::<Option<Vec<String>>>(),
            other => scalar(other).map(|text| vec![text]),
        };
        let values = values.ok_or_else(|| wrong(format!("{key}: got {value}, expected a value or an array of values")))?;
        out.push(GivenOption { spelled: key.clone(), key, values });
    }
    Ok(out)
}

/// The options among environment variables (`BESU_…`). Variables that name no option come back as the second part, as Besu
/// ignores them.
pub fn read_besu_environment<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> (Vec<GivenOption>, Vec<String>) {
    let (mut given, mut unknown) = (Vec::new(), Vec::new());
    for (name, text) in variables {
        let Some(rest) = name.strip_prefix("BESU_") else { continue };
        let key = match BESU_OPTIONS.iter().find(|option| option.variable() == name) {
            Some(option) => option.key.to_owned(),
            None if rest.starts_with('X') => rest.to_lowercase().replace('_', "-").replacen('x', "X", 1),
            None => {
                unknown.push(name.to_owned());
                continue;
            }
        };
        given.push(GivenOption { key, values: cut(text), spelled: name.to_owned() });
    }
    (given, unknown)
}

/// The options among arguments of Besu's command line (`--key=value`, `--key value`, `--switch`).
///
/// # Errors
/// An argument that is none of Besu's options.
pub fn read_besu_arguments(arguments: &[String]) -> Result<Vec<GivenOption>, String> {
    let mut given = Vec::new();
    let mut rest = arguments.iter().peekable();
    while let Some(argument) = rest.next() {
        let Some(option) = argument.strip_prefix("--") else {
            return Err(format!("the argument {argument:?} is no option of Besu"));
        };
        let (key, value) = match option.split_once('=') {
            Some((key, value)) => (key, value.to_owned()),
            None => {
                let switch = besu_releases().any(|release| release.key == option && release.kind == "switch");
                let is_value = |next: &&String| match switch {
                    true => ["true", "false"].contains(&next.to_lowercase().as_str()),
                    false => !next.starts_with("--"),
                };
                match rest.next_if(is_value) {
                    Some(value) => (option, value.clone()),
                    None => (option, "true".to_owned()),
                }
            }
        };
        let value = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote)).unwrap_or(&value);
        if find(key).is_none() {
            return Err(format!("the argument --{key} is no option of Besu that is known here"));
        }
        given.push(GivenOption { key: key.to_owned(), values: cut(value), spelled: format!("--{key}") });
    }
    Ok(given)
}

fn cut(text: &str) -> Vec<String> {
    text.split(',').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

/// The option; hidden ones that are not listed share a fate.
fn find(key: &str) -> Option<BesuOption> {
    const HIDDEN: BesuOption = BesuOption { key: "X…", fate: Fate::Ignored("a hidden option that tunes Besu's own parts") };
    BESU_OPTIONS.iter().find(|option| option.key == key).copied().or(key.starts_with('X').then_some(HIDDEN))
}

/// Says Besu's options in our settings. Later entries of `given` win over earlier ones of the same key. Relative paths stay
/// relative.
///
/// # Errors
/// A value that Besu would not take either.
pub fn translate(given: &[GivenOption]) -> Result<Translation, String> {
    let mut latest: BTreeMap<&str, &GivenOption> = BTreeMap::new();
    for option in given {
        let key = table::ALIASES.iter().find(|(alias, _)| *alias == option.key).map_or(option.key.as_str(), |(_, key)| key);
        latest.insert(key, option);
    }
    let mut out = Translation::default();
    if let Some(profile) = latest.get("profile") {
        self::profile(&mut out, profile);
    }
    for (key, option) in &latest {
        let Some(known) = find(key) else { continue };
        if let Some(why) = without_effect(key, option, &latest) {
            out.ignored.push(Note { spelled: option.spelled.clone(), value: option.values.join(","), why });
            continue;
        }
        let note = |why: &str| Note { spelled: option.spelled.clone(), value: option.values.join(","), why: why.to_owned() };
        let from = option.spelled.clone();
        match known.fate {
            Fate::Same => out.set(known.key, option.values.clone(), from),
            Fate::Renamed(ours) => out.set(ours, option.values.clone(), from),
            Fate::Converted(ours, _, convert) => {
                let values = convert(&option.values)
                    .map_err(|expected| format!("{from}: got {:?}, expected {expected}", option.values.join(",")))?;
                out.set(ours, values, from);
            }
            Fate::Ignored(why) => out.ignored.push(note(why)),
            Fate::Only(values, why) => {
                let text = option.values.join(",").to_lowercase();
                if !values.contains(&text.as_str()) {
                    out.refused.push(note(why));
                }
            }
            Fate::Special(_) => match known.key {
                "rpc-http-api" | "rpc-ws-api" => {
                    let (served, others): (Vec<String>, Vec<String>) =
                        option.values.iter().cloned().partition(|name| Groups::parse([name.as_str()]).is_ok());
                    out.set(known.key, served, from);
                    out.ignored.extend(others.into_iter().map(|name| Note {
                        spelled: option.spelled.clone(),
                        why: format!("methods of {name} are not served here; the other groups are kept"),
                        value: name,
                    }));
                }
                "p2p-discovery-port" => out.refused.push(note("discovery uses the number of p2p-port")),
                _ => {}
            },
        }
    }
    besu_defaults(&mut out, latest.get("data-path").map(|option| (option.values.join(","), option.spelled.as_str())));
    Ok(out)
}

/// Why a value that would be refused or that has no counterpart changes nothing.
fn without_effect(key: &str, option: &GivenOption, latest: &BTreeMap<&str, &GivenOption>) -> Option<String> {
    let value = option.values.join(",");
    let why = match key {
        "tx-pool-retention-hours" if value == "0" => "0 would drop every transaction; 13 hours hold, Besu's default",
        "p2p-discovery-port" => {
            let port = latest.get("p2p-port").map_or("30303".to_owned(), |port| port.values.join(","));
            if value != port && !value.is_empty() {
                return None;
            }
            "discovery uses the number of p2p-port anyway"
        }
        "p2p-host" if value == "0.0.0.0" => "it is no address that others dial; name this node's own",
        _ => return None,
    };
    Some(why.to_owned())
}

fn profile(out: &mut Translation, given: &GivenOption) {
    match given.values.join(",").to_lowercase().as_str() {
        "none" => {}
        "enterprise" | "private" => {
            let from = format!("{} = {}", given.spelled, given.values.join(","));
            out.set("min-gas-price", vec!["0".to_owned()], from.clone());
            out.set("rpc-http-max-active-connections", vec!["300".to_owned()], from);
        }
        other => out.refused.push(Note {
            spelled: given.spelled.clone(),
            value: other.to_owned(),
            why: "its settings are for public networks; write out those that you mean".to_owned(),
        }),
    }
}

/// What Besu does when nothing is said, where ours is another default.
fn besu_defaults(out: &mut Translation, data_path: Option<(String, &str)>) {
    const DEFAULT: &str = "Besu's default";
    let (folder, from) = data_path.unwrap_or_else(|| (".".to_owned(), "Besu's data folder"));
    // Besu's database stays where it is: ours has a folder of its own beside it.
    let inside = |name: &str| Path::new(&folder).join(name).display().to_string();
    out.set("data-dir", vec![inside("ipe")], from);
    out.unless_set("key-file", &inside("key"), DEFAULT);
    out.unless_set("rpc-http-enabled", "false", DEFAULT);
    out.unless_set("discovery-enabled", "true", DEFAULT);
    out.unless_set("min-gas-price", "1000", DEFAULT);
    out.unless_set("tx-pool-max-size", "4096", DEFAULT);
    out.unless_set("tx-pool-enable-save-restore", "false", DEFAULT);
    for key in ["permissions-nodes-config-file", "permissions-accounts-config-file"] {
        let enabled = if key.contains("nodes") {
            "permissions-nodes-config-file-enabled"
        } else {
            "permissions-accounts-config-file-enabled"
        };
        if out.get(enabled) == Some("true") {
            out.unless_set(key, &inside("permissions_config.toml"), DEFAULT);
        }
    }
    // There the option bounds the questions to the rules, too, and with them what is valid.
    if out.get("permissions-accounts-contract-enabled") == Some("true")
        && let Some(cap) = out.get("rpc-gas-cap").map(str::to_owned)
    {
        let (gas, from) = if cap == "0" { (u64::MAX.to_string(), "rpc-gas-cap = 0, no bound") } else { (cap, "rpc-gas-cap") };
        out.unless_set("permissions-contract-gas", &gas, from);
    }
    // Every Besu node connects to every other and validates when the chain says so.
    out.unless_set("topology", "mesh", "Besu's only shape");
    out.unless_set("role", "validator", "a Besu node validates whenever the chain names it; otherwise it follows");
    if out.get("dialect").is_none() {
        out.remarks.push(
            "Besu's configuration does not say its version: consensus messages are emitted in the form that every Besu but \
             26.1 to 26.5 reads; with those in the network set dialect = \"besu26\", with GoQuorum \"goquorum\""
                .to_owned(),
        );
    }
}

impl Translation {
    /// Static nodes that Besu would find by itself: the file beside its key, unless another is named. The caller says
    /// whether it is there, which this module does not look up.
    pub fn static_nodes_beside_the_key(&self) -> Option<String> {
        if self.get("static-nodes-file").is_some() {
            return None;
        }
        let folder = Path::new(self.get("data-dir")?).parent()?;
        Some(folder.join("static-nodes.json").display().to_string())
    }

    /// Sets the file of static nodes that was found.
    pub fn with_static_nodes(&mut self, file: String) {
        self.set("static-nodes-file", vec![file], "Besu's default");
    }

    /// Sets the release of Besu that is known from elsewhere (the tag of an image): which messages are emitted and whose
    /// answers JSON-RPC gives.
    pub fn with_release(&mut self, major: u32, from: &str) {
        let (dialect, release) = if major < 26 { ("legacy", "besu25") } else { ("besu26", "besu26") };
        if self.get("dialect").is_none() {
            self.set("dialect", vec![dialect.to_owned()], from);
        }
        self.set("rpc-release", vec![release.to_owned()], from);
        self.remarks.retain(|remark| !remark.contains("does not say its version"));
    }

    /// Our TOML file, with a comment for everything that was dropped. It is read again by [`super::resolve()`].
    pub fn to_toml(&self, source: &str) -> String {
        let comment = |text: &str| text.replace(['\n', '\r'], " ");
        let mut out = format!("# Made from {} by ipe besu translate.\n", comment(source));
        for remark in &self.remarks {
            let _ = writeln!(out, "# {}", comment(remark));
        }
        for note in &self.refused {
            let _ = writeln!(out, "# NOT SUPPORTED: {} = {}: {}", comment(&note.spelled), comment(&note.value), comment(&note.why));
        }
        out.push('\n');
        let order = |key: &str| OPTIONS.iter().position(|spec| spec.key == key);
        let mut settings: Vec<_> = self.settings.iter().collect();
        settings.sort_by_key(|(key, _, _)| order(key));
        for (key, values, from) in settings {
            let spec = OPTIONS.iter().find(|spec| spec.key == *key);
            let value = match (spec.map(|spec| spec.kind), values.as_slice()) {
                (Some(super::OptionKind::List), _) => toml::Value::from(values.clone()),
                (_, [one]) => toml::Value::from(one.as_str()),
                _ => toml::Value::from(values.join(",")),
            };
            let _ = writeln!(out, "{key} = {value} # {}", comment(from));
        }
        if !self.ignored.is_empty() {
            out.push_str("\n# Without effect here:\n");
            for note in &self.ignored {
                let _ = writeln!(out, "# {} = {}: {}", comment(&note.spelled), comment(&note.value), comment(&note.why));
            }
        }
        out
    }

    /// The texts of a setting as [`super::resolve()`] takes them.
    pub(super) fn texts(&self) -> impl Iterator<Item = (&'static str, Vec<String>, String)> + '_ {
        self.settings.iter().map(|(key, values, from)| {
            let values = match OPTIONS.iter().find(|spec| spec.key == *key) {
                Some(spec) if spec.kind == super::OptionKind::List => values.iter().flat_map(|value| split(spec, value)).collect(),
                _ => vec![values.join(",")],
            };
            (*key, values, from.clone())
        })
    }
}

/// The table as Markdown, the content of `docs/besu-options.md`.
pub fn markdown() -> String {
    let mut out = String::from(
        "# Besu's options\n\nGenerated from `crates/node/src/config/besu/table.rs` and `releases.txt` beside it; a test keeps both \
         equal. `ipe node run --besu-config FILE` and `ipe besu translate` read Besu's TOML file, its environment variables \
         (`BESU_` and the key in upper snake case) and its arguments as this table says. What is refused ends the start with its \
         name; what is ignored is named in the log. Hidden options (`X…`) that are not listed are ignored with a warning.\n\n\
         The list is that of Besu's own sources, by the first and the last patch of every minor release from 22.1 to 26.2 and \
         by 26.8.0. *Since* 22.1.0 means that release or an earlier one; *until* is the last release that has the option, empty \
         when the newest has.\n\n| Option of Besu | Kind | Since | Until | Here |\n|---|---|---|---|---|\n",
    );
    for option in BESU_OPTIONS {
        let text = match option.fate {
            Fate::Same => "the same".to_owned(),
            Fate::Renamed(ours) => format!("`{ours}`"),
            Fate::Converted(ours, how, _) => format!("`{ours}`: {how}"),
            Fate::Ignored(why) => format!("ignored: {why}"),
            Fate::Only(values, why) => format!("refused unless {}: {why}", values.join(" or ")),
            Fate::Special(how) => how.to_owned(),
        };
        let release = besu_releases().find(|release| release.key == option.key);
        let (kind, first, last) = release.map_or(("", "", ""), |release| (release.kind, release.first, release.last));
        let last = if last == "-" { "" } else { last };
        let _ = writeln!(out, "| `{}` | {kind} | {first} | {last} | {} |", option.key, text.replace('|', "\\|"));
    }
    out
}

#[cfg(test)]
mod tests;
