//! The settings of one node: one table ([`OPTIONS`]) that the TOML file, the environment and the flags all read.
//!
//! Precedence: flags, then environment (`IPE_P2P_PORT`), then file (`p2p-port = 30303`), then default. A key that the
//! table does not have is an error that names the file and the nearest keys.

pub mod besu;
mod options;
mod resolve;
mod texts;

pub use options::{OPTIONS, OptionKind, OptionSpec};
pub use resolve::{ConfigError, Given, Origin, resolve, split};

use ipe_types::genesis::{NodeAbi, NodeContract, Permissioning, RULES_GAS};
use ipe_types::members::{Members, MembersError};
use ipe_types::spec::ChainSpec;
use ipe_types::{Address, Checkpoint, Dialect, Enode, NodeId, Role, Topology};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// Most bytes read of a genesis file; see [`ipe_types::genesis::MAX_GENESIS_BYTES`].
pub use ipe_types::genesis::MAX_GENESIS_BYTES;

/// Most bytes of a configuration, directory or static nodes file: such files are some hundred lines of text, and a
/// wrong path must not load a disk image.
pub const MAX_SETTINGS_BYTES: u64 = 16 * 1024 * 1024;

/// Whose answers JSON-RPC gives where Besu's releases differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RpcRelease {
    /// Besu 25.x.
    Besu25,
    /// Besu 26.x.
    Besu26,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Plain,
    /// One JSON object a line.
    Json,
}

/// One JSON-RPC listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RpcListener {
    /// Whether it is opened.
    pub enabled: bool,
    /// Address to bind.
    pub host: IpAddr,
    /// Port to bind; 0 = any free one.
    pub port: u16,
    /// Method groups, upper case (`ETH`, `NET`, ...).
    pub api: Vec<String>,
    /// Connections at once.
    pub max_connections: usize,
    /// Who may call what.
    pub authentication: RpcAuthentication,
    /// Whether and how the listener speaks TLS.
    pub tls: RpcTls,
}

/// TLS of one JSON-RPC listener. Key and certificate are in a PKCS#12 file or in two PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RpcTls {
    /// Whether it is on.
    pub enabled: bool,
    /// PKCS#12 file with key and certificates.
    pub keystore_file: Option<PathBuf>,
    /// What opens it.
    pub keystore_password: Option<ipe_api::Password>,
    /// PEM file with the key.
    pub key_file: Option<PathBuf>,
    /// PEM file with the certificates.
    pub cert_file: Option<PathBuf>,
    /// Whether clients need a certificate.
    pub client_auth: bool,
    /// Besu's file of known clients.
    pub known_clients_file: Option<PathBuf>,
    /// PKCS#12 file with certificates of authorities whose clients are let in.
    pub truststore_file: Option<PathBuf>,
    /// What opens it.
    pub truststore_password: Option<ipe_api::Password>,
    /// PEM file with such certificates.
    pub trustcert_file: Option<PathBuf>,
    /// `TLSv1.3`, `TLSv1.2`.
    pub protocols: Vec<String>,
    /// Names of ciphers; none = all.
    pub cipher_suites: Vec<String>,
}

impl Default for RpcTls {
    fn default() -> Self {
        Self {
            enabled: false,
            keystore_file: None,
            keystore_password: None,
            key_file: None,
            cert_file: None,
            client_auth: false,
            known_clients_file: None,
            truststore_file: None,
            truststore_password: None,
            trustcert_file: None,
            protocols: vec!["TLSv1.3".to_owned(), "TLSv1.2".to_owned()],
            cipher_suites: Vec::new(),
        }
    }
}

/// Authentication of one JSON-RPC listener.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RpcAuthentication {
    /// Whether a token is asked for.
    pub enabled: bool,
    /// TOML file of users, whose names and passwords are worth a token.
    pub credentials_file: Option<PathBuf>,
    /// PEM file with the public key of whoever else makes tokens.
    pub public_key_file: Option<PathBuf>,
    /// How those are signed.
    pub algorithm: ipe_api::Algorithm,
    /// Methods that need no token.
    pub open_methods: Vec<String>,
}

/// One local allow-list (spec/besu-compat.md 4).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowListSetting {
    /// Whether it is in force.
    pub enabled: bool,
    /// TOML file; `None` = `<data_dir>/permissions_config.toml`.
    pub file: Option<PathBuf>,
}

