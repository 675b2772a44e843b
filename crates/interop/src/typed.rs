//! Transactions of every type, signed, as a node takes them by JSON-RPC.

use crate::evm::precompiles::versioned;
use alloy_consensus::{EthereumTxEnvelope, SignableTransaction, TxEip1559, TxEip2930, TxEip4844, TxEip7702, TxLegacy};
use alloy_eips::eip2718::Encodable2718;
use alloy_eips::eip2930::{AccessList, AccessListItem};
use alloy_eips::eip7702::{Authorization, SignedAuthorization};
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256, hex};
use alloy_rlp::{Encodable, Header};
use ipe_types::crypto::NodeKey;

/// What a transaction carries beside what all have.
#[derive(Clone, Debug)]
pub enum Carries {
    /// A legacy one, protected by the chain id.
    Nothing,
    /// EIP-2930.
    List(AccessList),
    /// EIP-1559, with fees of zero.
    Fees(AccessList),
    /// EIP-7702.
    Code(Vec<SignedAuthorization>),
    /// EIP-4844: so many blobs, of zeros and of ones in turn.
    Blobs(usize),
}

/// A transaction to be signed.
#[derive(Clone, Debug)]
pub struct Wish {
    /// What it is about, told when it fails.
    pub name: String,
    /// Receiver, or none for a creation.
    pub to: TxKind,
    /// Wei.
    pub value: U256,
    /// Input.
    pub input: Bytes,
    /// Gas limit.
    pub gas: u64,
    /// By its type.
    pub carries: Carries,
}

/// A signed transaction.
#[derive(Clone, Debug)]
pub struct Signed {
    /// Its hash, without any blobs.
    pub hash: B256,
    /// As `eth_sendRawTransaction` takes it, with blobs.
    pub raw: Vec<u8>,
}

/// How a node wants the proofs of blobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proofs {
    /// One a blob (EIP-4844).
    Blob,
    /// One for each of the 128 cells of a blob (EIP-7594, from Osaka on).
    Cells,
}

fn sign(key: &NodeKey, hash: B256) -> Signature {
    let signature = key.sign(hash);
    let bytes = signature.as_slice();
    Signature::new(U256::from_be_slice(&bytes[..32]), U256::from_be_slice(&bytes[32..64]), bytes[64] == 1)
}

fn enveloped<T>(tx: T, key: &NodeKey) -> EthereumTxEnvelope<TxEip4844>
where
    T: SignableTransaction<Signature>,
    alloy_consensus::Signed<T>: Into<EthereumTxEnvelope<TxEip4844>>,
{
    let signature = sign(key, tx.signature_hash());
    tx.into_signed(signature).into()
}

/// An authorization signed by `authority`.
pub fn authorized(authority: &NodeKey, chain_id: u64, address: Address, nonce: u64) -> SignedAuthorization {
    let wish = Authorization { chain_id: U256::from(chain_id), address, nonce };
    let signature = sign(authority, wish.signature_hash());
    wish.into_signed(signature)
}

