//! One height in hand: what was said and what we did at it.

use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes};
use ipe_types::message::{RoundChange, RoundChangePayload, Signed};
use ipe_types::{Block, Kind, Message};

use crate::certificate::PreparedCertificate;
use crate::clock::Pace;
use crate::draft::Draft;
use crate::event::{Effect, HeadInfo, Millis};
use crate::heard::Heard;
use crate::justify::{self, Digests, Rules};
use crate::rejection::{Reason, Rejection};
use crate::round_changes::RoundChanges;
use crate::state::Settings;
use crate::votes::Votes;

/// Blocks of one height whose validity is remembered, so that a block prepared before is not executed again for every
/// later round. More than rounds usually have different blocks.
const JUDGED_MAX: usize = 4;

/// One call of [`crate::step`]: the time, who we are, and the effects so far.
pub(crate) struct Turn {
    /// The steady clock, for patience.
    pub(crate) now: Millis,
    /// Unix time, for timestamps and for when a block is due.
    pub(crate) wall: Millis,
    pub(crate) settings: Settings,
    pub(crate) effects: Vec<Effect>,
}

impl Turn {
    pub(crate) fn push(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    pub(crate) fn report(&mut self, author: Address, kind: Kind, height: u64, round: u32, reason: Reason) {
        self.push(Effect::Report(Rejection { author, kind, height, round, reason }));
    }
}

/// A height that we validate.
#[derive(Clone, Debug)]
pub(crate) struct Height {
    pub(crate) parent: HeadInfo,
    pub(crate) rules: Rules,
    /// When round 0 begins, by the wall clock. Later than the first time while an empty block is held back.
    pub(crate) due: Millis,
    /// When a block with transactions may begin, by the wall clock.
    pub(crate) first_due: Millis,
    /// True while an empty block is held back: there is no round, and a transaction ends the wait.
    pub(crate) idle: bool,
    pub(crate) round: Option<Round>,
    pub(crate) certificate: Option<Arc<PreparedCertificate>>,
    pub(crate) round_changes: RoundChanges,
    pub(crate) votes: Votes,
    pub(crate) own: Own,
    pub(crate) pace: Pace,
    pub(crate) heard: Heard,
    /// Blocks found valid at this height, by hash.
    pub(crate) judged: Vec<(B256, Arc<Block>)>,
    /// The last prepared block whose body was found to be the one that its header names.
    pub(crate) whole: Option<Arc<Block>>,
    /// How late heads come anyway by our clock, in milliseconds.
    pub(crate) usual_ms: u64,
    /// When round 0 began, by the wall clock.
    pub(crate) began: Option<Millis>,
    pub(crate) decided: bool,
}

/// Own messages that are sent again while the height lasts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Own {
    pub(crate) round_change: Option<Arc<Message>>,
    pub(crate) proposal: Option<Arc<Message>>,
    pub(crate) prepare: Option<Arc<Message>>,
    pub(crate) commit: Option<Arc<Message>>,
}

/// Whether a round may have a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Round above 0 without a quorum of RoundChanges for it: nobody can propose.
    Gathering,
    /// Round 0, or a round with its quorum.
    Open,
}

/// A round in hand.
#[derive(Clone, Debug)]
pub(crate) struct Round {
    pub(crate) number: u32,
    pub(crate) proposer: Address,
    pub(crate) stage: Stage,
    /// When it became open, or began.
    pub(crate) since: Millis,
    /// When patience ends; `None` while a quorum is missing, when there is nothing to be impatient for.
    pub(crate) deadline: Option<Millis>,
    /// Patience that was given last; progress earns the same again.
    pub(crate) patience_ms: u64,
    /// It has less than its full patience until its proposer is heard.
    pub(crate) doubted: bool,
    /// Something new was said in this round since the deadline was last set.
    pub(crate) progress: bool,
    /// Part of the quorum was seen above this round.
    pub(crate) climbing: bool,
    /// Our own RoundChange for this round could not be signed.
    pub(crate) refused: bool,
    /// We are building for this round, with this justification.
    pub(crate) building: Option<Vec<Signed<RoundChangePayload>>>,
    /// We proposed, or wished to.
    pub(crate) proposed: bool,
    /// Hash of the block that we built, which needs no judgement.
    pub(crate) built: Option<B256>,
    pub(crate) accepted: Option<Accepted>,
    /// Blocks of this round given to judgement.
    pub(crate) checks: u32,
    /// Votes that we wished to sign and that nothing is against: asked for again until they are here.
    pub(crate) wished: Vec<Draft>,
    pub(crate) prepare_asked: bool,
    pub(crate) commit_asked: bool,
}

