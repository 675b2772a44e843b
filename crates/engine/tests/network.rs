//! A network of replicas in one thread and one virtual clock, in sentry form: validators have links to their own boot
//! only, boots have links to each other.

mod world;

use ipe_engine::journal::MemoryJournal;
use ipe_types::{Role, Topology};
use world::sentry;

#[test]
fn validators_behind_boots_make_blocks_at_the_period() {
    let mut world = sentry(4);
    world.run_for(10_000);
    let heights = world.heights();
    assert!(heights.iter().all(|(_, height)| (9..=11).contains(height)), "{heights:?}");
    assert!(world.agree());
    for (index, node) in world.nodes.iter().enumerate() {
        if node.role == Role::Validator {
            assert_eq!(world.links_of(index).len(), 1, "a validator has a link to its boot only");
        }
    }
    assert_eq!(world.faults(), Vec::<String>::new());
}

/// Besides its own link a message crosses a boot once: what a boot has sent to a peer it does not send again, nor back.
#[test]
fn boots_relay_each_message_once_and_never_back() {
    let mut world = sentry(4);
    world.run_for(5_000);
    assert!(world.height_of("v0") >= 4);
    assert_eq!(world.repeated_relays(), 0);
}

/// Found on the release binary: one boot without any validator key silenced honest validators, and the halt outlived the
/// attack. It copies their proposals, appends a signature to what nobody signed, and is faster than the honest boots.
#[test]
fn a_boot_that_spoils_copies_silences_nobody_and_is_cut() {
    let mut world = sentry(4);
    // When the others have cut it, its validator is still heard by another boot.
    world.add_backup_boot(0);
    world.run_for(3_000);
    world.spoil("b0");
    let before = world.height_of("v1");
    world.run_for(20_000);
    assert!(world.height_of("v1") >= before + 18, "{:?}", world.heights());
    assert!(world.agree());
    let faults = world.faults();
    assert!(faults.iter().any(|fault| fault.starts_with("b1 cut a peer")), "{faults:?}");
    assert!(faults.iter().all(|fault| fault.contains("cut a peer")) && faults.len() <= 5, "only the one that spoils: {faults:?}");
}

#[test]
fn mesh_validators_make_blocks_too() {
    let mut world = world::mesh(4);
    world.run_for(5_000);
    assert!(world.heights().iter().all(|(_, height)| *height >= 4), "{:?}", world.heights());
    assert_eq!(world.topology, Topology::Mesh);
    assert!(world.agree());
}

#[test]
fn a_killed_validator_costs_rounds_and_comes_back() {
    let mut world = sentry(4);
    world.run_for(3_000);
    world.kill("v1");
    world.run_for(20_000);
    let without = world.height_of("v0");
    assert!(without >= 8, "{without}");
    world.revive("v1");
    world.run_for(4_000);
    assert!(world.height_of("v1") >= world.height_of("v0") - 1, "{:?}", world.heights());
    let before = world.height_of("v0");
    world.run_for(8_000);
    assert!(world.height_of("v0") >= before + 7, "{:?}", world.heights());
    assert!(world.agree());
}

#[test]
fn a_block_that_came_between_status_and_connection_is_told() {
    let mut world = sentry(4);
    world.run_for(2_500);
    let told = world.head_of("v1");
    world.kill("v1");
    world.stale_status = Some(told);
    world.run_for(10_000);
    assert!(world.height_of("v0") > told.0);
    world.revive("v1");
    world.run_for(400);
    assert_eq!(world.height_of("v1"), world.height_of("v0"), "before the next block is made");
}

#[test]
fn a_killed_boot_takes_its_validator_with_it_and_a_backup_does_not() {
    let mut world = sentry(4);
    world.add_backup_boot(0);
    world.run_for(3_000);
    world.kill("b0");
    let before = world.height_of("v0");
    world.run_for(6_000);
    assert!(world.height_of("v0") >= before + 5, "{:?}", world.heights());
}

#[test]
fn a_wiped_validator_fetches_the_chain_and_votes_again() {
    let mut world = sentry(4);
    world.run_for(30_000);
    world.kill("v2");
    world.wipe("v2");
    world.run_for(5_000);
    world.revive("v2");
    world.run_for(5_000);
    assert!(world.height_of("v2") >= world.height_of("v0") - 1, "{:?}", world.heights());
    // Without v3 every vote counts, so blocks come only if v2 votes.
    world.kill("v3");
    let before = world.height_of("v0");
    world.run_for(20_000);
    assert!(world.height_of("v0") >= before + 5, "{:?}", world.heights());
    assert!(world.agree());
}

