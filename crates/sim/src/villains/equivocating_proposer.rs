//! Proposes one block to one half of its peers and another, as valid, to the other half; and votes for both.

use ipe_engine::PeerId;
use ipe_types::Message;

use super::{Said, Villain, commit, prepare, proposal_again, twin_of};

pub(super) fn speak(villain: &mut Villain, to: Vec<PeerId>, message: &Message) -> Vec<Said> {
    let Message::Proposal(proposal) = message else { return vec![Said::plain(to, message)] };
    let payload = proposal.signed.payload();
    let mark = villain.rng.between(1, 255) as u8;
    let (here, there) = villain.halves(&to);
    let mut said = vec![Said::plain(here, message)];
    if let Some(block) = twin_of(&payload.block, mark) {
        let digest = ipe_types::header::commit_hash(&block.header, payload.round).unwrap_or_default();
        let other = proposal_again(&villain.key, proposal, payload.round, block.clone());
        let votes = [
            prepare(&villain.key, payload.height, payload.round, digest),
            commit(&villain.key, payload.height, payload.round, &block.header),
        ];
        said.extend(other.into_iter().chain(votes.into_iter().flatten()).map(|message| Said::foul(there.clone(), &message)));
    }
    said
}
