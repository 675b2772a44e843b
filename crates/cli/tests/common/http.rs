//! Enough HTTP to put a question to a node on loopback.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Posts `body` to `http://host:port[/path]` and returns the body of the answer.
pub fn post(url: &str, body: &str) -> Result<String, String> {
    let rest = url.strip_prefix("http://").ok_or_else(|| format!("{url} does not begin with http://"))?;
    let (address, path) = rest.split_once('/').map_or((rest, String::new()), |(a, p)| (a, p.to_owned()));
    let mut stream = TcpStream::connect(address).map_err(|error| format!("{url}: {error}"))?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).map_err(|error| error.to_string())?;
    let request = format!(
        "POST /{path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).map_err(|error| format!("{url}: {error}"))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(|error| format!("{url}: {error}"))?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| format!("{url} answered {answer:?}"))?;
    if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        return unchunk(body).ok_or_else(|| format!("{url} answered with broken chunks"));
    }
    Ok(body.to_owned())
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
