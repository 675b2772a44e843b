//! What datagrams may make us do, judged before anything of them is verified.
//!
//! A source address of UDP can be invented, so it proves nothing, and one budget for all would be whoever's who sends
//! most. Each kind of datagram has its lane, and no lane takes from another:
//!
//! - an answer that nobody can have guessed, because it names the hash of a packet of ours that waits for it;
//! - what comes from an address of a configured node, each address for itself;
//! - what comes from an address that has proved itself, all together and each for itself;
//! - everything else, all together and by address and network.
//!
//! Whoever invents the address of a configured node spends what that address has; its answers to our own Pings still
//! come through, so that both ends find each other by them.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::Instant;

use crate::bucket::{Bucket, Rate};
use crate::net::{self, Block};

/// Packets of one address: a neighbour's lookups need fewer than ten a second.
const ADDRESS: Rate = Rate::new(80.0, 40.0);
/// Packets of one network of strangers.
const NETWORK: Rate = Rate::new(160.0, 80.0);
/// Packets of all strangers: each costs a signature, some 50 µs.
const STRANGERS: Rate = Rate::new(500.0, 500.0);
/// Packets of all addresses that have proved themselves.
const PROVED: Rate = Rate::new(500.0, 500.0);
/// Places of strangers' addresses and networks, each. Who shares one by chance shares its budget; nobody can choose with
/// whom, and however many addresses are invented the table stays as it is.
const PLACES: usize = 4096;

/// Where a datagram comes from, as far as its source address tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// An address of a configured node.
    Configured,
    /// An address that a node has proved to have.
    Proved,
    /// Any other.
    Stranger,
}

#[derive(Debug)]
struct Places {
    secret: RandomState,
    buckets: Vec<Bucket>,
}

impl Places {
    fn new(rate: Rate, now: Instant) -> Self {
        Places { secret: RandomState::new(), buckets: vec![Bucket::full(rate, now); PLACES] }
    }

    fn take(&mut self, block: Block, rate: Rate, now: Instant) -> bool {
        let place = self.secret.hash_one(block) as usize % PLACES;
        self.buckets[place].take(rate, now)
    }
}

/// The budgets.
#[derive(Debug)]
pub struct Limiter {
    strangers: Bucket,
    addresses: Places,
    networks: Places,
    proved: Bucket,
    /// Of proved addresses, whose number is bounded by the proofs.
    proved_addresses: Places,
    configured: HashSet<IpAddr>,
    /// Of configured addresses.
    reserved: HashMap<IpAddr, Bucket>,
}

impl Limiter {
    /// All budgets full.
    pub fn new(now: Instant) -> Self {
        Limiter {
            strangers: Bucket::full(STRANGERS, now),
            addresses: Places::new(ADDRESS, now),
            networks: Places::new(NETWORK, now),
            proved: Bucket::full(PROVED, now),
            proved_addresses: Places::new(ADDRESS, now),
            configured: HashSet::new(),
            reserved: HashMap::new(),
        }
    }

    /// The addresses of configured nodes are these now.
    pub fn configure(&mut self, addresses: impl Iterator<Item = IpAddr>) {
        self.configured = addresses.map(|ip| ip.to_canonical()).collect();
        self.reserved.retain(|ip, _| self.configured.contains(ip));
    }

    /// Whether an address is a configured node's.
    pub fn is_configured(&self, ip: IpAddr) -> bool {
        self.configured.contains(&ip)
    }

    /// Whether a packet from there is to be looked at.
    pub fn allow(&mut self, now: Instant, ip: IpAddr, source: Source) -> bool {
        match source {
            Source::Configured => {
                let bucket = || Bucket::full(ADDRESS, now);
                self.configured.contains(&ip) && self.reserved.entry(ip).or_insert_with(bucket).take(ADDRESS, now)
            }
            Source::Proved => self.proved_addresses.take(net::address(ip), ADDRESS, now) && self.proved.take(PROVED, now),
            Source::Stranger => {
                self.addresses.take(net::address(ip), ADDRESS, now)
                    && (net::is_local(ip) || self.networks.take(net::network(ip), NETWORK, now))
                    && self.strangers.take(STRANGERS, now)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn strange(limiter: &mut Limiter, now: Instant, ip: IpAddr) -> bool {
        limiter.allow(now, ip, Source::Stranger)
    }

    #[test]
    fn a_flood_is_bounded_by_address_and_in_all() {
        let now = Instant::now();
        let mut limiter = Limiter::new(now);
        let one = IpAddr::from([192, 0, 2, 1]);
        assert_eq!((0..10_000).filter(|_| strange(&mut limiter, now, one)).count(), ADDRESS.burst as usize);
        let later = now + Duration::from_secs(1);
        assert_eq!((0..10_000).filter(|_| strange(&mut limiter, later, one)).count(), ADDRESS.a_second as usize);
        let mut limiter = Limiter::new(now);
        let of_network = (0..10_000u32).filter(|n| strange(&mut limiter, now, IpAddr::from([192, 0, 2, *n as u8]))).count();
        assert_eq!(of_network, NETWORK.burst as usize);
        let mut limiter = Limiter::new(now);
        let many = (0..100_000u32).filter(|n| strange(&mut limiter, now, IpAddr::from((n << 8).to_be_bytes()))).count();
        assert_eq!(many, STRANGERS.burst as usize);
    }

    #[test]
    fn invented_addresses_take_nothing_from_configured_and_proved_ones() {
        let now = Instant::now();
        let mut limiter = Limiter::new(now);
        let (boot, member) = (IpAddr::from([198, 51, 100, 1]), IpAddr::from([198, 51, 100, 2]));
        limiter.configure([boot].into_iter());
        for n in 0..100_000u32 {
            strange(&mut limiter, now, IpAddr::from((n << 8).to_be_bytes()));
        }
        assert!(!strange(&mut limiter, now, IpAddr::from([203, 0, 113, 1])), "strangers have used theirs up");
        assert!(limiter.allow(now, boot, Source::Configured) && limiter.allow(now, member, Source::Proved));
        // Who says he is the boot spends what the boot's address has, and nothing else.
        while limiter.allow(now, boot, Source::Configured) {}
        assert!(limiter.allow(now, member, Source::Proved));
        limiter.configure([boot, member].into_iter());
        assert!(!limiter.allow(now, boot, Source::Configured) && limiter.allow(now, member, Source::Configured));
    }
}
