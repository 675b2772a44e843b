//! Who pays for consensus messages: budgets of work, by the node that brought a message and by the validator that signed it.
//!
//! Work is counted in microseconds, estimated from what has to be done: a signature recovery, hashing and decoding by the
//! byte. A message that is sound and new is paid for by its author, whoever brought it. All else is paid for by the node
//! that brought it: copies whose unsigned part was spoiled, forgeries, repetitions, and what comes too late. So nobody can
//! spend the budget of another by copying what it signed.
//!
//! | budget | paid from it | when it is spent |
//! |---|---|---|
//! | `faults` of a node | what an honest node never sends, by the piece | it is cut, and stays out for a while |
//! | `read` of a node | every byte that it brings, whoever pays for the rest | it is cut, and stays out for a while |
//! | `waste` of a node | the work for all that its author does not pay | it is cut; a validator that also passes on spoiled copies, as Besu does, is heard with its own words only |
//! | `excess` of a node | what authors signed beyond their own budgets | as `waste` |
//! | `work`, `bytes` of an author | sound messages; a first proposal in the author's own turn is free | the message is dropped, and new when it comes again |
//!
//! `excess` holds what f lying validators may have passed through an honest node, each within the budget that the node
//! keeps for it, so that an honest node is not cut for them.
//!
//! `n` is the number of validators, by which budgets are sized when they are opened.
//!
//! Nodes with which no consensus is shared (strangers, writers, observers) have one `waste` and one `excess` in common:
//! their number buys nothing.

use ipe_types::{Address, NodeId, extra::MAX_VALIDATORS, message::MAX_MESSAGE_BYTES};

use crate::recent::{BoundedMap, Budget};

/// Recovering the author of a signature, and what else every message costs, µs.
pub const RECOVER_US: u64 = 60;
/// Bytes hashed, decoded and held in 1 µs: some 5 ns each.
const BYTES_A_US: usize = 200;
/// Bytes only decompressed and looked at from outside in 1 µs.
const SEEN_BYTES_A_US: usize = 2_000;

/// What a node may cost us in faults before it is cut.
const FAULTS: u64 = 256;
/// Faults a node regains each second: an honest peer that is a little out of step is never cut, nor a validator that
/// says its four latest messages again twice a second while a quorum is missing.
const FAULTS_A_SECOND: u64 = 16;
/// Reading what a node brings, in a burst, µs: 200 MB, which is more than an honest node keeps for who reconnects.
const READ_US: u64 = 100_000;
/// The same each second: 100 MB/s are ten of the largest messages, and whoever reads them has time left for the others.
const READ_US_A_SECOND: u64 = 50_000;
/// Work a node may waste in a burst, µs: it delays nothing that a block period would notice.
const WASTE_US: u64 = 100_000;
/// The same each second: a validator that says a proposal and a prepared block of 10 MiB each again twice a second is not cut.
const WASTE_US_A_SECOND: u64 = 25_000;
/// What is looked at, for being its own word, of a validator of another implementation whose budget is spent, in units of
/// [`OWN_BYTES`]: in a burst, and each second.
const OWN: u64 = 400;
const OWN_A_SECOND: u64 = 100;
const OWN_BYTES: usize = 16 * 1024;
/// Work for the messages of one author in a burst, µs: two of the largest size.
const AUTHOR_US: u64 = 120_000;
/// The same each second, for small messages: 100 ms blocks need 2,400 in a network of any size.
const SMALL_US_A_SECOND: u64 = 4_000;
/// The same each second of all authors together, for large ones.
const LARGE_US_A_SECOND: u64 = 80_000;
/// Bytes of one author's messages in a burst, proposals in its own turn apart: two prepared blocks of the largest size, or
/// proposals of heights of which nobody knows yet whose turn it is.
const AUTHOR_BYTES: u64 = 2 * MAX_MESSAGE_BYTES as u64;
/// The same each second of all authors together: what a chain of full blocks each second needs on a node that is a block
/// behind.
const ALL_BYTES_A_SECOND: u64 = 16 * 1024 * 1024;
/// Nodes whose spent budgets are remembered across reconnections.
const REMEMBERED_NODES: usize = 1_024;

/// Work for a message that is read through, with so many justifying signatures, µs.
pub fn reading_us(bytes: usize, justifications: usize) -> u64 {
    RECOVER_US * (1 + justifications as u64) + (bytes / BYTES_A_US) as u64
}

/// Work for a message that is dropped after a look from outside, µs.
pub fn glance_us(bytes: usize) -> u64 {
    2 + (bytes / SEEN_BYTES_A_US) as u64
}

fn author_us_a_second(n: usize) -> u64 {
    SMALL_US_A_SECOND + LARGE_US_A_SECOND / n.max(1) as u64
}

#[derive(Debug)]
struct Node {
    waste: Budget,
    excess: Budget,
    own: Budget,
}

#[derive(Debug)]
struct Author {
    work: Budget,
    bytes: Budget,
    /// Latest (height, round) in which a proposal of its own turn was taken without a price.
    proposed: (u64, u32),
}

/// The node that brought a message.
#[derive(Clone, Copy, Debug)]
pub struct Bringer {
    /// Its key.
    pub node: NodeId,
    /// Whether consensus is shared with it.
    pub shares: bool,
}

/// All budgets, by node and not by connection, so that reconnecting restores nothing.
#[derive(Debug)]
pub struct Accounts {
    faults: BoundedMap<NodeId, Budget>,
    read: BoundedMap<NodeId, Budget>,
    /// Of those with which consensus is shared: a stranger cannot have one of them forgotten.
    nodes: BoundedMap<NodeId, Node>,
    strangers: Option<Node>,
    authors: BoundedMap<Address, Author>,
}

