//! Reading what was written: headers, bodies, receipts, transactions, by number and by hash.

use std::collections::VecDeque;
use std::sync::Arc;

use alloy_primitives::{Address, B256, U256};
use alloy_rlp::Decodable;
use ipe_types::block::{Block, Body, Transaction};
use ipe_types::extra::ExtraData;
use ipe_types::header::{Header, block_hash};
use ipe_types::spec::ChainSpec;
use ipe_types::transition::Selection;
use ipe_types::validators::ValidatorSet;
use parking_lot::Mutex;

use crate::import::{TX_KEY, is_empty};
use crate::kv::{Read, StoreError, Table};
use crate::ledger::{Ledger, LedgerError, TALLY_DISTANCE, total_difficulty};
use crate::overlay::ReadError;
use crate::receipts::{self, Receipt};
use crate::validators::{ContractError, Tally, ask_contract, selection};

/// A stored block with everything that belongs to it.
#[derive(Clone, Debug)]
pub struct StoredBlock {
    /// With round and seals.
    pub block: Arc<Block>,
    /// Block hash.
    pub hash: B256,
    /// One per transaction.
    pub receipts: Arc<Vec<Receipt>>,
    /// One per transaction.
    pub senders: Arc<Vec<Address>>,
}

/// Where a transaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxPosition {
    /// Height of its block.
    pub number: u64,
    /// Position in the block, from 0.
    pub index: usize,
}

/// A transaction in its block.
#[derive(Clone, Debug)]
pub struct StoredTransaction {
    /// Its block.
    pub stored: Arc<StoredBlock>,
    /// Position in the block, from 0.
    pub index: usize,
}

impl StoredTransaction {
    /// The transaction.
    pub fn tx(&self) -> &Transaction {
        &self.stored.block.body.transactions[self.index]
    }

    /// Who sent it.
    pub fn sender(&self) -> Address {
        self.stored.senders[self.index]
    }

    /// Its receipt.
    pub fn receipt(&self) -> &Receipt {
        &self.stored.receipts[self.index]
    }
}

/// Bytes that the newest decoded blocks may take, by estimate: they are asked for again and again (receipts of what was
/// just sent, peers that are a block behind), and a block of 3,000 transactions is some 4 MiB.
const RECENT_BYTES: usize = 16 * 1024 * 1024;
/// Blocks kept decoded at most.
const RECENT_BLOCKS: usize = 64;

/// The newest blocks, decoded.
#[derive(Debug, Default)]
pub(crate) struct RecentBlocks(Mutex<VecDeque<(usize, Arc<StoredBlock>)>>);

impl RecentBlocks {
    pub(crate) fn put(&self, stored: Arc<StoredBlock>) {
        let size = estimate(&stored);
        let mut recent = self.0.lock();
        recent.push_back((size, stored));
        let mut bytes: usize = recent.iter().map(|(size, _)| size).sum();
        while recent.len() > 1 && (recent.len() > RECENT_BLOCKS || bytes > RECENT_BYTES) {
            if let Some((size, _)) = recent.pop_front() {
                bytes = bytes.saturating_sub(size);
            }
        }
    }

    fn get(&self, number: u64) -> Option<Arc<StoredBlock>> {
        let recent = self.0.lock();
        recent.iter().rev().find(|(_, stored)| stored.block.header.number == number).map(|(_, stored)| Arc::clone(stored))
    }
}

fn estimate(stored: &StoredBlock) -> usize {
    let inputs: usize = stored.block.body.transactions.iter().map(|tx| tx.input().len()).sum();
    2048 + inputs + stored.block.body.transactions.len() * 1200
}

fn decode<T: Decodable>(table: Table, bytes: &[u8]) -> Result<T, StoreError> {
    let mut rest = bytes;
    T::decode(&mut rest).map_err(|error| StoreError::corrupt(table, error.to_string()))
}

pub(crate) fn header(read: &dyn Read, number: u64) -> Result<Option<Header>, StoreError> {
    let bytes = read.get(Table::Headers, &number.to_be_bytes())?;
    bytes.map(|bytes| decode(Table::Headers, &bytes)).transpose()
}

