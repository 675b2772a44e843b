//! What the protocol itself does in a block beside its transactions: calls of system contracts (EIP-4788, 2935, 7002, 7251) and
//! the requests that the header commits to (EIP-7685, 6110).

use alloy_primitives::{Address, B256, Bytes, Log, U256, b256};
use ipe_types::fork::Fork;
use ipe_types::genesis::{BesuRules, RequestContracts};
use ipe_types::header::Header;
use ipe_types::spec::ChainSpec;
use sha2::{Digest, Sha256};

pub use ipe_types::genesis::{BEACON_ROOTS_CONTRACT, HISTORY_CONTRACT};

/// Hash of no requests (EIP-7685): SHA-256 of nothing.
pub const NO_REQUESTS_HASH: B256 = b256!("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");

/// First topic of a deposit's log (EIP-6110).
const DEPOSIT_TOPIC: B256 = b256!("649bbc62d0e31342afea4e5cd82d4049e7e1ee912fc0889aa790803be39038c5");
/// Bytes of a deposit's log: five offsets, then five lengths and fields, each filled up to whole words.
const DEPOSIT_BYTES: usize = 576;
/// Where each field's length stands, and the length: public key, withdrawal credentials, amount, signature, index.
const DEPOSIT_FIELDS: [(&str, usize, usize); 5] =
    [("public key", 160, 48), ("credentials", 256, 32), ("amount", 320, 8), ("signature", 384, 96), ("index", 512, 8)];
/// Entries of the ring of beacon roots (EIP-4788).
const BEACON_ROOTS: u64 = 8191;

/// Which of these a block has. The default has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SystemCalls {
    /// What happens to the beacon roots, where the header has a root and the contract code.
    pub beacon_roots: Option<BeaconRoots>,
    /// Whether the history contract is told the parent's hash, where it has code.
    pub history: bool,
    /// Contracts whose requests the header commits to; without code at those that are called the block is invalid.
    pub requests: Option<RequestContracts>,
}

/// How a beacon root is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BeaconRoots {
    /// The contract is called (EIP-4788).
    Called,
    /// The two slots are written, whatever the code says (besu 25.5.0 `ParentBeaconBlockRootHelper`).
    Written,
}

impl SystemCalls {
    /// Of a block with the rules of `fork`: from Besu 26.8.0 on none unless the genesis names the request contracts (besu
    /// `MainnetProtocolSpecs.getPreExecutionProcessor`, `isPoAConsensus`).
    pub fn of(spec: &ChainSpec, fork: Fork) -> Self {
        let system = &spec.genesis().system;
        let called = system.rules == BesuRules::V25_5 || system.requests.is_some();
        let roots = if system.rules == BesuRules::V25_5 { BeaconRoots::Written } else { BeaconRoots::Called };
        Self {
            beacon_roots: (called && fork >= Fork::Cancun).then_some(roots),
            history: called && fork >= Fork::Prague,
            requests: system.requests.filter(|_| fork >= Fork::Prague),
        }
    }

    /// As Ethereum has it, with contracts wherever there is code: for the public tests.
    pub fn of_ethereum(fork: Fork) -> Self {
        Self { beacon_roots: (fork >= Fork::Cancun).then_some(BeaconRoots::Called), history: fork >= Fork::Prague, requests: None }
    }

    /// What comes before the transactions, in order. Each happens only where the contract has code.
    pub fn first(&self, header: &Header) -> Vec<(Address, First)> {
        let mut all = Vec::new();
        if let (Some(how), Some(root)) = (self.beacon_roots, header.parent_beacon_block_root) {
            all.push((
                BEACON_ROOTS_CONTRACT,
                match how {
                    BeaconRoots::Called => First::Call(root),
                    BeaconRoots::Written => {
                        let at = header.timestamp % BEACON_ROOTS;
                        let time = (U256::from(at), U256::from(header.timestamp));
                        First::Write([time, (U256::from(at + BEACON_ROOTS), U256::from_be_bytes(root.0))])
                    }
                },
            ));
        }
        if self.history {
            all.push((HISTORY_CONTRACT, First::Call(header.parent_hash)));
        }
        all
    }
}

