//! Transactions that take long for little gas, or never end, from accounts without funds.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ipe_types::{NodeKey, Role, keccak256};
use serde_json::json;

use crate::forge;
use crate::peer::Claim;
use crate::rlp::Item;
use crate::siege::Siege;

/// Pause between two rounds of one transaction of every kind.
const PAUSE: Duration = Duration::from_millis(50);

/// Each kind with all gas of a block, again and again, from fresh accounts: to honest boots and writers as a peer, and to an
/// honest writer as a client.
pub async fn transactions(siege: Arc<Siege>) -> Result<(), String> {
    let mut peers = siege.connect(Role::Boot, Claim::Same)?;
    peers.extend(siege.connect(Role::Writer, Claim::Same)?);
    let rpc = siege.lab.honest_of(Role::Writer).next().ok_or("no writer")?.rpc;
    let chain_id = crate::rpc::quantity(&crate::rpc::ask(rpc, "eth_chainId", json!([]))?).ok_or("no chain id")?;
    let gas = loop {
        if let Some(head) = siege.head() {
            break head.header.gas_limit;
        }
        tokio::time::sleep(PAUSE).await;
    };
    let codes = codes();
    for salt in 0u64.. {
        let mut transactions = Vec::new();
        for (kind, code) in codes.iter().enumerate() {
            let seed = keccak256([salt.to_be_bytes(), (kind as u64).to_be_bytes()].concat());
            let key = NodeKey::from_bytes(seed.0).map_err(|error| error.to_string())?;
            transactions.push(forge::creation(0, chain_id, &key, gas, code));
        }
        let payload = Item::List(transactions.iter().map(|bytes| Item::parse(bytes)).collect()).encode();
        for peer in &peers {
            let said = peer.eth_bytes(0x02, &payload).await;
            siege.sent.fetch_add(u64::from(said), Ordering::Relaxed);
        }
        let raw: Vec<String> = transactions.iter().map(|bytes| format!("0x{}", hex::encode(bytes))).collect();
        // What is refused is refused: it has been said before, or this client has had its share.
        let said = move || {
            for raw in &raw {
                let _ = crate::rpc::ask(rpc, "eth_sendRawTransaction", json!([raw]));
            }
            Ok(raw.len())
        };
        crate::siege::blocking(said).await?;
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

/// Creation code of every kind.
fn codes() -> Vec<Vec<u8>> {
    let word = "ff".repeat(32);
    // Lengths 8, 32 and 8, then base, exponent and modulus of ones.
    let modexp = format!("6008600052602060205260086040527f{word}6060527f{word}608052");
    let texts = [
        // JUMPDEST, jump to it.
        "5b600056".to_owned(),
        // MODEXP of eight bytes, again and again.
        looping(&modexp, "6008610100609060006005 5afa50"),
        // Recovery of a key of nothing.
        looping("", "602061010060806000600 15afa50"),
        // Keccak-256 of 256 KiB.
        looping("", "620400006000 2050"),
        // A new slot each time: gas left is its place.
        looping("", "60015a55"),
        // An account each time, from a megabyte of code that is no code.
        looping("60fe620fffff53", "6210000060006000 f050"),
        // Two gigabytes of memory, where gas pays for them.
        "6001637fffffff52".to_owned(),
    ];
    texts.into_iter().map(|text| hex::decode(text.replace(' ', "")).expect("hex")).collect()
}

/// `begin`, then `body` again and again.
fn looping(begin: &str, body: &str) -> String {
    let begin = begin.replace(' ', "");
    // JUMPDEST … PUSH2 its place, JUMP.
    format!("{begin}5b{body}61{:04x}56", begin.len() / 2)
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_kind_is_code() {
        assert_eq!(super::codes().len(), 7);
    }
}
