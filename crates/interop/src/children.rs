//! Processes that were started and not ended yet, by id, so that none outlives the suite.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::process::{Child, ExitStatus};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How long a process may take to end by itself before it is killed: a Java node closes its database first.
const GRACE: Duration = Duration::from_secs(30);

static RUNNING: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

fn id_of(child: &Child) -> i32 {
    i32::try_from(child.id()).unwrap_or(i32::MAX)
}

/// Takes note of a process that was just started.
pub fn started(child: &Child) {
    if let Ok(mut running) = RUNNING.lock() {
        running.insert(id_of(child));
    }
}

/// Sends a signal to a process of ours that was not waited for yet.
pub fn signal(child: &Child, signal: Signal) -> Result<(), String> {
    kill(Pid::from_raw(id_of(child)), signal).map_err(|error| format!("signal {signal} to {}: {error}", child.id()))
}

/// Tells a process to end, waits, and kills it when it does not. A paused one is woken up first.
pub fn end(child: &mut Child, how: Signal) -> Result<ExitStatus, String> {
    let _ = signal(child, Signal::SIGCONT);
    signal(child, how)?;
    let began = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if began.elapsed() > GRACE => {
                signal(child, Signal::SIGKILL)?;
                break child.wait().map_err(|error| error.to_string())?;
            }
            Ok(None) => std::thread::sleep(Duration::from_millis(50)),
            Err(error) => return Err(format!("waiting for {}: {error}", child.id())),
        }
    };
    ended(child);
    Ok(status)
}

/// Takes note of a process that has ended and was waited for.
pub fn ended(child: &Child) {
    if let Ok(mut running) = RUNNING.lock() {
        running.remove(&id_of(child));
    }
}

/// Kills everything that still runs: for the end of the suite, whichever way it comes.
pub fn kill_all() {
    if let Ok(running) = RUNNING.lock() {
        for &id in running.iter() {
            let _ = kill(Pid::from_raw(id), Signal::SIGKILL);
        }
    }
}
