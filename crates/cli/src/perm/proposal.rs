//! A proposal as it stands: its calls, its votes, and what is still needed.

use super::decoded::Call;
use super::link::small;
use super::network::{Network, bounded, maybe};
use super::text::{clean, count, print_json, table};
use crate::failure::{Failure, Outcome};
use alloy_primitives::{Address, U256};
use ipe_rules::abi::Governance::{self, ProposalData, Rule, Trail};
use ipe_rules::words;
use serde_json::{Value, json};

/// A proposal with everything that is known about it.
pub struct Proposal {
    pub data: ProposalData,
    /// Ours alone.
    pub trail: Option<Trail>,
    /// Ours alone.
    pub rule: Option<Rule>,
    /// `stateOf`, ours alone.
    pub state: Option<u8>,
    /// Account of each vote, ours alone.
    pub voters: Vec<Option<Address>>,
    pub calls: Vec<Call>,
}

/// How the votes stand.
#[derive(Debug, PartialEq, Eq)]
pub struct Standing {
    /// Organisations that count.
    pub electorate: u64,
    pub approvals: u64,
    pub rejections: u64,
    /// Approvals that an approval needs.
    pub needed: u64,
    /// Votes that an approval needs.
    pub quorum: u64,
}

impl Standing {
    /// With a rule as this project's contracts count; without one, more than half.
    pub fn count(votes: &[u8], rule: Option<&Rule>) -> Standing {
        let electorate = votes.len() as u64;
        let share = |numerator: u16, denominator: u16| (electorate * u64::from(numerator)).div_ceil(u64::from(denominator.max(1)));
        let of = |kind: u8| votes.iter().filter(|vote| **vote == kind).count() as u64;
        let most = electorate / 2 + 1;
        Standing {
            electorate,
            approvals: of(1),
            rejections: of(2),
            needed: rule.map_or(most, |rule| most.max(share(rule.thresholdNumerator, rule.thresholdDenominator))),
            quorum: rule.map_or(0, |rule| share(rule.quorumNumerator, rule.quorumDenominator)),
        }
    }

    /// Approvals still missing, those that the quorum needs included.
    pub fn missing(&self) -> u64 {
        let for_threshold = self.needed.saturating_sub(self.approvals);
        let for_quorum = self.quorum.saturating_sub(self.approvals + self.rejections);
        for_threshold.max(for_quorum)
    }

    /// Whether those who have not voted are enough for an approval.
    pub fn reachable(&self) -> bool {
        self.approvals + self.electorate.saturating_sub(self.approvals + self.rejections) >= self.needed
    }
}

impl Proposal {
    pub fn read(network: &Network, id: u64) -> Result<Proposal, Failure> {
        let governance = network.need_governance()?;
        let number = U256::from(id);
        let data = network.link.read("governance", governance, &Governance::getProposalCall { proposalId: number })?;
        if data.id != number || data.targets.len() != data.calldatas.len() || data.organizations.len() != data.votes.len() {
            return Err(Failure::Failed(format!(
                "governance at {governance} was asked for proposal {id} and told proposal {} with {} targets, {} call data, {} organizations and {} votes",
                data.id,
                data.targets.len(),
                data.calldatas.len(),
                data.organizations.len(),
                data.votes.len()
            )));
        }
        let (mut trail, mut rule, mut state, mut voters) = (None, None, None, vec![None; data.votes.len()]);
        if network.charter.is_some() {
            trail = maybe(network.link.call(governance, &Governance::getTrailCall { proposalId: number }))?;
            rule = maybe(network.link.call(governance, &Governance::getRuleCall { proposalId: number }))?;
            state = maybe(network.link.call(governance, &Governance::stateOfCall { proposalId: number }))?;
            for (voter, (org, vote)) in voters.iter_mut().zip(data.organizations.iter().zip(&data.votes)) {
                if *vote != 0 {
                    *voter = maybe(network.link.call(governance, &Governance::getVoterCall { proposalId: number, orgId: *org }))?;
                }
            }
        }
        let calls = data.targets.iter().zip(&data.calldatas).map(|(target, call)| Call::of(network, *target, call)).collect();
        Ok(Proposal { data, trail, rule, state, voters, calls })
    }

