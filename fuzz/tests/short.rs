//! The short run: every seed, every kept regression, and damaged copies of both, the same in every run.

#![allow(clippy::panic)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Instant;

use ipe_fuzz::mutate::{Dice, mutate};
use ipe_fuzz::{TARGETS, Target};

/// Damaged inputs of each target, at most.
const DAMAGED: usize = 1_500;
/// A target that is slow on this machine gets fewer, but never less than [`LEAST`]: seconds, not minutes, in all.
const MOST_MS: u128 = 1_500;
const LEAST: usize = 100;

fn regressions(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions").join(target.name);
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut found: Vec<(PathBuf, Vec<u8>)> =
        entries.flatten().filter_map(|entry| Some((entry.path(), std::fs::read(entry.path()).ok()?))).collect();
    found.sort();
    found
}

/// One test for all: memory is counted for the whole process, so nothing else may run beside it.
#[test]
fn every_target_keeps_its_promises() {
    let mut broken = Vec::new();
    for (index, target) in TARGETS.iter().enumerate() {
        assert!(TARGETS[..index].iter().all(|other| other.name != target.name), "{} is there twice", target.name);
        let began = Instant::now();
        let seeds = (target.seeds)();
        assert!(!seeds.is_empty(), "{} has no seeds", target.name);
        let mut runs = 0;
        let mut run = |input: &[u8], what: &str| {
            runs += 1;
            if catch_unwind(AssertUnwindSafe(|| target.check(input))).is_err() {
                broken.push(format!("{}, {what}: {}", target.name, hex::encode(input)));
            }
        };
        // What is made once, the first time, is nobody's memory.
        drop(catch_unwind(AssertUnwindSafe(|| (target.run)(&seeds[0]))));
        for (path, input) in regressions(target) {
            run(&input, &format!("regression {}", path.display()));
        }
        for (index, seed) in seeds.iter().enumerate() {
            assert!(seed.len() <= target.longest, "{}: seed {index} has {} bytes", target.name, seed.len());
            run(seed, &format!("seed {index}"));
        }
        let mut dice = Dice(0x5eed);
        let began_damage = Instant::now();
        for index in 0..DAMAGED {
            if index >= LEAST && began_damage.elapsed().as_millis() > MOST_MS {
                break;
            }
            let (one, other) = (&seeds[dice.below(seeds.len())], &seeds[dice.below(seeds.len())]);
            let input = mutate(&mut dice, one, other, target.longest);
            run(&input, &format!("damaged {index}"));
        }
        println!("{:<20} {:>4} seeds {runs:>6} runs {:>6} ms", target.name, seeds.len(), began.elapsed().as_millis());
    }
    assert!(broken.is_empty(), "{} inputs broke a promise:\n{}", broken.len(), broken.join("\n"));
}
