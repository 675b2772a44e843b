//! Every metric of a node: descriptions for the exporter, the page `docs/metrics.md`, and what of Besu's is not here.

use std::fmt::Write as _;

/// Prometheus' type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Goes up and down.
    Gauge,
    /// Only grows, from 0 at the node's start.
    Counter,
    /// Quantiles, sum and count.
    Summary,
    /// Buckets, sum and count.
    Histogram,
}

impl Kind {
    /// As in the exposition format.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
            Kind::Summary => "summary",
            Kind::Histogram => "histogram",
        }
    }
}

/// Since when a metric is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum There {
    /// With the first scrape.
    Always,
    /// Once it has happened.
    Happened,
    /// While a local list of accounts is in force.
    AccountList,
    /// While a local list of nodes is in force.
    NodeList,
    /// While account rules on chain are in force.
    AccountRules,
    /// While node rules on chain are in force.
    NodeRules,
    /// While rules on chain are in force.
    Rules,
}

/// One metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Name, the `_total` of counters included.
    pub name: &'static str,
    /// Type.
    pub kind: Kind,
    /// Names of its own labels, besides `quantile` and `le`.
    pub labels: &'static [&'static str],
    /// Meaning, one line.
    pub text: &'static str,
    /// Since when it is there.
    pub there: There,
}

