//! What must never happen, looked at from outside: nothing here asks a replica whether it is right. One question a file.

mod agreement;
mod cuts;
mod durability;
mod early;
mod journal_first;
mod liveness;
mod members;
mod memory;
mod pace;
mod permitted;
mod relayed;
mod relaying;
mod seals;
mod share;
mod signatures;
mod state;
mod transactions;
mod truth;
mod validity;
mod waits;

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256};
use ipe_chain::{Imported, Ledger};
use ipe_engine::Status;
use ipe_engine::replica::Holdings;
use ipe_types::{Kind, Message, keccak256};

use crate::clients::Clients;
use crate::disk::Disk;
use crate::report::Violation;
use crate::scenario::Scenario;
use crate::villains::Kind as Villainy;

pub(crate) use liveness::Promise;

/// Violations kept of one run; the first is what matters.
const KEPT: usize = 20;
/// Heights for which signatures and announcements are remembered: more than a message may be late.
const REMEMBERED: u64 = 64;

/// A node as checkers know it.
pub(crate) struct Who<'a> {
    pub(crate) index: usize,
    pub(crate) name: &'a str,
    pub(crate) address: Address,
    pub(crate) disk: &'a Disk,
}

/// All checkers.
pub(crate) struct Checkers {
    pub(crate) chain: agreement::Chain,
    signatures: signatures::Signatures,
    model: state::Model,
    durability: durability::Durability,
    pub(crate) liveness: liveness::Liveness,
    honest: Vec<Address>,
    villains: Vec<Address>,
    /// Validators whose turns are the attackers'.
    tainted: Vec<Address>,
    pace: pace::Pace,
    pub(crate) early: early::Early,
    pub(crate) relaying: relaying::Relaying,
    unseen: &'static [&'static str],
    /// Nodes that were far behind when they were looked at last.
    behind: std::collections::BTreeSet<usize>,
    period_s: u64,
    /// Somebody sends transactions as fast as it can.
    flooded: bool,
    /// Somebody else than the clients sends transactions.
    strangers: bool,
    permitted: permitted::Permitted,
    decoded: std::collections::BTreeSet<(u64, B256)>,
    pub(crate) violations: Vec<Violation>,
    now: (u64, u64),
}

impl Checkers {
    pub(crate) fn new(scenario: &Scenario, genesis: &ipe_types::Header, accounts: &[Address]) -> Self {
        Self {
            chain: agreement::Chain::new(genesis, scenario.epoch),
            signatures: signatures::Signatures::default(),
            model: state::Model::new(accounts),
            durability: durability::Durability::default(),
            liveness: liveness::Liveness::default(),
            honest: Vec::new(),
            villains: Vec::new(),
            tainted: Vec::new(),
            pace: pace::Pace::default(),
            early: early::Early::new(scenario),
            relaying: relaying::Relaying::default(),
            unseen: scenario.unseen,
            behind: std::collections::BTreeSet::new(),
            period_s: scenario.period_ms / 1_000,
            flooded: scenario.villains.iter().any(|kind| matches!(kind, Villainy::Flood | Villainy::Dear)),
            strangers: scenario.villains.iter().any(|kind| matches!(kind, Villainy::Flood | Villainy::Dear | Villainy::Unruled)),
            permitted: permitted::Permitted::new(crate::setup::permitted(scenario)),
            decoded: std::collections::BTreeSet::new(),
            violations: Vec::new(),
            now: (0, 0),
        }
    }

    /// Addresses whose owners are honest: their signatures must not contradict each other.
    /// `tainted` are the validators of institutions with a villain: their turns are the attackers'.
    pub(crate) fn set_honest(&mut self, honest: Vec<Address>, villains: Vec<Address>, tainted: Vec<Address>) {
        (self.honest, self.villains, self.tainted) = (honest, villains, tainted);
    }

    /// Time and step of what is looked at next.
    pub(crate) fn at(&mut self, at_ms: u64, step: u64) {
        self.now = (at_ms, step);
    }

