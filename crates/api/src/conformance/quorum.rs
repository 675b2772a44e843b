//! Why an answer differs from GoQuorum's: the forms that are its own, where Besu's are followed here.

use super::Difference;
use serde_json::Value;
use std::collections::BTreeSet;

/// Names of the fields in which two values differ, at any depth; `""` for values that differ as a whole, and a list's own
/// name where the lengths differ.
fn fields<'a>(recorded: &'a Value, ours: &'a Value, name: &'a str, out: &mut BTreeSet<&'a str>) {
    match (recorded, ours) {
        (Value::Object(a), Value::Object(b)) => {
            for (key, value) in a {
                match b.get(key) {
                    Some(other) => fields(value, other, key, out),
                    None => drop(out.insert(key)),
                }
            }
            out.extend(b.keys().filter(|key| !a.contains_key(*key)).map(String::as_str));
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).for_each(|(x, y)| fields(x, y, name, out));
        }
        _ if recorded != ours => drop(out.insert(name)),
        _ => {}
    }
}

/// Names of the fields in which the two answers differ.
pub fn differing(difference: &Difference) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    fields(&difference.recorded, &difference.ours, "", &mut names);
    names
}

/// Why an answer differs from GoQuorum's, for the differences that are its own form; `None` for any other.
pub fn reason(difference: &Difference) -> Option<&'static str> {
    let (recorded, ours) = (&difference.recorded, &difference.ours);
    let error = |value: &Value| value.get("error").is_some();
    let method = difference.method.as_str();
    if method.starts_with("istanbul_") {
        return Some("GoQuorum's own group; the `qbft_` methods answer the same questions");
    }
    if method == "rpc_modules" {
        return Some("each client lists its own groups");
    }
    if recorded["error"]["code"] == -32601 {
        return Some("GoQuorum does not have the method");
    }
    match (error(recorded), error(ours), method) {
        (true, true, _) => return Some("refused by both, with each client's own code and words"),
        (true, false, "eth_getBalance" | "eth_getBlockByNumber") => {
            return Some("GoQuorum refuses short addresses and leading zeros, which Besu takes");
        }
        (true, false, "debug_traceTransaction") => return Some("unknown transactions are null in Besu, an error in GoQuorum"),
        (true, false, "eth_createAccessList") if recorded["error"]["message"] == "method handler crashed" => {
            return Some("GoQuorum's handler crashes");
        }
        (false, true, "eth_getProof") => {
            return Some("of an account that is not there GoQuorum proves the absence; Besu answers with an error");
        }
        (false, true, "eth_sendRawTransaction") => {
            return Some("GoQuorum's pool takes nonces that lie far ahead; Besu's and this one refuse them");
        }
        _ => {}
    }
    if method == "eth_estimateGas" && recorded.is_string() && ours.is_string() {
        return Some("estimates come from a search: Besu's ends within 2 % above what is needed, GoQuorum's at the exact value");
    }
    let differing = differing(difference);
    let only = |own: &[&str]| !differing.is_empty() && differing.iter().all(|field| own.contains(field));
    if only(&["chainId", "yParity"]) {
        return Some("transactions carry `chainId` and, when typed, `yParity` in Besu");
    }
    if only(&["effectiveGasPrice", "isPrivacyMarkerTransaction"]) {
        return Some("receipts carry `effectiveGasPrice` in Besu and `isPrivacyMarkerTransaction` in GoQuorum");
    }
    if method == "eth_getProof" && only(&["key"]) {
        return Some("the key of a storage proof has whole bytes in Besu (`0x01`)");
    }
    // Gas, failure, program counters and depths are not among these.
    if method == "debug_traceBlockByNumber" && only(&["txHash", "op", "structLogs", "error", "reason", "gasCost", "returnValue"]) {
        return Some(
            "Besu's traces carry `txHash`, name the hash instruction `KECCAK256`, show the end of a transfer without code, and \
             tell a failure otherwise (`error`, `reason`, `returnValue`, price of the failing instruction)",
        );
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_field_with_another_value_has_no_reason() {
        let difference = |recorded: Value, ours: Value| Difference {
            method: "eth_getTransactionByHash".into(),
            params: Value::Null,
            recorded,
            ours,
        };
        assert!(reason(&difference(json!({"nonce": 1}), json!({"nonce": 1, "chainId": 2}))).is_some());
        assert_eq!(reason(&difference(json!({"nonce": 1}), json!({"nonce": 2, "chainId": 2}))), None);
        assert_eq!(reason(&difference(json!([1]), json!([1, 2]))), None);
        assert_eq!(reason(&difference(json!({"nonce": 1}), json!({"error": {"code": 1}}))), None);
    }
}
