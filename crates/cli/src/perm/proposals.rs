//! `ipe proposal`: what governance decides.

use super::history::{self, Span};
use super::network::{Network, Reach, Reading};
use super::proposal::{self, Proposal};
use super::send::{Proposing, Sending, propose, send};
use super::simulate;
use super::text::print_json;
use crate::failure::{Failure, Outcome};
use alloy_primitives::{Address, B256, U256, hex};
use alloy_sol_types::SolCall;
use clap::Subcommand;
use ipe_rules::abi::Governance;
use ipe_rules::artifact::Contract;
use ipe_rules::catalogue;
use serde_json::json;

#[derive(Subcommand)]
pub enum ProposalCommand {
    /// List proposals, newest first.
    List {
        /// How many.
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=5_000))]
        last: u64,
        #[command(flatten)]
        reading: Reading,
    },
    /// Show a proposal: its calls in words, who has voted what, and what is still needed.
    Show {
        /// Number of the proposal.
        id: u64,
        #[command(flatten)]
        reading: Reading,
    },
    /// What has happened with a proposal, and by whom.
    History {
        /// Number; all proposals when absent.
        id: Option<u64>,
        #[command(flatten)]
        span: Span,
        #[command(flatten)]
        reach: Reach,
    },
    /// Propose calls. Commands such as `ipe org add` propose a single one; with --print-call they print it for this.
    Propose {
        #[command(flatten)]
        calls: Calls,
        #[command(flatten)]
        proposing: Proposing,
        #[command(flatten)]
        sending: Box<Sending>,
    },
    /// Cast one's organization's vote.
    Vote {
        /// Number of the proposal.
        id: u64,
        /// yes or no.
        #[arg(value_parser = ["yes", "no"])]
        vote: String,
        #[command(flatten)]
        sending: Box<Sending>,
    },
    /// Stop a proposal as a patron; this project's contracts alone.
    Veto {
        /// Number of the proposal.
        id: u64,
        /// Why; kept on chain.
        #[arg(long, value_name = "TEXT")]
        reason: String,
        #[command(flatten)]
        sending: Box<Sending>,
    },
    /// Make the calls of an approved proposal.
    Execute {
        /// Number of the proposal.
        id: u64,
        #[command(flatten)]
        sending: Box<Sending>,
    },
    /// Take one's organization's proposal back.
    Cancel {
        /// Number of the proposal.
        id: u64,
        /// Why; kept on chain.
        #[arg(long, value_name = "TEXT")]
        reason: String,
        #[command(flatten)]
        sending: Box<Sending>,
    },
    /// Say what a proposal would change before anybody votes: organizations, accounts, nodes, validators, connections, the quorum.
    ///
    /// Exit code 1 when a call would fail or the network would lose its quorum.
    Simulate {
        /// Number of the proposal; or calls.
        #[arg(conflicts_with = "call", required_unless_present = "call")]
        id: Option<u64>,
        #[arg(long = "call", value_name = "CALL", id = "call")]
        calls: Vec<String>,
        #[command(flatten)]
        reach: Reach,
    },
}

#[derive(clap::Args)]
pub struct Calls {
    /// CONTRACT.function(argument, ...) with a name of `ipe contract list`, or ADDRESS:DATA in hexadecimal. Several are made in order.
    #[arg(long = "call", value_name = "CALL", required = true)]
    calls: Vec<String>,
}

