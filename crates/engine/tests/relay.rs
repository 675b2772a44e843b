//! What the relay takes, and what it costs to try.

use std::collections::BTreeSet;

use alloy_primitives::{B256, Bytes};
use ipe_engine::peer::Peers;
use ipe_engine::relay::{Intake, MAX_DISTANCE, Relay, Window, passes_on, shares_consensus};
use ipe_engine::{PeerId, PeerInfo, PeerStatus};
use ipe_types::eth::EthVersion;
use ipe_types::message::{Kind, PreparePayload, RoundChangePayload, Signed};
use ipe_types::{Message, NodeKey, Role, Topology, ValidatorSet};

fn key(byte: u8) -> NodeKey {
    NodeKey::from_bytes([byte; 32]).expect("in range")
}

fn validators() -> ValidatorSet {
    (1..=4).map(|byte| key(byte).address()).collect()
}

fn prepare(author: u8, height: u64, round: u32) -> Bytes {
    let payload = PreparePayload { height, round, digest: B256::repeat_byte(author) };
    Message::Prepare(Signed::sign_with(payload, |hash| key(author).sign(hash)).expect("signs")).encode()
}

fn info(id: u64, byte: u8, role: Option<Role>) -> PeerInfo {
    let key = key(byte);
    PeerInfo {
        id: PeerId(id),
        node: key.node_id(),
        address: key.address(),
        role,
        eth: EthVersion::V68,
        istanbul: true,
        inbound: true,
        carried: false,
        status: PeerStatus { head: B256::ZERO, height: Some(0), total_difficulty: None },
    }
}

struct Scene {
    relay: Relay,
    peers: Peers,
    set: ValidatorSet,
    head: u64,
}

impl Scene {
    fn new() -> Self {
        let mut peers = Peers::default();
        peers.connect(info(1, 0x21, Some(Role::Boot)));
        peers.connect(info(2, 0x22, Some(Role::Boot)));
        Self { relay: Relay::default(), peers, set: validators(), head: 100 }
    }

    fn intake(&mut self, peer: u64, code: u8, bytes: &Bytes) -> Intake {
        let window = Window { head: self.head, current: &self.set, next: &self.set };
        let peer = self.peers.get_mut(PeerId(peer)).expect("connected");
        self.relay.intake(0, peer, code, bytes, window)
    }
}

#[test]
fn a_message_of_a_validator_is_taken_once() {
    let mut scene = Scene::new();
    for height in [100, 101, 101 + MAX_DISTANCE - 1] {
        let bytes = prepare(1, height, 0);
        assert!(matches!(scene.intake(1, 0x13, &bytes), Intake::Take(..)), "{height}");
        assert!(matches!(scene.intake(2, 0x13, &bytes), Intake::Drop));
    }
    assert_eq!(scene.relay.duplicates, 3);
}

#[test]
fn strangers_past_heights_and_high_rounds_are_refused() {
    let mut scene = Scene::new();
    assert!(matches!(scene.intake(1, 0x13, &prepare(9, 101, 0)), Intake::Drop));
    assert!(matches!(scene.intake(1, 0x13, &prepare(1, 99, 0)), Intake::Drop));
    assert!(matches!(scene.intake(1, 0x13, &prepare(1, 101, 1_001)), Intake::Drop));
    let refused = scene.relay.refused;
    assert_eq!((refused.author, refused.window, refused.malformed), (1, 2, 0));
    assert!(matches!(scene.intake(1, 0x13, &Bytes::from_static(b"\xc0")), Intake::Drop));
    assert!(matches!(scene.intake(1, 0x11, &Bytes::from_static(b"\xc0")), Intake::Drop));
    assert_eq!(scene.relay.refused.malformed, 2);
}

/// What is far above is evidence of being behind, costs its sender nothing, and can come again when we have caught up.
#[test]
fn far_heights_are_evidence_and_f_plus_one_of_them_move_the_window() {
    let mut scene = Scene::new();
    let far = prepare(1, 500, 0);
    assert!(matches!(scene.intake(1, 0x13, &far), Intake::Ahead(_, 500)));
    assert!(matches!(scene.intake(2, 0x13, &far), Intake::Ahead(_, 500)));
    assert_eq!(scene.relay.proven_head(&scene.set.clone()), 0);
    assert!(matches!(scene.intake(1, 0x13, &prepare(2, 500, 0)), Intake::Ahead(_, 500)));
    assert_eq!(scene.relay.proven_head(&scene.set.clone()), 499);
    assert!(matches!(scene.intake(1, 0x13, &prepare(3, 500, 0)), Intake::Take(..)));
}

