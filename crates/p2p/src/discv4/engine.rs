//! What discovery answers and asks: packets in, packets out, without sockets or clocks.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use ipe_types::fork_id::ForkId;
use ipe_types::{B256, Enode, NodeId, NodeKey};

use super::enr::Record;
use super::limiter::{Limiter, Source};
use super::packet::{Endpoint, Envelope, KINDS, MAX_NEIGHBORS, Neighbor, Packet};
use super::table::{BUCKET, Entry, Table};
use crate::config::Permit;
use crate::net::{self, Block};

/// Life of a packet, seconds.
const EXPIRATION: u64 = 20;
/// How long a Pong proves an endpoint (devp2p: 12 hours).
const PROOF: Duration = Duration::from_secs(12 * 3600);
/// Endpoint proofs remembered; the oldest is forgotten, and proved again when needed.
const MAX_PROOFS: usize = 4096;
/// Time for an answer.
const ANSWER: Duration = Duration::from_secs(3);
/// Unanswered requests remembered: above this nothing more is asked for a moment.
const MAX_WAITING: usize = 512;
/// Of these, Pings to addresses that are neither configured nor proved: anybody can make us ask there.
const MAX_STRANGE_PINGS: usize = 384;
/// Datagrams that may claim to be one answer: the right one needs one (Neighbors: two), and who has seen the question and
/// cannot sign the answer must not make us verify signatures without end.
const TRIES: u8 = 4;
/// Keys that may prove the same address (IPv6: /64); an address has no end of keys. This machine's own are exempt.
const PROOFS_PER_ADDRESS: usize = 16;
/// How often a node of the table is checked, at the fastest.
const CHECK: Duration = Duration::from_secs(20);
/// Pause between lookups while the table is nearly empty, and afterwards.
const LOOKUP_HUNGRY: Duration = Duration::from_secs(2);
const LOOKUP: Duration = Duration::from_secs(30);
/// A table with fewer nodes is hungry.
const FEW: usize = 8;
/// Nodes asked in a lookup (Kademlia's α).
const ALPHA: usize = 3;
/// Time for which a node that has just come is only answered: many come to ask once, and asking them would be in vain.
const SETTLE: Duration = Duration::from_secs(2);
/// Time between two requests for a node's record.
const ASK_RECORD: Duration = Duration::from_secs(30);
/// Time between two dials of a found node.
const REDIAL: Duration = Duration::from_secs(60);

/// A datagram to be sent.
pub type Datagram = (SocketAddr, Vec<u8>);

#[derive(Debug)]
struct SentPing {
    to: SocketAddr,
    tcp: u16,
    at: Instant,
    tries: u8,
}

#[derive(Debug)]
struct Asked {
    to: SocketAddr,
    at: Instant,
    tries: u8,
    /// Nodes that may still come.
    left: usize,
}

#[derive(Debug)]
struct RecordAsked {
    hash: B256,
    at: Instant,
    tries: u8,
}

/// The state of discovery.
#[derive(Debug)]
pub struct Discovery {
    key: NodeKey,
    id: NodeId,
    own: Endpoint,
    record: Record,
    fork_id: ForkId,
    permits: Permit,
    bootnodes: Vec<(NodeId, SocketAddr, u16)>,
    table: Table,
    limiter: Limiter,
    /// By hash and by who is to answer: Pings of one moment to one address are the same bytes, whatever keys are said to be there.
    pings: HashMap<(B256, NodeId), SentPing>,
    asked: HashMap<NodeId, Asked>,
    records_asked: HashMap<NodeId, RecordAsked>,
    proofs: HashMap<(NodeId, IpAddr), Instant>,
    proof_order: VecDeque<(NodeId, IpAddr)>,
    /// Proofs by address.
    proved_addresses: HashMap<Block, usize>,
    /// Addresses of known nodes besides the bootnodes'.
    known_addresses: Vec<IpAddr>,
    next_lookup: Instant,
    out: Vec<Datagram>,
    /// Who has said in a Pong at which address it sees us.
    seen: Vec<(NodeId, IpAddr)>,
    counts: PacketCounts,
}

/// Packets by type, in the order of [`KINDS`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PacketCounts {
    /// Received, whole and in time.
    pub inbound: [u64; KINDS.len()],
    /// Sent.
    pub outbound: [u64; KINDS.len()],
}

