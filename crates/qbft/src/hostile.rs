//! What hostile peers can make us hold and do: bounded, and never a panic. Tests of the whole core from inside.

use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes};
use ipe_types::extra::ExtraData;
use ipe_types::header::EMPTY_ROOT;
use ipe_types::message::{
    CommitPayload, Payload, PreparePayload, Proposal, ProposalPayload, RoundChange, RoundChangePayload, Signed,
};
use ipe_types::{Block, Dialect, Header, Kind, Message, NodeKey, ValidatorSet};
use proptest::prelude::*;

use crate::bounds::{
    EARLY_ROUNDS_PER_AUTHOR, FUTURE_BYTES, FUTURE_DISTANCE, FUTURE_MESSAGES, FUTURE_PER_AUTHOR, LEAP_ROUND, MAX_ROUND,
    ROUND_CHANGES_PER_AUTHOR,
};
use crate::future::Future;
use crate::{Effect, Event, HeadInfo, PreparedCertificate, Reason, Restored, Settings, State, Timer, step};

fn key(index: u8) -> NodeKey {
    NodeKey::from_bytes([index + 1; 32]).expect("small numbers are keys")
}

fn keys() -> Vec<NodeKey> {
    let mut keys: Vec<NodeKey> = (0..4).map(key).collect();
    keys.sort_by_key(NodeKey::address);
    keys
}

fn head(number: u64) -> HeadInfo {
    HeadInfo {
        number,
        hash: B256::repeat_byte(number as u8),
        timestamp_s: 1_700_000_000,
        coinbase: Address::ZERO,
        validators: keys().iter().map(NodeKey::address).collect::<ValidatorSet>(),
        period_ms: 1000,
        empty_period_ms: 0,
        request_timeout_ms: 1000,
    }
}

fn sign<P: Payload>(who: usize, payload: P) -> Signed<P> {
    let key = keys().get(who).cloned().unwrap_or_else(|| key(99));
    Signed::sign_with(payload, |hash| key.sign(hash)).expect("our keys sign")
}

fn block(number: u64, by: usize, round: u32, padding: usize) -> Arc<Block> {
    let coinbase = keys().get(by).map(NodeKey::address).unwrap_or_default();
    let extra = ExtraData { vanity: vec![7; padding].into(), round, ..ExtraData::default() };
    let header =
        Header { number, beneficiary: coinbase, transactions_root: EMPTY_ROOT, extra_data: extra.encode(), ..Header::default() };
    Arc::new(Block { header, ..Block::default() })
}

fn change(who: usize, height: u64, round: u32) -> Message {
    let signed = sign(who, RoundChangePayload { height, round, prepared: None });
    Message::RoundChange(Box::new(RoundChange { signed, block: None, access_list: None, prepares: vec![] }))
}

fn prepare(who: usize, height: u64, round: u32, mark: u8) -> Message {
    Message::Prepare(sign(who, PreparePayload { height, round, digest: B256::repeat_byte(mark) }))
}

fn proposal(who: usize, height: u64, round: u32, padding: usize) -> Message {
    let payload = ProposalPayload { height, round, block: block(height, who, round, padding), access_list: None };
    Message::Proposal(Box::new(Proposal { signed: sign(who, payload), round_changes: vec![], prepares: vec![] }))
}

fn state() -> State {
    let mut state = State::new(Settings { local: keys()[3].address(), dialect: Dialect::Legacy });
    step(&mut state, 1_700_000_001_000.into(), Event::HeadAdvanced(head(0)));
    state
}

fn assert_bounded(state: &State) {
    let validators = 4;
    let (count, bytes) = state.future.held();
    assert!(count <= FUTURE_MESSAGES && bytes <= FUTURE_BYTES, "{count} messages of {bytes} bytes wait");
    let Some(height) = &state.inhand else { return };
    let (count, _) = height.round_changes.held();
    assert!(count <= validators * ROUND_CHANGES_PER_AUTHOR, "{count} round changes");
    assert!(height.votes.held() <= validators * EARLY_ROUNDS_PER_AUTHOR, "{} votes", height.votes.held());
    assert!(height.round_number().is_none_or(|round| round <= MAX_ROUND));
    assert!(height.judged.len() <= 4);
}

fn hear(state: &mut State, message: Message) -> Vec<Effect> {
    step(state, 1_700_000_001_000.into(), Event::Received(Arc::new(message)))
}

fn reasons(effects: &[Effect]) -> Vec<&Reason> {
    effects
        .iter()
        .filter_map(|effect| if let Effect::Report(rejection) = effect { Some(&rejection.reason) } else { None })
        .collect()
}

