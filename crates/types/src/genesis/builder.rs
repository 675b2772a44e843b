//! Writing a genesis file in Besu's format.

use super::{Genesis, GenesisAccount, GenesisError, Permissioning, RULES_GAS};
use crate::extra::ExtraData;
use crate::fork::{FORK_KEYS, Fork};
use alloy_primitives::{Address, Bytes, U256};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// BFT mix hash that QBFT genesis files carry (spec/qbft.md 1).
const BFT_MIX_HASH: &str = "0x63746963616c2062797a616e74696e65206661756c7420746f6c6572616e6365";

/// Everything a new network's genesis says. Fields are public: set what differs from the default and call
/// [`GenesisBuilder::to_json`].
#[derive(Clone, Debug)]
pub struct GenesisBuilder {
    /// EIP-155 chain id, at least 1.
    pub chain_id: u64,
    /// All forks up to this one are in force from block 0.
    pub fork: Fork,
    /// First validators, written to extra data in this order. Empty only with `validator_contract`.
    pub validators: Vec<Address>,
    /// Contract whose `getValidators()` names the validators from block 1 on.
    pub validator_contract: Option<Address>,
    /// Enode URLs of every boot, for `config.discovery.bootnodes`.
    pub bootnodes: Vec<String>,
    /// Block period in milliseconds, at least 1. A whole number of seconds becomes `blockperiodseconds`, anything else
    /// also `xblockperiodmilliseconds`.
    pub period_ms: u64,
    /// Period of empty blocks in seconds, 0 = off.
    pub empty_period_s: u64,
    /// Timeout of round 0 in seconds, at least 1.
    pub request_timeout_s: u64,
    /// Blocks between epochs, at least 1.
    pub epoch_length: u64,
    /// Gas limit of block 0.
    pub gas_limit: u64,
    /// Unix seconds of block 0.
    pub timestamp: u64,
    /// Base fee 0 in every block, block 0 included; only written when London is in force.
    pub zero_base_fee: bool,
    /// Deployed code limit in bytes, `None` = 24,576.
    pub code_size_limit: Option<u64>,
    /// Wei per block.
    pub block_reward: U256,
    /// Receiver of fees and reward in place of the proposer.
    pub beneficiary: Option<Address>,
    /// Initial accounts.
    pub alloc: BTreeMap<Address, GenesisAccount>,
    /// Contracts with rules, by first block; see [`super::PermissioningSchedule`].
    pub permissioning: Vec<(u64, Permissioning)>,
    /// Whether GoQuorum reads the file as well: its own keys are added, and what it cannot follow is an error. Besu reads
    /// the same file and makes the same block 0 (spec/qbft.md 14).
    pub goquorum: bool,
}

/// From here on GoQuorum's builder keeps to Besu's steps of the gas limit; below, it goes to this in block 1, which no Besu
/// accepts (spec/qbft.md 15).
pub const GOQUORUM_GAS_LIMIT: u64 = 700_000_000;

impl Default for GenesisBuilder {
    /// A free-gas Shanghai network of one-second blocks without validators.
    fn default() -> GenesisBuilder {
        GenesisBuilder {
            chain_id: 1337,
            fork: Fork::Shanghai,
            validators: Vec::new(),
            validator_contract: None,
            bootnodes: Vec::new(),
            period_ms: 1000,
            empty_period_s: 0,
            request_timeout_s: 2,
            epoch_length: 30_000,
            gas_limit: 100_000_000,
            timestamp: 0,
            zero_base_fee: true,
            code_size_limit: None,
            block_reward: U256::ZERO,
            beneficiary: None,
            alloc: BTreeMap::new(),
            permissioning: Vec::new(),
            goquorum: false,
        }
    }
}

impl GenesisBuilder {
    /// The file's text. What is written is read back before it is returned, so a value out of range is an error here
    /// and not at a node's start.
    pub fn to_json(&self) -> Result<String, GenesisError> {
        if self.validators.is_empty() && self.validator_contract.is_none() {
            return Err(GenesisError::Missing {
                key: "validators".to_owned(),
                expected: "at least one validator address, or a validator contract".to_owned(),
            });
        }
        self.fits_goquorum()?;
        let mut config = Map::new();
        config.insert("chainId".to_owned(), json!(self.chain_id));
        for spec in FORK_KEYS {
            let counts = !matches!(spec.key, "daoForkBlock" | "arrowGlacierBlock" | "grayGlacierBlock" | "mergeNetSplitBlock")
                && !spec.key.starts_with("bpo");
            if counts && spec.fork <= self.fork && spec.fork != Fork::Paris {
                config.insert(spec.key.to_owned(), json!(0));
            }
        }
        // Besu knows no such key; GoQuorum and go-ethereum's tools take no fork without the one before.
        config.insert("eip155Block".to_owned(), json!(0));
        if self.goquorum {
            config.insert("isQuorum".to_owned(), json!(true));
        }
        if self.fork == Fork::Paris {
            config.insert("mergeNetSplitBlock".to_owned(), json!(0));
        }
        if self.zero_base_fee && self.fork >= Fork::London {
            config.insert("zeroBaseFee".to_owned(), json!(true));
        }
        if let Some(limit) = self.code_size_limit {
            config.insert("contractSizeLimit".to_owned(), json!(limit));
        }
        config.insert("qbft".to_owned(), self.qbft());
        if !self.permissioning.is_empty() {
            let entries: Vec<Value> = self.permissioning.iter().map(|(from, step)| permissioning_json(*from, step)).collect();
            config.insert("ipe".to_owned(), json!({ "permissioning": entries }));
        }
        if !self.bootnodes.is_empty() {
            config.insert("discovery".to_owned(), json!({ "bootnodes": self.bootnodes }));
        }

        let extra = ExtraData {
            vanity: Bytes::from(vec![0; 32]),
            validators: if self.validator_contract.is_some() { Vec::new() } else { self.validators.clone() },
            vote: None,
            round: 0,
            seals: Vec::new(),
        };
        let mut root = json!({
            "config": config,
            "nonce": "0x0",
            "timestamp": format!("{:#x}", self.timestamp),
            "gasLimit": format!("{:#x}", self.gas_limit),
            "difficulty": "0x1",
            "mixHash": BFT_MIX_HASH,
            "coinbase": Address::ZERO,
            "extraData": extra.encode(),
            "alloc": self.alloc.iter().map(|(address, account)| (format!("{address:#x}"), account_json(account))).collect::<Map<_, _>>(),
        });
        if self.zero_base_fee && self.fork >= Fork::London {
            root["baseFeePerGas"] = json!("0x0");
        }
        let text = serde_json::to_string_pretty(&root).map_err(|error| GenesisError::NotJson {
            line: 0,
            column: 0,
            reason: error.to_string(),
        })?;
        crate::spec::ChainSpec::new(Genesis::parse(&text)?)?;
        Ok(text)
    }

