//! The nodes that have answered a Ping, by distance from us.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use ipe_types::{B256, NodeId, keccak256};

use super::packet::Endpoint;
use crate::net::{self, is_local};

/// Nodes a bucket holds (Kademlia's k).
pub const BUCKET: usize = 16;
/// Buckets: distances over 240 bits fall into one each, nearer ones (a few nodes in a million) share the first.
const BUCKETS: usize = 17;
/// Nodes of one /24 (IPv4) or /48 (IPv6) in the whole table, so that one owner of addresses cannot fill it. Private and
/// loopback networks are exempt: a consortium may live in one.
const PER_SUBNET: usize = 10;
/// The same in one bucket.
const PER_SUBNET_IN_BUCKET: usize = 4;
/// Nodes of one address (IPv6: /64), private ones too, so that one machine cannot fill the table with keys. This machine's
/// own are exempt.
const PER_ADDRESS: usize = 4;
/// Failed Pings after which a node is dropped.
const MAX_FAILURES: u8 = 3;

/// A node of the table.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Who.
    pub id: NodeId,
    /// UDP address that answered.
    pub udp: SocketAddr,
    /// TCP port; 0 when unknown.
    pub tcp: u16,
    /// When it came into the table.
    pub since: Instant,
    /// Last Pong.
    pub seen: Instant,
    /// Last Ping sent to check it.
    pub checked: Instant,
    /// Whether the check is unanswered, and how many in a row are.
    pub failures: u8,
    /// Last dial.
    pub dialled: Option<Instant>,
    /// When its node record was asked for last.
    pub record_asked: Option<Instant>,
    /// Whether its node record names our chain; none until the record came.
    pub compatible: Option<bool>,
}

impl Entry {
    /// The endpoint as Neighbors lists it.
    pub fn endpoint(&self) -> Endpoint {
        Endpoint { ip: Some(self.udp.ip()), udp: self.udp.port(), tcp: self.tcp }
    }
}

/// The table.
#[derive(Debug)]
pub struct Table {
    own: B256,
    buckets: Vec<Vec<Entry>>,
    /// Nodes for which there is always room.
    reserved: HashSet<NodeId>,
}

fn distance(a: B256, b: B256) -> usize {
    let zeros: usize = (a ^ b)
        .iter()
        .scan(true, |leading, byte| {
            let counted = if *leading { byte.leading_zeros() as usize } else { 0 };
            *leading &= *byte == 0;
            Some(counted)
        })
        .sum();
    256 - zeros
}

fn subnet(ip: IpAddr) -> Option<[u8; 6]> {
    match ip {
        IpAddr::V4(ip) if ip.is_loopback() || ip.is_private() || ip.is_link_local() => None,
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            Some([4, a, b, c, 0, 0])
        }
        IpAddr::V6(ip) if ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local() => None,
        IpAddr::V6(ip) => {
            let [a, b, c, d, e, f, ..] = ip.octets();
            Some([a, b, c, d, e, f])
        }
    }
}

impl Table {
    /// An empty table of the node `own`.
    pub fn new(own: &NodeId) -> Self {
        Table { own: keccak256(own), buckets: vec![Vec::new(); BUCKETS], reserved: HashSet::new() }
    }

    /// There is always room for these.
    pub fn reserve(&mut self, nodes: HashSet<NodeId>) {
        self.reserved = nodes;
    }

    fn bucket(&self, id: &NodeId) -> usize {
        (distance(self.own, keccak256(id)) + BUCKETS).saturating_sub(257)
    }

    /// How many nodes are known.
    pub fn size(&self) -> usize {
        self.buckets.iter().map(Vec::len).sum()
    }

    /// The node's entry.
    pub fn get_mut(&mut self, id: &NodeId) -> Option<&mut Entry> {
        let bucket = self.bucket(id);
        self.buckets[bucket].iter_mut().find(|entry| entry.id == *id)
    }

    /// Forgets the nodes of which `keep` is false.
    pub fn retain(&mut self, keep: impl Fn(&Entry) -> bool) {
        for bucket in &mut self.buckets {
            bucket.retain(&keep);
        }
    }

    /// A node has answered a Ping. Returns whether it is new. A full bucket keeps its old nodes, which have proved
    /// themselves longer, unless one of them fails to answer.
    pub fn answered(&mut self, now: Instant, id: NodeId, udp: SocketAddr, tcp: u16) -> bool {
        if let Some(entry) = self.get_mut(&id) {
            (entry.udp, entry.seen, entry.failures) = (udp, now, 0);
            if tcp != 0 {
                entry.tcp = tcp;
            }
            return false;
        }
        let at = self.bucket(&id);
        let reserved = self.reserved.contains(&id);
        if !reserved && self.is_crowded(at, udp.ip()) {
            return false;
        }
        let own = &self.reserved;
        let bucket = &mut self.buckets[at];
        if bucket.len() >= BUCKET {
            let failing = bucket.iter().position(|entry| entry.failures > 0 && !own.contains(&entry.id));
            let latest = || {
                let others = (0..bucket.len()).filter(|at| reserved && !own.contains(&bucket[*at].id));
                others.max_by_key(|at| bucket[*at].since)
            };
            match failing.or_else(latest) {
                Some(at) => bucket.swap_remove(at),
                None => return false,
            };
        }
        bucket.push(Entry {
            id,
            udp,
            tcp,
            since: now,
            seen: now,
            checked: now,
            failures: 0,
            dialled: None,
            record_asked: None,
            compatible: None,
        });
        true
    }

