//! `ipe contract`: where the rules are, and who governs them.

use super::history::{self, Span};
use super::network::{Network, Reach, Reading, address, maybe};
use super::send::{Proposing, Sending, governed, propose};
use super::text::{print_json, table};
use crate::failure::{Failure, Outcome};
use alloy_primitives::{Address, keccak256};
use alloy_sol_types::SolCall;
use clap::{Args, Subcommand};
use ipe_rules::abi::{Accounts, Admins, Ingress};
use ipe_rules::artifact::Contract;
use serde_json::{Value, json};

#[derive(Subcommand)]
pub enum ContractCommand {
    /// List the network's contracts: address, generation, size and hash of their code.
    List(Reading),
    /// Show one: what it is, who governs it, who may call it.
    Show {
        /// Name as `contract list` shows it, or an address.
        contract: String,
        #[command(flatten)]
        reading: Reading,
    },
    /// Changes of the rules that the ingresses name, of the master administrators, and of who may call contracts.
    History {
        #[command(flatten)]
        span: Span,
        #[command(flatten)]
        reach: Reach,
    },
    /// Propose other rules, or another administration, for the ingresses.
    Replace {
        /// rules or administration.
        #[arg(value_parser = ["rules", "administration"])]
        what: String,
        /// Contract of the account ingress.
        #[arg(long, value_name = "ADDRESS", value_parser = address)]
        accounts: Option<Address>,
        /// Contract of the node ingress.
        #[arg(long, value_name = "ADDRESS", value_parser = address, required_unless_present = "accounts")]
        nodes: Option<Address>,
        #[command(flatten)]
        proposing: Proposing,
        #[command(flatten)]
        sending: Box<Sending>,
    },
    /// Propose that only these accounts may send to a contract; without accounts it is closed.
    Restrict {
        /// Name as `contract list` shows it, or an address.
        contract: String,
        /// Accounts.
        #[arg(value_parser = address)]
        senders: Vec<Address>,
        #[command(flatten)]
        proposing: Proposing,
        #[command(flatten)]
        sending: Box<Sending>,
    },
    /// Propose that every account may send to a contract again.
    Release {
        /// Name as `contract list` shows it, or an address.
        contract: String,
        #[command(flatten)]
        proposing: Proposing,
        #[command(flatten)]
        sending: Box<Sending>,
    },
    /// Propose a new master administrator.
    AddAdmin(AdminArgs),
    /// Propose that a master administrator goes.
    RemoveAdmin(AdminArgs),
}

#[derive(Args)]
pub struct AdminArgs {
    /// Its address.
    #[arg(value_parser = address)]
    admin: Address,
    #[command(flatten)]
    proposing: Proposing,
    #[command(flatten)]
    sending: Box<Sending>,
}

/// Contracts in the order in which they are shown.
const SHOWN: [Contract; 10] = [
    Contract::AccountIngress,
    Contract::NodeIngress,
    Contract::Admin,
    Contract::Organizations,
    Contract::Accounts,
    Contract::Nodes,
    Contract::Governance,
    Contract::Charter,
    Contract::SelectionIngress,
    Contract::Selection,
];

