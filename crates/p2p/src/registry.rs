//! Who is connected, who may be, and who is banned: the state that every task of the network shares.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ipe_types::{NodeId, Role};
use parking_lot::{Mutex, RwLock};

use crate::capability::Shared as SharedCapabilities;
use crate::config::{Admit, Candidate, Core, Limits};
use crate::disconnect::Reason;
use crate::event::{PeerId, PeerInfo};
use crate::link::Link;
use crate::net::{self, Block, is_local};

/// Most bans remembered: a ban costs its owner a key and a session, which the slots limit; the oldest is forgotten.
const MAX_BANS: usize = 1024;

/// The slots that a connection counts against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// One of our static nodes, or of the core: no slot.
    Own,
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
    core: Core,
    /// Of strangers' slots, those that are kept for strangers that we dial.
    kept_for_dialled: usize,
    next: AtomicU64,
    table: RwLock<Table>,
    directory: RwLock<HashMap<NodeId, Role>>,
    statics: RwLock<HashSet<NodeId>>,
    bans: Mutex<HashMap<NodeId, Instant>>,
    /// Addresses of strangers that were banned: their keys cost nothing, and with a new one they would be back at once.
    banned_addresses: Mutex<HashMap<Block, Instant>>,
}

impl Registry {
    pub(crate) fn new(
        own: NodeId,
        limits: Limits,
        admit: Admit,
        directory: HashMap<NodeId, Role>,
        core: Core,
        kept_for_dialled: usize,
    ) -> Self {
        Registry {
            own,
            limits,
            admit,
            core,
            kept_for_dialled,
            next: AtomicU64::new(1),
            table: RwLock::default(),
            directory: RwLock::new(directory),
            statics: RwLock::default(),
            bans: Mutex::default(),
            banned_addresses: Mutex::default(),
        }
    }

    pub(crate) fn set_directory(&self, directory: HashMap<NodeId, Role>) {
        *self.directory.write() = directory;
    }

    pub(crate) fn role(&self, node: &NodeId) -> Option<Role> {
        self.directory.read().get(node).copied()
    }

    /// Whether a node has places that strangers cannot take.
    pub(crate) fn knows(&self, node: &NodeId) -> bool {
        self.is_static(node) || self.role(node).is_some() || self.core.has(node)
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
        let class = match candidate.role {
            _ if candidate.is_static || self.core.has(&candidate.node) => Class::Own,
            Some(role) => Class::Known(role),
            None => Class::Stranger,
        };
        let ip = candidate.remote.ip();
        if class == Class::Stranger
            && let Some(left) = left(&self.banned_addresses, &net::address(ip))
        {
            let why = format!("a stranger from {ip} misbehaved, strangers from there are banned for {} s more", left.as_secs());
            return Err(Refusal { reason: Reason::UselessPeer, why });
        }
        let mut table = self.table.write();
        let replaced = match table.by_node.get(&candidate.node).and_then(|id| table.by_id.get(id)) {
            None => None,
            Some(existing) => {
                let dialler = |inbound| if inbound { candidate.node } else { self.own };
                if existing.link.inbound == candidate.inbound || dialler(existing.link.inbound) < dialler(candidate.inbound) {
                    existing.link.probe();
                    let why = format!("connection {} to it is open", existing.link.id.0);
                    return Err(Refusal { reason: Reason::AlreadyConnected, why });
                }
                Some(Arc::clone(&existing.link))
            }
        };
        let displaced = if replaced.is_none() { self.find_slot(&table, class, candidate)? } else { None };
        let id = PeerId(self.next.fetch_add(1, Ordering::Relaxed));
        let link = Arc::new(Link::new(id, candidate.node, candidate.inbound, class != Class::Stranger, capabilities));
        table.by_id.insert(id, Entry { link: Arc::clone(&link), class, ip, info: None });
        table.by_node.insert(candidate.node, id);
        // Before anybody else looks for a slot.
        if let Some(displaced) = displaced {
            displaced.end(Some(Reason::TooManyPeers), true);
        }
        drop(table);
        if let Some(replaced) = &replaced {
            replaced.end(Some(Reason::AlreadyConnected), true);
        }
        Ok((link, replaced))
    }

