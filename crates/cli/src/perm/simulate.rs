//! What calls would change, before anybody votes or sends: the contracts are asked before and after, by `eth_simulateV1`.

use super::decoded::{Call, registry_name};
use super::explain::{named, short};
use super::link::Unanswered;
use super::network::{Generation, Network, Node, connection, maybe};
use super::text::clean;
use super::validator::{in_office, quorum};
use crate::failure::Failure;
use alloy_primitives::{Address, Bytes};
use alloy_sol_types::SolCall;
use ipe_rules::abi::{Accounts, Admins, Charter, Ingress, Nodes, Organizations, SelectionIngress};
use ipe_rules::{CONNECTION_ALLOWED, words};
use ipe_types::NodeId;
use ipe_types::crypto::address_of;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Most connections that are judged: all pairs of 100 nodes.
const MAX_PAIRS: usize = 5_000;
/// Most restricted accounts or contracts whose lists are compared.
const MAX_LISTS: u64 = 500;

/// As whom the calls are made.
#[derive(Clone, Copy)]
pub enum Caller {
    /// By an account.
    Account(Address),
    /// By governance, when this account executes.
    Governance { executor: Address },
}

/// A connection that comes or goes.
struct Link2 {
    a: String,
    b: String,
    allowed: bool,
}

/// The validators that can reach each other, of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reachable {
    validators: usize,
    registered: usize,
    together: usize,
}

/// What calls would change.
#[derive(Default)]
pub struct Effects {
    /// Place and reason of the first call that would fail; then nothing takes effect.
    failed: Option<(usize, String)>,
    /// `what` of the thing, what it is now, what it would be.
    changes: Vec<(String, String, String)>,
    connections: Vec<Link2>,
    reach: Option<(Reachable, Reachable)>,
    /// The node behind --rpc would lose its place.
    own_node: Option<String>,
    /// What could not be judged, and why.
    unknown: Vec<String>,
}

/// Makes the calls on the newest block and compares.
pub fn effects(network: &Network, caller: Caller, calls: &[(Address, Vec<u8>)]) -> Result<Effects, Failure> {
    let mut effects = Effects::default();
    let from = match caller {
        Caller::Account(account) => account,
        Caller::Governance { .. } => network.need_governance()?,
    };
    let asked: Vec<Value> = calls.iter().map(|(to, data)| super::link::simulated_call(from, *to, data)).collect();
    let outputs = match network.link.simulate(&asked) {
        Ok(outputs) => outputs,
        Err(error) => {
            effects.unknown.push(format!("what it would change: {error}"));
            alone(network, from, calls, &mut effects);
            return Ok(effects);
        }
    };
    for (index, output) in outputs.into_iter().enumerate() {
        match output {
            Ok(_) => {}
            Err(Unanswered::Node(sentence)) => return Err(Failure::Failed(sentence)),
            Err(error) => {
                effects.failed = Some((index, error.to_string()));
                return Ok(effects);
            }
        }
    }
    let before = Snapshot::of(network)?;
    let mut then = again(network)?;
    then.link.before = asked;
    if let (Caller::Governance { executor }, Some(charter)) = (caller, network.charter) {
        // What our governance checks at the end of every execution.
        let governed = network.admins.contains(&from);
        let check = Charter::checkAfterCall {
            targets: calls.iter().map(|(to, _)| *to).collect(),
            calldatas: calls.iter().map(|(_, data)| Bytes::copy_from_slice(data)).collect(),
            executor,
            governed,
        };
        match then.link.execute(from, charter, &check.abi_encode(), then.link.head) {
            Ok(_) => {}
            Err(Unanswered::Node(sentence)) => return Err(Failure::Failed(sentence)),
            Err(error) => {
                effects.failed = Some((calls.len(), error.to_string()));
                return Ok(effects);
            }
        }
    }
    if network.charter.is_none() && matches!(caller, Caller::Governance { .. }) {
        effects.unknown.push("the second generation does not check what an execution leaves behind".to_owned());
    }
    then.find_again()?;
    let after = Snapshot::of(&then)?;
    compare(&before, &after, network, &then, &mut effects)?;
    Ok(effects)
}

