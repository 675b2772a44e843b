//! Which job is out and what is wanted next: what a quorum has sealed goes before what may be voted for, and that before what may be
//! proposed. Of each kind one is wanted at most, the latest; what belongs to a height or a round that is over is dropped.
//!
//! Answers come late: meanwhile the core may have gone to another round, and wants something else. What is wanted stands until it is
//! answered, and an answer that is not about the very block, or the very round, that is wanted is nobody's: the block is remembered
//! if it is good, and the core is told nothing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use ipe_chain::{BuildOrder, CheckedBlock, InvalidBlock};
use ipe_qbft::justify::Rules;
use ipe_qbft::{Event, Timer};
use ipe_types::planted::{self, Bug};
use ipe_types::{B256, Block, ExtraData, Header};

use crate::blocks::view;
use crate::job::{Answer, Build, Check, Done, Finish, Job, Known, Source, Task, Tools, Until};
use crate::pace;
use crate::pool::DropReason;
use crate::replica::{Clock, Level, Output, Put, Replica, Stages};

/// Checked blocks kept until one of them is decided: the proposals of some rounds.
pub(crate) const MAX_CHECKED: usize = 6;
/// Checks in a row that are answered at once, because the block is known.
const ANSWERED_AT_ONCE: usize = 8;
/// Transactions dropped at once of which the log tells each.
const TOLD_DROPS: usize = 4;

/// What is done, and wanted.
#[derive(Debug, Default)]
pub(crate) struct Works {
    out: Option<Out>,
    sealed: Option<Sealed>,
    check: Option<Judgement>,
    build: Option<Order>,
    /// Blocks checked or built at this height, whose answer is known.
    known: VecDeque<Known>,
}

/// The job that is out.
#[derive(Debug)]
struct Out {
    kind: Kind,
    until: Until,
    stopped: bool,
}

#[derive(Debug)]
enum Kind {
    Build,
    Check(Judgement),
    Finish(Source),
}

/// A block for which the votes were counted here, to be written as soon as it can be. When it could not be written it waits
/// here, by no fault of anybody's: when that happens to a whole quorum at once, nobody has it for the others to fetch, so each
/// tries again by itself.
#[derive(Clone, Debug)]
pub(crate) struct Sealed {
    pub(crate) block: Arc<Block>,
    pub(crate) hash: B256,
    pub(crate) round: u32,
    /// Not before, ms.
    pub(crate) not_before: u64,
}

/// A proposal that the core wants judged.
#[derive(Clone, Debug)]
pub(crate) struct Judgement {
    pub(crate) height: u64,
    pub(crate) round: u32,
    pub(crate) block: Arc<Block>,
    pub(crate) hash: B256,
    pub(crate) prepared: bool,
}

/// A block that the core wants built.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order {
    pub(crate) height: u64,
    pub(crate) round: u32,
    pub(crate) timestamp_s: u64,
}

impl Works {
    /// Whether a job is out.
    pub(crate) fn is_out(&self) -> bool {
        self.out.is_some()
    }

    /// Whether a block is being made final.
    pub(crate) fn is_finishing(&self) -> bool {
        self.out.as_ref().is_some_and(|out| matches!(out.kind, Kind::Finish(_)))
    }

    /// Whether that is one for which the votes were counted here.
    pub(crate) fn is_finishing_counted(&self) -> bool {
        self.out.as_ref().is_some_and(|out| matches!(out.kind, Kind::Finish(Source::Counted)))
    }

    /// Whether the block of this height is here, sealed, and is or will be written.
    pub(crate) fn has_sealed(&self, height: u64) -> bool {
        self.is_finishing_counted() || self.sealed.as_ref().is_some_and(|sealed| sealed.block.header.number == height)
    }

    /// When a sealed block is to be tried again, ms; `None` while a job is out, whose answer comes by itself.
    pub(crate) fn wake_at(&self) -> Option<u64> {
        self.sealed.as_ref().filter(|_| self.out.is_none()).map(|sealed| sealed.not_before)
    }

    /// Wants a sealed block written. What is worth nothing beside it is stopped; a check of the same block is left to its end,
    /// which is then part of the work.
    pub(crate) fn want_sealed(&mut self, sealed: Sealed) {
        if let Some(out) = &mut self.out {
            match &out.kind {
                Kind::Check(judged) if judged.hash == sealed.hash && !out.stopped => out.until.set(u64::MAX),
                Kind::Check(..) | Kind::Build => out.stop(),
                Kind::Finish(_) => {}
            }
        }
        self.sealed = Some(sealed);
    }

