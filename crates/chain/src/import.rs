//! Execution of a block against its header, and the one batch that makes a block final.

use std::sync::Arc;

use alloy_primitives::{Address, B256};
use alloy_rlp::Encodable;
use ipe_types::block::Block;
use ipe_types::extra::ExtraData;
use ipe_types::header::{EMPTY_ROOT, Header, block_hash};
use ipe_types::planted::{self, Bug};

use crate::bound::{Bound, Cut, Over};
use crate::env::Env;
use crate::execute::{Executed, Execution, FinishError, TxError};
use crate::invalid::InvalidBlock;
use crate::kv::{Batch, Table};
use crate::ladder::{CheckedBlock, FinalBlock, Imported};
use crate::ledger::{Ledger, LedgerError, put_head, total_difficulty};
use crate::logs;
use crate::overlay::ReadError;
use crate::read::StoredBlock;
use crate::receipts;
use crate::rules::check_seals;
use crate::state::StateChanges;

/// Bytes of a transaction's hash that index it. Sixteen are enough to keep strangers from colliding with one another; the
/// reader compares the whole hash with the body's.
pub(crate) const TX_KEY: usize = 16;

impl Ledger {
    /// Executes a block on the head within `bound` and compares everything that the header says about it.
    pub(crate) fn execute(&self, block: &Arc<Block>, senders: Vec<Address>, bound: Bound<'_>) -> Result<Executed, InvalidBlock> {
        let header = &block.header;
        let not_judged = |error: &dyn std::fmt::Display| InvalidBlock::NotJudged { reason: error.to_string() };
        let state = self.state.head();
        let hashes = |number| crate::read::hash_at(&*self.store, number);
        let root_of =
            |changes: &StateChanges| self.state.prepare(changes).map(|prepared| prepared.root()).map_err(ReadError::State);
        self.permit_block(block, &senders, &state, bound)?;
        crate::ahead::read_ahead(&state, &block.body.transactions, &senders);
        let env = Env::of(&self.spec, header, Some(&self.head().header));
        let mut execution = Execution::begin(env, header, &state, &hashes, &root_of, bound).map_err(finish_error)?;
        for (index, (tx, sender)) in block.body.transactions.iter().zip(&senders).enumerate() {
            // A transfer runs no instruction that would ask, and a block may hold many.
            if (bound.left_us)() == 0 {
                let cut = Cut { ran_us: 0, used_gas: 0, over: Over::BlockTime };
                return Err(InvalidBlock::TooDear { index, hash: *tx.tx_hash(), cut });
            }
            execution.transact(tx, *sender).map_err(|error| match error {
                TxError::Cut(cut) => InvalidBlock::TooDear { index, hash: *tx.tx_hash(), cut },
                error if error.is_verdict() => InvalidBlock::Transaction { index, hash: *tx.tx_hash(), reason: error.to_string() },
                error => not_judged(&error),
            })?;
        }
        let reward = self.spec.qbft_at(header.number, header.timestamp).block_reward;
        let outcome = execution.finish(reward).map_err(finish_error)?;
        if outcome.gas_used != header.gas_used && !planted::is(Bug::GasUsedUnchecked) {
            return Err(InvalidBlock::GasUsed { header: header.gas_used, computed: outcome.gas_used });
        }
        if header.blob_gas_used.is_some_and(|used| used != outcome.blob_gas_used) {
            return Err(InvalidBlock::GasUsed {
                header: header.blob_gas_used.unwrap_or_default(),
                computed: outcome.blob_gas_used,
            });
        }
        if outcome.bloom != header.logs_bloom {
            return Err(InvalidBlock::LogsBloom);
        }
        if let (Some(header), Some(computed)) = (header.requests_hash, outcome.requests_hash)
            && header != computed
        {
            return Err(InvalidBlock::RequestsHash { header, computed });
        }
        let (prepared, computed) = rayon::join(|| self.state.prepare(&outcome.changes), || receipts::root(&outcome.receipts));
        if computed != header.receipts_root && !planted::is(Bug::ReceiptsRootUnchecked) {
            return Err(InvalidBlock::ReceiptsRoot { header: header.receipts_root, computed });
        }
        let prepared = prepared.map_err(|error| not_judged(&error))?;
        if prepared.root() != header.state_root && !planted::is(Bug::StateRootUnchecked) {
            return Err(InvalidBlock::StateRoot { header: header.state_root, computed: prepared.root() });
        }
        Ok(Executed { block: Arc::clone(block), senders: Arc::new(senders), receipts: Arc::new(outcome.receipts), prepared })
    }

    /// Writes a final block: header, body, receipts, indexes, validators, votes and state in one durable commit. `sealed`
    /// is the checked block with its final round and seals.
    ///
    /// # Errors
    /// `sealed` is another block or lacks a quorum of seals, the checked block does not follow the head, or the store failed
    /// (then nothing was written).
    pub fn import(&self, checked: CheckedBlock, sealed: Arc<Block>) -> Result<Arc<Imported>, LedgerError> {
        let number = sealed.header.number;
        let last = self.finalise(checked, sealed).map_err(|reason| LedgerError::Invalid { number, reason })?;
        self.write(last)
    }

