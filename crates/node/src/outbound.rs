//! Carrying out what the replica puts out: messages to peers, the log, metrics, subscribers.

use std::collections::HashMap;
use std::sync::Arc;

use alloy_rlp::{BufMut, Encodable, Header as RlpHeader};
use crossbeam_channel::Sender;
use ipe_chain::{Candidate, Imported};
use ipe_engine::{Job, Level, Notification, Output, PeerId, Stages};
use ipe_p2p::{LocalHead, NetworkHandle, Protocol, Reason};
use ipe_types::eth::{EthMessage, EthVersion, code};
use ipe_types::{Block, Bytes, U256};
use parking_lot::RwLock;
use tokio::sync::{broadcast, watch};

use crate::telemetry;

/// Points that a peer loses when the replica cuts it for breaking the protocol: all, so that it stays away for a while.
const ALL_POINTS: u32 = 100;

/// eth version of every session, written where sessions begin and end, read where messages are encoded.
pub(crate) type Versions = Arc<RwLock<HashMap<PeerId, EthVersion>>>;

/// The replica's hands.
pub(crate) struct Outbound {
    pub(crate) network: NetworkHandle,
    pub(crate) versions: Versions,
    pub(crate) notifications: broadcast::Sender<Notification>,
    pub(crate) head: watch::Sender<LocalHead>,
    /// To the thread that runs jobs.
    pub(crate) jobs: Sender<Box<Job>>,
}

impl Outbound {
    /// Carries out one wish.
    pub(crate) fn put(&mut self, output: Output) {
        match output {
            Output::Eth(to, message) => self.eth(&to, &message),
            Output::Transactions(to, candidates) => self.send(&to, Protocol::Eth, code::TRANSACTIONS, transactions(&candidates)),
            Output::NewBlock(to, block, total_difficulty) => {
                self.send(&to, Protocol::Eth, code::NEW_BLOCK, new_block(&block, total_difficulty));
            }
            Output::Istanbul(to, code, bytes) => self.send(&to, Protocol::Istanbul, code, bytes),
            Output::Disconnect(peer, reason, why) => {
                let peer = ipe_p2p::PeerId(peer.0);
                match Reason::from_code(reason) {
                    Reason::BreachOfProtocol => {
                        self.network.penalise(peer, ALL_POINTS, &why);
                    }
                    reason => {
                        tracing::info!(peer = peer.0, %reason, "disconnecting a peer: {why}");
                        self.network.disconnect(peer, reason);
                    }
                }
            }
            Output::Imported(imported, stages) => self.imported(imported, stages),
            // It takes each at once, and is gone only when the process ends.
            Output::Work(job) => drop(self.jobs.send(job)),
            // The key is in this process: the gate signs.
            Output::Sign(request) => {
                tracing::error!(id = request.id, "a signature was asked for, and there is no signer elsewhere")
            }
            Output::Notify(notification) => self.notify(notification),
            Output::Log(level, text) => match level {
                Level::Error => tracing::error!("{text}"),
                Level::Warn => tracing::warn!("{text}"),
                Level::Info => tracing::info!("{text}"),
                Level::Debug => tracing::debug!("{text}"),
            },
        }
    }

    fn send(&self, to: &[PeerId], protocol: Protocol, code: u8, bytes: Bytes) {
        let to: Vec<ipe_p2p::PeerId> = to.iter().map(|peer| ipe_p2p::PeerId(peer.0)).collect();
        self.network.send_many(&to, protocol, code, bytes.0);
    }

    /// Encodes a message once for each eth version among its receivers.
    fn eth(&self, to: &[PeerId], message: &EthMessage) {
        let versions = self.versions.read();
        for version in EthVersion::ALL {
            let to: Vec<PeerId> = to.iter().copied().filter(|peer| versions.get(peer) == Some(&version)).collect();
            if !to.is_empty() {
                let (code, bytes) = message.encode(version);
                self.send(&to, Protocol::Eth, code, bytes);
            }
        }
    }

    fn imported(&self, imported: Arc<Imported>, stages: Stages) {
        let header = &imported.block.header;
        self.head.send_replace(LocalHead {
            number: header.number,
            timestamp: header.timestamp,
            hash: imported.hash,
            total_difficulty: imported.total_difficulty,
            earliest: 0,
        });
        telemetry::block(&imported, &stages);
        let ms = |duration: std::time::Duration| duration.as_secs_f64() * 1_000.0;
        tracing::info!(
            height = header.number,
            hash = %imported.hash,
            txs = imported.block.body.transactions.len(),
            gas = header.gas_used,
            round = stages.round,
            proposer = %header.beneficiary,
            build_ms = format_args!("{:.1}", ms(stages.build)),
            check_ms = format_args!("{:.1}", ms(stages.check)),
            import_ms = format_args!("{:.1}", ms(stages.import)),
            total_ms = format_args!("{:.1}", ms(stages.total)),
            synced = stages.synced,
            "imported block"
        );
        self.notify(Notification::Imported(imported));
    }

    fn notify(&self, notification: Notification) {
        // Without subscribers there is nobody to tell.
        let _ = self.notifications.send(notification);
    }
}

/// Payload of `Transactions`.
fn transactions(candidates: &[Arc<Candidate>]) -> Bytes {
    let payload_length = candidates.iter().map(|candidate| candidate.tx.length()).sum();
    let mut out = Vec::with_capacity(payload_length + 5);
    RlpHeader { list: true, payload_length }.encode(&mut out);
    candidates.iter().for_each(|candidate| candidate.tx.encode(&mut out));
    out.into()
}

/// Payload of `NewBlock`.
fn new_block(block: &Block, total_difficulty: U256) -> Bytes {
    let payload_length = block.length() + total_difficulty.length();
    let mut out: Vec<u8> = Vec::with_capacity(payload_length + 5);
    RlpHeader { list: true, payload_length }.encode(&mut out as &mut dyn BufMut);
    block.encode(&mut out);
    total_difficulty.encode(&mut out);
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_those_of_the_eth_messages() {
        let block = Block::default();
        let message = EthMessage::NewBlock { block: Box::new(block.clone()), total_difficulty: U256::from(300) };
        assert_eq!(message.encode(EthVersion::V68).1, new_block(&block, U256::from(300)));
        assert_eq!(EthMessage::Transactions(Vec::new()).encode(EthVersion::V69).1, transactions(&[]));
    }
}
