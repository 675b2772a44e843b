//! Rules on chain at a node: whom it may be connected to, asked of the contract on the state of the head and again on every new
//! head; and the word to its operator when a contract gives no answer (docs/spec/permissioning.md 3).
//!
//! What is a node's own choice keeps it from locking itself out. The nodes that its operator names, boots and static nodes, are
//! known by their keys; they may be connected while this node's state is old, or the contract gives no answer. A contract
//! that gives no answer cuts nobody. And this node's own enode need not be listed: whether it may be here is for the others to
//! say.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use ipe_chain::{Asked, Ledger};
use ipe_p2p::{Candidate, LocalNode, NetworkHandle, Path, Permit};
use ipe_permissioning::verdict::Fault;
use ipe_permissioning::{End, Link, Verdict};
use ipe_types::genesis::NodeAbi;
use ipe_types::{Address, Enode, NodeId};
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use crate::permissions::NodeList;

/// A head is the network's when it is no older than this, seconds, or ten block periods.
const CURRENT_S: u64 = 60;

/// The judge of connections by the rules on chain.
pub(crate) struct NodeRules {
    ledger: Arc<Ledger>,
    id: NodeId,
    /// This node as it tells of itself, once it listens.
    own: OnceLock<End>,
    /// Boots and static nodes by key, with the names of their hosts.
    fixed: HashMap<NodeId, Vec<String>>,
    /// Who is connected; a contract that gives no answer changes nothing for them.
    connected: RwLock<HashSet<NodeId>>,
    /// Unix seconds.
    clock: fn() -> u64,
}

fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl NodeRules {
    /// `fixed` are the nodes that the operator names.
    pub(crate) fn new(ledger: Arc<Ledger>, id: NodeId, fixed: &[Enode]) -> Self {
        let fixed = fixed.iter().map(|enode| (enode.id, enode.hosts.clone())).collect();
        Self { ledger, id, own: OnceLock::new(), fixed, connected: RwLock::default(), clock: unix_s }
    }

    /// From now on this is how the node tells of itself.
    pub(crate) fn is(&self, local: &LocalNode) {
        let told = local.enode.as_ref().and_then(|enode| enode.hosts.iter().find_map(|host| host.parse().ok()));
        let ip = told.or(local.listen.map(|listen| listen.ip())).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let port = local.enode.as_ref().map_or(0, |enode| enode.tcp);
        let _ = self.own.set(End { id: self.id, ip, port });
    }

    /// The verdict on a connection, for the network.
    ///
    /// # Errors
    /// Why not, in words.
    pub(crate) fn judge(&self, candidate: &Candidate) -> Result<(), String> {
        // The ends of a session that this boot carries judge it themselves.
        if matches!(candidate.path, Path::For(_)) {
            return Ok(());
        }
        let port = if candidate.inbound { candidate.listen_port } else { candidate.remote.port() };
        self.permits(&candidate.node, candidate.remote.ip(), port, candidate.inbound)
    }

    /// The judge of whom discovery talks with: the local list, and the rules as if this node dialled. None where nobody is judged.
    pub(crate) fn permit(self: Arc<Self>, listed: Option<Arc<NodeList>>) -> Permit {
        let ruled = self.ledger.spec().genesis().permissioning.steps().iter().any(|(_, step)| step.nodes.is_some());
        if !ruled && listed.is_none() {
            return Permit::default();
        }
        Permit::new(move |node, ip, tcp| {
            listed.as_ref().is_none_or(|list| list.permits(node, ip, tcp).is_ok()) && self.permits(node, ip, tcp, false).is_ok()
        })
    }

    fn permits(&self, node: &NodeId, ip: IpAddr, port: u16, inbound: bool) -> Result<(), String> {
        let head = self.ledger.head();
        let Some(contract) = self.ledger.spec().permissioning_at(head.number.saturating_add(1)).nodes else { return Ok(()) };
        let other = End { id: *node, ip: ip.to_canonical(), port };
        let fixed = self.fixed.get(node);
        let verdict = match self.verdict(contract.abi, &other, fixed, inbound) {
            Ok(verdict) => verdict,
            Err(error) => return Err(format!("the rules on chain could not be read: {error}")),
        };
        match verdict {
            Verdict::Allowed | Verdict::Unruled => Ok(()),
            Verdict::Denied if fixed.is_some() && !self.is_current(head.header.timestamp) => Ok(()),
            Verdict::Denied => {
                Err(format!("the node rules on chain do not permit it (contract {}, block {})", contract.address, head.number))
            }
            Verdict::Broken(_) if fixed.is_some() || self.connected.read().contains(node) => Ok(()),
            Verdict::Broken(fault) => Err(format!(
                "the node rules on chain give no answer: {fault} (contract {}, block {})",
                contract.address, head.number
            )),
        }
    }

    fn verdict(
        &self,
        abi: NodeAbi,
        other: &End,
        fixed: Option<&Vec<String>>,
        inbound: bool,
    ) -> Result<Verdict, ipe_chain::LedgerError> {
        let ask = |source: &End, destination: &End, names| {
            self.ledger.may_connect(&Link { source: source.clone(), destination: destination.clone() }, names)
        };
        if abi == NodeAbi::V2 {
            // One question an end; of this one's nothing is asked.
            let name = fixed.into_iter().flatten().find(|host| host.parse::<IpAddr>().is_err()).map(String::as_str);
            return ask(other, other, [name, name]);
        }
        let nowhere = End { id: self.id, ip: IpAddr::V4(Ipv4Addr::LOCALHOST), port: 0 };
        let own = self.own.get().unwrap_or(&nowhere);
        let (source, destination) = if inbound { (other, own) } else { (own, other) };
        let pair = ask(source, destination, [None; 2])?;
        if pair != Verdict::Denied || ask(own, own, [None; 2])?.allows() {
            return Ok(pair);
        }
        // It is this node that is not listed: the other is judged alone.
        ask(other, other, [None; 2])
    }

    /// Whether a head of this time can be the network's.
    fn is_current(&self, timestamp_s: u64) -> bool {
        let params = self.ledger.spec().qbft_at(self.ledger.head().number.saturating_add(1), timestamp_s);
        let periods = params.period_ms.max(params.empty_period_ms).saturating_mul(10) / 1_000;
        (self.clock)().saturating_sub(timestamp_s) <= CURRENT_S.max(periods)
    }
}

