//! HTTP/1.1 as a JSON-RPC client needs it: POST on a kept connection, nothing else.

use std::io;

use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest answer that is read: a block of many thousand hashes is well below.
const MAX_ANSWER: usize = 64 << 20;
/// Longest head of an answer.
const MAX_HEAD: usize = 64 << 10;

/// A request failed on its way.
#[derive(Debug, Error)]
pub enum HttpError {
    /// Connecting, writing or reading failed.
    #[error("{endpoint}: {source}")]
    Io {
        /// Whom we talked to.
        endpoint: String,
        /// What happened.
        source: io::Error,
    },
    /// The answer is not HTTP, or too long.
    #[error("{endpoint}: the answer {what}")]
    Answer {
        /// Whom we talked to.
        endpoint: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Another status than 200.
    #[error("{endpoint}: HTTP status {status}: {body}")]
    Status {
        /// Whom we talked to.
        endpoint: String,
        /// The status.
        status: u16,
        /// The beginning of the body.
        body: String,
    },
}

/// Where to post to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// `host:port`.
    pub authority: String,
    /// Path with query, beginning with `/`.
    pub path: String,
}

impl Url {
    /// Reads `http://host[:port][/path]`; the port is 8545 when absent. TLS is not spoken.
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.trim().strip_prefix("http://")?;
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        if authority.is_empty() || authority.contains(char::is_whitespace) || path.contains(char::is_whitespace) {
            return None;
        }
        let after_bracket = authority.rfind(']').map_or(0, |at| at + 1);
        let authority = match authority[after_bracket..].rsplit_once(':') {
            Some((_, port)) => {
                port.parse::<u16>().ok()?;
                authority.to_owned()
            }
            None => format!("{authority}:8545"),
        };
        Some(Self { authority, path: path.to_owned() })
    }
}

impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "http://{}{}", self.authority, self.path)
    }
}

/// One kept connection; it is opened when needed and again after an error.
#[derive(Debug)]
pub(crate) struct Connection {
    url: Url,
    stream: Option<TcpStream>,
    out: Vec<u8>,
    buffer: Vec<u8>,
}

impl Connection {
    pub(crate) fn new(url: Url) -> Self {
        Self { url, stream: None, out: Vec::new(), buffer: Vec::new() }
    }

    /// Posts a JSON body and returns the body of the answer.
    pub(crate) async fn post(&mut self, body: &[u8]) -> Result<Vec<u8>, HttpError> {
        // A kept connection may have been closed while idle: one more attempt on a fresh one.
        let kept = self.stream.is_some();
        match self.attempt(body).await {
            Err(HttpError::Io { source, .. }) if kept && is_closed(&source) => self.attempt(body).await,
            other => other,
        }
    }