fn asks_for_a_check(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::CheckBlock { .. }))
}

/// The block with the same header, and so the same hash and digests, and another body.
fn with_another_body(block: &Block) -> Block {
    let mut other = block.clone();
    other.body.withdrawals = Some(Vec::new());
    other
}

/// What no hash covers has one form: otherwise a valid block could be proposed in one that is too large for the RoundChanges
/// that would have to carry it.
#[test]
fn a_proposal_has_one_form() {
    let sound = block(1, 0, 0, 32);
    let mut longer = (*sound).clone();
    let mut items = longer.header.extra_data.to_vec();
    items.extend_from_slice(&[0x01; 2]);
    // A longer list with two more items: what decoding passes over.
    items[0] += 2;
    longer.header.extra_data = items.into();
    let mut sealed = (*sound).clone();
    sealed.header = ipe_types::header::with_round_and_seals(&sound.header, 0, vec![key(0).sign(B256::ZERO)]).expect("decodes");
    let cases = [
        (sound.clone(), None, true),
        (sound.clone(), Some(vec![0x80]), true),
        (sound.clone(), Some(vec![0xc0]), false),
        (sound.clone(), Some([vec![0xfa, 1, 0, 0], vec![0; 1 << 16]].concat()), false),
        (Arc::new(longer), None, false),
        (Arc::new(sealed), None, false),
    ];
    for (number, (block, access_list, taken)) in cases.into_iter().enumerate() {
        assert_eq!(block.hash(), sound.hash(), "case {number}");
        let payload = ProposalPayload { height: 1, round: 0, block, access_list: access_list.map(Bytes::from) };
        let proposal = Proposal { signed: sign(0, payload), round_changes: vec![], prepares: vec![] };
        let effects = hear(&mut state(), Message::Proposal(Box::new(proposal)));
        assert_eq!(asks_for_a_check(&effects), taken, "case {number}: {:?}", reasons(&effects));
    }
}

/// The proposer of a later round proposes a prepared block again with another body. All digests agree, and whoever took it for
/// the judged one would help to decide a block that nobody can import.
#[test]
fn a_judged_block_with_another_body_is_judged_again() {
    for another in [false, true] {
        let mut state = state();
        let first = block(1, 0, 0, 32);
        let digest = first.hash().expect("decodes");
        assert!(asks_for_a_check(&hear(&mut state, proposal(0, 1, 0, 32))));
        step(&mut state, 1_700_000_001_000.into(), Event::BlockChecked { height: 1, round: 0, hash: digest, verdict: Ok(()) });
        let header = ipe_types::header::with_round_and_seals(&first.header, 1, Vec::new()).expect("decodes");
        let again = Block { header, body: first.body.clone() };
        let again = if another { with_another_body(&again) } else { again };
        assert_eq!(again.hash(), Ok(digest));
        let change = |who| sign(who, RoundChangePayload { height: 1, round: 1, prepared: Some((0, digest)) });
        let prepare = |who| sign(who, PreparePayload { height: 1, round: 0, digest });
        let payload = ProposalPayload { height: 1, round: 1, block: Arc::new(again), access_list: None };
        let proposal = Proposal {
            signed: sign(1, payload),
            round_changes: (0..3).map(change).collect(),
            prepares: (0..3).map(prepare).collect(),
        };
        let effects = hear(&mut state, Message::Proposal(Box::new(proposal)));
        assert_eq!(asks_for_a_check(&effects), another, "{:?}", reasons(&effects));
    }
}

/// No signature covers the block of a RoundChange, and no digest its body. An honest proposer that took a changed one over
/// would lose its round.
#[test]
fn a_prepared_block_with_another_body_is_not_taken_over() {
    for another in [false, true] {
        let mut state = state();
        let prepared = block(1, 0, 0, 32);
        let digest = prepared.hash().expect("decodes");
        let block = if another { Arc::new(with_another_body(&prepared)) } else { prepared };
        let signed = sign(0, RoundChangePayload { height: 1, round: 1, prepared: Some((0, digest)) });
        let prepares = (0..3).map(|who| sign(who, PreparePayload { height: 1, round: 0, digest })).collect();
        let change = RoundChange { signed, block: Some(block), access_list: None, prepares };
        let effects = hear(&mut state, Message::RoundChange(Box::new(change)));
        let refused = reasons(&effects).iter().any(|reason| matches!(reason, Reason::Body));
        assert_eq!(refused, another, "{effects:?}");
        assert_eq!(state.inhand.as_ref().map(|height| height.round_changes.held().0), Some(usize::from(!another)));
    }
}