    pub(crate) fn verdict(&mut self, checker: &'static str, outcome: Result<(), String>) {
        if let Err(what) = outcome
            && self.violations.len() < KEPT
            && !self.unseen.contains(&checker)
        {
            self.violations.push(Violation { at_ms: self.now.0, step: self.now.1, checker, what });
        }
    }

    /// An honest node put a consensus message on the wire.
    pub(crate) fn sent(&mut self, who: &Who<'_>, code: u8, bytes: &[u8]) {
        let hash = keccak256(bytes);
        let height =
            Kind::from_code(code).and_then(|kind| ipe_types::message::peek(kind, bytes).ok()).map_or(0, |(height, _)| height);
        // The same bytes from the same sender say nothing new.
        let mark = keccak256([hash.as_slice(), who.address.as_slice()].concat());
        if !self.decoded.insert((height, mark)) {
            return;
        }
        let Ok(message) = Message::decode(code, bytes) else {
            return self.verdict("wire", Err(format!("{} sent a consensus message that does not decode", who.name)));
        };
        if message.author() == who.address {
            let outcome = journal_first::check(who, &message, self.chain.validators_of(height).len());
            self.verdict("journal-first", outcome);
        } else {
            let outcome = relayed::check(who, &message, self.chain.validators_of(height));
            self.verdict("relayed", outcome);
        }
        for outcome in self.signatures.saw(&message, &self.honest) {
            self.verdict("one-signature", outcome);
        }
    }

    /// An operator asks for a vote; `of_all` tells that every honest one asks for the same.
    pub(crate) fn asked(&mut self, voter: Address, about: Address, add: bool, of_all: bool) {
        self.early.asked(voter);
        if of_all {
            self.early.change(about, add, self.now.0);
        }
    }

    /// An honest node passed a message on, so long after it had arrived; `undisturbed` when nothing but its own work held it up.
    pub(crate) fn relayed(&mut self, boot: bool, undisturbed: bool, took_us: u64) {
        if boot && undisturbed {
            self.relaying.passed_on(took_us);
        }
    }

    /// A block became final at an honest node.
    pub(crate) fn imported(&mut self, who: &Who<'_>, imported: &Imported, ledger: &Ledger, clients: &mut Clients) {
        let number = imported.number();
        let header = &imported.block.header;
        self.durability.imported(who.index, number, imported.hash);
        match self.chain.saw(who.name, number, imported.hash) {
            agreement::Seen::Again => {}
            agreement::Seen::Other(what) => return self.verdict("agreement", Err(what)),
            agreement::Seen::First => {
                let validators = self.chain.validators_of(number).to_vec();
                let parent = self.chain.parent_of(number).cloned();
                let outcome = validity::check(&imported.block, parent.as_ref(), &validators, self.period_s);
                self.verdict("validity", outcome);
                // In round 0 it is the turn of whoever follows the last proposer in the list.
                let last = parent.as_ref().map_or(Address::ZERO, |parent| parent.beneficiary);
                let turn = validators.iter().find(|who| **who > last).or(validators.first());
                self.pace.block(self.now.0, turn.is_some_and(|turn| !self.tainted.contains(turn)));
                let outcome = self.chain.take(number, imported.hash, header.clone());
                self.verdict("agreement", outcome);
                if let Some(parent) = parent {
                    let (honest, after) = (self.honest.contains(&header.beneficiary), self.chain.validators_of(number + 1));
                    let outcome = self.early.block(header, &parent, honest, after, self.now.0);
                    self.verdict("early", outcome);
                }
                let outcome = self.permitted.block(imported);
                self.verdict("permitted", outcome);
                for outcome in transactions::included(clients, number, &imported.block, self.strangers) {
                    self.verdict("transactions", outcome);
                }
                for outcome in self.model.apply(clients, &imported.block) {
                    self.verdict("state", outcome);
                }
                let keep = number.saturating_sub(REMEMBERED);
                self.signatures.forget_below(keep);
                self.decoded = self.decoded.split_off(&(keep, B256::ZERO));
                self.liveness.block(self.now.0);
            }
        }
        let validators = self.chain.validators_of(number).to_vec();
        let outcome = seals::check(header, &validators);
        self.verdict("seals", outcome.map_err(|what| format!("{}: block {number}: {what}", who.name)));
        let outcome = state::roots(imported, ledger);
        self.verdict("state", outcome.map_err(|what| format!("{}: block {number}: {what}", who.name)));
        who.disk.forget_below(number.saturating_sub(REMEMBERED));
    }

