//! Rows of the flat tables and of the history, as bytes.

use alloy_primitives::{Address, B256, KECCAK256_EMPTY, U256, keccak256};
use alloy_trie::{EMPTY_ROOT_HASH, TrieAccount};

use super::Account;
use crate::kv::{StoreError, Table};

/// An account with the root of its storage: a row of [`Table::Accounts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AccountRow {
    pub account: Account,
    pub storage_root: B256,
    /// The block in which the account's storage began; `None` when it has had no slot since the account began. A storage that
    /// was emptied slot by slot keeps its number; one that was wiped does not.
    pub incarnation: Option<u64>,
}

const HAS_CODE: u8 = 0x10;
const HAS_STORAGE: u8 = 0x20;
/// The incarnation is not the one that goes without saying: 0 with storage, none without.
const HAS_INCARNATION: u8 = 0x40;

impl AccountRow {
    /// `flags | nonce length ‖ balance length ‖ nonce ‖ balance [‖ incarnation length ‖ incarnation] [‖ code hash]
    /// [‖ storage root]`, numbers without leading zero bytes. Never empty, so that an empty row can stand for "no account".
    pub fn encode(&self) -> Vec<u8> {
        let nonce = self.account.nonce.to_be_bytes();
        let nonce = trimmed(&nonce);
        let balance = self.account.balance.to_be_bytes::<32>();
        let balance = trimmed(&balance);
        let mut row = Vec::with_capacity(2 + nonce.len() + balance.len() + 9 + 64);
        let has_code = self.account.code_hash != KECCAK256_EMPTY;
        let has_storage = self.storage_root != EMPTY_ROOT_HASH;
        let incarnation = self.incarnation.filter(|number| *number != 0 || !has_storage);
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        row.push(
            nonce.len() as u8
                | flag(has_code, HAS_CODE)
                | flag(has_storage, HAS_STORAGE)
                | flag(incarnation.is_some(), HAS_INCARNATION),
        );
        row.push(balance.len() as u8);
        row.extend_from_slice(nonce);
        row.extend_from_slice(balance);
        if let Some(number) = incarnation {
            let number = number.to_be_bytes();
            let number = trimmed(&number);
            row.push(number.len() as u8);
            row.extend_from_slice(number);
        }
        if has_code {
            row.extend_from_slice(self.account.code_hash.as_slice());
        }
        if has_storage {
            row.extend_from_slice(self.storage_root.as_slice());
        }
        row
    }

    /// The row of stored bytes.
    pub fn decode(table: Table, row: &[u8]) -> Result<AccountRow, StoreError> {
        let bad = || StoreError::corrupt(table, format!("account row of {} bytes", row.len()));
        let [flags, balance_length, rest @ ..] = row else { return Err(bad()) };
        let nonce_length = usize::from(flags & 0x0f);
        if nonce_length > 8 || *balance_length > 32 || flags & !(0x0f | HAS_CODE | HAS_STORAGE | HAS_INCARNATION) != 0 {
            return Err(bad());
        }
        let (nonce, rest) = rest.split_at_checked(nonce_length).ok_or_else(bad)?;
        let (balance, rest) = rest.split_at_checked(usize::from(*balance_length)).ok_or_else(bad)?;
        let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        let mut incarnation = (flags & HAS_STORAGE != 0).then_some(0);
        let mut rest = rest;
        if flags & HAS_INCARNATION != 0 {
            let (&length, after) = rest.split_first().filter(|(length, _)| **length <= 8).ok_or_else(bad)?;
            let (bytes, after) = after.split_at_checked(usize::from(length)).ok_or_else(bad)?;
            incarnation = Some(number(bytes));
            rest = after;
        }
        let mut hashes = rest.chunks(32);
        let mut hash = |flag: u8, otherwise: B256| match flags & flag {
            0 => Ok(otherwise),
            _ => hashes.next().and_then(|bytes| B256::try_from(bytes).ok()).ok_or_else(bad),
        };
        let code_hash = hash(HAS_CODE, KECCAK256_EMPTY)?;
        let storage_root = hash(HAS_STORAGE, EMPTY_ROOT_HASH)?;
        if hashes.next().is_some() {
            return Err(bad());
        }
        Ok(AccountRow {
            account: Account { nonce: number(nonce), balance: U256::from_be_slice(balance), code_hash },
            storage_root,
            incarnation,
        })
    }

