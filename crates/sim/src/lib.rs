//! The simulator: whole networks of real replicas in one thread, from one seed.
//!
//! Every node is a real [`ipe_engine::Replica`] with the real consensus core, ledger, pool, sync, relay, signing gate and
//! journal. What is simulated is around it: links (`network`), clocks, and the disk ([`disk`]). A `nemesis` breaks
//! things in storms and heals them in calms, villains lie, clients send transactions and remember what they were told, and
//! checkers that share no code with what they check look at everything that comes out.
//!
//! One seed is one run: every event goes into a hash ([`log`]), and the same seed at the same commit gives the same hash.
//!
//! ```text
//! scenario + seed ─► World ─► inputs ─► Replica::handle ─► outputs ─► links, checkers
//!                      ▲                                     │
//!                      └── nemesis, clients, timers ◄────────┘
//! ```

pub mod checkers;
pub mod clients;
pub mod cost;
pub mod disk;
pub mod faults;
mod inbox;
mod jobs;
pub mod load;
pub mod log;
pub mod mutation;
mod nemesis;
mod network;
mod node;
pub mod report;
mod rng;
pub mod scenario;
mod setup;
pub mod tree;
pub mod villains;
mod world;

pub use faults::{Fault, FaultCounts, Faults};
pub use log::{Entry, Teller, Window};
pub use report::{Report, Violation};
pub use scenario::{SCENARIOS, SLOW, Scenario, by_name};

/// Recoveries of signatures that a thread remembers, of some 200 bytes each: those of hundreds of heights. Every node recovers
/// the authors of every message and seal, which is most of what a simulation would do.
const REMEMBERED_RECOVERIES: usize = 32_768;

/// Runs `seed` of a scenario to its end.
pub fn run(scenario: &Scenario, seed: u64) -> Report {
    ipe_types::crypto::remember_recoveries(REMEMBERED_RECOVERIES);
    world::World::new(scenario, seed, None).run()
}

/// As [`run`], telling the events that `window` shows on the way. The hash is the same.
pub fn replay(scenario: &Scenario, seed: u64, window: Window, tell: Teller) -> Report {
    ipe_types::crypto::remember_recoveries(REMEMBERED_RECOVERIES);
    world::World::new(scenario, seed, Some((window, tell))).run()
}
