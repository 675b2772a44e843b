//! Every recorded question, put to the dispatcher over the imported chain, gets the recorded answer; what differs is
//! counted and must not become more.
#![allow(clippy::unwrap_used, clippy::panic)]

use flate2::read::GzDecoder;
use ipe_api::conformance::{compare, dispatcher, exchanges};
use ipe_api::Release;
use std::io::Read;
use std::path::{Path, PathBuf};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures")
}

#[test]
fn recorded_questions_get_the_recorded_answers() {
    let only = std::env::var("IPE_RECORDING").ok();
    let mut dirs: Vec<PathBuf> = std::fs::read_dir(fixtures())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|dir| dir.join("rpc.jsonl.gz").exists())
        .filter(|dir| only.as_ref().is_none_or(|name| dir.ends_with(name)))
        .filter(|dir| only.is_some() || dir.file_name().unwrap().to_string_lossy().starts_with("besu"))
        .collect();
    dirs.sort();
    assert!(!dirs.is_empty(), "no recorded answers under fixtures/");
    let mut failures = Vec::new();
    for dir in dirs {
        let name = dir.file_name().unwrap().to_string_lossy().into_owned();
        let mut text = String::new();
        GzDecoder::new(std::fs::File::open(dir.join("rpc.jsonl.gz")).unwrap()).read_to_string(&mut text).unwrap();
        let lines = exchanges(&text).unwrap();
        let release = if name.starts_with("besu-26") { Release::Besu26 } else { Release::Besu25 };
        let genesis = std::fs::read_to_string(dir.join("genesis.json")).unwrap();
        let blocks = std::fs::read(dir.join("blocks.rlp")).unwrap();
        let api = dispatcher(&genesis, &blocks, &lines, release).unwrap_or_else(|e| panic!("{name}: {e}"));
        let report = compare(&api, &lines);
        let most = std::env::var("IPE_SHOW").ok().and_then(|n| n.parse().ok()).unwrap_or(3);
        println!("{name}: {}", report.text(most));
        let total = report.total();
        if total.equal * 100 < total.total * 98 {
            failures.push(format!("{name}: {} of {}", total.equal, total.total));
        }
    }
    assert!(failures.is_empty(), "fewer than 98 % equal: {}", failures.join(", "));
}
