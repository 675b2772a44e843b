//! The rules that a transaction is held against before it may enter, and the check that needs no pool.

use std::sync::Arc;

use alloy_consensus::Typed2718;
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{TxKind, U256};
use ipe_chain::Candidate;
use ipe_types::NodeId;
use ipe_types::fork::Fork;
use ipe_types::goquorum::GoQuorum;

use super::{Ingress, Refusal};

/// Largest creation code from Shanghai on (EIP-3860), whatever the contract size limit says (besu-compat §12).
const INITCODE_LIMIT: usize = 49_152;

/// What the next block demands of a transaction and what this node demands on top. A plain value: the pool hands out
/// copies, so that transactions are checked outside its lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Chain id of the network.
    pub chain_id: u64,
    /// Fork in force at the next block.
    pub fork: Fork,
    /// Gas limit of the next block.
    pub block_gas_limit: u64,
    /// Most gas of one transaction (EIP-7825 or the network's own cap).
    pub tx_gas_cap: Option<u64>,
    /// Base fee of the next block, wei per gas; `None` before London.
    pub base_fee: Option<u64>,
    /// Least price that this node takes (`min-gas-price`), wei per gas.
    pub min_gas_price: u128,
    /// Largest total fee that a client may offer (`rpc-tx-feecap`), wei; `None` = any. Not applied to peers' transactions.
    pub fee_cap: Option<U256>,
    /// Longest transaction, bytes of its EIP-2718 encoding.
    pub max_tx_bytes: usize,
    /// What GoQuorum asks of a transaction of the next block, on its chains.
    pub goquorum: Option<GoQuorum>,
    /// Block period of the next block, milliseconds.
    pub period_ms: u64,
}

impl Rules {
    /// Whether fees order nothing: the base fee is zero or there is none, and this node asks for no least price. Tips would
    /// cost whoever bids them nothing that counts, and starve those who have no coins. Where an operator sets a least price,
    /// fees are meant.
    pub fn is_free(&self) -> bool {
        self.base_fee.unwrap_or(0) == 0 && self.least_price() == 0
    }

    /// Least price that is taken, wei per gas: `min-gas-price`, and nothing where gas has no price, whatever the setting says, as
    /// in GoQuorum (`TxPool.validateTx`).
    pub fn least_price(&self) -> u128 {
        if self.goquorum.is_some_and(|rules| !rules.priced) { 0 } else { self.min_gas_price }
    }

    /// The bid by which transactions are ordered, wei per gas: the effective tip, and nothing where fees order nothing;
    /// `None` when the offer does not cover the base fee.
    pub(super) fn tip(&self, candidate: &Candidate) -> Option<U256> {
        let tip = candidate.tx.effective_tip_per_gas(self.base_fee.unwrap_or(0))?;
        Some(if self.is_free() { U256::ZERO } else { tip })
    }
}

/// Where a transaction came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A client of this node's own interface.
    Local,
    /// A peer. Its node has admitted it, so the overload limit does not apply to it a second time.
    Remote,
    /// This node's journal of local transactions, read at start.
    Restored,
}

impl Origin {
    /// Whether this node answers for it: journals it and announces it again when it is not mined.
    pub fn is_ours(self) -> bool {
        matches!(self, Origin::Local | Origin::Restored)
    }
}

/// A transaction that holds on its own; the pool takes nothing else.
#[derive(Clone, Debug)]
pub struct Offer {
    pub(super) candidate: Arc<Candidate>,
    pub(super) bytes: usize,
    pub(super) origin: Origin,
    pub(super) ingress: Ingress,
}