    /// Wants a proposal judged until `ends_us`, and none before it.
    pub(crate) fn want_check(&mut self, check: Judgement, ends_us: u64) {
        if let Some(out) = &mut self.out {
            match &out.kind {
                Kind::Check(judged) if check.is_about(judged) && !out.stopped => out.until.set(ends_us),
                Kind::Check(..) | Kind::Build => out.stop(),
                Kind::Finish(_) => {}
            }
        }
        self.check = Some(check);
    }

    /// Wants a block built.
    pub(crate) fn want_build(&mut self, order: Order) {
        self.stop();
        self.build = Some(order);
    }

    /// The timer of a round was set: what is judged in it may take until then.
    pub(crate) fn round_ends(&mut self, height: u64, round: u32, at_ms: u64) {
        let Some(check) = self.check.as_ref().filter(|check| (check.height, check.round) == (height, round)) else { return };
        if let Some(out) = self.out.as_mut().filter(|out| !out.stopped)
            && let Kind::Check(judged) = &out.kind
            && check.is_about(judged)
        {
            out.until.set(at_ms.saturating_mul(1_000));
        }
    }

    /// A round begins: nothing is wanted for those before it.
    pub(crate) fn round_begins(&mut self, height: u64, round: u32) {
        self.check.take_if(|check| check.height == height && check.round < round);
        self.build.take_if(|order| order.height == height && order.round < round);
    }

    /// The head moved.
    pub(crate) fn head_is(&mut self, head: u64) {
        self.sealed.take_if(|sealed| sealed.block.header.number <= head);
        self.check.take_if(|check| check.height <= head);
        self.build.take_if(|order| order.height <= head);
        self.known.clear();
    }

    /// The core that wanted these is given up.
    pub(crate) fn core_is_gone(&mut self) {
        (self.check, self.build) = (None, None);
    }

    /// Stops what is out, unless it makes a block final.
    pub(crate) fn stop(&mut self) {
        if let Some(out) = self.out.as_mut().filter(|out| !matches!(out.kind, Kind::Finish(_))) {
            out.stop();
        }
    }

    /// Blocks whose answer is known.
    pub(crate) fn known(&self) -> usize {
        self.known.len()
    }

    /// Whether this very block is known to be good. The hash names the header alone: the same one with another body is another
    /// block.
    pub(crate) fn is_good(&self, hash: B256, block: &Block) -> bool {
        self.known.iter().any(|known| known.checked.hash() == hash && known.checked.block().body == block.body)
    }

    fn of(&self, hash: B256) -> Option<Known> {
        self.known.iter().find(|known| known.checked.hash() == hash).cloned()
    }

    fn remember(&mut self, good: Known) {
        self.known.retain(|known| known.checked.hash() != good.checked.hash());
        if self.known.len() >= MAX_CHECKED {
            self.known.pop_front();
        }
        self.known.push_back(good);
    }
}

impl Judgement {
    /// Whether both are about one block. The hash names the header alone: the same one with another body is another block.
    fn is_about(&self, other: &Self) -> bool {
        self.hash == other.hash && (Arc::ptr_eq(&self.block, &other.block) || self.block.body == other.block.body)
    }
}

impl Out {
    /// Ends it as soon as it looks; its answer then says nothing.
    fn stop(&mut self) {
        self.stopped = true;
        self.until.set(0);
    }
}

impl Replica {
    /// Hands out the next job, when none is out and something is wanted.
    pub(crate) fn put_to_work(&mut self, clock: Clock<'_>, put: Put<'_>) {
        for _ in 0..ANSWERED_AT_ONCE {
            if self.works.is_out() {
                return;
            }
            let (task, kind, until) = if let Some(finish) = self.next_final(clock) {
                if finish.source == Source::Counted {
                    self.coming = self.rules_beyond(&finish.block.header);
                }
                let kind = Kind::Finish(finish.source);
                (Task::Finish(finish), kind, u64::MAX)
            } else if let Some(check) = &self.works.check {
                if self.works.is_good(check.hash, &check.block) {
                    self.judged(clock, Ok(()), put);
                    continue;
                }
                let ends_us = self.round_ends_us(clock, check.height, check.round);
                (Task::Check(self.to_check(check)), Kind::Check(check.clone()), ends_us)
            } else if let Some(build) = self.works.build.and_then(|order| self.to_build(order)) {
                (Task::Build(build), Kind::Build, u64::MAX)
            } else {
                self.works.build = None;
                return;
            };
            let until = Until::new(until);
            self.works.out = Some(Out { kind, until: until.clone(), stopped: false });
            let job = Job { tools: self.tools(), task, until };
            if planted::is(Bug::ExecutedInPlace) {
                let done = job.run(clock);
                self.done(clock, done, put);
            } else {
                put(Output::Work(Box::new(job)));
            }
        }
    }

