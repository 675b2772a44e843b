//! What a boot carries and is about to carry, and the bounds on both.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use ipe_types::NodeId;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};

use super::{CarryLimits, CarryRefusal};
use crate::bucket::{Bucket, Rate};
use crate::net::{self, Block, is_local};

/// IP addresses whose offers are remembered; the one that has been quiet longest is forgotten, and with it a few
/// seconds' worth of its budget.
const MAX_ADDRESSES: usize = 1024;

/// Who dialled us for a validator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dialler {
    pub(super) ip: IpAddr,
    /// Whether it is a known address: then strangers do not share its budgets and places.
    pub(super) known: bool,
}

/// A stream that waits to be taken by one of these validators.
struct Waiting {
    remote: SocketAddr,
    asked: Vec<NodeId>,
    give: oneshot::Sender<(NodeId, TcpStream)>,
}

/// Told why a stream is to be cut.
type Cut = watch::Sender<Option<CarryRefusal>>;

/// One stream, or the place of one that is being opened.
#[derive(Clone, Debug)]
struct Entry {
    validator: NodeId,
    /// Who dialled us; none when the validator asked us to dial.
    from: Option<Dialler>,
    /// Node and address that the validator asked for.
    dialled: Option<(NodeId, SocketAddr)>,
    cut: Arc<Cut>,
}

#[derive(Default)]
struct State {
    next: u64,
    waiting: HashMap<u64, Waiting>,
    streams: HashMap<u64, Entry>,
    offers: Option<Bucket>,
    addresses: HashMap<Block, Bucket>,
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
    cut: Arc<Cut>,
}

