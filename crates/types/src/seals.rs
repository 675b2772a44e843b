//! Commit seals: who made one, and whether a quorum sealed a header. The only place that counts them.

use alloy_primitives::{Address, B256};
use thiserror::Error;

use crate::crypto::{HighS, Signature65, recover_address};
use crate::extra::{ExtraData, ExtraDataError};
use crate::header::{Header, commit_hash};
use crate::validators::ValidatorSet;

/// Why a header is not sealed by a quorum (spec/qbft.md 4.1, "commit seals").
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SealFault {
    /// Fewer seals than a quorum.
    #[error("commit seals: {got} seals, expected at least {expected} (a quorum)")]
    TooFew {
        /// Seals found.
        got: usize,
        /// ceil(2n/3).
        expected: usize,
    },
    /// One validator sealed twice.
    #[error("commit seals: {who} sealed more than once")]
    Twice {
        /// Who.
        who: Address,
    },
    /// A seal by somebody who is no validator, or over another hash.
    #[error("commit seals: {who} is not a validator of this height (or sealed another hash)")]
    Stranger {
        /// The recovered address.
        who: Address,
    },
    /// A seal from which no key can be recovered.
    #[error("commit seals: seal {index} recovers to no key")]
    Unrecoverable {
        /// Position, from 0.
        index: usize,
    },
    /// The extra data does not decode, so that there is no hash to seal.
    #[error(transparent)]
    ExtraData(#[from] ExtraDataError),
}

/// Whether `seal` is `who`'s over `commit_hash` (32 bytes, see [`commit_hash`]). A high s is allowed in seals
/// (spec/qbft.md 3.2).
pub fn is_seal_of(who: &Address, seal: &Signature65, commit_hash: B256) -> bool {
    recover_address(commit_hash, seal, HighS::Allowed).is_ok_and(|sealer| sealer == *who)
}

/// Who sealed the header whose decoded extra data is `extra`, in the order of the seals: at least a quorum of `validators`,
/// nobody twice, nobody else (Besu's rule). Recovers at most one signature more than there are validators.
///
/// # Errors
/// The first [`SealFault`].
pub fn sealers(header: &Header, extra: &ExtraData, validators: &ValidatorSet) -> Result<Vec<Address>, SealFault> {
    let (got, expected) = (extra.seals.len(), validators.quorum());
    if got < expected {
        return Err(SealFault::TooFew { got, expected });
    }
    let hash = commit_hash(header, extra.round)?;
    let mut seen: Vec<Address> = Vec::with_capacity(got.min(validators.len()));
    // With more seals than validators one of the first n + 1 is a repetition or a stranger's, and ends this.
    for (index, seal) in extra.seals.iter().enumerate() {
        let who = recover_address(hash, seal, HighS::Allowed).map_err(|_| SealFault::Unrecoverable { index })?;
        if !validators.contains(&who) {
            return Err(SealFault::Stranger { who });
        }
        if seen.contains(&who) {
            return Err(SealFault::Twice { who });
        }
        seen.push(who);
    }
    Ok(seen)
}

/// Whether a quorum of `validators` sealed the header, by [`sealers`].
pub fn is_sealed(header: &Header, validators: &ValidatorSet) -> bool {
    ExtraData::decode(&header.extra_data).is_ok_and(|extra| sealers(header, &extra, validators).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::NodeKey;

    fn keys(n: u8) -> Vec<NodeKey> {
        (1..=n).map(|byte| NodeKey::from_bytes([byte; 32]).expect("in range")).collect()
    }

    fn header(seals: Vec<Signature65>) -> Header {
        let extra = ExtraData { seals, ..ExtraData::genesis(Vec::new()) };
        Header { number: 7, extra_data: extra.encode(), ..Header::default() }
    }

    /// What was counted in three places with different strictness: seals of strangers beside a quorum made a header that
    /// one place took and another refused.
    #[test]
    fn one_count_of_seals_for_all() {
        let keys = keys(5);
        let validators: ValidatorSet = keys[..4].iter().map(NodeKey::address).collect();
        let hash = commit_hash(&header(Vec::new()), 0).expect("decodes");
        let seals: Vec<Signature65> = keys.iter().map(|key| key.sign(hash)).collect();
        let judge = |seals: Vec<Signature65>| {
            let header = header(seals);
            let extra = ExtraData::decode(&header.extra_data).expect("decodes");
            let verdict = sealers(&header, &extra, &validators);
            assert_eq!(is_sealed(&header, &validators), verdict.is_ok());
            verdict
        };
        assert_eq!(judge(seals[..3].to_vec()).map(|all| all.len()), Ok(3));
        assert_eq!(judge(seals[..4].to_vec()).map(|all| all.len()), Ok(4));
        assert_eq!(judge(seals[..2].to_vec()), Err(SealFault::TooFew { got: 2, expected: 3 }));
        assert_eq!(judge(seals[1..5].to_vec()), Err(SealFault::Stranger { who: keys[4].address() }));
        let twice = vec![seals[0], seals[1], seals[2], seals[0]];
        assert_eq!(judge(twice), Err(SealFault::Twice { who: keys[0].address() }));
        let over_another = vec![seals[0], seals[1], seals[2], keys[3].sign(B256::ZERO)];
        assert!(matches!(judge(over_another), Err(SealFault::Stranger { .. })));
    }

    #[test]
    fn nothing_is_a_quorum_of_nobody() {
        assert_eq!(ValidatorSet::default().quorum(), 1);
        assert!(!is_sealed(&header(Vec::new()), &ValidatorSet::default()));
    }

    #[test]
    fn a_seal_is_its_makers_alone() {
        let keys = keys(2);
        let seal = keys[0].sign(B256::repeat_byte(1));
        assert!(is_seal_of(&keys[0].address(), &seal, B256::repeat_byte(1)));
        assert!(!is_seal_of(&keys[1].address(), &seal, B256::repeat_byte(1)));
        assert!(!is_seal_of(&keys[0].address(), &seal, B256::repeat_byte(2)));
    }
}
