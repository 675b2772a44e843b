//! The IP addresses from which known nodes are likely to come: those of their configured hosts, and those where one has
//! proved its key before. A connection from there has a share of its own before its key is known.
//!
//! An address proves nothing. It only decides whose shares a connection takes until its key has come.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipe_types::NodeId;
use parking_lot::RwLock;

use crate::dial;
use crate::net::is_local;
use crate::network::Shared;

/// Hosts that are looked up: a large directory names a few hundred.
const MAX_HOSTS: usize = 4096;
/// Addresses that are remembered because a known node has come from there; the oldest is forgotten.
const MAX_LEARNED: usize = 1024;
/// Of these, addresses of one node: it may have two ways out, and a faulty member must not own the list.
const LEARNED_PER_NODE: usize = 2;
/// How often names are looked up again (as static nodes' names, at the latest).
const REFRESH: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
struct State {
    configured: HashSet<IpAddr>,
    learned: HashMap<IpAddr, (NodeId, Instant)>,
}

/// The known addresses.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    state: RwLock<State>,
}

impl Addresses {
    /// Whether a known node is likely to come from there. Never this machine's own addresses: whoever uses them shares them.
    pub(crate) fn knows(&self, ip: IpAddr) -> bool {
        let state = self.state.read();
        !is_local(ip) && (state.configured.contains(&ip) || state.learned.contains_key(&ip))
    }

    /// A known node has proved its key from there.
    pub(crate) fn learn(&self, node: NodeId, ip: IpAddr) {
        let now = Instant::now();
        let mut state = self.state.write();
        state.learned.insert(ip, (node, now));
        let oldest = |learned: &HashMap<IpAddr, (NodeId, Instant)>, of: Option<NodeId>| {
            let candidates = learned.iter().filter(|(_, (owner, _))| of.is_none_or(|of| *owner == of));
            candidates.min_by_key(|(_, (_, at))| *at).map(|(ip, _)| *ip)
        };
        let of_node = state.learned.values().filter(|(owner, _)| *owner == node).count();
        let gone = if of_node > LEARNED_PER_NODE {
            oldest(&state.learned, Some(node))
        } else if state.learned.len() > MAX_LEARNED {
            oldest(&state.learned, None)
        } else {
            None
        };
        if let Some(gone) = gone {
            state.learned.remove(&gone);
        }
    }

    /// Those of configured hosts.
    pub(crate) fn configured(&self) -> Vec<IpAddr> {
        self.state.read().configured.iter().copied().collect()
    }

    fn configure(&self, addresses: HashSet<IpAddr>) {
        self.state.write().configured = addresses;
    }
}

/// Addresses among hosts that need no name server.
fn literal<'a>(hosts: impl Iterator<Item = &'a String>) -> HashSet<IpAddr> {
    hosts.filter_map(|host| host.parse::<IpAddr>().ok()).map(|ip| ip.to_canonical()).collect()
}

/// Puts the hosts' addresses into force: at once what is an address, and names as soon as they are looked up, again and
/// again until the network stops.
pub(crate) fn keep(shared: &Arc<Shared>, mut hosts: Vec<String>) {
    hosts.sort();
    hosts.dedup();
    if hosts.len() > MAX_HOSTS {
        tracing::warn!(
            hosts = hosts.len(),
            "only the first {MAX_HOSTS} hosts of known nodes have shares of their own before their keys are known"
        );
        hosts.truncate(MAX_HOSTS);
    }
    let fixed = literal(hosts.iter());
    shared.addresses.configure(fixed.clone());
    hosts.retain(|host| host.parse::<IpAddr>().is_err());
    if hosts.is_empty() {
        return;
    }
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        let follow = async {
            let mut named: HashMap<&String, Vec<IpAddr>> = HashMap::new();
            loop {
                for host in &hosts {
                    // A name server that is down for a moment costs nobody a share.
                    if let Ok(found) = dial::resolve(host, 0).await {
                        named.insert(host, found.into_iter().map(|address| address.ip().to_canonical()).collect());
                    }
                }
                shared.addresses.configure(fixed.iter().chain(named.values().flatten()).copied().collect());
                tokio::time::sleep(REFRESH).await;
            }
        };
        tokio::select! {
            () = shared.stopped() => {}
            () = follow => {}
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_learned_is_bounded_by_node_and_in_all() {
        let addresses = Addresses::default();
        let ip = |n: u32| IpAddr::from((0x0a00_0000 + n).to_be_bytes());
        let node = |n: u32| {
            let mut id = NodeId::ZERO;
            id[..4].copy_from_slice(&n.to_be_bytes());
            id
        };
        for n in 0..100 {
            addresses.learn(node(0), ip(n));
        }
        assert_eq!((0..100).filter(|n| addresses.knows(ip(*n))).count(), LEARNED_PER_NODE);
        assert!(addresses.knows(ip(99)), "the latest");
        for n in 1..3 * MAX_LEARNED as u32 {
            addresses.learn(node(n), ip(1000 + n));
        }
        assert_eq!(addresses.state.read().learned.len(), MAX_LEARNED);
        addresses.configure(HashSet::from([ip(7)]));
        assert!(addresses.knows(ip(7)));
        addresses.learn(node(1), IpAddr::from([127, 0, 0, 1]));
        assert!(!addresses.knows(IpAddr::from([127, 0, 0, 1])), "everybody on this machine has it");
    }
}