    /// Finds a slot. A stranger may have to take another's: the displaced one's link.
    fn find_slot(&self, table: &Table, class: Class, candidate: &Candidate) -> Result<Option<Arc<Link>>, Refusal> {
        let ip = candidate.remote.ip();
        // Whoever is being ended takes none any more.
        let of_class = || table.by_id.values().filter(move |entry| entry.class == class && entry.link.closing().is_none());
        let taken = of_class().count();
        let (slots, of) = match class {
            Class::Own => return Ok(None),
            Class::Known(role) => (self.limits.by_role.get(&role).copied().unwrap_or(0), role.name()),
            Class::Stranger => (self.limits.strangers, "stranger"),
        };
        let full = |why| Err(Refusal { reason: Reason::TooManyPeers, why });
        if class == Class::Stranger && !is_local(ip) {
            let address = net::address(ip);
            let same = of_class().filter(|entry| net::address(entry.ip) == address).count();
            if same >= self.limits.strangers_per_ip {
                return full(format!("{same} strangers are connected from {ip}"));
            }
        }
        let inbound = || of_class().filter(|entry| entry.link.inbound);
        let full_of_inbound =
            class == Class::Stranger && candidate.inbound && inbound().count() >= slots.saturating_sub(self.kept_for_dialled);
        if taken < slots && !full_of_inbound {
            return Ok(None);
        }
        // Whom we chose ourselves stays: else strangers could choose for us.
        let strangers = inbound().map(|entry| (entry.link.id, entry.ip));
        let displaced = if class == Class::Stranger { net::surplus(strangers, ip) } else { None };
        match displaced.and_then(|id| table.by_id.get(&id)) {
            Some(entry) => Ok(Some(Arc::clone(&entry.link))),
            None => full(format!("all {slots} {of} slots are taken")),
        }
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
        ids.iter().filter_map(|id| table.by_id.get(id)).filter(|entry| entry.info.is_some()).for_each(|entry| act(&entry.link));
    }

    /// Every open session, in the order they came.
    pub(crate) fn peers(&self) -> Vec<PeerInfo> {
        let mut peers: Vec<PeerInfo> =
            self.table.read().by_id.values().filter_map(|entry| entry.info.as_deref().cloned()).collect();
        peers.sort_by_key(|info| info.id);
        peers
    }

    /// How many strangers that discovery found are to be dialled: until the slots are half full, and until we have chosen as
    /// many ourselves as there are slots kept for that.
    pub(crate) fn to_dial(&self) -> usize {
        let table = self.table.read();
        let strangers = || table.by_id.values().filter(|entry| entry.class == Class::Stranger);
        let half = (self.limits.strangers / 2).saturating_sub(strangers().count());
        half.max(self.kept_for_dialled.saturating_sub(strangers().filter(|entry| !entry.link.inbound).count()))
    }

    pub(crate) fn update(&self, id: PeerId, change: impl FnOnce(&mut PeerInfo)) {
        if let Some(info) = self.table.write().by_id.get_mut(&id).and_then(|entry| entry.info.as_deref_mut()) {
            change(info);
        }
    }

    /// Time until a node's ban ends.
    pub(crate) fn banned(&self, node: &NodeId) -> Option<Duration> {
        left(&self.bans, node)
    }

