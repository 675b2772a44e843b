//! Reading JSON objects by key in any letter case, with errors that name the key, what was there and what belongs there.

use super::GenesisError;
use alloy_primitives::{Address, B256, Bytes, U256};
use serde_json::Value;
use std::collections::BTreeMap;
use std::str::FromStr;

/// One JSON object of the genesis file. Taking a key removes it; what is left at the end was unknown.
pub(super) struct Section {
    path: String,
    fields: BTreeMap<String, (String, Value)>,
}

impl Section {
    /// `path` is how errors name the object ("" = the file itself).
    pub(super) fn new(path: &str, value: Value) -> Result<Section, GenesisError> {
        let Value::Object(map) = value else {
            let key = if path.is_empty() { "the whole file" } else { path };
            return Err(bad(key, &value, "a JSON object"));
        };
        let fields = map.into_iter().map(|(key, value)| (key.to_lowercase(), (key, value))).collect();
        Ok(Section { path: path.to_owned(), fields })
    }

    /// Full path of a key of this object.
    pub(super) fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Whether the key is there with a value other than null.
    pub(super) fn has(&self, key: &str) -> bool {
        self.fields.get(&key.to_lowercase()).is_some_and(|(_, value)| !value.is_null())
    }

    /// Takes a value with its path as spelled in the file; JSON null counts as absent.
    pub(super) fn take(&mut self, key: &str) -> Option<(String, Value)> {
        let (spelled, value) = self.fields.remove(&key.to_lowercase())?;
        (!value.is_null()).then(|| (self.path_of(&spelled), value))
    }

    /// Forgets keys that are known and change nothing here.
    pub(super) fn ignore(&mut self, keys: &[&str]) {
        for key in keys {
            self.fields.remove(&key.to_lowercase());
        }
    }

    /// Takes and converts, `None` when absent.
    pub(super) fn get<T>(
        &mut self,
        key: &str,
        expected: &str,
        convert: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>, GenesisError> {
        match self.take(key) {
            None => Ok(None),
            Some((path, value)) => convert(&value).map(Some).ok_or_else(|| bad(&path, &value, expected)),
        }
    }

    /// Takes and converts; an absent key is an error.
    pub(super) fn need<T>(
        &mut self,
        key: &str,
        expected: &str,
        convert: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<T, GenesisError> {
        self.get(key, expected, convert)?
            .ok_or_else(|| GenesisError::Missing { key: self.path_of(key), expected: expected.to_owned() })
    }

    /// A nested object.
    pub(super) fn section(&mut self, key: &str) -> Result<Option<Section>, GenesisError> {
        match self.take(key) {
            None => Ok(None),
            Some((path, value)) => Section::new(&path, value).map(Some),
        }
    }

    /// A nested array of objects; each is named `key[index]`.
    pub(super) fn sections(&mut self, key: &str) -> Result<Vec<Section>, GenesisError> {
        match self.take(key) {
            None => Ok(Vec::new()),
            Some((path, Value::Array(items))) => items
                .into_iter()
                .enumerate()
                .map(|(index, item)| Section::new(&format!("{path}[{index}]"), item))
                .collect(),
            Some((path, value)) => Err(bad(&path, &value, "an array of objects")),
        }
    }

    /// Entries of a map whose keys are data (`alloc`, `storage`), in the file's order of keys.
    pub(super) fn into_entries(self) -> impl Iterator<Item = (String, String, Value)> {
        let path = self.path;
        self.fields.into_values().map(move |(key, value)| (format!("{path}.{key}"), key, value))
    }

    /// Adds a warning for every key that nobody took.
    pub(super) fn finish(self, warnings: &mut Vec<String>) {
        for (spelled, _) in self.fields.values() {
            warnings.push(format!("unknown key {} is ignored", self.path_of(spelled)));
        }
    }
}

/// The error for a value that cannot be used.
pub(super) fn bad(key: &str, got: &Value, expected: &str) -> GenesisError {
    GenesisError::Bad { key: key.to_owned(), got: shorten(&got.to_string()), expected: expected.to_owned() }
}

/// At most 80 characters of what was found, so that one bad value cannot flood a log.
fn shorten(text: &str) -> String {
    const SHOWN: usize = 80;
    if text.chars().count() <= SHOWN {
        return text.to_owned();
    }
    text.chars().take(SHOWN).chain("...".chars()).collect()
}

/// JSON number, decimal string or 0x string.
pub(super) fn quantity(value: &Value) -> Option<U256> {
    match value {
        Value::Number(number) => number.as_u64().map(U256::from),
        Value::String(text) => {
            let text = text.trim();
            match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
                Some(digits) => hex_digits(digits),
                None if text.is_empty() => None,
                None => U256::from_str_radix(text, 10).ok(),
            }
        }
        _ => None,
    }
}

/// As [`quantity`], bounded to 64 bits.
pub(super) fn quantity64(value: &Value) -> Option<u64> {
    quantity(value).and_then(|number| u64::try_from(number).ok())
}

/// String of hex digits with or without 0x; a JSON number is taken as it is.
pub(super) fn hex_quantity(value: &Value) -> Option<U256> {
    match value {
        Value::Number(number) => number.as_u64().map(U256::from),
        Value::String(text) => {
            let text = text.trim();
            hex_digits(text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text))
        }
        _ => None,
    }
}

/// As [`hex_quantity`], bounded to 64 bits.
pub(super) fn hex_quantity64(value: &Value) -> Option<u64> {
    hex_quantity(value).and_then(|number| u64::try_from(number).ok())
}

fn hex_digits(digits: &str) -> Option<U256> {
    if digits.is_empty() {
        return Some(U256::ZERO);
    }
    U256::from_str_radix(digits, 16).ok()
}

/// Up to 32 bytes of hex, padded on the left.
pub(super) fn hash(value: &Value) -> Option<B256> {
    hex_quantity(value).map(B256::from)
}

/// 20 bytes of hex with or without 0x, padded on the left when short.
pub(super) fn address(value: &Value) -> Option<Address> {
    address_text(value.as_str()?)
}

/// As [`address`], from text.
pub(super) fn address_text(text: &str) -> Option<Address> {
    let text = text.trim();
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    if digits.is_empty() || digits.len() > 40 {
        return None;
    }
    Address::from_str(&format!("{digits:0>40}")).ok()
}

/// An array of addresses.
pub(super) fn addresses(value: &Value) -> Option<Vec<Address>> {
    value.as_array()?.iter().map(address).collect()
}

/// Any number of bytes as hex with or without 0x.
pub(super) fn bytes(value: &Value) -> Option<Bytes> {
    let text = value.as_str()?.trim();
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    hex::decode(digits).ok().map(Bytes::from)
}

/// JSON true or false, or those words in quotes.
pub(super) fn boolean(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::String(text) => text.trim().to_lowercase().parse().ok(),
        _ => None,
    }
}

/// A string.
pub(super) fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}
