//! `ipe permission explain`: allowed or not, by which rule, since when, by whom, and what would change it.

use super::history::{self, Authors, Event, Span};
use super::link::{Unanswered, address, hash, quantity, small};
use super::network::{Account, Generation, Network, Node, halves, maybe};
use super::text::{clean, print_json};
use crate::failure::{Failure, Outcome};
use alloy_primitives::{Address, B256, U256, keccak256};
use ipe_rules::abi::{Accounts, Nodes, Record};
use ipe_rules::words::{self, GLOBAL_ADMIN_ROLE, USER_ROLE};
use ipe_types::{Enode, NodeId};
use serde_json::{Value, json};

/// Most records of one account or node that are read from storage.
const MAX_RECORDS: u64 = 200;

/// What is asked about.
#[derive(Debug, PartialEq, Eq)]
pub enum Subject {
    Account(Address),
    Node(NodeId),
    Transaction(B256),
}

/// An address, an enode URL or a node's public key of 128 hex digits, or a transaction hash.
pub fn subject(text: &str) -> Result<Subject, String> {
    if let Some(digits) = text.strip_prefix("0x") {
        match digits.len() {
            40 => return super::network::address(text).map(Subject::Account),
            64 => {
                return text
                    .parse()
                    .map(Subject::Transaction)
                    .map_err(|_| "expected 64 hex digits of a transaction hash".to_owned());
            }
            _ => {}
        }
    }
    node(text).map(Subject::Node).map_err(|_| {
        "expected an address (0x and 40 hex digits), an enode URL or a node's key (128 hex digits), or a transaction hash (0x and 64)".to_owned()
    })
}

/// An enode URL, or a node's public key of 128 hex digits.
pub fn node(text: &str) -> Result<NodeId, String> {
    if text.starts_with("enode://") {
        return text.parse::<Enode>().map(|enode| enode.id).map_err(|error| error.to_string());
    }
    text.parse().map_err(|_| "expected an enode URL, or a node's public key of 128 hex digits".to_owned())
}

/// A judgement and its reasons.
pub struct Explained {
    /// `account`, `node`, `connection`, `transaction`.
    pub about: &'static str,
    pub subject: Value,
    /// What the ingress answers; `None` when it gives no answer.
    pub allowed: Option<bool>,
    /// Sentences: which rule of which contract.
    pub because: Vec<String>,
    /// Sentences: since when, and by whom.
    pub since: Vec<String>,
    /// Sentences: what would change it.
    pub change: Vec<String>,
}

impl Explained {
    pub fn print(&self, network: &Network, as_json: bool) -> Outcome {
        if as_json {
            print_json(&json!({
                "network": network.json(), "about": self.about, "subject": self.subject, "allowed": self.allowed,
                "because": self.because, "since": self.since, "change": self.change,
            }));
            return Ok(());
        }
        let verdict = match self.allowed {
            Some(true) => "ALLOWED",
            Some(false) => "NOT ALLOWED",
            None => "NO ANSWER",
        };
        println!("{verdict} after block {}", network.link.at);
        for (title, sentences) in [("because", &self.because), ("since", &self.since), ("to change it", &self.change)] {
            for sentence in sentences {
                println!("{title}: {sentence}");
            }
        }
        Ok(())
    }
}

/// Explains what `texts` name: one account, node or transaction, or two nodes.
pub fn run(network: &Network, subject: &Subject, other: Option<&Subject>, target: Option<Address>, as_json: bool) -> Outcome {
    let explained = match (subject, other) {
        (Subject::Account(account), None) => about_account(network, *account, target)?,
        (Subject::Node(node), None) => about_node(network, *node)?,
        (Subject::Node(a), Some(Subject::Node(b))) => about_pair(network, *a, *b)?,
        (Subject::Transaction(hash), None) => about_transaction(network, *hash)?,
        _ => return Err(Failure::Usage("two subjects have to be two nodes".to_owned())),
    };
    explained.print(network, as_json)
}

