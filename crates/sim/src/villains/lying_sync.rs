//! A boot that lies about blocks: claims heights that do not exist, answers with headers that are unsealed, unlinked, too
//! many or none, with bodies of other blocks, and pushes blocks that nobody sealed.

use alloy_primitives::{B256, U256};
use ipe_engine::PeerId;
use ipe_types::eth::{BlockHashNumber, EthMessage};
use ipe_types::{Block, ExtraData};

use super::{Said, Scene, Villain, Wire};

pub(super) fn tell(villain: &mut Villain, _scene: &Scene<'_>, to: Vec<PeerId>, message: EthMessage) -> Vec<Said> {
    let lie = match message {
        EthMessage::BlockHeaders { request_id, mut headers } if villain.rng.chance(700) => {
            let at = villain.rng.below(headers.len() as u64) as usize;
            match villain.rng.below(6) {
                0 => headers.clear(),
                1 => headers.reverse(),
                2 => headers.iter_mut().for_each(|header| {
                    if let Ok(mut extra) = ExtraData::decode(&header.extra_data) {
                        extra.seals.clear();
                        header.extra_data = extra.encode();
                    }
                }),
                3 => headers.iter_mut().skip(at).take(1).for_each(|header| header.state_root = B256::repeat_byte(0xee)),
                4 => headers.extend(headers.clone()),
                _ => headers.truncate(at),
            }
            EthMessage::BlockHeaders { request_id, headers }
        }
        EthMessage::BlockBodies { request_id, mut bodies } if villain.rng.chance(700) => {
            match villain.rng.below(3) {
                0 => bodies.clear(),
                1 => bodies.reverse(),
                _ => bodies.iter_mut().for_each(|body| {
                    body.transactions.pop();
                }),
            }
            EthMessage::BlockBodies { request_id, bodies }
        }
        other => return vec![Said { to, wire: Wire::Eth(other), foul: false }],
    };
    vec![Said::eth(to, lie)]
}

pub(super) fn act(villain: &mut Villain, scene: &Scene<'_>) -> Vec<Said> {
    let head = scene.ledger.head();
    let above = head.number + villain.rng.between(1, 1_000);
    let claim = EthMessage::NewBlockHashes(vec![BlockHashNumber { hash: B256::repeat_byte(0xaa), number: above }]);
    let range = EthMessage::BlockRangeUpdate { earliest: 0, latest: above, latest_hash: B256::repeat_byte(0xaa) };
    let mut said = Vec::new();
    match villain.rng.below(4) {
        0 => said.push(Said::eth(scene.peers.clone(), claim)),
        1 => said.push(Said::eth(scene.peers.clone(), range)),
        _ => {
            // The proposal at hand as if it were decided, with the seals of the block before it.
            let proposed = villain.proposed_at(head.number + 1).into_iter().next();
            if let Some((_, block)) = proposed
                && let (Ok(mut extra), Ok(old)) =
                    (ExtraData::decode(&block.header.extra_data), ExtraData::decode(&head.header.extra_data))
            {
                extra.seals = old.seals;
                let mut header = block.header.clone();
                header.extra_data = extra.encode();
                let block = Box::new(Block { header, body: block.body.clone() });
                let total_difficulty = U256::from(head.number + 2);
                said.push(Said::eth(scene.peers.clone(), EthMessage::NewBlock { block, total_difficulty }));
            }
        }
    }
    said
}
