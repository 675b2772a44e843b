//! What the relay takes, and what it costs to try.

use std::collections::BTreeSet;

use std::sync::Arc;

use alloy_consensus::proofs::calculate_transaction_root;
use alloy_consensus::{SignableTransaction, TxLegacy};
use alloy_primitives::{Address, B256, Bytes, TxKind, U256};
use ipe_engine::held::Held;
use ipe_engine::peer::Peers;
use ipe_engine::relay::{Intake, MAX_DISTANCE, Relay, Window, passes_on, shares_consensus};
use ipe_engine::{PeerId, PeerInfo, PeerStatus};
use ipe_qbft::justify::{Digests, Rules};
use ipe_types::eth::EthVersion;
use ipe_types::extra::ExtraData;
use ipe_types::header::EMPTY_ROOT;
use ipe_types::message::{
    Kind, MAX_MESSAGE_BYTES, Payload, PreparePayload, Proposal, ProposalPayload, RoundChange, RoundChangePayload, Signed,
};
use ipe_types::{Block, Body, Header, Message, NodeKey, Role, Topology, Transaction, ValidatorSet};

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

fn sign<P: Payload>(author: u8, payload: P) -> Signed<P> {
    Signed::sign_with(payload, |hash| key(author).sign(hash)).expect("signs")
}

/// Whose turn is at this height and round: the parent's coinbase is zero.
fn proposer(round: u32) -> u8 {
    let whose = validators().proposer(Address::ZERO, round).expect("somebody");
    (1..=4).find(|byte| key(*byte).address() == whose).expect("one of them")
}

/// A block of so many bytes of vanity.
fn block(height: u64, author: u8, round: u32, padding: usize) -> Arc<Block> {
    let extra =
        ExtraData { vanity: vec![0; padding].into(), validators: validators().as_slice().to_vec(), round, ..ExtraData::default() };
    let beneficiary = key(author).address();
    let header =
        Header { number: height, beneficiary, transactions_root: EMPTY_ROOT, extra_data: extra.encode(), ..Header::default() };
    Arc::new(Block { header, ..Block::default() })
}

fn proposal_of(author: u8, round: u32, block: Arc<Block>) -> Proposal {
    let payload = ProposalPayload { height: block.header.number, round, block, access_list: None };
    Proposal { signed: sign(author, payload), round_changes: Vec::new(), prepares: Vec::new() }
}

fn proposal(author: u8, height: u64, padding: usize) -> Bytes {
    Message::Proposal(Box::new(proposal_of(author, 0, block(height, author, 0, padding)))).encode()
}

fn round_change(author: u8, height: u64, round: u32) -> RoundChange {
    let signed = sign(author, RoundChangePayload { height, round, prepared: None });
    RoundChange { signed, block: None, access_list: None, prepares: Vec::new() }
}

/// A RoundChange of who was prepared on this block in round 0.
fn prepared_change(author: u8, height: u64, round: u32, block: &Arc<Block>) -> RoundChange {
    let digest = Digests::of(&block.header, 0).expect("extra data decodes").without_round;
    let prepares = (1..=3).map(|by| sign(by, PreparePayload { height, round: 0, digest })).collect();
    let signed = sign(author, RoundChangePayload { height, round, prepared: Some((0, digest)) });
    RoundChange { signed, block: Some(block.clone()), access_list: None, prepares }
}

fn wire(change: RoundChange) -> Bytes {
    Message::RoundChange(Box::new(change)).encode()
}

