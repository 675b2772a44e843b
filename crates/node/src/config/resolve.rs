//! Putting flags, environment, file and defaults together.

use super::NodeConfig;
use super::besu::Translation;
use super::options::{OPTIONS, OptionKind, OptionSpec};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// `--key`.
    Flag,
    /// The environment variable of that name.
    Environment(String),
    /// The configuration file at that path.
    File(PathBuf),
    /// Besu's configuration, with the place in it.
    Besu(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Flag => f.write_str("on the command line"),
            Origin::Environment(name) => write!(f, "in the environment variable {name}"),
            Origin::File(path) => write!(f, "in {}", path.display()),
            Origin::Besu(place) => write!(f, "from Besu's configuration ({place})"),
        }
    }
}

/// Why a configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A file that cannot be opened or read.
    #[error("could not read {}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// A file that cannot be made.
    #[error("could not write {}: {reason}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// A file that was read and says something wrong.
    #[error("{}: {message}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Key, got, expected.
        message: String,
    },
    /// A key that no setting has.
    #[error("{}: unknown key {key}; {hint}", path.display())]
    Unknown {
        /// The configuration file.
        path: PathBuf,
        /// As written.
        key: String,
        /// Close keys, or where the list is.
        hint: String,
    },
    /// Settings of Besu that this node does not follow and must not run without.
    #[error("Besu's configuration asks for what is not supported:\n{0}")]
    Unsupported(
        /// A line for each: the option, its value, why.
        String,
    ),
    /// Besu's configuration has a value that Besu would not take either.
    #[error("Besu's configuration: {0}")]
    Besu(
        /// The option, got, expected.
        String,
    ),
    /// A value that a setting cannot take.
    #[error("{key} {origin}: got {got:?}, expected {expected}")]
    Bad {
        /// The setting.
        key: &'static str,
        /// Where it stood.
        origin: Origin,
        /// The given text.
        got: String,
        /// What belongs there.
        expected: String,
    },
    /// A setting that has no default.
    #[error("{key} is not set: expected {expected}; give --{key}, IPE_{} or {key} in the file", key.replace('-', "_").to_uppercase())]
    Needed {
        /// The setting.
        key: &'static str,
        /// What belongs there.
        expected: &'static str,
    },
}

/// Values as the three sources give them.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// Key and texts of the flags that were used.
    pub flags: Vec<(&'static str, Vec<String>)>,
    /// Environment variables; only those that begin with `IPE_` are looked at.
    pub environment: Vec<(String, String)>,
    /// Path and text of the configuration file.
    pub file: Option<(PathBuf, String)>,
    /// Besu's configuration in our settings; weaker than the file.
    pub besu: Option<Translation>,
}

/// Variables that other parts of the program read.
const OTHER_VARIABLES: [&str; 2] = ["IPE_CONFIG", "IPE_RPC_URL"];

/// The configuration that results; later sources win: default, file, environment, flags.
pub fn resolve(given: &Given) -> Result<NodeConfig, ConfigError> {
    let mut config = NodeConfig::default();
    if let Some(besu) = &given.besu {
        read_besu(besu, given, &mut config)?;
    }
    if let Some((path, text)) = &given.file {
        for (spec, values) in read_file(path, text)? {
            let base = path.parent().unwrap_or(Path::new(""));
            set(&mut config, spec, &values, base, Origin::File(path.clone()))?;
        }
    }
    for (name, text) in &given.environment {
        if !name.starts_with("IPE_") || OTHER_VARIABLES.contains(&name.as_str()) {
            continue;
        }
        match OPTIONS.iter().find(|spec| spec.variable() == *name) {
            Some(spec) => {
                let values = split(spec, text);
                set(&mut config, spec, &values, Path::new(""), Origin::Environment(name.clone()))?;
            }
            None => config.warnings.push(format!("the environment variable {name} is no setting and has no effect")),
        }
    }
    for (key, values) in &given.flags {
        if let Some(spec) = OPTIONS.iter().find(|spec| spec.key == *key) {
            let values: Vec<String> = values.iter().flat_map(|text| split(spec, text)).collect();
            set(&mut config, spec, &values, Path::new(""), Origin::Flag)?;
        }
    }
    Ok(config)
}