    fn tools(&self) -> Tools {
        let parts = &self.parts;
        Tools { ledger: parts.ledger.clone(), spec: parts.spec.clone(), pool: parts.pool.clone(), status: parts.status.clone() }
    }

    /// The block after the head, when it is here and final, or said to be.
    fn next_final(&mut self, clock: Clock<'_>) -> Option<Finish> {
        let next = self.head.number + 1;
        self.works.sealed.take_if(|sealed| sealed.block.header.number != next);
        if let Some(sealed) = self.works.sealed.take_if(|sealed| sealed.not_before <= clock.now_ms()) {
            let Sealed { block, hash, round, .. } = sealed;
            // Without a core there was nobody to have it judged for.
            let known = self.told_head.and_then(|_| self.works.of(hash));
            let stages = Stages { round, ..Stages::default() };
            return Some(Finish { block, hash, source: Source::Counted, known, stages });
        }
        let fetched = self.sync.next_block(view(&self.head))?;
        let header = &fetched.block.header;
        let round = ExtraData::decode(&header.extra_data).map_or(0, |extra| extra.round);
        let stages = Stages { round, synced: true, ..Stages::default() };
        let hash = fetched.block.hash().unwrap_or_default();
        let source = Source::Fetched { from: fetched.from, pushed: fetched.pushed };
        Some(Finish { block: fetched.block, hash, source, known: None, stages })
    }

    fn to_check(&self, check: &Judgement) -> Check {
        let Judgement { height, ref block, hash, prepared, .. } = *check;
        let params = self.parts.spec.qbft_at(block.header.number, block.header.timestamp);
        let aim = self.settings.target_gas_limit.unwrap_or(self.parts.spec.genesis().gas_limit);
        Check {
            height,
            block: block.clone(),
            hash,
            min_gas_price: self.settings.min_gas_price,
            // A quorum has found a prepared block good: what is only this node's own choice is not held against it.
            gas_limit_aim: (!prepared).then_some(aim),
            memory: if prepared { u64::MAX } else { pace::JUDGED_TX_MEMORY },
            build_us: pace::build_us(params.period_ms, self.settings.build_percent),
        }
    }

    fn to_build(&self, order: Order) -> Option<Build> {
        let Order { height, round, timestamp_s } = order;
        if self.is_behind() || self.head.number + 1 != height {
            return None;
        }
        let params = self.parts.spec.qbft_at(height, timestamp_s);
        let votes = &self.head.votes;
        let vote = if params.is_epoch(height) { None } else { self.wishes.choice(votes, self.settings.local, self.proposed) };
        let order = BuildOrder {
            timestamp: timestamp_s,
            coinbase: self.settings.local,
            round,
            vanity: self.settings.vanity.clone(),
            vote,
            target_gas_limit: self.settings.target_gas_limit,
            min_gas_price: self.settings.min_gas_price,
        };
        let build_us = pace::build_us(params.period_ms, self.settings.build_percent);
        Some(Build { height, round, order, budget: self.pace.budget(), build_us, tx_gas: self.settings.tx_gas })
    }

    /// When the round ends in which a proposal is judged, µs: nobody needs the verdict after that. A block that takes longer gets
    /// no vote here, and later rounds are longer.
    pub(crate) fn round_ends_us(&self, clock: Clock<'_>, height: u64, round: u32) -> u64 {
        let of_round = |timer: &Timer| *timer == Timer::Round { height, round };
        let ends_ms = self.timers.iter().flatten().find(|(timer, _)| of_round(timer)).map(|(_, at)| *at);
        let timeout_ms = || self.parts.spec.qbft_at(height, self.head.header.timestamp).request_timeout_ms;
        ends_ms.unwrap_or_else(|| clock.now_ms().saturating_add(timeout_ms())).saturating_mul(1_000)
    }