    async fn attempt(&mut self, body: &[u8]) -> Result<Vec<u8>, HttpError> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(&self.url.authority).await.map_err(|error| self.io(error))?;
                stream.set_nodelay(true).map_err(|error| self.io(error))?;
                stream
            }
        };
        self.out.clear();
        self.out.extend_from_slice(
            format!(
                "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nAccept: application/json\r\nContent-Length: {}\r\n\r\n",
                self.url.path,
                self.url.authority,
                body.len()
            )
            .as_bytes(),
        );
        self.out.extend_from_slice(body);
        stream.write_all(&self.out).await.map_err(|error| self.io(error))?;
        self.buffer.clear();
        let head_end = loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break at + 4;
            }
            if self.buffer.len() > MAX_HEAD {
                return Err(self.answer("has a head that is too long"));
            }
            self.fill(&mut stream).await?;
        };
        let head = Head::parse(&self.buffer[..head_end]).ok_or_else(|| self.answer("is not HTTP/1.1"))?;
        let rest = self.buffer.split_off(head_end);
        self.buffer = rest;
        let body = match head.length {
            Length::Known(length) => {
                if length > MAX_ANSWER {
                    return Err(self.answer("is too long"));
                }
                while self.buffer.len() < length {
                    self.fill(&mut stream).await?;
                }
                self.buffer.truncate(length);
                std::mem::take(&mut self.buffer)
            }
            Length::Chunked => self.chunks(&mut stream).await?,
            Length::UntilClose => {
                while self.fill_or_end(&mut stream).await? {}
                std::mem::take(&mut self.buffer)
            }
        };
        if head.keep {
            self.stream = Some(stream);
        }
        // JSON-RPC errors come with other statuses from some servers; whatever is JSON is an answer.
        if head.status != 200 && !body.starts_with(b"{\"jsonrpc\"") && !body.starts_with(b"[") {
            let body = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
            return Err(HttpError::Status { endpoint: self.url.to_string(), status: head.status, body });
        }
        Ok(body)
    }

    async fn chunks(&mut self, stream: &mut TcpStream) -> Result<Vec<u8>, HttpError> {
        let mut body = Vec::new();
        let mut at = 0;
        loop {
            let line_end = loop {
                if let Some(found) = find(&self.buffer[at..], b"\r\n") {
                    break at + found;
                }
                self.fill(stream).await?;
            };
            let size = std::str::from_utf8(&self.buffer[at..line_end])
                .ok()
                .and_then(|line| usize::from_str_radix(line.split(';').next()?.trim(), 16).ok())
                .ok_or_else(|| self.answer("has a bad chunk"))?;
            if body.len() + size > MAX_ANSWER {
                return Err(self.answer("is too long"));
            }
            let start = line_end + 2;
            while self.buffer.len() < start + size + 2 {
                self.fill(stream).await?;
            }
            body.extend_from_slice(&self.buffer[start..start + size]);
            at = start + size + 2;
            if size == 0 {
                return Ok(body);
            }
        }
    }

    async fn fill(&mut self, stream: &mut TcpStream) -> Result<(), HttpError> {
        if self.fill_or_end(stream).await? { Ok(()) } else { Err(self.io(io::ErrorKind::UnexpectedEof.into())) }
    }

    async fn fill_or_end(&mut self, stream: &mut TcpStream) -> Result<bool, HttpError> {
        if self.buffer.len() > MAX_ANSWER + MAX_HEAD {
            return Err(self.answer("is too long"));
        }
        self.buffer.reserve(16 << 10);
        let read = stream.read_buf(&mut self.buffer).await;
        Ok(read.map_err(|error| self.io(error))? > 0)
    }

    fn io(&self, source: io::Error) -> HttpError {
        HttpError::Io { endpoint: self.url.to_string(), source }
    }

    fn answer(&self, what: &'static str) -> HttpError {
        HttpError::Answer { endpoint: self.url.to_string(), what }
    }
}

fn is_closed(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionAborted
    )
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

#[derive(Debug, PartialEq, Eq)]
enum Length {
    Known(usize),
    Chunked,
    UntilClose,
}

#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    length: Length,
    keep: bool,
}

impl Head {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let mut lines = text.split("\r\n");
        let mut first = lines.next()?.split(' ');
        let version = first.next()?;
        let status = first.next()?.parse().ok()?;
        let mut head = Self { status, length: Length::UntilClose, keep: version == "HTTP/1.1" };
        for line in lines {
            let Some((name, value)) = line.split_once(':') else { continue };
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "content-length" => head.length = Length::Known(value.parse().ok()?),
                "transfer-encoding" if value.eq_ignore_ascii_case("chunked") => head.length = Length::Chunked,
                "connection" if value.eq_ignore_ascii_case("close") => head.keep = false,
                _ => {}
            }
        }
        if head.length == Length::UntilClose {
            head.keep = false;
        }
        Some(head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[test]
    fn addresses_are_read() {
        let url = |text: &str| Url::parse(text).map(|url| url.to_string());
        assert_eq!(url("http://localhost"), Some("http://localhost:8545/".into()));
        assert_eq!(url("http://10.0.0.1:80/x?y=1"), Some("http://10.0.0.1:80/x?y=1".into()));
        assert_eq!(url("http://[::1]:8545"), Some("http://[::1]:8545/".into()));
        assert_eq!(url("http://[::1]"), Some("http://[::1]:8545/".into()));
        for bad in ["", "localhost:8545", "https://a", "http://", "http://a:b", "http://a b"] {
            assert_eq!(url(bad), None, "{bad}");
        }
    }

    #[tokio::test]
    async fn answers_are_read_in_all_three_forms_and_a_closed_connection_is_opened_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let answers: [&[&[u8]]; 4] = [
            &[b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel", b"lo"],
            &[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x\r\nl", b"o\r\n0\r\n\r\n"],
            &[b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello"],
            &[b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"],
        ];
        let server = tokio::spawn(async move {
            for answer in answers {
                // A connection for each answer: the client finds its kept one closed.
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0u8; 4096];
                let read = stream.read(&mut request).await.unwrap();
                assert!(request[..read].ends_with(b"\r\n\r\n{}"));
                for part in answer {
                    stream.write_all(part).await.unwrap();
                    stream.flush().await.unwrap();
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                }
            }
        });
        let mut connection = Connection::new(url);
        for _ in 0..3 {
            assert_eq!(connection.post(b"{}").await.unwrap(), b"hello");
        }
        assert!(matches!(connection.post(b"{}").await, Err(HttpError::Status { status: 403, .. })));
        server.await.unwrap();
    }
}