/// A Prepare of a stranger, to append to a message of another.
fn foreign(height: u64, mark: u8) -> Signed<PreparePayload> {
    sign(0x77, PreparePayload { height, round: 0, digest: B256::repeat_byte(mark) })
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

const PROPOSAL: u8 = 0x12;
const PREPARE: u8 = 0x13;
const ROUND_CHANGE: u8 = 0x15;

struct Scene {
    relay: Relay,
    peers: Peers,
    set: ValidatorSet,
    head: u64,
    now_ms: u64,
    shares: bool,
    /// Whether the next block is being written.
    is_coming: bool,
}

impl Scene {
    /// Two boots, 1 and 2; and 3, which is a validator of another implementation.
    fn new() -> Self {
        let mut peers = Peers::default();
        peers.connect(info(1, 0x21, Some(Role::Boot)));
        peers.connect(info(2, 0x22, Some(Role::Boot)));
        peers.connect(info(3, 3, None));
        Self { relay: Relay::default(), peers, set: validators(), head: 100, now_ms: 0, shares: true, is_coming: false }
    }

    fn intake(&mut self, peer: u64, code: u8, bytes: &Bytes) -> Intake {
        let rules = |height| Rules { height, validators: self.set.clone(), previous_proposer: Address::ZERO };
        let (current, next, coming) = (rules(self.head), rules(self.head + 1), rules(self.head + 2));
        let window = Window { head: self.head, current: &current, next: &next, coming: self.is_coming.then_some(&coming) };
        let peer = self.peers.get_mut(PeerId(peer)).expect("connected");
        self.relay.intake(self.now_ms, peer, self.shares, code, bytes, window)
    }

    fn takes(&mut self, peer: u64, code: u8, bytes: &Bytes) -> bool {
        matches!(self.intake(peer, code, bytes), Intake::Take(..))
    }

    /// Whether the peer is cut, and after how many of these messages.
    fn cut_after(&mut self, peer: u64, code: u8, messages: impl IntoIterator<Item = Bytes>) -> Option<usize> {
        messages.into_iter().position(|bytes| matches!(self.intake(peer, code, &bytes), Intake::Cut(_)))
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
    assert!(matches!(scene.intake(1, 0x13, &prepare(1, 101, ipe_engine::relay::MAX_ROUND + 1)), Intake::Drop));
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
    assert!(matches!(scene.intake(2, 0x13, &far), Intake::Drop));
    assert_eq!(scene.relay.proven_head(&scene.set.clone()), 0);
    assert!(matches!(scene.intake(1, 0x13, &prepare(2, 500, 0)), Intake::Ahead(_, 500)));
    assert_eq!(scene.relay.proven_head(&scene.set.clone()), 499);
    assert!(matches!(scene.intake(1, 0x13, &prepare(3, 500, 0)), Intake::Take(..)));
}

/// Validators change: who signs for a later height may be nobody yet. That is for its height to judge.
#[test]
fn what_others_may_validate_is_kept_for_its_height() {
    let mut scene = Scene::new();
    let early = prepare(9, 103, 0);
    assert!(matches!(scene.intake(1, PREPARE, &early), Intake::Early(103)));
    assert!(matches!(scene.intake(2, PREPARE, &early), Intake::Early(103)), "nothing is known of it, nor seen");
    assert!(matches!(scene.intake(1, PREPARE, &prepare(9, 101, 0)), Intake::Drop), "the next height's validators are known");
    scene.shares = false;
    assert!(matches!(scene.intake(2, PREPARE, &early), Intake::Drop), "nothing is kept for strangers");
    scene.shares = true;
    scene.head = 102;
    scene.set = ValidatorSet::new([1, 2, 3, 9].map(|byte| key(byte).address()).to_vec());
    assert!(scene.takes(1, PREPARE, &early), "and by whom it came before");
    // Whoever keeps us busy with it pays.
    assert!(scene.cut_after(2, PREPARE, (0..20_000u32).map(|round| prepare(8, 105, round % 1_000))).is_some());
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

/// Twenty boots in mesh relay everything to each other at the same moment: each brings what it is being sent.
#[test]
fn a_message_that_crosses_with_ours_costs_its_bringer_nothing() {
    let mut scene = Scene::new();
    for round in 0..150 {
        for author in 1..=4 {
            let bytes = prepare(author, 101, round);
            assert!(matches!(scene.intake(1, 0x13, &bytes), Intake::Take(..)), "{author} {round}");
            // It is passed on to the other boot, which sends it to us before ours arrives there.
            let key = Message::decode(0x13, &bytes).expect("decodes").key();
            scene.peers.get_mut(PeerId(2)).expect("connected").messages.insert(&key);
            assert!(matches!(scene.intake(2, 0x13, &bytes), Intake::Drop), "{author} {round}");
        }
    }
    let fresh = prepare(1, 102, 0);
    assert!(matches!(scene.intake(2, 0x13, &fresh), Intake::Take(..)), "its budget is whole");
}

/// A stranger's message with many signatures inside is refused at the price of one.
#[test]
fn a_justification_is_not_looked_at_before_its_author_is_known() {
    let payload = RoundChangePayload { height: 101, round: 1, prepared: None };
    let forged: Vec<_> = (0..8)
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
    assert_eq!((scene.relay.refused.author, scene.relay.recoveries), (1, 1));
}

/// Whoever passes a message on can append to what justifies it, for that nobody signed. The copy is worth nothing, is paid
/// for by who brought it, and does not stand in the way of the sound one.
#[test]
fn a_spoiled_copy_does_not_silence_the_honest_one_and_charges_who_brought_it() {
    let mut scene = Scene::new();
    for height in [100, 101, 102, 110] {
        let author = proposer(0);
        let honest = proposal_of(author, 0, block(height, author, 0, 0));
        let change = round_change(2, height, 1);
        for mark in 0..60 {
            let spoiled = Proposal { prepares: vec![foreign(height, mark)], ..honest.clone() };
            let spoiled = Message::Proposal(Box::new(spoiled)).encode();
            assert!(!scene.takes(1, PROPOSAL, &spoiled), "{height}");
            let spoiled = wire(RoundChange { prepares: vec![foreign(height, mark)], ..change.clone() });
            assert!(!scene.takes(1, ROUND_CHANGE, &spoiled), "{height}");
            scene.now_ms += 200;
        }
        assert!(scene.takes(2, PROPOSAL, &Message::Proposal(Box::new(honest)).encode()), "{height}");
        assert!(scene.takes(2, ROUND_CHANGE, &wire(change)), "{height}");
    }
    // Fast enough, and the liar is out; the others are heard as before.
    let change = round_change(4, 101, 2);
    let spoiled = |mark| wire(RoundChange { prepares: vec![foreign(101, mark)], ..change.clone() });
    assert!(scene.cut_after(1, ROUND_CHANGE, (0..=255).map(spoiled)).is_some());
    assert!(!scene.relay.welcomes(scene.now_ms, &key(0x21).node_id()));
    assert!(scene.takes(2, ROUND_CHANGE, &wire(change)));
    assert!(scene.relay.welcomes(scene.now_ms, &key(0x22).node_id()));
}

/// The budget that copies of its messages would have spent is whole.
#[test]
fn nobody_spends_the_budget_of_an_author_by_copying_what_it_signed() {
    let mut scene = Scene::new();
    let change = round_change(2, 101, 1);
    let mut cut = 0;
    for mark in 0..=255 {
        for digest in 0..20u8 {
            let prepares =
                vec![sign(0x77, PreparePayload { height: 101, round: u32::from(digest), digest: B256::repeat_byte(mark) })];
            let copy = wire(RoundChange { prepares, ..change.clone() });
            cut += usize::from(matches!(scene.intake(1, ROUND_CHANGE, &copy), Intake::Cut(_)));
        }
    }
    assert!(cut > 0);
    for round in 1..=200 {
        assert!(scene.takes(2, ROUND_CHANGE, &wire(round_change(2, 101, round))), "{round}");
    }
}

/// A prepared block is named by a digest that covers its header only.
#[test]
fn a_prepared_block_with_another_body_or_with_seals_is_a_spoiled_copy() {
    let mut scene = Scene::new();
    let author = proposer(0);
    let tx = TxLegacy {
        chain_id: Some(1),
        nonce: 0,
        gas_price: 0,
        gas_limit: 21_000,
        to: TxKind::Call(Address::ZERO),
        value: U256::ZERO,
        input: Bytes::new(),
    };
    let tx = Transaction::from(tx.into_signed(alloy_primitives::Signature::test_signature()));
    let body = Body { transactions: vec![tx], withdrawals: None };
    let sound = block(101, author, 0, 0);
    let root = calculate_transaction_root(&body.transactions);
    let sound = Arc::new(Block { header: Header { transactions_root: root, ..sound.header.clone() }, body });
    let emptied = Arc::new(Block { body: Body::default(), ..(*sound).clone() });
    let extra =
        ExtraData { seals: vec![key(1).sign(B256::ZERO); 3], ..ExtraData::decode(&sound.header.extra_data).expect("decodes") };
    let sealed = Arc::new(Block { header: Header { extra_data: extra.encode(), ..sound.header.clone() }, ..(*sound).clone() });
    let change = prepared_change(2, 101, 1, &sound);
    for spoiled in [emptied, sealed] {
        assert!(!scene.takes(1, ROUND_CHANGE, &wire(RoundChange { block: Some(spoiled), ..change.clone() })));
    }
    let listed = RoundChange { access_list: Some(vec![0x83, 1, 2, 3].into()), ..change.clone() };
    assert!(!scene.takes(1, ROUND_CHANGE, &wire(listed)));
    assert_eq!(scene.relay.refused.justification, 3);
    assert!(scene.takes(2, ROUND_CHANGE, &wire(change.clone())));
    // The other dialect's form is sound as well, and whoever reads only that one gets it.
    let other_form = RoundChange { access_list: Some(vec![0x80].into()), ..change };
    assert!(scene.takes(2, ROUND_CHANGE, &wire(other_form.clone())));
    assert!(!scene.takes(1, ROUND_CHANGE, &wire(other_form)));
}

#[test]
fn what_is_dropped_for_lack_of_budget_is_new_when_it_comes_again() {
    let mut scene = Scene::new();
    // A later height, where nobody knows whose turn it is: two of the largest, and the author's budget is spent.
    let large = MAX_MESSAGE_BYTES - 1_000;
    assert!(scene.takes(1, PROPOSAL, &proposal(1, 105, large)));
    assert!(scene.takes(1, PROPOSAL, &proposal(1, 106, large)));
    let third = proposal(1, 107, large);
    assert!(matches!(scene.intake(1, PROPOSAL, &third), Intake::Drop));
    assert_eq!(scene.relay.refused.budget, 1);
    // Of others it is whole.
    assert!(scene.takes(1, PREPARE, &prepare(2, 101, 0)));
    scene.now_ms += 60_000;
    assert!(scene.takes(1, PROPOSAL, &third), "and it is no repetition");
}

/// Found on the release binary: 106 zero-padded proposals of 10 MiB for later heights cost two blocks in 40 s, six filled the
/// store of who connects.
#[test]
fn padded_proposals_of_later_heights_are_bounded_and_their_bringer_is_cut() {
    let mut scene = Scene::new();
    let mut held = Held::default();
    let honest: Vec<Bytes> = (2..=4).flat_map(|author| [prepare(author, 101, 0), prepare(author, 102, 0)]).collect();
    for bytes in &honest {
        let Intake::Take(message, key) = scene.intake(2, PREPARE, bytes) else { panic!("an honest message is taken") };
        held.keep(message, bytes, key);
    }
    let mut taken = 0;
    let mut cut = None;
    for number in 0..106u64 {
        let bytes = proposal(1, 102 + number % 9, MAX_MESSAGE_BYTES - 2_000 + number as usize);
        match scene.intake(1, PROPOSAL, &bytes) {
            Intake::Take(message, key) => {
                held.keep(message, &bytes, key);
                taken += 1;
            }
            Intake::Cut(_) => {
                cut = Some(number);
                break;
            }
            _ => {}
        }
    }
    assert_eq!(taken, 2);
    assert!(cut.is_some_and(|at| at <= 10), "{cut:?}");
    let (_, bytes) = held.size();
    assert!(bytes <= 5 * MAX_MESSAGE_BYTES, "as bytes and as blocks: {bytes}");
    assert_eq!(held.iter().filter(|held| held.kind == Kind::Prepare).count(), honest.len());
}

#[test]
fn a_large_message_is_only_read_from_whose_turn_it_is() {
    let mut scene = Scene::new();
    let liar = (1..=4).find(|author| *author != proposer(0)).expect("four of them");
    assert!(matches!(scene.intake(1, PROPOSAL, &proposal(liar, 101, 1_000)), Intake::Drop));
    assert_eq!(scene.relay.refused.justification, 1);
    assert!(matches!(scene.intake(2, PROPOSAL, &proposal(liar, 101, 1_000)), Intake::Drop));
    assert_eq!((scene.relay.duplicates, scene.relay.recoveries), (1, 1), "no second look at what its author got wrong");
    assert!(scene.takes(1, PROPOSAL, &proposal(proposer(0), 101, 1_000)));
}

/// Proposals of the largest size in the author's own turns cost nothing, however fast blocks are: each turn has one.
#[test]
fn a_proposer_in_its_turn_is_not_held_back() {
    let mut scene = Scene::new();
    for height in 101..=120 {
        scene.head = height - 1;
        let large = proposal(proposer(0), height, MAX_MESSAGE_BYTES - 2_000);
        assert!(scene.takes(1, PROPOSAL, &large), "{height}");
        assert!(matches!(scene.intake(2, PROPOSAL, &large), Intake::Drop), "{height}");
        scene.now_ms += 100;
    }
}

/// While the next block is written the height after it is judged by the rules of its own: a proposer in its turn pays nothing, and
/// nobody else proposes.
#[test]
fn the_height_after_a_block_that_is_being_written_is_judged_as_it_will_be() {
    let mut scene = Scene::new();
    let liar = (1..=4).find(|author| *author != proposer(0)).expect("four of them");
    assert!(scene.takes(1, PROPOSAL, &proposal(liar, 102, 1_000)), "nobody's turn is known");
    scene.is_coming = true;
    assert!(!scene.takes(1, PROPOSAL, &proposal(liar, 102, 2_000)));
    assert_eq!(scene.relay.refused.justification, 1);
    for round in 0..8 {
        // More than an author's budget of bytes holds.
        let block = block(102, proposer(round), round, MAX_MESSAGE_BYTES - 2_000);
        let mut large = proposal_of(proposer(round), round, block);
        large.round_changes = if round == 0 { Vec::new() } else { (1..=3).map(|by| round_change(by, 102, round).signed).collect() };
        assert!(scene.takes(1, PROPOSAL, &Message::Proposal(Box::new(large)).encode()), "{round}");
    }
    assert!(matches!(scene.intake(1, PREPARE, &prepare(9, 102, 0)), Intake::Drop), "of nobody who validates it");
    assert!(matches!(scene.intake(1, PREPARE, &prepare(9, 103, 0)), Intake::Early(103)));
}

/// Found on the release binary: 498 messages of 10 MiB about past heights cost no token and 15 of 20 processor seconds.
#[test]
fn late_messages_are_paid_for_by_the_byte() {
    let mut scene = Scene::new();
    let large = |number: u64| proposal(1, 3, MAX_MESSAGE_BYTES - 2_000 + number as usize);
    assert!(scene.cut_after(1, PROPOSAL, (0..60).map(large)).is_some_and(|at| (3..=40).contains(&at)));
    // Honest lateness is small, or rare.
    for round in 0..2_000 {
        assert!(matches!(scene.intake(2, PREPARE, &prepare(1, 99, round % 1_000)), Intake::Drop), "{round}");
        scene.now_ms += 5;
    }
    for number in 0..20 {
        assert!(matches!(scene.intake(2, PROPOSAL, &large(number)), Intake::Drop), "{number}");
        scene.now_ms += 1_000;
    }
}

/// An honest boot passes on what lying validators sign within the budgets that it keeps for them; it is not cut for what is
/// beyond ours because other boots have brought as much.
#[test]
fn an_honest_boot_is_not_cut_for_what_lying_validators_signed() {
    let mut scene = Scene::new();
    let mut honest = Scene::new();
    let mut spent = Scene::new();
    for round in 0..1_000 {
        // Through the one everything that the liar signs in even rounds, through the other what it signs in odd ones.
        scene.intake(1, PREPARE, &prepare(1, 101, 2 * round % 1_001));
        let other = prepare(1, 102, 2 * round % 1_001);
        if spent.takes(1, PREPARE, &other) {
            assert!(!matches!(scene.intake(2, PREPARE, &other), Intake::Cut(_)), "{round}");
        }
        if round % 50 == 0 {
            let good = prepare(2, 101, round);
            assert!(honest.takes(1, PREPARE, &good) && scene.takes(2, PREPARE, &good));
        }
        scene.now_ms += 10;
        spent.now_ms += 10;
    }
}

/// Besu passes on what it has not verified. So a stranger can spoil copies through it: it is not cut, and heard with its own
/// words.
#[test]
fn a_validator_that_gossips_spoiled_copies_is_heard_with_its_own_words() {
    let mut scene = Scene::new();
    let honest = prepared_change(2, 101, 1, &block(101, proposer(0), 0, 300_000));
    for mark in 0..=255 {
        let mut copy = honest.clone();
        copy.prepares.push(sign(1, PreparePayload { height: 101, round: 9, digest: B256::repeat_byte(mark) }));
        assert!(matches!(scene.intake(3, ROUND_CHANGE, &wire(copy)), Intake::Drop));
    }
    for round in 0..20 {
        assert!(scene.takes(3, PREPARE, &prepare(3, 101, round)), "its own votes count, {round}");
        scene.now_ms += 50;
    }
    assert!(scene.takes(1, ROUND_CHANGE, &wire(honest)));
}

/// Consensus is not shared with a stranger, so it has no budget of its own to waste; what it brings is read all the same.
#[test]
fn nobody_brings_more_bytes_than_there_is_time_to_read() {
    let mut scene = Scene::new();
    scene.shares = false;
    scene.peers.connect(info(4, 0x31, None));
    let padded = |number: u64| proposal(1, 3, (1 << 20) + number as usize);
    let at = scene.cut_after(4, PROPOSAL, (0..400).map(padded)).expect("it is cut");
    assert!((100..=200).contains(&at), "{at}: a burst of 200 MB at most");
    assert!(!scene.relay.welcomes(scene.now_ms, &key(0x31).node_id()), "it comes again at once");
    assert!(matches!(scene.intake(3, PREPARE, &prepare(3, 101, 0)), Intake::Take(..) | Intake::Drop), "others do not pay for it");
    // A block of 10 MiB each second, and as much again in a RoundChange, is read from whoever brings it.
    scene.shares = true;
    for number in 0..15 {
        assert!(
            !matches!(scene.intake(2, PROPOSAL, &proposal(1, 99, MAX_MESSAGE_BYTES - 2_000 - number)), Intake::Cut(_)),
            "{number}"
        );
        assert!(
            !matches!(scene.intake(2, PROPOSAL, &proposal(2, 99, MAX_MESSAGE_BYTES - 2_000 - number)), Intake::Cut(_)),
            "{number}"
        );
        scene.now_ms += 1_000;
    }
}

#[test]
fn any_number_of_strangers_have_one_budget() {
    let mut scene = Scene::new();
    scene.shares = false;
    for id in 0..40 {
        scene.peers.connect(info(100 + id, 0x50 + id as u8, None));
    }
    let mut read = 0;
    for number in 0..60u64 {
        let bytes = proposal(9, 101, MAX_MESSAGE_BYTES - 2_000 + number as usize);
        let before = scene.relay.recoveries;
        assert!(matches!(scene.intake(100 + number % 40, PROPOSAL, &bytes), Intake::Drop));
        read += scene.relay.recoveries - before;
    }
    assert!(read <= 3, "{read}");
    scene.shares = true;
    assert!(scene.takes(1, PREPARE, &prepare(1, 101, 0)), "those with whom consensus is shared have their own");
}

/// Every signature is recovered once, whether it comes as a message or in what justifies another.
#[test]
fn a_signature_is_recovered_once() {
    let mut scene = Scene::new();
    let prepared = block(101, proposer(0), 0, 100);
    let digest = Digests::of(&prepared.header, 0).expect("extra data decodes").without_round;
    for author in 1..=3 {
        let vote = Message::Prepare(sign(author, PreparePayload { height: 101, round: 0, digest })).encode();
        assert!(scene.takes(1, PREPARE, &vote));
    }
    let changes: Vec<RoundChange> = (1..=4).map(|author| prepared_change(author, 101, 1, &prepared)).collect();
    for change in &changes {
        assert!(scene.takes(1, ROUND_CHANGE, &wire(change.clone())));
    }
    assert_eq!(scene.relay.recoveries, 3 + 4);
    let author = proposer(1);
    let header = Header { extra_data: block(101, proposer(0), 1, 100).header.extra_data.clone(), ..prepared.header.clone() };
    let payload =
        ProposalPayload { height: 101, round: 1, block: Arc::new(Block { header, ..Block::default() }), access_list: None };
    let proposal = Proposal {
        signed: sign(author, payload),
        round_changes: changes.iter().map(|change| change.signed.clone()).collect(),
        prepares: changes[0].prepares.clone(),
    };
    let bytes = Message::Proposal(Box::new(proposal.clone())).encode();
    // With one Prepare too many it costs one recovery, and is refused.
    let mut spoiled = proposal;
    spoiled.prepares.push(foreign(101, 1));
    assert!(!scene.takes(2, PROPOSAL, &Message::Proposal(Box::new(spoiled)).encode()));
    assert!(scene.takes(1, PROPOSAL, &bytes));
    assert_eq!(scene.relay.recoveries, 3 + 4 + 1 + 1);
}

/// A liar that fills the store puts out what it has sent itself; the next height comes first.
#[test]
fn who_fills_the_store_puts_out_its_own() {
    let mut held = Held::default();
    let mut keep = |message: Message| {
        let bytes = message.encode();
        held.keep(Arc::new(message.clone()), &bytes, message.key());
        held.size().1
    };
    for height in 101..=110 {
        for author in 2..=4 {
            keep(Message::Proposal(Box::new(proposal_of(author, 0, block(height, author, 0, 300_000)))));
            keep(Message::RoundChange(Box::new(round_change(author, height, 1))));
        }
    }
    for height in 101..=120 {
        let bytes = keep(Message::Proposal(Box::new(proposal_of(1, 0, block(height, 1, 0, 9_000_000)))));
        assert!(bytes <= 128 * 1024 * 1024);
    }
    let of = |author: u8, kind| held.iter().filter(move |held| held.author == key(author).address() && held.kind == kind).count();
    for author in 2..=4 {
        assert_eq!((of(author, Kind::Proposal), of(author, Kind::RoundChange)), (10, 10));
    }
    assert!(of(1, Kind::Proposal) < 7);
    assert!(held.iter().any(|held| held.author == key(1).address() && held.message.height() == 101), "the next height comes first");
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
