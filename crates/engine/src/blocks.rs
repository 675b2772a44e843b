//! Sealed blocks: decided here, assembled from votes, pushed by peers or fetched from them; imported and announced.

use std::sync::Arc;
use std::time::Duration;

use alloy_consensus::proofs::calculate_transaction_root;
use ipe_chain::{Head, Imported, InvalidBlock};
use ipe_types::eth::{BlockHashNumber, EthMessage, EthVersion};
use ipe_types::header::{EMPTY_ROOT, with_round_and_seals};
use ipe_types::planted::{self, Bug};
use ipe_types::seals::is_sealed;
use ipe_types::{B256, Block, Checkpoint};

use crate::job::{Failure, Finished, Source, Written};
use crate::pace::Height;
use crate::peer::PeerId;
use crate::relay::shares_consensus;
use crate::replica::{BREACH_OF_PROTOCOL, Clock, Level, Notification, Output, Put, Replica, Stages, is_leaf, rules_after};
use crate::status::{RefusedBlock, SyncProgress};
use crate::sync::{HeadView, MAX_BLOCKS_BEHIND, SyncFault};
use crate::works::Sealed;

/// How long a single missing block is left to consensus or to a NewBlock under way, ms at most; with shorter periods a
/// half of the period.
const GRACE_MS: u64 = 250;
/// What an invalid pushed block costs its sender, in tokens of the relay's budget: four of them cut it.
const BAD_BLOCK_TOKENS: u64 = 64;
/// Pause before a final block that could not be written is tried again, ms: the disk is full or failing, and each attempt is
/// an error in the log.
const REWRITE_MS: u64 = 1_000;
/// Pause before a final block that our rules refuse is fetched and judged again, ms; twice as long each time. Only another
/// genesis file, and so a restart, changes anything, unless the machine was at fault.
const REFUSED_PAUSE_MS: u64 = 15_000;
/// Longest such pause, ms.
const MAX_REFUSED_PAUSE_MS: u64 = 240_000;
/// Name of the rule that a block at the height of the checkpoint is the checkpoint.
pub(crate) const CHECKPOINT: &str = "checkpoint";
/// Every how many blocks peers of eth/69 are told the range of blocks that we serve (EIP-7642: once an epoch of 32).
const RANGE_UPDATE: u64 = 32;

/// The head as synchronisation sees it.
pub(crate) fn view(head: &Head) -> HeadView<'_> {
    HeadView { number: head.number, hash: head.hash, next: &head.validators_next }
}

impl Replica {
    /// The core has decided: the block is to be written.
    pub(crate) fn decide(&mut self, clock: Clock<'_>, block: Arc<Block>, hash: B256, round: u32, put: Put<'_>) {
        let number = block.header.number;
        if number != self.head.number + 1 {
            return;
        }
        if let Some(expected) = self.off_checkpoint(number, hash) {
            let refused = RefusedBlock { number, hash, rule: CHECKPOINT };
            return self.refuse_block(clock, refused, &format!("this node's checkpoint is {expected}"), put);
        }
        self.works.want_sealed(Sealed { block, hash, round, not_before: 0 });
    }

    /// A node that takes no part in consensus but sees it makes the block itself when a quorum has committed to a
    /// proposal it holds: nobody has to send it the block a second time.
    pub(crate) fn assemble(&mut self, height: u64) {
        if height != self.head.number + 1 || self.is_behind() || self.works.has_sealed(height) {
            return;
        }
        let Some((block, round, seals)) = self.held.quorum_at(height, &self.head.validators_next) else { return };
        let Ok(header) = with_round_and_seals(&block.header, round, seals) else { return };
        let sealed = Arc::new(Block { header, body: block.body.clone() });
        let Ok(hash) = sealed.hash() else { return };
        if !self.bad_blocks.contains(&hash) {
            self.works.want_sealed(Sealed { block: sealed, hash, round, not_before: 0 });
        }
    }

