//! Inbound connections that have proved nothing yet: what they cost, and who goes when there are too many.
//!
//! A connection begins in the lane of its IP address: that of strangers, or that of a known address, of which each has
//! a share of its own. When its keys have come, a known node's goes to the lane of its key, all others to that of strange
//! keys, so that who waits with keys does not crowd out whose keys are on the way. No lane takes another's places.
//! Among strangers the most crowded network gives way, in it the most crowded address, and there whoever is silent and
//! oldest: who has many addresses in few networks displaces himself, and an honest node, which sends its keys at once,
//! needs milliseconds.
//!
//! Before that, connecting has a price by address and by network, and strangers' first packets are decrypted in the order
//! in which they came, so many a second: what known nodes send waits behind none of it.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use alloy_primitives::B256;
use ipe_types::NodeId;
use parking_lot::Mutex;
use tokio::task::AbortHandle;

use crate::bucket::{Bucket, Rate};
use crate::config::Limits;
use crate::counters::Outcome;
use crate::net::{self, Block, is_local};
use crate::network::Shared;

/// Connections of one stranger's address: an honest one dials anew after seconds, but many may come by one gateway.
const ADDRESS: Rate = Rate::new(64.0, 8.0);
/// Connections of one network of strangers.
const NETWORK: Rate = Rate::new(256.0, 64.0);
/// Connections of one known address. All of an institution's nodes may sit there, and strangers behind the same gateway: what
/// they may cost together is some 3 % of a processor, and below it none of them keeps another out.
const KNOWN_ADDRESS: Rate = Rate::new(512.0, 256.0);
/// Places of one known address: at its rate each lasts a quarter of a second, and an honest node's keys are on the way.
const PER_KNOWN_ADDRESS: usize = 64;
/// First packets of strangers decrypted: each costs some 0.4 ms when it is a proper one.
const STRANGERS_KEYS: Rate = Rate::new(64.0, 256.0);
/// Addresses and networks whose prices are remembered; beyond them those go that have paid.
const MAX_PAYERS: usize = 16_384;
/// Connections of one known key that wait: one, and some that broke without a word.
const PER_KEY: usize = 8;
/// The same of a validator for which we carry: it opens one for each stream.
const PER_CARRIED_KEY: usize = 48;
/// Nonces remembered of one known key.
const NONCES_PER_KEY: usize = 64;
/// The same in all.
const MAX_NONCES: usize = 65_536;

/// Whose places a connection takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lane {
    Stranger,
    /// Of a known address; the key is not known yet.
    Address,
    Key(NodeId),
    StrangeKey,
}

#[derive(Debug)]
struct Unproven {
    ticket: u64,
    ip: IpAddr,
    lane: Lane,
    /// Whether its first packet is here.
    spoke: bool,
    task: AbortHandle,
}

/// Prices by address and network.
#[derive(Debug, Default)]
struct Prices(HashMap<(Block, bool), Bucket>);

impl Prices {
    fn take(&mut self, payer: (Block, bool), rate: Rate, now: Instant) -> bool {
        if self.0.len() >= MAX_PAYERS && !self.0.contains_key(&payer) {
            // Whoever was quiet for longer than his burst takes to refill has a full budget, as one who never came.
            self.0.retain(|_, bucket| now.saturating_duration_since(bucket.used()).as_secs() < 16);
            if self.0.len() >= MAX_PAYERS {
                return false;
            }
        }
        self.0.entry(payer).or_insert_with(|| Bucket::full(rate, now)).take(rate, now)
    }
}

/// Nonces of first packets that known nodes have sent. Played again by whoever saw it such a packet proves nothing, but
/// would take its node's turn.
#[derive(Debug, Default)]
struct Nonces {
    by_key: HashMap<NodeId, VecDeque<B256>>,
    count: usize,
}

impl Nonces {
    /// `false` when it came before.
    fn fresh(&mut self, node: NodeId, nonce: B256) -> bool {
        if self.count >= MAX_NONCES {
            *self = Nonces::default();
        }
        let of_key = self.by_key.entry(node).or_default();
        if of_key.contains(&nonce) {
            return false;
        }
        of_key.push_back(nonce);
        if of_key.len() > NONCES_PER_KEY {
            of_key.pop_front();
        } else {
            self.count += 1;
        }
        true
    }
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    list: Vec<Unproven>,
    prices: Prices,
    nonces: Nonces,
}

/// Inbound connections that have not finished Status.
#[derive(Debug)]
pub(crate) struct Door {
    state: Mutex<State>,
    /// Strangers wait here for their first packets to be decrypted. The lock is a queue: first come, first served.
    keys: tokio::sync::Mutex<Bucket>,
}

impl Default for Door {
    fn default() -> Self {
        Door { state: Mutex::default(), keys: tokio::sync::Mutex::new(Bucket::full(STRANGERS_KEYS, Instant::now())) }
    }
}

/// A connection's place at the door; leaving is dropping it.
#[derive(Debug)]
pub(crate) struct Place {
    shared: Arc<Shared>,
    ticket: u64,
}

impl Place {
    /// The connection has finished Status. `false` when it was dropped for others at this very moment.
    pub(crate) fn prove(&self) -> bool {
        let mut state = self.shared.door.state.lock();
        let at = state.list.iter().position(|unproven| unproven.ticket == self.ticket);
        at.map(|at| state.list.swap_remove(at)).is_some()
    }

