//! `ipe lab up`: planning, starting and showing a lab.

use super::folder::Folder;
use super::process::{self, running};
use super::{Place, launch, status, view};
use crate::failure::{Failure, Outcome};
use clap::Args;
use ipe_node::key_file;
use ipe_provision::duration::{parse_ms, show_ms};
use ipe_provision::plan::ACCOUNT_NAMES;
use ipe_provision::{DevAccount, Identity, Order, Ports, plan};
use ipe_types::{NodeKey, Role, Topology};
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

#[derive(Args)]
pub struct UpArgs {
    #[command(flatten)]
    place: Place,
    /// Institutions, 1 to 20, each with a validator, boots and a writer [default: 4].
    #[arg(long, value_name = "N")]
    institutions: Option<u32>,
    /// Boots of each institution, 1 to 4 [default: 1].
    #[arg(long, value_name = "N")]
    boots: Option<u32>,
    /// sentry or mesh [default: sentry].
    #[arg(long)]
    topology: Option<Topology>,
    /// Time between blocks: 1s, 250ms [default: 1s].
    #[arg(long, value_name = "TIME")]
    block_period: Option<String>,
    /// Seconds between empty blocks, 0 = as other blocks [default: 0].
    #[arg(long, value_name = "SECONDS")]
    empty_block_period: Option<u64>,
    /// Seconds of round 0 [default: 2].
    #[arg(long, value_name = "SECONDS")]
    request_timeout: Option<u64>,
    /// Gas limit of a block [default: 100000000].
    #[arg(long, value_name = "GAS")]
    gas_limit: Option<u64>,
    /// EIP-155 chain id [default: 1337].
    #[arg(long, value_name = "ID")]
    chain_id: Option<u64>,
    /// Newest fork in force [default: cancun].
    #[arg(long, value_name = "NAME")]
    fork: Option<String>,
    /// JSON file of more genesis accounts, as the alloc of a genesis file.
    #[arg(long, value_name = "FILE")]
    alloc: Option<PathBuf>,
    /// Come back once every node listens, and leave the network running.
    #[arg(long)]
    detach: bool,
    /// With --detach, print the status as JSON.
    #[arg(long, requires = "detach")]
    json: bool,
}

pub fn run(arguments: UpArgs) -> Outcome {
    let folder = if Folder::exists(&arguments.place.dir) {
        let folder = Folder::open(&arguments.place.dir)?;
        same_order(&arguments, &folder)?;
        folder.close_accounts()?;
        folder
    } else {
        create(&arguments)?
    };
    let names = folder.chosen(&[])?;
    let turn = folder.lock()?;
    let before = names.iter().filter(|name| running(&folder, name).is_some()).count();
    if before == names.len() {
        println!(
            "the lab in {} is already running; see ipe lab status --dir {}",
            folder.root().display(),
            arguments.place.dir.display()
        );
        if arguments.json {
            return status::run(&folder, true);
        }
        return Ok(());
    }
    if arguments.detach {
        launch::start(&folder, &names)?;
        drop(turn);
        if arguments.json {
            return status::run(&folder, true);
        }
        introduce(&folder);
        println!("running in the background; ipe lab status | stop | down --dir {}", arguments.place.dir.display());
        return Ok(());
    }
    let runtime = crate::node::runtime()?;
    // From here on Ctrl-C ends the nodes, also while they start.
    let interrupted = runtime.block_on(async { crate::node::interrupted() })?;
    let children = launch::start(&folder, &names)?;
    drop(turn);
    let terminal = std::io::stdout().is_terminal();
    if !terminal {
        introduce(&folder);
    }
    let outcome = runtime.block_on(view::show(&folder, interrupted, terminal));
    if Folder::exists(folder.root()) {
        eprintln!("stopping {} nodes", names.len());
        let _turn = folder.lock()?;
        process::stop(&folder, &names)?;
    }
    for (_, mut child) in children {
        let _ = child.try_wait();
    }
    if terminal {
        introduce(&folder);
    }
    outcome
}

