//! Decoded calls in words: names of organisations, roles and types instead of numbers.

use super::network::Network;
use super::text::clean;
use alloy_dyn_abi::DynSolValue;
use alloy_primitives::{Address, B256, hex};
use ipe_rules::artifact::Contract;
use ipe_rules::catalogue::{self, Argument, Decoded};
use ipe_rules::words;
use serde_json::{Value, json};

/// A call of a proposal.
pub struct Call {
    pub target: Address,
    /// What the target is, when it is one of the network's contracts.
    pub role: Option<Contract>,
    pub data: Vec<u8>,
    pub decoded: Result<Decoded, catalogue::Unnamed>,
}

impl Call {
    pub fn of(network: &Network, target: Address, data: &[u8]) -> Call {
        let role = network.role_of(target);
        Call { target, role, data: data.to_vec(), decoded: catalogue::call(role, data) }
    }

    /// One line.
    pub fn line(&self, network: &Network) -> String {
        let whose = match self.role {
            Some(role) => role.name().to_owned(),
            None => format!("{} (none of the network's contracts)", self.target),
        };
        match &self.decoded {
            Ok(decoded) => {
                let arguments: Vec<String> = decoded
                    .arguments
                    .iter()
                    .map(|argument| format!("{}: {}", argument.name, worded(network, decoded, argument)))
                    .collect();
                let surplus = match decoded.surplus {
                    0 => String::new(),
                    bytes => format!("  WARNING: {bytes} bytes follow the arguments, no tool writes such a call"),
                };
                format!("{whose}.{}({}){surplus}", decoded.name, arguments.join(", "))
            }
            Err(unnamed) => {
                let shown = hex::encode_prefixed(&self.data[..self.data.len().min(68)]);
                format!("{whose}: {shown}{} WARNING: not decoded: {unnamed}", if self.data.len() > 68 { "..." } else { "" })
            }
        }
    }

    /// `{target, contract, function, arguments: [{name, type, value, words}], data, surplus, undecoded}`.
    pub fn json(&self, network: &Network) -> Value {
        let decoded = self.decoded.as_ref().ok();
        json!({
            "target": self.target,
            "contract": self.role.map(Contract::name),
            "function": decoded.map(|decoded| &decoded.name),
            "arguments": decoded.map(|decoded| decoded.arguments.iter().map(|argument| json!({
                "name": argument.name,
                "type": argument.kind,
                "value": value(&argument.value),
                "words": worded(network, decoded, argument),
            })).collect::<Vec<_>>()),
            "surplusBytes": decoded.map(|decoded| decoded.surplus),
            "undecoded": self.decoded.as_ref().err().map(ToString::to_string),
            "data": hex::encode_prefixed(&self.data),
        })
    }
}

/// An argument in the network's words.
fn worded(network: &Network, decoded: &Decoded, argument: &Argument) -> String {
    match (argument.name.as_str(), &argument.value) {
        ("orgId" | "actorOrgId", DynSolValue::Uint(id, _)) => network.org_label(super::link::small(*id)),
        ("roleId" | "role", DynSolValue::FixedBytes(id, 32)) => words::role(*id),
        ("orgType", DynSolValue::Uint(number, _)) => words::word(&words::ORG_TYPES, narrow(number)),
        ("nodeType", DynSolValue::Uint(number, _)) if decoded.contract == Contract::Gen01Nodes => {
            words::word(&words::GEN01_NODE_TYPES, narrow(number))
        }
        ("nodeType", DynSolValue::Uint(number, _)) => words::word(&words::NODE_TYPES, narrow(number)),
        ("kind", DynSolValue::Uint(number, _)) => words::word(&words::KINDS, narrow(number)),
        ("newTopology", DynSolValue::Uint(number, _)) => words::word(&words::TOPOLOGIES, narrow(number)),
        ("name", DynSolValue::FixedBytes(word, 32)) => registry_name(*word),
        (_, DynSolValue::Address(address)) => network.label(*address),
        (_, other) => plain(other),
    }
}

fn narrow(number: &alloy_primitives::U256) -> u8 {
    u8::try_from(*number).unwrap_or(u8::MAX)
}

/// A name in an ingress's registry: text padded with zeros, or its digits.
pub fn registry_name(word: B256) -> String {
    let text = word.as_slice().split(|byte| *byte == 0).next().unwrap_or_default();
    match std::str::from_utf8(text) {
        Ok(name) if !name.is_empty() && word[text.len()..].iter().all(|byte| *byte == 0) => clean(&format!("\"{name}\"")),
        _ => word.to_string(),
    }
}

/// A value without a network: numbers in decimal, bytes in hexadecimal, texts in quotes. Long ones are cut.
pub fn plain(value: &DynSolValue) -> String {
    match value {
        DynSolValue::Bool(flag) => flag.to_string(),
        DynSolValue::Uint(number, _) => number.to_string(),
        DynSolValue::Int(number, _) => number.to_string(),
        DynSolValue::FixedBytes(word, size) => hex::encode_prefixed(&word[..(*size).min(32)]),
        DynSolValue::Address(address) => address.to_string(),
        DynSolValue::Bytes(bytes) => clean(&hex::encode_prefixed(bytes)),
        DynSolValue::String(text) => clean(&format!("{text:?}")),
        DynSolValue::Array(values) | DynSolValue::FixedArray(values) => list(values, "[", "]"),
        DynSolValue::Tuple(values) => list(values, "(", ")"),
        DynSolValue::Function(function) => function.to_string(),
    }
}

fn list(values: &[DynSolValue], open: &str, close: &str) -> String {
    let mut shown: Vec<String> = values.iter().take(16).map(plain).collect();
    if values.len() > 16 {
        shown.push(format!("... {} in all", values.len()));
    }
    format!("{open}{}{close}", shown.join(", "))
}

/// A value as JSON: numbers as decimal text, bytes and addresses as 0x text.
pub fn value(value: &DynSolValue) -> Value {
    match value {
        DynSolValue::Bool(flag) => json!(flag),
        DynSolValue::Uint(number, _) => json!(number.to_string()),
        DynSolValue::Int(number, _) => json!(number.to_string()),
        DynSolValue::FixedBytes(word, size) => json!(hex::encode_prefixed(&word[..(*size).min(32)])),
        DynSolValue::Address(address) => json!(address),
        DynSolValue::Bytes(bytes) => json!(hex::encode_prefixed(bytes)),
        DynSolValue::String(text) => json!(text),
        DynSolValue::Array(values) | DynSolValue::FixedArray(values) | DynSolValue::Tuple(values) => {
            Value::Array(values.iter().map(self::value).collect())
        }
        DynSolValue::Function(function) => json!(function.to_string()),
    }
}
