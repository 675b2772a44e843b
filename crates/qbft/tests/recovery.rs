//! What ADR 0002 promises: when a quorum returns the next block comes within two request timeouts, whatever happened
//! before, with no restart, among nodes of our own; and what holds beside peers with Besu's timing.

#![allow(clippy::unwrap_used, clippy::panic)]

mod network;

use network::{Health, Model, Network};

const TIMEOUT_MS: u64 = 4000;

fn model(seed: u64, validators: usize) -> Model {
    Model { seed, validators, timeout_ms: TIMEOUT_MS, ..Model::default() }
}

/// How nodes leave and come back.
#[derive(Clone, Copy, Debug)]
enum Loss {
    Pause,
    Kill,
}

fn take(network: &mut Network, node: usize, loss: Loss) {
    match loss {
        Loss::Pause => network.pause(node),
        Loss::Kill => network.kill(node),
    }
}

fn bring_back(network: &mut Network, node: usize) {
    match network.nodes[node].health {
        Health::Up => {}
        Health::Paused => network.resume(node),
        Health::Down => network.start(node),
    }
}

fn assert_recovers(network: &mut Network, case: &str, bound_ms: u64) -> u64 {
    let took = network.time_to_next_block(20 * TIMEOUT_MS);
    assert!(took.is_some_and(|ms| ms <= bound_ms), "{case}: next block after {took:?} ms, promised {bound_ms}");
    let (took, before) = (took.unwrap(), network.height());
    network.run_for(4 * TIMEOUT_MS);
    assert!(network.height() >= before + 2, "{case}: the chain goes on");
    took
}

/// Every size, way, length and moment of a loss; everybody returns at once.
#[test]
fn all_return() {
    let mut worst = 0;
    for validators in [4, 5, 7] {
        for loss in [Loss::Pause, Loss::Kill] {
            for away_s in [3, 15, 60] {
                for seed in 0..4 {
                    let mut network = Network::started(Model {
                        greet: seed % 2 == 0,
                        backlog: seed % 3 != 0,
                        journal_keeps_messages: seed % 4 < 2,
                        ..model(seed, validators)
                    });
                    network.run_for(3_000 + 130 * seed);
                    let lost = validators - network.validators.quorum() + 1 + seed as usize % 2;
                    let lost: Vec<usize> = (0..lost).map(|index| (index + seed as usize) % validators).collect();
                    for node in &lost {
                        take(&mut network, *node, loss);
                        network.run_for(7 * seed);
                    }
                    network.run_for(away_s * 1000);
                    for node in &lost {
                        bring_back(&mut network, *node);
                    }
                    let case = format!("{validators} validators, {loss:?} of {lost:?} for {away_s} s, seed {seed}");
                    worst = worst.max(assert_recovers(&mut network, &case, 2 * TIMEOUT_MS));
                }
            }
        }
    }
    println!("worst time to the next block: {worst} ms at a timeout of {TIMEOUT_MS} ms");
}

/// Only just a quorum returns; whoever would propose next may be among the missing.
#[test]
fn exactly_a_quorum_returns() {
    for (validators, seeds) in [(4, 8), (7, 8), (10, 3)] {
        let mut worst = 0;
        for loss in [Loss::Pause, Loss::Kill] {
            for away_s in [6, 60] {
                for seed in 0..seeds {
                    let mut network = Network::started(Model { greet: seed % 2 == 0, ..model(seed, validators) });
                    network.run_for(3_000 + 250 * seed);
                    let quorum = network.validators.quorum();
                    // One stays, the rest goes.
                    let order: Vec<usize> = (0..validators).map(|index| (index + seed as usize) % validators).collect();
                    for node in &order[1..] {
                        take(&mut network, *node, loss);
                    }
                    network.run_for(away_s * 1000);
                    for node in &order[1..quorum] {
                        bring_back(&mut network, *node);
                    }
                    let case = format!("{validators} validators, {loss:?}, {away_s} s, seed {seed}");
                    // Up to three missing proposers in a row, half a timeout each.
                    worst = worst.max(assert_recovers(&mut network, &case, 2 * TIMEOUT_MS));
                }
            }
        }
        println!("a quorum of {validators}: worst time to the next block {worst} ms at a timeout of {TIMEOUT_MS} ms");
    }
}

/// Everybody was down for a night and starts within two seconds.
#[test]
fn a_cold_start_of_all() {
    for seed in 0..8 {
        let mut network = Network::started(Model { greet: seed % 2 == 0, ..model(seed, 4) });
        network.run_for(5_300 + 170 * seed);
        for node in 0..4 {
            network.kill(node);
        }
        network.run_for(8 * 3_600_000);
        for node in 0..4 {
            bring_back(&mut network, (node + seed as usize) % 4);
            network.run_for(500);
        }
        assert_recovers(&mut network, &format!("seed {seed}"), TIMEOUT_MS);
    }
}

/// Rounds fail for a while with everybody there; then all are killed and one loses its disk as well.
#[test]
fn a_wiped_one_meets_others_that_are_rounds_above() {
    for seed in 0..6 {
        let mut network = Network::started(model(seed, 4));
        network.run_for(4_000);
        // Nobody hears a proposal in time.
        network.model.delay_ms = 3 * TIMEOUT_MS..=3 * TIMEOUT_MS + 500;
        network.run_for(30_000);
        network.model.delay_ms = 5..=20;
        for node in 0..4 {
            if node == seed as usize % 4 { network.wipe(node) } else { network.kill(node) }
        }
        network.run_for(20_000);
        for node in 0..4 {
            bring_back(&mut network, node);
        }
        assert_recovers(&mut network, &format!("seed {seed}"), 2 * TIMEOUT_MS);
    }
}

