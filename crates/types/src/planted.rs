//! Bugs on purpose: each makes one line of the code wrong, so that a test can show that the simulator finds it.
//!
//! A bug is planted in one thread by [`plant`], which exists only with debug assertions. In a release build [`is`] is
//! the constant `false` and nothing of this is left.

/// The places where a bug can be planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each is told in `catalogue`")]
pub enum Bug {
    QuorumOffByOne,
    DecideTooEarly,
    PreparedTooEarly,
    CertificateForgotten,
    PreparedBlockIgnored,
    CommitSealUnchecked,
    InvalidProposalAccepted,
    FutureUnbounded,
    VotesUnbounded,
    RoundChangesUnbounded,
    ConflictUnchecked,
    JournalAfterSend,
    CommitsNotJournalled,
    JournalForgottenAtStart,
    CertificateNotJournalled,
    TornTailKept,
    RelayWithoutAuthorCheck,
    HeldNotTold,
    DecidedForgotten,
    CommitErrorIgnored,
    SealsUncheckedAtImport,
    ParentUnchecked,
    TimestampUnchecked,
    GasLimitUnchecked,
    DifficultyUnchecked,
    ValidatorListUnchecked,
    CoinbaseUnchecked,
    TransactionsRootUnchecked,
    StateRootUnchecked,
    ReceiptsRootUnchecked,
    GasUsedUnchecked,
    EpochVotesKept,
    MajorityOffByOne,
    LeavesFirstRoundOnly,
    ClaimBelieved,
    PaceForgotten,
    GoneWaitedFor,
    VotingFieldsUnchecked,
    JustificationUnverified,
    DoubtIgnored,
    ReadForFree,
    ExecutionUnbounded,
    EarlyForgotten,
    ArrivalAlone,
    FloodToldOn,
    VotesHurryForEver,
    VotesWait,
    ExecutedInPlace,
    SenderUnchecked,
    RulesOfAnotherState,
}

