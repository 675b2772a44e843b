//! How much may wait: overload is refused at the door, so that what is admitted is included soon and blocks keep their pace.
//!
//! Nobody tells the pool what a block can hold; it sees how long the transactions of each new block had waited. When they
//! waited longer than the target, or clients were refused, and yet more was left over, blocks are full: the limit moves
//! towards what such blocks hold within the target. When clients were refused although little was left over, it grows. So it follows the speed of the
//! machines and the weight of the transactions within a few blocks, in both directions.
//!
//! Between the limit (*room*) and a third more, refusals begin with those who have most waiting and with a slowly
//! changing share of the senders, always the same ones: a client that sends nonce after nonce without looking at answers
//! is then either carried or refused as a whole, instead of everybody getting a hole somewhere. Beyond that everybody is refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::{Refusal, Rules, Settings};

/// Pace assumed before the first full block, transactions per second.
const FIRST_GUESS_PER_SECOND: u64 = 4_000;
/// The limit never falls below this many: less than the smallest burst of an honest application.
const LEAST_ROOM: usize = 256;
/// Time from building a block to its import, reserved out of the wait, milliseconds.
const COMMIT_MS: u64 = 300;
/// Blocks between two changes of the share of senders that is refused first.
const SALT_BLOCKS: u64 = 64;
/// A ready transaction that outlives so many blocks is not waiting for room (it was lost on the way or is underpriced) …
pub(super) const STUCK_BLOCKS: u64 = 32;
/// … provided that it has waited this long, milliseconds.
pub(super) const STUCK_MS: u64 = 20_000;

/// The part that is read without the pool's lock.
#[derive(Debug)]
pub struct LoadGate {
    waiting: AtomicUsize,
    room: AtomicUsize,
    period_ms: AtomicU64,
    refused: AtomicU64,
}

impl LoadGate {
    /// Refuses when so much waits that every client would be refused: before decoding and recovery, which would cost
    /// more than the refusal.
    ///
    /// # Errors
    /// [`Refusal::Overloaded`].
    pub fn check(&self) -> Result<(), Refusal> {
        if self.waiting.load(Ordering::Relaxed) < hard(self.room.load(Ordering::Relaxed)) {
            return Ok(());
        }
        Err(self.refuse())
    }

    fn refuse(&self) -> Refusal {
        self.refused.fetch_add(1, Ordering::Relaxed);
        Refusal::Overloaded {
            waiting: self.waiting.load(Ordering::Relaxed),
            room: self.room.load(Ordering::Relaxed),
            retry_ms: self.period_ms.load(Ordering::Relaxed).max(1),
        }
    }

    /// Clients refused for overload since the start.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

/// What a client asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask {
    /// The secret of its sender, see [`super::queue::Queue`].
    pub(super) lot: u64,
    /// What its sender has waiting.
    pub(super) held: usize,
    /// Senders in the pool.
    pub(super) senders: usize,
    /// No lower nonce is missing.
    pub(super) contiguous: bool,
    /// By whom it is asked.
    pub(super) client: Client,
}

/// A client among the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Client {
    /// Nobody tells them apart.
    Unknown,
    /// No other has anything waiting.
    Alone,
    /// What it holds, and an equal share of what all of them hold, bytes.
    One { held: u64, share: u64 },
}

/// Beyond this everybody is refused.
pub(super) fn hard(room: usize) -> usize {
    room + room / 3
}

/// The limit and what it is learned from.
#[derive(Debug)]
pub struct Shed {
    gate: Arc<LoadGate>,
    room: f64,
    most: f64,
    target_wait_ms: u64,
    /// What full blocks hold, transactions; `None` before the first one.
    pace: Option<f64>,
    /// Pause between blocks, milliseconds, smoothed.
    interval_ms: f64,
    last_block_at: Option<u64>,
    refused_before: u64,
    blocks: u64,
}

impl Shed {
    pub(super) fn new(settings: &Settings, rules: &Rules) -> Self {
        let most = (settings.max_count * 3 / 4).max(LEAST_ROOM) as f64;
        let interval_ms = rules.period_ms.max(1) as f64;
        let mut shed = Self {
            gate: Arc::new(LoadGate {
                waiting: AtomicUsize::new(0),
                room: AtomicUsize::new(0),
                period_ms: AtomicU64::new(rules.period_ms),
                refused: AtomicU64::new(0),
            }),
            room: 0.0,
            most,
            target_wait_ms: settings.target_wait_ms,
            pace: None,
            interval_ms,
            last_block_at: None,
            refused_before: 0,
            blocks: 0,
        };
        let guess = (FIRST_GUESS_PER_SECOND * rules.period_ms.max(1) / 1_000) as f64;
        shed.set_room(guess.max(1.0) * shed.blocks_ahead(rules));
        shed
    }

