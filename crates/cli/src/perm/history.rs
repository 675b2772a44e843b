//! What has happened, from the contracts' events: who, when, by which proposal.

use super::decoded::{registry_name, value};
use super::link::{Link, address, hash, quantity, small};
use super::network::Network;
use super::text::{clean, print_json, table};
use crate::failure::{Failure, Outcome};
use crate::rpc::CallError;
use alloy_dyn_abi::DynSolValue;
use alloy_primitives::{Address, B256, Bytes};
use clap::Args;
use ipe_rules::catalogue::{self, Decoded};
use ipe_rules::words;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Most questions for events of one command.
const MAX_QUERIES: u32 = 2_000;
/// Longest search.
const MAX_SEARCH: Duration = Duration::from_secs(180);
/// Most events of one answer of the command.
const MAX_EVENTS: usize = 20_000;

/// Which blocks to look through.
#[derive(Args, Clone, Copy)]
pub struct Span {
    /// First block.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub from: u64,
    /// Last block [default: the newest].
    #[arg(long, value_name = "NUMBER")]
    pub to: Option<u64>,
}

/// One event.
pub struct Event {
    pub block: u64,
    pub index: u64,
    pub tx: B256,
    pub decoded: Decoded,
}

/// Events found, oldest first, and from which block on the search went.
pub struct Found {
    pub events: Vec<Event>,
    pub searched_from: u64,
    /// Why the search ended before its first block.
    pub cut: Option<&'static str>,
}

/// Events of contracts with these topics, newest blocks first until `enough` says so.
///
/// Nodes bound the blocks of one question (Besu and this node 5,000 without another setting), so the span is cut in halves
/// until the node answers. A log that was not asked for is a failure.
pub fn search(
    link: &Link,
    contracts: &[Address],
    topics: &Value,
    (from, to): (u64, u64),
    enough: impl Fn(&[Event]) -> bool,
) -> Result<Found, Failure> {
    let began = Instant::now();
    let (mut events, mut queries) = (Vec::new(), 0);
    let mut size = to.saturating_sub(from) + 1;
    let mut end = to + 1;
    let mut cut = None;
    while end > from {
        if queries >= MAX_QUERIES || began.elapsed() > MAX_SEARCH {
            cut = Some(
                "the search was too long for this node; ask one that answers for more blocks at once, or narrow it with --from and --to",
            );
            break;
        }
        let begin = end.saturating_sub(size).max(from);
        queries += 1;
        let filter = json!([{ "address": contracts, "topics": topics, "fromBlock": format!("{begin:#x}"), "toBlock": format!("{:#x}", end - 1) }]);
        match link.ask("eth_getLogs", filter) {
            Ok(answer) => {
                let mut part = read(link, &answer, contracts, (begin, end - 1))?;
                if events.len() + part.len() > MAX_EVENTS {
                    cut = Some("there are more than 20000 events; narrow the search with --from and --to");
                    break;
                }
                part.append(&mut events);
                events = part;
                end = begin;
                if enough(&events) {
                    break;
                }
            }
            // One block more than the node's bound is refused: halves come below any bound.
            Err(CallError::Refused { .. }) if size > 1 => size = (size / 2).max(1),
            Err(error) => return Err(Failure::Failed(link.sentence("eth_getLogs", error))),
        }
    }
    Ok(Found { events, searched_from: end, cut })
}

fn read(link: &Link, answer: &Value, contracts: &[Address], (from, to): (u64, u64)) -> Result<Vec<Event>, Failure> {
    let logs = answer.as_array().ok_or_else(|| link.wrong("eth_getLogs", answer, "a list of logs"))?;
    let mut events = Vec::new();
    for log in logs {
        let form = || link.wrong("eth_getLogs", log, "a log with address, block, transaction, index, topics and data");
        let block = quantity(&log["blockNumber"]).ok_or_else(form)?;
        let index = quantity(&log["logIndex"]).ok_or_else(form)?;
        let tx = hash(&log["transactionHash"]).ok_or_else(form)?;
        let at = address(&log["address"]).ok_or_else(form)?;
        let data = log["data"].as_str().and_then(|data| data.parse::<Bytes>().ok()).ok_or_else(form)?;
        let topics = log["topics"].as_array().filter(|topics| topics.len() <= 4).ok_or_else(form)?;
        let topics = topics.iter().map(|topic| hash(topic).ok_or_else(form)).collect::<Result<Vec<_>, _>>()?;
        if !contracts.contains(&at) || block < from || block > to {
            return Err(Failure::Failed(format!(
                "{} was asked for events of blocks {from} to {to} and answered one of {at} in block {block}, which was not asked for",
                link.url()
            )));
        }
        // Events of other interfaces are not ours to explain; broken ones of known contracts cannot be made by them.
        if let Some(decoded) = catalogue::event(&topics, &data)
            .map_err(|error| Failure::Failed(format!("{}: the log {index} of block {block}: {error}", link.url())))?
        {
            events.push(Event { block, index, tx, decoded });
        }
    }
    events.sort_by_key(|event| (event.block, event.index));
    Ok(events)
}

/// Who stands behind a transaction.
#[derive(Clone)]
pub struct Author {
    pub sender: Address,
    /// Executed proposals of the same transaction, with the place of their `ProposalExecuted` among the block's events.
    pub executed: Vec<(u64, u64)>,
}

/// Authors of transactions, each asked for once.
pub struct Authors<'a> {
    network: &'a Network,
    known: BTreeMap<B256, Author>,
}