#[test]
fn every_round_of_one_author_costs_the_same_room() {
    let mut state = state();
    for round in (0..=LEAP_ROUND + 1).chain(MAX_ROUND - 1..=MAX_ROUND + 1).chain([u32::MAX]) {
        for message in [change(0, 1, round), prepare(0, 1, round, 1), prepare(0, 1, round, 2)] {
            step(&mut state, 1_700_000_001_000.into(), Event::Received(Arc::new(message)));
        }
        assert_bounded(&state);
    }
    let height = state.inhand.as_ref().expect("we validate");
    assert_eq!(height.round_changes.held().0, ROUND_CHANGES_PER_AUTHOR);
    assert_eq!(height.round_number(), None, "one author pulls nobody");
}

#[test]
fn later_heights_have_their_room() {
    let mut state = state();
    let mut full = 0;
    for height in 2..=FUTURE_DISTANCE + 3 {
        for who in 0..4 {
            for round in 0..40 {
                for effect in step(&mut state, 0.into(), Event::Received(Arc::new(prepare(who, height, round, 1)))) {
                    let refused = matches!(
                        &effect,
                        Effect::Report(why) if matches!(why.reason, Reason::FutureFull | Reason::TooFarAhead { .. })
                    );
                    assert!(refused, "{effect:?}");
                    full += 1;
                }
            }
        }
        assert_bounded(&state);
    }
    assert_eq!(state.future.held().0, FUTURE_DISTANCE as usize * 4 * FUTURE_PER_AUTHOR);
    assert!(full > 0);
    // With the head they are taken, and what is past is dropped.
    step(&mut state, 0.into(), Event::HeadAdvanced(head(5)));
    assert_eq!(state.future.held().0, (FUTURE_DISTANCE as usize - 5) * 4 * FUTURE_PER_AUTHOR);
    step(&mut state, 0.into(), Event::HeadAdvanced(head(500)));
    assert_eq!(state.future.held(), (0, 0));
}

#[test]
fn large_messages_fill_their_room_and_the_highest_height_gives_way() {
    let mut future = Future::default();
    let large = 4 * 1024 * 1024;
    let mut refused = 0;
    for height in 2..=8 {
        for who in 0..4 {
            refused += usize::from(future.insert(Arc::new(proposal(who, height, 0, large)), 1).is_err());
        }
        let (_, bytes) = future.held();
        assert!(bytes <= FUTURE_BYTES);
    }
    assert!(refused > 0);
    // The lowest height is still there.
    assert_eq!(future.take(2).len(), 4);
}

/// Found by attacking the release binary: the next honest message put the whole height of all others out.
#[test]
fn who_fills_the_room_of_later_heights_puts_out_its_own() {
    let mut future = Future::default();
    let honest: Vec<_> = (2..=11)
        .flat_map(|height| {
            (1..4).flat_map(move |who| [proposal(who, height, 0, 100_000), change(who, height, 1), prepare(who, height, 0, 1)])
        })
        .collect();
    let large = 4 * 1024 * 1024;
    for height in (2..=11).rev() {
        let _ = future.insert(Arc::new(proposal(0, height, 0, large)), 1);
    }
    for message in &honest {
        assert_eq!(future.insert(Arc::new(message.clone()), 1), Ok(()), "height {} of {}", message.height(), message.author());
    }
    for height in 2..=11 {
        let _ = future.insert(Arc::new(proposal(0, height, 1, large)), 1);
        assert!(future.held().1 <= FUTURE_BYTES);
    }
    let kept: usize =
        (2..=11).map(|height| future.take(height).iter().filter(|message| message.author() != keys()[0].address()).count()).sum();
    assert_eq!(kept, honest.len());
}

/// By number as well: many small ones of one author.
#[test]
fn small_messages_of_one_author_put_out_its_own() {
    let mut future = Future::default();
    let keys: Vec<NodeKey> = (0..120).map(key).collect();
    let vote = |who: usize, height, round| {
        let payload = PreparePayload { height, round, digest: B256::ZERO };
        Arc::new(Message::Prepare(Signed::sign_with(payload, |hash| keys[who].sign(hash)).expect("our keys sign")))
    };
    for height in 2..=11 {
        (0..16).for_each(|round| drop(future.insert(vote(0, height, round), 1)));
    }
    for height in 2..=9 {
        for who in 1..120 {
            assert_eq!(future.insert(vote(who, height, 0), 1), Ok(()), "{height} {who}");
        }
    }
    assert_eq!(future.held().0, FUTURE_MESSAGES);
}

