//! Processes of a lab: which run, and how they are ended.

use super::file_failure;
use super::folder::Folder;
use crate::failure::{Failure, Outcome};
use nix::sys::signal::{Signal, kill as send};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Read;
use std::time::{Duration, Instant};

/// How long a node may take to end after SIGTERM before it is killed.
const GRACE: Duration = Duration::from_secs(15);

/// Bytes that a node's process file may have.
const MAX_PID_FILE: u64 = 1_024;

/// How long a killed process may take to vanish.
const VANISH: Duration = Duration::from_secs(10);

/// A process that cannot be mistaken for a later one with the same id: its start time goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// Start in clock ticks since boot, field 22 of `/proc/<pid>/stat`.
    pub start_ticks: u64,
}

impl Process {
    /// The process that has this id now; `None` when there is none or it has ended and only waits to be collected.
    pub fn of(pid: u32) -> Option<Process> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        parse_stat(&stat).map(|start_ticks| Process { pid, start_ticks })
    }

    /// Whether this very process still runs.
    pub fn runs(self) -> bool {
        Process::of(self.pid) == Some(self)
    }

    /// Whether it was started as this node of this lab: as `spawn` does it.
    fn is_node(self, folder: &Folder, name: &str) -> bool {
        let Ok(line) = std::fs::read(format!("/proc/{}/cmdline", self.pid)) else { return false };
        let mut arguments = line.split(|byte| *byte == 0).skip(1);
        let settings = folder.settings(name);
        let wanted = [b"node".as_slice(), b"run", b"--config", settings.as_os_str().as_encoded_bytes()];
        wanted.iter().all(|wanted| arguments.next() == Some(*wanted))
    }

    fn signal(self, signal: Signal) {
        if let (true, Ok(pid)) = (self.runs(), i32::try_from(self.pid)) {
            // It may have ended in between, which is what was wanted.
            let _ = send(Pid::from_raw(pid), signal);
        }
    }
}

/// Start time out of `/proc/<pid>/stat`; the name in parentheses may hold anything. `None` for a process that has ended: it is
/// shown until it is collected, and its first thread also while others of it still wait for the disk and hold its files.
fn parse_stat(stat: &str) -> Option<u64> {
    let after_name = stat.rsplit_once(')')?.1;
    let mut fields = after_name.split_whitespace();
    let state = fields.next()?;
    // The state is field 3, the number of threads field 20, the start time field 22.
    let threads: u64 = fields.nth(16)?.parse().ok()?;
    let ended = matches!(state, "X" | "x") || (state == "Z" && threads <= 1);
    let start = fields.nth(1)?.parse().ok()?;
    (!ended).then_some(start)
}

/// The node's process, when it runs. A file that names a process which is not this node, whoever wrote it, names none: it
/// would be killed.
pub fn running(folder: &Folder, name: &str) -> Option<Process> {
    let file = File::open(folder.pid_file(name)).ok()?;
    let mut text = String::new();
    file.take(MAX_PID_FILE).read_to_string(&mut text).ok()?;
    let process: Process = serde_json::from_str(&text).ok()?;
    (process.runs() && process.is_node(folder, name)).then_some(process)
}

/// Remembers which process a node is.
pub fn remember(folder: &Folder, name: &str, process: Process) -> Outcome {
    let path = folder.pid_file(name);
    let text = serde_json::to_string(&process).map_err(|error| file_failure("write", &path, error))?;
    std::fs::write(&path, text).map_err(|error| file_failure("write", &path, error))
}

fn forget(folder: &Folder, name: &str) {
    // Already gone is as good.
    let _ = std::fs::remove_file(folder.pid_file(name));
}

/// Asks all to end, waits, and kills what is left.
pub fn stop(folder: &Folder, names: &[String]) -> Outcome {
    end(folder, names, Signal::SIGTERM)
}

/// Kills at once.
pub fn kill(folder: &Folder, names: &[String]) -> Outcome {
    end(folder, names, Signal::SIGKILL)
}

fn end(folder: &Folder, names: &[String], first: Signal) -> Outcome {
    let processes: Vec<(&String, Process)> = names.iter().filter_map(|name| Some((name, running(folder, name)?))).collect();
    for (_, process) in &processes {
        process.signal(first);
    }
    let grace = if first == Signal::SIGKILL { VANISH } else { GRACE };
    let mut left = wait_gone(&processes, grace);
    if !left.is_empty() && first != Signal::SIGKILL {
        for (name, process) in &left {
            eprintln!("{name} did not end within {} s, killing it", GRACE.as_secs());
            process.signal(Signal::SIGKILL);
        }
        left = wait_gone(&left, VANISH);
    }
    for name in names {
        if running(folder, name).is_none() {
            forget(folder, name);
        }
    }
    match left.first() {
        None => Ok(()),
        Some((name, process)) => {
            Err(Failure::Failed(format!("could not end {name} (process {}); it may be waiting for a disk", process.pid)))
        }
    }
}

fn wait_gone<'a>(processes: &[(&'a String, Process)], patience: Duration) -> Vec<(&'a String, Process)> {
    let began = Instant::now();
    loop {
        let left: Vec<_> = processes.iter().copied().filter(|(_, process)| process.runs()).collect();
        if left.is_empty() || began.elapsed() > patience {
            return left;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_process_is_known_by_id_and_start() {
        let me = Process::of(std::process::id()).expect("this process runs");
        assert!(me.runs());
        assert!(!Process { start_ticks: me.start_ticks + 1, ..me }.runs(), "another start is another process");
    }

    #[test]
    fn an_ended_process_that_waits_to_be_collected_does_not_run() {
        let mut child = Command::new("sleep").arg("60").spawn().expect("sleep");
        let process = Process::of(child.id()).expect("runs");
        process.signal(Signal::SIGKILL);
        let name = "x".to_owned();
        assert!(wait_gone(&[(&name, process)], VANISH).is_empty());
        child.wait().expect("collected");
        assert!(!process.runs());
    }

    #[test]
    fn names_with_parentheses_do_not_confuse() {
        let tail = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20";
        assert_eq!(parse_stat(&format!("7 (a) b (c)) {tail}")), Some(4242));
        let zombie = tail.replacen('S', "Z", 1);
        assert_eq!(parse_stat(&format!("7 (a) {zombie}")), Some(4242), "sixteen of its threads still run");
        assert_eq!(parse_stat(&format!("7 (a) {}", zombie.replacen("17", "1", 1))), None);
        assert_eq!(parse_stat(""), None);
    }
}
