//! What a lab network should be.

use alloy_primitives::Address;
use ipe_types::fork::Fork;
use ipe_types::genesis::GenesisAccount;
use ipe_types::{Role, Topology};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Institutions of one lab: at three processes each, sixty are what one machine still runs.
pub const MAX_INSTITUTIONS: u32 = 20;

/// Boots of one institution: a first one and backups.
pub const MAX_BOOTS: u32 = 4;

/// The wish.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Order {
    /// 1 to [`MAX_INSTITUTIONS`], each with a validator and a writer.
    pub institutions: u32,
    /// 1 to [`MAX_BOOTS`] for each institution.
    pub boots: u32,
    /// Who connects to whom.
    pub topology: Topology,
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// Name of the newest fork in force.
    pub fork: String,
    /// Milliseconds between blocks.
    pub period_ms: u64,
    /// Seconds between empty blocks; 0 = as other blocks.
    pub empty_period_s: u64,
    /// Seconds of round 0.
    pub request_timeout_s: u64,
    /// Gas limit of a block.
    pub gas_limit: u64,
    /// Unix seconds of block 0.
    pub timestamp: u64,
}

impl Default for Order {
    /// Four institutions in sentry topology, blocks of 100 Mgas every second.
    fn default() -> Order {
        Order {
            institutions: 4,
            boots: 1,
            topology: Topology::Sentry,
            chain_id: 1337,
            fork: Fork::Cancun.name().to_owned(),
            period_ms: 1000,
            empty_period_s: 0,
            request_timeout_s: 2,
            gas_limit: 100_000_000,
            timestamp: 0,
        }
    }
}

/// What is wrong with an order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// A number out of its range.
    #[error("{what}: got {got}, expected {expected}")]
    Range {
        /// The flag's name.
        what: &'static str,
        /// Given.
        got: String,
        /// Allowed.
        expected: String,
    },
    /// Keys or ports do not match the nodes.
    #[error("{what}: got {got}, expected one for each of the {nodes} nodes")]
    Count {
        /// `keys` or `ports`.
        what: &'static str,
        /// Given.
        got: usize,
        /// Needed.
        nodes: usize,
    },
    /// The genesis that follows from the order is not valid.
    #[error("genesis: {0}")]
    Genesis(#[from] ipe_types::genesis::GenesisError),
    /// The directory that follows is not valid: two keys are equal.
    #[error("nodes: {0}")]
    Members(String),
}

/// A node to be: name, owner, role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// `inst1-validator`, `inst1-boot`, `inst1-boot2`, `inst1-writer`.
    pub name: String,
    /// `inst1`.
    pub institution: String,
    /// Its part.
    pub role: Role,
}

impl Order {
    /// Checks every range.
    pub fn check(&self) -> Result<(), OrderError> {
        let range = |what, got: u64, least: u64, most: u64| {
            if (least..=most).contains(&got) {
                Ok(())
            } else {
                Err(OrderError::Range { what, got: got.to_string(), expected: format!("{least} to {most}") })
            }
        };
        range("institutions", self.institutions.into(), 1, MAX_INSTITUTIONS.into())?;
        range("boots", self.boots.into(), 1, MAX_BOOTS.into())?;
        range("block-period (milliseconds)", self.period_ms, 20, 600_000)?;
        range("request-timeout (seconds)", self.request_timeout_s, 1, 3600)?;
        range("empty-block-period (seconds)", self.empty_period_s, 0, 86_400)?;
        range("gas-limit", self.gas_limit, 5_000_000, i64::MAX as u64)?;
        range("chain-id", self.chain_id, 1, u64::MAX)?;
        self.fork().map(|_| ())
    }

    /// The fork that the name means.
    pub fn fork(&self) -> Result<Fork, OrderError> {
        Fork::from_name(&self.fork).ok_or_else(|| OrderError::Range {
            what: "fork",
            got: self.fork.clone(),
            expected: Fork::ALL.map(Fork::name).join(", "),
        })
    }

    /// The nodes, institution by institution.
    pub fn slots(&self) -> Vec<Slot> {
        let mut slots = Vec::new();
        for number in 1..=self.institutions {
            let institution = format!("inst{number}");
            let mut add = |suffix: String, role| {
                slots.push(Slot { name: format!("{institution}-{suffix}"), institution: institution.clone(), role });
            };
            add("validator".to_owned(), Role::Validator);
            for boot in 1..=self.boots {
                add(if boot == 1 { "boot".to_owned() } else { format!("boot{boot}") }, Role::Boot);
            }
            add("writer".to_owned(), Role::Writer);
        }
        slots
    }
}

/// Adds accounts of a file to the initial ones; an account that is in both is taken from the file.
pub fn merge_alloc(alloc: &mut BTreeMap<Address, GenesisAccount>, more: BTreeMap<Address, GenesisAccount>) {
    alloc.extend(more);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_named_by_institution_and_role() {
        let order = Order { institutions: 2, boots: 2, ..Order::default() };
        let names: Vec<String> = order.slots().into_iter().map(|slot| slot.name).collect();
        assert_eq!(
            names,
            [
                "inst1-validator",
                "inst1-boot",
                "inst1-boot2",
                "inst1-writer", //
                "inst2-validator",
                "inst2-boot",
                "inst2-boot2",
                "inst2-writer",
            ]
        );
    }

    #[test]
    fn ranges_are_checked() {
        for (order, word) in [
            (Order { institutions: 0, ..Order::default() }, "institutions: got 0, expected 1 to 20"),
            (Order { institutions: 21, ..Order::default() }, "institutions"),
            (Order { boots: 0, ..Order::default() }, "boots"),
            (Order { period_ms: 1, ..Order::default() }, "block-period"),
            (Order { gas_limit: 1, ..Order::default() }, "gas-limit"),
            (Order { fork: "x".into(), ..Order::default() }, "osaka"),
        ] {
            let error = order.check().expect_err(word).to_string();
            assert!(error.contains(word), "{error}");
        }
        assert_eq!(Order::default().check(), Ok(()));
    }
}
