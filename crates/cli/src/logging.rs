//! Log lines of a node: to standard output, for people or as JSON, with a level that can be changed while it runs.

use crate::failure::Failure;
use ipe_node::LogLevel;
use ipe_node::config::LogFormat;
use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};
use tracing_subscriber::EnvFilter;

/// Directives that changes at run time may add up to; each names a target, and nobody follows hundreds.
const MAX_DIRECTIVES: usize = 256;

/// Installs the process's log output and gives the handle that changes its level.
pub fn start(filter: &str, format: LogFormat) -> Result<LogLevel, Failure> {
    let parsed = EnvFilter::try_new(filter).map_err(|error| {
        Failure::Usage(format!(
            "logging: got {filter:?} ({error}), expected error, warn, info, debug, trace or a filter such as \
             info,ipe_p2p=debug"
        ))
    })?;
    let output = tracing_subscriber::fmt().with_env_filter(parsed).with_filter_reloading();
    let handle = output.reload_handle();
    let installed = match format {
        LogFormat::Json => output.json().flatten_event(true).try_init(),
        LogFormat::Plain => output.with_ansi(std::io::stdout().is_terminal()).with_target(false).try_init(),
    };
    installed.map_err(|error| Failure::failed("could not start logging", error))?;
    let directives = Mutex::new(vec![filter.to_owned()]);
    Ok(Arc::new(move |level, targets| {
        let level = level.to_lowercase();
        if level.parse::<tracing::level_filters::LevelFilter>().is_err() {
            return false;
        }
        let mut directives = directives.lock().unwrap_or_else(PoisonError::into_inner);
        let mut wanted = if targets.is_empty() { Vec::new() } else { directives.clone() };
        match targets {
            [] => wanted.push(level),
            targets => wanted.extend(targets.iter().map(|target| format!("{target}={level}"))),
        }
        if wanted.len() > MAX_DIRECTIVES {
            return false;
        }
        match EnvFilter::try_new(wanted.join(",")) {
            Ok(filter) if handle.reload(filter).is_ok() => {
                *directives = wanted;
                true
            }
            _ => false,
        }
    }))
}
