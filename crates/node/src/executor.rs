//! The thread beside the replica's that builds, checks and writes blocks: one job at a time, since the replica has never more out.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Sender, bounded};
use ipe_engine::{Input, Job};

use crate::driver::CLOCK;
use crate::inbox::Inbox;
use crate::watchdog::Pulse;

/// Starts the thread; it ends when the sender is dropped, after the job in hand. A panic ends the process, as in the replica.
///
/// # Errors
/// The system has no thread to give.
pub(crate) fn start(inbox: Inbox, pulse: Arc<Pulse>) -> io::Result<(Sender<Box<Job>>, JoinHandle<()>)> {
    let (jobs, queue) = bounded::<Box<Job>>(1);
    let thread = std::thread::Builder::new().name("executor".to_owned()).spawn(move || {
        for job in queue {
            pulse.begin();
            let done = job.run(CLOCK);
            pulse.end();
            inbox.control(Input::Done(done));
        }
    })?;
    Ok((jobs, thread))
}
