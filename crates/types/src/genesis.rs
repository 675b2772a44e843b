//! The genesis file: Besu's format (spec/qbft.md 2) and GoQuorum's (spec/qbft.md 14), read into one value.
//!
//! Keys are matched in any letter case, as Besu does. Unknown keys become [`Genesis::warnings`]. Every error names the
//! key, what was found and what was expected; the caller adds the file's name.

mod blobs;
mod builder;
mod consensus;
mod field;
mod system;

pub use blobs::BlobLimits;
pub use builder::{GOQUORUM_GAS_LIMIT, GenesisBuilder};
pub use system::{BEACON_ROOTS_CONTRACT, BesuRules, HISTORY_CONTRACT, RequestContracts, SystemContracts};

use crate::fork::{Activation, FORK_KEYS, Fork, ForkPoint, ForkSchedule};
use crate::transition::QbftSchedule;
use alloy_consensus::Header;
use alloy_primitives::{Address, B64, B256, Bytes, U256, b256, keccak256};
use alloy_trie::{EMPTY_ROOT_HASH, KECCAK_EMPTY, TrieAccount, root::state_root_unhashed, root::storage_root_unhashed};
use field::Section;
use serde_json::Value;
use std::collections::BTreeMap;

/// Base fee of a genesis header whose London is active and which names none, wei.
pub const INITIAL_BASE_FEE: u64 = 1_000_000_000;

/// `requestsHash` of a block without requests: SHA-256 of nothing (EIP-7685).
pub const EMPTY_REQUESTS_HASH: B256 = b256!("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");

/// Deployed code limit of EIP-170, bytes.
pub const DEFAULT_CODE_SIZE_LIMIT: u64 = 24_576;

/// Most bytes of a genesis file that readers should load: 256 MiB holds some two million accounts, and a file beyond
/// it is a mistake rather than a network.
pub const MAX_GENESIS_BYTES: u64 = 256 * 1024 * 1024;

/// Why a genesis file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GenesisError {
    /// Not JSON at all.
    #[error("not JSON, line {line} column {column}: {reason}; expected Besu's or GoQuorum's genesis format")]
    NotJson {
        /// 1-based.
        line: usize,
        /// 1-based.
        column: usize,
        /// What the JSON reader says.
        reason: String,
    },
    /// A required key is absent.
    #[error("key {key} is missing; expected {expected}")]
    Missing {
        /// Full path of the key.
        key: String,
        /// What belongs there.
        expected: String,
    },
    /// A value of the wrong kind or range.
    #[error("key {key}: got {got}, expected {expected}")]
    Bad {
        /// Full path of the key.
        key: String,
        /// What was found, shortened.
        got: String,
        /// What belongs there.
        expected: String,
    },
    /// A setting that would change the rules in a way this node does not implement.
    #[error("key {key}: {got} is not supported: {reason}")]
    Unsupported {
        /// Full path of the key.
        key: String,
        /// What was found.
        got: String,
        /// Why, and what to do.
        reason: String,
    },
}

/// Which client's format the file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GenesisFormat {
    /// Nested `transitions.qbft[]`; also every file without `isQuorum` and flat transitions.
    Besu,
    /// `isQuorum`, a flat `transitions[]` array, or the legacy `config.istanbul`.
    GoQuorum,
}

/// How the base fee of the next block is found once London is active (spec/qbft.md 4.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BaseFeePolicy {
    /// EIP-1559.
    Market,
    /// 0 in every block from 1 on (`zeroBaseFee`).
    Zero,
    /// The node's `min-gas-price`, which must be the same on all nodes (`fixedBaseFee`).
    Fixed,
}

/// One account of `alloc`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GenesisAccount {
    /// Wei.
    pub balance: U256,
    /// Transaction count.
    pub nonce: u64,
    /// Deployed code, empty for none.
    pub code: Bytes,
    /// Storage slots; never holds a zero value.
    pub storage: BTreeMap<B256, U256>,
}

impl GenesisAccount {
    /// An account that only holds wei.
    pub fn funded(balance: U256) -> GenesisAccount {
        GenesisAccount { balance, ..GenesisAccount::default() }
    }

    fn trie_account(&self) -> TrieAccount {
        let code_hash = if self.code.is_empty() { KECCAK_EMPTY } else { keccak256(&self.code) };
        let storage = storage_root_unhashed(self.storage.iter().map(|(slot, value)| (*slot, *value)));
        TrieAccount::new(self.nonce, self.balance, storage, code_hash)
    }
}

