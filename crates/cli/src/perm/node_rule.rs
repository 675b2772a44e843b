//! `ipe node-rule`: the registered nodes.

use super::explain::{about_node, halves_of_topics, node, short};
use super::history::{self, Span};
use super::network::{Generation, Network, Node, Reach, Reading, halves};
use super::send::{Proposing, Sending, governed, send, with_reason};
use super::text::{clean, print_json, table};
use crate::failure::{Failure, Outcome};
use alloy_primitives::{FixedBytes, U256};
use alloy_sol_types::SolCall;
use clap::{Args, Subcommand};
use ipe_node::key_file;
use ipe_rules::abi::{Gen01Nodes, Nodes};
use ipe_rules::words;
use ipe_types::NodeId;
use ipe_types::crypto::address_of;
use serde_json::{Value, json};
use std::path::PathBuf;

#[derive(Subcommand)]
pub enum NodeRuleCommand {
    /// List the registered nodes.
    List {
        /// Only this organization's: number or name.
        #[arg(long, value_name = "ORG")]
        org: Option<String>,
        #[command(flatten)]
        reading: Reading,
    },
    /// Show a node: type, name, organization, and who registered it.
    Show {
        /// Enode URL, or the node's public key of 128 hex digits.
        #[arg(value_parser = node, value_name = "ENODE")]
        enode: NodeId,
        #[command(flatten)]
        reading: Reading,
    },
    /// What has happened to a node, and by whom.
    History {
        /// Enode URL, or the node's public key of 128 hex digits; all nodes when absent.
        #[arg(value_parser = node, value_name = "ENODE")]
        enode: Option<NodeId>,
        #[command(flatten)]
        span: Span,
        #[command(flatten)]
        reach: Reach,
    },
    /// Register a node for one's own organization; with --org by proposal, for any organization.
    Add {
        /// Enode URL, or the node's public key of 128 hex digits.
        #[arg(value_parser = node, value_name = "ENODE")]
        enode: NodeId,
        /// boot, validator, writer, writer-partner, observer-boot, observer or other.
        #[arg(long, value_name = "TYPE")]
        r#type: String,
        /// Name of the node.
        #[arg(long)]
        name: String,
        /// Propose it for this organization: number or name. In the first generation: the organization's name.
        #[arg(long, value_name = "ORG")]
        org: Option<String>,
        /// Key file of the node itself, whose signature proves that it is one's own; this project's contracts alone.
        #[arg(long, value_name = "FILE")]
        node_key: Option<PathBuf>,
        /// In the first generation: where the node is, a geohash of 6 characters.
        #[arg(long, value_name = "GEOHASH", default_value = "000000")]
        geo_hash: String,
        #[command(flatten)]
        change: Change,
    },
    /// Give a node of one's own organization another type or name.
    Update {
        /// Enode URL, or the node's public key of 128 hex digits.
        #[arg(value_parser = node, value_name = "ENODE")]
        enode: NodeId,
        /// New type [default: as it is].
        #[arg(long, value_name = "TYPE")]
        r#type: Option<String>,
        /// New name [default: as it is].
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        change: Change,
    },
    /// Suspend a node: every connection of it is cut.
    Suspend(Named),
    /// Restore a suspended node.
    Restore(Named),
    /// Remove a node: every connection of it is cut.
    Remove(Named),
}

#[derive(Args)]
pub struct Named {
    /// Enode URL, or the node's public key of 128 hex digits.
    #[arg(value_parser = node, value_name = "ENODE")]
    enode: NodeId,
    /// By proposal: for nodes of any organization.
    #[arg(long)]
    propose: bool,
    #[command(flatten)]
    change: Change,
}

/// How a change is made.
#[derive(Args)]
pub struct Change {
    /// Reason that is kept with the change; this project's contracts alone.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    proposing: Proposing,
    #[command(flatten)]
    sending: Box<Sending>,
}

impl Change {
    fn own(&self, network: &Network, call: Vec<u8>) -> Outcome {
        let rules = network.need_nodes()?;
        let data = with_reason(network.nodes_are, self.reason.as_deref(), call)?;
        send(network, &self.sending, rules, data, None)
    }

    fn by_proposal(&self, network: &Network, call: Vec<u8>) -> Outcome {
        let rules = network.need_nodes()?;
        let data = with_reason(network.nodes_are, self.reason.as_deref(), call)?;
        governed(network, &self.sending, &self.proposing, rules, data)
    }
}

