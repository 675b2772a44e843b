//! This node's own transactions across restarts.

use std::io;

use alloy_eips::eip2718::{Decodable2718, Encodable2718};
use ipe_chain::Candidate;
use ipe_types::Transaction;
use ipe_types::journal::{Frames, JournalFile, frame};
use thiserror::Error;

use super::Pool;

/// The journal is rewritten with what still waits when it has grown by this much since the last time, bytes: larger than a
/// block's worth of transactions, so rewriting costs nothing beside the blocks.
const REWRITE_BYTES: usize = 8 << 20;

/// The journal of local transactions cannot be used.
#[derive(Debug, Error)]
pub enum LocalJournalError {
    /// Reading failed.
    #[error("journal of local transactions cannot be read: {0}")]
    Read(#[source] io::Error),
    /// Writing failed; what waits is still in memory and goes out with the next attempt.
    #[error("journal of local transactions cannot be written: {0}; transactions sent to this node may be lost if it restarts")]
    Write(#[source] io::Error),
}

/// Journal of the transactions that clients gave to this node. One durable write per [`LocalJournal::save`], not per
/// transaction: the shell calls it some times a second, outside the pool's lock.
#[derive(Debug)]
pub struct LocalJournal<F> {
    file: F,
    grown: usize,
    damaged: bool,
}

impl<F: JournalFile> LocalJournal<F> {
    /// Opens the journal and returns the transactions in it, oldest first, for recovery of their senders and adding with
    /// [`super::Origin::Restored`].
    ///
    /// # Errors
    /// The file cannot be read. A torn tail and records that do not decode are passed over.
    pub fn open(mut file: F) -> Result<(Self, Vec<Transaction>), LocalJournalError> {
        let bytes = file.read_all().map_err(LocalJournalError::Read)?;
        let mut frames = Frames::new(&bytes);
        let found: Vec<Transaction> = frames.by_ref().filter_map(|mut record| Transaction::decode_2718(&mut record).ok()).collect();
        let damaged = frames.sound_len() < bytes.len();
        Ok((Self { file, grown: bytes.len(), damaged }, found))
    }

    /// Writes what the pool took from clients since the last call. `fresh` is [`Pool::take_unsaved`].
    ///
    /// # Errors
    /// The file cannot be written; the next call rewrites it as a whole.
    pub fn save(&mut self, fresh: &[std::sync::Arc<Candidate>]) -> Result<(), LocalJournalError> {
        if fresh.is_empty() || self.damaged {
            return Ok(());
        }
        let bytes = encode(fresh.iter().map(|candidate| &candidate.tx));
        self.grown += bytes.len();
        self.file.append_durable(&bytes).map_err(|error| {
            self.damaged = true;
            LocalJournalError::Write(error)
        })
    }

    /// Whether [`LocalJournal::rewrite`] is due.
    pub fn wants_rewrite(&self) -> bool {
        self.damaged || self.grown > REWRITE_BYTES
    }

    /// Replaces the journal by what still waits. `waiting` is [`Pool::local_waiting`].
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn rewrite(&mut self, waiting: &[std::sync::Arc<Candidate>]) -> Result<(), LocalJournalError> {
        let bytes = encode(waiting.iter().map(|candidate| &candidate.tx));
        self.file.replace(&bytes).map_err(LocalJournalError::Write)?;
        // What waits is rewritten only after as much again has come.
        self.grown = 0;
        self.damaged = false;
        Ok(())
    }
}

impl Pool {
    /// This node's own transactions that wait, in the order of their arrival.
    pub fn local_waiting(&self) -> Vec<std::sync::Arc<Candidate>> {
        self.iter().filter(|held| held.local).map(|held| held.candidate).collect()
    }
}

fn encode<'a>(transactions: impl Iterator<Item = &'a Transaction>) -> Vec<u8> {
    let (mut out, mut one) = (Vec::new(), Vec::new());
    for tx in transactions {
        debug_assert!(!tx.tx_hash().is_zero());
        one.clear();
        tx.encode_2718(&mut one);
        frame(&mut out, &one);
    }
    out
}