/// The proposal of a round.
#[derive(Clone, Debug)]
pub(crate) struct Accepted {
    pub(crate) block: Arc<Block>,
    pub(crate) access_list: Option<Bytes>,
    /// Raw payload that was signed, to tell a repetition from an equivocation.
    pub(crate) raw: Bytes,
    /// Block hash.
    pub(crate) hash: B256,
    /// Digest that we emit.
    pub(crate) digest: B256,
    /// Digests that we take.
    pub(crate) digests: Digests,
    /// What commit seals of this round sign.
    pub(crate) commit_hash: B256,
    /// Its justification has a quorum of Prepares.
    pub(crate) prepared: bool,
    /// Found valid.
    pub(crate) valid: bool,
}

impl Height {
    /// Number of the block that is sought.
    pub(crate) fn number(&self) -> u64 {
        self.rules.height
    }

    /// Number of the round in hand.
    pub(crate) fn round_number(&self) -> Option<u32> {
        self.round.as_ref().map(|round| round.number)
    }

    /// The body of a RoundChange's prepared block is the one that its header names. The same block comes with the RoundChange
    /// of everybody, so that the answer is remembered: comparing costs less than a hash tree.
    pub(crate) fn check_body(&mut self, change: &RoundChange) -> Result<(), Reason> {
        let Some(block) = &change.block else { return Ok(()) };
        let root = block.header.transactions_root;
        let same = |known: &Arc<Block>| known.header.transactions_root == root && known.body == block.body;
        let accepted = self.round.as_ref().and_then(|round| round.accepted.as_ref()).filter(|accepted| accepted.valid);
        if self.whole.as_ref().is_some_and(same) || accepted.map(|accepted| &accepted.block).is_some_and(same) {
            return Ok(());
        }
        justify::prepared_body(change)?;
        self.whole = Some(block.clone());
        Ok(())
    }

    /// Remembers that the block is valid.
    pub(crate) fn judge_valid(&mut self, hash: B256, block: &Arc<Block>) {
        if !self.is_judged(hash, block) {
            if self.judged.len() == JUDGED_MAX {
                self.judged.remove(0);
            }
            self.judged.push((hash, block.clone()));
        }
    }

    /// Whether this very block was found valid. The hash names the header only: with another body it is another block, which
    /// nobody could import.
    pub(crate) fn is_judged(&self, hash: B256, block: &Block) -> bool {
        self.judged.iter().any(|(known, valid)| *known == hash && valid.body == block.body)
    }
}

impl Height {
    /// Votes of the round in hand that we wished to sign and that are not back.
    pub(crate) fn unsigned(&self) -> impl Iterator<Item = &Draft> {
        let is_back = |kind| match kind {
            Kind::Commit => self.own.commit.is_some(),
            _ => self.own.prepare.is_some(),
        };
        self.round.iter().flat_map(|round| &round.wished).filter(move |draft| !is_back(draft.kind()))
    }
}

impl Own {
    /// In the order in which a peer that knows nothing can use them.
    pub(crate) fn messages(&self) -> Vec<Arc<Message>> {
        [&self.round_change, &self.proposal, &self.prepare, &self.commit].into_iter().flatten().cloned().collect()
    }
}