/// Follows the head until it is aborted: connections are judged again, and the operator is told of contracts that give no answer.
pub(crate) async fn follow(
    ledger: Arc<Ledger>,
    nodes: Arc<NodeRules>,
    network: NetworkHandle,
    mut head: watch::Receiver<ipe_p2p::LocalHead>,
) {
    let told = Arc::new(Mutex::new(Told::default()));
    loop {
        let (ledger, nodes, network, told) = (ledger.clone(), nodes.clone(), network.clone(), told.clone());
        let look = move || {
            let next = ledger.spec().permissioning_at(ledger.head().number.saturating_add(1));
            if next.nodes.is_some() || told.lock().had_nodes {
                *nodes.connected.write() = network.peers().iter().map(|peer| peer.node).collect();
                network.reconsider();
            }
            let mut told = told.lock();
            told.had_nodes = next.nodes.is_some();
            told.look(&ledger);
        };
        // A contract may take some milliseconds for each of many peers.
        if tokio::task::spawn_blocking(look).await.is_err() || head.changed().await.is_err() {
            return;
        }
    }
}

/// What the operator was told last.
#[derive(Default)]
struct Told {
    had_nodes: bool,
    accounts: Option<(Address, Option<Fault>)>,
    nodes: Option<(Address, Option<Fault>)>,
    absent: Option<Address>,
}

impl Told {
    fn look(&mut self, ledger: &Ledger) {
        for (asked, what, told) in [(Asked::Accounts, "account", &mut self.accounts), (Asked::Nodes, "node", &mut self.nodes)] {
            let report = ledger.rules_report(asked);
            let now = report.contract.map(|contract| (contract, report.fault));
            if *told == now {
                continue;
            }
            match (&now, &told) {
                (Some((contract, Some(fault))), _) => tracing::error!(
                    %contract,
                    "the {what} rules on chain give no answer, so that nobody is permitted: {fault}. What to do is in docs/permissioning.md"
                ),
                (Some((contract, None)), Some((before, Some(_)))) if contract == before => {
                    tracing::warn!(%contract, "the {what} rules on chain answer again");
                }
                (Some((contract, None)), _) => tracing::info!(%contract, "{what} rules on chain are in force"),
                (None, _) => tracing::warn!("{what} rules on chain are not in force any more"),
            }
            *told = now;
        }
        let contract = self.accounts.as_ref().map(|(contract, _)| *contract);
        let absent = contract.filter(|contract| matches!(ledger.state().head().account(*contract), Ok(None)));
        if absent != self.absent
            && let Some(contract) = absent
        {
            tracing::warn!(%contract, "there is no account at the address of the account rules: every sender is permitted, as in Besu");
        }
        self.absent = absent;
    }
}

#[cfg(test)]
mod tests;
