//! Catching up with peers that lie, answer late, or not at all.

use std::sync::Arc;

use alloy_consensus::{SignableTransaction, TxLegacy};
use alloy_primitives::{B256, Bytes};
use ipe_engine::peer::Peers;
use ipe_engine::sync::{HeadView, Sync, SyncFault};
use ipe_engine::{Output, PeerId, PeerInfo, PeerStatus};
use ipe_types::eth::{EthMessage, EthVersion, HeadersStart};
use ipe_types::header::{EMPTY_ROOT, Header, block_hash, commit_hash, with_round_and_seals};
use ipe_types::{Block, Body, Checkpoint, ExtraData, NodeKey, Role, Transaction, ValidatorSet};

fn key(byte: u8) -> NodeKey {
    NodeKey::from_bytes([byte; 32]).expect("in range")
}

fn validators() -> ValidatorSet {
    (1..=4).map(|byte| key(byte).address()).collect()
}

fn header(number: u64, parent: B256, sealers: u8, empty: bool) -> Header {
    let extra =
        ExtraData { vanity: Bytes::from(vec![0; 32]), validators: validators().as_slice().to_vec(), ..ExtraData::default() };
    let transactions_root = if empty { EMPTY_ROOT } else { body(number).transactions_root() };
    let header = Header { number, parent_hash: parent, extra_data: extra.encode(), transactions_root, ..Header::default() };
    let hash = commit_hash(&header, 0).expect("sound");
    with_round_and_seals(&header, 0, (1..=sealers).map(|byte| key(byte).sign(hash)).collect()).expect("sound")
}

/// What is in block `number` when it is not empty.
fn body(number: u64) -> Body {
    let tx = TxLegacy { nonce: number, ..TxLegacy::default() };
    let tx = Transaction::from(tx.into_signed(alloy_primitives::Signature::test_signature()));
    Body { transactions: vec![tx], withdrawals: None }
}

fn chain(length: u64, empty: bool) -> Vec<Header> {
    let mut parent = B256::ZERO;
    (1..=length)
        .map(|number| {
            let header = header(number, parent, 3, empty);
            parent = block_hash(&header).expect("sound");
            header
        })
        .collect()
}

fn connect(peers: &mut Peers, id: u64, height: u64) {
    connect_as(peers, id, 0x40 + id as u8, height, None);
}

fn connect_as(peers: &mut Peers, id: u64, key_byte: u8, height: u64, role: Option<Role>) {
    let key = key(key_byte);
    let status = PeerStatus { head: B256::ZERO, height: Some(height), total_difficulty: None };
    let (node, address) = (key.node_id(), key.address());
    let (eth, istanbul, inbound) = (EthVersion::V69, false, false);
    peers.connect(PeerInfo { id: PeerId(id), node, address, role, eth, istanbul, inbound, carried: false, status });
}

/// Peer, request id and first number (or count of bodies) of every request in `outputs`.
fn asked(outputs: &[Output]) -> Vec<(u64, u64, u64)> {
    outputs
        .iter()
        .filter_map(|output| match output {
            Output::Eth(to, message) => match message.as_ref() {
                EthMessage::GetBlockHeaders { request_id, query } => match query.start {
                    HeadersStart::Number(first) => Some((to[0].0, *request_id, first)),
                    HeadersStart::Hash(_) => None,
                },
                EthMessage::GetBlockBodies { request_id, hashes } => Some((to[0].0, *request_id, hashes.len() as u64)),
                _ => None,
            },
            _ => None,
        })
        .collect()
}

struct Scene {
    sync: Sync,
    peers: Peers,
    set: ValidatorSet,
    now: u64,
}

impl Scene {
    fn new(heights: &[u64]) -> Self {
        let mut peers = Peers::default();
        heights.iter().enumerate().for_each(|(index, height)| connect(&mut peers, index as u64 + 1, *height));
        Self { sync: Sync::default(), peers, set: validators(), now: 1_000_000 }
    }

    fn poll(&mut self) -> Vec<(u64, u64, u64)> {
        let head = HeadView { number: 0, hash: B256::ZERO, next: &self.set };
        asked(&self.sync.poll(self.now, head, &mut self.peers, 0, 250))
    }

