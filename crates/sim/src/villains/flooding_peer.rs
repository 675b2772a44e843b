//! A boot that sends its peers whatever costs them something, as fast as it can.

use alloy_primitives::{Bytes, keccak256};
use ipe_types::eth::{Announced, BlockHashNumber, EthMessage, HeadersQuery, HeadersStart};

use super::{Said, Scene, Villain, prepare, round_change};
use crate::setup::{class, key};

/// Messages of one act.
const BURST: u64 = 12;

pub(super) fn act(villain: &mut Villain, scene: &Scene<'_>) -> Vec<Said> {
    let height = scene.height();
    let mut said = Vec::new();
    for number in 0..BURST {
        let Some(peer) = villain.rng.pick(&scene.peers).copied() else { break };
        let word = villain.rng.next();
        let stranger = key(class::STRANGER, 100 + (word % 50) as usize);
        let hash = keccak256((scene.now_us + number).to_be_bytes());
        let consensus = |message: Option<ipe_types::Message>| message.map(|message| Said::foul(vec![peer], &message));
        said.extend(match word % 8 {
            0 => consensus(prepare(&stranger, height, 0, hash)),
            1 => consensus(round_change(&stranger, height + 1, 1 + (word >> 8) as u32 % 1_000)),
            2 => Some(Said::raw(vec![peer], 0x12 + (word >> 8) as u8 % 6, Bytes::from(hash.to_vec()))),
            3 => {
                let announced = (0..64u64).map(|n| Announced { hash: keccak256((word ^ n).to_be_bytes()), kind: Some((2, 200)) });
                Some(Said::eth(vec![peer], EthMessage::NewPooledTransactionHashes(announced.collect())))
            }
            4 => {
                let blocks = vec![BlockHashNumber { hash, number: height + word % 1_000 }];
                Some(Said::eth(vec![peer], EthMessage::NewBlockHashes(blocks)))
            }
            5 => {
                let query = HeadersQuery {
                    start: HeadersStart::Number(word >> 60),
                    limit: u64::MAX,
                    skip: word >> 58,
                    reverse: word & 1 == 1,
                };
                Some(Said::eth(vec![peer], EthMessage::GetBlockHeaders { request_id: word, query }))
            }
            6 => Some(Said::eth(
                vec![peer],
                EthMessage::GetBlockBodies { request_id: 0, hashes: vec![scene.ledger.head().hash; 64] },
            )),
            _ => Some(Said::eth(vec![peer], EthMessage::BlockHeaders { request_id: word, headers: Vec::new() })),
        });
    }
    said
}
