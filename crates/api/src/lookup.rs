//! From parameters to blocks and states.

use crate::backend::Api;
use crate::error::RpcError;
use crate::params::{BlockRef, BlockTag, Params};
use alloy_primitives::B256;
use ipe_chain::ledger::LedgerError;
use ipe_chain::read::StoredBlock;
use ipe_chain::receipts::Receipt;
use ipe_chain::state::{StateAt, StateError};
use ipe_types::Header;
use std::sync::Arc;

impl From<LedgerError> for RpcError {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::State(error) => error.into(),
            other => Self::internal(other),
        }
    }
}

impl From<StateError> for RpcError {
    fn from(error: StateError) -> Self {
        match error {
            StateError::Pruned { .. } | StateError::TooFarBack { .. } => {
                Self { data: Some(error.to_string()), ..Self::STATE_UNAVAILABLE }
            }
            StateError::Ahead { .. } => Self::BLOCK_NOT_FOUND,
            other => Self::internal(other),
        }
    }
}

impl Api {
    /// Height that a tag names; `None` when there is no such block.
    pub(crate) fn number(&self, tag: BlockTag) -> Result<Option<u64>, RpcError> {
        let head = self.backend.ledger.head().number;
        match tag {
            // Every block is final. (Besu knows no finalized block on a QBFT chain and fails.)
            BlockTag::Latest | BlockTag::Pending | BlockTag::Finalized | BlockTag::Safe => Ok(Some(head)),
            BlockTag::Earliest => Ok(Some(0)),
            BlockTag::Number(number) => Ok((number <= head).then_some(number)),
        }
    }

    /// Height of the block that a parameter names; `None` when there is no such block.
    pub(crate) fn number_of(&self, block: BlockRef) -> Result<Option<u64>, RpcError> {
        match block {
            BlockRef::Tag(tag) => self.number(tag),
            BlockRef::Hash(hash) => Ok(self.backend.ledger.number_of(&hash)?),
        }
    }

    /// A block with hash, receipts and senders.
    pub(crate) fn stored(&self, number: u64) -> Result<Option<Arc<StoredBlock>>, RpcError> {
        Ok(self.backend.ledger.stored(number)?)
    }

    /// The block that the parameter's number or tag names.
    pub(crate) fn stored_by_tag(&self, params: &Params<'_>, index: usize) -> Result<Option<Arc<StoredBlock>>, RpcError> {
        match self.number(params.block(index, &RpcError::BLOCK_NUMBER)?)? {
            Some(number) => self.stored(number),
            None => Ok(None),
        }
    }

    /// The block that the parameter's hash names.
    pub(crate) fn stored_by_hash(&self, params: &Params<'_>, index: usize) -> Result<Option<Arc<StoredBlock>>, RpcError> {
        let hash = params.hash(index, &RpcError::BLOCK_HASH)?;
        match self.backend.ledger.number_of(&hash)? {
            Some(number) => self.stored(number),
            None => Ok(None),
        }
    }

    /// Header of an existing height.
    pub(crate) fn header(&self, number: u64) -> Result<Arc<Header>, RpcError> {
        self.backend.ledger.header(number)?.ok_or(RpcError::BLOCK_NOT_FOUND)
    }

    /// Hash of an existing height.
    pub(crate) fn hash_of(&self, number: u64) -> Result<B256, RpcError> {
        self.backend.ledger.hash_of(number)?.ok_or(RpcError::BLOCK_NOT_FOUND)
    }

    /// Receipts of a height.
    pub(crate) fn block_receipts(&self, number: u64) -> Result<Option<Arc<Vec<Receipt>>>, RpcError> {
        Ok(self.backend.ledger.receipts(number)?)
    }

    /// Height and index of a mined transaction.
    pub(crate) fn transaction_place(&self, hash: B256) -> Result<Option<(u64, usize)>, RpcError> {
        Ok(self.backend.ledger.transaction(&hash)?.map(|t| (t.stored.block.header.number, t.index)))
    }

    /// The state at the head.
    pub(crate) fn head_state(&self) -> StateAt {
        self.backend.ledger.state().head()
    }

    /// The state after a block.
    pub(crate) fn state_at(&self, number: u64) -> Result<StateAt, RpcError> {
        Ok(self.backend.ledger.state().at(number)?)
    }
}
