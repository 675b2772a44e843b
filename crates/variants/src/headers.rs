//! Headers that are wrong in one field, and headers with other fields than the fork has.

use alloy_primitives::{Address, B64, B256, Bloom, Bytes, U256};
use ipe_chain::fields::FIELDS;
use ipe_types::block::Block;
use ipe_types::extra::ExtraData;
use ipe_types::fork::Fork;
use ipe_types::header::Header;

use crate::Variant;
use crate::draft::{Draft, rlp};

/// The header with one field as a villain may write it: absent, zero, one off, extreme, other. By the table of fields, so that
/// a field that is added there is missed here. Those that need what is behind them to be absent are in [`endings`].
pub fn spoiled(header: &Header, field: &str) -> Vec<(&'static str, Header)> {
    let mut all = Vec::new();
    macro_rules! set {
        ($what:literal, $field:ident, $value:expr) => {
            all.push(($what, Header { $field: $value, ..header.clone() }))
        };
    }
    macro_rules! hash {
        ($field:ident) => {{
            set!("zero", $field, B256::ZERO);
            set!("all ones", $field, B256::repeat_byte(0xff));
            let mut off = header.$field;
            off.0[31] ^= 1;
            set!("one bit off", $field, off);
        }};
    }
    macro_rules! number {
        ($field:ident) => {{
            set!("zero", $field, 0);
            set!("one more", $field, header.$field.wrapping_add(1));
            set!("one less", $field, header.$field.wrapping_sub(1));
            set!("half", $field, header.$field / 2);
            set!("2^63", $field, 1 << 63);
            set!("2^64 − 1", $field, u64::MAX);
        }};
    }
    macro_rules! optional_number {
        ($field:ident) => {{
            if let Some(value) = header.$field {
                set!("zero", $field, Some(0));
                set!("one more", $field, Some(value.wrapping_add(1)));
                set!("one less", $field, Some(value.wrapping_sub(1)));
                set!("2^44", $field, Some(1 << 44));
                set!("2^63", $field, Some(1 << 63));
                set!("2^64 − 1", $field, Some(u64::MAX));
            }
        }};
    }
    macro_rules! optional_hash {
        ($field:ident) => {{
            if header.$field.is_some() {
                set!("zero", $field, Some(B256::ZERO));
                set!("all ones", $field, Some(B256::repeat_byte(0xff)));
            }
        }};
    }
    match field {
        "parentHash" => hash!(parent_hash),
        "sha3Uncles" => hash!(ommers_hash),
        "miner" => {
            set!("zero", beneficiary, Address::ZERO);
            set!("a stranger", beneficiary, Address::repeat_byte(0xff));
            for (what, number) in [("validator 1", 1), ("validator 2", 2), ("validator 3", 3), ("validator 4", 4)] {
                all.push((what, Header { beneficiary: crate::chain::key(number).address(), ..header.clone() }));
            }
        }
        "stateRoot" => hash!(state_root),
        "transactionsRoot" => hash!(transactions_root),
        "receiptsRoot" => hash!(receipts_root),
        "logsBloom" => set!("all ones", logs_bloom, Bloom::repeat_byte(0xff)),
        "difficulty" => {
            set!("zero", difficulty, U256::ZERO);
            set!("one more", difficulty, U256::from(2));
            set!("2^256 − 1", difficulty, U256::MAX);
        }
        "number" => number!(number),
        "gasLimit" => {
            number!(gas_limit);
            let step = header.gas_limit / 1024;
            set!("a step up", gas_limit, header.gas_limit + step - 1);
            set!("a step down", gas_limit, header.gas_limit - step + 1);
            set!("a step too far up", gas_limit, header.gas_limit + step);
            set!("a step too far down", gas_limit, header.gas_limit - step);
        }
        "gasUsed" => number!(gas_used),
        "timestamp" => {
            number!(timestamp);
            set!("a later time", timestamp, header.timestamp + 1_000);
        }
        "extraData" => {
            let extra = ExtraData::decode(&header.extra_data).unwrap_or_default();
            let with = |change: &dyn Fn(&mut ExtraData)| {
                let mut changed = extra.clone();
                change(&mut changed);
                changed.encode()
            };
            set!("absent", extra_data, Bytes::new());
            set!("a vanity of 31 bytes", extra_data, with(&|extra| extra.vanity = vec![0; 31].into()));
            set!("a vanity of 33 bytes", extra_data, with(&|extra| extra.vanity = vec![0; 33].into()));
            set!("no vanity", extra_data, with(&|extra| extra.vanity = Bytes::new()));
            set!("a vanity of 1,025 bytes", extra_data, with(&|extra| extra.vanity = vec![0; 1025].into()));
            set!("a validator less", extra_data, with(&|extra| extra.validators.truncate(3)));
            set!("a validator more", extra_data, with(&|extra| extra.validators.push(Address::repeat_byte(0xff))));
            set!("no validators", extra_data, with(&|extra| extra.validators.clear()));
        }
        "mixHash" => hash!(mix_hash),
        "nonce" => {
            set!("one", nonce, B64::with_last_byte(1));
            set!("all ones", nonce, B64::repeat_byte(0xff));
        }
        "baseFeePerGas" => optional_number!(base_fee_per_gas),
        "withdrawalsRoot" => optional_hash!(withdrawals_root),
        "blobGasUsed" => optional_number!(blob_gas_used),
        "excessBlobGas" => optional_number!(excess_blob_gas),
        "parentBeaconBlockRoot" => optional_hash!(parent_beacon_block_root),
        "requestsHash" => optional_hash!(requests_hash),
        "blockAccessListHash" | "slotNumber" => {}
        other => unreachable!("no villain for field {other}"),
    }
    let mut seen = Vec::new();
    all.retain(|(_, changed)| {
        let new = changed != header && !seen.contains(changed);
        seen.push(changed.clone());
        new
    });
    all
}

