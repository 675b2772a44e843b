//! What the signing gate remembers: records of what was signed and of prepared certificates, in a file that survives a crash
//! at any byte, and notices every other loss.
//!
//! | tag | record |
//! |---|---|
//! | 0 | chain and key that the journal belongs to, the floor (nothing below this height is ever signed again), and the doubt, if any |
//! | 1 | a message about to be signed: height, round, kind, identity, and for small kinds what it takes to sign it again |
//! | 2 | a prepared certificate |
//!
//! A record is durable before the signature that it announces exists. Records of past heights have no meaning, so the file
//! is replaced by a short one now and then. The file begins with [`MAGIC`]; the records after it are framed and chained as
//! [`ipe_types::journal::chain`] tells. Beside the file a mark holds sequence number and height of the newest record, which
//! shows that the file was lost, cut at a record's end, or replaced by an older copy.
//!
//! What an open finds:
//!
//! | file | verdict |
//! |---|---|
//! | whole, or with a torn tail after the newest record that the mark knows of | as before the stop; the tail is taken off |
//! | of release 0.1.0 (no magic, no chain, no mark) | the same, and it is written anew in this format |
//! | empty or missing | [`Cause::Absent`] |
//! | unreadable somewhere, or without its first record | [`Cause::Damaged`]; a copy is set aside |
//! | ends before the record that the mark names | [`Cause::Older`] |
//! | of another chain or key, or with records of a newer version | an error: it is not ours to replace |

mod memory;
mod records;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use alloy_primitives::{Address, B256};
use ipe_qbft::{Draft, PreparedCertificate};
use ipe_types::Kind;
use ipe_types::journal::chain::{Chain, Chained, Ending};
use ipe_types::journal::{Frames, JournalFile, MAX_RECORD};
use ipe_types::planted::{self, Bug};
use thiserror::Error;

use crate::doubt::{Cause, Doubt};
use records::{Head, Reader, again_of, certificate_record, head_record, read_again, read_head, spoken_record};

pub use memory::{Fault, MemoryJournal};
pub(crate) use records::{Again, draft_again};

/// How a journal begins. To release 0.1.0 this is a sound record of an unknown kind, so that it refuses the file instead of
/// taking it for an empty one.
pub const MAGIC: &[u8] = b"\x15\0\0\0\xb6\x4e\x67\xedipe signing journal 2";

/// The file is replaced at the first new height after it has grown beyond this: some ten full blocks' certificates, or some
/// thousand empty ones.
const COMPACT_BYTES: usize = 8 << 20;

/// Messages remembered at one height. Rounds are bounded by the core far below; a journal with more is refused like a
/// damaged one.
const MAX_AT_HEIGHT: usize = 4_096;

/// The journal cannot be used.
#[derive(Debug, Error)]
pub enum JournalError {
    /// Reading or writing failed.
    #[error("signing journal: {0}; nothing is signed until it can be written")]
    Io(#[from] io::Error),
    /// It was written on another chain.
    #[error(
        "signing journal belongs to the chain with genesis {found}, this node runs {expected}; \
         start it with its own data directory, or move the journal away if that chain is gone for good"
    )]
    OtherChain {
        /// Genesis hash in the journal.
        found: B256,
        /// Genesis hash of this node.
        expected: B256,
    },
    /// It was written with another key.
    #[error("signing journal belongs to validator {found}, the key is of {expected}; start with the key that wrote the journal")]
    OtherKey {
        /// Address in the journal.
        found: Address,
        /// Address of the key.
        expected: Address,
    },
    /// A record with a sound checksum cannot be read: a newer version wrote it, or it is no journal.
    #[error("signing journal has a record that this version cannot read ({0}); use the version that wrote it")]
    Unreadable(&'static str),
}

/// What was signed for one (round, kind), with what it takes to sign it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spoken {
    pub(crate) identity: B256,
    pub(crate) again: Again,
}

/// The journal, read: everything that matters at the height in hand.
pub(crate) struct Journal {
    file: Box<dyn JournalFile>,
    chain: B256,
    key: Address,
    pub(crate) height: u64,
    pub(crate) spoken: BTreeMap<(u32, Kind), Spoken>,
    pub(crate) certificate: Option<Arc<PreparedCertificate>>,
    /// Why the journal may lack something; kept in the file until it is settled.
    pub(crate) doubt: Option<Doubt>,
    length: usize,
    frames: Chain,
    /// The last write failed: the tail of the file is unknown.
    damaged: bool,
}

