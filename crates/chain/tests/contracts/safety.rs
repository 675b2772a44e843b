//! Rules that the second generation breaks, told in its own functions, so that each can be seen broken there and kept here.

use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_sol_types::{SolCall, SolConstructor};

use crate::abi::{Acc, AdminAbi, Forwarder, Gov, IngressAbi, Mock, Node, Org};
use crate::bed::{Network, account, other_generation};

fn role(name: &str) -> B256 {
    keccak256(name)
}

fn hash() -> B256 {
    B256::repeat_byte(7)
}

fn number(n: u64) -> U256 {
    U256::from(n)
}

/// A contract that can be called.
fn mock(network: &mut Network) -> Address {
    network.bed.deploy(account(0xad), "ExecutionMock", &[]).unwrap()
}

fn call_mock(network: &mut Network) -> (Address, Vec<u8>) {
    (mock(network), Mock::setCodeCall { code: number(7) }.abi_encode())
}

fn user(network: &mut Network, n: u8, kind: &str) -> Address {
    let add = Acc::addLocalAccountCall { account: account(n), roleId: role(kind), dataHash: hash() };
    network.bed.send(account(1), network.acc, add).ok();
    account(n)
}

fn restrict(network: &mut Network, who: Address, targets: &[Address]) {
    let set = Acc::setAccountTargetAccessCall { account: who, restricted: true, allowedTargets: targets.to_vec() };
    network.bed.send(account(1), network.acc, set).ok();
}

fn close(network: &mut Network, contract: Address, senders: &[Address]) -> bool {
    let set = Acc::setSmartContractSenderAccessCall { smartContract: contract, restricted: true, allowedSenders: senders.to_vec() };
    network.master(network.acc, set).is_ok()
}

fn delete_org(network: &mut Network, id: u64) -> bool {
    network.master(network.org, Org::deleteOrganizationCall { orgId: number(id) }).is_ok()
}

fn update_org(network: &mut Network, id: u64, kind: u8, can_vote: bool) -> bool {
    let update = Org::updateOrganizationCall {
        orgId: number(id),
        cnpj: format!("x{id}"),
        name: format!("x{id}"),
        orgType: kind,
        canVote: can_vote,
    };
    network.master(network.org, update).is_ok()
}

/// An ingress that checks nothing itself, under the network's Admin and with its rules.
fn ingress(network: &mut Network) -> Address {
    let arguments = IngressAbi::constructorCall { administration: network.admin }.abi_encode();
    let ingress = network.bed.deploy(account(0xad), "OpenIngressMock", &arguments).unwrap();
    let set = IngressAbi::setContractAddressCall { name: name("rules"), target: network.acc };
    network.master(ingress, set).ok();
    ingress
}

fn name(text: &str) -> B256 {
    let mut word = B256::ZERO;
    word[..text.len()].copy_from_slice(text.as_bytes());
    word
}

