//! Writing: the rows of one block into its batch, and the caches after the batch is in.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::rows::{POSITION, Position};
use super::settle::{put_records, put_rows};
use super::tail::{BlockDiff, Tail};
use super::view::{View, code_bytes};
use super::{CHANGES_KEPT, MIN_KEEP, Prepared, Retention, State, StateError, dead, history};
use crate::kv::{Batch, Table};

/// Most blocks whose differences one block's batch deletes. More than one only after `keep` was lowered; the rest goes
/// with the next blocks.
const FORGET_AT_ONCE: u64 = 4;

impl State {
    /// Adds everything block `number` changes in the state to the block's batch. Only the writer calls it, then commits
    /// the batch, then calls [`State::committed`]; a batch that is not committed leaves no trace here.
    ///
    /// # Errors
    /// [`StateError::Stale`] when `prepared` was made on another head; what the store says.
    pub fn apply(&self, number: u64, prepared: &Prepared, batch: &mut Batch) -> Result<(), StateError> {
        self.next_position(&self.view(), number, prepared)?;
        self.wait_for_settling(number, prepared.memory())?;
        let view = self.view();
        let position = self.next_position(&view, number, prepared)?;
        let diff = BlockDiff::new(number, prepared);
        // Nothing can be asked from before the genesis: it leaves no history.
        if number > 0 && !diff.is_empty() {
            batch.put(Table::Changes, &number.to_be_bytes(), &diff.encode());
        }
        for (hash, code) in &prepared.codes {
            batch.put(Table::Code, hash.as_slice(), code.original_byte_slice());
        }
        if number == 0 {
            put_rows(&Tail::default().with(Arc::new(diff)), batch);
            put_records(prepared.records.iter().map(|(key, record)| (key, record)), batch);
        }
        for storage in prepared.wiped.values() {
            dead::put(batch, number, storage);
        }
        self.forget_old(&view, &position, batch)?;
        dead::clear(&*view.snapshot, &position, self.settings.retention, &self.dead_from, batch)?;
        batch.put(Table::Meta, POSITION, &position.encode());
        Ok(())
    }

    /// Moves the head and the caches to the committed block. `prepared` is the one given to the last [`State::apply`].
    ///
    /// # Errors
    /// [`StateError::Stale`] when `prepared` was made on another head.
    pub fn committed(&self, number: u64, prepared: &Prepared) -> Result<(), StateError> {
        self.next_position(&self.view(), number, prepared)?;
        let version = number + 1;
        let caches = &self.shared.caches;
        caches.head.store(version, Ordering::SeqCst);
        if !prepared.wiped.is_empty() {
            caches.slots.forget(|(address, _)| prepared.wiped.contains_key(address));
        }
        for write in &prepared.accounts {
            caches.accounts.set(version, write.address, (write.key, write.new), 0);
            for slot in &write.slots {
                caches.slots.set(version, (write.address, slot.slot), (slot.key, slot.new), 0);
            }
        }
        for (hash, code) in &prepared.codes {
            caches.code.set(0, *hash, code.clone(), code_bytes(code));
        }
        let diff = Arc::new(BlockDiff::new(number, prepared));
        {
            let mut unwritten = self.shared.unwritten.write();
            // Now that they hold still: what was settled meanwhile is no longer in the tail, and is in the snapshot.
            let (view, snapshot) = (self.view(), self.store.snapshot());
            let position = self.next_position(&view, number, prepared)?;
            let tail = if number == 0 { Tail::default() } else { view.tail.with(diff) };
            for (key, record) in &prepared.records {
                match number {
                    0 => caches.record_settled(*key, record.clone(), version),
                    _ => unwritten.set(*key, record.clone()),
                }
            }
            *self.shared.published.write() = Arc::new(View::new(Some(position), snapshot, tail));
        }
        self.settle_when_due();
        Ok(())
    }

    /// Where the state stands after the block.
    fn next_position(&self, view: &View, number: u64, prepared: &Prepared) -> Result<Position, StateError> {
        let follows = view.position.map_or(number == 0, |position| number == position.number + 1);
        if prepared.base != view.version() || !follows {
            return Err(StateError::Stale {
                prepared: prepared.base.checked_sub(1),
                head: view.position.map(|position| position.number),
            });
        }
        let (settled, settled_root) = view.position.map_or((0, view.root()), |at| (at.settled, at.settled_root));
        // The genesis is in the tables with its own batch; and nothing waits where nothing changed.
        let settled_with_it = number == 0 || (prepared.is_empty() && view.tail.blocks.is_empty());
        let oldest = view.position.map_or(0, |position| position.oldest);
        let oldest = match self.settings.retention {
            Retention::Archive => oldest,
            Retention::Full { keep } => number.saturating_sub(keep.max(MIN_KEEP)).clamp(oldest, oldest + FORGET_AT_ONCE),
        };
        Ok(Position {
            number,
            root: prepared.root,
            settled: if settled_with_it { number } else { settled },
            settled_root: if settled_with_it { prepared.root } else { settled_root },
            oldest,
        })
    }

    fn forget_old(&self, view: &View, position: &Position, batch: &mut Batch) -> Result<(), StateError> {
        let before = view.position.map_or(0, |position| position.oldest);
        for block in before + 1..=position.oldest {
            history::forget(&*view.snapshot, block, batch)?;
        }
        if let (Retention::Archive, Some(old)) = (self.settings.retention, position.number.checked_sub(CHANGES_KEPT)) {
            batch.delete(Table::Changes, &old.to_be_bytes());
        }
        Ok(())
    }
}
