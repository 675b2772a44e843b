//! Random organisations, accounts and votes: what holds after every step, whatever the order.

use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_sol_types::SolCall;
use proptest::prelude::*;

use crate::abi::{Acc, CharterAbi, Gov, Mock, Org};
use crate::bed::{MASTER, Network, account};
use crate::decisions::{charter, plain};

/// One step; numbers are taken modulo what there is.
#[derive(Clone, Debug)]
enum Step {
    AddOrg { kind: u8, vote: bool },
    UpdateOrg { org: u8, kind: u8, vote: bool },
    DeleteOrg { org: u8 },
    AddHead { account: u8, org: u8 },
    DeleteAccount { account: u8 },
    SetStatus { account: u8, active: bool },
    SuspendSelf { account: u8 },
    Propose { from: u8, blocks: u8 },
    Vote { from: u8, proposal: u8, approve: bool },
    Settle { proposal: u8 },
    Veto { from: u8, proposal: u8 },
    Cancel { from: u8, proposal: u8 },
    Execute { from: u8, proposal: u8 },
    Mine { blocks: u8 },
}

fn step() -> impl Strategy<Value = Step> {
    let who = 1..9_u8;
    prop_oneof![
        1 => (0..3_u8, any::<bool>()).prop_map(|(kind, vote)| Step::AddOrg { kind, vote }),
        1 => (1..7_u8, 0..3_u8, prop::bool::weighted(0.9)).prop_map(|(org, kind, vote)| Step::UpdateOrg { org, kind, vote }),
        1 => (1..7_u8).prop_map(|org| Step::DeleteOrg { org }),
        2 => (who.clone(), 1..7_u8).prop_map(|(account, org)| Step::AddHead { account, org }),
        1 => who.clone().prop_map(|account| Step::DeleteAccount { account }),
        3 => (who.clone(), prop::bool::weighted(0.85)).prop_map(|(account, active)| Step::SetStatus { account, active }),
        1 => who.clone().prop_map(|account| Step::SuspendSelf { account }),
        3 => (1..6_u8, 20..200_u8).prop_map(|(from, blocks)| Step::Propose { from, blocks }),
        40 => (1..6_u8, any::<u8>(), prop::bool::weighted(0.85)).prop_map(|(from, proposal, approve)| Step::Vote { from, proposal, approve }),
        1 => any::<u8>().prop_map(|proposal| Step::Settle { proposal }),
        2 => (who.clone(), any::<u8>()).prop_map(|(from, proposal)| Step::Veto { from, proposal }),
        1 => (who, any::<u8>()).prop_map(|(from, proposal)| Step::Cancel { from, proposal }),
        16 => (1..6_u8, any::<u8>()).prop_map(|(from, proposal)| Step::Execute { from, proposal }),
        2 => (1..50_u8).prop_map(|blocks| Step::Mine { blocks }),
    ]
}

/// What an execution has to find: told by a model that knows votes, voters and blocks, and none of the contracts' storage.
struct Model {
    network: Network,
    mock: Address,
    proposals: u64,
    rule: (u64, u64, u64, u64),
    executed: Vec<bool>,
}

impl Model {
    /// Threshold as a fraction, delay and veto window in blocks.
    fn new(rule: (u64, u64, u64, u64)) -> Self {
        let mut network = Network::of(&[(2, true), (2, true), (1, true), (1, true), (0, false)]);
        let mock = network.bed.deploy(account(MASTER), "ExecutionMock", &[]).unwrap();
        let charter = charter(&mut network);
        let changed = Gov::Rule {
            thresholdNumerator: rule.0 as u16,
            thresholdDenominator: rule.1 as u16,
            delayBlocks: rule.2 as u32,
            vetoBlocks: rule.3 as u32,
            executionBlocks: 6_300,
            ..plain()
        };
        let set = CharterAbi::setRuleCall { kind: 3, rule: changed };
        let id = network.propose(1, &[(charter, set.abi_encode())]).unwrap();
        (1..=3).for_each(|who| drop(network.vote(who, id, true).ok()));
        network.execute(1, id).ok();
        Self { network, mock, proposals: 1, rule, executed: vec![true] }
    }

