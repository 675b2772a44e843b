//! Proposes blocks that break one rule each.

use std::sync::Arc;

use alloy_primitives::{B256, Bytes, U256};
use ipe_engine::PeerId;
use ipe_types::{Block, ExtraData, Header, Message};

use super::{Said, Scene, Villain, proposal_again};

pub(super) fn speak(villain: &mut Villain, scene: &Scene<'_>, to: Vec<PeerId>, message: &Message) -> Vec<Said> {
    let Message::Proposal(proposal) = message else { return vec![Said::plain(to, message)] };
    let payload = proposal.signed.payload();
    let rule = villain.rng.below(15);
    let Some(block) = spoilt(&payload.block, rule, scene) else { return vec![Said::plain(to, message)] };
    let round = payload.round;
    proposal_again(&villain.key, proposal, round, Arc::new(block)).map(|message| Said::foul(to, &message)).into_iter().collect()
}

fn spoilt(block: &Block, rule: u64, scene: &Scene<'_>) -> Option<Block> {
    let (mut header, mut body) = (block.header.clone(), block.body.clone());
    let wrong = B256::repeat_byte(0xee);
    match rule {
        0 => header.state_root = wrong,
        1 => header.receipts_root = wrong,
        2 => header.transactions_root = wrong,
        3 => header.parent_hash = wrong,
        4 => header.gas_used += 1,
        5 => header.timestamp += 1_000,
        6 => header.timestamp = scene.ledger.head().header.timestamp,
        7 => {
            // As if another validator had built it.
            let extra = ExtraData::decode(&header.extra_data).ok()?;
            header.beneficiary = *extra.validators.iter().find(|who| **who != header.beneficiary)?;
        }
        8 => header.number += 1,
        9 => header.gas_limit *= 2,
        10 => header.difficulty = U256::from(2),
        11 => {
            let mut extra = ExtraData::decode(&header.extra_data).ok()?;
            extra.validators.pop();
            header.extra_data = extra.encode();
        }
        // What every node imports, and no validator builds.
        12 => header.nonce = 1u64.to_be_bytes().into(),
        13 => {
            let mut extra = ExtraData::decode(&header.extra_data).ok()?;
            extra.vanity = [extra.vanity.as_ref(), &[0]].concat().into();
            header.extra_data = extra.encode();
        }
        _ => {
            // A transaction a second time, the header telling of both.
            let first = body.transactions.first().cloned()?;
            body.transactions.push(first);
            header.transactions_root = alloy_consensus::proofs::calculate_transaction_root(&body.transactions);
            header.extra_data = Bytes::from(header.extra_data.to_vec());
        }
    }
    Some(Block { header: Header { ..header }, body })
}
