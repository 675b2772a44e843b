//! What the signing gate remembers: records of what was signed and of prepared certificates, in a file that survives a crash
//! at any byte.
//!
//! | tag | record |
//! |---|---|
//! | 0 | chain and key that the journal belongs to, and the floor: nothing below this height is ever signed again |
//! | 1 | a message about to be signed: height, round, kind, identity, and for small kinds what it takes to sign it again |
//! | 2 | a prepared certificate |
//!
//! A record is durable before the signature that it announces exists. Records of past heights have no meaning, so the file
//! is replaced by a short one now and then.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use alloy_primitives::{Address, B256};
use ipe_qbft::{Draft, PreparedCertificate};
use ipe_types::journal::{Frames, JournalFile, frame};
use ipe_types::planted::{self, Bug};
use ipe_types::message::{PreparePayload, RoundChangePayload};
use ipe_types::{Dialect, Kind};
use parking_lot::Mutex;
use thiserror::Error;

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
    #[error(
        "signing journal belongs to validator {found}, the key is of {expected}; start with the key that wrote the journal"
    )]
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

/// The part of a draft that the journal keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    /// A block is too large to be kept twice; a proposal is made anew or not at all.
    Proposal,
    Prepare {
        digest: B256,
    },
    Commit {
        digest: B256,
        commit_hash: B256,
    },
    RoundChange {
        prepared: Option<(u32, B256)>,
        dialect: Dialect,
    },
}

/// The journal, read: everything that matters at the height in hand.
pub(crate) struct Journal {
    file: Box<dyn JournalFile>,
    chain: B256,
    key: Address,
    pub(crate) height: u64,
    pub(crate) spoken: BTreeMap<(u32, Kind), Spoken>,
    pub(crate) certificate: Option<Arc<PreparedCertificate>>,
    length: usize,
    /// The last write failed: the tail of the file is unknown.
    damaged: bool,
}

impl Journal {
    pub(crate) fn open(mut file: Box<dyn JournalFile>, chain: B256, key: Address) -> Result<Self, JournalError> {
        let bytes = file.read_all()?;
        let mut journal = Self {
            file,
            chain,
            key,
            height: 0,
            spoken: BTreeMap::new(),
            certificate: None,
            length: bytes.len(),
            damaged: false,
        };
        let mut frames = Frames::new(&bytes);
        let mut certificate: Option<(u64, &[u8])> = None;
        for record in frames.by_ref() {
            if planted::is(Bug::JournalForgottenAtStart) {
                continue;
            }
            let mut at = Reader(record);
            match at.u8()? {
                0 => {
                    let (found_chain, found_key) = (at.b256()?, Address::from_slice(at.take(20)?));
                    if found_chain != chain {
                        return Err(JournalError::OtherChain { found: found_chain, expected: chain });
                    }
                    if found_key != key {
                        return Err(JournalError::OtherKey { found: found_key, expected: key });
                    }
                    journal.rise(at.u64()?);
                }
                1 => {
                    let (height, round, kind) = (at.u64()?, at.u32()?, at.u8()?);
                    let kind = Kind::from_code(kind).ok_or(JournalError::Unreadable("unknown kind of message"))?;
                    let spoken = Spoken { identity: at.b256()?, again: read_again(kind, &mut at)? };
                    journal.rise(height);
                    if height == journal.height {
                        // The first one stands: a second was refused or is the same.
                        journal.spoken.entry((round, kind)).or_insert(spoken);
                        if journal.spoken.len() > MAX_AT_HEIGHT {
                            return Err(JournalError::Unreadable("too many messages at one height"));
                        }
                    }
                }
                2 => {
                    let height = at.u64()?;
                    journal.rise(height);
                    certificate = Some((height, at.0));
                }
                _ => return Err(JournalError::Unreadable("unknown tag")),
            }
        }
        let sound = frames.sound_len();
        if let Some((height, bytes)) = certificate
            && height == journal.height
        {
            let read = PreparedCertificate::from_bytes(bytes)
                .map_err(|_| JournalError::Unreadable("prepared certificate does not decode"))?;
            journal.certificate = Some(Arc::new(read));
        }
        // A torn tail was never acknowledged; a new file gets its first record.
        if (sound < bytes.len() && !planted::is(Bug::TornTailKept)) || bytes.is_empty() {
            journal.rewrite()?;
        }
        Ok(journal)
    }

    /// Moves to a height; what was said below has no meaning any more.
    fn rise(&mut self, height: u64) {
        if height > self.height {
            self.height = height;
            self.spoken.clear();
            self.certificate = None;
        }
    }

