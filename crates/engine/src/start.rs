//! When a validator starts consensus.

use ipe_qbft::Event;

use crate::relay::shares_consensus;
use crate::replica::{Clock, Level, Output, Put, Replica};

/// How long a starting validator waits at most for its first connection before it starts consensus, ms.
const START_PATIENCE_MS: u64 = 1_000;
/// How long it waits at most for blocks that peers say they have, ms.
const START_SYNC_PATIENCE_MS: u64 = 5_000;
/// How long the only validator of an empty chain waits at most for blocks that strangers say they have, ms: several of them
/// may be asked in turn.
const START_STRANGERS_MS: u64 = 30_000;
/// How often the only validator of an empty chain says that it waits for somebody who knows more, ms.
const START_TOLD_MS: u64 = 10_000;
impl Replica {
    /// Consensus starts when there is somebody to talk to and nothing to catch up with, or when patience ends. A
    /// message signed before that would be lost on the way, or be about a height decided long ago.
    pub(crate) fn start_when_ready(&mut self, clock: Clock<'_>, put: Put<'_>) {
        if self.core.is_none() || self.told_head.is_some() {
            return;
        }
        let now_ms = clock.now_ms();
        let head = self.head.clone();
        let alone = head.validators_next.len() <= 1;
        let asks = alone && self.settings.expects_peers && head.validators_next.contains(&self.settings.local);
        let strangers = now_ms.saturating_sub(self.started_ms.unwrap_or(now_ms)) < START_STRANGERS_MS;
        let claimed = self.peers.best_claim(strangers) > head.number;
        let behind = self.is_behind() || self.sync.proven() > head.number || claimed;
        let connected = match asks {
            // Somebody whom it knows or has chosen itself: any stranger may know nothing.
            true => self.peers.iter().any(|peer| peer.is_known() || !peer.info.inbound),
            false => self
                .peers
                .iter()
                .any(|peer| shares_consensus(self.settings.topology, self.settings.carrying, peer, &head.validators_next)),
        };
        // Whoever is alone and catches up has patience as long as blocks come.
        let since = match self.start_head {
            Some((number, since)) if number == head.number || !asks => since,
            _ => now_ms,
        };
        self.start_head = Some((head.number, since));
        let waited = now_ms.saturating_sub(since);
        let patience = if behind { START_SYNC_PATIENCE_MS } else { START_PATIENCE_MS };
        let ready = match asks {
            false => alone || waited >= patience || (connected && !behind),
            true if head.number == 0 => connected && !behind && waited >= START_PATIENCE_MS,
            true => waited >= patience || (connected && !behind),
        };
        if !ready {
            self.start_at = Some(if waited < patience { since + patience } else { now_ms + START_PATIENCE_MS });
            if asks && waited >= patience && now_ms >= self.start_told_at {
                self.start_told_at = now_ms + START_TOLD_MS;
                let what = if connected {
                    "blocks that a peer says it has"
                } else {
                    "a node of static-nodes or bootnodes to say how far the chain has come"
                };
                let what = format!(
                    "this is the only validator, on a folder without blocks: it waits for {what}; if the chain is to begin here, start it once with start-alone"
                );
                put(Output::Log(Level::Warn, what));
            }
            return;
        }
        if !self.is_beyond_doubt(clock, connected || (alone && !asks), put) {
            return;
        }
        self.start_at = None;
        if let Some(restored) = self.restored.take() {
            self.drive(clock, Event::Restored(restored), put);
            self.sign_again(clock, put);
        }
        self.tell_head(clock, put);
    }
}
