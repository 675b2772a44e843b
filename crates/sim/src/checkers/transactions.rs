//! What a writer acknowledged: included once, in the order of nonces, and never lost after that.

use ipe_chain::Ledger;
use ipe_types::Block;

use crate::clients::{Clients, Sent};

/// Notes what a new block includes; with `strangers` it may be what no client sent.
pub(super) fn included(clients: &mut Clients, number: u64, block: &Block, strangers: bool) -> Vec<Result<(), String>> {
    let mut outcomes = Vec::new();
    for tx in &block.body.transactions {
        let hash = *tx.tx_hash();
        match clients.sent.get_mut(&hash) {
            // Offered, on its way already, and the writer died before it said so.
            None if strangers => {}
            None => outcomes.push(Err(format!("block {number} has transaction {hash}, which no client sent"))),
            Some(sent) => match sent.included {
                None => sent.included = Some(number),
                Some(before) => outcomes.push(Err(format!("transaction {hash} is in block {before} and in block {number}"))),
            },
        }
    }
    outcomes
}

/// Whether a node has everything that is in the chain up to its head, at its place; `most` of the latest are looked up.
pub(super) fn kept(name: &str, ledger: &Ledger, clients: &Clients, most: usize) -> Result<(), String> {
    let head = ledger.head().number;
    let mut included: Vec<_> =
        clients.sent.iter().filter_map(|(hash, sent)| Some((sent.included.filter(|at| *at <= head)?, hash))).collect();
    included.sort_unstable();
    for (number, hash) in included.into_iter().rev().take(most) {
        match ledger.position_of(hash) {
            Ok(Some(position)) if position.number == number => {}
            found => return Err(format!("{name} has lost transaction {hash} of block {number}: {found:?}")),
        }
    }
    Ok(())
}

/// Whether nothing waits any more that the writers `heard` acknowledged.
pub(super) fn all_included(clients: &Clients, heard: &[usize]) -> Result<(), String> {
    let waits = |sent: &Sent| sent.included.is_none() && heard.contains(&sent.writer);
    let waiting: Vec<_> = clients.sent.iter().filter(|(_, sent)| waits(sent)).collect();
    match waiting.first() {
        None => Ok(()),
        Some((hash, sent)) => Err(format!(
            "{} acknowledged transactions are in no block, among them {hash} with nonce {} of {}",
            waiting.len(),
            sent.nonce,
            sent.from
        )),
    }
}
