//! Tables of folders from before filters and indexes were in parts: taken over once, row by row, into keyspaces with today's options.

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable};
use ipe_chain::kv::Table;

/// The tables with enough small rows for their filters and indexes to matter. [`Table::Meta`] stays where it was, so that an older
/// version finds a layout in the folder that it refuses.
pub(crate) const MOVED: [Table; 9] = [
    Table::Accounts,
    Table::Slots,
    Table::AccountTrie,
    Table::StorageTrie,
    Table::AccountHistory,
    Table::SlotHistory,
    Table::BlockNumbers,
    Table::Transactions,
    Table::Logs,
];

/// Key in [`Table::Meta`] that says that a table was taken over: from then on its old keyspace is only deleted.
fn mark(table: Table) -> Vec<u8> {
    [b"moved ", table.name().as_bytes()].concat()
}

/// Copies each table that is still under its old name, marks it, and deletes the old keyspace: one after the other, so that the disk
/// holds no more than one of them twice. A process that ends in between starts that table again. `keyspaces` are by
/// [`Table::index`].
///
/// # Errors
/// What the engine says.
pub(crate) fn take_over(database: &Database, keyspaces: &[Keyspace]) -> Result<(), fjall::Error> {
    let meta = &keyspaces[Table::Meta.index()];
    for table in MOVED {
        if !database.keyspace_exists(table.name()) {
            continue;
        }
        let old = database.keyspace(table.name(), KeyspaceCreateOptions::default)?;
        if !meta.contains_key(mark(table))? {
            tracing::info!(table = table.name(), "rewriting a table of an older version; this happens once");
            let mut rows = keyspaces[table.index()].start_ingestion()?;
            for row in database.snapshot().iter(&old) {
                let (key, value) = row.into_inner()?;
                rows.write(key, value)?;
            }
            rows.finish()?;
            meta.insert(mark(table), [])?;
            database.persist(PersistMode::SyncAll)?;
        }
        database.delete_keyspace(old)?;
    }
    Ok(())
}