    /// Votes of those that count: with our contracts who exists and may vote now, with the second generation all participants.
    pub fn standing(&self, network: &Network) -> Result<Standing, Failure> {
        let orgs = network.orgs()?;
        let counts = |id: &U256| self.rule.is_none() || orgs.get(&small(*id)).is_some_and(|org| org.votes);
        let votes: Vec<u8> =
            self.data.organizations.iter().zip(&self.data.votes).filter(|(org, _)| counts(org)).map(|(_, vote)| *vote).collect();
        Ok(Standing::count(&votes, self.rule.as_ref()))
    }

    /// Last block in which a vote counts.
    pub fn deadline(&self) -> u64 {
        small(self.data.creationBlock).saturating_add(small(self.data.blocksDuration))
    }

    /// First and last block in which it can be executed, once approved.
    pub fn execution(&self) -> Option<(u64, u64)> {
        let (rule, trail) = (self.rule.as_ref()?, self.trail.as_ref()?);
        let approved = trail.approvalBlock.to::<u64>();
        if approved == 0 {
            return None;
        }
        let from = approved + u64::from(rule.delayBlocks);
        Some((from, from.max(self.deadline()).saturating_add(u64::from(rule.executionBlocks))))
    }

    /// What it is in now, as one of [`words::STATES`].
    pub fn state(&self, head: u64) -> String {
        if let Some(state) = self.state {
            return words::word(&words::STATES, state);
        }
        match (self.data.status, self.data.result) {
            (1, _) => "canceled".to_owned(),
            (3, _) => "executed".to_owned(),
            (_, 2) => "rejected".to_owned(),
            // The second generation executes what was approved, however long ago.
            (_, 1) => "executable".to_owned(),
            (2, _) => "expired".to_owned(),
            _ if head > self.deadline() => "expired".to_owned(),
            _ => "open".to_owned(),
        }
    }

    /// Sentences on what is still needed.
    pub fn needs(&self, network: &Network) -> Result<Vec<String>, Failure> {
        let (standing, head) = (self.standing(network)?, network.link.at);
        let mut all = Vec::new();
        match self.state(head).as_str() {
            "open" => {
                let left = self.deadline().saturating_sub(head);
                if standing.missing() > 0 {
                    all.push(format!(
                        "{} more, until block {} ({} from now)",
                        count(standing.missing(), "approval"),
                        self.deadline(),
                        count(left, "block")
                    ));
                }
                if !standing.reachable() {
                    all.push("it cannot be approved any more: too many have rejected it".to_owned());
                }
            }
            "waiting" => {
                if let Some((from, _)) = self.execution() {
                    all.push(format!("its delay ends with block {from}; then a global administrator of a participant executes it"));
                }
            }
            "executable" => match self.execution() {
                Some((_, last)) => all.push(format!("a global administrator of a participant executes it, until block {last}")),
                None => all.push("a global administrator of a participant executes it".to_owned()),
            },
            "expired" => all.push("its time is over: it has to be proposed again".to_owned()),
            _ => {}
        }
        if network.charter.is_none() && self.data.result == 2 && self.data.status != 1 && self.data.status != 3 {
            all.push("WARNING: the second generation lets any participant execute a rejected proposal; cancel it".to_owned());
        }
        if let Some((rule, trail)) = self.rule.as_ref().zip(self.trail.as_ref())
            && rule.vetoBlocks > 0
            && matches!(self.state(head).as_str(), "open" | "waiting" | "executable")
        {
            match trail.approvalBlock.to::<u64>() {
                0 => all.push(format!("a patron may veto it, until {} after its approval", count(rule.vetoBlocks.into(), "block"))),
                approved if head <= approved + u64::from(rule.vetoBlocks) => {
                    all.push(format!("a patron may veto it until block {}", approved + u64::from(rule.vetoBlocks)));
                }
                _ => {}
            }
        }
        Ok(all)
    }

