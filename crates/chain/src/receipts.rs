//! Receipts: the consensus form with bloom, and a compact form for the disk.

use alloy_consensus::{Eip658Value, ReceiptEnvelope, ReceiptWithBloom, TxReceipt, TxType, Typed2718};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, Bloom, BloomInput, Bytes, Log, map::HashMap};
use alloy_rlp::{BufMut, Decodable, Encodable, Header as RlpHeader};

/// A receipt of any transaction type: status (or intermediate root before Byzantium), cumulative gas, bloom, logs.
pub type Receipt = ReceiptEnvelope;

/// Envelope of a receipt for a transaction of type `kind`.
pub fn receipt(kind: TxType, outcome: Eip658Value, cumulative_gas_used: u64, logs: Vec<Log>, bloom: Bloom) -> Receipt {
    let inner = alloy_consensus::Receipt { status: outcome, cumulative_gas_used, logs };
    let receipt = ReceiptWithBloom { receipt: inner, logs_bloom: bloom };
    match kind {
        TxType::Legacy => ReceiptEnvelope::Legacy(receipt),
        TxType::Eip2930 => ReceiptEnvelope::Eip2930(receipt),
        TxType::Eip1559 => ReceiptEnvelope::Eip1559(receipt),
        TxType::Eip4844 => ReceiptEnvelope::Eip4844(receipt),
        TxType::Eip7702 => ReceiptEnvelope::Eip7702(receipt),
    }
}

/// Gas used by each transaction, from the cumulative values.
pub fn gas_used(receipts: &[Receipt]) -> Vec<u64> {
    let mut before = 0;
    receipts
        .iter()
        .map(|receipt| {
            let total = receipt.cumulative_gas_used();
            let used = total.saturating_sub(before);
            before = total;
            used
        })
        .collect()
}

/// The bytes that the receipts root hashes: type byte, then RLP with bloom.
pub fn consensus_bytes(receipt: &Receipt) -> Bytes {
    receipt.encoded_2718().into()
}

/// The bytes of eth/66–68 and of Besu's `debug_getRawReceipts`: as [`consensus_bytes`], a typed receipt wrapped in an RLP
/// string.
pub fn network_bytes(receipt: &Receipt) -> Bytes {
    alloy_rlp::encode(receipt).into()
}

/// Root of the receipts trie.
pub fn root(receipts: &[Receipt]) -> B256 {
    alloy_consensus::proofs::calculate_receipt_root(receipts)
}

/// Entries of the bloom cache of one block. A block's logs name few emitters and event signatures, and many accounts once.
const BLOOM_CACHE: usize = 1024;

/// Blooms of a block's logs. The same addresses and topics come again and again, so their hashes are remembered.
#[derive(Default)]
pub struct BloomMaker {
    known: HashMap<B256, Bloom>,
    block: Bloom,
}

impl BloomMaker {
    /// Bloom of the logs of one transaction; also joined to the block's.
    pub fn of(&mut self, logs: &[Log]) -> Bloom {
        let mut bloom = Bloom::ZERO;
        for log in logs {
            self.add(&mut bloom, log.address.into_word(), log.address.as_slice());
            for topic in log.topics() {
                self.add(&mut bloom, *topic, topic.as_slice());
            }
        }
        if !logs.is_empty() {
            self.block |= bloom;
        }
        bloom
    }

    /// Bloom of all logs so far.
    pub fn block(&self) -> Bloom {
        self.block
    }

    /// An address is remembered under its 20 bytes with zeros in front: a topic with the same 32 bytes is another item with
    /// other bits, so addresses and topics are kept apart by the first byte.
    fn add(&mut self, bloom: &mut Bloom, word: B256, item: &[u8]) {
        let key = if item.len() == 20 { mark_address(word) } else { word };
        if item.len() == 32 && word[0] == ADDRESS_MARK {
            bloom.accrue(BloomInput::Raw(item));
            return;
        }
        if let Some(known) = self.known.get(&key) {
            *bloom |= *known;
            return;
        }
        let mut one = Bloom::ZERO;
        one.accrue(BloomInput::Raw(item));
        *bloom |= one;
        if self.known.len() < BLOOM_CACHE {
            self.known.insert(key, one);
        }
    }
}