/// A genesis file, read and checked on its own (no chain rules yet: see [`crate::spec::ChainSpec`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Genesis {
    /// EIP-155 chain id; 1 when the file names none.
    pub chain_id: u64,
    /// Which client wrote it.
    pub format: GenesisFormat,
    /// The defined forks.
    pub forks: ForkSchedule,
    /// `config.qbft` with its transitions; `None` when another engine is configured.
    pub qbft: Option<QbftSchedule>,
    /// Base fee rule.
    pub base_fee: BaseFeePolicy,
    /// Deployed code limit in bytes by first block number, ascending; first entry at block 0.
    pub code_size_limits: Vec<(u64, u64)>,
    /// Gas limits that GoQuorum's builder jumps up to besides its default (`transitions[].miner.gaslimit`).
    pub gas_floors: Vec<u64>,
    /// `config.blobSchedule` by the fork key at which it begins.
    pub blob_schedule: Vec<(&'static str, BlobLimits)>,
    /// Which contracts the protocol itself calls, and by whose rules.
    pub system: SystemContracts,
    /// `config.discovery.bootnodes`, enode URLs as written.
    pub bootnodes: Vec<String>,
    /// Header fields.
    pub difficulty: U256,
    /// Gas limit of block 0.
    pub gas_limit: u64,
    /// Header nonce.
    pub nonce: u64,
    /// Unix seconds.
    pub timestamp: u64,
    /// Header beneficiary.
    pub coinbase: Address,
    /// Header mix hash.
    pub mix_hash: B256,
    /// Header parent hash.
    pub parent_hash: B256,
    /// Header extra data, raw.
    pub extra_data: Bytes,
    /// Base fee that the file names for block 0.
    pub base_fee_per_gas: Option<u64>,
    /// From the file, used when Cancun is active at block 0.
    pub blob_gas_used: u64,
    /// From the file, used when Cancun is active at block 0.
    pub excess_blob_gas: u64,
    /// From the file, used when Cancun is active at block 0.
    pub parent_beacon_block_root: B256,
    /// Initial accounts.
    pub alloc: BTreeMap<Address, GenesisAccount>,
    /// What was not understood and has no effect, one sentence each.
    pub warnings: Vec<String>,
}

impl Genesis {
    /// Reads the text of a genesis file.
    pub fn parse(text: &str) -> Result<Genesis, GenesisError> {
        let value: Value = serde_json::from_str(text).map_err(|error| GenesisError::NotJson {
            line: error.line(),
            column: error.column(),
            reason: error.to_string(),
        })?;
        Genesis::from_json(value)
    }

    fn from_json(value: Value) -> Result<Genesis, GenesisError> {
        let mut warnings = Vec::new();
        let mut root = Section::new("", value)?;
        let mut config = root.section("config")?.ok_or_else(|| GenesisError::Missing {
            key: "config".to_owned(),
            expected: "an object with chainId, the fork keys and qbft".to_owned(),
        })?;

        let chain_id = config.get("chainId", "an integer from 1 to 2^64-1", field::quantity64)?.unwrap_or(1);
        let forks = read_forks(&mut config)?;
        let gas_limit = root.need("gasLimit", "an integer from 0 to 2^63-1, decimal or 0x hex", |value| {
            field::quantity64(value).filter(|limit| *limit <= i64::MAX as u64)
        })?;
        let consensus = consensus::read(&mut config, &forks, gas_limit, &mut warnings)?;
        let base_fee = read_base_fee(&mut config)?;
        check_unsupported(&mut config)?;
        let bootnodes = read_bootnodes(&mut config, &mut warnings)?;
        let blob_schedule = blobs::read(&mut config, &mut warnings)?;
        let system = system::read(&mut config, &mut warnings)?;
        config.ignore(&["eip155Block", "eip150Hash", "parisBlock"]);
        for engine in ["ethash", "clique", "ibft", "ibft2"] {
            if config.has(engine) && consensus.schedule.is_some() {
                warnings.push(format!("config.{engine} is ignored: config.qbft decides the consensus"));
            }
            config.ignore(&[engine]);
        }
        if config.has("terminalTotalDifficulty") {
            config.ignore(&["terminalTotalDifficulty", "terminalTotalDifficultyPassed"]);
            if consensus.schedule.is_some() {
                warnings.push("config.terminalTotalDifficulty is ignored: a QBFT chain has no merge".to_owned());
            }
        }
        config.finish(&mut warnings);

        let genesis = Genesis {
            chain_id,
            format: consensus.format,
            forks,
            qbft: consensus.schedule,
            base_fee,
            code_size_limits: consensus.code_size_limits,
            gas_floors: consensus.gas_floors,
            blob_schedule,
            system,
            bootnodes,
            difficulty: root.need("difficulty", "a hex number", field::hex_quantity)?,
            gas_limit,
            nonce: root.get("nonce", "8 bytes of hex", field::hex_quantity64)?.unwrap_or(0),
            timestamp: root
                .get("timestamp", "unix seconds: a JSON number, or a string, decimal or 0x hex", field::quantity64)?
                .unwrap_or(0),
            coinbase: root.get("coinbase", "an address of up to 20 bytes of hex", field::address)?.unwrap_or_default(),
            mix_hash: root.get("mixHash", "up to 32 bytes of hex", field::hash)?.unwrap_or_default(),
            parent_hash: root.get("parentHash", "up to 32 bytes of hex", field::hash)?.unwrap_or_default(),
            extra_data: root.get("extraData", "a string of hex bytes", field::bytes)?.unwrap_or_default(),
            base_fee_per_gas: root.get("baseFeePerGas", "wei in hex, below 2^64", field::hex_quantity64)?,
            blob_gas_used: root.get("blobGasUsed", "a hex number below 2^64", field::hex_quantity64)?.unwrap_or(0),
            excess_blob_gas: root.get("excessBlobGas", "a hex number below 2^64", field::hex_quantity64)?.unwrap_or(0),
            parent_beacon_block_root: root
                .get("parentBeaconBlockRoot", "32 bytes of hex", field::hash)?
                .unwrap_or_default(),
            alloc: match root.section("alloc")? {
                Some(section) => read_alloc(section, &mut warnings)?,
                None => BTreeMap::new(),
            },
            warnings: Vec::new(),
        };
        root.ignore(&["number", "gasUsed", "hash", "stateRoot"]);
        root.finish(&mut warnings);
        Ok(Genesis { warnings, ..genesis })
    }

