//! The event log: what happened in which order, with a running hash of all of it.

use alloy_primitives::{B256, Keccak256};
use ipe_types::work;

/// Bytes of an event that are hashed.
const LONG: usize = 8_192;

/// One event, as it goes into the hash and into a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Position in the run, from 0.
    pub step: u64,
    /// Simulated time since the start, µs.
    pub at_us: u64,
    /// Node that it happened at; empty for the world itself.
    pub node: String,
    /// What happened.
    pub what: String,
}

/// Which events are told. Everything goes into the hash.
#[derive(Clone, Debug)]
pub struct Window {
    /// First step.
    pub from: u64,
    /// Last step.
    pub to: u64,
    /// Only of nodes whose name contains this.
    pub node: String,
    /// Only events whose text contains this.
    pub text: String,
}

/// Where told events go.
pub type Teller = Box<dyn FnMut(&Entry)>;

/// The log of one run.
pub struct Log {
    hasher: Keccak256,
    step: u64,
    teller: Option<(Window, Teller)>,
}

impl Log {
    /// A log that only hashes, or also tells what `window` shows.
    pub fn new(teller: Option<(Window, Teller)>) -> Self {
        Self { hasher: Keccak256::new(), step: 0, teller }
    }

    /// Takes an event. `code` and `data` are what is hashed; `what` is made only when somebody listens.
    pub fn event(&mut self, at_us: u64, node: Option<(usize, &str)>, code: u8, data: &[u8], what: impl FnOnce() -> String) {
        let mut head = [0u8; 16];
        head[..8].copy_from_slice(&at_us.to_be_bytes());
        head[8] = code;
        head[9..11].copy_from_slice(&node.map_or(u16::MAX, |(index, _)| index as u16).to_be_bytes());
        head[11..15].copy_from_slice(&(data.len() as u32).to_be_bytes());
        self.hasher.update(head);
        // Of a long message its length and both ends: what is between them decides nothing that is not seen later.
        match data.len().checked_sub(LONG) {
            Some(1..) => {
                self.hasher.update(&data[..LONG / 2]);
                self.hasher.update(&data[data.len() - LONG / 2..]);
            }
            _ => self.hasher.update(data),
        }
        let step = self.step;
        self.step += 1;
        if let Some((window, tell)) = &mut self.teller {
            let name = node.map_or("", |(_, name)| name);
            if step < window.from || step > window.to || !name.contains(&window.node) {
                return;
            }
            // What it takes to describe an event is not work of the node: a replay would be another run.
            let done = work::take();
            let what = what();
            work::take();
            work::count(|count| *count = done);
            if what.contains(&window.text) {
                tell(&Entry { step, at_us, node: name.to_owned(), what });
            }
        }
    }

    /// Events so far.
    pub fn steps(&self) -> u64 {
        self.step
    }

    /// Hash of everything so far.
    pub fn hash(&self) -> B256 {
        self.hasher.clone().finalize()
    }
}
