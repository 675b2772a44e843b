//! What clients of JSON-RPC can cost a real node: hostile ones of every kind at once, over HTTP and WebSocket, while a polite one
//! asks and blocks go on.
#![cfg(target_os = "linux")]
#![allow(clippy::panic, clippy::unwrap_used, missing_docs)]

mod common;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use common::lab::Lab;
use serde_json::{Value, json};
use tokio::net::TcpSocket;
use tokio::runtime::Runtime;

/// Memory that the attacked node may take, bytes: what a small machine has.
const MEMORY: u64 = 1 << 30;
/// Blocks that are waited for while everybody asks.
const BLOCKS: u64 = 60;
const PERIOD: Duration = Duration::from_millis(250);

/// A loop without end.
const LOOP: &str = "0x5b600056";
/// A mebibyte of memory, and then the loop.
const MEMORY_LOOP: &str = "0x600063000fffff535b600856";
/// Calls that carry a mebibyte each.
const INPUTS: &str = "0x600063000fffff535b6000600063001000006000600060ff61fffff150600856";
/// Calls of the identity precompile, which gives a mebibyte back.
const OUTPUTS: &str = "0x600063000fffff535b6000600063001000006000600060045af150600856";
/// Calls of itself, each with a quarter of a mebibyte of memory.
const DEEP: &str = "0x60006203ffff5360006000600060006000305af1";

fn call(method: &str, params: &Value) -> String {
    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string()
}

/// What hostile clients ask for: a batch of all the gas there is, every tracer on what grows, bodies that grow when read.
fn hostile() -> Vec<String> {
    let whom = "0x00000000000000000000000000000000000000aa";
    let batch = format!("[{}]", vec![call("eth_call", &json!([{"data": LOOP}, "latest"])); 1024].join(","));
    let many: serde_json::Map<String, Value> = (0..300_000).map(|n| (format!("{n:x}"), json!({}))).collect();
    vec![
        batch,
        call("trace_call", &json!([{"data": LOOP}, ["vmTrace", "trace", "stateDiff"], "latest"])),
        call("debug_traceCall", &json!([{"data": MEMORY_LOOP}, "latest", {}])),
        call("debug_traceCall", &json!([{"data": INPUTS}, "latest", {"tracer": "callTracer"}])),
        call("trace_call", &json!([{"data": OUTPUTS}, ["trace"], "latest"])),
        call("eth_call", &json!([{"to": whom}, "latest", {whom: {"code": DEEP}}])),
        call("eth_estimateGas", &json!([{"data": LOOP}, "latest"])),
        call("eth_call", &json!([{"to": whom}, "latest", many])),
        call("eth_getLogs", &json!([{"fromBlock": "0x0", "toBlock": "latest"}])),
        format!("[{}]", vec!["1"; 2_000_000].join(",")),
    ]
}

/// A connection from 127.0.0.`last`.
fn from(last: u8, to: SocketAddr) -> std::io::Result<TcpStream> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| Runtime::new().expect("threads"));
    let stream = runtime.block_on(async {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0)))?;
        socket.connect(to).await?.into_std()
    })?;
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    stream.set_write_timeout(Some(Duration::from_secs(60)))?;
    Ok(stream)
}

fn send(stream: &mut TcpStream, body: &str) -> std::io::Result<()> {
    let length = body.len();
    write!(stream, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}")
}

/// Reads one answer and gives its body.
fn hear(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let mut piece = vec![0; 64 << 10];
    loop {
        let read = stream.read(&mut piece)?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        text.extend_from_slice(&piece[..read]);
        let Some(at) = text.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&text[..at]).to_lowercase();
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next()?.parse::<usize>().ok());
        let Some(length) = length else { return Err(std::io::ErrorKind::InvalidData.into()) };
        let mut body = text.split_off(at + 4);
        let missing = length.saturating_sub(body.len());
        stream.take(missing as u64).read_to_end(&mut body)?;
        return Ok(body);
    }
}

/// Upgrades to WebSocket, and sends one masked text message.
fn whisper(stream: &mut TcpStream, body: &str) -> std::io::Result<()> {
    stream.write_all(
        b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
          Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    )?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer)?;
    if &answer != b"HTTP/1.1 101" {
        return Err(std::io::ErrorKind::ConnectionRefused.into());
    }
    let mut frame = vec![0x81, 0x80 | 127];
    frame.extend_from_slice(&(body.len() as u64).to_be_bytes());
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(body.as_bytes());
    stream.write_all(&frame)
}

