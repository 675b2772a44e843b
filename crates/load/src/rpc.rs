//! JSON-RPC calls, one or many in a request.

use alloy_primitives::{Address, B256, U256};
use serde::Deserialize;
use serde_json::{Value, json};
use thiserror::Error;

use crate::http::{Connection, HttpError};

/// A call failed.
#[derive(Debug, Error)]
pub enum RpcError {
    /// On its way.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The node said no.
    #[error("{method}: {message} ({code})")]
    Refused {
        /// What was asked.
        method: String,
        /// JSON-RPC code.
        code: i64,
        /// The node's words.
        message: String,
    },
    /// The node's answer has another form than the method's.
    #[error("{method}: unexpected answer {answer}")]
    Form {
        /// What was asked.
        method: String,
        /// The beginning of what came.
        answer: String,
    },
}

/// Answer to one call of a batch.
#[derive(Debug)]
pub(crate) enum Reply {
    Result(Value),
    Error { code: i64, message: String },
}

#[derive(Deserialize)]
struct Response {
    #[serde(default)]
    id: Value,
    #[serde(default)]
    result: Value,
    error: Option<ErrorObject>,
}

#[derive(Deserialize)]
struct ErrorObject {
    code: i64,
    message: String,
}

impl Connection {
    /// One call.
    pub(crate) async fn call(&mut self, method: &str, params: Value) -> Result<Value, RpcError> {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
        let answer = self.post(body.as_bytes()).await?;
        let response: Response = serde_json::from_slice(&answer).map_err(|_| form(method, &answer))?;
        match response.error {
            Some(error) => Err(RpcError::Refused { method: method.into(), code: error.code, message: error.message }),
            None => Ok(response.result),
        }
    }

    /// Many calls of one method in one request; answers in the order of the calls. An endpoint that serves no batches
    /// answers with an error, which is returned.
    pub(crate) async fn call_many(&mut self, method: &str, params: impl Iterator<Item = Value>) -> Result<Vec<Reply>, RpcError> {
        let calls: Vec<Value> = params
            .enumerate()
            .map(|(id, params)| json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }))
            .collect();
        let count = calls.len();
        if count == 0 {
            return Ok(Vec::new());
        }
        let answer = self.post(Value::Array(calls).to_string().as_bytes()).await?;
        replies(method, &answer, count)
    }

    pub(crate) async fn quantity(&mut self, method: &str, params: Value) -> Result<U256, RpcError> {
        let answer = self.call(method, params).await?;
        quantity(&answer).ok_or_else(|| form(method, answer.to_string().as_bytes()))
    }

    pub(crate) async fn balances(&mut self, of: &[Address]) -> Result<Vec<U256>, RpcError> {
        self.quantities("eth_getBalance", of, "latest").await
    }

    pub(crate) async fn nonces(&mut self, of: &[Address], at: &str) -> Result<Vec<u64>, RpcError> {
        let found = self.quantities("eth_getTransactionCount", of, at).await?;
        Ok(found.into_iter().map(|nonce| nonce.saturating_to()).collect())
    }

    async fn quantities(&mut self, method: &str, of: &[Address], at: &str) -> Result<Vec<U256>, RpcError> {
        let mut found = Vec::with_capacity(of.len());
        for some in of.chunks(100) {
            let replies = self.call_many(method, some.iter().map(|address| json!([address, at]))).await?;
            for reply in replies {
                match reply {
                    Reply::Result(value) => {
                        found.push(quantity(&value).ok_or_else(|| form(method, value.to_string().as_bytes()))?);
                    }
                    Reply::Error { code, message } => {
                        return Err(RpcError::Refused { method: method.into(), code, message });
                    }
                }
            }
        }
        Ok(found)
    }
}

/// Sorts the answers of a batch by their ids.
pub(crate) fn replies(method: &str, answer: &[u8], count: usize) -> Result<Vec<Reply>, RpcError> {
    if answer.first() == Some(&b'{') {
        // One object instead of a list: the batch as a whole was refused.
        let response: Response = serde_json::from_slice(answer).map_err(|_| form(method, answer))?;
        let reply = reply(response);
        return match reply {
            Reply::Error { code, message } => Err(RpcError::Refused { method: method.into(), code, message }),
            Reply::Result(_) if count == 1 => Ok(vec![reply]),
            Reply::Result(_) => Err(form(method, answer)),
        };
    }
    let responses: Vec<Response> = serde_json::from_slice(answer).map_err(|_| form(method, answer))?;
    let mut sorted: Vec<Option<Reply>> = (0..count).map(|_| None).collect();
    for response in responses {
        let place = response.id.as_u64().and_then(|id| sorted.get_mut(id as usize));
        *place.ok_or_else(|| form(method, answer))? = Some(reply(response));
    }
    sorted.into_iter().map(|reply| reply.ok_or_else(|| form(method, answer))).collect()
}

fn reply(response: Response) -> Reply {
    match response.error {
        Some(error) => Reply::Error { code: error.code, message: error.message },
        None => Reply::Result(response.result),
    }
}

pub(crate) fn form(method: &str, answer: &[u8]) -> RpcError {
    let answer = String::from_utf8_lossy(&answer[..answer.len().min(200)]).into_owned();
    RpcError::Form { method: method.into(), answer }
}

/// Reads a `0x` quantity.
pub(crate) fn quantity(value: &Value) -> Option<U256> {
    U256::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok()
}

/// Reads a `0x` hash of 32 bytes.
pub(crate) fn hash(text: &str) -> Option<B256> {
    let mut bytes = [0u8; 32];
    hex::decode_to_slice(text.strip_prefix("0x")?, &mut bytes).ok()?;
    Some(B256::new(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_sorted_by_id() {
        let answer =
            br#"[{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"no"}},{"jsonrpc":"2.0","id":0,"result":"0x1"}]"#;
        let sorted = replies("m", answer, 2).unwrap();
        assert!(matches!(&sorted[0], Reply::Result(value) if value == "0x1"));
        assert!(matches!(&sorted[1], Reply::Error { code: -32000, .. }));
        let whole = br#"{"jsonrpc":"2.0","id":null,"error":{"code":-32005,"message":"too many"}}"#;
        assert!(matches!(replies("m", whole, 2), Err(RpcError::Refused { code: -32005, .. })));
        for bad in [&b"[]"[..], b"x", b"[{\"id\":7,\"result\":1}]", b"{\"id\":0,\"result\":1}"] {
            assert!(matches!(replies("m", bad, 2), Err(RpcError::Form { .. })));
        }
    }
}
