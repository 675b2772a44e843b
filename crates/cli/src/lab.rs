//! `ipe lab`: a local network of several institutions, every node an operating system process of its own.
//!
//! Everything about a lab is in its folder: `lab.json` (the plan), `genesis.json`, `network.json`, `accounts.json` (the
//! development keys), and a folder a node with `node.toml`, `key`, `node.log`, `node.pid` and `data/`. There is no
//! daemon: every command reads the folder and the process table, so a second terminal needs nothing but `--dir`.

mod folder;
mod launch;
mod process;
mod status;
mod up;
mod view;

use crate::failure::{Failure, Outcome};
use clap::{Args, Subcommand};
use folder::Folder;
use ipe_node::config::{MAX_SETTINGS_BYTES, read_text};
use ipe_types::Role;
use std::path::{Path, PathBuf};

#[derive(Subcommand)]
pub enum LabCommand {
    /// Make the network if it is not there yet, start it, and show it until Ctrl-C stops it.
    Up(Box<up::UpArgs>),
    /// Say how every node is.
    Status {
        #[command(flatten)]
        place: Place,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Stop nodes; their data stays.
    Stop(Which),
    /// Start nodes that are not running; they go on with the same chain.
    Start(Which),
    /// Stop nodes and start them again.
    Restart(Which),
    /// Kill nodes without warning (SIGKILL), as a power cut would.
    Kill(Named),
    /// Stop nodes and delete their data; keys stay.
    Wipe(Named),
    /// Print the end of a node's log.
    Logs {
        /// Name of the node.
        node: String,
        #[command(flatten)]
        place: Place,
        /// How many lines.
        #[arg(long, short = 'n', default_value_t = 200)]
        lines: usize,
        /// Go on printing what is added.
        #[arg(long, short)]
        follow: bool,
    },
    /// Stop everything and delete the network: chain, keys, accounts.
    Down(Place),
}

#[derive(Args, Clone)]
pub struct Place {
    /// Folder of the lab.
    #[arg(long, value_name = "DIR", default_value = "ipe-lab", env = "IPE_LAB_DIR")]
    pub dir: PathBuf,
}

#[derive(Args)]
pub struct Which {
    /// Names of nodes, all when absent.
    nodes: Vec<String>,
    #[command(flatten)]
    place: Place,
}

#[derive(Args)]
pub struct Named {
    /// Names of nodes.
    #[arg(required = true)]
    nodes: Vec<String>,
    #[command(flatten)]
    place: Place,
}

pub fn run(command: LabCommand) -> Outcome {
    match command {
        LabCommand::Up(arguments) => up::run(*arguments),
        LabCommand::Status { place, json } => status::run(&Folder::open(&place.dir)?, json),
        LabCommand::Stop(which) => {
            let folder = Folder::open(&which.place.dir)?;
            let names = folder.chosen(&which.nodes)?;
            let _turn = folder.lock()?;
            process::stop(&folder, &names)
        }
        LabCommand::Start(which) => {
            let folder = Folder::open(&which.place.dir)?;
            let names = folder.chosen(&which.nodes)?;
            let _turn = folder.lock()?;
            launch::start(&folder, &names).map(|_| ())
        }
        LabCommand::Restart(which) => {
            let folder = Folder::open(&which.place.dir)?;
            let names = folder.chosen(&which.nodes)?;
            let _turn = folder.lock()?;
            process::stop(&folder, &names)?;
            launch::start(&folder, &names).map(|_| ())
        }
        LabCommand::Kill(which) => {
            let folder = Folder::open(&which.place.dir)?;
            let names = folder.chosen(&which.nodes)?;
            let _turn = folder.lock()?;
            process::kill(&folder, &names)
        }
        LabCommand::Wipe(which) => {
            let folder = Folder::open(&which.place.dir)?;
            let names = folder.chosen(&which.nodes)?;
            let _turn = folder.lock()?;
            process::stop(&folder, &names)?;
            names.iter().try_for_each(|name| folder.wipe(name))
        }
        LabCommand::Logs { node, place, lines, follow } => {
            let folder = Folder::open(&place.dir)?;
            let names = folder.chosen(&[node])?;
            folder.logs(&names[0], lines, follow)
        }
        LabCommand::Down(place) => {
            if !Folder::exists(&place.dir) {
                println!("no lab in {}", place.dir.display());
                return Ok(());
            }
            let folder = Folder::open(&place.dir)?;
            let names = folder.chosen(&[])?;
            let turn = folder.lock()?;
            process::stop(&folder, &names)?;
            drop(turn);
            folder.remove()
        }
    }
}

/// JSON-RPC addresses of a lab's writers, and the private key of its first development account.
pub fn entrances(dir: &Path) -> Result<(Vec<String>, String), Failure> {
    let folder = Folder::open(dir)?;
    let endpoints = folder
        .plan
        .nodes
        .iter()
        .filter(|node| node.slot.role == Role::Writer)
        .map(|node| format!("http://127.0.0.1:{}", node.ports.rpc))
        .collect();
    let path = folder.accounts();
    let text = read_text(&path, MAX_SETTINGS_BYTES)?;
    let accounts: serde_json::Value = serde_json::from_str(&text).map_err(|error| file_failure("understand", &path, error))?;
    let first = folder.plan.accounts.first().map_or("", |account| account.name.as_str());
    let key = accounts[first]["privateKey"].as_str().ok_or_else(|| {
        Failure::Failed(format!("{}: {first}.privateKey is missing, expected 0x and 64 hex digits", path.display()))
    })?;
    Ok((endpoints, key.to_owned()))
}

/// The failure of a step on a file.
fn file_failure(doing: &str, path: &Path, error: impl std::fmt::Display) -> Failure {
    Failure::failed(format!("could not {doing} {}", path.display()), error)
}
