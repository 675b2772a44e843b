//! The ledger: state, execution, checking and import of blocks over a key-value store.
//!
//! A block climbs a ladder of types ([`ladder`]): bytes, block, checked block, final block. It is executed once per node:
//! the result is kept by block hash until the block is imported, in one atomic and durable commit.

mod ahead;
pub mod bound;
pub mod build;
pub mod bulk;
mod collision;
mod delegation;
pub mod env;
pub mod execute;
pub mod fields;
pub mod founding;
mod handler;
pub mod import;
pub mod invalid;
pub mod kv;
pub mod ladder;
pub mod ledger;
pub mod logs;
mod machine;
mod net_gas;
pub mod overlay;
pub mod permission;
mod rates;
pub mod read;
pub mod receipts;
pub mod rules;
pub mod senders;
pub mod state;
pub mod system;
pub mod trie;
pub mod validators;
pub mod view;
mod witness;

pub use bound::{Bound, Cut, Over};
pub use bulk::{BulkError, BulkStep};
pub use env::{Env, Tx, tx_env};
pub use invalid::InvalidBlock;
pub use ladder::{BuildOrder, Candidate, CheckedBlock, Feedback, Imported, RawBlock, Terms};
pub use ledger::{Head, LAYOUT, Ledger, LedgerError, OpenError};
pub use logs::{LogEntry, LogFilter, LogLimits, LogsError};
pub use overlay::ReadError;
pub use permission::{AskError, Asked, RulesReport};
pub use read::{StoredBlock, StoredTransaction, TxPosition, ValidatorsError};
pub use receipts::Receipt;
pub use senders::{SenderError, recover};
pub use validators::{Ballots, Tally, vote_choice};
pub use view::{AccountOverride, Overrides, Relax, Replay, SimContext, SimDb, SimulateError, Simulated, View, call, simulate};
