//! A signed transaction with prices of up to 256 bits, which is what Besu and GoQuorum read (besu `RLPInput.readUInt256Scalar`, `Wei`).
//!
//! The library's types have 128 bits for a price. A transaction that offers more is held as the library's with 2^128 − 1 in that
//! place, which never leaves this module, and beside it the prices and the hashes as they are. Every other transaction is the library's
//! alone.

use alloy_consensus::crypto::{RecoveryError, secp256k1};
use alloy_consensus::transaction::SignerRecoverable;
use alloy_consensus::{
    EthereumTxEnvelope, EthereumTypedTransaction, SignableTransaction as _, Signed, Transaction as _, TxEip1559, TxEip2930,
    TxEip4844, TxEip7702, TxLegacy, TxType, Typed2718,
};
use alloy_eips::eip2718::{Decodable2718, Eip2718Result, Encodable2718};
use alloy_eips::eip2930::AccessList;
use alloy_eips::eip7702::SignedAuthorization;
use alloy_primitives::{Address, B256, Bytes, ChainId, Signature, TxKind, U256, keccak256};
use alloy_rlp::{BufMut, Decodable, Encodable, Header as RlpHeader, Result as RlpResult};

/// The library's signed transaction.
type Envelope = EthereumTxEnvelope<TxEip4844>;

/// A transaction without its signature, of any type that a block may carry.
pub type Unsigned = EthereumTypedTransaction<TxEip4844>;

/// Most items of a transaction's list (EIP-4844 has them).
const MOST_ITEMS: usize = 14;
/// Items that the signature is.
const SIGNATURE_ITEMS: usize = 3;

/// A signed transaction of any type that a block may carry; blob transactions without their sidecar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// The transaction; with a price of 2^128 − 1 for each that is larger, and then never asked for bytes, hashes or prices.
    envelope: Envelope,
    /// What the envelope cannot hold, where a price is 2^128 wei or more.
    wide: Option<Box<Wide>>,
}

/// A transaction with a price that the library has no room for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wide {
    prices: Prices,
    /// Bytes of the EIP-2718 encoding.
    length: usize,
    hash: B256,
    /// What was signed.
    signature_hash: B256,
}

/// What a transaction offers, wei per gas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Prices {
    /// `gasPrice`, or `maxFeePerGas` of the types that have a tip.
    pub fee: U256,
    /// `maxPriorityFeePerGas`, from EIP-1559 on.
    pub tip: Option<U256>,
    /// `maxFeePerBlobGas`, of blob transactions.
    pub blob: Option<U256>,
}

impl Prices {
    /// What is paid per gas with this base fee; the most that is offered where there is none.
    pub fn effective(&self, base_fee: Option<u64>) -> U256 {
        match (self.tip, base_fee) {
            (Some(tip), Some(base)) => self.fee.min(tip.saturating_add(U256::from(base))),
            _ => self.fee,
        }
    }

    /// Whether one of them has more than 128 bits.
    pub fn is_wide(&self) -> bool {
        [Some(self.fee), self.tip, self.blob].into_iter().flatten().any(|price| narrow(price) == u128::MAX && price != MOST_NARROW)
    }

    /// In the order of the encoding.
    fn listed(&self) -> impl Iterator<Item = U256> {
        [self.tip, Some(self.fee), self.blob].into_iter().flatten()
    }
}

/// The largest price that the library has room for.
const MOST_NARROW: U256 = U256::from_limbs([u64::MAX, u64::MAX, 0, 0]);

/// A price in 128 bits, 2^128 − 1 for what is larger.
pub fn narrow(price: U256) -> u128 {
    u128::try_from(price).unwrap_or(u128::MAX)
}

/// Where the prices are in the list of a transaction: tip before fee before blob fee.
fn places(kind: u8) -> &'static [usize] {
    match kind {
        0 => &[1],
        1 => &[2],
        2 | 4 => &[2, 3],
        3 => &[2, 3, 9],
        _ => &[],
    }
}

/// Items of the list at the head of `buffer`, each with its own head, and `buffer` behind the list; `None` for anything else and for
/// more items than a transaction has.
fn items_of<'a>(buffer: &mut &'a [u8]) -> Option<Vec<&'a [u8]>> {
    let mut rest = RlpHeader::decode_bytes(buffer, true).ok()?;
    let mut items = Vec::with_capacity(MOST_ITEMS);
    while !rest.is_empty() {
        let begin = rest;
        let head = RlpHeader::decode(&mut rest).ok()?;
        rest = rest.get(head.payload_length..)?;
        items.push(&begin[..begin.len() - rest.len()]);
        if items.len() > MOST_ITEMS {
            return None;
        }
    }
    Some(items)
}