const fn gauge(name: &'static str, labels: &'static [&'static str], text: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge, labels, text, there: There::Always }
}

const fn counter(name: &'static str, labels: &'static [&'static str], text: &'static str) -> Metric {
    Metric { name, kind: Kind::Counter, labels, text, there: There::Always }
}

const fn only(there: There, metric: Metric) -> Metric {
    Metric { there, ..metric }
}

const fn once(metric: Metric) -> Metric {
    only(There::Happened, metric)
}

/// Every metric, in the order of the page.
pub const METRICS: &[Metric] = &[
    gauge("ethereum_blockchain_height", &[], "number of the head"),
    gauge(
        "ethereum_best_known_block_number",
        &[],
        "highest block proven to exist, own or by seals and signed messages of validators; what peers claim does not count",
    ),
    gauge(
        "ethereum_blockchain_finalized_block",
        &[],
        "number of the newest final block: the head, every block is final (Besu says 0 on QBFT)",
    ),
    gauge("ethereum_blockchain_safe_block", &[], "number of the newest safe block: the head (Besu says 0 on QBFT)"),
    gauge("ethereum_peer_count", &[], "connected peers"),
    gauge("ethereum_peer_limit", &[], "slots for peers outside the directory"),
    gauge("ethereum_min_gas_price", &[], "least gas price that is accepted, wei"),
    gauge("ethereum_min_priority_fee", &[], "least tip that is accepted, wei: always 0"),
    gauge("besu_blockchain_difficulty", &[], "sum of difficulties up to the head"),
    gauge("besu_blockchain_difficulty_total", &[], "the same by its name of Besu up to 24.10"),
    gauge("besu_blockchain_chain_head_timestamp", &[], "timestamp of the head, unix seconds"),
    gauge("besu_blockchain_chain_head_gas_used", &[], "gas used by the head"),
    gauge("besu_blockchain_chain_head_gas_limit", &[], "gas limit of the head"),
    gauge("besu_blockchain_chain_head_transaction_count", &[], "transactions of the head"),
    gauge("besu_blockchain_chain_head_ommer_count", &[], "ommers of the head: a QBFT chain has none, always 0"),
    counter("besu_blockchain_chain_head_gas_used_counter_total", &[], "gas used by blocks imported since the start"),
    counter("besu_blockchain_chain_head_transaction_count_counter_total", &[], "transactions of blocks imported since the start"),
    gauge("besu_synchronizer_in_sync", &[], "1 when this node is not behind what is proven"),
    counter("besu_peers_connected_total", &[], "sessions opened"),
    once(counter(
        "besu_peers_disconnected_total",
        &["initiator", "disconnectReason"],
        "sessions ended; `initiator` is `local` or `remote`",
    )),
    gauge(
        "besu_peers_peer_count_by_client",
        &["client"],
        "connected peers by client: Besu's names, and `Ipe`; `Unknown` for all others",
    ),
    once(counter(
        "besu_network_p2p_messages_inbound_total",
        &["protocol", "name", "code"],
        "messages received; `protocol` as in `eth/68`",
    )),
    once(counter("besu_network_p2p_messages_outbound_total", &["protocol", "name", "code"], "messages sent")),
    once(counter(
        "besu_network_p2p_bytes_inbound_total",
        &["protocol", "name", "code"],
        "bytes of messages received, uncompressed",
    )),
    once(counter("besu_network_p2p_bytes_outbound_total", &["protocol", "name", "code"], "bytes of messages sent, uncompressed")),
    once(counter("besu_network_rlpx_connect_outcome_total", &["result"], "times this node dialled, by result in Besu's words")),
    once(counter(
        "besu_network_rlpx_outbound_connect_attempts_total",
        &["source"],
        "times this node dialled: `maintain` to stay connected, `discv4` because discovery found the node",
    )),
    once(counter("besu_network_discovery_messages_inbound_total", &["name"], "discovery packets received, by type")),
    once(counter("besu_network_discovery_messages_outbound_total", &["name"], "discovery packets sent, by type")),
    gauge("besu_network_discv4_known_peers_current", &[], "nodes that discovery knows"),
    gauge("besu_transaction_pool_transactions", &[], "transactions in the pool"),
    gauge(
        "besu_transaction_pool_number_of_transactions",
        &["layer"],
        "the same apart: `ready` could be included now, `sparse` waits for a lower nonce",
    ),
    counter(
        "besu_transaction_pool_transactions_added_total",
        &["source"],
        "transactions taken: `local` from clients, `remote` from peers",
    ),
    once(counter(
        "besu_transaction_pool_transactions_removed_total",
        &["source", "operation"],
        "transactions that left the pool, `addedToBlock` or why else",
    )),
    once(counter(
        "besu_transaction_pool_rejected_total",
        &["source", "priority", "reason", "layer"],
        "transactions not taken; `priority` is `yes` for `local`, `layer` is `txpool`",
    )),
    once(Metric {
        name: "besu_rpc_request_time",
        kind: Kind::Summary,
        labels: &["methodName"],
        text: "time of JSON-RPC requests, seconds",
        there: There::Always,
    }),
    once(counter(
        "besu_rpc_errors_count_total",
        &["rpcMethod", "errorType"],
        "JSON-RPC requests answered with an error, Besu's name of it",
    )),
    gauge("besu_rpc_active_http_connection_count", &[], "open connections to the HTTP listener"),
    gauge("besu_rpc_active_ws_connection_count", &[], "open WebSocket sessions"),
    only(
        There::AccountList,
        counter("besu_permissioning_account_local_check_count_total", &[], "senders held against the local list"),
    ),
    only(There::AccountList, counter("besu_permissioning_account_local_check_count_permitted_total", &[], "of these, permitted")),
    only(There::AccountList, counter("besu_permissioning_account_local_check_count_unpermitted_total", &[], "of these, refused")),
    only(
        There::NodeList,
        counter("besu_permissioning_node_local_check_count_total", &[], "connections held against the local list"),
    ),
    only(There::NodeList, counter("besu_permissioning_node_local_check_count_permitted_total", &[], "of these, permitted")),
    only(There::NodeList, counter("besu_permissioning_node_local_check_count_unpermitted_total", &[], "of these, refused")),
    only(
        There::AccountRules,
        counter(
            "besu_permissioning_transaction_smart_contract_check_count_total",
            &[],
            "transactions held against the rules on chain",
        ),
    ),
    only(
        There::AccountRules,
        counter("besu_permissioning_transaction_smart_contract_check_count_permitted_total", &[], "of these, permitted"),
    ),
    only(
        There::AccountRules,
        counter("besu_permissioning_transaction_smart_contract_check_count_unpermitted_total", &[], "of these, refused"),
    ),
    only(
        There::NodeRules,
        counter("besu_permissioning_node_smart_contract_check_count_total", &[], "connections held against the rules on chain"),
    ),
    only(
        There::NodeRules,
        counter("besu_permissioning_node_smart_contract_check_count_permitted_total", &[], "of these, permitted"),
    ),
    only(
        There::NodeRules,
        counter("besu_permissioning_node_smart_contract_check_count_unpermitted_total", &[], "of these, refused"),
    ),
    counter("process_cpu_seconds_total", &[], "processor time, seconds"),
    gauge("process_resident_memory_bytes", &[], "resident memory"),
    gauge("process_virtual_memory_bytes", &[], "address space"),
    gauge("process_start_time_seconds", &[], "start of the process, unix seconds"),
    gauge("process_open_fds", &[], "open file descriptors"),
    gauge("process_max_fds", &[], "file descriptors that may be open"),
    gauge("process_release", &["version"], "always 1; `version` is the release"),
    gauge("ipe_transaction_pool_ready", &[], "transactions in the pool that could be included now"),
    gauge("ipe_transaction_pool_room", &[], "transactions that may wait before clients are refused"),
    gauge("ipe_consensus_round", &[], "round of the height being decided; -1 when not known"),
    gauge("ipe_consensus_validators", &[], "validators of the next block"),
    gauge("ipe_consensus_validators_heard", &[], "validators whose messages were seen lately"),
    gauge("ipe_consensus_fault_margin", &[], "validators that may still fall silent before blocks stop; negative when they have"),
    gauge("ipe_consensus_validating", &[], "1 when this node validates the next block"),
    gauge(
        "ipe_consensus_abstains",
        &["cause"],
        "1 for the cause for which this validator signs nothing at present: its journal was lost or may lack something (docs/signing-journal.md)",
    ),
    counter("ipe_consensus_round_changes_total", &[], "rounds above 0 entered"),
    counter("ipe_consensus_proposed_total", &[], "blocks proposed"),
    gauge("ipe_build_budget_gas", &[], "work that the next block built here may hold, gas plus 21000 a transaction"),
    once(Metric {
        name: "ipe_block_stage_seconds",
        kind: Kind::Histogram,
        labels: &["stage"],
        text: "time of a block's stages: `build`, `check`, `import`, `total`",
        there: There::Always,
    }),
    gauge("ipe_peers", &["role"], "connected peers by role"),
    counter("ipe_peers_cut_total", &[], "peers cut for misbehaviour"),
    counter("ipe_peer_penalties_total", &[], "penalties given to peers"),
    counter("ipe_peer_bans_total", &[], "nodes banned for a while"),
    once(counter(
        "ipe_connect_outcome_total",
        &["direction", "result"],
        "connections, of both directions, by how they ended or began",
    )),
    counter("ipe_relay_messages_total", &[], "consensus messages passed on for others"),
    once(Metric {
        name: "ipe_relay_delay_seconds",
        kind: Kind::Histogram,
        labels: &[],
        text: "from the arrival of a consensus message to its hand-over to the connections over which it is passed on",
        there: There::Always,
    }),
    only(
        There::Rules,
        counter(
            "ipe_rules_evaluated_total",
            &["asked"],
            "executions of a contract with rules (`accounts`, `nodes`); all other checks were answered by what is kept",
        ),
    ),
    only(There::Rules, counter("ipe_rules_gas_total", &["asked"], "gas that these executions used")),
    only(
        There::Rules,
        counter("ipe_rules_faults_total", &["asked", "fault"], "executions that gave no answer, which permits nobody"),
    ),
    only(
        There::Rules,
        gauge(
            "ipe_rules_broken",
            &["asked"],
            "1 when the contract gave no answer when it was executed last: nobody is permitted then",
        ),
    ),
    counter("ipe_relay_duplicates_total", &[], "consensus messages dropped as already seen"),
    counter("ipe_relay_refused_total", &["reason"], "consensus messages refused"),
    gauge("ipe_carried_streams", &[], "streams that this boot carries for its validators"),
    gauge("ipe_carried_sessions", &[], "sessions of this validator that its boots carry"),
    counter("ipe_carried_streams_opened_total", &["by"], "streams carried since the start, by who opened them"),
    counter("ipe_carried_bytes_total", &["direction"], "bytes of carried streams"),
    once(counter("ipe_carried_refused_total", &["reason"], "streams that were not carried, or cut")),
    once(counter(
        "ipe_rpc_logins_total",
        &["outcome"],
        "logins to JSON-RPC: `accepted`, `refused` (no such user, or another password), `busy` (too many at once), `malformed`",
    )),
    once(counter(
        "ipe_rpc_tls_handshakes_total",
        &["outcome"],
        "TLS handshakes of clients of JSON-RPC: `completed`, `failed`, `slow`, `throttled` (cut, its address begins too many)",
    )),
    once(counter(
        "ipe_rpc_reload_failures_total",
        &["what"],
        "changed files of users, certificates or keys that could not be used: what was read before stays in force",
    )),
    once(counter("ipe_rpc_transactions_refused_total", &["reason"], "transactions of clients that were not taken")),
];

/// Besu's metrics that a node does not have: a name, or a prefix with `*`, and why.
pub const NOT_HERE: &[(&str, &str)] = &[
    ("jvm_*", "there is no Java machine; memory is `process_resident_memory_bytes`, panels on garbage collection stay empty"),
    ("guava_*", "caches of a Java library"),
    ("besu_executors_*", "Java's thread pools"),
    ("besu_network_vertx_*", "a Java library's event loop"),
    ("besu_network_netty_*", "a Java library's event loop"),
    ("besu_bonsai_*", "the state is not kept in that form"),
    ("besu_bal_*", "block access lists: no QBFT network has the fork"),
    ("besu_blockchain_get_*", "reads of the state's storage by kind of table; storage has another layout"),
    ("besu_block_processing_*", "internals of parallel execution; see `ipe_block_stage_seconds`"),
    (
        "besu_network_discovery_demux_packets_total",
        "one discovery protocol, discv4; see `besu_network_discovery_messages_inbound_total`",
    ),
    ("besu_network_discovery_packets_dropped_total", "excess packets are dropped before they are looked at and not counted"),
    ("besu_network_discovery_inflight_*", "see `besu_network_discv4_known_peers_current`"),
    ("besu_network_discovery_interaction_*", "see `besu_network_discovery_messages_outbound_total`"),
    ("besu_peers_inflight_request_gauge", "requests of synchronisation are not timed by task"),
    ("besu_peers_pending_peer_requests_current", "no request waits for a busy peer: another peer is asked"),
    ("besu_peers_request_time", "requests of synchronisation are not timed by task"),
    ("besu_peers_snap_service_*", "no snap protocol"),
    ("besu_synchronizer_chain_download_pipeline_*", "see `ethereum_best_known_block_number` and `besu_synchronizer_in_sync`"),
    ("besu_synchronizer_sync_duration", "see `ethereum_best_known_block_number` and `besu_synchronizer_in_sync`"),
    ("besu_synchronizer_task", "requests of synchronisation are not timed by task"),
    (
        "besu_transaction_pool_added_total",
        "by layers that this pool does not have; see `besu_transaction_pool_transactions_added_total`",
    ),
    (
        "besu_transaction_pool_removed_total",
        "by layers that this pool does not have; see `besu_transaction_pool_transactions_removed_total`",
    ),
    ("besu_transaction_pool_blob_*", "no blob transactions"),
    ("besu_transaction_pool_messages_expired_total", "messages are not dropped for their age; a sender that is too fast waits"),
    ("besu_transaction_pool_number_of_transactions_by_type", "not counted by type"),
    ("besu_transaction_pool_space_used", "by layers that this pool does not have"),
    ("besu_transaction_pool_unique_senders", "by layers that this pool does not have"),
    ("ethereum_peer_count_incomplete", "connections count once Status is exchanged; see `ipe_connect_outcome_total`"),
    ("ethereum_peer_count_snap_server", "no snap protocol"),
];

/// The page `docs/metrics.md`.
pub fn markdown() -> String {
    let mut out = String::from(
        "# Metrics\n\n\
         Generated from the table of metrics (`crates/node/src/metric_table.rs`). Tests keep this page, the table, what a \
         running node serves, and what Besu 25.5.0 and 26.8.0 served on a QBFT network (`fixtures/metrics/`) in line.\n\n\
         `metrics-enabled` serves them at `/metrics` of `metrics-host` and `metrics-port` (127.0.0.1:9545), in Prometheus' text \
         format. What Besu has too has Besu's name, type and labels, so rules and dashboards made for Besu go on working; \
         where Besu changed a name, both are there. Names that begin with `ipe_` are this node's own. No metric has a label \
         whose values a peer or a client could make up.\n\n\
         `cargo xtask monitoring` runs a Prometheus with the rules that RBB uses (tip, distance from the tip, interval between \
         blocks; alerts for a node that is down, behind, or a chain out of pace) against a lab network, and stops nodes to see \
         the alerts.\n\n\
         The rule for the distance joins a network's tip with its nodes by the labels of their targets and leaves out `job`, \
         `instance` and `org`. Where targets have more labels than these and `network`, such as `node` and `organization`, it has \
         no value and its alert never fires, whatever client is scraped; name them too: `ignoring(job, instance, org, node, \
         organization)`.\n\n## What is served\n\n\
         | Metric | Type | Labels | Meaning |\n|---|---|---|---|\n",
    );
    for metric in METRICS {
        let there = match metric.there {
            There::Always => "",
            There::Happened => "; there once it has happened",
            There::AccountList => "; with a local list of accounts",
            There::NodeList => "; with a local list of nodes",
            There::AccountRules => "; with account rules on chain",
            There::NodeRules => "; with node rules on chain",
            There::Rules => "; with rules on chain",
        };
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let _ = writeln!(out, "| `{}` | {} | {} | {}{there} |", metric.name, metric.kind.name(), labels.join(", "), metric.text);
    }
    out.push_str("\n## What Besu serves and a node does not\n\n| Metric | Why |\n|---|---|\n");
    for (name, why) in NOT_HERE {
        let _ = writeln!(out, "| `{name}` | {why} |");
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_page_is_this_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");
        let wanted = markdown();
        if std::env::var_os("IPE_BLESS").is_some() {
            std::fs::write(path, &wanted).expect("docs/metrics.md is writable");
        }
        let documented = std::fs::read_to_string(path).expect("docs/metrics.md exists");
        assert!(documented == wanted, "docs/metrics.md is not up to date; run this test with IPE_BLESS=1");
        let names: HashSet<&str> = METRICS.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), METRICS.len(), "a name is there twice");
    }

    /// What Besu served: name, type, labels. Each is here with the same type and the same labels, or is said not to be.
    #[test]
    fn besus_metrics_are_here_or_it_is_said_why_not() {
        for release in ["25.5.0", "26.8.0"] {
            let path = format!("{}/../../fixtures/metrics/besu-{release}.txt", env!("CARGO_MANIFEST_DIR"));
            let recorded = std::fs::read_to_string(&path).expect("the recorded names");
            assert!(recorded.lines().count() > 100, "{path}");
            for line in recorded.lines() {
                let mut words = line.split(' ');
                let (name, kind) = (words.next().expect("a name"), words.next().expect("a type"));
                let labels: HashSet<&str> = words.next().map(|labels| labels.split(',').collect()).unwrap_or_default();
                let absent = NOT_HERE.iter().any(|(entry, _)| match entry.strip_suffix('*') {
                    Some(prefix) => name.starts_with(prefix),
                    None => name == *entry,
                });
                match METRICS.iter().find(|metric| metric.name == name) {
                    Some(metric) => {
                        assert_eq!(metric.kind.name(), kind, "{name} of Besu {release}");
                        assert_eq!(metric.labels.iter().copied().collect::<HashSet<_>>(), labels, "{name} of Besu {release}");
                        assert!(!absent, "{name} is here");
                    }
                    None => assert!(absent, "{name} of Besu {release} is neither here nor said to be missing"),
                }
            }
        }
    }
}