    /// Reads an `alloc` object on its own: the file of extra accounts that a lab adds.
    /// Both `{"<address>": {...}}` and a whole genesis file with an `alloc` key are accepted.
    pub fn parse_alloc(text: &str) -> Result<BTreeMap<Address, GenesisAccount>, GenesisError> {
        let value: Value = serde_json::from_str(text).map_err(|error| GenesisError::NotJson {
            line: error.line(),
            column: error.column(),
            reason: error.to_string(),
        })?;
        let inner = match &value {
            Value::Object(map) => map.iter().find(|(key, _)| key.eq_ignore_ascii_case("alloc")).map(|(_, v)| v.clone()),
            _ => None,
        };
        let mut warnings = Vec::new();
        read_alloc(Section::new("alloc", inner.unwrap_or(value))?, &mut warnings)
    }

    /// The rules of block 0.
    pub fn fork(&self) -> Fork {
        self.forks.at(0, self.timestamp)
    }

    /// Root of the state trie of `alloc`.
    pub fn state_root(&self) -> B256 {
        if self.alloc.is_empty() {
            return EMPTY_ROOT_HASH;
        }
        state_root_unhashed(self.alloc.iter().map(|(address, account)| (*address, account.trie_account())))
    }

    /// Header of block 0 (spec/qbft.md 2.3). Its hash is the plain hash of its RLP.
    pub fn header(&self) -> Header {
        let fork = self.fork();
        let london = fork >= Fork::London;
        let cancun = fork >= Fork::Cancun;
        Header {
            parent_hash: self.parent_hash,
            beneficiary: self.coinbase,
            state_root: self.state_root(),
            difficulty: self.difficulty,
            number: 0,
            gas_limit: self.gas_limit,
            timestamp: self.timestamp,
            extra_data: self.extra_data.clone(),
            mix_hash: self.mix_hash,
            nonce: B64::from(self.nonce),
            base_fee_per_gas: self.base_fee_per_gas.or(london.then_some(INITIAL_BASE_FEE)),
            withdrawals_root: (fork >= Fork::Shanghai).then_some(EMPTY_ROOT_HASH),
            blob_gas_used: cancun.then_some(self.blob_gas_used),
            excess_blob_gas: cancun.then_some(self.excess_blob_gas),
            parent_beacon_block_root: cancun.then_some(self.parent_beacon_block_root),
            requests_hash: (fork >= Fork::Prague).then_some(EMPTY_REQUESTS_HASH),
            ..Header::default()
        }
    }
}