/// Hash of the block at a height; zero where there is none, as BLOCKHASH answers.
pub(crate) fn hash_at(read: &dyn Read, number: u64) -> Result<B256, ReadError> {
    let failed = |reason: String| ReadError::BlockHash { number, reason };
    match header(read, number).map_err(|error| failed(error.to_string()))? {
        Some(header) => block_hash(&header).map_err(|error| failed(error.to_string())),
        None => Ok(B256::ZERO),
    }
}

impl Ledger {
    /// Header at a height, with round and seals.
    ///
    /// # Errors
    /// The store failed.
    pub fn header(&self, number: u64) -> Result<Option<Arc<Header>>, LedgerError> {
        let head = self.head();
        if number == head.number {
            return Ok(Some(Arc::clone(&head.header)));
        }
        Ok(header(&*self.store, number)?.map(Arc::new))
    }

    /// The header's RLP as it is stored, with round and seals.
    ///
    /// # Errors
    /// The store failed.
    pub fn raw_header(&self, number: u64) -> Result<Option<Vec<u8>>, LedgerError> {
        Ok(self.store.get(Table::Headers, &number.to_be_bytes())?)
    }

    /// Height of the block with that hash.
    ///
    /// # Errors
    /// The store failed.
    pub fn number_of(&self, hash: &B256) -> Result<Option<u64>, LedgerError> {
        let head = self.head();
        if *hash == head.hash {
            return Ok(Some(head.number));
        }
        let Some(bytes) = self.store.get(Table::BlockNumbers, hash.as_slice())? else { return Ok(None) };
        Ok(Some(number_from(&bytes)?))
    }

    /// Hash of the block at a height.
    ///
    /// # Errors
    /// The store failed.
    pub fn hash_of(&self, number: u64) -> Result<Option<B256>, LedgerError> {
        let head = self.head();
        if number >= head.number {
            return Ok((number == head.number).then_some(head.hash));
        }
        // The child names it; its own header would have to be hashed.
        Ok(header(&*self.store, number + 1)?.map(|child| child.parent_hash))
    }

    /// Header of the block with that hash.
    ///
    /// # Errors
    /// The store failed.
    pub fn header_by_hash(&self, hash: &B256) -> Result<Option<Arc<Header>>, LedgerError> {
        match self.number_of(hash)? {
            Some(number) => self.header(number),
            None => Ok(None),
        }
    }

    /// Body at a height.
    ///
    /// # Errors
    /// The store failed.
    pub fn body(&self, number: u64) -> Result<Option<Body>, LedgerError> {
        if let Some(recent) = self.recent.get(number) {
            return Ok(Some(recent.block.body.clone()));
        }
        let Some(header) = self.header(number)? else { return Ok(None) };
        Ok(Some(self.body_of(&header)?))
    }

    fn body_of(&self, header: &Header) -> Result<Body, StoreError> {
        if is_empty(header) {
            let withdrawals = header.withdrawals_root.map(|_| Vec::new());
            return Ok(Body { transactions: Vec::new(), withdrawals });
        }
        let bytes = self
            .store
            .get(Table::Bodies, &header.number.to_be_bytes())?
            .ok_or_else(|| StoreError::corrupt(Table::Bodies, format!("no body of block {}", header.number)))?;
        decode(Table::Bodies, &bytes)
    }

    /// Header and body at a height.
    ///
    /// # Errors
    /// The store failed.
    pub fn block(&self, number: u64) -> Result<Option<Arc<Block>>, LedgerError> {
        if let Some(recent) = self.recent.get(number) {
            return Ok(Some(Arc::clone(&recent.block)));
        }
        let Some(header) = self.header(number)? else { return Ok(None) };
        let body = self.body_of(&header)?;
        Ok(Some(Arc::new(Block { header: (*header).clone(), body })))
    }

    /// Header and body of the block with that hash.
    ///
    /// # Errors
    /// The store failed.
    pub fn block_by_hash(&self, hash: &B256) -> Result<Option<Arc<Block>>, LedgerError> {
        match self.number_of(hash)? {
            Some(number) => self.block(number),
            None => Ok(None),
        }
    }