impl Place<'_> {
    /// Waits until the stream is to be cut.
    pub(super) async fn cut(&self) -> CarryRefusal {
        let mut reason = self.cut.subscribe();
        // The sender is ours: there is no error, and a reason once it is told.
        reason.wait_for(Option::is_some).await.ok().and_then(|reason| *reason).unwrap_or(CarryRefusal::Rules)
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
    /// Those of a known address are its own.
    pub(super) fn offer(
        &self,
        remote: SocketAddr,
        known: bool,
        validators: Vec<NodeId>,
        now: Instant,
    ) -> Result<Offered<'_>, CarryRefusal> {
        let limits = &self.limits;
        let mut state = self.state.lock();
        let a_second = f64::from(limits.offers_a_second);
        if !is_local(remote.ip()) {
            let address = net::address(remote.ip());
            if state.addresses.len() >= MAX_ADDRESSES
                && !state.addresses.contains_key(&address)
                && let Some(quiet) = state.addresses.iter().min_by_key(|(_, bucket)| bucket.used()).map(|(block, _)| *block)
            {
                state.addresses.remove(&quiet);
            }
            let rate = Rate::new(f64::from(limits.offers_per_ip), a_second / 4.0);
            if !state.addresses.entry(address).or_insert_with(|| Bucket::full(rate, now)).take(rate, now) {
                return Err(CarryRefusal::Rate);
            }
        }
        let rate = Rate::new(f64::from(limits.offers), a_second);
        if !known && !state.offers.get_or_insert_with(|| Bucket::full(rate, now)).take(rate, now) {
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
    ///
    /// Of strangers that dialled one validator the latest of the most crowded network gives way when all their places are
    /// taken, as among our own peers.
    pub(super) fn place(&self, validator: NodeId, from: Option<Dialler>, now: Instant) -> Result<Place<'_>, CarryRefusal> {
        let limits = &self.limits;
        let mut state = self.state.lock();
        let of_validator = || state.streams.iter().filter(move |(_, entry)| entry.validator == validator);
        let mut displaced = None;
        match from {
            None if of_validator().filter(|(_, entry)| entry.from.is_none()).count() < limits.dialled => {}
            None => return Err(CarryRefusal::Full),
            Some(dialler) => {
                let lane = || of_validator().filter_map(|(id, entry)| Some((*id, entry.from?.ip, entry.from?.known)));
                let lane = || lane().filter(|(.., known)| *known == dialler.known).map(|(id, ip, _)| (id, ip));
                let same = lane().filter(|(_, ip)| net::address(*ip) == net::address(dialler.ip)).count();
                if !is_local(dialler.ip) && same >= limits.inbound_per_ip {
                    return Err(CarryRefusal::Full);
                }
                if lane().count() >= limits.inbound {
                    let surplus = if dialler.known { None } else { net::surplus(lane(), dialler.ip) };
                    displaced = Some(surplus.ok_or(CarryRefusal::Full)?);
                }
            }
        }
        if let Some(entry) = displaced.and_then(|id| state.streams.remove(&id)) {
            entry.cut.send_replace(Some(CarryRefusal::Full));
        }
        if from.is_none() {
            // As many as there are validators to carry for.
            let rate = Rate::new(f64::from(limits.dials), f64::from(limits.dials_a_second));
            if !state.dials.entry(validator).or_insert_with(|| Bucket::full(rate, now)).take(rate, now) {
                return Err(CarryRefusal::Rate);
            }
        }
        state.next += 1;
        let (id, cut) = (state.next, Arc::new(Cut::new(None)));
        state.streams.insert(id, Entry { validator, from, dialled: None, cut: Arc::clone(&cut) });
        Ok(Place { table: self, id, cut })
    }

    /// Cuts the streams that are not `permitted` any more, by validator and by what was dialled; tells how many.
    pub(super) fn reconsider(&self, permitted: impl Fn(&NodeId, Option<(NodeId, SocketAddr)>) -> bool) -> usize {
        // The rules are asked without the lock.
        let entries: Vec<Entry> = self.state.lock().streams.values().cloned().collect();
        let refused: Vec<&Entry> = entries.iter().filter(|entry| !permitted(&entry.validator, entry.dialled)).collect();
        for entry in &refused {
            entry.cut.send_replace(Some(CarryRefusal::Rules));
        }
        refused.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn limits() -> CarryLimits {
        CarryLimits {
            dialled: 3,
            inbound: 4,
            inbound_per_ip: 2,
            offers_per_ip: 2,
            offers: 5,
            offers_a_second: 4,
            dials: 6,
            dials_a_second: 1,
            ..CarryLimits::default()
        }
    }

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[tokio::test]
    async fn a_stream_is_taken_once_by_one_that_was_asked() {
        let table = Table::new(limits());
        let (a, b, c) = (NodeId::repeat_byte(1), NodeId::repeat_byte(2), NodeId::repeat_byte(3));
        let remote = SocketAddr::new(ip(1), 7);
        let offered = table.offer(remote, false, vec![a, b], Instant::now()).expect("within the budget");
        assert_eq!(table.take(offered.token, &c).map(|(remote, _)| remote), Err(CarryRefusal::Malformed));
        assert_eq!(table.take(offered.token ^ 1, &a).map(|(remote, _)| remote), Err(CarryRefusal::Malformed));
        table.decline(offered.token, &a);
        assert!(table.take(offered.token, &a).is_err(), "it has declined");
        assert_eq!(table.take(offered.token, &b).map(|(remote, _)| remote), Ok(remote));
        assert!(table.take(offered.token, &b).is_err(), "it has been taken");
        let mut offered = table.offer(remote, false, vec![a, b], Instant::now()).expect("within the budget");
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
        let offer = |last, now| table.offer(SocketAddr::new(ip(last), 1), false, vec![NodeId::ZERO], now).map(|_| ());
        assert_eq!([offer(1, now), offer(1, now), offer(1, now)], [Ok(()), Ok(()), Err(CarryRefusal::Rate)]);
        assert_eq!([offer(2, now), offer(3, now), offer(4, now)], [Ok(()), Ok(()), Ok(())]);
        assert_eq!(offer(5, now), Err(CarryRefusal::Rate), "five in all");
        assert_eq!(offer(1, now + Duration::from_secs(1)), Ok(()), "one a second by address");
        for n in 0..3 * MAX_ADDRESSES as u32 {
            let remote = SocketAddr::new(IpAddr::from(n.to_be_bytes()), 1);
            let _ = table.offer(remote, false, vec![NodeId::ZERO], now + Duration::from_secs(2));
        }
        assert!(table.state.lock().addresses.len() <= MAX_ADDRESSES);
        assert!(table.state.lock().waiting.is_empty(), "dropped offers leave nothing");
    }

    proptest! {
        /// Whatever comes, no count is above its bound, and what is dropped is given back.
        #[test]
        fn places_never_exceed_their_bounds(acts in prop::collection::vec((0u8..3, 0u8..9, any::<bool>(), 0u64..2000), 1..200)) {
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
                // Two addresses in each of two networks, as strangers and as known ones.
                let dialler = |n: u8| Dialler { ip: IpAddr::from([192, 0, n % 2, n / 2 % 2]), known: n >= 4 };
                let from = (from > 0).then(|| dialler(from - 1));
                if let Ok(place) = table.place(NodeId::repeat_byte(validator), from, now) {
                    held.push(place);
                }
                let state = table.state.lock();
                let cut = held.iter().filter(|place| place.cut.borrow().is_some()).count();
                prop_assert_eq!(state.streams.len() + cut, held.len());
                for validator in 0..3 {
                    let of: Vec<&Entry> = state.streams.values().filter(|entry| entry.validator == NodeId::repeat_byte(validator)).collect();
                    prop_assert!(of.iter().filter(|entry| entry.from.is_none()).count() <= 3);
                    for known in [false, true] {
                        prop_assert!(of.iter().filter(|entry| entry.from.is_some_and(|from| from.known == known)).count() <= 4);
                    }
                    for n in 0..8 {
                        prop_assert!(of.iter().filter(|entry| entry.from == Some(dialler(n))).count() <= 2);
                    }
                }
            }
            drop(held);
            prop_assert_eq!(table.len(), 0);
        }
    }

    /// A validator's public key is no secret: who has it can make its boot carry, but not keep others from it.
    #[tokio::test]
    async fn strangers_take_neither_known_addresses_places_nor_all_of_each_others() {
        let table = Table::new(limits());
        let validator = NodeId::repeat_byte(1);
        let place = |ip: [u8; 4], known| table.place(validator, Some(Dialler { ip: ip.into(), known }), Instant::now());
        let strangers: Vec<_> = (1..5).map(|last| place([192, 0, 2, last], false).expect("a place")).collect();
        assert!(place([192, 0, 2, 5], false).is_err(), "four of one network");
        let known = [place([198, 51, 100, 1], true).expect("its own"), place([198, 51, 100, 1], true).expect("its own")];
        let other = place([203, 0, 113, 1], false).expect("of a less crowded network");
        assert_eq!(strangers[3].cut().await, CarryRefusal::Full);
        assert_eq!(table.len(), 6);
        drop((strangers, known, other));
        assert_eq!(table.len(), 0);
    }

    #[tokio::test]
    async fn what_is_no_longer_permitted_is_cut() {
        let table = Table::new(limits());
        let (a, b) = (NodeId::repeat_byte(1), NodeId::repeat_byte(2));
        let first = table.place(a, Some(Dialler { ip: ip(1), known: false }), Instant::now()).expect("a place");
        let second = table.place(b, None, Instant::now()).expect("a place");
        second.dialled(NodeId::repeat_byte(9), SocketAddr::new(ip(9), 1));
        assert_eq!(table.reconsider(|_, dialled| dialled.is_none_or(|(node, _)| node != NodeId::repeat_byte(9))), 1);
        assert_eq!(second.cut().await, CarryRefusal::Rules);
        assert_eq!(table.reconsider(|validator, _| validator != &a), 1);
        first.cut().await;
    }
}
