//! `transactionAllowed(address,address,uint256,uint256,uint256,bytes)` of the account ingress, as Besu 25.5.0 asks it
//! (`TransactionSmartContractPermissioningController`).

use std::ops::Range;

use alloy_primitives::{Address, Bytes, TxKind, U256};
use ipe_types::block::Transaction;

use crate::verdict::{Fault, Outcome, Verdict};

/// Selector of the function.
pub const SELECTOR: [u8; 4] = [0x93, 0x64, 0x21, 0xd5];

/// Bytes of the question before the payload: selector, five words, the payload's place and length.
pub const HEAD: usize = 4 + 7 * 32;

/// Places in a question with a payload of so many bytes that rules seldom look at: value, gas price and gas limit, and the payload
/// itself. Its length is not among them.
pub fn unlooked(payload: usize) -> [Range<usize>; 2] {
    [4 + 2 * 32..4 + 5 * 32, HEAD..HEAD + payload]
}

/// What is asked about a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sending<'a> {
    /// Who signed it. Calls between contracts are never judged.
    pub sender: Address,
    /// The recipient; `None` when a contract is created.
    pub target: Option<Address>,
    /// Wei.
    pub value: U256,
    /// Wei per gas; 0 where the transaction names a most instead (EIP-1559).
    pub gas_price: U256,
    /// Gas.
    pub gas_limit: u64,
    /// Input, or code of the creation.
    pub payload: &'a [u8],
}

impl<'a> Sending<'a> {
    /// What is asked about a signed transaction.
    pub fn of(tx: &'a Transaction, sender: Address) -> Self {
        let target = match tx.kind() {
            TxKind::Call(to) => Some(to),
            TxKind::Create => None,
        };
        // Types 0 and 1 have a price; later ones a most, of which Besu tells the contract nothing.
        let gas_price = tx.gas_price().unwrap_or_default();
        Self { sender, target, value: tx.value(), gas_price, gas_limit: tx.gas_limit(), payload: tx.input() }
    }

    /// The call's input. The payload is filled up to whole words and has a word more when it was whole already: Besu's
    /// encoding, which a contract that hashes its input could tell from another.
    pub fn call(&self) -> Bytes {
        let padding = 32 - self.payload.len() % 32;
        let mut input = Vec::with_capacity(HEAD + self.payload.len() + padding);
        input.extend_from_slice(&SELECTOR);
        let words: [U256; 7] = [
            U256::from_be_slice(self.sender.as_slice()),
            U256::from_be_slice(self.target.unwrap_or_default().as_slice()),
            self.value,
            self.gas_price,
            U256::from(self.gas_limit),
            U256::from(6 * 32),
            U256::from(self.payload.len()),
        ];
        for word in words {
            input.extend_from_slice(&word.to_be_bytes::<32>());
        }
        input.extend_from_slice(self.payload);
        input.resize(input.len() + padding, 0);
        input.into()
    }
}

/// The verdict on a sender: a word that is 1 is a yes, 0 a no, anything else no answer. Without an account at the address
/// everybody may send; with an account that has no code nobody.
pub fn judge(outcome: Outcome) -> Verdict {
    match outcome {
        Outcome::NoAccount => Verdict::Unruled,
        Outcome::Failed(fault) => Verdict::Broken(fault),
        Outcome::Returned(bytes) => match <&[u8; 32]>::try_from(bytes.as_ref()).map(|word| U256::from_be_bytes(*word)) {
            Ok(U256::ONE) => Verdict::Allowed,
            Ok(U256::ZERO) => Verdict::Denied,
            _ => Verdict::Broken(Fault::Answer { bytes: bytes.len() }),
        },
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{hex, keccak256};

    use super::*;

    fn sending(payload: &[u8]) -> Sending<'_> {
        Sending {
            sender: Address::repeat_byte(0xaa),
            target: Some(Address::repeat_byte(0xbb)),
            value: U256::from(5),
            gas_price: U256::from(6),
            gas_limit: 7,
            payload,
        }
    }

    #[test]
    fn the_call_is_besus() {
        assert_eq!(keccak256("transactionAllowed(address,address,uint256,uint256,uint256,bytes)")[..4], SELECTOR);
        let input = sending(&[1, 2, 3]).call();
        let expected = concat!(
            "936421d5",
            "000000000000000000000000aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "000000000000000000000000bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
            "0000000000000000000000000000000000000000000000000000000000000005",
            "0000000000000000000000000000000000000000000000000000000000000006",
            "0000000000000000000000000000000000000000000000000000000000000007",
            "00000000000000000000000000000000000000000000000000000000000000c0",
            "0000000000000000000000000000000000000000000000000000000000000003",
            "0102030000000000000000000000000000000000000000000000000000000000",
        );
        assert_eq!(hex::encode(&input), expected);
        // A word more than needed when the payload is whole words, none included.
        for (bytes, filled) in [(0, 32), (31, 32), (32, 64), (33, 64), (64, 96)] {
            assert_eq!(sending(&vec![9; bytes]).call().len(), HEAD + filled, "{bytes}");
        }
        let creation = Sending { target: None, ..sending(&[]) }.call();
        assert_eq!(creation[36..68], [0; 32]);
    }

    #[test]
    fn only_one_is_a_yes_and_only_zero_a_no() {
        let word = |value: u64| Outcome::Returned(U256::from(value).to_be_bytes::<32>().into());
        assert_eq!(judge(word(1)), Verdict::Allowed);
        assert_eq!(judge(word(0)), Verdict::Denied);
        assert_eq!(judge(word(2)), Verdict::Broken(Fault::Answer { bytes: 32 }));
        for bytes in [0, 1, 31, 33, 64] {
            let mut data = vec![0; bytes];
            if let Some(last) = data.last_mut() {
                *last = 1;
            }
            assert_eq!(judge(Outcome::Returned(data.into())), Verdict::Broken(Fault::Answer { bytes }));
        }
        assert_eq!(judge(Outcome::NoAccount), Verdict::Unruled);
        assert_eq!(judge(Outcome::Failed(Fault::Reverted)), Verdict::Broken(Fault::Reverted));
    }
}
