//! Asking the contracts with rules, on the state after a block (docs/spec/permissioning.md).
//!
//! A question is a call as Besu 25.5.0 simulates it (`TransactionSimulator.processAtHead`): on the state after the parent, in
//! the parent's own environment (number, time, proposer, rules of the EVM), from address zero, for nothing, with the gas of the
//! network's choice or of a block, whichever is less. So everybody gives the same verdict on the transactions of a block,
//! whatever these do to the rules: what a block changes counts from the next on.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use alloy_primitives::{Address, B256, Bytes, TxKind, U256, keccak256};
use ipe_permissioning::verdict::Fault;
use ipe_permissioning::{Answers, Change, Link, Moment, Outcome, Question, Reads, Sending, Verdict, accounts, nodes};
use ipe_types::block::{Block, Transaction};
use ipe_types::genesis::{NodeAbi, Permissioning};
use ipe_types::header::Header;
use ipe_types::planted::{self, Bug};
use ipe_types::spec::ChainSpec;
use parking_lot::Mutex;
use rayon::prelude::*;
use revm::context::ContextTr as _;
use revm::context::TxEnv;
use revm::context::result::{EVMError, ExecutionResult, HaltReason};

use crate::bound::{Bound, Cut, Over};
use crate::env::Env;
use crate::invalid::InvalidBlock;
use crate::ladder::Candidate;
use crate::ledger::{Head, Ledger, LedgerError};
use crate::machine::{Context, Machine};
use crate::overlay::{Overlay, ReadError};
use crate::state::StateAt;
use crate::witness::Witness;

/// Gas of a question that decides about no block: what a node puts into its pool and its own blocks, and whom it connects to.
/// Rules in use take some tens of thousands; a contract that takes more than this wastes the time of the node that asks.
pub const OWN_GAS: u64 = 5_000_000;

/// Memory of such a question, bytes.
const OWN_MEMORY: u64 = 64 << 20;

/// Questions of a block from which on threads pay.
const PARALLEL: usize = 8;

/// Why a question was not answered: no verdict on what was asked about.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// It was stopped.
    #[error("{0}")]
    Cut(Cut),
    /// Ours: reading failed.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// What is asked of which contract, by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Whether a transaction may be in a block.
    Accounts,
    /// Whether two nodes may connect.
    Nodes,
}

/// Counts of one kind of question since the start.
#[derive(Debug, Default)]
struct Counts {
    permitted: AtomicU64,
    unpermitted: AtomicU64,
    evaluated: AtomicU64,
    gas: AtomicU64,
    faults: [AtomicU64; Fault::LABELS.len()],
    /// Why the contract gave no answer when it was asked last; `None` when it did.
    fault: Mutex<Option<Fault>>,
}

impl Counts {
    /// Counts a verdict, wherever it comes from.
    fn passed(&self, verdict: &Verdict) {
        let count = if verdict.allows() { &self.permitted } else { &self.unpermitted };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes what executing the contract came to.
    fn answered(&self, verdict: &Verdict) {
        self.evaluated.fetch_add(1, Ordering::Relaxed);
        let fault = match verdict {
            Verdict::Broken(fault) => Some(fault.clone()),
            _ => None,
        };
        if let Some(fault) = &fault {
            self.faults[fault.number()].fetch_add(1, Ordering::Relaxed);
        }
        *self.fault.lock() = fault;
    }
}

/// What became of questions of one kind, for metrics and health.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RulesReport {
    /// The contract that is asked about the next block; `None`: no rules.
    pub contract: Option<Address>,
    /// Questions with a yes.
    pub permitted: u64,
    /// Questions with a no, or without an answer.
    pub unpermitted: u64,
    /// Of all, those for which the contract was executed: the others were answered before, by the same state.
    pub evaluated: u64,
    /// Gas that executing it used.
    pub gas: u64,
    /// Of the executed ones, those without an answer, in the order of [`Fault::LABELS`].
    pub faults: [u64; Fault::LABELS.len()],
    /// Why the contract gave no answer when it was executed last; `None` when it did.
    pub fault: Option<Fault>,
}

/// Answers that hold on the head's state, and counts.
#[derive(Debug)]
pub(crate) struct KeptRules {
    answers: Mutex<Answers>,
    accounts: Counts,
    nodes: Counts,
}

impl KeptRules {
    pub(crate) fn new(spec: &ChainSpec, head: &Header) -> Self {
        let answers = Mutex::new(Answers::new(moment(spec, head)));
        Self { answers, accounts: Counts::default(), nodes: Counts::default() }
    }

