//! `ipe org`: organisations.

use super::history::{self, Span};
use super::network::{Network, Org, Reach, Reading};
use super::send::{Proposing, Sending, governed};
use super::text::{clean, print_json, table};
use crate::failure::Outcome;
use alloy_primitives::U256;
use alloy_sol_types::SolCall;
use clap::Subcommand;
use ipe_rules::abi::Organizations;
use ipe_rules::words;
use serde_json::{Value, json};

#[derive(Subcommand)]
pub enum OrgCommand {
    /// List the organizations.
    List(Reading),
    /// Show an organization: its kind, its vote, its accounts and nodes.
    Show {
        /// Number or name.
        org: String,
        #[command(flatten)]
        reading: Reading,
    },
    /// What has happened to organizations, and by which proposals.
    History {
        /// Number or name; all when absent.
        org: Option<String>,
        #[command(flatten)]
        span: Span,
        #[command(flatten)]
        reach: Reach,
    },
    /// Propose a new organization.
    Add {
        /// Its name.
        name: String,
        /// Its registration number.
        #[arg(long)]
        cnpj: String,
        /// partner, associate or patron.
        #[arg(long, value_name = "TYPE", value_parser = kind)]
        r#type: u8,
        /// It may vote.
        #[arg(long)]
        votes: bool,
        #[command(flatten)]
        proposing: Proposing,
        #[command(flatten)]
        sending: Box<Sending>,
    },
    /// Propose other data for an organization; what is not given stays.
    Update {
        /// Number or name.
        org: String,
        /// New name.
        #[arg(long)]
        name: Option<String>,
        /// New registration number.
        #[arg(long)]
        cnpj: Option<String>,
        /// partner, associate or patron.
        #[arg(long, value_name = "TYPE", value_parser = kind)]
        r#type: Option<u8>,
        /// Whether it may vote.
        #[arg(long, value_name = "true|false")]
        votes: Option<bool>,
        #[command(flatten)]
        proposing: Proposing,
        #[command(flatten)]
        sending: Box<Sending>,
    },
    /// Propose that an organization leaves; its accounts and nodes do not count any more.
    Remove {
        /// Number or name.
        org: String,
        #[command(flatten)]
        proposing: Proposing,
        #[command(flatten)]
        sending: Box<Sending>,
    },
}

fn kind(text: &str) -> Result<u8, String> {
    words::number(&words::ORG_TYPES, text).ok_or_else(|| format!("expected one of {}", words::ORG_TYPES.join(", ")))
}

pub fn run(command: OrgCommand) -> Outcome {
    match command {
        OrgCommand::List(reading) => list(&Network::open(&reading.reach, reading.block)?, reading.reach.json),
        OrgCommand::Show { org, reading } => show(&Network::open(&reading.reach, reading.block)?, &org, reading.reach.json),
        OrgCommand::History { org, span, reach } => {
            let network = Network::open(&reach, None)?;
            let contract = network.need_organizations()?;
            let topics = match org {
                // An organisation that is gone has a history too.
                Some(org) => {
                    let id = org.parse().or_else(|_| network.org_named(&org).map(|org| org.id))?;
                    json!([null, alloy_primitives::B256::from(alloy_primitives::U256::from(id))])
                }
                None => json!([]),
            };
            let (from, to) = super::explain::span(&network, &span);
            let found = history::search(&network.link, &[contract], &topics, (from, to), |_| false)?;
            history::print(&network, &found, to, reach.json)
        }
        OrgCommand::Add { name, cnpj, r#type, votes, proposing, sending } => {
            let network = Network::open(&sending.reach, None)?;
            let to = network.need_organizations()?;
            let call = Organizations::addOrganizationCall { cnpj, name, orgType: r#type, canVote: votes };
            governed(&network, &sending, &proposing, to, call.abi_encode())
        }
        OrgCommand::Update { org, name, cnpj, r#type, votes, proposing, sending } => {
            let network = Network::open(&sending.reach, None)?;
            let to = network.need_organizations()?;
            let old = network.org_named(&org)?;
            let call = Organizations::updateOrganizationCall {
                orgId: U256::from(old.id),
                cnpj: cnpj.unwrap_or_else(|| old.cnpj.clone()),
                name: name.unwrap_or_else(|| old.name.clone()),
                orgType: r#type.unwrap_or(old.kind),
                canVote: votes.unwrap_or(old.votes),
            };
            governed(&network, &sending, &proposing, to, call.abi_encode())
        }
        OrgCommand::Remove { org, proposing, sending } => {
            let network = Network::open(&sending.reach, None)?;
            let to = network.need_organizations()?;
            let call = Organizations::deleteOrganizationCall { orgId: U256::from(network.org_named(&org)?.id) };
            governed(&network, &sending, &proposing, to, call.abi_encode())
        }
    }
}

fn org_json(org: &Org) -> Value {
    json!({ "id": org.id, "cnpj": org.cnpj, "name": org.name, "type": words::word(&words::ORG_TYPES, org.kind), "votes": org.votes })
}

fn list(network: &Network, as_json: bool) -> Outcome {
    network.need_organizations()?;
    let orgs = network.orgs()?;
    if as_json {
        print_json(&json!({ "network": network.json(), "organizations": orgs.values().map(org_json).collect::<Vec<_>>() }));
        return Ok(());
    }
    let rows: Vec<Vec<String>> = orgs
        .values()
        .map(|org| {
            let votes = if org.votes { "yes" } else { "no" };
            vec![org.id.to_string(), clean(&org.name), clean(&org.cnpj), words::word(&words::ORG_TYPES, org.kind), votes.to_owned()]
        })
        .collect();
    table(&["ID", "NAME", "CNPJ", "TYPE", "VOTES"], &rows);
    Ok(())
}

fn show(network: &Network, org: &str, as_json: bool) -> Outcome {
    let org = network.org_named(org)?;
    let accounts: Vec<_> = network.accounts()?.into_iter().filter(|account| account.org == org.id).collect();
    let nodes: Vec<_> = match network.nodes_are.has_organizations() {
        true => network.nodes()?.into_iter().filter(|node| node.org == org.id).collect(),
        false => Vec::new(),
    };
    if as_json {
        print_json(&json!({
            "network": network.json(), "organization": org_json(org),
            "accounts": accounts.iter().map(|account| super::explain::account_json(network, account)).collect::<Result<Vec<_>, _>>()?,
            "nodes": nodes.iter().map(|node| super::node_rule::node_json(network, node)).collect::<Result<Vec<_>, _>>()?,
        }));
        return Ok(());
    }
    println!("organization  {} ({})", clean(&org.name), org.id);
    println!("cnpj          {}", clean(&org.cnpj));
    println!("type          {}", words::word(&words::ORG_TYPES, org.kind));
    println!("votes         {}\n", if org.votes { "yes" } else { "no" });
    super::account::print(network, &accounts)?;
    println!("");
    super::node_rule::print(network, &nodes)
}
