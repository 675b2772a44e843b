//! Reading JSON objects by key in any letter case, with errors that name the key, what was there and what belongs there.

use super::GenesisError;
use super::json::{Json, Token};
use super::warnings::Warnings;
use alloy_primitives::{Address, B256, Bytes, U256};
use std::collections::BTreeMap;
use std::str::FromStr;

/// One JSON object of the genesis file. Taking a key removes it; what is left at the end was unknown. Of keys that differ
/// in letter case only, the last in the file counts, as in Besu.
pub(super) struct Section<'a> {
    path: String,
    fields: BTreeMap<String, (String, Json<'a>)>,
}

impl<'a> Section<'a> {
    /// `path` is how errors name the object ("" = the file itself).
    pub(super) fn new(path: &str, value: Json<'a>) -> Result<Section<'a>, GenesisError> {
        let members = members(path, value)?;
        let fields = members.into_iter().map(|(key, value)| (key.to_lowercase(), (key, value))).collect();
        Ok(Section { path: path.to_owned(), fields })
    }

    /// Full path of a key of this object.
    pub(super) fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// The value of a key other than null, which stays there.
    pub(super) fn peek(&self, key: &str) -> Option<Json<'a>> {
        self.fields.get(&key.to_lowercase()).map(|(_, value)| *value).filter(|value| !value.is_null())
    }

    /// Whether the key is there with a value other than null.
    pub(super) fn has(&self, key: &str) -> bool {
        self.peek(key).is_some()
    }

    /// Takes a value with its path as spelled in the file; JSON null counts as absent.
    pub(super) fn take(&mut self, key: &str) -> Option<(String, Json<'a>)> {
        let (spelled, value) = self.fields.remove(&key.to_lowercase())?;
        (!value.is_null()).then(|| (self.path_of(&spelled), value))
    }

    /// Forgets keys that are known and change nothing here.
    pub(super) fn ignore(&mut self, keys: &[&str]) {
        for key in keys {
            self.fields.remove(&key.to_lowercase());
        }
    }

    /// Forgets keys that are known and change nothing here, and says so of those that are there.
    pub(super) fn ignore_aloud(&mut self, keys: &[&str], why: &str, warnings: &mut Warnings) {
        for key in keys {
            if let Some((path, _)) = self.take(key) {
                warnings.push(format!("{path} has no effect here: {why}"));
            }
        }
    }

    /// Takes and converts, `None` when absent.
    pub(super) fn get<T>(
        &mut self,
        key: &str,
        expected: &str,
        convert: impl FnOnce(Json<'a>) -> Option<T>,
    ) -> Result<Option<T>, GenesisError> {
        match self.take(key) {
            None => Ok(None),
            Some((path, value)) => convert(value).map(Some).ok_or_else(|| bad(&path, value, expected)),
        }
    }

    /// Takes and converts; an absent key is an error.
    pub(super) fn need<T>(
        &mut self,
        key: &str,
        expected: &str,
        convert: impl FnOnce(Json<'a>) -> Option<T>,
    ) -> Result<T, GenesisError> {
        self.get(key, expected, convert)?
            .ok_or_else(|| GenesisError::Missing { key: self.path_of(key), expected: expected.to_owned() })
    }

    /// A nested object.
    pub(super) fn section(&mut self, key: &str) -> Result<Option<Section<'a>>, GenesisError> {
        match self.take(key) {
            None => Ok(None),
            Some((path, value)) => Section::new(&path, value).map(Some),
        }
    }

    /// A nested array of objects; each is named `key[index]`.
    pub(super) fn sections(&mut self, key: &str) -> Result<Vec<Section<'a>>, GenesisError> {
        match self.take(key) {
            None => Ok(Vec::new()),
            Some((path, value)) => sections(&path, value),
        }
    }

    /// Adds a warning for every key that nobody took.
    pub(super) fn finish(self, warnings: &mut Warnings) {
        for (spelled, _) in self.fields.values() {
            warnings.push(format!("unknown key {} is ignored", self.path_of(spelled)));
        }
    }
}

/// The elements of an array of objects; each is named `path[index]`.
pub(super) fn sections<'a>(path: &str, value: Json<'a>) -> Result<Vec<Section<'a>>, GenesisError> {
    let items = value.items().ok_or_else(|| bad(path, value, "an array of objects"))?;
    items.into_iter().enumerate().map(|(index, item)| Section::new(&format!("{path}[{index}]"), item)).collect()
}

/// The members of a map whose keys are data (`alloc`, `storage`), in the file's order.
pub(super) fn members<'a>(path: &str, value: Json<'a>) -> Result<Vec<(String, Json<'a>)>, GenesisError> {
    let key = if path.is_empty() { "the whole file" } else { path };
    value.members().ok_or_else(|| bad(key, value, "a JSON object"))
}

