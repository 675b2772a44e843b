//! Which consensus messages are taken from a peer, and to whom they are passed on (spec/qbft.md 8.5, 9).
//!
//! Identity is what is signed ([`Outline::key`]). The rest of a message, its justification, nobody signed, so it is verified
//! before the message is held, passed on or remembered as seen: whoever changes it on the way makes a copy that counts for
//! nothing, at its own expense ([`crate::accounts`]), and the sound copy is taken from whoever brings it next. What is
//! dropped because a budget is spent is new when it comes again.
//!
//! The order of the checks is that of their cost: outer lists, already seen, height and round, the budgets, the author's
//! signature, membership and turn, and only then the block and the signatures of the justification, of which each is
//! recovered once whatever it comes in.
//!
//! For the head and the next height validators and turn are known. For later heights the validators of the next one stand
//! in, and nobody's turn is known: a proposal there is taken within its author's budget of bytes, and what cannot be
//! verified with these validators is dropped without blame, for they may have changed; its author says it again.
//!
//! What is passed on are the original bytes, once, never to the sender nor to whom is known to have them.

use std::collections::VecDeque;
use std::sync::Arc;

use alloy_primitives::Keccak256;
use ipe_qbft::justify::{self, Fault, Rules};
use ipe_types::crypto::{HighS, Signature65, recover_address};
use ipe_types::message::{Kind, MAX_MESSAGE_BYTES, Message, MessageError, Outline};
use ipe_types::planted::{self, Bug};
use ipe_types::{Address, B256, Block, Bytes, Header, NodeId, Role, Topology, ValidatorSet};

use crate::accounts::{Accounts, Bringer, glance_us, reading_us};
use crate::peer::Peer;
use crate::recent::{Answers, BoundedMap, Recent};
use crate::status::Refused;

/// Heights above the next one that are still taken: Besu's `futuremessagesmaxdistance`.
pub const MAX_DISTANCE: u64 = 10;
/// Highest round taken.
pub const MAX_ROUND: u32 = ipe_qbft::bounds::MAX_ROUND;
/// Messages remembered as seen: some heights of the largest network, with round changes.
const SEEN: usize = 16_384;
/// Signatures whose author is remembered: a height of the largest network, with round changes. Each comes as a message and
/// in the justification of others.
const RECOVERED: usize = 8_192;
/// Prepared blocks whose body is remembered to be the one that the header names. A height has one as a rule.
const WHOLE_BLOCKS: usize = 2;
/// Faults for a copy with a spoiled justification: an honest node never passes one on.
const SPOILED: u64 = 2;
/// How much dearer than it looked a prepared block was whose hash tree had to be computed to find it false.
const TREE: u64 = 4;

/// What the replica knows of heights and validators when a message comes.
#[derive(Clone, Copy, Debug)]
pub struct Window<'a> {
    /// Own head number.
    pub head: u64,
    /// By what messages of the head's height are judged.
    pub current: &'a Rules,
    /// By what messages of the next height are judged.
    pub next: &'a Rules,
    /// By what messages of the height after that are judged, when the next block is final and only has to be written here.
    pub coming: Option<&'a Rules>,
}

impl Window<'_> {
    /// Highest height whose validators are known.
    fn top(&self) -> u64 {
        self.coming.map_or(self.next.height, |coming| coming.height)
    }
}

/// What to do with a message.
#[derive(Debug)]
pub enum Intake {
    /// Nothing: seen before or refused.
    Drop,
    /// Nothing, and the peer is to be disconnected for this reason.
    Cut(String),
    /// Nothing yet: it may be sound by the rules of this height, which is not next and whose validators are not known.
    Early(u64),
    /// Verified as coming from this validator at a height too far above to be relayed; evidence that we are behind.
    Ahead(Address, u64),
    /// Verified with all of its justification, and new: relay and process. The hash names it, see [`Outline::key`].
    Take(Arc<Message>, B256),
}

/// The memory of the relay.
#[derive(Debug)]
pub struct Relay {
    seen: Recent,
    /// Messages of heights too far above, whose author has paid for them.
    ahead: Recent,
    accounts: Accounts,
    recovered: Answers<Address>,
    whole: VecDeque<Arc<Block>>,
    /// Highest verified height by author, for authors of the current sets.
    heights: BoundedMap<Address, u64>,
    /// Counts of what was refused.
    pub refused: Refused,
    /// Messages dropped because they had been seen.
    pub duplicates: u64,
    /// Messages passed on for others, counted once whatever the number of receivers.
    pub relayed: u64,
    /// Peers cut.
    pub cut: u64,
    /// Signatures whose author was recovered, and not remembered.
    pub recoveries: u64,
}

