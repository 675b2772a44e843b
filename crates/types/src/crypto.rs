//! Keys, signatures and recovery over secp256k1.

use std::cell::RefCell;
use std::fmt;

use alloy_primitives::map::HashMap;
use alloy_primitives::{Address, B256, B512, keccak256};
use secp256k1::ecdsa::{RecoverableSignature, RecoveryId};
use secp256k1::{Message as Digest, PublicKey, SECP256K1, SecretKey};
use thiserror::Error;
use zeroize::Zeroizing;

/// Public key of a node without the leading `04`: x ‖ y, 64 bytes. It names the node on the wire and in its enode.
pub type NodeId = B512;

const ORDER: [u8; 32] = secp256k1::constants::CURVE_ORDER;
/// Half the curve order: the largest s of a low-s signature.
const HALF_ORDER: [u8; 32] = [
    0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x5d, 0x57, 0x6e, 0x73, 0x57,
    0xa4, 0x50, 0x1d, 0xdf, 0xe9, 0x2f, 0x46, 0x68, 0x1b, 0x20, 0xa0,
];

/// r(32) ‖ s(32) ‖ recovery id (0 or 1), with r and s in [1, n−1].
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signature65([u8; 65]);

/// Whether a signature whose s is above half the order is taken. Commit seals may have it, messages may not
/// (spec/qbft.md 3.2, 7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HighS {
    /// Commit seals.
    Allowed,
    /// Consensus messages.
    Rejected,
}

/// What is wrong with a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SignatureError {
    /// r or s is 0 or not below the curve order.
    #[error("signature {0} is outside [1, n-1]")]
    OutOfRange(&'static str),
    /// The last byte is neither 0 nor 1.
    #[error("signature recovery id is {0}, expected 0 or 1")]
    RecoveryId(u8),
    /// s is above half the order where only the low form is taken.
    #[error("signature s is above half the curve order")]
    HighS,
    /// No point on the curve answers to it.
    #[error("no public key can be recovered from the signature")]
    NotRecoverable,
}

/// A secret key is not in [1, n−1].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("secret key is zero or not below the curve order")]
pub struct KeyError;

impl Signature65 {
    /// Takes 65 bytes whose ranges hold.
    ///
    /// # Errors
    /// r, s or the recovery id is out of range.
    pub fn from_bytes(bytes: [u8; 65]) -> Result<Self, SignatureError> {
        let zero = [0u8; 32];
        if bytes[..32] == zero || bytes[..32] >= ORDER[..] {
            return Err(SignatureError::OutOfRange("r"));
        }
        if bytes[32..64] == zero || bytes[32..64] >= ORDER[..] {
            return Err(SignatureError::OutOfRange("s"));
        }
        if bytes[64] > 1 {
            return Err(SignatureError::RecoveryId(bytes[64]));
        }
        Ok(Self(bytes))
    }

    /// The 65 bytes as they go on the wire.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }

    fn is_high_s(&self) -> bool {
        self.0[32..64] > HALF_ORDER[..]
    }
}

impl fmt::Debug for Signature65 {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "0x{}", hex::encode(self.0))
    }
}

/// Public key that made `signature` over the 32 bytes `hash`.
///
/// # Errors
/// s is high and `high_s` rejects that, or no key answers to the signature.
pub fn recover_node_id(hash: B256, signature: &Signature65, high_s: HighS) -> Result<NodeId, SignatureError> {
    if high_s == HighS::Rejected && signature.is_high_s() {
        return Err(SignatureError::HighS);
    }
    let recovery_id = RecoveryId::from_u8_masked(signature.0[64]);
    let recoverable =
        RecoverableSignature::from_compact(&signature.0[..64], recovery_id).map_err(|_| SignatureError::NotRecoverable)?;
    let key = SECP256K1.recover_ecdsa(Digest::from_digest(hash.0), &recoverable).map_err(|_| SignatureError::NotRecoverable)?;
    Ok(node_id_of(&key))
}