    /// The last rung: the seals are those of the checked block.
    fn finalise(&self, checked: CheckedBlock, sealed: Arc<Block>) -> Result<FinalBlock, InvalidBlock> {
        let head = self.head();
        if checked.block.header.parent_hash != head.hash && !planted::is(Bug::ParentUnchecked) {
            return Err(InvalidBlock::ParentHash { got: checked.block.header.parent_hash, expected: head.hash });
        }
        let same = Arc::ptr_eq(&checked.block, &sealed);
        let hash = if same { checked.hash } else { block_hash(&sealed.header)? };
        if hash != checked.hash || (!same && sealed.body != checked.block.body) {
            return Err(InvalidBlock::OtherBlock { got: hash, expected: checked.hash });
        }
        let extra = ExtraData::decode(&sealed.header.extra_data)?;
        let sealers = match checked.sealers {
            Some(sealers) if sealed.header.extra_data == checked.block.header.extra_data => sealers,
            _ => {
                let (_, validators) = self.sealers(&head, sealed.header.timestamp)?;
                check_seals(&sealed.header, &extra, &validators)?.into()
            }
        };
        let block = in_canonical_form(sealed, &extra);
        Ok(FinalBlock { block, hash, executed: checked.executed, sealers })
    }

    fn write(&self, last: FinalBlock) -> Result<Arc<Imported>, LedgerError> {
        let FinalBlock { block, hash, executed, sealers } = last;
        let header = &block.header;
        let number = header.number;
        let tally =
            self.head().votes.after(&self.spec, header).map_err(|error| LedgerError::Invalid { number, reason: error.into() })?;
        let transactions = block.body.transactions.len();
        let mut batch = Batch::with_capacity(16 + transactions * 12, 2048 + transactions * 800);
        put_header(&mut batch, header, hash);
        if transactions > 0 {
            let mut body = Vec::with_capacity(block.body.length());
            block.body.encode(&mut body);
            batch.put(Table::Bodies, &number.to_be_bytes(), &body);
            let stored = receipts::encode_stored(&executed.receipts, &executed.senders);
            batch.put(Table::Receipts, &number.to_be_bytes(), &stored);
            put_transactions(&mut batch, &block);
            logs::put_index(&mut batch, number, &executed.receipts);
        }
        put_head(&mut batch, number, &tally);
        self.state.apply(number, &executed.prepared, &mut batch)?;
        match self.store.commit(batch) {
            Err(_) if planted::is(Bug::CommitErrorIgnored) => {}
            committed => committed?,
        }
        self.state.committed(number, &executed.prepared)?;
        self.rules.advance(&self.spec, header, executed.prepared.changes());

        let imported = Imported {
            block: Arc::clone(&block),
            hash,
            receipts: Arc::clone(&executed.receipts),
            senders: Arc::clone(&executed.senders),
            sealers,
            total_difficulty: total_difficulty(&self.spec, number),
        };
        let stored = StoredBlock {
            block: Arc::clone(&block),
            hash,
            receipts: Arc::clone(&executed.receipts),
            senders: Arc::clone(&executed.senders),
        };
        self.advance(Arc::new(header.clone()), hash, Arc::new(tally), Arc::new(stored));
        Ok(Arc::new(imported))
    }
}

pub(crate) fn finish_error(error: FinishError) -> InvalidBlock {
    match error {
        FinishError::System { contract, reason } => InvalidBlock::SystemCall { contract, reason },
        FinishError::Reward { beneficiary } => InvalidBlock::Reward { beneficiary },
        FinishError::Tx(TxError::Read(error)) => InvalidBlock::NotJudged { reason: error.to_string() },
        FinishError::Tx(error) => InvalidBlock::NotJudged { reason: error.to_string() },
    }
}

/// Header by number, number by hash.
pub(crate) fn put_header(batch: &mut Batch, header: &Header, hash: B256) {
    let mut bytes = Vec::with_capacity(header.length());
    header.encode(&mut bytes);
    batch.put(Table::Headers, &header.number.to_be_bytes(), &bytes);
    batch.put(Table::BlockNumbers, hash.as_slice(), trimmed(&header.number.to_be_bytes()));
}

/// Start of the transaction's hash → number (up to 8 bytes) ‖ index (3 bytes).
fn put_transactions(batch: &mut Batch, block: &Block) {
    let number = block.header.number.to_be_bytes();
    for (index, tx) in block.body.transactions.iter().enumerate() {
        let mut row = [0u8; 11];
        let number = trimmed(&number);
        row[..number.len()].copy_from_slice(number);
        let index = (index as u32).to_be_bytes();
        row[number.len()..number.len() + 3].copy_from_slice(&index[1..]);
        batch.put(Table::Transactions, &tx.tx_hash()[..TX_KEY], &row[..number.len() + 3]);
    }
}

fn trimmed(bytes: &[u8; 8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    &bytes[zeros..]
}

/// True for a header without transactions.
pub(crate) fn is_empty(header: &Header) -> bool {
    header.transactions_root == EMPTY_ROOT
}

/// The block with its extra data as we write it. Decoding tolerates what neither hash nor seals cover, such as items after the
/// seals: whoever passes a block on could add as much as fits, and everybody would store and serve it for good.
fn in_canonical_form(block: Arc<Block>, extra: &ExtraData) -> Arc<Block> {
    let canonical = extra.encode();
    if canonical == block.header.extra_data {
        return block;
    }
    let mut block = Arc::unwrap_or_clone(block);
    block.header.extra_data = canonical;
    Arc::new(block)
}