/// A copy with a foreign Prepare took the place of the sound one, at later heights also in later rounds.
#[test]
fn later_rounds_of_later_heights_are_verified_before_they_are_held() {
    let mut state = state();
    let digest = block(2, 1, 0, 0).hash().expect("extra data decodes");
    let prepares: Vec<_> = (0..3).map(|who| sign(who, PreparePayload { height: 2, round: 0, digest })).collect();
    let signed = sign(1, RoundChangePayload { height: 2, round: 1, prepared: Some((0, digest)) });
    let sound = RoundChange { signed, block: Some(block(2, 1, 0, 0)), access_list: None, prepares };
    let mut spoiled = sound.clone();
    spoiled.prepares.push(sign(7, PreparePayload { height: 2, round: 0, digest }));
    let mut hear = |change: &RoundChange| {
        let message = Message::RoundChange(Box::new(change.clone()));
        step(&mut state, 0.into(), Event::Received(Arc::new(message)));
        state.future.held().0
    };
    assert_eq!(hear(&spoiled), 0);
    assert_eq!(hear(&sound), 1);
}

/// The digest that a quorum prepared covers the header, so that whoever passes a RoundChange on could change the body.
#[test]
fn a_prepared_block_is_the_one_that_its_header_names() {
    let mut state = state();
    step(&mut state, 1_700_000_001_000.into(), Event::TimerFired(Timer::Block { height: 1 }));
    let sound = block(1, 1, 0, 0);
    let digest = sound.hash().expect("extra data decodes");
    let prepares: Vec<_> = (0..3).map(|who| sign(who, PreparePayload { height: 1, round: 0, digest })).collect();
    let signed = sign(1, RoundChangePayload { height: 1, round: 1, prepared: Some((0, digest)) });
    let body = ipe_types::Body { withdrawals: Some(Vec::new()), ..Default::default() };
    let other = Arc::new(Block { body, ..(*sound).clone() });
    let mut hear = |block: Arc<Block>| {
        let change = RoundChange { signed: signed.clone(), block: Some(block), access_list: None, prepares: prepares.clone() };
        step(&mut state, 1_700_000_001_000.into(), Event::Received(Arc::new(Message::RoundChange(Box::new(change)))));
        state.inhand.as_ref().expect("we validate").round_changes.held().0
    };
    assert_eq!(hear(other), 0);
    assert_eq!(hear(sound), 1);
}

/// Unusual heads: no validators, the last number, no timeout.
#[test]
fn strange_heads_are_borne() {
    for number in [0, u64::MAX - 1, u64::MAX] {
        for (period_ms, request_timeout_ms) in [(0, 0), (1, 1), (u64::MAX, u64::MAX)] {
            for empty in [true, false] {
                let mut head = head(number);
                head.period_ms = period_ms;
                head.request_timeout_ms = request_timeout_ms;
                head.empty_period_ms = period_ms;
                head.timestamp_s = number;
                if empty {
                    head.validators = ValidatorSet::default();
                }
                let height = number.saturating_add(1);
                for now in [0, 1_700_000_001_000, u64::MAX] {
                    let mut state = State::new(Settings { local: keys()[3].address(), dialect: Dialect::Besu26 });
                    step(&mut state, now.into(), Event::HeadAdvanced(head.clone()));
                    step(&mut state, now.into(), Event::TimerFired(Timer::Block { height }));
                    for round in 0..3 {
                        step(&mut state, now.into(), Event::TimerFired(Timer::Round { height, round }));
                    }
                    step(&mut state, now.into(), Event::TransactionsWaiting);
                    for who in 0..4 {
                        step(&mut state, now.into(), Event::Received(Arc::new(change(who, height, 1000))));
                    }
                    for _ in 0..3 {
                        step(&mut state, u64::MAX.into(), Event::TimerFired(Timer::Round { height, round: 1000 }));
                    }
                    assert_bounded(&state);
                }
            }
        }
    }
}