/// What an account may do. With a target: whether it may call that.
pub fn about_account(network: &Network, account: Address, target: Option<Address>) -> Result<Explained, Failure> {
    // As RBB's own tool: any address stands for a contract without a list of its own.
    let sample = target.unwrap_or(Address::with_last_byte(1));
    let mut explained = judge(network, account, Some(sample), network.link.at)?;
    explained.about = "account";
    explained.subject = json!({ "account": account, "target": target });
    if target.is_none() {
        match network.may_send(account, None, network.link.at) {
            Ok(true) => explained.because.push("it may also create contracts".to_owned()),
            Ok(false) if explained.allowed == Some(true) => {
                explained.because.push("it may not create contracts: that takes the role deployer, local-admin or global-admin, and no list of targets without the zero address".to_owned());
            }
            _ => {}
        }
    }
    if network.accounts_are != Generation::NoRules && network.accounts_are != Generation::Unknown {
        explained.since = since_account(network, account)?;
    }
    Ok(explained)
}

/// The judgement of one transaction after a block, without its history.
fn judge(network: &Network, sender: Address, target: Option<Address>, block: u64) -> Result<Explained, Failure> {
    let mut explained = Explained {
        about: "transaction",
        subject: Value::Null,
        allowed: None,
        because: Vec::new(),
        since: Vec::new(),
        change: Vec::new(),
    };
    let rules = network.account_rules.map(|rules| format!("account rules {rules}"));
    match network.may_send(sender, target, block) {
        Ok(allowed) => explained.allowed = Some(allowed),
        Err(Unanswered::Node(sentence)) => return Err(Failure::Failed(sentence)),
        Err(_) if network.account_rules.is_none() => {
            explained.allowed = Some(true);
            explained.because.push(format!("there is no account ingress at {}: no contract decides", network.account_ingress));
            return Ok(explained);
        }
        Err(error) => {
            explained.because.push(format!(
                "the rules behind the account ingress {} do not answer ({error}): nodes that enforce them refuse every transaction",
                network.account_ingress
            ));
            explained.change.push("a transition in the genesis file, or local lists: no transaction can repair it".to_owned());
            return Ok(explained);
        }
    }
    let Some(rules) = rules else {
        explained
            .because
            .push(format!("the account ingress {} names no rules: every transaction is allowed", network.account_ingress));
        explained.change.push("registering rules at the ingress".to_owned());
        return Ok(explained);
    };
    if network.accounts_are == Generation::Unknown {
        explained.because.push(format!("the {rules} say so; they are of an unknown kind, so their reasons cannot be read"));
        return Ok(explained);
    }
    let (expected, reasons, change) = reasons(network, sender, target)?;
    explained.because = reasons.into_iter().map(|reason| format!("{reason} ({rules}, {})", network.accounts_are.words())).collect();
    explained.change = change;
    if explained.allowed != Some(expected) {
        explained.because.push(format!(
            "WARNING: the account ingress {} answers the opposite of what these records say: it asks other rules, or this node's answers contradict each other",
            network.account_ingress
        ));
    }
    Ok(explained)
}

