//! What one request may cost: a call, or a batch as a whole.
//!
//! An [`Allowance`] is made when a request is read and lent to every method and tracer that carries it out. What is used up ends
//! the request with an error that says so; a client that is gone ends it without one. See `docs/costs.md` for the bounds.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::error::RpcError;
use crate::purse::Lease;
use crate::table::Cost;
use crate::turns::{Caller, Turn, Turns};
use crate::wire;

/// Bytes of memory that all requests together may hold while they are carried out, answers that are sent not among them.
pub(crate) const MEMORY: usize = 128 << 20;
/// Bytes of memory that one request may hold while it is carried out.
pub(crate) const MEMORY_OF_ONE: usize = 64 << 20;
/// Bytes of it that every request has and that do not count.
const FREE: usize = 256 << 10;
/// Bytes taken from the room of all at once.
const STEP: usize = 256 << 10;
/// Gas of one request, and of one call whatever `rpc-gas-cap` says: with more, one instruction could ask for more memory than the
/// machine has before anybody looks.
pub(crate) const MOST_GAS: u64 = 10_000_000_000;
/// Instructions of one request: some 20 s of one core.
const MOST_STEPS: u64 = 1_000_000_000;

/// Set when nobody waits for the answer any more.
pub(crate) type Gone = Arc<AtomicBool>;

/// Sets [`Gone`] when dropped: by whoever waits for the answer, with the wait.
pub(crate) struct Waits(pub(crate) Gone);

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Where a request waits for its turn.
pub(crate) struct Queues {
    pub(crate) caller: Caller,
    /// What executes, traces or searches.
    pub(crate) heavy: Arc<Turns>,
    /// What reads whole blocks, and long batches.
    pub(crate) reading: Arc<Turns>,
    pub(crate) memory: Lease,
}

/// What is left to one request. Of one thread at a time.
pub(crate) struct Allowance {
    from: IpAddr,
    until: Instant,
    gone: Gone,
    gas: Cell<u64>,
    steps: Cell<u64>,
    bytes: Cell<usize>,
    memory: Cell<usize>,
    lease: RefCell<Option<Lease>>,
    turns: Option<(Caller, Arc<Turns>, Arc<Turns>)>,
    turn: RefCell<Option<(Turn, Cost)>>,
}

impl Allowance {
    /// For a request that is carried out at once where it was read, without turns.
    pub(crate) fn new(time: Duration, bytes: usize) -> Self {
        Self {
            from: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            until: Instant::now() + time,
            gone: Gone::default(),
            gas: Cell::new(MOST_GAS),
            steps: Cell::new(MOST_STEPS),
            bytes: Cell::new(bytes),
            memory: Cell::new(0),
            lease: RefCell::new(None),
            turns: None,
            turn: RefCell::new(None),
        }
    }

    /// The same with the address of the client.
    pub(crate) fn of(self, from: IpAddr) -> Self {
        Self { from, ..self }
    }

    /// The same for one that waits for its turn and may be given up.
    pub(crate) fn queued(self, gone: Gone, queues: Queues) -> Self {
        let Queues { caller, heavy, reading, memory } = queues;
        Self { from: caller.from, gone, lease: RefCell::new(Some(memory)), turns: Some((caller, heavy, reading)), ..self }
    }

    /// Before a call of this cost: waits for a turn where there are turns.
    pub(crate) fn begin(&self, cost: Cost) -> Result<(), RpcError> {
        self.check()?;
        let Some((caller, heavy, reading)) = &self.turns else { return Ok(()) };
        let cost = if cost == Cost::Light { Cost::Block } else { cost };
        let mut turn = self.turn.borrow_mut();
        if turn.as_ref().is_some_and(|(turn, of)| *of == cost && !turn.is_over()) {
            return Ok(());
        }
        // Given back before another is waited for, and by who only waits for the node.
        *turn = None;
        let turns = match cost {
            Cost::Light | Cost::Block => reading,
            Cost::Heavy => heavy,
            Cost::Waits => return Ok(()),
        };
        let wanted = || self.check().is_ok();
        let Some(taken) = turns.take(*caller, wanted) else { return Err(self.check().err().unwrap_or(RpcError::TIMEOUT)) };
        *turn = Some((taken, cost));
        drop(turn);
        self.check()
    }

    /// Between two pieces of work: ends what is over, and lets others have the place.
    ///
    /// # Errors
    /// [`RpcError::TIMEOUT`] after the deadline; [`RpcError::GONE`] when nobody waits for the answer.
    pub(crate) fn pause(&self) -> Result<(), RpcError> {
        let cost = self.turn.borrow().as_ref().map(|(_, cost)| *cost);
        match cost {
            Some(cost) => self.begin(cost),
            None => self.check(),
        }
    }

    fn check(&self) -> Result<(), RpcError> {
        if self.gone.load(Ordering::Relaxed) {
            Err(RpcError::GONE)
        } else if Instant::now() >= self.until {
            Err(RpcError::TIMEOUT)
        } else {
            Ok(())
        }
    }

    /// Uses gas.
    pub(crate) fn spend_gas(&self, gas: u64) {
        self.gas.set(self.gas.get().saturating_sub(gas));
    }

    /// Uses instructions.
    ///
    /// # Errors
    /// [`RpcError::STEPS`] when there are not that many left.
    pub(crate) fn spend_steps(&self, steps: u64) -> Result<(), RpcError> {
        self.steps.set(self.steps.get().checked_sub(steps).ok_or(RpcError::STEPS)?);
        Ok(())
    }

    /// Before an execution.
    ///
    /// # Errors
    /// [`RpcError::GAS`] when no gas is left: the last execution may use more than was, so that each has what it asked for.
    pub(crate) fn has_gas(&self) -> Result<(), RpcError> {
        if self.gas.get() == 0 { Err(RpcError::GAS) } else { Ok(()) }
    }

