//! Which contracts say whose transactions are valid and which nodes may connect, and from which block on:
//! `config.ipe.permissioning`, or Besu's options where the genesis says nothing.
//!
//! The rules of accounts decide which blocks are valid, so all nodes must have the same. A schedule may name other contracts
//! from a height on, or none: so a network leaves contracts that answer no longer, without a stop (docs/permissioning.md).

use super::GenesisError;
use super::field::{self, Section};
use super::warnings::Warnings;
use alloy_primitives::Address;

/// Most gas of a call that asks a contract, unless the network sets another: the default of Besu's `rpc-gas-cap`, which bounds
/// these calls there (besu 25.5.0 `TransactionSimulator.calculateSimulationGasCap`). The block's gas limit bounds them, too.
pub const RULES_GAS: u64 = 50_000_000;

/// Entries that a schedule may have.
const MOST_STEPS: usize = 1_024;

/// How node rules are asked: the two interfaces that Besu knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NodeAbi {
    /// One call a pair, with the keys in two words each, addresses of 16 bytes and ports.
    #[default]
    V1,
    /// One call a node, with texts.
    V2,
}

impl NodeAbi {
    /// The number that Besu's option and the genesis have for it.
    pub fn number(self) -> u64 {
        match self {
            NodeAbi::V1 => 1,
            NodeAbi::V2 => 2,
        }
    }

    /// The interface with this number.
    pub fn numbered(number: u64) -> Option<Self> {
        [NodeAbi::V1, NodeAbi::V2].into_iter().find(|abi| abi.number() == number)
    }
}

/// The contract that says which nodes may connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeContract {
    /// Of the ingress.
    pub address: Address,
    /// How it is asked.
    pub abi: NodeAbi,
}

/// The contracts in force at a height.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permissioning {
    /// The ingress that says whose transactions a block may hold; `None`: everybody's.
    pub accounts: Option<Address>,
    /// The ingress that says which nodes may connect; `None`: all.
    pub nodes: Option<NodeContract>,
    /// Most gas of one question.
    pub gas: u64,
}

impl Default for Permissioning {
    fn default() -> Self {
        Self { accounts: None, nodes: None, gas: RULES_GAS }
    }
}

impl Permissioning {
    /// Whether any contract is asked.
    pub fn any(&self) -> bool {
        self.accounts.is_some() || self.nodes.is_some()
    }
}

/// The contracts in force, by height.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PermissioningSchedule {
    /// First block and what is in force from it on, ascending.
    steps: Vec<(u64, Permissioning)>,
}

impl PermissioningSchedule {
    /// The same contracts in every block.
    pub fn always(permissioning: Permissioning) -> Self {
        Self { steps: vec![(0, permissioning)] }
    }

    /// What decides about block `number`; asked is the state after the block before it.
    pub fn at(&self, number: u64) -> Permissioning {
        self.steps.iter().rev().find(|(from, _)| *from <= number).map(|(_, step)| *step).unwrap_or_default()
    }

    /// First block and what is in force from it on, ascending.
    pub fn steps(&self) -> &[(u64, Permissioning)] {
        &self.steps
    }

    /// Whether any contract is asked at any height.
    pub fn any(&self) -> bool {
        self.steps.iter().any(|(_, step)| step.any())
    }

    /// The schedule of a node whose options name these contracts, too. Without a schedule in the genesis the options are it;
    /// with one they must say what it says of the first block, because a node that differs leaves the chain.
    ///
    /// # Errors
    /// In words, what the two sources say.
    pub fn with_options(self, options: &Permissioning) -> Result<Self, String> {
        if !options.any() {
            return Ok(self);
        }
        if self.steps.is_empty() {
            return Ok(Self::always(*options));
        }
        let first = self.at(1);
        let wrong = |kind: &str, option: String, genesis: Option<String>| {
            let genesis = genesis.map_or_else(|| "none".to_owned(), |text| format!("{text}, from config.ipe.permissioning"));
            Err(format!(
                "the options name {option} as the contract with the rules of {kind}, and the genesis {genesis}; all nodes must have \
                 the same rules: remove the options, or correct whichever is wrong"
            ))
        };
        if let Some(named) = options.accounts
            && first.accounts != Some(named)
        {
            return wrong("accounts", named.to_string(), first.accounts.map(|address| address.to_string()));
        }
        let text = |nodes: NodeContract| format!("{} (version {})", nodes.address, nodes.abi.number());
        if let Some(named) = options.nodes
            && first.nodes != Some(named)
        {
            return wrong("nodes", text(named), first.nodes.map(text));
        }
        if options.gas != first.gas {
            return Err(format!(
                "a question to the rules gets {} gas by the options and {} by the genesis (config.ipe.permissioning.gas); all nodes \
                 must give the same: remove the option, or correct whichever is wrong",
                options.gas, first.gas
            ));
        }
        Ok(self)
    }
}