const ADDRESS_MARK: u8 = 0xA5;

fn mark_address(mut word: B256) -> B256 {
    word[0] = ADDRESS_MARK;
    word
}

/// The disk form of a block's receipts: senders (20 bytes each, so that no query recovers them again), then per receipt
/// type, outcome, gas used and logs. Blooms are computed again when read; they are most of a receipt's bytes.
pub fn encode_stored(receipts: &[Receipt], senders: &[Address]) -> Vec<u8> {
    let mut body = Vec::with_capacity(receipts.len() * 200);
    for (receipt, gas) in receipts.iter().zip(gas_used(receipts)) {
        encode_one(receipt, gas, &mut body);
    }
    let mut out = Vec::with_capacity(body.len() + senders.len() * 20 + 8);
    let mut flat = Vec::with_capacity(senders.len() * 20);
    for sender in senders {
        flat.extend_from_slice(sender.as_slice());
    }
    flat.as_slice().encode(&mut out);
    out.extend_from_slice(&body);
    out
}

fn encode_one(receipt: &Receipt, gas: u64, out: &mut Vec<u8>) {
    let outcome: Bytes = match receipt.status_or_post_state() {
        Eip658Value::Eip658(status) => {
            if status {
                Bytes::from_static(&[1])
            } else {
                Bytes::new()
            }
        }
        Eip658Value::PostState(root) => Bytes::copy_from_slice(root.as_slice()),
    };
    let kind = receipt.ty();
    let logs_length: usize = receipt.logs().iter().map(log_length).sum();
    let logs_header = RlpHeader { list: true, payload_length: logs_length };
    let payload_length = kind.length() + outcome.length() + gas.length() + logs_header.length_with_payload();
    RlpHeader { list: true, payload_length }.encode(out);
    kind.encode(out);
    outcome.encode(out);
    gas.encode(out);
    logs_header.encode(out);
    for log in receipt.logs() {
        encode_log(log, out);
    }
}

/// `[address, topics joined, data]`, without the two inner headers a log would have.
fn log_payload(log: &Log) -> usize {
    log.address.length() + joined_length(log.topics()) + log.data.data.length()
}

fn joined_length(topics: &[B256]) -> usize {
    RlpHeader { list: false, payload_length: topics.len() * 32 }.length_with_payload()
}

fn log_length(log: &Log) -> usize {
    RlpHeader { list: true, payload_length: log_payload(log) }.length_with_payload()
}

fn encode_log(log: &Log, out: &mut Vec<u8>) {
    RlpHeader { list: true, payload_length: log_payload(log) }.encode(out);
    log.address.encode(out);
    RlpHeader { list: false, payload_length: log.topics().len() * 32 }.encode(out);
    for topic in log.topics() {
        out.put_slice(topic.as_slice());
    }
    log.data.data.encode(out);
}

/// Receipts and senders of a block, read back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// With blooms.
    pub receipts: Vec<Receipt>,
    /// Senders of the transactions.
    pub senders: Vec<Address>,
}

/// Reads what [`encode_stored`] wrote.
///
/// # Errors
/// Bytes that it cannot have written.
pub fn decode_stored(mut bytes: &[u8]) -> Result<Stored, alloy_rlp::Error> {
    let senders = decode_senders(&mut bytes)?;
    let mut receipts = Vec::with_capacity(senders.len());
    let mut blooms = BloomMaker::default();
    let mut cumulative = 0u64;
    while !bytes.is_empty() {
        receipts.push(decode_one(&mut bytes, &mut cumulative, &mut blooms)?);
    }
    Ok(Stored { receipts, senders })
}

/// Only the senders, without reading the receipts behind them.
///
/// # Errors
/// As [`decode_stored`].
pub fn decode_senders(bytes: &mut &[u8]) -> Result<Vec<Address>, alloy_rlp::Error> {
    let flat = RlpHeader::decode_bytes(bytes, false)?;
    if flat.len() % 20 != 0 {
        return Err(alloy_rlp::Error::Custom("senders are not whole addresses"));
    }
    Ok(flat.chunks_exact(20).map(Address::from_slice).collect())
}

