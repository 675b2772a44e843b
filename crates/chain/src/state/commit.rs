//! Writing: the rows of one block into its batch, and the caches after the batch is in.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::rows::{POSITION, Position, encode_value, slot_row};
use super::tail::{BlockDiff, Tail, encode_account};
use super::view::{RecordKey, View, code_bytes};
use super::{CHANGES_KEPT, MAX_LAG, MIN_KEEP, Prepared, Retention, State, StateError, dead, history};
use crate::kv::{Batch, Table};
use crate::trie::Record;

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
        let view = self.view();
        let (position, settle) = self.next_position(&view, number, prepared)?;
        let diff = Arc::new(BlockDiff::new(number, prepared));
        // Nothing can be asked from before the genesis: it leaves no history.
        if number > 0 && !diff.is_empty() {
            batch.put(Table::Changes, &number.to_be_bytes(), &diff.encode());
        }
        for (hash, code) in &prepared.codes {
            batch.put(Table::Code, hash.as_slice(), code.original_byte_slice());
        }
        if settle {
            settle_rows(&view.tail.with(diff), batch);
            // What this block changed comes last and so wins.
            for (key, record) in &self.shared.unwritten.read_recursive().records {
                put_record(batch, key, record.as_deref());
            }
            for (key, record) in &prepared.records {
                put_record(batch, key, record.as_deref());
            }
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
        let view = self.view();
        let (position, settle) = self.next_position(&view, number, prepared)?;
        let snapshot = self.store.snapshot();
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
        let mut unwritten = self.shared.unwritten.write();
        for (key, record) in &prepared.records {
            unwritten.set(*key, record.clone());
        }
        if settle {
            for (key, record) in std::mem::take(&mut *unwritten).records {
                match record {
                    Some(record) => {
                        let memory = record.memory();
                        caches.records.set(version, key, record, memory);
                    }
                    None => caches.records.remove(&key),
                }
            }
        }
        let tail = if settle { Tail::default() } else { view.tail.with(Arc::new(BlockDiff::new(number, prepared))) };
        *self.shared.published.write() = Arc::new(View::new(Some(position), snapshot, tail));
        Ok(())
    }

    /// Where the state stands after the block, and whether the tables are settled with it.
    fn next_position(&self, view: &View, number: u64, prepared: &Prepared) -> Result<(Position, bool), StateError> {
        let follows = view.position.map_or(number == 0, |position| number == position.number + 1);
        if prepared.base != view.version() || !follows {
            return Err(StateError::Stale {
                prepared: prepared.base.checked_sub(1),
                head: view.position.map(|position| position.number),
            });
        }
        let (settled, settled_root) = view.position.map_or((0, view.root()), |at| (at.settled, at.settled_root));
        let waiting = self.shared.unwritten.read_recursive().bytes + view.tail.memory + prepared.memory();
        let settle = number == 0
            || (prepared.is_empty() && view.tail.blocks.is_empty())
            || waiting > self.settings.unsettled
            || number - settled >= MAX_LAG;
        let oldest = view.position.map_or(0, |position| position.oldest);
        let oldest = match self.settings.retention {
            Retention::Archive => oldest,
            Retention::Full { keep } => {
                number.saturating_sub(keep.max(MIN_KEEP)).clamp(oldest, oldest + FORGET_AT_ONCE)
            }
        };
        let position = Position {
            number,
            root: prepared.root,
            settled: if settle { number } else { settled },
            settled_root: if settle { prepared.root } else { settled_root },
            oldest,
        };
        Ok((position, settle))
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

/// Writes the flat rows and the history of all blocks of `tail`, each row once and in key order.
fn settle_rows(tail: &Tail, batch: &mut Batch) {
    // Blocks are sorted already: the stable sort merges their runs and keeps changes of one key in block order.
    let accounts = tail.blocks.iter().flat_map(|diff| diff.accounts.iter().map(|change| (diff.number, change)));
    let mut accounts: Vec<_> = accounts.collect();
    accounts.sort_by_key(|(_, change)| change.key);
    for changes in accounts.chunk_by(|(_, a), (_, b)| a.key == b.key) {
        let [.., (_, last)] = changes else { continue };
        settle_row(batch, Table::Accounts, last.key.as_slice(), &encode_account(&last.new), || {
            changes.iter().map(|(block, change)| (*block, encode_account(&change.old))).collect()
        });
    }
    let slots = tail.blocks.iter().flat_map(|diff| {
        diff.storage.iter().flat_map(move |(owner, slots)| slots.iter().map(move |change| (owner, diff.number, change)))
    });
    let mut slots: Vec<_> = slots.collect();
    slots.sort_by_key(|(owner, _, change)| (**owner, change.key));
    for changes in slots.chunk_by(|(a, _, x), (b, _, y)| a == b && x.key == y.key) {
        let [.., (owner, _, last)] = changes else { continue };
        settle_row(batch, Table::Slots, &slot_row(owner, &last.key), &encode_value(last.new), || {
            changes.iter().map(|(_, block, change)| (*block, encode_value(change.old))).collect()
        });
    }
}

/// One flat row (empty: removed) and its history, the genesis' left out.
fn settle_row(batch: &mut Batch, table: Table, key: &[u8], new: &[u8], history: impl FnOnce() -> Vec<(u64, Vec<u8>)>) {
    if new.is_empty() {
        batch.delete(table, key);
    } else {
        batch.put(table, key, new);
    }
    let history = history();
    if !matches!(history.as_slice(), [(0, _), ..]) {
        history::put(batch, table, key, &history);
    }
}

fn put_record(batch: &mut Batch, key: &RecordKey, record: Option<&Record>) {
    match record {
        Some(record) => batch.put(key.table(), &key.row(), &record.encode()),
        None => batch.delete(key.table(), &key.row()),
    }
}
