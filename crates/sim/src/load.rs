//! Work for who measures with a clock what the simulation says that it costs: one block each, whose only transaction spends
//! all of its gas on one kind of instruction.

use std::sync::Arc;

use alloy_consensus::{SignableTransaction, TxLegacy};
use alloy_primitives::{Address, Bytes, TxKind, U256};
use ipe_chain::kv::MemoryStore;
use ipe_chain::{Bound, BuildOrder, Candidate, Feedback, Ledger};
use ipe_types::fork::Fork;
use ipe_types::genesis::{GenesisAccount, GenesisBuilder};
use ipe_types::spec::ChainSpec;
use ipe_types::{Transaction, work};

use crate::setup::{class, key};

/// Gas that a load spends.
pub const GAS: u64 = 20_000_000;

/// Loops without an end: each body, then `PUSH1 0 JUMP`.
const KINDS: [(&str, &[u8]); 6] = [
    ("arithmetic", &[0x5b, 0x5a, 0x5a, 0x5a, 0x09, 0x50]),
    ("keccak of 32 bytes", &[0x5b, 0x60, 0x20, 0x60, 0x00, 0x20, 0x50]),
    ("keccak of 8 KiB", &[0x5b, 0x61, 0x20, 0x00, 0x60, 0x00, 0x20, 0x50]),
    ("reading slots", &[0x5b, 0x5a, 0x54, 0x50]),
    ("looking at accounts", &[0x5b, 0x5a, 0x3b, 0x50]),
    ("copying memory", &[0x5b, 0x61, 0x20, 0x00, 0x60, 0x00, 0x60, 0x01, 0x5e]),
];

/// One kind of execution.
pub struct Load {
    /// What it does.
    pub name: &'static str,
    ledger: Ledger,
    candidate: Arc<Candidate>,
}

impl Load {
    /// Every kind; `None` when a block for it cannot be made, which would be a fault of this file.
    pub fn all() -> Option<Vec<Self>> {
        KINDS.iter().map(|(name, body)| Self::new(name, body)).collect()
    }

    fn new(name: &'static str, body: &[u8]) -> Option<Self> {
        let contract = Address::repeat_byte(0x5d);
        let code = Bytes::from([body, &[0x60, 0x00, 0x56]].concat());
        let account = GenesisAccount { code, nonce: 1, ..GenesisAccount::default() };
        let validator = key(class::VALIDATOR, 0);
        let genesis = GenesisBuilder {
            chain_id: 1,
            fork: Fork::Cancun,
            validators: vec![validator.address()],
            alloc: [(contract, account)].into(),
            ..GenesisBuilder::default()
        };
        let spec = Arc::new(ChainSpec::parse(&genesis.to_json().ok()?).ok()?);
        let ledger = Ledger::open(Arc::new(MemoryStore::default()), spec).ok()?;
        let to = TxKind::Call(contract);
        let tx = TxLegacy { chain_id: Some(1), nonce: 0, gas_price: 0, gas_limit: GAS, to, value: U256::ZERO, input: Bytes::new() };
        let signed = key(class::CLIENT, 0).sign(tx.signature_hash());
        let bytes = signed.as_slice();
        let (r, s) = (U256::from_be_slice(&bytes[..32]), U256::from_be_slice(&bytes[32..64]));
        let signature = alloy_primitives::Signature::new(r, s, bytes[64] == 1);
        let candidate = Arc::new(Candidate::recover(Transaction::from(tx.into_signed(signature))).ok()?);
        Some(Self { name, ledger, candidate })
    }

    /// Builds the block. Returns the gas that was executed.
    pub fn run(&self) -> u64 {
        work::take();
        let order = BuildOrder {
            timestamp: self.ledger.head().header.timestamp + 1_000,
            coinbase: key(class::VALIDATOR, 0).address(),
            round: 0,
            vanity: Bytes::from(vec![0; 32]),
            vote: None,
            min_gas_price: 0,
            target_gas_limit: None,
        };
        let mut next = |feedback| matches!(feedback, Feedback::Start).then(|| self.candidate.clone());
        let _ = self.ledger.build(&order, &mut next, Bound::NONE);
        work::take().gas
    }
}

#[cfg(test)]
mod tests {
    use super::{GAS, Load};

    #[test]
    fn every_load_spends_all_of_its_gas() {
        for load in Load::all().expect("blocks for all of them") {
            assert_eq!(load.run(), GAS, "{}", load.name);
        }
    }
}
