//! From chain, header and transaction to what the EVM is given: rules, block environment, transaction environment.

use crate::net_gas;
use crate::system::SystemCalls;
use alloy_consensus::Typed2718;
use alloy_eips::eip7702::{RecoveredAuthority, RecoveredAuthorization, SignedAuthorization};
use alloy_primitives::{Address, U256};
use ipe_types::block::Transaction;
use ipe_types::fees::BlobRules;
use ipe_types::fork::Fork;
use ipe_types::goquorum::GoQuorum;
use ipe_types::header::Header;
use ipe_types::spec::ChainSpec;
use ipe_types::transaction::{Prices, narrow};
use ipe_types::transition::TxGasCap;
use revm::context::{BlockEnv, CfgEnv, TxEnv};
use revm::context_interface::block::BlobExcessGasAndPrice;
use revm::context_interface::either::Either;
use revm::primitives::hardfork::SpecId;

/// Initcode cap of EIP-3860, from Shanghai on. `contractSizeLimit` does not raise it in Besu (spec/besu-compat.md 12).
pub const INITCODE_LIMIT: usize = 49_152;

/// What a block is executed with: rules and block fields.
#[derive(Clone, Debug)]
pub struct Env {
    /// Fork in force.
    pub fork: Fork,
    /// Chain id, limits, gas table.
    pub cfg: CfgEnv,
    /// Number, time, coinbase (the beneficiary, where one is configured), base fee.
    pub block: BlockEnv,
    /// How blobs are counted and priced.
    pub blobs: BlobRules,
    /// What happens beside the transactions.
    pub system: SystemCalls,
    /// What GoQuorum asks of transactions, on its chains.
    pub goquorum: Option<GoQuorum>,
}

/// Rules of a fork on chain 1, with every limit as the fork has it.
pub fn rules(fork: Fork) -> CfgEnv {
    let mut cfg = CfgEnv::new_with_spec(spec_id(fork));
    net_gas::set_gas(fork, &mut cfg);
    cfg
}

/// The EVM's name for a fork. Constantinople is Petersburg with EIP-1283, which is ours (`crate::net_gas`).
pub fn spec_id(fork: Fork) -> SpecId {
    match fork {
        Fork::Frontier => SpecId::FRONTIER,
        Fork::Homestead => SpecId::HOMESTEAD,
        Fork::Tangerine => SpecId::TANGERINE,
        Fork::SpuriousDragon => SpecId::SPURIOUS_DRAGON,
        Fork::Byzantium => SpecId::BYZANTIUM,
        Fork::Constantinople | Fork::Petersburg => SpecId::PETERSBURG,
        Fork::Istanbul => SpecId::ISTANBUL,
        Fork::Berlin => SpecId::BERLIN,
        Fork::London => SpecId::LONDON,
        Fork::Paris => SpecId::MERGE,
        Fork::Shanghai => SpecId::SHANGHAI,
        Fork::Cancun => SpecId::CANCUN,
        Fork::Prague => SpecId::PRAGUE,
        Fork::Osaka => SpecId::OSAKA,
    }
}

