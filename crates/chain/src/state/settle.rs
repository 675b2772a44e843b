//! Settling: what the blocks of the tail changed goes into the tables, beside the blocks and not with them.
//!
//! A block's commit writes its row of changes and is final. When enough of them wait, all that are committed by then are settled
//! together, in a batch of their own, on a thread of the store's ([`Store::aside`]): whatever that takes, and however long the engine
//! makes it wait, blocks go on. Only a writer that is [`MAX_LAG`] blocks or several times [`StateSettings::unsettled`] ahead waits.
//!
//! Between the batch and the moment in which views know of it, the store is ahead of them. Nobody notices: a view looks for every key of
//! its tail in the tail, whatever the height, and all other keys are the same before and after.
//!
//! [`StateSettings::unsettled`]: super::StateSettings::unsettled

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use super::rows::{POSITION, Position, SETTLED, Settled, encode_value, slot_row};
use super::tail::{Tail, encode_account};
use super::view::{RecordKey, Shared, View};
use super::{MAX_LAG, SETTLE_EVERY, State, StateError, history};
use crate::kv::{Batch, Read, Store, StoreError, Table};
use crate::trie::Record;

/// How many times [`StateSettings::unsettled`](super::StateSettings::unsettled) may wait before the writer does.
const MOST_WAITING: usize = 4;

/// Whether settling runs, and how the last one ended.
#[derive(Default)]
pub(super) struct Settling {
    progress: Mutex<Progress>,
    ended: Condvar,
}

#[derive(Default)]
struct Progress {
    running: bool,
    failed: Option<StoreError>,
}

/// Says that settling has ended when it goes, also when it never ran or panicked.
struct Running {
    shared: Arc<Shared>,
    outcome: Option<Result<(), StoreError>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let unfinished = || StoreError::Engine { action: "settle changes".to_owned(), cause: "the thread ended".to_owned() };
        let outcome = self.outcome.take().unwrap_or_else(|| Err(unfinished()));
        let mut progress = self.shared.settling.progress.lock();
        progress.running = false;
        progress.failed = outcome.err();
        self.shared.settling.ended.notify_all();
    }
}

impl State {
    /// After a block: starts settling when enough waits.
    pub(super) fn settle_when_due(&self) {
        let view = self.view();
        if self.waiting(&view) > self.settings.unsettled || view.number() - view.settled() >= SETTLE_EVERY {
            self.start_settling();
        }
    }

    /// Before a block that adds `more` bytes: waits until it may go ahead of the tables.
    ///
    /// # Errors
    /// Settling failed, now or since the last block: what the store said, once. It is tried again with the next block, which may
    /// find the disk with room again.
    pub(super) fn wait_for_settling(&self, number: u64, more: usize) -> Result<(), StateError> {
        let too_far = || {
            let view = self.view();
            let far = number.saturating_sub(view.settled()) > MAX_LAG
                || self.waiting(&view) + more > self.settings.unsettled * MOST_WAITING;
            far && !view.tail.blocks.is_empty()
        };
        let failed = self.shared.settling.progress.lock().failed.take();
        failed.map_or(Ok(()), Err)?;
        while too_far() {
            self.start_settling();
            self.settled()?;
        }
        Ok(())
    }

    fn waiting(&self, view: &View) -> usize {
        self.shared.unwritten.read_recursive().bytes + view.tail.memory
    }

    fn start_settling(&self) {
        {
            let mut progress = self.shared.settling.progress.lock();
            if progress.running {
                return;
            }
            *progress = Progress { running: true, failed: None };
        }
        let mut running = Running { shared: Arc::clone(&self.shared), outcome: None };
        let store = Arc::clone(&self.store);
        self.store.aside(Box::new(move || {
            running.outcome = Some(settle(&*store, &running.shared));
            // First: whoever waits for the end may open the store again right after.
            drop(store);
            drop(running);
        }));
    }

    /// Waits until no settling runs.
    fn settled(&self) -> Result<(), StateError> {
        let mut progress = self.shared.settling.progress.lock();
        self.shared.settling.ended.wait_while(&mut progress, |progress| progress.running);
        progress.failed.take().map_or(Ok(()), |error| Err(error.into()))
    }
}

impl Drop for State {
    /// Waits for what runs aside: it holds the store.
    fn drop(&mut self) {
        self.settled().ok();
    }
}

