//! The consensus core: QBFT as a function of state, time and event.
//!
//! One verb, [`step`]: it takes what happened ([`Event`]) and when ([`Now`]), and answers with what is to be done
//! ([`Effect`]). No input or output, no clock, no keys, no EVM; the host builds and checks blocks, signs behind its gate,
//! keeps the timers and moves the bytes. So a network of cores runs in one thread from one seed (`tests/network`).
//!
//! # The protocol on one page
//!
//! At every height N = head + 1 the n validators of N decide one block, in rounds 0, 1, … With f = ⌊(n−1)/3⌋ of them
//! faulty in any way, a quorum is ⌈2n/3⌉; two quorums share an honest validator.
//!
//! ```text
//! block timer ──► round 0 ──► the proposer builds ──► Proposal
//!                                                       │ valid?
//!                                                       ▼
//!                              everybody:            Prepare
//!                                                       │ a quorum: prepared, certificate kept for good
//!                                                       ▼
//!                                                     Commit with a seal over the commit hash
//!                                                       │ a quorum
//!                                                       ▼
//!                                                     Decide: the block with its seals is final
//!
//! patience over ──► round r+1 ──► RoundChange(r+1, what I was prepared on)
//!                                      │ a quorum for r+1
//!                                      ▼
//!              the proposer of r+1: the block of the latest certificate among them, or a new one ──► Proposal
//!                                   justified by the quorum of RoundChanges and the certificate's Prepares
//! ```
//!
//! Who is prepared says so in every later RoundChange; a proposer must take the latest of a quorum's certificates; so a
//! block to which a quorum may have committed is the only one that can be proposed after it. That is the whole of
//! safety, and why a certificate is durable before its Commit is sent ([`Draft::certificate`]).
//!
//! | Transition of the formal specification | Here |
//! |---|---|
//! | `UponNewBlock` | `upon_new_block.rs`: the head advanced, also what a restart remembers |
//! | `UponBlockTimeout` | `upon_block_timer.rs`: round 0, building, the empty-block wait, proposing again |
//! | `UponProposal` | `upon_proposal.rs` |
//! | `UponPrepare` | `upon_prepare.rs` |
//! | `UponCommit` | `upon_commit.rs` |
//! | `UponRoundTimeout` | `upon_timeout.rs`: also how a round is entered, and sending again |
//! | `UponRoundChange` | `upon_round_change.rs` |
//! | predicates | [`justify`] |
//! | thresholds, turns | `ipe_types::ValidatorSet` |
//! | times | `clock.rs` |
//!
//! # Patience, and the way back after a lost quorum
//!
//! With T the request timeout, f the faulty validators that a set bears, and P the patience
//! (docs/adr/0002-recovery-after-lost-quorum.md and docs/adr/0007-liveness-under-any-delay.md argue and measure):
//!
//! 1. P = T · 2^(passed − f), at least T, where `passed` is how many rounds of this height we went above, for whatever
//!    reason; it is never forgotten while the height lasts. (With f > 3 it doubles three times in f rounds. A leap over more
//!    than sixteen rounds is the way back of a node that was away, and counts as one.)
//! 2. A round that can have a proposal (round 0, or a quorum asked for it) is borne for P; for up to 2P while something new
//!    is said in it or a block is being built or checked. Round 0 has T, as with Besu. Once the proposed block was found
//!    invalid, T/4 is left for a valid one.
//! 3. A round above 0 without its quorum of RoundChanges is not left while less than a quorum is known to be at it or
//!    above: we wait, and say again every T/4 (0.5 to 2.5 s) where we are. So rounds do not grow while a quorum is
//!    missing.
//! 4. f+1 others at a round or above it pull us there, up to round 1000. Above 1000 there is only one round after the
//!    other, so that no liar takes us to a last round.
//! 5. If a quorum is at our round or above but not all at it, we go up by one after P/4.
//! 6. A round whose proposer asked for a later one is left at once.
//! 7. Round 0 of a block that is overdue by T has T/4; what our clock is always ahead is taken off.
//! 8. A proposer that must not propose, because it did before a restart, leaves its round at once.
//! 9. An open round above 0 whose proposer has not said a word at this height has half the patience, and the rest when it
//!    does.
//! 10. A proposer of whom nothing at all was heard in its last two turns, and since, is taken for gone: its rounds have
//!     T/16, and all their patience when it says anything. Of every sixteen of its turns one has all its patience anyway.
//!
//! Among our own nodes every quorum that is connected decides within T/2 and T/2 for each proposer in a row that is
//! missing, whatever rounds they were in: within 2T in every network of up to twelve validators. Whatever the delay of
//! messages and the time that building and checking take, a block is decided within a bounded multiple of them. Beside Besu
//! peers, who never send twice, never leap on f+1 and double their timeouts alone, a validator of ours behaves like one
//! that asked for a later round early: nothing it says is new to them, and P is never above their T · 2^round. They come
//! back in their own time, but our rounds are low, so that this is soon.
//!
//! # Deviations
//!
//! From the formal specification (`dafny`) and from Besu, each with its reason. `tests/oracle` runs a literal model of the
//! specification beside the core, and docs/spec/qbft-transitions.md names what shows each deviation:
//!
//! | Topic | Formal specification | Besu | Here | Why |
//! |---|---|---|---|---|
//! | round timeout | 2^r | T·2^r from the start of the round | rules 1 to 3, 5 to 7, 9 and 10 above | a returning quorum must not wait for what rounds had grown to, nor anybody for who is gone |
//! | leap on f+1 | to the lowest round above ours of f+1 messages | off since 26.4 | to the highest round that f+1 others have reached, up to 1000 | with just f+1 the same; with more it spares rounds that their authors have left; nobody is taken to a last round |
//! | a RoundChange for f+1 | any | valid | proves what it claims | who lies about a certificate is no witness |
//! | a proposal of a later round | only when one was accepted in ours | taken | taken | the paper takes it |
//! | round of a justified proposal with an invalid block | not entered | entered | entered | a quorum has shown that it is reached |
//! | Prepares of a justification | received as Prepares | from the RoundChanges | from the RoundChanges | they prove it alone |
//! | two words of one author | both count | the first | the first; of a block that turns out invalid the proposer's next, with the votes that came for it | bounded state |
//! | justification | counts authors, looks at nothing superfluous | refuses two of one author and the superfluous | as Besu | one form |
//! | seals of a decided block | a quorum | all that came | all that came | more evidence |
//! | own messages again | no | no | every T/4 in rounds above 0, byte for byte | a peer that was away learns the round; receivers drop repetitions |
//! | own Commit | after a quorum of Prepares | counted locally on acceptance, sent after | after | nothing unsent counts |
//! | Commit before own verdict | n/a | validation is synchronous | votes are kept, nothing is decided until the block is found valid | the host executes it anyway before it can import |
//! | prepared block in a RoundChange | valid | fully validated | certificate checked, block executed when proposed | a quorum vouched for it, execution is dear |
//! | digest | injective function of the block | with the round that the block carries (≥ 24.12), 0 before; GoQuorum 0 | both forms taken, that of the proposal's author emitted; own proposals carry the round, or 0 in the dialect of GoQuorum | bridges clients; both name one block |
//! | one prepared round, two digests | refused | refused at every prepared round | checked at the latest prepared round, against the proposed block | the others decide nothing |
//! | invalid proposal | ignored | ignored | up to three per round are judged | a clock ahead makes a block valid a moment later; executing is dear |
//! | form of a proposed or prepared block | none | none | no seals, and the round of the message or 0; no block access list | nobody signs that part of a RoundChange, and honest clients write nothing else |
//! | body of a prepared block | part of the block | validated | compared with the roots in the header | the digest covers the header only |
//! | round ceiling | none | 1000 since 26.8 | a million, out of reach: above 1000 only one round after the other | at a last round the proposer is the same for ever; what is kept of an author is bounded whatever rounds it names |
//! | future rounds | unbounded | unbounded per round | bounded per author, [`bounds`] | bounded state |
//! | future heights | all | 1000 messages, 64 MB, ten heights | the same with 128 MB as they are in memory, and a share for each author; current validators only, and what they justify, whole and verified | one author cannot crowd out others, nor a spoiled copy the sound one; what the next set cannot verify its author says again |
//! | timestamp | after the parent | rounded half up in round 0, down above | as Besu, never below parent + period | a clock behind must not make an invalid block |
//! | sub-second period | n/a | now + period at every new head | counted from the start of the former round 0 | keeps the pace whatever a decision takes |
//! | empty period | n/a | idle reset of proposer, and since #11031 of others | both | no round changes while nothing is to be done |
//! | end of empty period | n/a | now > end | now ≥ end | the timer fires at the end itself |
//! | validation of own block | as any | as any | a block that we built or judged at this height is not executed again | cost |
//! | restart | state is durable | forgets | goes on at the highest round in which it signed, with its certificate ([`Event::Restored`]); what others said is forgotten; asks for its round again if it had not asked and was not prepared in it | a validator never contradicts itself; those who fell together meet again |
//!
//! # What the host owes the core
//!
//! - Effects are carried out in order.
//! - [`Timer`]s: one per [`Timer::slot`], setting replaces. Firing early is harmless.
//! - [`Effect::Sign`]: durable, then signed, then sent and given back as [`Event::Received`]; or [`Event::SignRefused`]. At once
//!   where the key is here; a signer elsewhere may answer when other things have happened. A Prepare or Commit that is not back is
//!   asked for again with each resending; the same draft may be given any number of times.
//! - [`Effect::Resend`] goes out whatever was sent before. A relay passes a message on once, so it tells what it holds of
//!   the height to whoever connects; a validator tells [`State::own_messages`].
//! - Nothing is given while the node synchronises; the head then comes once.

pub mod bounds;
pub mod certificate;
mod clock;
pub mod draft;
pub mod event;
mod future;
mod heard;
mod height;
#[cfg(test)]
mod hostile;
pub mod justify;
pub mod rejection;
mod round_changes;
pub mod state;
mod upon_block_timer;
mod upon_commit;
mod upon_new_block;
mod upon_prepare;
mod upon_proposal;
mod upon_round_change;
mod upon_timeout;
mod votes;

pub use certificate::PreparedCertificate;
pub use draft::{Draft, Signatures};
pub use event::{Effect, Event, HeadInfo, Millis, Now, Restored, Timer};
pub use rejection::{Reason, Rejection};
pub use state::{CoreHoldings, Settings, State, step};