fn read_forks(config: &mut Section) -> Result<ForkSchedule, GenesisError> {
    let mut points = Vec::new();
    for spec in FORK_KEYS {
        let expected = if spec.by_time { "unix seconds (an integer from 0)" } else { "a block number (an integer from 0)" };
        let mut at = config.get(spec.key, expected, field::quantity64)?;
        if let Some(alias) = spec.alias {
            let other = config.get(alias, expected, field::quantity64)?;
            at = at.or(other);
        }
        let Some(at) = at else { continue };
        if spec.key == "daoForkBlock" && at == 0 {
            continue;
        }
        let at = if spec.by_time { Activation::Time(at) } else { Activation::Block(at) };
        points.push(ForkPoint { key: spec.key, fork: spec.fork, at });
    }
    if let Some((key, value)) = config.take("amsterdamTime") {
        return Err(GenesisError::Unsupported {
            key,
            got: value.to_string(),
            reason: "Amsterdam is newer than every fork this node knows; use forks up to osakaTime".to_owned(),
        });
    }
    ForkSchedule::new(points).map_err(|(earlier, later)| GenesisError::Bad {
        key: format!("config.{}", later.key),
        got: later.at.value().to_string(),
        expected: format!("{} or more, because {} comes before it", earlier.at.value(), earlier.key),
    })
}

fn read_base_fee(config: &mut Section) -> Result<BaseFeePolicy, GenesisError> {
    let zero = config.get("zeroBaseFee", "true or false", field::boolean)?.unwrap_or(false);
    let fixed = config.get("fixedBaseFee", "true or false", field::boolean)?.unwrap_or(false);
    Ok(match (zero, fixed) {
        (true, _) => BaseFeePolicy::Zero,
        (false, true) => BaseFeePolicy::Fixed,
        (false, false) => BaseFeePolicy::Market,
    })
}

/// Settings of Besu that change validity and that this node does not follow: refusing beats forking off.
fn check_unsupported(config: &mut Section) -> Result<(), GenesisError> {
    if let Some((key, value)) = config.take("evmStackSize") {
        if field::quantity64(&value) != Some(1024) {
            return Err(GenesisError::Unsupported {
                key,
                got: value.to_string(),
                reason: "the EVM stack holds 1024 items; remove the key or set it to 1024".to_owned(),
            });
        }
    }
    if let Some((key, value)) = config.take("ecCurve") {
        if !field::text(&value).is_some_and(|curve| curve.eq_ignore_ascii_case("secp256k1")) {
            return Err(GenesisError::Unsupported {
                key,
                got: value.to_string(),
                reason: "only the curve secp256k1 is implemented; remove the key".to_owned(),
            });
        }
    }
    Ok(())
}

fn read_bootnodes(config: &mut Section, warnings: &mut Vec<String>) -> Result<Vec<String>, GenesisError> {
    let Some(mut discovery) = config.section("discovery")? else { return Ok(Vec::new()) };
    let bootnodes = discovery
        .get("bootnodes", "an array of enode URLs", |value| {
            value.as_array()?.iter().map(field::text).collect::<Option<Vec<String>>>()
        })?
        .unwrap_or_default();
    discovery.ignore(&["dns", "v5Bootnodes"]);
    discovery.finish(warnings);
    Ok(bootnodes)
}

fn read_alloc(
    section: Section,
    warnings: &mut Vec<String>,
) -> Result<BTreeMap<Address, GenesisAccount>, GenesisError> {
    let mut alloc = BTreeMap::new();
    for (path, key, value) in section.into_entries() {
        let address = field::address_text(&key).filter(|_| key.len() >= 40).ok_or_else(|| GenesisError::Bad {
            key: path.clone(),
            got: format!("{key:?}"),
            expected: "an address: 40 hex digits, with or without 0x".to_owned(),
        })?;
        let mut account = Section::new(&path, value)?;
        let mut storage = BTreeMap::new();
        if let Some(slots) = account.section("storage")? {
            for (path, key, value) in slots.into_entries() {
                let slot = field::hash(&Value::String(key.clone())).ok_or_else(|| GenesisError::Bad {
                    key: path.clone(),
                    got: format!("{key:?}"),
                    expected: "a slot number of up to 32 bytes of hex".to_owned(),
                })?;
                let value =
                    field::hex_quantity(&value).ok_or_else(|| field::bad(&path, &value, "up to 32 bytes of hex"))?;
                if !value.is_zero() {
                    storage.insert(slot, value);
                }
            }
        }
        let entry = GenesisAccount {
            balance: account.get("balance", "wei, decimal or 0x hex, below 2^256", field::quantity)?.unwrap_or_default(),
            nonce: account.get("nonce", "a hex number below 2^64", field::hex_quantity64)?.unwrap_or(0),
            code: account.get("code", "a string of hex bytes", field::bytes)?.unwrap_or_default(),
            storage,
        };
        account.ignore(&["privateKey", "comment", "version"]);
        account.finish(warnings);
        if alloc.insert(address, entry).is_some() {
            return Err(GenesisError::Bad {
                key: path,
                got: "the same address twice".to_owned(),
                expected: "each address once".to_owned(),
            });
        }
    }
    Ok(alloc)
}
