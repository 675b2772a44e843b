//! Turns of requests that take time: so many work at once, the others wait, and who works gives its place up after a [`SLICE`]
//! when somebody waits. So a request of a second and one of a millisecond share the processor, whoever came first.
//!
//! The next is of the address that works least and was served longest ago, and of that address the connection of which the same
//! holds. Whoever has many requests, connections or addresses waits behind itself.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// How long a request works before another gets its place. Who comes new waits about this long at most.
pub(crate) const SLICE: Duration = Duration::from_millis(10);
/// How often who waits looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(50);
/// Addresses and connections whose last turn is remembered.
const REMEMBERED: usize = 4096;

/// Who asks: an address and one of its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Caller {
    /// The client's address; of IPv6 its network.
    pub(crate) from: IpAddr,
    /// Another number for each connection.
    pub(crate) connection: u64,
}

/// The places, and who waits for one.
pub(crate) struct Turns {
    state: Mutex<State>,
}

struct State {
    free: usize,
    /// Turns given so far.
    count: u64,
    working: BTreeMap<Caller, usize>,
    waiting: Vec<Waiting>,
    /// When an address was last given a turn.
    addresses: BTreeMap<IpAddr, u64>,
    /// And a connection.
    connections: BTreeMap<Caller, u64>,
}

struct Waiting {
    caller: Caller,
    ticket: u64,
    called: Arc<Condvar>,
}

/// A place to work, free again when dropped.
pub(crate) struct Turn {
    turns: Arc<Turns>,
    caller: Caller,
    since: Instant,
}

impl Turns {
    pub(crate) fn new(places: usize) -> Arc<Turns> {
        let state = State {
            free: places.max(1),
            count: 0,
            working: BTreeMap::new(),
            waiting: Vec::new(),
            addresses: BTreeMap::new(),
            connections: BTreeMap::new(),
        };
        Arc::new(Turns { state: Mutex::new(state) })
    }

    /// Waits for a turn on this thread, as long as `wanted`; `None` once it is not. Not for async threads.
    pub(crate) fn take(self: &Arc<Self>, caller: Caller, wanted: impl Fn() -> bool) -> Option<Turn> {
        let mut state = self.state.lock();
        if state.free > 0 && state.waiting.is_empty() {
            state.give(caller);
            return Some(self.turn(caller));
        }
        let called = Arc::new(Condvar::new());
        state.count += 1;
        let ticket = state.count;
        state.waiting.push(Waiting { caller, ticket, called: Arc::clone(&called) });
        // A place that became free since is somebody's who waits.
        state.call();
        loop {
            if !state.waiting.iter().any(|waiting| waiting.ticket == ticket) {
                drop(state);
                return Some(self.turn(caller));
            }
            if !wanted() {
                state.waiting.retain(|waiting| waiting.ticket != ticket);
                return None;
            }
            called.wait_for(&mut state, LOOK);
        }
    }

    fn turn(self: &Arc<Self>, caller: Caller) -> Turn {
        Turn { turns: Arc::clone(self), caller, since: Instant::now() }
    }
}

impl State {
    /// Gives a free place to `caller`.
    fn give(&mut self, caller: Caller) {
        self.free -= 1;
        self.count += 1;
        *self.working.entry(caller).or_default() += 1;
        if self.connections.len() >= REMEMBERED || self.addresses.len() >= REMEMBERED {
            self.connections.clear();
            self.addresses.clear();
        }
        self.addresses.insert(caller.from, self.count);
        self.connections.insert(caller, self.count);
    }

    /// Gives free places to those who wait, in order of their claims.
    fn call(&mut self) {
        while self.free > 0 {
            let claim = |waiting: &Waiting| {
                let caller = waiting.caller;
                let first = Caller { from: caller.from, connection: 0 };
                let last = Caller { from: caller.from, connection: u64::MAX };
                let of_address: usize = self.working.range(first..=last).map(|(_, count)| *count).sum();
                // Who is not known counts as served when it came: coming again as somebody else gains nothing.
                let served = self.addresses.get(&caller.from).copied().unwrap_or(waiting.ticket);
                let of_connection = self.working.get(&caller).copied().unwrap_or(0);
                let heard = self.connections.get(&caller).copied().unwrap_or(waiting.ticket);
                (of_address, served, of_connection, heard, waiting.ticket)
            };
            let Some(next) = (0..self.waiting.len()).min_by_key(|index| claim(&self.waiting[*index])) else { return };
            let next = self.waiting.swap_remove(next);
            self.give(next.caller);
            next.called.notify_one();
        }
    }
}

impl Turn {
    /// Whether it has lasted a [`SLICE`] and somebody waits.
    pub(crate) fn is_over(&self) -> bool {
        self.since.elapsed() >= SLICE && !self.turns.state.lock().waiting.is_empty()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.turns.state.lock();
        state.free += 1;
        if let Some(count) = state.working.get_mut(&self.caller) {
            *count -= 1;
            if *count == 0 {
                state.working.remove(&self.caller);
            }
        }
        state.call();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::mpsc;
    use std::thread;

    fn caller(last: u8, connection: u64) -> Caller {
        Caller { from: IpAddr::from([10, 0, 0, last]), connection }
    }

    /// Starts threads that wait for a turn, one after the other, and gives the order in which they are called.
    fn order(turns: &Arc<Turns>, held: Turn, callers: &[Caller]) -> Vec<Caller> {
        let (told, hear) = mpsc::channel();
        let mut threads = Vec::new();
        for (nth, caller) in callers.iter().copied().enumerate() {
            let (turns_of, told) = (Arc::clone(turns), told.clone());
            threads.push(thread::spawn(move || {
                let turn = turns_of.take(caller, || true).unwrap();
                told.send(caller).unwrap();
                drop(turn);
            }));
            while turns.state.lock().waiting.len() <= nth {
                thread::yield_now();
            }
        }
        drop(held);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        hear.try_iter().collect()
    }

    #[test]
    fn addresses_take_turns_and_connections_within_them() {
        let turns = Turns::new(1);
        let held = turns.take(caller(1, 1), || true).unwrap();
        let waiting = [caller(1, 1), caller(1, 1), caller(1, 2), caller(2, 7), caller(1, 2), caller(3, 9), caller(2, 7)];
        let order = order(&turns, held, &waiting);
        let expected = [caller(1, 1), caller(2, 7), caller(3, 9), caller(1, 2), caller(2, 7), caller(1, 1), caller(1, 2)];
        assert_eq!(order, expected);
        let state = turns.state.lock();
        assert!(state.free == 1 && state.working.is_empty() && state.waiting.is_empty());
    }

    #[test]
    fn who_is_not_wanted_any_more_leaves() {
        let turns = Turns::new(1);
        let held = turns.take(caller(1, 1), || true).unwrap();
        assert!(turns.take(caller(2, 2), || false).is_none());
        assert!(turns.state.lock().waiting.is_empty());
        assert!(!held.is_over(), "nobody waits");
        drop(held);
        assert!(turns.take(caller(2, 2), || false).is_some(), "free at once");
    }
}