    /// Makes a draft's record, and its certificate if that is new, durable. On an error nothing is remembered.
    pub(crate) fn record(&mut self, draft: &Draft) -> Result<(), JournalError> {
        let (height, round, kind) = (draft.height(), draft.round(), draft.kind());
        let spoken = Spoken { identity: draft.identity(), again: again_of(draft) };
        let rises = height > self.height;
        let known = if rises { None } else { self.certificate.as_ref() };
        let fresh = draft.certificate().filter(|new| {
            known.is_none_or(|old| new.round > old.round || (new.round == old.round && new.digest != old.digest))
        });
        let mut bytes = Vec::new();
        if let Some(certificate) = fresh.filter(|_| !planted::is(Bug::CertificateNotJournalled)) {
            frame(&mut bytes, &certificate_record(height, certificate));
        }
        frame(&mut bytes, &spoken_record(height, round, kind, &spoken));

        if self.damaged || (rises && self.length > COMPACT_BYTES) {
            let mut whole = Vec::new();
            frame(&mut whole, &self.head_record(height.max(self.height)));
            if !rises {
                self.write_live(&mut whole);
            }
            whole.extend_from_slice(&bytes);
            self.put(Write::Whole(whole))?;
        } else {
            self.put(Write::Tail(bytes))?;
        }
        self.rise(height);
        if let Some(certificate) = fresh {
            self.certificate = Some(certificate.clone());
        }
        self.spoken.insert((round, kind), spoken);
        Ok(())
    }

    fn rewrite(&mut self) -> Result<(), JournalError> {
        let mut whole = Vec::new();
        frame(&mut whole, &self.head_record(self.height));
        self.write_live(&mut whole);
        self.put(Write::Whole(whole))
    }

    fn put(&mut self, write: Write) -> Result<(), JournalError> {
        let done = match &write {
            Write::Tail(bytes) => self.file.append_durable(bytes),
            Write::Whole(bytes) => self.file.replace(bytes),
        };
        if let Err(error) = done {
            self.damaged = true;
            return Err(error.into());
        }
        self.length = match write {
            Write::Tail(bytes) => self.length + bytes.len(),
            Write::Whole(bytes) => {
                self.damaged = false;
                bytes.len()
            }
        };
        Ok(())
    }

    fn write_live(&self, out: &mut Vec<u8>) {
        if let Some(certificate) = &self.certificate {
            frame(out, &certificate_record(self.height, certificate));
        }
        for ((round, kind), spoken) in &self.spoken {
            frame(out, &spoken_record(self.height, *round, *kind, spoken));
        }
    }

    fn head_record(&self, floor: u64) -> Vec<u8> {
        let mut out = vec![0];
        out.extend_from_slice(self.chain.as_slice());
        out.extend_from_slice(self.key.as_slice());
        out.extend_from_slice(&floor.to_be_bytes());
        out
    }
}

enum Write {
    Tail(Vec<u8>),
    Whole(Vec<u8>),
}

fn certificate_record(height: u64, certificate: &PreparedCertificate) -> Vec<u8> {
    let mut out = vec![2];
    out.extend_from_slice(&height.to_be_bytes());
    out.extend_from_slice(&certificate.to_bytes());
    out
}

fn spoken_record(height: u64, round: u32, kind: Kind, spoken: &Spoken) -> Vec<u8> {
    let mut out = vec![1];
    out.extend_from_slice(&height.to_be_bytes());
    out.extend_from_slice(&round.to_be_bytes());
    out.push(kind.code());
    out.extend_from_slice(spoken.identity.as_slice());
    match &spoken.again {
        Again::Proposal => {}
        Again::Prepare { digest } => out.extend_from_slice(digest.as_slice()),
        Again::Commit { digest, commit_hash } => {
            out.extend_from_slice(digest.as_slice());
            out.extend_from_slice(commit_hash.as_slice());
        }
        Again::RoundChange { prepared, dialect } => {
            out.push(match dialect {
                Dialect::Legacy => 0,
                Dialect::Besu26 => 1,
                Dialect::GoQuorum => 2,
            });
            if let Some((round, digest)) = prepared {
                out.extend_from_slice(&round.to_be_bytes());
                out.extend_from_slice(digest.as_slice());
            }
        }
    }
    out
}

fn read_again(kind: Kind, at: &mut Reader<'_>) -> Result<Again, JournalError> {
    Ok(match kind {
        Kind::Proposal => Again::Proposal,
        Kind::Prepare => Again::Prepare { digest: at.b256()? },
        Kind::Commit => Again::Commit { digest: at.b256()?, commit_hash: at.b256()? },
        Kind::RoundChange => {
            let dialect = match at.u8()? {
                0 => Dialect::Legacy,
                1 => Dialect::Besu26,
                2 => Dialect::GoQuorum,
                _ => return Err(JournalError::Unreadable("unknown dialect")),
            };
            let prepared = if at.0.is_empty() { None } else { Some((at.u32()?, at.b256()?)) };
            Again::RoundChange { prepared, dialect }
        }
    })
}