/// Without `eth_simulateV1` each call is tried alone: which would fail is known, what they change is not.
fn alone(network: &Network, from: Address, calls: &[(Address, Vec<u8>)], effects: &mut Effects) {
    for (index, (to, data)) in calls.iter().enumerate() {
        if let Err(error @ Unanswered::Reverted(_)) = network.link.execute(from, *to, data, network.link.head) {
            effects.failed.get_or_insert((index, format!("{error} (tried alone, without the calls before it)")));
        }
    }
}

/// The same network, to be asked after the calls.
fn again(network: &Network) -> Result<Network, Failure> {
    let mut link = super::link::Link::open(network.link.url(), None)?;
    link.at = link.head;
    Ok(network.with_link(link))
}

/// Everything that permissions rest on.
struct Snapshot {
    facts: BTreeMap<String, String>,
    nodes: BTreeMap<NodeId, Node>,
    validators: BTreeSet<Address>,
}

impl Snapshot {
    fn of(network: &Network) -> Result<Snapshot, Failure> {
        let link = &network.link;
        let mut facts = BTreeMap::new();
        let mut fact = |what: String, is: String| {
            facts.insert(what, is);
        };
        for (name, ingress) in [("account ingress", network.account_ingress), ("node ingress", network.node_ingress)] {
            let Some(keys) = maybe(link.call(ingress, &Ingress::getAllContractKeysCall {}))? else { continue };
            for key in keys.into_iter().take(64) {
                let target = link.read(name, ingress, &Ingress::getContractAddressCall { name: key })?;
                fact(format!("{name}, {}", registry_name(key)), target.to_string());
            }
        }
        for admin in [network.account_admin, network.node_admin].into_iter().flatten().collect::<BTreeSet<_>>() {
            for one in link.read("the Admin contract", admin, &Admins::getAdminsCall {})? {
                fact(format!("master administrator {one}"), "yes".to_owned());
            }
        }
        if let Some(at) = network.organizations {
            for org in link.read("the organizations", at, &Organizations::getOrganizationsCall {})? {
                let votes = if org.canVote { "votes" } else { "does not vote" };
                let kind = words::word(&words::ORG_TYPES, org.orgType);
                fact(
                    format!("organization {}", org.id),
                    format!("{} ({kind}, {votes}, CNPJ {})", clean(&org.name), clean(&org.cnpj)),
                );
            }
        }
        if !matches!(network.accounts_are, Generation::NoRules | Generation::Unknown) {
            for account in network.accounts()? {
                let is = if network.accounts_are == Generation::Gen01 {
                    "permitted".to_owned()
                } else {
                    let state = if account.active { "active" } else { "suspended" };
                    format!(
                        "{state} {} of {}, digest {}",
                        words::role(account.role),
                        network.org_label(account.org),
                        short_hash(account.hash)
                    )
                };
                fact(format!("account {}", account.address), is);
            }
        }
        if let Some(rules) = network.account_rules.filter(|_| network.accounts_are.has_organizations()) {
            let number = link.read("the account rules", rules, &Accounts::getNumberOfRestrictedAccountsCall {})?;
            for account in lists(number, |page, size| {
                link.read("the account rules", rules, &Accounts::getRestrictedAccountsCall { pageNumber: page, pageSize: size })
            })? {
                let list = link.read("the account rules", rules, &Accounts::getAccountTargetAccessCall { account })?;
                fact(format!("targets of {account}"), addresses(&list.allowedTargets));
            }
            let number = link.read("the account rules", rules, &Accounts::getNumberOfRestrictedSmartContractsCall {})?;
            for contract in lists(number, |page, size| {
                link.read(
                    "the account rules",
                    rules,
                    &Accounts::getRestrictedSmartContractsCall { pageNumber: page, pageSize: size },
                )
            })? {
                let list =
                    link.read("the account rules", rules, &Accounts::getSmartContractSenderAccessCall { smartContract: contract })?;
                fact(format!("callers of contract {contract}"), addresses(&list.allowedSenders));
            }
        }
        let mut nodes = BTreeMap::new();
        if !matches!(network.nodes_are, Generation::NoRules | Generation::Unknown) {
            for node in network.nodes()? {
                let state = if node.active { "active" } else { "suspended" };
                fact(
                    format!("node {}", short(node.id)),
                    format!("{state} {} {} of {}", node.kind, clean(&node.name), network.owner(&node)),
                );
                nodes.insert(node.id, node);
            }
        }
        if let Some(rules) = network.node_rules.filter(|_| network.nodes_are == Generation::Ipe) {
            let topology = link.read("the node rules", rules, &Nodes::topologyCall {})?;
            fact("topology".to_owned(), words::word(&words::TOPOLOGIES, topology));
        }
        let validators = match network.validators_ingress {
            Some(ingress) => {
                link.read("the validators' ingress", ingress, &SelectionIngress::getValidatorsCall {})?.into_iter().collect()
            }
            None => BTreeSet::new(),
        };
        for validator in &validators {
            fact(format!("validator {validator}"), "validates".to_owned());
        }
        Ok(Snapshot { facts, nodes, validators })
    }
}

