//! A load generator on plain JSON-RPC: it drives Ipê, Besu, GoQuorum, geth or anvil alike, so that figures compare.
//!
//! Many senders ("lanes") each have one transaction on its way to the node at a time, so nonces stay in order without any
//! knowledge of the node's pool; a refused transaction is counted as refused and offered again later. Transactions are
//! signed ahead by threads of their own. What was included is seen by polling one endpoint for blocks, as a client would, and
//! the latency is what a client feels: from handing the transaction over to seeing it in a block.
//!
//! The generator shares the machine with the network in most measurements, so it is frugal: one thread drives everything,
//! connections are kept, several transactions travel in one request.

mod drive;
mod http;
mod lane;
mod plan;
mod report;
mod rpc;
mod setup;
mod watch;

pub use http::{HttpError, Url};
pub use plan::{Kind, LoadPlan, Pace, PlanError};
pub use report::{Latency, Progress, Report, Spread};
pub use setup::SetupError;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use thiserror::Error;

/// A measurement could not be made.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The plan contradicts itself.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Before the load: the chain cannot be asked, senders cannot be funded, a contract cannot be deployed.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The operating system does not let us start threads or timers.
    #[error("cannot start: {0}")]
    Start(#[from] std::io::Error),
}

/// Carries out a plan; blocks until the load is over and what was accepted is included or given up. `progress` is called
/// about once a second; `stop` ends the load early, with a report on what was done.
///
/// # Errors
/// [`LoadError`]. What goes wrong once the load runs is counted in the report.
pub fn run(plan: &LoadPlan, stop: Arc<AtomicBool>, progress: &mut dyn FnMut(&Progress)) -> Result<Report, LoadError> {
    plan.check()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let stage = setup::prepare(plan, progress).await?;
        Ok(drive::drive(plan, stage, stop, progress).await)
    })
}