#[test]
fn a_lost_quorum_returns_within_two_request_timeouts() {
    let mut world = sentry(4);
    world.run_for(3_000);
    world.kill("v2");
    world.kill("v3");
    world.run_for(60_000);
    let before = world.height_of("v0");
    world.revive("v2");
    world.revive("v3");
    world.run_for(2 * world::REQUEST_TIMEOUT_MS);
    assert!(world.height_of("v0") > before, "{:?}", world.heights());
    assert!(world.agree());
}

/// Who completes the quorum is some blocks behind: what it is told while it catches up counts when it is there.
#[test]
fn a_quorum_completed_by_one_who_is_behind_decides_in_time() {
    let mut world = sentry(4);
    world.run_for(3_000);
    world.kill("v3");
    world.run_for(15_000);
    world.kill("v2");
    world.run_for(60_000);
    let before = world.height_of("v0");
    world.revive("v3");
    world.run_for(2 * world::REQUEST_TIMEOUT_MS);
    assert!(world.height_of("v0") > before, "{:?}", world.heights());
    assert!(world.agree());
}

#[test]
fn all_stopped_and_started_again_go_on_with_the_same_chain() {
    let mut world = sentry(4);
    world.run_for(5_000);
    let (height, hash) = world.head_of("v0");
    let names = world.names();
    names.iter().for_each(|name| world.kill(name));
    world.run_for(2_000);
    names.iter().for_each(|name| world.revive(name));
    world.run_for(5_000);
    assert!(world.height_of("v0") >= height + 3, "{:?}", world.heights());
    assert_eq!(world.hash_at("v1", height), Some(hash));
    assert!(world.agree());
}

#[test]
fn one_wrong_clock_does_not_stop_the_network() {
    for skew_ms in [-30_000, 30_000] {
        let mut world = sentry(4);
        world.skew("v1", skew_ms);
        world.run_for(30_000);
        assert!(world.height_of("v0") >= 10, "{skew_ms}: {:?}", world.heights());
        assert!(world.agree());
    }
}

#[test]
fn writers_and_observers_follow_and_transactions_reach_every_pool() {
    let mut world = sentry(4);
    world.add_writer(0);
    world.run_for(3_000);
    let sent: Vec<_> = (0..20).map(|nonce| world.submit("w0", nonce)).collect();
    world.run_for(4_000);
    for hash in sent {
        assert!(world.is_mined("v3", &hash) && world.is_mined("w0", &hash), "{hash}");
    }
    assert!(world.height_of("w0") >= world.height_of("v0") - 1);
    assert!(world.agree());
}

#[test]
fn a_flood_of_invalid_messages_is_cut_and_delays_nothing() {
    let mut world = sentry(4);
    world.run_for(2_000);
    world.add_villain("b0");
    let before = world.height_of("v0");
    world.run_for(5_000);
    assert!(world.height_of("v0") >= before + 4, "{:?}", world.heights());
    assert!(world.villain_was_cut());
}

/// Institutions of ours beside validators that send consensus to validators only: every proposer's turn is taken, and
/// boots follow without having to fetch.
#[test]
fn validators_of_another_implementation_decide_with_ours_over_carried_sessions() {
    let mut world = world::mixed(2, 2, 2);
    world.run_for(10_000);
    let heights = world.heights();
    assert!(heights.iter().all(|(_, height)| (9..=11).contains(height)), "{heights:?}");
    assert!(world.agree());
    assert_eq!(world.faults(), Vec::<String>::new());
}

/// One carried session with one of them is a bridge: who has none is heard, and hears, through who has.
#[test]
fn who_has_no_carried_session_takes_part_through_who_has() {
    let mut world = world::mixed(2, 2, 1);
    world.run_for(10_000);
    let heights = world.heights();
    assert!(heights.iter().all(|(_, height)| (9..=11).contains(height)), "{heights:?}");
    // Now every vote is needed, and each has to cross the bridge.
    world.kill("f3");
    let before = world.height_of("v1");
    world.run_for(30_000);
    assert!(world.height_of("v1") >= before + 6, "{:?}", world.heights());
    assert!(world.agree());
}