/// Writes what the newest view's tail changed into the tables, and lets the views know.
fn settle(store: &dyn Store, shared: &Shared) -> Result<(), StoreError> {
    let (view, records) = {
        let unwritten = shared.unwritten.read_recursive();
        (shared.view(), unwritten.records.clone())
    };
    let Some(position) = view.position else { return Ok(()) };
    let mut batch = Batch::new();
    put_rows(&view.tail, &mut batch);
    put_records(&records, &mut batch);
    batch.put(Table::Meta, SETTLED, &Settled { number: position.number, root: position.root }.encode());
    // What is lost in a crash is settled again from the changes.
    store.commit_lazily(batch)?;

    let mut unwritten = shared.unwritten.write();
    let (newest, snapshot) = (shared.view(), store.snapshot());
    // A block that is committed and not in the views yet has forgotten what they still promise. The next settling tells them.
    if head(&*snapshot)? != Some(newest.number()) {
        return Ok(());
    }
    for (key, record) in records {
        // Those that later blocks changed again stay.
        let same = match (unwritten.records.get(&key), &record) {
            (Some(Some(now)), Some(settled)) => Arc::ptr_eq(now, settled),
            (Some(None), None) => true,
            _ => false,
        };
        if same {
            unwritten.remove(&key);
            shared.caches.record_settled(key, record, newest.version());
        }
    }
    let tail = newest.tail.after(position.number);
    let position = newest.position.map(|mut newest| {
        newest.settled = newest.settled.max(position.number);
        newest.settled_root = position.root;
        newest
    });
    *shared.published.write() = Arc::new(View::new(position, snapshot, tail));
    Ok(())
}

/// The block whose state the rows are of.
fn head(rows: &dyn Read) -> Result<Option<u64>, StoreError> {
    let position = rows.get(Table::Meta, POSITION)?.map(|row| Position::decode(&row)).transpose()?;
    Ok(position.map(|position| position.number))
}

/// Writes the flat rows and the history of all blocks of `tail`, each row once and in key order.
pub(super) fn put_rows(tail: &Tail, batch: &mut Batch) {
    // Blocks are sorted already: the stable sort merges their runs and keeps changes of one key in block order.
    let accounts = tail.blocks.iter().flat_map(|diff| diff.accounts.iter().map(|change| (diff.number, change)));
    let mut accounts: Vec<_> = accounts.collect();
    accounts.sort_by_key(|(_, change)| change.key);
    for changes in accounts.chunk_by(|(_, a), (_, b)| a.key == b.key) {
        let [.., (_, last)] = changes else { continue };
        settle_row(batch, Table::Accounts, last.key.as_slice(), &encode_account(&last.new), || {
            changes.iter().map(|(block, change)| (*block, encode_account(&change.old))).collect()
        });
    }
    let slots = tail.blocks.iter().flat_map(|diff| {
        diff.storage.iter().flat_map(move |(owner, slots)| slots.iter().map(move |change| (owner, diff.number, change)))
    });
    let mut slots: Vec<_> = slots.collect();
    slots.sort_by_key(|(owner, _, change)| (**owner, change.key));
    for changes in slots.chunk_by(|(a, _, x), (b, _, y)| a == b && x.key == y.key) {
        let [.., (owner, _, last)] = changes else { continue };
        settle_row(batch, Table::Slots, &slot_row(owner, &last.key), &encode_value(last.new), || {
            changes.iter().map(|(_, block, change)| (*block, encode_value(change.old))).collect()
        });
    }
}

/// One flat row (empty: removed) and its history, the genesis' left out.
fn settle_row(batch: &mut Batch, table: Table, key: &[u8], new: &[u8], history: impl FnOnce() -> Vec<(u64, Vec<u8>)>) {
    if new.is_empty() {
        batch.delete(table, key);
    } else {
        batch.put(table, key, new);
    }
    let history = history();
    if !matches!(history.as_slice(), [(0, _), ..]) {
        history::put(batch, table, key, &history);
    }
}

