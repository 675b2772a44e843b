//! Parameters of governance: thresholds, quorum, delay, window, bounds, the patrons' veto and consent.

use alloy_primitives::{Address, U256, keccak256};
use alloy_sol_types::SolCall;

use crate::abi::{Acc, CharterAbi, Gov, Mock, Org};
use crate::bed::{MASTER, Network, account};

// Kinds and states as the contracts number them.
const ORDINARY: u8 = 0;
const MEMBERSHIP: u8 = 1;
const CONSTITUTION: u8 = 3;
const OPEN: u8 = 0;
const WAITING: u8 = 1;
const EXECUTABLE: u8 = 2;
const EXECUTED: u8 = 3;
const VETOED: u8 = 5;
const EXPIRED: u8 = 7;

/// The rule of the start.
pub fn plain() -> Gov::Rule {
    Gov::Rule {
        thresholdNumerator: 1,
        thresholdDenominator: 2,
        quorumNumerator: 0,
        quorumDenominator: 1,
        delayBlocks: 0,
        vetoBlocks: 0,
        executionBlocks: 302_400,
        patronConsent: false,
        approvedStands: false,
    }
}

pub fn charter(network: &mut Network) -> Address {
    network.bed.ask(network.gov, Gov::charterCall {})
}

/// Sets a rule by a proposal of organisations 1 and 2.
fn set_rule(network: &mut Network, kind: u8, rule: Gov::Rule) {
    let charter = charter(network);
    network.decide(&[(charter, CharterAbi::setRuleCall { kind, rule }.abi_encode())]).ok();
}

fn state(network: &mut Network, id: U256) -> u8 {
    network.bed.ask(network.gov, Gov::stateOfCall { proposalId: id })
}

fn number(n: u64) -> U256 {
    U256::from(n)
}

/// A mock and a call of it that governance has declared ordinary.
fn ordinary(network: &mut Network) -> (Address, Vec<u8>) {
    let mock = network.bed.deploy(account(MASTER), "ExecutionMock", &[]).unwrap();
    let charter = charter(network);
    let selector = Mock::setCodeCall::SELECTOR.into();
    let declare = CharterAbi::setKindCall { target: mock, selector, kind: ORDINARY };
    network.decide(&[(charter, declare.abi_encode())]).ok();
    (mock, Mock::setCodeCall { code: number(7) }.abi_encode())
}

fn veto(network: &mut Network, from: u8, id: U256) -> crate::bed::Sent {
    let veto = Gov::vetoProposalCall { proposalId: id, reason: "against our statute".to_owned() };
    network.bed.send(account(from), network.gov, veto)
}

#[test]
fn every_threshold_between_half_and_all_counts_as_it_says() {
    // Seven voters; approvals needed by fraction.
    for (numerator, denominator, needed) in [(1, 2, 4), (3, 5, 5), (5, 8, 5), (2, 3, 5), (3, 4, 6), (1, 1, 7), (100, 199, 4)] {
        let mut network = Network::of(&[(2, true), (2, true), (1, true), (1, true), (1, true), (1, true), (1, true)]);
        let charter = charter(&mut network);
        let rule = Gov::Rule { thresholdNumerator: numerator, thresholdDenominator: denominator, ..plain() };
        let set = (charter, CharterAbi::setRuleCall { kind: CONSTITUTION, rule }.abi_encode());
        let id = network.propose(1, std::slice::from_ref(&set)).unwrap();
        (1..=4).for_each(|who| drop(network.vote(who, id, true).ok()));
        network.execute(1, id).ok();
        // The same again, under the new rule.
        let id = network.propose(1, &[set]).unwrap();
        for who in 1..=7 {
            assert_eq!(state(&mut network, id) == EXECUTABLE, who > needed, "{numerator}/{denominator} before vote {who}");
            network.vote(who, id, true).ok();
        }
        network.execute(1, id).ok();
    }
}

#[test]
fn a_threshold_of_all_counts_those_who_are_there_now() {
    let mut network = Network::new();
    let call = ordinary(&mut network);
    set_rule(&mut network, ORDINARY, Gov::Rule { thresholdNumerator: 1, thresholdDenominator: 1, ..plain() });
    let id = network.propose(1, &[call]).unwrap();
    network.vote(1, id, true).ok();
    network.vote(2, id, true).ok();
    assert_eq!(state(&mut network, id), OPEN);
    network.master(network.org, Org::deleteOrganizationCall { orgId: number(3) }).ok();
    network.bed.send(account(9), network.gov, Gov::settleProposalCall { proposalId: id }).ok();
    assert_eq!(state(&mut network, id), EXECUTABLE);
    network.execute(2, id).ok();
    assert_eq!(state(&mut network, id), EXECUTED);
}

