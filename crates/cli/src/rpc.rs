//! A small JSON-RPC client over HTTP.

use serde_json::{Value, json};
use std::time::Duration;

/// Answers above this are given up: nothing these commands ask for comes near it.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// Why a question has no result.
#[derive(Debug)]
pub enum CallError {
    /// No answer, or none in form: a sentence with the URL.
    Unreached(String),
    /// The node's error.
    Refused {
        /// JSON-RPC code, 0 when the node gave none.
        code: i64,
        /// The node's words.
        message: String,
        /// What came with it, when it is a text; a refused call's reason stands here.
        data: Option<String>,
    },
}

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
        self.ask(url, method, params).await.map_err(|error| match error {
            CallError::Unreached(sentence) => sentence,
            CallError::Refused { message, .. } => format!("{url} refused {method}: {message}"),
        })
    }

    /// One question; a refusal comes with everything that the node said.
    pub async fn ask(&self, url: &str, method: &str, params: Value) -> Result<Value, CallError> {
        let answer = self.post(url, method, params).await.map_err(CallError::Unreached)?;
        let Value::Object(mut answer) = answer else {
            return Err(CallError::Unreached(format!("{url} answered {method} with JSON that is no object")));
        };
        if let Some(error) = answer.get("error").filter(|error| !error.is_null()) {
            return Err(CallError::Refused {
                code: error.get("code").and_then(Value::as_i64).unwrap_or(0),
                message: error.get("message").and_then(Value::as_str).unwrap_or("no message").to_owned(),
                data: error.get("data").and_then(Value::as_str).map(str::to_owned),
            });
        }
        Ok(answer.remove("result").unwrap_or_default())
    }

    async fn post(&self, url: &str, method: &str, params: Value) -> Result<Value, String> {
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
        serde_json::from_slice(&bytes).map_err(|_| format!("{url} answered {method} with HTTP {} and no JSON", response.status()))
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
