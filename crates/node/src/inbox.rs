//! What waits for the replica: two queues, consensus first.
//!
//! Neither queue is bounded by itself: what comes from a peer carries a share of that peer's allowance ([`Credit`]), and
//! while the allowance is used up the peer's socket is not read; what comes from this node's own interfaces is folded
//! ([`Inbox::pool_changed`]) or waits for its answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, select, unbounded};
use ipe_engine::Input;
use ipe_p2p::event::Credit;

/// One input, with what it takes of its peer's allowance until it has been handled.
pub(crate) struct Item {
    pub(crate) input: Input,
    _credit: Option<Credit>,
}

impl Item {
    /// The input; its share of the allowance is given back here, when handling begins.
    pub(crate) fn into_input(self) -> Input {
        self.input
    }
}

enum Urgent {
    Item(Item),
    PoolChanged,
    Stop,
}

/// The sending side; cheap to clone.
#[derive(Clone)]
pub(crate) struct Inbox {
    urgent: Sender<Urgent>,
    bulk: Sender<Item>,
    pool_changed: Arc<AtomicBool>,
}

/// The replica's side.
pub(crate) struct Outlet {
    urgent: Receiver<Urgent>,
    bulk: Receiver<Item>,
    pool_changed: Arc<AtomicBool>,
}

/// What the replica's thread does next.
pub(crate) enum Next {
    Handle(Item),
    Stop,
}

/// Both sides.
pub(crate) fn inbox() -> (Inbox, Outlet) {
    let (urgent, urgent_out) = unbounded();
    let (bulk, bulk_out) = unbounded();
    let pool_changed = Arc::new(AtomicBool::new(false));
    (Inbox { urgent, bulk, pool_changed: pool_changed.clone() }, Outlet { urgent: urgent_out, bulk: bulk_out, pool_changed })
}

impl Inbox {
    /// Puts something in front of everything that is not urgent. When the replica is gone the node is stopping, and
    /// nobody misses it.
    pub(crate) fn urgent(&self, input: Input, credit: Option<Credit>) {
        let _ = self.urgent.send(Urgent::Item(Item { input, _credit: credit }));
    }

    /// Puts something behind everything else.
    pub(crate) fn bulk(&self, input: Input, credit: Option<Credit>) {
        let _ = self.bulk.send(Item { input, _credit: credit });
    }

    /// Tells that the pool holds something new; many calls in a row are one.
    pub(crate) fn pool_changed(&self) {
        if !self.pool_changed.swap(true, Ordering::AcqRel) {
            let _ = self.urgent.send(Urgent::PoolChanged);
        }
    }

    /// Ends the replica's thread after what it is doing.
    pub(crate) fn stop(&self) {
        let _ = self.urgent.send(Urgent::Stop);
    }
}

impl Outlet {
    /// Waits for the next input, at most for `patience`; then time itself is the input.
    pub(crate) fn next(&self, patience: Duration) -> Next {
        let tick = || Next::Handle(Item { input: Input::Tick, _credit: None });
        if let Ok(urgent) = self.urgent.try_recv() {
            return self.open(urgent);
        }
        select! {
            recv(self.urgent) -> urgent => urgent.map_or(Next::Stop, |urgent| self.open(urgent)),
            recv(self.bulk) -> item => item.map_or(Next::Stop, Next::Handle),
            default(patience) => tick(),
        }
    }

    fn open(&self, urgent: Urgent) -> Next {
        match urgent {
            Urgent::Item(item) => Next::Handle(item),
            Urgent::PoolChanged => {
                self.pool_changed.store(false, Ordering::Release);
                Next::Handle(Item { input: Input::PoolChanged, _credit: None })
            }
            Urgent::Stop => Next::Stop,
        }
    }
}
