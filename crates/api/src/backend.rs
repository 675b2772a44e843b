//! What the API may touch of the node, and what it asks the node to do.

use crate::answers::Answers;
use crate::authentication::Desk;
use crate::eth_fees::Prices;
use crate::eth_logs::Filters;
use crate::purse::Purse;
use crate::turns::Turns;
use alloy_primitives::{Address, U256};
use ipe_chain::Ledger;
use ipe_engine::pool::{LoadGate, Pool};
use ipe_engine::{Control, Notification, Reply, StatusCell};
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{broadcast, mpsc, oneshot};

/// Sets the log level of the targets that are given (all of them when there are none).
pub type SetLogLevel = Arc<dyn Fn(&str, &[String]) -> bool + Send + Sync>;

/// Handles to the node's parts; cheap to clone.
#[derive(Clone)]
pub struct Backend {
    /// Chain and state, read only.
    pub ledger: Arc<Ledger>,
    /// The transaction pool, shared with the replica. Never held while a sender is recovered or anything is awaited.
    pub pool: Arc<Mutex<Pool>>,
    /// Wishes to the node; a full channel delays the asking thread, never the node.
    pub control: mpsc::Sender<Control>,
    /// Where the node announces blocks and transactions; every WebSocket connection and filter reads from it.
    pub notifications: broadcast::Sender<Notification>,
    /// The node's condition.
    pub status: StatusCell,
    /// Changes the log level for targets (empty = all); `false` when the level is unknown.
    pub log_level: SetLogLevel,
    /// What the operator should look after although the node runs, a sentence each, without secrets and paths.
    pub advice: Arc<dyn Fn() -> Vec<String> + Send + Sync>,
    /// The clock by which the pool counts, ms: one that nobody sets, see [`ipe_engine::Clock`].
    pub steady_ms: fn() -> u64,
}

/// Whose answers to give where Besu's releases differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Release {
    /// 25.5.0, the release RBB runs.
    #[default]
    Besu25,
    /// 26.8.0: reverts have code 3, transactions and logs carry `blockTimestamp`, mining methods are gone.
    Besu26,
}

/// What `net_services` lists.
#[derive(Debug, Clone, Default)]
pub struct Services {
    /// JSON-RPC over HTTP.
    pub http: Option<SocketAddr>,
    /// JSON-RPC over WebSocket.
    pub ws: Option<SocketAddr>,
    /// Prometheus.
    pub metrics: Option<SocketAddr>,
    /// RLPx, when this node listens.
    pub p2p: Option<SocketAddr>,
}

/// Settings of the dispatcher; everything has Besu's default.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `web3_clientVersion`.
    pub client_version: String,
    /// `net_version`.
    pub network_id: u64,
    /// Own address (validator key): the coinbase of what this node proposes.
    pub address: Address,
    /// Own enode URL as others should write it, if there is one to tell.
    pub enode: Option<String>,
    /// Whose answers.
    pub release: Release,
    /// Most gas one simulated call may use (`rpc-gas-cap`); 0 = unlimited.
    pub gas_cap: u64,
    /// Most fee in wei a submitted transaction may offer (`rpc-tx-feecap`); 0 = unlimited.
    pub fee_cap: U256,
    /// Most blocks one `eth_getLogs` may span (`rpc-max-logs-range`); 0 = unlimited.
    pub max_logs_range: u64,
    /// Most blocks one `trace_filter` may span; 0 = unlimited.
    pub max_trace_range: u64,
    /// Show `revertReason` in receipts (`revert-reason-enabled`).
    pub revert_reason: bool,
    /// Longest a request may take, all calls of a batch together, waiting for its turn included.
    pub time_limit: Duration,
    /// How many heavy requests run at once, and as many that read whole blocks; the others take turns with them.
    pub heavy: usize,
    /// Largest response in bytes, of a call or a batch.
    pub response_limit: usize,
    /// What `net_services` says.
    pub services: Services,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            client_version: format!("ipe/v{}", env!("CARGO_PKG_VERSION")),
            network_id: 1,
            address: Address::ZERO,
            enode: None,
            release: Release::default(),
            gas_cap: 100_000_000,
            fee_cap: U256::from(1_000_000_000_000_000_000_u128),
            max_logs_range: 5000,
            max_trace_range: 1000,
            revert_reason: false,
            time_limit: Duration::from_secs(30),
            heavy: std::thread::available_parallelism().map_or(2, |cores| cores.get().clamp(2, 8)),
            response_limit: 64 << 20,
            services: Services::default(),
        }
    }
}

/// The dispatcher: handles, settings, installed filters and the bound on heavy work.
pub struct Api {
    /// The node.
    pub backend: Backend,
    /// What was configured.
    pub settings: Settings,
    pub(crate) filters: Filters,
    pub(crate) gate: Arc<LoadGate>,
    pub(crate) prices: Mutex<Prices>,
    /// Turns of what executes, traces and searches.
    pub(crate) heavy: Arc<Turns>,
    /// Turns of what reads whole blocks, and of long batches.
    pub(crate) reading: Arc<Turns>,
    /// What requests hold while they are carried out.
    pub(crate) memory: Arc<Purse>,
    /// Long bodies of requests.
    pub(crate) bodies: Arc<Purse>,
    pub(crate) answers: Answers,
    /// What may still be subscribed to, see [`crate::subscribe`].
    pub(crate) attention: Arc<Purse>,
    /// Requests that are begun, see [`begun`].
    pub(crate) waiting: Arc<Purse>,
    pub(crate) desk: Desk,
}

/// Requests that are begun at once, on a thread each, most of which wait for their turn: as many as the connections of two
/// listeners can ask.
pub(crate) fn begun(heavy: usize) -> usize {
    2 * heavy + 160
}

impl Api {
    /// A dispatcher over a node.
    pub fn new(backend: Backend, settings: Settings) -> Arc<Self> {
        let heavy = settings.heavy.max(1);
        let gate = backend.pool.lock().gate();
        Arc::new(Self {
            backend,
            gate,
            filters: Filters::default(),
            heavy: Turns::new(heavy),
            reading: Turns::new(heavy),
            memory: Purse::new(crate::allowance::MEMORY),
            bodies: Purse::new(crate::server::BODIES),
            answers: Answers::new(),
            attention: Purse::new(crate::subscribe::ATTENTION),
            waiting: Purse::new(begun(heavy)),
            desk: Desk::new(),
            prices: Mutex::new(Prices::default()),
            settings,
        })
    }

    /// Puts a wish to the node and waits for the answer. Call from a blocking thread only.
    pub(crate) fn ask<T: Send + 'static>(&self, make: impl FnOnce(Reply<T>) -> Control) -> Result<T, crate::RpcError> {
        let (reply, answer) = oneshot::channel();
        // The asker may have gone away; then nobody misses the answer.
        let control = make(Box::new(move |value| drop(reply.send(value))));
        self.backend.control.blocking_send(control).map_err(|_| crate::RpcError::NODE_BUSY)?;
        answer.blocking_recv().map_err(|_| crate::RpcError::NODE_BUSY)
    }

    /// Least gas price that is taken now, wei (`min-gas-price`, or what `miner_setMinGasPrice` made of it).
    pub(crate) fn min_gas_price(&self) -> u128 {
        self.backend.pool.lock().rules().min_gas_price
    }

    /// Current time in milliseconds since 1970.
    pub(crate) fn now_ms() -> u64 {
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
    }

    /// Besu 26 or later is imitated.
    pub(crate) fn besu26(&self) -> bool {
        self.settings.release == Release::Besu26
    }
}