#[test]
fn an_approval_that_lost_its_approvers_is_not_executed() {
    let mut network = Network::of(&[(2, true), (2, true), (1, true), (1, true), (1, true)]);
    let call = ordinary_of_five(&mut network);
    let id = network.propose(1, &[call]).unwrap();
    [3, 4, 5].into_iter().for_each(|who| drop(network.vote(who, id, true).ok()));
    assert_eq!(state(&mut network, id), EXECUTABLE);
    for gone in [4, 5] {
        network.master(network.org, Org::deleteOrganizationCall { orgId: number(gone) }).ok();
    }
    // One approval of three voters is left.
    assert!(network.execute(1, id).err().contains("do not approve"));
}

/// As `ordinary`, approved by three of five.
fn ordinary_of_five(network: &mut Network) -> (Address, Vec<u8>) {
    let mock = network.bed.deploy(account(MASTER), "ExecutionMock", &[]).unwrap();
    (mock, Mock::setCodeCall { code: number(7) }.abi_encode())
}

#[test]
fn a_quorum_asks_for_votes() {
    let mut network = Network::of(&[(2, true), (2, true), (1, true)]);
    let call = ordinary(&mut network);
    set_rule(&mut network, ORDINARY, Gov::Rule { quorumNumerator: 1, quorumDenominator: 1, ..plain() });
    let id = network.propose(1, &[call]).unwrap();
    network.vote(1, id, true).ok();
    network.vote(2, id, true).ok();
    assert_eq!(state(&mut network, id), OPEN);
    network.vote(3, id, false).ok();
    assert_eq!(state(&mut network, id), EXECUTABLE);
}

#[test]
fn delay_and_window_bound_the_execution() {
    let mut network = Network::new();
    let call = ordinary(&mut network);
    set_rule(&mut network, ORDINARY, Gov::Rule { delayBlocks: 500, executionBlocks: 6_300, ..plain() });
    for (after, expected) in [(0, WAITING), (499, WAITING), (500, EXECUTABLE), (6_800, EXECUTABLE), (6_801, EXPIRED)] {
        let id = network.propose(1, std::slice::from_ref(&call)).unwrap();
        network.vote(1, id, true).ok();
        network.vote(2, id, true).ok();
        network.bed.mine(after);
        assert_eq!(state(&mut network, id), expected, "{after} blocks after the approval");
        assert_eq!(network.execute(3, id).is_ok(), expected == EXECUTABLE, "{after} blocks after the approval");
    }
}

#[test]
fn what_is_not_approved_in_time_never_is() {
    let mut network = Network::new();
    let call = ordinary(&mut network);
    let id = network.propose_for(1, std::slice::from_ref(&call), 10).unwrap();
    network.vote(1, id, true).ok();
    network.bed.mine(10);
    assert_eq!(state(&mut network, id), OPEN);
    network.bed.mine(1);
    assert_eq!(state(&mut network, id), EXPIRED);
    // An electorate that shrinks afterwards approves nothing any more.
    network.master(network.org, Org::deleteOrganizationCall { orgId: number(2) }).ok();
    assert!(!network.bed.send(account(1), network.gov, Gov::settleProposalCall { proposalId: id }).is_ok());
    let late = network.vote(3, id, true);
    assert_eq!(late.logs.len(), 2, "ProposalFinished and VoteNotCounted");
    assert_eq!(late.ok(), vec![0; 32]);
    assert_eq!(state(&mut network, id), EXPIRED);
    assert!(!network.execute(1, id).is_ok());
}

#[test]
fn a_patron_vetoes_within_its_window() {
    let mut network = Network::new();
    let call = ordinary(&mut network);
    let id = network.propose(1, std::slice::from_ref(&call)).unwrap();
    assert!(veto(&mut network, 1, id).err().contains("no veto"), "off by default");
    set_rule(&mut network, ORDINARY, Gov::Rule { delayBlocks: 100, vetoBlocks: 50, ..plain() });

    // Before anybody has voted, after the approval, in the window's last block and after it; only a patron.
    for (approved, after, by, done) in [
        (false, 0, 2, true),
        (true, 0, 1, true),
        (true, 50, 1, true),
        (true, 51, 1, false),
        (true, 0, 3, false),
        (true, 0, 4, false),
    ] {
        let id = network.propose(2, std::slice::from_ref(&call)).unwrap();
        if approved {
            network.vote(2, id, true).ok();
            network.vote(3, id, true).ok();
        }
        network.bed.mine(after);
        assert_eq!(veto(&mut network, by, id).is_ok(), done, "approved {approved}, {after} blocks later, by {by}");
        if done {
            assert_eq!(state(&mut network, id), VETOED);
            let trail = network.bed.ask(network.gov, Gov::getTrailCall { proposalId: id });
            assert_eq!((trail.vetoer, trail.vetoOrgId), (account(by), number(by.into())));
            assert_eq!(trail.vetoReason, "against our statute");
            // The second generation's words for it: finished, rejected.
            let proposal = network.bed.ask(network.gov, Gov::getProposalCall { proposalId: id });
            assert_eq!((proposal.status, proposal.result), (2, 2));
        }
        network.bed.mine(200);
        let executed = network.execute(2, id).is_ok();
        assert_eq!(executed, !done, "approved {approved}, {after} blocks later, by {by}");
    }
}

