//! Who is connected, who may be, and who is banned: the state that every task of the network shares.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ipe_types::{NodeId, Role};
use parking_lot::{Mutex, RwLock};

use crate::capability::Shared as SharedCapabilities;
use crate::config::{Admit, Candidate, Limits};
use crate::disconnect::Reason;
use crate::event::{PeerId, PeerInfo};
use crate::link::Link;

/// Most bans remembered: a ban costs its owner a key and a session, which the slots limit; the oldest is forgotten.
const MAX_BANS: usize = 1024;

/// The slots that a connection counts against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// One of our static nodes: no slot.
    Static,
    /// A node of the directory.
    Known(Role),
    /// Anybody else.
    Stranger,
}

#[derive(Debug)]
struct Entry {
    link: Arc<Link>,
    class: Class,
    ip: IpAddr,
    /// Set once Status is done.
    info: Option<Box<PeerInfo>>,
}

#[derive(Debug, Default)]
struct Table {
    by_id: HashMap<PeerId, Entry>,
    by_node: HashMap<NodeId, PeerId>,
}

/// A refusal of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// What the other is told.
    pub(crate) reason: Reason,
    /// What the log says.
    pub(crate) why: String,
}

/// The shared state of connections.
#[derive(Debug)]
pub(crate) struct Registry {
    own: NodeId,
    limits: Limits,
    admit: Admit,
    next: AtomicU64,
    table: RwLock<Table>,
    directory: RwLock<HashMap<NodeId, Role>>,
    statics: RwLock<HashSet<NodeId>>,
    bans: Mutex<HashMap<NodeId, Instant>>,
}

impl Registry {
    pub(crate) fn new(own: NodeId, limits: Limits, admit: Admit, directory: HashMap<NodeId, Role>) -> Self {
        Registry {
            own,
            limits,
            admit,
            next: AtomicU64::new(1),
            table: RwLock::default(),
            directory: RwLock::new(directory),
            statics: RwLock::default(),
            bans: Mutex::default(),
        }
    }

    pub(crate) fn set_directory(&self, directory: HashMap<NodeId, Role>) {
        *self.directory.write() = directory;
    }

    pub(crate) fn role(&self, node: &NodeId) -> Option<Role> {
        self.directory.read().get(node).copied()
    }

    pub(crate) fn is_static(&self, node: &NodeId) -> bool {
        self.statics.read().contains(node)
    }

    /// `false` when it was one already.
    pub(crate) fn add_static(&self, node: NodeId) -> bool {
        self.statics.write().insert(node)
    }

    pub(crate) fn remove_static(&self, node: &NodeId) -> bool {
        self.statics.write().remove(node)
    }

    /// Bans and rules, which decide before dialling as well.
    pub(crate) fn judge(&self, candidate: &Candidate) -> Result<(), Refusal> {
        let refuse = |reason, why: String| Err(Refusal { reason, why });
        if candidate.node == self.own {
            return refuse(Reason::ConnectedToSelf, "it is this node itself".into());
        }
        if let Some(left) = self.banned(&candidate.node) {
            return refuse(Reason::UselessPeer, format!("it misbehaved and is banned for {} s more", left.as_secs()));
        }
        self.admit.judge(candidate).or_else(|why| refuse(Reason::Requested, why))
    }

    /// Judges a connection whose Hello has come and enters it. `Ok` carries, besides the link, the session that it
    /// replaces, whose end must be awaited before this one opens.
    ///
    /// Two connections to one node come here only when one was silent too long in its turn ([`crate::turn`]). The one
    /// dialled by the lower node id stays: both ends decide alike, and so does Besu, which loses a peer whose kept connection
    /// we end. A second connection of the same direction is refused, and the first one probed, so that a
    /// peer which restarted is let in once its old connection is known to be dead.
    pub(crate) fn enter(
        &self,
        candidate: &Candidate,
        capabilities: SharedCapabilities,
    ) -> Result<(Arc<Link>, Option<Arc<Link>>), Refusal> {
        self.judge(candidate)?;
        let class = match (candidate.is_static, candidate.role) {
            (true, _) => Class::Static,
            (false, Some(role)) => Class::Known(role),
            (false, None) => Class::Stranger,
        };
        let ip = candidate.remote.ip();
        let mut table = self.table.write();
        let replaced = match table.by_node.get(&candidate.node).and_then(|id| table.by_id.get(id)) {
            None => None,
            Some(existing) => {
                let dialler = |inbound| if inbound { candidate.node } else { self.own };
                if existing.link.inbound == candidate.inbound
                    || dialler(existing.link.inbound) < dialler(candidate.inbound)
                {
                    existing.link.probe();
                    let why = format!("connection {} to it is open", existing.link.id.0);
                    return Err(Refusal { reason: Reason::AlreadyConnected, why });
                }
                Some(Arc::clone(&existing.link))
            }
        };
        if replaced.is_none() {
            self.find_slot(&table, class, ip)?;
        }
        let id = PeerId(self.next.fetch_add(1, Ordering::Relaxed));
        let link = Arc::new(Link::new(id, candidate.node, candidate.inbound, class != Class::Stranger, capabilities));
        table.by_id.insert(id, Entry { link: Arc::clone(&link), class, ip, info: None });
        table.by_node.insert(candidate.node, id);
        drop(table);
        if let Some(replaced) = &replaced {
            replaced.end(Some(Reason::AlreadyConnected), true);
        }
        Ok((link, replaced))
    }