/// The decision table of the generations, in words: the verdict that the records give, why, and what would change it.
fn reasons(network: &Network, sender: Address, target: Option<Address>) -> Result<(bool, Vec<String>, Vec<String>), Failure> {
    let one = |allowed: bool, why: String, change: &str| Ok((allowed, vec![why], vec![change.to_owned()]));
    let Some(account) = network.account(sender)? else {
        return one(
            false,
            format!("{sender} is not registered"),
            "`ipe account add`, by an administrator of its organization, or by proposal",
        );
    };
    if network.accounts_are == Generation::Gen01 {
        return one(
            true,
            format!("{sender} is on the list; the first generation has no roles"),
            "a master administrator removes it: `ipe account remove`",
        );
    }
    let role = words::role(account.role);
    let org = network.org_label(account.org);
    if !account.active {
        return one(
            false,
            format!("{sender} ({role} of {org}) is suspended"),
            "`ipe account restore`, by an administrator of its organization, or by proposal",
        );
    }
    if !network.orgs()?.contains_key(&account.org) {
        return one(
            false,
            format!("{sender} is of {org}"),
            "a proposal that removes the account, then adding it to another organization",
        );
    }
    let rules = network.need_accounts()?;
    let ours = network.accounts_are == Generation::Ipe;
    let lists = "`ipe account restrict` or `ipe account release`, by an administrator of its organization";
    let list = network.link.read("the account rules", rules, &Accounts::getAccountTargetAccessCall { account: sender })?;
    let address = target.unwrap_or_default();
    let (restricted, listed) = (list.restricted, list.allowedTargets.contains(&address));
    if target.is_none() {
        let may_create = if ours {
            account.role != USER_ROLE
        } else {
            let mut holds = false;
            for (_, role) in words::ROLES.iter().filter(|(_, role)| *role != USER_ROLE) {
                holds |= network.link.read("the account rules", rules, &Accounts::hasRoleCall { role: *role, account: sender })?;
            }
            holds
        };
        if !may_create {
            return one(
                false,
                format!("{sender} ({role} of {org}) creates a contract, which its role does not allow"),
                "the role deployer: `ipe account update`",
            );
        }
        if !ours {
            return one(true, format!("{sender} ({role} of {org}) may create contracts"), "another role: `ipe account update`");
        }
    }
    if restricted && !listed {
        return one(
            false,
            format!("{sender} ({role} of {org}) is restricted to {} targets, {address} is none of them", list.allowedTargets.len()),
            lists,
        );
    }
    if restricted && !ours {
        return one(true, format!("{sender} ({role} of {org}) is restricted, and {address} is among its targets"), lists);
    }
    let senders =
        network.link.read("the account rules", rules, &Accounts::getSmartContractSenderAccessCall { smartContract: address })?;
    if senders.restricted {
        let change = "a proposal: `ipe contract restrict` or `ipe contract release`";
        return if senders.allowedSenders.contains(&sender) {
            one(
                true,
                format!("{address} takes transactions of {} accounts only, {sender} is one of them", senders.allowedSenders.len()),
                change,
            )
        } else if senders.allowedSenders.is_empty() {
            one(false, format!("{address} is closed for every account"), change)
        } else {
            one(
                false,
                format!("{address} takes transactions of {} accounts only, {sender} is none of them", senders.allowedSenders.len()),
                change,
            )
        };
    }
    let mut why = vec![format!("{sender} is an active {role} of {org}")];
    if restricted {
        why.push(format!("{address} is among its targets"));
    }
    let change = if account.role == GLOBAL_ADMIN_ROLE {
        "a proposal that suspends or removes this global administrator"
    } else {
        "`ipe account suspend`, `ipe account remove` or `ipe account restrict`, by an administrator of its organization"
    };
    Ok((true, why, vec![change.to_owned()]))
}

/// Whether a node may be connected at all.
pub fn about_node(network: &Network, id: NodeId) -> Result<Explained, Failure> {
    let mut explained = Explained {
        about: "node",
        subject: json!({ "node": id }),
        allowed: None,
        because: Vec::new(),
        since: Vec::new(),
        change: Vec::new(),
    };
    let Some(rules) = no_node_rules(network, &mut explained)? else { return Ok(explained) };
    let (allowed, why, change) = node_reasons(network, id)?;
    explained.because.push(format!("{why} (node rules {rules}, {})", network.nodes_are.words()));
    explained.change.push(change);
    explained.allowed = Some(allowed);
    // The rules' own word on the node, so that records and answers are seen to agree.
    let (high, low) = halves(id);
    let told = if network.nodes_are == Generation::Gen01 {
        Some(network.link.read(
            "the node rules",
            rules,
            &ipe_rules::abi::Gen01Nodes::enodePermittedCall { enodeHigh: high, enodeLow: low },
        )?)
    } else {
        maybe(network.link.call(rules, &Nodes::isNodeActiveCall { enodeHigh: high, enodeLow: low }))?
    };
    if told.is_some_and(|told| told != allowed) {
        explained.because.push(
            "WARNING: the rules answer the opposite of what these records say: the node's answers contradict each other".to_owned(),
        );
    }
    explained.since = since_node(network, id)?;
    Ok(explained)
}

