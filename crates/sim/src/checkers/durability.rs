//! A block that a node called final is there when the node starts again.

use std::collections::BTreeMap;

use alloy_primitives::B256;
use ipe_chain::Ledger;

use super::Who;

#[derive(Default)]
pub(super) struct Durability {
    /// By node, the last block that it called final.
    last: BTreeMap<usize, (u64, B256)>,
}

impl Durability {
    pub(super) fn imported(&mut self, index: usize, number: u64, hash: B256) {
        self.last.insert(index, (number, hash));
    }

    pub(super) fn forget(&mut self, index: usize) {
        self.last.remove(&index);
    }

    pub(super) fn started(&self, who: &Who<'_>, ledger: &Ledger) -> Result<(), String> {
        let Some((number, hash)) = self.last.get(&who.index).copied() else { return Ok(()) };
        match ledger.hash_of(number) {
            Ok(Some(found)) if found == hash => Ok(()),
            found => Err(format!("{} called block {number} {hash} final and has {found:?} after a restart", who.name)),
        }
    }
}
