//! The state, told without an EVM: every client transaction's effect is known beforehand, so balances, nonces and the
//! contract's words can be added up from the chain; and the roots that a node holds are those of its header.

use std::collections::BTreeMap;

use alloy_consensus::proofs::calculate_receipt_root;
use alloy_primitives::{Address, U256};
use ipe_chain::{Imported, Ledger};
use ipe_types::Block;

use crate::clients::{Clients, Deed};
use crate::setup::{CONTRACT, FUNDS};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Account {
    nonce: u64,
    balance: u64,
}

pub(super) struct Model {
    accounts: BTreeMap<Address, Account>,
    words: BTreeMap<u64, u64>,
}

impl Model {
    pub(super) fn new(accounts: &[Address]) -> Self {
        let accounts = accounts.iter().map(|address| (*address, Account { nonce: 0, balance: FUNDS })).collect();
        Self { accounts, words: BTreeMap::new() }
    }

    pub(super) fn apply(&mut self, clients: &Clients, block: &Block) -> Vec<Result<(), String>> {
        let mut outcomes = Vec::new();
        for tx in &block.body.transactions {
            let Some(sent) = clients.sent.get(tx.tx_hash()) else { continue };
            let Some(from) = self.accounts.get_mut(&sent.from) else { continue };
            if from.nonce != sent.nonce {
                let number = block.header.number;
                outcomes.push(Err(format!("block {number} has nonce {} of {}, expected {}", sent.nonce, sent.from, from.nonce)));
            }
            from.nonce = sent.nonce + 1;
            match sent.deed {
                Deed::Transfer { to, value } => {
                    from.balance -= value;
                    self.accounts.entry(to).or_default().balance += value;
                }
                Deed::Store { slot, value } => {
                    self.words.insert(slot, value);
                }
            }
        }
        outcomes
    }

    /// Compares with the state of a node that is at the same height.
    pub(super) fn compare(&self, name: &str, ledger: &Ledger) -> Result<(), String> {
        let state = ledger.state().head();
        for (address, expected) in &self.accounts {
            let account = state.account(*address).map_err(|error| format!("{name}: {error}"))?.unwrap_or_default();
            if account.nonce != expected.nonce || account.balance != U256::from(expected.balance) {
                return Err(format!(
                    "{name}: account {address} has nonce {} and {} wei, expected {expected:?}",
                    account.nonce, account.balance
                ));
            }
        }
        for (slot, expected) in &self.words {
            let word = state.slot(CONTRACT, U256::from(*slot)).map_err(|error| format!("{name}: {error}"))?;
            if word != U256::from(*expected) {
                return Err(format!("{name}: word {slot} of the contract is {word}, expected {expected}"));
            }
        }
        Ok(())
    }
}

/// The state that the node holds after the block, and its receipts, have the roots of the header.
pub(super) fn roots(imported: &Imported, ledger: &Ledger) -> Result<(), String> {
    let header = &imported.block.header;
    let position = ledger.state().position();
    if position != Some((header.number, header.state_root)) {
        return Err(format!("the state is {position:?}, the header says {}", header.state_root));
    }
    let used = imported.receipts.last().map_or(0, alloy_consensus::TxReceipt::cumulative_gas_used);
    if used != header.gas_used {
        return Err(format!("{used} gas was used, the header says {}", header.gas_used));
    }
    let receipts = calculate_receipt_root(&imported.receipts);
    if receipts != header.receipts_root {
        return Err(format!("the receipts have root {receipts}, the header says {}", header.receipts_root));
    }
    Ok(())
}
