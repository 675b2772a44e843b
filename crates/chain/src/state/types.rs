//! What the state holds and what a block changes in it.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, U256};
use ipe_permissioning::Fields;
use revm::bytecode::Bytecode;

use crate::kv::StoreError;

/// An account without its storage, as the EVM sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// Transactions sent, or contracts created.
    pub nonce: u64,
    /// Balance in wei.
    pub balance: U256,
    /// keccak of the code; of nothing when there is no code.
    pub code_hash: B256,
}

impl Default for Account {
    fn default() -> Self {
        Account { nonce: 0, balance: U256::ZERO, code_hash: KECCAK256_EMPTY }
    }
}

impl Account {
    /// As the rules' kept answers remember it.
    pub(crate) fn fields(&self) -> Fields {
        (self.nonce, self.balance, self.code_hash)
    }

    /// Empty in the sense of EIP-161: nonce and balance zero, no code.
    pub fn is_empty(&self) -> bool {
        self.nonce == 0 && self.balance.is_zero() && self.code_hash == KECCAK256_EMPTY
    }
}

/// What a block did to one account.
#[derive(Clone, Debug, Default)]
pub struct AccountChange {
    /// The account after the block, or `None` when it does not exist any more (its storage goes with it).
    /// EIP-161 is the executor's matter: an empty account given here is stored.
    pub account: Option<Account>,
    /// All storage from before the block is gone (the account was destroyed, or created anew over old storage);
    /// `slots` then hold what was written after that.
    pub wiped: bool,
    /// Values after the block; zero removes the slot. Slots that did not change may be present.
    pub slots: BTreeMap<U256, U256>,
    /// Code that was set in this block, for `account.code_hash`.
    pub code: Option<Bytecode>,
}

/// What a block did to the state. Accounts that did not change may be present; they cost a comparison.
#[derive(Clone, Debug, Default)]
pub struct StateChanges {
    /// By address.
    pub accounts: BTreeMap<Address, AccountChange>,
}

/// How much of the past is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Retention {
    /// The state of every block can be read.
    #[default]
    Archive,
    /// The state of the last `keep` blocks can be read; older differences are deleted as blocks come.
    Full {
        /// Blocks, at least [`super::MIN_KEEP`]; smaller values are raised to it.
        keep: u64,
    },
}

/// Settings of the state. The defaults fit a node that must stay under 40 MiB when idle.
#[derive(Clone, Copy, Debug)]
pub struct StateSettings {
    /// How much of the past is kept.
    pub retention: Retention,
    /// Bytes that decoded accounts may take in memory.
    pub account_cache: usize,
    /// Bytes that slots may take in memory.
    pub slot_cache: usize,
    /// Bytes that analysed code may take in memory.
    pub code_cache: usize,
    /// Bytes that branch records may take in memory.
    pub trie_cache: usize,
    /// Bytes that those at the top of a trie, with paths of up to three nibbles, may take besides: 3.6 MB for each trie of more than
    /// some tens of thousands of rows.
    pub upper_trie_cache: usize,
    /// Bytes of changes that wait in memory to be settled together (see the module's head).
    pub unsettled: usize,
}

impl Default for StateSettings {
    fn default() -> Self {
        const MIB: usize = 1024 * 1024;
        StateSettings {
            retention: Retention::Archive,
            account_cache: 5 * MIB,
            slot_cache: 5 * MIB,
            code_cache: 4 * MIB,
            trie_cache: 8 * MIB,
            upper_trie_cache: 10 * MIB,
            unsettled: 8 * MIB,
        }
    }
}

/// A proof that an account has (or has not) certain values in the state of one block: `eth_getProof`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountProof {
    /// Whose.
    pub address: Address,
    /// The account, or `None` when it does not exist (the proof then shows its absence).
    pub account: Option<Account>,
    /// Root of the account's storage trie.
    pub storage_root: B256,
    /// Trie nodes from the root towards the account, RLP each.
    pub nodes: Vec<Bytes>,
    /// One per slot asked, in the order asked.
    pub slots: Vec<SlotProof>,
}

/// The storage part of an [`AccountProof`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotProof {
    /// The slot asked.
    pub slot: U256,
    /// Its value; zero when absent.
    pub value: U256,
    /// Trie nodes from the storage root towards the slot, RLP each. Empty when the account has no storage.
    pub nodes: Vec<Bytes>,
}

/// Why the state could not answer.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The height is above the head.
    #[error("state of block {asked} was asked, the head is {head}; ask for a block that exists")]
    Ahead {
        /// Block asked.
        asked: u64,
        /// Newest block.
        head: u64,
    },
    /// The height's state is not kept any more.
    #[error("state of block {asked} is not kept, the oldest is {oldest}; ask an archive node or a newer block")]
    Pruned {
        /// Block asked.
        asked: u64,
        /// Oldest block whose state can be read.
        oldest: u64,
    },
    /// A proof or a root was asked for a block too many changes ago.
    #[error("proofs and roots reach back {limit} changed rows, block {asked} is further back; ask at a newer block")]
    TooFarBack {
        /// Block asked.
        asked: u64,
        /// Changed rows that may be undone.
        limit: usize,
    },
    /// Changes were prepared on one head and applied on another.
    #[error("changes were prepared on block {prepared:?}, the head is {head:?}; execute the block again")]
    Stale {
        /// The head when the changes were prepared; `None` before the genesis.
        prepared: Option<u64>,
        /// The head now.
        head: Option<u64>,
    },
}
