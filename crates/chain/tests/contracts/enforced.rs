//! The committed contracts in a genesis, asked by the ledger as a node asks them.
//!
//! The genesis' accounts are `fixtures/permissioned/alloc.json`, which every other test with rules on chain starts from; this file
//! writes it (`IPE_BLESS=1`) and fails when it is not what the contracts deploy.

use std::sync::Arc;

use alloy_consensus::TxLegacy;
use alloy_primitives::{Address, B256, TxKind, U256, address};
use alloy_sol_types::{SolCall, SolConstructor};
use ipe_chain::kv::MemoryStore;
use ipe_chain::{Asked, Candidate, Feedback, Ledger};
use ipe_permissioning::{End, Link, Verdict};
use ipe_types::extra::ExtraData;
use ipe_types::spec::ChainSpec;
use serde_json::{Map, Value, json};

use crate::abi::{Acc, AdminAbi, Gov, IngressAbi, Node, Org};
use crate::bed::{Bed, folder, other_generation};
use crate::order::{build, import, key, signed};

const ACCOUNTS: Address = address!("0000000000000000000000000000000000008888");
const NODES: Address = address!("0000000000000000000000000000000000009999");
/// Administrator of the rules until governance is alone.
const MASTER: u8 = 0xad;

fn name(text: &str) -> B256 {
    B256::right_padding_from(text.as_bytes())
}