    pub(super) fn gate(&self) -> &Arc<LoadGate> {
        &self.gate
    }

    /// Transactions that may wait before the first client is refused.
    pub fn room(&self) -> usize {
        self.gate.room.load(Ordering::Relaxed)
    }

    /// Transactions that wait.
    pub fn waiting(&self) -> usize {
        self.gate.waiting.load(Ordering::Relaxed)
    }

    /// Clients refused for overload since the start.
    pub fn refused(&self) -> u64 {
        self.gate.refused()
    }

    /// What full blocks were seen to hold lately, transactions.
    pub fn pace(&self) -> Option<f64> {
        self.pace
    }

    /// Longest wait aimed at, from admission to import, milliseconds.
    pub(super) fn target_wait_ms(&self, rules: &Rules) -> u64 {
        self.target_wait_ms.max(rules.period_ms * 19 / 10 + COMMIT_MS)
    }

    pub(super) fn set_waiting(&mut self, waiting: usize) {
        self.gate.waiting.store(waiting, Ordering::Relaxed);
    }

    /// Judges a client's transaction.
    pub(super) fn admit(&mut self, ask: &Ask) -> Result<(), Refusal> {
        let (waiting, room) = (self.waiting(), self.room());
        if waiting < room {
            return Ok(());
        }
        let refused = match ask.client {
            // Whoever has more than its share is refused, and leaves the others what is between here and the hard limit.
            Client::One { held, share } => held > share || waiting >= hard(room),
            client => {
                let share = 2 * waiting / ask.senders.max(1) + 1;
                // One that is alone leaves a quarter of it to whoever comes.
                let most = if client == Client::Alone { (hard(room) - room) * 3 / 4 } else { hard(room) - room };
                let pressure = ((waiting - room) as f64) / (most.max(1) as f64);
                let place = f64::from(place_of(ask.lot, self.blocks / SALT_BLOCKS)) / 256.0;
                !ask.contiguous || ask.held > share || place < pressure
            }
        };
        if refused { Err(self.gate.refuse()) } else { Ok(()) }
    }

    /// Learns from a block: `waits` are the milliseconds from arrival to now of those of its transactions that were here.
    pub(super) fn on_block(&mut self, now: u64, included: usize, waits: &mut [u64], rules: &Rules) {
        self.blocks += 1;
        self.gate.period_ms.store(rules.period_ms, Ordering::Relaxed);
        if let Some(last) = self.last_block_at {
            let period = rules.period_ms.max(1) as f64;
            let interval = (now.saturating_sub(last) as f64).clamp(period / 2.0, 10.0 * period);
            self.interval_ms += 0.2 * (interval - self.interval_ms);
        }
        self.last_block_at = Some(now);
        let refused = self.gate.refused();
        let was_refusing = refused > self.refused_before;
        self.refused_before = refused;

        let left = self.waiting().saturating_sub(included.min(waits.len()));
        let full = included > 0 && left >= included / 8;
        if full {
            let included = included as f64;
            self.pace = Some(self.pace.map_or(included, |pace| pace + 0.3 * (included - pace)));
        }
        let target = self.target_wait_ms(rules);
        let wait = high_wait(waits);
        if full && (wait > target || was_refusing) {
            // Halfway each time: what is measured now was admitted some blocks ago.
            let held = self.pace.unwrap_or(0.0) * self.blocks_ahead(rules);
            self.set_room(self.room + 0.5 * (held - self.room));
        } else if was_refusing && wait < target {
            self.set_room(self.room * 1.25);
        } else if !was_refusing {
            let guess = (FIRST_GUESS_PER_SECOND * rules.period_ms.max(1) / 1_000) as f64 * self.blocks_ahead(rules);
            if self.room < guess {
                self.set_room((self.room * 1.05).min(guess));
            }
        }
    }

    /// Blocks' worth that may wait. Twice the load settles below a third more than this, and the target holds then.
    fn blocks_ahead(&self, rules: &Rules) -> f64 {
        let left = self.target_wait_ms(rules).saturating_sub(COMMIT_MS) as f64;
        (left / self.interval_ms / 1.3).max(1.2)
    }

    fn set_room(&mut self, room: f64) {
        self.room = room.clamp(LEAST_ROOM as f64, self.most);
        self.gate.room.store(self.room as usize, Ordering::Relaxed);
    }
}

