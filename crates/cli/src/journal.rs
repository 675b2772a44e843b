//! `ipe journal`: what a validator's signing journal vouches for, and an operator's word when it cannot.

use crate::failure::{Failure, Outcome};
use crate::flags::NodeFlags;
use clap::{Args, Subcommand};
use ipe_engine::doubt::Doubt;
use ipe_engine::signing::Word;
use ipe_node::{NodeConfig, key_file, signing_journal};
use ipe_types::{B256, NodeKey};
use serde_json::json;

#[derive(Subcommand)]
pub enum JournalCommand {
    /// Say whether a stopped validator would sign, and from which height on. Changes nothing.
    Show {
        #[command(flatten)]
        flags: NodeFlags,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Let a stopped validator that abstains sign again. Exactly one of the two statements must be given, and must be true:
    /// a key that signs twice for one height can split the network.
    Resume(ResumeArgs),
}

#[derive(Args)]
#[command(group(clap::ArgGroup::new("word").required(true).args(["nothing-else-was-signed", "other-process-stopped"])))]
pub struct ResumeArgs {
    #[command(flatten)]
    flags: NodeFlags,
    /// The key has signed nothing that this journal does not hold: it was never used on this network.
    #[arg(long, id = "nothing-else-was-signed")]
    nothing_else_was_signed: bool,
    /// The other process that signed with this key is stopped for good. The validator signs again once the others have
    /// decided a block.
    #[arg(long, id = "other-process-stopped")]
    other_process_stopped: bool,
}

pub fn run(command: JournalCommand) -> Outcome {
    match command {
        JournalCommand::Show { flags, json } => show(flags, json),
        JournalCommand::Resume(arguments) => resume(arguments),
    }
}

fn load(flags: NodeFlags) -> Result<(NodeConfig, B256, NodeKey), Failure> {
    let config = flags.resolve()?;
    let (_, spec) = config.load_spec()?;
    let key = key_file::read(&config.validator_key_path())?;
    Ok((config, spec.genesis_hash(), key))
}

fn show(flags: NodeFlags, as_json: bool) -> Outcome {
    let (config, chain, key) = load(flags)?;
    let looked = signing_journal::look(&config.data_dir, chain, &key);
    let (floor, doubt) = looked.map_err(|error| Failure::Failed(error.to_string()))?;
    let file = signing_journal::path(&config.data_dir);
    if as_json {
        let doubt = doubt.map(|doubt| json!({ "cause": doubt.cause.name(), "text": doubt.to_string(), "through": doubt.through }));
        println!("{:#}", json!({ "file": file, "key": key.address(), "genesis": chain, "floor": floor, "abstains": doubt }));
        return Ok(());
    }
    println!("journal  {}", file.display());
    println!("key      {}", key.address());
    println!("genesis  {chain}");
    println!("floor    {floor} (nothing below this height is signed)");
    println!("signs    {}", told(doubt));
    Ok(())
}

fn resume(arguments: ResumeArgs) -> Outcome {
    let word = if arguments.nothing_else_was_signed { Word::NothingElseSigned } else { Word::OtherStopped };
    let (config, chain, key) = load(arguments.flags)?;
    let answered = signing_journal::answer(&config.data_dir, &config.validator_key_path(), chain, &key, word);
    let (before, left) = answered.map_err(|error| Failure::Failed(error.to_string()))?;
    println!("before  {}", told(before));
    println!("now     {}", told(left));
    Ok(())
}

fn told(doubt: Option<Doubt>) -> String {
    match doubt {
        None => "yes".to_owned(),
        Some(doubt) if doubt.ends_by_itself() => format!("not until the others have decided a block: {doubt}"),
        Some(doubt) => format!("no: {doubt}"),
    }
}
