//! `ipe`: a node, a lab network, and the tools around them.
//!
//! Exit codes: 0 done, 1 tried and failed, 2 wrong use; 3 a transaction that was sent and is in no block when the wait is over; of `ipe node run` also 75, when its replica did not return from an input and
//! the process ended itself to be started again, and 134 (aborted), when it met a bug.

/// In place of the standard one, which panics when the reader has gone away (`ipe key new | head -1`).
macro_rules! println {
    ($($text:tt)+) => { crate::failure::say(format_args!($($text)+)) };
}

mod besu;
mod blocks;
mod failure;
mod flags;
mod generate;
mod genesis;
mod health;
mod journal;
mod key;
mod lab;
mod load;
mod logging;
mod node;
mod perm;
#[cfg(test)]
mod reference;
mod rpc;
mod sim;
mod store;
mod tx;
mod version;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// A permissioned Ethereum network in one binary: QBFT nodes that drop into a Hyperledger Besu network, and a topology
/// in which validators talk only to their own institution's boots.
#[derive(Parser)]
#[command(name = "ipe", version = version::short(), long_version = version::long(), max_term_width = 120, subcommand_required = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a node, or prepare its folder.
    #[command(subcommand)]
    Node(node::NodeCommand),
    /// Coming from Besu.
    #[command(subcommand)]
    Besu(besu::BesuCommand),
    /// Node keys in Besu's file format.
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// What a validator's signing journal vouches for.
    #[command(subcommand)]
    Journal(journal::JournalCommand),
    /// A node's folder on disk.
    #[command(subcommand)]
    Store(store::StoreCommand),
    /// Genesis files in Besu's format.
    #[command(subcommand)]
    Genesis(genesis::GenesisCommand),
    /// Block files: concatenated block RLP, as Besu writes them.
    #[command(subcommand)]
    Blocks(blocks::BlocksCommand),
    /// Questions about a transaction.
    #[command(subcommand)]
    Tx(tx::TxCommand),
    /// Organizations that take part in the network.
    #[command(subcommand)]
    Org(perm::org::OrgCommand),
    /// Accounts, their roles and restrictions.
    #[command(subcommand)]
    Account(perm::account::AccountCommand),
    /// Nodes that the network's rules let in.
    #[command(subcommand)]
    NodeRule(perm::node_rule::NodeRuleCommand),
    /// Proposals, votes and their execution.
    #[command(subcommand)]
    Proposal(perm::proposals::ProposalCommand),
    /// Who validates, and who may.
    #[command(subcommand)]
    Validator(perm::validator::ValidatorCommand),
    /// The contracts that keep the rules.
    #[command(subcommand)]
    Contract(perm::contract::ContractCommand),
    /// Allowed or not, and why.
    #[command(subcommand)]
    Permission(perm::permission::PermissionCommand),
    /// Why a node is connected to another, or is not.
    #[command(subcommand)]
    Peer(perm::peer::PeerCommand),
    /// Generate load over JSON-RPC, on any Ethereum node.
    Load(Box<load::LoadArgs>),
    /// Whole networks in one thread, from one seed: faults, villains, checkers.
    #[command(subcommand)]
    Sim(sim::SimCommand),
    /// A local network of several institutions, every node a process of its own.
    #[command(subcommand)]
    Lab(lab::LabCommand),
    /// Print the script that completes commands and options in a shell.
    Completions(generate::CompletionsArgs),
    /// Write a man page for every command.
    Manual(generate::ManualArgs),
}

fn main() -> ExitCode {
    // clap ends the process with 2 on wrong use and 0 on --help.
    let outcome = match Cli::parse().command {
        Command::Node(command) => node::run(command),
        Command::Besu(command) => besu::run(command),
        Command::Key(command) => key::run(command),
        Command::Journal(command) => journal::run(command),
        Command::Store(command) => store::run(command),
        Command::Genesis(command) => genesis::run(command),
        Command::Blocks(command) => blocks::run(command),
        Command::Tx(command) => tx::run(command),
        Command::Org(command) => perm::org::run(command),
        Command::Account(command) => perm::account::run(command),
        Command::NodeRule(command) => perm::node_rule::run(command),
        Command::Proposal(command) => perm::proposals::run(command),
        Command::Validator(command) => perm::validator::run(command),
        Command::Contract(command) => perm::contract::run(command),
        Command::Permission(command) => perm::permission::run(command),
        Command::Peer(command) => perm::peer::run(command),
        Command::Load(arguments) => load::run(*arguments),
        Command::Sim(command) => sim::run(command),
        Command::Lab(command) => lab::run(command),
        Command::Completions(arguments) => generate::completions(&arguments),
        Command::Manual(arguments) => generate::manual(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
