//! What a replica does with blocks that are meant to harm it.

mod world;

use ipe_engine::pool::Refusal;
use ipe_types::eth::{BlockHashNumber, EthMessage};
use ipe_types::{B256, Block, ExtraData, Header, U256};

/// A proposal that kept an earlier run busy without end is handed out again after the restart: it gets no vote, and when a
/// quorum of others sealed it, it is imported.
#[test]
fn a_distrusted_proposal_gets_no_vote_and_is_imported_when_it_is_sealed() {
    let mut undisturbed = world::mesh(4);
    undisturbed.run_for(3_000);
    let names = undisturbed.names();
    let proposed = undisturbed.hash_at(&names[0], 1).expect("block 1");

    let mut one = world::mesh(4);
    one.distrust(&names[0], proposed);
    one.run_for(3_000);
    assert_eq!(one.hash_at(&names[0], 1), Some(proposed), "three votes are enough");
    assert!(one.height_of(&names[0]) >= 2);

    let mut all = world::mesh(4);
    names.iter().for_each(|name| all.distrust(name, proposed));
    all.run_for(20_000);
    for name in &names {
        let first = all.hash_at(name, 1).expect("another block 1, of a later round");
        assert_ne!(first, proposed, "only its proposer voted for it");
    }
    assert!(all.agree());
}

/// A validator that does not ask the rules proposes what it likes: nobody votes for it, and the others go on. What reaches a pool
/// is refused by its rules, from a client as from a peer.
#[test]
fn a_proposal_with_a_sender_who_is_not_permitted_gets_no_vote() {
    let mut world = world::ruled(4, &[0]);
    world.run_for(1_500);
    assert!(matches!(world.submit_of_a_stranger("v1", 0), Err(Refusal::NotPermitted { .. })));
    let forbidden = world.submit_of_a_stranger("v0", 0).expect("it asks nobody");
    let permitted = world.submit("v1", 0);
    world.run_for(40_000);
    for name in world.names() {
        assert!(!world.is_mined(&name, &forbidden), "{name} has it");
        assert!(world.is_mined(&name, &permitted), "{name}");
    }
    assert!(world.agree() && world.height_of("v1") >= 15, "{:?}", world.heights());
}

/// Validators that are more than a third and ask nobody seal such a block; who asks the rules does not follow, as no Besu with the
/// rules does.
#[test]
fn a_sealed_block_with_a_sender_who_is_not_permitted_is_not_imported() {
    let mut world = world::ruled(4, &[0, 1, 2]);
    world.run_for(1_500);
    let forbidden = world.submit_of_a_stranger("v0", 0).expect("it asks nobody");
    world.run_for(20_000);
    assert!(world.is_mined("v0", &forbidden) && world.is_mined("v2", &forbidden));
    assert!(!world.is_mined("v3", &forbidden));
    let stuck = world.height_of("v3");
    assert!(stuck + 5 < world.height_of("v0"), "{:?}", world.heights());
    let refused = world.status_of("v3").refused_block.clone().expect("it says why it stands");
    assert_eq!((refused.number, refused.rule), (stuck + 1, "not_permitted"));
}

/// `number + MAX_BLOCKS_BEHIND` overflowed: whatever height a peer claims, pushes or announces, nothing overflows and nothing
/// stops.
#[test]
fn the_greatest_heights_of_a_peer_overflow_nothing() {
    let mut world = world::sentry(4);
    world.run_for(2_500);
    for number in [u64::MAX, u64::MAX - 1, u64::MAX - 10, 1 << 63, 0] {
        let extra_data = ExtraData::genesis(Vec::new()).encode();
        let header = Header { number, timestamp: u64::MAX, gas_used: u64::MAX, extra_data, ..Header::default() };
        let block = Box::new(Block { header: header.clone(), ..Block::default() });
        let latest_hash = B256::repeat_byte(9);
        for message in [
            EthMessage::NewBlock { block, total_difficulty: U256::MAX },
            EthMessage::NewBlockHashes(vec![BlockHashNumber { hash: latest_hash, number }]),
            EthMessage::BlockRangeUpdate { earliest: u64::MAX, latest: number, latest_hash },
            EthMessage::BlockHeaders { request_id: u64::MAX, headers: vec![header] },
        ] {
            world.stranger_says("b0", number, message);
        }
    }
    world.run_for(20_000);
    assert!(world.agree());
    assert!(world.height_of("v1") >= 10, "{:?}", world.heights());
}
