//! Carrying out what the consensus core wishes for.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use ipe_chain::{Bound, BuildOrder, CheckedBlock, Cut, Feedback, InvalidBlock, Over, Terms};
use ipe_qbft::{Draft, Effect, Event, HeadInfo, Now, Timer};
use ipe_types::message::{Kind, Message};
use ipe_types::planted::{self, Bug};
use ipe_types::sizes::BUILT_TRANSACTIONS_BYTES;
use ipe_types::{B256, Block};

use crate::pace::{self, Phase};
use crate::pool::{DropReason, PickLimits};
use crate::signing::SignRefusal;
use crate::status::WorkKind;
use crate::replica::{Candidacy, Clock, Level, Output, Put, Replica};

/// Transactions dropped at once of which the log tells each.
const TOLD_DROPS: usize = 4;

impl Replica {
    /// Gives an event to the core and carries out its effects, and those of what they lead to.
    pub(crate) fn drive(&mut self, clock: Clock<'_>, event: Event, put: Put<'_>) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let Some(core) = &mut self.core else { return };
            let now = Now { steady: clock.now_ms(), wall: clock.wall_ms() };
            for effect in ipe_qbft::step(core, now, event) {
                self.carry_out(clock, effect, &mut events, put);
            }
        }
    }

    fn carry_out(&mut self, clock: Clock<'_>, effect: Effect, events: &mut VecDeque<Event>, put: Put<'_>) {
        match effect {
            Effect::Sign(draft) => self.sign(clock, &draft, events, put),
            Effect::Resend(messages) => {
                for message in messages {
                    let key = message.key();
                    for peer in self.peers.iter_mut() {
                        peer.messages.remove(&key);
                    }
                    self.send_own(&message, put);
                }
            }
            Effect::BuildBlock { height, round, timestamp_s } => {
                if let Some((block, empty)) = self.build(clock, height, round, timestamp_s, put) {
                    events.push_back(Event::BlockBuilt { height, round, block, empty });
                }
            }
            Effect::AskTransactions { height } => {
                let waiting = !self.parts.pool.lock().is_idle();
                events.push_back(Event::TransactionsAnswered { height, waiting });
            }
            Effect::CheckBlock { height, round, block, hash, prepared } => {
                let verdict = self.check(clock, round, block, hash, prepared, put);
                events.push_back(Event::BlockChecked { height, round, hash, verdict });
            }
            Effect::SetTimer { timer, at } => self.timers[timer.slot()] = Some((timer, at)),
            Effect::CancelTimer(timer) => self.timers[timer.slot()] = None,
            Effect::Decide { block, hash, round } => {
                if let Some(event) = self.decide(clock, block, hash, round, put) {
                    events.push_back(event);
                }
            }
            Effect::Report(rejection) => put(Output::Log(Level::Debug, rejection.to_string())),
            Effect::RoundStarted { height, round, proposer } => {
                self.touch_status();
                if round > 0 {
                    self.round_changes += 1;
                    let held = self.held.iter().filter(|held| held.kind == Kind::Proposal);
                    let lost = held.filter_map(|held| held.block()).map(|block| work_of(block)).max();
                    if let Some(lost) = lost {
                        self.pace.round_lost(lost);
                    }
                    put(Output::Log(Level::Warn, format!("height {height}: round {round} begins, {proposer} proposes")));
                }
                self.round_began = Some((clock.now_us(), round));
            }
        }
    }

    fn sign(&mut self, clock: Clock<'_>, draft: &Draft, events: &mut VecDeque<Event>, put: Put<'_>) {
        let Some(gate) = &mut self.parts.gate else { return };
        let late = planted::is(Bug::JournalAfterSend);
        match if late { gate.make(draft) } else { gate.sign(draft) } {
            Ok(message) => {
                let message = Arc::new(message);
                self.send_own(&message, put);
                if late && let Some(gate) = &mut self.parts.gate {
                    let _ = gate.sign(draft);
                }
                *self.heard.entry(message.author(), || 0) = clock.now_ms();
                if message.kind() == Kind::Proposal {
                    self.proposed += 1;
                }
                events.push_back(Event::Received(message));
            }
            Err(refusal) => {
                let what = format!("the signing gate refused a {:?}: {refusal}", draft.kind());
                match refusal {
                    SignRefusal::Journal(_) | SignRefusal::Signer(_) => self.fail(what, put),
                    // Told once, where the doubt is.
                    SignRefusal::Abstains(_) => {}
                    _ => put(Output::Log(Level::Warn, what)),
                }
                let (height, round, kind) = (draft.height(), draft.round(), draft.kind());
                events.push_back(Event::SignRefused { height, round, kind });
            }
        }
    }

    /// Sends a message of our own to everybody who shares consensus and is not known to have it.
    pub(crate) fn send_own(&mut self, message: &Arc<Message>, put: Put<'_>) {
        let (key, bytes) = (message.key(), message.encode());
        self.relay.own(&key);
        self.held.keep(message.clone(), &bytes, key);
        let to = self.receivers(None, key, |_| true);
        if !to.is_empty() {
            put(Output::Istanbul(to, message.kind().code(), bytes));
        }
    }

    fn build(&mut self, clock: Clock<'_>, height: u64, round: u32, timestamp: u64, put: Put<'_>) -> Option<(Arc<Block>, bool)> {
        let head = self.parts.ledger.head();
        if self.is_behind() || head.number + 1 != height {
            return None;
        }
        let params = self.parts.spec.qbft_at(height, timestamp);
        let vote = if params.is_epoch(height) { None } else { self.wishes.choice(&head.votes, self.settings.local, self.proposed) };
        let order = BuildOrder {
            timestamp,
            coinbase: self.settings.local,
            round,
            vanity: self.settings.vanity.clone(),
            vote,
            target_gas_limit: self.settings.target_gas_limit,
            min_gas_price: self.settings.min_gas_price,
        };
        let _working = self.parts.status.works_on(WorkKind::Build, height, B256::ZERO);
        let began = clock.now_us();
        let build_us = pace::build_us(params.period_ms, self.settings.build_percent);
        let deadline = began + build_us;
        let phase = Cell::new(Phase::InOrder);
        let elapsed_us = || clock.now_us().saturating_sub(began);
        let budget = self.pace.budget();
        let count = usize::try_from(budget / pace::work(21_000, 1)).unwrap_or(usize::MAX).saturating_add(16);
        let mut picks = self.parts.pool.lock().pick(&PickLimits { count, bytes: BUILT_TRANSACTIONS_BYTES });
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
            left_us: &|| deadline.saturating_sub(clock.now_us()),
            tx_us: &|| phase.get().tx_us(build_us, elapsed_us()),
            tx_gas: self.settings.tx_gas,
            memory: pace::TX_MEMORY,
        };
        let bound = if planted::is(Bug::ExecutionUnbounded) { Bound::NONE } else { bound };
        let built = self.parts.ledger.build(&order, &mut next, bound);
        let dropped = self.parts.pool.lock().judged(clock.now_ms(), picks);
        for (hash, reason) in dropped.iter().take(TOLD_DROPS) {
            put(Output::Log(Level::Warn, format!("transaction {hash} is dropped and not taken again: {}", reason.english())));
        }
        if let Some(more) = dropped.len().checked_sub(TOLD_DROPS).filter(|more| *more > 0) {
            put(Output::Log(Level::Warn, format!("{more} more transactions are dropped for the same kind of reason")));
        }
        match built {
            Ok(checked) => {
                let (block, empty) = (checked.block().clone(), checked.is_empty());
                let until_ms = head.header.timestamp.saturating_mul(1_000).saturating_add(params.empty_period_ms);
                let held_back = empty && round == 0 && clock.wall_ms() < until_ms;
                let empty = empty && !(held_back && vote.is_some_and(|vote| self.wishes.hurries(&vote)));
                let build = Duration::from_micros(clock.now_us().saturating_sub(began));
                self.remember(Candidacy { hash: checked.hash(), checked, build, check: Duration::ZERO });
                Some((block, empty))
            }
            Err(error) => {
                self.fail(format!("block {height} could not be built: {error}"), put);
                None
            }
        }
    }

    /// Judges a proposal. Nobody needs the verdict when the round is over, so executing ends with it: a block that takes longer
    /// gets no vote here, and later rounds are longer.
    fn check(&mut self, clock: Clock<'_>, round: u32, block: Arc<Block>, hash: B256, prepared: bool, put: Put<'_>) -> Result<(), String> {
        // The hash names the header alone: the same one with another body is another block, and judged.
        if self.candidacies.iter().any(|known| known.hash == hash && known.checked.block().body == block.body) {
            return Ok(());
        }
        if self.suspects.contains(&hash) {
            return Err(format!("block {hash} kept this node busy without end before it was started again; it is not executed again for a vote"));
        }
        let _working = self.parts.status.works_on(WorkKind::Proposal, block.header.number, hash);
        let began = clock.now_us();
        let pool = self.parts.pool.clone();
        let senders = move |hash: &B256| pool.lock().sender_of(hash);
        let params = self.parts.spec.qbft_at(block.header.number, block.header.timestamp);
        let period_ms = params.period_ms;
        let round_ends_ms = self.round_ends_ms(round).unwrap_or_else(|| clock.now_ms().saturating_add(params.request_timeout_ms));
        let round_ends_us = round_ends_ms.saturating_mul(1_000);
        let left_us = || round_ends_us.saturating_sub(clock.now_us());
        // A quorum has found a prepared block good: what is only this node's own choice is not held against it.
        let memory = if prepared { u64::MAX } else { pace::JUDGED_TX_MEMORY };
        let aim = self.settings.target_gas_limit.unwrap_or(self.parts.spec.genesis().gas_limit);
        let terms = Terms {
            min_gas_price: self.settings.min_gas_price,
            gas_limit_aim: (!prepared).then_some(aim),
            bound: if planted::is(Bug::ExecutionUnbounded) { Bound::NONE } else { Bound { left_us: &left_us, memory, ..Bound::NONE } },
        };
        let checked = match self.parts.ledger.check_proposal(block, clock.wall_ms(), &senders, terms) {
            Ok(checked) => checked,
            Err(invalid) => {
                if let InvalidBlock::TooDear { hash, cut, .. } = &invalid {
                    self.too_dear(clock, *hash, cut, period_ms, put);
                }
                return Err(format!("{invalid} ({})", invalid.rule()));
            }
        };
        let check = Duration::from_micros(clock.now_us().saturating_sub(began));
        self.remember(Candidacy { hash, checked, build: Duration::ZERO, check });
        Ok(())
    }

    /// When the round ends of which this is the number, steady ms.
    fn round_ends_ms(&self, round: u32) -> Option<u64> {
        let of_round = |timer: &Timer| matches!(timer, Timer::Round { round: of, .. } if *of == round);
        self.timers.iter().flatten().find(|(timer, _)| of_round(timer)).map(|(_, at)| *at)
    }

    /// A proposal was stopped at this transaction. It is dropped only when building would have dropped it, too: the proposer
    /// decides what comes before a transaction, and how late in the round.
    fn too_dear(&mut self, clock: Clock<'_>, hash: B256, cut: &Cut, period_ms: u64, put: Put<'_>) {
        if pace::is_to_blame(cut, pace::build_us(period_ms, self.settings.build_percent)) {
            let reason = DropReason::TooDear { reason: cut.to_string() };
            self.parts.pool.lock().drop_for_good(clock.now_ms(), &hash, reason);
        }
        put(Output::Log(Level::Warn, format!("no vote for a proposal that takes too long to execute: at transaction {hash}, {cut}")));
    }

    fn remember(&mut self, candidacy: Candidacy) {
        self.candidacies.retain(|known| known.hash != candidacy.hash);
        if self.candidacies.len() >= crate::replica::MAX_CHECKED {
            self.candidacies.pop_front();
        }
        self.candidacies.push_back(candidacy);
    }

    pub(crate) fn candidacy(&self, hash: B256) -> Option<(CheckedBlock, Duration, Duration)> {
        let found = self.candidacies.iter().find(|candidacy| candidacy.hash == hash)?;
        Some((found.checked.clone(), found.build, found.check))
    }

    /// What the core must know of the head.
    pub(crate) fn head_info(&self) -> HeadInfo {
        let head = self.parts.ledger.head();
        let now = self.parts.spec.qbft_at(head.number, head.header.timestamp);
        let next = self.parts.spec.qbft_at(head.number + 1, head.header.timestamp);
        HeadInfo {
            number: head.number,
            hash: head.hash,
            timestamp_s: head.header.timestamp,
            coinbase: head.header.beneficiary,
            validators: head.validators_next.clone(),
            period_ms: now.period_ms.max(next.period_ms),
            empty_period_ms: next.empty_period_ms,
            request_timeout_ms: next.request_timeout_ms,
        }
    }

    /// Tells the core where the head is, after a start or a catch-up, and what was said meanwhile about what comes next:
    /// those messages came when the core had no use for them, and the relay would take them for repetitions now.
    pub(crate) fn tell_head(&mut self, clock: Clock<'_>, put: Put<'_>) {
        if self.core.is_none() {
            return;
        }
        let info = self.head_info();
        let head = info.number;
        self.told_head = Some(head);
        self.drive(clock, Event::HeadAdvanced(info), put);
        // Of our own words only those that the journal has: others may be of another chain on which the key was used.
        let ours = |message: &Message| message.author() == self.settings.local;
        let ours_to_say = |message: &Message| self.parts.gate.as_ref().is_some_and(|gate| gate.knows(message));
        let held = self.held.iter().map(|held| held.message.clone()).filter(|message| message.height() > head);
        let waiting: Vec<_> = held.filter(|message| !ours(message) || ours_to_say(message)).collect();
        for message in waiting {
            self.drive(clock, Event::Received(message), put);
        }
    }

    /// Whether new transactions end a wait.
    pub(crate) fn waits_for_transactions(&self) -> bool {
        let head = self.parts.ledger.head();
        self.told_head.is_some() && self.parts.spec.qbft_at(head.number + 1, head.header.timestamp).empty_period_ms > 0
    }

    /// Something of our own failed: an operator must hear of it.
    pub(crate) fn fail(&mut self, what: String, put: Put<'_>) {
        self.last_error = Some(what.clone());
        self.touch_status();
        put(Output::Log(Level::Error, what));
    }
}

fn work_of(block: &Block) -> u64 {
    pace::work(block.header.gas_used, block.body.transactions.len() as u64)
}