/// Signs a wish.
///
/// Errors: it carries what its receiver cannot have (blobs or code for a creation).
pub fn signed(wish: &Wish, key: &NodeKey, chain_id: u64, nonce: u64, proofs: Proofs) -> Result<Signed, String> {
    let Wish { to, value, input, gas, carries, .. } = wish.clone();
    let receiver = || to.to().copied().ok_or_else(|| format!("{}: a creation of a type that has none", wish.name));
    let tx = match carries {
        Carries::Nothing => {
            enveloped(TxLegacy { chain_id: Some(chain_id), nonce, gas_price: 0, gas_limit: gas, to, value, input }, key)
        }
        Carries::List(access_list) => {
            enveloped(TxEip2930 { chain_id, nonce, gas_price: 0, gas_limit: gas, to, value, access_list, input }, key)
        }
        Carries::Fees(access_list) => {
            let (max_fee_per_gas, max_priority_fee_per_gas) = (0, 0);
            let tx = TxEip1559 {
                chain_id,
                nonce,
                gas_limit: gas,
                max_fee_per_gas,
                max_priority_fee_per_gas,
                to,
                value,
                access_list,
                input,
            };
            enveloped(tx, key)
        }
        Carries::Code(authorization_list) => {
            let tx = TxEip7702 {
                chain_id,
                nonce,
                gas_limit: gas,
                max_fee_per_gas: 0,
                max_priority_fee_per_gas: 0,
                to: receiver()?,
                value,
                access_list: AccessList::default(),
                authorization_list,
                input,
            };
            enveloped(tx, key)
        }
        Carries::Blobs(count) => {
            let commitments: Vec<[u8; 48]> = (0..count).map(commitment).collect();
            let tx = TxEip4844 {
                chain_id,
                nonce,
                gas_limit: gas,
                max_fee_per_gas: 0,
                max_priority_fee_per_gas: 0,
                to: receiver()?,
                value,
                access_list: AccessList::default(),
                blob_versioned_hashes: commitments.iter().map(|one| B256::from(versioned(one))).collect(),
                max_fee_per_blob_gas: 1,
                input,
            };
            let tx = enveloped(tx, key);
            let raw = with_blobs(&tx.encoded_2718(), &commitments, proofs);
            return Ok(Signed { hash: *tx.tx_hash(), raw });
        }
    };
    Ok(Signed { hash: *tx.tx_hash(), raw: tx.encoded_2718() })
}

/// Blob `at` is zeros or the number one in every field: a constant polynomial, whose commitment is the point at infinity or
/// the generator of the first group, and whose every proof is the point at infinity.
fn commitment(at: usize) -> [u8; 48] {
    match at % 2 {
        0 => INFINITY,
        _ => hex!("97f1d3a73197d7942695638c4fa9ac0fc3688c4f9774b905a14e3a3f171bac586c55e83ff97a1aeffb3af00adb22c6bb"),
    }
}

/// The point at infinity, compressed.
const INFINITY: [u8; 48] = {
    let mut point = [0; 48];
    point[0] = 0xc0;
    point
};

/// Bytes of a blob.
const BLOB: usize = 131_072;

/// The network form of a blob transaction: `0x03 ‖ rlp([tx, blobs, commitments, proofs])`, with the number 1 after the
/// transaction where the proofs are of cells.
fn with_blobs(tx: &[u8], commitments: &[[u8; 48]], proofs: Proofs) -> Vec<u8> {
    let blobs: Vec<Bytes> = (0..commitments.len())
        .map(|at| {
            let mut blob = vec![0; BLOB];
            if at % 2 == 1 {
                blob.iter_mut().skip(31).step_by(32).for_each(|byte| *byte = 1);
            }
            blob.into()
        })
        .collect();
    let points: Vec<Bytes> = commitments.iter().map(|one| Bytes::copy_from_slice(one)).collect();
    let each = if proofs == Proofs::Cells { 128 } else { 1 };
    let proven: Vec<Bytes> = vec![Bytes::from_static(&INFINITY); commitments.len() * each];
    let mut payload = tx[1..].to_vec();
    if proofs == Proofs::Cells {
        1u8.encode(&mut payload);
    }
    blobs.encode(&mut payload);
    points.encode(&mut payload);
    proven.encode(&mut payload);
    let mut raw = vec![3];
    Header { list: true, payload_length: payload.len() }.encode(&mut raw);
    raw.extend(payload);
    raw
}

/// An access list of these accounts, each with so many slots.
pub fn list(accounts: &[Address], slots: u64) -> AccessList {
    let item = |address: &Address| AccessListItem {
        address: *address,
        storage_keys: (0..slots).map(|slot| B256::from(U256::from(slot))).collect(),
    };
    AccessList(accounts.iter().map(item).collect())
}