    fn headers(&mut self, (peer, id, _): (u64, u64, u64), headers: Vec<Header>) -> Result<(), SyncFault> {
        let head = HeadView { number: 0, hash: B256::ZERO, next: &self.set };
        self.sync.on_headers(self.now, PeerId(peer), id, headers, head, &mut self.peers)
    }

    fn bodies(&mut self, (peer, id, _): (u64, u64, u64), bodies: Vec<Body>) -> Result<(), SyncFault> {
        self.sync.on_bodies(self.now, PeerId(peer), id, bodies, &mut self.peers)
    }

    /// Goes on until block `number` is here or `ms` have passed: peers of `honest` answer from `chain` at once, all others
    /// are silent. How long it took, ms.
    fn catch_up(&mut self, chain: &[Header], honest: &[u64], ms: u64) -> Option<u64> {
        let began = self.now;
        let (mut number, mut hash) = (0u64, B256::ZERO);
        while self.now < began + ms {
            let head = HeadView { number, hash, next: &self.set };
            let asks = asked(&self.sync.poll(self.now, head, &mut self.peers, 0, 250));
            let answered = asks.iter().any(|(peer, ..)| honest.contains(peer));
            for (peer, id, first) in asks {
                if honest.contains(&peer) && first > 0 {
                    let from = (first - 1) as usize;
                    let headers = chain.get(from..chain.len().min(from + 192)).unwrap_or_default().to_vec();
                    self.sync.on_headers(self.now, PeerId(peer), id, headers, head, &mut self.peers).expect("sound");
                }
            }
            while let Some(block) = self.next(number, hash) {
                (number, hash) = (block.header.number, block.hash().expect("sound"));
            }
            if number == chain.len() as u64 {
                return Some(self.now - began);
            }
            if !answered {
                self.now = self.sync.wake_at().unwrap_or(self.now + 1_000).max(self.now + 1);
            }
        }
        None
    }

    fn leave(&mut self, peer: u64) {
        self.sync.disconnected(self.now, PeerId(peer), &mut self.peers);
        self.peers.disconnect(self.now, PeerId(peer));
    }

    fn next(&mut self, number: u64, hash: B256) -> Option<Arc<Block>> {
        let head = HeadView { number, hash, next: &self.set };
        self.sync.next_block(head).map(|fetched| fetched.block)
    }
}

#[test]
fn empty_blocks_need_no_bodies_and_leave_in_order() {
    let mut scene = Scene::new(&[5]);
    let request = scene.poll()[0];
    assert_eq!(request.2, 1);
    let chain = chain(5, true);
    scene.headers(request, chain.clone()).expect("sound");
    assert!(scene.sync.is_behind());
    let (mut number, mut hash) = (0, B256::ZERO);
    while let Some(block) = scene.next(number, hash) {
        assert_eq!(block.header, chain[number as usize]);
        (number, hash) = (block.header.number, block.hash().expect("sound"));
    }
    assert_eq!(number, 5);
    assert!(!scene.sync.is_behind());
}

#[test]
fn a_single_missing_block_is_left_to_consensus_for_a_moment() {
    let mut scene = Scene::new(&[1]);
    assert!(scene.poll().is_empty());
    assert_eq!(scene.sync.wake_at(), Some(scene.now + 250));
    scene.now += 250;
    assert_eq!(scene.poll().len(), 1);
}

#[test]
fn headers_that_are_not_linked_sealed_or_ours_are_faults() {
    let good = chain(4, true);
    let unsealed = header(1, B256::ZERO, 2, true);
    let foreign = header(1, B256::repeat_byte(9), 3, true);
    let cases: [(Vec<Header>, fn(&SyncFault) -> bool); 5] = [
        (vec![unsealed], |fault| matches!(fault, SyncFault::Unsealed { number: 1 })),
        (vec![foreign], |fault| matches!(fault, SyncFault::OtherChain { number: 1, .. })),
        (vec![good[0].clone(), good[2].clone()], |fault| matches!(fault, SyncFault::Unlinked { number: 2 })),
        (vec![good[1].clone()], |fault| matches!(fault, SyncFault::Unlinked { number: 1 })),
        (chain(200, true), |fault| matches!(fault, SyncFault::TooMany)),
    ];
    for (headers, expected) in cases {
        let mut scene = Scene::new(&[4]);
        let request = scene.poll()[0];
        let fault = scene.headers(request, headers).expect_err("a fault");
        assert!(expected(&fault), "{fault}");
        assert!(!scene.sync.is_behind() || matches!(fault, SyncFault::Unlinked { number: 2 }));
    }
}