#[cfg(debug_assertions)]
mod planting {
    use super::Bug;
    use std::cell::Cell;

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Plants a bug in this thread, or takes the planted one out.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.set(bug);
    }

    /// Whether this bug is planted in this thread.
    #[inline]
    pub fn is(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }

    impl Bug {
        /// Every bug: its name, where it is planted, and what is wrong then.
        pub fn catalogue() -> Vec<(Bug, &'static str, &'static str, &'static str)> {
            use Bug::*;
            vec![
                (QuorumOffByOne, "quorum-off-by-one", "types::ValidatorSet::quorum", "a quorum is one validator less"),
                (DecideTooEarly, "decide-too-early", "qbft::upon_commit", "a block is final with one Commit less than a quorum"),
                (
                    PreparedTooEarly,
                    "prepared-too-early",
                    "qbft::upon_prepare",
                    "a block is prepared with one Prepare less than a quorum",
                ),
                (
                    CertificateForgotten,
                    "certificate-forgotten",
                    "qbft::upon_timeout, engine::signing",
                    "a RoundChange does not carry what was prepared",
                ),
                (
                    PreparedBlockIgnored,
                    "prepared-block-ignored",
                    "qbft::upon_block_timer",
                    "the proposer of a later round builds a new block whatever was prepared",
                ),
                (CommitSealUnchecked, "commit-seal-unchecked", "qbft::upon_commit", "the seal inside a Commit is not verified"),
                (
                    InvalidProposalAccepted,
                    "invalid-proposal-accepted",
                    "qbft::upon_proposal",
                    "a proposal is prepared although its block was judged invalid",
                ),
                (FutureUnbounded, "future-unbounded", "qbft::future", "messages of later heights are kept without a bound"),
                (VotesUnbounded, "votes-unbounded", "qbft::votes", "votes for later rounds are kept without a bound"),
                (
                    RoundChangesUnbounded,
                    "round-changes-unbounded",
                    "qbft::round_changes",
                    "RoundChanges of one author are kept without a bound",
                ),
                (
                    ConflictUnchecked,
                    "conflict-unchecked",
                    "engine::signing",
                    "the gate signs although the journal has another message",
                ),
                (JournalAfterSend, "journal-after-send", "engine::signing", "the journal is written with the next message"),
                (CommitsNotJournalled, "commits-not-journalled", "engine::signing", "Commits are signed without a record"),
                (JournalForgottenAtStart, "journal-forgotten-at-start", "engine::journal", "records are not read at a start"),
                (
                    CertificateNotJournalled,
                    "certificate-not-journalled",
                    "engine::journal",
                    "the certificate is not written with its Commit",
                ),
                (
                    TornTailKept,
                    "torn-tail-kept",
                    "engine::journal",
                    "what a crash tore off stays in the journal and hides what follows",
                ),
                (RelayWithoutAuthorCheck, "relay-without-author-check", "engine::relay", "messages of anybody are passed on"),
                (HeldNotTold, "held-not-told", "engine::replica", "a new connection is not told what it has missed of the height"),
                (
                    DecidedForgotten,
                    "decided-forgotten",
                    "engine::blocks",
                    "a decided block that could not be written is not tried again",
                ),
                (
                    CommitErrorIgnored,
                    "commit-error-ignored",
                    "chain::import",
                    "a block counts as final although the store refused it",
                ),
                (SealsUncheckedAtImport, "seals-unchecked", "chain::rules", "seals of a block are not checked"),
                (ParentUnchecked, "parent-unchecked", "chain::rules", "the parent's hash is not compared"),
                (TimestampUnchecked, "timestamp-unchecked", "chain::rules", "a block may come before its time"),
                (GasLimitUnchecked, "gas-limit-unchecked", "chain::rules", "the gas limit may move by any amount"),
                (DifficultyUnchecked, "difficulty-unchecked", "chain::rules", "any difficulty is taken"),
                (
                    ValidatorListUnchecked,
                    "validator-list-unchecked",
                    "chain::rules",
                    "the validators in the extra data are not compared",
                ),
                (
                    CoinbaseUnchecked,
                    "coinbase-unchecked",
                    "qbft::justify",
                    "the coinbase of a new block is not compared with its proposer",
                ),
                (
                    TransactionsRootUnchecked,
                    "transactions-root-unchecked",
                    "chain::rules",
                    "the transactions' root is not compared",
                ),
                (StateRootUnchecked, "state-root-unchecked", "chain::import", "the state's root is not compared"),
                (ReceiptsRootUnchecked, "receipts-root-unchecked", "chain::import", "the receipts' root is not compared"),
                (GasUsedUnchecked, "gas-used-unchecked", "chain::import", "the gas used is not compared"),
                (EpochVotesKept, "epoch-votes-kept", "chain::validators", "an epoch block does not forget the votes before it"),
                (
                    MajorityOffByOne,
                    "majority-off-by-one",
                    "chain::validators",
                    "half of the validators are enough to change the set",
                ),
                (
                    LeavesFirstRoundOnly,
                    "leaves-first-round-only",
                    "qbft::upon_timeout",
                    "rounds above 0 are never left on a timeout",
                ),
                (ClaimBelieved, "claim-believed", "engine::sync", "a claimed height counts as proven"),
                (PaceForgotten, "pace-forgotten", "qbft::clock", "rounds that failed teach no patience"),
                (
                    GoneWaitedFor,
                    "gone-waited-for",
                    "qbft::heard",
                    "a proposer of whom nothing is heard gets its full patience for ever",
                ),
                (
                    VotingFieldsUnchecked,
                    "voting-fields-unchecked",
                    "chain::fields",
                    "a validator votes for whatever it would import",
                ),
                (
                    JustificationUnverified,
                    "justification-unverified",
                    "engine::relay",
                    "what justifies a message is not verified before it goes on",
                ),
                (DoubtIgnored, "doubt-ignored", "engine::signing", "a validator signs although its journal may lack something"),
                (ReadForFree, "read-for-free", "engine::accounts", "bytes that are read and of no use cost nobody anything"),
                (
                    ExecutionUnbounded,
                    "execution-unbounded",
                    "engine::job",
                    "building and judging a block take as long as its transactions take",
                ),
                (EarlyForgotten, "early-forgotten", "engine::relay", "what cannot be judged yet is lost"),
                (ArrivalAlone, "arrival-alone", "engine::pool", "transactions are chosen and told by arrival alone"),
                (FloodToldOn, "flood-told-on", "engine::pool::tell", "peers are told of everything at once"),
                (
                    VotesHurryForEver,
                    "votes-hurry-for-ever",
                    "engine::wishes",
                    "a vote ends the wait of an empty-block period as often as it is of use",
                ),
                (VotesWait, "votes-wait", "engine::wishes", "a vote waits for the empty-block period"),
                (
                    SenderUnchecked,
                    "sender-unchecked",
                    "chain::permission",
                    "the rules on chain are not asked whether a sender is permitted",
                ),
                (
                    RulesOfAnotherState,
                    "rules-of-another-state",
                    "chain::permission",
                    "the rules on chain are asked on the state before the parent's",
                ),
                (
                    ExecutedInPlace,
                    "executed-in-place",
                    "engine::works",
                    "the replica executes blocks itself, and hears nothing meanwhile",
                ),
            ]
        }
    }
}

#[cfg(debug_assertions)]
pub use planting::{is, plant};

/// Never, in a release build.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub const fn is(_: Bug) -> bool {
    false
}