    /// An honest node started with what its disk holds.
    pub(crate) fn started(&mut self, who: &Who<'_>, ledger: &Ledger, clients: &Clients) {
        let outcome = self.durability.started(who, ledger);
        self.verdict("durability", outcome);
        let outcome = transactions::kept(who.name, ledger, clients, 20);
        self.verdict("transactions", outcome);
    }

    /// The disk of a node was taken away or replaced: it owes nothing any more.
    pub(crate) fn wiped(&mut self, index: usize) {
        self.durability.forget(index);
    }

    /// An honest node cut another honest one.
    pub(crate) fn cut(&mut self, who: &str, whom: &str, why: &str) {
        let outcome = cuts::check(who, whom, why);
        self.verdict("cuts", outcome);
    }

    #[allow(clippy::too_many_arguments, reason = "one look at a node, not kept")]
    /// What an honest node's time went into, and what it says of itself; `hears` tells whether others can have told it how far
    /// they are.
    pub(crate) fn looked_at(
        &mut self,
        index: usize,
        name: &str,
        window_us: u64,
        spent_us: &BTreeMap<Address, u64>,
        status: &Status,
        head: u64,
        hears: bool,
    ) {
        let outcome = share::check(name, window_us, spent_us, &self.villains);
        self.verdict("share", outcome);
        let height = self.chain.height();
        let far = hears && truth::is_far_behind(head, height);
        let long = far && self.behind.contains(&index);
        if far {
            self.behind.insert(index)
        } else {
            self.behind.remove(&index)
        };
        let outcome = truth::check(name, status, head, height, long);
        self.verdict("truth", outcome);
    }

    /// What an honest node holds.
    pub(crate) fn holds(&mut self, who: &str, holdings: &Holdings, validators: usize) {
        let outcome = memory::check(who, holdings, validators);
        self.verdict("memory", outcome);
    }

    /// The end of a calm: everybody is at the same height, or about to be.
    pub(crate) fn settled(&mut self, heads: &[(String, u64)]) {
        let outcome = liveness::level(heads);
        self.verdict("liveness", outcome);
    }

    /// The end of the run.
    pub(crate) fn ended(&mut self, name: &str, ledger: &Ledger, clients: &Clients) {
        let outcome = transactions::kept(name, ledger, clients, usize::MAX);
        self.verdict("transactions", outcome);
        if ledger.head().number == self.chain.height() {
            let outcome = self.model.compare(name, ledger);
            self.verdict("state", outcome);
        }
    }

    /// The end of the run: how fast blocks came.
    pub(crate) fn paced(&mut self, scenario: &Scenario, end_ms: u64) {
        let outcome = self.pace.check(scenario, end_ms);
        self.verdict("pace", outcome);
        let outcome = self.relaying.check(scenario);
        self.verdict("relaying", outcome);
    }

    /// At the end of the run: how long others waited while somebody flooded; `floods` tells whose writer.
    pub(crate) fn waited(&mut self, clients: &Clients, floods: impl Fn(usize) -> bool) {
        if !self.flooded {
            return;
        }
        let height = self.chain.height();
        let others = clients.sent.values().filter(|sent| !floods(sent.writer));
        let outcome = waits::check(others.map(|sent| sent.included.unwrap_or(height) - sent.height).collect());
        self.verdict("waits", outcome);
    }

    /// At the end of the run nothing waits that a writer among `heard`, those with a link to an honest node, acknowledged.
    pub(crate) fn nothing_waits(&mut self, clients: &Clients, heard: &[usize]) {
        let outcome = transactions::all_included(clients, heard);
        self.verdict("transactions", outcome);
    }
}