impl Snapshot {
    /// Nodes that count: registered, active, of an organisation that exists.
    fn members(&self, network: &Network) -> Vec<NodeId> {
        let exists = |org: u64| !network.nodes_are.has_organizations() || self.facts.contains_key(&format!("organization {org}"));
        self.nodes.values().filter(|node| node.active && exists(node.org)).map(|node| node.id).collect()
    }
}

fn lists<T>(
    number: alloy_primitives::U256,
    page: impl FnMut(alloy_primitives::U256, alloy_primitives::U256) -> Result<Vec<T>, Failure>,
) -> Result<Vec<T>, Failure> {
    if number > alloy_primitives::U256::from(MAX_LISTS) {
        return Err(Failure::Failed(format!("{number} restrictions: at most {MAX_LISTS} are compared")));
    }
    super::network::pages("restrictions", number, page)
}

fn short_hash(hash: alloy_primitives::B256) -> String {
    if hash.is_zero() { "none".to_owned() } else { format!("{}...", &hash.to_string()[..10]) }
}

fn addresses(list: &[Address]) -> String {
    match list {
        [] => "nobody".to_owned(),
        list if list.len() > 8 => format!("{} addresses", list.len()),
        list => list.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    }
}

fn compare(before: &Snapshot, after: &Snapshot, network: &Network, then: &Network, effects: &mut Effects) -> Result<(), Failure> {
    let names: BTreeSet<&String> = before.facts.keys().chain(after.facts.keys()).collect();
    for name in names {
        let (old, new) = (before.facts.get(name), after.facts.get(name));
        if old != new {
            let show = |fact: Option<&String>| fact.cloned().unwrap_or_else(|| "not there".to_owned());
            effects.changes.push((name.clone(), show(old), show(new)));
        }
    }
    let touches_links = effects
        .changes
        .iter()
        .any(|(name, ..)| ["node ", "node ingress", "topology", "organization "].iter().any(|kind| name.starts_with(kind)));
    if network.nodes_are == Generation::NoRules && then.nodes_are == Generation::NoRules {
        return Ok(());
    }
    if !touches_links && before.validators == after.validators {
        return Ok(());
    }
    let ids: Vec<NodeId> = before.nodes.keys().chain(after.nodes.keys()).copied().collect::<BTreeSet<_>>().into_iter().collect();
    let pairs: Vec<(NodeId, NodeId)> =
        ids.iter().enumerate().flat_map(|(index, a)| ids[index + 1..].iter().map(move |b| (*a, *b))).collect();
    if pairs.len() > MAX_PAIRS {
        effects.unknown.push(format!("connections: {} pairs of nodes, at most {MAX_PAIRS} are judged", pairs.len()));
        return Ok(());
    }
    let allowed_before = judge(network, &pairs)?;
    let allowed_after = judge(then, &pairs)?;
    let name =
        |id: &NodeId| after.nodes.get(id).or_else(|| before.nodes.get(id)).map_or_else(|| short(*id), |node| named(then, node));
    for ((a, b), (was, is)) in pairs.iter().zip(allowed_before.iter().zip(&allowed_after)) {
        if was != is {
            effects.connections.push(Link2 { a: name(a), b: name(b), allowed: *is });
        }
    }
    let (office_before, office_after) = match network.validators_ingress {
        Some(_) => (before.validators.clone(), after.validators.clone()),
        None => match in_office(network) {
            Ok(office) => (office.clone(), office),
            Err(failure) => {
                effects.unknown.push(format!("the quorum: {}", super::link::told(failure)));
                return Ok(());
            }
        },
    };
    let links =
        |allowed: &[bool]| pairs.iter().zip(allowed).filter(|(_, allowed)| **allowed).map(|(pair, _)| *pair).collect::<Vec<_>>();
    effects.reach = Some((
        reachable(&office_before, &before.members(network), &links(&allowed_before)),
        reachable(&office_after, &after.members(then), &links(&allowed_after)),
    ));
    effects.own_node = own_node(network, before, after);
    Ok(())
}