fn decode_one(bytes: &mut &[u8], cumulative: &mut u64, blooms: &mut BloomMaker) -> Result<Receipt, alloy_rlp::Error> {
    let mut items = RlpHeader::decode_bytes(bytes, true)?;
    let kind = TxType::try_from(u8::decode(&mut items)?).map_err(|_| alloy_rlp::Error::Custom("receipt type"))?;
    let outcome = match RlpHeader::decode_bytes(&mut items, false)? {
        [] => Eip658Value::Eip658(false),
        [1] => Eip658Value::Eip658(true),
        root if root.len() == 32 => Eip658Value::PostState(B256::from_slice(root)),
        _ => return Err(alloy_rlp::Error::Custom("receipt outcome")),
    };
    *cumulative = cumulative.saturating_add(u64::decode(&mut items)?);
    let mut list = RlpHeader::decode_bytes(&mut items, true)?;
    let mut logs = Vec::new();
    while !list.is_empty() {
        logs.push(decode_log(&mut list)?);
    }
    let bloom = blooms.of(&logs);
    Ok(receipt(kind, outcome, *cumulative, logs, bloom))
}

fn decode_log(bytes: &mut &[u8]) -> Result<Log, alloy_rlp::Error> {
    let mut items = RlpHeader::decode_bytes(bytes, true)?;
    let address = Address::decode(&mut items)?;
    let joined = RlpHeader::decode_bytes(&mut items, false)?;
    if joined.len() % 32 != 0 {
        return Err(alloy_rlp::Error::Custom("topics are not whole words"));
    }
    let topics = joined.chunks_exact(32).map(B256::from_slice).collect();
    let data = Bytes::decode(&mut items)?;
    Log::new(address, topics, data).ok_or(alloy_rlp::Error::Custom("more than four topics"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn sample() -> Vec<Receipt> {
        let log = |n: u8| {
            let topics = (0..n).map(|t| B256::repeat_byte(t + 1)).collect();
            Log::new_unchecked(Address::repeat_byte(n), topics, Bytes::from(vec![n; 70]))
        };
        let mut blooms = BloomMaker::default();
        let mut make = |kind, outcome, gas, logs: Vec<Log>| {
            let bloom = blooms.of(&logs);
            receipt(kind, outcome, gas, logs, bloom)
        };
        vec![
            make(TxType::Legacy, Eip658Value::Eip658(true), 21_000, vec![]),
            make(TxType::Eip1559, Eip658Value::Eip658(false), 50_000, vec![log(0), log(4)]),
            make(TxType::Eip7702, Eip658Value::PostState(B256::repeat_byte(9)), 90_000, vec![log(2); 3]),
        ]
    }

    #[test]
    fn the_stored_form_reads_back() {
        let receipts = sample();
        let senders = vec![Address::repeat_byte(1), Address::repeat_byte(2), Address::repeat_byte(3)];
        let stored = decode_stored(&encode_stored(&receipts, &senders)).unwrap();
        assert_eq!(stored, Stored { receipts, senders });
    }

    #[test]
    fn blooms_are_those_of_the_reference() {
        // A topic that looks like a marked address must not be mixed up with it.
        let address = Address::repeat_byte(0x11);
        let mut twin = address.into_word();
        twin[0] = ADDRESS_MARK;
        let logs = vec![
            Log::new_unchecked(address, vec![twin, address.into_word()], Bytes::new()),
            Log::new_unchecked(Address::repeat_byte(7), vec![twin], Bytes::new()),
        ];
        let mut maker = BloomMaker::default();
        let expected = alloy_primitives::logs_bloom(logs.iter());
        assert_eq!(maker.of(&logs), expected);
        assert_eq!(maker.of(&logs), expected);
        assert_eq!(maker.block(), expected);
    }

    #[test]
    fn damaged_bytes_are_an_error() {
        let bytes = encode_stored(&sample(), &[Address::ZERO; 3]);
        for cut in 1..bytes.len() {
            let _ = decode_stored(&bytes[..cut]);
        }
        assert!(decode_stored(&[0x84, 1, 2, 3, 4]).is_err());
    }
}
