//! QBFT parameters of a chain and how they change over time (`config.qbft`, `config.transitions`).

use crate::fork::Activation;
use alloy_primitives::{Address, U256};
use std::collections::BTreeMap;

/// Where the validator set of a block comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Extra data and votes in the headers.
    Header,
    /// `getValidators()` of this contract, on the parent's state.
    Contract(Address),
}

/// How much gas a single transaction may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TxGasCap {
    /// What the fork says: nothing before Osaka, 2^24 from Osaka on (EIP-7825).
    Fork,
    /// No cap, whatever the fork (`pertxgaslimit: 0`).
    Unlimited,
    /// This much gas.
    Gas(u64),
}

impl std::fmt::Display for TxGasCap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            TxGasCap::Fork => f.write_str("as the fork says (from Osaka on 16777216)"),
            TxGasCap::Unlimited => f.write_str("no cap"),
            TxGasCap::Gas(gas) => write!(f, "at most {gas}"),
        }
    }
}

/// What the genesis file and its transitions say about consensus at one block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QbftParams {
    /// Block period in milliseconds (> 0): `xblockperiodmilliseconds` when set, else `blockperiodseconds`.
    pub period_ms: u64,
    /// Period of empty blocks in milliseconds; 0 = off, empty blocks come at `period_ms`.
    pub empty_period_ms: u64,
    /// Timeout of round 0 in milliseconds (> 0); round r waits 2^r times as long.
    pub request_timeout_ms: u64,
    /// Blocks between two epoch blocks (> 0).
    pub epoch_length: u64,
    /// Wei credited once per block; 0 does not touch the account.
    pub block_reward: U256,
    /// Receives fees and reward in place of `coinbase`.
    pub beneficiary: Option<Address>,
    /// Where the validator set comes from.
    pub selection: Selection,
    /// Cap on one transaction's gas.
    pub tx_gas_cap: TxGasCap,
    /// First QBFT block of a chain migrated from IBFT (0 = QBFT from the start); origin of epoch arithmetic.
    pub start_block: u64,
}

impl QbftParams {
    /// Least distance in whole seconds between the timestamps of parent and child; `None` when the period is below a
    /// second, because the header rule is then absent (spec/qbft.md 4.1).
    pub fn min_timestamp_distance(&self) -> Option<u64> {
        let seconds = self.period_ms / 1000;
        (seconds > 0).then_some(seconds)
    }

    /// Whether the timer may run from "now" instead of from the parent's timestamp (`xblockperiodmilliseconds`).
    pub fn is_subsecond(&self) -> bool {
        !self.period_ms.is_multiple_of(1000)
    }

    /// Every parameter by name, as people say it.
    pub fn named(&self) -> [(&'static str, String); 8] {
        let seconds = |ms: u64| if ms.is_multiple_of(1_000) { format!("{} s", ms / 1_000) } else { format!("{ms} ms") };
        let empty = if self.empty_period_ms == 0 { "as other blocks".to_owned() } else { seconds(self.empty_period_ms) };
        let reward = if self.block_reward.is_zero() { "none".to_owned() } else { format!("{} wei", self.block_reward) };
        let beneficiary = self.beneficiary.map_or_else(|| "the block's proposer".to_owned(), |address| address.to_string());
        let validators = match self.selection {
            Selection::Header => "votes in headers".to_owned(),
            Selection::Contract(address) => format!("contract {address}"),
        };
        [
            ("block period", seconds(self.period_ms)),
            ("empty block period", empty),
            ("request timeout", seconds(self.request_timeout_ms)),
            ("epoch", format!("{} blocks", self.epoch_length)),
            ("block reward", reward),
            ("beneficiary", beneficiary),
            ("validators", validators),
            ("gas of one transaction", self.tx_gas_cap.to_string()),
        ]
    }

    /// Whether pending votes are forgotten at this block (spec/qbft.md 5.1).
    pub fn is_epoch(&self, number: u64) -> bool {
        let origin = self.start_block.saturating_sub(1);
        number == 0 || number.saturating_sub(origin).is_multiple_of(self.epoch_length.max(1))
    }
}

/// The parameters of a chain by block, with the one-time validator sets that transitions force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QbftSchedule {
    /// First entry: the genesis, active from block 0. Then ascending by raw value.
    entries: Vec<(Activation, QbftParams)>,
    overrides: BTreeMap<u64, Vec<Address>>,
}