/// Every field of the good block in every way.
pub fn fields(good: &Block) -> Vec<Variant> {
    let mut all = Vec::new();
    for field in FIELDS {
        for (what, header) in spoiled(&good.header, field.name) {
            let draft = Draft::of(&Block { header, body: good.body.clone() });
            all.push(Variant::new(format!("{} {what}", field.name), &draft));
        }
    }
    all
}

/// The header ended early and late, and with items that a parsed header cannot have. The base fee of a good block without
/// transactions, so that nothing else changes.
pub fn endings(empty: &Block, fork: Fork) -> Vec<Variant> {
    let good = Draft::of(empty);
    let (length, mut all) = (good.header.len(), Vec::new());
    for field in ["miner", "baseFeePerGas"] {
        for (what, header) in spoiled(&empty.header, field) {
            let draft = Draft::of(&Block { header, body: empty.body.clone() });
            all.push(Variant::new(format!("empty, {field} {what}"), &draft));
        }
    }
    for count in 15..length {
        let mut draft = good.clone();
        draft.header.truncate(count);
        if count < 17 && fork >= Fork::Shanghai {
            draft.rest.clear();
        }
        all.push(Variant::new(format!("header of {count} items"), &draft));
        // Without its partner blobGasUsed is no part of what Besu hashes.
        if count == 18 {
            all.push(Variant::hashed(format!("header of {count} items, sealed as one of 17"), &draft, 17));
        }
    }
    let hash = rlp(B256::repeat_byte(0x11));
    let more = [rlp(7u64), rlp(ipe_types::header::EMPTY_ROOT), rlp(0u64), rlp(0u64), rlp(B256::ZERO)];
    let more: Vec<Bytes> = more.into_iter().chain([rlp(ipe_chain::system::NO_REQUESTS_HASH), hash, rlp(7u64), rlp(7u64)]).collect();
    for count in length + 1..=24 {
        let mut draft = good.clone();
        draft.header.extend(more.iter().skip(length - 15).take(count - length).cloned());
        all.push(Variant::new(format!("header of {count} items"), &draft));
    }
    if length > 16 {
        let mut draft = good.clone();
        draft.header[16] = Bytes::from_static(&[0x80]);
        draft.rest.clear();
        all.push(Variant::hashed("withdrawalsRoot an empty string".to_owned(), &draft, 16));
        draft.header.truncate(17);
        all.push(Variant::hashed("withdrawalsRoot an empty string, and the last item".to_owned(), &draft, 16));
    }
    if length > 15 {
        let mut draft = good.clone();
        draft.header[15] = rlp(U256::from(1) << 64);
        all.push(Variant::new("baseFeePerGas 2^64".to_owned(), &draft));
    }
    for (name, at) in [("gasLimit", 9), ("timestamp", 11)] {
        let mut draft = good.clone();
        let item = &draft.header[at];
        let mut padded = vec![item[0] + 1, 0];
        padded.extend_from_slice(&item[1..]);
        draft.header[at] = padded.into();
        all.push(Variant::new(format!("{name} with a leading zero"), &draft));
    }
    all
}

