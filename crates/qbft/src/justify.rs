//! What justifies a message: the predicates of spec/qbft.md 7.5 and 7.6, without state.
//!
//! A block is named by a digest in one of two forms: with a round in its extra data (Besu ≥ 24.12) or with round 0
//! (GoQuorum, older Besu, and the block hash). Both name the same block, so either is taken wherever a digest is
//! compared; `quorum` different validators are needed all the same.

use alloy_primitives::{Address, B256, Bytes};
use ipe_types::extra::{ExtraData, ExtraDataError};
use ipe_types::header::{block_hash, commit_hash};
use ipe_types::message::{Payload, PreparePayload, Proposal, RoundChange, RoundChangePayload, Signed};
use ipe_types::planted::{self, Bug};
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
        self.validators.quorum()
    }
}

/// Why a message is refused, by whose doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Its author signed what is wrong, so no copy of it is better.
    Author(Reason),
    /// The part that nobody signed is wrong. Another copy may be sound: whoever passed this one on may have spoiled it.
    Copy(Reason),
}

impl From<Fault> for Reason {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Author(reason) | Fault::Copy(reason) => reason,
        }
    }
}

/// A message of any kind: what a relay asks before it holds or passes on, and the core before it takes.
///
/// `turn_known`: whether `rules` say whose turn it is. They do not for heights after the next, whose parent is not known;
/// then everything else is judged.
///
/// # Errors
/// The first [`Fault`].
pub fn message(rules: &Rules, message: &Message, turn_known: bool) -> Result<(), Fault> {
    match message {
        Message::Proposal(proposal) => {
            if turn_known {
                turn(rules, proposal.signed.author(), proposal.signed.round()).map_err(Fault::Author)?;
            }
            proposal_payload(rules, proposal).map_err(Fault::Author)?;
            proposal_justification(rules, proposal).map_err(Fault::Copy)
        }
        Message::RoundChange(change) => {
            round_change_payload(change.signed.payload()).map_err(Fault::Author)?;
            prepared_part(rules, change).map_err(Fault::Copy)
        }
        Message::Prepare(_) | Message::Commit(_) if message.round() > MAX_ROUND => Err(Fault::Author(Reason::RoundTooHigh)),
        Message::Prepare(_) | Message::Commit(_) => Ok(()),
    }
}

/// It is the author's turn to propose in `round`.
///
/// # Errors
/// It is another's, or the round is above [`MAX_ROUND`].
pub fn turn(rules: &Rules, author: Address, round: u32) -> Result<(), Reason> {
    if round > MAX_ROUND {
        return Err(Reason::RoundTooHigh);
    }
    let expected = rules.proposer(round);
    if author == expected { Ok(()) } else { Err(Reason::NotProposer { expected }) }
}

/// A Proposal is from whose turn it is, and its round is justified.
///
/// Whether the block is valid is another question, and the expensive one.
///
/// # Errors
/// The first [`Reason`] against it.
pub fn proposal(rules: &Rules, proposal: &Proposal) -> Result<(), Reason> {
    turn(rules, proposal.signed.author(), proposal.signed.round())?;
    proposal_payload(rules, proposal)?;
    proposal_justification(rules, proposal)
}

/// What the proposer signed, but for the turn.
fn proposal_payload(rules: &Rules, proposal: &Proposal) -> Result<(), Reason> {
    let payload = proposal.signed.payload();
    let header = &payload.block.header;
    if payload.round > MAX_ROUND {
        return Err(Reason::RoundTooHigh);
    }
    if header.number != rules.height {
        return Err(Reason::BlockNumber { got: header.number, expected: rules.height });
    }
    no_access_list(payload.access_list.as_ref())?;
    proposed_form(header)?;
    // A block carries the round of its proposal, or 0 (spec/qbft.md 15).
    carries(header, payload.round)?;
    if payload.round == 0 { coinbase_is(header, proposal.signed.author()) } else { Ok(()) }
}