    /// A quorum has sealed a block that our rules refuse: either f+1 validators lie or this node is wrong. It is behind from
    /// now on, says so, blames nobody for having sent it, and tries again at intervals.
    pub(crate) fn refuse_block(&mut self, clock: Clock<'_>, block: RefusedBlock, why: &str, put: Put<'_>) {
        let pause_ms = (REFUSED_PAUSE_MS << self.refusals.min(8)).min(MAX_REFUSED_PAUSE_MS);
        self.refusals = self.refusals.saturating_add(1);
        self.sync.pause(clock.now_ms() + pause_ms);
        self.bad_blocks.insert(&block.hash);
        let RefusedBlock { number, hash, rule } = block;
        let what = format!(
            "this node cannot follow the network: block {number} ({hash}) is sealed by a quorum of the validators, but breaks \
             the rule {rule} here: {why}. A block that a quorum has sealed makes a difference of this node's own genesis file the \
             likelier cause ({}): compare it with the network's. Tried again in {} s",
            likely(rule),
            pause_ms / 1_000
        );
        self.refused_block = Some(block);
        self.fail(what, put);
    }

    /// The checkpoint, when it says that another block than this is at that height.
    fn off_checkpoint(&self, number: u64, hash: B256) -> Option<Checkpoint> {
        self.settings.checkpoint.filter(|known| known.number == number && known.hash != hash)
    }

    /// A peer sent a block by itself.
    pub(crate) fn new_block(&mut self, clock: Clock<'_>, id: PeerId, block: Arc<Block>, put: Put<'_>) {
        let now_ms = clock.now_ms();
        let head = self.head.clone();
        let number = block.header.number;
        let hashed = block.hash();
        let off_checkpoint = hashed.as_ref().ok().and_then(|hash| self.off_checkpoint(number, *hash));
        let Some(peer) = self.peers.get_mut(id) else { return };
        let Ok(hash) = hashed else {
            if let Some(reason) = self.relay.misbehaved(now_ms, peer.info.node, BAD_BLOCK_TOKENS, "its blocks do not decode") {
                put(Output::Disconnect(id, BREACH_OF_PROTOCOL, reason));
            }
            return;
        };
        peer.blocks.insert(&hash);
        peer.claims(number);
        if let Some(expected) = off_checkpoint {
            peer.failed(now_ms);
            put(Output::Disconnect(
                id,
                BREACH_OF_PROTOCOL,
                SyncFault::OffCheckpoint { got: hash, expected, sealed: false }.to_string(),
            ));
            return;
        }
        if number.saturating_add(MAX_BLOCKS_BEHIND) < head.number || self.bad_blocks.contains(&hash) {
            return;
        }
        self.sync.offer(view(&head), block, id);
    }

    /// Asks for what is missing, and looks how far this node has come.
    pub(crate) fn drive_sync(&mut self, clock: Clock<'_>, put: Put<'_>) {
        // A block that is being written has not to be fetched.
        if !self.works.is_finishing_counted() {
            let head = self.head.clone();
            let params = self.parts.spec.qbft_at(head.number + 1, head.header.timestamp);
            let grace = GRACE_MS.min(params.period_ms / 2);
            let witnessed = self.relay.proven_head(&head.validators_next);
            let asks = self.sync.poll(clock.now_ms(), view(&head), &mut self.peers, witnessed, grace);
            asks.into_iter().for_each(&mut *put);
            for (peer, fault) in self.sync.take_forgers() {
                self.judge_sync(clock, peer, Err(fault), put);
            }
        }
        self.tell_new_head(clock, put);
        let syncing = self.sync_progress().is_some();
        if syncing != self.was_syncing {
            self.was_syncing = syncing;
            self.touch_status();
            let head = self.head.number;
            let text = if syncing {
                format!("catching up from block {head} to {}", self.best_known())
            } else {
                format!("caught up at block {head}")
            };
            put(Output::Log(Level::Info, text));
            put(Output::Notify(Notification::Syncing(syncing)));
        }
    }