/// Reads `permissioning` of `config.ipe`: one entry, or a list of them with ascending `fromBlock`.
pub(super) fn read(ours: &mut Section<'_>, warnings: &mut Warnings) -> Result<PermissioningSchedule, GenesisError> {
    let Some((path, value)) = ours.take("permissioning") else { return Ok(PermissioningSchedule::default()) };
    let entries = match value.items() {
        Some(_) => field::sections(&path, value)?,
        None => vec![Section::new(&path, value)?],
    };
    if entries.len() > MOST_STEPS {
        return Err(GenesisError::Bad {
            key: path,
            got: format!("{} entries", entries.len()),
            expected: format!("at most {MOST_STEPS}"),
        });
    }
    let mut steps: Vec<(u64, Permissioning)> = Vec::with_capacity(entries.len());
    for mut entry in entries {
        let key = entry.path_of("fromBlock");
        let from = entry.get("fromBlock", "a block number", field::quantity64)?.unwrap_or(0);
        if steps.last().is_some_and(|(before, _)| *before >= from) {
            return Err(GenesisError::Bad {
                key,
                got: from.to_string(),
                expected: "a block after that of the entry before it".to_owned(),
            });
        }
        let accounts = entry.get("accounts", "the address of a contract, 20 bytes of hex", field::address)?;
        let address = entry.get("nodes", "the address of a contract, 20 bytes of hex", field::address)?;
        let abi = entry.get("nodesVersion", "1 or 2", |value| NodeAbi::numbered(field::quantity64(value)?))?.unwrap_or_default();
        let gas = entry
            .get("gas", "gas of one question, at least 100000", |value| field::quantity64(value).filter(|gas| *gas >= 100_000))?;
        let nodes = address.map(|address| NodeContract { address, abi });
        entry.finish(warnings);
        steps.push((from, Permissioning { accounts, nodes, gas: gas.unwrap_or(RULES_GAS) }));
    }
    Ok(PermissioningSchedule { steps })
}

#[cfg(test)]
mod tests {
    use super::super::Genesis;
    use super::*;

    fn schedule(permissioning: &str) -> Result<PermissioningSchedule, GenesisError> {
        let text = format!(
            r#"{{"config":{{"chainId":5,"berlinBlock":0,"ipe":{{"permissioning":{permissioning}}}}},"gasLimit":"0x1","difficulty":"0x1","alloc":{{}}}}"#
        );
        Genesis::parse(&text).map(|genesis| genesis.permissioning)
    }

    const ACCOUNTS: Address = Address::with_last_byte(0x88);
    const NODES: Address = Address::with_last_byte(0x99);

    #[test]
    fn one_entry_holds_from_the_first_block_on() {
        let text = format!(r#"{{"accounts":"{ACCOUNTS}","nodes":"{NODES}"}}"#);
        let schedule = schedule(&text).expect("reads");
        let expected = Permissioning {
            accounts: Some(ACCOUNTS),
            nodes: Some(NodeContract { address: NODES, abi: NodeAbi::V1 }),
            gas: RULES_GAS,
        };
        assert_eq!(schedule.at(1), expected);
        assert_eq!(schedule.at(u64::MAX), expected);
        assert!(schedule.any());
    }

    #[test]
    fn a_later_entry_replaces_all_of_the_one_before() {
        let text = format!(
            r#"[{{"accounts":"{ACCOUNTS}","nodes":"{NODES}","nodesVersion":2}},{{"fromBlock":100,"accounts":"{NODES}","gas":"0x1e8480"}},{{"fromBlock":200}}]"#
        );
        let schedule = schedule(&text).expect("reads");
        assert_eq!(schedule.at(99).nodes, Some(NodeContract { address: NODES, abi: NodeAbi::V2 }));
        assert_eq!(schedule.at(100), Permissioning { accounts: Some(NODES), nodes: None, gas: 2_000_000 });
        assert_eq!(schedule.at(200), Permissioning::default());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, named) in [
            (r#"[{"fromBlock":5},{"fromBlock":5}]"#, "fromBlock"),
            (r#"{"accounts":5}"#, "accounts"),
            (r#"{"nodesVersion":3}"#, "nodesVersion"),
            (r#"{"gas":99999}"#, "gas"),
        ] {
            let error = schedule(text).expect_err(text).to_string();
            assert!(error.contains(named), "{error}");
        }
    }

    #[test]
    fn options_stand_for_a_genesis_without_rules_and_may_not_contradict_one_with() {
        let options = Permissioning { accounts: Some(ACCOUNTS), ..Permissioning::default() };
        let alone = PermissioningSchedule::default().with_options(&options).expect("alone");
        assert_eq!(alone.at(1), options);
        let genesis = schedule(&format!(r#"[{{"accounts":"{ACCOUNTS}"}},{{"fromBlock":9}}]"#)).expect("reads");
        assert_eq!(genesis.clone().with_options(&Permissioning::default()).as_ref(), Ok(&genesis));
        assert_eq!(genesis.clone().with_options(&options).as_ref(), Ok(&genesis));
        let other = Permissioning { accounts: Some(NODES), ..options };
        assert!(genesis.clone().with_options(&other).expect_err("contradicts").contains("rules of accounts"));
        let nodes = Permissioning { nodes: Some(NodeContract { address: NODES, abi: NodeAbi::V1 }), ..options };
        assert!(genesis.clone().with_options(&nodes).expect_err("contradicts").contains("rules of nodes"));
        assert!(genesis.with_options(&Permissioning { gas: 1, ..options }).expect_err("contradicts").contains("gas"));
    }
}
