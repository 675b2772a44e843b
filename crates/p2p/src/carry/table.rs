//! What a boot carries and is about to carry, and the bounds on both.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use ipe_types::NodeId;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot};

use super::{CarryLimits, CarryRefusal};

/// IP addresses whose offers are remembered; the one that has been quiet longest is forgotten, and with it a few
/// seconds' worth of its budget.
const MAX_ADDRESSES: usize = 1024;

/// A budget that refills with time.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    level: f64,
    at: Instant,
}

impl Bucket {
    fn full(capacity: u32, now: Instant) -> Self {
        Bucket { level: f64::from(capacity), at: now }
    }

    fn take(&mut self, capacity: u32, a_second: f64, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.level = (self.level + passed * a_second).min(f64::from(capacity));
        self.at = now;
        let enough = self.level >= 1.0;
        if enough {
            self.level -= 1.0;
        }
        enough
    }
}

/// A stream that waits to be taken by one of these validators.
struct Waiting {
    remote: SocketAddr,
    asked: Vec<NodeId>,
    give: oneshot::Sender<(NodeId, TcpStream)>,
}

/// One stream, or the place of one that is being opened.
#[derive(Clone, Debug)]
struct Entry {
    validator: NodeId,
    /// Who dialled us; none when the validator asked us to dial.
    from: Option<IpAddr>,
    /// Node and address that the validator asked for.
    dialled: Option<(NodeId, SocketAddr)>,
    cut: Arc<Notify>,
}

#[derive(Default)]
struct State {
    next: u64,
    waiting: HashMap<u64, Waiting>,
    streams: HashMap<u64, Entry>,
    offers: Option<Bucket>,
    addresses: HashMap<IpAddr, Bucket>,
    dials: HashMap<NodeId, Bucket>,
}

/// The shared state of carrying.
pub(super) struct Table {
    limits: CarryLimits,
    state: Mutex<State>,
}

impl std::fmt::Debug for Table {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Table(..)")
    }
}

/// A stream's place; dropping it gives it back.
pub(super) struct Place<'a> {
    table: &'a Table,
    id: u64,
    cut: Arc<Notify>,
}

impl Place<'_> {
    /// Waits until the stream is to be cut.
    pub(super) async fn cut(&self) {
        self.cut.notified().await;
    }

    /// Notes what was dialled, so that the rules can be asked about it again.
    pub(super) fn dialled(&self, node: NodeId, address: SocketAddr) {
        if let Some(entry) = self.table.state.lock().streams.get_mut(&self.id) {
            entry.dialled = Some((node, address));
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.table.state.lock().streams.remove(&self.id);
    }
}

/// A waiting stream; dropping it withdraws the offer.
pub(super) struct Offered<'a> {
    table: &'a Table,
    pub(super) token: u64,
    pub(super) taken: oneshot::Receiver<(NodeId, TcpStream)>,
}

impl Drop for Offered<'_> {
    fn drop(&mut self) {
        self.table.state.lock().waiting.remove(&self.token);
    }
}

impl Table {
    pub(super) fn new(limits: CarryLimits) -> Self {
        Table { limits, state: Mutex::default() }
    }

    /// Streams carried or being opened.
    pub(super) fn len(&self) -> usize {
        self.state.lock().streams.len()
    }