impl QbftSchedule {
    /// A schedule that starts with the genesis parameters.
    pub fn new(genesis: QbftParams) -> QbftSchedule {
        QbftSchedule { entries: vec![(Activation::Block(0), genesis)], overrides: BTreeMap::new() }
    }

    /// Adds parameters that begin later; callers add in ascending order of the raw value.
    pub(crate) fn push(&mut self, at: Activation, params: QbftParams) {
        self.entries.push((at, params));
    }

    pub(crate) fn force_validators(&mut self, number: u64, validators: Vec<Address>) {
        self.overrides.insert(number, validators);
    }

    /// Parameters for the block with this number and timestamp (unix seconds): the transition with the greatest raw
    /// value among those in force. A transition keyed by time (see [`crate::fork::ForkSchedule::reads_as_time`]) is
    /// judged by the new block's timestamp when building, and by the parent's for the block timer.
    pub fn at(&self, number: u64, timestamp: u64) -> &QbftParams {
        self.entries
            .iter()
            .rev()
            .find(|(at, _)| at.active(number, timestamp))
            .map(|(_, params)| params)
            .unwrap_or(&self.entries[0].1)
    }

    /// The set that `transitions[].validators` forces for exactly this block in header mode. Always keyed by block
    /// number, also where the transition itself is read as a timestamp (observed on Besu 26.8.0). In GoQuorum's chains the
    /// set is that of the block after; at 0 stands what the genesis names besides its extra data.
    pub fn validators_override(&self, number: u64) -> Option<&[Address]> {
        self.overrides.get(&number).map(Vec::as_slice)
    }

    /// Every forced set by its block, ascending.
    pub fn overrides(&self) -> impl Iterator<Item = (u64, &[Address])> {
        self.overrides.iter().map(|(number, set)| (*number, set.as_slice()))
    }

    /// Every activation with its parameters, genesis first.
    pub fn entries(&self) -> &[(Activation, QbftParams)] {
        &self.entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(period_ms: u64) -> QbftParams {
        QbftParams {
            period_ms,
            empty_period_ms: 0,
            request_timeout_ms: 1000,
            epoch_length: 60,
            block_reward: U256::ZERO,
            beneficiary: None,
            selection: Selection::Header,
            tx_gas_cap: TxGasCap::Fork,
            start_block: 0,
        }
    }

    #[test]
    fn the_greatest_active_transition_decides() {
        let mut schedule = QbftSchedule::new(params(1000));
        schedule.push(Activation::Block(10), params(2000));
        schedule.push(Activation::Time(5_000), params(3000));
        assert_eq!(schedule.at(9, 0).period_ms, 1000);
        assert_eq!(schedule.at(10, 0).period_ms, 2000);
        assert_eq!(schedule.at(1, 5_000).period_ms, 3000);
    }

    #[test]
    fn epochs_count_from_the_start_block() {
        let mut p = params(1000);
        assert!(p.is_epoch(0) && p.is_epoch(60) && !p.is_epoch(61));
        p.start_block = 101;
        assert!(p.is_epoch(160) && !p.is_epoch(120));
    }

    #[test]
    fn a_period_below_a_second_drops_the_timestamp_rule() {
        assert_eq!(params(250).min_timestamp_distance(), None);
        assert_eq!(params(1500).min_timestamp_distance(), Some(1));
        assert_eq!(params(4000).min_timestamp_distance(), Some(4));
    }
}
