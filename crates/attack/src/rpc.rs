//! Plain HTTP to a node on loopback: JSON-RPC and readiness.

use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Longest wait for one answer: a node that needs longer under attack counts as one that does not answer.
const PATIENCE: Duration = Duration::from_secs(4);
/// Longest answer that is read.
const MAX_ANSWER: u64 = 64 * 1024 * 1024;

/// Puts one question to the node.
///
/// Errors: not reachable, no JSON, or the node's error object, as a sentence.
pub fn ask(node: SocketAddr, method: &str, params: Value) -> Result<Value, String> {
    let question = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
    let head = format!("POST / HTTP/1.1\r\nHost: {node}\r\nContent-Type: application/json\r\nContent-Length: {}", question.len());
    let (_, body) = exchange(node, &head, &question)?;
    let mut answer: Value = serde_json::from_str(&body).map_err(|error| format!("{node}, {method}: {error}"))?;
    match answer.get("error").filter(|error| !error.is_null()) {
        Some(error) => Err(format!("{node}, {method}: {error}")),
        None => Ok(answer["result"].take()),
    }
}

/// The node's block number.
pub fn height(node: SocketAddr) -> Option<u64> {
    quantity(&ask(node, "eth_blockNumber", json!([])).ok()?)
}

/// Status code and body of a GET.
pub fn get(node: SocketAddr, path: &str) -> Result<(u16, String), String> {
    exchange(node, &format!("GET {path} HTTP/1.1\r\nHost: {node}"), "")
}

/// A `0x` quantity as a number.
pub fn quantity(value: &Value) -> Option<u64> {
    u64::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok()
}

fn exchange(node: SocketAddr, head: &str, body: &str) -> Result<(u16, String), String> {
    let failed = |error: std::io::Error| format!("{node}: {error}");
    let mut stream = TcpStream::connect_timeout(&node, PATIENCE).map_err(failed)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(failed)?;
    stream.write_all(format!("{head}\r\nConnection: close\r\n\r\n{body}").as_bytes()).map_err(failed)?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer).map_err(failed)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| format!("{node} answered {answer:?}"))?;
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(|| format!("{node}: {head}"))?;
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if chunked { unchunk(body).ok_or_else(|| format!("{node}: broken chunks"))? } else { body.to_owned() };
    Ok((code, body))
}

fn unchunk(mut body: &str) -> Option<String> {
    let mut whole = String::new();
    loop {
        let (size, rest) = body.split_once("\r\n")?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        if size == 0 {
            return Some(whole);
        }
        whole.push_str(rest.get(..size)?);
        body = rest.get(size + 2..)?;
    }
}
