//! What operations do to a network: processes killed at any moment, all stopped, one wiped, a quorum lost and back.
#![allow(clippy::panic, clippy::unwrap_used, missing_docs)]

mod common;

use std::sync::{Mutex, MutexGuard, PoisonError};

use common::lab::Lab;
use serde_json::{Value, json};

/// Networks of a dozen processes take turns on the cores of one machine.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn block(lab: &Lab, node: &str, number: u64) -> Value {
    lab.node(node).answer("eth_getBlockByNumber", json!([format!("{number:#x}"), false]))
}

/// Waits until this validator has proposed a block above `after`: it takes part again.
fn proposes_after(lab: &Lab, name: &str, after: u64) {
    let address = lab.node(name).answer("ipe_status", json!([]))["address"].as_str().unwrap().to_lowercase();
    let mut next = after + 1;
    lab.until(&format!("{name} proposes a block above {after}"), || {
        while next <= lab.node(name).height.unwrap_or(0) {
            if block(lab, name, next)["miner"].as_str().unwrap().to_lowercase() == address {
                return true;
            }
            next += 1;
        }
        false
    });
}

#[test]
fn any_one_process_may_be_killed_at_any_moment_and_comes_back() {
    let _turn = turn();
    let lab = Lab::up(&["--institutions", "4", "--block-period", "250ms"]);
    lab.all_reach(4);
    for role in ["validator", "boot", "writer"] {
        let victim = lab.with_role(role)[1].name.clone();
        lab.ok(&["kill", &victim]);
        assert_eq!(lab.node(&victim).pid, None, "{victim} was killed");
        let at = lab.height();
        lab.reaches(at + 6);
        lab.ok(&["start", &victim]);
        lab.all_reach(at + 8);
        if role == "validator" {
            proposes_after(&lab, &victim, at + 8);
        }
    }
}

#[test]
fn a_validator_killed_again_and_again_never_contradicts_itself() {
    let _turn = turn();
    let lab = Lab::up(&["--institutions", "4", "--block-period", "250ms"]);
    lab.all_reach(2);
    let victim = lab.with_role("validator")[0].name.clone();
    for pause_ms in [30, 110, 190, 270, 350, 430] {
        lab.ok(&["kill", &victim]);
        lab.ok(&["start", &victim]);
        std::thread::sleep(std::time::Duration::from_millis(400 + pause_ms));
    }
    let at = lab.height();
    lab.all_reach(at + 4);
    proposes_after(&lab, &victim, at);
    let head = lab.nodes().iter().filter_map(|node| node.height).min().unwrap();
    for number in 1..=head {
        let hashes: std::collections::HashSet<String> =
            lab.nodes().iter().map(|node| block(&lab, &node.name, number)["hash"].to_string()).collect();
        assert_eq!(hashes.len(), 1, "block {number}: {hashes:?}");
    }
}

#[test]
fn a_network_that_was_stopped_goes_on_with_the_same_chain() {
    let _turn = turn();
    let lab = Lab::up(&["--institutions", "4", "--block-period", "250ms"]);
    lab.all_reach(5);
    let name = lab.nodes()[0].name.clone();
    let before = block(&lab, &name, 5)["hash"].clone();
    lab.ok(&["stop"]);
    assert!(lab.nodes().iter().all(|node| node.pid.is_none()), "every node is stopped");
    lab.ok(&["start"]);
    lab.all_reach(9);
    assert_eq!(block(&lab, &name, 5)["hash"], before);
}

#[test]
fn a_wiped_validator_catches_up_and_proposes_without_a_manual_step() {
    let _turn = turn();
    let lab = Lab::up(&["--institutions", "4", "--block-period", "250ms"]);
    lab.all_reach(12);
    let victim = lab.with_role("validator")[2].name.clone();
    lab.ok(&["wipe", &victim]);
    lab.ok(&["start", &victim]);
    let at = lab.height();
    lab.all_reach(at + 2);
    proposes_after(&lab, &victim, at);
}

