//! An institution whose nodes claim heights that are far away, in Status and after it, announce transactions that do not
//! exist, and answer no question.

use alloy_primitives::{B256, keccak256};
use ipe_engine::PeerId;
use ipe_types::eth::{Announced, BlockHashNumber, EthMessage};

use super::{Said, Scene, Villain, Wire};

/// Heights above the head that are claimed.
pub(crate) const FAR: u64 = 1_000_000;
/// Transactions of one announcement: as many as the protocol allows would fill every table in two of them.
const ANNOUNCED: u64 = 512;

pub(super) fn tell(to: Vec<PeerId>, message: EthMessage) -> Vec<Said> {
    match message {
        EthMessage::BlockHeaders { .. } | EthMessage::BlockBodies { .. } | EthMessage::PooledTransactions { .. } => Vec::new(),
        other => vec![Said { to, wire: Wire::Eth(other), foul: false }],
    }
}

pub(super) fn act(villain: &mut Villain, scene: &Scene<'_>) -> Vec<Said> {
    let number = scene.ledger.head().number + villain.rng.between(2, FAR);
    let hash = keccak256(villain.rng.next().to_be_bytes());
    let message = match villain.rng.below(6) {
        0 => EthMessage::NewBlockHashes(vec![BlockHashNumber { hash, number }]),
        1 => EthMessage::BlockRangeUpdate { earliest: 0, latest: number, latest_hash: B256::repeat_byte(0xcc) },
        2 => {
            let word = villain.rng.next();
            let hashes = (0..ANNOUNCED).map(|n| keccak256((word ^ n).to_be_bytes()));
            EthMessage::NewPooledTransactionHashes(hashes.map(|hash| Announced { hash, kind: Some((0, 110)) }).collect())
        }
        _ => return Vec::new(),
    };
    vec![Said::eth(scene.peers.clone(), message)]
}