    /// The block at a height with hash, receipts and senders. The newest ones come from memory.
    ///
    /// # Errors
    /// The store failed.
    pub fn stored(&self, number: u64) -> Result<Option<Arc<StoredBlock>>, LedgerError> {
        if let Some(recent) = self.recent.get(number) {
            return Ok(Some(recent));
        }
        let Some(block) = self.block(number)? else { return Ok(None) };
        let Some(hash) = self.hash_of(number)? else { return Ok(None) };
        let stored = self.stored_receipts(&block.header)?;
        let short = stored.receipts.len() != block.body.transactions.len() || stored.senders.len() != block.body.transactions.len();
        if short {
            return Err(StoreError::corrupt(Table::Receipts, format!("not one receipt a transaction in block {number}")).into());
        }
        let (receipts, senders) = (Arc::new(stored.receipts), Arc::new(stored.senders));
        Ok(Some(Arc::new(StoredBlock { block, hash, receipts, senders })))
    }

    fn stored_receipts(&self, header: &Header) -> Result<receipts::Stored, StoreError> {
        if is_empty(header) {
            return Ok(receipts::Stored::default());
        }
        let number = header.number;
        let bytes = self
            .store
            .get(Table::Receipts, &number.to_be_bytes())?
            .ok_or_else(|| StoreError::corrupt(Table::Receipts, format!("no receipts of block {number}")))?;
        receipts::decode_stored(&bytes).map_err(|error| StoreError::corrupt(Table::Receipts, error.to_string()))
    }

    /// Receipts of the block at a height.
    ///
    /// # Errors
    /// The store failed.
    pub fn receipts(&self, number: u64) -> Result<Option<Arc<Vec<Receipt>>>, LedgerError> {
        if let Some(recent) = self.recent.get(number) {
            return Ok(Some(Arc::clone(&recent.receipts)));
        }
        let Some(header) = self.header(number)? else { return Ok(None) };
        Ok(Some(Arc::new(self.stored_receipts(&header)?.receipts)))
    }

    /// Where a transaction is, by the index alone: the block's transaction at that place is to be compared with the hash
    /// ([`Ledger::transaction`] does).
    ///
    /// # Errors
    /// The store failed.
    pub fn position_of(&self, hash: &B256) -> Result<Option<TxPosition>, LedgerError> {
        let Some(row) = self.store.get(Table::Transactions, &hash[..TX_KEY])? else { return Ok(None) };
        let Some((number, index)) = row.split_last_chunk::<3>() else {
            return Err(StoreError::corrupt(Table::Transactions, "row has fewer than 3 bytes").into());
        };
        let index = index.iter().fold(0usize, |value, byte| value << 8 | usize::from(*byte));
        Ok(Some(TxPosition { number: number_from(number)?, index }))
    }

    /// A transaction with its block, receipt and sender.
    ///
    /// # Errors
    /// The store failed.
    pub fn transaction(&self, hash: &B256) -> Result<Option<StoredTransaction>, LedgerError> {
        let Some(position) = self.position_of(hash)? else { return Ok(None) };
        let Some(stored) = self.stored(position.number)? else { return Ok(None) };
        let same = stored.block.body.transactions.get(position.index).is_some_and(|tx| tx.tx_hash() == hash);
        Ok(same.then_some(StoredTransaction { stored, index: position.index }))
    }

    /// Sum of difficulties up to a height, whether that block exists or not.
    pub fn total_difficulty(&self, number: u64) -> U256 {
        total_difficulty(&self.spec, number)
    }

