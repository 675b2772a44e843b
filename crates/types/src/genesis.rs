//! The genesis file: Besu's format (spec/qbft.md 2) and GoQuorum's (spec/qbft.md 14), read into one value.
//!
//! Keys are matched in any letter case, as Besu does. Unknown keys become [`Genesis::warnings`]. Every error names the
//! key, what was found and what was expected; the caller adds the file's name.

mod alloc;
mod blobs;
mod builder;
mod consensus;
mod field;
mod forks;
mod json;
mod permissioning;
mod system;
mod warnings;

pub use blobs::BlobLimits;
pub use builder::{GOQUORUM_GAS_LIMIT, GenesisBuilder};
pub use permissioning::{NodeAbi, NodeContract, Permissioning, PermissioningSchedule, RULES_GAS};
pub use system::{BEACON_ROOTS_CONTRACT, BesuRules, HISTORY_CONTRACT, RequestContracts, SystemContracts};

use crate::extra::ExtraData;
use crate::fork::{Fork, ForkSchedule};
use crate::goquorum::GasPrices;
use crate::transition::QbftSchedule;
use alloy_consensus::Header;
use alloy_primitives::{Address, B64, B256, Bytes, U256, b256, keccak256};
use alloy_trie::{EMPTY_ROOT_HASH, KECCAK_EMPTY, TrieAccount, root::state_root_unhashed, root::storage_root_unhashed};
use field::Section;
use json::Json;
use std::collections::BTreeMap;
use warnings::Warnings;

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
    /// `isQuorum`, a flat `transitions[]` array, or the legacy `config.istanbul`; no fork after Berlin, no base fee.
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
    /// Where transactions may offer a gas price, in GoQuorum's format.
    pub gas_prices: GasPrices,
    /// `config.blobSchedule` by the fork key at which it begins.
    pub blob_schedule: Vec<(&'static str, BlobLimits)>,
    /// Which contracts the protocol itself calls, and by whose rules.
    pub system: SystemContracts,
    /// Which contracts say who may send transactions and which nodes may connect.
    pub permissioning: PermissioningSchedule,
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
    ///
    /// # Errors
    /// No JSON, a key that is missing or has a value of another kind, a setting whose rules are not implemented.
    pub fn parse(text: &str) -> Result<Genesis, GenesisError> {
        let mut warnings = Warnings::default();
        let mut root = Section::new("", read_json(text)?)?;
        let mut config = root.section("config")?.ok_or_else(|| GenesisError::Missing {
            key: "config".to_owned(),
            expected: match root.has("genesis") && root.has("blockchain") {
                true => "a genesis file, and this is the input of Besu's operator generate-blockchain-config: make the network of \
                         it by ipe genesis build --from FILE --out FOLDER"
                    .to_owned(),
                false => "an object with chainId, the fork keys and qbft".to_owned(),
            },
        })?;
        let format = consensus::format(&config, &mut warnings);

        let chain_id = config.get("chainId", "an integer from 1 to 2^64-1", field::quantity64)?.unwrap_or(1);
        let forks = forks::read(&mut config, format, &mut warnings)?;
        let gas_limit = read_gas_limit(&mut root, format)?;
        let consensus = consensus::read(&mut config, format, &forks, gas_limit, &mut warnings)?;
        let base_fee = read_base_fee(&mut config)?;
        check_unsupported(&mut config)?;
        let bootnodes = read_bootnodes(&mut config, &mut warnings)?;
        let blob_schedule = blobs::read(&mut config, &mut warnings)?;
        let (system, permissioning) = system::read(&mut config, &mut warnings)?;
        config.ignore(&["eip155Block", "eip150Hash", "daoForkSupport", "parisBlock"]);
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

        let quorum = format == GenesisFormat::GoQuorum;
        // Besu takes digits for hex where go-ethereum takes them for decimal, unless 0x is in front.
        let (number, number64) = match format {
            GenesisFormat::Besu => (field::hex_quantity as fn(Json<'_>) -> _, field::hex_quantity64 as fn(Json<'_>) -> _),
            GenesisFormat::GoQuorum => (field::quantity as fn(Json<'_>) -> _, field::quantity64 as fn(Json<'_>) -> _),
        };
        if quorum {
            root.ignore_aloud(&["baseFeePerGas"], "GoQuorum has no base fee", &mut warnings);
            read_gas_used(&mut root)?;
        }
        let genesis = Genesis {
            chain_id,
            format,
            forks,
            qbft: consensus.schedule,
            base_fee,
            code_size_limits: consensus.code_size_limits,
            gas_floors: consensus.gas_floors,
            gas_prices: consensus.gas_prices,
            blob_schedule,
            system,
            permissioning,
            bootnodes,
            difficulty: root.need("difficulty", "a hex number", number)?,
            gas_limit,
            nonce: root.get("nonce", "8 bytes of hex", number64)?.unwrap_or(0),
            timestamp: root
                .get(
                    "timestamp",
                    "unix seconds: a JSON number, or a string, decimal or 0x hex",
                    match format {
                        GenesisFormat::Besu => field::decoded,
                        GenesisFormat::GoQuorum => field::quantity64,
                    },
                )?
                .unwrap_or(0),
            coinbase: root.get("coinbase", "an address of up to 20 bytes of hex", field::address)?.unwrap_or_default(),
            mix_hash: root.get("mixHash", "up to 32 bytes of hex", field::hash)?.unwrap_or_default(),
            parent_hash: root.get("parentHash", "up to 32 bytes of hex", field::hash)?.unwrap_or_default(),
            extra_data: root.get("extraData", "a string of hex bytes", field::bytes)?.unwrap_or_default(),
            base_fee_per_gas: root.get("baseFeePerGas", "wei, decimal or 0x hex, below 2^63", field::decoded)?,
            blob_gas_used: root.get("blobGasUsed", "a hex number below 2^64", field::hex_quantity64)?.unwrap_or(0),
            excess_blob_gas: root.get("excessBlobGas", "a hex number below 2^64", field::hex_quantity64)?.unwrap_or(0),
            parent_beacon_block_root: root.get("parentBeaconBlockRoot", "32 bytes of hex", field::hash)?.unwrap_or_default(),
            alloc: match root.take("alloc") {
                Some((path, value)) => alloc::read(&path, value, format, &mut warnings)?,
                None => BTreeMap::new(),
            },
            warnings: Vec::new(),
        };
        root.ignore(&["number", "gasUsed", "hash", "stateRoot"]);
        root.finish(&mut warnings);
        genesis.point_out_a_rising_base_fee(&mut warnings);
        Ok(Genesis { warnings: warnings.into_sentences(), ..genesis })
    }

    /// Reads an `alloc` object on its own: the file of extra accounts that a lab adds.
    /// Both `{"<address>": {...}}` and a whole genesis file with an `alloc` key are accepted.
    pub fn parse_alloc(text: &str) -> Result<BTreeMap<Address, GenesisAccount>, GenesisError> {
        let value = read_json(text)?;
        let inner = value.members().unwrap_or_default().into_iter().rfind(|(key, _)| key.eq_ignore_ascii_case("alloc"));
        let inner = inner.map_or(value, |(_, inner)| inner);
        alloc::read("alloc", inner, GenesisFormat::Besu, &mut Warnings::default())
    }

    /// Why no node of this kind can run the chain, although the file can be read; `None` when one can.
    pub fn refusal(&self) -> Option<GenesisError> {
        if self.qbft.is_none() {
            return Some(GenesisError::Missing {
                key: "config.qbft".to_owned(),
                expected: "an object that selects QBFT consensus (blockperiodseconds, epochlength, ...)".to_owned(),
            });
        }
        if let Err(error) = ExtraData::decode(&self.extra_data) {
            return Some(GenesisError::Bad {
                key: "extraData".to_owned(),
                got: format!("{} bytes that do not decode: {error}", self.extra_data.len()),
                expected: "QBFT extra data, rlp([vanity, [validators], vote, round, seals])".to_owned(),
            });
        }
        None
    }

    /// A base fee of 0 in block 0 looks like a network without fees and is none unless the policy says so.
    fn point_out_a_rising_base_fee(&self, warnings: &mut Warnings) {
        let london = self.forks.points().iter().any(|point| point.fork >= Fork::London);
        if self.base_fee_per_gas == Some(0) && self.base_fee == BaseFeePolicy::Market && london {
            warnings.push(
                "baseFeePerGas is 0 without config.zeroBaseFee: the base fee rises with every block that is more than half \
                 full, and transactions without a price are then left out; for a network without fees all its nodes need \
                 zeroBaseFee true"
                    .to_owned(),
            );
        }
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

fn read_json(text: &str) -> Result<Json<'_>, GenesisError> {
    Json::parse(text).map_err(|error| GenesisError::NotJson {
        line: error.line(),
        column: error.column(),
        reason: error.to_string(),
    })
}

/// Gas limit of block 0. GoQuorum puts its own default in place of 0 (`params.GenesisGasLimit`).
fn read_gas_limit(root: &mut Section<'_>, format: GenesisFormat) -> Result<u64, GenesisError> {
    const GOQUORUM_DEFAULT: u64 = 800_000_000;
    let convert = match format {
        GenesisFormat::Besu => field::decoded,
        GenesisFormat::GoQuorum => field::quantity64,
    };
    let limit = root.need("gasLimit", "an integer from 0 to 2^63-1, decimal or 0x hex", |value| {
        convert(value).filter(|limit| *limit <= i64::MAX as u64)
    })?;
    Ok(if limit == 0 && format == GenesisFormat::GoQuorum { GOQUORUM_DEFAULT } else { limit })
}

/// GoQuorum puts them into block 0, which then is none that a chain can begin with.
fn read_gas_used(root: &mut Section<'_>) -> Result<(), GenesisError> {
    for key in ["gasUsed", "number"] {
        if let Some(value) = root.get(key, "0", field::quantity64)?.filter(|value| *value > 0) {
            return Err(GenesisError::Bad { key: key.to_owned(), got: value.to_string(), expected: "0".to_owned() });
        }
    }
    Ok(())
}

fn read_base_fee(config: &mut Section<'_>) -> Result<BaseFeePolicy, GenesisError> {
    let zero = config.get("zeroBaseFee", "true or false", field::boolean)?.unwrap_or(false);
    let fixed = config.get("fixedBaseFee", "true or false", field::boolean)?.unwrap_or(false);
    Ok(match (zero, fixed) {
        (true, _) => BaseFeePolicy::Zero,
        (false, true) => BaseFeePolicy::Fixed,
        (false, false) => BaseFeePolicy::Market,
    })
}

/// Settings of Besu that change validity and that this node does not follow: refusing beats forking off.
fn check_unsupported(config: &mut Section<'_>) -> Result<(), GenesisError> {
    if let Some((key, value)) = config.take("evmStackSize")
        && field::quantity64(value) != Some(1024)
    {
        return Err(GenesisError::Unsupported {
            key,
            got: field::shorten(value.text()),
            reason: "the EVM stack holds 1024 items; remove the key or set it to 1024".to_owned(),
        });
    }
    if let Some((key, value)) = config.take("ecCurve")
        && !field::text(value).is_some_and(|curve| curve.eq_ignore_ascii_case("secp256k1"))
    {
        return Err(GenesisError::Unsupported {
            key,
            got: field::shorten(value.text()),
            reason: "only the curve secp256k1 is implemented; remove the key".to_owned(),
        });
    }
    Ok(())
}

fn read_bootnodes(config: &mut Section<'_>, warnings: &mut Warnings) -> Result<Vec<String>, GenesisError> {
    let Some(mut discovery) = config.section("discovery")? else { return Ok(Vec::new()) };
    let bootnodes = discovery
        .get("bootnodes", "an array of enode URLs", |value| {
            value.items()?.into_iter().map(field::text).collect::<Option<Vec<String>>>()
        })?
        .unwrap_or_default();
    discovery.ignore(&["dns", "v5Bootnodes"]);
    discovery.finish(warnings);
    Ok(bootnodes)
}