/// Address that made `signature` over the 32 bytes `hash`.
///
/// # Errors
/// As [`recover_node_id`].
pub fn recover_address(hash: B256, signature: &Signature65, high_s: HighS) -> Result<Address, SignatureError> {
    // Whoever remembers the answer is a simulator: a node of its own would have to find it.
    crate::work::count(|done| done.recoveries += 1);
    let question = (hash, *signature, high_s == HighS::Rejected);
    if let Some(known) = MEMO.with_borrow(|memo| memo.as_ref().and_then(|memo| memo.known.get(&question).copied())) {
        return Ok(known);
    }
    let address = recover_node_id(hash, signature, high_s).map(address_of)?;
    MEMO.with_borrow_mut(|memo| {
        if let Some(memo) = memo {
            if memo.known.len() >= memo.most {
                memo.known.clear();
            }
            memo.known.insert(question, address);
        }
    });
    Ok(address)
}

thread_local! {
    static MEMO: RefCell<Option<Memo>> = const { RefCell::new(None) };
}

struct Memo {
    most: usize,
    known: HashMap<(B256, Signature65, bool), Address>,
}

/// Lets this thread remember the addresses that it recovers, at most `most` of some 200 bytes each: then it forgets them all.
///
/// A signature has the same author whoever asks, so no answer changes. It is worth it only where many nodes share a thread,
/// as in the simulator: each recovers what the others did. A node of its own asks once.
pub fn remember_recoveries(most: usize) {
    MEMO.with_borrow_mut(|memo| *memo = Some(Memo { most: most.max(1), known: HashMap::default() }));
}

/// Last 20 bytes of keccak256 of the public key.
pub fn address_of(id: NodeId) -> Address {
    Address::from_slice(&keccak256(id)[12..])
}

/// The 64 bytes x ‖ y of a public key.
pub fn node_id_of(key: &PublicKey) -> NodeId {
    NodeId::from_slice(&key.serialize_uncompressed()[1..])
}

/// The one key of a node: its devp2p identity and, at a validator, what it signs consensus messages with
/// (Besu uses one key for both; spec/besu-compat.md 10). Its memory is overwritten when it is dropped.
#[derive(Clone)]
pub struct NodeKey(SecretKey);

impl NodeKey {
    /// Takes a secret of 32 big-endian bytes.
    ///
    /// # Errors
    /// The secret is zero or not below the curve order.
    pub fn from_bytes(secret: [u8; 32]) -> Result<Self, KeyError> {
        SecretKey::from_byte_array(secret).map(Self).map_err(|_| KeyError)
    }

    /// The secret, for the handshake and for writing the key file; overwritten when it is dropped.
    pub fn secret_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.secret_bytes())
    }

    /// Public key of 64 bytes.
    pub fn node_id(&self) -> NodeId {
        node_id_of(&self.0.public_key(SECP256K1))
    }

    /// Validator address of the key.
    pub fn address(&self) -> Address {
        address_of(self.node_id())
    }

    /// Signs the 32 bytes as they are, deterministic (RFC 6979), low s.
    pub fn sign(&self, hash: B256) -> Signature65 {
        crate::work::count(|done| done.signatures += 1);
        let signature = SECP256K1.sign_ecdsa_recoverable(Digest::from_digest(hash.0), &self.0);
        let (recovery_id, compact) = signature.serialize_compact();
        let mut bytes = [0u8; 65];
        bytes[..64].copy_from_slice(&compact);
        bytes[64] = recovery_id as u8;
        Signature65(bytes)
    }
}

impl Drop for NodeKey {
    fn drop(&mut self) {
        // Named so because copies that the compiler made elsewhere are out of its reach.
        self.0.non_secure_erase();
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "NodeKey(of {})", self.address())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::{U256, address};

