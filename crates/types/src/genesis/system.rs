//! The contracts that the protocol itself calls (EIP-4788, 2935, 7002, 7251) or reads (EIP-6110), as Besu decides it for QBFT.

use super::field::{self, Section};
use super::permissioning::{self, PermissioningSchedule};
use super::warnings::Warnings;
use super::{Genesis, GenesisAccount, GenesisError};
use crate::fork::Fork;
use alloy_primitives::{Address, address};

/// Ring of parent hashes (EIP-2935, Prague).
pub const HISTORY_CONTRACT: Address = address!("0000F90827F1C53a10cb7A02335B175320002935");
/// Beacon roots (EIP-4788, Cancun).
pub const BEACON_ROOTS_CONTRACT: Address = address!("000F3df6D732807Ef1319fB7B8bB8522d0Beac02");

/// The Besu release whose rules a chain has where releases differ: `config.ipe.besuRules`. Fixed with the genesis, because
/// nodes with different rules make different states of the same blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BesuRules {
    /// Besu 25.5.0: system contracts are called wherever they have code, and headers from Prague on may end before
    /// `requestsHash`.
    V25_5,
    /// Besu 26.8.0: system contracts are called only where `config` names the request contracts, and headers from Prague on
    /// have every field.
    #[default]
    V26_8,
}

impl BesuRules {
    /// Every value with its name.
    pub const ALL: [(&'static str, BesuRules); 2] = [("25.5.0", BesuRules::V25_5), ("26.8.0", BesuRules::V26_8)];

    /// The release, as the file writes it.
    pub fn name(self) -> &'static str {
        match self {
            BesuRules::V25_5 => "25.5.0",
            BesuRules::V26_8 => "26.8.0",
        }
    }
}

/// The contracts whose requests a block's `requestsHash` commits to, from Prague on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestContracts {
    /// `depositContractAddress`, whose logs are read (EIP-6110).
    pub deposits: Address,
    /// `withdrawalRequestContractAddress`, called at the end of a block (EIP-7002).
    pub withdrawals: Address,
    /// `consolidationRequestContractAddress`, called at the end of a block (EIP-7251).
    pub consolidations: Address,
}

/// What the file says about them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SystemContracts {
    /// By whose rules.
    pub rules: BesuRules,
    /// Only when all three addresses are named: fewer count as none (besu `hasSystemContractAddresses`).
    pub requests: Option<RequestContracts>,
    /// How many of the three are named.
    pub named: usize,
}

const KEYS: [&str; 3] = ["depositContractAddress", "withdrawalRequestContractAddress", "consolidationRequestContractAddress"];

/// Reads `config.ipe`, and the addresses of the request contracts.
pub(super) fn read(
    config: &mut Section<'_>,
    warnings: &mut Warnings,
) -> Result<(SystemContracts, PermissioningSchedule), GenesisError> {
    let (mut rules, mut schedule) = (BesuRules::default(), PermissioningSchedule::default());
    if let Some(mut ours) = config.section("ipe")? {
        let expected = "the Besu release whose rules this chain has, \"25.5.0\" or \"26.8.0\"";
        let named = ours.get("besuRules", expected, |value| {
            let text = field::text(value)?;
            BesuRules::ALL.into_iter().find(|(name, _)| *name == text).map(|(_, rules)| rules)
        })?;
        rules = named.unwrap_or_default();
        schedule = permissioning::read(&mut ours, warnings)?;
        ours.finish(warnings);
    }
    let mut addresses = [None; 3];
    for (key, address) in KEYS.into_iter().zip(&mut addresses) {
        *address = config.get(key, "an address of 20 bytes of hex", field::address)?;
    }
    let requests = match addresses {
        [Some(deposits), Some(withdrawals), Some(consolidations)] => {
            Some(RequestContracts { deposits, withdrawals, consolidations })
        }
        _ => None,
    };
    Ok((SystemContracts { rules, requests, named: addresses.iter().flatten().count() }, schedule))
}