pub fn run(command: ProposalCommand) -> Outcome {
    match command {
        ProposalCommand::List { last, reading } => {
            proposal::list(&Network::open(&reading.reach, reading.block)?, last, reading.reach.json)
        }
        ProposalCommand::Show { id, reading } => {
            let network = Network::open(&reading.reach, reading.block)?;
            let proposal = Proposal::read(&network, id)?;
            if reading.reach.json {
                print_json(
                    &json!({ "network": network.json(), "governance": network.governance, "proposal": proposal.json(&network)? }),
                );
                return Ok(());
            }
            proposal.print(&network)
        }
        ProposalCommand::History { id, span, reach } => {
            let network = Network::open(&reach, None)?;
            let governance = network.need_governance()?;
            let topics = id.map_or_else(|| json!([]), |id| json!([null, B256::from(U256::from(id))]));
            let (from, to) = super::explain::span(&network, &span);
            let found = history::search(&network.link, &[governance], &topics, (from, to), |_| false)?;
            history::print(&network, &found, to, reach.json)
        }
        ProposalCommand::Propose { calls, proposing, sending } => {
            let network = Network::open(&sending.reach, None)?;
            let calls = read_calls(&network, &calls.calls)?;
            if proposing.print_call {
                for (to, data) in &calls {
                    println!("{to}:{}", hex::encode_prefixed(data));
                }
                return Ok(());
            }
            propose(&network, &sending, &proposing, &calls)
        }
        ProposalCommand::Vote { id, vote, sending } => {
            let network = Network::open(&sending.reach, None)?;
            let call = Governance::castVoteCall { proposalId: U256::from(id), approve: vote == "yes" };
            send(&network, &sending, network.need_governance()?, call.abi_encode(), None)
        }
        ProposalCommand::Veto { id, reason, sending } => {
            let network = Network::open(&sending.reach, None)?;
            let governance = network.need_governance()?;
            if network.charter.is_none() {
                return Err(Failure::Failed(
                    "the second generation has no veto: vote against it with `ipe proposal vote ID no`".to_owned(),
                ));
            }
            send(
                &network,
                &sending,
                governance,
                Governance::vetoProposalCall { proposalId: U256::from(id), reason }.abi_encode(),
                None,
            )
        }
        ProposalCommand::Execute { id, sending } => {
            let network = Network::open(&sending.reach, None)?;
            let proposal = Proposal::read(&network, id)?;
            if proposal.data.result == 2 && proposal.data.status != 3 {
                return Err(Failure::Failed(format!(
                    "proposal {id} was rejected: it is not executed, although contracts of the second generation would let you"
                )));
            }
            send(
                &network,
                &sending,
                network.need_governance()?,
                Governance::executeProposalCall { proposalId: U256::from(id) }.abi_encode(),
                None,
            )
        }
        ProposalCommand::Cancel { id, reason, sending } => {
            let network = Network::open(&sending.reach, None)?;
            let call = Governance::cancelProposalCall { proposalId: U256::from(id), reason };
            send(&network, &sending, network.need_governance()?, call.abi_encode(), None)
        }
        ProposalCommand::Simulate { id, calls, reach } => simulated(id, &calls, &reach),
    }
}

/// Calls of the command line.
fn read_calls(network: &Network, texts: &[String]) -> Result<Vec<(Address, Vec<u8>)>, Failure> {
    texts
        .iter()
        .map(|text| {
            let wrong = |error: String| Failure::Usage(format!("--call {text:?}: {error}"));
            if let Some((to, data)) = text.split_once(':').filter(|(to, _)| to.starts_with("0x")) {
                let to = super::network::address(to).map_err(wrong)?;
                return hex::decode(data)
                    .map(|data| (to, data))
                    .map_err(|_| wrong("after the colon: expected bytes in hexadecimal".to_owned()));
            }
            let (name, call) = text
                .split_once('.')
                .ok_or_else(|| wrong("expected CONTRACT.function(argument, ...) or ADDRESS:DATA".to_owned()))?;
            let to = super::contract::named(network, name)?;
            let contract = network.role_of(to).unwrap_or(Contract::Language);
            Ok((to, catalogue::encode(contract, call).map_err(wrong)?))
        })
        .collect()
}

/// Who would execute: a global administrator that may act, of any organisation that votes.
fn executor(network: &Network) -> Result<Address, Failure> {
    for account in network.accounts()? {
        let votes = network.orgs()?.get(&account.org).is_some_and(|org| org.votes);
        if account.role == ipe_rules::words::GLOBAL_ADMIN_ROLE && account.active && votes {
            return Ok(account.address);
        }
    }
    Err(Failure::Failed("no organization that votes has an active global administrator: nobody could execute it".to_owned()))
}

fn simulated(id: Option<u64>, texts: &[String], reach: &Reach) -> Outcome {
    let network = Network::open(reach, None)?;
    network.need_governance()?;
    let calls = match id {
        Some(id) => {
            let proposal = Proposal::read(&network, id)?;
            proposal.calls.iter().map(|call| (call.target, call.data.clone())).collect()
        }
        None => read_calls(&network, texts)?,
    };
    let effects = simulate::effects(&network, simulate::Caller::Governance { executor: executor(&network)? }, &calls)?;
    if reach.json {
        let shown: Vec<_> = calls.iter().map(|(to, data)| super::decoded::Call::of(&network, *to, data).json(&network)).collect();
        print_json(&json!({ "network": network.json(), "proposal": id, "calls": shown, "effects": effects.json(&network) }));
    } else {
        for (index, line) in simulate::lines(&network, &calls).iter().enumerate() {
            println!("call {}: {line}", index + 1);
        }
        effects.print(&network);
    }
    if effects.danger().is_some() { Err(Failure::Told) } else { Ok(()) }
}
