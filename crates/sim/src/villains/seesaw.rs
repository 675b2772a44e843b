//! Votes in each of its blocks for whatever turns the set round: out with who came in last, in with who is out. With honest
//! operators who disagree it is the vote that decides, again and again. Its blocks are valid.

use std::sync::Arc;

use ipe_chain::vote_choice;
use ipe_engine::PeerId;
use ipe_types::extra::ExtraData;
use ipe_types::{Address, Block, Header, Message};

use super::{Said, Scene, Villain, proposal_again};

pub(super) fn speak(villain: &mut Villain, scene: &Scene<'_>, to: Vec<PeerId>, message: &Message) -> Vec<Said> {
    let Message::Proposal(proposal) = message else { return vec![Said::plain(to, message)] };
    let payload = proposal.signed.payload();
    let Some(block) = swung(villain, &payload.block, scene) else { return vec![Said::plain(to, message)] };
    proposal_again(&villain.key, proposal, payload.round, Arc::new(block))
        .map(|message| Said::foul(to, &message))
        .into_iter()
        .collect()
}

/// The block with a vote against what is so, about anybody on whom somebody has voted or who validates.
fn swung(villain: &mut Villain, block: &Block, scene: &Scene<'_>) -> Option<Block> {
    let mut extra = ExtraData::decode(&block.header.extra_data).ok()?;
    let tally = &scene.ledger.head().votes;
    let own = villain.key.address();
    let disputed: Vec<Address> = tally.votes.keys().copied().chain(villain.swung).collect();
    let subject = *disputed.get(villain.rng.below(disputed.len() as u64) as usize)?;
    let wish = [(subject, !tally.validators.contains(&subject))].into();
    extra.vote = Some(vote_choice(&wish, tally, own, 0)?);
    villain.swung = Some(subject);
    let header = Header { extra_data: extra.encode(), ..block.header.clone() };
    Some(Block { header, body: block.body.clone() })
}