    /// Tells the core of a new head, unless the next one is here already.
    pub(crate) fn tell_new_head(&mut self, clock: Clock<'_>, put: Put<'_>) {
        let is_new = self.told_head.is_some_and(|told| told != self.head.number);
        if is_new && !self.works.is_finishing() && !self.is_behind() {
            self.tell_head(clock, put);
        }
    }

    /// A block was to become final, and this is what became of it.
    pub(crate) fn finished(&mut self, clock: Clock<'_>, finished: Finished, put: Put<'_>) {
        let Finished { block, hash, source, stages, outcome } = finished;
        let number = block.header.number;
        match outcome {
            Ok(written) => {
                self.written(written, stages, put);
                if let Source::Fetched { from, .. } = source {
                    for peer in from {
                        if let Some(peer) = self.peers.get_mut(peer) {
                            peer.delivered(number);
                        }
                    }
                }
            }
            Err(Failure::Invalid(invalid)) if invalid.is_verdict() => match source {
                Source::Fetched { from, pushed } if !is_final(&self.head, &block, &invalid) => {
                    let from = at_fault(&invalid, from);
                    let name = |id| {
                        self.peers
                            .get(id)
                            .map_or("one that is gone".to_owned(), |peer| format!("{:.16}", peer.info.node.to_string()))
                    };
                    let of = if from[0] == from[1] { name(from[0]) } else { format!("{} and {}", name(from[0]), name(from[1])) };
                    put(Output::Log(
                        Level::Warn,
                        format!("block {number} of peer {of} is not valid ({}): {invalid}", invalid.rule()),
                    ));
                    self.blame(clock.now_ms(), &block, from, pushed, put);
                }
                Source::Counted | Source::Fetched { .. } => {
                    let refused = RefusedBlock { number, hash, rule: invalid.rule() };
                    self.refuse_block(clock, refused, &invalid.to_string(), put);
                }
            },
            Err(failure) => {
                // Peers would be asked for what is here.
                self.sync.unwritten(clock.now_ms());
                if source == Source::Counted && !planted::is(Bug::DecidedForgotten) {
                    let not_before = clock.now_ms() + REWRITE_MS;
                    self.works.want_sealed(Sealed { block, hash, round: stages.round, not_before });
                }
                let what = match failure {
                    Failure::Invalid(invalid) => format!("block {number} could not be judged: {invalid}"),
                    Failure::NotWritten(error) => format!("block {number} could not be imported: {error}"),
                };
                self.fail(what, put);
            }
        }
    }

    fn blame(&mut self, now_ms: u64, block: &Block, from: [PeerId; 2], pushed: bool, put: Put<'_>) {
        // The hash does not cover the seals: with other seals, from another peer, the block may be valid. So a block
        // is only remembered as bad when its body or execution is, which the sender cannot have got wrong by accident.
        if pushed && let Ok(hash) = block.hash() {
            for peer in self.peers.iter_mut() {
                peer.blocks.remove(&hash);
            }
        }
        self.sync.rejected(now_ms, from, &mut self.peers);
        let mut blamed = from.to_vec();
        blamed.dedup();
        for id in blamed {
            let Some(peer) = self.peers.get(id) else { continue };
            let node = peer.info.node;
            let tokens = if pushed { BAD_BLOCK_TOKENS } else { 2 * BAD_BLOCK_TOKENS };
            if let Some(reason) = self.relay.misbehaved(now_ms, node, tokens, "it sent invalid blocks") {
                put(Output::Disconnect(id, BREACH_OF_PROTOCOL, reason));
            }
        }
    }