    /// Whose request it is; nobody's for one that comes from no connection.
    pub(crate) fn from(&self) -> IpAddr {
        self.from
    }

    /// Bytes that the answer may still have.
    pub(crate) fn room(&self) -> usize {
        self.bytes.get()
    }

    /// Takes bytes of the answer.
    pub(crate) fn spend_bytes(&self, bytes: usize) {
        self.bytes.set(self.bytes.get().saturating_sub(bytes));
    }

    /// Gives bytes of the answer back, which are taken again with the whole.
    pub(crate) fn return_bytes(&self, bytes: usize) {
        self.bytes.set(self.bytes.get().saturating_add(bytes));
    }

    /// Bytes of memory held now.
    pub(crate) fn held(&self) -> usize {
        self.memory.get()
    }

    /// Bytes of memory that may still be held, as far as this request decides.
    pub(crate) fn memory_left(&self) -> usize {
        MEMORY_OF_ONE.saturating_sub(self.memory.get())
    }

    /// Holds so many bytes of memory more.
    ///
    /// # Errors
    /// [`RpcError::MEMORY`] beyond what one request may hold; [`RpcError::BUSY`] when others hold what there is.
    pub(crate) fn hold(&self, bytes: usize) -> Result<(), RpcError> {
        let held = self.memory.get().saturating_add(bytes);
        if held > MEMORY_OF_ONE {
            return Err(RpcError::MEMORY);
        }
        if let Some(lease) = &mut *self.lease.borrow_mut() {
            let wanted = held.saturating_sub(FREE);
            if wanted > lease.bytes() && !lease.grow((wanted - lease.bytes()).next_multiple_of(STEP)) {
                return Err(RpcError::BUSY);
            }
        }
        self.memory.set(held);
        Ok(())
    }

    /// Gives back all memory but so many bytes.
    pub(crate) fn hold_only(&self, bytes: usize) {
        if bytes < self.memory.get() {
            self.memory.set(bytes);
            if let Some(lease) = &mut *self.lease.borrow_mut() {
                lease.shrink_to(bytes.saturating_sub(FREE).next_multiple_of(STEP));
            }
        }
    }

    /// JSON text of an answer, or of a part of one.
    ///
    /// # Errors
    /// [`RpcError::RESPONSE_SIZE`] beyond the room of the answer, and as [`Allowance::hold`].
    pub(crate) fn json<T: Serialize + ?Sized>(&self, value: &T) -> Result<Vec<u8>, RpcError> {
        let text = wire::json(value, self.room())?;
        // It is there a second time while it is put into the body.
        self.hold(2 * text.len())?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::purse::Purse;

    fn queues(memory: &Arc<Purse>, last: u8) -> Queues {
        let from = IpAddr::from([10, 0, 0, last]);
        let caller = Caller { from, connection: u64::from(last) };
        Queues { caller, heavy: Turns::new(1), reading: Turns::new(1), memory: memory.lease(from) }
    }

    #[test]
    fn each_bound_ends_the_request_with_its_own_error() {
        let allowance = Allowance::new(Duration::from_secs(60), 50);
        assert_eq!(allowance.has_gas(), Ok(()));
        allowance.spend_gas(MOST_GAS - 1);
        assert_eq!(allowance.has_gas(), Ok(()));
        allowance.spend_gas(2);
        assert_eq!(allowance.has_gas(), Err(RpcError::GAS));
        assert_eq!(allowance.spend_steps(MOST_STEPS), Ok(()));
        assert_eq!(allowance.spend_steps(1), Err(RpcError::STEPS));
        assert_eq!(allowance.json(&vec![1_u8; 24]).unwrap().len(), 49);
        allowance.spend_bytes(49);
        assert_eq!(allowance.json(&12), Err(RpcError::RESPONSE_SIZE));
        assert_eq!(allowance.pause(), Ok(()));
        assert_eq!(Allowance::new(Duration::ZERO, 0).pause(), Err(RpcError::TIMEOUT));
    }

    #[test]
    fn memory_is_bounded_for_one_and_for_all() {
        let purse = Purse::new(MEMORY);
        let of = |last: u8| Allowance::new(Duration::from_secs(60), 0).queued(Gone::default(), queues(&purse, last));
        let (first, second, other) = (of(1), of(1), of(2));
        assert_eq!(first.hold(MEMORY_OF_ONE), Ok(()));
        assert_eq!(first.hold(1), Err(RpcError::MEMORY));
        assert_eq!(second.hold(MEMORY_OF_ONE), Err(RpcError::BUSY), "of the same address");
        assert_eq!(second.hold(FREE), Ok(()), "a little is always there");
        assert_eq!(other.hold(MEMORY / 4), Ok(()), "another's share");
        first.hold_only(10);
        assert_eq!(second.hold(MEMORY_OF_ONE - FREE), Ok(()));
        drop((first, second, other));
        assert!(purse.take(IpAddr::from([10, 0, 0, 3]), MEMORY / 4 * 3).is_some(), "all is given back");
    }

    #[test]
    fn who_is_gone_is_not_worked_for() {
        let purse = Purse::new(MEMORY);
        let gone = Gone::default();
        let waits = Waits(gone.clone());
        let allowance = Allowance::new(Duration::from_secs(60), 0).queued(gone, queues(&purse, 1));
        assert_eq!(allowance.begin(Cost::Heavy), Ok(()));
        assert_eq!(allowance.pause(), Ok(()));
        drop(waits);
        assert_eq!(allowance.pause(), Err(RpcError::GONE));
    }
}