impl Discovery {
    /// A node that has heard of nobody. `seq` numbers its first record.
    pub fn new(now: Instant, key: NodeKey, own: Endpoint, fork_id: ForkId, seq: u64) -> Self {
        let id = key.node_id();
        let tcp = (own.tcp != 0).then_some(own.tcp);
        let record = Record { seq, id, ip: own.ip, tcp, udp: Some(own.udp), fork_id: Some(fork_id) };
        Discovery {
            table: Table::new(&id),
            id,
            key,
            own,
            record,
            fork_id,
            permits: Permit::default(),
            bootnodes: Vec::new(),
            limiter: Limiter::new(now),
            pings: HashMap::new(),
            asked: HashMap::new(),
            records_asked: HashMap::new(),
            proofs: HashMap::new(),
            proof_order: VecDeque::new(),
            proved_addresses: HashMap::new(),
            known_addresses: Vec::new(),
            next_lookup: now,
            out: Vec::new(),
            seen: Vec::new(),
            counts: PacketCounts::default(),
        }
    }

    /// From now on only nodes that `permits` allows are answered, asked, told of to others and dialled.
    pub fn set_permits(&mut self, permits: Permit) {
        self.permits = permits;
    }

    /// The bootnodes' addresses as resolved now; they are pinged until they answer.
    pub fn set_bootnodes(&mut self, bootnodes: Vec<(NodeId, SocketAddr, u16)>) {
        self.table.reserve(bootnodes.iter().map(|(id, ..)| *id).collect());
        self.bootnodes = bootnodes;
        self.configure();
    }

    /// Addresses from which other known nodes come; strangers' packets do not crowd out what comes from there.
    pub fn set_known_addresses(&mut self, addresses: Vec<IpAddr>) {
        self.known_addresses = addresses;
        self.configure();
    }

    fn configure(&mut self) {
        let bootnodes = self.bootnodes.iter().map(|(_, address, _)| address.ip());
        self.limiter.configure(bootnodes.chain(self.known_addresses.iter().copied()));
    }

    /// The fork identifier has changed with the head: the record says so from now on.
    pub fn set_fork_id(&mut self, fork_id: ForkId) {
        if fork_id != self.fork_id {
            self.fork_id = fork_id;
            self.record.fork_id = Some(fork_id);
            self.record.seq += 1;
        }
    }

    /// How many nodes are known.
    pub fn known(&self) -> usize {
        self.table.size()
    }

    /// Packets since the start.
    pub fn counts(&self) -> PacketCounts {
        self.counts
    }

    /// What is to be sent.
    pub fn take_output(&mut self) -> Vec<Datagram> {
        std::mem::take(&mut self.out)
    }

    /// Who has said since the last call at which address it sees us.
    pub fn take_seen(&mut self) -> Vec<(NodeId, IpAddr)> {
        std::mem::take(&mut self.seen)
    }

    /// A datagram has come. `unix` is the time in seconds.
    pub fn receive(&mut self, now: Instant, unix: u64, from: SocketAddr, datagram: &[u8]) {
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        if !self.is_awaited(from, datagram) && !self.limiter.allow(now, from.ip(), self.source(from.ip())) {
            return;
        }
        // What is malformed is dropped without a word or a line: anybody can send it.
        let Ok(envelope) = Envelope::open(datagram) else { return };
        let Ok(packet) = envelope.packet() else { return };
        if packet.expiration().is_some_and(|expiration| expired(expiration, unix)) {
            return;
        }
        let Ok(sender) = envelope.sender() else { return };
        if sender == self.id {
            return;
        }
        let hash = envelope.hash;
        self.counts.inbound[usize::from(packet.kind() - 1)] += 1;
        match packet {
            Packet::Ping { from: stated, .. } => self.on_ping(now, unix, from, sender, hash, stated),
            Packet::Pong { ping_hash, to, .. } => self.on_pong(now, from, sender, ping_hash, to),
            Packet::FindNode { target, .. } => self.on_find_node(now, unix, from, sender, &target),
            Packet::Neighbors { nodes, .. } => self.on_neighbors(now, unix, from, sender, &nodes),
            Packet::EnrRequest { .. } => {
                if self.proved(now, &sender, from.ip()) && self.still_allows(&sender, from) {
                    let record = self.record.encode(&self.key);
                    self.send(from, &Packet::EnrResponse { request_hash: hash, record });
                }
            }
            Packet::EnrResponse { request_hash, record } => self.on_record(sender, request_hash, &record),
        }
    }

    fn source(&self, ip: IpAddr) -> Source {
        if self.limiter.is_configured(ip) {
            Source::Configured
        } else if self.proved_addresses.contains_key(&net::address(ip)) {
            Source::Proved
        } else {
            Source::Stranger
        }
    }

