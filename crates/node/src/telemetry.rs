//! Prometheus: the names of Besu (spec/besu-compat.md 8) and our own, refreshed when they are asked for. Their table is
//! [`crate::metric_table`].

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::Request;
use axum::http::header::CONTENT_TYPE;
use axum::http::{StatusCode, Uri};
use axum::middleware::Next;
use axum::response::IntoResponse;
use axum::routing::get;
use ipe_api::Api;
use ipe_api::listener::{self, Doors};
use ipe_chain::{Asked, Imported, Ledger};
use ipe_engine::pool::{Departure, Pool, Turnover};
use ipe_engine::{Stages, StatusCell};
use ipe_p2p::NetworkHandle;
use ipe_p2p::counters::Outcome;
use ipe_p2p::discv4::packet::KINDS;
use ipe_permissioning::verdict::Fault;
use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::metric_table::{Kind, METRICS};
use crate::permissions::Permissions;

/// Upper bounds of durations, seconds: from a light read to a block that takes longer than its period.
const SECONDS: [f64; 16] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.2, 0.35, 0.5, 1.0, 2.5, 10.0];
/// Quantiles of Besu's timers.
const QUANTILES: [f64; 6] = [0.2, 0.5, 0.8, 0.95, 0.99, 1.0];
/// How often the recorder folds what histograms have collected; without it they would grow between two scrapes.
const UPKEEP: Duration = Duration::from_secs(5);
/// Scrapers and probes at once, each of which needs one connection. Every question that can be asked here is answered also
/// to whoever finds all taken.
const DOORS: Doors = Doors { name: "metrics", places: 32, always: |_| true, gauge: None };
/// Kernel ticks a second in /proc/self/stat on Linux.
const TICKS_A_SECOND: f64 = 100.0;
/// Bytes of a memory page in /proc/self/statm.
const PAGE_BYTES: f64 = 4096.0;

/// What a scrape looks at.
pub(crate) struct Sources {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) pool: Arc<Mutex<Pool>>,
    pub(crate) status: StatusCell,
    pub(crate) network: NetworkHandle,
    pub(crate) peer_limit: usize,
    pub(crate) permissions: Permissions,
    pub(crate) client: String,
}

/// Installs the process-wide recorder; `None` when there is one already (several nodes in one test process).
pub(crate) fn install() -> Option<PrometheusHandle> {
    // Besu's timers are summaries, and dashboards ask for their quantiles; our own are histograms, which can be added up.
    let own = Matcher::Prefix("ipe_".to_owned());
    let builder = PrometheusBuilder::new().set_buckets_for_metric(own, &SECONDS).ok()?.set_quantiles(&QUANTILES).ok()?;
    let handle = builder.install_recorder().ok()?;
    describe();
    Some(handle)
}

fn describe() {
    for metric in METRICS {
        match metric.kind {
            Kind::Gauge => describe_gauge!(metric.name, metric.text),
            Kind::Counter => describe_counter!(metric.name, metric.text),
            Kind::Summary | Kind::Histogram => describe_histogram!(metric.name, Unit::Seconds, metric.text),
        }
    }
    let started = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
    gauge!("process_start_time_seconds").set(started);
    // What is moved as it happens is there before it does, as in Besu.
    for name in ["besu_blockchain_chain_head_gas_used_counter_total", "besu_blockchain_chain_head_transaction_count_counter_total"]
    {
        counter!(name).absolute(0);
    }
    for name in ["besu_rpc_active_http_connection_count", "besu_rpc_active_ws_connection_count"] {
        gauge!(name).set(0.0);
    }
}

/// Counts a block.
pub(crate) fn block(imported: &Imported, stages: &Stages) {
    counter!("besu_blockchain_chain_head_gas_used_counter_total").increment(imported.block.header.gas_used);
    let transactions = imported.block.body.transactions.len() as u64;
    counter!("besu_blockchain_chain_head_transaction_count_counter_total").increment(transactions);
    for (stage, took) in [("build", stages.build), ("check", stages.check), ("import", stages.import), ("total", stages.total)] {
        if !took.is_zero() {
            histogram!("ipe_block_stage_seconds", "stage" => stage).record(took.as_secs_f64());
        }
    }
}