/// Node rules whose records can be read; otherwise the explanation says what there is.
fn no_node_rules(network: &Network, explained: &mut Explained) -> Result<Option<Address>, Failure> {
    match network.nodes_are {
        Generation::NoRules => {
            explained.allowed = Some(true);
            explained
                .because
                .push(format!("the node ingress {} names no rules: every connection is allowed", network.node_ingress));
            explained.change.push("registering rules at the ingress".to_owned());
            Ok(None)
        }
        Generation::Unknown => {
            explained.because.push("the node rules are of an unknown kind, so their records cannot be read".to_owned());
            Ok(None)
        }
        _ => network.need_nodes().map(Some),
    }
}

fn node_reasons(network: &Network, id: NodeId) -> Result<(bool, String, String), Failure> {
    let Some(node) = network.node(id)? else {
        return Ok((
            false,
            format!("the node {} is not registered", short(id)),
            "`ipe node-rule add`, by an administrator of its organization, or by proposal".to_owned(),
        ));
    };
    let named = named(network, &node);
    if !node.active {
        return Ok((
            false,
            format!("{named} is suspended"),
            "`ipe node-rule restore`, by an administrator of its organization".to_owned(),
        ));
    }
    if network.nodes_are != Generation::Gen01 && !network.orgs()?.contains_key(&node.org) {
        return Ok((false, format!("{named}: its organization is gone"), "registering it for another organization".to_owned()));
    }
    Ok((true, format!("{named} is registered and active"), "`ipe node-rule suspend` or `ipe node-rule remove`".to_owned()))
}

/// Whether two nodes may be connected.
pub fn about_pair(network: &Network, a: NodeId, b: NodeId) -> Result<Explained, Failure> {
    let mut explained = Explained {
        about: "connection",
        subject: json!({ "nodes": [a, b] }),
        allowed: None,
        because: Vec::new(),
        since: Vec::new(),
        change: Vec::new(),
    };
    let Some(rules) = no_node_rules(network, &mut explained)? else {
        if network.nodes_are == Generation::Unknown {
            explained.allowed = network.connected(a, b).ok();
        }
        return Ok(explained);
    };
    match network.connected(a, b) {
        Ok(allowed) => explained.allowed = Some(allowed),
        Err(Unanswered::Node(sentence)) => return Err(Failure::Failed(sentence)),
        Err(error) => {
            explained.because.push(format!(
                "the rules behind the node ingress {} do not answer ({error}): nodes that enforce them refuse the connection",
                network.node_ingress
            ));
            explained.change.push("a transition in the genesis file, or local lists".to_owned());
            return Ok(explained);
        }
    }
    let mut both = true;
    for id in [a, b] {
        let (allowed, why, change) = node_reasons(network, id)?;
        both &= allowed;
        explained.because.push(format!("{why} (node rules {rules}, {})", network.nodes_are.words()));
        if allowed == explained.allowed.unwrap_or_default() {
            explained.change.push(change);
        }
        explained.since.extend(since_node(network, id)?);
    }
    if both && explained.allowed == Some(false) {
        let topology = maybe(network.link.call(rules, &Nodes::topologyCall {}))?.unwrap_or_default();
        if topology == 0 {
            explained.because.push(
                "WARNING: both are active and the rules have no topology: this node's answers contradict each other".to_owned(),
            );
        } else {
            explained.because.push(format!(
                "the topology {} has no link between nodes of these types and organizations",
                words::word(&words::TOPOLOGIES, topology)
            ));
            explained.change =
                vec!["other types of these nodes (`ipe node-rule update`), or a proposal that changes the topology".to_owned()];
        }
    } else if !both && explained.allowed == Some(true) {
        explained.because.push("WARNING: the ingress allows what these records do not: it asks other rules, or this node's answers contradict each other".to_owned());
    }
    Ok(explained)
}