/// The content of the journal of a key that was made a moment ago and has signed nothing: whoever makes a key for a
/// validator of the chain with this genesis hash writes it as the validator's journal, which then begins without any doubt.
pub fn newborn(chain: B256, key: Address) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    Chain::new(1).frame(&mut out, &head_record(&Head { chain, key, floor: 0, doubt: None }));
    out
}

/// The records of a journal and where they end, for checkers that follow a file while it is written.
pub fn frames(content: &[u8]) -> Chained<'_> {
    match content.strip_prefix(MAGIC) {
        Some(rest) => Chained::new(rest),
        None => Chained::new(&[]),
    }
}

/// How the content of a signing journal ends; `None` when it does not begin as one of today's format.
pub fn ending(content: &[u8]) -> Option<Ending> {
    let mut frames = Chained::new(content.strip_prefix(MAGIC)?);
    frames.by_ref().for_each(drop);
    Some(frames.ending())
}

impl Journal {
    pub(crate) fn open(mut file: Box<dyn JournalFile>, chain: B256, key: Address) -> Result<Self, JournalError> {
        let bytes = file.read_all()?;
        let mark = Mark::parse(&file.read_mark()?, chain, key);
        let mut journal = Self {
            file,
            chain,
            key,
            height: 0,
            spoken: BTreeMap::new(),
            certificate: None,
            doubt: None,
            length: bytes.len(),
            frames: Chain::new(1),
            damaged: false,
        };
        let found = match bytes.strip_prefix(MAGIC) {
            Some(rest) => {
                let mut frames = Chained::new(rest);
                let begun = journal.read(frames.by_ref())?;
                Found { begun, ending: frames.ending(), frames: frames.reached(), current: true }
            }
            None => {
                let mut frames = Frames::new(&bytes);
                let begun = journal.read(frames.by_ref())?;
                let ending = ending_of_old(bytes.get(frames.sound_len()..).unwrap_or_default());
                Found { begun, ending, frames: Chain::new(1), current: false }
            }
        };
        let newest = found.frames.sequence();
        let known = mark.as_ref().map_or(0, |mark| mark.sequence);
        let through = mark.as_ref().map_or(0, |mark| mark.height);
        let cause = if planted::is(Bug::JournalForgottenAtStart) {
            None
        } else if bytes.is_empty() {
            Some(Cause::Absent)
        } else if !found.begun || found.ending == Ending::Damaged {
            Some(Cause::Damaged)
        } else {
            (known > newest).then_some(Cause::Older)
        };
        journal.frames = found.frames;
        let torn = found.ending != Ending::Whole && !planted::is(Bug::TornTailKept);
        if cause == Some(Cause::Damaged) {
            // Whether there is a copy to look at changes nothing about what is signed.
            let _ = journal.file.set_aside();
        }
        if let Some(cause) = cause {
            journal.doubts(Doubt { cause, through });
        }
        if cause.is_some() || torn || !found.current {
            journal.frames = Chain::new(known.max(newest) + 1);
            journal.rewrite()?;
        }
        Ok(journal)
    }