/// Rounds that were never meant to be so far apart: each node's journal says another round.
#[test]
fn whatever_the_rounds_had_grown_to() {
    use ipe_qbft::{Effect, Event, Restored, Settings, State, step};
    use ipe_types::Dialect;
    for rounds in [[8, 7, 0, 0], [8, 8, 0, 0], [8, 7, 6, 0], [40, 39, 39, 0], [900, 899, 0, 0], [8, 3, 0, 0], [1000, 1000, 5, 0]] {
        for shift in 0..4 {
            let mut network = Network::new(model(shift as u64, 4));
            network.run_for(100_000);
            for (node, round) in rounds.iter().enumerate() {
                if *round == 0 {
                    continue;
                }
                // Write the journal of a node that asked for `round`.
                let key = network::key((node + shift) % 4);
                let mut state = State::new(Settings { local: key.address(), dialect: Dialect::Legacy });
                let restored = Restored { height: 1, round: *round, certificate: None, messages: vec![] };
                step(&mut state, network.now.into(), Event::Restored(restored));
                let head = network.head_info((node + shift) % 4);
                let effects = step(&mut state, network.now.into(), Event::HeadAdvanced(head));
                let draft = effects.iter().find_map(|effect| match effect {
                    Effect::Sign(draft) => Some(draft),
                    _ => None,
                });
                network.remember((node + shift) % 4, draft.unwrap());
            }
            network.start(shift);
            network.start((1 + shift) % 4);
            network.run_for(10_000);
            network.start((2 + shift) % 4);
            network.start((3 + shift) % 4);
            assert_recovers(&mut network, &format!("rounds {rounds:?}, shifted by {shift}"), 2 * TIMEOUT_MS);
        }
    }
}

/// Alone or too few, nobody climbs: rounds stay where the others will find us.
#[test]
fn without_a_quorum_rounds_do_not_grow() {
    let mut network = Network::started(model(3, 4));
    network.run_for(3_000);
    network.kill(0);
    network.kill(1);
    let sent = network.sent;
    network.run_for(3_600_000);
    for node in [2, 3] {
        assert!(network.nodes[node].state.round().unwrap() <= 2);
    }
    // What is sent again is bounded: some messages a second and link.
    assert!(network.sent - sent <= 2 * 3600 * 4, "{} messages in an hour", network.sent - sent);
}

mod mixed {
    use super::*;
    use crate::network::besu::Besu;

    fn mixed(seed: u64, besus: &[usize]) -> Network {
        let mut network = Network::new(Model { greet: seed.is_multiple_of(2), ..model(seed, 4) });
        for node in besus {
            network.nodes[*node].besu = Some(Besu::default());
        }
        for node in 0..4 {
            network.start(node);
        }
        network
    }

    /// The peers' timing is not disturbed: blocks in round 0, and one of them down costs what it costs Besu.
    #[test]
    fn they_make_blocks_together() {
        for besus in [&[0][..], &[0, 2], &[0, 1, 3]] {
            let mut network = mixed(1, besus);
            network.run_for(20_000);
            assert!(network.height() >= 19, "{besus:?}: {}", network.height());
            network.kill(3);
            let before = network.height();
            network.run_for(60_000);
            assert!(network.height() >= before + 20, "{besus:?}: {} in a minute", network.height() - before);
        }
    }

    fn recovery(besus: &[usize], lost: &[usize], loss: Loss, away_s: u64, seed: u64) -> u64 {
        let mut network = mixed(seed, besus);
        network.run_for(5_000 + 333 * seed);
        for node in lost {
            take(&mut network, *node, loss);
        }
        network.run_for(away_s * 1000);
        for node in lost {
            bring_back(&mut network, *node);
        }
        network.time_to_next_block(1_000_000).unwrap()
    }

    /// Two of four paused, then everybody back: with one Besu peer as with none.
    #[test]
    fn with_one_besu_peer() {
        let mut worst = 0;
        for lost in [[0, 1], [1, 2], [2, 3], [0, 3]] {
            for away_s in [10, 60, 180] {
                for seed in 0..4 {
                    for loss in [Loss::Pause, Loss::Kill] {
                        let took = recovery(&[0], &lost, loss, away_s, seed);
                        assert!(took <= 2 * TIMEOUT_MS, "{loss:?} {lost:?} {away_s} s seed {seed}: {took} ms");
                        worst = worst.max(took);
                    }
                }
            }
        }
        println!("worst with one Besu peer of four: {worst} ms");
    }

    /// Two Besu peers of four. Paused ones come back with what waited in their sockets.
    #[test]
    fn with_two_besu_peers() {
        let mut worst = 0;
        for lost in [[0, 1], [1, 2], [2, 3], [0, 3]] {
            for away_s in [10, 60, 180] {
                for seed in 0..4 {
                    let took = recovery(&[0, 1], &lost, Loss::Pause, away_s, seed);
                    assert!(took <= 3 * TIMEOUT_MS, "{lost:?} {away_s} s seed {seed}: {took} ms");
                    worst = worst.max(took);
                }
            }
        }
        println!("worst with two Besu peers of four: {worst} ms");
    }

    /// What four of them need, for comparison: the model shows what was measured on real ones.
    #[test]
    fn besu_alone_needs_minutes() {
        let took = recovery(&[0, 1, 2, 3], &[0, 1], Loss::Pause, 60, 0);
        assert!(took > 60_000, "{took} ms");
    }
}
