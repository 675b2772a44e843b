//! Values of the Helm chart `besu-node` (quorum-kubernetes): what its templates make of them.

use super::shell::words;
use ipe_node::config::besu::GivenOption;
use serde_json::Value;

/// How deep values may be nested.
const DEPTH: usize = 16;

/// Path below `node.besu`, Besu's option, the switch that has to be on, the chart's own value.
const VALUES: [(&str, &str, &str, &str); 36] = [
    ("dataPath", "data-path", "", "/data/besu"),
    ("genesisFilePath", "genesis-file", "", "/etc/genesis/genesis.json"),
    ("logging", "logging", "", "INFO"),
    ("privateKeyPath", "node-private-key-file", "", "/keys/nodekey"),
    ("p2p.enabled", "p2p-enabled", "p2p.enabled", "true"),
    ("p2p.discovery", "discovery-enabled", "p2p.enabled", "true"),
    ("p2p.staticNodes", "static-nodes-file", "p2p.enabled", "/config/static/static-nodes.json"),
    ("p2p.host", "p2p-host", "p2p.enabled", "0.0.0.0"),
    ("p2p.port", "p2p-port", "p2p.enabled", "30303"),
    ("p2p.maxPeers", "max-peers", "p2p.enabled", "25"),
    ("http.allowlist", "host-allowlist", "rpc.enabled", "[\"*\"]"),
    ("rpc.enabled", "rpc-http-enabled", "rpc.enabled", "true"),
    ("rpc.host", "rpc-http-host", "rpc.enabled", "0.0.0.0"),
    ("rpc.port", "rpc-http-port", "rpc.enabled", "8545"),
    (
        "rpc.api",
        "rpc-http-api",
        "rpc.enabled",
        "[\"DEBUG\",\"ETH\",\"ADMIN\",\"WEB3\",\"IBFT\",\"NET\",\"TRACE\",\"EEA\",\"PRIV\",\"QBFT\",\"PERM\",\"TXPOOL\"]",
    ),
    ("rpc.corsOrigins", "rpc-http-cors-origins", "rpc.enabled", "[\"all\"]"),
    ("rpc.authenticationEnabled", "rpc-http-authentication-enabled", "rpc.enabled", "false"),
    ("rpc.maxActiveConnections", "rpc-http-max-active-connections", "rpc.enabled", "80"),
    ("graphql.enabled", "graphql-http-enabled", "graphql.enabled", "false"),
    ("graphql.host", "graphql-http-host", "graphql.enabled", "0.0.0.0"),
    ("graphql.port", "graphql-http-port", "graphql.enabled", "8547"),
    ("ws.enabled", "rpc-ws-enabled", "ws.enabled", "true"),
    ("ws.host", "rpc-ws-host", "ws.enabled", "0.0.0.0"),
    ("ws.port", "rpc-ws-port", "ws.enabled", "8546"),
    (
        "ws.api",
        "rpc-ws-api",
        "ws.enabled",
        "[\"DEBUG\",\"ETH\",\"ADMIN\",\"WEB3\",\"IBFT\",\"NET\",\"TRACE\",\"EEA\",\"PRIV\",\"QBFT\",\"PERM\",\"TXPOOL\"]",
    ),
    ("ws.authenticationEnabled", "rpc-ws-authentication-enabled", "ws.enabled", "false"),
    ("permissions.nodes.enabled", "permissions-nodes-config-file-enabled", "permissions.enabled", "false"),
    ("permissions.filePath", "permissions-nodes-config-file", "permissions.enabled", ""),
    ("permissions.accounts.enabled", "permissions-accounts-config-file-enabled", "permissions.enabled", "false"),
    ("permissions.filePath", "permissions-accounts-config-file", "permissions.enabled", ""),
    ("permissions.nodesContract.enabled", "permissions-nodes-contract-enabled", "permissions.enabled", "false"),
    ("permissions.accountsContract.enabled", "permissions-accounts-contract-enabled", "permissions.enabled", "false"),
    ("metrics.enabled", "metrics-enabled", "metrics.enabled", "true"),
    ("metrics.host", "metrics-host", "metrics.enabled", "0.0.0.0"),
    ("metrics.port", "metrics-port", "metrics.enabled", "9545"),
    ("metricsPush.enabled", "metrics-push-enabled", "metricsPush.enabled", "false"),
];

