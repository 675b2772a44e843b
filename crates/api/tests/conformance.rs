//! Every recorded question, put to the dispatcher over the imported chain, gets the recorded answer; what differs is
//! counted and must not become more.
#![allow(clippy::unwrap_used, clippy::panic)]

use flate2::read::GzDecoder;
use ipe_api::Release;
use ipe_api::conformance::{Difference, compare, dispatcher, exchanges, page, quorum, reason};
use std::io::Read;
use std::path::{Path, PathBuf};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures")
}

fn why(besu: bool, difference: &Difference) -> Option<&'static str> {
    if besu { reason(difference) } else { quorum::reason(difference) }
}

/// Least share of equal answers in every recording, per cent.
const LEAST: usize = 98;

#[test]
fn recorded_questions_get_the_recorded_answers() {
    let only = std::env::var("IPE_RECORDING").ok();
    let mut dirs: Vec<PathBuf> = std::fs::read_dir(fixtures())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|dir| dir.join("rpc.jsonl.gz").exists())
        .filter(|dir| only.as_ref().is_none_or(|name| dir.ends_with(name)))
        .collect();
    dirs.sort();
    assert!(!dirs.is_empty(), "no recorded answers under fixtures/");
    let most = std::env::var("IPE_SHOW").ok().and_then(|n| n.parse().ok()).unwrap_or(3);
    let mut failures = Vec::new();
    let mut reports = Vec::new();
    for dir in dirs {
        let name = dir.file_name().unwrap().to_string_lossy().into_owned();
        let mut text = String::new();
        GzDecoder::new(std::fs::File::open(dir.join("rpc.jsonl.gz")).unwrap()).read_to_string(&mut text).unwrap();
        let lines = exchanges(&text).unwrap();
        let besu = name.starts_with("besu");
        let release = if name.starts_with("besu-26") { Release::Besu26 } else { Release::Besu25 };
        let genesis = std::fs::read_to_string(dir.join("genesis.json")).unwrap();
        let blocks = std::fs::read(dir.join("blocks.rlp")).unwrap();
        let api = dispatcher(&genesis, &blocks, &lines, release).unwrap_or_else(|e| panic!("{name}: {e}"));
        let report = compare(&api, &lines);
        println!("{name}: {}", report.text(most));
        let total = report.total();
        if besu && total.equal * 100 < total.total * LEAST {
            failures.push(format!("{name}: {} of {} equal", total.equal, total.total));
        }
        for difference in report.differences.iter().filter(|d| why(besu, d).is_none()) {
            failures.push(format!(
                "{name}: {} {} differs without a known reason, in {:?}",
                difference.method,
                difference.params,
                quorum::differing(difference)
            ));
        }
        reports.push((name, report));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    if only.is_none() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/rpc-differences.md");
        let page = page(&reports);
        if std::env::var_os("IPE_BLESS").is_some() {
            std::fs::write(&path, &page).unwrap();
        }
        let documented = std::fs::read_to_string(&path).expect("docs/rpc-differences.md exists");
        assert!(documented == page, "docs/rpc-differences.md is not up to date; run this test with IPE_BLESS=1");
    }
}
