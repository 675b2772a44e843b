//! A validator that does not ask the rules on chain: it proposes transactions of accounts whatever these say of them. It is
//! the rules' administrator as well, and permits and forbids the accounts again and again, so that what was true a block ago
//! is not.

use std::sync::Arc;

use alloy_consensus::{SignableTransaction, TxLegacy};
use alloy_primitives::{Bytes, Signature, TxKind, U256};
use ipe_chain::{Bound, BuildOrder, Candidate};
use ipe_engine::PeerId;
use ipe_types::eth::EthMessage;
use ipe_types::{ExtraData, Message, NodeKey, Transaction};

use super::{Said, Scene, Villain, proposal_again};
use crate::setup::{ADMINISTRATOR, CHAIN_ID, GUESTS, RULES, class, key};

/// Its blocks hold, besides what they would, a transaction of each guest.
pub(super) fn speak(villain: &Villain, scene: &Scene<'_>, to: Vec<PeerId>, message: &Message) -> Vec<Said> {
    let plain = |to| vec![Said::plain(to, message)];
    let Message::Proposal(proposal) = message else { return plain(to) };
    let payload = proposal.signed.payload();
    let header = &payload.block.header;
    // What was prepared is another's block, whose transactions are as they are.
    if header.beneficiary != villain.key.address() || header.number != scene.height() || !proposal.prepares.is_empty() {
        return plain(to);
    }
    let Ok(extra) = ExtraData::decode(&header.extra_data) else { return plain(to) };
    let order = BuildOrder {
        timestamp: header.timestamp,
        coinbase: header.beneficiary,
        round: extra.round,
        vanity: extra.vanity,
        vote: extra.vote,
        min_gas_price: 0,
        target_gas_limit: None,
    };
    let guests = (0..GUESTS).filter_map(|number| visit(scene, number));
    let own = payload.block.body.transactions.iter().cloned();
    let mut candidates = own.chain(guests).filter_map(|tx| Candidate::recover(tx).ok()).map(Arc::new);
    let built = scene.ledger.build(&order, &mut |_| candidates.next(), Bound::NONE);
    let Ok(built) = built else { return plain(to) };
    match proposal_again(&villain.key, proposal, payload.round, Arc::clone(built.block())) {
        Some(message) => vec![Said::plain(to, &message)],
        None => plain(to),
    }
}

/// Permits or forbids one of the guests, and has all of them send something.
pub(super) fn act(villain: &mut Villain, scene: &Scene<'_>) -> Vec<Said> {
    let guest = villain.rng.below(GUESTS as u64) as usize;
    let mut input = [0u8; 64];
    input[12..32].copy_from_slice(key(class::GUEST, guest).address().as_slice());
    input[63] = u8::from(villain.rng.chance(500));
    let change = next(scene, &key(class::GUEST, ADMINISTRATOR), TxKind::Call(RULES), Bytes::from(input.to_vec()));
    let transactions = change.into_iter().chain((0..GUESTS).filter_map(|number| visit(scene, number))).collect();
    vec![Said::eth(scene.peers.clone(), EthMessage::Transactions(transactions))]
}

fn visit(scene: &Scene<'_>, guest: usize) -> Option<Transaction> {
    let key = key(class::GUEST, guest);
    next(scene, &key, TxKind::Call(key.address()), Bytes::new())
}

/// The next transaction of an account, by the head's state.
fn next(scene: &Scene<'_>, key: &NodeKey, to: TxKind, input: Bytes) -> Option<Transaction> {
    let account = scene.ledger.state().head().account(key.address()).ok()?;
    let nonce = account.map_or(0, |account| account.nonce);
    let tx = TxLegacy { chain_id: Some(CHAIN_ID), nonce, gas_price: 0, gas_limit: 100_000, to, value: U256::ZERO, input };
    let signed = key.sign(tx.signature_hash());
    let bytes = signed.as_slice();
    let signature =
        Signature::new(U256::from_be_slice(bytes.get(..32)?), U256::from_be_slice(bytes.get(32..64)?), *bytes.get(64)? == 1);
    Some(Transaction::from(tx.into_signed(signature)))
}
