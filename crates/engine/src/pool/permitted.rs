//! The local allow-list of senders: this node's own choice of whose transactions it takes and puts into its blocks.
//!
//! As in Besu it is judged at admission and when a block is built here, never when a block is imported
//! (spec/besu-compat.md 4.3): whose transactions are valid is for the chain to say. A sender that leaves the list takes
//! its waiting transactions with it, so that what the builder finds here is permitted.

use alloy_primitives::Address;
use alloy_primitives::map::AddressHashSet;

use super::{DropReason, Pool, Refusal};

/// Judgements of senders since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SenderChecks {
    /// Of senders on the list.
    pub permitted: u64,
    /// Of others.
    pub refused: u64,
}

impl Pool {
    /// From now on only these senders are permitted (`None` = everybody); what waits of others is dropped. `now` as in
    /// [`Self::add`].
    pub fn permit_only(&mut self, now: u64, senders: Option<AddressHashSet>) {
        if let Some(permitted) = &senders {
            let others: Vec<Address> = self.senders.keys().filter(|sender| !permitted.contains(*sender)).copied().collect();
            for sender in others {
                // From the highest nonce down, so that no drop turns its successors into gaps.
                while let Some(nonce) = self.senders.get(&sender).and_then(|queue| queue.entries.keys().next_back().copied()) {
                    self.remove(now, sender, nonce, DropReason::NotPermitted);
                }
            }
        }
        self.permitted = senders;
    }

    /// Judgements so far; none without a list.
    pub fn sender_checks(&self) -> SenderChecks {
        self.checks
    }

    pub(super) fn check_sender(&mut self, sender: Address) -> Result<(), Refusal> {
        let Some(permitted) = &self.permitted else { return Ok(()) };
        if permitted.contains(&sender) {
            self.checks.permitted += 1;
            Ok(())
        } else {
            self.checks.refused += 1;
            Err(Refusal::NotPermitted { sender })
        }
    }
}
