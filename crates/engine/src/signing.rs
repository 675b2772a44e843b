//! The signing gate: the only way to the validator's key.
//!
//! For every message: is there another one of the same kind for this height and round, or a reason not to say it any more? →
//! write it into the journal → wait until that is durable → sign. So a validator never signs two different messages of one
//! kind for one height and round, and never forgets a prepared certificate once it has signed a Commit, whenever and
//! however often its process is killed.
//!
//! At most one durable write a message; a message that the journal already has is signed again without any.
//!
//! A key in this process signs at once. One that is elsewhere (a token, a signer in another process) is asked by a
//! [`SignRequest`], after the record is durable, and answers later, wrongly, or never: what comes back is worth what its
//! signatures prove, and nothing waits for it.
//!
//! All this holds as far as the journal does. While there is a [`Doubt`] that it lacks something the key has signed, the gate
//! signs nothing at all.

use std::collections::BTreeMap;
use std::sync::Arc;

use alloy_primitives::{Address, B256, keccak256};
use ipe_qbft::{Draft, Restored, Signatures};
use ipe_types::crypto::{HighS, SignatureError, recover_address};
use ipe_types::journal::JournalFile;
use ipe_types::message::{Payload, PreparePayload};
use ipe_types::planted::{self, Bug};
use ipe_types::{Kind, Message, NodeKey};
use thiserror::Error;

use crate::doubt::{Cause, Doubt};
use crate::journal::{Journal, JournalError, draft_again};

/// Requests that may be without an answer. A height needs four messages a round, and rounds grow longer each time.
const MAX_ASKED: usize = 64;

/// Where the key is.
#[derive(Clone, Debug)]
pub enum Signer {
    /// In this process, from the node's key file.
    Local(NodeKey),
    /// Elsewhere; it answers requests for this address.
    Elsewhere(Address),
}

impl Signer {
    /// Validator address.
    pub fn address(&self) -> Address {
        match self {
            Signer::Local(key) => key.address(),
            Signer::Elsewhere(address) => *address,
        }
    }
}

/// What a signer elsewhere is asked. The journal has it.
#[derive(Clone, Debug)]
pub struct SignRequest {
    /// Names the request in its answer.
    pub id: u64,
    /// What is to be signed: [`Draft::signatures`] says which hashes.
    pub draft: Arc<Draft>,
}

/// The signer's answer, or in a sentence why there is none.
pub type SignAnswer = Result<Signatures, String>;

/// What the gate made of a draft.
#[derive(Debug)]
pub enum Signing {
    /// Signed.
    Signed(Box<Message>),
    /// The signer is to be asked this.
    Asked(SignRequest),
    /// The signer was asked, and has not answered.
    Waiting,
}

/// The gate did not sign.
#[derive(Debug, Error)]
pub enum SignRefusal {
    /// Another message of this kind was signed for this height and round.
    #[error("another {kind:?} was signed for height {height} round {round}")]
    Conflict {
        /// Height.
        height: u64,
        /// Round.
        round: u32,
        /// Kind.
        kind: Kind,
    },
    /// The height is past.
    #[error("height {height} is past: something was signed for height {floor}")]
    BelowFloor {
        /// Height of the draft.
        height: u64,
        /// Lowest height at which anything is signed.
        floor: u64,
    },
    /// A RoundChange said that this round was left.
    #[error("round {round} of height {height} was left for round {left_for}")]
    RoundLeft {
        /// Height.
        height: u64,
        /// Round of the draft.
        round: u32,
        /// Highest round that was asked for.
        left_for: u32,
    },
    /// A RoundChange would hide what was prepared.
    #[error("a round change at height {height} must carry the certificate of round {prepared}")]
    ForgetsCertificate {
        /// Height.
        height: u64,
        /// Round in which something was prepared.
        prepared: u32,
    },
    /// A Commit without the certificate of its own round.
    #[error("a commit for height {height} round {round} needs the certificate of that round")]
    Unprepared {
        /// Height.
        height: u64,
        /// Round.
        round: u32,
    },
    /// The journal may lack something that the key has signed.
    #[error("this validator abstains: {0}")]
    Abstains(Doubt),
    /// The journal cannot be written.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The signer gave something that is no signature of ours.
    #[error("the signer's answer is not a signature of {0}")]
    Signer(Address),
    /// The signer gave no signature.
    #[error("the signer did not sign: {0}")]
    Unsigned(String),
    /// Too many requests have no answer.
    #[error("the signer has left {0} requests without an answer")]
    Overdue(usize),
}