fn kind(network: &Network, text: &str) -> Result<u8, Failure> {
    let known: &[&str] = if network.nodes_are == Generation::Gen01 { &words::GEN01_NODE_TYPES } else { &words::NODE_TYPES };
    words::number(known, text).ok_or_else(|| Failure::Usage(format!("--type {text:?}: expected one of {}", known.join(", "))))
}

fn known(network: &Network, id: NodeId) -> Result<Node, Failure> {
    network.node(id)?.ok_or_else(|| Failure::Failed(format!("the node {} is not registered; see `ipe node-rule list`", short(id))))
}

pub fn run(command: NodeRuleCommand) -> Outcome {
    match command {
        NodeRuleCommand::List { org, reading } => {
            let network = Network::open(&reading.reach, reading.block)?;
            let mut nodes = network.nodes()?;
            if let Some(org) = org {
                let id = network.org_named(&org)?.id;
                nodes.retain(|node| node.org == id);
            }
            if reading.reach.json {
                let nodes = nodes.iter().map(|node| node_json(&network, node)).collect::<Result<Vec<_>, _>>()?;
                print_json(&json!({ "network": network.json(), "nodes": nodes }));
                return Ok(());
            }
            print(&network, &nodes)
        }
        NodeRuleCommand::Show { enode, reading } => show(&Network::open(&reading.reach, reading.block)?, enode, reading.reach.json),
        NodeRuleCommand::History { enode, span, reach } => {
            let network = Network::open(&reach, None)?;
            let rules = network.need_nodes()?;
            let topics = enode.map_or_else(|| json!([]), |id| halves_of_topics(&network, id));
            let (from, to) = super::explain::span(&network, &span);
            let found = history::search(&network.link, &[rules], &topics, (from, to), |_| false)?;
            history::print(&network, &found, to, reach.json)
        }
        NodeRuleCommand::Add { enode, r#type, name, org, node_key, geo_hash, change } => {
            let network = Network::open(&change.sending.reach, None)?;
            let (enode_high, enode_low) = halves(enode);
            let node_type = kind(&network, &r#type)?;
            if network.nodes_are == Generation::Gen01 {
                let geo: [u8; 6] = geo_hash
                    .as_bytes()
                    .try_into()
                    .map_err(|_| Failure::Usage(format!("--geo-hash {geo_hash:?}: expected 6 characters")))?;
                let call = Gen01Nodes::addEnodeCall {
                    enodeHigh: enode_high,
                    enodeLow: enode_low,
                    nodeType: node_type,
                    geoHash: FixedBytes(geo),
                    name,
                    organization: org.unwrap_or_default(),
                };
                return change.own(&network, call.abi_encode());
            }
            if let Some(org) = org {
                let id = U256::from(network.org_named(&org)?.id);
                let call = Nodes::addNodeCall { enodeHigh: enode_high, enodeLow: enode_low, nodeType: node_type, name, orgId: id };
                return change.by_proposal(&network, call.abi_encode());
            }
            let Some(file) = node_key else {
                let call = Nodes::addLocalNodeCall { enodeHigh: enode_high, enodeLow: enode_low, nodeType: node_type, name };
                return change.own(&network, call.abi_encode());
            };
            if network.nodes_are != Generation::Ipe {
                return Err(Failure::Failed("--node-key: the second generation takes no proof of possession".to_owned()));
            }
            let key = key_file::read(&file)?;
            if key.node_id() != enode {
                return Err(Failure::Usage(format!(
                    "--node-key {}: it is the key of {}, not of {}",
                    file.display(),
                    short(key.node_id()),
                    short(enode)
                )));
            }
            let sender = change.sending.account()?;
            let org = network
                .account(sender)?
                .map(|account| account.org)
                .ok_or_else(|| Failure::Failed(format!("{sender} is not registered")))?;
            let ask = Nodes::possessionDigestCall { enodeHigh: enode_high, enodeLow: enode_low, orgId: U256::from(org) };
            let digest = network.link.read("the node rules", network.need_nodes()?, &ask)?;
            let signature = key.sign(digest);
            let mut signature = signature.as_slice().to_vec();
            signature[64] += 27;
            let call = Nodes::addProvenNodeCall {
                enodeHigh: enode_high,
                enodeLow: enode_low,
                nodeType: node_type,
                name,
                signature: signature.into(),
            };
            change.own(&network, call.abi_encode())
        }
        NodeRuleCommand::Update { enode, r#type, name, change } => {
            let network = Network::open(&change.sending.reach, None)?;
            if network.nodes_are == Generation::Gen01 {
                return Err(Failure::Failed("the first generation changes no node: remove it and add it again".to_owned()));
            }
            let old = known(&network, enode)?;
            let (enode_high, enode_low) = halves(enode);
            let call = Nodes::updateLocalNodeCall {
                enodeHigh: enode_high,
                enodeLow: enode_low,
                nodeType: kind(&network, r#type.as_deref().unwrap_or(&old.kind))?,
                name: name.unwrap_or(old.name),
            };
            change.own(&network, call.abi_encode())
        }
        NodeRuleCommand::Suspend(named) => status(&named, false),
        NodeRuleCommand::Restore(named) => status(&named, true),
        NodeRuleCommand::Remove(Named { enode, propose, change }) => {
            let network = Network::open(&change.sending.reach, None)?;
            known(&network, enode)?;
            let (enode_high, enode_low) = halves(enode);
            match (network.nodes_are, propose) {
                (Generation::Gen01, _) => {
                    change.own(&network, Gen01Nodes::removeEnodeCall { enodeHigh: enode_high, enodeLow: enode_low }.abi_encode())
                }
                (_, false) => {
                    change.own(&network, Nodes::deleteLocalNodeCall { enodeHigh: enode_high, enodeLow: enode_low }.abi_encode())
                }
                (_, true) => {
                    change.by_proposal(&network, Nodes::deleteNodeCall { enodeHigh: enode_high, enodeLow: enode_low }.abi_encode())
                }
            }
        }
    }
}

fn status(named: &Named, active: bool) -> Outcome {
    let network = Network::open(&named.change.sending.reach, None)?;
    if known(&network, named.enode)?.active == active {
        return Err(Failure::Failed(format!("{} is {} already", short(named.enode), if active { "active" } else { "suspended" })));
    }
    let (enode_high, enode_low) = halves(named.enode);
    match (network.nodes_are, named.propose) {
        (Generation::Gen01, _) => Err(Failure::Failed("the first generation suspends no node: `ipe node-rule remove`".to_owned())),
        (Generation::Gen02, true) => {
            Err(Failure::Failed("the second generation's governance suspends no node: `ipe node-rule remove --propose`".to_owned()))
        }
        (_, true) => named
            .change
            .by_proposal(&network, Nodes::updateNodeStatusCall { enodeHigh: enode_high, enodeLow: enode_low, active }.abi_encode()),
        (_, false) => named
            .change
            .own(&network, Nodes::updateLocalNodeStatusCall { enodeHigh: enode_high, enodeLow: enode_low, active }.abi_encode()),
    }
}

/// `{node, address, type, name, organization, organizationName, active, counts}`.
pub fn node_json(network: &Network, node: &Node) -> Result<Value, Failure> {
    let gone = network.nodes_are.has_organizations() && !network.orgs()?.contains_key(&node.org);
    Ok(json!({
        "node": node.id, "address": address_of(node.id), "type": node.kind, "name": node.name, "organization": node.org,
        "organizationName": network.owner(node), "active": node.active, "counts": node.active && !gone,
    }))
}

/// Nodes as a table.
pub fn print(network: &Network, nodes: &[Node]) -> Outcome {
    let mut rows = Vec::new();
    for node in nodes {
        let gone = network.nodes_are.has_organizations() && !network.orgs()?.contains_key(&node.org);
        let state = match (node.active, gone) {
            (true, false) => "active",
            (true, true) => "its organization is gone",
            (false, _) => "suspended",
        };
        rows.push(vec![
            short(node.id),
            address_of(node.id).to_string(),
            node.kind.clone(),
            clean(&node.name),
            network.owner(node),
            state.to_owned(),
        ]);
    }
    table(&["NODE", "ADDRESS", "TYPE", "NAME", "ORGANIZATION", "STATE"], &rows);
    Ok(())
}

fn show(network: &Network, id: NodeId, as_json: bool) -> Outcome {
    let node = network.node(id)?.ok_or_else(|| {
        Failure::Failed(format!(
            "the node {} is not registered after block {}; see `ipe node-rule list`",
            short(id),
            network.link.at
        ))
    })?;
    let explained = about_node(network, id)?;
    if as_json {
        print_json(&json!({
            "network": network.json(), "node": node_json(network, &node)?, "allowed": explained.allowed, "because": explained.because,
            "since": explained.since,
        }));
        return Ok(());
    }
    println!("node          {id}");
    println!("address       {}", address_of(id));
    println!("type          {}", node.kind);
    println!("name          {}", clean(&node.name));
    println!("organization  {}", network.owner(&node));
    println!("state         {}", if node.active { "active" } else { "suspended" });
    explained.print(network, false)
}