/// A consensus message was handed to the connections that it is passed on over, so long after it had arrived.
pub(crate) fn relayed(after: Duration) {
    histogram!("ipe_relay_delay_seconds").record(after.as_secs_f64());
}

/// Brings everything up to date that is not counted as it happens.
pub(crate) fn refresh(sources: &Sources) {
    let head = sources.ledger.head();
    let status = sources.status.get();
    let (pool, turnover, min_gas_price) = {
        let pool = sources.pool.lock();
        (pool.statistics(), pool.turnover().clone(), pool.rules().min_gas_price)
    };
    let transactions = sources.ledger.body(head.number).ok().flatten().map_or(0, |body| body.transactions.len());
    let difficulty = u64::try_from(head.total_difficulty).unwrap_or(u64::MAX) as f64;
    for (name, value) in [
        ("ethereum_blockchain_height", head.number as f64),
        ("ethereum_best_known_block_number", status.best_known.max(head.number) as f64),
        ("ethereum_blockchain_finalized_block", head.number as f64),
        ("ethereum_blockchain_safe_block", head.number as f64),
        ("ethereum_peer_count", status.peers.iter().map(|(_, count)| *count).sum::<usize>() as f64),
        ("ethereum_peer_limit", sources.peer_limit as f64),
        ("ethereum_min_gas_price", min_gas_price as f64),
        ("ethereum_min_priority_fee", 0.0),
        ("besu_blockchain_difficulty", difficulty),
        ("besu_blockchain_difficulty_total", difficulty),
        ("besu_blockchain_chain_head_timestamp", head.header.timestamp as f64),
        ("besu_blockchain_chain_head_gas_used", head.header.gas_used as f64),
        ("besu_blockchain_chain_head_gas_limit", head.header.gas_limit as f64),
        ("besu_blockchain_chain_head_transaction_count", transactions as f64),
        ("besu_synchronizer_in_sync", f64::from(u8::from(status.sync.is_none()))),
        ("besu_blockchain_chain_head_ommer_count", 0.0),
        ("besu_transaction_pool_transactions", pool.count as f64),
        ("ipe_transaction_pool_ready", pool.ready as f64),
        ("ipe_transaction_pool_room", pool.room as f64),
        ("ipe_consensus_round", status.round.map_or(-1.0, f64::from)),
        ("ipe_consensus_validators", status.validators.len() as f64),
        ("ipe_consensus_validators_heard", status.validators_heard.len() as f64),
        ("ipe_consensus_fault_margin", status.fault_margin as f64),
        ("ipe_consensus_validating", f64::from(u8::from(status.validating))),
        ("ipe_build_budget_gas", status.build_budget_gas as f64),
    ] {
        gauge!(name).set(value);
    }
    for role in ipe_types::Role::ALL.into_iter().map(Some).chain([None]) {
        let count = status.peers.iter().find(|(known, _)| *known == role).map_or(0, |(_, count)| *count);
        gauge!("ipe_peers", "role" => role.map_or("stranger", ipe_types::Role::name)).set(count as f64);
    }
    for cause in ipe_engine::doubt::Cause::ALL {
        let is = status.abstains.is_some_and(|doubt| doubt.cause == cause);
        gauge!("ipe_consensus_abstains", "cause" => cause.name()).set(f64::from(u8::from(is)));
    }
    for (reason, count) in [
        ("malformed", status.refused.malformed),
        ("author", status.refused.author),
        ("window", status.refused.window),
        ("budget", status.refused.budget),
        ("justification", status.refused.justification),
    ] {
        counter!("ipe_relay_refused_total", "reason" => reason).absolute(count);
    }
    for (name, count) in [
        ("ipe_consensus_round_changes_total", status.round_changes),
        ("ipe_consensus_proposed_total", status.proposed),
        ("ipe_relay_messages_total", status.relayed),
        ("ipe_relay_duplicates_total", status.duplicates),
        ("ipe_peers_cut_total", status.peers_cut),
    ] {
        counter!(name).absolute(count);
    }
    for (layer, count) in [("ready", pool.ready), ("sparse", pool.count - pool.ready)] {
        gauge!("besu_transaction_pool_number_of_transactions", "layer" => layer).set(count as f64);
    }
    refresh_turnover(&turnover);
    refresh_network(&sources.network);
    refresh_permissions(sources);
    refresh_rules(&sources.ledger);
    refresh_process(&sources.client);
}