impl Default for Relay {
    fn default() -> Self {
        Self {
            seen: Recent::new(SEEN),
            ahead: Recent::new(SEEN),
            accounts: Accounts::default(),
            recovered: Answers::new(RECOVERED),
            whole: VecDeque::new(),
            heights: BoundedMap::new(ipe_types::extra::MAX_VALIDATORS),
            refused: Refused::default(),
            duplicates: 0,
            relayed: 0,
            cut: 0,
            recoveries: 0,
        }
    }
}

/// One message on its way through the checks, and who may be charged for it.
struct Case<'a> {
    now_ms: u64,
    bringer: Bringer,
    /// Whether the bringer is a validator that may pass on what it has not verified, as Besu does: then it is not cut for
    /// that, but heard less.
    gossips: bool,
    n: usize,
    bytes: usize,
    outline: Outline<'a>,
    key: B256,
    window: Window<'a>,
}

impl Case<'_> {
    fn height(&self) -> u64 {
        self.outline.height()
    }

    /// Whether it is of a height within reach that may have other validators than the next.
    fn may_be_of_others(&self) -> bool {
        let next = self.window.next.height;
        self.height() > self.window.top() && self.height() - next <= MAX_DISTANCE
    }

    /// By what it is judged, and whether these rules are the ones of its height.
    fn rules(&self) -> (&Rules, bool) {
        let Window { head, current, next, coming } = self.window;
        match (self.height(), coming) {
            (height, _) if height == head => (current, true),
            (height, Some(coming)) if height == coming.height => (coming, true),
            (height, _) => (next, height == next.height),
        }
    }
}

impl Relay {
    /// Whether this node may connect: not while its budget is spent.
    pub fn welcomes(&mut self, now_ms: u64, node: &NodeId) -> bool {
        self.accounts.welcomes(now_ms, node)
    }

    /// Hashes of messages remembered as seen.
    pub fn seen(&self) -> usize {
        self.seen.held()
    }

    /// Remembers a message of our own as seen, so that it is not processed again when it comes back.
    pub fn own(&mut self, key: &B256) {
        self.seen.insert(key);
    }

