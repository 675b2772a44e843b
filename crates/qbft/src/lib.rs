//! The consensus core: QBFT as a function of state, time and event.
//!
//! No input or output, no clock, no keys, no EVM: [`step`] says what is to be done.

pub mod bounds;
pub mod certificate;
pub mod clock;
pub mod draft;
pub mod event;
pub mod rejection;
pub mod state;

pub use certificate::PreparedCertificate;
pub use draft::Draft;
pub use event::{Effect, Event, HeadInfo, Millis, Restored, Timer};
pub use rejection::{Reason, Rejection};
pub use state::{Settings, State, step};
