//! JSON-RPC over plain HTTP to a node on loopback, one connection a request: a node may be stopped at any moment.

use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// Longest wait for one answer: a Java node under load on a busy machine takes seconds, a paused one never answers.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longest answer that is read: a batch of some hundred blocks is far below.
const MAX_ANSWER: u64 = 64 * 1024 * 1024;

/// Puts one question to the node on this port.
///
/// Errors: not reachable, no JSON, or the node's error object, as a sentence.
pub fn ask(port: u16, method: &str, params: Value) -> Result<Value, String> {
    let question = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    let answer = post(port, &question.to_string()).map_err(|why| format!("{method}: {why}"))?;
    result(answer).map_err(|why| format!("{method}: {why}"))
}

/// Puts many questions at once; the answers stand in the order of the questions.
pub fn ask_all(port: u16, questions: &[(&str, Value)]) -> Result<Vec<Value>, String> {
    let batch: Vec<Value> = questions
        .iter()
        .enumerate()
        .map(|(id, (method, params))| json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }))
        .collect();
    let answers = post(port, &Value::from(batch).to_string())?;
    let Value::Array(answers) = answers else { return Err(format!("a batch was answered with {answers}")) };
    let mut sorted = vec![None; questions.len()];
    for answer in answers {
        match answer["id"].as_u64().and_then(|id| sorted.get_mut(usize::try_from(id).ok()?)) {
            Some(slot) => *slot = Some(result(answer)?),
            None => return Err(format!("an answer without its question: {answer}")),
        }
    }
    sorted.into_iter().collect::<Option<Vec<Value>>>().ok_or_else(|| "a batch was answered in part".to_owned())
}

fn result(mut answer: Value) -> Result<Value, String> {
    match answer.get("error").filter(|error| !error.is_null()) {
        Some(error) => Err(error.to_string()),
        None => Ok(answer["result"].take()),
    }
}

fn post(port: u16, body: &str) -> Result<Value, String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let failed = |error: std::io::Error| format!("{address}: {error}");
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(failed)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(failed)?;
    let request = format!(
        "POST / HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).map_err(failed)?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer).map_err(failed)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| format!("{address} answered {answer:?}"))?;
    let whole = if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        unchunk(body).ok_or_else(|| format!("{address} answered with broken chunks"))?
    } else {
        body.to_owned()
    };
    serde_json::from_str(&whole).map_err(|error| format!("{address} answered {whole:.200}: {error}"))
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

/// A `0x` quantity as a number.
pub fn quantity(value: &Value) -> Option<u64> {
    u64::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok()
}