    fn find_slot(&self, table: &Table, class: Class, ip: IpAddr) -> Result<(), Refusal> {
        let taken = table.by_id.values().filter(|entry| entry.class == class).count();
        let (slots, of) = match class {
            Class::Static => return Ok(()),
            Class::Known(role) => (self.limits.by_role.get(&role).copied().unwrap_or(0), role.name()),
            Class::Stranger => (self.limits.strangers, "stranger"),
        };
        let full = |why| Err(Refusal { reason: Reason::TooManyPeers, why });
        if taken >= slots {
            return full(format!("all {slots} {of} slots are taken"));
        }
        if class == Class::Stranger && !ip.is_loopback() {
            let same = table.by_id.values().filter(|entry| entry.class == class && entry.ip == ip).count();
            if same >= self.limits.strangers_per_ip {
                return full(format!("{same} strangers are connected from {ip}"));
            }
        }
        Ok(())
    }

    /// Marks a session open.
    pub(crate) fn open(&self, info: PeerInfo) {
        if let Some(entry) = self.table.write().by_id.get_mut(&info.id) {
            entry.info = Some(Box::new(info));
        }
    }

    /// Forgets a connection.
    pub(crate) fn leave(&self, id: PeerId) {
        let mut table = self.table.write();
        if let Some(entry) = table.by_id.remove(&id)
            && table.by_node.get(&entry.link.node) == Some(&id)
        {
            table.by_node.remove(&entry.link.node);
        }
    }

    pub(crate) fn link(&self, id: PeerId) -> Option<Arc<Link>> {
        self.table.read().by_id.get(&id).map(|entry| Arc::clone(&entry.link))
    }

    /// An open session.
    pub(crate) fn info(&self, id: PeerId) -> Option<PeerInfo> {
        self.table.read().by_id.get(&id).and_then(|entry| entry.info.as_deref().cloned())
    }

    pub(crate) fn link_of(&self, node: &NodeId) -> Option<Arc<Link>> {
        let table = self.table.read();
        table.by_node.get(node).and_then(|id| table.by_id.get(id)).map(|entry| Arc::clone(&entry.link))
    }

    pub(crate) fn links(&self) -> Vec<Arc<Link>> {
        self.table.read().by_id.values().map(|entry| Arc::clone(&entry.link)).collect()
    }

    /// Calls `act` with the links of open sessions among `ids`.
    pub(crate) fn with_links(&self, ids: &[PeerId], mut act: impl FnMut(&Link)) {
        let table = self.table.read();
        ids.iter()
            .filter_map(|id| table.by_id.get(id))
            .filter(|entry| entry.info.is_some())
            .for_each(|entry| act(&entry.link));
    }

    /// Every open session, in the order they came.
    pub(crate) fn peers(&self) -> Vec<PeerInfo> {
        let mut peers: Vec<PeerInfo> =
            self.table.read().by_id.values().filter_map(|entry| entry.info.as_deref().cloned()).collect();
        peers.sort_by_key(|info| info.id);
        peers
    }

    /// How many connections to strangers there are.
    pub(crate) fn strangers(&self) -> usize {
        self.table.read().by_id.values().filter(|entry| entry.class == Class::Stranger).count()
    }

    pub(crate) fn update(&self, id: PeerId, change: impl FnOnce(&mut PeerInfo)) {
        if let Some(info) = self.table.write().by_id.get_mut(&id).and_then(|entry| entry.info.as_deref_mut()) {
            change(info);
        }
    }

    /// Time until a node's ban ends.
    pub(crate) fn banned(&self, node: &NodeId) -> Option<Duration> {
        let mut bans = self.bans.lock();
        let left = bans.get(node)?.checked_duration_since(Instant::now());
        if left.is_none() {
            bans.remove(node);
        }
        left
    }