/// Bounds and rules of the transaction pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolSettings {
    /// Transactions held.
    pub max_count: usize,
    /// Bytes of transactions held.
    pub max_bytes: usize,
    /// Transactions held of one sender.
    pub max_per_sender: usize,
    /// How far a nonce may be ahead of the account's.
    pub max_gap: u64,
    /// Percent by which a replacement must pay more.
    pub price_bump_percent: u32,
    /// Seconds after which an unmined transaction is dropped.
    pub retention_s: u64,
    /// Whether transactions received over JSON-RPC survive a restart.
    pub journal: bool,
}

/// Everything one node is started with. Made by [`resolve()`]; relative paths are already joined to the directory of the
/// file they stood in.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeConfig {
    /// Folder that holds everything the node writes.
    pub data_dir: PathBuf,
    /// Bytes that the database keeps of what it read; `None` = by the machine's memory, see [`ipe_store::DiskSettings`].
    pub database_cache: Option<u64>,
    /// Whether the state of every block is kept.
    pub archive: bool,
    /// Otherwise, how many of the last blocks' states are: at least [`ipe_chain::state::MIN_KEEP`].
    pub historical_blocks: u64,
    /// Genesis file.
    pub genesis: Option<PathBuf>,
    /// Node key in Besu's format; `None` = `<data_dir>/key`, made when absent.
    pub key_file: Option<PathBuf>,
    /// Key that signs blocks; `None` = the node key.
    pub validator_key_file: Option<PathBuf>,
    /// Role in the institution.
    pub role: Role,
    /// Name for people; empty = the node's address.
    pub name: String,
    /// Who runs it.
    pub institution: String,
    /// Shape of the network.
    pub topology: Topology,
    /// Directory of the network's nodes (`network.json`).
    pub members: Option<PathBuf>,
    /// Emitted form of consensus messages.
    pub dialect: Dialect,
    /// Network id of the eth Status; `None` = chain id.
    pub network_id: Option<u64>,
    /// A block that is of the chain, from a source that the operator trusts; no other history is taken.
    pub checkpoint: Option<Checkpoint>,

    /// Hosts that others dial, put into the enode: IP addresses or DNS names.
    pub p2p_host: Vec<String>,
    /// Address to bind.
    pub p2p_interface: IpAddr,
    /// TCP port (and UDP for discovery); 0 = any free one.
    pub p2p_port: u16,
    /// Whether to listen at all; `None` = what the topology says for the role. See [`NodeConfig::listens`].
    pub p2p_listen: Option<bool>,
    /// Nodes to stay connected to, as given; see [`NodeConfig::load_static_nodes`].
    pub static_nodes: Vec<Enode>,
    /// JSON array of enode URLs; `None` = `<data_dir>/static-nodes.json` when it is there.
    pub static_nodes_file: Option<PathBuf>,
    /// Validators of another implementation: of a sentry validator, those with whom its boots carry its sessions,
    /// besides the directory's; of a boot, those to whom it carries, when it has no directory that says so.
    pub carry: Vec<Enode>,
    /// Of a boot: public keys of the validators that it carries for, besides the directory's of its own institution.
    pub carry_for: Vec<NodeId>,
    /// Keys whose places strangers cannot take, each with the hosts from which its node comes, as far as they are given.
    pub reserved_nodes: Vec<(NodeId, Vec<String>)>,
    /// Whether the only validator of a chain makes blocks on an empty folder without having heard of anybody.
    pub start_alone: bool,
    /// Replaces the genesis file's bootnodes when given.
    pub bootnodes: Option<Vec<Enode>>,
    /// discv4 over UDP.
    pub discovery: bool,
    /// Slots of nodes outside the directory; static nodes and members have their own.
    pub max_peers: usize,

    /// Local allow-list of nodes.
    pub nodes_list: AllowListSetting,
    /// Local allow-list of senders.
    pub accounts_list: AllowListSetting,
    /// Contracts with rules.
    pub rules: RulesSettings,

    /// JSON-RPC over HTTP.
    pub rpc_http: RpcListener,
    /// JSON-RPC over WebSocket on a port of its own.
    pub rpc_ws: RpcListener,
    /// JSON-RPC over HTTP for operators, with the authentication and TLS of [`NodeConfig::rpc_http`].
    pub rpc_operator: RpcListener,
    /// CORS origins, `*` = any.
    pub rpc_cors_origins: Vec<String>,
    /// Calls in one batch.
    pub rpc_max_batch: usize,
    /// Bytes of one request.
    pub rpc_max_body: usize,
    /// Seconds that one request may take.
    pub rpc_timeout_s: u64,
    /// Bytes of one WebSocket message.
    pub rpc_ws_max_frame: usize,
    /// Accepted `Host` names, `*` = any.
    pub host_allowlist: Vec<String>,
    /// Gas of one simulated call, 0 = unlimited.
    pub rpc_gas_cap: u64,
    /// Wei a submitted transaction may pay in fees, 0 = unlimited.
    pub rpc_tx_fee_cap: u128,
    /// Blocks one `eth_getLogs` may span, 0 = unlimited.
    pub rpc_max_logs_range: u64,
    /// Blocks one `trace_filter` may span, 0 = unlimited.
    pub rpc_max_trace_range: u64,
    /// Whose shapes and texts JSON-RPC answers with.
    pub rpc_release: RpcRelease,
    /// Show revert reasons in receipts.
    pub revert_reason: bool,

    /// Prometheus exporter.
    pub metrics_enabled: bool,
    /// Address to bind.
    pub metrics_host: IpAddr,
    /// Port to bind; 0 = any free one.
    pub metrics_port: u16,

    /// Least gas price accepted and built with, wei; also the fixed base fee of chains that fix it.
    pub min_gas_price: u64,
    /// Gas limit that proposed blocks move towards; `None` = keep the parent's.
    pub target_gas_limit: Option<u64>,
    /// Vanity of proposed blocks, at most 32 bytes; `None` = client name.
    pub miner_extra_data: Option<Vec<u8>>,
    /// Percent of the block period that choosing transactions may take.
    pub block_selection_percent: u32,
    /// Most gas that one transaction may use in a block built here.
    pub tx_gas: u64,
    /// Longest transaction that the pool takes, bytes.
    pub tx_bytes: usize,
    /// Transaction pool.
    pub pool: PoolSettings,

    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter like `info,ipe_p2p=debug`.
    pub log_level: String,
    /// How log lines look.
    pub log_format: LogFormat,

    /// Settings that had no effect, one sentence each.
    pub warnings: Vec<String>,
}