impl<'a> Authors<'a> {
    pub fn new(network: &'a Network) -> Authors<'a> {
        Authors { network, known: BTreeMap::new() }
    }

    /// Sender, and what governance executed in the same transaction (from the receipt).
    pub fn of(&mut self, tx: B256) -> Result<Author, Failure> {
        if let Some(known) = self.known.get(&tx) {
            return Ok(known.clone());
        }
        let link = &self.network.link;
        let receipt = link.must("eth_getTransactionReceipt", json!([tx]))?;
        let sender = address(&receipt["from"]).filter(|_| hash(&receipt["transactionHash"]) == Some(tx));
        let sender = sender.ok_or_else(|| link.wrong("eth_getTransactionReceipt", &receipt, &format!("the receipt of {tx}")))?;
        let mut executed = Vec::new();
        for log in receipt["logs"].as_array().into_iter().flatten() {
            if address(&log["address"]).is_none() || address(&log["address"]) != self.network.governance {
                continue;
            }
            let topics: Vec<B256> = log["topics"].as_array().into_iter().flatten().take(4).filter_map(hash).collect();
            let Ok(Some(event)) = catalogue::event(
                &topics,
                log["data"].as_str().and_then(|data| data.parse::<Bytes>().ok()).unwrap_or_default().as_ref(),
            ) else {
                continue;
            };
            if let ("ProposalExecuted", Some(id), Some(index)) =
                (event.name.as_str(), uint(&event, "proposalId"), quantity(&log["logIndex"]))
            {
                executed.push((index, id));
            }
        }
        let author = Author { sender, executed };
        self.known.insert(tx, author.clone());
        Ok(author)
    }

    /// In words: the proposal that did it, or the sender and its organisation as it is now.
    pub fn words(&mut self, event: &Event) -> Result<(String, Value), Failure> {
        let author = self.of(event.tx)?;
        let proposal = author.executed.iter().filter(|(index, _)| *index < event.index).map(|(_, id)| *id).next_back();
        let effect = !matches!(event.decoded.contract, ipe_rules::artifact::Contract::Governance);
        let proposal = proposal.filter(|_| effect);
        let org = self.network.account(author.sender).ok().flatten().map(|account| account.org).filter(|org| *org != 0);
        let who = match org {
            Some(org) => format!("{} of {}", author.sender, self.network.org_label(org)),
            None => author.sender.to_string(),
        };
        let words = match proposal {
            Some(id) => format!("proposal {id}, executed by {who}"),
            None => who,
        };
        Ok((words, json!({ "sender": author.sender, "organization": org, "proposal": proposal })))
    }
}

/// A number among an event's values.
pub fn uint(event: &Decoded, name: &str) -> Option<u64> {
    match event.argument(name)? {
        DynSolValue::Uint(number, _) => Some(small(*number)),
        _ => None,
    }
}

/// Prints events as a table or as JSON: `{network, searchedFrom, searchedTo, incomplete, events: [{block, transaction, index, event,
/// contract, values, by}]}`.
pub fn print(network: &Network, found: &Found, to: u64, as_json: bool) -> Outcome {
    let mut authors = Authors::new(network);
    let mut rows = Vec::new();
    let mut all = Vec::new();
    for event in &found.events {
        let (words, by) = authors.words(event)?;
        let values: Vec<String> = event
            .decoded
            .arguments
            .iter()
            .map(|argument| format!("{}: {}", argument.name, shown(network, &argument.name, &argument.value)))
            .collect();
        rows.push(vec![event.block.to_string(), event.decoded.name.clone(), values.join(", "), words]);
        let named: serde_json::Map<String, Value> =
            event.decoded.arguments.iter().map(|argument| (argument.name.clone(), value(&argument.value))).collect();
        all.push(json!({
            "block": event.block, "transaction": event.tx, "index": event.index, "event": event.decoded.name,
            "contract": event.decoded.contract.name(), "values": named, "by": by,
        }));
    }
    if as_json {
        print_json(&json!({
            "network": network.json(), "searchedFrom": found.searched_from, "searchedTo": to, "incomplete": found.cut, "events": all,
        }));
        return Ok(());
    }
    if rows.is_empty() {
        println!("no event in blocks {} to {to}", found.searched_from);
    } else {
        table(&["BLOCK", "EVENT", "WHAT", "BY"], &rows);
    }
    if let Some(cut) = found.cut {
        eprintln!("ipe: only blocks {} to {to} were searched: {cut}", found.searched_from);
    }
    Ok(())
}

/// A value of an event in the network's words.
pub fn shown(network: &Network, name: &str, value: &DynSolValue) -> String {
    match (name, value) {
        ("orgId" | "actorOrgId", DynSolValue::Uint(id, _)) => network.org_label(small(*id)),
        ("roleId" | "role", DynSolValue::FixedBytes(id, 32)) => words::role(*id),
        ("contractName", DynSolValue::FixedBytes(word, 32)) => registry_name(*word),
        ("nodeType", DynSolValue::Uint(number, _)) => words::word(&words::NODE_TYPES, u8::try_from(*number).unwrap_or(u8::MAX)),
        ("orgType", DynSolValue::Uint(number, _)) => words::word(&words::ORG_TYPES, u8::try_from(*number).unwrap_or(u8::MAX)),
        ("act", DynSolValue::Uint(number, _)) => words::word(&words::ACTS, u8::try_from(*number).unwrap_or(u8::MAX)),
        ("calldatas", DynSolValue::Array(calls)) => format!("{} calls", calls.len()),
        (_, DynSolValue::Address(address)) => network.label(*address),
        (_, other) => clean(&super::decoded::plain(other)),
    }
}
