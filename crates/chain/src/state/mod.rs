//! The state: flat tables, the trie beside them, and views of any kept height.
//!
//! - **Changes**: a block writes one row: every value it changed, before and after. That row is the log; the tables
//!   below are settled from it every few blocks, when [`StateSettings::unsettled`] is full or [`SETTLE_EVERY`] blocks have
//!   passed, beside the blocks that come then. Rows that several blocks changed, the upper part of the trie above all, are so
//!   written once instead of once a block. The changes since are kept in memory (the tail) and looked up first; after a crash they
//!   are read again.
//! - **Flat rows** (accounts, slots, code) are keyed by the hash that the trie uses, so that a trie leaf is found from
//!   its path; hashes are kept beside decoded rows in a bounded cache and computed once.
//! - **History**: the values that the settled blocks replaced, by key and block. The value at height h is the first one
//!   replaced above h, else the flat row: any kept height costs one ordered seek a read.
//! - **Branch records** of the trie ([`crate::trie`]) are settled like flat rows. After a crash the missing ones are
//!   computed again from the tail and checked against the root.
//! - **A storage has its own key**, of the account and the block in which it began. An account that is destroyed leaves its
//!   storage as it is: older heights still read it, a new one has another key. What no height reads any more is removed a
//!   little with every block.
//! - **Proofs** of recent heights undo the changes since then in a throw-away copy of the touched records.
//!
//! One writer prepares, applies, commits and then says [`State::committed`]; readers take [`StateAt`], which never
//! changes. A prepared change that is dropped leaves no trace.

mod cache;
mod commit;
mod dead;
mod history;
mod onward;
mod prepare;
mod retrace;
mod rows;
mod settle;
mod tail;
mod types;
mod view;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use alloy_primitives::B256;
use parking_lot::RwLock;

use crate::kv::{Store, Table};
use crate::trie::EMPTY_ROOT_HASH;

pub use onward::RootWith;
pub use prepare::Prepared;
pub use types::{Account, AccountChange, AccountProof, Retention, SlotProof, StateChanges, StateError, StateSettings};
pub use view::StateAt;

use rows::{POSITION, Position, SETTLED, Settled};
use tail::Tail;
use view::{Caches, Shared, Unwritten, View};

/// Fewest blocks whose differences are kept, whatever [`Retention`] says: enough to compute unwritten branch records
/// again and to serve callers that ask a little behind the head.
pub const MIN_KEEP: u64 = 128;

/// Blocks for which an archive keeps the rows of changes: how far back proofs can reach.
pub const CHANGES_KEPT: u64 = 512;

/// Blocks after which changes are settled, however few they are.
pub const SETTLE_EVERY: u64 = 64;

/// Most blocks that the tables may be behind the head: bounds the work after a crash and the tail's length.
pub const MAX_LAG: u64 = 96;

/// The state at the head, and the door to older heights. Shared by `Arc`; one writer, any number of readers.
pub struct State {
    store: Arc<dyn Store>,
    settings: StateSettings,
    shared: Arc<Shared>,
    /// No storage that accounts lost in a block below this one has rows to remove.
    dead_from: AtomicU64,
}

impl State {
    /// Opens the state of `store`, which may be empty (then only the genesis can be prepared). What was not
    /// settled when the process ended is taken up again here.
    ///
    /// # Errors
    /// What the store says; [`StoreError::Corrupt`](crate::kv::StoreError::Corrupt) when the tables contradict each other.
    pub fn open(store: Arc<dyn Store>, settings: StateSettings) -> Result<State, StateError> {
        let snapshot = store.snapshot();
        let position = match snapshot.get(Table::Meta, POSITION)? {
            Some(row) => {
                let position = Position::decode(&row)?;
                match snapshot.get(Table::Meta, SETTLED)? {
                    Some(row) => Some(position.with(Settled::decode(&row)?)?),
                    None => Some(position),
                }
            }
            None => None,
        };
        let (tail, unwritten) = match &position {
            Some(position) => retrace::recover(&snapshot, position)?,
            None => (Tail::default(), Unwritten::default()),
        };
        let view = View::new(position, snapshot, tail);
        let caches = Caches::new(&settings);
        caches.head.store(view.version(), Ordering::SeqCst);
        let shared = Shared {
            caches,
            published: RwLock::new(Arc::new(view)),
            unwritten: RwLock::new(unwritten),
            settling: settle::Settling::default(),
        };
        Ok(State { store, settings, shared: Arc::new(shared), dead_from: AtomicU64::new(0) })
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

    /// Bytes that caches and unsettled changes take in memory, about.
    pub fn memory(&self) -> usize {
        self.shared.caches.bytes() + self.shared.unwritten.read().bytes + self.view().tail.memory
    }

    fn view(&self) -> Arc<View> {
        self.shared.view()
    }
}

/// The root of a state without accounts.
pub const EMPTY_STATE_ROOT: B256 = EMPTY_ROOT_HASH;