    fn id(&self, proposal: u8) -> U256 {
        // One of the last two, so that votes come together.
        U256::from(self.proposals - u64::from(proposal) % self.proposals.min(2))
    }

    fn apply(&mut self, step: &Step) {
        let network = &mut self.network;
        let (org, acc, gov) = (network.org, network.acc, network.gov);
        let number = |n: u8| U256::from(n);
        match *step {
            Step::AddOrg { kind, vote } => {
                let seed = network.bed.ask(org, Org::idSeedCall {});
                let text = format!("new {seed}");
                let add = Org::addOrganizationCall { cnpj: text.clone(), name: text, orgType: kind, canVote: vote };
                network.master(org, add);
            }
            Step::UpdateOrg { org: id, kind, vote } => {
                let text = format!("updated {id}");
                let update =
                    Org::updateOrganizationCall { orgId: number(id), cnpj: text.clone(), name: text, orgType: kind, canVote: vote };
                network.master(org, update);
            }
            Step::DeleteOrg { org: id } => drop(network.master(org, Org::deleteOrganizationCall { orgId: number(id) })),
            Step::AddHead { account: who, org: id } => {
                let role = keccak256("GLOBAL_ADMIN_ROLE");
                let add = Acc::addAccountCall { account: account(who), orgId: number(id), roleId: role, dataHash: B256::ZERO };
                network.master(acc, add);
            }
            Step::DeleteAccount { account: who } => drop(network.master(acc, Acc::deleteAccountCall { account: account(who) })),
            Step::SetStatus { account: who, active } => {
                network.master(acc, Acc::updateAccountStatusCall { account: account(who), active });
            }
            Step::SuspendSelf { account: who } => drop(network.bed.send(account(who), acc, Acc::suspendSelfCall {})),
            Step::Propose { from, blocks } => {
                let call = Mock::setCodeCall { code: U256::from(self.proposals + 1) }.abi_encode();
                if network.propose_for(from, &[(self.mock, call)], blocks.into()).is_ok() {
                    self.proposals += 1;
                    self.executed.push(false);
                }
            }
            Step::Vote { from, proposal, approve } => {
                let id = self.id(proposal);
                self.network.vote(from, id, approve);
            }
            Step::Settle { proposal } => {
                let id = self.id(proposal);
                self.network.bed.send(account(9), gov, Gov::settleProposalCall { proposalId: id });
            }
            Step::Veto { from, proposal } => {
                let veto = Gov::vetoProposalCall { proposalId: self.id(proposal), reason: "r".to_owned() };
                self.network.bed.send(account(from), gov, veto);
            }
            Step::Cancel { from, proposal } => {
                let cancel = Gov::cancelProposalCall { proposalId: self.id(proposal), reason: "r".to_owned() };
                self.network.bed.send(account(from), gov, cancel);
            }
            Step::Execute { from, proposal } => self.execute(from, proposal),
            Step::Mine { blocks } => network.bed.mine(blocks.into()),
        }
    }

