//! Bringing a node up, and down again in order.
//!
//! Up: lock, chain, gate, pool, network, interfaces, and last the replica, so that its first output finds everything in
//! place. Down: interfaces, replica, journal, network; every step with a bounded wait.

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipe_api::{Api, Backend, Release};
use ipe_chain::Ledger;
use ipe_chain::state::{Retention, StateSettings};
use ipe_engine::pool::{LocalJournalError, Pool, Rules, Settings as PoolLimits};
use ipe_engine::signing::Gate;
use ipe_engine::{Parts, Replica, StatusCell, admission};
use ipe_p2p::{CarrierConfig, CarryLimits, ChainIdentity, IpeStatus, Limits, LocalHead, Network, NetworkConfig, NetworkHandle};
use ipe_store::{DiskSettings, FjallStore};
use ipe_types::eth::EthVersion;
use ipe_types::fork_id::ForkIds;
use ipe_types::genesis::BaseFeePolicy;
use ipe_types::spec::ChainSpec;
use ipe_types::{Address, B256, Bytes, Checkpoint, Enode, NodeId, NodeKey, Role, U256};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{broadcast, mpsc, watch};

use crate::advice::{self, Advice};
use crate::config::{ConfigError, NodeConfig, RpcListener, RpcRelease};
use crate::control::Controller;
use crate::endpoints::Endpoints;
use crate::inbound::{Shared, Workers};
use crate::inbox::inbox;
use crate::local_journal::LocalKeeper;
use crate::outbound::Outbound;
use crate::peers::{Neighbours, dial_list};
use crate::permissions::{Permissions, keep as keep_permissions};
use crate::rules::{self, NodeRules};
use crate::signing_journal::{self, lock_folder, lock_key};
use crate::watchdog::{self, EXIT_STUCK, Pulse, Watch};
use crate::{chain_rules, driver, executor, key_file, rpc_server, supervisor, telemetry};

/// Notifications that a slow subscriber may lag behind before it misses some: two minutes of blocks and a burst of
/// transactions.
const NOTIFICATIONS: usize = 512;
/// Requests of the interfaces that wait for the node at once.
const CONTROLS: usize = 1_024;
/// How long running requests may take to end at shutdown.
const API_GRACE: Duration = Duration::from_secs(1);
/// How long the replica may take to end at shutdown: a block under import.
const REPLICA_GRACE: Duration = Duration::from_secs(10);

/// Changes the level of the log for targets (none = all); `false` when the level is unknown.
pub type LogLevel = Arc<dyn Fn(&str, &[String]) -> bool + Send + Sync>;

