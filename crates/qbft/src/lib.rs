//! The consensus core: QBFT as a function of state, time and event.
//!
//! No input or output, no clock, no keys, no EVM: [`step`] says what is to be done.

pub mod bounds;
pub mod certificate;
mod clock;
pub mod draft;
pub mod event;
mod future;
mod height;
pub mod justify;
pub mod rejection;
mod round_changes;
pub mod state;
mod upon_block_timer;
mod upon_commit;
mod upon_new_block;
mod upon_prepare;
mod upon_proposal;
mod upon_round_change;
mod upon_timeout;
mod votes;

pub use certificate::PreparedCertificate;
pub use draft::Draft;
pub use event::{Effect, Event, HeadInfo, Millis, Restored, Timer};
pub use rejection::{Reason, Rejection};
pub use state::{Settings, State, step};
