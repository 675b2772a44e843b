//! What can happen to the core, and what it wishes for. Two closed lists: nothing else crosses the boundary.

use std::sync::Arc;

use alloy_primitives::{Address, B256};
use ipe_types::{Block, Kind, Message, ValidatorSet};

use crate::certificate::PreparedCertificate;
use crate::draft::Draft;
use crate::rejection::Rejection;

/// Milliseconds, of one of the clocks of [`Now`].
pub type Millis = u64;

/// When something happens, by the two clocks of a node.
///
/// Timestamps of blocks, and when a block is due after its parent, are matters of the wall clock. Patience is not: a wall
/// clock that somebody sets back would hold a round for as long as it was set back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Never goes back, and starts anywhere.
    pub steady: Millis,
    /// Unix time.
    pub wall: Millis,
}

impl From<Millis> for Now {
    /// A wall clock that nobody sets: it serves as both.
    fn from(now: Millis) -> Self {
        Self { steady: now, wall: now }
    }
}

/// The head of the chain, with what holds for the block after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadInfo {
    /// Number of the head.
    pub number: u64,
    /// Its block hash.
    pub hash: B256,
    /// Its timestamp in unix seconds.
    pub timestamp_s: u64,
    /// Its coinbase: the seed of the proposer's turn.
    pub coinbase: Address,
    /// Who validates block `number + 1`.
    pub validators: ValidatorSet,
    /// Distance to the next block in milliseconds: the greater of the periods now and after (spec/qbft.md 8.2). Whole
    /// seconds are counted from the head's timestamp, anything else is a sub-second period, counted from
    /// the start of the former round 0.
    pub period_ms: u64,
    /// How long an empty block is held back, counted from the head's timestamp; 0 when the feature is off.
    pub empty_period_ms: u64,
    /// Base of the round timer in milliseconds.
    pub request_timeout_ms: u64,
}

/// What the journal of the signing gate knows about the height in hand, read once at start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Height that the records are about; records of other heights have no meaning any more.
    pub height: u64,
    /// Highest round in which anything was signed at `height`.
    pub round: u32,
    /// Latest prepared certificate at `height`.
    pub certificate: Option<Arc<PreparedCertificate>>,
    /// Own messages signed at `height`, as far as the journal keeps them: they are sent again byte for byte.
    pub messages: Vec<Arc<Message>>,
}

/// Everything that can happen to the core.
#[derive(Clone, Debug)]
pub enum Event {
    /// A block was imported (own decision, gossip or sync), or the node starts at this head. The host gives it only
    /// while it is not synchronising: an event for every block of a long sync would start a round for each.
    HeadAdvanced(HeadInfo),
    /// A decoded message of a peer, or an own one right after it was signed.
    Received(Arc<Message>),
    /// The timer that [`Effect::SetTimer`] asked for.
    TimerFired(Timer),
    /// Answer to [`Effect::BuildBlock`].
    BlockBuilt {
        /// As asked.
        height: u64,
        /// As asked.
        round: u32,
        /// Round in the extra data, no seals.
        block: Arc<Block>,
        /// True when nothing in it is worth ending the wait of an empty-block period: no transaction, and no vote that the host
        /// lets end it.
        empty: bool,
    },
    /// Answer to [`Effect::CheckBlock`].
    BlockChecked {
        /// As asked.
        height: u64,
        /// As asked.
        round: u32,
        /// Block hash, as asked.
        hash: B256,
        /// Valid, or why not.
        verdict: Result<(), String>,
    },
    /// Answer to [`Effect::AskTransactions`].
    TransactionsAnswered {
        /// As asked.
        height: u64,
        /// True when a block built now would carry a transaction.
        waiting: bool,
    },
    /// The pool holds an executable transaction again: ends the wait of an empty-block period at once.
    TransactionsWaiting,
    /// Records of the journal; given before or right after the first [`Event::HeadAdvanced`].
    Restored(Restored),
    /// The gate did not sign: the journal holds another message for (height, round, kind). When it still has the
    /// bytes of that message the host gives them as [`Event::Received`] instead.
    SignRefused {
        /// Height of the draft.
        height: u64,
        /// Round of the draft.
        round: u32,
        /// Kind of the draft.
        kind: Kind,
    },
}

/// Timers of the core. There is one of each variant: setting one replaces the former of its [`Timer::slot`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Timer {
    /// Time to start round 0.
    Block {
        /// Height to be started.
        height: u64,
    },
    /// Patience with a round is over.
    Round {
        /// Height.
        height: u64,
        /// Round.
        round: u32,
    },
    /// Time to send our latest messages of the height once more.
    Resend {
        /// Height.
        height: u64,
    },
}

impl Timer {
    /// How many timers can run at once.
    pub const SLOTS: usize = 3;

    /// 0 to [`Timer::SLOTS`] − 1: which of the host's timers it is.
    pub fn slot(self) -> usize {
        match self {
            Self::Block { .. } => 0,
            Self::Round { .. } => 1,
            Self::Resend { .. } => 2,
        }
    }
}

/// Everything the core can wish for. The host carries effects out in the order given.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Journal it, sign it, send it to every validator and give it back as [`Event::Received`]; or
    /// [`Event::SignRefused`].
    Sign(Draft),
    /// Send these own messages once more to every validator, past any memory of what was already sent.
    Resend(Vec<Arc<Message>>),
    /// Build a block on the head. No answer is a legal answer: the round then times out.
    BuildBlock {
        /// Number of the block.
        height: u64,
        /// Round to put into its extra data.
        round: u32,
        /// Timestamp in unix seconds (spec/qbft.md 4.3).
        timestamp_s: u64,
    },
    /// Ask whether a block built now would carry a transaction.
    AskTransactions {
        /// Height in hand.
        height: u64,
    },
    /// Judge a proposed block in light mode: header rules without seals, and execution.
    CheckBlock {
        /// Its number.
        height: u64,
        /// Round of the proposal.
        round: u32,
        /// As proposed, no seals.
        block: Arc<Block>,
        /// Its block hash, to be repeated in the answer.
        hash: B256,
        /// A quorum had prepared it in an earlier round: every other round is about it, too, until it is decided.
        prepared: bool,
    },
    /// Fire `timer` at `at`; at once when that is past.
    SetTimer {
        /// Which.
        timer: Timer,
        /// When, by the steady clock.
        at: Millis,
    },
    /// Forget the timer of this slot.
    CancelTimer(Timer),
    /// Final: import it and announce it. Comes at most once per height.
    Decide {
        /// Round and seals inside.
        block: Arc<Block>,
        /// Block hash.
        hash: B256,
        /// Round in which it was sealed.
        round: u32,
    },
    /// A peer's message was refused.
    Report(Rejection),
    /// A round begins; for metrics and the log.
    RoundStarted {
        /// Height.
        height: u64,
        /// Round.
        round: u32,
        /// Whose turn it is.
        proposer: Address,
    },
}
