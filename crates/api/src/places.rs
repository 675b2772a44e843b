//! Places of one listener: how many connections there may be, and whose gives way.
//!
//! Whoever comes when all places are taken gets one of the address that holds most, if that one holds at least two more than
//! the newcomer's. Otherwise it is let in as a guest: for one question about the node's health, and for [`GUEST_TIME`].

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::turns::Caller;

/// Guests at once. The oldest of the address with most gives way to the next, unless its question has come: connections that
/// ask nothing keep no question out, and what is asked is answered.
const GUESTS: usize = 32;
/// How long a guest may stay.
pub(crate) const GUEST_TIME: Duration = Duration::from_secs(3);

/// The connections of a listener.
pub(crate) struct Places {
    /// Places, guests' not among them; at least 1.
    max: usize,
    began: Instant,
    next: AtomicU64,
    held: Mutex<BTreeMap<u64, Held>>,
}

struct Held {
    from: IpAddr,
    guest: bool,
    spoke: Arc<AtomicU64>,
    asks: Arc<AtomicBool>,
    cut: oneshot::Sender<()>,
}

/// One connection's place, free again when dropped.
pub(crate) struct Place {
    id: u64,
    from: IpAddr,
    places: Arc<Places>,
    /// Here for one question only.
    pub(crate) guest: bool,
    /// When something was last sent to the client, ms since the listener began.
    spoke: Arc<AtomicU64>,
    /// A question has come, and is not answered.
    pub(crate) asks: Arc<AtomicBool>,
    /// Answers once the place is another's.
    pub(crate) cut: oneshot::Receiver<()>,
}

impl Places {
    pub(crate) fn new(max: usize) -> Arc<Places> {
        Arc::new(Places { max: max.max(1), began: Instant::now(), next: AtomicU64::new(0), held: Mutex::default() })
    }