/// The wait that nineteen of twenty do not exceed; 0 for none.
fn high_wait(waits: &mut [u64]) -> u64 {
    if waits.is_empty() {
        return 0;
    }
    let at = (waits.len() * 19 / 20).min(waits.len() - 1);
    *waits.select_nth_unstable(at).1
}

/// A sender's place in the order of refusal, 0–255: the same for `SALT_BLOCKS` blocks, and unknown to everybody else, since
/// its lot is.
fn place_of(lot: u64, salt: u64) -> u8 {
    let mixed = (lot ^ salt.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    ((mixed ^ (mixed >> 29)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 56) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use ipe_types::fork::Fork;

    fn rules(period_ms: u64) -> Rules {
        Rules {
            chain_id: 1,
            fork: Fork::Berlin,
            block_gas_limit: 100_000_000,
            tx_gas_cap: None,
            base_fee: None,
            min_gas_price: 0,
            fee_cap: None,
            max_tx_bytes: 1 << 20,
            goquorum: None,
            period_ms,
        }
    }

    struct Seen {
        included: f64,
        wait_p99: u64,
        refused: u64,
    }

    /// A queue served `capacity` at a time every period, offered `rate` per second by 500 senders; the second half counts.
    fn simulate(period_ms: u64, capacity: usize, rate: u64, seconds: u64) -> Seen {
        let rules = rules(period_ms);
        let mut shed = Shed::new(&Settings::default(), &rules);
        let mut queue = std::collections::VecDeque::new();
        let (mut offered, mut included, mut waits_seen, mut refused) = (0u64, 0usize, Vec::new(), 0u64);
        for now in 0..seconds * 1_000 {
            while offered * 1_000 < now * rate {
                offered += 1;
                let lot = (offered % 250).wrapping_mul(0xd6e8_feb8_6659_fd93);
                match shed.admit(&Ask { lot, held: 0, senders: 250, contiguous: true, client: Client::Unknown }) {
                    Ok(()) => queue.push_back(now),
                    Err(_) => refused += 1,
                }
                shed.set_waiting(queue.len());
            }
            // The block is built from what had reached the proposer, and is imported a quarter of a second later.
            if now % period_ms == (period_ms / 4).min(250) && now > period_ms {
                let built_at = now - (period_ms / 4).min(250);
                let fitting = queue.iter().take_while(|at| **at <= built_at).count().min(capacity);
                let mut waits: Vec<u64> = queue.drain(..fitting).map(|at| now - at).collect();
                if now > seconds * 500 {
                    included += fitting;
                    waits_seen.extend_from_slice(&waits);
                }
                shed.on_block(now, fitting, &mut waits, &rules);
                shed.set_waiting(queue.len());
            }
        }
        waits_seen.sort_unstable();
        let wait_p99 = waits_seen.get(waits_seen.len() * 99 / 100).copied().unwrap_or(0);
        Seen { included: included as f64 / (seconds as f64 / 2.0), wait_p99, refused }
    }

    #[test]
    fn a_load_that_fits_is_never_refused() {
        for (period, capacity, rate) in [(1_000, 2_500, 2_300), (250, 700, 2_500), (4_000, 2_000, 450), (1_000, 100, 90)] {
            let seen = simulate(period, capacity, rate, 40);
            assert_eq!(seen.refused, 0, "period {period} capacity {capacity} rate {rate}");
            assert!(seen.wait_p99 <= period + 300, "{}", seen.wait_p99);
        }
    }

    #[test]
    fn twice_the_load_keeps_the_rate_and_the_wait() {
        for (period, capacity) in [(1_000, 2_500), (1_000, 600), (250, 700), (100, 300), (4_000, 4_000), (1_000, 6_000)] {
            let best = capacity as f64 * 1_000.0 / period as f64;
            let seen = simulate(period, capacity, (2.0 * best) as u64, 96);
            assert!(seen.included >= 0.97 * best, "period {period}: {} of {best}", seen.included);
            let bound = 2_400.max(period * 2 + 400);
            assert!(seen.wait_p99 <= bound, "period {period} capacity {capacity}: waited {} ms", seen.wait_p99);
            assert!(seen.refused > 0);
        }
    }

    #[test]
    fn the_gate_closes_before_any_work_is_done() {
        let mut shed = Shed::new(&Settings::default(), &rules(1_000));
        shed.set_waiting(hard(shed.room()) - 1);
        assert!(shed.gate().check().is_ok());
        shed.set_waiting(hard(shed.room()));
        let refusal = shed.gate().check().unwrap_err();
        assert_eq!(refusal.code(), -32005);
        assert_eq!(shed.refused(), 1);
    }
}