/// The block after ours that is sealed, and above it one that nobody sealed, which only its sender vouches for.
fn half_forged() -> (Vec<Header>, Vec<Header>) {
    let good = chain(3, false);
    let forged = Header { state_root: B256::repeat_byte(0xee), ..good[1].clone() };
    (vec![good[0].clone(), forged], good)
}

/// Found by the simulator (lying-sync): a liar's header made the next honest answer look unlinked.
#[test]
fn an_honest_peer_is_not_cut_for_what_another_forged() {
    let (forged, good) = half_forged();
    let mut scene = Scene::new(&[3, 3]);
    let request = scene.poll()[0];
    scene.headers(request, forged).expect("nobody can tell yet");
    let (liar, honest) = (request.0, 3 - request.0);
    scene.leave(liar);
    let request = scene.poll().into_iter().find(|(_, _, first)| *first == 3).expect("the next headers are asked for");
    assert_eq!(request.0, honest);
    scene.headers(request, vec![good[2].clone()]).expect("it is not to blame");
    let request = scene.poll().into_iter().find(|(_, _, first)| *first == 2).expect("asked for again from what is sealed on");
    scene.headers(request, good[1..].to_vec()).expect("sound");
    // The forged one may be next by now.
    let (forged, good) = half_forged();
    let mut scene = Scene::new(&[3, 3]);
    let request = scene.poll()[0];
    scene.headers(request, forged).expect("nobody can tell yet");
    scene.leave(request.0);
    let (peer, id, _) = scene.poll().into_iter().find(|(_, _, first)| *first == 3).expect("the next headers are asked for");
    let head = HeadView { number: 1, hash: block_hash(&good[0]).expect("sound"), next: &scene.set };
    let last = vec![good[2].clone()];
    scene.sync.on_headers(scene.now, PeerId(peer), id, last, head, &mut scene.peers).expect("it is not to blame");
    // What is sealed convicts whoever does not follow it.
    let mut scene = Scene::new(&[3, 3]);
    let request = scene.poll()[0];
    scene.headers(request, good[..1].to_vec()).expect("sound");
    scene.leave(request.0);
    let request = scene.poll().into_iter().find(|(_, _, first)| *first == 2).expect("the next headers are asked for");
    let other = header(2, B256::repeat_byte(5), 3, false);
    assert_eq!(scene.headers(request, vec![other]), Err(SyncFault::Unlinked { number: 2 }));
}

/// While blocks above the head are known to be final a validator does not vote: nobody may make it rest for one that never was.
#[test]
fn nobody_waits_for_the_body_of_a_forged_block() {
    let (forged, good) = half_forged();
    let mut scene = Scene::new(&[3, 3]);
    let request = scene.poll()[0];
    scene.headers(request, forged).expect("nobody can tell yet");
    // Block 1 comes another way.
    let head = HeadView { number: 1, hash: block_hash(&good[0]).expect("sound"), next: &scene.set };
    let again = asked(&scene.sync.poll(scene.now, head, &mut scene.peers, 0, 250));
    assert!(!scene.sync.is_behind());
    // Headers from 2 on, of the other, and no body.
    assert_eq!(again.iter().map(|(peer, _, first)| (*peer, *first)).collect::<Vec<_>>(), [(3 - request.0, 2)]);
}

