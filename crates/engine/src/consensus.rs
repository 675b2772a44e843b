//! Carrying out what the consensus core wishes for.

use std::collections::VecDeque;
use std::sync::Arc;

use ipe_qbft::{Draft, Effect, Event, HeadInfo, Now, Timer};
use ipe_types::message::{Kind, Message};
use ipe_types::{B256, Block};

use crate::pace;
use crate::replica::{Clock, Level, Output, Put, Replica};
use crate::signing::{Gate, SignAnswer, SignRefusal, Signing};
use crate::works::{Judgement, Order};

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
                self.works.want_build(Order { height, round, timestamp_s });
            }
            Effect::AskTransactions { height } => {
                let waiting = !self.parts.pool.lock().is_idle();
                events.push_back(Event::TransactionsAnswered { height, waiting });
            }
            Effect::CheckBlock { height, round, block, hash, prepared } => {
                if let Some(verdict) = self.known_verdict(&block, hash) {
                    events.push_back(Event::BlockChecked { height, round, hash, verdict });
                } else {
                    let ends_us = self.round_ends_us(clock, height, round);
                    self.works.want_check(Judgement { height, round, block, hash, prepared }, ends_us);
                }
            }
            Effect::SetTimer { timer, at } => {
                self.timers[timer.slot()] = Some((timer, at));
                if let Timer::Round { height, round } = timer {
                    self.works.round_ends(height, round, at);
                }
            }
            Effect::CancelTimer(timer) => self.timers[timer.slot()] = None,
            Effect::Decide { block, hash, round } => self.decide(clock, block, hash, round, put),
            Effect::Report(rejection) => put(Output::Log(Level::Debug, rejection.to_string())),
            Effect::RoundStarted { height, round, proposer } => {
                self.touch_status();
                self.works.round_begins(height, round);
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
        match gate.sign(draft) {
            Ok(Signing::Signed(message)) => events.push_back(self.signed(clock, *message, put)),
            Ok(Signing::Asked(request)) => put(Output::Sign(request)),
            Ok(Signing::Waiting) => {}
            Err(refusal) => events.extend(self.not_signed(draft, refusal, put)),
        }
    }

    /// Takes the answer of a signer elsewhere.
    pub(crate) fn sign_answered(&mut self, clock: Clock<'_>, id: u64, answer: SignAnswer, put: Put<'_>) {
        let Some((draft, made)) = self.parts.gate.as_mut().and_then(|gate| gate.answered(id, answer)) else { return };
        // Consensus was given up meanwhile: it starts again from the journal, which has this.
        if self.told_head.is_none() {
            return;
        }
        let event = match made {
            Ok(message) => Some(self.signed(clock, message, put)),
            Err(refusal) => self.not_signed(&draft, refusal, put),
        };
        if let Some(event) = event {
            self.drive(clock, event, put);
        }
    }

    /// Asks a signer elsewhere for what a former life signed.
    pub(crate) fn sign_again(&mut self, clock: Clock<'_>, put: Put<'_>) {
        for draft in self.parts.gate.as_ref().map(Gate::unsigned).unwrap_or_default() {
            let mut events = VecDeque::new();
            self.sign(clock, &draft, &mut events, put);
            // What could not be asked for is asked for when it is needed.
        }
    }

    /// Sends a message of our own; the core is to be told.
    fn signed(&mut self, clock: Clock<'_>, message: Message, put: Put<'_>) -> Event {
        let message = Arc::new(message);
        self.send_own(&message, put);
        *self.heard.entry(message.author(), || 0) = clock.now_ms();
        if message.kind() == Kind::Proposal {
            self.proposed += 1;
        }
        Event::Received(message)
    }

    /// `None` where the core is to ask again.
    fn not_signed(&mut self, draft: &Draft, refusal: SignRefusal, put: Put<'_>) -> Option<Event> {
        let (height, round, kind) = (draft.height(), draft.round(), draft.kind());
        let what = format!("the signing gate refused a {kind:?} for height {height} round {round}: {refusal}");
        let passes = matches!(refusal, SignRefusal::Unsigned(_) | SignRefusal::Overdue(_));
        match refusal {
            SignRefusal::Journal(_) | SignRefusal::Signer(_) | SignRefusal::Unsigned(_) | SignRefusal::Overdue(_) => {
                self.fail(what, put)
            }
            // Told once, where the doubt is.
            SignRefusal::Abstains(_) => {}
            _ => put(Output::Log(Level::Warn, what)),
        }
        let again = passes && matches!(kind, Kind::Prepare | Kind::Commit);
        (!again).then_some(Event::SignRefused { height, round, kind })
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

    /// What is known of a proposal without executing it. The hash names the header alone: the same one with another body is
    /// another block, and judged.
    fn known_verdict(&self, block: &Block, hash: B256) -> Option<Result<(), String>> {
        if self.works.is_good(hash, block) {
            return Some(Ok(()));
        }
        self.suspects.contains(&hash).then(|| {
            Err(format!(
                "block {hash} kept this node busy without end before it was started again; it is not executed again for a vote"
            ))
        })
    }

    /// What the core must know of the head.
    pub(crate) fn head_info(&self) -> HeadInfo {
        let head = self.head.clone();
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
        let head = self.head.clone();
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
