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
    /// -40100: the client's token permits no such call, or it has none.
    pub const UNAUTHORIZED: Self = Self::new(-40100, "Unauthorized");
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
    /// -32000: too many filters are installed, in all or by this address.
    pub const TOO_MANY_FILTERS: Self =
        Self::new(-32000, "Too many filters are installed on this node; uninstall some or use eth_subscribe");
    /// -32602 where a method wants an exact number of parameters.
    pub const PARAM_COUNT: Self = Self::new(-32602, "Invalid number of params");
    /// -32005: more blocks asked for than `rpc-max-logs-range`.
    pub const RANGE: Self = Self::new(-32005, "Requested range exceeds maximum range limit");
    /// -32005: a batch longer than allowed.
    pub const BATCH: Self = Self::new(-32005, "Number of requests in batch exceeds limit");
    /// -32005: the answer would be larger than this node sends.
    pub const RESPONSE_SIZE: Self =
        Self::new(-32005, "Response exceeds the size limit of this node; ask for a smaller range or fewer details");
    /// -32005: the gas of one request is used up.
    pub const GAS: Self = Self::new(-32005, "The request has used the gas that one request may use; ask for less at once");
    /// -32005: the instructions of one request are used up.
    pub const STEPS: Self =
        Self::new(-32005, "The request has executed the instructions that one request may execute; ask for less at once");
    /// -32005: what is executed or traced takes more memory than one request may hold.
    pub const MEMORY: Self =
        Self::new(-32005, "The request takes more memory than one request may hold; ask for fewer details or for less at once");
    /// -32603: nobody waits for the answer, who therefore does not get this either.
    pub const GONE: Self = Self::new(-32603, "The connection was closed");
    /// -32603: the time bound of a request ran out.
    pub const TIMEOUT: Self = Self::new(-32603, "Timeout expired");
    /// -32005: the bound on concurrent heavy requests is reached.
    pub const BUSY: Self = Self::new(-32005, "Too many heavy requests at once; try again later");
    /// -32603: the node did not take or answer an internal request.
    pub const NODE_BUSY: Self = Self::new(-32603, "The node is stopping or too busy to answer; try again later");

    /// Whether the request as a whole is over, whatever else it asks.
    pub(crate) fn ends_request(&self) -> bool {
        [Self::TIMEOUT, Self::GONE, Self::GAS, Self::STEPS, Self::MEMORY, Self::BUSY].contains(self)
    }

    /// Besu's name of this kind of error, a metric label there: by the text, and where Besu has no such text by the code.
    pub fn kind(&self) -> &'static str {
        // What follows a bracket or a colon is about the case.
        let text = self.message.split([':', ';', '(']).next().unwrap_or_default().trim_end();
        if let Some((_, name)) = KINDS.iter().find(|(known, _)| *known == text) {
            return name;
        }
        match self.code {
            -32700 => "PARSE_ERROR",
            -32600 => "INVALID_REQUEST",
            -32601 => "METHOD_NOT_FOUND",
            -32602 => "INVALID_PARAMS",
            -32603 => "INTERNAL_ERROR",
            -32604 => "METHOD_NOT_ENABLED",
            -32005 => "LIMIT_EXCEEDED",
            -40100 => "UNAUTHORIZED",
            _ => "UNKNOWN",
        }
    }

    /// An internal failure whose cause is for the log, not for the client.
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        tracing::warn!(%cause, "a JSON-RPC request failed inside the node");
        Self::INTERNAL
    }
}

