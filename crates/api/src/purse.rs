//! What clients hold of something that there is only so much of (bytes, threads, filters): no address can take all of it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

/// What there is, and who holds how much of it.
pub(crate) struct Purse {
    total: usize,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    all: usize,
    by: BTreeMap<IpAddr, usize>,
}

/// What one request holds of a [`Purse`], free again when dropped.
pub(crate) struct Lease {
    purse: Arc<Purse>,
    from: IpAddr,
    bytes: usize,
}

impl Purse {
    /// Of so many bytes, or whatever is counted. One address may hold three quarters of them: the last quarter is for others.
    pub(crate) fn new(total: usize) -> Arc<Purse> {
        Arc::new(Purse { total, held: Mutex::default() })
    }

    /// A lease of nothing yet.
    pub(crate) fn lease(self: &Arc<Self>, from: IpAddr) -> Lease {
        Lease { purse: Arc::clone(self), from, bytes: 0 }
    }

    /// A lease of so many bytes; `None` when there is no room. Nobody waits for it: whoever waited would hold what others need.
    pub(crate) fn take(self: &Arc<Self>, from: IpAddr, bytes: usize) -> Option<Lease> {
        let mut lease = self.lease(from);
        lease.grow(bytes).then_some(lease)
    }
}

impl Lease {
    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes so many bytes more; `false`, and nothing taken, when there are not that many for this address.
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        let mut held = self.purse.held.lock();
        let own = held.by.get(&self.from).copied().unwrap_or(0);
        let fits = |held: usize, of: usize| held.checked_add(bytes).is_some_and(|sum| sum <= of);
        if !fits(held.all, self.purse.total) || !fits(own, self.purse.total / 4 * 3) {
            return false;
        }
        if bytes > 0 {
            held.all += bytes;
            held.by.insert(self.from, own + bytes);
            self.bytes += bytes;
        }
        true
    }

    /// Gives back all but so many bytes.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        let less = self.bytes.saturating_sub(bytes);
        if less == 0 {
            return;
        }
        self.bytes -= less;
        let mut held = self.purse.held.lock();
        held.all = held.all.saturating_sub(less);
        if let Some(own) = held.by.get_mut(&self.from) {
            *own = own.saturating_sub(less);
            if *own == 0 {
                held.by.remove(&self.from);
            }
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn at(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn an_address_leaves_a_quarter_to_others() {
        let purse = Purse::new(100);
        let mut held = purse.take(at(1), 50).unwrap();
        assert!(purse.take(at(1), 26).is_none());
        assert!(held.grow(25) && !held.grow(1), "three quarters");
        assert!(!held.grow(usize::MAX));
        assert!(purse.take(at(2), 26).is_none(), "more than is left");
        let other = purse.take(at(2), 25).unwrap();
        assert!(purse.take(at(3), 1).is_none());
        held.shrink_to(10);
        assert_eq!((held.bytes(), other.bytes()), (10, 25));
        assert!(purse.take(at(1), 65).is_some(), "what was given back");
        drop((held, other));
        assert!(purse.held.lock().by.is_empty() && purse.held.lock().all == 0);
    }
}