#[test]
fn a_lost_quorum_returns_and_blocks_go_on_without_a_restart_of_the_others() {
    let _turn = turn();
    let lab = Lab::up(&["--institutions", "4", "--block-period", "250ms"]);
    lab.all_reach(4);
    let validators = lab.with_role("validator");
    let survivors: Vec<u32> = validators[2..].iter().filter_map(|node| node.pid).collect();
    for node in &validators[..2] {
        lab.ok(&["kill", &node.name]);
    }
    std::thread::sleep(std::time::Duration::from_secs(2));
    let halted = lab.height();
    std::thread::sleep(std::time::Duration::from_secs(8));
    assert_eq!(lab.height(), halted, "two of four validators make no quorum");
    for node in &validators[..2] {
        lab.ok(&["start", &node.name]);
    }
    lab.all_reach(halted + 4);
    let still: Vec<u32> = lab.with_role("validator")[2..].iter().filter_map(|node| node.pid).collect();
    assert_eq!(survivors, still, "the others were not restarted");
}

/// Garbage, connections that say nothing, a body that claims 4 GiB: a boot takes them all day.
#[test]
fn hostile_connections_to_a_boot_delay_no_block() {
    use std::io::Write;
    use std::net::TcpStream;
    let _turn = turn();
    let lab = Lab::up(&["--institutions", "4", "--block-period", "250ms"]);
    lab.all_reach(3);
    let boot = lab.with_role("boot")[0].clone();
    let peers = boot.whole["peers"].as_u64();
    let p2p = boot.p2p.clone().expect("a boot listens");
    let rpc = boot.rpc.clone().expect("it answers").replace("http://", "");
    let mut open = Vec::new();
    for number in 0..120_u8 {
        let Ok(mut stream) = TcpStream::connect(&p2p) else { continue };
        let written = match number % 3 {
            0 => stream.write_all(&[number; 4096]),
            1 => stream.write_all(&[0x01]),
            _ => Ok(()),
        };
        // It may have been closed already: that is the point.
        drop(written);
        open.push(stream);
    }
    if let Ok(mut stream) = TcpStream::connect(&rpc) {
        let head = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 4294967296\r\n\r\n";
        drop(stream.write_all(head.as_bytes()));
        open.push(stream);
    }
    let at = lab.height();
    lab.all_reach(at + 12);
    assert_eq!(lab.node(&boot.name).whole["peers"].as_u64(), peers, "its honest peers are still there");
}

/// A node whose clock is off by more than a request timeout costs at most its own turns.
#[test]
fn one_wrong_clock_does_not_stop_the_network() {
    let _turn = turn();
    let lab = Lab::up(&["--institutions", "4"]);
    lab.all_reach(2);
    let victim = lab.with_role("validator")[1].name.clone();
    for offset_s in ["5", "-5"] {
        lab.ok(&["stop", &victim]);
        lab.ok_with(&["start", &victim], &[("LD_PRELOAD", &clock_shim(&lab)), ("CLOCK_OFFSET_S", offset_s)]);
        let at = lab.height();
        lab.reaches(at + 8);
        lab.until("the node with the wrong clock follows", || lab.node(&victim).height.is_some_and(|height| height >= at + 6));
    }
}

/// Builds a library that shifts the wall clock of a process by `CLOCK_OFFSET_S` seconds; the path.
fn clock_shim(lab: &Lab) -> String {
    let (source, library) = (lab.folder().join("clock.c"), lab.folder().join("clock.so"));
    let code = r#"
#define _GNU_SOURCE
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include <sys/syscall.h>
int clock_gettime(clockid_t id, struct timespec *at) {
    int result = syscall(SYS_clock_gettime, id, at);
    const char *offset = getenv("CLOCK_OFFSET_S");
    if (result == 0 && id == CLOCK_REALTIME && offset) at->tv_sec += atol(offset);
    return result;
}
"#;
    std::fs::write(&source, code).unwrap();
    let built = std::process::Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .status()
        .expect("a C compiler, which building this project needs as well");
    assert!(built.success());
    library.to_string_lossy().into_owned()
}
