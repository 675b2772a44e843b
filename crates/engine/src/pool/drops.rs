//! A bounded memory of what left the pool without being mined.

use std::collections::VecDeque;

use alloy_primitives::B256;
use alloy_primitives::map::B256HashMap;

/// Remembered drops: some minutes of a flood, under a megabyte.
const CAPACITY: usize = 8_192;

/// Why a transaction left the pool without having been mined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// Another one of the same sender and nonce took its place.
    Replaced {
        /// Its hash.
        by: B256,
    },
    /// A block used the nonce for another transaction.
    NonceUsed {
        /// The nonce.
        nonce: u64,
    },
    /// A lower nonce did not come in time.
    GapExpired {
        /// The nonce that was missing.
        missing: u64,
    },
    /// It waited longer than the pool keeps anything.
    Expired,
    /// The pool was full and others came first.
    Evicted,
    /// The operator raised the least price above what it offers.
    BelowMinimumPrice {
        /// Wei per gas.
        least: u128,
    },
    /// Its sender left the list of permitted accounts.
    NotPermitted,
    /// The rules on chain do not permit it any more.
    AgainstRules {
        /// What they said.
        reason: String,
    },
    /// Executing it takes more than this node gives to a transaction.
    TooDear {
        /// What it took.
        reason: String,
    },
    /// The operator dropped it.
    ByOperator,
    /// Builders refused it again and again.
    Unbuildable {
        /// What they said last.
        reason: String,
    },
}

#[derive(Debug, Default)]
pub(super) struct Drops {
    by_hash: B256HashMap<(u64, DropReason)>,
    order: VecDeque<B256>,
}

impl DropReason {
    /// Whether the same transaction is not taken again while its drop is remembered.
    pub fn is_for_good(&self) -> bool {
        matches!(self, DropReason::TooDear { .. } | DropReason::ByOperator)
    }
}

impl Drops {
    pub(super) fn remember(&mut self, now: u64, hash: B256, reason: DropReason) {
        if self.by_hash.insert(hash, (now, reason)).is_none() {
            self.order.push_back(hash);
            if self.order.len() > CAPACITY
                && let Some(oldest) = self.order.pop_front()
            {
                self.by_hash.remove(&oldest);
            }
        }
    }

    pub(super) fn find(&self, hash: &B256) -> Option<(u64, &DropReason)> {
        self.by_hash.get(hash).map(|(at, reason)| (*at, reason))
    }
}