/// Whether a transaction is allowed: on the state before its block, or on the newest if it waits.
fn about_transaction(network: &Network, tx: B256) -> Result<Explained, Failure> {
    let link = &network.link;
    let told = link.must("eth_getTransactionByHash", json!([tx]))?;
    if told.is_null() {
        return Err(Failure::Failed(format!("{} knows no transaction {tx}: it was not sent there, or it was dropped", link.url())));
    }
    let form = || link.wrong("eth_getTransactionByHash", &told, &format!("the transaction {tx}"));
    if hash(&told["hash"]) != Some(tx) {
        return Err(form());
    }
    let sender = address(&told["from"]).ok_or_else(form)?;
    let target = match &told["to"] {
        Value::Null => None,
        to => Some(address(to).ok_or_else(form)?),
    };
    let mined = match &told["blockNumber"] {
        Value::Null => None,
        number => Some(quantity(number).filter(|number| *number <= link.head.saturating_add(1_000_000)).ok_or_else(form)?),
    };
    let judged_at = mined.map_or(link.at, |block| block.saturating_sub(1));
    if judged_at != link.at {
        // Records are read after the same block as the judgement.
        return Err(Failure::Failed(format!(
            "{tx} is in block {}: it was judged on the state after block {judged_at}; ask with --block {judged_at}",
            judged_at + 1
        )));
    }
    let mut explained = judge(network, sender, target, judged_at)?;
    explained.subject = json!({ "transaction": tx, "from": sender, "to": target, "block": mined });
    explained.because.insert(0, match mined {
        Some(block) => format!("it is in block {block} and was judged on the state after block {judged_at}, by its sender {sender} alone; calls between contracts are judged by nobody"),
        None => format!("it waits; it is judged by its sender {sender} alone, on the newest state"),
    });
    if !matches!(network.accounts_are, Generation::NoRules | Generation::Unknown) {
        explained.since = since_account(network, sender)?;
    }
    Ok(explained)
}

/// Height at which a transaction is judged, so that everything is read there: `None` when it waits.
pub fn judged_at(reach: &super::network::Reach, tx: B256) -> Result<Option<u64>, Failure> {
    let link = super::link::Link::open(&reach.rpc, None)?;
    let told = link.must("eth_getTransactionByHash", json!([tx]))?;
    Ok(quantity(&told["blockNumber"]).map(|block| block.saturating_sub(1).min(link.head)))
}

/// When and by whom an account came to what it is: from the records in storage where the rules keep them, otherwise from events.
fn since_account(network: &Network, account: Address) -> Result<Vec<String>, Failure> {
    let rules = network.need_accounts()?;
    if network.accounts_are == Generation::Ipe {
        let subject = account.into_word();
        let number = network.link.read("the account rules", rules, &Accounts::getNumberOfRecordsCall { subject })?;
        return recorded(network, number, |index| {
            network.link.read("the account rules", rules, &Accounts::getRecordCall { subject, index })
        });
    }
    let topic = account.into_word();
    let found = history::search(&network.link, &[rules], &json!([null, topic]), (0, network.link.at), |events| {
        events.iter().any(|event| event.decoded.name == "AccountAdded")
    })?;
    told_by_events(network, &found, "AccountAdded")
}

fn since_node(network: &Network, id: NodeId) -> Result<Vec<String>, Failure> {
    let rules = network.need_nodes()?;
    if network.nodes_are == Generation::Ipe {
        let subject = keccak256(id);
        let number = network.link.read("the node rules", rules, &Nodes::getNumberOfRecordsCall { subject })?;
        return recorded(network, number, |index| {
            network.link.read("the node rules", rules, &Nodes::getRecordCall { subject, index })
        });
    }
    let (high, _) = halves(id);
    let topics = halves_of_topics(network, id);
    let of_node = |event: &Event| {
        event
            .decoded
            .argument("enodeHigh")
            .and_then(|value| value.as_fixed_bytes().map(|(word, _)| word == high.as_slice()))
            .unwrap_or(false)
    };
    let mut found = history::search(&network.link, &[rules], &topics, (0, network.link.at), |events| {
        events.iter().any(|event| event.decoded.name == "NodeAdded" && of_node(event))
    })?;
    found.events.retain(of_node);
    told_by_events(network, &found, "NodeAdded")
}