/// EIP-2718 encoding of a transaction, or of what is signed, from encoded items.
fn encoded(kind: u8, items: &[&[u8]]) -> Vec<u8> {
    let payload_length = items.iter().map(|item| item.len()).sum();
    let mut out = Vec::with_capacity(payload_length + 10);
    if kind != 0 {
        out.push(kind);
    }
    RlpHeader { list: true, payload_length }.encode(&mut out);
    for item in items {
        out.extend_from_slice(item);
    }
    out
}

/// EIP-2718 encoding of the library's transaction with these prices in their places.
fn widened(envelope: &Envelope, prices: &Prices) -> Vec<u8> {
    let (kind, bytes) = (envelope.ty(), envelope.encoded_2718());
    let values: Vec<Vec<u8>> = prices.listed().map(alloy_rlp::encode).collect();
    let mut list = if kind == 0 { bytes.as_slice() } else { &bytes[1..] };
    let mut items = items_of(&mut list).unwrap_or_default();
    for (place, value) in places(kind).iter().zip(&values) {
        items[*place] = value;
    }
    encoded(kind, &items)
}

/// Reads what the library could not, if a price of more than 128 bits is the reason.
fn decode_wide(kind: u8, buffer: &mut &[u8]) -> Option<Eip2718Result<Transaction>> {
    let mut rest = *buffer;
    let items = items_of(&mut rest)?;
    let (mut fitting, mut offered) = (items.clone(), [U256::ZERO; 3]);
    let most = alloy_rlp::encode(u128::MAX);
    let places = places(kind);
    for (place, offered) in places.iter().zip(&mut offered) {
        let mut item = *items.get(*place)?;
        *offered = U256::decode(&mut item).ok()?;
        if *offered > MOST_NARROW {
            fitting[*place] = &most;
        }
    }
    let prices = match (places.len(), offered) {
        (1, [fee, ..]) => Prices { fee, tip: None, blob: None },
        (2, [tip, fee, _]) => Prices { fee, tip: Some(tip), blob: None },
        (3, [tip, fee, blob]) => Prices { fee, tip: Some(tip), blob: Some(blob) },
        _ => return None,
    };
    if !prices.is_wide() {
        return None;
    }
    let envelope = match Envelope::decode_2718_exact(&encoded(kind, &fitting)) {
        Ok(envelope) => envelope,
        Err(error) => return Some(Err(error)),
    };
    let raw = encoded(kind, &items);
    debug_assert_eq!(raw, widened(&envelope, &prices), "what is read is written alike");
    let mut signed = items;
    signed.truncate(signed.len().saturating_sub(SIGNATURE_ITEMS));
    let chain_id = envelope.chain_id().map(alloy_rlp::encode);
    if let (0, Some(chain_id)) = (kind, &chain_id) {
        // EIP-155.
        signed.extend([chain_id.as_slice(), &[alloy_rlp::EMPTY_STRING_CODE], &[alloy_rlp::EMPTY_STRING_CODE]]);
    }
    let signature_hash = keccak256(encoded(kind, &signed));
    let wide = Wide { prices, length: raw.len(), hash: keccak256(&raw), signature_hash };
    *buffer = rest;
    Some(Ok(Transaction { envelope, wide: Some(Box::new(wide)) }))
}

impl Transaction {
    /// Signs a transaction with these prices, whatever prices `unsigned` has; those that its type has no place for are left out.
    /// `sign` is given the hash to be signed.
    pub fn sign(unsigned: Unsigned, prices: Prices, sign: impl FnOnce(B256) -> Signature) -> Self {
        let unsigned = with_prices(unsigned, &prices);
        let kind = unsigned.ty();
        let prices = Prices {
            fee: prices.fee,
            tip: (kind >= 2).then(|| prices.tip.unwrap_or_default()),
            blob: (kind == 3).then(|| prices.blob.unwrap_or_default()),
        };
        if !prices.is_wide() {
            let signature = sign(unsigned.signature_hash());
            return unsigned.into_envelope(signature).into();
        }
        let with = |signature: Signature| {
            let bytes = widened(&unsigned.clone().into_envelope(signature), &prices);
            Self::decode_2718_exact(&bytes).unwrap_or_else(|error| unreachable!("our own encoding is read: {error}"))
        };
        let signature = sign(with(Signature::test_signature()).signature_hash());
        with(signature)
    }