    /// An execution that goes through has the approvals of those who vote now, is not too early, and is the first.
    fn execute(&mut self, from: u8, proposal: u8) {
        let (id, gov) = (self.id(proposal), self.network.gov);
        let before = self.network.bed.ask(gov, Gov::getProposalCall { proposalId: id });
        let trail = self.network.bed.ask(gov, Gov::getTrailCall { proposalId: id });
        let orgs = self.network.bed.ask(self.network.org, Org::getOrganizationsCall {});
        if !self.network.execute(from, id).is_ok() {
            return;
        }
        let index = usize::try_from(id).unwrap() - 1;
        assert!(!self.executed[index], "executed twice");
        self.executed[index] = true;
        let votes: Vec<u8> = before
            .organizations
            .iter()
            .zip(&before.votes)
            .filter(|(id, _)| orgs.iter().any(|org| org.id == **id && org.canVote))
            .map(|(_, vote)| *vote)
            .collect();
        let (approvals, voters) = (votes.iter().filter(|vote| **vote == 1).count() as u64, votes.len() as u64);
        assert!(2 * approvals > voters && approvals * self.rule.1 >= voters * self.rule.0, "{approvals} of {voters}");
        let approved = u64::try_from(trail.approvalBlock).unwrap();
        assert!(approved > 0 && self.network.bed.block() >= approved + self.rule.2, "before its delay");
        assert!(trail.vetoer.is_zero() && before.status != 1 && before.result == 1);
        let who = self.network.bed.ask(self.network.acc, Acc::isAccountActiveCall { account: account(from) });
        assert!(who, "executed by an account that may not act");
        assert_eq!(self.network.bed.ask(self.mock, Mock::codeCall {}), id);
    }

    /// What holds after every step.
    fn check(&mut self) {
        let network = &mut self.network;
        let orgs = network.bed.ask(network.org, Org::getOrganizationsCall {});
        let voters = orgs.iter().filter(|org| org.canVote).count();
        assert!(orgs.len() >= 2 && voters >= 1, "{} organisations, {voters} voters", orgs.len());
        assert_eq!(network.bed.ask(network.org, Org::numberOfVotersCall {}), U256::from(voters));
        assert!(orgs.iter().all(|org| org.orgType != 0 || !org.canVote), "a partner votes");
        let mut texts: Vec<&str> = orgs.iter().map(|org| org.name.as_str()).collect();
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), orgs.len(), "two organisations of one name");
        let all = Acc::getAccountsCall { page: U256::from(1), size: U256::MAX };
        let accounts = network.bed.ask(network.acc, all);
        let global = keccak256("GLOBAL_ADMIN_ROLE");
        for org in &orgs {
            let heads = accounts.iter().filter(|account| account.orgId == org.id && account.roleId == global);
            let (count, active) = heads.fold((0, 0), |(count, active), head| (count + 1, active + u64::from(head.active)));
            assert_eq!(network.bed.ask(network.acc, Acc::globalAdminsCountCall { orgId: org.id }), U256::from(count));
            assert_eq!(network.bed.ask(network.acc, Acc::activeGlobalAdminsCall { orgId: org.id }), U256::from(active));
            let of_org = accounts.iter().filter(|account| account.orgId == org.id).count();
            let counted = network.bed.ask(network.acc, Acc::getNumberOfAccountsByOrgCall { orgId: org.id });
            assert_eq!(counted, U256::from(of_org));
        }
        for account in &accounts {
            let expected = account.active && orgs.iter().any(|org| org.id == account.orgId);
            assert_eq!(network.allowed(account.account, network.gov), expected);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_only_what_is_decided_is_executed(
        steps in prop::collection::vec(step(), 1..120),
        rule in prop_oneof![Just((1, 2, 0, 0)), Just((2, 3, 0, 0)), Just((1, 1, 0, 0)), Just((3, 5, 40, 20)), Just((1, 2, 30, 30))],
    ) {
        let mut model = Model::new(rule);
        for step in &steps {
            model.apply(step);
            model.check();
        }
    }
}

/// Random histories do reach executions: the property above is about something.
#[test]
fn random_histories_reach_executions() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let histories = prop::collection::vec(step(), 200);
    let mut executed = 0;
    for _ in 0..8 {
        let mut model = Model::new((1, 2, 0, 0));
        histories.new_tree(&mut runner).unwrap().current().iter().for_each(|step| model.apply(step));
        executed += model.executed.iter().skip(1).filter(|done| **done).count();
    }
    assert!(executed >= 4, "{executed} executions in 8 histories");
}
