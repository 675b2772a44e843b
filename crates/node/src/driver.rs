//! The replica's thread: one input after the other, and the clock when there is none.

use std::io;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ipe_engine::{Clock, Input, Output, Replica};
use ipe_types::Bytes;
use tokio::sync::oneshot;

use crate::inbox::{Next, Outlet};
use crate::outbound::Outbound;
use crate::telemetry;
use crate::watchdog::Pulse;

/// Longest sleep without an input: the replica refreshes its status by itself within this time.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// Unix time in microseconds, as the machine has it: it may be set.
fn wall_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, micros)
}

/// Microseconds of a clock that nobody can set: unix time when it was asked first, and what has passed since.
pub(crate) fn steady_us() -> u64 {
    static START: OnceLock<(Instant, u64)> = OnceLock::new();
    let (start, unix_us) = START.get_or_init(|| (Instant::now(), wall_us()));
    unix_us.saturating_add(micros(start.elapsed()))
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// Both clocks, as the replica asks for them.
pub(crate) const CLOCK: Clock<'static> = Clock { steady: &steady_us, wall: &wall_us };

/// Starts the thread. The receiver is told when the thread ends; a panic ends the process instead, in a release build and
/// wherever `ipe node run` runs. `pulse` tells the watchdog that it works. It ends after `executor`, which ends when nobody has
/// work for it any more.
///
/// # Errors
/// The system has no thread to give.
pub(crate) fn start(
    mut replica: Replica,
    mut outlet: Outlet,
    mut outbound: Outbound,
    pulse: Arc<Pulse>,
    executor: JoinHandle<()>,
) -> io::Result<(JoinHandle<()>, oneshot::Receiver<()>)> {
    let (ended, end) = oneshot::channel();
    let thread = std::thread::Builder::new().name("replica".to_owned()).spawn(move || {
        // Dropped when the thread ends.
        let _ended: oneshot::Sender<()> = ended;
        let mut handle = |replica: &mut Replica, input, message: Option<(Bytes, Instant)>| {
            pulse.begin();
            replica.handle(CLOCK, input, &mut |output| {
                let relayed = message.as_ref().filter(|(bytes, _)| is_of(&output, bytes)).map(|(_, arrived)| *arrived);
                outbound.put(output);
                relayed.iter().for_each(|arrived| telemetry::relayed(arrived.elapsed()));
            });
            pulse.end();
        };
        handle(&mut replica, Input::Tick, None);
        loop {
            let wake_us = replica.wake_at().map_or(u64::MAX, |at| at.saturating_mul(1_000));
            let patience = Duration::from_micros(wake_us.saturating_sub(steady_us())).min(LONGEST_SLEEP);
            match outlet.next(patience) {
                Next::Handle(item) => {
                    let began_us = steady_us();
                    let message = item.message();
                    handle(&mut replica, item.into_input(), message);
                    outlet.handled(steady_us().saturating_sub(began_us));
                }
                Next::Stop => break,
            }
        }
        // The block in hand is written before the folder is given up; what is only built or judged ends at once.
        replica.stop_work();
        drop(outbound);
        let _ = executor.join();
    })?;
    Ok((thread, end))
}

/// Whether this hands on these very bytes.
fn is_of(output: &Output, bytes: &Bytes) -> bool {
    matches!(output, Output::Istanbul(_, _, sent) if std::ptr::eq(sent.as_ptr(), bytes.as_ptr()))
}