/// Whether each pair may be connected.
fn judge(network: &Network, pairs: &[(NodeId, NodeId)]) -> Result<Vec<bool>, Failure> {
    let calls: Vec<_> = pairs.iter().map(|(a, b)| connection(*a, *b)).collect();
    let answers = network.link.call_many(network.node_ingress, &calls).map_err(|error| Failure::Failed(error.to_string()))?;
    // No answer is no connection: nodes that enforce the rules refuse it.
    Ok(answers.into_iter().map(|answer| answer.is_ok_and(|answer| answer == CONNECTION_ALLOWED)).collect())
}

/// The largest group of validators that reach each other over allowed connections, through other nodes too.
fn reachable(validators: &BTreeSet<Address>, nodes: &[NodeId], links: &[(NodeId, NodeId)]) -> Reachable {
    let mut group: BTreeMap<NodeId, usize> = nodes.iter().enumerate().map(|(index, id)| (*id, index)).collect();
    for (a, b) in links {
        let (Some(&one), Some(&other)) = (group.get(a), group.get(b)) else { continue };
        if one != other {
            group.values_mut().filter(|number| **number == other).for_each(|number| *number = one);
        }
    }
    let mut sizes: BTreeMap<usize, usize> = BTreeMap::new();
    let mut registered = 0;
    for (id, number) in &group {
        if validators.contains(&address_of(*id)) {
            registered += 1;
            *sizes.entry(*number).or_default() += 1;
        }
    }
    Reachable { validators: validators.len(), registered, together: sizes.values().copied().max().unwrap_or(0) }
}

/// Whether the node behind --rpc would lose its place.
fn own_node(network: &Network, before: &Snapshot, after: &Snapshot) -> Option<String> {
    let info = network.link.ask("admin_nodeInfo", json!([])).ok()?;
    let id = super::explain::node(info["id"].as_str()?.trim_start_matches("0x")).ok()?;
    let active = |snapshot: &Snapshot| snapshot.nodes.get(&id).is_some_and(|node| node.active);
    (active(before) && !active(after)).then(|| short(id))
}

impl Effects {
    /// Why it should not be sent.
    pub fn danger(&self) -> Option<String> {
        if let Some((index, reason)) = &self.failed {
            return Some(format!("call {} would fail, and then none takes effect: {reason}", index + 1));
        }
        if let Some(node) = &self.own_node {
            return Some(format!("the node behind --rpc itself ({node}) would lose its place"));
        }
        if let Some((before, after)) = self.reach
            && before.together >= quorum(before.validators)
            && after.together < quorum(after.validators)
        {
            return Some(format!("the network would lose its quorum: {}", words_of(before, after)));
        }
        None
    }

