//! Clients of the writers: what they sent, what they were told, and where it ended up.

use std::collections::BTreeMap;
use std::sync::Arc;

use alloy_consensus::{SignableTransaction, TxLegacy};
use alloy_primitives::{Address, B256, Bytes, TxKind, U256};
use ipe_chain::Candidate;
use ipe_types::{NodeKey, Transaction};

use crate::rng::Rng;
use crate::setup::{ACCOUNTS, CHAIN_ID, CONTRACT, class, key};

/// What a transaction does, told without the EVM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Moves wei.
    Transfer {
        /// Receiver.
        to: Address,
        /// Wei.
        value: u64,
    },
    /// Stores a word in the contract and logs its place.
    Store {
        /// Place.
        slot: u64,
        /// Word.
        value: u64,
    },
}

/// A transaction that a writer acknowledged.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Node that took it.
    pub writer: usize,
    /// Sender.
    pub from: Address,
    /// Its nonce.
    pub nonce: u64,
    /// What it does.
    pub deed: Deed,
    /// The transaction.
    pub candidate: Arc<Candidate>,
    /// Height of the chain when the writer took it.
    pub height: u64,
    /// Block that it is in.
    pub included: Option<u64>,
}

struct Account {
    key: NodeKey,
    address: Address,
    nonce: u64,
}

/// All clients.
pub struct Clients {
    /// By writer's number, its accounts.
    accounts: Vec<Vec<Account>>,
    /// Acknowledged, by hash.
    pub sent: BTreeMap<B256, Sent>,
    rng: Rng,
}

/// A transaction before it is offered.
pub(crate) struct Prepared {
    pub(crate) account: usize,
    pub(crate) sent: Sent,
}

impl Clients {
    /// Clients of so many writers.
    pub(crate) fn new(writers: usize, rng: Rng) -> Self {
        let account = |number| {
            let key = key(class::CLIENT, number);
            Account { address: key.address(), key, nonce: 0 }
        };
        let accounts = (0..writers).map(|writer| (0..ACCOUNTS).map(|index| account(writer * ACCOUNTS + index)).collect()).collect();
        Self { accounts, sent: BTreeMap::new(), rng }
    }

    /// Addresses of all accounts.
    pub(crate) fn addresses(&self) -> Vec<Address> {
        self.accounts.iter().flatten().map(|account| account.address).collect()
    }

    /// The next transaction of one of a writer's clients.
    pub(crate) fn prepare(&mut self, writer: usize, node: usize) -> Option<Prepared> {
        let others = self.addresses();
        let account = self.rng.below(ACCOUNTS as u64) as usize;
        let store = self.rng.chance(400);
        let (a, b) = (self.rng.below(50), self.rng.between(1, 1_000));
        let to = *self.rng.pick(&others)?;
        let Account { key, address, nonce } = self.accounts.get(writer)?.get(account)?;
        let (deed, to, value, input, gas_limit) = if store {
            let mut input = [0u8; 64];
            input[24..32].copy_from_slice(&a.to_be_bytes());
            input[56..].copy_from_slice(&b.to_be_bytes());
            (Deed::Store { slot: a, value: b }, CONTRACT, 0, Bytes::from(input.to_vec()), 100_000)
        } else {
            (Deed::Transfer { to, value: b }, to, b, Bytes::new(), 21_000)
        };
        let tx = TxLegacy {
            chain_id: Some(CHAIN_ID),
            nonce: *nonce,
            gas_price: 0,
            gas_limit,
            to: TxKind::Call(to),
            value: U256::from(value),
            input,
        };
        let signed = key.sign(tx.signature_hash());
        let bytes = signed.as_slice();
        let (r, s) = (U256::from_be_slice(&bytes[..32]), U256::from_be_slice(&bytes[32..64]));
        let signature = alloy_primitives::Signature::new(r, s, bytes[64] == 1);
        let candidate = Arc::new(Candidate::recover(Transaction::from(tx.into_signed(signature))).ok()?);
        Some(Prepared {
            account,
            sent: Sent { writer: node, from: *address, nonce: *nonce, deed, candidate, height: 0, included: None },
        })
    }

    /// The writer took it when the chain had this height.
    pub(crate) fn acknowledged(&mut self, writer: usize, height: u64, mut prepared: Prepared) {
        prepared.sent.height = height;
        if let Some(account) = self.accounts.get_mut(writer).and_then(|accounts| accounts.get_mut(prepared.account)) {
            account.nonce += 1;
        }
        self.sent.insert(prepared.sent.candidate.hash, prepared.sent);
    }

    /// What a writer acknowledged and no block has, in the order of nonces.
    pub(crate) fn waiting(&self, node: usize) -> Vec<Arc<Candidate>> {
        let mut waiting: Vec<&Sent> = self.sent.values().filter(|sent| sent.writer == node && sent.included.is_none()).collect();
        waiting.sort_by_key(|sent| (sent.from, sent.nonce));
        waiting.into_iter().map(|sent| sent.candidate.clone()).collect()
    }
}