/// Why a node did not start, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A setting or a file that it names.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A list of JSON-RPC groups names one that does not exist.
    #[error("{key}: {reason}")]
    Groups {
        /// The setting.
        key: String,
        /// The name, and those that exist.
        reason: String,
    },
    /// Settings of JSON-RPC that do not fit together.
    #[error("{key}: {reason}")]
    Rpc {
        /// The setting.
        key: String,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The data folder cannot be used.
    #[error("data folder {}: {reason}", path.display())]
    DataDir {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// Another process runs on this data folder.
    #[error("data folder {} is in use by another process; stop that one or choose another --data-dir", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The database cannot be opened.
    #[error("database in {}: {reason}", path.display())]
    Store {
        /// Its folder.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The chain in the data folder cannot be used.
    #[error("chain in {}: {source}", path.display())]
    Ledger {
        /// The database's folder.
        path: PathBuf,
        /// What is wrong.
        source: ipe_chain::OpenError,
    },
    /// Another process runs with this key.
    #[error(
        "key file {} is in use by another process; stop that one first: two processes with one key would sign twice for the \
         same height, whatever their data folders",
        path.display()
    )]
    KeyInUse {
        /// The file.
        path: PathBuf,
    },
    /// The key file cannot be opened for locking.
    #[error("key file {}: {reason}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// The chain in the data folder is not that of the checkpoint.
    #[error(
        "checkpoint {expected}: the chain in {} has {got} at that height. Compare both with a node that you trust (ipe_status \
         shows a checkpoint). When the folder is wrong, it has the history of another network or of liars: delete its database, \
         keep the signing journal, and start with boots that you trust. When the setting is wrong, correct it",
        path.display()
    )]
    OffCheckpoint {
        /// The database's folder.
        path: PathBuf,
        /// Hash of its block.
        got: B256,
        /// As configured.
        expected: Checkpoint,
    },
    /// The signing journal cannot be used.
    #[error("signing journal {}: {reason}; a validator must not run without it", path.display())]
    SigningJournal {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The journal of local transactions cannot be used.
    #[error("{}: {source}", path.display())]
    LocalJournal {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: LocalJournalError,
    },
    /// A listener cannot be opened.
    #[error(transparent)]
    Network(#[from] ipe_p2p::NetworkError),
    /// JSON-RPC cannot listen.
    #[error(transparent)]
    Api(#[from] ipe_api::ServeError),
    /// The metrics exporter cannot listen.
    #[error("could not listen for metrics on {address}: {source}; choose another metrics-port or stop what uses it")]
    Metrics {
        /// What was configured.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The system has no more threads.
    #[error("a thread could not be started: {0}")]
    Thread(std::io::Error),
    /// A bug: the replica's thread ended without being told to. (A panic in it ends the process.)
    #[error("the replica's thread ended without being told to, which is a bug. The data folder is sound: start the node again")]
    Replica,
}

/// Runs a node until `shutdown` completes, then ends it in order. `client` is the name that peers and JSON-RPC clients see, as
/// `ipe/v0.1.0-1a2b3c4d/linux-x86_64/rust-1.95.0`, at most 128 bytes. A supervisor that left a socket in `NOTIFY_SOCKET` is told
/// when the node runs, stays well, and stops (sd_notify(3)).
///
/// # Errors
/// Why it did not start; once it runs only [`RunError::Replica`].
pub async fn run(
    config: NodeConfig,
    client: String,
    shutdown: impl Future<Output = ()>,
    log_level: LogLevel,
) -> Result<(), RunError> {
    tracing::info!("{client}");
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    raise_file_limit();
    let _lock = lock_folder(&config.data_dir)?;
    let (genesis_path, spec) = config.load_spec()?;
    for warning in spec.warnings() {
        tracing::warn!(file = %genesis_path.display(), "{warning}");
    }
    let spec = Arc::new(spec);
    let key_path = config.key_path();
    let (key, made) = key_file::load_or_create(&key_path)?;
    let _key_lock = lock_key(&key_path)?;
    if let Some(warning) = key_file::exposure(&key_path) {
        tracing::warn!("{warning}");
    }
    if made {
        tracing::warn!(file = %key_path.display(), address = %key.address(), "made a new node key");
    }
    let (validator, made, _validator_lock) = match &config.validator_key_file {
        Some(path) if config.role == Role::Validator && *path != key_path => {
            let (validator, made) = key_file::load_or_create(path)?;
            if made {
                tracing::warn!(file = %path.display(), address = %validator.address(), "made a new validator key");
            }
            if let Some(warning) = key_file::exposure(path) {
                tracing::warn!("{warning}");
            }
            let lock = if validator.address() == key.address() { None } else { lock_key(path)? };
            (validator, made, lock)
        }
        Some(_) if config.role != Role::Validator => {
            tracing::warn!("validator-key-file has no effect at a {}: only a validator signs blocks", config.role);
            (key.clone(), made, None)
        }
        _ => (key.clone(), made, None),
    };
    if made && config.role == Role::Validator {
        signing_journal::begin(&config.data_dir, spec.genesis_hash(), validator.address())?;
    }
    let keys = Keys { node: key, validator };
    let node = Node::open(&config, &spec, &keys)?;
    node.run(config, client, spec, keys, shutdown, log_level).await
}

/// Takes all the file descriptors that the system allows to a process that asks: the usual soft limit of 1,024 is meant for
/// programs that cannot have more, and sockets of clients must not be what the ledger lacks to open its files.
fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "could not raise the limit of open files; ulimit -n tells what it is");
    }
}

