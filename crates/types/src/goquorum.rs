//! What GoQuorum asks of transactions beside Ethereum's rules, on chains whose genesis is in its format: no price where gas has
//! none, and what it calls private transactions.

use crate::block::Transaction;
use alloy_consensus::Typed2718;
use alloy_primitives::U256;
use thiserror::Error;

/// Chain id that a signature with v = 37 or 38 names by EIP-155. GoQuorum marks private transactions with these two.
const PRIVATE_CHAIN_ID: u64 = 1;

/// From which blocks a transaction may offer a gas price (GoQuorum `ChainConfig.IsGasPriceEnabled`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GasPrices {
    /// `config.isQuorum`: without it prices are as on any chain.
    pub quorum: bool,
    /// `config.enableGasPriceBlock`: from this block on whatever transitions say.
    pub from: Option<u64>,
    /// `transitions[].gasPriceEnabled` by block, ascending.
    pub switches: Vec<(u64, bool)>,
}

impl GasPrices {
    /// Whether a transaction of the block with this number may offer a price above 0.
    pub fn allowed(&self, number: u64) -> bool {
        let switched = self.switches.iter().take_while(|(block, _)| *block <= number).last().is_some_and(|(_, on)| *on);
        !self.quorum || self.from.is_some_and(|from| from <= number) || switched
    }
}

/// GoQuorum's rules for the transactions of one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GoQuorum {
    /// Whether a transaction may offer a price above 0.
    pub priced: bool,
}

/// Why a transaction has no place in a chain of GoQuorum's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum GoQuorumFault {
    /// The signature's v is 37 or 38.
    #[error(
        "Private transaction (v is 37 or 38): it names a payload in a private transaction manager such as Tessera, and Ipê has no private \
         state; send a public transaction, signed for this network's chain id (EIP-155)"
    )]
    Private,
    /// A price where gas has none.
    #[error(
        "Gas price not 0: gas has no price on this network, {got} wei were offered; sign the transaction with gas price 0 (a price is \
         allowed from enableGasPriceBlock or a transition with gasPriceEnabled on)"
    )]
    Priced {
        /// Wei per gas offered.
        got: U256,
    },
}

impl GoQuorum {
    /// Judges a transaction by itself (GoQuorum `StateProcessor.Process`, `TxPool.validateTx`).
    ///
    /// # Errors
    /// What GoQuorum refuses too, and private transactions, which it takes.
    pub fn check(self, tx: &Transaction) -> Result<(), GoQuorumFault> {
        if tx.is_legacy() && tx.chain_id() == Some(PRIVATE_CHAIN_ID) {
            return Err(GoQuorumFault::Private);
        }
        match tx.max_fee_per_gas() {
            got if !got.is_zero() && !self.priced => Err(GoQuorumFault::Priced { got }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_are_allowed_as_goquorum_has_it() {
        let prices = |from, switches: &[(u64, bool)]| GasPrices { quorum: true, from, switches: switches.to_vec() };
        let allowed = |prices: &GasPrices| (0..8).filter(|number| prices.allowed(*number)).collect::<Vec<u64>>();
        assert!(allowed(&prices(None, &[])).is_empty());
        assert_eq!(allowed(&prices(Some(6), &[])), [6, 7]);
        assert_eq!(allowed(&prices(None, &[(2, true), (4, false), (7, true)])), [2, 3, 7]);
        // A transition does not take back what the block brought.
        assert_eq!(allowed(&prices(Some(3), &[(1, true), (2, false), (5, false)])), [1, 3, 4, 5, 6, 7]);
        assert_eq!(allowed(&GasPrices::default()).len(), 8, "not GoQuorum's chain");
    }
}