    /// What it offers.
    pub fn prices(&self) -> Prices {
        match &self.wide {
            Some(wide) => wide.prices,
            None => Prices {
                fee: U256::from(self.envelope.max_fee_per_gas()),
                tip: self.envelope.max_priority_fee_per_gas().map(U256::from),
                blob: self.envelope.max_fee_per_blob_gas().map(U256::from),
            },
        }
    }

    /// `gasPrice`, wei per gas, of legacy and access list transactions.
    pub fn gas_price(&self) -> Option<U256> {
        (!self.is_dynamic_fee()).then(|| self.max_fee_per_gas())
    }

    /// `maxFeePerGas`, or `gasPrice`, wei per gas.
    pub fn max_fee_per_gas(&self) -> U256 {
        match &self.wide {
            Some(wide) => wide.prices.fee,
            None => U256::from(self.envelope.max_fee_per_gas()),
        }
    }

    /// `maxPriorityFeePerGas`, wei per gas, from EIP-1559 on.
    pub fn max_priority_fee_per_gas(&self) -> Option<U256> {
        self.prices().tip
    }

    /// `maxPriorityFeePerGas`, or `gasPrice`, wei per gas.
    pub fn priority_fee_or_price(&self) -> U256 {
        self.max_priority_fee_per_gas().unwrap_or_else(|| self.max_fee_per_gas())
    }

    /// `maxFeePerBlobGas`, wei per blob gas, of blob transactions.
    pub fn max_fee_per_blob_gas(&self) -> Option<U256> {
        self.prices().blob
    }

    /// What is paid per gas with this base fee, wei.
    pub fn effective_gas_price(&self, base_fee: Option<u64>) -> U256 {
        self.prices().effective(base_fee)
    }

    /// What the block's maker gets per gas with this base fee, wei; `None` when the offer does not cover the base fee.
    pub fn effective_tip_per_gas(&self, base_fee: u64) -> Option<U256> {
        let prices = self.prices();
        let over = prices.fee.checked_sub(U256::from(base_fee))?;
        Some(prices.tip.map_or(over, |tip| tip.min(over)))
    }

    /// Whether it has a tip and a most instead of a price.
    pub fn is_dynamic_fee(&self) -> bool {
        self.envelope.is_dynamic_fee()
    }

    /// EIP-155 chain id; `None` for a legacy transaction of any chain.
    pub fn chain_id(&self) -> Option<ChainId> {
        self.envelope.chain_id()
    }

    /// Transactions that the sender sent before.
    pub fn nonce(&self) -> u64 {
        self.envelope.nonce()
    }

    /// Most gas.
    pub fn gas_limit(&self) -> u64 {
        self.envelope.gas_limit()
    }

    /// A call or a creation.
    pub fn kind(&self) -> TxKind {
        self.envelope.kind()
    }

    /// Who is called; `None` for a creation.
    pub fn to(&self) -> Option<Address> {
        self.envelope.to()
    }

    /// Wei.
    pub fn value(&self) -> U256 {
        self.envelope.value()
    }

    /// Input, or code of the creation.
    pub fn input(&self) -> &Bytes {
        self.envelope.input()
    }

    /// EIP-2930.
    pub fn access_list(&self) -> Option<&AccessList> {
        self.envelope.access_list()
    }

    /// EIP-7702.
    pub fn authorization_list(&self) -> Option<&[SignedAuthorization]> {
        self.envelope.authorization_list()
    }

    /// EIP-4844.
    pub fn blob_versioned_hashes(&self) -> Option<&[B256]> {
        self.envelope.blob_versioned_hashes()
    }

    /// Blobs, of blob transactions.
    pub fn blob_count(&self) -> Option<u64> {
        self.envelope.blob_count()
    }

    /// Gas of its blobs, of blob transactions.
    pub fn blob_gas_used(&self) -> Option<u64> {
        self.envelope.blob_gas_used()
    }

    /// Type, as the library names it.
    pub fn tx_type(&self) -> TxType {
        self.envelope.tx_type()
    }

    /// The sender's.
    pub fn signature(&self) -> &Signature {
        self.envelope.signature()
    }

    /// keccak256 of the EIP-2718 encoding.
    pub fn tx_hash(&self) -> &B256 {
        match &self.wide {
            Some(wide) => &wide.hash,
            None => self.envelope.tx_hash(),
        }
    }

    /// The same.
    pub fn hash(&self) -> &B256 {
        self.tx_hash()
    }

    /// What was signed.
    pub fn signature_hash(&self) -> B256 {
        match &self.wide {
            Some(wide) => wide.signature_hash,
            None => self.envelope.signature_hash(),
        }
    }

