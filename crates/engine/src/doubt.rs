//! Why a validator abstains: its journal may not hold everything that its key has signed.
//!
//! A key signs only for the height after the head that its node has. So whatever it signed in an earlier life of which the
//! journal knows nothing is for heights up to the first one that the network had not decided when this life began. Once
//! such a height is decided by the others, nothing that the key could have signed before matters any more, and the
//! validator signs again, from the next height on. `abstain.rs` waits for that.

use std::fmt;

/// What makes the journal doubtful.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// There was no journal: a first start with a key that was made elsewhere, or the journal was lost.
    Absent,
    /// Acknowledged records cannot be read any more.
    Damaged,
    /// The journal lacks messages that were signed with its key before this start: it is an older copy or was cut.
    Older,
    /// The journal is whole, but the chain went on without it: the node was away, or the whole folder is an older copy.
    Behind,
    /// Another process signs with the same key now.
    Twin,
}

impl Cause {
    /// Every cause.
    pub const ALL: [Cause; 5] = [Cause::Absent, Cause::Damaged, Cause::Older, Cause::Behind, Cause::Twin];

    /// Short name for metrics and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Cause::Absent => "journal_absent",
            Cause::Damaged => "journal_damaged",
            Cause::Older => "journal_older",
            Cause::Behind => "was_away",
            Cause::Twin => "key_used_elsewhere",
        }
    }

    /// Byte in the journal.
    pub(crate) fn code(self) -> u8 {
        match self {
            Cause::Absent => 1,
            Cause::Damaged => 2,
            Cause::Older => 3,
            Cause::Behind => 4,
            Cause::Twin => 5,
        }
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.code() == code)
    }
}

/// A reason to abstain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// What happened.
    pub cause: Cause,
    /// Highest height for which the key is known to have signed something that the journal may lack; 0 when none is known.
    pub through: u64,
}

impl Doubt {
    /// Nothing known but the cause.
    pub fn new(cause: Cause) -> Self {
        Self { cause, through: 0 }
    }

    /// Whether the wait for a decided height is bounded in time on a chain whose newest block is `head`: then there is no
    /// sign that anything is missing. A validator that was away has every record. Where no block was ever made an absent
    /// journal is that of a first start; and a validator that is `alone`, the only one of its chain, can have contradicted
    /// nobody: whatever it signed is a block that it or those whom it has caught up with have.
    pub fn is_bounded(&self, head: u64, alone: bool) -> bool {
        match self.cause {
            Cause::Behind => true,
            Cause::Absent => (head == 0 || alone) && self.through == 0,
            Cause::Damaged | Cause::Older | Cause::Twin => false,
        }
    }

    /// Whether a height that the others decide can end it; else only an operator can.
    pub fn ends_by_itself(&self) -> bool {
        self.cause != Cause::Twin
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.cause {
            Cause::Absent if self.through == 0 => {
                "there was no signing journal, so the key may have signed what nobody here knows of"
            }
            Cause::Absent => "the signing journal is gone",
            Cause::Damaged => "the signing journal is damaged and has lost records",
            Cause::Older => "the signing journal lacks messages that its key has signed: it is an older copy, or was cut",
            Cause::Behind => "the chain went on while this validator was away",
            Cause::Twin => "another process signs with this validator's key",
        };
        out.write_str(what)?;
        if self.through > 0 {
            write!(out, " (the key has signed for height {})", self.through)?;
        }
        Ok(())
    }
}