    /// The shape of one proposal in JSON.
    pub fn json(&self, network: &Network) -> Result<Value, Failure> {
        let standing = self.standing(network)?;
        let votes: Vec<Value> = self
            .votes(network)
            .into_iter()
            .map(|(org, name, vote, voter)| {
                json!({
                    "organization": org, "name": name, "vote": vote, "voter": voter,
                })
            })
            .collect();
        Ok(json!({
            "id": small(self.data.id),
            "state": self.state(network.link.at),
            "status": words::word(&words::STATUSES, self.data.status),
            "result": words::word(&words::RESULTS, self.data.result),
            "description": self.data.description,
            "proponent": small(self.data.proponentOrgId),
            "proponentAccount": self.trail.as_ref().map(|trail| trail.proponent),
            "creationBlock": small(self.data.creationBlock),
            "lastVoteBlock": self.deadline(),
            "execution": self.execution().map(|(first, last)| json!({ "firstBlock": first, "lastBlock": last })),
            "kind": self.trail.as_ref().map(|trail| words::word(&words::KINDS, trail.kind)),
            "rule": self.rule.as_ref().map(rule_json),
            "electorate": standing.electorate,
            "approvals": standing.approvals,
            "rejections": standing.rejections,
            "approvalsNeeded": standing.needed,
            "votesNeeded": standing.quorum,
            "approvalsMissing": standing.missing(),
            "votes": votes,
            "calls": self.calls.iter().map(|call| call.json(network)).collect::<Vec<_>>(),
            "cancelationReason": Some(&self.data.cancelationReason).filter(|reason| !reason.is_empty()),
            "veto": self.trail.as_ref().filter(|trail| !trail.vetoer.is_zero()).map(|trail| json!({
                "account": trail.vetoer, "organization": small(trail.vetoOrgId), "block": trail.vetoBlock.to::<u64>(), "reason": trail.vetoReason,
            })),
            "executor": self.trail.as_ref().map(|trail| trail.executor).filter(|executor| !executor.is_zero()),
            "next": self.needs(network)?,
        }))
    }

    /// Organisation, its name, its vote, the account that voted.
    fn votes(&self, network: &Network) -> Vec<(u64, String, String, Option<Address>)> {
        let entries = self.data.organizations.iter().zip(&self.data.votes).zip(&self.voters);
        entries
            .map(|((org, vote), voter)| {
                let id = small(*org);
                (id, network.org_label(id), words::word(&words::VOTES, *vote), *voter)
            })
            .collect()
    }

    pub fn print(&self, network: &Network) -> Outcome {
        let standing = self.standing(network)?;
        let head = network.link.at;
        println!("proposal     {}", self.data.id);
        println!("state        {}", self.state(head));
        println!("description  {}", clean(&self.data.description));
        println!("proposed by  {} in block {}", network.org_label(small(self.data.proponentOrgId)), self.data.creationBlock);
        println!("votes until  block {} (the newest is {head})", self.deadline());
        if let (Some(trail), Some(rule)) = (&self.trail, &self.rule) {
            println!("kind         {}", words::word(&words::KINDS, trail.kind));
            println!("rule         {}", rule_words(rule));
        }
        println!(
            "votes        {} for, {} against, of {} that count; {} needed",
            standing.approvals,
            standing.rejections,
            standing.electorate,
            count(standing.needed, "approval")
        );
        println!("\ncalls:");
        for (index, call) in self.calls.iter().enumerate() {
            println!("  {}. {}", index + 1, call.line(network));
        }
        println!("");
        let rows: Vec<Vec<String>> = self
            .votes(network)
            .into_iter()
            .map(|(_, name, vote, voter)| vec![name, vote, voter.map(|voter| voter.to_string()).unwrap_or_default()])
            .collect();
        table(&["PARTICIPANT", "VOTE", "ACCOUNT"], &rows);
        if !self.data.cancelationReason.is_empty() {
            println!("\ncanceled: {}", clean(&self.data.cancelationReason));
        }
        if let Some(trail) = self.trail.as_ref().filter(|trail| !trail.vetoer.is_zero()) {
            println!(
                "\nvetoed by {} ({}) in block {}: {}",
                network.org_label(small(trail.vetoOrgId)),
                trail.vetoer,
                trail.vetoBlock,
                clean(&trail.vetoReason)
            );
        }
        let needs = self.needs(network)?;
        if !needs.is_empty() {
            println!("");
        }
        for need in needs {
            println!("next: {need}");
        }
        Ok(())
    }
}