/// Contracts of a permissioned network: four organisations whose administrators have the keys 1 to 4, ingresses at the addresses
/// that RBB's have, rules in force. Addresses of the contracts by name beside it.
fn deployed() -> (Bed, Vec<(&'static str, Address)>) {
    let mut bed = Bed::new();
    let master = key(MASTER).address();
    let admin = bed.deploy(master, "Admin", &[]).unwrap();
    let kinds = [(2, true), (2, true), (1, true), (0, false)];
    let orgs: Vec<Org::OrganizationData> = kinds
        .iter()
        .enumerate()
        .map(|(index, (kind, vote))| Org::OrganizationData {
            id: U256::ZERO,
            cnpj: format!("{index:014}"),
            name: format!("Org{}", index + 1),
            orgType: *kind,
            canVote: *vote,
        })
        .collect();
    let heads: Vec<Address> = (1..=4).map(|n| key(n).address()).collect();
    let org = bed.deploy(master, "OrganizationImpl", &Org::constructorCall { orgs, admins: admin }.abi_encode()).unwrap();
    let acc = bed
        .deploy(master, "AccountRulesV2Impl", &Acc::constructorCall { orgs: org, accs: heads, admins: admin }.abi_encode())
        .unwrap();
    let node =
        bed.deploy(master, "NodeRulesV2Impl", &Node::constructorCall { orgs: org, accs: acc, admins: admin }.abi_encode()).unwrap();
    let gov = bed.deploy(master, "Governance", &Gov::constructorCall { orgs: org, accs: acc, admins: admin }.abi_encode()).unwrap();
    bed.send(master, admin, AdminAbi::addAdminCall { account: gov }).ok();
    let ingress = IngressAbi::constructorCall { administration: admin }.abi_encode();
    let mut contracts = vec![
        ("Admin", admin),
        ("OrganizationImpl", org),
        ("AccountRulesV2Impl", acc),
        ("NodeRulesV2Impl", node),
        ("Governance", gov),
    ];
    for (ingress_name, at, rules) in [("AccountIngress", ACCOUNTS, acc), ("NodeIngress", NODES, node)] {
        let made = bed.deploy(master, ingress_name, &ingress).unwrap();
        bed.send(master, made, IngressAbi::setContractAddressCall { name: name("rules"), target: rules }).ok();
        bed.move_to(made, at);
        contracts.push((ingress_name, at));
    }
    (bed, contracts)
}

/// Contracts by name, and the accounts of the genesis.
fn fixture() -> Value {
    let (bed, contracts) = deployed();
    let contracts: Map<String, Value> = contracts.into_iter().map(|(name, at)| (name.to_owned(), json!(at))).collect();
    json!({ "contracts": contracts, "alloc": bed.alloc() })
}

#[test]
fn the_fixture_is_what_the_contracts_deploy() {
    if other_generation().is_some() {
        return;
    }
    let path = folder().join("../fixtures/permissioned/alloc.json");
    let text = serde_json::to_string_pretty(&fixture()).unwrap() + "\n";
    if std::env::var_os("IPE_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == text, "{} is not what the contracts deploy; IPE_BLESS=1 on this test renews it", path.display());
}

struct Chain {
    ledger: Ledger,
    contracts: Value,
}

impl Chain {
    fn new() -> Self {
        let fixture = fixture();
        let genesis = json!({
            "config": {
                "chainId": 5, "berlinBlock": 0, "qbft": { "blockperiodseconds": 1 },
                "ipe": { "permissioning": { "accounts": ACCOUNTS, "nodes": NODES } },
            },
            "gasLimit": "0x5f5e100", "difficulty": "0x1", "timestamp": "0x64000000",
            "extraData": ExtraData::genesis(vec![key(1).address()]).encode(),
            "alloc": fixture["alloc"],
        });
        let spec = ChainSpec::parse(&genesis.to_string()).unwrap();
        let ledger = Ledger::open(Arc::new(MemoryStore::new()), Arc::new(spec)).unwrap();
        Self { ledger, contracts: fixture["contracts"].clone() }
    }

    fn at(&self, contract: &str) -> Address {
        serde_json::from_value(self.contracts[contract].clone()).unwrap()
    }

    /// The next transaction of account `from`.
    fn sent(&self, from: u8, to: TxKind, input: Vec<u8>) -> Arc<Candidate> {
        let account = self.ledger.state().head().account(key(from).address()).unwrap();
        let nonce = account.map_or(0, |account| account.nonce);
        let tx =
            TxLegacy { chain_id: Some(5), nonce, gas_price: 0, gas_limit: 3_000_000, to, value: U256::ZERO, input: input.into() };
        signed(&key(from), tx)
    }

    /// A block with this call of account `from`.
    #[track_caller]
    fn does<C: SolCall>(&self, from: u8, contract: &str, call: C) {
        let candidate = self.sent(from, TxKind::Call(self.at(contract)), call.abi_encode());
        let (built, told) = build(&self.ledger, &[candidate]);
        assert!(matches!(told[0], Feedback::Included { .. }), "{}: {told:?}", C::SIGNATURE);
        let receipt = &built.receipts()[0];
        assert!(alloy_consensus::TxReceipt::status(receipt), "{} reverted", C::SIGNATURE);
        import(&self.ledger, built.block()).unwrap();
    }

    fn may(&self, from: u8, to: TxKind, payload: usize) -> bool {
        self.ledger.may_send(&self.sent(from, to, vec![7; payload])).unwrap().allows()
    }
}

const LOCAL_ADMIN: &str = "0xb7f8beecafe1ad662cec1153812612581a86b9460f21b876f3ee163141203dcb";
const DEPLOYER: &str = "0xfc425f2263d0df187444b70e47283d622c70181c5baebb1306a01edba1ce184c";
const USER: &str = "0x14823911f2da1b49f045a0929a60b8c1f2a7fc8c06c7284ca3e8ab4e193a08c8";

/// The rows of `transactionAllowed` as a network lives through them.
#[test]
fn the_ledger_follows_the_account_rules() {
    let chain = Chain::new();
    let anybody = TxKind::Call(Address::repeat_byte(0x31));
    let shop = Address::repeat_byte(0x32);
    assert!(chain.may(1, anybody, 0) && chain.may(1, TxKind::Create, 40));
    assert!(!chain.may(20, anybody, 0), "who is not registered may nothing");
    let role = |text: &str| text.parse::<B256>().unwrap();
    for (account, roles) in [(20, USER), (21, DEPLOYER), (22, LOCAL_ADMIN)] {
        let add = Acc::addLocalAccountCall { account: key(account).address(), roleId: role(roles), dataHash: B256::repeat_byte(1) };
        chain.does(2, "AccountRulesV2Impl", add);
    }
    assert!(chain.may(20, anybody, 0) && chain.may(20, anybody, 100));
    assert!(!chain.may(20, TxKind::Create, 40), "a user creates nothing");
    assert!(chain.may(21, TxKind::Create, 40) && chain.may(22, TxKind::Create, 40));
    chain.does(
        2,
        "AccountRulesV2Impl",
        Acc::setAccountTargetAccessCall { account: key(20).address(), restricted: true, allowedTargets: vec![shop] },
    );
    assert!(!chain.may(20, anybody, 0) && chain.may(20, TxKind::Call(shop), 0));
    chain.does(22, "AccountRulesV2Impl", Acc::updateLocalAccountStatusCall { account: key(20).address(), active: false });
    assert!(!chain.may(20, TxKind::Call(shop), 0) && chain.may(21, anybody, 0));
    let (_, told) = build(&chain.ledger, &[chain.sent(20, TxKind::Call(shop), Vec::new()), chain.sent(21, anybody, Vec::new())]);
    assert!(matches!(told[0], Feedback::NotPermitted { .. }) && matches!(told[1], Feedback::Included { .. }), "{told:?}");
    assert_eq!(chain.ledger.rules_report(Asked::Accounts).fault, None);
}

#[test]
fn the_ledger_follows_the_node_rules() {
    let chain = Chain::new();
    let end = |byte: u8| End { id: key(byte).node_id(), ip: [10, 0, 0, byte].into(), port: 30_303 };
    let may = |a: u8, b: u8| chain.ledger.may_connect(&Link { source: end(a), destination: end(b) }, [None; 2]).unwrap();
    assert_eq!(may(40, 41), Verdict::Denied);
    let halves = |byte: u8| {
        let id = key(byte).node_id();
        (B256::from_slice(&id[..32]), B256::from_slice(&id[32..]))
    };
    for (org, node) in [(1, 40), (2, 41)] {
        let (high, low) = halves(node);
        chain.does(org, "NodeRulesV2Impl", Node::addLocalNodeCall { high, low, nodeType: 0, name: format!("boot{node}") });
    }
    assert_eq!((may(40, 41), may(41, 40), may(40, 42)), (Verdict::Allowed, Verdict::Allowed, Verdict::Denied));
    let before = chain.ledger.rules_report(Asked::Nodes).evaluated;
    assert_eq!(may(40, 41), Verdict::Allowed);
    assert_eq!(chain.ledger.rules_report(Asked::Nodes).evaluated, before, "it was asked before");
    let (high, low) = halves(41);
    chain.does(2, "NodeRulesV2Impl", Node::deleteLocalNodeCall { high, low });
    assert_eq!(may(40, 41), Verdict::Denied);
}
