//! Blocks, transactions, and what the store gives back.

use std::convert::Infallible;
use std::ops::ControlFlow;
use std::sync::{Arc, LazyLock};

use alloy_consensus::{TxEip1559, TxEip2930, TxEip4844, TxEip7702, TxLegacy};
use alloy_eips::eip2718::{Decodable2718, Encodable2718};
use alloy_primitives::{Bytes, Signature, U256};
use alloy_rlp::{Decodable, Encodable};
use arbitrary::Unstructured;
use ipe_chain::kv::{Batch, MemoryStore, Read as _, Store as _, Table};
use ipe_chain::ladder::RawBlock;
use ipe_chain::receipts::decode_stored;
use ipe_chain::trie::Record;
use ipe_chain::{BulkStep, Candidate, Ledger, Tally};
use ipe_types::header::{block_hash, raw_hash, with_round_and_seals};
use ipe_types::spec::ChainSpec;
use ipe_types::transaction::{Prices, Unsigned};
use ipe_types::{ExtraData, Header, Transaction};

use crate::events::{below, byte, short};
use crate::{Target, fixtures};

/// Extra data of a header.
pub(super) const EXTRA: Target = Target {
    name: "extra-data",
    about: "extra data of a header",
    longest: 4_096,
    memory: Some((16 << 10, 64)),
    seeds: || fixtures::blocks().iter().map(|block| block.header.extra_data.to_vec()).collect(),
    run: |input| {
        if let Ok(extra) = ExtraData::decode(input) {
            // Other clients' forms are read too (a drop vote as 00, items behind the seals), so bytes may differ.
            let again = ExtraData::decode(&extra.encode());
            assert_eq!(again.as_ref(), Ok(&extra), "what is written is read alike");
        }
    },
};

/// A header and its three hashes.
pub(super) const HEADER: Target = Target {
    name: "header",
    about: "a header and its hashes",
    longest: 4_096,
    memory: Some((32 << 10, 128)),
    seeds: || fixtures::blocks().iter().map(|block| alloy_rlp::encode(&block.header)).collect(),
    run: |input| {
        let mut rest = input;
        let Ok(header) = Header::decode(&mut rest) else { return };
        let read = &input[..input.len() - rest.len()];
        assert_eq!(alloy_rlp::encode(&header), read, "what is read is written alike, byte for byte");
        assert_eq!(raw_hash(&header), alloy_primitives::keccak256(read));
        // Block 0 is named by its bytes, whatever its extra data is.
        if header.number > 0
            && let Ok(hash) = block_hash(&header)
        {
            let other = with_round_and_seals(&header, 77, Vec::new()).expect("its extra data was read");
            assert_eq!(block_hash(&other).ok(), Some(hash), "the block hash knows neither round nor seals");
        }
    },
};

/// A block of any origin.
pub(super) const BLOCK: Target = Target {
    name: "block",
    about: "a block of a peer or an import file",
    longest: 16_384,
    memory: Some((64 << 10, 1_024)),
    seeds: || {
        let blocks = fixtures::blocks().into_iter().map(|block| block.to_rlp());
        blocks.filter(|bytes| bytes.len() <= 16_384).collect()
    },
    run: |input| {
        let Ok(block) = RawBlock(Bytes::copy_from_slice(input)).decode() else { return };
        assert_eq!(block.to_rlp(), input, "what is read is written alike, byte for byte");
        assert_eq!(block.length(), input.len());
    },
};

/// A transaction of each type with prices of 2^128 wei and more.
fn wide_prices() -> impl Iterator<Item = Vec<u8>> {
    let all = [
        Unsigned::from(TxLegacy { chain_id: Some(7), ..TxLegacy::default() }),
        TxLegacy::default().into(),
        TxEip2930::default().into(),
        TxEip1559::default().into(),
        TxEip7702::default().into(),
        Unsigned::Eip4844(TxEip4844::default()),
    ];
    let wide = U256::from(1) << 128;
    let prices = Prices { fee: U256::MAX, tip: Some(wide), blob: Some(wide + wide) };
    all.into_iter().map(move |unsigned| Transaction::sign(unsigned, prices, |_| Signature::test_signature()).encoded_2718())
}

/// A transaction as a client sends it.
pub(super) const TRANSACTION: Target = Target {
    name: "transaction",
    about: "a transaction of a client (EIP-2718)",
    longest: 8_192,
    memory: Some((32 << 10, 512)),
    seeds: || {
        let blocks = fixtures::blocks();
        let all = blocks.iter().flat_map(|block| &block.body.transactions).map(Encodable2718::encoded_2718);
        all.filter(|bytes| bytes.len() <= 8_192).chain(wide_prices()).collect()
    },
    run: |input| {
        let mut rest = input;
        let Ok(tx) = Transaction::decode_2718(&mut rest) else { return };
        let read = &input[..input.len() - rest.len()];
        let again = tx.encoded_2718();
        assert_eq!(again, read, "what is read is written alike, byte for byte");
        assert_eq!(*tx.tx_hash(), alloy_primitives::keccak256(&again));
        let sender = Candidate::recover(tx.clone()).map(|candidate| candidate.sender);
        let reread = Transaction::decode_2718(&mut &again[..]).expect("it was read before");
        assert_eq!(Candidate::recover(reread).map(|candidate| candidate.sender), sender, "the sender stays who it is");
    },
};

