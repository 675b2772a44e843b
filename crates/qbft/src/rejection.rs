//! Why a message was refused.

use alloy_primitives::{Address, B256};
use ipe_types::Kind;
use thiserror::Error;

/// A message that was refused, with its author: food for the host's budget of misbehaviour and for its log.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{kind:?} of {author} for height {height} round {round} was refused: {reason}")]
pub struct Rejection {
    /// Recovered author.
    pub author: Address,
    /// Kind of the message.
    pub kind: Kind,
    /// Its height.
    pub height: u64,
    /// Its round.
    pub round: u32,
    /// What is wrong with it.
    pub reason: Reason,
}

/// What is wrong with a message.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Reason {
    /// Its author does not validate this height.
    #[error("the author is not a validator of this height")]
    NotValidator,
    /// Further ahead than [`crate::bounds::FUTURE_DISTANCE`].
    #[error("it is {ahead} heights ahead, at most {max} are held", max = crate::bounds::FUTURE_DISTANCE)]
    TooFarAhead {
        /// Heights above the one in hand.
        ahead: u64,
    },
    /// No room for messages of later heights.
    #[error("messages of later heights fill their room")]
    FutureFull,
    /// Above [`crate::bounds::MAX_ROUND`].
    #[error("the round is above {max}", max = crate::bounds::MAX_ROUND)]
    RoundTooHigh,
    /// A RoundChange to round 0.
    #[error("a RoundChange goes to round 1 or above")]
    RoundZero,
    /// Not whose turn it is.
    #[error("the proposer of the round is {expected}")]
    NotProposer {
        /// Whose turn it is.
        expected: Address,
    },
    /// The author said something else before for the same height, round and kind.
    #[error("the author signed another message for the same height, round and kind")]
    Equivocation,
    /// The proposed block has another number.
    #[error("the block has number {got}, expected {expected}")]
    BlockNumber {
        /// In the header.
        got: u64,
        /// Height of the message.
        expected: u64,
    },
    /// A new block names a coinbase other than its proposer.
    #[error("the coinbase of a new block is {got}, expected its proposer {expected}")]
    Coinbase {
        /// In the header.
        got: Address,
        /// Author.
        expected: Address,
    },
    /// A block under decision is sealed already.
    #[error("the block carries {got} seals before it is decided")]
    SealsInProposal {
        /// Seals in the extra data.
        got: usize,
    },
    /// The block carries a round that nobody gives it.
    #[error("the block carries round {got}, expected {round} or 0")]
    CarriedRound {
        /// In the extra data.
        got: u32,
        /// In which it is proposed, or was prepared.
        round: u32,
    },
    /// A block access list, which no block of these chains has.
    #[error("it carries a block access list of {bytes} bytes, expected none")]
    AccessList {
        /// Length of the item.
        bytes: usize,
    },
    /// The body is not the one that the header names.
    #[error("the body of the prepared block is not the one that its header names")]
    Body,
    /// Extra data of the block cannot be read.
    #[error("{0}")]
    ExtraData(#[from] ipe_types::extra::ExtraDataError),
    /// Extra data in another form than every client proposes.
    #[error("the block's extra data is not in its canonical form")]
    ExtraDataForm,
    /// Round 0 needs no justification and takes none.
    #[error("a proposal of round 0 carries a justification")]
    JustificationInRoundZero,
    /// Too few messages justify it.
    #[error("{got} {what} justify it, expected at least {expected}")]
    NoQuorum {
        /// Kind of what was counted.
        what: &'static str,
        /// How many there are.
        got: usize,
        /// Quorum.
        expected: usize,
    },
    /// One author twice among justifying messages.
    #[error("its justification has two {what} of {author}")]
    DuplicateAuthor {
        /// Kind of what was counted.
        what: &'static str,
        /// Who is there twice.
        author: Address,
    },
    /// A justifying message is not of a validator.
    #[error("its justification has a {what} of {author}, who is not a validator of this height")]
    JustifiedByOutsider {
        /// Kind of the justifying message.
        what: &'static str,
        /// Its author.
        author: Address,
    },
    /// A justifying message is about another height or round.
    #[error("its justification has a {what} for height {height} round {round}, expected {expected_height} and {expected_round}")]
    JustifiedElsewhere {
        /// Kind of the justifying message.
        what: &'static str,
        /// Its height.
        height: u64,
        /// Its round.
        round: u32,
        /// Height of the message.
        expected_height: u64,
        /// Round that was to be justified.
        expected_round: u32,
    },
    /// A prepared round is not below the round of the change.
    #[error("the prepared round {prepared} is not below the round {round}")]
    PreparedRound {
        /// Prepared round.
        prepared: u32,
        /// Round of the change.
        round: u32,
    },
    /// A prepared digest or a Prepare is about another block.
    #[error("the prepared digest {got} is not of this block, which has {expected}")]
    PreparedDigest {
        /// Claimed.
        got: B256,
        /// Of the block, with the prepared round.
        expected: B256,
    },
    /// Prepared metadata without its block or the reverse.
    #[error("prepared round, block and prepares must be given together")]
    IncompleteCertificate,
    /// Prepares where nobody was prepared.
    #[error("it carries prepares, but no round change names a prepared round")]
    UnexpectedPrepares,
    /// Digest of another block.
    #[error("the digest is {got}, the proposal of the round has {expected}")]
    Digest {
        /// In the message.
        got: B256,
        /// Of the accepted proposal.
        expected: B256,
    },
    /// The commit seal is not the author's over this block and round.
    #[error("the commit seal is not the author's over the commit hash {0}")]
    Seal(B256),
    /// The block was judged invalid.
    #[error("the proposed block is invalid: {0}")]
    InvalidBlock(String),
    /// More invalid blocks in one round than are worth executing.
    #[error("the proposer used up its {max} blocks of the round", max = crate::bounds::CHECKS_PER_ROUND)]
    TooManyBlocks,
}
