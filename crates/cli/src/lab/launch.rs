//! Starting the nodes of a lab.

use super::file_failure;
use super::folder::Folder;
use super::process::{self, Process, remember, running};
use crate::failure::Failure;
use ipe_node::Endpoints;
use std::collections::HashSet;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a node may take from its start until it listens.
const READY: Duration = Duration::from_secs(90);

/// Ports of lab nodes: below the range that systems use for outgoing connections, so that no other program's
/// connection sits on a node's port when the lab starts again.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// Starts the named nodes that do not run and waits until each listens. The children are those of this process.
pub fn start(folder: &Folder, names: &[String]) -> Result<Vec<(String, Child)>, Failure> {
    let mut children = Vec::new();
    for name in names {
        if running(folder, name).is_none() {
            match spawn(folder, name) {
                Ok(child) => children.push((name.clone(), child)),
                Err(failure) => return give_up(folder, children, failure),
            }
        }
    }
    match wait_ready(folder, &mut children) {
        Ok(()) => Ok(children),
        Err(failure) => give_up(folder, children, failure),
    }
}

/// Ends what was just started: a half started lab helps nobody.
fn give_up<T>(folder: &Folder, mut children: Vec<(String, Child)>, failure: Failure) -> Result<T, Failure> {
    let names: Vec<String> = children.iter().map(|(name, _)| name.clone()).collect();
    let _ = process::stop(folder, &names);
    for (_, child) in &mut children {
        let _ = child.try_wait();
    }
    Err(failure)
}

fn spawn(folder: &Folder, name: &str) -> Result<Child, Failure> {
    let program = std::env::current_exe().map_err(|error| Failure::failed("could not find the ipe executable", error))?;
    let log = folder.open_log(name)?;
    let path = folder.log(name);
    let errors = log.try_clone().map_err(|error| file_failure("open", &path, error))?;
    Endpoints::remove(&folder.data_dir(name));
    let mut command = Command::new(&program);
    command
        .args(["node", "run", "--config"])
        .arg(folder.settings(name))
        // What its settings file may say of it: the lab's other commands know this one, and delete it.
        .arg("--data-dir")
        .arg(folder.data_dir(name))
        .current_dir(folder.node_dir(name))
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        // A group of its own: Ctrl-C in the terminal reaches the lab command only, which then stops the nodes in order.
        .process_group(0);
    for (variable, _) in std::env::vars_os() {
        // Settings meant for another node must not change a lab's.
        if variable.to_string_lossy().starts_with("IPE_") {
            command.env_remove(variable);
        }
    }
    let child = command.spawn().map_err(|error| file_failure("start", &program, error))?;
    match Process::of(child.id()) {
        Some(process) => remember(folder, name, process)?,
        None => return Err(ended(folder, name, "at once")),
    }
    Ok(child)
}

fn wait_ready(folder: &Folder, children: &mut [(String, Child)]) -> Result<(), Failure> {
    let began = Instant::now();
    let mut waiting: HashSet<usize> = (0..children.len()).collect();
    while !waiting.is_empty() {
        for (at, (name, child)) in children.iter_mut().enumerate() {
            if !waiting.contains(&at) {
                continue;
            }
            if let Ok(Some(status)) = child.try_wait() {
                return Err(ended(folder, name, &status.to_string()));
            }
            if Endpoints::read(&folder.data_dir(name)).is_some_and(|endpoints| endpoints.pid == child.id()) {
                waiting.remove(&at);
            } else if began.elapsed() > READY {
                return Err(ended(folder, name, &format!("not ready after {} s", READY.as_secs())));
            }
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn ended(folder: &Folder, name: &str, how: &str) -> Failure {
    let tail = folder.log_tail(name, 8);
    Failure::Failed(format!("{name} did not start ({how}); the end of {}:\n{tail}", folder.log(name).display()))
}

/// That many different free loopback ports.
pub fn free_ports(count: usize) -> Result<Vec<u16>, Failure> {
    let width = PORTS.end - PORTS.start;
    let first = rand::random_range(0..width);
    // Probes stay open until all are found, so that no port is given twice.
    let mut probes = Vec::with_capacity(count);
    let mut ports = Vec::with_capacity(count);
    for step in 0..width {
        if ports.len() == count {
            break;
        }
        let port = PORTS.start + (first + step) % width;
        if let Ok(probe) = TcpListener::bind(("127.0.0.1", port)) {
            probes.push(probe);
            ports.push(port);
        }
    }
    if ports.len() < count {
        return Err(Failure::Failed(format!(
            "found {} free ports of the {count} needed between {} and {} on 127.0.0.1; stop what uses them",
            ports.len(),
            PORTS.start,
            PORTS.end
        )));
    }
    Ok(ports)
}

#[cfg(test)]
mod tests {
    #[test]
    fn free_ports_are_distinct() {
        let ports = super::free_ports(200).unwrap_or_else(|_| panic!("a machine has 200 free ports"));
        let distinct: std::collections::HashSet<u16> = ports.iter().copied().collect();
        assert_eq!(distinct.len(), 200);
    }
}