fn refresh_turnover(turnover: &Turnover) {
    for (source, passed) in [("local", &turnover.local), ("remote", &turnover.remote)] {
        counter!("besu_transaction_pool_transactions_added_total", "source" => source).absolute(passed.added);
        for (how, count) in Departure::ALL.into_iter().zip(passed.removed).filter(|(_, count)| *count > 0) {
            counter!("besu_transaction_pool_transactions_removed_total", "source" => source, "operation" => how.name())
                .absolute(count);
        }
    }
    for (reason, count) in &turnover.refused_of_peers {
        let labels = [("source", "remote"), ("priority", "no"), ("reason", *reason), ("layer", "txpool")];
        counter!("besu_transaction_pool_rejected_total", &labels).absolute(*count);
    }
}

/// As in Besu, only what is enabled has counters.
fn refresh_permissions(sources: &Sources) {
    if sources.permissions.accounts.is_some() {
        let checks = sources.pool.lock().sender_checks();
        counter!("besu_permissioning_account_local_check_count_total").absolute(checks.permitted + checks.refused);
        counter!("besu_permissioning_account_local_check_count_permitted_total").absolute(checks.permitted);
        counter!("besu_permissioning_account_local_check_count_unpermitted_total").absolute(checks.refused);
    }
    if let Some(nodes) = &sources.permissions.nodes {
        let (permitted, refused) = nodes.checks();
        counter!("besu_permissioning_node_local_check_count_total").absolute(permitted + refused);
        counter!("besu_permissioning_node_local_check_count_permitted_total").absolute(permitted);
        counter!("besu_permissioning_node_local_check_count_unpermitted_total").absolute(refused);
    }
}

/// As in Besu, only contracts that are asked have counters.
fn refresh_rules(ledger: &Ledger) {
    for (asked, label, all, permitted, unpermitted) in [
        (
            Asked::Accounts,
            "accounts",
            "besu_permissioning_transaction_smart_contract_check_count_total",
            "besu_permissioning_transaction_smart_contract_check_count_permitted_total",
            "besu_permissioning_transaction_smart_contract_check_count_unpermitted_total",
        ),
        (
            Asked::Nodes,
            "nodes",
            "besu_permissioning_node_smart_contract_check_count_total",
            "besu_permissioning_node_smart_contract_check_count_permitted_total",
            "besu_permissioning_node_smart_contract_check_count_unpermitted_total",
        ),
    ] {
        let report = ledger.rules_report(asked);
        if report.contract.is_none() {
            continue;
        }
        counter!(all).absolute(report.permitted + report.unpermitted);
        counter!(permitted).absolute(report.permitted);
        counter!(unpermitted).absolute(report.unpermitted);
        counter!("ipe_rules_evaluated_total", "asked" => label).absolute(report.evaluated);
        counter!("ipe_rules_gas_total", "asked" => label).absolute(report.gas);
        for (fault, count) in Fault::LABELS.into_iter().zip(report.faults) {
            counter!("ipe_rules_faults_total", "asked" => label, "fault" => fault).absolute(count);
        }
        gauge!("ipe_rules_broken", "asked" => label).set(f64::from(u8::from(report.fault.is_some())));
    }
}

