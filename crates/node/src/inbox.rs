//! What waits for the replica: three queues. Control goes first, and is little: connections, an operator's wishes, the end.
//! Consensus and bulk (synchronisation, transactions) share the replica's time by weight and measured cost, so that
//! neither can starve the other: a flood of consensus messages leaves synchronisation a quarter of the time, and whatever
//! comes in bulk leaves consensus three quarters. What one leaves unused the other gets.
//!
//! No queue is bounded by itself: what comes from a peer carries a share of that peer's allowance ([`Credit`]), and
//! while the allowance is used up the peer's socket is not read; what comes from this node's own interfaces is folded
//! ([`Inbox::pool_changed`]) or waits for its answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, select, unbounded};
use ipe_engine::Input;
use ipe_p2p::event::Credit;
use ipe_types::Bytes;

/// Parts of the replica's time while both classes wait: consensus, bulk.
const WEIGHTS: [u64; 2] = [3, 1];

/// One input, with what it takes of its peer's allowance until it has been handled.
pub(crate) struct Item {
    input: Input,
    _credit: Option<Credit>,
    arrived: Option<Instant>,
}

impl Item {
    /// What no peer sent.
    fn of(input: Input) -> Self {
        Self { input, _credit: None, arrived: None }
    }

    /// The consensus message that this is, and when it arrived at the node.
    pub(crate) fn message(&self) -> Option<(Bytes, Instant)> {
        match (&self.input, self.arrived) {
            (Input::Istanbul(_, _, bytes), Some(arrived)) => Some((bytes.clone(), arrived)),
            _ => None,
        }
    }

    /// The input; its share of the allowance is given back here, when handling begins.
    pub(crate) fn into_input(self) -> Input {
        self.input
    }
}

#[allow(clippy::large_enum_variant, reason = "nearly all are inputs, and each is moved a few times")]
enum Control {
    Input(Input),
    PoolChanged,
    Stop,
}

/// The sending side; cheap to clone.
#[derive(Clone)]
pub(crate) struct Inbox {
    control: Sender<Control>,
    consensus: Sender<Item>,
    bulk: Sender<Item>,
    pool_changed: Arc<AtomicBool>,
}

/// The replica's side.
pub(crate) struct Outlet {
    control: Receiver<Control>,
    consensus: Receiver<Item>,
    bulk: Receiver<Item>,
    pool_changed: Arc<AtomicBool>,
    shares: Shares,
}

/// A class of inputs that shares the replica's time with another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Consensus = 0,
    Bulk = 1,
}

/// What each class has used, in microseconds divided by its weight. The one that has used less is next.
#[derive(Debug, Default)]
struct Shares {
    used: [u64; 2],
    /// Of which class the input in hand is; `None` for control and time.
    in_hand: Option<Class>,
}

/// What the replica's thread does next.
#[allow(clippy::large_enum_variant, reason = "nearly all are inputs, and each is moved a few times")]
pub(crate) enum Next {
    Handle(Item),
    Stop,
}

/// Both sides.
pub(crate) fn inbox() -> (Inbox, Outlet) {
    let (control, control_out) = unbounded();
    let (consensus, consensus_out) = unbounded();
    let (bulk, bulk_out) = unbounded();
    let pool_changed = Arc::new(AtomicBool::new(false));
    let outlet = Outlet {
        control: control_out,
        consensus: consensus_out,
        bulk: bulk_out,
        pool_changed: pool_changed.clone(),
        shares: Shares::default(),
    };
    (Inbox { control, consensus, bulk, pool_changed }, outlet)
}

impl Inbox {
    /// Puts something in front of everything. When the replica is gone the node is stopping, and nobody misses it.
    pub(crate) fn control(&self, input: Input) {
        let _ = self.control.send(Control::Input(input));
    }

    /// Puts in a consensus message, with its share of the allowance and when it arrived, or the end of a connection, which
    /// follows what came over it.
    pub(crate) fn consensus(&self, input: Input, message: Option<(Credit, Instant)>) {
        let (credit, arrived) = message.unzip();
        let _ = self.consensus.send(Item { input, _credit: credit, arrived });
    }

    /// Puts in anything else of a peer.
    pub(crate) fn bulk(&self, input: Input, credit: Option<Credit>) {
        let _ = self.bulk.send(Item { input, _credit: credit, arrived: None });
    }

    /// Tells that the pool holds something new; many calls in a row are one.
    pub(crate) fn pool_changed(&self) {
        if !self.pool_changed.swap(true, Ordering::AcqRel) {
            let _ = self.control.send(Control::PoolChanged);
        }
    }

    /// Ends the replica's thread after what it is doing.
    pub(crate) fn stop(&self) {
        let _ = self.control.send(Control::Stop);
    }
}

impl Outlet {
    /// Waits for the next input, at most for `patience`; then time itself is the input.
    pub(crate) fn next(&mut self, patience: Duration) -> Next {
        self.shares.in_hand = None;
        if let Ok(control) = self.control.try_recv() {
            return self.open(control);
        }
        for class in self.shares.order() {
            if let Ok(item) = self.queue(class).try_recv() {
                return self.hand(Some(item), class);
            }
        }
        select! {
            recv(self.control) -> control => control.map_or(Next::Stop, |control| self.open(control)),
            recv(self.consensus) -> item => self.hand(item.ok(), Class::Consensus),
            recv(self.bulk) -> item => self.hand(item.ok(), Class::Bulk),
            default(patience) => Next::Handle(Item::of(Input::Tick)),
        }
    }