    /// Whether the datagram answers what we have asked at its source address, as far as can be seen without verifying it.
    /// What it answers is a hash that was never sent to anybody else; Neighbors name none and have their sender's address.
    fn is_awaited(&mut self, from: SocketAddr, datagram: &[u8]) -> bool {
        let Some(contents) = Envelope::glance(datagram) else { return false };
        let tries = match contents {
            Packet::Pong { ping_hash, .. } => {
                let of_hash = |((hash, _), ping): &(&(B256, NodeId), &mut SentPing)| *hash == ping_hash && ping.to == from;
                self.pings.iter_mut().filter(of_hash).map(|(_, ping)| &mut ping.tries).min()
            }
            Packet::EnrResponse { request_hash, .. } => {
                self.records_asked.values_mut().find(|asked| asked.hash == request_hash).map(|asked| &mut asked.tries)
            }
            Packet::Neighbors { .. } => self.asked.values_mut().find(|asked| asked.to == from).map(|asked| &mut asked.tries),
            Packet::Ping { .. } | Packet::FindNode { .. } | Packet::EnrRequest { .. } => None,
        };
        tries.is_some_and(|tries| {
            *tries = tries.saturating_add(1);
            *tries <= TRIES
        })
    }

    fn on_ping(&mut self, now: Instant, unix: u64, from: SocketAddr, sender: NodeId, hash: B256, stated: Endpoint) {
        // Only the TCP port is taken from what it states: the rest is where the packet came from.
        if !self.allows(&sender, from, stated.tcp) {
            return;
        }
        let to = Endpoint { ip: Some(from.ip()), udp: from.port(), tcp: stated.tcp };
        let enr_seq = Some(self.record.seq);
        self.send(from, &Packet::Pong { to, ping_hash: hash, expiration: unix + EXPIRATION, enr_seq });
        if !self.proved(now, &sender, from.ip()) {
            self.ping(now, unix, sender, from, stated.tcp);
        } else if let Some(entry) = self.table.get_mut(&sender)
            && stated.tcp != 0
        {
            entry.tcp = stated.tcp;
        }
    }

    fn on_pong(&mut self, now: Instant, from: SocketAddr, sender: NodeId, ping_hash: B256, to: Endpoint) {
        let key = (ping_hash, sender);
        if self.pings.get(&key).is_none_or(|ping| ping.to != from) {
            return;
        }
        let Some(ping) = self.pings.remove(&key) else { return };
        // The list may have changed since it was asked.
        let tcp = if ping.tcp == 0 { self.table.get_mut(&sender).map_or(0, |entry| entry.tcp) } else { ping.tcp };
        if !self.allows(&sender, from, tcp) {
            return;
        }
        self.prove(now, sender, from.ip());
        self.table.answered(now, sender, from, ping.tcp);
        if let Some(ip) = to.ip
            && self.seen.len() < MAX_WAITING
        {
            self.seen.push((sender, ip));
        }
    }

    fn on_find_node(&mut self, now: Instant, unix: u64, from: SocketAddr, sender: NodeId, target: &NodeId) {
        // Without a proof the answer, larger than the question, could be aimed at somebody else.
        if !self.proved(now, &sender, from.ip()) || !self.still_allows(&sender, from) {
            return;
        }
        let usable = |entry: &&Entry| {
            may_relay(from.ip(), entry.udp.ip()) && entry.id != sender && self.allows(&entry.id, entry.udp, entry.tcp)
        };
        let nodes: Vec<Neighbor> = self
            .table
            .nearest(target, BUCKET)
            .iter()
            .filter(|entry| usable(entry))
            .map(|entry| Neighbor { endpoint: entry.endpoint(), id: entry.id })
            .collect();
        let expiration = unix + EXPIRATION;
        if nodes.is_empty() {
            self.send(from, &Packet::Neighbors { nodes, expiration });
            return;
        }
        for part in nodes.chunks(MAX_NEIGHBORS) {
            self.send(from, &Packet::Neighbors { nodes: part.to_vec(), expiration });
        }
    }

    fn on_neighbors(&mut self, now: Instant, unix: u64, from: SocketAddr, sender: NodeId, nodes: &[Neighbor]) {
        let Some(asked) = self.asked.get_mut(&sender) else { return };
        let taken = nodes.len().min(asked.left);
        asked.left -= taken;
        if asked.left == 0 {
            self.asked.remove(&sender);
        }
        for node in &nodes[..taken] {
            let Some(ip) = node.endpoint.ip else { continue };
            let known = node.id == self.id || self.table.get_mut(&node.id).is_some();
            if known || node.endpoint.udp == 0 || !may_relay(from.ip(), ip) {
                continue;
            }
            let (to, tcp) = (SocketAddr::new(ip, node.endpoint.udp), node.endpoint.tcp);
            if self.allows(&node.id, to, tcp) {
                self.ping(now, unix, node.id, to, tcp);
            }
        }
    }

