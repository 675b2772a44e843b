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
    // The two formats are two types, and so are the handles that change their filters.
    type Reload = Box<dyn Fn(EnvFilter) -> bool + Send + Sync>;
    let (installed, reload): (_, Reload) = match format {
        LogFormat::Json => {
            let output = tracing_subscriber::fmt().json().flatten_event(true).with_env_filter(parsed).with_filter_reloading();
            let handle = output.reload_handle();
            (output.try_init(), Box::new(move |filter| handle.reload(filter).is_ok()))
        }
        LogFormat::Plain => {
            let ansi = std::io::stdout().is_terminal();
            let output =
                tracing_subscriber::fmt().with_ansi(ansi).with_target(false).with_env_filter(parsed).with_filter_reloading();
            let handle = output.reload_handle();
            (output.try_init(), Box::new(move |filter| handle.reload(filter).is_ok()))
        }
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
        let changed = EnvFilter::try_new(wanted.join(",")).is_ok_and(&reload);
        if changed {
            *directives = wanted;
        }
        changed
    }))
}
