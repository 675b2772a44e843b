//! Answers to what peers ask of the chain and the pool. Reads only, so the shell may answer outside the replica's thread.

use std::sync::Arc;

use alloy_eips::eip2718::Encodable2718;
use alloy_rlp::Encodable;
use ipe_chain::{Candidate, Ledger};
use ipe_types::B256;
use ipe_types::eth::{
    EthMessage, HeadersQuery, HeadersStart, MAX_BODIES_SERVED, MAX_HEADERS_SERVED, MAX_POOLED_SERVED,
    MAX_RECEIPTS_SERVED, MAX_TRANSACTIONS_BYTES, SOFT_ANSWER_BYTES,
};
use ipe_types::header::Header;

/// The answer to a request; `None` when the message is not one. What cannot be read is left out, as if it were unknown:
/// the asker turns to somebody else.
pub fn answer(
    ledger: &Ledger,
    pooled: &dyn Fn(&B256) -> Option<Arc<Candidate>>,
    request: &EthMessage,
) -> Option<EthMessage> {
    Some(match request {
        EthMessage::GetBlockHeaders { request_id, query } => {
            EthMessage::BlockHeaders { request_id: *request_id, headers: headers(ledger, query) }
        }
        EthMessage::GetBlockBodies { request_id, hashes } => {
            let found = hashes.iter().take(MAX_BODIES_SERVED).filter_map(|hash| {
                let number = ledger.number_of(hash).ok()??;
                ledger.body(number).ok()?
            });
            EthMessage::BlockBodies { request_id: *request_id, bodies: limited(found, SOFT_ANSWER_BYTES, Encodable::length) }
        }
        EthMessage::GetReceipts { request_id, hashes } => {
            let found = hashes.iter().take(MAX_RECEIPTS_SERVED).filter_map(|hash| {
                let number = ledger.number_of(hash).ok()??;
                let receipts = ledger.receipts(number).ok()??;
                Some(receipts.as_ref().clone())
            });
            let size = |receipts: &Vec<_>| receipts.iter().map(Encodable2718::encode_2718_len).sum();
            EthMessage::Receipts { request_id: *request_id, receipts: limited(found, SOFT_ANSWER_BYTES, size) }
        }
        EthMessage::GetPooledTransactions { request_id, hashes } => {
            let found = hashes.iter().take(MAX_POOLED_SERVED).filter_map(|hash| Some(pooled(hash)?.tx.clone()));
            let transactions = limited(found, MAX_TRANSACTIONS_BYTES, Encodable2718::encode_2718_len);
            EthMessage::PooledTransactions { request_id: *request_id, transactions }
        }
        _ => return None,
    })
}

fn headers(ledger: &Ledger, query: &HeadersQuery) -> Vec<Header> {
    let first = match query.start {
        HeadersStart::Number(number) => Some(number),
        HeadersStart::Hash(hash) => ledger.number_of(&hash).ok().flatten(),
    };
    let count = usize::try_from(query.limit).unwrap_or(usize::MAX).min(MAX_HEADERS_SERVED);
    let Some(step) = query.skip.checked_add(1) else {
        let only = first.and_then(|number| ledger.header(number).ok().flatten());
        return only.into_iter().take(count).map(|header| header.as_ref().clone()).collect();
    };
    let after = |number: &u64| if query.reverse { number.checked_sub(step) } else { number.checked_add(step) };
    let found = std::iter::successors(first, after)
        .take(count)
        .map_while(|number| Some(ledger.header(number).ok()??.as_ref().clone()));
    limited(found, SOFT_ANSWER_BYTES, Encodable::length)
}

/// Items until their sizes reach `bytes`; at least one, since none would look like not having it.
fn limited<T>(items: impl Iterator<Item = T>, bytes: usize, size: impl Fn(&T) -> usize) -> Vec<T> {
    let mut total = 0;
    let mut taken = Vec::new();
    for item in items {
        total += size(&item);
        if total > bytes && !taken.is_empty() {
            break;
        }
        taken.push(item);
    }
    taken
}
