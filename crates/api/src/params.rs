//! Positional parameters, read the way Besu reads them.
//!
//! Besu is lenient in some places (short addresses are padded, quantities may have leading zeros) and strict in others
//! (hashes); libraries and scripts rely on both.

use crate::error::RpcError;
use crate::object::elements;
use alloy_primitives::{Address, B256, Bytes, U256};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

/// Parameters of one call at most; no method has more than six.
const MOST: usize = 32;

/// The parameters of one call: slices of the request's body.
#[derive(Debug, Default)]
pub struct Params<'a> {
    items: Vec<&'a RawValue>,
}

impl<'a> Params<'a> {
    /// Splits the array; absent or `null` means none.
    ///
    /// # Errors
    /// -32602 for an object or anything else that is not an array (Besu knows positional parameters only), and for one of more
    /// than 32 elements.
    pub fn parse(raw: Option<&'a RawValue>) -> Result<Self, RpcError> {
        match raw.map(RawValue::get) {
            None | Some("null") => Ok(Self::default()),
            Some(text) => match elements(text, MOST) {
                Ok(Some(items)) => Ok(Self { items }),
                Ok(None) | Err(_) => Err(RpcError::INVALID_PARAMS),
            },
        }
    }

    /// How many there are, `null` ones among them.
    pub fn count(&self) -> usize {
        self.items.len()
    }

    /// The text of a parameter, `None` when absent or `null`.
    pub fn raw(&self, index: usize) -> Option<&'a str> {
        self.items.get(index).map(|r| r.get()).filter(|t| *t != "null")
    }

    /// A string parameter without its quotes; escapes are not expected in anything this API reads.
    pub fn text(&self, index: usize) -> Option<&'a str> {
        let raw = self.raw(index)?;
        raw.strip_prefix('"')?.strip_suffix('"')
    }

    /// A typed parameter; `Ok(None)` when absent or `null`.
    ///
    /// # Errors
    /// `error` when present but not readable.
    pub fn optional<T: DeserializeOwned>(&self, index: usize, error: &RpcError) -> Result<Option<T>, RpcError> {
        self.raw(index).map(|t| serde_json::from_str(t).map_err(|_| error.clone())).transpose()
    }

    /// A typed parameter that must be there.
    ///
    /// # Errors
    /// `error` when absent or not readable.
    pub fn required<T: DeserializeOwned>(&self, index: usize, error: &RpcError) -> Result<T, RpcError> {
        self.optional(index, error)?.ok_or_else(|| error.clone())
    }

    /// A boolean, `false` when absent; also the words as strings.
    ///
    /// # Errors
    /// `error` for anything else.
    pub fn flag(&self, index: usize, error: &RpcError) -> Result<bool, RpcError> {
        match self.raw(index) {
            None | Some("false" | "\"false\"") => Ok(false),
            Some("true" | "\"true\"") => Ok(true),
            Some(_) => Err(error.clone()),
        }
    }

    /// An address: hex of at most 20 bytes, padded on the left as Besu does.
    ///
    /// # Errors
    /// `error` when absent or not such hex.
    pub fn address(&self, index: usize, error: &RpcError) -> Result<Address, RpcError> {
        self.text(index).and_then(address).ok_or_else(|| error.clone())
    }

    /// A 32-byte hash, strict.
    ///
    /// # Errors
    /// `error` when absent or of another length.
    pub fn hash(&self, index: usize, error: &RpcError) -> Result<B256, RpcError> {
        self.text(index).and_then(hash).ok_or_else(|| error.clone())
    }

    /// A quantity up to 64 bits: hex or decimal, as string or number.
    ///
    /// # Errors
    /// `error` when absent or not a number.
    pub fn number(&self, index: usize, error: &RpcError) -> Result<u64, RpcError> {
        self.optional_number(index, error)?.ok_or_else(|| error.clone())
    }

    /// As [`Params::number`], `None` when absent.
    ///
    /// # Errors
    /// `error` when present but not a number.
    pub fn optional_number(&self, index: usize, error: &RpcError) -> Result<Option<u64>, RpcError> {
        match self.raw(index) {
            None => Ok(None),
            Some(raw) => number(raw.trim_matches('"')).map(Some).ok_or_else(|| error.clone()),
        }
    }

    /// A block number or tag.
    ///
    /// # Errors
    /// `error` when absent or neither.
    pub fn block(&self, index: usize, error: &RpcError) -> Result<BlockTag, RpcError> {
        self.raw(index).and_then(BlockTag::read).ok_or_else(|| error.clone())
    }

    /// A block number, tag, hash, or EIP-1898 object.
    ///
    /// # Errors
    /// `error` when present but none of these.
    pub fn block_or_hash(&self, index: usize, error: &RpcError) -> Result<Option<BlockRef>, RpcError> {
        self.raw(index).map(|raw| BlockRef::read(raw).ok_or_else(|| error.clone())).transpose()
    }
}