impl Default for Accounts {
    fn default() -> Self {
        Self {
            faults: BoundedMap::new(REMEMBERED_NODES),
            read: BoundedMap::new(REMEMBERED_NODES),
            nodes: BoundedMap::new(REMEMBERED_NODES),
            strangers: None,
            authors: BoundedMap::new(MAX_VALIDATORS),
        }
    }
}

impl Node {
    fn new(now_ms: u64, n: usize) -> Self {
        let liars = (n.saturating_sub(1) / 3).max(1) as u64;
        Self {
            waste: Budget::new(now_ms, WASTE_US, WASTE_US_A_SECOND),
            excess: Budget::new(now_ms, liars * AUTHOR_US, liars * author_us_a_second(n)),
            own: Budget::new(now_ms, OWN, OWN_A_SECOND),
        }
    }
}

impl Accounts {
    fn node(&mut self, now_ms: u64, bringer: Bringer, n: usize) -> &mut Node {
        match bringer.shares {
            true => self.nodes.entry(bringer.node, || Node::new(now_ms, n)),
            false => self.strangers.get_or_insert_with(|| Node::new(now_ms, n)),
        }
    }

    fn author(&mut self, now_ms: u64, author: Address, n: usize) -> &mut Author {
        self.authors.entry(author, || Author {
            work: Budget::new(now_ms, AUTHOR_US, author_us_a_second(n)),
            bytes: Budget::new(now_ms, AUTHOR_BYTES, ALL_BYTES_A_SECOND / n.max(1) as u64),
            proposed: (0, 0),
        })
    }

    /// Whether this node may connect: not while its budgets are spent.
    pub fn welcomes(&mut self, now_ms: u64, node: &NodeId) -> bool {
        self.faults.get_mut(node).is_none_or(|faults| faults.has(now_ms, FAULTS / 4))
            && self.read.get_mut(node).is_none_or(|read| read.has(now_ms, READ_US / 4))
            && self.nodes.get_mut(node).is_none_or(|node| node.waste.has(now_ms, WASTE_US / 4))
    }

    /// Charges faults; `false` when that was the last.
    pub fn fault(&mut self, now_ms: u64, node: NodeId, faults: u64) -> bool {
        let budget = self.faults.entry(node, || Budget::new(now_ms, FAULTS, FAULTS_A_SECOND));
        budget.drain(now_ms, faults)
    }

    /// Charges a node for bytes that were read, whatever they turn out to be; `false` when that was the last.
    pub fn read(&mut self, now_ms: u64, node: NodeId, bytes: usize) -> bool {
        let budget = self.read.entry(node, || Budget::new(now_ms, READ_US, READ_US_A_SECOND));
        budget.drain(now_ms, glance_us(bytes))
    }

    /// Charges all faults that a node may have.
    pub fn ruin(&mut self, now_ms: u64, node: NodeId) {
        self.fault(now_ms, node, FAULTS);
    }

    /// Whether the bringer could pay for `us` of work if nobody else does.
    pub fn affords(&mut self, now_ms: u64, bringer: Bringer, us: u64, n: usize) -> bool {
        self.node(now_ms, bringer, n).waste.has(now_ms, us.min(WASTE_US / 2))
    }

    /// Charges work that nobody else pays for; `false` when that was the last of it.
    pub fn waste(&mut self, now_ms: u64, bringer: Bringer, us: u64, n: usize) -> bool {
        self.node(now_ms, bringer, n).waste.drain(now_ms, us)
    }

    /// Whether one more message is looked at for being the bringer's own.
    pub fn own_word(&mut self, now_ms: u64, bringer: Bringer, bytes: usize, n: usize) -> bool {
        self.node(now_ms, bringer, n).own.take(now_ms, 1 + (bytes / OWN_BYTES) as u64)
    }

    /// Whether a proposal in the author's own turn is the first for that (height, round), which is free. It is taken up by
    /// [`Accounts::proposed`].
    pub fn is_free(&mut self, now_ms: u64, author: Address, slot: (u64, u32), n: usize) -> bool {
        self.author(now_ms, author, n).proposed < slot
    }

    /// A proposal in the author's own turn was found sound.
    pub fn proposed(&mut self, author: Address, slot: (u64, u32)) {
        if let Some(author) = self.authors.get_mut(&author) {
            author.proposed = author.proposed.max(slot);
        }
    }

    /// Charges an author for a message; `false`, and nothing charged, when it cannot pay.
    pub fn pay(&mut self, now_ms: u64, author: Address, us: u64, bytes: usize, n: usize) -> bool {
        let author = self.author(now_ms, author, n);
        let us = us.min(AUTHOR_US);
        let pays = author.work.has(now_ms, us) && author.bytes.has(now_ms, bytes as u64);
        if pays {
            author.work.drain(now_ms, us);
            author.bytes.drain(now_ms, bytes as u64);
        }
        pays
    }

    /// Undoes [`Accounts::pay`].
    pub fn repay(&mut self, author: Address, us: u64, bytes: usize) {
        if let Some(author) = self.authors.get_mut(&author) {
            author.work.give(us.min(AUTHOR_US));
            author.bytes.give(bytes as u64);
        }
    }

    /// Charges the bringer for what an author could not pay; `false` when it has brought more of that than an honest node
    /// can have been given.
    pub fn excess(&mut self, now_ms: u64, bringer: Bringer, us: u64, n: usize) -> bool {
        let node = self.node(now_ms, bringer, n);
        node.excess.take(now_ms, us) || node.waste.drain(now_ms, us)
    }
}
