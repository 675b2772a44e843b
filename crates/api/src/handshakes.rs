//! How often an address may begin TLS. A handshake costs the listener about a millisecond of a core and its client next to nothing:
//! whoever begins many waits, and in the end is cut, without delay to others.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Handshakes that an address may begin at once.
const BURST: u32 = 64;
/// One more after each of these: 20 a second.
const EACH: Duration = Duration::from_millis(50);
/// Who would wait longer is cut.
const LONGEST: Duration = Duration::from_secs(5);
/// Longest that a handshake may take, the wait included.
pub(crate) const TIME: Duration = Duration::from_secs(10);
/// Addresses that are remembered; when more are busy at once, all begin anew.
const REMEMBERED: usize = 4096;

/// When each address has paid for what it began.
#[derive(Debug, Default)]
pub(crate) struct Handshakes {
    paid: Mutex<BTreeMap<IpAddr, Instant>>,
}

impl Handshakes {
    /// How long a handshake of this address has to wait from `now` on; `None` when it is too long.
    pub(crate) fn begin(&self, from: IpAddr, now: Instant) -> Option<Duration> {
        let mut all = self.paid.lock();
        if all.len() >= REMEMBERED && !all.contains_key(&from) {
            all.retain(|_, paid| *paid > now);
            if all.len() >= REMEMBERED {
                all.clear();
            }
        }
        let paid = all.get(&from).copied().unwrap_or(now).max(now);
        let wait = (paid + EACH).saturating_duration_since(now + EACH * BURST);
        if wait > LONGEST {
            return None;
        }
        all.insert(from, paid + EACH);
        Some(wait)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn who_begins_many_waits_and_others_do_not() {
        let handshakes = Handshakes::default();
        let (one, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let now = Instant::now();
        let waits: Vec<_> = (0..300).map(|_| handshakes.begin(one, now)).collect();
        assert!(waits[..64].iter().all(|wait| *wait == Some(Duration::ZERO)));
        assert_eq!((waits[64], waits[163]), (Some(EACH), Some(LONGEST)));
        assert!(waits[164..].iter().all(Option::is_none), "cut, and not made to wait longer for it");
        assert_eq!(handshakes.begin(other, now), Some(Duration::ZERO));
        assert_eq!(handshakes.begin(one, now + EACH), Some(LONGEST));
        assert_eq!(handshakes.begin(one, now + Duration::from_secs(60)), Some(Duration::ZERO));
        for address in 0..10_000_u32 {
            assert!(handshakes.begin(IpAddr::from(address.to_be_bytes()), now).is_some());
        }
        assert!(handshakes.paid.lock().len() <= REMEMBERED);
    }
}
