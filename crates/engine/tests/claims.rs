//! What peers claim against what is proven: catching up, saying where one stands, and a node whose own rules are wrong.

mod world;

use alloy_primitives::{B256, U256};
use ipe_engine::PeerId;
use ipe_types::eth::{BlockHashNumber, EthMessage};
use ipe_types::{Block, Checkpoint, Header, Role};
use world::{World, sentry};

/// Everything by which a peer can say how far it is.
fn claim_again(world: &mut World, session: PeerId, number: u64) {
    let hash = B256::repeat_byte(0xaa);
    world.say(session, EthMessage::NewBlockHashes(vec![BlockHashNumber { hash, number }]));
    world.say(session, EthMessage::BlockRangeUpdate { earliest: 0, latest: number, latest_hash: hash });
    let header = Header { number, extra_data: ipe_types::ExtraData::default().encode(), ..Header::default() };
    let block = Box::new(Block { header, ..Block::default() });
    world.say(session, EthMessage::NewBlock { block, total_difficulty: U256::MAX });
}

#[test]
fn two_silent_claimants_do_not_stop_catching_up() {
    for role in [None, Some(Role::Boot)] {
        let mut world = sentry(4);
        world.add_writer(0);
        world.run_for(3_000);
        world.kill("w0");
        world.wipe("w0");
        world.run_for(30_000);
        world.revive("w0");
        let liars: Vec<PeerId> = (0..2).map(|number| world.add_claimant("w0", number, role, 1_000_000)).collect();
        for _ in 0..6 {
            liars.iter().for_each(|liar| claim_again(&mut world, *liar, u64::MAX));
            world.run_for(500);
        }
        assert!(world.height_of("w0") + 1 >= world.height_of("v0"), "{role:?}: {:?}", world.heights());
        world.run_for(60_000);
        assert!(world.height_of("w0") + 1 >= world.height_of("v0"), "{role:?}: {:?}", world.heights());
        assert!(world.agree());
        assert_eq!(world.faults(), Vec::<String>::new());
    }
}

/// Promise 5 while attacked: a writer and a validator that follow say so, whatever others say; and the validator goes on.
#[test]
fn a_false_claim_makes_nobody_say_that_it_is_behind_nor_a_validator_rest() {
    let mut world = sentry(4);
    world.add_writer(0);
    world.run_for(5_000);
    let mut liars = Vec::new();
    for (number, name) in ["w0", "v0", "b0", "w0", "v0", "b0"].into_iter().enumerate() {
        let role = if number < 3 { Some(Role::Boot) } else { None };
        liars.push(world.add_claimant(name, number, role, 1_000_000 + number as u64));
    }
    let before = world.height_of("v0");
    for _ in 0..120 {
        liars.iter().for_each(|liar| claim_again(&mut world, *liar, 2_000_000));
        world.run_for(250);
        for name in ["w0", "v0", "b0"] {
            let status = world.status_of(name);
            assert_eq!(status.sync, None, "{name} at {} ms", world.now_ms());
            assert!(status.best_known <= world.height_of("v0").max(world.height_of("v1")) + 1, "{name}: {status:?}");
        }
    }
    assert!(world.height_of("v0") >= before + 28, "{before}: {:?}", world.heights());
    assert!(world.height_of("w0") + 1 >= world.height_of("v0"));
    assert_eq!(world.faults(), Vec::<String>::new());
}