/// One institution's boots held a node that was catching up at a block every few seconds: a sound header, forged ones behind it,
/// and whoever had not the bodies of these was taken for silent.
#[test]
fn what_is_forged_behind_a_sound_header_costs_nobody_but_its_sender() {
    let good = chain(50, false);
    let mut forged = vec![good[0].clone()];
    for number in 2..=50 {
        let parent = block_hash(&forged[number - 2]).expect("sound");
        forged.push(header(number as u64, parent, 0, false));
    }
    let mut scene = Scene::new(&[50, 50]);
    let request = scene.poll()[0];
    let (forger, honest) = (request.0, 3 - request.0);
    scene.headers(request, forged).expect("nobody can tell yet");
    let asks = scene.poll();
    assert_eq!(asks.iter().map(|(.., count)| *count).collect::<Vec<_>>(), [1], "only the body of what is sealed");
    // The forger is slow with it: it is overtaken.
    scene.now += 750;
    let second = scene.poll();
    let other = if asks[0].0 == honest { asks[0] } else { second[0] };
    scene.bodies(other, vec![body(1)]).expect("sound");
    assert!(scene.next(0, B256::ZERO).is_some());
    let head = HeadView { number: 1, hash: block_hash(&good[0]).expect("sound"), next: &scene.set };
    let again = asked(&scene.sync.poll(scene.now, head, &mut scene.peers, 0, 250));
    assert_eq!(scene.sync.take_forgers(), [(PeerId(forger), SyncFault::Unsealed { number: 2 })]);
    assert!(scene.sync.take_forgers().is_empty(), "told once");
    assert!(scene.peers.get(PeerId(honest)).is_some_and(|peer| peer.standing.failures == 0));
    assert!(again.iter().all(|(.., first)| *first == 2), "{again:?}");
}

/// Whoever lacks a body leaves it out of its answer: the others are where they belong all the same.
#[test]
fn a_body_belongs_to_the_header_that_names_it() {
    let mut scene = Scene::new(&[4]);
    let chain = chain(4, false);
    let request = scene.poll()[0];
    scene.headers(request, chain.clone()).expect("sound");
    let ask = scene.poll()[0];
    scene.bodies(ask, vec![body(1), body(3), body(4)]).expect("sound");
    assert!(scene.peers.get(PeerId(1)).is_some_and(|peer| peer.standing.failures == 0));
    assert!(scene.next(0, B256::ZERO).is_some_and(|block| block.body == body(1)));
    let hash = block_hash(&chain[0]).expect("sound");
    assert!(scene.next(1, hash).is_none());
    let head = HeadView { number: 1, hash, next: &scene.set };
    let again = asked(&scene.sync.poll(scene.now, head, &mut scene.peers, 0, 250));
    assert_eq!(again.iter().map(|(.., count)| *count).collect::<Vec<_>>(), [1], "only what is missing");
    scene.bodies(again[0], vec![body(2)]).expect("sound");
    assert!(scene.next(1, hash).is_some_and(|block| block.body == body(2)));
    assert!(scene.next(2, block_hash(&chain[1]).expect("sound")).is_some_and(|block| block.body == body(3)));
}

#[test]
fn a_liar_about_its_height_is_left_alone_and_the_next_is_asked() {
    let mut scene = Scene::new(&[1_000, 50]);
    let request = scene.poll()[0];
    assert_eq!(request.0, 1);
    scene.headers(request, Vec::new()).expect("an empty answer is no breach");
    let request = scene.poll()[0];
    assert_eq!((request.0, request.2), (2, 1));
    scene.headers(request, chain(50, true)).expect("sound");
    // Answers that nobody waits for change nothing.
    scene.headers((1, 77, 0), chain(3, false)).expect("ignored");
}

#[test]
fn a_silent_peer_times_out_and_its_work_goes_to_another() {
    let mut scene = Scene::new(&[30, 20]);
    let request = scene.poll()[0];
    scene.headers(request, chain(30, false)).expect("sound");
    let bodies = scene.poll();
    let silent = bodies[0];
    assert_eq!((silent.0, silent.2), (1, 30));
    assert!(scene.poll().is_empty());
    scene.now += 5_000;
    let again = scene.poll();
    assert_eq!(again.iter().map(|(peer, _, count)| (*peer, *count)).collect::<Vec<_>>(), [(2, 20)]);
    // Late bodies of the first are ignored, a shortened answer of the second is completed.
    let body = Body { transactions: vec![], withdrawals: None };
    scene.bodies((1, silent.1, 0), vec![body.clone()]).expect("ignored");
    assert_eq!(scene.bodies((2, again[0].1, 0), vec![body; 21]), Err(SyncFault::TooMany));
}

