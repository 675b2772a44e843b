//! What a rules contract said, and the many ways in which it did not say anything.

use std::fmt;

use alloy_primitives::Bytes;

/// What executing the call came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There is no account at the contract's address.
    NoAccount,
    /// It ended and returned this.
    Returned(Bytes),
    /// It did not end well.
    Failed(Fault),
}

/// Why there is no answer. Besu throws an exception for each; nobody is permitted then.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// No account at the contract's address (of node rules; for those of accounts that means "everybody").
    NoAccount,
    /// The contract reverted.
    Reverted,
    /// It used up its gas: it loops, or does more than a question may cost.
    OutOfGas,
    /// The EVM stopped it.
    Halted {
        /// In the EVM's words.
        reason: String,
    },
    /// The call could not begin: what it sends costs more than it gets.
    CannotBegin {
        /// In the EVM's words.
        reason: String,
    },
    /// It returned something that is no answer; nothing at all when there is no code.
    Answer {
        /// Bytes returned.
        bytes: usize,
    },
    /// It took more than this node gives to a question that does not decide about a block: nobody's verdict but this node's.
    TooDear {
        /// What it had taken.
        reason: String,
    },
}

impl Fault {
    /// Names of all kinds, for metrics.
    pub const LABELS: [&'static str; 7] =
        ["no_account", "reverted", "out_of_gas", "halted", "cannot_begin", "malformed_answer", "too_dear"];

    /// Stable name of the kind.
    pub fn label(&self) -> &'static str {
        Self::LABELS[self.number()]
    }

    /// Place of the kind in [`Self::LABELS`].
    pub fn number(&self) -> usize {
        match self {
            Fault::NoAccount => 0,
            Fault::Reverted => 1,
            Fault::OutOfGas => 2,
            Fault::Halted { .. } => 3,
            Fault::CannotBegin { .. } => 4,
            Fault::Answer { .. } => 5,
            Fault::TooDear { .. } => 6,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::NoAccount => f.write_str("there is no contract at its address"),
            Fault::Reverted => f.write_str("the contract reverted"),
            Fault::OutOfGas => f.write_str("the contract used up the gas of a question: it loops or does too much"),
            Fault::Halted { reason } => write!(f, "the contract was stopped by the EVM ({reason})"),
            Fault::CannotBegin { reason } => write!(f, "the contract could not be called ({reason})"),
            Fault::Answer { bytes: 0 } => f.write_str("the contract answered nothing; is there code at its address?"),
            Fault::Answer { bytes } => write!(f, "the contract answered with {bytes} bytes that mean neither yes nor no"),
            Fault::TooDear { reason } => write!(f, "the contract takes more than this node gives to a question ({reason})"),
        }
    }
}

/// The verdict on one question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Yes.
    Allowed,
    /// Yes, because there is no contract: Besu lets everybody send then.
    Unruled,
    /// No.
    Denied,
    /// The contract gave no answer, which permits nobody.
    Broken(Fault),
}

impl Verdict {
    /// Whether it is a yes.
    pub fn allows(&self) -> bool {
        matches!(self, Verdict::Allowed | Verdict::Unruled)
    }

    /// Why it is a no, in words; `None` for a yes.
    pub fn refusal(&self) -> Option<String> {
        match self {
            Verdict::Allowed | Verdict::Unruled => None,
            Verdict::Denied => Some("the rules on chain do not permit it".to_owned()),
            Verdict::Broken(fault) => Some(format!("the rules on chain give no answer: {fault}")),
        }
    }
}
