//! Every bug in the catalogue is planted, one after the other, and has to be found; what found it is in
//! `docs/planted-bugs.md`. The seeds are those with which the search begins: 1, 2, … A release build has no bugs to plant.

#![cfg(debug_assertions)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::panic::catch_unwind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use ipe_sim::{by_name, run};
use ipe_types::planted::{Bug, plant};

/// Seeds that are tried at most.
const BUDGET: u64 = 24;

fn hunted_in(bug: Bug) -> &'static str {
    match bug {
        Bug::QuorumOffByOne
        | Bug::DecideTooEarly
        | Bug::PreparedTooEarly
        | Bug::JournalAfterSend
        | Bug::CommitsNotJournalled
        | Bug::CertificateNotJournalled => "mesh",
        Bug::CertificateForgotten | Bug::PreparedBlockIgnored | Bug::HeldNotTold => "network",
        Bug::PaceForgotten => "slow-links",
        Bug::GoneWaitedFor => "one-gone",
        Bug::ClaimBelieved => "claimant",
        Bug::LeavesFirstRoundOnly => "two-silent",
        Bug::JustificationUnverified => "derived-boot",
        Bug::ReadForFree => "derived-mesh",
        Bug::DoubtIgnored => "rot-undecided",
        Bug::CommitSealUnchecked => "equivocating-voter",
        Bug::ArrivalAlone | Bug::FloodToldOn => "flood",
        Bug::VotesHurryForEver => "votes-at-odds",
        Bug::VotesWait => "votes-idle",
        Bug::ExecutionUnbounded | Bug::ExecutedInPlace => "dear",
        Bug::FutureUnbounded | Bug::VotesUnbounded | Bug::RoundChangesUnbounded => "wrong-round",
        Bug::ConflictUnchecked | Bug::JournalForgottenAtStart | Bug::TornTailKept => "crashes",
        Bug::RelayWithoutAuthorCheck => "impersonating",
        Bug::DecidedForgotten | Bug::CommitErrorIgnored => "disks",
        Bug::SenderUnchecked | Bug::RulesOfAnotherState => "unruled",
        Bug::SealsUncheckedAtImport => "lying-sync",
        Bug::EpochVotesKept | Bug::MajorityOffByOne | Bug::EarlyForgotten => "members",
        Bug::InvalidProposalAccepted
        | Bug::ParentUnchecked
        | Bug::TimestampUnchecked
        | Bug::GasLimitUnchecked
        | Bug::DifficultyUnchecked
        | Bug::ValidatorListUnchecked
        | Bug::CoinbaseUnchecked
        | Bug::TransactionsRootUnchecked
        | Bug::StateRootUnchecked
        | Bug::ReceiptsRootUnchecked
        | Bug::GasUsedUnchecked
        | Bug::VotingFieldsUnchecked => "invalid-blocks",
    }
}

/// Checker, seeds needed, simulated seconds of the last of them.
fn hunt(bug: Bug, scenario: &str) -> Option<(&'static str, u64, u64, String)> {
    let scenario = by_name(scenario).expect("it is listed");
    for seed in 1..=BUDGET {
        let report = catch_unwind(|| {
            plant(Some(bug));
            run(scenario, seed)
        });
        plant(None);
        match report {
            Err(_) => return Some(("a panic", seed, 0, String::new())),
            Ok(report) => {
                if let Some(first) = report.violations.first() {
                    return Some((first.checker, seed, first.at_ms / 1_000, first.what.clone()));
                }
            }
        }
    }
    None
}

#[test]
fn every_planted_bug_is_found_and_is_on_the_page() {
    let mut page = String::from(
        "# Planted bugs\n\n\
         Each of these makes one line of our own code wrong, in one thread of a test and never in a release build. The\n\
         simulator is then run with seeds 1, 2, … of one scenario until a checker speaks. This page is written by\n\
         `crates/sim/tests/planted.rs` (`IPE_BLESS=1` renews it), which fails when a bug is not found within 24 seeds. What\n\
         found it, in how many seeds, is as measured when the page was written. A seed is 140 simulated seconds; the time\n\
         is that in the last seed.\n\n\
         | Bug | Where | What is wrong | Scenario | Found by | Seeds | After |\n|---|---|---|---|---|---|---|\n",
    );
    let mut catalogue = Bug::catalogue();
    assert!(catalogue.len() >= 25);
    // Some of them, without looking at the page: for whoever plants a new one.
    let some = std::env::var("IPE_PLANTED").ok();
    catalogue.retain(|(_, name, ..)| some.as_ref().is_none_or(|some| some.split(',').any(|wanted| wanted == *name)));
    let mut missed = Vec::new();
    // A bug is planted in a thread, so each thread may have its own.
    let next = AtomicUsize::new(0);
    let found: Mutex<BTreeMap<usize, _>> = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some((index, (bug, name, ..))) =
                    Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|index| Some((index, catalogue.get(index)?)))
                {
                    let outcome = hunt(*bug, hunted_in(*bug));
                    eprintln!("{name}: {outcome:.120?}");
                    found.lock().expect("no hunt panics").insert(index, outcome);
                }
            });
        }
    });
    let mut found = found.into_inner().expect("no hunt panics");
    for (index, (bug, name, place, wrong)) in catalogue.into_iter().enumerate() {
        let scenario = hunted_in(bug);
        match found.remove(&index).flatten() {
            Some((checker, seeds, at_s, _)) => {
                let _ = writeln!(page, "| {name} | `{place}` | {wrong} | {scenario} | {checker} | {seeds} | {at_s} s |");
            }
            None => {
                missed.push(name);
            }
        }
    }
    assert!(missed.is_empty(), "not found within {BUDGET} seeds: {missed:?}");
    if some.is_some() {
        return;
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/planted-bugs.md");
    if std::env::var_os("IPE_BLESS").is_some() {
        std::fs::write(path, &page).expect("the page is writable");
    }
    let documented = std::fs::read_to_string(path).unwrap_or_default();
    // Every change to the core shifts what a seed does; which bugs there are, and where they are hunted, does not shift.
    let rows = |page: &str| -> Vec<Vec<String>> {
        page.lines()
            .filter(|line| line.starts_with("| "))
            .map(|line| line.split(" | ").take(4).map(str::to_owned).collect())
            .collect()
    };
    assert!(rows(&documented) == rows(&page), "docs/planted-bugs.md is not up to date; run this test with IPE_BLESS=1");
}
