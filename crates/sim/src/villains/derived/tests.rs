use std::collections::BTreeSet;
use std::sync::Arc;

use alloy_consensus::Header;
use ipe_types::Address;
use ipe_types::block::{Body, Withdrawal};
use ipe_types::extra::Vote;
use ipe_types::message::{Proposal, RoundChange};

use super::*;
use crate::rng::Rng;
use crate::setup::{class, key};
use crate::villains::{Kind, commit, prepare};

/// A header with every field that any fork has, each named here: a field that is added does not compile until it is.
fn full_header() -> (Header, usize) {
    let header = Header {
        extra_data: ExtraData {
            vanity: vec![0; 32].into(),
            validators: vec![Address::repeat_byte(1), Address::repeat_byte(2)],
            vote: Some(Vote { recipient: Address::repeat_byte(3), add: true }),
            round: 1,
            seals: vec![],
        }
        .encode(),
        base_fee_per_gas: Some(7),
        withdrawals_root: Some(B256::repeat_byte(1)),
        blob_gas_used: Some(0),
        excess_blob_gas: Some(0),
        parent_beacon_block_root: Some(B256::ZERO),
        requests_hash: Some(B256::repeat_byte(2)),
        block_access_list_hash: Some(B256::repeat_byte(3)),
        slot_number: Some(1),
        number: 300,
        ..Header::default()
    };
    let Header {
        parent_hash: _,
        ommers_hash: _,
        beneficiary: _,
        state_root: _,
        transactions_root: _,
        receipts_root: _,
        logs_bloom: _,
        difficulty: _,
        number: _,
        gas_limit: _,
        gas_used: _,
        timestamp: _,
        extra_data: _,
        mix_hash: _,
        nonce: _,
        base_fee_per_gas: _,
        withdrawals_root: _,
        blob_gas_used: _,
        excess_blob_gas: _,
        parent_beacon_block_root: _,
        requests_hash: _,
        block_access_list_hash: _,
        slot_number: _,
    } = &header;
    (header, 23)
}

fn signed<P: ipe_types::message::Payload>(payload: P, author: usize) -> Signed<P> {
    let key = key(class::VALIDATOR, author);
    Signed::sign_with(payload, |hash| key.sign(hash)).expect("a sound key")
}

/// One message of each kind with everything in it; every type that is part of one is taken apart by name.
fn samples() -> Vec<Message> {
    let (header, _) = full_header();
    let Body { transactions: _, withdrawals: _ } = Body::default();
    let Block { header: _, body: _ } = Block::default();
    let withdrawals = Some(Vec::<Withdrawal>::new());
    let block = Arc::new(Block { header, body: Body { transactions: Vec::new(), withdrawals } });
    let digest = B256::repeat_byte(9);
    let (none, empty) = (Bytes::from_static(&[0x80]), || Some(Bytes::from_static(&[0x80])));
    let payload = ProposalPayload { height: 300, round: 1, block: block.clone(), access_list: Some(none) };
    let ProposalPayload { height: _, round: _, block: _, access_list: _ } = &payload;
    let change = RoundChangePayload { height: 300, round: 1, prepared: Some((0, digest)) };
    let RoundChangePayload { height: _, round: _, prepared: _ } = &change;
    let vote = PreparePayload { height: 300, round: 0, digest };
    let PreparePayload { height: _, round: _, digest: _ } = &vote;
    let proposal = Proposal {
        signed: signed(payload, 1),
        round_changes: vec![signed(change.clone(), 2)],
        prepares: vec![signed(vote.clone(), 3)],
    };
    let Proposal { signed: _, round_changes: _, prepares: _ } = &proposal;
    let leaving = RoundChange {
        signed: signed(change, 1),
        block: Some(block.clone()),
        access_list: empty(),
        prepares: vec![signed(vote, 3)],
    };
    let RoundChange { signed: _, block: _, access_list: _, prepares: _ } = &leaving;
    let validator = key(class::VALIDATOR, 1);
    let commit = commit(&validator, 300, 1, &block.header).expect("a sound header");
    if let Message::Commit(commit) = &commit {
        let CommitPayload { height: _, round: _, digest: _, seal: _ } = commit.payload();
    }
    let prepare = prepare(&validator, 300, 1, digest).expect("a sound key");
    vec![Message::Proposal(Box::new(proposal)), prepare, commit, Message::RoundChange(Box::new(leaving))]
}

#[test]
fn every_field_of_a_header_is_an_item_of_the_tree() {
    let (header, fields) = full_header();
    let block = Block { header, body: Body { transactions: Vec::new(), withdrawals: Some(Vec::new()) } };
    let tree = Item::read(&block.to_rlp()).expect("it was just written");
    assert_eq!(tree.at(&[0]).and_then(Item::items).map(<[Item]>::len), Some(fields));
    assert_eq!(tree.items().map(<[Item]>::len), Some(4), "header, transactions, ommers, withdrawals");
    let extra = tree.at(&[0, 12]).expect("the extra data");
    assert!(matches!(extra, Item::Nested(_)), "the extra data is read as the list that it is: {extra:?}");
    assert_eq!(extra.items().map(<[Item]>::len), Some(5));
}

#[test]
fn every_item_of_every_message_is_changed_and_signed_again() {
    let villain_key = key(class::VALIDATOR, 0);
    let mut rng = Rng::new(1, "mutations");
    for message in samples() {
        let kind = message.kind();
        let bytes = message.encode();
        let tree = Item::read(&bytes).expect("it was just written");
        assert_eq!(tree.write(), bytes.to_vec(), "{kind:?}");
        let mut untouched: BTreeSet<Place> = tree.places().into_iter().collect();
        let mut sound = 0;
        for place in tree.places() {
            for mutation in Mutation::ALL {
                let mut other = tree.clone();
                if !apply(&mut other, &place, mutation, None, 64, &mut |end| rng.below(end)) {
                    continue;
                }
                untouched.remove(&place);
                sign_again(&mut other, kind, &villain_key);
                let written = other.write();
                assert_ne!(written, bytes.to_vec(), "{kind:?} {place:?} {mutation:?}");
                if let Ok(read) = Message::decode(kind.code(), &written) {
                    sound += usize::from(read.author() == villain_key.address());
                }
            }
        }
        assert!(untouched.is_empty(), "{kind:?}: nothing changes {untouched:?}");
        assert!(sound > 10, "{kind:?}: {sound} changes still decode as the villain's");
    }
}

#[test]
fn a_spoiled_copy_keeps_its_author_and_its_signed_part() {
    let samples = samples();
    let villain_key = key(class::OTHER, 1);
    let mut villain = Villain::new(Kind::Derived, villain_key.clone(), vec![villain_key], Rng::new(3, "villain"));
    for message in &samples {
        villain.hear(message.kind().code(), &message.encode());
    }
    let proposal = &samples[0];
    let copies: BTreeSet<Bytes> = (0..400).filter_map(|_| changed(&mut villain, proposal, false)).collect();
    let sound =
        copies.iter().filter_map(|bytes| Message::decode(0x12, bytes).ok()).filter(|copy| copy.author() == proposal.author());
    assert!(sound.count() > 20, "of {} copies", copies.len());
}
