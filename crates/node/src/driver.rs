//! The replica's thread: one input after the other, and the clock when there is none.

use std::io;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ipe_engine::Replica;
use tokio::sync::oneshot;

use crate::inbox::{Next, Outlet};
use crate::outbound::Outbound;

/// Longest sleep without an input: the replica refreshes its status by itself within this time.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// Unix time in microseconds.
pub(crate) fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

/// Starts the thread. The receiver is told when the thread ends, also by a panic.
///
/// # Errors
/// The system has no thread to give.
pub(crate) fn start(
    mut replica: Replica,
    outlet: Outlet,
    mut outbound: Outbound,
) -> io::Result<(JoinHandle<()>, oneshot::Receiver<()>)> {
    let (ended, end) = oneshot::channel();
    let thread = std::thread::Builder::new().name("replica".to_owned()).spawn(move || {
        // Dropped when the thread ends in whatever way.
        let _ended: oneshot::Sender<()> = ended;
        replica.handle(&now_us, ipe_engine::Input::Tick, &mut |output| outbound.put(output));
        loop {
            let wake_us = replica.wake_at().map_or(u64::MAX, |at| at.saturating_mul(1_000));
            let patience = Duration::from_micros(wake_us.saturating_sub(now_us())).min(LONGEST_SLEEP);
            match outlet.next(patience) {
                Next::Handle(item) => replica.handle(&now_us, item.into_input(), &mut |output| outbound.put(output)),
                Next::Stop => break,
            }
        }
    })?;
    Ok((thread, end))
}
