//! A fixed set of runs of every scenario: nothing that must not happen does.

use std::sync::atomic::{AtomicUsize, Ordering};

use ipe_sim::disk::{CrashPoint, Remains};
use ipe_sim::{Fault, FaultCounts, SCENARIOS, SLOW, Scenario, by_name, run};

/// Seeds that once showed a bug, with their scenarios; what they showed is told in docs/simulation.md.
const FOUND: [(&str, u64); 10] = [
    ("disks", 1),
    ("network", 2),
    ("equivocating-voter", 1),
    ("everything", 7),
    ("lying-sync", 7022),
    ("villains-storm", 7011),
    ("members", 30009),
    ("clocks", 7041),
    ("villains-storm", 1_795_375_092_025),
    ("lying-sync", 1_795_380_021_354),
];

/// Runs on both processors of a small machine.
fn all(runs: &[(Scenario, u64)]) -> (FaultCounts, Vec<String>) {
    let next = AtomicUsize::new(0);
    let results: Vec<_> = std::thread::scope(|scope| {
        let work = || {
            let (mut faults, mut bad) = (FaultCounts::default(), Vec::new());
            while let Some((scenario, seed)) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
                let report = run(scenario, *seed);
                faults.merge(&report.faults);
                if let Some(first) = report.violations.first() {
                    bad.push(format!("{first:?}; {}", report.replay_command()));
                }
            }
            (faults, bad)
        };
        let workers: Vec<_> = (0..2).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|worker| worker.join().expect("no replica panics")).collect()
    });
    let mut faults = FaultCounts::default();
    results.iter().for_each(|(counts, _)| faults.merge(counts));
    (faults, results.into_iter().flat_map(|(_, bad)| bad).collect())
}

#[test]
fn every_scenario_holds_and_every_kind_of_fault_is_injected() {
    let scenario = |name: &str| by_name(name).expect("it is listed").clone();
    let mut runs: Vec<(Scenario, u64)> = SCENARIOS
        .iter()
        .filter(|scenario| scenario.name != "idle" && !SLOW.contains(&scenario.name))
        .map(|scenario| (scenario.clone(), 11))
        .collect();
    runs.extend(FOUND.map(|(name, seed)| (scenario(name), seed)));
    let (faults, bad) = all(&runs);
    assert!(bad.is_empty(), "{bad:#?}");
    for fault in Fault::ALL {
        assert!(faults.of(fault) > 0, "no {} was injected", fault.name());
    }
}

/// A validator dies in each of its writes to journal and store, and the write is lost, torn or whole.
#[test]
fn a_validator_may_die_in_any_write() {
    let mesh = by_name("mesh").expect("it is listed").clone();
    let short = Scenario { cycles: 1, calm_ms: 4_000, boots: 0, writers: 0, observers: false, load_ms: 0, ..mesh };
    // The last ones leave no time to catch up before the end.
    let writes = run(&short, 1).writes[0].saturating_sub(6);
    assert!(writes > 12, "{writes}");
    let remains = [Remains::Nothing, Remains::Part(500), Remains::All];
    let runs: Vec<_> = (0..writes)
        .flat_map(|at_write| remains.map(|remains| CrashPoint { at_write, remains }))
        .map(|point| (Scenario { crash: Some((0, point)), ..short.clone() }, 1))
        .collect();
    let (faults, bad) = all(&runs);
    assert!(bad.is_empty(), "{bad:#?}");
    assert_eq!(faults.of(Fault::LostWrite) + faults.of(Fault::TornWrite) + faults.of(Fault::UnacknowledgedWrite), 3 * writes);
}

/// A change of the set takes some block periods where empty blocks come once a minute; and whoever swings the vote of operators who
/// disagree ends few waits of theirs.
#[test]
fn votes_do_not_wait_for_empty_blocks_nor_end_that_wait_for_ever() {
    let runs: Vec<_> = ["votes-idle", "votes-at-odds"]
        .iter()
        .flat_map(|name| (1..=6).map(|seed| (by_name(name).expect("it is listed").clone(), seed)))
        .collect();
    let (faults, bad) = all(&runs);
    assert!(bad.is_empty(), "{bad:#?}");
    assert!(faults.of(Fault::SetChange) > 6 * 20, "{faults:?}");
}
