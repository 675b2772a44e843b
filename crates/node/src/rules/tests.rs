use ipe_chain::kv::MemoryStore;
use ipe_types::NodeKey;
use ipe_types::genesis::{GenesisAccount, GenesisBuilder, NodeContract, Permissioning};
use ipe_types::spec::ChainSpec;
use ipe_types::{Bytes, U256};

use super::*;

const CONTRACT: Address = Address::repeat_byte(0x99);
const GENESIS_S: u64 = 1_700_000_000;

fn id(byte: u8) -> NodeId {
    NodeKey::from_bytes([byte; 32]).expect("a key").node_id()
}

fn enode(byte: u8, host: &str) -> Enode {
    Enode { id: id(byte), hosts: vec![host.to_owned()], tcp: 30_303, udp: None }
}

/// Answers yes (32 bytes ff) when both nodes are listed: when a slot numbered by the first half of the key is not zero.
/// 7f and 31 bytes ff else: the top bit is the product of the two slots.
const PAIR: &str = concat!(
    // sload(first) × sload(second), shifted to the top bit
    "600435546084355402",
    "60ff1b",
    // or 7fff…ff
    "7f7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff17",
    "60005260206000f3",
);

fn ledger(code: &str, abi: NodeAbi, listed: &[u8]) -> Arc<Ledger> {
    let storage = listed.iter().map(|byte| (ipe_types::B256::from_slice(&id(*byte)[..32]), U256::from(1))).collect();
    let code = code.parse::<Bytes>().expect("hex");
    let account = GenesisAccount { code, storage, ..GenesisAccount::default() };
    let nodes = NodeContract { address: CONTRACT, abi };
    let genesis = GenesisBuilder {
        validators: vec![Address::repeat_byte(1)],
        timestamp: GENESIS_S,
        alloc: [(CONTRACT, account)].into(),
        permissioning: vec![(0, Permissioning { nodes: Some(nodes), ..Permissioning::default() })],
        ..GenesisBuilder::default()
    };
    let spec = ChainSpec::parse(&genesis.to_json().expect("a genesis")).expect("parses");
    Arc::new(Ledger::open(Arc::new(MemoryStore::new()), Arc::new(spec)).expect("opens"))
}

/// The rules at node 1, whose fixed node is 9; the head is current.
fn rules(code: &str, abi: NodeAbi, listed: &[u8]) -> NodeRules {
    let mut rules = NodeRules::new(ledger(code, abi, listed), id(1), &[enode(9, "nine.example.org")]);
    rules.clock = || GENESIS_S + 30;
    rules
}

fn may(rules: &NodeRules, byte: u8) -> bool {
    let verdicts = [false, true].map(|inbound| rules.permits(&id(byte), IpAddr::V4(Ipv4Addr::LOCALHOST), 30_303, inbound).is_ok());
    assert_eq!(verdicts[0], verdicts[1], "both directions are judged alike by this contract");
    verdicts[0]
}

#[test]
fn who_is_listed_may_be_connected() {
    let rules = rules(PAIR, NodeAbi::V1, &[1, 2]);
    assert!(may(&rules, 2));
    assert!(!may(&rules, 3) && !may(&rules, 9));
    let why = rules.permits(&id(3), IpAddr::V4(Ipv4Addr::LOCALHOST), 1, true).expect_err("not listed");
    assert!(why.contains("do not permit") && why.contains("block 0"), "{why}");
}

/// Whether this node may be in the network is for the others to say; they do not let it in.
#[test]
fn ones_own_enode_need_not_be_listed() {
    let rules = rules(PAIR, NodeAbi::V1, &[2]);
    assert!(may(&rules, 2), "the other is listed");
    assert!(!may(&rules, 3), "two who are not listed stay apart");
    let mut other = NodeRules::new(rules.ledger.clone(), id(2), &[]);
    other.clock = rules.clock;
    assert!(!may(&other, 1), "the other side refuses");
}

/// A state that is old knows nothing of boots that were registered since (T-08).
#[test]
fn boots_and_static_nodes_may_be_connected_while_the_state_is_old() {
    let mut rules = rules(PAIR, NodeAbi::V1, &[1, 2]);
    rules.clock = || GENESIS_S + 3_600;
    assert!(may(&rules, 9) && may(&rules, 2));
    assert!(!may(&rules, 3), "strangers are judged by what is known");
}

#[test]
fn a_contract_without_an_answer_cuts_nobody_and_lets_in_whom_the_operator_names() {
    for code in ["60006000fd", "5b600056", "00", "fe"] {
        let rules = rules(code, NodeAbi::V1, &[]);
        assert!(may(&rules, 9), "{code}: the operator names it");
        assert!(!may(&rules, 3), "{code}");
        rules.connected.write().insert(id(3));
        assert!(may(&rules, 3), "{code}: it is connected already");
    }
}

#[test]
fn version_two_is_asked_about_the_other_alone_and_by_its_name() {
    // Yes when the host's text has sixteen bytes, as the name has.
    let named = "610104356010146000526020 6000f3".replace(' ', "");
    let rules = rules(&named, NodeAbi::V2, &[]);
    assert!(may(&rules, 9) && !may(&rules, 3));
}

#[test]
fn carried_sessions_are_judged_by_their_ends() {
    let rules = rules(PAIR, NodeAbi::V1, &[1, 2]);
    let candidate = |path| Candidate {
        node: id(3),
        role: None,
        remote: ([127, 0, 0, 1], 1).into(),
        listen_port: 1,
        inbound: true,
        is_static: false,
        path,
    };
    assert!(rules.judge(&candidate(Path::For(id(2)))).is_ok());
    assert!(rules.judge(&candidate(Path::Through(id(2)))).is_err());
    assert!(rules.judge(&candidate(Path::Direct)).is_err());
}