#[test]
fn a_lost_connection_gives_its_requests_back() {
    let mut scene = Scene::new(&[30, 30]);
    let request = scene.poll()[0];
    scene.leave(request.0);
    let again = scene.poll()[0];
    assert_ne!(again.0, request.0);
}

#[test]
fn pushed_blocks_are_kept_within_the_window_only() {
    let mut scene = Scene::new(&[]);
    let set = scene.set.clone();
    let head = HeadView { number: 0, hash: B256::ZERO, next: &set };
    let block = |number| Arc::new(Block { header: header(number, B256::ZERO, 3, true), body: Body::default() });
    assert!(!scene.sync.offer(head, block(0), PeerId(1)));
    assert!(!scene.sync.offer(head, block(31), PeerId(1)));
    assert!(scene.sync.offer(head, block(30), PeerId(1)));
    assert!(!scene.sync.offer(head, block(30), PeerId(2)));
    assert!(scene.sync.offer(head, block(1), PeerId(1)));
    assert_eq!(scene.next(0, B256::ZERO).map(|block| block.header.number), Some(1));
    assert!(scene.next(1, B256::ZERO).is_none());
}

/// Found by the simulator (scenario disks, seed 1): the rest of the headers stood without their ground, so honest peers were
/// cut, and the block was fetched as fast as the line allowed for as long as the disk was full.
#[test]
fn a_block_that_cannot_be_written_is_fetched_again_after_a_pause_and_nobody_is_blamed() {
    let mut scene = Scene::new(&[5]);
    let chain = chain(5, true);
    let request = scene.poll()[0];
    scene.headers(request, chain.clone()).expect("sound");
    assert!(scene.next(0, B256::ZERO).is_some());
    scene.sync.unwritten(scene.now);
    // What stood on it does not come out in its place.
    assert!(scene.next(0, B256::ZERO).is_none());
    scene.now += 900;
    assert!(scene.poll().is_empty(), "it rests");
    assert_eq!(scene.sync.wake_at(), Some(1_001_000));
    scene.now += 100;
    let again = scene.poll();
    assert_eq!(again[0].2, 1, "from the block that was not written: {again:?}");
    scene.headers(again[0], chain).expect("the same peer may answer");
    assert!(scene.next(0, B256::ZERO).is_some());
}

/// An id that was never given out (0 is the first that comes to mind), one of another peer, one that was answered already.
#[test]
fn an_answer_counts_once_and_only_for_who_was_asked() {
    let mut scene = Scene::new(&[30, 20]);
    let request = scene.poll()[0];
    scene.headers((request.0, 0, 0), chain(30, true)).expect("ignored");
    scene.headers((2, request.1, 0), chain(30, true)).expect("ignored");
    assert!(!scene.sync.is_behind(), "nothing of that was taken");
    scene.headers(request, chain(30, false)).expect("sound");
    assert!(scene.sync.is_behind());
    scene.headers(request, chain(12, true)).expect("an answer said twice is ignored");
    let bodies = scene.poll()[0];
    let body = vec![Body { transactions: vec![], withdrawals: None }; 100];
    for (peer, id) in [(bodies.0, 0), (3 - bodies.0, bodies.1), (bodies.0, request.1)] {
        // Too many of them: it would be a fault if anybody had asked.
        scene.bodies((peer, id, 0), body.clone()).expect("ignored");
    }
    assert_eq!(scene.bodies((bodies.0, bodies.1, 0), body.clone()), Err(SyncFault::TooMany));
    scene.bodies((bodies.0, bodies.1, 0), body).expect("it is no request any more");
}

