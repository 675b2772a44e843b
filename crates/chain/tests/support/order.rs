//! What an honest proposer orders, for tests and benches.

use alloy_primitives::Bytes;
use ipe_chain::{BuildOrder, Head};

/// The block after `head`, a second later, by whose turn it is in round 0.
pub fn next(head: &Head) -> BuildOrder {
    BuildOrder {
        timestamp: head.header.timestamp + 1,
        coinbase: head.validators_next.proposer(head.header.beneficiary, 0).unwrap(),
        round: 0,
        vanity: Bytes::from(vec![0; 32]),
        vote: None,
        min_gas_price: 0,
        target_gas_limit: None,
    }
}