fn refresh_network(network: &NetworkHandle) {
    let counts = network.counters();
    for message in &counts.messages {
        let labels =
            [("protocol", message.protocol.to_owned()), ("name", message.name.to_owned()), ("code", message.code.to_string())];
        let (messages, bytes) = if message.inbound {
            ("besu_network_p2p_messages_inbound_total", "besu_network_p2p_bytes_inbound_total")
        } else {
            ("besu_network_p2p_messages_outbound_total", "besu_network_p2p_bytes_outbound_total")
        };
        counter!(messages, &labels).absolute(message.messages);
        counter!(bytes, &labels).absolute(message.bytes);
    }
    for ended in &counts.disconnects {
        let initiator = if ended.by_us { "local" } else { "remote" };
        counter!("besu_peers_disconnected_total", "initiator" => initiator, "disconnectReason" => ended.reason.name())
            .absolute(ended.count);
    }
    let (mut connected, mut dialled) = (0, BTreeMap::<&str, u64>::new());
    for outcome in &counts.outcomes {
        if outcome.outcome == Outcome::Connected {
            connected += outcome.count;
        }
        if !outcome.inbound {
            *dialled.entry(besus_result(outcome.outcome)).or_default() += outcome.count;
        }
        let direction = if outcome.inbound { "inbound" } else { "outbound" };
        counter!("ipe_connect_outcome_total", "direction" => direction, "result" => outcome.outcome.name()).absolute(outcome.count);
    }
    for (result, count) in dialled {
        counter!("besu_network_rlpx_connect_outcome_total", "result" => result).absolute(count);
    }
    for (source, count) in [("maintain", counts.dials), ("discv4", counts.dials_found)] {
        if count > 0 {
            counter!("besu_network_rlpx_outbound_connect_attempts_total", "source" => source).absolute(count);
        }
    }
    counter!("besu_peers_connected_total").absolute(connected);
    for (name, packets) in [
        ("besu_network_discovery_messages_inbound_total", counts.discovery.inbound),
        ("besu_network_discovery_messages_outbound_total", counts.discovery.outbound),
    ] {
        for (kind, count) in KINDS.into_iter().zip(packets).filter(|(_, count)| *count > 0) {
            counter!(name, "name" => kind).absolute(count);
        }
    }
    gauge!("besu_network_discv4_known_peers_current").set(counts.discovered as f64);
    counter!("ipe_peer_penalties_total").absolute(counts.penalties);
    counter!("ipe_peer_bans_total").absolute(counts.bans);
    let carried = &counts.carried;
    gauge!("ipe_carried_streams").set(carried.open as f64);
    for (by, count) in [("validator", carried.dialled), ("remote", carried.inbound)] {
        counter!("ipe_carried_streams_opened_total", "by" => by).absolute(count);
    }
    for (direction, count) in [("to_validator", carried.bytes_to_validators), ("from_validator", carried.bytes_from_validators)] {
        counter!("ipe_carried_bytes_total", "direction" => direction).absolute(count);
    }
    for (reason, count) in &carried.refused {
        counter!("ipe_carried_refused_total", "reason" => reason.name()).absolute(*count);
    }
    let peers = network.peers();
    let sessions = peers.iter().filter(|peer| peer.path != ipe_p2p::Path::Direct).count();
    gauge!("ipe_carried_sessions").set(sessions as f64);
    for (client, agent) in CLIENTS {
        let count = peers.iter().filter(|peer| client_of(&peer.client) == agent).count();
        gauge!("besu_peers_peer_count_by_client", "client" => client).set(count as f64);
    }
}

/// Clients that are counted apart, by the word before the first slash of their names: Besu's list, and this one.
const CLIENTS: [(&str, Option<&str>); 8] = [
    ("Besu", Some("besu")),
    ("Erigon", Some("erigon")),
    ("Geth", Some("Geth")),
    ("Ipe", Some("ipe")),
    ("Nethermind", Some("Nethermind")),
    ("Nimbus", Some("nimbus-eth1")),
    ("Reth", Some("reth")),
    ("Unknown", None),
];

/// The known word that a client's name begins with; none for all others, so that a peer cannot add to the metrics.
fn client_of(name: &str) -> Option<&'static str> {
    let word = name.split('/').next().unwrap_or_default();
    CLIENTS.iter().filter_map(|(_, agent)| *agent).find(|agent| *agent == word)
}

/// Besu's word for how a dial ended.
const fn besus_result(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Connected => "success",
        Outcome::Unreachable => "connection_error",
        Outcome::TimedOut => "timeout",
        Outcome::Incompatible => "incompatible_capabilities",
        Outcome::RefusedByPeer => "peer_disconnected",
        Outcome::Malformed | Outcome::Refused | Outcome::Evicted | Outcome::Throttled => "other",
    }
}

