//! Transactions that leave something of every kind in a block: value, a contract with storage and a log, a failure.

use crate::network::{Network, Node, key};
use crate::rpc::quantity;
use alloy_consensus::{EthereumTxEnvelope, SignableTransaction, TxEip4844, TxLegacy};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256};
use ipe_types::crypto::NodeKey;
use serde_json::json;

/// First of the key numbers that are accounts; nodes use the ones below.
const ACCOUNTS: usize = 100;

/// Funded accounts of a network, one for each node that may submit.
pub const COUNT: usize = 8;

/// Creation code: stores 42 at 0, logs 32 zero bytes, and leaves a contract that always reverts.
const CREATION: &str = "602a60005560206000a06460006000fd6000526005601bf3";

/// Key of funded account `index`.
pub fn account(index: usize) -> Result<NodeKey, String> {
    key(ACCOUNTS + index)
}

/// What was submitted: hash, and whether it succeeds.
pub type Submitted = (B256, bool);

/// Submits to one node, from the account of the same number: a transfer, a creation, and a call of what was created.
///
/// A node that was just started may refuse for some seconds (Besu opens its pool when it is in sync), so it is asked
/// until it takes each.
pub fn submit(network: &mut Network, at: usize) -> Result<Vec<Submitted>, String> {
    let node = &network.nodes[at];
    let sender = account(at)?;
    let first = node.ask("eth_getTransactionCount", json!([sender.address(), "pending"]))?;
    let first = quantity(&first).ok_or_else(|| format!("eth_getTransactionCount is {first}"))?;
    let code = Bytes::from(hex::decode(CREATION).map_err(|error| error.to_string())?);
    let created = sender.address().create(first + 1);
    let calls = [
        (TxKind::Call(Address::repeat_byte(0x77)), U256::from(1_000 + first), Bytes::new(), true),
        (TxKind::Create, U256::ZERO, code, true),
        (TxKind::Call(created), U256::ZERO, Bytes::new(), false),
    ];
    let mut submitted = Vec::new();
    for (nonce, (to, value, input, succeeds)) in (first..).zip(calls) {
        let mut hash = None;
        network.until(&format!("node {at} takes a transaction"), |network| {
            hash = Some(send(&network.nodes[at], &sender, nonce, to, value, input.clone())?);
            Ok(true)
        })?;
        submitted.extend(hash.map(|hash| (hash, succeeds)));
    }
    Ok(submitted)
}

fn send(node: &Node, key: &NodeKey, nonce: u64, to: TxKind, value: U256, input: Bytes) -> Result<B256, String> {
    let chain_id = Some(node.place.chain_id);
    let tx = TxLegacy { chain_id, nonce, gas_price: 0, gas_limit: 200_000, to, value, input };
    let signature = key.sign(tx.signature_hash());
    let bytes = signature.as_slice();
    let signature = Signature::new(U256::from_be_slice(&bytes[..32]), U256::from_be_slice(&bytes[32..64]), bytes[64] == 1);
    let tx: EthereumTxEnvelope<TxEip4844> = tx.into_signed(signature).into();
    node.ask("eth_sendRawTransaction", json!([format!("0x{}", hex::encode(tx.encoded_2718()))]))?;
    Ok(*tx.tx_hash())
}

/// Waits until every running node has these in a block, with the expected outcome.
pub fn mined(network: &mut Network, submitted: &[Submitted]) -> Result<(), String> {
    let up = network.up();
    network.until(&format!("{} transactions are in a block on every node", submitted.len()), |network| {
        for &at in &up {
            for (hash, succeeds) in submitted {
                let receipt = network.nodes[at].ask("eth_getTransactionReceipt", json!([hash]))?;
                if receipt.is_null() {
                    return Ok(false);
                }
                if quantity(&receipt["status"]) != Some(u64::from(*succeeds)) {
                    return Err(format!("{}: receipt of {hash}: {receipt}", network.nodes[at].place.name));
                }
            }
        }
        Ok(true)
    })
}