    /// The key under which the rows and records of the account's storage are; `None` when it has none. `key` is the account's.
    pub fn storage(&self, key: &B256) -> Option<B256> {
        self.incarnation.map(|incarnation| storage_key(key, incarnation))
    }

    /// What the account's leaf in the trie holds.
    pub fn leaf(&self) -> Vec<u8> {
        alloy_rlp::encode(TrieAccount {
            nonce: self.account.nonce,
            balance: self.account.balance,
            storage_root: self.storage_root,
            code_hash: self.account.code_hash,
        })
    }
}

/// A value without leading zero bytes; zero is empty.
pub(super) fn encode_value(value: U256) -> Vec<u8> {
    trimmed(&value.to_be_bytes::<32>()).to_vec()
}

/// The value of stored bytes.
pub(super) fn decode_value(table: Table, bytes: &[u8]) -> Result<U256, StoreError> {
    U256::try_from_be_slice(bytes)
        .ok_or_else(|| StoreError::corrupt(table, format!("slot value of {} bytes, expected at most 32", bytes.len())))
}

/// What a slot's leaf in the storage trie holds; `None` for zero, which has no leaf.
pub(super) fn slot_leaf(value: U256) -> Option<Vec<u8>> {
    (!value.is_zero()).then(|| alloy_rlp::encode(value))
}

fn trimmed(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    &bytes[zeros..]
}

/// Key of an account in the trie and in the tables.
pub(super) fn address_key(address: Address) -> B256 {
    keccak256(address)
}

/// Key of an account's storage: the account's own key for one that began in the genesis, or before storages had numbers.
fn storage_key(account: &B256, incarnation: u64) -> B256 {
    if incarnation == 0 {
        return *account;
    }
    let mut bytes = [0; 40];
    bytes[..32].copy_from_slice(account.as_slice());
    bytes[32..].copy_from_slice(&incarnation.to_be_bytes());
    keccak256(bytes)
}

/// Key of a slot in its account's storage trie.
pub(super) fn slot_key(slot: U256) -> B256 {
    keccak256(slot.to_be_bytes::<32>())
}

/// Key of a row in [`Table::Slots`].
pub(super) fn slot_row(storage: &B256, slot: &B256) -> [u8; 64] {
    let mut key = [0; 64];
    key[..32].copy_from_slice(storage.as_slice());
    key[32..].copy_from_slice(slot.as_slice());
    key
}

/// Key of a row in a history table: the flat row's key and a block that changed it.
pub(super) fn history_row(flat: &[u8], block: u64) -> Vec<u8> {
    let mut key = Vec::with_capacity(flat.len() + 8);
    key.extend_from_slice(flat);
    key.extend_from_slice(&block.to_be_bytes());
    key
}

/// Where the state stands: the one row of [`Table::Meta`] that belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    /// Newest block.
    pub number: u64,
    /// State root after it.
    pub root: B256,
    /// The block that flat rows and branch records belong to; at most `number`. The changes of the blocks after it are
    /// in [`Table::Changes`].
    pub settled: u64,
    /// State root after that block.
    pub settled_root: B256,
    /// Oldest block whose state can be read.
    pub oldest: u64,
}

/// What was settled last: a row of [`Table::Meta`] of its own, because it is not written together with a block. The newer of this and
/// [`Position::settled`] holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Settled {
    /// See [`Position::settled`].
    pub number: u64,
    /// See [`Position::settled_root`].
    pub root: B256,
}

/// Key of [`Settled`] in [`Table::Meta`].
pub(super) const SETTLED: &[u8] = b"state settled";

impl Settled {
    pub fn encode(&self) -> [u8; 40] {
        let mut row = [0; 40];
        row[..8].copy_from_slice(&self.number.to_be_bytes());
        row[8..].copy_from_slice(self.root.as_slice());
        row
    }

    pub fn decode(row: &[u8]) -> Result<Settled, StoreError> {
        let bad = || StoreError::corrupt(Table::Meta, format!("row of what is settled of {} bytes, expected 40", row.len()));
        let (number, root) = row.split_first_chunk::<8>().ok_or_else(bad)?;
        Ok(Settled { number: u64::from_be_bytes(*number), root: B256::try_from(root).map_err(|_| bad())? })
    }
}

/// Key of the position in [`Table::Meta`].
pub(super) const POSITION: &[u8] = b"state";

