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

/// The buffer. When it is full the author that has most of it gives way, its highest height first: the lowest are needed
/// next, and who fills the store has only its own messages put out.
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
        let held = self.by_height.entry(message.height()).or_default().entry(message.author()).or_default();
        let key = (message.kind(), message.round());
        if held.iter().any(|(other, _)| (other.kind(), other.round()) == key) {
            return Ok(());
        }
        let of_author: usize = held.iter().map(|(_, bytes)| bytes).sum();
        if !planted::is(Bug::FutureUnbounded) && (held.len() >= FUTURE_PER_AUTHOR || of_author + bytes > FUTURE_BYTES_PER_AUTHOR) {
            return Err(Reason::FutureFull);
        }
        held.push((message.clone(), bytes));
        self.count += 1;
        self.bytes += bytes;
        let mut kept = true;
        while self.count > FUTURE_MESSAGES || self.bytes > FUTURE_BYTES {
            let Some(evicted) = self.evict() else { break };
            kept &= !Arc::ptr_eq(&evicted, &message);
        }
        if kept { Ok(()) } else { Err(Reason::FutureFull) }
    }

    /// Puts out the last message at the highest height of the author that holds most, by the bound that is exceeded.
    fn evict(&mut self) -> Option<Arc<Message>> {
        let by_bytes = self.bytes > FUTURE_BYTES;
        let mut shares: BTreeMap<Address, (usize, u64)> = BTreeMap::new();
        for (height, authors) in &self.by_height {
            for (author, messages) in authors.iter().filter(|(_, messages)| !messages.is_empty()) {
                let share = shares.entry(*author).or_default();
                share.0 += if by_bytes { messages.iter().map(|(_, bytes)| bytes).sum() } else { messages.len() };
                share.1 = *height;
            }
        }
        let (author, (_, height)) = shares.into_iter().max_by_key(|(_, share)| *share)?;
        let authors = self.by_height.get_mut(&height)?;
        let messages = authors.get_mut(&author)?;
        let (evicted, bytes) = messages.pop()?;
        if messages.is_empty() {
            authors.remove(&author);
        }
        if authors.is_empty() {
            self.by_height.remove(&height);
        }
        self.count -= 1;
        self.bytes -= bytes;
        Some(evicted)
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
        // The raw payload holds the block a second time, as bytes.
        Message::Proposal(proposal) => {
            2 * proposal.signed.raw().len()
                + proposal.signed.payload().block.body.overhead()
                + SMALL * (1 + proposal.round_changes.len() + proposal.prepares.len())
        }
        Message::Prepare(_) | Message::Commit(_) => 2 * SMALL,
        Message::RoundChange(change) => {
            let block = change.block.as_ref().map_or(0, |block| block.length() + block.body.overhead());
            block + SMALL * (2 + change.prepares.len())
        }
    }
}