/// The lists of the block: transactions, ommers, withdrawals, and what has no place in it.
pub fn lists(good: &Block, fork: Fork) -> Vec<Variant> {
    let (base, mut all) = (Draft::of(good), Vec::new());
    let mut with = |name: &str, draft: Draft| all.push(Variant::new(name.to_owned(), &draft));
    let transactions = base.transactions.clone();
    let without_last = transactions[..transactions.len() - 1].to_vec();
    let twice: Vec<Bytes> = transactions.iter().chain(transactions.first()).cloned().collect();
    let turned: Vec<Bytes> = transactions.iter().rev().cloned().collect();
    with("transactions without the last", base.clone().with_transactions(without_last.clone()));
    with("transactions without the last, root as before", Draft { transactions: without_last, ..base.clone() });
    with("transactions with the first again", base.clone().with_transactions(twice));
    with("transactions in the other order", base.clone().with_transactions(turned));
    with("no transactions, root as before", Draft { transactions: Vec::new(), ..base.clone() });
    with("a transaction that is an empty string", base.clone().with_transactions(vec![Bytes::from_static(&[0x80])]));
    if let Some(legacy) = transactions.first().filter(|item| item[0] >= 0xc0) {
        let mut as_string = transactions.clone();
        as_string[0] = rlp(&legacy[..]);
        with("a legacy transaction as a string", Draft { transactions: as_string, ..base.clone() });
    }
    let header = crate::draft::list(&base.header);
    let mut ommer = base.clone();
    ommer.ommers = vec![header.clone()];
    with("an ommer, hash as before", ommer.clone());
    ommer.header[1] = rlp(alloy_primitives::keccak256(crate::draft::list(&[header])));
    with("an ommer", ommer);
    let withdrawal = ipe_types::block::Withdrawal { index: 0, validator_index: 0, address: Address::repeat_byte(0xee), amount: 1 };
    let paid = crate::draft::list(&[rlp(withdrawal)]);
    if fork >= Fork::Shanghai {
        with("no list of withdrawals", Draft { rest: Vec::new(), ..base.clone() });
        with("a withdrawal, root as before", Draft { rest: vec![paid.clone()], ..base.clone() });
        let mut rooted = Draft { rest: vec![paid], ..base.clone() };
        rooted.header[16] = rlp(alloy_consensus::proofs::calculate_withdrawals_root(&[withdrawal]));
        with("a withdrawal, state as before", rooted);
    } else {
        with("an empty list of withdrawals", Draft { rest: vec![Bytes::from_static(&[0xc0])], ..base.clone() });
    }
    let mut more = base.clone();
    more.rest.extend([Bytes::from_static(&[0xc0]), Bytes::from_static(&[0xc0])]);
    with("two lists more", more);
    all
}
