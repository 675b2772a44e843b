//! The values that rows had before the blocks that changed them.
//!
//! A row holds several changes of one key, those of the blocks that were settled together: its key ends with the last of
//! these blocks, so the first row at or above a height holds the first change after it.

use super::rows::{history_row, slot_row};
use super::tail::BlockDiff;
use crate::kv::{Batch, Read, StoreError, Table, first, prefix_end};

/// The history table of a flat table.
pub(super) fn table_of(flat: Table) -> Table {
    match flat {
        Table::Slots => Table::SlotHistory,
        _ => Table::AccountHistory,
    }
}

/// Adds the changes of one key, oldest first: block and encoded value before it.
pub(super) fn put(batch: &mut Batch, flat: Table, key: &[u8], changes: &[(u64, Vec<u8>)]) {
    let Some((last, _)) = changes.last() else { return };
    let mut row = Vec::with_capacity(changes.iter().map(|(_, old)| old.len() + 3).sum());
    for (block, old) in changes {
        // Distance to the last block, at most MAX_LAG, in two bytes to leave room.
        row.extend_from_slice(&((last - block) as u16).to_be_bytes());
        row.push(old.len() as u8);
        row.extend_from_slice(old);
    }
    batch.put(table_of(flat), &history_row(key, *last), &row);
}

/// The value that the first block above `number` replaced (empty: there was none), or `None` when none touched the key.
pub(super) fn first_after(read: &dyn Read, flat: Table, key: &[u8], number: u64) -> Result<Option<Vec<u8>>, StoreError> {
    let Some(next) = number.checked_add(1) else { return Ok(None) };
    let table = table_of(flat);
    let Some((row_key, row)) = first(read, table, &history_row(key, next), &prefix_end(key), false)? else {
        return Ok(None);
    };
    let bad = || StoreError::corrupt(table, format!("history row of {} bytes", row.len()));
    let last = row_key.last_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes)).ok_or_else(bad)?;
    let mut rest = &row[..];
    while let [high, low, length, after @ ..] = rest {
        let (old, after) = after.split_at_checked(usize::from(*length)).ok_or_else(bad)?;
        let distance = u64::from(u16::from_be_bytes([*high, *low]));
        if last.checked_sub(distance).ok_or_else(bad)? > number {
            return Ok(Some(old.to_vec()));
        }
        rest = after;
    }
    Err(bad())
}

/// What a settled block changed; nothing when it changed nothing.
pub(super) fn changed(read: &dyn Read, block: u64) -> Result<BlockDiff, StoreError> {
    match read.get(Table::Changes, &block.to_be_bytes())? {
        Some(row) => BlockDiff::decode(block, &row),
        None => Ok(BlockDiff { number: block, ..BlockDiff::default() }),
    }
}

/// Removes the history rows that end with `block`, and its changes: heights below it cannot be read afterwards.
pub(super) fn forget(read: &dyn Read, block: u64, batch: &mut Batch) -> Result<(), StoreError> {
    let diff = changed(read, block)?;
    let mut delete = |table: Table, key: Vec<u8>| -> Result<(), StoreError> {
        // Most keys changed again before they were settled and have no row of this block.
        if read.get(table, &key)?.is_some() {
            batch.delete(table, &key);
        }
        Ok(())
    };
    for change in &diff.accounts {
        delete(Table::AccountHistory, history_row(change.key.as_slice(), block))?;
    }
    for (owner, slots) in &diff.storage {
        for change in slots {
            delete(Table::SlotHistory, history_row(&slot_row(owner, &change.key), block))?;
        }
    }
    if !diff.is_empty() {
        batch.delete(Table::Changes, &block.to_be_bytes());
    }
    Ok(())
}
