//! Every transaction of a final block was permitted by the rules as they were after the block before: told from the blocks
//! alone, without EVM and ledger.

use std::collections::BTreeSet;

use alloy_primitives::{Address, U256};
use ipe_chain::Imported;

use crate::setup::RULES;

/// Who is permitted after the newest block; `None` where there are no rules.
pub(super) struct Permitted(Option<BTreeSet<Address>>);

impl Permitted {
    /// Those of the genesis.
    pub(super) fn new(first: Option<Vec<Address>>) -> Self {
        Self(first.map(|first| first.into_iter().collect()))
    }

    /// The next final block.
    pub(super) fn block(&mut self, imported: &Imported) -> Result<(), String> {
        let Some(permitted) = &mut self.0 else { return Ok(()) };
        let mut outcome = Ok(());
        let mut after = permitted.clone();
        for (index, (tx, sender)) in imported.block.body.transactions.iter().zip(imported.senders.iter()).enumerate() {
            if !permitted.contains(sender) {
                outcome = Err(format!(
                    "block {} is final and has transaction {index} of {sender}, who was not permitted",
                    imported.number()
                ));
            }
            if tx.to() == Some(RULES)
                && let Some((about, value)) = tx.input().split_at_checked(32).filter(|(_, value)| value.len() == 32)
            {
                let about = Address::from_slice(&about[12..]);
                let _ = if U256::from_be_slice(value).is_zero() { after.remove(&about) } else { after.insert(about) };
            }
        }
        *permitted = after;
        outcome
    }
}