/// An institution's boots are lost and come back: the others, of either kind, go on.
#[test]
fn a_mixed_network_survives_the_loss_of_any_one_institution() {
    for lost in [&["v0", "b0"][..], &["f2"]] {
        let mut world = world::mixed(2, 2, 2);
        world.run_for(3_000);
        lost.iter().for_each(|name| world.kill(name));
        let before = world.height_of("v1");
        world.run_for(30_000);
        assert!(world.height_of("v1") >= before + 6, "{lost:?}: {:?}", world.heights());
        lost.iter().for_each(|name| world.revive(name));
        world.run_for(15_000);
        let before = world.height_of("v1");
        world.run_for(5_000);
        assert!(world.heights().iter().all(|(_, height)| *height >= before + 3), "{lost:?}: {:?}", world.heights());
        assert!(world.agree());
    }
}

/// A validator that needs nobody's vote would begin a second chain on an empty folder.
#[test]
fn the_only_validator_wiped_goes_on_with_the_chain_that_its_boot_has() {
    let mut world = sentry(1);
    world.run_for(5_000);
    let before = world.head_of("b0");
    assert!(before.0 >= 3, "{before:?}");
    world.kill("v0");
    world.wipe("v0");
    world.revive("v0");
    world.run_for(6_000);
    assert_eq!(world.hash_at("v0", before.0), Some(before.1));
    assert!(world.height_of("b0") > before.0 + 1, "{:?}", world.heights());
    assert!(world.agree());
    assert_eq!(world.faults(), Vec::<String>::new());
}

#[test]
fn the_only_validator_wiped_waits_for_somebody_who_knows_the_chain() {
    let mut world = sentry(1);
    world.run_for(5_000);
    let before = world.head_of("b0");
    for name in ["v0", "b0"] {
        world.kill(name);
    }
    world.wipe("v0");
    world.revive("v0");
    world.run_for(60_000);
    assert_eq!(world.height_of("v0"), 0, "it has begun a second chain");
    world.revive("b0");
    world.run_for(6_000);
    assert_eq!(world.hash_at("v0", before.0), Some(before.1));
    assert!(world.height_of("v0") > before.0 + 1, "{:?}", world.heights());
    assert!(world.agree());
}

/// With blocks of its own it knows the chain, and goes on alone.
#[test]
fn the_only_validator_with_blocks_goes_on_without_its_boot() {
    let mut world = sentry(1);
    world.run_for(5_000);
    let before = world.height_of("v0");
    for name in ["v0", "b0"] {
        world.kill(name);
    }
    world.revive("v0");
    world.run_for(6_000);
    assert!(world.height_of("v0") >= before + 3, "{:?}", world.heights());
}

/// Whatever went wrong besides what a validator says that abstains.
fn other_faults(world: &world::World) -> Vec<String> {
    world.faults().into_iter().filter(|fault| !fault.contains("abstains")).collect()
}

#[test]
fn a_validator_whose_journal_is_lost_abstains_until_a_height_is_decided_without_it() {
    let losses: [fn(&mut world::World); 3] = [
        |world| world.journal("v2").set_content(Vec::new()),
        |world| *world.journal("v2") = MemoryJournal::new(),
        |world| {
            let mut content = world.journal("v2").content();
            content[40] ^= 1;
            world.journal("v2").set_content(content);
        },
    ];
    for loss in losses {
        let mut world = sentry(4);
        world.run_for(10_000);
        world.kill("v2");
        loss(&mut world);
        world.revive("v2");
        world.run_for(100);
        assert!(world.status_of("v2").abstains.is_some());
        let before = world.height_of("v0");
        world.run_for(10_000);
        assert!(world.height_of("v0") >= before + 5, "the others go on: {:?}", world.heights());
        assert_eq!(world.status_of("v2").abstains, None, "{:?}", world.heights());
        // Without v3 every vote counts, so blocks come only if v2 votes.
        world.kill("v3");
        let before = world.height_of("v0");
        world.run_for(20_000);
        assert!(world.height_of("v0") >= before + 5, "{:?}", world.heights());
        assert!(world.agree());
        assert_eq!(other_faults(&world), Vec::<String>::new());
    }
}