    /// `{failed: {call, reason}, changes: [{what, before, after}], connections: [{nodes, allowed}], quorum: {before, after, kept}, danger,
    /// notJudged}`.
    pub fn json(&self, _network: &Network) -> Value {
        let side = |side: Reachable| {
            json!({
                "validators": side.validators, "registered": side.registered, "reachEachOther": side.together, "quorum": quorum(side.validators),
            })
        };
        json!({
            "failed": self.failed.as_ref().map(|(index, reason)| json!({ "call": index + 1, "reason": reason })),
            "changes": self.changes.iter().map(|(what, before, after)| json!({ "what": what, "before": before, "after": after })).collect::<Vec<_>>(),
            "connections": self.connections.iter().map(|link| json!({ "nodes": [link.a, link.b], "allowed": link.allowed })).collect::<Vec<_>>(),
            "quorum": self.reach.map(|(before, after)| json!({
                "before": side(before), "after": side(after), "kept": after.together >= quorum(after.validators),
            })),
            "danger": self.danger(),
            "notJudged": self.unknown,
        })
    }

    pub fn print(&self, _network: &Network) {
        if self.failed.is_none() && self.changes.is_empty() && self.unknown.is_empty() {
            println!("effect: nothing changes");
        }
        for (what, before, after) in &self.changes {
            println!("change: {what}: {before} -> {after}");
        }
        for link in &self.connections {
            println!("connection {}: {} - {}", if link.allowed { "allowed" } else { "cut" }, link.a, link.b);
        }
        if let Some((before, after)) = self.reach {
            println!("quorum: {}", words_of(before, after));
        }
        for unknown in &self.unknown {
            println!("not judged: {unknown}");
        }
        if let Some(danger) = self.danger() {
            println!("WARNING: {danger}");
        }
    }
}

fn words_of(before: Reachable, after: Reachable) -> String {
    let side = |side: Reachable| {
        format!(
            "{} of {} validators reach each other over registered nodes ({} are registered, a quorum is {})",
            side.together,
            side.validators,
            side.registered,
            quorum(side.validators)
        )
    };
    if before == after { side(after) } else { format!("now {}; then {}", side(before), side(after)) }
}

/// Calls of a proposal, in words, for `simulate`.
pub fn lines(network: &Network, calls: &[(Address, Vec<u8>)]) -> Vec<String> {
    calls.iter().map(|(to, data)| Call::of(network, *to, data).line(network)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> NodeId {
        ipe_types::NodeKey::from_bytes([n; 32]).unwrap().node_id()
    }

    #[test]
    fn validators_reach_each_other_through_boots() {
        let nodes: Vec<NodeId> = (1..=6).map(id).collect();
        let validators: BTreeSet<Address> = [1, 2, 3, 9].map(|n| address_of(id(n))).into();
        // 1 and 2 through the boots 4 and 5; 3 has no link; 9 is not registered.
        let links = [(id(1), id(4)), (id(4), id(5)), (id(5), id(2))];
        assert_eq!(reachable(&validators, &nodes, &links), Reachable { validators: 4, registered: 3, together: 2 });
        let more = [links.as_slice(), &[(id(3), id(5))]].concat();
        assert_eq!(reachable(&validators, &nodes, &more).together, 3);
        // A link of a node that is not registered any more is none.
        assert_eq!(reachable(&validators, &nodes[1..], &more), Reachable { validators: 4, registered: 2, together: 2 });
        assert_eq!(reachable(&BTreeSet::new(), &[], &[]), Reachable { validators: 0, registered: 0, together: 0 });
    }

    #[test]
    fn a_lost_quorum_is_a_danger_and_one_that_never_was_is_none() {
        let side = |together| Reachable { validators: 4, registered: together, together };
        let with = |before, after| Effects { reach: Some((side(before), side(after))), ..Effects::default() };
        assert!(with(4, 2).danger().unwrap().contains("quorum"));
        assert_eq!(with(4, 3).danger(), None);
        assert_eq!(with(0, 0).danger(), None, "nothing is registered yet");
    }
}