    /// By what messages of the height after this header's are judged while its block is being written, as far as that is known
    /// without executing it.
    fn rules_beyond(&self, header: &Header) -> Option<Rules> {
        let validators = self.parts.ledger.validators_beyond(header)?;
        Some(Rules { height: header.number.saturating_add(1), validators, previous_proposer: header.beneficiary })
    }

    /// Takes the answer to the job that was out.
    pub(crate) fn done(&mut self, clock: Clock<'_>, done: Done, put: Put<'_>) {
        let Some(out) = self.works.out.take() else { return };
        self.coming = None;
        match (done.0, out.kind) {
            (Answer::Built { height, round, built, took, dropped }, _) => {
                self.tell_dropped(&dropped, put);
                if out.stopped {
                    return;
                }
                self.works.build.take_if(|order| (order.height, order.round) == (height, round));
                match built {
                    Ok(checked) => {
                        let (block, empty) = (checked.block().clone(), self.is_held_back(clock, round, &checked));
                        self.works.remember(Known { checked, build: took, check: Duration::ZERO });
                        self.drive(clock, Event::BlockBuilt { height, round, block, empty }, put);
                    }
                    Err(error) => self.fail(format!("block {height} could not be built: {error}"), put),
                }
            }
            (Answer::Checked { verdict, took, .. }, Kind::Check(judged)) => {
                // What is only this node's own choice was held against it unless a quorum had prepared it.
                let counts = |check: &Judgement| check.is_about(&judged) && (verdict.is_ok() || check.prepared == judged.prepared);
                let wanted = self.works.check.as_ref().is_some_and(counts);
                let verdict = match verdict {
                    Ok(checked) => {
                        self.works.remember(Known { checked, build: Duration::ZERO, check: took });
                        Ok(())
                    }
                    // It ended because something else was wanted.
                    Err(invalid) if out.stopped && !invalid.is_verdict() => return,
                    Err(invalid) => {
                        if let InvalidBlock::TooDear { hash, cut, .. } = &invalid {
                            let what =
                                format!("no vote for a proposal that takes too long to execute: at transaction {hash}, {cut}");
                            put(Output::Log(Level::Warn, what));
                        }
                        Err(format!("{invalid} ({})", invalid.rule()))
                    }
                };
                if wanted {
                    self.judged(clock, verdict, put);
                }
            }
            (Answer::Finished(finished), _) => self.finished(clock, finished, put),
            (Answer::Checked { .. }, _) => {}
        }
    }

    /// Answers what the core wants judged.
    fn judged(&mut self, clock: Clock<'_>, verdict: Result<(), String>, put: Put<'_>) {
        let Some(Judgement { height, round, hash, .. }) = self.works.check.take() else { return };
        self.drive(clock, Event::BlockChecked { height, round, hash, verdict }, put);
    }

    /// Whether nothing in a block that was built is worth ending the wait of an empty-block period.
    fn is_held_back(&mut self, clock: Clock<'_>, round: u32, built: &CheckedBlock) -> bool {
        let header = &built.block().header;
        let period_ms = self.parts.spec.qbft_at(header.number, header.timestamp).empty_period_ms;
        let until_ms = self.head.header.timestamp.saturating_mul(1_000).saturating_add(period_ms);
        if !built.is_empty() || round > 0 || clock.wall_ms() >= until_ms {
            return built.is_empty();
        }
        let vote = ExtraData::decode(&header.extra_data).ok().and_then(|extra| extra.vote);
        !vote.is_some_and(|vote| self.wishes.hurries(&vote))
    }

    fn tell_dropped(&self, dropped: &[(B256, DropReason)], put: Put<'_>) {
        for (hash, reason) in dropped.iter().take(TOLD_DROPS) {
            let again = if reason.is_for_good() { " and not taken again" } else { "" };
            put(Output::Log(Level::Warn, format!("transaction {hash} is dropped{again}: {}", reason.english())));
        }
        if let Some(more) = dropped.len().checked_sub(TOLD_DROPS).filter(|more| *more > 0) {
            put(Output::Log(Level::Warn, format!("{more} more transactions are dropped for the same kind of reason")));
        }
    }
}
