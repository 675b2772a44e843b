//! The state: flat tables, the trie beside them, and views of any kept height.
//!
//! - **Flat rows** (accounts, slots, code) hold the head. The tables are keyed by the hash that the trie uses, so that a
//!   trie leaf is found from its path; hashes are kept beside decoded rows in a bounded cache and computed once.
//! - **History**: when a block changes a row, the row from before is kept under (key, block). The value at height h is
//!   the first such row above h, else the flat row. So any kept height costs one ordered seek a read.
//! - **Branch records** of the trie ([`crate::trie`]) are derived from the flat rows. They are not written with every
//!   block: changed records wait in memory and go, each once, into the batch of the block that fills
//!   [`StateSettings::trie_unwritten`] or comes [`MAX_TRIE_LAG`] blocks after the last writing. The upper records change
//!   in every block, so this saves most of the trie's writing. After a crash the missing part is computed again from
//!   the changed keys of the last blocks ([`Table::Changes`](crate::kv::Table::Changes)) and checked against the root.
//! - **Proofs** of recent heights undo the changed keys in a throw-away copy of the touched records.
//!
//! One writer prepares, applies, commits and then says [`State::committed`]; readers take [`StateAt`], which never
//! changes. A prepared change that is dropped leaves no trace.

mod cache;
mod commit;
mod history;
mod prepare;
mod retrace;
mod rows;
mod types;
mod view;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use alloy_primitives::B256;
use parking_lot::RwLock;

use crate::kv::{Read, Store, Table};
use crate::trie::EMPTY_ROOT_HASH;

pub use prepare::Prepared;
pub use types::{Account, AccountChange, AccountProof, Retention, SlotProof, StateChanges, StateError, StateSettings};
pub use view::StateAt;

use rows::{POSITION, Position};
use view::{Caches, Shared, Unwritten, View};

/// Fewest blocks whose differences are kept, whatever [`Retention`] says: enough to compute unwritten branch records
/// again and to serve callers that ask a little behind the head.
pub const MIN_KEEP: u64 = 128;

/// Blocks for which the lists of changed keys are kept in an archive: how far back proofs can reach.
pub const CHANGES_KEPT: u64 = 512;

/// Most blocks that the stored branch records may be behind the head; bounds the work after a crash.
pub const MAX_TRIE_LAG: u64 = 64;

/// The state at the head, and the door to older heights. Shared by `Arc`; one writer, any number of readers.
pub struct State {
    store: Arc<dyn Store>,
    settings: StateSettings,
    shared: Arc<Shared>,
}

impl State {
    /// Opens the state of `store`, which may be empty (then only the genesis can be prepared). Branch records that a
    /// crash left unwritten are computed again here.
    ///
    /// # Errors
    /// What the store says; [`StoreError::Corrupt`](crate::kv::StoreError::Corrupt) when the tables contradict each other.
    pub fn open(store: Arc<dyn Store>, settings: StateSettings) -> Result<State, StateError> {
        let snapshot = store.snapshot();
        let position = match snapshot.get(Table::Meta, POSITION)? {
            Some(row) => Some(Position::decode(&row)?),
            None => None,
        };
        let unwritten = match &position {
            Some(position) => retrace::recover(Arc::clone(&snapshot), position)?,
            None => Unwritten::default(),
        };
        let view = View::new(position, snapshot);
        let caches = Caches::new(&settings);
        caches.head.store(view.version(), Ordering::SeqCst);
        let shared = Shared { caches, published: RwLock::new(Arc::new(view)), unwritten: RwLock::new(unwritten) };
        Ok(State { store, settings, shared: Arc::new(shared) })
    }

    /// The state at the head. Before the genesis: the empty state, numbered 0.
    pub fn head(&self) -> StateAt {
        let view = self.view();
        StateAt::new(view.number(), view, Arc::clone(&self.shared))
    }

    /// Block and root of the head, or `None` before the genesis was committed.
    pub fn position(&self) -> Option<(u64, B256)> {
        self.view().position.map(|position| (position.number, position.root))
    }

    /// Oldest block whose state can be read.
    pub fn oldest(&self) -> u64 {
        self.view().position.map_or(0, |position| position.oldest)
    }

    /// The state after block `number`.
    ///
    /// # Errors
    /// [`StateError::Ahead`] above the head, [`StateError::Pruned`] below what is kept.
    pub fn at(&self, number: u64) -> Result<StateAt, StateError> {
        let view = self.view();
        let (head, oldest) = view.position.map_or((0, 0), |position| (position.number, position.oldest));
        if number > head {
            return Err(StateError::Ahead { asked: number, head });
        }
        if number < oldest {
            return Err(StateError::Pruned { asked: number, oldest });
        }
        Ok(StateAt::new(number, view, Arc::clone(&self.shared)))
    }

    /// Bytes that caches and unwritten branch records take in memory.
    pub fn memory(&self) -> usize {
        self.shared.caches.bytes() + self.shared.unwritten.read().bytes
    }

    fn view(&self) -> Arc<View> {
        self.shared.view()
    }
}

/// The root of a state without accounts.
pub const EMPTY_STATE_ROOT: B256 = EMPTY_ROOT_HASH;

/// A flat row or a history row, whichever says what the key's value was after block `number`, as stored bytes; `None`
/// or empty when it had none. `head` is the newest block of `read`.
fn stored_at(read: &dyn Read, flat: Table, key: &[u8], number: u64, head: u64) -> Result<Option<Vec<u8>>, StateError> {
    if number < head
        && let Some(before) = history::first_after(read, flat, key, number)?
    {
        return Ok(Some(before).filter(|row| !row.is_empty()));
    }
    Ok(read.get(flat, key)?)
}
