//! f validators that are simply gone cost at most a quarter of the pace, and proposers that are slow but there keep their
//! turns (docs/adr/0007-liveness-under-any-delay.md).

#![allow(clippy::unwrap_used, clippy::panic)]

mod network;

use network::besu::Besu;
use network::{Model, Network};

/// Node indices in the order of their turns.
fn turns(network: &Network) -> Vec<usize> {
    network.validators.iter().map(|validator| network.index_of(*validator)).collect()
}

/// Blocks above `from` that `node` proposed.
fn proposed_by(network: &Network, node: usize, from: u64) -> usize {
    let chain = &network.nodes[(node + 1) % network.nodes.len()].disk.chain;
    let address = network.nodes[node].key.address();
    chain.iter().filter(|block| block.header.number > from && block.header.beneficiary == address).count()
}

/// Whatever the places of the f that are gone in the order of turns, next to each other or not.
#[test]
fn f_validators_that_are_gone_cost_at_most_a_quarter_of_the_pace() {
    for (validators, gone) in [(4, vec![0]), (7, vec![2, 3]), (7, vec![0, 3]), (10, vec![4, 5, 6])] {
        for (timeout_ms, period_ms) in [(4_000, 1_000), (10_000, 2_000)] {
            let mut network = Network::started(Model { validators, timeout_ms, period_ms, ..Model::default() });
            network.run_for(10 * period_ms);
            let turns = turns(&network);
            for place in &gone {
                network.kill(turns[*place]);
            }
            // Two turns of each are waited for.
            network.run_for(2 * gone.len() as u64 * timeout_ms + 3 * validators as u64 * period_ms);
            // Two full turns of the heights at which they are waited for again.
            let periods = 2 * 16 * validators as u64;
            let before = network.height();
            network.run_for(periods * period_ms);
            let made = network.height() - before;
            println!(
                "{validators} validators, {} gone, T = {timeout_ms} ms, period {period_ms} ms: {:.2} of the pace",
                gone.len(),
                made as f64 / periods as f64
            );
            assert!(made * 100 >= 75 * periods, "{validators}, {gone:?}: {made} blocks in {periods} periods");
        }
    }
}

/// A proposer whose every message takes nine tenths of the request timeout, or that builds for half of it, makes as many
/// blocks as before, in round 0.
#[test]
fn slow_but_living_proposers_keep_their_turns() {
    for (validators, delay_ms, building_ms) in [(4, 3_500, None), (7, 3_500, None), (4, 20, Some(2_000)), (4, 1_500, Some(2_000))] {
        let mut network = Network::new(Model { validators, ..Model::default() });
        network.nodes[1].delay_ms = Some(delay_ms..=delay_ms);
        network.nodes[1].building_ms = building_ms;
        for node in 0..validators {
            network.start(node);
        }
        network.run_for(200_000);
        let (made, all) = (proposed_by(&network, 1, 0), network.height());
        println!("{validators} validators, {delay_ms} ms away, building {building_ms:?}: {made} of {all}");
        assert!(made as u64 + 1 >= all / validators as u64, "{made} of {all} blocks");
        assert!(network.decided.values().all(|(.., round)| *round == 0), "nobody left its turn");
    }
}

/// Who comes back is heard at once, and has its next turn.
#[test]
fn who_comes_back_has_its_next_turn() {
    for validators in [4, 7] {
        let mut network = Network::started(Model { validators, ..Model::default() });
        network.run_for(5_000);
        network.kill(2);
        network.run_for(120_000);
        network.start(2);
        let before = network.height();
        network.run_for(60_000);
        let (made, all) = (proposed_by(&network, 2, before), network.height() - before);
        assert!(made as u64 + 1 >= all / validators as u64, "{made} of {all} blocks");
    }
}

/// It was away for longer than two turns, and all that can be heard of it since comes too late to count: the turns in which
/// it is waited for again find it.
#[test]
fn a_slow_proposer_that_was_away_is_found_again() {
    let mut network = Network::started(Model::default());
    network.run_for(5_000);
    network.nodes[1].delay_ms = Some(12_000..=12_000);
    network.run_for(60_000);
    network.nodes[1].delay_ms = Some(3_500..=3_500);
    network.run_for(100_000);
    let before = network.height();
    network.run_for(200_000);
    let (made, all) = (proposed_by(&network, 1, before), network.height() - before);
    assert!(made as u64 + 1 >= all / 4, "{made} of {all} blocks");
}

/// Beside peers with Besu's timing nothing is lost: they wait for T, and so a turn of one that is gone costs T as before.
#[test]
fn beside_besu_peers_nothing_is_lost() {
    for besus in [&[0][..], &[0, 2], &[0, 1, 2]] {
        for gone in [0, 3] {
            let mut network = Network::new(Model::default());
            for node in besus {
                network.nodes[*node].besu = Some(Besu::default());
            }
            for node in 0..4 {
                network.start(node);
            }
            network.run_for(10_000);
            network.kill(gone);
            network.run_for(30_000);
            let before = network.height();
            network.run_for(120_000);
            let made = network.height() - before;
            println!("Besu peers {besus:?}, {gone} gone: {made} blocks in two minutes");
            // Three blocks, and one turn that costs T = 4 s, in 8 s at most.
            assert!(made >= 45, "Besu peers {besus:?}, {gone} gone: {made} blocks in two minutes");
            network.start(gone);
            network.run_for(20_000);
            let before = network.height();
            network.run_for(60_000);
            assert!(network.height() - before >= 57, "{} blocks in a minute", network.height() - before);
        }
    }
}