fn recorded(
    network: &Network,
    number: U256,
    mut read: impl FnMut(U256) -> Result<Record, Failure>,
) -> Result<Vec<String>, Failure> {
    let number = small(number);
    let first = number.saturating_sub(MAX_RECORDS);
    let mut sentences = Vec::new();
    for index in first..number {
        let record = read(U256::from(index))?;
        let by = match (small(U256::from(record.proposalId)), small(U256::from(record.actorOrgId))) {
            (0, 0) => format!("governance or its deployer ({})", network.label(record.actor)),
            (0, org) => format!("{} of {}", record.actor, network.org_label(org)),
            (proposal, _) => format!("proposal {proposal}{}", approvers(network, proposal)),
        };
        let reason = if record.reason.is_empty() { String::new() } else { format!(", reason: {}", clean(&record.reason)) };
        sentences.push(format!("block {}: {} by {by}{reason}", record.blockNumber, words::word(&words::ACTS, record.act)));
        // What came before it was added (again) is another life.
        if record.act == 0 && sentences.len() > 1 {
            sentences.drain(..sentences.len() - 1);
        }
    }
    Ok(sentences)
}

/// Who approved an executed proposal.
fn approvers(network: &Network, id: u64) -> String {
    let Ok(proposal) = super::proposal::Proposal::read(network, id) else { return String::new() };
    let names: Vec<String> = proposal
        .data
        .organizations
        .iter()
        .zip(&proposal.data.votes)
        .filter(|(_, vote)| **vote == 1)
        .map(|(org, _)| network.org_label(small(*org)))
        .collect();
    format!(", approved by {}", names.join(", "))
}

fn told_by_events(network: &Network, found: &history::Found, added: &str) -> Result<Vec<String>, Failure> {
    let first = found.events.iter().rposition(|event| event.decoded.name == added).unwrap_or(0);
    let mut authors = Authors::new(network);
    let mut sentences = Vec::new();
    for event in found.events.iter().skip(first).filter(|event| !event.decoded.name.starts_with("Role")) {
        let (words, by) = authors.words(event)?;
        let voted = by["proposal"].as_u64().map(|id| approvers(network, id)).unwrap_or_default();
        sentences.push(format!("block {}: {} by {words}{voted}, transaction {}", event.block, event.decoded.name, event.tx));
    }
    if let Some(cut) = found.cut {
        sentences.push(format!("blocks before {} were not searched: {cut}", found.searched_from));
    } else if sentences.is_empty() {
        sentences.push("no event tells it: it was there from the contract's creation, or never".to_owned());
    }
    Ok(sentences)
}

/// A node with its name and owner.
pub fn named(network: &Network, node: &Node) -> String {
    format!("{} {} of {} ({})", node.kind, clean(&node.name), network.owner(node), short(node.id))
}

/// The first digits of a node's key.
pub fn short(id: NodeId) -> String {
    format!("{}...", &id.to_string()[..18])
}

/// Account of `show`, with what it may do.
pub fn account_json(network: &Network, account: &Account) -> Result<Value, Failure> {
    Ok(json!({
        "address": account.address, "organization": account.org, "role": words::role(account.role), "digest": account.hash,
        "active": account.active, "counts": network.counts(account)?,
    }))
}

/// What a refusal of the account rules for this sender means before something is sent.
pub fn sender_refused(network: &Network, sender: Address, target: Option<Address>) -> Result<Option<Explained>, Failure> {
    let explained = judge(network, sender, target, network.link.head)?;
    Ok(Some(explained).filter(|explained| explained.allowed != Some(true)))
}

/// Topics that find a node's events; the first generation indexes nothing, so all of its events.
pub fn halves_of_topics(network: &Network, id: NodeId) -> Value {
    let (high, low) = halves(id);
    if network.nodes_are == Generation::Gen01 { json!([]) } else { json!([null, high, low]) }
}

/// The whole of a span.
pub fn span(network: &Network, span: &Span) -> (u64, u64) {
    (span.from, span.to.unwrap_or(network.link.at).min(network.link.at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_what_it_looks_like() {
        let key = "ab".repeat(64);
        assert!(matches!(subject(&format!("0x{}", "12".repeat(20))), Ok(Subject::Account(_))));
        assert!(matches!(subject(&format!("0x{}", "12".repeat(32))), Ok(Subject::Transaction(_))));
        assert!(matches!(subject(&key), Ok(Subject::Node(_))));
        assert!(matches!(subject(&format!("enode://{key}@10.0.0.1:30303")), Ok(Subject::Node(_))));
        for wrong in ["", "0x", "inst1", "0x1234", &key[1..], "enode://ab@1.2.3.4:1"] {
            assert!(subject(wrong).is_err(), "{wrong}");
        }
    }
}