pub fn run(command: ContractCommand) -> Outcome {
    match command {
        ContractCommand::List(reading) => list(&Network::open(&reading.reach, reading.block)?, reading.reach.json),
        ContractCommand::Show { contract, reading } => {
            let network = Network::open(&reading.reach, reading.block)?;
            let at = named(&network, &contract)?;
            show(&network, at, reading.reach.json)
        }
        ContractCommand::History { span, reach } => {
            let network = Network::open(&reach, None)?;
            let (from, to) = super::explain::span(&network, &span);
            let mut contracts = vec![network.account_ingress, network.node_ingress];
            contracts.extend([network.account_admin, network.node_admin].into_iter().flatten());
            contracts.extend(network.charter);
            let mut found = history::search(&network.link, &contracts, &json!([]), (from, to), |_| false)?;
            if let Some(rules) = network.account_rules.filter(|_| network.accounts_are.has_organizations()) {
                let topic = keccak256("SmartContractSenderAccessUpdated(address,bool,address[])");
                let lists = history::search(&network.link, &[rules], &json!([topic]), (from, to), |_| false)?;
                found.searched_from = found.searched_from.max(lists.searched_from);
                found.cut = found.cut.or(lists.cut);
                found.events.extend(lists.events);
                found.events.sort_by_key(|event| (event.block, event.index));
            }
            history::print(&network, &found, to, reach.json)
        }
        ContractCommand::Replace { what, accounts, nodes, proposing, sending } => {
            let network = Network::open(&sending.reach, None)?;
            let name = if what == "rules" { ipe_rules::RULES } else { ipe_rules::ADMINISTRATION };
            let mut calls = Vec::new();
            for (ingress, target) in [(network.account_ingress, accounts), (network.node_ingress, nodes)] {
                let Some(target) = target else { continue };
                if network.link.code(target)?.is_empty() {
                    return Err(Failure::Failed(format!(
                        "{target} is no contract after block {}: nodes would get no answer",
                        network.link.at
                    )));
                }
                calls.push((ingress, Ingress::setContractAddressCall { name, target }.abi_encode()));
            }
            if let ([(to, data)], true) = (calls.as_slice(), proposing.as_master || proposing.print_call) {
                return governed(&network, &sending, &proposing, *to, data.clone());
            }
            if proposing.as_master || proposing.print_call {
                return Err(Failure::Usage("--as-master and --print-call take one ingress at a time".to_owned()));
            }
            propose(&network, &sending, &proposing, &calls)
        }
        ContractCommand::Restrict { contract, senders, proposing, sending } => {
            callers(&contract, true, senders, &proposing, &sending)
        }
        ContractCommand::Release { contract, proposing, sending } => callers(&contract, false, Vec::new(), &proposing, &sending),
        ContractCommand::AddAdmin(AdminArgs { admin, proposing, sending }) => {
            let network = Network::open(&sending.reach, None)?;
            governed(&network, &sending, &proposing, need_admin(&network)?, Admins::addAdminCall { account: admin }.abi_encode())
        }
        ContractCommand::RemoveAdmin(AdminArgs { admin, proposing, sending }) => {
            let network = Network::open(&sending.reach, None)?;
            if network.admins.as_slice() == [admin] {
                return Err(Failure::Failed(format!(
                    "{admin} is the last master administrator: nobody could change anything any more"
                )));
            }
            if Some(admin) == network.governance {
                return Err(Failure::Failed(format!("{admin} is the governance contract: no proposal could take effect any more")));
            }
            if !network.admins.contains(&admin) {
                return Err(Failure::Failed(format!("{admin} is no master administrator; see `ipe contract show admin`")));
            }
            governed(&network, &sending, &proposing, need_admin(&network)?, Admins::removeAdminCall { account: admin }.abi_encode())
        }
    }
}

fn need_admin(network: &Network) -> Result<Address, Failure> {
    network.account_admin.or(network.node_admin).ok_or_else(|| Failure::Failed("the ingresses name no administration".to_owned()))
}

fn callers(contract: &str, restricted: bool, senders: Vec<Address>, proposing: &Proposing, sending: &Sending) -> Outcome {
    let network = Network::open(&sending.reach, None)?;
    network.need_organizations()?;
    let at = named(&network, contract)?;
    if restricted
        && matches!(
            network.role_of(at),
            Some(Contract::Governance | Contract::Admin | Contract::Organizations | Contract::Accounts)
        )
    {
        return Err(Failure::Failed(format!(
            "{} is never restricted: governance could not be reached any more",
            network.label(at)
        )));
    }
    let call = Accounts::setSmartContractSenderAccessCall { smartContract: at, restricted, allowedSenders: senders };
    governed(&network, sending, proposing, network.need_accounts()?, call.abi_encode())
}

/// A contract of the network by its name, or any address.
pub fn named(network: &Network, text: &str) -> Result<Address, Failure> {
    if text.starts_with("0x") {
        return super::network::address(text).map_err(|error| Failure::Usage(format!("{text:?}: {error}")));
    }
    let contract = SHOWN.iter().find(|contract| contract.name() == text).ok_or_else(|| {
        let names: Vec<&str> = SHOWN.iter().map(|contract| contract.name()).collect();
        Failure::Usage(format!("{text:?}: expected an address, or one of {}", names.join(", ")))
    })?;
    network
        .address_of(*contract)
        .ok_or_else(|| Failure::Failed(format!("this network has no {text}, as far as its ingresses tell")))
}

struct Found {
    name: &'static str,
    address: Address,
    size: usize,
    code: alloy_primitives::B256,
    generation: &'static str,
}

