//! Agreement and liveness of whole networks under loss, delay, repetition, pauses, crashes and villains.

#![allow(clippy::unwrap_used, clippy::panic)]

mod network;

use network::{Dice, Health, Model, Network, Villain};

#[test]
fn a_sound_network_makes_a_block_a_period_in_round_zero() {
    for validators in [1, 2, 3, 4, 7, 10] {
        let mut network = Network::started(Model { validators, ..Model::default() });
        network.run_for(20_000);
        assert!((19..=20).contains(&network.height()), "{validators} validators: height {}", network.height());
        assert!(network.decided.values().all(|(.., round)| *round == 0));
        for node in 0..validators {
            assert!(network.height_of(node) + 1 >= network.height());
            assert_eq!(network.nodes[node].reports, []);
        }
    }
}

#[test]
fn sub_second_periods_keep_their_pace() {
    for period_ms in [100, 250] {
        let mut network = Network::started(Model { period_ms, ..Model::default() });
        network.run_for(20_000);
        let expected = 20_000 / period_ms;
        assert!(network.height() * 100 >= expected * 90, "{} blocks in place of {expected}", network.height());
        assert!(network.height() <= expected + 1);
    }
}

#[test]
fn one_seed_gives_one_run() {
    let run = |seed| {
        let model = Model { seed, loss: 10, twice: 10, delay_ms: 5..=400, timeout_ms: 1000, ..Model::default() };
        let mut network = Network::started(model);
        network.run_for(20_000);
        (network.trace(), network.height(), network.sent)
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}

#[test]
fn loss_reordering_and_repetition_cost_time_only() {
    for seed in 0..12 {
        let mut dice = Dice(seed);
        let validators = [4, 5, 6, 7][seed as usize % 4];
        let model = Model {
            seed,
            validators,
            loss: dice.within(0..=30),
            twice: dice.within(0..=30),
            delay_ms: 1..=dice.within(20..=600),
            timeout_ms: 1000,
            ..Model::default()
        };
        let mut network = Network::started(model);
        network.run_for(60_000);
        assert!(network.height() >= 8, "seed {seed}: only {} blocks in a minute", network.height());
    }
}

/// A request timeout far below what a block takes: patience grows until blocks come.
#[test]
fn slow_execution_outlives_a_short_timeout() {
    let model = Model { timeout_ms: 500, execution_ms: 1500, ..Model::default() };
    let mut network = Network::started(model);
    network.run_for(120_000);
    assert!(network.height() >= 5, "only {} blocks", network.height());
}

#[test]
fn one_of_four_may_be_down_or_anything_else() {
    for villain in [None, Some(Villain::Equivocator), Some(Villain::Climber), Some(Villain::Spoiler)] {
        for seed in 0..6 {
            let mut network = Network::new(Model { seed, timeout_ms: 1000, ..Model::default() });
            for node in 0..4 {
                if node == 3 {
                    network.nodes[3].villain = villain;
                    if villain.is_none() {
                        continue;
                    }
                }
                network.start(node);
            }
            network.run_for(60_000);
            // Every fourth height or round costs a timeout at most.
            assert!(network.height() >= 25, "{villain:?}, seed {seed}: {} blocks in a minute", network.height());
        }
    }
}

#[test]
fn two_of_seven_villains_neither_stop_nor_split_the_chain() {
    for seed in 0..6 {
        let mut network = Network::new(Model { seed, validators: 7, timeout_ms: 1000, loss: 2, ..Model::default() });
        network.nodes[1].villain = Some(Villain::Equivocator);
        network.nodes[4].villain = Some(if seed % 2 == 0 { Villain::Climber } else { Villain::Equivocator });
        for node in 0..7 {
            network.start(node);
        }
        network.run_for(60_000);
        assert!(network.height() >= 15, "seed {seed}: {} blocks in a minute", network.height());
    }
}

/// Pauses, kills and cut links at random; afterwards, with everybody back, blocks come at once.
#[test]
fn chaos_never_splits_and_always_ends() {
    for seed in 0..24 {
        let mut dice = Dice(seed ^ 0xc0ffee);
        let validators = [4, 4, 7, 5][seed as usize % 4];
        let model = Model {
            seed,
            validators,
            loss: dice.within(0..=10),
            timeout_ms: 1000,
            greet: dice.chance(50),
            backlog: dice.chance(50),
            journal_keeps_messages: dice.chance(50),
            ..Model::default()
        };
        let mut network = Network::started(model);
        for _ in 0..40 {
            network.run_for(dice.within(50..=3000));
            let node = dice.within(0..=validators as u64 - 1) as usize;
            let other = dice.within(0..=validators as u64 - 1) as usize;
            match (network.nodes[node].health, dice.within(0..=3)) {
                (Health::Up, 0) => network.kill(node),
                (Health::Up, 1) => network.pause(node),
                (Health::Up, _) if node != other => {
                    let link = (node.min(other), node.max(other));
                    if !network.cut.remove(&link) {
                        network.cut.insert(link);
                    }
                }
                (Health::Paused, _) => network.resume(node),
                (Health::Down, _) => network.start(node),
                _ => {}
            }
        }
        network.model.loss = 0;
        network.cut.clear();
        for node in 0..validators {
            match network.nodes[node].health {
                Health::Up => {}
                Health::Paused => network.resume(node),
                Health::Down => network.start(node),
            }
        }
        let took = network.time_to_next_block(60_000);
        assert!(took.is_some_and(|ms| ms <= 2_000), "seed {seed}: next block after {took:?} ms");
        let before = network.height();
        network.run_for(10_000);
        assert!(network.height() >= before + 8, "seed {seed}: {} blocks in 10 s", network.height() - before);
    }
}

#[test]
fn an_empty_period_holds_empty_blocks_back_without_round_changes() {
    let model = Model { empty_period_ms: 10_000, busy: false, timeout_ms: 2000, ..Model::default() };
    let mut network = Network::started(model);
    network.run_for(60_000);
    assert!((5..=6).contains(&network.height()), "{} blocks in a minute", network.height());
    assert!(network.decided.values().all(|(.., round)| *round == 0));
}

#[test]
fn a_clock_that_is_off_by_less_than_a_second_costs_nothing() {
    for skew_ms in [-900, -400, 400, 900] {
        let mut network = Network::new(Model::default());
        network.nodes[2].skew_ms = skew_ms;
        for node in 0..4 {
            network.start(node);
        }
        network.run_for(60_000);
        assert!(network.height() >= 45, "skew {skew_ms}: {} blocks in a minute", network.height());
    }
}

/// The clock of one of four is ahead by more than the request timeout, and one of the others is down: every block needs
/// the vote of the one with the wrong clock.
#[test]
fn a_clock_far_ahead_costs_its_own_turn_and_no_vote() {
    for ahead_s in [6, 30, 3_600] {
        let mut network = Network::new(Model { period_ms: 3_000, ..Model::default() });
        network.nodes[2].skew_ms = ahead_s * 1000;
        for node in 0..4 {
            network.start(node);
        }
        network.run_for(30_000);
        let before = network.height();
        network.kill(1);
        network.run_for(120_000);
        let made = network.height() - before;
        // Two of four turns fail and cost a timeout each: some 18 s for four blocks.
        assert!(made >= 24, "{ahead_s} s ahead: {made} blocks in two minutes");
    }
}
