//! What justifies a message: the predicates of spec/qbft.md 7.5 and 7.6, without state.
//!
//! A block is named by a digest in one of two forms: with a round in its extra data (Besu ≥ 24.12) or with round 0
//! (GoQuorum, older Besu, and the block hash). Both name the same block, so either is taken wherever a digest is
//! compared; `quorum` different validators are needed all the same.

use alloy_primitives::{Address, B256};
use ipe_types::extra::{ExtraData, ExtraDataError};
use ipe_types::header::{block_hash, commit_hash};
use ipe_types::planted::{self, Bug};
use ipe_types::message::{Payload, PreparePayload, Proposal, RoundChange, RoundChangePayload, Signed};
use ipe_types::{Header, Message, ValidatorSet};

use crate::bounds::MAX_ROUND;
use crate::certificate::PreparedCertificate;
use crate::rejection::Reason;

/// What every message of one height is judged by.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Height in hand.
    pub height: u64,
    /// Who validates it.
    pub validators: ValidatorSet,
    /// Coinbase of the parent: the seed of the turn.
    pub previous_proposer: Address,
}

/// The two digests that name one block in one round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digests {
    /// With a round in the extra data.
    pub with_round: B256,
    /// With round 0: the block hash.
    pub without_round: B256,
}

impl Digests {
    /// Both digests of the block, the first with `round`.
    ///
    /// # Errors
    /// The extra data does not decode.
    pub fn of(header: &Header, round: u32) -> Result<Self, ExtraDataError> {
        Ok(Self { with_round: commit_hash(header, round)?, without_round: block_hash(header)? })
    }

    /// Whether `digest` names the block.
    pub fn name(&self, digest: &B256) -> bool {
        *digest == self.with_round || *digest == self.without_round
    }
}

impl Rules {
    /// Whose turn `round` is. An empty set, which has no turn, gives the zero address: nobody's.
    pub fn proposer(&self, round: u32) -> Address {
        self.validators.proposer(self.previous_proposer, round).unwrap_or_default()
    }

    /// Least number of validators that decides.
    pub fn quorum(&self) -> usize {
        // An empty set has the quorum 0, by which nothing would decide everything.
        self.validators.quorum().max(1)
    }
}

/// A Proposal is from whose turn it is, and its round is justified.
///
/// Whether the block is valid is another question, and the expensive one.
///
/// # Errors
/// The first [`Reason`] against it.
pub fn proposal(rules: &Rules, proposal: &Proposal) -> Result<(), Reason> {
    let payload = proposal.signed.payload();
    let (author, round) = (proposal.signed.author(), payload.round);
    if round > MAX_ROUND {
        return Err(Reason::RoundTooHigh);
    }
    let expected = rules.proposer(round);
    if author != expected {
        return Err(Reason::NotProposer { expected });
    }
    let header = &payload.block.header;
    if header.number != rules.height {
        return Err(Reason::BlockNumber { got: header.number, expected: rules.height });
    }
    ExtraData::decode(&header.extra_data)?;
    if round == 0 {
        if !proposal.round_changes.is_empty() || !proposal.prepares.is_empty() {
            return Err(Reason::JustificationInRoundZero);
        }
        return coinbase_is(header, author);
    }
    let Some(prepared_round) = round_changes(rules, &proposal.round_changes, round)? else {
        if !proposal.prepares.is_empty() {
            return Err(Reason::UnexpectedPrepares);
        }
        return coinbase_is(header, author);
    };
    // Whoever was prepared in that round was prepared on this block.
    let digests = Digests::of(header, prepared_round)?;
    for change in &proposal.round_changes {
        if let Some((at, digest)) = change.payload().prepared
            && at == prepared_round
        {
            names_block(&digests, digest)?;
        }
    }
    prepared_by_quorum(rules, &digests, prepared_round, &proposal.prepares)
}

/// A quorum of RoundChanges for `round`; answers with the latest prepared round among them.
///
/// # Errors
/// The first [`Reason`] against them.
pub fn round_changes(rules: &Rules, changes: &[Signed<RoundChangePayload>], round: u32) -> Result<Option<u32>, Reason> {
    quorum_of("RoundChange", rules, changes, round)?;
    let mut latest = None;
    for change in changes {
        round_change_payload(change.payload())?;
        latest = latest.max(change.payload().prepared.map(|(prepared, _)| prepared));
    }
    Ok(latest)
}

