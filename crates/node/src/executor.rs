//! The thread beside the replica's that builds, checks and writes blocks: one job at a time, since the replica has never more out.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Sender, bounded};
use ipe_engine::{Input, Job};

use crate::driver::CLOCK;
use crate::inbox::Inbox;
use crate::watchdog::Pulse;

/// Starts the thread; it ends when the sender is dropped, after the job in hand. A panic ends the process, as in the replica; where
/// it does not, it ends the replica's thread, which nobody would answer any more, and so the node.
///
/// # Errors
/// The system has no thread to give.
pub(crate) fn start(inbox: Inbox, pulse: Arc<Pulse>) -> io::Result<(Sender<Box<Job>>, JoinHandle<()>)> {
    spawn(inbox, pulse, |job: Box<Job>| Input::Done(job.run(CLOCK)))
}

fn spawn<T: Send + 'static>(
    inbox: Inbox,
    pulse: Arc<Pulse>,
    run: impl Fn(T) -> Input + Send + 'static,
) -> io::Result<(Sender<T>, JoinHandle<()>)> {
    let (jobs, queue) = bounded::<T>(1);
    let thread = std::thread::Builder::new().name("executor".to_owned()).spawn(move || {
        let inbox = Last(inbox);
        for job in queue {
            pulse.begin();
            let done = run(job);
            pulse.end();
            inbox.0.control(done);
        }
    })?;
    Ok((jobs, thread))
}

/// Ends the replica's thread when the executor's ends, however that comes.
struct Last(Inbox);

impl Drop for Last {
    fn drop(&mut self) {
        self.0.stop();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::inbox::{Next, inbox};

    /// A replica whose job never comes back builds, judges and writes nothing any more, and would go on saying that it lives.
    #[test]
    fn a_panic_of_the_executor_ends_the_replica() {
        let (inbox, mut outlet) = inbox();
        let run = |fails: bool| if fails { panic!("a fault in the job") } else { Input::PoolChanged };
        let (jobs, thread) = spawn(inbox, Arc::new(Pulse::default()), run).expect("a thread");
        jobs.send(false).expect("it runs");
        let is = |next: Next| match next {
            Next::Handle(item) => matches!(item.into_input(), Input::PoolChanged).then_some("answer"),
            Next::Stop => Some("stop"),
        };
        assert_eq!(is(outlet.next(Duration::from_secs(60))), Some("answer"));
        jobs.send(true).expect("it runs");
        assert_eq!(is(outlet.next(Duration::from_secs(60))), Some("stop"));
        assert!(thread.join().is_err(), "it panicked");
    }
}
