//! `ipe permission`: allowed or not, and why.

use super::explain::{self, Subject, subject};
use super::network::{Network, Reading, address};
use crate::failure::{Failure, Outcome};
use alloy_primitives::Address;
use clap::Subcommand;

#[derive(Subcommand)]
pub enum PermissionCommand {
    /// Say whether an account, a node, a connection or a transaction is allowed: by which rule, since when, by whom, and what would
    /// change it.
    ///
    /// Exit code 0 when it is allowed and also when it is not: the answer is the result.
    Explain {
        /// Address, enode URL, node's key of 128 hex digits, or transaction hash.
        subject: String,
        /// Second node of a connection.
        other: Option<String>,
        /// With an account: the contract that it would call.
        #[arg(long, value_name = "ADDRESS", value_parser = address)]
        target: Option<Address>,
        #[command(flatten)]
        reading: Reading,
    },
}

pub fn run(command: PermissionCommand) -> Outcome {
    let PermissionCommand::Explain { subject: first, other, target, reading } = command;
    let wrong = |text: &str, error: String| Failure::Usage(format!("{text:?}: {error}"));
    let first = subject(&first).map_err(|error| wrong(&first, error))?;
    let other = other.map(|text| subject(&text).map_err(|error| wrong(&text, error))).transpose()?;
    if target.is_some() && !matches!(first, Subject::Account(_)) {
        return Err(Failure::Usage("--target: only an account has a target".to_owned()));
    }
    // A mined transaction was judged on the state before its block.
    let block = match (&first, reading.block) {
        (Subject::Transaction(hash), None) => explain::judged_at(&reading.reach, *hash)?,
        (_, block) => block,
    };
    explain::run(&Network::open(&reading.reach, block)?, &first, other.as_ref(), target, reading.reach.json)
}