/// Plans and writes a new lab.
fn create(arguments: &UpArgs) -> Result<Folder, Failure> {
    let wrong = |error: &dyn std::fmt::Display| Failure::Usage(format!("lab up: {error}"));
    let default = Order::default();
    let period_ms = match &arguments.block_period {
        Some(text) => parse_ms(text).map_err(|problem| wrong(&format!("--block-period: {problem}")))?,
        None => default.period_ms,
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let order = Order {
        institutions: arguments.institutions.unwrap_or(default.institutions),
        boots: arguments.boots.unwrap_or(default.boots),
        topology: arguments.topology.unwrap_or(default.topology),
        chain_id: arguments.chain_id.unwrap_or(default.chain_id),
        fork: arguments.fork.clone().unwrap_or(default.fork),
        period_ms,
        empty_period_s: arguments.empty_block_period.unwrap_or(default.empty_period_s),
        request_timeout_s: arguments.request_timeout.unwrap_or(default.request_timeout_s.max(period_ms.div_ceil(500))),
        gas_limit: arguments.gas_limit.unwrap_or(default.gas_limit),
        // A little in the past, so that block 1 is due as soon as the validators are connected.
        timestamp: now.saturating_sub(60),
    };
    order.check().map_err(|error| wrong(&error))?;
    let more = match &arguments.alloc {
        Some(file) => crate::genesis::load_alloc(file)?,
        None => BTreeMap::new(),
    };
    let slots = order.slots();
    let keys: Vec<NodeKey> = slots.iter().map(|_| key_file::generate()).collect();
    let identities: Vec<Identity> = keys.iter().map(Identity::of).collect();
    let account_keys: Vec<NodeKey> = ACCOUNT_NAMES.iter().map(|_| key_file::generate()).collect();
    let accounts = ACCOUNT_NAMES
        .iter()
        .zip(&account_keys)
        .map(|(name, key)| DevAccount { name: (*name).to_owned(), address: key.address() })
        .collect();
    let found = launch::free_ports(3 * slots.len())?;
    let ports: Vec<Ports> = found.chunks_exact(3).map(|three| Ports { p2p: three[0], rpc: three[1], metrics: three[2] }).collect();
    let plan = plan(order, &identities, accounts, &ports, more).map_err(|error| wrong(&error))?;
    Folder::create(&arguments.place.dir, plan, &keys, &account_keys)
}

/// A lab that is there keeps its shape: flags that ask for another are refused.
fn same_order(arguments: &UpArgs, folder: &Folder) -> Outcome {
    let order = &folder.plan.order;
    let asked = [
        ("institutions", arguments.institutions.map(|n| n.to_string()), order.institutions.to_string()),
        ("boots", arguments.boots.map(|n| n.to_string()), order.boots.to_string()),
        ("topology", arguments.topology.map(|topology| topology.to_string()), order.topology.to_string()),
        (
            "block-period",
            arguments.block_period.as_ref().map(|text| parse_ms(text).map_or_else(|_| text.clone(), show_ms)),
            show_ms(order.period_ms),
        ),
        ("empty-block-period", arguments.empty_block_period.map(|n| n.to_string()), order.empty_period_s.to_string()),
        ("request-timeout", arguments.request_timeout.map(|n| n.to_string()), order.request_timeout_s.to_string()),
        ("gas-limit", arguments.gas_limit.map(|n| n.to_string()), order.gas_limit.to_string()),
        ("chain-id", arguments.chain_id.map(|n| n.to_string()), order.chain_id.to_string()),
        ("fork", arguments.fork.as_ref().map(|name| name.to_lowercase()), order.fork.to_lowercase()),
    ];
    for (flag, asked, there) in asked {
        if let Some(asked) = asked.filter(|asked| *asked != there) {
            return Err(Failure::Usage(format!(
                "--{flag} {asked}: the lab in {} has {there}; use another --dir, or ipe lab down first",
                folder.root().display()
            )));
        }
    }
    Ok(())
}

/// What one needs to know to use the lab.
fn introduce(folder: &Folder) {
    println!("lab          {}", folder.root().display());
    println!("accounts     {} (names, addresses, private keys; for development only)", folder.accounts().display());
    for node in folder.plan.nodes.iter().filter(|node| node.slot.role == Role::Writer) {
        println!("{:<12} http://127.0.0.1:{}", node.slot.name, node.ports.rpc);
    }
}