/// What a message says about the key, see [`Gate::heard_own`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Another's.
    Foreign,
    /// Ours, and the journal has it or is past its height.
    Known,
    /// Signed with our key before this start, and the journal lacks it: from now on the gate abstains until the height is
    /// decided.
    Earlier,
    /// Signed with our key while this process signs: there is another one, and from now on the gate abstains until an
    /// operator has stopped it.
    Twin,
}

/// An operator's word about what the journal cannot know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// The key has signed nothing that the journal does not hold: it was never used, or is used on a new chain.
    NothingElseSigned,
    /// No other process signs with the key any more. What it signed is still out there.
    OtherStopped,
}

/// Key and journal together.
pub struct Gate {
    signer: Signer,
    address: Address,
    journal: Journal,
    /// Something was signed in this life.
    signed: bool,
    /// What the signer was asked and has not answered, by id. None is of a height below the journal's.
    asked: BTreeMap<u64, Arc<Draft>>,
    asked_last: u64,
    /// Signed before it was recorded: a planted bug.
    unrecorded: Option<Draft>,
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Gate(of {}, height {})", self.address, self.journal.height)
    }
}

impl Gate {
    /// Opens the journal and returns with the gate what the core must know about the height in hand; `None` when nothing
    /// was ever signed. `chain` is the genesis block's hash.
    ///
    /// A missing, damaged or older journal is no error: the gate then has a [`Gate::doubt`] and signs nothing.
    ///
    /// # Errors
    /// The journal cannot be read or written, or belongs to another chain or key. A torn tail is no error: what it was
    /// about was never signed.
    pub fn open(signer: Signer, file: Box<dyn JournalFile>, chain: B256) -> Result<(Self, Option<Restored>), JournalError> {
        let address = signer.address();
        let journal = Journal::open(file, chain, address)?;
        let (asked, unrecorded) = (BTreeMap::new(), None);
        let gate = Self { journal, signer, address, signed: false, asked, asked_last: 0, unrecorded };
        let restored = if gate.journal.doubt.is_none() { gate.restored() } else { None };
        Ok((gate, restored))
    }

    /// Why nothing is signed now; `None` when all is well.
    pub fn doubt(&self) -> Option<Doubt> {
        self.journal.doubt.filter(|_| !planted::is(Bug::DoubtIgnored))
    }

    /// Takes note of a message that came from the network, with a verified author, in case it is signed with our key: one
    /// that the journal does not know shows that the journal lacks something, or that another process has the key. Only a
    /// holder of the key can make such a message; that it was made for this chain is for the caller to see, since nothing in
    /// it says so (spec/qbft.md 7).
    pub fn heard_own(&mut self, message: &Message) -> Heard {
        if message.author() != self.address {
            return Heard::Foreign;
        }
        if self.knows(message) {
            return Heard::Known;
        }
        let height = message.height();
        let before = self.journal.doubt;
        let cause = match before {
            Some(Doubt { cause: Cause::Behind, .. }) => Cause::Older,
            Some(doubt) => doubt.cause,
            None if self.signed => Cause::Twin,
            None => Cause::Older,
        };
        if before.is_none_or(|doubt| doubt.cause != cause || doubt.through < height) {
            // When it cannot be written, this life abstains all the same.
            let _ = self.journal.doubt(Doubt { cause, through: height });
        }
        if cause == Cause::Twin { Heard::Twin } else { Heard::Earlier }
    }

    /// Whether a message with our signature is in the journal, or below all that matters to it.
    pub fn knows(&self, message: &Message) -> bool {
        let (height, round, kind) = (message.height(), message.round(), message.kind());
        let spoken = self.journal.spoken.get(&(round, kind));
        height < self.journal.height
            || (height == self.journal.height && spoken.is_some_and(|spoken| spoken.identity == identity_of(message)))
    }

    /// Signs nothing from now on, for this reason. All but [`Cause::Behind`], which a start finds out again, is kept in the
    /// journal and holds after a restart too.
    ///
    /// # Errors
    /// The journal cannot be written; this life abstains all the same.
    pub fn abstain(&mut self, doubt: Doubt) -> Result<(), JournalError> {
        if doubt.cause == Cause::Behind {
            self.journal.doubt.get_or_insert(doubt);
            return Ok(());
        }
        self.journal.doubt(doubt)
    }