/// The rule in JSON.
pub fn rule_json(rule: &Rule) -> Value {
    json!({
        "threshold": format!("{}/{}", rule.thresholdNumerator, rule.thresholdDenominator),
        "quorum": format!("{}/{}", rule.quorumNumerator, rule.quorumDenominator),
        "delayBlocks": rule.delayBlocks, "vetoBlocks": rule.vetoBlocks, "executionBlocks": rule.executionBlocks,
        "patronConsent": rule.patronConsent, "approvedStands": rule.approvedStands,
    })
}

/// The rule in words.
pub fn rule_words(rule: &Rule) -> String {
    let mut parts = vec![match (rule.thresholdNumerator, rule.thresholdDenominator) {
        (numerator, denominator) if numerator == denominator => "all have to approve".to_owned(),
        (numerator, denominator) if u32::from(numerator) * 2 == u32::from(denominator) => {
            "more than half have to approve".to_owned()
        }
        (numerator, denominator) => format!("{numerator}/{denominator} have to approve"),
    }];
    if rule.quorumNumerator > 0 {
        parts.push(format!("{}/{} have to vote", rule.quorumNumerator, rule.quorumDenominator));
    }
    if rule.delayBlocks > 0 {
        parts.push(format!("executed {} after the approval at the earliest", count(rule.delayBlocks.into(), "block")));
    }
    parts.push(match rule.vetoBlocks {
        0 => "no veto".to_owned(),
        blocks => format!("patrons may veto until {} after the approval", count(blocks.into(), "block")),
    });
    if rule.patronConsent {
        parts.push("a patron's standing changes only with its consent".to_owned());
    }
    parts.join(", ")
}

/// `proposal list`.
pub fn list(network: &Network, last: u64, as_json: bool) -> Outcome {
    let governance = network.need_governance()?;
    let number = network.link.read("governance", governance, &Governance::getNumberOfProposalsCall {})?;
    let number = bounded("proposals", number)?;
    let mut all = Vec::new();
    for id in (number.saturating_sub(last) + 1..=number).rev() {
        all.push(Proposal::read(network, id)?);
    }
    if as_json {
        let proposals = all.iter().map(|proposal| proposal.json(network)).collect::<Result<Vec<_>, _>>()?;
        print_json(&json!({ "network": network.json(), "governance": governance, "total": number, "proposals": proposals }));
        return Ok(());
    }
    let mut rows = Vec::new();
    for proposal in &all {
        let standing = proposal.standing(network)?;
        rows.push(vec![
            proposal.data.id.to_string(),
            proposal.state(network.link.at),
            format!("{} of {}", standing.approvals, standing.needed),
            standing.rejections.to_string(),
            proposal.deadline().to_string(),
            network.org_label(small(proposal.data.proponentOrgId)),
            clean(&proposal.data.description),
        ]);
    }
    table(&["ID", "STATE", "FOR", "AGAINST", "VOTES UNTIL", "PROPOSED BY", "DESCRIPTION"], &rows);
    if number > last {
        println!("{} older ones: --last {number}", number - last);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(threshold: (u16, u16), quorum: (u16, u16)) -> Rule {
        Rule {
            thresholdNumerator: threshold.0,
            thresholdDenominator: threshold.1,
            quorumNumerator: quorum.0,
            quorumDenominator: quorum.1,
            delayBlocks: 0,
            vetoBlocks: 0,
            executionBlocks: 6_300,
            patronConsent: false,
            approvedStands: false,
        }
    }

    #[test]
    fn what_is_needed_follows_the_rule() {
        let half = Standing::count(&[1, 0, 0, 0], None);
        assert_eq!((half.needed, half.missing(), half.reachable()), (3, 2, true));
        let two_thirds = Standing::count(&[1, 1, 1, 2, 0, 0, 0], Some(&rule((2, 3), (0, 1))));
        assert_eq!((two_thirds.needed, two_thirds.missing()), (5, 2));
        let quorum = Standing::count(&[1, 1, 1, 0, 0], Some(&rule((1, 2), (4, 5))));
        assert_eq!((quorum.needed, quorum.quorum, quorum.missing()), (3, 4, 1), "the threshold is met, the quorum is not");
        let all = Standing::count(&[1, 2], Some(&rule((1, 1), (0, 1))));
        assert!(!all.reachable());
        assert!(rule_words(&rule((1, 1), (0, 1))).starts_with("all have to approve"));
        assert!(rule_words(&rule((2, 3), (1, 2))).contains("2/3 have to approve, 1/2 have to vote"));
    }
}