/// The error for a value that cannot be used.
pub(super) fn bad(key: &str, got: Json<'_>, expected: &str) -> GenesisError {
    GenesisError::Bad { key: key.to_owned(), got: shorten(got.text()), expected: expected.to_owned() }
}

/// At most 80 characters of what was found, so that one bad value cannot flood a log.
pub(super) fn shorten(text: &str) -> String {
    const SHOWN: usize = 80;
    if text.chars().nth(SHOWN).is_none() {
        return text.to_owned();
    }
    text.chars().take(SHOWN).chain("...".chars()).collect()
}

/// The digits of a number or a string, as Besu's readers take both.
fn spelled(value: Json<'_>) -> Option<String> {
    match value.token() {
        Token::Number(text) => Some(text.to_owned()),
        Token::Text(text) => Some(text.trim().to_owned()),
        Token::Null | Token::Bool(_) | Token::Nested => None,
    }
}

fn without_0x(text: &str) -> Option<&str> {
    text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"))
}

/// Decimal, or hex after 0x; a JSON number or a string.
pub(super) fn quantity(value: Json<'_>) -> Option<U256> {
    let text = spelled(value)?;
    match without_0x(&text) {
        Some(digits) => hex_digits(digits),
        None if text.is_empty() => None,
        None => U256::from_str_radix(&text, 10).ok(),
    }
}

/// As [`quantity`], bounded to 64 bits.
pub(super) fn quantity64(value: Json<'_>) -> Option<u64> {
    quantity(value).and_then(|number| u64::try_from(number).ok())
}

/// As [`quantity64`], but digits after a leading 0 are octal: Java's `Long.decode`, with which Besu reads gas limit,
/// timestamp and base fee. Up to 2^63-1.
pub(super) fn decoded(value: Json<'_>) -> Option<u64> {
    let text = spelled(value)?;
    let number = match (without_0x(&text).or_else(|| text.strip_prefix('#')), text.strip_prefix('0')) {
        (Some(digits), _) => u64::from_str_radix(digits, 16),
        (None, Some(digits)) if !digits.is_empty() => u64::from_str_radix(digits, 8),
        _ => text.parse(),
    };
    number.ok().filter(|number| i64::try_from(*number).is_ok())
}

/// Hex with or without 0x. Besu takes the digits of a JSON number for hex, too: `10` is 16.
pub(super) fn hex_quantity(value: Json<'_>) -> Option<U256> {
    let text = spelled(value)?;
    hex_digits(without_0x(&text).unwrap_or(&text))
}

/// As [`hex_quantity`], bounded to 64 bits.
pub(super) fn hex_quantity64(value: Json<'_>) -> Option<u64> {
    hex_quantity(value).and_then(|number| u64::try_from(number).ok())
}

fn hex_digits(digits: &str) -> Option<U256> {
    if digits.is_empty() {
        return Some(U256::ZERO);
    }
    U256::from_str_radix(digits, 16).ok()
}

/// Up to 32 bytes of hex, padded on the left.
pub(super) fn hash(value: Json<'_>) -> Option<B256> {
    hex_quantity(value).map(B256::from)
}

/// 20 bytes of hex with or without 0x, padded on the left when short.
pub(super) fn address(value: Json<'_>) -> Option<Address> {
    match value.token() {
        Token::Text(text) => address_text(&text),
        _ => None,
    }
}

/// As [`address`], from text.
pub(super) fn address_text(text: &str) -> Option<Address> {
    let text = text.trim();
    let digits = without_0x(text).unwrap_or(text);
    if digits.is_empty() || digits.len() > 40 {
        return None;
    }
    Address::from_str(&format!("{digits:0>40}")).ok()
}

/// An array of addresses.
pub(super) fn addresses(value: Json<'_>) -> Option<Vec<Address>> {
    value.items()?.into_iter().map(address).collect()
}

/// Any number of bytes as hex with or without 0x.
pub(super) fn bytes(value: Json<'_>) -> Option<Bytes> {
    let text = spelled(value)?;
    let digits = without_0x(&text).unwrap_or(&text);
    hex::decode(digits).ok().map(Bytes::from)
}

/// JSON true or false, or those words in quotes.
pub(super) fn boolean(value: Json<'_>) -> Option<bool> {
    match value.token() {
        Token::Bool(flag) => Some(flag),
        Token::Text(text) => text.trim().to_lowercase().parse().ok(),
        _ => None,
    }
}

/// A string.
pub(super) fn text(value: Json<'_>) -> Option<String> {
    match value.token() {
        Token::Text(text) => Some(text),
        _ => None,
    }
}