impl Offer {
    /// Checks what needs neither pool nor state: type, chain id, price, gas and sizes. Besu's order: price first.
    ///
    /// # Errors
    /// The first rule that does not hold.
    pub fn check(candidate: Arc<Candidate>, origin: Origin, rules: &Rules) -> Result<Self, Refusal> {
        let tx = &candidate.tx;
        let kind = tx.ty();
        let known = match kind {
            0 => true,
            1 => rules.fork >= Fork::Berlin,
            2 => rules.fork >= Fork::London,
            4 => rules.fork >= Fork::Prague,
            // Blob transactions: a QBFT network has no blob sidecars.
            _ => false,
        };
        if !known {
            return Err(Refusal::TypeNotSupported { got: kind });
        }
        let bytes = tx.encode_2718_len();
        if bytes > rules.max_tx_bytes {
            return Err(Refusal::TooLong { got: bytes, most: rules.max_tx_bytes });
        }
        if let Some(goquorum) = rules.goquorum {
            goquorum.check(tx).map_err(Refusal::GoQuorum)?;
        }
        let (offered, least) = (tx.max_fee_per_gas(), rules.least_price());
        if offered < U256::from(least) {
            return Err(Refusal::BelowMinimumPrice { got: offered, least });
        }
        match tx.chain_id() {
            Some(_) if rules.fork < Fork::SpuriousDragon => return Err(Refusal::ChainIdNotSupported),
            Some(got) if got != rules.chain_id => {
                return Err(Refusal::WrongChain { got, expected: rules.chain_id });
            }
            _ => {}
        }
        if tx.max_priority_fee_per_gas().is_some_and(|tip| tip > offered) {
            return Err(Refusal::TipAboveFee);
        }
        let Some(cost) = offered.checked_mul(U256::from(tx.gas_limit())) else {
            return Err(Refusal::CostOverflow { gas_limit: tx.gas_limit(), price: offered });
        };
        if origin != Origin::Remote
            && let Some(cap) = rules.fee_cap
            && cost > cap
        {
            return Err(Refusal::FeeCap);
        }
        let input = tx.input();
        if rules.fork >= Fork::Shanghai && tx.kind() == TxKind::Create && input.len() > INITCODE_LIMIT {
            return Err(Refusal::InitcodeTooLong { got: input.len(), most: INITCODE_LIMIT });
        }
        let limit = tx.gas_limit();
        let needed = intrinsic_gas(&candidate, rules.fork);
        if limit < needed {
            return Err(Refusal::IntrinsicGas { limit, needed });
        }
        if limit > rules.block_gas_limit {
            return Err(Refusal::AboveBlockGas { limit, block: rules.block_gas_limit });
        }
        if let Some(cap) = rules.tx_gas_cap
            && limit > cap
        {
            return Err(Refusal::AboveGasCap { limit, cap });
        }
        // EIP-2681: the last nonce cannot be used.
        if tx.nonce() == u64::MAX {
            return Err(Refusal::NonceTooDistant { got: u64::MAX, most: u64::MAX - 1 });
        }
        debug_assert_eq!(tx.tx_hash(), &candidate.hash);
        let ingress = if origin.is_ours() { Ingress::Client(None) } else { Ingress::Stranger(NodeId::ZERO) };
        Ok(Self { candidate, bytes, origin, ingress })
    }

    /// The same, brought by `ingress`; without it clients are one, and so are peers.
    pub fn brought_by(self, ingress: Ingress) -> Self {
        Self { ingress, ..self }
    }

    /// The transaction.
    pub fn candidate(&self) -> &Arc<Candidate> {
        &self.candidate
    }

    /// Length of its EIP-2718 encoding.
    pub fn encoded_len(&self) -> usize {
        self.bytes
    }
}

/// Wei that the sender must have: value plus the gas limit at the highest price offered.
pub(super) fn upfront_cost(candidate: &Candidate) -> U256 {
    let tx = &candidate.tx;
    tx.max_fee_per_gas().saturating_mul(U256::from(tx.gas_limit())).saturating_add(tx.value())
}

/// Gas that is due before the first instruction (yellow paper g₀; EIP-2, 2028, 2930, 3860, 7623 floor, 7702).
fn intrinsic_gas(candidate: &Candidate, fork: Fork) -> u64 {
    let tx = &candidate.tx;
    let input = tx.input();
    let zeros = input.iter().filter(|byte| **byte == 0).count() as u64;
    let others = input.len() as u64 - zeros;
    let nonzero_cost = if fork >= Fork::Istanbul { 16 } else { 68 };
    let mut gas = 21_000u64 + zeros * 4 + others * nonzero_cost;
    if tx.kind() == TxKind::Create {
        if fork >= Fork::Homestead {
            gas += 32_000;
        }
        if fork >= Fork::Shanghai {
            gas += 2 * (input.len() as u64).div_ceil(32);
        }
    }
    if let Some(list) = tx.access_list() {
        let slots: u64 = list.iter().map(|item| item.storage_keys.len() as u64).sum();
        gas += 2_400 * list.len() as u64 + 1_900 * slots;
    }
    if let Some(list) = tx.authorization_list() {
        gas += 25_000 * list.len() as u64;
    }
    if fork >= Fork::Prague {
        gas = gas.max(21_000 + 10 * (zeros + 4 * others));
    }
    gas
}
