//! A simulated node: what survives its process, and the process.

use std::collections::BTreeMap;
use std::sync::Arc;

use ipe_chain::Ledger;
use ipe_engine::admission::Judged;
use ipe_engine::pool::{LocalJournal, Pool};
use ipe_engine::{Done, PeerId, Replica, StatusCell};
use ipe_types::{Address, NodeKey, Role};
use parking_lot::Mutex;

use crate::disk::{Disk, SimFile};
use crate::inbox::Inbox;
use crate::network::End;
use crate::villains::Villain;

/// How often a writer makes its clients' transactions durable, µs; as the real node does.
pub(crate) const SAVE_US: u64 = 250_000;

/// How far the steady clocks are behind the world's: they may start anywhere, and who takes one for the other is to be
/// found.
pub(crate) const STEADY_BEHIND_US: u64 = 400 * 86_400 * 1_000_000;

pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) institution: usize,
    pub(crate) key: NodeKey,
    pub(crate) address: Address,
    pub(crate) disk: Disk,
    /// How far its wall clock is ahead, µs.
    pub(crate) skew_us: i64,
    /// The wall clock jumps at so many more looks at it, by so much, µs.
    pub(crate) jump: Option<(u32, i64)>,
    /// What every look at a clock costs, µs: a slow processor.
    pub(crate) slow_us: u64,
    /// Until when its signer does not sign, µs.
    pub(crate) signer_gone_us: u64,
    /// Until when it works on the last input, µs.
    pub(crate) busy_us: u64,
    /// Not woken before, µs.
    pub(crate) rest_us: u64,
    /// Times that it was woken in a row and asked to be woken at once.
    pub(crate) spins: u32,
    /// What its time went into since it was looked at last, µs, by peer and by author of consensus messages.
    pub(crate) spent_us: BTreeMap<Address, u64>,
    /// Lost for good.
    pub(crate) gone: bool,
    /// Its disk refused a write since the last calm, so that it may complain.
    pub(crate) complains: bool,
    pub(crate) villain: Option<Box<Villain>>,
    pub(crate) alive: Option<Alive>,
}

pub(crate) struct Alive {
    /// Which process it is.
    pub(crate) life: u64,
    pub(crate) replica: Replica,
    /// The answer to its job, while it has no time for it.
    pub(crate) done: Option<Done>,
    pub(crate) status: StatusCell,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) pool: Arc<Mutex<Pool>>,
    pub(crate) judged: Judged,
    pub(crate) inbox: Inbox,
    pub(crate) local: Option<LocalJournal<SimFile>>,
    pub(crate) sessions: BTreeMap<PeerId, End>,
}

impl Node {
    pub(crate) fn is_honest(&self) -> bool {
        self.villain.is_none()
    }

    pub(crate) fn head(&self) -> Option<u64> {
        self.alive.as_ref().map(|alive| alive.ledger.head().number)
    }

    /// When it wants to be woken, µs of the world's clock.
    pub(crate) fn wake_us(&self) -> Option<u64> {
        // While there is work nobody sleeps: timers are looked at after each input.
        let alive = self.alive.as_ref().filter(|alive| alive.inbox.is_empty())?;
        let at_ms = alive.replica.wake_at()?;
        let at_us = at_ms.saturating_mul(1_000).saturating_add(STEADY_BEHIND_US);
        Some(at_us.max(self.busy_us).max(self.rest_us))
    }
}