/// The most memory that a process ever had, bytes.
fn peak(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the node runs");
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux tells it");
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() * 1024
}

/// Asks for a call again and again until told to stop; how long each answer took.
fn polite(last: u8, rpc: SocketAddr, stop: &AtomicBool) -> Vec<Duration> {
    let question = call("eth_call", &json!([{"to": "0x0000000000000000000000000000000000000004", "data": "0x12"}, "latest"]));
    let mut stream = from(last, rpc).expect("a place");
    let mut took = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let asked = Instant::now();
        send(&mut stream, &question).expect("a polite client's question is taken");
        let answer = hear(&mut stream).expect("and answered");
        took.push(asked.elapsed());
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(answer["result"], "0x12", "{answer}");
        thread::sleep(Duration::from_millis(5));
    }
    took.sort_unstable();
    took
}

#[test]
fn hostile_clients_cost_neither_blocks_nor_memory_nor_other_clients() {
    let lab = Lab::up(&["--institutions", "1", "--block-period", "250ms"]);
    lab.all_reach(4);
    let node = lab.with_role("validator")[0].clone();
    let rpc: SocketAddr = node.rpc.clone().unwrap().replace("http://", "").parse().unwrap();
    let pid = node.pid.unwrap();
    let before = peak(pid);
    let stop = Arc::new(AtomicBool::new(false));
    let asked = Arc::new(AtomicUsize::new(0));
    let mut crowd = Vec::new();
    for (kind, body) in hostile().into_iter().enumerate() {
        let body = Arc::new(body);
        // Over HTTP twice from two addresses, one of which hangs up at once each time; over WebSocket once, without reading.
        for way in 0..3_u8 {
            let (body, stop, asked) = (body.clone(), stop.clone(), asked.clone());
            crowd.push(thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let Ok(mut stream) = from(2 + way + 10 * (kind % 2) as u8, rpc) else { continue };
                    let told = match way {
                        0 => send(&mut stream, &body).and_then(|()| hear(&mut stream)).map(drop),
                        1 => send(&mut stream, &body).map(|()| thread::sleep(Duration::from_millis(30))),
                        _ => whisper(&mut stream, &body).map(|()| thread::sleep(Duration::from_millis(500))),
                    };
                    // A place that was refused is not asked for faster than anybody could answer.
                    thread::sleep(Duration::from_millis(10));
                    asked.fetch_add(usize::from(told.is_ok()), Ordering::Relaxed);
                }
            }));
        }
    }
    let (stop_own, stop_other) = (stop.clone(), stop.clone());
    let own = thread::spawn(move || polite(9, rpc, &stop_own));
    let other = thread::spawn(move || polite(2, rpc, &stop_other));
    lab.until("hostile requests are taken", || asked.load(Ordering::Relaxed) > 20);
    let (height, began) = (lab.height(), Instant::now());
    lab.reaches(height + BLOCKS);
    let pace = began.elapsed() / u32::try_from(lab.height() - height).unwrap();
    stop.store(true, Ordering::Relaxed);
    let waits: Vec<Vec<Duration>> = [own, other].into_iter().map(|client| client.join().unwrap()).collect();
    crowd.into_iter().for_each(|client| drop(client.join()));
    let p99: Vec<Duration> = waits.iter().map(|took| took[took.len() * 99 / 100]).collect();
    let told = format!(
        "p99 {p99:?} of {:?} calls, a block every {pace:?}, memory {} MiB, {} before, {} hostile requests",
        waits.iter().map(Vec::len).collect::<Vec<_>>(),
        peak(pid) >> 20,
        before >> 20,
        asked.load(Ordering::Relaxed)
    );
    println!("{told}");
    assert!(peak(pid) < MEMORY, "{told}");
    assert!(pace < PERIOD * 5 / 4, "{told}");
    assert!(p99[0] < Duration::from_millis(200), "of an address of its own: {told}");
    // It shares what its address has with those that ask for all of it, and still gets its part.
    assert!(p99[1] < Duration::from_secs(1), "of an address that hostile clients use: {told}");
    assert_eq!(lab.node(&node.name).pid, Some(pid), "the node was not restarted: {told}");
}