/// Writes branch records, in the order of their keys: the engine's tables of newest rows are quicker to fill so.
pub(super) fn put_records<'a>(records: impl IntoIterator<Item = (&'a RecordKey, &'a Option<Arc<Record>>)>, batch: &mut Batch) {
    let mut rows: Vec<_> = records.into_iter().map(|(key, record)| (key.table(), key.row(), record)).collect();
    rows.sort_unstable_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    for (table, key, record) in rows {
        match record {
            Some(record) => batch.put(table, &key, &record.encode()),
            None => batch.delete(table, &key),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::StateSettings;
    use super::super::tests::{Model, Step, block, changes_of, check_view, open, pay, play, small, state_root, step};
    use super::*;
    use crate::kv::{MemoryStore, Visit};

    type Work = Box<dyn FnOnce() + Send>;

    /// A store that settles when it is told to, and can be stopped between the batch and the views that know of it.
    #[derive(Default)]
    struct Held {
        store: MemoryStore,
        work: Mutex<Vec<Work>>,
        after_batch: Mutex<Option<Work>>,
        after_snapshot: Mutex<Option<Work>>,
        full: Mutex<bool>,
    }

    impl Read for Held {
        fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
            self.store.get(table, key)
        }

        fn range(&self, table: Table, from: &[u8], to: &[u8], reverse: bool, visit: &mut Visit<'_>) -> Result<(), StoreError> {
            self.store.range(table, from, to, reverse, visit)
        }
    }

    impl Store for Held {
        fn snapshot(&self) -> Arc<dyn Read> {
            let snapshot = self.store.snapshot();
            let work = self.after_snapshot.lock().take();
            if let Some(work) = work {
                work();
            }
            snapshot
        }

        fn commit(&self, batch: Batch) -> Result<(), StoreError> {
            self.store.commit(batch)
        }

        fn commit_lazily(&self, batch: Batch) -> Result<(), StoreError> {
            if *self.full.lock() {
                return Err(StoreError::Engine { action: "commit".to_owned(), cause: "disk full".to_owned() });
            }
            self.store.commit(batch)?;
            if let Some(work) = self.after_batch.lock().take() {
                work();
            }
            Ok(())
        }

        fn aside(&self, work: Work) {
            self.work.lock().push(work);
        }
    }

    /// A chain on a held store, with everything that it should know.
    struct Chain {
        held: Arc<Held>,
        state: State,
        past: Mutex<Vec<(Model, alloy_primitives::B256)>>,
    }

    impl Drop for Chain {
        /// What was not run is dropped: the state waits for it.
        fn drop(&mut self) {
            self.held.work.lock().clear();
        }
    }

    impl Chain {
        fn new(settings: StateSettings) -> Arc<Chain> {
            let held = Arc::new(Held::default());
            let state = State::open(held.clone(), settings).expect("opens");
            Arc::new(Chain { held, state, past: Mutex::new(Vec::new()) })
        }

        fn add(&self, steps: &[Step]) {
            let mut model = self.past.lock().last().map(|(model, _)| model.clone()).unwrap_or_default();
            let changes = changes_of(&model, steps);
            let root = block(&self.held.store, &self.state, &changes);
            play(&mut model, &changes);
            assert_eq!(root, state_root(&model));
            self.past.lock().push((model, root));
        }

        /// Every height, here and where the process ended now.
        fn check(&self) {
            let view = self.state.view();
            assert_eq!(head(&*view.snapshot).expect("reads"), Some(view.number()), "a view has the rows of its own head");
            let reopened = open(&self.held.store, small());
            for (number, (model, root)) in self.past.lock().iter().enumerate() {
                for state in [&self.state, &reopened] {
                    check_view(&state.at(number as u64).expect("is kept"), model, *root);
                }
            }
        }

        fn run(&self) -> bool {
            let work = self.held.work.lock().pop();
            work.map(|work| work()).is_some()
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn blocks_go_on_while_changes_are_settled(
            blocks in prop::collection::vec((prop::collection::vec(step(), 0..8), any::<u8>()), 4..20)
        ) {
            // Settling is begun here and nowhere else: blocks that are made in the middle of it would wait for it.
            let chain = Chain::new(StateSettings { unsettled: usize::MAX / 8, ..small() });
            let mut blocks = blocks.into_iter();
            while let Some((steps, dice)) = blocks.next() {
                chain.add(&steps);
                if dice % 3 != 0 {
                    continue;
                }
                let more: Vec<Vec<Step>> = blocks.by_ref().take(usize::from(dice % 4)).map(|(steps, _)| steps).collect();
                let other = Arc::clone(&chain);
                *chain.held.after_batch.lock() = Some(Box::new(move || {
                    other.check();
                    for steps in &more {
                        other.add(steps);
                    }
                    other.check();
                }));
                chain.state.start_settling();
                prop_assert!(chain.run());
                chain.check();
            }
            chain.state.start_settling();
            prop_assert!(chain.run());
            chain.check();
            prop_assert!(chain.state.view().tail.blocks.is_empty());
            prop_assert_eq!(chain.state.shared.unwritten.read().bytes, 0);
        }
    }

    /// Runs `work` after the next snapshot is taken, unless whoever takes it keeps others out.
    fn after_snapshot(chain: &Arc<Chain>, work: impl FnOnce(&Chain) + Send + 'static) {
        let other = Arc::clone(chain);
        *chain.held.after_snapshot.lock() = Some(Box::new(move || {
            if other.state.shared.unwritten.try_write().is_some() {
                work(&other);
            }
        }));
    }

    /// A block and the settling that ends beside it do not publish each other's older rows.
    #[test]
    fn a_view_has_the_rows_that_its_tail_has_lost() {
        let chain = Chain::new(StateSettings { unsettled: usize::MAX / 8, ..small() });
        for value in 1..6 {
            chain.add(&[Step::Pay(1, value), Step::Pay(2, value)]);
        }
        // Settling ends while a block is published.
        chain.state.start_settling();
        after_snapshot(&chain, |chain| assert!(chain.run()));
        chain.add(&[Step::Pay(3, 1)]);
        chain.run();
        chain.check();
        // A block is published while settling ends.
        chain.state.start_settling();
        after_snapshot(&chain, |chain| chain.add(&[Step::Pay(4, 1)]));
        assert!(chain.run());
        chain.check();
        // A block is committed, and not published yet, when settling ends.
        let model = chain.past.lock().last().map(|(model, _)| model.clone()).unwrap_or_default();
        let changes = changes_of(&model, &[Step::Pay(5, 1)]);
        let (prepared, mut batch) = (chain.state.prepare(&changes).expect("prepares"), Batch::new());
        let number = chain.past.lock().len() as u64;
        chain.state.apply(number, &prepared, &mut batch).expect("applies");
        chain.state.start_settling();
        let other = Arc::clone(&chain);
        *chain.held.after_batch.lock() = Some(Box::new(move || other.held.store.commit(batch).expect("commits")));
        let before = chain.state.view();
        assert!(chain.run());
        assert!(Arc::ptr_eq(&before, &chain.state.view()), "nothing is published");
        chain.state.committed(number, &prepared).expect("is the next");
        chain.check();
    }

    #[test]
    fn a_writer_far_ahead_waits_and_a_failure_reaches_it() {
        let chain = Chain::new(StateSettings { unsettled: usize::MAX / 8, ..small() });
        for _ in 0..=SETTLE_EVERY {
            chain.add(&[Step::Pay(1, 1)]);
        }
        assert_eq!(chain.held.work.lock().len(), 1, "asked for once");
        for _ in SETTLE_EVERY + 1..=MAX_LAG {
            chain.add(&[Step::Pay(1, 1)]);
        }
        assert_eq!(chain.held.work.lock().len(), 1);
        // The next block has to wait: it goes on when another thread has settled.
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| chain.add(&[Step::Pay(1, 1)]));
            std::thread::sleep(std::time::Duration::from_millis(20));
            assert!(!waits.is_finished());
            assert!(chain.run());
        });
        chain.check();
        *chain.held.full.lock() = true;
        for _ in 0..SETTLE_EVERY {
            chain.add(&[Step::Pay(1, 1)]);
        }
        assert!(chain.run());
        let prepared = chain.state.prepare(&pay(1, 1)).expect("prepares");
        let number = chain.past.lock().len() as u64;
        let refused = chain.state.apply(number, &prepared, &mut Batch::new());
        assert!(matches!(refused, Err(StateError::Store(StoreError::Engine { .. }))), "{refused:?}");
        // The disk has room again: nobody has to start the node anew.
        *chain.held.full.lock() = false;
        chain.add(&[Step::Pay(1, 1)]);
        assert!(chain.run());
        chain.check();
        assert!(chain.state.view().tail.blocks.is_empty());
    }
}