/// What a file of values says of Besu.
pub struct Chart {
    pub given: Vec<GivenOption>,
    /// Tag of the image.
    pub tag: Option<String>,
    pub remarks: Vec<String>,
}

/// Whether the values are those of this chart.
pub fn is_values(values: &Value) -> bool {
    values.pointer("/node/besu").is_some_and(Value::is_object)
}

/// # Errors
/// A value of another kind than the chart takes.
pub fn read(values: &Value) -> Result<Chart, String> {
    let Some(besu) = values.pointer("/node/besu") else { return Err("node.besu is missing".to_owned()) };
    let find = |path: &str| besu.pointer(&format!("/{}", path.replace('.', "/"))).filter(|value| !value.is_null());
    let default = |path: &str| VALUES.iter().find(|(known, ..)| *known == path).map_or("", |(.., value)| value);
    let on = |switch: &str| match find(switch) {
        Some(value) => value.as_bool().unwrap_or(value.as_str() == Some("true")),
        None => default(switch) == "true",
    };
    let mut given = Vec::new();
    let mut absent = Vec::new();
    for (path, key, switch, own) in VALUES {
        let needed = switch.is_empty() || on(switch) || (key == "host-allowlist" && on("ws.enabled"));
        if !needed {
            continue;
        }
        let values = match find(path) {
            Some(value) => texts(value, DEPTH).ok_or_else(|| format!("node.besu.{path}: expected a value or a list of them"))?,
            None => {
                absent.push(key);
                listed(own)?
            }
        };
        if !values.is_empty() {
            given.push(GivenOption { key: key.to_owned(), values, spelled: format!("node.besu.{path}") });
        }
    }
    // What the chart's templates say by themselves.
    for (key, value) in [("revert-reason-enabled", "true"), ("min-gas-price", "0")] {
        given.push(GivenOption { key: key.to_owned(), values: vec![value.to_owned()], spelled: format!("the chart's {key}") });
    }
    let mut remarks = vec!["paths are those inside the container".to_owned()];
    if !absent.is_empty() {
        remarks.push(format!("as in the chart's own values, because the file does not say it: {}", absent.join(", ")));
    }
    if values.pointer("/quorumFlags/privacy").is_some_and(|value| value.as_bool() == Some(true)) {
        given.push(GivenOption {
            key: "privacy-enabled".to_owned(),
            values: vec!["true".to_owned()],
            spelled: "quorumFlags.privacy".to_owned(),
        });
    }
    if values.pointer("/quorumFlags/usesBootnodes").is_none_or(|value| value.as_bool() != Some(false)) {
        remarks.push("the chart adds the cluster's bootnodes from its ConfigMap besu-bootnodes: name them in bootnodes".to_owned());
    }
    let tag = values.pointer("/image/besu/tag").and_then(|tag| texts(tag, 1)).and_then(|tag| tag.first().cloned());
    Ok(Chart { given, tag, remarks })
}

fn texts(value: &Value, depth: usize) -> Option<Vec<String>> {
    match value {
        Value::String(text) => listed(text).ok(),
        Value::Number(number) => Some(vec![number.to_string()]),
        Value::Bool(flag) => Some(vec![flag.to_string()]),
        Value::Array(items) if depth > 0 => {
            let lists = items.iter().map(|item| texts(item, depth - 1)).collect::<Option<Vec<_>>>()?;
            Some(lists.concat())
        }
        _ => None,
    }
}

/// `["ETH","NET"]` as the chart's values have lists, or one text.
fn listed(text: &str) -> Result<Vec<String>, String> {
    match text.trim().strip_prefix('[').and_then(|inside| inside.strip_suffix(']')) {
        Some(inside) => Ok(words(&inside.replace(',', " "))?.into_iter().filter(|word| !word.is_empty()).collect()),
        None if text.is_empty() => Ok(Vec::new()),
        None => Ok(vec![text.to_owned()]),
    }
}
