//! Building a block on the head from candidates that the caller hands over one by one.

use std::sync::Arc;

use alloy_consensus::proofs::calculate_transaction_root;
use alloy_eips::Encodable2718;
use alloy_primitives::{B64, B256, U256};
use ipe_types::block::{Block, Body};
use ipe_types::extra::ExtraData;
use ipe_types::fork::Fork;
use ipe_types::header::{BFT_MIX_HASH, EMPTY_OMMERS_HASH, EMPTY_ROOT, Header, block_hash};
use ipe_types::sizes::{BUILT_TRANSACTIONS_BYTES, VANITY_BYTES};
use ipe_types::spec::ChainSpec;
use ipe_types::transition::Selection;
use revm::context::result::InvalidTransaction;

use crate::bound::{Bound, Cut, Over};
use crate::env::Env;
use crate::execute::{Executed, Execution, TxError};
use crate::ladder::{BuildOrder, Candidate, CheckedBlock, Feedback};
use crate::ledger::{Head, Ledger, LedgerError};
use crate::overlay::ReadError;
use crate::permission::{AskError, Rules};
use crate::receipts;
use crate::rules::{GAS_LIMIT_DIVISOR, MAX_GAS_LIMIT, MIN_GAS_LIMIT, gas_limit_base};
use crate::state::StateChanges;
use crate::system::NO_REQUESTS_HASH;
use crate::validators::may_vote;

/// Gas of the cheapest transaction: with less left, nothing more fits.
const LEAST_TX_GAS: u64 = 21_000;

impl Ledger {
    /// Builds a block on the head. `next` is told what became of the candidate before and hands out another, or `None` to
    /// end; `bound` says how long that may take, and how much each transaction may. Seals are empty; the result is kept, so that
    /// importing it executes nothing.
    ///
    /// # Errors
    /// The validators of the height are not known, or reading failed.
    pub fn build(
        &self,
        order: &BuildOrder,
        next: &mut dyn FnMut(Feedback) -> Option<Arc<Candidate>>,
        bound: Bound<'_>,
    ) -> Result<CheckedBlock, LedgerError> {
        let head = self.head();
        let cannot = |reason: String| LedgerError::CannotBuild { head: head.number, reason };
        let mut header = self.header_to_build(&head, order)?;
        let state = self.state.head();
        let hashes = |number| crate::read::hash_at(&*self.store, number);
        let root_of =
            |changes: &StateChanges| self.state.prepare(changes).map(|prepared| prepared.root()).map_err(ReadError::State);
        let env = Env::of(&self.spec, &header, Some(&head.header));
        let fork = env.fork;
        let rules = self.rules_on(&head.header, &state);
        let mut execution =
            Execution::begin(env, &header, &state, &hashes, &root_of, bound).map_err(|error| cannot(error.to_string()))?;
        let (mut transactions, mut senders, mut bytes) = (Vec::new(), Vec::new(), 0usize);
        let mut feedback = Feedback::Start;
        while execution.gas_left() >= LEAST_TX_GAS && (bound.left_us)() > 0 {
            let Some(candidate) = next(feedback) else {
                break;
            };
            let length = candidate.tx.encode_2718_len() + 5;
            feedback = if bytes + length > BUILT_TRANSACTIONS_BYTES {
                Feedback::TooManyBytes
            } else if let Some(refused) = not_permitted(&rules, &candidate, bound).map_err(|error| cannot(error.to_string()))? {
                refused
            } else {
                match execution.transact(&candidate.tx, candidate.sender) {
                    Ok(gas_used) => {
                        bytes += length;
                        transactions.push(candidate.tx.clone());
                        senders.push(candidate.sender);
                        Feedback::Included { gas_used }
                    }
                    Err(TxError::Cut(cut)) => Feedback::Cut(cut),
                    Err(error) if error.is_verdict() => refused(error),
                    Err(error) => return Err(cannot(error.to_string())),
                }
            };
        }
        let reward = self.spec.qbft_at(header.number, header.timestamp).block_reward;
        let outcome = execution.finish(reward).map_err(|error| cannot(error.to_string()))?;
        let (prepared, (transactions_root, receipts_root)) = rayon::join(
            || self.state.prepare(&outcome.changes),
            || (calculate_transaction_root(&transactions), receipts::root(&outcome.receipts)),
        );
        let prepared = prepared?;
        header.transactions_root = transactions_root;
        header.receipts_root = receipts_root;
        header.state_root = prepared.root();
        header.logs_bloom = outcome.bloom;
        header.gas_used = outcome.gas_used;
        if fork >= Fork::Cancun {
            header.blob_gas_used = Some(outcome.blob_gas_used);
        }
        if fork >= Fork::Prague {
            header.requests_hash = outcome.requests_hash.or(Some(NO_REQUESTS_HASH));
        }
        let withdrawals = header.withdrawals_root.map(|_| Vec::new());
        let hash = block_hash(&header).map_err(|error| cannot(error.to_string()))?;
        let block = Arc::new(Block { header, body: Body { transactions, withdrawals } });
        let executed = Arc::new(Executed {
            block: Arc::clone(&block),
            senders: Arc::new(senders),
            receipts: Arc::new(outcome.receipts),
            prepared,
        });
        self.keep(hash, &executed);
        Ok(CheckedBlock { block, hash, executed, sealers: None })
    }