    /// Takes the records in; whether the first one told whose they are.
    fn read<'a>(&mut self, records: impl Iterator<Item = &'a [u8]>) -> Result<bool, JournalError> {
        let mut begun = false;
        let mut certificate: Option<(u64, &[u8])> = None;
        for (index, record) in records.enumerate() {
            if planted::is(Bug::JournalForgottenAtStart) {
                continue;
            }
            let mut at = Reader(record);
            match at.u8()? {
                0 => {
                    let head = read_head(&mut at)?;
                    if head.chain != self.chain {
                        return Err(JournalError::OtherChain { found: head.chain, expected: self.chain });
                    }
                    if head.key != self.key {
                        return Err(JournalError::OtherKey { found: head.key, expected: self.key });
                    }
                    begun |= index == 0;
                    self.rise(head.floor);
                    self.doubt = head.doubt;
                }
                1 => {
                    let (height, round, kind) = (at.u64()?, at.u32()?, at.u8()?);
                    let kind = Kind::from_code(kind).ok_or(JournalError::Unreadable("unknown kind of message"))?;
                    let spoken = Spoken { identity: at.b256()?, again: read_again(kind, &mut at)? };
                    self.rise(height);
                    if height == self.height {
                        // The first one stands: a second was refused or is the same.
                        self.spoken.entry((round, kind)).or_insert(spoken);
                        if self.spoken.len() > MAX_AT_HEIGHT {
                            return Err(JournalError::Unreadable("too many messages at one height"));
                        }
                    }
                }
                2 => {
                    let height = at.u64()?;
                    self.rise(height);
                    certificate = Some((height, at.0));
                }
                _ => return Err(JournalError::Unreadable("unknown tag")),
            }
        }
        if let Some((height, bytes)) = certificate
            && height == self.height
        {
            let read = PreparedCertificate::from_bytes(bytes)
                .map_err(|_| JournalError::Unreadable("prepared certificate does not decode"))?;
            self.certificate = Some(Arc::new(read));
        }
        Ok(begun)
    }

    /// Moves to a height; what was said below has no meaning any more.
    fn rise(&mut self, height: u64) {
        if height > self.height {
            self.height = height;
            self.spoken.clear();
            self.certificate = None;
        }
    }

    /// Remembers a doubt in memory. One about a twin stays: only an operator ends it.
    fn doubts(&mut self, doubt: Doubt) {
        let before = self.doubt.unwrap_or(doubt);
        let cause = if before.cause == Cause::Twin { Cause::Twin } else { doubt.cause };
        self.doubt = Some(Doubt { cause, through: before.through.max(doubt.through) });
    }

    /// Doubts from now on, also after a restart. On an error only in this life.
    pub(crate) fn doubt(&mut self, doubt: Doubt) -> Result<(), JournalError> {
        self.doubts(doubt);
        self.rewrite()
    }

    /// The doubt is over: nothing below `floor` is ever signed, everything from it on may be. On an error the doubt stays.
    pub(crate) fn settle(&mut self, floor: u64) -> Result<(), JournalError> {
        let Some(doubt) = self.doubt.take() else { return Ok(()) };
        self.rise(floor);
        self.rewrite().inspect_err(|_| self.doubt = Some(doubt))
    }

    /// What the doubt is, when an operator has answered it with `cause`; none with `None`.
    pub(crate) fn answer(&mut self, cause: Option<Cause>) -> Result<(), JournalError> {
        let through = self.doubt.map_or(0, |doubt| doubt.through);
        self.doubt = cause.map(|cause| Doubt { cause, through });
        self.rewrite()
    }

    /// Makes a draft's record, and its certificate if that is new, durable. On an error nothing is remembered.
    pub(crate) fn record(&mut self, draft: &Draft) -> Result<(), JournalError> {
        let (height, round, kind) = (draft.height(), draft.round(), draft.kind());
        let spoken = Spoken { identity: draft.identity(), again: again_of(draft) };
        let rises = height > self.height;
        let known = if rises { None } else { self.certificate.as_ref() };
        let fresh = draft
            .certificate()
            .filter(|new| known.is_none_or(|old| new.round > old.round || (new.round == old.round && new.digest != old.digest)));
        let mut records = Vec::new();
        if let Some(certificate) = fresh.filter(|_| !planted::is(Bug::CertificateNotJournalled)) {
            records.push(certificate_record(height, certificate));
        }
        records.push(spoken_record(height, round, kind, &spoken));

        if self.damaged || (rises && self.length > COMPACT_BYTES) {
            let mut whole = vec![self.head_record(height.max(self.height))];
            if !rises {
                self.live_records(&mut whole);
            }
            whole.append(&mut records);
            self.replace(&whole, height)?;
        } else {
            self.append(&records, height)?;
        }
        self.rise(height);
        if let Some(certificate) = fresh {
            self.certificate = Some(certificate.clone());
        }
        self.spoken.insert((round, kind), spoken);
        Ok(())
    }

    fn rewrite(&mut self) -> Result<(), JournalError> {
        let mut whole = vec![self.head_record(self.height)];
        self.live_records(&mut whole);
        self.replace(&whole, self.height)
    }

    fn append(&mut self, records: &[Vec<u8>], height: u64) -> Result<(), JournalError> {
        let (mut bytes, mut frames) = (Vec::new(), self.frames);
        records.iter().for_each(|record| frames.frame(&mut bytes, record));
        self.file.append_durable(&bytes).inspect_err(|_| self.damaged = true)?;
        self.length += bytes.len();
        self.written(frames, height);
        Ok(())
    }

    fn replace(&mut self, records: &[Vec<u8>], height: u64) -> Result<(), JournalError> {
        let (mut bytes, mut frames) = (MAGIC.to_vec(), Chain::new(self.frames.sequence() + 1));
        records.iter().for_each(|record| frames.frame(&mut bytes, record));
        self.file.replace(&bytes).inspect_err(|_| self.damaged = true)?;
        self.length = bytes.len();
        self.damaged = false;
        self.written(frames, height);
        Ok(())
    }

    fn written(&mut self, frames: Chain, height: u64) {
        self.frames = frames;
        let mark = Mark { chain: self.chain, key: self.key, sequence: frames.sequence(), height };
        // A mark that is not written is an older one, which says nothing wrong.
        let _ = self.file.write_mark(&mark.to_bytes());
    }

    fn live_records(&self, out: &mut Vec<Vec<u8>>) {
        if let Some(certificate) = &self.certificate {
            out.push(certificate_record(self.height, certificate));
        }
        for ((round, kind), spoken) in &self.spoken {
            out.push(spoken_record(self.height, *round, *kind, spoken));
        }
    }

    fn head_record(&self, floor: u64) -> Vec<u8> {
        head_record(&Head { chain: self.chain, key: self.key, floor, doubt: self.doubt })
    }
}