    /// Moves on to the state after the block of this header.
    pub(crate) fn advance(&self, spec: &ChainSpec, header: &Header, changes: impl Iterator<Item = Change>) {
        self.answers.lock().advance(moment(spec, header), changes);
    }

    fn counts(&self, asked: Asked) -> &Counts {
        match asked {
            Asked::Accounts => &self.accounts,
            Asked::Nodes => &self.nodes,
        }
    }
}

/// The gas of a question on the state after this header's block, and its rules of the EVM.
fn moment(spec: &ChainSpec, header: &Header) -> Moment {
    let next = spec.permissioning_at(header.number.saturating_add(1));
    Moment { number: header.number, fork: spec.fork_at(header.number, header.timestamp), gas: next.gas.min(header.gas_limit) }
}

/// The contracts in force for the block after one, with the state that they are asked on.
pub(crate) struct Rules<'a> {
    kept: &'a KeptRules,
    spec: &'a ChainSpec,
    parent: &'a Header,
    state: &'a StateAt,
    hashes: Box<dyn Fn(u64) -> Result<B256, ReadError> + Sync + 'a>,
    contracts: Permissioning,
    moment: Moment,
}

impl Rules<'_> {
    /// The verdict on a transaction for the next block.
    pub(crate) fn judge(&self, tx: &Transaction, sender: Address, bound: Bound<'_>) -> Result<Verdict, AskError> {
        let Some(contract) = self.contracts.accounts else { return Ok(Verdict::Allowed) };
        if planted::is(Bug::SenderUnchecked) {
            return Ok(Verdict::Allowed);
        }
        let sending = Sending::of(tx, sender);
        let (target, payload) = (sending.target.unwrap_or_default(), sending.payload.len());
        let alike = Question::Alike { contract, sender, target, payload };
        // Whoever sends the same kind of transaction again is known without a look at what it holds.
        if let Some(verdict) = self.known(Asked::Accounts, &alike) {
            return Ok(verdict);
        }
        self.ask(Asked::Accounts, contract, sending.call(), Some((alike, &accounts::unlooked(payload))), accounts::judge, bound)
    }

    /// The verdict that is kept, if there is one.
    fn known(&self, asked: Asked, question: &Question) -> Option<Verdict> {
        let verdict = self.kept.answers.lock().get(self.moment, question)?;
        self.kept.counts(asked).passed(&verdict);
        Some(verdict)
    }

    /// The verdict on a connection. `names` are further texts for the hosts of source and destination, which version 2 is asked
    /// about when it refuses the address.
    pub(crate) fn judge_link(&self, link: &Link, names: [Option<&str>; 2], bound: Bound<'_>) -> Result<Verdict, AskError> {
        let Some(contract) = self.contracts.nodes else { return Ok(Verdict::Allowed) };
        if contract.abi == NodeAbi::V1 {
            return self.ask(Asked::Nodes, contract.address, link.call_v1(), None, nodes::judge_v1, bound);
        }
        let mut verdict = Verdict::Allowed;
        for (end, name) in [&link.source, &link.destination].into_iter().zip(names) {
            let ask = |host: &str| self.ask(Asked::Nodes, contract.address, end.call_v2(host), None, nodes::judge_v2, bound);
            verdict = ask(&end.ip.to_canonical().to_string())?;
            if let (Verdict::Denied, Some(name)) = (&verdict, name) {
                verdict = ask(name)?;
            }
            if !verdict.allows() {
                break;
            }
        }
        Ok(verdict)
    }

    /// The verdict on an input. `alike` is a question that an answer is to as well when it did not look at these bytes.
    fn ask(
        &self,
        asked: Asked,
        contract: Address,
        input: Bytes,
        alike: Option<(Question, &[Range<usize>])>,
        judge: fn(Outcome) -> Verdict,
        bound: Bound<'_>,
    ) -> Result<Verdict, AskError> {
        let exact = Question::Exact { contract, input: keccak256(&input) };
        if let Some(verdict) = self.known(asked, &exact) {
            return Ok(verdict);
        }
        let counts = self.kept.counts(asked);
        let witness = Witness::new(input.len(), alike.as_ref().map_or(&[], |(_, unlooked)| unlooked));
        let (outcome, reads, witness) = self.execute(contract, input, witness, counts, bound)?;
        let verdict = judge(outcome);
        let question = match alike {
            Some((alike, _)) if witness.is_alike() => alike,
            _ => exact,
        };
        self.kept.answers.lock().put(self.moment, question, verdict.clone(), &reads);
        counts.answered(&verdict);
        counts.passed(&verdict);
        Ok(verdict)
    }

    /// As [`Self::judge`], for what this node chooses itself: whatever takes more than its own gas and memory is refused.
    pub(crate) fn judge_own(&self, tx: &Transaction, sender: Address, bound: Bound<'_>) -> Result<Verdict, AskError> {
        let bound = Bound { tx_gas: OWN_GAS, memory: OWN_MEMORY, ..bound };
        self.refuse_dear(Asked::Accounts, self.judge(tx, sender, bound))
    }

    fn refuse_dear(&self, asked: Asked, verdict: Result<Verdict, AskError>) -> Result<Verdict, AskError> {
        let Err(AskError::Cut(cut @ Cut { over: Over::Gas { .. } | Over::Memory { .. }, .. })) = verdict else { return verdict };
        let counts = self.kept.counts(asked);
        let verdict = Verdict::Broken(Fault::TooDear { reason: cut.to_string() });
        counts.answered(&verdict);
        counts.passed(&verdict);
        Ok(verdict)
    }

    /// Calls the contract: what came of it, and what it read. Nothing that it does remains.
    fn execute(
        &self,
        contract: Address,
        input: Bytes,
        witness: Witness,
        counts: &Counts,
        bound: Bound<'_>,
    ) -> Result<(Outcome, Reads, Witness), AskError> {
        let account = self.state.account(contract).map_err(ReadError::State)?;
        if account.is_none() {
            let facts = vec![ipe_permissioning::Fact::Account(contract, None)];
            return Ok((Outcome::NoAccount, Reads { facts, of_the_block: false }, witness));
        }
        let mut env = Env::of(self.spec, self.parent, None);
        env.cfg.disable_nonce_check = true;
        env.cfg.disable_eip3607 = true;
        env.cfg.tx_gas_limit_cap = Some(u64::MAX);
        env.cfg.memory_limit = bound.memory;
        // The question costs nothing, so the block that is pretended has no prices.
        env.block.basefee = 0;
        if let Some(blobs) = &mut env.block.blob_excess_gas_and_price {
            blobs.blob_gasprice = 0;
        }
        let overlay = Overlay::new(self.state, &*self.hashes, env.fork);
        let context = Context::new(overlay, env.cfg.spec).with_cfg(env.cfg).with_block(env.block);
        let mut machine = Machine::new(env.fork, context, bound, None).with_witness(witness);
        let result = machine.transact(TxEnv {
            caller: Address::ZERO,
            gas_limit: self.moment.gas,
            gas_price: 0,
            kind: TxKind::Call(contract),
            value: U256::ZERO,
            data: input,
            chain_id: None,
            ..TxEnv::default()
        });
        counts.gas.fetch_add(result.as_ref().map_or(0, ExecutionResult::tx_gas_used), Ordering::Relaxed);
        let outcome = match result {
            Ok(ExecutionResult::Success { output, .. }) => Outcome::Returned(output.into_data()),
            Ok(ExecutionResult::Revert { .. }) => Outcome::Failed(Fault::Reverted),
            Ok(ExecutionResult::Halt { reason: HaltReason::OutOfGas(_), .. }) => Outcome::Failed(Fault::OutOfGas),
            Ok(ExecutionResult::Halt { reason, .. }) => Outcome::Failed(Fault::Halted { reason: format!("{reason:?}") }),
            Err(error) => match machine.cut() {
                Some(cut) => return Err(AskError::Cut(cut)),
                None => match error {
                    EVMError::Transaction(invalid) => Outcome::Failed(Fault::CannotBegin { reason: invalid.to_string() }),
                    EVMError::Database(error) => return Err(error.into()),
                    other => Outcome::Failed(Fault::Halted { reason: other.to_string() }),
                },
            },
        };
        let facts = machine.context().db().read_facts();
        let witness = machine.into_witness();
        let of_the_block = witness.of_the_block();
        Ok((outcome, Reads { facts, of_the_block }, witness))
    }
}