/// However far behind and whoever is there: one question for headers, one for bodies a peer, and few in all.
#[test]
fn few_requests_are_under_way_at_once() {
    let mut scene = Scene::new(&[100_000; 40]);
    let mut number = 0;
    let mut parent = B256::ZERO;
    let mut under_way = Vec::new();
    for _ in 0..8 {
        let asked = scene.poll();
        let (headers, bodies): (Vec<_>, Vec<_>) = asked.into_iter().partition(|(.., first)| *first == number + 1);
        assert!(headers.len() <= 1, "{headers:?}");
        assert!(scene.poll().is_empty(), "nothing is asked twice");
        under_way.extend(bodies);
        let Some(request) = headers.first() else { break };
        let more: Vec<Header> = (number + 1..=number + 192)
            .map(|next| {
                let header = header(next, parent, 3, false);
                parent = block_hash(&header).expect("sound");
                header
            })
            .collect();
        number += 192;
        scene.headers(*request, more).expect("sound");
    }
    assert_eq!(number, 768, "headers are fetched ahead within a bound");
    let peers: std::collections::BTreeSet<u64> = under_way.iter().map(|(peer, ..)| *peer).collect();
    assert_eq!((under_way.len(), peers.len()), (6, 6), "six questions for bodies, each to another peer");
}

/// Two peers that claim a far height and answer nothing alternated between being asked and cooling, for ever.
#[test]
fn silent_claimants_cost_a_moment_and_never_stop_catching_up() {
    let chain = chain(400, true);
    for role in [None, Some(Role::Boot)] {
        let mut scene = Scene::new(&[]);
        // The liars are known as well as the honest one is, and were there first.
        for liar in 1..=4 {
            connect_as(&mut scene.peers, liar, 0x40 + liar as u8, 1_000_000 * liar, role);
        }
        connect_as(&mut scene.peers, 9, 0x49, 400, role);
        let took = scene.catch_up(&chain, &[9], 60_000).expect("it catches up");
        assert!(took <= 4 * 750, "{took} ms");
        // A known one among strangers is asked first.
        let mut scene = Scene::new(&[u64::MAX, 5_000]);
        connect_as(&mut scene.peers, 9, 0x49, 400, Some(Role::Boot));
        assert_eq!(scene.catch_up(&chain, &[9], 60_000), Some(0));
    }
}

#[test]
fn silence_is_paid_for_longer_each_time_and_reconnecting_does_not_help() {
    let mut scene = Scene::new(&[1_000_000]);
    let mut asked_at = Vec::new();
    for connection in 1..=2_000u64 {
        if !scene.poll().is_empty() {
            asked_at.push(scene.now);
            if asked_at.len() == 7 {
                break;
            }
            scene.now += 1_000;
            // It leaves with the question unanswered, and comes back with another connection.
            scene.leave(connection);
            connect_as(&mut scene.peers, connection + 1, 0x41, 1_000_000, None);
        } else {
            scene.leave(connection);
            connect_as(&mut scene.peers, connection + 1, 0x41, 1_000_000, None);
            scene.now += 500;
        }
    }
    let rests: Vec<u64> = asked_at.windows(2).map(|pair| (pair[1] - pair[0]) / 1_000).collect();
    assert_eq!(rests, [3, 5, 9, 17, 33, 65]);
}

/// What peers claim, in whatever way and number, is no reason to say that this node is behind.
#[test]
fn only_sealed_headers_and_signed_messages_prove_a_height() {
    let mut scene = Scene::new(&[1_000_000, 900, 50]);
    for _ in 0..100 {
        scene.poll();
        scene.now += 500;
        assert_eq!((scene.sync.proven(), scene.sync.started_at(), scene.sync.is_behind()), (0, None, false));
    }
    // Sealed by those whom we know.
    let mut scene = Scene::new(&[1_000_000]);
    let request = scene.poll()[0];
    scene.headers(request, chain(50, true)).expect("sound");
    assert_eq!(scene.sync.proven(), 50);
    scene.poll();
    assert_eq!((scene.sync.started_at(), scene.sync.is_behind()), (Some(0), true));
    // The last is sealed by two of four: one of them is honest, so the one before it is final.
    let mut scene = Scene::new(&[1_000_000]);
    let request = scene.poll()[0];
    let mut half = chain(9, true);
    let last = header(10, block_hash(&half[8]).expect("sound"), 2, true);
    half.push(last);
    scene.headers(request, half).expect("sound");
    assert_eq!(scene.sync.proven(), 9);
    // By signed messages of f+1, of which nobody needs to claim anything.
    let mut scene = Scene::new(&[0]);
    let head = HeadView { number: 0, hash: B256::ZERO, next: &scene.set };
    let asks = asked(&scene.sync.poll(scene.now, head, &mut scene.peers, 70, 250));
    assert_eq!(asks.iter().map(|ask| (ask.0, ask.2)).collect::<Vec<_>>(), [(1, 1)], "whoever is there is asked");
    assert_eq!(scene.sync.started_at(), Some(0));
}