    /// The sender.
    ///
    /// # Errors
    /// No key answers to the signature, or its s is high (EIP-2).
    pub fn recover_signer(&self) -> Result<Address, RecoveryError> {
        match &self.wide {
            Some(wide) => secp256k1::recover_signer(self.signature(), wide.signature_hash),
            None => self.envelope.recover_signer(),
        }
    }

    /// The sender, with any s.
    ///
    /// # Errors
    /// No key answers to the signature.
    pub fn recover_signer_unchecked(&self) -> Result<Address, RecoveryError> {
        match &self.wide {
            Some(wide) => secp256k1::recover_signer_unchecked(self.signature(), wide.signature_hash),
            None => self.envelope.recover_signer_unchecked(),
        }
    }
}

fn with_prices(unsigned: Unsigned, prices: &Prices) -> Unsigned {
    let (price, tip) = (narrow(prices.fee), narrow(prices.tip.unwrap_or_default()));
    match unsigned {
        Unsigned::Legacy(tx) => TxLegacy { gas_price: price, ..tx }.into(),
        Unsigned::Eip2930(tx) => TxEip2930 { gas_price: price, ..tx }.into(),
        Unsigned::Eip1559(tx) => TxEip1559 { max_fee_per_gas: price, max_priority_fee_per_gas: tip, ..tx }.into(),
        Unsigned::Eip7702(tx) => TxEip7702 { max_fee_per_gas: price, max_priority_fee_per_gas: tip, ..tx }.into(),
        Unsigned::Eip4844(tx) => {
            let max_fee_per_blob_gas = narrow(prices.blob.unwrap_or_default());
            Unsigned::Eip4844(TxEip4844 { max_fee_per_gas: price, max_priority_fee_per_gas: tip, max_fee_per_blob_gas, ..tx })
        }
    }
}

impl From<Envelope> for Transaction {
    fn from(envelope: Envelope) -> Self {
        Self { envelope, wide: None }
    }
}

macro_rules! from_signed {
    ($($kind:ty),*) => {$(
        impl From<Signed<$kind>> for Transaction {
            fn from(signed: Signed<$kind>) -> Self {
                Envelope::from(signed).into()
            }
        }
    )*};
}

from_signed!(TxLegacy, TxEip2930, TxEip1559, TxEip4844, TxEip7702);

impl Typed2718 for Transaction {
    fn ty(&self) -> u8 {
        self.envelope.ty()
    }
}

impl Encodable2718 for Transaction {
    fn encode_2718_len(&self) -> usize {
        match &self.wide {
            Some(wide) => wide.length,
            None => self.envelope.encode_2718_len(),
        }
    }

    fn encode_2718(&self, out: &mut dyn BufMut) {
        match &self.wide {
            Some(wide) => out.put_slice(&widened(&self.envelope, &wide.prices)),
            None => self.envelope.encode_2718(out),
        }
    }
}

impl Decodable2718 for Transaction {
    fn typed_decode(kind: u8, buffer: &mut &[u8]) -> Eip2718Result<Self> {
        let mut whole = *buffer;
        match Envelope::typed_decode(kind, buffer) {
            Ok(envelope) => Ok(envelope.into()),
            Err(error) => {
                let read = decode_wide(kind, &mut whole).unwrap_or(Err(error))?;
                *buffer = whole;
                Ok(read)
            }
        }
    }

    fn fallback_decode(buffer: &mut &[u8]) -> Eip2718Result<Self> {
        let mut whole = *buffer;
        match Envelope::fallback_decode(buffer) {
            Ok(envelope) => Ok(envelope.into()),
            Err(error) => {
                let read = decode_wide(0, &mut whole).unwrap_or(Err(error))?;
                *buffer = whole;
                Ok(read)
            }
        }
    }
}

/// As an item of a list: a legacy transaction is a list, every other a string (EIP-2718).
impl Encodable for Transaction {
    fn encode(&self, out: &mut dyn BufMut) {
        match &self.wide {
            None => self.envelope.encode(out),
            Some(wide) => {
                if !self.is_legacy() {
                    RlpHeader { list: false, payload_length: wide.length }.encode(out);
                }
                self.encode_2718(out);
            }
        }
    }

    fn length(&self) -> usize {
        match &self.wide {
            None => self.envelope.length(),
            Some(wide) if self.is_legacy() => wide.length,
            Some(wide) => wide.length + alloy_rlp::length_of_length(wide.length),
        }
    }
}

impl Decodable for Transaction {
    fn decode(buffer: &mut &[u8]) -> RlpResult<Self> {
        Ok(Self::network_decode(buffer)?)
    }
}