#[test]
fn what_a_veto_rests_on_changes_only_with_its_patron() {
    let consent = || Gov::Rule { patronConsent: true, ..plain() };
    let take_vote =
        Org::updateOrganizationCall { orgId: number(1), cnpj: "1".to_owned(), name: "1".to_owned(), orgType: 0, canVote: false };
    let second_head = Acc::addAccountCall {
        account: account(0x60),
        orgId: number(1),
        roleId: keccak256("GLOBAL_ADMIN_ROLE"),
        dataHash: Default::default(),
    };
    let suspend = Acc::updateAccountStatusCall { account: account(1), active: false };
    for call in [take_vote.abi_encode(), second_head.abi_encode(), suspend.abi_encode()] {
        // Two patrons and three associates: organisation 1 is a patron.
        let prepared = |approving: &[u8], rejecting: &[u8]| {
            let mut network = Network::of(&[(2, true), (2, true), (1, true), (1, true), (1, true)]);
            let charter = charter(&mut network);
            let set = CharterAbi::setRuleCall { kind: MEMBERSHIP, rule: consent() }.abi_encode();
            let id = network.propose(2, &[(charter, set)]).unwrap();
            [1, 2, 3].into_iter().for_each(|who| drop(network.vote(who, id, true).ok()));
            network.execute(2, id).ok();
            let target = if call[..4] == Org::updateOrganizationCall::SELECTOR { network.org } else { network.acc };
            let id = network.propose(2, &[(target, call.clone())]).unwrap();
            approving.iter().for_each(|who| drop(network.vote(*who, id, true).ok()));
            rejecting.iter().for_each(|who| drop(network.vote(*who, id, false).ok()));
            network.execute(2, id)
        };
        assert_eq!(prepared(&[2, 3, 4], &[]).err(), "PatronConsentMissing");
        assert_eq!(prepared(&[2, 3, 4, 5], &[1]).err(), "PatronConsentMissing");
        assert!(prepared(&[1, 2, 3], &[]).is_ok(), "with the patron");
        assert!(prepared(&[2, 3, 4, 5], &[]).is_ok(), "by all others, when the patron's keys are lost");
    }
}

#[test]
fn an_approved_proposal_stands_if_the_rule_says_so() {
    let mut network = Network::new();
    let call = ordinary(&mut network);
    for (stands, canceled) in [(false, true), (true, false)] {
        set_rule(&mut network, ORDINARY, Gov::Rule { approvedStands: stands, ..plain() });
        let id = network.propose(1, std::slice::from_ref(&call)).unwrap();
        network.vote(1, id, true).ok();
        network.vote(2, id, true).ok();
        let cancel = Gov::cancelProposalCall { proposalId: id, reason: "no".to_owned() };
        assert_eq!(network.bed.send(account(1), network.gov, cancel).is_ok(), canceled);
        assert_eq!(network.execute(1, id).is_ok(), !canceled);
    }
}

#[test]
fn a_proposal_keeps_the_rule_under_which_it_was_made() {
    let mut network = Network::new();
    let call = ordinary(&mut network);
    let id = network.propose(1, &[call]).unwrap();
    set_rule(&mut network, ORDINARY, Gov::Rule { thresholdNumerator: 1, thresholdDenominator: 1, ..plain() });
    network.vote(1, id, true).ok();
    network.vote(2, id, true).ok();
    network.execute(1, id).ok();
}