    /// Keeps a node away for a while, and if it is a stranger other strangers from its address as well.
    pub(crate) fn ban(&self, link: &Link) {
        let until = Instant::now() + self.limits.ban;
        let ip = self.table.read().by_id.get(&link.id).map(|entry| entry.ip);
        if !link.known
            && let Some(ip) = ip.filter(|ip| !is_local(*ip))
        {
            note(&self.banned_addresses, net::address(ip), until);
        }
        note(&self.bans, link.node, until);
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

/// Time until a ban ends.
fn left<K: Hash + Eq>(bans: &Mutex<HashMap<K, Instant>>, key: &K) -> Option<Duration> {
    let mut bans = bans.lock();
    let left = bans.get(key)?.checked_duration_since(Instant::now());
    if left.is_none() {
        bans.remove(key);
    }
    left
}

fn note<K: Hash + Eq + Copy>(bans: &Mutex<HashMap<K, Instant>>, key: K, until: Instant) {
    let mut bans = bans.lock();
    if bans.len() >= MAX_BANS
        && let Some(oldest) = bans.iter().min_by_key(|(_, until)| **until).map(|(key, _)| *key)
    {
        bans.remove(&oldest);
    }
    bans.insert(key, until);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry() -> Registry {
        let limits = Limits { strangers: 3, strangers_per_ip: 2, ..Limits::default() };
        Registry::new(NodeId::repeat_byte(0x50), limits, Admit::everybody(), HashMap::new(), Core::new(|node| node[0] == 0xc0), 0)
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
        assert_eq!(enter(&registry, &candidate(0xc0, true)), Ok(None), "the core");
        registry.leave(PeerId(1));
        assert_eq!(enter(&registry, &fourth), Ok(None));
    }

    #[test]
    fn a_crowded_network_makes_room_for_others() {
        let registry = registry();
        let from =
            |byte: u8, ip: &str| Candidate { remote: format!("{ip}:1").parse().expect("an address"), ..candidate(byte, true) };
        for (byte, ip) in [(1, "192.0.2.1"), (2, "192.0.2.2"), (3, "192.0.2.3")] {
            assert_eq!(enter(&registry, &from(byte, ip)), Ok(None));
        }
        let closing = |byte| registry.link_of(&NodeId::repeat_byte(byte)).and_then(|link| link.closing());
        assert_eq!(enter(&registry, &from(4, "192.0.2.4")), Err(Reason::TooManyPeers), "of the same network");
        assert_eq!(enter(&registry, &from(5, "198.51.100.1")), Ok(None));
        assert!(closing(1).is_none() && closing(2).is_none() && closing(3).is_some(), "its latest gives way");
        assert_eq!(enter(&registry, &from(6, "198.51.100.2")), Err(Reason::TooManyPeers), "or it would go to and fro");
        assert_eq!(enter(&registry, &from(7, "203.0.113.1")), Ok(None), "two, one and then one each");
        assert_eq!(enter(&registry, &from(8, "233.252.0.1")), Err(Reason::TooManyPeers), "one each");
    }

    #[test]
    fn strangers_do_not_keep_us_from_dialling_whom_we_choose() {
        let limits = Limits { strangers: 8, ..Limits::default() };
        let registry = Registry::new(NodeId::repeat_byte(0x50), limits, Admit::everybody(), HashMap::new(), Core::default(), 2);
        let from = |byte: u8, inbound| Candidate { remote: ([byte, 0, 0, 1], 1).into(), ..candidate(byte, inbound) };
        assert_eq!(registry.to_dial(), 4, "until the slots are half full");
        for byte in 1..=6 {
            assert_eq!(enter(&registry, &from(byte, true)), Ok(None));
        }
        assert_eq!(enter(&registry, &from(7, true)), Err(Reason::TooManyPeers), "two are kept");
        assert_eq!(registry.to_dial(), 2);
        assert_eq!([enter(&registry, &from(8, false)), enter(&registry, &from(9, false))], [Ok(None), Ok(None)]);
        assert_eq!(registry.to_dial(), 0);
        assert_eq!(enter(&registry, &from(10, false)), Err(Reason::TooManyPeers));
    }

    #[test]
    fn bans_hold_and_are_bounded() {
        let registry = registry();
        let enter_link = |candidate: &Candidate| registry.enter(candidate, SharedCapabilities::all_for_tests()).expect("a slot").0;
        let (stranger, member) = (candidate(9, true), Candidate { role: Some(Role::Boot), ..candidate(8, true) });
        for candidate in [&stranger, &member] {
            let link = enter_link(candidate);
            registry.ban(&link);
            registry.leave(link.id);
            assert_eq!(enter(&registry, candidate), Err(Reason::UselessPeer));
        }
        // A new key costs a stranger nothing, so its address is banned too, for strangers.
        assert_eq!(enter(&registry, &candidate(10, true)), Err(Reason::UselessPeer));
        let elsewhere = Candidate { remote: "192.0.2.2:1".parse().expect("an address"), ..candidate(10, true) };
        assert_eq!(enter(&registry, &elsewhere), Ok(None));
        assert_eq!(enter(&registry, &Candidate { role: Some(Role::Writer), ..candidate(11, true) }), Ok(None));
        for at in 0..2 * MAX_BANS as u64 {
            let mut node = NodeId::ZERO;
            node[..8].copy_from_slice(&at.to_be_bytes());
            note(&registry.bans, node, Instant::now());
        }
        assert_eq!(registry.bans.lock().len(), MAX_BANS);
    }
}