    /// The doubt is over: everything below `floor` that the key may have signed is decided. Signs from there on.
    ///
    /// # Errors
    /// The journal cannot be written; the doubt stays.
    pub fn settle(&mut self, floor: u64) -> Result<(), JournalError> {
        self.journal.settle(floor)
    }

    /// Takes an operator's word. Answers with the doubt that is left.
    ///
    /// # Errors
    /// The journal cannot be written; nothing is changed.
    pub fn answer(&mut self, word: Word) -> Result<Option<Doubt>, JournalError> {
        let left = match (word, self.journal.doubt) {
            (_, None) | (Word::NothingElseSigned, _) => None,
            (Word::OtherStopped, Some(Doubt { cause: Cause::Twin, .. })) => Some(Cause::Older),
            (Word::OtherStopped, Some(doubt)) => Some(doubt.cause),
        };
        self.journal.answer(left)?;
        Ok(self.journal.doubt)
    }

    /// Validator address of the key.
    pub fn address(&self) -> Address {
        self.address
    }

    /// Lowest height at which anything is signed; 0 when nothing was signed yet.
    pub fn floor(&self) -> u64 {
        self.journal.height
    }

    /// Signs a draft, or asks the signer to, or finds a reason not to. The same draft may be given again and has the same
    /// message.
    ///
    /// # Errors
    /// [`SignRefusal`]; nothing was signed then.
    pub fn sign(&mut self, draft: &Draft) -> Result<Signing, SignRefusal> {
        if let Some(doubt) = self.doubt() {
            return Err(SignRefusal::Abstains(doubt));
        }
        if let Some(late) = self.unrecorded.take() {
            self.record(&late)?;
        }
        if planted::is(Bug::JournalAfterSend) {
            self.unrecorded = Some(draft.clone());
        } else {
            self.record(draft)?;
        }
        self.signed = true;
        match self.signer {
            Signer::Local(_) => self.make(draft).map(|message| Signing::Signed(Box::new(message))),
            Signer::Elsewhere(_) => self.ask(draft),
        }
    }

    /// Makes the draft durable, unless the journal has it or something is against it.
    fn record(&mut self, draft: &Draft) -> Result<(), SignRefusal> {
        let known = self.judge(draft)?;
        let forgotten = planted::is(Bug::CommitsNotJournalled) && draft.kind() == Kind::Commit;
        if !known && !forgotten {
            self.journal.record(draft)?;
        }
        Ok(())
    }

    fn ask(&mut self, draft: &Draft) -> Result<Signing, SignRefusal> {
        self.asked.retain(|_, asked| asked.height() >= self.journal.height);
        let name = |draft: &Draft| (draft.height(), draft.round(), draft.kind());
        if self.asked.values().any(|asked| name(asked) == name(draft)) {
            return Ok(Signing::Waiting);
        }
        if self.asked.len() >= MAX_ASKED {
            return Err(SignRefusal::Overdue(self.asked.len()));
        }
        self.asked_last += 1;
        let request = SignRequest { id: self.asked_last, draft: Arc::new(draft.clone()) };
        self.asked.insert(request.id, request.draft.clone());
        Ok(Signing::Asked(request))
    }

    /// Takes the signer's answer to a request. `None` when nothing waits for it any more: it was answered, its height is past, or a
    /// doubt came up meanwhile. The message is one that the journal has, and as good to send now as when it was asked for: whatever
    /// was recorded since takes it for signed.
    pub fn answered(&mut self, id: u64, answer: SignAnswer) -> Option<(Arc<Draft>, Result<Message, SignRefusal>)> {
        let draft = self.asked.remove(&id)?;
        if draft.height() < self.journal.height || self.doubt().is_some() {
            return None;
        }
        let made = match answer {
            Ok(signatures) => self.check(&draft, &signatures),
            Err(reason) => Err(SignRefusal::Unsigned(reason)),
        };
        Some((draft, made))
    }

    fn check(&self, draft: &Draft, signatures: &Signatures) -> Result<Message, SignRefusal> {
        let foreign = |_: SignatureError| SignRefusal::Signer(self.address);
        let message = draft.with(signatures).map_err(foreign)?;
        let seal = match (draft, signatures.seal) {
            (Draft::Commit { commit_hash, .. }, Some(seal)) => {
                recover_address(*commit_hash, &seal, HighS::Rejected).map_err(foreign)?
            }
            _ => self.address,
        };
        let ours = message.author() == self.address && seal == self.address;
        if ours { Ok(message) } else { Err(SignRefusal::Signer(self.address)) }
    }