    pub(crate) fn ban(&self, node: NodeId) {
        let mut bans = self.bans.lock();
        if bans.len() >= MAX_BANS
            && let Some(oldest) = bans.iter().min_by_key(|(_, until)| **until).map(|(node, _)| *node)
        {
            bans.remove(&oldest);
        }
        bans.insert(node, Instant::now() + self.limits.ban);
    }

    /// Asks the rules about every open session again; the refused with their reasons.
    pub(crate) fn reconsider(&self) -> Vec<(Arc<Link>, Refusal)> {
        let judged: Vec<(Arc<Link>, Candidate)> = {
            let table = self.table.read();
            let open = table.by_id.values().filter_map(|entry| Some((entry, entry.info.as_deref()?)));
            open.map(|(entry, info)| {
                let candidate = Candidate {
                    node: info.node,
                    role: self.role(&info.node),
                    remote: info.remote,
                    listen_port: info.listen_port,
                    inbound: info.inbound,
                    is_static: info.is_static,
                    path: info.path,
                };
                (Arc::clone(&entry.link), candidate)
            })
            .collect()
        };
        judged.into_iter().filter_map(|(link, candidate)| Some((link, self.judge(&candidate).err()?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry() -> Registry {
        let limits = Limits { strangers: 3, strangers_per_ip: 2, ..Limits::default() };
        Registry::new(NodeId::repeat_byte(0x50), limits, Admit::everybody(), HashMap::new())
    }

    fn candidate(byte: u8, inbound: bool) -> Candidate {
        Candidate {
            node: NodeId::repeat_byte(byte),
            role: None,
            remote: "192.0.2.1:1".parse().expect("an address"),
            listen_port: 0,
            inbound,
            is_static: false,
            path: crate::Path::Direct,
        }
    }

    fn enter(registry: &Registry, candidate: &Candidate) -> Result<Option<PeerId>, Reason> {
        let entered = registry.enter(candidate, SharedCapabilities::all_for_tests());
        entered.map(|(_, replaced)| replaced.map(|link| link.id)).map_err(|refusal| refusal.reason)
    }

    #[test]
    fn of_two_simultaneous_connections_the_lower_dialler_stays_as_in_besu() {
        let registry = registry();
        // We are 0x50: of us and 0x60 we are the lower, of us and 0x40 it is.
        assert_eq!(enter(&registry, &candidate(0x60, true)), Ok(None));
        assert_eq!(enter(&registry, &candidate(0x60, false)), Ok(Some(PeerId(1))));
        assert_eq!(enter(&registry, &candidate(0x60, true)), Err(Reason::AlreadyConnected));
        registry.leave(PeerId(1));
        assert!(registry.link_of(&NodeId::repeat_byte(0x60)).is_some_and(|link| link.id == PeerId(2)));
        assert_eq!(enter(&registry, &candidate(0x40, false)), Ok(None));
        assert_eq!(enter(&registry, &candidate(0x40, true)), Ok(Some(PeerId(3))));
        assert_eq!(enter(&registry, &candidate(0x50, true)), Err(Reason::ConnectedToSelf));
    }

    #[test]
    fn strangers_share_their_slots_and_take_no_others() {
        let registry = registry();
        for byte in [1, 2] {
            assert_eq!(enter(&registry, &candidate(byte, true)), Ok(None));
        }
        assert_eq!(enter(&registry, &candidate(3, true)), Err(Reason::TooManyPeers), "two from one address");
        let elsewhere = Candidate { remote: "192.0.2.2:1".parse().expect("an address"), ..candidate(4, true) };
        assert_eq!(enter(&registry, &elsewhere), Ok(None));
        let fourth = Candidate { remote: "192.0.2.3:1".parse().expect("an address"), ..candidate(5, true) };
        assert_eq!(enter(&registry, &fourth), Err(Reason::TooManyPeers));
        assert_eq!(enter(&registry, &Candidate { role: Some(Role::Boot), ..candidate(6, true) }), Ok(None));
        assert_eq!(enter(&registry, &Candidate { is_static: true, ..candidate(7, true) }), Ok(None));
        registry.leave(PeerId(1));
        assert_eq!(enter(&registry, &fourth), Ok(None));
    }

    #[test]
    fn bans_hold_and_are_bounded() {
        let registry = registry();
        registry.ban(NodeId::repeat_byte(9));
        assert_eq!(enter(&registry, &candidate(9, true)), Err(Reason::UselessPeer));
        for at in 0..2 * MAX_BANS as u64 {
            let mut node = NodeId::ZERO;
            node[..8].copy_from_slice(&at.to_be_bytes());
            registry.ban(node);
        }
        assert_eq!(registry.bans.lock().len(), MAX_BANS);
    }
}