/// Two of four are gone, so the height in hand stays undecided: a validator whose journal is lost signs nothing for it, as long
/// as that lasts, and the network goes on when a quorum without it is there.
#[test]
fn a_lost_journal_keeps_the_validator_silent_as_long_as_the_height_is_undecided() {
    let mut world = sentry(4);
    world.run_for(10_000);
    for name in ["v2", "v3"] {
        world.kill(name);
    }
    world.run_for(5_000);
    let halted = world.height_of("v0");
    world.journal("v2").set_content(Vec::new());
    world.revive("v2");
    world.run_for(120_000);
    assert_eq!(world.height_of("v0"), halted, "{:?}", world.heights());
    assert!(world.status_of("v2").abstains.is_some());
    world.revive("v3");
    world.run_for(10_000);
    assert!(world.height_of("v0") >= halted + 5, "{:?}", world.heights());
    assert_eq!(world.status_of("v2").abstains, None);
    assert!(world.agree());
    assert_eq!(other_faults(&world), Vec::<String>::new());
}

/// Nothing that a validator signs names its chain, so whoever recorded another chain with the same keys can say it again here.
#[test]
fn what_was_signed_on_another_chain_silences_nobody() {
    for mut world in [world::mesh(4), sentry(4)] {
        world.run_for(5_000);
        let names = ["v0", "v1", "v2", "v3"];
        for _ in 0..20 {
            for name in names {
                let next = world.height_of(name) + 1;
                (next..next + 14).for_each(|height| world.hears_its_words_of_another_chain(name, height));
            }
            world.run_for(500);
            assert!(names.iter().all(|name| world.status_of(name).abstains.is_none()), "{:?}", world.heights());
        }
        let before = world.height_of("v0");
        world.run_for(5_000);
        assert!(world.height_of("v0") >= before + 4, "{:?}", world.heights());
        assert!(world.agree());
        // One that starts meanwhile waits for a block of the others, and no longer.
        world.kill("v1");
        world.revive("v1");
        world.run_for(300);
        let next = world.height_of("v1") + 1;
        (next..next + 100).for_each(|height| world.hears_its_words_of_another_chain("v1", height));
        world.run_for(20_000);
        assert_eq!(world.status_of("v1").abstains, None, "{:?}", world.heights());
        world.kill("v3");
        let before = world.height_of("v0");
        world.run_for(20_000);
        assert!(world.height_of("v0") >= before + 5, "v1 votes again: {:?}", world.heights());
        assert_eq!(other_faults(&world), Vec::<String>::new());
    }
}

/// The whole folder is an older copy, so nothing in it shows what is missing: peers tell what the key has said.
#[test]
fn what_peers_hold_of_its_own_messages_keeps_a_restored_validator_from_contradicting_them() {
    let mut world = sentry(4);
    world.run_for(10_000);
    world.kill("v2");
    let older = world.journal("v2").copy();
    world.revive("v2");
    world.run_for(10_000);
    for name in ["v1", "v3"] {
        world.kill(name);
    }
    // Nobody can decide the height in hand, and v2 has asked for later rounds of it.
    world.run_for(20_000);
    world.kill("v2");
    let said = world.journal("v2").content();
    assert!(said.len() > older.content().len());
    *world.journal("v2") = older;
    let halted = world.height_of("v0");
    world.revive("v2");
    world.run_for(60_000);
    assert!(world.status_of("v2").abstains.is_some(), "{:?}", world.heights());
    for name in ["v1", "v3"] {
        world.revive(name);
    }
    world.run_for(20_000);
    assert!(world.height_of("v0") > halted, "{:?}", world.heights());
    assert!(world.agree());
    assert_eq!(other_faults(&world), Vec::<String>::new());
}

/// Nobody has a journal and there is no block yet: the chain begins all the same, after a wait.
#[test]
fn a_chain_whose_validators_have_keys_from_elsewhere_begins() {
    let mut world = sentry(4);
    let names = ["v0", "v1", "v2", "v3"];
    names.iter().for_each(|name| world.kill(name));
    for name in names {
        *world.journal(name) = MemoryJournal::new();
    }
    assert!(world.heights().iter().all(|(_, height)| *height == 0), "{:?}", world.heights());
    names.iter().for_each(|name| world.revive(name));
    world.run_for(world::REQUEST_TIMEOUT_MS);
    assert!(names.iter().all(|name| world.status_of(name).abstains.is_some()));
    world.run_for(4 * world::REQUEST_TIMEOUT_MS);
    assert!(world.heights().iter().all(|(_, height)| *height >= 2), "{:?}", world.heights());
    assert!(world.agree());
}