    /// Judges one message of a peer. `shares`: consensus is shared with it, see [`shares_consensus`].
    pub fn intake(&mut self, now_ms: u64, peer: &mut Peer, shares: bool, code: u8, bytes: &Bytes, window: Window<'_>) -> Intake {
        let bringer = Bringer { node: peer.info.node, shares };
        if !self.accounts.read(now_ms, bringer.node, bytes.len()) && !planted::is(Bug::ReadForFree) {
            self.refused.budget += 1;
            return self.cut("it sent more bytes of consensus messages than there is time to read");
        }
        let Some(kind) = Kind::from_code(code) else {
            self.refused.malformed += 1;
            return self.fault(now_ms, bringer.node, 8, "it sent an unknown consensus message");
        };
        if bytes.len() > MAX_MESSAGE_BYTES {
            self.refused.malformed += 1;
            self.accounts.ruin(now_ms, bringer.node);
            return self.cut("it sent a consensus message above the size limit");
        }
        let Ok(outline) = Outline::of(kind, bytes) else {
            self.refused.malformed += 1;
            return self.fault(now_ms, bringer.node, 1, "its consensus messages do not decode");
        };
        let validators = &window.next.validators;
        let gossips = shares && peer.info.role != Some(Role::Boot) && validators.contains(&peer.info.address);
        let (key, n) = (outline.key(), validators.len());
        let case = Case { now_ms, bringer, gossips, n, bytes: bytes.len(), outline, key, window };
        let repeated = !peer.brought.insert(&key);
        if self.seen.contains(&key) {
            peer.messages.insert(&key);
            self.duplicates += 1;
            // Every peer may bring a message once; one that brings its own again and again wastes our time.
            return if repeated { self.repetition(&case) } else { Intake::Drop };
        }
        if outline.round() > MAX_ROUND {
            self.refused.window += 1;
            return self.fault(now_ms, bringer.node, 1, "its consensus messages have rounds above the limit");
        }
        let bar = self.reference(window).saturating_add(MAX_DISTANCE);
        if outline.height() < window.head || is_between(outline.height(), window.head, bar) {
            self.refused.window += 1;
            // That a message comes late is nobody's fault, but its bytes were read.
            return self.glance(&case);
        }
        if outline.height() > bar && self.ahead.contains(&key) {
            return if repeated { self.repetition(&case) } else { Intake::Drop };
        }
        // As long as validators are as many: each says one thing, and of each kind there is one list.
        let most =
            2 * (validators.len().max(window.current.validators.len()) + usize::from(outline.height() > window.next.height) * 10);
        let Some(justifications) = outline.justifications().ok().filter(|count| *count <= most) else {
            self.refused.malformed += 1;
            return self.spoiled(&case, glance_us(case.bytes));
        };
        let us = reading_us(case.bytes, justifications);
        let own_only = !self.accounts.affords(now_ms, bringer, us, n);
        if own_only {
            self.refused.budget += 1;
            if !gossips || !self.accounts.own_word(now_ms, bringer, case.bytes, n) {
                return self.overdrawn(&case);
            }
        }
        let author = match self.recover(outline.signing_hash(), outline.signature()) {
            Ok(author) => author,
            Err(_) => {
                self.refused.malformed += 1;
                return self.forged(&case, us);
            }
        };
        if own_only && author != peer.info.address {
            return Intake::Drop;
        }
        let (rules, _) = case.rules();
        if !rules.validators.contains(&author) && !planted::is(Bug::RelayWithoutAuthorCheck) {
            self.refused.author += 1;
            if case.may_be_of_others() {
                return self.early(&case, us);
            }
            return self.forged(&case, us);
        }
        if outline.height() > bar {
            self.refused.window += 1;
            return self.too_far(&case, author, us);
        }
        let intake = self.judge(&case, author, us);
        if let Intake::Take(..) = &intake {
            self.note_height(author, outline.height());
            peer.messages.insert(&key);
        }
        intake
    }

    /// A message of a validator: is it the author's turn, can the author pay, and is what justifies it sound?
    fn judge(&mut self, case: &Case<'_>, author: Address, us: u64) -> Intake {
        let (now_ms, outline) = (case.now_ms, &case.outline);
        let (rules, exact) = case.rules();
        let proposes = outline.kind() == Kind::Proposal;
        if proposes && exact && justify::turn(rules, author, outline.round()).is_err() {
            return self.authors_fault(case, author);
        }
        let slot = (outline.height(), outline.round());
        let undecided = exact && outline.height() > case.window.head;
        let free = proposes && undecided && self.accounts.is_free(now_ms, author, slot, case.n);
        if !free && !self.accounts.pay(now_ms, author, us, case.bytes, case.n) {
            self.refused.budget += 1;
            return if self.accounts.excess(now_ms, case.bringer, us, case.n) { Intake::Drop } else { self.overdrawn(case) };
        }
        let rules = Rules { height: outline.height(), ..rules.clone() };
        let validators = rules.validators.clone();
        let decoded = outline.message(author, &mut |hash, signature| {
            let author = self.recover(hash, signature)?;
            if validators.contains(&author) { Ok(author) } else { Err(MessageError::Outsider(author)) }
        });
        let message = match decoded {
            Ok(message) => message,
            Err(error) => {
                self.refund(case, author, us, free);
                match error {
                    MessageError::Outsider(_) => self.refused.justification += 1,
                    _ => self.refused.malformed += 1,
                }
                if matches!(error, MessageError::Outsider(_)) && case.may_be_of_others() {
                    return self.early(case, us);
                }
                return self.spoiled(case, us);
            }
        };
        match justify::message(&rules, &message, exact) {
            Ok(()) => {}
            Err(Fault::Copy(_)) if planted::is(Bug::JustificationUnverified) => {}
            Err(Fault::Author(_)) => return self.authors_fault(case, author),
            Err(Fault::Copy(_)) => {
                self.refund(case, author, us, free);
                self.refused.justification += 1;
                return match exact {
                    true => self.spoiled(case, us),
                    false if case.may_be_of_others() => self.early(case, us),
                    false => self.unverifiable(case, us),
                };
            }
        }
        let Some(message) = self.with_whole_block(message) else {
            self.refund(case, author, us, free);
            self.refused.justification += 1;
            return self.spoiled(case, TREE * us);
        };
        if free {
            self.accounts.proposed(author, slot);
        }
        self.seen.insert(&case.key);
        Intake::Take(Arc::new(message), case.key)
    }

