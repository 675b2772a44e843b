//! The state: flat tables, the trie beside them, and views of any kept height.

mod types;

use std::sync::Arc;

use alloy_primitives::{Address, B256, U256};
use revm::bytecode::Bytecode;

use crate::kv::{Batch, Store};

pub use types::{
    Account, AccountChange, AccountProof, Retention, SlotProof, StateChanges, StateError, StateSettings,
};

/// Fewest blocks whose differences are kept, whatever [`Retention`] says.
pub const MIN_KEEP: u64 = 256;

/// The state at the head, and the door to older heights. Shared by `Arc`; one writer, any number of readers.
pub struct State {
    store: Arc<dyn Store>,
}

/// The state after one block, unchanging while later blocks commit. Cheap to clone.
#[derive(Clone)]
pub struct StateAt {
    number: u64,
    root: B256,
}

/// Changes whose root is known and that are not written yet. Dropping it undoes everything.
pub struct Prepared {
    root: B256,
}

impl Prepared {
    /// State root after the changes.
    pub fn root(&self) -> B256 {
        self.root
    }
}

impl State {
    /// Opens the state of `store`, which may be empty (then only `prepare` of the genesis makes sense).
    pub fn open(store: Arc<dyn Store>, settings: StateSettings) -> Result<State, StateError> {
        let _ = settings;
        Ok(State { store })
    }

    /// The state at the head. Before the genesis: the empty state, numbered 0.
    pub fn head(&self) -> StateAt {
        let _ = &self.store;
        StateAt { number: 0, root: B256::ZERO }
    }

    /// Block and root of the head, or `None` before the genesis was committed.
    pub fn position(&self) -> Option<(u64, B256)> {
        None
    }

    /// The state after block `number`.
    pub fn at(&self, number: u64) -> Result<StateAt, StateError> {
        Err(StateError::Ahead { asked: number, head: 0 })
    }

    /// Computes the root that `changes` on the head lead to, writing nothing.
    pub fn prepare(&self, changes: &StateChanges) -> Result<Prepared, StateError> {
        let _ = changes;
        Ok(Prepared { root: B256::ZERO })
    }

    /// Adds everything block `number` changes in the state to the block's batch. Only the writer calls it, then commits
    /// the batch, then calls [`State::committed`]; a batch that is not committed leaves no trace here.
    pub fn apply(&self, number: u64, prepared: &Prepared, batch: &mut Batch) -> Result<(), StateError> {
        let _ = (number, prepared, batch);
        Ok(())
    }

    /// Moves the head and the caches to the committed block. `prepared` is the one given to the last [`State::apply`].
    pub fn committed(&self, number: u64, prepared: &Prepared) -> Result<(), StateError> {
        let _ = (number, prepared);
        Ok(())
    }
}

impl StateAt {
    /// The block after which this state holds.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Root of the head this view was taken at, when the view is of the head; else unknown here (the header has it).
    pub fn root(&self) -> B256 {
        self.root
    }

    /// The account, or `None` when it does not exist.
    pub fn account(&self, address: Address) -> Result<Option<Account>, StateError> {
        let _ = address;
        Ok(None)
    }

    /// The value of a slot; zero when absent.
    pub fn slot(&self, address: Address, slot: U256) -> Result<U256, StateError> {
        let _ = (address, slot);
        Ok(U256::ZERO)
    }

    /// Analysed code by its hash, or `None` when no account ever had it. The hash of nothing gives empty code.
    pub fn code(&self, hash: B256) -> Result<Option<Bytecode>, StateError> {
        let _ = hash;
        Ok(None)
    }

    /// Proof of an account and some of its slots in this state.
    pub fn proof(&self, address: Address, slots: &[U256]) -> Result<AccountProof, StateError> {
        Ok(AccountProof {
            address,
            account: None,
            storage_root: B256::ZERO,
            nodes: Vec::new(),
            slots: slots.iter().map(|slot| SlotProof { slot: *slot, value: U256::ZERO, nodes: Vec::new() }).collect(),
        })
    }
}
