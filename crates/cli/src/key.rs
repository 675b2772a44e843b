//! `ipe key`: making and showing node keys.

use crate::failure::Outcome;
use clap::{Args, Subcommand};
use ipe_node::key_file;
use ipe_types::{Enode, NodeKey};
use serde_json::json;
use std::path::PathBuf;

#[derive(Subcommand)]
pub enum KeyCommand {
    /// Make a new random key and write it to a file that must not exist yet.
    New {
        /// Where to write it.
        #[arg(value_name = "FILE", default_value = "key")]
        file: PathBuf,
        #[command(flatten)]
        show: Shown,
    },
    /// Show address, node id and enode of a key; never the key itself.
    Show {
        /// Key file: one line of 64 hex digits, with or without 0x.
        #[arg(value_name = "FILE", default_value = "key")]
        file: PathBuf,
        #[command(flatten)]
        show: Shown,
    },
}

#[derive(Args)]
pub struct Shown {
    /// Host in the shown enode: IP address or DNS name, several separated by commas.
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// Port in the shown enode.
    #[arg(long, default_value_t = 30303)]
    port: u16,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(command: KeyCommand) -> Outcome {
    let (key, show, file) = match command {
        KeyCommand::New { file, show } => {
            let key = key_file::generate();
            key_file::write_new(&file, &key)?;
            (key, show, file)
        }
        KeyCommand::Show { file, show } => {
            if let Some(warning) = key_file::exposure(&file) {
                eprintln!("ipe: {warning}");
            }
            (key_file::read(&file)?, show, file)
        }
    };
    let enode = enode(&key, &show.host, show.port);
    if show.json {
        let text = json!({
            "file": file,
            "address": key.address(),
            "nodeId": key.node_id(),
            "enode": enode,
        });
        println!("{text:#}");
    } else {
        println!("file     {}", file.display());
        println!("address  {}", key.address());
        println!("node id  {}", key.node_id());
        println!("enode    {enode}");
    }
    Ok(())
}

fn enode(key: &NodeKey, hosts: &str, port: u16) -> Enode {
    let hosts = hosts.split(',').map(|host| host.trim().to_owned()).collect();
    Enode { id: key.node_id(), hosts, tcp: port, udp: Some(port) }
}
