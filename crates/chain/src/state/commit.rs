//! Writing: the rows of one block into its batch, and the caches after the batch is in.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::rows::{ChangedKeys, POSITION, Position, encode_value, history_row, slot_row};
use super::view::{RecordKey, View, code_bytes};
use super::{CHANGES_KEPT, MAX_TRIE_LAG, MIN_KEEP, Prepared, Retention, State, StateError, history};
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
        let (position, flush) = self.next_position(&view, number, prepared)?;
        let mut keys = ChangedKeys::default();
        // Nothing can be asked from before the genesis.
        let remember = number > 0;
        for write in &prepared.accounts {
            if write.old != write.new {
                match write.new {
                    Some(row) => batch.put(Table::Accounts, write.key.as_slice(), &row.encode()),
                    None => batch.delete(Table::Accounts, write.key.as_slice()),
                }
                if remember {
                    let before = write.old.map(|row| row.encode()).unwrap_or_default();
                    batch.put(Table::AccountHistory, &history_row(write.key.as_slice(), number), &before);
                    keys.accounts.push(write.key);
                }
            }
            if write.slots.is_empty() {
                continue;
            }
            for slot in &write.slots {
                let row = slot_row(&write.key, &slot.key);
                if slot.new.is_zero() {
                    batch.delete(Table::Slots, &row);
                } else {
                    batch.put(Table::Slots, &row, &encode_value(slot.new));
                }
                if remember {
                    batch.put(Table::SlotHistory, &history_row(&row, number), &encode_value(slot.old));
                }
            }
            if remember {
                keys.slots.push((write.key, write.slots.iter().map(|slot| slot.key).collect()));
            }
        }
        for (hash, code) in &prepared.codes {
            batch.put(Table::Code, hash.as_slice(), code.original_byte_slice());
        }
        if !keys.is_empty() {
            batch.put(Table::Changes, &number.to_be_bytes(), &keys.encode());
        }
        if flush {
            // What this block changed comes last and so wins.
            for (key, record) in &self.shared.unwritten.read_recursive().records {
                put_record(batch, key, record.as_deref());
            }
            for (key, record) in &prepared.records {
                put_record(batch, key, record.as_deref());
            }
        }
        self.forget_old(&view, &position, batch)?;
        batch.put(Table::Meta, POSITION, &position.encode());
        Ok(())
    }

    /// Moves the head and the caches to the committed block. `prepared` is the one given to the last [`State::apply`].
    ///
    /// # Errors
    /// [`StateError::Stale`] when `prepared` was made on another head.
    pub fn committed(&self, number: u64, prepared: &Prepared) -> Result<(), StateError> {
        let view = self.view();
        let (position, flush) = self.next_position(&view, number, prepared)?;
        let snapshot = self.store.snapshot();
        let version = number + 1;
        let caches = &self.shared.caches;
        caches.head.store(version, Ordering::SeqCst);
        if !prepared.wiped.is_empty() {
            caches.slots.forget(|(address, _)| prepared.wiped.contains(address));
        }
        for write in &prepared.accounts {
            caches.accounts.set(version, write.address, (write.key, write.new), 0);
            for slot in &write.slots {
                if let Some(name) = slot.slot {
                    caches.slots.set(version, (write.address, name), (slot.key, slot.new), 0);
                }
            }
        }
        for (hash, code) in &prepared.codes {
            caches.code.set(0, *hash, code.clone(), code_bytes(code));
        }
        let mut unwritten = self.shared.unwritten.write();
        for (key, record) in &prepared.records {
            unwritten.set(*key, record.clone());
        }
        if flush {
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
        *self.shared.published.write() = Arc::new(View::new(Some(position), snapshot));
        Ok(())
    }

    /// Where the state stands after the block, and whether the branch records go into its batch.
    fn next_position(&self, view: &View, number: u64, prepared: &Prepared) -> Result<(Position, bool), StateError> {
        let follows = view.position.map_or(number == 0, |position| number == position.number + 1);
        if prepared.base != view.version() || !follows {
            return Err(StateError::Stale {
                prepared: prepared.base.checked_sub(1),
                head: view.position.map(|position| position.number),
            });
        }
        let (trie_number, trie_root) = view.position.map_or((0, view.root()), |at| (at.trie_number, at.trie_root));
        let waiting = self.shared.unwritten.read_recursive().bytes + prepared.record_bytes;
        let flush = number == 0
            || waiting == 0
            || waiting > self.settings.trie_unwritten
            || number - trie_number >= MAX_TRIE_LAG;
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
            trie_number: if flush { number } else { trie_number },
            trie_root: if flush { prepared.root } else { trie_root },
            oldest,
        };
        Ok((position, flush))
    }

    fn forget_old(&self, view: &View, position: &Position, batch: &mut Batch) -> Result<(), StateError> {
        let before = view.position.map_or(0, |position| position.oldest);
        for block in before + 1..=position.oldest {
            history::forget(&*view.snapshot, block, batch)?;
        }
        if let (Retention::Archive, Some(old)) = (self.settings.retention, position.number.checked_sub(CHANGES_KEPT)) {
            let key = old.to_be_bytes();
            if view.snapshot.get(Table::Changes, &key)?.is_some() {
                batch.delete(Table::Changes, &key);
            }
        }
        Ok(())
    }
}

fn put_record(batch: &mut Batch, key: &RecordKey, record: Option<&Record>) {
    match record {
        Some(record) => batch.put(key.table(), &key.row(), &record.encode()),
        None => batch.delete(key.table(), &key.row()),
    }
}
