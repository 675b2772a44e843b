//! Importing many blocks at once (block files, long synchronisation): decoding, hashing and recovery of senders run ahead on
//! other threads while blocks are executed and written here, in order.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use alloy_primitives::Address;
use ipe_types::block::Block;
use ipe_types::extra::ExtraDataError;
use ipe_types::header::block_hash;
use ipe_types::spec::ChainSpec;
use parking_lot::Mutex;

use crate::bound::Bound;
use crate::invalid::InvalidBlock;
use crate::ladder::{Imported, RawBlock};
use crate::ledger::{Known, Ledger, LedgerError, Mode};
use crate::rules::{Judging, check_body};

/// Blocks that may be decoded ahead of the one in execution: enough that the recovering threads never wait for a slow
/// block, few enough that a file of full blocks takes some tens of megabytes.
const AHEAD: usize = 12;

/// Threads that prepare blocks. Two keep up with execution on two cores and give way when it is slower.
const PREPARERS: usize = 2;

/// Why a bulk import stopped. Blocks before the failed one are in the ledger.
#[derive(Debug, thiserror::Error)]
pub enum BulkError<E: std::error::Error> {
    /// The source could not be read.
    #[error("reading block {after} + 1 failed: {source}", after = after)]
    Source {
        /// Last imported or skipped height.
        after: u64,
        /// What the source said.
        source: E,
    },
    /// Bytes that are no block.
    #[error("the block after block {after} does not decode: {reason}")]
    Decode {
        /// Last imported or skipped height.
        after: u64,
        /// What the decoder said.
        reason: alloy_rlp::Error,
    },
    /// A block that is already here is another one.
    #[error("block {number} of the source has hash {got}, this ledger has {expected}; it belongs to another chain")]
    OtherChain {
        /// Height.
        number: u64,
        /// Of the source's block.
        got: alloy_primitives::B256,
        /// Ours.
        expected: alloy_primitives::B256,
    },
    /// The system gave no thread.
    #[error("no thread could be started to prepare blocks; free some processes and try again")]
    NoThread,
    /// An invalid block, or a failure of the store.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// One block of a bulk import, for progress.
#[derive(Clone, Debug)]
pub enum BulkStep {
    /// It was here already.
    Skipped {
        /// Height.
        number: u64,
    },
    /// It was checked and written.
    Imported(Arc<Imported>),
}

struct Ready {
    block: Arc<Block>,
    /// Senders when the body is the header's, else the rule that is broken.
    senders: Result<Vec<Address>, InvalidBlock>,
}

type Slot = Receiver<Result<Ready, alloy_rlp::Error>>;
type Job = (RawBlock, SyncSender<Result<Ready, alloy_rlp::Error>>);

impl Ledger {
    /// Imports blocks in the order of the source, each checked in FULL mode. Blocks up to the head are compared and skipped,
    /// so that an interrupted import goes on where it stopped. `now_ms` is unix time; `progress` is called after every block
    /// and ends the import when it returns false.
    ///
    /// # Errors
    /// The first block that cannot be read or is invalid; everything before it stays imported.
    pub fn import_stream<E: std::error::Error + Send>(
        &self,
        source: impl Iterator<Item = Result<alloy_primitives::Bytes, E>> + Send,
        now_ms: u64,
        progress: &mut dyn FnMut(&BulkStep) -> bool,
    ) -> Result<(), BulkError<E>> {
        let (jobs, queue) = sync_channel::<Job>(AHEAD);
        let (slots, order) = sync_channel::<Result<Slot, E>>(AHEAD);
        let queue = Mutex::new(queue);
        std::thread::scope(|scope| {
            let spec = &self.spec;
            let queue = &queue;
            let head = self.head().number;
            let mut started = 0;
            for _ in 0..PREPARERS {
                let thread = std::thread::Builder::new().name("prepare".to_owned());
                started += usize::from(thread.spawn_scoped(scope, move || prepare_all(spec, head, queue)).is_ok());
            }
            if started == 0 {
                return Err(BulkError::NoThread);
            }
            let thread = std::thread::Builder::new().name("feed".to_owned());
            if thread.spawn_scoped(scope, move || feed(source, &jobs, &slots)).is_err() {
                return Err(BulkError::NoThread);
            }
            let result = self.consume(&order, now_ms, progress);
            // The feeder then finds nobody waiting and ends, and the preparers after it.
            drop(order);
            result
        })
    }

