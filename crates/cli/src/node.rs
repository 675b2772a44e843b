//! `ipe node`: running one node, and preparing its folder.

use crate::failure::{Failure, Outcome};
use crate::flags::NodeFlags;
use crate::health;
use crate::logging;
use clap::{Args, Subcommand};
use ipe_node::NodeConfig;
use ipe_node::config::{OPTIONS, OptionKind, split};
use ipe_node::{key_file, signing_journal};
use ipe_types::{Enode, Role};
use std::fmt::Write;
use std::path::{Path, PathBuf};

#[derive(Subcommand)]
pub enum NodeCommand {
    /// Run a node until it is interrupted.
    Run(NodeFlags),
    /// Make a node's folder: key, and a configuration file with every setting explained.
    Init(InitArgs),
    /// Ask the node that runs on a data folder whether it is well: 0 when it is, 1 when it is not or does not answer.
    Health(health::HealthArgs),
}

#[derive(Args)]
pub struct InitArgs {
    #[command(flatten)]
    flags: NodeFlags,
}

pub fn run(command: NodeCommand) -> Outcome {
    match command {
        NodeCommand::Run(flags) => run_node(flags),
        NodeCommand::Init(arguments) => init(arguments),
        NodeCommand::Health(arguments) => health::run(&arguments),
    }
}

/// The async runtime of short commands.
pub fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::failed("could not start the async runtime", error))
}

fn run_node(flags: NodeFlags) -> Outcome {
    let config = flags.resolve()?;
    let log_level = logging::start(&config.log_level, config.log_format)?;
    end_on_panic();
    runtime()?.block_on(async {
        let shutdown = interrupted()?;
        ipe_node::run(config, ipe_version::BUILD.client(), shutdown, log_level)
            .await
            .map_err(|error| Failure::Failed(error.to_string()))
    })
}

/// A panic anywhere is a bug, and a node without one of its threads is half dead: it says so in its log and ends, for a
/// supervisor to start it again. What is written is durable, and what is signed is in the journal. A release build aborts on
/// panics anyway; this makes every build the same.
fn end_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("unnamed").to_owned();
        tracing::error!(thread, "bug: {panic}; the process ends and is to be started again");
        eprintln!("ipe: bug in thread {thread}: {panic}");
        std::process::abort();
    }));
}

/// Ends when the process is told to end: Ctrl-C or SIGTERM.
pub fn interrupted() -> Result<impl Future<Output = ()> + Send + 'static, Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let listen = |kind| signal(kind).map_err(|error| Failure::failed("could not listen for signals", error));
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

fn init(arguments: InitArgs) -> Outcome {
    let file = arguments.flags.config.clone();
    let given = arguments.flags.given.clone();
    // A configuration file that is still to be written is not read.
    let exists = file.as_deref().is_some_and(Path::exists);
    let flags = if exists { arguments.flags } else { NodeFlags { config: None, ..arguments.flags } };
    let config = flags.resolve()?;
    std::fs::create_dir_all(&config.data_dir)
        .map_err(|error| Failure::failed(format!("could not make {}", config.data_dir.display()), error))?;
    let (key, made) = key_file::load_or_create(&config.key_path())?;
    let enode = Enode {
        id: key.node_id(),
        hosts: config.p2p_host.clone(),
        tcp: if config.listens() { config.p2p_port } else { 0 },
        udp: (config.listens() && config.discovery).then_some(config.p2p_port),
    };
    if let Some(warning) = key_file::exposure(&config.key_path()) {
        eprintln!("ipe: {warning}");
    }
    println!("{} key      {}", if made { "new" } else { "existing" }, config.key_path().display());
    let (validator, made) = match &config.validator_key_file {
        Some(path) if config.role == Role::Validator => key_file::load_or_create(path)?,
        _ => (key.clone(), made),
    };
    println!("address      {}", validator.address());
    println!("node id      {}", key.node_id());
    println!("enode        {enode}");
    if config.genesis.is_some() {
        let (path, spec) = config.load_spec()?;
        println!("genesis      {} {}", spec.genesis_hash(), path.display());
        if made && config.role == Role::Validator {
            signing_journal::begin(&config.data_dir, spec.genesis_hash(), validator.address())
                .map_err(|error| Failure::Failed(error.to_string()))?;
        }
        for warning in spec.warnings() {
            println!("warning      {}: {warning}", path.display());
        }
    }
    if !exists {
        let path = file.unwrap_or_else(|| config.data_dir.join("node.toml"));
        write_template(&path, &config, &given)?;
        println!("settings     {}", path.display());
    }
    Ok(())
}

/// Writes every setting: the given ones in force, the rest as comments with their defaults.
fn write_template(path: &PathBuf, config: &NodeConfig, given: &[(&'static str, Vec<String>)]) -> Outcome {
    let failed = |error: std::io::Error| Failure::failed(format!("could not write {}", path.display()), error);
    let mut text = String::from("# Settings of an ipe node. Flags win over IPE_ variables, these over this file.\n");
    for spec in OPTIONS {
        // Writing to a String cannot fail.
        let _ = write!(text, "\n# {}", spec.help);
        if !spec.default.is_empty() {
            let _ = write!(text, " [default: {}]", spec.default);
        }
        let _ = match given.iter().find(|(key, _)| *key == spec.key) {
            Some((_, texts)) if ["DIR", "FILE"].contains(&spec.value) => {
                let path = std::path::absolute(texts.last().map_or("", String::as_str)).map_err(failed)?;
                writeln!(text, "\n{} = {}", spec.key, toml::Value::from(path.display().to_string()))
            }
            Some((_, texts)) => match spec.kind {
                OptionKind::List => {
                    let values: Vec<String> = texts.iter().flat_map(|text| split(spec, text)).collect();
                    writeln!(text, "\n{} = {}", spec.key, toml::Value::from(values))
                }
                _ => writeln!(text, "\n{} = {}", spec.key, toml::Value::from(texts.last().cloned().unwrap_or_default())),
            },
            None if spec.key == "data-dir" => {
                let path = std::path::absolute(&config.data_dir).map_err(failed)?;
                writeln!(text, "\n{} = {}", spec.key, toml::Value::from(path.display().to_string()))
            }
            None => writeln!(text, "\n#{} = ", spec.key),
        };
    }
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(path).map_err(failed)?;
    std::io::Write::write_all(&mut file, text.as_bytes()).map_err(failed)
}
