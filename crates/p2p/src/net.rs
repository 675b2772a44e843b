//! Who shares an owner, by IP address: the units in which strangers get their shares.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

/// Several addresses that one owner is likely to have at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Block(IpAddr);

/// What counts as one address: an IPv4 address, or the /64 of IPv6, of which one customer has 2^64 addresses.
pub(crate) fn address(ip: IpAddr) -> Block {
    match ip.to_canonical() {
        IpAddr::V4(ip) => Block(ip.into()),
        IpAddr::V6(ip) => Block(masked(ip, 64)),
    }
}

/// What counts as one network: the /24 of IPv4, the /48 of IPv6.
pub(crate) fn network(ip: IpAddr) -> Block {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            Block([a, b, c, 0].into())
        }
        IpAddr::V6(ip) => Block(masked(ip, 48)),
    }
}

fn masked(ip: Ipv6Addr, bits: u32) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & !(u128::MAX >> bits)))
}

/// The usual addresses of this machine itself: whole networks run there in laboratories, so that a share by address
/// would mean nothing. Other addresses of 127.0.0.0/8 have their shares as any.
pub(crate) fn is_local(ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    ip == IpAddr::from([127, 0, 0, 1]) || ip == IpAddr::V6(Ipv6Addr::LOCALHOST)
}

/// Which of `placed`, by identifier (a later one is larger) and address, gives way to one that comes from `ip` when all places
/// are taken: the latest of the most crowded network, if that stays no less crowded than the newcomer's becomes. So a few
/// networks cannot keep the rest of the world out, nobody is displaced to and fro, and of a network those stay who came first.
pub(crate) fn surplus<I: Ord + Copy>(placed: impl Iterator<Item = (I, IpAddr)> + Clone, ip: IpAddr) -> Option<I> {
    let mut crowds: HashMap<Block, usize> = HashMap::new();
    for (_, ip) in placed.clone() {
        *crowds.entry(network(ip)).or_default() += 1;
    }
    let crowd = |ip| crowds.get(&network(ip)).copied().unwrap_or(0);
    let worst = placed.max_by_key(|(id, ip)| (crowd(*ip), *id));
    worst.filter(|(_, worst)| crowd(*worst) > crowd(ip) + 1).map(|(id, _)| id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_customer_is_one_address() {
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        assert_eq!(address(ip("2001:db8:1:2::1")), address(ip("2001:db8:1:2:ffff::9")));
        assert_ne!(address(ip("2001:db8:1:2::1")), address(ip("2001:db8:1:3::1")));
        assert_eq!(network(ip("2001:db8:1:2::1")), network(ip("2001:db8:1:3::1")));
        assert_ne!(network(ip("2001:db8:1:2::1")), network(ip("2001:db8:2:2::1")));
        assert_ne!(address(ip("192.0.2.1")), address(ip("192.0.2.2")));
        assert_eq!(network(ip("192.0.2.1")), network(ip("::ffff:192.0.2.77")));
        assert!(is_local(ip("127.0.0.1")) && is_local(ip("::1")) && !is_local(ip("127.0.0.2")));
    }
}