impl Ledger {
    /// The contracts in force for the block after `parent`, after which `state` holds; `None` when there are none.
    pub(crate) fn rules_on<'a>(&'a self, parent: &'a Header, state: &'a StateAt) -> Option<Rules<'a>> {
        let contracts = self.spec.permissioning_at(parent.number.saturating_add(1));
        contracts.any().then(|| Rules {
            kept: &self.rules,
            spec: &self.spec,
            parent,
            state,
            hashes: Box::new(|number| crate::read::hash_at(&*self.store, number)),
            contracts,
            moment: moment(&self.spec, parent),
        })
    }

    /// Whether every sender may have its transaction in this block, which follows the head.
    pub(crate) fn permit_block(
        &self,
        block: &Block,
        senders: &[Address],
        state: &StateAt,
        bound: Bound<'_>,
    ) -> Result<(), InvalidBlock> {
        let head = self.head();
        let late;
        let state = match planted::is(Bug::RulesOfAnotherState) {
            false => state,
            true => {
                late = self
                    .state
                    .at(head.number.saturating_sub(1))
                    .map_err(|error| InvalidBlock::NotJudged { reason: error.to_string() })?;
                &late
            }
        };
        let Some(rules) = self.rules_on(&head.header, state) else { return Ok(()) };
        if rules.contracts.accounts.is_none() {
            return Ok(());
        }
        let fault = |index: usize, tx: &Transaction, verdict: Result<Verdict, AskError>| {
            let (hash, sender) = (*tx.tx_hash(), senders[index]);
            match verdict {
                Ok(verdict) => verdict.refusal().map(|reason| InvalidBlock::NotPermitted { index, hash, sender, reason }),
                Err(AskError::Cut(cut)) => Some(InvalidBlock::TooDear { index, hash, cut }),
                Err(AskError::Read(error)) => Some(InvalidBlock::NotJudged { reason: error.to_string() }),
            }
        };
        let transactions = &block.body.transactions;
        // What is final has no bound, and many of its transactions may be new here.
        if bound.is_none() && transactions.len() >= PARALLEL {
            let first = transactions
                .par_iter()
                .enumerate()
                .with_min_len(PARALLEL / 2)
                .find_map_first(|(index, tx)| fault(index, tx, rules.judge(tx, senders[index], Bound::NONE)));
            return first.map_or(Ok(()), Err);
        }
        for (index, tx) in transactions.iter().enumerate() {
            if let Some(fault) = fault(index, tx, rules.judge(tx, senders[index], bound)) {
                return Err(fault);
            }
        }
        Ok(())
    }

    /// The verdict of the rules on chain on a transaction, for the block after the head; this node's own gas bounds the question.
    ///
    /// # Errors
    /// Reading failed.
    pub fn may_send(&self, candidate: &Candidate) -> Result<Verdict, LedgerError> {
        self.ask_at_head(&self.head(), |rules| rules.judge_own(&candidate.tx, candidate.sender, Bound::NONE))
    }

    /// The verdict of the rules on chain on a connection, on the state of the head; see [`Ledger::may_send`]. `names` are other
    /// texts for the hosts of source and destination, such as what a name server says of their addresses.
    ///
    /// # Errors
    /// Reading failed.
    pub fn may_connect(&self, link: &Link, names: [Option<&str>; 2]) -> Result<Verdict, LedgerError> {
        let bound = Bound { tx_gas: OWN_GAS, memory: OWN_MEMORY, ..Bound::NONE };
        self.ask_at_head(&self.head(), |rules| rules.refuse_dear(Asked::Nodes, rules.judge_link(link, names, bound)))
    }

    fn ask_at_head(
        &self,
        head: &Arc<Head>,
        ask: impl FnOnce(&Rules<'_>) -> Result<Verdict, AskError>,
    ) -> Result<Verdict, LedgerError> {
        if !self.spec.permissioning_at(head.number.saturating_add(1)).any() {
            return Ok(Verdict::Allowed);
        }
        let state = self.state.at(head.number)?;
        let Some(rules) = self.rules_on(&head.header, &state) else { return Ok(Verdict::Allowed) };
        ask(&rules).or_else(|error| match error {
            AskError::Cut(cut) => Ok(Verdict::Broken(Fault::TooDear { reason: cut.to_string() })),
            AskError::Read(error) => Err(error.into()),
        })
    }

    /// What became of questions of this kind since the start.
    pub fn rules_report(&self, asked: Asked) -> RulesReport {
        let contracts = self.spec.permissioning_at(self.head().number.saturating_add(1));
        let counts = self.rules.counts(asked);
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        RulesReport {
            contract: match asked {
                Asked::Accounts => contracts.accounts,
                Asked::Nodes => contracts.nodes.map(|nodes| nodes.address),
            },
            permitted: read(&counts.permitted),
            unpermitted: read(&counts.unpermitted),
            evaluated: read(&counts.evaluated),
            gas: read(&counts.gas),
            faults: std::array::from_fn(|number| read(&counts.faults[number])),
            fault: counts.fault.lock().clone(),
        }
    }
}
