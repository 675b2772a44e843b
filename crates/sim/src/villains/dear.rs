//! An institution whose writer and boot send transactions that run long for the gas they name, or as long as their gas lasts,
//! from accounts that nobody has seen.

use alloy_primitives::hex;
use ipe_types::eth::EthMessage;

use super::flood::{creation, fresh};
use super::{Said, Scene, Villain};

/// JUMPDEST, jump to it.
const LOOP: &str = "5b600056";
/// MODEXP of eight ones to the power of 32 ones, again and again.
const MODEXP: &str = concat!(
    "6008600052602060205260086040527fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff6060527f",
    "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff6080525b60086101006090600060055afa50610057",
    "56"
);
/// Gas of those that are as small as anybody's.
const SMALL: u64 = 100_000;

pub(super) fn act(villain: &mut Villain, scene: &Scene<'_>) -> Vec<Said> {
    let whole = scene.ledger.head().header.gas_limit;
    let kinds = [(LOOP, whole), (MODEXP, whole), (MODEXP, whole / 100), (MODEXP, SMALL)];
    let transactions = kinds.into_iter().filter_map(|(code, gas)| {
        let code = hex::decode(code).ok()?;
        creation(&fresh(villain), 0, 0, gas, code)
    });
    let transactions = transactions.collect();
    villain.acts += 1;
    vec![Said::eth(scene.peers.clone(), EthMessage::Transactions(transactions))]
}

#[cfg(test)]
mod tests {
    /// Its jump goes to the JUMPDEST.
    #[test]
    fn the_loop_closes() {
        let code = alloy_primitives::hex::decode(super::MODEXP).unwrap();
        let at = usize::from(u16::from_be_bytes([code[code.len() - 3], code[code.len() - 2]]));
        assert_eq!((code[at], code.last()), (0x5b, Some(&0x56)));
    }
}