    /// A place for a connection from this address.
    pub(crate) fn take(self: &Arc<Self>, from: IpAddr) -> Place {
        let from = origin(from);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |guest: bool| held.iter().filter(move |(_, held)| held.guest == guest);
        let mut gives_way = None;
        let guest = of(false).count() >= self.max && {
            let own = of(false).filter(|(_, held)| held.from == from).count();
            let most = busiest(&held, false).filter(|(_, count)| *count > own + 1);
            // Of that address the one that has been told nothing for longest, those that wait for an answer last: who comes
            // again and again cuts nobody's request short while an idle connection is left.
            let order = |held: &Held| (held.asks.load(Ordering::Relaxed), held.spoke.load(Ordering::Relaxed));
            gives_way =
                most.and_then(|(most, _)| of(false).filter(|(_, held)| held.from == most).min_by_key(|(_, held)| order(held)));
            gives_way.is_none()
        };
        if guest && of(true).count() >= GUESTS {
            let most = busiest(&held, true).map(|(most, _)| most);
            let silent = |held: &Held| !held.asks.load(Ordering::Relaxed);
            gives_way = of(true)
                .find(|(_, held)| Some(held.from) == most && silent(held))
                .or_else(|| of(true).find(|(_, held)| silent(held)))
                .or_else(|| of(true).next());
        }
        let gives_way = gives_way.map(|(id, _)| *id);
        if let Some(gone) = gives_way.and_then(|id| held.remove(&id)) {
            // Nobody listens when it ends by itself at this moment.
            let _ = gone.cut.send(());
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let spoke = Arc::new(AtomicU64::new(self.now()));
        let (cut, when_cut) = oneshot::channel();
        let asks = Arc::new(AtomicBool::new(false));
        held.insert(id, Held { from, guest, spoke: Arc::clone(&spoke), asks: Arc::clone(&asks), cut });
        Place { id, from, places: Arc::clone(self), guest, spoke, asks, cut: when_cut }
    }

    /// The address that holds most places, and how many.
    pub(crate) fn busiest(&self) -> Option<(IpAddr, usize)> {
        busiest(&self.held.lock().unwrap_or_else(PoisonError::into_inner), false)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Connections of all listeners of this process so far, so that no two have the same number.
static CONNECTIONS: AtomicU64 = AtomicU64::new(0);

impl Place {
    /// Whose it is.
    pub(crate) fn caller(&self) -> Caller {
        Caller { from: self.from, connection: CONNECTIONS.fetch_add(1, Ordering::Relaxed) }
    }

    /// The client's address; of IPv6 its network.
    pub(crate) fn from(&self) -> IpAddr {
        self.from
    }

    /// Something was sent to the client.
    pub(crate) fn spoke(&self) {
        self.spoke.store(self.places.now(), Ordering::Relaxed);
    }

    /// When something was last sent to the client; for a guest when it came.
    pub(crate) fn since(&self) -> Instant {
        self.places.began + Duration::from_millis(self.spoke.load(Ordering::Relaxed))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.held.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

/// The address with most of the places, or of the guests, and how many.
fn busiest(held: &BTreeMap<u64, Held>, guests: bool) -> Option<(IpAddr, usize)> {
    let mut counts: BTreeMap<IpAddr, usize> = BTreeMap::new();
    for held in held.values().filter(|held| held.guest == guests) {
        *counts.entry(held.from).or_default() += 1;
    }
    counts.into_iter().max_by_key(|(_, count)| *count)
}

/// Whose an address is: an IPv4 address by itself, of IPv6 the 64 bits that one host is given at least.
fn origin(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn at(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn is_cut(place: &mut Place) -> bool {
        place.cut.try_recv().is_ok()
    }

    #[test]
    fn who_holds_most_gives_way_and_only_to_who_holds_less() {
        let places = Places::new(4);
        let mut held: Vec<Place> = (0..4).map(|_| places.take(at(1))).collect();
        assert!(held.iter().all(|place| !place.guest));
        held[0].spoke.store(1_000_000, Ordering::Relaxed);
        assert_eq!(places.busiest(), Some((at(1), 4)));
        // The second of four has been told nothing for as long as any other, and came first of those.
        let second = places.take(at(2));
        assert!(!second.guest && is_cut(&mut held[1]) && !is_cut(&mut held[0]));
        // Who waits for an answer is the last to go.
        held[2].asks.store(true, Ordering::Relaxed);
        held[3].spoke.store(2_000_000, Ordering::Relaxed);
        let third = places.take(at(2));
        assert!(!is_cut(&mut held[2]));
        assert!(!third.guest);
        assert_eq!(held.iter_mut().map(is_cut).filter(|cut| *cut).count(), 1);
        // Two each: nobody has to give way any more, whoever comes.
        assert!(places.take(at(1)).guest && places.take(at(2)).guest);
        let fourth = places.take(at(3));
        assert!(!fourth.guest, "one of two for who has none");
        drop(fourth);
        assert!(!places.take(at(1)).guest, "a place that was given back");
    }

    #[test]
    fn guests_are_few_and_the_oldest_goes() {
        let places = Places::new(1);
        let _held = places.take(at(1));
        let mut guests: Vec<Place> = (0..GUESTS).map(|_| places.take(at(1))).collect();
        assert!(guests.iter().all(|place| place.guest));
        let last = places.take(at(1));
        assert!(last.guest && is_cut(&mut guests[0]) && !is_cut(&mut guests[1]));
        // What is asked is answered, and another address has its guest.
        guests[1].asks.store(true, Ordering::Relaxed);
        let other = places.take(at(9));
        assert!(!is_cut(&mut guests[1]) && is_cut(&mut guests[2]));
        let _more: Vec<Place> = (0..100).map(|_| places.take(at(1))).collect();
        let mut other = other;
        assert!(!is_cut(&mut guests[1]) && !is_cut(&mut other));
    }

    #[test]
    fn an_address_of_ipv6_is_its_network() {
        let parse = |text: &str| origin(text.parse().unwrap());
        assert_eq!(parse("2001:db8::1"), parse("2001:db8::ffff:1"));
        assert_ne!(parse("2001:db8:0:1::1"), parse("2001:db8::1"));
        assert_eq!(parse("::ffff:10.0.0.1"), at(1));
        assert_ne!(parse("10.0.0.2"), at(1));
    }
}