/// A header an answer, each just in time, would be as good as silence.
#[test]
fn whoever_gives_little_is_asked_after_the_others() {
    let mut scene = Scene::new(&[1_000_000, 900]);
    let request = scene.poll()[0];
    assert_eq!(request.0, 1);
    let chain = chain(200, true);
    scene.headers(request, chain[..1].to_vec()).expect("sound");
    let request = scene.poll().into_iter().find(|(_, _, first)| *first == 2).expect("the next are asked for");
    assert_eq!(request.0, 2);
    scene.headers(request, chain[1..193].to_vec()).expect("sound");
    let request = scene.poll().into_iter().find(|(_, _, first)| *first == 194).expect("the next are asked for");
    assert_eq!(request.0, 2);
}

/// Strangers who keep silent, and come again under fresh keys, went each time before a known node on a slow line.
#[test]
fn strangers_under_fresh_keys_leave_a_known_node_every_second_question() {
    const LINE_MS: u64 = 1_000;
    let mut scene = Scene::new(&[]);
    connect_as(&mut scene.peers, 1, 0x21, 2_000, Some(Role::Boot));
    let mut fresh = 2..200;
    for id in fresh.by_ref().take(10) {
        connect_as(&mut scene.peers, id, 0x30 + id as u8, 1_000_000, None);
    }
    let chain = chain(2_000, true);
    let began = scene.now;
    let (mut number, mut hash) = (0u64, B256::ZERO);
    let mut answers: Vec<(u64, (u64, u64, u64))> = Vec::new();
    while number < 2_000 {
        let head = HeadView { number, hash, next: &scene.set };
        let asks = asked(&scene.sync.poll(scene.now, head, &mut scene.peers, 0, 250));
        for ask in asks {
            if ask.0 == 1 {
                answers.push((scene.now + LINE_MS, ask));
            } else {
                scene.leave(ask.0);
                let id = fresh.next().expect("few enough were asked");
                connect_as(&mut scene.peers, id, 0x30u8.wrapping_add(id as u8), 1_000_000, None);
            }
        }
        let wake = scene.sync.wake_at().unwrap_or(u64::MAX);
        match answers.first().copied().filter(|(at, _)| *at <= wake) {
            Some((at, (peer, id, first))) => {
                answers.remove(0);
                scene.now = scene.now.max(at);
                let from = (first - 1) as usize;
                let headers = chain.get(from..chain.len().min(from + 192)).unwrap_or_default().to_vec();
                let head = HeadView { number, hash, next: &scene.set };
                scene.sync.on_headers(scene.now, PeerId(peer), id, headers, head, &mut scene.peers).expect("sound");
            }
            None => scene.now = wake.min(scene.now + 250),
        }
        while let Some(block) = scene.next(number, hash) {
            (number, hash) = (block.header.number, block.hash().expect("sound"));
        }
        assert!(scene.now < began + 60_000, "block {number} after a minute");
    }
}