/// One thing that comes before the transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// A call by the system address with this word.
    Call(B256),
    /// Slots and values.
    Write([(U256, U256); 2]),
}

/// The request in a log, 192 bytes; `None` when it is no deposit of `contract` (EIP-6110).
///
/// # Errors
/// It is one and does not have the one layout that a deposit has, in words (besu `DepositLogDecoder`).
pub fn deposit_of(contract: Address, log: &Log) -> Result<Option<Vec<u8>>, String> {
    if log.address != contract || log.topics().first() != Some(&DEPOSIT_TOPIC) {
        return Ok(None);
    }
    let data = &log.data.data[..];
    if data.len() != DEPOSIT_BYTES {
        return Err(format!("{} bytes, expected {DEPOSIT_BYTES}", data.len()));
    }
    let word = |at: usize| U256::from_be_slice(&data[at..at + 32]);
    let mut request = Vec::with_capacity(192);
    for (index, (name, at, length)) in DEPOSIT_FIELDS.into_iter().enumerate() {
        if word(index * 32) != U256::from(at) {
            return Err(format!("{name} begins at {}, expected {at}", word(index * 32)));
        }
        if word(at) != U256::from(length) {
            return Err(format!("{name} has {} bytes, expected {length}", word(at)));
        }
        request.extend_from_slice(&data[at + 32..at + 32 + length]);
    }
    Ok(Some(request))
}

/// `requestsHash` of requests by type, ascending; empty ones do not count (EIP-7685).
pub fn requests_hash<'a>(requests: impl IntoIterator<Item = (u8, &'a Bytes)>) -> B256 {
    let mut all = Sha256::new();
    for (kind, request) in requests.into_iter().filter(|(_, request)| !request.is_empty()) {
        let mut one = Sha256::new();
        one.update([kind]);
        one.update(request);
        all.update(one.finalize());
    }
    B256::from_slice(&all.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log as the deposit contract of Ethereum writes it.
    fn deposit(contract: Address) -> Log {
        let mut data = vec![0u8; DEPOSIT_BYTES];
        for (index, (_, at, length)) in DEPOSIT_FIELDS.into_iter().enumerate() {
            data[index * 32..(index + 1) * 32].copy_from_slice(&U256::from(at).to_be_bytes::<32>());
            data[at..at + 32].copy_from_slice(&U256::from(length).to_be_bytes::<32>());
            data[at + 32..at + 32 + length].fill(index as u8 + 1);
        }
        Log::new_unchecked(contract, vec![DEPOSIT_TOPIC], data.into())
    }

    #[test]
    fn a_deposit_is_its_five_fields_and_has_one_layout() {
        let contract = Address::repeat_byte(0xdd);
        let good = deposit(contract);
        let request = deposit_of(contract, &good).unwrap().unwrap();
        assert_eq!(request.len(), 192);
        for (value, length) in [(1, 48), (2, 32), (3, 8), (4, 96), (5, 8)] {
            assert_eq!(request.iter().filter(|byte| **byte == value).count(), length);
        }
        assert_eq!(deposit_of(Address::ZERO, &good), Ok(None));
        let other_topic = Log::new_unchecked(contract, vec![B256::ZERO], good.data.data.clone());
        assert_eq!(deposit_of(contract, &other_topic), Ok(None));
        for at in [31, 63, 159, 160, 191, 287, 543] {
            let mut data = good.data.data.to_vec();
            data[at] ^= 1;
            let bad = Log::new_unchecked(contract, vec![DEPOSIT_TOPIC], data.into());
            assert!(deposit_of(contract, &bad).is_err(), "byte {at}");
        }
        let short = Log::new_unchecked(contract, vec![DEPOSIT_TOPIC], good.data.data.slice(..575));
        assert!(deposit_of(contract, &short).is_err());
    }

    #[test]
    fn empty_requests_do_not_count() {
        let empty = Bytes::new();
        assert_eq!(requests_hash([(0, &empty), (1, &empty)]), NO_REQUESTS_HASH);
        let one = Bytes::from_static(&[1]);
        assert_ne!(requests_hash([(0, &one)]), requests_hash([(1, &one)]));
    }
}