    /// Its first packet is here. Waits until it may be decrypted: strangers' in turn, others at once.
    pub(crate) async fn pay_for_keys(&self) {
        let stranger = {
            let mut state = self.shared.door.state.lock();
            let unproven = state.list.iter_mut().find(|unproven| unproven.ticket == self.ticket);
            unproven.is_some_and(|unproven| {
                unproven.spoke = true;
                unproven.lane == Lane::Stranger
            })
        };
        if stranger {
            let mut bucket = self.shared.door.keys.lock().await;
            while let Err(wait) = bucket.spend(STRANGERS_KEYS, 1.0, Instant::now()) {
                tokio::time::sleep(wait).await;
            }
        }
    }

    /// Its keys have come, in a first packet with this nonce. `false` when they are a known node's and came with it before.
    pub(crate) fn claim(&self, node: NodeId, nonce: B256) -> bool {
        let known = self.shared.knows(&node);
        let mut state = self.shared.door.state.lock();
        let Some(at) = state.list.iter().position(|unproven| unproven.ticket == self.ticket) else { return true };
        let unproven = state.list.swap_remove(at);
        let lane = if known { Lane::Key(node) } else { Lane::StrangeKey };
        if known && !state.nonces.fresh(node, nonce) {
            return false;
        }
        if lane != unproven.lane {
            make_room(&self.shared, &mut state.list, lane, unproven.ip);
        }
        state.list.push(Unproven { lane, ..unproven });
        true
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.prove();
    }
}

/// Lets a connection in, whose task `start` starts; `false` when its address has no budget left.
pub(crate) fn enter(shared: &Arc<Shared>, ip: IpAddr, start: impl FnOnce(Place) -> AbortHandle) -> bool {
    let lane = if shared.addresses.knows(ip) { Lane::Address } else { Lane::Stranger };
    // Held until the entry is in, so that the task cannot leave before it.
    let mut state = shared.door.state.lock();
    if !is_local(ip) {
        let now = Instant::now();
        let (address, network) = ((net::address(ip), false), (net::network(ip), true));
        let paid = match lane {
            Lane::Address => state.prices.take(address, KNOWN_ADDRESS, now),
            Lane::Stranger | Lane::Key(_) | Lane::StrangeKey => {
                state.prices.take(address, ADDRESS, now) && state.prices.take(network, NETWORK, now)
            }
        };
        if !paid {
            return false;
        }
    }
    make_room(shared, &mut state.list, lane, ip);
    state.next += 1;
    let ticket = state.next;
    let task = start(Place { shared: Arc::clone(shared), ticket });
    state.list.push(Unproven { ticket, ip, lane, spoke: false, task });
    true
}

/// Drops a connection when the newcomer's lane is full.
fn make_room(shared: &Shared, list: &mut Vec<Unproven>, lane: Lane, ip: IpAddr) {
    let per_key = |node: &NodeId| if shared.carries_for(node) { PER_CARRIED_KEY } else { PER_KEY };
    if let Some(at) = surplus(&shared.limits, list, lane, ip, per_key) {
        let unproven = list.swap_remove(at);
        unproven.task.abort();
        shared.counters.outcome(true, Outcome::Evicted);
        if let Some(suppressed) = shared.log.allow() {
            tracing::info!(from = %unproven.ip, suppressed, "dropped an unproven connection for another: {} wait", list.len() + 1);
        }
    }
}

/// Which connection gives way to a newcomer of that lane; none while there is room.
fn surplus(limits: &Limits, list: &[Unproven], lane: Lane, ip: IpAddr, per_key: impl Fn(&NodeId) -> usize) -> Option<usize> {
    let of = |test: &dyn Fn(&Unproven) -> bool| -> Vec<usize> { (0..list.len()).filter(|at| test(&list[*at])).collect() };
    // Who is silent goes first, then who came first.
    let oldest = |among: &[usize]| among.iter().copied().min_by_key(|at| (list[*at].spoke, list[*at].ticket));
    match lane {
        Lane::Key(node) => {
            let same = of(&|other| other.lane == Lane::Key(node));
            (same.len() >= per_key(&node)).then(|| oldest(&same)).flatten()
        }
        Lane::Address => {
            let same = of(&|other| other.lane == Lane::Address && other.ip == ip);
            (same.len() >= PER_KNOWN_ADDRESS).then(|| oldest(&same)).flatten()
        }
        Lane::Stranger | Lane::StrangeKey => {
            let strangers = of(&|other| other.lane == lane);
            let address = net::address(ip);
            let same: Vec<usize> = strangers.iter().copied().filter(|at| net::address(list[*at].ip) == address).collect();
            if !is_local(ip) && same.len() >= limits.unproven_per_ip {
                return oldest(&same);
            }
            if strangers.len() < limits.unproven {
                return None;
            }
            let mut crowds: HashMap<(Block, bool), usize> = HashMap::new();
            for at in &strangers {
                *crowds.entry((net::network(list[*at].ip), true)).or_default() += 1;
                *crowds.entry((net::address(list[*at].ip), false)).or_default() += 1;
            }
            strangers.into_iter().max_by_key(|at| {
                let other = &list[*at];
                let crowd = |block: Block, network| crowds.get(&(block, network)).copied().unwrap_or(0);
                let (network, address) = (crowd(net::network(other.ip), true), crowd(net::address(other.ip), false));
                (network, address, !other.spoke, std::cmp::Reverse(other.ticket))
            })
        }
    }
}

#[cfg(test)]
#[path = "door_tests.rs"]
mod tests;
