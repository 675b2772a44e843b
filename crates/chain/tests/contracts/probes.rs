//! No passed proposal takes the network's rules or its governance away; the ingresses and the Admin contract of our own.

use alloy_primitives::{Address, B256, U256};
use alloy_sol_types::{SolCall, SolConstructor};

use crate::abi::{Acc, AdminAbi, CharterAbi, IngressAbi, Org};
use crate::bed::{MASTER, Network, account};
use crate::decisions::charter;

fn name(text: &str) -> B256 {
    let mut word = B256::ZERO;
    word[..text.len()].copy_from_slice(text.as_bytes());
    word
}

/// A network under our own Admin contract, ingresses and rules, with governance as the only administrator.
struct Whole {
    network: Network,
    accounts: Address,
    nodes: Address,
}

impl Whole {
    fn new() -> Self {
        let mut network = Network::new();
        let administration = IngressAbi::constructorCall { administration: network.admin }.abi_encode();
        let accounts = network.bed.deploy(account(MASTER), "AccountIngress", &administration).unwrap();
        let nodes = network.bed.deploy(account(MASTER), "NodeIngress", &administration).unwrap();
        let mut whole = Self { network, accounts, nodes };
        let protect = CharterAbi::setProtectedIngressesCall { ingresses: vec![accounts, nodes] }.abi_encode();
        let charter = charter(&mut whole.network);
        let (acc, node) = (whole.network.acc, whole.network.node);
        let first = whole.set(accounts, "rules", acc);
        let second = whole.set(nodes, "rules", node);
        whole.network.decide(&[first, second, (charter, protect)]).ok();
        whole
    }

    fn set(&self, ingress: Address, what: &str, target: Address) -> (Address, Vec<u8>) {
        (ingress, IngressAbi::setContractAddressCall { name: name(what), target }.abi_encode())
    }
}

#[test]
fn a_stranger_never_gets_hold_of_an_ingress() {
    let mut whole = Whole::new();
    let (accounts, nodes, acc) = (whole.accounts, whole.nodes, whole.network.acc);
    for ingress in [accounts, nodes] {
        for what in ["rules", "administration"] {
            let set = IngressAbi::setContractAddressCall { name: name(what), target: acc };
            assert!(!whole.network.bed.send(account(0x66), ingress, set).is_ok());
        }
        assert!(!whole.network.bed.ask(ingress, IngressAbi::isAuthorizedCall { account: account(0x66) }));
    }
    // Nor is there one to get hold of before it has an administration.
    let none = IngressAbi::constructorCall { administration: Address::ZERO }.abi_encode();
    assert!(whole.network.bed.deploy(account(0x66), "AccountIngress", &none).is_err());
}

/// Calls of a proposal, made on a network.
type Calls<'a> = dyn Fn(&mut Whole) -> Vec<(Address, Vec<u8>)> + 'a;