    /// The head has moved: tells everybody whom it concerns.
    fn written(&mut self, written: Written, mut stages: Stages, put: Put<'_>) {
        let Written { imported, at_us, unheard } = written;
        let (number, at_ms) = (imported.number(), at_us / 1_000);
        if let Some((round_began, round)) = self.round_began.take()
            && !stages.synced
        {
            let took_us = at_us.saturating_sub(round_began);
            stages.total = Duration::from_micros(took_us);
            let header = &imported.block.header;
            if round == stages.round {
                let period_ms = self.parts.spec.qbft_at(number, header.timestamp).period_ms;
                let transactions = imported.block.body.transactions.len() as u64;
                self.pace.observe(Height { period_ms, gas_used: header.gas_used, transactions, took_us });
            }
        }
        if is_leaf(self.settings.role) && self.sync.started_at().is_none() {
            // It sees no consensus messages; who is alive is told by the seals.
            for sealer in imported.sealers.iter() {
                *self.heard.entry(*sealer, || 0) = at_ms;
            }
        }
        if self.refused_block.take_if(|block| block.number <= number).is_some() {
            self.refusals = 0;
            self.last_error = None;
        }
        self.head = self.parts.ledger.head();
        self.sync.advance(view(&self.head));
        self.works.head_is(self.head.number);
        self.rules.rotate_left(1);
        self.rules[1] = rules_after(&self.head);
        self.announce(&imported, stages.synced, put);
        self.held.decided(number);
        self.gossip.repeat(at_ms, unheard, &mut self.peers);
        self.gossip.stir(at_ms);
        self.touch_status();
        put(Output::Imported(imported, stages));
        // All votes for the block after it may have come while it was being written.
        if self.told_head.is_none() {
            self.assemble(number.saturating_add(1));
        }
    }

    /// Consensus peers have the block or are about to, so its hash is enough; everybody else gets it in full. A block
    /// that came by sync is told by its hash only: the others had it before us.
    fn announce(&mut self, imported: &Imported, synced: bool, put: Put<'_>) {
        let head = self.head.clone();
        let (topology, carrying) = (self.settings.topology, self.settings.carrying);
        let (mut full, mut hashes, mut ranges) = (Vec::new(), Vec::new(), Vec::new());
        for peer in self.peers.iter_mut() {
            if peer.info.eth >= EthVersion::V69 && imported.number().is_multiple_of(RANGE_UPDATE) {
                ranges.push(peer.info.id);
            }
            // Whoever is ahead of us, or far behind, has no use for it.
            if !peer.blocks.insert(&imported.hash) || peer.claimed > imported.number() {
                continue;
            }
            if synced || shares_consensus(topology, carrying, peer, &head.validators_next) {
                hashes.push(peer.info.id);
            } else {
                full.push(peer.info.id);
            }
        }
        if !full.is_empty() {
            put(Output::NewBlock(full, imported.block.clone(), imported.total_difficulty));
        }
        if !hashes.is_empty() {
            let block = BlockHashNumber { hash: imported.hash, number: imported.number() };
            put(Output::Eth(hashes, Arc::new(EthMessage::NewBlockHashes(vec![block]))));
        }
        if !ranges.is_empty() {
            let update = EthMessage::BlockRangeUpdate { earliest: 0, latest: imported.number(), latest_hash: imported.hash };
            put(Output::Eth(ranges, Arc::new(update)));
        }
    }

    pub(crate) fn sync_progress(&self) -> Option<SyncProgress> {
        let current = self.head.number;
        let start = self.sync.started_at().or_else(|| self.is_behind_for_good().then_some(current))?;
        Some(SyncProgress { start, current, highest: self.best_known() })
    }

    /// Behind a block that our rules refuse, or one that the operator knows of.
    fn is_behind_for_good(&self) -> bool {
        let head = self.head.number;
        let checkpoint = self.settings.checkpoint.map(|checkpoint| checkpoint.number);
        let refused = self.refused_block.as_ref().map(|block| block.number);
        checkpoint.max(refused).is_some_and(|number| number > head)
    }

    /// Highest block that exists, as far as this node has proof of it.
    pub(crate) fn best_known(&self) -> u64 {
        let checkpoint = self.settings.checkpoint.map_or(0, |checkpoint| checkpoint.number);
        let refused = self.refused_block.as_ref().map_or(0, |block| block.number);
        self.head.number.max(self.sync.proven()).max(checkpoint).max(refused)
    }
}

/// Which of those that a block's header and body came from sent what is wrong. Seals are judged before the body, so that only
/// one of the two can be at fault for either.
fn at_fault(invalid: &InvalidBlock, [header, body]: [PeerId; 2]) -> [PeerId; 2] {
    match (invalid.is_of_seals(), invalid.is_of_body()) {
        (true, _) => [header, header],
        (_, true) => [body, body],
        _ => [header, body],
    }
}