    /// Who sealed (or is to seal) block `number`, up to head + 1; `None` beyond. The genesis answers what it lists.
    ///
    /// # Errors
    /// The store failed, or a contract could not be asked ([`ValidatorsError::Contract`]).
    pub fn validators_for(&self, number: u64) -> Result<Option<ValidatorSet>, ValidatorsError> {
        let head = self.head();
        if number == head.number.saturating_add(1) {
            return match &head.validators_error {
                None => Ok(Some(head.validators_next.clone())),
                Some(error) => Err(error.clone().into()),
            };
        }
        let Some(header) = self.header(number)? else { return Ok(None) };
        let listed = |header: &Header| -> Result<ValidatorSet, LedgerError> {
            let extra =
                ExtraData::decode(&header.extra_data).map_err(|error| StoreError::corrupt(Table::Headers, error.to_string()))?;
            Ok(extra.validators.into_iter().collect())
        };
        if number == 0 {
            return Ok(Some(listed(&header)?));
        }
        let parent = self.header(number - 1)?.ok_or_else(|| LedgerError::from(missing_header(number - 1)))?;
        match selection(&self.spec, &parent, header.timestamp) {
            Selection::Header => Ok(Some(listed(&header)?)),
            Selection::Contract(contract) => Ok(Some(self.ask(&parent, contract)?)),
        }
    }

    /// Who seals the block after block `number`, on the state of block `number` in contract mode.
    ///
    /// # Errors
    /// As [`Ledger::validators_for`].
    pub fn validators_after(&self, number: u64) -> Result<Option<ValidatorSet>, ValidatorsError> {
        self.validators_for(number.saturating_add(1))
    }

    /// What a validator contract answers on the state of block `number`; `None` when there is no such block.
    ///
    /// # Errors
    /// As [`Ledger::validators_for`].
    pub fn ask_validators(&self, number: u64, contract: Address) -> Result<Option<ValidatorSet>, ValidatorsError> {
        match self.header(number)? {
            Some(header) => Ok(Some(self.ask(&header, contract)?)),
            None => Ok(None),
        }
    }

    fn ask(&self, parent: &Header, contract: Address) -> Result<ValidatorSet, ValidatorsError> {
        let state = self.state.at(parent.number).map_err(LedgerError::from)?;
        let hashes = |number| hash_at(&*self.store, number);
        Ok(ask_contract(&self.spec, parent, contract, &state, &hashes)?)
    }

    /// Validators and open votes after a block, from the nearest stored tally before it and the headers since.
    ///
    /// # Errors
    /// The store failed.
    pub fn votes_after(&self, number: u64) -> Result<Option<Arc<Tally>>, LedgerError> {
        let head = self.head();
        if number >= head.number {
            return Ok((number == head.number).then(|| Arc::clone(&head.votes)));
        }
        Ok(Some(Arc::new(tally_after(&*self.store, &self.spec, number)?)))
    }
}

/// The tally after a stored block: the nearest one that was written whole, and at most [`TALLY_DISTANCE`] headers.
pub(crate) fn tally_after(store: &dyn Read, spec: &ChainSpec, number: u64) -> Result<Tally, StoreError> {
    let start = number - number % TALLY_DISTANCE;
    let row = store
        .get(Table::Votes, &start.to_be_bytes())?
        .ok_or_else(|| StoreError::corrupt(Table::Votes, format!("no votes after block {start}")))?;
    let mut tally = Tally::decode(&row).map_err(|error| StoreError::corrupt(Table::Votes, error.to_string()))?;
    for at in start + 1..=number {
        let header = header(store, at)?.ok_or_else(|| missing_header(at))?;
        tally = tally.after(spec, &header).map_err(|error| StoreError::corrupt(Table::Headers, error.to_string()))?;
    }
    Ok(tally)
}

/// Why the validators of a height are not known.
#[derive(Debug, thiserror::Error)]
pub enum ValidatorsError {
    /// The contract that selects them could not be asked.
    #[error(transparent)]
    Contract(#[from] ContractError),
    /// Reading failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

fn missing_header(number: u64) -> StoreError {
    StoreError::corrupt(Table::Headers, format!("no header of block {number}"))
}

fn number_from(bytes: &[u8]) -> Result<u64, StoreError> {
    if bytes.len() > 8 {
        return Err(StoreError::corrupt(Table::BlockNumbers, "a block number of more than 8 bytes"));
    }
    Ok(bytes.iter().fold(0u64, |value, byte| value << 8 | u64::from(*byte)))
}