    /// Whether an address, or its network, has as many nodes as it may have.
    fn is_crowded(&self, bucket: usize, ip: IpAddr) -> bool {
        let all = || self.buckets.iter().flatten();
        let address = net::address(ip);
        if !is_local(ip) && all().filter(|entry| net::address(entry.udp.ip()) == address).count() >= PER_ADDRESS {
            return true;
        }
        let Some(net) = subnet(ip) else { return false };
        let of_net = |entry: &&Entry| subnet(entry.udp.ip()) == Some(net);
        all().filter(of_net).count() >= PER_SUBNET || self.buckets[bucket].iter().filter(of_net).count() >= PER_SUBNET_IN_BUCKET
    }

    /// The node longest unchecked, if that is at least `after` ago: it is to be pinged again. A node whose last checks
    /// all failed is dropped instead.
    pub fn due(&mut self, now: Instant, after: Duration) -> Option<(NodeId, SocketAddr)> {
        for bucket in &mut self.buckets {
            bucket.retain(|entry| entry.failures < MAX_FAILURES);
        }
        let entry = self.buckets.iter_mut().flatten().min_by_key(|entry| entry.checked)?;
        if now.duration_since(entry.checked) < after {
            return None;
        }
        entry.checked = now;
        // Taken back by the Pong.
        entry.failures += 1;
        Some((entry.id, entry.udp))
    }

    /// The nodes nearest to a key.
    pub fn nearest(&self, target: &NodeId, count: usize) -> Vec<&Entry> {
        let target = keccak256(target);
        let mut entries: Vec<&Entry> = self.buckets.iter().flatten().filter(|entry| entry.failures == 0).collect();
        entries.sort_by_key(|entry| keccak256(entry.id) ^ target);
        entries.truncate(count);
        entries
    }

    /// Every node, for choosing whom to dial.
    pub fn entries_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.buckets.iter_mut().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u64) -> NodeId {
        let mut id = NodeId::ZERO;
        id[..8].copy_from_slice(&n.to_be_bytes());
        id
    }

    fn udp(ip: [u8; 4]) -> SocketAddr {
        (ip, 30303).into()
    }

    #[test]
    fn it_is_bounded_and_one_subnet_cannot_fill_it() {
        let now = Instant::now();
        let mut table = Table::new(&id(0));
        for n in 1..2000 {
            table.answered(now, id(n), udp([203, 0, 113, n as u8]), 1);
        }
        assert_eq!(table.size(), PER_SUBNET);
        for n in 2000..20_000 {
            table.answered(now, id(n), udp([10, 0, (n >> 8) as u8, n as u8]), 1);
        }
        assert!(table.size() > 100 && table.buckets.iter().all(|bucket| bucket.len() <= BUCKET), "{}", table.size());
        let nearest = table.nearest(&id(77), 16);
        assert_eq!(nearest.len(), 16);
        let to = |entry: &&Entry| keccak256(entry.id) ^ keccak256(id(77));
        assert!(nearest.is_sorted_by_key(to));
    }

    #[test]
    fn a_silent_node_is_dropped() {
        let start = Instant::now();
        let mut table = Table::new(&id(0));
        assert!(table.answered(start, id(1), udp([10, 0, 0, 1]), 1));
        assert!(!table.answered(start, id(1), udp([10, 0, 0, 1]), 1));
        let mut now = start;
        for _ in 0..MAX_FAILURES {
            assert_eq!(table.due(now, Duration::from_secs(10)), None);
            now += Duration::from_secs(10);
            assert_eq!(table.due(now, Duration::from_secs(10)), Some((id(1), udp([10, 0, 0, 1]))));
        }
        assert!(table.nearest(&id(1), 1).is_empty(), "not told to others while it fails");
        assert_eq!(table.due(now + Duration::from_secs(10), Duration::from_secs(10)), None);
        assert_eq!(table.size(), 0);
    }

    #[test]
    fn distances_are_logarithmic() {
        let bit = |at: usize| {
            let mut hash = B256::ZERO;
            hash[at / 8] = 0x80 >> (at % 8);
            hash
        };
        assert_eq!(distance(B256::ZERO, B256::ZERO), 0);
        assert_eq!(distance(B256::ZERO, bit(0)), 256);
        assert_eq!(distance(B256::ZERO, bit(255)), 1);
        assert_eq!(distance(B256::ZERO, bit(12)), 244);
    }
}