#[test]
fn no_decision_bricks_the_network() {
    let acc_rules = |network: &mut Network, heads: Vec<Address>| {
        let arguments = Acc::constructorCall { orgs: network.org, accs: heads, admins: network.admin }.abi_encode();
        network.bed.deploy(account(MASTER), "AccountRulesV2Impl", &arguments).unwrap()
    };
    let refused = |what: &str, calls: &Calls<'_>| {
        let mut whole = Whole::new();
        let calls = calls(&mut whole);
        let sent = whole.network.decide(&calls);
        assert!(!sent.is_ok(), "{what}");
        // And it goes on: a decision that harms nothing is executed.
        let add = Org::addOrganizationCall { cnpj: "9".to_owned(), name: "9".to_owned(), orgType: 1, canVote: true };
        let org = whole.network.org;
        whole.network.decide(&[(org, add.abi_encode())]).ok();
    };
    refused("the administration is removed", &|whole| {
        vec![(whole.accounts, IngressAbi::removeContractCall { name: name("administration") }.abi_encode())]
    });
    refused("the rules are removed", &|whole| {
        vec![(whole.nodes, IngressAbi::removeContractCall { name: name("rules") }.abi_encode())]
    });
    refused("the rules become an account", &|whole| vec![whole.set(whole.accounts, "rules", account(0x77))]);
    refused("node rules at the ingress of accounts", &|whole| vec![whole.set(whole.accounts, "rules", whole.network.node)]);
    refused("account rules at the ingress of nodes", &|whole| vec![whole.set(whole.nodes, "rules", whole.network.acc)]);
    refused("an administration that obeys nobody we know", &|whole| {
        let other = whole.network.bed.deploy(account(0x66), "Admin", &[]).unwrap();
        vec![whole.set(whole.nodes, "administration", other)]
    });
    refused("rules that do not know who executes", &|whole| {
        let rules = acc_rules(&mut whole.network, vec![account(0x31), account(0x32)]);
        vec![whole.set(whole.accounts, "rules", rules)]
    });
    refused("governance is closed to its voters, by a rules contract of its own", &|whole| {
        let close =
            Acc::setSmartContractSenderAccessCall { smartContract: whole.network.gov, restricted: true, allowedSenders: vec![] };
        vec![(whole.network.acc, close.abi_encode())]
    });
    refused("every administrator of every voter is suspended", &|whole| {
        let suspend = |n: u8| Acc::updateAccountStatusCall { account: account(n), active: false }.abi_encode();
        (1..=3).map(|n| (whole.network.acc, suspend(n))).collect()
    });
    refused("nobody votes", &|whole| {
        let update = |n: u8| Org::updateOrganizationCall {
            orgId: U256::from(n),
            cnpj: format!("c{n}"),
            name: format!("n{n}"),
            orgType: 0,
            canVote: false,
        };
        (1..=3).map(|n| (whole.network.org, update(n).abi_encode())).collect()
    });
    refused("governance is no administrator", &|whole| {
        vec![(whole.network.admin, AdminAbi::removeAdminCall { account: whole.network.gov }.abi_encode())]
    });
    refused("an ingress that answers nothing is protected", &|whole| {
        let charter = charter(&mut whole.network);
        let protect = CharterAbi::setProtectedIngressesCall { ingresses: vec![whole.network.org] };
        vec![(charter, protect.abi_encode())]
    });
}

#[test]
fn good_rules_replace_the_old_ones() {
    let mut whole = Whole::new();
    let network = &mut whole.network;
    let heads = (1..=4).map(account).collect();
    let arguments = Acc::constructorCall { orgs: network.org, accs: heads, admins: network.admin }.abi_encode();
    let rules = network.bed.deploy(account(MASTER), "AccountRulesV2Impl", &arguments).unwrap();
    let set = whole.set(whole.accounts, "rules", rules);
    whole.network.decide(&[set]).ok();
    let ask = IngressAbi::getContractAddressCall { name: name("rules") };
    assert_eq!(whole.network.bed.ask(whole.accounts, ask), rules);
}

#[test]
fn a_sealed_admin_contract_has_governance_alone() {
    let mut network = Network::new();
    let admin = network.bed.deploy(account(MASTER), "Admin", &[]).unwrap();
    let (one, two, three) = (network.gov, network.org, network.acc);
    let add = |who: Address| AdminAbi::addAdminCall { account: who };
    assert_eq!(network.bed.send(account(0x66), admin, add(account(0x66))).err(), "Error: the sender is no administrator");
    network.master(admin, add(one)).ok();
    assert!(network.master(admin, AdminAbi::sealAdminsCall {}).err().contains("seal by the only administrator"));
    let remove = AdminAbi::removeAdminCall { account: account(MASTER) }.abi_encode();
    network.decide(&[(admin, remove), (admin, AdminAbi::sealAdminsCall {}.abi_encode())]).ok();
    assert_eq!(network.bed.ask(admin, AdminAbi::getAdminsCall {}), [one]);
    assert!(!network.decide(&[(admin, add(account(0x66)).abi_encode())]).is_ok(), "an account without code");
    network.decide(&[(admin, add(two).abi_encode())]).ok();
    assert!(!network.decide(&[(admin, add(three).abi_encode())]).is_ok(), "a third one");
    assert!(!network.decide(&[(admin, AdminAbi::removeAdminCall { account: one }.abi_encode())]).is_ok(), "itself");
    network.decide(&[(admin, AdminAbi::removeAdminCall { account: two }.abi_encode())]).ok();
}