/// Contracts with rules that the options name, as Besu's do. A genesis may name them, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RulesSettings {
    /// Whether account rules are asked.
    pub accounts_enabled: bool,
    /// The account ingress.
    pub accounts: Option<Address>,
    /// Whether node rules are asked.
    pub nodes_enabled: bool,
    /// The node ingress.
    pub nodes: Option<Address>,
    /// How it is asked.
    pub nodes_abi: NodeAbi,
    /// Most gas of a question.
    pub gas: u64,
}

impl Default for RulesSettings {
    fn default() -> Self {
        Self { accounts_enabled: false, accounts: None, nodes_enabled: false, nodes: None, nodes_abi: NodeAbi::V1, gas: RULES_GAS }
    }
}

impl RulesSettings {
    /// The contracts that the options name.
    ///
    /// # Errors
    /// Rules are enabled and their contract is not named.
    pub fn permissioning(&self) -> Result<Permissioning, ConfigError> {
        let needed =
            |key| ConfigError::Needed { key, expected: "the address of the ingress contract, because its rules are enabled" };
        let accounts = match (self.accounts_enabled, self.accounts) {
            (true, None) => return Err(needed("permissions-accounts-contract-address")),
            (enabled, address) => address.filter(|_| enabled),
        };
        let nodes = match (self.nodes_enabled, self.nodes) {
            (true, None) => return Err(needed("permissions-nodes-contract-address")),
            (enabled, address) => address.filter(|_| enabled).map(|address| NodeContract { address, abi: self.nodes_abi }),
        };
        Ok(Permissioning { accounts, nodes, gas: self.gas })
    }
}