impl Env {
    /// The environment of the block with this header. What a blob costs follows from the parent, whatever the header says; without
    /// a parent (block 0, and where it is not stored) from the header's own field.
    pub fn of(spec: &ChainSpec, header: &Header, parent: Option<&Header>) -> Self {
        let fork = spec.fork_at(header.number, header.timestamp);
        let params = spec.qbft_at(header.number, header.timestamp);
        let mut cfg = rules(fork).with_chain_id(spec.chain_id());
        cfg.limit_contract_code_size = Some(usize::try_from(spec.code_size_limit(header.number)).unwrap_or(usize::MAX));
        cfg.limit_contract_initcode_size = Some(INITCODE_LIMIT);
        // Gas is the only limit that the rules have.
        cfg.memory_limit = u64::MAX;
        cfg.tx_gas_limit_cap = match params.tx_gas_cap {
            TxGasCap::Fork => None,
            TxGasCap::Unlimited => Some(u64::MAX),
            TxGasCap::Gas(gas) => Some(gas),
        };
        let goquorum = spec.goquorum_at(header.number);
        // GoQuorum is older than EIP-3607.
        cfg.disable_eip3607 = goquorum.is_some();
        let mut block = BlockEnv {
            number: U256::from(header.number),
            beneficiary: params.beneficiary.unwrap_or(header.beneficiary),
            timestamp: U256::from(header.timestamp),
            gas_limit: header.gas_limit,
            basefee: header.base_fee_per_gas.unwrap_or(0),
            difficulty: header.difficulty,
            prevrandao: (fork >= Fork::Paris).then_some(header.mix_hash),
            blob_excess_gas_and_price: None,
            slot_num: 0,
        };
        let blobs = spec.blob_rules(header.number, header.timestamp);
        if fork >= Fork::Cancun {
            let excess_blob_gas = header.excess_blob_gas.unwrap_or(0);
            // Not by the EVM's own function, which a large excess keeps busy for days.
            let blob_gasprice = parent.map_or_else(|| blobs.price(excess_blob_gas), |parent| blobs.price_after(parent));
            block.blob_excess_gas_and_price = Some(BlobExcessGasAndPrice { excess_blob_gas, blob_gasprice });
            cfg.set_max_blobs_per_tx(blobs.most_in_transaction());
        }
        Self { fork, cfg, block, blobs, system: SystemCalls::of(spec, fork), goquorum }
    }
}

/// A transaction as the EVM takes it.
#[derive(Clone, Debug, Default)]
pub struct Tx {
    /// All that the library has room for; 2^128 − 1 for a price that is larger.
    pub env: TxEnv,
    /// Prices, where one of them is 2^128 wei or more.
    pub wide: Wide,
}

/// Prices that the EVM's library has no room for; `None` where it has.
pub type Wide = Option<Box<Prices>>;

impl From<TxEnv> for Tx {
    fn from(env: TxEnv) -> Self {
        Self { env, wide: None }
    }
}

impl Tx {
    /// The transaction with these prices, whatever `env` has.
    pub fn priced(env: TxEnv, prices: Prices) -> Self {
        let env = TxEnv {
            gas_price: narrow(prices.fee),
            gas_priority_fee: prices.tip.map(narrow),
            max_fee_per_blob_gas: prices.blob.map(narrow).unwrap_or(0),
            ..env
        };
        Self { env, wide: prices.is_wide().then(|| Box::new(prices)) }
    }
}

/// A signed transaction as the EVM takes it. The authorities of a set-code transaction are recovered here.
pub fn tx_env(tx: &Transaction, sender: Address) -> Tx {
    let env = TxEnv {
        tx_type: tx.ty(),
        caller: sender,
        gas_limit: tx.gas_limit(),
        kind: tx.kind(),
        value: tx.value(),
        data: tx.input().clone(),
        nonce: tx.nonce(),
        chain_id: tx.chain_id(),
        access_list: tx.access_list().cloned().unwrap_or_default(),
        blob_hashes: tx.blob_versioned_hashes().map(<[_]>::to_vec).unwrap_or_default(),
        authorization_list: tx
            .authorization_list()
            .map(|list| list.iter().map(|item| Either::Right(recovered(item))).collect())
            .unwrap_or_default(),
        ..TxEnv::default()
    };
    Tx::priced(env, tx.prices())
}

/// An authorization with its authority, recovered by the C library; an authority that cannot be recovered is marked
/// invalid, and the EVM passes over it (EIP-7702).
pub fn recovered(signed: &SignedAuthorization) -> RecoveredAuthorization {
    let authority = signed
        .signature()
        .ok()
        .and_then(|signature| alloy_consensus::crypto::secp256k1::recover_signer(&signature, signed.inner().signature_hash()).ok())
        .map_or(RecoveredAuthority::Invalid, RecoveredAuthority::Valid);
    RecoveredAuthorization::new_unchecked(signed.inner().clone(), authority)
}