    /// GoQuorum has no fork after Berlin, no milliseconds, and its own key and bounds for the size of code.
    fn fits_goquorum(&self) -> Result<(), GenesisError> {
        let unfit = |key: &str, got: String, reason: &str| {
            Err(GenesisError::Unsupported { key: key.to_owned(), got, reason: format!("GoQuorum {reason}") })
        };
        match self.code_size_limit {
            _ if !self.goquorum => Ok(()),
            _ if self.fork > Fork::Berlin => unfit("fork", self.fork.name().to_owned(), "knows no fork after berlin"),
            _ if !self.period_ms.is_multiple_of(1000) => {
                unfit("qbft.xblockperiodmilliseconds", self.period_ms.to_string(), "has block periods of whole seconds only")
            }
            Some(limit) => unfit("contractSizeLimit", limit.to_string(), "does not read this key; leave it out"),
            None => Ok(()),
        }
    }

    fn qbft(&self) -> Value {
        let mut qbft = Map::new();
        let seconds = (self.period_ms / 1000).max(1);
        qbft.insert("blockperiodseconds".to_owned(), json!(seconds));
        if self.period_ms != seconds * 1000 {
            qbft.insert("xblockperiodmilliseconds".to_owned(), json!(self.period_ms));
        }
        if self.empty_period_s > 0 {
            qbft.insert("emptyblockperiodseconds".to_owned(), json!(self.empty_period_s));
            // The only name that Besu reads before 26.5.
            if !self.goquorum {
                qbft.insert("xemptyblockperiodseconds".to_owned(), json!(self.empty_period_s));
            }
        }
        qbft.insert("epochlength".to_owned(), json!(self.epoch_length));
        qbft.insert("requesttimeoutseconds".to_owned(), json!(self.request_timeout_s));
        if !self.block_reward.is_zero() {
            qbft.insert("blockreward".to_owned(), json!(format!("{:#x}", self.block_reward)));
        }
        if let Some(beneficiary) = self.beneficiary {
            qbft.insert("miningbeneficiary".to_owned(), json!(format!("{beneficiary:#x}")));
        }
        if let Some(contract) = self.validator_contract {
            qbft.insert("validatorcontractaddress".to_owned(), json!(format!("{contract:#x}")));
        }
        if self.goquorum {
            if self.validator_contract.is_some() {
                qbft.insert("validatorselectionmode".to_owned(), json!("contract"));
            }
            // Round robin, and Besu's quorum from block 0 on: both are what every other client does unasked.
            qbft.insert("policy".to_owned(), json!(0));
            qbft.insert("ceil2Nby3Block".to_owned(), json!(0));
        }
        Value::Object(qbft)
    }
}

fn permissioning_json(from: u64, step: &Permissioning) -> Value {
    let mut out = Map::new();
    out.insert("fromBlock".to_owned(), json!(from));
    if let Some(accounts) = step.accounts {
        out.insert("accounts".to_owned(), json!(format!("{accounts:#x}")));
    }
    if let Some(nodes) = step.nodes {
        out.insert("nodes".to_owned(), json!(format!("{:#x}", nodes.address)));
        out.insert("nodesVersion".to_owned(), json!(nodes.abi.number()));
    }
    if step.gas != RULES_GAS {
        out.insert("gas".to_owned(), json!(step.gas));
    }
    Value::Object(out)
}

fn account_json(account: &GenesisAccount) -> Value {
    let mut out = Map::new();
    out.insert("balance".to_owned(), json!(format!("{:#x}", account.balance)));
    if account.nonce > 0 {
        out.insert("nonce".to_owned(), json!(format!("{:#x}", account.nonce)));
    }
    if !account.code.is_empty() {
        out.insert("code".to_owned(), json!(account.code));
    }
    if !account.storage.is_empty() {
        let storage = account.storage.iter().map(|(slot, value)| (slot.to_string(), json!(format!("{value:#x}"))));
        out.insert("storage".to_owned(), Value::Object(storage.collect()));
    }
    Value::Object(out)
}
