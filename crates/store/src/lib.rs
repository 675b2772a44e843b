//! The disk: the ledger's tables in one fjall database, and the small append-only file of the signing journal.

pub mod check;
mod fjall_store;
mod journal;
mod moved;

pub use fjall_store::{DiskSettings, FjallStore};
pub use journal::JournalFileDisk;
