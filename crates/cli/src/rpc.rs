//! A small JSON-RPC client over HTTP.

use serde_json::{Value, json};
use std::time::Duration;

/// Answers above this are given up: nothing these commands ask for comes near it.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// A client whose calls take at most `patience`.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
}

impl Client {
    /// Never uses a proxy: lab nodes are on loopback.
    pub fn new(patience: Duration) -> Result<Client, String> {
        let http = reqwest::Client::builder()
            .timeout(patience)
            .no_proxy()
            .build()
            .map_err(|error| format!("could not make an HTTP client: {error}"))?;
        Ok(Client { http })
    }

    /// One question; the error is a sentence with the URL.
    pub async fn call(&self, url: &str, method: &str, params: Value) -> Result<Value, String> {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let mut response = self
            .http
            .post(url)
            .json(&body)
            .send()
            .await
            .map_err(|error| format!("could not reach {url}: {}", root_cause(&error)))?;
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| format!("{url} broke off: {error}"))? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > MAX_ANSWER {
                return Err(format!("{url} answered {method} with more than {MAX_ANSWER} bytes"));
            }
        }
        let mut answer: Value = serde_json::from_slice(&bytes)
            .map_err(|_| format!("{url} answered {method} with HTTP {} and no JSON", response.status()))?;
        if let Some(error) = answer.get("error").filter(|error| !error.is_null()) {
            let message = error.get("message").and_then(Value::as_str).unwrap_or("no message");
            return Err(format!("{url} refused {method}: {message}"));
        }
        Ok(answer["result"].take())
    }
}

/// The innermost reason: "connection refused" instead of "error sending request".
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
