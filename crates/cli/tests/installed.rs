//! What packages, containers and supervisors use of the executable: its version, generated files, health, and what it tells a
//! supervisor.

#![allow(clippy::unwrap_used)]

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// A dev build on two busy cores is slow to start.
const PATIENCE: Duration = Duration::from_secs(90);

fn ipe(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ipe")).args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn ok(arguments: &[&str]) -> String {
    let output = ipe(arguments);
    assert!(output.status.success(), "ipe {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_version_tells_what_was_built_and_what_it_speaks() {
    let (short, long) = (ok(&["-V"]), ok(&["--version"]));
    assert_eq!(short.lines().count(), 1);
    assert_eq!(long.lines().next(), short.lines().next());
    let value = |name: &str| -> String {
        let line =
            long.lines().skip(1).find(|line| line.split(' ').next() == Some(name)).unwrap_or_else(|| panic!("no {name} in {long}"));
        line[name.len()..].trim().to_owned()
    };
    assert!(short.starts_with(concat!("ipe ", env!("CARGO_PKG_VERSION"))), "{short}");
    match value("commit") {
        why if why.starts_with("unknown: ") => assert_eq!(short.trim(), concat!("ipe ", env!("CARGO_PKG_VERSION"))),
        commit => assert!(short.contains(&commit[..8]), "{short} {commit}"),
    }
    assert_eq!((value("eth"), value("istanbul"), value("ipe")), ("66, 68, 69".to_owned(), "100".to_owned(), "1".to_owned()));
    assert_eq!((value("discovery"), value("snap")), ("discv4".to_owned(), "no".to_owned()));
    assert!(value("client").starts_with("ipe/v") && value("client").contains("/rust-"), "{long}");
    for name in ["rustc", "target", "carry", "forks", "data"] {
        assert!(!value(name).is_empty());
    }
}

#[test]
fn completions_and_man_pages_have_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let script = ok(&["completions", shell]);
        assert!(script.contains("besu-config") && script.contains("lab"), "{shell}");
    }
    assert_eq!(ipe(&["completions", "cobol"]).status.code(), Some(2));
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man");
    ok(&["manual", pages.to_str().unwrap()]);
    let documented = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/cli.md")).unwrap();
    let commands: Vec<&str> = documented.lines().filter_map(|line| line.strip_prefix("## `")?.strip_suffix('`')).collect();
    assert!(commands.len() > 20, "{commands:?}");
    for command in &commands {
        let page = std::fs::read_to_string(pages.join(format!("{}.1", command.replace(' ', "-")))).unwrap();
        assert!(page.contains(".SH SYNOPSIS"), "{command}: {page}");
    }
    assert_eq!(std::fs::read_dir(&pages).unwrap().count(), commands.len());
}

struct Node {
    process: Child,
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An observer that nobody talks to, with a supervisor's socket.
fn observer(folder: &Path, socket: &Path) -> Node {
    let genesis = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/besu-26.8.0-header-votes/genesis.json");
    let process = Command::new(env!("CARGO_BIN_EXE_ipe"))
        .args(["node", "run", "--role", "observer", "--genesis", genesis, "--p2p-host", "127.0.0.1", "--p2p-port", "0"])
        .args(["--p2p-interface", "127.0.0.1", "--rpc-http-port", "0", "--discovery-enabled", "false", "--data-dir"])
        .arg(folder)
        .env("NOTIFY_SOCKET", socket)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    Node { process }
}

fn next(socket: &UnixDatagram) -> String {
    let mut bytes = [0; 256];
    let length = socket.recv(&mut bytes).expect("a message within the time");
    String::from_utf8_lossy(&bytes[..length]).trim().to_owned()
}

#[test]
fn a_supervisor_is_told_and_health_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let (data, path): (PathBuf, PathBuf) = (folder.path().join("data"), folder.path().join("notify"));
    let data_text = data.to_str().unwrap().to_owned();
    let health = |more: &[&str]| ipe(&[&["node", "health", "--data-dir", &data_text], more].concat());
    assert_eq!(health(&[]).status.code(), Some(1), "no node runs yet");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut node = observer(&data, &path);
    // The watch may look once before the node says that it is ready.
    let mut first = next(&socket);
    while first == "WATCHDOG=1" {
        first = next(&socket);
    }
    assert_eq!(first, "READY=1");
    assert_eq!(next(&socket), "WATCHDOG=1");
    let live = health(&[]);
    assert!(live.status.success() && String::from_utf8_lossy(&live.stdout).contains("UP"), "{live:?}");
    let ready = health(&["--ready"]);
    assert_eq!(ready.status.code(), Some(1), "without peers it is not ready");
    assert!(String::from_utf8_lossy(&ready.stderr).contains("peers"), "{ready:?}");
    Command::new("kill").arg(node.process.id().to_string()).status().unwrap();
    let mut last = next(&socket);
    while last == "WATCHDOG=1" {
        last = next(&socket);
    }
    assert_eq!(last, "STOPPING=1");
    assert!(node.process.wait().unwrap().success());
    assert_eq!(health(&[]).status.code(), Some(1));
}