    #[test]
    fn remembered_recoveries_are_the_same_and_bounded() {
        let keys: Vec<NodeKey> = (1..=5).map(|n| NodeKey::from_bytes([n; 32]).unwrap()).collect();
        let hash = B256::repeat_byte(7);
        let signed: Vec<Signature65> = keys.iter().map(|key| key.sign(hash)).collect();
        let fresh: Vec<_> = signed.iter().map(|one| recover_address(hash, one, HighS::Rejected)).collect();
        remember_recoveries(3);
        for _ in 0..3 {
            let again: Vec<_> = signed.iter().map(|one| recover_address(hash, one, HighS::Rejected)).collect();
            assert_eq!(again, fresh);
            assert!(MEMO.with_borrow(|memo| memo.as_ref().is_some_and(|memo| memo.known.len() <= 3)));
        }
        // What one question may take, another may refuse; and another hash has another author.
        let (r, low) = (&signed[0].as_slice()[..32], U256::from_be_slice(&signed[0].as_slice()[32..64]));
        let high = U256::from_be_bytes(ORDER) - low;
        let mut bytes = [0; 65];
        bytes[..32].copy_from_slice(r);
        bytes[32..64].copy_from_slice(&high.to_be_bytes::<32>());
        bytes[64] = 1 - signed[0].as_slice()[64];
        let high = Signature65::from_bytes(bytes).unwrap();
        assert_eq!(recover_address(hash, &high, HighS::Allowed), fresh[0]);
        assert_eq!(recover_address(hash, &high, HighS::Rejected), Err(SignatureError::HighS));
        assert_ne!(recover_address(B256::repeat_byte(8), &signed[0], HighS::Rejected), fresh[0]);
    }

    #[test]
    fn keys_one_to_four_have_their_known_addresses() {
        let address_of_key = |n: u8| {
            let mut secret = [0u8; 32];
            secret[31] = n;
            NodeKey::from_bytes(secret).unwrap().address()
        };
        assert_eq!(address_of_key(1), address!("7e5f4552091a69125d5dfcb7b8c2659029395bdf"));
        assert_eq!(address_of_key(2), address!("2b5ad5c4795c026514f8317c7a215e218dccd6cf"));
        assert_eq!(address_of_key(3), address!("6813eb9362372eef6200f3b1dbc3f819671cba69"));
        assert_eq!(address_of_key(4), address!("1eff47bc3a10a45d4b230b5d10e37751fe6aa718"));
    }

    #[test]
    fn a_high_s_is_refused_only_where_asked() {
        let key = NodeKey::from_bytes([7; 32]).unwrap();
        let hash = B256::repeat_byte(0x11);
        let low = key.sign(hash);
        let order = alloy_primitives::U256::from_be_bytes(ORDER);
        let s = alloy_primitives::U256::from_be_slice(&low.0[32..64]);
        let mut high = low.0;
        high[32..64].copy_from_slice(&(order - s).to_be_bytes::<32>());
        high[64] ^= 1;
        let high = Signature65::from_bytes(high).unwrap();
        assert_eq!(recover_address(hash, &low, HighS::Rejected), Ok(key.address()));
        assert_eq!(recover_address(hash, &high, HighS::Allowed), Ok(key.address()));
        assert_eq!(recover_address(hash, &high, HighS::Rejected), Err(SignatureError::HighS));
    }

    #[test]
    fn out_of_range_values_are_named() {
        let mut bytes = NodeKey::from_bytes([7; 32]).unwrap().sign(B256::ZERO).0;
        bytes[64] = 27;
        assert_eq!(Signature65::from_bytes(bytes), Err(SignatureError::RecoveryId(27)));
        bytes[64] = 0;
        bytes[32..64].fill(0);
        assert_eq!(Signature65::from_bytes(bytes), Err(SignatureError::OutOfRange("s")));
        bytes[..32].copy_from_slice(&ORDER);
        assert_eq!(Signature65::from_bytes(bytes), Err(SignatureError::OutOfRange("r")));
        assert_eq!(NodeKey::from_bytes([0; 32]).err(), Some(KeyError));
    }
}