type Rule = (&'static str, fn(&mut Network) -> bool);

/// Each says whether the rule holds.
const RULES: &[Rule] = &[
    ("C1 a rejected proposal is not executed", |network| {
        let call = call_mock(network);
        let id = network.propose(1, &[call]).unwrap();
        network.vote(2, id, false).ok();
        network.vote(3, id, false).ok();
        !network.execute(1, id).is_ok()
    }),
    ("C2 an approval does not last for ever", |network| {
        let call = call_mock(network);
        let id = network.propose(1, &[call]).unwrap();
        network.vote(1, id, true).ok();
        network.vote(2, id, true).ok();
        network.bed.mine(1_000_000);
        !network.execute(1, id).is_ok()
    }),
    ("C6 an organisation that is gone does not count among those who have to approve", |network| {
        let call = call_mock(network);
        let id = network.propose(1, &[call]).unwrap();
        delete_org(network, 2);
        delete_org(network, 3);
        network.vote(1, id, true).ok();
        network.execute(1, id).is_ok()
    }),
    ("C6 nor does its vote approve", |network| {
        let call = call_mock(network);
        let id = network.propose(1, &[call]).unwrap();
        network.vote(3, id, true).ok();
        update_org(network, 3, 0, false);
        network.vote(1, id, true).ok();
        !network.execute(1, id).is_ok()
    }),
    ("C6 who has lost the right to vote does not vote", |network| {
        let call = call_mock(network);
        let id = network.propose(1, &[call]).unwrap();
        update_org(network, 3, 0, false);
        !network.vote(3, id, true).is_ok()
    }),
    ("C7 somebody may always vote", |network| (1..=3).map(|id| update_org(network, id, 0, false)).filter(|done| *done).count() < 3),
    ("C8 the last voters are not deleted", |network| {
        let add = |network: &mut Network, cnpj: &str| {
            let add = Org::addOrganizationCall { cnpj: cnpj.to_owned(), name: cnpj.to_owned(), orgType: 0, canVote: false };
            network.master(network.org, add).ok();
        };
        add(network, "p5");
        add(network, "p6");
        (1..=3).map(|id| delete_org(network, id)).filter(|done| *done).count() < 3
    }),
    ("C9 who does not vote does not propose", |network| {
        let call = call_mock(network);
        network.propose(4, &[call]).is_err()
    }),
    ("C10 a proposal has calls", |network| network.propose(1, &[]).is_err()),
    ("C10 a call's target is a contract when it is proposed", |network| {
        network.propose(1, &[(account(0x77), vec![1, 2, 3, 4])]).is_err()
    }),
    ("C11 one proposal is executed at a time", |network| {
        let forwarder = network.bed.deploy(account(0xad), "ForwarderMock", &[]).unwrap();
        let add = Acc::addAccountCall { account: forwarder, orgId: number(1), roleId: role("GLOBAL_ADMIN_ROLE"), dataHash: hash() };
        network.master(network.acc, add).ok();
        let call = call_mock(network);
        let inner = network.propose(1, std::slice::from_ref(&call)).unwrap();
        let data = Gov::executeProposalCall { proposalId: inner }.abi_encode().into();
        let forward = Forwarder::forwardCall { target: network.gov, data }.abi_encode();
        let outer = network.propose(1, &[(forwarder, forward)]).unwrap();
        for id in [inner, outer] {
            network.vote(1, id, true).ok();
            network.vote(2, id, true).ok();
        }
        !network.execute(1, outer).is_ok()
    }),
    ("C13 an account votes once in a proposal, for whatever organisation", |network| {
        let add = |network: &mut Network, org| {
            let role = role("GLOBAL_ADMIN_ROLE");
            let add = Acc::addAccountCall { account: account(0x61), orgId: number(org), roleId: role, dataHash: hash() };
            network.master(network.acc, add).ok();
        };
        add(network, 1);
        let call = call_mock(network);
        let id = network.propose(1, &[call]).unwrap();
        network.vote(0x61, id, true).ok();
        network.master(network.acc, Acc::deleteAccountCall { account: account(0x61) }).ok();
        add(network, 2);
        !network.vote(0x61, id, true).is_ok()
    }),
    ("C15 a list of targets does not open a contract that is closed", |network| {
        let (who, contract) = (user(network, 0x50, "USER_ROLE"), mock(network));
        close(network, contract, &[]);
        restrict(network, who, &[contract]);
        !network.allowed(who, contract)
    }),
    ("C16 a restricted deployer creates no contracts", |network| {
        let (who, contract) = (user(network, 0x50, "DEPLOYER_ROLE"), mock(network));
        restrict(network, who, &[contract]);
        !network.allowed(who, Address::ZERO)
    }),
    ("C17 a restriction ends with its account", |network| {
        let (who, contract) = (user(network, 0x50, "USER_ROLE"), mock(network));
        restrict(network, who, &[contract]);
        network.bed.send(account(1), network.acc, Acc::deleteLocalAccountCall { account: who }).ok();
        user(network, 0x50, "USER_ROLE");
        network.allowed(who, account(0x99))
    }),
    ("C18 an administrator that is counted is one", |network| {
        let global = role("GLOBAL_ADMIN_ROLE");
        network.bed.send(account(2), network.acc, Acc::renounceRoleCall { role: global, callerConfirmation: account(2) });
        network.bed.ask(network.acc, Acc::hasRoleCall { role: global, account: account(2) })
    }),
    ("C19 a user can be deleted though its organisation has one global administrator", |network| {
        let who = user(network, 0x50, "USER_ROLE");
        network.master(network.acc, Acc::deleteAccountCall { account: who }).is_ok()
    }),
    ("C20 accounts of an organisation that is gone can be deleted", |network| {
        delete_org(network, 3);
        network.master(network.acc, Acc::deleteAccountCall { account: account(3) }).is_ok()
    }),
    ("C23 governance is not closed to its voters", |network| {
        let gov = network.gov;
        !close(network, gov, &[]) && network.allowed(account(1), gov)
    }),
    ("C23 nor are the organisations, the accounts and the Admin contract", |network| {
        let contracts = [network.org, network.acc, network.admin];
        contracts.into_iter().all(|contract| !close(network, contract, &[]))
    }),
    ("C24 no administrator of an organisation that does not exist, and no zero one", |network| {
        let deploy = |network: &mut Network, accs: Vec<Address>| {
            let arguments = Acc::constructorCall { orgs: network.org, accs, admins: network.admin }.abi_encode();
            network.bed.deploy(account(0xad), "AccountRulesV2Impl", &arguments)
        };
        deploy(network, (1..=5).map(account).collect()).is_err() && deploy(network, vec![account(1), Address::ZERO]).is_err()
    }),
    ("C26 a list that makes the check fail is not accepted", |network| {
        let who = user(network, 0x50, "USER_ROLE");
        let targets: Vec<Address> = (0..65).map(|n| Address::with_last_byte(n + 1)).collect();
        let set = Acc::setAccountTargetAccessCall { account: who, restricted: true, allowedTargets: targets };
        !network.bed.send(account(1), network.acc, set).is_ok()
    }),
    ("C30 a partner runs no validator", |network| {
        let add = Node::addLocalNodeCall { high: hash(), low: hash(), nodeType: 1, name: "validator01".to_owned() };
        !network.bed.send(account(4), network.node, add).is_ok()
    }),
    ("C32 an institution is registered once", |network| {
        let mut add = |cnpj: &str, name: &str| {
            let add = Org::addOrganizationCall { cnpj: cnpj.to_owned(), name: name.to_owned(), orgType: 1, canVote: true };
            network.master(network.org, add).is_ok()
        };
        add("33.657.248/0001-89", "BNDES") && !add("33657248000189", "Another") && !add("33657248000188", "BNDES")
    }),
    ("C36 the administration's entry is not removed", |network| {
        let ingress = ingress(network);
        let remove = IngressAbi::removeContractCall { name: name("administration") }.abi_encode();
        !network.decide(&[(ingress, remove)]).is_ok()
    }),
    ("C37 the rules are not repointed to an address without code", |network| {
        let ingress = ingress(network);
        let set = IngressAbi::setContractAddressCall { name: name("rules"), target: account(0x77) }.abi_encode();
        !network.decide(&[(ingress, set)]).is_ok()
    }),
    ("C37 nor to a contract that does not answer", |network| {
        let (ingress, deaf) = (ingress(network), mock(network));
        let set = IngressAbi::setContractAddressCall { name: name("rules"), target: deaf }.abi_encode();
        !network.decide(&[(ingress, set)]).is_ok()
    }),
    ("C34 governance does not lose its authority by its own decision", |network| {
        let remove = AdminAbi::removeAdminCall { account: network.gov }.abi_encode();
        let admin = network.admin;
        !network.decide(&[(admin, remove)]).is_ok()
    }),
    ("C44 a node's key is free when its organisation is gone", |network| {
        let mut add = |who: u8| {
            let add = Node::addLocalNodeCall { high: hash(), low: hash(), nodeType: 2, name: "writer01".to_owned() };
            network.bed.send(account(who), network.node, add).is_ok()
        };
        assert!(add(3));
        delete_org(network, 3);
        let add = Node::addLocalNodeCall { high: hash(), low: hash(), nodeType: 2, name: "writer01".to_owned() };
        network.bed.send(account(1), network.node, add).is_ok()
    }),
];

#[test]
fn safety() {
    let theirs = other_generation().is_some();
    let mut wrong = Vec::new();
    for (rule, holds) in RULES {
        if holds(&mut Network::new()) == theirs {
            wrong.push(*rule);
        }
    }
    let expected = if theirs { "kept where it should be seen broken" } else { "broken" };
    assert!(wrong.is_empty(), "{expected}: {wrong:#?}");
    println!("{} rules {}", RULES.len(), if theirs { "broken by the other generation" } else { "kept" });
}