    /// Gives the author back what it paid for a message that turned out to be another's work.
    fn refund(&mut self, case: &Case<'_>, author: Address, us: u64, free: bool) {
        if !free {
            self.accounts.repay(author, us, case.bytes);
        }
    }

    /// The prepared block of a RoundChange has the body that its header names; `None` when it does not. Its hash tree is
    /// computed once for all RoundChanges that carry it, which then share it.
    fn with_whole_block(&mut self, mut message: Message) -> Option<Message> {
        let Message::RoundChange(change) = &mut message else { return Some(message) };
        let Some(block) = &change.block else { return Some(message) };
        let names = |header: &Header| (header.transactions_root, header.withdrawals_root);
        match self.whole.iter().find(|known| names(&known.header) == names(&block.header)) {
            Some(known) if known.header == block.header && known.body == block.body => change.block = Some(known.clone()),
            Some(known) if known.body == block.body => {}
            Some(_) => return None,
            None => {
                justify::prepared_body(change).ok()?;
                if self.whole.len() >= WHOLE_BLOCKS {
                    self.whole.pop_front();
                }
                self.whole.push_back(block.clone());
            }
        }
        Some(message)
    }

    fn recover(&mut self, hash: B256, signature: &Signature65) -> Result<Address, MessageError> {
        let mut hasher = Keccak256::new();
        hasher.update(hash);
        hasher.update(signature.as_slice());
        let question = hasher.finalize();
        if let Some(author) = self.recovered.get(&question) {
            return Ok(author);
        }
        self.recoveries += 1;
        let author = recover_address(hash, signature, HighS::Rejected)?;
        self.recovered.insert(question, author);
        Ok(author)
    }

    /// Signed by its author and wrong for good: no copy of it is worth another look.
    fn authors_fault(&mut self, case: &Case<'_>, author: Address) -> Intake {
        self.refused.justification += 1;
        self.seen.insert(&case.key);
        // Whoever did not know whose turn it is has passed it on in good faith.
        let us = reading_us(case.bytes, 0);
        if self.accounts.pay(case.now_ms, author, us, case.bytes, case.n)
            || self.accounts.excess(case.now_ms, case.bringer, us, case.n)
        {
            Intake::Drop
        } else {
            self.overdrawn(case)
        }
    }

    fn too_far(&mut self, case: &Case<'_>, author: Address, us: u64) -> Intake {
        // It may come again from another peer when we have caught up, and is new then.
        if !self.accounts.pay(case.now_ms, author, us, case.bytes, case.n) {
            self.refused.budget += 1;
            return if self.accounts.excess(case.now_ms, case.bringer, us, case.n) { Intake::Drop } else { self.overdrawn(case) };
        }
        self.ahead.insert(&case.key);
        self.note_height(author, case.height());
        Intake::Ahead(author, case.height())
    }

    fn spoiled(&mut self, case: &Case<'_>, us: u64) -> Intake {
        let paid = self.accounts.waste(case.now_ms, case.bringer, us, case.n);
        if case.gossips {
            return Intake::Drop;
        }
        let kept = self.accounts.fault(case.now_ms, case.bringer.node, SPOILED);
        if kept && (paid || !case.bringer.shares) {
            Intake::Drop
        } else {
            self.cut("it sent copies of consensus messages with a false justification")
        }
    }

    /// Paid for by the bringer like what cannot be verified, and kept for the height.
    fn early(&mut self, case: &Case<'_>, us: u64) -> Intake {
        match self.unverifiable(case, us) {
            Intake::Drop if case.bringer.shares && !planted::is(Bug::EarlyForgotten) => Intake::Early(case.height()),
            other => other,
        }
    }

    fn unverifiable(&mut self, case: &Case<'_>, us: u64) -> Intake {
        if self.accounts.waste(case.now_ms, case.bringer, us, case.n) { Intake::Drop } else { self.overdrawn(case) }
    }

    /// Of nobody who validates its height.
    fn forged(&mut self, case: &Case<'_>, us: u64) -> Intake {
        if !self.accounts.waste(case.now_ms, case.bringer, us, case.n) {
            return self.overdrawn(case);
        }
        self.fault(case.now_ms, case.bringer.node, 1, "it sent too many invalid consensus messages")
    }