    fn on_record(&mut self, sender: NodeId, request_hash: B256, record: &[u8]) {
        if self.records_asked.get(&sender).is_none_or(|asked| asked.hash != request_hash) {
            return;
        }
        self.records_asked.remove(&sender);
        let Ok(record) = Record::decode(record) else { return };
        let own = self.fork_id.hash;
        if record.id == sender
            && let Some(entry) = self.table.get_mut(&sender)
        {
            // On a private chain the fork hash covers the genesis; a node further on or behind is judged by Status.
            entry.compatible = Some(record.fork_id.is_none_or(|fork_id| fork_id.hash == own || fork_id.next != 0));
            if let Some(tcp) = record.tcp {
                entry.tcp = tcp;
            }
        }
    }

    /// Some time has passed: check a node, look for more.
    pub fn tick(&mut self, now: Instant, unix: u64) {
        let waiting = |at: Instant| now.duration_since(at) < ANSWER;
        self.pings.retain(|_, ping| waiting(ping.at));
        self.asked.retain(|_, asked| waiting(asked.at));
        self.records_asked.retain(|_, asked| waiting(asked.at));
        if self.permits.restricts() {
            // The list may have changed: who is no longer in it is forgotten.
            let permits = self.permits.clone();
            self.table.retain(|entry| permits.allows(&entry.id, entry.udp.ip(), listener(entry.udp, entry.tcp)));
        }
        if let Some((id, udp)) = self.table.due(now, CHECK) {
            self.ping(now, unix, id, udp, 0);
        }
        self.ask_records(now, unix);
        if now < self.next_lookup {
            return;
        }
        let hungry = self.table.size() < FEW;
        self.next_lookup = now + if hungry { LOOKUP_HUNGRY } else { LOOKUP };
        // On a network that is just starting the bootnodes may come up after us: they are asked for ever.
        for (id, udp, tcp) in self.bootnodes.clone() {
            if id != self.id && !self.proved(now, &id, udp.ip()) && self.allows(&id, udp, tcp) {
                self.ping(now, unix, id, udp, tcp);
            }
        }
        let target = NodeId::from(rand::random::<[u8; 64]>());
        let settled = |entry: &&&Entry| now.duration_since(entry.since) >= SETTLE;
        let nearest = self.table.nearest(&target, usize::MAX);
        let asked: Vec<(NodeId, SocketAddr)> =
            nearest.iter().filter(settled).take(ALPHA).map(|entry| (entry.id, entry.udp)).collect();
        for (id, udp) in asked {
            if self.proved(now, &id, udp.ip()) && self.asked.len() < MAX_WAITING {
                self.asked.insert(id, Asked { to: udp, at: now, tries: 0, left: BUCKET });
                self.send(udp, &Packet::FindNode { target, expiration: unix + EXPIRATION });
            }
        }
    }

    /// Asks settled nodes for their records, which say what chain they are on.
    fn ask_records(&mut self, now: Instant, unix: u64) {
        let room = MAX_WAITING.saturating_sub(self.records_asked.len());
        let due = |at: Option<Instant>| at.is_none_or(|at| now.duration_since(at) >= ASK_RECORD);
        let to_ask: Vec<(NodeId, SocketAddr)> = self
            .table
            .entries_mut()
            .filter(|entry| entry.compatible.is_none() && now.duration_since(entry.since) >= SETTLE)
            .filter(|entry| due(entry.record_asked))
            .take(room.min(BUCKET))
            .map(|entry| {
                entry.record_asked = Some(now);
                (entry.id, entry.udp)
            })
            .collect();
        for (id, udp) in to_ask {
            let hash = self.send(udp, &Packet::EnrRequest { expiration: unix + EXPIRATION });
            self.records_asked.insert(id, RecordAsked { hash, at: now, tries: 0 });
        }
    }

    /// Nodes of our chain that have not been dialled for a while, at most `count`.
    pub fn to_dial(&mut self, now: Instant, count: usize, skip: &HashSet<NodeId>) -> Vec<Enode> {
        self.table
            .entries_mut()
            .filter(|entry| entry.compatible == Some(true) && entry.tcp != 0 && !skip.contains(&entry.id))
            .filter(|entry| entry.dialled.is_none_or(|at| now.duration_since(at) >= REDIAL))
            .take(count)
            .map(|entry| {
                entry.dialled = Some(now);
                let (tcp, udp) = (entry.tcp, Some(entry.udp.port()));
                Enode { id: entry.id, hosts: vec![entry.udp.ip().to_string()], tcp, udp }
            })
            .collect()
    }

