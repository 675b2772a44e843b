//! Rules on chain: whose transactions a block may hold and which nodes may connect, as Besu ≤ 25.5 asks a contract for it.
//!
//! Pure: a question is encoded as a call ([`accounts`], [`nodes`]), what the call came to is judged ([`verdict`]), and the
//! verdict is kept with all that the evaluation read of the state until a block changes one of it ([`answers`]). Who executes the
//! call is the ledger; who acts on the verdict is the pool, the builder, the import, and the network.
//!
//! The calls and verdicts are Besu's, byte for byte, because the verdict on a sender decides whether a block is valid
//! (docs/spec/permissioning.md).

pub mod accounts;
pub mod answers;
pub mod nodes;
pub mod verdict;

pub use accounts::Sending;
pub use answers::{Answers, Change, Fact, Fields, Moment, Question, Reads};
pub use nodes::{End, Link};
pub use verdict::{Fault, Outcome, Verdict};
