//! Bringing a network up, as values: an [`Order`] says what is wanted, [`plan`](plan::plan) turns it with given keys and ports into a
//! [`Plan`], and the plan renders every file. No randomness, no clock, no disk, and no secret: keys come in as public
//! identities, whoever calls writes the private halves.

pub mod duration;
pub mod order;
pub mod plan;
pub mod settings;

pub use order::{Order, OrderError, Slot};
pub use plan::{DevAccount, File, Identity, Plan, PlannedNode, Ports, plan};