    fn repetition(&mut self, case: &Case<'_>) -> Intake {
        match self.glance(case) {
            Intake::Drop => self.fault(case.now_ms, case.bringer.node, 1, "it repeats itself"),
            cut => cut,
        }
    }

    /// Only looked at from outside.
    fn glance(&mut self, case: &Case<'_>) -> Intake {
        self.unverifiable(case, glance_us(case.bytes))
    }

    /// The bringer's budget of work is spent. Of strangers this is no single one's fault, and a validator that passes on
    /// what it does not verify is heard less from now on.
    fn overdrawn(&mut self, case: &Case<'_>) -> Intake {
        if !case.bringer.shares || case.gossips {
            return Intake::Drop;
        }
        self.cut("it sent more useless consensus messages than there is time for")
    }

    /// A peer did something costly or false outside of consensus messages; `Some` when that was its last token.
    pub fn misbehaved(&mut self, now_ms: u64, node: NodeId, tokens: u64, why: &str) -> Option<String> {
        match self.fault(now_ms, node, tokens, why) {
            Intake::Cut(reason) => Some(reason),
            _ => None,
        }
    }

    /// Height around which messages are relayed: the own head, or, while behind, what f+1 validators are at (one of
    /// them is honest), so that a boot that is catching up still carries its validator's votes.
    fn reference(&self, window: Window<'_>) -> u64 {
        self.proven_head(&window.next.validators).max(window.head)
    }

    /// Highest height at which f+1 validators are, less one: a head that exists unless more than f of them lie.
    pub fn proven_head(&self, validators: &ValidatorSet) -> u64 {
        let mut heights: Vec<u64> = self
            .heights
            .iter()
            .filter(|(author, _)| validators.contains(author))
            .map(|(_, height)| height.saturating_sub(1))
            .collect();
        heights.sort_unstable_by(|a, b| b.cmp(a));
        heights.get(validators.f()).copied().unwrap_or(0)
    }

    fn note_height(&mut self, author: Address, height: u64) {
        let known = self.heights.entry(author, || height);
        *known = (*known).max(height);
    }

    fn fault(&mut self, now_ms: u64, node: NodeId, faults: u64, why: &str) -> Intake {
        if self.accounts.fault(now_ms, node, faults) { Intake::Drop } else { self.cut(why) }
    }

    fn cut(&mut self, why: &str) -> Intake {
        self.cut += 1;
        Intake::Cut(why.to_owned())
    }
}

/// Whether a height is of no use although it is in reach: while the network is far ahead, what is neither next here nor
/// near to where the others are.
fn is_between(height: u64, head: u64, bar: u64) -> bool {
    let near_head = height <= head.saturating_add(MAX_DISTANCE);
    let near_others = height.saturating_add(2 * MAX_DISTANCE) >= bar;
    height < bar && !near_head && !near_others
}

/// Whether consensus messages go over this connection: to validators by address or role, and in a sentry network to
/// boots, which pass them on. A boot that carries sessions sends none to validators that it does not know by role:
/// those have a session with the validator itself.
pub fn shares_consensus(topology: Topology, carrying: bool, peer: &Peer, validators: &ValidatorSet) -> bool {
    let by_role = matches!(
        (topology, peer.info.role),
        (Topology::Sentry, Some(Role::Validator | Role::Boot)) | (Topology::Mesh, Some(Role::Validator))
    );
    peer.info.istanbul && (by_role || (!carrying && validators.contains(&peer.info.address)))
}

/// Whether a node of this role passes on what others have signed, and to whom of the peers that share consensus.
///
/// Boots of a sentry network do, and validators of a mesh (as Besu's do), to everybody. A sentry validator has carried
/// sessions on one side and its boots on the other; it passes on from either to the other, as every validator of a mesh
/// would in its place, so that those who have no session with each other hear of each other. Where it has no carried
/// session there is nobody to pass anything to.
pub fn passes_on(topology: Topology, role: Role, validating: bool, from_carried: bool, to_carried: bool) -> bool {
    match (topology, role) {
        (Topology::Sentry, Role::Boot) => true,
        (Topology::Sentry, Role::Validator) => from_carried != to_carried,
        (Topology::Mesh, Role::Validator) => validating,
        _ => false,
    }
}
