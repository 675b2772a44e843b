//! `ipe validator`: who validates, and who may.

use super::explain::node;
use super::history::{self, Span};
use super::link::{address, small};
use super::network::{Network, Node, Reach, Reading, address as address_argument, maybe};
use super::send::{Proposing, Sending, governed, send};
use super::text::{clean, print_json, table};
use crate::failure::{Failure, Outcome};
use alloy_primitives::Address;
use alloy_sol_types::SolCall;
use clap::{Args, Subcommand};
use ipe_rules::abi::{Selection, SelectionIngress};
use ipe_types::NodeId;
use ipe_types::crypto::address_of;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Most validators that a node's answer may have.
const MAX_VALIDATORS: usize = 1_000;

#[derive(Subcommand)]
pub enum ValidatorCommand {
    /// List the validators of the next block, and with a selection contract those who may validate.
    List(Reading),
    /// Show a validator: its node, its organization, its place in the selection.
    Show {
        /// Address of the validator.
        #[arg(value_parser = address_argument)]
        validator: Address,
        #[command(flatten)]
        reading: Reading,
    },
    /// What has happened in the selection contract.
    History {
        #[command(flatten)]
        span: Span,
        #[command(flatten)]
        reach: Reach,
    },
    /// Propose that a validator may come into office, in the selection contract.
    Add {
        #[command(flatten)]
        governed: Governed,
        /// It comes into office at once.
        #[arg(long)]
        enter: bool,
    },
    /// Propose that a validator leaves the selection contract.
    Remove(Governed),
    /// Bring one's own eligible validator into office.
    Enter(Own),
    /// Take one's own validator out of office, for maintenance.
    Leave(Own),
    /// Vote in the blocks of the validator behind --rpc, in networks whose validators are chosen by header votes. The group QBFT of
    /// JSON-RPC has to be on.
    Vote {
        /// Address of the validator.
        #[arg(value_parser = address_argument)]
        validator: Address,
        /// add, remove, or withdraw one's vote.
        #[arg(value_parser = ["add", "remove", "withdraw"])]
        vote: String,
        #[command(flatten)]
        reach: Reach,
    },
}

#[derive(Args)]
pub struct Governed {
    /// Address of the validator.
    #[arg(value_parser = address_argument)]
    validator: Address,
    #[command(flatten)]
    proposing: Proposing,
    #[command(flatten)]
    sending: Box<Sending>,
}

#[derive(Args)]
pub struct Own {
    /// The validator's enode URL, or its public key of 128 hex digits.
    #[arg(value_parser = node, value_name = "ENODE")]
    enode: NodeId,
    #[command(flatten)]
    sending: Box<Sending>,
}

