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

/// A node that answers as a test wants: `answer` gets the method and its parameters and gives the result or the error object.
/// It serves until the test's process ends.
pub fn serve(answer: impl Fn(&str, &serde_json::Value) -> Result<serde_json::Value, serde_json::Value> + Send + 'static) -> String {
    use std::io::{BufRead, BufReader};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { continue };
            let mut reader = BufReader::new(stream);
            let (mut length, mut line) = (0, String::new());
            while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                if let Some(text) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = text.trim().parse().unwrap_or(0);
                }
                line.clear();
            }
            let mut body = vec![0; length];
            if reader.read_exact(&mut body).is_err() {
                continue;
            }
            let asked: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
            let whole = match answer(asked["method"].as_str().unwrap_or_default(), &asked["params"]) {
                Ok(result) => serde_json::json!({ "jsonrpc": "2.0", "id": asked["id"], "result": result }),
                Err(error) => serde_json::json!({ "jsonrpc": "2.0", "id": asked["id"], "error": error }),
            }
            .to_string();
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                whole.len()
            );
            let mut stream = reader.into_inner();
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(whole.as_bytes()));
        }
    });
    url
}
