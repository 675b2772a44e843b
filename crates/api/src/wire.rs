//! JSON-RPC 2.0 framing: one call or a batch in, bytes out, without building a tree of values.

use crate::error::RpcError;
use crate::object::{Object, elements};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Longest batch answered (Besu's `rpc-http-max-batch-size`): enough for every library's default, small enough that one
/// request cannot occupy the node.
pub const MAX_BATCH: usize = 1024;

/// One call, borrowed from the request's body.
#[derive(Debug, Deserialize)]
pub struct Call<'a> {
    /// Echoed as it came, also `null`; absent for notifications, which Besu neither carries out nor answers.
    #[serde(borrow, default, deserialize_with = "present")]
    pub id: Option<&'a RawValue>,
    /// Method name.
    #[serde(borrow)]
    pub method: Cow<'a, str>,
    /// Unparsed parameters.
    #[serde(borrow, default)]
    pub params: Option<&'a RawValue>,
}

/// What a body contained.
#[derive(Debug)]
pub enum Frame<'a> {
    /// One call.
    One(Call<'a>),
    /// A batch; what is not a call stays an error with the id that could be read.
    Batch(Vec<Result<Call<'a>, Option<&'a RawValue>>>),
}

fn present<'de: 'a, 'a, D: serde::Deserializer<'de>>(from: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&'a RawValue>::deserialize(from).map(Some)
}

#[derive(Deserialize)]
struct OnlyId<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
}

/// Splits a body into calls.
///
/// # Errors
/// The whole response body to send when nothing could be called: -32700 for text that is not JSON, -32600 for JSON that
/// is no request, an empty batch or one longer than [`MAX_BATCH`] (-32005), with the id if there is one.
pub fn split(body: &[u8], max_batch: usize) -> Result<Frame<'_>, Vec<u8>> {
    let text = std::str::from_utf8(body).map_err(|_| failure(None, &RpcError::PARSE))?;
    let first = text.bytes().find(|b| !b.is_ascii_whitespace());
    if first == Some(b'[') {
        let items = elements(text, max_batch).map_err(|_| failure(None, &RpcError::PARSE))?;
        let Some(items) = items else { return Err(failure(None, &RpcError::BATCH)) };
        if items.is_empty() {
            return Err(failure(None, &RpcError::INVALID_REQUEST));
        }
        return Ok(Frame::Batch(items.into_iter().map(|i| one(i.get())).collect()));
    }
    match serde_json::from_str::<Object<Call<'_>>>(text) {
        Ok(Object(call)) => Ok(Frame::One(call)),
        Err(e) if e.is_syntax() || e.is_eof() => Err(failure(None, &RpcError::PARSE)),
        Err(_) => Err(failure(id_of(text), &RpcError::INVALID_REQUEST)),
    }
}

fn one(text: &str) -> Result<Call<'_>, Option<&RawValue>> {
    serde_json::from_str(text).map(|Object(call)| call).map_err(|_| id_of(text))
}

fn id_of(text: &str) -> Option<&RawValue> {
    serde_json::from_str::<Object<OnlyId<'_>>>(text).ok().and_then(|Object(only)| only.id)
}

/// Writes one response object.
pub fn respond(out: &mut Vec<u8>, id: Option<&RawValue>, answer: &Result<Vec<u8>, RpcError>) {
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    out.extend_from_slice(id.map_or("null", RawValue::get).as_bytes());
    match answer {
        Ok(result) => {
            out.extend_from_slice(b",\"result\":");
            out.extend_from_slice(result);
        }
        Err(e) => {
            #[derive(Serialize)]
            struct Body<'a> {
                code: i32,
                message: &'a str,
                #[serde(skip_serializing_if = "Option::is_none")]
                data: Option<&'a str>,
            }
            out.extend_from_slice(b",\"error\":");
            let body = Body { code: e.code, message: &e.message, data: e.data.as_deref() };
            if serde_json::to_writer(&mut *out, &body).is_err() {
                out.extend_from_slice(b"{\"code\":-32603,\"message\":\"Internal error\"}");
            }
        }
    }
    out.push(b'}');
}

/// A whole body with one error.
pub fn failure(id: Option<&RawValue>, error: &RpcError) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    respond(&mut out, id, &Err(error.clone()));
    out
}

/// JSON text of any value, refused when longer than `limit` bytes.
///
/// # Errors
/// [`RpcError::RESPONSE_SIZE`] as soon as the limit is passed; nothing beyond it is ever held in memory.
pub fn json<T: Serialize + ?Sized>(value: &T, limit: usize) -> Result<Vec<u8>, RpcError> {
    struct Bounded {
        buf: Vec<u8>,
        limit: usize,
        full: bool,
    }
    impl std::io::Write for Bounded {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            if self.buf.len() + bytes.len() > self.limit {
                self.full = true;
                return Err(std::io::Error::other("response limit"));
            }
            self.buf.extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut out = Bounded { buf: Vec::with_capacity(256), limit, full: false };
    match serde_json::to_writer(&mut out, value) {
        Ok(()) => Ok(out.buf),
        Err(_) if out.full => Err(RpcError::RESPONSE_SIZE),
        Err(e) => Err(RpcError::internal(e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_that_are_no_request_say_why() {
        for (body, code) in [
            ("{", -32700),
            ("", -32700),
            ("nonsense", -32700),
            ("[1,", -32700),
            ("[]", -32600),
            ("{}", -32600),
            ("7", -32600),
            ("\"a\"", -32600),
            (r#"{"id":9,"method":5}"#, -32600),
        ] {
            let text = String::from_utf8(split(body.as_bytes(), 4).expect_err(body)).expect("utf8");
            assert!(text.contains(&code.to_string()), "{body}: {text}");
        }
        let text = String::from_utf8(split(br#"{"id":9,"method":5}"#, 4).expect_err("bad method")).expect("utf8");
        assert!(text.contains("\"id\":9"), "{text}");
        assert!(split(b"[1,2,3,4,5]", 4).is_err());
        // What has no `method` by name is no call, by position neither.
        let Ok(Frame::Batch(calls)) = split(br#"[[7,"eth_chainId"],["eth_chainId",7,[]],{"id":1,"method":"a","method":"b"}]"#, 4)
        else {
            unreachable!("a batch")
        };
        assert!(calls.iter().all(Result::is_err), "{calls:?}");
    }

    #[test]
    fn ids_come_back_as_they_were_sent() {
        for id in ["1", "\"a\\u0041\"", "null", "1.50", "-3"] {
            let body = format!("{{\"jsonrpc\":\"2.0\",\"method\":\"x\",\"id\":{id}}}");
            let Frame::One(call) = split(body.as_bytes(), 4).expect("one call") else { unreachable!("not a batch") };
            let mut out = Vec::new();
            respond(&mut out, call.id, &Ok(b"true".to_vec()));
            let id = if id == "null" { "null" } else { id };
            assert_eq!(String::from_utf8(out).expect("utf8"), format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":true}}"));
        }
    }

    #[test]
    fn answers_stop_at_the_limit() {
        assert_eq!(json(&vec!["0123456789"; 3], 1000).expect("small").len(), 40);
        assert_eq!(json(&vec!["0123456789"; 300], 1000), Err(RpcError::RESPONSE_SIZE));
    }
}