/// It cannot know that it is the one who errs, but a quorum of seals says so: it must not say that all is well, nor cut
/// those who tell it.
#[test]
fn a_node_whose_genesis_differs_says_that_it_cannot_follow_names_the_rule_and_keeps_its_peers() {
    let differences: [(&str, u64, fn(&mut ipe_types::genesis::GenesisBuilder)); 2] = [
        ("state_root", 1, |genesis| genesis.block_reward = U256::from(5)),
        // The genesis is old enough for any block 1.
        ("timestamp_early", 2, |genesis| genesis.period_ms = 3_000),
    ];
    for (rule, number, change) in differences {
        let mut world = sentry(4);
        let name = world.add_writer_with(change);
        world.run_for(60_000);
        assert_eq!(world.height_of(&name), number - 1, "{rule}");
        let status = world.status_of(&name);
        let refused = status.refused_block.clone().expect("it says so");
        assert_eq!((refused.number, refused.rule, Some(refused.hash)), (number, rule, world.hash_at("v0", number)));
        let sync = status.sync.expect("it says that it is behind");
        assert_eq!(sync.current, number - 1);
        assert!(sync.highest + 20 >= world.height_of("v0") && status.best_known == sync.highest, "{sync:?}: {:?}", world.heights());
        let error = status.last_error.clone().expect("told");
        for word in [rule, &format!("block {number}"), &refused.hash.to_string(), "own genesis file"] {
            assert!(error.contains(word), "{word}: {error}");
        }
        assert!(world.faults().iter().all(|fault| !fault.contains("cut a peer")), "{:?}", world.faults());
        assert_eq!(world.links_of(world.index(&name)).len(), 1, "the peer that told the truth is still there");
        // The log has a line for each attempt, not for each block.
        assert!(world.faults().len() <= 4, "{:?}", world.faults());
        // The rules corrected, the same folder goes on.
        world.kill(&name);
        let index = world.index(&name);
        world.nodes[index].correct();
        world.revive(&name);
        world.run_for(5_000);
        assert!(world.height_of(&name) + 1 >= world.height_of("v0"), "{:?}", world.heights());
        assert_eq!((world.status_of(&name).refused_block.clone(), world.status_of(&name).sync), (None, None));
    }
}

/// It waits for what its own boot says, but not for ever.
#[test]
fn a_claim_does_not_keep_the_only_validator_of_an_empty_chain_from_block_1() {
    for role in [None, Some(Role::Boot)] {
        let mut world = sentry(1);
        let liars: Vec<PeerId> = (0..2).map(|number| world.add_claimant("v0", number, role, 1_000)).collect();
        for _ in 0..240 {
            liars.iter().for_each(|liar| claim_again(&mut world, *liar, 2_000));
            world.run_for(500);
        }
        assert!(world.height_of("v0") >= 3, "{role:?}: {:?}", world.heights());
    }
}

/// A stranger that knows nothing is no reason for a second chain while the boot that knows the first is away.
#[test]
fn the_only_validator_wiped_begins_no_second_chain_because_a_stranger_is_there() {
    let mut world = sentry(1);
    world.run_for(5_000);
    let before = world.head_of("b0");
    ["v0", "b0"].into_iter().for_each(|name| world.kill(name));
    world.wipe("v0");
    world.revive("v0");
    world.add_claimant("v0", 0, None, 0);
    world.run_for(60_000);
    assert_eq!(world.height_of("v0"), 0, "it has begun a second chain");
    world.revive("b0");
    world.run_for(6_000);
    assert_eq!(world.hash_at("v0", before.0), Some(before.1));
    assert!(world.height_of("v0") > before.0 + 1, "{:?}", world.heights());
}

#[test]
fn a_wiped_node_with_a_checkpoint_is_behind_until_it_has_come_to_it() {
    let mut world = sentry(4);
    world.add_writer(0);
    world.run_for(20_000);
    let (number, hash) = world.head_of("v0");
    world.kill("w0");
    world.wipe("w0");
    world.pin("w0", Checkpoint { number, hash });
    world.kill("b0");
    world.revive("w0");
    world.run_for(2_000);
    let sync = world.status_of("w0").sync.expect("nobody is there to tell, but the operator has");
    assert_eq!((sync.current, sync.highest), (0, number));
    world.revive("b0");
    world.run_for(3_000);
    assert!(world.height_of("w0") > number, "{:?}", world.heights());
    assert_eq!(world.status_of("w0").sync, None);
    assert!(world.agree());
}

/// Another history, sealed by a quorum, from every peer: it is not taken for the chain, and whoever brings it is cut.
#[test]
fn another_history_than_the_checkpoints_is_refused_and_whoever_brings_it_is_cut() {
    let mut world = sentry(4);
    world.add_writer(0);
    world.run_for(10_000);
    world.kill("w0");
    world.wipe("w0");
    world.pin("w0", Checkpoint { number: 5, hash: B256::repeat_byte(5) });
    world.revive("w0");
    world.run_for(10_000);
    assert!(world.height_of("w0") < 5, "{:?}", world.heights());
    let status = world.status_of("w0");
    assert!(status.sync.is_some_and(|sync| sync.highest >= 5), "{status:?}");
    let faults = world.faults();
    assert!(faults.iter().any(|fault| fault.contains("w0 cut a peer") && fault.contains("checkpoint")), "{faults:?}");
}
