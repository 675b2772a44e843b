//! Fetching announced transactions from peers that announce and do not deliver.

use std::collections::BTreeMap;

use ipe_engine::gossip::{Gossip, GossipPlace};
use ipe_engine::peer::Peers;
use ipe_engine::{Output, PeerId, PeerInfo, PeerStatus};
use ipe_types::eth::{Announced, EthMessage, EthVersion};
use ipe_types::{B256, NodeKey, Role, Topology, keccak256};

const PLACE: GossipPlace = GossipPlace { role: Role::Writer, topology: Topology::Sentry };

struct Scene {
    gossip: Gossip,
    peers: Peers,
    now: u64,
    next_hash: u64,
}

impl Scene {
    fn new() -> Self {
        Self { gossip: Gossip::default(), peers: Peers::default(), now: 1_000_000, next_hash: 0 }
    }

    fn connect(&mut self, id: u64, key: u8, role: Option<Role>) {
        let key = NodeKey::from_bytes([key; 32]).expect("in range");
        let status = PeerStatus { head: B256::ZERO, height: Some(0), total_difficulty: None };
        let (node, address) = (key.node_id(), key.address());
        let (eth, istanbul, inbound, carried) = (EthVersion::V68, false, true, false);
        self.peers.connect(PeerInfo { id: PeerId(id), node, address, role, eth, istanbul, inbound, carried, status });
    }

    fn hashes(&mut self, count: u64) -> Vec<B256> {
        self.next_hash += count;
        (self.next_hash - count..self.next_hash).map(|n| keccak256(n.to_be_bytes())).collect()
    }

    /// How many are asked for.
    fn announce(&mut self, peer: u64, hashes: &[B256]) -> usize {
        let announced: Vec<Announced> = hashes.iter().map(|hash| Announced { hash: *hash, kind: None }).collect();
        let peer = self.peers.get_mut(PeerId(peer)).expect("connected");
        count(&self.gossip.announced(self.now, peer, &announced, |_| false)).values().sum()
    }

    fn deliver(&mut self, hashes: &[B256]) {
        hashes.iter().for_each(|hash| self.gossip.received(hash, &mut self.peers));
    }

    /// Whom is asked how much again.
    fn pass(&mut self, ms: u64) -> BTreeMap<u64, usize> {
        self.now += ms;
        count(&self.gossip.tick(self.now, &mut self.peers, PLACE))
    }
}

fn count(outputs: &[Output]) -> BTreeMap<u64, usize> {
    let mut asked = BTreeMap::new();
    for output in outputs {
        let Output::Eth(to, message) = output else { continue };
        let EthMessage::GetPooledTransactions { hashes, .. } = message.as_ref() else { continue };
        *asked.entry(to[0].0).or_default() += hashes.len();
    }
    asked
}

/// One peer that announced what it never gave took all places, again and again, and nothing was fetched from anybody.
#[test]
fn who_announces_and_does_not_deliver_stops_nobodys_fetching() {
    let mut scene = Scene::new();
    // More strangers than have places, all of them liars, and a known one.
    (1..=25).for_each(|liar| scene.connect(liar, liar as u8, None));
    scene.connect(40, 40, Some(Role::Boot));
    scene.connect(41, 41, Some(Role::Writer));
    scene.connect(42, 42, None);
    for second in 0..15 {
        for liar in (1..=25).chain([40]) {
            let hashes = scene.hashes(4_096);
            scene.announce(liar, &hashes);
        }
        assert!(scene.gossip.wanted() <= 2 * 32_768);
        for (honest, count) in [(41, 1_000), (42, 100)] {
            let hashes = scene.hashes(count);
            assert_eq!(scene.announce(honest, &hashes), count as usize, "second {second}");
            scene.deliver(&hashes);
        }
        scene.pass(1_000);
    }
    // By now silence has cost them their shares.
    let hashes = scene.hashes(4_096);
    assert!(scene.announce(42, &hashes) >= 2_000);
}

#[test]
fn a_share_comes_back_with_delivery_and_not_with_a_new_connection() {
    let mut scene = Scene::new();
    scene.connect(1, 1, None);
    for _ in 0..20 {
        let hashes = scene.hashes(4_000);
        assert_eq!(scene.announce(1, &hashes), 4_000);
        scene.deliver(&hashes);
    }
    let hashes = scene.hashes(9_000);
    assert_eq!(scene.announce(1, &hashes), 4_096);
    scene.pass(3_000);
    scene.peers.disconnect(scene.now, PeerId(1));
    scene.connect(2, 1, None);
    let hashes = scene.hashes(9_000);
    assert_eq!(scene.announce(2, &hashes), 3 * 4_096 / 64);
    scene.pass(64_000);
    let hashes = scene.hashes(9_000);
    assert_eq!(scene.announce(2, &hashes), 4_096);
}

#[test]
fn what_one_does_not_give_is_asked_of_whom_we_know_first() {
    let mut scene = Scene::new();
    (1..=6).for_each(|stranger| scene.connect(stranger, stranger as u8, None));
    scene.connect(9, 9, Some(Role::Boot));
    let hashes = scene.hashes(10);
    assert_eq!(scene.announce(1, &hashes), 10);
    // Strangers who say that they have it do not keep out the one whom we know.
    (2..=6).chain([9]).for_each(|peer| assert_eq!(scene.announce(peer, &hashes), 0));
    assert_eq!(scene.pass(3_000), BTreeMap::from([(9, 10)]));
    scene.deliver(&hashes);
    assert_eq!(scene.gossip.wanted(), 0);
}

/// A blob transaction that a user gave to a Besu was asked for, came with its blobs, could not be decoded, and had every Besu that
/// announced it banned: one transaction split the network.
#[test]
fn what_the_pool_does_not_take_is_not_asked_for_not_even_instead_of_another() {
    let mut scene = Scene::new();
    scene.connect(1, 1, None);
    scene.connect(2, 2, None);
    let hashes = scene.hashes(6);
    let of_kind = |kinds: [u8; 6]| -> Vec<Announced> {
        hashes.iter().zip(kinds).map(|(hash, kind)| Announced { hash: *hash, kind: Some((kind, 200)) }).collect()
    };
    let announce = |scene: &mut Scene, peer: u64, all: &[Announced]| {
        let peer = scene.peers.get_mut(PeerId(peer)).expect("connected");
        count(&scene.gossip.announced(scene.now, peer, all, |_| false))
    };
    // Types of legacy, access list, fees, blobs, code, and one that nobody knows.
    assert_eq!(announce(&mut scene, 1, &of_kind([0, 1, 2, 3, 4, 5])), BTreeMap::from([(1, 4)]));
    assert_eq!(announce(&mut scene, 2, &of_kind([3; 6])), BTreeMap::new());
    // The first delivers nothing. The second said that what it has are blobs: it is not asked in its place.
    assert_eq!(scene.pass(60_000), BTreeMap::new());
}