/// Records of single tables: trie, receipts, votes.
pub(super) const ROWS: Target = Target {
    name: "rows",
    about: "records of the store: trie, receipts, votes",
    longest: 8_192,
    memory: Some((64 << 10, 2_048)),
    seeds: || {
        let mut seeds = Vec::new();
        for (kind, table) in [(0, Table::AccountTrie), (1, Table::Receipts), (2, Table::Votes)] {
            STORED.rows.iter().filter(|row| row.0 == table && row.2.len() <= 8_000).take(12).for_each(|row| {
                seeds.push([&[kind][..], &row.2].concat());
            });
        }
        seeds
    },
    run: |input| {
        let Some((kind, row)) = input.split_first() else { return };
        match kind % 3 {
            0 => {
                if let Ok(record) = Record::decode(row) {
                    assert_eq!(Record::decode(&record.encode()).ok(), Some(record));
                }
            }
            1 => drop(decode_stored(row)),
            _ => {
                if let Ok(tally) = Tally::decode(row) {
                    assert_eq!(Tally::decode(&tally.encode()).ok(), Some(tally));
                }
            }
        }
    },
};

/// A ledger over a store of which some rows are damaged: errors, never a panic and never a block that is not the one asked
/// for.
pub(super) const STORE: Target = Target {
    name: "store",
    about: "a ledger over a damaged store",
    longest: 256,
    memory: None,
    seeds: || (0..Table::ALL.len() as u8).map(|table| vec![table, 0, 0, 0, 1, table, 1, 0, 2, 3]).collect(),
    run: damaged,
};

/// A recorded chain in a store.
struct Stored {
    spec: Arc<ChainSpec>,
    rows: Vec<(Table, Vec<u8>, Vec<u8>)>,
    height: u64,
}

static STORED: LazyLock<Stored> = LazyLock::new(|| {
    let (genesis, blocks) = fixtures::chain("besu-25.5.0-wire");
    let spec = Arc::new(ChainSpec::parse(&genesis).expect("a recorded genesis"));
    let store = Arc::new(MemoryStore::new());
    let ledger = Ledger::open(store.clone(), spec.clone()).expect("an empty store opens");
    let mut rest = &blocks[..];
    let mut raw = Vec::new();
    while !rest.is_empty() {
        let before = rest;
        ipe_types::Block::decode(&mut rest).expect("a recorded block");
        raw.push(Bytes::copy_from_slice(&before[..before.len() - rest.len()]));
    }
    let source = raw.into_iter().take(16).map(Ok::<_, Infallible>);
    let every = &mut |step: &BulkStep| matches!(step, BulkStep::Imported(_) | BulkStep::Skipped { .. });
    ledger.import_stream(source, 1_900_000_000_000, every).expect("a recorded chain");
    let mut rows = Vec::new();
    for table in Table::ALL {
        let visit = &mut |key: &[u8], value: &[u8]| {
            rows.push((table, key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        };
        store.range(table, &[], &[], false, visit).expect("memory reads");
    }
    Stored { spec, rows, height: ledger.head().number }
});

fn damaged(input: &[u8]) {
    let mut source = Unstructured::new(input);
    let mut rows = STORED.rows.clone();
    while !source.is_empty() {
        let table = Table::ALL[below(&mut source, Table::ALL.len())];
        let among: Vec<usize> = (0..rows.len()).filter(|row| rows[*row].0 == table).collect();
        let Some(row) = among.get(usize::from(byte(&mut source)) % among.len().max(1)) else { continue };
        let value = &mut rows[*row].2;
        let at = usize::from(short(&mut source)) % value.len().max(1);
        match byte(&mut source) % 4 {
            0 => value.truncate(at),
            1 => value.push(byte(&mut source)),
            2 => value.clear(),
            _ => {
                if let Some(place) = value.get_mut(at) {
                    *place ^= byte(&mut source);
                }
            }
        }
    }
    let store = Arc::new(MemoryStore::new());
    let mut batch = Batch::new();
    rows.iter().for_each(|(table, key, value)| batch.put(*table, key, value));
    store.commit(batch).expect("memory writes");
    let Ok(ledger) = Ledger::open(store, STORED.spec.clone()) else { return };
    for number in 0..=STORED.height + 1 {
        drop((ledger.header(number), ledger.body(number), ledger.receipts(number), ledger.hash_of(number)));
        drop((ledger.stored(number), ledger.votes_after(number), ledger.validators_for(number), ledger.total_difficulty(number)));
        if let Ok(Some(block)) = ledger.block(number)
            && let Some(first) = block.body.transactions.first()
        {
            drop(ledger.transaction(first.tx_hash()));
        }
        if let Ok(Some(mut replay)) = ledger.replay(number) {
            drop(replay.skip_to(usize::MAX));
        }
    }
}
