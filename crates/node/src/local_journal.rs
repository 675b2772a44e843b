//! Keeping this node's own transactions across restarts: a thread that writes the pool's journal some times a second.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use ipe_chain::{Candidate, Ledger};
use ipe_engine::admission;
use ipe_engine::pool::{LocalJournal, LocalJournalError, Origin, Pool};
use ipe_store::JournalFileDisk;
use parking_lot::Mutex;

/// How often what is new is made durable: a client that got its hash loses its transaction only when the process dies
/// within this time and nobody else has heard of it.
const SAVE_EVERY: Duration = Duration::from_millis(250);

/// The running thread.
pub(crate) struct LocalKeeper {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl LocalKeeper {
    /// Puts what the journal holds back into the pool and starts keeping it. Returns how many transactions came back.
    ///
    /// # Errors
    /// The journal cannot be opened or read.
    pub(crate) fn start(
        path: &Path,
        pool: Arc<Mutex<Pool>>,
        ledger: &Ledger,
        now_ms: u64,
    ) -> Result<(Self, usize), LocalJournalError> {
        let file = JournalFileDisk::open(path).map_err(LocalJournalError::Read)?;
        let (journal, found) = LocalJournal::open(file)?;
        let mut restored = 0;
        for tx in found {
            let Ok(candidate) = Candidate::recover(tx) else { continue };
            restored += usize::from(admission::offer(&pool, ledger, now_ms, Arc::new(candidate), Origin::Restored).is_ok());
        }
        let (stop, stopped) = bounded(1);
        let work = move || {
            let mut journal = journal;
            loop {
                let end = stopped.recv_timeout(SAVE_EVERY) != Err(RecvTimeoutError::Timeout);
                if let Err(error) = save(&mut journal, &pool) {
                    tracing::error!("{error}");
                }
                if end {
                    break;
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("local-journal".to_owned())
            .spawn(work)
            .map_err(|error: io::Error| LocalJournalError::Read(error))?;
        Ok((Self { stop, thread }, restored))
    }

    /// Writes what is left and ends.
    pub(crate) fn stop(self) {
        let _ = self.stop.send(());
        // A panic would have ended the process.
        let _ = self.thread.join();
    }
}

fn save(journal: &mut LocalJournal<JournalFileDisk>, pool: &Mutex<Pool>) -> Result<(), LocalJournalError> {
    let fresh = pool.lock().take_unsaved();
    journal.save(&fresh)?;
    let dropped = pool.lock().take_local_dropped();
    if dropped || journal.wants_rewrite() {
        let waiting = pool.lock().local_waiting();
        journal.rewrite(&waiting)?;
    }
    Ok(())
}
