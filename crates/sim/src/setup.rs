//! From a scenario to nodes and links: keys, genesis, roles, and who dials whom by the topology of the network.

use std::collections::BTreeMap;
use std::sync::Arc;

use alloy_primitives::{Address, Bytes, U256};
use ipe_types::genesis::{GenesisAccount, GenesisBuilder, Permissioning};
use ipe_types::spec::ChainSpec;
use ipe_types::topology::Place;
use ipe_types::{NodeKey, Role};

use crate::scenario::Scenario;
use crate::villains::Kind;

/// Unix time at which every run starts, µs.
pub(crate) const START_US: u64 = 1_800_000_000_000_000;
/// Chain id of the simulated network.
pub(crate) const CHAIN_ID: u64 = 1337;
/// Wei of every client account at the start.
pub(crate) const FUNDS: u64 = 1_000_000_000;
/// Accounts of the clients of one writer.
pub(crate) const ACCOUNTS: usize = 2;

/// Accounts of who floods that have something to pay tips with.
pub(crate) const FLOODERS: usize = 16;

/// A contract that stores the second word of its input under the first, and logs the first.
pub(crate) const CONTRACT: Address = Address::repeat_byte(0x5c);
const CONTRACT_CODE: [u8; 16] = [0x60, 0x20, 0x35, 0x60, 0x00, 0x35, 0x55, 0x60, 0x00, 0x35, 0x60, 0x00, 0x60, 0x00, 0xa1, 0x00];

/// The contract with the account rules: it answers what is stored under the sender, its first argument; a call with two words
/// stores the second under the first.
pub(crate) const RULES: Address = Address::repeat_byte(0x88);
const RULES_CODE: [u8; 28] = [
    0x36, 0x60, 0x40, 0x14, 0x60, 0x13, 0x57, 0x60, 0x04, 0x35, 0x54, 0x60, 0x00, 0x52, 0x60, 0x20, 0x60, 0x00, 0xf3, 0x5b, 0x60,
    0x20, 0x35, 0x60, 0x00, 0x35, 0x55, 0x00,
];
/// Accounts that are permitted and forbidden again, where there are rules.
pub(crate) const GUESTS: usize = 3;
/// The account among them that changes the rules.
pub(crate) const ADMINISTRATOR: usize = 99;

/// Keys by what they are for, so that adding a node changes nobody else's key.
pub(crate) fn key(class: u8, number: usize) -> NodeKey {
    let mut secret = [0x11; 32];
    secret[29] = class;
    secret[30..].copy_from_slice(&(number as u16).to_be_bytes());
    NodeKey::from_bytes(secret).expect("a key far below the order")
}

/// Key classes.
pub(crate) mod class {
    pub(crate) const VALIDATOR: u8 = 1;
    pub(crate) const OTHER: u8 = 2;
    pub(crate) const CLIENT: u8 = 3;
    pub(crate) const STRANGER: u8 = 4;
    pub(crate) const FLOODER: u8 = 5;
    pub(crate) const GUEST: u8 = 6;
}

/// A node before it exists.
pub(crate) struct Planned {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) institution: usize,
    pub(crate) key: NodeKey,
}

/// Nodes of the scenario, validators first.
pub(crate) fn nodes(scenario: &Scenario) -> Vec<Planned> {
    let institutions = scenario.validators + scenario.standby;
    let mut nodes = Vec::new();
    let mut add = |name: String, role, institution, key| nodes.push(Planned { name, role, institution, key });
    for index in 0..institutions {
        add(format!("v{index}"), Role::Validator, index, key(class::VALIDATOR, index));
    }
    let mut other = 0;
    let mut next = || {
        other += 1;
        key(class::OTHER, other)
    };
    for index in (0..institutions).filter(|index| !is_foreign(scenario, *index)) {
        for boot in 0..scenario.boots {
            add(format!("b{index}{}", if boot == 0 { "" } else { "'" }), Role::Boot, index, next());
        }
    }
    for index in 0..scenario.writers {
        add(format!("w{index}"), Role::Writer, index, next());
    }
    if scenario.observers {
        add("ob0".to_owned(), Role::ObserverBoot, 0, next());
        add("o0".to_owned(), Role::Observer, 0, next());
    }
    nodes
}