    /// Whether the draft may be signed; `true` when the journal already has it.
    fn judge(&self, draft: &Draft) -> Result<bool, SignRefusal> {
        let (height, round, kind) = (draft.height(), draft.round(), draft.kind());
        let journal = &self.journal;
        if height < journal.height {
            return Err(SignRefusal::BelowFloor { height, floor: journal.height });
        }
        if let Draft::Commit { certificate, digest, .. } = draft
            && (certificate.round != round || certificate.digest != *digest)
        {
            return Err(SignRefusal::Unprepared { height, round });
        }
        if height > journal.height {
            return Ok(false);
        }
        if let Some(spoken) = journal.spoken.get(&(round, kind)) {
            let same = spoken.identity == draft.identity() || planted::is(Bug::ConflictUnchecked);
            return if same { Ok(true) } else { Err(SignRefusal::Conflict { height, round, kind }) };
        }
        match draft {
            Draft::Proposal { .. } | Draft::Prepare(_) | Draft::Commit { .. } => {
                let left_for = journal.spoken.keys().filter(|(_, kind)| *kind == Kind::RoundChange).map(|(to, _)| *to).max();
                if let Some(left_for) = left_for
                    && left_for > round
                {
                    return Err(SignRefusal::RoundLeft { height, round, left_for });
                }
            }
            Draft::RoundChange { payload, certificate, .. } => {
                if let Some(known) = &journal.certificate
                    && !planted::is(Bug::CertificateForgotten)
                {
                    let carried = certificate.as_ref().map(|certificate| certificate.round);
                    let named = payload.prepared.map(|(round, _)| round);
                    if named != carried || named.is_none_or(|named| named < known.round) {
                        return Err(SignRefusal::ForgetsCertificate { height, prepared: known.round });
                    }
                }
            }
        }
        Ok(false)
    }

    /// Signs what the journal has, with a key that is here.
    fn make(&self, draft: &Draft) -> Result<Message, SignRefusal> {
        let Signer::Local(key) = &self.signer else { return Err(SignRefusal::Signer(self.address)) };
        let message = draft.sign_with(|hash| key.sign(hash));
        let message = message.map_err(|_: SignatureError| SignRefusal::Signer(self.address))?;
        if message.author() == self.address { Ok(message) } else { Err(SignRefusal::Signer(self.address)) }
    }

    fn restored(&self) -> Option<Restored> {
        let journal = &self.journal;
        let round = journal.spoken.keys().map(|(round, _)| *round).max()?;
        let certificate = journal.certificate.clone();
        let messages = match self.signer {
            Signer::Local(_) => self.again().iter().filter_map(|draft| self.make(draft).ok()).map(Arc::new).collect(),
            // Asked for when consensus starts.
            Signer::Elsewhere(_) => Vec::new(),
        };
        Some(Restored { height: journal.height, round, certificate, messages })
    }

    /// What was signed in the height in hand and is to be sent again by a later life: all but proposals, which nobody needs twice.
    fn again(&self) -> Vec<Draft> {
        let journal = &self.journal;
        let drafts = journal.spoken.iter();
        drafts
            .filter_map(|((round, _), spoken)| draft_again(journal.height, *round, &spoken.again, journal.certificate.as_ref()))
            .collect()
    }

    /// What a former life signed in the height in hand, where the signer has to be asked for it again; empty where [`Gate::open`]
    /// has given the messages.
    pub fn unsigned(&self) -> Vec<Draft> {
        match self.signer {
            Signer::Local(_) => Vec::new(),
            Signer::Elsewhere(_) => self.again(),
        }
    }
}

/// As [`Draft::identity`].
fn identity_of(message: &Message) -> B256 {
    match message {
        Message::Proposal(proposal) => keccak256(proposal.signed.raw()),
        Message::Prepare(prepare) => keccak256(prepare.raw()),
        Message::Commit(commit) => {
            let payload = commit.payload();
            keccak256(PreparePayload { height: payload.height, round: payload.round, digest: payload.digest }.encode_payload())
        }
        Message::RoundChange(change) => keccak256(change.signed.raw()),
    }
}

#[cfg(test)]
mod tests;