#[test]
fn a_peer_that_only_sends_forgeries_is_cut_and_stays_out() {
    let mut scene = Scene::new();
    let node = key(0x21).node_id();
    let mut cut = None;
    for round in 0..1_000 {
        if let Intake::Cut(_) = scene.intake(1, 0x13, &prepare(9, 101, round)) {
            cut = Some(round);
            break;
        }
    }
    assert!(cut.is_some_and(|at| at <= 300), "{cut:?}");
    assert!(!scene.relay.welcomes(1_000, &node));
    assert!(scene.relay.welcomes(60_000, &node));
    // The other peer has lost nothing.
    assert!(matches!(scene.intake(2, 0x13, &prepare(1, 101, 0)), Intake::Take(..)));
}

#[test]
fn a_peer_that_repeats_itself_is_cut_and_one_that_brings_what_others_brought_is_not() {
    let mut scene = Scene::new();
    let bytes = prepare(1, 101, 0);
    assert!(matches!(scene.intake(1, 0x13, &bytes), Intake::Take(..)));
    let cut = (0..1_000).position(|_| matches!(scene.intake(1, 0x13, &bytes), Intake::Cut(_)));
    assert!(cut.is_some());
    for round in 1..=300 {
        let bytes = prepare(2, 101, round);
        scene.intake(1, 0x13, &bytes);
        assert!(!matches!(scene.intake(2, 0x13, &bytes), Intake::Cut(_)));
    }
}

/// A stranger's message with a thousand forged signatures inside is refused at the price of one.
/// Twenty boots in mesh relay everything to each other at the same moment: each brings what it is being sent.
#[test]
fn a_message_that_crosses_with_ours_costs_its_bringer_nothing() {
    let mut scene = Scene::new();
    for round in 0..150 {
        for author in 1..=4 {
            let bytes = prepare(author, 101, round);
            assert!(matches!(scene.intake(1, 0x13, &bytes), Intake::Take(..)), "{author} {round}");
            // It is passed on to the other boot, which sends it to us before ours arrives there.
            scene.peers.get_mut(PeerId(2)).expect("connected").messages.insert(&alloy_primitives::keccak256(&bytes));
            assert!(matches!(scene.intake(2, 0x13, &bytes), Intake::Drop), "{author} {round}");
        }
    }
    let fresh = prepare(1, 102, 0);
    assert!(matches!(scene.intake(2, 0x13, &fresh), Intake::Take(..)), "its budget is whole");
}

#[test]
fn a_justification_is_not_looked_at_before_its_author_is_known() {
    let payload = RoundChangePayload { height: 101, round: 1, prepared: None };
    let forged: Vec<_> = (0..200)
        .map(|_| {
            let payload = PreparePayload { height: 101, round: 0, digest: B256::ZERO };
            Signed::sign_with(payload, |hash| key(9).sign(hash)).expect("signs")
        })
        .collect();
    let message = Message::RoundChange(Box::new(ipe_types::message::RoundChange {
        signed: Signed::sign_with(payload, |hash| key(9).sign(hash)).expect("signs"),
        block: None,
        access_list: None,
        prepares: forged,
    }));
    let mut scene = Scene::new();
    assert!(matches!(scene.intake(1, Kind::RoundChange.code(), &message.encode()), Intake::Drop));
    assert_eq!(scene.relay.refused.author, 1);
}

#[test]
fn consensus_goes_to_validators_and_in_a_sentry_network_to_boots() {
    let set = validators();
    let mut peers = Peers::default();
    for (id, byte, role) in [
        (1, 1, None),
        (2, 0x31, Some(Role::Boot)),
        (3, 0x32, Some(Role::Writer)),
        (4, 0x33, Some(Role::Validator)),
        (5, 0x34, None),
        (6, 0x35, Some(Role::ObserverBoot)),
    ] {
        peers.connect(info(id, byte, role));
    }
    let to = |topology, carrying| -> BTreeSet<u64> {
        let to = peers.iter().filter(|peer| shares_consensus(topology, carrying, peer, &set));
        to.map(|peer| peer.info.id.0).collect()
    };
    assert_eq!(to(Topology::Sentry, false), BTreeSet::from([1, 2, 4]));
    assert_eq!(to(Topology::Sentry, true), BTreeSet::from([2, 4]), "who is no validator of ours has a carried session");
    assert_eq!(to(Topology::Mesh, false), BTreeSet::from([1, 4]));
    let all = |topology, role, validating| {
        [(false, false), (false, true), (true, false), (true, true)]
            .map(|(from, to)| passes_on(topology, role, validating, from, to))
    };
    assert_eq!(all(Topology::Sentry, Role::Boot, false), [true; 4]);
    assert_eq!(all(Topology::Sentry, Role::Validator, true), [false, true, true, false], "between its boots and Besu");
    assert_eq!(all(Topology::Mesh, Role::Validator, true), [true; 4]);
    assert_eq!(all(Topology::Mesh, Role::Boot, false), [false; 4]);
}