/// Says what the genesis file says otherwise than when the blocks on disk were made. The node runs on: a network may have
/// agreed on it.
fn name_changed_rules(config: &NodeConfig, spec: &ChainSpec, ledger: &Ledger) -> Result<(), ConfigError> {
    let head = ledger.head();
    let (kept, changes) = chain_rules::compare(&config.data_dir, spec, (head.number, head.header.timestamp))?;
    for change in changes {
        tracing::error!(
            head = head.number,
            "the genesis file was changed for blocks that the chain has passed: {change}. Put it back, or when the whole network \
             changed it, delete {}",
            kept.display()
        );
    }
    Ok(())
}

/// What is kept of older states, as the operator asked.
fn state_settings(config: &NodeConfig) -> StateSettings {
    let retention = match config.archive {
        true => Retention::Archive,
        false => Retention::Full { keep: config.historical_blocks },
    };
    StateSettings { retention, ..StateSettings::default() }
}

/// Whose node this is to its peers, and under whose name it signs blocks. They are one key wherever Besu validates too, which takes
/// the one for the other.
struct Keys {
    node: NodeKey,
    validator: NodeKey,
}

/// The parts of a node that live on disk and in memory, before anything listens.
struct Node {
    ledger: Arc<Ledger>,
    pool: Arc<Mutex<Pool>>,
    gate: Option<Gate>,
    restored: Option<ipe_engine::Restored>,
    locals: Option<LocalKeeper>,
    neighbours: Arc<Neighbours>,
    static_nodes: Vec<Enode>,
    permissions: Permissions,
}

impl Node {
    fn open(config: &NodeConfig, spec: &Arc<ChainSpec>, keys: &Keys) -> Result<Self, RunError> {
        let path = config.data_dir.join("database");
        let settings = DiskSettings::default();
        let settings = DiskSettings { cache: config.database_cache.unwrap_or(settings.cache), ..settings };
        let store =
            FjallStore::open(&path, settings).map_err(|error| RunError::Store { path: path.clone(), reason: error.to_string() })?;
        let ledger = Ledger::open_with(Arc::new(store), spec.clone(), state_settings(config))
            .map_err(|source| RunError::Ledger { path, source })?;
        tracing::info!(oldest = ledger.state().oldest(), archive = config.archive, "state of blocks from this one on is kept");
        check_checkpoint(config, &ledger)?;
        name_changed_rules(config, spec, &ledger)?;
        let ledger = Arc::new(ledger);
        let (gate, restored) = match config.role {
            Role::Validator => {
                let (gate, restored) = signing_journal::open(&config.data_dir, spec.genesis_hash(), &keys.validator)?;
                (Some(gate), restored)
            }
            _ => (None, None),
        };
        let pool = Arc::new(Mutex::new(open_pool(config, spec, &ledger)));
        let neighbours = Arc::new(Neighbours::new(config, keys.node.node_id())?);
        if config.role == Role::Validator {
            let named = neighbours.names_validator(keys.validator.address());
            named.map_err(|reason| RunError::Key { path: config.validator_key_path(), reason })?;
        }
        let static_nodes = dial_list(config, spec, &neighbours)?;
        // Before the journal of local transactions is read: a sender may have left the list meanwhile.
        let permissions = Permissions::open(config, keys.node.node_id(), &static_nodes, &pool)?;
        let locals = if config.pool.journal {
            let path = config.data_dir.join("local-transactions.journal");
            let (locals, restored) = LocalKeeper::start(&path, pool.clone(), &ledger, driver::steady_us() / 1_000)
                .map_err(|source| RunError::LocalJournal { path, source })?;
            if restored > 0 {
                tracing::info!(restored, "transactions of an earlier run wait again");
            }
            Some(locals)
        } else {
            None
        };
        Ok(Self { ledger, pool, gate, restored, locals, neighbours, static_nodes, permissions })
    }

