//! The records of a journal as bytes; numbers are big endian.

use std::sync::Arc;

use alloy_primitives::{Address, B256};
use ipe_qbft::{Draft, PreparedCertificate};
use ipe_types::message::{PreparePayload, RoundChangePayload};
use ipe_types::{Dialect, Kind};

use super::{JournalError, Spoken};
use crate::doubt::{Cause, Doubt};

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

/// The first record of a file.
pub(super) struct Head {
    pub(super) chain: B256,
    pub(super) key: Address,
    pub(super) floor: u64,
    pub(super) doubt: Option<Doubt>,
}

pub(super) fn head_record(head: &Head) -> Vec<u8> {
    let mut out = vec![0];
    out.extend_from_slice(head.chain.as_slice());
    out.extend_from_slice(head.key.as_slice());
    out.extend_from_slice(&head.floor.to_be_bytes());
    if let Some(doubt) = &head.doubt {
        out.push(doubt.cause.code());
        out.extend_from_slice(&doubt.through.to_be_bytes());
    }
    out
}

pub(super) fn read_head(at: &mut Reader<'_>) -> Result<Head, JournalError> {
    let (chain, key) = (at.b256()?, Address::from_slice(at.take(20)?));
    let floor = at.u64()?;
    let doubt = if at.0.is_empty() {
        None
    } else {
        let cause = Cause::from_code(at.u8()?).ok_or(JournalError::Unreadable("unknown cause of doubt"))?;
        Some(Doubt { cause, through: at.u64()? })
    };
    Ok(Head { chain, key, floor, doubt })
}

pub(super) fn certificate_record(height: u64, certificate: &PreparedCertificate) -> Vec<u8> {
    let mut out = vec![2];
    out.extend_from_slice(&height.to_be_bytes());
    out.extend_from_slice(&certificate.to_bytes());
    out
}

pub(super) fn spoken_record(height: u64, round: u32, kind: Kind, spoken: &Spoken) -> Vec<u8> {
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

pub(super) fn read_again(kind: Kind, at: &mut Reader<'_>) -> Result<Again, JournalError> {
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

pub(super) fn again_of(draft: &Draft) -> Again {
    match draft {
        Draft::Proposal { .. } => Again::Proposal,
        Draft::Prepare(payload) => Again::Prepare { digest: payload.digest },
        Draft::Commit { digest, commit_hash, .. } => Again::Commit { digest: *digest, commit_hash: *commit_hash },
        Draft::RoundChange { payload, dialect, .. } => Again::RoundChange { prepared: payload.prepared, dialect: *dialect },
    }
}

/// The draft that a record tells about, if the journal still has all of it.
pub(crate) fn draft_again(height: u64, round: u32, again: &Again, certificate: Option<&Arc<PreparedCertificate>>) -> Option<Draft> {
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
                Some((prepared_round, _)) => Some(certificate.filter(|certificate| certificate.round == *prepared_round)?.clone()),
            };
            let payload = RoundChangePayload { height, round, prepared: *prepared };
            Some(Draft::RoundChange { payload, certificate, dialect: *dialect })
        }
    }
}

/// Takes values off the front of a record.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], JournalError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(JournalError::Unreadable("record is too short"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], JournalError> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(JournalError::Unreadable("record is too short"))?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, JournalError> {
        Ok(self.array::<1>()?[0])
    }

    pub(super) fn u32(&mut self) -> Result<u32, JournalError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, JournalError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    pub(super) fn b256(&mut self) -> Result<B256, JournalError> {
        Ok(B256::new(self.array()?))
    }
}