    fn consume<E: std::error::Error>(
        &self,
        order: &Receiver<Result<Slot, E>>,
        now_ms: u64,
        progress: &mut dyn FnMut(&BulkStep) -> bool,
    ) -> Result<(), BulkError<E>> {
        let mut after = 0;
        while let Ok(slot) = order.recv() {
            let slot = slot.map_err(|source| BulkError::Source { after, source })?;
            let Ok(ready) = slot.recv() else { break };
            let ready = ready.map_err(|reason| BulkError::Decode { after, reason })?;
            let step = self.import_ready(ready, now_ms)?;
            after = match &step {
                BulkStep::Skipped { number } => *number,
                BulkStep::Imported(imported) => imported.number(),
            };
            if !progress(&step) {
                break;
            }
        }
        Ok(())
    }

    fn import_ready<E: std::error::Error>(&self, ready: Ready, now_ms: u64) -> Result<BulkStep, BulkError<E>> {
        let Ready { block, senders } = ready;
        let number = block.header.number;
        let invalid = |reason: InvalidBlock| LedgerError::Invalid { number, reason };
        if number <= self.head().number {
            let got = block_hash(&block.header).map_err(|error: ExtraDataError| invalid(error.into()))?;
            let expected = self.hash_of(number)?.unwrap_or_default();
            if got != expected {
                return Err(BulkError::OtherChain { number, got, expected });
            }
            return Ok(BulkStep::Skipped { number });
        }
        let senders = senders.map_err(invalid)?;
        let checked = self.check(Arc::clone(&block), now_ms, Known::All(senders), Mode::Sealed, Bound::NONE).map_err(invalid)?;
        Ok(BulkStep::Imported(self.import(checked, block)?))
    }
}

fn feed<E>(
    source: impl Iterator<Item = Result<alloy_primitives::Bytes, E>>,
    jobs: &SyncSender<Job>,
    slots: &SyncSender<Result<Slot, E>>,
) {
    for item in source {
        match item {
            Ok(bytes) => {
                let (done, slot) = sync_channel(1);
                // The slot first: when the consumer has gone, nothing more is queued.
                if slots.send(Ok(slot)).is_err() || jobs.send((RawBlock(bytes), done)).is_err() {
                    return;
                }
            }
            Err(error) => {
                let _ = slots.send(Err(error));
                return;
            }
        }
    }
}

fn prepare_all(spec: &ChainSpec, head: u64, queue: &Mutex<Receiver<Job>>) {
    loop {
        // The lock is held while waiting: the others wait for the lock instead, and each job goes to one of them.
        let job = queue.lock().recv();
        let Ok((raw, done)) = job else { return };
        let _ = done.send(raw.decode().map(|block| prepare(spec, head, block)));
    }
}

/// Everything about a block that does not need its parent. Runs on one thread: whole blocks are the unit of parallel work.
/// Nothing is recovered of a block up to `head`, which is only compared.
fn prepare(spec: &ChainSpec, head: u64, block: Block) -> Ready {
    if block.header.number <= head {
        return Ready { block: Arc::new(block), senders: Ok(Vec::new()) };
    }
    let senders = check_body(&block, Judging::Sealed).and_then(|()| {
        let fork = spec.fork_at(block.header.number, block.header.timestamp);
        block
            .body
            .transactions
            .iter()
            .enumerate()
            .map(|(index, tx)| {
                let _ = tx.tx_hash();
                crate::senders::recover_at(fork, tx).map_err(|_| crate::senders::unrecoverable(index, tx))
            })
            .collect()
    });
    Ready { block: Arc::new(block), senders }
}
