//! Messages of heights above the one in hand (spec/qbft.md 8.5).

use std::collections::BTreeMap;
use std::sync::Arc;

use alloy_primitives::Address;
use alloy_rlp::Encodable;
use ipe_types::Message;
use ipe_types::planted::{self, Bug};

use crate::bounds::{FUTURE_BYTES, FUTURE_BYTES_PER_AUTHOR, FUTURE_DISTANCE, FUTURE_MESSAGES, FUTURE_PER_AUTHOR};
use crate::rejection::Reason;

/// Messages of one height in the order of arrival, with the bytes of each.
type ByAuthor = BTreeMap<Address, Vec<(Arc<Message>, usize)>>;

/// The buffer. When it is full the highest heights go first: the lowest are needed next.
#[derive(Clone, Debug, Default)]
pub(crate) struct Future {
    by_height: BTreeMap<u64, ByAuthor>,
    count: usize,
    bytes: usize,
}

impl Future {
    /// Holds `message`, of a height above `height`.
    pub(crate) fn insert(&mut self, message: Arc<Message>, height: u64) -> Result<(), Reason> {
        let ahead = message.height().saturating_sub(height);
        if ahead > FUTURE_DISTANCE {
            return Err(Reason::TooFarAhead { ahead });
        }
        let bytes = size(&message);
        let target = message.height();
        let held = self.by_height.entry(target).or_default().entry(message.author()).or_default();
        let key = (message.kind(), message.round());
        if held.iter().any(|(other, _)| (other.kind(), other.round()) == key) {
            return Ok(());
        }
        let of_author: usize = held.iter().map(|(_, bytes)| bytes).sum();
        if !planted::is(Bug::FutureUnbounded) && (held.len() >= FUTURE_PER_AUTHOR || of_author + bytes > FUTURE_BYTES_PER_AUTHOR) {
            return Err(Reason::FutureFull);
        }
        held.push((message, bytes));
        self.count += 1;
        self.bytes += bytes;
        while self.count > FUTURE_MESSAGES || self.bytes > FUTURE_BYTES {
            let Some((evicted, messages)) = self.by_height.pop_last() else { break };
            self.forget(&messages);
            if evicted == target {
                return Err(Reason::FutureFull);
            }
        }
        Ok(())
    }

    /// Takes what is about `height` and drops what is about less. Ascending by author, in the order of arrival.
    pub(crate) fn take(&mut self, height: u64) -> Vec<Arc<Message>> {
        let mut taken = Vec::new();
        while let Some(entry) = self.by_height.first_entry() {
            if *entry.key() > height {
                break;
            }
            let (at, messages) = entry.remove_entry();
            self.forget(&messages);
            if at == height {
                taken = messages.into_values().flatten().map(|(message, _)| message).collect();
            }
        }
        taken
    }

    fn forget(&mut self, messages: &ByAuthor) {
        for (_, bytes) in messages.values().flatten() {
            self.count -= 1;
            self.bytes -= bytes;
        }
    }

    /// Messages held, and their bytes.
    pub(crate) fn held(&self) -> (usize, usize) {
        (self.count, self.bytes)
    }
}

/// Bytes that a message keeps alive, about.
fn size(message: &Message) -> usize {
    const SMALL: usize = 256;
    match message {
        // The raw payload holds the block a second time.
        Message::Proposal(proposal) => {
            2 * proposal.signed.raw().len() + SMALL * (1 + proposal.round_changes.len() + proposal.prepares.len())
        }
        Message::Prepare(_) | Message::Commit(_) => 2 * SMALL,
        Message::RoundChange(change) => {
            let block = change.block.as_ref().map_or(0, |block| block.length());
            block + SMALL * (2 + change.prepares.len())
        }
    }
}