/// Texts, up to the first bracket, colon or semicolon, and Besu's names for them. Those of a code's usual case are left to
/// the code.
const KINDS: [(&str, &str); 57] = [
    ("Timeout expired", "TIMEOUT_ERROR"),
    ("Unknown block", "UNKNOWN_BLOCK"),
    ("Block not found", "BLOCK_NOT_FOUND"),
    ("World state unavailable", "WORLD_STATE_UNAVAILABLE"),
    ("Filter not found", "FILTER_NOT_FOUND"),
    ("Subscription not found", "SUBSCRIPTION_NOT_FOUND"),
    ("Transaction not found", "TRANSACTION_NOT_FOUND"),
    ("Account not found", "NO_ACCOUNT_FOUND"),
    ("Execution reverted", "REVERT_ERROR"),
    ("Transaction processing could not be completed due to an exception", "EXECUTION_HALTED"),
    ("Requested range exceeds maximum range limit", "EXCEEDS_RPC_MAX_BLOCK_RANGE"),
    ("Number of requests in batch exceeds limit", "EXCEEDS_RPC_MAX_BATCH_SIZE"),
    ("Known transaction", "ETH_SEND_TX_ALREADY_KNOWN"),
    ("Replacement transaction underpriced", "ETH_SEND_TX_REPLACEMENT_UNDERPRICED"),
    ("Wrong chainId", "WRONG_CHAIN_ID"),
    ("ChainId not supported", "REPLAY_PROTECTED_SIGNATURES_NOT_SUPPORTED"),
    ("Invalid transaction type", "INVALID_TRANSACTION_TYPE"),
    ("Transaction fee cap exceeded", "TX_FEECAP_EXCEEDED"),
    ("Max priority fee per gas exceeds max fee per gas", "MAX_PRIORITY_FEE_PER_GAS_EXCEEDS_MAX_FEE_PER_GAS"),
    ("Transaction nonce is too distant from current sender nonce", "NONCE_TOO_FAR_IN_FUTURE_FOR_SENDER"),
    ("Nonce too low", "NONCE_TOO_LOW"),
    ("Invalid signature", "INVALID_TRANSACTION_SIGNATURE"),
    ("Intrinsic gas exceeds gas limit", "INTRINSIC_GAS_EXCEEDS_LIMIT"),
    ("Upfront cost exceeds account balance", "TRANSACTION_UPFRONT_COST_EXCEEDS_BALANCE"),
    ("Transaction gas limit exceeds block gas limit", "EXCEEDS_BLOCK_GAS_LIMIT"),
    ("Sender account not authorized to send transactions", "TX_SENDER_NOT_AUTHORIZED"),
    ("Sender account is a contract and cannot send transactions", "TX_SENDER_NOT_AUTHORIZED"),
    ("Initial sync is still in progress", "CHAIN_HEAD_WORLD_STATE_NOT_AVAILABLE"),
    ("Gas price below configured minimum gas price", "GAS_PRICE_TOO_LOW"),
    ("Gas price below current base fee", "GAS_PRICE_BELOW_CURRENT_BASE_FEE"),
    ("Invalid account params", "INVALID_ACCOUNT_PARAMS"),
    ("Invalid address params", "INVALID_ADDRESS_PARAMS"),
    ("Invalid block param", "INVALID_BLOCK_PARAMS"),
    ("Invalid block params", "INVALID_BLOCK_PARAMS"),
    ("Invalid block count params", "INVALID_BLOCK_COUNT_PARAMS"),
    ("Invalid block hash params", "INVALID_BLOCK_HASH_PARAMS"),
    ("Invalid block number params", "INVALID_BLOCK_NUMBER_PARAMS"),
    ("Invalid call params", "INVALID_CALL_PARAMS"),
    ("Invalid enode params", "INVALID_ENODE_PARAMS"),
    ("Invalid extra data params", "INVALID_EXTRA_DATA_PARAMS"),
    ("Invalid filter params", "INVALID_FILTER_PARAMS"),
    ("Invalid log level params", "INVALID_LOG_LEVEL_PARAMS"),
    ("Invalid min gas price params", "INVALID_MIN_GAS_PRICE_PARAMS"),
    ("Invalid nonce params", "INVALID_NONCE_PARAMS"),
    ("Invalid pending transactions params", "INVALID_PENDING_TRANSACTIONS_PARAMS"),
    ("Invalid position params", "INVALID_POSITION_PARAMS"),
    ("Invalid return complete transaction params", "INVALID_RETURN_COMPLETE_TRANSACTION_PARAMS"),
    ("Invalid reward percentiles params", "INVALID_REWARD_PERCENTILES_PARAMS"),
    ("Invalid target gas limit params", "INVALID_TARGET_GAS_LIMIT_PARAMS"),
    ("Invalid trace numbers params", "INVALID_TRACE_NUMBERS_PARAMS"),
    ("Invalid trace type params", "INVALID_TRACE_TYPE_PARAMS"),
    ("Invalid transaction hash params", "INVALID_TRANSACTION_HASH_PARAMS"),
    ("Invalid transaction index params", "INVALID_TRANSACTION_INDEX_PARAMS"),
    ("Invalid transaction trace params", "INVALID_TRANSACTION_TRACE_PARAMS"),
    ("Invalid vote type params", "INVALID_VOTE_TYPE_PARAMS"),
    ("Cannot add local node as peer.", "CANT_CONNECT_TO_LOCAL_PEER"),
    ("Cannot add a non-permitted node as a peer", "NON_PERMITTED_NODE_CANNOT_BE_ADDED_AS_A_PEER"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_besus_names() {
        let of = |error: &RpcError| error.kind();
        assert_eq!(of(&RpcError::INVALID_PARAMS), "INVALID_PARAMS");
        assert_eq!(of(&RpcError::BLOCK_PARAM), "INVALID_BLOCK_PARAMS");
        assert_eq!(of(&RpcError::RANGE), "EXCEEDS_RPC_MAX_BLOCK_RANGE");
        assert_eq!(
            of(&RpcError::said(-32005, "Requested range exceeds maximum range limit: 5001 blocks")),
            "EXCEEDS_RPC_MAX_BLOCK_RANGE"
        );
        assert_eq!(of(&RpcError::said(3, "Execution reverted (ERC20: no)")), "REVERT_ERROR");
        assert_eq!(of(&RpcError::said(-32005, "Node is at capacity: 9 transactions wait")), "LIMIT_EXCEEDED");
        assert_eq!(of(&RpcError::TIMEOUT), "TIMEOUT_ERROR");
        assert_eq!(of(&RpcError::internal("the disk")), "INTERNAL_ERROR");
        assert_eq!(of(&RpcError::said(-1, "Words of a client, whatever they are")), "UNKNOWN", "a bounded set");
    }
}