/// A RoundChange message: its payload, and the prepared certificate that it claims. The prepared block itself is not
/// executed here: a quorum vouched for it, and whoever proposes it again has it judged again.
///
/// # Errors
/// The first [`Reason`] against it.
pub fn round_change(rules: &Rules, change: &RoundChange) -> Result<(), Reason> {
    let payload = change.signed.payload();
    round_change_payload(payload)?;
    match (payload.prepared, &change.block) {
        (None, None) if change.prepares.is_empty() => Ok(()),
        (None, None) => Err(Reason::UnexpectedPrepares),
        (Some((round, digest)), Some(block)) => {
            if block.header.number != rules.height {
                return Err(Reason::BlockNumber { got: block.header.number, expected: rules.height });
            }
            prepared_block(rules, &block.header, round, digest, &change.prepares)
        }
        _ => Err(Reason::IncompleteCertificate),
    }
}

/// A certificate proves that its block was prepared in its round.
///
/// # Errors
/// The first [`Reason`] against it.
pub fn certificate(rules: &Rules, certificate: &PreparedCertificate) -> Result<(), Reason> {
    let header = &certificate.block.header;
    if header.number != rules.height {
        return Err(Reason::BlockNumber { got: header.number, expected: rules.height });
    }
    prepared_block(rules, header, certificate.round, certificate.digest, &certificate.prepares)
}

/// What can be said against a message of a height to come, of which neither validators nor proposers are known: that it
/// carries what its payload gives no reason for. That part nobody signed; whoever passes a message on may add to it, and a
/// spoiled copy must not keep the sound one out.
///
/// # Errors
/// The first [`Reason`] against it.
pub fn bare(message: &Message) -> Result<(), Reason> {
    match message {
        Message::Proposal(proposal) if proposal.signed.round() == 0 => {
            match proposal.round_changes.is_empty() && proposal.prepares.is_empty() {
                true => Ok(()),
                false => Err(Reason::JustificationInRoundZero),
            }
        }
        Message::RoundChange(change) if change.signed.payload().prepared.is_none() => {
            match (&change.block, change.prepares.is_empty()) {
                (None, true) => Ok(()),
                (None, false) => Err(Reason::UnexpectedPrepares),
                (Some(_), _) => Err(Reason::IncompleteCertificate),
            }
        }
        _ => Ok(()),
    }
}

fn round_change_payload(payload: &RoundChangePayload) -> Result<(), Reason> {
    if payload.round == 0 {
        return Err(Reason::RoundZero);
    }
    if payload.round > MAX_ROUND {
        return Err(Reason::RoundTooHigh);
    }
    match payload.prepared {
        Some((prepared, _)) if prepared >= payload.round => {
            Err(Reason::PreparedRound { prepared, round: payload.round })
        }
        _ => Ok(()),
    }
}

/// The block of `header` is the one of `digest`, and a quorum prepared it in `round`.
fn prepared_block(
    rules: &Rules,
    header: &Header,
    round: u32,
    digest: B256,
    prepares: &[Signed<PreparePayload>],
) -> Result<(), Reason> {
    let digests = Digests::of(header, round)?;
    names_block(&digests, digest)?;
    prepared_by_quorum(rules, &digests, round, prepares)
}

fn prepared_by_quorum(
    rules: &Rules,
    digests: &Digests,
    round: u32,
    prepares: &[Signed<PreparePayload>],
) -> Result<(), Reason> {
    quorum_of("Prepare", rules, prepares, round)?;
    prepares.iter().try_for_each(|prepare| names_block(digests, prepare.payload().digest))
}

fn names_block(digests: &Digests, digest: B256) -> Result<(), Reason> {
    if digests.name(&digest) {
        return Ok(());
    }
    Err(Reason::PreparedDigest { got: digest, expected: digests.with_round })
}

/// At least a quorum of messages, of distinct validators, all for the height in hand and `round`.
fn quorum_of<P: Payload>(what: &'static str, rules: &Rules, messages: &[Signed<P>], round: u32) -> Result<(), Reason> {
    let mut authors: Vec<Address> = Vec::with_capacity(messages.len());
    for message in messages {
        let author = message.author();
        if !rules.validators.contains(&author) {
            return Err(Reason::JustifiedByOutsider { what, author });
        }
        if message.height() != rules.height || message.round() != round {
            return Err(Reason::JustifiedElsewhere {
                what,
                height: message.height(),
                round: message.round(),
                expected_height: rules.height,
                expected_round: round,
            });
        }
        authors.push(author);
    }
    authors.sort_unstable();
    if let Some(pair) = authors.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Reason::DuplicateAuthor { what, author: pair[0] });
    }
    if authors.len() < rules.quorum() {
        return Err(Reason::NoQuorum { what, got: authors.len(), expected: rules.quorum() });
    }
    Ok(())
}

fn coinbase_is(header: &Header, expected: Address) -> Result<(), Reason> {
    if header.beneficiary == expected || planted::is(Bug::CoinbaseUnchecked) {
        return Ok(());
    }
    Err(Reason::Coinbase { got: header.beneficiary, expected })
}
