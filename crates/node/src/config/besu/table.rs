//! The table of Besu's options (spec/besu-compat.md 9).

use super::{BesuOption, Fate};

const fn same(key: &'static str) -> BesuOption {
    BesuOption { key, fate: Fate::Same }
}

const fn renamed(key: &'static str, ours: &'static str) -> BesuOption {
    BesuOption { key, fate: Fate::Renamed(ours) }
}

const fn converted(key: &'static str, ours: &'static str, how: &'static str, convert: super::Convert) -> BesuOption {
    BesuOption { key, fate: Fate::Converted(ours, how, convert) }
}

const fn ignored(key: &'static str, why: &'static str) -> BesuOption {
    BesuOption { key, fate: Fate::Ignored(why) }
}

const fn only(key: &'static str, values: &'static [&'static str], why: &'static str) -> BesuOption {
    BesuOption { key, fate: Fate::Only(values, why) }
}

const fn special(key: &'static str, how: &'static str) -> BesuOption {
    BesuOption { key, fate: Fate::Special(how) }
}

/// Other spellings that Besu accepts.
pub(super) const ALIASES: &[(&str, &str)] = &[
    ("rpc-http-apis", "rpc-http-api"),
    ("rpc-ws-apis", "rpc-ws-api"),
    ("host-whitelist", "host-allowlist"),
    ("rpc-http-tls-protocol", "rpc-http-tls-protocols"),
    ("rpc-http-tls-cipher-suite", "rpc-http-tls-cipher-suites"),
    ("rpc-http-api-method-no-auth", "rpc-http-api-methods-no-auth"),
    ("rpc-ws-api-method-no-auth", "rpc-ws-api-methods-no-auth"),
    ("banned-node-id", "banned-node-ids"),
    ("required-block", "required-blocks"),
    ("metrics-categories", "metrics-category"),
    ("p2p-peer-upper-bound", "max-peers"),
    ("tx-pool-future-max-by-account", "tx-pool-max-future-by-sender"),
    ("rpc-http-authentication-public-key-file", "rpc-http-authentication-jwt-public-key-file"),
    ("rpc-ws-authentication-public-key-file", "rpc-ws-authentication-jwt-public-key-file"),
];

const API: &str = "the same; groups whose methods are not served here (EEA, PRIV, CLIQUE) are left out with a note";
const BLOBS: &str = "a QBFT network carries no blobs";
const IPV6: &str = "p2p-host takes IPv6 addresses beside others, p2p-interface = \"::\" listens for both";
const BOUNDED: &str = "each connection's subscriptions and filters have bounds of their own (docs/costs.md)";
const GAS_PRICE: &str = "prices are suggested as they are found";

const OFF: &[&str] = &["false"];
const NONE: &[&str] = &["", "none"];
const SYNC: &str = "every node imports and checks every block";
const STORE: &str = "the database is another one";
const STORE_TYPE: &str =
    "the settings that name files say it: a PKCS#12 store, or PEM files; a JKS store has to be converted, which the start says";
const PRIVACY: &str = "private transactions are not implemented (removed from Besu too)";
const ENGINE: &str = "a QBFT node has no engine API";
const GRAPHQL: &str = "GraphQL is not served; JSON-RPC is";
const STRATUM: &str = "there is no proof of work";
const SLOTS: &str = "slots for peers are reserved by role, so the public cannot crowd out the network's own nodes";
const POOL: &str = "the pool has one order: price where fees count, then shares (docs/costs.md), then arrival; bounded by tx-pool-max-size and tx-pool-max-bytes";
const FORMAT: &str = "a matter of Besu's own output";
const PUSH: &str = "metrics are scraped, not pushed; point Prometheus at metrics-port";
const ETHSTATS: &str = "not reported to ethstats; ipe lab status, metrics and JSON-RPC tell the same";

/// Every option of Besu's node from 22.1 to 26.8; `releases.txt` says in which it is.
pub const BESU_OPTIONS: &[BesuOption] = &[
    special(
        "data-path",
        "`data-dir` becomes the folder `ipe` inside it, beside Besu's database; `key`, `static-nodes.json` and `permissions_config.toml` are read from it",
    ),
    special("config-file", "the file is read, as FILE; in a compose file it is looked up through the service's mounts"),
    renamed("genesis-file", "genesis"),
    only("override-genesis-config", &[""], "write the values into the genesis file, so that all nodes have one"),
    only("network", &[""], "public networks are not joined; name a genesis-file"),
    same("network-id"),
    renamed("node-private-key-file", "key-file"),
    only("security-module", &["localfile"], "the key is a local file"),
    renamed("identity", "name"),
    special(
        "profile",
        "`ENTERPRISE` and `PRIVATE` set `min-gas-price` 0 and `rpc-http-max-active-connections` 300; `NONE` nothing; others are refused",
    ),
    ignored("sync-mode", SYNC),
    ignored("sync-min-peers", SYNC),
    ignored("fast-sync-min-peers", SYNC),
    same("data-storage-format"),
    ignored("key-value-storage", STORE),
    same("bonsai-historical-block-limit"),
    ignored("bonsai-limit-trie-logs-enabled", STORE),
    ignored("bonsai-trie-logs-pruning-window-size", STORE),
    ignored("bonsai-parallel-tx-processing-enabled", STORE),
    ignored("receipt-compaction-enabled", STORE),
    ignored("version-compatibility-protection", STORE),
    ignored("history-expiry-prune", STORE),
    ignored("bonsai-maximum-back-layers-to-load", STORE),
    ignored("bonsai-parallel-state-root-computation-enabled", STORE),
    ignored("pruning-enabled", STORE),
    ignored("pruning-blocks-retained", STORE),
    ignored("pruning-block-confirmations", STORE),
    ignored("tx-sender-nonce-index-enabled", STORE),
    ignored("checkpoint", SYNC),
    ignored("snapsync-server-enabled", SYNC),
    ignored("snapsync-synchronizer-pre-checkpoint-headers-only-enabled", SYNC),
    ignored("snapsync-synchronizer-transaction-indexing-enabled", SYNC),
    ignored("era1-data-uri", SYNC),
    ignored("era1-import-prepipeline-enabled", SYNC),
    ignored("era1-import-prepipeline-concurrency", SYNC),
    ignored("cache-last-blocks", STORE),
    ignored("cache-last-block-headers", STORE),
    ignored("cache-last-block-headers-preload-enabled", STORE),
    ignored("cache-precompiles", STORE),
    ignored("genesis-state-hash-cache-enabled", STORE),
    ignored("auto-log-bloom-caching-enabled", "logs have an index"),
    only("required-blocks", &[""], "blocks are required by their seals only"),
    special("required-block", "as `required-blocks`"),
    ignored("kzg-trusted-setup", BLOBS),
    ignored("max-blobs-per-block", BLOBS),
    ignored("max-blobs-per-transaction", BLOBS),
    same("bootnodes"),
    same("static-nodes-file"),
    same("discovery-enabled"),
    only("discovery-mode", &["v4"], "only discv4 is spoken"),
    only("discovery-dns-url", &[""], "nodes are not looked up in DNS trees"),
    ignored("poa-discovery-retry-bootnodes", "boots are dialled for ever"),
    ignored("filter-on-enr-fork-id", "the fork id is compared in the Status message"),
    only("p2p-enabled", &["true"], "a node without peers is of no use; choose p2p-listen = false to accept none"),
    same("p2p-host"),
    same("p2p-interface"),
    same("p2p-port"),
    special("p2p-discovery-port", "the number of `p2p-port` has no effect; any other is refused: discovery uses that number"),
    ignored("p2p-host-ipv6", IPV6),
    ignored("p2p-interface-ipv6", IPV6),
    ignored("p2p-port-ipv6", IPV6),
    ignored("p2p-ipv6-outbound-enabled", IPV6),
    ignored("p2p-tx-feecap", "the fees of what peers send are not capped; rpc-tx-feecap is for JSON-RPC"),
    ignored("compatibility-eth64-forkid-enabled", "the fork id is always in the Status message"),
    special("p2p-peer-upper-bound", "as `max-peers`"),
    only(
        "nat-method",
        &["none", "auto", "docker", "kubernetes"],
        "no router is configured by the node; forward the port and name the address in p2p-host",
    ),
    same("max-peers"),
    ignored("remote-connections-limit-enabled", SLOTS),
    ignored("remote-connections-max-percentage", SLOTS),
    ignored("random-peer-priority-enabled", SLOTS),
    only("net-restrict", NONE, "peers are not judged by subnet; use permissions-nodes-config-file-enabled or a firewall"),
    only("banned-node-ids", NONE, "peers are not banned by list; use permissions-nodes-config-file-enabled"),
    ignored("Xdns-enabled", "names in enodes are always looked up"),
    ignored("Xdns-update-enabled", "names in enodes are looked up at each dial"),
    converted("Xbft-legacy-protocol-encoding", "dialect", "true is `legacy`, false `besu26`", |values| {
        Ok(vec![if boolean(values)? { "legacy" } else { "besu26" }.to_owned()])
    }),
    ignored("Xqbft-enable-early-round-change", "a round is always left when f+1 validators have left it"),
    same("permissions-nodes-config-file-enabled"),
    same("permissions-nodes-config-file"),
    same("permissions-accounts-config-file-enabled"),
    same("permissions-accounts-config-file"),
    same("permissions-nodes-contract-enabled"),
    same("permissions-nodes-contract-address"),
    same("permissions-nodes-contract-version"),
    same("permissions-accounts-contract-enabled"),
    same("permissions-accounts-contract-address"),
    same("rpc-http-enabled"),
    same("rpc-http-host"),
    same("rpc-http-port"),
    special("rpc-http-api", API),
    converted("rpc-http-cors-origins", "rpc-http-cors-origins", "`all` is `*`", all_is_star),
    same("rpc-http-max-active-connections"),
    same("rpc-http-max-batch-size"),
    same("rpc-http-max-request-content-length"),
    renamed("Xhttp-timeout-seconds", "rpc-timeout-seconds"),
    ignored("Xws-timeout-seconds", "rpc-timeout-seconds holds for WebSocket too"),
    same("rpc-http-api-methods-no-auth"),
    renamed("rpc-http-api-method-no-auth", "rpc-http-api-methods-no-auth"),
    same("rpc-http-authentication-enabled"),
    same("rpc-http-authentication-credentials-file"),
    same("rpc-http-authentication-jwt-public-key-file"),
    same("rpc-http-authentication-jwt-algorithm"),
    same("rpc-http-tls-enabled"),
    same("rpc-http-tls-keystore-file"),
    same("rpc-http-tls-keystore-password-file"),
    same("rpc-http-tls-client-auth-enabled"),
    same("rpc-http-tls-known-clients-file"),
    only(
        "rpc-http-tls-ca-clients-enabled",
        OFF,
        "it lets in whoever has a certificate of any authority that Java trusts; name your own in rpc-http-tls-truststore-file, beside known clients if there are any",
    ),
    same("rpc-http-tls-truststore-file"),
    same("rpc-http-tls-truststore-password-file"),
    same("rpc-http-tls-protocols"),
    same("rpc-http-tls-cipher-suites"),
    renamed("rpc-http-tls-protocol", "rpc-http-tls-protocols"),
    renamed("rpc-http-tls-cipher-suite", "rpc-http-tls-cipher-suites"),
    same("rpc-ws-enabled"),
    same("rpc-ws-host"),
    same("rpc-ws-port"),
    special("rpc-ws-api", API),
    same("rpc-ws-max-active-connections"),
    same("rpc-ws-max-frame-size"),
    same("rpc-ws-api-methods-no-auth"),
    renamed("rpc-ws-api-method-no-auth", "rpc-ws-api-methods-no-auth"),
    same("rpc-ws-authentication-enabled"),
    same("rpc-ws-authentication-credentials-file"),
    same("rpc-ws-authentication-jwt-public-key-file"),
    same("rpc-ws-authentication-jwt-algorithm"),
    same("rpc-ws-ssl-enabled"),
    same("rpc-ws-ssl-keystore-file"),
    same("rpc-ws-ssl-keystore-password"),
    same("rpc-ws-ssl-keystore-password-file"),
    ignored("rpc-ws-ssl-keystore-type", STORE_TYPE),
    same("rpc-ws-ssl-client-auth-enabled"),
    same("rpc-ws-ssl-truststore-file"),
    same("rpc-ws-ssl-truststore-password"),
    same("rpc-ws-ssl-truststore-password-file"),
    ignored("rpc-ws-ssl-truststore-type", STORE_TYPE),
    same("rpc-ws-ssl-key-file"),
    same("rpc-ws-ssl-cert-file"),
    same("rpc-ws-ssl-trustcert-file"),
    ignored("graphql-http-enabled", GRAPHQL),
    ignored("graphql-max-blocks-range", GRAPHQL),
    ignored("graphql-http-host", GRAPHQL),
    ignored("graphql-http-port", GRAPHQL),
    ignored("graphql-http-cors-origins", GRAPHQL),
    ignored("graphql-tls-enabled", GRAPHQL),
    ignored("graphql-tls-keystore-file", GRAPHQL),
    ignored("graphql-tls-keystore-password-file", GRAPHQL),
    ignored("graphql-mtls-enabled", GRAPHQL),
    ignored("graphql-tls-truststore-file", GRAPHQL),
    ignored("graphql-tls-truststore-password-file", GRAPHQL),
    converted("host-allowlist", "host-allowlist", "`all` is `*`", all_is_star),
    ignored("engine-rpc-enabled", ENGINE),
    ignored("engine-rpc-port", ENGINE),
    ignored("engine-rpc-http-port", ENGINE),
    ignored("engine-rpc-ws-port", ENGINE),
    ignored("engine-host-allowlist", ENGINE),
    ignored("engine-jwt-disabled", ENGINE),
    ignored("engine-jwt-enabled", ENGINE),
    ignored("engine-jwt-secret", ENGINE),
    same("rpc-gas-cap"),
    same("rpc-tx-feecap"),
    same("rpc-max-logs-range"),
    same("rpc-max-trace-filter-range"),
    ignored("rpc-max-trace-steps", "what a trace may cost is bounded by itself (docs/costs.md)"),
    ignored("rpc-max-active-filters", BOUNDED),
    ignored("rpc-filter-timeout-seconds", BOUNDED),
    ignored("rpc-ws-max-active-subscriptions", BOUNDED),
    special("rpc-http-authentication-public-key-file", "as `rpc-http-authentication-jwt-public-key-file`"),
    special("rpc-ws-authentication-public-key-file", "as `rpc-ws-authentication-jwt-public-key-file`"),
    ignored("api-gas-and-priority-fee-limiting-enabled", GAS_PRICE),
    ignored("api-gas-and-priority-fee-lower-bound-coefficient", GAS_PRICE),
    ignored("api-gas-and-priority-fee-upper-bound-coefficient", GAS_PRICE),
    same("revert-reason-enabled"),
    ignored("json-pretty-print-enabled", FORMAT),
    ignored("estimate-gas-tolerance-ratio", "estimates lie at most 2 % above what is needed, Besu's default"),
    ignored("api-gas-price-blocks", "gas prices are suggested from the last 100 blocks"),
    ignored("api-gas-price-percentile", "gas prices are suggested from the median"),
    ignored("api-gas-price-max", "gas prices are suggested up to 500 gwei"),
    same("metrics-enabled"),
    same("metrics-host"),
    same("metrics-port"),
    only("metrics-protocol", &["prometheus"], "only Prometheus is served; set metrics-enabled to false for none"),
    ignored("metrics-category", "every metric is served"),
    special("metrics-categories", "as `metrics-category`"),
    ignored("metrics-push-enabled", PUSH),
    ignored("metrics-push-host", PUSH),
    ignored("metrics-push-port", PUSH),
    ignored("metrics-push-interval", PUSH),
    ignored("metrics-push-prometheus-job", PUSH),
    ignored("ethstats", ETHSTATS),
    ignored("ethstats-contact", ETHSTATS),
    ignored("ethstats-report-interval", ETHSTATS),
    ignored("ethstats-cacert-file", ETHSTATS),
    same("min-gas-price"),
    only("min-priority-fee", &["0"], "transactions are not chosen by their tip"),
    same("target-gas-limit"),
    same("miner-extra-data"),
    ignored("miner-enabled", "a QBFT node proposes when the chain names it"),
    ignored("miner-coinbase", "the proposer's address is its key's; genesis may name a miningbeneficiary"),
    ignored("miner-stratum-enabled", STRATUM),
    ignored("miner-stratum-host", STRATUM),
    ignored("miner-stratum-port", STRATUM),
    ignored("min-block-occupancy-ratio", "blocks are filled as far as time and gas allow"),
    ignored("block-txs-selection-max-time", "it is about proof of stake; poa-block-txs-selection-max-time counts"),
    same("poa-block-txs-selection-max-time"),
    ignored("plugin-block-txs-selection-max-time", "there are no plugins"),
    ignored("tx-pool", POOL),
    same("tx-pool-max-size"),
    same("tx-pool-price-bump"),
    converted("tx-pool-retention-hours", "tx-pool-retention-seconds", "times 3600; 0 has no effect", |values| {
        let hours: u64 = one(values)?.replace('_', "").parse().map_err(|_| "hours, an integer from 1")?;
        Ok(vec![hours.saturating_mul(3_600).to_string()])
    }),
    same("tx-pool-max-future-by-sender"),
    same("tx-pool-enable-save-restore"),
    ignored("tx-pool-save-file", "the file is local-transactions.journal in data-dir"),
    ignored("tx-pool-limit-by-account-percentage", "tx-pool-max-per-sender and tx-pool-max-future-by-sender bound it"),
    special("tx-pool-future-max-by-account", "as `tx-pool-max-future-by-sender`"),
    ignored("tx-pool-hashes-max-size", POOL),
    ignored("tx-pool-enable-balance-check", POOL),
    ignored("tx-pool-layer-max-capacity", POOL),
    ignored("tx-pool-max-prioritized", POOL),
    ignored("tx-pool-max-prioritized-by-type", POOL),
    ignored("tx-pool-no-local-priority", POOL),
    ignored("tx-pool-disable-locals", POOL),
    ignored("tx-pool-priority-senders", POOL),
    ignored("tx-pool-min-score", POOL),
    ignored("tx-pool-min-gas-price", "min-gas-price is the only floor"),
    ignored("tx-pool-blob-price-bump", BLOBS),
    only("strict-tx-replay-protection-enabled", OFF, "transactions without a chain id are accepted"),
    converted("logging", "logging", "in lower case; `ALL` is `trace`", |values| {
        let level = one(values)?.to_lowercase();
        match level.as_str() {
            "off" | "error" | "warn" | "info" | "debug" | "trace" => Ok(vec![level]),
            "all" => Ok(vec!["trace".to_owned()]),
            "fatal" => Ok(vec!["error".to_owned()]),
            _ => Err("OFF, ERROR, WARN, INFO, DEBUG, TRACE or ALL".to_owned()),
        }
    }),
    converted("logging-format", "logging-format", "`PLAIN` is `plain`, every other form `json`", |values| {
        Ok(vec![if one(values)?.eq_ignore_ascii_case("plain") { "plain" } else { "json" }.to_owned()])
    }),
    ignored("color-enabled", FORMAT),
    ignored("pid-path", "the process id is in data-dir/endpoints.json"),
    ignored("reorg-logging-threshold", "there are no reorganisations"),
    only("plugins", NONE, "there are no plugins"),
    ignored("plugin-continue-on-error", "there are no plugins"),
    ignored("plugins-verification-mode", "there are no plugins"),
    only("privacy-enabled", OFF, PRIVACY),
    ignored("privacy-url", PRIVACY),
    ignored("privacy-public-key-file", PRIVACY),
    ignored("privacy-multi-tenancy-enabled", PRIVACY),
    ignored("privacy-marker-transaction-signing-key-file", PRIVACY),
    ignored("privacy-enable-database-migration", PRIVACY),
    ignored("privacy-flexible-groups-enabled", PRIVACY),
    ignored("privacy-onchain-groups-enabled", PRIVACY),
    ignored("privacy-nonce-always-increments", PRIVACY),
    ignored("privacy-tls-enabled", PRIVACY),
    ignored("privacy-tls-keystore-file", PRIVACY),
    ignored("privacy-tls-keystore-password-file", PRIVACY),
    ignored("privacy-tls-known-enclave-file", PRIVACY),
    special("rpc-http-apis", "as `rpc-http-api`"),
    special("rpc-ws-apis", "as `rpc-ws-api`"),
    special("host-whitelist", "as `host-allowlist`"),
    special("banned-node-id", "as `banned-node-ids`"),
];

fn one(values: &[String]) -> Result<&str, String> {
    match values {
        [value] => Ok(value),
        _ => Err("one value".to_owned()),
    }
}

fn boolean(values: &[String]) -> Result<bool, String> {
    one(values)?.to_lowercase().parse().map_err(|_| "true or false".to_owned())
}

fn all_is_star(values: &[String]) -> Result<Vec<String>, String> {
    Ok(values
        .iter()
        .filter(|value| !value.eq_ignore_ascii_case("none"))
        .map(|value| if value.eq_ignore_ascii_case("all") { "*".to_owned() } else { value.clone() })
        .collect())
}