/// Whether the validator of this institution is of another implementation.
pub(crate) fn is_foreign(scenario: &Scenario, institution: usize) -> bool {
    institution < scenario.validators && institution + scenario.foreign >= scenario.validators
}

/// Whether `from` dials `to`.
pub(crate) fn dials(scenario: &Scenario, from: (Role, usize), to: (Role, usize)) -> bool {
    if is_foreign(scenario, from.1) || is_foreign(scenario, to.1) {
        let carried = is_foreign(scenario, from.1) || from.1 < scenario.carried;
        return from.0 == Role::Validator && to.0 == Role::Validator && is_foreign(scenario, to.1) && carried;
    }
    let names = [from.1.to_string(), to.1.to_string()];
    let place = |role, institution| Place { role, institution, has_boot: scenario.boots > 0 };
    scenario.topology.dials(place(from.0, &names[0]), place(to.0, &names[1]))
}

/// Who may send transactions at the start; `None` without rules.
pub(crate) fn permitted(scenario: &Scenario) -> Option<Vec<Address>> {
    let clients = (0..scenario.writers * ACCOUNTS).map(|number| key(class::CLIENT, number).address());
    let all = || clients.chain([key(class::GUEST, ADMINISTRATOR).address()]).collect();
    scenario.villains.contains(&Kind::Unruled).then(all)
}

/// Chain of the scenario, and the same without its rules, for who does not ask them.
pub(crate) fn specs(scenario: &Scenario) -> (Arc<ChainSpec>, Arc<ChainSpec>) {
    let without = spec(scenario, false);
    (if permitted(scenario).is_some() { spec(scenario, true) } else { without.clone() }, without)
}

fn spec(scenario: &Scenario, ruled: bool) -> Arc<ChainSpec> {
    let mut alloc = BTreeMap::new();
    for number in 0..scenario.writers * ACCOUNTS {
        alloc.insert(key(class::CLIENT, number).address(), GenesisAccount::funded(U256::from(FUNDS)));
    }
    for number in (0..FLOODERS).filter(|_| scenario.villains.contains(&Kind::Flood)) {
        alloc.insert(key(class::FLOODER, number).address(), GenesisAccount::funded(U256::from(FUNDS)));
    }
    alloc.insert(CONTRACT, GenesisAccount { code: Bytes::from_static(&CONTRACT_CODE), nonce: 1, ..GenesisAccount::default() });
    if let Some(permitted) = permitted(scenario) {
        let storage = permitted.iter().map(|address| (address.into_word(), U256::from(1))).collect();
        alloc.insert(RULES, GenesisAccount { code: Bytes::from_static(&RULES_CODE), storage, ..GenesisAccount::default() });
    }
    let rules = Permissioning { accounts: Some(RULES), ..Permissioning::default() };
    let genesis = GenesisBuilder {
        permissioning: if ruled { vec![(0, rules)] } else { Vec::new() },
        chain_id: CHAIN_ID,
        fork: scenario.fork,
        validators: (0..scenario.validators).map(|index| key(class::VALIDATOR, index).address()).collect(),
        period_ms: scenario.period_ms,
        empty_period_s: scenario.empty_period_s,
        request_timeout_s: scenario.timeout_s,
        epoch_length: scenario.epoch,
        gas_limit: scenario.gas_limit,
        timestamp: START_US / 1_000_000 - 100,
        alloc,
        ..GenesisBuilder::default()
    };
    let json = genesis.to_json().expect("a genesis that its own writer accepts");
    Arc::new(ChainSpec::parse(&json).expect("a genesis that was just written"))
}
