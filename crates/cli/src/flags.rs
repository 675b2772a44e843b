//! The node's settings as flags, made from the one table that the file and the environment use too.

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use ipe_node::config::besu;
use ipe_node::config::{ConfigError, Given, MAX_SETTINGS_BYTES, NodeConfig, OPTIONS, OptionKind, read_text, resolve};
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// Every flag of a node that was given, and the configuration file.
#[derive(Clone, Debug, Default)]
pub struct NodeFlags {
    /// `--config`, or `IPE_CONFIG`.
    pub config: Option<PathBuf>,
    /// `--besu-config`: Besu's TOML file, empty for its variables alone.
    pub besu: Option<PathBuf>,
    /// Key and texts.
    pub given: Vec<(&'static str, Vec<String>)>,
}

impl Args for NodeFlags {
    fn augment_args(command: Command) -> Command {
        let config = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .env("IPE_CONFIG")
            .value_parser(clap::value_parser!(PathBuf))
            .help("TOML file with any of the settings below; flags win over IPE_ variables, these over the file");
        let besu = Arg::new("besu-config")
            .long("besu-config")
            .value_name("FILE")
            .num_args(0..=1)
            .default_missing_value("")
            .value_parser(clap::builder::OsStringValueParser::new())
            .help("Besu's TOML file and BESU_ variables (without FILE only these); every other setting here wins over them");
        OPTIONS.iter().fold(command.arg(config).arg(besu), |command, spec| {
            let default = if spec.default.is_empty() { String::new() } else { format!(" [default: {}]", spec.default) };
            let arg = Arg::new(spec.key).long(spec.key).value_name(spec.value).help(format!(
                "{}{default} [env: {}]",
                spec.help,
                spec.variable()
            ));
            command.arg(match spec.kind {
                OptionKind::Value => arg.action(ArgAction::Set).allow_hyphen_values(true),
                OptionKind::Switch => arg.action(ArgAction::Set).num_args(0..=1).default_missing_value("true"),
                OptionKind::List => arg.action(ArgAction::Append),
            })
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for NodeFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = OPTIONS
            .iter()
            .filter_map(|spec| {
                let texts: Vec<String> = matches.get_many::<String>(spec.key)?.cloned().collect();
                Some((spec.key, texts))
            })
            .collect();
        let besu = matches.get_one::<std::ffi::OsString>("besu-config").map(PathBuf::from);
        Ok(NodeFlags { config: matches.get_one::<PathBuf>("config").cloned(), besu, given })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl NodeFlags {
    /// Reads the file and the environment and puts all three together.
    pub fn resolve(self) -> Result<NodeConfig, Failure> {
        let file = match self.config {
            Some(path) => {
                let text = read_text(&path, MAX_SETTINGS_BYTES)?;
                Some((path, text))
            }
            None => None,
        };
        let environment: Vec<(String, String)> =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect();
        let besu = self.besu.map(|path| read_besu(&path, &environment)).transpose()?;
        Ok(resolve(&Given { flags: self.given, environment, file, besu })?)
    }
}

/// Besu's configuration: the file (none when the path is empty), its variables, and the static nodes beside its key.
fn read_besu(path: &Path, environment: &[(String, String)]) -> Result<besu::Translation, ConfigError> {
    let mut options = Vec::new();
    if !path.as_os_str().is_empty() {
        options.extend(besu::read_besu_toml(path, &read_text(path, MAX_SETTINGS_BYTES)?)?);
    }
    let pairs = environment.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let (given, unknown) = besu::read_besu_environment(pairs);
    options.extend(given);
    let mut told = besu::translate(&options).map_err(ConfigError::Besu)?;
    if let Some(file) = told.static_nodes_beside_the_key().filter(|file| Path::new(file).exists()) {
        told.with_static_nodes(file);
    }
    let unknown = unknown.into_iter().map(|name| besu::Note {
        spelled: name,
        value: "…".to_owned(),
        why: "it is no option of Besu that is known here".to_owned(),
    });
    told.ignored.extend(unknown);
    Ok(told)
}