/// Whether a block that our rules refuse is final for the network: a quorum of the next validators has sealed it, it follows
/// our head, and its body is the one that its header names.
fn is_final(head: &Head, block: &Block, invalid: &InvalidBlock) -> bool {
    let header = &block.header;
    header.number == head.number + 1
        && header.parent_hash == head.hash
        && !invalid.is_of_seals()
        && is_sealed(header, &head.validators_next)
        && (!invalid.is_of_body() || body_is_its_own(block))
}

/// Whether the header names this body, withdrawals that a chain of ours does not have included. A list that is left out or
/// added is not the header's: whoever passed the block on can have done that.
fn body_is_its_own(block: &Block) -> bool {
    let (header, body) = (&block.header, &block.body);
    let withdrawals = match (&body.withdrawals, header.withdrawals_root) {
        (None, None) => true,
        (Some(list), Some(root)) => list.is_empty() == (root == EMPTY_ROOT),
        (None, Some(_)) | (Some(_), None) => false,
    };
    withdrawals && calculate_transaction_root(&body.transactions) == header.transactions_root
}

/// What in a genesis file decides about a rule, for the operator who has to find the difference.
fn likely(rule: &str) -> &'static str {
    match rule {
        "timestamp_early" => "blockperiodseconds and its transitions",
        "gas_limit_delta" | "gas_limit_range" => "the fork blocks, or the form of the genesis",
        "field_before_fork" | "field_missing" | "requests_hash" => "the fork times",
        "validators" | "coinbase" | "not_in_contract_mode" => "the validators, their contract and its transitions",
        "state_root" => "blockreward, miningbeneficiary, their transitions, the fork blocks and times",
        "too_large" | "gas_used" | "receipts_root" | "logs_bloom" | "transaction" => "the fork blocks and times, contractSizeLimit",
        "parent_hash" => "or of its data folder, which may be another chain's",
        CHECKPOINT => "or of the setting checkpoint, which may be another chain's",
        _ => "the fork blocks and times, the transitions",
    }
}

#[cfg(test)]
mod tests {
    use ipe_types::Header;
    use ipe_types::block::Body;

    use super::*;

    /// The seals are in the header and under no hash: whoever passes a header on can strip them, and who sent the body has not.
    #[test]
    fn stripped_seals_are_blamed_on_who_sent_the_header() {
        let (header, body) = (PeerId(1), PeerId(2));
        let stripped = InvalidBlock::Seals(ipe_types::seals::SealFault::TooFew { got: 0, expected: 3 });
        assert_eq!(at_fault(&stripped, [header, body]), [header, header]);
        assert_eq!(at_fault(&InvalidBlock::TooLarge { got: 2, max: 1 }, [header, body]), [body, body]);
        assert_eq!(at_fault(&InvalidBlock::GasUsed { header: 1, computed: 2 }, [header, body]), [header, body]);
    }

    /// Found by the simulator (scenario derived-boot, seed 1): a boot that left the empty list of withdrawals out of a sealed
    /// block's body made a node say that it cannot follow the network, and wait.
    #[test]
    fn a_body_without_the_list_that_its_header_names_is_its_senders_fault_and_not_the_networks() {
        let block = |root, withdrawals| Block {
            header: Header { transactions_root: EMPTY_ROOT, withdrawals_root: root, ..Header::default() },
            body: Body { withdrawals, ..Body::default() },
        };
        assert!(!body_is_its_own(&block(Some(EMPTY_ROOT), None)));
        assert!(!body_is_its_own(&block(None, Some(Vec::new()))));
        assert!(!body_is_its_own(&block(Some(ipe_types::B256::repeat_byte(1)), Some(Vec::new()))));
        assert!(body_is_its_own(&block(Some(EMPTY_ROOT), Some(Vec::new()))));
        assert!(body_is_its_own(&block(None, None)));
    }
}
