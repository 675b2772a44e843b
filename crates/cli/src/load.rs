//! `ipe load`: the load generator's flags and output.

use crate::failure::{Failure, Outcome};
use crate::lab;
use alloy_primitives::U256;
use clap::Args;
use ipe_load::{Kind, LoadPlan, Pace, Progress};
use ipe_node::config::read_text;
use ipe_node::key_file;
use ipe_provision::duration::parse_ms;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Bytes that a file with one key may have.
const MAX_KEY_BYTES: u64 = 1_024;

#[derive(Args)]
pub struct LoadArgs {
    /// transfer, erc20, store or deploy.
    #[arg(default_value = "transfer")]
    kind: String,
    /// JSON-RPC address; repeat to spread senders over several [default: http://127.0.0.1:8545].
    #[arg(long = "rpc", value_name = "URL", value_delimiter = ',')]
    endpoints: Vec<String>,
    /// Take addresses and a paying account from the lab in this folder.
    #[arg(long, value_name = "DIR", conflicts_with = "endpoints")]
    lab: Option<PathBuf>,
    /// Transactions offered per second, whatever comes of them [default: 100].
    #[arg(long, value_name = "PER_SECOND", conflicts_with = "closed")]
    rate: Option<f64>,
    /// Instead of a rate: offer as soon as fewer than this many are on their way.
    #[arg(long, value_name = "N")]
    closed: Option<usize>,
    /// How long transactions are offered: 20s, 5m.
    #[arg(long, value_name = "TIME", default_value = "20s")]
    duration: String,
    /// First part of the duration that does not count for rates and latency.
    #[arg(long, value_name = "TIME")]
    warmup: Option<String>,
    /// How long to wait afterwards for what was accepted.
    #[arg(long, value_name = "TIME", default_value = "30s")]
    drain: String,
    /// Number of sending accounts.
    #[arg(long, value_name = "N", default_value_t = 500)]
    senders: usize,
    /// Text that the senders' keys are derived from.
    #[arg(long, default_value = "ipe load")]
    seed: String,
    /// Use these senders: a file with one private key in hex a line.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// File with the private key, in hex, of an account that pays for what senders lack; - reads it from standard input. The
    /// variable IPE_LOAD_FUNDER may hold the key itself.
    #[arg(long, value_name = "FILE")]
    funder_file: Option<PathBuf>,
    /// Refused: a key on a command line can be read by every user of the machine.
    #[arg(long, hide = true)]
    funder: Option<String>,
    /// Wei of each transfer.
    #[arg(long, value_name = "WEI", default_value = "0")]
    value: String,
    /// Wei per gas [default: what the node asks for].
    #[arg(long, value_name = "WEI")]
    gas_price: Option<u128>,
    /// Bytes of each stored document.
    #[arg(long, value_name = "BYTES", default_value_t = 256)]
    document: usize,
    /// Number of accounts that receive.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    recipients: usize,
    /// Transactions in one request, 1 = no batches.
    #[arg(long, value_name = "N", default_value_t = 20)]
    batch: usize,
    /// Connections to each address.
    #[arg(long, value_name = "N", default_value_t = 4)]
    connections: usize,
    /// Pause between two looks for a new block.
    #[arg(long, value_name = "TIME", default_value = "20ms")]
    poll: String,
    /// Threads that sign.
    #[arg(long, value_name = "N", default_value_t = 1)]
    signers: usize,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
    /// Write the report as JSON to a file as well.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

fn time(flag: &str, text: &str) -> Result<Duration, Failure> {
    parse_ms(text).map(Duration::from_millis).map_err(|problem| Failure::Usage(format!("--{flag}: {problem}")))
}

pub fn run(arguments: LoadArgs) -> Outcome {
    let (as_json, out) = (arguments.json, arguments.out.clone());
    let plan = plan(arguments)?;
    plan.check().map_err(|error| Failure::Usage(format!("load: {error}")))?;
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    let runtime = crate::node::runtime()?;
    let interrupted = runtime.block_on(async { crate::node::interrupted() })?;
    std::thread::spawn(move || {
        runtime.block_on(interrupted);
        flag.store(true, Ordering::Relaxed);
    });
    let report = ipe_load::run(&plan, stop, &mut tell).map_err(|error| Failure::failed("load", error))?;
    let text = serde_json::to_string_pretty(&report).map_err(|error| Failure::failed("could not write the report", error))?;
    if let Some(path) = out {
        std::fs::write(&path, format!("{text}\n"))
            .map_err(|error| Failure::failed(format!("could not write {}", path.display()), error))?;
    }
    if as_json {
        println!("{text}");
    } else {
        println!("{report}");
    }
    Ok(())
}

fn tell(progress: &Progress) {
    eprintln!(
        "{} {:.0} s: offered {} accepted {} refused {} included {} in flight {} block {}",
        progress.stage,
        progress.elapsed_s,
        progress.offered,
        progress.accepted,
        progress.refused,
        progress.included,
        progress.in_flight,
        progress.block
    );
}

/// The paying account's key, from where other users of the machine cannot read it.
fn funder(arguments: &LoadArgs) -> Result<Option<String>, Failure> {
    if arguments.funder.is_some() {
        return Err(Failure::Usage(
            "--funder: a key on a command line can be read by every user of the machine (ps); write it to a file of yours and \
             give --funder-file FILE, pipe it to --funder-file -, or set IPE_LOAD_FUNDER; consider this key known to others"
                .to_owned(),
        ));
    }
    let text = match &arguments.funder_file {
        Some(path) if path.as_os_str() == "-" => std::io::read_to_string(std::io::stdin().take(MAX_KEY_BYTES))
            .map_err(|error| Failure::failed("--funder-file -: could not read standard input", error))?,
        Some(path) => {
            if let Some(warning) = key_file::exposure(path) {
                eprintln!("ipe: {warning}");
            }
            read_text(path, MAX_KEY_BYTES)?
        }
        None => return Ok(std::env::var("IPE_LOAD_FUNDER").ok()),
    };
    Ok(Some(text.trim().to_owned()))
}

fn plan(arguments: LoadArgs) -> Result<LoadPlan, Failure> {
    let given = funder(&arguments)?;
    let kind: Kind = arguments.kind.parse().map_err(|error| Failure::Usage(format!("load: {error}")))?;
    let (endpoints, funder) = match &arguments.lab {
        Some(dir) => {
            let (endpoints, funder) = lab::entrances(dir)?;
            (endpoints, given.or(Some(funder)))
        }
        None if arguments.endpoints.is_empty() => (vec!["http://127.0.0.1:8545".to_owned()], given),
        None => (arguments.endpoints, given),
    };
    Ok(LoadPlan {
        endpoints,
        kind,
        pace: match (arguments.closed, arguments.rate) {
            (Some(in_flight), _) => Pace::InFlight(in_flight),
            (None, rate) => Pace::Rate(rate.unwrap_or(100.0)),
        },
        duration: time("duration", &arguments.duration)?,
        warmup: arguments.warmup.as_deref().map_or(Ok(Duration::ZERO), |text| time("warmup", text))?,
        drain: time("drain", &arguments.drain)?,
        senders: arguments.senders,
        seed: arguments.seed,
        key_file: arguments.key_file,
        funder,
        value: arguments
            .value
            .parse::<U256>()
            .map_err(|_| Failure::Usage(format!("--value: got {:?}, expected wei, decimal or 0x hex", arguments.value)))?,
        gas_price: arguments.gas_price,
        document: arguments.document,
        recipients: arguments.recipients,
        batch: arguments.batch,
        connections: arguments.connections,
        poll: time("poll", &arguments.poll)?,
        signers: arguments.signers,
    })
}
