//! Every variant of a block is judged as the table says.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::sync::OnceLock;

use ipe_variants::rows::{ROWS, Row, Says, page, row};
use ipe_variants::{Scenario, Variant, judge, ledger};

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
                    wrong.push(format!("{}: {}: {asked}: {right:?} expected ({}), got {got}", scenario.name, variant.name, row.what));
                }
            }
            assert!(!(verdict.vote.is_ok() && verdict.import.is_err()), "{}: {}: voted for and not imported", scenario.name, variant.name);
        }
    }
    assert!(seen > 5_000, "{seen}");
    assert!(wrong.is_empty(), "{} of {seen}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_row_is_about_something_and_every_deviation_has_its_reason() {
    for row in ROWS {
        let found = scenarios().iter().any(|made| made.variants.iter().any(|one| std::ptr::eq(the_row(made, one), row)));
        assert!(found, "no variant is judged by the row {}", row.what);
        assert_eq!(row.besu != row.import, !row.why.is_empty(), "{}", row.what);
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