    fn ping(&mut self, now: Instant, unix: u64, id: NodeId, to: SocketAddr, tcp: u16) {
        let already = self.pings.iter().any(|((_, other), ping)| *other == id && ping.to == to);
        let known = self.limiter.is_configured(to.ip()) || self.proved(now, &id, to.ip());
        if already || self.pings.len() >= if known { MAX_WAITING } else { MAX_STRANGE_PINGS } {
            return;
        }
        let endpoint = Endpoint { ip: Some(to.ip()), udp: to.port(), tcp: 0 };
        let (from, enr_seq) = (self.own, Some(self.record.seq));
        let hash = self.send(to, &Packet::Ping { from, to: endpoint, expiration: unix + EXPIRATION, enr_seq });
        self.pings.insert((hash, id), SentPing { to, tcp, at: now, tries: 0 });
    }

    fn send(&mut self, to: SocketAddr, packet: &Packet) -> B256 {
        let (datagram, hash) = packet.encode(&self.key);
        self.counts.outbound[usize::from(packet.kind() - 1)] += 1;
        self.out.push((to, datagram));
        hash
    }

    /// Whether a node may be known that listens on TCP port `tcp` (0: it did not say).
    fn allows(&self, id: &NodeId, udp: SocketAddr, tcp: u16) -> bool {
        self.permits.allows(id, udp.ip(), listener(udp, tcp))
    }

    /// Whether a node that has proved its endpoint may go on asking: by the port that the table has of it. With a list,
    /// who is not in the table is nobody.
    fn still_allows(&mut self, id: &NodeId, from: SocketAddr) -> bool {
        if !self.permits.restricts() {
            return true;
        }
        let known = self.table.get_mut(id).map(|entry| entry.tcp);
        known.is_some_and(|tcp| self.allows(id, from, tcp))
    }

    fn prove(&mut self, now: Instant, id: NodeId, ip: IpAddr) {
        if self.proofs.insert((id, ip), now).is_some() {
            return;
        }
        self.proof_order.push_back((id, ip));
        let address = net::address(ip);
        let of_address = self.proved_addresses.entry(address).or_default();
        *of_address += 1;
        // Who has proved too many keys gives way himself.
        if *of_address > PROOFS_PER_ADDRESS && !net::is_local(ip) {
            self.forget_proof(|(_, ip)| net::address(*ip) == address);
        } else if self.proofs.len() > MAX_PROOFS {
            self.forget_proof(|_| true);
        }
    }

    /// Forgets the oldest proof of which `test` is true, bootnodes' apart.
    fn forget_proof(&mut self, test: impl Fn(&(NodeId, IpAddr)) -> bool) {
        let own = |id: &NodeId| self.bootnodes.iter().any(|(bootnode, ..)| bootnode == id);
        let Some(at) = self.proof_order.iter().position(|proof| test(proof) && !own(&proof.0)) else { return };
        let Some(proof) = self.proof_order.remove(at) else { return };
        self.proofs.remove(&proof);
        let address = net::address(proof.1);
        if let Some(left) = self.proved_addresses.get_mut(&address) {
            *left -= 1;
            if *left == 0 {
                self.proved_addresses.remove(&address);
            }
        }
    }

    fn proved(&self, now: Instant, id: &NodeId, ip: IpAddr) -> bool {
        self.proofs.get(&(*id, ip)).is_some_and(|at| now.duration_since(*at) < PROOF)
    }
}

/// The TCP port of a node: the one that it stated, and that of its UDP address when it stated none, as Besu reads it.
const fn listener(udp: SocketAddr, tcp: u16) -> u16 {
    if tcp == 0 { udp.port() } else { tcp }
}

/// Whether a packet is void. Times that do not fit 63 bits are before 1970, as other clients read them.
fn expired(expiration: u64, unix: u64) -> bool {
    expiration < unix || i64::try_from(expiration).is_err()
}

/// Whether a node at `from` may tell of, or be told of, a node at `ip`: loopback stays on the machine, private networks
/// among themselves, and what is no unicast address is nobody's.
fn may_relay(from: IpAddr, ip: IpAddr) -> bool {
    let private = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
    };
    if ip.is_unspecified() || ip.is_multicast() || matches!(ip, IpAddr::V4(ip) if ip.is_broadcast()) {
        return false;
    }
    if ip.is_loopback() {
        return from.is_loopback();
    }
    !private(ip) || private(from) || from.is_loopback()
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
