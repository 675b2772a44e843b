//! Who gives way at the door, without sockets.

use super::*;
use std::time::Duration;

/// A door's list without tasks behind it.
struct Scene {
    limits: Limits,
    list: Vec<Unproven>,
    next: u64,
    runtime: tokio::runtime::Runtime,
}

impl Scene {
    fn new(unproven: usize, unproven_per_ip: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let limits = Limits { unproven, unproven_per_ip, ..Limits::default() };
        Scene { limits, list: Vec::new(), next: 0, runtime }
    }

    /// A newcomer; the ticket of who gave way.
    fn enter(&mut self, lane: Lane, ip: [u8; 4], spoke: bool) -> (u64, Option<u64>) {
        let gone = surplus(&self.limits, &self.list, lane, ip.into(), |_| PER_KEY).map(|at| self.list.swap_remove(at).ticket);
        self.next += 1;
        let task = self.runtime.spawn(async {}).abort_handle();
        self.list.push(Unproven { ticket: self.next, ip: ip.into(), lane, spoke, task });
        (self.next, gone)
    }

    fn has(&self, ticket: u64) -> bool {
        self.list.iter().any(|unproven| unproven.ticket == ticket)
    }
}

/// Hundreds of addresses in a few networks, each at its limit, for ever: one honest newcomer is never the one who goes.
#[test]
fn who_comes_alone_from_a_network_is_not_crowded_out() {
    for lane in [Lane::Stranger, Lane::StrangeKey] {
        let mut scene = Scene::new(64, 16);
        for n in 0..1000u32 {
            scene.enter(lane, [10, 0, (n % 20) as u8, (n / 20 % 15) as u8], true);
        }
        assert_eq!(scene.list.len(), 64);
        let (honest, _) = scene.enter(lane, [192, 0, 2, 1], false);
        for n in 0..10_000u32 {
            scene.enter(lane, [10, 0, (n % 20) as u8, (n / 20 % 15) as u8], true);
        }
        assert!(scene.has(honest));
    }
}

#[test]
fn who_is_silent_goes_before_who_has_sent_its_keys() {
    let mut scene = Scene::new(3, 16);
    let (keys, _) = scene.enter(Lane::Stranger, [10, 0, 0, 1], true);
    let (silent, _) = scene.enter(Lane::Stranger, [10, 0, 1, 1], false);
    let (later, _) = scene.enter(Lane::Stranger, [10, 0, 2, 1], false);
    assert_eq!(scene.enter(Lane::Stranger, [10, 0, 3, 1], true).1, Some(silent));
    assert_eq!(scene.enter(Lane::Stranger, [10, 0, 4, 1], true).1, Some(later));
    assert_eq!(scene.enter(Lane::Stranger, [10, 0, 5, 1], true).1, Some(keys));
    // Of one address too, and of one key.
    for lane in [Lane::Address, Lane::Key(NodeId::repeat_byte(1))] {
        let limit = if lane == Lane::Address { PER_KNOWN_ADDRESS } else { PER_KEY };
        let mut scene = Scene::new(64, 16);
        let (keys, _) = scene.enter(lane, [192, 0, 2, 1], true);
        let silent: Vec<u64> = (1..limit).map(|_| scene.enter(lane, [192, 0, 2, 1], false).0).collect();
        assert_eq!(scene.enter(lane, [192, 0, 2, 1], true).1, Some(silent[0]));
        assert!(scene.has(keys));
    }
}

/// An address has its share and displaces itself; a known address and a known key have shares of their own.
#[test]
fn no_lane_takes_anothers_places() {
    let mut scene = Scene::new(8, 4);
    let node = NodeId::repeat_byte(1);
    let own: Vec<u64> = [Lane::Address, Lane::Key(node)].map(|lane| scene.enter(lane, [192, 0, 2, 1], false).0).to_vec();
    for n in 0..1000u32 {
        for lane in [Lane::Stranger, Lane::StrangeKey] {
            scene.enter(lane, [192, 0, 2, (n % 3) as u8], false);
            scene.enter(lane, [10, (n >> 8) as u8, n as u8, 1], false);
        }
        scene.enter(Lane::Address, [198, 51, 100, 1], false);
        scene.enter(Lane::Key(NodeId::repeat_byte(2)), [198, 51, 100, 1], false);
    }
    assert!(own.iter().all(|ticket| scene.has(*ticket)));
    assert_eq!(scene.list.len(), 2 + 8 + 8 + PER_KNOWN_ADDRESS + PER_KEY);
    assert_eq!(
        scene.enter(Lane::Stranger, [192, 0, 2, 1], false).1.map(|_| scene.list.len()),
        Some(2 + 8 + 8 + PER_KNOWN_ADDRESS + PER_KEY)
    );
}

#[test]
fn connecting_has_a_price_and_who_pays_is_remembered_within_bounds() {
    let now = Instant::now();
    let mut prices = Prices::default();
    let payer = |n: u32| (net::address(n.to_be_bytes().into()), false);
    assert_eq!((0..1000).filter(|_| prices.take(payer(1), ADDRESS, now)).count(), ADDRESS.burst as usize);
    assert!(prices.take(payer(2), ADDRESS, now));
    for n in 0..3 * MAX_PAYERS as u32 {
        prices.take(payer(n), ADDRESS, now + Duration::from_secs(u64::from(n) / 4096));
    }
    assert!(prices.0.len() <= MAX_PAYERS);
    let later = now + Duration::from_secs(60);
    assert!(prices.take(payer(u32::MAX), ADDRESS, later) && prices.0.len() < 10, "who was quiet is forgotten");
}

#[test]
fn a_first_packet_is_good_once() {
    let mut nonces = Nonces::default();
    let node = NodeId::repeat_byte(1);
    assert!(nonces.fresh(node, B256::repeat_byte(1)) && !nonces.fresh(node, B256::repeat_byte(1)));
    assert!(nonces.fresh(NodeId::repeat_byte(2), B256::repeat_byte(1)), "of another key");
    for n in 0..1000u64 {
        assert!(nonces.fresh(node, B256::left_padding_from(&(n + 1).to_be_bytes())));
    }
    assert_eq!((nonces.by_key[&node].len(), nonces.count), (NONCES_PER_KEY, NONCES_PER_KEY + 1));
}
