//! What a contract answered, decoded.

use alloy_sol_types::SolCall;
use alloy_sol_types::abi::{Token, decode_sequence};

/// Most bytes of an answer that is decoded. One page of a list, or one proposal with its call data, stays far below.
pub const MAX_ANSWER: usize = 1024 * 1024;

/// Why an answer cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// Nothing came back: there is no such function, or no code.
    #[error("no answer (no code at this address, or no such function)")]
    Empty,
    /// More than [`MAX_ANSWER`].
    #[error("an answer of {0} bytes, at most {MAX_ANSWER} are read")]
    TooLong(usize),
    /// Not what the function returns.
    #[error("{got} bytes that are no answer of {function}: {reason}")]
    Malformed {
        /// Signature of the function that was called.
        function: &'static str,
        /// Bytes of the answer.
        got: usize,
        /// What does not fit.
        reason: String,
    },
}

/// Decodes what `C` returned.
///
/// Parts of an ABI encoding may overlap, so that a short answer decodes to a huge value (each element of `bytes[]` may point to
/// the same bytes). No compiler encodes so; such an answer is refused before anything of it is copied.
///
/// # Errors
/// [`AnswerError`] for what is empty, too long, not of this form, or overlapping.
pub fn decode<C: SolCall>(answer: &[u8]) -> Result<C::Return, AnswerError> {
    let malformed = |reason: String| AnswerError::Malformed { function: C::SIGNATURE, got: answer.len(), reason };
    if answer.is_empty() {
        return Err(AnswerError::Empty);
    }
    if answer.len() > MAX_ANSWER {
        return Err(AnswerError::TooLong(answer.len()));
    }
    let tokens = decode_sequence::<C::ReturnToken<'_>>(answer).map_err(|error| malformed(error.to_string()))?;
    // The place of the outermost part may count as one word more.
    let bytes = tokens.total_words().saturating_sub(1) * 32;
    if bytes > answer.len() {
        return Err(malformed(format!("its parts overlap: they would be {bytes} bytes one by one")));
    }
    C::abi_decode_returns(answer).map_err(|error| malformed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::Governance::{ProposalData, getProposalCall};
    use alloy_primitives::{Address, U256};

    fn proposal() -> ProposalData {
        ProposalData {
            id: U256::from(7),
            proponentOrgId: U256::from(2),
            targets: vec![Address::repeat_byte(1), Address::repeat_byte(2)],
            calldatas: vec![vec![1; 100].into(), vec![].into()],
            blocksDuration: U256::from(30_000),
            description: "descrição".to_owned(),
            creationBlock: U256::from(12),
            status: 0,
            result: 1,
            organizations: vec![U256::from(1), U256::from(2)],
            votes: vec![1, 0],
            cancelationReason: String::new(),
        }
    }

    #[test]
    fn an_answer_comes_back_as_it_was() {
        let answer = getProposalCall::abi_encode_returns(&proposal());
        let decoded = decode::<getProposalCall>(&answer).unwrap();
        assert_eq!((decoded.id, decoded.calldatas.len(), decoded.description.as_str()), (U256::from(7), 2, "descrição"));
        assert_eq!(decoded.votes, [1, 0]);
    }

    #[test]
    fn what_is_no_answer_is_named() {
        assert_eq!(decode::<getProposalCall>(&[]).err(), Some(AnswerError::Empty));
        assert_eq!(decode::<getProposalCall>(&vec![0; MAX_ANSWER + 1]).err(), Some(AnswerError::TooLong(MAX_ANSWER + 1)));
        let answer = getProposalCall::abi_encode_returns(&proposal());
        let error = decode::<getProposalCall>(&answer[..answer.len() / 2]).err().unwrap();
        assert!(error.to_string().contains("getProposal(uint256)"), "{error}");
    }

    /// 2,000 elements of one array that all point to the same 30,000 bytes: 94 kB that would decode to 60 MB.
    #[test]
    fn an_answer_whose_parts_overlap_is_refused() {
        use crate::abi::Governance::executeProposalCall;
        let (count, length) = (2_000_usize, 30_000_usize);
        let mut answer = Vec::new();
        let mut word = |value: usize| answer.extend(U256::from(value).to_be_bytes::<32>());
        word(32);
        word(count);
        for _ in 0..count {
            word(count * 32);
        }
        word(length);
        answer.resize(answer.len() + length.next_multiple_of(32), 7);
        let error = decode::<executeProposalCall>(&answer).err().unwrap();
        assert!(error.to_string().contains("overlap"), "{error}");
    }
}
