//! One institution floods, and the others' transactions are mined all the same.

use ipe_sim::{by_name, run};

#[test]
fn a_flood_keeps_nobody_elses_transactions_waiting() {
    for (name, seed) in [("flood", 1), ("flood-mesh", 1), ("dear", 1)] {
        let scenario = by_name(name).expect("it is listed");
        let report = run(scenario, seed);
        assert!(report.violations.is_empty(), "{:#?}; {}", report.violations, report.replay_command());
        assert!(report.included > 300, "{} transactions", report.included);
        // Enough for the checker of relaying to judge.
        assert!(scenario.relay_ms == 0 || report.relayed.0 > 500, "{name}: {} messages passed on", report.relayed.0);
    }
}
