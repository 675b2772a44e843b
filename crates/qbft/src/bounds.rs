//! Bounds of everything that a peer can make grow, each with its reason.

/// Highest round of any message. Nobody gets there by one failed round after the other; what is kept of an author is
/// bounded whatever rounds it names. Besu takes an `int`, and from 26.8 no RoundChange above [`LEAP_ROUND`].
pub const MAX_ROUND: u32 = 1_000_000;

/// Highest round to which others can pull us: Besu's limit since 26.8 (GHSA-23rh-rrqg-wq82). Above it there is only one
/// round after the other, so that whose turn it is still changes, whatever more than f liars once did.
pub const LEAP_ROUND: u32 = 1000;

/// How many heights above the one in hand are held: Besu's `futuremessagesmaxdistance`. A node further behind catches
/// up by sync, where these messages would not help.
pub const FUTURE_DISTANCE: u64 = 10;

/// Messages of one author held for one later height: one of each kind for four rounds. A node that is one block behind
/// misses at most a round or two of the next height before it arrives there.
pub const FUTURE_PER_AUTHOR: usize = 16;

/// Bytes of one author's messages held for one later height: one proposal of the largest size, whose block is held as bytes and
/// decoded, where a small transaction takes three times as much.
pub const FUTURE_BYTES_PER_AUTHOR: usize = 4 * ipe_types::message::MAX_MESSAGE_BYTES;

/// Messages of later heights held in all: Besu's `futuremessageslimit`.
pub const FUTURE_MESSAGES: usize = 1000;

/// Bytes of messages of later heights held in all: three proposals of the largest size and all else. Besu has 64 MB, of
/// what was sent; here what was read counts, too.
pub const FUTURE_BYTES: usize = 128 * 1024 * 1024;

/// Rounds for which RoundChanges of one author are kept, the highest: an author that sent three higher ones has left
/// the lower for good.
pub const ROUND_CHANGES_PER_AUTHOR: usize = 3;

/// Bytes of one author's RoundChanges: two prepared certificates of the largest size. At a full set of 512 this is no
/// bound worth the name, but every author here is a validator that signed what it sent.
pub const ROUND_CHANGE_BYTES_PER_AUTHOR: usize = 2 * ipe_types::message::MAX_MESSAGE_BYTES;

/// Later rounds for which Prepares and Commits of one author are held until the round starts.
pub const EARLY_ROUNDS_PER_AUTHOR: usize = 4;

/// Blocks of one proposer that are executed in one round: an invalid one may be followed by a valid one (a clock ahead
/// makes a block valid a moment later), but executing is dear.
pub const CHECKS_PER_ROUND: u32 = 3;
