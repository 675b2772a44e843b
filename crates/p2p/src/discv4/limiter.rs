//! How many packets an address may make us look at.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Instant;

/// Packets per second of one address in the long run: a neighbour's lookups need fewer than ten.
const PER_SECOND: f64 = 40.0;
/// Packets of one address at once.
const BURST: f64 = 80.0;
/// Packets per second of all addresses, which source addresses cannot be invented to pass: each costs a signature.
const ALL_PER_SECOND: f64 = 1000.0;
const ALL_BURST: f64 = 1000.0;
/// Addresses remembered; beyond them the table starts anew, and the common bound holds meanwhile.
const MAX_ADDRESSES: usize = 4096;

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Bucket {
    fn take(&mut self, now: Instant, per_second: f64, burst: f64) -> bool {
        self.tokens = (self.tokens + now.duration_since(self.at).as_secs_f64() * per_second).min(burst);
        self.at = now;
        let enough = self.tokens >= 1.0;
        if enough {
            self.tokens -= 1.0;
        }
        enough
    }
}

/// Token buckets by address and for all.
#[derive(Debug)]
pub struct Limiter {
    all: Bucket,
    by_ip: HashMap<IpAddr, Bucket>,
}

impl Limiter {
    /// All buckets full.
    pub fn new(now: Instant) -> Self {
        Limiter { all: Bucket { tokens: ALL_BURST, at: now }, by_ip: HashMap::new() }
    }

    /// Whether a packet of this address is to be looked at.
    pub fn allow(&mut self, now: Instant, ip: IpAddr) -> bool {
        if self.by_ip.len() >= MAX_ADDRESSES && !self.by_ip.contains_key(&ip) {
            self.by_ip.clear();
        }
        let bucket = self.by_ip.entry(ip).or_insert(Bucket { tokens: BURST, at: now });
        bucket.take(now, PER_SECOND, BURST) && self.all.take(now, ALL_PER_SECOND, ALL_BURST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_flood_is_bounded_by_address_and_in_all() {
        let now = Instant::now();
        let mut limiter = Limiter::new(now);
        let one = IpAddr::from([192, 0, 2, 1]);
        assert_eq!((0..10_000).filter(|_| limiter.allow(now, one)).count(), BURST as usize);
        assert!(limiter.allow(now, IpAddr::from([192, 0, 2, 2])), "others are not hit");
        assert_eq!(
            (0..10_000).filter(|_| limiter.allow(now + Duration::from_secs(1), one)).count(),
            PER_SECOND as usize
        );
        let mut limiter = Limiter::new(now);
        let many = (0..100_000u32).filter(|n| limiter.allow(now, IpAddr::from(n.to_be_bytes()))).count();
        assert_eq!(many, ALL_BURST as usize);
        assert!(limiter.by_ip.len() <= MAX_ADDRESSES);
    }
}
