//! What a chain's genesis fixes for every block: forks, consensus parameters, limits, genesis hash, fork id.

use crate::fees::BlobRules;
use crate::fork::Fork;
use crate::fork_id::{ForkId, ForkIds};
use crate::genesis::{BaseFeePolicy, Genesis, GenesisAccount, GenesisError, GenesisFormat, INITIAL_BASE_FEE, Permissioning};
use crate::goquorum::GoQuorum;
use crate::transition::{QbftParams, QbftSchedule};
use alloy_consensus::Header;
use alloy_primitives::{Address, B256, keccak256};
use std::collections::BTreeMap;

/// A QBFT chain, as its genesis file defines it. Made once at start and shared.
#[derive(Clone, Debug)]
pub struct ChainSpec {
    genesis: Genesis,
    schedule: QbftSchedule,
    header: Header,
    hash: B256,
    fork_ids: ForkIds,
}

impl ChainSpec {
    /// Computes the state root and hash of block 0 (time linear in `alloc`).
    ///
    /// Errors: those of [`Genesis::refusal`].
    pub fn new(genesis: Genesis) -> Result<ChainSpec, GenesisError> {
        if let Some(error) = genesis.refusal() {
            return Err(error);
        }
        let schedule = genesis.qbft.clone().ok_or_else(|| GenesisError::Missing {
            key: "config.qbft".to_owned(),
            expected: "an object that selects QBFT consensus".to_owned(),
        })?;
        let header = genesis.header();
        let hash = keccak256(alloy_rlp::encode(&header));
        let fork_ids = ForkIds::new(hash, genesis.timestamp, &genesis.forks);
        Ok(ChainSpec { genesis, schedule, header, hash, fork_ids })
    }

    /// [`Genesis::parse`] and [`ChainSpec::new`] in one.
    pub fn parse(text: &str) -> Result<ChainSpec, GenesisError> {
        ChainSpec::new(Genesis::parse(text)?)
    }

    /// The chain of a node whose options name contracts with rules, too.
    ///
    /// # Errors
    /// As [`crate::genesis::PermissioningSchedule::with_options`].
    pub fn with_permissioning(mut self, options: &Permissioning) -> Result<ChainSpec, String> {
        self.genesis.permissioning = std::mem::take(&mut self.genesis.permissioning).with_options(options)?;
        Ok(self)
    }

    /// The contracts that decide about block `number` and, while it is the next one, about connections.
    pub fn permissioning_at(&self, number: u64) -> Permissioning {
        self.genesis.permissioning.at(number)
    }

    /// EIP-155 chain id; also the network id of the eth Status unless a node is told otherwise.
    pub fn chain_id(&self) -> u64 {
        self.genesis.chain_id
    }

    /// The file this came from.
    pub fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    /// Header of block 0.
    pub fn genesis_header(&self) -> &Header {
        &self.header
    }

    /// Hash of block 0: of its raw RLP, seals and round not stripped.
    pub fn genesis_hash(&self) -> B256 {
        self.hash
    }

    /// Accounts of block 0.
    pub fn alloc(&self) -> &BTreeMap<Address, GenesisAccount> {
        &self.genesis.alloc
    }

    /// What in the file was not understood and has no effect.
    pub fn warnings(&self) -> &[String] {
        &self.genesis.warnings
    }

    /// Protocol rules of a block with this number and timestamp (unix seconds).
    pub fn fork_at(&self, number: u64, timestamp: u64) -> Fork {
        self.genesis.forks.at(number, timestamp)
    }

    /// Consensus parameters of a block with this number and timestamp (unix seconds); for the timer of the next
    /// block pass the next number and the parent's timestamp (spec/qbft.md 2.2).
    pub fn qbft_at(&self, number: u64, timestamp: u64) -> &QbftParams {
        self.schedule.at(number, timestamp)
    }

    /// All consensus parameters by activation.
    pub fn qbft(&self) -> &QbftSchedule {
        &self.schedule
    }

