//! Work that takes long, as values: building a block, checking a proposal, making a block final.
//!
//! The replica hands out a [`Job`] with [`crate::Output::Work`] and goes on with its inputs; whoever ran it hands the answer back
//! with [`crate::Input::Done`]. There is never a second job out, so the ledger has one writer, and its head moves nowhere else. What
//! is handed out, and when, is decided in `works.rs`.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ipe_chain::{Bound, BuildOrder, Candidate, CheckedBlock, Cut, Feedback, Imported, InvalidBlock, Ledger, Over, Terms};
use ipe_types::planted::{self, Bug};
use ipe_types::sizes::BUILT_TRANSACTIONS_BYTES;
use ipe_types::spec::ChainSpec;
use ipe_types::{B256, Block};
use parking_lot::Mutex;

use crate::pace::{self, Phase};
use crate::peer::PeerId;
use crate::pool::{DropReason, MinedBlock, PickLimits, Pool};
use crate::replica::{Clock, Stages};
use crate::status::{StatusCell, WorkKind};

/// When a job is to end, µs of the steady clock, as the replica that handed it out may change it meanwhile. A block that a quorum
/// has sealed does not look at it.
#[derive(Clone, Debug)]
pub(crate) struct Until(Arc<AtomicU64>);

impl Until {
    pub(crate) fn new(at_us: u64) -> Self {
        Self(Arc::new(AtomicU64::new(at_us)))
    }

    /// Moves the end; 0 stops the job as soon as it looks.
    pub(crate) fn set(&self, at_us: u64) {
        self.0.store(at_us, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What jobs work with; each part may be shared with readers.
#[derive(Clone)]
pub(crate) struct Tools {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) spec: Arc<ChainSpec>,
    pub(crate) pool: Arc<Mutex<Pool>>,
    pub(crate) status: StatusCell,
}

/// One piece of work, with all that it needs. It is run once, anywhere.
pub struct Job {
    pub(crate) tools: Tools,
    pub(crate) task: Task,
    pub(crate) until: Until,
}

/// The kinds of work.
#[derive(Debug)]
pub(crate) enum Task {
    Build(Build),
    Check(Check),
    Finish(Finish),
}

/// Build a block on the head.
#[derive(Debug)]
pub(crate) struct Build {
    pub(crate) height: u64,
    pub(crate) round: u32,
    pub(crate) order: BuildOrder,
    /// Work that it may hold, see [`pace::work`].
    pub(crate) budget: u64,
    /// How long that may take from its beginning, µs.
    pub(crate) build_us: u64,
    /// Gas that one transaction may use.
    pub(crate) tx_gas: u64,
}

/// Judge a proposal.
#[derive(Debug)]
pub(crate) struct Check {
    pub(crate) height: u64,
    pub(crate) block: Arc<Block>,
    pub(crate) hash: B256,
    /// Wei; the base fee where it is fixed.
    pub(crate) min_gas_price: u64,
    /// See [`Terms`].
    pub(crate) gas_limit_aim: Option<u64>,
    /// Bytes that one transaction may have.
    pub(crate) memory: u64,
    /// How long building may take here, µs: what is dropped follows from it.
    pub(crate) build_us: u64,
}

/// Make the block after the head final: check it unless that was done, and write it.
#[derive(Debug)]
pub(crate) struct Finish {
    pub(crate) block: Arc<Block>,
    pub(crate) hash: B256,
    pub(crate) source: Source,
    pub(crate) known: Option<Known>,
    pub(crate) stages: Stages,
}

/// A checked block, with what its making took.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) checked: CheckedBlock,
    pub(crate) build: Duration,
    pub(crate) check: Duration,
}

/// Where a block that is to become final comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The votes for it were counted here.
    Counted,
    /// Its header and its body came from these.
    Fetched {
        from: [PeerId; 2],
        /// By itself, and not because it was asked for.
        pushed: bool,
    },
}

/// The answer to a job.
#[derive(Debug)]
pub struct Done(pub(crate) Answer);