fn find(network: &Network) -> Result<Vec<Found>, Failure> {
    let mut all = Vec::new();
    for contract in SHOWN {
        let Some(address) = network.address_of(contract) else { continue };
        let code = network.link.code(address)?;
        let generation = match contract {
            Contract::Accounts => network.accounts_are.name(),
            Contract::Nodes => network.nodes_are.name(),
            _ if code.is_empty() => "no code",
            _ => "",
        };
        all.push(Found { name: contract.name(), address, size: code.len(), code: keccak256(&code), generation });
    }
    Ok(all)
}

fn list(network: &Network, as_json: bool) -> Outcome {
    let found = find(network)?;
    if as_json {
        let contracts: Vec<Value> = found
            .iter()
            .map(|contract| {
                json!({
                    "name": contract.name, "address": contract.address, "codeBytes": contract.size, "codeHash": contract.code,
                    "generation": Some(contract.generation).filter(|generation| !generation.is_empty()),
                })
            })
            .collect();
        print_json(&json!({ "network": network.json(), "admins": network.admins, "contracts": contracts }));
        return Ok(());
    }
    let rows: Vec<Vec<String>> = found
        .iter()
        .map(|contract| {
            vec![
                contract.name.to_owned(),
                contract.address.to_string(),
                contract.size.to_string(),
                contract.code.to_string(),
                contract.generation.to_owned(),
            ]
        })
        .collect();
    table(&["CONTRACT", "ADDRESS", "CODE BYTES", "CODE HASH", "GENERATION"], &rows);
    println!("account rules: {}", network.accounts_are.words());
    println!("node rules:    {}", network.nodes_are.words());
    for admin in &network.admins {
        println!("master administrator: {}", network.label(*admin));
    }
    for warning in warnings(network)? {
        println!("WARNING: {warning}");
    }
    Ok(())
}

/// What of the contracts endangers the network.
fn warnings(network: &Network) -> Result<Vec<String>, Failure> {
    let mut all = Vec::new();
    for (name, ingress, admin) in
        [("account", network.account_ingress, network.account_admin), ("node", network.node_ingress, network.node_admin)]
    {
        if network.link.code(ingress)?.is_empty() {
            all.push(format!("there is no contract at the {name} ingress {ingress}: no contract decides"));
            continue;
        }
        if admin.is_none()
            && maybe(
                network.link.call(ingress, &ipe_rules::abi::Ingress::isAuthorizedCall { account: Address::with_last_byte(1) }),
            )? == Some(true)
        {
            all.push(format!("the {name} ingress {ingress} has no administration: anybody may register rules"));
        }
    }
    if network.account_admin != network.node_admin {
        all.push("the two ingresses have different administrations".to_owned());
    }
    for admin in &network.admins {
        if Some(*admin) != network.governance && network.governance.is_some() {
            all.push(format!("the master administrator {admin} is above governance: it changes everything without a vote"));
        }
    }
    Ok(all)
}

fn show(network: &Network, at: Address, as_json: bool) -> Outcome {
    let role = network.role_of(at);
    let code = network.link.code(at)?;
    let senders = match network.account_rules.filter(|_| network.accounts_are.has_organizations()) {
        Some(rules) => Some(network.link.read(
            "the account rules",
            rules,
            &Accounts::getSmartContractSenderAccessCall { smartContract: at },
        )?),
        None => None,
    };
    let senders = senders.filter(|list| list.restricted).map(|list| list.allowedSenders);
    let is_admin = role == Some(Contract::Admin);
    let sealed = if is_admin { maybe(network.link.call(at, &Admins::isSealedCall {}))? } else { None };
    if as_json {
        print_json(&json!({
            "network": network.json(), "address": at, "name": role.map(Contract::name), "codeBytes": code.len(), "codeHash": keccak256(&code),
            "allowedSenders": senders, "admins": is_admin.then_some(&network.admins), "sealed": sealed,
        }));
        return Ok(());
    }
    println!("contract   {}", network.label(at));
    println!("code       {} bytes, hash {}", code.len(), keccak256(&code));
    match &senders {
        None => println!("callers    every account that may transact"),
        Some(senders) if senders.is_empty() => println!("callers    none: it is closed"),
        Some(senders) => {
            for sender in senders {
                println!("caller     {sender}");
            }
        }
    }
    if is_admin {
        for admin in &network.admins {
            println!("admin      {}", network.label(*admin));
        }
    }
    if let Some(sealed) = sealed {
        println!("sealed     {}", if sealed { "yes: contracts only" } else { "no: accounts may be administrators" });
    }
    Ok(())
}
