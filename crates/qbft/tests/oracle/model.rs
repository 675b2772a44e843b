//! The formal specification's node, taken at its word: no indexes, no timers, no bounds; everything that was ever received is a
//! set, and every question walks over all of it.
//!
//! Source: `dafny/spec/L1/node.dfy` and `node_auxiliary_functions.dfy` of github.com/ConsenSys/qbft-formal-spec-and-verification
//! (commit 3e2aeee). Each function here says which predicate or function it is. Sets of messages that the specification picks
//! freely ("exists QofP") are picked by the caller or quantified over.

use std::collections::BTreeSet;
use std::sync::Arc;

use alloy_primitives::{Address, B256};
use ipe_types::crypto::{HighS, recover_address};
use ipe_types::extra::ExtraData;
use ipe_types::header::{commit_hash, digest, with_round_and_seals};
use ipe_types::message::{CommitPayload, PreparePayload, Proposal, RoundChangePayload, Signed};
use ipe_types::{Block, Message, ValidatorSet};

/// `NodeState`, without what a driver that decides when time is over does not need: `localTime`, `timeLastRoundStart`.
#[derive(Clone)]
pub struct Node {
    /// `id`.
    pub id: Address,
    /// `validators(blockchain)`: the same at every height here.
    pub validators: ValidatorSet,
    /// `|blockchain|`: number of the block that is sought.
    pub height: u64,
    /// `blockchain[|blockchain|-1].header.proposer`.
    pub previous: Address,
    /// `round`.
    pub round: u32,
    /// `proposalAcceptedForCurrentRound`.
    pub accepted: Option<Proposal>,
    /// `lastPreparedBlock` and `lastPreparedRound`.
    pub prepared: Option<(Arc<Block>, u32)>,
    /// `messagesReceived`.
    pub received: Vec<Arc<Message>>,
}

/// Whether a block is valid for the application: `validateEthereumBlock`. The driver and the model agree by a mark in it.
pub fn is_valid_block(block: &Block) -> bool {
    ExtraData::decode(&block.header.extra_data).is_ok_and(|extra| extra.vanity.last() != Some(&0xbb))
}

/// `digest(block)`, with the round that the block carries.
pub fn name_of(block: &Block) -> B256 {
    digest(&block.header).unwrap()
}

/// `replaceRoundInBlock`.
pub fn replace_round(block: &Block, round: u32) -> Block {
    Block { header: with_round_and_seals(&block.header, round, vec![]).unwrap(), body: block.body.clone() }
}

fn round_number(block: &Block) -> u32 {
    ExtraData::decode(&block.header.extra_data).unwrap().round
}

/// `getSetOfRoundChangeSenders`.
fn senders(changes: &[Signed<RoundChangePayload>]) -> BTreeSet<Address> {
    changes.iter().map(Signed::author).collect()
}

impl Node {
    /// `quorum(|validators|)`.
    pub fn quorum(&self) -> usize {
        (self.validators.len() * 2 - 1) / 3 + 1
    }

    /// `f(|validators|)`.
    pub fn f(&self) -> usize {
        (self.validators.len() - 1) / 3
    }

    /// `proposer(ibftRound, blockchain)`.
    pub fn proposer(&self, round: u32) -> Address {
        let all = self.validators.as_slice();
        let zero = match all.iter().position(|validator| *validator == self.previous) {
            Some(index) => index + 1,
            None => 0,
        };
        all[(zero + round as usize) % all.len()]
    }

    /// `validRoundChange`.
    pub fn valid_round_change(&self, change: &Signed<RoundChangePayload>, round: u32) -> bool {
        let payload = change.payload();
        payload.height == self.height
            && payload.round == round
            && payload.prepared.is_none_or(|(prepared, _)| prepared < round)
            && self.validators.contains(&change.author())
    }

    /// `validSignedPrepareForHeightRoundAndDigest`.
    pub fn valid_prepare(&self, prepare: &Signed<PreparePayload>, round: u32, digest: B256) -> bool {
        let payload = prepare.payload();
        payload.height == self.height
            && payload.round == round
            && payload.digest == digest
            && self.validators.contains(&prepare.author())
    }

    /// `validateNonPreparedBlock`.
    fn validate_non_prepared(&self, block: &Block, round: u32) -> bool {
        is_valid_block(block) && block.header.beneficiary == self.proposer(round)
    }

    /// `isProposalJustification`, with `validateBlock` as a Proposal is judged.
    pub fn is_proposal_justification(
        &self,
        changes: &[Signed<RoundChangePayload>],
        prepares: &[Signed<PreparePayload>],
        round: u32,
        block: &Block,
    ) -> bool {
        let leader = self.proposer(round);
        let fresh = || {
            self.validate_non_prepared(block, round)
                && round_number(block) == round
                && block.header.number == self.height
                && block.header.beneficiary == leader
        };
        if round == 0 {
            return fresh();
        }
        if senders(changes).len() < self.quorum() || !changes.iter().all(|change| self.valid_round_change(change, round)) {
            return false;
        }
        let Some(highest) = changes.iter().filter_map(|change| change.payload().prepared).map(|(prepared, _)| prepared).max()
        else {
            return fresh();
        };
        let distinct: BTreeSet<_> = prepares.iter().map(|prepare| (prepare.author(), prepare.raw().to_vec())).collect();
        round_number(block) == round
            && block.header.number == self.height
            && distinct.len() >= self.quorum()
            && changes.iter().filter_map(|change| change.payload().prepared).any(|(prepared, value)| {
                // `isHighestPrepared`
                prepared == highest
                    && value == name_of(&replace_round(block, prepared))
                    && prepares.iter().all(|prepare| self.valid_prepare(prepare, prepared, value))
            })
    }