impl Genesis {
    /// What an operator should know about the contracts that the protocol calls: one sentence each, none where the file leaves
    /// nothing open.
    pub fn system_warnings(&self) -> Vec<String> {
        let defines = |fork: Fork| self.forks.points().iter().any(|point| point.fork >= fork);
        let has_code = |address: &Address| self.alloc.get(address).is_some_and(|account: &GenesisAccount| !account.code.is_empty());
        let (rules, mut told) = (self.system.rules, Vec::new());
        if self.system.requests.is_none() && self.system.named > 0 {
            told.push(format!(
                "config names {} of {}: fewer than all three count as none, as in Besu",
                self.system.named,
                KEYS.join(", ")
            ));
        }
        let known = [(BEACON_ROOTS_CONTRACT, Fork::Cancun, "EIP-4788"), (HISTORY_CONTRACT, Fork::Prague, "EIP-2935")];
        for (contract, since, eip) in known {
            if self.system.requests.is_none() && defines(since) && has_code(&contract) {
                told.push(match rules {
                    BesuRules::V26_8 => format!(
                        "alloc has code at {contract} ({eip}), which is not called: Besu 26.8.0 calls no system contract unless config \
                         names {}. Besu 25.5.0 calls it; on a network of 25.5.0 set config.ipe.besuRules to \"25.5.0\" in the genesis \
                         file of every node of ours, or they compute other states",
                        KEYS.join(", ")
                    ),
                    BesuRules::V25_5 => format!(
                        "alloc has code at {contract} ({eip}), which is called as by Besu 25.5.0 (config.ipe.besuRules); Besu 26.8.0 \
                         does not call it, so a node of that release cannot follow this chain"
                    ),
                });
            }
        }
        if let Some(RequestContracts { withdrawals, consolidations, .. }) = self.system.requests
            && defines(Fork::Prague)
        {
            for contract in [withdrawals, consolidations].iter().filter(|contract| !has_code(contract)) {
                told.push(format!(
                    "config names {contract} as a request contract and alloc has no code there: from Prague on no block is valid \
                     until somebody puts it there"
                ));
            }
        }
        if rules == BesuRules::V25_5 && self.system.requests.is_none() && defines(Fork::Prague) {
            told.push(format!("Besu 25.5.0 does not start on a genesis with Prague and without {}", KEYS.join(", ")));
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn genesis(config: &str, alloc: &str) -> Result<Genesis, GenesisError> {
        Genesis::parse(&format!(
            r#"{{"config":{{"chainId":5,"cancunTime":0,"pragueTime":0{config}}},"gasLimit":"0x1","difficulty":"0x1","alloc":{{{alloc}}}}}"#
        ))
    }

    const THREE: &str = r#","depositContractAddress":"0x01","withdrawalRequestContractAddress":"0x02","consolidationRequestContractAddress":"0x03""#;

    #[test]
    fn request_contracts_count_only_together() {
        let all = genesis(THREE, "").expect("parses");
        let contracts = all.system.requests.expect("all three");
        assert_eq!(contracts.withdrawals, Address::with_last_byte(2));
        let two = THREE.replace("consolidationRequest", "consolidationsRequest");
        assert_eq!(genesis(&two, "").expect("parses").system.requests, None);
        assert_eq!(genesis(&two, "").expect("parses").system_warnings().len(), 1);
    }

    #[test]
    fn the_rules_are_those_of_a_release_that_is_known() {
        assert_eq!(genesis("", "").expect("parses").system.rules, BesuRules::V26_8);
        for (name, rules) in BesuRules::ALL {
            let config = format!(r#","ipe":{{"besuRules":"{name}"}}"#);
            assert_eq!(genesis(&config, "").expect("parses").system.rules, rules);
            assert_eq!(rules.name(), name);
        }
        assert!(genesis(r#","ipe":{"besuRules":"24.1.0"}"#, "").is_err());
    }

    #[test]
    fn code_that_is_not_called_and_addresses_without_code_are_told() {
        let alloc = format!(r#""{BEACON_ROOTS_CONTRACT}":{{"balance":"0x0","code":"0x00"}}"#);
        let told = |config: &str, alloc: &str| genesis(config, alloc).expect("parses").system_warnings();
        assert!(told("", "").is_empty());
        let not_called = told("", &alloc);
        assert!(not_called.len() == 1 && not_called[0].contains("not called"), "{not_called:?}");
        let called = told(r#","ipe":{"besuRules":"25.5.0"}"#, &alloc);
        assert!(called.iter().any(|one| one.contains("which is called")), "{called:?}");
        let without_code = told(THREE, &alloc);
        assert!(without_code.len() == 2 && without_code[0].contains("no block is valid"), "{without_code:?}");
    }
}