pub fn run(command: ValidatorCommand) -> Outcome {
    match command {
        ValidatorCommand::List(reading) => {
            let network = Network::open(&reading.reach, reading.block)?;
            let validators = read(&network)?;
            if reading.reach.json {
                let all: Vec<Value> = validators.iter().map(|validator| validator.json(&network)).collect();
                print_json(&json!({ "network": network.json(), "selection": selection_json(&network)?, "validators": all }));
                return Ok(());
            }
            let rows: Vec<Vec<String>> = validators.iter().map(|validator| validator.row(&network)).collect();
            table(&["VALIDATOR", "VALIDATES", "IN SELECTION", "NODE", "ORGANIZATION"], &rows);
            let n = validators.iter().filter(|validator| validator.validates).count();
            println!("{n} validators: a quorum is {}, {} may fail", quorum(n), n.saturating_sub(quorum(n)));
            let selection = selection_json(&network)?;
            if selection["good"] == false {
                println!("WARNING: the selection contract does not answer in form; the last good set is in force");
            }
            Ok(())
        }
        ValidatorCommand::Show { validator, reading } => {
            let network = Network::open(&reading.reach, reading.block)?;
            let found = read(&network)?.into_iter().find(|known| known.address == validator).ok_or_else(|| {
                Failure::Failed(format!(
                    "{validator} neither validates nor is eligible after block {}; see `ipe validator list`",
                    network.link.at
                ))
            })?;
            if reading.reach.json {
                print_json(
                    &json!({ "network": network.json(), "selection": selection_json(&network)?, "validator": found.json(&network) }),
                );
                return Ok(());
            }
            table(&["VALIDATOR", "VALIDATES", "IN SELECTION", "NODE", "ORGANIZATION"], &[found.row(&network)]);
            if let Some(block) = found.last_proposed {
                println!("last block proposed, as the selection contract was told: {block}");
            }
            Ok(())
        }
        ValidatorCommand::History { span, reach } => {
            let network = Network::open(&reach, None)?;
            let contracts: Vec<Address> = [network.selection, network.validators_ingress].into_iter().flatten().collect();
            if contracts.is_empty() {
                return Err(no_selection());
            }
            let (from, to) = super::explain::span(&network, &span);
            let found = history::search(&network.link, &contracts, &json!([]), (from, to), |_| false)?;
            history::print(&network, &found, to, reach.json)
        }
        ValidatorCommand::Add { governed: Governed { validator, proposing, sending }, enter } => {
            let network = Network::open(&sending.reach, None)?;
            let selection = network.selection.ok_or_else(no_selection)?;
            let call = Selection::addEligibleValidatorByAddressCall { validator, activate: enter };
            governed(&network, &sending, &proposing, selection, call.abi_encode())
        }
        ValidatorCommand::Remove(Governed { validator, proposing, sending }) => {
            let network = Network::open(&sending.reach, None)?;
            let selection = network.selection.ok_or_else(no_selection)?;
            governed(
                &network,
                &sending,
                &proposing,
                selection,
                Selection::removeEligibleValidatorByAddressCall { validator }.abi_encode(),
            )
        }
        ValidatorCommand::Enter(Own { enode, sending }) => {
            let network = Network::open(&sending.reach, None)?;
            let selection = network.selection.ok_or_else(no_selection)?;
            let (high, low) = super::network::halves(enode);
            send(
                &network,
                &sending,
                selection,
                Selection::addOperationalValidatorCall { enodeHigh: high, enodeLow: low }.abi_encode(),
                None,
            )
        }
        ValidatorCommand::Leave(Own { enode, sending }) => {
            let network = Network::open(&sending.reach, None)?;
            let selection = network.selection.ok_or_else(no_selection)?;
            let (high, low) = super::network::halves(enode);
            send(
                &network,
                &sending,
                selection,
                Selection::removeOperationalValidatorByAdminCall { enodeHigh: high, enodeLow: low }.abi_encode(),
                None,
            )
        }
        ValidatorCommand::Vote { validator, vote, reach } => header_vote(&reach, validator, &vote),
    }
}

fn header_vote(reach: &Reach, validator: Address, vote: &str) -> Outcome {
    let network = Network::open(reach, None)?;
    let office = in_office(&network)?;
    let inside = office.contains(&validator);
    match vote {
        "add" if inside => return Err(Failure::Failed(format!("{validator} validates already"))),
        "remove" if !inside => return Err(Failure::Failed(format!("{validator} does not validate; see `ipe validator list`"))),
        "remove" if office.len() == 1 => {
            return Err(Failure::Failed(format!("{validator} is the only validator: the network would stop")));
        }
        _ => {}
    }
    let (method, params) = match vote {
        "withdraw" => ("qbft_discardValidatorVote", json!([validator])),
        vote => ("qbft_proposeValidatorVote", json!([validator, vote == "add"])),
    };
    let answer = network.link.must(method, params)?;
    if answer != json!(true) {
        return Err(network.link.wrong(method, &answer, "true"));
    }
    if reach.json {
        print_json(&json!({ "network": network.json(), "validator": validator, "vote": vote }));
        return Ok(());
    }
    let n = office.len();
    match vote {
        "withdraw" => println!("this validator does not vote about {validator} any more"),
        vote => println!(
            "this validator votes to {vote} {validator}, in each block that it proposes, until more than half of {n} validators have: {} of them",
            n / 2 + 1
        ),
    }
    Ok(())
}

/// Why there is no selection contract.
pub fn no_selection() -> Failure {
    Failure::Failed(
        "no selection contract is known: name what nodes ask with --validators-ingress, or the genesis file with --genesis"
            .to_owned(),
    )
}

/// Votes that a decision takes of `n` validators: two thirds, rounded up.
pub const fn quorum(n: usize) -> usize {
    (2 * n).div_ceil(3)
}

/// A validator, or one that may become it.
pub struct Validator {
    pub address: Address,
    pub validates: bool,
    /// `eligible`, `operational`, `protected`.
    pub selection: Option<&'static str>,
    pub last_proposed: Option<u64>,
    pub node: Option<Node>,
}

