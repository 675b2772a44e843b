//! Liveness under any bounded delay: whatever the one-way delay and the time that building and checking a block take, a
//! block is decided within a stated number of request timeouts, with f liars (docs/adr/0007-liveness-under-any-delay.md).

#![allow(clippy::unwrap_used, clippy::panic)]

mod network;

use network::besu::Besu;
use network::{Model, Network, Villain};

const T: u64 = 4000;

/// What the f faulty ones do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// They are not there.
    Silent,
    /// They ask for round 1000 at every height, and propose nothing.
    Ceiling,
    /// They ask for one round more than anybody, and propose nothing.
    Climber,
    /// They say all they should, and propose nothing.
    Mute,
}

/// Shortest and longest one-way delay, and the time to build or to check a block, in quarters of T.
type Times = (u64, u64, u64);

const TIMES: [Times; 9] =
    [(2, 2, 0), (4, 4, 0), (8, 8, 0), (16, 16, 0), (32, 32, 0), (0, 32, 0), (0, 4, 4), (0, 0, 12), (4, 4, 12)];

fn network(validators: usize, times: Times, fault: Fault, seed: u64, besu: bool) -> Network {
    let (shortest, longest, check) = times;
    let mut network = Network::new(Model {
        seed,
        validators,
        timeout_ms: T,
        delay_ms: (shortest * T / 4).max(5)..=(longest * T / 4).max(5),
        execution_ms: (check * T / 4).max(5),
        ..Model::default()
    });
    let f = network.validators.f();
    for node in 0..validators {
        if node < f {
            network.nodes[node].villain = match fault {
                Fault::None => None,
                Fault::Silent => continue,
                Fault::Ceiling => Some(Villain::Ceiling),
                Fault::Climber => Some(Villain::Climber),
                Fault::Mute => Some(Villain::Mute),
            };
        }
        if besu {
            network.nodes[node].besu = Some(Besu::default());
        }
        network.start(node);
    }
    network
}

/// Longest time from one block to the next in milliseconds, and the highest round, among the first `heights`.
fn longest(mut network: Network, heights: usize) -> Option<(u64, u32)> {
    let (mut worst, mut before) = ((0, 0), network.now);
    for _ in 0..heights {
        network.time_to_next_block(4_000 * T)?;
        let (at, _, round) = *network.decided.values().next_back().unwrap();
        worst = (worst.0.max(at - before), worst.1.max(round));
        before = at;
    }
    Some(worst)
}

/// What docs/adr/0007-liveness-under-any-delay.md promises for up to three faulty ones, in milliseconds: from when the
/// first begins the height, which is a period and a way of a message after the last block.
fn promised_ms(f: u64, (_, delay, check): Times) -> u64 {
    let (delay, check) = ((delay * T / 4).max(5), (check * T / 4).max(5));
    let needed = (8 * delay).max(5 * delay + 2 * check);
    let k = u64::from(needed.div_ceil(T).next_power_of_two().trailing_zeros());
    (2 * f + k + 1) * 3 * delay + 4 * T * (f + (1 << (f + k + 1))) + 2_000 + delay
}

const FAULTS: [Fault; 5] = [Fault::None, Fault::Silent, Fault::Ceiling, Fault::Climber, Fault::Mute];

fn a_block_comes(validators: usize, seeds: u64, heights: usize, times: &[Times], faults: &[Fault]) {
    for &fault in faults {
        let mut line = format!("{validators} validators, {fault:?}:");
        for &times in times {
            let promised = promised_ms(((validators - 1) / 3) as u64, times);
            let mut worst = (0, 0);
            for seed in 0..seeds {
                let case = format!("{validators} validators, {fault:?}, {times:?}, seed {seed}");
                let (ms, round) =
                    longest(network(validators, times, fault, seed, false), heights).unwrap_or_else(|| panic!("{case}: no block"));
                assert!(ms <= promised, "{case}: {ms} ms, promised {promised}");
                assert!(round <= 20, "{case}: round {round}");
                worst = (worst.0.max(ms), worst.1.max(round));
            }
            line += &format!(" {:.1} ({})", worst.0 as f64 / T as f64, promised / T);
        }
        println!("{line}");
    }
}

#[test]
fn a_block_comes_under_any_bounded_delay_with_one_liar_of_four() {
    a_block_comes(4, 2, 3, &TIMES, &FAULTS);
}

/// Larger networks say everything to everybody, over and over while messages are under way: minutes for the whole table of
/// the ADR, which `IPE_PATIENCE=all` asks for. Without it, one delay above T and one with slow checks.
fn larger(validators: usize, few: &[Times], faults: &[Fault]) {
    match std::env::var_os("IPE_PATIENCE").is_some_and(|which| which == "all") {
        true => a_block_comes(validators, 2, 2, &TIMES, &FAULTS),
        false => a_block_comes(validators, 1, 1, few, faults),
    }
}

#[test]
fn a_block_comes_under_any_bounded_delay_with_two_liars_of_seven() {
    larger(7, &[(8, 8, 0), (0, 0, 12)], &[Fault::Silent, Fault::Ceiling, Fault::Climber]);
}

#[test]
fn a_block_comes_under_any_bounded_delay_with_three_liars_of_ten() {
    larger(10, &[(4, 4, 0)], &[Fault::Ceiling]);
}

/// For comparison: what plain doubling of four needs, with one that is not there.
#[test]
fn plain_doubling_needs_about_as_long() {
    let mut line = String::from("plain doubling, 4 validators, Silent:");
    for times in TIMES {
        let (ms, _) = longest(network(4, times, Fault::Silent, 0, true), 5).unwrap();
        line += &format!(" {:.1}", ms as f64 / T as f64);
    }
    println!("{line}");
}

/// Journals say round 1000, as more than f liars once had it, and whose turn it is there is gone: rounds go on, and so do
/// the turns of proposers.
#[test]
fn round_1000_is_not_the_last() {
    use ipe_qbft::{Effect, Event, Restored, Settings, State, step};
    use ipe_types::Dialect;
    for gone in 0..4 {
        let mut network = Network::new(Model { timeout_ms: T, ..Model::default() });
        network.run_for(100_000);
        for node in 0..4 {
            let mut state = State::new(Settings { local: network::key(node).address(), dialect: Dialect::Legacy });
            let restored = Restored { height: 1, round: 1000, certificate: None, messages: vec![] };
            step(&mut state, network.now.into(), Event::Restored(restored));
            let head = network.head_info(node);
            let effects = step(&mut state, network.now.into(), Event::HeadAdvanced(head));
            let draft = effects.iter().find_map(|effect| match effect {
                Effect::Sign(draft) => Some(draft),
                _ => None,
            });
            network.remember(node, draft.unwrap());
        }
        for node in (0..4).filter(|node| *node != gone) {
            network.start(node);
        }
        let took = network.time_to_next_block(20 * T);
        assert!(took.is_some_and(|ms| ms <= 2 * T), "{gone} is gone: {took:?} ms");
    }
}