    /// Everything of the header that does not depend on the transactions.
    fn header_to_build(&self, head: &Head, order: &BuildOrder) -> Result<Header, LedgerError> {
        let cannot = |reason: String| LedgerError::CannotBuild { head: head.number, reason };
        let (selection, validators) = self.sealers(head, order.timestamp).map_err(|error| cannot(error.to_string()))?;
        let listed = match selection {
            Selection::Header => validators.as_slice().to_vec(),
            Selection::Contract(_) => Vec::new(),
        };
        let vote = order.vote.filter(|_| may_vote(&self.spec, selection));
        let mut vanity = order.vanity.to_vec();
        vanity.resize(VANITY_BYTES, 0);
        let extra = ExtraData { vanity: vanity.into(), validators: listed, vote, round: order.round, seals: Vec::new() };
        let mut header = next_header(&self.spec, &head.header, order.timestamp, order.min_gas_price);
        header.parent_hash = head.hash;
        header.beneficiary = order.coinbase;
        header.extra_data = extra.encode();
        if let Some(target) = order.target_gas_limit {
            let base = gas_limit_base(&self.spec, &head.header, header.number, header.timestamp);
            header.gas_limit = towards(base, target);
        }
        Ok(header)
    }

    /// The header that a block on the head would have at `timestamp` (seconds), for what is asked of the pending block:
    /// number, gas limit, base fee, fields of the fork. Coinbase is zero, extra data empty.
    pub fn pending_header(&self, timestamp: u64, min_gas_price: u64) -> Header {
        let head = self.head();
        let mut header = next_header(&self.spec, &head.header, timestamp, min_gas_price);
        header.parent_hash = head.hash;
        header
    }
}

pub(crate) fn next_header(spec: &ChainSpec, parent: &Header, timestamp: u64, min_gas_price: u64) -> Header {
    let number = parent.number.saturating_add(1);
    let fork = spec.fork_at(number, timestamp);
    Header {
        ommers_hash: EMPTY_OMMERS_HASH,
        transactions_root: EMPTY_ROOT,
        receipts_root: EMPTY_ROOT,
        state_root: parent.state_root,
        difficulty: U256::from(1),
        number,
        gas_limit: gas_limit_base(spec, parent, number, timestamp),
        timestamp,
        mix_hash: BFT_MIX_HASH,
        nonce: B64::ZERO,
        base_fee_per_gas: spec.next_base_fee(parent, timestamp, min_gas_price),
        withdrawals_root: (fork >= Fork::Shanghai).then_some(EMPTY_ROOT),
        blob_gas_used: (fork >= Fork::Cancun).then_some(0),
        excess_blob_gas: (fork >= Fork::Cancun).then(|| spec.blob_rules(number, timestamp).next_excess(parent)),
        parent_beacon_block_root: (fork >= Fork::Cancun).then_some(B256::ZERO),
        requests_hash: (fork >= Fork::Prague).then_some(NO_REQUESTS_HASH),
        ..Header::default()
    }
}

/// One step of at most parent / 1024 − 1 towards the target.
fn towards(parent: u64, target: u64) -> u64 {
    let target = target.clamp(MIN_GAS_LIMIT, MAX_GAS_LIMIT);
    let step = (parent / GAS_LIMIT_DIVISOR).saturating_sub(1);
    target.clamp(parent.saturating_sub(step), parent.saturating_add(step))
}

/// What the builder says of a candidate that the rules on chain keep out of the block; `None` of others.
fn not_permitted(rules: &Option<Rules<'_>>, candidate: &Candidate, bound: Bound<'_>) -> Result<Option<Feedback>, ReadError> {
    let Some(rules) = rules else { return Ok(None) };
    // What a question takes here is this node's own choice, as all that it puts into a block is.
    match rules.judge_own(&candidate.tx, candidate.sender, bound) {
        Ok(verdict) => Ok(verdict.refusal().map(|reason| Feedback::NotPermitted { reason })),
        // The time of the block, whose transactions are not to blame for it.
        Err(AskError::Cut(cut)) => Ok(Some(Feedback::Cut(Cut { over: Over::BlockTime, ..cut }))),
        Err(AskError::Read(error)) => Err(error),
    }
}

fn refused(error: TxError) -> Feedback {
    match error {
        TxError::DoesNotFit { gas_left, .. } => Feedback::DoesNotFit { gas_left },
        TxError::Invalid(InvalidTransaction::NonceTooLow { state, .. }) => Feedback::NonceTooLow { expected: state },
        TxError::Invalid(InvalidTransaction::NonceTooHigh { state, .. }) => Feedback::NonceTooHigh { expected: state },
        other => Feedback::Refused { reason: other.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gas_limit_takes_one_step() {
        assert_eq!(towards(30_000_000, 30_000_000), 30_000_000);
        assert_eq!(towards(30_000_000, 60_000_000), 30_000_000 + 29_295);
        assert_eq!(towards(30_000_000, 1), 30_000_000 - 29_295);
        assert_eq!(towards(30_000_000, 30_000_100), 30_000_100);
        assert_eq!(towards(5_000, 0), 5_000);
    }
}