impl Validator {
    fn row(&self, network: &Network) -> Vec<String> {
        let (node, owner) = match &self.node {
            Some(node) => (clean(&node.name), network.owner(node)),
            None => ("not registered".to_owned(), String::new()),
        };
        let validates = if self.validates { "yes" } else { "no" };
        vec![self.address.to_string(), validates.to_owned(), self.selection.unwrap_or("-").to_owned(), node, owner]
    }

    fn json(&self, network: &Network) -> Value {
        json!({
            "address": self.address, "validates": self.validates, "selection": self.selection, "lastProposedBlock": self.last_proposed,
            "node": self.node.as_ref().map(|node| node.id), "name": self.node.as_ref().map(|node| &node.name),
            "organization": self.node.as_ref().map(|node| node.org), "organizationName": self.node.as_ref().map(|node| network.owner(node)),
        })
    }
}

/// The validators of the block after the one looked at, as the node tells them.
pub fn in_office(network: &Network) -> Result<BTreeSet<Address>, Failure> {
    let link = &network.link;
    let block = if link.at == link.head { json!(["latest"]) } else { json!([format!("{:#x}", link.at)]) };
    let answer = link.must("qbft_getValidatorsByBlockNumber", block)?;
    let list = answer.as_array().filter(|list| list.len() <= MAX_VALIDATORS);
    let list = list.and_then(|list| list.iter().map(address).collect::<Option<BTreeSet<_>>>());
    list.filter(|list| !list.is_empty())
        .ok_or_else(|| link.wrong("qbft_getValidatorsByBlockNumber", &answer, "1 to 1000 addresses"))
}

/// Nodes by the addresses of their keys; none where the node rules cannot be listed.
pub fn nodes_by_address(network: &Network) -> Result<BTreeMap<Address, Node>, Failure> {
    if network.node_rules.is_none() {
        return Ok(BTreeMap::new());
    }
    Ok(network.nodes()?.into_iter().map(|node| (address_of(node.id), node)).collect())
}

fn read(network: &Network) -> Result<Vec<Validator>, Failure> {
    let office = in_office(network)?;
    let mut nodes = nodes_by_address(network)?;
    let mut places: BTreeMap<Address, &'static str> = BTreeMap::new();
    if let Some(selection) = network.selection {
        let eligible = network.link.read("the selection contract", selection, &Selection::getEligibleValidatorsCall {})?;
        let operational = network.link.read("the selection contract", selection, &Selection::getValidatorsCall {})?;
        let protected = network.link.read("the selection contract", selection, &Selection::getProtectedValidatorsCall {})?;
        for (place, list) in [("eligible", eligible), ("operational", operational), ("protected", protected)] {
            places.extend(list.into_iter().map(|validator| (validator, place)));
        }
    }
    let all: BTreeSet<Address> = office.iter().chain(places.keys()).copied().collect();
    let mut validators = Vec::new();
    for address in all {
        let last = match network.selection {
            Some(selection) => {
                maybe(network.link.call(selection, &Selection::lastBlockProposedByCall { validator: address }))?.map(small)
            }
            None => None,
        };
        validators.push(Validator {
            address,
            validates: office.contains(&address),
            selection: places.get(&address).copied(),
            last_proposed: last,
            node: nodes.remove(&address),
        });
    }
    Ok(validators)
}

/// `{ingress, contract, mode, nextSelectionBlock, blocksWithoutProposeThreshold, good}`, or null.
fn selection_json(network: &Network) -> Result<Value, Failure> {
    let Some(selection) = network.selection else { return Ok(Value::Null) };
    let mode = network.link.read("the selection contract", selection, &Selection::operationModeCall {})?;
    let next = network.link.read("the selection contract", selection, &Selection::nextSelectionBlockCall {})?;
    let threshold = network.link.read("the selection contract", selection, &Selection::blocksWithoutProposeThresholdCall {})?;
    let good = match network.validators_ingress {
        Some(ingress) => maybe(network.link.call(ingress, &SelectionIngress::isSelectionGoodCall {}))?,
        None => None,
    };
    Ok(json!({
        "ingress": network.validators_ingress, "contract": selection, "mode": if mode == 0 { "manual" } else { "automatic" },
        "nextSelectionBlock": small(next), "blocksWithoutProposeThreshold": small(threshold), "good": good,
    }))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_quorum_is_two_thirds_rounded_up() {
        let quorums: Vec<usize> = (1..=10).map(super::quorum).collect();
        assert_eq!(quorums, [1, 2, 2, 3, 4, 4, 5, 6, 6, 7]);
    }
}