/// Processor time of the process, as text of the exposition format: a counter with fractions, which the recorder's
/// counters do not have. Empty where the system does not tell.
fn cpu_seconds() -> String {
    let Ok(stat) = std::fs::read_to_string("/proc/self/stat") else { return String::new() };
    let Some((_, rest)) = stat.rsplit_once(')') else { return String::new() };
    // Fields 14 and 15 of the line, counted from 1; the name that may hold spaces is behind us.
    let ticks: u64 = rest.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    format!(
        "\n# HELP process_cpu_seconds_total processor time, seconds\n# TYPE process_cpu_seconds_total counter\n\
         process_cpu_seconds_total {}\n",
        ticks as f64 / TICKS_A_SECOND
    )
}

/// What /proc tells of this process; where the system has none, the values are missing.
fn refresh_process(client: &str) {
    if let Ok(statm) = std::fs::read_to_string("/proc/self/statm") {
        let mut pages = statm.split_whitespace().map_while(|field| field.parse::<u64>().ok());
        for name in ["process_virtual_memory_bytes", "process_resident_memory_bytes"] {
            if let Some(pages) = pages.next() {
                gauge!(name).set(pages as f64 * PAGE_BYTES);
            }
        }
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        // Less the one that counts.
        gauge!("process_open_fds").set(open.count().saturating_sub(1) as f64);
    }
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next()?.parse::<f64>().ok());
    if let Some(files) = files {
        gauge!("process_max_fds").set(files);
    }
    gauge!("process_release", "version" => client.to_owned()).set(1.0);
}

/// Opens the exporter's port and tells which one it is.
///
/// # Errors
/// The address cannot be bound.
pub(crate) async fn bind(address: SocketAddr) -> std::io::Result<(SocketAddr, TcpListener)> {
    let listener = TcpListener::bind(address).await?;
    Ok((listener.local_addr()?, listener))
}

/// Serves `/metrics` and the health endpoints until `stop` turns true.
pub(crate) fn serve(
    listener: TcpListener,
    handle: PrometheusHandle,
    sources: Sources,
    api: Arc<Api>,
    hosts: Vec<String>,
    mut stop: watch::Receiver<bool>,
) -> JoinHandle<()> {
    let upkeep = handle.clone();
    let sources = Arc::new(sources);
    let scrape = move || {
        let (handle, sources) = (handle.clone(), sources.clone());
        async move {
            refresh(&sources);
            ([(CONTENT_TYPE, "text/plain; version=0.0.4")], handle.render() + &cpu_seconds())
        }
    };
    let health = move |uri: Uri| {
        let answer = ipe_api::health::answer(&api, uri.path(), uri.query().unwrap_or(""));
        async move { answer.unwrap_or_else(|| StatusCode::NOT_FOUND.into_response()) }
    };
    let hosts: Arc<[String]> = hosts.into();
    let listed = move |request: Request, next: Next| {
        let hosts = hosts.clone();
        async move {
            if ipe_api::hosts::allowed(request.headers(), request.uri(), &hosts) {
                next.run(request).await
            } else {
                ipe_api::hosts::refusal()
            }
        }
    };
    let router = Router::new().route("/metrics", get(scrape)).fallback(get(health)).layer(axum::middleware::from_fn(listed));
    let mut stopping = stop.clone();
    tokio::spawn(async move {
        let tidy = async {
            loop {
                tokio::time::sleep(UPKEEP).await;
                upkeep.run_upkeep();
            }
        };
        let serving = async {
            let until = async move {
                let _ = stopping.wait_for(|stop| *stop).await;
            };
            if let Err(error) = listener::run(listener, router, DOORS, until).await {
                tracing::error!("the metrics listener ended: {error}");
            }
        };
        tokio::select! {
            () = tidy => {}
            () = serving => {}
            _ = async { stop.wait_for(|stop| *stop).await.map(|_| ()) } => {}
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_cannot_make_up_a_client() {
        let name = |client: &str| CLIENTS.iter().find(|(_, agent)| *agent == client_of(client)).map(|(name, _)| *name);
        assert_eq!(name("besu/v25.5.0/linux-x86_64/openjdk-java-21"), Some("Besu"));
        assert_eq!(name("Geth/v1.9.7-stable(quorum-v24.4.1)/linux-amd64/go1.20"), Some("Geth"));
        assert_eq!(name("ipe/v0.1.0/linux-x86_64"), Some("Ipe"));
        for other in ["", "/", "besuish/1", "GETH", "x\"} 1\nup 0"] {
            assert_eq!(name(other), Some("Unknown"), "{other}");
        }
    }
}