    /// Enters a stream that waits to be taken by one of `validators`, within the budgets of offers.
    pub(super) fn offer(&self, remote: SocketAddr, validators: Vec<NodeId>, now: Instant) -> Result<Offered<'_>, CarryRefusal> {
        let limits = &self.limits;
        let mut state = self.state.lock();
        let ip = remote.ip();
        if !ip.is_loopback() {
            if state.addresses.len() >= MAX_ADDRESSES
                && !state.addresses.contains_key(&ip)
                && let Some(quiet) = state.addresses.iter().min_by_key(|(_, bucket)| bucket.at).map(|(ip, _)| *ip)
            {
                state.addresses.remove(&quiet);
            }
            let bucket = state.addresses.entry(ip).or_insert_with(|| Bucket::full(limits.offers_per_ip, now));
            if !bucket.take(limits.offers_per_ip, f64::from(limits.offers_a_second) / 4.0, now) {
                return Err(CarryRefusal::Rate);
            }
        }
        let offers = state.offers.get_or_insert_with(|| Bucket::full(limits.offers, now));
        if !offers.take(limits.offers, f64::from(limits.offers_a_second), now) {
            return Err(CarryRefusal::Rate);
        }
        // Not to be guessed, although only the validators asked may take it.
        let token = rand::random();
        let (give, taken) = oneshot::channel();
        state.waiting.insert(token, Waiting { remote, asked: validators, give });
        Ok(Offered { table: self, token, taken })
    }

    /// A validator cannot read the auth of an offered stream. When nobody is left to ask, the stream stops waiting.
    pub(super) fn decline(&self, token: u64, validator: &NodeId) {
        let mut state = self.state.lock();
        if let Some(waiting) = state.waiting.get_mut(&token) {
            waiting.asked.retain(|asked| asked != validator);
            if waiting.asked.is_empty() {
                state.waiting.remove(&token);
            }
        }
    }

    /// A validator takes a stream that was offered to it: who is at its other end, and where to hand the connection in.
    pub(super) fn take(
        &self,
        token: u64,
        validator: &NodeId,
    ) -> Result<(SocketAddr, oneshot::Sender<(NodeId, TcpStream)>), CarryRefusal> {
        let mut state = self.state.lock();
        let asked = state.waiting.get(&token).is_some_and(|waiting| waiting.asked.contains(validator));
        let waiting = if asked { state.waiting.remove(&token) } else { None };
        waiting.map(|waiting| (waiting.remote, waiting.give)).ok_or(CarryRefusal::Malformed)
    }

    /// A place for a stream: `from` is who dialled us for the validator, none when the validator asks us to dial, which
    /// has a budget.
    pub(super) fn place(&self, validator: NodeId, from: Option<IpAddr>, now: Instant) -> Result<Place<'_>, CarryRefusal> {
        let limits = &self.limits;
        let mut state = self.state.lock();
        let of = |inbound: bool| {
            state.streams.values().filter(move |entry| entry.validator == validator && entry.from.is_some() == inbound)
        };
        let room = match from {
            None => of(false).count() < limits.dialled,
            Some(ip) => {
                let same = of(true).filter(|entry| entry.from == Some(ip)).count();
                of(true).count() < limits.inbound && (ip.is_loopback() || same < limits.inbound_per_ip)
            }
        };
        if !room {
            return Err(CarryRefusal::Full);
        }
        if from.is_none() {
            // As many as there are validators to carry for.
            let bucket = state.dials.entry(validator).or_insert_with(|| Bucket::full(limits.dials, now));
            if !bucket.take(limits.dials, f64::from(limits.dials_a_second), now) {
                return Err(CarryRefusal::Rate);
            }
        }
        state.next += 1;
        let (id, cut) = (state.next, Arc::new(Notify::new()));
        state.streams.insert(id, Entry { validator, from, dialled: None, cut: Arc::clone(&cut) });
        Ok(Place { table: self, id, cut })
    }

    /// Cuts the streams that are not `permitted` any more, by validator and by what was dialled; tells how many.
    pub(super) fn reconsider(&self, permitted: impl Fn(&NodeId, Option<(NodeId, SocketAddr)>) -> bool) -> usize {
        // The rules are asked without the lock.
        let entries: Vec<Entry> = self.state.lock().streams.values().cloned().collect();
        let refused = entries.iter().filter(|entry| !permitted(&entry.validator, entry.dialled));
        refused.map(|entry| entry.cut.notify_one()).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn limits() -> CarryLimits {
        CarryLimits { dialled: 3, inbound: 4, inbound_per_ip: 2, offers_per_ip: 2, offers: 5, offers_a_second: 4, dials: 6, dials_a_second: 1, ..CarryLimits::default() }
    }

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[tokio::test]
    async fn a_stream_is_taken_once_by_one_that_was_asked() {
        let table = Table::new(limits());
        let (a, b, c) = (NodeId::repeat_byte(1), NodeId::repeat_byte(2), NodeId::repeat_byte(3));
        let remote = SocketAddr::new(ip(1), 7);
        let offered = table.offer(remote, vec![a, b], Instant::now()).expect("within the budget");
        assert_eq!(table.take(offered.token, &c).map(|(remote, _)| remote), Err(CarryRefusal::Malformed));
        assert_eq!(table.take(offered.token ^ 1, &a).map(|(remote, _)| remote), Err(CarryRefusal::Malformed));
        table.decline(offered.token, &a);
        assert!(table.take(offered.token, &a).is_err(), "it has declined");
        assert_eq!(table.take(offered.token, &b).map(|(remote, _)| remote), Ok(remote));
        assert!(table.take(offered.token, &b).is_err(), "it has been taken");
        let mut offered = table.offer(remote, vec![a, b], Instant::now()).expect("within the budget");
        table.decline(offered.token, &b);
        assert!(offered.taken.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty));
        table.decline(offered.token, &a);
        assert!(offered.taken.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Closed));
        drop(offered);
        assert!(table.state.lock().waiting.is_empty());
    }

    #[test]
    fn offers_have_a_budget_by_address_and_in_all_and_addresses_are_bounded() {
        let table = Table::new(limits());
        let now = Instant::now();
        let offer = |last, now| table.offer(SocketAddr::new(ip(last), 1), vec![NodeId::ZERO], now).map(|_| ());
        assert_eq!([offer(1, now), offer(1, now), offer(1, now)], [Ok(()), Ok(()), Err(CarryRefusal::Rate)]);
        assert_eq!([offer(2, now), offer(3, now), offer(4, now)], [Ok(()), Ok(()), Ok(())]);
        assert_eq!(offer(5, now), Err(CarryRefusal::Rate), "five in all");
        assert_eq!(offer(1, now + Duration::from_secs(1)), Ok(()), "one a second by address");
        for n in 0..3 * MAX_ADDRESSES as u32 {
            let remote = SocketAddr::new(IpAddr::from(n.to_be_bytes()), 1);
            let _ = table.offer(remote, vec![NodeId::ZERO], now + Duration::from_secs(2));
        }
        assert!(table.state.lock().addresses.len() <= MAX_ADDRESSES);
        assert!(table.state.lock().waiting.is_empty(), "dropped offers leave nothing");
    }

    proptest! {
        /// Whatever comes, no count is above its bound, and what is dropped is given back.
        #[test]
        fn places_never_exceed_their_bounds(acts in prop::collection::vec((0u8..3, 0u8..4, any::<bool>(), 0u64..2000), 1..200)) {
            let table = Table::new(limits());
            let start = Instant::now();
            let mut held: Vec<Place<'_>> = Vec::new();
            let mut passed = 0;
            for (validator, from, drop_one, wait) in acts {
                passed += wait;
                let now = start + Duration::from_millis(passed);
                if drop_one && !held.is_empty() {
                    held.remove(held.len() / 2);
                }
                let from = (from > 0).then(|| ip(from));
                if let Ok(place) = table.place(NodeId::repeat_byte(validator), from, now) {
                    held.push(place);
                }
                let state = table.state.lock();
                prop_assert_eq!(state.streams.len(), held.len());
                for validator in 0..3 {
                    let of: Vec<&Entry> = state.streams.values().filter(|entry| entry.validator == NodeId::repeat_byte(validator)).collect();
                    prop_assert!(of.iter().filter(|entry| entry.from.is_none()).count() <= 3);
                    prop_assert!(of.iter().filter(|entry| entry.from.is_some()).count() <= 4);
                    for last in 1..4 {
                        prop_assert!(of.iter().filter(|entry| entry.from == Some(ip(last))).count() <= 2);
                    }
                }
            }
            drop(held);
            prop_assert_eq!(table.len(), 0);
        }
    }

    #[tokio::test]
    async fn what_is_no_longer_permitted_is_cut() {
        let table = Table::new(limits());
        let (a, b) = (NodeId::repeat_byte(1), NodeId::repeat_byte(2));
        let first = table.place(a, Some(ip(1)), Instant::now()).expect("a place");
        let second = table.place(b, None, Instant::now()).expect("a place");
        second.dialled(NodeId::repeat_byte(9), SocketAddr::new(ip(9), 1));
        assert_eq!(table.reconsider(|_, dialled| dialled.is_none_or(|(node, _)| node != NodeId::repeat_byte(9))), 1);
        second.cut().await;
        assert_eq!(table.reconsider(|validator, _| validator != &a), 1);
        first.cut().await;
    }
}