/// What justifies the round, which nobody signed as a whole.
fn proposal_justification(rules: &Rules, proposal: &Proposal) -> Result<(), Reason> {
    let payload = proposal.signed.payload();
    let (header, round) = (&payload.block.header, payload.round);
    if round == 0 {
        if !proposal.round_changes.is_empty() || !proposal.prepares.is_empty() {
            return Err(Reason::JustificationInRoundZero);
        }
        return Ok(());
    }
    let Some(prepared_round) = round_changes(rules, &proposal.round_changes, round)? else {
        if !proposal.prepares.is_empty() {
            return Err(Reason::UnexpectedPrepares);
        }
        return coinbase_is(header, proposal.signed.author());
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

/// What no hash covers and every honest proposer writes in one way: extra data in its canonical form, without items behind.
/// Otherwise a valid block could be proposed in a form that is too large for a RoundChange to carry.
fn proposed_form(header: &Header) -> Result<(), Reason> {
    let extra = ExtraData::decode(&header.extra_data)?;
    if extra.encode() == header.extra_data { Ok(()) } else { Err(Reason::ExtraDataForm) }
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
/// executed here: a quorum vouched for it, and whoever proposes it again has it judged again. But it is that block, with
/// the body that its header names: nobody signed the body.
///
/// # Errors
/// The first [`Reason`] against it.
pub fn round_change(rules: &Rules, change: &RoundChange) -> Result<(), Reason> {
    round_change_payload(change.signed.payload())?;
    prepared_part(rules, change)
}

/// The certificate of a RoundChange, which nobody signed as a whole.
fn prepared_part(rules: &Rules, change: &RoundChange) -> Result<(), Reason> {
    no_access_list(change.access_list.as_ref())?;
    match (change.signed.payload().prepared, &change.block) {
        (None, None) if change.prepares.is_empty() => Ok(()),
        (None, None) => Err(Reason::UnexpectedPrepares),
        (Some((round, digest)), Some(block)) => {
            if block.header.number != rules.height {
                return Err(Reason::BlockNumber { got: block.header.number, expected: rules.height });
            }
            proposed_form(&block.header)?;
            carries(&block.header, round)?;
            prepared_block(rules, &block.header, round, digest, &change.prepares)
        }
        _ => Err(Reason::IncompleteCertificate),
    }
}

/// The body of the prepared block is the one that its header names. Apart from [`round_change`] because it costs a hash
/// tree over the transactions, so that the host can remember the answer.
///
/// # Errors
/// [`Reason::Body`].
pub fn prepared_body(change: &RoundChange) -> Result<(), Reason> {
    match &change.block {
        Some(block) if !block.body.is_named_by(&block.header) => Err(Reason::Body),
        _ => Ok(()),
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

/// No client of a chain that we know has a block access list to send: Besu ≥ 26.1 writes the empty string (spec/qbft.md 7.4).
fn no_access_list(item: Option<&Bytes>) -> Result<(), Reason> {
    match item {
        Some(item) if item.as_ref() != [alloy_rlp::EMPTY_STRING_CODE] => Err(Reason::AccessList { bytes: item.len() }),
        _ => Ok(()),
    }
}

/// A block under decision carries no seals, and `round` or 0.
fn carries(header: &Header, round: u32) -> Result<(), Reason> {
    let extra = ExtraData::decode(&header.extra_data)?;
    if !extra.seals.is_empty() {
        return Err(Reason::SealsInProposal { got: extra.seals.len() });
    }
    if extra.round == 0 || extra.round == round { Ok(()) } else { Err(Reason::CarriedRound { got: extra.round, round }) }
}

fn round_change_payload(payload: &RoundChangePayload) -> Result<(), Reason> {
    if payload.round == 0 {
        return Err(Reason::RoundZero);
    }
    if payload.round > MAX_ROUND {
        return Err(Reason::RoundTooHigh);
    }
    match payload.prepared {
        Some((prepared, _)) if prepared >= payload.round => Err(Reason::PreparedRound { prepared, round: payload.round }),
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

fn prepared_by_quorum(rules: &Rules, digests: &Digests, round: u32, prepares: &[Signed<PreparePayload>]) -> Result<(), Reason> {
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