/// Takes Besu's configuration over; relative paths start from the working directory, as in Besu.
fn read_besu(besu: &Translation, given: &Given, config: &mut NodeConfig) -> Result<(), ConfigError> {
    if !besu.refused.is_empty() {
        let lines: Vec<String> =
            besu.refused.iter().map(|note| format!("  {} = {}: {}", note.spelled, note.value, note.why)).collect();
        return Err(ConfigError::Unsupported(lines.join("\n")));
    }
    for (key, values, place) in besu.texts() {
        if let Some(spec) = OPTIONS.iter().find(|spec| spec.key == key) {
            set(config, spec, &values, Path::new(""), Origin::Besu(place))?;
        }
    }
    let ignored = besu.ignored.iter().map(|note| format!("{} = {} has no effect: {}", note.spelled, note.value, note.why));
    config.warnings.extend(ignored);
    let dialect_given =
        given.flags.iter().any(|(key, _)| *key == "dialect") || given.environment.iter().any(|(name, _)| name == "IPE_DIALECT");
    config.warnings.extend(besu.remarks.iter().filter(|_| !dialect_given).cloned());
    Ok(())
}

fn set(config: &mut NodeConfig, spec: &OptionSpec, values: &[String], base: &Path, origin: Origin) -> Result<(), ConfigError> {
    (spec.set)(config, values, base).map_err(|expected| ConfigError::Bad {
        key: spec.key,
        origin,
        got: values.join(",").chars().take(200).collect(),
        expected,
    })
}

/// The values in one text of a setting: a list is cut at its commas.
pub fn split(spec: &OptionSpec, text: &str) -> Vec<String> {
    match spec.kind {
        // A comma inside an enode separates its hosts, so a list of enodes is cut before each "enode://".
        OptionKind::List if text.contains("enode://") => {
            text.replace(",enode://", "\nenode://").lines().map(|part| part.trim().to_owned()).collect()
        }
        OptionKind::List => text.split(',').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect(),
        OptionKind::Value | OptionKind::Switch => vec![text.to_owned()],
    }
}

fn read_file(path: &Path, text: &str) -> Result<Vec<(&'static OptionSpec, Vec<String>)>, ConfigError> {
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| ConfigError::Content {
        path: path.to_owned(),
        message: format!("not TOML: {}", error.to_string().trim_end()),
    })?;
    let mut seen = BTreeMap::new();
    for (key, value) in &table {
        let plain = key.replace('_', "-").to_lowercase();
        let spec = OPTIONS.iter().find(|spec| spec.key == plain).ok_or_else(|| ConfigError::Unknown {
            path: path.to_owned(),
            key: key.clone(),
            hint: close_keys(&plain, OPTIONS.iter().map(|spec| spec.key), "see ipe node run --help for all keys"),
        })?;
        let wrong = |expected: &str| ConfigError::Bad {
            key: spec.key,
            origin: Origin::File(path.to_owned()),
            got: value.to_string().chars().take(200).collect(),
            expected: expected.to_owned(),
        };
        let values = match (value, spec.kind) {
            (toml::Value::Array(items), OptionKind::List) => {
                items.iter().map(scalar).collect::<Option<Vec<String>>>().ok_or_else(|| wrong("an array of strings"))?
            }
            (value, OptionKind::List) => split(spec, &scalar(value).ok_or_else(|| wrong("an array of strings"))?),
            (value, _) => vec![scalar(value).ok_or_else(|| wrong("a single value"))?],
        };
        if seen.insert(spec.key, (spec, values)).is_some() {
            return Err(ConfigError::Content {
                path: path.to_owned(),
                message: format!("key {} is there twice (with - and with _), expected once", spec.key),
            });
        }
    }
    Ok(seen.into_values().collect())
}

pub(super) fn scalar(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Float(number) => Some(number.to_string()),
        toml::Value::Boolean(flag) => Some(flag.to_string()),
        toml::Value::Datetime(_) | toml::Value::Array(_) | toml::Value::Table(_) => None,
    }
}

/// The keys nearest to a misspelled one, or where to find them all.
pub(super) fn close_keys<'a>(key: &str, keys: impl Iterator<Item = &'a str>, otherwise: &str) -> String {
    let mut near: Vec<(usize, &str)> = keys
        .map(|known| {
            let inside = known.contains(key) || key.contains(known);
            (if inside { 1 } else { distance(key, known) }, known)
        })
        .filter(|(far, _)| *far <= 3)
        .collect();
    near.sort_unstable();
    near.truncate(3);
    if near.is_empty() {
        return otherwise.to_owned();
    }
    let names: Vec<&str> = near.into_iter().map(|(_, name)| name).collect();
    format!("did you mean {}?", names.join(" or "))
}

/// Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = corner + usize::from(x != *y);
            corner = row[j + 1];
            row[j + 1] = change.min(corner + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use ipe_types::{Role, Topology};

    fn file(text: &str) -> Given {
        Given { file: Some((PathBuf::from("/etc/ipe/node.toml"), text.to_owned())), ..Given::default() }
    }

    #[test]
    fn flags_win_over_environment_over_file_over_default() {
        let mut given = file("role = \"boot\"\np2p_port = 1\nrpc-http-port = 2\ngenesis = \"genesis.json\"\n");
        given.environment = vec![
            ("IPE_P2P_PORT".into(), "3".into()),
            ("IPE_RPC_HTTP_PORT".into(), "4".into()),
            ("HOME".into(), "/root".into()),
            ("IPE_NOTHING".into(), "x".into()),
        ];
        given.flags = vec![("rpc-http-port", vec!["5".into()])];
        let config = resolve(&given).expect("valid");
        assert_eq!((config.role, config.p2p_port, config.rpc_http.port, config.metrics_port), (Role::Boot, 3, 5, 9545));
        assert_eq!(config.genesis, Some(PathBuf::from("/etc/ipe/genesis.json")));
        assert_eq!(config.warnings.len(), 1);
        assert_eq!(config.topology, Topology::Sentry);
        assert!(config.listens());
    }

    #[test]
    fn lists_are_arrays_or_commas_and_enodes_keep_their_hosts() {
        let id = "11".repeat(64);
        let mut given =
            file(&format!("static-nodes = [\"enode://{id}@a.example,10.0.0.1:5\"]\nrpc-http-api = [\"eth\", \"qbft\"]"));
        given.flags = vec![("bootnodes", vec![format!("enode://{id}@h,i:1,enode://{id}@j:2")])];
        let config = resolve(&given).expect("valid");
        assert_eq!(config.static_nodes[0].hosts, ["a.example", "10.0.0.1"]);
        assert_eq!(config.rpc_http.api, ["ETH", "QBFT"]);
        assert_eq!(config.bootnodes.map(|nodes| nodes.len()), Some(2));
    }

    #[test]
    fn mistakes_name_the_file_the_key_and_what_was_expected() {
        for (text, words) in [
            ("p2p-prt = 1", vec!["/etc/ipe/node.toml", "p2p-prt", "did you mean p2p-port"]),
            ("zzzzzzzzzz = 1", vec!["zzzzzzzzzz", "--help"]),
            ("p2p-port = 70000", vec!["p2p-port", "/etc/ipe/node.toml", "70000", "65535"]),
            ("p2p-port = -1", vec!["p2p-port", "-1"]),
            ("p2p-port = \"x\"", vec!["p2p-port", "\"x\"", "integer"]),
            ("p2p-port = [1]", vec!["p2p-port", "single value"]),
            ("role = \"king\"", vec!["role", "king", "validator"]),
            ("topology = \"ring\"", vec!["topology", "ring", "sentry or mesh"]),
            ("dialect = \"x\"", vec!["dialect", "legacy or besu26 or goquorum"]),
            ("rpc-http-host = \"example.org\"", vec!["rpc-http-host", "IP address"]),
            ("static-nodes = [\"http://x\"]", vec!["static-nodes", "enode://"]),
            ("static-nodes = [1979-05-27]", vec!["static-nodes", "array of strings"]),
            ("discovery-enabled = 3", vec!["discovery-enabled", "true or false"]),
            ("miner-extra-data = \"0x0\"", vec!["miner-extra-data", "hex"]),
            ("miner-extra-data = \"123456789012345678901234567890123\"", vec!["miner-extra-data", "32 bytes"]),
            ("p2p-port = 1\np2p_port = 2", vec!["p2p-port", "twice"]),
            ("p2p-port = ", vec!["/etc/ipe/node.toml", "not TOML", "line 1"]),
        ] {
            let error = resolve(&file(text)).expect_err(text).to_string();
            for word in words {
                assert!(error.contains(word), "{error}\nlacks {word:?}");
            }
        }
        let given = Given { flags: vec![("max-peers", vec!["many".into()])], ..Given::default() };
        let error = resolve(&given).expect_err("no number").to_string();
        assert!(error.contains("max-peers on the command line") && error.contains("many"), "{error}");
        let given = Given { environment: vec![("IPE_MAX_PEERS".into(), "many".into())], ..Given::default() };
        assert!(resolve(&given).expect_err("no number").to_string().contains("IPE_MAX_PEERS"));
    }

    #[test]
    fn every_default_shown_is_a_default_taken() {
        let default = NodeConfig::default();
        for spec in OPTIONS {
            if spec.default.is_empty()
                || spec.default.contains(' ')
                || spec.default.contains('<')
                || spec.key == "rpc-http-cors-origins"
            {
                continue;
            }
            let mut config = default.clone();
            set(&mut config, spec, &split(spec, spec.default), Path::new(""), Origin::Flag).expect(spec.key);
            assert_eq!(config, default, "{}", spec.key);
        }
    }
}