#[test]
fn the_gravest_call_decides_the_kind() {
    let mut network = Network::new();
    let charter = charter(&mut network);
    let (org, acc, node, gov, admin) = (network.org, network.acc, network.node, network.gov, network.admin);
    let add = |role: &str| Acc::addAccountCall {
        account: account(0x60),
        orgId: number(1),
        roleId: keccak256(role),
        dataHash: keccak256("d"),
    };
    let user = (acc, add("USER_ROLE").abi_encode());
    let head = (acc, add("GLOBAL_ADMIN_ROLE").abi_encode());
    let delete_head = (acc, Acc::deleteAccountCall { account: account(2) }.abi_encode());
    let delete_user = (acc, Acc::deleteAccountCall { account: account(0x55) }.abi_encode());
    let delete_org = (org, Org::deleteOrganizationCall { orgId: number(4) }.abi_encode());
    let delete_node = (node, crate::abi::Node::deleteNodeCall { high: keccak256("a"), low: keccak256("b") }.abi_encode());
    let rule = (charter, CharterAbi::setDurationBoundsCall { least: number(1), most: number(10_000) }.abi_encode());
    let cancel = (gov, Gov::cancelProposalCall { proposalId: number(1), reason: "r".to_owned() }.abi_encode());
    let unknown = (admin, vec![1, 2, 3, 4]);
    for (calls, kind) in [
        (vec![user.clone()], ORDINARY),
        (vec![delete_user, delete_node, cancel], ORDINARY),
        (vec![head], MEMBERSHIP),
        (vec![user.clone(), delete_head], MEMBERSHIP),
        (vec![delete_org], MEMBERSHIP),
        (vec![rule], CONSTITUTION),
        (vec![user, unknown.clone()], CONSTITUTION),
        (vec![unknown], CONSTITUTION),
        // Shorter than a selector.
        (vec![(acc, vec![1])], CONSTITUTION),
    ] {
        let (targets, calldatas) = calls.into_iter().map(|(target, data)| (target, data.into())).unzip();
        assert_eq!(network.bed.ask(charter, CharterAbi::kindOfCall { targets, calldatas }), kind);
    }
}

#[test]
fn calls_that_have_become_graver_are_not_executed() {
    let mut network = Network::new();
    set_rule(&mut network, MEMBERSHIP, Gov::Rule { thresholdNumerator: 1, thresholdDenominator: 1, ..plain() });
    let target = account(0x60);
    // Nobody when it is proposed, a global administrator when it would be executed.
    let delete = (network.acc, Acc::deleteAccountCall { account: target }.abi_encode());
    let id = network.propose(1, &[delete]).unwrap();
    network.vote(1, id, true).ok();
    network.vote(2, id, true).ok();
    let add = Acc::addAccountCall {
        account: target,
        orgId: number(1),
        roleId: keccak256("GLOBAL_ADMIN_ROLE"),
        dataHash: Default::default(),
    };
    network.master(network.acc, add).ok();
    assert!(network.execute(1, id).err().contains("graver"));
}

#[test]
fn parameters_change_by_proposals_alone_and_within_bounds() {
    let mut network = Network::new();
    let charter = charter(&mut network);
    let set = CharterAbi::setRuleCall { kind: ORDINARY, rule: plain() };
    for who in [1, MASTER, 9] {
        assert_eq!(network.bed.send(account(who), charter, set.clone()).err(), "OnlyByProposal");
    }
    for bad in [
        Gov::Rule { thresholdNumerator: 2, thresholdDenominator: 1, ..plain() },
        Gov::Rule { thresholdNumerator: 1, thresholdDenominator: 3, ..plain() },
        Gov::Rule { thresholdDenominator: 0, thresholdNumerator: 0, ..plain() },
        Gov::Rule { quorumNumerator: 2, ..plain() },
        Gov::Rule { quorumDenominator: 0, ..plain() },
        Gov::Rule { delayBlocks: 648_001, ..plain() },
        Gov::Rule { vetoBlocks: 1, ..plain() },
        Gov::Rule { executionBlocks: 0, ..plain() },
    ] {
        let call = CharterAbi::setRuleCall { kind: ORDINARY, rule: bad }.abi_encode();
        assert!(network.decide(&[(charter, call)]).err().starts_with("InvalidArgument"));
    }
    let bounds = CharterAbi::setDurationBoundsCall { least: number(50), most: number(10_000) }.abi_encode();
    network.decide(&[(charter, bounds)]).ok();
    let call = ordinary_of_five(&mut network);
    for (blocks, accepted) in [(49, false), (50, true), (10_000, true), (10_001, false)] {
        assert_eq!(network.propose_for(1, std::slice::from_ref(&call), blocks).is_ok(), accepted, "{blocks} blocks");
    }
}

#[test]
fn an_organisation_does_not_flood_governance() {
    let mut network = Network::new();
    let call = ordinary_of_five(&mut network);
    let first = network.propose(1, std::slice::from_ref(&call)).unwrap();
    for _ in 1..32 {
        network.propose(1, std::slice::from_ref(&call)).unwrap();
    }
    assert!(network.propose(1, std::slice::from_ref(&call)).unwrap_err().contains("too many"));
    network.propose(2, std::slice::from_ref(&call)).unwrap();
    let cancel = Gov::cancelProposalCall { proposalId: first, reason: "r".to_owned() };
    network.bed.send(account(1), network.gov, cancel).ok();
    network.propose(1, std::slice::from_ref(&call)).unwrap();
    assert!(network.propose(1, &vec![call; 65]).unwrap_err().contains("64"));
}