#[derive(Debug)]
pub(crate) enum Answer {
    Built {
        height: u64,
        round: u32,
        built: Result<CheckedBlock, String>,
        took: Duration,
        /// Transactions that cannot be in any block here, and why.
        dropped: Vec<(B256, DropReason)>,
    },
    Checked {
        hash: B256,
        verdict: Result<CheckedBlock, InvalidBlock>,
        took: Duration,
    },
    Finished(Finished),
}

/// What became of a block that was to become final.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) block: Arc<Block>,
    pub(crate) hash: B256,
    pub(crate) source: Source,
    pub(crate) stages: Stages,
    pub(crate) outcome: Result<Written, Failure>,
}

/// A block that is in the ledger.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) imported: Arc<Imported>,
    /// When, µs of the steady clock.
    pub(crate) at_us: u64,
    /// This node's own transactions that are to be told again.
    pub(crate) unheard: Vec<Arc<Candidate>>,
}

#[derive(Debug)]
pub(crate) enum Failure {
    /// Refused, or not judged.
    Invalid(InvalidBlock),
    /// Found good, and not written.
    NotWritten(String),
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Job({:?}, {:?})", self.task, self.until)
    }
}

impl std::fmt::Display for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Answer::Built { height, round, built, .. } => {
                write!(f, "block {height} for round {round} is {}", if built.is_ok() { "built" } else { "not built" })
            }
            Answer::Checked { hash, verdict, .. } => {
                let verdict = if verdict.is_ok() { "good" } else { "not found good" };
                write!(f, "the proposal {hash} is {verdict}")
            }
            Answer::Finished(finished) => {
                let written = if finished.outcome.is_ok() { "written" } else { "not written" };
                write!(f, "block {} {} is {written}", finished.block.header.number, finished.hash)
            }
        }
    }
}

impl Job {
    /// Does it. Takes as long as it takes; `clock` is asked on the way.
    pub fn run(self, clock: Clock<'_>) -> Done {
        let Self { tools, task, until } = self;
        Done(match task {
            Task::Build(task) => tools.build(task, &until, clock),
            Task::Check(task) => tools.check(task, &until, clock),
            Task::Finish(task) => Answer::Finished(tools.finish(task, clock)),
        })
    }
}

fn since(began_us: u64, clock: Clock<'_>) -> Duration {
    Duration::from_micros(clock.now_us().saturating_sub(began_us))
}

impl Tools {
    fn build(&self, task: Build, until: &Until, clock: Clock<'_>) -> Answer {
        let Build { height, round, order, budget, build_us, tx_gas } = task;
        let _working = self.status.works_on(WorkKind::Build, height, B256::ZERO);
        let began = clock.now_us();
        let deadline = began.saturating_add(build_us);
        let phase = Cell::new(Phase::InOrder);
        let elapsed_us = || clock.now_us().saturating_sub(began);
        let count = usize::try_from(budget / pace::work(21_000, 1)).unwrap_or(usize::MAX).saturating_add(16);
        let mut picks = self.pool.lock().pick(&PickLimits { count, bytes: BUILT_TRANSACTIONS_BYTES });
        let mut used = 0;
        let mut next = |feedback: Feedback| {
            let feedback = match feedback {
                Feedback::Cut(cut) if !pace::is_to_blame(&cut, build_us) => Feedback::Cut(Cut { over: Over::BlockTime, ..cut }),
                Feedback::Included { gas_used } => {
                    used += pace::work(gas_used, 1);
                    feedback
                }
                other => other,
            };
            if phase.get() == Phase::InOrder && Phase::at(build_us, elapsed_us()) == Phase::SmallestFirst {
                phase.set(Phase::SmallestFirst);
                picks.smallest_first();
            }
            let candidate = picks.next(feedback);
            if used >= budget { None } else { candidate }
        };
        let bound = Bound {
            left_us: &|| deadline.min(until.get()).saturating_sub(clock.now_us()),
            tx_us: &|| phase.get().tx_us(build_us, elapsed_us()),
            tx_gas,
            memory: pace::TX_MEMORY,
        };
        let bound = if planted::is(Bug::ExecutionUnbounded) { Bound::NONE } else { bound };
        let built = self.ledger.build(&order, &mut next, bound).map_err(|error| error.to_string());
        let dropped = self.pool.lock().judged(clock.now_ms(), picks);
        Answer::Built { height, round, built, took: since(began, clock), dropped }
    }

