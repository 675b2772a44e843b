//! Everything that reads what a peer, a client or a file says, as functions of bytes.
//!
//! One definition of each target, used twice: the test `short` feeds the seeds and some thousand damaged copies of them
//! and is deterministic; `cargo xtask fuzz` gives the same functions to libFuzzer, which is guided by coverage. Seeds are
//! made at run time from the messages and chains recorded in `fixtures/`; what a run has found is kept in `regressions/`.
//!
//! A target panics when a promise is broken: beside "no panic" that is that what is read is written alike, that a decoded
//! value survives another round, that an author stays who it is, and that no more memory is asked for than [`Target`]
//! allows. See `targets/` for the promises of each.

pub mod events;
pub mod fixtures;
pub mod mutate;
pub mod targets;

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

pub use targets::TARGETS;

/// Counts what is allocated.
#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// One thing that is fuzzed.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// As the command line names it.
    pub name: &'static str,
    /// What is read, and from whom.
    pub about: &'static str,
    /// Longest input, bytes.
    pub longest: usize,
    /// Most bytes that one input may have allocated, all allocations added up: a part for each run and one per byte of
    /// input. A target that executes whole networks has its bounds in its own promises and none here.
    pub memory: Option<(usize, usize)>,
    /// Sound inputs to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Reads one input; panics when a promise is broken.
    pub run: fn(&[u8]),
}

impl Target {
    /// Runs one input and holds it to its memory.
    ///
    /// # Panics
    /// A promise is broken.
    pub fn check(&self, input: &[u8]) {
        let Some((base, per_byte)) = self.memory else { return (self.run)(input) };
        let before = COUNTED.stats().bytes_allocated;
        (self.run)(input);
        let asked = COUNTED.stats().bytes_allocated - before;
        let most = base + per_byte * input.len();
        assert!(asked <= most, "{}: {asked} bytes allocated for an input of {}, at most {most}", self.name, input.len());
    }
}

/// The target of that name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