    /// The part of `isValidProposal` that does not look at where we are.
    pub fn is_justified(&self, proposal: &Proposal) -> bool {
        let payload = proposal.signed.payload();
        payload.height == self.height
            && proposal.signed.author() == self.proposer(payload.round)
            && self.is_proposal_justification(&proposal.round_changes, &proposal.prepares, payload.round, &payload.block)
    }

    /// The last conjunct of `isValidProposal` and of `isReceivedProposalJustification`, as it stands: a later round only
    /// when something is accepted in ours.
    pub fn may_accept_literally(&self, round: u32) -> bool {
        (self.accepted.is_none() && round == self.round) || (self.accepted.is_some() && round > self.round)
    }

    /// The same as the paper has it: a later round in any case.
    pub fn may_accept(&self, round: u32) -> bool {
        round > self.round || (self.accepted.is_none() && round == self.round)
    }

    /// Every Proposal in `messagesReceived` for which `UponProposal` is enabled.
    pub fn upon_proposal(&self) -> Vec<Proposal> {
        self.received
            .iter()
            .filter_map(|message| match &**message {
                Message::Proposal(proposal) => Some((**proposal).clone()),
                _ => None,
            })
            .filter(|proposal| self.may_accept(proposal.signed.round()) && self.is_justified(proposal))
            .collect()
    }

    /// Next state of `UponProposal`.
    pub fn accept(&mut self, proposal: Proposal) {
        self.round = proposal.signed.round();
        self.accepted = Some(proposal);
    }

    /// `UponPrepare`: the block that would be committed to.
    pub fn upon_prepare(&self) -> Option<Arc<Block>> {
        let block = self.accepted.as_ref()?.signed.payload().block.clone();
        let digest = name_of(&block);
        let authors: BTreeSet<Address> = self
            .received
            .iter()
            .filter_map(|message| match &**message {
                Message::Prepare(prepare) if self.valid_prepare(prepare, self.round, digest) => Some(prepare.author()),
                _ => None,
            })
            .collect();
        let said = self.received.iter().any(|message| {
            matches!(&**message, Message::Commit(commit)
                if commit.height() == self.height && commit.round() == self.round && commit.author() == self.id)
        });
        (authors.len() >= self.quorum() && !said).then_some(block)
    }

    /// `validCommitsForHeightRoundAndDigest`.
    fn valid_commit(&self, commit: &Signed<CommitPayload>, block: &Block) -> bool {
        let payload = commit.payload();
        let sealed = commit_hash(&block.header, self.round).unwrap();
        payload.height == self.height
            && payload.round == self.round
            && payload.digest == name_of(block)
            && recover_address(sealed, &payload.seal, HighS::Allowed) == Ok(commit.author())
            && self.validators.contains(&commit.author())
    }

    /// `UponCommit`: the block that is final, and whose seals are good for it.
    pub fn upon_commit(&self) -> Option<(Arc<Block>, BTreeSet<Address>)> {
        let block = self.accepted.as_ref()?.signed.payload().block.clone();
        let authors: BTreeSet<Address> = self
            .received
            .iter()
            .filter_map(|message| match &**message {
                Message::Commit(commit) if self.valid_commit(commit, &block) => Some(commit.author()),
                _ => None,
            })
            .collect();
        (authors.len() >= self.quorum()).then_some((block, authors))
    }

    /// Next state of `UponCommit` and of `UponNewBlock`.
    pub fn append(&mut self, block: &Block) {
        self.height += 1;
        self.previous = block.header.beneficiary;
        self.round = 0;
        self.accepted = None;
        self.prepared = None;
    }

    /// `receivedSignedRoundChangesForCurrentHeightAndFutureRounds`, by author and round.
    fn future_rounds(&self) -> BTreeSet<(Address, u32)> {
        self.received
            .iter()
            .filter_map(|message| match &**message {
                Message::RoundChange(change) => Some(&change.signed),
                _ => None,
            })
            .filter(|signed| signed.height() == self.height && signed.round() > self.round)
            .map(|signed| (signed.author(), signed.round()))
            .collect()
    }

    /// `UponRoundChange`, second branch: every round that is the lowest of some f+1 authors' messages.
    pub fn upon_f_plus_one(&self) -> BTreeSet<u32> {
        let future = self.future_rounds();
        let reach = |round: u32| -> BTreeSet<Address> {
            future.iter().filter(|(_, asked)| *asked >= round).map(|(author, _)| *author).collect()
        };
        future.iter().map(|(_, round)| *round).filter(|round| reach(*round).len() > self.f()).collect()
    }

    /// `createRoundChange`: what it says was prepared.
    pub fn prepared_to_say(&self) -> Option<(u32, B256)> {
        self.prepared.as_ref().map(|(block, round)| (*round, name_of(block)))
    }

    /// Next state of `UponRoundTimeout` and of the second branch of `UponRoundChange`.
    pub fn go_to(&mut self, round: u32) {
        self.round = round;
        self.accepted = None;
    }
}