fn again_of(draft: &Draft) -> Again {
    match draft {
        Draft::Proposal { .. } => Again::Proposal,
        Draft::Prepare(payload) => Again::Prepare { digest: payload.digest },
        Draft::Commit { digest, commit_hash, .. } => Again::Commit { digest: *digest, commit_hash: *commit_hash },
        Draft::RoundChange { payload, dialect, .. } => {
            Again::RoundChange { prepared: payload.prepared, dialect: *dialect }
        }
    }
}

/// The draft that a record tells about, if the journal still has all of it.
pub(crate) fn draft_again(
    height: u64,
    round: u32,
    again: &Again,
    certificate: Option<&Arc<PreparedCertificate>>,
) -> Option<Draft> {
    match again {
        Again::Proposal => None,
        Again::Prepare { digest } => Some(Draft::Prepare(PreparePayload { height, round, digest: *digest })),
        Again::Commit { digest, commit_hash } => {
            let certificate = certificate.filter(|certificate| certificate.round == round)?.clone();
            Some(Draft::Commit { height, round, digest: *digest, commit_hash: *commit_hash, certificate })
        }
        Again::RoundChange { prepared, dialect } => {
            let certificate = match prepared {
                None => None,
                Some((prepared_round, _)) => {
                    Some(certificate.filter(|certificate| certificate.round == *prepared_round)?.clone())
                }
            };
            let payload = RoundChangePayload { height, round, prepared: *prepared };
            Some(Draft::RoundChange { payload, certificate, dialect: *dialect })
        }
    }
}

/// Takes values off the front of a record.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], JournalError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(JournalError::Unreadable("record is too short"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], JournalError> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(JournalError::Unreadable("record is too short"))?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u8(&mut self) -> Result<u8, JournalError> {
        Ok(self.array::<1>()?[0])
    }

    fn u32(&mut self) -> Result<u32, JournalError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, JournalError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    fn b256(&mut self) -> Result<B256, JournalError> {
        Ok(B256::new(self.array()?))
    }
}

/// A journal file in memory, whose handles share one content: the second implementation of [`JournalFile`], for the
/// simulator and for tests that crash a node at a chosen write.
#[derive(Clone, Debug, Default)]
pub struct MemoryJournal {
    disk: Arc<Mutex<Disk>>,
}

#[derive(Debug, Default)]
struct Disk {
    content: Vec<u8>,
    writes: usize,
    fault: Option<Fault>,
}

/// A crash in the middle of a write of a [`MemoryJournal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which write, counted from 0 since the file was made.
    pub at_write: usize,
    /// How many bytes of an append reach the disk, at most all of them; a replacement happens (any number but 0) or not (0).
    pub bytes: usize,
}

impl MemoryJournal {
    /// An empty file.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets one write fail; every write after it fails as well, until [`MemoryJournal::repair`].
    pub fn break_at(&self, fault: Fault) {
        self.disk.lock().fault = Some(fault);
    }

    /// The disk works again.
    pub fn repair(&self) {
        self.disk.lock().fault = None;
    }

    /// Writes so far, failed ones included.
    pub fn writes(&self) -> usize {
        self.disk.lock().writes
    }

    /// What is on the disk.
    pub fn content(&self) -> Vec<u8> {
        self.disk.lock().content.clone()
    }

    /// Puts other bytes on the disk.
    pub fn set_content(&self, content: Vec<u8>) {
        self.disk.lock().content = content;
    }
}

impl Disk {
    /// How much of this write reaches the disk; `Err` when the caller must hear of a failure.
    fn begin(&mut self) -> Result<(), usize> {
        let this = self.writes;
        self.writes += 1;
        match self.fault {
            Some(fault) if fault.at_write == this => Err(fault.bytes),
            Some(fault) if fault.at_write < this => Err(0),
            _ => Ok(()),
        }
    }
}

impl JournalFile for MemoryJournal {
    fn read_all(&mut self) -> io::Result<Vec<u8>> {
        Ok(self.content())
    }

    fn append_durable(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.disk.lock();
        match disk.begin() {
            Ok(()) => {
                disk.content.extend_from_slice(bytes);
                Ok(())
            }
            Err(reached) => {
                disk.content.extend_from_slice(&bytes[..reached.min(bytes.len())]);
                Err(io::Error::other("the disk failed in the middle of an append"))
            }
        }
    }

    fn replace(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.disk.lock();
        match disk.begin() {
            Ok(()) => {
                disk.content = bytes.to_vec();
                Ok(())
            }
            Err(reached) => {
                if reached > 0 {
                    disk.content = bytes.to_vec();
                }
                Err(io::Error::other("the disk failed in the middle of a replacement"))
            }
        }
    }
}
