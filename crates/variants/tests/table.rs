//! Every variant of a block is judged as the table says, and the table says what real clients said.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::sync::OnceLock;

use ipe_variants::rows::{GOQUORUM, ROWS, Row, Says, page, row};
use ipe_variants::{Scenario, Variant, judge, ledger, recorded};

/// Clients whose verdicts are recorded, and chains about whose blocks each was asked at least: to import them, and to vote.
const CLIENTS: [(&str, usize, usize); 3] = [("besu-26.8.0", 28, 14), ("besu-25.5.0", 16, 4), ("goquorum-24.4.1", 2, 0)];

fn scenarios() -> &'static [Scenario] {
    static MADE: OnceLock<Vec<Scenario>> = OnceLock::new();
    MADE.get_or_init(ipe_variants::all)
}

fn the_row(scenario: &Scenario, variant: &Variant) -> &'static Row {
    row(&scenario.name, &variant.name).unwrap_or_else(|| panic!("{}: no row is about {}", scenario.name, variant.name))
}

#[test]
fn ours_are_the_verdicts_of_the_table() {
    let (mut seen, mut wrong) = (0, Vec::new());
    for scenario in scenarios() {
        let ledger = ledger(scenario);
        let mut names = BTreeSet::new();
        for variant in &scenario.variants {
            assert!(names.insert(&variant.name), "{}: {} twice", scenario.name, variant.name);
            let (row, verdict) = (the_row(scenario, variant), judge(&ledger, scenario, variant));
            for (asked, right, got) in [("import", row.import, &verdict.import), ("vote", row.vote, &verdict.vote)] {
                seen += 1;
                if (right == Says::Yes) != got.is_ok() {
                    let got = got.as_ref().err().map_or("yes", String::as_str);
                    wrong.push(format!(
                        "{}: {}: {asked}: {right:?} expected ({}), got {got}",
                        scenario.name, variant.name, row.what
                    ));
                }
            }
            assert!(
                !(verdict.vote.is_ok() && verdict.import.is_err()),
                "{}: {}: voted for and not imported",
                scenario.name,
                variant.name
            );
        }
    }
    assert!(seen > 5_000, "{seen}");
    assert!(wrong.is_empty(), "{} of {seen}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_table_is_what_real_clients_said() {
    let mut wrong = Vec::new();
    for (client, least, voted) in CLIENTS {
        let lines = recorded::read(client).unwrap();
        let chains: BTreeSet<&str> = lines.keys().map(|(chain, _)| chain.as_str()).collect();
        assert!(chains.len() >= least, "{client} was asked about {} chains", chains.len());
        let votes: BTreeSet<&str> =
            lines.iter().filter(|(_, line)| line.vote.is_some()).map(|((chain, _), _)| chain.as_str()).collect();
        assert!(votes.len() >= voted, "{client} was asked to vote on {} chains", votes.len());
        for scenario in scenarios().iter().filter(|made| chains.contains(made.name.as_str())) {
            for variant in scenario.variants.iter().filter(|variant| variant.is_judged_by_import()) {
                let at = format!("{client}: {}: {}", scenario.name, variant.name);
                let Some(line) = lines.get(&(scenario.name.clone(), variant.name.clone())) else {
                    wrong.push(format!("{at}: not asked; run cargo xtask interop verdicts"));
                    continue;
                };
                if line.id != variant.id() {
                    wrong.push(format!("{at}: asked about other bytes; run cargo xtask interop verdicts"));
                }
                let row = the_row(scenario, variant);
                if line.import != (row.of(client) == Says::Yes) {
                    wrong.push(format!(
                        "{at}: {:?} in the table ({}), {} recorded: {}",
                        row.of(client),
                        row.what,
                        line.import,
                        line.why
                    ));
                }
                let vote = row.vote_of(client);
                if line.vote.is_some_and(|recorded| recorded != (vote == Says::Yes)) {
                    wrong.push(format!("{at}: vote: {vote:?} in the table ({}), another recorded", row.what));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_row_is_about_something_and_every_deviation_has_its_reason() {
    for row in ROWS.iter().chain(GOQUORUM) {
        let found = scenarios().iter().any(|made| made.variants.iter().any(|one| std::ptr::eq(the_row(made, one), row)));
        assert!(found, "no variant is judged by the row {}", row.what);
        assert_eq!(row.client != row.import, !row.why.is_empty(), "{}", row.what);
    }
}

#[test]
fn the_page_is_the_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/spec/verdicts.md");
    let wanted = page();
    if std::env::var_os("IPE_BLESS").is_some() {
        std::fs::write(path, &wanted).unwrap();
    }
    let documented = std::fs::read_to_string(path).unwrap();
    assert!(documented == wanted, "docs/spec/verdicts.md is not up to date; run this test with IPE_BLESS=1");
}