impl Position {
    pub fn encode(&self) -> Vec<u8> {
        let mut row = Vec::with_capacity(88);
        row.extend_from_slice(&self.number.to_be_bytes());
        row.extend_from_slice(self.root.as_slice());
        row.extend_from_slice(&self.settled.to_be_bytes());
        row.extend_from_slice(self.settled_root.as_slice());
        row.extend_from_slice(&self.oldest.to_be_bytes());
        row
    }

    pub fn decode(row: &[u8]) -> Result<Position, StoreError> {
        let bad = || StoreError::corrupt(Table::Meta, format!("state position of {} bytes, expected 88", row.len()));
        let row: &[u8; 88] = row.try_into().map_err(|_| bad())?;
        let number = |at: usize| row[at..at + 8].iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        let position = Position {
            number: number(0),
            root: B256::from_slice(&row[8..40]),
            settled: number(40),
            settled_root: B256::from_slice(&row[48..80]),
            oldest: number(80),
        };
        // A damaged number must not make whoever opens the store look for blocks that never were.
        let lag = position.number.checked_sub(position.settled).ok_or_else(bad)?;
        (lag <= super::MAX_LAG && position.oldest <= position.number).then_some(position).ok_or_else(bad)
    }

    /// With what was settled since this row was written.
    pub fn with(self, settled: Settled) -> Result<Position, StoreError> {
        if settled.number > self.number {
            let problem = format!("block {} is settled, the head is {}", settled.number, self.number);
            return Err(StoreError::corrupt(Table::Meta, problem));
        }
        if settled.number <= self.settled {
            return Ok(self);
        }
        Ok(Position { settled: settled.number, settled_root: settled.root, ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn account_rows_survive() {
        let hash = B256::repeat_byte(9);
        for nonce in [0, 1, 255, 256, u64::MAX] {
            for balance in [U256::ZERO, U256::from(1), U256::from(10).pow(U256::from(18)), U256::MAX] {
                for (code_hash, storage_root, incarnation) in [
                    (KECCAK256_EMPTY, EMPTY_ROOT_HASH, None),
                    (hash, EMPTY_ROOT_HASH, Some(0)),
                    (hash, EMPTY_ROOT_HASH, Some(u64::MAX)),
                    (KECCAK256_EMPTY, hash, Some(0)),
                    (hash, hash, Some(300)),
                ] {
                    let row = AccountRow { account: Account { nonce, balance, code_hash }, storage_root, incarnation };
                    let bytes = row.encode();
                    assert_eq!(AccountRow::decode(Table::Accounts, &bytes).expect("decodes"), row);
                    for cut in 0..bytes.len() {
                        assert_ne!(AccountRow::decode(Table::Accounts, &bytes[..cut]).ok(), Some(row));
                    }
                }
            }
        }
    }

    #[test]
    fn rows_from_before_storages_had_numbers_keep_their_meaning() {
        let with = [&[HAS_STORAGE, 0][..], &[9; 32]].concat();
        let row = AccountRow::decode(Table::Accounts, &with).expect("decodes");
        assert_eq!(row.storage(&B256::ZERO), Some(B256::ZERO), "under the account's own key");
        assert_eq!(row.encode(), with);
        let without = AccountRow::decode(Table::Accounts, &[0, 0]).expect("decodes");
        assert_eq!((without.incarnation, without.encode()), (None, vec![0, 0]));
    }

    #[test]
    fn positions_survive() {
        let key = B256::repeat_byte;
        let position = Position { number: 9, root: key(1), settled: 7, settled_root: key(2), oldest: 3 };
        assert_eq!(Position::decode(&position.encode()).expect("decodes"), position);
        assert!(Position::decode(&position.encode()[1..]).is_err());
        let settled = |number| Settled { number, root: key(4) };
        assert_eq!(Settled::decode(&settled(8).encode()).expect("decodes"), settled(8));
        assert!(Settled::decode(&settled(8).encode()[1..]).is_err());
        assert_eq!(position.with(settled(6)).expect("older"), position);
        let newer = Position { settled: 8, settled_root: key(4), ..position };
        assert_eq!(position.with(settled(8)).expect("newer"), newer);
        assert!(position.with(settled(10)).is_err(), "ahead of the head");
        let far = Position { number: position.settled + crate::state::MAX_LAG + 1, ..position };
        assert!(Position::decode(&far.encode()).is_err(), "more unsettled blocks than ever are");
    }
}
