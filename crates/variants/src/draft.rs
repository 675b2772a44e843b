//! A block as its RLP items, so that it can be wrong in ways that a parsed one cannot.

use alloy_primitives::{Address, B256, Bytes, keccak256};
use alloy_rlp::{Decodable, Encodable, Header as RlpHeader};
use alloy_trie::root::ordered_trie_root_with_encoder;
use ipe_types::block::Block;
use ipe_types::extra::ExtraData;

use crate::chain::key;

/// Place of the coinbase among a header's items.
const COINBASE: usize = 2;
/// Place of the extra data.
const EXTRA: usize = 12;
/// Place of the nonce.
const NONCE: usize = 14;
/// Place of the transactions root.
const TRANSACTIONS_ROOT: usize = 4;

/// A block, item by item; each item is its RLP.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Header items in order.
    pub header: Vec<Bytes>,
    /// Transactions.
    pub transactions: Vec<Bytes>,
    /// Ommers.
    pub ommers: Vec<Bytes>,
    /// What follows the ommers: the list of withdrawals, or anything.
    pub rest: Vec<Bytes>,
}

/// RLP of a value.
pub fn rlp(value: impl Encodable) -> Bytes {
    alloy_rlp::encode(value).into()
}

/// RLP of a list of items that are encoded.
pub fn list(items: &[Bytes]) -> Bytes {
    let payload_length = items.iter().map(|item| item.len()).sum();
    let mut out = Vec::with_capacity(payload_length + 9);
    RlpHeader { list: true, payload_length }.encode(&mut out);
    items.iter().for_each(|item| out.extend_from_slice(item));
    out.into()
}

/// The items of an RLP list; empty when it is none.
fn items(mut bytes: &[u8]) -> Vec<Bytes> {
    let Ok(mut rest) = RlpHeader::decode_bytes(&mut bytes, true) else { return Vec::new() };
    let mut all = Vec::new();
    while !rest.is_empty() {
        let mut behind = rest;
        let Ok(head) = RlpHeader::decode(&mut behind) else { return Vec::new() };
        let length = rest.len() - behind.len() + head.payload_length;
        let Some((item, after)) = rest.split_at_checked(length) else { return Vec::new() };
        all.push(Bytes::copy_from_slice(item));
        rest = after;
    }
    all
}

/// The RLP of a block with another round in its extra data; one whose extra data cannot be read stays as it is.
pub fn in_round(block: &Bytes, round: u32) -> Bytes {
    let mut parts = items(block);
    let Some(header) = parts.first_mut() else { return block.clone() };
    let mut fields = items(header);
    let Some(item) = fields.get_mut(EXTRA) else { return block.clone() };
    let extra = RlpHeader::decode_bytes(&mut &item[..], false).ok().and_then(|bytes| ExtraData::decode(bytes).ok());
    let Some(extra) = extra else { return block.clone() };
    *item = rlp(&ExtraData { round, ..extra }.encode()[..]);
    *header = list(&fields);
    list(&parts)
}

/// The coinbase of an encoded block.
pub fn coinbase(block: &Bytes) -> Option<Address> {
    let header = items(block).into_iter().next()?;
    Address::decode(&mut &items(&header).get(COINBASE)?[..]).ok()
}

impl Draft {
    /// The items of a block.
    pub fn of(block: &Block) -> Self {
        let [header, transactions, ommers, rest @ ..] = &items(&block.to_rlp())[..] else {
            unreachable!("a block that was just encoded has three items or more")
        };
        Self { header: items(header), transactions: items(transactions), ommers: items(ommers), rest: rest.to_vec() }
    }

    /// Writes the root of the transactions into the header.
    pub fn with_transactions(mut self, transactions: Vec<Bytes>) -> Self {
        self.transactions = transactions;
        let root = ordered_trie_root_with_encoder(&self.transactions, |item: &Bytes, out: &mut Vec<u8>| {
            let mut bytes = &item[..];
            // A typed transaction stands in a string.
            match RlpHeader::decode(&mut bytes) {
                Ok(head) if !head.list => out.extend_from_slice(bytes),
                _ => out.extend_from_slice(item),
            }
        });
        self.header[TRANSACTIONS_ROOT] = rlp(root);
        self
    }

    /// Writes the nonce, 8 bytes.
    pub fn set_nonce(&mut self, nonce: &[u8]) {
        if let Some(item) = self.header.get_mut(NONCE) {
            *item = rlp(nonce);
        }
    }

    /// The block as it stands: what a proposal carries.
    pub fn proposal(&self) -> Bytes {
        self.encode(&self.header)
    }

    /// The block with the seals of three of the four validators at round 0, over the first `hashed` items of the header, or
    /// all. Nothing is sealed when the extra data does not decode.
    pub fn sealed(&self, hashed: Option<usize>) -> Bytes {
        let Some(hash) = self.commit_hash(hashed) else { return self.proposal() };
        let seals: Vec<Bytes> = (1..=3).map(|n| rlp(key(n).sign(hash).as_slice())).collect();
        let mut header = self.header.clone();
        let mut extra = items(&self.extra().unwrap_or_default());
        if let Some(place) = extra.get_mut(4) {
            *place = list(&seals);
        }
        header[EXTRA] = rlp(&list(&extra)[..]);
        self.encode(&header)
    }

    fn extra(&self) -> Option<Bytes> {
        let mut item = &self.header.get(EXTRA)?[..];
        RlpHeader::decode_bytes(&mut item, false).ok().map(Bytes::copy_from_slice)
    }

    fn commit_hash(&self, hashed: Option<usize>) -> Option<B256> {
        let mut extra = ExtraData::decode(&self.extra()?).ok()?;
        extra.seals.clear();
        let mut header = self.header.clone();
        header[EXTRA] = rlp(&extra.encode()[..]);
        header.truncate(hashed.unwrap_or(usize::MAX));
        Some(keccak256(list(&header)))
    }

    fn encode(&self, header: &[Bytes]) -> Bytes {
        let mut all = vec![list(header), list(&self.transactions), list(&self.ommers)];
        all.extend(self.rest.iter().cloned());
        list(&all)
    }
}