fn any_message() -> impl Strategy<Value = Message> {
    let round = prop_oneof![0u32..4, Just(999), Just(1000), Just(1001), Just(u32::MAX)];
    let height = prop_oneof![10 => Just(1u64), 2 => 0u64..14, 1 => Just(u64::MAX)];
    (0usize..5, height, round, 0u8..3, 0u8..8).prop_map(|(who, height, round, mark, kind)| match kind {
        0 => proposal(who, height, round, usize::from(mark)),
        1 => {
            let round_changes = (0..3).map(|who| sign(who, RoundChangePayload { height, round, prepared: None })).collect();
            let block = block(height, who, round, usize::from(mark));
            let payload = ProposalPayload { height, round, block, access_list: None };
            Message::Proposal(Box::new(Proposal { signed: sign(who, payload), round_changes, prepares: vec![] }))
        }
        2 | 3 => prepare(who, height, round, mark),
        4 => {
            let block = block(height, 0, round, 1);
            let digest = ipe_types::header::digest(&block.header).unwrap_or_default();
            Message::Prepare(sign(who, PreparePayload { height, round, digest }))
        }
        5 => {
            let seal = key(who as u8).sign(B256::repeat_byte(mark));
            Message::Commit(sign(who, CommitPayload { height, round, digest: B256::repeat_byte(mark), seal }))
        }
        6 => {
            let held = block(height, 0, round.saturating_sub(1), 1);
            let prepared_round = round.saturating_sub(1);
            let digest = ipe_types::header::digest(&held.header).unwrap_or_default();
            let prepares = (0..3).map(|who| sign(who, PreparePayload { height, round: prepared_round, digest })).collect();
            let prepared = Some((prepared_round, digest));
            Message::RoundChange(Box::new(RoundChange {
                signed: sign(who, RoundChangePayload { height, round, prepared }),
                block: Some(held),
                access_list: Some(Bytes::from_static(&[0x80])),
                prepares,
            }))
        }
        _ => change(who, height, round),
    })
}

fn any_event() -> impl Strategy<Value = Event> {
    let round = prop_oneof![0u32..4, Just(1000u32)];
    prop_oneof![
        12 => any_message().prop_map(|message| Event::Received(Arc::new(message))),
        2 => Just(Event::TimerFired(Timer::Block { height: 1 })),
        4 => round.clone().prop_map(|round| Event::TimerFired(Timer::Round { height: 1, round })),
        1 => Just(Event::TimerFired(Timer::Resend { height: 1 })),
        2 => (round.clone(), 0usize..3, any::<bool>()).prop_map(|(round, padding, valid)| Event::BlockChecked {
            height: 1,
            round,
            hash: block(1, 0, round, padding).hash().unwrap_or_default(),
            verdict: if valid { Ok(()) } else { Err("no".into()) },
        }),
        2 => (round.clone(), any::<bool>()).prop_map(|(round, empty)| Event::BlockBuilt {
            height: 1,
            round,
            block: block(1, 3, round, 9),
            empty,
        }),
        1 => any::<bool>().prop_map(|waiting| Event::TransactionsAnswered { height: 1, waiting }),
        1 => Just(Event::TransactionsWaiting),
        1 => round.clone().prop_map(|round| Event::SignRefused { height: 1, round, kind: Kind::RoundChange }),
        1 => (0u64..3).prop_map(|number| Event::HeadAdvanced(head(number))),
        1 => (round, any::<bool>()).prop_map(|(round, held)| {
            let certificate = held.then(|| Arc::new(PreparedCertificate {
                round: 0,
                digest: B256::ZERO,
                block: block(1, 0, 0, 1),
                access_list: None,
                prepares: vec![],
            }));
            Event::Restored(Restored { height: 1, round, certificate, messages: vec![Arc::new(change(3, 1, round))] })
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// Any mix of events in any order: no panic, bounded, at most one decision a height, and of one round never two
    /// different messages of a kind.
    #[test]
    fn nothing_breaks_it(events in prop::collection::vec((any_event(), 0u64..3000), 1..60)) {
        let mut state = state();
        let mut now = 1_700_000_001_000;
        let mut decided = std::collections::BTreeSet::new();
        let mut said = std::collections::BTreeMap::new();
        for (event, later) in events {
            now += later;
            let mut queue = std::collections::VecDeque::from([event]);
            while let Some(event) = queue.pop_front() {
                // A restart brings a journal; here it may contradict what was signed, which the gate would refuse.
                if matches!(event, Event::Restored(_)) {
                    said.clear();
                }
                for effect in step(&mut state, now.into(), event) {
                    match effect {
                        Effect::Decide { block, .. } => prop_assert!(decided.insert(block.header.number)),
                        Effect::Sign(draft) => {
                            let place = (draft.height(), draft.round(), draft.kind());
                            let before = said.insert(place, draft.identity());
                            prop_assert!(before.is_none_or(|before| before == draft.identity()), "{place:?} twice");
                            let own = draft.sign_with(|hash| keys()[3].sign(hash)).expect("our keys sign");
                            queue.push_back(Event::Received(Arc::new(own)));
                        }
                        _ => {}
                    }
                }
                assert_bounded(&state);
            }
        }
    }
}