    /// Tells how long handling the last input took.
    pub(crate) fn handled(&mut self, took_us: u64) {
        let Some(class) = self.shares.in_hand.take() else { return };
        self.shares.charge(class, took_us, self.queue(class.other()).is_empty());
    }

    fn queue(&self, class: Class) -> &Receiver<Item> {
        match class {
            Class::Consensus => &self.consensus,
            Class::Bulk => &self.bulk,
        }
    }

    fn hand(&mut self, item: Option<Item>, class: Class) -> Next {
        self.shares.in_hand = Some(class);
        item.map_or(Next::Stop, Next::Handle)
    }

    fn open(&self, control: Control) -> Next {
        match control {
            Control::Input(input) => Next::Handle(Item::of(input)),
            Control::PoolChanged => {
                self.pool_changed.store(false, Ordering::Release);
                Next::Handle(Item::of(Input::PoolChanged))
            }
            Control::Stop => Next::Stop,
        }
    }
}

impl Class {
    fn other(self) -> Self {
        match self {
            Class::Consensus => Class::Bulk,
            Class::Bulk => Class::Consensus,
        }
    }
}

impl Shares {
    /// Whose turn it is, and who is next when nothing of that class waits.
    fn order(&self) -> [Class; 2] {
        let [consensus, bulk] = self.used;
        if consensus <= bulk { [Class::Consensus, Class::Bulk] } else { [Class::Bulk, Class::Consensus] }
    }

    /// An input of `class` has been handled. Time that the other has left unused, because nothing of it waits, is not owed
    /// to it.
    fn charge(&mut self, class: Class, took_us: u64, alone: bool) {
        let (this, other) = (class as usize, class.other() as usize);
        self.used[this] = self.used[this].saturating_add(took_us.max(1) * WEIGHTS[other]);
        if alone {
            self.used[other] = self.used[other].max(self.used[this]);
        }
    }
}

#[cfg(test)]
mod tests {
    use ipe_engine::PeerId;

    use super::*;

    fn message(number: u64) -> Input {
        Input::Istanbul(PeerId(number), 0x13, Bytes::new())
    }

    /// Handles `count` inputs of the given costs and answers with how many of each class there were.
    fn handle(outlet: &mut Outlet, count: usize, costs_us: [u64; 2]) -> [usize; 2] {
        let mut handled = [0, 0];
        for _ in 0..count {
            let Next::Handle(item) = outlet.next(Duration::ZERO) else { panic!("nobody stopped it") };
            let class = match item.into_input() {
                Input::Istanbul(..) => 0,
                Input::Heard(..) => 1,
                _ => panic!("an input is missing"),
            };
            handled[class] += 1;
            outlet.handled(costs_us[class]);
        }
        handled
    }

    #[test]
    fn a_flood_of_consensus_messages_leaves_synchronisation_a_quarter_of_the_time() {
        let (inbox, mut outlet) = inbox();
        for number in 0..10_000 {
            inbox.consensus(message(number), None);
            inbox.bulk(Input::Heard(PeerId(number), Vec::new()), None);
        }
        let [consensus, bulk] = handle(&mut outlet, 4_000, [100, 100]);
        assert!((990..=1_010).contains(&bulk), "{consensus} {bulk}");
        // By cost, not by number: large messages of the one leave room for more small ones of the other.
        let [consensus, bulk] = handle(&mut outlet, 4_000, [1_000, 100]);
        let spent = [consensus * 1_000, bulk * 100];
        assert!((28..=34).contains(&(100 * spent[1] / spent[0])), "{spent:?}");
    }

    #[test]
    fn synchronisation_leaves_consensus_three_quarters_and_idleness_earns_nothing() {
        let (inbox, mut outlet) = inbox();
        for number in 0..1_000 {
            inbox.bulk(Input::Heard(PeerId(number), Vec::new()), None);
        }
        assert_eq!(handle(&mut outlet, 500, [100, 20_000]), [0, 500], "alone it gets all");
        // Ten seconds of bulk alone give consensus no claim to ten of its own, nor has it to wait.
        for number in 0..1_000 {
            inbox.consensus(message(number), None);
        }
        let [consensus, bulk] = handle(&mut outlet, 40, [5_000, 5_000]);
        assert!((29..=31).contains(&consensus), "{consensus} {bulk}");
    }

    #[test]
    fn a_connection_is_told_before_what_comes_over_it() {
        let (inbox, mut outlet) = inbox();
        inbox.bulk(Input::Heard(PeerId(1), Vec::new()), None);
        inbox.consensus(message(1), None);
        inbox.control(Input::PoolChanged);
        let Next::Handle(first) = outlet.next(Duration::ZERO) else { panic!("nobody stopped it") };
        assert!(matches!(first.into_input(), Input::PoolChanged));
        inbox.stop();
        assert!(matches!(outlet.next(Duration::ZERO), Next::Stop));
    }
}
