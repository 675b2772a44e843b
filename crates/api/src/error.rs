//! JSON-RPC errors with the codes and texts that Besu gives (`besu-compat` 7.2).

use std::borrow::Cow;

/// One JSON-RPC error object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({code})")]
pub struct RpcError {
    /// JSON-RPC error code.
    pub code: i32,
    /// Text for people; some clients match on it.
    pub message: Cow<'static, str>,
    /// Content of `data`, a string (for reverts: the returned bytes as hex).
    pub data: Option<String>,
}

impl RpcError {
    /// An error without data.
    pub const fn new(code: i32, message: &'static str) -> Self {
        Self { code, message: Cow::Borrowed(message), data: None }
    }

    /// An error with a text made for the occasion.
    pub fn said(code: i32, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), data: None }
    }

    /// -32700: the body is not JSON.
    pub const PARSE: Self = Self::new(-32700, "Parse error");
    /// -32600: JSON, but not a request; also an empty batch.
    pub const INVALID_REQUEST: Self = Self::new(-32600, "Invalid Request");
    /// -32601: no such method.
    pub const METHOD_NOT_FOUND: Self = Self::new(-32601, "Method not found");
    /// -32604: the method's group is not among the enabled ones.
    pub const METHOD_NOT_ENABLED: Self = Self::new(-32604, "Method not enabled");
    /// -32602 without further words.
    pub const INVALID_PARAMS: Self = Self::new(-32602, "Invalid params");
    /// -32603 without further words.
    pub const INTERNAL: Self = Self::new(-32603, "Internal error");
    /// -32602 for `eth_getBlockByNumber` and its relatives.
    pub const BLOCK_NUMBER: Self = Self::new(-32602, "Invalid block number params");
    /// -32602 for methods that take a block hash.
    pub const BLOCK_HASH: Self = Self::new(-32602, "Invalid block hash params");
    /// -32602 where a block parameter is missing.
    pub const BLOCK_PARAM: Self = Self::new(-32602, "Invalid block param (block not found)");
    /// -32602 for a bad or absent address.
    pub const ADDRESS: Self = Self::new(-32602, "Invalid address params");
    /// -32602 for a bad or absent transaction hash.
    pub const TRANSACTION_HASH: Self = Self::new(-32602, "Invalid transaction hash params");
    /// -32602 for a bad or absent index in a block.
    pub const INDEX: Self = Self::new(-32602, "Invalid transaction index params");
    /// -32602 for a bad filter object.
    pub const FILTER: Self = Self::new(-32602, "Invalid filter params");
    /// -32602 for a bad call object.
    pub const CALL: Self = Self::new(-32602, "Invalid call params");
    /// -32602 for bad tracer options.
    pub const TRACE_OPTIONS: Self = Self::new(-32602, "Invalid transaction trace params");
    /// -32000: no block at that number or with that hash.
    pub const BLOCK_NOT_FOUND: Self = Self::new(-32000, "Block not found");
    /// -32000: the state of that block is no longer kept.
    pub const STATE_UNAVAILABLE: Self = Self::new(-32000, "World state unavailable");
    /// -32000: filter unknown or expired.
    pub const FILTER_NOT_FOUND: Self = Self::new(-32000, "Filter not found");
    /// -32000: too many filters are installed.
    pub const TOO_MANY_FILTERS: Self =
        Self::new(-32000, "Too many filters are installed on this node; uninstall some or use eth_subscribe");
    /// -39001: `finalized` and `safe` where nobody sets them.
    pub const UNKNOWN_BLOCK: Self = Self::new(-39001, "Unknown block");
    /// -32005: more blocks asked for than `rpc-max-logs-range`.
    pub const RANGE: Self = Self::new(-32005, "Requested range exceeds maximum range limit");
    /// -32005: a batch longer than allowed.
    pub const BATCH: Self = Self::new(-32005, "Number of requests in batch exceeds limit");
    /// -32005: the answer would be larger than this node sends.
    pub const RESPONSE_SIZE: Self =
        Self::new(-32005, "Response exceeds the size limit of this node; ask for a smaller range or fewer details");
    /// -32603: the time bound of a request ran out.
    pub const TIMEOUT: Self = Self::new(-32603, "Timeout expired");
    /// -32005: the bound on concurrent heavy requests is reached.
    pub const BUSY: Self = Self::new(-32005, "Too many heavy requests at once; try again later");
    /// -32603: the node did not take or answer an internal request.
    pub const NODE_BUSY: Self = Self::new(-32603, "The node is stopping or too busy to answer; try again later");

    /// An internal failure whose cause is for the log, not for the client.
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        tracing::warn!(%cause, "a JSON-RPC request failed inside the node");
        Self::INTERNAL
    }
}