    async fn run(
        self,
        config: NodeConfig,
        client: String,
        spec: Arc<ChainSpec>,
        keys: Keys,
        shutdown: impl Future<Output = ()>,
        log_level: LogLevel,
    ) -> Result<(), RunError> {
        let Self { ledger, pool, gate, restored, locals, neighbours, static_nodes, permissions } = self;
        let (head, head_out) = watch::channel(local_head(&ledger));
        if let Some(nodes) = &permissions.nodes {
            nodes.resolve().await;
        }
        let directory = neighbours.directory(&static_nodes);
        let carried_nodes = neighbours.carried_nodes();
        let voice = neighbours.clone().voice();
        let Keys { node: key, validator } = keys;
        let advice = Arc::new(Advice::new([config.key_path(), config.validator_key_path()].into()));
        let carrier = neighbours.carries_for().map(|validators| {
            tracing::info!(validators = validators.len(), "this boot carries sessions of its validators");
            CarrierConfig { validators, limits: CarryLimits::default() }
        });
        let known_hosts = neighbours.known_hosts();
        let core = neighbours.clone().core(ledger.clone());
        let rules = Arc::new(NodeRules::new(ledger.clone(), key.node_id(), &static_nodes));
        let admit = neighbours.clone().judge(permissions.nodes.clone(), rules.clone());
        let permits = rules.clone().permit(permissions.nodes.clone());
        let dials = !static_nodes.is_empty() || !carried_nodes.is_empty();
        let known = Known { static_nodes, carried_nodes, carrier, directory, core, known_hosts, admit, permits };
        let (network, events) =
            Network::start(network_config(&config, client.clone(), &spec, &key, head_out.clone(), known)).await?;
        rules.is(network.local());
        let status = StatusCell::default();
        let (notifications, _) = broadcast::channel(NOTIFICATIONS);
        let (control, control_out) = mpsc::channel(CONTROLS);
        let (inbox, outlet) = inbox();
        let (stop, stopped) = watch::channel(false);

        let exporter = match config.metrics_enabled.then(telemetry::install).flatten() {
            Some(handle) => {
                let address = SocketAddr::new(config.metrics_host, config.metrics_port);
                let sources = telemetry::Sources {
                    ledger: ledger.clone(),
                    pool: pool.clone(),
                    status: status.clone(),
                    network: network.clone(),
                    peer_limit: config.max_peers,
                    permissions: permissions.clone(),
                    client: client.clone(),
                };
                let bound = telemetry::bind(address).await.map_err(|source| RunError::Metrics { address, source })?;
                Some((bound, handle, sources))
            }
            None => None,
        };
        let backend = Backend {
            ledger: ledger.clone(),
            pool: pool.clone(),
            control,
            notifications: notifications.clone(),
            status: status.clone(),
            log_level,
            steady_ms: || driver::steady_us() / 1_000,
            advice: {
                let advice = advice.clone();
                Arc::new(move || advice.all())
            },
        };
        let metrics = exporter.as_ref().map(|((address, _), _, _)| *address);
        let api = Api::new(backend, api_settings(&config, client, &spec, validator.address(), &network, metrics));
        let exporter = exporter.map(|((_, listener), handle, sources)| {
            telemetry::serve(listener, handle, sources, api.clone(), config.host_allowlist.clone(), stopped.clone())
        });
        let server = ipe_api::serve(api, rpc_server::config(&config)?).await?;
        let endpoints = Endpoints {
            pid: std::process::id(),
            p2p: network.local().listen,
            enode: network.local().enode.as_ref().map(ToString::to_string),
            rpc_http: server.http,
            rpc_ws: server.ws,
            rpc_operator: server.operator,
            metrics,
        };
        endpoints.write(&config.data_dir).map_err(|error| RunError::DataDir {
            path: config.data_dir.clone(),
            reason: format!("endpoints.json cannot be written: {error}"),
        })?;

        let versions = Arc::new(RwLock::new(HashMap::new()));
        let settings = replica_settings(&config, validator.address(), network.carries(), dials);
        let [pulse, executing] = [Arc::new(Pulse::default()), Arc::new(Pulse::default())];
        let (jobs, executor) = executor::start(inbox.clone(), executing.clone()).map_err(RunError::Thread)?;
        let outbound = Outbound { network: network.clone(), versions: versions.clone(), notifications, head, jobs };
        let watch = Watch {
            replica: pulse.clone(),
            executor: executing,
            status: status.clone(),
            data_dir: config.data_dir.clone(),
            limits: watchdog::Limits::default(),
            beat: Box::new(supervisor::alive),
        };
        let parts = Parts { ledger: ledger.clone(), spec, pool: pool.clone(), gate, status };
        let mut replica = Replica::new(settings, parts, restored);
        for (height, hash) in watchdog::suspects(&config.data_dir, ledger.head().number) {
            tracing::warn!(height, %hash, "this proposal kept an earlier run busy without end; it is not executed for a vote");
            replica.distrust([hash]);
        }
        let dialect = (config.role == Role::Validator).then_some(config.dialect);
        let shared = Arc::new(Shared {
            network: network.clone(),
            ledger: ledger.clone(),
            pool,
            inbox: inbox.clone(),
            versions,
            dialect,
            neighbours,
        });
        let workers = Workers::start(shared.clone()).map_err(RunError::Thread)?;
        let (thread, mut replica_end) = driver::start(replica, outlet, outbound, pulse, executor).map_err(RunError::Thread)?;
        // What is written is durable already, and nothing in this process can be trusted to end.
        watchdog::start(watch, || std::process::exit(EXIT_STUCK)).map_err(RunError::Thread)?;
        let pump = tokio::spawn(workers.pump(shared, events, stopped.clone()));
        let controller =
            Controller { network: network.clone(), inbox: inbox.clone(), role: config.role, permissions: permissions.clone() };
        let controls = tokio::spawn(controller.serve(control_out));
        let keeper = tokio::spawn(keep_permissions(permissions, network.clone()));
        let follower = tokio::spawn(rules::follow(ledger.clone(), rules, network.clone(), head_out));
        let adviser = tokio::spawn(advice::watch(advice, network.clone(), config.p2p_host.clone(), voice));
        let head = ledger.head();
        tracing::info!(
            role = %config.role,
            address = %validator.address(),
            head = head.number,
            http = ?endpoints.rpc_http,
            ws = ?endpoints.rpc_ws,
            metrics = ?endpoints.metrics,
            p2p = ?endpoints.p2p,
            "node runs"
        );
        supervisor::ready();

        let outcome = tokio::select! {
            () = shutdown => Ok(()),
            _ = &mut replica_end => Err(RunError::Replica),
        };
        tracing::info!("stopping");
        supervisor::stopping();
        Endpoints::remove(&config.data_dir);
        stop.send_replace(true);
        server.shutdown(API_GRACE).await;
        inbox.stop();
        if outcome.is_ok() && tokio::time::timeout(REPLICA_GRACE, replica_end).await.is_err() {
            tracing::error!("the replica did not end within {REPLICA_GRACE:?}");
        } else {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
        if let Some(locals) = locals {
            let _ = tokio::task::spawn_blocking(move || locals.stop()).await;
        }
        network.shutdown().await;
        // Waited for, not only told: each holds the ledger, and the folder is free when its last holder is gone.
        adviser.abort();
        let _ = adviser.await;
        follower.abort();
        let _ = follower.await;
        keeper.abort();
        let _ = keeper.await;
        controls.abort();
        let _ = controls.await;
        if let Some(exporter) = exporter {
            exporter.abort();
            let _ = exporter.await;
        }
        drop(network);
        if tokio::time::timeout(API_GRACE, pump).await.is_err() {
            tracing::debug!("the workers did not end within {API_GRACE:?}");
        }
        tracing::info!(head = ledger.head().number, "stopped");
        outcome
    }
}

/// Holds the chain of the data folder against the checkpoint, as far as it has come.
fn check_checkpoint(config: &NodeConfig, ledger: &Ledger) -> Result<(), RunError> {
    let Some(expected) = config.checkpoint else { return Ok(()) };
    let path = config.database_dir();
    let unreadable = |error: ipe_chain::LedgerError| RunError::Store { path: path.clone(), reason: error.to_string() };
    match ledger.hash_of(expected.number).map_err(unreadable)? {
        Some(got) if got != expected.hash => Err(RunError::OffCheckpoint { path, got, expected }),
        Some(_) => Ok(()),
        None => {
            let head = ledger.head().number;
            tracing::info!(head, %expected, "this node is behind its checkpoint, and not ready before it has reached it");
            Ok(())
        }
    }
}

fn open_pool(config: &NodeConfig, spec: &ChainSpec, ledger: &Ledger) -> Pool {
    let head = ledger.head();
    let params = spec.qbft_at(head.number + 1, head.header.timestamp);
    // On a network without fees an equally priced resend replaces (spec/besu-compat.md 11.2).
    let free = spec.base_fee_policy() == BaseFeePolicy::Zero || config.min_gas_price == 0;
    let limits = PoolLimits {
        max_count: config.pool.max_count,
        max_bytes: config.pool.max_bytes,
        max_per_sender: config.pool.max_per_sender,
        max_gap: config.pool.max_gap,
        price_bump_percent: if free { 0 } else { config.pool.price_bump_percent },
        retention_ms: config.pool.retention_s.saturating_mul(1_000),
        key: rand::random::<[u8; 32]>().into(),
        target_wait_ms: (params.period_ms * 22 / 10).max(PoolLimits::default().target_wait_ms),
        ..PoolLimits::default()
    };
    let own = Rules {
        chain_id: spec.chain_id(),
        fork: spec.fork_at(head.number + 1, head.header.timestamp),
        block_gas_limit: head.header.gas_limit,
        tx_gas_cap: None,
        base_fee: None,
        min_gas_price: u128::from(config.min_gas_price),
        fee_cap: (config.rpc_tx_fee_cap > 0).then(|| U256::from(config.rpc_tx_fee_cap)),
        max_tx_bytes: config.tx_bytes,
        goquorum: None,
        period_ms: params.period_ms,
    };
    Pool::new(limits, admission::rules(ledger, spec, &own), head.number)
}

fn local_head(ledger: &Ledger) -> LocalHead {
    let head = ledger.head();
    LocalHead {
        number: head.number,
        timestamp: head.header.timestamp,
        hash: head.hash,
        total_difficulty: head.total_difficulty,
        earliest: 0,
    }
}

fn replica_settings(config: &NodeConfig, local: Address, carrying: bool, dials: bool) -> ipe_engine::Settings {
    let mut vanity = config.miner_extra_data.clone().unwrap_or_else(|| vanity().into_bytes());
    vanity.resize(32, 0);
    ipe_engine::Settings {
        role: config.role,
        topology: config.topology,
        local,
        dialect: config.dialect,
        vanity: Bytes::from(vanity),
        target_gas_limit: config.target_gas_limit,
        min_gas_price: config.min_gas_price,
        build_percent: config.block_selection_percent,
        tx_gas: config.tx_gas,
        carrying,
        expects_peers: dials && !config.start_alone,
        checkpoint: config.checkpoint,
    }
}

/// What blocks carry of their maker unless the operator says otherwise: the client's name in the 32 bytes that there are, without
/// the commit.
fn vanity() -> String {
    format!("ipe/v{}/{}-{}", env!("CARGO_PKG_VERSION"), std::env::consts::OS, std::env::consts::ARCH)
}

/// Whom the network stays connected to, knows and lets in.
struct Known {
    static_nodes: Vec<Enode>,
    carried_nodes: Vec<Enode>,
    carrier: Option<CarrierConfig>,
    directory: HashMap<NodeId, Role>,
    core: ipe_p2p::Core,
    known_hosts: Vec<String>,
    admit: ipe_p2p::Admit,
    permits: ipe_p2p::Permit,
}

fn network_config(
    config: &NodeConfig,
    client: String,
    spec: &ChainSpec,
    key: &NodeKey,
    head: watch::Receiver<LocalHead>,
    known: Known,
) -> NetworkConfig {
    let Known { static_nodes, carried_nodes, carrier, directory, core, known_hosts, admit, permits } = known;
    let listen = config.listens().then(|| SocketAddr::new(config.p2p_interface, config.p2p_port));
    let discovery = (config.discovery && listen.is_some()).then(|| ipe_p2p::DiscoveryConfig {
        listen: SocketAddr::new(config.p2p_interface, config.p2p_port),
        bootnodes: static_nodes.clone(),
        dial_found: true,
        permits,
    });
    let genesis_time = spec.genesis_header().timestamp;
    let height = head.borrow().number;
    NetworkConfig {
        key: key.clone(),
        client,
        listen,
        advertised: config.p2p_host.clone(),
        discovery,
        chain: ChainIdentity {
            network_id: config.network_id.unwrap_or_else(|| spec.chain_id()),
            genesis: spec.genesis_hash(),
            fork_ids: ForkIds::new(spec.genesis_hash(), genesis_time, &spec.genesis().forks),
        },
        ipe: Some(IpeStatus { role: config.role, institution: config.institution.clone(), name: config.name.clone(), height }),
        head,
        eth_versions: EthVersion::ALL.to_vec(),
        istanbul: true,
        static_nodes,
        carried_nodes,
        carrier,
        directory,
        core,
        known_hosts,
        admit,
        limits: Limits { strangers: config.max_peers, ..Limits::default() },
    }
}

fn api_settings(
    config: &NodeConfig,
    client: String,
    spec: &ChainSpec,
    address: Address,
    network: &NetworkHandle,
    metrics: Option<SocketAddr>,
) -> ipe_api::Settings {
    let socket = |listener: &RpcListener| listener.enabled.then(|| SocketAddr::new(listener.host, listener.port));
    ipe_api::Settings {
        client_version: client,
        network_id: config.network_id.unwrap_or_else(|| spec.chain_id()),
        address,
        enode: network.local().enode.as_ref().map(ToString::to_string),
        release: match config.rpc_release {
            RpcRelease::Besu25 => Release::Besu25,
            RpcRelease::Besu26 => Release::Besu26,
        },
        gas_cap: config.rpc_gas_cap,
        fee_cap: U256::from(config.rpc_tx_fee_cap),
        max_logs_range: config.rpc_max_logs_range,
        max_trace_range: config.rpc_max_trace_range,
        revert_reason: config.revert_reason,
        time_limit: Duration::from_secs(config.rpc_timeout_s),
        services: ipe_api::Services {
            http: socket(&config.rpc_http),
            ws: socket(&config.rpc_ws),
            metrics,
            p2p: network.local().listen,
        },
        ..ipe_api::Settings::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Given, resolve};

    #[test]
    fn the_format_of_the_storage_reaches_the_state() {
        let kept = |flags: &[(&'static str, &str)]| {
            let flags = flags.iter().map(|(key, value)| (*key, vec![(*value).to_owned()])).collect();
            resolve(&Given { flags, ..Given::default() })
                .map(|config| state_settings(&config).retention)
                .map_err(|error| error.to_string())
        };
        let limit = |blocks| ("bonsai-historical-block-limit", blocks);
        assert_eq!(kept(&[]), Ok(Retention::Archive));
        assert_eq!(kept(&[("data-storage-format", "FOREST"), limit("600")]), Ok(Retention::Archive));
        assert_eq!(kept(&[("data-storage-format", "X_BONSAI_ARCHIVE")]), Ok(Retention::Archive));
        assert_eq!(kept(&[("data-storage-format", "BONSAI")]), Ok(Retention::Full { keep: 512 }));
        assert_eq!(kept(&[("data-storage-format", "bonsai"), limit("128")]), Ok(Retention::Full { keep: 128 }));
        assert!(kept(&[("data-storage-format", "bonsai"), limit("127")]).is_err_and(|error| error.contains("128")));
        assert!(kept(&[("data-storage-format", "LEVELDB")]).is_err());
    }
}