impl NodeConfig {
    /// The chain: the genesis file, and the rules that the options name.
    ///
    /// # Errors
    /// The file cannot be read or is no genesis of a QBFT chain, or options and file name different rules.
    pub fn load_spec(&self) -> Result<(PathBuf, ChainSpec), ConfigError> {
        let (path, text) = self.load_genesis()?;
        let wrong = |message: String| ConfigError::Content { path: path.clone(), message };
        let spec = ChainSpec::parse(&text).map_err(|error| wrong(error.to_string()))?;
        let spec = spec.with_permissioning(&self.rules.permissioning()?).map_err(wrong)?;
        Ok((path, spec))
    }

    /// Whether the node opens a p2p listening socket: as the topology says unless `p2p-listen` is given.
    pub fn listens(&self) -> bool {
        self.p2p_listen.unwrap_or_else(|| self.topology.listens(self.role))
    }

    /// Where the node key is.
    pub fn key_path(&self) -> PathBuf {
        self.key_file.clone().unwrap_or_else(|| self.data_dir.join("key"))
    }

    /// Where the key is that signs blocks: the node key, unless another is named.
    pub fn validator_key_path(&self) -> PathBuf {
        self.validator_key_file.clone().unwrap_or_else(|| self.key_path())
    }

    /// Where an allow-list is.
    pub fn allow_list_path(&self, list: &AllowListSetting) -> PathBuf {
        list.file.clone().unwrap_or_else(|| self.data_dir.join("permissions_config.toml"))
    }

    /// Folder of the database, inside the data folder.
    pub fn database_dir(&self) -> PathBuf {
        self.data_dir.join("database")
    }

    /// Given static nodes, then those of the file; each once.
    ///
    /// Errors: the file was named and cannot be read, or has an entry that is not an enode with a port.
    pub fn load_static_nodes(&self) -> Result<Vec<Enode>, ConfigError> {
        let mut nodes = self.static_nodes.clone();
        let path = self.static_nodes_file.clone().unwrap_or_else(|| self.data_dir.join("static-nodes.json"));
        if self.static_nodes_file.is_some() || path.exists() {
            let text = read_text(&path, MAX_SETTINGS_BYTES)?;
            let wrong = |got: String| ConfigError::Content {
                path: path.clone(),
                message: format!("got {got}, expected a JSON array of enode URLs"),
            };
            nodes.extend(parse_static_nodes(&text).map_err(wrong)?);
        }
        if let Some(enode) = nodes.iter().find(|enode| enode.tcp == 0) {
            return Err(ConfigError::Content {
                path,
                message: format!("static node {enode} has port 0, expected the port that it listens on"),
            });
        }
        let mut seen = std::collections::HashSet::new();
        nodes.retain(|enode| seen.insert(enode.id));
        Ok(nodes)
    }

    /// The directory of the network, when one is configured.
    pub fn load_members(&self) -> Result<Option<Members>, ConfigError> {
        let Some(path) = &self.members else { return Ok(None) };
        let text = read_text(path, MAX_SETTINGS_BYTES)?;
        let members = Members::parse(&text)
            .map_err(|error: MembersError| ConfigError::Content { path: path.clone(), message: error.to_string() })?;
        Ok(Some(members))
    }

    /// Text of the genesis file.
    pub fn load_genesis(&self) -> Result<(PathBuf, String), ConfigError> {
        let path = self
            .genesis
            .clone()
            .ok_or(ConfigError::Needed { key: "genesis", expected: "the path of a genesis file in Besu's or GoQuorum's format" })?;
        let text = read_text(&path, MAX_GENESIS_BYTES)?;
        Ok((path, text))
    }
}

/// Enodes of the text of a `static-nodes.json`; none in an empty file, as Besu has it.
///
/// Errors: what stands there in place of a JSON array of enode URLs.
pub fn parse_static_nodes(text: &str) -> Result<Vec<Enode>, String> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let urls: Vec<String> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    urls.into_iter().map(|url| url.parse().map_err(|error| format!("{error}"))).collect()
}

/// Reads a text file of at most `limit` bytes.
pub fn read_text(path: &Path, limit: u64) -> Result<String, ConfigError> {
    use std::io::Read;
    let unreadable = |reason: String| ConfigError::Unreadable { path: path.to_owned(), reason };
    let file = std::fs::File::open(path).map_err(|error| unreadable(error.to_string()))?;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|error| unreadable(error.to_string()))?;
    if bytes.len() as u64 > limit {
        return Err(unreadable(format!("it has more than {limit} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| unreadable("it is not UTF-8 text".to_owned()))
}
