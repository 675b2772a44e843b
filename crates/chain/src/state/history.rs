//! The values that rows had before each block.

use crate::kv::{Batch, Read, StoreError, Table, first, prefix_end};

use super::rows::{ChangedKeys, history_row, slot_row};

/// The history table of a flat table.
pub(super) fn table_of(flat: Table) -> Table {
    match flat {
        Table::Slots => Table::SlotHistory,
        _ => Table::AccountHistory,
    }
}

/// The row that the first block above `number` replaced (empty: there was none), or `None` when none touched the key.
pub(super) fn first_after(
    read: &dyn Read,
    flat: Table,
    key: &[u8],
    number: u64,
) -> Result<Option<Vec<u8>>, StoreError> {
    let Some(next) = number.checked_add(1) else { return Ok(None) };
    let found = first(read, table_of(flat), &history_row(key, next), &prefix_end(key), false)?;
    Ok(found.map(|(_, before)| before))
}

/// The keys that a block changed; none when it changed nothing.
pub(super) fn changed(read: &dyn Read, block: u64) -> Result<ChangedKeys, StoreError> {
    match read.get(Table::Changes, &block.to_be_bytes())? {
        Some(row) => ChangedKeys::decode(&row),
        None => Ok(ChangedKeys::default()),
    }
}

/// Removes everything that says what `block` changed: heights below it cannot be read afterwards.
pub(super) fn forget(read: &dyn Read, block: u64, batch: &mut Batch) -> Result<(), StoreError> {
    let keys = changed(read, block)?;
    for account in &keys.accounts {
        batch.delete(Table::AccountHistory, &history_row(account.as_slice(), block));
    }
    for (owner, slots) in &keys.slots {
        for slot in slots {
            batch.delete(Table::SlotHistory, &history_row(&slot_row(owner, slot), block));
        }
    }
    if !keys.is_empty() {
        batch.delete(Table::Changes, &block.to_be_bytes());
    }
    Ok(())
}