/// It claims the next block only, gives it just before the next peer would be asked, and claims one more: never late, never
/// short of its own claim, and first for being the oldest connection.
#[test]
fn whoever_claims_one_more_each_time_does_not_set_the_pace() {
    let mut scene = Scene::new(&[1, 2_000, 2_000]);
    let chain = chain(2_000, true);
    let began = scene.now;
    let (mut number, mut hash) = (0u64, B256::ZERO);
    let mut answers: Vec<(u64, (u64, u64, u64))> = Vec::new();
    while number < 2_000 {
        let head = HeadView { number, hash, next: &scene.set };
        for ask in asked(&scene.sync.poll(scene.now, head, &mut scene.peers, 0, 250)) {
            answers.push((scene.now + if ask.0 == 1 { 690 } else { 100 }, ask));
        }
        let wake = scene.sync.wake_at().unwrap_or(u64::MAX);
        answers.sort_unstable();
        match answers.first().copied().filter(|(at, _)| *at <= wake) {
            Some((at, (peer, id, first))) => {
                answers.remove(0);
                scene.now = scene.now.max(at);
                if peer == 1 {
                    scene.peers.get_mut(PeerId(1)).expect("connected").claimed = first + 1;
                }
                let most = if peer == 1 { 1 } else { 192 };
                let from = (first - 1) as usize;
                let headers = chain.get(from..chain.len().min(from + most)).unwrap_or_default().to_vec();
                scene.sync.on_headers(scene.now, PeerId(peer), id, headers, head, &mut scene.peers).expect("sound");
            }
            None => scene.now = wake.max(scene.now + 1),
        }
        while let Some(block) = scene.next(number, hash) {
            (number, hash) = (block.header.number, block.hash().expect("sound"));
        }
        assert!(scene.now < began + 10_000, "block {number} after 10 s");
    }
}

#[test]
fn whoever_is_slow_with_the_next_body_is_overtaken() {
    let mut scene = Scene::new(&[30, 30]);
    let request = scene.poll()[0];
    scene.headers(request, chain(30, false)).expect("sound");
    let first = scene.poll();
    assert_eq!(first.iter().map(|ask| (ask.0, ask.2)).collect::<Vec<_>>(), [(1, 30)]);
    scene.now += 749;
    assert!(scene.poll().is_empty());
    scene.now += 1;
    let second = scene.poll();
    assert_eq!(second.iter().map(|ask| (ask.0, ask.2)).collect::<Vec<_>>(), [(2, 30)]);
    let empty = Body { transactions: vec![], withdrawals: None };
    scene.bodies(second[0], vec![empty; 30]).expect("sound");
    // None of these belongs to its header: the first may still answer, and who sent them is not asked again at once.
    assert!(scene.poll().is_empty());
    assert!(scene.peers.get(PeerId(second[0].0)).is_some_and(|peer| peer.rests(scene.now)));
}

/// Each of these numbers was added to something, or reserved room.
#[test]
fn heights_at_the_end_of_the_range_change_nothing() {
    for height in [u64::MAX, u64::MAX - 1, u64::MAX - 10, 1 << 63] {
        let mut scene = Scene::new(&[height, height, 5]);
        let took = scene.catch_up(&chain(5, true), &[3], 20_000).expect("it catches up");
        assert!(took <= 1_500, "{took}");
        assert_eq!(scene.sync.proven(), 5);
        let set = scene.set.clone();
        let head = HeadView { number: 5, hash: B256::ZERO, next: &set };
        let block = Arc::new(Block { header: header(height, B256::ZERO, 3, true), body: Body::default() });
        assert!(!scene.sync.offer(head, block, PeerId(1)));
        assert_eq!(scene.sync.held(), (0, 0));
    }
}

/// A quorum of former keys can seal another history; who knows one block of the true one is not taken in.
#[test]
fn a_history_without_the_checkpoint_is_refused() {
    let good = chain(5, true);
    let hash = block_hash(&good[2]).expect("sound");
    let mut scene = Scene::new(&[5]);
    scene.sync = Sync::new(Some(Checkpoint { number: 3, hash }));
    let request = scene.poll()[0];
    scene.headers(request, good.clone()).expect("it is the chain");
    assert_eq!(scene.sync.proven(), 5);
    let expected = Checkpoint { number: 3, hash: B256::repeat_byte(3) };
    let mut scene = Scene::new(&[5]);
    scene.sync = Sync::new(Some(expected));
    let request = scene.poll()[0];
    assert_eq!(scene.headers(request, good), Err(SyncFault::OffCheckpoint { got: hash, expected, sealed: false }));
    assert!(!scene.sync.is_behind() && scene.sync.held() == (0, 0), "nothing of it is taken");
}