    fn check(&self, task: Check, until: &Until, clock: Clock<'_>) -> Answer {
        let Check { height, block, hash, min_gas_price, gas_limit_aim, memory, build_us } = task;
        let _working = self.status.works_on(WorkKind::Proposal, height, hash);
        let began = clock.now_us();
        let left_us = || until.get().saturating_sub(clock.now_us());
        let bound = Bound { left_us: &left_us, memory, ..Bound::NONE };
        let bound = if planted::is(Bug::ExecutionUnbounded) { Bound::NONE } else { bound };
        let terms = Terms { min_gas_price, gas_limit_aim, bound };
        let senders = |hash: &B256| self.pool.lock().sender_of(hash);
        let verdict = self.ledger.check_proposal(block, clock.wall_ms(), &senders, terms);
        // Dropped only when building would have dropped it, too: the proposer decides what comes before a transaction, and how
        // late in the round.
        if let Err(InvalidBlock::TooDear { hash, cut, .. }) = &verdict
            && pace::is_to_blame(cut, build_us)
        {
            let reason = DropReason::TooDear { reason: cut.to_string() };
            self.pool.lock().drop_for_good(clock.now_ms(), hash, reason);
        }
        Answer::Checked { hash, verdict, took: since(began, clock) }
    }

    fn finish(&self, task: Finish, clock: Clock<'_>) -> Finished {
        let Finish { block, hash, source, known, mut stages } = task;
        let _working = self.status.works_on(WorkKind::Sealed, block.header.number, hash);
        let began = clock.now_us();
        // The hash names the header alone.
        let checked = match known.filter(|known| known.checked.block().body == block.body) {
            Some(Known { checked, build, check }) => {
                (stages.build, stages.check) = (build, check);
                Ok(checked)
            }
            None => {
                let checked = self.check_sealed(block.clone(), clock);
                stages.check = since(began, clock);
                checked
            }
        };
        let began = clock.now_us();
        let outcome = checked.map_err(Failure::Invalid).and_then(|checked| {
            let imported = self.ledger.import(checked, block.clone()).map_err(|error| Failure::NotWritten(error.to_string()))?;
            let at_us = clock.now_us();
            stages.import = Duration::from_micros(at_us.saturating_sub(began));
            let unheard = self.update_pool(at_us / 1_000, &imported);
            Ok(Written { imported, at_us, unheard })
        });
        Finished { block, hash, source, stages, outcome }
    }

    fn check_sealed(&self, block: Arc<Block>, clock: Clock<'_>) -> Result<CheckedBlock, InvalidBlock> {
        let senders = |hash: &B256| self.pool.lock().sender_of(hash);
        // A quorum has judged its timestamp. That our own clock is behind must not keep us from what is final.
        let now_ms = clock.wall_ms().max(block.header.timestamp.saturating_mul(1_000));
        self.ledger.check_sealed(block, now_ms, &senders)
    }

    /// Takes out of the pool what a block has settled.
    fn update_pool(&self, now_ms: u64, imported: &Imported) -> Vec<Arc<Candidate>> {
        let before = *self.pool.lock().rules();
        let rules = crate::admission::rules(&self.ledger, &self.spec, &before);
        let gas_used = ipe_chain::receipts::gas_used(&imported.receipts);
        let mined = MinedBlock {
            number: imported.number(),
            gas_used: &gas_used,
            transactions: &imported.block.body.transactions,
            senders: &imported.senders,
            rules,
        };
        let mut pool = self.pool.lock();
        pool.on_block(now_ms, &mined, &|address| crate::admission::sender_state(&self.ledger, address));
        pool.take_unheard(now_ms)
    }
}