/// A block parameter without hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockTag {
    /// By number.
    Number(u64),
    /// The head.
    Latest,
    /// Genesis.
    Earliest,
    /// As `Latest`: this node keeps no pending block.
    Pending,
    /// As `Latest`: a block of QBFT is final as soon as it exists.
    Finalized,
    /// As `Latest`.
    Safe,
}

impl BlockTag {
    /// From JSON text: a string or a plain number.
    pub fn read(raw: &str) -> Option<Self> {
        Some(match raw.trim_matches('"') {
            "latest" => Self::Latest,
            "earliest" => Self::Earliest,
            "pending" => Self::Pending,
            "finalized" => Self::Finalized,
            "safe" => Self::Safe,
            other => Self::Number(number(other)?),
        })
    }
}

/// A block parameter of the state methods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockRef {
    /// Number or tag.
    Tag(BlockTag),
    /// Hash.
    Hash(B256),
}

impl BlockRef {
    /// From JSON text.
    pub fn read(raw: &str) -> Option<Self> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Object {
            block_number: Option<String>,
            block_hash: Option<B256>,
        }
        if raw.starts_with('{') {
            let object: Object = serde_json::from_str(raw).ok()?;
            return match (object.block_hash, object.block_number) {
                (Some(hash), None) => Some(Self::Hash(hash)),
                (None, Some(number)) => BlockTag::read(&number).map(Self::Tag),
                _ => None,
            };
        }
        let text = raw.trim_matches('"');
        match hash(text) {
            Some(hash) => Some(Self::Hash(hash)),
            None => BlockTag::read(raw).map(Self::Tag),
        }
    }
}

/// Hex with `0x` and any number of digits, an odd one meaning a leading zero.
pub fn bytes(text: &str) -> Option<Bytes> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"))?;
    if digits.len() % 2 == 0 {
        alloy_primitives::hex::decode(digits).ok().map(Bytes::from)
    } else {
        alloy_primitives::hex::decode(format!("0{digits}")).ok().map(Bytes::from)
    }
}

/// An address of at most 20 bytes, padded on the left.
pub fn address(text: &str) -> Option<Address> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    if digits.len() == 40 {
        return digits.parse().ok();
    }
    let bytes = bytes(&format!("0x{digits}"))?;
    (bytes.len() <= 20 && !bytes.is_empty()).then(|| Address::left_padding_from(&bytes))
}

/// Exactly 32 bytes of hex.
pub fn hash(text: &str) -> Option<B256> {
    (text.len() == 66 && text.starts_with("0x")).then(|| text.parse().ok())?
}

/// A 64-bit number: `0x` hex with or without leading zeros, or decimal.
pub fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits.trim_start_matches('0'), 16)
            .ok()
            .or_else(|| (!digits.is_empty() && digits.bytes().all(|b| b == b'0')).then_some(0)),
        None => (!text.starts_with('+')).then(|| text.parse().ok())?,
    }
}

/// A 256-bit word: hex of at most 32 bytes; `0x` alone is zero.
pub fn word(text: &str) -> Option<U256> {
    let digits = text.strip_prefix("0x")?;
    if digits.is_empty() {
        return Some(U256::ZERO);
    }
    (digits.len() <= 64).then(|| U256::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn besu_is_lenient_with_addresses_and_strict_with_hashes() {
        assert_eq!(address("0x12"), Some(Address::with_last_byte(0x12)));
        assert_eq!(address("0x"), None);
        assert_eq!(address("zz"), None);
        assert_eq!(hash("0x12"), None);
        assert_eq!(number("0x01"), Some(1));
        assert_eq!(number("0x0"), Some(0));
        assert_eq!(number("0x"), None);
        assert_eq!(number("12"), Some(12));
        assert_eq!(number("zz"), None);
        assert_eq!(number("-1"), None);
        assert_eq!(word("0x"), Some(U256::ZERO));
    }

    #[test]
    fn blocks_by_number_tag_hash_and_object() {
        assert_eq!(BlockRef::read("\"0x1f\""), Some(BlockRef::Tag(BlockTag::Number(31))));
        assert_eq!(BlockRef::read("\"latest\""), Some(BlockRef::Tag(BlockTag::Latest)));
        assert_eq!(BlockRef::read("{\"blockNumber\":\"0x2\"}"), Some(BlockRef::Tag(BlockTag::Number(2))));
        let hash = B256::repeat_byte(7);
        assert_eq!(BlockRef::read(&format!("\"{hash}\"")), Some(BlockRef::Hash(hash)));
        assert_eq!(BlockRef::read(&format!("{{\"blockHash\":\"{hash}\",\"requireCanonical\":true}}")), Some(BlockRef::Hash(hash)));
        assert_eq!(BlockRef::read("{}"), None);
        assert_eq!(BlockRef::read("[]"), None);
    }
}