/// What an open found in the file.
struct Found {
    begun: bool,
    ending: Ending,
    frames: Chain,
    /// In the format of this release.
    current: bool,
}

/// Sequence number and height of the newest record, beside the journal: 76 bytes with a checksum.
struct Mark {
    chain: B256,
    key: Address,
    sequence: u64,
    height: u64,
}

impl Mark {
    fn to_bytes(&self) -> Vec<u8> {
        let mut out = self.chain.to_vec();
        out.extend_from_slice(self.key.as_slice());
        out.extend_from_slice(&self.sequence.to_be_bytes());
        out.extend_from_slice(&self.height.to_be_bytes());
        out.extend_from_slice(&alloy_primitives::keccak256(&out)[..8]);
        out
    }

    /// The mark of this chain and key; none when it is another's or was torn.
    fn parse(bytes: &[u8], chain: B256, key: Address) -> Option<Self> {
        let mut at = Reader(bytes);
        let mut read = || -> Result<Self, JournalError> {
            let (chain, key) = (at.b256()?, Address::from_slice(at.take(20)?));
            Ok(Self { chain, key, sequence: at.u64()?, height: at.u64()? })
        };
        let mark = read().ok().filter(|mark| mark.chain == chain && mark.key == key)?;
        (mark.to_bytes() == bytes).then_some(mark)
    }
}

/// Bytes that looking for a sound record in the unreadable end of an old journal may hash.
const MAX_HASHED: usize = 1 << 30;

/// How a journal of release 0.1.0 ends, given what follows its last sound record: it has no chain and no header checksum, so
/// a torn tail is what has no sound record after it.
fn ending_of_old(rest: &[u8]) -> Ending {
    if rest.is_empty() {
        return Ending::Whole;
    }
    let mut hashed = 0;
    for at in 0..rest.len() {
        let tail = rest.get(at..).unwrap_or_default();
        let (Some(length), Some(tag)) = (tail.first_chunk::<4>(), tail.get(8)) else { break };
        let length = u32::from_le_bytes(*length) as usize;
        if !(1..=MAX_RECORD).contains(&length) || length > tail.len().saturating_sub(8) || *tag > 2 {
            continue;
        }
        hashed += length;
        if hashed > MAX_HASHED || Frames::new(tail).next().is_some() {
            return Ending::Damaged;
        }
    }
    // A whole record with a wrong checksum was written to its end, and zeros after a torn one were not.
    let whole = rest.first_chunk::<4>().is_some_and(|length| {
        let length = u32::from_le_bytes(*length) as usize;
        length > 0 && rest.get(8..).and_then(|rest| rest.get(..length)).and_then(<[u8]>::last).is_some_and(|last| *last != 0)
    });
    if whole { Ending::Damaged } else { Ending::Torn }
}