    /// The validator set forced for exactly this block in header mode (`transitions.qbft[].validators`).
    pub fn validators_override(&self, number: u64) -> Option<&[Address]> {
        self.schedule.validators_override(number)
    }

    /// Most bytes of code that a contract created in this block may have. Does not touch the init code cap of
    /// EIP-3860 (spec/besu-compat.md 12).
    pub fn code_size_limit(&self, number: u64) -> u64 {
        self.genesis
            .code_size_limits
            .iter()
            .rev()
            .find(|(from, _)| *from <= number)
            .map_or(crate::genesis::DEFAULT_CODE_SIZE_LIMIT, |(_, limit)| *limit)
    }

    /// How blobs are counted and priced in a block with this number and timestamp (unix seconds): of the fork, or what
    /// `blobSchedule` says for it (besu `MainnetProtocolSpecs`).
    pub fn blob_rules(&self, number: u64, timestamp: u64) -> BlobRules {
        let fork = self.fork_at(number, timestamp);
        let mut rules = BlobRules::of(fork, self.genesis.base_fee == BaseFeePolicy::Market);
        let schedule = &self.genesis.blob_schedule;
        let begun = self.genesis.forks.points().iter().filter(|point| point.at.active(number, timestamp)).map(|point| point.key);
        let first = if fork >= Fork::Prague { "pragueTime" } else { "cancunTime" };
        for key in std::iter::once(first).chain(begun.filter(|key| key.starts_with("bpo"))) {
            if let Some((_, limits)) = schedule.iter().find(|(at, _)| *at == key) {
                rules.params.target_blob_count = limits.target;
                rules.params.max_blob_count = limits.max;
                rules.params.update_fraction = u128::from(limits.update_fraction);
                if fork < Fork::Osaka {
                    rules.params.max_blobs_per_tx = limits.max;
                }
            }
        }
        rules
    }

    /// GoQuorum's rules for the transactions of the block with this number; `None` on chains in Besu's format.
    pub fn goquorum_at(&self, number: u64) -> Option<GoQuorum> {
        let genesis = &self.genesis;
        (genesis.format == GenesisFormat::GoQuorum).then(|| GoQuorum { priced: genesis.gas_prices.allowed(number) })
    }

    /// How base fees are chosen once London is active.
    pub fn base_fee_policy(&self) -> BaseFeePolicy {
        self.genesis.base_fee
    }

    /// Base fee to put into the block after `parent` with this timestamp (spec/qbft.md 4.4); `None` before London.
    /// `min_gas_price` (wei) only matters under [`BaseFeePolicy::Fixed`]. Imported blocks may deviate: Besu does not
    /// check the value.
    pub fn next_base_fee(&self, parent: &Header, timestamp: u64, min_gas_price: u64) -> Option<u64> {
        let number = parent.number.saturating_add(1);
        if self.fork_at(number, timestamp) < Fork::London {
            return None;
        }
        Some(match self.genesis.base_fee {
            BaseFeePolicy::Zero => 0,
            BaseFeePolicy::Fixed => min_gas_price,
            BaseFeePolicy::Market => {
                let parent_london = self.fork_at(parent.number, parent.timestamp) >= Fork::London;
                match parent.base_fee_per_gas {
                    Some(base_fee) if parent_london => {
                        crate::fees::next_market_base_fee(parent.gas_used, parent.gas_limit, base_fee)
                    }
                    _ => INITIAL_BASE_FEE,
                }
            }
        })
    }

    /// The fork id that a node announces whose head has this number and timestamp (seconds).
    pub fn fork_id(&self, head_number: u64, head_timestamp: u64) -> ForkId {
        self.fork_ids.at(head_number, head_timestamp)
    }

    /// Whether a peer with that fork id can be on this chain, for a head with this number and timestamp.
    pub fn accepts_fork_id(&self, head_number: u64, head_timestamp: u64, remote: ForkId) -> bool {
        self.fork_ids.accepts(head_number, head_timestamp, remote)
    }
}
